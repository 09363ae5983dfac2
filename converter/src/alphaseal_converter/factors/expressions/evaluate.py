"""Values of an expression over a grid of days and stocks, in numpy: the converter's own judge of what an emitted graph gives.

Each operation is done in the dtype of its node.  Windows are computed one by one, so they have none of the noise that pandas'
running sums gather.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alphaseal_converter.factors.expressions import across, periods, windows
from alphaseal_converter.factors.expressions.nodes import Node, in_order

Grid = npt.NDArray[Any]


@dataclass(frozen=True)
class Table:
    """Columns [days, stocks] of a table (NaN, 0, False or -1 without row; texts are places in a list) and where it has rows."""

    columns: Mapping[str, Grid]
    rows: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Grids:
    """Tables on one grid; `days` ascend (datetime64[D])."""

    days: npt.NDArray[np.datetime64]
    tables: Mapping[str, Table]

    @property
    def shape(self) -> tuple[int, int]:
        """(days, stocks)"""
        return next(iter(self.tables.values())).rows.shape


_NAMES: Final = {
    "neg": "negative",
    "abs": "absolute",
    "not": "logical_not",
    "sub": "subtract",
    "mul": "multiply",
    "div": "true_divide",
    "pow": "power",
    "floordiv": "floor_divide",
    "gt": "greater",
    "ge": "greater_equal",
    "lt": "less",
    "le": "less_equal",
    "eq": "equal",
    "ne": "not_equal",
    "and": "logical_and",
    "or": "logical_or",
    "xor": "logical_xor",
}
_SAME: Final = (
    *("add", "maximum", "minimum", "fmax", "fmin", "mod", "sign", "square", "sqrt", "log", "log1p", "log2", "log10"),
    *("exp", "expm1", "tanh", "arctan", "sin", "cos", "floor", "ceil", "rint", "trunc", "isnan", "isinf", "isfinite"),
)
_FUNCTIONS: Final[Mapping[str, Callable[..., Grid]]] = {
    name: getattr(np, _NAMES.get(name, name)) for name in (*_NAMES, *_SAME)
}


def evaluate(roots: Sequence[Node], grids: Grids) -> list[Grid]:
    """The value of each root, [days, stocks] in its dtype."""
    values: dict[Node, Grid] = {}
    ordered = in_order(roots)
    last = {inner: place for place, node in enumerate(ordered) for inner in node.inputs}
    with np.errstate(all="ignore"):
        for place, node in enumerate(ordered):
            values[node] = _value(node, [values[inner] for inner in node.inputs], grids)
            for inner in node.inputs:
                if last[inner] == place and inner not in roots:
                    values.pop(inner, None)
    return [np.broadcast_to(values[root], grids.shape) for root in roots]


def _value(node: Node, inputs: list[Grid], grids: Grids) -> Grid:
    operator = node.operator
    if node.window is not None:
        inputs = (
            [
                given[..., None] if inner.window is None and given.ndim == 2 else given
                for inner, given in zip(node.inputs, inputs, strict=True)
            ]
            if operator != "window"
            else inputs
        )
    if operator in _FUNCTIONS:
        return np.asarray(_FUNCTIONS[operator](*inputs))
    if operator in _SOURCES:
        return _SOURCES[operator](node, grids)
    if operator == "period":
        values, mask = (np.broadcast_to(given, grids.shape) for given in inputs)
        return periods.by_period(values, mask, grids.days, node)
    if operator in _BY_ROWS:
        return _by_rows(node, [np.broadcast_to(given, grids.shape) for given in inputs])
    if operator in ("day", "day_rank"):
        whole, mask, *keys = (np.broadcast_to(given, grids.shape) for given in inputs)
        return (across.day if operator == "day" else across.day_rank)(whole, mask, keys, node)
    if operator == "day_pair":
        left, right, mask = (np.broadcast_to(given, grids.shape) for given in inputs)
        return across.day_pair(left, right, mask, node)
    return _OTHERS[operator](node, *inputs)


# ---- sources


def _calendar(node: Node, grids: Grids) -> Grid:
    days = grids.days.astype("datetime64[D]")
    ordinal = days.astype(np.int64)
    year, month = (days.astype(f"datetime64[{unit}]") for unit in "YM")
    months = month.astype(np.int64) % 12
    found = {
        "year": year.astype(np.int64) + 1970,
        "month": months + 1,
        "day": (days - month).astype(np.int64) + 1,
        "weekday": (ordinal + 3) % 7,
        "dayofyear": (days - year).astype(np.int64) + 1,
        "quarter": months // 3 + 1,
        "ordinal": ordinal,
    }[node["part"]]
    return np.asarray(found)[:, None]


_SOURCES: Final[Mapping[str, Callable[[Node, Grids], Grid]]] = {
    "constant": lambda node, grids: np.full((1, 1), node["value"], node.dtype),
    "vector": lambda node, grids: np.array(node["values"], np.float64)[None, None, :],
    "field": lambda node, grids: grids.tables[node["table"]].columns[node["column"]],
    "rows": lambda node, grids: grids.tables[node["table"]].rows,
    "calendar": _calendar,
}

# ---- rows of one stock

_BY_ROWS: Final[Mapping[str, Callable[..., Grid]]] = {
    "shift": lambda node, values: windows.shifted(values, node["periods"]),
    "ffill": lambda node, values: windows.filled(values, node["limit"]),
    "roll": lambda node, values: windows.roll(values, node),
    "roll2": lambda node, left, right: windows.roll_pair(left, right, node),
    "row_count": lambda node, rows: np.minimum(np.arange(len(rows)) + 1, node["window"]),
    "window": lambda node, values: windows.windows(windows.finite_or_missing(values), node["window"]),
    "ewm": lambda node, values: windows.exponential_mean(windows.finite_or_missing(values), node),
}


def _by_rows(node: Node, inputs: list[Grid]) -> Grid:
    *values, mask = inputs
    values = values or [mask]
    dtype = np.dtype(node.dtype)
    shape = mask.shape if node.window is None else (*mask.shape, node.window)
    found = np.full(shape, np.nan if dtype.kind == "f" else 0, dtype)
    for stock in range(mask.shape[1]):
        rows = np.flatnonzero(mask[:, stock])
        if len(rows):
            found[rows, stock] = _BY_ROWS[node.operator](node, *(one[rows, stock] for one in values))
    return found


# ---- the rest


def _keep(node: Node, values: Grid, mask: Grid) -> Grid:
    missing: Any = np.nan if values.dtype.kind == "f" else -1 if node.dtype == "text" else 0
    return np.where(mask, values, np.array(missing, values.dtype))


def _cast(node: Node, values: Grid) -> Grid:
    return values.astype(node["to"])


def _slice(node: Node, values: Grid) -> Grid:
    end = values.shape[-1] - node["last"]
    return values[..., end - node["count"] : end]


def _reduce(node: Node, values: Grid) -> Grid:
    return windows.reduced(values, node).astype(node.dtype)


_OTHERS: Final[Mapping[str, Callable[..., Grid]]] = {
    "where": lambda node, condition, yes, no: np.asarray(np.where(condition, yes, no)),
    "cast": _cast,
    "keep": _keep,
    "element": lambda node, values: values[..., values.shape[-1] - 1 - node["index"]],
    "reduce": _reduce,
    "slice": _slice,
    "flip": lambda node, values: values[..., ::-1],
}


def constant_value(node: Node) -> Grid:
    """A node that no table and no day goes into: [] of a grid, [window] of windows."""
    nowhere = Grids(np.zeros(1, "datetime64[D]"), {"": Table({}, np.ones((1, 1), np.bool_))})
    values: dict[Node, Grid] = {}
    with np.errstate(all="ignore"):
        for one in in_order([node]):
            values[one] = _value(one, [values[inner] for inner in one.inputs], nowhere)
    return np.asarray(values[node]).reshape(() if node.window is None else (node.window,))
