"""Statistics over the last rows of a stock, and windows of them: [size, days, rows], oldest first.

All in double.  Means are taken off before anything is squared, so a value is at least as right as that of pandas' running
sums; a window of equal values has exactly their mean, and no deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from alphaseal_converter.emission.emitter import Emitter, Rule
from alphaseal_converter.emission.rows import Line
from alphaseal_converter.factors.expressions.nodes import Node

_TINY: Final = 1e-14
"""Below this second moment pandas' skewness and kurtosis are missing."""


def is_exact(node: Node) -> bool:
    """Values of float32 or whole numbers: sums of equal ones are exact in double."""
    return node.operator == "cast" and node.inputs[0].dtype != "float64"


class Window:
    """Windows [size, days, rows] with NaN where there is no value; what is reduced is [1, days, rows]."""

    def __init__(self, emitter: Emitter, values: str, size: int, *, exact: bool = False) -> None:
        self.emitter, self.values, self.size, self.exact = emitter, values, size, exact
        self.gone = emitter.add("IsNaN", values)
        self.there = emitter.to(emitter.add("Not", self.gone), "bool", "float64")

    @classmethod
    def over(cls, emitter: Emitter, moved: str, length: int, days: int, size: int, *, exact: bool = False) -> Window:
        """The windows that end at the last `days` places of [length, rows]; infinities are missing."""
        prepared = emitter.add("Where", emitter.add("IsInf", moved), emitter.nan, moved)
        return cls(emitter, cut(emitter, prepared, length, days, size), size, exact=exact)

    def reduce(self, operator: str, windows: str) -> str:
        return self.emitter.add(operator, windows, self.emitter.constant([0]), keepdims=1)

    def filled(self, value: float) -> str:
        return self.emitter.add("Where", self.gone, self.emitter.double(value), self.values)

    def count(self) -> str:
        return self.reduce("ReduceSum", self.there)

    def high(self) -> str:
        return self.reduce("ReduceMax", self.filled(-np.inf))

    def low(self) -> str:
        return self.reduce("ReduceMin", self.filled(np.inf))

    def plain_sum(self) -> str:
        return self.reduce("ReduceSum", self.filled(0.0))

    def sum(self) -> str:
        """Of equal values their number times one of them."""
        if self.exact:
            return self.plain_sum()
        add = self.emitter.add
        equal = add("Equal", self.high(), self.low())
        return add("Where", equal, add("Mul", self.high(), self.count()), self.plain_sum())

    def mean(self) -> str:
        add = self.emitter.add
        if self.exact:
            return add("Div", self.plain_sum(), self.count())
        return add("Add", self._start(), self._rest())

    def deviations(self) -> str:
        """Values less their mean, 0 where there is none."""
        add = self.emitter.add
        if self.exact:
            return add("Mul", add("Sub", self.filled(0.0), self.mean()), self.there)
        return add("Mul", add("Sub", self._relative(), self._rest()), self.there)

    def _start(self) -> str:
        """The largest value; 0 where there is none."""
        high = self.high()
        return self.emitter.add("Where", self.emitter.add("IsInf", high), self.emitter.double(0.0), high)

    def _relative(self) -> str:
        add = self.emitter.add
        return add("Mul", add("Sub", self.filled(0.0), self._start()), self.there)

    def _rest(self) -> str:
        return self.emitter.add("Div", self.reduce("ReduceSum", self._relative()), self.count())

    def squares(self) -> str:
        deviations = self.deviations()
        return self.reduce("ReduceSum", self.emitter.add("Mul", deviations, deviations))

    def variance(self, ddof: int) -> str:
        """NaN where not more than `ddof` values are there."""
        emitter, count = self.emitter, self.count()
        found = emitter.add("Div", self.squares(), emitter.add("Sub", count, emitter.double(float(ddof))))
        return missing_where(emitter, emitter.add("LessOrEqual", count, emitter.double(float(ddof))), found)

    def quantile(self, share: float, interpolation: str) -> str:
        """Between the two values beside the place; NaN where nothing is."""
        emitter, count = self.emitter, self.count()
        add, double = emitter.add, emitter.double
        ordered = emitter.ordered(self.filled(np.inf), self.size)
        none = add("Equal", count, double(0.0))
        last = add("Sub", add("Where", none, double(1.0), count), double(1.0))
        place = add("Mul", double(share), last)
        below = add("Floor", place)
        following = add("Add", below, double(1.0))
        above = add("Where", add("Greater", following, last), last, following)
        low, high = (
            add("GatherElements", ordered, emitter.to(at, "float64", "int64"), axis=0) for at in (below, above)
        )
        part = add("Sub", place, below)
        between = add("Greater", part, double(0.0))
        if interpolation == "lower":
            found = low
        elif interpolation == "higher":
            found = add("Where", between, high, low)
        elif interpolation == "midpoint":
            found = add("Where", between, add("Div", add("Add", low, high), double(2.0)), low)
        elif interpolation == "nearest":
            half = add("Mul", below, double(0.5))
            odd = add("Not", add("Equal", half, add("Floor", half)))
            up = add("Or", add("Greater", part, double(0.5)), add("And", add("Equal", part, double(0.5)), odd))
            found = add("Where", up, high, low)
        else:
            found = add("Where", between, add("Add", low, add("Mul", add("Sub", high, low), part)), low)
        return missing_where(emitter, none, found)


