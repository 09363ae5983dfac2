"""Two operands put together: which rows and which index the result has, and whether pandas would put values into other rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.layout import DATE, Layout, Opaque, Token
from alphaseal_converter.factors.recording.recorder import by_value, decide, make, misplaced, unknown
from alphaseal_converter.factors.recording.values import (
    BINARY,
    COMPARED,
    UNARY,
    binary,
    cast,
    either,
    implies,
    is_number,
    kept,
    negated,
    unary,
    weak,
    where,
)

RANK = {"wide": 5, "table": 4, "stock": 4, "date": 4, "day": 3, "period": 3, "window": 2, "value": 1}
"""Whose layout the result has, the labelled ones before arrays."""


class Operand:
    """What stands for values: one node and its layout; numpy and Python operators come here."""

    node: Node
    layout: Layout
    labelled = False
    """Whether it has an index (pandas), or positions only (numpy)."""
    is_frame = False
    """Whether it has columns."""
    name: Any = None
    __array_priority__ = 1000

    def like(self, node: Node, layout: Layout | None = None) -> Any:
        """The same kind of object with another node."""
        raise NotImplementedError

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **named: Any) -> Any:
        name = ufunc.__name__
        if method != "__call__":
            unknown(f"numpy.{name}.{method}")
        out, condition = named.pop("out", None), named.pop("where", True)
        named.pop("casting", None)
        kind = named.pop("dtype", None)
        if named:
            unknown(f"numpy.{name}", f"with {sorted(named)}")
        if name in UNARY and len(inputs) == 1:
            found = inputs[0].unary_of(UNARY[name])
        elif name in BINARY and len(inputs) == 2:
            # Operators that pandas has itself take numpy's numbers for Python's; others do not.
            own = name not in ("maximum", "minimum", "fmax", "fmin")
            found = combined(BINARY[name], inputs[0], inputs[1], own)
        else:
            unknown(f"numpy.{name}")
        if kind is not None:
            found = found.astype(kind)
        if condition is not True:
            if out is None:
                unknown(f"numpy.{name}", "where= without out=")
            found = chosen(condition, found, out[0])
        elif out is not None:
            unknown(f"numpy.{name}", "out= without where=")
        return found

    def __array_function__(self, function: Any, types: Any, arguments: Any, named: Any) -> Any:
        return FUNCTIONS["call"](function, arguments, named)

    def __array__(self, *arguments: Any, **named: Any) -> Any:
        unknown("conversion to a numpy array")

    def unary_of(self, name: str) -> Any:
        return self.like(unary(name, self.node))

    def __bool__(self) -> bool:
        if self.layout.kind in ("value", "window", "date") and not self.labelled:
            return decide(cast(self.node, "bool"))
        raise ValueError(
            "The truth value of a Series is ambiguous. Use a.empty, a.bool(), a.item(), a.any() or a.all()."
        )

    def __iter__(self) -> Any:
        by_value("loop over values")

    def __len__(self) -> int:
        return int(by_value("number of rows"))

    def __float__(self) -> float:
        return float(by_value("a value as a number of Python"))

    __int__ = __index__ = __float__
    __hash__ = object.__hash__

    def __neg__(self) -> Any:
        return self.unary_of("neg")

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self.unary_of("abs")

    def __invert__(self) -> Any:
        return self.like(negated(self.node))


FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""Set by `numpy_functions`, which knows all kinds."""


def _operators() -> None:
    names = {
        "add": "add",
        "sub": "sub",
        "mul": "mul",
        "truediv": "div",
        "pow": "pow",
        "mod": "mod",
        "floordiv": "floordiv",
        "and": "and",
        "or": "or",
        "xor": "xor",
    }
    for name, operator in names.items():
        setattr(Operand, f"__{name}__", lambda self, other, operator=operator: combined(operator, self, other))
        setattr(Operand, f"__r{name}__", lambda self, other, operator=operator: combined(operator, other, self))
    for name in ("gt", "ge", "lt", "le", "eq", "ne"):
        setattr(Operand, f"__{name}__", lambda self, other, operator=name: combined(operator, self, other))


_operators()


def value_of(operand: Any, pandas: bool) -> Any:
    """Node or number of an operand."""
    if isinstance(operand, Operand):
        return operand.node
    if isinstance(operand, Opaque):
        return operand.use()
    if operand is None:
        return float("nan")
    if is_number(operand):
        return weak(operand) if pandas else operand
    if isinstance(operand, np.ndarray) and operand.ndim == 0:
        return value_of(operand[()], pandas)
    if isinstance(operand, np.ndarray):
        return unknown("arithmetic with an array of constants", "an array is as long as no table is known to be")
    if isinstance(operand, Token):
        return by_value("the name of a stock or day")
    return unknown(f"operand of kind {type(operand).__name__}")


