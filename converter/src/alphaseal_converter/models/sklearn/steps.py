"""scikit-learn's transformers and regressors as typed steps: what each computes, and which rows it accepts.

Formulas are those of ``transform`` and ``predict`` of scikit-learn 1.9; older versions differ in the last bit at most,
where a field that is missing says so.  scikit-learn refuses a whole table for one bad row; here every step says which
rows it would refuse, and those get no score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from alphaseal_converter.models.trees import FloatArray, IntArray, TreeEnsembleModel

Operation = Literal["Add", "Sub", "Mul", "Div"]
Activation = Literal["identity", "logistic", "tanh", "relu", "exp"]


@dataclass(frozen=True)
class Check:
    """Rows that the step takes: infinity never; NaN if `missing`; looked at after a cast to float32 if `single`."""

    missing: bool
    single: bool = False


@dataclass(frozen=True, eq=False)
class Elementwise:
    """Scalers: each operation with one number per column, in order, then a clip."""

    check: Check
    operations: tuple[tuple[Operation, FloatArray], ...]
    clip: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Impute:
    """SimpleImputer: columns `kept` with NaN replaced, then a column of 0.0 and 1.0 for each of `indicated`."""

    check: Check
    kept: IntArray
    values: FloatArray
    """[kept]"""
    indicated: IntArray


@dataclass(frozen=True, eq=False)
class Quantile:
    """QuantileTransformer: the mean of two interpolations, forward and backward; `normal` puts the normal quantile behind."""

    check: Check
    quantiles: FloatArray
    """[quantiles, columns], not falling along the first axis"""
    references: FloatArray
    """[quantiles]"""
    normal: bool


@dataclass(frozen=True, eq=False)
class Project:
    """PCA: ``x @ components - offset``, or ``(x - before) @ components``, then ``/ divisor``."""

    check: Check
    before: FloatArray | None
    components: FloatArray
    """[columns, components]"""
    offset: FloatArray | None
    divisor: FloatArray | None


@dataclass(frozen=True, eq=False)
class Polynomial:
    """PolynomialFeatures: one output per tuple of columns, their product taken from the right; () is 1.0."""

    check: Check
    products: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Select:
    """Some columns, in the order given."""

    columns: IntArray


@dataclass(frozen=True, eq=False)
class Branches:
    """ColumnTransformer and FeatureUnion: each chain on its own columns, the results side by side."""

    check: Check | None
    branches: tuple[tuple[IntArray, tuple[Step, ...]], ...]


@dataclass(frozen=True, eq=False)
class Linear:
    """``x @ coefficients + intercept``, and exp of it where `exponential`."""

    check: Check | None
    coefficients: FloatArray
    """[columns]"""
    intercept: float
    exponential: bool = False


@dataclass(frozen=True, eq=False)
class Network:
    """MLPRegressor: ``activation(x @ weights + bias)`` per layer, `output` on the last."""

    check: Check
    weights: tuple[FloatArray, ...]
    """[inputs, outputs] each"""
    biases: tuple[FloatArray, ...]
    activation: Activation
    output: Activation


@dataclass(frozen=True, eq=False)
class Trees:
    """A tree ensemble; where the check is `single` it compares the row cast to float32 with double thresholds."""

    check: Check | None
    model: TreeEnsembleModel


@dataclass(frozen=True, eq=False)
class Mean:
    """VotingRegressor and BaggingRegressor: chains on their own columns, summed in order, divided by `divisor`.

    With `weights` each prediction is multiplied first.
    """

    check: Check | None
    members: tuple[tuple[IntArray | None, tuple[Step, ...]], ...]
    weights: tuple[float, ...] | None
    divisor: float


@dataclass(frozen=True, eq=False)
class Stack:
    """StackingRegressor: the members' predictions side by side, the rows behind them if `passthrough`, then `final`."""

    members: tuple[tuple[Step, ...], ...]
    passthrough: bool
    final: tuple[Step, ...]


