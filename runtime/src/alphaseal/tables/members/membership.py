"""Who of a table is a stock of the model on each date: what the stages see, who is ranked, and who is left out and why.

The manifest's `data.universes` says it (spec/bundle-v1.md, section 10.3).  Where the stocks of a date follow from it they
are taken from it; where they do not and a stage crosses stocks, the caller must name them, or nothing is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from alphaseal.arrow.columns import numbers_of
from alphaseal.errors import InputError
from alphaseal.format.manifest import universe_digest
from alphaseal.format.reasons import CONTEXT, NO_ROW, NOT_IN_UNIVERSE, OTHER_KIND
from alphaseal.plain_text import listed
from alphaseal.tables.chance import most_by_chance
from alphaseal.tables.members.boards import Boards, counted
from alphaseal.tables.members.universe import Universe, canonical

if TYPE_CHECKING:
    from alphaseal.format.manifest import Data, RecordedUniverse, Universes
    from alphaseal.tables.features import FeatureBlock

Block = TypeVar("Block", bound="FeatureBlock")
Mask = npt.NDArray[np.bool_]
Days = npt.NDArray[np.int64]
UNLISTED, LATE = "unlisted", "late"
MARKED = (UNLISTED, LATE)
"""Kinds of days that only the recorded members can tell."""
_ABSENT = 0.02
"""Of a universe's stocks that may have no row on a date: the longest suspensions, which tables leave out."""
_SETTLED = 30
"""Days after which a listed stock is no new one."""
_GONE = 0.1
"""The same of the stocks of the record's last day, on later days: stocks leave a market for good."""


class TradedBars(Protocol):
    """Bars of all stocks on one calendar (`alphaseal.bars.calendar.Bars`): who traded when."""

    @property
    def instruments(self) -> Sequence[str]: ...
    @property
    def dates(self) -> npt.NDArray[np.datetime64]: ...
    @property
    def first(self) -> npt.NDArray[np.int64]: ...
    @property
    def values(self) -> npt.NDArray[np.float32]: ...
    @property
    def present(self) -> Mask: ...


@dataclass(frozen=True, eq=False)
class Spans:
    """The members of a recorded universe: which codes on which days, for many rows at once."""

    place: dict[str, int]
    """Code -> its number."""
    starts: npt.NDArray[np.int64]
    """Ascending: number of the code times _STRIDE, and the first day of a span."""
    code: npt.NDArray[np.int64]
    first: Days
    last: Days

    @classmethod
    def of(cls, members: Sequence[str]) -> Spans:
        """From the lines of the canonical form."""
        cells = [line.split(" ") for line in members]
        names = list(dict.fromkeys(cell[0] for cell in cells))
        place = {name: number for number, name in enumerate(names)}
        code = np.array([place[cell[0]] for cell in cells], np.int64)
        first, last = (np.array([cell[part] for cell in cells], "datetime64[D]").astype(np.int64) for part in (1, 2))
        return cls(place, code * _STRIDE + (first - _ORIGIN), code, first, last)

    def inside(self, places: npt.NDArray[np.int64], days: Days) -> Mask:
        """Whether a code (its number; -1: none) is a member on a day, row by row."""
        nearest = np.searchsorted(self.starts, places * _STRIDE + (days - _ORIGIN), "right") - 1
        found: Mask = (places >= 0) & (nearest >= 0)
        found &= self.code[nearest] == places
        found &= self.last[nearest] >= days
        return found

    def active(self, day: int) -> Mask:
        """bool [codes]: the members of a day."""
        mask = np.zeros(len(self.place), np.bool_)
        mask[self.code[(self.first <= day) & (day <= self.last)]] = True
        return mask

    def listed(self) -> Days:
        """The first day of the first span of each code."""
        return self.first[np.searchsorted(self.code, np.arange(len(self.place)))]


_STRIDE = 1 << 24
_ORIGIN = int(np.datetime64("0001-01-01", "D").astype(np.int64))


