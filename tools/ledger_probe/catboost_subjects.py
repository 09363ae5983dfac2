"""CatBoost: the class without a task, regressor, ranker, classifier; with names and without."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import catboost
import numpy as np
import pandas

from ledger_probe.mutations import others
from ledger_probe.subject import Change, Subject, again

PACKAGES = ("catboost",)
VERSION = catboost.__version__
_NAMES = ["mom", "rev", "vol"]
_LOSSES = (
    "RMSE",
    "Poisson",
    "Tweedie:variance_power=1.5",
    "MAE",
    "Logloss",
    "CrossEntropy",
    "RMSEWithUncertainty",
    "QueryRMSE",
)


def subjects() -> Iterator[Subject]:
    """Each class with each way to a score."""
    generator = np.random.default_rng(13)
    rows = generator.normal(size=(400, 3))
    rows[::9, 1] = np.nan
    label = rows[:, 0] * 2 - np.nan_to_num(rows[:, 1])
    groups = {"group_id": np.repeat(np.arange(20), 20)}
    settings = {"iterations": 6, "depth": 3, "verbose": False, "thread_count": 1, "allow_writing_files": False}

    def frame(values: np.ndarray) -> Any:
        return pandas.DataFrame(values, columns=_NAMES)

    def plain(values: np.ndarray) -> Any:
        return values

    def ask(table: Callable[[np.ndarray], Any]) -> Callable[[Any, np.ndarray], Any]:
        def predict(model: Any, values: np.ndarray) -> Any:
            if hasattr(model, "predict_proba"):
                return model.predict_proba(table(values))[:, 1]
            return model.predict(table(values))

        return predict

    positive, two, grades = np.abs(label), (label > 0) * 1, np.clip(np.round(np.abs(label)), 0, 4)
    for kind, options, target, fit in (
        ("CatBoostRegressor", {}, label, {}),
        ("CatBoostRegressor", {"loss_function": "Poisson"}, positive, {}),
        ("CatBoostRegressor", {"objective": "Tweedie:variance_power=1.5"}, positive, {}),
        ("CatBoostRegressor", {"grow_policy": "Lossguide"}, label, {}),
        ("CatBoostClassifier", {}, two, {}),
        ("CatBoostRanker", {"loss_function": "QueryRMSE"}, grades, groups),
    ):
        made = getattr(catboost, kind)(**settings, **options).fit(rows, target, **fit)
        yield Subject(f"{kind} {options}", made, rows, ask(plain), _natives)
    for name, table in (("array", plain), ("frame", frame)):
        made = catboost.CatBoost(dict(settings)).fit(table(rows), label)
        yield Subject(f"CatBoost, {name}", made, rows, ask(table), _natives)
    made = catboost.CatBoost({**settings, "loss_function": "Logloss"}).fit(rows, two)
    yield Subject("CatBoost, Logloss", made, rows, ask(plain), _natives)
    made = catboost.CatBoostRegressor(**settings).fit(frame(rows), label)
    yield Subject("CatBoostRegressor, frame", made, rows, ask(frame), _natives)


def _natives(trained: Any) -> Iterator[Change]:
    """The parameters that the object was made with, all that the model knows, those in the model file, scale and bias."""
    listed = {**dict.fromkeys(_synonyms()), **trained.get_all_params(), **trained.get_params()}
    for name, value in listed.items():
        for other in _other_values(name, value):
            yield Change(name, other, partial(_with_parameter, trained, name, other))
    yield Change("scale_and_bias", (2.0, 0.5), partial(_with_scale, trained))
    metadata = trained.get_metadata()
    if "params" in metadata.keys():  # noqa: SIM118 - it is no mapping
        for path, value in _leaves(json.loads(metadata["params"])):
            for other in _other_values(path[-1], value):
                yield Change("params: " + "/".join(path), other, partial(_with_metadata, trained, path, other))


def _synonyms() -> list[str]:
    """Names that CatBoost takes for others."""
    return ["objective", "scale_pos_weight", "class_names", "prediction_type", "ntree_start", "ntree_end", "task_type"]


def _other_values(name: str, value: Any) -> list[Any]:
    if name in ("loss_function", "objective", "type", "eval_metric"):
        return [loss for loss in _LOSSES if loss != value]
    if name == "prediction_type":
        return ["Exponent", "Probability", "Class"]
    return [other for other in others(value) if other is not None]


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        elif isinstance(value, (bool, int, float, str)):
            yield (*path, key), value


def _with_parameter(trained: Any, name: str, value: Any) -> Any:
    changed = again(trained)
    changed._init_params[name] = value
    return changed


def _with_scale(trained: Any) -> Any:
    changed = again(trained)
    changed.set_scale_and_bias(2.0, 0.5)
    return changed


def _with_metadata(trained: Any, path: tuple[str, ...], value: Any) -> Any:
    changed = again(trained)
    tree = json.loads(changed.get_metadata()["params"])
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    changed.get_metadata()["params"] = json.dumps(tree)
    return changed


def listed_parameters() -> dict[str, list[str]]:
    """The library lists no parameters; those that each subject's model knows are tried."""
    return {}
