"""XGBoost's own model document (JSON or UBJSON, versions 1 to 3) as an `XgboostModel`.

Source of all rules: XGBoost's ``tree_model.cc``, ``gbtree.cc``, ``gblinear_model.h``, ``cpu_predictor.cc`` and the
objectives' ``ProbToMargin`` and ``PredTransform``; each is checked against the library by the tests.  xgboost is not
needed here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.models import ubjson
from alphaseal_converter.models.trees import (
    MAXIMUM_FEATURES,
    MAXIMUM_NODES,
    MAXIMUM_TREES,
    BoolArray,
    Decision,
    IntArray,
    Tree,
    TreeEnsembleModel,
    check_tree,
    malformed,
    several_outputs,
    too_large,
)

MAXIMUM_BYTES = 2_000_000_000
MAXIMUM_CATEGORY = 16_777_216
"""Codes from here on are never in a set (``kOutOfRangeCat``)."""

SingleArray = NDArray[np.float32]


class Link(Enum):
    """From the margin to the score, in float32."""

    IDENTITY = "identity"
    SIGMOID = "sigmoid"
    EXP = "exp"


# A custom objective leaves the default name, and its margin is what the library returns.
_AS_THEY_ARE = (
    "reg:squarederror", "reg:linear", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
    "reg:quantileerror", "rank:pairwise", "rank:ndcg", "rank:map", "binary:logitraw",
)  # fmt: skip
_LINKS: Mapping[str, Link] = {
    **dict.fromkeys(_AS_THEY_ARE, Link.IDENTITY),
    **dict.fromkeys(("reg:logistic", "binary:logistic"), Link.SIGMOID),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"), Link.EXP),
}


@dataclass(frozen=True)
class Linear:
    """gblinear: the margin is ``start + weight[0] * x[0] + ...``, missing values left out, in float32 in this order."""

    start: float
    weight: SingleArray
    """[features]"""


@dataclass(frozen=True, eq=False)
class XgboostModel:
    """Trees over values cast to float32; leaves are added in tree order in float32, starting at `base`.

    Thresholds of the trees are the largest float32 that goes left, so ``x < split`` is ``x <= threshold``.  A MEMBER
    node's codes are those of its *left* child (XGBoost's right one), other codes go right, NaN where `missing_left` says.
    """

    n_features: int
    trees: tuple[Tree, ...]
    base: float
    """A float32; the margin that all rows start with."""
    link: Link
    objective: str
    booster: str
    """gbtree, dart or gblinear"""
    linear: Linear | None = None
    best_iteration: int | None = None
    feature_names: tuple[str, ...] = ()
    """Empty where it was trained on a plain matrix."""
    categorical: tuple[bool, ...] = ()
    """[features] which are codes of categories; empty where the document does not say."""
    version: tuple[int, int, int] = (0, 0, 0)
    """Of the XGBoost that wrote it."""

    @property
    def ensemble(self) -> TreeEnsembleModel:
        """The trees alone, for what looks at splits."""
        return TreeEnsembleModel(n_features=self.n_features, trees=self.trees)


@dataclass(frozen=True)
class Rule:
    """What differs between ``Booster.predict`` of a DMatrix and the scikit-learn wrappers.

    `best_iteration_only`: with early stopping the wrappers use the best rounds, Booster all.  `in_place`: the wrappers
    predict without a DMatrix, except for gblinear, which changes how dart weighs a leaf, and lets infinite values pass.
    """

    best_iteration_only: bool = False
    in_place: bool = False


def parse_document(data: bytes, rule: Rule, where: str = "the XGBoost model") -> XgboostModel:
    """The model in a saved or pickled Booster's bytes.

    Raises RefusalError: `model.version` (the binary format of old releases, versions above 3), `model.multi_output`,
    `model.objective`, `model.booster`, `model.categorical`, `model.too_large`, `model.too_deep`, `model.malformed`.
    """
    document = _mapping(_load(data, where), where)
    # A pickled Booster is a snapshot of the model and its configuration; a saved one is the model alone.
    document = _mapping(document["Model"], where) if "Model" in document else document
    version = _check_version(document.get("version"), where)
    model = _Parser(_mapping(document.get("learner"), f"{where}, learner"), rule, where).model()
    return replace(model, version=version)


def _load(data: bytes, where: str) -> Any:
    if len(data) > MAXIMUM_BYTES:
        raise too_large("bytes", MAXIMUM_BYTES)
    if ubjson.is_ubjson(data):
        return ubjson.loads(data, where)
    if data[:1] != b"{":
        raise RefusalError(
            "model.version",
            "the Booster is in the binary format of an old XGBoost",
            where=where,
            expected="JSON or UBJSON, as XGBoost writes since 1.0 (JSON) and 1.6 (UBJSON)",
            next_step="load the model with XGBoost 1.6 to 2.1 and save it with save_model as .ubj or .json",
        )
    # NaN is let in: some releases write it among a tree's statistics, which nothing here looks at.
    try:
        return json.loads(data, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise malformed("the model is not JSON", where, found=str(error)[:80]) from None


def _no_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a key is there twice")
    return entries


def _check_version(version: Any, where: str) -> tuple[int, int, int]:
    numbers = _whole_numbers(version, f"{where}, version")
    if len(numbers) != 3 or not 1 <= numbers[0] <= 3:
        raise RefusalError(
            "model.version",
            "the model was written by a version of XGBoost that is not known",
            where=where,
            expected="1, 2 or 3",
            found=".".join(str(number) for number in numbers[:3]),
        )
    major, minor, patch = numbers.tolist()
    return major, minor, patch


class _Parser:
    """One learner; `where` is the file's name in errors."""

    def __init__(self, learner: Mapping[str, Any], rule: Rule, where: str) -> None:
        self._learner = learner
        self._rule = rule
        self._where = where
        self._parameters = _mapping(learner.get("learner_model_param"), f"{where}, learner_model_param")
        self.objective = str(_mapping(learner.get("objective"), f"{where}, objective").get("name"))

    def model(self) -> XgboostModel:
        self._check_outputs()
        link = _LINKS.get(self.objective)
        if link is None:
            raise RefusalError(
                "model.objective",
                "the score transform of this objective is not known, or it gives no score to rank by",
                where=self._where,
                expected=", ".join(sorted(_LINKS)),
                found=self.objective,
            )
        n_features = self._whole("num_feature")
        if not 1 <= n_features <= MAXIMUM_FEATURES:
            raise malformed("the number of features is out of range", self._where, f"1 to {MAXIMUM_FEATURES}")
        base = self._base_margin()
        gradient_booster = _mapping(self._learner.get("gradient_booster"), f"{self._where}, gradient_booster")
        name = str(gradient_booster.get("name"))
        trees: tuple[Tree, ...] = ()
        linear: Linear | None = None
        if name == "gblinear":
            linear = self._linear(_mapping(gradient_booster.get("model"), self._where), n_features, base)
        elif name == "gbtree":
            trees = self._trees(_mapping(gradient_booster.get("model"), self._where), n_features)
        elif name == "dart":
            inner = _mapping(gradient_booster.get("gbtree"), self._where)
            trees = self._trees(_mapping(inner.get("model"), self._where), n_features)
            trees = self._weighed(trees, _singles(gradient_booster.get("weight_drop"), self._where), base)
        else:
            raise RefusalError("model.booster", "the booster is not known", where=self._where, found=name)
        return XgboostModel(
            n_features=n_features,
            trees=trees,
            base=float(base),
            link=link,
            objective=self.objective,
            booster=name,
            linear=linear,
            best_iteration=self._best_iteration(),
            feature_names=self._feature_names(n_features),
            categorical=self._categorical(n_features),
        )

    def _check_outputs(self) -> None:
        outputs = max(self._whole("num_class", "0"), self._whole("num_target", "1"))
        if outputs > 1 or self.objective.startswith("multi:"):
            raise several_outputs(self._where, f"{outputs} outputs, objective {self.objective}")

    def _base_margin(self) -> np.float32:
        """The base score, a number or (since 3.1) a list of one, brought from the score's scale to the margin's."""
        text = str(self._parameters.get("base_score")).removeprefix("[").removesuffix("]")
        base: np.float32 = np.float32(self._real(text, "base_score"))
        one = np.float32(1)
        # math.log rounded to float32 is what logf gives but for rarest cases, and numpy's float32 log is not.
        with np.errstate(divide="ignore", invalid="ignore"):
            if _LINKS.get(self.objective) is Link.SIGMOID:
                odds = one / base - one
                base = np.float32(-math.log(odds)) if np.isfinite(odds) and odds > 0 else np.float32(np.nan)
            elif _LINKS.get(self.objective) is Link.EXP:
                base = np.float32(math.log(base)) if base > 0 else np.float32(np.nan)
        if not np.isfinite(base):
            raise malformed("the base score is not in the range of the objective", self._where, found=text[:40])
        return base

    def _best_iteration(self) -> int | None:
        attributes = self._learner.get("attributes")
        text = attributes.get("best_iteration") if isinstance(attributes, dict) else None
        return None if text is None else self._integer(str(text), "best_iteration")

    def _feature_names(self, n_features: int) -> tuple[str, ...]:
        names = _sequence(self._learner.get("feature_names", []), f"{self._where}, feature_names")
        if len(names) not in (0, n_features) or not all(isinstance(name, str) for name in names):
            raise malformed("the names of the features do not fit their number", self._where, str(n_features))
        return tuple(names)

    def _categorical(self, n_features: int) -> tuple[bool, ...]:
        types = _sequence(self._learner.get("feature_types", []), f"{self._where}, feature_types")
        if len(types) not in (0, n_features):
            raise malformed("the types of the features do not fit their number", self._where, str(n_features))
        return tuple(kind == "c" for kind in types)

    def _linear(self, model: Mapping[str, Any], n_features: int, base: np.float32) -> Linear:
        weights = _singles(model.get("weights"), f"{self._where}, weights")
        if len(weights) != n_features + 1:
            raise malformed(
                "weights and features differ in number", self._where, str(n_features + 1), str(len(weights))
            )
        if not np.isfinite(weights).all():
            raise malformed("a weight is not finite", self._where)
        return Linear(float(weights[-1] + base), weights[:-1])

    def _trees(self, model: Mapping[str, Any], n_features: int) -> tuple[Tree, ...]:
        self._check_recoding(model, n_features)
        documents = _sequence(model.get("trees"), f"{self._where}, trees")
        if len(documents) > MAXIMUM_TREES:
            raise too_large("trees", MAXIMUM_TREES)
        if _whole_numbers(model.get("tree_info"), f"{self._where}, tree_info").any():
            raise malformed("trees belong to several outputs", self._where)
        documents = documents[: self._tree_count(model, len(documents))]
        trees, nodes = [], 0
        for number, document in enumerate(documents):
            where = f"{self._where}, tree {number}"
            trees.append(_parse_tree(_mapping(document, where), n_features, where))
            nodes += trees[-1].n_nodes
            if nodes > MAXIMUM_NODES:
                raise too_large("nodes", MAXIMUM_NODES)
        return tuple(trees)

    def _tree_count(self, model: Mapping[str, Any], count: int) -> int:
        """Trees that predict: all, or for the wrappers those up to the best iteration."""
        best = self._best_iteration()
        if not self._rule.best_iteration_only or best is None:
            return count
        if "iteration_indptr" in model:
            ends = _whole_numbers(model["iteration_indptr"], f"{self._where}, iteration_indptr")
            if not 0 <= best < len(ends) - 1 or ends[0] != 0 or (np.diff(ends) < 0).any() or ends[-1] != count:
                raise malformed("best_iteration and the number of trees do not agree", self._where)
            return int(ends[best + 1])
        # Before 2.0 all rounds have the same number of trees.
        parameters = _mapping(model.get("gbtree_model_param"), f"{self._where}, gbtree_model_param")
        parallel = self._integer(str(parameters.get("num_parallel_tree")), "num_parallel_tree")
        if parallel < 1 or not 0 < (best + 1) * parallel <= count:
            raise malformed("best_iteration and the number of trees do not agree", self._where)
        return (best + 1) * parallel

    def _check_recoding(self, model: Mapping[str, Any], n_features: int) -> None:
        """Since 3.1 a model trained on a data frame holds its categories; a matrix of numbers holds codes only.

        Before, the codes of a frame's categories were lost, and a model that knows names was trained on a frame.
        """
        categories = model.get("cats")
        encodings = categories.get("enc") if isinstance(categories, dict) else None
        if categories is None and any(self._categorical(n_features)) and self._feature_names(n_features):
            raise _recoded(
                "the model was trained on a data frame with categories, and does not say which codes they had",
                self._where,
            )
        for encoding in encodings or ():
            values = encoding.get("values", ()) if isinstance(encoding, dict) else ()
            if "offsets" in encoding and len(values):
                own = False
            else:
                own = np.array_equal(np.asarray(values), np.arange(len(values)))
            if not own:
                raise _recoded(
                    "the model was trained on categories of a data frame, which are not their own codes", self._where
                )

    def _weighed(self, trees: Sequence[Tree], weights: SingleArray, base: np.float32) -> tuple[Tree, ...]:
        """dart: each tree's leaves times its weight, with the roundings of the way that is taken to predict."""
        if len(weights) < len(trees) or not np.isfinite(weights).all():
            raise malformed("dart has fewer weights than trees, or one is not finite", self._where)
        weighed = []
        for tree, weight in zip(trees, weights, strict=False):
            leaf = tree.leaf_value.astype(np.float32)
            if self._rule.in_place:
                # Each tree predicts with the base score, which is then taken off again (GBTree::InplacePredict).
                leaf = (base + leaf) - base
            weighed.append(replace(tree, leaf_value=(leaf * weight).astype(np.float64)))
        return tuple(weighed)

    def _whole(self, key: str, default: str | None = None) -> int:
        return self._integer(str(self._parameters.get(key, default)), key)

    def _integer(self, text: str, key: str) -> int:
        if not text.isascii() or not text.isdecimal() or len(text) > 10:
            raise malformed(f"{key} is not a whole number", self._where, found=text[:40])
        return int(text)

    def _real(self, text: str, key: str) -> float:
        try:
            if "_" in text:
                raise ValueError
            return float(text)
        except ValueError:
            raise malformed(f"{key} is not one number", self._where, found=text[:40]) from None


