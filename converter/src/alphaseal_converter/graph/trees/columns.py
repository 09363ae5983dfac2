"""The columns that the splits look at: raw features, and views of them where a split needs one.

Categorical splits become columns too, 0.0 where the row's code is in the split's set and 1.0 elsewhere, so that every
node of the trees compares with ``<=``.  The operator's own set nodes (BRANCH_MEMBER) are not used: onnxruntime unrolls
them into chains, copying what hangs below, and needs minutes or all memory for a few nested ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.models.trees import Decision, FloatArray, IntArray, Tree, TreeEnsembleModel
from alphaseal_converter.nodes.builder import GraphBuilder

MAXIMUM_CODE = 1_000_000
"""Largest category code: the graph carries a table up to it."""
_BETWEEN = 0.5
"""The threshold between 0.0 (in the set) and 1.0 (not in it)."""


class SplitColumns:
    """Which columns a model's splits need, and their positions: the features, then zero views, then category sets."""

    def __init__(self, model: TreeEnsembleModel) -> None:
        """Raises RefusalError `model.category_code` for codes above MAXIMUM_CODE."""
        self._model = model
        self._zero = sorted({int(f) for tree in model.trees for f in tree.split_feature[tree.zero_is_missing]})
        self._sets: dict[int, dict[bytes, IntArray]] = {}
        for tree in model.trees:
            for feature, codes in member_splits(tree):
                _check_codes(codes, feature)
                self._sets.setdefault(feature, {})[codes.tobytes()] = codes
        self._set_column: dict[tuple[int, bytes], int] = {}
        next_column = model.n_features + len(self._zero)
        for feature, sets in sorted(self._sets.items()):
            for key in sets:
                self._set_column[feature, key] = next_column
                next_column += 1

    def of_splits(self, tree: Tree) -> tuple[IntArray, FloatArray]:
        """[nodes] the column that each split compares, and the threshold it compares with."""
        columns: IntArray = tree.split_feature.copy()
        zero = tree.zero_is_missing
        columns[zero] = self._model.n_features + np.searchsorted(self._zero, tree.split_feature[zero])
        member = tree.decision == Decision.MEMBER
        columns[member] = [self._set_column[feature, codes.tobytes()] for feature, codes in member_splits(tree)]
        return columns, np.where(member, _BETWEEN, tree.threshold)

    def add(self, builder: GraphBuilder, features: str) -> str:
        """Adds the views to `features` (double [rows, n_features]); returns the double matrix of all columns."""
        parts = [features]
        if self._zero:
            values = builder.add("Gather", features, builder.constant(self._zero), axis=1)
            bound = builder.scalar(self._model.zero_bound)
            near_zero = builder.add("LessOrEqual", builder.add("Abs", values), bound)
            parts.append(builder.add("Where", near_zero, builder.scalar(np.nan), values))
        parts.extend(_add_sets(builder, features, feature, sets) for feature, sets in sorted(self._sets.items()))
        return features if len(parts) == 1 else builder.add("Concat", *parts, axis=1)


def member_splits(tree: Tree) -> list[tuple[int, IntArray]]:
    """Feature and codes of each MEMBER node, in node order."""
    members = tree.split_feature[tree.decision == Decision.MEMBER]
    return list(zip(members.tolist(), tree.categories, strict=True))


def _check_codes(codes: IntArray, feature: int) -> None:
    if len(codes) and codes.max() > MAXIMUM_CODE:
        raise RefusalError(
            "model.category_code",
            "a category code is larger than the graph can carry",
            where=f"feature {feature}",
            expected=f"at most {MAXIMUM_CODE}",
            found=str(codes.max()),
            next_step="number the categories from 0 and train again",
        )


def _add_sets(builder: GraphBuilder, features: str, feature: int, sets: dict[bytes, IntArray]) -> str:
    """[rows, sets]: 0.0 where the value, truncated toward zero, is in the set, 1.0 elsewhere and for NaN.

    Two look-ups, so that large codes do not multiply with many sets: code to class (codes that are in the same sets
    are one class), class to sets.
    """
    beyond = max((int(codes.max()) for codes in sets.values() if len(codes)), default=-1) + 1
    outside = np.ones((beyond + 1, len(sets)), dtype=np.uint8)
    for column, codes in enumerate(sets.values()):
        outside[codes, column] = 0
    table, class_of_code = _distinct_rows(outside)
    value = builder.add("Gather", features, builder.constant(np.array(feature)), axis=1)
    # Between -1 and 0 truncation gives code 0; NaN fails both comparisons.
    above, below = builder.scalar(-1.0), builder.scalar(float(beyond))
    known = builder.add("And", builder.add("Greater", value, above), builder.add("Less", value, below))
    code = builder.cast(builder.add("Where", known, value, builder.scalar(float(beyond))), TensorProto.INT64)
    class_ = builder.add("Gather", builder.constant(class_of_code), code)
    return builder.cast(builder.add("Gather", builder.constant(table), class_), TensorProto.DOUBLE)


def _distinct_rows(rows: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], IntArray]:
    packed = np.ascontiguousarray(np.packbits(rows, axis=1))
    keys = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return rows[first], inverse.astype(np.int64)
