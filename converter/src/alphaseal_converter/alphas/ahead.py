"""Labels look ahead, and the graph cannot: the same expression as it is known some days later.

A label such as ``Ref($close, -2)/Ref($close, -1) - 1`` of a day is, two days later, ``$close/Ref($close, 1) - 1``.
"""

from __future__ import annotations

from typing import Final

from alphaseal_converter.alphas.syntax import Call, Expression, Field, Number, parse, refused

_OF_THE_DAY: Final = frozenset(
    ("Abs", "Sign", "Log", "Not", "Gt", "Ge", "Lt", "Le", "Eq", "Ne", "And", "Or", "Add", "Sub", "Mul", "Div")
) | frozenset(("Greater", "Less", "Power", "If"))
"""Operators whose value of a day is made of the same day's values of their arguments."""


def known_later(text: str) -> tuple[str, int]:
    """(expression, days): what `text` is on a day is what the expression is so many days later.

    Raises RefusalError `alphas.look_ahead` where an operator over a window looks ahead, and what `parse` raises.
    """
    tree = parse(text)
    days = _days_ahead(tree)
    return _text(_delayed(tree, days)), days


def _days_ahead(tree: Expression) -> int:
    """How many days after its own a value reads."""
    if not isinstance(tree, Call):
        return 0
    if tree.operator == "Ref":
        return max(0, _days_ahead(tree.arguments[0]) - _shift(tree))
    ahead = max((_days_ahead(argument) for argument in tree.arguments), default=0)
    if ahead and tree.operator not in _OF_THE_DAY:
        raise refused("alphas.look_ahead", "a window over values of later days", tree.position, tree.operator)
    return ahead


def _shift(tree: Call) -> int:
    """The days of a ``Ref``; 0 is no shift for qlib, but the first value of all."""
    days = tree.arguments[1] if len(tree.arguments) == 2 else None
    if not isinstance(days, Number) or not isinstance(days.value, int) or days.value == 0:
        raise refused("alphas.arguments", "not a number of days to look back or ahead", tree.position, tree.operator)
    return days.value


def _delayed(tree: Expression, days: int) -> Expression:
    """The tree with every value `days` days older, which may cancel what it looks ahead."""
    if isinstance(tree, Number) or days == 0:
        return tree
    if isinstance(tree, Call) and tree.operator == "Ref":
        inner, shift = tree.arguments[0], _shift(tree)
        # A sum of shifts that is 0 is none.
        return _delayed(inner, days + shift) if days + shift >= 0 else Call("Ref", (inner, Number(days + shift, 0)), 0)
    if isinstance(tree, Call) and tree.operator in _OF_THE_DAY:
        return Call(tree.operator, tuple(_delayed(argument, days) for argument in tree.arguments), tree.position)
    return Call("Ref", (tree, Number(days, 0)), tree.position)


def _text(tree: Expression) -> str:
    if isinstance(tree, Field):
        return f"${tree.name}"
    if isinstance(tree, Number):
        return repr(tree.value)
    return f"{tree.operator}({', '.join(map(_text, tree.arguments))})"
