"""Trees answered level by level for all rows at once, which is about twice as fast as walking row by row.

Every tree is filled up to one depth: below a leaf come splits that lead to this leaf both ways.  A node is then known by
its level and its place in it, and a row at place p goes on to 2 * p, or to 2 * p + 1 if it goes right.  The seven splits
of the first three levels are answered for every row, whole columns at once.  On the levels below, a look-up gives each
row its split's column and threshold, another one the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from alphaseal_converter.models.trees import FloatArray, IntArray, Tree
from alphaseal_converter.nodes.builder import GraphBuilder

_DEEPEST = 10
"""Levels of splits.  Deeper trees have long paths that few rows take, and here every row pays for the longest."""
_MOST_CELLS_PER_LEAF = 8
"""Places on the last level for each leaf there is."""
_FEWEST_LEAVES = 1000
"""A smaller model is fast enough as one node."""
_LOWEST = float(np.finfo(np.float32).min)
_GROUP = 128
"""Trees that are computed at once."""
_TOP = 3
"""Levels whose splits are all answered."""


@dataclass(frozen=True, eq=False)
class Splits:
    """A tree, what its splits compare, and what its leaves add."""

    tree: Tree
    column: IntArray
    """[nodes] position among the columns of the matrix"""
    threshold: NDArray[Any]
    """[nodes] in the matrix's type; a row goes left where its value is not above, or is missing and `missing_left` is set"""
    leaf: FloatArray | NDArray[np.float32]
    """[leaves] in the type of the sum"""


def fits_levels(trees: Sequence[Tree]) -> bool:
    """Whether the trees can be answered by level, and are full enough for it to be worth it."""
    if not trees or any((tree.threshold < _LOWEST).any() for tree in trees):
        # The runtime's gate takes no infinite number in a table, and a split below all float32 may become one.
        return False
    deepest = max(_depth(tree) for tree in trees)
    leaves = sum(tree.n_leaves for tree in trees)
    cells = len(trees) * 2 ** max(deepest, _TOP)
    return leaves >= _FEWEST_LEAVES and deepest <= _DEEPEST and cells <= _MOST_CELLS_PER_LEAF * leaves


def _depth(tree: Tree) -> int:
    level, depth = np.zeros(min(tree.n_nodes, 1), dtype=np.int64), 0
    while len(level):
        below = np.concatenate([tree.left[level], tree.right[level]])
        level, depth = below[below >= 0], depth + 1
    return depth


def add_level_tables(builder: GraphBuilder, trees: Sequence[Splits], matrix: str, start: float) -> str:
    """The leaves added to `start` one after the other, [rows, 1] in their type; `matrix` is [rows, columns]."""
    columns = _Columns(trees)
    values = columns.add(builder, builder.add("Transpose", matrix, perm=[1, 0]))
    total: str | None = None
    for first in range(0, len(trees), _GROUP):
        group = trees[first : first + _GROUP]
        leaves = _add_leaves(builder, _Levels.of(group, columns, start if first == 0 else None), values)
        # The sum so far stands before the next trees, so that all are added one after the other.
        leaves = leaves if total is None else builder.add("Concat", total, leaves, axis=0)
        running = builder.add("CumSum", leaves, builder.constant(np.array(0, dtype=np.int64)))
        total = builder.add("Gather", running, builder.constant([len(group) - (total is None)]), axis=0)
    assert total is not None
    return builder.add("Transpose", total, perm=[1, 0])


