"""From tables and parquet files to the model's matrix."""

from __future__ import annotations

import datetime
import io
import itertools
import subprocess
import sys
import textwrap
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphaseal.errors import InputError, NotReadableError, UsageError
from alphaseal.tables.feature_files import iter_parquet, read_parquet
from alphaseal.tables.features import FeatureBlock, FeatureColumn, read_table
from alphaseal.tables.request import Limits, Notation
from arrow_types import STRING_VIEWS, handed_over
from locations import FIXTURES
from raising import refusal

A = FeatureColumn("A", "float32")
B = FeatureColumn("B", "float64")
DAYS = [datetime.date(2024, 1, 2), datetime.date(2024, 1, 3), datetime.date(2024, 1, 5)]
CODES = ["SH600000", "SZ000001"]


def frame() -> pd.DataFrame:
    """Six rows, sorted, with one missing and one infinite value."""
    index = pd.MultiIndex.from_product([pd.to_datetime(DAYS), CODES], names=["datetime", "instrument"])
    return pd.DataFrame(
        {"B": [1.1, 2, 3, np.nan, 5, 6], "A": [0.1, np.inf, -0.3, 0.4, 0.5, 0.6], "extra": 0}, index=index
    )


def expected() -> np.ndarray:
    data = frame()
    return np.column_stack([data["A"].to_numpy().astype(np.float32).astype(np.float64), data["B"].to_numpy()])


