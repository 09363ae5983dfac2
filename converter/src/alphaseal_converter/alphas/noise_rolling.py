"""The noise of rolling operators: what pandas' and qlib's running sums may have lost by a day.

`u` is the rounding of a double.  Sums of float32 values are exact in double as long as their exponents are not far apart;
where they are not, and for products and squares, rounding adds up over the days before: with the square root of their
number, as independent errors do, and with the largest sums that there ever were.  The factors are several times the
largest that were measured against exact sums, on prices, volumes, ratios, and series that stand still, jump and have gaps
(tests/converter/alphas/test_noise.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.alphas.nodes import Dtype, Node
from alphaseal_converter.alphas.noise_life import Days, Doubles, Life

_UNIT: Final = 2.0**-53
_EXACT: Final = 2.0**53
"""A sum of multiples of one number is exact in double up to so many of it."""
_SQUARES: Final = 32.0
_FLAT: Final = 2e-5
"""Rsquare and Corr are NaN where a standard deviation is not above this, `rolling._FLAT`."""
_NO_MOMENT: Final = 1e-14
_SHIFTED: Final = 1e5
"""pandas takes the mean off before it adds powers, unless the smallest value is further below it."""
_LARGEST_SHARE: Final = 0.5
"""Of a sum that may be rounding; beyond, nothing is known of what is divided by it."""


_Rule = Callable[[Life, Node, Days], Doubles]


def _prepared(values: Doubles) -> Doubles:
    """As pandas prepares a series: infinities are missing."""
    return np.where(np.isinf(values), np.nan, values)


def _largest(values: Doubles) -> Doubles:
    """Of each day the largest magnitude up to it; 0 before the first."""
    return np.nan_to_num(np.fmax.accumulate(np.abs(_prepared(values))))


def _windows(values: Doubles, days: Days, size: int) -> Doubles:
    """[days, size], NaN before the first day."""
    places = days[:, None] + np.arange(1 - size, 1)
    return np.where(places >= 0, values[np.maximum(places, 0)], np.nan)


def _sum_of_squares(windows: Doubles) -> Doubles:
    """Of the deviations from the mean; 0 for an empty window."""
    count = np.maximum((~np.isnan(windows)).sum(axis=1), 1)
    mean = np.nansum(windows, axis=1) / count
    found: Doubles = np.nansum((windows - mean[:, None]) ** 2, axis=1)
    return found


@dataclass(frozen=True, eq=False)
class _Windows:
    """The windows of one series on some days.

    `values` [days, size], `count` of those that are there, `squares` of their deviations; `apart` [days] the largest
    distance in each window; `largest` magnitude up to the day; `root`: the square root of the days up to it.
    """

    values: Doubles
    count: Doubles
    squares: Doubles
    apart: Doubles
    largest: Doubles
    root: Doubles
    size: int
    squares_lost: Doubles
    exact: Callable[[float], NDArray[np.bool_]]
    """Whether sums of so many values are exact."""

    @classmethod
    def of(cls, life: Life, inner: Node, days: Days, size: int) -> _Windows:
        whole = _prepared(life.values[inner])
        return cls.over(life, inner, whole, inner, days, size)

    @classmethod
    def over(cls, life: Life, inner: Node, whole: Doubles, key: object, days: Days, size: int) -> _Windows:
        """Windows of `whole`, which is made of `inner`'s values; `key` names it."""
        largest = life.memory.get(("largest", key), lambda: _largest(whole))[days]
        quantum = life.memory.get(("quantum", key), lambda: _quantum(inner, whole))[days]
        most = life.memory.get(("squares", key, size), lambda: _most_squares(whole, size))[days]
        apart = np.nan_to_num(_windows(life.apart[inner], days, size), nan=0.0, posinf=np.inf).max(axis=1)
        values, root = _windows(whole, days, size), np.sqrt(days + 1.0)
        squares, count = _sum_of_squares(values), (~np.isnan(values)).sum(axis=1).astype(np.float64)
        lost = _SQUARES * root * _UNIT * (most + largest * np.sqrt(most))
        lost = lost + 2 * apart * np.sqrt(size * squares) + size * apart**2
        # Values that never changed have no deviations, and pandas computes none.
        lost = np.where((largest == 0) & (apart == 0), 0.0, lost)

        def exact(numbers: float) -> NDArray[np.bool_]:
            fits: NDArray[np.bool_] = (apart == 0) & (quantum > 0) & (numbers * largest < _EXACT * quantum)
            return fits

        return cls(values, count, squares, apart, largest, root, size, lost, exact)

    def sum_lost(self) -> Doubles:
        lost = 4 * self.root * _UNIT * self.size * self.largest + self.apart * self.count
        return np.where(self.exact(self.size), 0.0, lost)

    def magnitude(self) -> Doubles:
        """The largest of each window."""
        found: Doubles = np.nan_to_num(np.fmax.reduce(np.abs(self.values), axis=1))
        return found

    def deviation(self) -> tuple[Doubles, Doubles]:
        """The standard deviation of the sample, and what it may have lost; NaN for less than two values."""
        less_one = np.where(self.count > 1, self.count - 1, np.nan)
        variance, lost = self.squares / less_one, self.squares_lost / less_one
        deviation = np.sqrt(variance)
        low, high = np.sqrt(np.maximum(variance - lost, 0.0)), np.sqrt(variance + lost)
        return deviation, np.maximum(high - deviation, deviation - low)

    def near_flat(self) -> NDArray[np.bool_]:
        """It cannot be told whether qlib has NaN for a series that stands still."""
        deviation, lost = self.deviation()
        near: NDArray[np.bool_] = np.abs(deviation - _FLAT) <= lost
        return near


