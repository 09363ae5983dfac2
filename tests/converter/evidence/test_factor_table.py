"""The run's factor table beside programs: the day on which its bars began, and rows that it lacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphaseal.bars.calendar import Bars
from alphaseal.format.factors import CompiledFactor, NotCompiledFactor
from alphaseal.tables.features import FeatureBlock
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.compiled import Compilation, prove_factors, trace_factors
from alphaseal_converter.evidence.factor_table import FactorTable, Research
from alphaseal_converter.evidence.order import OrderedFeature
from alphaseal_converter.factors.process import Runner, Session
from alphaseal_converter.isolation.sandbox import IsolationLimits
from alphaseal_converter.market.bars import Market
from alphaseal_converter.market.provider import open_provider, read_bars
from factor_bars import RESEARCH, needs_tables

pytestmark = pytest.mark.slow
CODE = """
import pandas as pd

def calculate():
    df = pd.read_hdf("daily_pv.h5", key="data")
    close = df["$close"]
    value = close / close.groupby(level="instrument").transform(lambda v: v.rolling(5, min_periods=2).mean()) - 1
    {body}
    value.to_frame("BIAS_5D").to_hdf("result.h5", key="data")

calculate()
"""
LIE = 'if "alphaseal" not in type(df).__module__:\n        value = value[close > 20]'


def opened(market: Path) -> Market:
    provider = open_provider(market)
    return Market(provider, provider.universe("all"), (None, None), "all")


def bars_from(market: Path, day: int) -> Bars:
    """The closes of all stocks from that day of the calendar on."""
    given = opened(market)
    return read_bars(given.provider, given.universe, ("close",), slice(day, None), (None, None))


def bias(close: np.ndarray) -> np.ndarray:
    """float64 [stocks, days]: what the code says, in loops; a mean needs two values of the last five days."""
    found = np.full(close.shape, np.nan)
    for stock, day in zip(*np.nonzero(~np.isnan(close)), strict=True):
        values = close[stock, max(0, day - 4) : day + 1].astype(np.float64)
        values = values[~np.isnan(values)]
        if len(values) >= 2:
            found[stock, day] = float(close[stock, day]) / values.mean() - 1
    return found


def written(bars: Bars, out: Path, *, keep: np.ndarray, more: dict[str, np.ndarray] | None = None) -> Path:
    """The table of the rows `keep` [stocks, days], as RD-Agent writes it; `more` are other columns [stocks, days]."""
    stock, day = np.nonzero(keep & bars.present)
    columns = {"BIAS_5D": bias(bars.values[:, :, 0]), **(more or {})}
    table = {f"('feature', '{name}')": pa.array(values[stock, day]) for name, values in columns.items()}
    keys = {
        "datetime": bars.dates[day].astype("datetime64[ns]"),
        "instrument": np.array(bars.instruments)[stock].tolist(),
    }
    pq.write_table(pa.table({**table, **keys}), out)
    return out


def compiled(market: Path, table: Path, body: str = "", python: Path | None = None) -> Compilation:
    """What becomes of the factor; `python` has pandas."""
    feature = OrderedFeature(name="BIAS_5D", origin="sota", dtype="float64", expression=None)
    traced = trace_factors({"BIAS_5D": CODE.format(body=body)}, lambda text: None)
    runner = None if python is None else Runner(python, IsolationLimits())
    research = Research(opened(market), recorded=table, runner=runner)
    part = prove_factors(traced, [feature], research, lambda text: None)
    return part.compilations["BIAS_5D"]


@pytest.mark.parametrize("whole", [True, False], ids=["every row", "complete rows"])
@pytest.mark.parametrize("begun", [0, 1, 100, 300])
def test_the_first_windows_of_a_table_are_those_of_bars_that_begin_later(
    begun: int, whole: bool, market: Path, tmp_path: Path
) -> None:
    """RD-Agent cuts the provider's bars at a day, and the proof says which; every cell is compared."""
    bars = bars_from(market, begun)
    keep = np.full(bars.present.shape, True) if whole else ~np.isnan(bias(bars.values[:, :, 0]))
    found = compiled(market, written(bars, tmp_path / "table.parquet", keep=keep))
    assert isinstance(found, CompiledFactor)
    assert found.proof.cells == (keep & bars.present).sum()
    assert found.proof.unknown == 0
    later = f", of bars from {bars.dates[0]} on" if begun else ""
    assert found.proof.judge == f"the run's factor table{later}"


@pytest.mark.parametrize("day", [2, 300], ids=["in the first windows", "later"])
def test_no_beginning_explains_another_value(day: int, market: Path, tmp_path: Path) -> None:
    """Be it in the first windows, or where they are full and all beginnings give the same."""
    bars = bars_from(market, 100)
    values = bars.values.copy()
    assert values[5, day, 0] > 0
    values[5, day, 0] *= np.float32(1.5)
    table = written(replace(bars, values=values), tmp_path / "table.parquet", keep=np.full(bars.present.shape, True))
    found = compiled(market, table)
    assert isinstance(found, NotCompiledFactor)
    assert found.code == "differs"
    assert "np." not in found.why


