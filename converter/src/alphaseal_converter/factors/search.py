"""What a factor needs and whether it looks ahead, decided by comparing what its code gives for differently made bars.

The code's own process says no more than: these are my values for these bars.  It is fresh for every run, holds only the
part it was given, and cannot know what part comes next.  Days and noise are drawn from the digests of bars, source and
recorded values: equal input gives equal answers, and a source that was written to pass would have to be written for draws
that depend on itself.

A source that carries recorded values, for whatever it recognises, gives itself away where it meets bars that nobody has
seen: its values stay as they are although the bars changed, or need other history there than it pretends.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from alphaseal.bars.adjustment import unit_of
from alphaseal.format.parts import Dtype
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.market import STATIC, WHOLE, Market, Noise, Part, Scaled, seed_of
from alphaseal_converter.factors.process import Claim, Session

Values = Mapping[str, float]
"""Stock -> value."""

# The ladder of histories; between two rungs the search halves.
LADDER: Final = (1, 2, 3, 5, 10, 20, 30, 60, 120, 250, 500, 1000, 2000, 4000)
LOOKED_AT: Final = (0, 3, 11)
"""Days before the recorded one whose values a history has to give: stocks that were suspended need a longer one there."""
TOLERANCE: Final = {"float32": 1e-5, "float64": 1e-6}
RECENT_DAYS: Final = 250
"""Days before the end of the bars among which those are drawn at which look-ahead is looked for."""
EXPONENT: Final = 4
"""Columns of bars are multiplied by 2 to this power and to its negative."""
_DRAWN_DAYS: Final = 2
_NOISES: Final = 3
"""So many times other bars are tried, where the values do not follow the first."""
_FOLLOWING: Final = 0.5
"""So many of the stocks whose values are not the day's most frequent one follow the bars, or the code does not read them."""
_RESPONSE: Final = 10.0
"""A value follows the bars where it changes by more than so many times the tolerance: what the tolerance hides is no answer."""


@dataclass(frozen=True)
class Found:
    """What is known of a factor now; `reason` says why something is None."""

    look_back: int | None
    look_ahead: bool
    inputs: tuple[str, ...] | None
    reason: str | None
    unchanged: Mapping[str, tuple[bool, bool]] | None = None
    """By unit of the bars that it reads: one constant for all stocks changes nothing, and one of each does not."""


def _refusal(code: str, text: str) -> RefusalError:
    return RefusalError(f"factor.{code}", text)


