"""The bytes of a protobuf message, read strictly and in one pass, with the standard library alone.

One message has one byte form here: known fields in ascending order, each once unless it is repeated, shortest integers.
That is what every protobuf library writes, and it leaves no room for two readers to see two messages.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Mapping
from typing import NamedTuple

from alphaseal.errors import PolicyError

INTEGER = 0
BYTES = 2
FLOAT = 5
"""Wire types; the others (64 bits, groups) occur nowhere in what the format allows."""
_SIGN = 1 << 63
_NUMBERS_TAG = 0x40
"""Field 8 as integer: `ints` of an attribute, one tag before every number."""
_NUMBER = re.compile(rb"\x40([\x80-\xff]*[\x00-\x7f])")
_HIGH = bytes(range(0x80, 0x100))
_FEWEST, _MOST, _MIXED_BYTES = 64, 1 << 16, 1 << 11


class Field(NamedTuple):
    """What is known of a field number: its name, its wire type, whether it may repeat."""

    name: str
    wire: int
    repeated: bool = False
    refused: bool = False


class Found(NamedTuple):
    """One field of a message: an integer's value, else where its bytes begin and end; `tag` is where the field begins."""

    name: str
    value: int
    start: int
    end: int
    tag: int


class Source:
    """The bytes of one file and its name for messages."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        self.where = where

    def place(self, offset: int) -> str:
        return f"{self.where} at byte {offset}"

    def malformed(self, message: str, offset: int) -> PolicyError:
        return PolicyError(
            "model.protobuf", f"not the one byte form of an ONNX model: {message}", where=self.place(offset)
        )

    def integer(self, position: int, end: int) -> tuple[int, int]:
        """(value, position behind it) of a varint: at most 64 bits, shortest form, two's complement."""
        value, shift = 0, 0
        # Ten bytes of seven bits hold 64.
        for place in range(position, min(end, position + 10)):
            byte = self.data[place]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                # One spelling of a number: no zeros in front, nothing beyond 64 bits.
                if (byte == 0 and shift) or value >> 64:
                    raise self.malformed("an integer is not in its shortest form", position)
                return (value - (1 << 64) if value & _SIGN else value), place + 1
            shift += 7
        raise self.malformed("an integer is cut off or too long", position)

    def fields(
        self, start: int, end: int, known: Mapping[int, Field], message: str, maximum: int = 1 << 16
    ) -> list[Found]:
        """The fields of the message between two positions, in order; at most `maximum` of them.

        Raises PolicyError `model.protobuf`; `model.field` for a field that the format does not allow; `model.limit`.
        """
        found: list[Found] = []
        position, last = start, 0
        while position < end:
            tag = position
            key, position = self.integer(position, end)
            number, wire = key >> 3, key & 7
            field = known.get(number)
            # 12.4: never skipped, as protobuf would do: another reader may know the field.
            if field is None or field.refused:
                name = f"field {number}" if field is None else field.name
                raise PolicyError(
                    "model.field",
                    f"a field of {message} that the format does not allow",
                    where=self.place(tag),
                    found=name,
                )
            # A library skips a field of another wire type, and then two readers see two messages.
            if wire != field.wire:
                raise self.malformed(f"{field.name} has wire type {wire}", tag)
            # Of two fields of one number the last counts in protobuf, the first in other readers.
            if number < last or (number == last and not field.repeated):
                raise self.malformed(f"{field.name} is twice or out of order", tag)
            last = number
            if wire == INTEGER:
                value, behind = self.integer(position, end)
                found.append(Found(field.name, value, position, behind, tag))
            else:
                size, position = self.integer(position, end) if wire == BYTES else (4, position)
                behind = position + size
                # A length is a number of 64 bits, and may be negative.
                if size < 0 or behind > end:
                    raise self.malformed(f"{field.name} is cut off", tag)
                found.append(Found(field.name, 0, position, behind, tag))
            position = behind
            # While they are read: each is a few bytes here and a tuple in memory.
            if len(found) > maximum:
                raise PolicyError(
                    "model.limit", f"too many fields in {message}", where=self.place(tag), expected=f"at most {maximum}"
                )
        return found

    def text(self, found: Found, maximum: int = 256) -> str:
        """A short printable text in UTF-8."""
        # 12.4: names are short; a long one would be copied into every message.
        if found.end - found.start > maximum:
            raise PolicyError(
                "model.limit",
                f"{found.name} is too long",
                where=self.place(found.tag),
                expected=f"at most {maximum} bytes",
            )
        try:
            text = self.data[found.start : found.end].decode("utf-8")
        except UnicodeDecodeError:
            raise self.malformed(f"{found.name} is not UTF-8", found.tag) from None
        # 12.5: a name is printed, and must not move the cursor of a terminal.
        if text and not text.isprintable():
            raise self.malformed(f"{found.name} has characters that cannot be printed", found.tag)
        return text

    def numbers(self, start: int, end: int) -> list[int]:
        """The integers of an attribute, each behind its tag: ``(0x40 varint)*``.

        Trees have hundreds of thousands of them.  Neighbours mostly take the same number of bytes, and such runs are
        taken apart by slices and put together by arithmetic on one long integer; the rest goes number by number.
        """
        values: list[int] = []
        known: dict[bytes, int] = {}
        position, count = start, 4096
        while position < end:
            taken = self._uniform(position, end, count, values)
            # So far all took as many bytes: the next block may be longer.
            if taken:
                position, count = position + taken, min(count * 8, _MOST)
            elif count > _FEWEST:
                count = max(count // 8, _FEWEST)
            else:
                position += self._mixed(position, end, values, known)
        return values

    def _uniform(self, position: int, end: int, count: int, values: list[int]) -> int:
        """Append up to `count` numbers if all take as many bytes (at most four) as the first; the bytes read, or 0."""
        size = 1
        while size <= 4 and position + size < end and self.data[position + size] >= 0x80:
            size += 1
        stride = size + 1
        count = min(count, (end - position) // stride)
        if size > 4 or count == 0:
            return 0
        block = self.data[position : position + count * stride]
        last = block[size::stride]
        # A tag before each, a byte without the high bit at its end, and no zeros in front.
        same = block[::stride].count(_NUMBERS_TAG) == count and last.isascii() and (size == 1 or 0 not in last)
        if not same or any(block[place::stride].translate(None, _HIGH) for place in range(1, size)):
            return 0
        if size == 1:
            values.extend(last)
            return len(block)
        lanes = bytearray(4 * count)
        for place in range(size):
            lanes[place::4] = block[place + 1 :: stride]
        together, joined = int.from_bytes(lanes, "little"), 0
        for place in range(size):
            # Seven bits of every lane's byte `place` go down to where the seven before them end.
            mask = int.from_bytes((0x7F << 8 * place).to_bytes(4, "little") * count, "little")
            joined |= (together & mask) >> place
        numbers = array("I", joined.to_bytes(4 * count, "little"))
        if sys.byteorder == "big":
            numbers.byteswap()
        values.extend(numbers)
        return len(block)

    def _mixed(self, position: int, end: int, values: list[int], known: dict[bytes, int]) -> int:
        """Append the numbers of the next bytes, whatever their lengths; the bytes read."""
        chunk = self.data[position : min(end, position + _MIXED_BYTES)]
        items: list[bytes] = _NUMBER.findall(chunk)
        taken = sum(map(len, items)) + len(items)
        # Put together again the matches are the bytes: nothing stood between them.
        if not items or chunk[:taken] != b"\x40" + b"\x40".join(items):
            raise self.malformed("integers of an attribute are damaged", position)
        # The numbers of trees repeat, so each spelling is read once.
        for item in set(items).difference(known):
            known[item] = item[0] if len(item) == 1 else self._number(item, position)
        values.extend(map(known.__getitem__, items))
        return taken

    def _number(self, item: bytes, position: int) -> int:
        if len(item) == 2 and item[1]:
            return item[0] & 0x7F | item[1] << 7
        value, behind = Source(item, self.where).integer(0, len(item)) if len(item) <= 10 else (0, -1)
        if behind != len(item):
            raise self.malformed("an integer is too long", position)
        return value
