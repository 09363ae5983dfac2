"""Graphs that hardly fit, through the gate and then through onnxruntime; ``make fuzz`` makes fifty thousand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from alphaseal.gate.onnx import operators as onnx_operators
from fuzz_graphs import graph, recipe_of
from locations import REPOSITORY

GRAPHS = 800
OLDEST = "ALPHASEAL_OLDEST_ONNXRUNTIME"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="memory is limited with setrlimit")
@pytest.mark.attack("graph: made by chance", attempts=GRAPHS)
def test_no_graph_that_passes_ends_a_process() -> None:
    """The gate refuses in its own words or onnxruntime survives, the installed one and the oldest that is admitted."""
    pythons = [sys.executable, *filter(None, [os.environ.get(OLDEST)])]
    command = [sys.executable, str(REPOSITORY / "tools/fuzz_gate.py"), "--count", str(GRAPHS), "--json"]
    command += [part for python in pythons for part in ("--python", python)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    total = json.loads(done.stdout)
    assert total["findings"] == []
    assert done.returncode == 0
    assert total["codes"]["accepted"] > GRAPHS // 4
    assert len(total["codes"]) >= 10
    assert len(total["ran"]) == len(pythons)
    assert all(counts["ran"] > GRAPHS // 8 for counts in total["ran"].values())


def test_every_operator_is_made_by_chance() -> None:
    """No operator of the list is left out, and graphs depend on nothing but seed and number."""
    names = sorted(name for domain, name in onnx_operators.every_operator() if not domain)
    for number, name in enumerate(names):
        assert recipe_of(name) is not None
        assert name.encode() in b"".join(graph(seed, number) for seed in range(4)), name
    assert graph(1, 5) == graph(1, 5) != graph(2, 5)


def test_oldest_onnxruntime_is_that_of_the_package() -> None:
    """The environment of its own has the lowest version that the runtime asks for."""
    wanted = re.findall(r"onnxruntime>=([0-9.]+)", (REPOSITORY / "runtime/pyproject.toml").read_text(encoding="utf-8"))
    pinned = (REPOSITORY / "requirements/onnxruntime-oldest.txt").read_text(encoding="utf-8")
    lowest = min(wanted, key=lambda version: [int(part) for part in version.split(".")])
    assert re.search(rf"^onnxruntime=={re.escape(lowest)}\.\d+ ", pinned, re.MULTILINE)
