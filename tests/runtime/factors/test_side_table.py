"""Side tables of a caller on the days and stocks of bars: rows, dtypes, and what is refused instead of being scored."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphaseal.bars.calendar import Bars
from alphaseal.errors import AlphasealError, InputError
from alphaseal.factors.side_table import SideSource
from alphaseal.format.factors import SideColumn
from alphaseal.tables.request import EVERYTHING

DATES = np.array(["2024-01-02", "2024-01-03", "2024-01-04"], "datetime64[D]")
STOCKS = ("SH600000", "SH600001", "SZ000001", "SZ000002")
READERS = {"roe": ["quality"], "sector": ["neutral"], "shares": ["size"], "listed": ["size"]}


def column(name: str, dtype: str, days: int = 1, missing: float = 0.0) -> SideColumn:
    return SideColumn(name=name, dtype=dtype, days=days, missing=missing)  # type: ignore[arg-type]


COLUMNS = [column("roe", "float64"), column("sector", "text"), column("shares", "int64"), column("listed", "bool")]


def bars() -> Bars:
    """All stocks on all days, one field."""
    shape = (len(STOCKS), len(DATES))
    first = np.zeros(len(STOCKS), np.int64)
    return Bars(DATES, STOCKS, np.ones((*shape, 1), np.float32), first, np.ones(shape, np.bool_))


def table(**changes: Any) -> pa.Table:
    """A row for every stock and day; roe is its place in the table."""
    days = [day.astype(date) for day in DATES for _ in STOCKS]
    count = len(days)
    plain = {
        "datetime": pa.array(days, pa.date32()),
        "instrument": pa.array(list(STOCKS) * len(DATES)),
        "roe": pa.array(np.arange(count, dtype=np.float64)),
        "sector": pa.array(["bank", "bank", "steel", None] * len(DATES)),
        "shares": pa.array([10, 20, 30, 40] * len(DATES), pa.int64()),
        "listed": pa.array([True, False, True, True] * len(DATES)),
    }
    return pa.table(plain | changes)


def source(given: Any, columns: list[SideColumn] = COLUMNS) -> SideSource:
    return SideSource.of(given, columns, READERS, EVERYTHING)


def written(given: pa.Table, folder: Path) -> Path:
    path = folder / "static.parquet"
    pq.write_table(given, path)
    return path


@pytest.mark.parametrize("as_file", [False, True])
def test_values_stand_where_stock_and_day_are(as_file: bool, tmp_path: Path) -> None:
    """Numbers as they are, texts as numbers that are equal where the texts are, a missing text as -1."""
    given = written(table(), tmp_path) if as_file else table()
    found = source(given, [column("roe", "float64"), column("sector", "text", missing=0.25), *COLUMNS[2:]]).on(
        bars(), range(2, 3)
    )
    assert found.rows.all()
    np.testing.assert_array_equal(found.columns["roe"], np.arange(12.0).reshape(3, 4).T)
    sector = found.columns["sector"][:, 2]
    assert sector[0] == sector[1] != sector[2]
    assert sector[3] == -1
    assert sector.min() == -1
    np.testing.assert_array_equal(found.columns["shares"][:, 0], [10, 20, 30, 40])
    np.testing.assert_array_equal(found.columns["listed"][:, 0], [1, 0, 1, 1])


def test_rows_in_any_order_and_of_other_stocks_change_nothing() -> None:
    """The table's order is its own; stocks and days that the bars lack are left out."""
    mixed = table().take(pa.array([5, 3, 1, 0, 2, 4, 11, 10, 9, 8, 7, 6]))
    other = pa.table(
        {
            "datetime": pa.array([date(2024, 1, 4), date(2024, 1, 9)], pa.date32()),
            "instrument": pa.array(["BJ430001", "SH600000"]),
            "roe": pa.array([1e9, 1e9]),
            "sector": pa.array(["x", "x"]),
            "shares": pa.array([1, 1], pa.int64()),
            "listed": pa.array([True, True]),
        }
    )
    wanted, found = (
        source(one, [column("roe", "float64")]).on(bars(), range(2, 3))
        for one in (table(), pa.concat_tables([mixed, other]))
    )
    np.testing.assert_array_equal(wanted.columns["roe"], found.columns["roe"])


def test_a_later_date_is_never_looked_at() -> None:
    """Rows behind the last day of the bars may hold anything, even the same row twice: they are no part of the past."""
    late = table().slice(0, 2)
    late = late.set_column(0, "datetime", pa.array([date(2024, 2, 1)] * 2, pa.date32()))
    late = late.set_column(1, "instrument", pa.array(["SH600000"] * 2))
    found = source(pa.concat_tables([table(), late]), [column("roe", "float64")]).on(bars(), range(2, 3))
    assert found.columns["roe"].max() == 11


REFUSED = {
    "a column is missing": (lambda: table().drop_columns(["roe"]), "static.missing_column", "roe by quality"),
    "a column is empty": (
        lambda: table(roe=pa.array([None] * 12, pa.float64())),
        "static.values_missing",
        "column 'roe' on 2024-01-04",
    ),
    "a column is partly empty": (
        lambda: table(roe=pa.array([1.0] * 8 + [None, None, 1.0, 1.0])),
        "static.values_missing",
        "none for 50.0%",
    ),
    "no row on the date": (lambda: table().slice(0, 8), "static.date_absent", "rows on 2024-01-04, for quality"),
    "no row at all": (lambda: table().slice(0, 0), "static.date_absent", "none"),
    "texts are numbers": (lambda: table(sector=pa.array([1] * 12)), "static.column_type", "texts"),
    "truth values are numbers": (lambda: table(listed=pa.array([1] * 12)), "static.column_type", "true and false"),
    "numbers are texts": (lambda: table(roe=pa.array(["1"] * 12)), "features.not_numeric", "the side table"),
    "digits were lost": (lambda: table(roe=pa.array([1.0] * 12, pa.float32())), "features.precision", "float64"),
    "a row twice": (
        lambda: pa.concat_tables([table(), table().slice(8, 1)]),
        "features.duplicate_row",
        "2024-01-04 SH600000",
    ),
    "no keys": (lambda: table().drop_columns(["instrument"]), "features.no_key_columns", "instrument"),
}


@pytest.mark.parametrize(("make", "code", "words"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("as_file", [False, True])
def test_what_is_refused(make: Any, code: str, words: str, as_file: bool, tmp_path: Path) -> None:
    """Nothing is taken for missing values; the message names the column, the date and who needs it."""
    given = written(make(), tmp_path) if as_file else make()
    with pytest.raises(AlphasealError) as caught:
        source(given, [column("roe", "float64"), column("sector", "text", missing=0.25), *COLUMNS[2:]]).on(
            bars(), range(2, 3)
        )
    assert caught.value.code == code
    assert words in str(caught.value)


def test_days_that_are_looked_at_are_asked_for() -> None:
    """A column of which several days are read must have them; one of the day itself must not."""
    short = table().slice(4)
    source(short, [column("roe", "float64", days=2)]).on(bars(), range(2, 3))
    with pytest.raises(InputError, match="2024-01-02"):
        source(short, [column("roe", "float64", days=3)]).on(bars(), range(2, 3))
