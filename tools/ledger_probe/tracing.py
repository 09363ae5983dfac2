"""Which attributes of a library's own objects are read while something runs."""

from __future__ import annotations

import sys
from types import FunctionType, TracebackType
from typing import Any

# Found in the instance, looked for in vain, or a plain value of the class that an instance could have too.
DATA, ABSENT, CLASS = "data", "absent", "class"
_WHOLE = "__dict__"
"""A read of the whole instance: which names it is about cannot be seen."""


def path_of(kind: type) -> str:
    """The class as a pickle names it."""
    return f"{kind.__module__}.{kind.__qualname__}"


class Tracer:
    """Hooks every class of the packages while it is entered; `reads` is class -> attribute -> how it was found.

    The hook is put on the topmost classes of the packages, so it sees the objects that are made meanwhile too.
    """

    def __init__(self, *packages: str) -> None:
        self.reads: dict[str, dict[str, str]] = {}
        self._packages = packages
        self._restore: list[tuple[type, Any]] = []

    def __enter__(self) -> Tracer:
        for kind in self._topmost():
            own = kind.__dict__.get("__getattribute__")
            try:
                kind.__getattribute__ = self._hook(kind.__getattribute__)  # type: ignore[method-assign]
            except TypeError:  # compiled classes cannot be hooked: what they read is native
                continue
            self._restore.append((kind, own))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hooked, own in reversed(self._restore):
            if own is None:
                del hooked.__getattribute__
            else:
                hooked.__getattribute__ = own
        self._restore.clear()

    def _topmost(self) -> list[type]:
        found: dict[type, None] = {}
        for name, module in sorted(sys.modules.items()):
            if module is None or not self._ours(name):
                continue
            for value in list(vars(module).values()):
                if isinstance(value, type) and self._ours(value.__module__) and value.__module__ == name:
                    found[value] = None
        kept = [kind for kind in found if not any(self._ours(base.__module__) for base in kind.__mro__[1:])]
        return [kind for kind in kept if not issubclass(kind, (BaseException, tuple, type, str, int, FunctionType))]

    def _ours(self, module: str) -> bool:
        return module.split(".", maxsplit=1)[0] in self._packages

    def _hook(self, original: Any) -> Any:
        tracer = self

        def read(instance: Any, name: str) -> Any:
            try:
                value = original(instance, name)
            except AttributeError:
                tracer._note(instance, name, ABSENT)
                raise
            tracer._note(instance, name, None)
            return value

        return read

    def _note(self, instance: Any, name: str, how: str | None) -> None:
        if name.startswith("__") and name.endswith("__") and name != _WHOLE:
            return
        kind = type(instance)
        if name == _WHOLE:
            how = DATA
        elif how is None:
            try:
                inside = name in object.__getattribute__(instance, "__dict__")
            except AttributeError:
                inside = True  # an instance of slots alone
            how = DATA if inside else self._of_class(kind, name)
        if how is not None and self._ours(kind.__module__):
            self.reads.setdefault(path_of(kind), {})[name] = how

    @staticmethod
    def _of_class(kind: type, name: str) -> str | None:
        """CLASS for a plain value; None for methods, properties and other descriptors, which are code."""
        for base in kind.__mro__:
            if name in vars(base):
                value = vars(base)[name]
                return None if callable(value) or hasattr(value, "__get__") else CLASS
        return ABSENT