def _quantum(inner: Node, whole: Doubles) -> Doubles:
    """Of each day a number of which all values up to it are multiples; 0 where there is none."""
    if inner.dtype is Dtype.FLOAT64:
        return np.zeros(len(whole))
    if inner.dtype is not Dtype.FLOAT32:
        return np.ones(len(whole))
    steps = np.spacing(np.abs(whole).astype(np.float32)).astype(np.float64)
    steps[np.isnan(whole) | (whole == 0)] = np.inf
    smallest = np.minimum.accumulate(steps)
    return np.where(np.isinf(smallest), 1.0, smallest)


def _most_squares(whole: Doubles, size: int) -> Doubles:
    """Of each day the largest sum of squared deviations of a window up to it."""
    found: Doubles = np.maximum.accumulate(_sum_of_squares(_windows(whole, np.arange(len(whole)), size)))
    return found


def _window(life: Life, node: Node, days: Days) -> _Windows:
    return _Windows.of(life, node.inputs[0], days, int(node.parameters[0]))


def _divided(number: Doubles, lost: Doubles, by: Doubles, by_lost: Doubles) -> Doubles:
    """Of ``number / sqrt(by)``: how far it may be off; infinite where `by` may be nothing but rounding."""
    share = np.where(by_lost == 0, 0.0, by_lost / by)
    stretch = 1 / np.sqrt(1 - np.minimum(share, _LARGEST_SHARE))
    apart = lost / np.sqrt(by) * stretch + np.abs(number) / np.sqrt(by) * (stretch - 1)
    return np.where(share <= _LARGEST_SHARE, apart, np.inf)


def _known(condition: NDArray[np.bool_], apart: Doubles) -> Doubles:
    """0 where the value is missing on both sides."""
    return np.where(condition, apart, 0.0)


# --- operators ---------------------------------------------------------------------------------------------------------


def _mean(life: Life, node: Node, days: Days) -> Doubles:
    window = _window(life, node, days)
    lost = window.sum_lost()
    apart = lost if node.operator == "Sum" else lost / window.count
    return _known(window.count > 0, apart)


def _variance(life: Life, node: Node, days: Days) -> Doubles:
    window = _window(life, node, days)
    if node.operator == "Std":
        return _known(window.count > 1, window.deviation()[1])
    return _known(window.count > 1, window.squares_lost / (window.count - 1))


def _moment(life: Life, node: Node, days: Days) -> Doubles:
    """Skew and Kurt from sums of powers: their rounding is of the size of the largest values, not of the deviations."""
    window = _window(life, node, days)
    whole = _prepared(life.values[node.inputs[0]])
    there = whole[~np.isnan(whole)]
    if not len(there):
        return np.zeros(len(days))
    shifted = there.min() - there.mean() > -_SHIFTED
    reach = float(there.max() - there.min()) + 1.0 if shifted else float(np.abs(there).max())
    unit = _SQUARES * _UNIT + window.apart / reach
    count = window.count
    second = window.squares / count
    of_second = unit * reach**2
    deviations = np.nan_to_num(window.values - (np.nansum(window.values, axis=1) / count)[:, None])
    order, least = (3, 3.0) if node.operator == "Skew" else (4, 4.0)
    moment = np.abs((deviations**order).sum(axis=1)) / count
    share = of_second / second
    stretch = (1 - np.minimum(share, _LARGEST_SHARE)) ** (-order / 2)
    size = second ** (order / 2)
    apart = unit * order * reach**order / size * stretch + moment / size * (stretch - 1)
    factor = np.sqrt(count * (count - 1)) / (count - 2) if order == 3 else (count**2 - 1) / ((count - 2) * (count - 3))
    unsure = (share > _LARGEST_SHARE) | (np.abs(second - _NO_MOMENT) <= of_second)
    # Equal values are equal for pandas, too.
    equal = (second == 0) & (window.apart == 0)
    return _known((count >= least) & ~equal, np.where(unsure, np.inf, apart * factor))


