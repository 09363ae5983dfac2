"""Picks: what qlib's own TopkDropoutStrategy sells and buys, on recorded days and, where qlib is, on new ones."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

import alphaseal
from alphaseal import cli
from alphaseal.advice.picks import Picks, picks
from alphaseal.advice.strategy import describe_selection, numbers_of_run
from alphaseal.cli.advice import read_holdings
from alphaseal.desk.show import describe
from alphaseal.errors import InputError, NotReadableError, UsageError
from alphaseal.format import manifest as m
from alphaseal.scoring.scores import Scores, rank_scores
from alphaseal.tables.features import FeatureBlock
from bundles import FACTOR_PLAIN, factor_plain_bundle, raw_values
from locations import DATA, REPOSITORY
from manifests import example_manifest

RESEARCH = os.environ.get("ALPHASEAL_RESEARCH_PYTHON")
RECORDED = DATA / "picks/cases.json"
DATE = "2021-12-24"


def scores_of(values: Mapping[str, float | None], manifest: m.Manifest | None = None, days: int = 1) -> Scores:
    """Scores of one day (or the same on several), None for NaN."""
    names = sorted(values)
    numbers = np.array([np.nan if values[name] is None else values[name] for name in names], np.float64)
    dates = np.repeat(np.datetime64("2024-01-02") + np.arange(days), len(names))
    block = FeatureBlock(dates, pa.array(names * days), np.zeros((len(dates), 1)), ())
    ranked = rank_scores(block, np.tile(numbers, days), None)
    return Scores(ranked.table, ranked.excluded, manifest)


def run_by(**strategy: Any) -> m.Manifest:
    """A manifest whose run has a strategy; arguments beside topk 3 and n_drop 1 in `arguments`."""
    manifest = example_manifest()
    arguments = {"signal": "<PRED>", "topk": 3, "n_drop": 1} | strategy.pop("arguments", {})
    plain = {"class_name": "TopkDropoutStrategy", "module": "qlib.contrib.strategy"} | strategy
    return msgspec.structs.replace(
        manifest,
        strategy=m.Strategy(arguments=arguments, **plain),
        selection=msgspec.structs.replace(manifest.selection, top_k=3, n_drop=1),
    )


DAY = {f"SH60000{number}": 0.9 - number / 10 for number in range(8)}


def compare(path: Path) -> int:
    """Every case of a recorded file; returns how many there are.

    A stock whose score is NaN is bought by qlib when no other is left, and never by us: its place stays empty.
    """
    compared = 0
    for case in json.loads(path.read_text(encoding="utf-8")):
        scored = {name for name, value in case["scores"].items() if value is not None}
        if not scored:
            continue
        found = picks(scores_of(case["scores"]), case["held"], top_k=case["topk"], n_drop=case["n_drop"])
        assert found.instruments("buy") == [name for name in case["bought"] if name in scored], case
        assert sorted(found.instruments("sell")) == case["sold"], case
        assert sorted(found.instruments("hold")) == sorted(set(case["held"]) - set(case["sold"])), case
        assert found.unscored["instrument"].to_pylist() == sorted(set(case["held"]) - scored), case
        compared += 1
    return compared


def test_recorded_days_of_qlib() -> None:
    """Ties, NaN scores, fewer stocks than topk, holdings without a score: qlib's sells and buys, in qlib's order."""
    assert compare(RECORDED) > 100


@pytest.mark.skipif(not RESEARCH, reason="ALPHASEAL_RESEARCH_PYTHON names no Python with qlib")
@pytest.mark.slow
def test_new_days_of_qlib(tmp_path: Path) -> None:
    """The same on a thousand days that nobody has seen; and the recorded ones are what qlib says today."""
    program = str(REPOSITORY / "tools/research/record_picks.py")
    for name, arguments in (("new", ["20240902", "1000"]), ("again", ["0", "120"])):
        command = [str(RESEARCH), program, str(tmp_path / f"{name}.json"), *arguments]
        subprocess.run(command, check=True, capture_output=True)
    assert compare(tmp_path / "new.json") > 900
    assert (tmp_path / "again.json").read_bytes() == RECORDED.read_bytes()


def test_recorded_days_have_what_matters() -> None:
    """The recorded days hold ties, NaN, holdings outside, too few stocks, and all three actions."""
    cases = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert any(len(set(c["scores"].values())) < len(c["scores"]) for c in cases)
    assert any(None in c["scores"].values() for c in cases)
    assert any(set(c["held"]) - set(c["scores"]) for c in cases)
    assert any(len(c["scores"]) < c["topk"] for c in cases)
    assert any(len(c["held"]) > c["topk"] for c in cases)
    assert sum(bool(c["sold"]) and bool(c["bought"]) for c in cases) > 50


def test_table_says_action_rank_and_score() -> None:
    """Holds, sells, buys, each by rank; a held stock without a score has nulls and is named with the reason."""
    held = ["SH600001", "SH600000", "SZ000001"]
    found = scores_of(DAY).picks(held, top_k=3, n_drop=1)
    assert found.table.to_pylist() == [
        {"instrument": "SH600000", "action": "hold", "rank": 1, "score": 0.9},
        {"instrument": "SH600001", "action": "hold", "rank": 2, "score": DAY["SH600001"]},
        {"instrument": "SZ000001", "action": "sell", "rank": None, "score": None},
        {"instrument": "SH600002", "action": "buy", "rank": 3, "score": DAY["SH600002"]},
    ]
    assert found.unscored.to_pylist() == [{"instrument": "SZ000001", "reason": "no_row"}]
    assert len(found) == 4
    assert pa.table(found).equals(found.table)


def test_reason_of_a_held_stock_is_that_of_its_exclusion() -> None:
    """A held stock whose score is NaN says so."""
    found = scores_of(DAY | {"SH600007": None}).picks(["SH600007"], top_k=3, n_drop=1)
    assert found.unscored.to_pylist() == [{"instrument": "SH600007", "reason": "non_finite_score"}]


def test_order_and_repeats_of_holdings_do_not_matter() -> None:
    """Holdings are a set."""
    scores = scores_of(dict.fromkeys(DAY, 0.5))
    some = scores.picks(["SH600003", "SH600001", "SH600003"], top_k=2, n_drop=1)
    assert some.table.equals(scores.picks(["SH600001", "SH600003"], top_k=2, n_drop=1).table)


def test_numbers_are_those_of_the_run() -> None:
    """Without numbers the run's count; one that is named takes the place of the run's."""
    scores = scores_of(DAY, run_by())
    assert len(scores.picks([]).instruments("buy")) == 3
    assert len(scores.picks([], top_k=5).instruments("buy")) == 5
    held = list(DAY)[-3:]
    assert len(scores.picks(held).instruments("sell")) == 1
    assert len(scores.picks(held, n_drop=2).instruments("sell")) == 2


@pytest.mark.parametrize(
    ("module", "class_name"),
    [
        ("qlib.contrib.strategy.signal_strategy", "EnhancedTopkDropoutStrategy"),
        ("my_strategy", "TopkDropoutStrategy"),
        ("qlib.contrib.strategy", "WeightStrategyBase"),
    ],
)
def test_another_strategy_is_refused_by_name(module: str, class_name: str) -> None:
    """Only qlib's own class is reproduced; who names both numbers picks by TopkDropout all the same."""
    manifest = run_by(module=module, class_name=class_name)
    scores = scores_of(DAY, manifest)
    choices: tuple[dict[str, Any], ...] = ({}, {"top_k": 3}, {"n_drop": 1})
    for numbers in choices:
        with pytest.raises(UsageError) as error:
            scores.picks([], **numbers)
        assert error.value.code == "picks.strategy"
        assert class_name in str(error.value)
    assert len(scores.picks([], top_k=3, n_drop=1)) == 3
    assert describe_selection(manifest) == f"{class_name}, not reproduced here"


