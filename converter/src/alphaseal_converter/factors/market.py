"""Bars and static table in this process, and the parts of them that runs of a factor get: cut, without columns, with noise.

Cuts are made here, so that the process of a factor never holds anything but its part.  Noise is what a factor's code cannot
have seen before: it is drawn from the digests of all that takes part, so that equal input gives equal noise, and a source
cannot be written for the noise that it will meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alphaseal_converter.isolation.plain_table import Column, Texts, encode

Days = npt.NDArray[np.datetime64]
KEYS: Final = ("datetime", "instrument")
STATIC: Final = "static:"
"""Before the names of the static table's columns, where columns of bars and static table stand side by side."""
_ROW_NOISE, _CELL_NOISE = 0.5, 0.05
"""Of a row: enough that ranks across stocks change.  Of a cell beside it: for what only ratios of one bar's fields show."""


@dataclass(frozen=True)
class Noise:
    """Other values in the place of some: each number is multiplied by one drawn for it.  What is missing or zero stays so."""

    seed: tuple[int, ...]
    after: str | None = None
    """Rows of later days only; None: all rows."""
    columns: tuple[str, ...] | None = None
    """By plain name, the static table's behind `STATIC`; None: all columns."""


def seed_of(*parts: bytes) -> tuple[int, ...]:
    """Numbers for a `Noise` that follow from all these bytes."""
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
    return tuple(int(number) for number in np.frombuffer(digest, "<u4"))


@dataclass(frozen=True)
class Scaled:
    """Columns of the bars times 2 to the power of `exponent`, which changes no bit of a number but its exponent."""

    columns: tuple[str, ...]
    """By plain name."""
    exponent: int
    alternating: bool = False
    """Every other stock in order of name has the negative exponent."""


@dataclass(frozen=True)
class Part:
    """What of the market a run gets: the days `first`..`last` (None: no end), without these columns."""

    first: str | None = None
    last: str | None = None
    without: tuple[str, ...] = ()
    """By plain name, the static table's behind `STATIC`."""
    noise: Noise | None = None
    scaled: Scaled | None = None


WHOLE: Final = Part()


