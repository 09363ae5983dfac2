"""Expressions are taken apart as Python, which evaluates them for qlib, takes them apart."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from alpha_cases import OPERATORS
from alphaseal_converter.alphas.syntax import Call, Expression, Field, Number, parse
from alphaseal_converter.errors import RefusalError


def test_words_are_taken_as_they_are() -> None:
    """No word is a keyword of Python or another word that looks like it, and none has an end where another begins."""
    tree = parse("not(  $if+ $\uff41 )")
    assert isinstance(tree, Call)
    (inner,) = tree.arguments
    assert isinstance(inner, Call)
    assert (tree.operator, inner.operator) == ("not", "Add")
    assert inner.arguments == (Field("if", 6), Field("\uff41", 11))


class Recorded:
    """What qlib's objects are to Python: each sign and call makes another one, and says what it was made of."""

    def __init__(self, *parts: object) -> None:
        self.parts: tuple[Any, ...] = tuple(part.parts if isinstance(part, Recorded) else part for part in parts)

    def __bool__(self) -> bool:
        return True


def _record(sign: str, mirrored: bool = False) -> Callable[[Recorded, object], Recorded]:
    return lambda left, right: Recorded(sign, right, left) if mirrored else Recorded(sign, left, right)


for _name, _sign in {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "truediv": "Div",
    "pow": "Power",
    "and": "And",
    "or": "Or",
}.items():
    setattr(Recorded, f"__{_name}__", _record(_sign))
    setattr(Recorded, f"__r{_name}__", _record(_sign, mirrored=True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Recorded, f"__{_name}__", _record(_name.title()))


class Operators:
    """Any name is an operator."""

    def __getattr__(self, name: str) -> Callable[..., Recorded]:
        return lambda *arguments: Recorded(name, *arguments)


def _spelled(tree: Expression) -> object:
    """As `Recorded.parts`; Python compares a number with an expression the other way round."""
    if isinstance(tree, Number):
        return tree.value
    if isinstance(tree, Field):
        return ("Feature", tree.name)
    name, parts = tree.operator, tuple(map(_spelled, tree.arguments))
    swapped = {"Lt": "Gt", "Le": "Ge", "Gt": "Lt", "Ge": "Le", "Eq": "Eq", "Ne": "Ne"}
    if name in swapped and len(parts) == 2 and not isinstance(parts[0], tuple):
        return (swapped[name], parts[1], parts[0])
    return (name, *parts)


def _made(chance: random.Random, depth: int) -> str:
    kind = chance.random() if depth else 0.0
    if kind < 0.25:
        return chance.choice(["$a", "$b", "$c", "2", "0.5", "1e1"])
    if kind < 0.75:
        sign = chance.choice(["+", "-", "*", "/", "**", "&", "|", "<", "<=", ">", ">=", "==", "!="])
        return f"{_made(chance, depth - 1)}{sign}{_made(chance, depth - 1)}"
    if kind < 0.85:
        return f"-{_made(chance, depth - 1)}"
    return f"{chance.choice(['', 'Abs', 'If'])}({_made(chance, depth - 1)})"


def test_trees_are_what_python_evaluates() -> None:
    """Rewritten as qlib does and evaluated by Python, an expression makes the same objects in the same order."""
    chance, compared = random.Random(7), 0
    for text in [*OPERATORS.values(), *(_made(chance, 4) for _ in range(3000))]:
        try:
            tree = parse(text)
        except RefusalError:
            continue
        python = re.sub(r"(\w+\s*)\(", r"Operators.\1(", re.sub(r"\$(\w+)", r'Feature("\1")', text))
        found = eval(python, {"__builtins__": {}, "Operators": Operators()})
        assert (found.parts if isinstance(found, Recorded) else found) == _spelled(tree), text
        compared += 1
    assert compared > 1000
