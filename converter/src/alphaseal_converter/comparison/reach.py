"""Which scores a row can have when some of its raw values move within intervals: noise, carried through a model.

Nothing is asked of the model but its scores.  Each value is moved alone, to both ends and to both sides of every
threshold in between, and what it does is added up: for a linear model that is the sum of |coefficient × scale| × noise.
Where few values matter, all of them are moved together, every combination: for trees these are all leaves that can be
reached.  Where there are too many combinations a sample of them is measured, as for a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from alphaseal_converter.comparison.parity import Matrix, Vector, neighbours

_COMBINATIONS = 4096
"""The most that are all tried."""
_SAMPLED = 512
_SEED = 20260122


_ENDS = 2
"""Choices of a value without a threshold in between."""


@dataclass(frozen=True, eq=False)
class Reach:
    """Scores from `low` to `high` can be reached, and a missing one if `missing`; `alone` float64 [values] says how wide
    the scores are that each value reaches alone."""

    low: float
    high: float
    missing: bool
    alone: Vector

    def holds(self, score: float, allowed: float) -> bool:
        """Whether a score within `allowed` of `score` can be reached."""
        return self.missing if np.isnan(score) else self.low - allowed <= score <= self.high + allowed


def reach(
    score: Callable[[Matrix], Vector], values: Vector, apart: Vector, borders: Sequence[Vector], dtypes: Sequence[str]
) -> Reach:
    """What a row of raw `values` float64 [values] can score, each of them up to `apart` away.

    Where `apart` is infinite the value can be anything, or missing.  `score` gives float64 [rows] of [rows, values];
    `borders` are raw values of each at which a score may jump, `dtypes` those that the values are in.
    """
    moving = np.flatnonzero(apart > 0)
    choices = {place: _choices(values[place], apart[place], borders[place], dtypes[place]) for place in moving.tolist()}
    rows = np.concatenate([values[None], *(_moved(values, place, chosen) for place, chosen in choices.items())])
    found = score(rows)
    base, start = found[0], 1
    alone, falls, rises = np.zeros(len(values)), 0.0, 0.0
    important: dict[int, Vector] = {}
    for place, chosen in choices.items():
        scores = found[start : start + len(chosen)]
        start += len(chosen)
        low, high = _range(np.r_[base, scores])
        with np.errstate(invalid="ignore"):
            # Infinite on both sides: all there is can be reached.
            alone[place] = np.nan_to_num(high - low, nan=np.inf)
            falls, rises = falls + np.fmin(0.0, low - base), rises + np.fmax(0.0, high - base)
        if alone[place] > 0 or len(chosen) > _ENDS or np.isnan(scores).any() != np.isnan(base):
            important[place] = np.r_[values[place], chosen]
    together = score(_together(values, important)) if important else found
    low, high = _range(np.r_[found, together])
    if np.isfinite(base):
        low, high = min(low, base + falls), max(high, base + rises)
    return Reach(low, high, bool(np.isnan(np.r_[found, together]).any()), alone)


def _choices(value: float, apart: float, borders: Vector, dtype: str) -> Vector:
    """Both ends, and what lies beside each border in between; a value of which nothing is known may be missing, too."""
    if np.isinf(apart):
        inside, ends = borders, [-np.inf, np.inf, np.nan]
    else:
        ends = [value - apart, value + apart]
        inside = borders[(borders > ends[0]) & (borders < ends[1])]
    beside = neighbours(inside, dtype).ravel()
    with np.errstate(over="ignore"):
        rounded = np.array(ends).astype(dtype).astype(np.float64)
    return np.concatenate([rounded, beside[np.isfinite(beside)]])


def _moved(values: Vector, place: int, chosen: Vector) -> Matrix:
    rows = np.repeat(values[None], len(chosen), axis=0)
    rows[:, place] = chosen
    return rows


def _together(values: Vector, choices: dict[int, Vector]) -> Matrix:
    """All combinations, or a sample of them where there are too many."""
    lists = list(choices.values())
    if np.prod([float(len(chosen)) for chosen in lists]) <= _COMBINATIONS:
        columns = [column.ravel() for column in np.meshgrid(*lists, indexing="ij")]
    else:
        generator = np.random.default_rng(_SEED)
        columns = [generator.choice(chosen, _SAMPLED) for chosen in lists]
    rows = np.repeat(values[None], len(columns[0]), axis=0)
    rows[:, list(choices)] = np.column_stack(columns)
    return rows


def _range(scores: Vector) -> tuple[float, float]:
    """Smallest and largest; nothing can be reached where all are missing."""
    there = scores[~np.isnan(scores)]
    return (float(there.min()), float(there.max())) if len(there) else (np.inf, -np.inf)
