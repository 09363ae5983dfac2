"""Text of a qlib expression to a tree, without evaluating anything.

qlib 0.9.7 (`qlib.utils.parse_field`) rewrites `$name` to `Feature("name")` and `Op(` to `Operators.Op(` and lets Python
evaluate the result, so Python's precedence holds: `**`, then signs, then `* /`, `+ -`, `&`, `|`, comparisons.  This is a
parser of our own for the part of Python that expressions need; everything else is refused with its position.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from alphaseal_converter.errors import RefusalError

MAXIMUM_LENGTH: Final = 4096
MAXIMUM_DEPTH: Final = 64
MAXIMUM_NODES: Final = 1024
_LARGEST_INTEGER: Final = 1 << 53

_TOKEN: Final = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<period>\$\$)"
    r"|\$(?P<field>\w+)"
    r"|(?P<name>[^\W\d]\w*)"
    r"|(?P<sign>\*\*|//|<<|>>|<=|>=|==|!=|[-+*/%@&|^~<>(),=])"
)
_BINDING: Final = {
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), 1),
    "|": 2,
    "^": 3,
    "&": 4,
    **dict.fromkeys(("<<", ">>"), 5),
    **dict.fromkeys(("+", "-"), 6),
    **dict.fromkeys(("*", "/", "//", "%", "@"), 7),
    "**": 9,
}
_OF_A_SIGN: Final = 8
_CALLS: Final = {
    "<": "Lt",
    "<=": "Le",
    ">": "Gt",
    ">=": "Ge",
    "==": "Eq",
    "!=": "Ne",
    "|": "Or",
    "&": "And",
    "+": "Add",
    "-": "Sub",
    "*": "Mul",
    "/": "Div",
    "**": "Power",
}
"""The operator that `Expression.__add__` and its like make (qlib/data/base.py); others have none."""


@dataclass(frozen=True)
class Number:
    """A Python number: whether it is an int or a float decides dtypes."""

    value: int | float
    position: int


@dataclass(frozen=True)
class Field:
    """`$name`: a column of the bars."""

    name: str
    position: int


@dataclass(frozen=True)
class Call:
    """An operator by name, or the one that a sign between two expressions stands for."""

    operator: str
    arguments: tuple[Expression, ...]
    position: int


Expression = Number | Field | Call


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


def parse(text: str) -> Expression:
    """The tree of an expression.

    Raises RefusalError: `alphas.too_long` (characters, depth, or parts), `alphas.syntax` (not of the grammar),
    `alphas.number` (out of range), `alphas.operator` (point-in-time fields `$$name`, signs that qlib has no operator for).
    """
    if len(text) > MAXIMUM_LENGTH:
        raise RefusalError(
            "alphas.too_long",
            "the expression is too long",
            expected=f"at most {MAXIMUM_LENGTH} characters",
            found=f"{len(text)}",
        )
    return _Parser(text).expression()


def refused(code: str, message: str, position: int, found: str = "") -> RefusalError:
    """An error about one place of an expression; positions count from 1."""
    return RefusalError(code, message, where=f"character {position + 1}", found=found or None)


class _Parser:
    """Precedence climbing over the tokens."""

    def __init__(self, text: str) -> None:
        self._end = len(text)
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0
        self._nodes = 0

    def expression(self) -> Expression:
        tree = self._binary(0)
        token = self._peek()
        if token is not None:
            raise _unexpected(token)
        return tree

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> _Token:
        token = self._peek()
        if token is None:
            raise refused("alphas.syntax", "the expression ends too early", self._end)
        self._next += 1
        return token

    def _expect(self, sign: str) -> None:
        token = self._take()
        if (token.kind, token.text) != ("sign", sign):
            raise _unexpected(token)

    def _binary(self, least: int) -> Expression:
        """Everything that binds more than `least`."""
        self._enter()
        left = self._operand()
        compared = False
        while (token := self._peek()) is not None and token.kind == "sign":
            binding = _BINDING.get(token.text, -1)
            if binding <= least:
                break
            self._next += 1
            if token.text not in _CALLS:
                raise refused("alphas.operator", "qlib has no operator of this sign", token.position, token.text)
            if binding == 1 and compared:
                # Python evaluates a chain as `a < b and b < c`, and qlib's objects are true: only the last would count.
                raise refused("alphas.syntax", "comparisons are chained", token.position, token.text)
            compared = compared or binding == 1
            # ** groups from the right, and its exponent may have a sign.
            right = self._binary(_OF_A_SIGN - 1 if token.text == "**" else binding)
            left = self._combined(token, left, right)
        self._depth -= 1
        return left

    def _operand(self) -> Expression:
        token = self._take()
        if token.kind == "sign" and token.text in ("-", "+", "~"):
            inner = self._binary(_OF_A_SIGN)
            if not isinstance(inner, Number) or token.text == "~":
                raise refused("alphas.operator", "qlib has no operator of this sign", token.position, token.text)
            return Number(-inner.value if token.text == "-" else inner.value, token.position)
        if token.kind == "sign" and token.text == "(":
            inner = self._binary(0)
            self._expect(")")
            return inner
        if token.kind == "number":
            return self._counted(Number(_number(token), token.position))
        if token.kind == "field":
            return self._counted(Field(token.text, token.position))
        if token.kind == "name":
            return self._call(token)
        raise _unexpected(token)

    def _call(self, name: _Token) -> Expression:
        following = self._peek()
        if following is None or following.text != "(":
            raise refused("alphas.syntax", "a name that is no operator", name.position, name.text)
        self._next += 1
        arguments: list[Expression] = []
        while (token := self._peek()) is not None and token.text != ")":
            if arguments:
                self._expect(",")
                token = self._peek()
                if token is not None and token.text == ")":
                    break
            arguments.append(self._binary(0))
        self._expect(")")
        return self._counted(Call(name.text, tuple(arguments), name.position))

    def _combined(self, token: _Token, left: Expression, right: Expression) -> Expression:
        if isinstance(left, Number) and isinstance(right, Number):
            return Number(_computed(token, left.value, right.value), left.position)
        return self._counted(Call(_CALLS[token.text], (left, right), token.position))

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAXIMUM_DEPTH:
            raise RefusalError("alphas.too_long", f"the expression is nested deeper than {MAXIMUM_DEPTH}")

    def _counted(self, tree: Expression) -> Expression:
        self._nodes += 1
        if self._nodes > MAXIMUM_NODES:
            raise RefusalError("alphas.too_long", f"the expression has more than {MAXIMUM_NODES} parts")
        return tree


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    position, open_brackets = 0, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise refused("alphas.syntax", "a character that expressions do not have", position, text[position])
        kind, part = match.lastgroup, match[match.lastgroup]
        if kind == "period":
            raise refused("alphas.operator", "point-in-time fields ($$) are not compiled", position)
        if kind == "number" and text[match.end() : match.end() + 1].isidentifier():
            raise refused("alphas.syntax", "a number that expressions do not have", position, text[position:][:20])
        open_brackets += {"(": 1, ")": -1}.get(part, 0)
        if kind == "space" and "\n" in part.strip(" \t") and open_brackets == 0 and text[match.end() :]:
            raise refused("alphas.syntax", "a line ends outside of brackets", position)
        if kind != "space":
            found.append(_Token(kind, part, position))
        position = match.end()
    return found


def _unexpected(token: _Token) -> RefusalError:
    return refused("alphas.syntax", "not expected here", token.position, token.text)


def _number(token: _Token) -> int | float:
    if token.text.isdecimal():
        if token.text[0] == "0" and token.text.strip("0"):
            raise refused("alphas.syntax", "an integer with a leading zero", token.position, token.text)
        value: int | float = int(token.text)
    else:
        value = float(token.text)
    return _checked(value, token)


def _checked(value: object, token: _Token) -> int | float:
    if isinstance(value, int) and abs(value) <= _LARGEST_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise refused("alphas.number", "a number out of range", token.position, token.text)


def _computed(token: _Token, left: float, right: float) -> int | float:
    """What Python computes from two numbers before qlib sees anything."""
    value: object = None
    if token.text == "+":
        value = left + right
    elif token.text == "-":
        value = left - right
    elif token.text == "*":
        value = left * right
    elif token.text == "/" and right:
        value = left / right
    elif token.text == "**" and left > 0 and abs(right) * abs(math.log2(left)) < 1000:
        value = left**right
    return _checked(value, token)
