"""Tables of days by stocks: ``unstack``, ``pivot``, and back by ``stack``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.layout import CLASSES, DATE, KEYS, STOCK, TOKENS, Index, Layout, Opaque
from alphaseal_converter.factors.recording.operands import Operand
from alphaseal_converter.factors.recording.quantiles import quantile_of_day
from alphaseal_converter.factors.recording.recorder import (
    RECORD,
    by_value,
    every_row,
    looks_ahead,
    make,
    misplaced,
    unknown,
)
from alphaseal_converter.factors.recording.values import both, cast, constant, kept, missing, negated
from alphaseal_converter.factors.trace.frame import Frame
from alphaseal_converter.factors.trace.rowwise import Rowwise
from alphaseal_converter.factors.trace.series import Series


class Wide(Rowwise):
    """One value per day (rows) and stock (columns)."""

    def __init__(self, node: Node, rows: Node, columns: str = STOCK) -> None:
        self.node, self.layout, self.name = node, Layout("wide", rows, levels=(DATE,)), None

    def like(self, node: Node, layout: Layout | None = None) -> Any:
        return Wide(node, (layout or self.layout).rows)

    def mapped(self, function: Any) -> Any:
        return Wide(function(self.node), self.layout.rows)

    def under(self, layout: Layout) -> Any:
        return Wide(self.node, layout.rows)

    def _put(self, found: Any, inplace: bool) -> Any:
        if not inplace:
            return found
        self.node, self.layout = found.node, found.layout
        return None

    @property
    def index(self) -> Index:
        return Index(Layout("day", self.layout.rows, levels=(DATE,)), self)

    @property
    def columns(self) -> _Stocks:
        return _Stocks()

    shape = property(lambda self: (Opaque("number of days"), Opaque("number of stocks")))
    empty = False

    @property
    def values(self) -> Any:
        return unknown("values of a wide table")

    T = values

    def sort_index(
        self, axis: Any = 0, level: Any = None, ascending: Any = True, inplace: bool = False, **named: Any
    ) -> Any:
        if axis in (1, "columns"):
            return self
        return self._sorted((DATE,), ascending)

    def dropna(self, axis: Any = 0, how: Any = "any", **named: Any) -> Any:
        if axis in (1, "columns"):
            looks_ahead("dropna of stocks", "whether a stock is left depends on all days")
        return unknown("dropna of days")

    def _across(self, function: str, axis: Any, skipna: bool = True, **parameters: Any) -> Any:
        if axis not in (1, "columns"):
            looks_ahead(f"{function} of a whole history", "a statistic of all days of a stock, later ones among them")
        if not skipna:
            unknown(f"{function}(axis=1)", "with skipna=False")
        node = cast(self.node, "int64") if self.node.dtype == "bool" and function not in ("any", "count") else self.node
        found = make("day", node, self.layout.rows, function=function, **parameters)
        if function == "count":
            found = cast(found, "int64")
        return Series(found, Layout("day", self._days(), levels=(DATE,)))

    def _days(self) -> Node:
        rows = self.layout.rows
        return rows if rows.operator in ("constant", "day") else make("day", rows, every_row(), function="any")

    def mean(self, axis: Any = 0, skipna: bool = True, **named: Any) -> Any:
        return self._across("mean", axis, skipna)

    def sum(self, axis: Any = 0, skipna: bool = True, min_count: int = 0, **named: Any) -> Any:
        return self._across("sum", axis, skipna) if not min_count else unknown("sum", "with min_count")

    def std(self, axis: Any = 0, skipna: bool = True, ddof: int = 1, **named: Any) -> Any:
        return self._across("std", axis, skipna, ddof=ddof)

    def var(self, axis: Any = 0, skipna: bool = True, ddof: int = 1, **named: Any) -> Any:
        return self._across("var", axis, skipna, ddof=ddof)

    def median(self, axis: Any = 0, skipna: bool = True, **named: Any) -> Any:
        return self._across("median", axis, skipna)

    def min(self, axis: Any = 0, skipna: bool = True, **named: Any) -> Any:
        return self._across("min", axis, skipna)

    def max(self, axis: Any = 0, skipna: bool = True, **named: Any) -> Any:
        return self._across("max", axis, skipna)

    def count(self, axis: Any = 0, **named: Any) -> Any:
        return self._across("count", axis)

    def skew(self, axis: Any = 0, skipna: bool = True, **named: Any) -> Any:
        return self._across("skew", axis, skipna)

    def quantile(self, q: float = 0.5, axis: Any = 0, **named: Any) -> Any:
        if axis not in (1, "columns"):
            looks_ahead("quantile of a whole history", "a statistic of all days of a stock, later ones among them")
        found = quantile_of_day(self.node, self.layout.rows, (), float(q))
        found = cast(found, "float32") if self.node.dtype == "float32" else found
        return Series(found, Layout("day", self._days(), levels=(DATE,)))

    def rank(
        self,
        axis: Any = 0,
        method: str = "average",
        numeric_only: bool = False,
        na_option: str = "keep",
        ascending: bool = True,
        pct: bool = False,
    ) -> Any:
        if axis not in (1, "columns"):
            looks_ahead("rank of a whole history", "a rank among later days")
        if na_option != "keep":
            unknown("rank", f"na_option={na_option}")
        found = make("day_rank", self.node, self.layout.rows, method=method, ascending=bool(ascending), pct=bool(pct))
        return Wide(found, self.layout.rows)

    def arithmetic(self, operator: str, other: Any, axis: Any, level: Any, fill_value: Any, turned: bool) -> Any:
        if isinstance(other, Series) and other.layout.kind == "day":
            if axis not in (0, "index", "rows"):
                misplaced(
                    "wide table with a series of days", "pandas aligns the days with the columns, which are stocks"
                )
            values = kept(other.node, other.layout.rows, self.layout.rows)
            other = Wide(values, self.layout.rows)
        return super().arithmetic(operator, other, axis, level, fill_value, turned)  # type: ignore[misc]

    def operand_of(self, other: Any) -> Any:
        if isinstance(other, Wide):
            return kept(other.node, other.layout.rows, self.layout.rows)
        if isinstance(other, Series) and other.layout.kind == "day":
            return unknown("a series of days beside a wide table")
        return super().operand_of(other)

    def clip(self, lower: Any = None, upper: Any = None, axis: Any = None, inplace: bool = False, **named: Any) -> Any:
        low, high = (
            Wide(kept(one.node, one.layout.rows, self.layout.rows), self.layout.rows)
            if isinstance(one, Series) and one.layout.kind == "day" and axis in (0, "index")
            else one
            for one in (lower, upper)
        )
        return super().clip(low, high, inplace=inplace)

    def apply(self, func: Any, axis: Any = 0, *arguments: Any, **named: Any) -> Any:
        """Of each stock's days; along a day's stocks with axis=1."""
        rows = self.layout.rows
        kind = "date" if axis in (1, "columns") else "stock"
        given = func(
            Series(self.node, Layout(kind, rows, levels=(STOCK if kind == "date" else DATE,))), *arguments, **named
        )
        if isinstance(given, Series) and given.layout.kind == kind:
            return Wide(given.node, given.layout.rows)
        if kind == "date" and isinstance(given, Operand):
            return Series(given.node, Layout("day", self._days(), levels=(DATE,)))
        return unknown("apply of a wide table", "the function gives neither a column nor a number")

    transform = apply

    def rolling(
        self, window: Any = None, min_periods: Any = None, center: bool = False, axis: Any = 0, **named: Any
    ) -> Any:
        if axis in (1, "columns"):
            misplaced("rolling across columns", "a window over stocks")
        return super().rolling(window, min_periods, center, **named)

    def stack(self, level: Any = -1, dropna: Any = None, future_stack: Any = None, **named: Any) -> Any:
        new = RECORD.pandas >= 3 if future_stack is None else bool(future_stack)
        if dropna is not None and new:
            raise ValueError(
                "dropna must be unspecified as the new implementation does not introduce rows of NA values."
            )
        drop = not new if dropna is None else bool(dropna)
        rows = both(self.layout.rows, negated(missing(self.node))) if drop else self.layout.rows
        return Series(self.node, Layout("table", rows, "day", KEYS))

    def unstack(self, *arguments: Any, **named: Any) -> Any:
        return Series(self.node, Layout("table", self.layout.rows, "stock", (STOCK, DATE)))

    def melt(self, *arguments: Any, **named: Any) -> Any:
        return unknown("melt")

    def corrwith(self, other: Any, axis: Any = 0, **named: Any) -> Any:
        return looks_ahead("corrwith", "a statistic of all days") if axis in (0, "index") else unknown("corrwith")

    def __getitem__(self, key: Any) -> Any:
        if key is TOKENS[STOCK]:
            return Series(self.node, Layout("stock", self.layout.rows, levels=(DATE,)))
        if isinstance(key, Wide) and key.node.dtype == "bool":
            return self.where(key)
        return unknown("a column of a wide table", "one stock is chosen by name")

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, Wide) and key.node.dtype == "bool":
            self.node = self.mask(key, value).node
        elif key is TOKENS[STOCK]:
            self.node = self.operand_of(Wide(value.node, value.layout.rows))
        else:
            unknown("a column of a wide table", "one stock is chosen by name")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("head", "tail", "describe", "info", "iloc", "loc"):
            return Opaque(f"rows of a wide table: {name}") if name not in ("iloc", "loc") else unknown(f"wide.{name}")
        return unknown(f"wide table: {name}")


class _Stocks:
    """The columns of a wide table."""

    names, name = [STOCK], STOCK

    def __iter__(self) -> Iterator[Any]:
        yield TOKENS[STOCK]
        yield TOKENS[STOCK]

    def __len__(self) -> int:
        return int(by_value("number of stocks"))


def wide(series: Series, level: Any = -1, fill_value: Any = None) -> Any:
    """``series.unstack(level)``."""
    layout = series.layout
    levels = layout.levels
    name = levels[level] if isinstance(level, int) else level
    if layout.kind != "table" or set(levels) != set(KEYS) or len(levels) != 2:
        return unknown("unstack", f"of {layout.kind} with levels {levels}")
    if name != STOCK:
        return unknown("unstack", "days as columns")
    if layout.order != "day" and layout.rows.operator != "rows":
        misplaced("unstack of rows by stock", "days that some stocks lack come after others; call sort_index() before")
    node = series.node
    if node.dtype == "bool":
        return unknown("unstack of truth values")
    if fill_value is not None:
        node = Series(kept(node, layout.rows, every_row()), layout.but(rows=every_row())).fillna(fill_value).node
    else:
        node = kept(node, layout.rows, every_row())
    return Wide(node, wide_rows(layout.rows))


def wide_rows(rows: Node) -> Node:
    """The mask of a wide table: the days that have a row."""
    if rows.operator == "rows" and rows["table"] == "bars":
        return every_row()
    return make("day", constant(True, "bool"), rows, function="any")


def pivot(frame: Frame, index: Any, columns: Any, values: Any) -> Any:
    """``frame.pivot(index, columns, values)`` to days by stocks."""
    cells = dict(frame.cells)

    def named(key: Any) -> Any:
        key = key[0] if isinstance(key, list) and len(key) == 1 else key
        return cells.get(key, key if key in frame.layout.levels else None)

    values = values[0] if isinstance(values, list) and len(values) == 1 else values
    if (named(index), named(columns)) != KEYS or not isinstance(values, str) or not isinstance(cells.get(values), Node):
        return unknown("pivot", f"of {index}, {columns}, {values}: days by stocks are expected")
    return wide(Series(cells[values], frame.layout.but(levels=KEYS, order="day")), STOCK)


CLASSES.update(wide=wide, pivot=pivot)
