"""Bars: reading them onto their calendar, and the alpha features that a graph makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alpha_bundles import DAYS, FIELDS, STOCKS, WINDOW, alpha_graph, description, frame
from alphaseal.bars.calendar import AlphaColumns, Bars, read_bars
from alphaseal.errors import AlphasealError, InputError, PolicyError
from alphaseal.tables.request import Limits, Notation
from arrow_types import STRING_VIEWS, handed_over
from raising import refusal

NOTATION = Notation(kind="qlib")


def table(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows, preserve_index=False)


def read(source: Any, **choices: Any) -> Bars:
    """The bars of a window of three days."""
    usual: dict[str, Any] = {"window": WINDOW, "date": DAYS[-1], "notation": NOTATION}
    return read_bars(source, FIELDS, **(usual | choices))


def refused(source: Any, **choices: Any) -> InputError:
    return refusal(InputError, read, source, **choices)


@pytest.fixture
def columns() -> AlphaColumns:
    return AlphaColumns(alpha_graph(), description())


def written(rows: pd.DataFrame, path: Path, **options: Any) -> Path:
    pq.write_table(table(rows), path, **options)
    return path


def test_bars_stand_on_the_calendar_of_the_table() -> None:
    """Values lie at stock and day, days and stocks ascending, as float32, with as much history as the window asks for."""
    bars = read(table(frame().sample(frac=1.0, random_state=1)))
    assert bars.dates.tolist() == DAYS[-WINDOW:]
    assert bars.instruments == STOCKS
    assert (bars.values.dtype, bars.values.shape) == (np.float32, (3, WINDOW, 2))
    assert bars.values[1, :, 0].tolist() == [205.0, 206.0, 207.0]
    assert (bars.first.tolist(), bars.history) == ([0, 0, 0], WINDOW - 1)
    assert bars.present.all()


@pytest.mark.parametrize(
    "form",
    [
        lambda rows: handed_over(pl.from_pandas(rows)),
        lambda rows: rows.set_index(["datetime", "instrument"]),
        lambda rows: rows.rename(columns={"close": "$close", "volume": "$volume"}),
        lambda rows: rows.assign(**{"$close": rows["close"], "$volume": rows["volume"]}),
        lambda rows: table(rows).to_reader(),
        lambda rows: rows.astype({"instrument": "category"}),
        lambda rows: rows.assign(datetime=pd.to_datetime(rows["datetime"])),
    ],
    ids=["polars", "index", "dollar", "both", "stream", "dictionary", "timestamps"],
)
def test_every_kind_of_table_gives_the_same_bars(form: Any) -> None:
    """Tables of any library, with or without dollar signs, with keys as columns or index."""
    wanted, found = read(table(frame())), read(form(frame()))
    assert found.instruments == wanted.instruments
    assert np.array_equal(found.values, wanted.values)


def test_other_notation_is_converted() -> None:
    """A table of 600000.SH gives stocks in the bundle's notation, those of old days too."""
    rows = frame()
    rows["instrument"] = rows["instrument"].str[2:] + "." + rows["instrument"].str[:2]
    rows = rows[(rows["instrument"] != "600000.SH") | (rows["datetime"] != DAYS[-WINDOW])]
    bars = read(table(rows), notation=Notation("ts", "qlib"))
    assert (bars.instruments, bars.first.tolist()) == (STOCKS, [0, 0, 0])


def test_two_forms_of_a_field_must_agree() -> None:
    """A table whose close is not its $close is refused, with stock and day."""
    error = refused(table(frame().assign(**{"$close": lambda rows: rows["close"] + (rows["datetime"] == DAYS[-1])})))
    assert (error.code, error.exit) == ("bars.contradiction", 18)
    assert f"SH600000 on {DAYS[-1]}" in str(error)


def test_missing_fields_are_listed() -> None:
    """All fields that the graph needs and the table lacks are named at once."""
    error = refused(table(frame().drop(columns=["close", "volume"])))
    assert (error.code, error.expected) == ("bars.missing_column", "close, volume")


def test_repeated_row_is_refused() -> None:
    """One row per date and instrument; the error says that it is about the bars."""
    error = refused(table(pd.concat([frame(), frame().tail(1)])))
    assert (error.code, error.where) == ("features.duplicate_row", "the bars")


def test_series_begins_with_the_first_row_of_the_table(tmp_path: Path) -> None:
    """A stock that is new, one that was suspended when the window begins, and one that was always there."""
    rows = frame()
    new = rows["instrument"].eq("SH600001") & (rows["datetime"] < DAYS[-2])
    suspended = rows["instrument"].eq("SZ000001") & rows["datetime"].isin(DAYS[-3:-1])
    rows = rows[~new & ~suspended]
    for source in (table(rows), written(rows, tmp_path / "bars.parquet", row_group_size=4)):
        bars = read(source)
        assert bars.first.tolist() == [0, 1, 0]
        assert bars.present.tolist() == [[True] * 3, [False, True, True], [False, False, True]]
        assert np.isnan(bars.values[2, :2]).all()


