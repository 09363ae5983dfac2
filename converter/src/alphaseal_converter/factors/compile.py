"""Compiles one factor and writes its values by the numpy evaluator: ``python -m alphaseal_converter.factors.compile``.

Exit status: 0 compiled, 20 refused by construct and line.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.plain_text import printable
from alphaseal.terminal import console
from alphaseal.version import __version__
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.expressions.document import Refused, Traced
from alphaseal_converter.factors.expressions.evaluate import Grids, Table, evaluate
from alphaseal_converter.factors.expressions.properties import looks_beside_bars, properties
from alphaseal_converter.factors.expressions.words import readable
from alphaseal_converter.factors.tracing import trace

KEYS = ("datetime", "instrument")


def main() -> int:
    verbs = {"factor": (f"{__package__}.compile", "compile one source")}
    command = console.Command(
        "alphaseal_converter.factors", "Factors compiled", lambda: printable([__version__]), verbs
    )
    return console.run_command(command, ["factor", *sys.argv[1:]])


def add_factor(parser: console.Parser) -> None:
    """The arguments."""
    parser.add_json()
    parser.add_argument("program", type=Path, metavar="FACTOR.py", help="source of the factor")
    parser.add_argument("--bars", type=Path, required=True, metavar="FILE", help="bars as parquet")
    parser.add_argument("--static", type=Path, metavar="FILE", help="static_factors.parquet")
    parser.add_argument("--pandas", type=int, default=2, choices=(2, 3), help="major version whose rules hold")
    parser.add_argument("--out", type=Path, metavar="VALUES.parquet", help="where the values go")


def run_factor(chosen: argparse.Namespace) -> console.Outcome:
    """What is told of the factor; RefusalError `factor.*` with construct and line."""
    grids, instruments = read_tables(chosen.bars, chosen.static)
    tables = {
        name: {column: _dtype(values) for column, values in table.columns.items()}
        for name, table in grids.tables.items()
    }
    found = trace(chosen.program.read_bytes(), tables, chosen.pandas)
    if isinstance(found, Refused):
        raise RefusalError(
            f"factor.{found.code}", f"{found.construct}: {found.why}", where=f"{chosen.program}, line {found.line}"
        )
    if looks_beside_bars(found.value, found.rows):
        raise RefusalError(
            "factor.other_input",
            "windows, or statistics of a day, count rows of the side table that need not be rows of the bars",
            where=str(chosen.program),
            next_step="join the side table to the bars first",
        )
    if chosen.out is not None:
        write_values(found, grids, instruments, chosen.out)
    told = {"name": found.name, "expression": readable(found.value), **properties(found.value, found.rows)}
    return printable(f"{key}: {value}" for key, value in told.items()), told


def _dtype(values: Any) -> str:
    """Of a column: places of texts are int32."""
    return "text" if values.dtype == np.int32 else str(values.dtype)


def read_tables(bars: Path, static: Path | None) -> tuple[Grids, list[str]]:
    """The tables on the grid of the bars' days and stocks."""
    days, stocks, columns = _columns(bars)
    calendar, instruments = np.unique(days), sorted(set(stocks.tolist()))
    places = {name: place for place, name in enumerate(instruments)}
    tables = {"bars": _table(days, stocks, columns, calendar, places)}
    if static is not None:
        tables["static"] = _table(*_columns(static), calendar, places)
    return Grids(calendar, tables), instruments


def _columns(path: Path) -> tuple[Any, Any, dict[str, Any]]:
    found = pq.read_table(path)
    names = [name for name in found.column_names if name not in KEYS]
    days = found.column("datetime").cast(pa.timestamp("ns")).to_numpy().astype("datetime64[D]")
    stocks = np.array(found.column("instrument").to_pylist(), object)
    return days, stocks, {name: found.column(name).to_numpy(zero_copy_only=False) for name in names}


def _table(days: Any, stocks: Any, columns: dict[str, Any], calendar: Any, places: dict[str, int]) -> Table:
    """One table by day and stock; rows of other days or stocks are left out."""
    inside = np.isin(days, calendar) & np.array([name in places for name in stocks])
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


def write_values(found: Traced, grids: Grids, instruments: list[str], out: Path) -> None:
    """Columns datetime, instrument and the factor's name."""
    value, rows = evaluate([found.value, found.rows], grids)
    day, stock = np.nonzero(rows)
    pq.write_table(
        pa.table(
            {
                "datetime": pa.array(grids.days[day].astype("datetime64[ns]")),
                "instrument": pa.array(np.array(instruments, object)[stock]),
                found.name: pa.array(value[day, stock]),
            }
        ),
        out,
    )


if __name__ == "__main__":
    sys.exit(main())
