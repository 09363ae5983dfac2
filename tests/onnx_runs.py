"""Models in the onnxruntime of some Python, each in a process that may die of it."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

CHILD = Path(__file__).with_name("onnx_child.py")
_TIMEOUT = 600


class Runs(NamedTuple):
    """How many models were loaded, how many ran, and what must not be: numbers of models with what became of the process."""

    loaded: int
    ran: int
    findings: list[tuple[int, str]]


def run(models: Sequence[bytes], python: str, folder: Path) -> Runs:
    """Load and run models in a process of `python`, or in as many as die of them; `folder` is for its files."""
    file, place, first = folder / "models", folder / "place", 0
    file.write_bytes(b"".join(struct.pack("<I", len(data)) + data for data in models))
    loaded = ran = 0
    findings: list[tuple[int, str]] = []
    while first < len(models):
        place.write_bytes(struct.pack("<I", first))
        command = [python, str(CHILD), str(file), str(place), str(first)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
            said = f"ended with {done.returncode} {done.stderr[-300:]}"
        except subprocess.TimeoutExpired:
            said = f"had no end after {_TIMEOUT} s"
        else:
            if done.returncode == 0:
                more_loaded, more_ran = map(int, done.stdout.split())
                return Runs(loaded + more_loaded, ran + more_ran, findings)
        (at,) = struct.unpack("<I", place.read_bytes())
        findings.append((at, said))
        first = at + 1
    return Runs(loaded, ran, findings)


def version(python: str) -> str:
    """The onnxruntime of a Python."""
    code = "import onnxruntime, sys; print('onnxruntime', onnxruntime.__version__, 'Python', sys.version.split()[0])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
