"""The replay program and its parent: raw features as qlib gives them, and nothing else out of a task configuration.

The tests with qlib need ALPHASEAL_RESEARCH_PYTHON, the interpreter of a research environment; the others do not.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphaseal_converter.cli import main as convert
from alphaseal_converter.decode.frames import as_plain
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles import read_pickle
from alphaseal_converter.programs.replay import Places, Refusal, check_expression
from alphaseal_converter.proof.qlib_replay import ReplayRequest, run_replay
from locations import DATA

RESEARCH = os.environ.get("ALPHASEAL_RESEARCH_PYTHON")
needs_qlib = pytest.mark.skipif(not RESEARCH, reason="ALPHASEAL_RESEARCH_PYTHON names no Python with qlib")
ORDERED, NESTED, ALPHA158 = (
    "direct/lgb_ordered_loader/truth",
    "factor_plain/truth/hist2_factor",
    "direct/lgb_alpha158_filter/truth",
)


class Case:
    """One run of tests/data with what is known to be true of it."""

    def __init__(self, name: str) -> None:
        folder = DATA / name
        self.truth: dict[str, Any] = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        self.workspace = (folder / self.truth["workspace"]).resolve()
        task = self.workspace / self.truth["artifacts"] / "task"
        self.task: dict[str, Any] = as_plain(read_pickle(task.read_bytes(), where=str(task)).root)
        self.start, self.end = self.truth["segments"]["test"]
        self.features_file = (folder / self.truth["features_file"]).resolve()

    def request(self, out: Path, provider: Path | None, **changed: Any) -> ReplayRequest:
        fields = {"task": self.task, "workspace": self.workspace, "start": self.start, "end": self.end} | changed
        return ReplayRequest(out=out, provider=provider, **fields)

    def loader(self, task: dict[str, Any]) -> dict[str, Any]:
        """The data loader's block inside a copy of the task."""
        return task["dataset"]["kwargs"]["handler"]["kwargs"]["data_loader"]


def loader_order(table: pa.Table) -> list[str]:
    return list(json.loads(table.schema.metadata[b"alphaseal.loader_order"]))


def assert_same_values(table: pa.Table, case: Case) -> None:
    """Rows, dtypes and every bit of the model's features are those that record_truth.py took from the handler."""
    truth = pq.read_table(case.features_file)
    first = np.datetime64(case.start)
    truth = truth.filter(pa.array(truth["datetime"].to_numpy() >= first))
    assert table["instrument"].to_pylist() == truth["instrument"].to_pylist()
    assert np.array_equal(table["datetime"].to_numpy(), truth["datetime"].to_numpy())
    for name in case.truth["model_features"]:
        got, want = table[name].to_numpy(), truth[name].to_numpy()
        assert got.dtype == want.dtype, name
        assert got.tobytes() == want.tobytes(), name


@needs_qlib
@pytest.mark.parametrize("name", [NESTED, ORDERED, ALPHA158])
@pytest.mark.slow
def test_raw_values_are_those_of_the_run_bit_for_bit(name: str, market: Path, tmp_path: Path) -> None:
    """Three kinds of loader: same rows, same order, same dtypes, same bits as in training."""
    case = Case(name)
    table = pq.read_table(run_replay(Path(str(RESEARCH)), case.request(tmp_path / "raw.parquet", market)))
    wanted = case.truth["model_features"]
    assert [column for column in loader_order(table) if column in wanted] == wanted
    assert table.column_names == ["datetime", "instrument", *loader_order(table)]
    assert "qlib" in json.loads(table.schema.metadata[b"alphaseal.versions"])
    assert_same_values(table, case)


