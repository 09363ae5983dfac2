"""Small files of text, and writing so that a reader sees the old content or the new, never half of it, whatever stops the writer.

The calls are those of `os`, one for each thing that reaches the disk, so that a test can stop a process at any of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alphaseal.errors import AlphasealError, NotReadableError


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


def read_bounded(path: Path, maximum: int, problem: NotReadableError) -> bytes:
    """Content of a file, one byte more than `maximum` of a longer one; raises `problem` with the reason."""
    try:
        with path.open("rb") as file:
            return file.read(maximum + 1)
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


def name_beside(path: Path, directory: Path | None = None) -> Path:
    """The name of what becomes `path`, while it is made; only this process uses it."""
    return (path.parent if directory is None else directory) / f".{path.name}.{os.getpid()}.part"


@contextmanager
def staged(path: Path, *, beside: Path | None = None, taken: AlphasealError | None = None) -> Iterator[Path]:
    """A free name for a file or a directory, which takes the place of `path` in one step if the block succeeds.

    Whatever is written there is on the disk before, and is gone if the block fails.  The name lies in the directory `beside`
    (default: that of `path`), which must be of the same file system.  `taken` is raised where nothing may be replaced.
    """
    staging = name_beside(path, beside)
    with suppress(FileNotFoundError):  # of an earlier process with our number
        os.unlink(staging)
    try:
        yield staging
        synchronise(staging)
        if taken is not None:  # a rename takes the place of an empty directory without a word
            require_free(path, taken)
        os.replace(staging, path)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(staging, ignore_errors=True) if staging.is_dir() else os.unlink(staging)
        raise


def require_free(path: Path, taken: AlphasealError) -> None:
    """Raise `taken` where something is at `path`, if only a link that leads nowhere."""
    if os.path.lexists(path):
        raise taken


def replace(path: Path, data: bytes, *, beside: Path | None = None) -> None:
    """Put `data` in the place of `path` in one step, and the step on the disk; see `staged`."""
    with staged(path, beside=beside) as staging:
        write_new(staging, data)
    synchronise_directory(path.parent)


def synchronise(path: Path) -> None:
    """Bring a file, or a directory with all that it holds, to the disk: a power cut must not leave one with holes."""
    for place in [*path.rglob("*"), path]:
        if place.is_dir():
            synchronise_directory(place)
        else:
            # Windows flushes only what may be written to.
            _synchronise(os.open(place, os.O_RDWR if os.name == "nt" else os.O_RDONLY))


def synchronise_directory(path: Path) -> None:
    """Make renames in a directory durable; Windows has no such call and does not need it."""
    if os.name != "nt":
        _synchronise(os.open(path, os.O_RDONLY))


def _synchronise(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
