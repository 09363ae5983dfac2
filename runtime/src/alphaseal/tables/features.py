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

import contextlib
import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.arrow.columns import (
    DATE_COLUMN,
    INSTRUMENT_COLUMN,
    Days,
    days_of,
    floats_of,
    indices_of,
    numbers_of,
    plain_name,
    require_date_type,
    row_order,
    text_of,
)
from alphaseal.arrow.number_types import NumberColumn, require_number_type
from alphaseal.errors import InputError
from alphaseal.tables.instruments import normalise
from alphaseal.tables.period import DateRange, Day, Period
from alphaseal.tables.request import AS_WRITTEN, Notation

_BATCH_BYTES = 8 << 20
Block = TypeVar("Block", bound="FeatureBlock")


@dataclass(frozen=True)
class FeatureColumn:
    """A `NumberColumn` for callers without a manifest."""

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
    reasons: npt.NDArray[np.object_] | None = None
    """Of each row why it gets no rank although the stages see it, "" where it may get one; None: all may."""
    left_out: tuple[tuple[np.datetime64, str, str], ...] = ()
    """(date, instrument, reason) of rows that were taken out before the stages."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.dates)

    def told(self) -> set[tuple[np.datetime64, str]]:
        """(date, instrument) of stocks whose absence is told already."""
        return {(date, name) for date, name, _ in self.left_out}

    def taken(self: Block, rows: npt.NDArray[np.int64]) -> Block:
        """Some of the rows, in ascending order."""
        return replace(
            self,
            dates=self.dates[rows],
            instruments=self.instruments.take(indices_of(rows)),
            values=self.values[rows],
            reasons=None if self.reasons is None else self.reasons[rows],
        )

    def spans(self) -> list[tuple[np.datetime64, int, int]]:
        """Of each date, in order; see `spans_of`."""
        return spans_of(self.dates)

    def scored(
        self: Block, rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]
    ) -> tuple[Block, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The block that is ranked, and where in it the scored `rows` are: here all of it."""
        return self, rows, scores


def spans_of(dates: npt.NDArray[np.datetime64]) -> list[tuple[np.datetime64, int, int]]:
    """(date, first row, row after the last) of each date of rows that are sorted by date."""
    if len(dates) == 0:
        return []
    starts = np.flatnonzero(np.r_[True, dates[1:] != dates[:-1]])
    return [
        (dates[start], int(start), int(stop)) for start, stop in zip(starts, [*starts[1:], len(dates)], strict=True)
    ]


# --- public readers -------------------------------------------------------------------------------------------------


def read_table(
    table: Any,
    features: Sequence[NumberColumn],
    *,
    date: Day | None = None,
    dates: DateRange | None = None,
    notation: Notation = AS_WRITTEN,
) -> FeatureBlock:
    """The rows of `table` for one date, for the dates from..to (both included, None for open), or all of them.

    `table` is a pyarrow Table, RecordBatch or RecordBatchReader, or any object with ``__arrow_c_stream__``; a pandas
    DataFrame may carry `datetime` and `instrument` as columns or as index levels.

    Raises InputError with the codes features.* and instrument.*, UsageError for dates that are none.
    """
    period = Period.of(date, dates)
    with _stream(table) as reader:
        plan = TableColumns.of(_schema_of(reader), features)
        rows = CollectedRows(plan, period)
        for batch in _batches_of(reader, None if _is_checked(table) else plan.column_names):
            rows.add(batch)
    return rows.block(notation)


# --- which columns --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TableColumns:
    """Which column of a schema is the date, the instrument, and each feature, by the name it has there."""

    date: str
    instrument: str
    columns: tuple[tuple[str, str], ...]
    """(name in the schema, training dtype) of each feature in model order."""
    extra: tuple[str, ...]

    @property
    def column_names(self) -> list[str]:
        return [self.date, self.instrument, *(name for name, _ in self.columns)]

    @property
    def batch_rows(self) -> int:
        from alphaseal.tables.parquet import batch_rows

        return batch_rows(len(self.columns), _BATCH_BYTES)

    @classmethod
    def of(cls, schema: Any, features: Sequence[NumberColumn]) -> TableColumns:
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
        plan._require_types(schema, features)
        return plan

    def _require_types(self, schema: Any, features: Sequence[NumberColumn]) -> None:
        # Before any row is looked at: statistics of dates in a time zone would be read as dates without one.
        kind = schema.field(self.date).type
        require_date_type(kind.value_type if pa.types.is_dictionary(kind) else kind)
        for name in self.column_names:
            field = schema.field(name)
            extension = isinstance(field.type, pa.BaseExtensionType) or b"ARROW:extension:name" in (
                field.metadata or {}
            )
            if extension:
                raise InputError(
                    "features.column_type",
                    "extension types are not read",
                    where=f"column {name!r}",
                    expected="plain column types",
                    found=str(field.type),
                )
        for (name, _), feature in zip(self.columns, features, strict=True):
            require_number_type(schema.field(name).type, feature, name)


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


