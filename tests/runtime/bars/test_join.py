"""Bars in, scores out: which rows are scored, where their features come from, and what is said of the bars."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alphaseal
from alpha_bundles import DAYS, FIELDS, STOCKS, WINDOW, frame, golden_bars, scores_of, write_bundle
from alphaseal import cli
from alphaseal.bars.adjustment import compare
from alphaseal.bars.source import BarSource
from alphaseal.errors import AlphasealError, InputError, PolicyError, SelfTestError, UsageError
from alphaseal.scoring import selftest
from alphaseal.scoring.scores import Scores
from alphaseal.tables.features import FeatureBlock
from raising import refusal


@pytest.fixture(autouse=True)
def nothing_is_proven() -> None:
    """Every test is a process that has scored nothing yet."""
    selftest._PASSED.clear()


@pytest.fixture
def bundle(tmp_path: Path) -> alphaseal.Bundle:
    return opened(write_bundle(tmp_path / "bundle"))


@pytest.fixture
def windows(tmp_path: Path) -> alphaseal.Bundle:
    """The same for a model on windows of two days."""
    return opened(write_bundle(tmp_path / "bundle", steps=2))


def opened(path: Path) -> alphaseal.Bundle:
    return alphaseal.open(path, trust=alphaseal.Trust.unsigned())


def table(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows, preserve_index=False)


def factors(days: list[Any] = DAYS, stocks: tuple[str, ...] = STOCKS) -> pd.DataFrame:
    """REV of each stock and day: a quarter for each day, negative for the second stock."""
    rows = frame(days, stocks)
    sign = np.where(rows["instrument"] == "SH600001", -0.25, 0.25)
    return rows[["datetime", "instrument"]].assign(REV=sign * [DAYS.index(day) for day in rows["datetime"]])


def expected(day: int, *stocks: int, steps: int = 1) -> list[float]:
    """Scores of stocks whose series is longer than the window, on the day of that number."""
    values = [
        [
            [
                100.0 * (stock + 1) + number,
                (-0.25 if stock == 1 else 0.25) * number,
                np.float32(100 * (stock + 1) + number - 1) / np.float32(100 * (stock + 1) + number),
                float(WINDOW),
            ]
            for number in range(day + 1 - steps, day + 1)
        ]
        for stock in stocks
    ]
    return [float(score) for score in scores_of(np.array(values))]


def by_stock(scores: Scores) -> dict[str, float]:
    return dict(zip(scores.table["instrument"].to_pylist(), scores.table["score"].to_pylist(), strict=True))


def excluded(scores: Scores) -> list[tuple[str, str, str]]:
    rows = scores.excluded.to_pylist()
    return [(str(row["datetime"]), row["instrument"], row["reason"]) for row in rows]


def close_to(found: dict[str, float], wanted: dict[str, float]) -> None:
    assert found.keys() == wanted.keys()
    assert list(found.values()) == pytest.approx([wanted[name] for name in found], rel=1e-14)


def refused(bundle: alphaseal.Bundle, *arguments: Any, **choices: Any) -> AlphasealError:
    return refusal(AlphasealError, bundle.score, *arguments, **({"date": DAYS[-1]} | choices))


# --- scores -----------------------------------------------------------------------------------------------------------


def test_day_of_bars_and_factors_is_scored(bundle: alphaseal.Bundle) -> None:
    """Alpha features of the bars, the SOTA factor of the table, joined by date and stock and not by position."""
    shuffled = factors().sample(frac=1.0, random_state=3)
    scores = bundle.score(table(shuffled), bars=table(frame().sample(frac=1.0, random_state=4)), date=DAYS[-1])
    close_to(by_stock(scores), dict(zip(STOCKS, expected(7, 0, 1, 2), strict=True)))
    assert scores.table["datetime"].unique().to_pylist() == [DAYS[-1]]
    assert scores.excluded.num_rows == 0


def test_stocks_of_the_bars_are_scored(bundle: alphaseal.Bundle) -> None:
    """A stock without factors is scored with missing ones; a stock with factors alone is left out and named."""
    given = factors(stocks=("SH600000", "SH600001", "SH600009"))
    scores = bundle.score(table(given), bars=table(frame()), date=DAYS[-1])
    wanted = [*expected(7, 0, 1), expected(7, 2)[0] - 0.25 * 7 * 10]
    close_to(by_stock(scores), dict(zip(STOCKS, wanted, strict=True)))
    assert excluded(scores) == [("2024-01-11", "SH600009", "no_bars")]


def test_bars_of_a_vendor_and_features_of_the_producer(bundle: alphaseal.Bundle) -> None:
    """The notation that is named is that of the bars; features may have it too, or the bundle's own, but not both."""

    def vendor(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(instrument=[f"{code[2:]}.{code[:2]}" for code in rows["instrument"]])

    wanted = by_stock(bundle.score(table(factors()), bars=table(frame()), date=DAYS[-1]))
    bars = table(vendor(frame()))
    for rows in (factors(), vendor(factors())):
        scores = bundle.score(table(rows), bars=bars, date=DAYS[-1], instruments_from="ts")
        assert by_stock(scores) == wanted
    mixed = pd.concat([factors(stocks=STOCKS[:1]), vendor(factors(stocks=STOCKS[1:]))])
    error = refused(bundle, table(mixed), bars=bars, instruments_from="ts")
    assert (error.code, str(error.where).split(",")[0]) == ("instrument.pattern", "the features")


def test_suspended_stock_is_marked(bundle: alphaseal.Bundle) -> None:
    """A stock with a row of missing bars and no factor has one feature, its length, and is scored; without a row it is not."""
    rows = frame()
    rows.loc[(rows["instrument"] == "SH600001") & (rows["datetime"] == DAYS[-1]), list(FIELDS)] = np.nan
    rows = rows[(rows["instrument"] != "SZ000001") | (rows["datetime"] != DAYS[-1])]
    scores = bundle.score(table(factors()), bars=table(rows), date=DAYS[-1])
    assert set(by_stock(scores)) == {"SH600000", "SH600001"}
    assert by_stock(scores)["SH600001"] == -0.25 * 7 * 10 + 3000.0
    assert excluded(scores) == [("2024-01-11", "SZ000001", "no_bars")]


def test_suspended_days_need_no_rows(tmp_path: Path) -> None:
    """Rows of missing values left out change no score of a stock with a row on the date: a day, a range, and a stream."""
    bundle = opened(write_bundle(tmp_path / "bundle", steps=2))
    rows = frame()
    suspended = (rows["instrument"] == "SH600001") & rows["datetime"].isin([DAYS[3], DAYS[5], DAYS[6]])
    rows.loc[suspended, list(FIELDS)] = np.nan
    full, short = table(rows), table(rows[~suspended])
    pq.write_table(short, tmp_path / "bars.parquet", row_group_size=3)
    pq.write_table(table(factors()), tmp_path / "features.parquet")
    whole = bundle.score(table(factors()), bars=full, dates=(None, None))
    left = bundle.score(table(factors()), bars=short, dates=(None, None))
    paused = {(str(day), "SH600001", "no_bars") for day in (DAYS[3], DAYS[5], DAYS[6])}
    assert set(excluded(left)) == paused
    expected_scores = {(row["datetime"], row["instrument"]): row["score"] for row in whole.table.to_pylist()}
    found = {(row["datetime"], row["instrument"]): row["score"] for row in left.table.to_pylist()}
    assert found == {
        key: score for key, score in expected_scores.items() if (str(key[0]), key[1], "no_bars") not in paused
    }
    assert by_stock(bundle.score(table(factors()), bars=short, date=DAYS[-1])) == {
        name: score for (day, name), score in found.items() if day == DAYS[-1]
    }


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_stream_of_bars_with_suspensions_equals_the_range(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspension that is longer than the windows, and spans parts of the stream, is the same days of missing values."""
    bundle = opened(write_bundle(tmp_path / "bundle", steps=2))
    days = [day.date() for day in pd.bdate_range("2023-05-01", periods=30)]
    bars = pd.DataFrame(
        {"datetime": day, "instrument": f"SH{600000 + stock}", "close": 10.0 + stock + number, "volume": 1.0}
        for number, day in enumerate(days)
        for stock in range(4)
        if stock < 2 or number % 11 in (0, 1) or (stock == 3 and number == 15)
    )
    given = bars[["datetime", "instrument"]].assign(REV=1.0)
    pq.write_table(table(bars), tmp_path / "bars.parquet", row_group_size=3)
    pq.write_table(table(given), tmp_path / "features.parquet", row_group_size=3)
    whole = bundle.score(table(given), bars=table(bars), dates=(days[8], days[25]))
    monkeypatch.setattr("alphaseal.bars.source._BLOCK_BYTES", rows * 4 * 8 * 4)
    monkeypatch.setattr("alphaseal.bars.join._BLOCK_BYTES", rows * 4 * 8 * 4)
    monkeypatch.setattr("alphaseal.tables.parquet.batch_rows", lambda width, size: rows)
    source = tmp_path / "features.parquet"
    parts = list(bundle.score_stream(source, bars=tmp_path / "bars.parquet", dates=(days[8], days[25])))
    assert pa.concat_tables([part.table for part in parts]).combine_chunks().equals(whole.table.combine_chunks())
    assert pa.concat_tables([part.excluded for part in parts]).combine_chunks().equals(whole.excluded.combine_chunks())
    for day in (days[11], days[13], days[22]):
        alone = bundle.score(table(given), bars=table(bars), date=day)
        assert excluded(alone) == [row for row in excluded(whole) if row[0] == str(day)]
        assert by_stock(alone) == {r["instrument"]: r["score"] for r in whole.table.to_pylist() if r["datetime"] == day}


def test_stock_that_had_bars_is_named(bundle: alphaseal.Bundle) -> None:
    """A stock whose last row is a day of the window is listed, one that went before the window is not, nor one that is new."""
    rows = frame()
    rows = rows[(rows["instrument"] != "SH600001") | (rows["datetime"] <= DAYS[-3])]
    given = table(factors(stocks=("SH600000",)))
    assert excluded(bundle.score(given, bars=table(rows), date=DAYS[-2])) == [(str(DAYS[-2]), "SH600001", "no_bars")]
    assert excluded(bundle.score(given, bars=table(rows), date=DAYS[-1])) == [(str(DAYS[-1]), "SH600001", "no_bars")]
    rows = rows[(rows["instrument"] != "SH600001") | (rows["datetime"] < DAYS[-3])]
    assert excluded(bundle.score(given, bars=table(rows), date=DAYS[-1])) == []


def test_open_range_begins_where_bars_and_features_do(windows: alphaseal.Bundle, tmp_path: Path) -> None:
    """Features that begin later than the bars do: the first date is that of their first whole window; later ones stay."""
    pq.write_table(table(factors(DAYS[4:])), tmp_path / "features.parquet")
    pq.write_table(table(frame()), tmp_path / "bars.parquet")
    for given in (table(factors(DAYS[4:])), tmp_path / "features.parquet"):
        scores = windows.score(given, bars=table(frame()), dates=(None, DAYS[6]))
        assert scores.table["datetime"].unique().to_pylist() == DAYS[5:7]
    parts = list(windows.score_stream(tmp_path / "features.parquet", bars=tmp_path / "bars.parquet"))
    assert parts[0].table["datetime"][0].as_py() == DAYS[5]
    late = windows.score(table(factors()), bars=table(frame(DAYS[2:])), dates=(None, None))
    assert late.table["datetime"][0].as_py() == DAYS[5]


def test_universe_limits_the_result(bundle: alphaseal.Bundle) -> None:
    """Stocks outside are named as such, with bars and without; one inside without bars has no row."""
    given = factors(stocks=(*STOCKS, "SH600008", "SH600009"))
    universe = ["SH600000", "SH600009"]
    scores = bundle.score(table(given), bars=table(frame()), date=DAYS[-1], universe=universe)
    assert set(by_stock(scores)) == {"SH600000"}
    assert [row[1:] for row in excluded(scores)] == [
        ("SH600001", "not_in_universe"),
        ("SH600008", "not_in_universe"),
        ("SH600009", "no_row"),
        ("SZ000001", "not_in_universe"),
    ]


def test_range_of_days_equals_the_days(bundle: alphaseal.Bundle) -> None:
    """A range, open at its start, begins with the first whole window, and every date is what it is alone."""
    together = bundle.score(table(factors()), bars=table(frame()), dates=(None, None))
    assert together.table["datetime"].unique().to_pylist() == DAYS[WINDOW - 1 :]
    for day in DAYS[WINDOW - 1 :]:
        alone = bundle.score(table(factors()), bars=table(frame()), date=day)
        chosen = together.table.filter(pa.compute.equal(together.table["datetime"], pa.scalar(day)))
        assert alone.table.equals(chosen.combine_chunks())


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("rows", [1, 4, 100])
def test_stream_equals_the_range(tmp_path: Path, steps: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet files in small parts, with stocks that come, go and pause, give what the whole range gives."""
    bundle = opened(write_bundle(tmp_path / "bundle", steps=steps))
    days = pd.bdate_range("2023-05-01", periods=40)
    random = np.random.default_rng(2)
    bars = pd.DataFrame(
        {"datetime": day, "instrument": f"SH{600000 + stock}", "close": random.normal(10, 1), "volume": 1.0}
        for day in days
        for stock in range(9)
        if stock < 4 or random.random() < 0.3
    )
    given = bars[["datetime", "instrument"]].assign(REV=random.normal(0, 1, len(bars))).iloc[::-1]
    pq.write_table(table(bars), tmp_path / "bars.parquet", row_group_size=50)
    pq.write_table(table(given), tmp_path / "features.parquet", row_group_size=70)
    whole = bundle.score(table(given), bars=table(bars), dates=(None, "2023-06-20"))
    monkeypatch.setattr("alphaseal.bars.source._BLOCK_BYTES", rows * 4 * 8 * 9)
    monkeypatch.setattr("alphaseal.bars.join._BLOCK_BYTES", rows * 4 * 8 * 9)
    monkeypatch.setattr("alphaseal.tables.features._BATCH_BYTES", rows * 4 * 8 * 9)
    monkeypatch.setattr("alphaseal.tables.parquet.batch_rows", lambda width, size: rows)
    parts = list(
        bundle.score_stream(tmp_path / "features.parquet", bars=tmp_path / "bars.parquet", dates=(None, "2023-06-20"))
    )
    assert rows == 100 or len(parts) > 3
    assert pa.concat_tables([part.table for part in parts]).combine_chunks().equals(whole.table.combine_chunks())


def test_windows_of_features_reach_back_as_well(windows: alphaseal.Bundle) -> None:
    """A model on two days needs the window of bars of both: one day more than the alpha features of one day."""
    scores = windows.score(table(factors(DAYS[-2:])), bars=table(frame(DAYS[-4:])), date=DAYS[-1])
    close_to(by_stock(scores), dict(zip(STOCKS, expected(7, 0, 1, 2, steps=2), strict=True)))
    error = refused(windows, table(factors()), bars=table(frame(DAYS[-3:])))
    assert (error.code, error.expected, error.found) == ("bars.too_short", "4 dates up to 2024-01-11", "3 dates")


def test_windows_need_factors_of_every_day(windows: alphaseal.Bundle) -> None:
    """Factors of the scored day alone would be missing values of the day before: refused, with the date."""
    error = refused(windows, table(factors(DAYS[-1:])), bars=table(frame()))
    assert (error.code, error.expected) == ("bars.features_absent", "rows on 2024-01-10")


def test_calendar_is_that_of_bars_and_windows(windows: alphaseal.Bundle) -> None:
    """With a calendar of the caller's own the same scores, and a missing day is an error."""
    calendar = np.array(DAYS, "datetime64[D]")
    plain = windows.score(table(factors()), bars=table(frame()), date=DAYS[-1])
    assert windows.score(table(factors()), bars=table(frame()), date=DAYS[-1], calendar=calendar).table == plain.table
    rows = frame([day for day in DAYS if day != DAYS[-3]])
    assert refused(windows, table(factors()), bars=table(rows), calendar=calendar).code == "bars.day_missing"


# --- columns ----------------------------------------------------------------------------------------------------------


def test_features_without_source_are_listed(bundle: alphaseal.Bundle) -> None:
    """One error names every feature that is neither computed nor given, and why."""
    error = refused(bundle, bars=table(frame()))
    assert (type(error), error.code) == (InputError, "bars.features_missing")
    assert error.expected == "REV (a SOTA factor)"
    other = refused(bundle, table(factors().rename(columns={"REV": "rev"})), bars=table(frame()))
    assert other.code == "bars.features_missing"


def test_feature_of_two_sources_is_refused(bundle: alphaseal.Bundle) -> None:
    """A column that the graph computes too is not chosen between."""
    error = refused(bundle, table(factors().assign(LENGTH=1.0, CLOSE=2.0)), bars=table(frame()))
    assert (error.code, error.found) == ("bars.features_twice", "CLOSE, LENGTH")


def test_reason_of_the_compiler_is_said(tmp_path: Path) -> None:
    """A feature that the compiler refused is listed with its reason."""
    path = write_bundle(tmp_path / "bundle")
    bundle = opened(path)
    feature = bundle.manifest.features[1]
    bundle.manifest.features[1] = msgspec.structs.replace(feature, not_compiled="EMA of all history")
    assert refused(bundle, bars=table(frame())).expected == "REV (EMA of all history)"


def test_bundle_without_graph_takes_no_bars(tmp_path: Path) -> None:
    """Asking a bundle without alphas.onnx to compute from bars is a wrong use, said as such."""
    bundle = opened(write_bundle(tmp_path / "bundle"))
    bundle.manifest = msgspec.structs.replace(bundle.manifest, alphas=None)
    error = refused(bundle, table(factors()), bars=table(frame()))
    assert (type(error), error.code) == (UsageError, "usage.bars")


def test_nothing_to_score_is_a_wrong_use(bundle: alphaseal.Bundle) -> None:
    """Neither features nor bars."""
    assert refused(bundle).code == "usage.features"


# --- price adjustment -------------------------------------------------------------------------------------------------


def test_bars_of_other_days_cannot_be_compared(bundle: alphaseal.Bundle) -> None:
    """Without a day of the golden bars there is a warning, and scores."""
    scores = bundle.score(table(factors()), bars=table(frame(DAYS[-5:])), date=DAYS[-1])
    assert len(scores) == 3
    (warning,) = scores.warnings
    assert warning.startswith("the price adjustment of the bars could not be compared")


def test_bars_of_other_stocks_cannot_be_compared(bundle: alphaseal.Bundle) -> None:
    """The golden bars' days without one of their stocks, as when exchanges are mixed up: a warning, no fault of ours."""
    rows = frame()
    rows["instrument"] = rows["instrument"].str.replace("SH", "BJ").str.replace("SZ", "SH")
    warnings = bundle.score(table(factors()), bars=table(rows), date=DAYS[-1]).warnings
    assert any(warning.startswith("the price adjustment of the bars could not be compared") for warning in warnings)


def test_constant_factor_is_the_same_adjustment(bundle: alphaseal.Bundle) -> None:
    """Prices restated by one factor for all days, and volumes by another, are what the training saw."""
    rows = frame()
    rows["close"] *= rows["instrument"].map({"SH600000": 0.5, "SH600001": 1.0, "SZ000001": 3.0})
    rows["volume"] *= 2
    assert bundle.score(table(factors()), bars=table(rows), date=DAYS[-1]).warnings == ()


@pytest.mark.parametrize("field", ["close", "volume"])
def test_factor_that_changes_is_another_adjustment(bundle: alphaseal.Bundle, field: str) -> None:
    """A ratio to the golden bars that breaks is refused with stock and first day."""
    rows = frame()
    rows.loc[(rows["instrument"] == "SH600001") & (rows["datetime"] >= DAYS[1]), field] *= 1.0005
    error = refused(bundle, table(factors()), bars=table(rows))
    assert (error.code, error.exit) == ("bars.adjustment", 18)
    assert error.where == f"the bars, {field} of SH600001 on 2024-01-03"
    within = frame()
    within.loc[(within["instrument"] == "SH600001") & (within["datetime"] >= DAYS[1]), field] *= 1.00005
    assert len(bundle.score(table(factors()), bars=table(within), date=DAYS[-1])) == 3


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda close: close.where(close != 201.0), "bars.suspended"),
        (lambda close: close * 0.0, "bars.adjustment"),
        (lambda close: close.where(close != 201.0, 0.0), "bars.adjustment"),
        (lambda close: close.where(close != 201.0, np.inf), "bars.adjustment"),
        (lambda close: -close, "bars.adjustment"),
    ],
    ids=["missing", "zeros", "zero", "infinite", "negative"],
)
def test_values_that_are_no_prices_are_refused(bundle: alphaseal.Bundle, change: Any, code: str) -> None:
    """A price that the training had and the bars lack, and one that is no positive multiple of it."""
    error = refused(bundle, table(factors()), bars=table(frame().assign(close=lambda rows: change(rows["close"]))))
    assert (error.code, error.exit) == (code, 18)


