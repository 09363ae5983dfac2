"""How much a parquet file becomes, read from the headers of its pages before any page is unpacked.

A page says in its own header how many bytes it unpacks to, and a decoder reserves them before it looks: a few hundred
bytes can ask for gigabytes, and the footer need not know.  So every header of the columns that will be read is looked at
first.  Encodings whose values copy from each other (DELTA_BYTE_ARRAY) have no bound in the page and are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from alphaseal.gate.parquet.footer import Chunk, ReadAt
from alphaseal.gate.parquet.thrift import PageProblem, read_struct

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


def check_pages(read_at: ReadAt, chunks: Iterable[Chunk], *, codecs: frozenset[str], maximum: int) -> int:
    """Bytes that all pages of some chunks unpack to; PageProblem beyond `maximum`."""
    total = 0
    for chunk in chunks:
        total += _column(read_at, chunk, codecs, maximum - total)
    return total


def _column(read_at: ReadAt, chunk: Chunk, codecs: frozenset[str], left: int) -> int:
    name = chunk.name[:80]
    # V8: zstd, snappy or none; what a codec unpacks to is then in the page's header.
    if chunk.codec not in codecs:
        raise PageProblem(f"column {name!r} is compressed by {chunk.codec}")
    # Flat columns: a value for each row, and no lists whose lengths nobody counts.
    if chunk.values != chunk.rows:
        raise PageProblem(f"column {name!r} has not one value for each row of its row group")
    position, end, total, values = chunk.start, chunk.start + chunk.size, 0, 0
    if values == chunk.values:
        return 0  # a column without values has no page to look at
    # Behind the magic word; a size of 64 bits may be negative.
    if position < 4 or end < position:
        raise PageProblem(f"column {name!r} lies nowhere")
    while position < end and values < chunk.values:
        header = _header(read_at, position, end, name)
        total += header.unpacked
        # V8: one page by itself, since a decoder reserves it whole, and all together.
        if header.unpacked > MAXIMUM_PAGE or total > left:
            raise PageProblem(
                f"a page of column {name!r} unpacks to {header.unpacked} bytes, the file to {total} and more",
                growth=True,
            )
        if header.kind == _DICTIONARY:
            # One dictionary, in front: readers differ about a second one.
            if position != chunk.start or header.values > header.unpacked:
                raise PageProblem(
                    f"a dictionary of column {name!r} is not its first page, or has more values than bytes"
                )
        elif header.values > chunk.rows:
            raise PageProblem(f"a page of column {name!r} has more values than its row group has rows")
        else:
            values += header.values
        # Pages follow each other without a gap, so none is passed over.
        position = header.end + header.packed
    # The last page must end in this column's bytes.
    if position > end:
        raise PageProblem(f"a page of column {name!r} is cut off")
    # Fewer values than rows would be filled from elsewhere.
    if values != chunk.values:
        raise PageProblem(f"the pages of column {name!r} have not the values that the footer says")
    return total


class _Header:
    """What a page header says: kind, sizes, number of values, encoding, and where the page begins."""

    def __init__(self, fields: dict[int, Any], end: int) -> None:
        self.kind = fields.get(1)
        body = fields.get(_BODY_OF.get(self.kind, 0)) if isinstance(self.kind, int) else None
        sizes = [fields.get(2), fields.get(3), body.get(1) if isinstance(body, dict) else None]
        encoding = body.get(_ENCODING_OF[self.kind]) if isinstance(body, dict) and isinstance(self.kind, int) else None
        known = isinstance(encoding, int) and encoding in _ENCODINGS
        # V8: encodings whose size is in the page; a number that lacks is no number.
        if not known or any(not isinstance(number, int) or number < 0 for number in sizes):
            raise PageProblem(f"a page of kind {self.kind} in encoding {encoding} is not read here"[:200])
        self.unpacked, self.packed, self.values = (int(number) for number in sizes if number is not None)
        self.end = end
        if self.kind == _DATA_V2 and isinstance(body, dict):
            self._check_levels(body)

    def _check_levels(self, body: dict[int, Any]) -> None:
        """Missing values, rows and levels of a page of the second kind lie within what the page has."""
        missing, rows, *levels = (body.get(number) for number in (2, 3, 5, 6))
        numbers = [number for number in (missing, rows, *levels) if isinstance(number, int) and number >= 0]
        # Without lists each value is a row, missing or not.
        if len(numbers) != 4 or numbers[0] > self.values or numbers[1] != self.values:
            raise PageProblem("a page has not one row for each of its values")
        # Levels are cut off the page by their lengths before it is unpacked.
        if numbers[2] + numbers[3] > min(self.packed, self.unpacked):
            raise PageProblem("the levels of a page are longer than the page")


def _header(read_at: ReadAt, position: int, end: int, name: str) -> _Header:
    count = _FIRST_LOOK
    while True:
        data = read_at(position, min(count, end - position))
        try:
            fields, used = read_struct(data, 0)
            return _Header(fields, position + used)
        except IndexError:
            # The file ends in the header, or statistics fill more of it than any writer does.
            if len(data) < count or count >= _MAXIMUM_HEADER:
                raise PageProblem(f"a page of column {name!r} has a damaged header") from None
            count *= 8
