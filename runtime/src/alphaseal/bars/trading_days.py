"""The calendar of the training's market data, and whether a table has its days and no other.

Windows count days: one that a table lacks, or has too many, moves every value behind it.  After the calendar's last day
nothing is known; a caller's own calendar takes its place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alphaseal.errors import InputError
from alphaseal.format.manifest import TradingDays

Calendar = npt.NDArray[np.datetime64]
_SATURDAY = 5


def described(calendar: Calendar) -> TradingDays:
    """What a manifest says of ascending days."""
    every = np.arange(calendar[0], calendar[-1] + 1)
    closed = every[(_weekday(every) < _SATURDAY) & ~np.isin(every, calendar)]
    return TradingDays(
        first=str(calendar[0]),
        last=str(calendar[-1]),
        closed=[str(day) for day in closed],
        opened=[str(day) for day in calendar[_weekday(calendar) >= _SATURDAY]],
    )


class DayCheck:
    """Looks at the dates of a table, or of its parts in ascending order, on their way."""

    def __init__(self, recorded: TradingDays | None, where: str) -> None:
        """Nothing is looked at where nothing is recorded."""
        self._recorded, self._where = recorded, where
        self._seen: np.datetime64 | None = None

    def see(self, dates: Calendar) -> None:
        """InputError `bars.calendar` where dates (ascending), with those seen before, are others than the recorded."""
        if self._recorded is None or not len(dates):
            return
        first = dates[0] if self._seen is None else self._seen + 1
        self._seen = dates[-1]
        wanted = _days_between(self._recorded, first, dates[-1])
        known = (dates >= np.datetime64(self._recorded.first)) & (dates <= np.datetime64(self._recorded.last))
        other = np.setxor1d(wanted, dates[known & (dates >= first)])
        if len(other):
            raise _other_day(other[0], bool(other[0] in wanted), self._where)
        # No record reaches over the days that come, but a market that never trades on a weekend does not begin to.
        weekend = dates[(_weekday(dates) >= _SATURDAY) & (dates >= first)]
        if len(weekend) and not self._recorded.opened:
            raise _other_day(weekend[0], False, self._where)


def _days_between(recorded: TradingDays, first: np.datetime64, last: np.datetime64) -> Calendar:
    """The trading days from first to last, as far as they are recorded."""
    every = np.arange(max(first, np.datetime64(recorded.first)), min(last, np.datetime64(recorded.last)) + 1)
    closed, opened = (np.array(days, "datetime64[D]") for days in (recorded.closed, recorded.opened))
    days: Calendar = every[((_weekday(every) < _SATURDAY) & ~np.isin(every, closed)) | np.isin(every, opened)]
    return days


def _other_day(day: np.datetime64, lacking: bool, where: str) -> InputError:
    return InputError(
        "bars.calendar",
        "a day that the training had is missing" if lacking else "there is a day that the training had not",
        where=where,
        expected=f"{'rows' if lacking else 'no rows'} on {day}, as in the market data of the training",
        found="none" if lacking else "rows",
        next_step="load the missing day" if lacking else "leave out days that are no trading days",
    )


def _weekday(days: Calendar) -> npt.NDArray[np.int64]:
    """0 is Monday; 1970-01-01 was a Thursday."""
    number: npt.NDArray[np.int64] = (days.astype("datetime64[D]").astype(np.int64) + 3) % 7
    return number
