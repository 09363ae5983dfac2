"""Operations across the stocks of a day, between the graphs of compiled factors (spec/bundle-v1.md, section 9).

Missing values are skipped.  A statistic of float32 values is computed in double and rounded once, as pandas does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from alphaseal.format.factors import FactorStage

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def run(stage: FactorStage, inputs: Sequence[npt.NDArray[Any]]) -> Floats:
    """float64 [stocks, days]: what `stage` gives of its inputs [stocks, days]: values (two of a pair), the mask, and keys."""
    pair = stage.operator == "day_pair"
    values, mask, keys = inputs[: 1 + pair], inputs[1 + pair] != 0, inputs[2 + pair :]
    found = np.full(mask.shape, np.nan if stage.gives.dtype.startswith("float") else 0.0)
    for day in range(mask.shape[1]):
        for members, receivers in _groups(mask[:, day], [key[:, day] for key in keys]):
            chosen = [value[members, day] for value in values]
            if stage.operator == "day_rank":
                there = ~np.isnan(chosen[0])
                found[members[there], day] = _ranks(chosen[0][there], stage)
            else:
                found[receivers, day] = _pair(chosen, stage) if pair else _statistic(chosen[0], stage)
    return found.astype(np.float32).astype(np.float64) if stage.gives.dtype == "float32" else found


def _groups(mask: Mask, keys: Sequence[Floats]) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """(stocks of a group in the mask, stocks that get its value): without keys one group, whose value everybody gets."""
    if not keys:
        yield np.flatnonzero(mask), np.arange(len(mask))
        return
    known = ~np.isnan(np.stack(keys)).any(axis=0)
    places = np.flatnonzero(known)
    labels = np.unique(np.stack([key[places] for key in keys]), axis=1, return_inverse=True)[1].reshape(-1)
    order = np.argsort(labels, kind="stable")
    for group in np.split(places[order], np.flatnonzero(np.diff(labels[order])) + 1):
        inside = group[mask[group]]
        if len(inside):
            yield inside, group


def _ranks(values: Floats, stage: FactorStage) -> Floats:
    """Of values without missing ones, from 1 on."""
    signed = values if stage.ascending else -values
    distinct, place, number = np.unique(signed, return_inverse=True, return_counts=True)
    place = place.reshape(-1)
    before = np.cumsum(number) - number
    count = len(distinct) if stage.method == "dense" else len(values)
    if stage.method == "dense":
        ranks = place + 1.0
    elif stage.method == "first":
        ranks = np.empty(len(values))
        ranks[np.argsort(signed, kind="stable")] = np.arange(1.0, len(values) + 1)
    elif stage.method == "min":
        ranks = before[place] + 1.0
    elif stage.method == "max":
        ranks = (before + number)[place] * 1.0
    else:
        ranks = (2 * before + number + 1)[place] / 2
    return np.asarray(ranks / count if stage.percent else ranks, np.float64)


def _statistic(values: Floats, stage: FactorStage) -> float:
    function = str(stage.function)
    if function == "any":
        return float(np.any(values != 0))
    there = values[~np.isnan(values)]
    if function == "count":
        return float(len(there))
    if function == "sum":
        return float(there.sum())
    least = stage.ddof + 1 if stage.ddof is not None else 1
    if len(there) < least:
        return float("nan")
    return float(_STATISTICS[function](there, stage))


def _deviation(values: Floats, stage: FactorStage) -> float:
    deviation = values - values.mean()
    variance = (deviation * deviation).sum() / (len(values) - int(stage.ddof or 0))
    return float(np.sqrt(variance) if stage.function == "std" else variance)


def _quantile(values: Floats, share: float) -> float:
    ordered = np.sort(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    part = place - below
    return float(ordered[below] + (ordered[above] - ordered[below]) * part if part > 0 else ordered[below])


def _skewness(values: Floats, stage: FactorStage) -> float:
    """Corrected for bias; 0 of equal values (pandas `nanskew`)."""
    count = len(values)
    if count < 3:
        return float("nan")
    deviation = values - values.mean()
    second, third = (deviation**2).sum(), (deviation**3).sum()
    return 0.0 if second == 0 else float(count * (count - 1) ** 0.5 / (count - 2) * third / second**1.5)


_STATISTICS: Mapping[str, Callable[[Floats, FactorStage], float]] = {
    "mean": lambda values, stage: float(values.mean()),
    "std": _deviation,
    "var": _deviation,
    "median": lambda values, stage: _quantile(values, 0.5),
    "quantile": lambda values, stage: _quantile(values, float(stage.q or 0.0)),
    "min": lambda values, stage: float(values.min()),
    "max": lambda values, stage: float(values.max()),
    "skew": _skewness,
}


def _pair(values: Sequence[Floats], stage: FactorStage) -> float:
    """Correlation or covariance of the stocks that have both values."""
    both = ~np.isnan(values[0]) & ~np.isnan(values[1])
    x, y = (one[both] for one in values)
    if len(x) < 2:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    if stage.function == "corr":
        with np.errstate(all="ignore"):  # a side without any deviation has no correlation
            return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))
    left = len(x) - int(stage.ddof or 0)
    return float((x * y).sum() / left) if left > 0 else float("nan")
