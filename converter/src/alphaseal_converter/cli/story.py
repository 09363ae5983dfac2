"""The verb ``alphaseal-convert inspect``, the story of a task: loops, hypotheses, decisions, metrics, which weights exist where, what would be the anchor and why."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alphaseal.desk.compilation import outcome
from alphaseal.errors import AlphasealError
from alphaseal.format.factors import NotCompiledFactor
from alphaseal.plain_text import Printable, one_line, printable
from alphaseal.terminal.console import Outcome, Parser, Progress
from alphaseal_converter.cli.options import add_places
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.compiled import trace_factors
from alphaseal_converter.locate.weights import Located, WeightFile, locate
from alphaseal_converter.plain import json_value
from alphaseal_converter.session.anchor import Anchor, SotaFactor, choose_anchor, sota_factors
from alphaseal_converter.session.history import HistoryItem
from alphaseal_converter.session.task import Task, read_task

_SHOWN_METRICS = ("IC", "ICIR", "Rank IC", "Rank ICIR", "1day.excess_return_with_cost.annualized_return")


def add_inspect(parser: Parser) -> None:
    """The arguments of ``inspect``."""
    parser.add_json()
    parser.add_argument("task", type=Path, metavar="TASK_DIR", help="log/<timestamp> of an RD-Agent task")
    add_places(parser)


def run_inspect(options: argparse.Namespace) -> Outcome:
    """Read a task and tell its story."""
    with Progress(enabled=not options.json) as progress:
        story = inspect_task(options.task, options.workspace_root, options.map, options.session_key, progress)
    return story.text(), story.to_plain()


@dataclass(frozen=True)
class Inputs:
    """What the anchor's run was trained on: alpha features by name, and the factor table's columns."""

    alphas: tuple[str, ...]
    table: tuple[str, ...]
    loader: str | None


@dataclass(frozen=True)
class Story:
    """What a person or a program wants to know about a task before converting it."""

    task: Task
    anchor: Anchor | None
    anchor_problem: str | None
    located: dict[int, Located | str]
    inputs: Inputs | None
    factors: tuple[SotaFactor, ...]
    refused: dict[str, NotCompiledFactor | None]
    """Of factors of the model with code: why it cannot be compiled; None where a build can try."""
    choices: dict[str, int]
    """What ``--anchor auto``, ``model`` and ``factor`` would take: history index by word, without those that take none."""

    def to_plain(self) -> dict[str, Any]:
        """For ``--json``."""
        snapshot = self.task.snapshot
        return {
            "task_id": self.task.task_id,
            "snapshot": {
                "path": snapshot.path,
                "sha256": snapshot.sha256,
                "signed": snapshot.signed,
                "authenticated": snapshot.authenticated,
                "history_length": snapshot.history_length,
            },
            "snapshots": [{"path": s.path, "history_length": s.history_length} for s in self.task.snapshots],
            "unreadable": [{"path": u.path, "code": u.code, "reason": u.reason} for u in self.task.unreadable],
            "globals": list(self.task.globals_),
            "history": [self._plain_item(item) for item in self.task.history],
            "anchor": None
            if self.anchor is None
            else {"history_index": self.anchor.item.index, "kind": self.anchor.kind, "why": self.anchor.why},
            "anchor_problem": self.anchor_problem,
            "anchor_choices": self.choices,
            "alpha_factors": None if self.inputs is None else list(self.inputs.alphas),
            "factor_table": None if self.inputs is None else list(self.inputs.table),
            "sota_factors": [
                {
                    "name": f.name,
                    "status": f.status,
                    "reason": f.reason,
                    "history_index": f.history_index,
                    "compilation": self._plain_compilation(f),
                }
                for f in self.factors
            ],
        }

    def _plain_compilation(self, factor: SotaFactor) -> dict[str, Any] | None:
        """Whether the code can be followed, and why not; null where there is none, or it is not of the model."""
        if factor.status != "in_model" or factor.name not in self.refused:
            return None
        found = self.refused[factor.name]
        if found is None:
            return {"followed": True}
        return {
            "followed": False,
            "code": found.code,
            "line": found.line,
            "construct": found.construct,
            "why": found.why,
        }

    def _plain_item(self, item: HistoryItem) -> dict[str, Any]:
        found = self.located.get(item.index)
        located = found if isinstance(found, Located) else None
        return {
            "index": item.index,
            "loop": item.loop,
            "kind": item.kind,
            "experiment": item.experiment_class,
            "decision": json_value(item.decision),
            "accepted": item.accepted,
            "hypothesis": item.hypothesis,
            "reason": item.reason,
            "metrics": None if item.metrics is None else dict(item.metrics),
            "tasks": [
                {"name": task.name, "approved": task.approved, "model_type": task.model_type} for task in item.sub_tasks
            ],
            "workspace": item.workspace.name if item.workspace is not None else None,
            "weights": _plain_weights(located.weights) if located is not None else None,
            "other_weights": [
                _plain_weights(other) for other in (located.other_weights if located is not None else ())
            ],
            "weights_problem": found if isinstance(found, str) else None,
        }

    def text(self) -> Printable:
        """For people."""
        snapshot = self.task.snapshot
        origin = (
            "signature checked"
            if snapshot.authenticated
            else "signed, not authenticated"
            if snapshot.signed
            else "not signed"
        )
        lines = [
            f"task {self.task.task_id}: {len(self.task.snapshots)} snapshots, history of {snapshot.history_length} from {snapshot.path} ({origin})",
            *(f"  unreadable: {u.path}: {u.reason}" for u in self.task.unreadable),
        ]
        if not self.task.history:
            lines.append("  the history is empty: no loop of the task has come to its feedback yet")
        for item in self.task.history:
            lines += self._item_lines(item)
        lines += [*self._anchor_lines(), *self._factor_lines(), self._next()]
        return printable(lines)

    def _item_lines(self, item: HistoryItem) -> list[str]:
        verdict = "accepted" if item.accepted else "rejected"
        names = ", ".join(
            _line(task.name) + ("" if task.approved is not False else " (review rejected)") for task in item.sub_tasks
        )
        lines = [f"{item.index:>3}  {item.kind:<6} {verdict}  {names or '(no task)'}"]
        if item.hypothesis:
            lines.append(f"       idea     {_line(item.hypothesis)}")
        loop = "a loop that the session does not name" if item.loop is None else f"loop {item.loop}"
        lines.append(f"       verdict  {verdict} in {loop}{f': {_line(item.reason)}' if item.reason else ''}")
        shown = [
            f"{name} {item.metrics[name]:.4g}"
            for name in _SHOWN_METRICS
            if item.metrics and item.metrics.get(name) is not None
        ]
        if shown:
            lines.append(f"       metrics  {', '.join(shown)}")
        found = self.located.get(item.index)
        if isinstance(found, Located):
            lines.append(f"       weights  {_weights(found.weights)}, {found.weights.why}")
            lines += [f"                other bytes, not taken: {_weights(other)}" for other in found.other_weights]
            lines += [f"       but      {problem.text}" for problem in found.problems if item.index in self._anchors()]
        elif found is not None:
            lines.append(f"       weights  none: {_line(found)}")
        return lines

    def _anchors(self) -> set[int]:
        return {self.anchor.item.index} if self.anchor is not None else set()

    def _anchor_lines(self) -> list[str]:
        if self.anchor is None:
            return [f"anchor  none: {self.anchor_problem}"]
        lines = [f"anchor  history {self.anchor.item.index} ({self.anchor.kind}): {self.anchor.why}"]
        others = [
            f"--anchor {word} takes history {index}"
            for word, index in self.choices.items()
            if index not in self._anchors()
        ]
        if others:
            lines.append(f"        {', '.join(others)}")
        if self.inputs is not None:
            lines.append(
                f"inputs  {len(self.inputs.alphas)} alpha factors and {len(self.inputs.table)} columns of the factor table, loader {self.inputs.loader or 'of the handler'}"
            )
        else:
            lines.append(
                "inputs  not known: the workspace was not found (name where workspaces are with --workspace-root)"
            )
        return lines

    def _factor_lines(self) -> list[str]:
        """What became of every accepted factor; without the run's own table most are unknown."""
        known = self.inputs is not None
        unknown = [_line(factor.name) for factor in self.factors if factor.status == "no_column" and not known]
        lines = [
            f"factor  {_line(factor.name)}: {factor.status.replace('_', ' ')} ({factor.reason}){self._compilation(factor)}"
            for factor in self.factors
            if known or factor.status != "no_column"
        ]
        if unknown:
            lines.append(f"factor  {', '.join(unknown)}: in the model or not, the factor table of the workspace says")
        return lines

    def _compilation(self, factor: SotaFactor) -> str:
        if factor.status != "in_model" or factor.name not in self.refused:
            return ""
        found = self.refused[factor.name]
        return "; its code can be compiled, a build proves it" if found is None else f"; {_line(outcome(found))}"

    def _next(self) -> str:
        """The next step, as a command where there is one."""
        if self.anchor is None:
            return "next    let the task run on until an experiment is accepted"
        if not isinstance(self.located.get(self.anchor.item.index), Located):
            return (
                "next    name the folder of the workspaces with --workspace-root, or what it is called here with --map"
            )
        return f"next    alphaseal-convert build {shlex.quote(str(self.task.directory))} --out BUNDLE (docs/guide.md)"


