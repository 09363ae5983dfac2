"""The golden rows of a bundle: raw features with the score that the original gave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.arrow.columns import indices_of
from alphaseal.tables.features import FeatureBlock
from alphaseal_converter.comparison.parity import Matrix, Probe, Vector
from alphaseal_converter.evidence.values import MINIMUM_DAYS, Recorded

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
