"""Tables as plain bytes come back as they went, and bytes that are no table are no table."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
import pytest

from alphaseal_converter.isolation.plain_table import (
    ANSWER,
    MAGIC,
    Column,
    Texts,
    Told,
    decode,
    decode_answer,
    encode,
    encode_answer,
)

COLUMNS: dict[str, Column] = {
    "datetime": np.array(["2024-01-02", "2024-01-03", "1969-12-31"], "datetime64[D]"),
    "instrument": Texts(["SH600000", "深圳"], np.array([0, -1, 1], np.int32)),
    "moment": np.array(["2024-01-02T10:00", "NaT", "1969-12-31"], "datetime64[ns]"),
    **{kind: np.array([0, 1, 2], kind) for kind in ("f8", "f4", "i8", "i4", "i2", "i1", "u1", "u2", "u4", "u8")},
    "flag": np.array([True, False, True]),
    "special": np.array([np.nan, -np.inf, -0.0]),
}


def test_a_table_comes_back_as_it_went() -> None:
    """Every kind of column, bit by bit, in order; arrays of the other byte order too."""
    found = decode(encode(COLUMNS | {"big": np.array([1, 2, 3], ">f8")}))
    assert list(found) == [*COLUMNS, "big"]
    for name, column in COLUMNS.items():
        back = found[name]
        if isinstance(column, Texts):
            assert isinstance(back, Texts)
            assert (back.names, back.places.tolist()) == (column.names, column.places.tolist())
            assert back.values().tolist() == ["SH600000", None, "深圳"]
        else:
            assert isinstance(back, np.ndarray)
            assert (back.dtype, back.tobytes()) == (column.dtype, column.tobytes())
    assert isinstance(found["big"], np.ndarray)
    assert found["big"].tolist() == [1, 2, 3]


def test_answers_are_a_table_or_a_problem() -> None:
    """Both come back; a text longer than allowed is cut."""
    assert decode_answer(encode_answer(Told("failed", "line 3: Ärger"))) == Told("failed", "line 3: Ärger")
    found = decode_answer(encode_answer({"a": np.array([1.0])}))
    assert isinstance(found, dict)
    assert len(decode_answer(encode_answer(Told("failed", "x" * 20_000))).text) == 10_000  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "column", [np.array([1 + 2j]), np.array(["text"]), np.array([None]), np.zeros(1, "f2"), np.zeros(1, "M8[s]")]
)
def test_other_columns_are_not_stored(column: Any) -> None:
    """What has no kind is refused where the table is written."""
    with pytest.raises(ValueError, match="not stored"):
        encode({"a": column})


def test_columns_of_different_lengths_are_no_table() -> None:
    """All columns have as many rows."""
    with pytest.raises(ValueError, match="lengths"):
        encode({"a": np.zeros(1), "b": np.zeros(2)})


def table(rows: int, *columns: bytes, count: int | None = None) -> bytes:
    return MAGIC + struct.pack("<QI", rows, len(columns) if count is None else count) + b"".join(columns)


def column(name: bytes, kind: int, data: bytes = b"") -> bytes:
    return struct.pack("<H", len(name)) + name + bytes([kind]) + data


TEXT = struct.pack("<II", 1, 1) + b"x"
FORGED = {
    "nothing": b"",
    "another magic": b"ASTABLE2" + table(0)[8:],
    "no counts": MAGIC,
    "more rows than bytes": table(2**62, column(b"a", 1, bytes(8))),
    "rows whose bytes overflow": table(2**61, column(b"a", 1, bytes(8))),
    "more columns than allowed": table(0, count=2**32 - 1),
    "a column that is not there": table(1, column(b"a", 7, b"x"), count=2),
    "bytes behind": table(1, column(b"a", 7, b"x")) + b"x",
    "a name of other bytes": table(0, column(b"\xff", 1)),
    "a lone surrogate": table(0, column(b"\xed\xa0\x80", 1)),
    "a long name": table(0, column(b"a" * 1001, 1)),
    "two of one name": table(0, column(b"a", 1), column(b"a", 1)),
    "an unknown kind": table(0, column(b"a", 15)),
    "kind zero": table(0, column(b"a", 0)),
    "a truth value of two": table(1, column(b"a", 11, b"\2")),
    "more texts than bytes": table(0, column(b"a", 14, struct.pack("<I", 2**32 - 1))),
    "a long text": table(0, column(b"a", 14, struct.pack("<II", 1, 10_001) + b"x" * 10_001)),
    "a text that ends": table(0, column(b"a", 14, struct.pack("<II", 1, 5) + b"x")),
    "the same text twice": table(0, column(b"a", 14, struct.pack("<I", 2) + 2 * TEXT[4:])),
    "a place without text": table(1, column(b"a", 14, TEXT + struct.pack("<i", 1))),
    "a place below none": table(1, column(b"a", 14, TEXT + struct.pack("<i", -2))),
    "a text of other bytes": table(0, column(b"a", 14, struct.pack("<II", 1, 1) + b"\xff")),
}


@pytest.mark.attack("factors: forged answers")
@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED.keys())
def test_what_is_no_table_is_refused(data: bytes) -> None:
    """Every count is checked against the bytes that are there; the same inside of an answer."""
    with pytest.raises(ValueError):
        decode(data)
    with pytest.raises(ValueError):
        decode_answer(ANSWER + b"\1" + data)


def test_columns_are_counted_before_they_are_read() -> None:
    """By their bound, not by the bytes that end somewhere."""
    with pytest.raises(ValueError, match="4294967295 columns"):
        decode(table(0, count=2**32 - 1))


@pytest.mark.attack("factors: forged answers")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"ASANSWES" + b"\1" + encode({}),
        ANSWER,
        ANSWER + b"\2",
        ANSWER + b"\0",
        ANSWER + b"\0" + struct.pack("<I", 2**31),
        ANSWER + b"\0" + bytes(8) + b"x",
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    """Neither JSON nor half an answer nor one with something behind it."""
    with pytest.raises(ValueError):
        decode_answer(data)


@pytest.mark.attack("factors: damaged answers", attempts=20_000)
def test_damaged_answers_are_refused_or_are_tables() -> None:
    """20 000 mutations: an error of one kind, or a table whose columns are as long as it says."""
    generator = random.Random(20261130)
    whole = encode_answer({name: COLUMNS[name] for name in ("datetime", "instrument", "f8", "flag", "moment")})
    refused = 0
    for _ in range(20_000):
        data = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            place = generator.randrange(len(data))
            match generator.randrange(4):
                case 0:
                    data[place] = generator.randrange(256)
                case 1:
                    del data[place : place + generator.randint(1, 8)]
                case 2:
                    data[place:place] = generator.randbytes(generator.randint(1, 8))
                case _:
                    data[place : place + 4] = struct.pack("<I", generator.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1]))
            if not data:
                break
        try:
            found = decode_answer(bytes(data))
        except ValueError:
            refused += 1
            continue
        if isinstance(found, dict):
            assert len({len(part) for part in found.values()}) <= 1
            assert sum(len(part) for part in found.values()) <= len(data)
    assert refused > 15_000
