"""Tables as plain bytes, for what goes into an isolated process and for what comes out of it.

One fixed form with nothing in it that is executed, inflated or looked up; every count is checked against the bytes that are
there before anything is made of it.  The program that runs factors has a copy of this file beside it: numpy and the
standard library only.

A table (all numbers little-endian)::

    "ASTABLE1"  rows uint64  columns uint32
    each column: length uint16, name (UTF-8), kind uint8, then its data:
        kinds 1 to 11   rows numbers of `KINDS[kind]`
        12 day          rows int32, days since 1970-01-01
        13 moment       rows int64, nanoseconds since 1970-01-01, the least one: none
        14 text         count uint32, as many (length uint32, UTF-8), then rows int32: its place, -1: none

An answer is ``"ASANSWER"``, then ``0``, code and text (each length uint32, UTF-8) of a problem, or ``1`` and a table.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC, ANSWER = b"ASTABLE1", b"ASANSWER"
KINDS = {
    1: "<f8", 2: "<f4", 3: "<i8", 4: "<i4", 5: "<i2", 6: "i1", 7: "u1", 8: "<u2", 9: "<u4", 10: "<u8", 11: "?"
}  # fmt: skip
DAY, MOMENT, TEXT = 12, 13, 14
MAXIMUM_COLUMNS = 10_000
MAXIMUM_NAME = 1000
MAXIMUM_TEXT = 10_000
_STORED = KINDS | {DAY: "<i4", MOMENT: "<i8"}
_KINDS_OF = {np.dtype(kind): number for number, kind in KINDS.items()}


@dataclass(frozen=True)
class Texts:
    """A column of texts: `names[places[row]]`, none where the place is -1."""

    names: list[str]
    places: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.places)

    def take(self, rows: Any) -> Texts:
        """These rows of it."""
        return Texts(self.names, self.places[rows])

    def values(self) -> npt.NDArray[np.object_]:
        """One text or None for each row."""
        return np.array([*self.names, None], np.object_)[self.places]


Column = npt.NDArray[Any] | Texts


@dataclass(frozen=True)
class Told:
    """A problem that a program tells of, in its own words."""

    code: str
    text: str


def encode(columns: Mapping[str, Column]) -> bytes:
    """The table as bytes.  Numbers, bool, datetime64[D] and datetime64[ns] are stored; ValueError for anything else."""
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1 or len(columns) > MAXIMUM_COLUMNS:
        raise ValueError("columns of different lengths, or too many of them")
    parts = [MAGIC, struct.pack("<QI", lengths.pop() if lengths else 0, len(columns))]
    for name, column in columns.items():
        kind, data = _encoded(column, name)
        text = name.encode("utf-8")
        parts += [struct.pack("<H", len(text)), text, struct.pack("<B", kind), *data]
    return b"".join(parts)


def _encoded(column: Column, name: str) -> tuple[int, Sequence[bytes]]:
    if isinstance(column, Texts):
        texts = [text.encode("utf-8") for text in column.names]
        data = [struct.pack("<I", len(texts))]
        for text in texts:
            data += [struct.pack("<I", len(text)), text]
        return TEXT, [*data, column.places.astype("<i4").tobytes()]
    if column.dtype == np.dtype("datetime64[D]"):
        return DAY, [column.astype("<i8").astype("<i4").tobytes()]
    if column.dtype == np.dtype("datetime64[ns]"):
        return MOMENT, [column.astype("<i8").tobytes()]
    little = column.dtype.newbyteorder("<")
    if little not in _KINDS_OF:
        raise ValueError(f"{name} is {column.dtype}, which is not stored")
    return _KINDS_OF[little], [np.ascontiguousarray(column, little).tobytes()]


def decode(data: bytes) -> dict[str, Column]:
    """The columns of a table, each a copy of its own; ValueError where the bytes are not exactly one table."""
    reader = _Reader(data)
    columns = reader.table()
    reader.end()
    return columns


def encode_answer(answer: Told | Mapping[str, Column]) -> bytes:
    """An answer as bytes."""
    if isinstance(answer, Told):
        texts = [text.encode("utf-8", "replace")[:MAXIMUM_TEXT] for text in (answer.code, answer.text)]
        return ANSWER + b"\0" + b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return ANSWER + b"\1" + encode(answer)


def decode_answer(data: bytes) -> Told | dict[str, Column]:
    """What a program answered; ValueError where the bytes are not exactly one answer."""
    reader = _Reader(data)
    if reader.take(len(ANSWER)) != ANSWER:
        raise ValueError("no answer")
    kind = reader.take(1)
    found: Told | dict[str, Column]
    if kind == b"\0":
        found = Told(reader.text("<I", MAXIMUM_TEXT, "replace"), reader.text("<I", MAXIMUM_TEXT, "replace"))
    elif kind == b"\1":
        found = reader.table()
    else:
        raise ValueError("an answer of unknown kind")
    reader.end()
    return found


class _Reader:
    """Takes one part after the other from bytes, never more than are there."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.place:
            raise ValueError("shorter than it says")
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def text(self, form: str, most: int, errors: str = "strict") -> str:
        count = self.number(form)
        if count > most:
            raise ValueError(f"a text of {count} bytes")
        return self.take(count).decode("utf-8", errors)

    def numbers(self, kind: str, count: int) -> npt.NDArray[Any]:
        size = np.dtype(kind).itemsize
        if count > (len(self.data) - self.place) // size:
            raise ValueError("shorter than it says")
        found = np.frombuffer(self.data, kind, count, self.place)
        self.place += count * size
        return found.astype(found.dtype.newbyteorder("="))

    def table(self) -> dict[str, Column]:
        if self.take(len(MAGIC)) != MAGIC:
            raise ValueError("no table")
        rows, count = self.number("<Q"), self.number("<I")
        if count > MAXIMUM_COLUMNS:
            raise ValueError(f"{count} columns")
        columns: dict[str, Column] = {}
        for _ in range(count):
            name = self.text("<H", MAXIMUM_NAME)
            if name in columns:
                raise ValueError(f"two columns {name!r}")
            columns[name] = self.column(self.number("<B"), rows)
        return columns

    def column(self, kind: int, rows: int) -> Column:
        if kind == TEXT:
            return self.texts(rows)
        if kind not in _STORED:
            raise ValueError(f"a column of unknown kind {kind}")
        if KINDS.get(kind) == "?":
            bits = self.numbers("u1", rows)
            if (bits > 1).any():
                raise ValueError("a truth value that is none")
            return bits.astype(np.bool_)
        numbers = self.numbers(_STORED[kind], rows)
        if kind == DAY:
            return numbers.astype(np.int64).astype("datetime64[D]")
        return numbers.astype("datetime64[ns]") if kind == MOMENT else numbers

    def texts(self, rows: int) -> Texts:
        count = self.number("<I")
        if count > (len(self.data) - self.place) // 4:
            raise ValueError("shorter than it says")
        names = [self.text("<I", MAXIMUM_TEXT) for _ in range(count)]
        places = self.numbers("<i4", rows)
        if len(set(names)) != count or (rows and (places.min() < -1 or places.max() >= count)):
            raise ValueError("texts that are given twice, or a place that has none")
        return Texts(names, places)

    def end(self) -> None:
        if self.place != len(self.data):
            raise ValueError("more bytes than it says")
