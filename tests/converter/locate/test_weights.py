"""Weights, run and workspace of an anchor: real workspaces, and copies with one thing changed."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any, Literal

import pytest

from alphaseal.errors import NotReadableError, UsageError
from alphaseal_converter.build import build
from alphaseal_converter.cli import main as convert_command
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.runs import read_runs
from alphaseal_converter.locate.weights import Located, locate, scan
from alphaseal_converter.locate.workspaces import translate
from alphaseal_converter.proof.request import BuildRequest
from alphaseal_converter.session.anchor import Anchor, choose_anchor
from alphaseal_converter.session.history import HistoryItem, WorkspaceRef
from alphaseal_converter.session.task import Task
from converter.sessions import real_task
from locations import FIXTURES
from raising import refusal

pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the full set of leftovers is not here")

NAME = "46797bef467848ea9d5ef3d9b6c75561"
RUN = "373191876956144809/26e61f117e2744ceaf5a505f2b9db9f4"


@pytest.fixture(scope="module")
def task() -> Task:
    """The plain factor task: its session holds the weights too."""
    return real_task("factor_plain")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Workspaces of the plain factor task, copied so that a test can change them."""
    return copy(FIXTURES / "factor_plain" / "workspaces", tmp_path / "workspaces")


def copy(source: Path, target: Path) -> Path:
    """A writable copy of a directory."""
    shutil.copytree(source, target)
    for path in [target, *target.rglob("*")]:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    return target


def without_session_weights(task: Task) -> Task:
    """The same task as if the session held code only."""

    def bare(reference: WorkspaceRef | None) -> WorkspaceRef | None:
        if reference is None:
            return None
        return replace(reference, file_dict={k: v for k, v in reference.file_dict.items() if isinstance(v, str)})

    return change(task, lambda item: replace(item, sub_workspaces=tuple(bare(w) for w in item.sub_workspaces)))


def change(task: Task, function: Callable[[HistoryItem], HistoryItem]) -> Task:
    """The task with every history entry changed."""
    return replace(task, history=tuple(function(item) for item in task.history))


def at(task: Task, path: PurePosixPath | PureWindowsPath) -> Task:
    """The task as if its workspaces had been recorded below `path`."""

    def moved(item: HistoryItem) -> HistoryItem:
        assert item.workspace is not None
        return replace(item, workspace=replace(item.workspace, path=path / str(item.workspace.name)))

    return change(task, moved)


def anchor_of(task: Task, anchor: str = "auto") -> Anchor:
    """The anchor of a task."""
    return choose_anchor(task, anchor)


def find(
    task: Task,
    *roots: Path,
    weights: Literal["auto", "session", "workspace"] = "auto",
    maps: tuple[tuple[str, str], ...] = (),
) -> Located:
    """Locate the task's anchor."""
    return locate(anchor_of(task), task, weights=weights, workspace_roots=roots, path_maps=maps)


refused = partial(refusal, RefusalError)


def set_end_time(run: Path, milliseconds: str) -> None:
    """Change the recorded end of a run."""
    meta = run / "meta.yaml"
    lines = meta.read_text(encoding="utf-8").splitlines()
    changed = [f"end_time: {milliseconds}" if line.startswith("end_time:") else line for line in lines]
    meta.write_text("\n".join(changed) + "\n", encoding="utf-8")


def second_run(root: Path, name: str = "b" * 32) -> Path:
    """A copy of the anchor's run beside it, ended one second later, with other weights."""
    run = root / NAME / "mlruns" / RUN
    other = copy(run, run.parent / name)
    set_end_time(other, "1795351823223")
    params = other / "artifacts" / "params.pkl"
    params.write_bytes(params.read_bytes() + b"\0")
    return other


def test_auto_takes_the_session_and_proves_the_run(task: Task, root: Path) -> None:
    """Session bytes are taken; equal bytes in the run are one, and the run is located and matched all the same."""
    located = find(task, root)
    assert located.weights.origin == "session"
    assert located.weights.name == "sub_workspace_list[0].file_dict['model.pkl']"
    assert located.other_weights == ()
    assert located.workspace == root / NAME
    assert located.run is not None
    assert located.run.directory == root / NAME / "mlruns" / RUN
    assert located.run.metrics_match
    assert located.run.metrics["IC"] == 0.07065265631191259
    assert located.run.end_time is not None
    assert located.run.end_time.isoformat() == "2026-11-22T12:50:22.223000+00:00"
    assert located.parquet == root / NAME / "combined_factors_df.parquet"
    assert located.problems == ()


