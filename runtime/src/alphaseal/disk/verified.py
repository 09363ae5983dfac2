"""The files of an opened bundle: each is opened once, and what is used of it are bytes that were verified.

A path may name another file a moment later, so no path is opened again: a file that is needed more than once stays open,
and each use verifies it again, since whoever may write to it can change it in its place.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from alphaseal.disk import tree
from alphaseal.errors import DigestError
from alphaseal.format.manifest import File, Manifest

_USED_AGAIN = frozenset({"model", "alphas", "golden", "golden_bars", "factors"})
"""Roles of the files that stay open; there are few of them, while a bundle may have thousands of sources."""
_BLOCK = 1 << 20
_HELD_BLOCKS = 16
T = TypeVar("T")


class BundleFiles:
    """Reads the files of a manifest below a directory; usable from several threads."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self._root = root
        self._manifest = manifest
        self._open: dict[str, BinaryIO] = {}
        self._lock = threading.RLock()
        self._close = weakref.finalize(self, _close_all, self._open)

    def read(self, path: str) -> bytes:
        """Verified bytes of one file.  Errors of step V6."""
        entry = self._manifest.file(path)
        with self._lock:
            return self._use(entry, lambda file: tree.read_verified(file, entry))

    def check(self, path: str, sink: Callable[[bytes], object] = lambda chunk: None) -> None:
        """Verify one file in constant memory; `sink` gets its bytes, which count only if this returns."""
        entry = self._manifest.file(path)
        with self._lock:
            self._use(entry, lambda file: tree.check_verified(file, entry, sink))

    def verified(self, path: str) -> VerifiedFile:
        """One file for reading at any place; it is verified whole first, and each block of it when it is read."""
        entry, digests, rest = self._manifest.file(path), list[bytes](), bytearray()

        def cut(chunk: bytes) -> None:
            rest.extend(chunk)
            while len(rest) >= _BLOCK:
                digests.append(hashlib.sha256(rest[:_BLOCK]).digest())
                del rest[:_BLOCK]

        with self._lock:
            self.check(path, cut)
            digests.append(hashlib.sha256(rest).digest())
            return VerifiedFile(self._file(entry), entry, digests, self._lock)

    def close(self) -> None:
        """Close what is open; nothing can be read any more."""
        self._close()

    def _use(self, entry: File, use: Callable[[BinaryIO], T]) -> T:
        if entry.role in _USED_AGAIN:
            return use(self._file(entry))
        with tree.open_plain(self._root, entry.path) as file:
            return use(file)

    def _file(self, entry: File) -> BinaryIO:
        if not self._close.alive:
            raise ValueError("the bundle is closed")
        if entry.path not in self._open:
            self._open[entry.path] = tree.open_plain(self._root, entry.path)
        return self._open[entry.path]


class VerifiedFile:
    """A file that reads like Python's own, and gives bytes only that are those that were verified.

    DigestError ``file.digest`` where a block is another one than it was.
    """

    def __init__(self, file: BinaryIO, entry: File, digests: list[bytes], lock: threading.RLock) -> None:
        self._file, self._entry, self._digests, self._lock = file, entry, digests, lock
        self._position = 0
        self._held: dict[int, bytes] = {}
        self.closed = False

    def size(self) -> int:
        return self._entry.size

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._entry.size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, count: int = -1) -> bytes:
        """At most `count` bytes from where it stands."""
        end = self._entry.size if count < 0 else min(self._position + count, self._entry.size)
        parts = []
        while self._position < end:
            number, start = divmod(self._position, _BLOCK)
            part = self._block(number)[start : start + end - self._position]
            parts.append(part)
            self._position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def close(self) -> None:
        """The file itself stays open for others."""
        self.closed = True

    def _block(self, number: int) -> bytes:
        with self._lock:
            data = self._held.pop(number, None)
            if data is None:
                self._file.seek(number * _BLOCK)
                data = tree.read_fully(self._file, min(_BLOCK, self._entry.size - number * _BLOCK))
                if hashlib.sha256(data).digest() != self._digests[number]:
                    raise DigestError(
                        "file.digest",
                        "a file was changed after it was verified",
                        where=self._entry.path,
                        expected=self._entry.sha256,
                        next_step="do not use this bundle; copy it again from its producer",
                    )
            # The blocks that were read last: columns of one group of rows lie beside each other.
            self._held[number] = data
            if len(self._held) > _HELD_BLOCKS:
                del self._held[next(iter(self._held))]
            return data


def _close_all(files: dict[str, BinaryIO]) -> None:
    for file in files.values():
        with suppress(OSError):
            file.close()
    files.clear()