@needs_qlib
@pytest.mark.slow
def test_the_forks_loader_is_remade_from_its_arguments(market: Path, tmp_path: Path) -> None:
    """Its class is not there, its parquet has the producer's absolute path: alpha order, then the table's."""
    case = Case(ORDERED)
    task = copy.deepcopy(case.task)
    block = case.loader(task)
    arguments = block["kwargs"]
    block["module_path"] = "rdagent.scenarios.qlib.experiment.custom_loaders"
    block["class"] = "CombinedAlpha158DynamicFactorsLoader"
    block["kwargs"] = {
        "alpha158_config": {"label": arguments["label"], "feature": arguments["feature"]},
        "dynamic_path": "/mnt/f/gone/workspace/combined_factors_df.parquet",
        "join": "left",
    }
    request = case.request(tmp_path / "raw.parquet", market, task=task)
    table = pq.read_table(run_replay(Path(str(RESEARCH)), request))
    assert loader_order(table) == case.truth["model_features"]
    assert_same_values(table, case)


@needs_qlib
@pytest.mark.slow
def test_a_name_in_both_parts_is_refused(market: Path, tmp_path: Path) -> None:
    """Alpha expressions and table with one name: which one the model saw is not guessed, and nothing is written."""
    case = Case(ORDERED)
    task = copy.deepcopy(case.task)
    case.loader(task)["kwargs"]["feature"][1][0] = "REV_3D"
    with pytest.raises(RefusalError, match="REV_3D") as caught:
        run_replay(Path(str(RESEARCH)), case.request(tmp_path / "raw.parquet", market, task=task))
    assert caught.value.code == "replay.duplicate_feature"
    assert list(tmp_path.iterdir()) == []


@needs_qlib
@pytest.mark.slow
def test_a_hostile_task_runs_nothing(market: Path, tmp_path: Path) -> None:
    """Code as an expression, a pickle as a table, a class of anyone's choice: refused before qlib sees them."""
    case, mark = Case(ORDERED), tmp_path / "mark"
    expression, pickled, chosen = (copy.deepcopy(case.task) for _ in range(3))
    case.loader(expression)["kwargs"]["feature"][0][0] = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    case.loader(pickled).update(
        {"class": "StaticDataLoader", "module_path": "qlib.data.dataset.loader", "kwargs": {"config": "combined.pkl"}}
    )
    case.loader(chosen).update({"class": "Path", "module_path": "pathlib", "kwargs": {"x": 1}})
    codes = []
    for task in (expression, pickled, chosen):
        with pytest.raises(RefusalError) as caught:
            run_replay(Path(str(RESEARCH)), case.request(tmp_path / "raw.parquet", market, task=task))
        codes.append(caught.value.code)
    assert codes == ["replay.expression", "replay.static_loader", "replay.loader_unknown"]
    assert list(tmp_path.iterdir()) == []


@needs_qlib
@pytest.mark.slow
def test_workspace_code_runs_only_when_allowed(market: Path, tmp_path: Path) -> None:
    """A loader that cannot be re-made is imported from the workspace with the switch, else refused."""
    case, workspace = Case(ORDERED), tmp_path / "workspace"
    workspace.mkdir()
    for name in ("ordered_loader.py", "combined_factors_df.parquet"):
        (workspace / name).write_bytes((case.workspace / name).read_bytes())
    with (workspace / "ordered_loader.py").open("a", encoding="utf-8") as file:
        file.write("\n\ndef Odd(extra, **arguments):\n    return OrderedFeatureLoader(**arguments)\n")
    task = copy.deepcopy(case.task)
    case.loader(task)["class"] = "Odd"
    case.loader(task)["kwargs"]["extra"] = 1
    request = {"task": task, "workspace": workspace}
    with pytest.raises(RefusalError, match="--run-model-code") as caught:
        run_replay(Path(str(RESEARCH)), case.request(tmp_path / "raw.parquet", market, **request))
    assert caught.value.code == "replay.loader_arguments"
    allowed = case.request(tmp_path / "raw.parquet", market, allow_workspace_code=True, **request)
    assert_same_values(pq.read_table(run_replay(Path(str(RESEARCH)), allowed)), case)
    assert sorted(path.name for path in workspace.iterdir()) == ["combined_factors_df.parquet", "ordered_loader.py"]


