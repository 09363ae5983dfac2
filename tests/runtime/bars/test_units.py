"""Units of a caller's bars: what shows them, what contradicts them, and what is kept of a source."""

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
from alpha_bundles import DAYS, FIELDS, STOCKS, WINDOW, frame, golden_bars, write_bundle
from alphaseal import cli, sources
from alphaseal.bars import units
from alphaseal.errors import AlphasealError, InputError, UsageError
from alphaseal.format import manifest as m
from alphaseal.scoring import selftest
from alphaseal.tables.features import FeatureBlock
from raising import refusal

GOLDEN, LATER = DAYS[:WINDOW], DAYS[WINDOW:]
SIZES = m.Sizes(low=90.0, median=200.0, high=400.0)


@pytest.fixture(autouse=True)
def nothing_is_proven() -> None:
    """Every test is a process that has scored nothing yet."""
    selftest._PASSED.clear()


def unit(**changes: Any) -> m.FieldUnit:
    """Of a field whose every constant the feature CLOSE sees."""
    said: dict[str, Any] = {
        "seen_by": ["CLOSE"],
        "exact": ["CLOSE"],
        "alike": [],
        "smallest": None,
        "largest": None,
        "sizes": None,
    }
    return m.FieldUnit(**(said | changes))


def bundle_of(folder: Path, **fields: m.FieldUnit) -> alphaseal.Bundle:
    """The small bundle with graph, which says this of the units of its fields."""
    path = write_bundle(folder / "bundle", edit={"units": dict(sorted(fields.items()))})
    return alphaseal.open(path, trust=alphaseal.Trust.unsigned())


@pytest.fixture
def bundle(tmp_path: Path) -> alphaseal.Bundle:
    return bundle_of(tmp_path, close=unit())


def table(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows, preserve_index=False)


def factors(rows: pd.DataFrame) -> pa.Table:
    return table(rows[["datetime", "instrument"]].assign(REV=0.25))


def scored(bundle: alphaseal.Bundle, rows: pd.DataFrame, **choices: Any) -> alphaseal.Scores:
    return bundle.score(factors(frame()), bars=table(rows), **({"date": DAYS[-1]} | choices))


def refused(bundle: alphaseal.Bundle, rows: pd.DataFrame, **choices: Any) -> AlphasealError:
    return refusal(InputError, scored, bundle, rows, **choices)


def times(rows: pd.DataFrame, factor: float, **where: Any) -> pd.DataFrame:
    """The close times a factor, of the rows with these keys (all: none)."""
    chosen = np.ones(len(rows), bool)
    for name, value in where.items():
        chosen &= (rows[name] == value).to_numpy()
    return rows.assign(close=rows["close"] * np.where(chosen, factor, 1.0))


# --- by the table itself --------------------------------------------------------------------------------------------------


def test_golden_days_in_the_table_show_the_units(bundle: alphaseal.Bundle) -> None:
    """All golden stocks on golden days at ratio 1: scored, without a word, and the result says what showed it."""
    scores = scored(bundle, frame())
    assert (len(scores), scores.warnings, dict(scores.units)) == (3, (), {"close": units.BY_DAYS})


def test_nothing_is_asked_where_nothing_is_seen(tmp_path: Path) -> None:
    """A bundle whose features see no unit scores tables without golden days, with the warning it always had."""
    edits: tuple[dict[str, Any], ...] = ({"units": {}}, {"units": None})
    for number, said in enumerate(edits):
        path = write_bundle(tmp_path / str(number), edit=said)
        other = alphaseal.open(path, trust=alphaseal.Trust.unsigned())
        scores = scored(other, times(frame(LATER), 7.0))
        assert [warning[:37] for warning in scores.warnings] == ["the price adjustment of the bars coul"]
        assert scores.units == {}


