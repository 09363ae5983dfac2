"""scikit-learn's trees, from inert records, as `TreeEnsembleModel`s that add in the library's own order.

Sources: ``sklearn/tree/_tree.pyx`` (`_apply_dense`), ``ensemble/_forest.py``, ``ensemble/_gradient_boosting.pyx``,
``ensemble/_hist_gradient_boosting/_predictor.pyx``, versions 1.0 to 1.9.  scikit-learn is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.decode.frames import as_array, as_plain, shown
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.models.trees import (
    Decision,
    FloatArray,
    OutputTransform,
    TransformKind,
    Tree,
    TreeEnsembleModel,
    check_tree,
    malformed,
    several_outputs,
)
from alphaseal_converter.pickles.records import Global, Record

_TREE = Global("sklearn.tree._tree", "Tree")
_PREDICTOR = Global("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor")
_DUMMY = Global("sklearn.dummy", "DummyRegressor")
_NO_CHILD = -1
MAXIMUM_INPUTS = 100_000

# Losses whose predictions are the raw sum, and those behind a logarithmic link (names since scikit-learn 1.1).
_IDENTITY_LOSSES = frozenset(("HalfSquaredError", "AbsoluteError", "PinballLoss", "HuberLoss"))
_LOG_LOSSES = frozenset(("HalfPoissonLoss", "HalfGammaLoss"))


def parse_tree(record: Any, n_features: int, where: str) -> Tree:
    """A ``sklearn.tree._tree.Tree`` with one output; trees pickled before 1.3 know no missing values.

    RefusalError: `model.malformed`, `model.too_deep`, `model.multi_output`.
    """
    if not isinstance(record, Record) or record.factory != _TREE:
        raise malformed("an estimator holds no tree of scikit-learn", where, str(_TREE))
    nodes = _table(record.get("nodes"), ("left_child", "right_child", "feature", "threshold"), where)
    values = as_array(record.get("values"), where=where)
    if values.ndim != 3 or values.shape[1:] != (1, 1):
        raise multi_output(where, f"values of shape {values.shape}")
    if len(values) != len(nodes):
        raise malformed("nodes and values differ in number", where, str(len(nodes)), str(len(values)))
    is_leaf = nodes["left_child"] == _NO_CHILD
    missing = _optional(nodes, "missing_go_to_left")
    return _tree(
        is_leaf,
        nodes["left_child"],
        nodes["right_child"],
        nodes["feature"],
        nodes["threshold"],
        missing,
        values[:, 0, 0],
        n_features,
        where,
    )


def _tree(
    is_leaf: NDArray[np.bool_],
    left: NDArray[Any],
    right: NDArray[Any],
    feature: NDArray[Any],
    threshold: NDArray[Any],
    missing_left: NDArray[np.bool_],
    values: NDArray[Any],
    n_features: int,
    where: str,
) -> Tree:
    """Splits and leaves, mixed in one table of nodes, as two: children below zero are leaves ``~child``."""
    if not len(is_leaf):
        raise malformed("a tree has no nodes", where)
    split = ~is_leaf
    children = np.stack([left[split], right[split]]).astype(np.int64)
    if children.size and (children.min() < 0 or children.max() >= len(is_leaf)):
        raise malformed("a child id is out of range", where, f"0 to {len(is_leaf) - 1}")
    number = np.where(is_leaf, ~(np.cumsum(is_leaf) - 1), np.cumsum(split) - 1)
    if is_leaf[0] and len(is_leaf) > 1:
        raise malformed("the root of a larger tree is a leaf", where)
    count = int(split.sum())
    tree = Tree(
        split_feature=feature[split].astype(np.int64),
        threshold=threshold[split].astype(np.float64),
        decision=np.full(count, Decision.LESS_OR_EQUAL, dtype=np.uint8),
        missing_left=missing_left[split],
        zero_is_missing=np.zeros(count, dtype=np.bool_),
        left=number[children[0]],
        right=number[children[1]],
        leaf_value=values[is_leaf].astype(np.float64) + 0.0,
    )
    check_tree(tree, n_features, where)
    return tree


def parse_decision_tree(record: Record, where: str) -> TreeEnsembleModel:
    """DecisionTreeRegressor and ExtraTreeRegressor."""
    n_features = input_count(record, where)
    return TreeEnsembleModel(n_features, (parse_tree(record.get("tree_"), n_features, where),))


def _members(record: Record, n_features: int, kind: str, where: str) -> list[Tree]:
    members = object_members(record.get("estimators_"), where)
    if not members:
        raise untrained(where)
    return [
        parse_tree(_attribute(member, "tree_"), n_features, f"{where}, {kind} {i}") for i, member in enumerate(members)
    ]


def parse_forest(record: Record, where: str) -> TreeEnsembleModel:
    """RandomForestRegressor and ExtraTreesRegressor: the trees' sum from 0.0 in their order, divided by their number."""
    n_features = input_count(record, where)
    trees = _members(record, n_features, "tree", where)
    return TreeEnsembleModel(n_features, tuple(trees), average=True)


