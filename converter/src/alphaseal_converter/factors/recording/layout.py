"""Which rows an object has, in which order, under which index levels; and stand-ins for index objects and for numbers that
depend on all of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.recorder import by_value, looks_ahead, misplaced, unknown
from alphaseal_converter.factors.recording.values import both, constant

CLASSES: Final[dict[str, Any]] = {}
"""Classes of modules above, by name: an index gives arrays, a series gives groups, and each knows the others' kind."""
DATE: Final = "datetime"
STOCK: Final = "instrument"
KEYS: Final = (DATE, STOCK)


@dataclass(frozen=True)
class Layout:
    """`kind`: table (all rows), stock or date (inside of a group: the rows of one stock, or of one day), day (a row per day),
    wide (days by stocks), window or value (inside of a function of windows, or of single values).

    `order` of a table's rows: day (day, then stock), stock (stock, then day), or unknown.  `levels` of the index, datetime and
    instrument; a text besides them is another name of a level, "" the range labels of `labels`.  `keys` are further keys of a
    group of one day.
    """

    kind: str
    rows: Node
    order: str = "day"
    levels: tuple[str, ...] = KEYS
    labels: object = None
    keys: tuple[Node, ...] = ()

    def but(self, **changes: Any) -> Layout:
        """The same with changes."""
        return replace(self, **changes)

    def same_rows(self, other: Layout) -> bool:
        """Whether positions mean the same rows."""
        return (
            self.rows is other.rows
            and self.kind == other.kind
            and (self.order == other.order != "unknown" or self.kind in ("stock", "date", "day"))
        )

    def same_labels(self, other: Layout) -> bool:
        """Whether labels mean the same: pandas finds no label of (day, stock) among those of (stock, day)."""
        return self.kind == other.kind and self.levels == other.levels and self.labels is other.labels


class Opaque:
    """A number that depends on all of the data: it may be printed, not used."""

    def __init__(self, what: str, ahead: bool = True) -> None:
        self.what, self.ahead = what, ahead

    def __format__(self, form: str) -> str:
        return "?"

    def __str__(self) -> str:
        return "?"

    __repr__ = __str__

    def __getattr__(self, name: str) -> Opaque:
        if name.startswith("__"):
            raise AttributeError(name)
        return Opaque(f"{self.what}.{name}", self.ahead)

    def __call__(self, *arguments: Any, **named: Any) -> Opaque:
        return self

    def __getitem__(self, key: Any) -> Opaque:
        return self

    def use(self) -> Any:
        """Refuse: it goes into values."""
        if self.ahead:
            looks_ahead(self.what, "a number made of all rows, those of later days among them, goes into values")
        return by_value(self.what)

    def _with(self, other: Any = None) -> Opaque:
        if hasattr(other, "layout"):
            self.use()
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _with
    __floordiv__ = __mod__ = __pow__ = __neg__ = __round__ = __abs__ = __rfloordiv__ = _with
    __array_ufunc__ = None

    def _decided(self, *others: Any) -> Any:
        return by_value(self.what)

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = __bool__ = _decided
    __int__ = __index__ = __float__ = __iter__ = __len__ = _decided
    __hash__ = object.__hash__


class Token:
    """The name of whichever stock, or day, a loop is at."""

    def __init__(self, level: str) -> None:
        self.level = level

    def __str__(self) -> str:
        return f"any {self.level}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return by_value(f"the {self.level} of a loop")

    def __bool__(self) -> bool:
        return bool(by_value(f"the {self.level} of a loop"))

    __array_ufunc__ = None


TOKENS: Final = {level: Token(level) for level in KEYS}


