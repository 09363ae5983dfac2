"""Tables of a caller that lie: files whose footers and pages contradict themselves, and buffers in memory that do."""

from __future__ import annotations

import ctypes
import datetime
import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphaseal.arrow import stream as arrow_stream
from alphaseal.bars.calendar import read_bars
from alphaseal.bars.source import BarSource
from alphaseal.errors import InputError
from alphaseal.gate.parquet.footer import read_footer
from alphaseal.gate.parquet.thrift import PageProblem, read_struct, skip_struct
from alphaseal.tables import features
from alphaseal.tables.feature_files import iter_parquet, read_parquet
from alphaseal.tables.features import FeatureColumn, read_table, table_of
from alphaseal.tables.look_back import newest_day, span_of
from alphaseal.tables.parquet import open_parquet
from alphaseal.tables.request import Request
from fuzz_mutations import Fields, Thrift, write_structure
from fuzz_tables import DAY, DAYS, FEATURES, FIELDS, FIRST_DAY, ROWS, STOCKS, columns, files
from raising import refusal

Change = Callable[[Fields], object]
ONE = [FeatureColumn("a", "float64")]


refused = partial(refusal, InputError)


# --- footers and pages ------------------------------------------------------------------------------------------------


def field(fields: Fields, number: int) -> Any:
    return next(value for own, _, value in fields if own == number)


def put(fields: Fields, number: int, value: Any) -> None:
    next(entry for entry in fields if entry[0] == number)[2] = value


def with_footer(change: Change, data: bytes | None = None) -> bytes:
    """A caller's file after a change of its footer."""
    data = files()[1] if data is None else data
    length = int.from_bytes(data[-8:-4], "little")
    footer = Thrift(data[-8 - length : -8]).structure()
    change(footer)
    tail = write_structure(footer)
    return data[: -8 - length] + tail + len(tail).to_bytes(4, "little") + b"PAR1"


def meta(footer: Fields, name: bytes = b"a", group: int = -2) -> Fields:
    """The description of a column of one group: that of the day that is asked for."""
    for chunk in field(field(footer, 4)[1][group], 1)[1]:
        found: Fields = field(chunk, 3)
        if field(found, 3)[1] == [name]:
            return found
    raise AssertionError(name)


def chunk_of(footer: Fields, name: bytes = b"a") -> Fields:
    chunks: list[Fields] = field(field(footer, 4)[1][-2], 1)[1]
    return next(chunk for chunk in chunks if field(field(chunk, 3), 3)[1] == [name])


DAMAGED: dict[str, Change] = {
    "codec_that_there_is_not": lambda f: put(meta(f), 4, 36),
    "codec_below_zero": lambda f: put(meta(f), 4, -32),
    "lzo": lambda f: put(meta(f), 4, 3),
    "type_of_another": lambda f: put(meta(f), 1, 1),
    "type_that_there_is_not": lambda f: put(meta(f), 1, 99),
    "no_description": lambda f: chunk_of(f).remove(next(entry for entry in chunk_of(f) if entry[0] == 3)),
    "in_another_file": lambda f: chunk_of(f).insert(0, [1, 8, b"other.parquet"]),
    "encrypted_column": lambda f: chunk_of(f).append([8, 12, []]),
    "encrypted_footer": lambda f: f.append([8, 12, []]),
    "name_of_another": lambda f: put(meta(f), 3, (8, [b"b"])),
    "name_that_is_no_text": lambda f: put(meta(f), 3, (8, [b"\xff\xfe"])),
    "name_in_the_schema_that_is_no_text": lambda f: put(field(f, 2)[1][3], 4, b"\xff"),
    "more_children_than_there_are": lambda f: put(field(f, 2)[1][0], 5, 99),
    "fewer_columns_than_the_schema": lambda f: field(field(f, 4)[1][-2], 1)[1].pop(),
    "more_rows_than_the_groups": lambda f: put(f, 3, ROWS + 1),
    "fewer_rows_than_the_pages": lambda f: (put(f, 3, ROWS - 1), put(field(f, 4)[1][-2], 3, STOCKS - 1)),
    "fewer_values_than_rows": lambda f: put(meta(f), 5, STOCKS - 1),
    "rows_below_zero": lambda f: put(field(f, 4)[1][-2], 3, -1),
    "pages_behind_the_file": lambda f: (put(meta(f), 9, 1 << 40), put(meta(f), 11, (1 << 40) - 1)),
    "pages_before_the_file": lambda f: put(meta(f), 9, -5),
    "pages_of_no_bytes": lambda f: put(meta(f), 7, 0),
    "nobody_knows_the_rows": lambda f: f.remove(next(entry for entry in f if entry[0] == 3)),
    "no_groups": lambda f: f.remove(next(entry for entry in f if entry[0] == 4)),
    "statistics_nested_deeply": lambda f: meta(f).append([40, 12, _nested(12)]),
}


