"""``make demo``: the main job on real input, from an RD-Agent task to a ranked list of stocks.

The task was left by a real RD-Agent loop and real qlib runs on a simulated market (tests/data/README.md), which is made
again here: its day data prove the bundle without qlib, its bars are what the trading side scores.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TASK = "tests/data/factor_plain"
WORKSPACE = f"{TASK}/workspaces/46797bef467848ea9d5ef3d9b6c75561"
MARKET = "demo/market"
BUNDLE = "demo/bundle"
DATE = "2021-12-24"


def run(*arguments: str) -> None:
    """Show a command as a person would type it, run it, stop the demo where it fails."""
    print(f"\n$ {' '.join(arguments)}", flush=True)
    program = Path(sys.executable).with_name(arguments[0])
    done = subprocess.run([str(program), *arguments[1:]], cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def main() -> None:
    """Inspect, build, verify, self-test, score."""
    shutil.rmtree(ROOT / "demo", ignore_errors=True)
    (ROOT / "demo").mkdir()
    workspaces = ("--workspace-root", f"{TASK}/workspaces")
    simulate = "tools/research/simulate_market.py"
    run("python", simulate, "--out", MARKET, "--provider-only", "--bars", "2021-06-01")
    run("alphaseal-convert", "inspect", TASK, *workspaces)
    run("alphaseal-convert", "build", TASK, *workspaces, "--provider", f"{MARKET}/qlib_bin", "--out", BUNDLE)
    run("alphaseal", "verify", BUNDLE, "--allow-unsigned")
    run("alphaseal", "selftest", BUNDLE, "--allow-unsigned")
    values = ("--bars", f"{MARKET}/bars.parquet", "--features", f"{WORKSPACE}/combined_factors_df.parquet")
    run("alphaseal", "score", BUNDLE, "--allow-unsigned", *values, "--date", DATE, "--top", "10")
    print(f"\nbundle  {ROOT / BUNDLE}\ncard    {ROOT / BUNDLE / 'card.html'}")


if __name__ == "__main__":
    main()
