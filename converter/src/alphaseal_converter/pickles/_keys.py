"""Dict keys and set members: what hashing and comparing them may cost, and whether their place is certain."""

from __future__ import annotations

from typing import Any, Final

from alphaseal_converter.pickles._calls import ENCODE, LATIN1, NEVER_EQUAL
from alphaseal_converter.pickles.records import Global, Record

KEY_BYTES: Final = 1 << 16
"""Longest str or bytes (in characters or bytes) that may be a dict key or a set member."""
_DEPTH: Final = 4
_MEMBERS: Final = 100
_SPREAD_INTEGER: Final = (1 << 61) - 1
"""CPython hashes integers modulo this: below it they cannot be made to collide at will."""
SAME_HASH: Final = 64
"""Keys of one dict or set that may have one hash; -1 and -2 have, and so do tuples of them."""
_SIMPLE: Final = frozenset({type(None), bool, float})


def key_problem(key: Any) -> str | None:
    """Why hashing or comparing `key` could cost more than its own size; None where it does not.

    A tuple of twice the same tuple, sixty levels deep, takes 2**60 steps to hash.
    """
    pending = [(key, 0)]
    seen = 0
    while pending:
        value, depth = pending.pop()
        if type(value) is tuple:
            seen += len(value)
            if depth == _DEPTH:
                return f"a key is nested deeper than {_DEPTH} tuples"
            if seen > _MEMBERS:
                return f"a key has more than {_MEMBERS} members"
            pending.extend((member, depth + 1) for member in value)
        elif problem := _scalar_problem(value):
            return problem
    return None


def _scalar_problem(value: Any) -> str | None:
    kind = type(value)
    if kind is str or kind is bytes:
        return f"a key is longer than {KEY_BYTES} bytes" if len(value) > KEY_BYTES else None
    if kind is int or kind in _SIMPLE or kind is Record or kind is Global:
        return None
    return f"a {kind.__name__} is used as a key"


def is_uncertain(key: Any) -> bool:
    """Whether `key`, of which `key_problem` knows none, is or holds what a call returns or a module defines.

    To Python it may equal a plain key, such as ``str("decision")`` does; to us it equals nothing but itself.
    """
    kind = type(key)
    if kind is tuple:
        return any(is_uncertain(member) for member in key)
    if kind is not Record:
        return kind is Global
    if key.new or (key.factory != ENCODE and key.factory not in NEVER_EQUAL):
        return True
    # In another encoding (rot13) the result may be text.
    return key.factory == ENCODE and not (len(key.args) == 2 and type(key.args[1]) is str and key.args[1] in LATIN1)


class Crowd:
    """Counts the keys of one dict or set by their hash.

    Python's hash of a tuple or a large integer is no secret and has no key: thousands can be made that all have one,
    and each of them would be compared with all before it.
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    @staticmethod
    def counts(key: Any) -> bool:
        """Whether `key` is one of those that can be made to collide."""
        return type(key) is tuple or (type(key) is int and abs(key) >= _SPREAD_INTEGER)

    def problem(self, key: Any) -> str | None:
        """What speaks against one more `key` that `counts`, and of which `key_problem` knows nothing bad."""
        mixed = hash(key)
        self._counts[mixed] = count = self._counts.get(mixed, 0) + 1
        return f"more than {SAME_HASH} keys of one dict or set have the same hash" if count > SAME_HASH else None
