"""Two bundles on the same rows: the golden rows of the new one, scored by both, each through its own stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.arrow.columns import indices_of
from alphaseal.errors import AlphasealError
from alphaseal.scoring.golden import read_golden

if TYPE_CHECKING:
    from alphaseal.bundle import Bundle
    from alphaseal.format.manifest import Feature

_TOPS = (5, 10)
_NAMED = 5


@dataclass(frozen=True)
class ScoredStock:
    """One stock on one date in both bundles; None where a bundle gives it no score."""

    date: str
    instrument: str
    old_score: float | None
    new_score: float | None
    old_rank: int | None
    new_rank: int | None


@dataclass(frozen=True)
class Day:
    """One date: `both` stocks have two scores; `top` says for each k how many of the k best are the same.

    `rank_correlation` is Spearman's of the stocks that both score; None for fewer than two, or where one side's are equal.
    """

    date: str
    both: int
    only_old: int
    only_new: int
    rank_correlation: float | None
    top: dict[int, int]


@dataclass(frozen=True)
class ScoreComparison:
    """`reason` says why the old bundle cannot score the new one's golden rows; then there are no days and no stocks.

    `by_name`: features that neither bundle has a formula or code of, so that only their names say that they are the same.
    """

    reason: str | None
    days: tuple[Day, ...] = ()
    stocks: tuple[ScoredStock, ...] = ()
    by_name: tuple[str, ...] = ()


def compare_scores(old: Bundle, new: Bundle) -> ScoreComparison:
    """Score the new bundle's golden days with both; a bundle that cannot is a reason, not an error.

    Raises what reading the golden rows raises: DigestError, PolicyError.
    """
    reason = _incomparable(old, new)
    if reason is not None:
        return ScoreComparison(reason)
    golden = new.manifest.golden
    table = read_golden(new)
    # Made-up rows have no keys; the days before the golden ones are the windows' history.
    real = [place for place, name in enumerate(table["instrument"].to_pylist()) if name is not None]
    rows = table.take(indices_of(np.array(real, np.int64))).drop_columns(["case", "score"])
    period = (min(golden.days), max(golden.days))
    results = []
    for side, bundle in (("new", new), ("old", old)):
        try:
            results.append(_by_stock(bundle.score(rows, dates=period).table))
        except AlphasealError as error:
            return ScoreComparison(f"the {side} bundle cannot score these rows: {error}")
    after, before = results
    tops = sorted({*_TOPS, new.manifest.selection.top_k})
    keys = sorted({*before, *after})
    days = tuple(_day(date, _of(before, date), _of(after, date), tops) for date in sorted({date for date, _ in keys}))
    nothing = (None, None)
    stocks = [_stock(*key, before.get(key, nothing), after.get(key, nothing)) for key in keys]
    stocks.sort(key=lambda stock: (stock.date, stock.new_rank is None, stock.new_rank))
    by_name = tuple(feature.name for feature in old.manifest.features if _meaning(feature, old) == (None, None))
    return ScoreComparison(None, days, tuple(stocks), by_name)


_Scored = dict[tuple[str, str], tuple[float, int]]
_OfDay = dict[str, tuple[float, int]]


def _of(scored: _Scored, date: str) -> _OfDay:
    return {instrument: value for (day, instrument), value in scored.items() if day == date}


def _stock(date: str, instrument: str, old: tuple[Any, Any], new: tuple[Any, Any]) -> ScoredStock:
    return ScoredStock(date, instrument, old[0], new[0], old[1], new[1])


def _incomparable(old: Bundle, new: Bundle) -> str | None:
    """Why the old model cannot be asked about these rows, in words for people."""
    if not new.manifest.golden.days:
        return "the golden rows of the new bundle hold no whole day"
    features = {feature.name: feature for feature in new.manifest.features}
    missing = [feature.name for feature in old.manifest.features if feature.name not in features]
    if missing:
        return f"the old model needs {_some(missing)}, which the new golden rows do not have"
    other = [f.name for f in old.manifest.features if _meaning(f, old) != _meaning(features[f.name], new)]
    if other:
        return f"{_some(other)} is computed otherwise in the new bundle, so its values are not what the old model knows"
    narrower = [f.name for f in old.manifest.features if (f.dtype, features[f.name].dtype) == ("float64", "float32")]
    if narrower:
        return f"the old model was trained on {_some(narrower)} in float64, the new golden rows hold float32"
    return None


def _meaning(feature: Feature, bundle: Bundle) -> tuple[str | None, str | None]:
    """What a feature is computed by: its expression, or the digest of its code."""
    source = None if feature.source is None else bundle.manifest.file(feature.source).sha256
    return feature.expression, source


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more features" if more > 0 else "")


def _by_stock(table: pa.Table) -> _Scored:
    columns = [table[name].to_pylist() for name in ("datetime", "instrument", "score", "rank")]
    return {(str(date), name): (score, rank) for date, name, score, rank in zip(*columns, strict=True)}


def _day(date: str, old: _OfDay, new: _OfDay, tops: Sequence[int]) -> Day:
    both = sorted(old.keys() & new.keys())
    best = {
        k: {s for s, (_, rank) in old.items() if rank <= k} & {s for s, (_, r) in new.items() if r <= k} for k in tops
    }
    return Day(
        date=date,
        both=len(both),
        only_old=len(old) - len(both),
        only_new=len(new) - len(both),
        rank_correlation=rank_correlation(
            np.array([old[name][0] for name in both]), np.array([new[name][0] for name in both])
        ),
        top={k: len(same) for k, same in best.items()},
    )


def rank_correlation(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation, ties with their mean rank; None where it is not defined."""
    a, b = (ranks - ranks.mean() if len(ranks) else ranks for ranks in (_ranks(first), _ranks(second)))
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else None


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[places]
    return mean
