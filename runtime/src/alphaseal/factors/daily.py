"""Compiled factors of a day, from bars on one calendar and side tables on the same days."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alphaseal.factors.program import Columns, Floats, Mask, Program, Window

if TYPE_CHECKING:
    from alphaseal.bars.calendar import Bars
    from alphaseal.format.factors import FactorColumn, FactorProgram

Days = npt.NDArray[np.datetime64]
EMPTY: Mapping[str, float] = {"int64": 0.0, "bool": 0.0, "text": -1.0}
"""What stands where a side table has no value, by dtype; NaN for the others."""


@dataclass(frozen=True, eq=False)
class SideTable:
    """A side table on the days and stocks of bars.

    `columns` float64 [stocks, days] by name, `EMPTY` or NaN where there is none (texts are places in a list); `rows` bool
    [stocks, days].
    """

    columns: Mapping[str, Floats]
    rows: Mask


class FactorColumns:
    """All programs of a bundle; `names` are the factors in the order of what `compute` gives."""

    def __init__(self, programs: Sequence[FactorProgram], read: Callable[[str], bytes]) -> None:
        """`read` gives the verified bytes of a graph; raises as `Program`."""
        self._programs = [Program(description, read) for description in programs]
        self.names = tuple(name for program in self._programs for name in program.factors)
        self.crosses = any(stages for told in programs for stages in told.stages)
        """Whether a factor looks at other stocks of the day."""
        self.window = max((program.description.window for program in self._programs), default=0)
        self.fields = tuple(dict.fromkeys(field for told in programs for field in told.fields))
        self.side_columns = {
            column.column: column.dtype
            for told in programs
            for column in told.columns
            if column.table == "static" and column.column is not None
        }

    def compute(
        self,
        bars: Bars,
        fields: Sequence[str],
        day: int,
        stocks: npt.NDArray[np.int64],
        static: SideTable | None = None,
    ) -> Columns:
        """Columns [stocks, factors] of the day at that position; `fields` name the columns of `bars`.

        The stocks are all that code of factors would have seen: what looks across stocks sees exactly them.
        """
        found = [
            program.compute(_window(program.description, bars, fields, day, stocks, static))
            for program in self._programs
        ]
        none = np.zeros((len(stocks), 0))
        return Columns(
            np.concatenate([none, *(one.values for one in found)], axis=1),
            np.concatenate([none != 0, *(one.known for one in found)], axis=1),
        )


def _window(
    told: FactorProgram,
    bars: Bars,
    fields: Sequence[str],
    day: int,
    stocks: npt.NDArray[np.int64],
    static: SideTable | None,
) -> Window:
    """What the program reads; days before the first of `bars` have no rows, and on them no series had begun."""
    oldest = day + 1 - told.window
    missing = max(0, -oldest)
    days = slice(max(0, oldest), day + 1)

    def cut(grid: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """[stocks, window, …] of [all stocks, days, …]: nothing before the first day."""
        part = grid[stocks, days]
        empty: Any = np.nan if part.dtype.kind == "f" else 0
        return np.concatenate([np.full((len(stocks), missing, *part.shape[2:]), empty, part.dtype), part], axis=1)

    places = [list(fields).index(field) for field in told.fields]
    columns = [_column(column, bars, static) for column in told.columns]
    begun = bars.first[stocks] - oldest
    return Window(
        bars=np.ascontiguousarray(cut(bars.values)[:, :, places]),
        # A series that has begun before the first day of `bars` begins before the window.
        begun=np.where(bars.first[stocks] > 0, begun, missing),
        listed=cut(bars.listed()),
        tables=np.stack([cut(column).astype(np.float64) for column in columns], axis=2)
        if columns
        else np.zeros((len(stocks), told.window, 0)),
    )


def _column(column: FactorColumn, bars: Bars, static: SideTable | None) -> npt.NDArray[Any]:
    """[stocks, days]"""
    if column.table == "day":
        return np.broadcast_to(_part_of_day(bars.dates, str(column.column)), bars.present.shape)
    if column.table == "bars":
        return bars.present
    assert static is not None
    return static.rows if column.column is None else static.columns[column.column]


def _part_of_day(dates: Days, part: str) -> npt.NDArray[np.int64]:
    """int64 [days]: as pandas counts them, Monday is 0."""
    days = dates.astype("datetime64[D]")
    year, month = days.astype("datetime64[Y]"), days.astype("datetime64[M]")
    months = month.astype(np.int64) % 12
    found: npt.NDArray[np.int64] = {
        "year": year.astype(np.int64) + 1970,
        "month": months + 1,
        "day": (days - month).astype(np.int64) + 1,
        "weekday": (days.astype(np.int64) + 3) % 7,
        "dayofyear": (days - year).astype(np.int64) + 1,
        "quarter": months // 3 + 1,
        "ordinal": days.astype(np.int64),
    }[part]
    return found
