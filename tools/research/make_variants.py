"""Task directories that go wrong in the ways real ones do, derived from one real run of plans/variants.json.

    python make_variants.py --market MARKET_DIR --source TASK_DIR --out tests/data/tasks

TASK_DIR is what run_task.py left for plans/variants.json (`--format plain --embed-weights`): five loops, of which
1 failed, 2 brings a second factor of the name GAP_OPEN_1D, 4 repeats 3 and is answered from rdagent's cache.
Each case is a folder with log/, perhaps workspaces/, and expected.json: what a reader must find, and with which
`workspace_root` (relative to the case; cases share workspaces).

Sessions are unpickled and dumped again here with the real rdagent: only snapshots that run_task.py has just made.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import io
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from assemble import DAYS_ROWS, copy_workspace, place, record
from run_task import describe

HERE = Path(__file__).resolve().parent
WINDOWS_ROOT = r"F:\Dev\RD-Agent\git_ignore_folder\RD-Agent_workspace"
GONE = Path("/data/gone/workspaces")
SHARED_WORKSPACES = "../same_name_twice/workspaces"


class WindowsPickler(pickle.Pickler):
    """Dumps every path as Python on Windows would: pathlib.WindowsPath of its parts."""

    def __init__(self, out: io.BytesIO, translate: Callable[[PurePosixPath], str]) -> None:
        super().__init__(out, protocol=4)
        self.translate = translate

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, PurePosixPath):
            return pathlib.WindowsPath, PureWindowsPath(self.translate(value)).parts
        return NotImplemented


class Variants:
    """The source task and the folder that receives the cases."""

    def __init__(self, market: Path, source: Path, out: Path) -> None:
        self.market, self.source, self.out = market, source, out
        self.session = next(source.glob("log/*/__session__"))
        self.history = json.loads((source / "history.json").read_text(encoding="utf-8"))["history"]

    def workspace(self, index: int) -> str:
        """Name of the workspace of one history entry."""
        return str(self.history[index]["workspace"])

    def load(self, step: str) -> Any:
        """The loop object of one snapshot of our own run."""
        return pickle.loads((self.session / step).read_bytes())

    def put(self, case: str, step: str, content: bytes | str) -> str:
        """Write one snapshot of a case: bytes, or the name of a snapshot of the run. Its path in the case."""
        name = f"log/{self.session.parent.name}/__session__/{step}"
        target = self.out / case / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else (self.session / content).read_bytes())
        return name

    def expect(self, case: str, loop: Any, promise: str, **facts: Any) -> None:
        """Write expected.json; `history` is read from the live objects."""
        document = {"promise": promise, "workspace_root": SHARED_WORKSPACES, **facts, "history": entries(loop)}
        text = json.dumps(document, indent=1, ensure_ascii=False)
        (self.out / case / "expected.json").write_text(text + "\n", encoding="utf-8")


def entries(loop: Any) -> list[dict[str, Any]]:
    """History of a loop object, with entries that lack a verdict or a result."""
    out = []
    for index, (experiment, verdict) in enumerate(loop.trace.hist):
        single = copy.copy(loop)
        single.trace = copy.copy(loop.trace)
        single.trace.hist = [(experiment, argparse.Namespace(decision=None) if verdict is None else verdict)]
        (entry,) = describe(single)
        metrics = entry.pop("metrics")
        out.append({"index": index, **entry, "has_result": metrics is not None})
    return out


def dump(loop: Any) -> bytes:
    """Bare pickle of the plain format."""
    return pickle.dumps(loop, protocol=4)


def weights_in(experiment: Any) -> dict[str, Any]:
    """The file_dict that holds, or is to hold, the weights of an experiment."""
    files: dict[str, Any] = experiment.sub_workspace_list[0].file_dict
    return files


# --- the cases --------------------------------------------------------------------------------------------------------


def same_name_twice(v: Variants) -> None:
    """Two accepted factors called GAP_OPEN_1D: the table has one such column, the later one."""
    case = v.out / "same_name_twice"
    for index in (0, 2):
        full = v.source / "workspaces" / v.workspace(index)
        copy_workspace(full, case / "workspaces" / v.workspace(index), full=index == 2, days=DAYS_ROWS)
    truth = case / "truth/hist2_factor"
    recorded = record(v.market, v.source / "workspaces" / v.workspace(2), truth, case / "truth/features")
    place(truth / "truth.json", case / "workspaces" / v.workspace(2))
    loop = v.load("2/3_feedback")
    v.expect(
        case.name, loop, "The column belongs to the last accepted factor of its name; recorded, and not ready.",
        workspace_root="workspaces", use_snapshot=v.put(case.name, "2/3_feedback", "2/3_feedback"), anchor=2,
        truth="truth/hist2_factor", model_features=recorded["model_features"], table_columns=["VOLUME_JUMP_2D", "REV_3D", "GAP_OPEN_1D"],
        names_twice=["GAP_OPEN_1D"], ready=False,
        owners={"VOLUME_JUMP_2D": 0, "REV_3D": 2, "GAP_OPEN_1D": 2},
        source_sha256={"GAP_OPEN_1D": digest(loop.trace.hist[2][0].sub_workspace_list[1].file_dict["factor.py"].encode())},
    )  # fmt: skip


def cache_hit(v: Variants) -> None:
    """The newest accepted experiment was answered from rdagent's cache: metrics, but nothing in its workspace."""
    case = "cache_hit"
    kept = v.out / case / "workspaces" / v.workspace(4)
    kept.mkdir(parents=True)
    for path in (v.source / "workspaces" / v.workspace(4)).glob("*.yaml"):
        shutil.copyfile(path, kept / path.name)
    v.expect(
        case, v.load("4/3_feedback"), "No artefacts: a refusal that names the other accepted experiments, no older weights.",
        workspace_root="workspaces", use_snapshot=v.put(case, "4/3_feedback", "4/3_feedback"), anchor=4,
        refused=True, accepted=[0, 2, 4], other_workspace_root=SHARED_WORKSPACES,
    )  # fmt: skip