def parse_gradient_boosting(record: Record, where: str) -> TreeEnsembleModel:
    """GradientBoostingRegressor: the initial constant, then ``learning_rate * value`` of each stage in order.

    A constant is a tree of one leaf, so that the sum begins with it as the library's does.
    """
    n_features = input_count(record, where)
    rate = number(record.get("learning_rate"), "learning_rate", where)
    trees = _members(record, n_features, "stage", where)
    scaled = [_scaled(tree, rate) for tree in trees]
    return TreeEnsembleModel(n_features, (constant_tree(_initial(record, where)), *scaled))


def _scaled(tree: Tree, rate: float) -> Tree:
    return Tree(
        tree.split_feature,
        tree.threshold,
        tree.decision,
        tree.missing_left,
        tree.zero_is_missing,
        tree.left,
        tree.right,
        rate * tree.leaf_value + 0.0,
    )


def _initial(record: Record, where: str) -> float:
    """The constant that boosting begins with; another model as ``init`` would need its own graph."""
    init = record.get("init_")
    if init == "zero":
        return 0.0
    if not isinstance(init, Record) or init.factory != _DUMMY:
        raise RefusalError(
            "model.unsupported",
            "gradient boosting that begins with another model cannot be converted",
            where=f"{where}: init",
            expected="init=None or init='zero'",
            found=str(init.factory) if isinstance(init, Record) else type(init).__name__,
        )
    constant = as_array(init.get("constant_"), where=where)
    if constant.size != 1:
        raise multi_output(where, f"{constant.size} initial values")
    return float(constant.ravel()[0])


def parse_hist_gradient_boosting(record: Record, where: str) -> TreeEnsembleModel:
    """HistGradientBoostingRegressor: compares float64 with float64, leaf values already hold the learning rate."""
    n_features = input_count(record, where)
    categorical = record.get("is_categorical_")
    if categorical is not None and as_array(categorical, where=where).any():
        raise _categorical(where)
    baseline = as_array(record.get("_baseline_prediction"), where=where)
    if baseline.size != 1:
        raise multi_output(where, f"{baseline.size} baseline values")
    trees = [constant_tree(float(baseline.ravel()[0]))]
    for i, stage in enumerate(_list(record.get("_predictors"), where)):
        members = _list(stage, where)
        if len(members) != 1:
            raise multi_output(where, f"{len(members)} trees per iteration")
        trees.append(parse_predictor(members[0], n_features, f"{where}, iteration {i}"))
    return TreeEnsembleModel(n_features, tuple(trees), transform=_link(record, where))


def parse_predictor(record: Any, n_features: int, where: str) -> Tree:
    """One tree of HistGradientBoostingRegressor."""
    if not isinstance(record, Record) or record.factory != _PREDICTOR:
        raise malformed("an iteration holds no tree of scikit-learn", where, str(_PREDICTOR))
    fields = ("value", "feature_idx", "left", "right", "is_leaf", "missing_go_to_left")
    threshold = "num_threshold"
    nodes = _table(record.get("nodes"), (*fields, threshold), where)
    is_leaf = nodes["is_leaf"].astype(np.bool_)
    categorical = _optional(nodes, "is_categorical")
    if (categorical & ~is_leaf).any():
        raise _categorical(where)
    missing = nodes["missing_go_to_left"].astype(np.bool_)
    return _tree(
        is_leaf,
        nodes["left"],
        nodes["right"],
        nodes["feature_idx"],
        nodes[threshold],
        missing,
        nodes["value"],
        n_features,
        where,
    )