def test_suspended_days_that_were_filled_are_refused() -> None:
    """A day without values in training is one without values, or without a row; prices of the day before are refused."""
    fields = ("close", "volume")
    golden = FeatureBlock(
        np.array(DAYS[:3], "datetime64[D]"),
        pa.array(["SH600000"] * 3),
        np.array([[10.0, 5.0], [np.nan, np.nan], [11.0, 5.0]]),
        (),
    )
    rows = pd.DataFrame({"datetime": DAYS[:3], "instrument": "SH600000", "close": [10.0, np.nan, 11.0]})
    rows["volume"] = [5.0, np.nan, 5.0]
    others = rows.assign(instrument="SH600001")
    for given in (rows, pd.concat([rows.dropna(), others])):
        assert compare(BarSource.of(table(given), fields), golden).warnings == ()
    for filled in (rows.ffill(), rows.fillna({"volume": 0.0})):
        with pytest.raises(InputError) as error:
            compare(BarSource.of(table(filled), fields), golden)
        assert error.value.code == "bars.suspended"
        assert f"SH600000 on {DAYS[1]}" in str(error.value)
        assert "suspended" in str(error.value.next_step)


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ([DAYS[0], *DAYS[2:]], "2024-01-03"),
        ([datetime.date(2023, 12, 29), *DAYS[1:]], "2024-01-02"),
        ([*DAYS[:2], *DAYS[3:]], "2024-01-04"),
        ([datetime.date(2023, 12, 29), *DAYS[3:]], "2024-01-02"),
    ],
    ids=["middle", "first", "last", "all"],
)
def test_days_of_the_golden_bars_are_those_of_the_table(
    bundle: alphaseal.Bundle, days: list[Any], message: str, tmp_path: Path
) -> None:
    """A golden day that the table goes over without a row is named; one before its first day is not asked for."""
    rows = frame()
    parts = [
        rows[rows["datetime"] == DAYS[0]].assign(datetime=day) if day not in DAYS else rows[rows["datetime"] == day]
        for day in days
    ]
    pq.write_table(table(pd.concat(parts)), tmp_path / "bars.parquet", row_group_size=3)
    for bars in (table(pd.concat(parts)), tmp_path / "bars.parquet"):
        error = refused(bundle, table(factors()), bars=bars)
        assert (error.code, error.exit) == ("bars.calendar", 18)
        assert error.expected == f"rows on {message}, as in the golden bars"


