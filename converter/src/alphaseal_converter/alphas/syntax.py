"""Text of a qlib expression to a tree, without evaluating anything.

qlib 0.9.7 (`qlib.utils.parse_field`) rewrites `$name` to `Feature("name")` and `Op(` to `Operators.Op(` and lets Python
evaluate the result.  So Python's own parser says here what belongs together: `ast` evaluates nothing, and of its tree only
numbers, names, calls and signs are taken.  Everything else is refused with its position.
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from typing import Final

from alphaseal_converter.errors import RefusalError

MAXIMUM_LENGTH: Final = 4096
MAXIMUM_DEPTH: Final = 64
MAXIMUM_NODES: Final = 1024
_LARGEST_INTEGER: Final = 1 << 53
_DEEP: Final = f"is nested deeper than {MAXIMUM_DEPTH}"

_SIGN: Final = r"\*\*|//|<<|>>|<=|>=|==|!=|[-+*/%@&|^~<>(),=]"
_TOKEN: Final = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?!\w))"
    r"|(?P<period>\$\$)"
    r"|(?P<word>(?:\$\w+|[^\W\d]\w*)(?!\w|\$(?!\$)))"
    rf"|(?P<sign>{_SIGN})"
    r"|(?P<other>.)",
    re.DOTALL,
)
_BEHIND: Final = re.compile(rf"[\s)]*({_SIGN})")
"""The sign behind an operand, whose own brackets Python's tree leaves out."""
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
    plain, brackets = _plain(text)
    try:
        tree = ast.parse(plain, mode="eval").body
    except (RecursionError, MemoryError):
        raise _too_long(_DEEP) from None
    except (SyntaxError, ValueError) as error:
        position = (getattr(error, "offset", None) or 1) - 1
        raise refused("alphas.syntax", "no expression of Python", position, text[position:][:20]) from None
    return _Reader(text, brackets).read(tree, 1)


def refused(code: str, message: str, position: int, found: str = "") -> RefusalError:
    """An error about one place of an expression; positions count from 1."""
    return RefusalError(code, message, where=f"character {position + 1}", found=found or None)


def _too_long(what: str) -> RefusalError:
    return RefusalError("alphas.too_long", f"the expression {what}")


def _plain(text: str) -> tuple[str, dict[int, int]]:
    """The text for Python's parser, which keeps all positions, and how many brackets are open before each token.

    Words become as many `_`: none is a keyword then, and Python cannot take wide or Greek letters for those that look alike.
    """
    parts: list[str] = []
    brackets: dict[int, int] = {}
    depth = 0
    for match in _TOKEN.finditer(text):
        kind, part, position = match.lastgroup, match[0], match.start()
        brackets[position] = depth
        depth += {"(": 1, ")": -1}.get(part, 0)
        if kind == "period":
            raise refused("alphas.operator", "point-in-time fields ($$) are not compiled", position)
        if kind == "other":
            raise refused("alphas.syntax", "expressions do not have this", position, text[position:][:20])
        if kind == "space" and "\n" in part and depth == 0 and text[match.end() :]:
            raise refused("alphas.syntax", "a line ends outside of brackets", position)
        if depth > MAXIMUM_DEPTH:
            raise _too_long(_DEEP)
        parts.append(len(part) * {"space": " ", "word": "_"}[kind] if kind in ("space", "word") else part)
    # A form feed before an expression is no indentation to Python, as other spaces are.
    plain = "".join(parts)
    return plain.lstrip(" ").rjust(len(plain), "\f"), brackets


class _Reader:
    """Python's tree as ours, from left to right.

    What Python's tree leaves out is looked up in the text: its words, and the brackets, which count as depth.
    """

    def __init__(self, text: str, brackets: dict[int, int]) -> None:
        self._text = text
        self._brackets = brackets
        self._nodes = 0

    def read(self, node: ast.expr, depth: int) -> Expression:
        """`depth` counts the signs that the node is behind."""
        chain: list[ast.BinOp | ast.Compare] = []
        while isinstance(node, ast.BinOp | ast.Compare):
            chain.append(node)
            node = node.left
        tree = self._operand(node, depth)
        for part in reversed(chain):
            tree = self._combined(part, tree, depth)
        return tree

    def _operand(self, node: ast.expr, depth: int) -> Expression:
        position = node.col_offset
        text = self._text[position : node.end_col_offset]
        if depth + self._brackets[position] > MAXIMUM_DEPTH:
            raise _too_long(_DEEP)
        if isinstance(node, ast.Constant):
            return self._counted(Number(_checked(node.value, position, text), position))
        if isinstance(node, ast.Name) and text.startswith("$"):
            return self._counted(Field(text[1:], position))
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        if isinstance(node, ast.UnaryOp):
            inner = self.read(node.operand, depth + 1)
            if not isinstance(inner, Number) or isinstance(node.op, ast.Invert):
                raise refused("alphas.operator", "qlib has no operator of this sign", position, text[0])
            return Number(-inner.value if isinstance(node.op, ast.USub) else inner.value, position)
        raise refused("alphas.syntax", "not expected here", position, text[:20])

    def _call(self, node: ast.Call, depth: int) -> Expression:
        position, end = node.func.col_offset, node.func.end_col_offset
        name = self._text[position:end]
        # A bracket right behind the name: qlib knows operators by it, and nothing else that Python could call.
        plain = (
            isinstance(node.func, ast.Name) and self._text[end:].lstrip().startswith("(") and not name.startswith("$")
        )
        if not plain or node.keywords:
            raise refused("alphas.syntax", "not the call of an operator", position, self._text[position:][:20])
        arguments = tuple(self.read(argument, depth) for argument in node.args)
        return self._counted(Call(name, arguments, position))

    def _combined(self, node: ast.BinOp | ast.Compare, left: Expression, depth: int) -> Expression:
        found = _BEHIND.match(self._text, node.left.end_col_offset or 0)
        assert found is not None
        sign, position = found[1], found.start(1)
        if sign not in _CALLS:
            raise refused("alphas.operator", "qlib has no operator of this sign", position, sign)
        right = self.read(node.right if isinstance(node, ast.BinOp) else node.comparators[0], depth + 1)
        if isinstance(left, Number) and isinstance(right, Number):
            tree: Expression = Number(_computed(sign, left.value, right.value, position), left.position)
        else:
            tree = self._counted(Call(_CALLS[sign], (left, right), position))
        if isinstance(node, ast.Compare) and len(node.ops) > 1:
            # Python evaluates a chain as `a < b and b < c`, and qlib's objects are true: only the last would count.
            raise refused("alphas.syntax", "comparisons are chained", position, sign)
        return tree

    def _counted(self, tree: Expression) -> Expression:
        self._nodes += 1
        if self._nodes > MAXIMUM_NODES:
            raise _too_long(f"has more than {MAXIMUM_NODES} parts")
        return tree


def _checked(value: object, position: int, text: str) -> int | float:
    if isinstance(value, int) and abs(value) <= _LARGEST_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise refused("alphas.number", "a number out of range", position, text)


def _computed(sign: str, left: float, right: float, position: int) -> int | float:
    """What Python computes from two numbers before qlib sees anything."""
    value: object = None
    if sign == "+":
        value = left + right
    elif sign == "-":
        value = left - right
    elif sign == "*":
        value = left * right
    elif sign == "/" and right:
        value = left / right
    elif sign == "**" and left > 0 and abs(right) * abs(math.log2(left)) < 1000:
        value = left**right
    return _checked(value, position, sign)
