"""A network over a market: the honest one passes the proof, the one with two features swapped does not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from locations import REPOSITORY

pytest.importorskip("torch")


@pytest.mark.slow
def test_an_honest_network_passes_and_one_with_swapped_features_is_refused() -> None:
    """300 stocks on 40 days, trained and recorded by torch in float32 batches; `tools/network_market.py` does 5000 on 250."""
    program = REPOSITORY / "tools/network_market.py"
    command = [sys.executable, str(program), "--stocks", "300", "--days", "40", "--networks", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    honest, swapped, (other,) = found["honest"], found["swapped"], found["before"]
    assert found["rows"] == 12_000
    assert honest["days"] == 40
    assert 0 < honest["largest_difference"] < 1e-5
    assert honest["largest_gap"] < 2e-5
    assert (honest["swaps"] > 0) == (honest["same_order"] < 40)
    assert swapped["code"] == "order.replay_differs"
    assert "stocks stand in another order on 40 of 40 days" in swapped["message"]
    assert other["other_order_now"] == 0
