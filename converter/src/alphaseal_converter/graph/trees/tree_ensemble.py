"""A `TreeEnsembleModel` as ONNX nodes that reach the same leaf and give the same bits as the library.

All is double: `TreeEnsemble` of ai.onnx.ml 5 compares in double and, with one intra-op thread, adds the leaves in tree
order starting at 0.0.  With more threads it adds them in another order, so the runtime gives a session one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, numpy_helper

from alphaseal_converter.graph.trees.columns import SplitColumns
from alphaseal_converter.graph.trees.level_tables import Splits, add_level_tables, fits_levels
from alphaseal_converter.graph.trees.search_tree import search_tree
from alphaseal_converter.graph.trees.shallow_trees import single_below
from alphaseal_converter.models.trees import (
    Decision,
    FloatArray,
    IntArray,
    LinearLeaves,
    OutputTransform,
    TransformKind,
    Tree,
    TreeEnsembleModel,
)
from alphaseal_converter.nodes.builder import GraphBuilder

_BRANCH_LEQ = 0
"""Of the operator's `nodes_modes`."""
SUM = 1
"""Of the operator's `aggregate_function`."""
_LANES = 8
"""Doubles in the widest vector register, AVX-512."""


def add_tree_ensemble(builder: GraphBuilder, model: TreeEnsembleModel, features: str) -> str:
    """Adds nodes from `features` (double [rows, n_features]) to the score (double [rows, 1]); returns its name."""
    if model.raw_categories:
        features = _add_codes(builder, model, features)
    if any(tree.linear is not None for tree in model.trees):
        total = _add_linear_sum(builder, model, features)
    elif fits_levels(model.trees):
        columns = SplitColumns(model)
        splits = [Splits(tree, *columns.of_splits(tree), tree.leaf_value) for tree in model.trees]
        total = add_level_tables(builder, splits, columns.add(builder, features), 0.0)
    else:
        leaves = [tree.leaf_value for tree in model.trees]
        total = _add_trees(builder, model, features, leaves, [0] * len(leaves), 1)
    return add_score(builder, model, total)


def add_single_tree_ensemble(builder: GraphBuilder, model: TreeEnsembleModel, features: str) -> str:
    """As `add_tree_ensemble` for features of float32, which are compared as such where the trees are answered by level."""
    numeric = all((t.decision == Decision.LESS_OR_EQUAL).all() and not t.zero_is_missing.any() for t in model.trees)
    if not numeric or not fits_levels(model.trees) or any(tree.linear is not None for tree in model.trees):
        return add_tree_ensemble(builder, model, builder.cast(features, TensorProto.DOUBLE))
    splits = [Splits(t, t.split_feature, single_below(t.threshold), t.leaf_value) for t in model.trees]
    return add_score(builder, model, add_level_tables(builder, splits, features, 0.0))


def add_score(builder: GraphBuilder, model: TreeEnsembleModel, total: str) -> str:
    """Adds what turns the sum of the leaves (double [rows, 1]) into the score: the mean, the link."""
    if model.average:
        total = builder.add("Div", total, builder.scalar(float(len(model.trees))))
    return _add_transform(builder, model.transform, total)


def add_tree_outputs(builder: GraphBuilder, model: TreeEnsembleModel, features: str) -> str:
    """Adds nodes that give each tree's leaf value in a column of its own: double [rows, trees]."""
    leaves = [tree.leaf_value for tree in model.trees]
    return _add_trees(builder, model, features, leaves, range(len(leaves)), len(leaves))


def _add_codes(builder: GraphBuilder, model: TreeEnsembleModel, features: str) -> str:
    """`features` with the values of `raw_categories` replaced by their positions, and all others there by NaN.

    A tree per column finds the only category that a value can be, and an exact comparison says whether it is.
    """
    columns = sorted(model.raw_categories)
    first, searches, values, codes = 0, [], [], []
    for column in columns:
        categories = model.raw_categories[column]
        order = np.argsort(categories)
        searches.append(search_tree(categories[order], column, first))
        # The first entry is for values below all categories, which are none: any category will do.
        values.append(np.concatenate([categories[order[:1]], categories[order]]))
        codes.append(np.concatenate([[0.0], order.astype(np.float64)]))
        first += len(categories) + 1
    numbers = add_tree_outputs(builder, TreeEnsembleModel(model.n_features, tuple(searches)), features)
    place = builder.cast(numbers, TensorProto.INT64)
    candidate, code = (
        builder.add("Gather", builder.constant(np.concatenate(table)), place) for table in (values, codes)
    )
    raw = builder.add("Gather", features, builder.constant(columns), axis=1)
    known = builder.add("Where", builder.add("Equal", raw, candidate), code, builder.scalar(np.nan))
    moved = np.arange(model.n_features)
    moved[columns] = model.n_features + np.arange(len(columns))
    joined = builder.add("Concat", features, known, axis=1)
    return builder.add("Gather", joined, builder.constant(moved), axis=1)


