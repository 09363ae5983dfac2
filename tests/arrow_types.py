"""Arrow types that not every admitted pyarrow has."""

from __future__ import annotations

import pyarrow as pa

STRING_VIEWS: list[pa.DataType] = [pa.string_view()] if hasattr(pa, "string_view") else []
"""Strings as views: pyarrow 16 and later; the lowest that is admitted is 15."""
