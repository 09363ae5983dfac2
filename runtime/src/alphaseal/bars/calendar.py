"""Daily bars of all stocks on one calendar, and the alpha features that a bundle's graph makes of them.

A stock's series begins with its first row in the table and ends with its last, wherever these rows are: what lies between
them are days without values (suspended), as in qlib's files; what lies before the first row is not there at all, and
windows of the graph are shorter then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alphaseal.arrow.columns import numbers_of
from alphaseal.bars.source import BarSource, together
from alphaseal.errors import PolicyError
from alphaseal.scoring.session import load_session, row_chunks, run_session, spread
from alphaseal.tables.features import FeatureBlock
from alphaseal.tables.period import DateRange, Day
from alphaseal.tables.request import AS_WRITTEN, UNLIMITED, Limits, Notation, Request
from alphaseal.tables.windows import Calendar, positions_in

if TYPE_CHECKING:
    from alphaseal.format.manifest import AlphaGraph
    from alphaseal.tables.look_back import Span

ROWS_PER_CALL = 256
"""Rows of windows that one call of the graph gets; what it computes on the way is many times its input."""


@dataclass(frozen=True, eq=False)
class Bars:
    """Bars of stocks on days.

    `dates` datetime64[D] [days], ascending: the calendar.  `instruments` in code point order.  `values` float32 [stocks,
    days, fields], NaN where there is none.  `first` int64 [stocks]: day at which the stock's series begins, 0 where it
    began earlier.  `present` bool [stocks, days]: the table has a row, be it of missing values only.  `history`: days at
    the start that are there for the windows of those after them only.  `last` int64 [stocks]: day at which the series
    ends, that of the last of `dates` where it goes on; None: with the last row.
    """

    dates: Calendar
    instruments: tuple[str, ...]
    values: npt.NDArray[np.float32]
    first: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_]
    history: int = 0
    last: npt.NDArray[np.int64] | None = None

    @classmethod
    def of_rows(
        cls,
        rows: FeatureBlock,
        calendar: Calendar | None = None,
        begun: AbstractSet[str] = frozenset(),
        ends: Mapping[str, np.datetime64] | None = None,
        history: int = 0,
    ) -> Bars:
        """The bars of `rows` (float32 values, one column per field) on `calendar`, by default on the dates of the rows.

        `begun` are stocks that have a row before the first date, `ends` the date of the last row of stocks, where it may
        be a later one; one of both that has no row here is suspended.  Raises InputError `window.not_in_calendar`.
        """
        dates = np.array([date for date, _, _ in rows.spans()]) if calendar is None else calendar
        encoded = rows.instruments.dictionary_encode()
        found = encoded.dictionary.to_pylist()
        going_on = {name for name, end in (ends or {}).items() if end > dates[-1]}
        instruments = tuple(sorted({*found, *(going_on & begun)}))
        place = {name: number for number, name in enumerate(instruments)}
        codes = numbers_of(encoded.indices, np.dtype(np.int32))
        stock = np.array([place[name] for name in found], np.int64)[codes]
        day = positions_in(dates, rows.dates)
        values = np.full((len(instruments), len(dates), rows.values.shape[1]), np.nan, np.float32)
        values[stock, day] = rows.values
        present = np.zeros(values.shape[:2], np.bool_)
        present[stock, day] = True
        first = np.where([name in begun for name in instruments], 0, present.argmax(axis=1))
        last = np.where([name in going_on for name in instruments], len(dates) - 1, _newest(present))
        return cls(dates, instruments, values, first, present, history, last)

    def part(self, stocks: slice) -> Bars:
        """Some of the stocks."""
        last = None if self.last is None else self.last[stocks]
        taken = self.values[stocks], self.first[stocks], self.present[stocks]
        return Bars(self.dates, self.instruments[stocks], *taken, self.history, last)

    def between(self, start: int, stop: int) -> Bars:
        """Some of the days; series that begin before them have begun."""
        last = None if self.last is None else np.minimum(self.last, stop - 1) - start
        taken = self.values[:, start:stop], np.maximum(self.first - start, 0), self.present[:, start:stop]
        return Bars(self.dates[start:stop], self.instruments, *taken, 0, last)

    def listed(self) -> npt.NDArray[np.bool_]:
        """bool [stocks, days]: the stock's series has the day, with a row or without."""
        day = np.arange(len(self.dates))
        last = _newest(self.present) if self.last is None else self.last
        mask: npt.NDArray[np.bool_] = (day >= self.first[:, None]) & (day <= last[:, None])
        return mask

    def paused(self, days: int) -> npt.NDArray[np.bool_]:
        """bool [stocks, days]: no row on the day, but one on the `days` days up to it."""
        counts = np.cumsum(self.present, axis=1)
        before = np.pad(counts, ((0, 0), (days, 0)))[:, : counts.shape[1]]
        return (counts > before) & ~self.present