def _parse_tree(document: Mapping[str, Any], n_features: int, where: str) -> Tree:
    """One tree; nodes that pruning left behind, which the root does not reach, are dropped."""
    left = _whole_numbers(document.get("left_children"), where)
    right = _whole_numbers(document.get("right_children"), where)
    split = _singles(document.get("split_conditions"), where)
    feature = _whole_numbers(document.get("split_indices"), where)
    default_left = _whole_numbers(document.get("default_left"), where) != 0
    # Releases before 1.3 know no categorical splits.
    kind = _whole_numbers(document.get("split_type", [0] * len(left)), where)
    if not len(left) or any(len(column) != len(left) for column in (right, split, feature, default_left, kind)):
        raise malformed("the columns of a tree differ in length, or are empty", where)
    nodes, leaves = _reached(left, right, where)
    place = np.zeros(len(left), dtype=np.int64)
    place[nodes] = np.arange(len(nodes))
    place[leaves] = ~np.arange(len(leaves))
    categorical = kind[nodes] == 1
    threshold = _below(split[nodes], categorical, where)
    first, second = place[left[nodes]], place[right[nodes]]
    tree = Tree(
        split_feature=feature[nodes],
        threshold=threshold,
        decision=np.where(categorical, Decision.MEMBER, Decision.LESS_OR_EQUAL).astype(np.uint8),
        # XGBoost sends the codes of a set to the right, and so, here, right is left for categorical nodes.
        missing_left=default_left[nodes] ^ categorical,
        zero_is_missing=np.zeros(len(nodes), dtype=np.bool_),
        left=np.where(categorical, second, first),
        right=np.where(categorical, first, second),
        leaf_value=split[leaves].astype(np.float64),
        categories=_categories(document, nodes[categorical], where),
    )
    check_tree(tree, n_features, where)
    return tree


