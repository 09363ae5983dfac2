"""The inert graph as bytes, for the way from the child process to its parent.

Two sections: *nodes*, one tag byte and a payload each, a tuple after its members; then the *contents* of the mutable
nodes in the order of their tags.  Values refer to each other by node number, so shared values stay shared (numbers, which
have no identity, do not), cycles stay cycles, and nothing here is recursive.  Bytes literals longer than `INLINE` travel as their place in the pickle, which
the parent has at hand.  There is nothing in this form that could name code.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from alphaseal_converter.pickles._state import children
from alphaseal_converter.pickles.records import Global, Record

INLINE: Final = 1 << 16
"""Bytes literals up to this length are copied into the answer."""
_CHUNK: Final = 1 << 20
_NUMBER: Final = struct.Struct("<I")
_SHORT: Final = struct.Struct("<cq")
_FLOAT: Final = struct.Struct("<cd")
_PLACE: Final = struct.Struct("<cQQ")
_SINGLES: Final[dict[Any, bytes]] = {None: b"N", True: b"T", False: b"F"}
_MUTABLE: Final[dict[type, bytes]] = {list: b"l", dict: b"m", set: b"e", Record: b"r"}
_NEW_RECORD: Final = b"n"
_NOTHING: Final = _NUMBER.pack(0)
_NUMBERS: Final = frozenset({int, float})
_FIXED: Final = frozenset({tuple, frozenset})


@dataclass(frozen=True)
class Place:
    """A long bytes literal: where it starts and ends in the pickle."""

    start: int
    end: int


def encode(root: Any) -> Iterator[bytes]:
    """The graph below `root` in chunks."""
    encoder = _Encoder()
    number = encoder.number(root)
    contents = bytearray()
    # `mutable` grows while the contents found in it are numbered: every value is visited once.
    for value in encoder.mutable:
        parts = children(value)
        contents += _references([encoder.number(part) for part in parts]) if parts else _NOTHING
        if type(value) is Record:
            # Of a record's references the reader has to know how many are items; the rest are keys and values.
            contents += _NUMBER.pack(len(value.items))
        if len(encoder.buffer) > _CHUNK:
            yield bytes(encoder.buffer)
            encoder.buffer.clear()
    yield bytes(encoder.buffer + b".")
    contents += _NUMBER.pack(number)
    for start in range(0, len(contents), _CHUNK):
        yield bytes(contents[start : start + _CHUNK])


class _Encoder:
    """Writes nodes and numbers them; `mutable` are those whose contents are still to be written."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.mutable: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._count = 0

    def number(self, value: Any) -> int:
        """The number of `value`, which is written if it was not."""
        kind = type(value)
        if kind in _NUMBERS:
            return self._written(_scalar(value))
        found = self._numbers.get(id(value))
        if found is not None:
            return found
        if kind in _FIXED:
            self._write_fixed(value)
            return self._numbers[id(value)]
        if kind in _MUTABLE:
            node = _NEW_RECORD if kind is Record and value.new else _MUTABLE[kind]
            self.mutable.append(value)
        else:
            node = _scalar(value)
        self._numbers[id(value)] = number = self._written(node)
        return number

    def _write_fixed(self, root: Any) -> None:
        """A tuple or frozenset, which cannot be made before its members; step by step, however deep they are."""
        numbers = self._numbers
        pending = [root]
        while pending:
            value = pending[-1]
            size = len(pending)
            pending += (member for member in value if type(member) in _FIXED and id(member) not in numbers)
            if len(pending) > size:
                continue
            pending.pop()
            if id(value) not in numbers:
                references = _references([self.number(member) for member in value])
                numbers[id(value)] = self._written((b"t" if type(value) is tuple else b"z") + references)

    def _written(self, node: bytes) -> int:
        self.buffer += node
        self._count += 1
        return self._count - 1


