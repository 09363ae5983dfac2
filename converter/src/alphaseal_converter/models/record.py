"""The object that a weights file holds, as an inert record with the name of its class."""

from __future__ import annotations

from dataclasses import dataclass

from alphaseal_converter.pickles.records import Record


@dataclass(frozen=True)
class ModelRecord:
    """A model as an inert record; `class_name` and `module` are what the pickle names, nothing was imported."""

    module: str
    class_name: str
    record: Record

    def __str__(self) -> str:
        return f"{self.module}.{self.class_name}"
