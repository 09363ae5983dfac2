"""The table of attacks in SECURITY.md is that of the tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from locations import REPOSITORY


@pytest.mark.slow
def test_the_table_of_attacks_lists_every_hostile_test() -> None:
    """Classes and numbers of attempts are those that the tests declare; `make attacks` writes the table."""
    command = [sys.executable, str(REPOSITORY / "tools/attacks.py"), "--check"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
