"""The element type of every value, as ONNX says it: what a division divides, and how many bytes a value takes.

Whether types go together is left to onnxruntime, which looks before it runs anything; here None stands for a type that
is not known, and is taken for the worst.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from alphaseal.gate.onnx.parts import BOOL, BYTES_OF, FLOAT32, FLOAT64, INT64, Node, Tensor

Element = int | None
FLOATS = frozenset({FLOAT32, FLOAT64})
_LARGEST = max(BYTES_OF.values())
_ALWAYS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"), BOOL),
        **dict.fromkeys(("Not", "Or", "Xor"), BOOL),
        **dict.fromkeys(("ArgMax", "ArgMin", "Shape", "Size"), INT64),
    }
)
_NAMED: Mapping[str, str] = MappingProxyType({"Cast": "to", "EyeLike": "dtype"})
"""Which attribute names the type of the result."""
_AS_INPUT: Mapping[str, int] = MappingProxyType({"CastLike": 1, "OneHot": 2, "Where": 1})
"""Which input has the type of the result, where it is not the first."""


def result_types(node: Node, inputs: Sequence[Element]) -> list[Element]:
    """The types of what a node gives, of the types of what goes in (None: left out, or not known)."""
    found = _ALWAYS.get(node.operator)
    if found is None and node.attributes:
        found = _of_attributes(node)
    if found is None and node.operator == "ConstantOfShape":
        found = FLOAT32
    if found is None:
        place = _AS_INPUT.get(node.operator, 0)
        found = inputs[place] if place < len(inputs) else None
    types: list[Element] = [found] * len(node.outputs)
    if node.operator == "TopK":
        types[1:] = [INT64]
    return types


def _of_attributes(node: Node) -> Element:
    if node.operator == "ConstantOfShape":
        value = node.attributes.get("value")
        return value.element if isinstance(value, Tensor) else None
    named = node.attributes.get(_NAMED.get(node.operator, ""))
    return named if isinstance(named, int) else None


def bytes_of(element: Element) -> int:
    """Bytes of one element."""
    return BYTES_OF.get(element, _LARGEST) if element is not None else _LARGEST


def is_real(types: Sequence[Element]) -> bool:
    """Whether an operator on these types computes with floats: one of them is known to be one, and all are alike."""
    return bool(FLOATS & set(types))