def parquet(table: pa.Table | pd.DataFrame, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if isinstance(table, pd.DataFrame):
        table.to_parquet(buffer, **options)
    else:
        pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def flattened(data: pd.DataFrame) -> pd.DataFrame:
    return data.set_axis(pd.MultiIndex.from_product([["feature"], data.columns]), axis=1)


def code_of(call: Callable[[], object]) -> str:
    return refusal(InputError, call).code


TABLES: dict[str, Callable[[], Any]] = {
    "pandas index": frame,
    "pandas columns": lambda: frame().reset_index(),
    "pandas flattened": lambda: flattened(frame()),
    "pandas flattened reset": lambda: flattened(frame()).reset_index(),
    "pandas categories": lambda: frame().reset_index().astype({"instrument": "category"}),
    "pyarrow": lambda: pa.Table.from_pandas(frame()),
    "batch": lambda: pa.Table.from_pandas(frame()).combine_chunks().to_batches()[0],
    "reader": lambda: pa.Table.from_pandas(frame()).to_reader(max_chunksize=2),
    "sliced": lambda: pa.concat_tables([pa.Table.from_pandas(frame())] * 2).slice(6, 6),
    "polars": lambda: handed_over(pl.from_pandas(frame().reset_index())),
    "polars categories": lambda: handed_over(
        pl.from_pandas(frame().reset_index()).with_columns(pl.col("instrument").cast(pl.Categorical))
    ),
    "polars dates": lambda: handed_over(
        pl.from_pandas(frame().reset_index()).with_columns(pl.col("datetime").cast(pl.Date))
    ),
    "duckdb": lambda: duckdb.from_arrow(pa.Table.from_pandas(frame())),
}


@pytest.mark.parametrize("kind", TABLES)
def test_every_kind_of_table_gives_the_same_matrix(kind: str) -> None:
    """pandas, pyarrow, polars and duckdb tables give equal dates, instruments and bits."""
    block = read_table(TABLES[kind](), [A, B], notation=Notation(kind="qlib"))
    assert block.values.flags.c_contiguous
    assert block.values.dtype == np.float64
    np.testing.assert_array_equal(block.values, expected())
    np.testing.assert_array_equal(block.dates, np.repeat(np.array(DAYS, "datetime64[D]"), 2))
    assert block.instruments.to_pylist() == CODES * 3
    assert block.instruments.type == pa.string()
    assert block.extra == ("extra",)


DATE_TYPES = [pa.date32(), pa.date64(), *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns"))]
TEXT_TYPES = [
    pa.string(),
    pa.large_string(),
    *STRING_VIEWS,
    *(pa.dictionary(pa.int8(), kind) for kind in (pa.string(), pa.large_string())),
]


@pytest.mark.parametrize("date_type", DATE_TYPES, ids=str)
@pytest.mark.parametrize("text_type", TEXT_TYPES, ids=str)
def test_date_and_text_types(date_type: pa.DataType, text_type: pa.DataType) -> None:
    """Every date type and every layout of strings is normal input, also where rows are picked out of the middle."""
    table = pa.table({"datetime": pa.array([DAYS[1], DAYS[0], DAYS[1]]).cast(date_type), "A": [1.0, 2.0, 3.0]})
    table = table.append_column("instrument", pa.array(["b", "a", "a"]).cast(text_type))
    block = read_table(table, [A], date="2024-01-03")
    assert block.instruments.to_pylist() == ["a", "b"]
    assert block.values.ravel().tolist() == [3.0, 1.0]


@pytest.mark.skipif(bool(STRING_VIEWS), reason="this pyarrow reads strings as views")
def test_views_are_refused_by_name_where_pyarrow_lacks_them() -> None:
    """pyarrow 15 has no class for what polars hands over: a refusal that says what helps, in place of its KeyError."""
    for name in ("polars", "polars categories"):
        rows = pl.from_pandas(frame().reset_index())
        given_over = rows if name == "polars" else rows.with_columns(pl.col("instrument").cast(pl.Categorical))
        with pytest.raises(InputError) as caught:
            read_table(given_over, [A, B])
        assert caught.value.code == "features.not_a_table"
        assert "pyarrow>=16" in str(caught.value.next_step)


@pytest.mark.parametrize("view", [*STRING_VIEWS, pa.large_string()])
def test_dictionaries_of_any_text(view: pa.DataType) -> None:
    """A dictionary may hold strings of any layout, and dates may be dictionaries too."""
    codes = pa.DictionaryArray.from_arrays(pa.array([1, 0]), pa.array(["a", "b"]).cast(view))
    dates = pa.array([DAYS[0], DAYS[0]], pa.date32()).dictionary_encode()
    block = read_table(pa.table({"datetime": dates, "instrument": codes, "A": [1.0, 2.0]}), [A])
    assert block.instruments.to_pylist() == ["a", "b"]
    assert block.values.ravel().tolist() == [2.0, 1.0]


def test_values_take_the_training_dtype_first() -> None:
    """float32 features are rounded to float32 once, straight from their type; infinities and overflow are infinite."""
    numbers = [0.1, 1e39, -np.inf, 1.0 + 2.0**-24]
    table = pa.table({"datetime": [DAYS[0]] * 4, "instrument": list("abcd"), "A": numbers, "B": numbers})
    values = read_table(table, [A, B]).values
    assert values[:, 0].tolist() == [float(np.float32(0.1)), np.inf, -np.inf, 1.0]
    assert values[:, 1].tolist() == numbers
    # By way of float64 this integer would round twice, to another float32.
    integer = 2**60 + 2**36 + 1
    table = pa.table({"datetime": [DAYS[0]], "instrument": ["a"], "A": pa.array([integer], pa.int64())})
    assert read_table(table, [A]).values[0, 0] == float(2**60 + 2**37) == float(np.int64(integer).astype(np.float32))


def test_a_column_of_nulls_is_missing() -> None:
    """A column without any value (Arrow's null type) is all NaN."""
    table = pa.table({"datetime": [DAYS[0]], "instrument": ["a"], "A": pa.nulls(1)})
    assert np.isnan(read_table(table, [A]).values).all()


@settings(max_examples=60, deadline=None)
@given(
    st.permutations(range(12)),
    st.integers(1, 12),
    st.sampled_from([None, (None, DAYS[1]), (DAYS[1], None), (DAYS[1], DAYS[1])]),
)
def test_order_of_rows_does_not_matter(order: list[int], chunk: int, dates: Any) -> None:
    """Shuffled rows in chunks of any size give the sorted block; instruments sort by code point."""
    codes = ["Z", "a", "é", "\U0001f600"]
    keys = [(day, code) for day in DAYS for code in codes]
    table = pa.table(
        {
            "datetime": pa.array([day for day, _ in keys]).cast(pa.timestamp("ns")),
            "instrument": [code for _, code in keys],
            "B": np.arange(12.0),
        }
    ).take(order)
    first, last = dates or (None, None)
    wanted = [
        row for row, (day, _) in enumerate(keys) if (first is None or day >= first) and (last is None or day <= last)
    ]
    data = parquet(table, row_group_size=chunk)
    blocks = list(iter_parquet(data, [B], dates, block_bytes=24 * chunk))
    for block in (
        read_table(table.to_reader(max_chunksize=chunk), [B], dates=dates),
        read_parquet(data, [B], dates=dates),
        read_parquet(parquet(table, row_group_size=chunk, write_statistics=False), [B], dates=dates),
        joined(blocks),
    ):
        assert block.values.ravel().tolist() == wanted
        assert block.instruments.to_pylist() == [keys[row][1] for row in wanted]
        assert block.dates.tolist() == [keys[row][0] for row in wanted]
    assert all(before.dates[-1] < after.dates[0] for before, after in itertools.pairwise(blocks))


def joined(blocks: list[FeatureBlock]) -> FeatureBlock:
    return FeatureBlock(
        np.concatenate([block.dates for block in blocks]),
        pa.concat_arrays([block.instruments for block in blocks]),
        np.concatenate([block.values for block in blocks]),
        blocks[0].extra,
    )


def test_spans_are_the_dates() -> None:
    """`spans` cuts a block into its dates."""
    assert [(str(day), start, stop) for day, start, stop in read_table(frame(), [A]).spans()] == [
        ("2024-01-02", 0, 2),
        ("2024-01-03", 2, 4),
        ("2024-01-05", 4, 6),
    ]


@pytest.mark.parametrize(
    "date",
    ["2024-01-03", DAYS[1], datetime.datetime(2024, 1, 3), np.datetime64("2024-01-03"), pd.Timestamp("2024-01-03")],
)
def test_one_date(date: Any) -> None:
    """A date is asked for as text, date or numpy value, and gives its rows alone."""
    for block in (read_table(frame(), [A, B], date=date), read_parquet(parquet(frame()), [A, B], date=date)):
        np.testing.assert_array_equal(block.values, expected()[2:4])


@pytest.mark.parametrize(
    "date",
    ["20240103", "2024-1-3", "2024-02-30", "today", 20240103, datetime.datetime(2024, 1, 3, 1), np.datetime64("NaT")],
)
def test_what_is_no_date(date: Any) -> None:
    """Anything that is not exactly a date is the caller's error."""
    with pytest.raises(UsageError):
        read_table(frame(), [A], date=date)


def test_dates_that_do_not_go_together() -> None:
    """Date with range, and a range that ends before it begins, are refused."""
    with pytest.raises(UsageError):
        read_table(frame(), [A], date=DAYS[0], dates=(DAYS[0], None))
    with pytest.raises(UsageError):
        read_table(frame(), [A], dates=(DAYS[1], DAYS[0]))


@pytest.mark.parametrize("rows", [1, 2, 3, 6])
def test_an_absent_date_is_an_error_that_names_its_neighbours(rows: int) -> None:
    """2024-01-04 has no rows: the days around it are said and never used."""
    data = parquet(pa.Table.from_pandas(frame()), row_group_size=rows)
    for call in (
        lambda: read_table(frame(), [A], date="2024-01-04"),
        lambda: read_parquet(data, [A], date="2024-01-04"),
        lambda: list(iter_parquet(data, [A], ("2024-01-04", "2024-01-04"))),
    ):
        with pytest.raises(InputError) as raised:
            call()
        assert raised.value.code == "features.date_absent"
        assert raised.value.found == "nearest dates 2024-01-03 before and 2024-01-05 after"
    assert code_of(lambda: read_table(frame().iloc[:0], [A])) == "features.date_absent"


def table_with(**columns: Any) -> pa.Table:
    return pa.table({"datetime": [DAYS[0]] * 2, "instrument": ["a", "b"], "A": [1.0, 2.0]} | columns)


SHANGHAI = pa.array(
    [datetime.datetime(2024, 1, 2, tzinfo=zoneinfo.ZoneInfo("Asia/Shanghai"))] * 2, pa.timestamp("us", "Asia/Shanghai")
)
BAD_TABLES: dict[str, tuple[str, pa.Table]] = {
    "missing": ("features.missing_column", table_with().drop_columns("A")),
    "plain and flattened": ("features.duplicate_column", table_with(**{"('feature', 'A')": [1.0, 2.0]})),
    "date twice": ("features.duplicate_column", table_with(**{"('datetime', '')": [DAYS[0]] * 2})),
    "same row": ("features.duplicate_row", table_with(instrument=["a", "a"])),
    "bool": ("features.not_numeric", table_with(A=[True, False])),
    "text": ("features.not_numeric", table_with(A=["1", "2"])),
    "decimal": ("features.not_numeric", table_with(A=pa.array([1, 2], pa.decimal128(5, 2)))),
    "date value": ("features.not_numeric", table_with(A=[DAYS[0]] * 2)),
    "null date": ("features.null_key", table_with(datetime=[DAYS[0], None])),
    "null instrument": ("features.null_key", table_with(instrument=["a", None])),
    "null in dictionary": (
        "features.null_key",
        table_with(instrument=pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None]))),
    ),
    "no keys": ("features.no_key_columns", table_with().drop_columns("instrument")),
    "text dates": ("features.date_type", table_with(datetime=["2024-01-02"] * 2)),
    "number dates": ("features.date_type", table_with(datetime=[20240102] * 2)),
    "time of day": ("features.time_of_day", table_with(datetime=[datetime.datetime(2024, 1, 2, 15)] * 2)),
    "time zone": ("features.time_zone", table_with(datetime=SHANGHAI)),
    "far date": (
        "features.date_range",
        table_with(datetime=pa.array([2**40] * 2, pa.timestamp("s")).cast(pa.timestamp("s"))),
    ),
    "number instruments": ("features.instrument_type", table_with(instrument=[1, 2])),
    "long instrument": ("instrument.length", table_with(instrument=["a", "b" * 65])),
}
BAD_TABLES["far date"] = ("features.date_range", table_with(datetime=pa.array([86_400 * 2**30] * 2, pa.timestamp("s"))))


