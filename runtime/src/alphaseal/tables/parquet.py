"""Parquet files of a caller or a research machine: opened without extension types, decoded in bounded batches.

What the footer says is read by `parquet_footer` and never asked of pyarrow, and its statistics are not looked at: which
row groups hold a day is known from the date column itself, and so no order is assumed.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.arrow.columns import FIRST_DAY, INSTRUMENT_COLUMN, LAST_DAY, day_span, days_of
from alphaseal.arrow.versions import PLAIN_TYPES
from alphaseal.disk.verified import VerifiedFile
from alphaseal.errors import InputError, NotReadableError
from alphaseal.gate.parquet.footer import Footer, read_footer
from alphaseal.gate.parquet.pages import FURTHER_CODECS, check_pages
from alphaseal.gate.parquet.thrift import PageProblem
from alphaseal.tables.period import Period
from alphaseal.tables.request import UNLIMITED, Limits

_FILE_BUFFER = 256 << 10
_LEAST_BYTES = 64 << 20
_LARGEST_EXPANSION = 100
"""Times that a table of real values may grow when it is read: repeated dates and codes do, values hardly."""
_DATES_BATCH = 131_072
_WHEREVER = (FIRST_DAY, LAST_DAY)


@dataclass
class Budget:
    """What may still be decoded; counted on the data themselves, since a footer bounds nothing."""

    max_bytes: int
    max_rows: int | None
    seen_bytes: int = 0
    seen_rows: int = 0
    seen_pages: int = 0
    """Bytes that pages unpacked to."""

    @classmethod
    def of_file(cls, file: Any, limits: Limits = UNLIMITED) -> Budget:
        """What is asked for; without a limit of bytes so much as an honest file of that size can become."""
        return cls(limits.bytes or max(_LEAST_BYTES, _LARGEST_EXPANSION * file.handle.size()), limits.rows)

    def spend(self, batch: Any) -> None:
        self.seen_bytes += batch.nbytes
        self.seen_rows += batch.num_rows
        if self.seen_bytes > self.max_bytes:
            self.refuse(f"at most {self.max_bytes} bytes", f"{self.seen_bytes} bytes and more")
        if self.max_rows is not None and self.seen_rows > self.max_rows:
            self.refuse(f"at most {self.max_rows} rows", f"{self.seen_rows} rows and more")

    @staticmethod
    def refuse(expected: str, found: str) -> NoReturn:
        raise InputError(
            "features.too_large",
            "the file holds more data than is allowed",
            expected=expected,
            found=found,
            next_step="if the file is right, pass larger --max-bytes or --max-rows",
        )


class ParquetSource(pq.ParquetFile):  # type: ignore[misc]
    """A parquet file with the handle that it is read through, and our own reading of its footer."""

    def __init__(self, handle: Any, footer: Footer) -> None:
        super().__init__(
            handle,
            metadata=pq.read_metadata(handle),
            read_dictionary=[INSTRUMENT_COLUMN] if INSTRUMENT_COLUMN in footer.columns else [],
            buffer_size=_FILE_BUFFER,
            pre_buffer=False,
            **PLAIN_TYPES,
        )
        self.handle = handle
        self.footer = footer
        self.days_of_groups: dict[str, list[tuple[int, int]]] = {}
        """By date column: the first and the last day of each row group, where that was looked at."""

    @property
    def num_row_groups(self) -> int:
        return len(self.footer.groups)

    def check_group(self, group: int, columns: Sequence[str], budget: Budget) -> None:
        """InputError `features.too_large` or `features.not_parquet` by the page headers of what is about to be read."""
        wanted = set(columns)
        places = [place for place, name in enumerate(self.footer.columns) if name in wanted]
        left, chunks = budget.max_bytes - budget.seen_pages, self.footer.chunks([group], places)
        with as_input_errors():
            try:
                budget.seen_pages += check_pages(_reader(self.handle), chunks, codecs=FURTHER_CODECS, maximum=left)
            except PageProblem as problem:
                if problem.growth:
                    budget.refuse(f"at most {budget.max_bytes} bytes", str(problem))
                raise


def _handle_of(source: str | os.PathLike[str] | bytes | VerifiedFile) -> Any:
    if isinstance(source, bytes):
        return pa.BufferReader(source)
    return pa.PythonFile(source, mode="r") if isinstance(source, VerifiedFile) else pa.OSFile(os.fspath(source))


def _reader(handle: Any) -> Any:
    return lambda offset, count: bytes(handle.read_at(count, offset))


@contextlib.contextmanager
def open_parquet(source: str | os.PathLike[str] | bytes | VerifiedFile) -> Iterator[Any]:
    """The parquet file with instruments left as dictionaries (small and quick) and without extension types.

    Raises NotReadableError `features.not_readable`, InputError `features.not_parquet`.
    """
    with contextlib.ExitStack() as stack:
        try:
            handle = stack.enter_context(_handle_of(source))
        except (OSError, ValueError) as error:
            raise NotReadableError(
                "features.not_readable", "the features file cannot be read", where=str(source), found=str(error)
            ) from error
        with as_input_errors():
            footer = read_footer(_reader(handle), handle.size())
            if footer.rows != footer.counted_rows:
                raise PageProblem("its row groups have not the rows that it says")
            file = ParquetSource(handle, footer)
            # A schema that Arrow cannot express, or names that are no text, show here.
            file.schema_arrow.names  # noqa: B018
        yield file


@contextlib.contextmanager
def as_input_errors() -> Iterator[None]:
    """What pyarrow raises for damaged data, which is of many types, as InputError `features.not_parquet`."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, ArithmeticError, PageProblem) as error:
        raise _not_parquet(error) from error


