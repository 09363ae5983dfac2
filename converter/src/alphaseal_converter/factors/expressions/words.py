"""An expression as a line that a person reads."""

from __future__ import annotations

from typing import Final

from alphaseal_converter.factors.expressions.nodes import Node

LONGEST: Final = 2000
_SIGNS: Final = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "pow": "**",
    "mod": "%",
    "floordiv": "//",
    "gt": ">",
    "ge": ">=",
    "lt": "<",
    "le": "<=",
    "eq": "==",
    "ne": "!=",
    "and": "and",
    "or": "or",
    "xor": "xor",
}


def readable(node: Node, longest: int = LONGEST) -> str:
    """Column names, operators and functions with their parameters; casts and masks are left out."""
    text = _words(node, [longest])
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _words(node: Node, left: list[int]) -> str:
    left[0] -= 4
    if left[0] < 0:
        return "…"
    operator = node.operator
    if operator == "field":
        return str(node["column"]) if node["table"] == "bars" else f"{node['table']}.{node['column']}"
    if operator == "constant":
        return f"{node['value']:g}" if isinstance(node["value"], float) else str(node["value"])
    if operator in ("cast", "keep"):
        return _words(node.inputs[0], left)
    if operator in _SIGNS:
        return f"({_words(node.inputs[0], left)} {_SIGNS[operator]} {_words(node.inputs[1], left)})"
    if operator == "rows":
        return f"rows({node['table']})"
    if operator == "vector":
        return f"[{len(node['values'])} constants]"
    inputs = node.inputs
    if operator in ("period", "shift", "ffill", "roll", "roll2", "window", "ewm") and len(inputs) > 1:
        inputs = inputs[:-1]
    elif operator in ("day", "day_rank", "day_pair"):
        inputs = inputs[: 2 if operator == "day_pair" else 1] + inputs[3 if operator == "day_pair" else 2 :]
    parameters = dict(node.parameters)
    name = str(parameters.pop("function", operator))
    name = {"day": "day_", "ewm": "ewm_", "period": "period_"}.get(operator, "") + name if name != operator else name
    told = [f"{key}={value}" for key, value in parameters.items() if key not in ("constant_windows", "values", "skip")]
    return f"{name}({', '.join([*(_words(one, left) for one in inputs), *told])})"
