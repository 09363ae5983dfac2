"""Our own reading of footers and page headers: each rule by its own words, on good files of which one thing was changed."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal import sealed
from alphaseal.disk import verified as bundle_files
from alphaseal.disk.verified import BundleFiles, VerifiedFile
from alphaseal.errors import DigestError, PolicyError
from alphaseal.gate import data as data_gate
from alphaseal.gate.parquet.footer import MAXIMUM_COLUMNS, Footer, read_footer
from alphaseal.gate.parquet.pages import CODECS, check_pages
from alphaseal.gate.parquet.thrift import PageProblem, read_struct, read_value
from bundles import factor_plain_bundle
from fuzz_mutations import Fields, Thrift, write_structure

ROWS = 8
SCHEMA = pa.schema([pa.field("a", pa.float64(), nullable=False), pa.field("b", pa.int64(), nullable=False)])


def good_file(**options: object) -> bytes:
    out = io.BytesIO()
    table = pa.table({"a": [float(row) for row in range(ROWS)], "b": list(range(ROWS))}, schema=SCHEMA)
    pq.write_table(table, out, store_schema=False, compression="none", **options)
    return out.getvalue()


def footer_of(data: bytes) -> bytes:
    length = int.from_bytes(data[-8:-4], "little")
    return data[-8 - length : -8]


def changed(change: Callable[[Fields], object]) -> bytes:
    fields = Thrift(footer_of(good_file())).structure()
    change(fields)
    return write_structure(fields)


def field(fields: Fields, number: int) -> list[object]:
    """The whole entry: number, kind, value."""
    return next(entry for entry in fields if entry[0] == number)


def schema(fields: Fields) -> list[Fields]:
    found: list[Fields] = field(fields, 2)[2][1]  # type: ignore[index]
    return found


def group(fields: Fields) -> Fields:
    found: Fields = field(fields, 4)[2][1][0]  # type: ignore[index]
    return found


def column(fields: Fields) -> Fields:
    found: Fields = field(field(group(fields), 1)[2][1][0], 3)[2]  # type: ignore[index,assignment]
    return found


BROKEN: dict[str, tuple[Callable[[Fields], object], str]] = {
    "no_schema": (lambda f: f.remove(field(f, 2)), "not the columns of the schema"),
    "neither_schema_nor_groups": (lambda f: (f.remove(field(f, 2)), f.remove(field(f, 4))), "lacks a list"),
    "groups_of_numbers": (lambda f: field(f, 4).__setitem__(2, (5, [1])), "lacks a list"),
    "no_groups": (lambda f: f.remove(field(f, 4)), "lacks a list"),
    "schema_of_nothing": (lambda f: schema(f).clear(), "no columns, or too many"),
    "schema_of_too_much": (
        lambda f: schema(f).extend([schema(f)[1]] * (MAXIMUM_COLUMNS + 1)),
        "no columns, or too many",
    ),
    "schema_without_an_end": (lambda f: field(schema(f)[0], 5).__setitem__(2, 9), "no tree"),
    "schema_behind_its_end": (lambda f: schema(f).append(schema(f)[1]), "no tree"),
    "schema_without_a_name": (lambda f: schema(f)[1].remove(field(schema(f)[1], 4)), "no tree"),
    "column_of_no_type": (lambda f: field(schema(f)[1], 1).__setitem__(2, 8), "of no type"),
    "column_of_a_type_below": (lambda f: field(schema(f)[1], 1).__setitem__(2, -1), "of no type"),
    "name_that_is_no_text": (lambda f: field(schema(f)[1], 4).__setitem__(2, b"\xff"), "no UTF-8"),
    "group_of_one_column": (lambda f: field(group(f), 1)[2][1].pop(), "not the columns of the schema"),  # type: ignore[index]
    "group_without_rows": (lambda f: group(f).remove(field(group(f), 3)), "lacks a number"),
    "group_without_columns": (lambda f: group(f).remove(field(group(f), 1)), "lacks a number"),
    "more_than_a_footer": (lambda f: f.append([9, 8, b"signature"]), "more than a footer holds"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_footers_are_refused_by_the_rule_that_they_break(name: str) -> None:
    """Not by whatever comes after it."""
    change, words = BROKEN[name]
    with pytest.raises(PageProblem, match=words):
        Footer(changed(change))


BROKEN_COLUMNS: dict[str, tuple[Callable[[Fields], object], str]] = {
    "number_that_is_none": (lambda f: column(f).remove(field(column(f), 5)), "lacks a number"),
    "path_that_is_none": (lambda f: column(f).remove(field(column(f), 3)), "lacks a list"),
    "path_of_numbers": (lambda f: field(column(f), 3).__setitem__(2, (5, [1])), "no UTF-8"),
    "path_of_another": (lambda f: field(column(f), 3).__setitem__(2, (8, [b"b"])), "not in the order"),
    "type_of_another": (lambda f: field(column(f), 1).__setitem__(2, 2), "of another type"),
}


@pytest.mark.parametrize("name", BROKEN_COLUMNS)
def test_columns_are_refused_by_the_rule_that_they_break(name: str) -> None:
    """When they are asked for: a footer of thousands of columns is looked at where it is read."""
    change, words = BROKEN_COLUMNS[name]
    footer = Footer(changed(change))
    with pytest.raises(PageProblem, match=words):
        list(footer.chunks([0]))


def test_fields_that_go_back_are_refused() -> None:
    """The long form of a field's number is for steps backwards, which no footer has, nor a row group of it."""
    whole = footer_of(good_file())
    with pytest.raises(PageProblem, match="out of order"):
        Footer(whole[:-1] + b"\x05\x02\x00\x00")
    begin = Footer(whole).groups[0].places[0] - 2  # of the group: the head of its list of columns takes two bytes
    inside = whole[:begin] + b"\x05\x02\x00" + whole[begin:]
    with pytest.raises(PageProblem, match="out of order"):
        Footer(inside)


