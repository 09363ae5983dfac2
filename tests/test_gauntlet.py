"""Live tables of every kind, wrong and right, against bundles of a small market; `tools/run_gauntlet.py` draws thousands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from alphaseal.bars import join as alpha_blocks
from alphaseal.bars.conventions import Watch
from alphaseal.bars.jumps import JumpCheck
from gauntlet import harmful, harmless
from gauntlet.judge import Outcome, judge_harmful, matters
from gauntlet.run import BAD, Tally, run_harmful, run_harmless
from gauntlet.worlds import World, live_worlds

SEED = 20261122
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[World]]:
    """Bundles as the converter builds them of runs with ratios, units, long windows and stages across stocks."""
    made = live_worlds(tmp_path_factory.mktemp("gauntlet"))
    yield made
    for world in made:
        world.bundle.close()


def found(tally: Tally, sort: str) -> list[str]:
    """What must not be, with examples."""
    bad = BAD[sort]
    return [text for name, texts in tally.examples.items() if name.split()[-1] in bad for text in (name, *texts)]


def test_right_scores_are_those_of_qlib(worlds: list[World]) -> None:
    """What the gauntlet takes for right is what qlib recorded, for every stock with a value on each later day."""
    assert {world.name: world.check() for world in worlds} == {
        "run_factor": 360,
        "run_raw": 357,
        "run_macd": 357,
        "run_cross": 360,
        "run_rank": 342,
    }


@pytest.mark.case("prices_on_another_scale", "macd_on_another_scale")
def test_wrong_tables_are_not_scored_in_silence(worlds: list[World]) -> None:
    """Each kind of wrong table twice: refused, left out by name, or told."""
    tally = run_harmful(worlds, 2 * len(harmful.KINDS), SEED)
    assert set(tally.verdicts) == {kind.name for kind in harmful.KINDS}
    assert found(tally, "harmful") == []
    assert tally.total("refused") + tally.total("named") > len(harmful.KINDS)


def test_right_tables_score_without_a_word(worlds: list[World]) -> None:
    """Each variant of a right table four times: the scores are the same, and nothing is warned of."""
    tally = run_harmless(worlds, 4 * len(harmless.MAKERS), SEED)
    assert set(tally.verdicts) == {maker.__name__ for maker in harmless.MAKERS}
    assert found(tally, "harmless") == []
    assert tally.total("right") == 4 * len(harmless.MAKERS)


def outcomes(worlds: list[World], kind: str, count: int) -> list[Outcome]:
    """What becomes of wrong tables of one kind that matter, of the run with ratios of many days."""
    (made,) = (known for known in harmful.KINDS if known.name == kind)
    world, results = worlds[0], []
    for number in range(count):
        live = harmful.draw(world, made, np.random.default_rng([SEED, number]))
        if live is not None and matters(world, live):
            results.append(judge_harmful(world, live))
    assert results
    return results


@pytest.mark.parametrize(("kind", "guard"), [("filled_forward", Watch), ("unadjusted_split", JumpCheck)])
def test_the_judge_sees_a_guard_that_is_switched_off(
    worlds: list[World], kind: str, guard: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the guard no table is scored wrong; without it the same tables are, and the judge says so."""
    wrong = ("silent", "warned", "not_compared")
    assert not [outcome for outcome in outcomes(worlds, kind, 12) if outcome.verdict in wrong]
    monkeypatch.setattr(alpha_blocks, "splits", lambda *_: ())
    monkeypatch.setattr(guard, "of", lambda *_: None)
    assert [outcome for outcome in outcomes(worlds, kind, 12) if outcome.verdict == "silent"]


def test_the_judge_sees_a_false_alarm(worlds: list[World], monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that takes every move of a price for a jump is found out by right tables."""
    monkeypatch.setattr(JumpCheck, "high", 1.0)
    assert run_harmless(worlds[:1], 2 * len(harmless.MAKERS), SEED).total("right") < 2 * len(harmless.MAKERS)


def test_the_seed_decides(worlds: list[World]) -> None:
    """The same seed draws the same tables."""
    first, again = (run_harmful(worlds[1:2], 8, SEED) for _ in range(2))
    assert (first.verdicts, first.codes) == (again.verdicts, again.codes)
