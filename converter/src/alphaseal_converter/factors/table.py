"""RD-Agent's combined_factors_df.parquet as the bundle's factors.parquet, in a stream, whatever its length and order.

The input has columns ``('feature', 'NAME')`` and, last, the index levels `datetime` and `instrument`.  The output has
`datetime` (date32) and `instrument` (string) first, then the factors by plain name in the input's order and dtype,
sorted by date and instrument, in row groups of whole days.  The date column is read first, alone: where the input is
sorted by date (or nearly) it is then read once in file order; otherwise its rows are spilled into buckets of dates beside
the output, and each bucket is sorted by itself.  Both ways write the same bytes.
"""

from __future__ import annotations

import contextlib
import datetime
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.arrow.columns import (
    DATE_COLUMN,
    INSTRUMENT_COLUMN,
    Days,
    days_of,
    floats_of,
    indices_of,
    numbers_of,
    plain_name,
    row_order,
    text_of,
)
from alphaseal.errors import InputError
from alphaseal.tables.features import TableColumns
from alphaseal.tables.parquet import Layout, batch_rows, decode, open_parquet, unlimited
from alphaseal.tables.period import Period
from alphaseal_converter.errors import RefusalError

_MAXIMUM_ROW_GROUP_BYTES = 128 << 20
"""Of raw values; a row group of fewer days than asked for keeps below it, one of a single day may not."""
_MAXIMUM_BUCKETS = 256
"""Spill files open at once."""
_BATCH_ROWS = 65_536
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class FactorsTable:
    """What `rewrite_factors` wrote: plain column names with dtype ("float32", "float64") in order, and its extent."""

    columns: tuple[tuple[str, str], ...]
    rows: int
    first: datetime.date
    last: datetime.date
    dates: int
    instruments: int
    row_groups: int


@dataclass(frozen=True)
class ColumnStatistics:
    """Values of one column over a period: ratios of rows, and quantiles of the finite values ({} without any).

    Quantile keys are "min", "0.01" … "0.99", "max"; linear interpolation, as numpy.quantile.  `zero_ratio` is the share of
    zeros among the finite values; `common_ratio` the largest share, on any day, of values that only repeat the day's most
    common one.
    """

    rows: int
    null_ratio: float
    infinite_ratio: float
    quantiles: dict[str, float]
    zero_ratio: float
    common_ratio: float


def rewrite_factors(
    source: Path, out: Path, *, target_row_group_days: int = 20, memory_bytes: int = 256 << 20
) -> FactorsTable:
    """Write `source` to `out` as the module describes; equal rows in any order give equal bytes.

    `memory_bytes` is what the data may take at once beside pyarrow's own buffers (a single date may take more).
    Nothing is left behind on an error.  Raises RefusalError `factors.*` (duplicate_row, duplicate_column,
    column_group, no_key_columns, not_numeric, column_type, null_key, time_of_day, empty …), NotReadableError.
    """
    try:
        with _refusing(source), open_parquet(source) as file:
            return _rewrite(file, out, target_row_group_days, memory_bytes)
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def column_names(path: Path) -> list[tuple[str, str]]:
    """(plain name, dtype) of the factors of a parquet file in its own order; reads the schema only.

    dtype is "float32" or "float64"; integers count as float64, which holds them exactly where `rewrite_factors` accepts
    them.  Raises RefusalError `factors.*` as `rewrite_factors` does, NotReadableError.
    """
    with _refusing(path), open_parquet(path) as file:
        return [(column.plain, column.dtype) for column in _columns(file.schema_arrow)]


def is_complete(table: Any) -> bool:
    """Whether no row of a factor table (its path, or a verified file) lacks a value: whoever made it removed such rows.

    RD-Agent joins the factors of a factor experiment to the accepted ones by ``concat(...).dropna()`` (developer/
    factor_runner.py), and those of a model experiment without dropna.
    """
    with open_parquet(table) as file:
        groups = range(file.num_row_groups)
        return not any(
            np.isnan(floats_of(batch.column(column.name), "float64", column.name)).any()
            for column in _columns(file.schema_arrow)
            for batch in decode(file, groups, [column.name], _BATCH_ROWS, unlimited())
        )


