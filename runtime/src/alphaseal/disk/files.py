"""Small files of text, and writing so that a reader sees the old content or the new, never half of it, whatever stops the writer.

The calls are those of `os`, one for each thing that reaches the disk, so that a test can stop a process at any of them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from alphaseal.errors import NotReadableError


def read_text(path: Path, problem: NotReadableError) -> str:
    """Text of a small file, with or without a byte order mark; raises `problem` with the reason."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise problem.saying(
            message=f"{problem.message}: it is not UTF-8 text",
            found=f"byte 0x{error.object[error.start]:02x} at {error.start}",
            next_step="save it as UTF-8 (from GBK: iconv -f GBK -t UTF-8)",
        ) from None
    except OSError as error:
        raise problem.saying(message=f"{problem.message}: {error.strerror}") from None


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file that must not exist yet, down to the disk; FileExistsError where it does."""
    descriptor = create(path, mode)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create(path: Path, mode: int = 0o644) -> int:
    """Descriptor of a new, empty file; FileExistsError where there is one (a link there is not followed)."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`; the system may take it in pieces."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def replace(path: Path, data: bytes, *, beside: Path | None = None) -> None:
    """Put `data` in the place of `path` in one step.

    The temporary file lies in the directory `beside` (default: that of `path`), which must be of the same file system.
    """
    temporary = (beside if beside is not None else path.parent) / f".{path.name}.{os.getpid()}.part"
    with suppress(FileNotFoundError):  # of an earlier process with our number
        os.unlink(temporary)
    try:
        write_new(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    synchronise_directory(path.parent)


def synchronise_directory(path: Path) -> None:
    """Make renames in a directory durable; Windows has no such call and does not need it."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
