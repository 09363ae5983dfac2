"""`alphaseal doctor`: what it asks for is what the project asks for, and what it finds is true."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from packaging.requirements import Requirement

from alphaseal.cli import command, main
from alphaseal.desk import doctor
from alphaseal.format.manifest import FORMAT
from alphaseal.trust import policy as trust_file
from alphaseal_converter.cli import doctor as converter_doctor
from alphaseal_converter.cli import main as convert
from bundles import FACTOR_PLAIN, factor_plain_bundle
from graphs import run_graph
from locations import DATA, REPOSITORY
from signed import known, policy, signed_bundle

tomllib: Any = importlib.import_module("tomllib") if sys.version_info >= (3, 11) else None


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


@pytest.mark.case("floor of pyarrow")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib")
def test_oldest_versions_are_those_of_the_distributions() -> None:
    """doctor asks for what both pyproject files ask for on the Python that runs, and says a word on all of it."""
    asked: dict[str, str] = {}
    for part in ("runtime", "converter"):
        project = tomllib.loads((REPOSITORY / part / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
        for requirement in map(Requirement, (*project["dependencies"], *extras)):
            if requirement.marker is None or requirement.marker.evaluate():
                asked.setdefault(requirement.name, str(requirement.specifier).removeprefix(">="))
    told = doctor.LIBRARIES | converter_doctor.LIBRARIES
    told |= {name: oldest for name, (oldest, _, _) in converter_doctor.EXTRAS.items()}
    assert {name: version for name, version in asked.items() if name in told} == told
    assert set(doctor.LIBRARIES) <= set(asked)


@pytest.mark.case("floors of numpy")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib")
@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize("part", ["runtime", "converter"])
def test_every_python_has_one_floor_for_each_library(part: str, python: str) -> None:
    """Whatever the Python, each dependency has exactly one floor, and none that has no wheels for it (numpy, pyarrow, onnx)."""
    project = tomllib.loads((REPOSITORY / part / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    floors: dict[str, str] = {}
    for requirement in map(Requirement, project["dependencies"]):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            assert requirement.name not in floors
            floors[requirement.name] = str(requirement.specifier)
    numpy = {"3.12": ">=1.26", "3.13": ">=2.1"}.get(python, ">=1.24")
    assert floors["numpy"] == numpy
    if part == "runtime":
        assert floors["pyarrow"] == (">=18" if python == "3.13" else ">=15")
        assert set(floors) == {"numpy", "onnxruntime", "pyarrow", "cryptography", "msgspec"}
    else:
        assert floors["onnx"] == (">=1.18" if python == "3.13" else ">=1.16")


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


BROKEN = {
    "raises": "raise ImportError('libgone.so.1: cannot open shared object file')",
    "crashes": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "another fault": "raise RuntimeError('module compiled against another ABI')",
}
SAID = {"raises": "libgone.so.1", "crashes": "signal 11", "another fault": "another ABI"}


def run_broken(
    place: Path, modules: dict[str, str], command: str, *arguments: str
) -> tuple[int, dict[str, dict[str, object]], str]:
    """(exit status, checks, standard error) of doctor in a process in which modules are broken as BROKEN says."""
    for module, how in modules.items():
        (place / module).mkdir()
        (place / module / "__init__.py").write_text(BROKEN[how], encoding="utf-8")
    sources = [str(place), *(str(REPOSITORY / part / "src") for part in ("runtime", "converter"))]
    done = subprocess.run(
        [sys.executable, "-m", command, "doctor", *arguments, "--json"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sources)},
        capture_output=True,
        text=True,
        check=False,
    )
    reply = json.loads(done.stdout)
    return done.returncode, {check["name"]: check for check in reply["result"]["checks"]}, done.stderr


@pytest.mark.case("doctor that dies of what it looks at")
@pytest.mark.skipif(os.name != "posix", reason="a process that ends by a signal")
@pytest.mark.parametrize(
    ("command", "modules"),
    [
        ("alphaseal", {"msgspec": "raises"}),
        ("alphaseal", {"numpy": "crashes", "cryptography": "raises"}),
        ("alphaseal", {"pyarrow": "another fault", "onnxruntime": "crashes"}),
        ("alphaseal_converter", {"onnx": "raises", "msgspec": "another fault"}),
    ],
)
def test_each_broken_library_is_a_line_of_its_own(command: str, modules: dict[str, str], tmp_path: Path) -> None:
    """Installed and not loadable, whatever breaks it: named with the reason, exit 3, and doctor goes on to the end."""
    target = factor_plain_bundle() if command == "alphaseal" else DATA / "lightgbm/3.3.5.pkl"
    status, found, errors = run_broken(tmp_path, modules, command, str(target))
    assert status == 3
    assert errors == ""
    for module, how in modules.items():
        check = found[module]
        assert (check["ok"], check["code"]) == (False, "doctor.library")
        assert SAID[how] in str(check["message"])
        assert f"--force-reinstall {module}" in str(check["next"])
    sound = set(found) - set(modules)
    assert {"python", "processor", "onnx graph"} <= sound
    # What needs no broken library is well all the same.
    alone = {"jsonschema", "cryptography", "msgspec"} & sound
    assert alone
    assert all(found[name]["ok"] for name in alone)
    broken = [name for name, check in found.items() if not check["ok"]]
    for rest in {"onnx graph", "bundle", "model file"} & set(found):
        assert str(found[rest]["found"]).startswith("not looked at without "), broken


def test_what_breaks_while_it_is_looked_at_is_a_finding() -> None:
    """An exception of any kind becomes a line with a next step, never the end of doctor."""

    def broken() -> str:
        raise AttributeError("module 'x' has no attribute 'y'\nsecond line")

    check = doctor.attempt("bundle", broken)
    assert check.error is not None
    assert (check.ok, check.error.code, check.error.exit) == (False, "doctor.failed", 3)
    assert "AttributeError: module 'x' has no attribute 'y' second line" in check.found
    assert check.error.next_step


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
    for run, names in ((main, ["onnxruntime"]), (convert, ["onnxruntime", "onnx", "lightgbm"])):
        with pytest.raises(SystemExit) as caught:
            run(["--version"])
        assert caught.value.code == 0
        out = capsys.readouterr().out
        assert f"bundle format {FORMAT}" in out
        assert f"numpy {np.__version__}" in out
        assert all(f"{name} " in out for name in names)


def test_every_verb_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` of every verb works, whatever modules it asks for."""
    for verb in command.COMMAND.verbs:
        with pytest.raises(SystemExit) as caught:
            main([verb, "--help"])
        assert caught.value.code == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.slow
def test_converters_doctor_reads_weights_and_task(capsys: pytest.CaptureFixture[str]) -> None:
    """A weights file with its family and inputs, a task with its anchor; nothing is written."""
    weights = next((DATA / "direct/lgb_nested_loader").rglob("params.pkl"))
    found = checks([str(weights)], capsys, convert)
    assert str(found["model file"]["found"]).startswith("lightgbm (qlib.contrib.model.gbdt.LGBModel), 24 features")
    assert "isolation" in found
    found = checks([str(FACTOR_PLAIN)], capsys, convert)
    assert "3 experiments, 2 accepted, anchor history 2 (factor)" in str(found["task"]["found"])


@pytest.mark.slow
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
