"""Values of the operators that look at earlier rows of a stock, in numpy; windows are computed one by one, not online.

Arrays of one stock: float64 [rows], its rows of the mask only, oldest first.  NaN is missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from alphaseal_converter.factors.expressions.nodes import Node

Floats = npt.NDArray[np.float64]
_TINY = 1e-14
"""Below this second moment pandas' skewness and kurtosis are missing."""


def windows(values: Floats, length: int) -> Floats:
    """[rows, length]: the last rows, the row itself at the end, NaN before the first."""
    padded = np.concatenate([np.full(length - 1, np.nan), values])
    return np.lib.stride_tricks.sliding_window_view(padded, length)


def finite_or_missing(values: Floats) -> Floats:
    """Infinities as NaN, as pandas prepares values for windows."""
    return np.where(np.isinf(values), np.nan, values)


def roll(values: Floats, node: Node) -> Floats:
    """A statistic over the last rows: `nodes`, operator ``roll``."""
    window = windows(finite_or_missing(np.asarray(values, np.float64)), node["window"])
    there = ~np.isnan(window)
    count = there.sum(1).astype(np.float64)
    found = _statistic(window, there, count, node)
    least = node["min_periods"] if node["function"] == "sum" else max(node["min_periods"], 1)
    return np.where(count >= least, found, np.nan)


def _statistic(window: Floats, there: npt.NDArray[np.bool_], count: Floats, node: Node) -> Floats:
    function = node["function"]
    high = np.where(there, window, -np.inf).max(1)
    low = np.where(there, window, np.inf).min(1)
    if function == "max":
        return np.asarray(high)
    if function == "min":
        return np.asarray(low)
    if function == "median":
        return quantile(window, there, 0.5, "linear")
    if function == "quantile":
        return quantile(window, there, node["q"], node["interpolation"])
    if function == "rank":
        return _rank(window, count, node)
    if function == "sum":
        return np.asarray(np.where(high == low, high * count, np.where(there, window, 0.0).sum(1)))
    mean = _mean(window, there, count, high)
    if function == "mean":
        return mean
    deviation = np.where(there, window - mean[:, None], 0.0)
    second = (deviation * deviation).sum(1)
    if function in ("var", "std"):
        variance = np.where(count > node["ddof"], second / (count - node["ddof"]), np.nan)
        return np.asarray(np.sqrt(variance) if function == "std" else variance)
    return _shape(deviation, second / count, count, high == low, node)


def _mean(window: Floats, there: npt.NDArray[np.bool_], count: Floats, high: Floats) -> Floats:
    """From the largest value on: exact where all are equal."""
    start = np.where(np.isfinite(high), high, 0.0)
    return np.asarray(start + np.where(there, window - start[:, None], 0.0).sum(1) / count)


def _shape(deviation: Floats, second: Floats, count: Floats, equal: npt.NDArray[np.bool_], node: Node) -> Floats:
    """Skewness or excess kurtosis, corrected for bias."""
    if node["function"] == "skew":
        third = (deviation**3).sum(1) / count
        found, least, constant = np.sqrt(count * (count - 1)) / (count - 2) * third / second**1.5, 3, 0.0
    else:
        fourth = (deviation**4).sum(1) / count
        found = ((count**2 - 1) * fourth / second**2 - 3 * (count - 1) ** 2) / ((count - 2) * (count - 3))
        least, constant = 4, -3.0
    if node["constant_windows"] == "moments":
        constant = np.nan
    else:
        found = np.where(second <= _TINY, np.nan, found)
    return np.where(count < least, np.nan, np.where(equal, constant, found))


def _rank(window: Floats, count: Floats, node: Node) -> Floats:
    """Of the newest value among the window's."""
    newest = window[:, -1:]
    before = ((window < newest) if node["ascending"] else (window > newest)).sum(1)
    equal = (window == newest).sum(1)
    rank = {"average": before + (equal + 1) / 2, "min": before + 1.0, "max": before + equal * 1.0}[node["method"]]
    rank = rank / count if node["pct"] else rank
    return np.where(np.isnan(newest[:, 0]), np.nan, rank)


