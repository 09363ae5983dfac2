"""scikit-learn's fitted estimators, from inert records, as chains of typed steps.

The table names each class exactly; what is not in it is left to the caller.  scikit-learn is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.comparison.known_names import KnownNames
from alphaseal_converter.decode.frames import as_array, as_plain, shown
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.models.lightgbm_saved import known_names as names_of_lightgbm
from alphaseal_converter.models.lightgbm_saved import read_saved
from alphaseal_converter.models.sklearn import trees as trees
from alphaseal_converter.models.sklearn.steps import (
    Activation,
    Branches,
    Chain,
    Check,
    Elementwise,
    Impute,
    Linear,
    Mean,
    Network,
    Operation,
    Polynomial,
    Project,
    Quantile,
    Select,
    Stack,
    Step,
    Trees,
)
from alphaseal_converter.models.trees import FloatArray, malformed
from alphaseal_converter.pickles.records import Global, Record

_FINITE = Check(missing=False)
_NAN_PASSES = Check(missing=True)
_LIGHTGBM = "lightgbm.sklearn.LGBMRegressor"
_MISSING_CRITERIA = frozenset(("squared_error", "friedman_mse", "poisson"))


class UnknownEstimatorError(Exception):
    """A class that the table does not have; `path` names it."""

    def __init__(self, path: str, where: str) -> None:
        super().__init__(path)
        self.path = path
        self.where = where


@dataclass(frozen=True)
class Estimator:
    """What is known of a chain: its inputs, and whether its fitted numbers are float32, as from a table of float32.

    `category_columns` are inputs that were categorical in the frame of the training.
    """

    chain: Chain
    input_count: int
    single: bool
    category_columns: tuple[int, ...]


def parse_estimator(record: Record, where: str, *, given_frames: bool = True) -> Estimator:
    """The chain of a fitted estimator or pipeline, which is handed data frames or, behind other steps, bare values.

    Raises UnknownEstimatorError, and RefusalError for what is known and cannot be converted.
    """
    reading = _Reading(given_frames)
    chain = reading.estimator(record, where)
    return Estimator(chain, inputs_of(record, where), reading.single, reading.category_columns)


def inputs_of(record: Record, where: str) -> int:
    """Input columns of an estimator; a pipeline has those of its first step that says so."""
    if _path(record) in ("sklearn.pipeline.Pipeline", "sklearn.pipeline.FeatureUnion"):
        members = record.get("steps", record.get("transformer_list"))
        for entry in members if isinstance(members, list) else ():
            if isinstance(entry, tuple) and len(entry) > 1 and isinstance(entry[1], Record):
                return inputs_of(entry[1], where)
    if record.get("n_features_in_") is None and record.get("estimators_") is not None:
        # A voting or stacking regressor asks its first member.
        first = trees.object_members(record.get("estimators_"), where)[0]
        if isinstance(first, Record):
            return inputs_of(first, where)
    if _path(record) == _LIGHTGBM:
        return _whole(record.get("_n_features"), "_n_features", where)
    return trees.input_count(record, where)


def known_names(record: Record, where: str) -> KnownNames | None:
    """The names that the estimator was fitted with, or a pipeline's first step that does something."""
    if _path(record) == "sklearn.pipeline.Pipeline":
        steps = record.get("steps")
        for entry in steps if isinstance(steps, list) else ():
            step = _named(entry, where)
            if isinstance(step, Record):
                return known_names(step, where)
        return None
    if _path(record) == _LIGHTGBM:
        return names_of_lightgbm(read_saved(record, where))
    fitted = record.get("feature_names_in_")
    if fitted is None:
        return None
    names = tuple(str(name) for name in as_array(fitted, where=where).tolist())
    return KnownNames(names, "scikit-learn's feature_names_in_")


_SHARING = frozenset((
    "sklearn.pipeline.FeatureUnion", "sklearn.ensemble._voting.VotingRegressor",
    "sklearn.ensemble._stacking.StackingRegressor",
))  # fmt: skip
"""Estimators that hand several others the same rows."""


