"""Runs the source of one factor on bars, with RD-Agent's file conventions.  A program of its own, only ever run isolated.

Run by `factor_runner` and `trial` inside `isolation`, with the Python of a research environment: pandas and tables are
needed, nothing of alphaseal.  What it reads (HDF5 files may hold pickles) can hurt this process only.

``factor_program.py prepare|run|trial`` reads ``order.json`` and writes ``answer.json`` and ``*.bin``:

- prepare: ``given.h5`` or ``given.parquet`` -> ``bars.h5``, the bars under both kinds of column names;
- run: ``bars.h5``, ``static.parquet``, ``factor.py`` -> the factor's values on all bars and on bars cut at a day;
- trial: the same inputs and ``recorded.bin`` -> how much history and which columns the factor needs.

A ``.bin`` is n days (int32, since 1970-01-01), n places in the answer's list of instruments (int32), n values (float64).
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import stat
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

try:
    import numpy as np
    import pandas as pd

    if importlib.util.find_spec("tables") is None:
        raise ImportError("No module named 'tables', which pandas needs for HDF5")
except ImportError as _problem:
    if __name__ != "__main__":
        raise
    with open("answer.json", "w", encoding="utf-8") as _answer:
        json.dump({"problem": {"code": "python", "text": f"{sys.executable}: {_problem}"}}, _answer)
    os._exit(0)

BARS, STATIC, CODE = "bars.h5", "static.parquet", "factor.py"
OURS = {BARS, STATIC, CODE, "order.json", "recorded.bin", os.path.basename(__file__)}
DAY = "datetime64[D]"
# The ladder of histories; between two rungs the search halves.
LADDER = (1, 2, 3, 5, 10, 20, 30, 60, 120, 250, 500, 1000, 2000, 4000)
TOLERANCE = {"float32": 1e-5, "float64": 1e-6}
# Columns of bars are multiplied by 2 to this power and to its negative: it changes no bit but the exponent.
EXPONENT = 4


class Problem(Exception):
    """What is wrong with the data or the factor: a code and one line of text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = " ".join(text.split())[:600]

    def plain(self) -> dict[str, str]:
        return {"code": self.code, "text": self.text}


def main() -> None:
    warnings.simplefilter("ignore")
    with open("order.json", encoding="utf-8") as file:
        order = json.load(file)
    # Standard output is the factor's; nothing of it is needed.
    try:
        answer = {"prepare": prepare, "run": run, "trial": trial}[sys.argv[1]](order)
    except Problem as problem:
        answer = {"problem": problem.plain()}
    except MemoryError:
        answer = {"problem": {"code": "memory", "text": "the memory that is allowed is not enough"}}
    with open("answer.json", "w", encoding="utf-8") as file:
        json.dump({"problem": None} | answer, file)
    # No exit handler and no thread that the factor's code left behind has a say any more.
    os._exit(0)


# --- bars -----------------------------------------------------------------------------------------------------------