def quantile(window: Floats, there: npt.NDArray[np.bool_], share: float, interpolation: str) -> Floats:
    """Along the last axis, among what is there; NaN where nothing is."""
    ordered = np.sort(np.where(there, window, np.inf), axis=-1)
    count = there.sum(-1)
    place = share * np.maximum(count - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    low, high = (np.take_along_axis(ordered, at[..., None], -1)[..., 0] for at in (below, above))
    part = place - below
    nearest = np.where((part > 0.5) | ((part == 0.5) & (below % 2 == 1)), high, low)
    found = {
        "linear": np.where(part > 0, low + (high - low) * part, low),
        "lower": low,
        "higher": np.where(part > 0, high, low),
        "midpoint": np.where(part > 0, (low + high) / 2, low),
        "nearest": nearest,
    }[interpolation]
    return np.where(count > 0, found, np.nan)


def roll_pair(left: Floats, right: Floats, node: Node) -> Floats:
    """Correlation or covariance over the last rows: `nodes`, operator ``roll2``."""
    x, y = (finite_or_missing(np.asarray(one, np.float64)) for one in (left, right))
    gone = np.isnan(x) | np.isnan(y)
    x, y = (windows(np.where(gone, np.nan, one), node["window"]) for one in (x, y))
    there = ~np.isnan(x)
    count = there.sum(1).astype(np.float64)
    dx, dy = (
        np.where(there, one - _mean(one, there, count, np.where(there, one, -np.inf).max(1))[:, None], 0.0)
        for one in (x, y)
    )
    product = (dx * dy).sum(1)
    if node["function"] == "corr":
        found = product / np.sqrt((dx * dx).sum(1) * (dy * dy).sum(1))
    else:
        found = product / (count - node["ddof"])
    return np.where((count >= max(node["min_periods"], 1)) & (count > node["ddof"]), found, np.nan)


def shifted(values: npt.NDArray[Any], periods: int) -> npt.NDArray[Any]:
    """`periods` rows later; NaN before."""
    found = np.full(len(values), np.nan, values.dtype)
    if periods < len(values):
        found[periods:] = values[: len(values) - periods]
    return found


def filled(values: npt.NDArray[Any], limit: int | None) -> npt.NDArray[Any]:
    """The last value that is there, at most `limit` rows back."""
    rows = np.arange(len(values))
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, rows))
    known = (last >= 0) & ((rows - last <= limit) if limit is not None else True)
    return np.where(known, values[np.maximum(last, 0)], np.array(np.nan, values.dtype))


def exponential_mean(values: Floats, node: Node) -> Floats:
    """pandas' recurrence (`pandas._libs.window.aggregations.ewm`)."""
    found, average, old, count = np.full(len(values), np.nan), np.nan, 1.0, 0
    new = 1.0 if node["adjust"] else node["alpha"]
    for row, value in enumerate(values.tolist()):
        known = value == value
        count += known
        if average != average:
            average = value
        elif known or not node["ignore_na"]:
            old *= 1 - node["alpha"]
            if known:
                if average != value:
                    average = (old * average + new * value) / (old + new)
                old = old + new if node["adjust"] else 1.0
        found[row] = average if count >= max(node["min_periods"], 1) else np.nan
    return found


def reduced(values: npt.NDArray[Any], node: Node) -> npt.NDArray[Any]:
    """[..., window] -> [...]: `nodes`, operator ``reduce``."""
    function, skip = node["function"], node["skip"] and values.dtype.kind == "f"
    there = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, np.bool_)
    if function == "count":
        return np.asarray(there.sum(-1), np.int64)
    if function in ("any", "all"):
        return np.asarray(getattr(values.astype(np.bool_), function)(-1))
    if function in ("argmax", "argmin"):
        worst = -np.inf if function == "argmax" else np.inf
        return np.asarray(getattr(np.where(there, values, worst) if skip else values, function)(-1), np.int64)
    if function in ("median", "quantile"):
        found = quantile(values, there, node["q"] if function == "quantile" else 0.5, "linear")
        return found if skip else np.where(there.all(-1), found, np.nan)
    return _moments(values, there, node) if skip else _plain(values, node)


def _plain(values: npt.NDArray[Any], node: Node) -> npt.NDArray[Any]:
    function = node["function"]
    if function in ("std", "var"):
        return np.asarray(getattr(values, function)(-1, ddof=node["ddof"]))
    return np.asarray(getattr(values, function)(-1))


def _moments(values: npt.NDArray[Any], there: npt.NDArray[np.bool_], node: Node) -> npt.NDArray[Any]:
    """Missing values left out."""
    function, count = node["function"], there.sum(-1)
    if function in ("min", "max"):
        worst = np.inf if function == "min" else -np.inf
        found = getattr(np.where(there, values, worst), function)(-1)
        return np.where(count > 0, found, np.nan)
    if function == "prod":
        return np.asarray(np.where(there, values, 1.0).prod(-1))
    total = np.where(there, values, 0.0).sum(-1)
    if function == "sum":
        return np.asarray(total)
    mean = total / count
    if function == "mean":
        return np.asarray(mean)
    deviation = np.where(there, values - mean[..., None], 0.0)
    variance = np.where(count > node["ddof"], (deviation * deviation).sum(-1) / (count - node["ddof"]), np.nan)
    return np.asarray(np.sqrt(variance) if function == "std" else variance)
