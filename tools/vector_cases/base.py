"""The small bundle that the vectors change, test keys, and what a case is.

Nothing here reads a clock or a random number.  The keys are made from the texts below: TEST KEYS, whose private part
everybody knows.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from alphaseal.format import manifest as manifest_format
from alphaseal.format import strict_json
from vector_cases import graphs, tables

PAYLOAD_TYPE = "application/vnd.alphaseal.manifest.v1+json"
AT = "2026-01-31T09:00:00Z"
"""The instant of every vector with a trust file, unless it says another."""
CREATED = "2026-01-01T00:00:00Z"
UNSIGNED = ["bundle", "--allow-unsigned"]
TRUSTED = ["bundle", "--trust", "trust.json", "--at", AT]
FACTOR_CODE = b"def calculate():\n    raise SystemExit('inert text')\n"

Plain = dict[str, Any]
Edit = Callable[[Plain], object]


@dataclass
class Case:
    """One vector: a directory of `files`, the steps that git cannot hold, and what a verifier must say."""

    name: str
    text: str
    verb: str
    arguments: list[str]
    exit: int
    code: str
    files: dict[str, bytes]
    setup: list[dict[str, Any]] = field(default_factory=list)
    exchange: list[dict[str, str]] = field(default_factory=list)
    """A race: what is put in the place of which file once the reader has opened it."""
    environment: dict[str, str | None] | None = None
    """Variables of the command's environment; None takes one away."""
    result: dict[str, Any] | None = None
    """What the command's `result` must hold, whatever else it holds."""

    @property
    def directory(self) -> str:
        return self.name if self.exit == 0 else f"{self.name}_fail"

    def vector(self) -> bytes:
        """Content of vector.json."""
        value: Plain = {"verb": self.verb, "arguments": self.arguments, "exit": self.exit, "code": self.code}
        more = {
            "setup": self.setup or None,
            "exchange": self.exchange or None,
            "environment": self.environment,
            "result": self.result,
        }
        return strict_json.dumps(value | {name: part for name, part in more.items() if part is not None})


# --- keys -------------------------------------------------------------------------------------------------------------


def private_key(seed: str) -> Ed25519PrivateKey:
    """A test key: whoever reads this has it."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"alphaseal vectors, TEST KEY {seed}".encode()).digest())


def public_bytes(seed: str) -> bytes:
    return private_key(seed).public_key().public_bytes_raw()


def key_id(seed: str) -> str:
    return hashlib.sha256(public_bytes(seed)).hexdigest()


def text64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def authenticated(payload: bytes, kind: str = PAYLOAD_TYPE) -> bytes:
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)


def signature(seed: str, payload: bytes) -> Plain:
    return {"keyid": key_id(seed), "sig": text64(private_key(seed).sign(authenticated(payload)))}


def envelope(payload: bytes, *seeds: str) -> Plain:
    """An envelope as a plain value."""
    signatures = sorted((signature(seed, payload) for seed in seeds), key=lambda entry: str(entry["keyid"]))
    return {"payload": text64(payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures}


def known(seed: str, role: str = "ci", **changes: Any) -> Plain:
    """A trust file's entry for a test key."""
    entry = {
        "name": seed,
        "role": role,
        "public_key": text64(public_bytes(seed)),
        "not_before": None,
        "not_after": None,
    }
    return entry | changes


def trust(*keys: Plain, **changes: Any) -> Plain:
    """A trust file: one signature of role ci, any bundle, unless `changes` says otherwise."""
    value: Plain = {
        "format": "1.0",
        "keys": list(keys or [known("ci")]),
        "thresholds": {"ci": 1},
        "bundles": None,
        "revoked_keys": [],
        "revoked_digests": [],
        "maximum_age_days": None,
        "require_ready": True,
    }
    return value | changes


# --- the bundle -------------------------------------------------------------------------------------------------------


def contents() -> dict[str, bytes]:
    """The files of the small bundle, by path."""
    return {"golden.parquet": tables.golden(), "model.onnx": graphs.model(), "sources/factors/000.txt": FACTOR_CODE}


