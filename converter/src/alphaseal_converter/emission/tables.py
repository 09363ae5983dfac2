"""Bars and a side table of the caller, on one grid of days and stocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
    calendar = np.unique(days)
    instruments = sorted(stocks.names[place] for place in np.unique(stocks.places).tolist() if place >= 0)
    tables = {BARS: _table(days, stocks, columns, calendar, instruments)}
    if static is not None:
        side = SideFile.of(static)
        tables[STATIC] = side.on(calendar, instruments, list(side.dtypes))
    return Grids(calendar, tables), instruments


def _hdf5(path: Path, runner: Runner) -> tuple[Any, Texts, Columns]:
    session = runner.session("the reader of the bars")
    answer, _ = session.call("bars", {"file": "given.h5"}, {"given.h5": read_file(path)})
    market = market_of(session, answer)
    columns = {
        name: column.values() if isinstance(column, Texts) else column for name, column in market.columns.items()
    }
    return market.days, market.stocks, columns


@dataclass(frozen=True)
class SideFile:
    """A side table of the caller, looked at for its columns: `dtypes` are those that an expression can read, in order."""

    path: Path
    dtypes: Mapping[str, str]

    @classmethod
    def of(cls, path: Path) -> SideFile:
        """NotReadableError, RefusalError `factor.static`."""
        schema = _opened(path, "factor.static", pq.read_schema)
        _require_keys(schema.names, path, "factor.static")
        kinds = {name: _kind(path, name, schema.field(name).type) for name in schema.names if name not in KEYS}
        return cls(path, {name: kind for name, kind in kinds.items() if kind is not None})

    def on(self, calendar: Any, instruments: Sequence[str], names: Sequence[str]) -> Table:
        """These columns on these days and stocks; rows of others are left out.  RefusalError `factor.static`."""
        days, stocks, columns = _parquet(self.path, "factor.static", names)
        return _table(days, stocks, columns, calendar, instruments)

    def part(self, instruments: Sequence[str], days: Any) -> bytes:
        """The rows of some stocks on some days, with every column, as the file has them."""
        found = pq.read_table(self.path, filters=pc.field("instrument").isin(list(instruments)))
        inside = np.isin(found.column("datetime").cast(pa.timestamp("ns")).to_numpy().astype("datetime64[D]"), days)
        sink = pa.BufferOutputStream()
        pq.write_table(found.filter(pa.array(inside)), sink)
        return bytes(sink.getvalue())


def _kind(path: Path, name: str, kind: Any) -> str | None:
    """The dtype that a column has in pandas; None where expressions have no such."""
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return "float32" if pa.types.is_float32(kind) else "float64"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if not pa.types.is_int64(kind) and not pa.types.is_boolean(kind):
        return None
    complete = pq.read_table(path, columns=[name]).column(name).null_count == 0
    if pa.types.is_boolean(kind):
        return "bool" if complete else None
    return "int64" if complete else "float64"


def _require_keys(names: Sequence[str], path: Path, code: str) -> None:
    if missing := [key for key in KEYS if key not in names]:
        raise RefusalError(
            code,
            "the table lacks key columns",
            where=str(path),
            expected="datetime and instrument, as columns",
            found=f"none of the name {missing[0]}",
            next_step="write the index as columns: frame.reset_index().to_parquet(…)",
        )


def _opened(path: Path, code: str, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except OSError as error:
        raise NotReadableError(
            "bars.not_readable", "the file cannot be read", where=str(path), found=str(error)
        ) from None
    except pa.ArrowInvalid:
        raise RefusalError(code, "the file is no parquet", where=str(path)) from None


def _parquet(path: Path, code: str, wanted: Sequence[str] | None = None) -> tuple[Any, Texts, Columns]:
    """(days, stocks, columns) of a table, all of them or those `wanted`."""
    columns = None if wanted is None else [*KEYS, *wanted]
    found = _opened(path, code, lambda path: pq.read_table(path, columns=columns))
    _require_keys(found.column_names, path, code)
    days = found.column("datetime").cast(pa.timestamp("ns")).to_numpy().astype("datetime64[D]")
    encoded = found.column("instrument").cast(pa.string()).combine_chunks().dictionary_encode()
    stocks = Texts(encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False))
    names = [name for name in found.column_names if name not in KEYS]
    return days, stocks, {name: found.column(name).to_numpy(zero_copy_only=False) for name in names}


def _table(days: Any, stocks: Texts, columns: Columns, calendar: Any, instruments: Sequence[str]) -> Table:
    """One table by day and stock; rows of other days or stocks are left out."""
    places = {name: place for place, name in enumerate(instruments)}
    # The last one stands for a missing name.
    stock = np.array([*(places.get(name, -1) for name in stocks.names), -1], np.int64)[stocks.places]
    inside = (stock >= 0) & np.isin(days, calendar)
    at = np.searchsorted(calendar, days[inside]), stock[inside]
    shape = (len(calendar), len(instruments))
    rows = np.zeros(shape, np.bool_)
    rows[at] = True
    if int(rows.sum()) < len(at[0]):
        raise RefusalError(
            "factor.static",
            "a table has two rows of one date and stock",
            expected="one row for each date and stock",
            found=f"{len(at[0]) - int(rows.sum())} rows too many",
            next_step="write the table anew, each row once",
        )
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


def as_grids(bars: Bars, fields: Sequence[str], side: Table | None) -> Grids:
    """The bars as expressions read them, each of the `fields` with and without dollar sign, and the side table on them."""
    columns = {name: bars.values[:, :, place].T for place, field in enumerate(fields) for name in (field, f"${field}")}
    tables = {BARS: Table(columns, bars.present.T)}
    return Grids(bars.dates, tables if side is None else tables | {STATIC: side})


def as_side_table(table: Table | None) -> SideTable | None:
    """The side table as the runtime holds it."""
    if table is None:
        return None
    return SideTable({name: values.T.astype(np.float64) for name, values in table.columns.items()}, table.rows.T)
