"""Methods that series, frames and wide tables share and that look at one row: each column's values are mapped."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.layout import DATE, Layout, Opaque, ordered, without_level
from alphaseal_converter.factors.recording.operands import Operand, combined, joined, value_of
from alphaseal_converter.factors.recording.recorder import RECORD, looks_ahead, misplaced, unknown
from alphaseal_converter.factors.recording.values import (
    binary,
    both,
    cast,
    dtype_named,
    implies,
    is_number,
    kept,
    missing,
    negated,
    rounded,
    unary,
    weak,
    where,
)


class Elementwise(Operand):
    """What has one or several columns of values: `mapped` gives the same with each column's node changed."""

    labelled = True
    name: Any

    def mapped(self, function: Callable[[Node], Node]) -> Any:
        raise NotImplementedError

    def _put(self, found: Any, inplace: bool) -> Any:
        raise NotImplementedError

    def under(self, layout: Layout) -> Any:
        """The same values under another layout."""
        found = self.mapped(lambda node: node)
        found.layout = layout
        return found

    def _is_one(self, other: Operand) -> bool:
        """Whether the other is one number for all of our rows, or for those of our day."""
        mine = self.layout.kind
        return not other.labelled and other.layout.kind in ("value", "window", mine if mine == "date" else "value")

    def operand_of(self, other: Any) -> Any:
        """Values of another object on our rows: by label, or by position where it has no labels."""
        if not isinstance(other, Operand):
            return value_of(other, pandas=True)
        mine, its = self.layout, other.layout
        if other.is_frame:
            return unknown("a frame as an operand")
        if self._is_one(other) or its is mine:
            return other.node
        if not other.labelled:
            if not mine.same_rows(its):
                misplaced("positional operand", "positions of two objects mean different rows")
            return other.node
        if its.kind != mine.kind or not mine.same_labels(its):
            if its.kind == "day" and mine.kind == "stock" and len(mine.levels) == 1:
                return kept(other.node, its.rows, mine.rows)
            unknown("alignment", f"of {mine.kind} {mine.levels} with {its.kind} {its.levels}")
        if other.node.dtype == "bool" and mine.rows is not its.rows:
            return both(other.node, its.rows)
        return kept(other.node, its.rows, mine.rows)

    def unary_of(self, name: str) -> Any:
        return self.mapped(lambda node: unary(name, node))

    def __invert__(self) -> Any:
        return self.mapped(negated)

    def abs(self) -> Any:
        return self.unary_of("abs")

    def isna(self) -> Any:
        return self.mapped(missing)

    def notna(self) -> Any:
        return self.mapped(lambda node: negated(missing(node)))

    isnull, notnull = isna, notna

    def astype(self, kind: Any, copy: Any = None, errors: str = "raise") -> Any:
        return self.mapped(lambda node: cast(node, dtype_named(kind)))

    def infer_objects(self, *arguments: Any, **named: Any) -> Any:
        return self

    def copy(self, deep: bool = True) -> Any:
        return self.mapped(lambda node: node)

    def round(self, decimals: int = 0) -> Any:
        return self.mapped(lambda node: rounded(node, decimals))

    def fillna(
        self, value: Any = None, method: Any = None, axis: Any = None, inplace: bool = False, limit: Any = None,
        downcast: Any = None,
    ) -> Any:  # fmt: skip
        if method is not None:
            if RECORD.pandas >= 3:
                raise TypeError("NDFrame.fillna() got an unexpected keyword argument 'method'")
            if method in ("bfill", "backfill"):
                looks_ahead("fillna(method='bfill')", "it takes values of later days")
            if axis in (1, "columns"):
                misplaced("fillna across columns", "stocks are filled by other stocks")
            return self._put(self.ffill(limit=limit), inplace)
        if limit is not None:
            unknown("fillna", "with a limit")
        if isinstance(value, Operand) and not value.labelled and not self._is_one(value) and RECORD.pandas < 3:
            raise TypeError('"value" parameter must be a scalar, dict or Series, but you passed a "ndarray"')
        return self._put(self._filled(value), inplace)

    def ffill(self, *arguments: Any, **named: Any) -> Any:
        raise NotImplementedError

    def _filled(self, value: Any) -> Any:
        operand = self.operand_of(value)
        return self.mapped(lambda node: _filled(node, operand))

    def replace(
        self, to_replace: Any = None, value: Any = None, inplace: bool = False, regex: bool = False, **named: Any
    ) -> Any:
        if isinstance(to_replace, dict):
            pairs = list(to_replace.items())
        elif isinstance(to_replace, list | tuple):
            values = value if isinstance(value, list | tuple) else [value] * len(to_replace)
            pairs = list(zip(to_replace, values, strict=True))
        else:
            pairs = [(to_replace, value)]
        if named or regex or any(not is_number(old) or not (new is None or is_number(new)) for old, new in pairs):
            unknown("replace", "of other things than numbers")
        return self._put(self.mapped(lambda node: _replaced(node, pairs)), inplace)

    def clip(self, lower: Any = None, upper: Any = None, axis: Any = None, inplace: bool = False, **named: Any) -> Any:
        if is_number(lower) and is_number(upper) and lower > upper:
            lower, upper = upper, lower
        low, high = (None if _absent(one) else self.operand_of(one) for one in (lower, upper))
        numbers = not any(isinstance(one, Operand) and one.labelled for one in (lower, upper))
        return self._put(self.mapped(lambda node: _clipped(node, low, high, numbers)), inplace)

    def where(self, cond: Any, other: Any = np.nan, inplace: bool = False, axis: Any = None, level: Any = None) -> Any:
        condition, instead = self.condition_of(cond), self.operand_of(other)
        return self._put(self.mapped(lambda node: _chosen(condition, node, instead)), inplace)

    def mask(self, cond: Any, other: Any = np.nan, inplace: bool = False, axis: Any = None, level: Any = None) -> Any:
        condition, instead = self.condition_of(cond, turned=True), self.operand_of(other)
        return self._put(self.mapped(lambda node: _chosen(condition, node, instead)), inplace)

    def condition_of(self, condition: Any, *, turned: bool = False) -> Node:
        """Where it is true, or (`turned`) false; neither where it has no row."""
        if callable(condition):
            condition = condition(self)
        if not isinstance(condition, Operand) or condition.node.dtype != "bool":
            unknown("condition", "a series of truth values is expected")
        if turned:
            condition = ~condition
        if condition.layout.rows is not self.layout.rows and condition.labelled:
            if not condition.layout.same_labels(self.layout):
                unknown("condition", "of another kind of index")
            return both(condition.node, condition.layout.rows)
        return self.operand_of(condition)  # type: ignore[no-any-return]

    def between(self, left: Any, right: Any, inclusive: str = "both") -> Any:
        lower = self >= left if inclusive in ("both", "left") else self > left
        return lower & (self <= right if inclusive in ("both", "right") else self < right)

    def combine_first(self, other: Any) -> Any:
        return self._filled(other) if self.layout.rows is other.layout.rows else unknown("combine_first of other rows")

    # ---- rows

    def filtered(self, condition: Any) -> Layout:
        """Our layout with the rows where the condition is true."""
        if condition.labelled and not condition.layout.same_labels(self.layout):
            unknown("rows chosen by a condition", "of another kind of index")
        if condition.labelled and not implies(self.layout.rows, condition.layout.rows):
            unknown("rows chosen by a condition", "that has not all of the rows: pandas raises")
        chosen = both(condition.node, condition.layout.rows) if condition.labelled else self.operand_of(condition)
        return self.layout.but(rows=both(self.layout.rows, chosen))

    def sort_index(
        self, axis: Any = 0, level: Any = None, ascending: Any = True, inplace: bool = False, **named: Any
    ) -> Any:
        if axis in (1, "columns"):
            return self
        levels = self.layout.levels
        if level is not None:
            wanted = level if isinstance(level, list | tuple) else [level]
            levels = tuple(levels[one] if isinstance(one, int) else one for one in wanted)
        if levels[:1] == ("",):
            order = self.layout.order if self.layout.order == self.layout.labels else "unknown"
            return self._put(self.under(self.layout.but(order=order)), inplace)
        return self._put(self._sorted(levels, ascending), inplace)

    def _sorted(self, levels: Any, ascending: Any) -> Any:
        if self.layout.kind == "date":
            return self
        falling = [one for one, up in zip(levels, ascending, strict=False) if not up] if isinstance(
            ascending, list | tuple) else [] if ascending else list(levels)  # fmt: skip
        order = "falling" if "datetime" in falling else "unknown" if falling else ordered(self.layout, levels)
        return self.under(self.layout.but(order=order if self.layout.kind == "table" else self.layout.order))

    def droplevel(self, level: Any, axis: Any = 0) -> Any:
        if axis in (1, "columns"):
            unknown("droplevel of columns")
        return self.under(without_level(self.layout, level))

    def swaplevel(self, i: Any = -2, j: Any = -1, axis: Any = 0) -> Any:
        return self.under(self.index.swaplevel(i, j).layout)

    def reorder_levels(self, order: Any, axis: Any = 0) -> Any:
        return self.under(self.index.reorder_levels(order).layout)

    @property
    def index(self) -> Any:
        raise NotImplementedError

    def rename_axis(self, mapper: Any = None, **named: Any) -> Any:
        names = mapper if mapper is not None else named.get("index")
        if named.get("axis") in (1, "columns") or names is None:
            return self
        self.index.names = [names] if isinstance(names, str) else names
        return self

    def reindex(
        self, index: Any = None, columns: Any = None, method: Any = None, fill_value: Any = None, **named: Any
    ) -> Any:
        if self.layout.kind == "period" and columns is None and fill_value is None:
            return self._as_of(index, method)
        if columns is not None or method is not None or named or not hasattr(index, "layout") or fill_value is not None:
            return unknown("reindex", "to more than the index of another object")
        if not index.layout.same_labels(self.layout):
            unknown("reindex", "to an index of another kind")
        have = self.layout.rows
        return self.mapped(lambda node: kept(node, have, index.layout.rows)).under(index.layout)

    def _as_of(self, index: Any, method: Any) -> Any:
        """Values of periods on the stock's days: of the period that ended last."""
        layout = getattr(index, "layout", None)
        if method not in ("ffill", "pad") or layout is None or layout.kind != "stock" or layout.levels != (DATE,):
            return unknown("reindex of periods", "only by method='ffill' to the days of the stock")
        return self.under(layout) if layout.rows is self.layout.rows else unknown("reindex of periods", "to other days")

    def reindex_like(self, other: Any) -> Any:
        return self.reindex(other.index)

    def truncate(self, *arguments: Any, **named: Any) -> Any:
        return unknown("truncate", "rows are chosen by date")


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _filled(node: Node, value: Any) -> Node:
    if node.dtype not in ("float32", "float64"):
        return node
    return where(missing(node), value, node)


