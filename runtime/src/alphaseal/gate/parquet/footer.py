"""Our own reading of a parquet file's footer: its columns, its row groups, and where their pages are.

pyarrow's look at a damaged footer can end the process (pyarrow 26: what Python asks a column chunk for is built without
catching what C++ throws), so nobody asks it: who reads a file asks here.  pyarrow decodes the same bytes later, and its
exceptions are caught there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from alphaseal.gate.parquet.thrift import LIST, STRUCT, PageProblem, list_head, read_struct, read_value, skip_struct

MAXIMUM_FOOTER = 16 << 20
MAXIMUM_COLUMNS = 1 << 16
_CODEC_NAMES = {0: "UNCOMPRESSED", 1: "SNAPPY", 2: "GZIP", 3: "LZO", 4: "BROTLI", 5: "LZ4", 6: "ZSTD", 7: "LZ4_RAW"}
_LAST_TYPE = 7
"""FIXED_LEN_BYTE_ARRAY; the first is BOOLEAN, 0."""
_GROUPS = 4
_COLUMNS_OF_GROUP, _ROWS_OF_GROUP = 1, 3

ReadAt = Callable[[int, int], bytes]
"""(offset, count) -> at most `count` bytes from there."""


class Chunk(NamedTuple):
    """Where the pages of one column of one row group are, and what is said of them."""

    name: str
    codec: str
    rows: int
    values: int
    start: int
    size: int


class Group(NamedTuple):
    """A row group: its rows, and where in the footer each of its columns is described."""

    rows: int
    places: tuple[int, ...]


class Footer:
    """What a footer says.  `columns` are the paths of its leaves in order, `keys` those of its metadata."""

    def __init__(self, data: bytes) -> None:
        """Raises `PageProblem`."""
        self._data = data
        self.rows, self.columns, self.keys = -1, tuple[str, ...](), tuple[str, ...]()
        self.groups = tuple[Group, ...]()
        self._types: list[int] = []
        try:
            self._read()
        except IndexError:
            raise PageProblem("its footer is cut off") from None

    @property
    def counted_rows(self) -> int:
        """The rows of all row groups, which are `rows` in a file that is whole."""
        return sum(group.rows for group in self.groups)

    def chunks(self, groups: Iterable[int], columns: Iterable[int] | None = None) -> Iterator[Chunk]:
        """Some columns (by place; None: all) of some row groups.  Raises `PageProblem`."""
        places = range(len(self.columns)) if columns is None else list(columns)
        for group in groups:
            for column in places:
                yield self._chunk(self.groups[group], column)

    def _read(self) -> None:
        """The fields of the structure, of which row groups are looked at closely and columns of them when asked for."""
        data, position, number, seen = self._data, 0, 0, set[int]()
        while True:
            byte = data[position]
            if byte == 0:
                break
            # One spelling: each field once and in order, its number as a short step.
            if byte < 16:
                raise PageProblem("its footer has a field twice, or fields out of order")
            number += byte >> 4
            kind, position = byte & 15, position + 1
            seen.add(number)
            # Most of a footer; its columns are only skipped until somebody asks for one.
            if number == _GROUPS and kind == LIST:
                position = self._read_groups(position)
            elif kind > 2:
                value, position = read_value(data, position, kind)
                if number == 2:
                    leaves = _leaves(value)
                    self.columns = tuple(name for name, _ in leaves)
                    self._types = [kind for _, kind in leaves]
                elif number == 3:
                    self.rows = _number({3: value}, 3)
                elif number == 5:
                    self.keys = tuple(_text(_field(entry, 1)) for entry in _as_list(value))
        # Nothing behind it, and no fields 8 and 9, which are of encrypted files.
        if position + 1 != len(data) or {8, 9} & seen:
            raise PageProblem("its footer has more than a footer holds")
        # A schema and row groups, or there is nothing to read.
        if not {2, _GROUPS} <= seen:
            raise PageProblem("its footer lacks a list")

    def _read_groups(self, position: int) -> int:
        count, kind, position = list_head(self._data, position)
        # An empty list has no kind that matters.
        if kind != STRUCT and count:
            raise PageProblem("its footer lacks a list")
        groups: list[Group] = []
        for _ in range(count):
            one, position = self._group(position)
            groups.append(one)
        self.groups = tuple(groups)
        return position

    def _group(self, position: int) -> tuple[Group, int]:
        data, number, rows, places = self._data, 0, -1, list[int]()
        while True:
            byte = data[position]
            position += 1
            if byte == 0:
                break
            if byte < 16:
                raise PageProblem("its footer has a field twice, or fields out of order")
            number += byte >> 4
            if number == _COLUMNS_OF_GROUP and byte & 15 == LIST:
                count, kind, position = list_head(data, position)
                # Each group has every column, so that columns are found by their place.
                if count != len(self.columns) or kind != STRUCT:
                    raise PageProblem("a row group has not the columns of the schema")
                for _ in range(count):
                    places.append(position)
                    position = skip_struct(data, position)
            elif byte & 15 > 2:
                value, position = read_value(data, position, byte & 15)
                rows = value if number == _ROWS_OF_GROUP and isinstance(value, int) else rows
        # A group without a number of rows could claim any.
        if rows < 0 or len(places) != len(self.columns):
            raise PageProblem("its footer lacks a number")
        return Group(rows, tuple(places)), position

    def _chunk(self, group: Group, column: int) -> Chunk:
        """The description of one column, which lies in this file and is the schema's column of that place."""
        try:
            chunk, _ = read_struct(self._data, group.places[column])
        except IndexError:
            raise PageProblem("its footer is cut off") from None
        meta = chunk.get(3)
        if (
            not isinstance(meta, dict)
            or {1, 8, 9} & set(chunk)
            or _number(meta, 1) != self._types[column]
            or not all(isinstance(kind, int) for kind in _as_list(meta.get(2)))
        ):
            raise PageProblem("a column is somewhere else, encrypted, of another type, or not described")
        name = _path(_as_list(meta.get(3)))
        # Libraries find columns by place, and others by name.
        if name != self.columns[column]:
            raise PageProblem("its columns are not in the order of its schema")
        data, dictionary = _number(meta, 9), meta.get(11)
        # pyarrow begins at the dictionary, which is in front of the data where there is one.
        start = dictionary if isinstance(dictionary, int) and 0 < dictionary < data else data
        codec = _CODEC_NAMES.get(_number(meta, 4), "an unknown codec")
        return Chunk(name, codec, group.rows, _number(meta, 5), start, _number(meta, 7))


