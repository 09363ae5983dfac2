"""Operators that compute each day alone, as numpy does on the series' own dtype."""

from __future__ import annotations

from typing import Final

import numpy as np

from alphaseal_converter.alphas.emit import Emitter, Rule
from alphaseal_converter.alphas.logarithm import log32
from alphaseal_converter.alphas.nodes import Dtype, Node

_SIGNS: Final = {"Add": "Add", "Sub": "Sub", "Mul": "Mul", "Div": "Div"}
_COMPARISONS: Final = {
    "Gt": "Greater",
    "Ge": "GreaterOrEqual",
    "Lt": "Less",
    "Le": "LessOrEqual",
    "Eq": "Equal",
    "Ne": "Equal",
}


def _field(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    return emitter.field(node.field, last), True


def _unary(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    (inner,) = node.inputs
    if node.operator == "Sign":
        # qlib casts to float32 first; float64 values below its range become 0 there.
        return emitter.add("Sign", emitter.operand(inner, last, Dtype.FLOAT32)), emitter.is_clean(inner)
    value = emitter.series(inner, last)
    if node.operator == "Log":
        if inner.dtype is Dtype.FLOAT32:
            return log32(emitter, value), emitter.is_clean(inner)
        return emitter.add("Log", emitter.cast(value, inner.series, Dtype.FLOAT64)), emitter.is_clean(inner)
    return emitter.add(node.operator, value), emitter.is_clean(inner)


def _common(node: Node) -> Dtype:
    """The dtype in which a comparison is made."""
    kinds = {inner.dtype for inner in node.inputs if inner.dtype is not None}
    numbers = [inner for inner in node.inputs if inner.dtype is None]
    if Dtype.FLOAT64 in kinds or kinds == {Dtype.FLOAT32, Dtype.INT64}:
        return Dtype.FLOAT64
    if Dtype.FLOAT32 in kinds:
        return Dtype.FLOAT32
    return Dtype.FLOAT64 if any(number.field == "float" for number in numbers) else Dtype.INT64


def _comparison(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    kind = _common(node)
    left, right = (emitter.operand(inner, last, kind) for inner in node.inputs)
    value = emitter.add(_COMPARISONS[node.operator], left, right)
    return (emitter.add("Not", value) if node.operator == "Ne" else value), False


def _logical(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    left, right = (emitter.series(inner, last) for inner in node.inputs)
    return emitter.add(node.operator, left, right), False


def _arithmetic(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    kind = node.series
    left, right = (emitter.operand(inner, last, kind) for inner in node.inputs)
    clean = kind is not Dtype.INT64 and any(
        inner.dtype is not None and emitter.is_clean(inner) for inner in node.inputs
    )
    if node.operator in _SIGNS:
        return emitter.add(_SIGNS[node.operator], left, right), clean
    # numpy.maximum and minimum: NaN where either is.
    compared = emitter.add("GreaterOrEqual" if node.operator == "Greater" else "LessOrEqual", left, right)
    if kind is not Dtype.INT64 and node.inputs[0].dtype is not None:
        compared = emitter.add("Or", compared, emitter.add("IsNaN", left))
    return emitter.add("Where", compared, left, right), clean


def _power(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    # In double and rounded once; a float32 series takes a number as float32.
    left, right = (
        emitter.double(float(np.float32(inner.parameters[0])))
        if inner.dtype is None and node.dtype is Dtype.FLOAT32
        else emitter.operand(inner, last, Dtype.FLOAT64)
        for inner in node.inputs
    )
    # Anything to the power of 0 is 1, and 1 to the power of anything, NaN too.
    return emitter.cast(emitter.add("Pow", left, right), Dtype.FLOAT64, node.series), False


def _choice(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    """numpy.where: everything but 0 is true, NaN too."""
    condition, left, right = node.inputs
    chosen = emitter.series(condition, last)
    if condition.dtype is not Dtype.BOOL:
        zero = emitter.constant(np.array(0, dtype=_NUMPY[condition.series]))
        chosen = emitter.add("Not", emitter.add("Equal", chosen, zero))
    if node.dtype is Dtype.BOOL:
        # onnxruntime chooses between all kinds of numbers, but not between truth values.
        first, second = (emitter.series(inner, last) for inner in (left, right))
        first, second = emitter.add("And", chosen, first), emitter.add("And", emitter.add("Not", chosen), second)
        return emitter.add("Or", first, second), False
    value = emitter.add("Where", chosen, *(emitter.operand(inner, last, node.series) for inner in (left, right)))
    return value, all(inner.dtype is not None and emitter.is_clean(inner) for inner in (left, right))


_NUMPY: Final = {Dtype.FLOAT32: np.float32, Dtype.FLOAT64: np.float64, Dtype.INT64: np.int64}


def _reference(emitter: Emitter, node: Node, last: int) -> tuple[str, bool]:
    (inner,) = node.inputs
    (days,) = node.parameters
    length = emitter.length(inner)
    value = emitter.masked(inner, node.series)
    end = length - int(days)
    return emitter.cut(value, end - last, end), True


RULES: Final[dict[str, Rule]] = {
    "field": _field,
    **dict.fromkeys(("Abs", "Sign", "Log", "Not"), _unary),
    **dict.fromkeys(_COMPARISONS, _comparison),
    **dict.fromkeys(("And", "Or"), _logical),
    **dict.fromkeys((*_SIGNS, "Greater", "Less"), _arithmetic),
    "Power": _power,
    "If": _choice,
    "Ref": _reference,
}
