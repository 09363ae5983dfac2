"""Which files of a directory a process opens, and how often: by Python's audit hook, and by the kernel where it tells."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

_IN_OPEN, _IN_NONBLOCK, _IN_ISDIR = 0x20, 0x800, 0x40000000
_PROGRAM = """
import json, os, sys
root, out, module = os.path.realpath(sys.argv[1]), sys.argv[2], sys.argv[3]
opened = []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        writing = arguments[2] & (os.O_WRONLY | os.O_RDWR) if isinstance(arguments[2], int) else 0
        if path.startswith(root + os.sep) and not writing and not os.path.isdir(path):
            opened.append(os.path.relpath(path, root))
sys.addaudithook(watch)
import importlib
status = importlib.import_module(module).main(sys.argv[4:])
json.dump([status, opened], open(out, "w"))
"""


class Watch:
    """How often each plain file below a directory was opened by any process (Linux)."""

    def __init__(self, root: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(_IN_NONBLOCK)
        self._places: dict[int, Path] = {}
        for directory in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            number = self._libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _IN_OPEN)
            assert number >= 0, ctypes.get_errno()
            self._places[number] = directory.relative_to(root)

    def counts(self) -> Counter[str]:
        """Opens by relative path; ends the watch."""
        found: Counter[str] = Counter()
        while True:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                break
            at = 0
            while at < len(data):
                number, mask, _, length = struct.unpack_from("iIII", data, at)
                name = data[at + 16 : at + 16 + length].rstrip(b"\0")
                at += 16 + length
                if name and not mask & _IN_ISDIR:
                    found[(self._places[number] / os.fsdecode(name)).as_posix()] += 1
        os.close(self._descriptor)
        return found


def run_watched(root: Path, module: str, arguments: list[str], place: Path) -> tuple[int, Counter[str]]:
    """(exit status, opens of each file below `root`) of a command in a process of its own; `place` is for its answer."""
    watch = Watch(root) if sys.platform == "linux" else None
    answer = place / "opened.json"
    command = [sys.executable, "-c", _PROGRAM, str(root), str(answer), module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 0, done.stderr[-2000:]
    status, opened = json.loads(answer.read_text(encoding="utf-8"))
    seen = Counter(opened)
    if watch is not None:
        # The kernel sees what C++ opens, too; a file that Python opened is among it.
        by_kernel = watch.counts()
        assert all(by_kernel[path] >= count for path, count in seen.items()), (by_kernel, seen)
        seen = by_kernel
    return status, seen