def test_a_bundle_of_format_1_0_asks_for_nothing(tmp_path: Path) -> None:
    """It records no units: scored as before, and the warning of opening names the guard that it lacks."""
    path = write_bundle(tmp_path / "bundle", edit={"units": {"close": unit()}}, format=m.FIRST_FORMAT)
    bundle = alphaseal.open(path, trust=alphaseal.Trust.unsigned())
    assert any("units" in warning for warning in bundle.warnings)
    assert bundle.manifest.alphas is not None
    assert bundle.manifest.alphas.units is None
    assert len(scored(bundle, times(frame(), 2.0))) == len(scored(bundle, times(frame(LATER), 2.0))) == 3


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (frame(LATER), "0 such stocks"),
        (frame(DAYS[WINDOW - 1 :]), "0 such stocks"),
        (frame(stocks=STOCKS[:2]), "2 such stocks"),
        (pd.concat([frame(LATER), frame(stocks=STOCKS[:1]).head(WINDOW)]), "1 such stocks"),
    ],
)
def test_too_little_shows_nothing(bundle: alphaseal.Bundle, rows: pd.DataFrame, found: str) -> None:
    """No golden day, one of them, or fewer golden stocks than there are: refused, with anchors as the next step."""
    calendar = {"calendar": np.array(DAYS, "datetime64[D]")} if found[0] == "1" else {}
    error = refused(bundle, rows, **calendar) if not calendar else refused(bundle, rows)
    assert (error.code, error.exit, error.found) == ("bars.units_unproven", 18, found)
    assert "--anchors FILE" in str(error.next_step)
    assert "2024-01-02 to 2024-01-04" in str(error.next_step)


def test_a_field_that_is_zero_or_missing_on_golden_days_is_not_shown(tmp_path: Path) -> None:
    """Ratios of zeros are none: nothing shows the volume, and the golden bars could not show it either."""
    nothing = golden_bars(volume=0.0)
    path = write_bundle(tmp_path / "bundle", bars=nothing, edit={"units": {"volume": unit()}})
    bundle = alphaseal.open(path, trust=alphaseal.Trust.unsigned())
    error = refused(bundle, frame().assign(volume=0.0))
    assert (error.code, error.expected is not None) == ("bars.units_unproven", True)
    assert str(error.next_step).startswith("--units-as-trained")


# --- wrong units ------------------------------------------------------------------------------------------------------------


def test_another_unit_of_all_stocks_is_named_with_its_factor(tmp_path: Path) -> None:
    """Lots of 100 for shares: the field, the ratio, what it looks like, and what mends it."""
    bundle = bundle_of(tmp_path, volume=unit())
    error = refused(bundle, frame().assign(volume=lambda rows: rows["volume"] / 100))
    assert (error.code, error.where) == ("bars.units", "the bars, volume")
    assert error.found == "0.01 times for all stocks: lots of 100?"
    assert error.next_step == "multiply volume by 100"


def test_a_constant_of_each_stock_is_refused(bundle: alphaseal.Bundle) -> None:
    """Yuan for normalised prices: smallest and largest ratio with their stocks."""
    place = frame()["instrument"].map({name: 2.0 + n for n, name in enumerate(STOCKS)})
    error = refused(bundle, frame().assign(close=frame()["close"] * place))
    assert (error.code, error.found) == ("bars.units", "2 times for SH600000, 4 times for SZ000001")


@pytest.mark.parametrize("factor", [1.0001, 0.5])
def test_one_stock_with_another_constant_is_refused(bundle: alphaseal.Bundle, factor: float) -> None:
    """One of all that are shown suffices, however many others are right, also where it is seen on one day only."""
    error = refused(bundle, times(frame(), factor, instrument="SH600001"))
    assert error.code == "bars.units"
    assert "SH600001" in str(error.found)
    assert refused(bundle, times(frame(), factor, instrument="SH600001"), units_as_trained=True).code == "bars.units"
    short = pd.concat([frame(DAYS[WINDOW - 1 :])])
    assert refused(bundle, times(short, factor, instrument="SH600001")).code == "bars.units"


def test_rounding_of_float32_is_no_other_unit(bundle: alphaseal.Bundle) -> None:
    """The last bits of a price may be others."""
    assert len(scored(bundle, times(frame(), 1.0 + 1e-6))) == 3


