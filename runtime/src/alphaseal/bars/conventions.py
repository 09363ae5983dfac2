"""Days without trade in a table of bars: how the training's bars show them, and whether a caller's show them otherwise.

qlib leaves a suspended day without values.  A vendor's table may repeat the day before, put zeros, or draw a line between
the days around it; every feature that looks at the day is then another one.  The manifest records how often each kind of row
occurs in the training (`alphas.conventions`), and a table with more of a kind than the bound allows is not taken silently
(spec/bundle-v1.md, section 10.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from alphaseal.bars.adjustment import MENDS, PRICES
from alphaseal.errors import InputError
from alphaseal.format.manifest import Convention, Conventions
from alphaseal.plain_text import listed
from alphaseal.tables.chance import most_by_chance
from alphaseal.tables.members.membership import LATE, MARKED, UNLISTED

if TYPE_CHECKING:
    from alphaseal.bars.calendar import Bars

LOST = "lost"
"""A kind that follows from the table alone."""
FIELDS = ("open", "high", "low", "close", "volume")
"""Looked at where bars have them, whether a feature reads them or not."""
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
WORDS = {
    "missing": "have no row, or a row without a value",
    "not_positive": "have a price that is zero or negative",
    "stale": "repeat prices of the day before with a volume of zero, or without one",
    "without_price": "have values, but lack a price",
    "without_volume": "have prices, but lack another field",
    "zero_volume": "have a volume of zero",
    "repeated": "repeat the day before in every field",
    "same_prices": "repeat the prices of the day before",
    "same_volume": "repeat the volume of the day before",
    "interpolated": "follow a line from day to day in every field",
    LOST: "have no row, though the table writes days without trade as rows without a value",
    UNLISTED: "are older than the listing that the training's data have",
    LATE: "begin after the table does, although the training's data have the stock before",
}
"""What the bars of a stock do, by kind of row; a row that is of several is of the first."""
KINDS = tuple(kind for kind in WORDS if kind not in (LOST, *MARKED))
_FEW_ROWS = 3
_RARE = 100_000
"""A kind of row that the training has on three days, or on fewer than one of so many, is no convention of it."""
_BY_CHANCE = {"same_prices": 1e-5, "same_volume": 1e-5}
"""Kinds that occur on days of trade too: how often they may, for each day of a stock, however rare the training has them."""
_LIKELY = 0.05
_USUAL = 0.9
_MORE_SUSPENDED = 3
"""So many suspensions are taken to be possible in as many days of stocks as the training has, if it has none."""
_STOCKS_AT_ONCE = 256
_EACH_WRITTEN = 4
"""Rows without a value for each day without a row, from which on a table is taken to write its suspensions as rows."""
_EPSILON = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class Signs:
    """Which rows are of which kind: bool [stocks, days] by kind; `listed`: the stock's series has the day."""

    listed: Mask
    kinds: Mapping[str, Mask]

    @classmethod
    def of(cls, bars: Bars, fields: Sequence[str], columns: Sequence[str], reach: int) -> Signs:
        """`columns` names the columns of the bars; `fields` are those that are looked at.

        A row is of at most one kind.  It is compared with the rows before it, those without a value left out: with the
        last one, or for `repeated` with those of the `reach` days before.
        """
        used = [place for place, name in enumerate(columns) if name in fields and name != "factor"]
        values, names = np.ascontiguousarray(bars.values[:, :, used]), [columns[place] for place in used]
        listed_days = bars.listed()
        there = ~np.isnan(values)
        some: Mask = np.logical_or.reduce(there, axis=2)
        prices = [place for place, name in enumerate(names) if name in PRICES]
        priced, full = _every(there[:, :, prices]), _every(there)
        last = newest_before(priced)
        before = values_on(values[:, :, prices], last)
        still = _every(values[:, :, prices] == before) & bool(prices)
        kinds = dict.fromkeys(KINDS, np.zeros_like(full))
        kinds["missing"] = listed_days & ~(bars.present & some)
        kinds["not_positive"] = np.logical_or.reduce(values[:, :, prices] <= 0, axis=2)
        kinds["without_price"] = some & ~priced
        kinds["without_volume"] = priced & ~full
        if "volume" in names:
            volume = values[:, :, names.index("volume")]
            flat = still
            if "close" in names:
                closed = before[:, :, prices.index(names.index("close"))]
                flat = flat | _every(values[:, :, prices] == closed[:, :, None])
            kinds["stale"] = priced & ~(volume > 0) & flat
            kinds["zero_volume"] = full & (volume == 0)
            kinds["repeated"] = full & _again(values, full, reach)
            kinds["same_prices"] = full & still
            kinds["same_volume"] = full & (
                volume == values_on(volume[:, :, None], newest_before(~np.isnan(volume)))[:, :, 0]
            )
            kinds["interpolated"] = full & _follows_a_line(values, full)
        else:
            # Without a volume prices are some earlier ones again, and move by the same tick twice, on days of trade too.
            kinds["repeated"] = full & _every(values == values_on(values, newest_before(full)))
        taken = np.zeros_like(full)
        for kind in KINDS:
            kinds[kind] = kinds[kind] & listed_days & ~taken
            taken |= kinds[kind]
        return cls(listed_days, kinds)