def test_series_ends_with_the_last_row_of_the_table(tmp_path: Path) -> None:
    """A stock that has a later row, beyond the days that are read, is suspended; one without is gone."""
    rows = frame()
    gone = rows["instrument"].eq("SH600001") & (rows["datetime"] > DAYS[3])
    suspended = rows["instrument"].eq("SZ000001") & rows["datetime"].isin(DAYS[4:7])
    rows = rows[~gone & ~suspended]
    for source in (table(rows), pl.from_pandas(rows), written(rows, tmp_path / "bars.parquet", row_group_size=4)):
        bars = read(source, date=DAYS[5])
        assert bars.instruments == STOCKS
        assert bars.listed().tolist() == [[True] * 3, [True, False, False], [True] * 3]
        assert bars.paused(WINDOW)[:, -1].tolist() == [False, True, True]
        assert bars.paused(2)[:, -1].tolist() == [False, False, False]


KINDS: dict[str, Any] = {
    "polars": lambda rows: handed_over(pl.from_pandas(rows)),
    "polars categories": lambda rows: handed_over(
        pl.from_pandas(rows).with_columns(pl.col("instrument").cast(pl.Categorical))
    ),
    "large": lambda rows: _with_codes(rows, pa.large_string()),
    "dictionary of large": lambda rows: _with_codes(rows, pa.dictionary(pa.int8(), pa.large_string())),
    "seconds": lambda rows: _with_dates(rows, pa.timestamp("s")),
    "nanoseconds": lambda rows: _with_dates(rows, pa.timestamp("ns")),
    "date64": lambda rows: _with_dates(rows, pa.date64()),
}
if STRING_VIEWS:
    KINDS["views"] = lambda rows: _with_codes(rows, STRING_VIEWS[0])


def _with_codes(rows: pd.DataFrame, kind: pa.DataType) -> pa.Table:
    plain = table(rows)
    return plain.set_column(plain.schema.get_field_index("instrument"), "instrument", plain["instrument"].cast(kind))


