"""LightGBM's model text, versions v3 (LightGBM 3.x) and v4 (4.x), as a `TreeEnsembleModel`.

Source of all rules: ``Tree``, ``GBDT`` and the objectives of LightGBM (tree.h, gbdt_model_text.cpp,
gbdt_prediction.cpp, c_api.cpp), each checked against ``Booster.predict`` by the tests.  lightgbm is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.models.trees import (
    MAXIMUM_FEATURES,
    MAXIMUM_NODES,
    MAXIMUM_TREES,
    BoolArray,
    Decision,
    FloatArray,
    IntArray,
    LinearLeaves,
    OutputTransform,
    TransformKind,
    Tree,
    TreeEnsembleModel,
    check_tree,
    malformed,
    several_outputs,
    too_large,
)

ZERO_BOUND = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold, a float constant: input values up to it are zero."""

MAXIMUM_LEAVES = 131_072
"""Of one tree: the limit of LightGBM's own ``num_leaves``."""

_CATEGORIES = "pandas_categorical:"
_HEADER_KEYS = frozenset((
    "version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective", "average_output",
    "feature_names", "monotone_constraints", "feature_infos", "tree_sizes",
))  # fmt: skip
_TREE_KEYS = frozenset((
    "num_leaves", "num_cat", "split_feature", "split_gain", "threshold", "decision_type", "shrinkage", "left_child",
    "right_child", "leaf_value", "leaf_weight", "leaf_count", "internal_value", "internal_weight", "internal_count",
    "cat_boundaries", "cat_threshold", "is_linear", "leaf_const", "num_features", "leaf_features", "leaf_coeff",
))  # fmt: skip

# Bits of decision_type: 1 categorical, 2 NaN goes left, the rest shifted by two is the missing type.
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_NONE, _MISSING_ZERO, _MISSING_NAN = 0, 1, 2

_IDENTITY_OBJECTIVES = frozenset(
    ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg", "custom")
)
_SQUARE_ROOT_OBJECTIVES = frozenset(("regression", "regression_l1", "fair", "quantile", "mape"))
_EXPONENTIAL_OBJECTIVES = frozenset(("poisson", "gamma", "tweedie"))
_MULTICLASS_OBJECTIVES = frozenset(("multiclass", "multiclassova"))


def parse_model_text(text: str, num_iteration: int | None = None) -> TreeEnsembleModel:
    """The model that LightGBM itself would load from `text`.

    `num_iteration` keeps the first so many trees, as ``Booster.predict(num_iteration=...)``: None or a number below 1
    keeps all, a number above the count too.  A pickled Booster needs none: its text is cut at its best iteration.

    Raises RefusalError: `model.version`, `model.multi_output`, `model.objective`, `model.too_large`,
    `model.too_deep`, and `model.malformed` for all that contradicts itself.
    """
    header, section = _split_text(text)
    n_features = _check_header(header)
    transform = _parse_objective(header.get("objective"))
    blocks = _split_trees(section, header)
    if num_iteration is not None and num_iteration > 0:
        blocks = blocks[:num_iteration]
    trees = tuple(_parse_tree(block, f"tree {number}", n_features) for number, block in enumerate(blocks))
    if sum(tree.n_nodes for tree in trees) > MAXIMUM_NODES:
        raise too_large("nodes", MAXIMUM_NODES)
    return TreeEnsembleModel(
        n_features=n_features,
        trees=trees,
        average="average_output" in header,
        zero_bound=ZERO_BOUND,
        transform=transform,
    )


def feature_names(text: str) -> tuple[str, ...]:
    """[features] the names that the text states, as LightGBM writes them; of one that `parse_model_text` has accepted."""
    return tuple(_split_text(text)[0]["feature_names"].split(" "))


def feature_infos(text: str) -> tuple[str, ...]:
    """[features] what was seen of each feature in training: ``[lowest:highest]``, codes ``3:1:2`` or ``none``."""
    return tuple(_split_text(text)[0].get("feature_infos", "").split(" "))