def _add_trees(
    builder: GraphBuilder,
    model: TreeEnsembleModel,
    features: str,
    weights: Sequence[FloatArray],
    targets: Sequence[int],
    n_targets: int,
) -> str:
    """One `TreeEnsemble` node; per tree the weights of its leaves and the output column that they are added to."""
    columns, table = SplitColumns(model), NodeTable()
    for tree, leaves, target in zip(model.trees, weights, targets, strict=True):
        table.append(tree, *columns.of_splits(tree), leaves, target)
    matrix = columns.add(builder, features)
    return builder.add(
        "TreeEnsemble",
        matrix,
        domain="ai.onnx.ml",
        n_targets=n_targets,
        aggregate_function=SUM,
        **table.attributes(),
    )


class NodeTable:
    """The `nodes_*` and `leaf_*` attributes of all trees."""

    def __init__(self) -> None:
        self._integers: list[dict[str, IntArray]] = []
        self._splits: list[FloatArray] = []
        self._weights: list[FloatArray] = []
        self._roots: list[int] = []
        self._nodes = 0
        self._leaves = 0

    def append(self, tree: Tree, columns: IntArray, thresholds: FloatArray, weights: FloatArray, target: int) -> None:
        self._roots.append(self._nodes)
        left, right, missing_left = tree.left, tree.right, tree.missing_left.astype(np.int64)
        if tree.n_nodes == 0:
            # A tree of one leaf is a node with two leaves of its value: one leaf for both branches is what onnxruntime
            # (1.23 at least) takes for a lone leaf of another number.
            left, right, weights = np.array([-1]), np.array([-2]), np.repeat(weights, 2)
            columns, thresholds, missing_left = np.zeros(1, dtype=np.int64), np.zeros(1), np.zeros(1, dtype=np.int64)
        places = self._leaf_places(tree, len(weights))
        self._integers.append(
            {
                "nodes_featureids": columns,
                "nodes_missing_value_tracks_true": missing_left,
                "nodes_trueleafs": (left < 0).astype(np.int64),
                "nodes_falseleafs": (right < 0).astype(np.int64),
                "nodes_truenodeids": np.where(left < 0, places[~left], left + self._nodes),
                "nodes_falsenodeids": np.where(right < 0, places[~right], right + self._nodes),
                "leaf_targetids": np.full(len(weights), target),
            }
        )
        self._splits.append(thresholds)
        self._weights.append(weights[np.argsort(places)])
        self._nodes += len(columns)
        self._leaves += len(weights)

    def _leaf_places(self, tree: Tree, n_leaves: int) -> IntArray:
        """[leaves] positions among all leaves.

        onnxruntime (1.21 to 1.23 at least, its issue 24679) takes a root for a lone leaf if the ids of its two children
        are equal, though one counts leaves and the other nodes, and scores wrongly without a word: such a leaf changes
        places with the next one.
        """
        places: IntArray = self._leaves + np.arange(n_leaves)
        if tree.n_nodes == 0:
            return places
        leaf, node = sorted((int(tree.left[0]), int(tree.right[0])))
        if leaf < 0 <= node and places[~leaf] == node + self._nodes:
            pair = [~leaf, (~leaf + 1) % tree.n_leaves]
            places[pair] = places[pair[::-1]]
        return places

    def attributes(self) -> dict[str, object]:
        attributes: dict[str, object] = {
            key: np.concatenate([part[key] for part in self._integers]).tolist() for key in self._integers[0]
        }
        tensors = {
            "nodes_modes": np.full(self._nodes, _BRANCH_LEQ, dtype=np.uint8),
            "nodes_splits": np.concatenate(self._splits),
            "leaf_weights": np.concatenate(self._weights),
        }
        tensor_attributes = {key: numpy_helper.from_array(values, key) for key, values in tensors.items()}
        return {"tree_roots": self._roots, **attributes, **tensor_attributes}


