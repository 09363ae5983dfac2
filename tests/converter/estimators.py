"""What the tests of families share: a model pickled and read back as the converter reads it, graph against library."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from alphaseal.numeric import ulp_distance
from alphaseal_converter.families import TrainedModel, read_trained_model
from alphaseal_converter.processors import RowProcessor, check_processors
from graphs import fitted, run_graph

Rows = NDArray[np.float64]


def read_back(model: Any) -> TrainedModel:
    """The model as it comes out of a weights file."""
    return read_trained_model(pickle.dumps(model), "weights")


def scores_of(trained: TrainedModel, rows: Rows, processors: tuple[RowProcessor, ...] = ()) -> Rows:
    """The graph's scores, computed in pieces of uneven size, so that no promise holds for one batch size alone."""
    graph = trained.graph(processors)
    whole = run_graph(graph, rows)
    pieces = np.concatenate([run_graph(graph, piece) for piece in np.array_split(rows, 7) if len(piece)])
    np.testing.assert_array_equal(pieces, whole)
    return whole


def odd_rows(trained: TrainedModel, rows: Rows) -> Rows:
    """Rows with each threshold hit exactly and by one float on either side, NaN, infinities, zeros and large values."""
    parts = [rows]
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 5e-324, 1e30, 3.5e38, -3.5e38, 1e300, -1e300]
    for feature, thresholds in enumerate(trained.thresholds):
        near = [thresholds, np.nextafter(thresholds, np.inf), np.nextafter(thresholds, -np.inf), np.array(special)]
        values = np.concatenate(near)
        block = np.resize(rows, (len(values), rows.shape[1]))
        block[:, feature] = values
        parts.append(block)
    return np.concatenate([*parts, np.full((1, rows.shape[1]), np.nan)])


def largest_ulp(left: Rows, right: Rows) -> int:
    """Distance in units of the last place; NaN equals NaN."""
    return int(ulp_distance(left, right).max())


def largest_relative(left: Rows, right: Rows) -> float:
    """Largest difference relative to the typical size of the scores; NaN must meet NaN."""
    np.testing.assert_array_equal(np.isnan(left), np.isnan(right))
    good = np.isfinite(right)
    return float(np.abs(left[good] - right[good]).max() / max(np.abs(right[good]).mean(), 1e-300))


def fixture(path: Path) -> tuple[bytes, dict[str, Any], tuple[RowProcessor, ...], Rows, Rows, Any]:
    """Weights, truth.json, processors, raw values in model order, qlib's scores and their dates of a leftover run."""
    import json

    truth = json.loads((path / "truth/truth.json").read_text(encoding="utf-8"))
    (weights,) = path.glob("mlruns/*/*/artifacts/params.pkl")
    processors = check_processors([fitted(step) for step in truth["processors"]["infer"]], truth["model_features"])
    prediction = pq.read_table(path / "truth/pred.parquet").to_pandas()
    raw = pq.read_table(path / "truth" / truth["features_file"]).to_pandas()
    index = ["datetime", "instrument"]
    prediction, raw = (frame.reset_index() if index[0] not in frame.columns else frame for frame in (prediction, raw))
    joined = prediction.merge(raw, on=index, how="left", suffixes=("", "_raw"))
    rows = joined[truth["model_features"]].to_numpy(dtype=np.float64)
    return weights.read_bytes(), truth, processors, rows, joined["score"].to_numpy(), joined["datetime"].to_numpy()


def same_order_every_day(dates: Any, left: Rows, right: Rows) -> bool:
    """Whether both sides put the stocks of each day in the same order."""
    return all(
        np.array_equal(np.argsort(-left[dates == day], kind="stable"), np.argsort(-right[dates == day], kind="stable"))
        for day in np.unique(dates)
    )
