"""Processors over all stocks of a day, as qlib 0.9.7 computes them through pandas.

Source: ``qlib.data.dataset.processor`` (CSZScoreNorm, CSRankNorm, CSZFillna, ProcessInf) and ``qlib.utils.data`` (zscore,
robust_zscore); sums are taken as ``pandas.core.nanops`` takes them, with the same numpy calls over columns that lie
contiguous in memory, as they do after the copy that qlib takes before a processor.  The bits are then equal.  A frame
that lies row by row is summed in another order by pandas itself: scores of 5000 normal values differ by up to 4e-5
(float32) or 8e-14 (float64) between pandas and pandas.  Ranks, medians and infinities do not depend on it.

A stage's `processor` is ``{"class", "columns", "dtype", "float32_columns", "method"}``: `columns` the features that it
changes (null: all); `dtype` the type that results are in; `float32_columns` the columns whose input is float32 although
others' is float64 (null or absent: none, or all where dtype is float32); `method` of CSZScoreNorm is zscore or robust.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alphaseal.errors import PolicyError

Matrix = npt.NDArray[np.float64]
Floats = npt.NDArray[Any]
_MAD_TO_DEVIATION = 1.4826
_CLIP = 3.0
_RANK_SPREAD = 3.46


@dataclass(frozen=True, eq=False)
class CrossSection:
    """One processor of a stage.

    `single` and `double` are the positions of the columns whose input is float32 and float64; `compute` gives the new
    values of a group of columns of one day (see `_zscore`), in the dtype `result`.
    """

    name: str
    single: npt.NDArray[np.intp]
    double: npt.NDArray[np.intp]
    result: np.dtype[Any]
    compute: Callable[[Floats, np.dtype[Any]], Floats]

    @classmethod
    def parse(cls, processor: dict[str, Any], width: int, names: Sequence[str] | None) -> CrossSection:
        """The processor of a manifest's stage over `width` columns, called `names` where the stage names some.

        Raises PolicyError `stage.unsupported` for a class or method this runtime does not know, `stage.malformed`.
        """
        name = processor.get("class")
        method = processor.get("method")
        compute = _COMPUTE.get((name, method)) if isinstance(name, str) and isinstance(method, str | None) else None
        if compute is None:
            raise PolicyError(
                "stage.unsupported",
                "this runtime does not know the cross-section processor",
                expected=", ".join(f"{known} {how or ''}".strip() for known, how in _COMPUTE),
                found=f"{name!r} {method or ''}".strip(),
                next_step="use a newer runtime",
            )
        unknown = set(processor) - {"class", "columns", "dtype", "float32_columns", "method"}
        dtype = processor.get("dtype")
        if unknown or dtype not in ("float32", "float64"):
            raise _malformed("dtype float32 or float64, and no other fields", f"{dtype!r}, {sorted(unknown)}")
        columns = _positions(processor.get("columns"), width, names, every=True)
        single = _positions(processor.get("float32_columns"), width, names, every=dtype == "float32")
        is_single = np.isin(columns, single)
        if dtype == "float32" and not is_single.all():
            raise _malformed("float32 columns only where results are float32", "other columns too")
        return cls(str(name), columns[is_single], columns[~is_single], np.dtype(dtype), compute)

    def apply(self, values: Matrix, spans: Iterable[tuple[Any, int, int]]) -> Matrix:
        """New values float64 [rows, columns]; `spans` are those of the days (`spans_of`)."""
        changed: Matrix = values.copy()
        # Overflow, division by zero and invalid operations are values here, as they are in pandas.
        with np.errstate(all="ignore"):
            for _, start, stop in spans:
                for columns, dtype in ((self.single, np.float32), (self.double, np.float64)):
                    if len(columns):
                        day = np.ascontiguousarray(values[start:stop, columns].T.astype(dtype, copy=False))
                        changed[start:stop, columns] = self.compute(day, self.result).T
        return changed


def _positions(listed: Any, width: int, names: Sequence[str] | None, *, every: bool) -> npt.NDArray[np.intp]:
    if listed is None:
        return np.arange(width if every else 0)
    known = {name: position for position, name in enumerate(names)} if names is not None and len(names) == width else {}
    if not isinstance(listed, list) or not all(isinstance(name, str) and name in known for name in listed):
        raise _malformed("a list of the columns' names, or null", repr(listed)[:200])
    return np.array([known[name] for name in listed], dtype=np.intp)


def _malformed(expected: str, found: str) -> PolicyError:
    return PolicyError("stage.malformed", "a cross-section stage is not in its form", expected=expected, found=found)


# --- one day: float32 or float64 [columns, stocks], each column contiguous -> the same shape --------------------------


def _zscore(day: Floats, result: np.dtype[Any]) -> Floats:
    mean, deviation = _mean(day), _deviation(day)
    scaled: Floats = (_in(result, day) - _in(result, mean)) / _in(result, deviation)
    return scaled


def _robust_zscore(day: Floats, result: np.dtype[Any]) -> Floats:
    centred = _in(result, day) - _in(result, _median(day))
    scaled = centred / _median(np.abs(centred)) / result.type(_MAD_TO_DEVIATION)
    clipped: Floats = np.clip(scaled, -_CLIP, _CLIP)
    return clipped


def _rank(day: Floats, result: np.dtype[Any]) -> Floats:
    """Ranks from 1, ties share their average, NaN has none; as a share of the stocks that have one."""
    order = np.argsort(day, axis=1, kind="stable")
    ordered = np.take_along_axis(day, order, axis=1)
    places = np.broadcast_to(np.arange(day.shape[1]), day.shape)
    new = np.ones(day.shape, np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones(day.shape, np.bool_)
    ends[:, :-1] = new[:, 1:]
    first = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, places, day.shape[1])[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(day.shape, np.float64)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=1)
    missing = np.isnan(day)
    share: Floats = ranks / (day.shape[1] - missing.sum(axis=1, keepdims=True))
    share[missing] = np.nan
    spread: Floats = (share - 0.5) * _RANK_SPREAD
    return spread


def _fill_mean(day: Floats, result: np.dtype[Any]) -> Floats:
    return np.where(np.isnan(day), _mean(day), day)


def _replace_infinite(day: Floats, result: np.dtype[Any]) -> Floats:
    """Infinity becomes the mean of the day's other values of the column, NaN where there are none."""
    day = day.copy()
    infinite = np.isinf(day)
    for column in np.flatnonzero(infinite.any(axis=1)):
        others = day[column][~infinite[column]]
        day[column][infinite[column]] = _mean(others[None, :])[0, 0]
    return day