def test_common_constants_are_right_where_a_stage_takes_them_out(tmp_path: Path) -> None:
    """Where only the constant of a single stock is seen, all stocks may have one and the same, and no other."""
    bundle = bundle_of(tmp_path, close=unit(exact=[], alike=["CLOSE"], sizes=SIZES))
    assert len(scored(bundle, times(frame(), 100.0))) == 3
    error = refused(bundle, times(times(frame(), 100.0), 1.01, instrument="SZ000001"))
    assert (error.code, error.expected) == ("bars.units", "one multiple of the training's for all stocks")
    assert refused(bundle, times(frame(LATER), 100.0)).code == "bars.units_unproven"


def test_constants_beyond_those_that_were_tried_are_refused(tmp_path: Path) -> None:
    """A feature that is a ratio for constants from a quarter to 16 is none for 20; nothing need be shown of it."""
    bundle = bundle_of(tmp_path, close=unit(seen_by=[], exact=[], smallest=0.25, largest=16.0))
    assert len(scored(bundle, times(frame(), 16.0))) == 3
    assert len(scored(bundle, frame(LATER))) == 3
    error = refused(bundle, times(frame(), 20.0))
    assert (error.code, error.expected) == ("bars.units", "from 0.25 to 16 times the values of the training")


def test_a_quantity_that_is_small_must_be_shown_within_its_range(tmp_path: Path) -> None:
    """Of Log($volume+1) a base of adjustment may be another one, as far as was tried; nothing but golden bars shows that."""
    bundle = bundle_of(tmp_path, close=unit(exact=[], smallest=0.25, largest=16.0, sizes=SIZES))
    assert len(scored(bundle, times(times(frame(), 0.8, instrument="SH600001"), 3.0, instrument="SZ000001"))) == 3
    assert refused(bundle, times(frame(), 0.01)).code == "bars.units"
    assert refused(bundle, frame(LATER)).code == "bars.units_unproven"
    anchors = table(times(frame(GOLDEN), 16.0, instrument="SH600001"))
    assert len(scored(bundle, times(frame(LATER), 16.0, instrument="SH600001"), anchors=anchors)) == 3


# --- sizes -----------------------------------------------------------------------------------------------------------------


def many(days: list[Any], factor: float = 1.0) -> pd.DataFrame:
    """Bars of six stocks, three of them not golden."""
    more = tuple(f"SH60100{place}" for place in range(3))
    return times(frame(days, (*STOCKS, *more)), factor)


def test_sizes_refuse_what_is_clearly_another_unit(tmp_path: Path) -> None:
    """A hundredth of the usual size is refused even with anchors; a size shows nothing by itself."""
    bundle = bundle_of(tmp_path, close=unit(sizes=SIZES))
    anchors = table(frame(GOLDEN))
    error = refused(bundle, many(LATER, 0.01), anchors=anchors)
    assert (error.code, error.where) == ("bars.units", "the bars, close on 2024-01-11")
    assert "about 0.018 times that" in str(error.found)
    assert refused(bundle, many(LATER)).code == "bars.units_unproven"
    assert len(scored(bundle, many(LATER, 3.0), anchors=anchors)) == 6
    assert len(scored(bundle, times(frame(LATER), 0.01), anchors=anchors)) == 3  # too few stocks to say


def test_sizes_are_told_where_the_caller_knows(tmp_path: Path) -> None:
    """With units as trained a strange size is a warning, beside the one that nothing showed them."""
    bundle = bundle_of(tmp_path, close=unit(sizes=SIZES))
    scores = scored(bundle, many(LATER, 0.01), units_as_trained=True)
    assert any("has another size than in the training" in warning for warning in scores.warnings)
    assert any(warning.startswith("nothing shows that close") for warning in scores.warnings)


def test_sizes_of_a_range_are_those_of_its_first_and_last_day(tmp_path: Path) -> None:
    """A source that went over to another unit in between is noticed, golden days or not."""
    bundle = bundle_of(tmp_path, close=unit(sizes=SIZES))
    rows = pd.concat([many(DAYS[:-1]), many(DAYS[-1:], 0.01)])
    error = refused(bundle, rows, date=None, dates=(DAYS[WINDOW], None))
    assert (error.code, error.where) == ("bars.units", "the bars, close on 2024-01-11")