def test_a_run_without_a_strategy_is_refused() -> None:
    """No strategy, no number to drop, or no manifest: both numbers must be named."""
    manifest = run_by()
    without = msgspec.structs.replace(manifest, strategy=None)
    no_drop = msgspec.structs.replace(manifest, selection=msgspec.structs.replace(manifest.selection, n_drop=None))
    for known in (without, no_drop, None):
        with pytest.raises(UsageError) as error:
            scores_of(DAY, known).picks([])
        assert error.value.code == "picks.strategy"
    assert describe_selection(without) == "not recorded"
    assert describe_selection(no_drop) == "TopkDropoutStrategy, not reproduced here"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method_sell", "random"),
        ("method_buy", "random"),
        ("hold_thresh", 2),
        ("hold_thresh", True),
        ("hold_thresh", 1.5),
        ("only_tradable", True),
        ("only_tradable", None),
        ("stop_loss", -0.1),
    ],
)
def test_arguments_that_need_more_than_scores_are_refused_by_name(name: str, value: Any) -> None:
    """What needs a calendar, an exchange or chance, and what qlib's class does not have."""
    manifest = run_by(arguments={name: value})
    with pytest.raises(UsageError) as error:
        scores_of(DAY, manifest).picks([])
    assert error.value.code == "picks.argument"
    assert name in str(error.value)
    assert describe_selection(manifest).endswith(f"not reproduced here: argument {name!r} of TopkDropoutStrategy")


