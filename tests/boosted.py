"""What the tests of XGBoost and CatBoost share: odd training rows, probes of a model, the recorded runs of qlib."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pandas
import pytest
from numpy.typing import NDArray

from alphaseal.format.manifest import Bound
from alphaseal.gate.model import check_model as check_gate
from alphaseal.scoring.near_ties import compare_order
from alphaseal.scoring.numeric import allowed, outside
from alphaseal_converter.comparison.parity import make_probes
from alphaseal_converter.families import TrainedModel, read_trained_model
from graphs import fitted, row_processors, run_graph
from locations import FIXTURES

Rows = NDArray[np.float64]
ROWS, FEATURES = 1500, 8


def training_rows(seed: int = 0) -> Rows:
    """float64 columns: NaN, zeros, a big offset, two decimals, a tiny scale; the rest is noise."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(ROWS, FEATURES))
    rows[::7, 3] = np.nan
    rows[::3, 4] = 0.0
    rows[:, 5] = 1e9 + 50 * rows[:, 5]
    rows[:, 6] = rows[:, 6].round(2)
    rows[:, 7] *= 1e-10
    return rows


def training_label(rows: Rows) -> Rows:
    signal = rows[:, 0] * 2 + np.sin(rows[:, 1] * 3) + np.nan_to_num(rows[:, 3]) + (rows[:, 4] == 0)
    return np.asarray(signal + (rows[:, 5] - 1e9) / 50 + rows[:, 7] * 1e10 + rows[:, 6])


def relevance(rows: Rows) -> Rows:
    """Grades 0 to 4, for rankers."""
    return np.asarray(np.clip(np.abs(training_label(rows)).round(), 0, 4))


def read(estimator: Any) -> TrainedModel:
    """The estimator as its pickle gives it to the converter."""
    return read_trained_model(pickle.dumps(estimator), "params.pkl")


def probe_rows(model: TrainedModel, rows: Rows) -> Rows:
    """The rows, and those that stand on a split, one float beside it, miss values or are infinite."""
    count = model.feature_count
    probes = make_probes(model.thresholds, ["float64"] * count, np.zeros(count), np.ones(count), rows)
    return np.concatenate([rows, *(probe.values for probe in probes)])


def check_model(model: TrainedModel, rows: Rows) -> tuple[Rows, Rows]:
    """Asserts graph and library within the model's bound on all probes; returns what both give for `rows`."""
    judge = model.judge(())
    assert judge is not None
    probes = probe_rows(model, rows)
    expected = judge.predict(probes)
    # In pieces of uneven size, so that no promise holds for one batch size alone.
    graph = model.graph(())
    check_gate(graph, "model.onnx")
    pieces = [*np.array_split(probes[:-1], 7), probes[-1:]]
    found = np.concatenate([run_graph(graph, piece) for piece in pieces])
    assert np.array_equal(found, run_graph(graph, probes), equal_nan=True)
    assert not outside(model.bound, found, expected).any()
    return found[: len(rows)], expected[: len(rows)]


def check_recorded(case: str, bound: Bound) -> None:
    """A model that qlib trained: the recorded scores within `bound`, and the same order of all stocks of every day."""
    folder = FIXTURES / "direct" / case / "truth"
    if not folder.is_dir():
        pytest.skip("the full set of research leftovers is not here")
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    weights = folder / truth["workspace"] / truth["artifacts"] / "params.pkl"
    model = read_trained_model(weights.read_bytes(), "params.pkl")
    features = truth["model_features"]
    if model.bind is not None:
        model = model.bind(features, [truth["feature_dtypes"][name] for name in features])
    processors = row_processors([fitted(step) for step in truth["processors"]["infer"]], features)
    keys = ["datetime", "instrument"]
    table = pandas.read_parquet(folder / truth["features_file"])
    recorded = pandas.read_parquet(folder / "pred.parquet").merge(table, on=keys, validate="1:1")
    values = recorded[features].to_numpy(np.float64)
    found, scores = run_graph(model.graph(processors), values), recorded["score"].to_numpy(np.float64)
    assert len(found) == 2369
    assert model.bound == bound
    assert not outside(bound, found, scores).any()
    dates = recorded["datetime"].to_numpy().astype("datetime64[D]")
    order = compare_order(dates, recorded["instrument"].tolist(), found, scores, allowed(bound, scores))
    assert order.same == order.days == 40
    judge = model.judge(processors)
    assert judge is not None
    assert np.array_equal(judge.predict(values), scores)
