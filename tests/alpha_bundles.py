"""A small alphas.onnx, and bundles that have it: two fields, a window of three days, features that show what the graph got."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from alphaseal.format import manifest as m
from alphaseal.format.manifest import AlphaGraph
from alphaseal.scoring import golden
from alphaseal_converter.nodes.builder import GraphBuilder
from manifests import example_manifest, manifest_of

WINDOW = 3
FIELDS = ("close", "volume")
FEATURES = ("CLOSE", "ROC1", "LENGTH")
"""The day's close, the close of the day before over it, and the number of days that the stock has been there."""


MODEL_FEATURES = ("CLOSE", "REV", "ROC1", "LENGTH")
"""Those and, second, a SOTA factor that bars do not give."""
WEIGHTS = (1.0, 10.0, 100.0, 1000.0)
DAYS = [datetime.date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9, 10, 11)]
STOCKS = ("SH600000", "SH600001", "SZ000001")


def frame(days: list[datetime.date] = DAYS, stocks: tuple[str, ...] = STOCKS) -> pd.DataFrame:
    """Bars whose close says the stock and the day: 100 × (stock + 1) + day."""
    rows = [
        {"datetime": day, "instrument": stock, "close": 100.0 * (place + 1) + DAYS.index(day), "volume": 10.0 + place}
        for day in days
        for place, stock in enumerate(stocks)
    ]
    return pd.DataFrame(rows)


def alpha_graph() -> bytes:
    """The graph: what the docstring of FEATURES says."""
    constants = {"day": [2], "before": [1], "field": [0], "axis": [1], "one": [1]}
    nodes = [
        helper.make_node("Gather", ["bars", "day"], ["today"], axis=1),
        helper.make_node("Gather", ["bars", "before"], ["yesterday"], axis=1),
        helper.make_node("Gather", ["today", "field"], ["close_there"], axis=2),
        helper.make_node("Gather", ["yesterday", "field"], ["before_there"], axis=2),
        helper.make_node("Squeeze", ["close_there", "axis"], ["close"]),
        helper.make_node("Squeeze", ["before_there", "axis"], ["close_before"]),
        helper.make_node("Div", ["close_before", "close"], ["roc"]),
        helper.make_node("Cast", ["length"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["count", "one"], ["counts"]),
        helper.make_node("Concat", ["close", "roc", "counts"], ["alphas"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "alphas",
        [
            helper.make_tensor_value_info("bars", TensorProto.FLOAT, ["rows", WINDOW, len(FIELDS)]),
            helper.make_tensor_value_info("length", TensorProto.INT64, ["rows"]),
        ],
        [helper.make_tensor_value_info("alphas", TensorProto.FLOAT, ["rows", len(FEATURES)])],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def description(**changes: Any) -> AlphaGraph:
    """What a manifest says of `alpha_graph`."""
    said: dict[str, Any] = {
        "file": "alphas.onnx",
        "window": WINDOW,
        "fields": list(FIELDS),
        "features": list(FEATURES),
        "tolerances": [0.0, 1e-7, 0.0],
        "truncated": {},
        "golden": "golden_bars.parquet",
        "golden_rows": WINDOW * len(STOCKS),
        "date": str(DAYS[WINDOW - 1]),
    }
    return AlphaGraph(**(said | changes))


def scores_of(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What the model says of features [..., steps, 4]: weighted sums, those of the oldest step for a thousandth; NaN is 0."""
    weights = np.array([[0.001], [1.0]])[2 - values.shape[-2] :] * np.array(WEIGHTS)
    result: npt.NDArray[np.float64] = (np.nan_to_num(values, nan=0.0) * weights).sum(axis=(-1, -2))
    return result


def _model(steps: int) -> bytes:
    builder = GraphBuilder()
    missing = builder.add("IsNaN", "features")
    filled = builder.add("Where", missing, builder.constant(np.array(0.0)), "features")
    weights = np.array([[0.001], [1.0]])[2 - steps :] * np.array(WEIGHTS)
    weighted = builder.add("Mul", filled, builder.constant(weights if steps > 1 else weights[0]))
    axes = builder.constant([1, 2] if steps > 1 else [1])
    total = builder.add("ReduceSum", weighted, axes, keepdims=0)
    return builder.model(len(WEIGHTS), builder.add("Unsqueeze", total, builder.constant([1])), steps)


def _golden(steps: int, features: list[m.Feature]) -> pa.Table:
    """The day of `description` and what windows of `steps` need before it: features as bars give them, REV of 0.5."""
    rows = []
    for day in DAYS[WINDOW - steps : WINDOW]:
        for place, stock in enumerate(STOCKS):
            close = 100.0 * (place + 1) + DAYS.index(day)
            before = np.float32(close - 1) / np.float32(close)
            rows.append((day, stock, close, 0.5, before, float(DAYS.index(day) + 1)))
    values = np.array([row[2:] for row in rows]).reshape(steps, len(STOCKS), 4)
    scores = [*[None] * (steps - 1) * len(STOCKS), *scores_of(values.transpose(1, 0, 2)).tolist()]
    case = [*["context"] * (steps - 1) * len(STOCKS), *["day"] * len(STOCKS)]
    columns = [case, *zip(*rows, strict=True), scores]
    schema = golden.golden_schema(features)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def golden_bars(**changes: Any) -> pa.Table:
    """The golden bars of `description`."""
    rows = frame(DAYS[:WINDOW]).assign(**changes)
    return pa.Table.from_pandas(rows, schema=golden.bars_schema(FIELDS), preserve_index=False)


def write_bundle(
    folder: Path, *, steps: int = 1, bars: pa.Table | None = None, edit: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """A bundle of `alpha_graph` and a model of windows of `steps` (1 or 2) days.

    `bars` are other golden bars, `edit` changes what the manifest says of the graph, `changes` other parts of it.
    """
    base = example_manifest()
    features = [
        msgspec.structs.replace(
            base.features[0],
            name=name,
            dtype="float64" if name == "REV" else "float32",
            origin="sota" if name == "REV" else "alpha",
            not_compiled=None,
            source=None,
        )
        for name in MODEL_FEATURES
    ]
    golden, bars = _golden(steps, features), golden_bars() if bars is None else bars
    folder.mkdir()
    pq.write_table(golden, folder / "golden.parquet", store_schema=False)
    pq.write_table(bars.replace_schema_metadata(None), folder / "golden_bars.parquet", store_schema=False)
    (folder / "alphas.onnx").write_bytes(alpha_graph())
    (folder / "model.onnx").write_bytes(_model(steps))
    window = [] if steps == 1 else [m.WindowStage(length=steps, fill="ffill+bfill")]
    parts = {
        "stages": [*window, m.GraphStage(file="model.onnx", processors=[])],
        "sota_factors": [],
        "parity": msgspec.structs.replace(
            base.parity, bound=m.Bound(ulp=4, relative=None, absolute=None, text="sums of four")
        ),
        "alphas": description(**({"golden_rows": len(bars)} | (edit or {}))),
        "golden": m.GoldenTable(file="golden.parquet", rows=len(golden), judge="by hand", days=[str(DAYS[WINDOW - 1])]),
    }
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    manifest = manifest_of(files, features, steps=steps, **parts)
    (folder / m.FILE_NAME).write_bytes(m.encode(msgspec.structs.replace(manifest, **changes)))
    return folder
