"""Reading task directories: real ones against what is known of them, and small ones with one thing changed."""

from __future__ import annotations

import codecs
import copy
import hmac
import json
import operator
import shutil
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pandas
import pytest

from alphaseal.errors import NotReadableError
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles.signed import MAGIC
from alphaseal_converter.session.task import Task, find_task_directory, read_task
from converter.sessions import WindowsPath, factor_experiment, feedback, make, real_task, write_snapshot
from locations import FIXTURES

needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the full set of leftovers is not here")
TASKS = ("quant_signed", "factor_plain", "model_plain")


@pytest.fixture(autouse=True)
def no_key_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor the home directory hands the reader a key."""
    monkeypatch.delenv("ARTIFACT_SIGNING_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))


@pytest.fixture(scope="module", params=TASKS)
def real(request: pytest.FixtureRequest) -> tuple[Task, dict[str, Any]]:
    """A real task as read, and what is known of it."""
    if not FIXTURES.is_dir():
        pytest.skip("the full set of leftovers is not here")
    expected = json.loads((FIXTURES / request.param / "expected.json").read_text(encoding="utf-8"))
    return real_task(request.param), expected


def test_the_snapshot_with_the_longest_history_is_used(real: tuple[Task, dict[str, Any]]) -> None:
    """Each real task is read from the snapshot that holds its whole history, whatever its step is called."""
    task, expected = real
    assert f"log/{task.task_id}/{task.snapshot.path}" == expected["use_snapshot"]
    assert task.snapshot.history_length == len(expected["history"])
    assert not task.unreadable


def test_every_snapshot_is_read_and_listed_in_order(real: tuple[Task, dict[str, Any]]) -> None:
    """All snapshot files are read; `0/1_coding` has no history in any of them."""
    task, _ = real
    files = [path for path in (task.directory / "__session__").rglob("*") if path.is_file()]
    assert len(task.snapshots) == len(files)
    assert [(s.loop, s.step) for s in task.snapshots] == sorted((s.loop, s.step) for s in task.snapshots)
    assert next(s for s in task.snapshots if s.path == "__session__/0/1_coding").history_length == 0


def test_the_history_is_what_is_known(real: tuple[Task, dict[str, Any]]) -> None:
    """Experiments, decisions, reviews and workspaces equal the recorded truth."""
    task, expected = real
    for item, known in zip(task.history, expected["history"], strict=True):
        assert item.index == known["index"] == item.loop
        assert item.experiment_class.rpartition(".")[2] == known["experiment"]
        assert item.kind == ("factor" if "Factor" in known["experiment"] else "model")
        assert item.decision is known["decision"]
        assert item.accepted is known["decision"]
        assert [sub_task.name for sub_task in item.sub_tasks] == known["tasks"]
        reviews = known["approved"] or [None] * len(known["tasks"])
        assert [sub_task.approved for sub_task in item.sub_tasks] == reviews
        assert item.workspace is not None
        assert item.workspace.name == known["workspace"]
        assert isinstance(item.workspace.path, PurePosixPath)


def test_metrics_equal_the_workspace_result_file(real: tuple[Task, dict[str, Any]]) -> None:
    """The metrics in the session are those that qlib wrote into the workspace."""
    task, _ = real
    for item in task.history:
        assert item.workspace is not None
        table = pandas.read_csv(
            task.directory.parents[1] / "workspaces" / str(item.workspace.name) / "qlib_res.csv", index_col=0
        )
        assert item.metrics == pytest.approx(table.iloc[:, 0].to_dict(), rel=1e-12)


def test_texts_and_code_come_along(real: tuple[Task, dict[str, Any]]) -> None:
    """Hypothesis, reason and sources are there for every entry."""
    task, _ = real
    for item in task.history:
        assert item.hypothesis
        assert item.hypothesis.startswith(f"Idea {item.index}")
        assert item.reason == f"scripted verdict {item.index}"
        assert all(sub_task.source and sub_task.description for sub_task in item.sub_tasks)


@needs_fixtures
def test_weights_of_the_session_are_bytes() -> None:
    """Bytes in file_dict survive as bytes, beside the code as text."""
    item = read_task(FIXTURES / "factor_plain").history[2]
    workspace = item.sub_workspaces[0]
    assert workspace is not None
    assert isinstance(workspace.file_dict["model.pkl"], bytes)
    assert isinstance(workspace.file_dict["factor.py"], str)


@needs_fixtures
def test_a_signed_session_without_a_key_is_read_unauthenticated() -> None:
    """Without a key the history is there and the snapshot says that nobody vouched for it."""
    task = read_task(FIXTURES / "quant_signed")
    assert task.snapshot.signed
    assert not task.snapshot.authenticated
    assert len(task.history) == 5


@needs_fixtures
def test_a_signed_session_with_its_key_is_authenticated() -> None:
    """With the right key the snapshot says so."""
    task = read_task(FIXTURES / "quant_signed", FIXTURES / "quant_signed" / "artifact_signing.key")
    assert task.snapshot.authenticated


@needs_fixtures
def test_a_wrong_key_is_refused_by_name(tmp_path: Path) -> None:
    """A key that did not sign the session ends the reading with its own code."""
    key = tmp_path / "other.key"
    key.write_bytes(b"k" * 32)
    with pytest.raises(RefusalError) as caught:
        read_task(FIXTURES / "quant_signed", key)
    assert caught.value.code == "session.wrong_key"


@needs_fixtures
def test_the_global_names_are_reported() -> None:
    """Every class that the session names is reported, RD-Agent's own among them."""
    names = read_task(FIXTURES / "factor_plain").globals_
    assert "rdagent.app.qlib_rd_loop.factor.FactorRDLoop" in names
    assert list(names) == sorted(set(names))


