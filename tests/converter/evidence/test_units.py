"""What must be shown of a caller's bars: thresholds judged by bars of the training, stages that take constants out."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphaseal.format.manifest import CrossSectionStage, DropMissingStage, FieldUnit, GraphStage, Scaling, Stage
from alphaseal_converter.alphas import compile_alphas, scaling
from alphaseal_converter.alphas.scaling import SAME
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence import units
from alphaseal_converter.evidence.alphas import AlphaPart, describe_graph
from alphaseal_converter.market.bars import Market
from alphaseal_converter.market.provider import open_provider

GRAPH = GraphStage(file="model.onnx", processors=[])
SEGMENT = (date(2019, 1, 2), date(2020, 12, 31))


def opened(market: Path) -> Market:
    """The simulated market, all of its stocks on all days."""
    provider = open_provider(market)
    return Market(provider, provider.universe("demo62"), (None, None), "demo62")


def stage(name: str, columns: list[str] | None = None) -> CrossSectionStage:
    return CrossSectionStage(processor={"class": name, "columns": columns}, universe="all")


def part_of(
    expressions: dict[str, str],
    market: Market | None,
    *stages: Stage,
    unused: set[str] | None = None,
    segment: Any = SEGMENT,
) -> AlphaPart:
    """The part of a bundle with these alpha features."""
    compiled = compile_alphas(expressions)
    part = AlphaPart(description=describe_graph(compiled), graph=compiled.graph)
    return units.with_units(part, compiled, [*stages, GRAPH], unused or set(), market, segment, {}, lambda text: None)


def units_of(part: AlphaPart) -> dict[str, FieldUnit]:
    assert part.description is not None
    assert part.description.units is not None
    return part.description.units


def scaling_of(text: str, unit: str, market: Market | None, *stages: Stage) -> Scaling:
    """What is said of one feature."""
    return part_of({"A": text}, market, *stages).invariance["A"][unit]


MACD = "(EMA($close, 12) - EMA($close, 26))/$close - EMA((EMA($close, 12) - EMA($close, 26))/$close, 9)/$close"


def test_what_sees_prices_and_volumes_must_be_shown(market: Path) -> None:
    """The features of the run with raw values and of qlib's documented MACD, by field; ratios ask for nothing."""
    part = part_of(
        {
            "CLOSE": "$close",
            "VOLUME": "$volume",
            "MA3": "Mean($close,3)",
            "RANGE": "$high-$low",
            "LOGV": "Log($volume)",
            "MACD": MACD,
            "ROC5": "$close/Ref($close,5)-1",
            "VWAP": "$vwap/$open",
        },
        opened(market),
    )
    found = units_of(part)
    assert {field: unit.exact for field, unit in found.items()} == {
        "close": ["CLOSE", "MA3", "MACD"],
        "high": ["RANGE"],
        "low": ["RANGE"],
        "volume": ["VOLUME", "LOGV"],
    }
    assert all(unit.seen_by == unit.exact and not unit.alike for unit in found.values())
    assert part.invariance["ROC5"] == {
        "price": Scaling(per_stock=True, common=True, smallest=None, largest=None, text="of degree 0: unchanged")
    }
    assert "not derived: Sub of what is unchanged and degree -1" in part.invariance["MACD"]["price"].text


def test_ratios_alone_ask_for_nothing(market: Path) -> None:
    """A bundle of ratios has no field that must be shown."""
    assert units_of(part_of({"A": "$close/Ref($close,5)", "B": "$volume/Ref($volume,1)"}, opened(market))) == {}


def test_sizes_are_those_of_the_training(market: Path) -> None:
    """Quantiles over stocks of the median of positive values on the days of the segment."""
    found = units_of(part_of({"A": "$volume"}, opened(market)))["volume"].sizes
    assert found is not None
    provider = open_provider(market)
    medians = []
    for name in provider.universe("demo62"):
        series = provider.values(name, "volume")
        assert series is not None
        start, values = series
        inside = provider.calendar[start : start + len(values)] <= np.datetime64(SEGMENT[1])
        positive = values[inside][values[inside] > 0].astype(np.float64)
        medians += [np.median(positive)] if len(positive) else []
    low, median, high = np.quantile(medians, [0.01, 0.5, 0.99])
    assert (found.low, found.median, found.high) == pytest.approx((low, median, high), rel=1e-6)


def test_features_that_no_tree_asks_for_ask_for_nothing(market: Path) -> None:
    """Unless rows that miss a value are dropped: then every feature decides."""
    expressions = {"A": "$close", "B": "$close/$open"}
    assert units_of(part_of(expressions, opened(market), unused={"A"})) == {}
    drops = DropMissingStage(columns=None)
    assert list(units_of(part_of(expressions, opened(market), drops, unused={"A"}))) == ["close"]