def _farthest(life: Life, node: Node, days: Days) -> Doubles:
    """Of operators that choose a value of the window, or stay between two."""
    return _window(life, node, days).apart


def _place(life: Life, node: Node, days: Days) -> Doubles:
    """IdxMax and IdxMin: any place, where another value may be the extreme."""
    window = _window(life, node, days)
    sign = 1.0 if node.operator == "IdxMax" else -1.0
    values = np.sort(np.nan_to_num(sign * window.values, nan=-np.inf), axis=1)
    second = values[:, -2] if window.size > 1 else np.full(len(days), -np.inf)
    other = (window.apart > 0) & ~(values[:, -1] - second > 2 * window.apart)
    return np.where(other, float(window.size), 0.0)


def _rank(life: Life, node: Node, days: Days) -> Doubles:
    """Values as near to the last one as both are apart may stand on either side of it."""
    window = _window(life, node, days)
    near = np.abs(window.values[:, :-1] - window.values[:, -1:]) <= 2 * window.apart[:, None]
    apart = np.where(window.apart > 0, near.sum(axis=1) / window.count, 0.0)
    return _known(~np.isnan(window.values[:, -1]), apart)


def _count(life: Life, node: Node, days: Days) -> Doubles:
    """Only whether values are there matters."""
    return np.zeros(len(days))


def _direct(life: Life, node: Node, days: Days) -> Doubles:
    """Mad and WMA: every window is computed alone, by numpy."""
    window = _window(life, node, days)
    return 2 * window.apart + 4 * window.size * _UNIT * window.magnitude()


def _exponential(life: Life, node: Node, days: Days) -> Doubles:
    """The rounding of a running mean, and the days before the window: after a long gap they still weigh something."""
    size, weight = int(node.parameters[0]), node.parameters[1]
    (inner,) = node.inputs
    window = _Windows.of(life, inner, days, size)
    there = ~np.isnan(_prepared(life.values[inner]))
    ages = days[:, None] - np.arange(len(there))[None, :]
    weights = np.where((ages >= 0) & there, (1.0 - weight) ** np.maximum(ages, 0), 0.0)
    before = np.where(ages >= size, weights, 0.0).sum(axis=1) / weights.sum(axis=1)
    apart = window.apart + 2 * window.largest * before + 8 * _UNIT / weight * window.largest
    return _known(weights.sum(axis=1) > 0, apart)


def _regression(life: Life, node: Node, days: Days) -> Doubles:
    """Slope, Resi and Rsquare by qlib's running sums, which it keeps without any compensation."""
    (inner,), size = node.inputs, int(node.parameters[0])
    raw = life.values[inner]
    window = _window(life, node, days)
    present = ~np.isnan(window.values)
    places = np.arange(1.0, size + 1)
    count, first, second = window.count, (present * places).sum(axis=1), (present * places**2).sum(axis=1)
    spread = count * second - first**2
    total = np.where(window.exact(size), 0.0, 4 * window.root * _UNIT * size * window.largest)
    # The sum of products takes the sum of values off every day, with what that one lost.
    mixed = np.where(
        window.exact(size**2), 0.0, 4 * window.root * _UNIT * size**2 * window.largest + (days + 1) * total
    )
    size_of = window.magnitude()
    lost = count * mixed + first * total + 4 * _UNIT * size**3 * size_of + 2 * window.apart * size * first
    infinite = life.memory.get(("infinite", inner), lambda: np.maximum.accumulate(np.isinf(raw)))[days]
    squared = node.operator == "Rsquare"
    apart = _determination(window, present, places, spread, lost) if squared else lost / spread
    if node.operator == "Resi":
        mean = first / count
        apart = apart * np.abs(size - mean) + total / count + 2 * window.apart + 8 * _UNIT * size_of
        apart = np.where(np.isnan(window.values[:, -1]), 0.0, apart)
    # A line through one value is 0 / 0, unless something is left in the sums.
    left_over = (count == 1) & ((mixed > 0) | (total > 0))
    apart = np.where(spread > 0, apart, np.where(left_over, np.inf, 0.0))
    return np.where(infinite, np.inf, apart)


