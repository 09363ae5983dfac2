"""FilterCol, DropCol, DropnaProcessor and DropnaLabel: which columns and which rows go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from alphaseal_converter.pickles.records import Record
from alphaseal_converter.processors.processor import Processor, column_groups, refuse_columns, texts


@dataclass(frozen=True)
class Selection(Processor):
    """A mask of columns, which keeps their order."""

    columns: tuple[str, ...]
    keeps: ClassVar[bool]
    """Whether `columns` are those that go on, or those that are taken away."""
    reads_label = True

    @classmethod
    def read(cls, record: Record, where: str) -> Selection:
        return cls(texts(record.get("col_list"), where))

    def left(self, names: tuple[str, ...]) -> tuple[str, ...]:
        listed = set(self.columns)
        return tuple(name for name in names if (name in listed) is self.keeps)

    def reduced(self, names: tuple[str, ...], selected_later: bool, where: str) -> None:
        left = set(self.left(names))
        lost = [name for name in names if name not in left]
        if lost:
            raise refuse_columns("the selection takes away features of the model", where, lost)


class FilterCol(Selection):
    """Only `columns` go on."""

    keeps = True
    words = "keep only these columns, in the order they had"


class DropCol(Selection):
    """All but `columns` go on."""

    keeps = False
    words = "take these columns away"


@dataclass(frozen=True)
class DropnaProcessor(Processor):
    """Rows that miss a value are gone: of the features where `features`, of the label where `label`."""

    features: bool
    label: bool
    reads_label = True

    @classmethod
    def read(cls, record: Record, where: str) -> DropnaProcessor | None:
        groups = column_groups(record, where)
        return cls(features=groups is None or "feature" in groups, label=groups is None or "label" in groups)

    def reduced(self, names: tuple[str, ...], selected_later: bool, where: str) -> DropnaProcessor:
        if self.features and selected_later:
            raise refuse_columns("rows are dropped by columns that a later selection takes away", where, names)
        return self


class DropnaLabel(DropnaProcessor):
    """Of the label; qlib never runs it when it predicts (``is_for_infer`` is False), so it changes no input of the model."""

    words = "leave out rows without a label"

    @classmethod
    def read(cls, record: Record, where: str) -> None:
        return None
