"""Days without trade: how bars show them, what is recorded of a training, and which tables are taken for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from alphaseal.bars import conventions
from alphaseal.bars.calendar import Bars
from alphaseal.bars.conventions import KINDS, Signs, Watch, record
from alphaseal.format.manifest import Conventions
from alphaseal.tables.chance import most_by_chance

FIELDS = ("open", "high", "low", "close", "volume")
REACH = 20
Values = npt.NDArray[np.float32]


def values_of(stocks: int, days: int, seed: int = 1) -> Values:
    """Bars of stocks that trade every day."""
    random = np.random.default_rng(seed)
    close = 10 * np.exp(np.cumsum(random.normal(0, 0.02, (stocks, days)), axis=1))
    prices = [close * (1 + random.normal(0, 0.005, close.shape)) for _ in range(3)]
    volume = random.uniform(1e5, 1e7, close.shape)
    return np.stack([*prices, close, volume], axis=2).astype(np.float32)


def bars_of(values: Values, present: npt.NDArray[np.bool_] | None = None) -> Bars:
    count, days = values.shape[:2]
    there = np.ones((count, days), np.bool_) if present is None else present
    dates = np.datetime64("2020-01-01") + np.arange(days)
    return Bars(dates, tuple(f"SH6{place:05d}" for place in range(count)), values, there.argmax(axis=1), there)


def suspend(values: Values, seed: int, share: float = 0.002) -> Values:
    """Some runs of days without a value, as the training has them."""
    random = np.random.default_rng(seed)
    values = values.copy()
    for stock, day in np.argwhere(random.random(values.shape[:2]) < share):
        values[stock, day : day + int(random.choice([1, 2, 5, 10]))] = np.nan
    values[:, 0] = np.nan_to_num(values[:, 0], nan=10.0)
    return values


TRAINING = suspend(values_of(60, 400), 2)


def trained(values: Values = TRAINING, fields: tuple[str, ...] = FIELDS) -> Conventions:
    return record(bars_of(values), FIELDS, fields, REACH, 0)


def looked(
    live: Values, said: Conventions | None = None, present: npt.NDArray[np.bool_] | None = None
) -> dict[str, set[str]]:
    """Kind -> stocks, of the last day of a table."""
    watch = Watch.of([trained() if said is None else said], FIELDS, REACH)
    assert watch is not None
    bars = bars_of(live, present)
    last = len(bars.dates) - 1
    refused, found = watch.look(bars, FIELDS, np.ones(len(live), np.bool_), {}, range(last, last + 1))
    named = {odd.kind: set(odd.stocks) for odd in found[0]}
    assert set().union(*named.values()) == {bars.instruments[place] for place in np.flatnonzero(refused[:, -1])}
    return named


def name(place: int) -> str:
    return f"SH6{place:05d}"


# --- kinds of rows ------------------------------------------------------------------------------------------------------


def _forward(values: Values, stock: int, days: slice) -> None:
    values[stock, days] = values[stock, days.start - 1]


def _forward_without_volume(values: Values, stock: int, days: slice) -> None:
    _forward(values, stock, days)
    values[stock, days, 4] = 0


def _closes(values: Values, stock: int, days: slice) -> None:
    values[stock, days, :4] = values[stock, days.start - 1, 3]
    values[stock, days, 4] = np.nan


def _zeros(values: Values, stock: int, days: slice) -> None:
    values[stock, days] = 0


def _no_volume_beside_no_price(values: Values, stock: int, days: slice) -> None:
    values[stock, days] = np.nan
    values[stock, days, 4] = 0


def _line(values: Values, stock: int, days: slice) -> None:
    length = days.stop - days.start + 1
    for step in range(1, length):
        part = np.float64(step) / length
        ends = values[stock, days.start - 1].astype(np.float64), values[stock, days.stop].astype(np.float64)
        values[stock, days.start + step - 1] = ends[0] * (1 - part) + ends[1] * part


def _negative(values: Values, stock: int, days: slice) -> None:
    values[stock, days, :4] *= -1


def _block_again(values: Values, stock: int, days: slice) -> None:
    values[stock, days] = values[stock, days.start - 4 : days.stop - 4]


FILLS: dict[str, tuple[Callable[[Values, int, slice], None], str]] = {
    "forward": (_forward, "repeated"),
    "forward, volume 0": (_forward_without_volume, "stale"),
    "last close, no volume": (_closes, "stale"),
    "zeros": (_zeros, "not_positive"),
    "volume 0, no prices": (_no_volume_beside_no_price, "without_price"),
    "a line": (_line, "interpolated"),
    "negative prices": (_negative, "not_positive"),
    "a block of days again": (_block_again, "repeated"),
}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("length", [1, 3])
def test_one_filled_stock_is_found_by_name(fill: str, length: int) -> None:
    """Of 60 stocks one has a suspension of one or of three days filled: it is found, and no other."""
    live = suspend(values_of(60, REACH + 1, 7), 8)
    live[5] = values_of(1, REACH + 1, 9)[0]
    make, kind = FILLS[fill]
    make(live, 5, slice(10, 10 + length))
    assert looked(live) == {kind: {name(5)}}


def test_filled_days_with_a_gap_between_are_found() -> None:
    """Some days of a suspension are filled, others are not: a row is compared with the last one that has values."""
    live = values_of(3, REACH + 1, 7)
    live[1, 8:12] = np.nan
    live[1, 10] = live[1, 7]
    assert looked(live) == {"repeated": {name(1)}}
    live[1, 10] = (live[1, 7].astype(np.float64) * 2 + live[1, 12].astype(np.float64) * 3) / 5
    assert looked(live) == {"interpolated": {name(1)}}


def test_the_day_before_the_window_is_compared_with() -> None:
    """The oldest day that a score looks at is a filled one: the day before it shows that; without that day nothing can."""
    live = values_of(3, REACH + 1, 7)
    live[1, 1] = live[1, 0]
    assert looked(live) == {"repeated": {name(1)}}
    assert looked(live[:, 1:]) == {}


def test_days_before_the_window_do_not_count() -> None:
    """A stock whose filled days no score looks at any more is taken again, whatever else the table has before."""
    live = values_of(3, 3 * REACH, 7)
    live[1, 5:9] = live[1, 4]
    assert looked(live) == {}


def test_a_row_is_of_one_kind() -> None:
    """Every row of a table with all kinds of fills is of one kind at most, and rows of a suspension are of one."""
    live = np.concatenate([suspend(values_of(4, 60, 3), 5, 0.02) for _ in FILLS])
    for place, (make, _) in enumerate(FILLS.values()):
        make(live, 4 * place, slice(20, 23))
    signs = Signs.of(bars_of(live), FIELDS, FIELDS, REACH)
    together = np.stack([signs.kinds[kind] for kind in KINDS])
    assert together.sum(axis=0).max() == 1
    np.testing.assert_array_equal(signs.kinds["missing"], np.isnan(live).all(axis=2))


# --- what is as in the training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_suspensions_as_in_the_training_are_taken(seed: int) -> None:
    """Bars of the same kind of market, whose suspended days have no values or no rows, are taken whole."""
    live = suspend(values_of(60, REACH + 1, 100 + seed), 200 + seed)
    empty = np.isnan(live).all(axis=2)
    ends = np.zeros_like(empty)
    ends[:, [0, -1]] = True
    assert looked(live) == {}
    assert looked(live, present=~empty | ends) == {}


def test_far_more_suspensions_are_not() -> None:
    """A table that lost a fifth of its rows is not taken for a market with suspensions."""
    live = values_of(60, REACH + 1, 7)
    present = np.random.default_rng(3).random(live.shape[:2]) > 0.2
    present[:, [0, -1]] = True
    found = looked(np.where(present[:, :, None], live, np.nan).astype(np.float32), present=present)
    assert len(found["missing"]) > 50


def _with_zero_volumes(values: Values, seed: int, share: float = 0.01) -> Values:
    values = values.copy()
    traded = ~np.isnan(values[:, :, 4])
    values[traded & (np.random.default_rng(seed).random(traded.shape) < share), 4] = 0
    return values


@pytest.mark.parametrize("seed", range(10))
def test_a_market_with_natural_zero_volumes(seed: int) -> None:
    """Where a hundredth of the training's rows have no volume, such rows are taken; filled ones are found all the same."""
    said = trained(_with_zero_volumes(TRAINING, 3))
    assert 0.008 < said.zero_volume.rows / said.stock_days < 0.012
    live = _with_zero_volumes(suspend(values_of(60, REACH + 1, 300 + seed), 400 + seed), 500 + seed)
    assert looked(live, said) == {}
    for fill, kind in (FILLS["forward"], FILLS["forward, volume 0"], FILLS["volume 0, no prices"]):
        filled = live.copy()
        filled[5] = values_of(1, REACH + 1, 9)[0]
        fill(filled, 5, slice(10, 13))
        assert looked(filled, said) == {kind: {name(5)}}
    assert "zero_volume" in looked(_with_zero_volumes(live, 600, 0.1), said)


