"""What the tests of families share: a model pickled and read back as the converter reads it, graph against library."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from alphaseal.scoring.numeric import ulp_distance
from alphaseal_converter.families import TrainedModel, read_trained_model
from alphaseal_converter.processors.processor import RowProcessor
from graphs import fitted, row_processors, run_graph

Rows = NDArray[np.float64]


def read_back(model: Any) -> TrainedModel:
    """The model as it comes out of a weights file."""
    return read_trained_model(pickle.dumps(model), "weights")


def scores_of(trained: TrainedModel, rows: Rows, processors: tuple[RowProcessor, ...] = ()) -> Rows:
    """The graph's scores; rows turned round and in pieces of uneven size must give the same bits."""
    graph = trained.graph(processors)
    whole = run_graph(graph, rows)
    pieces = np.concatenate([run_graph(graph, piece) for piece in np.array_split(rows[::-1], 7) if len(piece)])
    np.testing.assert_array_equal(pieces[::-1], whole)
    return whole


def odd_rows(trained: TrainedModel, rows: Rows) -> Rows:
    """Rows with thresholds (at most 250 per feature) hit exactly and by one float on either side, NaN, infinities, zeros and large values."""
    parts = [rows]
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 5e-324, 1e30, 3.5e38, -3.5e38, 1e300, -1e300])
    for feature, points in enumerate(trained.thresholds):
        thresholds = points[:: len(points) // 250 + 1]
        beside = [np.nextafter(thresholds, side) for side in (np.inf, -np.inf)]
        values = np.concatenate([thresholds, *beside, special])
        block = np.resize(rows, (len(values), rows.shape[1]))
        block[:, feature] = values
        parts.append(block)
    return np.concatenate([*parts, np.full((1, rows.shape[1]), np.nan)])


def largest_ulp(left: Rows, right: Rows) -> int:
    """Distance in units of the last place; NaN equals NaN."""
    return int(ulp_distance(left, right).max())


def largest_relative(left: Rows, right: Rows) -> float:
    """Largest difference relative to the mean size of the scores; NaN must meet NaN."""
    np.testing.assert_array_equal(np.isnan(left), np.isnan(right))
    good = np.isfinite(right)
    return float(np.abs(left[good] - right[good]).max() / np.abs(right[good]).mean())


@dataclass(frozen=True)
class Leftover:
    """A run of the research leftovers: weights, and qlib's own scores of `rows`, raw values in model order."""

    weights: bytes
    names: list[str]
    dtypes: list[str]
    processors: tuple[RowProcessor, ...]
    rows: Rows
    scores: Rows
    dates: NDArray[Any]


def leftover(path: Path) -> Leftover:
    """The run in a folder of the fixtures."""
    truth = json.loads((path / "truth/truth.json").read_text(encoding="utf-8"))
    names = truth["model_features"]
    (weights,) = path.glob("mlruns/*/*/artifacts/params.pkl")
    key = ["datetime", "instrument"]
    tables = [path / "truth/pred.parquet", path / "truth" / truth["features_file"]]
    prediction, raw = (pq.read_table(table).to_pandas().reset_index() for table in tables)
    joined = prediction.merge(raw, on=key, how="left", suffixes=("", "_raw"))
    return Leftover(
        weights.read_bytes(),
        names,
        [truth["feature_dtypes"][name] for name in names],
        row_processors([fitted(step) for step in truth["processors"]["infer"]], names),
        joined[names].to_numpy(dtype=np.float64),
        joined["score"].to_numpy(),
        joined["datetime"].to_numpy(),
    )


def same_order_every_day(dates: NDArray[Any], left: Rows, right: Rows) -> bool:
    """Whether both sides put the stocks of each day in the same order."""
    days = [dates == day for day in np.unique(dates)]
    orders = [[np.argsort(-side[day], kind="stable") for side in (left, right)] for day in days]
    return all(np.array_equal(left, right) for left, right in orders)
