"""A program for a Python that has numpy and onnxruntime: loads and runs the models of a file, as the runtime does.

    python onnx_child.py MODELS PLACE [FIRST]

MODELS holds models behind their sizes (little-endian, four bytes); PLACE gets the number of the one at hand all the time,
so that who finds this process dead knows where.  Prints how many were loaded, and how many ran.  What onnxruntime refuses
in words is well; that it has no memory, or gives other numbers than the graph declares, is not.
"""

from __future__ import annotations

import resource
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

MEMORY = 3 << 30
"""Bytes of address space; what a gate lets pass has one gigabyte."""
ROWS = (1, 7, 64)
SPECIAL = [np.nan, np.inf, -np.inf, -(2.0**63), 2.0**63, -(2.0**31), -1.0, 0.0, -0.0, 1.0, 1e300, 12345.0]


def session(model: bytes) -> Any:
    """As `alphaseal.scoring.session.load_session` makes one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def rows(count: int, shape: list[int]) -> Any:
    """Ordinary numbers, the first of them those that are none or lie at an end."""
    values = np.random.default_rng(0).normal(size=[count, *shape])
    flat = values.reshape(-1)
    special = SPECIAL[: len(flat)]
    flat[: len(special)] = special
    return values


def runs(loaded: Any) -> bool:
    """Whether it runs; for each number of rows it gives what it declares."""
    (port,), (result,) = loaded.get_inputs(), loaded.get_outputs()
    for count in ROWS:
        try:
            (scores,) = loaded.run(None, {port.name: rows(count, port.shape[1:])})
        except Exception as error:  # noqa: BLE001 - onnxruntime raises a dozen unrelated types
            require_memory(error)
            return False
        if scores.dtype != np.float64 or scores.shape != (count, *result.shape[1:]):
            raise SystemExit(f"{scores.shape} of {scores.dtype}, declared are {result.shape}")
    return True


def require_memory(error: Exception) -> None:
    """End where there was none."""
    if any(words in str(error) for words in ("bad_alloc", "allocate memory")):
        raise SystemExit(str(error))


def main() -> None:
    """See the module."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    onnxruntime.set_default_logger_severity(4)
    data, first = Path(sys.argv[1]).read_bytes(), int(sys.argv[3]) if len(sys.argv) > 3 else 0
    position = number = loaded = ran = 0
    with open(sys.argv[2], "wb", buffering=0) as place:
        while position < len(data):
            (size,) = struct.unpack_from("<I", data, position)
            model, position, number = data[position + 4 : position + 4 + size], position + 4 + size, number + 1
            if number <= first:
                continue
            place.seek(0)
            place.write(struct.pack("<I", number - 1))
            try:
                made = session(model)
            except Exception as error:  # noqa: BLE001 - as above
                require_memory(error)
                continue
            loaded += 1
            ran += runs(made)
    print(loaded, ran)


if __name__ == "__main__":
    main()
