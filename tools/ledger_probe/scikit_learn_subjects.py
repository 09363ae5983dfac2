"""scikit-learn: each class that is converted, alone or with the least around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas
import sklearn
from sklearn import (
    compose,
    cross_decomposition,
    decomposition,
    ensemble,
    feature_selection,
    impute,
    linear_model,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

from ledger_probe.subject import Subject

PACKAGES = ("sklearn",)
VERSION = sklearn.__version__
_NAMES = ["mom", "rev", "vol", "size"]
_ROWS = np.random.default_rng(14).normal(size=(150, 4)) * [1, 2, 0.1, 1] + [0, 1, 0, 5]
_LABEL = _ROWS[:, 0] * 2 - _ROWS[:, 1] + np.sin(_ROWS[:, 2])
_GAPS = np.where(np.random.default_rng(15).random(_ROWS.shape) < 0.1, np.nan, _ROWS)


def _chain(*steps: Any) -> Any:
    return pipeline.make_pipeline(*steps)


def _regressors() -> Iterator[tuple[Any, np.ndarray]]:
    for name in (
        "LinearRegression", "Ridge", "RidgeCV", "BayesianRidge", "ARDRegression", "Lasso", "LassoCV", "ElasticNet",
        "ElasticNetCV", "HuberRegressor", "SGDRegressor", "Lars", "LarsCV", "LassoLars", "LassoLarsCV", "LassoLarsIC",
        "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV", "TheilSenRegressor", "QuantileRegressor",
        "PassiveAggressiveRegressor",
    ):  # fmt: skip
        kind = getattr(linear_model, name, None)
        if kind is not None:
            settings = {"solver": "highs"} if name == "QuantileRegressor" else {}
            yield kind(**settings), _ROWS
    yield svm.LinearSVR(), _ROWS
    for activation in ("relu", "tanh"):
        yield (
            neural_network.MLPRegressor(hidden_layer_sizes=(5,), activation=activation, max_iter=20, random_state=1),
            _ROWS,
        )
    yield tree.DecisionTreeRegressor(max_depth=3, random_state=1), _GAPS if VERSION >= "1.3" else _ROWS
    yield tree.ExtraTreeRegressor(max_depth=3, random_state=1), _ROWS
    yield ensemble.RandomForestRegressor(4, max_depth=3, random_state=1), _ROWS
    yield ensemble.ExtraTreesRegressor(4, max_depth=3, random_state=1), _ROWS
    options: dict[str, Any]
    for options in ({}, {"loss": "huber", "init": "zero"}):
        yield ensemble.GradientBoostingRegressor(n_estimators=5, random_state=1, **options), _ROWS
    for options in ({}, {"loss": "quantile", "quantile": 0.3}, {"loss": "absolute_error"}):
        yield ensemble.HistGradientBoostingRegressor(max_iter=5, random_state=1, **options), _GAPS
    members = [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=2, random_state=1))]
    yield ensemble.VotingRegressor(members), _ROWS
    yield ensemble.VotingRegressor(members, weights=[2, 1]), _ROWS
    yield ensemble.StackingRegressor(members, cv=2), _ROWS
    yield ensemble.StackingRegressor(members, cv=2, passthrough=True), _ROWS
    yield ensemble.BaggingRegressor(tree.DecisionTreeRegressor(max_depth=2), 3, max_features=0.5, random_state=1), _ROWS
    yield cross_decomposition.PLSRegression(2), _ROWS


def _transformers() -> Iterator[tuple[Any, np.ndarray]]:
    yield preprocessing.StandardScaler(), _ROWS
    yield preprocessing.RobustScaler(), _ROWS
    yield preprocessing.MinMaxScaler(clip=True), _ROWS
    yield preprocessing.MaxAbsScaler(), _ROWS
    for distribution in ("uniform", "normal"):
        yield preprocessing.QuantileTransformer(n_quantiles=20, output_distribution=distribution, random_state=1), _ROWS
    yield preprocessing.PolynomialFeatures(2), _ROWS
    yield preprocessing.FunctionTransformer(), _ROWS
    yield preprocessing.Normalizer(), _ROWS
    yield preprocessing.Binarizer(), _ROWS
    yield impute.SimpleImputer(add_indicator=True), _GAPS
    for whiten in (False, True):
        yield decomposition.PCA(2, whiten=whiten), _ROWS
    yield decomposition.TruncatedSVD(2, random_state=1), _ROWS
    yield feature_selection.VarianceThreshold(0.05), _ROWS
    scaled = [("a", preprocessing.StandardScaler(), [2, 0])]
    yield compose.ColumnTransformer(scaled, remainder="passthrough"), _ROWS
    yield pipeline.FeatureUnion([("a", preprocessing.StandardScaler()), ("b", decomposition.PCA(2))]), _ROWS


def _positive() -> Iterator[tuple[Any, np.ndarray]]:
    yield linear_model.PoissonRegressor(), _ROWS
    yield linear_model.GammaRegressor(), _ROWS
    yield ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=5, random_state=1), _GAPS


def subjects() -> Iterator[Subject]:
    """Each regressor alone, each transformer before Ridge, and both on a data frame."""

    def frame(values: np.ndarray) -> Any:
        return pandas.DataFrame(values, columns=_NAMES)

    def ask(table: Callable[[np.ndarray], Any]) -> Callable[[Any, np.ndarray], Any]:
        return lambda model, values: np.asarray(model.predict(table(values))).reshape(len(values))

    def plain(values: np.ndarray) -> Any:
        return values

    for estimator, rows in _regressors():
        yield Subject(str(estimator)[:60], estimator.fit(rows, _LABEL), rows, ask(plain))
    for estimator, rows in _positive():
        yield Subject(str(estimator)[:60], estimator.fit(rows, np.abs(_LABEL) + 0.1), rows, ask(plain))
    for transformer, rows in _transformers():
        made = _chain(transformer, linear_model.Ridge()).fit(rows, _LABEL)
        yield Subject(f"{str(transformer)[:50]}, Ridge", made, rows, ask(plain))
    best = feature_selection.SelectKBest(feature_selection.f_regression, k=2)
    made = _chain(best, tree.DecisionTreeRegressor(max_depth=3, random_state=1)).fit(_ROWS, _LABEL)
    yield Subject("SelectKBest, DecisionTreeRegressor", made, _ROWS, ask(plain))
    named = compose.ColumnTransformer([("a", preprocessing.StandardScaler(), ["vol", "mom"])], remainder="passthrough")
    for estimator in (preprocessing.StandardScaler(), named):
        made = _chain(estimator, linear_model.Ridge()).fit(frame(_ROWS), _LABEL)
        yield Subject(f"{type(estimator).__name__}, Ridge, frame", made, _ROWS, ask(frame))
    made = ensemble.HistGradientBoostingRegressor(max_iter=5, random_state=1).fit(frame(_GAPS), _LABEL)
    yield Subject("HistGradientBoostingRegressor, frame", made, _GAPS, ask(frame))


def listed_parameters() -> dict[str, list[str]]:
    """scikit-learn has no native parameters: all are attributes."""
    return {}
