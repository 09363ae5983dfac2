"""Bundles as models of MLflow: ``with_mlflow.py REQUEST ANSWER`` (JSON text, JSON file).

Request: `store` (directory), `bundle`, `trust` (trust file), `other_trust`, `windows` {bundle, features}, `out` (parquet),
`windows_out` (parquet).
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import yaml

from alphaseal import AlphasealError, Trust
from alphaseal.scoring import golden

bundles: Any = importlib.import_module("alphaseal_converter.mlflow")


def refusal(work: Any) -> str:
    """Code of the error."""
    try:
        work()
    except AlphasealError as error:
        return error.code
    return ""


def golden_frame(model: Any) -> pd.DataFrame:
    """Golden rows as a table of a caller, shuffled, with an index of their own; made-up rows get keys."""
    frame = golden.read_golden(model.bundle).to_pandas()
    made_up = frame["instrument"].isna()
    frame.loc[made_up, "instrument"] = [f"SH{600000 + number}" for number in range(int(made_up.sum()))]
    frame["datetime"] = pd.to_datetime(frame["datetime"].fillna(pd.Timestamp("2000-01-03").date()))
    return frame.sample(frac=1.0, random_state=1)


def main() -> None:
    """Carry out the request of the command line."""
    request = json.loads(sys.argv[1])
    os.environ.pop(bundles.TRUST_VARIABLE, None)
    mlflow.set_tracking_uri(Path(request["store"]).as_uri())
    with mlflow.start_run():
        info = bundles.log_model(request["bundle"], trust=request["trust"], name="picks")
    local = Path(mlflow.artifacts.download_artifacts(info.model_uri))
    no_trust = refusal(lambda: mlflow.pyfunc.load_model(info.model_uri))
    os.environ[bundles.TRUST_VARIABLE] = request["other_trust"]
    other_trust = refusal(lambda: mlflow.pyfunc.load_model(info.model_uri))
    os.environ[bundles.TRUST_VARIABLE] = request["trust"]
    model = mlflow.pyfunc.load_model(info.model_uri)
    golden = golden_frame(bundles.load_model(info.model_uri, trust=request["trust"]))
    scores = model.predict(golden.drop(columns=["case", "score"]))
    scores["expected"] = golden["score"]
    scores.to_parquet(request["out"])
    example = model.predict(model.input_example)

    windows = bundles.BundleModel(bundles.Scorer.of(request["windows"]["bundle"], Trust.unsigned()))
    table = pd.read_parquet(request["windows"]["features"]).sample(frac=1.0, random_state=2)
    windows.predict(table.set_index(["datetime", "instrument"])).to_parquet(request["windows_out"])

    # What an artefact might say about its own trust.
    description = local / "MLmodel"
    changed = yaml.safe_load(description.read_text(encoding="utf-8"))
    changed["flavors"]["python_function"]["config"] = {"trust": "allow-unsigned"}
    description.write_text(yaml.safe_dump(changed), encoding="utf-8")
    answer = {
        "files": sorted(path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()),
        "local": str(local),
        "flavors": info.flavors,
        "inputs": info.signature.inputs.to_dict(),
        "same_index": bool(scores.index.equals(golden.index)),
        "example_rows": len(example),
        "example_scored": int(example["score"].notna().sum()),
        "refusals": {
            "no_trust": no_trust,
            "other_trust": other_trust,
            "artefact_config": refusal(lambda: mlflow.pyfunc.load_model(str(local))),
            "load_other_trust": refusal(lambda: bundles.load_model(info.model_uri, trust=request["other_trust"])),
            "log_other_trust": refusal(lambda: bundles.log_model(request["bundle"], trust=request["other_trust"])),
        },
    }
    Path(sys.argv[2]).write_text(json.dumps(answer, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
