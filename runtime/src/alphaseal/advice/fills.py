"""Features of a table that are not those of the training: filled ones, and those of another unit or column.

Filled: with zeros, with a mean, with any one number.
A table of features has missing values where the training had them.  A number in their place is scored like any other, and
nothing of it is true.  What gives a fill away is that one number stands for many stocks, or that it is a zero where the
training never had one: the manifest records both (`Statistics.common_ratio`, `zero_ratio`; spec/bundle-v1.md, section 10.6).

A feature in another unit, or under another one's name, has values that no stock had on any day of the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from alphaseal.advice.drift import STRANGE
from alphaseal.arrow.columns import numbers_of
from alphaseal.errors import InputError
from alphaseal.format.reasons import FEATURES_FILLED
from alphaseal.plain_text import listed
from alphaseal.tables.chance import most_by_chance

if TYPE_CHECKING:
    from alphaseal.format.manifest import Feature
    from alphaseal.tables.features import FeatureBlock

Block = TypeVar("Block", bound="FeatureBlock")
Mask = npt.NDArray[np.bool_]
LEAST_ROWS = 1000
"""Of training without a zero: then one zero is one too many."""
LEAST_REPEATS = 2
"""Stocks beside the first that have one number: two alone may be alike."""
TIMES = 2.0
"""So many times the largest share of any day of training that one number had."""


class FillCheck:
    """Looks at the rows of a table, or of its parts in ascending order, on their way."""

    def __init__(self, features: Sequence[Feature], given: Sequence[int], step_length: int, crosses: bool) -> None:
        """`given` are the places of the features that a table gave; `step_length` the days that a score looks at.

        `crosses`: a stage looks at all stocks of a day, so that none of them can be left out alone.
        """
        self._known = [(place, features[place]) for place in given if _common(features[place]) is not None]
        self._steps, self._crosses = step_length, crosses
        self._recent: list[set[str]] = []
        """Stocks with a filled value on the last `step_length` - 1 days."""

    def marked(self, block: Block) -> Block:
        """The block; rows whose values, or those of the days that a window looks at, were filled have the reason.

        Raises InputError `features.filled` where a stage looks at all stocks of a day and one of them is such, and
        `features.outside` where most values of a feature that differs between stocks are none that the training had.
        """
        if not self._known or not len(block):
            return block
        filled, which = np.zeros(len(block), np.bool_), set()
        for _, first, last in block.spans():
            for place, feature in self._known:
                values = block.values[first:last, place]
                if (share := _outside(values, feature)) > STRANGE:
                    raise _other_feature(block.dates[first], feature, share)
                found = _filled(values, feature)
                filled[first:last] |= found
                if found.any():
                    which.add(feature.name)
        if filled.any() and self._crosses:
            raise _refusal(block, filled, sorted(which))
        if self._steps > 1:
            filled = self._of_windows(block, filled)
        if not filled.any():
            return block
        before = np.full(len(block), "", object) if block.reasons is None else block.reasons
        return replace(block, reasons=np.where((before == "") & filled, FEATURES_FILLED, before))

    def _of_windows(self, block: FeatureBlock, filled: Mask) -> Mask:
        """Rows of stocks with a filled value on the day or on one of the days before it."""
        encoded = block.instruments.dictionary_encode()
        names, codes = encoded.dictionary.to_pylist(), numbers_of(encoded.indices, np.dtype(np.int32))
        result: Mask = filled.copy()
        for _, first, last in block.spans():
            of_day = {names[code] for code in codes[first:last][filled[first:last]].tolist()}
            held = set().union(*self._recent)
            if held:
                result[first:last] |= np.array([names[code] in held for code in codes[first:last].tolist()], np.bool_)
            self._recent = [*self._recent, of_day][1 - self._steps :]
        return result


def _common(feature: Feature) -> float | None:
    return None if feature.statistics is None else feature.statistics.common_ratio


def _filled(values: npt.NDArray[np.float64], feature: Feature) -> Mask:
    """bool [rows] of the values of one feature on one date."""
    statistics = feature.statistics
    assert statistics is not None
    result: Mask = np.zeros(len(values), np.bool_)
    finite = np.flatnonzero(np.isfinite(values))
    numbers, counts = np.unique(values[finite], return_counts=True)
    if not len(numbers):
        return result
    if statistics.zero_ratio == 0 and statistics.rows >= LEAST_ROWS:
        result |= values == 0
    common = statistics.common_ratio or 0.0
    most = max(LEAST_REPEATS, TIMES * common * len(finite), most_by_chance(common * len(finite)))
    for number in numbers[counts - 1 > most]:
        result |= values == number
    return result


def _outside(values: npt.NDArray[np.float64], feature: Feature) -> float:
    """The share of the finite values of one feature on one date that lie outside of all that the training had.

    0 where that does not tell: ends are not known, or come of few rows, or most stocks share one number, as they do of a
    feature of the whole market, which reaches new heights.
    """
    statistics = feature.statistics
    assert statistics is not None
    low, high = statistics.quantiles.get("min"), statistics.quantiles.get("max")
    finite = values[np.isfinite(values)]
    if statistics.rows < LEAST_ROWS or low is None or high is None or not len(finite):
        return 0.0
    share = float(np.mean((finite < low) | (finite > high)))
    if share > STRANGE and np.unique(finite, return_counts=True)[1].max() - 1 >= STRANGE * len(finite):
        return 0.0
    return share


def _other_feature(date: np.datetime64, feature: Feature, share: float) -> InputError:
    assert feature.statistics is not None
    quantiles = feature.statistics.quantiles
    return InputError(
        "features.outside",
        "most values of a feature are none that any stock had on any day of the training",
        where=f"the features of {date}, column {feature.name!r}",
        expected=f"values from {quantiles['min']:.6g} to {quantiles['max']:.6g}",
        found=f"{share:.0%} outside",
        next_step="look at the unit and the column of this feature; where they are right the model knows nothing of such days: "
        "train it again",
    )


def _refusal(block: FeatureBlock, filled: Mask, which: list[str]) -> InputError:
    row = int(filled.argmax())
    return InputError(
        "features.filled",
        "one number stands for several stocks, or a zero where the training had none, as where missing values were filled, "
        "and a stage of the model looks at all stocks of a day",
        where=f"the features of {block.dates[row]}, columns {listed(which)}",
        expected="missing values for what is missing",
        found=f"such a value of {block.instruments[row].as_py()}",
        next_step="give missing values as they are: no fillna(0), no mean; the bundle knows what to do with them",
    )