def _replaced(node: Node, pairs: Any) -> Node:
    found = node
    if node.dtype not in ("float32", "float64", "int64"):
        return node
    for old, new in pairs:
        if _absent(old):
            found = where(missing(node), weak(new), found)
        elif node.dtype != "int64" or (math.isfinite(old) and float(old).is_integer()):
            equal = binary("eq", node, weak(old))
            found = where(equal, float("nan") if new is None else weak(new), found)
    return found


def _clipped(node: Node, low: Any, high: Any, numbers: bool) -> Node:
    """pandas compares and takes the bound where the value is beyond it; a missing bound is none.

    It compares with `numbers` as Python's, which are rounded to float32 beside float32; the bound that it takes is not.
    """
    found = node
    for bound, operator in ((low, "lt"), (high, "gt")):
        if bound is None:
            continue
        beside = bound
        if numbers and isinstance(bound, Node) and node.dtype == "float32":
            beside = cast(bound, "float32")
        found = where(binary(operator, node if numbers else found, beside), bound, found)
    return found


def _chosen(condition: Node, node: Node, instead: Any) -> Node:
    if node.dtype == "bool" and not isinstance(instead, Node | bool):
        return unknown("where of truth values", "it gives objects")
    return where(condition, node, instead)


def _methods() -> None:
    names = {
        "add": "add",
        "sub": "sub",
        "subtract": "sub",
        "mul": "mul",
        "multiply": "mul",
        "div": "div",
        "divide": "div",
        "truediv": "div",
        "pow": "pow",
        "mod": "mod",
        "floordiv": "floordiv",
        **{name: name for name in ("gt", "ge", "lt", "le", "eq", "ne")},
    }

    def method(operator: str, turned: bool) -> Any:
        def apply(self: Any, other: Any, axis: Any = None, level: Any = None, fill_value: Any = None) -> Any:
            return self.arithmetic(operator, other, axis, level, fill_value, turned)

        return apply

    for name, operator in names.items():
        setattr(Elementwise, name, method(operator, False))
        if name not in ("gt", "ge", "lt", "le", "eq", "ne"):
            setattr(Elementwise, f"r{name}", method(operator, True))