def prepare(order: dict[str, Any]) -> dict[str, Any]:
    """The given bars as the factors read them, and which stocks they have on the days asked for.

    ``keys.bin`` has one row per stock and day of `first`..`last`; its value is 0 where all bars of the row are missing.
    """
    frame = _rewritten(_keyed(_read_given(order["file"]), "bars"), order["rewriting"], "bars")
    if order["without"]:
        frame = frame[~frame.index.get_level_values("instrument").isin(order["without"])]
    if order["static"] is not None:
        _rewrite_static(order["static"], order["rewriting"])
    if order["history"] is not None:
        frame = _last_days(frame, *order["history"])
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names) or not names:
        raise Problem("bars", f"bars need columns of different names, found {names[:10]}")
    frame.columns = pd.Index(names)
    for name in names:
        twin = name[1:] if name.startswith("$") else f"${name}"
        if twin not in frame.columns:
            frame[twin] = frame[name]
        elif not frame[twin].equals(frame[name]):
            raise Problem("bars", f"the columns {name!r} and {twin!r} of the bars hold different values")
    fields = order["compared"][2] if order["compared"] is not None else []
    _require_numbers(frame, order["columns"], fields)
    days = _days(frame)
    if (frame.index.get_level_values("datetime").normalize() != frame.index.get_level_values("datetime")).any():
        raise Problem("bars", "bars have a time of day, daily bars are expected")
    if frame.index.has_duplicates:
        raise Problem("bars", f"bars repeat a date and stock: {frame.index[frame.index.duplicated()][0]}")
    if not frame.index.is_monotonic_increasing:
        frame = frame.sort_index()
        days = _days(frame)
    try:
        frame.to_hdf(BARS, key="data", mode="w")
    except (NotImplementedError, TypeError, ValueError) as problem:
        raise Problem("bars", f"the bars cannot be written for the factors: {problem}") from None
    calendar = np.unique(days)
    asked = int(np.searchsorted(calendar, np.datetime64(order["first"])))
    first = str(calendar[max(0, asked - order["before"])]) if asked < len(calendar) else order["first"]
    chosen = _between(days, first, order["last"])
    instruments = _Instruments()
    numeric = frame.select_dtypes("number")[chosen]
    _write("keys.bin", days[chosen], instruments.places(frame[chosen]), numeric.notna().any(axis=1).to_numpy())
    return {
        "days": [str(day) for day in calendar],
        "instruments": instruments.names,
        "stocks": sorted(map(str, frame.index.get_level_values("instrument").unique())),
        "rows": len(frame),
        "compared": _write_compared(frame, calendar, instruments, *order["compared"]) if order["compared"] else [],
        "columns": sorted({name.removeprefix("$") for name in names}),
        "versions": {"python": ".".join(map(str, sys.version_info[:3])), "pandas": pd.__version__},
    }


def _require_numbers(frame: Any, required: Sequence[str], others: Sequence[str]) -> None:
    """Columns that must be there, and others that need not be, hold numbers."""
    missing = [name for name in required if name not in frame.columns]
    if missing:
        there = sorted({str(name).removeprefix("$") for name in frame.columns})
        raise Problem("bars", f"the bars lack the columns {', '.join(missing)}; they have {', '.join(there)}")
    for name in sorted({*required, *others} & set(frame.columns)):
        kind = frame[name].dtype
        if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
            raise Problem("bars", f"the column {name!r} of the bars is {kind}, numbers are expected")


def _write_compared(
    frame: Any, calendar: Any, instruments: _Instruments, first: str, last: str, wanted: Sequence[str]
) -> list[str]:
    """``compared.bin``: the rows from `first` to `last`, and a day more on either side; the fields that it has."""
    fields = [name for name in wanted if name in frame.columns]
    start = int(np.searchsorted(calendar, np.datetime64(first)))
    stop = int(np.searchsorted(calendar, np.datetime64(last), side="right"))
    part = frame.iloc[:0]
    if start < stop:
        days = calendar[max(0, start - 1) : stop + 1]
        part = frame[_between(_days(frame), str(days[0]), str(days[-1]))]
    with open("compared.bin", "wb") as file:
        file.write(_days(part).astype("<i4").tobytes())
        file.write(np.asarray(instruments.places(part)).astype("<i4").tobytes())
        for name in fields:
            file.write(part[name].to_numpy(dtype="<f4", na_value=np.nan).tobytes())
    return fields


def _rewritten(frame: Any, rewriting: Sequence[str] | None, what: str) -> Any:
    """`frame` with its stocks in the bundle's notation; they are all in that one already, or all in the other one."""
    if rewriting is None:
        return frame
    own, given = re.compile(rewriting[0]), re.compile(rewriting[1])
    codes, names = pd.factorize(frame.index.get_level_values("instrument"))
    if all(own.fullmatch(name) for name in names):
        return frame
    strange = [name for name in names if not given.fullmatch(name)]
    if strange:
        raise Problem(
            "instruments", f"{what}: {len(strange)} stocks are not in the notation named, such as {strange[:3]}"
        )
    new = np.array([given.sub(rewriting[2], name) for name in names], dtype=object)[codes]
    days = frame.index.get_level_values("datetime")
    frame.index = pd.MultiIndex.from_arrays([days, new], names=["datetime", "instrument"])
    return frame