def _reached(left: IntArray, right: IntArray, where: str) -> tuple[IntArray, IntArray]:
    """Splits and leaves that the root reaches, level by level."""
    nodes, leaves, count = [], [], 0
    level = np.zeros(1, dtype=np.int64)
    while len(level):
        count += len(level)
        if count > len(left):
            raise malformed("the children do not form a tree", where)
        ends = left[level] == -1
        if (ends != (right[level] == -1)).any():
            raise malformed("a node has one child", where)
        leaves.append(level[ends])
        nodes.append(level[~ends])
        level = np.concatenate([left[nodes[-1]], right[nodes[-1]]])
        if len(level) and not (level.min() > 0 and level.max() < len(left)):
            raise malformed("a child id is out of range", where)
    found = np.concatenate([*nodes, *leaves])
    if len(np.unique(found)) != len(found):
        raise malformed("the children do not form a tree: a node has two parents", where)
    return np.concatenate(nodes), np.concatenate(leaves)


def _below(split: SingleArray, categorical: BoolArray, where: str) -> NDArray[np.float64]:
    """The largest float32 below each split: what goes left of ``x < split``."""
    if np.isneginf(split[~categorical]).any() or np.isnan(split[~categorical]).any():
        raise malformed("a split value is NaN or minus infinity", where)
    below = np.nextafter(split, np.float32(-np.inf))
    threshold: NDArray[np.float64] = np.where(categorical, np.float32(0), below).astype(np.float64)
    return threshold


