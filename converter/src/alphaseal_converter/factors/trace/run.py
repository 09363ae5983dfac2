"""Runs a factor's source against the stand-in, and gives what it recorded."""

from __future__ import annotations

import ast
import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from alphaseal_converter.factors.expressions.document import Refused, Traced
from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.keys import Key
from alphaseal_converter.factors.recording.layout import CLASSES, DATE, STOCK, Index, Opaque
from alphaseal_converter.factors.recording.operands import Operand
from alphaseal_converter.factors.recording.recorder import RECORD, SOURCE, Refusal, line, make, unknown
from alphaseal_converter.factors.recording.values import constant
from alphaseal_converter.factors.trace import groups, numpy_functions, rolling, selection, wide
from alphaseal_converter.factors.trace.frame import Frame
from alphaseal_converter.factors.trace.module import TABLES, pandas, write
from alphaseal_converter.factors.trace.rolling import Picked, Window
from alphaseal_converter.factors.trace.series import Series, Single

_CALL: Final = "__called__"
_HOOKED: Final = ("len", "float", "int", "bool", "round")
_PARTS: Final = (groups, numpy_functions, rolling, selection, wide)
"""Imported for the classes that they register."""


class _Calls(ast.NodeTransformer):
    """``len(x)`` becomes ``__called__(len, x)``: Python insists on numbers of its own there."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _HOOKED:
            hook = ast.copy_location(ast.Name(_CALL, ast.Load()), node.func)
            return ast.copy_location(ast.Call(hook, [node.func, *node.args], node.keywords), node)
        return node


def _called(function: Any, *arguments: Any, **named: Any) -> Any:
    """A built-in function of one of ours gives one of ours."""
    first = arguments[0] if arguments else None
    if function is len:
        if isinstance(first, Window):
            return len(first)
        if isinstance(first, Picked):
            return first.count()
        if isinstance(first, Operand | Key | Index) or type(first).__name__ in ("Names", "_Stocks"):
            return _length(first)
    elif isinstance(first, Single | Window):
        if function is float:
            return first.astype("float64")
        if function is int:
            return first.astype("int64")
    elif isinstance(first, Opaque):
        return first
    return function(*arguments, **named)


def _length(what: Any) -> Any:
    if isinstance(what, Series | Frame) and what.layout.kind == "date":
        layout = what.layout
        count = make("day", constant(1.0, "float64"), layout.rows, *layout.keys, function="count")
        return Single(make("cast", count, to="int64"), layout)
    return Opaque("number of rows", ahead=False)


class _Loader(importlib.machinery.SourceFileLoader):
    """Of the factor's source."""

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> Any:  # type: ignore[override]
        tree = ast.fix_missing_locations(_Calls().visit(ast.parse(data, filename=str(path))))
        return super().source_to_code(tree, path)


class _Imports(importlib.abc.MetaPathFinder):
    """Refuses libraries that are not followed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        top = name.partition(".")[0]
        if top == "pandas":
            unknown(f"import {name}")
        if top not in sys.stdlib_module_names and top != "numpy":
            raise Refusal("other_input", f"import {top}", "only numpy, pandas and the standard library are followed")


def _refusing(name: str, code: str, why: str) -> types.ModuleType:
    found = types.ModuleType(name)

    def missing(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise Refusal(code, f"{name}.{attribute}", why)

    found.__getattr__ = missing  # type: ignore[method-assign]
    return found


def _prepare() -> None:
    """The process is the program's from here on."""
    sys.modules["pandas"] = pandas()
    CLASSES["write"] = write
    for name in ("numpy.random", "random", "secrets"):
        sys.modules[name] = _refusing(name, "random", "chance gives another value each time")
    np.random = sys.modules["numpy.random"]
    for name in [
        name for name in sys.modules if name.partition(".")[0] in ("scipy", "sklearn", "numba", "statsmodels")
    ]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Imports())
    for name, table in TABLES.items():
        if table in RECORD.tables:
            # Programs ask whether it is there.
            with open(name, "wb"):
                pass
    opened = builtins.open

    def other(file: Any, *arguments: Any, **named: Any) -> Any:
        if line():
            raise Refusal("other_input", f"open {str(file)[:80]!r}", "the program reads or writes another file")
        return opened(file, *arguments, **named)

    builtins.open = other
    setattr(builtins, _CALL, _called)
    builtins.print = lambda *arguments, **named: None


def trace(tables: Mapping[str, Mapping[str, str]], pandas_major: int) -> Traced | Refused:
    """What the source in ``factor.py`` computes of these tables (table -> column -> dtype), or why it is refused."""
    RECORD.pandas, RECORD.tables = pandas_major, tables
    try:
        _prepare()
        _run()
        return _result()
    except Refusal as refusal:
        return Refused(refusal.code, refusal.construct, refusal.line, refusal.why)
    except SystemExit as end:
        if end.code in (None, 0) and RECORD.result is not None:
            try:
                return _result()
            except Refusal as refusal:
                return Refused(refusal.code, refusal.construct, refusal.line, refusal.why)
        return Refused("fails", "the program", 0, f"it ended with status {end.code}")
    except BaseException as problem:  # noqa: BLE001 - whatever the code of a factor may raise
        return Refused("fails", type(problem).__name__, _line_of(problem), f"{type(problem).__name__}: {problem}"[:500])


def _run() -> None:
    loader = _Loader("__main__", os.path.abspath(SOURCE))
    specification = importlib.util.spec_from_file_location("__main__", os.path.abspath(SOURCE), loader=loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["__main__"], sys.argv = module, [SOURCE]
    loader.exec_module(module)


def _line_of(problem: BaseException) -> int:
    found, trace_back = 0, problem.__traceback__
    while trace_back is not None:
        if trace_back.tb_frame.f_code.co_filename.endswith(SOURCE):
            found = trace_back.tb_lineno
        trace_back = trace_back.tb_next
    return found


def _result() -> Traced:
    frame = RECORD.result
    if frame is None:
        raise Refusal("no_result", "the program", "it writes no result.h5")
    if not isinstance(frame, Frame):
        unknown("result", f"of kind {type(frame).__name__}")
    values = [(name, cell) for name, cell in frame.cells if isinstance(cell, Node)]
    keys = {cell for _, cell in frame.cells if isinstance(cell, str)} | set(frame.layout.levels)
    if len(values) != 1 or frame.layout.kind != "table" or keys != {DATE, STOCK} or len(frame.layout.levels) > 3:
        unknown(
            "result",
            f"{len(values)} columns of values under {frame.layout.levels}; one under day and stock is expected",
        )
    name, node = values[0]
    return Traced(RECORD.pandas, str(name), node, frame.layout.rows)