_ROLES = {
    "golden.parquet": "golden",
    "model.onnx": "model",
    "factors.parquet": "factors",
    "alphas.onnx": "alphas",
    "golden_bars.parquet": "golden_bars",
    "golden_factors.parquet": "golden_bars",
}


def entry(path: str, data: bytes, role: str | None = None) -> Plain:
    """A member of `files`."""
    return {
        "path": path,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "media_type": "application/octet-stream",
        "role": role or ("alphas" if path.startswith("compiled/") else _ROLES.get(path, "source")),
        "title": None,
    }


def manifest(files: dict[str, bytes] | None = None) -> Plain:
    """The manifest of the small bundle, or of one with these files."""
    files = contents() if files is None else files
    factor = "sources/factors/000.txt"
    return {
        "format": "1.0",
        "name": "vector",
        "sequence": 3,
        "created": CREATED,
        "expires": None,
        "producer": {"converter": "0.1.0", "packages": {"onnx": "1.19.1"}},
        "source": {
            "task_id": None,
            "snapshot": None,
            "anchor": {
                "rule": "scan",
                "why": "made by tools/make_vectors.py",
                "history_index": None,
                "loop": None,
                "kind": "unknown",
                "experiment": None,
                "hypothesis": "losers recover – 反转, \u00e9\U0001f4c8",
                "reason": None,
            },
            "run": None,
            "weights": {"origin": "scan", "path": "params", "sha256": "0" * 64, "size": 0, "why": "by hand"},
            "workspace": None,
        },
        "model": {
            "family": "lightgbm",
            "class_name": "vectors",
            "framework": "none",
            "framework_version": None,
            "road": "by hand",
            "ir_version": 10,
            "opsets": {"ai.onnx": 18, "ai.onnx.ml": 5},
            "inputs": [{"name": "features", "dtype": "float64", "shape": [None, len(tables.FEATURES)]}],
            "outputs": [{"name": "score", "dtype": "float64", "shape": [None, 1]}],
            "step_length": 1,
            "batch_dependent": False,
            "facts": {"trees": 3},
        },
        "features": [
            {
                "name": name,
                "origin": "sota" if dtype == "float64" else "alpha",
                "dtype": dtype,
                "look_back": None,
                "look_back_from": None,
                "look_ahead": None,
                "inputs": None,
                "not_compiled": None,
                "expression": None if dtype == "float64" else "Ref($close, 1)/$close",
                "source": factor if dtype == "float64" else None,
                "description": None,
                "formulation": None,
                "variables": None,
                "used": True,
                "statistics": None,
                "statistics_missing": "a vector has none",
            }
            for name, dtype in tables.FEATURES
        ],
        "order": {"proof": "given", "evidence": [{"code": "given", "text": "by hand"}], "replay": None},
        "stages": [{"stage": "graph", "file": "model.onnx", "processors": []}],
        "missing": {"missing": "native", "infinite": "native", "text": "as the trees say"},
        "label": {"name": None, "expression": None, "processors": []},
        "data": {
            "frequency": "day",
            "instrument_format": {"kind": "qlib", "pattern": "^(SH|SZ|BJ)[0-9]{6}$", "example": "SH600000"},
            "universe": None,
            "benchmark": None,
            "price_adjustment": None,
            "segments": {"train": {"first": "2020-01-01", "last": None}},
            "dataset_class": None,
            "handler_class": None,
            "loader_classes": [],
        },
        "sota_factors": [
            {
                "name": "REV_3D",
                "status": "in_model",
                "reason": "by hand",
                "history_index": 0,
                "loop": None,
                "position": 2,
                "source": factor,
                "description": None,
                "formulation": None,
                "variables": None,
                "hypothesis": None,
                "accepted_because": None,
                "metrics": {"IC": 0.05, "l2.valid": None, "tiny": 1e-05, "large": 1.5e16},
            }
        ],
        "metrics": {"segment": None, "costs": {}, "values": {"IC": 0.05}},
        "strategy": None,
        "selection": {"top_k": 2, "n_drop": None, "tie_break": "score_descending_instrument_ascending"},
        "parity": {
            "bound": {"ulp": 0, "relative": None, "absolute": None, "text": "sums in tree order, in double"},
            "within_bound": True,
            "judges": ["by hand"],
            "cases": [],
            "days": None,
            "note": None,
        },
        "golden": {
            "file": "golden.parquet",
            "rows": len(tables.GOLDEN_ROWS),
            "judge": "by hand",
            "days": ["2024-01-02", "2024-01-03"],
        },
        "alphas": None,
        "drift": {"null_ratio": 0.2, "outside": 0.1},
        "factors": None,
        "files": [entry(path, data) for path, data in sorted(files.items())],
        "eligibility": {"ready": True, "reasons": []},
    }


