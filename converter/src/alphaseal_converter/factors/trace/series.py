"""Series, arrays and single values: what runs as ``pandas.Series`` and ``numpy.ndarray``."""

from __future__ import annotations

from typing import Any

import numpy as np

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.layout import CLASSES, Index, Layout, Opaque
from alphaseal_converter.factors.recording.operands import CLASSES_OF_ARRAYS, Operand, joined
from alphaseal_converter.factors.recording.quantiles import quantile_of_day, rounded_where_lacking
from alphaseal_converter.factors.recording.recorder import (
    RECORD,
    along_paths,
    by_value,
    looks_ahead,
    make,
    misplaced,
    unbounded,
    unknown,
)
from alphaseal_converter.factors.recording.values import (
    both,
    cast,
    constant,
    dtype_named,
    floating,
    is_number,
    kept,
    missing,
    negated,
    where,
)
from alphaseal_converter.factors.trace.rowwise import Rowwise

_WHOLE = (
    "argmax",
    "argmin",
    "idxmax",
    "idxmin",
    "mode",
    "kurt",
    "kurtosis",
    "sem",
    "autocorr",
    "prod",
    "nlargest",
    "nsmallest",
)
_STATISTICS = ("mean", "sum", "std", "var", "median", "min", "max", "count", "quantile", "skew")


class Single(Operand):
    """A number of a row, a day or a window, in a function that is followed."""

    def __init__(self, node: Node, layout: Layout) -> None:
        self.node, self.layout = node, layout

    def like(self, node: Node, layout: Layout | None = None) -> Any:
        return Single(node, layout or self.layout)

    def astype(self, kind: Any) -> Any:
        return self.like(cast(self.node, dtype_named(kind)))

    def item(self) -> Any:
        return self

    def is_integer(self) -> bool:
        return bool(by_value("whether a value is whole"))

    def __round__(self, decimals: int = 0) -> Any:
        return unknown("round of a value")


class Array(Operand):
    """Values by position."""

    def __init__(self, node: Node, layout: Layout) -> None:
        self.node, self.layout = node, layout

    def like(self, node: Node, layout: Layout | None = None) -> Any:
        return Array(node, layout or self.layout)

    def astype(self, kind: Any, **named: Any) -> Any:
        return self.like(cast(self.node, dtype_named(kind)))

    def _same(self, *arguments: Any, **named: Any) -> Any:
        return self.like(self.node)

    copy = flatten = ravel = squeeze = to_numpy = _same

    def reshape(self, *shape: Any) -> Any:
        return self if shape in ((-1,), ((-1,),)) else unknown("array.reshape")

    @property
    def values(self) -> Any:
        return self

    @property
    def dtype(self) -> Any:
        return np.dtype(self.node.dtype)

    @property
    def shape(self) -> Any:
        return (Opaque("number of rows"),)

    size = property(lambda self: Opaque("number of rows"))

    def __getitem__(self, key: Any) -> Any:
        return unknown("array[...]", "single positions of an array of all rows")

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, Operand) or key.node.dtype != "bool":
            unknown("array[...] =", "single positions of an array of all rows")
        self.node = joined([key, value, self], lambda values: where(values[0], values[1], values[2]), own=False).node

    def clip(self, low: Any = None, high: Any = None, **named: Any) -> Any:
        return np.clip(self, low, high)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _STATISTICS or name in ("any", "all"):
            return getattr(Series(self.node, self.layout), name)
        return unknown(f"array.{name}")


CLASSES["Array"], CLASSES_OF_ARRAYS["array"] = Array, Array


