"""Make all real input again: an environment of its own, the market, the runs, the fixtures, the variants.

    python3 rebuild.py --environment ENVIRONMENT_DIR --out DIR [--small tests/data]

ENVIRONMENT_DIR gets a virtual environment with the packages of requirements-research.txt (Python 3.11 is asked for
with --python where `python3.11` is not its name); an existing one is used as it is.  Runs happen below --runs, which
ends up inside the pickles: a neutral folder.  DIR gets what the full fixture set holds, and DIR/tasks the variants;
--small refreshes the small set of the repository from it.  About ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# set, plan, stamp, further options of run_task.py
TASKS = (
    ("quant_signed", "quant", "2022-03-07_09-15-42-120345", ["--format", "signed"]),
    ("factor_plain", "factor", "2022-03-09_20-41-03-664071", ["--format", "plain", "--embed-weights"]),
    ("model_plain", "model", "2022-03-11_06-30-09-000777", ["--format", "plain", "--embed-weights"]),
    ("variants", "variants", "2022-03-12_08-00-00-000042", ["--format", "plain", "--embed-weights"]),
)


def run(*command: object) -> None:
    """Run one command; stop everything if it fails."""
    words = [str(word) for word in command]
    print("+", *words, flush=True)
    subprocess.run(words, check=True, env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"})


def environment(folder: Path, python: str) -> Path:
    """Interpreter of the research environment, which is made if it is not there."""
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not interpreter.exists():
        if shutil.which(python) is None:
            sys.exit(f"{python} is not there: rdagent 1.0.0 is installed with Python 3.11, name one with --python")
        run(python, "-m", "venv", folder)
        install = [interpreter, "-m", "pip", "install", "--quiet"]
        run(*install, "--require-hashes", "-r", HERE / "requirements-research.txt")
        run(*install, "-r", HERE.parents[1] / "requirements/torch.txt")
    return interpreter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("/data/rdagent"))
    parser.add_argument("--small", type=Path, help="also refresh this small set (tests/data)")
    parser.add_argument("--python", default="python3.11")
    options = parser.parse_args()
    out, runs = options.out.absolute(), options.runs.absolute()
    python = environment(options.environment.absolute(), options.python)
    market = runs / "market"
    run(python, HERE / "simulate_market.py", "--out", market)
    for name, plan, stamp, further in TASKS:
        source = runs / "tasks" / name
        shutil.rmtree(source, ignore_errors=True)
        what = ("--plan", HERE / f"plans/{plan}.json", "--stamp", stamp, *further)
        run(python, HERE / "run_task.py", *what, "--market", market, "--out", source)
        if name != "variants":
            finished = ("--market", market, "--source", source, "--out", out / name)
            run(python, HERE / "assemble.py", "task", *finished)
    run(python, HERE / "run_direct.py", "--market", market, "--out", runs / "direct")
    finished = ("--market", market, "--source", runs / "direct", "--out", out / "direct")
    run(python, HERE / "assemble.py", "direct", *finished)
    finished = ("--market", market, "--source", runs / "tasks/variants", "--out", out / "tasks")
    run(python, HERE / "make_variants.py", *finished)
    run(python, HERE / "check_truth.py", out)
    if options.small is not None:
        small = options.small.absolute()
        run(python, HERE / "pick_small_set.py", "--fixtures", out, "--out", small)
        shutil.rmtree(small / "tasks", ignore_errors=True)
        shutil.copytree(out / "tasks", small / "tasks")
        for folder in (runs / "noise", small / "noise"):
            shutil.rmtree(folder, ignore_errors=True)
        run(python, HERE / "record_noise.py", "--out", runs / "noise")
        shutil.copytree(runs / "noise", small / "noise")


if __name__ == "__main__":
    main()
