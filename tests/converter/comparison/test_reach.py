"""What noise of raw values does to a score: sums for linear models, leaves for trees, measured for the rest."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphaseal_converter.comparison.reach import reach
from alphaseal_converter.models.lightgbm import parse_model_text
from alphaseal_converter.models.trees import thresholds_by_feature
from alphaseal_converter.processors.fillna import Fillna
from alphaseal_converter.processors.normalisation import RobustZScoreNorm
from alphaseal_converter.processors.sequence import apply_processors

NONE = np.zeros(0)


@given(st.integers(0, 2**32 - 1))
def test_a_linear_model_reaches_the_sum_of_its_coefficients_times_the_noise(seed: int) -> None:
    """|coefficient × noise|, added over the features that have some."""
    generator = np.random.default_rng(seed)
    count = int(generator.integers(1, 40))
    weights, values = generator.standard_normal((2, count))
    apart = generator.choice([0.0, 1e-6, 1e-2], count)
    found = reach(lambda rows: rows @ weights, values, apart, [NONE] * count, ["float64"] * count)
    score, noise = values @ weights, np.abs(weights) @ apart
    assert (found.low, found.high) == (pytest.approx(score - noise, abs=1e-12), pytest.approx(score + noise, abs=1e-12))
    assert not found.missing
    assert np.allclose(found.alone, 2 * np.abs(weights) * apart)
    assert found.holds(score + noise, 1e-12)
    assert not found.holds(score + noise + 1e-6, 1e-12)


@pytest.fixture(scope="module")
def trees() -> tuple[Any, list[Any]]:
    """A LightGBM of four features that talk to each other, and its thresholds."""
    generator = np.random.default_rng(3)
    rows = generator.standard_normal((3000, 4)).astype(np.float32).astype(np.float64)
    target = rows[:, 0] * rows[:, 1] + np.abs(rows[:, 2]) - rows[:, 3] * (rows[:, 0] > 0)
    booster = lightgbm.train(
        {"num_leaves": 15, "verbosity": -1, "seed": 1, "num_threads": 1}, lightgbm.Dataset(rows, target), 12
    )
    return booster, thresholds_by_feature(parse_model_text(booster.model_to_string(), None))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), width=st.sampled_from([1e-7, 1e-3, 0.05]))
def test_trees_reach_every_leaf_within_the_noise_and_no_other(
    seed: int, width: float, trees: tuple[Any, list[Any]]
) -> None:
    """The ends are scores of rows within the noise, and no row within it has a score beyond them."""
    booster, borders = trees
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(4).astype(np.float32).astype(np.float64)
    # At a threshold, as the worst of values is.
    values[0] = np.float32(generator.choice(borders[0]))
    apart: Any = width * generator.integers(0, 2, 4)
    found = reach(booster.predict, values, apart, borders, ["float32"] * 4)
    rows = values + apart * generator.uniform(-1, 1, (4000, 4))
    scores = booster.predict(rows)
    assert found.low - 1e-12 <= scores.min()
    assert scores.max() <= found.high + 1e-12


def test_both_sides_of_one_threshold_are_reached_exactly(trees: tuple[Any, list[Any]]) -> None:
    """One value at a threshold: the two scores are those of the value and of the float above it, bit for bit."""
    booster, borders = trees
    threshold = np.float32(borders[1][len(borders[1]) // 2])
    values = np.array([0.3, float(threshold), 0.1, -0.2])
    beside = values.copy()
    beside[1] = float(np.nextafter(threshold, np.float32(np.inf)))
    below = values.copy()
    below[1] = float(np.nextafter(threshold, np.float32(-np.inf)))
    step = float(np.spacing(np.abs(threshold)))
    found = reach(booster.predict, values, np.array([0, step, 0, 0]), borders, ["float32"] * 4)
    scores = booster.predict(np.array([below, values, beside]))
    assert len(set(scores.tolist())) == 2
    assert (found.low, found.high) == (scores.min(), scores.max())
    assert found.alone.tolist() == [0.0, scores.max() - scores.min(), 0.0, 0.0]


def test_a_value_that_can_be_anything_ends_at_the_clip_limits() -> None:
    """Behind a clip at three deviations and a fill, nothing is infinite: the score is the coefficient times -3 to 3."""
    processors = (RobustZScoreNorm(("A", "B"), np.zeros(2), np.array([2.0, 2.0])), Fillna(0.0))
    weights = np.array([1.5, -1.0])

    def score(rows: Any) -> Any:
        return apply_processors(rows, processors) @ weights

    found = reach(score, np.array([1.0, 1.0]), np.array([np.inf, 0.0]), [NONE, NONE], ["float32"] * 2)
    assert (found.low, found.high) == (-4.5 - 0.5, 4.5 - 0.5)
    assert not found.missing


def test_a_value_of_which_nothing_is_known_may_be_missing() -> None:
    """Without a fill the score may be missing, too, and anything else: a missing recorded score is then explained."""

    def score(rows: Any) -> Any:
        return rows.sum(axis=1)

    unknown = reach(score, np.array([1.0, 2.0]), np.array([np.inf, 0.0]), [NONE, NONE], ["float32"] * 2)
    assert unknown.holds(np.nan, 0.0)
    assert unknown.holds(1e30, 0.0)
    known = reach(score, np.array([1.0, 2.0]), np.array([0.5, 0.0]), [NONE, NONE], ["float32"] * 2)
    assert not known.holds(np.nan, 0.0)
    absent = reach(score, np.array([np.nan, 2.0]), np.array([0.0, 0.5]), [NONE, NONE], ["float32"] * 2)
    assert absent.holds(np.nan, 0.0)
    assert not absent.holds(2.0, 1.0)


def test_many_values_of_a_curved_model_are_measured() -> None:
    """Sixty noisy values: the sum of what each does alone holds, and a sample of all together is inside or widens it."""
    generator = np.random.default_rng(4)
    weights, values = generator.standard_normal((2, 60))

    def score(rows: Any) -> Any:
        return np.tanh(rows @ weights / 8)

    found = reach(score, values, np.full(60, 1e-4), [NONE] * 60, ["float64"] * 60)
    corners = score(values + 1e-4 * generator.choice([-1.0, 1.0], (2000, 60)))
    assert found.low <= corners.min()
    assert corners.max() <= found.high
    assert found.high - found.low < 3e-3
