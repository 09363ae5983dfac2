"""Operators that look at each day of each stock alone, in the node's own dtype.

Functions that numpy takes from a library of its own in float32 are computed in double and rounded once; the logarithm of
float32 repeats numpy's steps (`alphas.logarithm`), for correlations of logarithms show its last bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from alphaseal_converter.alphas.logarithm import log32
from alphaseal_converter.emission.emitter import Emitter, Rule
from alphaseal_converter.emission.plan import NotEmittedError
from alphaseal_converter.factors.expressions.nodes import Node

_OPERATORS: Final[Mapping[str, str]] = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "abs": "Abs",
    "sqrt": "Sqrt",
    "neg": "Neg",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "lt": "Less",
    "le": "LessOrEqual",
    "eq": "Equal",
    "and": "And",
    "or": "Or",
    "xor": "Xor",
    "not": "Not",
    "isnan": "IsNaN",
    "floor": "Floor",
    "ceil": "Ceil",
    "rint": "Round",
}
"""What numpy and ONNX mean the same by."""


def _inputs(emitter: Emitter, node: Node, days: int) -> list[str]:
    return [emitter.last(inner, days) for inner in node.inputs]


def _plain(emitter: Emitter, node: Node, days: int) -> str:
    return emitter.add(_OPERATORS[node.operator], *_inputs(emitter, node, days))


def _unequal(emitter: Emitter, node: Node, days: int) -> str:
    return emitter.add("Not", emitter.add("Equal", *_inputs(emitter, node, days)))


def _square(emitter: Emitter, node: Node, days: int) -> str:
    value = emitter.last(node.inputs[0], days)
    return emitter.add("Mul", value, value)


def _sign(emitter: Emitter, node: Node, days: int) -> str:
    """NaN stays NaN."""
    value, found = emitter.last(node.inputs[0], days), None
    found = emitter.add("Sign", value)
    return found if node.dtype == "int64" else emitter.add("Where", emitter.add("IsNaN", value), value, found)


def _truncated(emitter: Emitter, node: Node, days: int) -> str:
    value = emitter.last(node.inputs[0], days)
    below = emitter.add("Less", value, emitter.number(0.0, node.dtype))
    return emitter.add("Where", below, emitter.add("Ceil", value), emitter.add("Floor", value))


def _infinite(emitter: Emitter, node: Node, days: int) -> str:
    inner = node.inputs[0]
    return emitter.add("IsInf", emitter.to(emitter.last(inner, days), inner.dtype, "float64"))


def _finite(emitter: Emitter, node: Node, days: int) -> str:
    value = emitter.to(emitter.last(node.inputs[0], days), node.inputs[0].dtype, "float64")
    return emitter.add("Not", emitter.add("Or", emitter.add("IsInf", value), emitter.add("IsNaN", value)))


# --- functions in double ------------------------------------------------------------------------------------------------


def _logarithm_of_one_and(emitter: Emitter, value: str) -> str:
    """x log(u) / (u - 1) with u = 1 + x (Kahan): right where 1 + x loses digits of x."""
    add, one = emitter.add, emitter.double(1.0)
    more = add("Add", value, one)
    found = add("Div", add("Mul", value, add("Log", more)), add("Sub", more, one))
    endless = add("IsInf", more)
    return add("Where", add("Equal", more, one), value, add("Where", endless, add("Log", more), found))


def _exponential_less_one(emitter: Emitter, value: str) -> str:
    """(u - 1) x / log(u) with u = exp(x) (Kahan)."""
    add, one = emitter.add, emitter.double(1.0)
    power = add("Exp", value)
    less = add("Sub", power, one)
    found = add("Div", add("Mul", less, value), add("Log", power))
    plain = add("Or", add("IsInf", power), add("Equal", power, emitter.double(0.0)))
    return add("Where", add("Equal", power, one), value, add("Where", plain, less, found))


def _scaled_logarithm(base: float) -> Callable[[Emitter, str], str]:
    return lambda emitter, value: emitter.add("Div", emitter.add("Log", value), emitter.double(math.log(base)))


def _function(operator: str) -> Callable[[Emitter, str], str]:
    return lambda emitter, value: emitter.add(operator, value)


_FUNCTIONS: Final[Mapping[str, Callable[[Emitter, str], str]]] = {
    "log": _function("Log"),
    "log2": _scaled_logarithm(2.0),
    "log10": _scaled_logarithm(10.0),
    "log1p": _logarithm_of_one_and,
    "expm1": _exponential_less_one,
    "exp": _function("Exp"),
    "tanh": _function("Tanh"),
    "sin": _function("Sin"),
    "cos": _function("Cos"),
}


def _in_double(emitter: Emitter, node: Node, days: int) -> str:
    inner = node.inputs[0]
    value = emitter.last(inner, days)
    if node.operator == "log" and node.dtype == "float32":
        return log32(emitter, value)
    if node.operator not in _FUNCTIONS:
        raise NotEmittedError(f"{node.operator} has no operator in double that every onnxruntime computes")
    found = _FUNCTIONS[node.operator](emitter, emitter.to(value, inner.dtype, "float64"))
    return emitter.to(found, "float64", node.dtype)


# --- two numbers --------------------------------------------------------------------------------------------------------


def _extreme(emitter: Emitter, node: Node, days: int) -> str:
    """numpy's maximum and minimum are NaN where one is, fmax and fmin where both are."""
    left, right = _inputs(emitter, node, days)
    add = emitter.add
    compared = add("GreaterOrEqual" if node.operator in ("maximum", "fmax") else "LessOrEqual", left, right)
    if node.dtype != "int64":
        lacking = left if node.operator in ("maximum", "minimum") else right
        compared = add("Or", compared, add("IsNaN", lacking))
    return add("Where", compared, left, right)


