"""``frame.columns``: names only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from alphaseal_converter.factors.recording.recorder import unknown


class Columns:
    """``frame.columns``."""

    def __init__(self, names: list[Any]) -> None:
        self._names = names
        self.name = None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: Any) -> bool:
        return name in self._names

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, np.ndarray | slice):
            return Columns(list(np.array([*self._names, None], object)[:-1][key]))
        return self._names[key]

    def tolist(self) -> list[Any]:
        return list(self._names)

    to_list = tolist

    @property
    def values(self) -> Any:
        return np.array([*self._names, None], object)[:-1]

    def duplicated(self, keep: str = "first") -> Any:
        return np.array([name in self._names[:place] for place, name in enumerate(self._names)])

    def isin(self, names: Any) -> Any:
        return np.array([name in names for name in self._names])

    def _without(self, other: Any) -> Columns:
        return Columns([name for name in self._names if name not in list(other)])

    difference = _without

    def intersection(self, other: Any) -> Columns:
        return Columns([name for name in self._names if name in list(other)])

    def get_loc(self, name: Any) -> int:
        return self._names.index(name)

    @property
    def str(self) -> Any:
        return _Texts(self._names)

    def map(self, function: Any) -> Columns:
        return Columns([function(name) for name in self._names])

    empty = property(lambda self: not self._names)
    nlevels = 1

    def __eq__(self, other: object) -> Any:
        if isinstance(other, str):
            return np.array([name == other for name in self._names])
        return isinstance(other, Columns | list) and self._names == list(other)

    __hash__ = None  # type: ignore[assignment]


class _Texts:
    """``frame.columns.str``."""

    def __init__(self, names: list[Any]) -> None:
        self._names = names

    def __getattr__(self, function: str) -> Any:
        if function in ("replace", "lstrip", "strip", "lower", "upper", "rstrip", "removeprefix"):

            def changed(*arguments: Any, regex: bool = False, **named: Any) -> Columns:
                if regex:
                    unknown("columns.str.replace", "by a regular expression")
                return Columns([getattr(name, function)(*arguments) for name in self._names])

            return changed
        if function in ("startswith", "endswith"):
            return lambda part: np.array([getattr(name, function)(part) for name in self._names])
        if function == "contains":
            return lambda part, regex=True, **named: np.array([part in name for name in self._names])
        return unknown(f"columns.str.{function}")
