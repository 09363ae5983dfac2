"""Scores of one day or of a range of days, best first, and the stocks that got none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .features import FeatureBlock

NOT_IN_UNIVERSE = "not_in_universe"
NO_ROW = "no_row"
ALL_MISSING = "all_values_missing"
NON_FINITE = "non_finite_score"

SCORE_SCHEMA = pa.schema([("datetime", pa.date32()), ("instrument", pa.string()), ("score", pa.float64()), ("rank", pa.int32())])
EXCLUDED_SCHEMA = pa.schema([("datetime", pa.date32()), ("instrument", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class Scores:
    """`table`: datetime (date32), instrument, score (float64), rank (int32, from 1 within its date), by date, then rank.
    `excluded`: datetime, instrument, reason (one of this module's constants), by date, then instrument."""

    table: pa.Table
    excluded: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """pandas, polars and duckdb read the scores through this, without a copy of their own reader."""
        return self.table.__arrow_c_stream__(requested_schema)

    def top(self, count: int) -> pa.Table:
        """The `count` best of every date, fewer where a date has fewer; UsageError unless count is at least 1."""
        if count < 1:
            raise UsageError("usage.top", "the number of stocks must be at least 1", found=str(count))
        # ranks restart with every date, so this is right for a range of dates too
        return self.table.filter(pa.array(self.table["rank"].to_numpy() <= count))


def rank_scores(block: FeatureBlock, scores: npt.NDArray[np.float64], universe: Sequence[str] | None) -> Scores:
    """Order and number the scores of a block, and name the stocks left out.

    `block` is sorted by (date, instrument), so a stable sort by falling score within a date leaves ties in ascending
    order of instrument.
    """
    reasons = _reasons(block, scores, universe)
    keep = np.flatnonzero(reasons == "")
    order = keep[np.lexsort((-scores[keep], block.dates[keep]))]
    dates = block.dates[order]
    starts = np.flatnonzero(np.r_[True, dates[1:] != dates[:-1]]) if len(order) else np.zeros(0, dtype=np.int64)
    lengths = np.diff(np.r_[starts, len(order)])
    rank = np.arange(len(order)) - np.repeat(starts, lengths) + 1
    instruments = block.instruments
    columns = [_dates(dates), instruments.take(pa.array(order)), pa.array(scores[order]), pa.array(rank.astype(np.int32))]
    left_out = np.flatnonzero(reasons != "")
    excluded = pa.Table.from_arrays(
        [_dates(block.dates[left_out]), instruments.take(pa.array(left_out)), pa.array(reasons[left_out].tolist(), type=pa.string())],
        schema=EXCLUDED_SCHEMA,
    )
    if universe is not None:
        excluded = _with_absent(excluded, block, instruments, universe)
    return Scores(pa.Table.from_arrays(columns, schema=SCORE_SCHEMA), excluded)


def _reasons(block: FeatureBlock, scores: npt.NDArray[np.float64], universe: Sequence[str] | None) -> npt.NDArray[Any]:
    """Why each row of the block gets no place, "" where it gets one."""
    reasons = np.full(len(scores), "", dtype=object)
    reasons[~np.isfinite(scores)] = NON_FINITE
    # Looking at one column first keeps this cheap: a row can only be all missing where its first value is.
    suspects = np.flatnonzero(np.isnan(block.values[:, 0]))
    # Trees score a row without a single value too; such a stock (suspended, not listed) must not reach the top unmarked.
    reasons[suspects[np.isnan(block.values[suspects]).all(axis=1)]] = ALL_MISSING
    if universe is not None:
        wanted = set(universe)
        reasons[[name not in wanted for name in block.instruments.tolist()]] = NOT_IN_UNIVERSE
    return reasons


def _dates(dates: npt.NDArray[np.datetime64]) -> pa.Array:
    return pa.array(dates.astype("datetime64[D]").astype(np.int32), type=pa.int32()).view(pa.date32())


def _with_absent(excluded: pa.Table, block: FeatureBlock, instruments: Any, universe: Sequence[str]) -> pa.Table:
    """Add the stocks of the universe that have no row on a date."""
    names: list[str] = instruments.to_pylist()
    dates = np.unique(block.dates)
    rows: list[tuple[Any, str, str]] = []
    for date in dates:
        first, last = np.searchsorted(block.dates, date), np.searchsorted(block.dates, date, side="right")
        rows += [(date, name, NO_ROW) for name in sorted(set(universe) - set(names[first:last]))]
    if not rows:
        return excluded
    absent = pa.Table.from_arrays(
        [_dates(np.array([row[0] for row in rows])), pa.array([row[1] for row in rows]), pa.array([row[2] for row in rows])],
        schema=EXCLUDED_SCHEMA,
    )
    return pa.concat_tables([excluded, absent]).sort_by([("datetime", "ascending"), ("instrument", "ascending")])
