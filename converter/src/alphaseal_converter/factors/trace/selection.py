"""``loc``, ``xs``, statistics across columns, functions of rows."""

from __future__ import annotations

from functools import reduce
from typing import Any

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.columns import Columns
from alphaseal_converter.factors.recording.keys import Chosen, inside
from alphaseal_converter.factors.recording.layout import CLASSES, Index, Opaque, Token
from alphaseal_converter.factors.recording.operands import Operand
from alphaseal_converter.factors.recording.recorder import along_paths, by_value, unknown
from alphaseal_converter.factors.recording.values import (
    binary,
    cast,
    constant,
    is_number,
    missing,
    negated,
    promoted,
    where,
)
from alphaseal_converter.factors.trace.frame import Frame
from alphaseal_converter.factors.trace.series import Series, Single


class Loc:
    """``series.loc`` and ``frame.loc``: by condition, by columns, by the rows of another object."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def _split(self, key: Any) -> tuple[Any, Any]:
        if isinstance(self.owner, Frame) and isinstance(key, tuple) and len(key) == 2:
            return key
        return key, slice(None)

    def __getitem__(self, key: Any) -> Any:
        rows, columns = self._split(key)
        found = self.owner
        if not (isinstance(columns, slice) and columns == slice(None)):
            found = _columns(found, columns)
        if isinstance(rows, slice) and rows == slice(None):
            return found
        if isinstance(rows, Index):
            return found.reindex(rows) if rows.layout.rows is not found.layout.rows else found.under(rows.layout)
        if isinstance(rows, tuple) and rows[:1] == (slice(None),) and len(rows) == 2 and isinstance(rows[1], Token):
            return xs(found, rows[1], found.layout.levels[1], False)
        if isinstance(rows, Token):
            return xs(found, rows, found.layout.levels[0], True)
        if callable(rows):
            rows = rows(self.owner)
        if isinstance(rows, Chosen) or (isinstance(rows, Operand) and rows.node.dtype == "bool"):
            return found[rows]
        return unknown("loc[…]", "rows are chosen by name or date")

    def __setitem__(self, key: Any, value: Any) -> None:
        rows, columns = self._split(key)
        owner = self.owner
        if callable(rows) and not isinstance(rows, Operand):
            rows = rows(owner)
        if isinstance(owner, Series):
            owner[rows] = value
            return
        names = columns if isinstance(columns, list) else [columns]
        for name in names:
            if isinstance(rows, slice) and rows == slice(None):
                owner[name] = value
                continue
            old = owner[name] if name in owner.columns else Series(constant(float("nan"), "float64"), owner.layout)
            owner[name] = Series(self._changed(old, rows, value), owner.layout)

    def _changed(self, old: Series, rows: Any, value: Any) -> Node:
        if isinstance(rows, Index):
            if rows.layout.kind not in ("stock", "table"):
                unknown("loc[…] =", "rows are chosen by label")
            inner = old.under(rows.layout)
            return where(rows.layout.rows, inner.operand_of(value), old.node)
        if not isinstance(rows, Operand) or rows.node.dtype != "bool":
            return unknown("loc[…] =", "rows are chosen by name or date")
        return where(old.condition_of(rows), old.operand_of(value), old.node)


def _columns(frame: Frame, columns: Any) -> Any:
    if hasattr(columns, "dtype") and columns.dtype == bool:
        cells = [cell for cell, chosen in zip(frame.cells, columns, strict=True) if chosen]
        return Frame.of(cells, frame.layout)
    if isinstance(columns, list | Columns | str):
        return frame[columns]
    return unknown("loc[:, …]")


def xs(owner: Any, key: Any, level: Any, drop_level: bool = True) -> Any:
    """The rows of one stock or day of a loop."""
    if isinstance(key, Opaque):
        return key
    if not isinstance(key, Token):
        return unknown("xs", "rows are chosen by name or date")
    name = (
        owner.layout.levels[level if isinstance(level, int) else 0]
        if level is None or isinstance(level, int)
        else level
    )
    if name != key.level or owner.layout.levels.count(name) != 1:
        return by_value("rows chosen by a name")
    return owner.under(inside(owner.layout, name, drop_level))


def across_columns(frame: Frame, function: str, ddof: int = 1, least: int = 0) -> Any:
    """A statistic of the columns of each row, missing values left out."""
    nodes = [cell for _, cell in frame.cells if isinstance(cell, Node)]
    kind = promoted(nodes)
    kind = kind if kind.startswith("float") else "float64"
    values = [cast(node, kind) for node in nodes]
    there = [negated(missing(node)) for node in values]
    count = reduce(lambda a, b: binary("add", a, b), [cast(one, kind) for one in there])
    if function in ("max", "min"):
        operator = "fmax" if function == "max" else "fmin"
        return Series(reduce(lambda a, b: binary(operator, a, b), values), frame.layout)
    if function == "count":
        return Series(cast(count, "int64"), frame.layout)
    zero = constant(0.0, kind)
    total = reduce(lambda a, b: binary("add", a, b), [where(t, v, zero) for t, v in zip(there, values, strict=True)])
    nan = constant(float("nan"), kind)
    if function == "sum":
        return Series(where(binary("ge", count, least), total, nan) if least else total, frame.layout)
    if function == "mean":
        return Series(binary("div", total, count), frame.layout)
    # pandas adds up in double, and rounds the variance.
    wide = [where(t, cast(v, "float64"), 0.0) for t, v in zip(there, values, strict=True)]
    number = cast(count, "float64")
    mean = binary("div", reduce(lambda a, b: binary("add", a, b), wide), number)
    squares = [where(t, binary("pow", binary("sub", v, mean), 2), 0.0) for t, v in zip(there, wide, strict=True)]
    spread = binary("div", reduce(lambda a, b: binary("add", a, b), squares), binary("sub", number, ddof))
    spread = where(binary("gt", count, ddof), cast(spread, kind), nan)
    from_variance = spread if function == "var" else Series(spread, frame.layout).unary_of("sqrt").node
    return Series(from_variance, frame.layout)


class _Row:
    """One row of a frame in a function that is followed."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    def __getitem__(self, name: Any) -> Any:
        cell = dict(self.frame.cells)[name]
        if not isinstance(cell, Node):
            return by_value(f"the {cell} of a row")
        return Single(cell, self.frame.layout.but(kind="value"))

    def get(self, name: Any, default: Any = None) -> Any:
        return self[name] if name in self.frame.columns else default

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self.frame.columns:
            return self[name]
        return unknown(f"row.{name}")


def by_row(frame: Frame, function: Any, arguments: Any, named: Any) -> Any:
    """``frame.apply(function, axis=1)``."""

    def node_of(given: Any) -> Node:
        if isinstance(given, Node):
            return given
        if isinstance(given, Single):
            return given.node
        if given is None or is_number(given):
            return constant(float("nan") if given is None else given, "float64")
        return unknown("apply(axis=1)", f"the function gives {type(given).__name__}")

    found = along_paths(
        lambda: function(_Row(frame), *arguments, **named), lambda c, yes, no: where(c, node_of(yes), node_of(no))
    )
    return Series(node_of(found), frame.layout)


CLASSES.update(Loc=Loc, xs=xs, across_columns=across_columns, by_row=by_row, Chosen=Chosen)
