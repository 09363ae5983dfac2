"""The vectors: the runtime says of each what the vector says, and they are what their script writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alphaseal.cli import main
from alphaseal.plain_text import printable, printable_json
from locations import REPOSITORY
from vectors import harness

ROOT = REPOSITORY / "tests/vectors"
VECTORS = harness.find(ROOT / "v1")
COMMAND = [sys.executable, "-m", "alphaseal"]
SPECIFICATION = (REPOSITORY / "spec/bundle-v1.md").read_text(encoding="utf-8")
BY_CALL_ONLY = {"features.damaged", "features.not_a_table", "features.shape", "instrument.bad_pattern"}
"""Codes of Python calls: no file leads to them, since the manifest fixes the patterns and a path names a table."""
OF_THE_STORE = {
    "store.digest",
    "store.name",
    "store.rolled_back",
    "store.schema",
    "store.sequence",
    "store.sequence_reused",
    "store.signatures",
    "store.version",
}
"""Codes of install and rollback, whose state no vector has; tests/runtime/test_store.py."""


@pytest.mark.parametrize("vector", VECTORS, ids=lambda path: path.name)
def test_vector(
    vector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with the vector's exit status and code."""
    try:
        value = harness.prepare(vector, tmp_path / "vector")
    except (OSError, NotImplementedError) as error:
        pytest.skip(f"cannot be set up on this system: {error}")
    monkeypatch.chdir(tmp_path / "vector")
    if "exchange" in value:
        _exchange_when_opened(value, tmp_path / "vector", monkeypatch)
    status = main([value["verb"], *value["arguments"], "--json"])
    captured = capsys.readouterr()
    assert harness.difference(value, status, captured.out, captured.err) is None
    if "result" in value:
        found = json.loads(captured.out)["result"]
        assert {name: found[name] for name in value["result"]} == value["result"]


def _exchange_when_opened(value: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the vector says of a file happens when it was opened, by whatever way the runtime opens files."""
    waiting = {step["path"] for step in value["exchange"]}
    original = os.open

    def opened(path: Any, *arguments: Any, **options: Any) -> int:
        descriptor = original(path, *arguments, **options)
        name = os.path.relpath(os.path.realpath(os.fspath(path)), os.path.realpath(root)) if waiting else ""
        if name in waiting:
            waiting.remove(name)
            harness.exchange(value, root, name)
        return descriptor

    monkeypatch.setattr(os, "open", opened)


@pytest.mark.parametrize(
    "vector", [vector for vector in VECTORS if "exchange" not in harness.read(vector)][::50], ids=lambda path: path.name
)
def test_vector_through_the_command(vector: Path) -> None:
    """A sample through the real command, as another verifier would be run."""
    assert harness.run(COMMAND, vector) == ("ok", "")


SESSIONS = harness.find(ROOT / "sessions")


@pytest.mark.attack("sessions: a signature that is not the key's")
@pytest.mark.parametrize("vector", SESSIONS, ids=lambda path: path.name)
def test_session_vector(
    vector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The converter says of each session what its vector says, and which snapshot counts."""
    from alphaseal_converter.cli import main as convert

    value = harness.prepare(vector, tmp_path / "vector")
    monkeypatch.chdir(tmp_path / "vector")
    for name, text in value["environment"].items():
        if text is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, text)
    status = convert([value["verb"], *value["arguments"], "--json"])
    captured = capsys.readouterr()
    assert harness.difference(value, status, captured.out, captured.err) is None


def test_session_vectors_through_the_command() -> None:
    """A sample through the real command, in a process of its own with the vector's environment."""
    command = [sys.executable, "-m", "alphaseal_converter"]
    assert [harness.run(command, vector) for vector in SESSIONS[::12]] == [("ok", "")] * len(SESSIONS[::12])


def test_form_of_the_session_vectors() -> None:
    """Both outcomes of every kind of key, and names, READMEs and codes that agree with each other."""
    values = {vector: harness.read(vector) for vector in SESSIONS}
    assert {value["code"] for value in values.values()} == {
        "ok",
        *(f"session.{code}" for code in ("not_signed", "wrong_key", "unreadable", "short_key")),
    }
    for vector, value in values.items():
        assert vector.name.endswith("_fail") == (value["exit"] == 20) == (value["code"] != "ok")
        assert set(value) - {"result"} == {"verb", "arguments", "environment", "exit", "code"}
        assert re.fullmatch(r"Session: [^\n]+\.\n", (vector / "README.md").read_text(encoding="utf-8")), vector.name


