"""Values of the operators that look at all stocks of a day, in numpy: one day at a time, one group of equal keys at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.expressions.windows import quantile

Grid = npt.NDArray[Any]


def _groups(
    mask: npt.NDArray[np.bool_], keys: list[Grid]
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """(stocks in the mask, stocks that get the value) of one day after the other; the second are all without keys."""
    everybody = np.arange(len(mask))
    if not keys:
        yield np.flatnonzero(mask), everybody
        return
    known = np.ones(len(mask), np.bool_)
    for key in keys:
        # Texts are places in a list, -1 where there is none.
        known &= ~np.isnan(key) if key.dtype.kind == "f" else key >= 0 if key.dtype == np.int32 else True
    labels = np.stack([np.unique(key, return_inverse=True)[1] for key in keys])
    labels = np.unique(labels, axis=1, return_inverse=True)[1].reshape(-1)
    for label in np.unique(labels[known & mask]):
        members = known & (labels == label)
        yield np.flatnonzero(members & mask), np.flatnonzero(members)


def day(values: Grid, mask: Grid, keys: list[Grid], node: Node) -> Grid:
    """One value per day (and group): `nodes`, operator ``day``."""
    dtype = np.dtype(node.dtype)
    found = np.full(mask.shape, np.nan if dtype.kind == "f" else 0, dtype)
    for row in range(len(mask)):
        for inside, receivers in _groups(mask[row], [key[row] for key in keys]):
            found[row, receivers] = _statistic(values[row, inside], node)
    return found


def _statistic(values: Grid, node: Node) -> float | bool:
    function = node["function"]
    if function == "any":
        return bool(values.astype(np.bool_).any())
    kept = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if function == "count":
        return float(len(kept))
    numbers = kept.astype(np.float64)
    if function == "sum":
        return float(numbers.sum())
    if not len(numbers):
        return np.nan
    if function in ("std", "var"):
        return float(getattr(numbers, function)(ddof=node["ddof"])) if len(numbers) > node["ddof"] else np.nan
    if function in ("median", "quantile"):
        share = node["q"] if function == "quantile" else 0.5
        return float(quantile(numbers, np.ones(len(numbers), np.bool_), share, "linear"))
    if function == "skew":
        return _skewness(numbers)
    return float(getattr(numbers, function)())


def _skewness(numbers: Grid) -> float:
    count = len(numbers)
    if count < 3:
        return np.nan
    deviation = numbers - numbers.mean()
    second, third = (deviation**2).sum(), (deviation**3).sum()
    if second == 0:
        return 0.0
    return float(count * (count - 1) ** 0.5 / (count - 2) * third / second**1.5)


def day_rank(values: Grid, mask: Grid, keys: list[Grid], node: Node) -> Grid:
    """Rank among the stocks of the day (and group): `nodes`, operator ``day_rank``."""
    found = np.full(mask.shape, np.nan)
    for row in range(len(mask)):
        for inside, _ in _groups(mask[row], [key[row] for key in keys]):
            here = values[row, inside]
            known = inside[~np.isnan(here)] if here.dtype.kind == "f" else inside
            found[row, known] = _ranks(values[row, known].astype(np.float64), node)
    return found


def _ranks(numbers: npt.NDArray[np.float64], node: Node) -> npt.NDArray[np.float64]:
    signed = numbers if node["ascending"] else -numbers
    ordered = np.sort(signed)
    low, high = np.searchsorted(ordered, signed, "left"), np.searchsorted(ordered, signed, "right")
    most = len(numbers)
    if node["method"] == "dense":
        distinct = np.unique(signed)
        rank, most = np.searchsorted(distinct, signed) + 1.0, len(distinct)
    elif node["method"] == "first":
        rank = np.empty(len(numbers))
        rank[np.argsort(signed, kind="stable")] = np.arange(1, len(numbers) + 1)
    else:
        rank = {"average": (low + high + 1) / 2, "min": low + 1.0, "max": high * 1.0}[node["method"]]
    return np.asarray(rank / most if node["pct"] else rank)


def day_pair(left: Grid, right: Grid, mask: Grid, node: Node) -> Grid:
    """Correlation or covariance over the stocks of the day."""
    found = np.full(mask.shape, np.nan, node.dtype)
    both = mask & ~np.isnan(left) & ~np.isnan(right)
    for row in range(len(mask)):
        x, y = (one[row, both[row]].astype(np.float64) for one in (left, right))
        if len(x) < 2:
            continue
        dx, dy = x - x.mean(), y - y.mean()
        if node["function"] == "corr":
            found[row] = (dx * dy).sum() / np.sqrt((dx * dx).sum() * (dy * dy).sum())
        elif len(x) > node["ddof"]:
            found[row] = (dx * dy).sum() / (len(x) - node["ddof"])
    return found
