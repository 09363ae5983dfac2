"""One small trained model per case, by family: for the fidelity table, the tests of invariance, and whoever compares.

The tables of cases are those of each family's own tests, so that a case added there is one here.  Every model is
trained by the real library; a family whose library is absent has no cases (`missing_library` names it).
"""

from __future__ import annotations

import importlib.util
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.families import FamilyContext, TrainedModel, read_trained_model
from alphaseal_converter.processors.fillna import Fillna
from alphaseal_converter.processors.normalisation import RobustZScoreNorm
from alphaseal_converter.processors.processor import RowProcessor
from locations import REPOSITORY
from stand_ins import stand_in

Rows = NDArray[np.float64]
LIBRARIES = {
    "LightGBM": ("lightgbm",),
    "XGBoost": ("xgboost",),
    "CatBoost": ("catboost",),
    "Linear": (),
    "DEnsemble": ("lightgbm",),
    "scikit-learn": ("sklearn", "lightgbm"),
    "Network": ("torch",),
}
"""Family -> the modules that its cases are trained with."""


@dataclass(frozen=True, eq=False)
class Trained:
    """Weights as they lie in a file, raw rows [rows, features] or [rows, days, features], and the live library's scores of them.

    `predict` is the trained object itself (NaN for rows that it refuses), never what the converter made of its pickle,
    behind `processors`, which belong into the graph.
    """

    weights: bytes
    rows: Rows
    predict: Callable[[Rows], Rows]
    context: FamilyContext = FamilyContext()
    processors: tuple[RowProcessor, ...] = ()

    def read(self) -> TrainedModel:
        """The model as the converter reads it; RefusalError where it does not."""
        return read_trained_model(self.weights, "weights", self.context)


@dataclass(frozen=True)
class FamilyCase:
    """One line of the matrix; `train` takes seconds at most and gives the same model each time."""

    family: str
    name: str
    train: Callable[[], Trained]

    def __str__(self) -> str:
        return f"{self.family}-{self.name}"


def missing_library(family: str) -> str | None:
    """The first module that the family's cases need and that is not installed."""
    return next((name for name in LIBRARIES[family] if importlib.util.find_spec(name) is None), None)


def cases(family: str) -> dict[str, FamilyCase]:
    """The family's cases by name, in a fixed order; none where its library is absent."""
    if missing_library(family) is not None:
        return {}
    return {name: FamilyCase(family, name, train) for name, train in _CASES[family]()}


def refused(family: str) -> dict[str, FamilyCase]:
    """Models that the converter refuses by name."""
    if missing_library(family) is not None:
        return {}
    return {name: FamilyCase(family, name, train) for name, train in _REFUSED.get(family, dict)().items()}