def _nested(depth: int) -> Fields:
    fields: Fields = []
    for _ in range(depth):
        fields = [[1, 12, fields]]
    return fields


@pytest.mark.attack("tables: damaged parquet files", attempts=2)
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_footers_are_refused_by_name(name: str) -> None:
    """Whatever pyarrow would do with it: for one date, for all dates in turn, and as bars."""
    data = with_footer(DAMAGED[name])
    assert refused(lambda: read_parquet(data, FEATURES, date=DAY)).code == "features.not_parquet"
    assert refused(lambda: list(iter_parquet(data, FEATURES))).code == "features.not_parquet"
    assert refused(lambda: read_bars(data, ["a", "c"], window=1, date=DAY)).code == "features.not_parquet"


@pytest.mark.attack("tables: damaged parquet files")
@pytest.mark.parametrize("levels", [0, 1, 5])
def test_histograms_of_another_size_are_no_fault_of_ours(levels: int) -> None:
    """pyarrow builds what Python asks a column for and aborts at such a histogram; nobody asks it."""

    def change(footer: Fields) -> None:
        sizes = next((entry for entry in meta(footer) if entry[0] == 16), None)
        if sizes is None:
            meta(footer).append([16, 12, [[3, 9, (6, [1] * levels)]]])
        else:
            sizes[2] = [[3, 9, (6, [1] * levels)]]

    data = with_footer(change)
    outcomes: list[object] = []
    try:
        outcomes.append(len(read_parquet(data, FEATURES, date=DAY)))
    except InputError as error:
        outcomes.append(error.code)
    assert outcomes[0] in (STOCKS, "features.not_parquet")


def test_the_skipping_reader_stands_where_the_reading_one_does() -> None:
    """Both find the same end of every structure of every file, and the same refusals."""
    for data in files():
        length = int.from_bytes(data[-8:-4], "little")
        footer = data[-8 - length : -8]
        assert read_struct(footer, 0)[1] == skip_struct(footer, 0) == length
        for cut in range(0, length, 7):
            for reader in (read_struct, skip_struct):
                with pytest.raises((IndexError, PageProblem)):
                    reader(footer[:cut], 0)
    with pytest.raises(PageProblem, match="nested"):
        skip_struct(write_structure(_nested(12)), 0)
    long_form = b"\x05\x02\x04" + b"\x15\x06" + b"\x0c\x08\x15\x02\x00" + b"\x00"
    assert read_struct(long_form, 0)[1] == skip_struct(long_form, 0) == len(long_form)


def test_footers_say_what_pyarrow_says_of_good_files() -> None:
    """Columns, groups, rows, places and sizes of the files that programs write."""
    for data in files():
        known = pq.read_metadata(io.BytesIO(data))
        footer = read_footer(lambda offset, count, data=data: data[offset : offset + count], len(data))  # type: ignore[misc]
        assert list(footer.columns) == [known.schema.column(place).path for place in range(known.num_columns)]
        assert [group.rows for group in footer.groups] == [
            known.row_group(group).num_rows for group in range(known.num_row_groups)
        ]
        for chunk, (group, place) in zip(
            footer.chunks(range(known.num_row_groups)),
            ((group, place) for group in range(known.num_row_groups) for place in range(known.num_columns)),
            strict=True,
        ):
            column = known.row_group(group).column(place)
            start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
            assert (chunk.name, chunk.start) == (column.path_in_schema, start)
            assert (chunk.values, chunk.size) == (column.num_values, column.total_compressed_size)
            assert chunk.codec.removesuffix("_RAW") == column.compression


