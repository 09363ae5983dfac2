"""``make demo``: one of the two commands that everything depends on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from locations import REPOSITORY


@pytest.mark.slow
def test_the_demo_ends_with_a_ranked_list(tmp_path: Path) -> None:
    """From the task to the ten best stocks, by the commands that a person would type."""
    command = [sys.executable, str(REPOSITORY / "tools/demo.py"), str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    ranks = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("2021-12-24  ")]
    assert ranks == [str(rank) for rank in range(1, 11)]
