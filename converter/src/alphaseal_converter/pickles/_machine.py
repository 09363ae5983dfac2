"""A pickle interpreter that looks nothing up and calls nothing.

It follows the opcodes of protocols 0 to 5 (as documented in CPython's ``Lib/pickletools.py``) over bytes and builds the
inert graph of `records`: what a real unpickler would import is a `Global`, what it would call is a `Record`.  Python's
own pickle module is not used, so there is no hook that could be forgotten.

This module needs the standard library and `records` only: the child process that runs it has to start fast.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from alphaseal_converter.records import Global, Record


@dataclass(frozen=True)
class Limits:
    """What a pickle may cost.  All are far above real sessions and models, and far below what hurts the machine."""

    total_bytes: int = 1 << 30
    opcodes: int = 20_000_000
    memo_entries: int = 4_000_000
    """Also the bound of a memo index, so that one huge index cannot allocate a table."""
    literal_bytes: int = 512 << 20
    integer_digits: int = 4_000
    """Decimal digits of one integer; below CPython's own bound of 4300 for printing one."""
    nesting: int = 1_000
    """Steps on the shortest way from the root to any value, and tuples within tuples."""
    stack: int = 4_000_000
    result_bytes: int = 1 << 30
    """Size of the child's answer, without the long bytes literals, which do not travel."""


