"""What a run took of its market: the rules of its handler that are followed, and those that are refused by name."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.alphas import chosen_stocks, compile_features, describe_graph
from alphaseal_converter.evidence.order import OrderedFeature
from alphaseal_converter.locate.configuration import TaskConfiguration, parse_task_configuration
from alphaseal_converter.market.bars import Market, find_market, market_of

EXPRESSIONS = {"class": "Alpha158DL", "kwargs": {"config": {"feature": [["$close"], ["CLOSE"]]}}}
TABLE = {"class": "StaticDataLoader", "kwargs": {"config": "combined_factors_df.parquet"}}


def nested(*parts: Any, **arguments: Any) -> dict[str, Any]:
    return {"class": "qlib.data.dataset.loader.NestedDataLoader", "kwargs": {"dataloader_l": [*parts], **arguments}}


def of(market: Path, handler: str = "DataHandlerLP", **arguments: Any) -> Market:
    """The market of a run whose handler has these arguments."""
    given = {"instruments": "demo62", "data_loader": nested(EXPRESSIONS, TABLE)} | arguments
    block = {"class": handler, "kwargs": {name: value for name, value in given.items() if value is not None}}
    plain = {"model": {"class": "LGBModel"}, "dataset": {"class": "DatasetH", "kwargs": {"handler": block}}}
    return market_of(market, parse_task_configuration(plain, "task"))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"data_loader": EXPRESSIONS},
        {"data_loader": nested(EXPRESSIONS, EXPRESSIONS, TABLE, join="left")},
        {
            "data_loader": {
                "class": "custom.OrderedLoader",
                "kwargs": {"feature": [["$close"], ["C"]], "path": "a.parquet"},
            }
        },
        {"instruments": {"market": "demo62", "filter_pipe": []}},
        {"handler": "Alpha158", "data_loader": None},
        {"freq": "day", "filter_pipe": [], "inst_processors": None},
    ],
)
def test_expressions_joined_from_the_left_are_followed(arguments: dict[str, Any], market: Path) -> None:
    """qlib's loaders, a loader of the user with the same arguments, and handlers with their own expressions."""
    assert len(of(market, **arguments).universe) == 62


def test_defaults_are_qlibs(market: Path) -> None:
    """Without instruments a loader takes all, Alpha158 csi500; a list of stocks is always there."""
    assert len(of(market, instruments=None).universe) == 63
    with pytest.raises(RefusalError) as caught:
        of(market, "Alpha158", instruments=None)
    assert (caught.value.code, caught.value.expected) == ("provider.market", "csi500.txt")
    assert of(market, instruments=["SH601001"]).universe == {"SH601001": None}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"handler": "MyHandler"}, "provider.handler"),
        ({"instruments": {"market": "demo62", "filter_pipe": [{"filter_type": "NameDFilter"}]}}, "provider.filters"),
        ({"filter_pipe": [{"filter_type": "NameDFilter"}]}, "provider.filters"),
        ({"inst_processors": [{"class": "TimeRangeFlt"}]}, "provider.filters"),
        ({"data_loader": EXPRESSIONS | {"kwargs": {"filter_pipe": ["x"]}}}, "provider.filters"),
        ({"data_loader": nested(EXPRESSIONS, TABLE, join="inner")}, "provider.join"),
        ({"data_loader": nested(TABLE, EXPRESSIONS)}, "provider.loader"),
        ({"data_loader": nested()}, "provider.loader"),
        ({"data_loader": nested(EXPRESSIONS, {"class": "DataLoaderDH"})}, "provider.loader"),
        ({"data_loader": TABLE}, "provider.loader"),
        ({"data_loader": "pickled"}, "provider.loader"),
    ],
)
def test_what_changes_rows_or_bars_is_refused_by_name(arguments: dict[str, Any], code: str, market: Path) -> None:
    """Filters, other joins and unknown classes: qlib has to give these values."""
    with pytest.raises(RefusalError) as caught:
        of(market, **arguments)
    assert caught.value.code == code
    assert "--replay-with" in str(caught.value)


def test_data_that_were_not_named_are_a_reason_and_no_refusal(market: Path, tmp_path: Path) -> None:
    """The configured path with data that do not fit says why; without a configuration the named one is refused."""
    (tmp_path / "conf.yaml").write_text(f"provider_uri: {market}\n", encoding="utf-8")
    found, why = find_market(None, tmp_path, [], TaskConfiguration())
    assert found is None
    assert "provider.no_task" in why
    with pytest.raises(RefusalError) as caught:
        find_market(market, tmp_path, [], TaskConfiguration())
    assert caught.value.code == "provider.no_task"


def test_days_are_counted_on_the_calendar_and_not_before_the_run(market: Path) -> None:
    """The history of windows is trading days, as far as the run loaded any."""
    whole, cut = of(market), of(market, start_time=date(2021, 10, 29))
    day = np.datetime64("2021-11-01")
    assert whole.days_before(day, 0) == day
    assert whole.days_before(day, 2) == np.datetime64("2021-10-28")
    assert cut.days_before(day, 5) == np.datetime64("2021-10-29")
    assert whole.days_before(np.datetime64("2019-01-02"), 5) == np.datetime64("2019-01-02")
    with pytest.raises(RefusalError) as caught:
        whole.bars(["close"], 5, np.datetime64("2021-12-25"), np.datetime64("2021-12-27"))
    assert caught.value.code == "provider.day"


def test_golden_stocks_are_those_with_holes_and_an_even_sample(market: Path) -> None:
    """At most 64 of many stocks: sixteen with the most missing values, the others spread over all."""
    bars = of(market).bars(["close"], 700, np.datetime64("2021-12-24"), np.datetime64("2021-12-24"))
    many = np.arange(len(bars.instruments)).repeat(2)
    missing = np.isnan(bars.values).sum(axis=(1, 2))
    chosen = chosen_stocks(bars, many)
    assert len(chosen) <= 64
    assert set(np.argsort(-missing, kind="stable")[:8]) <= set(chosen.tolist())
    assert chosen_stocks(bars, many[:10]).tolist() == many[:10].tolist()


def test_a_graph_is_described_as_it_was_compiled() -> None:
    """Only alpha features with an expression are compiled, in the model's order."""
    features = [
        OrderedFeature("B", "float32", "alpha", "Mean($close, 5)/$close"),
        OrderedFeature("REV", "float64", "sota", None),
        OrderedFeature("A", "float32", "alpha", "$open/$close"),
    ]
    compiled = compile_features(features)
    assert compiled is not None
    described = describe_graph(compiled)
    assert (described.features, described.fields, described.window) == (["B", "A"], ["close", "open"], 5)
    assert compile_features(features[1:2]) is None
