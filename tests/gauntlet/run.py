"""A run: so many tables of either sort, the same for a seed, and how often which kind had which verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from gauntlet import harmful, harmless
from gauntlet.judge import Outcome, judge_harmful, judge_harmless, matters
from gauntlet.worlds import Live, World

Random = np.random.Generator
Seen = Callable[[], None]
_TRIES, _MATTERING = 200, 12
EXAMPLES = 3


@dataclass
class Tally:
    """Verdicts of one sort of tables, by kind; `codes`: what refused or excluded; `examples`: the first of each bad one."""

    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    codes: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, where: str, outcome: Outcome, bad: Sequence[str]) -> None:
        """One table's outcome; those of `bad` verdicts leave examples."""
        self.verdicts.setdefault(kind, Counter())[outcome.verdict] += 1
        if outcome.code:
            self.codes.setdefault(kind, Counter())[outcome.code] += 1
        held = self.examples.setdefault(f"{kind} {outcome.verdict}", [])
        if outcome.verdict in (*bad, "warned") and len(held) < EXAMPLES:
            held.append(f"{where}: {outcome.code} {outcome.detail} {'; '.join(outcome.warnings)}"[:400])

    def total(self, verdict: str) -> int:
        """Tables with a verdict."""
        return sum(counts[verdict] for counts in self.verdicts.values())


HARMFUL = ("refused", "named", "warned", "not_compared", "right", "silent", "fault")
"""Verdicts of wrong tables in the order in which they are shown; the last two must not be."""
HARMLESS = ("right", "refused", "warned", "wrong", "fault")
"""Those of right tables; all but the first must not be."""
BAD = {"harmful": HARMFUL[-2:], "harmless": HARMLESS[1:]}


def run_harmful(worlds: Sequence[World], count: int, seed: int, seen: Seen = lambda: None) -> Tally:
    """`count` tables that went wrong, the kinds in turn."""
    tally = Tally()
    for number, random in _draws(count, seed, 0):
        kind = harmful.KINDS[number % len(harmful.KINDS)]
        world, live = _wrong(worlds, kind, random)
        where = f"{number} {world.name} {live.date:%Y-%m-%d} {live.form}"
        tally.add(kind.name, where, judge_harmful(world, live), BAD["harmful"])
        seen()
    return tally


def _wrong(worlds: Sequence[World], kind: harmful.Kind, random: Random) -> tuple[World, Live]:
    """A table that went wrong in this way so that it matters; one that does not, where that is seldom."""
    found: tuple[World, Live] | None = None
    for tries in range(_TRIES):
        world = worlds[int(random.integers(len(worlds)))]
        live = harmful.draw(world, kind, random)
        if live is not None:
            found = world, live
            if matters(world, live):
                return found
        if found is not None and tries > _MATTERING:
            return found
    raise AssertionError(f"no table of any world goes wrong by {kind.name}")


def run_harmless(worlds: Sequence[World], count: int, seed: int, seen: Seen = lambda: None) -> Tally:
    """`count` right tables, the variants in turn."""
    tally = Tally()
    for number, random in _draws(count, seed, 1):
        maker = harmless.MAKERS[number % len(harmless.MAKERS)]
        for _ in range(_TRIES):
            world = worlds[int(random.integers(len(worlds)))]
            variant = maker(world, random)
            if variant is not None:
                break
        else:
            raise AssertionError(f"no world has a table that is {maker.__name__}")
        where = f"{number} {world.name} {variant.live.date:%Y-%m-%d} {variant.live.form}"
        outcome = judge_harmless(world, variant.live, variant.expected)
        tally.add(maker.__name__, where, outcome, BAD["harmless"])
        seen()
    return tally


def _draws(count: int, seed: int, sort: int) -> Iterator[tuple[int, Random]]:
    """Each number has its own random source, so that one table can be drawn alone."""
    for number in range(count):
        yield number, np.random.default_rng([seed, sort, number])


__all__ = ["BAD", "HARMFUL", "HARMLESS", "Tally", "run_harmful", "run_harmless"]
