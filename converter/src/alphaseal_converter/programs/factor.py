"""Runs the source of one factor on bars, with RD-Agent's file conventions.  A program of its own, only ever run isolated.

Run by `factor_process` inside `isolation`, with the Python of a research environment: pandas and tables are needed, of
alphaseal the form of tables only.  What it reads (HDF5 files may hold pickles) can hurt this process only, and what it
answers is no more than a claim: whoever asked decides what it is worth.

``programs/factor.py VERB`` reads ``order.json`` and writes ``answer.bin`` (`plain_table`):

- bars: ``given.h5`` or ``given.parquet`` -> the bars as plain columns, sorted by day and stock;
- static: ``static.parquet`` -> ``static.parquet`` cut, rewritten or with noise, and the names of its columns;
- run: ``bars.bin`` (a table), ``static.parquet``, ``factor.py`` -> what the factor gives for these bars;
- pandas: nothing -> the major version of pandas.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import stat
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

try:
    import numpy as np
    import pandas as pd

    from alphaseal_converter.isolation.plain_table import Column, Texts, Told, encode_answer

    if importlib.util.find_spec("tables") is None:
        raise ImportError("No module named 'tables', which pandas needs for HDF5")
except ImportError as _problem:
    if __name__ != "__main__":
        raise
    # Without numpy there is no `plain_table`: its words for a problem, written out.
    _code, _text = b"python", f"{sys.executable}: {_problem}".encode("utf-8", "replace")[:600]
    with open("answer.bin", "wb") as _answer:
        _lengths = [len(part).to_bytes(4, "little") for part in (_code, _text)]
        _answer.write(b"ASANSWER\0" + _lengths[0] + _code + _lengths[1] + _text)
    os._exit(0)

ANSWER, CODE = "answer.bin", "factor.py"
DAY = "datetime64[D]"
KEYS = ("datetime", "instrument")


class Problem(Exception):
    """What is wrong with the data or the factor: a code and one line of text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = " ".join(text.split())[:600]


def main() -> None:
    warnings.simplefilter("ignore")
    with open("order.json", encoding="utf-8") as file:
        order = json.load(file)
    os.unlink("order.json")
    answer: Told | Mapping[str, Column]
    try:
        answer = {"bars": bars, "static": static, "run": run, "pandas": version}[sys.argv[1]](order)
    except Problem as problem:
        answer = Told(problem.code, problem.text)
    except MemoryError:
        answer = Told("memory", "the memory that is allowed is not enough")
    with open(ANSWER, "wb") as out:
        out.write(encode_answer(answer))
    # No exit handler and no thread that the factor's code left behind has a say any more.
    os._exit(0)


def version(_: dict[str, Any]) -> dict[str, Column]:
    """`major`, of the pandas that runs the factors."""
    return {"major": np.array([int(pd.__version__.partition(".")[0])], np.int64)}


# --- bars -----------------------------------------------------------------------------------------------------------


def bars(order: dict[str, Any]) -> dict[str, Column]:
    """The given bars as columns: `datetime`, `instrument`, then each column once (``close`` and ``$close`` are one)."""
    frame = _keyed(_read_given(order["file"]), "bars")
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names) or not names:
        raise Problem("bars", f"bars need columns of different names, found {names[:10]}")
    frame.columns = pd.Index(names)
    for name in names:
        twin = _twin(name)
        if twin in frame.columns and not frame[twin].equals(frame[name]):
            raise Problem("bars", f"the columns {name!r} and {twin!r} of the bars hold different values")
    if (frame.index.get_level_values("datetime").normalize() != frame.index.get_level_values("datetime")).any():
        raise Problem("bars", "bars have a time of day, daily bars are expected")
    if frame.index.has_duplicates:
        raise Problem("bars", f"bars repeat a date and stock: {frame.index[frame.index.duplicated()][0]}")
    if not frame.index.is_monotonic_increasing:
        frame = frame.sort_index()
    single = [name for place, name in enumerate(names) if _twin(name) not in names[:place]]
    return _keys(frame) | {name: _column(frame[name], name) for name in single}


def _twin(name: str) -> str:
    """The other of the two names that a column has for factors."""
    return name[1:] if name.startswith("$") else f"${name}"


