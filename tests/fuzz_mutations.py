"""Mutations that know the structure of what they change: JSON, protobuf, parquet's Thrift, and trees of files.

Every function takes the bytes and a `random.Random` and returns other bytes (now and then the same ones: that is for the
judge to see).  Nothing here imports what is tested, except the list of operators.
"""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import struct
from pathlib import Path
from typing import Any

from alphaseal.gate.onnx.attributes import Among, Attributes, Axis, Between, Constant, Number, Rule, Text, Texts
from alphaseal.gate.onnx.operators import every_operator

NUMBERS = [
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    11,
    64,
    127,
    128,
    255,
    1 << 16,
    1 << 30,
    (1 << 31) - 1,
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 53,
    (1 << 53) + 1,
    (1 << 63) - 1,
]
INTEGERS = [*NUMBERS, *(-number for number in NUMBERS), -(1 << 63)]
FLOATS = [0.0, -0.0, 0.5, -1.0, 1e-320, 1e38, 1.7e308, float("nan"), float("inf"), float("-inf")]
TEXTS = [
    "",
    " ",
    "a",
    "A",
    "nul",
    "con.txt",
    "..",
    "../x",
    "/etc/passwd",
    "a\\b",
    "a//b",
    "a/",
    ".a",
    "a.",
    "x" * 65,
    "x" * 130,
    "a\n",
    "é",
    "\u202e",
    "\x00",
    "\x7f",
    "😀",
]
TEXTS += [
    "1.0",
    "1-draft",
    "1.1",
    "2",
    "model.onnx",
    "golden.parquet",
    "factors.parquet",
    "card.html",
    "manifest.json",
    "manifest.dsse.json",
    "sources/conf.yaml",
    "sources/conf.yaml/x",
]
TEXTS += [
    "2022-03-09T20:55:01Z",
    "2022-02-30T00:00:00Z",
    "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "2022-03-09T20:55:01Z\n",
    "2022-13-01",
    "0" * 64,
    "g" * 64,
    "float32",
    "model",
    "graph",
    "window",
]
_TOKENS = [
    "1E400",
    "-0",
    "0.10",
    "1.0",
    "1e2",
    "01",
    "+1",
    ".5",
    "1.",
    "NaN",
    "Infinity",
    "-Infinity",
    "9007199254740993",
    "1" * 80,
    "1." + "0" * 90,
    "true",
    "null",
    "'a'",
    "\\u0061",
]
_TOKENS += [
    '"\\u0061"',
    '"\\ud800"',
    '"\\/"',
    '"\\u00e9"',
    '"\t"',
    "{}",
    "[]",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    "/* */",
    "//",
    "\ufeff",
    "\u2028",
    "\x00",
    ",",
    ":",
    "\r\n",
    "\n",
    " ",
    "\t",
]
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_ \n"


# --- bytes ------------------------------------------------------------------------------------------------------------