def check_ends(read_at: ReadAt, size: int) -> int:
    """The length of the footer; refuse what is not a plain parquet file, or has a footer too large to be looked at."""
    # Two magic words and a length are the least there can be.
    if size < 12 or read_at(0, 4) != b"PAR1":
        raise PageProblem("it does not begin as a parquet file")
    tail = read_at(size - 8, 8)
    # Its own word, so that people learn why.
    if tail[4:] == b"PARE":
        raise PageProblem("it is encrypted")
    length = int.from_bytes(tail[:4], "little")
    # The footer lies in the file, behind the first magic word.
    if tail[4:] != b"PAR1" or length > size - 12:
        raise PageProblem("it does not end as a parquet file")
    # Before it is read: it becomes many times as large in memory.
    if length > MAXIMUM_FOOTER:
        raise PageProblem(f"its footer has {length} bytes, {MAXIMUM_FOOTER} are allowed", growth=True)
    return length


def read_footer(read_at: ReadAt, size: int) -> Footer:
    """The footer of a file of `size` bytes.  Raises `PageProblem`."""
    length = check_ends(read_at, size)
    data = read_at(size - 8 - length, length)
    # Another process may write to it meanwhile.
    if len(data) != length:
        raise PageProblem("it became shorter while it was read")
    return _footer(data)


@lru_cache(maxsize=2)  # a file is opened for its origin, its days and its rows
def _footer(data: bytes) -> Footer:
    return Footer(data)


def _leaves(schema: Any) -> list[tuple[str, int]]:
    """(path, type) of the columns of a schema, which is a tree in the order of its nodes."""
    elements = _as_list(schema)
    # The first element is the root.
    if not elements or len(elements) > MAXIMUM_COLUMNS:
        raise PageProblem("its schema has no columns, or too many")
    found: list[tuple[str, int]] = []
    open_nodes: list[tuple[bytes, int]] = []
    for place, element in enumerate(elements):
        name, children = _field(element, 4), element.get(5)
        # Children are counted, so the list is a tree only if it is used up exactly.
        if not isinstance(name, bytes) or not isinstance(children, (int, type(None))) or (place and not open_nodes):
            raise PageProblem("its schema is no tree of columns")
        if place and children is None:
            path = _path([*(part for part, _ in open_nodes[1:]), name])
            # pyarrow looks up a type by its number.
            if not 0 <= (kind := _number(element, 1)) <= _LAST_TYPE:
                raise PageProblem(f"column {path[:80]!r} is of no type")
            found.append((path, kind))
        open_nodes.append((name, (children or 0) + 1))
        # A node is closed when its last child is.
        while open_nodes:
            part, left = open_nodes.pop()
            if left > 1:
                open_nodes.append((part, left - 1))
                break
    # Fewer elements than their parents have children.
    if open_nodes:
        raise PageProblem("its schema is no tree of columns")
    return found


def _path(parts: list[Any]) -> str:
    try:
        return b".".join(parts).decode("utf-8")
    except (TypeError, UnicodeDecodeError):
        raise PageProblem("the name of a column is no UTF-8 text") from None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else "?"


def _field(fields: Any, number: int) -> Any:
    if not isinstance(fields, dict):
        raise PageProblem("its footer lacks a structure")
    return fields.get(number)


def _as_list(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise PageProblem("its footer lacks a list")
    return found


def _number(fields: Any, number: int) -> int:
    found = _field(fields, number)
    if not isinstance(found, int):
        raise PageProblem("its footer lacks a number")
    return found