def _not_parquet(error: Exception) -> InputError:
    return InputError("features.not_parquet", "the file is not readable as parquet", found=str(error)[:500])


def batch_rows(width: int, batch_bytes: int) -> int:
    """How many rows with `width` numbers and two keys take `batch_bytes`, within reason."""
    return max(1024, min(131_072, batch_bytes // (8 * (width + 2))))


def decode(file: Any, groups: Sequence[int], columns: list[str], rows: int, budget: Budget) -> Iterator[Any]:
    """Record batches of at most `rows` rows of some columns of some row groups, in file order.

    Raises InputError `features.not_parquet` for damaged pages and `features.too_large` beyond `budget`.
    """
    for group in groups:
        file.check_group(group, columns, budget)
        # One date's batches are small: threads for their columns cost twice the CPU and save no time (make bench).
        with as_input_errors():
            batches = file.iter_batches(
                batch_size=rows, row_groups=[group], columns=columns, use_threads=len(groups) > 1
            )
        while True:
            with as_input_errors():
                batch = next(batches, None)
            if batch is None:
                break
            budget.spend(batch)
            with as_input_errors():
                # Places in a dictionary and ends of texts are used unchecked from here on.
                batch.validate(full=True)
            yield batch


def date_ranges(file: Any, date_column: str) -> list[tuple[int, int]]:
    """(first day, last day) of each row group, by the date column itself; all of time for the only row group of a file.

    Statistics may lie, and what they hide is neither scored nor told.  Raises what `decode` and `days_of` do.
    """
    if file.num_row_groups <= 1:
        return [_WHEREVER] * file.num_row_groups
    if date_column not in file.days_of_groups:
        budget, ranges = Budget.of_file(file), []
        for group in range(file.num_row_groups):
            first, last = LAST_DAY + 1, FIRST_DAY - 1
            for batch in decode(file, [group], [date_column], _DATES_BATCH, budget):
                oldest, newest = day_span(batch.column(date_column))
                first, last = min(first, oldest), max(last, newest)
            ranges.append((first, last))
        file.days_of_groups[date_column] = ranges
    found: list[tuple[int, int]] = file.days_of_groups[date_column]
    return found


def groups_of(file: Any, date_column: str, period: Period) -> list[int]:
    """The row groups that may hold rows of `period`; the others' ends are remembered as neighbours of it."""
    groups = []
    for group, (first, last) in enumerate(date_ranges(file, date_column)):
        if period.meets(first, last):
            groups.append(group)
        else:
            period.note_absent(first, last)
    return groups


class Segment(NamedTuple):
    """Rows that are decoded together, their first and last day included."""

    first: int
    last: int
    rows: int
    """Rows of the period only."""
    end: int
    """Rows decoded up to the end of this segment, of the period or not."""


@dataclass
class Layout:
    """Where the days of a file lie, by segments (runs of rows as they are decoded, in file order)."""

    groups: list[int]
    segments: list[Segment]
    """Segments without a row of the period are left out."""
    rows_per_day: dict[int, int]

    @classmethod
    def of(
        cls, file: Any, groups: Sequence[int], date_column: str, rows: int, period: Period, budget: Budget | None = None
    ) -> Layout:
        """Read the date column of `groups`, and nothing else, in segments of at most `rows` rows."""
        layout = cls(list(groups), [], {})
        end = 0
        for batch in decode(file, groups, [date_column], rows, budget or unlimited()):
            end += batch.num_rows
            days = days_of(batch.column(date_column))
            days = days[period.mask(days)]
            if len(days):
                distinct, counts = np.unique(days, return_counts=True)
                layout.segments.append(Segment(int(distinct[0]), int(distinct[-1]), len(days), end))
                for day, count in zip(distinct.tolist(), counts.tolist(), strict=True):
                    layout.rows_per_day[day] = layout.rows_per_day.get(day, 0) + count
        return layout

    def next_days(self) -> list[int]:
        """Per segment the first day that a later segment still brings; a day after all of them for the last."""
        ahead, earliest = [], LAST_DAY + 1
        for segment in reversed(self.segments):
            ahead.append(earliest)
            earliest = min(earliest, segment.first)
        return ahead[::-1]

    def with_next_day(self, batches: Iterator[Any]) -> Iterator[tuple[Any, int]]:
        """Each batch, with a day before which no later batch brings a row.

        `batches` are those of `decode` for the same row groups and number of rows.  More columns may cut them finer than
        the segments are, so only finished segments count.
        """
        ends, next_days = [segment.end for segment in self.segments], self.next_days()
        read = 0
        for batch in batches:
            read += batch.num_rows
            finished = bisect.bisect_right(ends, read)
            yield batch, next_days[finished - 1] if finished else FIRST_DAY

    def backlog(self) -> int:
        """An upper bound of the rows that reading in file order would hold back at once, waiting for their day's end."""
        waiting: list[tuple[int, int]] = []
        largest = 0
        for segment, ahead in zip(self.segments, self.next_days(), strict=True):
            waiting = [(last, rows) for last, rows in [*waiting, (segment.last, segment.rows)] if last >= ahead]
            largest = max(largest, sum(count for _, count in waiting))
        return largest

    def chunks(self, rows: int) -> Iterator[Period]:
        """Consecutive periods that cover all days, each of at most `rows` rows or of one day."""
        days = sorted(self.rows_per_day)
        start, held = 0, 0
        for position, day in enumerate(days):
            if held and held + self.rows_per_day[day] > rows:
                yield Period(days[start], days[position - 1])
                start, held = position, 0
            held += self.rows_per_day[day]
        if days:
            yield Period(days[start], days[-1])


def unlimited() -> Budget:
    """For readers that hold only a bounded part at a time."""
    return Budget(sys.maxsize, None)