def test_a_footer_that_ends_early_is_refused() -> None:
    """In the footer itself, and in the description of a column, at which the footer's reading does not look."""
    whole = footer_of(good_file())
    for end in range(len(whole)):
        with pytest.raises(PageProblem):
            list(Footer(whole[:end]).chunks([0]))
    footer = Footer(whole)
    footer._data = whole[: footer.groups[0].places[0] + 3]
    with pytest.raises(PageProblem, match="cut off"):
        list(footer.chunks([0]))


def test_a_file_that_shrinks_is_refused() -> None:
    """Between the look at its end and the look at its footer."""
    data = good_file()
    with pytest.raises(PageProblem, match="shorter"):
        read_footer(lambda offset, count: data[offset : offset + count][: min(count, 8)], len(data))


def test_headers_have_each_field_once_and_end_where_they_end() -> None:
    """A field that comes twice has two meanings; a text or number behind the end has none."""
    with pytest.raises(PageProblem, match="twice"):
        read_struct(b"\x15\x02\x05\x02\x04\x00", 0)
    for value, kind in ((b"\x05ab", 8), (b"1234567", 7), (b"\x3512", 9)):
        with pytest.raises(IndexError):
            read_value(value, 0, kind)
    with pytest.raises(PageProblem, match="too long"):
        read_value(b"\x80" * 11 + b"\x01", 0, 5)


PAGES: dict[str, tuple[Fields, str]] = {
    "more_missing_than_values": (
        [[1, 5, ROWS], [2, 5, ROWS + 1], [3, 5, ROWS], [4, 5, 0], [5, 5, 0], [6, 5, 0]],
        "one row",
    ),
    "fewer_rows_than_values": ([[1, 5, ROWS], [2, 5, 0], [3, 5, ROWS - 1], [4, 5, 0], [5, 5, 0], [6, 5, 0]], "one row"),
    "no_lengths_of_levels": ([[1, 5, ROWS], [2, 5, 0], [3, 5, ROWS], [4, 5, 0]], "one row"),
    "levels_longer_than_the_page": (
        [[1, 5, ROWS], [2, 5, 0], [3, 5, ROWS], [4, 5, 0], [5, 5, 60], [6, 5, 5]],
        "levels",
    ),
}


def check(header: Fields, body: bytes, codec: str = "UNCOMPRESSED") -> int:
    """One column whose only page has this header."""
    data = b"PAR1" + write_structure(header) + body
    from alphaseal.gate.parquet.footer import Chunk

    chunk = Chunk("a", codec, ROWS, ROWS, 4, len(data) - 4)
    return check_pages(lambda offset, count: data[offset : offset + count], [chunk], codecs=CODECS, maximum=1 << 20)


@pytest.mark.parametrize("name", PAGES)
def test_pages_of_the_second_kind_say_what_they_hold(name: str) -> None:
    """Its levels lie unpacked before its values, and Arrow believes their lengths."""
    body, words = PAGES[name]
    good: Fields = [[1, 5, ROWS], [2, 5, 0], [3, 5, ROWS], [4, 5, 0], [5, 5, 0], [6, 5, 0]]
    assert check([[1, 5, 3], [2, 5, 64], [3, 5, 64], [8, 12, good]], bytes(64)) == 64
    with pytest.raises(PageProblem, match=words):
        check([[1, 5, 3], [2, 5, 64], [3, 5, 64], [8, 12, body]], bytes(64))


