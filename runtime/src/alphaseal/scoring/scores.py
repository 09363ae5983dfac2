"""Scores of one day or of a range of days, best first, and the stocks that got none.

Arrow arrays are made from buffers: `pa.array` imports pandas where it is installed (0.3 s).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.arrow.columns import dates_array, indices_of, numbers_array, numbers_of, text_array
from alphaseal.errors import UsageError
from alphaseal.format.reasons import ALL_MISSING, DROPPED, NO_ROW, NON_FINITE, NOT_IN_UNIVERSE
from alphaseal.tables.features import spans_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alphaseal.advice.drift import Drift
    from alphaseal.advice.picks import Picks
    from alphaseal.format.manifest import Manifest
    from alphaseal.tables.features import FeatureBlock
    from alphaseal.tables.members.universe import Universe


SCORE_SCHEMA = pa.schema(
    [("datetime", pa.date32()), ("instrument", pa.string()), ("score", pa.float64()), ("rank", pa.int32())]
)
EXCLUDED_SCHEMA = pa.schema([("datetime", pa.date32()), ("instrument", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class Scores:
    """`table`: datetime (date32), instrument, score (float64), rank (int32, from 1 within its date), by date, then rank.
    `excluded`: datetime, instrument, reason (one of this module's constants), by date, then instrument.  `manifest` and
    `measured` (the features' drift) are those of the bundle that scored."""

    table: pa.Table
    excluded: pa.Table
    manifest: Manifest | None = field(default=None, repr=False, compare=False)
    measured: Drift | None = field(default=None, repr=False, compare=False)
    warnings: tuple[str, ...] = ()
    """What was noticed in the data and is no error."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Fields of bars whose units a feature sees -> how they were shown (constants of `alphaseal.bars.units`)."""
    notes: tuple[str, ...] = ()
    """What only informs: which stocks the training did not know."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """pandas, polars and duckdb read the scores through this, without a copy of their own reader."""
        return self.table.__arrow_c_stream__(requested_schema)

    def dates(self) -> int:
        """How many dates have a scored stock."""
        return int(np.count_nonzero(self._ranks() == 1))

    def top(self, count: int) -> pa.Table:
        """The `count` best of every date, fewer where a date has fewer; UsageError unless count is at least 1."""
        if count < 1:
            raise UsageError("usage.top", "the number of stocks must be at least 1", found=str(count))
        # ranks restart with every date, so this is right for a range of dates too
        return self.table.take(indices_of(np.flatnonzero(self._ranks() <= count)))

    def picks(
        self,
        holdings: Sequence[str],
        *,
        top_k: int | None = None,
        n_drop: int | None = None,
        instruments_from: str | None = None,
    ) -> Picks:
        """What to hold, sell and buy as the run's strategy would; see `alphaseal.advice.picks.picks`."""
        from alphaseal.advice.picks import picks

        return picks(self, holdings, top_k=top_k, n_drop=n_drop, instruments_from=instruments_from)

    def drift(self) -> Drift:
        """How far the scored dates' features are from the training values; see `alphaseal.advice.drift.Drift`.

        Of all rows of a date, or of those of the universe that was given.
        """
        if self.measured is None:
            raise UsageError("usage.drift", "only scores that a bundle gave know the features' drift")
        return self.measured

    def _ranks(self) -> npt.NDArray[np.int32]:
        chunks = self.table["rank"].chunks
        return np.concatenate([np.zeros(0, np.int32), *(numbers_of(chunk, np.dtype(np.int32)) for chunk in chunks)])


def rank_scores(
    block: FeatureBlock,
    scores: npt.NDArray[np.float64],
    universe: Universe | None,
    dropped: npt.NDArray[np.bool_] | None = None,
) -> Scores:
    """Order and number the scores of a block, and name the stocks left out; `dropped` rows are those a stage gave none.

    `block` is sorted by (date, instrument), so a stable sort by falling score within a date leaves ties in ascending
    order of instrument.
    """
    reasons = _reasons(block, scores, universe, dropped)
    keep = np.flatnonzero(reasons == "")
    order = keep[np.lexsort((-scores[keep], block.dates[keep]))]
    dates = block.dates[order]
    ranks = [np.arange(1, stop - start + 1, dtype=np.int32) for _, start, stop in spans_of(dates)]
    instruments = block.instruments
    columns = [
        dates_array(dates),
        instruments.take(indices_of(order)),
        numbers_array(scores[order], pa.float64()),
        numbers_array(np.concatenate([np.zeros(0, np.int32), *ranks]), pa.int32()),
    ]
    left_out = np.flatnonzero(reasons != "")
    excluded = pa.Table.from_arrays(
        [
            dates_array(block.dates[left_out]),
            instruments.take(indices_of(left_out)),
            text_array(reasons[left_out].tolist()),
        ],
        schema=EXCLUDED_SCHEMA,
    )
    excluded = with_excluded(excluded, [row[:2] for row in block.left_out], [reason for _, _, reason in block.left_out])
    if universe is not None:
        excluded = _with_absent(excluded, block, universe)
    return Scores(
        pa.Table.from_arrays(columns, schema=SCORE_SCHEMA), excluded, warnings=block.warnings, notes=block.notes
    )


def _reasons(
    block: FeatureBlock,
    scores: npt.NDArray[np.float64],
    universe: Universe | None,
    dropped: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[Any]:
    """Why each row of the block gets no place, "" where it gets one."""
    reasons = np.full(len(scores), "", dtype=object)
    reasons[~np.isfinite(scores)] = NON_FINITE
    if dropped is not None:
        reasons[dropped] = DROPPED
    # Looking at one column first keeps this cheap: a row can only be all missing where its first value is.
    suspects = np.flatnonzero(np.isnan(block.values[:, 0]))
    # Trees score a row without a single value too; such a stock (suspended, not listed) must not reach the top unmarked.
    reasons[suspects[np.isnan(block.values[suspects]).all(axis=1)]] = ALL_MISSING
    if universe is not None:
        reasons[~universe.rows(block)] = NOT_IN_UNIVERSE
    if block.reasons is not None:
        reasons = np.where(block.reasons == "", reasons, block.reasons)
    return reasons


def _with_absent(excluded: pa.Table, block: FeatureBlock, universe: Universe) -> pa.Table:
    """Add the stocks of a date's universe that have no row on a date."""
    names: list[str] = block.instruments.to_pylist()
    rows: list[tuple[np.datetime64, str]] = []
    left_out: dict[np.datetime64, set[str]] = {}
    for date, name, _ in block.left_out:
        left_out.setdefault(date, set()).add(name)
    for date, first, last in block.spans():
        there = {*names[first:last], *left_out.get(date, ())}
        rows += [(date, name) for name in sorted(universe.on(date) - there)]
    return with_excluded(excluded, rows, [NO_ROW] * len(rows))


def with_excluded(excluded: pa.Table, rows: Sequence[tuple[np.datetime64, str]], reasons: Sequence[str]) -> pa.Table:
    """`excluded` with more rows (date, instrument), in order of both."""
    if not rows:
        return excluded
    more = pa.Table.from_arrays(
        [
            dates_array(np.array([date for date, _ in rows])),
            text_array([name for _, name in rows]),
            text_array(reasons),
        ],
        schema=EXCLUDED_SCHEMA,
    )
    together = pa.concat_tables([excluded, more])
    keys = list(zip(together["datetime"].to_pylist(), together["instrument"].to_pylist(), strict=True))
    return together.take(indices_of(np.array(sorted(range(len(keys)), key=keys.__getitem__))))
