"""From a caller's table to the model's matrix: one float64 row per date and instrument, columns in model order.

Input is anything with the Arrow C stream interface (pandas, polars, duckdb, pyarrow) or a parquet file; pandas is never
imported from here, and the pyarrow calls that import it behind one's back (`Array.to_numpy`, `pa.array` and `pa.scalar`
of Python values: 0.3 to 0.6 s) are avoided: buffers are read directly.

What every reader of this module promises:
- a value is cast to its feature's training dtype first and widened to float64 then; null becomes NaN, infinity stays;
- rows are sorted by date, then by instrument in code point order; a (date, instrument) pair occurs once;
- the date that was asked for is the date that is returned, or an error; never the nearest.
"""

from __future__ import annotations

import ast
import datetime
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from alphaseal.errors import InputError, NotReadableError, UsageError
from alphaseal.instruments import normalise

Days = npt.NDArray[np.int64]
"""Days since 1970-01-01."""
Day = str | datetime.date | np.datetime64

DATE_COLUMN = "datetime"
INSTRUMENT_COLUMN = "instrument"
MAXIMUM_BYTES = 8 << 30
_BATCH_BYTES = 64 << 20
_FILE_BUFFER = 1 << 20
_FIRST_DAY = int(np.datetime64("0001-01-01", "D").astype(np.int64))
_LAST_DAY = int(np.datetime64("9999-12-31", "D").astype(np.int64))
_UNITS_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_UNIT_NAMES = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}
_NAME_LIMIT = 1024