def stated_categories(text: str) -> Any:
    """The categories of pandas columns that the last line of the text states, as ``Booster`` reads them; None without."""
    *_, last = text.rstrip().rpartition("\n")
    if not last.startswith(_CATEGORIES):
        return None
    try:
        return json.loads(last.removeprefix(_CATEGORIES))
    except (ValueError, RecursionError):
        raise malformed("the categories of the model text are not JSON", "pandas_categorical") from None


def split_gains(text: str, num_iteration: int | None = None) -> FloatArray | None:
    """[features] the sum of the gains of each feature's splits, in the trees that `parse_model_text` keeps of `text`.

    As ``Booster.feature_importance("gain")``: gains are float32, those that are not positive do not count.  `text` is one that
    `parse_model_text` has accepted.  None where it does not state gains: no score depends on them.
    """
    header, section = _split_text(text)
    gains = np.zeros(_check_header(header))
    blocks = _split_trees(section, header)
    kept = num_iteration if num_iteration is not None and num_iteration > 0 else len(blocks)
    for number, block in enumerate(blocks[:kept]):
        where = f"tree {number}"
        fields = _fields(block.split("\n"), where, _TREE_KEYS)
        features = _numbers(fields.get("split_feature", ""), where, np.int64)
        try:
            stated = _column(fields, "split_gain", len(features), where, np.float64)
        except RefusalError:
            return None
        with np.errstate(over="ignore"):
            np.add.at(gains, features, np.where(stated > 0, stated.astype(np.float32), np.float32(0.0)))
    return gains if np.isfinite(gains).all() else None


def _split_text(text: str) -> tuple[dict[str, str], str]:
    """The header as key and value, and the text of all trees."""
    first, separator, rest = text.partition("\n")
    if first != "tree" or not separator:
        raise malformed("the text is no LightGBM model", "line 1", "tree", first[:40])
    start, end = rest.find("\nTree=0\n"), rest.find("\nend of trees")
    if start < 0 or end < start:
        raise malformed("the model has no trees, or its text is cut off", "the model text", "Tree=0 ... end of trees")
    return _fields(rest[:start].split("\n"), "the header", _HEADER_KEYS), rest[start + 1 : end + 1]


def _check_header(header: dict[str, str]) -> int:
    """The number of features; refuses other versions and more than one output."""
    version = header.get("version", "none")
    if version not in ("v3", "v4"):
        raise RefusalError(
            "model.version",
            "the LightGBM model text is of a version that is not known",
            where="version",
            expected="v3 or v4",
            found=version,
            next_step="load and save the model with LightGBM 3.3 or newer",
        )
    outputs = max(_whole(header, "num_class", "the header"), _whole(header, "num_tree_per_iteration", "the header"))
    if outputs != 1:
        raise several_outputs("the LightGBM model", f"{outputs} outputs")
    n_features = _whole(header, "max_feature_idx", "the header") + 1
    if n_features < 1:
        raise malformed("the model has no feature", "max_feature_idx", "0 or more")
    if n_features > MAXIMUM_FEATURES:
        raise too_large("features", MAXIMUM_FEATURES)
    named = len(header.get("feature_names", "").split(" "))
    if named != n_features:
        raise malformed("feature names and max_feature_idx do not agree", "the header", str(n_features), str(named))
    return n_features


def _parse_objective(objective: str | None) -> OutputTransform:
    """The transform that LightGBM's ``ConvertOutput`` applies; no objective at all is a custom one."""
    name, *options = (objective or "custom").split(" ")
    if name in _MULTICLASS_OBJECTIVES:
        raise several_outputs("the LightGBM model", f"objective {name}")
    if name in _IDENTITY_OBJECTIVES and not options:
        return OutputTransform()
    if name in _SQUARE_ROOT_OBJECTIVES and options == ["sqrt"]:
        return OutputTransform(TransformKind.SIGNED_SQUARE)
    if name in _EXPONENTIAL_OBJECTIVES and not options:
        return OutputTransform(TransformKind.EXP)
    if name == "cross_entropy" and not options:
        return OutputTransform(TransformKind.SIGMOID)
    if name == "cross_entropy_lambda" and not options:
        return OutputTransform(TransformKind.LOG1P_EXP)
    if name == "binary" and len(options) == 1 and options[0].startswith("sigmoid:"):
        scale = _numbers(options[0].removeprefix("sigmoid:"), "objective", np.float64)
        if len(scale) == 1 and np.isfinite(scale[0]) and scale[0] > 0:
            return OutputTransform(TransformKind.SIGMOID, float(scale[0]))
    raise RefusalError(
        "model.objective",
        "the score transform of this objective is not known",
        where="objective",
        found=objective,
        next_step="train with one of LightGBM's single-output objectives, or report this one",
    )