def check_copies(record: Record, where: str) -> None:
    """RefusalError ``model.unsupported`` for a transformer that changes rows in place which others are handed too."""
    seen: set[tuple[int, bool]] = set()
    waiting: list[tuple[Any, bool]] = [(record, False)]
    while waiting:
        value, shared = waiting.pop()
        # A list may hold itself, or one list many times over.
        if not isinstance(value, list | tuple | Record) or (id(value), shared) in seen:
            continue
        seen.add((id(value), shared))
        if not isinstance(value, Record):
            waiting.extend((member, shared) for member in value)
            continue
        if shared and value.attributes.get("copy") is False and _path(value).startswith("sklearn."):
            raise RefusalError(
                "model.unsupported",
                f"{value.class_name} with copy=False changes the rows in place that other parts of the model are handed",
                where=where,
                found=f"{value.class_name}(copy=False)",
                next_step="set copy=True (set_params) and see that the scores are those that you want",
            )
        inner = shared or _path(value) in _SHARING
        waiting.extend((member, inner) for member in value.attributes.values())


def version_of(record: Record) -> str | None:
    """The scikit-learn that pickled the estimator, as it says itself."""
    value = record.get("_sklearn_version")
    return value if isinstance(value, str) else None


class _Reading:
    """One reading; `single` is set by the first fitted matrix that is float32.

    `given_frames` says whether the estimator that is read next gets the table that the user hands over: scikit-learn's
    own steps turn it into bare values.
    """

    def __init__(self, given_frames: bool) -> None:
        self.single = False
        self.category_columns: tuple[int, ...] = ()
        self._given_frames = given_frames

    def estimator(self, record: Any, where: str) -> Chain:
        if not isinstance(record, Record):
            raise malformed("an estimator is no object", where, found=type(record).__name__)
        path = _path(record)
        parser = _PARSERS.get(path)
        if parser is None:
            raise UnknownEstimatorError(path or "the result of a call", where)
        return parser(self, record, f"{where}: {record.class_name}")

    # ---- containers

    def pipeline(self, record: Record, where: str) -> Chain:
        steps = record.get("steps")
        if not isinstance(steps, list) or not steps:
            raise trees.untrained(where)
        chain: list[Step] = []
        for entry in steps:
            step = _named(entry, where)
            chain.extend(self.member(step, where))
            self._given_frames = self._given_frames and not isinstance(step, Record)
        return tuple(chain)

    def member(self, value: Any, where: str) -> Chain:
        """A step of a pipeline; None and 'passthrough' do nothing."""
        return () if value is None or value == "passthrough" else self.estimator(value, where)

    def column_transformer(self, record: Record, where: str) -> Chain:
        self._given_frames = False
        fitted = record.get("transformers_")
        positions = record.get("_transformer_to_input_indices")
        if not isinstance(fitted, list) or not isinstance(positions, dict):
            raise trees.untrained(where)
        branches = []
        for entry in fitted:
            if not isinstance(entry, tuple) or len(entry) != 3:
                raise malformed("a transformer of columns has not three parts", where)
            name, transformer, _ = entry
            if transformer == "drop":
                continue
            columns = np.array([int(i) for i in as_plain(positions.get(name), where=where)], dtype=np.int64)
            if len(columns):
                branches.append((columns, self.member(transformer, f"{where}, {name}")))
        return (Branches(None, tuple(branches)),)

    def union(self, record: Record, where: str) -> Chain:
        self._given_frames = False
        members = record.get("transformer_list")
        if record.get("transformer_weights") is not None or not isinstance(members, list):
            raise _unsupported(where, "a FeatureUnion with weights")
        everything = np.arange(inputs_of(record, where))
        branches = [
            (everything, self.member(_named(entry, where), where))
            for entry in members
            if _named(entry, where) != "drop"
        ]
        return (Branches(None, tuple(branches)),)

    def voting(self, record: Record, where: str) -> Chain:
        self._given_frames = False
        members = tuple(
            (None, self.estimator(m, where)) for m in trees.object_members(record.get("estimators_"), where)
        )
        listed, weights = record.get("weights"), None
        if listed is None:
            return (Mean(None, members, None, float(len(members))),)
        used = [
            w for w, entry in zip(_numbers(listed, where), record.get("estimators"), strict=True) if entry[1] != "drop"
        ]
        weights = tuple(used)
        return (Mean(None, members, weights, float(np.sum(np.array(weights)))),)

    def bagging(self, record: Record, where: str) -> Chain:
        self._given_frames = False
        estimators = trees.object_members(record.get("estimators_"), where)
        chosen = trees.object_members(record.get("estimators_features_"), where)
        members = tuple(
            (as_array(columns, where=where).astype(np.int64), self.estimator(estimator, where))
            for estimator, columns in zip(estimators, chosen, strict=True)
        )
        if record.get("n_estimators", len(members)) != len(members):
            raise malformed("n_estimators, by which the sum is divided, and the estimators differ in number", where)
        return (Mean(None, members, None, float(len(members))),)

    def stacking(self, record: Record, where: str) -> Chain:
        self._given_frames = False
        members = tuple(self.estimator(m, where) for m in trees.object_members(record.get("estimators_"), where))
        final = self.estimator(record.get("final_estimator_"), where)
        return (Stack(members, bool(record.get("passthrough")), final),)

    # ---- transformers

    def standard_scaler(self, record: Record, where: str) -> Chain:
        return self.scaler(record, where, ("Sub", "mean_", "with_mean"), ("Div", "scale_", "with_std"))

    def robust_scaler(self, record: Record, where: str) -> Chain:
        return self.scaler(record, where, ("Sub", "center_", "with_centering"), ("Div", "scale_", "with_scaling"))

    def min_max_scaler(self, record: Record, where: str) -> Chain:
        clip = _pair(record.get("feature_range"), where) if record.get("clip", False) else None
        return self.scaler(record, where, ("Mul", "scale_", None), ("Add", "min_", None), clip=clip)

    def max_abs_scaler(self, record: Record, where: str) -> Chain:
        clip = (-1.0, 1.0) if record.get("clip", False) else None
        return self.scaler(record, where, ("Div", "scale_", None), clip=clip)

    def scaler(
        self,
        record: Record,
        where: str,
        *parts: tuple[Operation, str, str | None],
        clip: tuple[float, float] | None = None,
    ) -> Chain:
        operations = [
            (operation, self.matrix(record, name, where, 1))
            for operation, name, switch in parts
            if switch is None or record.get(switch, True)
        ]
        return (Elementwise(_NAN_PASSES, tuple(operations), clip),)

    def imputer(self, record: Record, where: str) -> Chain:
        marker = as_plain(record.get("missing_values", float("nan")), where=where)
        if not isinstance(marker, float) or not np.isnan(marker):
            raise _unsupported(where, f"missing values marked as {shown(marker)}")
        statistics = as_array(record.get("statistics_"), where=where).astype(np.float64)
        if statistics.ndim != 1:
            raise malformed("statistics_ has another shape", where, "1 axis", str(statistics.shape))
        # Before 1.8 a constant fills columns that were empty in training too; since then they are left out.
        constant = record.get("strategy") == "constant" and _version(record) < (1, 8)
        keep_empty = bool(record.get("keep_empty_features", False)) or constant
        kept = np.arange(len(statistics)) if keep_empty else np.flatnonzero(~np.isnan(statistics))
        indicator = record.get("indicator_")
        indicated = np.zeros(0, dtype=np.int64)
        if isinstance(indicator, Record):
            indicated = as_array(indicator.get("features_"), where=where).astype(np.int64)
            if indicated.ndim != 1 or not ((indicated >= 0) & (indicated < len(statistics))).all():
                raise malformed("the indicator names a column that is not there", where)
        return (Impute(_NAN_PASSES, kept.astype(np.int64), statistics[kept], indicated),)

    def quantile(self, record: Record, where: str) -> Chain:
        distribution = record.get("output_distribution")
        if distribution not in ("uniform", "normal"):
            raise malformed("the output distribution is not known", where, "uniform or normal", shown(distribution))
        quantiles = self.matrix(record, "quantiles_", where, 2)
        references = self.matrix(record, "references_", where, 1)
        if len(quantiles) != len(references) or len(references) < 2 or (np.diff(quantiles, axis=0) < 0).any():
            raise malformed("quantiles and references do not fit together", where)
        return (Quantile(_NAN_PASSES, quantiles, references, distribution == "normal"),)

    def pca(self, record: Record, where: str) -> Chain:
        components = self.matrix(record, "components_", where, 2).T
        mean = self.matrix(record, "mean_", where, 1)
        divisor = None
        if record.get("whiten"):
            root = np.sqrt(self.matrix(record, "explained_variance_", where, 1))
            divisor = np.maximum(root, np.finfo(np.float64).eps)
        if _version(record) < (1, 5):
            return (Project(_FINITE, mean, components, None, divisor),)
        return (Project(_FINITE, None, components, mean @ components, divisor),)

    def truncated_svd(self, record: Record, where: str) -> Chain:
        return (Project(_FINITE, None, self.matrix(record, "components_", where, 2).T, None, None),)

    def polynomial(self, record: Record, where: str) -> Chain:
        low, high = _whole(record.get("_min_degree", 0), "degree", where), record.get("_max_degree")
        high = _whole(record.get("degree") if high is None else high, "degree", where)
        count, interaction = trees.input_count(record, where), bool(record.get("interaction_only"))
        if high > 4:
            raise _unsupported(where, f"polynomials of degree {high}")
        products: list[tuple[int, ...]] = [()] if record.get("include_bias") else []
        for length in range(max(low, 1), high + 1):
            products.extend(_products(count, length, interaction))
        if len(products) > 100_000:
            raise _unsupported(where, f"{len(products)} polynomial features")
        return (Polynomial(_FINITE, tuple(products)),)

    def function(self, record: Record, where: str) -> Chain:
        if record.get("func") is not None:
            raise _unsupported(where, "a function: its code is not in the weights")
        return ()

    def variance_threshold(self, record: Record, where: str) -> Chain:
        variances = self.matrix(record, "variances_", where, 1)
        threshold = trees.number(record.get("threshold"), "threshold", where)
        return (Select(np.flatnonzero(variances > threshold)),)

    # ---- regressors

    def linear(self, record: Record, where: str) -> Chain:
        return (self.linear_step(record, where, exponential=False),)

    def exponential_linear(self, record: Record, where: str) -> Chain:
        return (self.linear_step(record, where, exponential=True),)

    def tweedie(self, record: Record, where: str) -> Chain:
        """The link that ``_get_loss`` chooses: of "auto" the logarithm for powers above zero."""
        link, power = record.get("link", "auto"), trees.number(record.get("power", 0.0), "power", where)
        if link not in ("auto", "identity", "log"):
            raise malformed("the link is not known", where, "auto, identity or log", shown(link))
        return (self.linear_step(record, where, exponential=link == "log" or (link == "auto" and power > 0)),)

    def linear_step(self, record: Record, where: str, *, exponential: bool) -> Linear:
        coefficients = self.array(record, "coef_", where)
        if coefficients.ndim == 2 and coefficients.shape[0] != 1:
            raise trees.multi_output(where, f"coefficients of shape {coefficients.shape}")
        intercept = as_plain_array(record.get("intercept_"), where)
        if intercept.size != 1:
            raise trees.multi_output(where, f"{intercept.size} intercepts")
        return Linear(_FINITE, coefficients.ravel(), float(intercept.ravel()[0]), exponential)

    def mlp(self, record: Record, where: str) -> Chain:
        weights = [self.checked(value, "coefs_", where, 2) for value in _list(record.get("coefs_"), where)]
        biases = [self.checked(value, "intercepts_", where, 1) for value in _list(record.get("intercepts_"), where)]
        if not weights or len(weights) != len(biases):
            raise trees.untrained(where)
        if weights[-1].shape[1] != 1:
            raise trees.multi_output(where, f"{weights[-1].shape[1]} outputs")
        hidden = _activation(record.get("activation"), where)
        output = _activation(record.get("out_activation_", "identity"), where)
        return (Network(_FINITE, tuple(weights), tuple(biases), hidden, output),)

    def decision_tree(self, record: Record, where: str) -> Chain:
        check = Check(missing=_tree_takes_missing(record, (1, 3)), single=True)
        return (Trees(check, trees.parse_decision_tree(record, where)),)

    def forest(self, record: Record, where: str) -> Chain:
        model = trees.parse_forest(record, where)
        first = trees.object_members(record.get("estimators_"), where)[0]
        check = Check(missing=_tree_takes_missing(first, (1, 4)), single=True)
        return (Trees(check, model),)

    def gradient_boosting(self, record: Record, where: str) -> Chain:
        return (Trees(Check(missing=False, single=True), trees.parse_gradient_boosting(record, where)),)

    def hist_gradient_boosting(self, record: Record, where: str) -> Chain:
        return (Trees(None, trees.parse_hist_gradient_boosting(record, where)),)

    def lightgbm(self, record: Record, where: str) -> Chain:
        saved = read_saved(record, where, given_frames=self._given_frames)
        self.category_columns = saved.category_columns
        return (Trees(None, saved.model),)

    # ---- fitted numbers

    def matrix(self, record: Record, name: str, where: str, rank: int) -> FloatArray:
        return self.checked(record.get(name), name, where, rank)

    def array(self, record: Record, name: str, where: str) -> FloatArray:
        value = record.get(name)
        if value is None:
            raise trees.untrained(where)
        array = as_array(value, where=where)
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise malformed(f"{name} has numbers that are not finite", where, found=str(array.dtype))
        self.single = self.single or array.dtype == np.float32
        return array.astype(np.float64)

    def checked(self, value: Any, name: str, where: str, rank: int) -> FloatArray:
        holder = Record(Global("", ""), state={name: value})
        array = self.array(holder, name, where)
        if array.ndim != rank:
            raise malformed(f"{name} has another shape", where, f"{rank} axes", str(array.shape))
        return array