def _every(fields: Mask) -> Mask:
    """bool [stocks, days] of bool [stocks, days, fields]."""
    mask: Mask = np.logical_and.reduce(fields, axis=2)
    return mask


def newest_before(rows: Mask) -> Counts:
    """int64 [stocks, days]: position of the last of the `rows` before the day, -1 where there is none."""
    newest = np.maximum.accumulate(np.where(rows, np.arange(rows.shape[1]), -1), axis=1)
    return np.pad(newest, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]


def values_on(values: npt.NDArray[np.float32], days: Counts) -> npt.NDArray[np.float32]:
    """[stocks, days, fields]: the values of other days by position, NaN where it is -1."""
    found = np.take_along_axis(values, np.maximum(days, 0)[:, :, None], axis=1)
    return np.where(days[:, :, None] < 0, np.float32(np.nan), found)


def _again(values: npt.NDArray[np.float32], full: Mask, reach: int) -> Mask:
    """bool [stocks, days]: an equal row of the stock lies at most `reach` days before."""
    bits = values.view(np.uint32).astype(np.uint64)
    # Rows with equal sums of odd multiples are the same row: others would meet once in 2^64.
    sums = np.zeros(full.shape, np.uint64)
    for place in range(values.shape[2]):
        sums = (sums ^ bits[:, :, place]) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(place)
        sums ^= sums >> np.uint64(29)
    order = np.argsort(sums, axis=1, kind="stable")
    ordered, whole = np.take_along_axis(sums, order, axis=1), np.take_along_axis(full, order, axis=1)
    equal = (ordered[:, 1:] == ordered[:, :-1]) & whole[:, 1:] & whole[:, :-1] & (np.diff(order, axis=1) <= reach)
    result = np.zeros_like(full)
    np.put_along_axis(result, order[:, 1:], equal, axis=1)
    return result


def _follows_a_line(values: npt.NDArray[np.float32], full: Mask) -> Mask:
    """The row before lies on the line between the one before it and this one in every field, as far as float32 can say it.

    Told on the later day: what is said of a date must not depend on the days after it.
    """
    middle = newest_before(full)
    first = np.where(middle < 0, -1, np.take_along_axis(middle, np.maximum(middle, 0), axis=1))
    day = np.arange(full.shape[1])
    part = ((middle - first) / np.maximum(day - first, 1))[:, :, None]
    start, found = (values_on(values, days).astype(np.float64) for days in (first, middle))
    with np.errstate(invalid="ignore"):  # infinity less infinity
        line = start + (values - start) * part
        mask = _every(np.abs(found - line) <= _EPSILON * np.maximum(np.abs(start), np.abs(values)))
    return mask & (first >= 0)


