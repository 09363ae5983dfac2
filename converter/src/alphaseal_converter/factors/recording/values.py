"""Nodes of values with the dtypes that numpy 2 and pandas give: promotion, constants, elementwise functions.

An operand is a node, a Python number (weak: it takes the dtype of the other side) or a numpy number (`strong`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.recorder import make, unknown

Operand = Any
"""Node, int, float, bool or numpy number."""
_PYTHON: Final = {bool: "bool", int: "int64", float: "float64"}
COMPARED: Final = frozenset({"gt", "ge", "lt", "le", "eq", "ne"})
_LOGIC: Final = {"add": "or", "mul": "and", "and": "and", "or": "or", "xor": "xor"}
"""What numpy's operators are for two truth values."""


def constant(value: Any, dtype: str) -> Node:
    """The number in that dtype."""
    if dtype == "bool":
        return make("constant", value=bool(value), dtype=dtype)
    if dtype == "int64":
        return make("constant", value=int(value), dtype=dtype)
    exact = float(np.float32(value)) if dtype == "float32" else float(value)
    return make("constant", value=exact, dtype=dtype)


def is_number(value: object) -> bool:
    """Of Python or numpy."""
    return isinstance(value, int | float | bool | np.number | np.bool_)


def weak(value: Operand) -> Operand:
    """A numpy number as the Python number that pandas makes of it."""
    return value.item() if isinstance(value, np.generic) else value


def dtype_of(value: Operand) -> str:
    """Of a node or a number by itself."""
    if isinstance(value, Node):
        return value.dtype
    if isinstance(value, np.bool_ | bool):
        return "bool"
    if isinstance(value, np.integer | int):
        return "int64"
    if isinstance(value, np.floating):
        return "float32" if value.dtype.itemsize <= 4 else "float64"
    if isinstance(value, float):
        return "float64"
    return unknown(f"operand of kind {type(value).__name__}")


def promoted(operands: Sequence[Operand]) -> str:
    """The dtype that numpy 2 gives operands together."""
    strong = {dtype_of(one) for one in operands if isinstance(one, Node | np.generic)}
    loose = {dtype_of(one) for one in operands if not isinstance(one, Node | np.generic)}
    if "text" in strong | loose:
        unknown("arithmetic of texts")
    if not strong:
        strong, loose = loose, set()
    if "float64" in strong or {"float32", "int64"} <= strong:
        return "float64"
    if "float32" in strong:
        return "float32"
    if "float64" in loose:
        return "float64"
    return "int64" if "int64" in strong | loose else "bool"


def cast(value: Operand, dtype: str) -> Node:
    """The operand in that dtype."""
    if not isinstance(value, Node):
        if dtype == "int64" and not math.isfinite(value):
            unknown("a whole number that is missing")
        return constant(value, dtype)
    if value.dtype == dtype:
        return value
    if value.dtype == "text":
        unknown("a text column as numbers")
    if value.operator == "constant":
        return constant(np.array(value["value"]).astype(value.dtype).astype(dtype).item(), dtype)
    return make("cast", value, to=dtype)


def floating(value: Operand) -> Node:
    """As a float: float32 stays, anything else that is no float becomes float64."""
    kind = dtype_of(value)
    return cast(value, kind if kind in ("float32", "float64") else "float64")


def binary(operator: str, left: Operand, right: Operand) -> Node:
    """Numpy's operator of two operands."""
    if {dtype_of(left), dtype_of(right)} & {"text"}:
        if operator in ("eq", "ne") and isinstance(left, Node) and isinstance(right, Node):
            return make(operator, left, right)
        unknown("comparison of texts")
    kind = promoted([left, right])
    if operator in ("and", "or", "xor") and kind != "bool":
        unknown(f"{operator} of numbers")
    if kind == "bool":
        if operator in _LOGIC:
            return make(_LOGIC[operator], cast(left, kind), cast(right, kind))
        if operator == "sub":
            raise TypeError("numpy boolean subtract, the `-` operator, is not supported")
        if operator not in COMPARED and operator not in ("maximum", "minimum"):
            kind = "float64" if operator in ("div", "pow") else "int64"
        elif operator in ("maximum", "minimum"):
            return make("or" if operator == "maximum" else "and", cast(left, kind), cast(right, kind))
    if operator == "div" and kind not in ("float32", "float64"):
        kind = "float64"
    if operator == "pow":
        return _power(left, right, kind)
    return make(operator, cast(left, kind), cast(right, kind))


def _power(left: Operand, right: Operand, kind: str) -> Node:
    """numpy takes short ways for some exponents."""
    if not isinstance(right, Node):
        if right == 2:
            return make("square", cast(left, kind))
        if right == 1:
            return cast(left, kind)
        if kind.startswith("float"):
            if right == 0.5:
                return make("sqrt", cast(left, kind))
            if right == -1:
                return make("div", constant(1, kind), cast(left, kind))
        elif right < 0:
            raise ValueError("Integers to negative integer powers are not allowed.")
    return make("pow", cast(left, kind), cast(right, kind))