def _rewrite_static(name: str, rewriting: Sequence[str]) -> None:
    """The static table with its stocks in the bundle's notation, by date and stock as RD-Agent's own."""
    frame = _keyed(_read_given(name), "static table")
    before = frame.index
    frame = _rewritten(frame, rewriting, "static table")
    if frame.index is before:
        shutil.copyfile(name, STATIC)
    else:
        frame.to_parquet(STATIC)


def _last_days(frame: Any, day: str, before: int, after: int) -> Any:
    """The rows of `day`, of so many days `before` it and so many `after`."""
    days = _days(frame)
    calendar = np.unique(days)
    place = int(np.searchsorted(calendar, np.datetime64(day)))
    kept = calendar[max(0, place - before) : place + after + 1]
    return frame[_between(days, str(kept[0]), str(kept[-1]))] if len(kept) else frame


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
    if not {"datetime", "instrument"} <= set(frame.index.names):
        levels = [name for name in frame.index.names if name is not None]
        frame = frame.reset_index(level=levels) if levels else frame
    columns = {}
    for name in ("datetime", "instrument"):
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


class _Instruments:
    """Names of stocks in the order in which they were met."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._places: dict[str, int] = {}

    def places(self, frame: Any) -> Any:
        codes, uniques = pd.factorize(frame.index.get_level_values("instrument"))
        for name in uniques:
            if name not in self._places:
                self._places[str(name)] = len(self.names)
                self.names.append(str(name))
        return np.array([self._places[str(name)] for name in uniques], np.int32)[codes]


def _write(name: str, days: Any, places: Any, values: Any) -> None:
    with open(name, "wb") as file:
        file.write(days.astype(DAY).astype("<i4").tobytes())
        file.write(np.asarray(places).astype("<i4").tobytes())
        file.write(np.asarray(values).astype("<f8").tobytes())


# --- one run of a factor --------------------------------------------------------------------------------------------


class Market:
    """The bars and the static table, of which a run of the factor gets a part."""

    def __init__(self, static: bool) -> None:
        self._bars: Any = None
        self._static: Any = None
        self.has_static = static

    @property
    def bars(self) -> Any:
        if self._bars is None:
            self._bars = pd.read_hdf(BARS, key="data")
        return self._bars

    @property
    def static(self) -> Any:
        if self._static is None:
            self._static = pd.read_parquet(STATIC)
        return self._static

    def columns(self) -> list[str]:
        """Bars by plain name, then those of the static table behind ``static:``."""
        bars = sorted({str(name).removeprefix("$") for name in self.bars.columns})
        keys = ("datetime", "instrument")
        return bars + (
            [f"static:{name}" for name in self.static.columns if name not in keys] if self.has_static else []
        )

    def lay_out(
        self,
        first: str | None,
        last: str | None,
        without: Sequence[str] = (),
        scaled: Sequence[str] = (),
        by: Any = 1.0,
    ) -> None:
        """``daily_pv.h5`` and ``static_factors.parquet`` in an otherwise empty directory; the columns `scaled` times `by`."""
        for name in set(os.listdir(".")) - OURS:
            os.unlink(name)
        if scaled:
            part = self.bars.copy()
            for name in part.columns:
                if str(name).removeprefix("$") in scaled:
                    part[name] = (part[name] * by).astype(part[name].dtype)
            part.to_hdf("daily_pv.h5", key="data", mode="w")
        elif first is None and last is None and not without:
            shutil.copyfile(BARS, "daily_pv.h5")
        else:
            part = self.bars[_between(_days(self.bars), first, last)]
            part = part.drop(columns=[name for name in part.columns if str(name).removeprefix("$") in without])
            part.to_hdf("daily_pv.h5", key="data", mode="w")
        if self.has_static and not (first is None and last is None and not without):
            part = _cut_static(self.static, first, last)
            dropped = [name for name in part.columns if f"static:{name}" in without]
            # Without any column there is nothing to read: a factor that opens the file all the same needs it.
            part.drop(columns=dropped).to_parquet("static_factors.parquet")
        elif self.has_static:
            shutil.copyfile(STATIC, "static_factors.parquet")


def _cut_static(static: Any, first: str | None, last: str | None) -> Any:
    """The rows of the days; a table without dates stays whole."""
    if "datetime" in static.index.names:
        days = static.index.get_level_values("datetime")
    elif "datetime" in static.columns:
        days = pd.Index(static["datetime"])
    else:
        return static
    return static[_between(pd.DatetimeIndex(days).to_numpy().astype(DAY), first, last)]


@contextmanager
def _as_main() -> Iterator[None]:
    """What the code may change in this process and a second run must not see."""
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
    """Where in factor.py and why; PermissionError is what the isolation answers with."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(problem.__traceback__)
        if os.path.basename(frame.filename) == CODE
    ]
    where = f"line {lines[-1]}: " if lines else ""
    closed = isinstance(problem, PermissionError)
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
            if any(node.atom.kind == "object" for node in store.root._v_file.walk_nodes("/", "VLArray")):
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


