"""From bars, and a table of the features that bars do not give, to the rows that a model scores.

A row is a stock with a row of bars on the date, as in qlib's loaders, which join everything to the handler's own columns
from the left: features of a stock that the table lacks are missing values, and a stock of the table without bars is none.
A day without a row between two that a stock has is a row of missing bars for the stages of the model, as in qlib's files,
and gets no score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from alphaseal.arrow.columns import indices_of, numbers_of, plain_name, text_array
from alphaseal.bars import conventions
from alphaseal.bars.adjustment import splits
from alphaseal.bars.calendar import Bars, bars_of, stream_bars
from alphaseal.bars.conventions import Watch
from alphaseal.bars.jumps import JumpCheck
from alphaseal.bars.source import BarSource, names_of, numeric_fields, together
from alphaseal.bars.trading_days import DayCheck
from alphaseal.errors import InputError
from alphaseal.format.reasons import FILLED, HISTORY, JUMPED, NO_BARS, NOT_IN_UNIVERSE
from alphaseal.scoring.scores import with_excluded
from alphaseal.tables.feature_files import iter_parquet
from alphaseal.tables.features import FeatureBlock, is_file, table_of
from alphaseal.tables.look_back import span_of
from alphaseal.tables.members.membership import LATE
from alphaseal.tables.reading import read
from alphaseal.tables.request import Notation, Request
from alphaseal.tables.windows import Calendar, Rows

if TYPE_CHECKING:
    from alphaseal.format.manifest import Conventions, Feature, Moves, TradingDays
    from alphaseal.scoring.scores import Scores
    from alphaseal.tables.look_back import Span
    from alphaseal.tables.members.membership import Membership
    from alphaseal.tables.members.universe import Universe

_BLOCK_BYTES = 64 << 20
"""Of the features that a part of a stream holds."""
LeftOut = tuple[tuple[np.datetime64, str], ...]
Barred = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False, kw_only=True)
class BarBlock(FeatureBlock):
    """Rows ready for the model; `without_bars` (date, instrument) are stocks that have no row of bars on the date.

    They are in the feature table, or had a row a short time ago.  `given` bool [rows]: the bars have the row; the others
    are days of a suspension.  `barred` [rows]: why the stock's bars cannot be taken, "" where they can.  `warnings` are
    about the bars that the rows were made of.
    """

    given: npt.NDArray[np.bool_]
    barred: npt.NDArray[np.object_]
    without_bars: LeftOut

    def told(self) -> set[tuple[np.datetime64, str]]:
        return super().told() | set(self.without_bars)

    def taken(self, rows: Rows) -> BarBlock:
        return replace(super().taken(rows), given=self.given[rows], barred=self.barred[rows])

    def scored(self, rows: Rows, scores: npt.NDArray[np.float64]) -> tuple[BarBlock, Rows, npt.NDArray[np.float64]]:
        """The block without days of suspensions, and what of the pipeline's `rows` and `scores` is left then."""
        block = self
        if (self.barred != "").any():
            before = self.barred if self.reasons is None else np.where(self.reasons == "", self.barred, self.reasons)
            block = replace(self, reasons=before)
        if block.given.all():
            return block, rows, scores
        chosen = block.given[rows]
        return (
            block.taken(np.flatnonzero(block.given)),
            (np.cumsum(block.given) - 1)[rows[chosen]],
            scores[chosen],
        )


@dataclass(frozen=True, eq=False)
class Computed:
    """`values` float64 [stocks, features] of a day; `unknown` bool [stocks]: a value that the model asks for depends on days
    before those that were looked at."""

    values: npt.NDArray[np.float64]
    unknown: Barred


class BarColumns(Protocol):
    """The features that graphs make of bars (`alphaseal.factors.features.BarFeatures`)."""

    @property
    def window(self) -> int: ...
    @property
    def fields(self) -> Sequence[str]: ...
    @property
    def features(self) -> Sequence[str]: ...
    @property
    def watched(self) -> Membership | None: ...
    def side_table(self, bars: Bars, days: range) -> Any: ...
    def compute(self, bars: Bars, day: int, rows: npt.NDArray[np.int64], static: Any) -> Computed: ...