class Index:
    """A stand-in for a pandas index; `owner` hears of new names."""

    def __init__(self, layout: Layout, owner: Any = None) -> None:
        self.layout, self.owner = layout, owner

    @property
    def names(self) -> list[str | None]:
        return [level or None for level in self.layout.levels]

    @names.setter
    def names(self, names: Sequence[str | None]) -> None:
        self._renamed(list(names))

    def _renamed(self, names: Sequence[str | None]) -> Index:
        given = tuple(name or "" for name in names)
        if len(given) != len(self.layout.levels):
            raise ValueError("Length of names must match number of levels in MultiIndex.")
        if any(new != old and {new, old} <= set(KEYS) for new, old in zip(given, self.layout.levels, strict=True)):
            misplaced("index.names", "the names of the levels are exchanged, their values are not")
        if given != self.layout.levels:
            unknown("index.names", f"levels {self.layout.levels} get the names {given}")
        return self

    @property
    def name(self) -> str | None:
        return self.names[0] if len(self.layout.levels) == 1 else None

    @name.setter
    def name(self, name: str) -> None:
        self._renamed([name])

    def set_names(self, names: Any, level: Any = None, inplace: bool = False) -> Any:
        if level is None:
            self._renamed([names] if isinstance(names, str) else names)
        elif self.layout.levels[self._place(level)] != names:
            unknown("index.set_names")
        return None if inplace else self

    rename = set_names

    @property
    def nlevels(self) -> int:
        return len(self.layout.levels)

    def _place(self, level: Any) -> int:
        return place_of(self.layout, level)

    def get_level_values(self, level: Any) -> Any:
        name = self.layout.levels[self._place(level)]
        return (
            CLASSES["Key"](name, self.layout, index=True)
            if name in KEYS
            else unknown("index.get_level_values of range labels")
        )

    def droplevel(self, level: Any = 0) -> Index:
        return Index(without_level(self.layout, level))

    def swaplevel(self, i: Any = -2, j: Any = -1) -> Index:
        levels = list(self.layout.levels)
        a, b = self._place(i), self._place(j)
        levels[a], levels[b] = levels[b], levels[a]
        return Index(self.layout.but(levels=tuple(levels)))

    def reorder_levels(self, order: Sequence[Any]) -> Index:
        return Index(self.layout.but(levels=tuple(self.layout.levels[self._place(one)] for one in order)))

    @property
    def is_monotonic_increasing(self) -> bool:
        first = self.layout.levels[:1]
        return self.layout.order == ("day" if first == (DATE,) else "stock")

    is_unique, has_duplicates = True, False

    def unique(self, level: Any = None) -> Any:
        return self if level is None else self.get_level_values(level).unique()

    def duplicated(self, keep: Any = "first") -> Any:
        if set(self.layout.levels) >= set(KEYS) or self.layout.kind in ("stock", "day"):
            return CLASSES["Array"](constant(False, "bool"), self.layout)
        return unknown("index.duplicated")

    def intersection(self, other: Index) -> Index:
        if not self.layout.same_labels(other.layout):
            unknown("index.intersection of different levels")
        return Index(self.layout.but(rows=both(self.layout.rows, other.layout.rows), order="unknown"))

    def equals(self, other: Any) -> bool:
        if isinstance(other, Index) and self.layout == other.layout:
            return True
        return bool(by_value("index.equals"))

    def copy(self, *arguments: Any, **named: Any) -> Index:
        return Index(self.layout)

    def __iter__(self) -> Iterator[Any]:
        by_value("loop over the rows of an index")

    def __len__(self) -> int:
        return int(by_value("number of rows"))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("shape", "size", "min", "max", "nunique", "levels", "levshape", "dtype", "dtypes", "memory_usage"):
            return Opaque(f"index.{name}")
        if self.nlevels == 1 and self.layout.levels[0] in KEYS:
            return getattr(self.get_level_values(0), name)
        return unknown(f"Index.{name}")


def place_of(layout: Layout, level: Any) -> int:
    """The position of a level that is given by position or name; pandas takes the first of equal names… or raises."""
    if isinstance(level, list | tuple) and len(level) == 1:
        level = level[0]
    if isinstance(level, int):
        return range(len(layout.levels))[level]
    found = [place for place, name in enumerate(layout.levels) if name == level]
    if len(found) > 1:
        raise ValueError(f"The name {level} occurs multiple times, use a level number")
    if not found:
        raise KeyError(f"Level {level} not found")
    return found[0]


def without_level(layout: Layout, level: Any) -> Layout:
    """The layout when index levels are dropped; a row must still know its day and stock."""
    gone = {place_of(layout, one) for one in level} if isinstance(level, list | tuple) else {place_of(layout, level)}
    left = tuple(name for place, name in enumerate(layout.levels) if place not in gone)
    if layout.kind == "table" and not set(KEYS) <= set(left) and "" not in left:
        unknown("droplevel", f"the rows are known by {left} alone then")
    return layout.but(levels=left)


def ordered(layout: Layout, levels: Sequence[str]) -> str:
    """The order of rows that are sorted by these levels or columns, ascending."""
    if not levels or levels[0] not in KEYS:
        return "unknown"
    return "day" if levels[0] == DATE else "stock"
