"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from locations import REPOSITORY


@pytest.fixture(autouse=True)
def no_session_key_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests see no signing key but their own: neither the variable's nor rdagent's key file in the home directory."""
    monkeypatch.delenv("ARTIFACT_SIGNING_KEY", raising=False)
    if os.name == "posix":
        monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both wheels, built from the sources as they are."""
    out = tmp_path_factory.mktemp("wheels")
    for part in ("runtime", "converter"):
        command = [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(out),
            str(REPOSITORY / part),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return out
