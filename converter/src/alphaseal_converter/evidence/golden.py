"""The golden rows of a bundle, raw features with the score that the original gave them; and its golden factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.arrow.columns import dates_array, indices_of
from alphaseal.bars.calendar import Bars
from alphaseal.factors.daily import FactorColumns
from alphaseal.factors.selftest import golden_factors_schema
from alphaseal.format.factors import CompiledFactors
from alphaseal.tables.features import FeatureBlock
from alphaseal_converter.comparison.parity import Matrix, Probe, Vector
from alphaseal_converter.emission.tables import as_grids, as_side_table
from alphaseal_converter.evidence.factor_table import FactorTable
from alphaseal_converter.evidence.values import MINIMUM_DAYS, Recorded
from alphaseal_converter.factors.expressions.document import Traced
from alphaseal_converter.factors.expressions.evaluate import Table, evaluate

Places = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

CONTEXT_CASE = "context"
DAY_CASE = "day"
_PROBE_ROWS = 64


@dataclass(frozen=True)
class GoldenRows:
    """Rows of one case.  `keys` are the rows of a block, or None for made-up rows without date and instrument;
    `scores` is None for rows that only give the days before to a window."""

    case: str
    values: Matrix
    scores: Vector | None
    keys: FeatureBlock | None


def clean_days(recorded: Recorded, differing: npt.NDArray[np.int64]) -> npt.NDArray[np.datetime64]:
    """The last days of which every recorded prediction is the score of our raw values; `differing` are places of others."""
    return np.setdiff1d(recorded.dates, recorded.dates[differing])[-MINIMUM_DAYS:]


def golden_days(recorded: Recorded, days: npt.NDArray[np.datetime64], step_length: int) -> tuple[GoldenRows, ...]:
    """Some days with recorded predictions, whole, with the scores, and the days before them for windows."""
    chosen = np.isin(recorded.dates, days)
    rows, scores = recorded.rows[chosen], recorded.scores[chosen]
    golden = [GoldenRows(DAY_CASE, recorded.block.values[rows], scores, _part(recorded.block, rows))]
    if step_length > 1:
        calendar = np.unique(recorded.block.dates)
        # Whole days from the first window's on: those between two golden days are history of the later one.
        first = calendar[max(0, int(np.searchsorted(calendar, days[0])) - step_length + 1)]
        history = (recorded.block.dates >= first) & (recorded.block.dates < days[-1])
        history[rows] = False
        before = np.flatnonzero(history)
        golden.insert(0, GoldenRows(CONTEXT_CASE, recorded.block.values[before], None, _part(recorded.block, before)))
    return tuple(golden)


def golden_probe(probe: Probe, expected: Vector, usual: npt.NDArray[np.bool_]) -> GoldenRows:
    """A sample of the `usual` rows of one probe, evenly spread: those that the manifest's one bound is meant for."""
    rows = np.flatnonzero(usual)
    chosen = rows[np.linspace(0, len(rows) - 1, min(_PROBE_ROWS, len(rows))).astype(int)]
    return GoldenRows(probe.case, probe.values[chosen], expected[chosen], None)


def golden_day_names(golden: Sequence[GoldenRows]) -> list[str]:
    """The days that are there whole."""
    days = [np.unique(part.keys.dates) for part in golden if part.case == DAY_CASE and part.keys is not None]
    return [str(day) for day in np.concatenate(days)] if days else []


def write_golden(path: Path, schema: pa.Schema, golden: Sequence[GoldenRows]) -> int:
    """Write golden.parquet (schema of `alphaseal.scoring.golden.golden_schema`) and return the number of rows."""
    table = pa.concat_tables([_table(part, schema) for part in golden])
    write_table(path, table)
    return len(table)


@dataclass(frozen=True)
class Meaning:
    """What a factor's expression means, and how near its graphs must come: `bound` of the larger of value and `scale`."""

    traced: Traced
    bound: float
    scale: float


@dataclass(frozen=True)
class GoldenFactors:
    """Bars of some stocks with their factors; `wrong` are factors that are not what their expression in numpy says there."""

    table: pa.Table
    tolerances: dict[str, float]
    wrong: list[str]


