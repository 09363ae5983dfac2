"""V8: what a parquet file of a bundle may be, checked before and while it is decoded.

The manifest, which is signed, says the columns and the rows; the file's own claims bound nothing.  Columns are plain
numbers, dates and short texts, extension types are off, and neither pages nor batches may hold more than so many rows of
such columns can.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.arrow.columns import FIRST_DAY, LAST_DAY, numbers_of
from alphaseal.arrow.versions import PLAIN_TYPES
from alphaseal.disk.verified import VerifiedFile
from alphaseal.errors import PolicyError
from alphaseal.format.manifest import FactorTable
from alphaseal.gate.parquet.footer import Footer, ReadAt, read_footer
from alphaseal.gate.parquet.pages import CODECS, check_pages
from alphaseal.gate.parquet.thrift import PageProblem

MAXIMUM_TEXT = 64
"""Bytes of an instrument code or of the name of a golden case."""
_BATCH_BYTES = 8 << 20
_SLACK = 1 << 20
"""For headers of pages, levels and dictionaries, which small files have too."""


def read_exact(data: bytes, schema: pa.Schema, rows: int, where: str) -> pa.Table:
    """The table in the bytes of a parquet file that has exactly this schema and so many rows.

    Raises PolicyError `data.parquet`, `data.metadata`, `data.schema`, `data.growth`, `data.date_range`.
    """
    handle = pa.BufferReader(data)
    file = _open(handle, schema, rows, where)
    batches = list(_decode(file, schema, rows, where))
    return pa.Table.from_batches([_plain(batch, schema, where) for batch in batches], schema=schema)


def check_factors(file: BinaryIO | VerifiedFile, table: FactorTable) -> None:
    """Check factors.parquet without decoding it: columns and rows are the manifest's, pages are what such rows can fill.

    Numbers are float32 or float64, as the run had them.  Raises as `read_exact`.
    """
    with pa.PythonFile(file, mode="r") as handle:
        # float32 or float64 is the run's choice for each column; all else is the manifest's.
        columns = _footer(handle, table.file)[0].schema
        single = {
            columns.column(place).path
            for place in range(len(columns))
            if columns.column(place).physical_type == "FLOAT"
        }
        numbers = [pa.field(name, pa.float32() if name in single else pa.float64()) for name in table.columns]
        keys = [pa.field("datetime", pa.date32()), pa.field("instrument", pa.string())]
        _open(handle, pa.schema([*keys, *numbers]), table.rows, table.file)


def _budget(schema: pa.Schema, rows: int) -> int:
    """Bytes that `rows` rows of such columns take at most, twice: pages beside what is decoded from them."""
    texts = len([field for field in schema if pa.types.is_string(field.type)])
    return 2 * rows * (8 * len(schema) + (MAXIMUM_TEXT + 4) * texts) + _SLACK * len(schema)


def _open(handle: Any, schema: pa.Schema, rows: int, where: str) -> Any:
    """The parquet file, its footer and pages checked; texts are left as dictionaries, so that none is repeated."""
    metadata, footer = _footer(handle, where)
    # V8: before pyarrow builds anything of the file's own schema.
    if list(footer.columns) != schema.names:
        raise _other_columns(schema, ", ".join(footer.columns), where)
    # V8: the manifest counts the rows; a group for each of them is the most there can be.
    if footer.rows != rows or footer.counted_rows != rows or len(footer.groups) > max(1, rows):
        raise PolicyError(
            "data.schema",
            "the rows are not those of the manifest",
            where=where,
            expected=str(rows),
            found=f"{footer.rows}, in groups {footer.counted_rows}",
        )
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    try:
        # Texts stay dictionaries, so that a long text is held once however often it is repeated.
        file = pq.ParquetFile(handle, metadata=metadata, read_dictionary=texts, pre_buffer=False, **PLAIN_TYPES)
        found = [_as_written(field) for field in file.schema_arrow]
        # V8: types and nullability too, as pyarrow reads them.
        if found != [(field.name, field.type, field.nullable) for field in schema]:
            raise _other_columns(schema, ", ".join(f"{name} {kind}" for name, kind, _ in found), where)
        chunks = footer.chunks(range(len(footer.groups)))
        # V8: by their headers, before a page is unpacked.
        check_pages(_reader(handle), chunks, codecs=CODECS, maximum=_budget(schema, rows))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(error, where) from None
    except PageProblem as problem:
        raise _problem(problem, where) from None
    return file


def _footer(handle: Any, where: str) -> tuple[Any, Footer]:
    """pyarrow's footer and our own reading of it: bounded before it is parsed, and without an Arrow schema.

    Arrow makes whatever extension type of this process such a schema names, though extension types are switched off
    (pyarrow 26): a file that carries one is refused before Arrow reads it.
    """
    try:
        footer = read_footer(_reader(handle), handle.size())
        # V8: no metadata, where Arrow keeps schemas and pandas its index.
        if footer.keys:
            raise PolicyError(
                "data.metadata",
                "the file carries metadata",
                where=where,
                expected="none",
                found=", ".join(footer.keys)[:200],
            )
        return pq.read_metadata(handle), footer
    except PageProblem as problem:
        raise _problem(problem, where) from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(error, where) from None


def _other_columns(schema: pa.Schema, found: str, where: str) -> PolicyError:
    expected = ", ".join(f"{field.name} {field.type}" for field in schema)
    return PolicyError(
        "data.schema",
        "the columns are not those of the manifest",
        where=where,
        expected=expected[:500],
        found=found[:500],
    )


def _reader(handle: Any) -> ReadAt:
    return lambda offset, count: bytes(handle.read_at(count, offset))


def _as_written(field: pa.Field) -> tuple[str, pa.DataType, bool]:
    kind = field.type
    return field.name, kind.value_type if pa.types.is_dictionary(kind) else kind, field.nullable


def _decode(file: Any, schema: pa.Schema, rows: int, where: str) -> Iterator[pa.RecordBatch]:
    """Batches of the file, counted against what the manifest allows."""
    seen_rows = seen_bytes = 0
    try:
        for batch in file.iter_batches(batch_size=max(1024, _BATCH_BYTES // (8 * len(schema)))):
            seen_rows, seen_bytes = seen_rows + batch.num_rows, seen_bytes + batch.nbytes
            # V8: by count too, for a header may say less than its page becomes.
            if seen_rows > rows or seen_bytes > _budget(schema, rows):
                raise PolicyError(
                    "data.growth", "the file holds more than its rows can", where=where, expected=f"{rows} rows"
                )
            # Places in a dictionary and ends of texts are used unchecked from here on.
            batch.validate(full=True)
            yield batch
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(error, where) from None
    # A page may hold fewer than it says.
    if seen_rows != rows:
        raise PolicyError(
            "data.schema",
            "the rows are not those of the manifest",
            where=where,
            expected=str(rows),
            found=str(seen_rows),
        )


def _plain(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    """Dictionaries of short texts as texts; its dates are dates of the calendar."""
    columns = []
    for field, column in zip(schema, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            texts = column.dictionary
            # V8: the sum first, so that no long text is made a Python string.
            if (len(texts) and texts.nbytes > len(texts) * (MAXIMUM_TEXT + 8)) or any(
                len(text) > MAXIMUM_TEXT for text in texts.to_pylist() if text
            ):
                raise PolicyError(
                    "data.growth",
                    f"column {field.name!r} holds a text that is too long",
                    where=where,
                    expected=f"at most {MAXIMUM_TEXT} characters",
                )
            column = column.cast(field.type)
        elif pa.types.is_date32(column.type):
            days = numbers_of(column.drop_null(), np.dtype(np.int32))
            # V8: years 1 to 9999, beyond which Python has no dates.
            if len(days) and not FIRST_DAY <= days.min() <= days.max() <= LAST_DAY:
                raise PolicyError(
                    "data.date_range", f"column {field.name!r} holds a date outside the years 1 to 9999", where=where
                )
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _unreadable(error: Exception, where: str) -> PolicyError:
    return PolicyError("data.parquet", f"not a parquet file: {(str(error).splitlines() or [''])[0][:200]}", where=where)


def _problem(problem: PageProblem, where: str) -> PolicyError:
    if problem.growth:
        return PolicyError("data.growth", f"the parquet file becomes too large: {problem}", where=where)
    return PolicyError("data.parquet", f"not a parquet file of the format: {problem}", where=where)
