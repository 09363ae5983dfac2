"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pytest

from locations import REPOSITORY


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, on every worker: what is stolen at the end is short, and no core waits for a long one.

    Workers get equal parts of the list, one after the other, and a file stays together for the sake of its fixtures.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    slow = [tests for tests in files.values() if any(test.get_closest_marker("slow") for test in tests)]
    slow.sort(key=lambda tests: -sum(test.get_closest_marker("slow") is not None for test in tests))
    quick = [test for tests in files.values() if tests not in slow for test in tests]
    ordered: list[pytest.Item] = []
    part = -(-len(items) // workers)
    for worker in range(workers):
        ordered += chain.from_iterable(slow[worker::workers])
        rest = max(0, (worker + 1) * part - len(ordered))
        ordered += quick[:rest]
        del quick[:rest]
    items[:] = [*ordered, *quick]


@pytest.fixture(autouse=True)
def no_session_key_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests see no signing key but their own: neither the variable's nor rdagent's key file in the home directory."""
    monkeypatch.delenv("ARTIFACT_SIGNING_KEY", raising=False)
    if os.name == "posix":
        monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp()))


@pytest.fixture
def without_isolation(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing can be closed off here, as on a kernel that does not know Landlock's system calls."""
    from alphaseal_converter.isolation import sandbox as isolation

    source = isolation._LAUNCHER.read_text(encoding="utf-8")
    crippled = source.replace("= 444, 445, 446", "= 99444, 99445, 99446")
    assert crippled != source
    launcher = tmp_path_factory.mktemp("crippled") / "launcher.py"
    launcher.write_text(crippled, encoding="utf-8")
    monkeypatch.setattr(isolation, "_LAUNCHER", launcher)
    # A system that stands since another test is none of this machine.
    isolation.shared_sandbox.cache_clear()


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """qlib's data directory of the simulated market that all recorded runs of the tests were made on, read only.

    Made once per run: the test processes share it.
    """
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "market-of-all-runs"
    if not shared.exists():
        made = tmp_path_factory.mktemp("market")
        program = REPOSITORY / "tools/research/simulate_market.py"
        subprocess.run([sys.executable, str(program), "--out", str(made), "--provider-only"], check=True)
        with suppress(OSError):  # another process was first, with the same bytes
            made.rename(shared)
    return shared / "qlib_bin"


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
