"""A foreign graph of one input and one output as part of ours: known operators only, our names, nothing else of it.

What comes out of an exporter was made in a process that ran unread code.  It is parsed as data, and only nodes of the
operators below and plain tensors go over; whatever else a model file can hold is refused or left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, numpy_helper

from alphaseal.gate.onnx import operators as onnx_operators
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.nodes.builder import OPSETS, GraphBuilder

OPERATORS: Final = frozenset(name for domain, name in onnx_operators.every_operator() if domain == "")
"""What the runtime's model gate lets through."""
_PLAIN_ATTRIBUTES: Final = frozenset(
    {
        AttributeProto.FLOAT,
        AttributeProto.INT,
        AttributeProto.STRING,
        AttributeProto.TENSOR,
        AttributeProto.FLOATS,
        AttributeProto.INTS,
        AttributeProto.STRINGS,
    }
)
_MAXIMUM_BYTES: Final = 512 << 20
_MAXIMUM_NODES: Final = 100_000


Substitute = Callable[[GraphBuilder, onnx.NodeProto, list[str]], str]
"""Adds our own nodes in place of a foreign one of one output: its node, our names of its inputs -> our output."""


def embed(
    builder: GraphBuilder,
    content: bytes,
    value: str,
    substitutes: Mapping[tuple[str, str], Substitute] = MappingProxyType({}),
) -> str:
    """Adds the graph serialised in `content`, applied to `value`, and returns the name of its output.

    RefusalError ``graph.foreign``: not an ONNX model of one input and one output at our opset, or something in it that
    a bundle does not carry.  `substitutes` says by (domain, operator) what is put in place of which nodes.
    """
    graph = _parse(content)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    inputs = [entry.name for entry in graph.input if entry.name not in tensors]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise _refused(f"{len(inputs)} inputs and {len(graph.output)} outputs, one of each is expected")
    names = {"": "", inputs[0]: value}
    for node in _needed(graph):
        if node.op_type == "Constant":
            tensors[node.output[0]] = _constant(node)
        elif node.op_type == "Identity":
            names[node.output[0]] = _name(builder, node.input[0], names, tensors)
        elif (substitute := substitutes.get((node.domain, node.op_type))) is not None:
            arguments = [_name(builder, name, names, tensors) for name in node.input]
            names[node.output[0]] = substitute(builder, node, arguments)
        else:
            _check(node)
            arguments = [_name(builder, name, names, tensors) for name in node.input]
            names.update(zip(node.output, builder.copy(node, arguments), strict=True))
            names[""] = ""
    return _name(builder, graph.output[0].name, names, tensors)


def _refused(message: str) -> RefusalError:
    return RefusalError("graph.foreign", f"the exported graph cannot be carried over: {message}"[:500])


def _parse(content: bytes) -> onnx.GraphProto:
    if len(content) > _MAXIMUM_BYTES:
        raise _refused(f"{len(content)} bytes, {_MAXIMUM_BYTES} are allowed")
    try:
        model = onnx.ModelProto.FromString(content)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
    except Exception as problem:  # noqa: BLE001 - protobuf's DecodeError is another class in each of its implementations
        raise _refused(f"it is no ONNX model ({type(problem).__name__})") from None
    versions = {entry.domain or "": entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")}
    if versions != {"": OPSETS[""]}:
        raise _refused(f"opset {versions}, {OPSETS['']} is expected")
    if model.graph.sparse_initializer or len(model.graph.node) > _MAXIMUM_NODES:
        raise _refused(f"sparse tensors, or more than {_MAXIMUM_NODES} nodes")
    return model.graph


def _needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the output depends on, in their order."""
    wanted, kept = {graph.output[0].name}, []
    for node in reversed(graph.node):
        if wanted & set(filter(None, node.output)):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _check(node: onnx.NodeProto) -> None:
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        raise _refused(f"the operator {node.domain or 'ai.onnx'}.{node.op_type} is not allowed")
    for attribute in node.attribute:
        if attribute.type not in _PLAIN_ATTRIBUTES or attribute.ref_attr_name:
            raise _refused(f"{node.op_type} has the attribute {attribute.name}, which is not plain")
        if attribute.type == AttributeProto.TENSOR:
            _array(attribute.t)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto:
    if len(node.attribute) == 1:
        attribute = node.attribute[0]
        if attribute.name == "value" and attribute.type == AttributeProto.TENSOR:
            return attribute.t
        plain: Mapping[str, tuple[str, type[np.generic]]] = {
            "value_int": ("i", np.int64),
            "value_ints": ("ints", np.int64),
            "value_float": ("f", np.float32),
            "value_floats": ("floats", np.float32),
        }
        if attribute.name in plain:
            part, kind = plain[attribute.name]
            return numpy_helper.from_array(np.array(getattr(attribute, part), dtype=kind))
    raise _refused("a constant that is not a plain tensor")


def _array(tensor: onnx.TensorProto) -> NDArray[Any]:
    if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
        raise _refused("a tensor lies outside of the graph")
    try:
        array: NDArray[Any] = numpy_helper.to_array(tensor)
    except Exception as problem:  # noqa: BLE001 - damaged tensors make numpy and onnx raise several types
        raise _refused(f"a tensor is damaged ({type(problem).__name__})") from None
    if array.dtype.kind not in "fiub" or (array.dtype.kind == "f" and np.isnan(array).any()):
        raise _refused(f"a tensor of type {array.dtype}, or with missing values")
    return array


def _name(builder: GraphBuilder, name: str, names: dict[str, str], tensors: Mapping[str, onnx.TensorProto]) -> str:
    """Our name of a foreign value; a constant is added when it is first asked for."""
    if name not in names:
        if name not in tensors:
            raise _refused(f"the value {name[:60]!r} is used before it is made")
        names[name] = builder.constant(_array(tensors[name]))
    return names[name]
