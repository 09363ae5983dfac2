"""What a pickle turns into when nothing in it may run: plain values and inert records.

`pickles.read_pickle` gives a graph of None, bool, int, float, str, bytes, list, tuple, dict, set, frozenset and the
records of this module.  A record remembers what the pickle asked for; no class is looked up and nothing is called.
`decode` turns the few constructors that the converter knows by exact (module, name) into numpy and plain values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Global:
    """A class or function that a pickle names; never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True, repr=False)
class Record:
    """One object that a pickle would have built by calling something.

    `factory` is what would have been called, `args` with what (``__newobj__`` keyword arguments in `kwargs`),
    `state` the argument of BUILD (``__setstate__``), `items` what was appended, `entries` what was set by key.
    `new` objects come from ``factory.__new__`` alone (NEWOBJ): whatever ``__init__`` does with arguments is not done.
    Records compare and hash by identity, so a hostile graph cannot make a hash expensive.
    """

    factory: Global | Record
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: list[tuple[Any, Any]] = field(default_factory=list)
    new: bool = False

    def __repr__(self) -> str:
        # Without what it holds: a graph in which much is shared would be an endless text.
        return f"<record of {self.factory if isinstance(self.factory, Global) else 'the result of a call'}>"

    @property
    def class_name(self) -> str:
        """Last name of the class (``LGBModel``); empty where the factory is not a plain global."""
        return self.factory.name if isinstance(self.factory, Global) else ""

    @property
    def attributes(self) -> dict[str, Any]:
        """The instance's ``__dict__`` as pickled: `state`, or its dict part of a (dict, slots) pair; {} without one."""
        state = self.state
        if isinstance(state, tuple) and len(state) == 2 and (state[0] is None or isinstance(state[0], dict)):
            merged: dict[str, Any] = dict(state[0] or {})
            if isinstance(state[1], dict):
                merged.update(state[1])
            return merged
        return state if isinstance(state, dict) else {}

    def get(self, name: str, default: Any = None) -> Any:
        """One attribute, or `default`: old pickles lack newer attributes.

        What a call returns may have attributes that the pickle does not show: one that is asked for and not there is
        `RefusalError` ``pickle.unknown_attribute``.
        """
        attributes = self.attributes
        if name not in attributes and not self.new:
            # Not at the top: the child process reads pickles with the standard library alone.
            from alphaseal_converter.errors import RefusalError

            raise RefusalError(
                "pickle.unknown_attribute",
                f"the attribute {name} of what a call returned cannot be known",
                expected="an object with its attributes in the pickle",
                found=f"the result of calling {self.factory}"
                if isinstance(self.factory, Global)
                else "a call's result",
            )
        return attributes.get(name, default)
