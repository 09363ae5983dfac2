"""A bundle as a batch function of Ray Data: ``Dataset.map_batches`` and ``map_groups``.

    from alphaseal.adapters.ray import score

    scores = score(ray.data.read_parquet("features/"), "bundle/", trust="trust.json")

The bundle must lie under the same path on every node; it is verified where `score` is called, opened once in each worker,
and must have the same digest there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from alphaseal.adapters.batches import DATE, FIRST_COLUMN, ROWS_COLUMN, Scorer, TrustLike, calendar_of, parts_of
from alphaseal.arrow.columns import days_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from alphaseal.tables.members.universe import Stocks


class BundleScorer:
    """For ``map_batches`` with ``batch_format="pyarrow"``: a table of features in, `batches.SCORED_SCHEMA` out.

    Where the model looks at other rows too, a batch must be one part of `cut`: that is what ``map_groups`` gives.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        scorer.bundle()

    def __call__(self, table: pa.Table) -> pa.Table:
        return self.scorer.score(table) if self.scorer.rows_alone else self.scorer.score_part(table)


def score(
    dataset: Any,
    bundle_path: str | os.PathLike[str],
    *,
    trust: TrustLike,
    instruments_from: str | None = None,
    universe: Stocks | None = None,
    days: int = 64,
    concurrency: int = 1,
) -> Any:
    """Dataset of `batches.SCORED_SCHEMA` with a row per row of `dataset`, without those that are only history.

    `universe`, as in `Bundle.score`, names the market's stocks where the model needs that.  `concurrency` is the number of workers; `days` those of a part, for models that need whole days.
    """
    scorer = Scorer.of(bundle_path, trust, instruments_from=instruments_from, universe=universe)
    options: dict[str, Any] = {
        "fn_constructor_args": (scorer,),
        "batch_format": "pyarrow",
        "concurrency": concurrency,
    }
    if scorer.rows_alone:
        return dataset.map_batches(BundleScorer, **options)
    return cut(dataset, scorer, days=days).groupby(FIRST_COLUMN).map_groups(BundleScorer, **options)


def cut(dataset: Any, scorer: Scorer, *, days: int = 64) -> Any:
    """`dataset` with its rows once for every part that they belong to, and the columns that name it.

    The dates of the whole dataset are the calendar of windows, so it must be one market.  Its dates are read first, alone.
    """
    dates = dataset.select_columns([DATE]).map_batches(_dates_of, batch_format="pyarrow")
    counts: dict[int, int] = {}
    for row in dates.iter_rows():
        counts[row["day"]] = counts.get(row["day"], 0) + row["rows"]
    calendar = calendar_of([np.datetime64(day, "D") for day in sorted(counts)])
    pairs = parts_of(calendar, scorer.step_length, days)
    rows: dict[int, int] = {}
    for date, first in pairs:
        rows[_number(first)] = rows.get(_number(first), 0) + counts[_number(date)]
    assigned = [(_number(date), _number(first), rows[_number(first)]) for date, first in pairs]
    arguments = {"assigned": np.array(assigned, np.int64)}
    return dataset.map_batches(_assign, fn_kwargs=arguments, batch_format="pyarrow")


def _number(day: np.datetime64) -> int:
    return int(day.astype("datetime64[D]").astype(np.int64))


def _days(table: pa.Table) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(0, np.int64), *(days_of(chunk) for chunk in table[DATE].chunks)])


def _dates_of(table: pa.Table) -> pa.Table:
    """The days of a batch, as numbers since 1970, and how many rows each has."""
    days, rows = np.unique(_days(table), return_counts=True)
    return pa.table({"day": days, "rows": rows})


def _assign(table: pa.Table, assigned: npt.NDArray[np.int64]) -> pa.Table:
    """`table` with a row for every (row, part) pair of `assigned`, whose rows are day, first day and size of a part."""
    days = _days(table)
    order = np.argsort(assigned[:, 0], kind="stable")
    known = assigned[order]
    start = np.searchsorted(known[:, 0], days, side="left")
    count = np.searchsorted(known[:, 0], days, side="right") - start
    source = np.repeat(np.arange(len(days)), count)
    within = np.arange(len(source)) - np.repeat(np.cumsum(count) - count, count)
    chosen = known[np.repeat(start, count) + within]
    parts = table.take(pa.array(source))
    first = pa.array(chosen[:, 1].astype(np.int32)).cast(pa.date32())
    return parts.append_column(FIRST_COLUMN, first).append_column(ROWS_COLUMN, pa.array(chosen[:, 2]))
