"""Structure-aware mutations of a small signed bundle; ``make fuzz`` makes fifty times as many."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz_mutations import tree_mutation, write_tree
from locations import REPOSITORY

MUTATIONS = 20_000


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="memory is measured with getrusage")
def test_mutations_are_never_accepted_and_never_hurt() -> None:
    """No false acceptance, no exception outside the family, at most 1 s and 200 MB each; onnxruntime survives what passes."""
    command = [sys.executable, str(REPOSITORY / "tools/fuzz.py"), "--count", str(MUTATIONS), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    total = json.loads(done.stdout)
    assert total["findings"] == []
    assert done.returncode == 0
    outcomes = total["outcomes"]
    assert sum(number for name, number in outcomes.items() if not name.startswith("(")) == MUTATIONS
    # Every layer is reached and passed: refused in many ways, and something let through to the next.
    for area, number in (("manifest", 12), ("envelope", 12), ("model", 10), ("tree", 10), ("resealed", 15)):
        assert sum(name.startswith(f"{area}: ") for name in outcomes) >= number, area
    parquet = {name.removeprefix("parquet: ") for name in outcomes if name.startswith("parquet: ")}
    assert parquet >= {"accepted", "data.parquet", "data.schema", "data.metadata"}
    assert outcomes["(in a child)"] == MUTATIONS // 500
    assert outcomes["(onnxruntime ran)"] > MUTATIONS // 200


def test_changed_trees_reach_nothing_outside(tmp_path: Path) -> None:
    """Whatever a mutation writes, and wherever its links lead, lies in the scratch directory."""
    for number in range(300):
        root = tmp_path / str(number) / "bundle"
        write_tree(root, {"manifest.json": b"{}", "model.onnx": b"model", "sources/conf.yaml": b"a: 1"})
        tree_mutation(root, random.Random(number))
        links = [path for path in root.rglob("*") if path.is_symlink()]
        assert all(Path(os.path.realpath(link)).is_relative_to(tmp_path) for link in links)