@needs_fixtures
def test_a_task_is_found_from_its_parents() -> None:
    """log/<stamp>, log and the directory above are all good names for the one task in them."""
    stamp = next((FIXTURES / "factor_plain" / "log").iterdir())
    assert find_task_directory(stamp) == stamp
    assert find_task_directory(stamp.parent) == stamp
    assert find_task_directory(stamp.parents[1]) == stamp


def test_several_tasks_are_refused_with_their_list(tmp_path: Path) -> None:
    """A directory with two tasks is refused, and the message names both."""
    for stamp in ("2024-01-01", "2024-01-02"):
        (tmp_path / "log" / stamp / "__session__").mkdir(parents=True)
    with pytest.raises(RefusalError) as caught:
        find_task_directory(tmp_path)
    assert caught.value.code == "task.several"
    assert caught.value.found == "log/2024-01-01, log/2024-01-02"


def test_a_directory_without_a_session_is_not_readable(tmp_path: Path) -> None:
    """No session and no directory are exit 3, an empty session is a refusal."""
    with pytest.raises(NotReadableError, match="no session"):
        read_task(tmp_path)
    with pytest.raises(NotReadableError, match="no such task directory"):
        read_task(tmp_path / "gone")
    (tmp_path / "__session__" / "0").mkdir(parents=True)
    with pytest.raises(RefusalError) as caught:
        read_task(tmp_path)
    assert caught.value.code == "session.empty"


def test_loops_and_steps_are_compared_as_numbers(tmp_path: Path) -> None:
    """Of equally long histories loop 10 beats loop 9, and step 10 beats step 9."""
    history = [(factor_experiment("A"), feedback())]
    for loop in (9, 10):
        for step in ("9_feedback", "10_record"):
            write_snapshot(tmp_path, loop, step, history)
    assert read_task(tmp_path).snapshot.path == "__session__/10/10_record"


def test_a_longer_history_beats_a_newer_snapshot(tmp_path: Path) -> None:
    """A restarted loop that lost entries does not hide the longer history."""
    entry = (factor_experiment("A"), feedback())
    write_snapshot(tmp_path, 3, "4_record", [entry, entry])
    write_snapshot(tmp_path, 5, "1_coding", [entry])
    task = read_task(tmp_path)
    assert task.snapshot.path == "__session__/3/4_record"
    assert len(task.history) == 2


def test_an_unreadable_newest_snapshot_is_refused(tmp_path: Path) -> None:
    """To step to an older history unseen would be a guess."""
    write_snapshot(tmp_path, 0, "4_record", [(factor_experiment("A"), feedback())])
    broken = write_snapshot(tmp_path, 1, "0_direct_exp_gen", [])
    broken.write_bytes(broken.read_bytes()[:-20])
    with pytest.raises(RefusalError) as caught:
        read_task(tmp_path)
    assert caught.value.code == "session.unreadable"
    assert "1/0_direct_exp_gen" in str(caught.value)