@dataclass
class Search:
    """Searches the least that gives a factor's values on the days looked at."""

    session: Session
    source: bytes
    feature: str
    dtype: Dtype
    market: Market
    recorded: Mapping[str, Values]
    """Day -> the values that the run recorded."""
    seconds: float
    """For all runs together."""
    digest: bytes
    """Of the files that the market was made from."""
    runs: int = 0
    """How often the code was run."""
    _known: dict[tuple[Part, str | None, int], Claim] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = "".join(f"{day} {sorted(values.items())!r}\n" for day, values in sorted(self.recorded.items()))
        self.parts = (self.digest, self.source, self.feature.encode(), values.encode())
        self.draw = np.random.default_rng(seed_of(b"days", *self.parts))
        self.deadline = time.monotonic() + self.seconds

    def find(self, day: str) -> Found:
        """All of it, on `day`, the last recorded one that the bars have; RefusalError `factor.*`, `isolation.*` where
        nothing can be said: the code fails, is not what gave the recorded values, or takes too long."""
        if self.looks_ahead(day):
            return Found(None, True, None, "data after the date change its value")
        self.compare_with_recorded(day)
        self.require_following(day)
        days = self.days_looked_at(day)
        wanted = {one: self.values(WHOLE).on(one) for one in days}
        # Searched on one day, which is enough nearly always, and on all of them where it is not.
        length = self.least_history(days, {day: wanted[day]})
        if length is not None and not self.equal(wanted, length):
            length = self.least_history(days, wanted, low=length)
        if length is not None:
            length = self.least_history_with_noise(day, length)
        if length is None:
            return Found(None, False, None, "all bars that are there are needed to give its value, or more")
        inputs = self.columns_read(day, wanted, length)
        read = {unit: columns for unit, columns in self.units().items() if set(columns) & set(inputs)}
        unchanged = {unit: self.unchanged(columns, wanted) for unit, columns in read.items()}
        return Found(length, False, inputs, None, unchanged)

    # -- runs

    def values(self, part: Part, since: str | None = None, again: int = 0) -> Claim:
        """A run's values on that part of the bars from a day on (default: of recent days), in training dtype; what was asked
        for before is known, unless it is asked for `again`."""
        since = since if since is not None else self.recent_day()
        if (part, since, again) not in self._known:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise self._too_long()
            self.runs += 1
            try:
                claim = self.session.run(self.source, self.feature, self.market, part, (since, part.last), left)
            except RefusalError as problem:
                if problem.code == "isolation.time" and time.monotonic() > self.deadline - 1:
                    raise self._too_long() from None
                raise
            self._known[part, since, again] = claim.cast(self.dtype)
        return self._known[part, since, again]

    @staticmethod
    def _too_long() -> RefusalError:
        return _refusal("time", "the trial took longer than it may")

    def noise(self, number: int, after: str | None = None, columns: tuple[str, ...] | None = None) -> Noise:
        """Other bars that nobody has seen."""
        return Noise(seed_of(b"noise", bytes([number]), *self.parts), after, columns)

    def recent_day(self) -> str:
        """The first day that anything but history is asked of: as many as look-ahead is looked for on, or more."""
        recorded = self.market.position(min(self.recorded)) - LOOKED_AT[-1]
        return self.day_at(max(0, min(recorded, len(self.market.calendar) - 1 - RECENT_DAYS)))

    def day_at(self, place: int) -> str:
        return str(self.market.calendar[place])

    def days_looked_at(self, day: str) -> list[str]:
        """The recorded day and two before it."""
        last = self.market.position(day)
        return [self.day_at(place) for place in sorted({max(0, last - before) for before in LOOKED_AT})]

    # -- look-ahead

    def looks_ahead(self, day: str) -> bool:
        """Whether values depend on later days: on three days that are known and some that are drawn, of bars that end
        with the day; and on all recent days up to a drawn one, of bars whose later days are others."""
        last = len(self.market.calendar) - 1
        if last <= 0:
            return False
        whole = self.values(WHOLE)
        # Not where the bars begin: code may need some days to work at all.
        recent = max(last // 2, last - RECENT_DAYS)
        drawn = self.draw.integers(recent, last, _DRAWN_DAYS + 1).tolist()
        places = {min(self.market.position(day), last - 1), last - 5, last - 21, *drawn[1:]}
        for one in (self.day_at(place) for place in sorted(place for place in places if place >= 0)):
            if self._depends(whole, Part(last=one), one, one):
                return True
        until = self.day_at(drawn[0])
        return self._depends(whole, Part(noise=self.noise(0, after=until)), self.day_at(recent), until)

    def _depends(self, whole: Claim, part: Part, first: str, last: str) -> bool:
        """Whether the part gives other values of these days than all bars do; `factor.random` where it is by chance."""
        found = self.values(part, first)
        if not found.differing(whole, first, last):
            return False
        if self.values(part, first, again=1).differing(found, first, last):
            raise _refusal("random", "its values differ from run to run")
        return True

    # -- the recorded values

    def compare_with_recorded(self, day: str) -> None:
        """`factor.not_reproduced` where the recorded values of the day, and of drawn days before it, are not those of all
        history."""
        found = self.values(Part(last=day))
        earlier = sorted(one for one in self.recorded if one < day and one in map(str, self.market.calendar))
        drawn = self.draw.permutation(len(earlier))[:_DRAWN_DAYS].tolist()
        for one in (day, *sorted(earlier[place] for place in drawn)):
            recorded = {stock: self._cast(value) for stock, value in self.recorded[one].items()}
            mine, scale = found.on(one), _scale(recorded)
            wrong = [name for name in recorded if not self.same(recorded[name], mine.get(name), scale)]
            if wrong:
                name = min(wrong)
                raise _refusal(
                    "not_reproduced",
                    f"{len(wrong)} of {len(recorded)} recorded values of {one} are not reproduced: "
                    f"{name} is {recorded[name]}, the code gives {mine.get(name)}",
                )

    def _cast(self, value: float) -> float:
        with np.errstate(over="ignore"):
            return float(np.array(value, np.float64).astype(self.dtype))

    def require_following(self, day: str) -> None:
        """`factor.not_from_bars` where the values stay what they are whatever the bars hold: they do not come from them."""
        true = self.values(Part(last=day)).on(day)
        usual = Counter(true.values()).most_common(1)[0][0] if true else None
        # One value for all is nothing that a source could have brought along.
        waiting = {name for name, value in true.items() if value != usual}
        count = len(waiting)
        if not count:
            return
        scale = _scale(true)
        for number in range(_NOISES):
            other = self.values(Part(last=day, noise=self.noise(number)), day).on(day)
            waiting = {name for name in waiting if self.same(true[name], other.get(name), scale, times=_RESPONSE)}
            if len(waiting) <= (1 - _FOLLOWING) * count:
                return
        raise _refusal(
            "not_from_bars",
            f"its values of {day} stay the same for {len(waiting)} stocks whatever the bars hold: they do not come from them",
        )

    # -- history and columns

    def same(self, one: float | None, other: float | None, scale: float, times: float = 1.0) -> bool:
        """Equal but for the rounding of sums that began elsewhere."""
        one, other = (np.nan if value is None else value for value in (one, other))
        if np.isnan(one) or np.isnan(other) or np.isinf(one) or np.isinf(other):
            return bool(one == other or (np.isnan(one) and np.isnan(other)))
        return bool(abs(one - other) <= times * TOLERANCE[self.dtype] * max(abs(one), abs(other), scale))

    def equal(
        self, wanted: Mapping[str, Values], length: int, without: Sequence[str] = (), noise: Noise | None = None
    ) -> bool:
        """Whether `length` days of history, without some columns, give the values of all these days."""
        for day, values in wanted.items():
            last = self.market.position(day)
            first = None if last - length < 0 else self.day_at(last - length + 1)
            try:
                found = self.values(Part(first, day, tuple(without), noise), day).on(day)
            except RefusalError as problem:
                if problem.code in ("factor.time", "isolation.unavailable"):
                    raise
                return False
            if not self.same_day(values, found):
                return False
        return True

    def least_history(
        self, days: Sequence[str], wanted: Mapping[str, Values], noise: Noise | None = None, low: int = 0
    ) -> int | None:
        """The shortest history above `low` by halving between the rungs of the ladder; None where the bars do not reach
        back so far."""
        # All there is gives all there is, which says nothing of what is needed: one day less is the most that can be tried.
        most = self.market.position(days[0])
        for rung in [*(rung for rung in LADDER if low < rung < most), most]:
            if rung > low and self.equal(wanted, rung, noise=noise):
                return _between(lambda length: self.equal(wanted, length, noise=noise), low, rung)
            low = max(low, rung)
        return None

    def least_history_with_noise(self, day: str, length: int) -> int | None:
        """`length`, or what more bars that nobody has seen need."""
        noise = self.noise(0)
        wanted = {day: self.values(Part(last=day, noise=noise), day).on(day)}
        if self.equal(wanted, length, noise=noise):
            return length
        return self.least_history([day], wanted, noise, length)

    def columns_read(self, day: str, wanted: Mapping[str, Values], length: int) -> tuple[str, ...]:
        """Columns without which the values are others; what is left after each of the others was taken away."""
        columns = self.market.names()
        gone = self.columns_without_effect(columns, {day: wanted[day]}, length)
        if not self.equal(wanted, length, gone):
            gone = self.columns_without_effect(columns, wanted, length)
        read = self.read_all_the_same(day, gone)
        return tuple(name for name in columns if name not in gone or name in read)

    def columns_without_effect(self, columns: Sequence[str], wanted: Mapping[str, Values], length: int) -> list[str]:
        """Columns that can all be taken away, and no other beside them; those of the static table first."""
        gone: list[str] = []

        def take_away(group: list[str]) -> None:
            if self.equal(wanted, length, [*gone, *group]):
                gone.extend(group)
            elif len(group) > 1:
                take_away(group[: len(group) // 2])
                take_away(group[len(group) // 2 :])

        for kind in (True, False):
            group = [name for name in columns if name.startswith(STATIC) == kind]
            if group:
                take_away(group)
        return gone

    def read_all_the_same(self, day: str, gone: Sequence[str]) -> set[str]:
        """Columns of `gone` that change values where they are there with other numbers: code may do without a column only
        where it is not there."""
        true = {day: self.values(Part(last=day)).on(day)}

        def changes(columns: Sequence[str]) -> bool:
            noise = self.noise(0, columns=tuple(columns))
            return not self.equal(true, len(self.market.calendar) + 1, noise=noise)

        if not gone or not changes(gone):
            return set()
        alone = {name for name in gone if changes([name])}
        return alone or set(gone)

    # -- units

    def units(self) -> dict[str, list[str]]:
        """The columns of the bars by their units."""
        units: dict[str, list[str]] = {}
        for column in self.market.names():
            if not column.startswith(STATIC):
                units.setdefault(unit_of(column), []).append(column)
        return units

    def unchanged(self, columns: Sequence[str], wanted: Mapping[str, Values]) -> tuple[bool, bool]:
        """Whether the values are the same with the columns times one constant for all stocks, and times one for each."""
        common, each = (
            all(
                self.equal_scaled(Scaled(tuple(columns), exponent, alternating), wanted)
                for exponent in (EXPONENT, -EXPONENT)
            )
            for alternating in (False, True)
        )
        return common, each

    def equal_scaled(self, scaled: Scaled, wanted: Mapping[str, Values]) -> bool:
        try:
            found = self.values(Part(scaled=scaled))
        except RefusalError as problem:
            if problem.code == "isolation.unavailable":
                raise
            # Without time left nothing is known, and so it is where the code fails.
            return False
        return all(self.same_day(values, found.on(day)) for day, values in wanted.items())

    def same_day(self, wanted: Values, found: Values) -> bool:
        """Whether all stocks have the same values."""
        scale = _scale(wanted)
        return all(self.same(wanted.get(name), found.get(name), scale) for name in {*wanted, *found})


def _between(enough: Callable[[int], bool], low: int, high: int) -> int:
    """The least that is enough, where `low` is not and `high` is."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _scale(values: Values) -> float:
    """The median size of the values of a day."""
    finite = [abs(value) for value in values.values() if np.isfinite(value)]
    return float(np.median(finite)) if finite else 0.0