def runs(mask: Mask) -> tuple[Mask, Counts]:
    """(first rows of runs of true values along the days, rows of its run up to and with each row)."""
    length = np.zeros(mask.shape, np.int64)
    if mask.any():
        for day in range(mask.shape[1]):
            length[:, day] = (length[:, day - 1] + 1 if day else 1) * mask[:, day]
    return length == 1, length


def recent(mask: Mask, days: int) -> Mask:
    """bool [stocks, days]: true on the day or on one of the `days` - 1 before it, as far as there are any."""
    counts = np.cumsum(mask, axis=1)
    earlier = np.pad(counts, ((0, 0), (days, 0)))[:, : counts.shape[1]]
    result: Mask = counts > earlier
    return result


@dataclass
class _Tally:
    """Runs of one kind of row, counted by day: how many begin, and how many there are."""

    starts: Counts
    active: Counts
    rows: int = 0
    longest: int = 0

    @classmethod
    def of(cls, mask: Mask) -> _Tally:
        """`mask` bool [stocks, days]."""
        starts, length = runs(mask)
        return cls(starts.sum(axis=0), mask.sum(axis=0), int(mask.sum()), int(length.max(initial=0)))

    def add(self, other: _Tally) -> None:
        """Other stocks on the same days."""
        self.starts = self.starts + other.starts
        self.active = self.active + other.active
        self.rows += other.rows
        self.longest = max(self.longest, other.longest)

    def met(self, days: int) -> Counts:
        """int64 [days]: runs that meet the `days` days up to each day, as far as there are so many."""
        begun = np.cumsum(self.starts)
        first = np.maximum(np.arange(len(begun)) - days + 1, 0)
        counts: Counts = begun - begun[first] + self.active[first]
        return counts


def _sums(daily: Counts, days: int) -> Counts:
    """int64 [days]: sums over the `days` days up to each day."""
    total = np.cumsum(daily)
    sums: Counts = total - np.pad(total, (days, 0))[: len(total)]
    return sums


def record(bars: Bars, columns: Sequence[str], fields: Sequence[str], days: int, since: int) -> Conventions:
    """What `alphas.conventions` says of the bars of a training; its days are those from position `since` on.

    `days` are those that a score looks at.
    """
    count, tallies = (
        len(bars.dates) - since,
        {kind: _Tally(*np.zeros((2, len(bars.dates) - since), np.int64)) for kind in KINDS},
    )
    listed_days, absent = np.zeros(count, np.int64), 0
    for start in range(0, len(bars.instruments), _STOCKS_AT_ONCE):
        part = bars.part(slice(start, start + _STOCKS_AT_ONCE))
        signs = Signs.of(part, fields, columns, days)
        listed_days += signs.listed[:, since:].sum(axis=0)
        absent += int((signs.listed & ~part.present)[:, since:].sum())
        for kind, mask in signs.kinds.items():
            tallies[kind].add(_Tally.of(mask[:, since:]))
    per_stretch = _sums(listed_days, days)
    whole = np.arange(count) >= min(days, count) - 1
    kinds = {}
    for kind, tally in tallies.items():
        shares = (tally.met(days) / np.maximum(per_stretch, 1))[whole]
        usual = shares.max() if kind == "missing" else np.quantile(shares, _USUAL)
        kinds[kind] = Convention(
            rows=tally.rows, episodes=int(tally.starts.sum()), longest=tally.longest, share=float(usual)
        )
    return Conventions(
        fields=[name for name in columns if name in fields and name != "factor"],
        first=str(bars.dates[since]),
        last=str(bars.dates[-1]),
        days=days,
        stock_days=int(listed_days.sum()),
        absent=absent,
        empty=kinds["missing"].rows - absent,
        **kinds,
    )


