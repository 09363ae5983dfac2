"""Compiled factors against real pandas, cell by cell: right, refused by a code, or wrong."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal_converter.emission.factor import SAME_OF_FLOAT32, Factor, bound_of, compile_source, size_of
from alphaseal_converter.emission.tables import read_tables
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.expressions.evaluate import Grids, evaluate
from alphaseal_converter.factors.process import Runner
from alphaseal_converter.isolation.sandbox import IsolationLimits

DAYS, STOCKS, MARKETS = 150, 12, 4
WAYS = ("nearest", "largest", "nudged")
"""How `pandas_sums` adds up."""
PROGRAM = Path(__file__).with_name("factor_judge.py")


def bars(market: int) -> pa.Table:
    """Nasty bars in float32, 12 stocks by 150 days: gaps, missing values, no volume, one price, late listings, one that ends."""
    random, day = np.random.default_rng([market, 7]), np.arange(DAYS)[:, None]
    close = 10 * np.exp(np.cumsum(random.normal(0, 0.02, (DAYS, STOCKS)), 0))
    close = np.where(random.random(close.shape) < 0.2, close.round(1), close)
    close[40:70, 3] = close[40, 3]
    close[:, 7] = close[:, 6]
    fields = {name: close * np.exp(random.normal(0, 0.01, close.shape)) for name in ("$open", "$high", "$low")}
    fields = {
        "$open": fields["$open"],
        "$close": close,
        "$high": np.maximum(fields["$high"], close),
        "$low": np.minimum(fields["$low"], close),
    }
    fields["$volume"] = random.lognormal(10, 1, close.shape).round(0)
    fields["$volume"][random.random(close.shape) < 0.05] = 0
    fields["$volume"][60:80, 4] = 0
    for name in ("$open", "$high", "$low"):
        fields[name][40:70, 3] = close[40, 3]
    rows = (day >= np.array([0] * 9 + [30, 100, 140])) & (day < np.array([DAYS] * 5 + [90] + [DAYS] * 6))
    if market % 2:
        rows &= random.random(close.shape) >= 0.05
        rows[50:65, 2] = False
        rows[0, :4] = True
        rows[-1, :4] = True
    if market >= 2:
        for values in fields.values():
            values[random.random(close.shape) < 0.04] = np.nan
        for values in fields.values():
            values[20:30, 1] = np.nan
    at, stock = np.nonzero(rows)
    dates = (np.datetime64("2020-01-06") + 7 * (np.arange(DAYS) // 5) + np.arange(DAYS) % 5).astype("datetime64[ns]")
    columns = {name: pa.array(values[at, stock].astype(np.float32)) for name, values in fields.items()}
    names = np.array([f"SH{600000 + place}" for place in range(STOCKS)], object)
    return pa.table({"datetime": pa.array(dates[at]), "instrument": pa.array(names[stock], pa.string()), **columns})


Grid = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class RaisedError(Exception):
    """What a program raised under pandas."""


class Pandas:
    """A process of a Python that has pandas, which runs programs until it is closed."""

    def __init__(self, python: str, folder: Path) -> None:
        self.out = folder / "result.parquet"
        self.process = subprocess.Popen(
            [python, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.version = str(self._answer()["pandas"])

    @property
    def major(self) -> int:
        """Of the version of pandas."""
        return int(self.version.partition(".")[0])

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def run(self, source: str, bars: Path, sums: str | None = None) -> pa.Table:
        """The frame that a program wrote, with `sums` done that way; RaisedError with what it raised."""
        assert self.process.stdin is not None
        order = {"source": source, "bars": str(bars), "out": str(self.out), "sums": sums}
        print(json.dumps(order), file=self.process.stdin, flush=True)
        answer = self._answer()
        if answer:
            raise RaisedError(answer["raises"])
        return pq.read_table(self.out)

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


class Market(NamedTuple):
    """Bars as a file, and as the compiler has them."""

    path: Path
    grids: Grids
    instruments: list[str]


class Verdict(NamedTuple):
    """`outcome`: right, refused or wrong; `said`: the code of the refusal, or what is wrong.

    Numbers of cells: `compared` with pandas, `unknown` as the runtime says itself, and `noise` of pandas' running sums.
    """

    outcome: str
    said: str
    compared: int = 0
    unknown: int = 0
    noise: int = 0


class Judge:
    """Compares programs on the markets."""

    def __init__(self, python: str, folder: Path) -> None:
        """`python` has pandas and tables; `folder` is for files."""
        self.pandas = Pandas(python, folder)
        self.markets = []
        for place in range(MARKETS):
            path = folder / f"bars{place}.parquet"
            pq.write_table(bars(place), path)
            self.markets.append(Market(path, *read_tables(path, None, Runner(None, IsolationLimits()))))

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *problem: object) -> None:
        self.pandas.close()

    def judge(self, source: str, number: int) -> Verdict:
        """One program on the market of its number."""
        market = self.markets[number % MARKETS]
        try:
            factor = compile_source(
                Path("factor.py"),
                source.encode(),
                market.grids,
                market.instruments,
                self.pandas.major,
                lambda text: None,
            )
        except RefusalError as refusal:
            if refusal.code == "factor.differs" and self._is_settled(source, market):
                # The graphs are not what the expression means: that is refused, and a fault nevertheless.
                return Verdict("wrong", refusal.code)
            return Verdict("refused", refusal.code)
        except Exception as problem:  # noqa: BLE001 - a fault of the compiler's own is what is looked for
            return Verdict("wrong", f"the compiler: {type(problem).__name__}: {problem}")
        try:
            return self._compared(factor, market, source)
        except RaisedError as problem:
            return Verdict("wrong", f"pandas raises {problem}")

    def _is_settled(self, source: str, market: Market) -> bool:
        """Whether pandas gives the same values in whatever way it adds up; a program that raises is."""
        try:
            own, *careful = (grid_of(self.pandas.run(source, market.path, way), market) for way in (None, *WAYS))
        except RaisedError:
            return True
        return not any(
            (different(one, own[0], SAME_OF_FLOAT32) | (written != own[1])).any() for one, written in careful
        )

    def _compared(self, factor: Factor, market: Market, source: str) -> Verdict:
        rows = evaluate([factor.traced.rows], market.grids)[0]
        bound = bound_of(factor.traced)

        def wrong_beside(want: Floats, written: Grid) -> Grid:
            """Where ours are not what pandas gives."""
            other = (different(factor.values, want, bound) & factor.known) | (written != rows)
            return np.asarray(other & factor.asked)

        want, written = grid_of(self.pandas.run(source, market.path), market)
        wrong = wrong_beside(want, written)
        differing = int(wrong.sum())
        if differing:
            # Noise: pandas gives our value when its sums are done with care, or another one with each way to do them.
            careful = [grid_of(self.pandas.run(source, market.path, way), market) for way in WAYS]
            for place, (one, one_written) in enumerate(careful):
                wrong &= wrong_beside(one, one_written)
                for other, other_written in careful[:place]:
                    wrong &= ~different(one, other, bound) & (one_written == other_written)
        known = factor.known & factor.asked
        unknown = int((factor.asked & ~known).sum())
        counts = int(known.sum()) - differing, unknown, differing - int(wrong.sum())
        if not wrong.any():
            return Verdict("right", "", *counts)
        day, stock = (int(at[0]) for at in np.nonzero(wrong))
        cell = f"{market.grids.days[day]} {market.instruments[stock]}: pandas {want[day, stock]}, here {factor.values[day, stock]}"
        return Verdict("wrong", f"{wrong.sum()} values of {rows.sum()}, the first {cell}", *counts)


def grid_of(table: pa.Table, market: Market) -> tuple[Floats, Grid]:
    """Values [days, stocks] of a frame, and where it has rows; RaisedError where it has a row twice."""
    places = {name: place for place, name in enumerate(market.instruments)}
    day = np.searchsorted(market.grids.days, table["datetime"].to_numpy().astype("datetime64[D]"))
    stock = np.array([places[one] for one in table["instrument"].to_pylist()], np.int64)
    want, written = np.full(market.grids.shape, np.nan), np.zeros(market.grids.shape, np.bool_)
    if len(set(zip(day.tolist(), stock.tolist(), strict=True))) < len(day):
        raise RaisedError("nothing, and writes rows twice")
    want[day, stock], written[day, stock] = table["value"].to_numpy(), True
    return want, written


def different(have: Floats, want: Floats, bound: float) -> Grid:
    """Where two values are further apart than `bound` of the larger of `want` and its median size, or one is missing."""
    with np.errstate(all="ignore"):
        near = np.isfinite(want) & (np.abs(have - want) <= bound * np.maximum(np.abs(want), size_of(want)))
    same: Grid = near | (have == want) | (np.isnan(have) & np.isnan(want))
    return ~same
