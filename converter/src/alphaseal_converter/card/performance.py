"""What the pictures of the card show: numbers of the run's own artefacts, and of the proof that was just made.

Nothing here decides anything.  What is missing or cannot be read is an `Absent` with the reason, which the card says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from alphaseal_converter.comparison.parity import Vector
from alphaseal_converter.decode import frames as decode
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import Importance
from alphaseal_converter.locate.artifacts import Predictions, read_predictions
from alphaseal_converter.locate.runs import Artifacts, read_file
from alphaseal_converter.pickles import read_pickle
from alphaseal_converter.proof.proven import Proven

DAYS_A_YEAR = 238
"""qlib's number of trading days a year for daily data (``qlib.contrib.evaluate.risk_analysis``)."""

_BINS = 40
_CELLS = 120
_LARGEST = 1e30
"""No score and no return is this large; beyond it the arithmetic of a picture would overflow."""

Days = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class Absent:
    """A picture that cannot be drawn, and why."""

    why: str


@dataclass(frozen=True)
class Correlations:
    """Correlation of score and label over the stocks of each day, and of their ranks; NaN where a day has none.

    `days` is datetime64[D] [days], ascending.  `computed` says that the run holds no such file and that they were
    computed from its predictions and labels, as qlib does (``qlib.contrib.eva.alpha.calc_ic``).
    """

    days: Days
    ic: Vector
    rank_ic: Vector
    computed: bool


@dataclass(frozen=True)
class Returns:
    """The strategy's return of each day less the benchmark's; `with_cost` less the day's costs too."""

    days: Days
    without_cost: Vector
    with_cost: Vector


@dataclass(frozen=True)
class Distribution:
    """Recorded scores: `counts` int64 [bins] between `edges` float64 [bins + 1]; moments over the finite ones."""

    edges: Vector
    counts: npt.NDArray[np.int64]
    rows: int
    days: int
    mean: float
    deviation: float


@dataclass(frozen=True)
class Agreement:
    """Scores of the bundle's graph against the recorded ones.

    Every row falls into a cell of a grid over `lowest` to `highest`; `recorded` and `ours` are the middles of the
    cells that hold any, so a picture shows all rows in bounded space.
    """

    recorded: Vector
    ours: Vector
    lowest: float
    highest: float
    rows: int
    largest_difference: float


@dataclass(frozen=True)
class Performance:
    """All that the pictures need; `missing` is the share [features] of missing values among the recorded rows."""

    correlations: Correlations | Absent
    returns: Returns | Absent
    distribution: Distribution | Absent
    agreement: Agreement | Absent
    importance: Importance | Absent
    missing: Vector | Absent


_NONE = Absent("not measured")
NOTHING_MEASURED = Performance(_NONE, _NONE, _NONE, _NONE, _NONE, _NONE)


def measure(proven: Proven) -> Performance:
    """The numbers behind the card's pictures."""
    parts, predictions, replayed = proven.located.parts, proven.located.parts.predictions, proven.replayed
    no_rows = Absent("the raw values of the recorded predictions were not at hand")
    return Performance(
        correlations=read_correlations(parts.artifacts, predictions),
        returns=read_returns(parts.artifacts),
        distribution=distribution(predictions) if predictions is not None else Absent("the run holds no pred.pkl"),
        agreement=agreement(replayed.scores, replayed.recorded.scores) if replayed is not None else no_rows,
        importance=proven.model.importance
        or Absent(f"a {proven.model.family} model states no importance of single features"),
        missing=np.isnan(replayed.recorded.values).mean(axis=0) if replayed is not None else no_rows,
    )


def read_correlations(artifacts: Artifacts, predictions: Predictions | None) -> Correlations | Absent:
    """``sig_analysis/ic.pkl`` and ``ric.pkl``; without them computed from ``pred.pkl`` and ``label.pkl``."""
    ic, rank_ic = artifacts.ic, artifacts.ric
    if ic is not None and rank_ic is not None:
        return _readable("sig_analysis/ic.pkl and ric.pkl", lambda: _recorded_correlations(ic, rank_ic))
    label = artifacts.label
    if predictions is None or label is None:
        return Absent(
            "the run holds neither sig_analysis/ic.pkl and ric.pkl, nor pred.pkl and label.pkl to compute them"
        )
    return _readable("label.pkl", lambda: correlations_of(predictions, read_predictions(label)))


def read_returns(artifacts: Artifacts) -> Returns | Absent:
    """``portfolio_analysis/report_normal_1day.pkl``: columns ``return``, ``bench`` and ``cost`` of each day."""
    path = artifacts.report_normal_1day
    if path is None:
        return Absent("the run holds no portfolio_analysis/report_normal_1day.pkl")
    return _readable("portfolio_analysis/report_normal_1day.pkl", lambda: _returns(path))


_Part = TypeVar("_Part")


def _readable(name: str, read: Callable[[], _Part]) -> _Part | Absent:
    """A picture is no reason to refuse a bundle whose scores are proven: a file that cannot be read is one that is missing."""
    try:
        return read()
    except RefusalError as error:
        return Absent(f"{name} cannot be shown: {error.message}")


def _recorded_correlations(ic: Path, rank_ic: Path) -> Correlations:
    days, first = _daily(ic)
    other_days, second = _daily(rank_ic)
    if not np.array_equal(days, other_days):
        raise _unusable("the two files have other days", ic)
    return Correlations(days, first, second, computed=False)


