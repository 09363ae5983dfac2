"""Two versions of the format: each has exactly its own fields, the older one is read and scored with one warning."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

import alphaseal
from alphaseal.cli import main
from alphaseal.errors import MalformedError
from alphaseal.format import guards, strict_json
from alphaseal.format import manifest as m
from alphaseal.trust import policy as trust_file
from alphaseal_converter.bundle.schema import manifest_schema
from locations import REPOSITORY
from manifests import example_manifest

BASE = REPOSITORY / "tests/vectors/v1/base/bundle"
DRAFT = REPOSITORY / "tests/vectors/v1/format_draft_scored"


def _older() -> m.Manifest:
    return msgspec.structs.replace(example_manifest(), format=m.FIRST_FORMAT)


@pytest.mark.parametrize("version", m.FORMATS)
def test_each_version_reads_what_it_writes(version: str) -> None:
    """Encoding and parsing give the same bytes, and the published schema of that version accepts them."""
    manifest = msgspec.structs.replace(example_manifest(), format=version)
    data = m.encode(manifest)
    assert m.encode(m.parse(data)) == data
    jsonschema.Draft202012Validator(manifest_schema(version)).validate(json.loads(data))


def test_schema_of_the_older_version_is_frozen() -> None:
    """schemas/manifest-1.0.schema.json is what the typed form gives for 1.0."""
    committed = (REPOSITORY / "schemas/manifest-1.0.schema.json").read_bytes()
    assert committed == strict_json.dumps(manifest_schema(m.FIRST_FORMAT))


def test_older_version_has_no_later_field() -> None:
    """A manifest of 1.0 with any field that came later is refused, at its place; so is a later one without it."""
    older, later = m.to_plain(_older()), m.to_plain(example_manifest())
    for plain, version in ((later, m.FIRST_FORMAT), (older, m.FORMAT)):
        changed = plain | {"format": version}
        if set(_places(older)) == set(_places(later)):
            pytest.skip("the present draft has no field of its own yet")
        with pytest.raises(MalformedError) as refused:
            m.parse(strict_json.dumps(changed))
        assert refused.value.code == "manifest.schema"
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(manifest_schema(version)).validate(changed)


def _places(value: object, path: str = "$") -> list[str]:
    if isinstance(value, dict):
        return [path, *(place for name, item in value.items() for place in _places(item, f"{path}.{name}"))]
    if isinstance(value, list):
        return [place for number, item in enumerate(value) for place in _places(item, f"{path}[{number}]")]
    return [path]


def test_older_bundle_is_scored_with_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, the scores, and one line that names every guard that the bundle lacks."""
    features = BASE.parent / "features.parquet"
    arguments = [str(BASE), "--allow-unsigned", "--features", str(features), "--date", "2024-01-03"]
    assert main(["score", *arguments]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(lines) == 1
    assert all(guard in lines[0] for guard in guards.SINCE_1_1)
    assert main(["score", *arguments, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["result"]["warnings"]) == 1


def test_present_bundle_has_no_such_warning(tmp_path: Path) -> None:
    """A bundle of the present version lacks no guard."""
    from vectors import harness

    harness.prepare(DRAFT, tmp_path / "vector")
    bundle = alphaseal.open(tmp_path / "vector/bundle", trust=alphaseal.Trust.unsigned())
    assert bundle.warnings == ()


def test_trust_init_asks_for_a_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`trust init --lowest-format` writes a file of the later version; without it the file is one that 1.0 readers read."""
    plain, asking = tmp_path / "plain.json", tmp_path / "asking.json"
    assert main(["trust", "init", str(plain), "--any-bundle"]) == 0
    assert main(["trust", "init", str(asking), "--any-bundle", "--lowest-format", m.FORMAT]) == 0
    assert "lowest_format" not in json.loads(plain.read_bytes())
    assert trust_file.load(asking).lowest_format == m.FORMAT
    assert f"bundles of format {m.FORMAT} or later" in capsys.readouterr().out
