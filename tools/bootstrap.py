"""Make an environment: ``bootstrap.py DIR`` for development, with ``--research REQUIREMENTS`` one with rdagent and qlib,
with ``--only REQUIREMENTS`` one with other versions of some libraries.

Standard library only; says what is missing instead of failing half-way.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
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


def add(python: Path, requirements: Path) -> None:
    """Install each line by itself: one library that has no build for this Python leaves the others, and is named."""
    lines = [
        line for line in requirements.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
    ]
    # torch first: with it in place nothing that depends on it takes another build.
    for line in sorted(lines, key=lambda line: not line.startswith("torch")):
        print(f"installing {line} …", flush=True)
        try:
            install(python, line)
        except SystemExit as problem:
            print(f"{problem}; its tests are skipped", flush=True)


def main() -> None:
    """Build the environment that was asked for and mark it ready."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "--research", type=Path, metavar="REQUIREMENTS", help="an environment with rdagent and qlib instead"
    )
    parser.add_argument(
        "--add", type=Path, metavar="REQUIREMENTS", help="add these to the environment instead of making it"
    )
    parser.add_argument(
        "--only", type=Path, metavar="REQUIREMENTS", help="an environment with these and nothing of this project"
    )
    options = parser.parse_args()
    if sys.version_info < MINIMUM:
        fail(f"Python {sys.version.split()[0]} is too old; run make PYTHON=python3.11 (3.10 or later)")
    if options.research and sys.version_info[:2] != RESEARCH_PYTHON:
        fail("the research packages are pinned for Python 3.11; run make PYTHON=python3.11 research")
    python = create(options.directory)
    if options.add:
        add(python, options.add)
        (options.directory / f".{options.add.stem}").write_text("", encoding="utf-8")
        return
    if options.research or options.only:
        install(python, "-r", str(options.research or options.only))
    else:
        install(python, "-r", str(ROOT / "requirements/development.txt"))
        install(python, "--no-deps", "--no-build-isolation", "-e", str(ROOT / "runtime"), "-e", str(ROOT / "converter"))
    (options.directory / ".ready").write_text("", encoding="utf-8")


if __name__ == "__main__":
    main()
