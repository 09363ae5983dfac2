"""The element type of every value, as ONNX says it: what a division divides, and how many bytes a value takes.

Whether types go together is left to onnxruntime, which looks before it runs anything; here None stands for a type that
is not known, and is taken for the worst.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alphaseal.gate.onnx.parts import BOOL, BYTES_OF, FLOAT32, FLOAT64, INT64, Node, Tensor

Element = int | None
TypeRule = Callable[[Node, Sequence[Element]], list[Element]]
"""The types of what a node gives, of the types of what goes in (None: left out, or not known)."""
FLOATS = frozenset({FLOAT32, FLOAT64})
_LARGEST = max(BYTES_OF.values())


def always(element: int) -> TypeRule:
    return lambda node, inputs: [element] * len(node.outputs)


def like(place: int) -> TypeRule:
    """As the input at `place`."""
    return lambda node, inputs: [inputs[place] if place < len(inputs) else None] * len(node.outputs)


def named(attribute: str, otherwise: TypeRule) -> TypeRule:
    """The type that an attribute names, or that its tensor has."""

    def rule(node: Node, inputs: Sequence[Element]) -> list[Element]:
        found = node.attributes.get(attribute)
        # ConstantOfShape takes the type of the tensor that it fills with.
        found = found.element if isinstance(found, Tensor) else found
        return [found] * len(node.outputs) if isinstance(found, int) else otherwise(node, inputs)

    return rule


def with_places(node: Node, inputs: Sequence[Element]) -> list[Element]:
    """TopK: values, and where they are."""
    return [*like(0)(node, inputs)[:1], INT64]


TRUTH, WHOLE = always(BOOL), always(INT64)


def bytes_of(element: Element) -> int:
    """Bytes of one element."""
    # Not known counts as the largest, so memory is never judged too small.
    return BYTES_OF.get(element, _LARGEST) if element is not None else _LARGEST


def is_real(types: Sequence[Element]) -> bool:
    """Whether an operator on these types computes with floats: one of them is known to be one, and all are alike."""
    # onnxruntime refuses mixed types, so one float is enough.
    return bool(FLOATS & set(types))
