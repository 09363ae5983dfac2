"""Who is a stock on a date: recorded members, the caller's universe, kinds of codes, and trading days."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from alphaseal.bars.trading_days import DayCheck, described
from alphaseal.errors import InputError, MalformedError
from alphaseal.format import manifest as m
from alphaseal.tables.features import FeatureBlock
from alphaseal.tables.members.boards import Boards, board_of, counted, forms_of
from alphaseal.tables.members.membership import FactorUniverse, Membership, RecordedSpans
from alphaseal.tables.members.universe import Universe, canonical
from manifests import example_manifest, recorded_universe

DAYS = np.array(["2020-01-06", "2020-01-07", "2020-01-08", "2020-02-03"], "datetime64[D]")
"""Two days of the record, the day after it, and one after the run's last day."""
SPANS: dict[str, Any] = {
    "SH600000": [("2020-01-01", "2020-01-07")],
    "SH600001": [("2020-01-01", "2020-01-06")],
    "SZ000002": [("2020-01-07", "2020-01-07")],
    "SZ300003": [("2020-01-01", "2020-01-07")],
}


def universes(kind: str = "all", *, members: bool = True, **changes: Any) -> m.Universes:
    lines = canonical(Universe.of(SPANS), np.datetime64("2020-01-01"), np.datetime64("2020-01-07"))
    record = recorded_universe(kind, lines, "2020-01-01", "2020-01-07", carried=members)  # type: ignore[arg-type]
    said: dict[str, Any] = {
        "factor": None,
        "factor_missing": "none",
        "model": record,
        "model_missing": None,
        "boards": counted(SPANS),
        "context": ["SH000300"],
        "until": "2020-01-10",
    }
    return m.Universes(**(said | changes))


def membership(known: m.Universes | None, given: Any = None, crosses: bool = False) -> Membership:
    data = msgspec.structs.replace(example_manifest().data, universes=known)
    chosen = None if given is None else Universe.of(given)
    return Membership.of(data, RecordedSpans.of(data), crosses=crosses, given=chosen)


def block(*names: str, days: np.ndarray = DAYS) -> FeatureBlock:
    """A row of every code on every day."""
    ordered = sorted(names)
    count = len(days) * len(ordered)
    return FeatureBlock(
        np.repeat(days, len(ordered)), pa.array(ordered * len(days)), np.arange(float(count)).reshape(-1, 1), ()
    )


def kept(chosen: FeatureBlock) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for date, name in zip(chosen.dates, chosen.instruments.to_pylist(), strict=True):
        rows.setdefault(str(date), []).append(name)
    return rows


def lost(chosen: FeatureBlock) -> dict[tuple[str, str], str]:
    return {(str(date), name): reason for date, name, reason in chosen.left_out}


# --- codes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "board"),
    [
        ("SH600000", "SH60"),
        ("600000.SH", "SH60"),
        ("SZ399001", "SZ39"),
        ("399001.SZ", "SZ39"),
        ("BJ830799", "BJ83"),
        ("^GSPC", "^"),
        ("600000", "60"),
        ("AAPL", "*"),
        ("0700.HK", "*"),
    ],
)
def test_boards(code: str, board: str) -> None:
    """A code's board is the same in both notations; codes that say nothing are of one board."""
    assert board_of(code) == board


def test_kinds_follow_from_the_members() -> None:
    """Boards of a kind and exchange that members are of belong to it; others, and indices among stocks, do not."""
    stocks = Boards({"SH60": 9, "SZ00": 9, "SH00": 4})
    belong = ["SH601000", "SH688001", "SZ301000", "SZ002001", "300750.SZ", "600519.SH"]
    others = [
        "SH000300",
        "SZ399006",
        "SH510300",
        "SZ159915",
        "SH113050",
        "SZ123001",
        "SH900901",
        "SZ200002",
        "BJ830799",
    ]
    others += ["000300.SH", "AAPL", "^GSPC", "SH880001", "SZ600000"]
    assert [code for code in belong if not stocks.holds(code)] == []
    assert [code for code in others if stocks.holds(code)] == []
    funds = Boards({"SH51": 30, "SZ15": 20})
    assert funds.holds("SH588000")
    assert funds.holds("159915.SZ")
    assert not funds.holds("SH600000")
    indices = Boards({"SH00": 5, "SZ39": 3})
    assert indices.holds("SZ399001")
    tickers = Boards({"*": 500, "^": 3})
    assert tickers.holds("NVDA")
    assert not tickers.holds("^NDX")
    assert Boards({}).holds("anything")
    assert forms_of("sh000300") == {"sh000300", "SH000300", "000300.SH"}
    assert forms_of("000300.SH") == {"000300.SH", "SH000300"}


