"""One entry of RD-Agent's history, from inert records to typed values.

Experiments are told apart by the NAME of their class: rdagent's ``FactorExperiment`` and ``ModelExperiment`` are the
same object, and the user's fork has two classes called ``QlibFactorExperiment``.  Every attribute may be missing or
None in a pickle of another version; what is missing stays None or empty here and is never filled with a guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from alphaseal.errors import AlphasealError
from alphaseal_converter.decode import frames as decode
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles.records import Global, Record

Kind = Literal["factor", "model", "other"]


@dataclass(frozen=True)
class WorkspaceRef:
    """A workspace as the pickle records it; `name` (a uuid in hex) is what survives a move to another machine."""

    path: PurePosixPath | PureWindowsPath | None
    name: str | None
    file_dict: Mapping[str, str | bytes]


@dataclass(frozen=True)
class SubTask:
    """One factor or model that an experiment asked for.

    `approved` is the code review's decision: only approved factors were executed into the experiment's parquet.
    None where the experiment holds no list of reviews at all (model experiments, old sessions).
    """

    name: str
    description: str
    formulation: str
    variables: Mapping[str, str]
    approved: bool | None
    code: Mapping[str, str | bytes]
    model_type: str | None

    @property
    def source(self) -> str | None:
        """The text of ``factor.py`` or ``model.py``, or None where the session has none."""
        for name in ("factor.py", "model.py"):
            text = self.code.get(name)
            if isinstance(text, str):
                return text
        return None


@dataclass(frozen=True)
class HistoryItem:
    """One (experiment, feedback) pair of the trace.

    `loop` is the loop that made it where the trace says so (``idx2loop_id``; the fork never fills it), `decision` is
    the feedback's decision as found, `accepted` the only reading of it that counts: the boolean True, with a result.
    `metrics` maps qlib's metric names to values, None for NaN or infinite ones; None without a result.
    """

    index: int
    loop: int | None
    kind: Kind
    experiment_class: str
    accepted: bool
    decision: object
    hypothesis: str | None
    reason: str | None
    metrics: Mapping[str, float | None] | None
    sub_tasks: tuple[SubTask, ...]
    sub_workspaces: tuple[WorkspaceRef | None, ...]
    workspace: WorkspaceRef | None
    base_feature_codes: Mapping[str, str]

    @property
    def label(self) -> str:
        """How messages name it: ``history 2 (factor)``."""
        return f"history {self.index} ({self.kind})"


def read_history(trace: Record, where: str) -> tuple[HistoryItem, ...]:
    """All entries of ``trace.hist`` in order; an entry that is not a pair of experiment and feedback is refused."""
    pairs = [_pair(entry, index, where) for index, entry in enumerate(sequence(trace.get("hist")))]
    loops = trace.get("idx2loop_id")
    loop_of = loops if isinstance(loops, dict) else {}
    items = []
    for index, (experiment, feedback) in enumerate(pairs):
        place = f"{where}: history {index}"
        try:
            items.append(_item(index, loop_of.get(index), experiment, feedback, place))
        except RefusalError as refusal:
            refusal.where = refusal.where or place
            raise
    return tuple(items)


def sequence(value: Any) -> Sequence[Any]:
    """A list or tuple of the graph, or an empty one for any other plain value; what a call returns is refused."""
    return value if isinstance(_plain(value), list | tuple) else ()


def _plain(value: Any) -> Any:
    """The value itself, unless it is what a call returns or a module defines: Python may have a list or True there."""
    if isinstance(value, Record | Global):
        raise RefusalError(
            "session.call",
            "a value that is needed is the result of a call, which is not made here",
            expected="a plain value",
            found=decode.describe(value),
        )
    return value


def _pair(entry: Any, index: int, where: str) -> tuple[Record, Any]:
    pair = sequence(entry)
    if len(pair) != 2 or not isinstance(pair[0], Record):
        raise RefusalError(
            "session.history_entry",
            f"entry {index} of the history is not a pair of experiment and feedback",
            where=where,
            expected="(experiment, feedback)",
            found=type(entry).__name__,
        )
    return pair[0], pair[1]


def _item(index: int, loop: Any, experiment: Record, feedback: Any, where: str) -> HistoryItem:
    review = feedback if isinstance(feedback, Record) else None
    if review is None:
        _plain(feedback)
    decision = _plain(review.get("decision")) if review else None
    metrics = _metrics(experiment, must_decode=decision is True, where=where)
    hypothesis = experiment.get("hypothesis")
    return HistoryItem(
        index=index,
        loop=loop if isinstance(loop, int) and not isinstance(loop, bool) else None,
        kind=_kind(experiment.class_name),
        experiment_class=str(experiment.factory) if isinstance(experiment.factory, Global) else "",
        accepted=decision is True and metrics is not None,
        decision=_scalar(decision),
        hypothesis=_text(hypothesis.get("hypothesis")) if isinstance(hypothesis, Record) else _text(hypothesis),
        reason=_text(review.get("reason")) if review else None,
        metrics=metrics,
        sub_tasks=_sub_tasks(experiment),
        sub_workspaces=tuple(_workspace(entry) for entry in sequence(experiment.get("sub_workspace_list"))),
        workspace=_workspace(experiment.get("experiment_workspace")),
        base_feature_codes=_texts(experiment.get("base_feature_codes")),
    )


def _kind(class_name: str) -> Kind:
    is_factor, is_model = "Factor" in class_name, "Model" in class_name
    if is_factor == is_model:
        return "other"
    return "factor" if is_factor else "model"


def _metrics(experiment: Record, *, must_decode: bool, where: str) -> dict[str, float | None] | None:
    """The experiment's result; rdagent 1.0.0 keeps it in ``running_info``, older versions in the experiment itself.

    An accepted experiment whose result cannot be read is refused: to treat it as rejected would silently step to an
    older model.
    """
    running = experiment.get("running_info")
    result = running.get("result") if isinstance(running, Record) else None
    if result is None:
        result = experiment.get("result")
    if result is None:
        return None
    try:
        if isinstance(result, dict):
            plain = decode.as_plain(result, where=where)
            names, values = list(plain.keys()), list(plain.values())
        else:
            series = decode.as_series(result, where=where)
            names, values = list(series.index.levels[-1]), list(series.values)
    except AlphasealError as error:
        if not must_decode:
            return None
        raise RefusalError(
            "session.result", f"the result of an accepted experiment cannot be read: {error.message}", where=where
        ) from error
    if not all(isinstance(name, str) for name in names):
        raise RefusalError("session.result", "the result's names of metrics are not text", where=where)
    return {name: _finite(value) for name, value in zip(names, values, strict=True)}


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _sub_tasks(experiment: Record) -> tuple[SubTask, ...]:
    workspaces = sequence(experiment.get("sub_workspace_list"))
    feedback = experiment.get("prop_dev_feedback")
    listed = _plain(feedback.get("feedback_list")) if isinstance(feedback, Record) else feedback
    reviews = listed if isinstance(listed, list | tuple) else None
    tasks = []
    for position, task in enumerate(sequence(experiment.get("sub_tasks"))):
        if not isinstance(task, Record):
            continue
        workspace = _workspace(workspaces[position]) if position < len(workspaces) else None
        tasks.append(_sub_task(task, workspace, _approved(reviews, position)))
    return tuple(tasks)


def _approved(reviews: Sequence[Any] | None, position: int) -> bool | None:
    """True only for a review that says True; a missing review among others was never executed (rdagent zips them)."""
    if reviews is None:
        return None
    review = reviews[position] if position < len(reviews) else None
    return isinstance(review, Record) and _plain(review.get("final_decision")) is True


def _sub_task(task: Record, workspace: WorkspaceRef | None, approved: bool | None) -> SubTask:
    def first(*names: str) -> str | None:
        return next((text for text in (_text(_plain(task.get(name))) for name in names) if text is not None), None)

    return SubTask(
        name=first("factor_name", "name") or "",
        description=first("description", "factor_description") or "",
        formulation=first("factor_formulation", "formulation") or "",
        variables=_texts(task.get("variables")),
        approved=approved,
        code=workspace.file_dict if workspace else {},
        model_type=first("model_type"),
    )


def _workspace(value: Any) -> WorkspaceRef | None:
    if not isinstance(value, Record):
        return None
    files = _plain(value.get("file_dict"))
    kept = dict(_files(files)) if isinstance(files, dict) else {}
    path = recorded_path(value.get("workspace_path"))
    return WorkspaceRef(path=path, name=path.name or None if path is not None else None, file_dict=kept)


def _files(files: Mapping[Any, Any]) -> Iterator[tuple[str, str | bytes]]:
    """Names with their text or bytes; bytes may be written as a call, as old protocols do."""
    for name, content in files.items():
        if isinstance(content, Record):
            content = decode.as_bytes(content)
        if isinstance(_plain(name), str) and isinstance(_plain(content), str | bytes):
            yield name, content


def recorded_path(value: Any) -> PurePosixPath | PureWindowsPath | None:
    """A recorded path in its writer's own flavour; a bare string counts as Windows if it has a drive or a backslash."""
    if isinstance(value, str):
        windows = PureWindowsPath(value)
        return windows if windows.drive or "\\" in value else PurePosixPath(value)
    if isinstance(value, PurePath):
        return PureWindowsPath(value) if isinstance(value, PureWindowsPath) else PurePosixPath(value)
    if isinstance(value, Record):
        return recorded_path(decode.as_path(value))
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Any) -> dict[str, str]:
    """A mapping with its values as text; numbers and nested plain values in the form Python prints them."""
    if not isinstance(value, dict):
        return {}
    return {_printed(name): _printed(entry) for name, entry in value.items()}


def _printed(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        # Through as_plain, whose bound keeps a small graph from printing as an endless text.
        return repr(decode.as_plain(value))
    except AlphasealError:
        return "(not plain data)"


def _scalar(value: Any) -> object:
    """The value itself if it is a scalar; of anything else only what it is, for messages."""
    return value if value is None or isinstance(value, bool | int | float | str) else f"<{type(value).__name__}>"