def test_an_older_unreadable_snapshot_is_listed(tmp_path: Path) -> None:
    """One broken file among older ones is reported with its reason and does not stop."""
    broken = write_snapshot(tmp_path, 0, "1_coding", [])
    broken.write_bytes(b"not a pickle")
    write_snapshot(tmp_path, 0, "4_record", [(factor_experiment("A"), feedback())])
    task = read_task(tmp_path)
    (unreadable,) = task.unreadable
    assert unreadable.path == "__session__/0/1_coding"
    assert unreadable.code.startswith("pickle.")
    assert unreadable.reason


def test_a_pickle_that_is_no_loop_is_refused(tmp_path: Path) -> None:
    """A file without a trace is not taken for an empty history."""
    path = write_snapshot(tmp_path, 0, "0_direct_exp_gen", [])
    path.write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(RefusalError, match="not a loop of RD-Agent"):
        read_task(tmp_path)


def test_other_files_in_a_session_are_passed_over(tmp_path: Path) -> None:
    """Desktop droppings and unknown names are no snapshots."""
    write_snapshot(tmp_path, 0, "4_record", [(factor_experiment("A"), feedback())])
    (tmp_path / "__session__" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "__session__" / "0" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "__session__" / "0" / "5_directory").mkdir()
    assert len(read_task(tmp_path).snapshots) == 1


@pytest.mark.parametrize("decision", [None, False, "True", 1, "yes"])
def test_only_the_boolean_true_is_acceptance(tmp_path: Path, decision: Any) -> None:
    """Every other decision, truthy ones too, leaves the experiment unaccepted and is kept as found."""
    write_snapshot(tmp_path, 0, "4_record", [(factor_experiment("A"), feedback(decision))])
    (item,) = read_task(tmp_path).history
    assert not item.accepted
    assert item.decision == decision


def test_missing_feedback_and_results_are_tolerated(tmp_path: Path) -> None:
    """None in place of feedback, result, workspace and reviews gives an unaccepted entry with empty fields."""
    bare = make(
        "ModelExperiment", sub_tasks=[make("Task", name="M")], sub_workspace_list=[None], prop_dev_feedback=None
    )
    no_result = factor_experiment("A", running_info=make("Running", result=None))
    write_snapshot(tmp_path, 0, "4_record", [(bare, None), (no_result, feedback())])
    first, second = read_task(tmp_path).history
    assert (first.accepted, first.metrics, first.workspace, first.loop) == (False, None, None, None)
    assert first.sub_workspaces == (None,)
    assert first.sub_tasks[0].approved is None
    assert second.decision is True
    assert not second.accepted


def test_an_old_result_in_the_experiment_itself_is_found(tmp_path: Path) -> None:
    """Pickles from before running_info hold the result as a plain attribute."""
    old = factor_experiment("A", running_info=None, result=pandas.Series({"IC": 0.25, "ICIR": float("nan")}))
    write_snapshot(tmp_path, 0, "3_feedback", [(old, feedback())])
    (item,) = read_task(tmp_path).history
    assert item.accepted
    assert item.metrics == {"IC": 0.25, "ICIR": None}


def test_an_accepted_result_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """An accepted experiment with an unknown result is not silently taken for a rejected one."""
    odd = factor_experiment("A", running_info=make("Running", result=make("Review")))
    write_snapshot(tmp_path, 0, "4_record", [(odd, feedback())])
    with pytest.raises(RefusalError) as caught:
        read_task(tmp_path)
    assert caught.value.code == "session.result"


def test_reviews_are_per_factor_and_a_missing_one_is_no(tmp_path: Path) -> None:
    """Only a review that says True approves; None among reviews and a too short list do not."""
    experiment = factor_experiment("A", "B", "C", "D", approved=[True, False, None])
    write_snapshot(tmp_path, 0, "4_record", [(experiment, feedback())])
    (item,) = read_task(tmp_path).history
    assert [sub_task.approved for sub_task in item.sub_tasks] == [True, False, False, False]


