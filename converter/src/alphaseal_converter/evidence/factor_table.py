"""The run's factor table beside what programs make of the bars that its factors were computed on.

Those bars (RD-Agent's daily_pv.h5) are everything that the run's market data have, from a day on that nobody recorded; the
first days of the table, whose windows were still short, show which one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alphaseal.arrow.columns import numbers_of
from alphaseal.bars.calendar import Bars
from alphaseal.factors.daily import FactorColumns
from alphaseal.format.manifest import RecordedUniverse
from alphaseal.tables.feature_files import read_parquet
from alphaseal.tables.features import FeatureBlock
from alphaseal_converter.emission.tables import BARS, SideFile, as_side_table
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.order import OrderedFeature
from alphaseal_converter.evidence.universes import EVERYTHING
from alphaseal_converter.factors.expressions.evaluate import Table
from alphaseal_converter.factors.process import Runner
from alphaseal_converter.factors.table import column_names, is_complete
from alphaseal_converter.market.bars import Market
from alphaseal_converter.market.provider import read_bars

_ANY_FIELD: Final = "close"
_RDAGENT: Final = np.datetime64("2008-12-29")
"""First day that RD-Agent's own generator of daily_pv.h5 keeps (rdagent 1.0.0, factor_data_template/generate.py)."""
_MOST_BEGINNINGS: Final = 400
"""Days before the first recorded one that are tried as the first day of the bars."""

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Research:
    """What the factors of a run were computed on, and what was recorded of them, as far as it is at hand.

    `market` is None where there are no market data, `absent` says why in words.  `recorded` is the run's factor table,
    `universe` whom the factors' code saw, `side` its side table, `runner` how pandas is asked (None: it is not).
    """

    market: Market | None
    absent: str = ""
    recorded: Path | None = None
    universe: RecordedUniverse | None = None
    side: SideFile | None = None
    runner: Runner | None = None


@dataclass(frozen=True, eq=False)
class Computed:
    """What programs give: `values` and `known` [recorded rows, factors], NaN where the bars have no such row.

    `beside` [days, stocks, factors], from the first recorded day to the last: a known value of a stock that the table has,
    where it has no row.
    """

    values: Values
    known: Mask
    beside: Mask


@dataclass(frozen=True, eq=False)
class Comparison:
    """One factor beside its column: `found` and `expected` [recorded rows]; `distance` in the larger of value and `scale`, the
    median size, 0 of rows that are not `known`; `same` bits, or missing on both sides."""

    found: Values
    expected: Values
    known: Mask
    same: Mask
    distance: Values
    beside: Mask
    scale: float
    bound: float

    @property
    def wrong(self) -> Places:
        """Recorded rows whose value is another one."""
        return np.flatnonzero(self.distance > self.bound)


