"""Which values are in two places at once, and what calls might do to them.

A pickler finishes a list, dict, set or object before it is used anywhere but inside itself, and a call that changes its
arguments (``operator.setitem``) or a copy that is taken too early is nothing that it writes.  Here nothing is called and
nothing copied; so where Python would see another value than the graph shows, the pickle is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from alphaseal_converter.pickles._calls import KNOWN, OBJECTS, VALUES, VIEWS
from alphaseal_converter.pickles.records import Global, Record

MUTABLE: Final = frozenset({list, dict, set, Record})
_CONTAINERS: Final = MUTABLE | {tuple, frozenset}
_STEPS: Final = 20_000_000
"""Values that are looked at in all calls together: one long list may be given to many."""


class Sharing:
    """What is known of the values of one pickle.  Values are told by their id; all that are noted are kept alive."""

    def __init__(self) -> None:
        self.open: set[int] = set()
        """Made and still on the stack: lists, dicts, sets and objects that may yet grow."""
        self.copied: set[int] = set()
        """Those of them of which Python has a copy: they must not grow any more."""
        self._again: set[int] = set()
        """Used a second time: from the memo, or by DUP."""
        self._spent: set[int] = set()
        """Given to a call that may have changed them."""
        self._touched: set[Global] = set()
        """Classes, functions and modules given to such a call."""
        self._steps = 0

    def made(self, value: Any) -> None:
        """A list, dict, set or record that is new on the stack."""
        key = id(value)
        self.open.add(key)
        # What was noted of a freed value at the same address has to go.
        if key in self._again:
            self._again.discard(key)
        if key in self.copied:
            self.copied.discard(key)

    def seen_again(self, value: Any) -> str | None:
        """A value is used a second time, and with it what it holds: what speaks against it."""
        kind = type(value)
        if kind in MUTABLE and not is_value(value):
            return self._mutable_again(value)
        if kind is tuple or kind is frozenset or kind is Record:
            self._again.add(id(value))
            return self._parts_again(value) if self._spent else None
        return None

    def _mutable_again(self, value: Any) -> str | None:
        key = id(value)
        if key in self._spent:
            return "what was given to a call that may have changed it is used again"
        self._again.add(key)
        return None

    def _parts_again(self, value: Any) -> str | None:
        pending = _contents(value)
        seen = set()
        while pending:
            member = pending.pop()
            kind = type(member)
            if id(member) in seen:
                continue
            if kind in MUTABLE and not is_value(member):
                if problem := self._mutable_again(member):
                    return problem
            elif kind in (tuple, frozenset, Record):
                parts = _contents(member)
                pending.extend(parts)
                if problem := self._count(len(parts)):
                    return problem
            seen.add(id(member))
        return None

    def call(self, record: Record) -> str | None:
        """A call, just made: what of its arguments speaks against it."""
        if not record.args and not record.kwargs:
            return None
        if not record.new and record.factory in KNOWN:
            return self._copy((record.args, record.kwargs), records=record.factory in OBJECTS)
        return self._touch(record)

    def _copy(self, values: Iterable[Any], records: bool) -> str | None:
        """Python takes a copy of `values` now, and of the plain values inside; of `records` where it looks into them."""
        pending = list(values)
        seen = set()
        while pending:
            value = pending.pop()
            kind = type(value)
            if kind in MUTABLE and id(value) in self.open and (records or kind is not Record):
                self.copied.add(id(value))
            if kind in _CONTAINERS and kind is not Record and id(value) not in seen:
                seen.add(id(value))
                parts = _contents(value)
                pending.extend(parts)
                if problem := self._count(len(parts)):
                    return problem
        return None

    def state(self, target: Record, state: Any) -> str | None:
        """A state is set: Python copies the entries of a dict, or of both dicts of a pair; of known classes we read more."""
        if target.factory in KNOWN:
            return self._copy((state,), records=False)
        for part in state if type(state) is tuple else (state,):
            if type(part) is dict and id(part) in self.open:
                self.copied.add(id(part))
        return None

    def touched_class(self, factories: Iterable[Global]) -> Global | None:
        """One of `factories` that was given to a call which may have changed it, or whose module was."""
        touched = {str(name) for name in self._touched}
        if not touched:
            return None
        for factory in factories:
            path = ""
            for part in (*factory.module.split("."), factory.name):
                path = f"{path}.{part}" if path else part
                if path in touched:
                    return factory
        return None

    def _touch(self, record: Record) -> str | None:
        """Whatever is reachable from the arguments of an unknown call may be changed: it must be nowhere else."""
        pending: list[tuple[Any, bool]] = [(record.args, False), (record.kwargs, False)]
        seen: set[tuple[int, bool]] = set()
        while pending:
            value, shared = pending.pop()
            kind = type(value)
            if kind is Global and record.factory not in VIEWS:
                self._touched.add(value)
            key = id(value)
            # What an inner call was given was looked at then, and is nowhere else: it would have been refused there.
            if kind not in _CONTAINERS or key in self._spent or (key, shared) in seen:
                continue
            seen.add((key, shared))
            shared = shared or key in self._again
            if kind in MUTABLE and not is_value(value):
                if shared:
                    return f"{_described(value)} that is used elsewhere, too"
                self._spent.add(key)
            parts = _contents(value)
            pending.extend((part, shared) for part in parts)
            if problem := self._count(len(parts)):
                return problem
        return None

    def _count(self, steps: int) -> str | None:
        self._steps += steps
        return f"arguments of more than {_STEPS} values" if self._steps > _STEPS else None


def is_value(value: Any) -> bool:
    """Whether `value` is an object that nothing changes, such as a date."""
    return type(value) is Record and not value.new and value.factory in VALUES


def _described(value: Any) -> str:
    return "an object" if type(value) is Record else f"a {type(value).__name__}"


def _contents(value: Any) -> list[Any]:
    """The parts of a container; of an object all but its class."""
    if type(value) is dict:
        return [part for pair in value.items() for part in pair]
    if type(value) is Record:
        return [value.args, value.kwargs, value.state, *value.items, *(part for pair in value.entries for part in pair)]
    return list(value)