@pytest.mark.parametrize("rows", [1, 3])
def test_an_odd_row_of_the_training_allows_none(rows: int) -> None:
    """A few rows that repeat the day before are no convention: a live one is found as if there were none."""
    training = TRAINING.copy()
    for place in range(rows):
        training[place, 50] = training[place, 49]
    said = trained(training)
    assert said.repeated.rows == rows
    live = values_of(60, REACH + 1, 7)
    _forward(live, 5, slice(10, 11))
    assert looked(live, said) == {"repeated": {name(5)}}


def test_a_market_of_thousands_is_held_to_it_too() -> None:
    """Three repeated days of one stock among 5000 are found."""
    live = values_of(5000, REACH + 1, 7)
    _forward(live, 4321, slice(10, 13))
    assert looked(live) == {"repeated": {name(4321)}}


def test_a_training_whose_suspensions_are_filled() -> None:
    """Where the training's own bars repeat the day before, live ones may, and days without values are what it never saw."""

    def filled(values: Values) -> Values:
        values = values.copy()
        for stock, day in np.argwhere(np.isnan(values).all(axis=2)):
            values[stock, day] = values[stock, day - 1]
        return values

    said = trained(filled(TRAINING))
    assert said.missing.rows == 0
    assert said.repeated.rows > 100
    live = suspend(values_of(60, REACH + 1, 7), 8, 0.004)
    assert looked(filled(live), said) == {}
    assert set(looked(live, said)) == {"missing"}