@pytest.mark.parametrize("case", BAD_TABLES)
def test_tables_that_do_not_fit(case: str) -> None:
    """Each broken table is an InputError with the code of its rule, from memory and from parquet."""
    code, table = BAD_TABLES[case]
    assert code_of(lambda: read_table(table, [A])) == code
    if case not in ("null in dictionary", "far date"):  # what parquet cannot hold
        assert code_of(lambda: read_parquet(parquet(table), [A])) == code
        assert code_of(lambda: list(iter_parquet(parquet(table), [A]))) == code


def test_all_missing_columns_are_listed() -> None:
    """One error names every missing feature."""
    wanted = [FeatureColumn(f"F{number}", "float64") for number in range(25)]
    with pytest.raises(InputError) as raised:
        read_table(frame(), wanted)
    assert all(f"'F{number}'" in str(raised.value) for number in range(25))


def test_other_groups_are_extra_columns() -> None:
    """A label column is ignored, and reported, even where it has a feature's name."""
    block = read_table(table_with(**{"('label', 'A')": [9.0, 9.0], "(broken": ["x", "y"]}), [A])
    assert block.values.ravel().tolist() == [1.0, 2.0]
    assert block.extra == ("('label', 'A')", "(broken")


def test_a_name_with_quotes_and_dots() -> None:
    """Flattened names are parsed, not stripped; a dot in a name is no nesting and a prefix is no match."""
    wanted = [FeatureColumn("it's", "float64"), FeatureColumn("a.b", "float64"), FeatureColumn("a", "float64")]
    data = flattened(frame().rename(columns={"A": "it's", "B": "a.b", "extra": "a"}))
    block = read_parquet(parquet(data), wanted)
    np.testing.assert_array_equal(block.values[:, 1], frame()["B"].to_numpy())
    assert (block.values[:, 2] == 0).all()


