"""`alphaseal-convert validate`: every problem, each at its JSON path."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alphaseal.disk import tree
from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from alphaseal.trust import policy as trust_file
from alphaseal_converter.bundle.validate import examine
from alphaseal_converter.cli import main
from bundles import factor_plain_bundle
from manifests import example_manifest
from signed import known, policy, signed_bundle


def written(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The example manifest with a change, in the one byte form."""
    value = json.loads(m.encode(example_manifest()))
    change(value)
    path.write_bytes(strict_json.dumps(value))
    return path


def places(path: Path) -> dict[str, str]:
    """JSON path -> code of each problem of a file."""
    return {str(error.where).split(" at ")[-1]: error.code for error in examine(path)}


def test_every_wrong_place_is_named(tmp_path: Path) -> None:
    """Several mistakes at once are several problems, each at its own JSON path."""

    def change(value: dict[str, Any]) -> None:
        value["features"][1]["dtype"] = "float16"
        value["features"][2]["look_back"] = -1
        value["source"]["snapshot"]["sha256"] = "x"
        value["stages"][0]["file"] = "../model.onnx"
        value["surprise"] = 1
        del value["label"]

    found = places(written(tmp_path / "manifest.json", change))
    assert set(found.values()) == {"manifest.schema"}
    assert {"$.features[1].dtype", "$.features[2].look_back", "$.stages[0].file", "$"} <= set(found)
    assert "$.source.snapshot.sha256" in found
    problems = [error.message for error in examine(tmp_path / "manifest.json")]
    assert any("'surprise'" in message for message in problems)
    assert any("'label'" in message for message in problems)


def test_places_are_in_the_order_of_the_document(tmp_path: Path) -> None:
    """Place 2 comes before place 10 of a list."""

    def change(value: dict[str, Any]) -> None:
        value["files"] = [dict(value["files"][0], size=-1) for _ in range(12)]

    paths = list(places(written(tmp_path / "manifest.json", change)))
    assert paths == [f"$.files[{number}].size" for number in range(12)]


def test_many_problems_are_counted(tmp_path: Path) -> None:
    """A hundred places are named, and how many more there are."""

    def change(value: dict[str, Any]) -> None:
        value["files"] = [dict(value["files"][0], size=-1) for _ in range(130)]

    problems = examine(written(tmp_path / "manifest.json", change))
    assert len(problems) == 101
    assert problems[-1].message.startswith("30 more")


def test_rules_between_fields_are_checked_too(tmp_path: Path) -> None:
    """What a schema cannot say is said by the reader: ready with a reason."""
    path = written(tmp_path / "manifest.json", lambda value: value["eligibility"].update(ready=False, reasons=[]))
    assert [error.code for error in examine(path)] == ["manifest.eligibility"]


def test_what_is_no_json_is_one_problem(tmp_path: Path) -> None:
    """A file cut off in the middle is told with its line."""
    path = tmp_path / "manifest.json"
    path.write_bytes(m.encode(example_manifest())[:500])
    (problem,) = examine(path)
    assert problem.code == "json.syntax"
    assert "line" in str(problem.where)


@pytest.mark.parametrize("text", ["{}", "[]", "1", '{"name": "x", "version": "1", "files": []}'])
def test_what_is_no_document_of_ours_is_one_problem(tmp_path: Path, text: str) -> None:
    """Not every field of a manifest that it lacks."""
    (tmp_path / "package.json").write_text(text, encoding="utf-8")
    (problem,) = examine(tmp_path / "package.json")
    assert (problem.code, problem.exit, problem.message) == ("manifest.schema", 10, "no document of alphaseal")


