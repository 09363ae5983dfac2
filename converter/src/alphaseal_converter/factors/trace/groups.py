"""``groupby`` of stocks and of days, loops over groups, aggregation by day."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.keys import Key, inside
from alphaseal_converter.factors.recording.layout import CLASSES, DATE, KEYS, STOCK, TOKENS, Layout, Opaque
from alphaseal_converter.factors.recording.operands import Operand
from alphaseal_converter.factors.recording.recorder import (
    RECORD,
    along_paths,
    looks_ahead,
    make,
    misplaced,
    unbounded,
    unknown,
)
from alphaseal_converter.factors.recording.values import cast, constant, is_number, kept, where
from alphaseal_converter.factors.trace.frame import Frame
from alphaseal_converter.factors.trace.rowwise import DEFAULT
from alphaseal_converter.factors.trace.series import Array, Series, Single, of_day

STATISTICS: Final = ("mean", "sum", "std", "var", "median", "min", "max", "count", "quantile", "skew")


def group(owner: Any, by: Any, level: Any, sort: bool = True, group_keys: bool = True, named: Any = None) -> Any:
    """``owner.groupby(…)``."""
    layout: Layout = owner.layout
    if layout.kind not in ("table", "stock", "date"):
        unknown("groupby", f"of {layout.kind}")
    wanted = by if by is not None else level
    keys = [_key(owner, one, by is None) for one in (wanted if isinstance(wanted, list | tuple) else [wanted])]
    names = [one for one in keys if isinstance(one, str)]
    others = tuple(one for one in keys if isinstance(one, Node))
    if layout.kind == "date" and not names:
        names = [DATE]
    if names == [STOCK] and not others:
        return Group(owner, STOCK, (), group_keys, _named(owner, wanted))
    if names == [DATE]:
        return Group(owner, DATE, others, group_keys, _named(owner, wanted))
    if others and not names:
        looks_ahead("groupby of values", "rows of all days are put together")
    return unknown("groupby", f"of {names or 'nothing'}{' and values' if others else ''}")


def _named(owner: Any, wanted: Any) -> tuple[str, ...]:
    """Columns that pandas 3 leaves out of what a function gets."""
    wanted = wanted if isinstance(wanted, list | tuple) else [wanted]
    if not isinstance(owner, Frame):
        return ()
    return tuple(one for one in wanted if isinstance(one, str) and one in owner.columns)


def _key(owner: Any, key: Any, is_level: bool) -> Any:
    """datetime, instrument, or a node of values."""
    levels = owner.layout.levels
    if isinstance(key, Key):
        if not key.layout.same_rows(owner.layout) and key.layout.rows is not owner.layout.rows:
            misplaced("groupby", "the keys are of other rows")
        return key.name
    if isinstance(key, Grouper):
        return _key(owner, key.name, key.is_level)
    if isinstance(key, int) and not isinstance(key, bool) and is_level:
        key = levels[key]
        return key if key in KEYS else unknown("groupby of range labels")
    if isinstance(key, str):
        if not is_level and isinstance(owner, Frame) and key in owner.columns:
            return dict(owner.cells)[key]
        if key in levels and key in KEYS:
            return key
        raise KeyError(key)
    if isinstance(key, Operand):
        return owner.operand_of(key)
    return unknown("groupby", f"of {type(key).__name__}")


class Grouper:
    """``pandas.Grouper`` of a level or column."""

    def __init__(self, key: Any = None, level: Any = None, freq: Any = None, **named: Any) -> None:
        if freq is not None or named:
            unknown("Grouper", "of a frequency: another time axis is not followed")
        self.name, self.is_level = (level, True) if key is None else (key, False)


class Group:
    """The groups of a series or a frame: all stocks, or all days (and further keys of them)."""

    def __init__(
        self, owner: Any, by: str, keys: tuple[Node, ...], group_keys: bool, gone: tuple[str, ...] = ()
    ) -> None:
        self.owner, self.by, self.keys, self.group_keys, self.gone = owner, by, keys, group_keys, gone

    @property
    def is_frame(self) -> bool:
        return isinstance(self.owner, Frame)

    def inner(self) -> Any:
        """What a function gets: the rows of whichever group."""
        layout = inside(self.owner.layout, self.by).but(keys=self.keys)
        return self.owner.under(layout)

    def outer(self, found: Any) -> Any:
        """Results of all groups on the rows as they were."""
        mine = self.owner.layout
        return found.under(found.layout.but(kind=mine.kind, order=mine.order, keys=mine.keys))

    def _prefixed(self, found: Any) -> Any:
        """Results under the groups' key and their own index."""
        order = "stock" if self.by == STOCK else "day"
        levels = (self.by, *found.layout.levels)
        return found.under(
            found.layout.but(kind=self.owner.layout.kind, order=order, levels=levels, keys=self.owner.layout.keys)
        )

    def __getitem__(self, key: Any) -> Any:
        if not self.is_frame:
            raise KeyError(key)
        chosen = self.owner[list(key) if isinstance(key, list | tuple) else key]
        if isinstance(chosen, Key):
            return _KeyGroup(self)
        return Group(chosen, self.by, self.keys, self.group_keys)

    def __iter__(self) -> Iterator[Any]:
        if self.keys:
            unknown("loop over groups of two keys")
        for _ in range(2):
            # Twice: what is carried from one round to the next makes the pieces different, and is refused by concat.
            yield TOKENS[self.by], self.inner()

    def _each(self, name: str, *arguments: Any, **named: Any) -> Any:
        inner = self.inner()
        if self.is_frame:
            values = [(n, c) for n, c in inner.cells if isinstance(c, Node) and n not in self.gone]
            inner = Frame.of(values, inner.layout)
            if name == "rank":
                return self.outer(
                    Frame.of([(n, inner[n].rank(*arguments, **named).node) for n, _ in values], inner.layout)
                )
        return self.outer(getattr(inner, name)(*arguments, **named))

    def shift(self, periods: Any = 1, freq: Any = None, axis: Any = 0, fill_value: Any = None, **named: Any) -> Any:
        return self._each("shift", periods, freq, axis, fill_value, **named)

    def diff(self, periods: Any = 1, axis: Any = 0) -> Any:
        return self._each("diff", periods)

    def pct_change(
        self, periods: Any = 1, fill_method: Any = DEFAULT, limit: Any = None, freq: Any = None, **named: Any
    ) -> Any:
        return self._each("pct_change", periods, fill_method, limit, freq)

    def ffill(self, limit: Any = None) -> Any:
        return self._each("ffill", limit=limit)

    pad = ffill

    def fillna(self, value: Any = None, method: Any = None, limit: Any = None, **named: Any) -> Any:
        if RECORD.pandas >= 3:
            raise AttributeError("'SeriesGroupBy' object has no attribute 'fillna'")
        return self._each("fillna", value, method=method, limit=limit)

    def bfill(self, *arguments: Any, **named: Any) -> Any:
        return looks_ahead("bfill", "it takes values of later days")

    backfill = bfill

    def rank(
        self, method: str = "average", ascending: bool = True, na_option: str = "keep", pct: bool = False, axis: Any = 0
    ) -> Any:
        return self._each("rank", method=method, ascending=ascending, na_option=na_option, pct=pct)

    def cumsum(self, *arguments: Any, **named: Any) -> Any:
        return self._each("cumsum")

    def _unbounded(self, *arguments: Any, **named: Any) -> Any:
        return unbounded("cumulative function of a group")

    cumprod = cummax = cummin = cumcount = expanding = _unbounded

    def clip(self, *arguments: Any, **named: Any) -> Any:
        return self._each("clip", *arguments, **named)

    def rolling(self, window: Any = None, min_periods: Any = None, center: bool = False, **named: Any) -> Any:
        inner = self.inner()
        inner.scanned("rolling")
        if self.is_frame:
            inner = Frame.of(
                [(n, c) for n, c in inner.cells if isinstance(c, Node) and n not in self.gone], inner.layout
            )
        return CLASSES["Rolling"](inner, window, min_periods, center, back=self._prefixed, **named)

    def ewm(self, *arguments: Any, **named: Any) -> Any:
        found = self.inner().ewm(*arguments, **named)
        mean = found.mean
        found.mean = lambda *a, **k: self._prefixed(mean(*a, **k))
        return found

    # ---- functions

    def transform(self, func: Any, *arguments: Any, engine: Any = None, engine_kwargs: Any = None, **named: Any) -> Any:
        if isinstance(func, str):
            if func in STATISTICS:
                return self._statistic(func, **named)
            if func == "size":
                return self.size_of_group()
            return getattr(self, func)(*arguments, **named)
        if self.is_frame:
            cells = [
                (name, self._transformed(Series(cell, self.inner().layout, name=name), func, arguments, named))
                for name, cell in self.owner.cells
                if isinstance(cell, Node) and name not in self.gone
            ]
            return Frame.of(cells, self.owner.layout)
        inner = self.inner()
        return Series(self._transformed(inner, func, arguments, named), self.owner.layout, name=self.owner.name)

    def _transformed(self, inner: Any, func: Any, arguments: Any, named: Any) -> Node:
        rows = self.owner.layout.rows

        def node_of(given: Any) -> Node:
            if isinstance(given, Array):
                if not given.layout.same_rows(inner.layout):
                    misplaced("transform", "the function gives values of other rows")
                return given.node
            if isinstance(given, Series):
                return kept(given.node, given.layout.rows, rows)
            return self._number(given, "transform")

        return node_of(
            along_paths(lambda: func(inner, *arguments, **named), lambda c, y, n: where(c, node_of(y), node_of(n)))
        )

    def _number(self, given: Any, what: str) -> Node:
        if isinstance(given, Node):
            return given
        if isinstance(given, Single):
            return given.node
        if isinstance(given, Opaque):
            given.use()
        if given is None or is_number(given):
            return constant(float("nan") if given is None else given, "float64")
        return unknown(what, f"the function gives {type(given).__name__}")

    def apply(self, func: Any, *arguments: Any, include_groups: Any = None, **named: Any) -> Any:
        inner = self.inner()
        if self.is_frame and (RECORD.pandas >= 3 or include_groups is False):
            inner = Frame.of([(n, c) for n, c in inner.cells if n not in self.gone], inner.layout)
        given = along_paths(lambda: func(inner, *arguments, **named), self._either)
        if isinstance(given, Series | Frame):
            return self._applied(given)
        if self.keys:
            return unknown("groupby.apply", "of two keys with one value each")
        return self._by_day(self._number(given, "groupby.apply"))

    def _either(self, condition: Node, yes: Any, no: Any) -> Any:
        if isinstance(yes, Series) and isinstance(no, Series) and yes.layout == no.layout:
            return yes.like(where(condition, yes.node, no.node))
        if isinstance(yes, Series | Frame) or isinstance(no, Series | Frame):
            return unknown("groupby.apply", "its branches give different kinds of objects")
        return Single(where(condition, self._number(yes, "apply"), self._number(no, "apply")), self.inner().layout)

    def _applied(self, found: Any) -> Any:
        mine = self.inner().layout
        if found.layout.kind != mine.kind:
            return unknown("groupby.apply", "the function gives something that is not of its group")
        if self.group_keys or found.layout.levels != mine.levels:
            if self.group_keys:
                return self._prefixed(found)
            return self.outer(found).under(
                found.layout.but(kind=self.owner.layout.kind, order="stock" if self.by == STOCK else "day")
            )
        if found.layout.rows is mine.rows and isinstance(found, Frame) == self.is_frame:
            return self.outer(found)
        # pandas puts only results like their groups back into the rows' order; the others stand group by group.
        order = "stock" if self.by == STOCK else "day"
        return found.under(found.layout.but(kind=self.owner.layout.kind, order=order, keys=self.owner.layout.keys))

    def _by_day(self, node: Node) -> Any:
        """A series of one value per day."""
        if self.by == STOCK:
            looks_ahead(
                "aggregation to one row per stock", "a statistic of all rows of a stock, those of later days among them"
            )
        rows = make("day", self.owner.layout.rows, constant(True, "bool"), function="any")
        return Series(node, Layout("day", rows, levels=(DATE,)))

    # ---- statistics

    def _day_node(self, node: Node, function: str, **parameters: Any) -> Node:
        found = make("day", of_day(node, function), self.owner.layout.rows, *self.keys, function=function, **parameters)
        return cast(found, "int64") if function == "count" else found

    def _parameters(self, function: str, named: Any) -> dict[str, Any]:
        if function in ("std", "var"):
            return {"ddof": int(named.pop("ddof", 1))}
        if function == "quantile":
            return {"q": float(named.pop("q", 0.5))}
        return {}

    def _statistic(self, function: str, **named: Any) -> Any:
        """On all rows of the group."""
        if self.by == STOCK:
            looks_ahead(
                f"{function} of a whole history", "a statistic of all rows of a stock, those of later days among them"
            )
        parameters = self._parameters(function, named)
        found = self.owner.mapped(lambda node: self._day_node(node, function, **parameters))
        if isinstance(found, Frame):
            found = Frame.of(
                [(n, c) for n, c in found.cells if isinstance(c, Node) and n not in self.gone], found.layout
            )
        return found

    def size_of_group(self) -> Any:
        node = make("day", constant(1.0, "float64"), self.owner.layout.rows, *self.keys, function="count")
        if self.by == STOCK:
            looks_ahead("size of a whole history", "a statistic of all rows of a stock, those of later days among them")
        return Series(cast(node, "int64"), self.owner.layout)

    def _aggregated(self, function: str, *arguments: Any, **named: Any) -> Any:
        if self.keys:
            return unknown("aggregation by two keys", "use transform")
        found = self._statistic(function, **named)
        if isinstance(found, Frame):
            rows = self._by_day(found.cells[0][1]).layout
            return Frame.of(found.cells, rows)
        series = self._by_day(found.node)
        series.name = found.name
        return series

    def quantile(self, q: float = 0.5, interpolation: str = "linear", **named: Any) -> Any:
        return self._aggregated("quantile", q=q)

    def agg(self, func: Any = None, *arguments: Any, **named: Any) -> Any:
        if callable(func):
            return self.apply(func, *arguments, **named)
        return (
            getattr(self, func)(*arguments, **named) if isinstance(func, str) else unknown("agg of several functions")
        )

    aggregate = agg

    def first(self, *arguments: Any, **named: Any) -> Any:
        return unbounded("first row of a stock") if self.by == STOCK else unknown("first row of a day")

    head = first

    def last(self, *arguments: Any, **named: Any) -> Any:
        if self.by == STOCK:
            looks_ahead("last row of a stock", "a value of the last day goes into values of days before")
        return unknown("last row of a day")

    tail = nth = last

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in STATISTICS:
            return lambda *arguments, **named: self._aggregated(name, *arguments, **named)
        if self.is_frame and name in self.owner.columns:
            return self[name]
        if name in ("ngroups", "ngroup", "groups", "indices"):
            return Opaque(f"groupby.{name}")
        return unknown(f"groupby.{name}")


class _KeyGroup:
    """A key column of groups."""

    def __init__(self, group_of: Group) -> None:
        self.group = group_of

    def transform(self, func: Any) -> Any:
        return self.group.size_of_group() if func in ("count", "size") else unknown("transform of a key")


CLASSES["group"], CLASSES["inside"] = group, inside