def column_statistics(values: npt.NDArray[np.float64], days: npt.NDArray[np.int64]) -> ColumnStatistics:
    """Statistics of the values [rows] of one column; `days` [rows] tells which of them are of one day."""
    finite = np.isfinite(values)
    numbers = values[finite]
    missing = int(np.count_nonzero(np.isnan(values)))
    quantiles: dict[str, float] = {}
    if len(numbers):
        levels = np.quantile(numbers, (0.0, *_QUANTILES, 1.0))
        quantiles = dict(zip(("min", *map(str, _QUANTILES), "max"), levels.tolist(), strict=True))
    return ColumnStatistics(
        rows=len(values),
        null_ratio=missing / len(values),
        infinite_ratio=(len(values) - missing - len(numbers)) / len(values),
        quantiles=quantiles,
        zero_ratio=float(np.mean(numbers == 0)) if len(numbers) else 0.0,
        common_ratio=_largest_common(numbers, days[finite]),
    )


def _largest_common(values: npt.NDArray[np.float64], days: npt.NDArray[np.int64]) -> float:
    """The largest share, on any day, of values that only repeat the day's most common one."""
    if not len(values):
        return 0.0
    order = np.lexsort((values, days))
    values, days = values[order], days[order]
    begins = np.flatnonzero(np.r_[True, (values[1:] != values[:-1]) | (days[1:] != days[:-1])])
    lengths = np.diff(np.r_[begins, len(values)])
    of_day = np.unique(days[begins], return_inverse=True)[1]
    longest = np.zeros(of_day[-1] + 1, np.int64)
    np.maximum.at(longest, of_day, lengths)
    return float(((longest - 1) / np.bincount(of_day, lengths)).max())


# --- columns --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    name: str
    plain: str
    dtype: str


@dataclass(frozen=True)
class _Keyed:
    """A feature as `TableColumns` asks for it."""

    name: str
    dtype: str


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """The runtime's errors about a caller's table are refusals here, about the file `path`."""
    try:
        yield
    except InputError as error:
        area, rule = error.code.split(".", 1)
        raise RefusalError(
            f"factors.{rule}" if area == "features" else error.code,
            error.message,
            where=str(path) if error.where is None else f"{path}, {error.where}",
            expected=error.expected,
            found=error.found,
            next_step=error.next_step,
        ) from error


def _columns(schema: Any) -> list[_Column]:
    """The factor columns of a schema in its order; raises for what `TableColumns` and this file's rules refuse."""
    columns = []
    for name in schema.names:
        plain = plain_name(name)
        if plain is None and plain_name(name, DATE_COLUMN) is None and plain_name(name, INSTRUMENT_COLUMN) is None:
            raise RefusalError(
                "factors.column_group",
                "a column belongs to another group than 'feature'",
                expected="columns ('feature', NAME)",
                found=name,
            )
        if plain is not None and plain not in (DATE_COLUMN, INSTRUMENT_COLUMN):
            columns.append(_Column(name, plain, _dtype(schema.types[schema.names.index(name)], name)))
    if not columns:
        raise RefusalError("factors.no_columns", "the file has no factor columns", found=", ".join(schema.names))
    TableColumns.of(schema, [_Keyed(column.plain, column.dtype) for column in columns])
    return columns


def _dtype(kind: Any, name: str) -> str:
    if pa.types.is_float16(kind):
        raise RefusalError(
            "factors.precision",
            "a factor is in half precision, and so is what the model was trained on",
            where=f"column {name!r}",
            expected="float32 or float64, or integers",
            found=str(kind),
            next_step="let the factor's code keep float32 or float64, and train again",
        )
    return "float32" if pa.types.is_float32(kind) else "float64"


def _schema(columns: Sequence[_Column]) -> Any:
    types = {"float32": pa.float32(), "float64": pa.float64()}
    keys = [pa.field(DATE_COLUMN, pa.date32()), pa.field(INSTRUMENT_COLUMN, pa.string())]
    return pa.schema([*keys, *(pa.field(column.plain, types[column.dtype]) for column in columns)])


# --- rewriting ------------------------------------------------------------------------------------------------------