# --- statistics ---------------------------------------------------------------------------------------------------------


def _lying(said: Sequence[int], held: Sequence[int], kind: Any = None) -> bytes:
    """One row in each group: the footer says one day of it, its pages hold another; days from the first on."""

    def of_days(days: Sequence[int]) -> bytes:
        dates = pa.array([FIRST_DAY + day for day in days], pa.int32()).cast(pa.date32())
        table = pa.table(
            {
                "datetime": dates if kind is None else dates.cast(kind),
                "instrument": [f"SH6{place:05d}" for place in range(len(days))],
                "a": [float(place) for place in range(len(days))],
            }
        )
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="none", use_dictionary=False, row_group_size=1, store_schema=False)
        return sink.getvalue()

    lie, truth = bytearray(of_days(said)), of_days(held)
    known = pq.read_metadata(io.BytesIO(bytes(lie)))
    for group in range(known.num_row_groups):
        column = known.row_group(group).column(0)
        place = column.data_page_offset
        lie[place : place + column.total_compressed_size] = truth[place : place + column.total_compressed_size]
    return bytes(lie)


def date_of(day: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(FIRST_DAY + day)


@pytest.mark.attack("tables: statistics that lie")
@pytest.mark.parametrize("kind", [None, pa.timestamp("ms"), pa.timestamp("us")], ids=str)
@pytest.mark.parametrize("said", [(0, 5, 5), (5, 5, 5), (0, 0, 0), (-9, 9, 0)])
def test_statistics_hide_no_row_and_promise_none(said: tuple[int, ...], kind: Any) -> None:
    """Whatever the footer says of the groups' days: the rows of a date are those whose own date it is."""
    data = _lying(said, (0, 0, 1), kind)
    assert read_parquet(data, ONE, date=date_of(0)).values.ravel().tolist() == [0.0, 1.0]
    assert read_parquet(data, ONE, date=date_of(1)).values.ravel().tolist() == [2.0]
    assert refused(lambda: read_parquet(data, ONE, date=date_of(5))).code == "features.date_absent"
    found = [block.values.ravel().tolist() for block in iter_parquet(data, ONE, block_bytes=1)]
    assert [value for block in found for value in block] == [0.0, 1.0, 2.0]


@pytest.mark.attack("tables: statistics that lie")
@pytest.mark.parametrize("said", [(0, 5, 5, 5), (5, 0, 5, 0)])
def test_statistics_change_no_span(said: tuple[int, ...]) -> None:
    """What windows and bars look back to is told by the dates themselves."""
    data = _lying(said, (0, 1, 2, 4))
    span = span_of(data, ONE, 2, Request(date_of(2)))
    assert (span.read, span.first) == (
        (np.datetime64(FIRST_DAY + 1, "D"), np.datetime64(FIRST_DAY + 2, "D")),
        np.datetime64(FIRST_DAY + 2, "D"),
    )
    assert newest_day(data, ONE, FIRST_DAY + 3) == FIRST_DAY + 2
    bars = BarSource.of(data, ["a"])
    assert bars.names_before(np.datetime64(FIRST_DAY + 2, "D")) == {"SH600000", "SH600001"}
    assert bars.reaches(FIRST_DAY + 4, FIRST_DAY + 4)
    assert not bars.reaches(FIRST_DAY + 5, FIRST_DAY + 9)


def test_dates_of_other_groups_are_dates() -> None:
    """A group that nobody asked for and whose dates are none is refused: what it hides cannot be known."""
    table = pa.table(
        {
            "datetime": pa.array([FIRST_DAY, None], pa.int32()).cast(pa.date32()),
            "instrument": ["SH600000", "SH600001"],
            "a": [1.0, 2.0],
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=1)
    assert refused(lambda: read_parquet(sink.getvalue(), ONE, date=date_of(0))).code == "features.null_key"


def test_days_of_groups_are_read_once(tmp_path: Path) -> None:
    """The dates of a file with several groups are looked at once for each opening, those of a single group never."""
    several, single = files()[1], files()[0]
    for data, groups in ((several, DAYS), (single, 1)):
        with open_parquet(data) as file:
            from alphaseal.tables.parquet import date_ranges

            assert len(date_ranges(file, "datetime")) == groups
            assert file.days_of_groups.keys() == ({"datetime"} if groups > 1 else set())
            assert date_ranges(file, "datetime") == date_ranges(file, "datetime")


# --- tables in memory ---------------------------------------------------------------------------------------------------

N = 3
_DATE = datetime.date(2024, 1, 2)


def memory_table(**other: Any) -> pa.Table:
    plain = {
        "datetime": pa.array([_DATE] * N, pa.date32()),
        "instrument": pa.array(["SH600000", "SH600001", "SZ000002"]),
        "a": pa.array([1.0, 2.0, 3.0]),
    }
    return pa.table(plain | other)


_LATER: list[Callable[[], object]] = []


def over(array: Any, *changes: tuple[int, np.ndarray]) -> Any:
    """The array over memory of its own, into which `told` writes other numbers behind Arrow's back: (buffer, content)."""
    rooms = [None if buffer is None else np.frombuffer(buffer, np.uint8).copy() for buffer in array.buffers()]
    buffers = [None if room is None else pa.py_buffer(room) for room in rooms]

    def write() -> None:
        for place, content in changes:
            room, data = rooms[place], content.view(np.uint8)
            assert room is not None
            room[: len(data)] = data

    _LATER.append(write)
    return pa.Array.from_buffers(array.type, len(array), buffers)


def told(name: str) -> Any:
    """A table that was made in good faith, whose memory lies from then on."""
    _LATER.clear()
    table = LIES[name]()
    for write in _LATER:
        write()
    return table


def texts(*ends: int) -> Any:
    return over(memory_table()["instrument"].chunk(0), (1, np.array(ends, np.int32)))


def coded(places: Sequence[int], values: Any) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), values, safe=False)