def cut(emitter: Emitter, values: str, length: int, days: int, size: int) -> str:
    """[size, days, rows]: the windows that end at the last `days` places of [length, rows]."""
    first = length - days - size + 1
    if days == 1:
        return emitter.add("Unsqueeze", emitter.end(values, length, size), emitter.constant([1]))
    places = first + np.arange(size, dtype=np.int64)[:, None] + np.arange(days, dtype=np.int64)[None, :]
    return emitter.add("Gather", values, emitter.constant(places), axis=0)


def missing_where(emitter: Emitter, condition: str, value: str) -> str:
    return emitter.add("Where", condition, emitter.nan, value)


def _flat(emitter: Emitter, reduced: str) -> str:
    """[1, days, rows] to [days, rows]."""
    return emitter.add("Squeeze", reduced, emitter.constant([0]))


# --- rolling ------------------------------------------------------------------------------------------------------------


def _moments(window: Window, node: Node) -> str:
    """Skewness or excess kurtosis, corrected for bias (pandas `calc_skew`, `calc_kurt`)."""
    emitter, count = window.emitter, window.count()
    add, double = emitter.add, emitter.double
    deviations = window.deviations()
    squared = add("Mul", deviations, deviations)
    second = add("Div", window.squares(), count)
    one, two, three = (add("Sub", count, double(less)) for less in (1.0, 2.0, 3.0))
    if node["function"] == "skew":
        third = add("Div", window.reduce("ReduceSum", add("Mul", squared, deviations)), count)
        scale = add("Div", add("Sqrt", add("Mul", count, one)), two)
        found = add("Div", add("Mul", scale, third), add("Mul", second, add("Sqrt", second)))
        least, constant = 3.0, 0.0
    else:
        fourth = add("Div", window.reduce("ReduceSum", add("Mul", squared, squared)), count)
        whole = add("Sub", add("Mul", count, count), double(1.0))
        first = add("Div", add("Mul", whole, fourth), add("Mul", second, second))
        rest = add("Mul", double(3.0), add("Mul", one, one))
        found = add("Div", add("Sub", first, rest), add("Mul", two, three))
        least, constant = 4.0, -3.0
    if node["constant_windows"] == "moments":
        constant = np.nan
    else:
        found = missing_where(emitter, add("LessOrEqual", second, double(_TINY)), found)
    found = add("Where", add("Equal", window.high(), window.low()), double(constant), found)
    return missing_where(emitter, add("Less", count, double(least)), found)


def _rank(window: Window, node: Node) -> str:
    """Of the newest value among the window's."""
    emitter = window.emitter
    add, double = emitter.add, emitter.double
    newest = emitter.cut(window.values, window.size - 1, window.size)
    before = add("Less" if node["ascending"] else "Greater", window.values, newest)
    fewer = window.reduce("ReduceSum", emitter.to(before, "bool", "float64"))
    equal = window.reduce("ReduceSum", emitter.to(add("Equal", window.values, newest), "bool", "float64"))
    rank = {
        "average": lambda: add("Add", fewer, add("Div", add("Add", equal, double(1.0)), double(2.0))),
        "min": lambda: add("Add", fewer, double(1.0)),
        "max": lambda: add("Add", fewer, equal),
    }[node["method"]]()
    rank = add("Div", rank, window.count()) if node["pct"] else rank
    return missing_where(emitter, add("IsNaN", newest), rank)