def test_what_is_no_table() -> None:
    """Lists and other objects are refused, broken parquet and absent files too."""
    assert code_of(lambda: read_table([1, 2], [A])) == "features.not_a_table"
    assert code_of(lambda: read_parquet(b"PAR1 nothing PAR1", [A])) == "features.not_parquet"
    whole = parquet(frame(), compression="zstd")
    broken = whole[:40] + bytes(60) + whole[100:]
    assert code_of(lambda: read_parquet(broken, [A, B])) == "features.not_parquet"
    with pytest.raises(NotReadableError):
        read_parquet("/nowhere/features.parquet", [A])


def test_a_budget_stops_an_expanding_file() -> None:
    """Run-length pages that unfold to gigabytes are stopped by what is decoded, whatever the footer says."""
    rows = 3_000_000
    table = pa.table(
        {
            "datetime": pa.array(np.zeros(rows, "datetime64[D]")),
            "instrument": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["a"])),
            "A": np.zeros(rows),
        }
    )
    data = parquet(table)
    assert len(data) < 100_000
    assert code_of(lambda: read_parquet(data, [A], limits=Limits(bytes=10 << 20))) == "features.too_large"
    assert code_of(lambda: read_parquet(data, [A], limits=Limits(rows=1_000_000))) == "features.too_large"


