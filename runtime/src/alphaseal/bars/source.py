"""A caller's table of bars: which column is which field, and reading its rows.

The rows come through the readers of alphaseal.tables.features, with their rules for keys, dates, duplicates and budgets; here is
what bars have beside: names with a dollar sign, and dates that must be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.arrow.columns import (
    FIRST_DAY,
    LAST_DAY,
    Days,
    days_of,
    indices_of,
    numbers_of,
    plain_name,
    text_array,
    text_of,
)
from alphaseal.errors import AlphasealError, InputError
from alphaseal.tables.feature_files import iter_parquet
from alphaseal.tables.features import FeatureBlock, FeatureColumn, TableColumns, is_file, table_of
from alphaseal.tables.instruments import normalise
from alphaseal.tables.look_back import Span, newest_day, span_of
from alphaseal.tables.parquet import Budget, date_ranges, decode, open_parquet
from alphaseal.tables.period import DateRange, Day
from alphaseal.tables.reading import read
from alphaseal.tables.request import EVERYTHING, Request
from alphaseal.tables.windows import Calendar

_BLOCK_BYTES = 32 << 20
_KEY_BATCH = 131_072


@dataclass(frozen=True, eq=False)
class BarSource:
    """A table of bars that can be read more than once, and how its stocks and days are named.

    `columns` are those of the table that hold a field, each as float32; `places` the positions in it of each field.
    """

    table: Any
    fields: tuple[str, ...]
    columns: tuple[FeatureColumn, ...]
    places: tuple[tuple[int, ...], ...]
    request: Request

    @classmethod
    def of(cls, table: Any, fields: Sequence[str], request: Request = EVERYTHING) -> BarSource:
        """Of the `request` the dates do not count.  Raises InputError `bars.missing_column` where the table lacks a field."""
        with _about_bars():
            table = table if is_file(table) else table_of(table)
            known = {plain for name in names_of(table) if (plain := plain_name(name)) is not None}
        forms = [[form for form in (field, f"${field}") if form in known] for field in fields]
        missing = [field for field, found in zip(fields, forms, strict=True) if not found]
        if missing:
            raise InputError(
                "bars.missing_column",
                "the bars lack columns that the alpha features are made of",
                where="the bars",
                expected=", ".join(missing),
                found=", ".join(sorted(known))[:300],
                next_step="add these columns, by plain name or with a dollar sign",
            )
        columns = [form for found in forms for form in found]
        ends = np.cumsum([0, *map(len, forms)]).tolist()
        return cls(
            table,
            tuple(fields),
            tuple(FeatureColumn(name, "float32") for name in columns),
            tuple(tuple(range(start, stop)) for start, stop in pairwise(ends)),
            replace(request, date=None, dates=None),
        )

    def span(self, days: int, *, date: Day | None = None, dates: DateRange | None = None) -> Span:
        """What must be read so that every date asked for has `days` days up to and with it.

        Raises InputError `bars.too_short`, `features.date_absent`, `window.not_in_calendar`.
        """
        try:
            with _about_bars():
                return span_of(self.table, self.columns, days, replace(self.request, date=date, dates=dates))
        except InputError as error:
            if error.code != "window.too_short":
                raise
            raise _too_short(days, error.expected, error.found) from None

    def narrowed(self, count: int) -> BarSource:
        """The same with the first `count` fields only."""
        columns = self.places[count - 1][-1] + 1
        return replace(self, fields=self.fields[:count], columns=self.columns[:columns], places=self.places[:count])

    def day_before(self, first: np.datetime64) -> np.datetime64 | None:
        """The newest day of the table, or of the caller's calendar, before `first`; None where the table has no row then."""
        earlier = None if self.request.calendar is None else self.request.calendar[self.request.calendar < first]
        if earlier is not None:
            low = int(earlier[-1].astype(np.int64)) if len(earlier) else FIRST_DAY - 1
            return earlier[-1] if len(earlier) and self.reaches(low, low) else None
        with _about_bars():
            days = newest_day(self.table, self.columns, int(first.astype(np.int64)) - 1)
        return None if days is None else np.datetime64(days, "D")

    def read(self, span: Span) -> FeatureBlock:
        """All rows of the span, one float32 column per field."""
        with _about_bars():
            return self._merged(read(self.table, self.columns, replace(self.request, dates=span.read)))

    def read_range(self, first: np.datetime64, last: np.datetime64) -> FeatureBlock | None:
        """All rows of the dates from first to last, None where there are none."""
        try:
            return self.read(Span((first, last), first))
        except InputError as error:
            if error.code != "features.date_absent":
                raise
            return None

    def stream(self, span: Span) -> Iterator[FeatureBlock]:
        """The same of a parquet file, in blocks of whole dates in ascending order, in bounded memory."""
        with _about_bars():
            blocks = iter_parquet(
                self.table,
                self.columns,
                dates=span.read,
                notation=self.request.notation,
                limits=self.request.limits,
                block_bytes=_BLOCK_BYTES,
            )
            for block in blocks:
                yield self._merged(block)

    def days_between(self, rows: FeatureBlock, first: np.datetime64, last: np.datetime64) -> Calendar | None:
        """The calendar's days from first to last, all of which have rows; None where the caller named no calendar.

        Raises InputError `bars.too_short` and `bars.day_missing`.
        """
        if self.request.calendar is None:
            return None
        days = self.request.calendar[(self.request.calendar >= first) & (self.request.calendar <= last)]
        missing = days[~np.isin(days, rows.dates)]
        # Asked only where there is an error: the whole table may hold older days.
        if len(missing) and missing[-1] < rows.dates[0] and not self.names_before(first):
            raise _too_short(len(days), f"rows from {first} on", f"rows from {rows.dates[0]} on")
        if len(missing):
            raise day_missing(missing)
        return days

    def names_before(self, first: np.datetime64) -> set[str]:
        """The stocks that have a row before `first`; of the table's columns only the keys are read."""
        with _about_bars():
            found = [names.unique() for _, names in self._keys(FIRST_DAY, int(first.astype(np.int64)) - 1)]
            texts = pa.chunked_array(found, pa.string()).unique()
        try:
            return set(self._normalised(texts))
        except InputError:
            # A name that is no stock of the bundle's, on a day that nobody asked for, is only itself.
            return {name for text in texts.to_pylist() for name in self._known(text)}

    def ends(self, span: Span) -> dict[str, np.datetime64]:
        """The date of the table's last row of each stock that has a row in the span; only the keys are read."""
        first, last = (int(date.astype(np.int64)) for date in span.read)
        texts: dict[str, tuple[bool, int]] = {}
        with _about_bars():
            for days, names in self._keys(first, LAST_DAY):
                encoded = names.dictionary_encode()
                codes = numbers_of(encoded.indices, np.dtype(np.int32))
                newest = np.full(len(encoded.dictionary), FIRST_DAY)
                np.maximum.at(newest, codes, days)
                within = np.zeros(len(newest), np.bool_)
                within[codes[days <= last]] = True
                for text, here, day in zip(encoded.dictionary.to_pylist(), within, newest, strict=True):
                    met, end = texts.get(text, (False, FIRST_DAY))
                    texts[text] = met or bool(here), max(end, int(day))
        return {
            name: np.datetime64(end, "D") for text, (met, end) in texts.items() if met for name in self._known(text)
        }

    def reaches(self, first: int, last: int) -> bool:
        """Whether the table has a row on a day from first to last (days since 1970-01-01)."""
        with _about_bars():
            return any(len(days) for days, _ in self._keys(first, last))

    def _normalised(self, names: Any) -> list[str]:
        found: list[str] = normalise(names, self.request.notation).to_pylist()
        return found

    def _known(self, name: str) -> list[str]:
        try:
            return self._normalised(text_array([name]))
        except InputError:
            return []

    def _keys(self, first: int, last: int) -> Iterator[tuple[Days, Any]]:
        """(days, instruments as text) of the rows from day first to day last, in parts."""
        if not is_file(self.table):
            plan = TableColumns.of(self.table.schema, self.columns)
            for batch in self.table.select([plan.date, plan.instrument]).to_batches():
                yield _chosen(batch, plan, first, last)
            return
        with open_parquet(self.table) as file:
            plan = TableColumns.of(file.schema_arrow, self.columns)
            ranges = enumerate(date_ranges(file, plan.date))
            groups = [group for group, (oldest, newest) in ranges if oldest <= last and newest >= first]
            budget = Budget.of_file(file, replace(self.request.limits, rows=None))
            for batch in decode(file, groups, [plan.date, plan.instrument], _KEY_BATCH, budget):
                yield _chosen(batch, plan, first, last)

    def _merged(self, block: FeatureBlock) -> FeatureBlock:
        """One column per field; InputError `bars.contradiction` where two forms of its name say different things."""
        merged = np.empty((len(block), len(self.fields)), np.float32)
        for position, places in enumerate(self.places):
            merged[:, position] = block.values[:, places[0]]
            for place in places[1:]:
                self._compare(block, merged[:, position], place)
        return FeatureBlock(block.dates, block.instruments, merged, ())  # type: ignore[arg-type]

    def _compare(self, block: FeatureBlock, values: npt.NDArray[np.float32], place: int) -> None:
        other = block.values[:, place]
        different = np.flatnonzero((values != other) & ~(np.isnan(values) & np.isnan(other)))
        if len(different):
            row = int(different[0])
            name = self.columns[place].name
            raise InputError(
                "bars.contradiction",
                "a field is in the bars twice, with different values",
                where=f"the bars, columns {name.removeprefix('$')!r} and {name!r}",
                expected="one column per field, or equal ones",
                found=f"{values[row]} and {other[row]} for {block.instruments[row].as_py()} on {block.dates[row]}",
                next_step="leave out the one that the model was not trained on",
            )