PRICED = ("open", "high", "low", "close", "vwap")


def day_of(**changes: float) -> FeatureBlock:
    """Prices of forty stocks on a day, in order, some columns times a number."""
    low = np.linspace(1.0, 50.0, 40)
    columns = {"open": low * 1.01, "high": low * 1.03, "low": low, "close": low * 1.02, "vwap": low * 1.015}
    values: Any = np.stack([columns[name] * changes.get(name, 1.0) for name in PRICED], axis=1).astype(np.float32)
    names = pa.array([f"SH60{place:04d}" for place in range(40)])
    return FeatureBlock(np.full(40, np.datetime64("2024-01-11")), names, values, ())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"open": 1.05}, "open is above high"),
        ({"close": 100.0}, "close is above high"),
        ({"high": 0.01}, "high"),
        ({"low": 1.025}, "low is above"),
        ({"vwap": 30.0}, "vwap is above high"),
        ({"open": 0.5}, "low is above open"),
    ],
)
def test_one_price_in_another_unit_is_seen_by_the_order_of_prices(changes: dict[str, float], words: str) -> None:
    """Nothing is between low and high any more: refused, golden days or not, where the golden bars are in order."""
    with pytest.raises(InputError) as error:
        units._require_order(PRICED, day_of(), day_of(**changes))
    assert error.value.code == "bars.units"
    assert words in error.value.message
    units._require_order(PRICED, day_of(**changes), day_of(**changes))


def test_order_of_prices_is_no_matter_of_rounding_or_of_single_rows() -> None:
    """Rounded prices, one odd row, and days without any price pass."""
    units._require_order(PRICED, day_of(), day_of(open=1.0199))
    odd, empty = day_of(), day_of()
    odd.values[3] = odd.values[3][::-1].copy()
    empty.values[:] = np.nan
    units._require_order(PRICED, day_of(), odd)
    units._require_order(PRICED, day_of(), empty)
    units._require_order(PRICED, empty, day_of())


def test_prices_without_decimals_are_refused() -> None:
    """Whole numbers for every stock, in integers or floats, where the golden bars have fractions; fewer than all pass."""
    usual, whole, some = (day_of(close=1.0007) for _ in range(3))
    place = PRICED.index("close")
    whole.values[:, place] = np.rint(whole.values[:, place])
    some.values[1:, place] = np.rint(some.values[1:, place])
    with pytest.raises(InputError, match="close has whole numbers only") as error:
        units._require_fractions(PRICED, usual, whole)
    assert error.value.code == "features.precision"
    units._require_fractions(PRICED, usual, some)
    units._require_fractions(PRICED, whole, whole)


# --- anchors -----------------------------------------------------------------------------------------------------------------


def test_anchors_show_the_units_of_their_source(bundle: alphaseal.Bundle) -> None:
    """Golden stocks and days from the same source: the table without golden days is scored as one with them."""
    anchors = table(frame(GOLDEN))
    with_anchors = scored(bundle, frame(LATER), anchors=anchors)
    assert (with_anchors.warnings, dict(with_anchors.units)) == ((), {"close": units.BY_ANCHORS})
    assert with_anchors.table.equals(scored(bundle, frame()).table)
    made = bundle.anchor(anchors)
    assert made.fields["close"].stocks == 3
    assert scored(bundle, frame(LATER), anchors=made).table.equals(with_anchors.table)


def test_anchors_of_one_field_suffice_for_it(bundle: alphaseal.Bundle) -> None:
    """A file of anchors has the fields that must be shown, others need not be there."""
    assert len(scored(bundle, frame(LATER), anchors=table(frame(GOLDEN).drop(columns="volume")))) == 3
    error = refused(bundle, frame(LATER), anchors=table(frame(GOLDEN).drop(columns="close")))
    assert error.code == "bars.units_unproven"


