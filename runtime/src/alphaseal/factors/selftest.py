"""The golden factors of a bundle: bars of a few stocks, put through the programs on this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.arrow.columns import floats_of
from alphaseal.bars.calendar import Bars
from alphaseal.errors import PolicyError, SelfTestError
from alphaseal.factors.daily import EMPTY, FactorColumns, SideTable
from alphaseal.gate.data import read_exact
from alphaseal.scoring.golden import GoldenBarsReport, bars_schema, keyed_block
from alphaseal.scoring.selftest import once

if TYPE_CHECKING:
    from alphaseal.format.factors import CompiledFactors
    from alphaseal.sealed import Sealed

STATIC = "static:"
"""Before the name of a column of the side table; alone: 1 where the side table has the row."""
FACTOR = "factor:"
"""Before the name of a factor."""


@dataclass(frozen=True, eq=False)
class LoadedFactors:
    """The programs of a bundle, loaded from verified bytes."""

    description: CompiledFactors | None
    columns: FactorColumns

    def selftest(self, sealed: Sealed) -> GoldenBarsReport | None:
        """Compute the golden factors; see `run`.  None where there are none."""
        return None if self.description is None else run(sealed, self.description, self.columns)

    def proven(self, sealed: Sealed) -> FactorColumns:
        """The programs, after the golden factors were computed here: once in a process for a bundle's digest."""
        # V9: before the first score from bars
        once(sealed.digest, "factors", lambda: self.selftest(sealed))
        return self.columns


def golden_factors_schema(compiled: CompiledFactors) -> pa.Schema:
    """The exact schema of the golden factors' file."""
    side = [STATIC, *(f"{STATIC}{column.name}" for column in compiled.static)] if compiled.static else []
    names = [*side, *(f"{FACTOR}{name}" for program in compiled.programs for name in program.factors)]
    return pa.schema([*bars_schema(compiled.fields), *(pa.field(name, pa.float64()) for name in names)])


def load(sealed: Sealed) -> LoadedFactors:
    """PolicyError `model.*` where a graph may not be loaded, or is not what the manifest says of it."""
    compiled = sealed.manifest.compiled
    programs = [] if compiled is None else compiled.programs
    return LoadedFactors(compiled, FactorColumns(programs, lambda path: sealed.read_graph(path).data))


def run(sealed: Sealed, compiled: CompiledFactors, columns: FactorColumns) -> GoldenBarsReport:
    """Compute the factors of the golden bars on `compiled.date`; these stocks are all that there are.

    Raises SelfTestError `selftest.factors` where one is further from the recorded value than its tolerance, or missing on
    one side only; PolicyError `data.*`, `golden.keys`, and `golden.bars` where there is nothing to compare with.
    """
    # V8: exact schema and rows, in a budget
    schema = golden_factors_schema(compiled)
    table = read_exact(sealed.golden(compiled.golden), schema, compiled.golden_rows, compiled.golden)
    values = np.stack([_column(table, field.name) for field in list(schema)[2:]], axis=1)
    block = keyed_block(table, values, compiled.golden)[0]
    width = len(compiled.fields)
    bars = Bars.of_rows(replace(block, values=block.values[:, :width]))
    day = len(bars.dates) - 1
    stocks = np.flatnonzero(bars.present[:, day])
    if str(bars.dates[day]) != compiled.date or not len(stocks):
        raise PolicyError(
            "golden.bars",
            "the golden factors have no bars of their date",
            where=compiled.golden,
            expected=f"bars up to {compiled.date}",
            found=f"up to {bars.dates[day]}",
        )
    # Doubles that float32 cannot hold: the side table and the expected values.
    wide = _grid(block, bars)
    side = None if not compiled.static else _side(compiled, wide[:, :, width : width + 1 + len(compiled.static)])
    found = columns.compute(bars, compiled.fields, day, stocks, side).values
    expected = wide[stocks, day, -len(columns.names) :]
    tolerances = np.array([compiled.tolerances[name] for name in columns.names])
    with np.errstate(invalid="ignore"):  # infinity less infinity
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        difference = np.where(same, 0.0, np.abs(found - expected))
    wrong = np.argwhere(~(difference <= tolerances))
    if len(wrong):
        row, column = map(int, wrong[0])
        raise SelfTestError(
            "selftest.factors",
            f"{len(wrong)} compiled factors of the golden bars are others on this machine",
            where=compiled.golden,
            expected=f"{columns.names[column]} of {bars.instruments[stocks[row]]} within {tolerances[column]!r} of "
            f"{expected[row, column]!r}",
            found=repr(float(found[row, column])),
            next_step="do not trade on these scores; go back to the library versions of the last good self-test",
        )
    units = difference / np.where(tolerances > 0, tolerances, 1.0)
    return GoldenBarsReport(
        len(stocks), len(columns.names), int((difference == 0).sum()), float(units.max(initial=0.0))
    )


def _column(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    column = table[name].combine_chunks()
    dtype = "float32" if column.type == pa.float32() else "float64"
    return floats_of(column, dtype).astype(np.float64)


def _grid(block: Any, bars: Bars) -> npt.NDArray[np.float64]:
    """float64 [stocks, days, columns] of the rows; NaN where there is none."""
    place = {name: number for number, name in enumerate(bars.instruments)}
    stock = np.array([place[name] for name in block.instruments.to_pylist()], np.int64)
    grid = np.full((*bars.present.shape, block.values.shape[1]), np.nan)
    grid[stock, np.searchsorted(bars.dates, block.dates)] = block.values
    return grid


def _side(compiled: CompiledFactors, grid: npt.NDArray[np.float64]) -> SideTable:
    columns = {}
    for number, column in enumerate(compiled.static, 1):
        empty = EMPTY.get(column.dtype)
        values = grid[:, :, number]
        columns[column.name] = values if empty is None else np.where(np.isnan(values), empty, values)
    return SideTable(columns, grid[:, :, 0] == 1)
