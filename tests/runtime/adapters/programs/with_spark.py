"""Scores of bundles by Spark in local mode: ``with_spark.py REQUEST ANSWER`` (JSON text, JSON file).

Request: `cases` {name: {bundle, features (parquet), days, out (parquet)}}, `tampered` {bundle, features}.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from alphaseal import AlphasealError, Trust
from alphaseal.adapters.spark import cut, score, score_function

UNSIGNED = Trust.unsigned()


def session() -> Any:
    """A Spark of this process, with two workers, that listens to this machine alone."""
    builder = SparkSession.builder.master("local[2]").appName("alphaseal")
    options = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "97",
    }
    for name, value in options.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def score_case(spark: Any, case: dict[str, Any]) -> list[str]:
    """Score a parquet file whose rows are scattered over partitions; writes them and gives the columns' types."""
    frame = spark.read.parquet(case["features"]).repartition(5, f.rand(7))
    function = score_function(case["bundle"], trust=UNSIGNED)
    rows = score(frame, function, days=case["days"])
    columns = zip(*(tuple(row) for row in rows.collect()), strict=True)
    pq.write_table(pa.table(dict(zip(rows.columns, map(list, columns), strict=True))), case["out"])
    return [f"{field.name} {field.dataType.simpleString()}" for field in rows.schema]


def refusal(work: Any) -> str:
    """The error that Spark passes on from a worker, or one of ours here."""
    try:
        work()
    except AlphasealError as error:
        return f"{error.code}: {error}"
    except Exception as error:  # noqa: BLE001 - Spark's own classes, whose text holds the worker's error
        return str(error)
    return ""


def refusals(spark: Any, request: dict[str, Any]) -> dict[str, str]:
    """What is refused: whole days that are not whole, a table that is not cut, another bundle, zoned timestamps."""
    windows = request["cases"]["windows"]
    function = score_function(windows["bundle"], trust=UNSIGNED)
    frame = spark.read.parquet(windows["features"])
    parts = cut(frame, function, days=3)
    moved = Path(request["moved"])
    shutil.copytree(request["cases"]["trees"]["bundle"], moved)
    trees = score_function(moved, trust=UNSIGNED)
    shutil.rmtree(moved)
    shutil.copytree(windows["bundle"], moved)
    other = spark.read.parquet(request["cases"]["trees"]["features"])
    zoned = frame.withColumn("datetime", f.col("datetime").cast("timestamp"))
    return {
        "lost_row": refusal(parts.where(f.rand(3) < 0.9).mapInArrow(function, function.schema).collect),
        "not_cut": refusal(frame.mapInArrow(function, function.schema).collect),
        "other_bundle": refusal(score(other, trees).collect),
        "zoned": refusal(lambda: score(zoned, function)),
        "no_trust": refusal(lambda: score_function(windows["bundle"], trust=Trust())),
    }


def main() -> None:
    """Carry out the request of the command line."""
    request = json.loads(sys.argv[1])
    spark = session()
    types = {name: score_case(spark, case) for name, case in request["cases"].items()}
    answer = {"types": types, "refusals": refusals(spark, request)}
    spark.stop()
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