def _floor_division(emitter: Emitter, node: Node, days: int) -> str:
    """numpy's, in double: the remainder has the sign of the divisor."""
    left, right = (emitter.to(value, node.dtype, "float64") for value in _inputs(emitter, node, days))
    add = emitter.add
    quotient = add("Floor", add("Div", left, right))
    if node.operator == "mod":
        quotient = add("Sub", left, add("Mul", quotient, right))
    return emitter.to(quotient, "float64", node.dtype)


def _power(emitter: Emitter, node: Node, days: int) -> str:
    left, right = (emitter.to(value, node.dtype, "float64") for value in _inputs(emitter, node, days))
    return emitter.to(emitter.add("Pow", left, right), "float64", node.dtype)


# --- the rest -----------------------------------------------------------------------------------------------------------


def _where(emitter: Emitter, node: Node, days: int) -> str:
    condition, yes, no = _inputs(emitter, node, days)
    return emitter.choose(condition, yes, no, node.dtype)


def _cast(emitter: Emitter, node: Node, days: int) -> str:
    inner = node.inputs[0]
    value = emitter.last(inner, days)
    if node.dtype == "bool" and inner.dtype != "bool":
        return emitter.add("Not", emitter.add("Equal", value, emitter.number(0, inner.dtype)))
    return emitter.to(value, inner.dtype, node.dtype)


def _keep(emitter: Emitter, node: Node, days: int) -> str:
    value, mask = _inputs(emitter, node, days)
    return emitter.choose(mask, value, emitter.missing(node.dtype), node.dtype)


def _alone(rule: Callable[[Emitter, Node, int], str]) -> Rule:
    return lambda emitter, node, days: (rule(emitter, node, days), emitter.since(node.inputs))


RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(_OPERATORS, _alone(_plain)),
    "ne": _alone(_unequal),
    "square": _alone(_square),
    "sign": _alone(_sign),
    "trunc": _alone(_truncated),
    "isinf": _alone(_infinite),
    "isfinite": _alone(_finite),
    **dict.fromkeys((*_FUNCTIONS, "arctan"), _alone(_in_double)),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin"), _alone(_extreme)),
    **dict.fromkeys(("mod", "floordiv"), _alone(_floor_division)),
    "pow": _alone(_power),
    "where": _alone(_where),
    "cast": _alone(_cast),
    "keep": _alone(_keep),
}
