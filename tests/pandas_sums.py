"""Real pandas whose sums are done with care: rolling windows one by one, statistics of float32 in double, then rounded.

pandas carries running sums from row to row, and they keep the rounding of values that have left the window: a window of equal
values has a deviation, the smallest part of a large sum is lost.  Its sums of float32 are sums in float32.  What a program
gives with these sums and not with pandas' own is that noise and nothing else: each window computed here is compared with
pandas' own where that is not ill-conditioned.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from pandas._libs.window import aggregations
from pandas.core import nanops
from pandas.core.groupby import ops
from pandas.core.window import rolling

WAYS = ("nearest", "largest", "nudged")
"""How values are added up: to the rounded exact sum; from the largest, or the last, value on, one after the other; the same
with another last bit of every second sum."""
_MAJOR = int(pd.__version__.partition(".")[0])
_NEAR = 1e-8
"""Part of what has gone into the running sums that they may be off."""
_TINY = 1e-14
"""Below this second moment pandas 2 gives no skewness and no kurtosis."""


class MistakenError(Exception):
    """A window computed here is another than pandas' own beyond noise: a fault of this module."""


def _total(values: Any, way: str) -> float:
    if way == "nearest":
        return math.fsum(values)
    return float(values[0] * len(values)) if (values == values[0]).all() else float(values.sum())


def _mean(values: Any, way: str) -> float:
    if way == "nearest":
        return math.fsum(values) / len(values)
    start = values.max()
    return float(start + (values - start).sum() / len(values))


def _deviations(values: Any, way: str) -> Any:
    return values - _mean(values, way) if (values != values[0]).any() else np.zeros(len(values))


def _variance(values: Any, way: str, ddof: int) -> float:
    return float((_deviations(values, way) ** 2).sum() / (len(values) - ddof)) if len(values) > ddof else math.nan


def _skewness(values: Any, way: str) -> float:
    count = len(values)
    if count < 3:
        return math.nan
    if (values == values[0]).all():
        return 0.0 if _MAJOR < 3 else math.nan
    deviations = _deviations(values, way)
    second, third = (deviations**2).sum() / count, (deviations**3).sum() / count
    if second <= _TINY and _MAJOR < 3:
        return math.nan
    return float(math.sqrt(count * (count - 1)) / (count - 2) * third / second**1.5)


def _kurtosis(values: Any, way: str) -> float:
    count = len(values)
    if count < 4:
        return math.nan
    if (values == values[0]).all():
        return -3.0 if _MAJOR < 3 else math.nan
    deviations = _deviations(values, way)
    second, fourth = (deviations**2).sum() / count, (deviations**4).sum() / count
    if second <= _TINY and _MAJOR < 3:
        return math.nan
    return float(((count**2 - 1) * fourth / second**2 - 3 * (count - 1) ** 2) / ((count - 2) * (count - 3)))


def _windows(values: Any, start: Any, end: Any) -> Iterator[Any]:
    """The values that are there, of each window."""
    for first, last in zip(start, end, strict=True):
        part = values[first:last]
        yield part[~np.isnan(part)]


def _largest(values: Any) -> float:
    there = values[~np.isnan(values)]
    return float(np.abs(there).max()) if len(there) else 0.0


def _checked(found: Any, own: Any, near: float, sure: Any) -> Any:
    """`found`, where it is pandas' `own` wherever `sure` says that pandas' noise is small."""
    with np.errstate(invalid="ignore"):
        same = (np.abs(found - own) <= near) | (np.isnan(found) & np.isnan(own)) | ~sure
    if not same.all():
        at = int(np.argmin(same))
        raise MistakenError(f"window {at}: {found[at]!r}, pandas gives {own[at]!r}")
    return found


def _nudged(found: Any, way: str) -> Any:
    """The same, or every second one with a last bit more."""
    if way != "nudged":
        return found
    if np.ndim(found) == 0:
        return np.nextafter(found, np.inf) if found else found
    found = np.array(found)
    found[..., ::2] = np.where(found[..., ::2] == 0, 0, np.nextafter(found[..., ::2], np.inf))
    return found


