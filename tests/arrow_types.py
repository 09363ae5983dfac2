"""Arrow types that not every admitted pyarrow has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

STRING_VIEWS: list[pa.DataType] = [pa.string_view()] if hasattr(pa, "string_view") else []
"""Strings as views: pyarrow 16 and later; the lowest that is admitted is 15."""


def handed_over(frame: pl.DataFrame) -> Any:
    """A frame of polars as this pyarrow reads it: itself, or what the refusal of its views says (pyarrow 15)."""
    return frame if STRING_VIEWS else frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def numbers(values: Sequence[float | None], kind: pa.DataType) -> pa.Array:
    """An array of any type of numbers: for half precision pyarrow 15 wants numpy's own numbers."""
    half = kind == pa.float16()
    return pa.array([np.float16(value) if half and value is not None else value for value in values], kind)