class _Columns:
    """The columns that are compared, so that NaN needs no rule: where it goes left as they are, elsewhere with infinity.

    A split at infinity parts missing values from all others, infinite ones too.  Where it sends them right, it compares a
    column of infinity and zeros with zero; elsewhere every row goes left, and `_Levels` leaves the split out.
    """

    def __init__(self, trees: Sequence[Splits]) -> None:
        self._type = trees[0].threshold.dtype.type
        self._width = 1 + max(int(splits.column.max(initial=0)) for splits in trees)
        self._used = np.unique(np.concatenate([np.zeros(1, dtype=np.int64), *(self._keys(entry) for entry in trees)]))

    def _keys(self, splits: Splits) -> IntArray:
        """[nodes] the column, one width further where NaN goes right, and another one at infinity."""
        right = ~splits.tree.missing_left
        return splits.column + self._width * (right.astype(np.int64) + (right & np.isposinf(splits.threshold)))

    def of(self, splits: Splits) -> tuple[IntArray, NDArray[Any]]:
        """[nodes] positions in what `add` gives, and the thresholds to compare with."""
        threshold = np.where(np.isposinf(splits.threshold), splits.threshold.dtype.type(0), splits.threshold)
        return np.searchsorted(self._used, self._keys(splits)), threshold

    def add(self, builder: GraphBuilder, transposed: str) -> str:
        """[used, rows] from [columns, rows]."""
        parts = []
        for kind in range(3):
            chosen = self._used[self._used // self._width == kind] % self._width
            if len(chosen):
                values = builder.add("Gather", transposed, builder.constant(chosen), axis=0)
                parts.append(values if kind == 0 else self._filled(builder, values, kept=kind == 1))
        return parts[0] if len(parts) == 1 else builder.add("Concat", *parts, axis=0)

    def _filled(self, builder: GraphBuilder, values: str, *, kept: bool) -> str:
        """Infinity for NaN; the other values as they are, or zero."""
        infinite = builder.constant(np.array(np.inf, dtype=self._type))
        others = values if kept else builder.constant(np.array(0, dtype=self._type))
        return builder.add("Where", builder.add("IsNaN", values), infinite, others)


@dataclass(frozen=True, eq=False)
class _Levels:
    """Trees filled up to one depth, at least `_TOP`."""

    columns: list[NDArray[np.int32]]
    """Per level [trees, places]"""
    thresholds: list[NDArray[Any]]
    """Per level [trees, places]"""
    leaves: NDArray[Any]
    """[trees, places behind the last level]"""

    @classmethod
    def of(cls, trees: Sequence[Splits], columns: _Columns, start: float | None) -> _Levels:
        """`start` is added to the first tree's leaves, as the sum does it."""
        depth = max(_TOP, *(_depth(splits.tree) for splits in trees))
        found = cls(
            [np.zeros((len(trees), 2**level), dtype=np.int32) for level in range(depth)],
            [np.zeros((len(trees), 2**level), dtype=trees[0].threshold.dtype) for level in range(depth)],
            np.zeros((len(trees), 2**depth), dtype=trees[0].leaf.dtype),
        )
        for number, splits in enumerate(trees):
            found._fill(number, splits, *columns.of(splits))
        if start is not None:
            found.leaves[0] += found.leaves.dtype.type(start)
        return found

    def _fill(self, number: int, splits: Splits, columns: IntArray, thresholds: NDArray[Any]) -> None:
        """Level by level; a place that a leaf has reached leads to it from then on."""
        tree = splits.tree
        always_left = np.isposinf(splits.threshold) & tree.missing_left
        right = np.where(always_left, tree.left, tree.right)
        here = np.array([0 if tree.n_nodes else ~0])
        for level in range(len(self.columns)):
            split = here >= 0
            self.columns[level][number, split] = columns[here[split]]
            self.thresholds[level][number, split] = thresholds[here[split]]
            below = np.repeat(here, 2)
            below[::2][split], below[1::2][split] = tree.left[here[split]], right[here[split]]
            here = below
        self.leaves[number] = splits.leaf[~here]


def _add_leaves(builder: GraphBuilder, levels: _Levels, values: str) -> str:
    """[trees, rows] the leaf of each tree for each row; `values` is [columns, rows]."""
    place = _add_top(builder, levels, values)
    for columns, thresholds in zip(levels.columns[_TOP:], levels.thresholds[_TOP:], strict=True):
        column = builder.add("GatherElements", builder.constant(columns), place, axis=1)
        threshold = builder.add("GatherElements", builder.constant(thresholds), place, axis=1)
        value = builder.add("GatherElements", values, column, axis=0)
        right = builder.cast(builder.add("Greater", value, threshold), TensorProto.INT32)
        place = builder.add("Add", builder.add("Add", place, place), right)
    return builder.add("GatherElements", builder.constant(levels.leaves), place, axis=1)


def _add_top(builder: GraphBuilder, levels: _Levels, values: str) -> str:
    """[trees, rows] the place behind level `_TOP`: all answers as one number, and a table from it to the place."""
    columns = np.concatenate(levels.columns[:_TOP], axis=1)
    thresholds = np.concatenate(levels.thresholds[:_TOP], axis=1)
    answers: str | None = None
    for split in reversed(range(columns.shape[1])):
        value = builder.add("Gather", values, builder.constant(columns[:, split]), axis=0)
        above = builder.add("Greater", value, builder.constant(thresholds[:, split, None]))
        bit = builder.cast(above, TensorProto.UINT8)
        answers = bit if answers is None else builder.add("Add", builder.add("Add", answers, answers), bit)
    assert answers is not None
    # All trees have the same table; the operator wants it once a tree.
    table = np.tile(_TOP_PLACES, (len(columns), 1))
    return builder.add("GatherElements", builder.constant(table), builder.cast(answers, TensorProto.INT32), axis=1)


def _top_places() -> NDArray[np.int32]:
    """[2 ** splits] the place behind the top levels; bit i of the index is the answer of split i, counted level by level."""
    answers = np.arange(2 ** (2**_TOP - 1))
    place = np.zeros_like(answers)
    for level in range(_TOP):
        place = 2 * place + (answers >> (2**level - 1 + place) & 1)
    return place.astype(np.int32)


_TOP_PLACES = _top_places()
