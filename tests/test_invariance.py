"""A stock's score does not depend on the stocks beside it, on their order, on batch sizes or on threads."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import alphaseal
from alphaseal.format.manifest import GraphStage
from alphaseal.scoring.pipeline import Pipeline
from alphaseal.scoring.session import Graph
from alphaseal.tables.features import FeatureBlock
from bundles import FACTOR_PLAIN, factor_plain_bundle, raw_values
from family_cases import Rows, cases, missing_library

FILE = "model.onnx"
STOCKS = 5000
SIZES = (1, 2, 7, 50, 51, 2048, STOCKS)
SMALL_SIZE_ROWS = 700
"""Rows for the sizes below 50, which take one call each."""
EXACT = {
    "LightGBM": ("regression", "deep", "linear_tree", "random_forest", "binary", "one_hot_categories"),
    "XGBoost": ("squarederror", "parallel_trees", "dart", "gblinear", "poisson", "categories"),
    "CatBoost": ("rmse", "many_trees", "lossguide", "classifier"),
    "Linear": ("ols", "ols_158_features", "ridge_float32"),
    "DEnsemble": ("four_members",),
    "scikit-learn": (
        "forest", "extra_trees", "boosting", "histogram_with_gaps", "scaled_lightgbm", "quantile_forest",
        "Ridge", "components", "polynomial", "relu", "logistic", "whitened_forest", "selected_forest",
    ),
}  # fmt: skip
NETWORKS = ("mlp_batch_norm_dropout", "lstm")


@cache
def graph_and_rows(family: str, name: str) -> tuple[bytes, Rows]:
    """The graph of a case, and raw values of `STOCKS` stocks."""
    missing = missing_library(family)
    if missing is not None:
        pytest.skip(f"{missing} is not installed")
    if name not in cases(family):
        pytest.skip(f"what {name} needs is not installed")
    trained = cases(family)[name].train()
    rows = np.resize(trained.rows, (STOCKS, *trained.rows.shape[1:]))
    return trained.read().graph(trained.processors), rows


def day(values: Rows) -> FeatureBlock:
    """One date with a stock per row."""
    names = pa.array([f"SH{600_000 + row}" for row in range(len(values))])
    dates = np.full(len(values), np.datetime64("2021-12-24", "D"))
    return FeatureBlock(dates, names, np.ascontiguousarray(values), ())


def same_bytes(left: Rows, right: Rows) -> bool:
    """What is stored is compared; of a row without a score (NaN) that it has none, for its sign bit is left to chance."""
    return np.where(np.isnan(left), np.nan, left).tobytes() == np.where(np.isnan(right), np.nan, right).tobytes()


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, names in EXACT.items() for name in names])
def test_rows_in_any_order_batch_and_thread(family: str, name: str) -> None:
    """Trees and linear models: the same bytes for rows in any order, alone or with 4999 others, on 1, 2 or 3 threads."""
    graph, rows = graph_and_rows(family, name)
    pipeline = Pipeline([GraphStage(file=FILE, processors=[])], {FILE: graph}.__getitem__, rows.shape[1])

    def score(values: Rows, threads: int = 1) -> Rows:
        positions, scores = pipeline.run(day(values), threads=threads)
        assert np.array_equal(positions, np.arange(len(values)))
        return scores

    whole = score(rows)
    assert np.isfinite(whole).mean() > 0.5
    for threads in (2, 3):
        assert same_bytes(score(rows, threads), whole)
    order = np.random.default_rng(5).permutation(STOCKS)
    for threads in (1, 2):
        assert same_bytes(score(rows[order], threads), whole[order])
    for size in SIZES:
        count = STOCKS if size >= 50 else SMALL_SIZE_ROWS
        parts = [score(rows[start : start + size]) for start in range(0, count, size)]
        assert same_bytes(np.concatenate(parts)[:count], whole[:count]), f"batches of {size}"


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_stay_within_their_bound(name: str) -> None:
    """Networks of rows and of windows: within 1e-6 of the largest score, for any order, batch and number of threads."""
    content, rows = graph_and_rows("Network", name)
    windows = rows.shape[1] if rows.ndim == 3 else 1
    graph = Graph(content, rows.shape[-1], FILE, step_length=windows)
    whole = graph.run(rows, threads=1)
    bound = 1e-6 * np.abs(whole).max()

    def near(scores: Rows, expected: NDArray[np.float64]) -> bool:
        return bool((np.abs(scores - expected) <= bound).all())

    assert near(graph.run(rows, threads=2), whole)
    order = np.random.default_rng(5).permutation(STOCKS)
    assert near(graph.run(rows[order], threads=2), whole[order])
    for size in SIZES:
        count = STOCKS if size >= 50 else SMALL_SIZE_ROWS
        parts = [graph.run(rows[start : start + size], threads=1) for start in range(0, count, size)]
        assert near(np.concatenate(parts)[:count], whole[:count]), f"batches of {size}"


def test_a_shuffled_table_gives_the_same_scores() -> None:
    """A finished bundle: rows of the caller's table in any order, one date or all of them, the same table comes out."""
    bundle = alphaseal.open(factor_plain_bundle(), trust=alphaseal.Trust.unsigned())
    table = pq.read_table(raw_values(FACTOR_PLAIN / "truth/hist2_factor"))
    shuffled = table.take(np.random.default_rng(5).permutation(len(table)))
    first, second = (bundle.score(part, dates=(None, None)).table for part in (table, shuffled))
    assert first.equals(second)
    newest = first["datetime"][-1].as_py()
    alone = bundle.score(shuffled, date=newest).table
    assert alone.equals(first.filter(pc.equal(first["datetime"], newest)))