@dataclass(frozen=True, eq=False)
class BarInput:
    """Bars and features of one call, checked for columns: every feature has one source.

    `bars` have the fields of the graphs, and after them those that only `watch` and `jumps` look at.
    """

    features: Sequence[Feature]
    columns: BarColumns
    bars: BarSource
    watch: Watch | None
    jumps: JumpCheck | None
    trading_days: TradingDays | None
    members: Membership
    step_length: int
    together: Sequence[int]
    """Places of features of which a stock has all on a day, or none."""
    table: Any
    request: Request

    @classmethod
    def of(
        cls,
        features: Sequence[Feature],
        columns: BarColumns,
        bars: Any,
        table: Any,
        *,
        recorded: Sequence[Conventions] | None,
        moves: Moves | None,
        trading_days: TradingDays | None,
        members: Membership,
        step_length: int,
        together: Sequence[int],
        request: Request,
    ) -> BarInput:
        """`bars` and `table` (None: there is none) are paths of parquet files or tables in memory; `step_length` dates of
        features are what a score looks at.

        Raises InputError `bars.features_twice`, `bars.features_missing`, `bars.missing_column`.
        """
        table = table if table is None or is_file(table) else table_of(table)
        given = set() if table is None else {plain_name(name) for name in names_of(table)}
        _check_sources(features, set(columns.features), given)
        bars = bars if is_file(bars) else table_of(bars)
        more = [name for found in recorded or () for name in found.fields if name not in columns.fields]
        fields = (*columns.fields, *numeric_fields(bars, dict.fromkeys(more)))
        source = BarSource.of(bars, fields, request)
        days = columns.window + step_length - 1
        watch, jumps = Watch.of(recorded, fields, days), JumpCheck.of(moves, fields, days)
        return cls(
            features, columns, source, watch, jumps, trading_days, members, step_length, together, table, request
        )

    @property
    def graph_bars(self) -> BarSource:
        """The bars with the fields of the graph alone."""
        return self.bars.narrowed(len(self.columns.fields))

    def span(self) -> Span:
        """The bars to read: those of the alpha features of every date that a window over features looks at.

        A range that is open at its start begins with the first date for which the table has features too.
        """
        days, date = self.columns.window + self.step_length - 1, self.request.date
        # Of neither a date nor a range is all of the bars.
        dates = self.request.dates or ((None, None) if date is None else None)
        span = self.bars.span(days, date=date, dates=dates)
        rest = [self.features[place] for place in self.places_given()]
        if dates is not None and dates[0] is None and self.table is not None and rest:
            first = span_of(self.table, rest, self.step_length, self.request).first
            span = span if first <= span.first else self.bars.span(days, dates=(first, dates[1]))
        # What the first day repeats is on the day before it, where the table has one.
        before = self.bars.day_before(span.read[0]) if self.watch is not None else None
        return span if before is None else replace(span, read=(before, span.read[1]), before=1)

    def blocks(self, span: Span, *, stream: bool) -> Iterator[BarBlock]:
        """Rows of whole dates in ascending order; with `stream` in parts, in bounded memory (parquet files only)."""
        window = self.columns.window + span.before
        reach = None if self.watch is None else self.watch.days + 1
        parts = stream_bars(self.bars, span, window, reach) if stream else iter([bars_of(self.bars, span, window)])
        given: _Given | None = None
        # A caller's own calendar says more than the training's.
        days = DayCheck(self.trading_days if self.request.calendar is None else None, "the bars")
        unknown = _Unknown(self.step_length, span.first, self.members.crosses)
        for number, bars in enumerate(parts):
            if given is None and self.table is not None:
                given = _Given(self._rows((bars.dates[bars.history], span.read[1]), stream), len(self.places_given()))
            days.see(bars.dates)
            # Of a part that goes on from another one the history was looked at before.
            since = max(1, bars.history) if number else 1
            warnings = splits(bars, self.columns.fields, since) if self.jumps is None else ()
            static = self.columns.side_table(bars, range(bars.history, len(bars.dates)))
            for start, stop in self._days(bars, stream):
                rows = None if given is None else given.until(bars.dates[stop - 1])
                barred, said = self._barred(bars, range(start, stop), span.first)
                block, odd = self._block(bars, slice(start, stop), rows, barred, (*warnings, *said), static)
                if self.columns.watched is not None:
                    # Only whether all stocks are there that the factors must see.
                    self.columns.watched.choose(block)
                yield self.members.choose(unknown.marked(block, odd))

    def _days(self, bars: Bars, stream: bool) -> list[tuple[int, int]]:
        """First day and the day after the last of each block: all at once, or few enough rows for the memory."""
        first, last = bars.history, len(bars.dates)
        if not stream:
            return [(first, last)]
        largest = max(1, int(bars.listed()[:, first:].sum(axis=0).max()))
        step = max(1, _BLOCK_BYTES // (8 * len(self.features) * largest))
        return [(day, min(day + step, last)) for day in range(first, last, step)]

    def _barred(self, bars: Bars, days: range, first: np.datetime64) -> tuple[dict[str, Barred], tuple[str, ...]]:
        """(by reason bool [stocks, days]: stocks whose bars up to the day cannot be taken, warnings) of the dates from
        `first` on.

        Raises InputError `bars.suspended` and `bars.jump` where a stage looks at all stocks of a day and one of them is such.
        """
        days = range(max(days.start, int(np.searchsorted(bars.dates, first))), days.stop)
        barred: dict[str, Barred] = {}
        if not days:
            return barred, ()
        facts = self.members.facts(bars.instruments)
        scope = (facts.outside() == "") & ~facts.context
        warnings: list[str] = []
        if self.watch is not None:
            barred[FILLED], found = self.watch.look(bars, self.bars.fields, scope, self.members.marked(bars), days)
            for day, odd in zip(days, found, strict=True):
                if self._seen(bars, day, barred[FILLED]):
                    raise conventions.refusal(odd, bars.dates[day])
            # Of a stock that begins late it is enough that it has no score: a suspended one may well have no row there.
            told = [[odd for odd in odds if odd.kind != LATE] for odds in found]
            said = [(bars.dates[day], odds) for day, odds in zip(days, told, strict=True) if odds]
            warnings += [conventions.warning(said)] if said else []
        if self.jumps is not None:
            barred[JUMPED], jumping = self.jumps.look(bars, scope, self.members.settled(bars), days)
            for day, stocks in zip(days, jumping, strict=True):
                if self._seen(bars, day, barred[JUMPED]):
                    raise self.jumps.refusal(stocks, bars.dates[day])
            moved = [(bars.dates[day], stocks) for day, stocks in zip(days, jumping, strict=True) if stocks]
            warnings += [self.jumps.warning(moved)] if moved else []
        return barred, tuple(warnings)

    def _seen(self, bars: Bars, day: int, refused: Barred) -> bool:
        """Whether a stage that looks at all stocks of the date, and of the dates before it that a window of the model looks
        at, sees one of the refused."""
        names = [bars.instruments[stock] for stock in np.flatnonzero(refused[:, day])]
        dates = bars.dates[max(0, day - self.step_length + 1) : day + 1]
        looking = [self.members] if self.members.crosses else []
        looking += [] if self.columns.watched is None else [self.columns.watched]
        return any(names and members.belongs(names, dates).any() for members in looking)

    def places_given(self) -> list[int]:
        """Positions of the features that come from the table."""
        computed = set(self.columns.features)
        return [place for place, feature in enumerate(self.features) if feature.name not in computed]

    def _rows(self, dates: tuple[np.datetime64, np.datetime64], stream: bool) -> Iterator[FeatureBlock]:
        # One notation is named for a vendor's bars; features that the producer made have the bundle's own.
        named = self.request.notation
        for source in (named.source, None) if named.source is not None else (None,):
            begun = False
            try:
                for block in self._read(dates, stream, replace(named, source=source)):
                    begun = True
                    yield block
                return
            except InputError as error:
                if error.code != "instrument.pattern":
                    raise
                if begun or source is None:
                    # Bars have stocks, too: the message says which table it is about.
                    raise error.saying(where=f"the features, {error.where}") from None

    def _read(
        self, dates: tuple[np.datetime64, np.datetime64], stream: bool, notation: Notation
    ) -> Iterator[FeatureBlock]:
        rest = [self.features[place] for place in self.places_given()]
        if stream and is_file(self.table):
            yield from iter_parquet(self.table, rest, dates=dates, notation=notation, limits=self.request.limits)
        else:
            yield read(self.table, rest, replace(self.request, date=None, dates=dates, notation=notation))

    def _block(
        self,
        bars: Bars,
        days: slice,
        given: FeatureBlock | None,
        barred: dict[str, Barred],
        warnings: tuple[str, ...],
        static: Any,
    ) -> tuple[BarBlock, Barred]:
        """The rows of some days of the bars, with the given ones up to their last day, and which have unknown values."""
        day, stock = np.nonzero(bars.listed()[:, days].T)
        values = np.full((len(day), len(self.features)), np.nan)
        unknown = np.zeros(len(day), np.bool_)
        position = {feature.name: place for place, feature in enumerate(self.features)}
        targets = [position[name] for name in self.columns.features]
        starts = np.searchsorted(day, np.arange(days.stop - days.start + 1))
        for number, (start, stop) in enumerate(pairwise(starts)):
            found = self.columns.compute(bars, days.start + number, stock[start:stop], static)
            values[start:stop, targets], unknown[start:stop] = found.values, found.unknown
        absent = (bars.listed() | bars.paused(self.columns.window))[:, days] & ~bars.present[:, days]
        left_out = {(bars.dates[days][day], bars.instruments[stock]) for stock, day in np.argwhere(absent)}
        if given is not None:
            left_out.update(self._join(values, bars, days, given))
        if len(self.together):
            values[np.ix_(np.isnan(values[:, self.together]).any(axis=1), self.together)] = np.nan
        reasons = np.full(len(day), "", object)
        for reason, mask in reversed(barred.items()):
            reasons[mask[:, days][stock, day]] = reason
        block = BarBlock(
            dates=bars.dates[days][day],
            instruments=text_array(bars.instruments).take(indices_of(stock)),
            values=values,
            extra=(),
            given=bars.present[:, days][stock, day],
            barred=reasons,
            without_bars=tuple(sorted(left_out)),
            warnings=warnings,
        )
        return block, unknown

    def _join(self, values: npt.NDArray[np.float64], bars: Bars, days: slice, given: FeatureBlock) -> LeftOut:
        """Put the table's values where date and instrument are the same; the rows that are nowhere."""
        dates = bars.dates[days]
        if rest := self.places_given():
            _check_dates(dates, given.dates)
        _check_bars_of(given.dates, dates)
        place = {name: number for number, name in enumerate(bars.instruments)}
        encoded = given.instruments.dictionary_encode()
        stocks = np.array([place.get(name, -1) for name in encoded.dictionary.to_pylist()], np.int64)
        stock = stocks[numbers_of(encoded.indices, np.dtype(np.int32))] if len(given) else np.zeros(0, np.int64)
        day = np.searchsorted(dates, given.dates)
        listed = bars.listed()[:, days]
        found = (stock >= 0) & listed[stock, day]
        rows = np.cumsum(listed.T).reshape(listed.T.shape) - 1
        values[np.ix_(rows[day[found], stock[found]], rest)] = given.values[found]
        lost = np.flatnonzero(~found)
        return tuple(zip(given.dates[lost], given.instruments.take(indices_of(lost)).to_pylist(), strict=True))


class _Unknown:
    """Which rows look at an unknown value, on their own day or on those before it that a window of the model has.

    `steps` dates are what a score looks at; `first` is the first date that is scored; `crosses`: a stage looks at all stocks.
    """

    def __init__(self, steps: int, first: np.datetime64, crosses: bool) -> None:
        self._steps, self._first, self._crosses = steps, first, crosses
        self._days = 0
        self._last: dict[str, int] = {}
        """Stock -> number of the last day with an unknown value."""

    def marked(self, block: BarBlock, unknown: Barred) -> BarBlock:
        """The block with the reason at these rows; InputError `factors.history` where no row of a date is left, or where a
        stage would see one of these."""
        number = self._days - 1
        reasons = block.barred.copy()
        for date, start, stop in block.spans():
            number += 1
            if not self._last and not unknown[start:stop].any():
                continue
            names = block.instruments.slice(start, stop - start).to_pylist()
            self._last.update((names[row], number) for row in np.flatnonzero(unknown[start:stop]).tolist())
            odd = np.array([number - self._last.get(name, -self._steps) < self._steps for name in names], np.bool_)
            if date >= self._first and (odd.all() or (self._crosses and odd.any())):
                raise InputError(
                    "factors.history",
                    "compiled factors depend on days before those that their graphs look at",
                    where=f"the bars up to {date}",
                    expected="values within the look-back of the bundle's factors",
                    found=f"none for {int(odd.sum())} of {len(names)} stocks, {names[int(odd.argmax())]} among them",
                    next_step="look for a field that the bars lack for months; or compute the factors with "
                    "alphaseal-convert features, and give all features with --features, without --bars",
                )
            reasons[start:stop][odd & (reasons[start:stop] == "")] = HISTORY
        self._days = number + 1
        return replace(block, barred=reasons)


class _Given:
    """The rows of a table of features, handed out by date."""

    def __init__(self, blocks: Iterator[FeatureBlock], width: int) -> None:
        self._blocks = blocks
        self._width = width
        self._kept: list[FeatureBlock] = []

    def until(self, last: np.datetime64) -> FeatureBlock:
        """The rows up to `last` that were not handed out before."""
        while not self._kept or self._kept[-1].dates[-1] < last:
            block = next(self._blocks, None)
            if block is None:
                break
            self._kept.append(block)
        parts = [_part(block, 0, int(np.searchsorted(block.dates, last, "right"))) for block in self._kept]
        rest = [_part(block, len(part), len(block)) for block, part in zip(self._kept, parts, strict=True)]
        self._kept = [block for block in rest if len(block)]
        return together(parts, self._width)


def _part(block: FeatureBlock, start: int, stop: int) -> FeatureBlock:
    instruments = block.instruments.slice(start, stop - start)
    return FeatureBlock(block.dates[start:stop], instruments, block.values[start:stop], ())


def _check_sources(features: Sequence[Feature], computed: set[str], given: set[str | None]) -> None:
    """Every feature is computed or given, and none is both."""
    twice = [feature.name for feature in features if feature.name in computed and feature.name in given]
    if twice:
        raise InputError(
            "bars.features_twice",
            f"{len(twice)} features are computed from the bars and are in the features table too",
            where="the features table",
            expected="one source for each feature",
            found=", ".join(twice),
            next_step="leave these columns out of the features, or score without bars",
        )
    missing = [feature for feature in features if feature.name not in computed and feature.name not in given]
    if missing:
        raise InputError(
            "bars.features_missing",
            f"{len(missing)} features of the model are neither computed from bars nor given",
            expected=", ".join(f"{feature.name} ({_reason(feature)})" for feature in missing),
            next_step="give these columns with a table of features; missing features are never filled in",
        )


def _reason(feature: Feature) -> str:
    if feature.not_compiled is not None:
        return feature.not_compiled
    return "a SOTA factor" if feature.origin == "sota" else "no alpha feature of the bundle's graph"


def _check_dates(wanted: Calendar, given: Calendar) -> None:
    missing = wanted[~np.isin(wanted, given)]
    if len(missing):
        raise InputError(
            "bars.features_absent",
            "the features table has no row on a date that the model looks at",
            where="the features table",
            expected=f"rows on {missing[0]}" + (f" and {len(missing) - 1} more dates" if len(missing) > 1 else ""),
            found="none",
            next_step="give features of these dates too (a model on windows also looks at dates before), or ask for other dates",
        )


def _check_bars_of(given: Calendar, dates: Calendar) -> None:
    """A date of the features, between dates of the bars, is one of them."""
    surplus = given[~np.isin(given, dates)]
    if len(surplus):
        raise InputError(
            "bars.calendar",
            "the features table has rows on a date on which the bars have none",
            where="the bars",
            expected=f"rows on {surplus[0]}",
            found="none",
            next_step="load the missing day, or leave out the features of a day that is no trading day",
        )


def completed(
    scores: Scores,
    block: BarBlock,
    first: np.datetime64 | None,
    universe: Universe | None,
    warnings: tuple[str, ...],
    units: dict[str, str],
) -> Scores:
    """The scores of a block with the stocks that had features from the date `first` on but no bars, with warnings, and
    with how the units of the bars were shown."""
    lost = [row for row in block.without_bars if first is None or row[0] >= first]
    reasons = [NO_BARS] * len(lost)
    if universe is not None:
        listed = set(zip(*(scores.excluded[name].to_pylist() for name in ("datetime", "instrument")), strict=True))
        lost = [(date, name) for date, name in lost if (date.astype(object), name) not in listed]
        wanted = {date: universe.on(date) for date in {date for date, _ in lost}}
        reasons = [NO_BARS if name in wanted[date] else NOT_IN_UNIVERSE for date, name in lost]
    return replace(
        scores,
        excluded=with_excluded(scores.excluded, lost, reasons),
        warnings=(*warnings, *scores.warnings),
        units=units,
    )