def _determination(
    window: _Windows, present: NDArray[np.bool_], places: Doubles, spread: Doubles, lost: Doubles
) -> Doubles:
    """Rsquare: the squares are summed as they are, not those of deviations."""
    count = window.count
    mean = np.nansum(window.values, axis=1) / count
    deviations = np.where(present, window.values - mean[:, None], 0.0)
    covariance = count * (deviations * places).sum(axis=1)
    squares_lost = (
        4 * window.root * _UNIT * window.size * window.largest**2 + 2 * window.apart * window.size * window.largest
    )
    total = np.where(window.exact(window.size), 0.0, 4 * window.root * _UNIT * window.size * window.largest)
    by, by_lost = (
        spread * count * window.squares,
        spread
        * (
            count * squares_lost
            + 2 * count * window.magnitude() * total
            + 4 * _UNIT * count**2 * window.magnitude() ** 2
        ),
    )
    apart = _divided(covariance, lost, by, by_lost)
    correlation = np.abs(covariance) / np.sqrt(by)
    flat, _ = window.deviation()
    known = (count > 1) & (flat > _FLAT)
    squared = 2 * correlation * apart + apart**2
    return np.where(window.near_flat(), np.inf, _known(known, squared))


def _pair(life: Life, node: Node, days: Days) -> Doubles:
    """Corr and Cov: the mean of products less the product of means, over the days that have both values."""
    size = int(node.parameters[0])
    wholes = [_prepared(life.values[inner]) for inner in node.inputs]
    missing = np.isnan(wholes[0]) | np.isnan(wholes[1])
    both = [
        _Windows.over(life, inner, np.where(missing, np.nan, whole), (node.inputs, place), days, size)
        for place, (inner, whole) in enumerate(zip(node.inputs, wholes, strict=True))
    ]
    left, right = both
    count = left.count
    lost = (8 + left.root / 2) * _UNIT * left.largest * right.largest * count
    lost = lost + left.apart * np.sqrt(count * right.squares) + right.apart * np.sqrt(count * left.squares)
    lost = lost + count * left.apart * right.apart
    if node.operator == "Cov":
        return _known(count > 1, lost / (count - 1))
    means = [np.nansum(side.values, axis=1) / count for side in both]
    product = np.nansum((left.values - means[0][:, None]) * (right.values - means[1][:, None]), axis=1)
    by = left.squares * right.squares
    by_lost = (
        left.squares_lost * right.squares + right.squares_lost * left.squares + left.squares_lost * right.squares_lost
    )
    apart = _divided(product, lost, by, by_lost)
    alone = [_Windows.of(life, inner, days, size) for inner in node.inputs]
    unsure = np.logical_or.reduce([window.near_flat() for window in alone])
    flat = np.logical_or.reduce([window.deviation()[0] <= _FLAT for window in alone])
    return np.where(unsure, np.inf, _known((count > 1) & ~flat, apart))


def _of_known_values(rule: _Rule) -> _Rule:
    """Nothing is known of a window with a value of which nothing is known."""

    def of(life: Life, node: Node, days: Days) -> Doubles:
        back = range(int(node.parameters[0]))
        unknown = [np.isinf(life.apart[inner])[np.maximum(days - age, 0)] for inner in node.inputs for age in back]
        return np.where(np.logical_or.reduce(unknown), np.inf, rule(life, node, days))

    return of


_OPERATORS: Final[Mapping[str, _Rule]] = {
    **dict.fromkeys(("Mean", "Sum"), _mean),
    **dict.fromkeys(("Std", "Var"), _variance),
    **dict.fromkeys(("Skew", "Kurt"), _moment),
    **dict.fromkeys(("Max", "Min", "Quantile", "Med"), _farthest),
    **dict.fromkeys(("IdxMax", "IdxMin"), _place),
    "Rank": _rank,
    "Count": _count,
    **dict.fromkeys(("Mad", "WMA"), _direct),
    "EMA": _exponential,
    **dict.fromkeys(("Slope", "Rsquare", "Resi"), _regression),
    **dict.fromkeys(("Cov", "Corr"), _pair),
}
RULES: Final = {operator: _of_known_values(rule) for operator, rule in _OPERATORS.items()}
SUMS: Final = frozenset(RULES) - {"Max", "Min", "Quantile", "Med", "IdxMax", "IdxMin", "Rank", "Count"}
"""Operators that add; the others choose one of the values, or count."""