def put(place: str, value: Any) -> Edit:
    """Set the value at a dotted place; numbers are positions in arrays."""

    def edit(plain: Any) -> None:
        *parents, last = place.split(".")
        for name in parents:
            plain = plain[int(name)] if isinstance(plain, list) else plain[name]
        plain[int(last) if isinstance(plain, list) else last] = copy.deepcopy(value)

    return edit


def drop(place: str) -> Edit:
    """Leave out what is at a dotted place."""

    def edit(plain: Any) -> None:
        *parents, last = place.split(".")
        for name in parents:
            plain = plain[int(name)] if isinstance(plain, list) else plain[name]
        del plain[int(last) if isinstance(plain, list) else last]

    return edit


def both(*edits: Edit) -> Edit:
    """One edit after the other."""

    def edit(plain: Plain) -> None:
        for one in edits:
            one(plain)

    return edit


def draft(plain: Plain) -> None:
    """Make a plain manifest of 1.0 one of the present version: the fields that came with it are there and null."""
    typed = manifest_format.DOCUMENT.typed(plain, "a vector's manifest")
    plain.update(manifest_format.to_plain(msgspec.structs.replace(typed, format=manifest_format.FORMAT)))


def bundle(
    changed: dict[str, bytes | None] | None = None,
    edit: Edit | None = None,
    raw: Callable[[bytes], bytes] | None = None,
) -> dict[str, bytes]:
    """Files of a case: the small bundle with other contents, its manifest edited, then its manifest's bytes changed."""
    files = contents()
    for path, data in (changed or {}).items():
        files.pop(path, None)
        if data is not None:
            files[path] = data
    plain = manifest(files)
    if edit is not None:
        edit(plain)
    data = strict_json.dumps(plain)
    return {f"bundle/{path}": content for path, content in files.items()} | {
        "bundle/manifest.json": data if raw is None else raw(data)
    }


def signed(files: dict[str, bytes], *seeds: str) -> dict[str, bytes]:
    """The same with an envelope by these keys."""
    data = strict_json.dumps(envelope(files["bundle/manifest.json"], *seeds))
    return files | {"bundle/manifest.dsse.json": data}


def with_trust(files: dict[str, bytes], value: Plain | None = None) -> dict[str, bytes]:
    """The same with a trust file."""
    return files | {"trust.json": strict_json.dumps(value or trust())}


def at(instant: str) -> list[str]:
    """Arguments of a trusted bundle at an instant."""
    return ["bundle", "--trust", "trust.json", "--at", instant]


def replaced(old: str, new: str | bytes, count: int = 1) -> Callable[[bytes], bytes]:
    """Bytes with a text exchanged; it must be there."""

    def change(data: bytes) -> bytes:
        assert old.encode() in data, old
        return data.replace(old.encode(), new.encode() if isinstance(new, str) else new, count)

    return change


def check_names(cases: Iterable[Case]) -> list[Case]:
    """The cases in order of name; every name once, lower-case words."""
    ordered = sorted(cases, key=lambda case: case.directory)
    directories = [case.directory for case in ordered]
    assert len(set(directories)) == len(directories), [name for name in directories if directories.count(name) > 1]
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in directories)
    assert all("\n" not in case.text and case.text.endswith(".") for case in ordered)
    return ordered
