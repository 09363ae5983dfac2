"""`alphaseal doctor`: what it asks for is what the project asks for, and what it finds is true."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from alphaseal import cli, doctor, trust_file
from alphaseal.cli import main
from alphaseal_converter import doctor as converter_doctor
from alphaseal_converter.cli import main as convert
from bundles import FACTOR_PLAIN, factor_plain_bundle
from graphs import run_graph
from locations import DATA, REPOSITORY
from signed import known, policy, signed_bundle

if sys.version_info >= (3, 11):
    import tomllib


def checks(
    arguments: list[str], capsys: pytest.CaptureFixture[str], command: object = main
) -> dict[str, dict[str, object]]:
    """Name -> what one run found of it; its exit status is that of its object."""
    capsys.readouterr()
    status = command(["doctor", *arguments, "--json"])  # type: ignore[operator]
    reply = json.loads(capsys.readouterr().out)
    assert reply["exit"] == status
    assert reply["ok"] is (status == 0)
    return {check["name"]: check | {"exit": status} for check in reply["result"]["checks"]}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib")
def test_oldest_versions_are_those_of_the_distributions() -> None:
    """doctor asks for what both pyproject files ask for."""
    asked: dict[str, str] = {}
    for part in ("runtime", "converter"):
        project = tomllib.loads((REPOSITORY / part / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
        for line in (*project["dependencies"], *extras):
            requirement, _, marker = line.partition(";")
            name, _, version = requirement.strip().partition(">=")
            if version and "< '3.11'" not in marker:
                asked[name] = version
    told = doctor.LIBRARIES | converter_doctor.LIBRARIES
    told |= {name: oldest for name, (oldest, _, _) in converter_doctor.EXTRAS.items()}
    assert {name: version for name, version in asked.items() if name in told} == told
    assert set(doctor.LIBRARIES) <= set(asked)


def test_graph_of_the_trial_is_what_it_says() -> None:
    """The bytes are a graph of the format that doubles its input."""
    onnx.checker.check_model(onnx.load_from_string(doctor.GRAPH))
    assert run_graph(doctor.GRAPH, np.array([[0.25], [-4.0]])).tolist() == [0.5, -8.0]


def test_good_machine_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """Here everything is well: exit 0, and every library with its version."""
    found = checks([], capsys)
    assert all(check["ok"] and check["exit"] == 0 for check in found.values())
    assert {"python", "processor", "onnx graph", *doctor.LIBRARIES} <= set(found)
    assert np.__version__ in str(found["numpy"]["found"])
    assert main(["doctor"]) == 0
    assert all(line.startswith("ok ") for line in capsys.readouterr().out.splitlines())


def test_versions_are_compared_as_numbers() -> None:
    """1.9 is older than 1.27, and what follows the release does not count."""
    assert doctor.numbers("1.9") < doctor.numbers("1.27") < doctor.numbers("2.13.0+cpu") == (2, 13, 0)
    assert doctor.numbers("1.27.0rc1") == (1, 27, 0)


def test_old_and_missing_libraries_are_found() -> None:
    """Too old and not there are findings with the version asked for and the next step."""
    old = doctor.library("numpy", "999", "pip install numpy")
    assert old.error is not None
    assert (old.ok, old.error.code, old.error.exit) == (False, "doctor.library", 3)
    assert (old.error.expected, old.error.found) == ("999 or later", np.__version__)
    missing = doctor.library("no-such-distribution", "1", "pip install it")
    assert missing.error is not None
    assert (missing.error.found, missing.error.next_step) == (None, "pip install it")


def test_trust_store_and_bundle_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trust file with its keys, a store with what is in force, a bundle down to its golden rows."""
    trust, store = tmp_path / "trust.json", tmp_path / "store"
    trust.write_bytes(trust_file.encode(policy(known("ci"))))
    bundle = signed_bundle(tmp_path / "bundle", "ci")
    assert main(["install", str(bundle), "--store", str(store), "--trust", str(trust)]) == 0
    found = checks([str(bundle), "--trust", str(trust), "--store", str(store)], capsys)
    assert found["trust file"]["found"] == "1 keys; any bundle"
    assert found["store"]["found"] == "in force: demo 1"
    assert "golden rows right, accepted by the trust file" in str(found["bundle"]["found"])


def test_findings_end_with_their_own_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle that was changed ends as verify would; a trust file that is not there with 3."""
    bundle = tmp_path / "bundle"
    shutil.copytree(factor_plain_bundle(), bundle)
    (bundle / "card.html").write_text("x", encoding="utf-8")
    found = checks([str(bundle)], capsys)
    assert (found["bundle"]["ok"], found["bundle"]["code"], found["bundle"]["exit"]) == (False, "file.size", 11)
    found = checks(["--trust", str(tmp_path / "none.json")], capsys)
    assert (found["trust file"]["code"], found["trust file"]["exit"]) == ("trust.not_readable", 3)
    assert main(["doctor", str(bundle)]) == 11
    out, err = capsys.readouterr()
    assert "NOT bundle" in out
    assert err.startswith("error [file.size]: ")


def test_version_names_format_and_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` of both commands: the command, the format, and the libraries that are installed."""
    for command, names in ((main, ["onnxruntime"]), (convert, ["onnxruntime", "onnx", "lightgbm"])):
        with pytest.raises(SystemExit) as caught:
            command(["--version"])
        assert caught.value.code == 0
        out = capsys.readouterr().out
        assert "bundle format 1.0" in out
        assert f"numpy {np.__version__}" in out
        assert all(f"{name} " in out for name in names)


def test_every_verb_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` of every verb works, whatever modules it asks for."""
    for verb in cli._VERBS:
        with pytest.raises(SystemExit) as caught:
            main([verb, "--help"])
        assert caught.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_converters_doctor_reads_weights_and_task(capsys: pytest.CaptureFixture[str]) -> None:
    """A weights file with its family and inputs, a task with its anchor; nothing is written."""
    weights = next((DATA / "direct/lgb_nested_loader").rglob("params.pkl"))
    found = checks([str(weights)], capsys, convert)
    assert str(found["model file"]["found"]).startswith("lightgbm (qlib.contrib.model.gbdt.LGBModel), 24 features")
    assert "isolation" in found
    found = checks([str(FACTOR_PLAIN)], capsys, convert)
    assert "3 experiments, 2 accepted, anchor history 2 (factor)" in str(found["task"]["found"])


def test_converters_doctor_says_why_a_file_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recorded predictions are no model: 20, and the message names what it is instead of every class there is."""
    predictions = next((DATA / "direct/lgb_nested_loader").rglob("pred.pkl"))
    assert convert(["doctor", str(predictions)]) == 20
    error = capsys.readouterr().err
    assert "the file holds no model that is known: pandas" in error
    assert "qlib.contrib.model.gbdt.LGBModel" not in error
    (tmp_path / "broken.pkl").write_bytes(b"\x80\x04garbage")
    found = checks([str(tmp_path / "broken.pkl")], capsys, convert)
    assert str(found["model file"]["code"]).startswith("pickle.")
    assert found["model file"]["exit"] == 20
