"""The published JSON Schemas: generated from the runtime's typed form, so that the two cannot drift apart.

``python -m alphaseal_converter.bundle.schema DIR`` writes them (``make schemas``); a test compares with what is committed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from alphaseal import sources, store
from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from alphaseal.format.parts import Part
from alphaseal.trust import envelope
from alphaseal.trust import policy as trust_file

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema(version: str = m.FORMAT) -> dict[str, Any]:
    """JSON Schema 2020-12 of a manifest.json of one version of the format."""
    schema = _schema(m.Manifest, "manifest", f"alphaseal bundle manifest, format {version}", version)
    kinds = {kind.__name__: kind for kind in vars(m).values() if isinstance(kind, type) and issubclass(kind, Part)}
    for name, part in schema["$defs"].items():
        added = m.additions(kinds[name]) if name in kinds else frozenset()
        for field in added:
            if version == m.FIRST_FORMAT:
                del part["properties"][field]
            else:
                # The default is the typed form's, for manifests of 1.0; in one of this version every field is there.
                del part["properties"][field]["default"]
        if added:
            part["required"] = list(part["properties"])
    schema["$defs"]["Manifest"]["properties"]["format"]["enum"] = [version]
    return _reachable(schema)


def _reachable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without the parts that nothing in it refers to."""
    wanted, left = set(), [schema["$ref"]]
    while left:
        name = left.pop().removeprefix("#/$defs/")
        if name not in wanted:
            wanted.add(name)
            left += _references(schema["$defs"][name])
    return schema | {"$defs": {name: part for name, part in schema["$defs"].items() if name in wanted}}


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [reference for item in value.values() for reference in _references(item)]
    return [reference for item in value for reference in _references(item)] if isinstance(value, list) else []


def envelope_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of manifest.dsse.json."""
    return _schema(envelope.EnvelopeDocument, "envelope", "DSSE envelope of an alphaseal bundle manifest")


def trust_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a trust file."""
    return _schema(trust_file.TrustFile, "trust", "alphaseal trust file, format 1.0")


def current_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of the current.json of a store."""
    return _schema(store.State, "current", "what is in force in an alphaseal store, format 1.0")


def sources_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a store's sources.json."""
    return _schema(sources.Sources, "sources", "what is known of the sources of bars of an alphaseal store, format 1.0")


def _schema(kind: type[Part], name: str, title: str, version: str = "1.0") -> dict[str, Any]:
    schema: dict[str, Any] = msgspec.json.schema(kind)
    return {"$schema": _DIALECT, "$id": f"urn:alphaseal:schema:{name}:{version}", "title": title, **_portable(schema)}


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
    schemas = {
        "manifest": manifest_schema(),
        "manifest-1.0": manifest_schema(m.FIRST_FORMAT),
        "envelope": envelope_schema(),
        "trust": trust_schema(),
        "current": current_schema(),
        "sources": sources_schema(),
    }
    for name, schema in schemas.items():
        (directory / f"{name}.schema.json").write_bytes(strict_json.dumps(schema))


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
