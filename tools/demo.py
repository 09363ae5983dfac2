"""``make demo``: the main job on real input, from an RD-Agent task to a ranked list of stocks.

    python tools/demo.py [DIRECTORY]

The task was left by a real RD-Agent loop and real qlib runs on a simulated market (tests/data/README.md), which is made
again here: its day data prove the bundle without qlib, its bars are all that the trading side scores.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TASK = "tests/data/factor_plain"
DATE = "2021-12-24"


def run(*arguments: str) -> None:
    """Show a command as a person would type it, run it, stop the demo where it fails."""
    print(f"\n$ {' '.join(arguments)}", flush=True)
    program = Path(sys.executable).with_name(arguments[0])
    done = subprocess.run([str(program), *arguments[1:]], cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def main() -> None:
    """Inspect, build, verify, self-test, score; everything lands in the directory, which is made anew."""
    folder = sys.argv[1] if len(sys.argv) > 1 else "demo"
    market, bundle = f"{folder}/market", f"{folder}/bundle"
    shutil.rmtree(ROOT / folder, ignore_errors=True)
    (ROOT / folder).mkdir()
    workspaces = ("--workspace-root", f"{TASK}/workspaces")
    simulate = "tools/research/simulate_market.py"
    run("python", simulate, "--out", market, "--provider-only", "--bars", "2021-06-01")
    run("alphaseal-convert", "inspect", TASK, *workspaces)
    run("alphaseal-convert", "build", TASK, *workspaces, "--provider", f"{market}/qlib_bin", "--out", bundle)
    run("alphaseal", "verify", bundle, "--allow-unsigned")
    run("alphaseal", "selftest", bundle, "--allow-unsigned")
    bars = ("--bars", f"{market}/bars.parquet")
    run("alphaseal", "score", bundle, "--allow-unsigned", *bars, "--date", DATE, "--top", "10")
    print(f"\nbundle  {ROOT / bundle}\ncard    {ROOT / bundle / 'card.html'}")


if __name__ == "__main__":
    main()