def stale_snapshots(v: Variants) -> None:
    """Loop 10 comes after loop 9, a later loop with a shorter history does not count, nor do file times."""
    case = "stale_snapshots"
    steps = {"9/3_feedback": "0/3_feedback", "10/2_running": "2/2_running", "10/3_feedback": "2/3_feedback",
             "11/1_coding": "1/1_coding"}  # fmt: skip
    names = {step: v.put(case, step, source) for step, source in steps.items()}
    lengths = {names[step]: len(v.load(source).trace.hist) for step, source in steps.items()}
    newest_last = [names[step] for step in ("10/3_feedback", "10/2_running", "11/1_coding", "9/3_feedback")]
    v.expect(
        case, v.load("2/3_feedback"), "The longest history wins, then loop and step as numbers.",
        use_snapshot=names["10/3_feedback"], anchor=2, history_lengths=lengths, give_file_times_in_this_order=newest_last,
    )  # fmt: skip


def holes(v: Variants) -> None:
    """A history with a failed loop, an entry without verdict, one without result, and loop folders that are gone."""
    case = "holes_in_history"
    loop, later = v.load("2/3_feedback"), v.load("4/3_feedback")
    first, failed, last = loop.trace.hist
    failed[0].sub_workspace_list[0] = None
    unjudged, resultless = later.trace.hist[3][0], later.trace.hist[4]
    unjudged.prop_dev_feedback = None
    resultless[0].running_info.result = None
    loop.trace.hist = [first, failed, (unjudged, None), resultless, last]
    v.put(case, "0/3_feedback", "0/3_feedback")
    v.expect(
        case, loop, "Entries without verdict or result are no anchors and bring no factors; the others still count.",
        use_snapshot=v.put(case, "4/3_feedback", dump(loop)), anchor=4, accepted=[0, 4],
    )  # fmt: skip


def windows_paths(v: Variants) -> None:
    """The session of a Windows machine: every path a pathlib.WindowsPath."""
    case, root = "windows_paths", v.source / "workspaces"

    def translate(path: PurePosixPath) -> str:
        if path.is_relative_to(root):
            return WINDOWS_ROOT + "\\" + str(path.relative_to(root)).replace("/", "\\")
        return ("F:" if path.is_absolute() else "") + str(path).replace("/", "\\")

    loop, out = v.load("2/3_feedback"), io.BytesIO()
    WindowsPickler(out, translate).dump(loop)
    v.expect(
        case, loop, "Workspaces are found through --map, and by their name.",
        use_snapshot=v.put(case, "2/3_feedback", out.getvalue()), anchor=2, recorded_root=WINDOWS_ROOT,
        recorded_workspace=f"{WINDOWS_ROOT}\\{v.workspace(2)}", map_to=SHARED_WORKSPACES,
    )  # fmt: skip


