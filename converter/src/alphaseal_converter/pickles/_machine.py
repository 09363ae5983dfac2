"""A pickle interpreter that looks nothing up and calls nothing.

It follows the opcodes of protocols 0 to 5 (as documented in CPython's ``Lib/pickletools.py``) over bytes and builds the
inert graph of `records`: what a real unpickler would import is a `Global`, what it would call is a `Record`.  Python's
own pickle module is not used, so there is no hook that could be forgotten.

This module needs the standard library and `records` only: the child process that runs it has to start fast.
"""

from __future__ import annotations

import codecs
import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from alphaseal_converter.pickles._calls import VIEWS
from alphaseal_converter.pickles._state import Limits, Machine, PickleFault, kind_of
from alphaseal_converter.pickles.records import Global, Record

_HIGHEST_PROTOCOL: Final = 5


def interpret(
    data: bytes | bytearray,
    limits: Limits | None = None,
    literal: Callable[[int, int], Any] | None = None,
) -> tuple[Any, tuple[Global, ...]]:
    """The root of the pickle in `data` and every global that it names, in order of appearance.

    `literal` makes the value of a bytes literal from its start and end in `data` (default: a copy as bytes); results
    that are not bytes are refused as dict keys.  Raises `PickleFault`.
    """
    machine = Machine(data, limits or Limits(), literal)
    if machine.size > machine.limits.total_bytes:
        raise machine.fault(
            "pickle.limit", f"the pickle has {machine.size} bytes, {machine.limits.total_bytes} are allowed"
        )
    _run(machine, _HANDLERS)
    return machine.finish(), tuple(machine.globals)


def interpret_first(data: bytes, limits: Limits) -> tuple[Any, int]:
    """The root of the pickle at the start of `data`, and where it ends: other bytes may follow it.

    A persistent id, which an unpickler would hand to its ``persistent_load``, stays inert as a `Record` of
    `PERSISTENT_LOAD` with the id as its argument.  Raises `PickleFault`.
    """
    machine = Machine(data, limits, None)
    _run(machine, _FIRST_HANDLERS)
    return machine.finish(more_may_follow=True), machine.position


def _run(machine: Machine, handlers: Sequence[Callable[[Machine], None] | None]) -> None:
    """Follow the opcodes up to STOP, which is consumed."""
    limits, size, stack, data = machine.limits, machine.size, machine.stack, machine.data
    weight = limits.weight
    for _ in range(limits.opcodes):
        machine.operation = position = machine.position
        if position >= size:
            raise machine.fault("pickle.truncated", "the pickle ends before its STOP opcode")
        opcode = data[position]
        machine.position = position + 1
        if opcode == _STOP:
            return
        handler = handlers[opcode]
        if handler is None:
            raise _not_read(machine, opcode)
        weight -= _WEIGHTS[opcode]
        if weight < 0:
            raise machine.fault("pickle.resources", "the values of the pickle would take too much memory")
        handler(machine)
        if len(stack) > limits.stack:
            raise machine.fault("pickle.limit", f"more than {limits.stack} values are on the stack")
    raise machine.fault("pickle.limit", f"the pickle has more than {limits.opcodes} opcodes")


def _not_read(machine: Machine, opcode: int) -> PickleFault:
    name = _REFUSED.get(opcode)
    if name is not None:
        return machine.fault("pickle.opcode", f"the opcode {name} is not allowed in a pickle that is only read")
    return machine.fault("pickle.opcode", f"0x{opcode:02x} is not an opcode: this is no pickle, or a damaged one")


# ---- one function per opcode; the table at the end maps them


def _mark(machine: Machine) -> None:
    if len(machine.marks) >= machine.limits.stack:
        raise machine.fault("pickle.limit", f"more than {machine.limits.stack} marks are on the stack")
    machine.marks.append(len(machine.stack))


def _pop(machine: Machine) -> None:
    # CPython's POP removes a mark where one is on top.
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.pop()


def _pop_mark(machine: Machine) -> None:
    machine.pop_mark()


def _dup(machine: Machine) -> None:
    machine.push_again(machine.top())


def _protocol(machine: Machine) -> None:
    version = machine.number(1)
    if version > _HIGHEST_PROTOCOL:
        raise machine.fault("pickle.protocol", f"pickle protocol {version}, {_HIGHEST_PROTOCOL} is the highest known")