def test_classes_of_one_name_in_two_modules_are_one_kind(tmp_path: Path) -> None:
    """The fork's quant experiments and RD-Agent's own are told by class name."""
    entries = [(factor_experiment("A", kind=kind), feedback()) for kind in ("FactorExperiment", "ForkFactorExperiment")]
    write_snapshot(tmp_path, 0, "3_feedback", entries)
    assert [item.kind for item in read_task(tmp_path).history] == ["factor", "factor"]


def test_loop_numbers_come_from_the_trace(tmp_path: Path) -> None:
    """Loops that were skipped leave holes: the loop is the trace's, not the position."""
    entry = (factor_experiment("A"), feedback())
    write_snapshot(tmp_path, 7, "4_record", [entry, entry], idx2loop_id={0: 2, 1: 7})
    assert [item.loop for item in read_task(tmp_path).history] == [2, 7]


def test_windows_paths_are_kept_as_such(tmp_path: Path) -> None:
    """A session written on Windows gives Windows paths here, and the workspace's name."""
    workspace = make("Workspace", file_dict=None, workspace_path=WindowsPath("F:\\", "Dev", "ws", "ab12"))
    write_snapshot(tmp_path, 0, "4_record", [(factor_experiment("A", experiment_workspace=workspace), feedback())])
    (item,) = read_task(tmp_path).history
    assert item.workspace is not None
    assert item.workspace.path == PureWindowsPath("F:/Dev/ws/ab12")
    assert item.workspace.name == "ab12"


def test_an_odd_history_entry_is_refused(tmp_path: Path) -> None:
    """An entry that is not a pair of experiment and feedback ends the reading."""
    write_snapshot(tmp_path, 0, "4_record", [(factor_experiment("A"), feedback()), "odd"])
    with pytest.raises(RefusalError) as caught:
        read_task(tmp_path)
    assert caught.value.code == "session.history_entry"


def test_progress_names_every_snapshot(tmp_path: Path) -> None:
    """The caller hears of each file as it is read."""
    for step in ("0_direct_exp_gen", "4_record"):
        write_snapshot(tmp_path, 0, step, [])
    heard: list[str] = []
    read_task(tmp_path, progress=heard.append)
    assert len(heard) == 2
    assert "4_record (1 of 2)" in heard[0]


@needs_fixtures
def test_the_task_directory_is_not_changed(tmp_path: Path) -> None:
    """Reading leaves no file behind and takes none away."""
    copy = tmp_path / "task"
    shutil.copytree(FIXTURES / "factor_plain" / "log", copy)
    before = sorted(path.relative_to(copy) for path in copy.rglob("*"))
    read_task(copy)
    assert sorted(path.relative_to(copy) for path in copy.rglob("*")) == before


# ---- what is needed must be seen

KEY = bytes(range(32))


def sign(path: Path, key: bytes = KEY) -> None:
    """Turn a plain snapshot into a signed one."""
    content = path.read_bytes()
    path.write_bytes(MAGIC + hmac.digest(key, content, "sha256") + content)


@pytest.fixture
def signed_task(tmp_path: Path) -> tuple[Path, Path]:
    """A task of two signed snapshots, and its key file."""
    entry = (factor_experiment("A"), feedback())
    sign(write_snapshot(tmp_path, 0, "4_record", [entry]))
    sign(write_snapshot(tmp_path, 1, "4_record", [entry, entry]))
    (tmp_path / "session.key").write_bytes(KEY)
    return tmp_path, tmp_path / "session.key"


@pytest.mark.attack("sessions: a signature that is not the key's")
@pytest.mark.parametrize("step", ["4_record", "5_extra"])
@pytest.mark.parametrize("longer", [True, False])
def test_a_named_key_admits_no_unsigned_snapshot(signed_task: tuple[Path, Path], step: str, longer: bool) -> None:
    """In the place of the newest signed snapshot, or beside it, an unsigned one is refused; without a key it is read."""
    directory, key = signed_task
    entry = (factor_experiment("EVIL"), feedback())
    write_snapshot(directory, 1, step, [entry] * (3 if longer else 2))
    with pytest.raises(RefusalError, match="leave --session-key away") as caught:
        read_task(directory, key)
    assert caught.value.code == "session.not_signed"
    assert read_task(directory).history[-1].sub_tasks[0].name == "EVIL"