class CollectedRows:
    """Collects the rows of a period batch by batch; `block` sorts and checks them."""

    def __init__(self, plan: TableColumns, period: Period) -> None:
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
        first = int(np.argmax(chosen))
        last = len(chosen) - int(np.argmax(chosen[::-1]))
        batch, days, chosen = batch.slice(first, last - first), days[first:last], chosen[first:last]
        instruments = text_of(batch.column(self.plan.instrument))
        if count < len(days):
            rows = indices_of(np.flatnonzero(chosen))
            days, instruments = days[chosen], instruments.take(rows)
            batch = batch.select([name for name, _ in self.plan.columns]).take(rows)
        self._append(days, instruments, _matrix(batch, self.plan))

    def split(self, first_day_kept: int) -> CollectedRows:
        """Move the rows before `first_day_kept` out, into a collection of their own."""
        done = CollectedRows(self.plan, self.period)
        kept = CollectedRows(self.plan, self.period)
        for days, instruments, values in zip(self.days, self.instruments, self.values, strict=True):
            before = days < first_day_kept
            for rows, side in ((before, done), (~before, kept)):
                if rows.all():
                    side._append(days, instruments, values)  # noqa: SLF001 - of its own class
                elif rows.any():
                    chosen = np.flatnonzero(rows)
                    side._append(days[chosen], instruments.take(indices_of(chosen)), values[chosen])  # noqa: SLF001 - of its own class
        self.days, self.instruments, self.values = kept.days, kept.instruments, kept.values
        return done

    def _append(self, days: Days, instruments: Any, values: npt.NDArray[np.float64]) -> None:
        self.days.append(days)
        self.instruments.append(instruments)
        self.values.append(values)

    def block(self, notation: Notation) -> FeatureBlock:
        """All collected rows, sorted, with the bundle's instruments; the collection is emptied.

        Raises `features.date_absent` where there are none, `features.duplicate_row`, and what `normalise` raises.
        """
        if not self.days:
            raise self.period.absent()
        days = self.days[0] if len(self.days) == 1 else np.concatenate(self.days)
        encoded = pa.concat_arrays(self.instruments).dictionary_encode()
        # Only the distinct codes are converted and checked.
        names = normalise(encoded.dictionary, notation)
        codes = numbers_of(encoded.indices, np.dtype(np.int32))
        order, repeated = row_order(days, codes, names)
        if repeated is not None:
            raise InputError(
                "features.duplicate_row",
                "rows repeat the date and instrument of another row",
                expected="one row per date and instrument",
                found=f"{repeated} more than once",
            )
        values = self._take_values(order)
        if order is not None:
            days, codes = days[order], codes[order]
        instruments = names.take(pa.Array.from_buffers(pa.int32(), len(codes), [None, pa.py_buffer(codes.copy())]))
        return FeatureBlock(days.astype("datetime64[D]"), instruments, values, self.plan.extra)

    def _take_values(self, order: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float64]:
        """The collected values in `order` (None: as collected); each part is let go as soon as it is copied."""
        parts, self.days, self.instruments, self.values = self.values, [], [], []
        if order is None and len(parts) == 1:
            return parts[0]
        values = np.empty((sum(map(len, parts)), len(self.plan.columns)), np.float64)
        place = np.arange(len(values))
        if order is not None:
            place[order] = np.arange(len(values))
        parts.reverse()
        start = 0
        while parts:
            part = parts.pop()
            values[place[start : start + len(part)]] = part
            start += len(part)
        return values