def together(parts: Sequence[FeatureBlock], width: int) -> FeatureBlock:
    """Rows of later dates after those of earlier ones; `width` columns of none."""
    if not parts:
        return FeatureBlock(np.zeros(0, "datetime64[D]"), text_array([]), np.zeros((0, width)), ())
    if len(parts) == 1:
        return parts[0]
    return FeatureBlock(
        np.concatenate([part.dates for part in parts]),
        pa.concat_arrays([part.instruments for part in parts]),
        np.concatenate([part.values for part in parts]),
        (),
    )


def numeric_fields(table: Any, names: Iterable[str]) -> list[str]:
    """Those of the fields that a table has in exactly one form, as integers or floats."""
    if is_file(table):
        with open_parquet(table) as file:
            schema = file.schema_arrow
    else:
        schema = table.schema
    kinds: dict[str, list[Any]] = {}
    for name in schema.names:
        if (plain := plain_name(name)) is not None:
            kinds.setdefault(plain.removeprefix("$"), []).append(schema.field(schema.get_field_index(name)).type)
    return [name for name in names if len(kinds.get(name, ())) == 1 and _is_number(kinds[name][0])]


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def names_of(table: Any) -> list[str]:
    """Names of the columns of a parquet file or a table in memory."""
    if not is_file(table):
        return list(table.schema.names)
    with open_parquet(table) as file:
        return list(file.schema_arrow.names)


