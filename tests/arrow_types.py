"""Arrow types that not every admitted pyarrow has."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

STRING_VIEWS: list[pa.DataType] = [pa.string_view()] if hasattr(pa, "string_view") else []
"""Strings as views: pyarrow 16 and later; the lowest that is admitted is 15."""


def handed_over(frame: pl.DataFrame) -> Any:
    """A frame of polars as this pyarrow reads it: itself, or what the refusal of its views says (pyarrow 15)."""
    return frame if STRING_VIEWS else frame.to_arrow(compat_level=pl.CompatLevel.oldest())