def _categories(document: Mapping[str, Any], nodes: IntArray, where: str) -> tuple[IntArray, ...]:
    """The codes of each categorical node, in the order of `nodes`."""
    if not len(nodes):
        return ()
    keys = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
    codes, owners, starts, sizes = (_whole_numbers(document.get(key), f"{where}, {key}") for key in keys)
    if not len(owners) == len(starts) == len(sizes) or len(np.unique(owners)) != len(owners):
        raise malformed("the sets of categories differ in number", where)
    if (starts < 0).any() or (sizes < 0).any() or (len(starts) and (starts + sizes).max() > len(codes)):
        raise malformed("a set of categories is out of range", where)
    if len(codes) and not (codes.min() >= 0 and codes.max() < MAXIMUM_CATEGORY):
        raise malformed("a category code is out of range", where)
    position = {int(owner): number for number, owner in enumerate(owners)}
    if not set(nodes.tolist()) <= position.keys():
        raise malformed("a categorical split has no set of categories", where)
    found = (position[node] for node in nodes.tolist())
    return tuple(np.unique(codes[starts[at] : starts[at] + sizes[at]]) for at in found)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise malformed("a part of the model is missing", where, "an object", type(value).__name__)
    return value


def _sequence(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise malformed("a part of the model is missing", where, "an array", type(value).__name__)
    return value


def _whole_numbers(value: Any, where: str) -> IntArray:
    array = _numbers(value, where)
    # JSON writes default_left as true and false in some releases.
    if array.size and array.dtype.kind not in "iub":
        raise malformed("a column is not of whole numbers", where, found=str(array.dtype))
    if array.dtype == np.uint64:
        raise malformed("a whole number is out of range", where)
    return array.astype(np.int64)


def _singles(value: Any, where: str) -> SingleArray:
    with np.errstate(over="ignore"):
        return _numbers(value, where).astype(np.float32)


def _numbers(value: Any, where: str) -> NDArray[Any]:
    if isinstance(value, list):
        if not all(isinstance(number, int | float) for number in value):
            raise malformed("a column holds something that is not a number", where)
        try:
            value = np.array(value)
        except (OverflowError, ValueError):
            raise malformed("a number is out of range", where) from None
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iufb" or value.ndim != 1:
        raise malformed("a column of numbers is missing", where, found=type(value).__name__)
    return value


def _recoded(message: str, where: str) -> RefusalError:
    return RefusalError(
        "model.categorical",
        message,
        where=where,
        expected="categories 0, 1, 2, ... or a matrix of codes",
        next_step="train on the category codes as numbers: a numpy matrix of them, with feature_types",
    )
