"""V8: what a parquet file of a bundle may be, checked before and while it is decoded.

The manifest, which is signed, says the columns and the rows; the file's own claims bound nothing.  Columns are plain
numbers, dates and short texts, extension types are off, and neither pages nor batches may hold more than so many rows of
such columns can.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .errors import PolicyError
from .manifest import FactorTable
from .parquet_pages import CODECS, PageProblem, ReadAt, check_ends, check_pages

MAXIMUM_TEXT = 64
"""Bytes of an instrument code or of the name of a golden case."""
_MAXIMUM_METADATA = 1 << 16
_BATCH_BYTES = 8 << 20
_SLACK = 1 << 20
"""For headers of pages, levels and dictionaries, which small files have too."""


def read_exact(data: bytes, schema: pa.Schema, rows: int, where: str) -> pa.Table:
    """The table in the bytes of a parquet file that has exactly this schema and so many rows.

    Raises PolicyError `data.parquet`, `data.schema`, `data.growth`.
    """
    handle = pa.BufferReader(data)
    file = _open(handle, schema, rows, where)
    batches = list(_decode(file, schema, rows, where))
    return pa.Table.from_batches([_plain(batch, schema, where) for batch in batches], schema=schema)


def check_file(path: Path, schema: pa.Schema, rows: int, where: str) -> None:
    """Check a large file without decoding it: schema, counts, codecs, and what its pages unpack to.  Raises as above."""
    try:
        handle = pa.OSFile(str(path))
    except OSError as error:
        raise PolicyError("data.parquet", f"the file cannot be read: {error.strerror}", where=where) from None
    with handle:
        _open(handle, schema, rows, where)


def factors_schema(table: FactorTable, found: pa.Schema) -> pa.Schema:
    """The schema of factors.parquet: keys, then the manifest's columns in order, each float32 or float64 as found."""
    keys = [pa.field("datetime", pa.date32()), pa.field("instrument", pa.string())]
    numbers = {name: found.field(name).type for name in table.columns if found.names.count(name) == 1}
    plain = (pa.float32(), pa.float64())
    return pa.schema([*keys, *(pa.field(name, kind if (kind := numbers.get(name)) in plain else pa.float64()) for name in table.columns)])


def check_factors(path: Path, table: FactorTable) -> None:
    """Check factors.parquet against what the manifest says of it."""
    try:
        with pa.OSFile(str(path)) as handle:
            _check_ends(handle, table.file)
            found = pq.read_schema(handle)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(error, table.file) from None
    check_file(path, factors_schema(table, found), table.rows, table.file)


def _budget(schema: pa.Schema, rows: int) -> int:
    """Bytes that `rows` rows of such columns take at most, twice: pages beside what is decoded from them."""
    texts = len([field for field in schema if pa.types.is_string(field.type)])
    return 2 * rows * (8 * len(schema) + (MAXIMUM_TEXT + 4) * texts) + _SLACK * len(schema)


def _open(handle: Any, schema: pa.Schema, rows: int, where: str) -> Any:
    """The parquet file, its footer and pages checked; texts are left as dictionaries, so that none is repeated."""
    _check_ends(handle, where)
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    try:
        file = pq.ParquetFile(handle, read_dictionary=texts, pre_buffer=False, arrow_extensions_enabled=False)
        found, metadata = file.schema_arrow, file.metadata
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(error, where) from None
    if [_as_written(field) for field in found] != [(field.name, field.type, field.nullable) for field in schema]:
        raise PolicyError("data.schema", "the columns are not those of the manifest", where=where, expected=_listed(schema), found=_listed(found))
    counted = sum(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    if metadata.num_rows != rows or counted != rows or metadata.num_row_groups > max(1, rows):
        raise PolicyError("data.schema", "the rows are not those of the manifest", where=where, expected=str(rows), found=f"{metadata.num_rows}, in groups {counted}")
    if sum(len(key) + len(value) for key, value in (metadata.metadata or {}).items()) > _MAXIMUM_METADATA:
        raise PolicyError("data.growth", "the file carries too much metadata", where=where, expected=f"at most {_MAXIMUM_METADATA} bytes")
    groups, columns = range(metadata.num_row_groups), range(metadata.num_columns)
    try:
        check_pages(_reader(handle), metadata, groups, columns, codecs=CODECS, maximum=_budget(schema, rows))
    except PageProblem as problem:
        raise _problem(problem, where) from None
    return file


def _check_ends(handle: Any, where: str) -> None:
    try:
        check_ends(_reader(handle), handle.size())
    except PageProblem as problem:
        raise _problem(problem, where) from None


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
            if seen_rows > rows or seen_bytes > _budget(schema, rows):
                raise PolicyError("data.growth", "the file holds more than its rows can", where=where, expected=f"{rows} rows")
            yield batch
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(error, where) from None
    if seen_rows != rows:
        raise PolicyError("data.schema", "the rows are not those of the manifest", where=where, expected=str(rows), found=str(seen_rows))


def _plain(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    """Dictionaries of short texts as texts."""
    columns = []
    for field, column in zip(schema, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            texts = column.dictionary
            if len(texts) and texts.nbytes > len(texts) * (MAXIMUM_TEXT + 8) or any(len(text) > MAXIMUM_TEXT for text in texts.to_pylist() if text):
                raise PolicyError("data.growth", f"column {field.name!r} holds a text that is too long", where=where, expected=f"at most {MAXIMUM_TEXT} characters")
            column = column.cast(field.type)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{name} {kind}" for name, kind, _ in map(_as_written, schema))[:500]


def _unreadable(error: Exception, where: str) -> PolicyError:
    return PolicyError("data.parquet", f"not a parquet file: {(str(error).splitlines() or [''])[0][:200]}", where=where)


def _problem(problem: PageProblem, where: str) -> PolicyError:
    if problem.growth:
        return PolicyError("data.growth", f"the parquet file becomes too large: {problem}", where=where)
    return PolicyError("data.parquet", f"not a parquet file of the format: {problem}", where=where)
