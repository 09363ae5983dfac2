"""The one place of the converter where pickles are read: as inert records, in a child process, within limits."""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Any

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles import _child, _machine, _wire
from alphaseal_converter.pickles._keys import Crowd, key_problem
from alphaseal_converter.pickles._machine import PERSISTENT_LOAD
from alphaseal_converter.pickles._state import Limits, PickleFault
from alphaseal_converter.pickles.records import Global

__all__ = [
    "PERSISTENT_LOAD",
    "Crowd",
    "Limits",
    "PickleContents",
    "key_problem",
    "read_first_pickle",
    "read_pickle",
]

_NEXT_STEP = "check that the file is whole and from a source you trust"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class PickleContents:
    """The inert graph of a pickle, and every class or function that it names, in order of appearance."""

    root: Any
    globals: tuple[Global, ...]


_DEFAULT_LIMITS = Limits()
_COMPRESSED: Mapping[str, bytes | tuple[bytes, ...]] = {
    "zlib": (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"),
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ",
    "lzma": b"\x5d\x00\x00",
    "lz4": b"\x04\x22\x4d\x18",
}
"""First bytes of what joblib compresses by; no pickle begins so."""


def read_pickle(
    data: bytes,
    *,
    where: str,
    limits: Limits = _DEFAULT_LIMITS,
    seconds: float = 60,
    memory_bytes: int = 2 << 30,
) -> PickleContents:
    """Read the pickle `data` without executing anything that it asks for.

    `where` names the file in errors, `seconds` bounds wall clock and CPU time, `memory_bytes` the child's memory (not
    on Windows, which has the clock only).  Raises `RefusalError` with a code ``pickle.*``.
    """
    if len(data) > limits.total_bytes:
        raise RefusalError(
            "pickle.limit", f"the pickle has {len(data)} bytes, {limits.total_bytes} are allowed", where=where
        )
    if kind := next((name for name, magic in _COMPRESSED.items() if data.startswith(magic)), None):
        raise RefusalError(
            "pickle.compressed",
            f"the file is compressed ({kind}), as joblib.dump(…, compress=…) writes it; compressed pickles are not read",
            where=where,
            expected="a plain pickle",
            next_step="where you trust the file, write it again: pickle.dump(joblib.load(path), open(path, 'wb'))",
        )
    answer = _ask_child(data, where, limits, seconds, memory_bytes)
    if answer[:1] == b"E":
        raise _refusal(answer, where)

    def literal(start: int, end: int) -> bytes:
        if not 0 <= start <= end <= len(data):
            raise ValueError("a literal lies outside of the pickle")
        return data[start:end]

    try:
        root, names = _wire.decode(answer, literal, start=1)
    except _wire.WireError as problem:
        raise RefusalError(
            "pickle.child", f"the reading process gave no usable answer: {problem}", where=where
        ) from None
    return PickleContents(root, names)


_FIRST_LIMITS = Limits(
    total_bytes=1 << 16,
    opcodes=4_000,
    memo_entries=1_000,
    literal_bytes=1 << 12,
    integer_digits=100,
    nesting=20,
    stack=1_000,
)


def read_first_pickle(data: bytes, offset: int, *, where: str) -> tuple[Any, int]:
    """The inert root of the small pickle at `offset` of `data`, and the offset behind it.

    For formats that put several pickles in a row (torch's old storages).  At most 64 KiB are looked at, with bounds so
    small that no child process is needed.  Persistent ids become records of `PERSISTENT_LOAD`.  Raises `RefusalError`
    with a code ``pickle.*``.
    """
    try:
        root, length = _machine.interpret_first(data[offset : offset + _FIRST_LIMITS.total_bytes], _FIRST_LIMITS)
    except PickleFault as fault:
        place = f"{fault.message} (at byte {offset + fault.offset})"
        raise RefusalError(fault.code, place, where=where, next_step=_NEXT_STEP) from None
    return root, offset + length


def _refusal(answer: bytes | bytearray, where: str) -> RefusalError:
    offset = struct.unpack_from("<Q", answer, 1)[0]
    code, _, message = answer[9:].decode().partition("\n")
    return RefusalError(code, f"{message} (at byte {offset})", where=where, next_step=_NEXT_STEP)


def _ask_child(data: bytes, where: str, limits: Limits, seconds: float, memory_bytes: int) -> bytearray:
    numbers = (len(data), math.ceil(seconds), memory_bytes, *astuple(limits))
    command = [sys.executable, "-I", "-S", str(Path(_child.__file__).resolve()), *map(str, numbers)]
    # The loader's path for a Python with a shared library; Windows does not start a process without SYSTEMROOT.
    environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.sep,
            env=environment,
        )
    except OSError as problem:
        raise RefusalError("pickle.child", f"the reading process cannot be started: {problem}", where=where) from None
    answer, overtime, overlong = _converse(process, data, seconds, limits.result_bytes)
    if overtime:
        reason = f"reading took longer than {seconds:g} seconds"
    elif overlong:
        reason = f"the values take more than {limits.result_bytes} bytes"
    elif process.returncode == _child.MEMORY_EXIT:
        reason = f"reading needs more than {memory_bytes} bytes of memory"
    elif process.returncode != 0:
        reason = f"the reading process ended with status {process.returncode} (memory or CPU limit)"
    else:
        return answer
    raise RefusalError("pickle.resources", reason, where=where, next_step=_NEXT_STEP)


def _converse(
    process: subprocess.Popen[bytes], data: bytes, seconds: float, longest: int
) -> tuple[bytearray, bool, bool]:
    """Send the pickle, collect the answer: (answer, stopped by the clock, stopped by its length)."""
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        process.kill()

    clock = threading.Timer(seconds, stop)
    writer = threading.Thread(target=_send, args=(process.stdin, data), daemon=True)
    answer = bytearray()
    output = process.stdout
    assert output is not None
    clock.start()
    writer.start()
    try:
        while chunk := output.read(_CHUNK):
            answer += chunk
            if len(answer) > longest:
                break
        overlong = len(answer) > longest
        if overlong:
            process.kill()
        process.wait()
    finally:
        # Also on KeyboardInterrupt: no child is left behind.
        clock.cancel()
        process.kill()
        process.wait()
        writer.join()
        output.close()
    return answer, expired.is_set(), overlong


def _send(stdin: IO[bytes], data: bytes) -> None:
    try:
        with stdin:
            stdin.write(data)
    except OSError:  # the child refused early and closed its end; its answer says why
        return
