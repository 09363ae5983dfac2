"""Running a bundle's ONNX graph so that the bits do not depend on batch size, cores or machine load."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime

from alphaseal.errors import InputError, PolicyError

ROWS_PER_CHUNK = 2048
_MAXIMUM_THREADS = 8
_MEMORY_TOGETHER = 2 << 30
"""Bytes that calls at one time may take."""
T = TypeVar("T")


class Graph:
    """One loaded graph: feature values in, `width` numbers per row out (1: the score; more between stages of a pipeline).

    A row of the input is [features], or [step_length, features] where the model takes windows.

    onnxruntime sums the trees of an ensemble in another order when it spreads them over its own threads.  So the session
    has one thread, and rows are spread over sessions' calls instead: every row is then computed the same way always.
    """

    def __init__(
        self, model: bytes, feature_count: int, where: str, *, step_length: int = 1, width: int | None = 1
    ) -> None:
        """`width` None takes any number of results; raises PolicyError `model.not_loadable` and `model.signature`."""
        self._session = load_session(model, where)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = (
            [list(inputs[0].shape)[1:], list(outputs[0].shape)[1:]] if len(inputs) == 1 and len(outputs) == 1 else None
        )
        self._row = (feature_count,) if step_length == 1 else (step_length, feature_count)
        # An axis that is a text or None may be of any length; only the axis of rows may be that.
        found = shape[1][0] if shape is not None and len(shape[1]) == 1 and isinstance(shape[1][0], int) else 0
        self.width = found if width is None else width
        if (
            shape != [list(self._row), [self.width]]
            or self.width < 1
            or (inputs[0].type, outputs[0].type) != ("tensor(double)", "tensor(double)")
        ):
            raise PolicyError(
                "model.signature",
                "the graph's inputs and outputs are not those of the format",
                where=where,
                expected=f"double [rows, {', '.join(map(str, self._row))}] in, double [rows, {width or 'columns'}] out",
            )
        self._input = inputs[0].name

    def run(self, values: npt.NDArray[np.float64], threads: int | None = None) -> npt.NDArray[np.float64]:
        """Scores float64 [rows] of raw feature values float64 [rows, features]; `threads` defaults to the cores there are."""
        if values.shape[1:] != self._row:
            raise InputError(
                "features.shape",
                "wrong number of feature columns",
                expected=str(list(self._row)),
                found=str(list(values.shape[1:])),
            )
        parts = spread(lambda rows: self.call(values[rows]), row_chunks(len(values)), threads)
        return np.concatenate(parts).reshape(-1) if parts else np.zeros(0)

    def call(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """float64 [rows, width] of one chunk of rows, computed at once."""
        result = run_session(self._session, {self._input: np.ascontiguousarray(rows)})
        return np.asarray(result, dtype=np.float64).reshape(len(rows), self.width)


def load_session(model: bytes, where: str) -> Any:
    """A session on one thread, computing the graph as it is written; PolicyError `model.not_loadable`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # The order of the file, for which the gate counts memory: its own begins at the result and may keep every value.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    # Optimising rewrites nothing that matters here and costs more than the day's scores.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated types here
        raise PolicyError(
            "model.not_loadable",
            f"onnxruntime {onnxruntime.__version__} does not load the graph: {str(error).splitlines()[0][:300]}",
            where=where,
            next_step="use onnxruntime 1.21 or later",
        ) from None


def run_session(session: Any, inputs: dict[str, npt.NDArray[Any]]) -> Any:
    """The one output of a graph; PolicyError `model.not_loadable` where a kernel refuses."""
    try:
        (result,) = session.run(None, inputs)
    except Exception as error:  # what a kernel says of a graph that loaded
        raise PolicyError(
            "model.not_loadable", f"onnxruntime does not run the graph: {str(error).splitlines()[0][:300]}"
        ) from None
    return result


def row_chunks(count: int, rows: int = ROWS_PER_CHUNK) -> list[slice]:
    """`count` rows cut into parts of `rows`."""
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


def calls_at_once(memory: int) -> int:
    """How many calls may run at one time of a graph whose call takes so many bytes (`ModelSummary.memory`)."""
    return max(1, min(_cores(), _MAXIMUM_THREADS, _MEMORY_TOGETHER // max(1, memory)))


def spread(call: Callable[[slice], T], chunks: Sequence[slice], threads: int | None = None) -> list[T]:
    """The results of `call` for each chunk, in order, computed on at most `threads` threads (default: the cores there are)."""
    workers = min(threads or _cores(), _MAXIMUM_THREADS, len(chunks))
    if workers <= 1:
        return [call(chunk) for chunk in chunks]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(call, chunks))


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux: what this process may use, not what the machine has
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