@pytest.mark.parametrize(
    ("anchors", "code"),
    [
        (times(frame(GOLDEN), 2.0), "bars.units"),
        (times(frame(GOLDEN), 1.01, instrument="SH600001"), "bars.units"),
        (times(frame(GOLDEN), 1.01, datetime=GOLDEN[1]), "bars.adjustment"),
        (frame(GOLDEN[:1]), "bars.units_unproven"),
        (frame(GOLDEN, STOCKS[:2]), "bars.units_unproven"),
        (frame(LATER), "bars.units_unproven"),
        (frame(GOLDEN).drop(index=[3, 4, 5]), "bars.calendar"),
    ],
)
def test_anchors_that_are_others_are_refused(bundle: alphaseal.Bundle, anchors: pd.DataFrame, code: str) -> None:
    """By the rules for any bars: units, adjustment, days; too few of them show nothing."""
    assert refused(bundle, frame(LATER), anchors=table(anchors)).code == code
    with pytest.raises(InputError) as error:
        bundle.anchor(table(anchors))
    assert error.value.code == code


def test_anchors_do_not_excuse_a_table_that_is_wrong(bundle: alphaseal.Bundle) -> None:
    """Golden days in the table that contradict are refused whatever the anchors say."""
    assert refused(bundle, times(frame(), 2.0), anchors=table(frame(GOLDEN))).code == "bars.units"


def test_anchors_need_bars(bundle: alphaseal.Bundle) -> None:
    """Anchors and units as trained are about bars: without them a wrong use, in both ways of scoring."""
    values = frame().assign(CLOSE=1.0, ROC1=1.0, LENGTH=1.0, REV=0.5)
    for choices in ({"anchors": table(frame(GOLDEN))}, {"units_as_trained": True}):
        with pytest.raises(UsageError) as error:
            bundle.score(table(values), date=DAYS[-1], **choices)
        assert error.value.code == "usage.anchors"


def test_streams_ask_for_the_same(bundle: alphaseal.Bundle, tmp_path: Path) -> None:
    """A range of a file in parts: refused, shown by anchors, or taken on the caller's word."""
    pq.write_table(table(frame(LATER)), tmp_path / "bars.parquet")
    pq.write_table(factors(frame()), tmp_path / "features.parquet")
    given: dict[str, Any] = {"bars": tmp_path / "bars.parquet", "dates": (None, None)}
    choice: dict[str, Any]
    with pytest.raises(InputError) as error:
        list(bundle.score_stream(tmp_path / "features.parquet", **given))
    assert error.value.code == "bars.units_unproven"
    for choice in ({"anchors": table(frame(GOLDEN))}, {"units_as_trained": True}):
        parts = list(bundle.score_stream(tmp_path / "features.parquet", **given, **choice))
        assert {part.units["close"] for part in parts} <= {units.BY_ANCHORS, units.AS_TRAINED}
        assert sum(map(len, parts)) == 9


# --- command and store -----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(bundle: alphaseal.Bundle, tmp_path: Path) -> Path:
    """The bundle, a table without golden days, features and anchors in one folder."""
    pq.write_table(table(frame(LATER)), tmp_path / "bars.parquet")
    pq.write_table(factors(frame()), tmp_path / "features.parquet")
    pq.write_table(table(frame(GOLDEN)), tmp_path / "anchors.parquet")
    pq.write_table(table(times(frame(GOLDEN), 2.0)), tmp_path / "wrong.parquet")
    return tmp_path