def _keys(frame: Any) -> dict[str, Column]:
    codes, names = pd.factorize(frame.index.get_level_values("instrument"))
    return {"datetime": _days(frame), "instrument": Texts([str(name) for name in names], codes.astype(np.int32))}


def _column(column: Any, name: str) -> Column:
    """The values in a kind that a table has."""
    kind = column.dtype
    if isinstance(kind, np.dtype):
        if kind.kind in "iufb" and kind.itemsize <= 8 and kind != np.float16:
            return np.asarray(column)
        if kind.kind == "M":
            return np.asarray(column).astype("datetime64[ns]")
    elif pd.api.types.is_numeric_dtype(kind):
        return np.asarray(column.to_numpy(np.float64, na_value=np.nan))
    codes, texts = pd.factorize(column)
    if not all(isinstance(text, str) for text in texts):
        raise Problem("bars", f"the column {name!r} of the bars is {kind}: numbers, dates or texts are expected")
    return Texts([str(text) for text in texts], codes.astype(np.int32))


def _read_given(name: str) -> Any:
    try:
        return pd.read_parquet(name) if name.endswith(".parquet") else _read_hdf(name)
    except Problem:
        raise
    except Exception as problem:  # noqa: BLE001 - the libraries below raise what they like for damaged files
        raise Problem("bars", f"the bars cannot be read: {type(problem).__name__}: {problem}") from None


def _read_hdf(name: str) -> Any:
    """The dataset `data`, or the only one there is."""
    with pd.HDFStore(name, mode="r") as store:
        keys = store.keys()
        if "/data" not in keys and len(keys) != 1:
            raise Problem("hdf", f"{name} has no dataset 'data', found {keys[:5]}")
        return store.get("/data" if "/data" in keys else keys[0])


def _keyed(frame: Any, what: str) -> Any:
    """`frame` with the index (datetime, instrument); both may be columns, or levels in any order."""
    if isinstance(frame, pd.Series):
        frame = frame.to_frame()
    if not isinstance(frame, pd.DataFrame) or frame.columns.nlevels != 1:
        raise Problem("index", f"{what}: a table with plain columns is expected, found {type(frame).__name__}")
    if not set(KEYS) <= set(frame.index.names):
        levels = [name for name in frame.index.names if name is not None]
        frame = frame.reset_index(level=levels) if levels else frame
    columns = {}
    for name in KEYS:
        places = [place for place, level in enumerate(frame.index.names) if level == name]
        found = [frame.index.get_level_values(place) for place in places]
        # groupby leaves a level twice; rdagent too takes the first where both say the same.
        if not found and list(frame.columns).count(name) == 1:
            found = [pd.Index(frame[name])]
        if not found or any(not found[0].equals(other) for other in found[1:]):
            raise Problem("index", f"{what}: no index (datetime, instrument), found levels {list(frame.index.names)}")
        columns[name] = found[0]
    try:
        columns["datetime"] = pd.DatetimeIndex(columns["datetime"])
    except (TypeError, ValueError) as problem:
        raise Problem("index", f"{what}: 'datetime' holds no dates: {problem}") from None
    if columns["datetime"].tz is not None or columns["datetime"].hasnans or columns["instrument"].hasnans:
        raise Problem("index", f"{what}: dates have a time zone, or a date or stock is missing")
    if not all(isinstance(name, str) for name in columns["instrument"].unique()):
        raise Problem("index", f"{what}: 'instrument' holds no texts")
    if pd.api.types.is_extension_array_dtype(columns["instrument"].dtype):
        # Categories, for instance, which HDF5 does not hold in an index.
        columns["instrument"] = columns["instrument"].astype(object)
    frame = frame.drop(columns=[name for name in columns if name in frame.columns])
    frame.index = pd.MultiIndex.from_arrays(list(columns.values()), names=list(columns))
    return frame


def _days(frame: Any) -> Any:
    return frame.index.get_level_values("datetime").to_numpy().astype(DAY)


def _between(days: Any, first: str | None, last: str | None) -> Any:
    chosen = np.ones(len(days), np.bool_)
    if first is not None:
        chosen &= days >= np.datetime64(first)
    if last is not None:
        chosen &= days <= np.datetime64(last)
    return chosen


# --- the static table -----------------------------------------------------------------------------------------------

STATIC = "static.parquet"


