"""Pickles that name a class of a package that is not installed here: its module is made up for the writing."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def stand_in(module: str, name: str, state: dict[str, Any]) -> Any:
    """An object that pickles as `module`.`name` with `state` as its attributes."""
    parent = sys.modules.setdefault(module, ModuleType(module))
    kind = getattr(parent, name, None)
    if kind is None:
        kind = type(name, (), {"__module__": module})
        setattr(parent, name, kind)
    made = kind.__new__(kind)
    vars(made).update(state)
    return made