class AlphaColumns:
    """The loaded alphas.onnx of a bundle."""

    def __init__(self, graph: bytes, description: AlphaGraph) -> None:
        """Raises PolicyError `model.not_loadable`, and `model.signature` where the graph is not what the manifest says."""
        self.window = description.window
        self.fields = tuple(description.fields)
        self.features = tuple(description.features)
        self._session = load_session(graph, description.file)
        ports = [*self._session.get_inputs(), *self._session.get_outputs()]
        found = [(port.name, port.type, list(port.shape)[1:]) for port in ports]
        said = [
            ("bars", "tensor(float)", [self.window, len(self.fields)]),
            ("length", "tensor(int64)", []),
            ("alphas", "tensor(float)", [len(self.features)]),
        ]
        if found != said or any(isinstance(port.shape[0], int) for port in ports):
            raise PolicyError(
                "model.signature",
                "the graph of the alpha features is not what the manifest says of it",
                where=description.file,
                expected=str(said),
                found=str(found)[:300],
            )

    def compute(
        self, bars: Bars, day: int, rows: npt.NDArray[np.int64], threads: int | None = None
    ) -> npt.NDArray[np.float32]:
        """float32 [rows, features] of the stocks `rows` (positions in `bars.instruments`) on the day of that position.

        NaN for a stock whose series begins later.  Days before the first of `bars` are days without values, on which no
        series had begun: give bars that reach `window` days back, or the market's whole history.
        """
        length = np.minimum(day - bars.first[rows] + 1, self.window)
        oldest = day + 1 - self.window
        missing = max(0, -oldest)
        result = np.full((len(rows), len(self.features)), np.nan, np.float32)

        def call(part: slice) -> None:
            window = np.full((part.stop - part.start, self.window, len(self.fields)), np.nan, np.float32)
            # Fields that only the checks look at come after those of the graph.
            window[:, missing:] = bars.values[rows[part], max(0, oldest) : day + 1, : len(self.fields)]
            # What a stock's rows cannot hold must not reach the graph: days before its series.
            lengths = np.maximum(length[part], 1)
            result[part] = run_session(self._session, {"bars": window, "length": lengths})

        spread(call, row_chunks(len(rows), ROWS_PER_CALL), threads)
        result[length < 1] = np.nan
        return result


def read_bars(
    table: Any,
    fields: Sequence[str],
    *,
    window: int,
    date: Day | None = None,
    dates: DateRange | None = None,
    calendar: Calendar | None = None,
    notation: Notation = AS_WRITTEN,
    limits: Limits = UNLIMITED,
) -> Bars:
    """Bars of the day `date`, or of the range `dates`, with the `window` - 1 days of history before the first of them.

    `table` is the path of a parquet file, or anything with the Arrow C stream interface: `datetime`, `instrument`, and
    each of `fields` by that name or with a dollar sign before it.  `calendar` (datetime64[D], ascending) names the
    trading days, by default the dates of the table.  The other arguments are those of `alphaseal.tables.feature_files.read_parquet`.

    Raises InputError `bars.*`, `window.not_in_calendar`, and what the readers of alphaseal.tables.features raise.
    """
    source = BarSource.of(table, fields, Request(calendar=calendar, notation=notation, limits=limits))
    return bars_of(source, source.span(window, date=date, dates=dates), window)


def bars_of(source: BarSource, span: Span, window: int) -> Bars:
    """All bars of a span; the first `window` - 1 days are history."""
    rows = source.read(span)
    calendar = source.days_between(rows, *span.read)
    bars = Bars.of_rows(rows, calendar, history=window - 1)
    # The keys of other days are read only where a stock has no row at an end of the span.
    if not bars.present[:, 0].all():
        begun = source.names_before(span.read[0])
        known = np.array([name in begun for name in bars.instruments], np.bool_)
        bars = replace(bars, first=np.where(known, 0, bars.first))
    if not bars.present[:, -1].all():
        ends = source.ends(span)
        later = np.array([ends[name] > bars.dates[-1] for name in bars.instruments], np.bool_)
        bars = replace(bars, last=np.where(later, len(bars.dates) - 1, _newest(bars.present)))
    return bars


def stream_bars(source: BarSource, span: Span, window: int, reach: int | None = None) -> Iterator[Bars]:
    """The bars of a span of a parquet file in parts of whole days, each with the history that its windows need.

    `reach`: days up to and with each day that a part has, if they are more than `window`; the first part has those of the
    span.
    """
    reach = window if reach is None else reach
    kept: FeatureBlock | None = None
    begun: set[str] | None = None
    done: np.datetime64 | None = None
    ends = source.ends(span)
    for block in source.stream(span):
        rows = block if kept is None else together([kept, block], len(source.fields))
        oldest = span.read[0] if kept is None or done is None else kept.dates[0] if len(kept) else done + 1
        calendar = source.days_between(rows, oldest, rows.dates[-1])
        dates = np.unique(rows.dates) if calendar is None else calendar
        history = window - 1 if done is None else int(np.searchsorted(dates, done, "right"))
        if len(dates) > history:
            begun = source.names_before(span.read[0]) if begun is None else begun
            yield Bars.of_rows(rows, dates, begun, ends, history)
            done = dates[-1]
        start = int(np.searchsorted(rows.dates, dates[max(0, len(dates) - (reach - 1))])) if reach > 1 else len(rows)
        if begun is not None:
            begun.update(rows.instruments.slice(0, start).unique().to_pylist())
        kept = FeatureBlock(rows.dates[start:], rows.instruments.slice(start), rows.values[start:].copy(), ())


def _newest(present: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """int64 [stocks]: day of the last row."""
    newest: npt.NDArray[np.int64] = present.shape[1] - 1 - present[:, ::-1].argmax(axis=1)
    return newest
