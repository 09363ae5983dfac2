"""The published JSON Schemas: generated from the runtime's typed form, so that the two cannot drift apart.

``python -m alphaseal_converter.schema DIR`` writes them (``make schemas``); a test compares with what is committed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import msgspec

from alphaseal import envelope, store, strict_json, trust_file
from alphaseal import manifest as m
from alphaseal.errors import MalformedError, NotReadableError

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of manifest.json."""
    return _schema(m.Manifest, "manifest", "alphaseal bundle manifest, format 1-draft")


def envelope_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of manifest.dsse.json."""
    return _schema(envelope.EnvelopeDocument, "envelope", "DSSE envelope of an alphaseal bundle manifest")


def trust_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a trust file."""
    return _schema(trust_file.TrustFile, "trust", "alphaseal trust file, format 1-draft")


def current_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of the current.json of a store."""
    return _schema(store.State, "current", "what is in force in an alphaseal store, format 1-draft")


def _schema(kind: type[m.Part], name: str, title: str) -> dict[str, Any]:
    schema: dict[str, Any] = msgspec.json.schema(kind)
    return {"$schema": _DIALECT, "$id": f"urn:alphaseal:schema:{name}:1-draft", "title": title, **_portable(schema)}


def _portable(value: Any) -> Any:
    """Patterns without the look-ahead that only Python's ``$`` needs: elsewhere ``$`` is the end and nothing else."""
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    return value.replace(r"(?!\n)", "") if isinstance(value, str) else value


def validate_files(paths: Sequence[Path]) -> list[str]:
    """Check each file (or the manifest of a bundle directory) against its schema and the rules between fields.

    Raises MalformedError with the JSON path of the first problem, and how many there are.
    """
    return [_validate(path / m.FILE_NAME if path.is_dir() else path) for path in paths]


def _validate(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotReadableError("manifest.not_readable", f"cannot read: {error.strerror}", where=str(path)) from None
    value = strict_json.loads(data, where=str(path), maximum_bytes=store.MAXIMUM_BYTES)
    schema, read = _kind(value)
    problems = sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(value),
        key=lambda problem: list(map(str, problem.absolute_path)),
    )
    if problems:
        first = problems[0]
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise MalformedError("manifest.schema", f"{first.message[:300]}{more}", where=f"{path} at {first.json_path}")
    read(data, str(path))
    return str(path)


def _kind(value: Any) -> tuple[dict[str, Any], Callable[[bytes, str], object]]:
    """Schema and reader of a document, told apart by the field that only its kind has; anything else is to be a manifest."""
    fields = value.keys() if isinstance(value, dict) else set()
    if "payloadType" in fields:
        return envelope_schema(), envelope.parse
    if "thresholds" in fields:
        return trust_schema(), trust_file.parse
    if "history" in fields:
        return current_schema(), store.parse
    return manifest_schema(), m.parse


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
