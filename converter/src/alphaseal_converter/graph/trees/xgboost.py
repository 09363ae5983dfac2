"""An `XgboostModel` as ONNX nodes: compared and added in float32, in XGBoost's own order, so that the bits are its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.graph.trees.columns import member_splits
from alphaseal_converter.graph.trees.level_tables import Splits, add_level_tables, fits_levels
from alphaseal_converter.graph.trees.tree_ensemble import SUM, NodeTable, add_steady
from alphaseal_converter.models.trees import Decision, FloatArray, IntArray, Tree
from alphaseal_converter.models.xgboost import Linear, Link, XgboostModel
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.processors.processor import RowProcessor
from alphaseal_converter.processors.sequence import add_processors, check_feature_count

Single = NDArray[np.float32]

MAXIMUM_SET_CELLS = 50_000_000
"""Of the tables from category code to sets."""
_SIGMOID_LIMIT = 88.7
"""XGBoost's own, before it takes exp."""


def build_xgboost_graph(
    processors: Sequence[RowProcessor], model: XgboostModel, *, missing: float, infinite_scored: bool
) -> bytes:
    """A serialised ONNX model: `features` double [rows, n_features] to `score` double [rows, 1].

    Values equal to `missing` (as float32) are treated as NaN is.  Without `infinite_scored` a row that holds an
    infinite value, or one that float32 cannot hold, scores NaN: a DMatrix with such a row is refused by XGBoost.
    Raises UsageError `graph.feature_count`, RefusalError `model.category_code`.
    """
    check_feature_count(processors, model.n_features)
    builder = GraphBuilder()
    values = builder.cast(add_processors(builder, processors, "features"), TensorProto.FLOAT)
    if not np.isnan(missing):
        found = builder.add("Equal", values, _single(builder, missing))
        values = builder.add("Where", found, _single(builder, np.nan), values)
    margin = _add_trees(builder, model, values) if model.linear is None else _add_linear(builder, model.linear, values)
    score = builder.cast(_add_link(builder, model.link, margin), TensorProto.DOUBLE)
    if not infinite_scored:
        flags = builder.cast(builder.add("IsInf", values), TensorProto.FLOAT)
        any_ = builder.add("ReduceMax", flags, builder.constant([1]), keepdims=1)
        refused = builder.cast(any_, TensorProto.BOOL)
        score = builder.add("Where", refused, builder.scalar(np.nan), score)
    return builder.model(model.n_features, score)


def _single(builder: GraphBuilder, value: float) -> str:
    with np.errstate(over="ignore"):
        return builder.constant(np.array(value, dtype=np.float32))


def _add_trees(builder: GraphBuilder, model: XgboostModel, values: str) -> str:
    """The base score and the leaves, added in float32, [rows, 1]; by level where the trees are full enough.

    In a `TreeEnsemble` node the base score is the first tree, so that the sum starts with it.
    """
    sets = _Sets(model)
    if fits_levels(model.trees):
        splits = [Splits(tree, *_as_single(*sets.of_splits(tree), tree.leaf_value)) for tree in model.trees]
        return add_level_tables(builder, splits, sets.add(builder, values), model.base)
    table = NodeTable()
    for tree in (_lone(model.base), *model.trees):
        columns, thresholds = sets.of_splits(tree)
        table.append(tree, columns, thresholds, tree.leaf_value, 0)
    attributes = table.attributes()
    for key in ("nodes_splits", "leaf_weights"):
        # Both are float32 numbers held in float64: nothing is rounded.
        attributes[key] = numpy_helper.from_array(numpy_helper.to_array(attributes[key]).astype(np.float32), key)
    matrix = sets.add(builder, values)
    return builder.add("TreeEnsemble", matrix, domain="ai.onnx.ml", n_targets=1, aggregate_function=SUM, **attributes)


def _as_single(columns: IntArray, thresholds: FloatArray, leaves: FloatArray) -> tuple[IntArray, Single, Single]:
    """Both are float32 numbers held in float64: nothing is rounded."""
    return columns, thresholds.astype(np.float32), leaves.astype(np.float32)


def _lone(value: float) -> Tree:
    none = np.zeros(0, dtype=np.int64)
    no = np.zeros(0, dtype=np.bool_)
    return Tree(none, np.zeros(0), none.astype(np.uint8), no, no, none, none, np.array([value]))