def test_day_that_the_golden_bars_have_not_is_refused() -> None:
    """A row on a weekend between golden days is no trading day."""
    rows = frame(DAYS[2:6])
    golden = BarSource.of(table(rows), FIELDS).read_range(np.datetime64(DAYS[2]), np.datetime64(DAYS[5]))
    assert golden is not None
    weekend = rows[rows["datetime"] == DAYS[3]].assign(datetime=datetime.date(2024, 1, 6))
    with pytest.raises(InputError) as error:
        compare(BarSource.of(table(pd.concat([rows, weekend])), FIELDS), golden)
    assert (error.value.code, error.value.expected) == ("bars.calendar", "no rows on 2024-01-06")
    assert compare(BarSource.of(table(frame(DAYS[3:])), FIELDS), golden).warnings == ()


def test_day_that_only_the_features_have_is_refused(windows: alphaseal.Bundle) -> None:
    """Features of a day in the window on which there are no bars at all: the bars lack a trading day."""
    rows = frame([day for day in DAYS if day != DAYS[-2]])
    error = refused(windows, table(factors()), bars=table(rows))
    assert (error.code, error.expected) == ("bars.calendar", f"rows on {DAYS[-2]}")


def test_prices_have_one_factor_together() -> None:
    """Open and close adjusted by different factors are a break, each alone is not."""
    fields = ("open", "close")
    values = np.full((3, 2), 10.0)
    days = np.array(DAYS[:3], "datetime64[D]")
    rows = pd.DataFrame({"datetime": DAYS[:3], "instrument": "SH600000", "open": 10.0, "close": 10.0})
    golden = FeatureBlock(days, pa.array(["SH600000"] * 3), values, ())
    source = BarSource.of(table(rows.assign(open=20.0, close=20.0)), fields)
    assert compare(source, golden).warnings == ()
    with pytest.raises(InputError) as error:
        compare(BarSource.of(table(rows.assign(close=20.0)), fields), golden)
    assert error.value.code == "bars.adjustment"