def static(order: dict[str, Any]) -> dict[str, Column]:
    """``static.parquet`` made anew as the order says; the answer is a column with the names of its columns."""
    try:
        frame = pd.read_parquet(STATIC)
    except Exception as problem:  # noqa: BLE001 - as for bars
        raise Problem("static", f"the static table cannot be read: {type(problem).__name__}: {problem}") from None
    changed = frame
    if order["rewriting"] is not None:
        changed = _rewritten(changed, order["rewriting"])
    # Noise first: it is that of the whole table, of which a part is given.
    if order["noise"] is not None:
        changed = _noisy(changed, **order["noise"])
    if order["first"] is not None or order["last"] is not None:
        days = _days_of_static(changed)
        changed = changed if days is None else changed[_between(days, order["first"], order["last"])]
    # Without any column there is nothing to read: a factor that opens the file all the same needs it.
    dropped = [name for name in changed.columns if str(name) in order["without"]]
    changed = changed.drop(columns=dropped) if dropped else changed
    if changed is not frame:
        changed.to_parquet(STATIC)
    names = [str(name) for name in changed.columns if name not in KEYS]
    return {"columns": Texts(names, np.arange(len(names), dtype=np.int32))}


def _rewritten(frame: Any, rewriting: Sequence[str]) -> Any:
    """The table with its stocks in the bundle's notation, by date and stock; the same where they are in that already."""
    keyed = _keyed(frame, "static table")
    own, given = re.compile(rewriting[0]), re.compile(rewriting[1])
    codes, names = pd.factorize(keyed.index.get_level_values("instrument"))
    if all(own.fullmatch(name) for name in names):
        return frame
    strange = [name for name in names if not given.fullmatch(name)]
    if strange:
        raise Problem(
            "instruments", f"static table: {len(strange)} stocks are not in the notation named, such as {strange[:3]}"
        )
    new = np.array([given.sub(rewriting[2], name) for name in names], dtype=object)[codes]
    keyed.index = pd.MultiIndex.from_arrays([keyed.index.get_level_values("datetime"), new], names=list(KEYS))
    return keyed


def _days_of_static(frame: Any) -> Any:
    """The day of each row; None for a table without dates, which is never cut."""
    if "datetime" in frame.index.names:
        days = frame.index.get_level_values("datetime")
    elif "datetime" in frame.columns:
        days = pd.Index(frame["datetime"])
    else:
        return None
    return pd.DatetimeIndex(days).to_numpy().astype(DAY)


def _noisy(frame: Any, seed: Sequence[int], after: str | None, columns: Sequence[str] | None) -> Any:
    """The table with other numbers in these columns (None: all), after that day (None: always); see `factor_market.Noise`."""
    generator = np.random.default_rng(list(seed))
    days = _days_of_static(frame)
    changing = np.ones(len(frame), np.bool_) if after is None or days is None else days > np.datetime64(after)
    frame = frame.copy()
    for name in frame.columns:
        factor = np.where(changing, np.exp(generator.normal(scale=0.5, size=len(frame))), 1.0)
        column = frame[name]
        if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f" and (columns is None or name in columns):
            frame[name] = (column * factor).astype(column.dtype)
    return frame


# --- one run of a factor --------------------------------------------------------------------------------------------


def run(order: dict[str, Any]) -> dict[str, Column]:
    """What the factor's code gives: `datetime`, `instrument`, `value` (float64) of the days `first`..`last`; and in
    `written`, as often, how many rows it wrote of all days."""
    from alphaseal_converter.isolation.plain_table import decode

    with open("bars.bin", "rb") as file:
        columns = decode(file.read())
    os.unlink("bars.bin")
    if os.path.exists(STATIC):
        os.rename(STATIC, "static_factors.parquet")
    lay_out(columns)
    del columns
    # numpy was imported before this process was forked off: chance shall be another one in each.
    np.random.seed()  # noqa: NPY002 - the generator that factors use
    run_code()
    column = read_result(order["feature"])
    part = column[_between(_days(column), order["first"], order["last"])]
    if (part.index.get_level_values("datetime") != part.index.get_level_values("datetime").normalize()).any():
        raise Problem("index", "result.h5 has a time of day")
    if part.index.has_duplicates:
        raise Problem("index", f"result.h5 repeats {part.index[part.index.duplicated()][0]}")
    return _keys(part) | {"value": part.to_numpy(np.float64), "written": np.full(len(part), len(column), np.int64)}


