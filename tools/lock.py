"""``make locks``: every ``.in`` file of requirements becomes a ``.txt`` with one version of everything and the hashes of its files.

    lock.py [--upgrade] UV [NAME ...]

Needs uv (requirements/uv.txt).  What a lock has stays as it is unless its ``.in`` file asks for something else, or with
``--upgrade``.  pip installs nothing whose bytes have another hash (tools/bootstrap.py).
"""

from __future__ import annotations

import argparse
import os
import subprocess
from dataclasses import dataclass

from bootstrap import ROOT, entries


@dataclass(frozen=True)
class Lock:
    """One lock: its path without ending, for which Pythons and systems, and what it goes beside."""

    path: str
    python: str = "3.10"
    """The lowest Python; the only one where `everywhere` is not set."""
    everywhere: bool = True
    """For all systems and all Pythons from `python` on, with markers; else for Linux on x86-64 and `python`."""
    base: str | None = None
    """The lock that this one begins with: the same versions, and here stands only what that one lacks."""
    alike: str | None = None
    """A lock with the same versions of what both have."""
    dependencies: bool = True


LOCKS = (
    Lock("requirements/uv"),
    Lock("requirements/development"),
    Lock("requirements/families", base="requirements/development"),
    Lock("requirements/signing", python="3.11", alike="requirements/development"),
    Lock("requirements/bundle", python="3.11", base="requirements/signing", alike="requirements/development"),
    Lock("requirements/onnxruntime-oldest"),
    Lock("requirements/adapters", python="3.11", everywhere=False),
    # All are listed, and a build of XGBoost for CPUs needs no NVIDIA library.
    Lock("requirements/ledger-2022", dependencies=False),
    Lock("requirements/ledger-2024", python="3.11", dependencies=False),
    Lock("tools/research/requirements-beside", python="3.11", everywhere=False),
    Lock(
        "tools/research/requirements-research",
        python="3.11",
        everywhere=False,
        base="tools/research/requirements-beside",
    ),
)


def pin(entry: str) -> tuple[str, str]:
    """``name==version`` and the marker of an entry, "" where it has none."""
    requirement, _, marker = entry.splitlines()[0].removesuffix(" \\").partition(" ; ")
    return requirement, marker


def compile_lock(uv: str, lock: Lock, upgrade: bool) -> None:
    """Let uv choose versions and name hashes; then leave out what the base has."""
    target = ROOT / f"{lock.path}.txt"
    command = [uv, "pip", "compile", f"{lock.path}.in", "--output-file", f"{lock.path}.txt", "--quiet", "--no-header"]
    command += ["--generate-hashes", "--python-version", lock.python]
    command += ["--universal"] if lock.everywhere else ["--python-platform", "x86_64-manylinux_2_28"]
    command += [] if lock.dependencies else ["--no-deps"]
    command += ["--upgrade"] if upgrade else []
    for other in filter(None, (lock.base, lock.alike)):
        command += ["--constraint", f"{other}.txt"]
    subprocess.run(command, cwd=ROOT, check=True)
    there = {pin(entry) for entry in entries(ROOT / f"{lock.base}.txt")} if lock.base else set()
    lines = [f"# Made by `make locks` from {target.stem}.in."]
    if lock.base:
        lines.append(f"-r {os.path.relpath(ROOT / f'{lock.base}.txt', target.parent)}")
    # An entry of the base without a marker is for every Python.
    own = [entry for entry in entries(target) if not {pin(entry), (pin(entry)[0], "")} & there]
    target.write_text("\n".join([*lines, *own]) + "\n", encoding="utf-8")


def main() -> None:
    """Make the locks that are named, or all, a base before what begins with it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uv", metavar="UV")
    parser.add_argument("names", nargs="*", metavar="NAME", help="path without ending, such as requirements/families")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that the .in files admit")
    options = parser.parse_args()
    if unknown := set(options.names) - {lock.path for lock in LOCKS}:
        parser.error(f"no lock of that name: {', '.join(sorted(unknown))}")
    for lock in LOCKS:
        if not options.names or lock.path in options.names:
            print(f"{lock.path}.txt …", flush=True)
            compile_lock(options.uv, lock, options.upgrade)


if __name__ == "__main__":
    main()
