"""Pickles that name a class of a package that is not installed here: its modules are made up for the writing."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType
from typing import Any
from unittest import mock


def stand_in(module: str, name: str, state: dict[str, Any]) -> bytes:
    """The pickle of an object of `module`.`name` with `state` as its attributes."""
    parts = module.split(".")
    made_up = {".".join(parts[: end + 1]): ModuleType(".".join(parts[: end + 1])) for end in range(len(parts))}
    kind = type(name, (), {"__module__": module})
    setattr(made_up[module], name, kind)
    instance = kind()
    vars(instance).update(state)
    with mock.patch.dict(sys.modules, made_up):
        return pickle.dumps(instance)