# --- a universe of everything ----------------------------------------------------------------------------------------------


def test_everything_takes_in_what_was_listed_since() -> None:
    """On recorded days a member has its spans; later every stock of the kind is there, and new ones are named."""
    chosen = membership(universes()).choose(block("SH600000", "SH600001", "SZ000002", "SZ301999"))
    assert kept(chosen) == {
        "2020-01-06": ["SH600000", "SH600001", "SZ301999"],
        "2020-01-07": ["SH600000", "SZ000002", "SZ301999"],
        "2020-01-08": ["SH600000", "SH600001", "SZ000002", "SZ301999"],
        "2020-02-03": ["SH600000", "SH600001", "SZ000002", "SZ301999"],
    }
    assert lost(chosen) == {
        ("2020-01-06", "SZ000002"): "not_in_universe",
        ("2020-01-07", "SH600001"): "not_in_universe",
        **{(str(day), "SZ300003"): "no_row" for day in DAYS},
    }
    assert chosen.warnings == ()
    assert len(chosen.notes) == 1
    assert "SZ301999" in chosen.notes[0]


def test_a_stage_across_stocks_sees_no_stock_that_the_training_had_not() -> None:
    """On days of the run an unknown stock changes nobody's score; after them it is one of all, and a warning says so."""
    chosen = membership(universes(), crosses=True).choose(block(*SPANS, "SZ301999"))
    assert [day for day, names in kept(chosen).items() if "SZ301999" in names] == ["2020-01-08", "2020-02-03"]
    assert any("SZ301999" in warning for warning in chosen.warnings)


def test_other_kinds_and_context_are_named() -> None:
    """Indices, funds and the benchmark have no score, each with its reason, on every day."""
    chosen = membership(universes()).choose(block("SH600000", "SH000300", "SZ399001", "SH510300"))
    reasons = {name: reason for (_, name), reason in lost(chosen).items()}
    assert reasons["SH000300"] == "context_only"
    assert reasons["SZ399001"] == reasons["SH510300"] == "other_kind"
    assert {name for names in kept(chosen).values() for name in names} == {"SH600000"}


def test_context_that_was_a_member_is_seen_and_not_ranked() -> None:
    """A benchmark that the training's stages saw stays in the rows, marked; a stage across stocks must have it."""
    known = universes(context=["SZ300003"])
    chosen = membership(known).choose(block("SH600000", "SZ300003", days=DAYS[:1]))
    assert kept(chosen) == {"2020-01-06": ["SH600000", "SZ300003"]}
    assert chosen.reasons is not None
    assert chosen.reasons.tolist() == ["", "context_only"]
    with pytest.raises(InputError, match="none of SZ300003") as error:
        membership(known, crosses=True).choose(block("SH600000", "SH600001"))
    assert error.value.code == "universe.incomplete"


def test_nothing_is_known_of_a_bundle_without_universes() -> None:
    """A bundle of format 1.0 takes all rows as they are."""
    rows = block("SH000300", "SH510300")
    assert membership(None).choose(rows) is rows
    assert membership(None, crosses=True).choose(rows) is rows


def test_an_unknown_universe_is_said_where_a_stage_needs_it() -> None:
    """Without market data a stage takes the table's stocks for the day's, less other kinds, and a warning says so."""
    known = universes(model=None, model_missing="no market data")
    chosen = membership(known, crosses=True).choose(block("SH600000", "SH510300"))
    assert set(kept(chosen)["2020-01-06"]) == {"SH600000"}
    assert any("no market data" in warning for warning in chosen.warnings)
    assert membership(known).choose(block("SH600000")).warnings == ()


# --- a market, a list, a digest -----------------------------------------------------------------------------------------------


def test_a_market_is_known_on_its_days() -> None:
    """On recorded days its members are chosen, whatever the model; later a stage across stocks needs the caller's list."""
    rows = block("SH600000", "SH600001", "SZ000002", "SZ300003")
    for crosses in (False, True):
        chosen = membership(universes("market"), crosses=crosses).choose(
            block("SH600000", "SH600001", "SZ000002", "SZ300003", days=DAYS[:2])
        )
        assert kept(chosen) == {
            "2020-01-06": ["SH600000", "SH600001", "SZ300003"],
            "2020-01-07": ["SH600000", "SZ000002", "SZ300003"],
        }
    assert len(kept(membership(universes("market")).choose(rows))["2020-02-03"]) == 4
    with pytest.raises(InputError) as error:
        membership(universes("market"), crosses=True).choose(rows)
    assert (error.value.code, error.value.where) == ("universe.needed", "2020-01-08")
    assert "--universe" in str(error.value.next_step)


