"""Thrift's compact protocol, as far as a parquet file's footer and page headers need it.

IndexError where the data end too early; `PageProblem` for what is no structure of a parquet file.
"""

from __future__ import annotations

import re
from typing import Any

# Kinds of the protocol; inside of a list a truth value takes a byte.
TRUE, FALSE, BINARY, LIST, STRUCT = 1, 2, 8, 9, 12
_INTEGERS, _WIDTH_OF = frozenset({4, 5, 6}), {1: 1, 2: 1, 3: 1, 7: 8}
_MOST_NESTED = 8


def _heads(*kinds: int) -> bytes:
    """A class of the bytes that begin a field of these kinds, one to fifteen numbers behind the field before it."""
    return b"[" + b"".join(re.escape(bytes([step << 4 | kind])) for step in range(1, 16) for kind in kinds) + b"]"


_VARINT = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_SIMPLE = re.compile(
    rb"(?:"
    + _heads(TRUE, FALSE)
    + rb"|"
    + _heads(4, 5, 6)
    + _VARINT
    + rb"|"
    + _heads(BINARY)
    + rb"(?:\x04.{4}|\x08.{8}))*",
    re.DOTALL,
)
"""A run of fields that are truth values, integers, or numbers of four or eight bytes."""


class PageProblem(Exception):
    """A file that is not opened further; `growth` where it is well formed and unpacks to too much."""

    def __init__(self, message: str, *, growth: bool = False) -> None:
        super().__init__(message)
        self.growth = growth


def read_struct(data: bytes, position: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """(fields by number, place behind the structure): integers, bytes, lists and structures; others are None."""
    # Each level is a call of this function, and a byte of the file makes one.
    if depth > _MOST_NESTED:
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
        # Of two fields of one number readers take the first or the last.
        if number in fields:
            raise PageProblem("a header has a field twice")
        if kind in (TRUE, FALSE):
            fields[number] = None
        else:
            fields[number], position = read_value(data, position, kind, depth)


def read_value(data: bytes, position: int, kind: int, depth: int = 0) -> tuple[Any, int]:
    """(one value of a kind, place behind it)."""
    if kind in _INTEGERS:
        return _integer(data, position)
    if kind == STRUCT:
        return read_struct(data, position, depth + 1)
    if kind == BINARY:
        length, position = _varint(data, position)
        return data[position : position + length], _within(data, position + length)
    if kind == LIST:
        count, inner, position = list_head(data, position)
        found = []
        for _ in range(count):
            value, position = read_value(data, position, inner, depth)
            found.append(value)
        return found, position
    if kind in _WIDTH_OF:
        return None, _within(data, position + _WIDTH_OF[kind])
    raise PageProblem(f"a header has a field of kind {kind}")


def list_head(data: bytes, position: int) -> tuple[int, int, int]:
    """(number of elements, their kind, place of the first) of a list."""
    count, kind = data[position] >> 4, data[position] & 15
    position += 1
    if count == 15:
        count, position = _varint(data, position)
    # Every element takes a byte at least.
    _within(data, position + count)
    return count, kind, position


def skip_struct(data: bytes, position: int, depth: int = 0) -> int:
    """The place behind a structure at which nobody looks."""
    if depth > _MOST_NESTED:
        raise PageProblem("its headers are nested too deeply")
    while True:
        match = _SIMPLE.match(data, position)
        assert match is not None  # it matches nothing, too
        position = match.end()
        byte = data[position]
        position += 1
        if byte == 0:
            return position
        if byte < 16:
            _, position = _integer(data, position)
        if byte & 15 not in (TRUE, FALSE):
            position = _skip_value(data, position, byte & 15, depth)


def _skip_value(data: bytes, position: int, kind: int, depth: int) -> int:
    if kind == STRUCT:
        return skip_struct(data, position, depth + 1)
    if kind != LIST:
        return read_value(data, position, kind, depth)[1]
    count, inner, position = list_head(data, position)
    for _ in range(count):
        position = _skip_value(data, position, inner, depth)
    return position


def _within(data: bytes, position: int) -> int:
    # A slice would only be shorter, and what is missing go unnoticed.
    if position > len(data):
        raise IndexError
    return position


def _integer(data: bytes, position: int) -> tuple[int, int]:
    value, position = _varint(data, position)
    return (value >> 1) ^ -(value & 1), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = data[position]
    position += 1
    if value < 0x80:
        return value, position
    value &= 0x7F
    shift = 7
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        # A number of more than 64 bits has no place in any field.
        if shift > 63:
            raise PageProblem("a header has a number that is too long")
