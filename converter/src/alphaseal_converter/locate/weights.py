"""Where the anchor's weights, its run and its factor table are.

The seed's three plans by name: ``session`` (bytes in ``sub_workspace_list[*].file_dict``), ``workspace`` (the run's
``params.pkl``, or ``model.pkl``/``params.pkl`` at the workspace's root) and ``scan`` (no session).  ``auto`` is session,
then workspace.  The run is the one whose metrics are the experiment's; the weights of another run are never taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from alphaseal.errors import AlphasealError, NotReadableError
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.table import column_names
from alphaseal_converter.locate.parts import RunParts
from alphaseal_converter.locate.runs import Run, differing_metrics, plain_file, read_file, read_result_table, read_runs
from alphaseal_converter.locate.workspaces import find_workspace, workspaces_below
from alphaseal_converter.session.anchor import Anchor
from alphaseal_converter.session.history import HistoryItem
from alphaseal_converter.session.origin import FromScan, FromTask
from alphaseal_converter.session.task import Task

Weights = Literal["auto", "session", "workspace", "scan"]
Origin = Literal["session", "workspace", "scan"]

_WEIGHT_NAMES = ("model.pkl", "params.pkl")


@dataclass(frozen=True)
class WeightFile:
    """Bytes of trained weights (a pickle, unopened); `name` says where inside the session or workspace they lay."""

    origin: Origin
    name: str
    data: bytes
    sha256: str
    size: int
    why: str

    @property
    def label(self) -> str:
        """How messages name it: ``session: sub_workspace_list[0].file_dict['model.pkl']``."""
        return f"{self.origin}: {self.name}"


@dataclass(frozen=True)
class Problem:
    """Something that keeps the bundle from being ready without forbidding it; `code` is the eligibility's reason."""

    code: str
    text: str


@dataclass(frozen=True)
class Located:
    """What is at hand for one anchor, or for a scan.

    `run` is None where session weights or a root file are used and the workspace or its runs are gone; then `parts` knows
    nothing and `problems` says so.  `other_weights` are files with OTHER bytes that were not taken.  `parquet` is the run's
    factor table; `elsewhere` finds the columns of those that other experiments of the task left.
    """

    origin: FromTask | FromScan
    weights: WeightFile
    other_weights: tuple[WeightFile, ...]
    problems: tuple[Problem, ...]
    workspace: Path | None = None
    run: Run | None = None
    parquet: Path | None = None
    elsewhere: Callable[[], frozenset[str]] = frozenset

    @cached_property
    def parts(self) -> RunParts:
        """What the run left of itself."""
        return RunParts(self.run)

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """The factor table's columns with their dtypes, in its order; none where there is no table."""
        return dict(column_names(self.parquet)) if self.parquet is not None else {}


def locate(
    anchor: Anchor,
    task: Task,
    *,
    weights: Literal["auto", "session", "workspace"] = "auto",
    workspace_roots: Sequence[Path] = (),
    path_maps: Sequence[tuple[str, str]] = (),
) -> Located:
    """The anchor's weights and run, or a refusal that says what was searched and which other experiments have theirs.

    Raises `RefusalError` ``workspace.not_found``, ``workspace.ambiguous``, ``workspace.cleaned``,
    ``workspace.cache_hit``, ``workspace.link_outside``, ``run.incomplete``, ``run.metrics_differ``,
    ``run.metrics_missing``, ``run.ambiguous`` or ``weights.not_found``.
    """
    search = _Search(FromTask(task, anchor), tuple(workspace_roots), tuple(path_maps))
    from_session = _session_weights(anchor.item)
    if weights == "session" and not from_session:
        raise _no_session_weights(search)
    workspace, searched = search.find(anchor.item)
    if workspace is None:
        if weights == "workspace" or not from_session:
            raise _workspace_not_found(search, searched)
        gone = Problem("run_missing", f"the workspace was not found (searched: {'; '.join(searched)})")
        return Located(search.origin, from_session[0], _others(from_session), (gone,))
    runs = read_runs(workspace)
    run = _run_of(anchor.item, runs, workspace, bool(from_session) and weights != "workspace")
    from_workspace = _workspace_weights(workspace, run, "workspace")
    ordered = [*from_workspace, *from_session] if weights == "workspace" else [*from_session, *from_workspace]
    if not from_workspace and (weights == "workspace" or not from_session):
        raise _no_workspace_weights(search, workspace, runs)
    problems = _problems(anchor.item, workspace, run, from_session)
    return replace(_located(search.origin, ordered, workspace, run, problems), elsewhere=search.columns)


