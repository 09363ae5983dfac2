"""Pickles that name a class of a package that is not installed here: its modules are made up for the writing."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest import mock


@dataclass(frozen=True)
class StandIn:
    """An object of `module`.`name` with `state` as its attributes; these, and lists of them, may be stand-ins too."""

    module: str
    name: str
    state: Mapping[str, Any]


def stand_in(module: str, name: str, state: Mapping[str, Any]) -> bytes:
    """The pickle of an object of `module`.`name` with `state` as its attributes."""
    return pickled(StandIn(module, name, state))


def pickled(value: Any) -> bytes:
    """The pickle of a stand-in, or of plain values."""
    modules: dict[str, ModuleType] = {}
    instance = _instance(value, modules)
    with mock.patch.dict(sys.modules, modules):
        return pickle.dumps(instance)


def _instance(value: Any, modules: dict[str, ModuleType]) -> Any:
    if isinstance(value, list):
        return [_instance(item, modules) for item in value]
    if not isinstance(value, StandIn):
        return value
    parts = value.module.split(".")
    for end in range(len(parts)):
        name = ".".join(parts[: end + 1])
        modules.setdefault(name, ModuleType(name))
    module = modules[value.module]
    if not hasattr(module, value.name):
        setattr(module, value.name, type(value.name, (), {"__module__": value.module}))
    instance = getattr(module, value.name)()
    vars(instance).update({key: _instance(item, modules) for key, item in value.state.items()})
    return instance