class Feature(Protocol):
    """One input column of the model: its plain name and the dtype it was trained in ("float32" or "float64")."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...


@dataclass(frozen=True)
class FeatureColumn:
    """A `Feature` for callers without a manifest."""

    name: str
    dtype: str


@dataclass(frozen=True, eq=False)
class FeatureBlock:
    """Rows ready for the model.

    `dates` datetime64[D] and `instruments` (Arrow string array), one per row, sorted by both; `values` float64 of shape
    [rows, features], C-contiguous, columns in model order; `extra` the columns of the table that no feature names.
    """

    dates: npt.NDArray[np.datetime64]
    instruments: Any
    values: npt.NDArray[np.float64]
    extra: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.dates)

    def spans(self) -> list[tuple[np.datetime64, int, int]]:
        """(date, first row, row after the last) of each date, in order."""
        if len(self.dates) == 0:
            return []
        starts = np.flatnonzero(np.r_[True, self.dates[1:] != self.dates[:-1]])
        return [
            (self.dates[start], int(start), int(stop))
            for start, stop in zip(starts, [*starts[1:], len(self.dates)], strict=True)
        ]


# --- public readers -------------------------------------------------------------------------------------------------


def read_table(
    table: Any,
    features: Sequence[Feature],
    *,
    date: Day | None = None,
    dates: tuple[Day | None, Day | None] | None = None,
    instruments_from: str | None = None,
    instrument_pattern: str | None = None,
) -> FeatureBlock:
    """The rows of `table` for one date, for the dates from..to (both included, None for open), or all of them.

    `table` is a pyarrow Table, RecordBatch or RecordBatchReader, or any object with ``__arrow_c_stream__``; a pandas
    DataFrame may carry `datetime` and `instrument` as columns or as index levels.  `instruments_from` ("qlib", "ts") is
    the notation of the table where it is not the bundle's; `instrument_pattern` what every instrument must match.

    Raises InputError with the codes features.* and instrument.*, UsageError for dates that are none.
    """
    period = _Period.of(date, dates)
    with _stream(table) as reader:
        plan = _Plan.of(reader.schema, features)
        rows = _Rows(plan, period)
        for batch in _batches_of(reader):
            rows.add(batch)
    return rows.block(instruments_from, instrument_pattern)


def read_parquet(
    source: str | os.PathLike[str] | bytes,
    features: Sequence[Feature],
    *,
    date: Day | None = None,
    dates: tuple[Day | None, Day | None] | None = None,
    instruments_from: str | None = None,
    instrument_pattern: str | None = None,
    max_bytes: int = MAXIMUM_BYTES,
    max_rows: int | None = None,
) -> FeatureBlock:
    """As `read_table`, from a parquet file (its path, or its bytes).

    Only the needed columns of the row groups whose date statistics meet the period are read; without statistics all
    row groups are.  `max_bytes` and `max_rows` bound what is decoded (Arrow bytes): the footer's sizes are not believed.

    Raises InputError as `read_table` does, and `features.not_parquet`, `features.column_type`, `features.too_large`;
    NotReadableError `features.not_readable`.
    """
    period = _Period.of(date, dates)
    with _open(source) as file:
        plan = _Plan.of(file.schema_arrow, features)
        rows = _Rows(plan, period)
        groups = []
        for group, (first, last) in enumerate(_date_ranges(file, plan)):
            if period.meets(first, last):
                groups.append(group)
            else:
                period.note_absent(first, last)
        for batch in _decode(file, groups, plan.column_names, len(features), _Budget(max_bytes, max_rows)):
            rows.add(batch)
    return rows.block(instruments_from, instrument_pattern)


def iter_parquet(
    source: str | os.PathLike[str] | bytes,
    features: Sequence[Feature],
    dates: tuple[Day | None, Day | None] | None = None,
    *,
    instruments_from: str | None = None,
    instrument_pattern: str | None = None,
    block_bytes: int = 256 << 20,
) -> Iterator[FeatureBlock]:
    """Blocks of whole dates in ascending order, in memory that does not depend on the length of the file.

    The date column is read first, alone, so that the order of the file is known and not assumed.  A file sorted by date
    (or nearly) is then read once; another one is read once per group of dates whose values fit `block_bytes`.  The peak
    is a small multiple of `block_bytes` or of the largest single date.

    Raises as `read_parquet`; `features.date_absent` where no row lies in `dates`.
    """
    period = _Period.of(None, dates)
    block_rows = max(1, block_bytes // (8 * (len(features) + 2)))
    with _open(source) as file:
        plan = _Plan.of(file.schema_arrow, features)
        groups = []
        for group, (first, last) in enumerate(_date_ranges(file, plan)):
            if period.meets(first, last):
                groups.append(group)
            else:
                period.note_absent(first, last)
        layout = _Layout.of(file, groups, plan, period)
        blocks = (
            _stream_blocks(file, plan, period, layout)
            if layout.largest_backlog() <= block_rows
            else _chunked_blocks(file, plan, layout, block_rows)
        )
        for rows in blocks:
            yield rows.block(instruments_from, instrument_pattern)


# --- names and dates, also used by the converter --------------------------------------------------------------------


def plain_name(name: str, group: str = "feature") -> str | None:
    """`NAME` for ``NAME`` and for pandas' flattened ``('feature', 'NAME')``; None for a tuple of another kind."""
    if not name.startswith("('") and not name.startswith('("'):
        return name
    parts = _flattened(name)
    if parts is None:
        return name
    return parts[1] if parts[0] == group else None


def _flattened(name: str) -> tuple[str, str] | None:
    """The two strings of pandas' flattened column name; None where `name` is not the repr of such a tuple."""
    if len(name) > _NAME_LIMIT:
        return None
    try:
        parts = ast.literal_eval(name)
    except (ValueError, SyntaxError):
        return None
    if isinstance(parts, tuple) and len(parts) == 2 and all(isinstance(part, str) for part in parts):
        return parts
    return None


def days_of(column: Any) -> Days:
    """The dates of an Arrow column as days since 1970-01-01.

    Takes date32, date64 and timestamps of any unit without time zone, plain or dictionary-encoded.  Raises InputError
    `features.date_type`, `features.time_zone`, `features.time_of_day`, `features.null_key`, `features.date_range`.
    """
    column = _decoded(column)
    _refuse_null_keys(column, DATE_COLUMN)
    kind = column.type
    if pa.types.is_date32(kind):
        days = _numbers(column, np.dtype(np.int32)).astype(np.int64)
    else:
        _require_date_type(kind)
        per_day = _UNITS_PER_DAY["ms" if pa.types.is_date64(kind) else kind.unit]
        days, rest = np.divmod(_numbers(column, np.dtype(np.int64)), per_day)
        if rest.any():
            first = int(np.argmax(rest != 0))
            raise InputError(
                "features.time_of_day",
                "a date has a time of day",
                where=f"column '{DATE_COLUMN}'",
                expected="midnight of the trading date, or a date type",
                found=column[first].cast(pa.string()).as_py(),
                next_step="normalise the column to dates",
            )
    if len(days) and (int(days.min()) < _FIRST_DAY or int(days.max()) > _LAST_DAY):
        raise InputError(
            "features.date_range", "a date is outside the years 1 to 9999", where=f"column '{DATE_COLUMN}'"
        )
    return days


