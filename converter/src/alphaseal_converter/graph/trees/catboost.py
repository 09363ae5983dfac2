"""A `CatboostModel` as ONNX nodes: compared in float32, added in float64 in tree order, as CatBoost does.

Symmetric trees are not walked: all comparisons of one level of many trees are one operation over whole columns, and the
bits of a tree make the number of its leaf.  That is several times faster than `TreeEnsemble` and as exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from onnx import TensorProto

from alphaseal_converter.graph.trees.tree_ensemble import add_single_tree_ensemble, add_steady
from alphaseal_converter.models.catboost import CatboostModel, Link, ObliviousTree
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.processors.processor import RowProcessor
from alphaseal_converter.processors.sequence import add_processors, check_feature_count

_GROUP = 256
"""Trees that are computed at once: 2048 rows of their leaves, in float64, are 4 MB."""
_GROUP_CELLS = 4_000_000
"""Leaves of a group with all its trees filled up to the depth of its deepest."""
_BYTE_DEPTH = 8
"""Leaf numbers of trees up to this depth fit a byte."""


def build_catboost_graph(processors: Sequence[RowProcessor], model: CatboostModel, link: Link) -> bytes:
    """A serialised ONNX model: `features` double [rows, n_features] to `score` double [rows, 1].

    Raises UsageError `graph.feature_count` where processors and model differ in the number of features.
    """
    check_feature_count(processors, model.n_features)
    builder = GraphBuilder()
    values = builder.cast(add_processors(builder, processors, "features"), TensorProto.FLOAT)
    if model.trees:
        total = add_single_tree_ensemble(builder, model.ensemble, values)
    else:
        total = _add_oblivious(builder, model, values)
    if model.scale != 1.0 or model.bias != 0.0:
        scaled = builder.add("Mul", total, builder.scalar(model.scale))
        total = builder.add("Add", scaled, builder.scalar(model.bias))
    return builder.model(model.n_features, _add_link(builder, link, total))


def _add_oblivious(builder: GraphBuilder, model: CatboostModel, values: str) -> str:
    """The sum of the leaves, double [rows, 1], from `values` float [rows, n_features]."""
    if model.nan_is_high.any():
        high = np.where(model.nan_is_high, np.inf, -np.inf).astype(np.float32)
        values = builder.add("Where", builder.add("IsNaN", values), builder.constant(high), values)
    return add_oblivious_sum(builder, model.oblivious, values)


def add_oblivious_sum(builder: GraphBuilder, all_trees: Sequence[ObliviousTree], values: str) -> str:
    """The leaves added in tree order, double [rows, 1]; `values` is float [rows, n_features], and NaN passes no split."""
    columns = builder.add("Transpose", values, perm=[1, 0])
    total: str | None = None
    for trees in _groups(all_trees):
        leaves = _add_leaves(builder, trees, columns)
        # The sum so far stands before the next trees, so that all are added one after the other.  A running sum does
        # that for one row too; a reduction of a single column is free to add in another order.
        leaves = leaves if total is None else builder.add("Concat", total, leaves, axis=0)
        running = builder.add("CumSum", leaves, builder.constant(np.array(0, dtype=np.int64)))
        total = builder.add("Gather", running, builder.constant([len(trees) - (total is None)]), axis=0)
    if total is None:
        first = builder.add("IsNaN", builder.add("Gather", columns, builder.constant([0]), axis=0))
        total = builder.add("Where", first, builder.scalar(0.0), builder.scalar(0.0))
    return builder.add("Transpose", total, perm=[1, 0])


def _groups(trees: Sequence[ObliviousTree]) -> Iterator[Sequence[ObliviousTree]]:
    """Trees that follow each other, few enough to be computed at once."""
    start = 0
    while start < len(trees):
        end, deepest = start, 0
        while end < len(trees) and end - start < _GROUP:
            deepest = max(deepest, len(trees[end].feature))
            if end > start and (end - start + 1) * 2**deepest > _GROUP_CELLS:
                break
            end += 1
        yield trees[start:end]
        start = end


def _add_leaves(builder: GraphBuilder, trees: Sequence[ObliviousTree], columns: str) -> str:
    """[trees, rows] double: the leaf value of each tree for each row; `columns` is float [features, rows].

    Trees that are less deep than the others get splits that no value passes.
    """
    depth = max(1, *(len(tree.feature) for tree in trees))
    feature = np.zeros((depth, len(trees)), dtype=np.int64)
    border = np.full((depth, len(trees), 1), np.inf, dtype=np.float32)
    table = np.zeros((len(trees), 2**depth))
    for number, tree in enumerate(trees):
        feature[: len(tree.feature), number] = tree.feature
        border[: len(tree.feature), number, 0] = tree.border
        table[number, : len(tree.leaf_value)] = tree.leaf_value
    kind = TensorProto.UINT8 if depth <= _BYTE_DEPTH else TensorProto.INT32
    leaf: str | None = None
    for level in reversed(range(depth)):
        value = builder.add("Gather", columns, builder.constant(feature[level]), axis=0)
        bit = builder.cast(builder.add("Greater", value, builder.constant(border[level])), kind)
        leaf = bit if leaf is None else builder.add("Add", builder.add("Add", leaf, leaf), bit)
    assert leaf is not None
    number_ = builder.cast(leaf, TensorProto.INT32) if kind == TensorProto.UINT8 else leaf
    return builder.add("GatherElements", builder.constant(table), number_, axis=1)


def _add_link(builder: GraphBuilder, link: Link, total: str) -> str:
    if link is Link.IDENTITY:
        return total
    if link is Link.EXP:
        return add_steady(builder, "Exp", total)
    one = builder.scalar(1.0)
    power = add_steady(builder, "Exp", builder.add("Neg", total))
    return builder.add("Div", one, builder.add("Add", one, power))
