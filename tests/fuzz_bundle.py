"""A small signed bundle for mutations: real files of every kind in a few kilobytes, made without a research task."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.format import manifest as m
from alphaseal.scoring.golden import golden_schema
from alphaseal.trust.judgement import Trust
from graphs import run_graph
from manifests import example_manifest, manifest_of
from signed import envelope_of, key, known, policy
from small_models import FEATURES, plain_trees

SIGNERS = ("ci", "approver")
ROWS = 40
TRUST = Trust(policy=policy(*(known(name, name) for name in SIGNERS), thresholds=dict.fromkeys(SIGNERS, 1)))
"""Both signatures count, so that neither can be left out."""
UNSIGNED = Trust.unsigned()


@dataclass(frozen=True)
class SmallBundle:
    """The files by path, the manifest's and the envelope's among them, and the bytes of golden rows in other encodings."""

    files: Mapping[str, bytes]
    manifest: m.Manifest
    goldens: tuple[bytes, ...]
    factors: tuple[bytes, ...]


def canonical(value: Any) -> bytes:
    """The one byte form of a JSON value by the standard library alone."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=2, allow_nan=False).encode("utf-8") + b"\n"


def sealed(manifest: bytes) -> bytes:
    """The envelope of both signers."""
    return envelope_of(manifest, *SIGNERS)


def known_ids() -> frozenset[str]:
    """Ids of the keys that `TRUST` knows."""
    return frozenset(key(name).id for name in SIGNERS)


@cache
def small_bundle() -> SmallBundle:
    """Built once in a process; the same bytes with the same libraries."""
    model = plain_trees()
    features = [_feature(name, "float64" if place % 2 else "float32") for place, name in enumerate("abcd")]
    goldens = _parquets(_golden(features, model))
    factors = _parquets(_factors())
    files = {
        "card.html": b"<!doctype html><title>card</title>\n",
        "factors.parquet": factors[0],
        "golden.parquet": goldens[0],
        "model.onnx": model,
        "sources/conf.yaml": b"task: {}\n",
        "sources/factors/000.py": b"print('text')\n",
    }
    manifest = _manifest(features, files)
    data = canonical(m.to_plain(manifest))
    assert m.encode(manifest) == data
    return SmallBundle(
        {**files, "manifest.json": data, "manifest.dsse.json": sealed(data)}, m.parse(data), goldens, factors
    )


def _feature(name: str, dtype: Any) -> m.Feature:
    example = example_manifest().features[0]
    return msgspec.structs.replace(example, name=name, dtype=dtype)


def _manifest(features: list[m.Feature], files: Mapping[str, bytes]) -> m.Manifest:
    example = example_manifest()
    return manifest_of(
        files,
        features,
        sota_factors=[msgspec.structs.replace(example.sota_factors[0], name="b", position=1)],
        golden=msgspec.structs.replace(example.golden, rows=ROWS, days=[]),
        factors=m.FactorTable(
            file="factors.parquet",
            columns=["b", "c"],
            rows=ROWS,
            dates=1,
            instruments=ROWS,
            first="2021-12-24",
            last="2021-12-24",
        ),
    )


def _golden(features: list[m.Feature], model: bytes) -> pa.Table:
    values = np.random.default_rng(7).normal(size=(ROWS, FEATURES)).astype(np.float32).astype(np.float64)
    values[0] = np.nan
    scores = run_graph(model, values)
    schema = golden_schema(features)
    keys = [
        pa.array(["real"] * ROWS),
        pa.array([18_985] * ROWS, pa.int32()).cast(pa.date32()),
        pa.array([f"SH6{place:05d}" for place in range(ROWS)]),
    ]
    columns = [
        pa.array(values[:, place], pa.float64()).cast(schema.field(feature.name).type)
        for place, feature in enumerate(features)
    ]
    return pa.Table.from_arrays([*keys, *columns, pa.array(scores)], schema=schema)


def _factors() -> pa.Table:
    numbers = np.random.default_rng(8).normal(size=ROWS)
    return pa.table(
        {
            "datetime": pa.array([18_985] * ROWS, pa.int32()).cast(pa.date32()),
            "instrument": [f"SH6{place:05d}" for place in range(ROWS)],
            "b": numbers,
            "c": pa.array(numbers.astype(np.float32)),
        }
    )


def _parquets(table: pa.Table) -> tuple[bytes, ...]:
    """The same rows as our writer leaves them, unpacked, in several groups with pages of the second kind, and encoded otherwise."""
    numbers = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    options: list[dict[str, Any]] = [
        {"compression": "zstd"},
        {"compression": "none", "use_dictionary": False},
        {"compression": "snappy", "row_group_size": 13, "data_page_version": "2.0"},
        {
            "compression": "none",
            "use_dictionary": ["instrument"],
            "column_encoding": dict.fromkeys(numbers, "BYTE_STREAM_SPLIT"),
        },
    ]
    return tuple(_written(table, one) for one in options)


def _written(table: pa.Table, options: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, store_schema=False, **options)
    return sink.getvalue()
