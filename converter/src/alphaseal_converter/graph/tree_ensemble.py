"""A `TreeEnsembleModel` as ONNX nodes that reach the same leaf and give the same bits as the library.

All is double: `TreeEnsemble` of ai.onnx.ml 5 compares in double and, with one intra-op thread, adds the leaves in tree
order starting at 0.0.  With more threads it adds them in another order, so the runtime gives a session one thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from onnx import TensorProto, numpy_helper

from alphaseal_converter.graph.builder import GraphBuilder
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

_BRANCH_LEQ, _BRANCH_MEMBER = 0, 6
"""Of the operator's `nodes_modes`."""
_SUM = 1
"""Of the operator's `aggregate_function`."""
_LANES = 8
"""Doubles in the widest vector register, AVX-512."""


def add_tree_ensemble(builder: GraphBuilder, model: TreeEnsembleModel, features: str) -> str:
    """Adds nodes from `features` (double [rows, n_features]) to the score (double [rows, 1]); returns its name."""
    if any(tree.linear is not None for tree in model.trees):
        total = _add_linear_sum(builder, model, features)
    else:
        leaves = np.concatenate([tree.leaf_value for tree in model.trees])
        total = _add_trees(builder, model, features, leaves, np.zeros(len(leaves), dtype=np.int64), 1)
    if model.average:
        total = builder.add("Div", total, builder.scalar(float(len(model.trees))))
    return _add_transform(builder, model.transform, total)


class _View(Enum):
    """What a split looks at instead of the raw column."""

    RAW = 0
    ZERO_IS_NAN = 1
    TRUNCATED = 2


@dataclass
class _Columns:
    """Columns appended to the features for splits that do not look at raw values, in order of first use."""

    n_features: int
    appended: dict[_View, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: TreeEnsembleModel) -> _Columns:
        columns = cls(model.n_features)
        for view in (_View.ZERO_IS_NAN, _View.TRUNCATED):
            used: set[int] = set()
            for tree in model.trees:
                used.update(tree.split_feature[_views(tree) == view.value].tolist())
            if used:
                columns.appended[view] = sorted(used)
        return columns

    def indices(self, tree: Tree) -> IntArray:
        """[nodes] column of each split among the features and the appended ones."""
        result: IntArray = tree.split_feature.copy()
        views, start = _views(tree), self.n_features
        for view, columns in self.appended.items():
            chosen = views == view.value
            result[chosen] = start + np.searchsorted(columns, tree.split_feature[chosen])
            start += len(columns)
        return result

    def add(self, builder: GraphBuilder, features: str, zero_bound: float) -> str:
        parts = [features]
        for view, columns in self.appended.items():
            values = builder.add("Gather", features, builder.constant(columns), axis=1)
            if view is _View.ZERO_IS_NAN:
                near_zero = builder.add("LessOrEqual", builder.add("Abs", values), builder.scalar(zero_bound))
                parts.append(builder.add("Where", near_zero, builder.scalar(np.nan), values))
            else:
                negative = builder.add("Less", values, builder.scalar(0.0))
                up, down = builder.add("Ceil", values), builder.add("Floor", values)
                parts.append(builder.add("Where", negative, up, down))
        return features if len(parts) == 1 else builder.add("Concat", *parts, axis=1)


def _views(tree: Tree) -> IntArray:
    """[nodes] values of `_View`."""
    numeric = np.where(tree.zero_is_missing, _View.ZERO_IS_NAN.value, _View.RAW.value)
    views: IntArray = np.where(tree.decision == Decision.MEMBER, _View.TRUNCATED.value, numeric)
    return views


def _add_trees(
    builder: GraphBuilder,
    model: TreeEnsembleModel,
    features: str,
    weights: FloatArray,
    targets: IntArray,
    n_targets: int,
) -> str:
    """One `TreeEnsemble` node; `weights` and `targets` of all leaves, tree after tree."""
    columns = _Columns.of(model)
    table = _NodeTable()
    for tree in model.trees:
        table.append(tree, columns.indices(tree))
    return builder.add(
        "TreeEnsemble",
        columns.add(builder, features, model.zero_bound),
        domain="ai.onnx.ml",
        n_targets=n_targets,
        aggregate_function=_SUM,
        leaf_weights=numpy_helper.from_array(weights, "leaf_weights"),
        leaf_targetids=targets.tolist(),
        **table.attributes(),
    )


