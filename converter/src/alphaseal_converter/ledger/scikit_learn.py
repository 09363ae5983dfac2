"""scikit-learn 1.2 to 1.9: every class that is converted, and the parts of others that are saved with them."""

from __future__ import annotations

from alphaseal_converter.ledger import WHOLE, Entry, Ledger, all_of, handled, neutral, refused

_READ = handled("read by models/sklearn_estimators.py")
_TREES = handled("read by models/sklearn_trees.py")
_CONVERTED = handled("of the object that skl2onnx is handed, families/sklearn_live.py")
_MARKS = neutral("tags: what kind of rows it takes, which the converter knows by class and version")

# What every estimator has.
_BASE = {
    **WHOLE,
    "feature_names_in_": handled("the order that the features had, known_names.py"),
    "n_features_in_": handled("how many inputs there are"),
    "_estimator_type": _MARKS,
    "n_jobs": handled("forests add their trees in any order, which their bound says; else nothing"),
    "verbose": neutral("messages"),
}
_TRANSFORMER = {
    **_BASE,
    "_sklearn_output_config": neutral("the kind of table that it hands on, the numbers are the same"),
    "copy": handled("refused where others get the same rows: model.unsupported"),
}


def _estimator(*read: str, **others: Entry) -> dict[str, Entry]:
    return {**_BASE, **all_of(_READ, *read), **others}


def _transformer(*read: str, **others: Entry) -> dict[str, Entry]:
    return {**_TRANSFORMER, **all_of(_READ, *read), **others}


_LINEAR = _estimator(
    "coef_ intercept_", **all_of(_MARKS, "positive solver"), **all_of(neutral("a tag of training"), "_base_loss")
)
_LINEAR_CLASSES = (
    "_base.LinearRegression _ridge.Ridge _ridge.RidgeCV _bayes.BayesianRidge _bayes.ARDRegression "
    "_coordinate_descent.Lasso _coordinate_descent.LassoCV _coordinate_descent.ElasticNet "
    "_coordinate_descent.ElasticNetCV _huber.HuberRegressor _stochastic_gradient.SGDRegressor _least_angle.Lars "
    "_least_angle.LarsCV _least_angle.LassoLars _least_angle.LassoLarsCV _least_angle.LassoLarsIC "
    "_omp.OrthogonalMatchingPursuit _omp.OrthogonalMatchingPursuitCV _theil_sen.TheilSenRegressor "
    "_quantile.QuantileRegressor _passive_aggressive.PassiveAggressiveRegressor _glm.glm.PoissonRegressor "
    "_glm.glm.GammaRegressor _glm.glm.TweedieRegressor"
)
_TREE = {**_BASE, **all_of(_TREES, "tree_ n_outputs_"), **all_of(_TREES, "splitter criterion monotonic_cst")}
_FOREST = {
    **_BASE,
    **all_of(_TREES, "estimators_ n_outputs_"),
    **all_of(_MARKS, "estimator criterion"),
    "n_estimators": neutral("of training: predict counts estimators_"),
}
_BOOSTING = {**_BASE, **all_of(_TREES, "estimators_ init_ _loss loss learning_rate n_trees_per_iteration_")}
_HISTOGRAM = {
    **_BASE,
    **all_of(_TREES, "_baseline_prediction _bin_mapper _loss _predictors _preprocessor n_trees_per_iteration_"),
    "_in_fit": neutral("set while it trains"),
    "_n_features": handled("how many inputs there are"),
}
_ROUTING = neutral("routing of extra arguments, of which predict gets none")
_SETS = "sklearn.ensemble._hist_gradient_boosting."

