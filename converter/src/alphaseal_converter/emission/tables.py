"""Bars and a side table of the caller, on one grid of days and stocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.bars.calendar import Bars
from alphaseal.errors import NotReadableError
from alphaseal.factors.daily import SideTable
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.expressions.evaluate import Grids, Table
from alphaseal_converter.factors.process import Runner, market_of, read_file
from alphaseal_converter.isolation.plain_table import Texts

KEYS: Final = ("datetime", "instrument")
BARS: Final = "bars"
STATIC: Final = "static"
Columns = Mapping[str, Any]


def read_tables(bars: Path, static: Path | None, runner: Runner) -> tuple[Grids, list[str]]:
    """The tables on the days and stocks of the bars, and the stocks in code point order.

    `bars` is parquet where its name ends so, else HDF5, which `runner` reads in isolation.  NotReadableError, RefusalError
    `factor.bars` and `factor.static`.
    """
    days, stocks, columns = _parquet(bars, "factor.bars") if bars.suffix == ".parquet" else _hdf5(bars, runner)
    calendar, instruments = np.unique(days), sorted(set(stocks.tolist()))
    places = {name: place for place, name in enumerate(instruments)}
    tables = {BARS: _table(days, stocks, columns, calendar, places)}
    if static is not None:
        tables[STATIC] = _table(*_parquet(static, "factor.static"), calendar, places)
    return Grids(calendar, tables), instruments


def _hdf5(path: Path, runner: Runner) -> tuple[Any, Any, Columns]:
    session = runner.session("the reader of the bars")
    answer, _ = session.call("bars", {"file": "given.h5"}, {"given.h5": read_file(path)})
    market = market_of(session, answer)
    columns = {
        name: column.values() if isinstance(column, Texts) else column for name, column in market.columns.items()
    }
    return market.days, market.stocks.values(), columns


def _parquet(path: Path, code: str) -> tuple[Any, Any, Columns]:
    try:
        found = pq.read_table(path)
    except OSError as error:
        raise NotReadableError(
            "bars.not_readable", "the file cannot be read", where=str(path), found=str(error)
        ) from None
    except pa.ArrowInvalid:
        raise RefusalError(code, "the file is no parquet", where=str(path)) from None
    if missing := [key for key in KEYS if key not in found.column_names]:
        raise RefusalError(
            code,
            "the table lacks key columns",
            where=str(path),
            expected="datetime and instrument, as columns",
            found=f"none of the name {missing[0]}",
            next_step="write the index as columns: frame.reset_index().to_parquet(…)",
        )
    days = found.column("datetime").cast(pa.timestamp("ns")).to_numpy().astype("datetime64[D]")
    stocks = np.array(found.column("instrument").to_pylist(), object)
    names = [name for name in found.column_names if name not in KEYS]
    return days, stocks, {name: found.column(name).to_numpy(zero_copy_only=False) for name in names}


def _table(days: Any, stocks: Any, columns: Columns, calendar: Any, places: Mapping[str, int]) -> Table:
    """One table by day and stock; rows of other days or stocks are left out."""
    inside = np.isin(days, calendar) & np.array([name in places for name in stocks], np.bool_)
    at = np.searchsorted(calendar, days[inside]), np.array([places[name] for name in stocks[inside]], np.int64)
    shape = (len(calendar), len(places))
    rows = np.zeros(shape, np.bool_)
    rows[at] = True
    grids = {}
    for name, values in columns.items():
        if values.dtype == object:
            texts = {text: place for place, text in enumerate(sorted({v for v in values if v is not None}))}
            values = np.array([texts.get(value, -1) for value in values], np.int32)
        grid = np.full(
            shape, np.nan if values.dtype.kind == "f" else -1 if values.dtype == np.int32 else 0, values.dtype
        )
        grid[at] = values[inside]
        grids[name] = grid
    return Table(grids, rows)


def dtypes_of(grids: Grids) -> dict[str, dict[str, str]]:
    """Table -> column -> dtype; places of texts are int32."""
    return {
        name: {
            column: "text" if values.dtype == np.int32 else str(values.dtype)
            for column, values in table.columns.items()
        }
        for name, table in grids.tables.items()
    }


def whole_tables(grids: Grids) -> frozenset[str]:
    """Tables with a row on every day of each stock's series."""
    rows = grids.tables[BARS].rows
    return frozenset({BARS}) if (rows == listed(rows)).all() else frozenset()


def listed(rows: Any) -> Any:
    """[days, stocks]: from each stock's first row to its last."""
    return np.logical_or.accumulate(rows, axis=0) & np.logical_or.accumulate(rows[::-1], axis=0)[::-1]


def as_bars(grids: Grids, instruments: list[str], fields: tuple[str, ...]) -> Bars:
    """The bars as the runtime holds them: `fields` without dollar sign."""
    table = grids.tables[BARS]
    rows = table.rows.T
    columns = {name.removeprefix("$"): values for name, values in table.columns.items()}
    values = (
        np.stack([columns[field].T.astype(np.float32) for field in fields], axis=2)
        if fields
        else np.zeros((*rows.shape, 0), np.float32)
    )
    first = np.where(rows.any(axis=1), rows.argmax(axis=1), len(grids.days))
    return Bars(grids.days, tuple(instruments), values, first, rows)


def as_grids(bars: Bars, fields: Sequence[str]) -> Grids:
    """The bars as expressions read them: each of the `fields` with and without dollar sign."""
    columns = {name: bars.values[:, :, place].T for place, field in enumerate(fields) for name in (field, f"${field}")}
    return Grids(bars.dates, {BARS: Table(columns, bars.present.T)})


def as_side_table(grids: Grids) -> SideTable | None:
    """The side table as the runtime holds it."""
    table = grids.tables.get(STATIC)
    if table is None:
        return None
    return SideTable({name: values.T.astype(np.float64) for name, values in table.columns.items()}, table.rows.T)
