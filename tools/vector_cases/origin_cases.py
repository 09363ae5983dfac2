"""Tables that say which bundle and which dates they were computed for, and their signatures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.format import strict_json
from vector_cases import tables
from vector_cases.base import UNSIGNED, Case, authenticated, bundle, envelope, key_id, private_key, replaced, text64
from vector_cases.table_cases import DATE
from vector_cases.trust_cases import pem

KIND = "application/vnd.alphaseal.features.v1+json"
ANOTHER = "f" * 64
DATES = ["2024-01-02", DATE]
SIDECAR = "features.parquet.dsse.json"


def cases() -> Iterator[Case]:
    right = _computed()
    yield _case("origin", "a table that was computed for this bundle and this date", right, 0, "ok")
    other = _stored()
    yield _case(
        "origin_other_bundle", "a table that was computed for another bundle", other, 18, "features.other_bundle"
    )
    late = replaced('"2024-01-03"', '"2024-01-05"')(right)
    yield _case("origin_other_date", "a table that was computed for other dates", late, 18, "features.other_date")
    for name, old, new, text in (
        ("version", '"version": 1', '"version": 2', "of an unknown version"),
        ("form", '  "static": null', ' "static": null ', "not in the one byte form"),
        ("syntax", '"static": null', '"static": nul?', "not JSON"),
        ("dates_order", '"2024-01-02"', '"2024-01-04"', "whose dates are not ascending"),
        ("digest", '"bundle": "' + _digest()[0], '"bundle": "?', "whose digest is none"),
    ):
        assert len(old) == len(new)
        changed = replaced(old, new)(right)
        yield _case(f"origin_{name}", f"a table with metadata {text}", changed, 18, "features.origin")
    yield from _signed(right)


def _case(name: str, text: str, data: bytes, status: int, code: str, **more: Any) -> Case:
    key = more.pop("key", None)
    arguments = [*UNSIGNED, "--features", "features.parquet", "--date", DATE]
    arguments += ["--features-key", "features.pub"] if key else []
    files = bundle() | {"features.parquet": data} | more.pop("files", {}) | ({"features.pub": pem(key)} if key else {})
    return Case(name, f"Input: {text}.", "score", arguments, status, code, files)


def _signed(right: bytes) -> Iterator[Case]:
    payload = _payload(right)

    def case(name: str, text: str, sidecar: bytes | None, status: int, code: str, data: bytes = right) -> Case:
        files = {} if sidecar is None else {SIDECAR: sidecar}
        return _case(f"origin_{name}", text, data, status, code, key="features", files=files)

    good = _sidecar(payload, "features")
    yield case("signed", "a table that the named key signed", good, 0, "ok")
    yield case(
        "signed_by_two", "a table that the named key signed, and another", _sidecar(payload, "ci", "features"), 0, "ok"
    )
    yield case("not_signed", "a table without a signature, where one is asked for", None, 13, "features.not_signed")
    by_other = _sidecar(payload, "stranger")
    yield case("signature_key", "a table that another key signed", by_other, 13, "features.signature_key")
    wrong = _sidecar(payload, "features", message=_payload(right + b" "))
    yield case("signature_wrong", "a table whose signature is of something else", wrong, 13, "features.signature_wrong")
    as_manifest = strict_json.dumps(envelope(payload, "features"))
    yield case("signed_as_manifest", "a signature as it is of manifests", as_manifest, 10, "envelope.payload_type")
    changed = replaced('"2024-01-02"', '"2024-01-01"')(right)
    yield case(
        "signature_payload",
        "a table that was changed after it was signed",
        good,
        13,
        "features.signature_payload",
        changed,
    )
    longer = _sidecar(_payload(right, size=len(right) + 1), "features")
    yield case("signature_size", "a signature over another size", longer, 13, "features.signature_payload")
    for_other = _sidecar(_payload(right, bundle=ANOTHER), "features")
    yield case("signed_for_another", "a signature for another bundle", for_other, 18, "features.other_bundle")
    other_day = _sidecar(_payload(right, dates=["2024-01-05"]), "features")
    yield case("signed_for_other_dates", "a signature for other dates", other_day, 18, "features.other_date")
    plain = tables.features()
    yield case(
        "signed_without_metadata",
        "a signed table that does not say what it was computed for",
        _sidecar(_payload(plain), "features"),
        18,
        "features.origin",
        plain,
    )
    unknown = _sidecar(_payload(right, more=1), "features")
    yield case("signed_field", "a signature over a payload with an unknown field", unknown, 10, "envelope.schema")
    loose = _sidecar(payload.replace(b"  ", b" "), "features")
    yield case("signed_form", "a signature over a payload not in the one byte form", loose, 10, "envelope.byte_form")


def _digest() -> str:
    return hashlib.sha256(bundle()["bundle/manifest.json"]).hexdigest()


def _payload(data: bytes, **changes: Any) -> bytes:
    facts = {
        "version": 1,
        "bundle": _digest(),
        "dates": DATES,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return strict_json.dumps(facts | changes)


def _sidecar(payload: bytes, *seeds: str, message: bytes | None = None) -> bytes:
    signed = authenticated(payload if message is None else message, KIND)
    signatures = [{"keyid": key_id(seed), "sig": text64(private_key(seed).sign(signed))} for seed in seeds]
    signatures.sort(key=lambda entry: entry["keyid"])
    return strict_json.dumps({"payload": text64(payload), "payloadType": KIND, "signatures": signatures})


def _computed() -> bytes:
    """The stored table with the digest of the vectors' bundle: a text of the same length."""
    return replaced(ANOTHER, _digest())(_stored())


@cache
def _stored() -> bytes:
    return tables.stored("features_origin", _make)


def _make() -> bytes:
    origin = {
        "version": 1,
        "bundle": ANOTHER,
        "dates": DATES,
        "sources": {"REV_3D": "a" * 64},
        "bars": "b" * 64,
        "static": None,
        "incomplete_rows": "removed",
        "converter": "0.1.0",
    }
    sink = pa.BufferOutputStream()
    table = tables.table()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", write_statistics=False, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"alphaseal.features": strict_json.dumps(origin)})
    return bytes(sink.getvalue())
