"""Fillna: missing features become one number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from alphaseal_converter.comparison.parity import Matrix
from alphaseal_converter.decode import frames as decode
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.pickles.records import Record
from alphaseal_converter.processors.processor import Filling, RowProcessor


@dataclass(frozen=True)
class Fillna(Filling, RowProcessor):
    """NaN becomes `value` in all features; infinity stays."""

    value: float
    words = "replace missing values by a number"

    @classmethod
    def read(cls, record: Record, where: str) -> Fillna:
        value = decode.as_plain(record.get("fill_value", 0), where=where)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RefusalError(
                "processor.bad_fill", "the fill value is not a number", where=where, found=type(value).__name__
            )
        return cls(float(value))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "columns": None}

    @property
    def becomes(self) -> str:
        return str(self.value)

    def in_numpy(self, values: Matrix) -> Matrix:
        return np.where(np.isnan(values), self.value, values)

    def in_onnx(self, builder: GraphBuilder, features: str) -> str:
        value = builder.scalar(self.value)
        return builder.add("Where", builder.add("IsNaN", features), value, features)

    def reduced(self, names: tuple[str, ...], selected_later: bool, where: str) -> Fillna:
        # pandas rounds the value to the column's dtype; one that float32 holds exactly is the same for every dtype.
        with np.errstate(over="ignore"):
            rounded = float(np.float32(self.value))
        if not np.isfinite(rounded) or rounded != self.value:
            raise RefusalError(
                "processor.bad_fill",
                "the fill value is not finite or is rounded by float32 columns",
                where=where,
                expected="a finite value that float32 holds exactly",
                found=str(self.value),
            )
        return self