@dataclass(frozen=True, eq=False)
class RecordedSpans:
    """The members of the model's universe, and since when codes are listed, as far as the manifest says it."""

    model: Spans | None
    listings: Spans | None
    listed_from: tuple[int, int] | None
    """The first and the last day of what the listings were read from."""

    @classmethod
    def of(cls, data: Data) -> RecordedSpans:
        universes = data.universes
        records = [] if universes is None else [universes.model, universes.factor]
        spans = [None if part is None or part.members is None else Spans.of(part.members) for part in records]
        # Spans of a market are those of belonging to it; of everything that there is, those of a listing.
        everything = [
            (found, part)
            for found, part in zip(spans, records, strict=True)
            if found is not None and part is not None and part.kind == "all"
        ]
        if not everything:
            return cls(spans[0] if spans else None, None, None)
        listings, part = everything[0]
        return cls(spans[0], listings, (_day(part.first), _day(part.last)))


@dataclass(frozen=True)
class FactorUniverse:
    """Whom code of factors saw in the training; everybody where that is not known."""

    members: frozenset[str] | None
    boards: Boards
    context: frozenset[str]

    @classmethod
    def of(cls, data: Data) -> FactorUniverse:
        universes = data.universes
        record = None if universes is None else _factor_record(universes)
        members = None if record is None else _codes(record)
        context = frozenset(universes.context if universes is not None else ())
        return cls(members, Boards(counted(members or ())), context)

    def outside(self, codes: Sequence[str]) -> list[str]:
        """Codes that no factor may see: others than the members, of another kind or context only."""
        if self.members is None:
            return []
        return [
            code for code in codes if code not in self.members and (code in self.context or not self.boards.holds(code))
        ]

    def lacking(self, codes: Sequence[str]) -> list[str]:
        """Context that the factors were computed with and that is not among the codes."""
        return sorted((self.context & (self.members or frozenset())) - set(codes))


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of codes whatever the date, one item each: `place` in the members (-1: none), `context`: never ranked,
    `kind`: of the universe's kind."""

    place: npt.NDArray[np.int64]
    context: Mask
    kind: Mask

    def outside(self) -> npt.NDArray[np.object_]:
        """Why no stage sees the code, "" where one may."""
        reasons = np.full(len(self.place), "", object)
        reasons[(self.place < 0) & ~self.kind] = OTHER_KIND
        reasons[(self.place < 0) & self.context] = CONTEXT
        return reasons


@dataclass(frozen=True, eq=False)
class _Rows:
    """Dates and codes, one pair a row: `codes` are places in `names`, whose `facts` are known."""

    dates: npt.NDArray[np.datetime64]
    codes: npt.NDArray[np.int32]
    names: Sequence[str]
    facts: Facts

    @property
    def days(self) -> Days:
        return self.dates.astype("datetime64[D]").astype(np.int64)

    def of(self, universe: Universe) -> Mask:
        """Which rows are of the caller's universe on their date."""
        chosen = np.zeros(len(self.dates), np.bool_)
        for date in np.unique(self.dates):
            here, wanted = self.dates == date, universe.on(date)
            chosen[here] = np.array([name in wanted for name in self.names], np.bool_)[self.codes[here]]
        return chosen

    def known(self) -> Mask:
        """Which rows are of codes that some stage may see."""
        mask: Mask = (self.facts.outside() == "")[self.codes]
        return mask