ATTRIBUTES: Ledger = {
    **{f"sklearn.linear_model.{name}": _LINEAR for name in _LINEAR_CLASSES.split()},
    "sklearn.svm._classes.LinearSVR": _LINEAR,
    "sklearn.neural_network._multilayer_perceptron.MLPRegressor": _estimator(
        "activation coefs_ intercepts_ out_activation_ n_layers_"
    ),
    "sklearn.tree._classes.DecisionTreeRegressor": _TREE,
    "sklearn.tree._classes.ExtraTreeRegressor": _TREE,
    "sklearn.ensemble._forest.RandomForestRegressor": _FOREST,
    "sklearn.ensemble._forest.ExtraTreesRegressor": _FOREST,
    "sklearn.ensemble._gb.GradientBoostingRegressor": _BOOSTING,
    "sklearn.ensemble._gb_losses.HuberLossFunction": all_of(neutral("outputs, of which there is one"), "K"),
    "sklearn.dummy.DummyRegressor": {**_BASE, **all_of(_TREES, "constant_ n_outputs_")},
    _SETS + "gradient_boosting.HistGradientBoostingRegressor": _HISTOGRAM,
    _SETS + "binning._BinMapper": {
        "is_categorical_": refused("model.categorical"),
        "bin_thresholds_": neutral("asked how many features there are"),
    },
    _SETS + "predictor.TreePredictor": all_of(_TREES, "nodes raw_left_cat_bitsets"),
    **{
        f"sklearn._loss.loss.{name}": {
            "link": handled("known by the class of the loss, models/sklearn_trees.py"),
            "interval_y_true": neutral("of labels"),
        }
        for name in (
            "HalfSquaredError",
            "AbsoluteError",
            "PinballLoss",
            "HuberLoss",
            "HalfPoissonLoss",
            "HalfGammaLoss",
        )
    },
    "sklearn.ensemble._voting.VotingRegressor": _estimator("estimators_ estimators weights"),
    "sklearn.ensemble._stacking.StackingRegressor": _transformer(
        "estimators_ final_estimator_ passthrough",
        stack_method_=handled("predict, or model.unsupported"),
        estimators=_MARKS,
    ),
    "sklearn.ensemble._bagging.BaggingRegressor": _estimator(
        "estimators_ estimators_features_", "n_estimators", estimator=_MARKS, _routing_repr=_ROUTING
    ),
    "sklearn.cross_decomposition._pls.PLSRegression": {
        **_TRANSFORMER,
        **all_of(_CONVERTED, "coef_ _coef_ intercept_ _x_mean _x_std _predict_1d"),
    },
    "sklearn.pipeline.Pipeline": _transformer("steps"),
    "sklearn.pipeline.FeatureUnion": _transformer("transformer_list transformer_weights", _routing_repr=_ROUTING),
    "sklearn.compose._column_transformer.ColumnTransformer": _transformer(
        "transformers_ _transformer_to_input_indices transformer_weights",
        **all_of(neutral("of training"), "transformers _columns _remainder _name_to_fitted_passthrough"),
        sparse_output_=handled("dense, or model.unsupported"),
        _routing_repr=_ROUTING,
    ),
    "sklearn.compose._column_transformer._RemainderColsList": all_of(
        neutral("the columns that were left over, as transformers_ has them"),
        "data dtype future_dtype warning_enabled warning_was_emitted",
    ),
    "sklearn.preprocessing._data.StandardScaler": _transformer("mean_ scale_ with_mean with_std"),
    "sklearn.preprocessing._data.RobustScaler": _transformer("center_ scale_ with_centering with_scaling"),
    "sklearn.preprocessing._data.MinMaxScaler": _transformer("scale_ min_ clip feature_range"),
    "sklearn.preprocessing._data.MaxAbsScaler": _transformer("scale_ clip"),
    "sklearn.preprocessing._data.QuantileTransformer": _transformer(
        "quantiles_ references_ output_distribution", ignore_implicit_zeros=neutral("of sparse tables")
    ),
    "sklearn.preprocessing._polynomial.PolynomialFeatures": _transformer(
        "_max_degree _min_degree include_bias interaction_only",
        _n_out_full=neutral("a check of the memory"),
        order=neutral("of the memory"),
    ),
    "sklearn.preprocessing._function_transformer.FunctionTransformer": _transformer(
        "func", **all_of(neutral("of a function, which is refused"), "kw_args feature_names_out validate")
    ),
    "sklearn.preprocessing._data.Normalizer": {**_TRANSFORMER, "norm": _CONVERTED},
    "sklearn.preprocessing._data.Binarizer": {**_TRANSFORMER, "threshold": _CONVERTED},
    "sklearn.preprocessing._data.PowerTransformer": {
        **_TRANSFORMER,
        **all_of(_CONVERTED, "lambdas_ method standardize _scaler"),
    },
    "sklearn.impute._base.SimpleImputer": _transformer(
        "statistics_ missing_values keep_empty_features add_indicator indicator_ strategy",
        **all_of(neutral("numbers, or model.unsupported"), "_fit_dtype _fill_dtype"),
    ),
    "sklearn.impute._base.MissingIndicator": _transformer(
        "features_",
        "missing_values",
        **all_of(neutral("set by the imputer"), "_n_features _precomputed error_on_new features sparse"),
    ),
    "sklearn.decomposition._pca.PCA": _transformer(
        "components_ mean_ whiten explained_variance_", **all_of(_MARKS, "svd_solver _fit_svd_solver")
    ),
    "sklearn.decomposition._truncated_svd.TruncatedSVD": _transformer("components_"),
    "sklearn.feature_selection._variance_threshold.VarianceThreshold": _transformer("variances_ threshold"),
    "sklearn.feature_selection._univariate_selection.SelectKBest": {**_TRANSFORMER, **all_of(_CONVERTED, "scores_ k")},
}
INTERNAL = ("sklearn.utils.", "sklearn._loss.link.")
"""Modules whose objects are made while it predicts, and hold nothing of a fitted estimator."""
NATIVE: dict[str, Entry] = {}
"""None: all is in attributes."""


def native_key(tried: str) -> str:
    """As it is."""
    return tried