def _of_values(name: str, statistic: Callable[..., float], power: int) -> Callable[..., Any]:
    """Sum, mean and variance: noise is a part of the largest value to the `power`."""
    own = getattr(aggregations, name)

    def computed(way: str) -> Any:
        def function(values: Any, start: Any, end: Any, minp: Any, *parameters: Any, **named: Any) -> Any:
            least, given = int(minp or 0), own(values, start, end, minp, *parameters, **named)
            extra = [*parameters, *named.values()]
            found = np.full(len(start), np.nan)
            for place, one in enumerate(_windows(values, start, end)):
                if len(one) >= max(least, 1):
                    found[place] = statistic(one, way, *extra)
                elif name == "roll_sum" and least == 0:
                    found[place] = 0.0
            bound = _NEAR * max(_largest(values) ** power, 1e-300) * (len(values) if name == "roll_sum" else 1)
            return _nudged(_checked(found, given, bound, np.isfinite(found) | np.isfinite(given)), way)

        return function

    return computed


def _of_shape(name: str, statistic: Callable[..., float]) -> Callable[..., Any]:
    """Skewness and kurtosis: sure where the window's deviation is not small beside all values."""
    own = getattr(aggregations, name)

    def computed(way: str) -> Any:
        def function(values: Any, start: Any, end: Any, minp: Any) -> Any:
            found, sure = np.full(len(start), np.nan), np.zeros(len(start), np.bool_)
            largest = _largest(values)
            for place, one in enumerate(_windows(values, start, end)):
                if len(one) >= max(int(minp or 0), 1):
                    found[place] = statistic(one, way)
                    sure[place] = bool(_variance(one, way, 0) > 1e-3 * largest**2)
            return _nudged(_checked(found, own(values, start, end, minp), 1e-6, sure), way)

        return function

    return computed


_COMPUTED = {
    "roll_sum": _of_values("roll_sum", _total, 1),
    "roll_mean": _of_values("roll_mean", _mean, 1),
    "roll_var": _of_values("roll_var", lambda values, way, ddof=1: _variance(values, way, ddof), 2),
    "roll_skew": _of_shape("roll_skew", _skewness),
    "roll_kurt": _of_shape("roll_kurt", _kurtosis),
}


def _pairs(way: str, windows: Any, function: Any) -> Any:
    """The function of two series that ``rolling.corr`` and ``rolling.cov`` hand on, without pandas' means of products."""
    name, ddof = function.__name__, int(inspect.getclosurevars(function).nonlocals["ddof"])

    def pair(x: Any, y: Any) -> Any:
        left, right = windows._prep_values(x), windows._prep_values(y)
        indexer = windows._get_window_indexer()
        least = indexer.window_size if windows.min_periods is None else windows.min_periods
        start, end = indexer.get_window_bounds(len(left), least, windows.center, windows.closed, windows.step)
        gone = np.isnan(left) | np.isnan(right)
        found, sure = np.full(len(left), np.nan), np.zeros(len(left), np.bool_)
        most = [_largest(one) for one in (left, right)]
        for place, (first, last) in enumerate(zip(start, end, strict=True)):
            one, other = (values[first:last][~gone[first:last]] for values in (left, right))
            if len(one) < max(least, 1, ddof + 1):
                continue
            moments = [(_deviations(values, way) ** 2).sum() for values in (one, other)]
            product = (_deviations(one, way) * _deviations(other, way)).sum()
            with np.errstate(all="ignore"):
                found[place] = (
                    product / (len(one) - ddof) if name == "cov_func" else product / np.sqrt(moments[0] * moments[1])
                )
            sure[place] = all(moment > 1e-3 * big**2 for moment, big in zip(moments, most, strict=True))
        near = 1e-6 * (most[0] * most[1] if name == "cov_func" else 1.0)
        found = _nudged(_checked(found, function(x, y).to_numpy(), near, sure), way)
        return pd.Series(found, index=x.index, name=x.name)

    return pair


