"""qlib runs whose processors look at all stocks of a day, on markets that are not everything the provider has.

    python run_crossing.py --market MARKET_DIR --out OUT_DIR

MARKET_DIR is what ``simulate_market.py --moving`` writes: its market "moving" is a list of stocks that come and go, "all"
holds the benchmark too.  OUT_DIR/<case>/ gets conf.yaml, mlruns/ and later_pred.parquet: qlib's own predictions of the days
after the run, by the same model and processors.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ALPHAS = [
    ["$close/Ref($close, 5)-1", "Std($close, 10)/$close", "$volume/Mean($volume, 20)", "($high-$low)/$open"],
    ["ROC5", "STD10", "VR20", "KLEN"],
]
LABEL = [["Ref($close, -2)/Ref($close, -1) - 1"], ["LABEL0"]]
SEGMENTS = {
    "train": ("2019-01-02", "2020-12-31"),
    "valid": ("2021-01-04", "2021-10-15"),
    "test": ("2021-11-01", "2021-11-30"),
}
LATER = ("2021-12-01", "2021-12-24")
MODEL = {
    "class": "LGBModel",
    "module_path": "qlib.contrib.model.gbdt",
    "kwargs": {
        "loss": "mse",
        "learning_rate": 0.1,
        "num_leaves": 8,
        "num_boost_round": 20,
        "early_stopping_rounds": 20,
        "num_threads": 1,
        "seed": 5,
        "verbosity": -1,
    },
}
PROCESSORS = [
    {"class": "CSZScoreNorm", "kwargs": {"fields_group": "feature"}},
    {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
]
CASES = {"moving_market": "moving", "everything": "all"}
_PROGRAM = """
import sys
import pandas as pd, qlib, yaml
from qlib.utils import init_instance_by_config
from qlib.workflow import R

config = yaml.safe_load(open("conf.yaml"))
qlib.init(**config["qlib_init"])
task = config["task"]
with R.start(experiment_name="crossing"):
    model, dataset = (init_instance_by_config(task[part]) for part in ("model", "dataset"))
    model.fit(dataset)
    R.save_objects(**{"params.pkl": model, "task": task})
    recorder = R.get_recorder()
    prediction = model.predict(dataset).to_frame("score")
    recorder.save_objects(**{"pred.pkl": prediction})
    dataset.config(dump_all=False, recursive=True)
    recorder.save_objects(**{"dataset": dataset})
    R.log_metrics(IC=0.0)
kwargs = task["dataset"]["kwargs"]
kwargs["handler"]["kwargs"]["end_time"] = sys.argv[2]
kwargs["segments"]["test"] = [sys.argv[1], sys.argv[2]]
later = model.predict(init_instance_by_config(task["dataset"])).to_frame("score").reset_index()
later.to_parquet("later_pred.parquet", index=False)
"""


def config(instruments: str, market_dir: Path, benchmark: str) -> dict[str, Any]:
    """The blocks of qlib's own workflow, with literal values."""
    handler = {
        "class": "DataHandlerLP",
        "module_path": "qlib.contrib.data.handler",
        "kwargs": {
            "start_time": SEGMENTS["train"][0],
            "end_time": SEGMENTS["test"][1],
            "instruments": instruments,
            "data_loader": {
                "class": "QlibDataLoader",
                "module_path": "qlib.data.dataset.loader",
                "kwargs": {"config": {"feature": ALPHAS, "label": LABEL}},
            },
            "infer_processors": PROCESSORS,
            "learn_processors": [
                {"class": "DropnaLabel"},
                {"class": "CSZScoreNorm", "kwargs": {"fields_group": "label"}},
            ],
        },
    }
    segments = {name: list(pair) for name, pair in SEGMENTS.items()}
    dataset = {
        "class": "DatasetH",
        "module_path": "qlib.data.dataset",
        "kwargs": {"handler": handler, "segments": segments},
    }
    strategy = {
        "class": "TopkDropoutStrategy",
        "module_path": "qlib.contrib.strategy",
        "kwargs": {"topk": 10, "n_drop": 2},
    }
    backtest = {"start_time": SEGMENTS["test"][0], "end_time": SEGMENTS["test"][1], "benchmark": benchmark}
    record = {
        "class": "PortAnaRecord",
        "module_path": "qlib.workflow.record_temp",
        "kwargs": {"config": {"strategy": strategy, "backtest": backtest}},
    }
    return {
        "qlib_init": {"provider_uri": str(market_dir / "qlib_bin"), "region": "cn"},
        "task": {"model": MODEL, "dataset": dataset, "record": [record]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--market", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    env = os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true", "GIT_PYTHON_REFRESH": "quiet", "OMP_NUM_THREADS": "1"}
    for case, instruments in CASES.items():
        place = options.out.absolute() / case
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        text = yaml.safe_dump(config(instruments, options.market.absolute(), "SH000905"), sort_keys=False)
        (place / "conf.yaml").write_text(text, encoding="utf-8")
        subprocess.run([sys.executable, "-c", _PROGRAM, *LATER], cwd=place, env=env, check=True)


if __name__ == "__main__":
    main()
