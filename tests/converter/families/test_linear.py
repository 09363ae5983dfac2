"""qlib's LinearModel: the graph against the one line of numpy that qlib computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alphaseal.scoring.numeric import outside
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families import linear, read_trained_model
from alphaseal_converter.families.base import TrainedModel
from alphaseal_converter.models.sklearn.steps import Linear
from estimators import largest_relative, leftover, same_order_every_day, scores_of
from locations import FIXTURES
from stand_ins import stand_in


def trained_model(coefficients: Any, intercept: Any, estimator: str = "ols") -> TrainedModel:
    """A LinearModel with these fitted numbers, as a weights file holds it."""
    state = {"estimator": estimator, "coef_": coefficients, "intercept_": intercept}
    return read_trained_model(stand_in("qlib.contrib.model.linear", "LinearModel", state), "weights")


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="needs the research leftovers")
@pytest.mark.parametrize("case", ["linear_ols", "linear_ridge"])
def test_recorded_predictions(case: str) -> None:
    """qlib's own scores within 2.1e-15 of their size, every day in the same order, each within the stated bound."""
    run = leftover(FIXTURES / "direct" / case)
    model = read_trained_model(run.weights, case)
    scores = scores_of(model, run.rows, run.processors)
    assert largest_relative(scores, run.scores) <= 2.1e-15
    assert same_order_every_day(run.dates, scores, run.scores)
    assert not outside(model.bound, scores, run.scores).any()
    judge = model.judge(run.processors)
    assert judge is not None
    # numpy's product rounds in the order of the processor's own kernel: the recorded scores came from another processor.
    assert largest_relative(judge.predict(run.rows), run.scores) <= 2.1e-15


@pytest.mark.parametrize("features", [1, 7, 24, 158, 300])
def test_double_within_the_bound(features: int) -> None:
    """Normalised rows of any width stay within the bound, for any batch."""
    generator = np.random.default_rng(features)
    model = trained_model(generator.normal(size=features), 0.25)
    rows = generator.normal(size=(2500, features))
    judge = model.judge(())
    assert judge is not None
    scores, expected = scores_of(model, rows), judge.predict(rows)
    assert not outside(model.bound, scores, expected).any()
    assert largest_relative(scores, expected) <= 2e-15 * max(1.0, features / 24)


def test_large_offsets_stay_double() -> None:
    """Inputs near 1e9 lose nothing to float32."""
    generator = np.random.default_rng(1)
    rows = 1e9 + generator.normal(size=(500, 4))
    model = trained_model(np.array([1.0, -1.0, 0.5, -0.5]), 0.0)
    expected = rows[:, 0] - rows[:, 1] + (rows[:, 2] - rows[:, 3]) / 2
    assert np.abs(scores_of(model, rows) - expected).max() < 1e-6


def test_missing_and_infinite_values_pass_as_in_numpy() -> None:
    """NaN gives NaN, infinity gives infinity or NaN, a coefficient of zero saves neither."""
    model = trained_model(np.array([0.0, 2.0, -1.0]), 1.0, "lasso")
    rows = np.array([[np.nan, 1, 1], [np.inf, 1, 1], [1, np.inf, 1], [1, np.inf, np.inf], [1, 1, -np.inf], [1.0, 2, 3]])
    np.testing.assert_array_equal(scores_of(model, rows), [np.nan, np.nan, np.inf, np.nan, np.inf, 2.0])


def test_a_table_of_float32_is_computed_in_float32() -> None:
    """Coefficients of float32 say so; the scores are float32 values near numpy's."""
    generator = np.random.default_rng(2)
    model = trained_model(generator.normal(size=20).astype(np.float32), np.float32(0.1), "ridge")
    rows = generator.normal(size=(1000, 20)).astype(np.float32).astype(np.float64)
    judge = model.judge(())
    assert judge is not None
    scores = scores_of(model, rows)
    np.testing.assert_array_equal(scores, scores.astype(np.float32))
    assert not outside(model.bound, scores, judge.predict(rows)).any()


@pytest.mark.parametrize(
    ("coefficients", "intercept", "code"),
    [
        (None, 0.0, "model.untrained"),
        (np.array([1.0, np.nan]), 0.0, "model.malformed"),
        (np.ones((2, 2)), 0.0, "model.malformed"),
        (np.ones(2), np.inf, "model.malformed"),
        (np.array(["a"]), 0.0, "model.malformed"),
    ],
)
def test_refusals(coefficients: Any, intercept: Any, code: str) -> None:
    """What is no row of finite numbers is refused."""
    with pytest.raises(RefusalError) as caught:
        trained_model(coefficients, intercept)
    assert caught.value.code == code


def test_the_bound_grows_with_terms_and_coefficients() -> None:
    """The absolute part is the rounding of the sum's terms."""
    small, large = (
        linear.rounding_bound((Linear(None, np.ones(n), 0.0),), n, single=False).absolute for n in (10, 100)
    )
    assert small is not None
    assert large is not None
    assert 50 < large / small < 100