def test_all_artefacts_of_the_run_are_found(task: Task, root: Path) -> None:
    """Every file that qlib left for the run has its place."""
    artifacts = find(task, root).parts.artifacts
    for name in ("params", "dataset", "task", "pred", "label", "ic", "ric", "report_normal_1day"):
        path = getattr(artifacts, name)
        assert path is not None, name
        assert path.is_file()


def test_the_plans_work_by_name(task: Task, root: Path) -> None:
    """session and workspace give the same bytes here, each with its own origin."""
    from_session, from_workspace = (find(task, root, weights=plan) for plan in ("session", "workspace"))
    assert (from_session.weights.origin, from_workspace.weights.origin) == ("session", "workspace")
    assert from_session.weights.sha256 == from_workspace.weights.sha256
    assert from_workspace.weights.name == f"mlruns/{RUN}/artifacts/params.pkl"


def test_auto_falls_to_the_workspace(task: Task, root: Path) -> None:
    """A session that holds code only is no obstacle."""
    assert find(without_session_weights(task), root).weights.origin == "workspace"


@pytest.mark.parametrize("index", ["0", "1", "2", "4"])
def test_every_accepted_experiment_of_the_signed_task_is_found(index: str) -> None:
    """Each accepted experiment leads to its own workspace and to a run with its own metrics."""
    signed = real_task("quant_signed")
    anchor = anchor_of(signed, index)
    located = locate(anchor, signed, workspace_roots=[FIXTURES / "quant_signed"])
    assert anchor.item.workspace is not None
    assert located.workspace is not None
    assert located.workspace.name == anchor.item.workspace.name
    assert located.run is not None
    assert located.run.metrics_match


def test_no_session_weights_says_what_is_there(task: Task, root: Path) -> None:
    """--weights session without bytes names the keys found, and who has weights."""
    bare = without_session_weights(task)
    error = refused(lambda: find(bare, root, weights="session"))
    assert error.code == "weights.not_found"
    assert error.found == "file_dict with factor.py"
    assert "--anchor 0 (factor)" in str(error)


def test_session_weights_do_not_need_a_workspace(task: Task, tmp_path: Path) -> None:
    """With the workspace gone the session's bytes are still there; no run, and that is a problem on record."""
    located = find(task, tmp_path)
    assert located.weights.origin == "session"
    assert (located.workspace, located.run, located.parquet) == (None, None, None)
    assert [problem.code for problem in located.problems] == ["run_missing"]


def test_a_deleted_workspace_is_refused_with_what_was_searched(task: Task, root: Path) -> None:
    """Where nothing else holds the weights, the refusal lists the places and the other experiments."""
    shutil.rmtree(root / NAME)
    error = refused(lambda: find(task, root, weights="workspace"))
    assert error.code == "workspace.not_found"
    assert f"/data/rdagent/tasks/factor_plain/workspaces/{NAME}" in str(error.found)
    assert str(root) in str(error.found)
    assert "--anchor 0 (factor)" in str(error.next_step)


def test_an_existing_recorded_path_needs_no_root(task: Task, root: Path) -> None:
    """On the machine that ran the task nothing has to be named."""
    assert find(at(task, PurePosixPath(root))).workspace == root / NAME


@pytest.mark.parametrize(
    ("recorded", "source"),
    [
        (PureWindowsPath("F:/Dev/RD-Agent/ws"), "F:\\Dev\\RD-Agent\\ws"),
        (PureWindowsPath("F:/Dev/RD-Agent/ws"), "f:/dev/rd-agent/ws"),
        (PurePosixPath("/mnt/f/Dev/ws"), "/mnt/f/Dev/ws"),
        (PurePosixPath("/mnt/f/Dev/ws"), "/mnt/f/Dev/ws/"),
    ],
)
def test_recorded_paths_are_translated(
    task: Task, root: Path, recorded: PurePosixPath | PureWindowsPath, source: str
) -> None:
    """--map leads from Windows and POSIX prefixes to where the workspaces are now."""
    assert find(at(task, recorded), maps=((source, str(root)),)).workspace == root / NAME


