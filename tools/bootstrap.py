"""Make an environment: ``bootstrap.py DIR`` for development, with ``--research LOCK`` one with rdagent and qlib, with
``--only LOCK`` one with other versions of some libraries.

A lock is a file of requirements with the hashes of all files (``make locks``): pip refuses what has another.
Standard library only; says what is missing instead of failing half-way.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MINIMUM = (3, 10)
RESEARCH_PYTHON = (3, 11)


def fail(message: str) -> None:
    """One line with the next step, and no traceback."""
    raise SystemExit(f"bootstrap: {message}")


def create(directory: Path) -> Path:
    """A virtual environment with pip; returns its interpreter."""
    python = directory / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        try:
            import ensurepip  # noqa: F401
            import venv
        except ImportError:
            fail("this Python has no venv; install it (Debian, Ubuntu: apt install python3-venv) and run make again")
        print(f"making {directory} with Python {sys.version.split()[0]} …", flush=True)
        venv.create(directory, with_pip=True, clear=True)
    return python


def install(python: Path, *arguments: str) -> None:
    """pip install, quiet unless it fails."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines()]
        lines = [line for line in said if "error" in line.lower() and "Ignored the following" not in line] or said[-3:]
        fail("pip could not install what is needed: " + " | ".join(lines)[:800] + " (is a package index reachable?)")


def entries(lock: Path) -> Iterator[str]:
    """Each requirement of a lock with the lines of its hashes, those of the locks that it names included."""
    lines: list[str] = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            yield from entries(lock.parent / line.removeprefix("-r "))
        elif line and not line.lstrip().startswith("#"):
            lines.append(line)
            if not line.endswith("\\"):
                yield "\n".join(lines)
                lines = []


def install_locked(python: Path, lock: Path, *options: str) -> None:
    """Install what a lock names, with these bytes or not at all; it names everything, so nothing is resolved."""
    install(python, *options, "--no-deps", "--require-hashes", "-r", str(lock))


def add(python: Path, lock: Path) -> None:
    """Install a lock, or what can be had of it: one library that has no build for this Python leaves the others, and is named."""
    print(f"installing {lock.name} …", flush=True)
    try:
        install_locked(python, lock)
        return
    except SystemExit as problem:
        print(f"{problem}; one by one …", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        alone = Path(directory, lock.name)
        for entry in entries(lock):
            alone.write_text(entry, encoding="utf-8")
            try:
                install_locked(python, alone)
            except SystemExit as problem:
                print(f"{entry.split()[0]}: {problem}; its tests are skipped", flush=True)


def add_unhashed(python: Path, requirements: Path) -> None:
    """Install what cannot be in a lock; where it has no build for this Python it is named."""
    print(f"installing {requirements.name} …", flush=True)
    try:
        install(python, "-r", str(requirements))
    except SystemExit as problem:
        print(f"{problem}; its tests are skipped", flush=True)


def main() -> None:
    """Build the environment that was asked for and mark it ready."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--research", type=Path, metavar="LOCK", help="an environment with rdagent and qlib instead")
    parser.add_argument("--add", type=Path, metavar="LOCK", help="add these to the environment instead of making it")
    parser.add_argument(
        "--only", type=Path, metavar="LOCK", help="an environment with these and nothing of this project"
    )
    parser.add_argument(
        "--versions",
        type=Path,
        metavar="REQUIREMENTS",
        help="this project with these versions, not locked (tools/matrix.py)",
    )
    parser.add_argument(
        "--unhashed", type=Path, metavar="REQUIREMENTS", help="then these too, pinned without hashes (torch)"
    )
    options = parser.parse_args()
    if sys.version_info < MINIMUM:
        fail(f"Python {sys.version.split()[0]} is too old; run make PYTHON=python3.11 (3.10 or later)")
    if options.research and sys.version_info[:2] != RESEARCH_PYTHON:
        fail("the research packages are pinned for Python 3.11; run make PYTHON=python3.11 research")
    python = create(options.directory)
    if options.add:
        add(python, options.add)
    elif lock := options.research or options.only:
        install_locked(python, lock)
    else:
        if options.versions:
            install(python, "--only-binary", ":all:", "-r", str(options.versions))
        else:
            install_locked(python, ROOT / "requirements/development.txt")
        install(python, "--no-deps", "--no-build-isolation", "-e", str(ROOT / "runtime"), "-e", str(ROOT / "converter"))
    if options.unhashed:
        add_unhashed(python, options.unhashed)
    (options.directory / (f".{options.add.stem}" if options.add else ".ready")).write_text("", encoding="utf-8")


if __name__ == "__main__":
    main()
