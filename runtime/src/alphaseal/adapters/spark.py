"""A bundle as a batch function of Spark: ``DataFrame.mapInArrow``.

    from alphaseal.adapters.spark import score, score_function

    function = score_function("bundle/", trust="trust.json")
    scores = score(frame, function)                              # cuts the table where the model needs that
    scores = frame.mapInArrow(function, function.schema)         # the same, where rows are scored alone

The bundle must lie under the same path on every worker; it is verified where the function is made, opened once in each
worker process, and must have the same digest there.  Scores carry no rank: it is a window function away
(docs/integrations.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from alphaseal.adapters.batches import DATE, FIRST_COLUMN, ROWS_COLUMN, Scorer, TrustLike, calendar_of, parts_of
from alphaseal.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from alphaseal.tables.members.universe import Stocks

SCHEMA = "datetime date, instrument string, score double, excluded string"


@dataclass(frozen=True)
class ScoreFunction:
    """For ``mapInArrow``: batches of features in, `SCHEMA` out, a row per row that is no history."""

    scorer: Scorer
    schema: ClassVar[str] = SCHEMA

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return self.scorer.score_batches(batches)


def score_function(
    bundle_path: str | os.PathLike[str],
    *,
    trust: TrustLike,
    instruments_from: str | None = None,
    universe: Stocks | None = None,
) -> ScoreFunction:
    """Verify the bundle here and give the function; `trust` (a Trust, or a trust file read here) goes with it.

    `universe`, as in `Bundle.score`, names the market's stocks where the model needs that.
    """
    return ScoreFunction(Scorer.of(bundle_path, trust, instruments_from=instruments_from, universe=universe))


def score(frame: Any, function: ScoreFunction, *, days: int = 64) -> Any:
    """DataFrame of `SCHEMA` with a row per row of `frame`, without those that are only history of the first window."""
    ready = frame if function.scorer.rows_alone else cut(frame, function, days=days)
    return ready.mapInArrow(function, function.schema)


def cut(frame: Any, function: ScoreFunction, *, days: int = 64) -> Any:
    """`frame` in parts of `days` whole days, each with the history that windows need, one part in one partition.

    The dates of the whole frame are the calendar of windows, so it must be one market.  One job of Spark asks for them.
    InputError ``features.time_zone`` for timestamps that depend on the session's zone.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as f
    from pyspark.sql.types import TimestampType

    if isinstance(frame.schema[DATE].dataType, TimestampType):
        raise InputError(
            "features.time_zone",
            "timestamps of Spark depend on the session's time zone",
            where=f"column {DATE!r}",
            expected="DATE or TIMESTAMP_NTZ",
            next_step="convert the column where it is known which zone is meant: to_date",
        )
    date = f.to_date(frame[DATE])
    calendar = calendar_of([row[0] for row in frame.select(date).distinct().collect()])
    pairs = parts_of(calendar, function.scorer.step_length, days)
    plain = [(_date(row), _date(first)) for row, first in pairs]
    parts = frame.sparkSession.createDataFrame(plain, f"alphaseal_date date, {FIRST_COLUMN} date")
    joined = frame.join(f.broadcast(parts), date == parts["alphaseal_date"]).drop("alphaseal_date")
    # The count moves all rows of a part to one place, and lets the function see that they stayed there.
    return joined.withColumn(ROWS_COLUMN, f.count(f.lit(1)).over(Window.partitionBy(FIRST_COLUMN)))


def _date(day: np.datetime64) -> Any:
    return day.astype(object)