def test_a_drive_is_a_prefix_and_posix_case_counts() -> None:
    """A bare drive maps its whole tree; POSIX paths differ by case; no path leaves its target through `..`."""
    assert translate(PureWindowsPath("F:/a/b"), [("f:", "/x")]) == (Path("/x/a/b"),)
    assert translate(PurePosixPath("/A/b"), [("/a", "/x")]) == ()
    assert translate(PurePosixPath("/a/../b"), [("/a", "/x")]) == ()
    assert translate(PurePosixPath("/ab/c"), [("/a", "/x")]) == ()


@pytest.mark.parametrize("text", ["F:", "=x", "x="])
def test_a_map_has_two_sides(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A map without source or target is misuse."""
    assert convert_command(["build", "task", "--map", text, "--out", "bundle"]) == 2
    assert f"expected FROM=TO, found {text!r}" in capsys.readouterr().err


def test_workspaces_are_found_below_a_nested_root(task: Task, root: Path) -> None:
    """The repository that holds git_ignore_folder/RD-Agent_workspace is root enough."""
    nested = root.parent / "repository" / "git_ignore_folder" / "RD-Agent_workspace"
    nested.parent.mkdir(parents=True)
    root.rename(nested)
    assert find(task, root.parent / "repository").workspace == nested / NAME
    assert find(task, nested / NAME).workspace == nested / NAME


def test_two_workspaces_of_one_name_are_refused(task: Task, root: Path) -> None:
    """A backup copy below the same root is not chosen by luck."""
    copy(root / NAME, root / "backup" / NAME)
    error = refused(lambda: find(task, root))
    assert error.code == "workspace.ambiguous"
    assert "backup" in str(error.found)


def test_a_root_that_is_not_there_is_not_readable(task: Task, tmp_path: Path) -> None:
    """A misspelt --workspace-root is exit 3, not an empty search."""
    with pytest.raises(NotReadableError):
        find(task, tmp_path / "gone")


def test_a_cleaned_workspace_is_refused(task: Task, root: Path) -> None:
    """mlruns gone, the rest left: the refusal says so; with session weights it is a problem on record."""
    shutil.rmtree(root / NAME / "mlruns")
    error = refused(lambda: find(task, root, weights="workspace"))
    assert error.code == "workspace.cleaned"
    assert "combined_factors_df.parquet" in str(error.found)
    located = find(task, root)
    assert [problem.code for problem in located.problems] == ["run_missing"]
    assert located.parquet is not None


def test_a_cache_hit_is_told_from_a_clean_up(task: Task, root: Path) -> None:
    """A workspace in which qlib never ran is named as what RD-Agent's result cache leaves."""
    for path in (root / NAME).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (root / NAME / "conf_baseline.yaml").touch()
    error = refused(lambda: find(without_session_weights(task), root))
    assert error.code == "workspace.cache_hit"
    assert "cache" in error.message


def test_weights_of_another_run_are_refused(task: Task, root: Path) -> None:
    """A workspace whose only run has other metrics gives nothing, and both values are shown."""
    (root / NAME / "mlruns" / RUN / "metrics" / "IC").write_text("1795351821610 0.01 0\n")
    error = refused(lambda: find(task, root))
    assert error.code == "run.metrics_differ"
    recorded = task.history[2].metrics
    assert recorded is not None
    assert error.expected == f"IC {recorded['IC']}"
    assert "IC 0.01" in str(error.found)


def test_a_run_without_metrics_proves_nothing(task: Task, root: Path) -> None:
    """No metric in common is no match."""
    shutil.rmtree(root / NAME / "mlruns" / RUN / "metrics")
    assert refused(lambda: find(task, root)).code == "run.metrics_missing"


def test_of_several_runs_the_one_with_the_metrics_is_taken(task: Task, root: Path) -> None:
    """A newer run with other metrics (a retry, a baseline) does not win."""
    other = second_run(root)
    (other / "metrics" / "IC").write_text("1795351821610 0.09 0\n")
    located = find(task, root, weights="workspace")
    assert located.run is not None
    assert located.run.run_id == RUN.partition("/")[2]
    assert len(read_runs(root / NAME)) == 2


def test_of_several_matching_runs_the_last_ended_is_taken(task: Task, root: Path) -> None:
    """Equal metrics: the greatest end time decides, as it does for RD-Agent's own reader."""
    other = second_run(root)
    located = find(task, root, weights="workspace")
    assert located.run is not None
    assert located.run.run_id == other.name
    set_end_time(other, "1795351821000")
    located = find(task, root, weights="workspace")
    assert located.run is not None
    assert located.run.run_id == RUN.partition("/")[2]


def test_matching_runs_that_end_together_with_other_weights_are_refused(task: Task, root: Path) -> None:
    """Nothing decides between them, so nothing is taken."""
    set_end_time(second_run(root), "1795351822223")
    assert refused(lambda: find(task, root)).code == "run.ambiguous"


def test_the_last_value_of_a_metric_counts(task: Task, root: Path) -> None:
    """A metric file grows by a line per step; the line of the highest step is the value."""
    (root / NAME / "mlruns" / RUN / "metrics" / "IC").write_text("3 0.5 0\n2 0.07065265631191259 2\n1 0.4 1\n")
    located = find(task, root)
    assert located.run is not None
    assert located.run.metrics_match


def test_incomplete_runs_are_skipped_but_listed(task: Task, root: Path) -> None:
    """A failed retry leaves only its task; it is seen and not taken."""
    other = second_run(root)
    (other / "artifacts" / "params.pkl").unlink()
    (other / "artifacts" / "pred.pkl").unlink()
    located = find(task, root, weights="workspace")
    assert located.run is not None
    assert located.run.run_id != other.name
    assert [run.complete for run in read_runs(root / NAME)] == [True, False]


def test_only_incomplete_runs_are_refused_by_what_they_lack(task: Task, root: Path) -> None:
    """Weights without predictions cannot be proven."""
    (root / NAME / "mlruns" / RUN / "artifacts" / "pred.pkl").unlink()
    error = refused(lambda: find(task, root, weights="workspace"))
    assert error.code == "run.incomplete"
    assert "without pred.pkl" in str(error.found)


def test_a_run_deleted_in_mlflow_is_not_taken(task: Task, root: Path) -> None:
    """mlflow keeps deleted runs on disk; they are not runs any more."""
    meta = root / NAME / "mlruns" / RUN / "meta.yaml"
    meta.write_text(meta.read_text().replace("lifecycle_stage: active", "lifecycle_stage: deleted"))
    assert refused(lambda: find(task, root, weights="workspace")).code == "run.incomplete"


def test_the_run_wins_over_the_root_and_the_other_is_reported(task: Task, root: Path) -> None:
    """A stale model.pkl at the root is not taken; equal bytes there are not even another file."""
    model = root / NAME / "model.pkl"
    model.write_bytes(b"stale")
    located = find(task, root, weights="workspace")
    assert located.weights.name.endswith("params.pkl")
    assert [(other.name, other.size) for other in located.other_weights] == [("model.pkl", 5)]
    model.write_bytes(located.weights.data)
    assert find(task, root, weights="workspace").other_weights == ()


def test_a_root_file_serves_where_runs_are_gone(task: Task, root: Path) -> None:
    """--weights workspace takes a model.pkl at the root; without its run that is a problem on record."""
    shutil.rmtree(root / NAME / "mlruns")
    (root / NAME / "model.pkl").write_bytes(b"weights")
    located = find(task, root, weights="workspace")
    assert (located.weights.name, located.run) == ("model.pkl", None)
    assert [problem.code for problem in located.problems] == ["run_missing"]


def test_session_and_run_with_other_weights_are_on_record(task: Task, root: Path) -> None:
    """auto keeps the session's bytes, reports the run's, and says that they differ."""
    params = root / NAME / "mlruns" / RUN / "artifacts" / "params.pkl"
    params.write_bytes(params.read_bytes() + b"\0")
    located = find(task, root)
    assert located.weights.origin == "session"
    assert [other.origin for other in located.other_weights] == ["workspace"]
    (problem,) = located.problems
    assert problem.code == "weights_differ"
    assert located.weights.sha256 in problem.text


def test_a_result_table_of_a_later_run_is_on_record(task: Task, root: Path) -> None:
    """qlib_res.csv of another run means that the factor table may be of another run too."""
    table = root / NAME / "qlib_res.csv"
    table.write_text(table.read_text().replace("IC,0.0706", "IC,0.0999"))
    assert [problem.code for problem in find(task, root).problems] == ["result_table_differs"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("name", [f"mlruns/{RUN}/artifacts/params.pkl", "combined_factors_df.parquet", "mlruns"])
def test_links_out_of_the_workspace_are_refused(task: Task, root: Path, name: str) -> None:
    """A link that leads out is not followed; one that stays inside is as good as the file."""
    path = root / NAME / name
    outside = root / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    assert refused(lambda: find(task, root)).code == "workspace.link_outside"
    path.unlink()
    inside = root / NAME / "moved"
    outside.rename(inside)
    path.symlink_to(inside)
    assert find(task, root).problems == ()


def test_scan_takes_the_newest_run_of_a_folder(root: Path) -> None:
    """Without a session the newest complete run below the folder is taken, and never called proven."""
    located = scan(root)
    assert located.weights.origin == "scan"
    assert located.workspace == root / NAME
    assert located.run is not None
    assert not located.run.metrics_match
    assert [problem.code for problem in located.problems] == ["found_by_scan"]


def test_scan_of_one_workspace_and_of_every_direct_run() -> None:
    """A workspace itself can be scanned; each of the direct runs gives its only run."""
    for directory in sorted((FIXTURES / "direct").iterdir()):
        if (directory / "mlruns").is_dir():
            located = scan(directory)
            assert located.workspace == directory
            assert located.run is not None


def test_scan_refuses_candidates_of_equal_right(root: Path) -> None:
    """Two runs that ended at the same time are listed, and none is taken."""
    set_end_time(second_run(root), "1795351822223")
    error = refused(lambda: scan(root))
    assert error.code == "scan.ambiguous"
    assert RUN in str(error.found)
    assert "b" * 32 in str(error.found)


def test_scan_without_runs_takes_a_single_file(tmp_path: Path) -> None:
    """One model.pkl is enough, two are refused, none too."""
    (tmp_path / "one").mkdir()
    assert refused(lambda: scan(tmp_path)).code == "scan.nothing_found"
    (tmp_path / "one" / "model.pkl").write_bytes(b"a")
    located = scan(tmp_path)
    assert located.weights.data == b"a"
    assert [problem.code for problem in located.problems] == ["found_by_scan", "run_missing"]
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "params.pkl").write_bytes(b"b")
    assert refused(lambda: scan(tmp_path)).code == "scan.ambiguous"


@pytest.mark.parametrize(
    "changes", [{"workspace_roots": []}, {"task_directory": Path("task")}, {"session_key": Path("key")}]
)
def test_a_scan_needs_one_root_and_reads_no_session(changes: dict[str, Any], root: Path, tmp_path: Path) -> None:
    """--weights scan takes exactly one root; a task or a session's key beside it is the caller's mistake."""
    request = BuildRequest(out=tmp_path / "bundle", weights="scan", workspace_roots=[root])
    with pytest.raises(UsageError) as caught:
        build(replace(request, **changes))
    assert caught.value.code == "usage.scan"


def test_an_anchor_without_a_recorded_workspace_is_refused(task: Task, root: Path) -> None:
    """An old session without workspace paths cannot lead to one."""
    bare = change(without_session_weights(task), lambda item: replace(item, workspace=None))
    assert refused(lambda: find(bare, root)).code == "workspace.not_found"


def test_results_that_are_not_finite_prove_nothing(task: Task, root: Path) -> None:
    """A constant model has no IC: NaN beside NaN is no match."""
    constant = change(task, lambda item: replace(item, metrics=MappingProxyType({"IC": None})))
    (root / NAME / "mlruns" / RUN / "metrics" / "IC").write_text("1 nan 0\n")
    assert refused(lambda: find(constant, root)).code == "run.metrics_missing"