def _frame(machine: Machine) -> None:
    length = machine.number(8)
    if length > machine.size - machine.position:
        left = machine.size - machine.position
        raise machine.fault("pickle.truncated", f"a frame of {length} bytes is announced and {left} are left")


def _constant(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value)


def _unsigned(width: int) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(machine.number(width))


def _signed_integer(machine: Machine) -> None:
    start = machine.take(4)
    machine.push(int.from_bytes(machine.view[start : start + 4], "little", signed=True))


def _long(width: int) -> Callable[[Machine], None]:
    def load(machine: Machine) -> None:
        count = machine.number(width)
        machine.check_digits(count)
        start = machine.take(count)
        machine.push(int.from_bytes(machine.view[start : start + count], "little", signed=True))

    return load


# CPython reads text numbers with C's and its own functions, which take signs, spaces, underscores, other bases and, from
# version to version, other forms.  Every form that a pickler writes has one meaning in all of them; no other is read.
_INTEGER: Final = re.compile(rb"0|-?[1-9][0-9]*")
_FLOAT: Final = re.compile(rb"-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?|-?inf|nan")


def _text_integer(machine: Machine) -> None:
    line = machine.line()
    # Protocol 1 and older write booleans as the integers 00 and 01.
    if line in (b"00", b"01"):
        machine.push(line == b"01")
    else:
        machine.push(_parse_integer(machine, line))


def _text_long(machine: Machine) -> None:
    machine.push(_parse_integer(machine, machine.line().removesuffix(b"L")))


def _parse_integer(machine: Machine, digits: bytes) -> int:
    if not _INTEGER.fullmatch(digits):
        raise machine.fault("pickle.text", f"{digits[:40]!r} is not an integer as picklers write it")
    if len(digits) > machine.limits.integer_digits:
        raise machine.fault("pickle.limit", f"an integer has more than {machine.limits.integer_digits} digits")
    return int(digits)


def _text_float(machine: Machine) -> None:
    line = machine.line()
    if not _FLOAT.fullmatch(line):
        raise machine.fault("pickle.text", f"{line[:40]!r} is not a number as picklers write it")
    value = float(line)
    if math.isinf(value) and not line.endswith(b"inf"):
        raise machine.fault("pickle.text", f"{line[:40]!r} is beyond the largest number")
    machine.push(value)


def _binary_float(machine: Machine) -> None:
    start = machine.take(8)
    machine.push(struct.unpack_from(">d", machine.data, start)[0])