def _split_trees(section: str, header: dict[str, str]) -> list[str]:
    """One text per tree, cut where `tree_sizes` says, as LightGBM does when it loads trees in parallel."""
    if not section.isascii():
        raise malformed("the trees hold characters that LightGBM does not write", "the model text")
    sizes = _numbers(header.get("tree_sizes", ""), "tree_sizes", np.int64)
    if len(sizes) > MAXIMUM_TREES:
        raise too_large("trees", MAXIMUM_TREES)
    if (sizes < 0).any() or int(sizes.sum()) != len(section):
        raise malformed("the sizes of the trees do not add up to their text", "tree_sizes", f"{len(section)} bytes")
    ends = np.cumsum(sizes)
    blocks = []
    for number, (start, end) in enumerate(pairwise([0, *ends.tolist()])):
        title, _, body = section[start:end].partition("\n")
        if title != f"Tree={number}":
            raise malformed("trees and tree_sizes do not agree", f"tree {number}", f"Tree={number}", title[:40])
        blocks.append(body)
    return blocks


def _parse_tree(block: str, where: str, n_features: int) -> Tree:
    fields = _fields(block.split("\n"), where, _TREE_KEYS)
    n_leaves = _whole(fields, "num_leaves", where)
    if not 1 <= n_leaves <= MAXIMUM_LEAVES:
        raise malformed("num_leaves is out of range", where, f"1 to {MAXIMUM_LEAVES}", str(n_leaves))
    nodes = n_leaves - 1
    split_feature = _column(fields, "split_feature", nodes, where, np.int64)
    decision_type = _column(fields, "decision_type", nodes, where, np.int64)
    missing = decision_type >> 2
    if nodes and (decision_type.min() < 0 or missing.max() > _MISSING_NAN):
        raise malformed("a decision type is not known", where, found=str(decision_type.max()))
    categorical = (decision_type & _CATEGORICAL) != 0
    written = _column(fields, "threshold", nodes, where, np.float64)
    categories = _categories(fields, written[categorical], where)
    threshold = np.where(categorical, 0.0, _effective_thresholds(written, missing))
    tree = Tree(
        split_feature=split_feature,
        threshold=threshold,
        decision=np.where(categorical, Decision.MEMBER, Decision.LESS_OR_EQUAL).astype(np.uint8),
        missing_left=_missing_left(decision_type, missing, written) & ~categorical,
        zero_is_missing=(missing == _MISSING_ZERO) & ~categorical,
        left=_column(fields, "left_child", nodes, where, np.int64),
        right=_column(fields, "right_child", nodes, where, np.int64),
        # The sum starts at +0.0, so the sign of a zero leaf never shows; + 0.0 takes it away for a tree on its own.
        leaf_value=_column(fields, "leaf_value", n_leaves, where, np.float64) + 0.0,
        categories=categories,
        linear=_linear_leaves(fields, n_leaves, where),
    )
    check_tree(tree, n_features, where)
    return tree


def _missing_left(decision_type: IntArray, missing: IntArray, threshold: FloatArray) -> BoolArray:
    """NaN takes the default direction, and is compared as 0.0 where the split knows no missing values."""
    default_left: BoolArray = (decision_type & _DEFAULT_LEFT) != 0
    compared: BoolArray = threshold >= 0.0
    return np.where(missing == _MISSING_NONE, compared, default_left).astype(np.bool_)