@pytest.mark.parametrize("encoding", [[12, []], [9, (5, [0])], [8, b"0"], [5, -1], [5, 77]])
def test_encodings_are_numbers_that_are_known(encoding: list[object]) -> None:
    """Where a number belongs a file may have a structure, a list or a text."""
    body: Fields = [[1, 5, ROWS], [2, *encoding], [3, 5, 3], [4, 5, 3]]
    with pytest.raises(PageProblem, match="not read here"):
        check([[1, 5, 0], [2, 5, 64], [3, 5, 64], [5, 12, body]], bytes(64))


def test_dictionaries_come_first_and_have_a_byte_for_each_value() -> None:
    """A dictionary behind a page of values belongs to none; one of more values than bytes is a bomb."""
    page: Fields = [[1, 5, 0], [2, 5, 32], [3, 5, 32], [5, 12, [[1, 5, 4], [2, 5, 0], [3, 5, 3], [4, 5, 3]]]]
    dictionary: Fields = [[1, 5, 2], [2, 5, 32], [3, 5, 32], [7, 12, [[1, 5, 4], [2, 5, 0]]]]
    swollen: Fields = [[1, 5, 2], [2, 5, 32], [3, 5, 32], [7, 12, [[1, 5, 33], [2, 5, 0]]]]
    two = write_structure(page) + bytes(32)
    assert check(dictionary, bytes(32) + two + two) == 96
    with pytest.raises(PageProblem, match="not its first page"):
        check(page, bytes(32) + write_structure(dictionary) + bytes(32) + two)
    with pytest.raises(PageProblem, match="more values than bytes"):
        check(swollen, bytes(32) + two + two)


class Batches:
    """What pyarrow's file gives: some batches, and then perhaps an error."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count, self.error = count, error

    def iter_batches(self, batch_size: int) -> object:
        yield from [pa.RecordBatch.from_pydict({"a": [1.0] * 4, "b": [1] * 4}, schema=SCHEMA)] * self.count
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("batches", "code"),
    [
        (Batches(1), "data.schema"),
        (Batches(3), "data.growth"),
        (Batches(2, pa.ArrowInvalid("damaged")), "data.parquet"),
        (Batches(1, OSError("damaged")), "data.parquet"),
    ],
    ids=["too_few", "too_many", "damaged", "unreadable"],
)
def test_decoded_rows_are_counted(batches: Batches, code: str) -> None:
    """Whatever footer and pages said before: the bound holds while pyarrow decodes."""
    with pytest.raises(PolicyError) as caught:
        list(data_gate._decode(batches, SCHEMA, ROWS, "golden.parquet"))
    assert caught.value.code == code
    assert len(list(data_gate._decode(Batches(2), SCHEMA, ROWS, "golden.parquet"))) == 2


def test_a_file_that_arrow_does_not_open_is_refused() -> None:
    """What our own reading takes and Arrow does not: a column of bytes that is said to be text of another length."""

    class Broken(io.BytesIO):
        looks = 0

        def read(self, count: int | None = -1) -> bytes:
            Broken.looks += 1
            if Broken.looks > 3:
                raise OSError("the disk is gone")
            return super().read(count)

    with pytest.raises(PolicyError) as caught, pa.PythonFile(Broken(good_file()), mode="r") as handle:
        data_gate._open(handle, SCHEMA, ROWS, "golden.parquet")
    assert caught.value.code == "data.parquet"


def test_golden_rows_of_a_huge_file_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the manifest says of it, before a byte is read."""
    bundle = alphaseal.open(factor_plain_bundle(), trust=alphaseal.Trust.unsigned())
    size = bundle.manifest.file(bundle.manifest.golden.file).size
    monkeypatch.setattr(sealed, "MAXIMUM_GOLDEN", size - 1)
    with pytest.raises(PolicyError) as caught:
        bundle.golden()
    assert caught.value.code == "data.growth"
    monkeypatch.setattr(sealed, "MAXIMUM_GOLDEN", size)
    assert len(bundle.golden()) == size


def test_blocks_are_compared_when_they_are_read(tmp_path: Path) -> None:
    """A block that changed since it was verified is refused; after `close` nothing is read."""
    bundle = alphaseal.open(factor_plain_bundle(), trust=alphaseal.Trust.unsigned())
    assert bundle.manifest.factors is not None
    entry = bundle.manifest.file(bundle.manifest.factors.file)
    whole = (Path(bundle.directory) / entry.path).read_bytes()
    digests = [
        hashlib.sha256(whole[at : at + bundle_files._BLOCK]).digest()
        for at in range(0, len(whole), bundle_files._BLOCK)
    ]
    assert VerifiedFile(io.BytesIO(whole), entry, digests, threading.RLock()).read() == whole
    other = io.BytesIO(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(DigestError):
        VerifiedFile(other, entry, digests, threading.RLock()).read(1)
    files = BundleFiles(Path(bundle.directory), bundle.manifest)
    files.close()
    with pytest.raises(ValueError, match="closed"):
        files.verified(entry.path)
