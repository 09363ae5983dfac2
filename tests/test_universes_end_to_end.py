"""Who is a stock, and days without trade, on real runs: qlib's own predictions are the judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal.cli import main as alphaseal_command
from alphaseal.errors import InputError
from alphaseal.format.manifest import universe_digest
from alphaseal.scoring.scores import Scores
from alphaseal_converter.build import build
from bundles import direct_request, factor_plain_bundle, factor_plain_request
from crossing import INDEX, LIVE, RECORDED, bars, bundle, moving, provider, right, whole_provider
from raising import refusal


def table(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows, preserve_index=False)


def score(case: str, date: str, rows: pd.DataFrame | None = None, **choices: Any) -> Scores:
    """Of bars in the training's units; alpha features of these runs are ratios or volume over volume."""
    given = bars() if rows is None else rows
    given = given[given["datetime"] <= pd.Timestamp(date)]
    return bundle(case).score(bars=table(given), date=date, **choices)


def scores_of(found: Scores) -> dict[str, float]:
    return dict(zip(found.table["instrument"].to_pylist(), found.table["score"].to_pylist(), strict=True))


def excluded(found: Scores) -> dict[str, str]:
    return dict(zip(found.excluded["instrument"].to_pylist(), found.excluded["reason"].to_pylist(), strict=True))


def check(found: Scores, case: str, date: str) -> None:
    """Bit for bit qlib's scores, of every stock that has one; the others are named."""
    wanted, given = right(case, date), scores_of(found)
    assert {name: wanted[name] for name in given} == given
    assert set(wanted) - set(given) <= set(excluded(found))
    assert len(given) > 30


def refused(code: str, case: str, date: str, rows: pd.DataFrame | None = None, **choices: Any) -> InputError:
    error = refusal(InputError, score, case, date, rows, **choices)
    assert error.code == code
    return error


# --- what is recorded ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_universes_are_recorded(market: Path, tmp_path: Path) -> None:
    """Kind, days, count, digest and members of the market; the factors saw stocks alone, though the provider has an index."""
    known = bundle("moving_market").manifest.data.universes
    assert known is not None
    assert known.model is not None
    assert (known.model.kind, known.model.first, known.model.last) == ("market", "2019-01-02", "2021-12-03")
    assert known.model.members is not None
    assert known.model.sha256 == universe_digest(known.model.members)
    assert known.model.count == len({line.split(" ")[0] for line in known.model.members}) == 61
    assert (known.context, known.until) == ([INDEX], "2021-11-30")
    assert (known.factor, known.factor_missing) == (None, "no feature of the model was computed by code")
    everything = bundle("everything").manifest.data.universes
    assert everything is not None
    assert everything.model is not None
    assert (everything.model.kind, everything.model.count, everything.boards["SH00"]) == ("all", 63, 1)
    made = build(factor_plain_request(tmp_path / "bundle", provider=market)).manifest.data.universes
    assert made is not None
    assert made.factor is not None
    assert made.factor.kind == "all"
    assert "without 1 whose kind the factor table does not have" in made.factor.text
    assert made.model is not None
    assert (made.factor.sha256, made.factor.members) == (made.model.sha256, None)


def test_without_market_data_the_reason_is_recorded() -> None:
    """No universe, no conventions, no calendar; kinds of codes and the benchmark are known all the same."""
    data = alphaseal.open(factor_plain_bundle(), trust=alphaseal.Trust.unsigned()).manifest.data
    assert data.universes is not None
    assert data.universes.model is None
    assert data.universes.factor is None
    assert "--provider" in str(data.universes.model_missing)
    assert data.universes.boards == {"SH60": 29, "SZ00": 31}
    assert data.universes.context == [INDEX]
    assert data.calendar is None