def run(files: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    places = [str(files / name) if name.endswith(".parquet") or name == "store" else name for name in arguments]
    capsys.readouterr()
    cli.main([places[0], str(files / "bundle"), "--allow-unsigned", "--json", *places[1:]])
    reply: dict[str, Any] = json.loads(capsys.readouterr().out)
    return reply


SCORE = ("score", "--bars", "bars.parquet", "--features", "features.parquet", "--date", "2024-01-11")


def test_command_takes_anchors(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused without, scored with them; the result says how the units were shown."""
    assert run(files, capsys, *SCORE)["code"] == "bars.units_unproven"
    reply = run(files, capsys, *SCORE, "--anchors", "anchors.parquet")
    assert (reply["code"], reply["result"]["units"]) == ("ok", {"close": "anchors"})
    assert run(files, capsys, *SCORE, "--anchors", "wrong.parquet")["code"] == "bars.units"


def test_store_keeps_what_anchors_showed(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once for a source, by `anchor` or beside a score; another source of the store knows nothing of it."""
    source = ("--store", "store", "--source", "vendor")
    assert run(files, capsys, *SCORE, *source)["code"] == "bars.units_unproven"
    reply = run(files, capsys, "anchor", "--bars", "anchors.parquet", *source)
    assert (reply["code"], reply["result"]["units"]) == ("ok", ["close"])
    assert run(files, capsys, *SCORE, *source)["result"]["units"] == {"close": "anchors"}
    other = ("--store", "store", "--source", "other")
    assert run(files, capsys, *SCORE, *other)["code"] == "bars.units_unproven"
    assert run(files, capsys, *SCORE, *other, "--anchors", "anchors.parquet")["code"] == "ok"
    assert run(files, capsys, *SCORE, *other)["code"] == "ok"
    kept = sources.parse((files / "store/sources.json").read_bytes(), "sources.json")
    assert sorted(kept.sources) == ["other", "vendor"]


def test_store_keeps_nothing_of_wrong_anchors(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused anchors leave the store as it was."""
    source = ("--store", "store", "--source", "vendor")
    assert run(files, capsys, "anchor", "--bars", "wrong.parquet", *source)["code"] == "bars.units"
    assert not (files / "store").exists()
    run(files, capsys, "anchor", "--bars", "anchors.parquet", *source)
    before = (files / "store/sources.json").read_bytes()
    assert run(files, capsys, *SCORE, *source, "--anchors", "wrong.parquet")["code"] == "bars.units"
    assert (files / "store/sources.json").read_bytes() == before


def test_anchors_are_those_of_their_golden_bars(
    files: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A bundle with other golden bars asks again; both are kept then, and the newest of one replaces the older."""
    source = ("--store", "store", "--source", "vendor")
    run(files, capsys, "anchor", "--bars", "anchors.parquet", *source)
    run(files, capsys, "anchor", "--bars", "anchors.parquet", *source)
    ((entry,),) = sources.parse((files / "store/sources.json").read_bytes(), "").sources.values()
    assert sources.kept(files / "store", "vendor", "0" * 64) is None
    other = units.Anchors(golden="0" * 64, fields={}, last_seen=None)
    sources.keep(files / "store", "vendor", other, at="2024-02-01T00:00:00Z")
    assert sources.kept(files / "store", "vendor", "0" * 64) == other
    assert sources.kept(files / "store", "vendor", entry.anchors.golden) == entry.anchors


def test_a_source_that_restates_its_history_is_noticed_the_next_day(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prices of the day that was scored last are others now: refused until anchors show the units again."""
    source = ("--store", "store", "--source", "vendor")
    run(files, capsys, "anchor", "--bars", "anchors.parquet", *source)
    for day in ("2024-01-09", "2024-01-10"):
        reply = run(files, capsys, *SCORE[:-1], day, *source)
        assert reply["code"] == "ok"
        ((entry,),) = sources.parse((files / "store/sources.json").read_bytes(), "").sources.values()
        assert entry.anchors.last_seen is not None
        assert (entry.anchors.last_seen.date, entry.anchors.last_seen.fields) == (day, ["close"])
    before = (files / "store/sources.json").read_bytes()
    restated = times(frame(LATER), 0.99, instrument="SZ000001")
    pq.write_table(table(restated), files / "bars.parquet")
    reply = run(files, capsys, *SCORE, *source)
    assert (reply["code"], reply["where"]) == ("bars.units", "the bars, close of SZ000001 on 2024-01-10")
    assert "0.99 times" in reply["found"]
    assert (files / "store/sources.json").read_bytes() == before
    pq.write_table(table(frame([DAYS[-1], *DAYS[3:5]])), files / "bars.parquet")
    run(files, capsys, "anchor", "--bars", "anchors.parquet", *source)
    assert sources.kept(files / "store", "vendor", entry.anchors.golden).last_seen is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--store", "store"), "usage.source"),
        (("--source", "vendor"), "usage.source"),
        (("--store", "store", "--source", "../x"), "usage.source"),
        (("--anchors", "nowhere.parquet"), "features.not_readable"),
    ],
)
def test_wrong_uses_of_sources(files: Path, capsys: pytest.CaptureFixture[str], more: Any, code: str) -> None:
    """A source has a name and a store; anchors are a file that can be read."""
    assert run(files, capsys, *SCORE, *more)["code"] == code


def test_damaged_sources_are_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is kept is read strictly: version, schema, form."""
    (files / "store").mkdir()
    for data, code in (
        (b"{", "json.syntax"),
        (b'{"format": "9"}', "store.version"),
        (b'{"format": "1.0"}', "store.schema"),
    ):
        (files / "store/sources.json").write_bytes(data)
        reply = run(files, capsys, *SCORE, "--store", "store", "--source", "vendor")
        assert (reply["code"], reply["exit"]) == (code, 10)


def test_show_says_what_must_be_shown(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Below the bars: the field, and the features that see its unit."""
    assert cli.main(["show", str(files / "bundle")]) == 0
    assert "- the unit of close must be shown: seen by CLOSE" in capsys.readouterr().out


def test_units_as_trained_are_recorded(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the warnings, in the JSON result, and in the metadata of a file of scores; of no other."""
    reply = run(files, capsys, *SCORE, "--units-as-trained", "--out", "scores.parquet")
    assert reply["result"]["units"] == {"close": "as trained, not shown"}
    assert any("the caller says so" in warning for warning in reply["result"]["warnings"])
    metadata = pq.read_schema(files / "scores.parquet").metadata
    assert json.loads(metadata[b"alphaseal.units"]) == {"close": "as trained, not shown"}
    run(files, capsys, *SCORE, "--anchors", "anchors.parquet", "--out", "scores.parquet")
    assert b"alphaseal.units" not in (pq.read_schema(files / "scores.parquet").metadata or {})


# --- manifest --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", [{"open": unit()}, {"close": unit(seen_by=["REV"], exact=[])}, {"close": unit(seen_by=[])}]
)
def test_units_of_other_fields_or_features_are_refused(tmp_path: Path, said: dict[str, m.FieldUnit]) -> None:
    """Units are of the graph's fields, seen by its features; what any constant changes, one of a stock changes too."""
    path = write_bundle(tmp_path / "bundle", edit={"units": said})
    with pytest.raises(AlphasealError) as error:
        alphaseal.open(path, trust=alphaseal.Trust.unsigned())
    assert error.value.code == "manifest.alphas"


def test_ratio_is_the_median_of_a_stocks_days() -> None:
    """Per field: how many stocks have it on two days or more, and the smallest and largest of all."""
    ratios = np.full((3, 3, 2), np.nan)
    ratios[0, :, 0], ratios[1, :2, 0], ratios[2, 0, 0] = (1.0, 1.2, 1.1), (2.0, 4.0), 0.5
    from alphaseal.bars.adjustment import Comparison

    found = units.known_of(Comparison((), STOCKS, FIELDS, ratios))
    assert found["close"] == units.FieldRatios(
        stocks=2, smallest=0.5, smallest_of="SZ000001", largest=3.0, largest_of="SH600001"
    )
    assert found["volume"].stocks == 0
    assert found["volume"].smallest is None


def test_golden_bars_of_many_stocks_are_shown_by_five() -> None:
    """Five stocks of a large market, or all that the golden bars can show."""
    names = [f"SH60{place:04d}" for place in range(9)]
    days = np.array(GOLDEN, "datetime64[D]").repeat(9)
    values: Any = np.ones((27, 1), np.float32)
    values[9:, 0][::9] = 0.0
    golden = FeatureBlock(days, pa.array(names * 3), values, ())
    assert units._enough(golden, 0) == 5
    few = FeatureBlock(days[:18], pa.array(names * 2), np.where(np.arange(18) % 9 < 3, 1.0, 0.0)[:, None], ())
    assert units._enough(few, 0) == 3
