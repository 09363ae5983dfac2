"""What becomes of a live table: refused, scored rightly, stocks left out by name, or wrong without a word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from alphaseal.bars.adjustment import NOT_COMPARED
from alphaseal.errors import AlphasealError
from alphaseal.scoring.numeric import outside
from gauntlet.sealed import read_sealed
from gauntlet.worlds import Live, Scores, World, plain_scores

TOP = 5


@dataclass(frozen=True)
class Outcome:
    """`verdict`: "refused", "named" (what differs is left out by name), "right" (the scores are right),
    "not_compared" (wrong, with the warning that nothing in the table shows how it is adjusted), "warned" (wrong, with another
    one), "silent", "wrong" or "fault"."""

    verdict: str
    code: str
    detail: str
    warnings: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What the runtime gave for a live table."""

    scores: Scores
    excluded: dict[str, str]
    warnings: tuple[str, ...]
    drift: tuple[str, ...]


def scored(world: World, live: Live) -> Found:
    """Score a live table as a caller does; AlphasealError where it is refused."""
    given: dict[str, Any] = dict(live.options)
    features: Any = None if live.features is None else live.encode(live.features)
    if live.signed is not None:
        with TemporaryDirectory(prefix="alphaseal-gauntlet-") as folder:
            features = read_sealed(world, live, Path(folder))
    bars = None if live.bars is None else live.encode(live.bars)
    anchors = None if live.anchors is None or bars is None else live.encode(live.anchors)
    result = world.bundle.score(features, bars=bars, date=live.date.date(), anchors=anchors, **given)
    table, excluded = result.table.to_pydict(), result.excluded.to_pydict()
    drift = result.drift().out_of_range().to_pylist()
    return Found(
        dict(zip(table["instrument"], table["score"], strict=True)),
        dict(zip(excluded["instrument"], excluded["reason"], strict=True)),
        result.warnings,
        tuple(f"{row['feature']} {row['verdict']}" for row in drift),
    )


def picks(scores: Scores) -> list[str]:
    """The best stocks, ties by name."""
    return sorted(scores, key=lambda name: (-scores[name], name))[:TOP]


def differing(world: World, found: Scores, true: Scores) -> list[str]:
    """Stocks of `found` whose score is not that of `true` within the bundle's bound."""
    names = sorted(found)
    ours = np.array([found[name] for name in names])
    theirs = np.array([true.get(name, np.nan) for name in names])
    wrong = outside(world.bundle.manifest.parity.bound, ours, theirs)
    return [name for name, bad in zip(names, wrong, strict=True) if bad]


def matters(world: World, live: Live) -> bool:
    """Whether a table read without any guard gives other scores or picks than the right one, or cannot be read."""
    plain, true = plain_scores(world, live), world.right(live)
    return (
        plain is None or set(plain) != set(true) or bool(differing(world, plain, true)) or picks(plain) != picks(true)
    )


def judge_harmful(world: World, live: Live) -> Outcome:
    """A table that went wrong; "right" where it scores rightly all the same."""
    true = world.right(live)
    try:
        found = scored(world, live)
    except AlphasealError as error:
        return Outcome("refused", error.code, str(error))
    except Exception as error:  # noqa: BLE001 - a fault is what is looked for
        return Outcome("fault", type(error).__name__, repr(error)[:300])
    wrong = differing(world, found.scores, true)
    lost = sorted(set(true) - set(found.scores))
    unnamed = [name for name in lost if name not in found.excluded]
    if not wrong and not lost:
        return Outcome("right", "", "the scores are right", found.warnings, found.drift)
    if not wrong and not unnamed:
        reasons = sorted({found.excluded[name] for name in lost})
        return Outcome("named", ",".join(reasons), f"{len(lost)} left out", found.warnings, found.drift)
    largest = max((abs(found.scores[name] - true.get(name, np.nan)) for name in wrong), default=0.0)
    detail = (
        f"{len(wrong)} of {len(found.scores)} scores differ (largest {largest:.3g}: {', '.join(wrong[:3])}), "
        f"{len(unnamed)} stocks gone without a word, picks {'differ' if picks(found.scores) != picks(true) else 'same'}"
    )
    if NOT_COMPARED in found.warnings:
        return Outcome("not_compared", "", detail, found.warnings, found.drift)
    return Outcome("warned" if found.warnings else "silent", "", detail, found.warnings, found.drift)


def judge_harmless(world: World, live: Live, expected: Scores | None) -> Outcome:
    """A right table: "right" where it scores as `expected` says (None: only that it scores), without a warning."""
    try:
        found = scored(world, live)
    except AlphasealError as error:
        return Outcome("refused", error.code, str(error))
    except Exception as error:  # noqa: BLE001 - a fault is what is looked for
        return Outcome("fault", type(error).__name__, repr(error)[:300])
    if expected is not None:
        lost = sorted(set(expected) - set(found.scores))
        wrong = differing(world, {name: found.scores[name] for name in expected if name in found.scores}, expected)
        if lost or wrong:
            return Outcome(
                "wrong", "", f"{len(wrong)} scores differ, lost: {lost[:5]} {[found.excluded.get(n) for n in lost[:5]]}"
            )
    if found.warnings:
        return Outcome("warned", "", "; ".join(found.warnings)[:300], found.warnings, found.drift)
    return Outcome("right", "", "", found.warnings, found.drift)
