"""Runs of qlib on a market whose windows are often next to nothing, for the tests of noise.

    python record_noise.py --out NOISE_DIR

Stocks pause for days, and in between they rise or fall by the same share day after day: a correlation then has two or
three points that are nearly equal, and what qlib gives for it is the rounding that its running sums kept from the days
before.  NOISE_DIR/market is qlib's data directory (close and volume alone); linear/, lightgbm/ and network/ are workspaces
of one model each, trained and recorded by qlib.  Run it in a neutral folder: its path ends up in the workspaces.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

DAYS, STOCKS, SEED = 330, 10, 2
FEATURES = {
    "CORR5": "Corr($close, Log($volume+1), 5)",
    "CORD10": "Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), 10)",
    "CORD20": "Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), 20)",
    "RSQR10": "Rsquare($close, 10)",
    "RESI5": "Resi($close, 5)/$close",
    "BETA20": "Slope($close,20)/$close",
    "STD5": "Std($close,5)/$close",
    "VMA5": "Mean($volume,5)/($volume+1e-12)",
}
LABEL = "Ref($close, -2)/Ref($close, -1) - 1"
NETWORK = '''"""A small network of one hidden layer."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_features, num_timesteps=None):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(num_features, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x):
        return self.layers(x)


model_cls = Net
'''


def models() -> dict[str, dict[str, Any]]:
    """Workspace -> qlib model configuration."""
    trees = {"loss": "mse", "learning_rate": 0.1, "num_leaves": 31, "min_data_in_leaf": 3, "num_boost_round": 60}
    network = {
        "n_epochs": 8,
        "lr": 0.01,
        "early_stop": 8,
        "batch_size": 256,
        "metric": "loss",
        "loss": "mse",
        "n_jobs": 0,
        "GPU": -1,
        "seed": 3,
        "pt_model_uri": "model.model_cls",
        "pt_model_kwargs": {"num_features": len(FEATURES)},
    }
    return {
        "linear": {
            "class": "LinearModel",
            "module_path": "qlib.contrib.model.linear",
            "kwargs": {"estimator": "ols"},
        },
        "lightgbm": {
            "class": "LGBModel",
            "module_path": "qlib.contrib.model.gbdt",
            "kwargs": trees | {"early_stopping_rounds": 60, "num_threads": 1, "seed": 5, "verbosity": -1},
        },
        "network": {
            "class": "GeneralPTNN",
            "module_path": "qlib.contrib.model.pytorch_general_nn",
            "kwargs": network,
        },
    }


def trading_days() -> list[str]:
    days = np.arange(np.datetime64("2020-01-02"), np.datetime64("2023-01-01"))
    return [str(day) for day in days[np.is_busday(days)][:DAYS]]


def life(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(close, volume) float32 [days]: a walk, runs of days with nearly one ratio to the day before, and pauses of the price,
    most of them with a volume."""
    close, volume = np.empty(DAYS), np.empty(DAYS)
    price, traded, run = 10 * np.exp(generator.normal(0, 0.4)), np.exp(generator.normal(14, 0.5)), 0
    for day in range(DAYS):
        if run == 0 and generator.random() < 0.06:
            run, up = int(generator.integers(2, 7)), generator.random() < 0.5
        if run > 0:
            run -= 1
            price *= (1.1 if up else 0.9) * (1 + generator.normal(0, 1e-4))
            traded /= 1.1
        else:
            price, traded = price * np.exp(generator.normal(0, 0.02)), np.exp(generator.normal(14, 0.6))
        close[day], volume[day] = price, traded
    for start in np.flatnonzero(generator.random(DAYS) < 0.07):
        end = start + int(generator.integers(3, 13))
        close[start:end] = np.nan
        if generator.random() < 0.3:
            volume[start:end] = np.nan
    return close.astype(np.float32), volume.astype(np.float32)


def write_market(root: Path) -> None:
    """qlib's data directory: calendar, one market, and close and volume of every stock."""
    generator, days = np.random.default_rng(SEED), trading_days()
    for part in ("calendars", "instruments", "features"):
        (root / part).mkdir(parents=True)
    (root / "calendars/day.txt").write_bytes("".join(f"{day}\n" for day in days).encode())
    names = [f"SZ{300100 + 7 * number}" for number in range(STOCKS)]
    lines = "".join(f"{name}\t{days[0]}\t{days[-1]}\n" for name in names)
    for market in ("all", "growth"):
        (root / f"instruments/{market}.txt").write_bytes(lines.encode())
    for name in names:
        folder = root / "features" / name.lower()
        folder.mkdir()
        for field, values in zip(("close", "volume"), life(generator), strict=True):
            np.concatenate([np.zeros(1, np.float32), values]).astype("<f4").tofile(folder / f"{field}.day.bin")


def configuration(model: dict[str, Any], market: Path) -> dict[str, Any]:
    """A task of qlib; trees take raw values, the others scaled ones."""
    days = trading_days()
    train, valid, test = (days[0], days[179]), (days[180], days[209]), (days[210], days[-3])
    scaled = [
        {
            "class": "RobustZScoreNorm",
            "kwargs": {
                "fields_group": "feature",
                "clip_outlier": True,
                "fit_start_time": train[0],
                "fit_end_time": train[1],
            },
        },
        {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
    ]
    loader = {
        "class": "QlibDataLoader",
        "kwargs": {"config": {"feature": [list(FEATURES.values()), list(FEATURES)], "label": [[LABEL], ["LABEL0"]]}},
    }
    handler = {
        "class": "DataHandlerLP",
        "module_path": "qlib.contrib.data.handler",
        "kwargs": {
            "start_time": train[0],
            "end_time": test[1],
            "instruments": "growth",
            "data_loader": loader,
            "infer_processors": [] if model["class"] == "LGBModel" else scaled,
            "learn_processors": [
                {"class": "DropnaLabel"},
                {"class": "CSZScoreNorm", "kwargs": {"fields_group": "label"}},
            ],
        },
    }
    # Trees that are stopped early would have no thresholds where the noise is.
    watched = train if model["class"] == "LGBModel" else valid
    segments = {"train": list(train), "valid": list(watched), "test": list(test)}
    dataset = {
        "class": "DatasetH",
        "module_path": "qlib.data.dataset",
        "kwargs": {"handler": handler, "segments": segments},
    }
    record = [
        {
            "class": "SignalRecord",
            "module_path": "qlib.workflow.record_temp",
            "kwargs": {"model": "<MODEL>", "dataset": "<DATASET>"},
        }
    ]
    return {
        "qlib_init": {"provider_uri": str(market), "region": "cn"},
        "task": {"model": model, "dataset": dataset, "record": record},
    }


def slim(workspace: Path) -> None:
    """Only what a converter reads."""
    shutil.rmtree(workspace / "data", ignore_errors=True)  # a lock of MLflow's, below the path of its store
    for folder in workspace.glob("mlruns/*"):
        if folder.name in ("0", ".trash"):
            shutil.rmtree(folder)
    for run in workspace.glob("mlruns/*/*/"):
        for name in ("params", "tags", "inputs", "outputs"):
            shutil.rmtree(run / name, ignore_errors=True)
        for path in (run / "artifacts").iterdir():
            if path.name not in ("dataset", "params.pkl", "pred.pkl", "task"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out.absolute()
    write_market(out / "market")
    env = os.environ | {
        "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
        "PYTHONPATH": "./",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "OMP_NUM_THREADS": "1",
    }
    for name, model in models().items():
        workspace = out / name
        workspace.mkdir()
        text = yaml.safe_dump(configuration(model, out / "market"), sort_keys=False)
        (workspace / "conf.yaml").write_text(text, encoding="utf-8")
        if name == "network":
            (workspace / "model.py").write_text(NETWORK, encoding="utf-8")
        done = subprocess.run(
            ["qrun", "conf.yaml"], cwd=workspace, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            sys.exit(done.stdout[-2000:] + done.stderr[-4000:])
        slim(workspace)


if __name__ == "__main__":
    main()
