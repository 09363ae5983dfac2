"""The published schema is the typed form's own."""

from __future__ import annotations

import json

import jsonschema
import pytest

from alphaseal import manifest as m
from alphaseal import strict_json
from alphaseal.errors import MalformedError
from alphaseal_converter.schema import manifest_schema, validate_files
from locations import REPOSITORY
from manifests import example_manifest


def test_committed_schema_is_the_generated_one() -> None:
    """schemas/manifest.schema.json is what ``make schemas`` writes."""
    assert (REPOSITORY / "schemas/manifest.schema.json").read_bytes() == strict_json.dumps(manifest_schema())


def test_schema_is_a_valid_schema_and_accepts_a_manifest() -> None:
    """The schema is JSON Schema 2020-12, and the example fits it."""
    jsonschema.Draft202012Validator.check_schema(manifest_schema())
    jsonschema.validate(json.loads(m.encode(example_manifest())), manifest_schema())


def test_validate_names_the_place(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A wrong value is reported at its JSON path, and nothing else passes for it."""
    value = json.loads(m.encode(example_manifest()))
    value["features"][1]["dtype"] = "float16"
    path = tmp_path / "manifest.json"
    path.write_bytes(strict_json.dumps(value))
    with pytest.raises(MalformedError) as caught:
        validate_files([path])
    assert caught.value.code == "manifest.schema"
    assert "$.features[1].dtype" in str(caught.value)