class Series(Rowwise):
    """One column of values with an index."""

    labelled = True
    parent: Any = None
    """The frame that it was taken from, where a change of it changes the frame (pandas 2)."""

    def __init__(
        self, data: Any = None, index: Any = None, dtype: Any = None, name: Any = None, copy: Any = None
    ) -> None:
        if isinstance(data, Node):
            node, layout = data, index
        else:
            node, layout = _made(data, index)
            if name is None and isinstance(data, Series):
                name = data.name
        if dtype is not None and dtype not in ("object", object):
            node = cast(node, dtype_named(dtype))
        self.node, self.layout, self.name = node, layout, name

    def like(self, node: Node, layout: Layout | None = None) -> Any:
        return Series(node, layout or self.layout, name=self.name)

    def mapped(self, function: Any) -> Any:
        return self.like(function(self.node))

    def _put(self, found: Any, inplace: bool) -> Any:
        """A result, or the change of this object."""
        if not inplace:
            return found
        self.node, self.layout = found.node, found.layout
        self._tell_parent()
        return None

    def _tell_parent(self) -> None:
        if self.parent is not None and RECORD.pandas < 3:
            self.parent.hears(self)

    # ---- index

    @property
    def index(self) -> Index:
        return Index(self.layout, self)

    @index.setter
    def index(self, index: Any) -> None:
        self.layout = placed(self.layout, index)

    @property
    def values(self) -> Array:
        return Array(self.node, self.layout)

    def to_numpy(self, dtype: Any = None, **named: Any) -> Array:
        return self.values if dtype is None else self.values.astype(dtype)

    @property
    def dtype(self) -> Any:
        return np.dtype(object) if self.node.dtype == "text" else np.dtype(self.node.dtype)

    dtypes = dtype
    empty = False

    @property
    def shape(self) -> Any:
        return (Opaque("number of rows"),)

    size = property(lambda self: Opaque("number of rows"))

    def to_frame(self, name: Any = None) -> Any:
        return CLASSES["Frame"].of([(self.name if name is None else name, self.node)], self.layout)

    def rename(self, index: Any = None, inplace: bool = False, **named: Any) -> Any:
        found = self.like(self.node)
        if index is not None and (callable(index) or isinstance(index, dict)):
            unknown("Series.rename of rows")
        found.name = index
        if inplace:
            self.name = index
        return None if inplace else found

    def reset_index(self, level: Any = None, drop: bool = False, name: Any = None, inplace: bool = False) -> Any:
        found = self.to_frame(name if name is not None else self.name if self.name is not None else 0)
        found = found.reset_index(level=level, drop=drop)
        return found if not drop else self._put(found.only(self.name), inplace)

    def dropna(self, axis: Any = 0, inplace: bool = False, how: Any = None, **named: Any) -> Any:
        rows = both(self.layout.rows, negated(missing(self.node)))
        return self._put(self.like(self.node, self.layout.but(rows=rows)), inplace)

    def xs(self, key: Any, axis: Any = 0, level: Any = None, drop_level: bool = True) -> Any:
        return CLASSES["xs"](self, key, level, drop_level)

    def unstack(self, level: Any = -1, fill_value: Any = None, **named: Any) -> Any:
        return CLASSES["wide"](self, level, fill_value)

    def sort_values(self, *arguments: Any, **named: Any) -> Any:
        return unknown("sort_values of values", "rows are ordered by value")

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, Operand) and key.node.dtype == "bool":
            return self.like(self.node, self.filtered(key))
        if isinstance(key, CLASSES["Chosen"]):
            return self.like(self.node, CLASSES["inside"](self.layout, key.level))
        if isinstance(key, slice) and key == slice(None):
            return self
        return (
            self.iloc[key] if isinstance(key, int) else unknown("Series[...]", "rows are chosen by label or position")
        )

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, Operand) or key.node.dtype != "bool":
            unknown("Series[...] =", "rows are chosen by label or position")
        condition = kept(self.operand_of(key), getattr(key, "layout", self.layout).rows, self.layout.rows)
        self.node = where(condition, self.operand_of(value), self.node)
        self._tell_parent()

    @property
    def loc(self) -> Any:
        return CLASSES["Loc"](self)

    at = loc

    @property
    def iloc(self) -> Any:
        return _Positions(self)

    def apply(self, function: Any, convert_dtype: Any = None, args: Any = (), by_row: Any = None, **named: Any) -> Any:
        """Of each value, along all ways through its conditions."""
        if isinstance(function, np.ufunc):
            return function(self)
        if isinstance(function, str):
            return getattr(self, function)(*args, **named)
        layout = self.layout.but(kind="value")
        # pandas makes Python's numbers of the values.
        node = cast(self.node, "float64") if self.node.dtype == "float32" else self.node
        given = along_paths(lambda: function(Single(node, layout), *args, **named), _either_single)
        return self.like(_single(given))

    def map(self, function: Any, na_action: Any = None) -> Any:
        if not callable(function) or na_action is not None:
            return unknown("Series.map of a table")
        return self.apply(function)

    def pipe(self, function: Any, *arguments: Any, **named: Any) -> Any:
        return function(self, *arguments, **named)

    transform = agg = aggregate = apply

    # ---- statistics of all of it

    def statistic(self, function: str, **parameters: Any) -> Any:
        """Of the rows of a group; over a whole table or a stock's history it looks ahead."""
        kind = self.layout.kind
        if kind == "date":
            rows, keys = self.layout.rows, self.layout.keys
            if function == "quantile":
                node = quantile_of_day(self.node, rows, keys, **parameters)
                if self.node.dtype == "float32":
                    node = rounded_where_lacking(node, self.node, rows, keys)
            else:
                node = make("day", of_day(self.node, function), rows, *keys, function=function, **parameters)
                node = cast(node, "int64") if function == "count" else node
            return Single(node, self.layout.but(kind="date"))
        if kind in {"stock", "day"}:
            looks_ahead(
                f"{function} of a whole history", "a statistic of all rows of a stock, those of later days among them"
            )
        return Opaque(f"{function} of all rows")

    def mean(self, axis: Any = None, skipna: bool = True, **named: Any) -> Any:
        return self.statistic("mean") if skipna else unknown("skipna=False")

    def sum(self, axis: Any = None, skipna: bool = True, min_count: int = 0, **named: Any) -> Any:
        return self.statistic("sum") if skipna and not min_count else unknown("sum", "with skipna or min_count")

    def std(self, axis: Any = None, skipna: bool = True, ddof: int = 1, **named: Any) -> Any:
        return self.statistic("std", ddof=ddof)

    def var(self, axis: Any = None, skipna: bool = True, ddof: int = 1, **named: Any) -> Any:
        return self.statistic("var", ddof=ddof)

    def median(self, axis: Any = None, skipna: bool = True, **named: Any) -> Any:
        return self.statistic("median")

    def min(self, axis: Any = None, skipna: bool = True, **named: Any) -> Any:
        return self.statistic("min")

    def max(self, axis: Any = None, skipna: bool = True, **named: Any) -> Any:
        return self.statistic("max")

    def count(self, *arguments: Any) -> Any:
        return self.statistic("count")

    def skew(self, axis: Any = None, skipna: bool = True, **named: Any) -> Any:
        return self.statistic("skew")

    def quantile(self, q: Any = 0.5, interpolation: str = "linear") -> Any:
        if not is_number(q) or interpolation != "linear":
            unknown("quantile", "of several shares, or not linear")
        return self.statistic("quantile", share=float(q))

    def any(self, *arguments: Any, **named: Any) -> Any:
        return self._test("any")

    def all(self, *arguments: Any, **named: Any) -> Any:
        return self._test("all")

    def _test(self, function: str) -> Any:
        if self.layout.kind == "date":
            if function == "all":
                return ~Series(make("not", cast(self.node, "bool")), self.layout).any()
            return Single(
                make("day", cast(self.node, "bool"), self.layout.rows, *self.layout.keys, function="any"), self.layout
            )
        return Opaque(f"{function} of all rows")

    def nunique(self, *arguments: Any, **named: Any) -> Any:
        return Opaque("number of different values")

    unique = value_counts = describe = head = sample = info = nunique

    def tail(self, *arguments: Any) -> Any:
        return Opaque("last rows")

    def rank(
        self, axis: Any = 0, method: str = "average", numeric_only: bool = False, na_option: str = "keep",
        ascending: bool = True, pct: bool = False,
    ) -> Any:  # fmt: skip
        kind = self.layout.kind
        if kind == "date":
            if na_option != "keep":
                unknown("rank", f"na_option={na_option}")
            return self.like(
                make(
                    "day_rank", self.node, self.layout.rows, *self.layout.keys,
                    method=method, ascending=bool(ascending), pct=bool(pct),
                )
            )  # fmt: skip
        return looks_ahead("rank of all rows", "a rank among rows of later days")

    def corr(self, other: Any, method: str = "pearson", min_periods: Any = None) -> Any:
        return self._pair("corr", other, method, min_periods)

    def cov(self, other: Any, min_periods: Any = None, ddof: int = 1) -> Any:
        return self._pair("cov", other, "pearson", min_periods, ddof=ddof)

    def _pair(self, function: str, other: Any, method: str, least: Any, **parameters: Any) -> Any:
        if self.layout.kind != "date" or self.layout.keys or method != "pearson" or least is not None:
            return unknown(f"Series.{function}", "over all rows, or of another method")
        pair = joined([self, other], lambda values: values[1])
        left, right = floating(self.node), floating(pair.node)
        left, right = cast(left, "float64"), cast(right, "float64")
        return Single(make("day_pair", left, right, pair.layout.rows, function=function, **parameters), self.layout)

    def _no_rows(self, name: str) -> Any:
        return unbounded(name)

    def groupby(
        self, by: Any = None, level: Any = None, axis: Any = 0, sort: bool = True, group_keys: bool = True, **named: Any
    ) -> Any:
        return CLASSES["group"](self, by, level, sort, group_keys)

    def to_hdf(self, path: Any, key: Any = None, **named: Any) -> None:
        self.to_frame().to_hdf(path, key=key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _WHOLE and self.layout.kind in ("table", "stock", "day"):
            looks_ahead(f"{name} of a whole history", "a statistic of all rows, those of later days among them")
        return unknown(f"Series.{name}")


CLASSES["Series"] = Series


class _Positions:
    """``Series.iloc``."""

    def __init__(self, series: Series) -> None:
        self.series = series

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice) and key == slice(None):
            return self.series
        if self.series.layout.kind in ("stock", "table", "day"):
            if isinstance(key, int) and key >= 0:
                unbounded("iloc of the first rows")
            looks_ahead("iloc of the last rows", "a value of the last day goes into values of days before")
        return unknown("iloc")

    def __setitem__(self, key: Any, value: Any) -> None:
        if self.series.layout.kind in ("stock", "table"):
            unbounded("iloc of the first rows")
        unknown("iloc =")


