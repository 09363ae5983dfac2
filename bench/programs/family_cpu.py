"""``family_cpu.py CASE REPETITIONS``: CPU seconds of scoring alone, a graph of the converter and its own library in turns.

The model is trained here, by the library; 5000 rows, one thread each.  Prints {"ours": […], "other": […]}, or
{"missing": module} where a library is not installed.  Scores that are not within the family's bound are an error.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from alphaseal.scoring.numeric import outside
from alphaseal.scoring.session import Graph
from family_cases import NETWORKS, Rows, Trained, library_trained, network
from stand_ins import stand_in

FEATURES, TRAINING_ROWS, ROWS = 158, 4000, 5000
warnings.simplefilter("ignore")


def values(seed: int, rows: int, *, missing: bool = True) -> Rows:
    """float32 values as qlib's Alpha158 has them, a fiftieth of them missing."""
    random = np.random.default_rng(seed)
    made = random.standard_normal((rows, FEATURES), dtype=np.float32).astype(np.float64)
    if missing:
        made[random.random(made.shape) < 0.02] = np.nan
    return made


TRAINING = values(1, TRAINING_ROWS)
KNOWN = np.nan_to_num(TRAINING)
LABEL = KNOWN[:, 0] * KNOWN[:, 1] + np.sin(KNOWN[:, 2]) + np.random.default_rng(2).standard_normal(TRAINING_ROWS)
SCORED, SCORED_KNOWN = values(3, ROWS), values(3, ROWS, missing=False)


def lightgbm() -> Trained:
    import lightgbm

    settings = {"verbosity": -1, "num_threads": 1, "num_leaves": 210, "max_depth": 8, "learning_rate": 0.2}
    booster = lightgbm.train(settings, lightgbm.Dataset(TRAINING, LABEL), 200)
    return library_trained(booster, SCORED, lambda rows: booster.predict(rows, num_threads=1))


def densemble() -> Trained:
    import lightgbm
    import pandas

    names = [f"F{position:03d}" for position in range(FEATURES)]
    subsets = [names, names[::2], names[1::2], names[:100]]
    frame = pandas.DataFrame(TRAINING, columns=names)
    settings = {"objective": "mse", "verbosity": -1, "num_threads": 1, "num_leaves": 64}
    boosters = [lightgbm.train(settings, lightgbm.Dataset(frame[subset], LABEL), 60) for subset in subsets]
    weights = [1, 0.5, 0.3, 0.2]
    state = {
        "ensemble": boosters,
        "sub_features": [pandas.Index(subset) for subset in subsets],
        "sub_weights": weights,
    }
    scored = pandas.DataFrame(SCORED, columns=names)

    def predict(rows: Rows) -> Rows:
        total = pandas.Series(np.zeros(len(rows)))
        for booster, subset, weight in zip(boosters, subsets, weights, strict=True):
            total += pandas.Series(booster.predict(scored.loc[:, subset].values, num_threads=1)) * weight
        return np.asarray((total / np.sum(weights)).to_numpy())

    return Trained(stand_in("qlib.contrib.model.double_ensemble", "DEnsembleModel", state), SCORED, predict)


def xgboost() -> Trained:
    import xgboost

    settings = {"nthread": 1, "max_depth": 8, "eta": 0.0421, "subsample": 0.88, "colsample_bytree": 0.89, "seed": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(TRAINING, LABEL, nthread=1), 300)
    # As qlib's XGBModel does it: a DMatrix, then predict.
    return library_trained(booster, SCORED, lambda rows: booster.predict(xgboost.DMatrix(rows, nthread=1)))


def catboost(**options: Any) -> Trained:
    import catboost

    settings = {"iterations": 500, "depth": 6, "thread_count": 1, "verbose": 0, "allow_writing_files": False}
    model = catboost.CatBoost({**settings, "random_seed": 1, **options}).fit(TRAINING, LABEL)
    return library_trained(model, SCORED, lambda rows: model.predict(rows, thread_count=1))


def linear() -> Trained:
    generator = np.random.default_rng(4)
    coefficients, intercept = generator.normal(size=FEATURES), 0.1
    state = {"estimator": "ridge", "coef_": coefficients, "intercept_": intercept}
    weights = stand_in("qlib.contrib.model.linear", "LinearModel", state)
    return Trained(weights, SCORED_KNOWN, lambda rows: np.asarray(rows @ coefficients + intercept))


def estimator(make: Callable[[], Any], *, missing: bool = False) -> Trained:
    made = make().fit(TRAINING if missing else KNOWN, LABEL)
    return library_trained(made, SCORED if missing else SCORED_KNOWN, made.predict)


def forest() -> Trained:
    from sklearn.ensemble import RandomForestRegressor

    return estimator(lambda: RandomForestRegressor(100, max_depth=10, max_features=0.2, random_state=1))


def histogram() -> Trained:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return estimator(lambda: HistGradientBoostingRegressor(max_iter=200, random_state=1), missing=True)


def boosting() -> Trained:
    from sklearn.ensemble import GradientBoostingRegressor

    return estimator(lambda: GradientBoostingRegressor(n_estimators=100, max_features=0.1, random_state=1))


def ridge() -> Trained:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return estimator(lambda: make_pipeline(StandardScaler(), Ridge()))


def perceptron() -> Trained:
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return estimator(
        lambda: make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(64, 32), max_iter=5, random_state=1))
    )


def torch_network(name: str) -> Trained:
    import torch

    torch.set_num_threads(1)
    trained = network(*NETWORKS[name])
    return Trained(
        trained.weights,
        np.resize(trained.rows, (ROWS, *trained.rows.shape[1:])),
        trained.predict,
        trained.context,
        trained.processors,
    )


CASES: dict[str, Callable[[], Trained]] = {
    "LightGBM 158x200": lightgbm,
    "DEnsemble 158x240": densemble,
    "XGBoost 158x300": xgboost,
    "CatBoost 158x500": catboost,
    "CatBoost Lossguide 158x200": lambda: catboost(grow_policy="Lossguide", iterations=200, max_leaves=64),
    "RandomForest 158x100": forest,
    "GradientBoosting 158x100": boosting,
    "HistGradientBoosting 158x200": histogram,
    "LinearModel 158": linear,
    "scaler and Ridge 158": ridge,
    "scaler and MLP 158": perceptron,
    "network of rows": lambda: torch_network("mlp_batch_norm_dropout"),
    "network of windows (LSTM)": lambda: torch_network("lstm"),
}


def main() -> None:
    """Train, convert, check, measure in turns."""
    name, repetitions = sys.argv[1], int(sys.argv[2])
    try:
        trained = CASES[name]()
    except ModuleNotFoundError as problem:
        print(json.dumps({"missing": problem.name}))
        return
    model = trained.read()
    content = model.graph(trained.processors)
    graph = Graph(content, model.feature_count, "model.onnx", step_length=model.step_length)
    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: graph.run(trained.rows, threads=1),
        "other": lambda: trained.predict(trained.rows),
    }
    ours, other = (np.asarray(call(), dtype=np.float64) for call in calls.values())
    wrong = int(outside(model.bound, ours, other).sum())
    if wrong:
        raise SystemExit(f"{name}: {wrong} of {ROWS} scores are not within the bound ({model.bound.text})")
    seconds: dict[str, list[float]] = {side: [] for side in calls}
    for _ in range(repetitions):
        for side, call in calls.items():
            started = time.process_time()
            call()
            seconds[side].append(time.process_time() - started)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