def test_the_callers_market_is_what_the_stage_sees() -> None:
    """After the record the stage sees exactly the stocks that are named; on recorded days they must be the recorded ones."""
    named = {**SPANS, "SZ000009": [("2020-01-08", None)], "SH600000": [("2020-01-01", None)]}
    chosen = membership(universes("market"), named, crosses=True).choose(
        block("SH600000", "SH600001", "SZ000002", "SZ000009", "SZ300003", days=DAYS[1:])
    )
    assert kept(chosen)["2020-02-03"] == ["SH600000", "SZ000009"]
    assert lost(chosen)["2020-02-03", "SH600001"] == "not_in_universe"


@pytest.mark.parametrize(
    ("given", "days"),
    [
        (["SH600000", "SH600001"], DAYS[:1]),
        ([*SPANS, "SZ000009"], DAYS[:1]),
        ({**SPANS, "SZ000009": [("2019-01-01", "2021-01-01")]}, DAYS[3:]),
        ({"SZ000009": [("2019-01-01", "2021-01-01")]}, DAYS[3:]),
    ],
)
def test_another_market_is_refused(given: Any, days: np.ndarray) -> None:
    """A list that lacks a member of the day or has others, and a file whose spans say other things of the record's days."""
    with pytest.raises(InputError) as error:
        membership(universes("market"), given, crosses=True).choose(
            block("SH600000", "SH600001", "SZ000009", "SZ300003", days=days)
        )
    assert error.value.code == "universe.differs"


@pytest.mark.parametrize("kind", ["all", "market"])
def test_a_digest_needs_and_checks_the_callers_universe(kind: str) -> None:
    """Of a large universe the digest alone is there: the caller names it, and spans over the record's days must give it."""
    known, rows = universes(kind, members=False), block("SH600000", "SH600001", "SZ300003", days=DAYS[:1])
    with pytest.raises(InputError, match="as a digest") as error:
        membership(known, crosses=True).choose(rows)
    assert error.value.code == "universe.needed"
    assert len(membership(known, SPANS, crosses=True).choose(rows)) == 3
    longer = {
        code: [(first, "2030-01-01" if last == "2020-01-07" else last) for first, last in spans]
        for code, spans in SPANS.items()
    }
    assert len(membership(known, longer, crosses=True).choose(rows)) == 3
    with pytest.raises(InputError) as error:
        membership(known, {**SPANS, "SZ000002": [("2020-01-01", "2020-01-07")]}, crosses=True)
    assert error.value.code == "universe.differs"
    assert len(membership(known).choose(rows)) == 3


def test_a_list_is_there_always() -> None:
    """Codes that the run named are its universe on every day, and nobody else is."""
    chosen = membership(universes("list"), crosses=True).choose(block(*SPANS, "SZ000009"))
    assert kept(chosen)["2020-02-03"] == sorted(SPANS)
    assert lost(chosen)["2020-02-03", "SZ000009"] == "not_in_universe"


def test_a_universe_that_limits_changes_nothing_else() -> None:
    """Where the stages' stocks are known the caller's universe neither adds to them nor takes away."""
    chosen = membership(universes(), ["SH600000"], crosses=True).choose(block("SH600000", "SH600001", days=DAYS[:1]))
    assert kept(chosen) == {"2020-01-06": ["SH600000", "SH600001"]}


def test_members_without_a_row_are_refused_where_a_stage_needs_them() -> None:
    """One that left the market and one that was lost look alike: the caller says who is there, and half of them is too few."""
    spans = {f"SH6{place:05d}": [("2020-01-01", "2020-01-07")] for place in range(100)}
    lines = canonical(Universe.of(spans), np.datetime64("2020-01-01"), np.datetime64("2020-01-07"))
    model: Any = universes().model
    record = msgspec.structs.replace(
        model,
        count=100,
        sha256=m.universe_digest(lines),
        members=lines,
    )
    for day in (DAYS[:1], DAYS[3:]):
        few, most = sorted(spans)[:50], sorted(spans)[:93]
        with pytest.raises(InputError) as error:
            membership(universes(model=record), crosses=True).choose(block(*few, days=day))
        assert error.value.code == "universe.incomplete"
        with pytest.raises(InputError, match="none of SH600093") as error:
            membership(universes(model=record), crosses=True).choose(block(*most, days=day))
        assert "--universe" in str(error.value.next_step)
        assert len(membership(universes(model=record), most, crosses=True).choose(block(*most, days=day))) == 93
        with pytest.raises(InputError, match="leave them out of the universe"):
            membership(universes(model=record), [*most, "SH600093"], crosses=True).choose(block(*most, days=day))
        assert len(membership(universes(model=record)).choose(block(*few, days=day))) == 50


