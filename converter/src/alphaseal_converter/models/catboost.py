"""CatBoost's own model file (cbm, format ``FlabuffersModel_v1``) as a `CatboostModel`; catboost is not needed.

Source of all rules: CatBoost's ``model.fbs``, ``model.cpp`` and ``cpu/evaluator.h``, each checked against the library
by the tests.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.models.flatbuffers import Table
from alphaseal_converter.models.trees import (
    MAXIMUM_FEATURES,
    MAXIMUM_NODES,
    MAXIMUM_TREES,
    BoolArray,
    FloatArray,
    IntArray,
    Tree,
    TreeEnsembleModel,
    check_tree,
    malformed,
    several_outputs,
    too_large,
)

MAXIMUM_DEPTH = 16
"""Of a symmetric tree: CatBoost's own limit."""
MAXIMUM_LEAVES = 50_000_000

_MAGIC = b"CBM1"
_VERSION = "FlabuffersModel_v1"
# Fields of TModelCore.
_CORE_VERSION, _CORE_TREES, _CORE_INFO = 0, 1, 2
# Fields of TModelTrees.
_DIMENSION, _SPLITS, _SIZES, _STARTS, _CATEGORICAL, _FLOAT, _ONE_HOT, _CTR, _LEAVES = range(9)
_STEP_NODES, _LEAF_OF_NODE, _TEXT, _ESTIMATED, _SCALE, _BIAS, _MULTI_BIAS = range(10, 17)
_EMBEDDING = 18
# Fields of TFloatFeature.
_FLAT_INDEX, _BORDERS, _FEATURE_ID, _NAN_TREATMENT = 2, 3, 4, 5
_AS_IS, _AS_FALSE, _AS_TRUE = 0, 1, 2


class Link(Enum):
    """From the formula's value to the score, in float64."""

    IDENTITY = "identity"
    EXP = "exp"
    SIGMOID = "sigmoid"


@dataclass(frozen=True, eq=False)
class ObliviousTree:
    """A symmetric tree: leaf ``sum(2**k for each split k with value > border)``; no splits: leaf 0."""

    feature: IntArray
    """[splits]"""
    border: NDArray[np.float32]
    """[splits]"""
    leaf_value: FloatArray
    """[2 ** splits]"""


@dataclass(frozen=True, eq=False)
class CatboostModel:
    """``scale * (sum of leaves in tree order, float64, from 0.0) + bias`` over values cast to float32.

    A model is all symmetric trees (`oblivious`) or all others (`trees`, whose LESS_OR_EQUAL thresholds are borders).
    """

    n_features: int
    oblivious: tuple[ObliviousTree, ...]
    trees: tuple[Tree, ...]
    nan_is_high: BoolArray
    """[n_features] NaN is above all borders; elsewhere it is above none."""
    scale: float
    bias: float
    loss: str
    """The loss function it was trained with, empty where the file does not say."""
    feature_names: tuple[str, ...]
    """Empty where the file has none."""

    @property
    def ensemble(self) -> TreeEnsembleModel:
        """The trees that are not symmetric, for the builder of trees."""
        return TreeEnsembleModel(n_features=self.n_features, trees=self.trees)

    @property
    def splits(self) -> list[FloatArray]:
        """Per feature the distinct borders that splits use, sorted."""
        feature = [tree.feature for tree in self.oblivious] + [tree.split_feature for tree in self.trees]
        border = [tree.border.astype(np.float64) for tree in self.oblivious] + [tree.threshold for tree in self.trees]
        features, borders = np.concatenate([[-1], *feature]), np.concatenate([[0.0], *border])
        return [np.unique(borders[features == number]) for number in range(self.n_features)]


def parse_cbm(data: bytes, where: str = "the CatBoost model") -> CatboostModel:
    """The model that CatBoost itself would load from `data`.

    Raises RefusalError: `model.version`, `model.multi_output`, `model.categorical` (categorical, text and embedding
    features), `model.too_large`, `model.too_deep`, and `model.malformed` for all that contradicts itself.
    """
    core = Table.root(_core(data, where), where)
    version = core.text(_CORE_VERSION)
    if version != _VERSION:
        raise _version(where, version)
    trees = core.table(_CORE_TREES)
    if trees is None:
        raise malformed("the model has no trees", where)
    return _Parser(trees, where).model(_loss(core))


def _core(data: bytes, where: str) -> bytes:
    if data[:4] != _MAGIC or len(data) < 8:
        raise _version(where, repr(data[:4]))
    size = int(struct.unpack_from("<I", data, 4)[0])
    if 8 + size > len(data):
        raise malformed("the model file is cut off", where, f"{8 + size} bytes", str(len(data)))
    return data[8 : 8 + size]


