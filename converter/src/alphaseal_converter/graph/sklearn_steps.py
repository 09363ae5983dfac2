"""Typed steps of scikit-learn as ONNX nodes, all in double, each operation in the library's order.

A row that scikit-learn would refuse (infinity, or NaN where a step takes none) gets NaN as its score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import TensorProto

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.graph.trees.catboost import add_oblivious_sum
from alphaseal_converter.graph.trees.search_tree import search_tree
from alphaseal_converter.graph.trees.shallow_trees import as_oblivious
from alphaseal_converter.graph.trees.tree_ensemble import (
    add_score,
    add_single_tree_ensemble,
    add_tree_ensemble,
    add_tree_outputs,
)
from alphaseal_converter.models.sklearn.steps import (
    Activation,
    Branches,
    Chain,
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
    Step,
    Trees,
)
from alphaseal_converter.models.trees import FloatArray, IntArray, TreeEnsembleModel
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.nodes.normal_quantile import add_normal_quantile, add_steady
from alphaseal_converter.processors.processor import RowProcessor
from alphaseal_converter.processors.sequence import add_processors

_BOUND = 1e-7
"""scikit-learn's BOUNDS_THRESHOLD of QuantileTransformer."""


def add_chain(builder: GraphBuilder, chain: Sequence[Step], features: str, columns: int, single: bool = False) -> str:
    """Adds nodes from `features` (double [rows, columns]) to the score (double [rows, 1]); returns its name.

    With `single` every intermediate result is rounded to float32, as numpy does for a table of float32.
    """
    graph = _Chain(builder, single)
    score, width = graph.steps(tuple(chain), features, columns)
    if width != 1:
        raise RefusalError(
            "model.multi_output", "the chain gives several outputs per row", expected="1", found=str(width)
        )
    for taint in graph.taints:
        score = builder.add("Add", score, taint)
    return score


def build_chain_graph(
    processors: Sequence[RowProcessor], chain: Sequence[Step], n_features: int, single: bool = False
) -> bytes:
    """A serialised ONNX model: `features` double [rows, n_features] to `score` double [rows, 1]."""
    builder = GraphBuilder()
    score = add_chain(builder, chain, add_processors(builder, processors, "features"), n_features, single)
    return builder.model(n_features, score)


def add_check(builder: GraphBuilder, check: Check, values: str, columns: int) -> str:
    """[rows, columns] (float32 where `check` is single) -> double [rows, 1]: 0.0 for rows that `check` accepts, else NaN."""
    if check.missing:
        flags = builder.cast(builder.add("IsInf", values), TensorProto.FLOAT)
        any_ = builder.add("ReduceMax", flags, builder.constant([1]), keepdims=1)
        refused = builder.cast(any_, TensorProto.BOOL)
        return builder.add("Where", refused, builder.scalar(np.nan), builder.scalar(0.0))
    # Zero times a number is zero, and times infinity or NaN it is NaN; so is the sum of a row.
    zeros = builder.constant(np.zeros((columns, 1), dtype=np.float32 if check.single else np.float64))
    taint = builder.add("MatMul", values, zeros)
    return builder.cast(taint, TensorProto.DOUBLE) if check.single else taint


def _checked_again(step: Step, following: Step | None) -> bool:
    """Whether every row that the scaler `step` refuses is refused by the next step too: infinity stays infinity or is NaN."""
    later: Check | None = getattr(following, "check", None)
    return (
        later is not None
        and isinstance(step, Elementwise)
        and step.clip is None
        and (step.check.missing or not later.missing)
        and not step.check.single
        and all(np.isfinite(operand).all() for _, operand in step.operations)
        and all(operand.all() for operation, operand in step.operations if operation in ("Mul", "Div"))
    )


