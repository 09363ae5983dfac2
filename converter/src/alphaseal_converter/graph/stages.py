"""From the processors of a run to the stages of its bundle: what a graph computes, what the runtime does between graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from alphaseal.format.manifest import CrossSectionStage, DropMissingStage, GraphStage, Stage, WindowStage
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.graph.assemble import build_row_graph
from alphaseal_converter.plain import json_value
from alphaseal_converter.processors.kinds import (
    CrossSection,
    DropnaProcessor,
    Fillna,
    Processor,
    RowProcessor,
    StageProcessor,
    TanhProcess,
    check_sequence,
)

Dtype = Literal["float32", "float64"]
_WIDE: Dtype = "float64"


@dataclass(frozen=True)
class RowStep:
    """Row-wise processors that stand before a stage of another kind; a graph of their own, in `file`."""

    file: str
    processors: tuple[RowProcessor, ...]


@dataclass(frozen=True)
class CrossSectionStep:
    """A processor over the day, with the dtype that each feature has when it comes to it."""

    processor: CrossSection
    dtypes: tuple[Dtype, ...]


@dataclass(frozen=True)
class DropStep:
    """Rows that miss a feature are gone."""


Step = RowStep | CrossSectionStep | DropStep


@dataclass(frozen=True)
class Plan:
    """The cut pipeline: `steps` before the model, and the row-wise processors that go into the model's own graph."""

    features: tuple[str, ...]
    steps: tuple[Step, ...]
    final: tuple[RowProcessor, ...]

    def graphs(self) -> dict[str, bytes]:
        """The graphs of the row-wise steps by file name; the model's own is not among them."""
        return {
            step.file: build_row_graph(step.processors, len(self.features))
            for step in self.steps
            if isinstance(step, RowStep)
        }

    def stages(self, model_file: str, step_length: int, universe: str | None) -> list[Stage]:
        """The stages of the manifest; `universe` names the market whose stocks a day is (null: not known)."""
        stages: list[Stage] = [self._stage(step, universe) for step in self.steps]
        if step_length > 1:
            stages.append(WindowStage(length=step_length, fill="ffill+bfill"))
        return [*stages, _graph_stage(model_file, self.final)]

    def _stage(self, step: Step, universe: str | None) -> Stage:
        if isinstance(step, RowStep):
            return _graph_stage(step.file, step.processors)
        if isinstance(step, DropStep):
            return DropMissingStage(columns=None)
        whose = "of the market that the model was trained on" if universe is None else f"of {universe}"
        return CrossSectionStage(
            processor=_cross_section(step, self.features), universe=f"all stocks {whose} that have a row on the date"
        )


def stages_of(
    processors: Sequence[Processor], features: Sequence[str], dtypes: Sequence[Dtype], step_length: int = 1
) -> Plan:
    """Cut the infer processors of a run: row-wise ones into graphs, the others into stages between them.

    `features` and their training `dtypes` are in model order.  The dtype of a column changes on the way as it does in
    qlib's frame: a normalisation fitted in float64 and CSRankNorm make float64 of all, CSZScoreNorm does unless all are
    float32.

    Raises RefusalError as `check_sequence`; `processor.label_dependent` where dropping rows without a label changed the
    inputs of the rows that stayed (a day to come has no labels, so its scores could not be those of training).
    """
    names = tuple(features)
    steps: list[Step] = []
    columns = tuple(dtypes)
    final: tuple[RowProcessor, ...] = ()
    checked = check_sequence(processors, names)
    _check_labels(checked, step_length)
    for is_row, group in groupby(checked, key=lambda processor: not isinstance(processor, StageProcessor)):
        if is_row:
            final, columns = _typed([part for part in group if not isinstance(part, StageProcessor)], names, columns)
            continue
        if final:
            steps.append(RowStep(f"rows{sum(isinstance(step, RowStep) for step in steps)}.onnx", final))
            final = ()
        for processor in group:
            if isinstance(processor, CrossSection):
                steps.append(CrossSectionStep(processor, columns))
                columns = _after(processor, columns)
            elif isinstance(processor, DropnaProcessor) and processor.features:
                steps.append(DropStep())
    return Plan(names, tuple(steps), final)


def _check_labels(processors: Sequence[RowProcessor | StageProcessor], step_length: int) -> None:
    for position, processor in enumerate(processors):
        reached = step_length > 1 or any(isinstance(later, CrossSection) for later in processors[position:])
        if isinstance(processor, DropnaProcessor) and processor.label and reached:
            raise RefusalError(
                "processor.label_dependent",
                "rows without a label were dropped before windows or cross-sections were made",
                where="infer processors (DropnaProcessor)",
                expected="fields_group: feature",
                next_step="train with DropnaProcessor on features, and DropnaLabel among the learn processors",
            )


def _typed(
    processors: Sequence[RowProcessor], names: Sequence[str], columns: tuple[Dtype, ...]
) -> tuple[tuple[RowProcessor, ...], tuple[Dtype, ...]]:
    """The processors with the dtypes that they need, and the columns' dtypes after them."""
    typed: list[RowProcessor] = []
    for processor in processors:
        if isinstance(processor, TanhProcess):
            changed = tuple(None if "LABEL" in name else dtype for name, dtype in zip(names, columns, strict=True))
            typed.append(replace(processor, dtypes=changed))
        else:
            typed.append(processor)
            if not isinstance(processor, Fillna) and processor.dtype == "float64":
                columns = (_WIDE,) * len(columns)
    return tuple(typed), columns


def _after(processor: CrossSection, columns: tuple[Dtype, ...]) -> tuple[Dtype, ...]:
    widens = processor.name == "CSRankNorm" or (processor.name == "CSZScoreNorm" and "float64" in columns)
    return (_WIDE,) * len(columns) if widens else columns


def _cross_section(step: CrossSectionStep, names: Sequence[str]) -> dict[str, Any]:
    """The stage's `processor` as alphaseal.scoring.cross_section reads it."""
    after = _after(step.processor, step.dtypes)
    # A rank is the same number whatever the type of what is ranked.
    ranked = step.processor.name == "CSRankNorm"
    single = [name for name, dtype in zip(names, step.dtypes, strict=True) if dtype == "float32" and not ranked]
    result = "float32" if "float64" not in after else "float64"
    return {
        **step.processor.describe(),
        "columns": None,
        "dtype": result,
        "float32_columns": single if single and result == "float64" else None,
    }


def _graph_stage(file: str, processors: Sequence[RowProcessor]) -> GraphStage:
    return GraphStage(file=file, processors=[json_value(processor.describe()) for processor in processors])
