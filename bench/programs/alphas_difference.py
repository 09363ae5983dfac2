"""``alphas_difference.py OURS.parquet OTHER.parquet``: how far two tables of the same features are apart, as JSON."""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow.parquet as pq

ours, other = (pq.read_table(path) for path in sys.argv[1:])
ours, other = ours.sort_by("instrument"), other.sort_by("instrument")
same_stocks = ours["instrument"].to_pylist() == other["instrument"].to_pylist()
worst, missing = {"none": 0.0}, {"none": 0}
for name in ours.column_names[1:] if same_stocks else []:
    left, right = ours[name].to_numpy().astype(np.float64), other[name].to_numpy().astype(np.float64)
    scale = np.nanmax(np.abs(right))
    worst[name] = float(np.nanmax(np.abs(left - right)) / scale)
    missing[name] = int((np.isnan(left) != np.isnan(right)).sum())
feature = max(worst, key=lambda name: worst[name])
missing = {name: count for name, count in missing.items() if count}
print(json.dumps({"stocks": same_stocks, "largest": worst[feature], "feature": feature, "missing": missing}))