def test_unadjusted_split_is_a_warning(bundle: alphaseal.Bundle) -> None:
    """A price that halves while the volume doubles is named; one that halves alone is not."""
    rows = frame(DAYS[WINDOW:])
    split = (rows["instrument"] == "SH600001") & (rows["datetime"] >= DAYS[-2])
    rows.loc[split, "close"] *= 0.5
    quiet = bundle.score(table(factors()), bars=table(rows), date=DAYS[-1])
    rows.loc[split, "volume"] *= 2
    loud = bundle.score(table(factors()), bars=table(rows), date=DAYS[-1])
    assert len(loud.warnings) == len(quiet.warnings) + 1
    assert "SH600001 on 2024-01-10" in loud.warnings[-1]


# --- self-test --------------------------------------------------------------------------------------------------------


def test_selftest_reports_the_alpha_features(bundle: alphaseal.Bundle) -> None:
    """All features of all golden stocks are compared and counted."""
    report = bundle.selftest()
    assert report.alphas is not None
    assert (report.alphas.stocks, report.alphas.features, report.alphas.bit_identical) == (3, 3, 9)
    assert report.alphas.largest == 0.0


def test_wrong_alpha_feature_stops_the_first_score(tmp_path: Path) -> None:
    """Golden bars that give another value are refused before anything is scored from bars, and by the self-test."""
    bundle = opened(write_bundle(tmp_path / "bundle", bars=golden_bars(close=lambda rows: rows["close"] + 1e-3)))
    with pytest.raises(SelfTestError) as error:
        bundle.score(table(factors()), bars=table(frame()), date=DAYS[-1])
    assert error.value.code == "selftest.alphas"
    with pytest.raises(SelfTestError):
        bundle.selftest()
    values = factors().assign(CLOSE=1.0, ROC1=1.0, LENGTH=1.0)
    assert len(bundle.score(table(values), date=DAYS[-1])) == 3


