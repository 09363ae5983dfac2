"""What tests of graphs share: a session as the runtime opens one, distances in units of the last place, fixtures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from alphaseal.gate.model import check_model
from alphaseal_converter.processors.fillna import Fillna
from alphaseal_converter.processors.normalisation import RobustZScoreNorm
from alphaseal_converter.processors.processor import Processor, RowProcessor
from alphaseal_converter.processors.selection import FilterCol
from alphaseal_converter.processors.sequence import check_sequence


def run_graph(graph: bytes, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The score of each row, from a one-thread session, of a graph that passes the model gate."""
    check_model(graph, "graph of a test")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (score,) = session.run(None, {"features": np.ascontiguousarray(rows)})
    assert score.dtype == np.float64
    assert score.shape == (len(rows), 1)
    result: NDArray[np.float64] = score[:, 0]
    return result


def ulps(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.uint64]:
    """How many doubles lie between the two, element by element; 0.0 and -0.0 are one apart, two NaN are equal."""
    return np.where(np.isnan(left) & np.isnan(right), np.uint64(0), _distance(_ordinal(left), _ordinal(right)))


def _ordinal(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    bits = values.view(np.uint64)
    top = np.uint64(1 << 63)
    return np.where(bits & top, ~bits, bits | top)


def _distance(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.maximum(left, right) - np.minimum(left, right)


def from_json(values: list[Any]) -> NDArray[np.float64]:
    """Numbers of a fixture: NaN and infinities are strings there."""
    return np.array([[float(v) for v in row] if isinstance(row, list) else float(row) for row in values])


def row_processors(processors: Sequence[Processor], features: Sequence[str]) -> tuple[RowProcessor, ...]:
    """Those that go into the graph of a pipeline that has no other stage."""
    checked = check_sequence(processors, features)
    rows = tuple(processor for processor in checked if isinstance(processor, RowProcessor))
    assert len(rows) == len(checked)
    return rows


def fitted(step: dict[str, Any]) -> Processor:
    """A processor of the research leftovers' truth.json, as a typed value."""
    kind = step["class"]
    if kind == "FilterCol":
        return FilterCol(tuple(step["col_list"]))
    if kind == "Fillna":
        return Fillna(step["fill_value"])
    assert kind == "RobustZScoreNorm"
    dtype = step["mean_train_dtype"]
    mean, scale = np.array(step["mean_train"], dtype=dtype), np.array(step["std_train"], dtype=dtype)
    return RobustZScoreNorm(tuple(step["cols"]), mean, scale, step["clip_outlier"])
