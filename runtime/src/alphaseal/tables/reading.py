"""How a caller's table of features is read, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from alphaseal.tables.features import FeatureBlock, is_file, read_table


def reader_of(table: Any, *, max_rows: int | None = None, max_bytes: int | None = None) -> Callable[..., FeatureBlock]:
    """`read_parquet` with these limits where `table` is a file, else `read_table`, which decodes nothing."""
    if not is_file(table):
        return read_table
    from alphaseal.tables.feature_files import read_parquet

    return partial(read_parquet, max_rows=max_rows, max_bytes=max_bytes)