def scan(workspace_root: Path) -> Located:
    """The newest complete run, by its recorded end time, below a workspace or a folder of workspaces.

    Without any complete run a single ``model.pkl`` or ``params.pkl`` at a workspace's root.  Candidates of equal right
    are refused with their list (``scan.ambiguous``); nothing found is ``scan.nothing_found``.
    """
    if not workspace_root.is_dir():
        raise NotReadableError("workspace.not_readable", "no such directory", where=str(workspace_root))
    runs_of = {workspace: read_runs(workspace) for workspace in workspaces_below(workspace_root)}
    by_scan = Problem("found_by_scan", "the weights were found by a scan, without a session that names them")
    complete = [(workspace, run) for workspace, runs in runs_of.items() for run in runs if run.complete]
    if complete:
        workspace, run = _newest(complete, workspace_root)
        files = _workspace_weights(workspace, run, "scan")
        return _located(FromScan(workspace), files, workspace, run, (by_scan,))
    bare = [(workspace, _workspace_weights(workspace, None, "scan")) for workspace in runs_of]
    bare = [(workspace, files) for workspace, files in bare if files]
    if not bare:
        raise RefusalError(
            "scan.nothing_found",
            "no trained weights below this directory",
            where=str(workspace_root),
            expected="mlruns/<experiment>/<run>/artifacts/{params.pkl,pred.pkl}, model.pkl or params.pkl",
            found=f"{len(runs_of)} workspaces",
        )
    if len(bare) > 1 or len({file.sha256 for file in bare[0][1]}) > 1:
        raise _ambiguous_scan(workspace_root, [f"{w.name}/{file.name}" for w, files in bare for file in files])
    missing = Problem("run_missing", "no complete run beside the weights")
    workspace, files = bare[0]
    return _located(FromScan(workspace), files, workspace, None, (by_scan, missing))


def _located(
    origin: FromTask | FromScan,
    files: Sequence[WeightFile],
    workspace: Path,
    run: Run | None,
    problems: tuple[Problem, ...],
) -> Located:
    return Located(origin, files[0], _others(files), problems, workspace, run, _factor_table(workspace))


def _factor_table(workspace: Path) -> Path | None:
    return plain_file(workspace / "combined_factors_df.parquet", workspace)


def _others(files: Sequence[WeightFile]) -> tuple[WeightFile, ...]:
    """Files whose bytes differ from the first one's; equal bytes in two places are one."""
    return tuple(file for file in files[1:] if file.sha256 != files[0].sha256)


def _session_weights(item: HistoryItem) -> list[WeightFile]:
    """Bytes named ``model.pkl`` or ``params.pkl`` in the experiment's sub workspaces, in that order of names."""
    return [
        _weight_file("session", f"sub_workspace_list[{position}].file_dict[{name!r}]", data, "held by the session")
        for position, workspace in enumerate(item.sub_workspaces)
        if workspace is not None
        for name in _WEIGHT_NAMES
        if isinstance(data := workspace.file_dict.get(name), bytes)
    ]


def _workspace_weights(workspace: Path, run: Run | None, origin: Origin) -> list[WeightFile]:
    paths = []
    if run is not None and run.artifacts.params is not None:
        paths.append((run.artifacts.params, f"saved by the run {run.run_id}"))
    for name in _WEIGHT_NAMES:
        path = plain_file(workspace / name, workspace)
        if path is not None:
            paths.append((path, "at the workspace's root"))
    return [_weight_file(origin, p.relative_to(workspace).as_posix(), read_file(p), why) for p, why in paths]


def _weight_file(origin: Origin, name: str, data: bytes, why: str) -> WeightFile:
    return WeightFile(origin, name, data, hashlib.sha256(data).hexdigest(), len(data), why)


