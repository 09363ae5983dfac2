"""The rounding of a row's own sums: what it explains, what it does not, and where the proof uses it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from alphaseal.format.manifest import Bound
from alphaseal.scoring.numeric import outside
from alphaseal_converter.comparison.parity import Probe, compare, unexplained, widened
from alphaseal_converter.evidence.golden import golden_probe
from alphaseal_converter.families.linear import rounding_bound
from alphaseal_converter.models.sklearn.rounding import row_rounding
from alphaseal_converter.models.sklearn.steps import (
    Branches,
    Check,
    Elementwise,
    Impute,
    Linear,
    Mean,
    Network,
    Polynomial,
    Project,
    Quantile,
    Select,
    Stack,
    Trees,
)
from alphaseal_converter.models.sklearn.trees import constant_tree
from alphaseal_converter.models.trees import OutputTransform, TransformKind, TreeEnsembleModel

FINITE = Check(missing=False)
GENERATOR = np.random.default_rng(11)
FAR = np.array([0.0, 1e6, 1e6 + 2.0, 1e6 - 1.0])
"""A column around a million, and the 0.0 that a probe puts there."""
SCALER = Elementwise(FINITE, (("Sub", np.full(4, 1e6)), ("Div", np.full(4, 1.25))))
WEIGHTS = np.array([0.1, 0.7, -0.9, 0.2])


def network(features: int, activation: Any) -> Network:
    """Two hidden layers."""
    sizes = [features, 7, 5, 1]
    weights = tuple(GENERATOR.normal(size=pair) for pair in itertools.pairwise(sizes))
    return Network(FINITE, weights, tuple(GENERATOR.normal(size=size) for size in sizes[1:]), activation, "identity")


def summed(values: Any, weights: Any, order: Any, dtype: type[np.floating[Any]]) -> Any:
    """[rows, outputs] the products added one after the other in `order`, in `dtype`."""
    total = np.zeros((len(values), weights.shape[1]), dtype=dtype)
    for position in order:
        total = total + values[:, position : position + 1].astype(dtype) * weights[position].astype(dtype)
    return total


def computed(network: Network, values: Any, order: Any, dtype: type[np.floating[Any]] = np.float64) -> Any:
    """The network's scores, float64 [rows], with the sums of every layer in the order that `order` gives for a length."""
    values = values.astype(dtype)
    bend: dict[str, Callable[[Any], Any]] = {
        "relu": lambda x: np.maximum(x, 0),
        "tanh": np.tanh,
        "logistic": lambda x: 1 / (1 + np.exp(-np.clip(x, -80, 80))),
    }
    for layer, (weights, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        values = summed(values, weights, order(len(weights)), dtype) + bias.astype(dtype)
        if layer < len(network.weights) - 1:
            values = bend[network.activation](values)
    return values[:, 0].astype(np.float64)


def forward(length: int) -> Any:
    return range(length)


def backward(length: int) -> Any:
    return range(length)[::-1]


def cancelling_rows() -> Any:
    """Rows of four columns around a million, of which some hold 0.0, so that large terms cancel behind a scaler."""
    rows = GENERATOR.normal(size=(400, 4)) + 1e6
    rows[:, 1:][GENERATOR.random((400, 3)) < 0.5] = 0.0
    return rows


def test_a_row_whose_terms_cancel_is_explained_by_its_own_rounding_alone() -> None:
    """Two orders of addition are apart by more than the bound for usual rows, and within the row's own rounding."""
    step, rows = Linear(FINITE, WEIGHTS, 0.5), cancelling_rows()
    scaled = (rows - 1e6) / 1.25
    ours, theirs = (summed(scaled, WEIGHTS[:, None], order(4), np.float64)[:, 0] + 0.5 for order in (forward, backward))
    chain = (SCALER, step)
    bound, rounding = rounding_bound(chain, 4, single=False), row_rounding(chain, rows, single=False)
    assert outside(bound, ours, theirs).any()
    assert not unexplained(bound, ours, theirs, rounding).any()
    assert compare("zeros", "judge", ours, theirs, bound).outside > 0
    assert compare("zeros", "judge", ours, theirs, bound, rounding).outside == 0


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_it_bounds_networks_of_any_order_of_addition(activation: str, dtype: type[np.floating[Any]]) -> None:
    """Usual rows and rows a million deviations away, in both types."""
    model, single = network(6, activation), dtype is np.float32
    rows = GENERATOR.normal(size=(600, 6)) * np.where(GENERATOR.random((600, 6)) < 0.1, 1e6, 1.0)
    rows = rows.astype(dtype).astype(np.float64)
    apart = np.abs(computed(model, rows, forward, dtype) - computed(model, rows, backward, dtype))
    rounding = row_rounding((model,), rows, single)
    assert (apart > 0).any()
    assert (apart <= rounding).all()


def test_it_does_not_explain_another_weight() -> None:
    """A weight that is off by 1e-11 is found among usual rows, whatever is allowed to rows far away."""
    model = network(6, "relu")
    weights = (model.weights[0] * (1 + 1e-11), *model.weights[1:])
    wrong = Network(FINITE, weights, model.biases, "relu", "identity")
    rows = GENERATOR.normal(size=(300, 6))
    apart = np.abs(computed(model, rows, forward) - computed(wrong, rows, forward))
    assert (apart > row_rounding((model,), rows, single=False)).mean() > 0.5


def test_rows_without_a_finite_score_are_allowed_nothing() -> None:
    """Missing, infinite and overflowing values explain no difference."""
    rows = np.ones((4, 4))
    rows[0, 0], rows[1, 1], rows[2, 2] = np.nan, np.inf, 1e308
    rounding = row_rounding((Linear(FINITE, np.full(4, 10.0), 0.0),), rows, single=False)
    assert (rounding[:3] == 0).all()
    assert rounding[3] > 0


def test_exact_steps_are_exact() -> None:
    """Scalers, imputers, selections and trees on exact inputs compute alike on both sides."""
    trees = Trees(FINITE, TreeEnsembleModel(2, (constant_tree(3.0),)))
    imputer = Impute(FINITE, np.arange(4), np.zeros(4), np.array([1]))
    chain = (SCALER, imputer, Select(np.array([0, 2])), Polynomial(FINITE, ((), (0,), (0, 1))), trees)
    assert (row_rounding(chain, FAR[None, :], single=False) == 0).all()


def test_it_goes_through_every_kind_of_step() -> None:
    """Chains of all steps: more than nothing, and in double far less than the score."""
    exponential = TreeEnsembleModel(4, (constant_tree(0.5),), transform=OutputTransform(TransformKind.EXP))
    plain = TreeEnsembleModel(4, (constant_tree(2.0), constant_tree(1.0)), average=True)
    levels = np.linspace(0, 1, 5)
    grid = np.repeat(np.linspace(-2, 2, 5)[:, None], 4, axis=1)
    project = Project(FINITE, np.ones(4), GENERATOR.normal(size=(4, 3)), None, np.full(3, 2.0))
    offset = Project(FINITE, None, GENERATOR.normal(size=(4, 2)), np.ones(2), None)
    branches = Branches(None, ((np.array([0, 1]), ()), (np.arange(4), (offset,))))
    last = Linear(None, np.array([1.0, -2.0, 0.5]), 0.25)
    chains: dict[str, tuple[Any, ...]] = {
        "project, scaler": (
            project,
            Elementwise(FINITE, (("Mul", np.full(3, -2.0)), ("Add", np.ones(3))), (-9, 9)),
            last,
        ),
        "branches": (branches, Linear(None, np.ones(4), 0.0, exponential=True)),
        "polynomial of sums": (project, Polynomial(FINITE, ((), (0, 1), (2,))), last),
        "normal quantiles": (Quantile(FINITE, grid, levels, normal=True), Linear(None, np.ones(4), 0.0)),
        "mean": (
            Mean(
                None, ((None, (Trees(FINITE, exponential),)), (np.arange(4), (Trees(FINITE, plain),))), (2.0, 1.0), 3.0
            ),
        ),
        "stack": (Stack(((Trees(FINITE, plain),), (network(4, "tanh"),)), True, (Linear(None, np.ones(6), 0.0),)),),
    }
    rows = GENERATOR.normal(size=(50, 4))
    for name, chain in chains.items():
        rounding = row_rounding(chain, rows, single=False)
        assert (rounding > 0).all(), name
        assert (rounding < 1e-11).all(), name


def test_inexact_inputs_of_a_quantile_allow_nothing() -> None:
    """The slope between two quantiles is not bounded, so nothing is said."""
    grid = np.repeat(np.linspace(-2, 2, 5)[:, None], 3, axis=1)
    project = Project(FINITE, None, GENERATOR.normal(size=(4, 3)), None, None)
    chain = (project, Quantile(FINITE, grid, np.linspace(0, 1, 5), normal=False), Linear(None, np.ones(3), 0.0))
    assert (row_rounding(chain, GENERATOR.normal(size=(5, 4)), single=False) == 0).all()


def test_the_manifest_states_one_bound_for_all_golden_rows() -> None:
    """It is as wide as real rows need, and rows made up that need more are not golden."""
    bound = Bound(ulp=None, relative=2e-15, absolute=1e-12, text="rounding")
    assert widened(bound, np.array([1e-13, 0.0])) == bound
    assert widened(bound, np.array([1e-13, 1e-10])).absolute == 1e-10
    exact = Bound(ulp=0, relative=None, absolute=None, text="bit-identical")
    assert widened(exact, np.zeros(3)) == exact
    values = np.arange(12.0).reshape(6, 2)
    chosen = golden_probe(Probe("odd", values), np.arange(6.0), np.array([1, 0, 1, 1, 0, 1], dtype=np.bool_))
    assert chosen.scores is not None
    assert chosen.scores.tolist() == [0, 2, 3, 5]
    assert len(golden_probe(Probe("odd", values), np.arange(6.0), np.zeros(6, dtype=np.bool_)).values) == 0
