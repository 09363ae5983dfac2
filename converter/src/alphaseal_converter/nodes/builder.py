"""The one place where ONNX objects are made: versions are pinned and names given here, so that bytes repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from alphaseal_converter.errors import RefusalError

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

    def add_several(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Adds a node of more than one output and returns their names."""
        name = f"n{len(self._nodes)}"
        names = [name, *(f"{name}_{number}" for number in range(1, outputs))]
        self._nodes.append(helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return names

    def copy(self, node: onnx.NodeProto, inputs: Sequence[str]) -> list[str]:
        """Adds the operator of a foreign node, its attributes sorted, and returns one name per output ("" stays "")."""
        name = f"n{len(self._nodes)}"
        outputs = [
            output and (name if number == 0 else f"{name}_{number}") for number, output in enumerate(node.output)
        ]
        copied = onnx.NodeProto(op_type=node.op_type, name=name, input=inputs, output=outputs)
        for attribute in sorted(node.attribute, key=lambda entry: str(entry.name)):
            copied.attribute.add().CopyFrom(attribute)
            copied.attribute[-1].ClearField("doc_string")
        self._nodes.append(copied)
        return outputs

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

    def model(self, n_features: int, score: str, step_length: int = 1) -> bytes:
        """The serialised scoring graph: `features` double to `score` double [rows, 1], checked by onnx.

        `features` is [rows, n_features], or [rows, step_length, n_features] where a score needs more than one day.
        Equal nodes give equal bytes.
        """
        return self._model(
            "scoring",
            ["rows", n_features] if step_length == 1 else ["rows", step_length, n_features],
            "score",
            score,
            1,
        )

    def row_model(self, n_features: int, values: str) -> bytes:
        """A serialised graph between stages: `features` double [rows, n_features] to `values` of the same shape."""
        return self._model("rows", ["rows", n_features], "values", values, n_features)

    def alpha_model(
        self, window: int, n_fields: int, alphas: str, width: int, element: int = TensorProto.FLOAT
    ) -> onnx.ModelProto:
        """A graph from `bars` float [rows, window, n_fields] and `length` int64 [rows] to `alphas` [rows, width].

        `alphas` are float, or of another `element` type.
        """
        inputs = [
            helper.make_tensor_value_info("bars", TensorProto.FLOAT, ["rows", window, n_fields]),
            helper.make_tensor_value_info("length", TensorProto.INT64, ["rows"]),
        ]
        output = helper.make_tensor_value_info("alphas", element, ["rows", width])
        return self.assembled("alphas", inputs, output, alphas, [""])

    def _model(self, name: str, shape: list[str | int], output_name: str, value: str, width: int) -> bytes:
        features = helper.make_tensor_value_info("features", TensorProto.DOUBLE, shape)
        output = helper.make_tensor_value_info(output_name, TensorProto.DOUBLE, ["rows", width])
        model = self.assembled(name, [features], output, value, list(OPSETS))
        return bytes(model.SerializeToString(deterministic=True))

    def assembled(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        output: onnx.ValueInfoProto,
        value: str,
        domains: Sequence[str],
    ) -> onnx.ModelProto:
        last = helper.make_node("Identity", [value], [output.name], name=output.name)
        graph = helper.make_graph([*self._nodes, last], name, inputs, [output], self._initializers)
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid(domain, OPSETS[domain]) for domain in domains],
            producer_name=PRODUCER,
        )
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            # Widths that contradict each other come from fitted numbers that do.
            raise RefusalError(
                "model.malformed",
                "the parts of the model do not fit together",
                found=str(error).splitlines()[0][:200],
                next_step="take the weights from another copy of the run",
            ) from None
        return model
