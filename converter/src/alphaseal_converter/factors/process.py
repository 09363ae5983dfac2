"""Isolated runs of factors' code: the bars in, claims of values out.

`factor_runner` and `trial` work through this.  Each run is a fresh process that holds only its part of the bars.  What comes
back was written by a process in which code ran that nobody has read: it is plain numbers in one fixed form, checked here,
and it says only what that code gives for that part.  What follows from it is decided here, by comparing runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.errors import NotReadableError
from alphaseal.tables.period import Period
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.market import KEYS, WHOLE, Days, Market, Part, plain
from alphaseal_converter.isolation.plain_table import Column, Texts, Told, decode_answer
from alphaseal_converter.isolation.sandbox import IsolationLimits, shared_sandbox

PROGRAM: Final = Path(__file__).resolve().parents[1] / "programs" / "factor.py"
ANSWER: Final = "answer.bin"
_PRELOAD: Final = ("numpy", "pandas", "tables", "pyarrow.parquet", "alphaseal_converter.isolation.plain_table")
_SIGNATURES: Final = {"given.parquet": b"PAR1", "given.h5": b"\x89HDF\r\n\x1a\n"}


@dataclass(frozen=True)
class FactorBars:
    """Bars in the form that runs are made from, and what is known of them."""

    market: Market
    days: tuple[str, ...]
    """The calendar."""
    keys: Keyed
    """Stocks and days of the period asked for; 0 where a stock's bars of the day are all missing."""
    stocks: tuple[str, ...] = ()
    """Of all days."""
    compared: pa.Table | None = None
    """What `Needs.compared` asked for: `datetime`, `instrument` and the fields that there are, float32."""


@dataclass(frozen=True)
class Needs:
    """What bars must have, and what is wanted of them besides."""

    columns: tuple[str, ...] = ()
    """Plain names of columns that must be there."""
    before: int = 0
    """How many days before the period belong to its keys, as far as there are so many."""
    compared: tuple[str, str, tuple[str, ...]] | None = None
    """First day, last day and fields that are compared with other bars; a day more comes on either side."""
    rewriting: tuple[str, str, str] | None = None
    """How codes of stocks are rewritten (`instruments.rewriting`), None to leave them."""
    without: tuple[str, ...] = ()
    """Stocks whose rows are left out, as the bundle writes them."""