def _rewrite(file: Any, out: Path, days_per_group: int, memory_bytes: int) -> FactorsTable:
    columns = _columns(file.schema_arrow)
    plan = TableColumns.of(file.schema_arrow, [_Keyed(column.plain, column.dtype) for column in columns])
    schema = _schema(columns)
    rows = batch_rows(len(columns), memory_bytes // 16)
    everything = Period.of(None, None)
    layout = Layout.of(file, range(file.num_row_groups), plan.date, rows, everything)
    if not layout.rows_per_day:
        raise RefusalError("factors.empty", "the file has no rows")
    row_bytes = 8 * (len(columns) + 2)
    groups = _row_groups(layout.rows_per_day, days_per_group, _MAXIMUM_ROW_GROUP_BYTES // row_bytes)
    batches = (
        _converted(batch, plan, schema) for batch in decode(file, layout.groups, plan.column_names, rows, unlimited())
    )
    with contextlib.ExitStack() as stack:
        if layout.backlog() * row_bytes <= memory_bytes // 2:
            tables = _in_file_order(batches, layout, groups)
        else:
            spill = stack.enter_context(tempfile.TemporaryDirectory(prefix=".factors-", dir=out.parent))
            tables = _by_buckets(batches, layout, groups, schema, Path(spill), memory_bytes // (4 * row_bytes))
        instruments = _write(tables, schema, out)
    days = sorted(layout.rows_per_day)
    return FactorsTable(
        columns=tuple((column.plain, column.dtype) for column in columns),
        rows=sum(layout.rows_per_day.values()),
        first=_date(days[0]),
        last=_date(days[-1]),
        dates=len(days),
        instruments=instruments,
        row_groups=len(groups),
    )


def _date(day: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=day)


def _row_groups(rows_per_day: dict[int, int], days_per_group: int, rows_per_group: int) -> list[Period]:
    """The days of each row group: at most `days_per_group`, and `rows_per_group` rows unless one day has more."""
    groups: list[Period] = []
    days: list[int] = []
    held = 0
    for day in sorted(rows_per_day):
        if days and (len(days) == days_per_group or held + rows_per_day[day] > rows_per_group):
            groups.append(Period(days[0], days[-1]))
            days, held = [], 0
        days.append(day)
        held += rows_per_day[day]
    groups.append(Period(days[0], days[-1]))
    return groups


def _converted(batch: Any, plan: TableColumns, schema: Any) -> Any:
    """A decoded batch with the output's columns: dates, plain names, floats."""
    days = days_of(batch.column(plan.date)).astype(np.int32)
    dates = pa.Array.from_buffers(pa.date32(), len(days), [None, pa.py_buffer(days)])
    values = []
    for name, dtype in plan.columns:
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        try:
            # Safe: an integer that float64 cannot hold is an error.
            values.append(column.cast(pa.float32() if dtype == "float32" else pa.float64()))
        except pa.ArrowInvalid as error:
            raise RefusalError(
                "factors.not_numeric", "values are not exact as floats", where=f"column {name!r}", found=str(error)
            ) from error
    return pa.RecordBatch.from_arrays([dates, text_of(batch.column(plan.instrument)), *values], schema=schema)


def _in_file_order(batches: Iterator[Any], layout: Layout, groups: Sequence[Period]) -> Iterator[Any]:
    """One table per row group; a row group is done when no later segment brings one of its days."""
    waiting: list[Any] = []
    position = 0
    for batch, next_day in layout.with_next_day(batches):
        waiting.append(batch)
        while position < len(groups) and groups[position].last < next_day:
            table, waiting = _extract(waiting, groups[position])
            yield table
            position += 1


def _by_buckets(
    batches: Iterator[Any], layout: Layout, groups: Sequence[Period], schema: Any, directory: Path, bucket_rows: int
) -> Iterator[Any]:
    """One table per row group, by way of spill files of whole row groups, each small enough to sort in memory."""
    buckets = _buckets(groups, layout.rows_per_day, bucket_rows)
    files = [directory / f"{number}.arrow" for number in range(len(buckets))]
    _spill(batches, [bucket[0].first for bucket in buckets], files, schema)
    for bucket, path in zip(buckets, files, strict=True):
        with pa.OSFile(str(path)) as stream, pa.ipc.open_stream(stream) as reader:
            waiting = list(reader)
        path.unlink()
        for group in bucket:
            table, waiting = _extract(waiting, group)
            yield table


def _buckets(groups: Sequence[Period], rows_per_day: dict[int, int], bucket_rows: int) -> list[list[Period]]:
    bucket_rows = max(bucket_rows, -(-sum(rows_per_day.values()) // (_MAXIMUM_BUCKETS // 2)))
    sizes = [0] * len(groups)
    position = 0
    for day in sorted(rows_per_day):
        position += day > groups[position].last
        sizes[position] += rows_per_day[day]
    buckets: list[list[Period]] = []
    held = 0
    for group, size in zip(groups, sizes, strict=True):
        if not buckets or held + size > bucket_rows:
            buckets.append([])
            held = 0
        buckets[-1].append(group)
        held += size
    return buckets


def _spill(batches: Iterator[Any], first_days: Sequence[int], files: Sequence[Path], schema: Any) -> None:
    """Append every row to the file of its bucket; `first_days` are the buckets' first days, ascending."""
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(pa.ipc.new_stream(stack.enter_context(pa.OSFile(str(path), "wb")), schema))
            for path in files
        ]
        for batch in batches:
            bucket = np.searchsorted(np.asarray(first_days), _days(batch), side="right") - 1
            sorted_batch = batch.take(indices_of(np.argsort(bucket, kind="stable")))
            counts = np.bincount(bucket, minlength=len(files))
            starts = np.cumsum(counts) - counts
            for number in np.flatnonzero(counts):
                writers[number].write_batch(sorted_batch.slice(int(starts[number]), int(counts[number])))


def _extract(waiting: Sequence[Any], group: Period) -> tuple[Any, list[Any]]:
    """(the rows of `group` as one sorted table, the batches of the other rows)."""
    taken: list[Any] = []
    left: list[Any] = []
    for batch in waiting:
        chosen = group.mask(_days(batch))
        for rows, side in ((chosen, taken), (~chosen, left)):
            if rows.all():
                side.append(batch)
            elif rows.any():
                side.append(_rows_of(batch, rows))
    return _sorted(pa.Table.from_batches(taken)), left


def _rows_of(batch: Any, chosen: npt.NDArray[np.bool_]) -> Any:
    rows = np.flatnonzero(chosen)
    first, count = int(rows[0]), len(rows)
    return batch.slice(first, count) if rows[-1] - first + 1 == count else batch.take(indices_of(rows))


def _sorted(table: Any) -> Any:
    batch = table.combine_chunks().to_batches()[0]
    encoded = batch.column(INSTRUMENT_COLUMN).dictionary_encode()
    order, repeated = row_order(_days(batch), numbers_of(encoded.indices, np.dtype(np.int32)), encoded.dictionary)
    if repeated is not None:
        raise RefusalError(
            "factors.duplicate_row",
            "rows repeat the date and instrument of another row",
            expected="one row per date and instrument",
            found=f"{repeated} more than once",
        )
    return batch if order is None else batch.take(indices_of(order))


def _days(batch: Any) -> Days:
    return numbers_of(batch.column(DATE_COLUMN), np.dtype(np.int32)).astype(np.int64)


def _write(tables: Iterator[Any], schema: Any, out: Path) -> int:
    """Write one row group per table and return the number of distinct instruments.

    Floats without dictionary (they rarely repeat) and statistics for the keys only, without which no row group could be
    left out; no schema in metadata, so that readers see plain parquet types.
    """
    keys = [DATE_COLUMN, INSTRUMENT_COLUMN]
    instruments: set[str] = set()
    with pq.ParquetWriter(
        out, schema, compression="zstd", use_dictionary=keys, write_statistics=keys, store_schema=False
    ) as writer:
        for batch in tables:
            instruments.update(batch.column(INSTRUMENT_COLUMN).dictionary_encode().dictionary.to_pylist())
            writer.write_table(pa.Table.from_batches([batch]), row_group_size=batch.num_rows)
    return len(instruments)
