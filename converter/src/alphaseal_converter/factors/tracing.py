"""Traces of factors: the source in, an expression or a refusal out, by an isolated process that believes to have pandas."""

from __future__ import annotations

import atexit
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.expressions.document import Refused, Traced, read
from alphaseal_converter.factors.expressions.nodes import IllFormedError
from alphaseal_converter.isolation.sandbox import IsolationLimits, Sandbox

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_PROGRAM: Final = _PACKAGE / "programs" / "trace.py"
_LIMITS: Final = IsolationLimits(seconds=60, cpu_seconds=60, memory_bytes=4 << 30, output_bytes=8 << 20)


@lru_cache(maxsize=1)
def _sandbox() -> Sandbox:
    """One for all traces, each in a fresh process."""
    top = _PACKAGE.name
    modules = {f"{top}/__init__.py": b"", f"{top}/factors/__init__.py": b""}
    for wing in ("expressions", "recording", "trace"):
        for path in (_PACKAGE / "factors" / wing).rglob("*.py"):
            modules[f"{top}/{path.relative_to(_PACKAGE).as_posix()}"] = path.read_bytes()
    sandbox = Sandbox(_PROGRAM, preload=("numpy", f"{top}.factors.trace.run"), modules=modules, what="the tracer")
    atexit.register(sandbox.close)
    return sandbox


def trace(source: bytes, tables: Mapping[str, Mapping[str, str]], pandas: int) -> Traced | Refused:
    """What a factor's source computes of these tables (table -> column -> dtype, in order), with that pandas, or why not.

    The tables are ``bars`` and ``static``.  RefusalError: `isolation.*`, or `factor.answer` for an answer that is none.
    """
    order = json.dumps({"tables": {name: dict(columns) for name, columns in tables.items()}, "pandas": pandas})
    inputs = {"factor.py": source, "order.json": order.encode()}
    found = _sandbox().run(inputs=inputs, outputs=["answer.json"], limits=_LIMITS)
    try:
        return read(found["answer.json"])
    except IllFormedError as problem:
        raise RefusalError("factor.answer", f"the tracer gave no answer that can be read: {problem}") from None