@dataclass(frozen=True)
class Keyed:
    """Values by day (datetime64[D]) and stock, in no order, no pair twice."""

    days: Days
    stocks: npt.NDArray[np.object_]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Claim:
    """What a factor's process gave: values by day and stock, no pair twice; a missing value is as if it were not there."""

    days: Days
    stocks: Texts
    values: npt.NDArray[np.float64]
    written: int = 0
    """Rows of all days, as it says."""

    def keyed(self) -> Keyed:
        """All of it, missing values too."""
        return Keyed(self.days, self.stocks.values(), self.values)

    def cast(self, dtype: str) -> Claim:
        """The values as a feature of that dtype has them."""
        with np.errstate(over="ignore"):
            return replace(self, values=self.values.astype(dtype).astype(np.float64))

    def on(self, day: str) -> dict[str, float]:
        """Stock -> its value on the day."""
        rows = (self.days == np.datetime64(day)) & ~np.isnan(self.values)
        return dict(zip(self.stocks.take(rows).values().tolist(), self.values[rows].tolist(), strict=True))

    def differing(self, other: Claim, first: str, last: str) -> list[tuple[str, str]]:
        """Days from `first` to `last` and stocks whose values are not the same bit by bit, in order of day."""
        names = {name: place for place, name in enumerate(dict.fromkeys([*self.stocks.names, *other.stocks.names]))}
        (left, ours), (right, theirs) = (one._sorted(names, first, last) for one in (self, other))  # noqa: SLF001 - of its own class
        common, at_left, at_right = np.intersect1d(left, right, assume_unique=True, return_indices=True)
        equal = common[ours[at_left].view(np.int64) == theirs[at_right].view(np.int64)]
        keys = np.setdiff1d(np.union1d(left, right), equal, assume_unique=True)
        found, listed = np.sort(keys), list(names)
        days = (found // len(names)).astype("datetime64[D]") if names else np.empty(0, "datetime64[D]")
        return [(str(day), listed[key % len(names)]) for day, key in zip(days, found.tolist(), strict=True)]

    def _sorted(self, names: Mapping[str, int], first: str, last: str) -> tuple[Any, npt.NDArray[np.float64]]:
        """(a number for each day and stock, its value) of the values that there are in the period."""
        rows = (self.days >= np.datetime64(first)) & (self.days <= np.datetime64(last)) & ~np.isnan(self.values)
        places = np.array([names[name] for name in self.stocks.names] or [0], np.int64)[self.stocks.places[rows]]
        return self.days[rows].astype(np.int64) * len(names) + places, self.values[rows]


@dataclass(frozen=True)
class Runner:
    """How isolated runs are made: with which Python and within which limits."""

    python: Path | None
    limits: IsolationLimits

    def session(self, what: str) -> Session:
        """A closed-off system for several runs, each of them fresh."""
        return Session(self, what)


class Session:
    """Runs of `programs.factor`, each in a fresh process; `what` names them in errors."""

    def __init__(self, runner: Runner, what: str) -> None:
        self.limits, self.what = runner.limits, what
        self.sandbox = shared_sandbox(PROGRAM, runner.python, _PRELOAD)

    def call(
        self,
        verb: str,
        order: Mapping[str, Any],
        inputs: Mapping[str, bytes],
        outputs: Sequence[str] = (),
        seconds: float | None = None,
    ) -> tuple[dict[str, Column], Mapping[str, bytes]]:
        """One run: the table of its answer, and files; RefusalError ``isolation.*``, or ``factor.*`` with the problem that
        the program tells."""
        size = sum(map(len, inputs.values()))
        limits = replace(
            self.limits,
            seconds=self.limits.seconds if seconds is None else min(seconds, self.limits.seconds),
            # The directory holds the inputs, the same as the factor sees them, and what comes out.
            directory_bytes=self.limits.directory_bytes + 6 * size,
            file_bytes=self.limits.file_bytes + 3 * size,
            output_bytes=self.limits.output_bytes + 3 * size,
        )
        found = self.sandbox.run(
            arguments=[verb],
            inputs={**inputs, "order.json": json.dumps(order).encode()},
            outputs=[ANSWER],
            optional_outputs=outputs,
            limits=limits,
            what=self.what,
        )
        try:
            answer = decode_answer(found[ANSWER])
        except ValueError:
            raise self.no_answer() from None
        if isinstance(answer, Told):
            raise self._problem(answer)
        if any(name not in found for name in outputs):
            raise self.no_answer()
        return answer, found

    def no_answer(self) -> RefusalError:
        """For what is no answer."""
        return RefusalError("factor.answer", f"{self.what} gave no answer that can be read")

    def _problem(self, told: Told) -> RefusalError:
        """What the program tells of; its words are data of a process that nobody trusts."""
        if not told.code.isidentifier() or not told.code.isascii() or len(told.code) > 40:
            return self.no_answer()
        step = "name the Python of the research environment with --python" if told.code == "python" else None
        return RefusalError(f"factor.{told.code}", told.text[:1000], where=self.what, next_step=step)

    def run(
        self,
        source: bytes,
        feature: str,
        market: Market,
        part: Part = WHOLE,
        period: tuple[str | None, str | None] = (None, None),
        seconds: float | None = None,
    ) -> Claim:
        """What the source gives for that part of the market on the days of the period."""
        inputs = {"bars.bin": market.bars(part), "factor.py": source}
        if market.static is not None:
            inputs["static.parquet"] = self.static(market, part, seconds)
        order = {"feature": feature, "first": period[0], "last": period[1]}
        return self._claim(self.call("run", order, inputs, seconds=seconds)[0], period)

    def pandas(self) -> int:
        """The major version of the session's pandas; none of a factor's code runs."""
        major = self.call("pandas", {}, {})[0].get("major")
        if not isinstance(major, np.ndarray) or major.dtype != np.int64 or major.shape != (1,):
            raise self.no_answer()
        return int(major[0])

    def static(self, market: Market, part: Part, seconds: float | None = None) -> bytes:
        """The part's static table: cut in a process of its own, in which no factor runs."""
        assert market.static is not None
        order = market.static_order(part)
        if order is None:
            return market.static
        return self.call("static", order, {"static.parquet": market.static}, ["static.parquet"], seconds)[1][
            "static.parquet"
        ]

    def _claim(self, answer: Mapping[str, Column], period: tuple[str | None, str | None]) -> Claim:
        """Values for days of the period, one for a day and stock; anything else is no answer."""
        if list(answer) != [*KEYS, "value", "written"]:
            raise self.no_answer()
        days, stocks, values, written = answer.values()
        if not (isinstance(stocks, Texts) and isinstance(days, np.ndarray) and isinstance(values, np.ndarray)):
            raise self.no_answer()
        kinds = (days.dtype, values.dtype) == (np.dtype("datetime64[D]"), np.dtype(np.float64))
        if not kinds or not isinstance(written, np.ndarray) or written.dtype != np.int64 or (stocks.places < 0).any():
            raise self.no_answer()
        early = period[0] is not None and (days < np.datetime64(period[0])).any()
        late = period[1] is not None and (days > np.datetime64(period[1])).any()
        pairs = days.astype(np.int64) * max(1, len(stocks.names)) + stocks.places
        if early or late or len(np.unique(pairs)) != len(pairs):
            raise self.no_answer()
        return Claim(days, stocks, values, int(written[0]) if len(written) else 0)


def read_file(path: Path) -> bytes:
    """Content of a file of the caller; NotReadableError `bars.not_readable`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotReadableError(
            "bars.not_readable", f"the file cannot be read: {error.strerror}", where=str(path)
        ) from None


# --- bars -----------------------------------------------------------------------------------------------------------


def prepare(
    runner: Runner,
    bars: bytes,
    ending: str,
    static: bytes | None,
    period: Period,
    history: tuple[str, int, int] | None = None,
    needs: Needs | None = None,
) -> FactorBars:
    """Let an isolated child read the bars (`ending`: ``.parquet``, or HDF5) and give them as plain columns.

    `history` (day, n, m) keeps n days before that day and m after it.  RefusalError `factor.*`.
    """
    needs = needs if needs is not None else Needs()
    given = "given.parquet" if ending == ".parquet" else "given.h5"
    if not bars.startswith(_SIGNATURES[given]):
        raise RefusalError(
            "factor.bars",
            "the bars are no file of the kind that their name says",
            expected="an HDF5 file (daily_pv.h5), or a parquet file whose name ends in .parquet",
            found=f"a file that begins with {bars[:16]!r}",
            next_step="write the bars as parquet",
        )
    session = runner.session("the reader of the bars")
    answer, _ = session.call("bars", {"file": given}, {given: bars})
    market = market_of(session, answer)
    names: tuple[str, ...] = ()
    if static is not None:
        order: dict[str, Any] = {
            "rewriting": needs.rewriting,
            "first": None,
            "last": None,
            "without": [],
            "noise": None,
        }
        columns, files = session.call("static", order, {"static.parquet": static}, ["static.parquet"])
        static, texts = files["static.parquet"], columns.get("columns")
        if not isinstance(texts, Texts):
            raise session.no_answer()
        names = tuple(texts.names)
    stocks = _rewritten(market.stocks, needs.rewriting)
    market = replace(market, stocks=stocks, static=static, static_columns=names)
    if needs.without:
        market = market.without(needs.without)
    if history is not None:
        market = market.around(*history)
    _require_numbers(market, needs)
    calendar = tuple(str(day) for day in market.calendar)
    compared = None if needs.compared is None else _compared(market, *needs.compared)
    return FactorBars(market, calendar, _keys(market, period, needs.before), market.instruments, compared)


def market_of(session: Session, answer: Mapping[str, Column]) -> Market:
    """The bars that the child read; `factor.answer` where they are none."""
    columns = dict(answer)
    days, stocks = columns.pop("datetime", None), columns.pop("instrument", None)
    if not isinstance(days, np.ndarray) or not isinstance(stocks, Texts) or days.dtype != np.dtype("datetime64[D]"):
        raise session.no_answer()
    pairs = days.astype(np.int64) * max(1, len(stocks.names)) + stocks.places
    names = list(map(plain, columns))
    if (
        (stocks.places < 0).any()
        or (np.diff(days) < np.timedelta64(0)).any()
        or len(np.unique(pairs)) != len(pairs)
        or not names
        or len(set(names)) != len(names)
    ):
        raise session.no_answer()
    return Market(days, stocks, columns)


def _rewritten(stocks: Texts, rewriting: tuple[str, str, str] | None) -> Texts:
    """Stocks in the bundle's notation; they are all in that one already, or all in the other one."""
    if rewriting is None:
        return stocks
    own, given = re.compile(rewriting[0]), re.compile(rewriting[1])
    if all(own.fullmatch(name) for name in stocks.names):
        return stocks
    strange = [name for name in stocks.names if not given.fullmatch(name)]
    if strange:
        raise RefusalError(
            "factor.instruments",
            f"bars: {len(strange)} stocks are not in the notation named, such as {strange[:3]}",
            where="the reader of the bars",
        )
    return Texts([given.sub(rewriting[2], name) for name in stocks.names], stocks.places)


def _require_numbers(market: Market, needs: Needs) -> None:
    """Columns that must be there, and others that need not be, hold numbers."""
    missing = [name for name in needs.columns if market.find(name) is None]
    if missing:
        there = ", ".join(sorted(map(plain, market.columns)))
        raise RefusalError(
            "factor.bars",
            f"the bars lack the columns {', '.join(missing)}; they have {there}",
            where="the reader of the bars",
        )
    compared = needs.compared[2] if needs.compared is not None else ()
    for name in sorted({*needs.columns, *compared}):
        column = market.find(name)
        if column is not None and not _is_number(column):
            kind = "text" if isinstance(column, Texts) else column.dtype
            raise RefusalError(
                "factor.bars",
                f"the column {name!r} of the bars is {kind}, numbers are expected",
                where="the reader of the bars",
            )


def _is_number(column: Column) -> bool:
    return isinstance(column, np.ndarray) and column.dtype.kind in "iuf"


def _keys(market: Market, period: Period, before: int) -> Keyed:
    """Stocks and days of the period and of so many days before it; 0 where a row has no number in any column."""
    first, last = (np.datetime64(day, "D") for day in (period.first, period.last))
    asked = int(np.searchsorted(market.calendar, first))
    if asked < len(market.calendar):
        first = market.calendar[max(0, asked - before)]
    rows = (market.days >= first) & (market.days <= last)
    traded = np.zeros(int(rows.sum()), np.bool_)
    for column in market.columns.values():
        if isinstance(column, np.ndarray) and column.dtype.kind in "iuf":
            traded |= ~np.isnan(column[rows])
    return Keyed(market.days[rows], market.stocks.take(rows).values(), traded.astype(np.float64))


def _compared(market: Market, first: str, last: str, wanted: Sequence[str]) -> pa.Table:
    """The rows from `first` to `last`, and a day more on either side; the fields that the bars have."""
    start, stop = market.position(first), int(np.searchsorted(market.calendar, np.datetime64(last), side="right"))
    rows = np.zeros(len(market.days), np.bool_)
    if start < stop:
        days = market.calendar[max(0, start - 1) : stop + 1]
        rows = (market.days >= days[0]) & (market.days <= days[-1])
    fields = {name: market.find(name) for name in wanted}
    stocks = market.stocks.take(rows)
    return pa.table(
        {
            "datetime": pa.array(market.days[rows], pa.date32()),
            "instrument": pa.array(stocks.names, pa.string()).take(pa.array(stocks.places, pa.int32())),
            **{
                name: pa.array(column[rows].astype(np.float32))
                for name, column in fields.items()
                if isinstance(column, np.ndarray)
            },
        }
    )