def _deviation(window: Window, node: Node) -> str:
    add = window.emitter.add
    variance = window.variance(node["ddof"])
    if node["function"] == "var":
        return variance
    root = add("Sqrt", variance)
    return root if node["function"] == "std" else add("Div", root, add("Sqrt", window.count()))


_ROLLING: Final[Mapping[str, Callable[[Window, Node], str]]] = {
    "sum": lambda window, node: window.sum(),
    "mean": lambda window, node: window.mean(),
    **dict.fromkeys(("var", "std", "sem"), _deviation),
    "max": lambda window, node: window.high(),
    "min": lambda window, node: window.low(),
    "median": lambda window, node: window.quantile(0.5, "linear"),
    "quantile": lambda window, node: window.quantile(node["q"], node["interpolation"]),
    **dict.fromkeys(("skew", "kurt"), _moments),
    "rank": _rank,
}


def _roll(emitter: Emitter, node: Node, days: int) -> tuple[str, str | None]:
    value, mask = node.inputs
    size, function = int(node["window"]), str(node["function"])
    line = Line(emitter, mask, days, size - 1)
    window = Window.over(emitter, line.values(value), line.places, days, size, exact=is_exact(value))
    found = _ROLLING[function](window, node)
    least = int(node["min_periods"]) if function == "sum" else max(int(node["min_periods"]), 1)
    found = missing_where(emitter, emitter.add("Less", window.count(), emitter.double(float(least))), found)
    return line.back(_flat(emitter, found)), line.since(node.inputs, size)


def _roll_pair(emitter: Emitter, node: Node, days: int) -> tuple[str, str | None]:
    """Over the rows that have both values, finite ones (pandas `prep_binary`)."""
    left, right, mask = node.inputs
    size = int(node["window"])
    add, double = emitter.add, emitter.double
    line = Line(emitter, mask, days, size - 1)
    moved = [line.values(left), line.values(right)]
    gone = [add("Or", add("IsNaN", one), add("IsInf", one)) for one in moved]
    either = add("Or", *gone)
    x, y = (
        Window.over(emitter, missing_where(emitter, either, one), line.places, days, size, exact=is_exact(side))
        for one, side in zip(moved, (left, right), strict=True)
    )
    count = x.count()
    product = x.reduce("ReduceSum", add("Mul", x.deviations(), y.deviations()))
    if node["function"] == "corr":
        found = add("Div", product, add("Sqrt", add("Mul", x.squares(), y.squares())))
    else:
        found = add("Div", product, add("Sub", count, double(float(node["ddof"]))))
    few = add("Less", count, double(float(max(int(node["min_periods"]), 1, int(node["ddof"]) + 1))))
    return line.back(_flat(emitter, missing_where(emitter, few, found))), line.since(node.inputs, size)


# --- windows ------------------------------------------------------------------------------------------------------------


def _window(emitter: Emitter, node: Node, days: int) -> tuple[str, str | None]:
    value, mask = node.inputs
    size = int(node["window"])
    line = Line(emitter, mask, days, size - 1)
    moved = line.values(value)
    prepared = missing_where(emitter, emitter.add("IsInf", moved), moved)
    found = cut(emitter, prepared, line.places, days, size)
    return line.windows_back(found, size), line.since(node.inputs, size)


def _element(emitter: Emitter, node: Node, days: int) -> tuple[str, str | None]:
    (inner,) = node.inputs
    place = int(inner.window or 1) - 1 - int(node["index"])
    return _flat(emitter, emitter.cut(emitter.last(inner, days), place, place + 1)), emitter.since(node.inputs)


def _slice(emitter: Emitter, node: Node, days: int) -> tuple[str, str | None]:
    (inner,) = node.inputs
    end = int(inner.window or 1) - int(node["last"])
    return emitter.cut(emitter.last(inner, days), end - int(node["count"]), end), emitter.since(node.inputs)


def _flip(emitter: Emitter, node: Node, days: int) -> tuple[str, str | None]:
    (inner,) = node.inputs
    places = np.arange(int(inner.window or 1), dtype=np.int64)[::-1].copy()
    return emitter.add("Gather", emitter.last(inner, days), emitter.constant(places), axis=0), emitter.since(
        node.inputs
    )