class _Chain:
    """Adds steps; `taints` are [rows, 1], 0.0 for rows that are accepted and NaN for the others."""

    def __init__(self, builder: GraphBuilder, single: bool) -> None:
        self.taints: list[str] = []
        self._singles: dict[str, str] = {}
        self._builder = builder
        self._single = single

    def steps(self, chain: Chain, values: str, columns: int) -> tuple[str, int]:
        for position, step in enumerate(chain):
            following = chain[position + 1] if position + 1 < len(chain) else None
            if not _checked_again(step, following):
                self._check(step, values, columns)
            values, columns = self._step(step, values, columns)
        return values, columns

    def _check(self, step: Step, values: str, columns: int) -> None:
        check: Check | None = getattr(step, "check", None)
        if check is not None:
            looked_at = self._single_of(values) if check.single else values
            self.taints.append(add_check(self._builder, check, looked_at, columns))

    def _single_of(self, values: str) -> str:
        """`values` as float32; a second asking gets the same node."""
        if values not in self._singles:
            self._singles[values] = self._builder.cast(values, TensorProto.FLOAT)
        return self._singles[values]

    def _rounded(self, values: str) -> str:
        """Rounded to float32, and double again."""
        return self._builder.cast(self._single_of(values), TensorProto.DOUBLE)

    def _step(self, step: Step, values: str, columns: int) -> tuple[str, int]:
        add: Callable[[Step, str, int], tuple[str, int]] = getattr(self, f"_{type(step).__name__.lower()}")
        return add(step, values, columns)

    def _store(self, values: str) -> str:
        return self._rounded(values) if self._single else values

    def _elementwise(self, step: Elementwise, values: str, columns: int) -> tuple[str, int]:
        builder = self._builder
        for operation, operand in step.operations:
            operand = operand.astype(np.float32).astype(np.float64) if self._single else operand
            values = self._store(builder.add(operation, values, builder.constant(operand)))
        return (values if step.clip is None else self._clipped(values, *step.clip)), columns

    def _clipped(self, values: str, lowest: float, highest: float) -> str:
        """Comparisons with NaN are false, so NaN passes."""
        builder = self._builder
        high, low = builder.scalar(highest), builder.scalar(lowest)
        values = builder.add("Where", builder.add("Greater", values, high), high, values)
        return builder.add("Where", builder.add("Less", values, low), low, values)

    def _impute(self, step: Impute, values: str, columns: int) -> tuple[str, int]:
        builder = self._builder
        missing = builder.add("IsNaN", values)
        all_kept = len(step.kept) == columns
        kept = values if all_kept else builder.add("Gather", values, builder.constant(step.kept), axis=1)
        gone = missing if all_kept else builder.add("Gather", missing, builder.constant(step.kept), axis=1)
        filled = self._store(builder.add("Where", gone, builder.constant(step.values), kept))
        if not len(step.indicated):
            return filled, len(step.kept)
        flags = builder.add("Gather", missing, builder.constant(step.indicated), axis=1)
        joined = builder.add("Concat", filled, builder.cast(flags, TensorProto.DOUBLE), axis=1)
        return joined, len(step.kept) + len(step.indicated)

    def _quantile(self, step: Quantile, values: str, columns: int) -> tuple[str, int]:
        builder = self._builder
        rising = _add_interpolation(builder, values, step.quantiles, step.references)
        negated = builder.add("Neg", values)
        falling = _add_interpolation(builder, negated, -step.quantiles[::-1], -step.references[::-1])
        result = builder.add("Mul", builder.scalar(0.5), builder.add("Sub", rising, falling))
        first, last = builder.constant(step.quantiles[0]), builder.constant(step.quantiles[-1])
        if step.normal:
            bound = builder.scalar(_BOUND)
            above = builder.add("Greater", builder.add("Add", values, bound), last)
            below = builder.add("Less", builder.add("Sub", values, bound), first)
        else:
            above, below = builder.add("Equal", values, last), builder.add("Equal", values, first)
        result = builder.add("Where", above, builder.scalar(1.0), result)
        result = builder.add("Where", below, builder.scalar(0.0), result)
        if step.normal:
            result = add_normal_quantile(builder, result, columns, _BOUND - float(np.spacing(1)))
        return self._store(result), columns

    def _project(self, step: Project, values: str, columns: int) -> tuple[str, int]:
        builder = self._builder
        if step.before is not None:
            values = self._store(builder.add("Sub", values, builder.constant(step.before)))
        values = self._store(builder.add("MatMul", values, builder.constant(step.components)))
        if step.offset is not None:
            values = self._store(builder.add("Sub", values, builder.constant(step.offset)))
        if step.divisor is not None:
            values = self._store(builder.add("Div", values, builder.constant(step.divisor)))
        return values, step.components.shape[1]

    def _polynomial(self, step: Polynomial, values: str, columns: int) -> tuple[str, int]:
        """Products of length n are made from those of length n - 1, all of one length at once."""
        builder = self._builder
        blocks = [builder.add("Expand", builder.scalar(1.0), self._rows_by_one(values)), values]
        products: list[list[tuple[int, ...]]] = [[()], [(i,) for i in range(columns)]]
        for _ in range(1, max(len(product) for product in step.products)):
            shorter = {product: i for i, product in enumerate(products[-1])}
            longer = [(i, *product) for product in products[-1] for i in range(product[0] + 1)]
            heads, tails = [product[0] for product in longer], [shorter[product[1:]] for product in longer]
            left = builder.add("Gather", values, builder.constant(heads), axis=1)
            right = builder.add("Gather", blocks[-1], builder.constant(tails), axis=1)
            blocks.append(self._store(builder.add("Mul", left, right)))
            products.append(longer)
        places = {product: i for i, product in enumerate(p for block in products for p in block)}
        matrix = builder.add("Concat", *blocks, axis=1)
        order = builder.constant([places[product] for product in step.products])
        return builder.add("Gather", matrix, order, axis=1), len(step.products)

    def _rows_by_one(self, values: str) -> str:
        rows = self._builder.add("Gather", self._builder.add("Shape", values), self._builder.constant([0]))
        return self._builder.add("Concat", rows, self._builder.constant([1]), axis=0)

    def _select(self, step: Select, values: str, columns: int) -> tuple[str, int]:
        return self._builder.add("Gather", values, self._builder.constant(step.columns), axis=1), len(step.columns)

    def _branches(self, step: Branches, values: str, columns: int) -> tuple[str, int]:
        results = [self._on_columns(chosen, chain, values, columns) for chosen, chain in step.branches if len(chosen)]
        width = sum(count for _, count in results)
        if len(results) == 1:
            return results[0]
        return self._builder.add("Concat", *(result for result, _ in results), axis=1), width

    def _on_columns(self, chosen: IntArray | None, chain: Chain, values: str, columns: int) -> tuple[str, int]:
        if chosen is not None and not np.array_equal(chosen, np.arange(columns)):
            values = self._builder.add("Gather", values, self._builder.constant(chosen), axis=1)
            columns = len(chosen)
        return self.steps(chain, values, columns)

    def _linear(self, step: Linear, values: str, columns: int) -> tuple[str, int]:
        total = self._product(values, step.coefficients.reshape(-1, 1), np.array([step.intercept]))
        return (self._store(add_steady(self._builder, "Exp", total)) if step.exponential else total), 1

    def _product(self, values: str, weights: FloatArray, bias: FloatArray) -> str:
        """``values @ weights + bias``; with `single` the product is rounded before the bias is added."""
        builder = self._builder
        matrix, offset = builder.constant(weights), builder.constant(bias)
        if not self._single:
            return builder.add("Gemm", values, matrix, offset)
        return self._store(builder.add("Add", self._store(builder.add("MatMul", values, matrix)), offset))

    def _network(self, step: Network, values: str, columns: int) -> tuple[str, int]:
        last = len(step.weights) - 1
        for layer, (weights, bias) in enumerate(zip(step.weights, step.biases, strict=True)):
            values = self._product(values, weights, bias)
            values = self._activated(step.output if layer == last else step.activation, values, weights.shape[1])
        return values, step.weights[-1].shape[1]

    def _activated(self, activation: Activation, values: str, columns: int) -> str:
        builder = self._builder
        if activation == "identity":
            return values
        if activation == "relu":
            # Max with NaN is left open by the standard; this keeps NaN.
            zero = builder.scalar(0.0)
            return builder.add("Where", builder.add("Less", values, zero), zero, values)
        operator = {"tanh": "Tanh", "logistic": "Sigmoid", "exp": "Exp"}[activation]
        return self._store(add_steady(builder, operator, values, columns))

    def _trees(self, step: Trees, values: str, columns: int) -> tuple[str, int]:
        if step.check is None or not step.check.single:
            return add_tree_ensemble(self._builder, step.model, values), 1
        if not step.check.missing and (trees := as_oblivious(step.model)) is not None:
            total = add_oblivious_sum(self._builder, trees, self._single_of(values))
            return add_score(self._builder, step.model, total), 1
        return add_single_tree_ensemble(self._builder, step.model, self._single_of(values)), 1

    def _mean(self, step: Mean, values: str, columns: int) -> tuple[str, int]:
        builder = self._builder
        total: str | None = None
        for position, (chosen, chain) in enumerate(step.members):
            score, _ = self._on_columns(chosen, chain, values, columns)
            if step.weights is not None:
                score = builder.add("Mul", score, builder.scalar(step.weights[position]))
            total = score if total is None else builder.add("Add", total, score)
        assert total is not None
        return self._store(builder.add("Div", total, builder.scalar(step.divisor))), 1

    def _stack(self, step: Stack, values: str, columns: int) -> tuple[str, int]:
        scores = [self.steps(chain, values, columns)[0] for chain in step.members]
        parts = [*scores, values] if step.passthrough else scores
        width = len(scores) + (columns if step.passthrough else 0)
        joined = parts[0] if len(parts) == 1 else self._builder.add("Concat", *parts, axis=1)
        return self.steps(step.final, joined, width)


