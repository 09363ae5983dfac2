"""Trees to typed nodes: what qlib's operators give, with the dtypes that numpy 2 and pandas 2 give them.

Fields are float32 series.  A float32 series stays float32 with Python numbers; rolling results are float64; comparisons
are bool.  Where pandas would raise, or would give a dtype that is no number's (float16, object), the expression is
refused.  Equal subexpressions become one node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from alphaseal_converter.alphas.syntax import Call, Expression, Field, Number, refused

TAIL: Final = 1e-8
"""Exponential means are cut where the days before would weigh less than this."""
GAP: Final = 60
"""… even if the stock had no value on so many days: the weights of the others grow then."""
_LARGEST_FLOAT32: Final = 3.4028234663852886e38


class Dtype(Enum):
    """Of a series; `GAPS` is what a shifted bool series becomes: truth values, or their differences, and NaN (pandas: object)."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT64 = "int64"
    BOOL = "bool"
    GAPS = "object"


@dataclass(frozen=True, eq=False)
class Node:
    """A series of one stock: `operator` of `inputs` with numbers in `parameters`; a field carries its name in `field`.

    Numbers among the inputs are nodes of the operator `number` that have no dtype: pandas gives them that of the series.
    """

    operator: str
    inputs: tuple[Node, ...] = ()
    parameters: tuple[int | float, ...] = ()
    dtype: Dtype | None = None
    field: str = ""

    @property
    def series(self) -> Dtype:
        """The dtype of a node that is a series."""
        assert self.dtype is not None
        return self.dtype


NOT_COMPILED: Final = {
    "ChangeInstrument": "it reads another instrument",
    "Mask": "it reads another instrument",
    "TResample": "it makes a series of another frequency",
    "P": "it reads point-in-time data",
    "PRef": "it reads point-in-time data",
    "PFeature": "it reads point-in-time data",
    "Feature": "fields are written with a dollar sign",
    "Rolling": "it is the base class of operators",
}
"""Operators that qlib registers and that have no graph."""
_ARITHMETIC: Final = ("Add", "Sub", "Mul", "Div", "Greater", "Less")
_COMPARISONS: Final = ("Gt", "Ge", "Lt", "Le", "Eq", "Ne")
_EXPONENTIAL: Final = frozenset({"Mean", "Sum", "Std", "Var", "Max", "Min", "Med", "Count"})
"""Operators without a rule of their own: between 0 and 1, N is the weight of an exponential mean (Rolling._load_internal)."""
_LEAST_WINDOW: Final = {"Skew": 3, "Kurt": 4}
_ROLLING: Final = (
    "Mean", "Sum", "Std", "Var", "Skew", "Kurt", "Max", "Min", "IdxMax", "IdxMin", "Med", "Mad", "Rank", "Count",
    "Slope", "Rsquare", "Resi", "WMA",
)  # fmt: skip


def tail(node: Node) -> float:
    """The weight of the days before an exponential mean's window, after a gap of `GAP` days."""
    days, weight = node.parameters
    return float((1.0 - weight) ** (days - GAP))


def in_order(roots: Iterable[Node], *, numbers: bool = False) -> list[Node]:
    """Every series that the roots need, with `numbers` every number too, each once, its inputs before it."""
    ordered: dict[Node, None] = {}
    waiting = [(root, False) for root in roots]
    while waiting:
        node, inputs_are_there = waiting.pop()
        if node in ordered or (node.dtype is None and not numbers):
            continue
        if inputs_are_there:
            ordered[node] = None
        else:
            waiting.append((node, True))
            waiting.extend((inner, False) for inner in node.inputs)
    return list(ordered)