@dataclass(frozen=True)
class Oddity:
    """One kind of row that a table has more of than the training allows, on the stretch up to a date."""

    kind: str
    stocks: Mapping[str, np.datetime64]
    """Stock -> its first day of that kind."""
    trained: str
    """What the training has, in words."""


@dataclass(frozen=True, eq=False)
class Watch:
    """The check of a caller's bars against the training's conventions.

    `candidates`: what is recorded of fields that the bars have, of the most fields first; `days`: those that a score looks
    at.
    """

    candidates: tuple[Conventions, ...]
    days: int

    @classmethod
    def of(cls, recorded: Iterable[Conventions] | None, columns: Iterable[str], days: int) -> Watch | None:
        """None where nothing is recorded of fields that are all among `columns`."""
        known = set(columns)
        found = tuple(candidate for candidate in recorded or () if set(candidate.fields) <= known)
        return cls(found, days) if found else None

    def look(
        self, bars: Bars, columns: Sequence[str], scope: Mask, marked: Mapping[str, Mask], dates: range
    ) -> tuple[Mask, list[list[Oddity]]]:
        """(bool [stocks, days]: the stock's bars up to the day cannot be taken; what is odd on each of `dates`).

        `columns` are those of `bars`; `dates` are positions in its days, before which it has `days` - 1 days and, for the
        first of them to be compared with, one more.  `scope` bool [stocks]: the stocks that count; `marked` bool [stocks,
        days] by kind: days that others than the bars speak against (UNLISTED, LATE).
        """
        known = self._known(bars, columns)
        refused = np.zeros(bars.present.shape, np.bool_)
        found: list[list[Oddity]] = [[] for _ in dates]
        suspects, _ = self._judge(known, bars, columns, scope, marked, dates)
        for place, day in enumerate(dates):
            if not suspects[:, day].any():
                continue
            # Of what a table has before the stretch nothing must depend: the stretch is looked at alone.
            first = max(0, day - self.days)
            here = {kind: mask[:, first : day + 1] for kind, mask in marked.items()}
            only = range(day - first, day - first + 1)
            mask, odd = self._judge(known, bars.between(first, day + 1), columns, scope, here, only)
            refused[:, day], found[place] = mask[:, -1], odd[0]
        return refused, found

    def _judge(
        self,
        known: Conventions,
        bars: Bars,
        columns: Sequence[str],
        scope: Mask,
        marked: Mapping[str, Mask],
        dates: range,
    ) -> tuple[Mask, list[list[Oddity]]]:
        """As `look`; of the days before a stretch it may say more than they should."""
        signs = Signs.of(bars, known.fields, columns, self.days)
        refused = np.zeros(signs.listed.shape, np.bool_)
        found: list[list[Oddity]] = [[] for _ in dates]
        stretch = _sums((signs.listed & scope[:, None]).sum(axis=0), self.days)
        absent, written = signs.listed & ~bars.present, signs.kinds["missing"] & bars.present
        rare = _EACH_WRITTEN * _sums((absent & scope[:, None]).sum(axis=0), self.days)
        # Of a date whose stretch writes its suspensions as rows each day without one is a row that was lost.
        odd_days = rare <= _sums((written & scope[:, None]).sum(axis=0), self.days)
        for kind, every in [*signs.kinds.items(), *marked.items(), (LOST, absent)]:
            mask = every & scope[:, None]
            if not mask.any():
                continue
            said: Convention | None = getattr(known, kind, None)
            counts, concerned = _Tally.of(mask).met(self.days), recent(mask, self.days)
            long = self._too_long(said, kind, mask)
            for place, day in enumerate(dates):
                if kind == LOST and not odd_days[day]:
                    continue
                most = _most(known, kind, int(stretch[day]))
                stocks = concerned[:, day] if counts[day] > most else long[:, day]
                if stocks.any():
                    refused[:, day] |= stocks
                    found[place].append(self._oddity(kind, bars, mask, stocks, day, _trained(said, known, most)))
        return refused, found

    def _known(self, bars: Bars, columns: Sequence[str]) -> Conventions:
        """The recorded one of the most fields, each of which has some value in the bars."""
        there = {name for place, name in enumerate(columns) if not np.isnan(bars.values[:, :, place]).all()}
        return next((found for found in self.candidates if set(found.fields) <= there), self.candidates[-1])

    def _too_long(self, said: Convention | None, kind: str, mask: Mask) -> Mask:
        """bool [stocks, days]: a run of the stretch is more than twice as long as the longest of the training."""
        most = 2 * said.longest if said is not None and kind != "missing" else self.days
        # Only the part of a run that lies in the stretch counts: the same whatever is before it in the table.
        return recent(runs(mask)[1] > most, self.days - most) if most < self.days else np.zeros_like(mask)

    def _oddity(self, kind: str, bars: Bars, mask: Mask, stocks: Mask, day: int, trained: str) -> Oddity:
        first, places = max(0, day - self.days + 1), np.flatnonzero(stocks)
        days = [bars.dates[first + int(mask[place, first : day + 1].argmax())] for place in places]
        return Oddity(kind, dict(zip([bars.instruments[place] for place in places], days, strict=True)), trained)