def golden_factors(
    table: FactorTable,
    description: CompiledFactors,
    columns: FactorColumns,
    stocks: npt.NDArray[np.int64],
    meanings: Mapping[str, Meaning],
) -> GoldenFactors:
    """Bars of `stocks` up to the last recorded day, and what the factors are where these stocks are all there are."""
    days = slice(max(0, table.last + 1 - columns.window), table.last + 1)
    day_of, stock_of = np.nonzero(table.bars.present[stocks, days].T)
    dates = table.bars.dates[days][day_of]
    names = pa.array([table.bars.instruments[stock] for stock in stocks[stock_of].tolist()], pa.string())
    places = [table.fields.index(name) for name in description.fields]
    values = table.bars.values[stocks, days][stock_of, day_of][:, places]
    bars = Bars.of_rows(FeatureBlock(dates, names, values.astype(np.float64), ()))
    at = np.searchsorted(bars.dates, dates), np.searchsorted(bars.instruments, names.to_pylist())
    cut = table.side_on(days, stocks)
    side = None if cut is None else _spread(cut, (day_of, stock_of), at, bars)
    last = len(bars.dates) - 1
    newest = np.flatnonzero(bars.present[:, last])
    found = columns.compute(bars, description.fields, last, newest, as_side_table(side))
    grid = np.full((len(bars.instruments), len(bars.dates), len(columns.names)), np.nan)
    grid[newest, last] = found.values
    arrays: list[Any] = [dates_array(dates), names]
    arrays += [pa.array(np.ascontiguousarray(values[:, number])) for number in range(values.shape[1])]
    if description.static and side is not None:
        arrays.append(pa.array(side.rows[at].astype(np.float64)))
        for column in description.static:
            kept = side.columns[column.name][at]
            given = side.rows[at] & ~((kept < 0) & (column.dtype == "text"))
            arrays.append(pa.array(np.where(given, kept.astype(np.float64), np.nan), from_pandas=True))
    arrays += [pa.array(grid[at[1], at[0], number], from_pandas=True) for number in range(grid.shape[2])]
    tolerances, wrong = {}, []
    for number, name in enumerate(columns.names):
        one, given = meanings[name], found.values[:, number]
        tolerances[name] = one.bound * max(one.scale, float(np.abs(given[np.isfinite(given)]).max(initial=0.0)))
        roots = [one.traced.value, one.traced.rows]
        value, rows = (told[last, newest] for told in evaluate(roots, as_grids(bars, description.fields, side)))
        wanted = np.where(rows, value.astype(np.float64), np.nan)
        with np.errstate(invalid="ignore"):
            near = np.abs(given - wanted) <= one.bound * np.maximum(np.abs(wanted), one.scale or 1.0)
        same = near | (given == wanted) | (np.isnan(given) & np.isnan(wanted))
        if (found.known[:, number] & ~same).any():
            wrong.append(name)
    made = pa.Table.from_arrays(arrays, schema=golden_factors_schema(description))
    return GoldenFactors(made, tolerances, wrong)


def _spread(cut: Table, rows: Places, at: Places, bars: Bars) -> Table:
    """What a side table has at these rows, laid on the days and stocks of the bars; elsewhere it has no row."""
    shape = (len(bars.dates), len(bars.instruments))

    def laid(grid: npt.NDArray[Any], empty: Any) -> npt.NDArray[Any]:
        found = np.full(shape, empty, grid.dtype)
        found[at] = grid[rows]
        return found

    def none(grid: npt.NDArray[Any]) -> Any:
        return np.nan if grid.dtype.kind == "f" else -1 if grid.dtype == np.int32 else 0

    return Table({name: laid(grid, none(grid)) for name, grid in cut.columns.items()}, laid(cut.rows, empty=False))


def write_table(path: Path, table: pa.Table) -> None:
    """One row group, zstd, no statistics, no schema in metadata."""
    pq.write_table(
        table, path, compression="zstd", row_group_size=len(table) or 1, write_statistics=False, store_schema=False
    )


def _part(block: FeatureBlock, rows: npt.NDArray[np.int64]) -> FeatureBlock:
    return FeatureBlock(block.dates[rows], block.instruments.take(indices_of(rows)), block.values[rows], ())


def _table(part: GoldenRows, schema: pa.Schema) -> pa.Table:
    count = len(part.values)
    if part.keys is None:
        dates, names = pa.nulls(count, pa.date32()), pa.nulls(count, pa.string())
    else:
        days = part.keys.dates.astype("datetime64[D]").astype(np.int64).astype(np.int32)
        dates, names = pa.array(days).view(pa.date32()), part.keys.instruments
    features = [
        # pyarrow's own name of the dtype (`to_pandas_dtype`) asks for pandas.
        pa.array(part.values[:, place].astype(np.float32 if pa.types.is_float32(field.type) else np.float64))
        for place, field in enumerate(list(schema)[3:-1])
    ]
    scores = pa.nulls(count, pa.float64()) if part.scores is None else pa.array(part.scores)
    return pa.Table.from_arrays(
        [pa.array([part.case] * count, pa.string()), dates, names, *features, scores], schema=schema
    )
