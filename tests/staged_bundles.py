"""Bundles of windows and whole days, with golden rows that their own pipeline computes, and tables for them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.format import manifest as m
from alphaseal.scoring import golden
from alphaseal.scoring.pipeline import Pipeline
from alphaseal.tables.features import FeatureBlock
from alphaseal_converter.nodes.builder import GraphBuilder
from manifests import example_manifest, manifest_of

WIDTH, DATES, STOCKS, LENGTH = 3, 14, 11, 4
FINAL = m.GraphStage(file="model.onnx", processors=[])
WINDOW = m.WindowStage(length=LENGTH, fill="ffill+bfill")
RANK = m.CrossSectionStage(
    processor={"class": "CSRankNorm", "columns": None, "dtype": "float64", "float32_columns": None, "method": None},
    universe="all",
)
DROP = m.DropMissingStage(columns=None)
FILL = m.GraphStage(file="rows0.onnx", processors=[])


def newest_less_oldest() -> bytes:
    """A graph over windows: the sum of the newest row less that of the oldest, plus a hundredth of the second row's."""
    builder = GraphBuilder()
    weights = np.zeros((1, LENGTH, WIDTH))
    weights[0, -1], weights[0, 0], weights[0, 1] = 1.0, -1.0, 0.01
    total = builder.add(
        "ReduceSum", builder.add("Mul", "features", builder.constant(weights)), builder.constant([1, 2]), keepdims=0
    )
    return builder.model(WIDTH, builder.add("Unsqueeze", total, builder.constant([1])), LENGTH)


def block_of(seed: int = 0, dates: int = DATES, stocks: int = STOCKS, share: float = 0.8) -> FeatureBlock:
    """Rows of `share` of the (date, stock) pairs, with some missing values."""
    random = np.random.default_rng(seed)
    day, stock = np.nonzero(random.random((dates, stocks)) < share)
    values = random.standard_normal((len(day), WIDTH))
    values[random.random(values.shape) < 0.1] = np.nan
    names = pa.array([f"SH{600000 + code}" for code in stock])
    return FeatureBlock(np.datetime64("2024-01-01") + day, names, values, ())


def table_of(block: FeatureBlock) -> pa.Table:
    """The block as a caller's table; the first and third features are float32."""
    base = example_manifest()
    columns = {
        feature.name: pa.array(block.values[:, i].astype(feature.dtype)) for i, feature in enumerate(base.features)
    }
    return pa.table({"datetime": pa.array(block.dates), "instrument": block.instruments, **columns})


def write_bundle(
    folder: Path, stages: list[m.Stage], graphs: dict[str, bytes], block: FeatureBlock, context: int
) -> Path:
    """A bundle whose golden rows are those of `block`, the first `context` dates of them history."""
    base = example_manifest()
    features = [msgspec.structs.replace(feature, source=None, origin="alpha") for feature in base.features]
    for i, feature in enumerate(features):
        block.values[:, i] = block.values[:, i].astype(feature.dtype)
    names = [feature.name for feature in features]
    step = next((stage.length for stage in stages if isinstance(stage, m.WindowStage)), 1)
    rows, found = Pipeline(stages, graphs.__getitem__, len(names), names=names).run(block)
    is_context = block.dates < np.unique(block.dates)[context]
    scores = np.full(len(block), np.nan)
    scores[rows] = found
    scores[is_context] = np.nan
    keys = {
        "case": ["context" if old else "day" for old in is_context],
        "datetime": pa.array(block.dates),
        "instrument": block.instruments,
    }
    columns = {name: pa.array(block.values[:, i].astype(features[i].dtype)) for i, name in enumerate(names)}
    rows = pa.table({**keys, **columns, "score": pa.array(scores, from_pandas=True)}).cast(
        golden.golden_schema(features)
    )
    shuffled = rows.take(np.random.default_rng(0).permutation(len(rows)))
    folder.mkdir()
    pq.write_table(shuffled, folder / "golden.parquet", store_schema=False)
    for name, graph in graphs.items():
        (folder / name).write_bytes(graph)
    manifest = manifest_of(
        {file.name: file.read_bytes() for file in folder.iterdir()},
        features,
        steps=step,
        stages=stages,
        sota_factors=[],
        golden=m.GoldenTable(
            file="golden.parquet",
            rows=len(rows),
            judge="itself",
            days=sorted({str(day) for day in block.dates[~is_context]}),
        ),
    )
    (folder / "manifest.json").write_bytes(m.encode(manifest))
    return folder
