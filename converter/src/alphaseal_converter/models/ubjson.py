"""Universal Binary JSON, as XGBoost writes it: bounded, with every length checked against the bytes that are left.

Source: the UBJSON draft 12 (ubjson.org).  Strongly typed arrays become read-only numpy arrays of native byte order.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from alphaseal_converter.models.trees import malformed

MAXIMUM_DEPTH = 64
MAXIMUM_VALUES = 5_000_000
"""Values outside typed arrays: a hundred thousand trees have some twenty-five each."""

# Marker of a number -> its form on disk, big-endian.
_NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_INTEGERS = frozenset(b"i U I l L".split())
_CONSTANTS = {b"T": True, b"F": False, b"Z": None}


def loads(data: bytes, where: str) -> Any:
    """Dicts, lists, arrays, str, int, float, bool and None; RefusalError `model.malformed` for anything else."""
    reader = _Reader(data, where)
    value = reader.value(reader.take(1), 0)
    if reader.position != len(data):
        reader.refuse("bytes follow the end of the value")
    return value


class _Reader:
    def __init__(self, data: bytes, where: str) -> None:
        self.position = 0
        self._data = data
        self._where = where
        self._values = 0

    def refuse(self, message: str) -> NoReturn:
        raise malformed(message, f"{self._where}, byte {self.position}")

    def take(self, count: int) -> bytes:
        """The next `count` bytes, all of them."""
        if not 0 <= count <= len(self._data) - self.position:
            self.refuse("the file ends inside a value, or a length is not possible")
        self.position += count
        return self._data[self.position - count : self.position]

    def value(self, marker: bytes, depth: int) -> Any:
        """The value that `marker` opens."""
        self._values += 1
        if depth > MAXIMUM_DEPTH or self._values > MAXIMUM_VALUES:
            self.refuse("the values are nested too deeply, or too many")
        if marker in _NUMBERS:
            return self._number(marker)
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker == b"S":
            return self._text()
        if marker == b"[":
            return self._array(depth)
        if marker == b"{":
            return self._object(depth)
        return self.refuse(f"the marker {marker!r} is not known")

    def _number(self, marker: bytes) -> int | float:
        form = _NUMBERS[marker]
        number = np.frombuffer(self.take(int(form[2])), dtype=form)[0].item()
        if not isinstance(number, int | float):
            self.refuse("a number cannot be read")
        return number

    def _length(self) -> int:
        marker = self.take(1)
        if marker not in _INTEGERS:
            self.refuse("a length is not a whole number")
        return int(self._number(marker))

    def _text(self) -> str:
        raw = self.take(self._length())
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return self.refuse("a text is not UTF-8")

    def _array(self, depth: int) -> Any:
        marker = self.take(1)
        if marker == b"$":
            form = _NUMBERS.get(self.take(1))
            if form is None or self.take(1) != b"#":
                self.refuse("an array's type is not that of numbers, or its length is missing")
            raw = self.take(self._length() * int(form[2]))
            return np.frombuffer(raw, dtype=form).astype(np.dtype(form).newbyteorder("="))
        if marker == b"#":
            return [self.value(self.take(1), depth + 1) for _ in range(self._length())]
        values = []
        while marker != b"]":
            values.append(self.value(marker, depth + 1))
            marker = self.take(1)
        return values

    def _object(self, depth: int) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        while self._data[self.position : self.position + 1] != b"}":
            name = self._text()
            if name in entries:
                self.refuse(f"the key {name[:40]!r} is there twice")
            entries[name] = self.value(self.take(1), depth + 1)
        self.position += 1
        return entries


def is_ubjson(data: bytes) -> bool:
    """Whether an object of UBJSON starts here, told from one of JSON text by its second byte."""
    return data[:1] == b"{" and data[1:2] in _INTEGERS
