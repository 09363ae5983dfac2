"""LightGBM: its Booster and its scikit-learn wrappers, on arrays, on frames and on frames with categories."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from typing import Any

import lightgbm
import numpy as np
import pandas

from ledger_probe.mutations import others
from ledger_probe.subject import Change, Subject

PACKAGES = ("lightgbm",)
VERSION = lightgbm.__version__
_CODES = [110, 210, 220, 270, 330]
_NAMES = ["mom", "rev", "vol", "industry"]
_QUIET = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "min_data_per_group": 5, "cat_smooth": 1}


def _rows() -> np.ndarray:
    generator = np.random.default_rng(11)
    rows = generator.normal(size=(600, 4))
    rows[:, 3] = generator.choice(_CODES, 600)
    rows[::9, 1] = np.nan
    return rows


def _label(rows: np.ndarray) -> np.ndarray:
    industry = np.vectorize(dict(zip(_CODES, (3, -3, 1, -1, 0))).get)(rows[:, 3])
    return np.asarray(rows[:, 0] * 2 - np.nan_to_num(rows[:, 1]) + industry)


def _frame(rows: np.ndarray) -> Any:
    return pandas.DataFrame(rows, columns=_NAMES)


def _categories(rows: np.ndarray) -> Any:
    return _frame(rows).astype({"industry": "int64"}).astype({"industry": "category"})


def subjects() -> Iterator[Subject]:
    """Each class with what changes its way to a score: categories, a chosen best round, a link, early stopping."""
    rows = _rows()
    label = _label(rows)
    grades = np.clip(np.round(np.abs(label)), 0, 4).astype(int)

    def predict(table: Callable[[np.ndarray], Any]) -> Callable[[Any, np.ndarray], Any]:
        return lambda model, values: model.predict(table(values))

    def booster(table: Callable[[np.ndarray], Any], **parameters: Any) -> Any:
        return lightgbm.train({**_QUIET, **parameters}, lightgbm.Dataset(table(rows), label), 12)

    def stopped(table: Callable[[np.ndarray], Any]) -> Any:
        data = lightgbm.Dataset(table(rows[:400]), label[:400])
        valid = lightgbm.Dataset(table(rows[400:]), label[400:][::-1], reference=data)
        stop = lightgbm.early_stopping(2, verbose=False)
        return lightgbm.train({**_QUIET, "learning_rate": 0.5}, data, 30, valid_sets=[valid], callbacks=[stop])

    def plain(values: np.ndarray) -> Any:
        return values

    for kind, table in (("array", plain), ("frame", _frame), ("categories", _categories)):
        yield Subject(f"Booster, {kind}", booster(table), rows, predict(table), _texts)
        yield Subject(f"Booster, {kind}, stopped early", stopped(table), rows, predict(table))
    for kind, table in (("array", plain), ("frame", _frame), ("categories", _categories)):
        made = lightgbm.LGBMRegressor(n_estimators=12, random_state=1, **_QUIET).fit(table(rows), label)
        yield Subject(f"LGBMRegressor, {kind}", made, rows, predict(table), _parameters)
    made = lightgbm.LGBMRegressor(n_estimators=12, objective="poisson", **_QUIET).fit(rows, np.abs(label))
    yield Subject("LGBMRegressor, poisson", made, rows, predict(plain), _parameters)
    made = lightgbm.LGBMRegressor(n_estimators=40, objective="binary", **_QUIET).fit(rows, (label > 0) * 1.0)
    yield Subject("LGBMRegressor, binary", made, rows, predict(plain), _parameters)
    made = lightgbm.LGBMRanker(n_estimators=60, random_state=1, **_QUIET).fit(rows, grades, group=[20] * 30)
    yield Subject("LGBMRanker, array", made, rows, predict(plain), _parameters)


def listed_parameters() -> dict[str, list[str]]:
    """Every parameter of the library with its other names, as the library itself lists them; before 4.0 it lists none."""
    aliases = lightgbm.basic._ConfigAliases
    if not hasattr(aliases, "_get_all_param_aliases"):
        return {}
    return {name: sorted(names) for name, names in aliases._get_all_param_aliases().items()}


def _names() -> list[str]:
    """All names that a parameter can have; of a library that lists none the texts in it, most of which are none."""
    listed = listed_parameters()
    if listed:
        return sorted({name for names in listed.values() for name in names} | set(listed))
    with open(lightgbm.libpath.find_lib_path()[0], "rb") as library:
        texts = set(re.findall(rb"(?<=\0)[a-z][a-z0-9_]{2,40}(?=\0)", library.read()))
    return sorted(text.decode() for text in texts)


def _parameters(trained: Any) -> Iterator[Change]:
    """Every name in ``_other_params``, which the wrapper of 4.0 and later hands on to ``predict``."""
    together = {"pred_early_stop": True, "pred_early_stop_freq": 1, "pred_early_stop_margin": 0.1}
    value: object
    for name in _names():
        for value in (True, 2, 0.5):
            yield Change(name, value, partial(_with, trained, {name: value}))
    # Names of ``predict``'s own arguments are no native parameters.
    for name in ("num_iteration", "start_iteration", "raw_score", "pred_leaf", "pred_contrib", "validate_features"):
        yield Change(name, 1, partial(_with, trained, {name: 1}))
    for value in (True, 1, "true", "+"):
        yield Change("pred_early_stop", value, partial(_with, trained, {**together, "pred_early_stop": value}))


def _with(trained: Any, parameters: dict[str, Any]) -> Any:
    changed = copy(trained)
    changed._other_params = {**changed._other_params, **parameters}
    vars(changed).update(parameters)
    return changed


def _texts(trained: Any) -> Iterator[Change]:
    """The model text with each of its stated parameters changed, and with those of prediction added."""
    text = trained.model_to_string(num_iteration=-1)
    for name, value in re.findall(r"^\[(\w+): (.*)\]$", text, re.MULTILINE):
        number = float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else value
        for other in others(number):
            line = f"[{name}: {other:g}]" if isinstance(other, float) else f"[{name}: {other}]"
            changed = text.replace(f"[{name}: {value}]", line)
            yield Change(f"parameters: {name}", other, partial(_loaded, trained, changed))
    for name in ("pred_early_stop", "predict_raw_score", "num_iteration_predict", "start_iteration_predict"):
        changed = text.replace("\nend of parameters", f"[{name}: 1]\n\nend of parameters")
        yield Change(f"parameters: {name}", 1, partial(_loaded, trained, changed))


def _loaded(trained: Any, text: str) -> Any:
    changed = lightgbm.Booster(model_str=text)
    changed.best_iteration = trained.best_iteration
    return changed
