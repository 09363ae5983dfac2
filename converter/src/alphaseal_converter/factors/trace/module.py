"""The module that the program imports as ``pandas``, and where its tables and its result go."""

from __future__ import annotations

import os
import types
from typing import Any

from alphaseal_converter.factors.recording.keys import Key
from alphaseal_converter.factors.recording.layout import KEYS, Index, Layout, Opaque
from alphaseal_converter.factors.recording.operands import Operand
from alphaseal_converter.factors.recording.recorder import RECORD, Refusal, make, unknown
from alphaseal_converter.factors.recording.values import missing
from alphaseal_converter.factors.trace.frame import Frame
from alphaseal_converter.factors.trace.groups import Grouper
from alphaseal_converter.factors.trace.joining import concat, merge
from alphaseal_converter.factors.trace.rolling import Window
from alphaseal_converter.factors.trace.series import Series
from alphaseal_converter.factors.trace.wide import Wide, pivot

TABLES = {"daily_pv.h5": "bars", "static_factors.parquet": "static"}
"""File that a program reads -> table of the expression."""


def table(path: Any) -> Frame:
    """The table of a file that the program opens."""
    name = os.path.basename(str(path))
    if name not in TABLES:
        raise Refusal("other_input", f"reads {name!r}", "only daily_pv.h5 and static_factors.parquet are followed")
    if TABLES[name] not in RECORD.tables:
        raise FileNotFoundError(f"[Errno 2] No such file or directory: '{path}'")
    found = TABLES[name]
    cells = [
        (column, make("field", table=found, column=column, dtype=dtype))
        for column, dtype in RECORD.tables[found].items()
    ]
    return Frame.of(cells, Layout("table", make("rows", table=found), "day", KEYS))  # type: ignore[no-any-return]


def read_hdf(path: Any, key: Any = None, *arguments: Any, **named: Any) -> Frame:
    if arguments or named.keys() - {"mode", "errors"}:
        unknown("read_hdf", "of a part of a table")
    return table(path)


def read_parquet(path: Any, engine: Any = "auto", columns: Any = None, **named: Any) -> Frame:
    if named.keys() - {"use_nullable_dtypes", "storage_options"}:
        unknown("read_parquet", "of a part of a table")
    found = table(path)
    return found if columns is None else found.columns_named([one for one in columns if one not in KEYS])


def write(path: Any, frame: Any) -> None:
    """What the program writes as its result."""
    if os.path.basename(str(path)) == "result.h5":
        RECORD.result = frame.copy()


def _isna(value: Any) -> Any:
    if isinstance(value, Frame | Series | Wide):
        return value.isna()
    if isinstance(value, Operand):
        return value.like(missing(value.node))
    if isinstance(value, Opaque):
        return value
    return value is None or value != value


def _notna(value: Any) -> Any:
    found = _isna(value)
    return not found if isinstance(found, bool) else ~found if not isinstance(found, Opaque) else found


def _to_numeric(value: Any, errors: str = "raise", **named: Any) -> Any:
    return value


def _to_datetime(value: Any, *arguments: Any, **named: Any) -> Any:
    return value if isinstance(value, Key | Index | Opaque) else unknown("to_datetime")


class _OfWindows(type):
    def __instancecheck__(cls, what: Any) -> bool:
        return isinstance(what, Series) or (isinstance(what, Window) and not what.raw)


class _SeriesOrWindow(Series, metaclass=_OfWindows):
    """``pandas.Series``: of a window it is a window again."""

    def __new__(cls, data: Any = None, *arguments: Any, **named: Any) -> Any:
        return data.labels() if isinstance(data, Window) else Series(data, *arguments, **named)


class _Slices:
    """``pandas.IndexSlice``."""

    def __getitem__(self, key: Any) -> Any:
        return key


def _missing(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return unknown(f"pandas.{name}")


def pandas() -> types.ModuleType:
    """The stand-in."""
    found: Any = types.ModuleType("pandas")
    found.__version__ = "2.3.3" if RECORD.pandas < 3 else "3.0.0"
    found.__path__ = []
    found.Series, found.DataFrame, found.Index = _SeriesOrWindow, Frame, Index
    found.MultiIndex, found.DatetimeIndex = Index, Index
    found.read_hdf, found.read_parquet, found.concat = read_hdf, read_parquet, concat
    found.merge = merge
    found.Grouper = Grouper
    found.pivot = lambda data, *, index=None, columns=None, values=None: pivot(data, index, columns, values)
    found.isna = found.isnull = _isna
    found.notna = found.notnull = _notna
    found.to_numeric, found.to_datetime = _to_numeric, _to_datetime
    found.NA, found.NaT, found.IndexSlice = float("nan"), float("nan"), _Slices()
    found.options, found.set_option = (
        types.SimpleNamespace(mode=types.SimpleNamespace(), display=types.SimpleNamespace()),
        lambda *a, **k: None,
    )
    found.__getattr__ = _missing
    return found  # type: ignore[no-any-return]
