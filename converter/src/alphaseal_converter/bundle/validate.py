"""`alphaseal-convert validate`: everything that is wrong with manifests, envelopes, trust files, stores and whole bundles.

For review: no key is asked for and nothing is scored.  All problems are told, each at its JSON path: those of the published
schema first; rules between fields count once the schema holds, and of those the first that is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema

from alphaseal import bundle as bundle_module
from alphaseal import sources, store
from alphaseal.disk import files, tree
from alphaseal.errors import AlphasealError, MalformedError, NotReadableError
from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from alphaseal.plain_text import printable
from alphaseal.terminal.console import Findings
from alphaseal.trust import envelope
from alphaseal.trust import policy as trust_file
from alphaseal.trust.keys import decode_base64
from alphaseal_converter.bundle import provenance
from alphaseal_converter.bundle.schema import (
    current_schema,
    envelope_schema,
    manifest_schema,
    sources_schema,
    trust_schema,
)

_MAXIMUM_PROBLEMS = 100
_FIELDS_OF_A_MANIFEST = 3
"""So many make a document one; other documents too have a `name`, `version` or `files`."""
_Reader = Callable[[bytes, str], object]


def validate(paths: Sequence[Path]) -> Findings:
    """What is wrong with each file or bundle directory; nothing where there are no errors."""
    found = {str(path): examine(path) for path in paths}
    valid = [path for path, problems in found.items() if not problems]
    plain = [
        {
            "file": path,
            "code": error.code,
            "exit": error.exit,
            "where": error.where,
            "message": error.message,
            "expected": error.expected,
            "found": error.found,
        }
        for path, problems in found.items()
        for error in problems
    ]
    errors = [error for problems in found.values() for error in problems]
    return Findings(printable(f"valid: {path}" for path in valid), {"valid": valid, "problems": plain}, errors)


def examine(path: Path) -> list[AlphasealError]:
    """All problems of one file, or of a bundle directory with all that is in it."""
    if path.is_dir():
        return list(_bundle(path))
    return _document(path)


def _document(path: Path) -> list[AlphasealError]:
    try:
        data = _content(path)
    except AlphasealError as error:
        return [error]
    return list(_problems(data, str(path)))


def _content(path: Path) -> bytes:
    """The bytes of a file, bounded; NotReadableError `manifest.not_readable`."""
    problem = NotReadableError("manifest.not_readable", "cannot read", where=str(path))
    return files.read_bounded(path, store.MAXIMUM_BYTES, problem)


def _problems(data: bytes, where: str) -> Iterator[AlphasealError]:
    """Of one JSON document: what the strict reader says, else every place that breaks the schema, else what it means."""
    try:
        value = strict_json.loads(data, where=where, maximum_bytes=store.MAXIMUM_BYTES)
    except AlphasealError as error:
        yield error
        return
    kind = _kind(value)
    if kind is None:
        yield MalformedError(
            "manifest.schema",
            "no document of alphaseal",
            where=where,
            expected="a manifest, an envelope, a trust file, or a store's current.json or sources.json",
        )
        return
    schema, area, read = kind
    broken = [] if schema is None else list(_schema_problems(value, schema, area, where))
    yield from broken
    if not broken:
        try:
            read(data, where)
        except AlphasealError as error:
            yield error


def _kind(value: Any) -> tuple[dict[str, Any] | None, str, _Reader] | None:
    """Schema, area of its codes, and reader of a document, told apart by a field that only its kind has.

    Anything else is to be a manifest, if it has some of a manifest's fields; None if it has not.
    """
    fields = value.keys() if isinstance(value, dict) else set()
    if "payloadType" in fields:
        if value["payloadType"] == provenance.PAYLOAD_TYPE:
            return None, "envelope", lambda data, where: envelope.parse(data, where, provenance.PAYLOAD_TYPE)
        return envelope_schema(), "envelope", envelope.parse
    if "thresholds" in fields:
        return trust_schema(), "trust", trust_file.parse
    if "history" in fields:
        return current_schema(), "store", store.parse
    if "sources" in fields:
        return sources_schema(), "store", sources.parse
    if len(fields & set(m.Manifest.__struct_fields__)) < _FIELDS_OF_A_MANIFEST:
        return None
    version = value.get("format")
    return manifest_schema(version if version in m.FORMATS else m.FORMAT), "manifest", m.parse


def _schema_problems(value: Any, schema: dict[str, Any], area: str, where: str) -> Iterator[AlphasealError]:
    errors = [leaf for error in jsonschema.Draft202012Validator(schema).iter_errors(value) for leaf in _leaves(error)]
    # A place may break several branches of one choice in the same words.
    unique = {(error.json_path, error.message): error for error in errors}
    ordered = sorted(unique.values(), key=lambda error: _sortable(error.absolute_path))
    for error in ordered[:_MAXIMUM_PROBLEMS]:
        yield MalformedError(f"{area}.schema", _short(error.message), where=f"{where} at {error.json_path}")
    if len(ordered) > _MAXIMUM_PROBLEMS:
        more = len(ordered) - _MAXIMUM_PROBLEMS
        yield MalformedError(f"{area}.schema", f"{more} more places break the schema", where=where)


def _sortable(path: Iterable[str | int]) -> list[tuple[int, str]]:
    """Fields by name, places in a list by number."""
    return [(part, "") if isinstance(part, int) else (-1, part) for part in path]


def _short(message: str) -> str:
    return message if len(message) <= 300 else f"{message[:200]} … {message[-90:]}"


def _leaves(error: jsonschema.ValidationError) -> Iterator[jsonschema.ValidationError]:
    """The errors themselves behind "not valid under any of the given": those of the branch that was meant."""
    if error.validator not in ("anyOf", "oneOf") or not error.context:
        yield error
        return
    branches: dict[Any, list[jsonschema.ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    # Of another type altogether (null is not an object) or with another tag: that branch was not meant.
    meant = [inner for inner in branches.values() if not any(_another_branch(one, error) for one in inner)]
    if len(meant) != 1:
        yield error
        return
    for inner in meant[0]:
        yield from _leaves(inner)


def _another_branch(inner: jsonschema.ValidationError, outer: jsonschema.ValidationError) -> bool:
    below = list(inner.absolute_path)[len(outer.absolute_path) :]
    return (not below and inner.validator in ("type", "const", "enum")) or (
        len(below) == 1 and inner.validator in ("const", "enum") and below[0] in ("stage", "type")
    )


# --- whole bundles --------------------------------------------------------------------------------------------------


def _bundle(directory: Path) -> Iterator[AlphasealError]:
    """Manifest, envelopes, tree, every file's size and digest, and the gates of graphs and tables."""
    try:
        data = tree.read_bounded(directory, m.FILE_NAME, m.MAXIMUM_BYTES)
    except AlphasealError as error:
        yield _at(error, directory)
        return
    problems = list(_problems(data, str(directory / m.FILE_NAME)))
    yield from problems
    for name in (tree.ENVELOPE_NAME, tree.PROVENANCE_NAME):
        if (directory / name).exists():
            yield from _envelope(directory / name, data if name == tree.ENVELOPE_NAME else None)
    if not problems:
        yield from _files(directory, m.parse(data), data)


