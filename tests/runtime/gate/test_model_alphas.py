"""The gate for graphs from bars to alpha features: operators of their own, the ports of the manifest, small values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alpha_cases import OPERATORS
from alphaseal.bars import calendar as bars
from alphaseal.errors import PolicyError
from alphaseal.gate.model import ALPHAS, check_alphas, check_model
from alphaseal.gate.onnx.operators import EVERYDAY, every_operator
from alphaseal_converter.alphas import compile_alphas
from alphaseal_converter.nodes.builder import GraphBuilder
from raising import refusal

Change = Callable[[onnx.ModelProto], object]


def small(change: Change | None = None) -> bytes:
    """The compiled graph of one feature of two days and one field, after a change."""
    graph = compile_alphas({"A": "$close/Ref($close,1)"}).graph
    assert graph is not None
    model = onnx.load_from_string(graph)
    if change is not None:
        change(model)
    return bytes(model.SerializeToString(deterministic=True))


def refused(data: bytes, window: int = 2, fields: int = 1, features: int = 1) -> PolicyError:
    return refusal(PolicyError, check_alphas, data, "alphas.onnx", window=window, fields=fields, features=features)


def test_compiled_graphs_pass_and_use_every_operator_of_the_list() -> None:
    """All operators of qlib in one graph pass, and no operator is allowed that none of them needs."""
    compiled = compile_alphas(OPERATORS)
    assert compiled.graph is not None
    summary = check_alphas(
        compiled.graph,
        "alphas.onnx",
        window=compiled.window,
        fields=len(compiled.fields),
        features=len(compiled.features),
    )
    assert set(summary.operators) == {name for (_, name), row in every_operator().items() if row.alphas}
    assert set(summary.operators) < {name for _, name in EVERYDAY}
    assert summary.largest_value <= ALPHAS.elements


def test_rows_of_a_call_are_those_of_the_gate() -> None:
    """What the gate bounds values for is what the runtime puts into one call."""
    assert ALPHAS.rows == bars.ROWS_PER_CALL


@pytest.mark.parametrize("numbers", [{"window": 3}, {"fields": 2}, {"features": 2}])
def test_ports_are_those_that_the_manifest_says(numbers: dict[str, int]) -> None:
    """Another window, number of fields or of features is refused."""
    check_alphas(small(), "alphas.onnx", window=2, fields=1, features=1)
    assert refused(small(), **numbers).code == "model.signature"


def test_scoring_and_alpha_graphs_do_not_pass_for_each_other() -> None:
    """Each role has its own ports."""
    with pytest.raises(PolicyError) as caught:
        check_model(small(), "model.onnx")
    assert caught.value.code == "model.signature"
    builder = GraphBuilder()
    score = builder.add("Gather", "features", builder.constant([0]), axis=1)
    data = builder.model(1, score)
    assert refused(data).code == "model.signature"


@pytest.mark.parametrize(
    "operator", ["MatMul", "Exp", "Range", "Einsum", "ScatterElements", "GRU", "Loop", "RandomNormal"]
)
def test_operators_of_scoring_graphs_are_refused(operator: str) -> None:
    """What networks and trees need, or nobody, has no place here."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.node.insert(0, helper.make_node(operator, ["bars", "bars"], ["k"]))

    assert refused(small(change)).code == "model.operator"


def _append(*arguments: object, constant: np.ndarray | None = None, **attributes: object) -> Change:
    def change(model: onnx.ModelProto) -> None:
        if constant is not None:
            model.graph.initializer.append(numpy_helper.from_array(constant, "own"))
        model.graph.node.insert(0, helper.make_node(*arguments, **attributes))

    return change


def _length_as_text(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.STRING


def _inputs_swapped(model: onnx.ModelProto) -> None:
    swapped = [model.graph.input[1], model.graph.input[0]]
    del model.graph.input[:]
    model.graph.input.extend(swapped)


BAD: dict[str, tuple[Change, str]] = {
    "copies_for_each_element": (
        _append("Gather", ["bars", "own"], ["k"], axis=2, constant=np.zeros(20000, np.int64)),
        "model.growth",
    ),
    "infinite_factor": (
        _append("Mul", ["bars", "own"], ["k"], constant=np.array(np.inf, np.float32)),
        "model.not_finite",
    ),
    "nan_factor": (_append("Mul", ["bars", "own"], ["k"], constant=np.array(np.nan, np.float32)), "model.not_finite"),
    "size_from_data": (_append("Slice", ["bars", "length", "length"], ["k"]), "model.shape"),
    "unknown_attribute": (_append("Sqrt", ["bars"], ["k"], axis=1), "model.attribute"),
    "constant_named_bars": (
        lambda model: model.graph.initializer.append(numpy_helper.from_array(np.zeros(1), "bars")),
        "model.graph",
    ),
    "length_as_text": (_length_as_text, "model.signature"),
    "inputs_swapped": (_inputs_swapped, "model.signature"),
    "second_output": (lambda model: model.graph.output.append(model.graph.output[0]), "model.signature"),
    "no_output": (lambda model: model.graph.output.pop(), "model.signature"),
    "other_version": (lambda model: setattr(model, "ir_version", 9), "model.version"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_graphs_are_refused(name: str) -> None:
    """Ports, constants, sizes and versions that our compiler does not write."""
    change, code = BAD[name]
    assert refused(small(change)).code == code


def test_too_large_a_file_is_refused() -> None:
    """A graph of bars has no weights, so its file is small."""
    error = refused(bytes(ALPHAS.file_bytes + 1))
    assert error.code == "model.size"
