"""Trees of few splits as symmetric trees of the same scores, for which the graph is several times faster.

A tree of k splits is a symmetric tree of k levels: every split is answered for every row, and a table of 2**k entries
says to which leaf each combination of answers leads.  For the three levels of a usual boosted tree that is 128 entries.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.models.catboost import ObliviousTree
from alphaseal_converter.models.trees import Decision, FloatArray, Tree, TreeEnsembleModel

_MOST_SPLITS = 7


def as_oblivious(model: TreeEnsembleModel) -> tuple[ObliviousTree, ...] | None:
    """The trees, for rows of float32 without missing values; None where one has more than seven splits, or other ones."""
    if not all(_fits(tree) for tree in model.trees):
        return None
    return tuple(_oblivious(tree) for tree in model.trees)


def _fits(tree: Tree) -> bool:
    numeric = bool((tree.decision == Decision.LESS_OR_EQUAL).all())
    return numeric and tree.n_nodes <= _MOST_SPLITS and tree.linear is None and not tree.zero_is_missing.any()


def _oblivious(tree: Tree) -> ObliviousTree:
    leaf = np.zeros(2**tree.n_nodes, dtype=np.int64)
    for answers in range(len(leaf) if tree.n_nodes else 0):
        node = 0
        while node >= 0:
            node = int(tree.right[node] if answers >> node & 1 else tree.left[node])
        leaf[answers] = ~node
    return ObliviousTree(tree.split_feature, single_below(tree.threshold), tree.leaf_value[leaf])


def single_below(thresholds: FloatArray) -> NDArray[np.float32]:
    """The largest float32 that is not above: a float32 is at most the threshold exactly when it is at most this."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    below: NDArray[np.float32] = np.where(
        nearest.astype(np.float64) <= thresholds, nearest, np.nextafter(nearest, np.float32(-np.inf))
    )
    return below
