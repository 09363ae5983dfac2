"""Near ties: who may change places, beside a judge that looks at every pair."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from alphaseal.desk.diff import _facts
from alphaseal.desk.show import describe
from alphaseal.format.manifest import Bound, ReplayNoise
from alphaseal.scoring.near_ties import OrderComparison, compare_order
from alphaseal.scoring.numeric import allowed, outside
from manifests import example_manifest

Vector = NDArray[np.float64]
DAY = np.datetime64("2024-01-02", "D")


def one_day(scores: Any, expected: Any, allowed: Any, tops: tuple[int, ...] = ()) -> OrderComparison:
    """One date of stocks S00, S01, …"""
    count = len(scores)
    ours, theirs, bound = (np.asarray(values, np.float64) for values in (scores, expected, allowed))
    return compare_order(np.full(count, DAY), [f"S{row:02d}" for row in range(count)], ours, theirs, bound, tops)


def every_pair(scores: Vector, expected: Vector, allowed: Vector) -> tuple[int, float, int]:
    """(swaps, largest gap, pairs too far apart) by looking at each pair, in exact arithmetic."""
    swaps, largest, wrong = 0, 0.0, 0
    for first, second in combinations(range(len(scores)), 2):
        ahead = expected[first] > expected[second] or expected[first] == expected[second]
        still_ahead = scores[first] > scores[second] or scores[first] == scores[second]
        if ahead == still_ahead:
            continue
        gap = abs(Fraction(expected[first]) - Fraction(expected[second]))
        if gap > Fraction(allowed[first]) + Fraction(allowed[second]):
            wrong += 1
        swaps += 1
        largest = max(largest, float(gap))
    return swaps, largest, wrong


tenths = st.integers(-30, 30).map(lambda number: number / 8)
rows = st.lists(st.tuples(tenths, tenths, st.integers(0, 12).map(lambda number: number / 16)), min_size=1, max_size=14)


@given(rows)
def test_every_pair_is_judged_as_a_judge_of_all_pairs_does(table: list[tuple[float, float, float]]) -> None:
    """Same days, swaps, largest gap and other orders as by looking at each pair, with many equal scores."""
    scores, expected, limits = (np.array(column) for column in zip(*table, strict=True))
    swaps, largest, wrong = every_pair(scores, expected, limits)
    found = one_day(scores, expected, limits)
    assert found.others == int(wrong > 0)
    assert found.same == int(swaps == 0)
    if not wrong:
        assert (found.swaps, found.largest_gap) == (swaps, largest)
    if found.example is not None:
        first, second = (int(name[1:]) for name in found.example.instruments)
        assert found.example.gap == expected[first] - expected[second] > limits[first] + limits[second]


bounds = st.sampled_from(
    [
        Bound(ulp=0, relative=None, absolute=None, text=""),
        Bound(ulp=4, relative=None, absolute=None, text=""),
        Bound(ulp=None, relative=1e-6, absolute=None, text=""),
        Bound(ulp=None, relative=2e-15, absolute=1e-14, text=""),
        Bound(ulp=2, relative=0.3, absolute=0.5, text=""),
    ]
)


@given(bounds, st.integers(0, 2**32 - 1), st.sampled_from([1e-300, 1e-9, 1.0, 3e5]))
def test_rows_within_the_bound_are_never_another_order(bound: Bound, seed: int, size: float) -> None:
    """Whatever rounding does at the edge of the bound: numbers that keep it keep the order but for near ties."""
    generator = np.random.default_rng(seed)
    expected = (1 + 1e-5 * generator.standard_normal(40)) * size * generator.choice([1.0, 1.0, 1.0, -1.0], 40)
    limit = allowed(bound, expected)
    moved = np.nextafter(expected + limit * generator.choice([-1.0, 1.0], 40), generator.choice([-np.inf, np.inf], 40))
    scores = np.where(outside(bound, moved, expected), expected, moved)
    assert one_day(scores, expected, limit).others == 0


@given(bounds, st.integers(0, 2**32 - 1))
def test_what_is_allowed_is_the_edge_of_the_bound(bound: Bound, seed: int) -> None:
    """A row that differs by a little less than is allowed is within the bound, by a little more on both sides outside."""
    expected = np.random.default_rng(seed).standard_normal(50)
    limit = allowed(bound, expected)
    for sign in (-1.0, 1.0):
        assert not outside(bound, expected + sign * limit * 0.49, expected).any()
        assert outside(bound, expected + sign * (limit * 1.01 + 1e-15), expected).all()


def test_what_is_allowed_of_missing_and_infinite_scores_is_nothing() -> None:
    """A relative part of infinity, or the last double before it, lets nothing pass."""
    wide = Bound(ulp=5, relative=0.5, absolute=1.0, text="")
    assert allowed(wide, np.array([np.nan, np.inf, -np.inf])).tolist() == [0.0, 0.0, 0.0]
    largest = np.finfo(np.float64).max
    assert np.isfinite(
        allowed(Bound(ulp=9, relative=None, absolute=None, text=""), np.array([largest, -largest]))
    ).all()


def test_a_near_tie_at_the_edge_of_the_best_is_no_other_order() -> None:
    """Two stocks at rank 2 and 3 change places: the first two are others, and the day is as good as before."""
    expected = [3.0, 2.0, 2.0 - 1e-7, 1.0]
    scores = [3.0, 2.0 - 2e-7, 2.0, 1.0]
    found = one_day(scores, expected, [3e-7] * 4, tops=(1, 2, 3))
    assert (found.days, found.same, found.others, found.swaps) == (1, 0, 0, 1)
    assert found.same_top == {1: 1, 2: 0, 3: 0}
    assert found.largest_gap == pytest.approx(1e-7)


def test_equal_scores_are_ordered_by_instrument() -> None:
    """The judge has two stocks equal and we do not: a change of places over no gap; the other way round is none."""
    assert one_day([1.0, 2.0], [1.0, 1.0], [0.0, 0.0]).swaps == 1
    assert one_day([2.0, 1.0], [1.0, 1.0], [0.0, 0.0]).same == 1


def test_bit_identical_models_have_one_order() -> None:
    """Where nothing is allowed the smallest change of places is another order, and it is named."""
    one = np.nextafter(1.0, 2.0)
    found = one_day([one, 1.0], [1.0, one], [0.0, 0.0])
    assert found.others == 1
    assert found.example is not None
    assert (found.example.date, found.example.instruments) == ("2024-01-02", ("S01", "S00"))
    assert str(found.example) == "S01 and S00 on 2024-01-02: 2.22e-16 apart, allowed 0"


def test_a_score_that_is_missing_on_one_side_is_another_order() -> None:
    """A missing score stands last; missing on both sides changes nothing."""
    assert one_day([2.0, np.nan, 1.0], [2.0, np.nan, 1.0], [0.5, 0.0, 0.5]).same == 1
    assert one_day([np.nan, 1.0], [2.0, 1.0], [0.1, 0.1]).others == 1
    assert one_day([2.0, 1.0], [np.nan, 1.0], [0.0, 0.1]).others == 1


def test_days_are_counted_apart_in_any_order_of_rows() -> None:
    """Rows of several dates, shuffled: each date is ordered alone."""
    dates = np.array(["2024-01-03", "2024-01-02", "2024-01-03", "2024-01-02", "2024-01-04"], "M8[D]")
    names = ["A", "A", "B", "B", "A"]
    expected, scores = np.array([2.0, 2.0, 1.0, 1.9, 5.0]), np.array([1.0, 1.9, 2.0, 2.0, 5.0])
    found = compare_order(dates, names, scores, expected, np.full(5, 0.06), tops=(1,))
    assert (found.days, found.same, found.swaps, found.others) == (3, 1, 1, 1)
    assert found.largest_gap == pytest.approx(0.1)
    assert found.example is not None
    assert found.example.date == "2024-01-03"


def test_many_stocks_take_no_look_at_every_pair() -> None:
    """A day of 200 000 stocks, nearly all in ties, is compared at once: by pairs it would be 2e10 of them."""
    generator = np.random.default_rng(7)
    expected = generator.standard_normal(200_000)
    scores = expected + 1e-4 * generator.standard_normal(len(expected))
    names = [f"S{row:06d}" for row in range(len(expected))]
    found = compare_order(np.full(len(names), DAY), names, scores, expected, np.abs(scores - expected))
    assert (found.others, found.same) == (0, 0)
    assert found.swaps > 100_000


def test_screen_and_difference_tell_near_ties_and_noise() -> None:
    """`show` says how many pairs, how far apart, and which features' noise; `diff` says that both are new."""
    plain = example_manifest()
    assert plain.parity.days is not None
    assert plain.order.replay is not None
    days = msgspec.structs.replace(plain.parity.days, same_order=38, swaps=3, largest_gap=2.5e-7)
    noise = ReplayNoise(rows=5, rounding=1, largest_difference=1.3e-8, features={"CORR5": 4, "CORD5": 2}, examples=[])
    changed = msgspec.structs.replace(
        plain,
        parity=msgspec.structs.replace(plain.parity, days=days),
        order=msgspec.structs.replace(plain.order, replay=msgspec.structs.replace(plain.order.replay, noise=noise)),
    )
    text = describe(changed, "0" * 64)
    assert "the same on 38 of 40 days; 3 pairs changed places within near ties, at most 2.5e-07 apart" in text
    assert (
        "5 of 2369 recorded predictions differ by up to 1.3e-08 for the noise of qlib's windows: CORR5 4, CORD5 2"
        in text
    )
    assert "near ties" not in describe(plain, "0" * 64)
    before, after = _facts(plain), _facts(changed)
    found = {what: (before[area, what], after[area, what]) for area, what in before if area == "parity"}
    assert found["pairs that changed places within near ties"] == (0, 3)
    assert found["recorded predictions that differ by noise"] == (0, 5)
