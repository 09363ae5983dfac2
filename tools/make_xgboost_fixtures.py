"""Writes tests/data/xgboost/<version>.json with the xgboost that is installed beside this interpreter.

    python3.11 -m venv venv && venv/bin/pip install xgboost==1.7.6 'numpy<2'
    venv/bin/python tools/make_xgboost_fixtures.py tests/data/xgboost

Per case what a pickled Booster holds (base64), the saved JSON text, and what ``Booster.predict`` of that version gives
for the rows; NaN is a string in the JSON.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

CASES: dict[str, dict[str, Any]] = {
    "regression": {},
    "base_score": {"base_score": 5.0},
    "parallel": {"num_parallel_tree": 3, "subsample": 0.6},
    "pruned": {"tree_method": "exact", "gamma": 20.0},
    "dart": {"booster": "dart", "rate_drop": 0.4},
    "gblinear": {"booster": "gblinear"},
    "logistic": {"objective": "binary:logistic", "base_score": 0.3},
    "logitraw": {"objective": "binary:logitraw", "base_score": 0.3},
    "poisson": {"objective": "count:poisson"},
    "pairwise": {"objective": "rank:pairwise"},
    "categorical": {"tree_method": "hist", "max_cat_to_onehot": 1},
}


def main() -> None:
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(120, 5)).round(2)
    rows[:, 4] = generator.integers(0, 20, 120)
    rows[::5, 0] = np.nan
    label = np.nan_to_num(rows[:, 0]) * 3 + rows[:, 1] * rows[:, 2] + rows[:, 4] % 3
    cases = {}
    for name, options in CASES.items():
        objective = options.get("objective", "")
        target = (label > 1) * 1.0 if objective.startswith("binary") else np.abs(label).round(2)
        types = ["q"] * 4 + ["c" if name == "categorical" else "q"]
        matrix = xgboost.DMatrix(rows, target, feature_types=types, enable_categorical=True)
        if objective.startswith("rank"):
            matrix.set_group([30] * 4)
        booster = xgboost.train({"max_depth": 3, "seed": 1, "nthread": 1, **options}, matrix, 4)
        cases[name] = {
            "snapshot": base64.b64encode(bytes(booster.__getstate__()["handle"])).decode("ascii"),
            "saved": booster.save_raw("json").decode("utf-8"),
            "scores": [float(score) for score in booster.predict(matrix)],
        }
    document = {
        "xgboost": xgboost.__version__,
        "rows": [["nan" if np.isnan(value) else float(value) for value in row] for row in rows],
        "cases": cases,
    }
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{xgboost.__version__}.json").write_text(json.dumps(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
