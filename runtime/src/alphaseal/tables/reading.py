"""How a caller's table of features is read, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alphaseal.arrow.number_types import NumberColumn
from alphaseal.tables.features import FeatureBlock, is_file, read_table
from alphaseal.tables.request import Request


def read(table: Any, features: Sequence[NumberColumn], request: Request) -> FeatureBlock:
    """The rows that are asked for; of a table in memory nothing is decoded that could have limits."""
    date, dates, notation = request.date, request.dates, request.notation
    if not is_file(table):
        return read_table(table, features, date=date, dates=dates, notation=notation)
    from alphaseal.tables.feature_files import read_parquet

    return read_parquet(table, features, date=date, dates=dates, notation=notation, limits=request.limits)