_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|[\\'\"abfnrtv]|[0-7]{1,3}|.|$)", re.DOTALL)
_OCTAL: Final = b"01234567"
_ESCAPED: Final = dict(zip(b"\\'\"abfnrtv", b"\\'\"\a\b\f\n\r\t\v", strict=True))


def _text_string(machine: Machine) -> None:
    """Python 2's quoted ``repr`` of a byte string; ASCII as CPython's default encoding."""
    line = machine.line(machine.limits.literal_bytes)
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise machine.fault("pickle.text", "the argument of STRING is not quoted")

    def replace(match: re.Match[bytes]) -> bytes:
        escape: bytes = match[1]
        if escape[:1] == b"x" and len(escape) == 3:
            return bytes([int(escape[1:], 16)])
        if escape[:1] in _OCTAL and escape:
            return bytes([int(escape, 8) & 0xFF])
        if len(escape) == 1 and escape[0] in _ESCAPED:
            return bytes([_ESCAPED[escape[0]]])
        raise machine.fault("pickle.text", f"{match[0]!r} is not an escape of STRING")

    machine.push(_ascii(machine, _ESCAPE.sub(replace, line[1:-1])))


def _ascii(machine: Machine, content: bytes) -> str:
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise machine.fault("pickle.text", "a byte string of Python 2 is not ASCII") from None


def _old_string(width: int) -> Callable[[Machine], None]:
    def load(machine: Machine) -> None:
        start, end = machine.span(width)
        machine.push(_ascii(machine, bytes(machine.view[start:end])))

    return load


def _text_unicode(machine: Machine) -> None:
    try:
        machine.push(codecs.raw_unicode_escape_decode(machine.line(machine.limits.literal_bytes))[0])
    except UnicodeDecodeError as problem:
        raise machine.fault("pickle.text", f"a string is not raw-unicode-escape: {problem.reason}") from None


def _unicode(width: int) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(machine.text(*machine.span(width)))


def _bytes(width: int) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(machine.literal(*machine.span(width)))


def _empty(kind: Callable[[], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.push_made(kind())


def _tuple(count: int) -> Callable[[Machine], None]:
    def load(machine: Machine) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.make_tuple(reversed(values))

    return load


def _tuple_of_mark(machine: Machine) -> None:
    machine.make_tuple(machine.pop_mark())


def _list_of_mark(machine: Machine) -> None:
    machine.push_made(machine.pop_mark())


def _dict_of_mark(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.push_made({})
    _set_items(machine, machine.target(), values)


def _frozenset_of_mark(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.check_keys(values, values)
    machine.push_with_depth(frozenset(values), 1)


def _append(machine: Machine) -> None:
    value = machine.pop()
    _append_to(machine, [value])


def _append_to(machine: Machine, values: list[Any]) -> None:
    target = machine.target()
    if type(target) is list:
        target.extend(values)
    elif machine.changeable(target):
        target.items.extend(values)
    else:
        raise machine.fault("pickle.append", f"something is appended to a {kind_of(target)}")


def _appends(machine: Machine) -> None:
    _append_to(machine, machine.pop_mark())


def _add_items(machine: Machine) -> None:
    values = machine.pop_mark()
    target = machine.target()
    if type(target) is set:
        machine.check_keys(target, values)
        target.update(values)
    elif machine.changeable(target):
        target.items.extend(values)
    else:
        raise machine.fault("pickle.append", f"something is added to a {kind_of(target)}")


def _set_item(machine: Machine) -> None:
    value = machine.pop()
    key = machine.pop()
    _set_items(machine, machine.target(), [key, value])


def _set_items_of_mark(machine: Machine) -> None:
    values = machine.pop_mark()
    _set_items(machine, machine.target(), values)


def _set_items(machine: Machine, target: Any, values: list[Any]) -> None:
    if len(values) % 2:
        raise machine.fault("pickle.stack", "a key has no value")
    pairs = zip(values[::2], values[1::2], strict=True)
    if type(target) is dict:
        machine.check_keys(target, values[::2])
        target.update(pairs)
    elif machine.changeable(target):
        target.entries.extend(pairs)
    else:
        raise machine.fault("pickle.append", f"a key is set on a {kind_of(target)}")


def _global(machine: Machine) -> None:
    machine.push(_text_global(machine))


def _text_global(machine: Machine) -> Global:
    try:
        return machine.make_global(machine.line().decode(), machine.line().decode())
    except UnicodeDecodeError:
        raise machine.fault("pickle.text", "the name of a class or function is not UTF-8") from None


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if type(name) is not str or type(module) is not str:
        raise machine.fault("pickle.global_name", "the name of a class or function is not text")
    machine.push(machine.make_global(module, name))


def _reduce(machine: Machine) -> None:
    arguments = machine.pop()
    machine.push_record(machine.pop(), arguments)


def _new_object(machine: Machine) -> None:
    arguments = machine.pop()
    machine.push_record(machine.pop(), arguments, new=True)


def _new_object_extended(machine: Machine) -> None:
    keywords, arguments = machine.pop(), machine.pop()
    factory = machine.pop()
    if type(keywords) is not dict or not all(type(key) is str for key in keywords):
        raise machine.fault("pickle.call", f"the keyword arguments are a {kind_of(keywords)}, not a dict of names")
    machine.push_record(factory, arguments, keywords, new=True)


def _instance(machine: Machine) -> None:
    factory = _text_global(machine)
    machine.push_record(factory, tuple(machine.pop_mark()))


def _object(machine: Machine) -> None:
    values = machine.pop_mark()
    if not values:
        raise machine.fault("pickle.stack", "OBJ has no class")
    machine.push_record(values[0], tuple(values[1:]))


def _build(machine: Machine) -> None:
    state = machine.pop()
    target = machine.target()
    if type(target) is not Record or target.factory in VIEWS:
        raise machine.fault("pickle.build", f"a state is set on a {kind_of(target)}")
    if target.state is not None:
        raise machine.fault("pickle.build", f"a second state is set on one {kind_of(target)}")
    machine.check_state(target, state)
    target.state = state


def _put(machine: Machine, index: int) -> None:
    if not 0 <= index < machine.limits.memo_entries:
        raise machine.fault("pickle.limit", f"memo index {index}, {machine.limits.memo_entries} are allowed")
    machine.memo[index] = machine.top()


def _get(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        raise machine.fault("pickle.memo", f"memo entry {index} is used and was never stored")
    machine.push_again(machine.memo[index])


def _text_put(machine: Machine) -> None:
    _put(machine, _parse_integer(machine, machine.line()))


def _text_get(machine: Machine) -> None:
    _get(machine, _parse_integer(machine, machine.line()))


def _binary_put(width: int) -> Callable[[Machine], None]:
    return lambda machine: _put(machine, machine.number(width))


def _binary_get(width: int) -> Callable[[Machine], None]:
    return lambda machine: _get(machine, machine.number(width))


def _memoize(machine: Machine) -> None:
    _put(machine, len(machine.memo))


def _persistent_id(machine: Machine) -> None:
    machine.push_record(PERSISTENT_LOAD, (machine.pop(),))


PERSISTENT_LOAD: Final = Global("pickle", "persistent_load")
_STOP: Final = ord(".")
_REFUSED: Final = {
    ord("P"): "PERSID",
    ord("Q"): "BINPERSID",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}
_OPCODES: Final[dict[int, Callable[[Machine], None]]] = {
    ord("("): _mark,
    ord("0"): _pop,
    ord("1"): _pop_mark,
    ord("2"): _dup,
    0x80: _protocol,
    0x95: _frame,
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("K"): _unsigned(1),
    ord("M"): _unsigned(2),
    ord("J"): _signed_integer,
    0x8A: _long(1),
    0x8B: _long(4),
    ord("I"): _text_integer,
    ord("L"): _text_long,
    ord("F"): _text_float,
    ord("G"): _binary_float,
    ord("S"): _text_string,
    ord("T"): _old_string(4),
    ord("U"): _old_string(1),
    ord("V"): _text_unicode,
    0x8C: _unicode(1),
    ord("X"): _unicode(4),
    0x8D: _unicode(8),
    ord("C"): _bytes(1),
    ord("B"): _bytes(4),
    0x8E: _bytes(8),
    0x96: _bytes(8),  # BYTEARRAY8: the graph has one kind of bytes
    ord("]"): _empty(list),
    ord("}"): _empty(dict),
    0x8F: _empty(set),
    ord(")"): _constant(()),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("t"): _tuple_of_mark,
    ord("l"): _list_of_mark,
    ord("d"): _dict_of_mark,
    0x91: _frozenset_of_mark,
    ord("a"): _append,
    ord("e"): _appends,
    0x90: _add_items,
    ord("s"): _set_item,
    ord("u"): _set_items_of_mark,
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _reduce,
    0x81: _new_object,
    0x92: _new_object_extended,
    ord("i"): _instance,
    ord("o"): _object,
    ord("b"): _build,
    ord("p"): _text_put,
    ord("q"): _binary_put(1),
    ord("r"): _binary_put(4),
    ord("g"): _text_get,
    ord("h"): _binary_get(1),
    ord("j"): _binary_get(4),
    0x94: _memoize,
}
_WEIGHTS: Final = bytes(
    {
        **dict.fromkeys(b"IJKLMFG\x8a\x8b", 1),
        **dict.fromkeys(b"pqr\x94", 2),
        **dict.fromkeys(b"STUVXBC\x8c\x8d\x8e\x96t\x85\x86\x87c\x93", 8),
        **dict.fromkeys(b"]}ld", 16),
        **dict.fromkeys(b"\x8f\x91RioQ\x81\x92", 32),
    }.get(opcode, 0)
    for opcode in range(256)
)
"""What one opcode adds to the memory, in the units of `Limits.weight`."""
_HANDLERS: Final = tuple(_OPCODES.get(opcode) for opcode in range(256))
_FIRST_HANDLERS: Final = tuple({**_OPCODES, ord("Q"): _persistent_id}.get(opcode) for opcode in range(256))