def _plain_weights(file: WeightFile) -> dict[str, Any]:
    return {"origin": file.origin, "path": file.name, "sha256": file.sha256, "size": file.size}


def _weights(file: WeightFile) -> str:
    return f"{file.label} ({file.size} bytes)"


def inspect_task(
    directory: Path,
    workspace_roots: Sequence[Path],
    path_maps: Sequence[tuple[str, str]],
    session_key: Path | None,
    progress: Callable[[str], None],
) -> Story:
    """Read a task and look for the weights of every accepted experiment; a missing part is not an error here."""
    task = read_task(directory, session_key, progress)
    try:
        anchor, problem = choose_anchor(task), None
    except RefusalError as error:
        anchor, problem = None, str(error)
    located: dict[int, Located | str] = {}
    for item in task.accepted:
        progress(f"looking for the weights of history {item.index}")
        try:
            located[item.index] = locate(
                Anchor(item, item.kind, ""), task, workspace_roots=workspace_roots, path_maps=path_maps
            )
        except AlphasealError as error:
            located[item.index] = error.message
    found = located.get(anchor.item.index) if anchor is not None else None
    inputs = _inputs(found) if isinstance(found, Located) and found.workspace is not None else None
    table = inputs.table if inputs is not None else None
    elsewhere = found.elsewhere() if isinstance(found, Located) else ()
    factors = sota_factors(task, anchor, table, None, elsewhere) if anchor is not None else ()
    return Story(task, anchor, problem, located, inputs, factors, _refused(factors, progress), _choices(task))


def _refused(factors: Sequence[SotaFactor], progress: Callable[[str], None]) -> dict[str, NotCompiledFactor | None]:
    codes = {one.name: one.code for one in factors if one.status == "in_model" and one.code is not None}
    return {name: found.refused for name, found in trace_factors(codes, progress).items()}


def _choices(task: Task) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in ("auto", "model", "factor"):
        with suppress(RefusalError):
            found[word] = choose_anchor(task, word).item.index
    return found


def _inputs(located: Located) -> Inputs:
    loader = located.parts.loader
    alphas = tuple(column.name for column in loader.computed) if loader is not None else ()
    return Inputs(alphas, tuple(located.columns), loader.class_name if loader is not None else None)


def _line(text: str) -> str:
    """Names and texts come from a language model: one line, bounded, without control characters."""
    return one_line(text)
