"""From the history to the anchor and to the status of every SOTA factor.

The parquet of the anchor's run and the model's own features say which factors are in the model; the list of accepted
factors does not (reviews reject some, deduplication and failing code remove others, newer ones came too late).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from alphaseal.errors import UsageError
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.session.history import HistoryItem, Kind, SubTask
from alphaseal_converter.session.task import Task

FactorStatus = Literal["in_model", "review_rejected", "no_column", "deduplicated", "newer_than_anchor"]


@dataclass(frozen=True)
class Anchor:
    """The accepted experiment whose trained model goes into the bundle; `why` is a sentence for the manifest."""

    item: HistoryItem
    kind: Kind
    why: str


@dataclass(frozen=True)
class SotaFactor:
    """One sub-task of an accepted factor experiment, and what became of it in the anchor's model.

    `metrics`, `hypothesis` and `accepted_reason` are those of its experiment.
    """

    name: str
    status: FactorStatus
    reason: str
    history_index: int
    loop: int | None
    metrics: Mapping[str, float | None]
    code: str | None
    description: str
    formulation: str
    variables: Mapping[str, str]
    hypothesis: str | None
    accepted_reason: str | None


def choose_anchor(task: Task, anchor: str = "auto") -> Anchor:
    """The experiment to convert, by ``auto``, ``model``, ``factor`` or a history index.

    Raises `RefusalError` ``anchor.none_accepted``, ``anchor.not_accepted`` or ``anchor.index``, `UsageError` for any
    other word.  Whether it has usable artefacts is not asked here: if not, that is a refusal and never a reason to
    step to an older one.
    """
    if anchor.isascii() and anchor.removeprefix("-").isdigit():
        return _by_index(task, int(anchor))
    if anchor not in ("auto", "model", "factor"):
        raise UsageError(
            "anchor.unknown", "unknown anchor", expected="auto, model, factor or a history index", found=anchor
        )
    wanted = ("factor", "model") if anchor == "auto" else (anchor,)
    candidates = [item for item in task.accepted if item.kind in wanted]
    if not candidates:
        raise RefusalError(
            "anchor.none_accepted",
            f"no accepted {' or '.join(wanted)} experiment in the history",
            where=task.snapshot.path,
            expected="feedback.decision is True, and a result",
            found=_summary(task),
            next_step=_others(task),
        )
    item = candidates[-1]
    return Anchor(item, item.kind, f"the newest accepted {' or '.join(wanted)} experiment (--anchor {anchor})")


def newer_accepted(task: Task, anchor: Anchor) -> tuple[HistoryItem, ...]:
    """Accepted experiments after the anchor: their factors and models are not in the bundle."""
    return tuple(item for item in task.accepted if item.index > anchor.item.index)


def sota_factors(
    task: Task,
    anchor: Anchor,
    parquet_columns: Collection[str] | None,
    feature_names: Sequence[str] | None,
    columns_elsewhere: Collection[str] = (),
) -> tuple[SotaFactor, ...]:
    """Every sub-task of every accepted factor experiment, in history order, with its status.

    `parquet_columns` are the plain names in the anchor's ``combined_factors_df.parquet``, `feature_names` the model's
    features; None where not known.  `columns_elsewhere` are columns of other experiments' factor tables: a new factor
    that has one there gives values, so where the anchor's own loop brought it and its table lacks it, RD-Agent left it
    out as a duplicate (it compares new factors with the accepted ones, in factor loops only).  Of several factors of one name at or before the anchor the LAST approved one owns
    the column, as rdagent drops duplicated columns with ``keep="last"``.
    """
    owners = _owners(task, anchor)
    return tuple(
        _factor(
            item, sub_task, *_status(item, sub_task, owners, anchor, parquet_columns, feature_names, columns_elsewhere)
        )
        for item in task.accepted
        if item.kind == "factor"
        for sub_task in item.sub_tasks
    )


def names_given_twice(task: Task, anchor: Anchor) -> tuple[str, ...]:
    """Names under which more than one approved factor was accepted up to the anchor: whose column it is, is a rule."""
    names = [sub_task.name for _, sub_task in _approved_factors(task, anchor)]
    return tuple(sorted({name for name in names if names.count(name) > 1}))


def _by_index(task: Task, index: int) -> Anchor:
    if not 0 <= index < len(task.history):
        raise RefusalError(
            "anchor.index",
            "the history has no such entry",
            where=task.snapshot.path,
            expected=f"an index from 0 to {len(task.history) - 1}" if task.history else "a history that is not empty",
            found=str(index),
        )
    item = task.history[index]
    if not item.accepted or item.kind == "other":
        raise RefusalError(
            "anchor.not_accepted",
            f"{item.label} is not an accepted factor or model experiment",
            where=task.snapshot.path,
            expected="feedback.decision is True, and a result",
            found=f"decision {item.decision!r}, {'a' if item.metrics is not None else 'no'} result",
            next_step=_others(task),
        )
    return Anchor(item, item.kind, f"history index {index} was asked for (--anchor {index})")


def _summary(task: Task) -> str:
    if not task.history:
        return "an empty history"
    entries = (f"{item.index} {item.kind}{'+' if item.accepted else '-'}" for item in task.history)
    return f"{len(task.history)} entries ({', '.join(entries)})"


def _others(task: Task) -> str | None:
    accepted = [f"--anchor {item.index} ({item.kind})" for item in task.accepted if item.kind != "other"]
    return f"accepted are: {', '.join(accepted)}" if accepted else None


def _approved_factors(task: Task, anchor: Anchor) -> list[tuple[HistoryItem, SubTask]]:
    return [
        (item, sub_task)
        for item in task.accepted
        if item.kind == "factor" and item.index <= anchor.item.index
        for sub_task in item.sub_tasks
        if sub_task.approved is not False
    ]


def _owners(task: Task, anchor: Anchor) -> dict[str, tuple[HistoryItem, SubTask]]:
    return {sub_task.name: (item, sub_task) for item, sub_task in _approved_factors(task, anchor)}


def _status(
    item: HistoryItem,
    sub_task: SubTask,
    owners: Mapping[str, tuple[HistoryItem, SubTask]],
    anchor: Anchor,
    parquet_columns: Collection[str] | None,
    feature_names: Sequence[str] | None,
    columns_elsewhere: Collection[str],
) -> tuple[FactorStatus, str]:
    if item.index > anchor.item.index:
        return "newer_than_anchor", f"accepted in history {item.index}, after the anchor's {anchor.item.index}"
    if sub_task.approved is False:
        return "review_rejected", "the code review did not approve it, so it was never joined"
    owner_item, owner = owners[sub_task.name]
    if owner is not sub_task:
        return "deduplicated", f"a later factor of the same name, in history {owner_item.index}, owns the column"
    if parquet_columns is None and feature_names is None:
        return "no_column", "neither the factor table nor the model's feature names are at hand"
    if parquet_columns is not None and sub_task.name not in parquet_columns:
        if item.index == anchor.item.index and sub_task.name in columns_elsewhere:
            return (
                "deduplicated",
                "its code gives values, but its own loop left it out as a duplicate of another factor",
            )
        return "no_column", (
            "not in the run's factor table: its code gave no values, or RD-Agent left it out (a duplicate of another "
            "factor, or a run without the accepted factors)"
        )
    if feature_names is not None and sub_task.name not in feature_names:
        return "no_column", "not a feature of the model"
    return "in_model", "its column is a feature of the model"


def _factor(item: HistoryItem, sub_task: SubTask, status: FactorStatus, reason: str) -> SotaFactor:
    return SotaFactor(
        name=sub_task.name,
        status=status,
        reason=reason,
        history_index=item.index,
        loop=item.loop,
        metrics=item.metrics or {},
        code=sub_task.source,
        description=sub_task.description,
        formulation=sub_task.formulation,
        variables=sub_task.variables,
        hypothesis=item.hypothesis,
        accepted_reason=item.reason,
    )
