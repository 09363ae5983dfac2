"""Golden rows and factor tables of which a footer or a page says something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alphaseal.errors import PolicyError
from alphaseal.gate import data as data_gate
from alphaseal.scoring import golden
from fuzz_bundle import ROWS, small_bundle
from fuzz_mutations import Fields, Thrift, write_structure


def golden_with(change: Callable[[Fields], object], kind: int = 1) -> bytes:
    """Golden rows after `change` of the fields of the footer."""
    data = small_bundle().goldens[kind]
    length = int.from_bytes(data[-8:-4], "little")
    footer = Thrift(data[-8 - length : -8]).structure()
    change(footer)
    tail = write_structure(footer)
    return data[: -8 - length] + tail + len(tail).to_bytes(4, "little") + b"PAR1"


def field(fields: Fields, number: int) -> Any:
    """The value of one field of a structure."""
    return next(entry[2] for entry in fields if entry[0] == number)


def put(fields: Fields, number: int, value: object) -> None:
    """Another value of one field of a structure."""
    next(entry for entry in fields if entry[0] == number)[2] = value


def group(footer: Fields) -> Fields:
    """The first row group."""
    return field(footer, 4)[1][0]


def chunk(footer: Fields, place: int = 3) -> Fields:
    """What is said of one column of it."""
    return field(group(footer), 1)[1][place]


def exchange_texts(chunks: list[Fields]) -> None:
    """The columns `case` and `instrument`, which are of one type."""
    chunks[0], chunks[2] = chunks[2], chunks[0]


def read_golden(data: bytes) -> PolicyError:
    """What the data gate says of golden rows."""
    with pytest.raises(PolicyError) as caught:
        data_gate.read_exact(data, golden.golden_schema(small_bundle().manifest.features), ROWS, "golden.parquet")
    return caught.value


FOOTERS: dict[str, tuple[Callable[[Fields], object], str]] = {
    "encryption": (lambda f: f.append([8, 12, []]), "more than a footer holds"),
    "signing_key": (lambda f: f.append([9, 8, b"x"]), "more than a footer holds"),
    "field_twice": (lambda f: f.insert(0, list(f[0])), "a field twice"),
    "no_groups": (lambda f: f.remove(next(entry for entry in f if entry[0] == 4)), "lacks a list"),
    "no_rows": (lambda f: group(f).remove(next(entry for entry in group(f) if entry[0] == 3)), "lacks a number"),
    "chunk_in_another_file": (lambda f: chunk(f).insert(0, [1, 8, b"other.parquet"]), "somewhere else"),
    "chunk_encrypted": (lambda f: chunk(f).append([9, 8, b"x"]), "somewhere else"),
    "chunk_not_described": (
        lambda f: chunk(f).remove(next(entry for entry in chunk(f) if entry[0] == 3)),
        "somewhere else",
    ),
    "chunk_of_type_9": (lambda f: put(field(chunk(f), 3), 1, 9), "somewhere else"),
    "chunks_exchanged": (lambda f: field(group(f), 1)[1].reverse(), "somewhere else"),
    "chunks_of_texts_exchanged": (lambda f: exchange_texts(field(group(f), 1)[1]), "not in the order of its schema"),
    "chunk_nowhere": (lambda f: put(field(chunk(f), 3), 9, 2), "lies nowhere"),
    "chunk_of_negative_size": (lambda f: put(field(chunk(f), 3), 7, -5), "lies nowhere"),
    "chunk_too_short": (lambda f: put(field(chunk(f), 3), 7, 60), "is cut off"),
    "chunk_at_a_bad_place": (lambda f: put(field(chunk(f), 3), 9, 5), "data.parquet"),
    "unknown_kind": (lambda f: f.append([12, 13, b""]), "a field of kind 13"),
    "long_number": (lambda f: f.append([12, 7, b""]) or f.append([13, 3, b""]), "data.parquet"),
    "rows_of_the_group": (lambda f: put(group(f), 3, ROWS - 1), "the rows are not those"),
    "rows_of_the_file": (lambda f: put(f, 3, ROWS + 1), "the rows are not those"),
}


@pytest.mark.parametrize("name", FOOTERS)
def test_footers_that_say_something_else_are_refused(name: str) -> None:
    """Each in its own words."""
    change, words = FOOTERS[name]
    error = read_golden(golden_with(change))
    assert words in f"{error.code} {error}"


@pytest.mark.parametrize(
    ("footer", "words"),
    [
        (b"\x15" + b"\x80" * 12, "a number that is too long"),
        (b"\x1c" * 12 + b"\0" * 12, "nested too deeply"),
        (b"\x19\xfc\xff\xff\xff\xff\x0f", "cut off"),
        (b"\x15", "cut off"),
        (b"\0\0", "more than a footer holds"),
    ],
)
def test_footers_that_are_none_are_refused(footer: bytes, words: str) -> None:
    """Thrift that does not end, or nests, or claims more than there is."""
    error = read_golden(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    assert (error.code, words in error.message) == ("data.parquet", True)


def with_page(change: Callable[[Fields], object]) -> bytes:
    """Unpacked golden rows after `change` of the header of one page; it keeps its length."""
    data = small_bundle().goldens[1]
    length = int.from_bytes(data[-8:-4], "little")
    offset = field(field(chunk(Thrift(data[-8 - length : -8]).structure()), 3), 9)
    reader = Thrift(data, offset)
    header = reader.structure()
    change(header)
    head = write_structure(header)
    assert len(head) == reader.at - offset
    return data[:offset] + head + data[reader.at :]


def test_pages_of_more_values_than_rows_are_refused() -> None:
    """A page that says one value more than there are rows."""
    assert "more values than its row group" in str(
        read_golden(with_page(lambda header: put(field(header, 5), 1, ROWS + 1)))
    )


@pytest.mark.parametrize(
    ("everywhere", "words"), [(False, "not one value for each row"), (True, "have not the values that the footer says")]
)
def test_fewer_values_than_rows_are_refused(everywhere: bool, words: str) -> None:
    """A footer that says one row more than the pages hold, in the groups only or of every column too."""

    def change(footer: Fields) -> None:
        put(footer, 3, ROWS + 1)
        put(group(footer), 3, ROWS + 1)
        for place in range(len(field(group(footer), 1)[1]) if everywhere else 0):
            put(field(chunk(footer, place), 3), 5, ROWS + 1)

    schema = golden.golden_schema(small_bundle().manifest.features)
    with pytest.raises(PolicyError) as caught:
        data_gate.read_exact(golden_with(change), schema, ROWS + 1, "golden.parquet")
    assert caught.value.code == "data.parquet"
    assert words in caught.value.message


def test_damaged_pages_are_called_damaged() -> None:
    """A packed page that does not unpack."""
    data = bytearray(small_bundle().goldens[0])
    start = data.index(b"\x28\xb5\x2f\xfd")  # the first frame of zstd
    data[start : start + 4] = b"\0\0\0\0"
    error = read_golden(bytes(data))
    assert (error.code, "zstd" in error.message.lower()) == ("data.parquet", True)


def test_factor_tables_with_a_column_behind_the_file_are_refused(tmp_path: Path) -> None:
    """Pages are looked for where the footer says, and there is nothing."""
    data = small_bundle().factors[1]
    length = int.from_bytes(data[-8:-4], "little")
    footer = Thrift(data[-8 - length : -8]).structure()
    put(field(chunk(footer), 3), 9, 1 << 20)
    tail = write_structure(footer)
    path = tmp_path / "factors.parquet"
    path.write_bytes(data[: -8 - length] + tail + len(tail).to_bytes(4, "little") + b"PAR1")
    factors = small_bundle().manifest.factors
    assert factors is not None
    with pytest.raises(PolicyError) as caught, path.open("rb") as file:
        data_gate.check_factors(file, factors)
    assert caught.value.code == "data.parquet"
    assert "closed file" not in caught.value.message