def arithmetic(self: Any, operator: str, other: Any, axis: Any, level: Any, fill_value: Any, turned: bool) -> Any:
    """``a.sub(b, …)``."""
    if isinstance(other, Opaque):
        other.use()
    if level is not None:
        if not (isinstance(other, Operand) and other.layout.kind == "day" and self.layout.kind == "table"):
            unknown(f"{operator} by level")
        if level not in (0, "datetime") or self.layout.levels.count("datetime") != 1:
            unknown(f"{operator} by level")
        other = self.under(self.layout).mapped(lambda node: kept(other.node, other.layout.rows, self.layout.rows))
    if fill_value is not None:
        if isinstance(other, Elementwise):
            same = self.layout.rows is other.layout.rows
            gone = self.isna() & other.isna() if same else unknown("fill_value of different rows")
            left, right = self.fillna(fill_value), other.fillna(fill_value)
            found = combined(operator, *((right, left) if turned else (left, right)))
            return found.mask(gone)
        return combined(operator, *((other, self.fillna(fill_value)) if turned else (self.fillna(fill_value), other)))
    # pandas aligns what its methods compare, and what its operators compare it does not.
    return joined([other, self] if turned else [self, other], lambda values: binary(operator, *values))


Elementwise.arithmetic = arithmetic  # type: ignore[attr-defined]
_methods()