def test_a_long_standstill_is_no_convention() -> None:
    """A run more than twice as long as any of the training is found although the training has such rows."""
    said = trained(_with_zero_volumes(TRAINING, 5))
    assert 1 <= said.zero_volume.longest <= 3
    live = values_of(60, REACH + 1, 7)
    live[5, 8:16, 4] = 0
    assert looked(live, said) == {"zero_volume": {name(5)}}


# --- which fields ---------------------------------------------------------------------------------------------------------


def test_prices_alone_stand_still_on_days_of_trade() -> None:
    """Of closes in ticks a repeated one says nothing: they are as in the training, up to many more of them."""

    def ticks(values: Values) -> Values:
        return np.round(values, 1).astype(np.float32)

    said = trained(ticks(TRAINING), ("close",))
    assert said.repeated.rows > 100
    live = ticks(suspend(values_of(60, REACH + 1, 7), 8))
    assert looked(live, said) == {}


def test_the_most_fields_that_a_table_has_are_looked_at() -> None:
    """With the volume a filled day is seen; a table that has none, or only empty ones, is judged by its prices."""
    both = [trained(), trained(fields=("close",))]
    watch = Watch.of(both, FIELDS, REACH)
    assert watch is not None
    assert [found.fields for found in watch.candidates] == [list(FIELDS), ["close"]]
    narrow = Watch.of(both, ["close", "volume"], REACH)
    assert narrow is not None
    assert [found.fields for found in narrow.candidates] == [["close"]]
    assert Watch.of(both, ["volume"], REACH) is None
    assert Watch.of(None, FIELDS, REACH) is None
    live = values_of(3, REACH + 1, 7)
    live[:, :, 4] = np.nan
    last = range(REACH, REACH + 1)
    assert not watch.look(bars_of(live), FIELDS, np.ones(3, np.bool_), {}, last)[0].any()