def test_trust_files_and_envelopes_are_judged_by_their_own_schema(tmp_path: Path) -> None:
    """Each kind of document is known by a field of its own."""
    trust = tmp_path / "trust.json"
    trust.write_bytes(trust_file.encode(policy(known("ci"))))
    bundle = signed_bundle(tmp_path / "bundle", "ci")
    assert examine(trust) == examine(bundle / tree.ENVELOPE_NAME) == []
    value = json.loads(trust.read_bytes())
    value["keys"][0]["role"] = "A role"
    value["thresholds"]["ci"] = 0
    trust.write_bytes(strict_json.dumps(value))
    assert places(trust) == {"$.keys[0].role": "trust.schema", "$.thresholds.ci": "trust.schema"}
    value = json.loads((bundle / tree.ENVELOPE_NAME).read_bytes())
    value["signatures"][0]["sig"] = "short"
    (bundle / tree.ENVELOPE_NAME).write_bytes(strict_json.dumps(value))
    assert places(bundle / tree.ENVELOPE_NAME) == {"$.signatures[0].sig": "envelope.schema"}


def test_whole_bundle_is_valid(tmp_path: Path) -> None:
    """A signed bundle as it was written has no problem."""
    assert examine(signed_bundle(tmp_path / "bundle", "ci")) == []


def test_whole_bundle_is_examined_to_its_end(tmp_path: Path) -> None:
    """Other bytes in two files, one file too many and another manifest in the envelope are four problems."""
    bundle = signed_bundle(tmp_path / "bundle", "ci")
    other = signed_bundle(tmp_path / "other", "ci", sequence=9)
    shutil.copyfile(other / tree.ENVELOPE_NAME, bundle / tree.ENVELOPE_NAME)
    (bundle / "extra.txt").write_text("x", encoding="utf-8")
    (bundle / "card.html").write_bytes((bundle / "card.html").read_bytes() + b"x")
    model = bytearray((bundle / "model.onnx").read_bytes())
    model[100] ^= 1
    (bundle / "model.onnx").write_bytes(bytes(model))
    problems = examine(bundle)
    assert [error.code for error in problems] == ["envelope.payload", "tree.extra", "file.size", "file.digest"]
    files = [entry.path for entry in m.parse((bundle / m.FILE_NAME).read_bytes()).files]
    assert str(problems[2].where).endswith(f"card.html, manifest.json at $.files[{files.index('card.html')}]")
    assert str(problems[3].where).endswith(f"model.onnx, manifest.json at $.files[{files.index('model.onnx')}]")


def test_graph_and_tables_go_through_their_gates(tmp_path: Path) -> None:
    """A graph that the format does not allow is a problem, though its digest is that of the manifest."""
    bundle = tmp_path / "bundle"
    shutil.copytree(factor_plain_bundle(), bundle)
    plain = json.loads((bundle / m.FILE_NAME).read_bytes())
    entry = next(file for file in plain["files"] if file["path"] == "model.onnx")
    data = b"not a graph"
    (bundle / "model.onnx").write_bytes(data)
    entry |= {"size": len(data), "sha256": m.digest(data)}
    (bundle / m.FILE_NAME).write_bytes(strict_json.dumps(plain))
    (problem,) = examine(bundle)
    assert problem.exit == 17


def test_command_tells_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Valid ones on standard output, a line of error for every problem, and the exit status of the first."""
    good = written(tmp_path / "good.json", lambda value: None)
    bad = written(tmp_path / "bad.json", lambda value: value.update(name="No Name", sequence=-1))
    assert main(["validate", str(good), str(bad), str(tmp_path / "gone.json")]) == 10
    out, err = capsys.readouterr()
    assert out == f"valid: {good}\n"
    assert [line.split("]")[0] for line in err.splitlines()] == [
        "error [manifest.schema",
        "error [manifest.schema",
        "error [manifest.not_readable",
    ]
    assert main(["validate", str(good), str(bad), "--json"]) == 10
    reply = json.loads(capsys.readouterr().out)
    assert (reply["ok"], reply["code"], reply["exit"]) == (False, "manifest.schema", 10)
    assert reply["result"]["valid"] == [str(good)]
    assert {problem["where"].split(" at ")[1] for problem in reply["result"]["problems"]} == {"$.name", "$.sequence"}
    assert main(["validate", str(good), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == {"valid": [str(good)], "problems": []}