class Nodes:
    """Makes nodes; the same call gives the same object."""

    def __init__(self) -> None:
        self._made: dict[object, Node] = {}

    def lower(self, tree: Expression) -> Node:
        """The node of a tree.

        Raises RefusalError: `alphas.operator` (not an operator of qlib, or one without a graph), `alphas.arguments`
        (number or kind of arguments, windows), `alphas.look_ahead`, `alphas.unlimited`, `alphas.dtype`, `alphas.number`.
        """
        lowered: dict[int, Node] = {}
        waiting = [(tree, False)]
        while waiting:
            # Not by recursion: a sum of many terms is a deep tree.
            part, arguments_are_there = waiting.pop()
            if isinstance(part, Call) and not arguments_are_there:
                waiting.append((part, True))
                waiting.extend((argument, False) for argument in reversed(part.arguments))
            else:
                lowered[id(part)] = self._lowered(part, lowered)
        return lowered[id(tree)]

    def _lowered(self, tree: Expression, lowered: dict[int, Node]) -> Node:
        if isinstance(tree, Number):
            return self._node("number", (), (tree.value,), None, type(tree.value).__name__)
        if isinstance(tree, Field):
            return self._node("field", (), (), Dtype.FLOAT32, tree.name)
        if tree.operator in NOT_COMPILED:
            raise refused("alphas.operator", f"{tree.operator}: {NOT_COMPILED[tree.operator]}", tree.position)
        rule = _RULES.get(tree.operator)
        if rule is None:
            raise refused("alphas.operator", f"{tree.operator} is no operator of qlib", tree.position)
        return rule(self, tree, [lowered[id(argument)] for argument in tree.arguments])

    def _node(
        self,
        operator: str,
        inputs: tuple[Node, ...],
        parameters: tuple[int | float, ...],
        dtype: Dtype | None,
        field: str = "",
    ) -> Node:
        # 1 and 1.0 are equal in Python but not for dtypes: their type is the field of the number.
        key = (operator, tuple(map(id, inputs)), parameters, dtype, field)
        return self._made.setdefault(key, Node(operator, inputs, parameters, dtype, field))

    def unary(self, call: Call, inputs: list[Node]) -> Node:
        (series,) = _series(call, inputs, 1)
        kind = series.series
        if kind is Dtype.GAPS or (call.operator == "Log" and kind is Dtype.BOOL):
            raise _no_dtype(call, kind)
        if call.operator == "Not":
            if kind is not Dtype.BOOL:
                raise _no_dtype(call, kind)
            return self._node("Not", (series,), (), Dtype.BOOL)
        if call.operator == "Sign":
            return self._node("Sign", (series,), (), Dtype.FLOAT32)
        if call.operator == "Log":
            return self._node("Log", (series,), (), _floating(kind))
        return series if kind is Dtype.BOOL else self._node("Abs", (series,), (), kind)

    def pair(self, call: Call, inputs: list[Node]) -> Node:
        left, right = _arguments(call, inputs, 2)
        kind = _common(call, left, right)
        if call.operator in _COMPARISONS:
            return self._node(call.operator, (left, right), (), Dtype.BOOL)
        if call.operator in ("And", "Or"):
            if left.dtype is not Dtype.BOOL or right.dtype is not Dtype.BOOL:
                raise _no_dtype(call, left.dtype, right.dtype)
            return self._node(call.operator, (left, right), (), Dtype.BOOL)
        if kind is Dtype.BOOL:
            # numpy adds truth values by "or", multiplies by "and", and does neither subtract nor divide them.
            logical = {"Add": "Or", "Greater": "Or", "Mul": "And", "Less": "And"}.get(call.operator)
            if logical is None:
                raise _no_dtype(call, kind)
            return self._node(logical, (left, right), (), Dtype.BOOL)
        if call.operator == "Power" and kind is Dtype.INT64:
            raise _no_dtype(call, kind)
        if call.operator == "Div":
            kind = _floating(kind)
        return self._node(call.operator, (left, right), (), kind)

    def choice(self, call: Call, inputs: list[Node]) -> Node:
        condition, left, right = _arguments(call, inputs, 3)
        if condition.dtype in (None, Dtype.GAPS):
            raise refused("alphas.arguments", "If: the condition is not a series of numbers", call.position)
        if left.dtype is None and right.dtype is None:
            kind = Dtype.FLOAT64 if "float" in (left.field, right.field) else Dtype.INT64
        else:
            kind = _common(call, left, right)
        return self._node("If", (condition, left, right), (), kind)

    def reference(self, call: Call, inputs: list[Node]) -> Node:
        series, days = _arguments(call, inputs, 2)
        (series,) = _series(call, [series], 1)
        count = _integer(call, days)
        if count < 0:
            raise refused("alphas.look_ahead", f"{call.operator} reads later days", call.position, str(count))
        if count == 0:
            raise _unlimited(call, "the first value of the series is read, which depends on the first day asked for")
        shifted = {Dtype.BOOL: Dtype.GAPS, Dtype.INT64: Dtype.FLOAT64}.get(series.series, series.series)
        if call.operator == "Ref":
            return self._node("Ref", (series,), (count,), shifted)
        return self._node("Sub", (series, self._node("Ref", (series,), (count,), shifted)), (), shifted)

    def rolling(self, call: Call, inputs: list[Node]) -> Node:
        series, days = _arguments(call, inputs, 2)
        (series,) = _series(call, [series], 1)
        if call.operator in _EXPONENTIAL and isinstance(_plain(call, days), float) and 0 < _plain(call, days) < 1:
            return self._exponential(call, series, _plain(call, days))
        count = _window(call, days)
        if count < _LEAST_WINDOW.get(call.operator, 1):
            raise refused("alphas.arguments", f"{call.operator}: the window is too short", call.position, str(count))
        return self._node(call.operator, (series,), (count,), Dtype.FLOAT64)

    def quantile(self, call: Call, inputs: list[Node]) -> Node:
        series, days, share = _arguments(call, inputs, 3)
        (series,) = _series(call, [series], 1)
        wanted = _plain(call, share)
        if not 0 <= wanted <= 1:
            raise refused("alphas.arguments", "Quantile: not between 0 and 1", call.position, str(wanted))
        return self._node("Quantile", (series,), (_window(call, days), float(wanted)), Dtype.FLOAT64)

    def exponential(self, call: Call, inputs: list[Node]) -> Node:
        series, days = _arguments(call, inputs, 2)
        (series,) = _series(call, [series], 1)
        span = _plain(call, days)
        if isinstance(span, float) and 0 < span < 1:
            return self._exponential(call, series, span)
        if _window(call, days) == 1:
            raise _unlimited(call, "of one day it only repeats values over gaps, however long")
        return self._exponential(call, series, 2 / (span + 1))

    def _exponential(self, call: Call, series: Node, weight: float) -> Node:
        """The mean with weights (1 - weight)^age, cut where older days would weigh less than `TAIL` in all."""
        rest = math.log1p(-weight)
        if rest > -1e-5:
            raise _unlimited(call, f"a weight of {weight} needs too many days")
        days = math.ceil(math.log(TAIL) / rest) + GAP
        return self._node("EMA", (series,), (days, weight), Dtype.FLOAT64)

    def both(self, call: Call, inputs: list[Node]) -> Node:
        left, right, days = _arguments(call, inputs, 3)
        left, right = _series(call, [left, right], 2)
        if Dtype.GAPS in (left.dtype, right.dtype):
            raise _no_dtype(call, left.dtype, right.dtype)
        return self._node(call.operator, (left, right), (_window(call, days),), Dtype.FLOAT64)


