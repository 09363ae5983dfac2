"""The trees of a `TreeEnsemble` node (ai.onnx.ml 5): ids in range, proper trees, finite leaves, and only what we write."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

from alphaseal.gate.onnx.parts import FINITE, FLOAT32, FLOAT64, MISSING, UINT8, Node, Tensor
from alphaseal.gate.onnx.shapes import Call, Result, Unknown, Value, size, times

MAXIMUM_DEPTH = 1000
"""Splits on the longest path: onnxruntime loads trees by recursion, and an overflow gives no message."""
MAXIMUM_TREE_NODES = 5_000_000
_INTEGERS = (
    "nodes_featureids",
    "nodes_missing_value_tracks_true",
    "nodes_trueleafs",
    "nodes_falseleafs",
    "nodes_truenodeids",
    "nodes_falsenodeids",
)
_FLAGS = ("nodes_missing_value_tracks_true", "nodes_trueleafs", "nodes_falseleafs")
_NOT = bytes.maketrans(b"\0\1", b"\1\0")


class NoTree(Exception):
    """The node is not trees; the text says why."""


def shape(call: Call) -> Result:
    """One number per row and target.  Raises `NoTree`."""
    node, read = call.node, call.shape()
    # The kernel indexes a row by the feature of a split.
    if len(read) != 2 or len(read[1]) != 1:
        raise Unknown("trees take a matrix of a fixed number of columns")
    lists = {name: _list(node, name) for name in (*_INTEGERS, "tree_roots", "leaf_targetids")}
    count, leaves = len(lists["nodes_featureids"]), len(lists["leaf_targetids"])
    if (
        # 12.4: lists of equal length, for the kernel walks them by one index.
        any(len(lists[name]) != count for name in _INTEGERS)
        or not 0 < count <= MAXIMUM_TREE_NODES
        or leaves > 2 * count
    ):
        raise NoTree("the attributes of its nodes differ in length")
    # Flags become bytes below, and select ids.
    if any(set(lists[name]) - {0, 1} for name in _FLAGS):
        raise NoTree("a flag of its nodes is neither 0 nor 1")
    features, named, columns = set(lists["nodes_featureids"]), set(lists["leaf_targetids"]), read[1][0]
    # 12.4: ids in range.  Behind the last column is the next row, or foreign memory.
    if min(features) < 0 or max(features) >= columns:
        raise NoTree(f"a split looks at a column outside 0 to {columns - 1}")
    targets = call.integer("n_targets", 1)
    # A leaf adds to a place of the result, which the kernel does not check.
    if min(named) < 0 or max(named) >= targets:
        raise NoTree("a leaf adds to a target that does not exist")
    _check_tensors(node, count, leaves, call.data)
    roots = len(lists["tree_roots"])
    steps = size(roots * _check_structure(lists, leaves))
    return Result([Value((read[0], size(targets)))], times(read[0], steps), (roots, count))


def _list(node: Node, name: str) -> list[int]:
    found = node.attributes.get(name)
    if not isinstance(found, list) or not found:
        raise NoTree(f"attribute {name} is missing")
    return found


def _check_tensors(node: Node, count: int, leaves: int, data: bytes) -> None:
    modes, splits, weights = (node.attributes.get(name) for name in ("nodes_modes", "nodes_splits", "leaf_weights"))
    if not (isinstance(modes, Tensor) and isinstance(splits, Tensor) and isinstance(weights, Tensor)):
        raise NoTree("attributes nodes_modes, nodes_splits or leaf_weights are missing")
    # Double or float throughout: mixed types would be compared after rounding.
    if modes.element != UINT8 or splits.element not in (FLOAT32, FLOAT64) or weights.element != splits.element:
        raise NoTree("its modes or numbers are of another type than the format allows")
    # One mode and one threshold per node, one weight per leaf.
    if (modes.shape, splits.shape, weights.shape) != ((count,), (count,), (leaves,)):
        raise NoTree("the attributes of its nodes and leaves differ in length")
    # 0 is BRANCH_LEQ, the only mode that our builder writes.
    if any(data[modes.start : modes.end]):
        raise NoTree("a split compares in another way than <=")
    # Every comparison with NaN is false, so one branch would be dead.
    if splits.worst == MISSING:
        raise NoTree("a threshold is NaN")
    # Sums of infinite leaves are infinite or NaN for whoever reaches them.
    if weights.worst != FINITE:
        raise NoTree("a leaf is not finite")


def _check_structure(lists: dict[str, list[int]], leaves: int) -> int:
    """Every node and leaf is reached from one root on one path; the splits on the longest one."""
    roots, on_true, on_false = lists["tree_roots"], lists["nodes_truenodeids"], lists["nodes_falsenodeids"]
    true_leaf, false_leaf = bytes(lists["nodes_trueleafs"]), bytes(lists["nodes_falseleafs"])
    count = len(on_true)
    # 12.4: ids in range, before anything is looked up by them.
    if min(roots) < 0 or max(roots) >= count:
        raise NoTree("a root is not a node")
    if alike := [root for root in roots if on_true[root] == on_false[root]]:
        # onnxruntime before 1.24 takes such a root for a lone leaf, whatever the ids count, and scores wrongly without a
        # word (its issue 24679); our builder gives even a tree of one leaf two leaves.
        raise NoTree(f"the two branches of root {alike[0]} have one id")
    # 12.4: every leaf is the end of one path.
    if not _each_once([*compress(on_true, true_leaf), *compress(on_false, false_leaf)], leaves):
        raise NoTree("its leaves are not each the end of one path")
    node_ids = [*compress(on_true, true_leaf.translate(_NOT)), *compress(on_false, false_leaf.translate(_NOT)), *roots]
    # 12.4: every node is a root or the child of one node, so there are trees and cycles, nothing else.
    if not _each_once(node_ids, count):
        raise NoTree("its nodes are not each a root or the child of one node")
    level: Sequence[int] = roots
    depth = reached = 0
    while level:
        depth, reached = depth + 1, reached + len(level)
        # Loading recurses for each level, and an overflow ends the process without a word.
        if depth > MAXIMUM_DEPTH:
            raise NoTree(f"a tree has more than {MAXIMUM_DEPTH} splits on a path")
        level = [on_true[node] for node in level if not true_leaf[node]] + [
            on_false[node] for node in level if not false_leaf[node]
        ]
    # What is left is a cycle, and a walk in it would not end.
    if reached != count:
        raise NoTree("nodes form a cycle that no root leads to")
    return depth


def _each_once(ids: list[int], count: int) -> bool:
    """`ids` are the numbers below `count`, each once, in any order."""
    return len(ids) == count and min(ids) == 0 and max(ids) == count - 1 and len(set(ids)) == count