@cache
def _tests_of(name: str) -> Any:
    """A test module of the converter, for its tables and trainers."""
    path = REPOSITORY / f"tests/converter/families/test_{name}.py"
    specification = importlib.util.spec_from_file_location(f"tables_of_{name}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def library_trained(model: Any, rows: Rows, predict: Callable[[Rows], Any]) -> Trained:
    """What a library's own object, pickled, and its `predict` make a case of."""
    return Trained(pickle.dumps(model), rows, lambda values: np.asarray(predict(values), dtype=np.float64))


_Cases = Iterator[tuple[str, Callable[[], Trained]]]

# ---- LightGBM


def _lightgbm() -> _Cases:
    tests = _tests_of("lightgbm")

    def train(parameters: Mapping[str, Any]) -> Trained:
        booster = tests.train(parameters)
        return library_trained(booster, tests.training_rows(), booster.predict)

    def wrapped(kind: str, **options: Any) -> Trained:
        import lightgbm

        rows = tests.training_rows()
        grades = np.clip(np.abs(tests.training_label(rows)), 0, 4).astype(int)
        estimator = getattr(lightgbm, kind)(n_estimators=60, verbose=-1, n_jobs=1, random_state=1)
        estimator.fit(rows, grades if options else tests.training_label(rows), **options)
        return library_trained(estimator, rows, estimator.predict)

    def high_frequency() -> Trained:
        booster = tests.train({"objective": "binary"})
        weights = stand_in("qlib.contrib.model.highfreq_gdbt_model", "HFLGBModel", {"model": booster})
        return Trained(weights, tests.training_rows(), booster.predict)

    yield "HFLGBModel (binary)", high_frequency
    if importlib.util.find_spec("sklearn") is not None:
        yield "LGBMRegressor", lambda: wrapped("LGBMRegressor")
        yield "LGBMRanker", lambda: wrapped("LGBMRanker", group=[50] * 30)
    for name, parameters in tests.IDENTITY.items():
        yield name, partial(train, parameters)
    for name, (parameters, _) in tests.TRANSFORMED.items():
        yield name, partial(train, parameters)


def _lightgbm_refused() -> dict[str, Callable[[], Trained]]:
    tests = _tests_of("lightgbm")
    import lightgbm

    def several(objective: str) -> Trained:
        rows = tests.training_rows()
        data = lightgbm.Dataset(rows, rows[:, tests.CATEGORICAL] % 3)
        settings = {"objective": objective, "num_class": 3, "verbose": -1, "num_threads": 1}
        booster = lightgbm.train(settings, data, 2)
        return library_trained(booster, rows, booster.predict)

    return {name: partial(several, name) for name in ("multiclass", "multiclassova")}


# ---- XGBoost


def _xgboost() -> _Cases:
    tests = _tests_of("xgboost")
    import xgboost

    def booster(trained: Any, rows: Rows) -> Trained:
        def predict(values: Rows) -> Any:
            return trained.predict(
                xgboost.DMatrix(values, feature_types=trained.feature_types, enable_categorical=True)
            )

        return library_trained(trained, rows, predict)

    def plain(parameters: Mapping[str, Any]) -> Trained:
        rows = tests.training_rows()
        return booster(tests.train(dict(parameters), rows), rows)

    def ranker(objective: str) -> Trained:
        rows = tests.training_rows()
        label = (tests.training_label(rows) > 0) * 1.0 if objective != "rank:ndcg" else None
        return booster(tests.train({"objective": objective}, rows, label=label), rows)

    def linear() -> Trained:
        rows = tests.training_rows()
        rows[:, 5] -= 1e9
        return booster(tests.train({"booster": "gblinear"}, rows), rows)

    def categories(one_hot: int) -> Trained:
        rows = tests.training_rows()
        rows[:, 2] = np.random.default_rng(1).integers(0, 40, len(rows))
        types = ["q", "q", "c"] + ["q"] * 5
        label = tests.training_label(rows) + rows[:, 2] % 7
        options = {"label": label, "feature_types": types, "enable_categorical": True}
        return booster(tests.train({"max_cat_to_onehot": one_hot}, rows, **options), rows)

    def wrapper(name: str, kind: str, parameters: Mapping[str, Any]) -> Trained:
        rows = tests.training_rows()
        rows[::4, 4] = 0.1
        label = tests.training_label(rows)
        two = "class" in name or "logistic" in name
        estimator = getattr(xgboost, kind)(n_estimators=tests.ROUNDS, n_jobs=1, random_state=1, **parameters)
        estimator.fit(rows, (label > 0) * 1.0 if two else label)
        if "class" in name:
            return library_trained(estimator, rows, lambda values: estimator.predict_proba(values)[:, 1])
        return library_trained(estimator, rows, estimator.predict)

    for name, parameters in {**tests.EXACT_CASES, **tests.LINKS}.items():
        yield name, partial(plain, parameters)
    for objective in ("rank:ndcg", "rank:pairwise", "rank:map", "reg:squaredlogerror", "binary:logitraw"):
        yield objective, partial(ranker, objective)
    yield "gblinear", linear
    yield "categories", lambda: categories(1)
    yield "one_hot_categories", lambda: categories(100)
    for name, (kind, parameters) in tests.WRAPPERS.items():
        yield f"wrapper_{name}", partial(wrapper, name, kind, parameters)


def _xgboost_refused() -> dict[str, Callable[[], Trained]]:
    tests = _tests_of("xgboost")
    import pandas
    import xgboost

    rows = tests.training_rows()
    label, grades = tests.training_label(rows), tests.relevance(rows)

    def trained(parameters: Mapping[str, Any], labels: Any, values: Any = rows, **options: Any) -> Trained:
        matrix = xgboost.DMatrix(values, labels, nthread=1, **options)
        model = xgboost.train({"nthread": 1, **parameters}, matrix, 3)
        return library_trained(model, rows, model.predict)

    frame = pandas.DataFrame({"a": rows[:, 0], "c": pandas.Categorical(np.arange(len(rows)) % 5 * 10)})
    two = np.column_stack([label, grades])
    return {
        "multi:softprob": lambda: trained({"objective": "multi:softprob", "num_class": 5}, grades),
        "two targets": lambda: trained({}, two),
        "multi_output_tree": lambda: trained({"multi_strategy": "multi_output_tree"}, two),
        "binary:hinge": lambda: trained({"objective": "binary:hinge"}, (label > 0) * 1.0),
        "categories of a data frame": lambda: trained({}, label, frame, enable_categorical=True),
    }


# ---- CatBoost


def _catboost() -> _Cases:
    tests = _tests_of("catboost")

    def plain(label: Callable[[Rows], Rows] = tests.training_label, cls: str = "CatBoost", **options: Any) -> Trained:
        rows = tests.training_rows()
        estimator = tests.fit(cls, rows, label(rows), **options)
        if cls == "CatBoostClassifier":
            return library_trained(estimator, rows, lambda values: estimator.predict_proba(values)[:, 1])
        return library_trained(estimator, rows, estimator.predict)

    def positive(rows: Rows) -> Rows:
        return np.asarray(np.abs(tests.training_label(rows)) + 0.1)

    def classes(rows: Rows) -> Rows:
        return np.asarray((tests.training_label(rows) > 0) * 1.0)

    for name, options in tests.CASES.items():
        yield name, partial(plain, **options)
    for loss in ("Poisson", "Tweedie:variance_power=1.5"):
        yield f"{loss} (formula)", partial(plain, positive, loss_function=loss)
        yield f"{loss} (regressor)", partial(plain, positive, "CatBoostRegressor", loss_function=loss)
    yield "classifier", lambda: plain(classes, "CatBoostClassifier")
    for loss in ("YetiRank", "PairLogit", "QueryRMSE"):
        yield (
            loss,
            partial(
                plain,
                tests.relevance,
                "CatBoostRanker",
                loss_function=loss,
                fit={"group_id": np.repeat(np.arange(30), 50)},
            ),
        )


def _catboost_refused() -> dict[str, Callable[[], Trained]]:
    tests = _tests_of("catboost")
    import pandas

    rows = tests.training_rows()
    label = tests.training_label(rows)
    frame = pandas.DataFrame({"a": rows[:, 0], "c": np.arange(len(rows)) % 9})

    def trained(cls: str = "CatBoost", **options: Any) -> Trained:
        model = tests.fit(cls, **options)
        return library_trained(model, rows, model.predict)

    return {
        "categorical features": lambda: trained(rows=frame, label=label, fit={"cat_features": ["c"]}),
        "several classes": lambda: trained("CatBoostClassifier", label=tests.relevance(rows)),
        "MultiRMSE": lambda: trained(label=np.column_stack([label, label]), loss_function="MultiRMSE"),
        "RMSEWithUncertainty": lambda: trained("CatBoostRegressor", loss_function="RMSEWithUncertainty"),
    }


# ---- linear, DEnsemble


def _linear() -> _Cases:
    """LinearModel is numpy and scikit-learn's fit; its prediction is one product."""

    def made(estimator: str, dtype: type[np.floating[Any]], features: int) -> Trained:
        generator = np.random.default_rng(features)
        coefficients = generator.normal(size=features)
        if estimator == "nnls":
            coefficients = np.maximum(coefficients, 0)
        if estimator == "lasso":
            coefficients[::2] = 0
        state = {"estimator": estimator, "coef_": coefficients.astype(dtype), "intercept_": dtype(0.25)}
        rows = generator.normal(size=(1500, features)).astype(dtype).astype(np.float64)

        def predict(values: Rows) -> Rows:
            with np.errstate(invalid="ignore", over="ignore"):
                return np.asarray(values.astype(dtype) @ state["coef_"] + state["intercept_"], dtype=np.float64)

        return Trained(stand_in("qlib.contrib.model.linear", "LinearModel", state), rows, predict)

    for estimator in ("ols", "ridge", "lasso", "nnls"):
        yield estimator, partial(made, estimator, np.float64, 24)
    yield "ols_158_features", lambda: made("ols", np.float64, 158)
    yield "ridge_float32", lambda: made("ridge", np.float32, 24)


def _densemble() -> _Cases:
    tests = _tests_of("densemble")
    import pandas

    def made() -> Trained:
        boosters = tests.members()
        index = [pandas.Index(names) for names in tests.SUBSETS]
        state = {"ensemble": boosters, "sub_features": index, "sub_weights": tests.WEIGHTS}
        weights = stand_in("qlib.contrib.model.double_ensemble", "DEnsembleModel", state)

        def predict(values: Rows) -> Rows:
            return np.asarray(tests.qlib_predict(boosters, pandas.DataFrame(values, columns=tests.NAMES)))

        return Trained(weights, tests.training_rows(), predict)

    yield "four_members", made


# ---- scikit-learn


def _sklearn() -> _Cases:
    tests = _tests_of("sklearn_pipeline")
    from sklearn.base import clone

    from alphaseal_converter.families.sklearn_live import tolerant_predict

    def fitted(estimator: Any, rows: Rows, label: Rows) -> Trained:
        made = clone(estimator).fit(rows, label)

        def predict(values: Rows) -> Any:
            with np.errstate(all="ignore"):
                return tolerant_predict(made.predict, values)

        return library_trained(made, tests.ROWS, predict)

    for name, (estimator, rows) in tests.EXACT.items():
        yield name, partial(fitted, estimator, rows, tests.LABEL)
    for name, (estimator, rows) in tests.LINK.items():
        yield name, partial(fitted, estimator, rows, np.abs(tests.LABEL) + 0.1)
    for name, estimator in tests.ROUNDED.items():
        yield name, partial(fitted, estimator, tests.PLAIN, tests.LABEL)
    if importlib.util.find_spec("skl2onnx") is not None:
        for name, make in tests.SKL2ONNX.items():
            yield name, partial(lambda make: fitted(make(), tests.PLAIN, tests.LABEL), make)


def _sklearn_refused() -> dict[str, Callable[[], Trained]]:
    tests = _tests_of("sklearn_pipeline")
    from sklearn import gaussian_process, kernel_ridge, model_selection, neighbors
    from sklearn.base import clone

    more = {
        "neighbours": neighbors.KNeighborsRegressor(3),
        "kernel_ridge": kernel_ridge.KernelRidge(),
        "gaussian_process": gaussian_process.GaussianProcessRegressor(),
        "grid_search": model_selection.GridSearchCV(tests.linear_model.Ridge(), {"alpha": [1.0, 2.0]}),
    }
    two = np.column_stack([tests.LABEL, tests.LABEL])

    def fitted(name: str, estimator: Any) -> Trained:
        rows = np.round(np.abs(tests.PLAIN[:, :3]) * 3) if name == "categories" else tests.PLAIN
        label = (tests.LABEL > 0).astype(int) if name == "classifier" else two if name == "two labels" else tests.LABEL
        made = clone(estimator).fit(rows, label)
        return library_trained(made, rows, made.predict)

    table = {**tests.REFUSED, **more, "two labels": tests.forest()}
    return {name: partial(fitted, name, made) for name, made in table.items()}


# ---- networks


NETWORKS: dict[str, tuple[str, str, int | None]] = {
    "mlp_batch_norm_dropout": (
        "self.body = nn.Sequential(nn.Linear(num_features, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3))\n"
        "self.last = nn.Linear(32, 1)",
        "return self.last(self.body(x))",
        None,
    ),
    "flat_output": ("self.last = nn.Linear(num_features, 1)", "return self.last(x).squeeze(-1)", None),
    "gelu_layer_norm": (
        "self.body = nn.Sequential(nn.LayerNorm(num_features), nn.Linear(num_features, 24), nn.GELU(), nn.Linear(24, 1))",
        "return self.body(x)",
        None,
    ),
    "lstm": (
        "self.body = nn.LSTM(num_features, 12, 2, batch_first=True, dropout=0.1)\nself.last = nn.Linear(12, 1)",
        "return self.last(self.body(x)[0][:, -1])",
        10,
    ),
    "gru_attention": (
        "self.body = nn.GRU(num_features, 12, batch_first=True)\nself.look = nn.Linear(12, 1)\nself.last = nn.Linear(12, 1)",
        "seen, _ = self.body(x)\nreturn self.last((seen * torch.softmax(self.look(seen), 1)).sum(1))",
        10,
    ),
    "convolution": (
        "self.body = nn.Sequential(nn.Conv1d(num_features, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU(), nn.AdaptiveAvgPool1d(1))\n"
        "self.last = nn.Linear(8, 1)",
        "return self.last(self.body(x.transpose(1, 2)).squeeze(-1))",
        10,
    ),
    "transformer_mask": (
        "self.entry = nn.Linear(num_features, 8)\n"
        "layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)\n"
        "self.body = nn.TransformerEncoder(layer, 1)\nself.last = nn.Linear(8, 1)",
        "mask = nn.Transformer.generate_square_subsequent_mask(x.size(1))\n"
        "return self.last(self.body(self.entry(x), mask=mask)[:, -1])",
        5,
    ),
}
REFUSED_NETWORKS: dict[str, tuple[str, str, int | None]] = {
    "two columns": ("self.last = nn.Linear(num_features, 2)", "return self.last(x)", None),
    "dropout that never ends": ("self.last = nn.Linear(num_features, 1)", "return self.last(F.dropout(x, 0.5))", None),
    "branch on values": (
        "self.last = nn.Linear(num_features, 1)",
        "if x.sum() > 0:\n    return self.last(x)\nreturn self.last(-x)",
        None,
    ),
    "frozen batch size": (
        "self.inner = nn.Linear(num_features, 5)\nself.last = nn.Linear(5 * num_timesteps, 1)",
        "x = x.view(len(x), 4, 6)\nreturn self.last(torch.tanh(self.inner(x)).reshape(len(x), -1))",
        4,
    ),
    "deviation over the batch": (
        "self.last = nn.Linear(num_features, 1)",
        "return self.last((x - x.mean(0)) / x.std(0))",
        None,
    ),
}
NETWORK_FEATURES = 6
NORMALISED = (
    RobustZScoreNorm(tuple("abcdef"), np.zeros(NETWORK_FEATURES), np.ones(NETWORK_FEATURES)),
    Fillna(0.0),
)
"""What RD-Agent puts before its networks; here it clips and fills, and scales by one."""


def network_code(build: str, forward: str) -> str:
    """A ``model.py`` as RD-Agent writes them."""

    def block(text: str) -> str:
        return "".join(f"        {line}\n" for line in text.splitlines())

    head = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\n"
    start = (
        "class Net(nn.Module):\n    def __init__(self, num_features, num_timesteps=None):\n        super().__init__()\n"
    )
    return f"{head}{start}{block(build)}\n    def forward(self, x):\n{block(forward)}\n\nmodel_cls = Net\n"


def network(build: str, forward: str, windows: int | None, *, run_model_code: bool = True) -> Trained:
    """A network with random weights and running statistics, pickled as GeneralPTNN leaves it."""
    import torch

    code = network_code(build, forward)
    module = types.ModuleType("model")
    exec(code, module.__dict__)
    arguments = {"num_features": NETWORK_FEATURES} | ({"num_timesteps": windows} if windows else {})
    with torch.random.fork_rng():
        torch.manual_seed(7)
        net = module.__dict__["model_cls"](**arguments)
        shape = (windows, NETWORK_FEATURES) if windows else (NETWORK_FEATURES,)
        net.train()
        with torch.no_grad():
            for _ in range(3):
                net(torch.randn(20, *shape) * 2 + 0.5)
    net.eval()
    state = {
        "fitted": True,
        "pt_model_uri": "model.model_cls",
        "pt_model_kwargs": arguments,
        "batch_size": 50,
        "dnn_model": net,
    }
    with mock.patch.dict(sys.modules, {"model": module}):
        weights = stand_in("qlib.contrib.model.pytorch_general_nn", "GeneralPTNN", state)
    context = FamilyContext(
        code, run_model_code, dataset_class="TSDatasetH" if windows else "DatasetH", step_length=windows
    )
    rows = np.random.default_rng(3).standard_normal((1000, *shape))
    rows[::5, ..., 2] = np.nan
    rows[::7, ..., 3] = np.inf

    def predict(values: Rows) -> Rows:
        processed = np.nan_to_num(np.clip(values, -3, 3), nan=0.0).astype(np.float32)
        with torch.no_grad():
            return np.asarray(net(torch.from_numpy(processed)).numpy().ravel(), dtype=np.float64)

    return Trained(weights, rows, predict, context, NORMALISED)


def _networks() -> _Cases:
    for name, parts in NETWORKS.items():
        yield name, partial(network, *parts)


def _networks_refused() -> dict[str, Callable[[], Trained]]:
    parts = NETWORKS["flat_output"]
    table: dict[str, Callable[[], Trained]] = {name: partial(network, *made) for name, made in REFUSED_NETWORKS.items()}
    return {"without --run-model-code": lambda: network(*parts, run_model_code=False), **table}


_CASES: Mapping[str, Callable[[], _Cases]] = {
    "LightGBM": _lightgbm,
    "XGBoost": _xgboost,
    "CatBoost": _catboost,
    "Linear": _linear,
    "DEnsemble": _densemble,
    "scikit-learn": _sklearn,
    "Network": _networks,
}
_REFUSED: Mapping[str, Callable[[], dict[str, Callable[[], Trained]]]] = {
    "LightGBM": _lightgbm_refused,
    "XGBoost": _xgboost_refused,
    "CatBoost": _catboost_refused,
    "scikit-learn": _sklearn_refused,
    "Network": _networks_refused,
}
