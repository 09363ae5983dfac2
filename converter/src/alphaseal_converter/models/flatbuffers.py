"""Reading FlatBuffers: every offset and length is checked against the bytes before it is used.

Source: the FlatBuffers binary format (flatbuffers.dev, "FlatBuffer Internals").  All is little-endian; a table starts
with the distance back to its list of field offsets, 0 in that list means the default.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.models.trees import malformed

MAXIMUM_TABLES = 1_000_000


class Table:
    """One table; fields are asked for by their number in the schema."""

    def __init__(self, data: bytes, position: int, where: str) -> None:
        self._data = data
        self._where = where
        self._position = position
        fields = position - self._unpack("<i", position)
        length = self._unpack("<H", fields)
        if length < 4 or length % 2 or length // 2 - 2 > 64:
            raise malformed("a table of the model file is broken", where)
        self._offsets = [self._unpack("<H", fields + 4 + 2 * number) for number in range(length // 2 - 2)]

    @classmethod
    def root(cls, data: bytes, where: str) -> Table:
        """The table that a buffer is about."""
        if len(data) < 8:
            raise malformed("the model file is cut off", where)
        return cls(data, int(struct.unpack_from("<I", data)[0]), where)

    def whole(self, field: int, default: int) -> int:
        """A field of type int32."""
        at = self._at(field)
        return default if at is None else self._unpack("<i", at)

    def byte(self, field: int, default: int) -> int:
        """A field of type byte, bool or a small enumeration."""
        at = self._at(field)
        return default if at is None else self._unpack("<b", at)

    def double(self, field: int, default: float) -> float:
        at = self._at(field)
        return default if at is None else float(struct.unpack("<d", self._bytes(at, 8))[0])

    def text(self, field: int) -> str:
        """A string; empty where it is absent."""
        raw = self.numbers(field, "u1").tobytes()
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise malformed("a text of the model file is not UTF-8", self._where) from None

    def numbers(self, field: int, form: str) -> NDArray[Any]:
        """A vector of numbers of the little-endian `form`; empty where it is absent."""
        dtype = np.dtype(form)
        start, count = self._vector(field)
        raw = self._bytes(start, count * dtype.itemsize)
        return np.frombuffer(raw, dtype=dtype).astype(dtype.newbyteorder("="))

    def count(self, field: int) -> int:
        """Entries of a vector of any type."""
        return self._vector(field)[1]

    def table(self, field: int) -> Table | None:
        at = self._at(field)
        return None if at is None else Table(self._data, at + self._unpack("<I", at), self._where)

    def tables(self, field: int) -> list[Table]:
        start, count = self._vector(field)
        if count > MAXIMUM_TABLES:
            raise malformed("the model file has too many tables", self._where)
        places = range(start, start + 4 * count, 4)
        return [Table(self._data, at + self._unpack("<I", at), self._where) for at in places]

    def _at(self, field: int) -> int | None:
        offset = self._offsets[field] if field < len(self._offsets) else 0
        return self._position + offset if offset else None

    def _vector(self, field: int) -> tuple[int, int]:
        """Position of the first entry, and the number of entries."""
        at = self._at(field)
        if at is None:
            return 0, 0
        start = at + self._unpack("<I", at)
        return start + 4, self._unpack("<I", start)

    def _unpack(self, form: str, at: int) -> int:
        return int(struct.unpack(form, self._bytes(at, struct.calcsize(form)))[0])

    def _bytes(self, at: int, count: int) -> bytes:
        if at < 0 or at + count > len(self._data):
            raise malformed("an offset of the model file points outside", self._where)
        return self._data[at : at + count]