def _version(where: str, found: str) -> RefusalError:
    return RefusalError(
        "model.version",
        "the CatBoost model is of a format that is not known",
        where=where,
        expected=f"CBM1 with {_VERSION}",
        found=found[:40],
        next_step="save the model with CatBoost 1.0 or newer",
    )


def _loss(core: Table) -> str:
    """The loss function's name among the parameters that the file carries, with its options."""
    for entry in core.tables(_CORE_INFO):
        if entry.text(0) == "params":
            try:
                loss = json.loads(entry.text(1))["loss_function"]
                return str(loss["type"])
            except (ValueError, KeyError, TypeError, RecursionError):
                return ""
    return ""


class _Parser:
    def __init__(self, table: Table, where: str) -> None:
        self._table = table
        self._where = where
        self._split_feature = np.zeros(0, dtype=np.int64)
        self._split_border = np.zeros(0, dtype=np.float32)

    def model(self, loss: str) -> CatboostModel:
        self._check_kind()
        count, nan_is_high, names = self._features()
        oblivious: tuple[ObliviousTree, ...] = ()
        trees: tuple[Tree, ...] = ()
        if self._table.count(_STEP_NODES):
            trees = tuple(self._stepping_trees(count, nan_is_high))
        else:
            oblivious = tuple(self._oblivious_trees())
        scale, bias = self._table.double(_SCALE, 1.0), self._bias()
        if not (np.isfinite(scale) and np.isfinite(bias)):
            raise malformed("scale or bias is not finite", self._where)
        return CatboostModel(count, oblivious, trees, nan_is_high, scale, bias, loss, names)

    def _check_kind(self) -> None:
        dimension = self._table.whole(_DIMENSION, 0)
        if dimension != 1:
            raise several_outputs(self._where, f"{dimension} outputs", "a single-output loss")
        kinds = {_CATEGORICAL: "categorical", _TEXT: "text", _EMBEDDING: "embedding"}
        kinds |= {_ONE_HOT: "one-hot", _CTR: "target statistics", _ESTIMATED: "estimated"}
        for field, kind in kinds.items():
            if self._table.count(field):
                raise RefusalError(
                    "model.categorical",
                    f"the model has {kind} features, whose values are hashed text and not the numbers of a table",
                    where=self._where,
                    expected="numeric features only",
                    found=f"{self._table.count(field)} {kind} features",
                    next_step="train on numeric features",
                )

    def _features(self) -> tuple[int, BoolArray, tuple[str, ...]]:
        """Number of features, NaN rule and names; keeps what each number in the list of splits means."""
        features = self._table.tables(_FLOAT)
        count = len(features)
        if not 1 <= count <= MAXIMUM_FEATURES:
            raise malformed(
                "the number of features is out of range", self._where, f"1 to {MAXIMUM_FEATURES}", str(count)
            )
        flat = [feature.whole(_FLAT_INDEX, -1) for feature in features]
        if flat != list(range(count)):
            raise malformed("the features are not numbered from 0 on", self._where)
        treatment = np.array([feature.byte(_NAN_TREATMENT, _AS_IS) for feature in features])
        if not np.isin(treatment, (_AS_IS, _AS_FALSE, _AS_TRUE)).all():
            raise malformed("a rule for missing values is not known", self._where)
        borders = [feature.numbers(_BORDERS, "<f4") for feature in features]
        self._split_feature = np.repeat(np.arange(count), [len(values) for values in borders])
        self._split_border = np.concatenate(borders)
        if not np.isfinite(self._split_border).all():
            raise malformed("a border is not finite", self._where)
        names = tuple(feature.text(_FEATURE_ID) for feature in features)
        return count, treatment == _AS_TRUE, names if any(names) else ()

    def _tree_splits(self) -> Iterator[IntArray]:
        """Per tree its numbers in the list of all borders."""
        splits, sizes, starts = (
            self._table.numbers(field, "<i4").astype(np.int64) for field in (_SPLITS, _SIZES, _STARTS)
        )
        if len(sizes) > MAXIMUM_TREES:
            raise too_large("trees", MAXIMUM_TREES)
        if len(splits) > MAXIMUM_NODES:
            raise too_large("nodes", MAXIMUM_NODES)
        if (sizes < 0).any() or int(sizes.sum()) != len(splits):
            raise malformed("the sizes of the trees do not add up to their splits", self._where)
        ends = np.cumsum(sizes)
        if not np.array_equal(starts, ends - sizes):
            raise malformed("the trees do not follow each other", self._where)
        if len(splits) and not (splits.min() >= 0 and splits.max() < len(self._split_border)):
            raise malformed("a split names a border that the model does not have", self._where)
        for start, end in pairwise([0, *ends.tolist()]):
            yield splits[start:end]

    def _leaf_values(self) -> FloatArray:
        leaves = self._table.numbers(_LEAVES, "<f8")
        if len(leaves) > MAXIMUM_LEAVES:
            raise too_large("leaves", MAXIMUM_LEAVES)
        if not np.isfinite(leaves).all():
            raise malformed("a leaf value is not finite", self._where)
        return leaves

    def _oblivious_trees(self) -> Iterator[ObliviousTree]:
        leaves, used = self._leaf_values(), 0
        for number, splits in enumerate(self._tree_splits()):
            if len(splits) > MAXIMUM_DEPTH:
                raise malformed("a symmetric tree is too deep", f"{self._where}, tree {number}", str(MAXIMUM_DEPTH))
            values = leaves[used : used + 2 ** len(splits)]
            if len(values) != 2 ** len(splits):
                raise malformed("leaves are missing", f"{self._where}, tree {number}")
            used += len(values)
            yield ObliviousTree(self._split_feature[splits], self._split_border[splits], values)
        if used != len(leaves):
            raise malformed("leaves and trees do not add up", self._where, str(used), str(len(leaves)))

    def _stepping_trees(self, count: int, nan_is_high: BoolArray) -> Iterator[Tree]:
        """Trees of nodes that say how far their children are ahead; a step of 0 ends at the node's own leaf."""
        leaves = self._leaf_values()
        steps = self._table.numbers(_STEP_NODES, "<u2,<u2")
        leaf_of_node = self._table.numbers(_LEAF_OF_NODE, "<u4").astype(np.int64)
        left, right = steps["f0"].astype(np.int64), steps["f1"].astype(np.int64)
        start = 0
        for number, splits in enumerate(self._tree_splits()):
            where, end = f"{self._where}, tree {number}", start + len(splits)
            if end > min(len(left), len(leaf_of_node)):
                raise malformed("nodes are missing", where)
            nodes = _StepNodes(left[start:end], right[start:end], leaf_of_node[start:end])
            tree = nodes.tree(self._split_feature[splits], self._split_border[splits], nan_is_high, leaves, where)
            check_tree(tree, count, where)
            yield tree
            start = end

    def _bias(self) -> float:
        """Since 0.26 a vector of one; before, and still beside it, a single number."""
        several = self._table.numbers(_MULTI_BIAS, "<f8")
        if len(several) > 1:
            raise malformed("the model has several biases for one output", self._where)
        return float(several[0]) if len(several) else self._table.double(_BIAS, 0.0)