def _with_dates(rows: pd.DataFrame, kind: pa.DataType) -> pa.Table:
    plain = table(rows)
    return plain.set_column(plain.schema.get_field_index("datetime"), "datetime", plain["datetime"].cast(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_other_days_are_read_from_every_kind_of_table(kind: str) -> None:
    """Stocks without a row at the ends of the window are looked for in the whole table, in whatever layout its keys are."""
    rows = frame()
    rows = rows[(rows["instrument"] != "SZ000001") | ~rows["datetime"].isin([DAYS[3], DAYS[5]])]
    bars = read(KINDS[kind](rows.sort_values("instrument")), date=DAYS[5])
    assert bars.first.tolist() == [0, 0, 0]
    assert bars.listed().all()
    assert bars.present[2].tolist() == [False, True, False]


def test_keys_of_other_days_are_read_from_duckdb() -> None:
    """A relation of duckdb gives the bars of the table."""
    duckdb = pytest.importorskip("duckdb")
    rows = frame()
    rows = rows[(rows["instrument"] != "SZ000001") | (rows["datetime"] != DAYS[-3])]
    bars = read(duckdb.from_arrow(table(rows)))
    assert (bars.instruments, bars.first.tolist()) == (STOCKS, [0, 0, 0])


def test_days_before_the_first_window_are_asked_for() -> None:
    """Fewer days than the window: an error that says how many there are and how many are needed."""
    error = refused(table(frame(DAYS[-2:])))
    assert (error.code, error.expected, error.found) == ("bars.too_short", "3 dates up to 2024-01-11", "2 dates")
    assert refused(table(frame(DAYS[-2:])), date=None, dates=(None, None)).code == "bars.too_short"
    assert refused(table(frame()), date=DAYS[1]).code == "bars.too_short"


def test_range_open_at_its_start_begins_with_the_first_whole_window() -> None:
    """The first scored day is the third of the table."""
    bars = read(table(frame()), date=None, dates=(None, DAYS[4]))
    assert (bars.dates.tolist(), bars.dates[bars.history].astype(object)) == (DAYS[:5], DAYS[2])


def test_calendar_of_the_caller_shows_missing_days() -> None:
    """A trading day without any bar, bars on a day that is none, and bars that begin too late are all refused."""
    calendar = np.array(DAYS, "datetime64[D]")
    assert read(table(frame()), calendar=calendar).dates.tolist() == DAYS[-WINDOW:]
    without = [day for day in DAYS if day != DAYS[-2]]
    error = refused(table(frame(without)), calendar=calendar)
    assert (error.code, error.found) == ("bars.day_missing", "none on 2024-01-10")
    assert refused(table(frame(DAYS[-2:])), calendar=calendar).code == "bars.too_short"
    assert refused(table(frame()), calendar=calendar[calendar != calendar[-2]]).code == "window.not_in_calendar"


def test_other_date_is_never_used() -> None:
    """A date without rows is an error that names the nearest."""
    error = refused(table(frame()), date="2024-01-12")
    assert (error.code, error.found) == ("features.date_absent", "nearest dates 2024-01-11 before")


def test_budget_counts_for_bars_too(tmp_path: Path) -> None:
    """--max-rows refuses bars of more rows."""
    path = written(frame(), tmp_path / "bars.parquet")
    assert refused(path, limits=Limits(rows=5)).code == "features.too_large"


def test_row_groups_outside_the_window_are_not_decoded(tmp_path: Path) -> None:
    """Of old row groups nothing but the keys is read: rubbish in their values is never seen."""
    path = written(frame(), tmp_path / "bars.parquet", row_group_size=3, use_dictionary=False, compression="none")
    group = pq.ParquetFile(path).metadata.row_group(0)
    place = next(group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == "close")
    data = bytearray(path.read_bytes())
    data[place.data_page_offset : place.data_page_offset + 4] = b"\xff" * 4
    path.write_bytes(bytes(data))
    assert read(path).values[0, -1, 0] == 107.0
    assert refused(path, date=DAYS[2]).code == "features.not_parquet"


def test_alpha_columns_see_window_and_length(columns: AlphaColumns) -> None:
    """The graph gets the last days of each stock, oldest first, and how many of them its series has."""
    rows = frame()
    bars = read(table(rows[~(rows["instrument"].eq("SZ000001") & (rows["datetime"] < DAYS[-1]))]))
    found = columns.compute(bars, 2, np.array([2, 0]))
    assert found.dtype == np.float32
    assert found[:, 0].tolist() == [307.0, 107.0]
    assert np.isnan(found[0, 1])
    assert found[1, 1] == np.float32(106) / np.float32(107)
    assert found[:, 2].tolist() == [1.0, 3.0]


def test_history_before_the_first_day_is_no_value(columns: AlphaColumns) -> None:
    """On the market's first days the window is empty before them, and the length says so."""
    values = np.arange(4, dtype=np.float32).reshape(1, 2, 2) + 1
    bars = Bars(np.array(DAYS[:2], "datetime64[D]"), ("SH600000",), values, np.array([0]), np.ones((1, 2), np.bool_))
    assert columns.compute(bars, 0, np.array([0])).tolist()[0][::2] == [1.0, 1.0]
    assert columns.compute(bars, 1, np.array([0])).tolist() == [[3.0, np.float32(1) / np.float32(3), 2.0]]


def test_stock_that_is_not_there_yet_has_no_features(columns: AlphaColumns) -> None:
    """Before its series begins every feature is missing."""
    bars = Bars(
        np.array(DAYS[:3], "datetime64[D]"),
        ("SH600000",),
        np.ones((1, 3, 2), np.float32),
        np.array([2]),
        np.ones((1, 3), np.bool_),
    )
    assert np.isnan(columns.compute(bars, 1, np.array([0]))).all()


def test_chunks_and_threads_change_nothing(columns: AlphaColumns) -> None:
    """A thousand stocks on one thread and on four give the same bits."""
    generator = np.random.default_rng(1)
    values = generator.normal(10, 1, (1000, 5, 2)).astype(np.float32)
    bars = Bars(
        np.array(DAYS[:5], "datetime64[D]"),
        tuple(f"SH{number:06}" for number in range(1000)),
        values,
        generator.integers(0, 5, 1000),
        np.ones((1000, 5), np.bool_),
    )
    rows = np.arange(1000)
    one, four = columns.compute(bars, 4, rows, threads=1), columns.compute(bars, 4, rows, threads=4)
    assert one.tobytes() == four.tobytes()
    assert one[7].tobytes() == columns.compute(bars, 4, rows[7:8]).tobytes()


@pytest.mark.parametrize("change", [{"window": 4}, {"fields": ["close"]}, {"features": ["CLOSE", "ROC1"]}])
def test_graph_of_another_shape_is_refused(change: dict[str, Any]) -> None:
    """The graph's inputs and outputs are those of the manifest, or nothing is computed."""
    with pytest.raises(PolicyError) as error:
        AlphaColumns(alpha_graph(), description(**change))
    assert error.value.code == "model.signature"


def test_bytes_that_are_no_graph_are_refused() -> None:
    """What onnxruntime does not load is an error of the family."""
    with pytest.raises(AlphasealError) as error:
        AlphaColumns(b"no graph", description())
    assert error.value.code == "model.not_loadable"