def _run_of(item: HistoryItem, runs: Sequence[Run], workspace: Path, session_weights: bool) -> Run | None:
    """The run whose metrics are the experiment's, the newest of several; None where no run is usable.

    Usable is a complete run; with weights in the session also one that lost its weights or predictions, for its task and
    its dataset still say feature order and preprocessing.
    """
    complete = [run for run in runs if run.complete or (session_weights and run.describes_inputs)]
    if not complete:
        return None
    expected = item.metrics or {}
    compared = [(run, *differing_metrics(expected, run.metrics)) for run in complete]
    matching = [replace(run, metrics_match=True) for run, shared, differing in compared if shared and not differing]
    if matching:
        return _newest_match(matching, workspace)
    if not any(shared for _, shared, _ in compared):
        raise RefusalError(
            "run.metrics_missing",
            "no run has a metric of the experiment, so none can be proven to be its own",
            where=str(workspace / "mlruns"),
            expected=f"metrics/<name> for one of {', '.join(sorted(expected)) or 'the (empty) result'}",
            found=_run_list(complete),
        )
    raise RefusalError(
        "run.metrics_differ",
        f"the weights here are of another run: no run has the metrics of {item.label}",
        where=str(workspace / "mlruns"),
        expected=_values(expected, compared[0][2] or compared[0][1]),
        found="; ".join(
            f"run {run.run_id}: {_values(run.metrics, wrong or shared)}" for run, shared, wrong in compared
        ),
        next_step="restore the workspace of that experiment, or convert another one with --anchor",
    )


def _values(metrics: Mapping[str, float | None], names: Sequence[str]) -> str:
    """At most three metrics for a message, IC first if it is among them."""
    chosen = sorted(names, key=lambda name: (name != "IC", name))[:3]
    return ", ".join(f"{name} {metrics[name]}" for name in chosen) or "no metric in common"


def _newest_match(matching: Sequence[Run], workspace: Path) -> Run:
    newest = _last_ended(matching)
    digests = {hashlib.sha256(read_file(run.artifacts.params)).digest() for run in newest if run.artifacts.params}
    if len(digests) > 1:
        raise RefusalError(
            "run.ambiguous",
            "several runs have the experiment's metrics and end at the same time, with different weights",
            where=str(workspace / "mlruns"),
            found=_run_list(newest),
            next_step="move away the runs that are not the experiment's",
        )
    return newest[0]


def _last_ended(runs: Sequence[Run]) -> list[Run]:
    """The runs with the greatest end time; those that never ended only where none did."""
    ended = [run.end_time for run in runs if run.end_time is not None]
    return [run for run in runs if run.end_time == (max(ended) if ended else None)]


def _newest(candidates: Sequence[tuple[Path, Run]], root: Path) -> tuple[Path, Run]:
    newest = _last_ended([run for _, run in candidates])
    if len(newest) > 1:
        raise _ambiguous_scan(root, [run.directory.relative_to(root).as_posix() for run in newest])
    return next((workspace, run) for workspace, run in candidates if run is newest[0])


def _ambiguous_scan(root: Path, names: Iterable[str]) -> RefusalError:
    return RefusalError(
        "scan.ambiguous",
        "several candidates of equal right",
        where=str(root),
        found=", ".join(names),
        next_step="name the workspace itself with --workspace-root",
    )


def _problems(
    item: HistoryItem, workspace: Path, run: Run | None, from_session: Sequence[WeightFile]
) -> tuple[Problem, ...]:
    problems = []
    if run is None:
        problems.append(Problem("run_missing", f"no complete run in the workspace {workspace.name}"))
    elif from_session and run.artifacts.params is not None:
        of_run = hashlib.sha256(read_file(run.artifacts.params)).hexdigest()
        if of_run != from_session[0].sha256:
            text = f"the session holds weights {from_session[0].sha256}, the run {run.run_id} holds {of_run}"
            problems.append(Problem("weights_differ", text))
    table = read_result_table(workspace)
    _, differing = differing_metrics(item.metrics or {}, table or {})
    if differing:
        # The run is proven by its own metrics; but a later qrun in the same workspace may have replaced the parquet.
        text = (
            f"qlib_res.csv has {_values(table or {}, differing)}, the session {_values(item.metrics or {}, differing)}"
        )
        problems.append(Problem("result_table_differs", text))
    return tuple(problems)