class PickleFault(Exception):
    """The pickle is refused: `code` is the rule, `offset` the byte where the opcode that broke it stands."""

    def __init__(self, code: str, message: str, offset: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.offset = offset


KEY_BYTES: Final = 1 << 16
"""Longest str or bytes (in characters or bytes) that may be a dict key or a set member."""
_KEY_DEPTH: Final = 4
_KEY_MEMBERS: Final = 100
_SPREAD_INTEGER: Final = (1 << 61) - 1
"""CPython hashes integers modulo this: below it they cannot be made to collide at will."""
_WIDE_KEYS: Final = 10_000
_LINE_BYTES: Final = 1 << 16
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
    machine = _Machine(data, limits or Limits(), literal)
    return machine.run(), tuple(machine.globals)


class _Machine:
    def __init__(
        self, data: bytes | bytearray, limits: Limits, literal: Callable[[int, int], Any] | None
    ) -> None:
        self.data = data
        self.view = memoryview(data)
        self.size = len(data)
        self.limits = limits
        self.literal = literal or self._copy
        self.position = 0
        self.operation = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.globals: dict[Global, Global] = {}
        self.wide_keys = 0
        self.tuple_depths: dict[int, int] = {}

    def run(self) -> Any:
        limits = self.limits
        if self.size > limits.total_bytes:
            raise self.fault("pickle.limit", f"the pickle has {self.size} bytes, {limits.total_bytes} are allowed")
        handlers = _HANDLERS
        data, stack = self.data, self.stack
        for _ in range(limits.opcodes):
            self.operation = self.position
            if self.position >= self.size:
                raise self.fault("pickle.truncated", "the pickle ends before its STOP opcode")
            opcode = data[self.position]
            self.position += 1
            if opcode == _STOP:
                return self._finish()
            handler = handlers[opcode]
            if handler is None:
                raise self._unsupported(opcode)
            handler(self)
            if len(stack) > limits.stack:
                raise self.fault("pickle.limit", f"more than {limits.stack} values are on the stack")
        raise self.fault("pickle.limit", f"the pickle has more than {limits.opcodes} opcodes")

    def _finish(self) -> Any:
        root = self.pop()
        if self.stack or self.marks:
            raise self.fault("pickle.stack", "values are left on the stack at STOP")
        if self.position != self.size:
            self.operation = self.position
            raise self.fault(
                "pickle.trailing", f"{self.size - self.position} bytes follow the end of the pickle (a second pickle?)"
            )
        self._check_nesting(root)
        return root

    def fault(self, code: str, message: str) -> PickleFault:
        return PickleFault(code, message, self.operation)

    def _unsupported(self, opcode: int) -> PickleFault:
        name = _REFUSED.get(opcode)
        if name is None:
            return self.fault("pickle.opcode", f"0x{opcode:02x} is not an opcode: this is not a pickle, or a damaged one")
        return self.fault("pickle.opcode", f"the opcode {name} is not allowed in a pickle that is only read")

    # ---- input

    def take(self, count: int) -> int:
        """Start of the next `count` bytes, which are there; the position moves behind them."""
        start = self.position
        if count > self.size - start:
            raise self.fault("pickle.truncated", f"{count} bytes are announced and {self.size - start} are left")
        self.position = start + count
        return start

    def number(self, width: int) -> int:
        start = self.take(width)
        return int.from_bytes(self.view[start : start + width], "little")

    def line(self, longest: int = _LINE_BYTES) -> bytes:
        """The text argument up to the next line feed, which is consumed and not part of it."""
        start = self.position
        end = self.data.find(b"\n", start, start + longest + 1)
        if end < 0:
            if self.size - start > longest:
                raise self.fault("pickle.limit", f"a text argument is longer than {longest} bytes")
            raise self.fault("pickle.truncated", "the line of a text opcode has no end")
        self.position = end + 1
        return bytes(self.view[start:end])

    def span(self, width: int) -> tuple[int, int]:
        """Start and end of a literal whose length is written in `width` bytes."""
        count = self.number(width)
        if count > self.limits.literal_bytes:
            raise self.fault("pickle.limit", f"a literal of {count} bytes, {self.limits.literal_bytes} are allowed")
        start = self.take(count)
        return start, start + count

    def _copy(self, start: int, end: int) -> bytes:
        return bytes(self.view[start:end])

    # ---- stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.fault("pickle.stack", "an opcode needs a value and the stack has none")
        return self.stack.pop()

    def top(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.fault("pickle.stack", "an opcode needs a value and the stack has none")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        """The values above the newest mark, which is removed with them."""
        if not self.marks:
            raise self.fault("pickle.stack", "an opcode needs a MARK and there is none")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    # ---- values

    def text(self, start: int, end: int, encoding: str = "utf-8", errors: str = "surrogatepass") -> str:
        try:
            return str(self.view[start:end], encoding, errors)
        except UnicodeDecodeError as problem:
            raise self.fault("pickle.text", f"a string is not {encoding}: {problem.reason}") from None

    def check_digits(self, byte_count: int) -> None:
        if byte_count * 2.41 > self.limits.integer_digits:
            raise self.fault("pickle.limit", f"an integer has more than {self.limits.integer_digits} digits")

    def make_global(self, module: str, name: str) -> Global:
        if "." in name:
            raise self.fault(
                "pickle.dotted_global", f"the name {name!r} of module {module!r} has dots, which reach inside of objects"
            )
        if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise self.fault("pickle.global_name", f"{module!r}, {name!r} do not name a class or function")
        found = Global(module, name)
        return self.globals.setdefault(found, found)

    def make_record(self, factory: Any, arguments: Any, keywords: Any = None) -> Record:
        if not isinstance(factory, (Global, Record)):
            raise self.fault("pickle.call", f"a {type(factory).__name__} is called")
        if type(arguments) is not tuple:
            raise self.fault("pickle.call", f"{_named(factory)} is called with a {_kind(arguments)}, not a tuple")
        return Record(factory, arguments, {} if keywords is None else keywords)

    def make_tuple(self, values: Iterable[Any]) -> None:
        """Push a tuple; its depth is followed, because tuples alone cannot be taken apart step by step."""
        result = tuple(values)
        depths = self.tuple_depths
        depth = 1 + max((depths.get(id(value), 0) for value in result if type(value) in _FIXED), default=0)
        self._note_depth(result, depth)

    def _note_depth(self, value: Any, depth: int) -> None:
        if depth > self.limits.nesting:
            raise self.fault("pickle.nesting", f"tuples are nested deeper than {self.limits.nesting}")
        # Empty and flat tuples have depth 1 and need no note; a stale id of a freed tuple can only overstate.
        if depth > 1:
            self.tuple_depths[id(value)] = depth
        else:
            self.tuple_depths.pop(id(value), None)
        self.stack.append(value)

    def check_keys(self, keys: Iterable[Any]) -> None:
        """Refuse keys and set members whose hash could cost more than their own size (see `facts`: 60-fold tuples)."""
        for key in keys:
            if type(key) is str and len(key) <= KEY_BYTES:
                continue
            self._check_key(key)

    def _check_key(self, key: Any) -> None:
        pending = [(key, 0)]
        seen = 0
        while pending:
            value, depth = pending.pop()
            kind = type(value)
            seen += 1
            if seen > _KEY_MEMBERS:
                raise self.fault("pickle.key", f"a key has more than {_KEY_MEMBERS} members")
            if kind is tuple:
                if depth == _KEY_DEPTH:
                    raise self.fault("pickle.key", f"a key is nested deeper than {_KEY_DEPTH} tuples")
                if len(value) > _KEY_MEMBERS:
                    raise self.fault("pickle.key", f"a key has more than {_KEY_MEMBERS} members")
                pending.extend((member, depth + 1) for member in value)
            elif kind is int:
                if abs(value) >= _SPREAD_INTEGER:
                    self.wide_keys += 1
                    if self.wide_keys > _WIDE_KEYS:
                        raise self.fault("pickle.key", f"more than {_WIDE_KEYS} keys are integers beyond 61 bits")
            elif kind is str or kind is bytes:
                if len(value) > KEY_BYTES:
                    raise self.fault("pickle.key", f"a key is longer than {KEY_BYTES} bytes")
            elif kind not in _KEY_TYPES:
                raise self.fault("pickle.key", f"a {_kind(value)} is used as a key")

    def _check_nesting(self, root: Any) -> None:
        """Walk level by level with a visited set: cycles and references to references cost one visit each."""
        seen = {id(root)}
        level = [root]
        for _ in range(self.limits.nesting):
            following: list[Any] = []
            for value in level:
                for child in children(value):
                    if type(child) in _CONTAINERS and id(child) not in seen:
                        seen.add(id(child))
                        following.append(child)
            if not following:
                return
            level = following
        raise self.fault("pickle.nesting", f"values are nested deeper than {self.limits.nesting}")


def children(value: Any) -> Iterable[Any]:
    """What `value` refers to directly, in a fixed order: for a record factory, args, kwargs, state, items, entries."""
    kind = type(value)
    if kind in (list, tuple, set, frozenset):
        return value  # type: ignore[no-any-return]
    if kind is dict:
        return (part for pair in value.items() for part in pair)
    if kind is Record:
        entries = [part for pair in value.entries for part in pair]
        return [value.factory, value.args, value.kwargs, value.state, *value.items, *entries]
    return ()


_FIXED: Final = frozenset({tuple, frozenset})
_CONTAINERS: Final = frozenset({list, tuple, set, frozenset, dict, Record})
_KEY_TYPES: Final = frozenset({type(None), bool, float, Record, Global})


def _kind(value: Any) -> str:
    return str(_named(value)) if isinstance(value, (Global, Record)) else type(value).__name__


def _named(factory: Global | Record) -> str:
    while isinstance(factory, Record):
        factory = factory.factory
    return str(factory)


# ---- one function per opcode; the table at the end maps them


def _mark(machine: _Machine) -> None:
    if len(machine.marks) >= machine.limits.stack:
        raise machine.fault("pickle.limit", f"more than {machine.limits.stack} marks are on the stack")
    machine.marks.append(len(machine.stack))


def _pop(machine: _Machine) -> None:
    # CPython's POP removes a mark where one is on top.
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.pop()


def _pop_mark(machine: _Machine) -> None:
    machine.pop_mark()


def _dup(machine: _Machine) -> None:
    machine.push(machine.top())


def _protocol(machine: _Machine) -> None:
    version = machine.number(1)
    if version > _HIGHEST_PROTOCOL:
        raise machine.fault("pickle.protocol", f"pickle protocol {version}, {_HIGHEST_PROTOCOL} is the highest known")


def _frame(machine: _Machine) -> None:
    length = machine.number(8)
    if length > machine.size - machine.position:
        left = machine.size - machine.position
        raise machine.fault("pickle.truncated", f"a frame of {length} bytes is announced and {left} are left")


def _constant(value: Any) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value)


def _unsigned(width: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.number(width))


def _signed_integer(machine: _Machine) -> None:
    start = machine.take(4)
    machine.push(int.from_bytes(machine.view[start : start + 4], "little", signed=True))


def _long(width: int) -> Callable[[_Machine], None]:
    def load(machine: _Machine) -> None:
        count = machine.number(width)
        machine.check_digits(count)
        start = machine.take(count)
        machine.push(int.from_bytes(machine.view[start : start + count], "little", signed=True))

    return load


def _text_integer(machine: _Machine) -> None:
    line = machine.line()
    # Protocol 1 and older write booleans as the integers 00 and 01.
    if line in (b"00", b"01"):
        machine.push(line == b"01")
    else:
        machine.push(_parse_integer(machine, line))


def _text_long(machine: _Machine) -> None:
    machine.push(_parse_integer(machine, machine.line().removesuffix(b"L")))


def _parse_integer(machine: _Machine, digits: bytes) -> int:
    if not re.fullmatch(rb"[+-]?[0-9]+", digits):
        raise machine.fault("pickle.text", f"{digits[:40]!r} is not an integer")
    if len(digits) > machine.limits.integer_digits:
        raise machine.fault("pickle.limit", f"an integer has more than {machine.limits.integer_digits} digits")
    return int(digits)


def _text_float(machine: _Machine) -> None:
    line = machine.line()
    try:
        machine.push(float(line))
    except ValueError:
        raise machine.fault("pickle.text", f"{line[:40]!r} is not a number") from None


def _binary_float(machine: _Machine) -> None:
    start = machine.take(8)
    machine.push(struct.unpack_from(">d", machine.data, start)[0])


_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|[\\'\"abfnrtv]|[0-7]{1,3}|.|$)", re.DOTALL)
_ESCAPED: Final = dict(zip(b"\\'\"abfnrtv", b"\\'\"\a\b\f\n\r\t\v", strict=True))


def _text_string(machine: _Machine) -> None:
    """Python 2's quoted ``repr`` of a byte string; ASCII as CPython's default encoding."""
    line = machine.line(machine.limits.literal_bytes).strip()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise machine.fault("pickle.text", "the argument of STRING is not quoted")

    def replace(match: re.Match[bytes]) -> bytes:
        escape: bytes = match[1]
        if escape[:1] == b"x" and len(escape) == 3:
            return bytes([int(escape[1:], 16)])
        if escape.isdigit():
            return bytes([int(escape, 8) & 0xFF]) if escape < b"8" else match[0]
        if len(escape) == 1 and escape[0] in _ESCAPED:
            return bytes([_ESCAPED[escape[0]]])
        raise machine.fault("pickle.text", f"{match[0]!r} is not an escape of STRING")

    machine.push(_ascii(machine, _ESCAPE.sub(replace, line[1:-1])))


def _ascii(machine: _Machine, content: bytes) -> str:
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise machine.fault("pickle.text", "a byte string of Python 2 is not ASCII") from None


def _old_string(width: int) -> Callable[[_Machine], None]:
    def load(machine: _Machine) -> None:
        start, end = machine.span(width)
        machine.push(_ascii(machine, bytes(machine.view[start:end])))

    return load


def _text_unicode(machine: _Machine) -> None:
    try:
        machine.push(codecs.raw_unicode_escape_decode(machine.line(machine.limits.literal_bytes))[0])
    except UnicodeDecodeError as problem:
        raise machine.fault("pickle.text", f"a string is not raw-unicode-escape: {problem.reason}") from None


def _unicode(width: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.text(*machine.span(width)))


def _bytes(width: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.literal(*machine.span(width)))


def _empty(kind: Callable[[], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(kind())


def _tuple(count: int) -> Callable[[_Machine], None]:
    def load(machine: _Machine) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.make_tuple(reversed(values))

    return load


def _tuple_of_mark(machine: _Machine) -> None:
    machine.make_tuple(machine.pop_mark())


def _list_of_mark(machine: _Machine) -> None:
    machine.push(machine.pop_mark())


def _dict_of_mark(machine: _Machine) -> None:
    values = machine.pop_mark()
    machine.push({})
    _set_items(machine, machine.top(), values)


def _frozenset_of_mark(machine: _Machine) -> None:
    values = machine.pop_mark()
    machine.check_keys(values)
    machine._note_depth(frozenset(values), 1)


def _append(machine: _Machine) -> None:
    value = machine.pop()
    _append_to(machine, [value])


def _append_to(machine: _Machine, values: list[Any]) -> None:
    target = machine.top()
    if type(target) is list:
        target.extend(values)
    elif type(target) is Record:
        target.items.extend(values)
    else:
        raise machine.fault("pickle.append", f"something is appended to a {_kind(target)}")


def _appends(machine: _Machine) -> None:
    _append_to(machine, machine.pop_mark())


def _add_items(machine: _Machine) -> None:
    values = machine.pop_mark()
    target = machine.top()
    if type(target) is set:
        machine.check_keys(values)
        target.update(values)
    elif type(target) is Record:
        target.items.extend(values)
    else:
        raise machine.fault("pickle.append", f"something is added to a {_kind(target)}")


def _set_item(machine: _Machine) -> None:
    value = machine.pop()
    key = machine.pop()
    _set_items(machine, machine.top(), [key, value])


def _set_items_of_mark(machine: _Machine) -> None:
    values = machine.pop_mark()
    _set_items(machine, machine.top(), values)


def _set_items(machine: _Machine, target: Any, values: list[Any]) -> None:
    if len(values) % 2:
        raise machine.fault("pickle.stack", "a key has no value")
    pairs = zip(values[::2], values[1::2], strict=True)
    if type(target) is dict:
        machine.check_keys(values[::2])
        target.update(pairs)
    elif type(target) is Record:
        target.entries.extend(pairs)
    else:
        raise machine.fault("pickle.append", f"a key is set on a {_kind(target)}")


def _global(machine: _Machine) -> None:
    machine.push(_text_global(machine))


def _text_global(machine: _Machine) -> Global:
    try:
        return machine.make_global(machine.line().decode(), machine.line().decode())
    except UnicodeDecodeError:
        raise machine.fault("pickle.text", "the name of a class or function is not UTF-8") from None


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if type(name) is not str or type(module) is not str:
        raise machine.fault("pickle.global_name", "the name of a class or function is not text")
    machine.push(machine.make_global(module, name))


def _reduce(machine: _Machine) -> None:
    arguments = machine.pop()
    machine.push(machine.make_record(machine.pop(), arguments))


def _new_object_extended(machine: _Machine) -> None:
    keywords, arguments = machine.pop(), machine.pop()
    factory = machine.pop()
    if type(keywords) is not dict or not all(type(key) is str for key in keywords):
        raise machine.fault("pickle.call", f"the keyword arguments are a {_kind(keywords)}, not a dict of names")
    machine.push(machine.make_record(factory, arguments, keywords))


def _instance(machine: _Machine) -> None:
    factory = _text_global(machine)
    machine.push(machine.make_record(factory, tuple(machine.pop_mark())))


def _object(machine: _Machine) -> None:
    values = machine.pop_mark()
    if not values:
        raise machine.fault("pickle.stack", "OBJ has no class")
    machine.push(machine.make_record(values[0], tuple(values[1:])))


def _build(machine: _Machine) -> None:
    state = machine.pop()
    target = machine.top()
    if type(target) is not Record:
        raise machine.fault("pickle.build", f"a state is set on a {_kind(target)}")
    if target.state is not None:
        raise machine.fault("pickle.build", f"a second state is set on one {_kind(target)}")
    target.state = state


def _put(machine: _Machine, index: int) -> None:
    if index >= machine.limits.memo_entries:
        raise machine.fault("pickle.limit", f"memo index {index}, {machine.limits.memo_entries} are allowed")
    machine.memo[index] = machine.top()


def _get(machine: _Machine, index: int) -> None:
    if index not in machine.memo:
        raise machine.fault("pickle.memo", f"memo entry {index} is used and was never stored")
    machine.push(machine.memo[index])


def _text_put(machine: _Machine) -> None:
    _put(machine, _parse_integer(machine, machine.line()))


def _text_get(machine: _Machine) -> None:
    _get(machine, _parse_integer(machine, machine.line()))


def _binary_put(width: int) -> Callable[[_Machine], None]:
    return lambda machine: _put(machine, machine.number(width))


def _binary_get(width: int) -> Callable[[_Machine], None]:
    return lambda machine: _get(machine, machine.number(width))


def _memoize(machine: _Machine) -> None:
    _put(machine, len(machine.memo))


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
_OPCODES: Final[dict[int, Callable[[_Machine], None]]] = {
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
    0x81: _reduce,  # NEWOBJ: class and arguments, recorded as a call is
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
_HANDLERS: Final = tuple(_OPCODES.get(opcode) for opcode in range(256))