def test_conventions_are_those_of_the_files() -> None:
    """Counts of the training segment, of stocks and not of the index, whatever the market's spans."""
    for case in ("moving_market", "everything"):
        alphas = bundle(case).manifest.alphas
        assert alphas is not None
        assert alphas.conventions is not None
        (said,) = alphas.conventions
        assert (said.first, said.last, said.days, said.stock_days) == ("2019-01-02", "2020-12-31", 20, 28684)
        assert (said.absent, said.empty, said.repeated.rows, said.stale.rows) == (0, 365, 0, 0)
        assert said.without_volume.rows > 0


# --- each stage sees its own universe --------------------------------------------------------------------------------------


def test_a_stage_sees_the_market_of_the_day() -> None:
    """Bars of everything, the index too: the scores of a recorded day are qlib's, and no one else has one."""
    found = score("moving_market", RECORDED)
    check(found, "moving_market", RECORDED)
    assert excluded(found)[INDEX] == "context_only"
    outside = {name for name in bars()["instrument"].unique() if name not in right("moving_market", RECORDED)}
    assert {name for name, reason in excluded(found).items() if reason == "not_in_universe"} == outside - {INDEX}
    assert found.warnings == ()


def test_a_live_day_of_a_market_needs_its_stocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After the record the market's own file gives qlib's scores; without it, or with another one, nothing is scored."""
    error = refused("universe.needed", "moving_market", LIVE)
    assert "moving" in str(error)
    check(score("moving_market", LIVE, universe=moving()), "moving_market", LIVE)
    members = sorted(right("moving_market", LIVE))
    check(score("moving_market", LIVE, universe=members), "moving_market", LIVE)
    everybody = {code: [("2005-01-01", "2030-12-31")] for code in moving()}
    refused("universe.differs", "moving_market", LIVE, universe=everybody)
    refused("universe.differs", "moving_market", RECORDED, universe=sorted(moving()))
    path, market = tmp_path / "bars.parquet", str(whole_provider() / "instruments/moving.txt")
    pq.write_table(table(bars()), path)
    command = ["score", str(bundle("moving_market").directory), "--allow-unsigned", "--bars", str(path), "--json"]
    capsys.readouterr()
    assert alphaseal_command([*command, "--date", LIVE]) == 18
    assert json.loads(capsys.readouterr().out)["code"] == "universe.needed"
    assert alphaseal_command([*command, "--date", LIVE, "--universe", market]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["scored"] == len(
        scores_of(score("moving_market", LIVE, universe=moving()))
    )


def test_an_index_that_the_stages_saw_is_there_and_is_not_ranked() -> None:
    """Where the market held the benchmark it changes the stocks' scores, so it must be in the bars; it gets no score."""
    for date in (RECORDED, LIVE):
        found = score("everything", date)
        check(found, "everything", date)
        assert excluded(found)[INDEX] == "context_only"
        stocks = bars()[bars()["instrument"] != INDEX]
        assert INDEX in str(refused("universe.incomplete", "everything", date, stocks))


def test_notation_of_a_vendor() -> None:
    """Bars in the other notation, index and all, which is named."""
    rows = bars().assign(instrument=bars()["instrument"].str[2:] + "." + bars()["instrument"].str[:2])
    found = score("everything", RECORDED, rows, instruments_from="ts")
    check(found, "everything", RECORDED)
    assert excluded(found)[INDEX] == "context_only"


@pytest.mark.parametrize("code", ["SZ399001", "SH510300", "SZ159915", "SH113050", "SH900901", "BJ830799"])
def test_other_kinds_change_nothing(code: str) -> None:
    """Another index, funds, a bond, a share in dollars, another exchange: named, and the others' scores are qlib's."""
    more = bars()[bars()["instrument"] == "SH601008"].assign(instrument=code, volume=5e8)
    found = score("everything", LIVE, pd.concat([bars(), more]))
    check(found, "everything", LIVE)
    assert excluded(found)[code] == "other_kind"