def test_tolerance_is_that_of_the_manifest(tmp_path: Path) -> None:
    """A difference within the feature's tolerance passes, and is reported in parts of it."""
    other = golden_bars(close=lambda rows: rows["close"] + 0.5)
    bundle = opened(write_bundle(tmp_path / "bundle", bars=other, edit={"tolerances": [1.0, 1.0, 0.0]}))
    report = bundle.selftest().alphas
    assert report is not None
    assert report.largest == 0.5
    assert 0 < report.bit_identical < 9


def test_missing_value_is_only_near_a_missing_one(tmp_path: Path) -> None:
    """NaN on one side is outside every tolerance."""
    bars = golden_bars(close=lambda rows: rows["close"].where(rows["datetime"] != DAYS[1]))
    bundle = opened(write_bundle(tmp_path / "bundle", bars=bars, edit={"tolerances": [1e9, 1e9, 1e9]}))
    with pytest.raises(SelfTestError, match="ROC1"):
        bundle.selftest()


@pytest.mark.parametrize(
    ("bars", "edit", "code"),
    [
        (golden_bars().slice(0, 8), {"golden_rows": 9}, "data.schema"),
        (golden_bars().drop(["volume"]), {}, "data.schema"),
        (golden_bars(), {"date": "2024-01-05"}, "golden.bars"),
        (
            golden_bars(instrument=lambda rows: rows["instrument"].str.replace("SH600000", "SH600009")),
            {},
            "golden.bars",
        ),
        (golden_bars(instrument="SH600000"), {}, "golden.keys"),
        (golden_bars(datetime=None), {}, "golden.keys"),
    ],
)
def test_golden_bars_of_another_kind_are_refused(tmp_path: Path, bars: pa.Table, edit: Any, code: str) -> None:
    """Other rows, columns, dates or stocks than the manifest and the golden rows have."""
    bundle = opened(write_bundle(tmp_path / "bundle", bars=bars, edit=edit))
    with pytest.raises(PolicyError) as error:
        bundle.selftest()
    assert error.value.code == code


