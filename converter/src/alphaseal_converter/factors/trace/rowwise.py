"""Methods that look at earlier rows of a stock: shifts, fills, windows.  Only where rows of one stock stand after each other."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from alphaseal_converter.factors.expressions.nodes import ELEMENTWISE, PERIOD_RULES, Node
from alphaseal_converter.factors.recording.layout import CLASSES, DATE
from alphaseal_converter.factors.recording.operands import Operand
from alphaseal_converter.factors.recording.recorder import (
    RECORD,
    by_value,
    looks_ahead,
    make,
    misplaced,
    unbounded,
    unknown,
)
from alphaseal_converter.factors.recording.values import binary, cast, floating, is_number, where
from alphaseal_converter.factors.trace.elementwise import Elementwise

DEFAULT: Final = object()
"""An argument that is not given: pandas 2 fills then."""


class Rowwise(Elementwise):
    """Of a series, frame or wide table."""

    def scanned(self, what: str) -> Node:
        """The mask of the rows that follow each other."""
        kind = self.layout.kind
        if self.layout.order == "falling":
            looks_ahead(f"{what} of rows sorted by falling dates", "the row before is that of a later day")
        if self.layout.order == "unknown" and kind == "stock":
            unknown(what, "the order of the rows is not known here; sort by day first")
        if kind == "period":
            unknown(f"{what} of periods")
        if kind in ("stock", "day", "wide"):
            return self.layout.rows
        if kind == "date":
            misplaced(f"{what} in a group of one day", "the row before is another stock of the same day")
        return misplaced(f"{what} of ungrouped rows", "the row before may be another stock")

    def shift(self, periods: Any = 1, freq: Any = None, axis: Any = 0, fill_value: Any = None, **named: Any) -> Any:
        if axis in (1, "columns"):
            misplaced("shift across columns", "values go to another column")
        if freq is not None or named:
            unknown("shift", "with freq or suffix")
        count = _periods(periods, "shift")
        if self.layout.kind == "period":
            return self.mapped(lambda node: earlier(node, count))
        rows = self.scanned("shift")
        return self.mapped(lambda node: shifted(node, rows, count, fill_value))

    def diff(self, periods: Any = 1, axis: Any = 0) -> Any:
        if axis in (1, "columns"):
            misplaced("diff across columns", "values of another column are taken")
        count = _periods(periods, "diff")
        if self.layout.kind == "period":
            return self - self.shift(count)
        rows = self.scanned("diff")
        return self.mapped(lambda node: binary("sub", _number(node), shifted(node, rows, count)))

    def pct_change(
        self, periods: Any = 1, fill_method: Any = DEFAULT, limit: Any = None, freq: Any = None, **named: Any
    ) -> Any:
        if freq is not None or named:
            unknown("pct_change", "with freq or more")
        count = _periods(periods, "pct_change")
        rows = self.layout.rows if self.layout.kind == "period" else self.scanned("pct_change")
        fill = fill_method
        if fill is DEFAULT:
            fill = "ffill" if RECORD.pandas < 3 else None
        elif RECORD.pandas >= 3 and fill is not None:
            raise ValueError(f"fill_method must be None; got fill_method={fill!r}.")
        if fill in ("bfill", "backfill"):
            looks_ahead("pct_change(fill_method='bfill')", "it takes values of later days")
        if fill not in (None, "ffill", "pad") or (fill is not None and self.layout.kind == "period"):
            unknown("pct_change", f"with fill_method={fill!r}")
        if self.layout.kind == "period":
            return self / self.shift(count) - 1
        return self.mapped(lambda node: change(node, rows, count, fill is not None, limit))

    def ffill(self, axis: Any = None, inplace: bool = False, limit: Any = None, **named: Any) -> Any:
        if axis in (1, "columns"):
            misplaced("ffill across columns", "stocks are filled by other stocks")
        rows = self.scanned("ffill")
        return self._put(self.mapped(lambda node: forward(node, rows, limit)), inplace)

    pad = ffill

    def bfill(self, *arguments: Any, **named: Any) -> Any:
        return looks_ahead("bfill", "it takes values of later days")

    backfill = bfill

    def interpolate(self, *arguments: Any, **named: Any) -> Any:
        return looks_ahead("interpolate", "it takes values of later days")

    def rolling(self, window: Any = None, min_periods: Any = None, center: bool = False, **named: Any) -> Any:
        self.scanned("rolling")
        return CLASSES["Rolling"](self, window, min_periods, center, **named)

    def ewm(
        self,
        com: Any = None,
        span: Any = None,
        halflife: Any = None,
        alpha: Any = None,
        min_periods: int = 0,
        adjust: bool = True,
        ignore_na: bool = False,
        **named: Any,
    ) -> Any:
        self.scanned("ewm")
        return Exponential(self, com, span, halflife, alpha, min_periods, adjust, ignore_na, **named)

    def expanding(self, *arguments: Any, **named: Any) -> Any:
        self.scanned("expanding")
        return unbounded("expanding")

    def cumsum(self, *arguments: Any, **named: Any) -> Any:
        self.scanned("cumsum")
        return unbounded("cumsum")

    def cumprod(self, *arguments: Any, **named: Any) -> Any:
        return unbounded("cumprod")

    def cummax(self, *arguments: Any, **named: Any) -> Any:
        return unbounded("cummax")

    def cummin(self, *arguments: Any, **named: Any) -> Any:
        return unbounded("cummin")

    def resample(self, rule: Any, **named: Any) -> Any:
        self.scanned("resample")
        if self.layout.kind != "stock" or self.layout.levels != (DATE,) or named:
            return unknown("resample", "of more than one stock's days, or with closed, label, …")
        return Periods(self, rule)

    def asfreq(self, *arguments: Any, **named: Any) -> Any:
        return unknown("asfreq", "another time axis is not followed")


def _periods(periods: Any, what: str) -> int:
    if isinstance(periods, float) and periods.is_integer():
        periods = int(periods)
    if not isinstance(periods, int | np.integer) or isinstance(periods, bool):
        if isinstance(periods, Operand):
            by_value(f"periods of {what}")
        unknown(what, f"by {periods!r}")
    if periods < 0:
        looks_ahead(f"{what}({periods})", "it takes values of later rows")
    return int(periods)


def _number(node: Node) -> Node:
    return node if node.dtype != "bool" else unknown("difference of truth values", "pandas makes objects of it")


def shifted(node: Node, rows: Node, periods: int, fill_value: Any = None) -> Node:
    """The value so many rows before; whole numbers become floats where none is."""
    if periods == 0:
        return node
    if fill_value is not None:
        if not is_number(fill_value):
            unknown("shift", "with such a fill_value")
        there = make("isnan", make("shift", cast(cast(True, "bool"), "float64"), rows, periods=periods))
        moved = make(
            "shift", cast(node, "float64") if node.dtype not in ("float32", "float64") else node, rows, periods=periods
        )
        instead = where(there, cast(fill_value, moved.dtype), moved)
        return cast(instead, node.dtype) if node.dtype in ("bool", "int64") else instead
    if node.dtype == "bool":
        return unknown("shift of truth values", "pandas makes objects of it; cast it first")
    return make("shift", floating(node), rows, periods=periods)


def forward(node: Node, rows: Node, limit: Any) -> Node:
    """Filled by the last value."""
    if limit is not None and (not isinstance(limit, int | np.integer) or limit < 1):
        raise ValueError("Limit must be greater than 0")
    if node.dtype not in ("float32", "float64"):
        return node
    return make("ffill", node, rows, limit=None if limit is None else int(limit))


def change(node: Node, rows: Node, periods: int, fill: bool, limit: Any = None) -> Node:
    """The relative change."""
    value = forward(node, rows, limit) if fill else node
    ratio = binary("div", value, shifted(value, rows, periods))
    return binary("sub", ratio, 1)


_RULES: Final = {"W": "W-SUN", "M": "M", "ME": "M"}


class Periods:
    """``series.resample(rule)`` of one stock: a statistic of each calendar period, known at the end of it."""

    def __init__(self, owner: Any, rule: Any) -> None:
        self.owner, self.rule = owner, _RULES.get(rule, rule)
        if self.rule not in PERIOD_RULES:
            unknown("resample", f"by {rule!r}: weeks and months are followed")
        if (rule == "M" and RECORD.pandas >= 3) or not isinstance(owner.node, Node):
            raise ValueError("Invalid frequency: M. Did you mean ME?")

    def _of(self, function: str) -> Any:
        rows = self.owner.layout.rows
        node = make("period", floating(self.owner.node), rows, rule=self.rule, function=function, back=0)
        return self.owner.like(node, self.owner.layout.but(kind="period", labels=self.rule))

    def last(self) -> Any:
        return self._of("last")

    def first(self) -> Any:
        return self._of("first")

    def min(self) -> Any:
        return self._of("min")

    def max(self) -> Any:
        return self._of("max")

    def mean(self) -> Any:
        if self.owner.node.dtype == "float32":
            unknown(
                "resample.mean of float32", "pandas rounds it to float32 or not, by its values; cast to float64 first"
            )
        return self._of("mean")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return unknown(f"resample.{name}")


def earlier(node: Node, periods: int) -> Node:
    """The values of so many periods before: whatever is made of values of periods element by element."""
    if node.operator == "period":
        return make("period", *node.inputs, **{**node.parameters, "back": node["back"] + periods})
    if node.operator == "constant":
        return node
    if node.operator in ELEMENTWISE:
        return make(node.operator, *(earlier(one, periods) for one in node.inputs), **node.parameters)
    return unknown("shift of periods", f"of {node.operator}")


class Exponential:
    """``ewm(…)``: its mean is followed; its weight of older rows falls without an end."""

    def __init__(
        self, owner: Any, com: Any, span: Any, halflife: Any, alpha: Any, min_periods: Any, adjust: bool,
        ignore_na: bool, **named: Any,
    ) -> None:  # fmt: skip
        if named or sum(one is not None for one in (com, span, halflife, alpha)) != 1:
            unknown("ewm", "with times, or not exactly one of com, span, halflife and alpha")
        if not all(one is None or is_number(one) for one in (com, span, halflife, alpha)):
            unknown("ewm", "of a decay that is no number")
        if com is not None:
            alpha = 1 / (1 + com)
        elif span is not None:
            alpha = 2 / (span + 1)
        elif halflife is not None:
            alpha = 1 - math.exp(-math.log(2) / halflife)
        self.owner = owner
        self.parameters = {
            "alpha": float(alpha), "adjust": bool(adjust), "ignore_na": bool(ignore_na),
            "min_periods": int(min_periods or 0),
        }  # fmt: skip

    def mean(self, *arguments: Any, **named: Any) -> Any:
        rows = self.owner.layout.rows
        return self.owner.mapped(
            lambda node: make("ewm", cast(node, "float64"), rows, function="mean", **self.parameters)
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return unbounded(f"ewm.{name}")