def bytes_mutation(data: bytes, chance: random.Random) -> bytes:
    """Bits, bytes, pieces removed, repeated, moved, cut off."""
    found = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        place = chance.randrange(len(found) + 1)
        kind = chance.randrange(7)
        if kind == 0 and place < len(found):
            found[place] ^= 1 << chance.randrange(8)
        elif kind == 1 and place < len(found):
            found[place] = chance.choice([0, 0x22, 0x40, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        elif kind == 2:
            del found[place : place + chance.choice([1, 1, 4, 8, 100])]
        elif kind == 3:
            found[place:place] = found[chance.randrange(len(found) + 1) :][: chance.choice([1, 4, 8, 64])]
        elif kind == 4:
            found[place : place + 8] = struct.pack("<d", chance.choice(FLOATS))
        elif kind == 5:
            found[place : place + 4] = struct.pack("<i", max(-(1 << 31), min(chance.choice(INTEGERS), (1 << 31) - 1)))
        else:
            del found[place:]
    return bytes(found)


# --- JSON -------------------------------------------------------------------------------------------------------------


def json_text(data: bytes, chance: random.Random) -> bytes:
    """Other spellings: tokens, white space, order, doubled keys, escapes, other encodings."""
    text = data.decode("utf-8")
    for _ in range(chance.choice([1, 1, 2])):
        lines = text.split("\n")
        place = chance.randrange(len(lines))
        kind = chance.randrange(10)
        if kind == 0:
            lines.insert(chance.randrange(len(lines)), lines[place])
        elif kind == 1:
            del lines[place]
        elif kind == 2:
            other = chance.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
        elif kind == 3:
            lines[place] = chance.choice([" ", "\t", ""]) + lines[place].strip() + chance.choice(["", " ", "\r"])
        elif kind == 4:
            head, colon, tail = lines[place].partition(": ")
            lines[place] = head + colon + chance.choice(_TOKENS) + ("," if tail.endswith(",") else "")
        elif kind == 5:
            at = chance.randrange(len(lines[place]) + 1)
            lines[place] = lines[place][:at] + chance.choice(_TOKENS) + lines[place][at:]
        elif kind == 6 and any(letter.isalpha() for letter in lines[place]):
            at = chance.choice([at for at, letter in enumerate(lines[place]) if letter.isalpha()])
            lines[place] = f"{lines[place][:at]}\\u{ord(lines[place][at]):04x}{lines[place][at + 1 :]}"
        elif kind == 7:
            lines[place] = lines[place].swapcase()
        elif kind == 8:
            value = json.loads(data)
            return chance.choice(
                [json.dumps(value), json.dumps(value, indent=2), json.dumps(value, sort_keys=True, indent=2)]
            ).encode()
        else:
            return chance.choice(
                [
                    b"\xef\xbb\xbf" + data,
                    data + b"\n",
                    data[:-1],
                    text.encode("utf-16"),
                    data + data,
                    b" " + data,
                    data + b"\0",
                ]
            )
        text = "\n".join(lines)
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in entries:
        found.extend(_places(part, (*path, name)))
    return found


def json_value(value: Any, chance: random.Random) -> Any:
    """The parsed value with other values, types, keys, lengths and orders; `value` itself is changed."""
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        places = _places(value)
        *parents, last = chance.choice(places)
        holder = value
        for step in parents:
            holder = holder[step]
        kind = chance.randrange(8)
        if kind == 0:
            holder.pop(last)
        elif kind == 1 and isinstance(holder, dict):
            holder[chance.choice([*TEXTS, *holder])] = holder.pop(last)
        elif kind == 1:
            holder.insert(chance.randrange(len(holder) + 1), holder[last])
        elif kind == 2 and isinstance(holder, list):
            chance.shuffle(holder)
        elif kind == 3:
            *others, name = chance.choice(places)
            source = value
            for step in others:
                source = source[step]
            holder[last] = json.loads(json.dumps(source[name]))
        else:
            holder[last] = _other(holder[last], chance)
    return value


def _other(value: Any, chance: random.Random) -> Any:
    if chance.random() < 0.15:
        return chance.choice(
            [None, True, False, 0, -1, 1.5, "", [], {}, [0], {"a": 0}, chance.choice(INTEGERS), chance.choice(TEXTS)]
        )
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return chance.choice([value + 1, value - 1, float(value), str(value), chance.choice(INTEGERS)])
    if isinstance(value, float):
        return chance.choice([-value, value * 2, int(value), chance.choice(FLOATS[:7])])
    if isinstance(value, str):
        at = chance.randrange(len(value) + 1)
        return chance.choice(
            [
                chance.choice(TEXTS),
                value + chance.choice(TEXTS),
                value.upper(),
                value[:at] + value[at + 1 :],
                value[:at] + "f" + value[at:],
            ]
        )
    if isinstance(value, list):
        return value * 2 if value and chance.random() < 0.5 else [*value, chance.choice([None, 0, "a", {}])]
    return (
        {**value, chance.choice(TEXTS): chance.choice([None, 0, "a", {}])}
        if isinstance(value, dict)
        else chance.choice([0, "a", [], {}])
    )


def envelope_value(data: bytes, chance: random.Random, order: int) -> Any:
    """The parsed envelope with its signatures exchanged, spelled otherwise, moved into another range, doubled or foreign."""
    value = json.loads(data)
    signatures = value["signatures"]
    entry = chance.choice(signatures)
    kind = chance.randrange(10)
    if kind == 0:
        entry["sig"] = _spelling(entry["sig"], chance)
    elif kind == 1:
        value["payload"] = _spelling(value["payload"], chance)
    elif kind == 2:
        # The same signature with the order of the group added to its second half.
        raw = base64.b64decode(entry["sig"])
        second = int.from_bytes(raw[32:], "little") + order * chance.choice([1, 2, 8])
        entry["sig"] = base64.b64encode(raw[:32] + (second % (1 << 256)).to_bytes(32, "little")).decode()
    elif kind == 3:
        signatures[0]["sig"], signatures[1]["sig"] = signatures[1]["sig"], signatures[0]["sig"]
    elif kind == 4:
        signatures.append({"keyid": f"{chance.getrandbits(256):064x}", "sig": entry["sig"]})
        signatures.sort(key=lambda one: str(one["keyid"]))
    elif kind == 5:
        signatures.remove(entry)
    elif kind == 6:
        entry["keyid"] = chance.choice(
            [
                entry["keyid"].upper(),
                f"{chance.getrandbits(256):064x}",
                entry["keyid"] + " ",
                "",
                signatures[0]["keyid"],
            ]
        )
    elif kind == 7:
        payload = bytearray(base64.b64decode(value["payload"]))
        payload[chance.randrange(len(payload))] ^= 1 << chance.randrange(8)
        value["payload"] = base64.b64encode(payload).decode()
    elif kind == 8:
        value["payloadType"] = chance.choice(
            ["application/vnd.in-toto+json", "", value["payloadType"].upper(), value["payloadType"] + "\n", None]
        )
    else:
        value = json_value(value, chance)
    return value


def _spelling(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return chance.choice(
        [
            text[:at] + chr(chance.choice(_ALPHABET)) + text[at + 1 :],
            text[:at] + chr(chance.choice(_ALPHABET)) + text[at:],
            text.rstrip("="),
            text + "=",
            text.replace("+", "-").replace("/", "_"),
            text[:at],
            text[:-3] + chr(chance.choice(_ALPHABET)) + text[-2:],
        ]
    )


# --- protobuf ---------------------------------------------------------------------------------------------------------

_TENSOR: dict[int, Any] = {}
_ATTRIBUTE = {5: _TENSOR}
_NODE = {5: _ATTRIBUTE}
_PORT: dict[int, Any] = {2: {1: {2: {1: {}}}}}
MODEL = {7: {1: _NODE, 5: _TENSOR, 11: _PORT, 12: _PORT}, 8: {}}
"""Which fields of an ONNX file are messages."""
Message = list[list[Any]]
"""Fields as [number, wire type, value]: an integer, bytes, or a message."""
_FURTHER = {
    7: [(6, 2), (14, 2), (20, 2), (25, 2)],
    1: [(6, 2), (8, 2), (9, 2)],
    5: [(12, 2), (13, 2), (14, 0), (4, 2), (10, 2)],
}


def varint(number: int, longer: int = 0) -> bytes:
    """As protobuf writes it; `longer` adds bytes that change nothing."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    if longer:
        return bytes([*out, number | 0x80, *[0x80] * (longer - 1), 0])
    return bytes([*out, number])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at


def parse_message(data: bytes, nested: dict[int, Any]) -> Message:
    """The fields of a well-formed message; `nested` says which are messages themselves."""
    fields, at = [], 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == 0:
            value, at = _read_varint(data, at)
        else:
            size, at = (4, at) if wire == 5 else _read_varint(data, at)
            value, at = data[at : at + size], at + size
            if number in nested and wire == 2:
                value = parse_message(value, nested[number])
        fields.append([number, wire, value])
    return fields


def write_message(fields: Message) -> bytes:
    """The bytes of a message; bytes as the first entry of a field stand for themselves."""
    parts = []
    for number, wire, value in fields:
        if number is None:
            parts.append(value)
            continue
        tag = varint(number << 3 | wire)
        if isinstance(value, int):
            parts.append(tag + varint(value))
        else:
            body = write_message(value) if isinstance(value, list) else value
            parts.append(tag + (varint(len(body)) if wire == 2 else b"") + body)
    return b"".join(parts)


def _messages(message: Message) -> list[Message]:
    found = [message]
    for _, _, value in message:
        if isinstance(value, list):
            found.extend(_messages(value))
    return found


def model_mutation(data: bytes, chance: random.Random) -> bytes:
    """Fields changed, spelled otherwise, moved, repeated and left out; values of trees; further nodes of any operator."""
    kind = chance.random()
    if kind < 0.1:
        return bytes_mutation(data, chance)
    model = parse_message(data, MODEL)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        if kind < 0.45:
            _add_node(model, chance)
        else:
            _change_field(model, chance)
    return write_message(model)


def _change_field(model: Message, chance: random.Random) -> None:
    message = chance.choice([part for part in _messages(model) if part])
    place = chance.randrange(len(message))
    if len(message) > 40:  # the numbers of a tree: otherwise its other attributes would hardly be met
        place = chance.choice([0, len(message) - 1, place])
    field = message[place]
    number, wire, value = field
    kind = chance.randrange(11)
    if number is None or kind == 0:
        del message[place]
    elif kind == 1:
        message.insert(chance.randrange(len(message) + 1), list(field))
    elif kind == 2:
        other = chance.randrange(len(message))
        message[place], message[other] = message[other], message[place]
    elif kind == 3:
        message[place] = [None, 0, varint(number << 3 | wire, chance.randrange(2)) + _spelled(value, chance)]
    elif kind == 4:
        message[place] = [
            None,
            0,
            varint(number << 3 | wire) + varint(chance.choice(INTEGERS)) + (value if isinstance(value, bytes) else b""),
        ]
    elif kind == 5:
        further = chance.choice(
            [*_FURTHER.get(number, []), (chance.randrange(1, 30), chance.choice([0, 1, 2, 3, 4, 5]))]
        )
        body = {0: 1, 2: chance.choice([b"", b"\x08\x01", b"\x0a\x08location\x12\x09../secret"])}.get(
            further[1], b"\0" * (8 if further[1] == 1 else 4)
        )
        message.insert(chance.randrange(len(message) + 1), [*further, body])
    elif kind == 6:
        parts = [part for part in _messages(model) if part and isinstance(value, list)]
        field[2] = write_message(chance.choice(parts)) if parts else b"\x08\x01"
    elif kind == 7:
        run = [one for one in message if one[0] == number and one[1] == 0 and isinstance(one[2], int)]
        message[:] = [one for one in message if one not in run]
        message.append([number, 2, b"".join(varint(one[2]) for one in run)])
    elif isinstance(value, int):
        field[2] = chance.choice(
            [value + 1, value - 1, value * 2, 1 << chance.randrange(64), chance.choice(INTEGERS), chance.randrange(8)]
        )
    elif isinstance(value, bytes):
        names = [
            b"features",
            b"score",
            b"n0",
            b"n1",
            b"c0",
            b"",
            b"ai.onnx.ml",
            b"Loop",
            b"rows",
            b"\xff\xfe",
            b"\xed\xa0\x80",
            b"x" * 300,
        ]
        field[2] = chance.choice(
            [
                bytes_mutation(value, chance),
                bytes_mutation(value, chance),
                chance.choice(names),
                chance.choice(sorted(every_operator()))[1].encode(),
            ]
        )


def _spelled(value: Any, chance: random.Random) -> bytes:
    if isinstance(value, int):
        return varint(value, chance.choice([1, 2, 9]))
    body = write_message(value) if isinstance(value, list) else value
    return varint(len(body), chance.choice([0, 1, 3])) + body + chance.choice([b"", b"\0", b"\x08\x00"])


def _add_node(model: Message, chance: random.Random) -> None:
    """A node of any operator that is allowed (or Loop) on values that are there, with constants for what may say a shape."""
    graph = next(field[2] for field in model if field[0] == 7)
    nodes = [place for place, field in enumerate(graph) if field[0] == 1 and isinstance(field[2], list)]
    if not nodes:
        return
    at = chance.choice(nodes)
    names = [b"features"] + [
        one[2] for place in nodes if place < at for one in graph[place][2] if one[0] == 2 and isinstance(one[2], bytes)
    ]
    names += [
        one[2]
        for field in graph
        if field[0] == 5 and isinstance(field[2], list)
        for one in field[2]
        if one[0] == 8 and isinstance(one[2], bytes)
    ]
    domain, operator = chance.choice(sorted(every_operator()))
    entry = every_operator()[domain, operator]
    least, most = entry.inputs
    count = chance.choice([least, least, min(most, least + 1), chance.randint(least, min(most, 7)), least + 1])
    node: Message = []
    for position in range(count):
        if chance.random() < (0.25 if position == 0 else 0.6):
            name = b"k%d" % chance.getrandbits(40)
            graph.append([5, 2, _constant(name, chance)])
        else:
            name = chance.choice([*names, *names, b""])
        node.append([1, 2, name])
    made = b"z%d" % chance.getrandbits(40)
    node.append([2, 2, made])
    node.extend([2, 2, made + b"%d" % place] for place in range(1, chance.randint(1, min(entry.outputs[1], 3))))
    node.append([4, 2, operator.encode() if chance.random() < 0.98 else b"Loop"])
    node.extend([5, 2, _attribute(name, rule, chance)] for name, rule in _some(entry.attributes, chance))
    if domain:
        node.append([7, 2, domain.encode()])
    follower = graph[at][2]
    taken = [one for one in follower if one[0] == 1]
    if taken and chance.random() < 0.6:
        chance.choice(taken)[2] = made
    graph.insert(at, [1, 2, node])
    graph.sort(key=lambda one: one[0] or 0)


def _some(attributes: Attributes, chance: random.Random) -> list[tuple[str, Rule]]:
    return [(name, attributes[name]) for name in sorted(attributes) if chance.random() < 0.6]


def _constant(name: bytes, chance: random.Random) -> Message:
    shape = chance.choice([[], [1], [1], [2], [3], [2, 2], [0], [1, 4], [4, 1]])
    count = 1
    for length in shape:
        count *= length
    element, letter = chance.choice([(7, "q"), (7, "q"), (7, "q"), (11, "d"), (1, "f"), (6, "i")])
    small = [0, 1, 2, 3, 4, -1, -2]
    if letter in "df":
        data = struct.pack(
            f"<{count}{letter}",
            *[
                chance.choice([0.0, 1.0, -1.0, 0.5, *([float("nan"), float("inf")] if chance.random() < 0.1 else [])])
                for _ in range(count)
            ],
        )
    else:
        wide = INTEGERS if letter == "q" else [number for number in INTEGERS if -(1 << 31) <= number < 1 << 31]
        numbers = [chance.choice(wide) if chance.random() < 0.3 else chance.choice(small) for _ in range(count)]
        data = struct.pack(f"<{count}{letter}", *[min(number, (1 << 63) - 1) for number in numbers])
    return [*[[1, 0, length] for length in shape], [2, 0, element], [8, 2, name], [9, 2, data]]


def _attribute(name: str, rule: Rule, chance: random.Random) -> Message:
    """An attribute of the rule's kind, mostly within the rule."""
    head = [1, 2, name.encode()]
    match rule:
        case Among(values) if isinstance(next(iter(values)), str):
            return [head, [4, 2, str(chance.choice(sorted(values, key=str))).encode()], [20, 0, 3]]
        case Among(values):
            return [head, [3, 0, chance.choice([*values, *values, chance.choice(INTEGERS)])], [20, 0, 2]]
        case Between(least, most):
            return [head, [3, 0, chance.choice([least, most, 1, 2, 3, chance.choice(INTEGERS)])], [20, 0, 2]]
        case Axis():
            return [head, [3, 0, chance.choice([0, 1, 2, 3, -1, chance.choice(INTEGERS)])], [20, 0, 2]]
        case Number():
            return [head, [2, 5, struct.pack("<f", chance.choice([0.0, 1.0, -1.0, 0.5]))], [20, 0, 1]]
        case Text():
            texts = ["", "ij,jk->ik", "ij->ji", "i->", "ij,ij->i", "->", "i,j->ij"]
            return [head, [4, 2, chance.choice(texts).encode()], [20, 0, 3]]
        case Texts(values):
            return [head, [9, 2, chance.choice(sorted(values)).encode()], [20, 0, 8]]
        case Constant():
            return [head, [5, 2, _constant(b"", chance)], [20, 0, 4]]
    numbers = [chance.choice([0, 1, 2, 3, -1]) for _ in range(chance.choice([0, 1, 2, 2, 4]))]
    return [head, *[[8, 0, number] for number in numbers], [20, 0, 7]]


# --- parquet ----------------------------------------------------------------------------------------------------------

_STRUCT, _LIST, _BINARY = 12, 9, 8
Fields = list[list[Any]]
"""A Thrift structure: [number, kind, value]; a list is (kind, [values])."""


class Thrift:
    """The compact protocol, both ways, for well-formed input."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def structure(self) -> Fields:
        fields: Fields = []
        number = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            if byte == 0:
                return fields
            number = number + (byte >> 4) if byte >> 4 else self.integer()
            fields.append([number, byte & 15, self._value(byte & 15)])

    def integer(self) -> int:
        value, self.at = _read_varint(self.data, self.at)
        return (value >> 1) ^ -(value & 1)

    def _value(self, kind: int) -> Any:
        if kind in (1, 2):
            return None
        if kind in (3, 7):
            size = 1 if kind == 3 else 8
            self.at += size
            return self.data[self.at - size : self.at]
        if kind in (4, 5, 6):
            return self.integer()
        if kind == _BINARY:
            size, self.at = _read_varint(self.data, self.at)
            self.at += size
            return self.data[self.at - size : self.at]
        if kind == _LIST:
            byte = self.data[self.at]
            self.at += 1
            count, element = byte >> 4, byte & 15
            if count == 15:
                count, self.at = _read_varint(self.data, self.at)
            return (element, [self._value(element) for _ in range(count)])
        return self.structure()


def write_structure(fields: Fields) -> bytes:
    """The bytes of a structure."""
    out, last = bytearray(), 0
    for number, kind, value in fields:
        step = number - last
        out += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + varint(_zigzag(number))
        out += _written(kind, value)
        last = number
    return bytes(out) + b"\0"


def _zigzag(number: int) -> int:
    return (number << 1) ^ (number >> 63)


def _written(kind: int, value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, int):
        return varint(_zigzag(value))
    if isinstance(value, bytes):
        return (varint(len(value)) if kind == _BINARY else b"") + value
    if isinstance(value, tuple):
        element, entries = value
        head = (
            bytes([len(entries) << 4 | element])
            if len(entries) < 15
            else bytes([0xF0 | element]) + varint(len(entries))
        )
        return head + b"".join(_written(element, entry) for entry in entries)
    return write_structure(value)


def parquet_mutation(data: bytes, chance: random.Random) -> bytes:
    """Bytes anywhere, fields of the footer, or fields of one page's header with the offsets behind it put right."""
    kind = chance.random()
    if kind < 0.25:
        return bytes_mutation(data, chance)
    length = int.from_bytes(data[-8:-4], "little")
    body, footer = data[: -8 - length], Thrift(data[-8 - length : -8]).structure()
    if kind < 0.7:
        for _ in range(chance.choice([1, 1, 2])):
            _change_structure(footer, chance)
    elif kind < 0.72:
        # The list of keys and texts in which Arrow looks for a schema of its own.
        footer.append([5, _LIST, (_STRUCT, [[[1, 8, b"ARROW:schema"], [2, 8, b"x" * 20]]])])
        footer.sort(key=lambda one: one[0])
    else:
        body = _change_page(body, footer, chance)
    tail = write_structure(footer)
    size = (
        len(tail)
        if chance.random() < 0.97
        else chance.choice([0, len(tail) - 1, len(tail) + 1, 1 << 24, (1 << 32) - 1])
    )
    return body + tail + size.to_bytes(4, "little") + chance.choices([b"PAR1", b"PARE", b"par1"], [50, 1, 1])[0]


def _structures(fields: Fields) -> list[Fields]:
    found = [fields]
    for _, kind, value in fields:
        if kind == _STRUCT:
            found.extend(_structures(value))
        elif kind == _LIST and value[0] == _STRUCT:
            for part in value[1]:
                found.extend(_structures(part))
    return found


def _change_structure(fields: Fields, chance: random.Random) -> None:
    target = chance.choice([part for part in _structures(fields) if part])
    place = chance.randrange(len(target))
    field = target[place]
    kind = chance.randrange(8)
    if kind == 0:
        del target[place]
    elif kind == 1:
        target.insert(place, list(field))
    elif kind == 2:
        field[0] = chance.choice([field[0] + 1, field[0] - 1, chance.randrange(-2, 20), 1 << 14])
    elif kind == 3:
        number = chance.randrange(1, 20)
        target.append(
            chance.choice(
                [
                    [number, 5, 1],
                    [number, 6, chance.choice(INTEGERS)],
                    [number, 8, b"x" * 20],
                    [number, 1, None],
                    [number, 12, [[1, 5, 1]]],
                    [number, 9, (8, [b"a"])],
                ]
            )
        )
        target.sort(key=lambda one: one[0])
    elif isinstance(field[2], int):
        field[2] = chance.choice(
            [field[2] + 1, field[2] - 1, field[2] * 2, chance.randrange(10), chance.choice(INTEGERS)]
        )
    elif isinstance(field[2], bytes):
        field[2] = chance.choice([bytes_mutation(field[2], chance), b"score", b"", b"\xff\xfe"])
        if field[1] in (3, 7):
            field[2] = (field[2] + b"\0" * 8)[: 1 if field[1] == 3 else 8]
    elif isinstance(field[2], tuple) and field[2][1]:
        entries = field[2][1]
        at = chance.randrange(len(entries))
        if chance.random() < 0.5:
            del entries[at]
        else:
            entries.insert(at, entries[chance.randrange(len(entries))])


def _change_page(body: bytes, footer: Fields, chance: random.Random) -> bytes:
    chunks = [
        part
        for part in _structures(footer)
        if {3, 4, 5, 6, 7, 9} <= {number for number, _, _ in part}
        and any(number == 9 and kind == 6 for number, kind, _ in part)
    ]
    offsets = [field[2] for chunk in chunks for field in chunk if field[0] in (9, 11) and isinstance(field[2], int)]
    offset = chance.choice(offsets)
    reader = Thrift(body, offset)
    header = reader.structure()
    payload = reader.at
    size = next((field[2] for field in header if field[0] == 3), 0)
    if chance.random() < 0.5:
        _change_structure(header, chance)
    else:
        page = bytes_mutation(body[payload : payload + size], chance)
        body = body[:payload] + page + body[payload + size :]
        if chance.random() < 0.7:
            for field in header:
                if field[0] == 3:
                    field[2] = len(page)
        _shift(footer, offset, len(page) - size)
    head = write_structure(header)
    _shift(footer, offset, len(head) - (payload - offset))
    return body[:offset] + head + body[payload:]


def _shift(footer: Fields, offset: int, by: int) -> None:
    for part in _structures(footer):
        for field in part:
            if field[0] in (2, 9, 11) and field[1] == 6 and isinstance(field[2], int) and field[2] > offset:
                field[2] += by


# --- files ------------------------------------------------------------------------------------------------------------


def write_tree(root: Path, files: dict[str, bytes]) -> None:
    """The files of a bundle below a directory that does not exist yet."""
    for path, data in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def tree_mutation(root: Path, chance: random.Random) -> None:
    """Entries renamed, added, removed, exchanged, replaced by links and special files, or with other content."""
    for _ in range(chance.choice([1, 1, 2])):
        if any(path.lstat().st_size > 1 << 20 for path in root.rglob("*")):
            return  # one that was made too long for everything else here
        entries = sorted(path for path in root.rglob("*") if not path.is_symlink())
        files = [path for path in entries if path.is_file()]
        if not files:
            return
        target, place = chance.choice(files), chance.choice([root, *[path for path in entries if path.is_dir()]])
        name = chance.choice(
            [
                "x",
                "X",
                ".git",
                "a b",
                "nul",
                "é",
                "e\u0301",
                "x" * 70,
                "x.",
                "manifest.json",
                "Manifest.json",
                "provenance.dsse.json",
                "model.onnx",
                "\udcff",
                "a\\b",
                "sources",
                "x\n",
            ]
        )
        try:
            _change_tree(root, target, place / name, chance)
        except OSError:
            continue  # a name that is taken, or that the system does not have


def _change_tree(root: Path, target: Path, new: Path, chance: random.Random) -> None:
    kind = chance.randrange(12)
    if kind == 0:
        target.unlink()
    elif kind == 1:
        target.rename(new)
    elif kind == 2:
        data = chance.choice([b"", b"x", target.read_bytes()])
        if new.is_fifo():
            new.unlink()  # nobody reads there: writing would wait for ever
        new.write_bytes(data)
    elif kind == 3:
        new.mkdir()
    elif kind == 4:
        # Outside of the bundle, but not of the scratch directory: the next change may write through the link.
        outside = root.parent / "outside"
        outside.write_bytes(b"of somebody else")
        new.symlink_to(chance.choice([target, outside, Path(".."), Path("nowhere")]))
    elif kind == 5:
        os.mkfifo(new)
    elif kind == 6:
        with socket.socket(socket.AF_UNIX) as special:
            special.bind(str(new))
    elif kind == 7:
        target.write_bytes(bytes_mutation(target.read_bytes(), chance))
    elif kind == 8:
        other = chance.choice(sorted(path for path in root.rglob("*") if path.is_file()))
        first, second = target.read_bytes(), other.read_bytes()
        target.write_bytes(second)
        other.write_bytes(first)
    elif kind == 9:
        away = root.parent / "away"
        os.replace(target, away)
        target.symlink_to(away)
    elif kind == 10:
        parent = target.parent if target.parent != root else root / "sources"
        away = root.parent / "away_directory"
        parent.rename(away)
        parent.symlink_to(away)
    else:
        os.truncate(target, chance.choice([0, target.stat().st_size - 1, target.stat().st_size + 1, 1 << 40]))
