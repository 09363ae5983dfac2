"""Spark in local mode gives the runtime's scores, and refuses what it cannot score rightly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.adapters.conftest import Case, assert_same_scores
from runtime.adapters.environment import needs_adapters, run_program

pytestmark = needs_adapters


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory, trees: Case, windows: Case) -> dict[str, Any]:
    """What one Spark made of both bundles, rows scattered over five partitions."""
    out = tmp_path_factory.mktemp("spark")
    cases = {
        name: {"bundle": case.bundle, "features": case.features, "days": 5, "out": out / f"{name}.parquet"}
        for name, case in (("trees", trees), ("windows", windows))
    }
    return run_program("with_spark", out, cases=cases, moved=out / "moved") | {"out": out}


def test_trees_score_bit_for_bit(spark: dict[str, Any], trees: Case) -> None:
    """Rows that are scored alone, in any partition: the bits of the runtime."""
    assert_same_scores(Path(spark["out"]) / "trees.parquet", trees)


def test_windows_and_whole_days_score_bit_for_bit(spark: dict[str, Any], windows: Case) -> None:
    """The table is cut into whole days with their history: the bits of the runtime on the whole table."""
    assert_same_scores(Path(spark["out"]) / "windows.parquet", windows)


def test_schema_is_the_one_that_was_promised(spark: dict[str, Any]) -> None:
    """Both give the columns and types of `ScoreFunction.schema`."""
    promised = ["datetime date", "instrument string", "score double", "excluded string"]
    assert spark["types"] == {"trees": promised, "windows": promised}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("lost_row", "a part of the table is not whole"),
        ("not_cut", "the table is not cut into parts of whole days"),
        ("other_bundle", "another bundle lies here than where the work began"),
        ("zoned", "features.time_zone"),
        ("no_trust", "trust.unsigned"),
    ],
)
def test_what_would_be_wrong_is_refused(spark: dict[str, Any], case: str, said: str) -> None:
    """Rows that got lost, a table that is not cut, another bundle at a worker, zoned timestamps, no trust: an error each."""
    assert said in spark["refusals"][case]
