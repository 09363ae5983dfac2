"""``rolling(…)`` and the functions that are handed to it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.layout import CLASSES, Layout
from alphaseal_converter.factors.recording.operands import Operand, combined, joined
from alphaseal_converter.factors.recording.recorder import (
    RECORD,
    along_paths,
    by_value,
    looks_ahead,
    make,
    misplaced,
    unknown,
)
from alphaseal_converter.factors.recording.values import (
    binary,
    cast,
    constant,
    dtype_named,
    is_number,
    kept,
    missing,
    negated,
    where,
)

MOST_LENGTHS = 70
"""A function is followed once for each length that a window can have."""


class Rolling:
    """Windows over the rows of a stock; `back` gives the result its index."""

    def __init__(
        self, owner: Any, window: Any, min_periods: Any = None, center: bool = False, back: Any = None, **named: Any
    ) -> None:
        if center:
            looks_ahead("rolling(center=True)", "half of the window are later rows")
        if any(value is not None for name, value in named.items() if name not in ("axis", "method")):
            unknown("rolling", f"with {sorted(named)}")
        if isinstance(window, float) and window.is_integer():
            raise ValueError("window must be an integer 0 or greater")
        if isinstance(window, Operand):
            by_value("a window as long as a value says")
        if not isinstance(window, int | np.integer) or isinstance(window, bool):
            unknown("rolling", f"a window of {window!r}: a number of rows is expected")
        if window < 1:
            unknown("rolling", "a window of no row")
        if min_periods is not None and min_periods > window:
            raise ValueError(f"min_periods {min_periods} must be <= window {window}")
        self.owner, self.window, self.least, self.back = owner, int(window), min_periods, back or (lambda found: found)

    @property
    def minimum(self) -> int:
        return self.window if self.least is None else int(self.least)

    def _roll(self, function: str, **parameters: Any) -> Any:
        rows = self.owner.layout.rows
        return self.back(self.owner.mapped(lambda node: self._node(node, rows, function, self.minimum, **parameters)))

    def _node(self, node: Node, rows: Node, function: str, minimum: int, **parameters: Any) -> Node:
        constant_windows = "exact" if RECORD.pandas < 3 else "moments"
        return make(
            "roll", cast(node, "float64"), rows, function=function, window=self.window, min_periods=minimum,
            constant_windows=constant_windows, **parameters,
        )  # fmt: skip

    def mean(self, *arguments: Any, **named: Any) -> Any:
        return self._roll("mean")

    def sum(self, *arguments: Any, **named: Any) -> Any:
        return self._roll("sum")

    def std(self, ddof: int = 1, *arguments: Any, **named: Any) -> Any:
        return self._roll("std", ddof=int(ddof))

    def var(self, ddof: int = 1, *arguments: Any, **named: Any) -> Any:
        return self._roll("var", ddof=int(ddof))

    def sem(self, ddof: int = 1, *arguments: Any, **named: Any) -> Any:
        count = self.owner.mapped(lambda node: cast(negated(missing(node)), "float64"))
        number = count.mapped(lambda node: self._node(node, self.owner.layout.rows, "sum", self.minimum))
        # pandas 2 takes `ddof` from the number of values a second time.
        degrees = combined("sub", number, ddof if RECORD.pandas < 3 else 0)
        return self._roll("std", ddof=int(ddof)) / self.back(degrees) ** 0.5

    def min(self, *arguments: Any, **named: Any) -> Any:
        return self._roll("min")

    def max(self, *arguments: Any, **named: Any) -> Any:
        return self._roll("max")

    def median(self, *arguments: Any, **named: Any) -> Any:
        return self._roll("median")

    def skew(self, *arguments: Any, **named: Any) -> Any:
        return self._roll("skew")

    def kurt(self, *arguments: Any, **named: Any) -> Any:
        return self._roll("kurt")

    def count(self, *arguments: Any, **named: Any) -> Any:
        rows, minimum = self.owner.layout.rows, self.minimum
        there = self.owner.mapped(lambda node: cast(negated(missing(node)), "float64"))
        return self.back(there.mapped(lambda node: self._node(node, rows, "sum", minimum)))

    def quantile(self, q: Any = None, interpolation: str = "linear", quantile: Any = None, **named: Any) -> Any:
        return self._roll("quantile", q=float(quantile if q is None else q), interpolation=interpolation)

    def rank(self, method: str = "average", ascending: bool = True, pct: bool = False, **named: Any) -> Any:
        return self._roll("rank", method=method, ascending=bool(ascending), pct=bool(pct))

    def _pair(self, function: str, other: Any, ddof: int) -> Any:
        owner, rows = self.owner, self.owner.layout.rows
        if other is None or not isinstance(other, Operand) or owner.is_frame or other.is_frame:
            return unknown(f"rolling.{function}", "of all pairs of columns, or with something that is no series")
        if owner.layout.kind == "stock" and other.layout.kind == "table":
            misplaced(f"groupby.rolling.{function} with an ungrouped series", "pandas pairs rows of different stocks")
        if owner.layout.kind == "wide" and other.layout.kind == "day":
            other = owner.like(kept(other.node, other.layout.rows, rows))
        pair = joined([owner, other], lambda values: values[1])
        if pair.layout.rows is not rows:
            owner = joined([owner, other], lambda values: values[0])
            rows = pair.layout.rows
        found = make(
            "roll2", cast(owner.node, "float64"), cast(pair.node, "float64"), rows,
            function=function, window=self.window, min_periods=self.minimum, ddof=int(ddof),
        )  # fmt: skip
        return self.back(owner.like(found))

    def corr(self, other: Any = None, pairwise: Any = None, ddof: int = 1, **named: Any) -> Any:
        return self._pair("corr", other, ddof)

    def cov(self, other: Any = None, pairwise: Any = None, ddof: int = 1, **named: Any) -> Any:
        return self._pair("cov", other, ddof)

    def apply(
        self,
        func: Any,
        raw: bool = False,
        engine: Any = None,
        engine_kwargs: Any = None,
        args: Any = None,
        kwargs: Any = None,
    ) -> Any:
        rows = self.owner.layout.rows
        lengths = range(max(1, self.minimum), self.window + 1)
        if len(lengths) > MOST_LENGTHS:
            unknown(
                "rolling.apply", f"windows of {len(lengths)} lengths at the start of a stock, more than {MOST_LENGTHS}"
            )
        count = make("row_count", rows, window=self.window) if len(lengths) > 1 else None

        def applied(node: Node) -> Node:
            there = cast(negated(missing(self._finite(node))), "float64")
            enough = binary("ge", self._node(there, rows, "sum", 0), float(max(1, self.minimum)))
            found = None
            for length in reversed(lengths):
                values = Window(make("window", cast(node, "float64"), rows, window=length), length, rows, raw)
                given = along_paths(partial(func, values, *(args or ()), **(kwargs or {})), _either)
                here = cast(_number(given), "float64")
                found = here if found is None or count is None else where(binary("gt", count, length), found, here)
            assert found is not None
            return where(enough, found, float("nan"))

        return self.back(self.owner.mapped(applied))

    def _finite(self, node: Node) -> Node:
        if node.dtype not in ("float32", "float64"):
            return node
        return where(make("isinf", node), float("nan"), node)

    def agg(self, func: Any, *arguments: Any, **named: Any) -> Any:
        if callable(func):
            return self.apply(func)
        if isinstance(func, str):
            return getattr(self, func)(*arguments, **named)
        return unknown("rolling.agg", "of several functions")

    aggregate = agg

    def __getitem__(self, key: Any) -> Any:
        if not self.owner.is_frame:
            raise KeyError(key)
        return Rolling(self.owner[key], self.window, self.least, back=self.back)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self.owner.is_frame and name in self.owner.columns:
            return self[name]
        return unknown(f"rolling.{name}")


CLASSES["Rolling"] = Rolling


class Window(Operand):
    """The values of one window of `length` rows, a series or (`raw`) an array; a number where `window` of its node is None."""

    def __init__(self, node: Node, length: int, rows: Node, raw: bool) -> None:
        self.node, self.length, self.rows, self.raw = node, length, rows, raw
        self.layout = Layout("window", rows, levels=())

    def like(self, node: Node, layout: Layout | None = None) -> Any:
        return Window(node, node.window or self.length, self.rows, self.raw)

    @property
    def is_number(self) -> bool:
        return self.node.window is None

    def __len__(self) -> int:
        return self.length if not self.is_number else int(by_value("length of a number"))

    def __iter__(self) -> Any:
        return iter([self[place] for place in range(self.length)])

    def __bool__(self) -> bool:
        if not self.is_number:
            raise ValueError("The truth value of an array with more than one element is ambiguous.")
        return super().__bool__()

    shape = property(lambda self: (self.length,))
    size = property(lambda self: self.length)
    values = property(lambda self: Window(self.node, self.length, self.rows, True))
    iloc = property(lambda self: self)
    empty = False

    def labels(self) -> Window:
        """As a series."""
        return Window(self.node, self.length, self.rows, False)

    def to_numpy(self, *arguments: Any, **named: Any) -> Any:
        return self.values

    def _same(self, *arguments: Any, **named: Any) -> Any:
        return self

    copy = flatten = ravel = reset_index = item = _same

    def astype(self, kind: Any, **named: Any) -> Any:
        return self.like(cast(self.node, dtype_named(kind)))

    def __getitem__(self, key: Any) -> Any:
        if self.is_number:
            raise TypeError("a number has no positions")
        if isinstance(key, int | np.integer):
            place = range(self.length)[int(key)]
            return self.like(make("element", self.node, index=self.length - 1 - place))
        if isinstance(key, slice):
            places = range(self.length)[key]
            if len(places) and places.step == 1:
                last = self.length - 1 - places[-1]
                return Window(make("slice", self.node, count=len(places), last=last), len(places), self.rows, self.raw)
            if len(places) == self.length and places.step == -1:
                return self.like(make("flip", self.node))
            return unknown("window[…]", "a slice with steps, or of nothing")
        if isinstance(key, Window) and key.node.dtype == "bool" and key.node.window == self.node.window:
            return Picked(self, key.node)
        return unknown("window[…]")

    def reduce(self, function: str, skip: bool, **parameters: Any) -> Any:
        """A statistic of the window."""
        if self.is_number:
            return self
        node = self.node
        if node.dtype == "bool" and function not in ("sum", "count", "any", "all", "argmax", "argmin"):
            node = cast(node, "float64")
        return self.like(make("reduce", node, function=function, skip=skip, **parameters))

    def _statistic(self, function: str, **parameters: Any) -> Any:
        return self.reduce(function, not self.raw, **parameters)

    def mean(self, *arguments: Any, **named: Any) -> Any:
        return self._statistic("mean")

    def sum(self, *arguments: Any, **named: Any) -> Any:
        return self._statistic("sum")

    def prod(self, *arguments: Any, **named: Any) -> Any:
        return self._statistic("prod")

    def min(self, *arguments: Any, **named: Any) -> Any:
        return self._statistic("min")

    def max(self, *arguments: Any, **named: Any) -> Any:
        return self._statistic("max")

    def std(self, axis: Any = None, ddof: Any = None, **named: Any) -> Any:
        return self._statistic("std", ddof=int(not self.raw) if ddof is None else ddof)

    def var(self, axis: Any = None, ddof: Any = None, **named: Any) -> Any:
        return self._statistic("var", ddof=int(not self.raw) if ddof is None else ddof)

    def median(self, *arguments: Any, **named: Any) -> Any:
        return self._statistic("median")

    def quantile(self, q: float = 0.5, **named: Any) -> Any:
        return self._statistic("quantile", q=float(q))

    def argmax(self, *arguments: Any, **named: Any) -> Any:
        return self._statistic("argmax")

    def argmin(self, *arguments: Any, **named: Any) -> Any:
        return self._statistic("argmin")

    def any(self, *arguments: Any, **named: Any) -> Any:
        return self.like(make("reduce", cast(self.node, "bool"), function="any", skip=False))

    def all(self, *arguments: Any, **named: Any) -> Any:
        return self.like(make("reduce", cast(self.node, "bool"), function="all", skip=False))

    def count(self, *arguments: Any) -> Any:
        return self.reduce("count", True)

    def isna(self) -> Any:
        return self.like(missing(self.node))

    def notna(self) -> Any:
        return self.like(negated(missing(self.node)))

    isnull, notnull = isna, notna

    def abs(self) -> Any:
        return abs(self)

    def dot(self, other: Any) -> Any:
        return (self * other).sum()

    def rank(self, method: str = "average", ascending: bool = True, pct: bool = False, **named: Any) -> Any:
        """Ranks of all positions, of which one is taken."""
        if method not in ("average", "min", "max"):
            unknown("rank in a window", f"method={method!r}")
        return Ranks(self, method, ascending, pct)

    def diff(self, periods: int = 1) -> Any:
        return unknown("diff in a window", "take differences before the window")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return unknown(f"window.{name}")


class Ranks:
    """``window.rank()``, until the rank of one position is taken."""

    def __init__(self, window: Window, method: str, ascending: bool, pct: bool) -> None:
        self.window, self.method, self.ascending, self.pct = window, method, ascending, pct

    iloc = values = property(lambda self: self)

    def to_numpy(self) -> Ranks:
        return self

    def __getitem__(self, place: Any) -> Any:
        window, one = self.window, self.window[place]
        before = (window < one if self.ascending else window > one).sum()
        equal = (window == one).sum()
        rank = {"average": before + (equal + 1) / 2, "min": before + 1.0, "max": before + equal * 1.0}[self.method]
        rank = rank / window.count() if self.pct else rank
        return window.like(where(missing(one.node), float("nan"), rank.node))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return unknown(f"ranks of a window: {name}")


class Picked:
    """``window[condition]``: as many values as the condition is true for."""

    def __init__(self, window: Window, condition: Node) -> None:
        self.window, self.condition = window, condition

    def count(self) -> Any:
        return self.window.like(make("reduce", self.condition, function="sum", skip=False))

    def __len__(self) -> int:
        return int(by_value("number of chosen values of a window"))

    size = property(count)

    def _kept(self) -> Window:
        window = self.window
        return Window(where(self.condition, window.node, float("nan")), window.length, window.rows, False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in ("sum", "mean", "std", "var", "min", "max", "median", "prod"):
            return unknown(f"chosen values of a window: {name}")

        def statistic(*arguments: Any, **named: Any) -> Any:
            ddof = {"ddof": named.get("ddof", int(not self.window.raw))} if name in ("std", "var") else {}
            return self._kept().reduce(name, True, **ddof)

        return statistic


def _number(given: Any) -> Node:
    """What a function of a window gives."""
    if isinstance(given, Window):
        return given.node if given.is_number else unknown("rolling.apply", "the function gives no number")
    if isinstance(given, Node):
        return given
    if given is None:
        return constant(float("nan"), "float64")
    if is_number(given):
        return constant(given, "float64")
    return unknown("rolling.apply", f"the function gives {type(given).__name__}")


def _either(condition: Node, yes: Any, no: Any) -> Any:
    return where(condition, cast(_number(yes), "float64"), cast(_number(no), "float64"))


CLASSES["Window"] = Window
