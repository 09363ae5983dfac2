"""What the opcodes work on: input, stack, memo, and the bounds of all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from alphaseal_converter.pickles._calls import CHANGERS, CONTAINERS, KNOWN, VIEWS
from alphaseal_converter.pickles._keys import KEY_BYTES, Crowd, is_uncertain, key_problem
from alphaseal_converter.pickles._sharing import MUTABLE, Sharing
from alphaseal_converter.pickles.records import Global, Record


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
    weight: int = 16_000_000
    """Memory and work of all values: a number is 1, a text or tuple 8, a list or dict 16, a set or an object 32."""


class PickleFault(Exception):
    """The pickle is refused: `code` is the rule, `offset` the byte where the opcode that broke it stands."""

    def __init__(self, code: str, message: str, offset: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.offset = offset


_LINE_BYTES: Final = 1 << 16
_NAME_LENGTH: Final = 500


class Alias:
    """A list, dict, set or object on the stack that came from the memo, or is there twice (DUP)."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


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
        self.records: list[Record] = []
        self.sharing = Sharing()
        self.crowds: dict[int, tuple[Any, Crowd]] = {}
        self.uncertain: dict[int, Any] = {}
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
        reached = self._check_nesting(root)
        # Python would have made this call; what it changed beside its result, nobody can see any more.
        lost = next((record for record in self.records if id(record) not in reached), None)
        if lost is not None:
            raise self.fault("pickle.lost_call", f"the result of calling {_named(lost)} is thrown away")
        factories = {record.factory for record in self.records if isinstance(record.factory, Global)}
        if (changed := self.sharing.touched_class(factories)) is not None:
            raise self.fault("pickle.shared_argument", f"{changed} is given to a call that may change it, and used")
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

    def push_made(self, value: Any) -> None:
        """Push a list, dict, set or record that has just been made; until it is popped, it is not finished."""
        self.sharing.made(value)
        self.stack.append(value)

    def push_again(self, value: Any) -> None:
        """Push a value that is somewhere else, too."""
        if type(value) in _CONTAINERS:
            if (problem := self.sharing.seen_again(value)) is not None:
                raise self.fault("pickle.shared_argument", problem)
            if type(value) in MUTABLE:
                value = Alias(value)
        self.stack.append(value)

    def pop(self) -> Any:
        self._require()
        value = self.stack.pop()
        kind = type(value)
        if kind is Alias:
            return value.value
        if kind in MUTABLE:
            self.sharing.open.discard(id(value))
        return value

    def top(self) -> Any:
        """The newest value, which stays."""
        self._require()
        value = self.stack[-1]
        return value.value if type(value) is Alias else value

    def target(self) -> Any:
        """The newest value, to be changed: a finished one is never changed by a pickler, and Python may hold a copy."""
        self._require()
        value = self.stack[-1]
        if type(value) is Alias:
            raise self.fault("pickle.late_change", f"a {kind_of(value.value)} from the memo is changed")
        if id(value) in self.sharing.copied:
            raise self.fault("pickle.late_change", f"a {kind_of(value)} is changed after it was copied")
        return value

    def _require(self) -> None:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.fault("pickle.stack", "an opcode needs a value and the stack has none")

    def pop_mark(self) -> list[Any]:
        """The values above the newest mark, which is removed with them."""
        if not self.marks:
            raise self.fault("pickle.stack", "an opcode needs a MARK and there is none")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        still_open = self.sharing.open
        for position, value in enumerate(values):
            kind = type(value)
            if kind is Alias:
                values[position] = value.value
            elif kind in MUTABLE:
                still_open.discard(id(value))
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

    def push_record(self, factory: Any, arguments: Any, keywords: Any = None, *, new: bool = False) -> None:
        """Push the result of a call, or of ``factory.__new__`` alone."""
        if not isinstance(factory, (Global, Record)):
            raise self.fault("pickle.call", f"a {type(factory).__name__} is called")
        if type(arguments) is not tuple:
            raise self.fault("pickle.call", f"{_named(factory)} is called with a {kind_of(arguments)}, not a tuple")
        if factory in CHANGERS:
            raise self.fault("pickle.changing_call", f"{_named(factory)} is called, which changes something else")
        record = Record(factory, arguments, {} if keywords is None else keywords, new=new)
        if (problem := self.sharing.call(record)) is not None:
            raise self.fault("pickle.shared_argument", f"{_named(factory)} is called with {problem}")
        self.records.append(record)
        self.push_made(record)

    def make_tuple(self, values: Iterable[Any]) -> None:
        """Push a tuple; its depth is followed, because tuples alone cannot be taken apart step by step."""
        result = tuple(values)
        depth = 1
        for value in result:
            if type(value) in _FIXED:
                depth = max(depth, 1 + self.tuple_depths.get(id(value), 0))
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

    def check_keys(self, target: Any, keys: Iterable[Any]) -> None:
        """Refuses keys of a dict, or members of a set, that cost more than their size or whose place is not certain."""
        plain = uncertain = False
        for key in keys:
            # Nearly all keys are short text; the general check costs ten times as much.
            if type(key) is str and len(key) <= KEY_BYTES:
                plain = True
                continue
            problem = key_problem(key)
            if problem is None and Crowd.counts(key):
                problem = self._crowd(target).problem(key)
            if problem is not None:
                raise self.fault("pickle.key", problem)
            strange = is_uncertain(key)
            uncertain = uncertain or strange
            plain = plain or not (strange or key is None)
        if type(target) is dict and (uncertain or id(target) in self.uncertain):
            self._check_certainty(target, plain)

    def _crowd(self, target: Any) -> Crowd:
        """The count of the keys of `target`, which is kept as long as the count: its id means nothing without it."""
        return self.crowds.setdefault(id(target), (target, Crowd()))[1]

    def _check_certainty(self, target: dict[Any, Any], plain: bool) -> None:
        """Keys of which Python might find two to be one, where we see two, are not put into one dict."""
        if id(target) not in self.uncertain:
            plain = plain or len(target) > (None in target)
        if plain:
            raise self.fault("pickle.key", "plain keys of a dict stand beside a key that a call returns")
        self.uncertain[id(target)] = target

    def check_state(self, target: Record, state: Any) -> None:
        """Refuses a state of BUILD of which the object would get another copy than the state that is seen at the end."""
        if (problem := self.sharing.state(target, state)) is not None:
            raise self.fault("pickle.limit", f"{_named(target)} gets {problem}")
        for part in state if type(state) is tuple else (state,):
            if id(part) in self.uncertain:
                raise self.fault("pickle.key", f"attributes of {_named(target)} have names that a call returns")

    def changeable(self, target: Any) -> bool:
        """Whether members may be put into a record: what they change is its own."""
        return type(target) is Record and (
            target.new or target.factory in CONTAINERS or not (target.factory in KNOWN or target.factory in VIEWS)
        )

    def _check_nesting(self, root: Any) -> set[int]:
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
                return seen
            level = following
        raise self.fault("pickle.nesting", f"values are nested deeper than {self.limits.nesting}")


def children(value: Any) -> Collection[Any]:
    """What `value` refers to directly, in a fixed order: for a record factory, args, kwargs, state, items, entries."""
    kind = type(value)
    if kind in (list, tuple, set, frozenset):
        return value  # type: ignore[no-any-return]
    if kind is dict:
        return [part for pair in value.items() for part in pair]
    if kind is Record:
        entries = [part for pair in value.entries for part in pair]
        return [value.factory, value.args, value.kwargs, value.state, *value.items, *entries]
    return ()


_FIXED: Final = frozenset({tuple, frozenset})
_CONTAINERS: Final = frozenset({list, tuple, set, frozenset, dict, Record})


def kind_of(value: Any) -> str:
    return str(_named(value)) if isinstance(value, (Global, Record)) else type(value).__name__


def _named(factory: Global | Record) -> str:
    while isinstance(factory, Record):
        factory = factory.factory
    return str(factory)
