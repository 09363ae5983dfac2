"""The published JSON Schemas: generated from the runtime's typed form, so that the two cannot drift apart.

``python -m alphaseal_converter.schema DIR`` writes them (``make schemas``); a test compares with what is committed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from alphaseal import envelope, store, strict_json, trust_file
from alphaseal import manifest as m

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of manifest.json."""
    return _schema(m.Manifest, "manifest", "alphaseal bundle manifest, format 1.0")


def envelope_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of manifest.dsse.json."""
    return _schema(envelope.EnvelopeDocument, "envelope", "DSSE envelope of an alphaseal bundle manifest")


def trust_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a trust file."""
    return _schema(trust_file.TrustFile, "trust", "alphaseal trust file, format 1.0")


def current_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of the current.json of a store."""
    return _schema(store.State, "current", "what is in force in an alphaseal store, format 1.0")


def _schema(kind: type[m.Part], name: str, title: str) -> dict[str, Any]:
    schema: dict[str, Any] = msgspec.json.schema(kind)
    return {"$schema": _DIALECT, "$id": f"urn:alphaseal:schema:{name}:1.0", "title": title, **_portable(schema)}


def _portable(value: Any) -> Any:
    """Patterns without the look-ahead that only Python's ``$`` needs: elsewhere ``$`` is the end and nothing else; and
    without ``discriminator``, a word of OpenAPI that strict validators of JSON Schema refuse."""
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items() if key != "discriminator"}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    return value.replace(r"(?!\n)", "") if isinstance(value, str) else value


def write_schemas(directory: Path) -> None:
    """Write every schema into `directory`, in the one byte form of this project's JSON."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, schema in (
        ("manifest", manifest_schema),
        ("envelope", envelope_schema),
        ("trust", trust_schema),
        ("current", current_schema),
    ):
        (directory / f"{name}.schema.json").write_bytes(strict_json.dumps(schema()))


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
