"""What was released stays good: a bundle and graphs of format 1.0, as the converter of their day wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alphaseal.cli import main
from alphaseal.desk.diff import difference
from alphaseal.format import guards
from alphaseal.format.manifest import FORMAT
from alphaseal.gate.model import WHOLE_DAY, check_model
from alphaseal_converter.bundle.validate import examine
from bundles import factor_plain_bundle
from locations import REPOSITORY

RELEASED = REPOSITORY / "tests/data/released"
FEATURES = REPOSITORY / "tests/data/factor_plain/truth/features/raw_5f0ff4f2.parquet"
GRAPHS = sorted((RELEASED / "graphs").glob("*.onnx"))


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda path: path.stem)
def test_gate_lets_released_graphs_pass(graph: Path) -> None:
    """A rule that is added to the gate refuses no graph that the converter wrote before."""
    check_model(graph.read_bytes(), graph.name, limits=WHOLE_DAY)


@pytest.mark.parametrize("verb", ["verify", "selftest"])
def test_released_bundle_is_good(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It verifies and proves itself, with one warning that names what it lacks."""
    assert main([verb, str(RELEASED / "factor"), "--allow-unsigned", "--json"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["result"]["warnings"]
    assert all(guard in warning for guard in guards.SINCE_1_1)


def test_released_bundle_scores_as_it_did(tmp_path: Path) -> None:
    """Every digit of every score is the same."""
    arguments = ["--allow-unsigned", "--features", str(FEATURES), "--date", "2021-12-24", "--out"]
    assert main(["score", str(RELEASED / "factor"), *arguments, str(tmp_path / "scores.csv")]) == 0
    assert (tmp_path / "scores.csv").read_bytes() == (RELEASED / "scores_2021-12-24.csv").read_bytes()


def test_released_bundle_is_valid() -> None:
    """`validate` finds nothing wrong with it."""
    assert examine(RELEASED / "factor") == []


def test_released_bundle_is_compared_with_a_present_one() -> None:
    """`diff` names the format, the same model and the same scores, in both directions."""
    released, present = RELEASED / "factor", factor_plain_bundle()
    for old, new in ((released, present), (present, released)):
        found = difference(old, new)
        formats = [(fact.old, fact.new) for fact in found.facts if (fact.area, fact.what) == ("bundle", "format")]
        assert formats == [("1.0", FORMAT) if old == released else (FORMAT, "1.0")]
        assert not found.features.added
        assert not found.features.removed
        assert not [fact for fact in found.facts if fact.what.startswith("digest of model")]
        assert found.scores is not None
        assert all(day.rank_correlation == 1.0 for day in found.scores.days)