@dataclass(frozen=True, eq=False)
class Membership:
    """The universe of one call.

    `crosses`: a stage looks at all stocks of a day.  `given`: the caller's universe.  `named`: it is what such a stage sees,
    because the bundle does not know it by itself.
    """

    known: Universes | None
    record: RecordedUniverse | None
    members: Spans | None
    boards: Boards
    crosses: bool
    given: Universe | None
    named: bool
    listings: Spans | None
    listed_from: tuple[int, int] | None
    """Days on which the listings are known."""
    _facts: dict[str, tuple[int, bool, bool]] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Data, spans: RecordedSpans, *, crosses: bool, given: Universe | None) -> Membership:
        """`spans` are those of `data`.

        Raises InputError `universe.differs` where the caller's universe is not the recorded one on the record's days.
        """
        known = data.universes
        record = known.model if known is not None else None
        open_ended = spans.model is not None and record is not None and record.kind != "market"
        named = crosses and record is not None and not open_ended
        boards = Boards(known.boards if known is not None else {})
        listed_from = None if spans.listings is None else spans.listed_from
        made = cls(known, record, spans.model, boards, crosses, given, named, spans.listings, listed_from)
        if named and given is not None:
            made._compare_spans(given)
        return made

    @classmethod
    def of_factors(cls, data: Data, given: Universe | None) -> Membership:
        """The stocks that code of factors saw, as those of the model's universe; a factor looks at all stocks of a day."""
        known = data.universes
        record = None if known is None else _factor_record(known)
        if known is not None:
            codes = None if record is None else _codes(record)
            boards = known.boards if codes is None else counted(codes)
            known = None if record is None else msgspec.structs.replace(known, model=record, boards=boards)
        data = msgspec.structs.replace(data, universes=known)
        return cls.of(data, RecordedSpans.of(data), crosses=True, given=given)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a model that looks at all stocks of a day does not know of them."""
        if not self.crosses or self.known is None or self.record is not None:
            return ()
        return (
            "a stage looks at all stocks of a day, and the bundle does not know which these are "
            f"({self.known.model_missing}): all rows of the table were taken for them",
        )

    def facts(self, names: Sequence[str]) -> Facts:
        """What is known of codes; nothing is wrong with any where the manifest has no universes."""
        for name in names:
            if name not in self._facts:
                place = self.members.place.get(name, -1) if self.members is not None else -1
                context = self.known is not None and name in self.known.context
                self._facts[name] = place, context, self.boards.holds(name)
        known = [self._facts[name] for name in names]
        return Facts(
            np.array([place for place, _, _ in known], np.int64),
            np.array([context for _, context, _ in known], np.bool_),
            np.array([kind for _, _, kind in known], np.bool_),
        )

    def choose(self, block: Block) -> Block:
        """The rows of a block that the stages see, with those that none sees, who gets no rank, and what is to be said.

        Raises InputError `universe.needed` (the stocks of a date are not known, and a stage needs them),
        `universe.differs`, `universe.incomplete`.
        """
        if self.known is None or not len(block):
            return block
        encoded = block.instruments.dictionary_encode()
        names = encoded.dictionary.to_pylist()
        rows = _Rows(block.dates, numbers_of(encoded.indices, np.dtype(np.int32)), names, self.facts(names))
        reasons = rows.facts.outside()[rows.codes]
        inside, fresh = self._inside(rows)
        reasons[(reasons == "") & ~inside] = NOT_IN_UNIVERSE
        kept = np.flatnonzero(reasons == "")
        if self.crosses:
            self._require_whole(rows.facts.place[rows.codes[kept]], rows.days[kept], np.unique(rows.days))
        found = sorted({names[code] for code in rows.codes[fresh & (reasons == "")].tolist()})
        notes = (f"listed since the training, or unknown to it: {listed(found)}",) if found else ()
        lost = np.flatnonzero(reasons != "").tolist()
        left_out = [(block.dates[row], names[rows.codes[row]], str(reasons[row])) for row in lost]
        absent = self._absent(block, rows)
        if self.crosses and absent:
            raise self._no_row(absent)
        left_out += [(date, name, NO_ROW) for date, name in absent if self.given is None]
        context = rows.facts.context[rows.codes[kept]]
        return replace(
            block if not lost else block.taken(kept),
            reasons=np.where(context, CONTEXT, "").astype(object) if context.any() else None,
            left_out=(*block.left_out, *left_out),
            # Where a stage looks at all stocks the new ones change the scores of the others.
            warnings=(*block.warnings, *self.warnings, *(notes if self.crosses else ())),
            notes=(*block.notes, *notes),
        )

    def _absent(self, block: FeatureBlock, rows: _Rows) -> list[tuple[np.datetime64, str]]:
        """The stocks that a date has, as far as the record or the caller says it, and that have no row in the table."""
        record, members = self.record, self.members
        if record is None:
            return []
        first, last, days = _day(record.first), _day(record.last), rows.days
        names, found = [] if members is None else list(members.place), []
        told = block.told()
        context = self.facts(names).context
        for date, start, stop in block.spans():
            day = int(days[start])
            if members is not None and (record.kind != "market" or first <= day <= last):
                wanted = ~context
                if record.kind != "list":
                    wanted &= members.active(min(max(day, first), last))
                place = rows.facts.place[rows.codes[start:stop]]
                wanted[place[place >= 0]] = False
                absent = [names[number] for number in np.flatnonzero(wanted)]
                if self.given is not None:
                    absent = sorted(self.given.on(date) & set(absent))
            elif self.named and self.given is not None:
                there = {rows.names[code] for code in rows.codes[start:stop].tolist()}
                absent = sorted(self.given.on(date) - there)
            else:
                continue
            found += [(date, name) for name in absent if (date, name) not in told]
        return found

    def marked(self, bars: TradedBars) -> dict[str, Mask]:
        """bool [stocks, days] by kind (UNLISTED, LATE): days that what is recorded of listings speaks against.

        A row is older than the listing; or a stock begins within the bars although it was listed before, so that what its
        first days were is not known.  Of a code that the training did not have, rows without a value before its first one
        are such days too.
        """
        days = bars.dates.astype("datetime64[D]").astype(np.int64)
        unlisted, late = np.zeros(bars.present.shape, np.bool_), np.zeros(bars.present.shape, np.bool_)
        if self.listings is None or self.listed_from is None:
            return {UNLISTED: unlisted, LATE: late}
        place = np.array([self.listings.place.get(name, -1) for name in bars.instruments], np.int64)
        known = place >= 0
        listed_on = np.full(len(place), days[-1] + 1)
        listed_on[known] = self.listings.listed()[place[known]]
        recorded = (days >= self.listed_from[0]) & (days <= self.listed_from[1])
        unlisted[known] = (recorded & (days < listed_on[:, None]))[known]
        empty = ~bars.present | np.isnan(bars.values).all(axis=2)
        unlisted[~known] = np.logical_and.accumulate(empty[~known], axis=1)
        begins = np.flatnonzero(known & (bars.first > 0))
        before = bars.first[begins] - 1
        late[begins, before] = listed_on[begins] <= days[before]
        return {UNLISTED: unlisted & bars.present, LATE: late}

    def settled(self, bars: TradedBars) -> Mask:
        """bool [stocks, days]: the code was listed so long before the day that its price moves within limits."""
        days = bars.dates.astype("datetime64[D]").astype(np.int64)
        if self.listings is None or not self.listings.place:
            return np.zeros(bars.present.shape, np.bool_)
        place = np.array([self.listings.place.get(name, -1) for name in bars.instruments], np.int64)
        since = self.listings.listed()[place] + _SETTLED
        settled: Mask = (place >= 0)[:, None] & (days >= since[:, None])
        return settled

    def belongs(self, names: Sequence[str], dates: npt.NDArray[np.datetime64]) -> Mask:
        """bool [codes, days]: whether a stage would see the code on the day."""
        codes = np.repeat(np.arange(len(names), dtype=np.int32), len(dates))
        rows = _Rows(np.tile(dates, len(names)), codes, names, self.facts(names))
        found: Mask = (self._inside(rows)[0] & rows.known()).reshape(len(names), len(dates))
        return found

    def _inside(self, rows: _Rows) -> tuple[Mask, Mask]:
        """(rows that the universe of their date has, rows of codes that are new to it)."""
        days, place = rows.days, rows.facts.place[rows.codes]
        nothing = np.zeros(len(days), np.bool_)
        record, members = self.record, self.members
        if record is None:
            return ~nothing, nothing
        if members is None:
            return self._named(rows, ~nothing), nothing
        if record.kind == "list":
            return place >= 0, nothing
        first, last = _day(record.first), _day(record.last)
        recorded, inside = (days >= first) & (days <= last), members.inside(place, days)
        if record.kind == "market":
            self._compare_days(rows, inside, recorded)
            return np.where(recorded, inside, self._named(rows, ~recorded)), nothing
        until = self.known.until if self.known is not None else None
        later, unknown = days > (last if until is None else _day(until)), place < 0
        # A code that the market data did not have in time: no stage sees it, and no other score depends on it.
        entering = later | ~recorded | (not self.crosses)
        return np.where(unknown, entering, ~recorded | inside), unknown & later

    def _named(self, rows: _Rows, wanted: Mask) -> Mask:
        """The rows of the caller's universe, where a stage needs it because the bundle does not know the `wanted` rows'."""
        if not self.named or not wanted.any():
            return np.ones(len(wanted), np.bool_)
        if self.given is None:
            raise self._needed(rows.dates[int(wanted.argmax())])
        return rows.of(self.given)

    def _needed(self, date: np.datetime64) -> InputError:
        record = self.record
        why = "" if record is None else f": {record.text}"
        known = (
            f"{record.count} codes from {record.first} to {record.last}" if record is not None else "no universe at all"
        )
        return InputError(
            "universe.needed",
            f"a stage of the model looks at all stocks of its market{why}; the bundle does not know which these are on the date",
            where=f"{date}",
            expected="the market's stocks of the date",
            found=f"{known}{', as a digest' if self.members is None else ''}",
            next_step="name them with --universe FILE (universe= in Python): a code a line, or qlib's file of the market",
        )

    # --- the caller's universe against the recorded one ---------------------------------------------------------------

    def _compare_spans(self, given: Universe) -> None:
        """A universe with spans over the record's days says the same of them, and on the last of them has its stocks."""
        record = self.record
        if record is None or not _dated(given):
            return
        first, last = np.datetime64(record.first, "D"), np.datetime64(record.last, "D")
        lines = canonical(given, first, last)
        if not lines or universe_digest(lines) == record.sha256:
            return
        if self.members is None:
            raise self._differs(f"sha256 {record.sha256}", f"sha256 {universe_digest(lines)}", None)
        newest = self.members.active(_day(record.last))
        names = {code for code, place in self.members.place.items() if newest[place]}
        others = sorted(names ^ given.on(last))
        if others:
            raise self._differs(f"{len(names)} stocks", f"{len(given.on(last))}, other are {listed(others)}", last)

    def _compare_days(self, rows: _Rows, inside: Mask, recorded: Mask) -> None:
        """On a recorded day the caller's universe has the rows that the record has."""
        if not self.named or self.given is None or not recorded.any():
            return
        wrong = recorded & rows.known() & (inside != rows.of(self.given))
        if not wrong.any():
            return
        date = rows.dates[int(wrong.argmax())]
        wrong &= rows.dates == date
        more, less = (
            sorted(rows.names[code] for code in rows.codes[wrong & (inside == has)].tolist()) for has in (False, True)
        )
        found = [f"also {listed(more)}"] * bool(more) + [f"not {listed(less)}"] * bool(less)
        raise self._differs("the members that the bundle records", " and ".join(found), date)

    def _differs(self, expected: str, found: str, date: np.datetime64 | None) -> InputError:
        return InputError(
            "universe.differs",
            "the universe is not the one that the bundle records for the same days, and a stage of the model looks at all of it",
            where="the universe" if date is None else f"the universe on {date}",
            expected=expected,
            found=found,
            next_step="name the whole file of the market that the model was trained on, or leave --universe out on recorded days",
        )

    def _require_whole(self, places: npt.NDArray[np.int64], days: Days, dates: Days) -> None:
        """The rows that a stage sees on a date are nearly all stocks that the date has, and its context among them."""
        if self.record is None:
            return
        names = [] if self.members is None else list(self.members.place)
        context = self.facts(names).context
        ends = zip(np.searchsorted(days, dates), np.searchsorted(days, dates, "right"), strict=True)
        for day, (start, stop) in zip(dates.tolist(), ends, strict=True):
            there = places[start:stop]
            active, gone = self._active(day)
            if active is None:
                wanted, number = self._named_on(day), len(there)
            else:
                wanted, number = int(active.sum()), int(active[there[there >= 0]].sum())
                active[there[there >= 0]] = False
                if (lacking := np.flatnonzero(active & context)).size:
                    # An index is never suspended, and no stage of the training was without it.
                    raise self._incomplete(day, names[lacking[0]])
            if wanted - number > max(most_by_chance(wanted * _ABSENT), gone * wanted):
                raise self._incomplete(day, f"{wanted - number} of {wanted} stocks")

    def _active(self, day: int) -> tuple[Mask | None, float]:
        """(the members of a day, as far as they are recorded; share of them that may have gone since)."""
        if self.members is None or self.record is None:
            return None, _GONE
        first, last = _day(self.record.first), _day(self.record.last)
        recorded = first <= day <= last
        if not recorded and self.record.kind == "market":
            return None, _GONE
        return self.members.active(day if recorded else last), 0.0 if recorded else _GONE

    def _named_on(self, day: int) -> int:
        return 0 if self.given is None else len(self.given.on(np.datetime64(day, "D")))

    def _no_row(self, absent: Sequence[tuple[np.datetime64, str]]) -> InputError:
        """A stock that left the market and one whose rows were lost look alike: the caller says which it is."""
        date = absent[0][0]
        names = [name for day, name in absent if day == date]
        if self.given is None:
            step = "give their rows (of missing values for a suspended stock); if they left the market, name those that did "
            step += "not with --universe FILE (universe= in Python)"
        else:
            step = "give their rows (of missing values for a suspended stock), or leave them out of the universe"
        return InputError(
            "universe.incomplete",
            "a stage of the model looks at all stocks of its universe, and some of them have no row in the table",
            where=f"{date}",
            expected="a row of each",
            found=f"none of {listed(names)}",
            next_step=step,
        )

    def _incomplete(self, day: int, lacking: str) -> InputError:
        return InputError(
            "universe.incomplete",
            "a stage of the model looks at all stocks of its universe, and not all of them have a row on the date",
            where=f"{np.datetime64(day, 'D')}",
            expected=f"rows of {self.record.text if self.record is not None else 'the universe'}",
            found=f"none of {lacking}",
            next_step="give the rows of the whole universe; only suspended stocks may be left out",
        )


def _factor_record(known: Universes) -> RecordedUniverse | None:
    """Whom code of factors saw, with its members where they are known; None where it is not known."""
    record, model = known.factor, known.model
    if record is not None and record.members is None and model is not None and model.sha256 == record.sha256:
        # Of two equal universes the model's has the members.
        return model
    return record


def _codes(record: RecordedUniverse) -> frozenset[str] | None:
    return None if record.members is None else frozenset(line.split(" ")[0] for line in record.members)


def _day(text: str) -> int:
    return int(np.datetime64(text, "D").astype(np.int64))


def _dated(given: Universe) -> bool:
    """Whether a universe says from when or until when: a plain list of codes does not."""
    from alphaseal.arrow.columns import FIRST_DAY, LAST_DAY

    return bool(((given.first > FIRST_DAY) | (given.last < LAST_DAY)).any())