def _daily(path: Path) -> tuple[Days, Vector]:
    series = decode.as_series(read_pickle(read_file(path), where=str(path)).root, where=str(path))
    days = _days(series.index, path)
    return days, _numbers(series.values, len(days), path)


def _returns(path: Path) -> Returns:
    frame = decode.as_frame(read_pickle(read_file(path), where=str(path)).root, where=str(path))
    days = _days(frame.index, path)
    columns: Mapping[object, object] = dict(zip(frame.columns, frame.data, strict=True))
    absent = [name for name in ("return", "bench", "cost") if name not in columns]
    if absent:
        raise _unusable(f"it has no column {' or '.join(absent)}", path)
    gross, bench, cost = (_numbers(columns[name], len(days), path) for name in ("return", "bench", "cost"))
    return Returns(days, gross - bench, gross - bench - cost)


def _days(index: decode.IndexData, path: Path) -> Days:
    level = np.asarray(index.levels[0])
    if len(index.levels) != 1 or level.dtype.kind != "M" or not len(level):
        raise _unusable("it is not indexed by day", path)
    days = level.astype("datetime64[D]")
    if np.isnat(days).any() or not (days[1:] > days[:-1]).all():
        raise _unusable("its days do not ascend", path)
    return days


def _numbers(values: object, count: int, path: Path) -> Vector:
    """float64 [count]; infinite ones are refused, as no picture has a place for them."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.shape != (count,):
        raise _unusable("it holds something else than numbers", path)
    numbers = array.astype(np.float64)
    if (np.abs(numbers) > _LARGEST).any():
        raise _unusable("its numbers are too large to be drawn", path)
    return numbers


def _unusable(message: str, path: Path) -> RefusalError:
    return RefusalError("artifact.form", message, where=str(path))


def correlations_of(predictions: Predictions, labels: Predictions) -> Correlations:
    """qlib's daily IC and rank IC: Pearson's correlation of values, and of average ranks, over pairs without NaN."""
    scores, truth = predictions.scores, _aligned(predictions, labels)
    days, place = np.unique(predictions.dates, return_inverse=True)
    order = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place, minlength=len(days)))[:-1]
    ic, rank_ic = np.full(len(days), np.nan), np.full(len(days), np.nan)
    for number, rows in enumerate(np.split(order, ends)):
        pairs = rows[np.isfinite(scores[rows]) & np.isfinite(truth[rows])]
        ic[number] = _correlation(scores[pairs], truth[pairs])
        rank_ic[number] = _correlation(_ranks(scores[pairs]), _ranks(truth[pairs]))
    return Correlations(days, ic, rank_ic, computed=True)


def _aligned(predictions: Predictions, labels: Predictions) -> Vector:
    """The label of each prediction, NaN where there is none."""
    if np.array_equal(predictions.dates, labels.dates) and np.array_equal(predictions.instruments, labels.instruments):
        return labels.scores
    known = dict(zip(_keys(labels), labels.scores.tolist(), strict=True))
    return np.array([known.get(key, np.nan) for key in _keys(predictions)], dtype=np.float64)


def _keys(rows: Predictions) -> list[tuple[int, str]]:
    return list(zip(rows.dates.astype(np.int64).tolist(), rows.instruments.tolist(), strict=True))


def _correlation(first: Vector, second: Vector) -> float:
    """Pearson's; NaN where a side does not vary."""
    if len(first) < 2 or (first == first[0]).all() or (second == second[0]).all():
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Vector) -> Vector:
    """Ranks from 1; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Vector = (last - (counts - 1) / 2)[place]
    return mean


def distribution(predictions: Predictions) -> Distribution | Absent:
    """Where the recorded scores lie."""
    scores = predictions.scores[np.isfinite(predictions.scores)]
    if not len(scores) or np.abs(scores).max() > _LARGEST:
        return Absent("pred.pkl holds no scores that can be drawn")
    counts, edges = np.histogram(scores, bins=_BINS)
    days = len(np.unique(predictions.dates))
    return Distribution(edges, counts.astype(np.int64), len(scores), days, float(scores.mean()), float(scores.std()))


def agreement(ours: Vector, recorded: Vector) -> Agreement | Absent:
    """Both scores of every row that has both, in cells."""
    both = np.isfinite(ours) & np.isfinite(recorded)
    x, y = recorded[both], ours[both]
    if not len(x) or max(np.abs(x).max(), np.abs(y).max()) > _LARGEST:
        return Absent("no row has two scores that can be drawn")
    lowest, highest = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    size = (highest - lowest) / _CELLS or 1.0
    cells = np.unique(np.stack([_cell(x, lowest, size), _cell(y, lowest, size)]), axis=1)
    middles = lowest + (cells + 0.5) * size
    return Agreement(middles[0], middles[1], lowest, highest, len(x), float(np.abs(y - x).max()))


def _cell(values: Vector, lowest: float, size: float) -> npt.NDArray[np.int64]:
    cells: npt.NDArray[np.int64] = np.minimum((values - lowest) / size, _CELLS - 1).astype(np.int64)
    return cells


__all__ = [
    "NOTHING_MEASURED",
    "Absent",
    "Agreement",
    "Correlations",
    "Distribution",
    "Performance",
    "Returns",
    "agreement",
    "correlations_of",
    "distribution",
    "measure",
    "read_correlations",
    "read_returns",
]
