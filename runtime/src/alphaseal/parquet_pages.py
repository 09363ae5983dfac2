"""How much a parquet file becomes, read from the headers of its pages before any page is unpacked.

A page says in its own header how many bytes it unpacks to, and a decoder reserves them before it looks: a few hundred
bytes can ask for gigabytes, and the footer need not know.  So every header of the columns that will be read is looked at
first.  Encodings whose values copy from each other (DELTA_BYTE_ARRAY) have no bound in the page and are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

MAXIMUM_FOOTER = 16 << 20
MAXIMUM_PAGE = 32 << 20
"""Bytes that one page may unpack to; writers aim at one megabyte."""
_MAXIMUM_HEADER = 1 << 16
_FIRST_LOOK = 512
CODECS = frozenset({"UNCOMPRESSED", "SNAPPY", "ZSTD"})
FURTHER_CODECS = CODECS | {"GZIP", "LZ4", "LZ4_RAW", "BROTLI"}
"""What other programs' feature files may use; our own use ZSTD."""
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_BODY_OF = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
"""The field of a page header that describes a page of each type."""
_ENCODING_OF = {_DATA: 2, _DICTIONARY: 2, _DATA_V2: 4}
# PLAIN, PLAIN_DICTIONARY, RLE, DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY, RLE_DICTIONARY, BYTE_STREAM_SPLIT
_ENCODINGS = frozenset({0, 2, 3, 5, 6, 8, 9})
_INTEGER, _NESTED = frozenset({4, 5, 6}), 12

ReadAt = Callable[[int, int], bytes]
"""(offset, count) -> at most `count` bytes from there."""


class PageProblem(Exception):
    """A file that is not opened further; `growth` where it is well formed and unpacks to too much."""

    def __init__(self, message: str, *, growth: bool = False) -> None:
        super().__init__(message)
        self.growth = growth


def check_ends(read_at: ReadAt, size: int) -> None:
    """Refuse what is not a plain parquet file, or has a footer too large to be looked at."""
    if size < 12 or read_at(0, 4) != b"PAR1":
        raise PageProblem("it does not begin as a parquet file")
    tail = read_at(size - 8, 8)
    if tail[4:] == b"PARE":
        raise PageProblem("it is encrypted")
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length > size - 12:
        raise PageProblem("it does not end as a parquet file")
    if length > MAXIMUM_FOOTER:
        raise PageProblem(f"its footer has {length} bytes, {MAXIMUM_FOOTER} are allowed", growth=True)


def check_pages(
    read_at: ReadAt, metadata: Any, groups: Iterable[int], columns: Iterable[int], *, codecs: frozenset[str], maximum: int
) -> int:
    """Bytes that all pages of some columns of some row groups unpack to; PageProblem beyond `maximum`.

    `metadata` is pyarrow's, whose numbers are used only as places to look at.
    """
    chosen, total = list(columns), 0
    for group in groups:
        row_group = metadata.row_group(group)
        for column in chosen:
            total += _column(read_at, row_group.column(column), row_group.num_rows, codecs, maximum - total)
    return total


def _column(read_at: ReadAt, chunk: Any, rows: int, codecs: frozenset[str], left: int) -> int:
    name = str(chunk.path_in_schema)[:80]
    if chunk.compression not in codecs:
        raise PageProblem(f"column {name!r} is compressed by {chunk.compression}")
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    position, end, total, values = start, start + chunk.total_compressed_size, 0, 0
    if start < 4 or end < start:
        raise PageProblem(f"column {name!r} lies nowhere")
    while position < end and values < chunk.num_values:
        header = _header(read_at, position, end, name)
        total += header.unpacked
        if header.unpacked > MAXIMUM_PAGE or total > left:
            raise PageProblem(f"a page of column {name!r} unpacks to {header.unpacked} bytes, the file to {total} and more", growth=True)
        if header.values > rows and header.kind != _DICTIONARY:
            raise PageProblem(f"a page of column {name!r} has more values than its row group has rows")
        values += 0 if header.kind == _DICTIONARY else header.values
        position = header.end + header.packed
    if position > end:
        raise PageProblem(f"a page of column {name!r} is cut off")
    return total


class _Header:
    """What a page header says: kind, sizes, number of values, encoding, and where the page begins."""

    def __init__(self, fields: dict[int, Any], end: int) -> None:
        self.kind = fields.get(1)
        body = fields.get(_BODY_OF.get(self.kind, 0)) if isinstance(self.kind, int) else None
        sizes = [fields.get(2), fields.get(3), body.get(1) if isinstance(body, dict) else None]
        encoding = body.get(_ENCODING_OF[self.kind]) if isinstance(body, dict) and isinstance(self.kind, int) else None
        if any(not isinstance(number, int) or number < 0 for number in sizes) or encoding not in _ENCODINGS:
            raise PageProblem(f"a page of kind {self.kind} in encoding {encoding} is not read here")
        self.unpacked, self.packed, self.values = (int(number) for number in sizes if number is not None)
        self.end = end


def _header(read_at: ReadAt, position: int, end: int, name: str) -> _Header:
    count = _FIRST_LOOK
    while True:
        data = read_at(position, min(count, end - position))
        try:
            fields, used = _struct(data, 0, 0)
            return _Header(fields, position + used)
        except IndexError:
            if len(data) < count or count >= _MAXIMUM_HEADER:
                raise PageProblem(f"a page of column {name!r} has a damaged header") from None
            count *= 8


# --- Thrift's compact protocol, as far as page headers need it ---------------------------------------------------------


def _struct(data: bytes, position: int, depth: int) -> tuple[dict[int, Any], int]:
    """Integers and structures of a structure by field number, everything else skipped; IndexError where data end."""
    if depth > 4:
        raise PageProblem("a page header is nested too deeply")
    fields: dict[int, Any] = {}
    number = 0
    while True:
        byte = data[position]
        position += 1
        if byte == 0:
            return fields, position
        kind, step = byte & 15, byte >> 4
        if step:
            number += step
        else:
            number, position = _integer(data, position)
        if number in fields:
            raise PageProblem("a page header has a field twice")
        fields[number], position = _value(data, position, kind, depth)


def _value(data: bytes, position: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):  # true, false
        return None, position
    if kind == 3:
        return None, _within(data, position + 1)
    if kind in _INTEGER:
        return _integer(data, position)
    if kind == 7:
        return None, _within(data, position + 8)
    if kind == 8:
        length, position = _varint(data, position)
        return None, _within(data, position + length)
    if kind == _NESTED:
        return _struct(data, position, depth + 1)
    raise PageProblem(f"a page header has a field of kind {kind}")


def _within(data: bytes, position: int) -> int:
    if position > len(data):
        raise IndexError
    return position


def _integer(data: bytes, position: int) -> tuple[int, int]:
    value, position = _varint(data, position)
    return (value >> 1) ^ -(value & 1), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise PageProblem("a page header has a number that is too long")
