"""What the opcodes work on: input, stack, memo, and the bounds of all of them."""

from __future__ import annotations

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
_NAME_LENGTH: Final = 500


class Machine:
    """One reading of one pickle.  Every refusal is a `PickleFault` at the opcode that is being followed."""

    def __init__(self, data: bytes | bytearray, limits: Limits, literal: Callable[[int, int], Any] | None) -> None:
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
        self.keys = KeyCheck()
        self.tuple_depths: dict[int, int] = {}

    def finish(self, more_may_follow: bool = False) -> Any:
        root = self.pop()
        if self.stack or self.marks:
            raise self.fault("pickle.stack", "values are left on the stack at STOP")
        if self.position != self.size and not more_may_follow:
            self.operation = self.position
            raise self.fault(
                "pickle.trailing", f"{self.size - self.position} bytes follow the end of the pickle (a second pickle?)"
            )
        self._check_nesting(root)
        return root

    def fault(self, code: str, message: str) -> PickleFault:
        return PickleFault(code, message, self.operation)

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
        if len(module) + len(name) > _NAME_LENGTH:
            raise self.fault("pickle.global_name", f"the name of a class or function is longer than {_NAME_LENGTH}")
        if "." in name:
            raise self.fault(
                "pickle.dotted_global",
                f"the name {name!r} of module {module!r} has dots, which reach inside of objects",
            )
        if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise self.fault("pickle.global_name", f"{module!r}, {name!r} do not name a class or function")
        found = Global(module, name)
        return self.globals.setdefault(found, found)

    def make_record(self, factory: Any, arguments: Any, keywords: Any = None) -> Record:
        if not isinstance(factory, (Global, Record)):
            raise self.fault("pickle.call", f"a {type(factory).__name__} is called")
        if type(arguments) is not tuple:
            raise self.fault("pickle.call", f"{_named(factory)} is called with a {kind_of(arguments)}, not a tuple")
        return Record(factory, arguments, {} if keywords is None else keywords)

    def make_tuple(self, values: Iterable[Any]) -> None:
        """Push a tuple; its depth is followed, because tuples alone cannot be taken apart step by step."""
        result = tuple(values)
        depths = self.tuple_depths
        depth = 1 + max((depths.get(id(value), 0) for value in result if type(value) in _FIXED), default=0)
        self.push_with_depth(result, depth)

    def push_with_depth(self, value: Any, depth: int) -> None:
        if depth > self.limits.nesting:
            raise self.fault("pickle.nesting", f"tuples are nested deeper than {self.limits.nesting}")
        # Flat tuples have depth 1 and need no note, but the note of a freed tuple at the same address has to go.
        if depth > 1:
            self.tuple_depths[id(value)] = depth
        else:
            self.tuple_depths.pop(id(value), None)
        self.stack.append(value)

    def check_keys(self, keys: Iterable[Any]) -> None:
        for key in keys:
            # Nearly all keys are short text; the general check costs ten times as much.
            if type(key) is str and len(key) <= KEY_BYTES:
                continue
            if problem := self.keys.problem(key):
                raise self.fault("pickle.key", problem)

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


class KeyCheck:
    """Finds dict keys and set members whose hashing or comparing could cost more than their own size.

    A tuple of twice the same tuple, sixty levels deep, takes 2**60 steps to hash; integers that are equal modulo
    2**61 - 1 all meet in one slot of a dict.  One check counts over all the keys that it is shown.
    """

    def __init__(self) -> None:
        self._wide_keys = 0

    def problem(self, key: Any) -> str | None:
        """What speaks against `key`, or None."""
        pending = [(key, 0)]
        seen = 0
        while pending:
            value, depth = pending.pop()
            if type(value) is tuple:
                seen += len(value)
                if depth == _KEY_DEPTH:
                    return f"a key is nested deeper than {_KEY_DEPTH} tuples"
                if seen <= _KEY_MEMBERS:
                    pending.extend((member, depth + 1) for member in value)
            elif problem := self._scalar_problem(value):
                return problem
            if seen > _KEY_MEMBERS:
                return f"a key has more than {_KEY_MEMBERS} members"
        return None

    def _scalar_problem(self, value: Any) -> str | None:
        kind = type(value)
        if kind is int:
            self._wide_keys += abs(value) >= _SPREAD_INTEGER
            return f"more than {_WIDE_KEYS} keys are integers beyond 61 bits" if self._wide_keys > _WIDE_KEYS else None
        if kind is str or kind is bytes:
            return f"a key is longer than {KEY_BYTES} bytes" if len(value) > KEY_BYTES else None
        return None if kind in _KEY_TYPES else f"a {kind_of(value)} is used as a key"


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


def kind_of(value: Any) -> str:
    return str(_named(value)) if isinstance(value, (Global, Record)) else type(value).__name__


def _named(factory: Global | Record) -> str:
    while isinstance(factory, Record):
        factory = factory.factory
    return str(factory)
