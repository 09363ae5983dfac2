"""The one place where ONNX objects are made: versions are pinned and names given here, so that bytes repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 10
"""onnxruntime reads it from 1.20 on."""
OPSETS: dict[str, int] = {"": 18, "ai.onnx.ml": 5}
"""ai.onnx.ml 5 brings `TreeEnsemble`, which onnxruntime computes in double from 1.21 on."""
PRODUCER = "alphaseal"


class GraphBuilder:
    """Collects nodes and constants in the order they are added; a value is named after its position."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Adds a node of one output and returns the output's name."""
        name = f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def constant(self, values: NDArray[Any] | Sequence[int]) -> str:
        """Adds a constant tensor of the array's dtype (int64 for a sequence) and returns its name."""
        name = f"c{len(self._initializers)}"
        array = values if isinstance(values, np.ndarray) else np.array(values, dtype=np.int64)
        self._initializers.append(numpy_helper.from_array(array, name))
        return name

    def scalar(self, value: float) -> str:
        """Adds a float64 constant of rank 0."""
        return self.constant(np.array(value, dtype=np.float64))

    def cast(self, value: str, to: TensorProto.DataType) -> str:
        return self.add("Cast", value, to=to)

    def model(self, n_features: int, score: str) -> onnx.ModelProto:
        """The scoring graph: `features` double [rows, n_features] to `score` double [rows, 1], checked by onnx."""
        output = helper.make_node("Identity", [score], ["score"], name="score")
        graph = helper.make_graph(
            [*self._nodes, output],
            "scoring",
            [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", n_features])],
            [helper.make_tensor_value_info("score", TensorProto.DOUBLE, ["rows", 1])],
            self._initializers,
        )
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSETS.items()],
            producer_name=PRODUCER,
        )
        onnx.checker.check_model(model, full_check=True)
        return model
