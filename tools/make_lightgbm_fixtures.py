"""Writes tests/data/lightgbm/<version>.json and .pkl with the lightgbm that is installed beside this interpreter.

    python3.10 -m venv venv && venv/bin/pip install lightgbm==3.3.5 'numpy<2' scipy
    venv/bin/python tools/make_lightgbm_fixtures.py tests/data/lightgbm

Per case the model text and what ``Booster.predict`` of that version gives for the rows; NaN and infinities are strings
in the JSON.  The pickle is the Booster of the case ``regression``.
"""

from __future__ import annotations

import json
import pickle  # noqa: TID251 - writes a pickle as input for tests, reads none
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

FEATURES = 5
CATEGORICAL = 4

CASES: dict[str, dict[str, Any]] = {
    "regression": {"objective": "regression"},
    "mse_alias": {"objective": "mse"},
    "reg_sqrt": {"objective": "regression", "reg_sqrt": True},
    "huber": {"objective": "huber"},
    "quantile": {"objective": "quantile", "alpha": 0.7},
    "poisson": {"objective": "poisson"},
    "binary": {"objective": "binary", "sigmoid": 0.7},
    "cross_entropy": {"objective": "cross_entropy"},
    "cross_entropy_lambda": {"objective": "cross_entropy_lambda"},
    "lambdarank": {"objective": "lambdarank"},
    "zero_as_missing": {"objective": "regression", "zero_as_missing": True},
    "no_missing": {"objective": "regression", "use_missing": False},
    "dart": {"objective": "regression", "boosting": "dart"},
    "random_forest": {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    "linear_tree": {"objective": "regression", "linear_tree": True},
}


def training_data(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    features = generator.normal(size=(600, FEATURES))
    features[:, CATEGORICAL] = generator.integers(0, 40, 600)
    features[::5, 0] = np.nan
    features[::3, 1] = 0.0
    features[:, 3] = 1e9 + 50 * features[:, 3]
    label = np.abs(np.nan_to_num(features[:, 0]) + features[:, 1] * features[:, 2] + features[:, CATEGORICAL] % 3)
    return features, label


def odd_rows(features: np.ndarray) -> np.ndarray:
    """Rows of the training data, and copies with NaN, infinities, zeros and codes that were never seen."""
    rows = [features[:20]]
    for value in (np.nan, np.inf, -np.inf, 0.0, 1e-35, -1e-35, 1e-30, -0.0, 0.5, -0.5, 3.7, 1e12, -7.0):
        for column in range(FEATURES):
            row = features[column : column + 1].copy()
            row[0, column] = value
            rows.append(row)
    return np.concatenate(rows)


def make_case(parameters: dict[str, Any], features: np.ndarray, label: np.ndarray) -> tuple[Any, dict[str, Any]]:
    group = None
    if parameters["objective"] in ("binary", "cross_entropy", "cross_entropy_lambda", "lambdarank"):
        label = (label > np.median(label)).astype(np.float64)
        group = [50] * 12 if parameters["objective"] == "lambdarank" else None
    settings = {"num_leaves": 6, "verbose": -1, "min_data_per_group": 5, "seed": 1, "num_threads": 1, **parameters}
    data = lightgbm.Dataset(features, label, group=group, categorical_feature=[CATEGORICAL])
    booster = lightgbm.train(settings, data, 6)
    rows = odd_rows(features)
    case = {"text": booster.model_to_string(), "expected": numbers(booster.predict(rows))}
    return booster, case


def numbers(values: np.ndarray) -> list[Any]:
    if values.ndim == 2:
        return [numbers(row) for row in values]
    return [value if np.isfinite(value) else str(value) for value in values.tolist()]


def main() -> None:
    target = Path(sys.argv[1])
    features, label = training_data(np.random.default_rng(7))
    cases = {}
    for name, parameters in CASES.items():
        booster, cases[name] = make_case(parameters, features, label)
        if name == "regression":
            (target / f"{lightgbm.__version__}.pkl").write_bytes(pickle.dumps(booster, protocol=4))
    document = {"lightgbm": lightgbm.__version__, "rows": numbers(odd_rows(features)), "cases": cases}
    (target / f"{lightgbm.__version__}.json").write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