def test_printed_texts() -> None:
    """Each text of the file is printed as the file says, and as JSON it is that string."""
    value = json.loads((ROOT / "printed_texts.json").read_bytes())
    for entry in value["printed"]:
        assert printable([entry["text"]]) == entry["line"], entry["name"]
    for entry in value["json"]:
        assert printable_json(json.dumps(entry["text"])) == entry["string"], entry["name"]
        assert json.loads(entry["string"]) == entry["text"]


def test_harness_tells_a_verifier_that_accepts_everything() -> None:
    """A command that always says ok differs, and so does one that says nothing; the status tells."""
    script = ROOT / "harness.py"
    vector = ROOT / "v1/json_bom_fail"
    for program, why in (
        ('print(\'{"code": "ok"}\')', "exit 0 ok"),
        ("raise SystemExit(10)", "no JSON object"),
        ("1/0", "traceback"),
    ):
        command = f"{sys.executable} -c {json.dumps(program)}"
        done = subprocess.run(
            [sys.executable, str(script), "--command", command, str(vector)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert why in done.stdout


def test_vectors_are_what_the_script_writes(tmp_path: Path) -> None:
    """The committed files are those of tools/make_vectors.py, byte for byte."""
    script = REPOSITORY / "tools/make_vectors.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "v1")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert _contents(tmp_path / "v1") == _contents(ROOT / "v1")
    assert _contents(tmp_path / "sessions") == _contents(ROOT / "sessions")
    assert (tmp_path / "printed_texts.json").read_bytes() == (ROOT / "printed_texts.json").read_bytes()


def test_every_stored_table_is_used() -> None:
    """No parquet file is kept that no vector holds."""
    used = {data for path, data in _contents(ROOT / "v1").items() if path.endswith(".parquet")}
    assert [path.name for path in sorted((ROOT / "tables").iterdir()) if path.read_bytes() not in used] == []


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_numbers_and_form_of_the_vectors() -> None:
    """At least 150 to refuse and 15 to accept; names say which; each has a README of one line; under 10 kB each on average."""
    values = {vector: harness.read(vector) for vector in VECTORS}
    refused = [vector for vector, value in values.items() if value["exit"] != 0]
    assert len(refused) >= 150
    assert len(VECTORS) - len(refused) >= 15
    for vector, value in values.items():
        assert set(value) - {"setup", "exchange", "result"} == {"verb", "arguments", "exit", "code"}
        assert value["verb"] in ("verify", "selftest", "score")
        assert vector.name.endswith("_fail") == (value["exit"] != 0) == (value["code"] != "ok")
        text = (vector / "README.md").read_text(encoding="utf-8")
        assert re.fullmatch(r"(V[1-9]|Input|Trust file|Key file): [^\n]+\.\n", text), vector.name
        assert not any(argument.startswith("/") or ".." in argument for argument in value["arguments"])
    size = sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert size < 10_000 * len(VECTORS)


def test_every_step_has_vectors() -> None:
    """Each verification step refuses some vector."""
    texts = [(vector / "README.md").read_text(encoding="utf-8") for vector in VECTORS if vector.name.endswith("_fail")]
    assert {text.split(":")[0] for text in texts} >= {f"V{number}" for number in range(1, 10)}


def test_every_code_has_a_vector() -> None:
    """Each code of the specification with an exit status from 10 to 19 that files can lead to; exit and code agree."""
    table = SPECIFICATION.split("<!-- error codes: begin -->")[1].split("<!-- error codes: end -->")[0]
    listed = {code: int(exit_) for code, exit_ in re.findall(r"^\| `([a-z_.0-9]+)` \| (\d+) \|", table, re.MULTILINE)}
    vectors = [harness.read(vector) for vector in VECTORS]
    found = {value["code"]: value["exit"] for value in vectors if value["exit"] != 0}
    assert found == {code: listed.get(code) for code in found}
    assert {code for code, status in listed.items() if 10 <= status <= 19} - set(found) == BY_CALL_ONLY | OF_THE_STORE
