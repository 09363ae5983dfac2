"""The dates and stocks of rows as values: levels of an index, columns after ``reset_index``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alphaseal_converter.factors.expressions.nodes import CALENDAR_PARTS
from alphaseal_converter.factors.recording.layout import CLASSES, DATE, STOCK, TOKENS, Layout, Opaque, Token
from alphaseal_converter.factors.recording.recorder import by_value, make, unknown

_PARTS = {"dayofweek": "weekday", "day_of_week": "weekday", "day_of_year": "dayofyear"}


class Key:
    """The column or level `name`; `index` says that it is a level."""

    def __init__(self, name: str, layout: Layout, index: bool = False) -> None:
        self.name, self.layout, self.index = name, layout, index

    def __iter__(self) -> Iterator[Any]:
        by_value(f"loop over the {self.name} of rows")

    def unique(self) -> Names:
        return Names(self.name)

    drop_duplicates = unique

    def nunique(self) -> Opaque:
        return Opaque(f"number of {self.name}s")

    def _same(self, *arguments: Any, **named: Any) -> Key:
        return self

    astype = copy = normalize = to_numpy = rename = strip = to_series = tolist = _same

    @property
    def values(self) -> Key:
        return self

    @property
    def dt(self) -> Key:
        return self

    def map(self, function: Any) -> Any:
        if isinstance(function, CLASSES["Series"]) and function.layout.kind == "day" and self.name == DATE:
            found = CLASSES["Array"](function.node, self.layout)
            return found if self.index else CLASSES["Series"](found.node, self.layout)
        return unknown(f"map of {self.name}s")

    def __eq__(self, other: object) -> Any:
        if isinstance(other, Token) and other.level == self.name:
            return Chosen(self.name, self.layout)
        return unknown(f"comparison of {self.name}s", "rows are chosen by name or date")

    def __ne__(self, other: object) -> Any:
        return unknown(f"comparison of {self.name}s", "rows are chosen by name or date")

    __lt__ = __le__ = __gt__ = __ge__ = __ne__
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        part = _PARTS.get(name, name)
        if self.name == DATE and part in CALENDAR_PARTS:
            node = make("calendar", part=part)
            return CLASSES["Array"](node, self.layout) if self.index else CLASSES["Series"](node, self.layout)
        if name == "str":
            return unknown(f"text functions of {self.name}", "a group made of names of stocks is not followed")
        if name in ("min", "max", "shape", "size", "dtype"):
            return Opaque(f"{name} of {self.name}")
        return unknown(f"{self.name}.{name}")


class Names:
    """The different names of a level: a loop over them sees one that stands for all."""

    def __init__(self, level: str) -> None:
        self.level = level

    def __iter__(self) -> Iterator[Token]:
        # Twice: what is carried from one round to the next makes the two pieces different, and is refused by concat.
        yield TOKENS[self.level]
        yield TOKENS[self.level]

    def tolist(self) -> Names:
        return self

    to_list = sort = sort_values = tolist

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Opaque(f"{name} of {self.level}s")

    def __len__(self) -> int:
        return int(by_value(f"number of {self.level}s"))


class Chosen:
    """The rows of the stock, or day, that a loop is at."""

    def __init__(self, level: str, layout: Layout) -> None:
        self.level, self.layout = level, layout


def inside(layout: Layout, level: str, drop: bool = False) -> Layout:
    """The layout of the rows of one stock, or of one day."""
    levels = tuple(one for one in layout.levels if one != level) if drop else layout.levels
    return layout.but(kind="stock" if level == STOCK else "date", levels=levels)


CLASSES["Key"] = Key