def test_a_dictionary_of_one_long_text_is_not_unfolded() -> None:
    """A megabyte of text repeated 100,000 times is refused by its dictionary."""
    codes = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), pa.array(["a" * (1 << 20)]))
    table = pa.table(
        {"datetime": pa.array(np.zeros(100_000, "datetime64[D]")), "instrument": codes, "A": np.zeros(100_000)}
    )
    assert code_of(lambda: read_table(table, [A])) == "instrument.length"


def test_extension_types_are_not_read() -> None:
    """A column that claims an extension type is refused by name."""
    field = pa.field("A", pa.float64(), metadata={"ARROW:extension:name": "evil.type", "ARROW:extension:metadata": "x"})
    table = table_with().cast(pa.schema([*[*table_with().schema][:2], field]))
    assert code_of(lambda: read_parquet(parquet(table), [A])) == "features.column_type"
    uuid = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16] * 2, pa.binary(16)))
    assert code_of(lambda: read_table(table_with(A=uuid), [A])) == "features.column_type"


def test_only_row_groups_of_the_period_are_decoded() -> None:
    """A row group of another date whose values are damaged does not disturb: of it only the dates are read."""
    table = pa.Table.from_pandas(frame()).select(["A", "B", "datetime", "instrument"])
    written = parquet(table, row_group_size=2, compression="zstd")
    first = pq.ParquetFile(io.BytesIO(written)).metadata.row_group(0)
    values, dates = first.column(0).dictionary_page_offset, first.column(2).dictionary_page_offset
    data = bytearray(written)
    data[values:dates] = bytes(dates - values)
    np.testing.assert_array_equal(read_parquet(bytes(data), [A, B], date=DAYS[2]).values, expected()[4:])
    assert code_of(lambda: read_parquet(bytes(data), [A, B], date=DAYS[0])) == "features.not_parquet"
    # Whose dates nobody can read may hold the date that is asked for.
    data = bytearray(written)
    data[dates : dates + 8] = bytes(8)
    assert code_of(lambda: read_parquet(bytes(data), [A, B], date=DAYS[2])) == "features.not_parquet"


def test_instruments_are_converted() -> None:
    """A table in the vendor's notation gives the bundle's names, sorted as those."""
    data = frame().reset_index()
    data["instrument"] = data["instrument"].str.replace(r"(..)(\d+)", r"\2.\1", regex=True)
    assert read_table(data, [A], notation=Notation("ts", "qlib")).instruments.to_pylist() == CODES * 3
    assert code_of(lambda: read_table(data, [A], notation=Notation(kind="qlib"))) == "instrument.pattern"


def test_pandas_is_not_imported(tmp_path: Path) -> None:
    """Reading a file, sorted or not, one date or years, does not pull in pandas where it is installed."""
    path = tmp_path / "features.parquet"
    flattened(frame()).sample(frac=1, random_state=1).to_parquet(path, row_group_size=2)
    program = f"""
        import sys
        from alphaseal.tables.feature_files import iter_parquet, read_parquet
        from alphaseal.tables.features import FeatureColumn
        from alphaseal.tables.request import Notation
        features = [FeatureColumn("A", "float32"), FeatureColumn("B", "float64")]
        read_parquet({str(path)!r}, features, date="2024-01-03", notation=Notation(kind="qlib"))
        list(iter_parquet({str(path)!r}, features, block_bytes=1))
        assert "pandas" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the full set of fixtures is not here")
def test_real_features_files_read_as_pandas_reads_them() -> None:
    """Every real features file gives pandas' values, bit for bit, in the order asked for."""
    files = [*FIXTURES.glob("**/truth/features/*.parquet"), *FIXTURES.glob("**/combined_factors_df.parquet")]
    assert len(files) > 10
    for path in files:
        data = pd.read_parquet(path)
        if isinstance(data.columns, pd.MultiIndex):
            data = data.droplevel(0, axis=1)
        if "datetime" in data.columns:
            data = data.set_index(["datetime", "instrument"])
        data = data.sort_index()
        features = [FeatureColumn(name, str(data[name].dtype)) for name in reversed(data.columns)]
        block = read_parquet(path, features, notation=Notation(kind="qlib"))
        np.testing.assert_array_equal(block.values, data[data.columns[::-1]].to_numpy(np.float64))
        assert block.instruments.to_pylist() == data.index.get_level_values("instrument").tolist()
        np.testing.assert_array_equal(
            joined(list(iter_parquet(path, features, block_bytes=1 << 14))).values, block.values
        )
