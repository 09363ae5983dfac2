"""Turn finished runs into a small fixture: truth files, thinned snapshots, slim workspaces, expected.json.

    python assemble.py task   --market MARKET_DIR --source TASK_DIR   --out FIXTURE_DIR
    python assemble.py direct --market MARKET_DIR --source DIRECT_DIR --out FIXTURE_DIR

Thinning: of the snapshots the first loop stays whole, the last one keeps 1_coding and its last two steps, others their last step; of mlruns
only what CORE and EXTRA name; combined_factors_df.parquet keeps its last days; links, h5 files, caches and logs go.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

CORE = ["artifacts/params.pkl", "artifacts/dataset", "artifacts/task", "artifacts/pred.pkl", "metrics/IC", "meta.yaml"]
EXTRA = [
    "artifacts/label.pkl",
    "artifacts/sig_analysis/ic.pkl",
    "artifacts/sig_analysis/ric.pkl",
    "artifacts/portfolio_analysis/report_normal_1day.pkl",
    "metrics/ICIR",
    "metrics/Rank IC",
    "metrics/Rank ICIR",
    "metrics/1day.excess_return_with_cost.annualized_return",
    "params/model.class",
    "params/dataset.class",
]
DAYS_ROWS, DAYS_WINDOWS, DAYS_REJECTED = (
    46,
    70,
    10,
)  # the test segment (40 days) and what follows; plus history; a trace
CODE = (".py", ".yaml", "model.pkl", "qlib_res.csv")


def record(market: Path, workspace: Path, out: Path, features: Path) -> dict[str, Any]:
    """Run record_truth.py for one workspace."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("record_truth.py")),
        "--market",
        market,
        "--workspace",
        workspace,
        "--out",
        out,
        "--features",
        features,
    ]
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true", "GIT_PYTHON_REFRESH": "quiet"},
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    print(done.stdout.splitlines()[-1])
    return dict(json.loads((out / "truth.json").read_text(encoding="utf-8")))


def newest_run(workspace: Path) -> Path | None:
    """Folder of the newest complete recorder of a workspace."""
    runs = sorted(workspace.glob("mlruns/*/*/artifacts/params.pkl"), key=lambda path: path.stat().st_mtime)
    return runs[-1].parents[1] if runs else None


def copy_workspace(source: Path, out: Path, full: bool, days: int, run: Path | None = None) -> None:
    """Copy code, configuration, factor table and one run, the newest complete one unless named."""
    out.mkdir(parents=True, exist_ok=True)
    run = run or newest_run(source)
    command = (run / "params/cmd-sys.argv").read_text() if run else ""
    for path in source.iterdir():
        unused = path.suffix == ".yaml" and path.name not in command and len(list(source.glob("*.yaml"))) > 1
        if (
            path.is_file()
            and not path.is_symlink()
            and path.name.endswith(CODE)
            and path.name != "read_exp_res.py"
            and not unused
        ):
            shutil.copy(path, out)
    if (source / "combined_factors_df.parquet").exists():
        table = pd.read_parquet(source / "combined_factors_df.parquet")
        dates = table.index.get_level_values("datetime").unique().sort_values()
        table.loc[dates[-days] :].to_parquet(out / "combined_factors_df.parquet", engine="pyarrow", compression="zstd")
    if run:
        for name in [*CORE, *(EXTRA if full else []), "../meta.yaml"]:
            if (run / name).exists():
                target = out / os.path.normpath(run.relative_to(source) / name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(run / name, target)


def place(truth_file: Path, workspace: Path) -> None:
    """Store in truth.json where the slim workspace lies, seen from the folder of truth.json."""
    truth = json.loads(truth_file.read_text(encoding="utf-8"))
    truth["workspace"] = os.path.relpath(workspace, truth_file.parent)
    truth_file.write_text(json.dumps(truth, indent=1, ensure_ascii=False), encoding="utf-8")


def assemble_task(market: Path, source: Path, out: Path) -> None:
    """Fixture of one RD-Agent task."""
    info = json.loads((source / "history.json").read_text())
    history = info["history"]
    chosen = [i for i, h in enumerate(history) if h["decision"] and "Model" in h["experiment"]] or [
        i for i, h in enumerate(history) if h["decision"]
    ]
    for i, h in enumerate(history):
        h["index"] = i
        parquet = source / "workspaces" / h["workspace"] / "combined_factors_df.parquet"
        h["factor_columns"] = [c[-1] for c in pd.read_parquet(parquet).columns] if parquet.exists() else []
        days = DAYS_REJECTED
        if h["decision"]:
            h["truth"] = f"hist{i}_{'model' if 'Model' in h['experiment'] else 'factor'}"
            truth = record(
                market, source / "workspaces" / h["workspace"], out / "truth" / h["truth"], out / "truth/features"
            )
            h["model_features"], days = truth["model_features"], DAYS_WINDOWS if truth["windows"] else DAYS_ROWS
        copy_workspace(
            source / "workspaces" / h["workspace"], out / "workspaces" / h["workspace"], full=h["decision"], days=days
        )
        if h["decision"]:
            place(out / "truth" / h["truth"] / "truth.json", out / "workspaces" / h["workspace"])
        h.pop("metrics")
    if info["format"] == "signed":
        shutil.copy(source / "artifact_signing.key", out)
    session = next(source.glob("log/*/__session__"))
    loops = sorted((p for p in session.iterdir()), key=lambda p: int(p.name))
    for loop in loops:
        steps = sorted(loop.iterdir(), key=lambda p: int(p.name.split("_")[0]))
        for step in steps if loop == loops[0] else [steps[1], *steps[-2:]] if loop == loops[-1] else steps[-1:]:
            target = out / step.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(step, target)
    last = max(loops[-1].iterdir(), key=lambda p: int(p.name.split("_")[0]))
    best = history[chosen[-1]]
    expected = {
        "kind": info["kind"],
        "format": info["format"],
        "loop_class": info["loop_class"],
        "steps": info["steps"],
        "weights_in_session": info["embedded_weights"],
        "use_snapshot": str(last.relative_to(source)),
        "convert": {
            "index": best["index"],
            "experiment": best["experiment"],
            "tasks": best["tasks"],
            "workspace": best["workspace"],
            "truth": f"truth/{best['truth']}",
            "model_features": best["model_features"],
        },
        "factor_names_listed": [
            t for h in history if h["decision"] and "Factor" in h["experiment"] for t in h["tasks"]
        ],
        "factor_names_in_model": best["factor_columns"],
        "history": history,
    }
    (out / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["task", "direct"])
    for name in ("--market", "--source", "--out"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args()
    market, source, out = options.market.absolute(), options.source.absolute(), options.out.absolute()
    shutil.rmtree(out, ignore_errors=True)
    if options.what == "task":
        assemble_task(market, source, out)
        return
    for workspace in sorted(x for x in source.iterdir() if list(x.glob("mlruns/*/*/artifacts/pred.pkl"))):
        record(market, workspace, out / workspace.name / "truth", out / "features")
        copy_workspace(workspace, out / workspace.name, full=False, days=DAYS_ROWS)
        place(out / workspace.name / "truth/truth.json", out / workspace.name)


if __name__ == "__main__":
    main()