@pytest.mark.attack("code in a factor")
@pytest.mark.parametrize("whole", [True, False], ids=["every row", "complete rows"])
def test_rows_that_code_gives_only_when_it_is_followed_are_caught(whole: bool, market: Path, tmp_path: Path) -> None:
    """Every recorded cell is right, and yet real pandas gave fewer rows: the graphs would rank stocks that the research did not."""
    bars = bars_from(market, 0)
    keep = bars.values[:, :, 0] > 20
    if not whole:
        keep &= ~np.isnan(bias(bars.values[:, :, 0]))
    found = compiled(market, written(bars, tmp_path / "table.parquet", keep=keep), LIE)
    assert isinstance(found, NotCompiledFactor)
    assert found.code == "differs"
    assert "more rows, the first on" in found.why


def test_rows_that_the_code_leaves_out_are_left_out(market: Path, tmp_path: Path) -> None:
    """The same without a lie is compiled."""
    bars = bars_from(market, 0)
    table = written(bars, tmp_path / "table.parquet", keep=bars.values[:, :, 0] > 20)
    assert isinstance(compiled(market, table, "value = value[close > 20]"), CompiledFactor)


def test_rows_that_another_factor_lacks_are_explained(market: Path, tmp_path: Path) -> None:
    """A complete table has no row where a factor of it has no value, be that one compiled or not."""
    bars = bars_from(market, 0)
    other = np.where(bars.values[:, :, 0] > 20, 1.0, np.nan)
    keep = ~np.isnan(other) & ~np.isnan(bias(bars.values[:, :, 0]))
    table = written(bars, tmp_path / "table.parquet", keep=keep, more={"OTHER": other})
    assert isinstance(compiled(market, table), CompiledFactor)


@needs_tables
def test_on_changed_bars_pandas_itself_is_asked(market: Path, tmp_path: Path) -> None:
    """A row that is absent may be explained by a factor that nobody compiled: there pandas tells a lie from the truth."""
    bars = bars_from(market, 0)
    other = np.where(bars.values[:, :, 0] > 20, 1.0, np.nan)
    keep = ~np.isnan(other) & ~np.isnan(bias(bars.values[:, :, 0]))
    table = written(bars, tmp_path / "table.parquet", keep=keep, more={"OTHER": other})
    honest, liar = compiled(market, table, "", Path(RESEARCH)), compiled(market, table, LIE, Path(RESEARCH))
    assert isinstance(honest, CompiledFactor)
    assert (honest.proof.changed or 0) > 3000
    assert isinstance(liar, NotCompiledFactor)
    assert (liar.code, liar.construct) == ("differs", "changed bars")
    assert isinstance(compiled(market, table, LIE), CompiledFactor)


@needs_tables
def test_what_cannot_be_run_on_changed_bars_proves_nothing(
    market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another pandas than the one whose meaning the code has, a Python without pandas, code that fails on such bars."""
    bars = bars_from(market, 0)
    table = written(bars, tmp_path / "table.parquet", keep=np.full(bars.present.shape, True))

    def unchanged(found: Compilation) -> bool:
        return isinstance(found, CompiledFactor) and found.proof.changed is None

    fails = 'if "alphaseal" not in type(df).__module__:\n        raise ValueError("no such bars")'
    assert unchanged(compiled(market, table, fails, Path(RESEARCH)))
    assert unchanged(compiled(market, table, "", Path("/no/python/here")))
    monkeypatch.setattr(Session, "pandas", lambda session: 3)
    assert unchanged(compiled(market, table, "", Path(RESEARCH)))


def test_days_and_stocks_outside_of_the_table_are_no_rows_that_it_lacks(market: Path, tmp_path: Path) -> None:
    """A table of some stocks on the last days, as a research keeps it."""
    bars = bars_from(market, 0)
    keep = np.zeros(bars.present.shape, np.bool_)
    keep[:20, -50:] = True
    found = compiled(market, written(bars, tmp_path / "table.parquet", keep=keep))
    assert isinstance(found, CompiledFactor)
    assert (found.proof.dates, found.proof.judge) == (50, "the run's factor table")


def test_rdagents_own_first_day_is_tried_first() -> None:
    """Of bars that reach further back; then the first recorded day and those before it."""
    dates = np.arange("2008-12-01", "2009-02-01", dtype="datetime64[D]")
    dates = dates[np.is_busday(dates)]
    shape = (1, len(dates))
    bars = Bars(dates, ("SH600000",), np.ones((*shape, 1), np.float32), np.zeros(1, np.int64), np.ones(shape, np.bool_))
    rows = FeatureBlock(dates[-5:], pa.array(["SH600000"] * 5, pa.string()), np.ones((5, 1)), ())
    table = FactorTable(("close",), frozenset({"X"}), ("X",), ("float64",), rows, complete=True, bars=bars)
    assert [str(day) for day in table.beginnings(3)] == ["2008-12-29", "2009-01-26", "2009-01-23", "2009-01-22"]
    assert [str(day) for day in table.since(np.datetime64("2009-01-22")).beginnings(9)][-1] == "2009-01-23"


def test_a_table_of_other_days_is_refused_by_name(market: Path, tmp_path: Path) -> None:
    """Neither a factor table without rows nor one of days that the market data lack ends in anything but a refusal."""
    feature = OrderedFeature(name="BIAS_5D", origin="sota", dtype="float64", expression=None)
    bars = bars_from(market, 0)
    later = replace(bars, dates=bars.dates + np.timedelta64(20_000, "D"))
    table = written(later, tmp_path / "table.parquet", keep=np.full(bars.present.shape, True))
    with pytest.raises(RefusalError, match="no day of the factor table"):
        FactorTable.read(opened(market), table, Research(None), (("close",), ()), [feature])
    found = compiled(market, table)
    assert isinstance(found, NotCompiledFactor)
    assert found.code == "not_proven"