def _require_date_type(kind: Any) -> None:
    if pa.types.is_date64(kind) or (pa.types.is_timestamp(kind) and kind.tz is None):
        return
    if pa.types.is_timestamp(kind):
        raise InputError(
            "features.time_zone",
            "the dates carry a time zone, so the trading date is ambiguous",
            where=f"column '{DATE_COLUMN}'",
            expected="a date type, or timestamps without time zone",
            found=str(kind),
            next_step="convert the column to the exchange's local date first",
        )
    raise InputError(
        "features.date_type",
        "the date column does not hold dates",
        where=f"column '{DATE_COLUMN}'",
        expected="date32, date64, or timestamps without time zone",
        found=str(kind),
        next_step="convert the column to dates (strings and numbers are not guessed at)",
    )


def text_of(column: Any) -> Any:
    """The instruments of an Arrow column as a plain string array: strings of any layout, or a dictionary of them.

    Raises InputError `features.instrument_type` and `features.null_key`.
    """
    column = _decoded(column)
    _refuse_null_keys(column, INSTRUMENT_COLUMN)
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    raise InputError(
        "features.instrument_type",
        "the instrument column does not hold text",
        where=f"column '{INSTRUMENT_COLUMN}'",
        expected="strings",
        found=str(kind),
    )


def is_numeric(kind: Any) -> bool:
    """Whether an Arrow type is taken as feature values: integers, floats, or all null."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind))


def _decoded(column: Any) -> Any:
    if not pa.types.is_dictionary(column.type):
        return column
    values = column.dictionary
    # Arrow has no kernel that takes from a view array.
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    return values.take(column.indices)


def _refuse_null_keys(column: Any, name: str) -> None:
    if column.null_count:
        raise InputError(
            "features.null_key", f"{column.null_count} rows have no {name}", where=f"column '{name}'", found="null"
        )


def _numbers(column: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The values of a primitive Arrow array as a view on its buffer; what stands at nulls is undefined."""
    if len(column) == 0:
        return np.empty(0, dtype)
    values: npt.NDArray[Any] = np.frombuffer(column.buffers()[1], dtype, count=column.offset + len(column))
    return values[column.offset :]


def _floats(column: Any, dtype: str) -> npt.NDArray[Any]:
    """A numeric Arrow array as floats of the training dtype, NaN for null."""
    column = _decoded(column)
    target, wide = (pa.float32(), np.dtype(np.float32)) if dtype == "float32" else (pa.float64(), np.dtype(np.float64))
    if column.type != target:
        # One rounding from the source type; beyond the range of float32 lies infinity, as with numpy's astype.
        column = column.cast(target, safe=False)
    values = _numbers(column, wide)
    if not column.null_count:
        return values
    bits = np.frombuffer(column.buffers()[0], np.uint8)
    valid = np.unpackbits(bits, count=column.offset + len(column), bitorder="little")[column.offset :]
    return np.where(valid.view(np.bool_), values, wide.type(np.nan))


def _indices(order: npt.NDArray[np.int64]) -> Any:
    """`order` as an Arrow array, without `pa.array` (which imports pandas)."""
    order = np.ascontiguousarray(order, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(order), [None, pa.py_buffer(order)])


# --- the period asked for -------------------------------------------------------------------------------------------


