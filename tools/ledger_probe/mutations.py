"""Other values for an attribute, and all objects of a library inside an object."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ledger_probe.tracing import path_of

_DEEPEST = 12


def objects_in(root: Any, packages: tuple[str, ...]) -> dict[str, Any]:
    """Class -> the first object of it inside `root`, `root` first."""
    found: dict[str, Any] = {}
    seen: set[int] = set()

    def enter(value: Any, depth: int) -> None:
        if depth > _DEEPEST or id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, (list, tuple)):
            for member in value:
                enter(member, depth + 1)
        elif isinstance(value, dict):
            for member in list(value.values()):
                enter(member, depth + 1)
        elif isinstance(value, np.ndarray) and value.dtype == object:
            for member in value.ravel():
                enter(member, depth + 1)
        elif type(value).__module__.split(".")[0] in packages and hasattr(value, "__dict__"):
            found.setdefault(path_of(type(value)), value)
            enter(dict(vars(value)), depth + 1)

    enter(root, 0)
    return found


def others(value: Any) -> Iterator[Any]:
    """Values of the same kind that are not `value`; none for what is no plain value."""
    if isinstance(value, (bool, np.bool_)):
        yield not value
    elif value is None:
        yield from (True, 1, 0.5, "x")
    elif isinstance(value, (int, np.integer)):
        yield from (type(value)(other) for other in _numbers(int(value)) if other != value)
    elif isinstance(value, (float, np.floating)):
        changed = (0.0, float(value) + 1.0, float(value) * 2.0 + 0.5, math.inf)
        yield from (type(value)(other) for other in changed if other != value)
    elif isinstance(value, str):
        yield from ("x", "")
    elif isinstance(value, np.ndarray):
        yield from _arrays(value)
    elif isinstance(value, (list, tuple)):
        yield from _sequences(value)


def _numbers(value: int) -> tuple[int, ...]:
    return (0, 1, value + 1, max(value // 2, 0))


def _arrays(value: np.ndarray) -> Iterator[Any]:
    if value.dtype.kind == "f":
        yield (value * 1.5 + 0.25).astype(value.dtype)
    elif value.dtype.kind in "iu":
        yield value + value.dtype.type(1)
    elif value.dtype.kind == "b":
        yield ~value
    if value.dtype.names is None and len(value.shape) and len(value) > 1:
        yield value[::-1].copy()


def _sequences(value: Any) -> Iterator[Any]:
    kind = type(value)
    if kind not in (list, tuple):
        return
    if len(value) > 1:
        yield kind(reversed(value))
    if len(value):
        for other in others(value[0]):
            yield kind([other, *value[1:]])
            return
