"""Classes and functions that the pickles of test_pickle_differential name.  All are harmless; some change what they get."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

NAME = "decision"
"""A text that a pickle may name instead of writing it."""


class Thing:
    """An object with attributes and nothing else."""


class Other:
    """The same, by another name."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments


class Slots:
    """An object whose attributes lie in slots."""

    __slots__ = ("a", "b", "decision")


class Row(list):  # type: ignore[type-arg]
    """A list of a class of its own."""


class Table(dict):  # type: ignore[type-arg]
    """A dict of a class of its own."""


class Ordered(OrderedDict):  # type: ignore[type-arg]
    """An ordered dict of a class of its own."""


def change(*arguments: Any) -> None:
    """Changes whatever of its arguments can be changed."""
    for argument in arguments:
        if isinstance(argument, list):
            argument.append("changed")
        elif isinstance(argument, dict):
            argument["decision"] = "changed"
        elif isinstance(argument, set):
            argument.add("changed")
        elif isinstance(argument, tuple):
            change(*argument)
        elif hasattr(argument, "__dict__") and not isinstance(argument, type):
            argument.__dict__["decision"] = "changed"


def part(argument: Any, *_: Any) -> Any:
    """Something that its argument holds, or the argument itself."""
    if isinstance(argument, list | tuple) and argument:
        return argument[0]
    if isinstance(argument, dict) and argument:
        return next(iter(argument.values()))
    return argument


def again(*arguments: Any) -> Any:
    """The argument itself."""
    return arguments[0] if arguments else None
