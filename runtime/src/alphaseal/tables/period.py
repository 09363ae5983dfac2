"""The dates that a caller asks for."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alphaseal.arrow.columns import DATE_COLUMN, FIRST_DAY, LAST_DAY, Days, date_text
from alphaseal.errors import InputError, UsageError

Day = str | datetime.date | np.datetime64
"""YYYY-MM-DD, a date, or midnight of it."""
DateRange = tuple[Day | None, Day | None]
"""First and last date, both included; None is open."""


@dataclass
class Period:
    """The days asked for, both ends included, and the nearest days beside them that were met (for the error)."""

    first: int
    last: int
    before: int | None = None
    after: int | None = None

    @classmethod
    def of(cls, date: Day | None, dates: DateRange | None) -> Period:
        if date is not None and dates is not None:
            raise UsageError("usage.dates", "ask for one date or for a range, not for both")
        first, last = (date, date) if dates is None else dates
        period = cls(FIRST_DAY if first is None else _day(first), LAST_DAY if last is None else _day(last))
        if period.first > period.last:
            raise UsageError("usage.dates", "the range of dates ends before it begins", found=str(period))
        return period

    def __str__(self) -> str:
        return date_text(self.first) if self.first == self.last else f"{date_text(self.first)}:{date_text(self.last)}"

    def meets(self, first: int, last: int) -> bool:
        return first <= self.last and last >= self.first

    def mask(self, days: Days) -> npt.NDArray[np.bool_]:
        """Which of `days` were asked for; the others are remembered as neighbours."""
        chosen: npt.NDArray[np.bool_] = (days >= self.first) & (days <= self.last)
        if not chosen.all():
            earlier, later = days[days < self.first], days[days > self.last]
            if len(earlier):
                self.note_absent(int(earlier.max()), int(earlier.max()))
            if len(later):
                self.note_absent(int(later.min()), int(later.min()))
        return chosen

    def note_absent(self, first: int, last: int) -> None:
        """Remember days of the table that lie outside: all of first..last is before, or all of it after."""
        if last < self.first:
            self.before = last if self.before is None else max(self.before, last)
        else:
            self.after = first if self.after is None else min(self.after, first)

    def absent(self) -> InputError:
        neighbours = [
            f"{date_text(day)} {side}"
            for day, side in ((self.before, "before"), (self.after, "after"))
            if day is not None
        ]
        return InputError(
            "features.date_absent",
            "the table has no rows for the date asked for",
            where=f"column '{DATE_COLUMN}'",
            expected=str(self),
            found=f"nearest dates {' and '.join(neighbours)}" if neighbours else "no rows at all",
            next_step="ask for a date of the table; another date's rows are never used instead",
        )


def _day(value: Day) -> int:
    """Days since 1970-01-01 of a date, a numpy datetime64 or the text YYYY-MM-DD."""
    try:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return (datetime.date.fromisoformat(value) - datetime.date(1970, 1, 1)).days
        if isinstance(value, datetime.date):
            midnight = not isinstance(value, datetime.datetime) or (
                value.tzinfo is None and value.time() == datetime.time()
            )
            if midnight:
                return (datetime.date(value.year, value.month, value.day) - datetime.date(1970, 1, 1)).days
        elif isinstance(value, np.datetime64) and not np.isnat(value) and value == value.astype("datetime64[D]"):
            return int(value.astype("datetime64[D]").astype(np.int64))
    except ValueError:
        pass
    raise UsageError("usage.date", "not a date", expected="YYYY-MM-DD", found=repr(value))