def where(condition: Operand, yes: Operand, no: Operand) -> Node:
    """Numpy's where."""
    chosen = condition if isinstance(condition, Node) else constant(condition, "bool")
    if chosen.dtype != "bool":
        chosen = cast(chosen, "bool")
    if isinstance(yes, Node) and isinstance(no, Node) and yes.dtype == no.dtype == "text":
        unknown("where of texts")
    kind = promoted([yes, no])
    left, right = cast(yes, kind), cast(no, kind)
    return left if left is right else make("where", chosen, left, right)


def missing(value: Node) -> Node:
    """pandas' isna."""
    if value.dtype in ("float32", "float64"):
        return make("isnan", value)
    if value.dtype == "text":
        unknown("isna of texts")
    return constant(False, "bool")


def negated(value: Node) -> Node:
    """Logical not."""
    if value.dtype != "bool":
        unknown("~ of numbers")
    return value.inputs[0] if value.operator == "not" else make("not", value)


def both(left: Node, right: Node) -> Node:
    """Logical and, without what is said already."""
    if implies(left, right):
        return left
    if implies(right, left):
        return right
    return make("and", left, right)


def either(left: Node, right: Node) -> Node:
    """Logical or, without what is said already."""
    if implies(left, right):
        return right
    if implies(right, left):
        return left
    return make("or", left, right)


def implies(part: Node, whole: Node) -> bool:
    """Whether `whole` is known to be true wherever `part` is."""
    waiting = [part]
    while waiting:
        node = waiting.pop()
        if node is whole or (whole.operator == "constant" and whole["value"] is True):
            return True
        if node.operator == "and":
            waiting.extend(node.inputs)
    if whole.operator == "or":
        return any(implies(part, one) for one in whole.inputs)
    return whole.operator == "and" and all(implies(part, one) for one in whole.inputs)


def kept(value: Node, have: Node, want: Node) -> Node:
    """A value with rows `have` on rows `want`: missing where it has none.  Whole numbers become floats as in pandas."""
    if implies(want, have):
        return value
    if value.dtype == "int64":
        value = cast(value, "float64")
    return make("keep", value, have)


UNARY: Final = {
    "negative": "neg",
    "absolute": "abs",
    "fabs": "abs",
    "logical_not": "not",
    "invert": "not",
    **{
        name: name
        for name in (
            *(
                "sign",
                "square",
                "sqrt",
                "log",
                "log1p",
                "log2",
                "log10",
                "exp",
                "expm1",
                "tanh",
                "arctan",
                "sin",
                "cos",
            ),
            *("floor", "ceil", "rint", "trunc", "isnan", "isinf", "isfinite"),
        )
    },
}
"""numpy's name -> operator."""
BINARY: Final = {
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "power": "pow",
    "float_power": "pow",
    "remainder": "mod",
    "floor_divide": "floordiv",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "equal": "eq",
    "not_equal": "ne",
    "logical_and": "and",
    "logical_or": "or",
    "bitwise_and": "and",
    "bitwise_or": "or",
    "logical_xor": "xor",
    "bitwise_xor": "xor",
    **{name: name for name in ("add", "maximum", "minimum", "fmax", "fmin", "mod")},
}
"""numpy's name -> operator."""


def unary(name: str, value: Node) -> Node:
    """Numpy's function of one value, by its operator's name."""
    if name in ("neg", "abs", "sign", "square"):
        if value.dtype == "bool":
            return unknown(f"{name} of truth values") if name != "abs" else value
        return make(name, value)
    if name == "not":
        return negated(value)
    if name in ("isnan", "isinf", "isfinite"):
        if value.dtype not in ("float32", "float64"):
            return constant(name == "isfinite", "bool")
        return make(name, value)
    if name in ("floor", "ceil", "rint", "trunc") and value.dtype == "int64":
        return value
    return make(name, floating(value))


def dtype_named(what: Any) -> str:
    """The dtype of the language that `what` names to astype; others are refused."""
    if what in (float, int, bool):
        return "float64" if what is float else "int64" if what is int else "bool"
    try:
        name = str(np.dtype(what).name)
    except TypeError:
        return unknown(f"dtype {what!r}")
    if name not in ("float32", "float64", "int64", "bool"):
        return unknown(f"dtype {name}", "only float32, float64, int64 and bool are followed")
    return name


def rounded(value: Node, decimals: int) -> Node:
    """Numpy's round."""
    if value.dtype in ("int64", "bool"):
        return value
    if decimals == 0:
        return make("rint", value)
    scale = constant(10.0 ** abs(decimals), value.dtype)
    first, last = ("mul", "div") if decimals > 0 else ("div", "mul")
    return make(last, make("rint", make(first, value, scale)), scale)