# --- the record and its numbers -----------------------------------------------------------------------------------------


def test_counts_of_a_training() -> None:
    """Rows, runs, the longest run and the share of a stretch are those of the days that were asked for."""
    values = values_of(10, 40, 3)
    values[2, 5:8] = np.nan
    values[3, 30] = np.nan
    values[4, 1] = values[4, 0]
    present = np.ones((10, 40), np.bool_)
    present[2, 5] = False
    found = record(bars_of(values, present), FIELDS, FIELDS, 10, 1)
    assert (found.first, found.last, found.days, found.stock_days) == ("2020-01-02", "2020-02-09", 10, 390)
    assert (found.absent, found.empty) == (1, 3)
    assert (found.missing.rows, found.missing.episodes, found.missing.longest) == (4, 2, 3)
    assert found.missing.share == pytest.approx(1 / 100)
    assert (found.repeated.rows, found.repeated.episodes, found.repeated.longest) == (1, 1, 1)
    whole = record(bars_of(values, present), FIELDS, FIELDS, 100, 1)
    assert whole.missing.share == pytest.approx(2 / 390)


def test_stocks_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many stocks are looked at together changes nothing."""
    whole = trained()
    monkeypatch.setattr(conventions, "_STOCKS_AT_ONCE", 7)
    assert trained() == whole


@pytest.mark.parametrize("expected", [0.001, 0.3, 1.0, 7.5, 60.0, 900.0])
def test_more_than_chance_is_rarer_than_one_in_a_million(expected: float) -> None:
    """The bound is above the exact one of a Poisson count, and not by much."""
    from scipy.stats import poisson

    most = most_by_chance(expected)
    assert poisson.sf(most, expected) < 1e-6
    assert poisson.sf(most - 3, expected) > 1e-9
    assert most_by_chance(0.0) == 0


def test_words_name_stocks_training_and_mend() -> None:
    """The refusal and the warning say what is odd, of whom, on which day, what the training had, and what mends it."""
    live = values_of(60, REACH + 1, 7)
    _forward(live, 5, slice(10, 13))
    watch = Watch.of([trained()], FIELDS, REACH)
    assert watch is not None
    bars = bars_of(live)
    _, found = watch.look(bars, FIELDS, np.ones(60, np.bool_), {}, range(REACH, REACH + 1))
    error: Any = conventions.refusal(found[0], bars.dates[-1])
    for text in (str(error), conventions.warning([(bars.dates[-1], found[0])])):
        for part in (
            "repeat the day before in every field",
            f"{name(5)} on 2020-01-11",
            "0 of its",
            'nan_policy="none"',
        ):
            assert part in text


def test_a_row_that_is_not_there_beside_rows_without_values_was_lost() -> None:
    """A table that writes four rows without a value for each day without one writes its suspensions as rows."""
    live = values_of(40, 60, 9)
    live[0, -9:-5] = np.nan
    there = np.ones(live.shape[:2], np.bool_)
    assert looked(live, present=there) == {}
    there[3, -4], live[3, -4] = False, np.nan
    assert looked(live, present=there) == {"lost": {name(3)}}
    there[7, -4], live[7, -4] = False, np.nan
    assert looked(live, present=there) == {}