def _reduce(emitter: Emitter, node: Node, days: int) -> tuple[str, str | None]:
    (inner,) = node.inputs
    value, function = emitter.last(inner, days), str(node["function"])
    wide = emitter.to(value, inner.dtype, "float64")
    window = Window(emitter, wide, int(inner.window or 1))
    return _flat(emitter, _REDUCTIONS[function](window, node)), emitter.since(node.inputs)


def _with_missing(found: Callable[[Window], str]) -> Callable[[Window, Node], str]:
    """A statistic that skips missing values; without `skip` one makes it missing."""

    def rule(window: Window, node: Node) -> str:
        emitter = window.emitter
        value = found(window)
        if not node["skip"]:
            value = missing_where(emitter, _any(window, window.gone), value)
        return emitter.to(value, "float64", node.dtype)

    return rule


def _any(window: Window, truths: str) -> str:
    emitter = window.emitter
    found = window.reduce("ReduceMax", emitter.to(truths, "bool", "float64"))
    return emitter.add("Greater", found, emitter.double(0.0))


def _total(operator: str, neutral: float) -> Callable[[Window, Node], str]:
    """Sum and product: with `skip` 0 and 1 of nothing; infinities stay what they are."""

    def rule(window: Window, node: Node) -> str:
        values = window.filled(neutral) if node["skip"] else window.values
        return window.emitter.to(window.reduce(operator, values), "float64", node.dtype)

    return rule


def _most(operator: str, worst: float) -> Callable[[Window], str]:
    def found(window: Window) -> str:
        emitter = window.emitter
        none = emitter.add("Equal", window.count(), emitter.double(0.0))
        return missing_where(emitter, none, window.reduce(operator, window.filled(worst)))

    return found


def _spread(window: Window, node: Node) -> str:
    """numpy's deviation, of windows whose infinities are missing already."""

    def found(window: Window) -> str:
        variance = window.variance(int(node["ddof"]))
        return window.emitter.add("Sqrt", variance) if node["function"] == "std" else variance

    return _with_missing(found)(window, node)


def _place(operator: str, worst: float) -> Callable[[Window, Node], str]:
    """The first of equals; without `skip` the first that is missing."""

    def rule(window: Window, node: Node) -> str:
        emitter = window.emitter
        found = emitter.add(operator, window.filled(worst), axis=0, keepdims=1)
        if node["skip"]:
            return found
        lacking = emitter.add("ArgMax", emitter.to(window.gone, "bool", "float64"), axis=0, keepdims=1)
        return emitter.add("Where", _any(window, window.gone), lacking, found)

    return rule


def _truth(window: Window, node: Node) -> str:
    """Missing is true."""
    emitter = window.emitter
    true = emitter.add("Not", emitter.add("Equal", window.values, emitter.double(0.0)))
    if node["function"] == "any":
        return _any(window, true)
    return emitter.add("Not", _any(window, emitter.add("Not", true)))


_REDUCTIONS: Final[Mapping[str, Callable[[Window, Node], str]]] = {
    "sum": _total("ReduceSum", 0.0),
    "prod": _total("ReduceProd", 1.0),
    "mean": lambda window, node: window.emitter.to(
        window.emitter.add("Div", _total("ReduceSum", 0.0)(window, node), window.count())
        if node["skip"]
        else window.emitter.add("Div", window.reduce("ReduceSum", window.values), window.emitter.double(window.size)),
        "float64",
        node.dtype,
    ),
    "max": _with_missing(_most("ReduceMax", -np.inf)),
    "min": _with_missing(_most("ReduceMin", np.inf)),
    **dict.fromkeys(("std", "var"), _spread),
    "median": _with_missing(lambda window: window.quantile(0.5, "linear")),
    "quantile": lambda window, node: _with_missing(lambda one: one.quantile(node["q"], "linear"))(window, node),
    "argmax": _place("ArgMax", -np.inf),
    "argmin": _place("ArgMin", np.inf),
    "count": lambda window, node: window.emitter.to(window.count(), "float64", "int64"),
    **dict.fromkeys(("any", "all"), _truth),
}

RULES: Final[Mapping[str, Rule]] = {
    "roll": _roll,
    "roll2": _roll_pair,
    "window": _window,
    "element": _element,
    "slice": _slice,
    "flip": _flip,
    "reduce": _reduce,
}
