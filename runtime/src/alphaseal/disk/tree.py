"""The files of a bundle on disk: which there are, and their verified bytes.

A file is opened once and without following links, and the buffer that was hashed is the buffer that is used: what the
path names a moment later does not matter.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from alphaseal.errors import DigestError, NotReadableError, TreeError
from alphaseal.format import names
from alphaseal.format.manifest import FILE_NAME, File, Manifest
from alphaseal.plain_text import listed

ENVELOPE_NAME = "manifest.dsse.json"
PROVENANCE_NAME = "provenance.dsse.json"
MAXIMUM_ENVELOPE = 12 << 20  # a manifest of the largest size in base64, and its signatures
_CHUNK = 1 << 20
_MAXIMUM_ENTRIES = 50_000


class Stamp(NamedTuple):
    """What tells a file, and a content of it, from others without opening it: not from one that was made to look alike."""

    device: int
    number: int
    size: int
    modified: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def open_plain(root: Path, path: str) -> BinaryIO:
    """Open a plain file below `root` without following a link in the last segment (the tree rule covers the others)."""
    flags = (
        os.O_RDONLY
        | getattr(os, "O_BINARY", 0)
        | getattr(os, "O_NOFOLLOW", 0)
        | getattr(os, "O_NONBLOCK", 0)
        | getattr(os, "O_CLOEXEC", 0)
    )
    full = root / path
    try:
        # O_NOFOLLOW does not exist on Windows: there the tree rule's look at every entry stands alone.
        descriptor = os.open(full, flags)
    except FileNotFoundError:
        raise TreeError("tree.missing", "file is missing", where=path, next_step="copy the bundle again") from None
    except OSError as error:
        raise TreeError(
            "tree.not_plain", f"file cannot be opened as a plain file: {error.strerror}", where=path
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise TreeError("tree.not_plain", "not a plain file", where=path)
    return os.fdopen(descriptor, "rb", buffering=0)


def read_fully(file: BinaryIO, count: int) -> bytes:
    """`count` bytes from where the file stands, fewer only at its end."""
    data = file.read(count)
    while len(data) < count and (more := file.read(count - len(data))):
        data += more
    return data


def read_bounded(root: Path, path: str, maximum: int) -> bytes:
    """Bytes of a file that no manifest describes yet; DigestError ``file.size`` above `maximum`."""
    return read_stamped(root, path, maximum)[0]


def read_stamped(root: Path, path: str, maximum: int) -> tuple[bytes, Stamp]:
    """The same, and which file it was."""
    with open_plain(root, path) as file:
        data, found = read_fully(file, maximum + 1), Stamp.of(os.fstat(file.fileno()))
    if len(data) > maximum:
        raise DigestError("file.size", "file is too large", where=path, expected=f"at most {maximum} bytes")
    return data, found


def read_verified(file: BinaryIO, entry: File) -> bytes:
    """The verified bytes of an open file of the manifest, from its beginning: size first, then digest."""
    _check_size(file, entry)
    file.seek(0)
    data = read_fully(file, entry.size + 1)
    if len(data) != entry.size:
        raise DigestError(
            "file.size",
            "file size differs from the manifest",
            where=entry.path,
            expected=str(entry.size),
            found=f"{len(data)} bytes",
        )
    _check_digest(hashlib.sha256(data).hexdigest(), entry)
    return data


def check_verified(file: BinaryIO, entry: File, sink: Callable[[bytes], object] = lambda chunk: None) -> None:
    """The same in constant memory; `sink` gets the bytes, which count only if this returns."""
    _check_size(file, entry)
    file.seek(0)
    digest, left = hashlib.sha256(), entry.size
    while left:
        chunk = file.read(min(_CHUNK, left))
        if not chunk:
            break
        digest.update(chunk)
        sink(chunk)
        left -= len(chunk)
    if left or file.read(1):
        raise DigestError(
            "file.size", "file size differs from the manifest", where=entry.path, expected=f"{entry.size} bytes"
        )
    _check_digest(digest.hexdigest(), entry)


def _check_size(file: BinaryIO, entry: File) -> None:
    size = os.fstat(file.fileno()).st_size
    if size != entry.size:
        raise DigestError(
            "file.size",
            "file size differs from the manifest",
            where=entry.path,
            expected=f"{entry.size} bytes",
            found=f"{size} bytes",
        )


def _check_digest(found: str, entry: File) -> None:
    if found != entry.sha256:
        raise DigestError(
            "file.digest",
            "file digest differs from the manifest",
            where=entry.path,
            expected=entry.sha256,
            found=found,
            next_step="do not use this bundle; copy it again from its producer",
        )


def check_tree(root: Path, manifest: Manifest) -> None:
    """The files on disk are exactly those of the manifest, in both directions, all plain, no empty directory."""
    optional = {ENVELOPE_NAME, PROVENANCE_NAME}
    named = {entry.path for entry in manifest.files} | {FILE_NAME}
    found = _walk(root)
    if missing := sorted(named - found):
        raise TreeError(
            "tree.missing",
            "files of the manifest are missing",
            where=str(root),
            found=listed(missing),
            next_step="copy the bundle again",
        )
    if extra := sorted(found - named - optional):
        raise TreeError(
            "tree.extra",
            "files that the manifest does not list",
            where=str(root),
            found=listed(extra),
            next_step="remove them or copy the bundle again",
        )


def _walk(root: Path) -> set[str]:
    """Relative paths of all plain files; TreeError for anything else."""
    found: set[str] = set()
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir(root / prefix) as entries:
                listing = sorted(islice(entries, _MAXIMUM_ENTRIES + 1), key=lambda entry: entry.name)
        except OSError as error:
            raise NotReadableError(
                "bundle.not_readable", f"directory cannot be read: {error.strerror}", where=str(root / prefix)
            ) from None
        if not listing and prefix:
            raise TreeError(
                "tree.empty_directory", "empty directory in the bundle", where=prefix.rstrip("/"), next_step="remove it"
            )
        for entry in listing:
            path = prefix + entry.name
            if not names.is_name(entry.name):
                raise TreeError("tree.name", "name breaks the naming rule", where=repr(path[:160]))
            is_junction = getattr(entry, "is_junction", None)  # Python 3.12 and later, Windows
            if entry.is_symlink() or (is_junction is not None and is_junction()):
                raise TreeError(
                    "tree.not_plain", "symbolic link in the bundle", where=path, expected="plain files and directories"
                )
            if entry.is_dir(follow_symlinks=False):
                pending.append(path + "/")
            elif entry.is_file(follow_symlinks=False):
                found.add(path)
            else:
                raise TreeError(
                    "tree.not_plain", "special file in the bundle", where=path, expected="plain files and directories"
                )
        if len(found) + len(pending) > _MAXIMUM_ENTRIES:
            raise TreeError(
                "tree.too_many", "too many files in the bundle", where=str(root), expected=f"at most {_MAXIMUM_ENTRIES}"
            )
    return found