def lay_out(columns: dict[str, Column]) -> None:
    """``daily_pv.h5`` with each column under both of its names."""
    keys = [columns.pop(name) for name in KEYS]
    days, stocks = keys
    assert not isinstance(days, Texts)
    assert isinstance(stocks, Texts)
    index = pd.MultiIndex.from_arrays(
        [pd.DatetimeIndex(days.astype("datetime64[ns]")), pd.Index(stocks.values(), dtype=object)], names=list(KEYS)
    )
    values = {name: column.values() if isinstance(column, Texts) else column for name, column in columns.items()}
    values |= {_twin(name): column for name, column in values.items()}
    try:
        pd.DataFrame(values, index=index).to_hdf("daily_pv.h5", key="data", mode="w")
    except (NotImplementedError, TypeError, ValueError) as problem:
        raise Problem("bars", f"the bars cannot be written for the factors: {problem}") from None


@contextmanager
def _as_main() -> Iterator[None]:
    """The code believes to be the main program, in a directory of its own."""
    kept, arguments, place = sys.modules["__main__"], sys.argv, os.getcwd()
    sys.argv = [CODE]
    try:
        yield
    finally:
        sys.modules["__main__"], sys.argv = kept, arguments
        os.chdir(place)


def run_code() -> None:
    """The factor's source as the main program; Problem with its last line where it does not end well."""
    specification = importlib.util.spec_from_file_location("__main__", os.path.abspath(CODE))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    with _as_main():
        sys.modules["__main__"] = module
        try:
            specification.loader.exec_module(module)
        except SystemExit as end:
            if end.code not in (None, 0):
                raise Problem("failed", f"it ended with status {end.code}") from None
        except MemoryError:
            raise Problem("memory", "it needs more memory than is allowed") from None
        except BaseException as problem:  # noqa: BLE001 - whatever the code of a factor may raise
            raise Problem("failed", _last_line(problem)) from None


def _last_line(problem: BaseException) -> str:
    """Where in factor.py and why; the isolation answers that something is not permitted, or not there."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(problem.__traceback__)
        if os.path.basename(frame.filename) == CODE
    ]
    where = f"line {lines[-1]}: " if lines else ""
    name = getattr(problem, "filename", None)
    closed = isinstance(problem, PermissionError) or (
        isinstance(problem, FileNotFoundError) and isinstance(name, str) and os.path.isabs(name)
    )
    hint = " (no network, no other process and no file outside of its directory is within reach)" if closed else ""
    return f"{where}{type(problem).__name__}: {problem}{hint}"


def read_result(feature: str) -> Any:
    """The one column of ``result.h5`` as a Series with the index (datetime, instrument), as numbers."""
    try:
        status = os.lstat("result.h5")
    except FileNotFoundError:
        raise Problem("no_result", "it wrote no result.h5") from None
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise Problem("result", "result.h5 is a link, and no file of its own")
    try:
        with pd.HDFStore("result.h5", mode="r") as store:
            # pandas stores columns of objects as pickles.
            if any(node.atom.kind == "object" for node in store.root._v_file.walk_nodes("/", "VLArray")):  # noqa: SLF001 - PyTables' public name
                raise Problem("pickle", "result.h5 holds pickled objects, a column of numbers is expected")
        found = _read_hdf("result.h5")
    except Problem:
        raise
    except Exception as problem:  # noqa: BLE001 - the libraries below raise what they like for damaged files
        raise Problem("result", f"result.h5 cannot be read: {type(problem).__name__}: {problem}") from None
    frame = _keyed(found, "result.h5")
    names = [str(name) for name in frame.columns]
    if names != [feature]:
        raise Problem("column", f"one column {feature!r} is expected in result.h5, found {names[:10]}")
    column = frame.iloc[:, 0]
    if column.dtype.kind not in "iuf" or column.dtype.itemsize > 8:
        raise Problem("dtype", f"{feature} is {column.dtype}, numbers are expected")
    if column.dtype.kind in "iu" and len(column) and int(column.abs().max()) > 2**53:
        raise Problem("dtype", f"{feature} has integers that no float64 holds")
    return column


if __name__ == "__main__":
    main()