def _matrix(batch: Any, plan: TableColumns) -> npt.NDArray[np.float64]:
    values = np.empty((batch.num_rows, len(plan.columns)), np.float64)
    for position, (name, dtype) in enumerate(plan.columns):
        values[:, position] = floats_of(batch.column(name), dtype, name)
    return values


# --- tables in memory -----------------------------------------------------------------------------------------------


def is_file(table: Any) -> bool:
    """Whether a table is a parquet file, given by its path or as its bytes."""
    return isinstance(table, (str, bytes, os.PathLike))


_CHECKED: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
"""Tables that `table_of` gave, which were looked at whole; by identity."""


def table_of(table: Any) -> Any:
    """Any kind of table as a pyarrow Table that was looked at whole and can be read more than once.

    InputError `features.not_a_table`, `features.damaged`.
    """
    if _is_checked(table):
        return table
    with _stream(table) as reader:
        schema = _schema_of(reader)
        found = pa.Table.from_batches(list(_batches_of(reader, schema.names)), schema)
    _CHECKED[id(found)] = found
    return found


def _is_checked(table: Any) -> bool:
    return _CHECKED.get(id(table)) is table


def _stream(table: Any) -> Any:
    """A record batch reader over any kind of table."""
    with _as_table_errors():
        if isinstance(table, pa.RecordBatchReader):
            return table
        if isinstance(table, pa.Table):
            return table.to_reader()
        if isinstance(table, pa.RecordBatch):
            return pa.RecordBatchReader.from_batches(table.schema, [table])
        if hasattr(table, "__arrow_c_stream__"):
            from alphaseal.arrow.stream import StreamReader

            return StreamReader(table)
        if hasattr(table, "reset_index") and hasattr(table, "columns"):
            # A DataFrame of pandas before 2.2: pandas is loaded already, Arrow's own conversion keeps the index levels.
            return pa.Table.from_pandas(table).to_reader()
    raise InputError(
        "features.not_a_table",
        "this object is not a table",
        expected="pyarrow, pandas, polars or duckdb data, or anything with the Arrow C stream interface",
        found=type(table).__name__,
    )


def _schema_of(reader: Any) -> Any:
    """The schema of a reader, whose names are text."""
    with _as_table_errors():
        schema = reader.schema
        schema.names  # noqa: B018
    # pyarrow 15 takes such columns in and has no class for them: it ends with a bare KeyError where they are used.
    if not hasattr(pa, "string_view"):
        for field in schema:
            if "_view" in str(field.type):
                raise InputError(
                    "features.not_a_table",
                    f"pyarrow {pa.__version__} cannot read the layout of a column",
                    where=f"column {field.name!r}",
                    expected="pyarrow 16 or later for strings as views, which polars has",
                    found=str(field.type),
                    next_step="pip install 'pyarrow>=16', or hand over frame.to_arrow(compat_level=polars.CompatLevel.oldest())",
                )
    return schema


def _batches_of(reader: Any, checked: Sequence[str] | None) -> Iterator[Any]:
    """The batches of a reader, of which the columns `checked` were looked at whole (None: this was done before).

    From here on ends of texts, places in dictionaries and lengths of buffers are used as they are.
    """
    batches = iter(reader)
    while True:
        with _as_table_errors():
            batch = next(batches, None)
        if batch is None:
            return
        if checked is not None:
            _check_columns(batch, checked)
        yield batch


def _check_columns(batch: Any, names: Sequence[str]) -> None:
    """InputError `features.damaged` where a column contradicts itself."""
    for name in names:
        try:
            for column in (place for place, own in enumerate(batch.schema.names) if own == name):
                batch.column(column).validate(full=True)
        except (pa.ArrowException, ValueError) as error:
            raise InputError(
                "features.damaged",
                "a column of the table contradicts itself",
                where=f"column {name!r}",
                expected="ends of texts and places in dictionaries within bounds, UTF-8, buffers as long as the column",
                found=str(error)[:300],
                next_step="make the table again with the library that it comes from",
            ) from error


@contextlib.contextmanager
def _as_table_errors() -> Iterator[None]:
    """What Arrow raises for what is no table as InputError `features.not_a_table`."""
    try:
        yield
    except (pa.ArrowException, OSError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise InputError(
            "features.not_a_table", "the table cannot be read as Arrow data", found=str(error)[:500]
        ) from error
