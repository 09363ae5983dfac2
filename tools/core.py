"""``make check``: how many of our lines a process loads that opens a bundle, verifies it, scores a table and takes the best.

Counted from the modules that are loaded afterwards, whenever and by whomever they were imported; `gate`, which looks at bytes
before a library does, is counted apart.  Ends with 1 beyond the limits, or where a wing is loaded that this work must not need.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "runtime/src/alphaseal"
BUNDLE = ROOT / "tests/data/released/factor"
MOST = {"without gate": 5_450, "with gate": 8_750}
"""A little above what is there: more is a decision, not an accident."""
NEVER = (
    "alphaseal.bars.",
    "alphaseal.desk.",
    "alphaseal.adapters.",
    "alphaseal.cli.",
    "alphaseal.terminal.",
    "alphaseal.store",
)
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import pyarrow.compute, pyarrow.parquet
import alphaseal
bundle = alphaseal.open(sys.argv[2], trust=alphaseal.Trust.unsigned())
bundle.verify()
golden = pyarrow.parquet.read_table(sys.argv[2] + "/golden.parquet")
golden = golden.filter(pyarrow.compute.is_valid(golden["datetime"])).drop_columns(["case", "score"])
scores = bundle.score(golden, date=bundle.manifest.golden.days[0])
assert len(scores.top(5)) == 5
print(json.dumps({name: module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "alphaseal"}))
"""


def loaded() -> dict[str, int]:
    """Lines of each module of the runtime that such a process has loaded."""
    command = [sys.executable, "-c", PROGRAM, str(PACKAGE.parent), str(BUNDLE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return {name: len(Path(file).read_text(encoding="utf-8").splitlines()) for name, file in found.items()}


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="lines of every module")
    options = parser.parse_args()
    lines = loaded()
    gate = sum(count for name, count in lines.items() if name.startswith("alphaseal.gate"))
    total = {"without gate": sum(lines.values()) - gate, "with gate": sum(lines.values())}
    never = sorted(name for name in lines if name.startswith(NEVER))
    if options.json:
        print(json.dumps(lines | total, indent=2))
    else:
        print(", ".join(f"{count} lines {what}" for what, count in total.items()) + " open, verify and score a table")
    if never:
        print("loaded without need: " + ", ".join(never))
    return int(bool(never) or any(total[what] > most for what, most in MOST.items()))


if __name__ == "__main__":
    raise SystemExit(main())