def of_day(node: Node, function: str) -> Node:
    """What a statistic of a day is taken of: quantiles of float32 lie between its values, in float64."""
    if node.dtype == "bool" and function not in ("count", "any"):
        node = cast(node, "int64")
    return cast(node, "float64") if function == "quantile" else node


def _made(data: Any, index: Any) -> tuple[Node, Layout]:
    """``pandas.Series(data, index)``."""
    if isinstance(data, Series):
        if index is None:
            return data.node, data.layout
        layout = index.layout
        if not layout.same_labels(data.layout):
            unknown("Series(series, index)", "of another kind of index")
        return kept(data.node, data.layout.rows, layout.rows), layout
    if isinstance(data, Array):
        if index is None:
            return data.node, data.layout.but(levels=("",), labels=object())
        return data.node, placed(data.layout, index)
    if isinstance(data, Single) and index is not None:
        return data.node, index.layout
    if (data is None or is_number(data)) and isinstance(index, Index):
        value = float("nan") if data is None else data
        return constant(
            value, dtype_named(type(value)) if not isinstance(value, np.generic) else str(value.dtype)
        ), index.layout
    if isinstance(data, np.ndarray):
        return unknown("Series of an array of constants")
    return unknown(f"Series of {type(data).__name__}")


def placed(layout: Layout, index: Any) -> Layout:
    """The layout of values by position under a new index."""
    if not isinstance(index, Index):
        if isinstance(index, CLASSES["Key"]) and layout.kind in ("stock", "date") and index.layout.same_rows(layout):
            return layout.but(levels=(index.name,))
        return unknown("index =", f"of kind {type(index).__name__}")
    if not layout.same_rows(index.layout):
        misplaced("values under another index", "positions of the values and of the index mean different rows")
    return index.layout


def _either_single(condition: Node, yes: Any, no: Any) -> Any:
    return where(condition, _single(yes), _single(no))


def _single(given: Any) -> Node:
    """The node of what a function of single values gave."""
    if isinstance(given, Node):
        return given
    if isinstance(given, Single):
        return given.node
    if given is None:
        return constant(float("nan"), "float64")
    if is_number(given):
        return constant(given, "bool" if isinstance(given, bool) else "int64" if isinstance(given, int) else "float64")
    return unknown(f"a function of values that gives {type(given).__name__}")
