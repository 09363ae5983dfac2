"""XGBoost: its Booster and its scikit-learn wrappers, each way to predict, with names and categories."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas
import xgboost

from ledger_probe.mutations import others
from ledger_probe.subject import Change, Subject, again

PACKAGES = ("xgboost",)
VERSION = xgboost.__version__
_NAMES = ["mom", "rev", "vol", "code"]
_TEXTS = {
    "objective": ("reg:logistic", "count:poisson", "reg:tweedie", "rank:pairwise", "binary:logitraw"),
    "name": ("reg:logistic", "count:poisson", "gblinear", "dart"),
    "booster": ("gbtree", "gblinear", "dart"),
    "device": ("cuda", "cpu"),
    "predictor": ("cpu_predictor", "auto"),
    "updater": ("grow_colmaker", "grow_histmaker", "refresh"),
    "tree_method": ("exact", "approx", "hist"),
}
"""Values that a text can take; others are numbers."""


def _rows() -> np.ndarray:
    generator = np.random.default_rng(12)
    rows = generator.normal(size=(400, 4))
    rows[:, 3] = generator.integers(0, 9, 400)
    rows[::9, 1] = np.nan
    rows[::7, 2] = 0.0
    return rows


def subjects() -> Iterator[Subject]:
    """Each class with what changes its way to a score."""
    rows = _rows()
    label = rows[:, 0] * 2 - np.nan_to_num(rows[:, 1]) + rows[:, 3] % 3
    two, grades = (label > 0) * 1.0, np.clip(np.round(np.abs(label)), 0, 4)

    def frame(values: np.ndarray) -> Any:
        return pandas.DataFrame(values, columns=_NAMES)

    def plain(values: np.ndarray) -> Any:
        return values

    def ask(table: Callable[[np.ndarray], Any], **matrix: Any) -> Callable[[Any, np.ndarray], Any]:
        def predict(model: Any, values: np.ndarray) -> Any:
            if isinstance(model, xgboost.Booster):
                return model.predict(xgboost.DMatrix(table(values), **matrix))
            if hasattr(model, "predict_proba"):
                return model.predict_proba(table(values))[:, 1]
            return model.predict(table(values))

        return predict

    coded = {"feature_types": ["q", "q", "q", "c"], "enable_categorical": True}
    for kind, table, matrix in (("array", plain, {}), ("frame", frame, {}), ("codes", plain, coded)):
        data = xgboost.DMatrix(table(rows), label, **matrix)
        booster = xgboost.train({"nthread": 1, "max_depth": 3, "tree_method": "hist"}, data, 6)
        yield Subject(
            f"Booster, {kind}", booster, rows, ask(table, **matrix), _natives if kind == "codes" else _attributes
        )
    data = xgboost.DMatrix(rows, label)
    booster = xgboost.train({"nthread": 1, "booster": "dart", "rate_drop": 0.4, "max_depth": 3}, data, 6)
    yield Subject("Booster, dart", booster, rows, ask(plain), _natives)
    settings = {"n_estimators": 6, "max_depth": 3, "n_jobs": 1, "random_state": 1}
    for kind, options, target in (
        ("XGBRegressor", {}, label),
        ("XGBRegressor", {"missing": 0.0}, label),
        ("XGBRegressor", {"booster": "dart", "rate_drop": 0.4}, label),
        ("XGBRegressor", {"booster": "gblinear"}, label),
        ("XGBRegressor", {"objective": "count:poisson"}, grades),
        ("XGBRFRegressor", {}, label),
        ("XGBClassifier", {}, two),
        ("XGBRFClassifier", {}, two),
    ):
        made = getattr(xgboost, kind)(**settings, **options).fit(rows, target)
        # What is native is the Booster's, and the ways to it are four.
        own = _natives if kind in ("XGBRegressor", "XGBClassifier") and "missing" not in options else _attributes
        yield Subject(f"{kind} {options}", made, rows, ask(plain), own)
    made = xgboost.XGBRegressor(**settings).fit(frame(rows), label)
    yield Subject("XGBRegressor, frame", made, rows, ask(frame), _attributes)
    made = xgboost.XGBRanker(**settings).fit(rows, grades, group=[20] * 20)
    yield Subject("XGBRanker", made, rows, ask(plain), _attributes)
    made = xgboost.XGBRegressor(**{**settings, "n_estimators": 60}, learning_rate=0.9, early_stopping_rounds=2)
    made.fit(rows[:300], label[:300], eval_set=[(rows[300:], label[300:][::-1])], verbose=False)
    yield Subject("XGBRegressor, stopped early", made, rows, ask(plain), _natives)


def _booster_of(model: Any) -> Any:
    return model if isinstance(model, xgboost.Booster) else model.get_booster()


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text in the tree of the configuration, with the way to it."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        elif isinstance(value, str):
            yield (*path, key), value


def _natives(trained: Any) -> Iterator[Change]:
    """Every entry of the saved configuration, set as a parameter and put into the configuration; the attributes."""
    configuration = _booster_of(trained).save_config()
    for path, value in _leaves(json.loads(configuration)):
        if path[0] == "version":
            continue
        for other in _other_texts(path[-1], value):
            yield Change(path[-1], other, partial(_with_parameter, trained, path[-1], other))
            yield Change("/".join(path), other, partial(_with_configuration, trained, configuration, path, other))
    # A parameter of old releases is in no configuration.
    for value in _TEXTS["predictor"]:
        yield Change("predictor", value, partial(_with_parameter, trained, "predictor", value))
    yield from _attributes(trained)


def _attributes(trained: Any) -> Iterator[Change]:
    """The attributes of the document, and the types of the features."""
    for name in ("best_iteration", "best_ntree_limit", "best_score", "scikit_learn", "x"):
        for text in ("1", "3"):
            yield Change(f"attribute {name}", text, partial(_with_attribute, trained, name, text))
    yield Change("feature_types", "all q", partial(_with_types, trained, ["q"] * 4))
    yield Change("feature_types", "last c", partial(_with_types, trained, ["q", "q", "q", "c"]))


def _other_texts(name: str, value: str) -> Iterator[str]:
    if name in _TEXTS:
        yield from (text for text in _TEXTS[name] if text != value)
        return
    try:
        number = float(value)
    except ValueError:
        return
    for other in others(int(number) if number.is_integer() else number):
        if abs(other) < 100_000:
            yield f"{other:g}"


def _with_parameter(trained: Any, name: str, value: str) -> Any:
    changed = again(trained)
    _booster_of(changed).set_param({name: value})
    return changed


def _with_configuration(trained: Any, configuration: str, path: tuple[str, ...], value: str) -> Any:
    tree = json.loads(configuration)
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    changed = again(trained)
    _booster_of(changed).load_config(json.dumps(tree))
    return changed


def _with_attribute(trained: Any, name: str, value: str) -> Any:
    changed = again(trained)
    _booster_of(changed).set_attr(**{name: value})
    return changed


def _with_types(trained: Any, types: list[str]) -> Any:
    changed = again(trained)
    _booster_of(changed).feature_types = types
    return changed


def listed_parameters() -> dict[str, list[str]]:
    """The library lists no parameters; those of each subject's own configuration are tried."""
    return {}