LIES: dict[str, Callable[[], pa.Table]] = {
    "ends_outside": lambda: memory_table(instrument=texts(0, 1 << 30, 1 << 30, (1 << 31) - 1)),
    "ends_negative": lambda: memory_table(instrument=texts(0, -5, 3, 2)),
    "ends_backwards": lambda: memory_table(instrument=texts(8, 0, 24, 16)),
    "first_end_negative": lambda: memory_table(instrument=texts(-(1 << 31), 8, 16, 24)),
    "no_text": lambda: memory_table(
        instrument=over(memory_table()["instrument"].chunk(0), (2, np.full(8, 0xFF, np.uint8)))
    ),
    "dictionary_place_outside": lambda: memory_table(
        instrument=coded([0, 1, 1 << 30], pa.array(["SH600000", "SH600001"]))
    ),
    "dictionary_date_outside": lambda: memory_table(datetime=coded([0, -7, 1 << 30], pa.array([_DATE]))),
    "dictionary_number_outside": lambda: memory_table(a=coded([0, -7, 1 << 30], pa.array([1.0]))),
    "dictionary_of_no_text": lambda: memory_table(
        instrument=coded([0, 0, 0], over(pa.array(["SH600000"]), (2, np.full(8, 0xFF, np.uint8))))
    ),
    "dictionary_of_texts_outside": lambda: memory_table(
        instrument=coded([0, 0, 0], over(pa.array(["SH600000"]), (1, np.array([0, 1 << 30], np.int32))))
    ),
}


