"""The typed model in between: what every tree family is parsed into and what the graph is built from.

All semantics are in the nodes themselves, so that the graph builder needs no knowledge of a library: a family's parser
turns its missing-value rules into `missing_left` and `zero_is_missing`, and its float tricks into thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.errors import RefusalError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

MAXIMUM_TREES = 100_000
MAXIMUM_NODES = 20_000_000
"""Over all trees; ten thousand trees of qlib's size have a fifth of it."""
MAXIMUM_FEATURES = 100_000
MAXIMUM_DEPTH = 1000
"""Splits on the longest path of a tree: onnxruntime loads trees by recursion, and an overflow gives no message."""


class Decision(IntEnum):
    """When a row goes left."""

    LESS_OR_EQUAL = 0
    """value <= threshold"""
    MEMBER = 1
    """the value, truncated toward zero, is one of the node's categories"""


class TransformKind(Enum):
    """What is applied to the sum of the leaves (after averaging)."""

    IDENTITY = "identity"
    SIGMOID = "sigmoid"
    """1 / (1 + exp(-scale * x))"""
    EXP = "exp"
    """exp(x)"""
    LOG1P_EXP = "log1p_exp"
    """log1p(exp(x))"""
    SIGNED_SQUARE = "signed_square"
    """sign(x) * x * x"""


@dataclass(frozen=True)
class OutputTransform:
    """The link function from the raw sum to the score; `scale` is used by SIGMOID alone."""

    kind: TransformKind = TransformKind.IDENTITY
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class LinearLeaves:
    """Linear models in the leaves: ``constant + coefficient[0] * x[feature[0]] + ...``, added in this order.

    A row with NaN in any of the leaf's features gets the tree's `leaf_value` instead.
    Leaf i owns `features` and `coefficients` from ``offsets[i]`` to ``offsets[i + 1]``.
    """

    constant: FloatArray
    """[leaves]"""
    offsets: IntArray
    """[leaves + 1]"""
    features: IntArray
    coefficients: FloatArray
    flush: float
    """Values with absolute value up to this enter the linear model as 0.0."""


@dataclass(frozen=True, eq=False)
class Tree:
    """One decision tree; node 0 is the root, a child below zero is leaf ``~child``; no nodes at all: leaf 0 alone."""

    split_feature: IntArray
    """[nodes] index of the feature in model order"""
    threshold: FloatArray
    """[nodes] unused (0.0) where `decision` is MEMBER"""
    decision: NDArray[np.uint8]
    """[nodes] values of `Decision`"""
    missing_left: BoolArray
    """[nodes] NaN goes left"""
    zero_is_missing: BoolArray
    """[nodes] absolute values up to the model's `zero_bound` are treated as NaN"""
    left: IntArray
    """[nodes]"""
    right: IntArray
    """[nodes]"""
    leaf_value: FloatArray
    """[leaves]"""
    categories: tuple[IntArray, ...] = ()
    """One array of non-negative codes per MEMBER node, in node order."""
    linear: LinearLeaves | None = None

    @property
    def n_nodes(self) -> int:
        return len(self.split_feature)

    @property
    def n_leaves(self) -> int:
        return len(self.leaf_value)


@dataclass(frozen=True, eq=False)
class TreeEnsembleModel:
    """Trees whose leaves are summed in tree order, in float64, starting at 0.0."""

    n_features: int
    trees: tuple[Tree, ...]
    average: bool = False
    """The sum is divided by the number of trees."""
    zero_bound: float = 0.0
    """See `Tree.zero_is_missing`."""
    transform: OutputTransform = OutputTransform()
    raw_categories: Mapping[int, FloatArray] = field(default_factory=dict)
    """Features whose values are replaced before any split by their position in the array, and all other values by NaN:
    float64 [categories], distinct and finite, as a categorical column of pandas becomes codes."""


def check_tree(tree: Tree, n_features: int, where: str) -> None:
    """Refuses (`model.malformed`, `model.too_deep`) what is not one proper binary tree with usable numbers.

    Array lengths are the parser's business; this looks at ids, shape and values.
    """
    if tree.n_nodes and not _within(tree.split_feature, 0, n_features):
        raise malformed("a split uses a feature that the model does not have", where, f"0 to {n_features - 1}")
    if np.isnan(tree.threshold).any():
        raise malformed("a threshold is NaN", where)
    if not np.isfinite(tree.leaf_value).all():
        raise malformed("a leaf value is not finite", where)
    _check_shape(tree, where)
    linear = tree.linear
    if linear is not None:
        if len(linear.features) and not _within(linear.features, 0, n_features):
            raise malformed("a linear leaf uses a feature that does not exist", where, f"0 to {n_features - 1}")
        if not (np.isfinite(linear.constant).all() and np.isfinite(linear.coefficients).all()):
            raise malformed("a linear leaf has a coefficient that is not finite", where)