def test_arguments_that_choose_no_stocks_are_passed_over() -> None:
    """Defaults written out, the share of the money, and whether orders at a price limit are dealt."""
    defaults = {"method_sell": "bottom", "method_buy": "top", "hold_thresh": 1, "only_tradable": False}
    more = {"risk_degree": 0.8, "forbid_all_trade_at_limit": False, "model": "<MODEL>", "dataset": "<DATASET>"}
    manifest = run_by(arguments=defaults | more)
    assert numbers_of_run(manifest) == (3, 1)
    assert describe_selection(manifest) == "TopkDropout: hold 3, replace 1 a day"


@pytest.mark.parametrize("numbers", [{"n_drop": 0}, {"top_k": 0}, {"n_drop": -1}])
def test_numbers_are_at_least_one(numbers: dict[str, Any]) -> None:
    """With n_drop 0 qlib sells everything (the last 0 of a list are all of it): refused, not repeated."""
    with pytest.raises(UsageError) as error:
        scores_of(DAY, run_by()).picks([], **numbers)
    assert error.value.code == "picks.number"


def test_more_holdings_than_the_strategy_has_are_refused() -> None:
    """Above top_k + n_drop qlib takes a negative number of candidates, which is nearly all stocks."""
    scores, held = scores_of(DAY), list(DAY)
    assert scores.picks(held[:4], top_k=3, n_drop=1).instruments("sell") == ["SH600003"]
    with pytest.raises(InputError) as error:
        scores.picks(held[:5], top_k=3, n_drop=1)
    assert error.value.code == "picks.holdings"


def test_picks_are_those_of_one_date() -> None:
    """Scores of two dates, or of none, have no picks."""
    for scores in (scores_of(DAY, days=2), scores_of(dict.fromkeys(DAY))):
        with pytest.raises(UsageError) as error:
            scores.picks([], top_k=3, n_drop=1)
        assert error.value.code == "picks.dates"


def test_holdings_in_another_notation_are_not_sold() -> None:
    """A code that the bundle does not know would rank last: it is refused, or converted where that is asked for."""
    scores = scores_of(DAY, run_by())
    with pytest.raises(InputError) as error:
        scores.picks(["600000.SH"])
    assert (error.value.code, error.value.where) == ("instrument.pattern", "holdings")
    assert scores.picks(["600000.SH"], instruments_from="ts").instruments("hold") == ["SH600000"]


@pytest.mark.parametrize(
    "text",
    [
        "SH600000\n\n# a comment\nSZ000001\n",
        "instrument,amount\nSH600000,100\nSZ000001,200\n",
        'amount,"instrument"\r\n100,SH600000\r\n200, SZ000001\r\n',
        "instrument\nSH600000\nSZ000001\n",
        "\ufeffSH600000 100\nSZ000001\t200",
    ],
)
def test_holdings_are_read(tmp_path: Path, text: str) -> None:
    """One instrument a line, or the column of a CSV file; comments, blank lines and a byte order mark do not count."""
    path = tmp_path / "holdings"
    path.write_bytes(text.encode())
    assert read_holdings(path) == ["SH600000", "SZ000001"]


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "instrument\n", "instrument,amount\n"])
def test_no_holdings_are_holdings(tmp_path: Path, text: str) -> None:
    """The first day has none."""
    path = tmp_path / "holdings"
    path.write_text(text, encoding="utf-8")
    assert read_holdings(path) == []