def test_a_stock_listed_since_enters_everything_and_is_named() -> None:
    """On a day after the run a new stock has a score and changes those of others: a warning names it; before it has none."""
    new = bars()[(bars()["instrument"] == "SH601008") & (bars()["datetime"] >= pd.Timestamp("2021-12-01"))]
    rows = pd.concat([bars(), new.assign(instrument="SH605999", close=new["close"] * 1.001)])
    found = score("everything", LIVE, rows)
    assert "SH605999" in scores_of(found)
    assert any("SH605999" in warning for warning in found.warnings)
    assert found.notes
    old = score(
        "everything",
        "2021-11-30",
        pd.concat([bars(), bars()[bars()["instrument"] == "SH601008"].assign(instrument="SH605999")]),
    )
    check(old, "everything", "2021-11-30")
    assert excluded(old)["SH605999"] == "not_in_universe"


def test_half_of_the_market_is_no_market() -> None:
    """A stage across stocks needs nearly all of them."""
    names = sorted(bars()["instrument"].unique())[::2]
    refused("universe.incomplete", "everything", RECORDED, bars()[bars()["instrument"].isin([*names, INDEX])])


def test_ranges_and_streams_are_the_days(tmp_path: Path) -> None:
    """A range and a stream of parts give each day's own scores and exclusions."""
    path = tmp_path / "bars.parquet"
    pq.write_table(table(bars()), path, row_group_size=700)
    dates = ("2021-11-26", "2021-12-08")
    whole = bundle("moving_market").score(bars=table(bars()), dates=dates, universe=moving())
    parts = list(bundle("moving_market").score_stream(bars=path, dates=dates, universe=moving()))
    assert pa.concat_tables([part.table for part in parts]).equals(whole.table)
    assert pa.concat_tables([part.excluded for part in parts]).equals(whole.excluded)
    for date in ("2021-11-26", "2021-12-03", "2021-12-08"):
        day = score("moving_market", date, universe=moving())
        rows = whole.table.to_pylist()
        assert [row for row in rows if str(row["datetime"]) == date] == day.table.to_pylist()


# --- days without trade ---------------------------------------------------------------------------------------------------


def _filled(rows: pd.DataFrame, names: list[str] | None = None) -> pd.DataFrame:
    ordered = rows.sort_values(["instrument", "datetime"])
    fields = [name for name in rows.columns if name not in ("datetime", "instrument")]
    empty = ordered[fields].isna().all(axis=1)
    chosen = empty if names is None else empty & ordered["instrument"].isin(names)
    ordered.loc[chosen, fields] = ordered.groupby("instrument")[fields].ffill()[chosen]
    return ordered.sort_values(["datetime", "instrument"])


def test_a_filled_suspension_refuses_the_day_of_a_stage_across_stocks() -> None:
    """One stock of 62 with filled days is enough, whichever way it comes in; suspensions without values are taken."""
    date, checked = "2021-12-30", "2021-12-24"
    recent = bars()[bars()["datetime"] > pd.Timestamp("2021-12-02")]
    suspended = sorted(recent["instrument"][recent["close"].isna()].unique())
    assert suspended
    error = refused("bars.suspended", "everything", date, _filled(bars(), suspended[:1]))
    assert suspended[0] in str(error)
    assert 'nan_policy="none"' in str(error.next_step)
    check(score("everything", checked, bars().dropna(subset=["close"])), "everything", checked)


@pytest.mark.case("benchmark_index_scored")
def test_the_benchmark_is_no_stock_of_a_row_model_either(market: Path, tmp_path: Path) -> None:
    """Scored from the run's own provider, the index has no score and the 62 stocks have those that they have without it."""
    built = build(direct_request("lgb_alpha158_filter", tmp_path / "bundle", features=None, provider=market))
    opened = alphaseal.open(built.path, trust=alphaseal.Trust.unsigned())
    alone = opened.score(bars=table(bars()[bars()["instrument"] != INDEX]), date="2021-12-24")
    found = opened.score(bars=table(bars()), date="2021-12-24")
    assert found.table.equals(alone.table)
    assert excluded(found) == excluded(alone) | {INDEX: "context_only"}
    assert found.warnings == alone.warnings == ()