def _tree_takes_missing(record: Any, since: tuple[int, int]) -> bool:
    """Whether ``predict`` takes NaN; the rule grew from version to version, and where it is unsure the answer is no."""
    if not isinstance(record, Record):
        return False
    version = _version(record)
    tree = record.get("tree_")
    names = as_array(tree.get("nodes")).dtype.names if isinstance(tree, Record) else None
    if version < since or "missing_go_to_left" not in (names or ()):
        return False
    if version >= (1, 9):
        return record.class_name == "DecisionTreeRegressor" or record.get("splitter") == "random"
    plain = record.get("monotonic_cst") is None and record.get("criterion") in _MISSING_CRITERIA
    if record.get("splitter") == "random":
        return plain and version >= (1, 6)
    return plain


def _version(record: Record) -> tuple[int, int]:
    parts = (version_of(record) or "0.0").split(".")
    return (
        (int(parts[0]), int(parts[1])) if len(parts) > 1 and parts[0].isdecimal() and parts[1].isdecimal() else (0, 0)
    )


def _products(count: int, length: int, interaction: bool) -> list[tuple[int, ...]]:
    return list((combinations if interaction else combinations_with_replacement)(range(count), length))


def as_plain_array(value: Any, where: str) -> NDArray[np.float64]:
    """A number or an array of numbers as a float64 array."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return np.array(float(value))
    return as_array(value, where=where).astype(np.float64)


def _path(record: Record) -> str:
    return str(record.factory) if isinstance(record.factory, Global) else ""


def _named(entry: Any, where: str) -> Any:
    if not isinstance(entry, tuple) or len(entry) != 2:
        raise malformed("a step is not a name with an estimator", where)
    return entry[1]


def _whole(value: Any, name: str, where: str) -> int:
    plain = as_plain(value, where=where)
    if isinstance(plain, bool) or not isinstance(plain, int) or plain < 0:
        raise malformed(f"{name} is no whole number", where, found=shown(plain))
    return plain


def _numbers(value: Any, where: str) -> list[float]:
    plain = value if isinstance(value, list | tuple) else as_array(value, where=where).tolist()
    return [trees.number(entry, "a weight", where) for entry in plain]


def _pair(value: Any, where: str) -> tuple[float, float]:
    numbers = _numbers(value, where)
    if len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise malformed("the range is not one from a lower to a higher number", where, found=str(numbers)[:60])
    return numbers[0], numbers[1]


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise trees.untrained(where)
    return value


def _activation(value: Any, where: str) -> Activation:
    if value not in ("identity", "logistic", "tanh", "relu", "exp"):
        raise RefusalError("model.objective", "the activation is not known", where=where, found=shown(value))
    activation: Activation = value
    return activation


def _unsupported(where: str, what: str) -> RefusalError:
    return RefusalError("model.unsupported", f"{what} cannot be converted", where=where, found=what)


_LINEAR = (
    "_base.LinearRegression", "_ridge.Ridge", "_ridge.RidgeCV", "_bayes.BayesianRidge", "_bayes.ARDRegression",
    "_coordinate_descent.Lasso", "_coordinate_descent.LassoCV", "_coordinate_descent.ElasticNet",
    "_coordinate_descent.ElasticNetCV", "_huber.HuberRegressor", "_stochastic_gradient.SGDRegressor",
    "_least_angle.Lars", "_least_angle.LarsCV", "_least_angle.LassoLars", "_least_angle.LassoLarsCV",
    "_least_angle.LassoLarsIC", "_omp.OrthogonalMatchingPursuit", "_omp.OrthogonalMatchingPursuitCV",
    "_theil_sen.TheilSenRegressor", "_quantile.QuantileRegressor", "_passive_aggressive.PassiveAggressiveRegressor",
)  # fmt: skip
_Parser = Callable[[_Reading, Record, str], Chain]
_PARSERS: Mapping[str, _Parser] = {
    "sklearn.pipeline.Pipeline": _Reading.pipeline,
    "sklearn.pipeline.FeatureUnion": _Reading.union,
    "sklearn.compose._column_transformer.ColumnTransformer": _Reading.column_transformer,
    "sklearn.ensemble._voting.VotingRegressor": _Reading.voting,
    "sklearn.ensemble._bagging.BaggingRegressor": _Reading.bagging,
    "sklearn.ensemble._stacking.StackingRegressor": _Reading.stacking,
    "sklearn.preprocessing._data.StandardScaler": _Reading.standard_scaler,
    "sklearn.preprocessing._data.RobustScaler": _Reading.robust_scaler,
    "sklearn.preprocessing._data.MinMaxScaler": _Reading.min_max_scaler,
    "sklearn.preprocessing._data.MaxAbsScaler": _Reading.max_abs_scaler,
    "sklearn.preprocessing._data.QuantileTransformer": _Reading.quantile,
    "sklearn.preprocessing._polynomial.PolynomialFeatures": _Reading.polynomial,
    "sklearn.preprocessing._function_transformer.FunctionTransformer": _Reading.function,
    "sklearn.impute._base.SimpleImputer": _Reading.imputer,
    "sklearn.decomposition._pca.PCA": _Reading.pca,
    "sklearn.decomposition._truncated_svd.TruncatedSVD": _Reading.truncated_svd,
    "sklearn.feature_selection._variance_threshold.VarianceThreshold": _Reading.variance_threshold,
    **{f"sklearn.linear_model.{name}": _Reading.linear for name in _LINEAR},
    "sklearn.svm._classes.LinearSVR": _Reading.linear,
    "sklearn.linear_model._glm.glm.PoissonRegressor": _Reading.exponential_linear,
    "sklearn.linear_model._glm.glm.GammaRegressor": _Reading.exponential_linear,
    "sklearn.linear_model._glm.glm.TweedieRegressor": _Reading.tweedie,
    "sklearn.neural_network._multilayer_perceptron.MLPRegressor": _Reading.mlp,
    "sklearn.tree._classes.DecisionTreeRegressor": _Reading.decision_tree,
    "sklearn.tree._classes.ExtraTreeRegressor": _Reading.decision_tree,
    "sklearn.ensemble._forest.RandomForestRegressor": _Reading.forest,
    "sklearn.ensemble._forest.ExtraTreesRegressor": _Reading.forest,
    "sklearn.ensemble._gb.GradientBoostingRegressor": _Reading.gradient_boosting,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor": (
        _Reading.hist_gradient_boosting
    ),
    _LIGHTGBM: _Reading.lightgbm,
}
BUILT_CLASSES = frozenset(_PARSERS)
"""Estimators that are read without scikit-learn."""