def _scalar(value: Any) -> bytes:
    kind = type(value)
    if value is None or kind is bool:
        return _SINGLES[value]
    if kind is int:
        if -(1 << 63) <= value < 1 << 63:
            return _SHORT.pack(b"i", value)
        return b"I" + _sized(value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
    if kind is float:
        return _FLOAT.pack(b"d", value)
    if kind is str:
        return b"s" + _sized(value.encode("utf-8", "surrogatepass"))
    if kind is bytes:
        return b"b" + _sized(value)
    if kind is Place:
        return _PLACE.pack(b"B", value.start, value.end)
    if kind is Global:
        return b"g" + _sized(value.module.encode()) + _sized(value.name.encode())
    raise TypeError(f"a {kind.__name__} is not part of the inert graph")


def _sized(content: bytes) -> bytes:
    return _NUMBER.pack(len(content)) + content


def _references(numbers: list[int]) -> bytes:
    return struct.pack(f"<{len(numbers) + 1}I", len(numbers), *numbers)


class WireError(Exception):
    """The bytes are not what `encode` writes."""


def decode(answer: bytes | bytearray, literal: Callable[[int, int], bytes], start: int = 0) -> Any:
    """The graph that `encode` wrote at `start` of `answer`, up to its end.

    `literal` cuts a long bytes literal out of the pickle by its start and end.  Raises `WireError`.
    """
    try:
        return _Decoder(answer, literal, start).run()
    except (struct.error, IndexError, KeyError, ValueError, TypeError) as problem:
        raise WireError(str(problem)) from problem


class _Decoder:
    def __init__(self, answer: bytes | bytearray, literal: Callable[[int, int], bytes], start: int) -> None:
        self.answer = answer
        self.view = memoryview(answer)
        self.position = start
        self.literal = literal
        self.nodes: list[Any] = []

    def run(self) -> Any:
        mutable: list[Any] = []
        nodes = self.nodes
        while (tag := self.answer[self.position]) != ord("."):
            self.position += 1
            value = _READERS[tag](self)
            if type(value) in _MUTABLE:
                mutable.append(value)
            nodes.append(value)
        self.position += 1
        for value in mutable:
            self._fill(value)
        root = nodes[self.number()]
        if self.position != len(self.answer):
            raise WireError("bytes follow the graph")
        return root

    def number(self) -> int:
        value: int = _NUMBER.unpack_from(self.answer, self.position)[0]
        self.position += 4
        return value

    def sized(self) -> memoryview:
        count = self.number()
        start = self.position
        if count > len(self.answer) - start:
            raise WireError("a text is cut off")
        self.position = start + count
        return self.view[start : start + count]

    def references(self) -> list[Any]:
        count = self.number()
        if count * 4 > len(self.answer) - self.position:
            raise WireError("a list of references is cut off")
        numbers = struct.unpack_from(f"<{count}I", self.answer, self.position)
        self.position += 4 * count
        nodes = self.nodes
        return [nodes[number] for number in numbers]

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        """A fixed payload; its struct begins with the tag, which was already read."""
        start = self.position - 1
        self.position = start + layout.size
        return layout.unpack_from(self.answer, start)[1:]

    def text(self) -> str:
        return str(self.sized(), "utf-8", "surrogatepass")

    def place(self) -> bytes:
        start, end = self.unpack(_PLACE)
        return self.literal(start, end)

    def _fill(self, value: Any) -> None:
        parts = self.references()
        if type(value) is list:
            value.extend(parts)
        elif type(value) is dict:
            value.update(zip(parts[::2], parts[1::2], strict=True))
        elif type(value) is set:
            value.update(parts)
        else:
            value.factory, value.args, value.kwargs, value.state = parts[:4]
            count = self.number()
            value.items.extend(parts[4 : 4 + count])
            rest = parts[4 + count :]
            value.entries.extend(zip(rest[::2], rest[1::2], strict=True))


_UNKNOWN: Final = Global("", "")
_READERS: Final[dict[int, Callable[[_Decoder], Any]]] = {
    ord("N"): lambda decoder: None,
    ord("T"): lambda decoder: True,
    ord("F"): lambda decoder: False,
    ord("i"): lambda decoder: decoder.unpack(_SHORT)[0],
    ord("I"): lambda decoder: int.from_bytes(decoder.sized(), "little", signed=True),
    ord("d"): lambda decoder: decoder.unpack(_FLOAT)[0],
    ord("s"): lambda decoder: decoder.text(),
    ord("b"): lambda decoder: bytes(decoder.sized()),
    ord("B"): lambda decoder: decoder.place(),
    ord("g"): lambda decoder: Global(decoder.text(), decoder.text()),
    ord("t"): lambda decoder: tuple(decoder.references()),
    ord("z"): lambda decoder: frozenset(decoder.references()),
    ord("l"): lambda decoder: [],
    ord("m"): lambda decoder: {},
    ord("e"): lambda decoder: set(),
    ord("r"): lambda decoder: Record(_UNKNOWN),
    ord("n"): lambda decoder: Record(_UNKNOWN, new=True),
}
