"""Rolling operators over windows that end at each position, as pandas 2 and qlib's own loops compute them.

All in double.  Means are taken off before anything is squared, so a value is at least as right as that of an online
algorithm; NaN is skipped (`min_periods=1`), and a window that reaches before the stock's first day is shorter.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from alphaseal_converter.alphas.emit import Emitter, Rule, Windows
from alphaseal_converter.alphas.nodes import Dtype, Node

_FLAT: Final = 2e-5
"""Rsquare and Corr are NaN where a standard deviation is not above this (`np.isclose(std, 0, atol=2e-05)`)."""
_NO_MOMENT: Final = 1e-14
"""Skew and Kurt of pandas are NaN where the variance is not above this, unless all values are equal."""


class _Moments:
    """Count, mean and deviations of the windows of one series, shared by all operators over them.

    `filled` and `valid` are [length, rows]: values with 0 for those that are missing, and 1 or 0.
    """

    def __init__(self, windows: Windows, filled: str, valid: str, length: int) -> None:
        self._emitter, self._windows = windows.emitter, windows
        self._filled, self._valid, self._length = filled, valid, length

    @classmethod
    def of(cls, windows: Windows, whole: str) -> _Moments:
        """Of a tensor as long as the series, with NaN."""
        length = windows.emitter.length(windows.node)
        return cls(windows, windows.filled(whole), windows.valid(whole), length)

    def valid(self) -> str:
        return self._windows.of(self._valid, self._length)

    def values(self) -> str:
        return self._windows.of(self._filled, self._length)

    def count(self) -> str:
        return self._windows.reduce("ReduceSum", self.valid())

    def sum(self) -> str:
        return self._windows.reduce("ReduceSum", self.values())

    def mean(self) -> str:
        """Exact for windows of equal values.

        A sum of equal float32 values is exact in double; other values are first taken relative to one of them.
        """
        if self._is_exact():
            return self._emitter.add("Div", self.sum(), self.count())
        return self._emitter.add("Add", self._largest(), self._rest())

    def deviations(self) -> str:
        """Values less their mean, 0 where there is none."""
        add = self._emitter.add
        if self._is_exact():
            return add("Mul", add("Sub", self.values(), self.mean()), self.valid())
        return add("Mul", add("Sub", self._relative(), self._rest()), self.valid())

    def _is_exact(self) -> bool:
        return self._windows.node.dtype is not Dtype.FLOAT64

    def _largest(self) -> str:
        return self._windows.reduce("ReduceMax", self._windows.of(self._lowered(), self._length))

    def _relative(self) -> str:
        add = self._emitter.add
        return add("Mul", add("Sub", self.values(), self._largest()), self.valid())

    def _rest(self) -> str:
        """The mean of what is relative to the largest value."""
        return self._emitter.add("Div", self._windows.reduce("ReduceSum", self._relative()), self.count())

    def _lowered(self) -> str:
        add = self._emitter.add
        there = add("Greater", self._valid, self._emitter.double(0.0))
        return add("Where", there, self._filled, self._emitter.double(-np.inf))

    def squares(self) -> str:
        deviations = self.deviations()
        return self._windows.reduce("ReduceSum", self._emitter.add("Mul", deviations, deviations))

    def variance(self) -> str:
        """Of the sample: NaN for less than two values (0 / 0)."""
        emitter = self._emitter
        return emitter.add("Div", self.squares(), emitter.add("Sub", self.count(), emitter.double(1.0)))

    def flat(self) -> str:
        """bool: the standard deviation is so small that qlib gives NaN."""
        emitter = self._emitter
        return emitter.add("LessOrEqual", emitter.add("Sqrt", self.variance()), emitter.double(_FLAT))


def _moments(emitter: Emitter, node: Node, last: int) -> tuple[Windows, _Moments]:
    windows = emitter.windows(node.inputs[0], last, int(node.parameters[0]))
    return windows, _Moments.of(windows, windows.prepared())


def _nan_where(emitter: Emitter, condition: str, value: str) -> str:
    return emitter.add("Where", condition, emitter.missing(Dtype.FLOAT64), value)


def _none(emitter: Emitter, count: str) -> str:
    return emitter.add("Equal", count, emitter.double(0.0))


def _mean(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    return _moments(emitter, node, last)[1].mean(), True


def _sum(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    _, moments = _moments(emitter, node, last)
    return _nan_where(emitter, _none(emitter, moments.count()), moments.sum()), True


def _variance(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    variance = _moments(emitter, node, last)[1].variance()
    return (emitter.add("Sqrt", variance) if node.operator == "Std" else variance), True


def _skew(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    """sqrt(n (n - 1)) / (n - 2) * m3 / m2^1.5, 0 for equal values (pandas `calc_skew`)."""
    windows, moments = _moments(emitter, node, last)
    add, double, count = emitter.add, emitter.double, moments.count()
    deviations = moments.deviations()
    second = add("Div", moments.squares(), count)
    cubes = add("Mul", add("Mul", deviations, deviations), deviations)
    third = add("Div", windows.reduce("ReduceSum", cubes), count)
    less_one, less_two = add("Sub", count, double(1.0)), add("Sub", count, double(2.0))
    scale = add("Div", add("Sqrt", add("Mul", count, less_one)), less_two)
    skew = add("Div", add("Mul", scale, third), add("Mul", second, add("Sqrt", second)))
    return _of_moments(emitter, skew, second, count, 3.0, 0.0), True


def _kurt(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    """((n^2 - 1) m4 / m2^2 - 3 (n - 1)^2) / ((n - 2) (n - 3)), -3 for equal values (pandas `calc_kurt`)."""
    windows, moments = _moments(emitter, node, last)
    add, double, count = emitter.add, emitter.double, moments.count()
    second = add("Div", moments.squares(), count)
    squares = add("Mul", moments.deviations(), moments.deviations())
    fourth = add("Div", windows.reduce("ReduceSum", add("Mul", squares, squares)), count)
    less_one, less_two, less_three = (add("Sub", count, double(less)) for less in (1.0, 2.0, 3.0))
    first = add(
        "Div", add("Mul", add("Sub", add("Mul", count, count), double(1.0)), fourth), add("Mul", second, second)
    )
    rest = add("Mul", double(3.0), add("Mul", less_one, less_one))
    kurt = add("Div", add("Sub", first, rest), add("Mul", less_two, less_three))
    return _of_moments(emitter, kurt, second, count, 4.0, -3.0), True


def _of_moments(emitter: Emitter, value: str, second: str, count: str, least: float, of_equal: float) -> str:
    add, double = emitter.add, emitter.double
    value = _nan_where(emitter, add("LessOrEqual", second, double(_NO_MOMENT)), value)
    value = add("Where", add("Equal", second, double(0.0)), double(of_equal), value)
    return _nan_where(emitter, add("Less", count, double(least)), value)


def _extreme(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    windows = emitter.windows(node.inputs[0], last, int(node.parameters[0]))
    outside = -np.inf if node.operator == "Max" else np.inf
    found = windows.reduce(f"Reduce{node.operator}", windows.of(windows.filled(windows.prepared(), outside)))
    return _nan_where(emitter, emitter.add("IsInf", found), found), True


def _extreme_place(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    """Place of the extreme from the start of the window, from 1; the first NaN is the extreme (numpy argmax, argmin)."""
    inner, size = node.inputs[0], int(node.parameters[0])
    windows = emitter.windows(inner, last, size)
    add, length = emitter.add, emitter.length(inner)
    extreme = np.inf if node.operator == "IdxMax" else -np.inf
    prepared = windows.prepared()
    values = windows.filled(prepared, extreme)
    values = add("Where", emitter.exists(length), values, emitter.double(-extreme))
    place = windows.place("ArgMax" if node.operator == "IdxMax" else "ArgMin", windows.of(values))
    before = emitter.cast(_days_before(emitter, last, size), Dtype.INT64, Dtype.FLOAT64)
    counted = add("Sub", emitter.cast(place, Dtype.INT64, Dtype.FLOAT64), add("Sub", before, emitter.double(1.0)))
    count = windows.reduce("ReduceSum", windows.of(windows.valid(prepared)))
    return _nan_where(emitter, _none(emitter, count), counted), True


def _days_before(emitter: Emitter, last: int, size: int) -> str:
    """int64 [last, rows]: how many days of the window are before the stock's first."""
    whole, zero = (emitter.constant(np.array(number, dtype=np.int64)) for number in (size, 0))
    before = emitter.add("Sub", whole, emitter.lengths(last))
    return emitter.add("Where", emitter.add("Greater", before, zero), before, zero)


