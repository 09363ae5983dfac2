"""Graphs against the model gate and onnxruntime: what the gate lets pass is loaded and run, and no process may die of it.

    python tools/fuzz_gate.py --count 50000 [--python PYTHON]...

Two kinds of graphs, in turns: nodes of every operator on values that nearly fit (`tests/fuzz_graphs.py`), and mutated
real ones (`tests/fuzz_mutations.py`).  Each PYTHON has numpy and one version of onnxruntime; without one it is this
Python.  Graph N is the same in every run of a seed; ``--only N`` writes it to a file.  Ends with 1 where onnxruntime took
a process down, took more memory than the gate's limits leave, or the gate raised anything but a refusal.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "converter" / "src"), str(ROOT / "runtime" / "src")]

import fuzz_graphs as graphs
import fuzz_mutations as mutations
from alphaseal.errors import PolicyError
from alphaseal.gate.model import WHOLE_DAY, check_model
from onnx_runs import run, version
from small_models import network_model, plain_trees, trees_model

SEED = 20270110
SLOWEST = 1.0
"""Seconds of CPU that the gate may take for one graph."""
_PART = 1_000


def graph(seed: int, number: int) -> bytes:
    """Graph `number` of a seed."""
    if number % 2:
        return graphs.graph(seed, number // 2)
    chance = random.Random(f"{seed}:{number}")
    base = chance.choice((trees_model, plain_trees, network_model))()
    return mutations.model_mutation(base if chance.random() < 0.4 else graphs.graph(seed, number // 2), chance)


def judged(data: bytes) -> str:
    """The word accepted, or the code of the refusal; AssertionError where it is none, or took too long."""
    started = time.process_time()
    code = "accepted"
    try:
        check_model(data, "model.onnx", limits=WHOLE_DAY)
    except PolicyError as error:
        code = error.code
        assert code.startswith("model."), code
    taken = time.process_time() - started
    assert taken < SLOWEST, f"{taken:.1f} s"
    return code


def parts(count: int) -> Iterator[tuple[int, int]]:
    """Parts of the numbers 0 to before `count`."""
    for first in range(0, count, _PART):
        yield first, min(first + _PART, count)


def run_all(count: int, seed: int, pythons: list[str], first: int = 0, talk: bool = False) -> dict[str, Any]:
    """Graphs `first` to before `first + count` through the gate, and what passes through every Python's onnxruntime."""
    codes: Counter[str] = Counter()
    ran = {python: Counter[str]() for python in pythons}
    findings: list[str] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        for start, end in parts(count):
            accepted, known = [], len(findings)
            for number in range(first + start, first + end):
                data = graph(seed, number)
                try:
                    code = judged(data)
                except Exception as error:  # noqa: BLE001 - a fault of the gate's own is what is looked for
                    code = f"FINDING {type(error).__name__}"
                    findings.append(f"graph {number}: the gate: {type(error).__name__} {error}")
                codes[code] += 1
                if code == "accepted":
                    accepted.append((number, data))
            for python in pythons:
                found = run([data for _, data in accepted], python, Path(scratch))
                ran[python].update(loaded=found.loaded, ran=found.ran)
                findings.extend(f"graph {accepted[at][0]}: {python} {said}" for at, said in found.findings)
            if talk:
                print(
                    *(f"FINDING {finding}" for finding in findings[known:]),
                    sep="\n",
                    end="" if known == len(findings) else "\n",
                )
                print(
                    f"{end} of {count} graphs, {len(findings)} findings, {time.monotonic() - started:.0f} s", flush=True
                )
    return {
        "graphs": count,
        "codes": codes,
        "ran": {version(python): dict(counts) for python, counts in ran.items()},
        "findings": findings,
        "seconds": time.monotonic() - started,
    }


def main() -> int:
    """See the module; 0 where there is no finding."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--python", action="append", help="a Python with numpy and onnxruntime; may be given again")
    parser.add_argument("--only", type=int, help="write one graph to --out and say what the gate says")
    parser.add_argument("--out", type=Path, default=Path("graph.onnx"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.only is not None:
        options.out.write_bytes(data := graph(options.seed, options.only))
        print(judged(data))
        return 0
    total = run_all(options.count, options.seed, options.python or [sys.executable], options.first, not options.json)
    if options.json:
        print(json.dumps(total))
    else:
        for code, number in sorted(total["codes"].items()):
            print(f"{number:9} {code}")
        for name, counts in total["ran"].items():
            print(f"{counts['loaded']:9} loaded, {counts['ran']} ran: {name}")
        for finding in total["findings"][:50]:
            print("FINDING", finding)
        print(f"{total['graphs']} graphs in {total['seconds']:.0f} s, {len(total['findings'])} findings")
    return 1 if total["findings"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