class _Sets:
    """Columns behind the features, one per distinct category set of a feature.

    0.0 where the code is in the set, 1.0 where it is not, NaN where the value is missing: a categorical split is then a
    numeric one with its own rule for NaN.
    """

    def __init__(self, model: XgboostModel) -> None:
        self._columns: dict[tuple[int, bytes], int] = {}
        self._sets: dict[int, list[IntArray]] = {}
        found: dict[tuple[int, bytes], IntArray] = {}
        for tree in model.trees:
            for feature, codes in member_splits(tree):
                found.setdefault((feature, codes.tobytes()), codes)
        for position, (key, codes) in enumerate(sorted(found.items(), key=lambda item: item[0])):
            self._columns[key] = model.n_features + position
            self._sets.setdefault(key[0], []).append(codes)

    def of_splits(self, tree: Tree) -> tuple[IntArray, FloatArray]:
        """[nodes] column and threshold of each split."""
        columns, member = tree.split_feature.copy(), tree.decision == Decision.MEMBER
        columns[member] = [self._columns[feature, codes.tobytes()] for feature, codes in member_splits(tree)]
        return columns, np.where(member, 0.5, tree.threshold)

    def add(self, builder: GraphBuilder, values: str) -> str:
        """`values` (float [rows, n_features]) and the columns behind them."""
        parts = [values, *(_add_feature_sets(builder, values, *entry) for entry in sorted(self._sets.items()))]
        return values if len(parts) == 1 else builder.add("Concat", *parts, axis=1)


def _add_feature_sets(builder: GraphBuilder, values: str, feature: int, sets: Sequence[IntArray]) -> str:
    """Codes are cut off toward zero; below 0 and above all sets' codes a value is in no set (``common::Decision``)."""
    beyond = max((int(codes.max()) for codes in sets if len(codes)), default=-1) + 1
    if (beyond + 1) * len(sets) > MAXIMUM_SET_CELLS:
        raise RefusalError(
            "model.category_code",
            "category codes are larger than the graph can carry",
            where=f"feature {feature}",
            found=f"{len(sets)} sets of codes up to {beyond - 1}",
            next_step="number the categories from 0 and train again",
        )
    outside = np.ones((beyond + 1, len(sets)), dtype=np.float32)
    for column, codes in enumerate(sets):
        outside[codes, column] = 0
    value = builder.add("Gather", values, builder.constant([feature]), axis=1)
    negative = builder.add("Less", value, _single(builder, 0.0))
    known = builder.add("Less", value, _single(builder, beyond))
    none = _single(builder, beyond)
    code = builder.add("Where", negative, none, builder.add("Where", known, value, none))
    flat = builder.add("Squeeze", builder.cast(code, TensorProto.INT64), builder.constant([1]))
    looked_up = builder.add("Gather", builder.constant(outside), flat, axis=0)
    return builder.add("Where", builder.add("IsNaN", value), _single(builder, np.nan), looked_up)


def _add_linear(builder: GraphBuilder, linear: Linear, values: str) -> str:
    """``start + w0 * x0 + w1 * x1 + ...`` one after the other; a missing value adds nothing."""
    present = builder.add("Where", builder.add("IsNaN", values), _single(builder, 0.0), values)
    products = builder.add("Mul", present, builder.constant(linear.weight))
    padded = builder.add("Pad", products, builder.constant([0, 1, 0, 0]), _single(builder, linear.start))
    running = builder.add("CumSum", padded, builder.constant(np.array(1, dtype=np.int64)))
    return builder.add("Gather", running, builder.constant([len(linear.weight)]), axis=1)


def _add_link(builder: GraphBuilder, link: Link, margin: str) -> str:
    """Float32 as XGBoost; exp is taken in double and rounded, which is what a good float32 exp gives."""
    if link is Link.IDENTITY:
        return margin
    if link is Link.SIGMOID:
        limit = _single(builder, _SIGMOID_LIMIT)
        negative = builder.add("Neg", margin)
        margin = builder.add("Where", builder.add("Greater", negative, limit), limit, negative)
    power = builder.cast(add_steady(builder, "Exp", builder.cast(margin, TensorProto.DOUBLE)), TensorProto.FLOAT)
    if link is Link.EXP:
        return power
    one = _single(builder, 1.0)
    return builder.add("Div", one, builder.add("Add", one, power))
