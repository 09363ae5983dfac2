"""From the processors of a run to the stages of its bundle: what a graph computes, what the runtime does between graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alphaseal.format.manifest import CrossSectionStage, DropMissingStage, GraphStage, Stage, WindowStage
from alphaseal.format.parts import Dtype
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.graph.assemble import build_row_graph
from alphaseal_converter.plain import json_value
from alphaseal_converter.processors.cross_section import CrossSection
from alphaseal_converter.processors.processor import Columns, Processor, RowProcessor
from alphaseal_converter.processors.selection import DropnaProcessor
from alphaseal_converter.processors.sequence import check_sequence


@dataclass(frozen=True)
class RowStep:
    """Row-wise processors that stand before a stage of another kind; a graph of their own, in `file`."""

    file: str
    processors: tuple[RowProcessor, ...]


@dataclass(frozen=True)
class CrossSectionStep:
    """A processor over the day, with the dtype that each feature has when it comes to it."""

    processor: CrossSection
    dtypes: Columns


@dataclass(frozen=True)
class DropStep:
    """Rows that miss a feature are gone."""


Step = RowStep | CrossSectionStep | DropStep


@dataclass(frozen=True)
class StagePlan:
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
            processor=step.processor.stage(self.features, step.dtypes),
            universe=f"all stocks {whose} that have a row on the date",
        )


def stages_of(
    processors: Sequence[Processor], features: Sequence[str], dtypes: Sequence[Dtype], step_length: int = 1
) -> StagePlan:
    """Cut the infer processors of a run: row-wise ones into graphs, the others into stages between them.

    `features` and their training `dtypes` are in model order.  The dtype of a column changes on the way as it does in
    qlib's frame (`Processor.after`).

    Raises RefusalError as `check_sequence`; `processor.label_dependent` where dropping rows without a label changed the
    inputs of the rows that stayed (a day to come has no labels, so its scores could not be those of training).
    """
    names = tuple(features)
    columns = tuple(dtypes)
    steps: list[Step] = []
    rows: list[RowProcessor] = []
    checked = check_sequence(processors, names)
    _check_labels(checked, step_length)
    for processor in checked:
        if isinstance(processor, RowProcessor):
            rows.append(processor.typed(names, columns))
        elif rows:
            steps.append(RowStep(f"rows{sum(isinstance(step, RowStep) for step in steps)}.onnx", tuple(rows)))
            rows = []
        if isinstance(processor, CrossSection):
            steps.append(CrossSectionStep(processor, columns))
        elif isinstance(processor, DropnaProcessor) and processor.features:
            steps.append(DropStep())
        columns = processor.after(columns)
    return StagePlan(names, tuple(steps), tuple(rows))


def _check_labels(processors: Sequence[Processor], step_length: int) -> None:
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


def _graph_stage(file: str, processors: Sequence[RowProcessor]) -> GraphStage:
    return GraphStage(file=file, processors=[json_value(processor.describe()) for processor in processors])
