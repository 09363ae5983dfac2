"""Train small runs on a small market with qlib, and record what it predicts on later days and which rows it trained on.

    python record_live_day.py --market QLIB_DIR --runs RUNS_DIR --out tests/data/live_day

RUNS_DIR/<run>/conf.yaml are configurations of `qrun` (with combined_factors_df.parquet beside one that reads it); a run that
has mlruns/ is taken as it is, the runs of OWN are written and trained here.  Of each run OUT gets what a converter reads
(mlruns/<experiment>/<run>/meta.yaml, metrics/, artifacts/{params.pkl, task, dataset, pred.pkl}), `later_pred.parquet` (the
model's scores of 2021-11-22 to 2021-12-17, which the run itself never saw) and `training_rows.json` (how many rows
``dataset.prepare("train", data_key=DK_L)`` has, and what each feature looks like on them before any processor).
OUT/market.parquet holds the market's bars with every row that qlib's files have.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import qlib
import yaml
from qlib.data.dataset.handler import DataHandlerLP
from qlib.utils import init_instance_by_config

LATER = ("2021-11-22", "2021-12-17")
LEVELS = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
FEATURES = [
    [
        "Ref($close, 5)/$close",
        "Std($close, 10)/$close",
        "Corr($close, Log($volume+1), 10)",
        "($high-$low)/$open",
        "Mean($volume, 5)/($volume+1e-12)",
    ],
    ["ROC5", "STD10", "CORR10", "KLEN", "VMA5"],
]
OWN: dict[str, list[dict[str, Any]]] = {
    # Stages that look across the stocks of a day.
    "run_cross": [
        {"class": "CSZScoreNorm", "kwargs": {"fields_group": "feature"}},
        {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
    ],
    # Rows without a feature are left out, in training and after.
    "run_rank": [
        {"class": "DropnaProcessor", "kwargs": {"fields_group": "feature"}},
        {"class": "CSRankNorm", "kwargs": {"fields_group": "feature"}},
    ],
}


def configured(like: dict[str, Any], processors: list[dict[str, Any]]) -> dict[str, Any]:
    """The configuration of a run of OWN, after that of another one."""
    made = copy.deepcopy(like)
    handler = made["task"]["dataset"]["kwargs"]["handler"]["kwargs"]
    handler["data_loader"]["kwargs"]["config"]["feature"] = FEATURES
    handler["infer_processors"] = processors
    return made


def train(workspace: Path, market: Path) -> None:
    """``qrun conf.yaml`` in the workspace."""
    conf = yaml.safe_load((workspace / "conf.yaml").read_text(encoding="utf-8"))
    conf["qlib_init"]["provider_uri"] = str(market)
    (workspace / "conf.yaml").write_text(yaml.safe_dump(conf, sort_keys=False), encoding="utf-8")
    environment = os.environ | {
        "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run(["qrun", "conf.yaml"], cwd=workspace, env=environment, check=True, capture_output=True)


def record(workspace: Path, out: Path) -> None:
    """What qlib says of later days and of the rows that the run was trained on."""
    (run,) = [path.parent for path in workspace.glob("mlruns/*/*/artifacts") if (path / "params.pkl").is_file()]
    shutil.rmtree(out, ignore_errors=True)
    place = out / run.relative_to(workspace)
    place.mkdir(parents=True)
    shutil.copy(run.parent / "meta.yaml", place.parent)
    shutil.copy(run / "meta.yaml", place)
    shutil.copytree(run / "metrics", place / "metrics")
    (place / "artifacts").mkdir()
    for name in ("params.pkl", "task", "dataset", "pred.pkl"):
        shutil.copy(run / "artifacts" / name, place / "artifacts")
    table = workspace / "combined_factors_df.parquet"
    if table.is_file():
        shutil.copy(table, out)
    conf = yaml.safe_load((workspace / "conf.yaml").read_text(encoding="utf-8"))
    os.chdir(workspace)
    block = conf["task"]["dataset"]
    (out / "training_rows.json").write_text(json.dumps(training_rows(block), indent=1) + "\n", encoding="utf-8")
    later = copy.deepcopy(block)
    later["kwargs"]["handler"]["kwargs"]["end_time"] = None
    later["kwargs"]["segments"]["test"] = list(LATER)
    model = pickle.loads((run / "artifacts/params.pkl").read_bytes())
    scores = model.predict(init_instance_by_config(later)).rename("score").reset_index()
    scores = scores.sort_values(["datetime", "instrument"], ignore_index=True)
    columns = {
        "datetime": pa.array(scores["datetime"].dt.date),
        "instrument": pa.array(scores["instrument"].astype(str)),
        "score": pa.array(scores["score"].astype(np.float64)),
    }
    pq.write_table(pa.table(columns), out / "later_pred.parquet", compression="zstd")


def training_rows(block: dict[str, Any]) -> dict[str, Any]:
    """Rows of the learn data of the training segment, and each feature's raw values on exactly these rows."""
    dataset = init_instance_by_config(block)
    learned = dataset.prepare("train", col_set="feature", data_key=DataHandlerLP.DK_L)
    raw = dataset.prepare("train", col_set="feature", data_key=DataHandlerLP.DK_R).loc[learned.index]
    features = {}
    for name in learned.columns:
        values = raw[name].to_numpy(np.float64)
        finite = values[np.isfinite(values)]
        features[str(name)] = {
            "missing": int(np.isnan(values).sum()),
            "infinite": int(np.isinf(values).sum()),
            "quantiles": np.quantile(finite, LEVELS).tolist(),
        }
    return {"rows": len(learned), "levels": list(LEVELS), "features": features}


def write_market(market: Path, out: Path) -> None:
    """Every row of every instrument, the benchmark too, as qlib's files have them."""
    days = pd.to_datetime((market / "calendars/day.txt").read_text(encoding="utf-8").split())
    parts = []
    for folder in sorted((market / "features").iterdir()):
        files = {path.name.split(".")[0]: np.fromfile(path, "<f4") for path in sorted(folder.iterdir())}
        start, length = int(next(iter(files.values()))[0]), len(next(iter(files.values()))) - 1
        columns = {name: values[1:] for name, values in files.items()}
        parts.append(
            pd.DataFrame({"datetime": days[start : start + length], "instrument": folder.name.upper(), **columns})
        )
    frame = pd.concat(parts).sort_values(["instrument", "datetime"], ignore_index=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    place = table.schema.get_field_index("datetime")
    table = table.set_column(place, "datetime", table.column("datetime").cast(pa.date32()))
    numbers = [field.name for field in table.schema if pa.types.is_float32(field.type)]
    pq.write_table(
        table.replace_schema_metadata(None),
        out / "market.parquet",
        compression="zstd",
        compression_level=19,
        use_dictionary=["datetime", "instrument"],
        column_encoding=dict.fromkeys(numbers, "BYTE_STREAM_SPLIT"),
        store_schema=False,
        write_statistics=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--market", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    market, runs, out = options.market.absolute(), options.runs.absolute(), options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    write_market(market, out)
    like = yaml.safe_load((runs / "run_raw/conf.yaml").read_text(encoding="utf-8"))
    for name, processors in OWN.items():
        workspace = runs / name
        if not (workspace / "mlruns").is_dir():
            workspace.mkdir(parents=True, exist_ok=True)
            made = configured(like, processors)
            (workspace / "conf.yaml").write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
            train(workspace, market)
    qlib.init(provider_uri=str(market), region="cn")
    for workspace in sorted(path for path in runs.iterdir() if (path / "conf.yaml").is_file()):
        record(workspace, out / workspace.name)


if __name__ == "__main__":
    main()