@dataclass(frozen=True)
class Market:
    """Bars as columns, one row per day and stock, sorted by day; and the static table as it is, with its columns' names."""

    days: Days
    stocks: Texts
    columns: Mapping[str, Column]
    static: bytes | None = None
    static_columns: tuple[str, ...] = ()

    @cached_property
    def calendar(self) -> Days:
        """The days that have bars."""
        return np.unique(self.days)

    def position(self, day: str) -> int:
        """Place of a day in the calendar, or of the next one there."""
        return int(np.searchsorted(self.calendar, np.datetime64(day)))

    def names(self) -> list[str]:
        """Columns by plain name in their order, then those of the static table behind `STATIC`."""
        return sorted(map(plain, self.columns)) + [f"{STATIC}{name}" for name in self.static_columns]

    def find(self, name: str) -> Column | None:
        """The column of that plain name."""
        return next((column for given, column in self.columns.items() if plain(given) == name), None)

    def around(self, day: str, before: int, after: int) -> Market:
        """The rows of `day`, of so many days before it and so many after it; the static table stays whole."""
        place = self.position(day)
        kept = self.calendar[max(0, place - before) : place + after + 1]
        if not len(kept):
            return self
        rows = (self.days >= kept[0]) & (self.days <= kept[-1])
        return self._rows(rows)

    def without(self, stocks: Sequence[str]) -> Market:
        """The rows of other stocks; the static table stays whole."""
        left_out = np.array([name in stocks for name in self.stocks.names] or [False], np.bool_)
        return self._rows(~left_out[self.stocks.places])

    def _rows(self, rows: npt.NDArray[np.bool_]) -> Market:
        columns = {name: _take(column, rows) for name, column in self.columns.items()}
        return Market(self.days[rows], self.stocks.take(rows), columns, self.static, self.static_columns)

    @cached_property
    def instruments(self) -> tuple[str, ...]:
        """The stocks that have bars, sorted."""
        return tuple(sorted(self.stocks.names[place] for place in np.unique(self.stocks.places)))

    def bars(self, part: Part) -> bytes:
        """The part's bars as a table."""
        rows = np.ones(len(self.days), np.bool_)
        if part.first is not None:
            rows &= self.days >= np.datetime64(part.first)
        if part.last is not None:
            rows &= self.days <= np.datetime64(part.last)
        columns = {name: column for name, column in self.columns.items() if plain(name) not in part.without}
        if part.noise is not None:
            columns = self._noisy(columns, part.noise)
        if part.scaled is not None:
            columns = self._scaled(columns, part.scaled)
        cut = {name: _take(column, rows) for name, column in columns.items()}
        return encode({"datetime": self.days[rows], "instrument": self.stocks.take(rows), **cut})

    def static_order(self, part: Part) -> dict[str, Any] | None:
        """How `programs.factor` makes the part's static table; None where it stays as it is."""
        if replace(part, scaled=None) == WHOLE:
            return None
        columns = None if part.noise is None else part.noise.columns
        noise = part.noise and {
            "seed": part.noise.seed,
            "after": part.noise.after,
            "columns": None if columns is None else _of_static(columns),
        }
        bounds = {"first": part.first, "last": part.last, "without": _of_static(part.without)}
        return {**bounds, "noise": noise, "rewriting": None}

    def _scaled(self, columns: Mapping[str, Column], scaled: Scaled) -> dict[str, Column]:
        order = {name: number for number, name in enumerate(self.instruments)}
        signs = np.array([-1 if order.get(name, 0) % 2 == 0 else 1 for name in self.stocks.names] or [1])
        exponents = scaled.exponent * (
            signs[self.stocks.places] if scaled.alternating else np.ones(len(self.days), int)
        )
        factor, result = np.exp2(exponents.astype(np.float64)), dict(columns)
        for name, column in columns.items():
            if isinstance(column, np.ndarray) and plain(name) in scaled.columns:
                result[name] = _multiplied(column, factor)
        return result

    def _noisy(self, columns: Mapping[str, Column], noise: Noise) -> dict[str, Column]:
        generator = np.random.default_rng(noise.seed)
        rows = np.ones(len(self.days), np.bool_) if noise.after is None else self.days > np.datetime64(noise.after)
        row = generator.normal(scale=_ROW_NOISE, size=len(self.days))
        result: dict[str, Column] = dict(columns)
        # All columns draw, so that a column's noise does not depend on which others are there.
        for name in self.columns:
            factor = np.exp(row + generator.normal(scale=_CELL_NOISE, size=len(self.days)))
            column = columns.get(name)
            if isinstance(column, np.ndarray) and (noise.columns is None or plain(name) in noise.columns):
                result[name] = np.where(rows, _multiplied(column, factor), column)
        return result


def plain(name: str) -> str:
    """A column's name without the dollar sign."""
    return name.removeprefix("$")


def _of_static(names: Sequence[str]) -> list[str]:
    return [name.removeprefix(STATIC) for name in names if name.startswith(STATIC)]


def _take(column: Column, rows: Any) -> Column:
    return column.take(rows) if isinstance(column, Texts) else column[rows]


def _multiplied(column: npt.NDArray[Any], factor: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Numbers times their factors, in their own dtype; truth values and moments stay."""
    if column.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return (column * factor).astype(column.dtype)
    if column.dtype.kind in "iu":
        limits = np.iinfo(column.dtype)
        # One double below the largest: 2**63 itself would not fit.
        most = np.nextafter(float(limits.max), 0.0) if limits.max > 2**53 else float(limits.max)
        return np.clip(np.rint(column * factor), float(limits.min), most).astype(column.dtype)
    return column
