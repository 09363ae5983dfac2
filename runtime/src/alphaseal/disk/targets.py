"""Where a result may be written: never over what is read, never half."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alphaseal.disk import files
from alphaseal.errors import AlphasealError, NotReadableError, UsageError

STORE_STATE = "current.json"
"""The file that makes a directory a store."""


def check_target(path: Path, *, inputs: Iterable[Path | None] = (), bundle: Path | None = None) -> None:
    """Before the work: whether a file can be written at `path` without damage to anything that is read.

    UsageError `usage.out` where it is one of `inputs` (by whatever name or link), lies inside `bundle` or a store, or is
    there and no plain file; NotReadableError `output.not_writable` where a file cannot be made beside it.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise _not_a_target(path, "it is a directory" if os.path.isdir(path) else "it is no plain file")
    if any(_same(path, given) for given in inputs if given is not None):
        raise _not_a_target(path, "it is a file that this command reads")
    # Where the name lies, and where the file lies that a link of this name leads to.
    parents = {*Path(os.path.realpath(path)).parents, *_place(path).parents}
    if bundle is not None and any(_same(parent, bundle) for parent in parents):
        raise _not_a_target(path, "it lies inside the bundle, whose files never change")
    if any(is_store(parent) for parent in parents):
        raise _not_a_target(path, "it lies inside a store, which only holds what was installed")
    check_writable(path)


def check_writable(path: Path) -> None:
    """Before the work: NotReadableError `output.not_writable` where nothing can be made beside `path`."""
    probe = files.name_beside(path)
    try:
        os.close(files.create(probe))
        os.unlink(probe)
    except OSError as error:
        raise not_writable(path, error) from None


def _not_a_target(path: Path, reason: str) -> UsageError:
    return UsageError(
        "usage.out", f"the result cannot be written there: {reason}", where=str(path), next_step="choose another place"
    )


def _place(path: Path) -> Path:
    """`path` without links but that of its own name."""
    return Path(os.path.realpath(path.parent)) / path.name


def _same(one: Path, other: Path) -> bool:
    if os.path.realpath(one) == os.path.realpath(other) or _place(one) == _place(other):
        return True
    with suppress(OSError):
        return os.path.samefile(one, other)
    return False


def not_writable(path: Path, error: OSError) -> NotReadableError:
    """What the caller can do about an error of the system while writing."""
    return NotReadableError(
        "output.not_writable",
        f"cannot write: {error.strerror or error}",
        where=str(path),
        next_step="choose another place",
    )


@contextmanager
def replacing(path: Path, *, taken: AlphasealError | None = None) -> Iterator[Path]:
    """`files.staged` for the result of a command: NotReadableError `output.not_writable` where the system refuses."""
    try:
        with files.staged(path, taken=taken) as staging:
            yield staging
    except OSError as error:
        raise not_writable(path, error) from None
    with suppress(OSError):  # it is in its place; not every system can say when that is on the disk
        files.synchronise_directory(path.parent)


def is_store(directory: Path) -> bool:
    """Whether bundles are installed there, by the look of it."""
    return os.path.isfile(directory / STORE_STATE) and os.path.isdir(directory / "bundles")