def _effective_thresholds(threshold: FloatArray, missing: IntArray) -> FloatArray:
    """Thresholds for raw values, though LightGBM sets values up to ±ZERO_BOUND to 0.0 before it compares.

    A threshold inside that band parts the band's lower end from its upper one, which the library never does: it is
    moved to the end of the band (or just below it) that gives the same decision for every value.
    """
    below = np.nextafter(-ZERO_BOUND, -np.inf)
    moved = np.where(threshold >= 0.0, ZERO_BOUND, below)
    inside = (threshold >= -ZERO_BOUND) & (threshold < ZERO_BOUND) & (missing != _MISSING_ZERO)
    result: FloatArray = np.where(inside, moved, threshold)
    return result


def _categories(fields: dict[str, str], indices: FloatArray, where: str) -> tuple[IntArray, ...]:
    """The codes that go left, per categorical split; `indices` are the splits' numbers among the tree's bit sets."""
    count = _whole(fields, "num_cat", where)
    if not 0 <= count < MAXIMUM_LEAVES:
        raise malformed("num_cat is out of range", where, found=str(count))
    if count == 0:
        if len(indices):
            raise malformed("a tree without categories has a categorical split", where)
        return ()
    bounds = _column(fields, "cat_boundaries", count + 1, where, np.int64)
    if bounds[0] != 0 or (np.diff(bounds) < 0).any():
        raise malformed("the bounds of the categories do not grow from 0", where)
    words = _column(fields, "cat_threshold", int(bounds[-1]), where, np.int64)
    if len(words) and (words.min() < 0 or words.max() >= 2**32):
        raise malformed("a word of a category set is not of 32 bits", where)
    if not np.isin(indices, np.arange(count)).all():
        raise malformed("a categorical split names a set that the tree does not have", where)
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    edges = [(32 * int(bounds[index]), 32 * int(bounds[index + 1])) for index in indices.astype(np.int64)]
    return tuple(np.flatnonzero(bits[start:end]) for start, end in edges)


def _linear_leaves(fields: dict[str, str], n_leaves: int, where: str) -> LinearLeaves | None:
    linear = fields.get("is_linear", "0")
    if linear == "0":
        return None
    if linear != "1":
        raise malformed("is_linear is neither 0 nor 1", where, found=linear)
    counts = _column(fields, "num_features", n_leaves, where, np.int64)
    if counts.min() < 0 or counts.max() > MAXIMUM_FEATURES:
        raise malformed("a linear leaf has an impossible number of features", where)
    total = int(counts.sum())
    return LinearLeaves(
        constant=_column(fields, "leaf_const", n_leaves, where, np.float64),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        features=_column(fields, "leaf_features", total, where, np.int64),
        coefficients=_column(fields, "leaf_coeff", total, where, np.float64),
        flush=ZERO_BOUND,
    )


def _fields(lines: Sequence[str], where: str, known: frozenset[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            continue
        key, _, value = line.partition("=")
        if key not in known:
            raise malformed("a field is not known", where, found=key[:40])
        if key in fields:
            raise malformed("a field is there twice", where, found=key)
        fields[key] = value
    return fields


def _whole(fields: dict[str, str], key: str, where: str) -> int:
    return int(_column(fields, key, 1, where, np.int64)[0])


def _column(fields: dict[str, str], key: str, length: int, where: str, dtype: type[np.generic]) -> NDArray[Any]:
    if key not in fields and length:
        raise malformed(f"{key} is missing", where)
    values = _numbers(fields.get(key, ""), f"{where}, {key}", dtype)
    if len(values) != length:
        raise malformed("a field has another length than the tree", f"{where}, {key}", str(length), str(len(values)))
    return values


def _numbers(value: str, where: str, dtype: type[np.generic]) -> NDArray[Any]:
    if "_" in value:
        raise malformed("a number cannot be read", where, found="an underscore")
    try:
        return np.array(value.split(), dtype=dtype)
    except (ValueError, OverflowError) as error:
        raise malformed("a number cannot be read", where, found=str(error)[:80]) from error
