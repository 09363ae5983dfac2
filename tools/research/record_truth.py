"""Ask qlib itself what a finished run used and predicted, and write it down as plain files.

    python record_truth.py --market MARKET_DIR --workspace WORKSPACE --out TRUTH_DIR/<case> --features TRUTH_DIR/features

<case>/truth.json      ordered model features, dtypes, processors with fitted values, label, segments, model facts, metrics
<case>/pred.parquet    datetime, instrument, score: the pred.pkl of the run
<case>/label.parquet   datetime, instrument, label (before learn processors)
features/raw_<hash>.parquet   feature values before any processor for the test segment, columns sorted by name, shared between cases;
                       runs on windows (TSDatasetH) get step_len + 5 earlier trading days as well
Run it with the environment that trained the model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def leaf(column: Any) -> str:
    """Column name without its group."""
    return str(column[-1] if isinstance(column, tuple) else column)


def flat(series: pd.Series, name: str) -> pd.DataFrame:
    """(datetime, instrument) series -> three plain columns."""
    frame = series.rename(name).reset_index()[["datetime", "instrument", name]]
    frame["instrument"] = frame["instrument"].astype(object)
    return frame


def describe_processor(processor: Any) -> dict[str, Any]:
    """Class and public attributes; arrays become lists plus their dtype."""
    out: dict[str, Any] = {"class": type(processor).__name__}
    for key, value in vars(processor).items():
        if key.startswith("_") or callable(value):
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            out[key], out[f"{key}_dtype"] = (
                [float(x) if np.isfinite(x) else None for x in value.astype("float64")],
                str(value.dtype),
            )
        elif isinstance(value, (pd.Index, np.ndarray)):
            out[key] = [leaf(x) for x in value.tolist()]
        else:
            out[key] = value if isinstance(value, (int, float, str, bool, list, type(None))) else str(value)
    return out


def describe_model(model: Any) -> dict[str, Any]:
    """Facts a reader of the weights can check itself against."""
    out: dict[str, Any] = {"class": f"{type(model).__module__}.{type(model).__name__}"}
    inner: Any = getattr(model, "model", None)
    library = type(inner).__module__.split(".")[0]
    if library == "lightgbm":
        out |= {
            "trees": inner.num_trees(),
            "best_iteration": inner.best_iteration,
            "num_feature": inner.num_feature(),
            "names": inner.feature_name(),
        }
    elif library == "xgboost":
        out |= {
            "rounds": inner.num_boosted_rounds(),
            "best_iteration": int(inner.attr("best_iteration") or -1),
            "num_feature": inner.num_features(),
        }
    elif library == "catboost":
        out |= {"trees": inner.tree_count_, "num_feature": len(inner.feature_names_)}
    if hasattr(model, "ensemble"):
        out |= {
            "sub_weights": [float(x) for x in model.sub_weights],
            "sub_features": [[leaf(c) for c in s] for s in model.sub_features],
        }
    if hasattr(model, "coef_"):
        out |= {"coef": [float(x) for x in np.ravel(model.coef_)], "intercept": float(model.intercept_)}
    if hasattr(model, "dnn_model"):
        out |= {
            "net": type(model.dnn_model).__name__,
            "kwargs": model.pt_model_kwargs,
            "device": str(model.device),
            "tensors": {k: list(v.shape) for k, v in model.dnn_model.state_dict().items()},
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--market", "--workspace", "--out", "--features"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args()
    options.market, options.workspace, options.out, options.features = (
        x.absolute() for x in (options.market, options.workspace, options.out, options.features)
    )
    options.out.mkdir(parents=True, exist_ok=True)
    options.features.mkdir(parents=True, exist_ok=True)
    os.chdir(options.workspace)  # relative parquet paths and model.py live here
    sys.path.insert(0, str(options.workspace))
    import qlib
    from qlib.data.dataset import TSDatasetH
    from qlib.data.dataset.handler import DataHandlerLP
    from qlib.utils import init_instance_by_config

    qlib.init(provider_uri=str(options.market / "qlib_bin"), region="cn", kernels=1)

    runs = sorted(options.workspace.glob("mlruns/*/*/artifacts/params.pkl"), key=lambda x: x.stat().st_mtime)
    folder = runs[-1].parent
    # Unpickled: the artefacts of our own run, made a moment before.
    stored = {
        n: pickle.loads((folder / n).read_bytes()) for n in ("task", "params.pkl", "dataset", "pred.pkl", "label.pkl")
    }
    dataset = init_instance_by_config(stored["task"]["dataset"])
    handler = dataset.handler
    raw, infer = handler._data["feature"], handler.fetch(col_set="feature", data_key=DataHandlerLP.DK_I)
    names = [leaf(c) for c in infer.columns]
    raw = raw[[c for c in raw.columns if leaf(c) in set(names)]]
    windows = isinstance(dataset, TSDatasetH)
    first, last = (pd.Timestamp(x) for x in dataset.segments["test"])
    days = raw.index.get_level_values("datetime").unique().sort_values()
    history = dataset.step_len + 5 if windows else 0
    part = raw.loc[days[max(0, days.searchsorted(first) - history)] : last]
    table = part[sorted(part.columns, key=leaf)].reset_index()
    table.columns = ["datetime", "instrument", *sorted(map(leaf, part.columns))]
    table["instrument"] = table["instrument"].astype(object)
    digest = hashlib.sha1(
        pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes() + "|".join(table.columns).encode()
    ).hexdigest()[:8]
    features = options.features / f"raw_{digest}.parquet"
    table.to_parquet(features, compression="zstd", index=False)

    pred, label = stored["pred.pkl"].iloc[:, 0], stored["label.pkl"].iloc[:, 0]
    model = stored["params.pkl"]
    if type(model).__module__.startswith("sklearn"):
        again = pd.Series(model.predict(infer.loc[first:last].to_numpy()), index=infer.loc[first:last].index)
    else:
        again = model.predict(dataset)
    flat(pred, "score").to_parquet(options.out / "pred.parquet", compression="zstd", index=False)
    flat(label, "label").to_parquet(options.out / "label.parquet", compression="zstd", index=False)
    processors = {k: [describe_processor(x) for x in getattr(handler, f"{k}_processors")] for k in ("infer", "learn")}
    stored_infer = [describe_processor(x) for x in stored["dataset"].handler.infer_processors]
    test = part.loc[first:last]
    metrics = {
        m.name: float(m.read_text().splitlines()[-1].split()[1])
        for m in sorted((folder.parent / "metrics").iterdir())
        if not m.name.startswith("l2")
    }
    truth = {
        "workspace": options.workspace.name,
        "artifacts": str(folder.relative_to(options.workspace)),
        "dataset": type(dataset).__name__,
        "handler": type(handler).__name__,
        "loader": type(handler.data_loader).__name__,
        "windows": windows,
        "step_len": dataset.step_len if windows else None,
        "segments": {k: [str(pd.Timestamp(x).date()) for x in v] for k, v in dataset.segments.items()},
        "label_name": str(label.name),
        "model_features": names,
        "feature_dtypes": {leaf(c): str(t) for c, t in raw.dtypes.items()},
        "processors": processors,
        "dataset_artifact_holds_same_fit": json.dumps(stored_infer) == json.dumps(processors["infer"]),
        "model": describe_model(model),
        "metrics": metrics,
        "missing_share": {leaf(c): round(float(v), 5) for c, v in test.isna().mean().items() if v},
        "infinite": {leaf(c): int(v) for c, v in np.isinf(test).sum().items() if v},
        "rows": len(pred),
        "row_order": "by instrument" if pred.index.get_level_values("instrument")[:2].nunique() == 1 else "by day",
        "score_std": float(pred.std()),
        "predict_again_max_diff": float((again.reindex(pred.index) - pred).abs().max()),
        "versions": {m: __import__(m).__version__ for m in ("qlib", "pandas", "numpy", "lightgbm", "sklearn", "torch")}
        | {"python": sys.version.split()[0]},
        "features_file": os.path.relpath(features, options.out),
    }
    (options.out / "truth.json").write_text(
        json.dumps(truth, indent=1, default=str, ensure_ascii=False), encoding="utf-8"
    )
    print(
        options.out.name,
        truth["model"]["class"],
        "features",
        len(names),
        "rows",
        len(pred),
        "std {:.3g}".format(truth["score_std"]),
        "again {:.2g}".format(truth["predict_again_max_diff"]),
        "same fit",
        truth["dataset_artifact_holds_same_fit"],
        {k: round(v, 4) for k, v in metrics.items() if k in ("IC", "Rank IC")},
    )


if __name__ == "__main__":
    main()
