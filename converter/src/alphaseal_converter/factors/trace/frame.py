"""``pandas.DataFrame``: cells by column, one layout for all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.columns import Columns
from alphaseal_converter.factors.recording.keys import Key
from alphaseal_converter.factors.recording.layout import (
    CLASSES,
    DATE,
    KEYS,
    STOCK,
    Index,
    Layout,
    Opaque,
    Token,
    place_of,
)
from alphaseal_converter.factors.recording.operands import Operand, joined
from alphaseal_converter.factors.recording.recorder import by_value, looks_ahead, misplaced, unknown
from alphaseal_converter.factors.recording.values import both, constant, dtype_of, either, is_number, missing, negated
from alphaseal_converter.factors.trace.rowwise import Rowwise
from alphaseal_converter.factors.trace.series import Array, Series, placed

Cell = Any
"""A node, or the text datetime or instrument: a key column."""


class Frame(Rowwise):
    """Columns of values under one index; names may come twice."""

    is_frame = True

    def __init__(
        self, data: Any = None, index: Any = None, columns: Any = None, dtype: Any = None, copy: Any = None
    ) -> None:
        cells, layout = _made(data, index, columns)
        self._set(cells, layout)
        if dtype is not None:
            self._take(self.astype(dtype))

    @classmethod
    def of(cls, cells: list[tuple[Any, Cell]], layout: Layout) -> Any:
        """A frame of these cells."""
        found = object.__new__(cls)
        found._set(list(cells), layout)
        return found

    def _set(self, cells: list[tuple[Any, Cell]], layout: Layout) -> None:
        object.__setattr__(self, "cells", cells)
        object.__setattr__(self, "layout", layout)

    def _take(self, other: Any) -> None:
        self._set(other.cells, other.layout)

    @property
    def node(self) -> Node:  # type: ignore[override]
        values = [cell for _, cell in self.cells if isinstance(cell, Node)]
        if len(values) != 1:
            unknown("a frame of several columns as values")
        return values[0]

    def like(self, node: Node, layout: Layout | None = None) -> Any:
        if len(self.cells) != 1:
            unknown("an operation on a whole frame")
        return Frame.of([(self.cells[0][0], node)], layout or self.layout)

    def mapped(self, function: Callable[[Node], Node]) -> Any:
        return Frame.of(
            [(name, function(cell) if isinstance(cell, Node) else cell) for name, cell in self.cells], self.layout
        )

    def under(self, layout: Layout) -> Any:
        return Frame.of(self.cells, layout)

    def _put(self, found: Any, inplace: bool) -> Any:
        if inplace:
            self._take(found)
            return None
        return found

    def hears(self, series: Series) -> None:
        """A column that was taken from here was changed in place (pandas 2)."""
        if series.layout.rows is self.layout.rows:
            self._set([(n, series.node if n == series.name else c) for n, c in self.cells], self.layout)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in [one for one, _ in self.cells]:
            return self[name]
        return unknown(f"DataFrame.{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "columns":
            names = list(value)
            if len(names) != len(self.cells):
                raise ValueError(
                    f"Length mismatch: Expected axis has {len(self.cells)} elements, new values have {len(names)} elements"
                )
            self._set([(new, cell) for new, (_, cell) in zip(names, self.cells, strict=True)], self.layout)
        elif name == "index":
            self._set(self.cells, placed(self.layout, value))
        elif name == "layout":
            self._set(self.cells, value)
        elif name in self.columns:
            self[name] = value
        elif name not in ("name", "attrs"):
            object.__setattr__(self, name, value)

    # ---- what it is

    @property
    def columns(self) -> Any:
        return Columns([name for name, _ in self.cells])

    @property
    def index(self) -> Index:
        return Index(self.layout, self)

    @property
    def shape(self) -> Any:
        return (Opaque("number of rows"), len(self.cells))

    empty = False
    dtypes = property(lambda self: Opaque("dtypes"))
    size = property(lambda self: Opaque("number of cells"))

    def __contains__(self, name: Any) -> bool:
        return name in self.columns

    def __iter__(self) -> Any:
        return iter([name for name, _ in self.cells])

    def keys(self) -> Any:
        return self.columns

    def items(self) -> Any:
        return [(name, self.column_of(name, cell)) for name, cell in self.cells]

    def __bool__(self) -> bool:
        raise ValueError("The truth value of a DataFrame is ambiguous.")

    def column_of(self, name: Any, cell: Cell) -> Any:
        if not isinstance(cell, Node):
            return Key(cell, self.layout)
        found = Series(cell, self.layout, name=name)
        found.parent = self
        return found

    def only(self, name: Any = None) -> Any:
        """Its one column of values as a series."""
        (found,) = [Series(cell, self.layout, name=label) for label, cell in self.cells if isinstance(cell, Node)]
        found.name = name
        return found

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, Operand) and key.node.dtype == "bool":
            return self.under(self.filtered(key))
        if isinstance(key, CLASSES["Chosen"]):
            return self.under(CLASSES["inside"](self.layout, key.level))
        if isinstance(key, list | Columns | np.ndarray):
            return self.columns_named(
                list(key) if not (isinstance(key, np.ndarray) and key.dtype == bool) else unknown("frame[mask]")
            )
        if isinstance(key, slice):
            return self if key == slice(None) else unknown("frame[a:b]", "rows are chosen by position or label")
        found = [(name, cell) for name, cell in self.cells if name == key]
        if not found:
            raise KeyError(key)
        return self.column_of(*found[0]) if len(found) == 1 else Frame.of(found, self.layout)

    def columns_named(self, names: list[Any]) -> Any:
        cells = []
        for name in names:
            found = [(label, cell) for label, cell in self.cells if label == name]
            if not found:
                raise KeyError(f"{[name]} not in index")
            cells += found
        return Frame.of(cells, self.layout)

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key] if key in self.columns else default

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, list):
            parts = value.items() if isinstance(value, Frame) else None
            if parts is None or len(parts) != len(key):
                unknown("several columns set at once")
            for name, (_, part) in zip(key, parts, strict=True):
                self[name] = part
            return
        if isinstance(key, Operand):
            unknown("frame[condition] =")
        cell = self._cell(value)
        if key in self.columns:
            self._set([(name, cell if name == key else old) for name, old in self.cells], self.layout)
        else:
            self._set([*self.cells, (key, cell)], self.layout)

    def _cell(self, value: Any) -> Cell:
        if isinstance(value, Frame) and len(value.cells) == 1:
            value = Series(value.node, value.layout)
        if isinstance(value, Key):
            return value.name if value.layout.same_rows(self.layout) else misplaced("key column", "of other rows")
        if isinstance(value, Token):
            return value.level
        if isinstance(value, str):
            return unknown("column of a text")
        found = self.operand_of(value)
        if isinstance(found, Node):
            if isinstance(value, Series) and found.dtype == "bool" and value.layout.rows is not self.layout.rows:
                unknown("truth values with missing rows put into a frame", "pandas makes objects of it")
            return found
        return constant(found, dtype_of(found))

    def insert(self, loc: int, column: Any, value: Any) -> None:
        self[column] = value

    def assign(self, **columns: Any) -> Any:
        found = self.copy()
        for name, value in columns.items():
            found[name] = value(found) if callable(value) else value
        return found

    # ---- columns

    def rename(
        self,
        mapper: Any = None,
        index: Any = None,
        columns: Any = None,
        axis: Any = None,
        inplace: bool = False,
        **named: Any,
    ) -> Any:
        new = columns if columns is not None else mapper if axis in (1, "columns") else None
        if new is None:
            return unknown("rename of rows")
        cells = [(new(name) if callable(new) else new.get(name, name), cell) for name, cell in self.cells]
        return self._put(Frame.of(cells, self.layout), inplace)

    def drop(
        self,
        labels: Any = None,
        axis: Any = 0,
        index: Any = None,
        columns: Any = None,
        inplace: bool = False,
        errors: str = "raise",
        **named: Any,
    ) -> Any:
        gone = columns if columns is not None else labels if axis in (1, "columns") else None
        if gone is None:
            return unknown("drop of rows")
        gone = [gone] if isinstance(gone, str) else list(gone)
        if errors == "raise" and any(name not in self.columns for name in gone):
            raise KeyError(f"{gone} not found in axis")
        return self._put(Frame.of([(n, c) for n, c in self.cells if n not in gone], self.layout), inplace)

    def pop(self, name: Any) -> Any:
        found = self[name]
        self.drop(columns=[name], inplace=True)
        return found

    def filter(self, items: Any = None, like: Any = None, regex: Any = None, axis: Any = None) -> Any:
        if items is None:
            return unknown("DataFrame.filter")
        return self.columns_named([name for name in items if name in self.columns])

    def select_dtypes(self, *arguments: Any, **named: Any) -> Any:
        return unknown("select_dtypes")

    def astype(self, kind: Any, copy: Any = None, errors: str = "raise") -> Any:
        if not isinstance(kind, dict):
            return super().astype(kind)
        return Frame.of(
            [
                (name, self[name].astype(kind[name]).node if name in kind and isinstance(cell, Node) else cell)
                for name, cell in self.cells
            ],
            self.layout,
        )

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            cells = [
                (name, Series(cell, self.layout).fillna(value[name]).node if name in value else cell)
                for name, cell in self.cells
            ]
            return Frame.of(cells, self.layout)
        return super()._filled(value)

    def squeeze(self, axis: Any = None) -> Any:
        return self[self.cells[0][0]] if len(self.cells) == 1 else self

    @property
    def values(self) -> Any:
        if len(self.cells) == 1:
            return unknown("values of a frame", "it has two dimensions; take those of a column")
        return unknown("values of a frame")

    def to_numpy(self, *arguments: Any, **named: Any) -> Any:
        return self.values

    # ---- rows

    def dropna(
        self,
        axis: Any = 0,
        how: Any = None,
        subset: Any = None,
        inplace: bool = False,
        thresh: Any = None,
        **named: Any,
    ) -> Any:
        if axis in (1, "columns") or thresh is not None:
            return unknown("dropna", "of columns, or with thresh")
        names = [subset] if isinstance(subset, str) else list(self.columns if subset is None else subset)
        cells = []
        for name in names:
            if name not in self.columns:
                raise KeyError([name])
            cells += [cell for label, cell in self.cells if label == name and isinstance(cell, Node)]
        there = [negated(missing(cell)) for cell in cells if cell.dtype != "text"]
        rows = self.layout.rows
        if there:
            rows = both(rows, reduce(either if how == "all" else both, there))
        return self._put(self.under(self.layout.but(rows=rows)), inplace)

    def reset_index(
        self, level: Any = None, drop: bool = False, inplace: bool = False, names: Any = None, **named: Any
    ) -> Any:
        levels = self.layout.levels
        places = range(len(levels)) if level is None else sorted(
            place_of(self.layout, one) for one in (level if isinstance(level, list | tuple) else [level]))  # fmt: skip
        left = tuple(name for place, name in enumerate(levels) if place not in places)
        gone = [levels[place] for place in places]
        added = [] if drop else [(name, name) for name in gone if name]
        if not drop and ((any(not name for name in gone) and left) or len({n for n, _ in added} & set(self.columns))):
            unknown("reset_index", f"levels {gone} become columns")
        if (
            drop
            and not left
            and self.layout.kind == "table"
            and levels != ("",)
            and not {DATE, STOCK} <= {c for _, c in self.cells if isinstance(c, str)}
        ):
            unknown("reset_index(drop=True)", "the rows do not know their day and stock any more")
        layout = self.layout.but(levels=left or ("",), labels=self.layout.labels if left else object())
        if drop and levels == ("",):
            layout = self.layout.but(labels=object())
        return self._put(Frame.of([*added, *self.cells], layout), inplace)

    def set_index(self, keys: Any, drop: bool = True, append: bool = False, inplace: bool = False, **named: Any) -> Any:
        if isinstance(keys, Index):
            return self._put(self.under(placed(self.layout, keys)), inplace)
        names = [keys] if isinstance(keys, str) else list(keys)
        cells = dict(self.cells)
        levels = tuple(cells.get(name) for name in names)
        if append or not all(isinstance(one, str) for one in levels):
            unknown("set_index", f"of {names}")
        if self.layout.kind == "table" and set(levels) != set(KEYS):
            unknown("set_index", f"the rows are known by {names} alone then")
        left = [(name, cell) for name, cell in self.cells if not drop or name not in names]
        return self._put(Frame.of(left, self.layout.but(levels=levels, labels=None)), inplace)

    def sort_values(self, by: Any, axis: Any = 0, ascending: Any = True, inplace: bool = False, **named: Any) -> Any:
        names = [by] if isinstance(by, str) else list(by)
        cells = dict(self.cells)
        levels = [cells.get(name, name if name in self.layout.levels else None) for name in names]
        if any(not isinstance(one, str) for one in levels):
            return unknown("sort_values", f"by {names}: rows are ordered by value")
        found = self._sorted(tuple(levels), ascending)
        if levels == [STOCK] and self.layout.kind == "table" and named.get("kind") not in ("stable", "mergesort"):
            # The default algorithm leaves the days of a stock in no certain order.
            found = found.under(found.layout.but(order="unknown"))
        if named.get("ignore_index"):
            found = found.under(found.layout.but(labels=object()))
        return self._put(found, inplace)

    def drop_duplicates(self, subset: Any = None, **named: Any) -> Any:
        names = set(self.columns if subset is None else [subset] if isinstance(subset, str) else subset)
        keys = {cell for name, cell in self.cells if name in names and isinstance(cell, str)}
        if set(KEYS) <= keys:
            return self
        return unknown("drop_duplicates")

    def xs(self, key: Any, axis: Any = 0, level: Any = None, drop_level: bool = True) -> Any:
        return CLASSES["xs"](self, key, level, drop_level)

    @property
    def loc(self) -> Any:
        return CLASSES["Loc"](self)

    at = loc

    @property
    def iloc(self) -> Any:
        return _Places(self)

    def query(self, expression: str, **named: Any) -> Any:
        return unknown("DataFrame.query")

    def eval(self, expression: str, **named: Any) -> Any:
        return unknown("DataFrame.eval")

    # ---- statistics

    def _across(self, function: str, axis: Any, skipna: bool = True, **parameters: Any) -> Any:
        """Of the columns of a row; of all rows it looks ahead."""
        if axis not in (1, "columns"):
            if self.layout.kind == "stock":
                looks_ahead(
                    f"{function} of a whole history",
                    "a statistic of all rows of a stock, those of later days among them",
                )
            return Opaque(f"{function} of all rows")
        if not skipna:
            unknown(f"{function}(axis=1)", "with skipna=False")
        return CLASSES["across_columns"](self, function, **parameters)

    def mean(self, axis: Any = 0, skipna: bool = True, **named: Any) -> Any:
        return self._across("mean", axis, skipna)

    def sum(self, axis: Any = 0, skipna: bool = True, min_count: int = 0, **named: Any) -> Any:
        return self._across("sum", axis, skipna, least=int(min_count))

    def max(self, axis: Any = 0, skipna: bool = True, **named: Any) -> Any:
        return self._across("max", axis, skipna)

    def min(self, axis: Any = 0, skipna: bool = True, **named: Any) -> Any:
        return self._across("min", axis, skipna)

    def std(self, axis: Any = 0, skipna: bool = True, ddof: int = 1, **named: Any) -> Any:
        return self._across("std", axis, skipna, ddof=ddof)

    def var(self, axis: Any = 0, skipna: bool = True, ddof: int = 1, **named: Any) -> Any:
        return self._across("var", axis, skipna, ddof=ddof)

    def count(self, axis: Any = 0, **named: Any) -> Any:
        return self._across("count", axis)

    def _all_rows(self, *arguments: Any, **named: Any) -> Any:
        return Opaque("rows of a frame")

    head = tail = describe = info = memory_usage = nunique = sample = corr = any = all = median = _all_rows

    def rank(self, axis: Any = 0, **named: Any) -> Any:
        if axis in (1, "columns") or self.layout.kind != "date":
            return unknown("DataFrame.rank")
        return Frame.of(
            [(n, self[n].rank(**named).node if isinstance(c, Node) else c) for n, c in self.cells], self.layout
        )

    def apply(
        self, func: Any, axis: Any = 0, raw: bool = False, result_type: Any = None, args: Any = (), **named: Any
    ) -> Any:
        if axis in (1, "columns"):
            return CLASSES["by_row"](self, func, args, named)
        cells = []
        for name, cell in self.cells:
            given = func(self.column_of(name, cell), *args, **named)
            if not isinstance(given, Series):
                unknown("DataFrame.apply", "the function gives no column")
            cells.append((name, self.operand_of(given)))
        return Frame.of(cells, self.layout)

    def transform(self, func: Any, axis: Any = 0, *args: Any, **named: Any) -> Any:
        return self.apply(func, axis, args=args, **named)

    def pipe(self, function: Any, *arguments: Any, **named: Any) -> Any:
        return function(self, *arguments, **named)

    def groupby(
        self, by: Any = None, level: Any = None, axis: Any = 0, sort: bool = True, group_keys: bool = True, **named: Any
    ) -> Any:
        return CLASSES["group"](self, by, level, sort, group_keys, named)

    def merge(self, right: Any, **named: Any) -> Any:
        return CLASSES["merge"](self, right, **named)

    def join(
        self, other: Any, on: Any = None, how: str = "left", lsuffix: str = "", rsuffix: str = "", **named: Any
    ) -> Any:
        return CLASSES["join"](self, other, on, how, lsuffix, rsuffix)

    def pivot(self, *, columns: Any = None, index: Any = None, values: Any = None) -> Any:
        return CLASSES["pivot"](self, index, columns, values)

    def pivot_table(
        self, values: Any = None, index: Any = None, columns: Any = None, aggfunc: Any = "mean", **named: Any
    ) -> Any:
        return CLASSES["pivot"](self, index, columns, values)

    def unstack(self, level: Any = -1, fill_value: Any = None, **named: Any) -> Any:
        if len(self.cells) != 1:
            return unknown("unstack of several columns")
        return unknown("unstack of a frame", "unstack a column")

    def stack(self, *arguments: Any, **named: Any) -> Any:
        return unknown("stack of a frame")

    def to_hdf(self, path: Any, key: Any = None, **named: Any) -> None:
        CLASSES["write"](path, self)

    def equals(self, other: Any) -> bool:
        return bool(by_value("DataFrame.equals"))

    # ---- operators of all columns

    def unary_of(self, name: str) -> Any:
        return self.mapped(lambda node: Series(node, self.layout).unary_of(name).node)


class _Places:
    """``frame.iloc``."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple) and key[0] == slice(None):
            cells = self.frame.cells[key[1]]
            return Frame.of(cells, self.frame.layout) if isinstance(cells, list) else self.frame.column_of(*cells)
        if self.frame.layout.kind in ("stock", "table"):
            looks_ahead("iloc of rows", "a row chosen by position among all rows")
        return unknown("frame.iloc")