Step = (
    Elementwise | Impute | Quantile | Project | Polynomial | Select | Branches | Linear | Network | Trees | Mean | Stack
)
Chain = tuple[Step, ...]


def walk(chain: Sequence[Step]) -> list[Step]:
    """All steps, those inside others too, in the order in which they compute."""
    found: list[Step] = []
    for step in chain:
        for inner in _inner(step):
            found.extend(walk(inner))
        found.append(step)
    return found


def _inner(step: Step) -> tuple[Chain, ...]:
    if isinstance(step, Branches):
        return tuple(chain for _, chain in step.branches)
    if isinstance(step, Mean):
        return tuple(chain for _, chain in step.members)
    if isinstance(step, Stack):
        return (*step.members, step.final)
    return ()


def last_bits(chain: Sequence[Step]) -> bool:
    """Whether the chain holds arithmetic whose last bits depend on the library that adds or takes the logarithm."""
    for step in walk(chain):
        if isinstance(step, Linear | Network | Project | Mean | Stack):
            return True
        if isinstance(step, Quantile) and step.normal:
            return True
    return False


def magnitude(chain: Sequence[Step], inputs: float) -> float:
    """The largest sum of absolute products that the last step can meet, for inputs of absolute value up to `inputs`.

    Rounding errors of a sum are fractions of this, not of the sum.
    """
    level: FloatArray | float = inputs
    for step in chain:
        level = _level(step, level)
    return float(np.max(level))


def _level(step: Step, level: FloatArray | float) -> FloatArray | float:
    highest = float(np.max(level))
    if isinstance(step, Elementwise | Impute | Select):
        # Behind a scaler the inputs are of the size that they are in front of a model without one.
        return highest
    if isinstance(step, Quantile):
        return 5.2
    if isinstance(step, Project):
        result: FloatArray = highest * np.abs(step.components).sum(axis=0)
        if step.offset is not None:
            result = result + np.abs(step.offset)
        return result if step.divisor is None else result / step.divisor
    if isinstance(step, Polynomial):
        return max(highest, 1.0) ** max(len(product) for product in step.products)
    if isinstance(step, Branches):
        return max(magnitude(chain, highest) for _, chain in step.branches)
    if isinstance(step, Linear):
        return _linear_level(step, level)
    if isinstance(step, Network):
        return _network_level(step, level)
    if isinstance(step, Trees):
        return float(sum(np.abs(tree.leaf_value).max() for tree in step.model.trees))
    if isinstance(step, Mean):
        return max(magnitude(chain, highest) for _, chain in step.members) * _mean_factor(step)
    return magnitude(step.final, max(*(magnitude(chain, highest) for chain in step.members), highest))


def _mean_factor(step: Mean) -> float:
    return max(1.0, sum(abs(weight) for weight in step.weights) / abs(step.divisor)) if step.weights else 1.0


def _linear_level(step: Linear, level: FloatArray | float) -> float:
    total = float(np.sum(np.abs(step.coefficients) * level)) + abs(step.intercept)
    return float(np.exp(min(total, 700.0))) if step.exponential else total


def _network_level(step: Network, level: FloatArray | float) -> FloatArray | float:
    for weights, bias in zip(step.weights, step.biases, strict=True):
        level = np.abs(weights).T @ (np.zeros(len(weights)) + level) + np.abs(bias)
        if step.activation in ("tanh", "logistic") and bias is not step.biases[-1]:
            level = np.minimum(level, 1.0)
    return level


def scaled_space(scalers: Sequence[Step]) -> tuple[FloatArray, FloatArray]:
    """(shift, scale) with ``input = value * scale + shift`` for scalers in a row."""
    shift, scale = np.zeros(1), np.ones(1)
    for step in scalers:
        for operation, operand in step.operations if isinstance(step, Elementwise) else ():
            if operation == "Sub":
                shift = shift + operand * scale
            elif operation == "Add":
                shift = shift - operand * scale
            elif operation == "Div":
                scale = scale * operand
            else:
                with np.errstate(divide="ignore"):
                    scale = scale / operand
    return shift, scale
