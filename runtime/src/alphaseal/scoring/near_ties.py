"""The order of a day's stocks beside the judge's (spec section 9.9).

Where numbers keep a bound, two stocks may change places only if the judge's scores of them differ by no more than the
sum of both rows' allowed differences: that is a near tie.  Every other change of places is another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alphaseal.scoring.numeric import Scores

Places = npt.NDArray[np.int64]
_WIDER = 1 + 2.0**-51
"""A difference was rounded before it was found to be within the bound; rows that are must never be another order."""


@dataclass(frozen=True)
class Exchange:
    """Two stocks of a date in the other order: the judge's scores are `gap` apart, and `allowed` is the sum of what both
    rows may differ by."""

    date: str
    instruments: tuple[str, str]
    """The one that the judge has first."""
    gap: float
    allowed: float

    def __str__(self) -> str:
        first, second = self.instruments
        return f"{first} and {second} on {self.date}: {self.gap:.3g} apart, allowed {self.allowed:.3g}"


@dataclass(frozen=True)
class OrderComparison:
    """All days of a comparison.

    `same` days have all stocks in the same order, `same_top` says for each k on how many days the first k are the same.
    `swaps` counts pairs of stocks that changed places within near ties, `largest_gap` is the largest difference of the
    judge's scores of such a pair, where it gives both.  `others` days have another order, the first of which `example` shows; their pairs are
    no swaps.
    """

    days: int
    same: int
    same_top: dict[int, int]
    swaps: int
    largest_gap: float
    others: int
    example: Exchange | None


def compare_order(
    dates: npt.NDArray[np.datetime64],
    instruments: Sequence[str],
    scores: Scores,
    expected: Scores,
    allowed: Scores,
    tops: Sequence[int] = (),
) -> OrderComparison:
    """Compare the order of the stocks of each date by `scores` with that by the judge's `expected` ones.

    All are [rows], in any order; both sides are ordered by score descending, then instrument ascending, a missing score
    last.  `allowed` says by how much each row may differ (`numeric.allowed`, and what is explained beyond it); of a row
    without a finite score on the judge's side it is 0.  O(n log n) for the n stocks of a date with the judge's order.
    """
    by_day = np.argsort(dates, kind="stable")
    days, starts = np.unique(dates[by_day], return_index=True)
    _, names = np.unique(np.asarray(instruments, np.str_), return_inverse=True)
    ours, theirs = (np.where(np.isnan(values), -np.inf, values) for values in (scores, expected))
    found: list[_Day] = [
        _Day.of(rows, names[rows], ours[rows], theirs[rows], allowed[rows], tops)
        for rows in np.split(by_day, starts[1:])
        if len(rows)
    ]
    wrong = [(str(day), one.worst) for day, one in zip(days, found, strict=True) if one.worst is not None]
    kept = [one for one in found if one.worst is None]
    return OrderComparison(
        days=len(days),
        same=sum(one.same for one in found),
        same_top={top: sum(one.same_top[place] for one in found) for place, top in enumerate(tops)},
        swaps=sum(one.swaps for one in kept),
        largest_gap=max((one.largest_gap for one in kept), default=0.0),
        others=len(wrong),
        example=_exchange(*wrong[0], instruments, theirs, allowed) if wrong else None,
    )


def _exchange(
    date: str, pair: tuple[int, int], instruments: Sequence[str], expected: Scores, allowed: Scores
) -> Exchange:
    first, second = pair
    return Exchange(
        date=date,
        instruments=(instruments[first], instruments[second]),
        gap=float(expected[first] - expected[second]),
        allowed=float(allowed[first] + allowed[second]),
    )


@dataclass(frozen=True)
class _Day:
    same: bool
    same_top: tuple[bool, ...]
    swaps: int
    largest_gap: float
    worst: tuple[int, int] | None
    """Rows of the two stocks that are furthest beyond what is allowed; the judge has the first one first."""

    @classmethod
    def of(
        cls, rows: Places, names: Places, scores: Scores, expected: Scores, allowed: Scores, tops: Sequence[int]
    ) -> _Day:
        ours, theirs = (np.lexsort((names, -values)) for values in (scores, expected))
        same_top = tuple(bool(np.array_equal(ours[:top], theirs[:top])) for top in tops)
        if np.array_equal(ours, theirs):
            return cls(True, same_top, 0, 0.0, None)
        # In our order, each stock beside the best of those that stand behind it.  Were it behind all of them in the
        # judge's order, too, no such score would be the larger one.
        ranked = expected[ours]
        best_behind = np.maximum.accumulate(ranked[::-1])[::-1][1:]
        risen = best_behind > ranked[:-1]
        gaps = best_behind[risen] - ranked[:-1][risen]
        largest_gap = float(gaps[np.isfinite(gaps)].max(initial=0.0))
        wider = allowed[ours] * _WIDER
        floors = ranked - wider
        beyond = np.maximum.accumulate(floors[::-1])[::-1][1:] > ranked[:-1] + wider[:-1]
        if not beyond.any():
            return cls(False, same_top, _inversions(ours, theirs), largest_gap, None)
        ahead = int(np.argmax(beyond))
        behind = ahead + 1 + int(np.argmax(floors[ahead + 1 :]))
        return cls(False, same_top, 0, 0.0, (int(rows[ours[behind]]), int(rows[ours[ahead]])))


def _inversions(ours: Places, theirs: Places) -> int:
    """Pairs that stand in one order in `ours` and in the other in `theirs`: two permutations of the same rows.

    Of two places in the judge's order the higher one is larger at the first bit in which they differ: pairs are counted
    bit by bit, among the places that share all bits before.
    """
    places = np.empty(len(ours), np.int64)
    places[theirs] = np.arange(len(theirs))
    left, count = places[ours], 0
    for bit in range(len(ours).bit_length() - 1, -1, -1):
        group, ones = left >> (bit + 1), (left >> bit) & 1
        start = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        before = np.cumsum(ones) - ones
        in_group = before - np.repeat(before[start], np.diff(np.r_[start, len(left)]))
        count += int(in_group[ones == 0].sum())
        left = left[np.argsort(left >> bit, kind="stable")]
    return count
