"""The published schema is the typed form's own."""

from __future__ import annotations

import json

import jsonschema

from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from alphaseal_converter.bundle.schema import manifest_schema
from locations import REPOSITORY
from manifests import compiled_manifest, example_manifest


def test_committed_schema_is_the_generated_one() -> None:
    """schemas/manifest.schema.json is what ``make schemas`` writes."""
    assert (REPOSITORY / "schemas/manifest.schema.json").read_bytes() == strict_json.dumps(manifest_schema())


def test_schema_is_a_valid_schema_and_accepts_a_manifest() -> None:
    """The schema is JSON Schema 2020-12, and the examples fit it."""
    jsonschema.Draft202012Validator.check_schema(manifest_schema())
    for manifest in (example_manifest(), compiled_manifest()):
        jsonschema.validate(json.loads(m.encode(manifest)), manifest_schema())