def _in_double(own: Any) -> Callable[..., Any]:
    """A function of numpy whose float32 is that of a library: in double and then rounded."""

    def function(values: Any, *arguments: Any, **named: Any) -> Any:
        if getattr(values, "dtype", None) != np.float32:
            return own(values, *arguments, **named)
        return own(values.astype(np.float64), *arguments, **named).astype(np.float32)

    return function


def _widened(own: Any) -> Callable[..., Any]:
    """numpy's percentiles of float32 are float64, and the distance of the two values beside them is float32."""
    return lambda values, *arguments, **named: own(np.asarray(values, np.float64), *arguments, **named)


def _reordered(own: Callable[..., Any], way: str) -> Callable[..., Any]:
    """A statistic of values without labels: in double, `largest` from the last value on; float32 is rounded again."""

    def function(values: Any, *arguments: Any, axis: Any = None, mask: Any = None, **named: Any) -> Any:
        if getattr(values, "dtype", None) not in (np.float32, np.float64):
            return own(values, *arguments, axis=axis, mask=mask, **named)
        turned = [one if one is None or way == "nearest" else np.flip(one, axis=axis) for one in (values, mask)]
        found = _nudged(own(turned[0].astype(np.float64), *arguments, axis=axis, mask=turned[1], **named), way)
        return values.dtype.type(found) if np.ndim(found) == 0 else found.astype(values.dtype)

    return function


def _of_groups(own: Callable[..., Any], way: str) -> Callable[..., Any]:
    """The same of groups, which are columns [columns, rows] beside the group of each row."""

    def function(self: Any, values: Any, *, comp_ids: Any, mask: Any = None, **named: Any) -> Any:
        if self.how not in _ADDING or values.dtype not in (np.float32, np.float64):
            return own(self, values, comp_ids=comp_ids, mask=mask, **named)
        rows = slice(None, None, 1 if way == "nearest" else -1)
        wide = np.ascontiguousarray(values.astype(np.float64)[..., rows])
        found = own(
            self,
            wide,
            comp_ids=np.ascontiguousarray(comp_ids[rows]),
            mask=None if mask is None else np.ascontiguousarray(mask[..., rows]),
            **named,
        )
        found = _nudged(found, way)
        return values.dtype.type(found) if np.ndim(found) == 0 else found.astype(values.dtype)

    return function


_ADDING = ("mean", "sum", "std", "var", "sem", "skew")
_OF_LIBRARIES = ("log1p", "log2", "log10", "exp", "expm1", "tanh")


@contextmanager
def careful(way: str) -> Iterator[None]:
    """Within it, pandas' sums are done in that way."""
    pairwise = rolling.BaseWindow._apply_pairwise

    def apply_pairwise(self: Any, target: Any, other: Any, pairwise_: Any, func: Any, *rest: Any) -> Any:
        if func.__name__ in ("cov_func", "corr_func"):
            func = _pairs(way, self, func)
        return pairwise(self, target, other, pairwise_, func, *rest)

    changes = [(aggregations, name, computed(way)) for name, computed in _COMPUTED.items()]
    changes += [(nanops, f"nan{name}", _reordered(getattr(nanops, f"nan{name}"), way)) for name in _ADDING]
    changes += [(np, name, _in_double(getattr(np, name))) for name in _OF_LIBRARIES]
    changes.append((np, "percentile", _widened(np.percentile)))
    changes.append((rolling.BaseWindow, "_apply_pairwise", apply_pairwise))
    changes.append((ops.WrappedCythonOp, "_call_cython_op", _of_groups(ops.WrappedCythonOp._call_cython_op, way)))
    own = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    for owner, name, function in changes:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, function in own:
            setattr(owner, name, function)