_COMPUTE: dict[tuple[str, str | None], Callable[[Floats, np.dtype[Any]], Floats]] = {
    ("CSZScoreNorm", "zscore"): _zscore,
    ("CSZScoreNorm", "robust"): _robust_zscore,
    ("CSRankNorm", None): _rank,
    ("CSZFillna", None): _fill_mean,
    ("ProcessInf", None): _replace_infinite,
}


# --- statistics, [columns, 1] in the dtype of the day ----------------------------------------------------------------


def _mean(day: Floats) -> Floats:
    """``nanops.nanmean``: missing values count as zero in a sum of the column's own dtype; NaN where there is none."""
    missing = np.isnan(day)
    total = np.where(missing, day.dtype.type(0), day).sum(axis=1, dtype=day.dtype)
    count = (day.shape[1] - missing.sum(axis=1)).astype(day.dtype)
    mean: Floats = np.where(count > 0, total / count, day.dtype.type(np.nan))[:, None]
    return mean


def _deviation(day: Floats) -> Floats:
    """``nanops.nanstd`` with ddof 1: two passes with sums in float64, rounded to the column's dtype before the root."""
    missing = np.isnan(day)
    known = np.where(missing, day.dtype.type(0), day)
    count = (day.shape[1] - missing.sum(axis=1)).astype(day.dtype)
    average = known.sum(axis=1, dtype=np.float64) / count
    squares = (average[:, None] - known) ** 2
    squares[missing] = 0
    freedom = np.where(count > 1, count - day.dtype.type(1), day.dtype.type(np.nan))
    variance = squares.sum(axis=1, dtype=np.float64) / freedom
    deviation: Floats = np.sqrt(variance.astype(day.dtype))[:, None]
    return deviation


def _median(day: Floats) -> Floats:
    """``nanops.nanmedian``: the middle value, or the mean of the two middle ones in the column's dtype."""
    ordered = np.sort(day, axis=1)
    count = day.shape[1] - np.isnan(day).sum(axis=1)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    rows = np.arange(len(day))
    # Without a value both are the first, which is NaN.
    below, above = ordered[rows, low], ordered[rows, np.minimum(high, day.shape[1] - 1)]
    median: Floats = np.where(low == high, below, (below + above) / day.dtype.type(2))[:, None]
    return median


def _in(dtype: np.dtype[Any], values: Floats) -> Floats:
    typed: Floats = values.astype(dtype, copy=False)
    return typed