def _envelope(path: Path, payload: bytes | None) -> Iterator[AlphasealError]:
    try:
        data = _content(path)
    except AlphasealError as error:
        yield error
        return
    problems = list(_problems(data, str(path)))
    yield from problems
    if problems or payload is None:
        return
    value = strict_json.loads(data, where=str(path), maximum_bytes=tree.MAXIMUM_ENVELOPE)
    if decode_base64(value["payload"]) != payload:
        yield MalformedError(
            "envelope.payload",
            "the envelope signs another manifest",
            where=f"{path} at $.payload",
            expected=f"the bytes of {m.FILE_NAME}",
            next_step="sign the bundle again",
        )


def _files(directory: Path, manifest: m.Manifest, data: bytes) -> Iterator[AlphasealError]:
    try:
        tree.check_tree(directory, manifest)
    except AlphasealError as error:
        yield _at(error, directory)
    bundle = bundle_module.Bundle(directory, manifest, m.digest(data), None)
    whole = True
    for place, entry in enumerate(manifest.files):
        try:
            bundle.files.check(entry.path)
        except AlphasealError as error:
            whole = False
            yield _at(error, directory, f"$.files[{place}]")
    if not whole:
        return
    graphs = [entry.path for entry in manifest.files if entry.role in ("model", "alphas")]
    checks: list[Callable[[], None]] = [partial(bundle.check_graph, path) for path in graphs]
    for check in (*checks, bundle.check_factors):
        try:
            check()
        except AlphasealError as error:
            yield _at(error, directory)


def _at(error: AlphasealError, directory: Path, json_path: str | None = None) -> AlphasealError:
    """The error with the bundle in its place, and where in the manifest the file is listed."""
    place = directory if error.where is None or error.where == str(directory) else directory / error.where
    return error.saying(where=str(place) if json_path is None else f"{place}, {m.FILE_NAME} at {json_path}")
