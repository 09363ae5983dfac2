"""A tree that finds a value's place among sorted points, for look-ups in the graph."""

from __future__ import annotations

import numpy as np

from alphaseal_converter.models.trees import Decision, FloatArray, Tree


def search_tree(points: FloatArray, feature: int, first: int) -> Tree:
    """A balanced tree whose leaf value is `first` plus the number of points that are not above the value."""
    distinct, ends = np.unique(points, return_index=True)
    reached = np.concatenate([[0], [*ends[1:], len(points)]]).astype(np.float64)
    left, right = np.zeros(len(distinct), dtype=np.int64), np.zeros(len(distinct), dtype=np.int64)
    numbered: list[int] = []

    def grow(low: int, high: int) -> int:
        """The node that parts distinct points low..high-1, or the leaf between low - 1 and low."""
        if low == high:
            return ~low
        middle = (low + high) // 2
        node = len(numbered)
        numbered.append(middle)
        left[node] = grow(low, middle)
        right[node] = grow(middle + 1, high)
        return node

    grow(0, len(distinct))
    flags = np.zeros(len(distinct), dtype=np.bool_)
    return Tree(
        split_feature=np.full(len(distinct), feature),
        # "value < point" as "value <= the float below point".
        threshold=np.nextafter(distinct[numbered], -np.inf),
        decision=np.full(len(distinct), Decision.LESS_OR_EQUAL, dtype=np.uint8),
        missing_left=flags,
        zero_is_missing=flags,
        left=left,
        right=right,
        leaf_value=first + reached,
    )