# --- what the manifest must say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"members": ["SH600001 2020-01-01 2020-01-07", "SH600000 2020-01-01 2020-01-07"], "count": 2},
        {"members": ["SH600000 2020-01-01 2020-01-03", "SH600000 2020-01-04 2020-01-07"], "count": 1},
        {"members": ["SH600000 2020-01-01 2020-01-08"], "count": 1},
        {"members": ["SH600000 2020-01-05 2020-01-04"], "count": 1},
        {"members": ["SH600000 2020-01-01 2020-02-31"], "count": 1, "last": "2020-12-31"},
        {"count": 5},
        {"sha256": "0" * 64},
    ],
)
def test_members_have_one_form(changes: dict[str, Any]) -> None:
    """Unsorted, touching, outside, backwards, no days, miscounted, another digest: each is refused by the reader."""
    known: Any = universes()
    members = changes.get("members")
    digest = {} if members is None else {"sha256": m.universe_digest(members)}
    record = msgspec.structs.replace(known.model, **(digest | changes))
    example = example_manifest()
    data = msgspec.structs.replace(example.data, universes=msgspec.structs.replace(known, model=record))
    with pytest.raises(MalformedError) as error:
        m.parse(m.encode(msgspec.structs.replace(example, data=data)))
    assert error.value.code == "manifest.universe"
    good = msgspec.structs.replace(example.data, universes=known)
    assert m.parse(m.encode(msgspec.structs.replace(example, data=good))).data.universes == known


def test_factors_see_their_own_universe() -> None:
    """Codes of another kind and context that they did not see are left out; an index that they saw must be there."""
    data = msgspec.structs.replace(example_manifest().data, universes=universes())
    record = universes().model
    assert record is not None
    same = msgspec.structs.replace(record, members=None)
    codes = ["SH000300", "SH510300", "SH600000", "SZ301999"]
    for factor in (record, same):
        seen = FactorUniverse.of(msgspec.structs.replace(data, universes=universes(factor=factor)))
        assert seen.outside(codes) == ["SH000300", "SH510300"]
        assert seen.lacking(codes) == []
    with_index = FactorUniverse.of(
        msgspec.structs.replace(data, universes=universes(factor=record, context=["SZ300003"]))
    )
    assert with_index.lacking(codes) == ["SZ300003"]
    assert FactorUniverse.of(msgspec.structs.replace(data, universes=None)).outside(codes) == []


# --- trading days --------------------------------------------------------------------------------------------------------------


def test_days_to_come_are_no_weekend() -> None:
    """After the record any weekday may be a trading day; a weekend is none where the training had none."""
    recorded = described(np.arange("2020-01-06", "2020-01-11", dtype="datetime64[D]"))
    DayCheck(recorded, "the bars").see(np.array(["2020-01-10", "2020-01-13", "2020-01-15"], "datetime64[D]"))
    for days in (["2020-01-18"], ["2020-01-13", "2020-01-19"], ["2020-01-05", "2020-01-06"]):
        with pytest.raises(InputError) as error:
            DayCheck(recorded, "the bars").see(np.array(days, "datetime64[D]"))
        assert error.value.code == "bars.calendar"
    opened = described(np.arange("2020-01-06", "2020-01-12", dtype="datetime64[D]"))
    DayCheck(opened, "the bars").see(np.array(["2020-01-18"], "datetime64[D]"))


def test_trading_days_are_weekdays_but_for_exceptions() -> None:
    """A calendar is told by what is closed on weekdays and open on weekends."""
    days = np.array(["2020-01-02", "2020-01-03", "2020-01-04", "2020-01-06", "2020-01-08"], "datetime64[D]")
    told = described(days)
    assert (told.first, told.last, told.closed, told.opened) == (
        "2020-01-02",
        "2020-01-08",
        ["2020-01-07"],
        ["2020-01-04"],
    )
    DayCheck(told, "the bars").see(days)
    DayCheck(told, "the bars").see(days[1:4])
    later = np.array(["2020-01-08", "2020-01-20", "2020-01-25"], "datetime64[D]")
    DayCheck(told, "the bars").see(later)


@pytest.mark.parametrize("wrong", ["2020-01-06", "2020-01-07"])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_day_too_few_or_too_many_is_refused(wrong: str, parts: int) -> None:
    """In one table as in parts of it."""
    days = np.array(["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-08", "2020-01-09"], "datetime64[D]")
    told, given = described(days), np.setxor1d(days, np.array([wrong], "datetime64[D]"))
    check = DayCheck(told, "the bars")
    with pytest.raises(InputError, match=wrong) as error:
        list(map(check.see, np.array_split(given, parts)))
    assert error.value.code == "bars.calendar"
