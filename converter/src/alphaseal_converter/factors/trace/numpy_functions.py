"""numpy's functions of what runs as series, arrays, windows and single values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from alphaseal_converter.factors.recording.operands import FUNCTIONS, chosen, combined
from alphaseal_converter.factors.recording.recorder import by_value, unknown
from alphaseal_converter.factors.recording.values import binary, missing, negated, where
from alphaseal_converter.factors.trace.elementwise import Elementwise
from alphaseal_converter.factors.trace.rolling import Picked, Window
from alphaseal_converter.factors.trace.series import Array, Series, Single


def call(function: Any, arguments: Any, named: Any) -> Any:
    """A numpy function that was called with one of ours."""
    found = _TABLE.get(function.__name__)
    if found is None:
        return unknown(f"numpy.{function.__name__}")
    return found(*arguments, **named)


def _where(condition: Any, *sides: Any) -> Any:
    if len(sides) != 2:
        return by_value("numpy.where of a condition alone")
    return chosen(condition, *sides)


def _select(conditions: Any, choices: Any, default: Any = 0) -> Any:
    found = default
    for condition, choice in reversed(list(zip(conditions, choices, strict=True))):
        found = chosen(condition, choice, found)
    return found


def _clip(values: Any, low: Any = None, high: Any = None, out: Any = None, **named: Any) -> Any:
    if isinstance(values, Elementwise):
        return values.clip(low, high)
    found = values
    # numpy's clip is minimum(maximum(…)): a missing value stays.
    for bound, operator in ((low, "maximum"), (high, "minimum")):
        if bound is not None:
            found = combined(operator, found, bound, own=False)
    return found


def _nan_to_num(values: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    node = values.node
    if node.dtype not in ("float32", "float64"):
        return values
    largest = float(np.finfo(node.dtype).max)
    node = where(missing(node), nan, node)
    node = where(binary("eq", node, float("inf")), largest if posinf is None else posinf, node)
    node = where(binary("eq", node, float("-inf")), -largest if neginf is None else neginf, node)
    return Array(node, values.layout) if isinstance(values, Series) else values.like(node)


def _full_like(values: Any, fill: Any, dtype: Any = None, **named: Any) -> Any:
    node = where(binary("eq", values.node, values.node), fill, fill)
    found = Array(node, values.layout) if isinstance(values, Series) else values.like(node)
    return found.astype(dtype or values.node.dtype)


def _statistic(name: str, skip: bool) -> Callable[..., Any]:
    """Of a window, of the stocks of a day, or refused by what it is a statistic of."""

    def apply(values: Any, axis: Any = None, ddof: int = 0, **named: Any) -> Any:
        if isinstance(values, Picked):
            return getattr(values, name)(ddof=ddof)
        if isinstance(values, Window):
            parameters = {"ddof": ddof} if name in ("std", "var") else {}
            # numpy asks a series for its own method, which leaves missing values out.
            return values.reduce(name, skip or not values.raw, **parameters)
        if isinstance(values, Single):
            return values
        if name in ("std", "var"):
            return getattr(values, name)(ddof=ddof)
        if isinstance(values, Array) and not skip and values.layout.kind == "date":
            return unknown(f"numpy.{name}", "of an array with missing values")
        return getattr(values, name)()

    return apply


def _quantile(share: float) -> Callable[..., Any]:
    def apply(values: Any, q: Any = 50, axis: Any = None, **named: Any) -> Any:
        if named or not isinstance(q, int | float):
            return unknown("numpy.percentile", "of several shares")
        if isinstance(values, Window):
            return values.reduce("quantile", not values.raw, q=float(q * share))
        return unknown("numpy.percentile", "of all rows")

    return apply


def _position(name: str, skip: bool) -> Callable[..., Any]:
    def apply(values: Any, axis: Any = None, **named: Any) -> Any:
        if isinstance(values, Window):
            return values.reduce(name, skip or not values.raw)
        return getattr(values, name)()

    return apply


def _dot(left: Any, right: Any, **named: Any) -> Any:
    window, other = (left, right) if isinstance(left, Window) else (right, left)
    if not isinstance(window, Window) or named:
        return unknown("numpy.dot")
    return (window * other).reduce("sum", False)


def _average(values: Any, axis: Any = None, weights: Any = None, **named: Any) -> Any:
    if not isinstance(values, Window) or named:
        return unknown("numpy.average")
    if weights is None:
        return values.reduce("mean", False)
    total = float(np.sum(weights)) if isinstance(weights, np.ndarray | list) else weights.reduce("sum", False)
    return (values * weights).reduce("sum", False) / total


def _polyfit(positions: Any, values: Any, degree: int, **named: Any) -> Any:
    """A straight line over constant positions: slope and intercept."""
    if (
        not isinstance(values, Window)
        or not isinstance(positions, np.ndarray | list | tuple | range)
        or degree != 1
        or named
    ):
        return unknown("numpy.polyfit")
    x = np.asarray(positions, np.float64)
    mean = values.reduce("mean", False)
    slope = ((values - mean) * (x - x.mean())).reduce("sum", False) / float(((x - x.mean()) ** 2).sum())
    return [slope, mean - slope * float(x.mean())]


def _isin(values: Any, members: Any, **named: Any) -> Any:
    return unknown("numpy.isin")


def _diff(values: Any, n: int = 1, **named: Any) -> Any:
    if isinstance(values, Window) and n == 1 and not named:
        return values[1:] - values[:-1]
    return unknown("numpy.diff")


def _sign_of_test(name: str) -> Callable[..., Any]:
    def apply(values: Any, *arguments: Any, **named: Any) -> Any:
        return getattr(values, name)()

    return apply


_TABLE: Final[dict[str, Callable[..., Any]]] = {
    **{name: _statistic(name, False) for name in ("mean", "sum", "std", "var", "min", "max", "median", "prod")},
    **{f"nan{name}": _statistic(name, True) for name in ("mean", "sum", "std", "var", "min", "max", "median", "prod")},
    "amax": _statistic("max", False),
    "amin": _statistic("min", False),
    **{name: _position(name, False) for name in ("argmax", "argmin")},
    **{f"nan{name}": _position(name, True) for name in ("argmax", "argmin")},
    **{name: _sign_of_test(name) for name in ("any", "all")},
    "where": _where,
    "select": _select,
    "clip": _clip,
    "nan_to_num": _nan_to_num,
    "full_like": _full_like,
    "zeros_like": lambda values, dtype=None, **named: _full_like(values, 0, dtype),
    "ones_like": lambda values, dtype=None, **named: _full_like(values, 1, dtype),
    "percentile": _quantile(0.01),
    "quantile": _quantile(1.0),
    "dot": _dot,
    "inner": _dot,
    "average": _average,
    "polyfit": _polyfit,
    "isin": _isin,
    "diff": _diff,
    "round": lambda values, decimals=0, **named: values.round(decimals),
    "around": lambda values, decimals=0, **named: values.round(decimals),
    "copy": lambda values, **named: values.copy(),
    "ravel": lambda values, **named: values,
    "flip": lambda values, axis=None: values[::-1],
    "count_nonzero": lambda values, axis=None, **named: (values != 0).sum(),
    "isreal": lambda values: negated(missing(values.node)),
}
FUNCTIONS["call"] = call
