"""Direct qlib runs without RD-Agent: other model classes and the three ways a dataset can order its features.

    python run_direct.py --market MARKET_DIR --out DIRECT_DIR [case ...]

Every DIRECT_DIR/<case>/ holds conf.yaml, combined_factors_df.parquet and mlruns/.  Feature order:
  NestedDataLoader (all but two cases)   qlib sorts the columns by name
  lgb_alpha158_filter                    order of Alpha158 itself, not that of FilterCol's list
  lgb_ordered_loader                     order of the YAML list, then of the parquet file (loader class from the workspace)
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
import yaml

HERE = Path(__file__).resolve().parent
FACTORS = ["TURNOVER_Z_40D", "REV_3D", "GAP_OPEN_1D", "ILLIQ_10D"]  # not in alphabetical order
LABEL = [["Ref($close, -2)/Ref($close, -1) - 1"], ["LABEL0"]]
FILTER = [
    "VSUMD20",
    "STD10",
    "KMID",
    "ROC5",
    "CORR30",
    "MA60",
    "BETA10",
    "QTLU20",
    "IMIN5",
    "KLOW2",
    "WVMA30",
    "RANK20",
]
LGB = {
    "loss": "mse",
    "learning_rate": 0.08,
    "num_leaves": 31,
    "max_depth": 6,
    "lambda_l1": 5.0,
    "lambda_l2": 20.0,
    "colsample_bytree": 0.8,
    "subsample": 0.9,
    "num_boost_round": 120,
    "early_stopping_rounds": 40,
    "seed": 5,
}


def models(threads: int) -> dict[str, dict[str, Any]]:
    """case -> qlib model configuration."""
    lgb = {"class": "LGBModel", "module_path": "qlib.contrib.model.gbdt", "kwargs": LGB | {"num_threads": threads}}
    linear = {"class": "LinearModel", "module_path": "qlib.contrib.model.linear"}
    return {
        "lgb_nested_loader": lgb,
        "lgb_ordered_loader": lgb,
        "lgb_alpha158_filter": lgb,
        "xgb": {
            "class": "XGBModel",
            "module_path": "qlib.contrib.model.xgboost",
            "kwargs": {
                "objective": "reg:squarederror",
                "eta": 0.07,
                "max_depth": 4,
                "subsample": 0.85,
                "nthread": threads,
                "seed": 5,
            },
        },
        "catboost": {
            "class": "CatBoostModel",
            "module_path": "qlib.contrib.model.catboost_model",
            "kwargs": {
                "loss": "RMSE",
                "learning_rate": 0.06,
                "depth": 4,
                "iterations": 120,
                "thread_count": threads,
                "random_seed": 5,
                "allow_writing_files": False,
            },
        },
        "linear_ols": linear | {"kwargs": {"estimator": "ols", "fit_intercept": True}},
        "linear_ridge": linear | {"kwargs": {"estimator": "ridge", "alpha": 0.1}},
        "densemble": {
            "class": "DEnsembleModel",
            "module_path": "qlib.contrib.model.double_ensemble",
            "kwargs": {
                "base_model": "gbm",
                "loss": "mse",
                "num_models": 3,
                "enable_sr": True,
                "enable_fs": True,
                "alpha1": 1,
                "alpha2": 1,
                "bins_sr": 8,
                "bins_fs": 4,
                "decay": 0.6,
                "sample_ratios": [0.9, 0.7, 0.5, 0.4],
                "sub_weights": [1, 0.5, 0.3],
                "epochs": 25,
                "learning_rate": 0.1,
                "max_depth": 5,
                "num_leaves": 24,
                "num_threads": threads,
                "verbosity": -1,
                "seed": 5,
            },
        },
        "sklearn_pipeline": linear | {"kwargs": {}},  # conf.yaml only; fit_pipeline.py does the fit
    }


def config(case: str, model: dict[str, Any], market_dir: Path, market: dict[str, Any]) -> dict[str, Any]:
    """The same blocks as RD-Agent's qlib templates, with literal values."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no network look-up at import
    from rdagent.utils.qlib import ALPHA20

    seg = market["segments"]
    alpha = [list(ALPHA20.values()), list(ALPHA20)]
    scale = [
        {
            "class": "RobustZScoreNorm",
            "kwargs": {
                "fields_group": "feature",
                "clip_outlier": True,
                "fit_start_time": seg["train"][0],
                "fit_end_time": seg["train"][1],
            },
        },
        {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
    ]
    handler: dict[str, Any] = {"class": "DataHandlerLP", "module_path": "qlib.contrib.data.handler"}
    span = {"start_time": seg["train"][0], "end_time": seg["test"][1], "instruments": market["market"]}
    learn = [{"class": "DropnaLabel"}, {"class": "CSZScoreNorm", "kwargs": {"fields_group": "label"}}]
    if case == "lgb_alpha158_filter":
        handler["class"] = "Alpha158"
        learn[1] = {"class": "CSRankNorm", "kwargs": {"fields_group": "label"}}
        keep = {"class": "FilterCol", "kwargs": {"fields_group": "feature", "col_list": FILTER}}
        handler["kwargs"] = span | {
            "fit_start_time": seg["train"][0],
            "fit_end_time": seg["train"][1],
            "label": LABEL,
            "infer_processors": [keep, *scale],
            "learn_processors": learn,
        }
    else:
        parquet = "combined_factors_df.parquet"
        if case == "lgb_ordered_loader":
            loader = {
                "class": "OrderedFeatureLoader",
                "module_path": "ordered_loader",
                "kwargs": {"feature": alpha, "label": LABEL, "parquet": parquet},
            }
        else:
            parts = [
                {
                    "class": "qlib.contrib.data.loader.Alpha158DL",
                    "kwargs": {"config": {"label": LABEL, "feature": alpha}},
                },
                {"class": "qlib.data.dataset.loader.StaticDataLoader", "kwargs": {"config": parquet}},
            ]
            loader = {"class": "NestedDataLoader", "kwargs": {"dataloader_l": parts}}
        plain = case.startswith("lgb_") or case == "catboost"  # raw values, missing ones stay missing
        handler["kwargs"] = span | {
            "data_loader": loader,
            "infer_processors": [] if plain else scale,
            "learn_processors": learn,
        }
    backtest = {
        "start_time": seg["test"][0],
        "end_time": seg["test"][1],
        "account": 10**8,
        "benchmark": market["benchmark"],
        "exchange_kwargs": {
            "limit_threshold": 0.095,
            "deal_price": "close",
            "open_cost": 0.0005,
            "close_cost": 0.0015,
            "min_cost": 5,
        },
    }
    strategy = {
        "class": "TopkDropoutStrategy",
        "module_path": "qlib.contrib.strategy",
        "kwargs": {"signal": "<PRED>", "topk": 30, "n_drop": 5},
    }
    record = [
        {"class": c, "module_path": "qlib.workflow.record_temp", "kwargs": k}
        for c, k in (
            ("SignalRecord", {"model": "<MODEL>", "dataset": "<DATASET>"}),
            ("SigAnaRecord", {"ana_long_short": False, "ann_scaler": 252}),
            ("PortAnaRecord", {"config": {"strategy": strategy, "backtest": backtest}}),
        )
    ]
    dataset = {"class": "DatasetH", "module_path": "qlib.data.dataset", "kwargs": {"handler": handler, "segments": seg}}
    return {
        "qlib_init": {"provider_uri": str(market_dir / "qlib_bin"), "region": "cn"},
        "task": {"model": model, "dataset": dataset, "record": record},
    }


def factor_table(market_dir: Path, scratch: Path) -> pd.DataFrame:
    """Run the factor files on the full data and join them as RD-Agent's runner does (columns in the given order)."""
    frames = []
    for name in FACTORS:
        folder = scratch / name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(market_dir / "src_full/daily_pv.h5", folder)
        subprocess.run([sys.executable, str(HERE / f"ideas/factors/{name}.py")], cwd=folder, check=True)
        frames.append(pd.read_hdf(folder / "result.h5", key="data"))
    table = pd.concat(frames, axis=1).sort_index()
    table.columns = pd.MultiIndex.from_product([["feature"], table.columns])
    shutil.rmtree(scratch)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--market", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args()
    options.market, options.out = options.market.absolute(), options.out.absolute()
    market = json.loads((options.market / "market.json").read_text())
    options.out.mkdir(parents=True, exist_ok=True)
    table = factor_table(options.market, options.out / "scratch")
    env = os.environ | {
        "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
        "PYTHONPATH": "./",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "OMP_NUM_THREADS": str(options.threads),
    }
    for case, model in models(options.threads).items():
        if options.cases and case not in options.cases:
            continue
        ws = options.out / case
        shutil.rmtree(ws, ignore_errors=True)
        ws.mkdir()
        (ws / "conf.yaml").write_text(
            yaml.safe_dump(config(case, model, options.market, market), sort_keys=False), encoding="utf-8"
        )
        if case != "lgb_alpha158_filter":
            table.to_parquet(ws / "combined_factors_df.parquet", engine="pyarrow")
        command = ["qrun", "conf.yaml"]
        if case == "lgb_ordered_loader":
            shutil.copy(HERE / "workspace_files/ordered_loader.py", ws)
        if case == "sklearn_pipeline":
            shutil.copy(HERE / "workspace_files/fit_pipeline.py", ws)
            command = [sys.executable, "fit_pipeline.py"]
        with (ws / "run.log").open("w") as log:
            code = subprocess.run(
                command, cwd=ws, env=env, stdout=log, stderr=subprocess.STDOUT, check=False
            ).returncode
        print(case, "exit code", code, flush=True)


if __name__ == "__main__":
    main()