def _chosen(batch: Any, plan: TableColumns, first: int, last: int) -> tuple[Days, Any]:
    """Days and instruments of a batch's rows from day first to day last."""
    # As plain text first: Arrow has no kernel that takes from a view array.
    days, names = days_of(batch.column(plan.date)), text_of(batch.column(plan.instrument))
    chosen = (days >= first) & (days <= last)
    if chosen.all():
        return days, names
    return days[chosen], names.take(indices_of(np.flatnonzero(chosen)))


def day_missing(missing: Calendar) -> InputError:
    """What to say of days of the caller's calendar without any row."""
    return InputError(
        "bars.day_missing",
        "the bars have no row at all on a day of the calendar",
        where="the bars",
        expected="bars on every trading day",
        found=f"none on {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
        next_step="load the missing days; a stock without a price has a row of missing values, or none",
    )


def _too_short(days: int, expected: str | None, found: str | None) -> InputError:
    return InputError(
        "bars.too_short",
        f"the alpha features of a day look at {days} days of bars",
        where="the bars",
        expected=expected,
        found=found,
        next_step="give bars that reach further back",
    )


@contextmanager
def _about_bars() -> Iterator[None]:
    """Errors of the readers say that they are about the bars, not the features."""
    try:
        yield
    except AlphasealError as error:
        if error.where is None or not error.where.startswith("the bars"):
            place = "the bars" if error.where is None else f"the bars, {error.where}"
            raise error.saying(where=place) from error.__cause__
        raise