@pytest.mark.parametrize(
    ("stages", "common"),
    [
        ((), False),
        ((stage("CSRankNorm"),), True),
        ((stage("CSZScoreNorm", ["A"]),), True),
        ((stage("CSZScoreNorm", ["B"]),), False),
        ((DropMissingStage(columns=None), stage("CSRankNorm")), True),
        ((stage("CSZFillna"), stage("ProcessInf"), stage("CSRankNorm")), True),
        ((stage("CSZFillna"),), False),
        ((GRAPH, stage("CSRankNorm")), False),
    ],
)
def test_stages_over_all_stocks_take_common_constants_out(
    stages: tuple[Stage, ...], common: bool, market: Path
) -> None:
    """Ranks and z-scores of a day, before any graph saw the value: of one constant for all nothing is left."""
    for text in ("Log($volume)", "Mean($volume, 3)"):
        found = part_of({"A": text, "B": "$close/$open"}, opened(market), *stages)
        assert found.invariance["A"]["volume"].common == common
        unit = units_of(found)["volume"]
        assert (unit.seen_by, unit.exact, unit.alike) == (["A"], [] if common else ["A"], ["A"] if common else [])


def test_stages_take_nothing_out_that_is_not_derived(market: Path) -> None:
    """An expression of which nothing is known, or known only without a number, stays exact."""
    for text in (MACD, "$close+1"):
        assert not scaling_of(text, "price", opened(market), stage("CSRankNorm")).common


# --- numbers that are left out ---------------------------------------------------------------------------------------------


def test_guards_are_negligible_within_what_the_training_shows(market: Path) -> None:
    """1e-12 beside prices is; a standard deviation of 2e-5 is, unless prices are a thousand times smaller."""
    found = scaling_of("($close-$open)/($high-$low+1e-12)", "price", opened(market))
    assert (found.per_stock, found.smallest, found.largest) == (True, 2.0**-10, 2.0**10)
    found = scaling_of("Rsquare($close, 5)", "price", opened(market))
    assert found.per_stock
    assert found.smallest is not None
    assert 2.0**-10 < found.smallest <= 0.25
    assert found.largest == 2.0**10
    unit = units_of(part_of({"A": "Rsquare($close, 5)"}, opened(market)))["close"]
    assert (unit.seen_by, unit.smallest, unit.largest) == ([], found.smallest, found.largest)


def test_guards_that_bite_in_the_training_prove_nothing(market: Path) -> None:
    """Days without volume are in this market: 1e-12 is all that is left of the denominator, and the unit is seen."""
    found = scaling_of("Mean($volume, 5)/($volume+1e-12)", "volume", opened(market))
    assert (found.per_stock, found.smallest) == (False, None)
    assert "in the training's bars it is not: 1e-12 in Add" in found.text


def test_guards_without_bars_prove_nothing(market: Path) -> None:
    """Nothing shows that they are negligible where the market's bars are not at hand, or have no day of the training."""
    for market_data, segment in ((None, SEGMENT), (opened(market), (date(1999, 1, 4), date(1999, 12, 31)))):
        part = part_of({"A": "Rsquare($close, 5)"}, market_data, segment=segment)
        assert not part.invariance["A"]["price"].per_stock
        assert units_of(part)["close"].exact == ["A"]
        assert units_of(part)["close"].sizes is None


def test_quantities_must_be_shown_to_be_small(market: Path) -> None:
    """1 beside a volume is seen, and within a range negligible, where no day is without volume; beside prices it is not."""
    part = part_of({"A": "Corr($close/$open, Log(Mean($volume, 20)+1), 5)"}, opened(market))
    found = part.invariance["A"]["volume"]
    assert (found.per_stock, found.common) == (False, False)
    assert found.smallest is not None
    assert 0.01 < found.smallest <= 0.25
    unit = units_of(part)["volume"]
    assert (unit.seen_by, unit.exact, unit.alike, unit.smallest) == (["A"], [], [], found.smallest)
    assert scaling_of("Mean($close>20, 5)", "price", opened(market)).smallest is None


def test_correlations_of_alpha158_see_the_volume(market: Path) -> None:
    """Log($volume+1) where some days have no volume: any constant changes rows, so the ratio must be 1."""
    unit = units_of(part_of({"CORR5": "Corr($close, Log($volume+1), 5)"}, opened(market)))["volume"]
    assert unit.exact == ["CORR5"]


# --- the second judge -------------------------------------------------------------------------------------------------------


def test_a_rule_that_numbers_contradict_stops_the_build(market: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A derivation that calls a mean of prices unchanged is a fault of ours, and is refused."""
    wrong = {**scaling._RULES, "Mean": lambda node, inputs, left_out: SAME}
    monkeypatch.setattr(scaling, "_RULES", wrong)
    with pytest.raises(RefusalError) as error:
        part_of({"A": "Mean($close, 3)"}, opened(market))
    assert (error.value.code, error.value.exit) == ("alphas.scaling", 20)


def test_features_that_the_graph_lacks_are_described_too(market: Path) -> None:
    """A feature that was compiled out has its scaling from the expression; the fields ask for nothing because of it."""
    compiled = compile_alphas({"A": "$close", "B": "$close/$open", "C": "Rsquare($open, 5)"})
    left = compile_alphas({"B": "$close/$open"})
    part = AlphaPart(description=describe_graph(left), graph=left.graph)
    found = units.with_units(part, compiled, [GRAPH], set(), opened(market), SEGMENT, {}, lambda text: None)
    assert set(found.invariance) == {"A", "B", "C"}
    assert not found.invariance["C"]["price"].per_stock
    assert units_of(found) == {}
    assert (
        units.with_units(replace(part, description=None), None, [], set(), None, None, {}, lambda text: None).invariance
        == {}
    )