@dataclass
class _Period:
    """The days asked for, both ends included, and the nearest days beside them that were met (for the error)."""

    first: int
    last: int
    before: int | None = None
    after: int | None = None

    @classmethod
    def of(cls, date: Day | None, dates: tuple[Day | None, Day | None] | None) -> _Period:
        if date is not None and dates is not None:
            raise UsageError("usage.dates", "ask for one date or for a range, not for both")
        first, last = (date, date) if dates is None else dates
        period = cls(_FIRST_DAY if first is None else _day(first), _LAST_DAY if last is None else _day(last))
        if period.first > period.last:
            raise UsageError("usage.dates", "the range of dates ends before it begins", found=str(period))
        return period

    def __str__(self) -> str:
        return _date(self.first) if self.first == self.last else f"{_date(self.first)}:{_date(self.last)}"

    def meets(self, first: int, last: int) -> bool:
        return first <= self.last and last >= self.first

    def mask(self, days: Days) -> npt.NDArray[np.bool_]:
        """Which of `days` were asked for; the others are remembered as neighbours."""
        chosen: npt.NDArray[np.bool_] = (days >= self.first) & (days <= self.last)
        if not chosen.all():
            earlier, later = days[days < self.first], days[days > self.last]
            if len(earlier):
                self.note_absent(int(earlier.max()), int(earlier.max()))
            if len(later):
                self.note_absent(int(later.min()), int(later.min()))
        return chosen

    def note_absent(self, first: int, last: int) -> None:
        """Remember days of the table that lie outside: all of first..last is before, or all of it after."""
        if last < self.first:
            self.before = last if self.before is None else max(self.before, last)
        else:
            self.after = first if self.after is None else min(self.after, first)

    def absent(self) -> InputError:
        neighbours = [
            f"{_date(day)} {side}" for day, side in ((self.before, "before"), (self.after, "after")) if day is not None
        ]
        return InputError(
            "features.date_absent",
            "the table has no rows for the date asked for",
            where=f"column '{DATE_COLUMN}'",
            expected=str(self),
            found=f"nearest dates {' and '.join(neighbours)}" if neighbours else "no rows at all",
            next_step="ask for a date of the table; another date's rows are never used instead",
        )


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _day(value: Day) -> int:
    """Days since 1970-01-01 of a date, a numpy datetime64 or the text YYYY-MM-DD."""
    try:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return (datetime.date.fromisoformat(value) - datetime.date(1970, 1, 1)).days
        if isinstance(value, datetime.date):
            midnight = not isinstance(value, datetime.datetime) or (
                value.tzinfo is None and value.time() == datetime.time()
            )
            if midnight:
                return (datetime.date(value.year, value.month, value.day) - datetime.date(1970, 1, 1)).days
        elif isinstance(value, np.datetime64) and not np.isnat(value) and value == value.astype("datetime64[D]"):
            return int(value.astype("datetime64[D]").astype(np.int64))
    except ValueError:
        pass
    raise UsageError("usage.date", "not a date", expected="YYYY-MM-DD", found=repr(value))


# --- which columns --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """Which column of a schema is the date, the instrument, and each feature, by the name it has there."""

    date: str
    instrument: str
    columns: tuple[tuple[str, str], ...]
    """(name in the schema, training dtype) of each feature in model order."""
    extra: tuple[str, ...]

    @property
    def column_names(self) -> list[str]:
        return [self.date, self.instrument, *(name for name, _ in self.columns)]

    @classmethod
    def of(cls, schema: Any, features: Sequence[Feature]) -> _Plan:
        found: dict[str, list[str]] = {}
        for name in schema.names:
            plain = plain_name(name)
            found.setdefault(name if plain is None else plain, []).append(name)
        # pandas' reset_index on columns of two levels leaves the keys as ('datetime', '').
        for key in (DATE_COLUMN, INSTRUMENT_COLUMN):
            found.setdefault(key, []).extend(found.pop(str((key, "")), []))
        wanted = [DATE_COLUMN, INSTRUMENT_COLUMN, *(feature.name for feature in features)]
        _require_once(wanted, found)
        plan = cls(
            date=found[DATE_COLUMN][0],
            instrument=found[INSTRUMENT_COLUMN][0],
            columns=tuple((found[feature.name][0], feature.dtype) for feature in features),
            extra=tuple(sorted(set(found) - set(wanted))),
        )
        plan._require_types(schema)
        return plan

    def _require_types(self, schema: Any) -> None:
        for name in self.column_names:
            field = schema.field(name)
            extension = isinstance(field.type, pa.BaseExtensionType) or b"ARROW:extension:name" in (field.metadata or {})
            if extension:
                raise InputError(
                    "features.column_type",
                    "extension types are not read",
                    where=f"column {name!r}",
                    expected="plain column types",
                    found=str(field.type),
                )
        for name, _ in self.columns:
            kind = schema.field(name).type
            if not is_numeric(kind.value_type if pa.types.is_dictionary(kind) else kind):
                raise InputError(
                    "features.not_numeric",
                    "a feature is not a number",
                    where=f"column {name!r}",
                    expected="integers or floats",
                    found=str(kind),
                )