# --- command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A bundle, bars and factors in one folder."""
    write_bundle(tmp_path / "bundle")
    pq.write_table(table(frame()), tmp_path / "bars.parquet")
    pq.write_table(table(factors()), tmp_path / "features.parquet")
    return tmp_path


def run(files: Path, *arguments: str) -> int:
    places = [str(files / name) if name.endswith(".parquet") else name for name in arguments]
    return cli.main(["score", str(files / "bundle"), "--allow-unsigned", "--json", *places])


def test_command_scores_bars(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One day and a range through the command line give the scores of the library."""
    assert run(files, "--bars", "bars.parquet", "--features", "features.parquet", "--date", "2024-01-11") == 0
    rows = json.loads(capsys.readouterr().out)["result"]["rows"]
    assert {row["instrument"]: row["score"] for row in rows} == by_stock(
        opened(files / "bundle").score(files / "features.parquet", bars=files / "bars.parquet", date=DAYS[-1])
    )
    assert run(files, "--bars", "bars.parquet", "--features", "features.parquet", "--dates", ":") == 0
    assert json.loads(capsys.readouterr().out)["result"]["dates"] == len(DAYS) - WINDOW + 1


def test_command_says_warnings(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was noticed in the bars is in the result, once."""
    pq.write_table(table(frame(DAYS[WINDOW:])), files / "bars.parquet")
    run(files, "--bars", "bars.parquet", "--features", "features.parquet", "--dates", "2024-01-09:")
    (warning,) = json.loads(capsys.readouterr().out)["result"]["warnings"]
    assert "price adjustment" in warning


def test_command_needs_features_or_bars(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither is a wrong use."""
    assert run(files, "--date", "2024-01-11") == 2
    assert json.loads(capsys.readouterr().out)["code"] == "usage.features"


def test_show_and_selftest_know_the_graph(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`show` says which bars are needed, `selftest` how near the alpha features are, `verify` counts the files."""
    place = str(files / "bundle")
    assert cli.main(["show", place]) == 0
    assert "bars       3 features from close, volume of 3 days" in capsys.readouterr().out
    assert cli.main(["selftest", place, "--allow-unsigned"]) == 0
    assert "3 alpha features of 3 stocks from bars" in capsys.readouterr().out
    assert cli.main(["verify", place, "--allow-unsigned"]) == 0
    assert "4 files" in capsys.readouterr().out


def test_history_of_bars_is_no_row(bundle: alphaseal.Bundle) -> None:
    """Features of days before the one asked for are not scored, nor named as left out."""
    scores = bundle.score(table(factors()), bars=table(frame()), date=DAYS[-1])
    assert (scores.dates(), scores.excluded.num_rows) == (1, 0)
