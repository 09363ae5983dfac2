"""Recompute every recorded score from raw features and weights, without qlib and without rdagent.

    python check_truth.py FIXTURES_DIR

Processors and time windows are written out here once more; weights are read with stand-ins for all qlib classes.  Needs numpy, pandas,
pyarrow and the library of each model.  Only for files you made yourself: it unpickles and imports model.py.
"""

from __future__ import annotations

import importlib.util
import io
import json
import math
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


class StandIn:
    """Holds the attributes of an object whose class is not needed."""


class Reader(pickle.Unpickler):
    """Unpickler that never imports qlib; module `model` is the workspace's model.py."""

    def __init__(self, data: bytes, workspace: Path) -> None:
        super().__init__(io.BytesIO(data))
        self.workspace = workspace

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", maxsplit=1)[0] in ("qlib", "rdagent"):
            return type(name, (StandIn,), {})
        if module == "model":
            spec: Any = importlib.util.spec_from_file_location("model", self.workspace / "model.py")
            sys.modules["model"] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules["model"])
            return getattr(sys.modules["model"], name)
        return super().find_class(module, name)


def process(frame: pd.DataFrame, processors: list[dict[str, Any]]) -> pd.DataFrame:
    """The infer processors, from their recorded values."""
    for p in processors:
        if p["class"] == "RobustZScoreNorm":
            kind = np.dtype(p["mean_train_dtype"])
            mean, std = (
                np.array([np.nan if v is None else v for v in p[k]], dtype=kind) for k in ("mean_train", "std_train")
            )
            values = (frame.to_numpy() - mean) / std
            frame = pd.DataFrame(
                np.clip(values, -3, 3) if p["clip_outlier"] else values, index=frame.index, columns=frame.columns
            )
        elif p["class"] == "Fillna":
            frame = frame.fillna(p["fill_value"])
        elif p["class"] != "FilterCol":
            raise ValueError(f"unknown processor {p['class']}")
    return frame


def windows(frame: pd.DataFrame, first: pd.Timestamp, length: int) -> tuple[pd.MultiIndex, Any]:
    """For each row from `first` on: the last `length` calendar rows of that stock; absent rows repeat the one before, else the one after."""
    days = frame.index.get_level_values("datetime").unique().sort_values()
    days = days[max(0, days.searchsorted(first) - length) :]
    keys, blocks = [], []
    for code, part in frame[frame.index.get_level_values("datetime") >= days[0]].groupby(level="instrument"):
        values, at = part.to_numpy(), days.get_indexer(part.index.get_level_values("datetime"))
        row_of_day = pd.Series(np.nan, index=range(-length, len(days)))
        row_of_day[at] = np.arange(len(at))
        for i in at[days[at] >= first]:
            rows = row_of_day.loc[i - length + 1 : i].ffill().bfill().astype(int)
            keys.append((days[i], code))
            blocks.append(values[rows])
    return pd.MultiIndex.from_tuples(keys, names=["datetime", "instrument"]), np.stack(blocks)


def predict(model: Any, frame: pd.DataFrame) -> Any:
    """Scores of one model for plain rows."""
    values = frame.to_numpy()
    if hasattr(model, "dnn_model"):
        return run_net(model.dnn_model, values)
    if hasattr(model, "ensemble"):
        pairs = zip(model.ensemble, model.sub_features, model.sub_weights, strict=False)
        return sum(
            m.predict(frame[[c[-1] if isinstance(c, tuple) else c for c in names]].to_numpy()) * w
            for m, names, w in pairs
        ) / sum(model.sub_weights)
    stands_in = isinstance(model, StandIn)
    if hasattr(model, "coef_") and stands_in:
        return values @ model.coef_ + model.intercept_
    inner = model.model if stands_in else model
    if type(inner).__module__.startswith("xgboost"):
        import xgboost

        return inner.predict(xgboost.DMatrix(values, feature_names=inner.feature_names))
    return np.asarray(inner.predict(values))


def run_net(net: Any, values: Any) -> Any:
    """Torch forward pass in evaluation mode."""
    import torch

    net.eval()
    with torch.no_grad():
        return net(torch.tensor(values).float()).numpy().ravel()


def main() -> None:
    root, worst = Path(sys.argv[1]), 0.0
    for file in sorted(root.glob("**/truth.json")):
        truth = json.loads(file.read_text(encoding="utf-8"))
        workspace = file.parent / truth["workspace"]
        model = Reader((workspace / truth["artifacts"] / "params.pkl").read_bytes(), workspace).load()
        table = pd.read_parquet(file.parent / truth["features_file"]).set_index(["datetime", "instrument"])
        ready = process(table[truth["model_features"]], truth["processors"]["infer"])
        first = pd.Timestamp(truth["segments"]["test"][0])
        wanted = pd.read_parquet(file.parent / "pred.parquet").set_index(["datetime", "instrument"])["score"]
        note = ""
        if truth["windows"]:
            index, blocks = windows(ready, first, truth["step_len"])
            got = pd.Series(run_net(model.dnn_model, blocks), index=index)
        else:
            ready = ready.loc[first:]
            got = pd.Series(predict(model, ready), index=ready.index)
            if not hasattr(
                model, "ensemble"
            ):  # what a reader gets who mixes up the order (values unprocessed by a fit: only without scaling)
                wrong = (
                    sorted(ready.columns) if sorted(ready.columns) != list(ready.columns) else list(ready.columns)[::-1]
                )
                note = f"correlation if the columns are misordered {np.corrcoef(predict(model, ready[wrong]), got)[0, 1]:.3f}"
        difference = (
            float((got.reindex(wanted.index) - wanted).abs().max()) if len(got) == len(wanted) else float("inf")
        )
        worst = max(worst, difference) if not math.isnan(difference) else float("inf")
        print(
            f"{file.parent.relative_to(root)!s:42s} rows {len(got):5d} features {len(truth['model_features']):3d} max difference {difference:.2g}  {note}"
        )
    print("worst", worst)
    sys.exit(worst > 1e-6)


if __name__ == "__main__":
    main()