@dataclass(frozen=True, eq=False)
class FactorTable:
    """The table's rows on the bars; `columns` are all that the file has, `names` those that are compared, in the order of
    `recorded`.  `complete`: the research removed rows that lack a value.  `late`: the bars begin after the market data."""

    fields: tuple[str, ...]
    columns: frozenset[str]
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    recorded: FeatureBlock
    complete: bool
    bars: Bars
    side: Table | None = None
    """The side table on the days and stocks of the bars, with the columns that factors read."""
    late: bool = False

    @classmethod
    def read(
        cls,
        market: Market,
        parquet: Path,
        research: Research,
        reads: tuple[Sequence[str], Sequence[str]],
        features: Sequence[OrderedFeature],
    ) -> FactorTable:
        """With the bars of all stocks of the universe, from the first day of the market data to the last recorded one; factors
        read these fields of the bars and these columns of the side table.

        Raises RefusalError `provider.*` where the market data cannot be read, or have none of the table's days, and
        `factor.static`.
        """
        recorded, provider, universe = read_parquet(parquet, features), market.provider, research.universe
        if not np.isin(recorded.dates, provider.calendar).any():
            raise RefusalError(
                "provider.day",
                "the market data have no day of the factor table",
                where=str(provider.root / "calendars/day.txt"),
                expected=f"days of {parquet.name}"
                + (f" from {recorded.dates[0]} on" if len(recorded) else ", which has no row"),
                found=f"days from {provider.calendar[0]} to {provider.calendar[-1]}",
                next_step="name the data that the run was trained on with --provider",
            )
        stocks = provider.universe(EVERYTHING)
        if universe is not None and universe.members is not None:
            seen = {line.split(" ")[0] for line in universe.members}
            stocks = {name: spans for name, spans in stocks.items() if name in seen}
        # Bars have a field, whatever the factors read.
        wanted = tuple(reads[0]) or (_ANY_FIELD,)
        stop = int(np.searchsorted(provider.calendar, recorded.dates[-1], "right"))
        bars = read_bars(provider, stocks, wanted, slice(0, stop), (None, None))
        side = None if research.side is None else research.side.on(bars.dates, bars.instruments, reads[1])
        return cls(
            fields=wanted,
            columns=frozenset(name for name, _ in column_names(parquet)),
            names=tuple(feature.name for feature in features),
            dtypes=tuple(feature.dtype for feature in features),
            recorded=recorded,
            complete=is_complete(parquet),
            bars=bars,
            side=side,
        )

    @cached_property
    def whole(self) -> frozenset[str]:
        """Tables that have a row on every day of each stock's series."""
        return frozenset({BARS}) if (self.bars.present == self.bars.listed()).all() else frozenset()

    @cached_property
    def stocks(self) -> Places:
        """int64 [recorded rows]: the stock in the bars, -1 where they lack it."""
        place = {name: number for number, name in enumerate(self.bars.instruments)}
        encoded = self.recorded.instruments.dictionary_encode()
        known = np.array([place.get(name, -1) for name in encoded.dictionary.to_pylist()], np.int64)
        return np.asarray(known[numbers_of(encoded.indices, np.dtype(np.int32))])

    @cached_property
    def days(self) -> Places:
        """int64 [recorded rows]: the day in the bars, -1 where they lack it."""
        day = np.minimum(np.searchsorted(self.bars.dates, self.recorded.dates), len(self.bars.dates) - 1)
        return np.where(self.bars.dates[day] == self.recorded.dates, day, -1).astype(np.int64)

    @property
    def first(self) -> int:
        """The first recorded day in the bars."""
        return int(np.searchsorted(self.bars.dates, self.recorded.dates[0]))

    @property
    def last(self) -> int:
        """The last recorded day in the bars."""
        return int(self.days.max())

    def since(self, day: np.datetime64) -> FactorTable:
        """The same with bars that begin on that day."""
        start = int(np.searchsorted(self.bars.dates, day))
        days = slice(start, len(self.bars.dates))
        return replace(self, bars=self.bars.between(days.start, days.stop), side=self.side_on(days), late=start > 0)

    def side_on(self, days: slice, stocks: Places | None = None) -> Table | None:
        """The side table on some days, and of some stocks (None: all)."""
        if self.side is None:
            return None
        chosen = slice(None) if stocks is None else stocks

        def part(grid: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return grid[days][:, chosen]

        return Table({name: part(grid) for name, grid in self.side.columns.items()}, part(self.side.rows))

    def missing(self, column: str) -> float:
        """The largest share of stocks with bars that had no value in a column of the side table, on a recorded day."""
        assert self.side is not None
        values, rows = self.side.columns[column], self.side.rows
        none = ~rows | (np.isnan(values) if values.dtype.kind == "f" else (values < 0) & (values.dtype == np.int32))
        shares = [
            float(none[day, there].mean())
            for day in range(self.first, self.last + 1)
            if (there := self.bars.present[:, day]).any()
        ]
        return max(shares, default=0.0)

    def with_fields(self, market: Market, fields: Sequence[str], days: slice, stocks: Places) -> Bars:
        """Bars of some stocks on some days, with these fields; RefusalError `provider.*` as `read`."""
        provider = market.provider
        spans = provider.universe(EVERYTHING)
        start = int(np.searchsorted(provider.calendar, self.bars.dates[0]))
        wanted = {self.bars.instruments[stock]: spans[self.bars.instruments[stock]] for stock in stocks.tolist()}
        places = slice(start + days.start, start + days.stop)
        return read_bars(provider, wanted, fields, places, (None, None))

    def beginnings(self, window: int) -> Iterator[np.datetime64]:
        """Days on which the bars may have begun, that programs over so many days can tell from earlier ones: RD-Agent's own
        first, then the first recorded day and those before it."""
        dates, first = self.bars.dates, self.first
        if dates[0] < _RDAGENT <= dates[first]:
            yield _RDAGENT
        for back in range(min(window, _MOST_BEGINNINGS, first)):
            yield dates[first - back]

    def compute(self, columns: FactorColumns, days: Sequence[int] | None = None) -> Computed:
        """By the runtime, on these days (places in the bars; None: all from the first recorded one to the last)."""
        first, count = self.first, len(columns.names)
        shape = (self.last + 1 - first, len(self.bars.instruments))
        there = (self.days >= 0) & (self.stocks >= 0)
        in_table, recorded = np.zeros(shape[1], np.bool_), np.zeros(shape, np.bool_)
        in_table[self.stocks[there]] = True
        recorded[self.days[there] - first, self.stocks[there]] = True
        values = np.full((len(self.recorded), count), np.nan)
        known = np.ones(values.shape, np.bool_)
        beside = np.zeros((*shape, count), np.bool_)
        listed, side = self.bars.listed(), as_side_table(self.side)
        for day in range(first, self.last + 1) if days is None else days:
            seen = np.flatnonzero(listed[:, day])
            found = columns.compute(self.bars, self.fields, day, seen, side)
            # The table is sorted by date.
            start, stop = np.searchsorted(self.recorded.dates, [self.bars.dates[day], self.bars.dates[day] + 1])
            rows = start + np.flatnonzero(there[start:stop])
            place = np.searchsorted(seen, self.stocks[rows])
            inside = (place < len(seen)) & (seen[np.minimum(place, len(seen) - 1)] == self.stocks[rows])
            values[rows[inside]] = found.values[place[inside]]
            known[rows[inside]] = found.known[place[inside]]
            alone = in_table[seen] & ~recorded[day - first, seen]
            beside[day - first, seen[alone]] = (found.known & ~np.isnan(found.values))[alone]
        return Computed(values, known, beside)

    def compare(self, name: str, bound: float, computed: Computed, column: int = 0) -> Comparison:
        """The factor of that column of `computed`, beside what was recorded of it."""
        place = self.names.index(name)
        expected, found = self.recorded.values[:, place], computed.values[:, column]
        if self.dtypes[place] == "float32":
            found = found.astype(np.float32).astype(np.float64)
        known = computed.known[:, column]
        finite = np.abs(expected[np.isfinite(expected)])
        scale = float(np.median(finite)) if len(finite) else 0.0
        with np.errstate(invalid="ignore", divide="ignore"):
            same = (found == expected) | (np.isnan(found) & np.isnan(expected))
            distance = np.abs(found - expected) / np.maximum(np.abs(expected), scale or 1.0)
        distance = np.where(same | ~known, 0.0, np.where(np.isnan(distance), np.inf, distance))
        return Comparison(found, expected, known, same, distance, computed.beside[:, :, column], scale, bound)

    def differing(self, one: Comparison) -> str | None:
        """What of a factor is not as recorded, in words; None where all is.

        Of a complete table a row may be absent for want of another factor (see `unexplained`).
        """
        if len(wrong := one.wrong):
            row = int(one.distance.argmax())
            where = f"{self.recorded.dates[row]} {self.recorded.instruments[row].as_py()}"
            return (
                f"the graphs give other values than the run's factor table on {len(wrong)} of {int(one.known.sum())} "
                f"cells, {float(one.found[row])!r} for {float(one.expected[row])!r} on {where}"
            )
        if self.complete or not one.beside.any():
            return None
        return f"the graphs give {self._absent(one.beside)}, and the run's factor table has none there"

    def unexplained(self, values: Sequence[Mask]) -> str | None:
        """Of a complete table whose columns are all computed, each with its `beside`: why a row is absent though no factor
        lacks a value, in words; None where there is no such row."""
        together = np.logical_and.reduce(values)
        if not together.any():
            return None
        return f"the graphs of all factors give {self._absent(together)}, and the run's factor table lacks these rows"

    def _absent(self, cells: Mask) -> str:
        day, stock = (int(place[0]) for place in np.nonzero(cells))
        where = f"{self.bars.dates[self.first + day]} {self.bars.instruments[stock]}"
        return f"values of {int(cells.sum())} more rows, the first on {where}"