def _positions(values: Any) -> Node:
    """Constants at the positions of a window."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1:
        return unknown("arithmetic with an array of constants", "of several dimensions")
    return make("vector", values=tuple(array.tolist()))


def combined(operator: str, left: Any, right: Any, own: bool = True) -> Any:
    """`operator` of two operands, aligned by label as pandas does, or by position as numpy does; `own`: of pandas itself."""
    if operator in ("eq", "ne") and any(isinstance(one, str) for one in (left, right)):
        unknown("comparison with a text")
    labelled = [one.layout for one in (left, right) if isinstance(one, Operand) and one.labelled]
    if own and len(labelled) == 2 and labelled[0].kind == labelled[1].kind:
        _check_rows(operator, *labelled)
    return joined([left, right], lambda values: binary(operator, *values), own)


def _check_rows(operator: str, left: Layout, right: Layout) -> None:
    """Refuse what pandas does not align, or fills with False where a row is missing."""
    if operator in COMPARED and not (left.rows is right.rows and left.order == right.order):
        unknown("comparison of different rows", "pandas raises where two indices are not the same; reindex one first")
    if operator in ("or", "xor") and left.rows is not right.rows:
        unknown(f"{operator} of different rows", "it is false where one of them has no row; reindex one first")


def chosen(condition: Any, yes: Any, no: Any) -> Any:
    """Where of numpy for the operands as they are; the result has positions only."""
    found = joined([condition, yes, no], lambda values: where(*values), own=False)
    return CLASSES_OF_ARRAYS["array"](found.node, found.layout) if found.labelled else found


CLASSES_OF_ARRAYS: dict[str, Any] = {}


def joined(operands: list[Any], function: Callable[[list[Any]], Node], own: bool = True) -> Any:
    """`function` of the values of operands; the result is like the foremost of them."""
    objects = [one for one in operands if isinstance(one, Operand)]
    foremost = max(objects, key=lambda one: (RANK[one.layout.kind], one.labelled))
    pandas = own and any(one.labelled for one in objects)
    layout = foremost.layout
    for one in objects:
        layout = _aligned(layout, foremost.labelled, one)
    values = []
    among_windows = layout.kind == "window"
    for one in operands:
        value = _positions(one) if among_windows and isinstance(one, np.ndarray | list) else value_of(one, pandas)
        if (
            pandas
            and foremost.labelled
            and isinstance(one, Operand)
            and one.layout.kind in ("value", "date")
            and not one.labelled
            and value.dtype == "float64"
        ):
            # A number of numpy beside a series counts as one of Python.
            value = _as_number(value, objects)
        if isinstance(one, Operand) and one.labelled and RANK[one.layout.kind] >= 3:
            value = kept(value, one.layout.rows, layout.rows)
        values.append(value)
    found = foremost.like(function(values), layout)
    names = {getattr(one, "name", None) for one in objects if one.labelled}
    if found.labelled and not found.is_frame:
        found.name = names.pop() if len(names) == 1 else None
    return found


def _as_number(value: Node, objects: list[Any]) -> Node:
    labelled = {one.node.dtype for one in objects if one.labelled}
    narrow = "float32" in labelled and "float64" not in labelled and "int64" not in labelled
    return cast(value, "float32") if narrow else value


def _aligned(layout: Layout, labelled: bool, other: Operand) -> Layout:
    """The layout when an operand comes to it."""
    mine, its = layout.kind, other.layout.kind
    if its in ("value", "window") or other.layout is layout:
        return layout
    if not (labelled and other.labelled):
        if mine in ("table", "stock", "date", "day", "wide") and its == mine and layout.same_rows(other.layout):
            return layout
        misplaced("positional arithmetic", "positions of two objects mean different rows")
    if its == "day" and mine != "day":
        return _with_days(layout, other.layout)
    if mine != its or not layout.same_labels(other.layout):
        unknown("alignment", f"of {mine} {layout.levels} with {its} {other.layout.levels}")
    if layout.rows is other.layout.rows and layout.order == other.layout.order and layout.levels == other.layout.levels:
        return layout
    order = "stock" if layout.levels[:1] == ("instrument",) else "day"
    return layout.but(
        rows=either(layout.rows, other.layout.rows), order=order if layout.levels[0:1] != ("",) else "unknown"
    )


def implied(rows: Node, days: Node) -> bool:
    """Whether each of the rows is on one of the days: days that were made of those rows, or of more."""
    if days.operator == "day" and days["function"] == "any":
        return any(implies(rows, one) for one in days.inputs)
    return implies(rows, days)


def _with_days(layout: Layout, days: Layout) -> Layout:
    """A series of days beside one stock's series of days: by date."""
    if layout.kind == "stock" and layout.levels == (DATE,):
        return layout.but(rows=either(layout.rows, days.rows))
    if (
        layout.kind == "table"
        and layout.levels.count(DATE) == 1
        and len(layout.levels) == 2
        and implied(layout.rows, days.rows)
    ):
        return layout
    if layout.kind == "wide":
        misplaced("wide table with a series of days", "pandas aligns the days with the columns, which are stocks")
    return unknown("a series of days beside rows", "use transform, or map by date")
