"""How far two computations of one row may lie apart: a running error analysis of a chain, with the row's own values.

Two libraries add the products of a sum in different orders, fused or not.  Each result is within ``gamma(n) * sum |x||w|``
of the exact one (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1), so the two are within
twice that; what the inputs of a step are apart is carried through it.  Where a tree looks at such inputs, both sides are
taken to reach the same leaf: another leaf is never explained by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.models.sklearn.steps import (
    Activation,
    Branches,
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
    Step,
    Trees,
)
from alphaseal_converter.models.trees import FloatArray, TransformKind

_ROWS = 256
"""Rows at once, which keeps wide intermediate results small."""
_FUNCTION_ULPS = 8.0
"""Of two mathematical libraries' exp, log and tanh together, in units of the rounding."""
_LARGEST_NORMAL_QUANTILE = 5.2
_LARGEST_EXPONENT = 700.0


@dataclass(frozen=True, eq=False)
class _Values:
    """[rows, columns] `size`: the values, or where not `signed` what their absolute values do not exceed; and how far
    `apart` two computations of them may be."""

    size: FloatArray
    apart: FloatArray
    signed: bool = True


def row_rounding(chain: Sequence[Step], rows: NDArray[np.float64], single: bool) -> NDArray[np.float64]:
    """float64 [rows]: the largest difference of two scores of each row [rows, columns] that rounding alone explains.

    `single` for a library that computes in float32.  0.0 where nothing can be said: values that are missing, infinite
    or too large, and steps whose slope is not bounded.
    """
    analysis = _Analysis(2.0**-24 if single else 2.0**-53)
    found = np.zeros(len(rows))
    with np.errstate(all="ignore"):
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            part = part.astype(np.float32).astype(np.float64) if single else part
            apart = analysis.steps(chain, _Values(part, np.zeros(part.shape))).apart[:, 0]
            found[start : start + _ROWS] = np.where(np.isfinite(apart), apart, 0.0)
    return found