def _made(data: Any, index: Any, columns: Any) -> tuple[list[tuple[Any, Cell]], Layout]:
    """``pandas.DataFrame(data, index, columns)``."""
    if isinstance(data, Frame):
        found = data if columns is None else data.columns_named(list(columns))
        if index is not None:
            found = found.reindex(index)
        return list(found.cells), found.layout
    if isinstance(data, Series):
        if columns is not None and data.name is not None and list(columns) != [data.name]:
            unknown("DataFrame(series, columns=[another name])", "it gives missing values")
        series = data if index is None else Series(data, index=index)
        return [
            (next(iter(columns)) if columns is not None else 0 if data.name is None else data.name, series.node)
        ], series.layout
    if isinstance(data, dict):
        return _of_columns(data, index, columns)
    if data is None and isinstance(index, Index):
        nan = constant(float("nan"), "float64")
        return [(name, nan) for name in (columns if columns is not None else [])], index.layout
    if isinstance(data, Array) and isinstance(index, Index) and columns is not None and len(list(columns)) == 1:
        return [(next(iter(columns)), data.node)], placed(data.layout, index)
    if is_number(data) and isinstance(index, Index) and columns is not None:
        return [(name, constant(data, dtype_of(data))) for name in columns], index.layout
    return unknown(f"DataFrame of {type(data).__name__}")


def _of_columns(data: Any, index: Any, columns: Any) -> tuple[list[tuple[Any, Cell]], Layout]:
    if columns is not None and list(columns) != list(data):
        unknown("DataFrame(dict, columns)")
    values = list(data.values())
    series = [one for one in values if isinstance(one, Series)]
    if isinstance(index, Index):
        layout = index.layout
    elif series:
        layout = joined(series, lambda nodes: nodes[0]).layout if len(series) > 1 else series[0].layout
    elif keys := [one for one in values if isinstance(one, Key)]:
        layout = keys[0].layout.but(levels=("",), labels=object())
    else:
        return unknown("DataFrame of constants or arrays without index")
    frame = Frame.of([], layout)
    for name, one in data.items():
        frame[name] = Array(one.node, layout) if isinstance(one, Array) and one.layout.same_rows(layout) else one
    return frame.cells, layout


CLASSES["Frame"] = Frame