class _NodeTable:
    """The `nodes_*` attributes of all trees."""

    def __init__(self) -> None:
        self._parts: list[dict[str, IntArray]] = []
        self._splits: list[FloatArray] = []
        self._members: list[FloatArray] = []
        self._roots: list[int] = []
        self._nodes = 0
        self._leaves = 0

    def append(self, tree: Tree, columns: IntArray) -> None:
        self._roots.append(self._nodes)
        # A tree of one leaf is a node whose branches both end in that leaf.
        lone = tree.n_nodes == 0
        left = np.array([-1]) if lone else tree.left
        right = np.array([-1]) if lone else tree.right
        nothing = np.zeros(1, dtype=np.int64)
        member = tree.decision == Decision.MEMBER
        self._parts.append(
            {
                "nodes_featureids": nothing if lone else columns,
                "nodes_modes": nothing if lone else np.where(member, _BRANCH_MEMBER, _BRANCH_LEQ),
                "nodes_missing_value_tracks_true": nothing if lone else tree.missing_left.astype(np.int64),
                "nodes_trueleafs": (left < 0).astype(np.int64),
                "nodes_falseleafs": (right < 0).astype(np.int64),
                "nodes_truenodeids": np.where(left < 0, ~left + self._leaves, left + self._nodes),
                "nodes_falsenodeids": np.where(right < 0, ~right + self._leaves, right + self._nodes),
            }
        )
        self._splits.append(np.zeros(1) if lone else tree.threshold)
        for codes in tree.categories:
            self._members.extend([codes.astype(np.float64), np.array([np.nan])])
        self._nodes += max(tree.n_nodes, 1)
        self._leaves += tree.n_leaves

    def attributes(self) -> dict[str, object]:
        merged = {key: np.concatenate([part[key] for part in self._parts]) for key in self._parts[0]}
        modes = merged.pop("nodes_modes").astype(np.uint8)
        attributes: dict[str, object] = {key: values.tolist() for key, values in merged.items()}
        attributes["tree_roots"] = self._roots
        attributes["nodes_modes"] = numpy_helper.from_array(modes, "nodes_modes")
        attributes["nodes_splits"] = numpy_helper.from_array(np.concatenate(self._splits), "nodes_splits")
        if self._members:
            members = np.concatenate(self._members)
            attributes["membership_values"] = numpy_helper.from_array(members, "membership_values")
        return attributes


def _add_linear_sum(builder: GraphBuilder, model: TreeEnsembleModel, features: str) -> str:
    """The sum of trees with linear leaves, in the library's own order of operations.

    The trees give leaf numbers (one column per tree), constants and coefficients are looked up by them; multiplication
    and addition are nodes of their own, so nothing is fused; CumSum adds the trees one after the other.
    """
    leaf_values = np.concatenate([tree.leaf_value for tree in model.trees])
    targets = np.repeat(np.arange(len(model.trees)), [tree.n_leaves for tree in model.trees])
    numbers = np.arange(len(leaf_values), dtype=np.float64)
    ids = _add_trees(builder, model, features, numbers, targets, len(model.trees))
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
        return _add_steady(builder, "Exp", raw)
    if kind is TransformKind.SIGMOID:
        power = _add_steady(builder, "Exp", builder.add("Mul", builder.scalar(-transform.scale), raw))
        return builder.add("Div", one, builder.add("Add", one, power))
    return _add_log1p(builder, _add_steady(builder, "Exp", raw))


def _add_log1p(builder: GraphBuilder, value: str) -> str:
    """log(1 + value) for value >= 0 without the loss of small values (Kahan): log(u) * value / (u - 1), u = 1 + value.

    Where u is 1 the result is `value` itself; where `value` is infinite, so is the result.
    """
    one = builder.scalar(1.0)
    sum_ = builder.add("Add", one, value)
    excess = builder.add("Sub", sum_, one)
    corrected = builder.add("Mul", _add_steady(builder, "Log", sum_), builder.add("Div", value, excess))
    plain = builder.add("Or", builder.add("Equal", sum_, one), builder.add("IsInf", value))
    return builder.add("Where", plain, value, corrected)


def _add_steady(builder: GraphBuilder, operator: str, value: str) -> str:
    """exp or log of [rows, 1] whose bits do not depend on the batch.

    onnxruntime computes full vector registers with one algorithm and the rest of the rows with another, an ulp apart.
    Each row is repeated to fill a register, so that none is ever in the rest.
    """
    repeated = builder.add("Expand", value, builder.constant([1, _LANES]))
    computed = builder.add(operator, repeated)
    return builder.add("Gather", computed, builder.constant([0]), axis=1)
