"""Running a bundle's ONNX graph so that the bits do not depend on batch size, cores or machine load."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import onnxruntime

from .errors import InputError, PolicyError

ROWS_PER_CHUNK = 2048
_MAXIMUM_THREADS = 8
onnxruntime.set_default_logger_severity(4)


class Graph:
    """One loaded graph: feature values in, `width` numbers per row out (1: the score; more between stages of a pipeline).

    A row of the input is [features], or [step_length, features] where the model takes windows.

    onnxruntime sums the trees of an ensemble in another order when it spreads them over its own threads.  So the session
    has one thread, and rows are spread over sessions' calls instead: every row is then computed the same way always.
    """

    def __init__(self, model: bytes, feature_count: int, where: str, *, step_length: int = 1, width: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # Optimising rewrites nothing that matters here and costs more than the day's scores.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen unrelated types here
            raise PolicyError(
                "model.not_loadable",
                f"onnxruntime {onnxruntime.__version__} does not load the graph: {str(error).splitlines()[0][:300]}",
                where=where,
                next_step="use onnxruntime 1.21 or later",
            ) from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = [list(inputs[0].shape)[1:], list(outputs[0].shape)[1:]] if len(inputs) == 1 and len(outputs) == 1 else None
        self._row = (feature_count,) if step_length == 1 else (step_length, feature_count)
        if shape != [list(self._row), [width]] or (inputs[0].type, outputs[0].type) != ("tensor(double)", "tensor(double)"):
            raise PolicyError(
                "model.signature",
                "the graph's inputs and outputs are not those of the format",
                where=where,
                expected=f"double [rows, {', '.join(map(str, self._row))}] in, double [rows, {width}] out",
            )
        self._input = inputs[0].name
        self._width = width

    def run(self, values: npt.NDArray[np.float64], threads: int | None = None) -> npt.NDArray[np.float64]:
        """Scores float64 [rows] of raw feature values float64 [rows, features]; `threads` defaults to the cores there are."""
        if values.ndim != 2 or values.shape[1] != self._feature_count:
            raise InputError("features.shape", "wrong number of feature columns", expected=str(self._feature_count), found=str(values.shape))
        chunks = [values[start : start + ROWS_PER_CHUNK] for start in range(0, len(values), ROWS_PER_CHUNK)]
        workers = min(threads or _cores(), _MAXIMUM_THREADS, len(chunks))
        if workers <= 1:
            parts = [self._call(chunk) for chunk in chunks]
        else:
            with ThreadPoolExecutor(workers) as pool:
                parts = list(pool.map(self._call, chunks))
        return np.concatenate(parts) if parts else np.zeros(0)

    def _call(self, chunk: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        (scores,) = self._session.run(None, {self._input: np.ascontiguousarray(chunk)})
        return np.asarray(scores, dtype=np.float64).reshape(-1)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux: what this process may use, not what the machine has
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