def _link(record: Record, where: str) -> OutputTransform:
    loss = record.get("_loss")
    name = loss.class_name if isinstance(loss, Record) else ""
    module = loss.factory.module if isinstance(loss, Record) and isinstance(loss.factory, Global) else ""
    if module == "sklearn._loss.loss" and name in _IDENTITY_LOSSES:
        return OutputTransform()
    if module == "sklearn._loss.loss" and name in _LOG_LOSSES:
        return OutputTransform(TransformKind.EXP)
    raise RefusalError(
        "model.objective",
        "the score transform of this loss is not known",
        where=where,
        expected=", ".join(sorted(_IDENTITY_LOSSES | _LOG_LOSSES)),
        found=f"{module}.{name}",
    )


def constant_tree(value: float) -> Tree:
    """A tree of one leaf."""
    none = np.zeros(0, dtype=np.int64)
    flags = np.zeros(0, dtype=np.bool_)
    return Tree(none, np.zeros(0), np.zeros(0, dtype=np.uint8), flags, flags, none, none, np.array([value + 0.0]))


def single_boundaries(thresholds: FloatArray) -> FloatArray:
    """The doubles at which a row that is cast to float32 changes sides: halfway above the last float32 that goes left."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
        last = np.where(nearest.astype(np.float64) <= thresholds, nearest, np.nextafter(nearest, np.float32(-np.inf)))
        following = np.nextafter(last, np.float32(np.inf))
    middle: FloatArray = last.astype(np.float64) / 2 + following.astype(np.float64) / 2
    return middle[np.isfinite(middle)]


# ---- small readings that other parts of scikit-learn share


def input_count(record: Record, where: str) -> int:
    """``n_features_in_`` of a fitted estimator."""
    value = record.get("n_features_in_", record.get("n_features_"))
    plain = as_plain(value, where=where)
    if isinstance(plain, bool) or not isinstance(plain, int) or plain < 1:
        raise untrained(where)
    return plain


def number(value: Any, name: str, where: str) -> float:
    """A finite int or float, plain or of numpy."""
    plain = as_plain(value, where=where)
    if isinstance(plain, bool) or not isinstance(plain, int | float) or not np.isfinite(plain):
        raise malformed(f"{name} is no finite number", where, found=shown(plain))
    return float(plain)


def object_members(value: Any, where: str) -> list[Any]:
    """The members of a list, or of a numpy array of objects, which stay inert records."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, Record) and isinstance(value.state, tuple) and len(value.state) == 5:
        _, _, _, _, members = value.state
        if isinstance(members, list):
            return members
    raise untrained(where)


def _attribute(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Record) else None


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise untrained(where)
    return value


def _table(value: Any, fields: Sequence[str], where: str) -> NDArray[Any]:
    nodes = as_array(value, where=where)
    lost = [name for name in fields if name not in (nodes.dtype.names or ())]
    if lost or nodes.ndim != 1:
        raise malformed("the table of nodes lacks fields", where, ", ".join(fields), ", ".join(lost))
    return nodes


def _optional(nodes: NDArray[Any], field: str) -> NDArray[np.bool_]:
    """A flag that old versions do not have."""
    if field not in (nodes.dtype.names or ()):
        return np.zeros(len(nodes), dtype=np.bool_)
    return nodes[field].astype(np.bool_)


def multi_output(where: str, found: str) -> RefusalError:
    return several_outputs(where, found, "one label")


def untrained(where: str) -> RefusalError:
    """The refusal of an estimator that lacks what fitting gives it."""
    return RefusalError("model.untrained", "the estimator was never fitted", where=where)


def _categorical(where: str) -> RefusalError:
    return RefusalError(
        "model.categorical",
        "HistGradientBoostingRegressor with categorical features cannot be converted",
        where=where,
        expected="numeric features only",
        next_step="train without categorical_features",
    )
