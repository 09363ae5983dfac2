"""Pass raw features through qlib's own DataHandlerLP with cross-sectional infer processors.

    python record_handler.py RAW.parquet OUT_DIRECTORY

For each list of processors writes NAME.parquet (datetime, instrument, feature columns) as the model would see it, and
NAME.pkl with the infer processors as qlib pickles them inside a dataset.
"""

from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path

import pandas as pd
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.loader import StaticDataLoader

warnings.simplefilter("ignore")
FEATURE = {"fields_group": "feature"}
FIT = {"fit_start_time": "2021-11-01", "fit_end_time": "2021-12-10"}
PIPELINES = {
    "zscore": [("CSZScoreNorm", FEATURE), ("Fillna", FEATURE)],
    "robust": [("ProcessInf", {}), ("CSZScoreNorm", {**FEATURE, "method": "robust"}), ("Fillna", FEATURE)],
    "rank": [("CSRankNorm", FEATURE), ("Fillna", {})],
    "many": [
        ("ProcessInf", {}),
        ("CSZFillna", FEATURE),
        ("RobustZScoreNorm", {**FEATURE, **FIT}),
        ("CSZScoreNorm", FEATURE),
        ("Fillna", FEATURE),
        ("CSRankNorm", FEATURE),
    ],
    "dropped": [
        ("DropnaProcessor", FEATURE),
        ("CSZScoreNorm", FEATURE),
        ("ZScoreNorm", {**FEATURE, **FIT}),
        ("CSRankNorm", FEATURE),
    ],
}


def main() -> None:
    raw = pd.read_parquet(sys.argv[1]).set_index(["datetime", "instrument"]).sort_index()
    raw.columns = pd.MultiIndex.from_product([["feature"], raw.columns])
    raw[("label", "LABEL0")] = raw.iloc[:, 0].astype("float32")
    for name, processors in PIPELINES.items():
        handler = DataHandlerLP(
            instruments=None,
            data_loader=StaticDataLoader(raw.copy()),
            infer_processors=[{"class": kind, "kwargs": dict(kwargs)} for kind, kwargs in processors],
        )
        seen = handler.fetch(col_set="feature", data_key=DataHandlerLP.DK_I)
        out = Path(sys.argv[2]) / name
        seen.reset_index().to_parquet(out.with_suffix(".parquet"))
        out.with_suffix(".pkl").write_bytes(pickle.dumps(handler.infer_processors, protocol=4))


if __name__ == "__main__":
    main()