@pytest.mark.case("bars_filled_forward")
@pytest.mark.parametrize("way", ["day", "range", "stream"])
def test_filled_stocks_of_single_rows_are_named(way: str, market: Path, tmp_path: Path) -> None:
    """A model of single rows scores the others as qlib did; filled stocks have no score, on the dates that look at them."""
    built = build(direct_request("lgb_alpha158_filter", tmp_path / "bundle", features=None, provider=market))
    opened = alphaseal.open(built.path, trust=alphaseal.Trust.unsigned())
    # Before the golden days, which would show it by themselves.
    date, dates = "2021-08-12", ("2021-08-10", "2021-08-12")
    stocks = bars()[(bars()["instrument"] != INDEX) & (bars()["datetime"] <= pd.Timestamp(date))]
    filled = _filled(stocks)
    choices: dict[str, Any] = {"anchors": opened.anchor(table(bars()[bars()["instrument"] != INDEX]))}
    if way == "day":
        right_scores = opened.score(bars=table(stocks), date=date, **choices)
        found = opened.score(bars=table(filled), date=date, **choices)
    elif way == "range":
        right_scores = opened.score(bars=table(stocks), dates=dates, **choices)
        found = opened.score(bars=table(filled), dates=dates, **choices)
    else:
        paths = tmp_path / "right.parquet", tmp_path / "filled.parquet"
        for path, rows in zip(paths, (stocks, filled), strict=True):
            pq.write_table(table(rows), path, row_group_size=700)
        tables = [list(opened.score_stream(bars=path, dates=dates, **choices)) for path in paths]
        right_scores, found = (parts[0] for parts in tables)
    keys = ("datetime", "instrument")
    wanted = {tuple(row[key] for key in keys): row["score"] for row in right_scores.table.to_pylist()}
    given = {tuple(row[key] for key in keys): row["score"] for row in found.table.to_pylist()}
    left_out = {
        tuple(row[key] for key in keys) for row in found.excluded.to_pylist() if row["reason"] == "bars.suspended"
    }
    assert {key: wanted[key] for key in given} == given
    assert set(wanted) - set(given) <= left_out
    (warning,) = (text for text in found.warnings if "bars.suspended" in text)
    assert 'nan_policy="none"' in warning
    assert not any("bars.suspended" in text for text in right_scores.warnings)
    looked_at = stocks[stocks["datetime"].isin(sorted(stocks["datetime"].unique())[-63:])]
    assert {name for _, name in left_out} == set(looked_at["instrument"][looked_at["close"].isna()])


def test_a_stock_that_begins_late_has_no_score() -> None:
    """Rows of a stock that was listed before begin within the window: its first days are not known, so it is left out."""
    date, name = "2021-12-01", "SH601008"
    assert name in right("everything", date)
    cut = bars()[(bars()["instrument"] != name) | (bars()["datetime"] >= pd.Timestamp("2021-11-20"))]
    error = refused("bars.suspended", "everything", date, cut)
    assert name in str(error)


def test_a_trading_day_that_is_missing_is_refused() -> None:
    """The record knows the market's days: a whole day without rows, or with rows that it should not have, is no table."""
    lost = bars()[bars()["datetime"] != pd.Timestamp("2021-11-17")]
    assert "2021-11-17" in str(refused("bars.calendar", "everything", RECORDED, lost))
    weekend = bars()[bars()["datetime"] == pd.Timestamp("2021-11-19")].assign(datetime=pd.Timestamp("2021-11-20"))
    assert "2021-11-20" in str(refused("bars.calendar", "everything", RECORDED, pd.concat([bars(), weekend])))
    assert np.datetime64("2021-11-17") in np.loadtxt(provider() / "calendars/day.txt", "datetime64[D]")