@pytest.mark.attack("sessions: a signature that is not the key's")
@pytest.mark.parametrize("other", [None, b"k" * 32])
def test_an_older_snapshot_that_the_key_did_not_sign_is_never_used(
    signed_task: tuple[Path, Path], other: bytes | None
) -> None:
    """However long its history, an older snapshot without the key's signature is only listed as not readable."""
    directory, key = signed_task
    older = write_snapshot(directory, 0, "5_extra", [(factor_experiment("EVIL"), feedback())] * 9)
    if other is not None:
        sign(older, other)
    task = read_task(directory, key)
    assert task.snapshot.path == "__session__/1/4_record"
    assert [(one.path, one.code) for one in task.unreadable] == [
        ("__session__/0/5_extra", "session.not_signed" if other is None else "session.wrong_key")
    ]


@pytest.mark.attack("sessions: a signature that is not the key's")
def test_the_variable_names_a_key_and_the_home_directory_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unsigned session is refused where ARTIFACT_SIGNING_KEY is set, and read where only rdagent's key file is there."""
    write_snapshot(tmp_path, 0, "4_record", [(factor_experiment("A"), feedback())])
    home = Path.home() / ".rdagent"
    home.mkdir(parents=True)
    (home / "artifact_signing.key").write_bytes(KEY)
    assert not read_task(tmp_path).snapshot.signed
    monkeypatch.setenv("ARTIFACT_SIGNING_KEY", "a secret")
    with pytest.raises(RefusalError, match="unset ARTIFACT_SIGNING_KEY") as caught:
        read_task(tmp_path)
    assert caught.value.code == "session.not_signed"


class Called:
    """Pickles as a call of a function, with these arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


BY_A_CALL: dict[str, Any] = {
    "decision": lambda: [(factor_experiment("A"), feedback(Called(operator.truth, 1)))],
    "history": lambda: Called(list, [(factor_experiment("A"), feedback())]),
    "entry": lambda: [Called(tuple, [factor_experiment("A"), feedback()])],
    "experiment": lambda: [(Called(copy.copy, factor_experiment("A")), feedback())],
    "feedback": lambda: [(factor_experiment("A"), Called(copy.copy, feedback()))],
    "name": lambda: [(factor_experiment(Called(str, "A")), feedback())],
    "tasks": lambda: [(factor_experiment("A", sub_tasks=Called(list, [])), feedback())],
    "workspaces": lambda: [(factor_experiment("A", sub_workspace_list=Called(list, [])), feedback())],
    "files": lambda: [
        (factor_experiment("A", sub_workspace_list=[make("Workspace", file_dict=Called(dict, []))]), feedback())
    ],
    "weights": lambda: [
        (
            factor_experiment("A", sub_workspace_list=[make("Workspace", file_dict={"model.pkl": Called(str, "x")})]),
            feedback(),
        )
    ],
    "review": lambda: [(factor_experiment("A", approved=[Called(operator.truth, 1)]), feedback())],
    "reviews": lambda: [
        (factor_experiment("A", prop_dev_feedback=make("Reviews", feedback_list=Called(list, []))), feedback())
    ],
}


@pytest.mark.attack("sessions: what a call returns")
@pytest.mark.parametrize("what", BY_A_CALL)
def test_what_a_call_returns_is_never_taken_for_nothing(tmp_path: Path, what: str) -> None:
    """A decision, a history, a name or a file that a call returns is refused where it is needed, never passed over."""
    write_snapshot(tmp_path, 0, "4_record", BY_A_CALL[what]())
    with pytest.raises(RefusalError) as caught:
        read_task(tmp_path)
    assert caught.value.code in ("session.call", "session.unreadable", "session.history_entry", "pickle.unknown_attribute",
                                 "pickle.unknown_constructor"), caught.value  # fmt: skip
    assert len(str(caught.value)) < 2000


def test_bytes_of_old_protocols_are_bytes(tmp_path: Path) -> None:
    """Weights that protocol 2 writes as a call of ``_codecs.encode`` are the bytes that they were."""
    experiment = factor_experiment(
        "A",
        sub_workspace_list=[make("Workspace", file_dict={"model.pkl": Called(codecs.encode, "\xe9\x00", "latin1")})],
    )
    write_snapshot(tmp_path, 0, "4_record", [(experiment, feedback())])
    (workspace,) = read_task(tmp_path).history[0].sub_workspaces
    assert workspace is not None
    assert workspace.file_dict == {"model.pkl": b"\xe9\x00"}