@dataclass(frozen=True)
class _StepNodes:
    """One tree's nodes as the file has them."""

    left: IntArray
    right: IntArray
    leaf: IntArray

    def tree(
        self,
        feature: IntArray,
        border: NDArray[np.float32],
        nan_is_high: BoolArray,
        leaves: FloatArray,
        where: str,
    ) -> Tree:
        """The same as a binary tree; every end of a path becomes a leaf of its own."""
        count = len(self.left)
        if not count:
            raise malformed("a tree has no nodes", where)
        own = np.arange(count)
        inner = (self.left != 0) | (self.right != 0)
        if ((own + self.left >= count) | (own + self.right >= count)).any():
            raise malformed("a child is outside of its tree", where)
        place = np.cumsum(inner) - 1
        values: list[int] = []
        children = []
        for step in (self.left, self.right):
            target = own + step
            ends = (step == 0) | ~inner[target]
            chosen = inner & ends
            numbers = np.zeros(count, dtype=np.int64)
            numbers[chosen] = len(values) + np.arange(int(chosen.sum()))
            values.extend(self.leaf[target[chosen]].tolist())
            children.append(np.where(ends, ~numbers, place[target])[inner])
        found = np.array(values or [self.leaf[0]], dtype=np.int64)
        if found.min() < 0 or found.max() >= len(leaves):
            raise malformed("a leaf is missing", where)
        no = np.zeros(int(inner.sum()), dtype=np.bool_)
        return Tree(
            split_feature=feature[inner],
            threshold=border[inner].astype(np.float64),
            decision=no.astype(np.uint8),
            missing_left=~nan_is_high[feature[inner]],
            zero_is_missing=no,
            left=children[0],
            right=children[1],
            leaf_value=leaves[found],
        )