def _require_once(wanted: Sequence[str], found: dict[str, list[str]]) -> None:
    """Every wanted name is there, under one name; keys first, so that a table of another kind is called that."""
    keys = [key for key in wanted[:2] if not found.get(key)]
    if keys:
        raise InputError(
            "features.no_key_columns",
            f"the table has no column or index level {' and '.join(map(repr, keys))}",
            expected="columns or named index levels 'datetime' and 'instrument'",
            found=_listed([name for names in found.values() for name in names]),
        )
    missing = [name for name in wanted if not found.get(name)]
    if missing:
        raise InputError(
            "features.missing_column",
            f"{len(missing)} features of the model are not in the table",
            expected=_listed(missing, limit=len(missing)),
            found=_listed(sorted(set(found) - set(wanted))) or "no other columns",
            next_step="add these columns; missing features are never filled in",
        )
    twice = [name for name in wanted if len(found[name]) > 1]
    if twice:
        raise InputError(
            "features.duplicate_column",
            "a column is in the table twice",
            where=_listed(twice),
            expected="one column per name, plain or flattened",
            found=_listed([name for column in twice for name in found[column]]),
        )


def _listed(names: Sequence[str], limit: int = 10) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


# --- rows to a block ------------------------------------------------------------------------------------------------


class _Rows:
    """Collects the rows of a period batch by batch; `block` sorts and checks them."""

    def __init__(self, plan: _Plan, period: _Period) -> None:
        self.plan = plan
        self.period = period
        self.days: list[Days] = []
        self.instruments: list[Any] = []
        self.values: list[npt.NDArray[np.float64]] = []

    def add(self, batch: Any) -> None:
        """Take the rows of `batch` that lie in the period; only their values are converted."""
        days = days_of(batch.column(self.plan.date))
        chosen = self.period.mask(days)
        count = int(np.count_nonzero(chosen))
        if count == 0:
            return
        if count < len(days):
            first = int(np.argmax(chosen))
            if chosen[first : first + count].all():
                batch, days = batch.slice(first, count), days[first : first + count]
            else:
                rows = np.flatnonzero(chosen)
                batch, days = batch.select(self.plan.column_names).take(_indices(rows)), days[rows]
        self.days.append(days)
        self.instruments.append(text_of(batch.column(self.plan.instrument)))
        self.values.append(_matrix(batch, self.plan))

    def split(self, first_day_kept: int) -> _Rows:
        """Move the rows before `first_day_kept` out, into a collection of their own."""
        done = _Rows(self.plan, self.period)
        kept = _Rows(self.plan, self.period)
        for days, instruments, values in zip(self.days, self.instruments, self.values, strict=True):
            before = days < first_day_kept
            for rows, side in ((before, done), (~before, kept)):
                if rows.all():
                    side._append(days, instruments, values)
                elif rows.any():
                    chosen = np.flatnonzero(rows)
                    side._append(days[chosen], instruments.take(_indices(chosen)), values[chosen])
        self.days, self.instruments, self.values = kept.days, kept.instruments, kept.values
        return done

    def _append(self, days: Days, instruments: Any, values: npt.NDArray[np.float64]) -> None:
        self.days.append(days)
        self.instruments.append(instruments)
        self.values.append(values)

    def block(self, instruments_from: str | None, instrument_pattern: str | None) -> FeatureBlock:
        """All collected rows, sorted, with the bundle's instruments; the collection is emptied.

        Raises `features.date_absent` where there are none, `features.duplicate_row`, and what `normalise` raises.
        """
        if not self.days:
            raise self.period.absent()
        days = self.days[0] if len(self.days) == 1 else np.concatenate(self.days)
        encoded = pa.concat_arrays(self.instruments).dictionary_encode()
        values = self.values[0] if len(self.values) == 1 else np.concatenate(self.values)
        self.days, self.instruments, self.values = [], [], []
        # Only the distinct codes are converted, checked and compared as text; rows are ordered by integers.
        names = normalise(
            encoded.dictionary, source=instruments_from, bundle_format=None, pattern=instrument_pattern
        )
        by_name = _numbers(pc.array_sort_indices(names), np.dtype(np.uint64)).astype(np.int64)
        rank = np.empty(len(by_name), np.int64)
        rank[by_name] = np.arange(len(by_name))
        codes = _numbers(encoded.indices, np.dtype(np.int32))
        # Days span less than 2^23 and distinct codes less than 2^31: no overflow.
        keys = (days - days.min()) * len(rank) + rank[codes]
        steps = np.diff(keys)
        if (steps <= 0).any():
            order = np.argsort(keys, kind="stable")
            days, codes, values, steps = days[order], codes[order], values[order], np.diff(keys[order])
        _refuse_duplicate_rows(steps, days, codes, names)
        instruments = names.take(pa.Array.from_buffers(pa.int32(), len(codes), [None, pa.py_buffer(codes.copy())]))
        return FeatureBlock(days.astype("datetime64[D]"), instruments, values, self.plan.extra)