class Stream:
    """A table as any other library would hand it over."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__()


WAYS: dict[str, Callable[[pa.Table], Any]] = {
    "table": lambda table: table,
    "batch": lambda table: table.combine_chunks().to_batches()[0],
    "reader": lambda table: table.to_reader(),
    "stream": Stream,
}


@pytest.mark.attack("tables: arrow data that lie")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LIES)
def test_buffers_that_contradict_each_other_are_refused(name: str, way: str) -> None:
    """However a table comes: the column is named, and nothing of it was used."""
    error = refused(lambda: read_table(WAYS[way](told(name)), ONE, date=_DATE))
    assert error.code == "features.damaged"
    assert error.where is not None
    assert error.where.startswith("column ")
    assert refused(lambda: table_of(WAYS[way](told(name)))).code == "features.damaged"


@pytest.mark.attack("tables: arrow data that lie")
def test_a_table_for_windows_and_bars_is_looked_at_too() -> None:
    """Those that are read more than once are looked at once, before anything of them is used."""
    lie = told("ends_negative")
    assert refused(lambda: read_bars(lie, ["a"], window=1, date=_DATE)).code == "features.damaged"
    good = memory_table()
    checked = table_of(good)
    assert table_of(checked) is checked
    assert checked is not good
    calls: list[str] = []
    original = features._check_columns

    def counted(batch: Any, names: Sequence[str]) -> None:
        calls.extend(names)
        original(batch, names)

    features._check_columns = counted
    try:
        read_table(checked, ONE, date=_DATE)
        assert calls == []
        read_table(good, ONE, date=_DATE)
        assert calls == ["datetime", "instrument", "a"]
    finally:
        features._check_columns = original


class UnderCounted:
    """A stream that says of every column that no value is missing, and has the bitmap that says otherwise."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        capsule = self.table.__arrow_c_stream__()
        stream = arrow_stream._Stream.from_address(arrow_stream._pointer_of(capsule, b"arrow_array_stream"))
        original = arrow_stream._Call(ctypes.cast(stream.get_next, ctypes.c_void_p).value or 0)

        def get_next(self_: Any, room: int) -> int:
            code = int(original(self_, room))
            array = arrow_stream._Array.from_address(room)
            for place in range(array.n_children if array.release else 0):
                array.children[place].contents.null_count = 0
            return code

        self.kept = (original, callback := arrow_stream._Call(get_next))
        stream.get_next = callback
        return capsule


@pytest.mark.attack("tables: arrow data that lie")
def test_counts_of_missing_values_are_not_believed() -> None:
    """The bitmap counts, also where the library that hands the table over says that nothing is missing."""
    table = memory_table(a=pa.array([1.0, None, 3.0]))
    found = read_table(UnderCounted(table), ONE, date=_DATE).values.ravel()
    assert np.isnan(found).tolist() == [False, True, False]
    keys = memory_table(instrument=pa.array(["SH600000", None, "SZ000002"]))
    assert refused(lambda: read_table(UnderCounted(keys), ONE, date=_DATE)).code == "features.null_key"


def test_streams_that_end_in_an_error_are_refused_in_its_words() -> None:
    """A library that cannot give its next batch says why; that is told, whatever it is."""

    def broken() -> Any:
        yield memory_table().to_batches()[0]
        raise ValueError("the wire is cut")

    class Failing:
        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            return pa.RecordBatchReader.from_batches(memory_table().schema, broken()).__arrow_c_stream__()

    error = refused(lambda: read_table(Failing(), ONE, date=_DATE))
    assert (error.code, "the wire is cut" in str(error)) == ("features.not_a_table", True)


def test_streams_of_good_tables_are_read_whole() -> None:
    """Dictionaries, nested columns, slices and several batches come through as they are."""
    table = pa.table({name: column.slice(3) for name, column in columns().items()})
    table = pa.concat_tables([table.slice(0, 10), table.slice(10)])
    expected = read_table(table, FEATURES)
    for form in (table, table.set_column(1, "instrument", table["instrument"].dictionary_encode())):
        found = read_table(Stream(form), FEATURES)
        assert found.instruments.equals(expected.instruments)
        np.testing.assert_array_equal(found.values, expected.values)
        assert table_of(Stream(form)).equals(form)


def test_names_of_fields_are_those_of_the_tables() -> None:
    """The fuzzer's tables are of the form that these tests use."""
    assert {feature.name for feature in FEATURES} | set(FIELDS) <= columns().keys()