def _count(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    """Days with a value, infinite ones too; 0 where there is none."""
    windows = emitter.windows(node.inputs[0], last, int(node.parameters[0]))
    return windows.reduce("ReduceSum", windows.of(windows.valid(windows.raw()))), False


def _rank(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    """Average rank of the last value among the window's, as a share; NaN where the last value is."""
    windows = emitter.windows(node.inputs[0], last, int(node.parameters[0]))
    add, double, whole = emitter.add, emitter.double, windows.prepared()
    current = emitter.end(whole, emitter.length(node.inputs[0]), last)
    if last == 1:
        # Compared with the whole series: all window lengths share it.
        less, equal = (
            windows.of(emitter.cast(add(sign, whole, current), Dtype.BOOL, Dtype.FLOAT64)) for sign in ("Less", "Equal")
        )
    else:
        values = windows.of(whole)
        less, equal = (
            emitter.cast(add(sign, values, current), Dtype.BOOL, Dtype.FLOAT64) for sign in ("Less", "Equal")
        )
    ties = add("Div", add("Add", windows.reduce("ReduceSum", equal), double(1.0)), double(2.0))
    rank = add("Add", windows.reduce("ReduceSum", less), ties)
    share = add("Div", rank, windows.reduce("ReduceSum", windows.of(windows.valid(whole))))
    return _nan_where(emitter, add("IsNaN", current), share), True


def _quantile(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    """Linear between the two values beside the place (pandas `roll_quantile`; the median is that of 0.5)."""
    size = int(node.parameters[0])
    share = node.parameters[1] if node.operator == "Quantile" else 0.5
    windows = emitter.windows(node.inputs[0], last, size)
    add, double, whole = emitter.add, emitter.double, windows.prepared()
    ordered = emitter.ordered(windows.of(windows.filled(whole, np.inf)), size)
    count = windows.reduce("ReduceSum", windows.of(windows.valid(whole)))
    none = _none(emitter, count)
    place = add("Mul", double(float(share)), add("Sub", add("Where", none, double(1.0), count), double(1.0)))
    low = add("Floor", place)
    lower = _at(windows, ordered, low)
    following = add("Where", add("Greater", place, low), add("Add", low, double(1.0)), low)
    upper = _at(windows, ordered, following)
    if node.operator == "Med":
        value = add("Div", add("Add", lower, upper), double(2.0))
    else:
        value = add("Add", lower, add("Mul", add("Sub", upper, lower), add("Sub", place, low)))
    return _nan_where(emitter, none, value), True


def _at(windows: Windows, ordered: str, place: str) -> str:
    return windows.at(ordered, windows.emitter.cast(place, Dtype.FLOAT64, Dtype.INT64))


def _mad(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    windows, moments = _moments(emitter, node, last)
    deviations = windows.reduce("ReduceSum", emitter.add("Abs", moments.deviations()))
    return emitter.add("Div", deviations, moments.count()), True


def _weighted(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    """WMA: `np.nanmean(w * x)` with w = 1, 2, … over their sum, for as many days as the window has."""
    windows, moments = _moments(emitter, node, last)
    size = int(node.parameters[0])
    add, double, whole = emitter.add, emitter.double, windows.prepared()
    before = emitter.cast(_days_before(emitter, last, size), Dtype.INT64, Dtype.FLOAT64)
    places = add("Sub", windows.by_day(np.arange(1, size + 1)), before)
    total = windows.reduce("ReduceSum", add("Mul", windows.of(windows.filled(whole)), places))
    days = add("Sub", double(float(size)), before)
    weights = add("Div", add("Mul", days, add("Add", days, double(1.0))), double(2.0))
    return add("Div", add("Div", total, weights), moments.count()), True


def is_recursive(node: Node, last: int) -> bool:
    """Whether the last positions of an exponential mean come from one running sum: its weights stay within double."""
    days, weight = node.parameters
    return last > 1 and (last + days) * math.log10(1.0 - weight) > -280.0


def _exponential(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    """Weights (1 - alpha)^age over their sum; days without a value weigh nothing (pandas ewm, adjust, ignore_na=False)."""
    windows, moments = _moments(emitter, node, last)
    add, whole, rest = emitter.add, windows.prepared(), 1.0 - node.parameters[1]
    if is_recursive(node, last):
        # Sums from the first day on, with weights that all share a factor: later positions see more days than they need.
        length = emitter.length(node.inputs[0])
        weights = emitter.constant(rest ** np.arange(length, dtype=np.float64)[::-1, None])
        axis = emitter.constant(np.array(0, dtype=np.int64))
        total, weight = (
            emitter.end(add("CumSum", add("Mul", part, weights), axis), length, last)
            for part in (windows.filled(whole), windows.valid(whole))
        )
        return add("Div", total, weight), True
    weights = windows.by_day(rest ** windows.ages())
    total = windows.reduce("ReduceSum", add("Mul", windows.of(windows.filled(whole)), weights))
    return add("Div", total, windows.reduce("ReduceSum", add("Mul", moments.valid(), weights))), True


def _regression(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    """Slope, Rsquare, Resi of a series over its days, by the sums of qlib's `rolling.pyx` with the mean taken off."""
    windows = emitter.windows(node.inputs[0], last, int(node.parameters[0]))
    add, whole = emitter.add, windows.raw()
    moments = _Moments.of(windows, whole)
    count, deviations = moments.count(), moments.deviations()
    days, squared = windows.by_day(-windows.ages()), windows.by_day(windows.ages() ** 2)
    first = windows.reduce("ReduceSum", add("Mul", moments.valid(), days))
    second = windows.reduce("ReduceSum", add("Mul", moments.valid(), squared))
    spread = add("Sub", add("Mul", count, second), add("Mul", first, first))
    mixed = windows.reduce("ReduceSum", add("Mul", deviations, days))
    rest = windows.reduce("ReduceSum", deviations)
    covariance = add("Sub", add("Mul", count, mixed), add("Mul", first, rest))
    if node.operator == "Rsquare":
        squares = add("Sub", add("Mul", count, moments.squares()), add("Mul", rest, rest))
        value = add("Div", add("Mul", covariance, covariance), add("Mul", spread, squares))
        guard = _Moments.of(windows, windows.prepared()).flat()
        return _nan_where(emitter, guard, value), True
    slope = add("Div", covariance, spread)
    if node.operator == "Slope":
        return slope, True
    # The newest day is day 0: its value less the line's.
    current = emitter.end(whole, emitter.length(node.inputs[0]), last)
    return add("Add", add("Sub", current, moments.mean()), add("Mul", slope, add("Div", first, count))), True


def _pair(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    """Cov and Corr over the days that have both values (pandas `prep_binary`), unbiased."""
    size = int(node.parameters[0])
    add = emitter.add
    sides = [emitter.windows(inner, last, size) for inner in node.inputs]
    length = last + size - 1
    wholes = [emitter.end(side.prepared(), emitter.length(side.node), length) for side in sides]
    missing = add("Or", *(add("IsNaN", whole) for whole in wholes))
    valid = emitter.cast(add("Not", missing), Dtype.BOOL, Dtype.FLOAT64)
    filled = [add("Where", missing, emitter.double(0.0), whole) for whole in wholes]
    both = [_Moments(side, whole, valid, length) for side, whole in zip(sides, filled, strict=True)]
    count = both[0].count()
    product = sides[0].reduce("ReduceSum", add("Mul", both[0].deviations(), both[1].deviations()))
    less_one = add("Sub", count, emitter.double(1.0))
    covariance = add("Div", product, less_one)
    if node.operator == "Cov":
        return covariance, True
    variances = add("Mul", *(side.variance() for side in both))
    value = add("Div", covariance, add("Sqrt", variances))
    guard = add("Or", *(_Moments.of(side, side.prepared()).flat() for side in sides))
    return _nan_where(emitter, guard, value), True


RULES: Final[dict[str, Rule]] = {
    "Mean": _mean,
    "Sum": _sum,
    **dict.fromkeys(("Std", "Var"), _variance),
    "Skew": _skew,
    "Kurt": _kurt,
    **dict.fromkeys(("Max", "Min"), _extreme),
    **dict.fromkeys(("IdxMax", "IdxMin"), _extreme_place),
    **dict.fromkeys(("Quantile", "Med"), _quantile),
    "Mad": _mad,
    "Rank": _rank,
    "Count": _count,
    **dict.fromkeys(("Slope", "Rsquare", "Resi"), _regression),
    "WMA": _weighted,
    "EMA": _exponential,
    **dict.fromkeys(("Cov", "Corr"), _pair),
}