def _add_interpolation(builder: GraphBuilder, values: str, points: FloatArray, heights: FloatArray) -> str:
    """``np.interp`` of each column: [rows, columns] -> [rows, columns]; `points` [n, columns] do not fall.

    A tree per column finds the interval; then ``slope * (x - point) + height`` as numpy computes it.
    """
    count, columns = points.shape
    trees = tuple(search_tree(points[:, column], column, column * (count + 1)) for column in range(columns))
    numbers = add_tree_outputs(builder, TreeEnsembleModel(columns, trees), values)
    place = builder.cast(numbers, TensorProto.INT64)
    # Entry 0 of each column is for values below the first point, entry i + 1 for those from point i on.
    start, height, slope = (np.zeros((columns, count + 1)) for _ in range(3))
    start[:, 1:], height[:, 1:], height[:, 0] = points.T, heights, heights[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        rising = np.diff(heights)[:, None] / np.diff(points, axis=0)
    slope[:, 1:-1] = np.where(np.diff(points, axis=0) > 0, rising, 0.0).T
    if not np.isfinite(slope).all():
        raise RefusalError("model.unsupported", "quantiles lie too close for interpolation", found="an infinite slope")
    tables = (builder.constant(table.ravel()) for table in (start, height, slope))
    start_at, height_at, slope_at = (builder.add("Gather", table, place) for table in tables)
    distance = builder.add("Sub", values, start_at)
    return builder.add("Add", builder.add("Mul", slope_at, distance), height_at)