@pytest.mark.parametrize(
    "text",
    ["code,amount\nSH600000,1\n", "instrument,instrument\nSH600000,SH600000\n", "instrument,amount\nSH600000\n", '"\n'],
)
def test_holdings_that_do_not_say_which(tmp_path: Path, text: str) -> None:
    """CSV without one column of instruments is not guessed at."""
    path = tmp_path / "holdings"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        picks(scores_of(DAY, run_by()), read_holdings(path))
    assert error.value.code == "usage.holdings"


def test_holdings_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is not there, and one that is no text."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name in ("absent", "bytes"):
        with pytest.raises(NotReadableError) as error:
            read_holdings(tmp_path / name)
        assert error.value.code == "holdings.not_readable"


def test_holdings_in_another_encoding_say_what_to_do(tmp_path: Path) -> None:
    """A file that a Chinese spreadsheet saved as GBK."""
    (tmp_path / "gbk.csv").write_bytes("instrument,名称\nSH600000,浦发银行\n".encode("gbk"))
    with pytest.raises(NotReadableError) as error:
        read_holdings(tmp_path / "gbk.csv")
    assert error.value.code == "holdings.not_readable"
    assert "UTF-8" in (error.value.next_step or "")


@pytest.mark.parametrize("holdings", [None, 5, [1], [None], "SH600000", b"SH600000"])
def test_holdings_that_are_no_codes(holdings: Any) -> None:
    """One text is not a list of its letters, and nothing is not no stocks."""
    with pytest.raises(UsageError) as error:
        scores_of(DAY, run_by()).picks(holdings)
    assert error.value.code == "usage.holdings"


def test_command_says_what_to_hold_sell_and_buy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`score --holdings` prints the picks of the bundle's own strategy, the same as in Python; --json has them too."""
    bundle = alphaseal.open(factor_plain_bundle(), trust=alphaseal.Trust.unsigned())
    features = raw_values(FACTOR_PLAIN / "truth/hist2_factor")
    scores = bundle.score(features, date=DATE)
    ranked = scores.table["instrument"].to_pylist()
    held = [*ranked[:20], *ranked[-8:], "SZ399999"]
    (tmp_path / "held.csv").write_text("instrument\n" + "\n".join(held), encoding="utf-8")
    expected = scores.picks(held)
    assert [len(expected.instruments(action)) for action in ("hold", "sell", "buy")] == [24, 5, 26]
    command = ["score", str(bundle.directory), "--allow-unsigned", "--features", str(features)]
    command += ["--holdings", str(tmp_path / "held.csv")]
    assert cli.main([*command, "--date", DATE]) == 0
    text = capsys.readouterr().out
    assert f"buy        21  {ranked[20]}" in text
    assert "hold 24, sell 5, buy 26" in text
    assert "held without a score: SZ399999, no row" in text
    assert cli.main([*command, "--date", DATE, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert result["picks"] == {"rows": expected.table.to_pylist(), "unscored": expected.unscored.to_pylist()}
    assert cli.main([*command, "--dates", ":", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["code"] == "usage.holdings"


def test_show_says_which_selection_the_metrics_belong_to() -> None:
    """The strategy with its numbers, or another class that is not reproduced."""
    assert "TopkDropout: hold 3, replace 1 a day" in describe(run_by(), "0" * 64)
    assert "EnhancedTopkDropoutStrategy, not reproduced here" in describe(
        run_by(class_name="EnhancedTopkDropoutStrategy"), "0" * 64
    )


def test_picks_is_the_type_that_comes_back() -> None:
    """The method and the function are one."""
    assert isinstance(scores_of(DAY).picks([], top_k=1, n_drop=1), Picks)
