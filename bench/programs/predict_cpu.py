"""``predict_cpu.py BUNDLE MODEL.txt REPETITIONS``: CPU seconds of scoring alone, the bundle's graph and LightGBM in turns.

One thread each, 5000 rows; prints {"ours": […], "other": […], "identical": rows with the same bits}.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

import alphaseal
from alphaseal.scoring.session import Graph

bundle, model, repetitions = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
booster = lightgbm.Booster(model_file=model)
graph = Graph(
    alphaseal.open(bundle, trust=alphaseal.Trust.unsigned()).read("model.onnx"), booster.num_feature(), "model.onnx"
)
random = np.random.default_rng(4)
values = random.standard_normal((5000, booster.num_feature()), dtype=np.float32).astype(np.float64)
values[random.random(values.shape) < 0.02] = np.nan
calls: dict[str, Callable[[], Any]] = {
    "ours": lambda: graph.run(values, threads=1),
    "other": lambda: booster.predict(values, num_threads=1),
}
identical = int((calls["ours"]().view(np.int64) == calls["other"]().view(np.int64)).sum())
seconds: dict[str, list[float]] = {name: [] for name in calls}
for _ in range(repetitions):
    for name, call in calls.items():
        started = time.process_time()
        call()
        seconds[name].append(time.process_time() - started)
print(json.dumps(seconds | {"identical": identical}))