@needs_qlib
@pytest.mark.slow
def test_the_commands_prove_the_order_with_qlib(
    market: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`replay` writes a file that can be carried elsewhere, `build --replay-with` asks qlib itself: both are ready."""
    task = (str(DATA / "factor_plain"), "--workspace-root", str(DATA / "factor_plain/workspaces"))
    qlib = ("--replay-with", str(RESEARCH), "--provider", str(market))
    raw, carried, asked = tmp_path / "raw.parquet", tmp_path / "carried", tmp_path / "asked"
    for arguments in (
        ("replay", *task, *qlib, "--out", str(raw)),
        ("build", *task, "--features", str(raw), "--out", str(carried)),
        ("build", *task, *qlib, "--out", str(asked)),
    ):
        assert convert([*arguments, "--json"]) == 0, capsys.readouterr().out
    manifests = [json.loads((bundle / "manifest.json").read_bytes()) for bundle in (carried, asked)]
    assert all(manifest["eligibility"]["ready"] for manifest in manifests)
    replays = [manifest["order"]["replay"] for manifest in manifests]
    assert [replay["values"] for replay in replays] == ["features_file", "qlib"]
    assert all(replay["rows"] == replay["recorded"] == 2369 and replay["largest_ulp"] == 0 for replay in replays)


@needs_qlib
@pytest.mark.slow
def test_the_users_loader_becomes_ready_order(market: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A loader of the workspace that joins expressions with the factor table is re-made, and the order is replayed."""
    arguments = ("build", "--weights", "scan", "--workspace-root", str(DATA / "direct/lgb_ordered_loader"))
    qlib = ("--replay-with", str(RESEARCH), "--provider", str(market))
    assert convert([*arguments, *qlib, "--out", str(tmp_path / "bundle"), "--json"]) == 0, capsys.readouterr().out
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["result"]["order"] == "replayed"


# --- without qlib -----------------------------------------------------------------------------------------------------


def provider(tmp_path: Path) -> Path:
    """A folder that looks like market data from outside."""
    (tmp_path / "data/calendars").mkdir(parents=True)
    return tmp_path / "data"


def test_a_python_without_qlib_is_a_refusal_that_says_so(tmp_path: Path) -> None:
    """The environment of the tests has no qlib: one clear error with the next step, nothing written."""
    case = Case(NESTED)
    with pytest.raises(RefusalError, match="--replay-with") as caught:
        run_replay(Path(sys.executable), case.request(tmp_path / "raw.parquet", provider(tmp_path)))
    assert caught.value.code == "replay.no_qlib"
    assert not (tmp_path / "raw.parquet").exists()


def test_market_data_that_is_gone_is_a_refusal(tmp_path: Path) -> None:
    """The path in the configuration is the producer's: the error names it and --provider."""
    (tmp_path / "conf.yaml").write_text("qlib_init:\n    provider_uri: /gone/qlib_bin\n", encoding="utf-8")
    request = Case(NESTED).request(tmp_path / "raw.parquet", None, workspace=tmp_path)
    with pytest.raises(RefusalError, match=r"/gone/qlib_bin.*--provider") as caught:
        run_replay(Path(sys.executable), request)
    assert caught.value.code == "replay.provider"


def test_a_python_that_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    """A wrong --replay-with is the user's to correct."""
    with pytest.raises(RefusalError) as caught:
        run_replay(tmp_path / "python", Case(NESTED).request(tmp_path / "raw.parquet", None))
    assert caught.value.code == "replay.python"


def test_a_program_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """The time limit holds."""
    with pytest.raises(RefusalError) as caught:
        run_replay(Path(sys.executable), Case(NESTED).request(tmp_path / "raw.parquet", None), seconds=0.001)
    assert caught.value.code == "replay.timeout"


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_the_child_sees_a_clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No PYTHONPATH, no home of the user; a death without an answer is told with its last words."""
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("SECRET", "value")
    seen = tmp_path / "seen"
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\nenv > {seen}\necho first >&2\necho last words >&2\nexit 3\n", encoding="utf-8")
    stand_in.chmod(0o755)
    with pytest.raises(RefusalError, match="last words") as caught:
        run_replay(stand_in, Case(NESTED).request(tmp_path / "raw.parquet", None))
    assert caught.value.code == "replay.failed"
    names = {line.split("=")[0] for line in seen.read_text(encoding="utf-8").splitlines()}
    assert names <= {"PATH", "HOME", "USERPROFILE", "TMPDIR", "TEMP", "LANG", "PWD", "SHLVL", "_", "OLDPWD"}


def test_a_task_that_is_not_plain_is_refused(tmp_path: Path) -> None:
    """Objects in the configuration cannot be handed over, and are not guessed at."""
    request = ReplayRequest(task={"dataset": object()}, workspace=tmp_path, out=tmp_path / "raw.parquet")
    with pytest.raises(RefusalError) as caught:
        run_replay(Path(sys.executable), request)
    assert caught.value.code == "replay.task_not_plain"


def expressions_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in expressions_of(part)]
    if isinstance(value, list | tuple):
        return [text for part in value for text in expressions_of(part)]
    return [value] if isinstance(value, str) and "$" in value else []


OPERATORS = frozenset({"Resi", "Std", "Abs", "Ref", "Mean", "Rsquare", "Corr", "Log", "Less", "If", "ChangeInstrument"})


def test_real_expressions_pass() -> None:
    """Every expression of the real configurations, and the other forms that qlib knows."""
    real = expressions_of(Case(NESTED).task)
    assert len(real) == 21
    others = [
        "If($close>Ref($close,1), $volume, 0)",
        "-($close)/$$roe_q",
        "Mean($close, 5) & ($open >= 2)",
        "ChangeInstrument('SH000300', $close)",
    ]
    for expression in real + others:
        check_expression(expression, OPERATORS)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')", "$close.__class__", "Ref.__init__($close)", "[x for x in (1,)]", "lambda: 1",
        "Operators", "open", "eval('1')", "$close if 1 else $open", "(Ref)($close, 1)($open)", "f'{1}'", "'a b'", "{}",
        "register($close)", "Ref(*[$close])", "$close, $open", "", "Mean($close", "(" * 500 + "1" + ")" * 500, 5, None,
    ],
)  # fmt: skip
def test_anything_else_is_not_an_expression(expression: Any) -> None:
    """qlib passes expressions to eval: attributes, names, comprehensions, unknown calls and the like end here."""
    with pytest.raises(Refusal):
        check_expression(expression, OPERATORS)


def test_a_table_is_found_below_the_workspace_through_the_map_and_by_name(tmp_path: Path) -> None:
    """Relative, mapped, and absolute of another machine; the mapped one goes before the one of that name."""
    workspace, moved = tmp_path / "workspace", tmp_path / "moved"
    for folder in (workspace, moved):
        folder.mkdir()
        (folder / "t.parquet").write_bytes(b"")
    places = Places(workspace, [["F:\\runs", str(moved)]])
    assert places.parquet("t.parquet") == workspace / "t.parquet"
    assert places.parquet("F:\\runs\\t.parquet") == moved / "t.parquet"
    assert places.parquet("/mnt/f/runs/x/t.parquet") == workspace / "t.parquet"
    assert places.parquet("F:\\runs2\\t.parquet") == workspace / "t.parquet"
    with pytest.raises(Refusal, match=r"gone\.parquet"):
        places.parquet("gone.parquet")


def test_market_data_come_from_the_workspaces_yaml_through_the_map(tmp_path: Path) -> None:
    """The configuration may be an unrendered template; two different answers are refused."""
    data = provider(tmp_path)
    (tmp_path / "a.yaml").write_text(
        'qlib_init:\n    provider_uri: "/gone/data"  # note\n    {% if x %}\n', encoding="utf-8"
    )
    places = Places(tmp_path, [["/gone", str(tmp_path)]])
    assert places.provider(None) == data
    (tmp_path / "more/calendars").mkdir(parents=True)
    (tmp_path / "b.yaml").write_text("    provider_uri: /gone/more\n", encoding="utf-8")
    with pytest.raises(Refusal, match="several"):
        places.provider(None)
    assert places.provider(str(data)) == data
