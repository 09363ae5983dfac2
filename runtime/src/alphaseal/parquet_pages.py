"""How much a parquet file becomes, read from the headers of its pages before any page is unpacked.

A page says in its own header how many bytes it unpacks to, and a decoder reserves them before it looks: a few hundred
bytes can ask for gigabytes, and the footer need not know.  So every header of the columns that will be read is looked at
first.  Encodings whose values copy from each other (DELTA_BYTE_ARRAY) have no bound in the page and are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

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
_CODEC_NAMES = {0: "UNCOMPRESSED", 1: "SNAPPY", 2: "GZIP", 3: "LZO", 4: "BROTLI", 5: "LZ4", 6: "ZSTD", 7: "LZ4_RAW"}
# Kinds of Thrift's compact protocol; inside of a list a truth value takes a byte.
_TRUE, _FALSE, _BINARY, _LIST, _NESTED = 1, 2, 8, 9, 12
_INTEGER, _WIDTH_OF = frozenset({4, 5, 6}), {1: 1, 2: 1, 3: 1, 7: 8}

ReadAt = Callable[[int, int], bytes]
"""(offset, count) -> at most `count` bytes from there."""


class PageProblem(Exception):
    """A file that is not opened further; `growth` where it is well formed and unpacks to too much."""

    def __init__(self, message: str, *, growth: bool = False) -> None:
        super().__init__(message)
        self.growth = growth


class Footer(NamedTuple):
    """What our own reading of a footer gives: all chunks in order, and the keys of its metadata."""

    chunks: list[Chunk]
    keys: list[str]


class Chunk(NamedTuple):
    """Where the pages of one column of one row group are, and what is said of them."""

    name: str
    codec: str
    rows: int
    values: int
    start: int
    size: int


def check_ends(read_at: ReadAt, size: int) -> int:
    """The length of the footer; refuse what is not a plain parquet file, or has a footer too large to be looked at."""
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
    return length


def read_footer(read_at: ReadAt, size: int) -> Footer:
    """Our own reading of the footer of a file of plain columns.

    pyarrow's look at a damaged footer can end the process (pyarrow 26: a missing or unknown field of a chunk, asked for
    from Python, calls abort), so a bundle's file is looked at here first.
    """
    length = check_ends(read_at, size)
    try:
        footer, used = _struct(read_at(size - 8 - length, length), 0, 0)
    except IndexError:
        raise PageProblem("its footer is cut off") from None
    if used != length or 8 in footer or 9 in footer:
        raise PageProblem("its footer has more than a footer holds")
    keys = [entry.get(1) if isinstance(entry, dict) else None for entry in (_list(footer, 5) if 5 in footer else [])]
    chunks = []
    for group in _list(footer, 4):
        rows = _number(group, 3)
        for chunk in _list(group, 1):
            meta = chunk.get(3) if isinstance(chunk, dict) else None
            if (
                not isinstance(meta, dict)
                or {1, 8, 9} & set(chunk)
                or not 0 <= _number(meta, 1) <= 7
                or not all(isinstance(kind, int) for kind in _list(meta, 2))
            ):
                raise PageProblem("a column is somewhere else, encrypted, or not described")
            path = [part for part in _list(meta, 3) if isinstance(part, bytes)]
            data, dictionary = _number(meta, 9), meta.get(11)
            start = dictionary if isinstance(dictionary, int) and 0 < dictionary < data else data
            codec = _CODEC_NAMES.get(_number(meta, 4), "an unknown codec")
            chunks.append(
                Chunk(
                    b".".join(path).decode("utf-8", "replace"), codec, rows, _number(meta, 5), start, _number(meta, 7)
                )
            )
    return Footer(chunks, [key.decode("utf-8", "replace") if isinstance(key, bytes) else "?" for key in keys])


def arrow_chunks(metadata: Any, groups: Iterable[int], columns: Collection[int]) -> Iterator[Chunk]:
    """Some columns of some row groups of a file that the caller trusts, from pyarrow's quicker reading of the footer."""
    for group in groups:
        row_group = metadata.row_group(group)
        for column in columns:
            chunk = row_group.column(column)
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
                start = chunk.dictionary_page_offset
            yield Chunk(
                chunk.path_in_schema,
                chunk.compression,
                row_group.num_rows,
                chunk.num_values,
                start,
                chunk.total_compressed_size,
            )


def check_pages(read_at: ReadAt, chunks: Iterable[Chunk], *, codecs: frozenset[str], maximum: int) -> int:
    """Bytes that all pages of some chunks unpack to; PageProblem beyond `maximum`."""
    total = 0
    for chunk in chunks:
        total += _column(read_at, chunk, codecs, maximum - total)
    return total


def _column(read_at: ReadAt, chunk: Chunk, codecs: frozenset[str], left: int) -> int:
    name = chunk.name[:80]
    if chunk.codec not in codecs:
        raise PageProblem(f"column {name!r} is compressed by {chunk.codec}")
    position, end, total, values = chunk.start, chunk.start + chunk.size, 0, 0
    if values == chunk.values:
        return 0  # a column without values has no page to look at
    if position < 4 or end < position:
        raise PageProblem(f"column {name!r} lies nowhere")
    while position < end and values < chunk.values:
        header = _header(read_at, position, end, name)
        total += header.unpacked
        if header.unpacked > MAXIMUM_PAGE or total > left:
            raise PageProblem(
                f"a page of column {name!r} unpacks to {header.unpacked} bytes, the file to {total} and more",
                growth=True,
            )
        if header.values > chunk.rows and header.kind != _DICTIONARY:
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


# --- Thrift's compact protocol, as far as footers and page headers need it ----------------------------------------------


def _list(fields: Any, number: int) -> list[Any]:
    found = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(found, list):
        raise PageProblem("its footer lacks a list")
    return found


def _number(fields: Any, number: int) -> int:
    found = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(found, int):
        raise PageProblem("its footer lacks a number")
    return found


def _struct(data: bytes, position: int, depth: int) -> tuple[dict[int, Any], int]:
    """Integers, bytes, lists and structures of a structure by field number, others as None; IndexError where data end."""
    if depth > 8:
        raise PageProblem("its headers are nested too deeply")
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
            raise PageProblem("a header has a field twice")
        if kind in (_TRUE, _FALSE):
            fields[number] = None
        else:
            fields[number], position = _value(data, position, kind, depth)


def _value(data: bytes, position: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _INTEGER:
        return _integer(data, position)
    if kind == _NESTED:
        return _struct(data, position, depth + 1)
    if kind == _BINARY:
        length, position = _varint(data, position)
        return data[position : position + length], _within(data, position + length)
    if kind == _LIST:
        return _elements(data, position, depth)
    if kind in _WIDTH_OF:
        return None, _within(data, position + _WIDTH_OF[kind])
    raise PageProblem(f"a header has a field of kind {kind}")


def _elements(data: bytes, position: int, depth: int) -> tuple[list[Any], int]:
    count, kind = data[position] >> 4, data[position] & 15
    position += 1
    if count == 15:
        count, position = _varint(data, position)
    # Every element takes a byte at least.
    _within(data, position + count)
    found = []
    for _ in range(count):
        value, position = _value(data, position, kind, depth)
        found.append(value)
    return found, position


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
            raise PageProblem("a header has a number that is too long")
