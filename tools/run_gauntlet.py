"""Live tables that went wrong and live tables that are only different, against real bundles.

    python tools/run_gauntlet.py [--count 1000] [--seed 20261122] [--json]

Bundles of `tests/data/live_day` are built by the converter, and their scores of days that the runs never saw are held
against qlib's own.  Then COUNT harmful tables (units, scales, fills, missing rows, index rows, duplicates …) must be
refused, or the stocks concerned left out by name, and COUNT harmless ones must score the same without a warning.  Ends
with 1 where a wrong table was scored in silence, or a right one was refused or warned of.  What no table can show is
listed with the reason and the remedy (`UNDECIDABLE` in `tests/gauntlet/harmful.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "converter/src"), str(ROOT / "runtime/src")]

from gauntlet.harmful import UNDECIDABLE
from gauntlet.run import BAD, HARMFUL, HARMLESS, Tally, run_harmful, run_harmless
from gauntlet.worlds import live_worlds

SEED = 20261122
_TERMINAL = sys.stderr.isatty()


class Progress:
    """A line that counts, on a terminal only."""

    def __init__(self, text: str, count: int) -> None:
        self._text, self._count, self._seen = text, count, 0

    def __call__(self) -> None:
        self._seen += 1
        if _TERMINAL:
            end = "\n" if self._seen == self._count else ""
            print(f"\r{self._text} {self._seen}/{self._count}", end=end, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="tables of either sort")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    options = parser.parse_args()
    if options.count < 1:
        parser.error("--count must be at least 1")
    os.environ.setdefault("SOURCE_DATE_EPOCH", "1767225600")
    with tempfile.TemporaryDirectory(prefix="alphaseal-gauntlet-") as directory:
        if _TERMINAL:
            print("building the bundles", file=sys.stderr)
        worlds = live_worlds(Path(directory))
        compared = sum(world.check() for world in worlds)
        wrong = run_harmful(worlds, options.count, options.seed, Progress("harmful", options.count))
        right = run_harmless(worlds, options.count, options.seed, Progress("harmless", options.count))
        for world in worlds:
            world.bundle.close()
    silent = sum(map(wrong.total, BAD["harmful"]))
    alarms = sum(map(right.total, BAD["harmless"]))
    if options.json:
        report = {
            "compared": compared,
            "seed": options.seed,
            "harmful": _plain(wrong),
            "harmless": _plain(right),
            "silent": silent,
            "false_alarms": alarms,
            "undecidable": UNDECIDABLE,
        }
        print(json.dumps(report, indent=1))
    else:
        print(f"{compared} right scores are those that qlib recorded")
        print("\n".join([*_lines("harmful", wrong, HARMFUL), "", *_lines("harmless", right, HARMLESS)]))
        print("\nnot drawn, because no table can show it:")
        print("\n".join(f"  {name}: {why}" for name, why in UNDECIDABLE.items()))
        print(
            f"\nsilent: {silent} of {options.count} harmful tables; false alarms: {alarms} of {options.count} harmless ones"
        )
    return 1 if silent or alarms else 0


def _plain(tally: Tally) -> dict[str, object]:
    examples = {name: found for name, found in tally.examples.items() if found}
    return {"verdicts": tally.verdicts, "codes": tally.codes, "examples": examples}


def _lines(sort: str, tally: Tally, verdicts: Sequence[str]) -> list[str]:
    """A table of kinds and verdicts, the codes that refused or excluded, and examples of what must not be."""
    titles = {"not_compared": "uncompared"}
    rows = [
        [kind, *(str(counts[verdict] or "") for verdict in verdicts), ", ".join(sorted(tally.codes.get(kind, ())))]
        for kind, counts in sorted(tally.verdicts.items())
    ]
    rows.append(["together", *(str(tally.total(verdict)) for verdict in verdicts), ""])
    head = [sort, *(titles.get(verdict, verdict) for verdict in verdicts), "by"]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head) - 1)]
    lines = [
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:-1], widths[1:], strict=True))
        + (f"  {row[-1]}" if row[-1] else "")
        for row in [head, *rows]
    ]
    return lines + [f"  {name}: {text}" for name, found in tally.examples.items() for text in found]


if __name__ == "__main__":
    sys.exit(main())
