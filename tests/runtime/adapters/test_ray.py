"""Ray Data in local mode gives the runtime's scores, and refuses parts that are not whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.adapters.conftest import Case, assert_same_scores
from runtime.adapters.environment import needs_adapters, run_program

pytestmark = needs_adapters


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory, trees: Case, windows: Case) -> dict[str, Any]:
    """What one Ray made of both bundles, rows shuffled."""
    out = tmp_path_factory.mktemp("ray")
    cases = {
        name: {"bundle": case.bundle, "features": case.features, "days": 5, "out": out / f"{name}.parquet"}
        for name, case in (("trees", trees), ("windows", windows))
    }
    answer = run_program("with_ray", out, cases=cases)
    if "not_started" in answer:
        pytest.skip(f"Ray's own processes do not start on this machine: {answer['not_started']}")
    return answer | {"out": out}


def test_trees_score_bit_for_bit(ray: dict[str, Any], trees: Case) -> None:
    """Rows that are scored alone, in any batch: the bits of the runtime."""
    assert_same_scores(Path(ray["out"]) / "trees.parquet", trees)


def test_windows_and_whole_days_score_bit_for_bit(ray: dict[str, Any], windows: Case) -> None:
    """The table is cut into whole days with their history: the bits of the runtime on the whole table."""
    assert_same_scores(Path(ray["out"]) / "windows.parquet", windows)


def test_part_that_is_not_whole_is_refused(ray: dict[str, Any]) -> None:
    """Batches of ten rows where whole days are needed: an error, not scores."""
    assert "a part of the table is not whole" in ray["refused"]