def _add_linear_sum(builder: GraphBuilder, model: TreeEnsembleModel, features: str) -> str:
    """The sum of trees with linear leaves, in the library's own order of operations.

    The trees give leaf numbers (one column per tree), constants and coefficients are looked up by them; multiplication
    and addition are nodes of their own, so nothing is fused; CumSum adds the trees one after the other.
    """
    leaf_values = np.concatenate([tree.leaf_value for tree in model.trees])
    ends = np.cumsum([tree.n_leaves for tree in model.trees])
    numbers = np.split(np.arange(len(leaf_values), dtype=np.float64), ends[:-1])
    ids = _add_trees(builder, model, features, numbers, range(len(model.trees)), len(model.trees))
    leaf = builder.cast(ids, TensorProto.INT64)
    table = _LinearTable.of(model)
    inputs = _add_linear_inputs(builder, model, features)
    value = builder.add("Gather", builder.constant(table.constant), leaf)
    missing: str | None = None
    for position in range(table.features.shape[1]):
        column = builder.add("Gather", builder.constant(table.features[:, position]), leaf)
        coefficient = builder.add("Gather", builder.constant(table.coefficients[:, position]), leaf)
        factor = builder.add("GatherElements", inputs, column, axis=1)
        value = builder.add("Add", value, builder.add("Mul", coefficient, factor))
        nan = builder.add("IsNaN", factor)
        missing = nan if missing is None else builder.add("Or", missing, nan)
    if missing is not None:
        value = builder.add("Where", missing, builder.add("Gather", builder.constant(leaf_values), leaf), value)
    running = builder.add("CumSum", value, builder.constant(np.array(1, dtype=np.int64)))
    return builder.add("Gather", running, builder.constant([len(model.trees) - 1]), axis=1)


def _add_linear_inputs(builder: GraphBuilder, model: TreeEnsembleModel, features: str) -> str:
    """The features with values near zero set to 0.0, and a column of zeros behind them for unused places."""
    flush = max(tree.linear.flush for tree in model.trees if tree.linear is not None)
    near_zero = builder.add("LessOrEqual", builder.add("Abs", features), builder.scalar(flush))
    flushed = builder.add("Where", near_zero, builder.scalar(0.0), features)
    return builder.add("Pad", flushed, builder.constant([0, 0, 0, 1]), builder.scalar(0.0))


@dataclass(frozen=True)
class _LinearTable:
    """Linear models of all leaves of all trees, padded to the longest: coefficient 0.0 times the column of zeros."""

    constant: FloatArray
    features: IntArray
    coefficients: FloatArray

    @classmethod
    def of(cls, model: TreeEnsembleModel) -> _LinearTable:
        linear = [tree.linear or _constant_leaves(tree) for tree in model.trees]
        counts = np.concatenate([np.diff(leaves.offsets) for leaves in linear])
        features = np.full((len(counts), int(counts.max())), model.n_features, dtype=np.int64)
        coefficients = np.zeros(features.shape)
        filled = np.arange(features.shape[1]) < counts[:, None]
        features[filled] = np.concatenate([leaves.features for leaves in linear])
        coefficients[filled] = np.concatenate([leaves.coefficients for leaves in linear])
        return cls(np.concatenate([leaves.constant for leaves in linear]), features, coefficients)


def _constant_leaves(tree: Tree) -> LinearLeaves:
    none = np.zeros(tree.n_leaves + 1, dtype=np.int64)
    return LinearLeaves(tree.leaf_value, none, none[:0], np.empty(0), 0.0)


def _add_transform(builder: GraphBuilder, transform: OutputTransform, raw: str) -> str:
    """The link function, node by node in the order in which the library computes it."""
    kind = transform.kind
    if kind is TransformKind.IDENTITY:
        return raw
    if kind is TransformKind.SIGNED_SQUARE:
        return builder.add("Mul", builder.add("Abs", raw), raw)
    one = builder.scalar(1.0)
    if kind is TransformKind.EXP:
        return add_steady(builder, "Exp", raw)
    if kind is TransformKind.SIGMOID:
        power = add_steady(builder, "Exp", builder.add("Mul", builder.scalar(-transform.scale), raw))
        return builder.add("Div", one, builder.add("Add", one, power))
    return _add_log1p(builder, add_steady(builder, "Exp", raw))


def _add_log1p(builder: GraphBuilder, value: str) -> str:
    """log(1 + value) for value >= 0 without the loss of small values (Kahan): log(u) * value / (u - 1), u = 1 + value.

    Where u is 1 the result is `value` itself; where `value` is infinite, so is the result.
    """
    one = builder.scalar(1.0)
    sum_ = builder.add("Add", one, value)
    excess = builder.add("Sub", sum_, one)
    corrected = builder.add("Mul", add_steady(builder, "Log", sum_), builder.add("Div", value, excess))
    plain = builder.add("Or", builder.add("Equal", sum_, one), builder.add("IsInf", value))
    return builder.add("Where", plain, value, corrected)


def add_steady(builder: GraphBuilder, operator: str, value: str) -> str:
    """exp or log of [rows, 1] whose bits do not depend on the batch.

    onnxruntime computes full vector registers with one algorithm and the rest of the rows with another, an ulp apart.
    Each row is repeated to fill a register, so that none is ever in the rest.
    """
    repeated = builder.add("Expand", value, builder.constant([1, _LANES]))
    computed = builder.add(operator, repeated)
    return builder.add("Gather", computed, builder.constant([0]), axis=1)