_Rule = Callable[[Nodes, Call, list[Node]], Node]
_RULES: Final[dict[str, _Rule]] = {
    **dict.fromkeys(("Abs", "Sign", "Log", "Not"), Nodes.unary),
    **dict.fromkeys((*_ARITHMETIC, *_COMPARISONS, "And", "Or", "Power"), Nodes.pair),
    **dict.fromkeys(("Ref", "Delta"), Nodes.reference),
    **dict.fromkeys(_ROLLING, Nodes.rolling),
    **dict.fromkeys(("Corr", "Cov"), Nodes.both),
    "If": Nodes.choice,
    "Quantile": Nodes.quantile,
    "EMA": Nodes.exponential,
}
OPERATORS: Final = tuple(_RULES)


def _arguments(call: Call, inputs: list[Node], count: int) -> list[Node]:
    if len(inputs) != count:
        raise refused("alphas.arguments", f"{call.operator} takes {count} arguments", call.position, str(len(inputs)))
    return inputs


def _series(call: Call, inputs: list[Node], count: int) -> list[Node]:
    for node in _arguments(call, inputs, count):
        if node.dtype is None:
            raise refused("alphas.arguments", f"{call.operator} takes a series where a number is", call.position)
    return inputs


def _plain(call: Call, node: Node) -> int | float:
    if node.operator != "number":
        raise refused("alphas.arguments", f"{call.operator} takes a number where a series is", call.position)
    return node.parameters[0]


def _integer(call: Call, node: Node) -> int:
    number = _plain(call, node)
    if not isinstance(number, int):
        raise refused("alphas.arguments", f"{call.operator}: days are a whole number", call.position, str(number))
    return number


def _window(call: Call, node: Node) -> int:
    count = _integer(call, node)
    if count < 0:
        raise refused("alphas.arguments", f"{call.operator}: the window is negative", call.position, str(count))
    if count == 0:
        raise _unlimited(call, "a window of 0 is all days from the first one asked for")
    return count


def _unlimited(call: Call, reason: str) -> Exception:
    return refused("alphas.unlimited", f"{call.operator}: {reason}", call.position)


def _no_dtype(call: Call, *kinds: Dtype | None) -> Exception:
    text = " and ".join("a number" if kind is None else kind.value for kind in kinds)
    return refused("alphas.dtype", f"{call.operator} of {text} has no number as its result in qlib", call.position)


def _floating(kind: Dtype) -> Dtype:
    return Dtype.FLOAT32 if kind is Dtype.FLOAT32 else Dtype.FLOAT64


def _common(call: Call, left: Node, right: Node) -> Dtype:
    """numpy's result type; a Python number takes the dtype of the series unless its kind is higher (NEP 50)."""
    kinds = {node.dtype for node in (left, right) if node.dtype is not None}
    if not kinds or Dtype.GAPS in kinds:
        raise _no_dtype(call, left.dtype, right.dtype)
    for node in (left, right):
        if node.dtype is None:
            kind = next(iter(kinds))
            if kind is Dtype.FLOAT32 and abs(node.parameters[0]) > _LARGEST_FLOAT32:
                raise refused("alphas.number", "a number beyond float32", call.position, str(node.parameters[0]))
            if kind in (Dtype.BOOL, Dtype.INT64):
                return Dtype.FLOAT64 if node.field == "float" else Dtype.INT64
            return kind
    if kinds == {Dtype.FLOAT32, Dtype.INT64} or Dtype.FLOAT64 in kinds:
        return Dtype.FLOAT64
    for kind in (Dtype.FLOAT32, Dtype.INT64):
        if kind in kinds:
            return kind
    return Dtype.BOOL