def _check_shape(tree: Tree, where: str) -> None:
    if tree.n_leaves != tree.n_nodes + 1:
        raise malformed("nodes and leaves do not add up", where, f"{tree.n_nodes + 1} leaves", str(tree.n_leaves))
    children = np.concatenate([tree.left, tree.right])
    if tree.n_nodes and not _within(children, -tree.n_leaves, tree.n_nodes):
        raise malformed("a child id is out of range", where, f"{-tree.n_leaves} to {tree.n_nodes - 1}")
    # Every leaf and every node except the root is the child of exactly one node ...
    expected = np.concatenate([np.arange(-tree.n_leaves, 0), np.arange(1, tree.n_nodes)])
    if tree.n_nodes and not np.array_equal(np.sort(children), expected):
        raise malformed("the children do not form a tree: a node or leaf has two parents or none", where)
    # ... and all nodes are reached from the root, so there is no cycle beside the tree.
    level, reached, depth = np.zeros(min(tree.n_nodes, 1), dtype=np.int64), 0, 0
    while len(level):
        reached += len(level)
        depth += 1
        if depth > MAXIMUM_DEPTH:
            raise RefusalError(
                "model.too_deep",
                "a tree is deeper than the graph can carry",
                where=where,
                expected=f"at most {MAXIMUM_DEPTH} splits on a path",
            )
        below = np.concatenate([tree.left[level], tree.right[level]])
        level = below[below >= 0]
    if reached != tree.n_nodes:
        raise malformed("the children form a cycle beside the tree", where)


def _within(values: NDArray[Any], low: int, high: int) -> bool:
    return bool(values.min() >= low and values.max() < high)


def malformed(message: str, where: str, expected: str | None = None, found: str | None = None) -> RefusalError:
    """The refusal of a model whose file contradicts itself."""
    return RefusalError(
        "model.malformed",
        message,
        where=where,
        expected=expected,
        found=found,
        next_step="take the weights from another copy of the run",
    )


def several_outputs(where: str, found: str, train_with: str = "a single-output objective") -> RefusalError:
    """The refusal of several outputs per row."""
    return RefusalError(
        "model.multi_output",
        "the model gives several outputs per row; a ranking needs one score",
        where=where,
        expected="one output",
        found=found,
        next_step=f"train with {train_with}",
    )


def too_large(what: str, limit: int) -> RefusalError:
    return RefusalError(
        "model.too_large", f"the model has more {what} than a bundle may hold", expected=f"at most {limit} {what}"
    )


def used_features(model: TreeEnsembleModel) -> BoolArray:
    """[n_features] whether any split or linear leaf uses the feature."""
    used = np.zeros(model.n_features, dtype=np.bool_)
    for tree in model.trees:
        used[tree.split_feature] = True
        if tree.linear is not None:
            used[tree.linear.features] = True
    return used


def thresholds_by_feature(model: TreeEnsembleModel) -> list[FloatArray]:
    """Per feature the values at which some row changes its path: sorted, distinct, float64; empty where unused.

    Thresholds of numeric splits, codes of categorical splits, and both ends of the zero band where zero is missing.
    Of features with `raw_categories` those values, which are what comes in.
    """
    found: list[list[Sequence[float] | FloatArray]] = [[] for _ in range(model.n_features)]
    for tree in model.trees:
        numeric = tree.decision == Decision.LESS_OR_EQUAL
        for feature in np.unique(tree.split_feature):
            here = tree.split_feature == feature
            found[feature].append(tree.threshold[here & numeric])
            if (here & tree.zero_is_missing).any():
                found[feature].append([-model.zero_bound, model.zero_bound])
        for feature, codes in zip(tree.split_feature[~numeric], tree.categories, strict=True):
            found[feature].append(codes.astype(np.float64))
    for feature, values in model.raw_categories.items():
        found[feature] = [values] if found[feature] else []
    return [np.unique(np.concatenate(parts)) if parts else np.empty(0) for parts in found]
