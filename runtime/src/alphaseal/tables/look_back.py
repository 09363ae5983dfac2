"""How far back a table must be read, so that windows over its dates are whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alphaseal.arrow.columns import FIRST_DAY, Days, days_of
from alphaseal.arrow.number_types import NumberColumn
from alphaseal.tables.features import TableColumns, is_file, table_of
from alphaseal.tables.parquet import Budget, date_ranges, decode, open_parquet
from alphaseal.tables.period import Period
from alphaseal.tables.request import Request
from alphaseal.tables.windows import Calendar, oldest_date, too_short

_DATES_BATCH = 131_072


@dataclass(frozen=True)
class Span:
    """The rows to read (first and last date, both included), and the first date to score."""

    read: tuple[np.datetime64, np.datetime64]
    first: np.datetime64
    before: int = 0
    """Days at the start of `read` that no window looks at: the next day is compared with them."""


def span_of(
    table: Any,
    features: Sequence[NumberColumn],
    step_length: int,
    request: Request,
) -> Span:
    """What scoring what is asked for with windows of `step_length` dates reads of `table`.

    `table` is the path of a parquet file or a table in memory that can be read more than once.  The dates of windows are
    those of the request's calendar, or of the table.  A range that is open at its start begins with the first date that
    has a whole window.  Raises InputError `features.date_absent`, `window.too_short`, `window.not_in_calendar`, and what
    the readers of alphaseal.tables.features raise.
    """
    period, calendar = Period.of(request.date, request.dates), request.calendar
    days = _days_of_parquet(table, features, period, step_length) if is_file(table) else _days_of_table(table, features)
    asked = days[period.mask(days)]
    if not len(asked):
        raise period.absent()
    present = _as_dates(days[days <= period.last])
    known = present if calendar is None else calendar
    first = _as_dates(asked[:1])[0]
    if period.first == FIRST_DAY:
        reachable = known[known >= present[0]][step_length - 1 :]
        later = present[present >= reachable[0]] if len(reachable) else present[:0]
        if not len(later):
            raise too_short(step_length, len(known[(known >= present[0]) & (known <= present[-1])]), present[-1])
        first = later[0]
    return Span((oldest_date(known, first, step_length), _as_dates(asked[-1:])[0]), first)


def newest_day(table: Any, features: Sequence[NumberColumn], last: int) -> int | None:
    """The newest day of a table up to `last` (days since 1970-01-01); of a parquet file few row groups are looked at."""
    period = Period(FIRST_DAY, last)
    if not is_file(table):
        days = _days_of_table(table, features)
        days = days[days <= last]
    else:
        days = np.empty(0, np.int64)
        with open_parquet(table) as file:
            column, budget = TableColumns.of(file.schema_arrow, features).date, Budget.of_file(file)
            for group, oldest, newest in _from_newest(file, column):
                if oldest > last:
                    continue
                if len(days) and newest <= days[-1]:
                    break
                batches = decode(file, [group], [column], _DATES_BATCH, budget)
                found = _distinct([days, *(days_of(batch.column(column)) for batch in batches)])
                days = found[period.mask(found)]
    return int(days[-1]) if len(days) else None


def _days_of_table(table: Any, features: Sequence[NumberColumn]) -> Days:
    in_memory = table_of(table)
    column = TableColumns.of(in_memory.schema, features).date
    return _distinct([days_of(chunk) for chunk in in_memory.column(column).chunks])


def _days_of_parquet(
    path: str | os.PathLike[str], features: Sequence[NumberColumn], period: Period, step_length: int
) -> Days:
    """Distinct days of the file: all up to the period's end, or of one whose start is given the newest that matter.

    Row groups are looked at from the newest on, and by their date column alone.
    """
    days: Days = np.empty(0, np.int64)
    with open_parquet(path) as file:
        column, budget = TableColumns.of(file.schema_arrow, features).date, Budget.of_file(file)
        for group, oldest, newest in _from_newest(file, column):
            if oldest > period.last:
                period.note_absent(oldest, newest)
                continue
            # Days up to the period's start that no older row group can change.
            settled = days[(days <= period.first) & (days > newest)]
            if period.first > FIRST_DAY and len(settled) >= step_length:
                break
            batches = decode(file, [group], [column], _DATES_BATCH, budget)
            days = _distinct([days, *(days_of(batch.column(column)) for batch in batches)])
    return days


def _from_newest(file: Any, column: str) -> list[tuple[int, int, int]]:
    """(row group, its first day, its last day), the one with the newest day first."""
    groups = [(group, *days) for group, days in enumerate(date_ranges(file, column))]
    return sorted(groups, key=lambda group: group[2], reverse=True)


def _distinct(parts: Sequence[Days]) -> Days:
    return np.unique(np.concatenate([np.empty(0, np.int64), *(np.unique(part) for part in parts)]))


def _as_dates(days: Days) -> Calendar:
    return days.astype("datetime64[D]")
