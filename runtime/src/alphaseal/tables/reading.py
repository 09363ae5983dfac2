"""How a caller's table of features is read, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from alphaseal.tables.features import FeatureBlock, is_file, read_table

if TYPE_CHECKING:
    from alphaseal.arrow.number_types import Feature
    from alphaseal.tables.period import DateRange
    from alphaseal.tables.request import Request


def read(table: Any, features: Sequence[Feature], request: Request, dates: DateRange | None = None) -> FeatureBlock:
    """The rows that are asked for, or those of `dates` instead; of a table in memory nothing is decoded that has limits."""
    date = request.date if dates is None else None
    dates = request.dates if dates is None else dates
    if not is_file(table):
        return read_table(table, features, date=date, dates=dates, notation=request.notation)
    from alphaseal.tables.feature_files import read_parquet

    return read_parquet(table, features, date=date, dates=dates, notation=request.notation, limits=request.limits)