def _most(known: Conventions, kind: str, stock_days: int) -> int:
    """Runs of rows of a kind that a stretch of so many days of stocks may have."""
    if kind in (LOST, *MARKED):
        return 0
    said: Convention = getattr(known, kind)
    rate = max(said.episodes / max(known.stock_days, 1), said.share)
    if kind == "missing":
        # Where the training's suspensions are filled days, a day without a value is what it never saw.
        other = _rare(said, known) and not (_rare(known.repeated, known) and _rare(known.stale, known))
        rate = max(rate, _MORE_SUSPENDED / max(known.stock_days, 1))
        return 0 if other else most_by_chance(stock_days * rate)
    chance = _BY_CHANCE.get(kind, 0.0)
    if _rare(said, known):
        return most_by_chance(stock_days * max(rate, chance)) if stock_days * chance >= _LIKELY else 0
    return most_by_chance(stock_days * max(rate, chance))


def _rare(said: Convention, known: Conventions) -> bool:
    """A few odd rows are no convention."""
    return said.rows <= _FEW_ROWS or said.rows * _RARE < known.stock_days


def _trained(said: Convention | None, known: Conventions, most: int) -> str:
    if said is None:
        return "none of its days of stocks"
    return f"{said.rows} of its {known.stock_days} days of stocks, longest run {said.longest}, so that at most {most} runs pass"


def _in_words(oddities: Iterable[Oddity]) -> str:
    """What the bars do that those of the training do not; of several oddities of a kind the first is told."""
    first = {odd.kind: odd for odd in reversed(list(oddities))}
    return "; ".join(
        f"of {len(odd.stocks)} stocks some {WORDS[kind]}: "
        f"{listed([f'{stock} on {day}' for stock, day in odd.stocks.items()])} (training: {odd.trained})"
        for kind, odd in sorted(first.items())
    )


def refusal(
    oddities: Sequence[Oddity], date: np.datetime64, why: str = "a stage of the model looks at all stocks"
) -> InputError:
    """The error of a day that is computed of all stocks."""
    return InputError(
        "bars.suspended",
        f"days without trade are not as in the training, and {why}",
        where=f"the bars up to {date}",
        expected="no values on such days, as far as the training had none",
        found=_in_words(oddities),
        next_step=MENDS,
    )


def warning(found: Sequence[tuple[np.datetime64, Sequence[Oddity]]]) -> str:
    """Said of (date, what is odd) where the stocks are left out of the scores."""
    more = f" and on {len(found) - 1} more dates" if len(found) > 1 else ""
    oddities = [odd for _, odds in found for odd in odds]
    return (
        f"bars up to {found[0][0]}{more}: days without trade are not as in the training, the stocks get no score "
        f"(bars.suspended): {_in_words(oddities)}; {MENDS}"
    )