def deleted_workspace(v: Variants) -> None:
    """The anchor's workspace is gone, and the session holds no weights either."""
    case, loop = "deleted_workspace", v.load("2/3_feedback")
    for experiment, _ in loop.trace.hist:
        weights_in(experiment).pop("model.pkl", None)
        workspace = experiment.experiment_workspace  # where the runs are still there, this name must not find them
        workspace.workspace_path = GONE / workspace.workspace_path.name
    v.expect(
        case, loop, "A refusal that names the workspace and the places searched.",
        workspace_root=None, use_snapshot=v.put(case, "2/3_feedback", dump(loop)), anchor=2, refused=True,
        recorded_workspace=str(loop.trace.hist[2][0].experiment_workspace.workspace_path),
    )  # fmt: skip


def several_runs(v: Variants) -> None:
    """Three recorders in one workspace; and a session that carries the weights of the wrong one."""
    name = v.workspace(2)
    scratch = v.source / "scratch/several_runs" / name
    shutil.rmtree(scratch.parent, ignore_errors=True)
    shutil.copytree(v.source / "workspaces" / name, scratch, symlinks=True)
    moves = (str(v.source / "workspaces"), str(scratch.parent))
    rewrite(scratch, *moves)  # mlflow's store names its folders by absolute paths
    ours = recorders(scratch)
    again(scratch, v.market, {"learning_rate": 0.05})
    other = recorders(scratch) - ours
    again(scratch, v.market, {"loss": "no such loss"}, must_fail=True)
    broken = recorders(scratch) - ours - other
    (right,), (wrong,), (empty,) = ours, other, broken
    case = v.out / "several_runs"
    copy_workspace(scratch, case / "workspaces" / name, full=False, days=DAYS_ROWS, run=scratch / right)
    for run in (wrong, empty):
        copy_run(scratch / run, case / "workspaces" / name / run)
    rewrite(case / "workspaces" / name, *reversed(moves))
    loop = v.load("2/3_feedback")
    digests = {run: digest((scratch / run / "artifacts/params.pkl").read_bytes()) for run in (right, wrong)}
    v.expect(
        case.name, loop, "The run is the one whose metrics are the experiment's, not the newest one.",
        workspace_root="workspaces", use_snapshot=v.put(case.name, "2/3_feedback", "2/3_feedback"), anchor=2,
        run=right, other_complete_run=wrong, run_without_weights=empty, weights_sha256=digests,
    )  # fmt: skip
    foreign = (scratch / wrong / "artifacts/params.pkl").read_bytes()
    weights_in(loop.trace.hist[2][0])["model.pkl"] = foreign
    v.expect(
        "weights_differ", loop, "Session and workspace hold different weights; the metrics are those of the workspace's.",
        use_snapshot=v.put("weights_differ", "2/3_feedback", dump(loop)), anchor=2,
        session_weights_sha256=digests[wrong], workspace_weights_sha256=digests[right],
    )  # fmt: skip


# --- runs -------------------------------------------------------------------------------------------------------------


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def recorders(workspace: Path) -> set[str]:
    """Recorder folders of a workspace, relative to it."""
    return {str(path.parents[1].relative_to(workspace)) for path in workspace.glob("mlruns/*/*/artifacts/task")}


def rewrite(workspace: Path, source: str, target: str) -> None:
    """Replace a path in the meta.yaml files of a workspace."""
    for path in workspace.glob("mlruns/**/meta.yaml"):
        path.write_text(path.read_text(encoding="utf-8").replace(source, target), encoding="utf-8")


def again(workspace: Path, market: Path, changed: dict[str, Any], must_fail: bool = False) -> None:
    """Train once more in a workspace with changed model arguments."""
    program = HERE / "workspace_files/run_again.py"
    command = [sys.executable, str(program), str(market / "qlib_bin"), json.dumps(changed)]
    environment = os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true", "GIT_PYTHON_REFRESH": "quiet"}
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    if (done.returncode != 0) != must_fail:
        raise RuntimeError(f"training again ended with {done.returncode}: {done.stderr[-2000:]}")


def copy_run(run: Path, out: Path) -> None:
    """The files of a recorder that a reader of weights looks at."""
    artifacts = [f"artifacts/{name}" for name in ("params.pkl", "task", "dataset", "pred.pkl")]
    for name in (*artifacts, "metrics", "meta.yaml"):
        if (run / name).is_dir():
            shutil.copytree(run / name, out / name, dirs_exist_ok=True)
        elif (run / name).exists():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / name, out / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--market", "--source", "--out"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args()
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # rdagent's import would ask the network
    variants = Variants(options.market.absolute(), options.source.absolute(), options.out.absolute())
    shutil.rmtree(variants.out, ignore_errors=True)
    cases = (same_name_twice, cache_hit, stale_snapshots, holes, windows_paths, deleted_workspace, several_runs)
    for case in cases:
        case(variants)
        print("made", case.__name__, flush=True)


if __name__ == "__main__":
    main()
