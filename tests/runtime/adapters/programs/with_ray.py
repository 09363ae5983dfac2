"""Scores of bundles by Ray Data in local mode: ``with_ray.py REQUEST ANSWER`` (JSON text, JSON file).

Request: `cases` {name: {bundle, features (parquet), days, out (parquet)}}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from alphaseal import Trust
from alphaseal.adapters.batches import Scorer
from alphaseal.adapters.ray import BundleScorer, cut, score

UNSIGNED = Trust.unsigned()


def table_of(dataset: Any) -> pa.Table:
    """All rows of a dataset."""
    blocks = [block for block in ray.get(dataset.to_arrow_refs()) if block.num_rows]
    return pa.concat_tables(blocks)


def refusal(work: Any) -> str:
    """What Ray passes on from a worker."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - Ray's own classes, whose text holds the worker's error
        return str(error)
    return ""


def main() -> None:
    """Carry out the request of the command line."""
    request = json.loads(sys.argv[1])
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    except Exception as error:  # noqa: BLE001 - Ray raises a bare Exception where its processes are too slow to start
        Path(sys.argv[2]).write_text(json.dumps({"not_started": str(error)}), encoding="utf-8")
        return
    ray.data.DataContext.get_current().enable_progress_bars = False
    for case in request["cases"].values():
        dataset = ray.data.read_parquet(case["features"]).repartition(5).random_shuffle(seed=7)
        scored = score(dataset, case["bundle"], trust=UNSIGNED, days=case["days"])
        pq.write_table(table_of(scored), case["out"])
    windows = request["cases"]["windows"]
    scorer = Scorer.of(windows["bundle"], UNSIGNED)
    parts = cut(ray.data.read_parquet(windows["features"]), scorer, days=3)
    batches = {"fn_constructor_args": (scorer,), "batch_format": "pyarrow", "concurrency": 1}
    refused = refusal(parts.map_batches(BundleScorer, batch_size=10, **batches).materialize)
    ray.shutdown()
    Path(sys.argv[2]).write_text(json.dumps({"refused": refused}), encoding="utf-8")


if __name__ == "__main__":
    main()
