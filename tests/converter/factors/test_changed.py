"""Bars that no research has seen, and real pandas on them beside graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphaseal.bars.calendar import Bars
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.changed import as_market, changed, compare
from alphaseal_converter.factors.process import Runner
from alphaseal_converter.isolation.sandbox import IsolationLimits
from factor_bars import DAYS, FACTOR, RESEARCH, STOCKS, needs_tables

FIELDS = ("close", "volume", "factor")
PREVIOUS = FACTOR.format(body="value = pv['$close'].groupby(level='instrument').shift(1)").encode()


def bars() -> Bars:
    """Three fields of five stocks; the second begins late, and a row of the third is missing."""
    random = np.random.default_rng(2)
    shape = (len(STOCKS), len(DAYS))
    values = np.exp(random.normal(3.0, 0.2, (*shape, len(FIELDS)))).astype(np.float32)
    present = np.ones(shape, np.bool_)
    present[1, :7], present[2, 11] = False, False
    values[~present] = np.nan
    values[3, 20] = np.nan
    return Bars(DAYS, STOCKS, values, present.argmax(axis=1), present)


def previous(given: Bars, day: int, stocks: Any) -> tuple[Any, Any]:
    """What the factor `PREVIOUS` is: the close of the row before."""
    rows = [np.flatnonzero(given.present[stock, :day]) for stock in stocks]
    values = [given.values[stock, row[-1], 0] if len(row) else np.nan for stock, row in zip(stocks, rows, strict=True)]
    return np.array(values, np.float64), np.ones(len(stocks), np.bool_)


def test_bars_are_others_for_other_code_and_the_same_for_the_same() -> None:
    """Nobody can write code for the bars that it will meet, and a bundle built twice has the same numbers."""
    given = bars()
    one, again, other = (changed(given, FIELDS, code) for code in (b"a", b"a", b"b"))
    assert one.values.tobytes() == again.values.tobytes()
    assert one.values.tobytes() != other.values.tobytes()
    assert (one.present == given.present).all()
    assert one.instruments == given.instruments


def test_changes_are_gaps_zeros_constants_and_other_prices() -> None:
    """What is missing stays so; a factor of adjustment is no measurement, and is left where there is a bar."""
    given = bars()
    zeros = constants = gaps = 0
    for number in range(20):
        found = changed(given, FIELDS, bytes([number])).values
        there = ~np.isnan(found[:, :, 0])
        assert not (there & np.isnan(given.values[:, :, 0])).any()
        assert (found[there][:, 2] == given.values[there][:, 2]).all()
        zeros += int((found[:, :, 1] == 0).sum())
        constants += int((np.diff(found[:, :, 0], axis=1) == 0).sum())
        gaps += int((~there & ~np.isnan(given.values[:, :, 0])).sum())
    assert min(zeros, constants, gaps) > 20


def test_rows_are_those_of_the_bars() -> None:
    """Sorted by day; a day without a row is none."""
    market, given = as_market(bars(), FIELDS), bars()
    assert len(market.days) == given.present.sum()
    assert (np.diff(market.days) >= np.timedelta64(0)).all()
    assert list(market.columns) == ["$close", "$volume", "$factor"]


@needs_tables
def test_pandas_and_graphs_are_compared_on_every_row() -> None:
    """The same, another value, and a value where there is no row."""
    session = Runner(Path(RESEARCH), IsolationLimits()).session("the factor")
    assert session.pandas() in (2, 3)
    given = bars()

    def told(source: bytes, compute: Any = previous) -> tuple[int, str | None]:
        found = compare(session, source, "FACTOR", as_market(given, FIELDS), given, compute, 1e-9)
        return found.cells, found.differs

    assert told(PREVIOUS) == (int(given.present.sum()), None)
    moved = told(PREVIOUS.replace(b"shift(1)", b"shift(2)"))[1]
    assert moved is not None
    assert f"for pandas' nan on {DAYS[1]} SH600000" in moved
    wide = FACTOR.format(body="value = pv['$close'].unstack().ffill().stack()").encode()
    beside = told(wide)[1]
    assert beside == f"pandas gives a value of {DAYS[11]} SZ000001, which is no row of the bars"
    with pytest.raises(RefusalError, match="KeyError"):
        told(FACTOR.format(body="value = pv['$turnover']").encode())

    def unknown(bars: Bars, day: int, stocks: Any) -> tuple[Any, Any]:
        values, known = previous(bars, day, stocks)
        return values, known & (day > 5)

    assert told(PREVIOUS, unknown) == (int(given.present[:, 6:].sum()), None)