def _matrix(batch: Any, plan: _Plan) -> npt.NDArray[np.float64]:
    values = np.empty((batch.num_rows, len(plan.columns)), np.float64)
    for position, (name, dtype) in enumerate(plan.columns):
        values[:, position] = _floats(batch.column(name), dtype)
    return values


def _refuse_duplicate_rows(steps: Days, days: Days, codes: npt.NDArray[Any], names: Any) -> None:
    repeated = np.flatnonzero(steps == 0)
    if len(repeated):
        row = int(repeated[0])
        raise InputError(
            "features.duplicate_row",
            f"{len(repeated)} rows repeat the date and instrument of another row",
            expected="one row per date and instrument",
            found=f"{_date(int(days[row]))} {names[int(codes[row])].as_py()} more than once",
        )


# --- tables in memory -----------------------------------------------------------------------------------------------


def _stream(table: Any) -> Any:
    """A record batch reader over any kind of table."""
    try:
        if isinstance(table, pa.RecordBatchReader):
            return table
        if isinstance(table, pa.Table):
            return table.to_reader()
        if isinstance(table, pa.RecordBatch):
            return pa.RecordBatchReader.from_batches(table.schema, [table])
        if hasattr(table, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(table)
        if hasattr(table, "reset_index") and hasattr(table, "columns"):
            # A DataFrame of pandas before 2.2: pandas is loaded already, Arrow's own conversion keeps the index levels.
            return pa.Table.from_pandas(table).to_reader()
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError("features.not_a_table", "the table cannot be read as Arrow data", found=str(error)) from error
    raise InputError(
        "features.not_a_table",
        "this object is not a table",
        expected="pyarrow, pandas, polars or duckdb data, or anything with the Arrow C stream interface",
        found=type(table).__name__,
    )


def _batches_of(reader: Any) -> Iterator[Any]:
    try:
        yield from reader
    except pa.ArrowException as error:
        raise InputError("features.not_a_table", "the table cannot be read as Arrow data", found=str(error)) from error


# --- parquet --------------------------------------------------------------------------------------------------------


@dataclass
class _Budget:
    """What may still be decoded; counted on the data themselves, since a footer bounds nothing."""

    max_bytes: int
    max_rows: int | None
    seen_bytes: int = 0
    seen_rows: int = 0

    def spend(self, batch: Any) -> None:
        self.seen_bytes += batch.nbytes
        self.seen_rows += batch.num_rows
        if self.seen_bytes > self.max_bytes:
            self._refuse(f"at most {self.max_bytes} bytes", f"{self.seen_bytes} bytes and more")
        if self.max_rows is not None and self.seen_rows > self.max_rows:
            self._refuse(f"at most {self.max_rows} rows", f"{self.seen_rows} rows and more")

    @staticmethod
    def _refuse(expected: str, found: str) -> None:
        raise InputError(
            "features.too_large", "the file holds more data than is allowed", expected=expected, found=found
        )


def _open(source: str | os.PathLike[str] | bytes) -> Any:
    """The parquet file with instruments left as dictionaries (small and quick) and without extension types."""
    try:
        return pq.ParquetFile(
            pa.BufferReader(source) if isinstance(source, bytes) else Path(source),
            read_dictionary=[INSTRUMENT_COLUMN],
            buffer_size=_FILE_BUFFER,
            pre_buffer=False,
            arrow_extensions_enabled=False,
        )
    except (pa.ArrowException, ValueError) as error:
        raise _not_parquet(error) from error
    except OSError as error:
        raise NotReadableError(
            "features.not_readable", "the features file cannot be read", where=str(source), found=str(error)
        ) from error


def _not_parquet(error: Exception) -> InputError:
    return InputError("features.not_parquet", "the file is not readable as parquet", found=str(error))


def _decode(file: Any, groups: Sequence[int], columns: list[str], width: int, budget: _Budget) -> Iterator[Any]:
    """Record batches of some columns of some row groups, in file order, each of bounded size."""
    if not groups:
        return
    rows = max(1024, min(131_072, _BATCH_BYTES // (8 * (width + 2))))
    try:
        for batch in file.iter_batches(batch_size=rows, row_groups=list(groups), columns=columns):
            budget.spend(batch)
            yield batch
    except (pa.ArrowException, OSError) as error:
        raise _not_parquet(error) from error


def _date_ranges(file: Any, plan: _Plan) -> list[tuple[int, int]]:
    """(first day, last day) of each row group by its statistics; all of time where there are none."""
    metadata = file.metadata
    everything = (_FIRST_DAY, _LAST_DAY)
    positions = [index for index in range(metadata.num_columns) if metadata.schema.column(index).path == plan.date]
    if len(positions) != 1:
        return [everything] * metadata.num_row_groups
    per_day = _units_per_day(metadata.schema.column(positions[0]).logical_type)
    ranges = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(positions[0]).statistics
        if per_day is None or statistics is None or not statistics.has_min_max:
            ranges.append(everything)
        else:
            ranges.append((int(statistics.min_raw) // per_day, int(statistics.max_raw) // per_day))
    return ranges


def _units_per_day(logical_type: Any) -> int | None:
    """What one day is in the raw statistics of a date column; None where the type is not known."""
    description = json.loads(logical_type.to_json())
    if description.get("Type") == "Date":
        return 1
    if description.get("Type") == "Timestamp":
        unit = _UNIT_NAMES.get(description.get("timeUnit"))
        return None if unit is None else _UNITS_PER_DAY[unit]
    return None


# --- years in constant memory ---------------------------------------------------------------------------------------


@dataclass
class _Layout:
    """Where the days of a file lie: per row group its first and last day, and over all of them the rows per day."""

    groups: list[int]
    first: list[int]
    last: list[int]
    rows: list[int]
    rows_per_day: dict[int, int]

    @classmethod
    def of(cls, file: Any, groups: Sequence[int], plan: _Plan, period: _Period) -> _Layout:
        """Read the date column of `groups` and nothing else."""
        layout = cls([], [], [], [], {})
        for group in groups:
            days = np.empty(0, np.int64)
            for batch in _decode(file, [group], [plan.date], 0, _Budget(MAXIMUM_BYTES, None)):
                batch_days = days_of(batch.column(plan.date))
                distinct, counts = np.unique(batch_days[period.mask(batch_days)], return_counts=True)
                for day, count in zip(distinct.tolist(), counts.tolist(), strict=True):
                    layout.rows_per_day[day] = layout.rows_per_day.get(day, 0) + count
        return layout

    def largest_backlog(self) -> int:
        return 0