class _Analysis:
    """Carries values and distances through steps; `unit` is the rounding of one operation."""

    def __init__(self, unit: float) -> None:
        self._unit = unit

    def steps(self, chain: Sequence[Step], values: _Values) -> _Values:
        for step in chain:
            values = self._step(step, values)
        return values

    def _step(self, step: Step, values: _Values) -> _Values:
        if isinstance(step, Elementwise):
            return self._elementwise(step, values)
        if isinstance(step, Impute):
            return _imputed(step, values)
        if isinstance(step, Select):
            return _Values(values.size[:, step.columns], values.apart[:, step.columns], values.signed)
        if isinstance(step, Quantile):
            return self._quantile(step, values)
        if isinstance(step, Polynomial):
            return self._polynomial(step, values)
        if isinstance(step, Project):
            return self._project(step, values)
        if isinstance(step, Linear):
            return self._linear(step, values)
        if isinstance(step, Network):
            return self._network(step, values)
        if isinstance(step, Trees):
            return self._trees(step, values)
        if isinstance(step, Mean):
            return self._mean(step, values)
        if isinstance(step, Stack):
            members = [self.steps(chain, values) for chain in step.members]
            return self.steps(step.final, _beside([*members, values] if step.passthrough else members))
        return _beside([self.steps(chain, _columns(values, chosen)) for chosen, chain in _branches(step)])

    def _rounded(self, size: FloatArray, apart: FloatArray, signed: bool) -> _Values:
        """The result of one operation that both sides compute alike: alike to the last bit where its inputs are."""
        return _Values(size, np.where(apart > 0, apart + 2 * self._unit * (np.abs(size) + apart), 0.0), signed)

    def _elementwise(self, step: Elementwise, values: _Values) -> _Values:
        for operation, operand in step.operations:
            size, apart = values.size, values.apart
            if operation in ("Sub", "Add"):
                shift = operand if operation == "Add" else -operand
                size = size + shift if values.signed else np.abs(size) + np.abs(shift)
            else:
                factor = operand if operation == "Mul" else 1 / operand
                apart = apart * np.abs(factor)
                size = size * (factor if values.signed else np.abs(factor))
            values = self._rounded(size, apart, values.signed)
        if step.clip is None or not values.signed:
            return values
        return _Values(np.clip(values.size, *step.clip), values.apart)

    def _quantile(self, step: Quantile, values: _Values) -> _Values:
        known = np.where(values.apart > 0, np.inf, 0.0)
        ones = np.where(np.isfinite(values.size), 1.0, np.nan)
        if not step.normal:
            return _Values(ones, known, signed=False)
        pairs = zip(values.size.T, step.quantiles.T, strict=True)
        share = np.column_stack([np.interp(column, points, step.references) for column, points in pairs])
        # A normal tail beyond z holds at most exp(-z * z / 2) / 2.
        size = np.sqrt(-2 * np.log(2 * np.minimum(share, 1 - share)))
        size = np.minimum(size, _LARGEST_NORMAL_QUANTILE) * ones
        return _Values(size, known + _FUNCTION_ULPS * self._unit * size, signed=False)

    def _polynomial(self, step: Polynomial, values: _Values) -> _Values:
        size = np.ones((len(values.size), len(step.products)))
        largest = size.copy()
        lengths = np.array([len(product) for product in step.products])
        for length in np.unique(lengths[lengths > 0]):
            places = np.flatnonzero(lengths == length)
            columns = np.array([step.products[place] for place in places])
            size[:, places] = values.size[:, columns].prod(axis=2)
            largest[:, places] = (np.abs(values.size) + values.apart)[:, columns].prod(axis=2)
        count = int(lengths.max(initial=0))
        apart = np.maximum(largest - np.abs(size), 0.0)
        inexact = (values.apart > 0).any(axis=1, keepdims=True)
        return _Values(size, np.where(inexact, apart + 2 * count * self._unit * largest, 0.0), values.signed)

    def _product(self, values: _Values, weights: FloatArray, bias: FloatArray | float) -> _Values:
        """``values @ weights + bias`` in any order; a bias of the other sign is no smaller a term."""
        strength = np.abs(weights)
        terms = (np.abs(values.size) + values.apart) @ strength + np.abs(bias)
        operations = (len(weights) + 3) * self._unit
        apart = values.apart @ strength + 2 * operations / (1 - operations) * terms
        return _Values(values.size @ weights + bias if values.signed else terms, apart, values.signed)

    def _project(self, step: Project, values: _Values) -> _Values:
        if step.before is not None:
            values = self._elementwise(Elementwise(step.check, (("Sub", step.before),)), values)
        values = self._product(values, step.components, 0.0 if step.offset is None else -step.offset)
        if step.divisor is None:
            return values
        return self._elementwise(Elementwise(step.check, (("Div", step.divisor),)), values)

    def _linear(self, step: Linear, values: _Values) -> _Values:
        total = self._product(values, step.coefficients.reshape(-1, 1), step.intercept)
        return self._activated("exp", total) if step.exponential else total

    def _network(self, step: Network, values: _Values) -> _Values:
        last = len(step.weights) - 1
        for layer, (weights, bias) in enumerate(zip(step.weights, step.biases, strict=True)):
            values = self._product(values, weights, bias)
            values = self._activated(step.output if layer == last else step.activation, values)
        return values

    def _activated(self, activation: Activation, values: _Values) -> _Values:
        size, apart, rounding = values.size, values.apart, _FUNCTION_ULPS * self._unit
        if activation == "identity":
            return values
        if activation == "relu":
            return _Values(np.maximum(size, 0.0) if values.signed else size, apart, values.signed)
        if activation == "exp":
            power = np.exp(np.minimum(size, _LARGEST_EXPONENT))
            return _Values(power, power * (np.expm1(apart) + rounding * np.exp(apart)), values.signed)
        if activation == "tanh":
            bent = np.tanh(size)
            return _Values(bent, apart + rounding * np.abs(bent), values.signed)
        share = 1 / (1 + np.exp(-size))
        return _Values(share, apart / 4 + rounding * share, values.signed)

    def _trees(self, step: Trees, values: _Values) -> _Values:
        model = step.model
        largest = sum(float(np.abs(tree.leaf_value).max()) for tree in model.trees)
        if any(tree.linear is not None for tree in model.trees):
            largest = np.inf
        elif model.average:
            largest /= len(model.trees)
        shape = (len(values.size), 1)
        if model.transform.kind in (TransformKind.IDENTITY, TransformKind.SIGNED_SQUARE):
            largest = largest if model.transform.kind is TransformKind.IDENTITY else largest**2
            return _Values(np.full(shape, largest), np.zeros(shape), signed=False)
        largest = np.exp(min(largest, _LARGEST_EXPONENT)) if model.transform.kind is TransformKind.EXP else largest + 1
        return _Values(np.full(shape, largest), np.full(shape, _FUNCTION_ULPS * self._unit * largest), signed=False)

    def _mean(self, step: Mean, values: _Values) -> _Values:
        members = _beside([self.steps(chain, _columns(values, chosen)) for chosen, chain in step.members])
        weights = np.ones(len(step.members)) if step.weights is None else np.array(step.weights)
        total = self._product(_Values(np.abs(members.size), members.apart, signed=False), weights.reshape(-1, 1), 0.0)
        return _Values(total.size / abs(step.divisor), total.apart / abs(step.divisor), signed=False)


def _imputed(step: Impute, values: _Values) -> _Values:
    missing = np.isnan(values.size)
    size = np.where(missing[:, step.kept], step.values, values.size[:, step.kept])
    apart = np.where(missing[:, step.kept], 0.0, values.apart[:, step.kept])
    flags = missing[:, step.indicated].astype(np.float64)
    return _Values(np.hstack([size, flags]), np.hstack([apart, np.zeros(flags.shape)]), values.signed)


def _branches(step: Branches) -> Sequence[tuple[NDArray[np.int64], Sequence[Step]]]:
    return [(chosen, chain) for chosen, chain in step.branches if len(chosen)]


def _columns(values: _Values, chosen: NDArray[np.int64] | None) -> _Values:
    return values if chosen is None else _Values(values.size[:, chosen], values.apart[:, chosen], values.signed)


def _beside(parts: Sequence[_Values]) -> _Values:
    size, apart = np.hstack([part.size for part in parts]), np.hstack([part.apart for part in parts])
    return _Values(size, apart, all(part.signed for part in parts))
