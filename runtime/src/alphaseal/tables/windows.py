"""The rows that make a stock's window, as qlib 0.9.7 chooses them.

Source: ``qlib.data.dataset.TSDataSampler`` (`build_index`, `_get_indices`) with ``fillna_type="ffill+bfill"``: a window is
the last `length` dates of the calendar up to the scored date; a date without a row of the stock takes the stock's row
before it inside the window, and where there is none the row after it.  A stock without a row on the scored date has no
window.  The calendar is the dates of the table, of all its stocks together, or one that the caller names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alphaseal.errors import InputError, UsageError

Calendar = npt.NDArray[np.datetime64]
Rows = npt.NDArray[np.int64]
_NO_ROW_BEFORE = np.int64(-(2**62))


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows over rows sorted by date.

    `order` int64 [rows]: rows by stock, then date; `place` int64 [rows]: where a row stands in it.  `position` and
    `position_before` int64 [rows], in that order: calendar position of the row, and of the stock's row before it.
    """

    length: int
    order: Rows
    place: Rows
    position: Rows
    position_before: Rows

    @classmethod
    def of(cls, dates: Calendar, codes: npt.NDArray[np.int32], calendar: Calendar, length: int) -> Windows:
        """`dates` datetime64[D] ascending and `codes` (a number per stock), one per row; a pair occurs once.

        Raises InputError `window.not_in_calendar` for a row on another date than those of `calendar` (ascending).
        """
        order = np.argsort(codes, kind="stable").astype(np.int64)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        position = positions_in(calendar, dates)[order]
        before = np.full(len(order), _NO_ROW_BEFORE)
        same = codes[order[1:]] == codes[order[:-1]]
        before[1:][same] = position[:-1][same]
        return cls(length, order, place, position, before)

    def rows(self, targets: Rows) -> Rows:
        """int64 [targets, length]: for each target row the rows of its window, oldest date first, itself last."""
        cursor = self.place[targets]
        scored = self.position[cursor]
        oldest = scored - (self.length - 1)
        index = np.empty((len(cursor), self.length), np.int64)
        for back in range(self.length):
            # A row stands for its date and for later ones without a row, so one step back per date is always enough;
            # a row with nothing before it in the window stays, and so stands for the dates before it too.
            step = (self.position[cursor] > scored - back) & (self.position_before[cursor] >= oldest)
            cursor = cursor - step
            index[:, self.length - 1 - back] = cursor
        return self.order[index]


def positions_in(calendar: Calendar, dates: Calendar) -> Rows:
    """Position of each date in the calendar; InputError `window.not_in_calendar` for a date that is not in it."""
    positions = np.searchsorted(calendar, dates)
    known = positions < len(calendar)
    known[known] = calendar[positions[known]] == dates[known]
    if not known.all():
        raise InputError(
            "window.not_in_calendar",
            "the table has rows on a date that is not in the calendar",
            expected="dates of the calendar only",
            found=str(dates[~known][0]),
            next_step="use the exchange's own calendar, or leave it out: the table's dates are one",
        )
    return positions.astype(np.int64)


def oldest_date(calendar: Calendar, scored: np.datetime64, length: int) -> np.datetime64:
    """The first date of the window that ends on `scored`.

    Raises InputError `window.not_in_calendar` and, where the calendar does not reach back far enough, `window.too_short`.
    """
    position = int(positions_in(calendar, np.array([scored], "datetime64[D]"))[0])
    if position + 1 < length:
        raise too_short(length, position + 1, scored)
    first: np.datetime64 = calendar[position + 1 - length]
    return first


def too_short(length: int, found: int, scored: np.datetime64) -> InputError:
    return InputError(
        "window.too_short",
        f"the model looks at the last {length} dates",
        where="column 'datetime'",
        expected=f"{length} dates up to {scored}",
        found=f"{found} dates",
        next_step="give a table that reaches further back",
    )


def parse_calendar(text: str, where: str) -> Calendar:
    """A calendar of one date a line (YYYY-MM-DD), ascending; blank lines do not count.  UsageError `usage.calendar`."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    try:
        if not lines or any(len(line) != len("2024-01-01") for line in lines):
            raise ValueError
        calendar = np.array(lines, dtype="datetime64[D]")
        if np.isnat(calendar).any() or (np.diff(calendar) <= np.timedelta64(0, "D")).any():
            raise ValueError
    except ValueError:
        raise UsageError(
            "usage.calendar",
            "the file is not a calendar",
            where=where,
            expected="one date a line, YYYY-MM-DD, each later than the one before",
        ) from None
    return calendar