def values_of(feature: str, first: str | None, last: str | None) -> Any:
    """`read_result` for the days `first`..`last`, without repeated rows."""
    column = read_result(feature)
    days = column.index.get_level_values("datetime")
    part = column[_between(days.to_numpy().astype(DAY), first, last)]
    if (part.index.get_level_values("datetime") != part.index.get_level_values("datetime").normalize()).any():
        raise Problem("index", "result.h5 has a time of day")
    if part.index.has_duplicates:
        raise Problem("index", f"result.h5 repeats {part.index[part.index.duplicated()][0]}")
    return part


# --- run: values, and look-ahead ------------------------------------------------------------------------------------


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Values on all bars for the days `first`..`last` (``values.bin``), and those of each of `probes` on bars cut there.

    A probe's answer is the number of stocks whose value on that day is another one on all bars, bit by bit.
    """
    feature, market = order["feature"], Market(order["static"])
    started = time.monotonic()
    market.lay_out(None, None)
    run_code()
    whole = values_of(feature, None, None)
    seconds = time.monotonic() - started
    chosen = whole[_between(_days(whole), order["first"], order["last"])]
    probes = {}
    for day in order["probes"]:
        market.lay_out(None, day)
        cut = _run_cut(feature, day)
        differing = _differing(cut, whole, day)
        if differing:
            market.lay_out(None, day)
            by_chance = bool(_differing(_run_cut(feature, day), cut, day))
            probes[day] = {"stocks": differing[:5], "count": len(differing), "by_chance": by_chance}
    instruments = _Instruments()
    places = instruments.places(chosen)
    _write("values.bin", _days(chosen), places, chosen.to_numpy())
    return {
        "rows": len(whole),
        "dtype": str(whole.dtype),
        "instruments": instruments.names,
        "differing": probes,
        "seconds": round(seconds, 3),
    }


def _run_cut(feature: str, day: str) -> Any:
    """Values of `day` on bars that end with it; none where the code fails or gives nothing there."""
    try:
        run_code()
        return values_of(feature, day, day)
    except Problem as problem:
        raise Problem(problem.code, f"with the bars up to {day} only: {problem.text}") from None


def _differing(cut: Any, whole: Any, day: str) -> list[str]:
    """Stocks whose value on `day` differs: bit by bit, a missing row is a missing value."""
    one, other = _by_stock(cut, day), _by_stock(whole, day)
    names = sorted(set(one) | set(other))
    return [name for name in names if _bits(one.get(name)) != _bits(other.get(name))]


def _by_stock(column: Any, day: str) -> dict[str, Any]:
    part = column[_days(column) == np.datetime64(day)]
    return dict(zip(part.index.get_level_values("instrument"), part.to_numpy(), strict=True))


def _bits(value: Any) -> bytes | None:
    return None if value is None or value != value else value.tobytes()


# --- trial: history and columns -------------------------------------------------------------------------------------


class Trial:
    """Searches the least that gives the factor's values on the days looked at."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.feature: str = order["feature"]
        self.dtype: str = order["dtype"]
        self.day: str = order["day"]
        self.market = Market(order["static"])
        self.deadline = time.monotonic() + order["seconds"]
        self.calendar = np.unique(_days(self.market.bars))
        self.runs = 0
        self.stocks: list[str] = order["instruments"]
        self.units: dict[str, list[str]] = order["units"]

    def values(self, first: str | None, last: str | None, without: Sequence[str] = (), **scaled: Any) -> Any:
        """All values of one run, in training dtype."""
        if time.monotonic() > self.deadline:
            raise Problem("time", "the trial took longer than it may")
        self.runs += 1
        self.market.lay_out(first, last, without, **scaled)
        run_code()
        return values_of(self.feature, None, None).astype(self.dtype)

    def search(self) -> dict[str, Any]:
        if np.datetime64(self.day) not in self.calendar:
            raise Problem("date_absent", f"the bars have no rows of {self.day}, the last recorded day")
        whole = self.values(None, None)
        answer: dict[str, Any] = {"look_ahead": self.looks_ahead(whole), "look_back": None, "inputs": None}
        answer["unchanged"] = {}
        if answer["look_ahead"]:
            return answer
        self.compare_with_recorded(self.values(None, self.day))
        days = self.days_looked_at()
        wanted = {day: _by_stock(whole, day) for day in days}
        answer["look_back"] = length = self.least_history(days, wanted)
        if length is not None:
            answer["inputs"] = inputs = self.columns_read(days, wanted, length)
            read = {unit: columns for unit, columns in self.units.items() if set(columns) & set(inputs)}
            answer["unchanged"] = {unit: self.unchanged(columns, days, wanted) for unit, columns in read.items()}
        return answer

    def unchanged(self, columns: Sequence[str], days: Sequence[str], wanted: dict[str, dict[str, Any]]) -> list[bool]:
        """Whether the values are the same with the columns times one constant for all stocks, and times one for each."""
        stocks = self.market.bars.index.get_level_values("instrument")
        places = pd.factorize(stocks, sort=True)[0] % 2
        return [
            all(self.equal_scaled(columns, sign * exponents, days, wanted) for sign in (1, -1))
            for exponents in (np.full(len(places), EXPONENT), EXPONENT * (2 * places - 1))
        ]

    def equal_scaled(
        self, columns: Sequence[str], exponents: Any, days: Sequence[str], wanted: dict[str, dict[str, Any]]
    ) -> bool:
        try:
            found = self.values(None, None, scaled=columns, by=np.exp2(exponents))
        except Problem:
            # Without time left nothing is known, and so it is where the code fails.
            return False
        return all(self.same_day(wanted[day], _by_stock(found, day)) for day in days)

    def same_day(self, wanted: dict[str, Any], found: dict[str, Any]) -> bool:
        scale = _scale(wanted)
        return all(self.same(value, found.get(name), scale) for name, value in wanted.items())

    def position(self, day: str) -> int:
        return int(np.searchsorted(self.calendar, np.datetime64(day)))

    def days_looked_at(self) -> list[str]:
        """The recorded day and two before it: stocks that were suspended need a longer history on other days."""
        last = self.position(self.day)
        return [str(self.calendar[place]) for place in sorted({last, max(0, last - 3), max(0, last - 11)})]

    def looks_ahead(self, whole: Any) -> bool:
        """Whether the value of a day is another one on bars that end with it; on days that others follow."""
        last = len(self.calendar) - 1
        places = {min(self.position(self.day), last - 1), last - 5, last - 21} if last > 0 else set()
        for place in sorted(place for place in places if place >= 0):
            day = str(self.calendar[place])
            cut = self.values(None, day)
            if _differing(cut, whole, day):
                if _differing(self.values(None, day), cut, day):
                    raise Problem("random", "its values differ from run to run")
                return True
        return False

    def compare_with_recorded(self, found: Any) -> None:
        """Problem where the recorded values of the day are not those of all history."""
        with open("recorded.bin", "rb") as file:
            data = file.read()
        count = len(data) // 16
        places = np.frombuffer(data, "<i4", count, 4 * count)
        values = np.frombuffer(data, "<f8", count, 8 * count).astype(self.dtype)
        recorded = {self.stocks[place]: value for place, value in zip(places, values, strict=True)}
        mine = _by_stock(found, self.day)
        scale = _scale(recorded)
        wrong = [name for name in recorded if not self.same(recorded[name], mine.get(name), scale)]
        if wrong:
            name = sorted(wrong)[0]
            raise Problem(
                "not_reproduced",
                f"{len(wrong)} of {len(recorded)} recorded values of {self.day} are not reproduced: "
                f"{name} is {recorded[name]}, the code gives {mine.get(name)}",
            )

    def same(self, one: Any, other: Any, scale: float) -> bool:
        """Equal but for the rounding of sums that began elsewhere."""
        one, other = (np.nan if value is None else float(value) for value in (one, other))
        if np.isnan(one) or np.isnan(other) or np.isinf(one) or np.isinf(other):
            return bool(one == other or (np.isnan(one) and np.isnan(other)))
        return bool(abs(one - other) <= TOLERANCE[self.dtype] * max(abs(one), abs(other), scale))

    def equal(
        self, days: Sequence[str], wanted: dict[str, dict[str, Any]], length: int, without: Sequence[str]
    ) -> bool:
        """Whether `length` days of history, without some columns, give the values of all the days looked at."""
        for day in days:
            last = self.position(day)
            first = None if last - length < 0 else str(self.calendar[last - length + 1])
            try:
                found = _by_stock(self.values(first, day, without), day)
            except Problem as problem:
                if problem.code == "time":
                    raise
                return False
            if not self.same_day(wanted[day], found):
                return False
        return True

    def least_history(self, days: Sequence[str], wanted: dict[str, dict[str, Any]]) -> int | None:
        """The shortest history by halving between the rungs of the ladder; None where the bars do not reach back so far."""
        # All there is gives all there is, which says nothing of what is needed: one day less is the most that can be tried.
        most = self.position(days[0])
        low = 0
        for rung in [*(rung for rung in LADDER if rung < most), most]:
            if rung > 0 and self.equal(days, wanted, rung, ()):
                return self._between(lambda length: self.equal(days, wanted, length, ()), low, rung)
            low = rung
        return None

    @staticmethod
    def _between(enough: Callable[[int], bool], low: int, high: int) -> int:
        """The least that is enough, where `low` is not and `high` is."""
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high

    def columns_read(self, days: Sequence[str], wanted: dict[str, dict[str, Any]], length: int) -> list[str]:
        """Columns without which the values are others; what is left after each of the others was taken away."""
        gone: list[str] = []

        def take_away(group: list[str]) -> None:
            if self.equal(days, wanted, length, [*gone, *group]):
                gone.extend(group)
            elif len(group) > 1:
                take_away(group[: len(group) // 2])
                take_away(group[len(group) // 2 :])

        columns = self.market.columns()
        for kind in (True, False):
            group = [name for name in columns if name.startswith("static:") == kind]
            if group:
                take_away(group)
        return [name for name in columns if name not in gone]


def _scale(values: dict[str, Any]) -> float:
    """The median size of the values of a day."""
    finite = [abs(float(value)) for value in values.values() if np.isfinite(value)]
    return float(np.median(finite)) if finite else 0.0


def trial(order: dict[str, Any]) -> dict[str, Any]:
    """Look-back, columns and look-ahead of one factor; Problem where its recorded values are not reproduced."""
    search = Trial(order)
    return search.search() | {"runs": search.runs}


if __name__ == "__main__":
    main()
