"""Generated factor programs, compiled and run by real pandas: no value that is said to be known may be another than pandas'.

    python tools/fuzz_factors.py --count 5000 [--seed S] [--first N] [--python PYTHON] [--json]
    python tools/fuzz_factors.py --only N

Program N is the same in every run of a seed (`tests/generated_factors.py`).  PYTHON has pandas and tables; without it, it is
that of ALPHASEAL_RESEARCH_PYTHON.  Ends with 1 where a program was compiled to other rows or values than pandas gives, or
the compiler failed in another way than by a refusal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "converter" / "src"), str(ROOT / "runtime" / "src")]

from factor_comparison import Judge
from generated_factors import program

SEED = 20270301
_EVERY = 100
"""Programs between two lines of progress."""


def run_all(numbers: Iterable[int], seed: int, python: str, *, talk: bool = False) -> dict[str, Any]:
    """What became of the programs of these numbers."""
    outcomes: Counter[str] = Counter()
    cells = Counter[str](compared=0, unknown=0, noise=0)
    findings: list[str] = []
    started, done = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder, Judge(python, Path(folder)) as judge:
        for done, number in enumerate(numbers, 1):
            found = judge.judge(program(seed, number), number)
            outcomes[found.said if found.outcome == "refused" else found.outcome] += 1
            cells.update(compared=found.compared, unknown=found.unknown, noise=found.noise)
            if found.outcome == "wrong":
                findings.append(f"program {number}: {found.said}")
                if talk:
                    print("FINDING", findings[-1], flush=True)
            if talk and done % _EVERY == 0:
                print(f"{done} programs, {len(findings)} findings, {time.monotonic() - started:.0f} s", flush=True)
    return {
        "programs": done,
        "pandas": judge.pandas.version,
        "outcomes": outcomes,
        "cells": cells,
        "findings": findings,
        "seconds": time.monotonic() - started,
    }


def main() -> int:
    """See the module; 0 where there is no finding."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int, help="print one program, and what becomes of it")
    parser.add_argument("--python", default=os.environ.get("ALPHASEAL_RESEARCH_PYTHON", ""))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.python:
        parser.error("no Python with pandas: give --python, or set ALPHASEAL_RESEARCH_PYTHON (make research makes one)")
    numbers: Iterable[int] = range(options.first, options.first + options.count)
    if options.only is not None:
        numbers = [options.only]
        if not options.json:
            print(program(options.seed, options.only))
    total = run_all(numbers, options.seed, options.python, talk=not options.json)
    if options.json:
        print(json.dumps(total))
    else:
        for name, count in sorted(total["outcomes"].items()):
            print(f"{count:9} {name}")
        for name, count in total["cells"].items():
            print(f"{count:9} cells {name}")
        print(f"{total['programs']} programs in {total['seconds']:.0f} s, {len(total['findings'])} findings")
    return 1 if total["findings"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