@dataclass(frozen=True)
class _Search:
    """What is searched for and where; for the messages of a refusal, and for what other experiments left."""

    origin: FromTask
    roots: tuple[Path, ...]
    maps: tuple[tuple[str, str], ...]

    @property
    def item(self) -> HistoryItem:
        return self.origin.anchor.item

    def find(self, item: HistoryItem) -> tuple[Path | None, list[str]]:
        """An experiment's workspace, or None, and everything that was tried in words."""
        return find_workspace(item.workspace, self.roots, self.maps)

    def columns(self) -> frozenset[str]:
        """Columns of the factor tables that the other experiments left, as far as their workspaces are here."""
        names: set[str] = set()
        for item in self.origin.task.history:
            if item.index != self.item.index:
                # A hint for a factor's status, never a reason to stop.
                with suppress(AlphasealError):
                    workspace, _ = self.find(item)
                    if workspace is not None and (table := _factor_table(workspace)) is not None:
                        names.update(name for name, _ in column_names(table))
        return frozenset(names)

    def others(self) -> str:
        """Other accepted experiments that do have weights, for the reader to choose; none is ever taken instead."""
        found = [
            f"--anchor {item.index} ({item.kind})"
            for item in self.origin.task.accepted
            if item.index != self.item.index and self._has_weights(item)
        ]
        return f"other accepted experiments with weights: {', '.join(found)}" if found else "no other accepted one has"

    def _has_weights(self, item: HistoryItem) -> bool:
        if _session_weights(item):
            return True
        try:
            workspace, _ = self.find(item)
            return workspace is not None and any(run.complete for run in read_runs(workspace))
        except RefusalError:
            return False


def _no_session_weights(search: _Search) -> RefusalError:
    keys = sorted({name for workspace in search.item.sub_workspaces if workspace for name in workspace.file_dict})
    return RefusalError(
        "weights.not_found",
        f"the session holds no weights of {search.item.label}",
        where=search.origin.task.snapshot.path,
        expected="bytes in sub_workspace_list[*].file_dict['model.pkl'] or ['params.pkl']",
        found=f"file_dict with {', '.join(keys)}" if keys else "no file_dict",
        next_step=f"try --weights workspace with --workspace-root; {search.others()}",
    )


def _workspace_not_found(search: _Search, searched: Sequence[str]) -> RefusalError:
    reference = search.item.workspace
    return RefusalError(
        "workspace.not_found",
        f"the workspace of {search.item.label} was not found",
        where=str(reference.path) if reference and reference.path else search.origin.task.snapshot.path,
        expected=f"a directory {reference.name}" if reference and reference.name else "a recorded workspace path",
        found=f"nothing at: {'; '.join(searched)}" if searched else "no recorded path, and nothing to search",
        next_step=f"name where workspaces are with --workspace-root or --map FROM=TO; {search.others()}",
    )


def _no_workspace_weights(search: _Search, workspace: Path, runs: Sequence[Run]) -> RefusalError:
    """Why a workspace that exists has no weights: runs without them, a cache hit, or a clean-up."""
    if runs:
        code, message = "run.incomplete", f"no run of {search.item.label} has both weights and predictions"
        found = _run_list(runs)
    elif not (workspace / "combined_factors_df.parquet").exists() and not (workspace / "qlib_res.csv").exists():
        code = "workspace.cache_hit"
        message = (
            f"{search.item.label} has metrics, but qlib never ran in its workspace: on a hit RD-Agent's result cache "
            "copies the metrics only"
        )
        found = "neither mlruns nor combined_factors_df.parquet nor qlib_res.csv"
    else:
        code, message = "workspace.cleaned", f"the workspace of {search.item.label} was cleaned: it has no mlruns"
        found = ", ".join(sorted(path.name for path in workspace.iterdir())[:20]) or "an empty directory"
    return RefusalError(
        code,
        message,
        where=str(workspace),
        expected="mlruns/<experiment>/<run>/artifacts/params.pkl and pred.pkl, or model.pkl or params.pkl at the root",
        found=found,
        next_step=f"restore the workspace, or choose another experiment; {search.others()}",
    )


def _run_list(runs: Sequence[Run]) -> str:
    return ", ".join(f"{run.experiment_id}/{run.run_id} ({'complete' if run.complete else run.lacks})" for run in runs)
