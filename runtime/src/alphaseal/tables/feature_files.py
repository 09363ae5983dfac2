"""Features of a caller's parquet file: one date, a range, or years in constant memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from alphaseal.arrow.columns import FIRST_DAY
from alphaseal.arrow.number_types import NumberColumn
from alphaseal.tables.features import CollectedRows, FeatureBlock, TableColumns
from alphaseal.tables.parquet import Budget, Layout, date_ranges, decode, groups_of, open_parquet
from alphaseal.tables.period import DateRange, Day, Period
from alphaseal.tables.request import AS_WRITTEN, UNLIMITED, Limits, Notation


def read_parquet(
    source: str | os.PathLike[str] | bytes,
    features: Sequence[NumberColumn],
    *,
    date: Day | None = None,
    dates: DateRange | None = None,
    notation: Notation = AS_WRITTEN,
    limits: Limits = UNLIMITED,
) -> FeatureBlock:
    """As `read_table`, from a parquet file (its path, or its bytes).

    Only the needed columns of the row groups whose date statistics meet the period are read; without statistics all
    row groups are.  `limits` bound what is decoded, first by the headers of the pages, then by the Arrow bytes themselves: the
    footer's sizes are not believed.

    Raises InputError as `read_table` does, and `features.not_parquet`, `features.column_type`, `features.too_large`;
    NotReadableError `features.not_readable`.
    """
    period = Period.of(date, dates)
    with open_parquet(source) as file:
        plan = TableColumns.of(file.schema_arrow, features)
        rows = CollectedRows(plan, period)
        groups = groups_of(file, plan.date, period)
        for batch in decode(file, groups, plan.column_names, plan.batch_rows, Budget.of_file(file, limits)):
            rows.add(batch)
    return rows.block(notation)


def iter_parquet(
    source: str | os.PathLike[str] | bytes,
    features: Sequence[NumberColumn],
    dates: DateRange | None = None,
    *,
    notation: Notation = AS_WRITTEN,
    limits: Limits = UNLIMITED,
    block_bytes: int = 128 << 20,
) -> Iterator[FeatureBlock]:
    """Blocks of whole dates in ascending order, in memory that does not depend on the length of the file.

    The date column is read first, alone, so that the order of the file is known and not assumed.  A file sorted by date
    (or nearly) is then read once; another one is read once per group of dates whose values fit `block_bytes`.  The peak
    is a small multiple of `block_bytes` or of the largest single date.

    Raises as `read_parquet`; `features.date_absent` where no row lies in `dates`.
    """
    period = Period.of(None, dates)
    block_rows = max(1, block_bytes // (8 * (len(features) + 2)))
    with open_parquet(source) as file:
        plan = TableColumns.of(file.schema_arrow, features)
        groups = groups_of(file, plan.date, period)
        budget = partial(Budget.of_file, file, limits)
        layout = Layout.of(file, groups, plan.date, plan.batch_rows, period, budget())
        if not layout.segments:
            raise period.absent()
        blocks = (
            _blocks_in_file_order(file, plan, period, layout, budget())
            if layout.backlog() <= block_rows
            else _blocks_by_chunk(file, plan, layout, block_rows, budget)
        )
        for rows in blocks:
            yield rows.block(notation)


def _blocks_in_file_order(
    file: Any, plan: TableColumns, period: Period, layout: Layout, budget: Budget
) -> Iterator[CollectedRows]:
    """One pass; after each segment the days that no later segment brings are complete."""
    rows = CollectedRows(plan, period)
    batches = decode(file, layout.groups, plan.column_names, plan.batch_rows, budget)
    complete_before = FIRST_DAY
    for batch, next_day in layout.with_next_day(batches):
        rows.add(batch)
        if next_day > complete_before:
            complete_before = next_day
            complete = rows.split(next_day)
            if complete.days:
                yield complete


def _blocks_by_chunk(
    file: Any, plan: TableColumns, layout: Layout, block_rows: int, budget: Callable[[], Budget]
) -> Iterator[CollectedRows]:
    """One pass per chunk of dates, over the row groups whose statistics meet it; each within a budget of its own."""
    ranges = date_ranges(file, plan.date)
    for chunk in layout.chunks(block_rows):
        rows = CollectedRows(plan, chunk)
        groups = [group for group in layout.groups if chunk.meets(*ranges[group])]
        for batch in decode(file, groups, plan.column_names, plan.batch_rows, budget()):
            rows.add(batch)
        yield rows
