"""Predictions of bundles by qlib: ``with_qlib.py REQUEST ANSWER`` (JSON text, JSON file).

Request: `provider`, `cases` {name: {bundle, dataset (configuration), workspace, out (parquet)}},
`windows` {bundle, features (parquet), segment, length}, `saved` (a file to write).
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import qlib
from qlib.data.dataset import DatasetH, TSDatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.loader import StaticDataLoader
from qlib.utils import init_instance_by_config

from alphaseal import AlphasealError, Trust
from alphaseal.adapters.qlib import BundleModel

UNSIGNED = Trust.unsigned()


def predict_case(case: dict[str, Any]) -> dict[str, Any]:
    """Predictions of the run's own dataset, processors and all; what the dataset would have fed the original model."""
    os.chdir(case["workspace"])
    dataset = init_instance_by_config(case["dataset"])
    scores = BundleModel(case["bundle"], trust=UNSIGNED).predict(dataset)
    scores.to_frame("score").reset_index().to_parquet(case["out"])
    return {"names": list(scores.index.names), "processors": len(dataset.handler.infer_processors)}


def windows_of(path: str, drop_raw: bool = False) -> DataHandlerLP:
    """A handler on a file whose processors fill missing values, as in the training of a model on windows."""
    frame = pd.read_parquet(path)
    frame["datetime"] = pd.to_datetime(frame["datetime"])
    frame = frame.set_index(["datetime", "instrument"]).sort_index()
    frame.columns = pd.MultiIndex.from_product([["feature"], frame.columns])
    fill = {"class": "Fillna", "kwargs": {"fields_group": "feature", "fill_value": 0}}
    return DataHandlerLP(data_loader=StaticDataLoader(frame), infer_processors=[fill], drop_raw=drop_raw)


def predict_windows(request: dict[str, Any], saved: Path) -> dict[str, Any]:
    """Scores on windows beside those of the same formula on qlib's own windows; a saved model; other datasets."""
    arguments = {"segments": {"test": tuple(request["segment"])}}
    handler = windows_of(request["features"])
    dataset = TSDatasetH(handler=handler, step_len=request["length"], **arguments)
    model = BundleModel(request["bundle"], trust=UNSIGNED)
    scores = model.predict(dataset)
    sampler = dataset.prepare("test", col_set=["feature"], data_key=DataHandlerLP.DK_I)
    sampler.config(fillna_type="ffill+bfill")
    windows = np.stack([sampler[i] for i in range(len(sampler))])
    # newest_less_oldest of tests/staged_bundles.py
    expected = windows[:, -1].sum(axis=1) - windows[:, 0].sum(axis=1) + 0.01 * windows[:, 1].sum(axis=1)
    model.to_pickle(saved)
    again = pickle.loads(saved.read_bytes()).predict(dataset)  # written a moment ago, as qlib's recorder does
    tabular = DatasetH(handler=handler, **arguments)
    dropped = DatasetH(handler=windows_of(request["features"], drop_raw=True), **arguments)
    early = DatasetH(handler=handler, segments={"test": (None, "2024-01-02")})
    return {
        "same_index": scores.index.equals(sampler.get_index()),
        "rows": len(scores),
        "largest_difference": float(np.abs(scores.to_numpy() - expected).max()),
        "saved_is_the_same": bool(again.equals(scores)),
        "tabular_is_the_same": bool(model.predict(tabular).equals(scores)),
        "slice_is_the_same": bool(model.predict(dataset, slice(*request["segment"])).equals(scores)),
        "refusals": {
            "dropped": refusal(lambda: model.predict(dropped)),
            "early": refusal(lambda: model.predict(early)),
            "segment": refusal(lambda: model.predict(dataset, "holdout")),
            "fit": refusal(lambda: model.fit(dataset)),
            "fit_allowed": refusal(lambda: BundleModel(request["bundle"], UNSIGNED, allow_fit=True).fit(dataset)),
        },
    }


def refusal(work: Any) -> str:
    """Code of the error."""
    try:
        work()
    except AlphasealError as error:
        return error.code
    return ""


def main() -> None:
    """Carry out the request of the command line."""
    request = json.loads(sys.argv[1])
    qlib.init(provider_uri=request["provider"], region="cn", kernels=1, expression_cache=None, dataset_cache=None)
    answer = {name: predict_case(case) for name, case in request["cases"].items()}
    answer["windows"] = predict_windows(request["windows"], Path(request["saved"]))
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
