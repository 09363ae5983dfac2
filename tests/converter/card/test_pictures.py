"""The numbers behind the card's pictures are qlib's own, and the pictures show them."""

from __future__ import annotations

import csv
import pickle
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

import alphaseal
from alphaseal_converter.build import build
from alphaseal_converter.card import MAXIMUM_BYTES, render_card
from alphaseal_converter.card.charts import Series, bar_chart, line_chart
from alphaseal_converter.card.markup import Element
from alphaseal_converter.card.performance import (
    DAYS_A_YEAR,
    NOTHING_MEASURED,
    Absent,
    Agreement,
    Correlations,
    Distribution,
    Returns,
    agreement,
    correlations_of,
    distribution,
    read_correlations,
    read_returns,
)
from alphaseal_converter.families import FamilyContext, read_trained_model
from alphaseal_converter.locate.artifacts import Predictions, read_model, read_predictions
from alphaseal_converter.locate.runs import Artifacts
from alphaseal_converter.models.lightgbm import split_gains
from alphaseal_converter.models.lightgbm_text import lightgbm_text
from alphaseal_converter.proof.request import BuildRequest
from locations import DATA, FIXTURES
from manifests import example_manifest, example_sources
from pictures import example_performance

ROOTS = [root for root in (DATA, FIXTURES) if root.is_dir()]
RUNS = sorted(path.parents[2] for root in ROOTS for path in root.rglob("artifacts/sig_analysis/ic.pkl"))
DEMO = next(
    run for run in RUNS if run.is_relative_to(DATA / "factor_plain/workspaces/46797bef467848ea9d5ef3d9b6c75561")
)


def artifacts_of(run: Path) -> Artifacts:
    """The run's artefacts that pictures are made of."""
    found = run / "artifacts"

    def at(name: str) -> Path | None:
        return found / name if (found / name).is_file() else None

    return Artifacts(
        pred=at("pred.pkl"),
        label=at("label.pkl"),
        ic=at("sig_analysis/ic.pkl"),
        ric=at("sig_analysis/ric.pkl"),
        report_normal_1day=at("portfolio_analysis/report_normal_1day.pkl"),
    )


def recorded_metrics(run: Path) -> dict[str, float]:
    """Metrics as mlflow stored them, all digits; with them what only qlib_res.csv has."""
    values = {}
    table = run.parents[2] / "qlib_res.csv"
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as lines:
            values = {row[0]: float(row[1]) for row in csv.reader(lines) if len(row) == 2 and row[0] and row[1]}
    for path in (run / "metrics").iterdir():
        values[path.name] = float(path.read_text(encoding="utf-8").split()[1])
    return values


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name[:12])
def test_correlations_are_those_that_qlib_recorded(run: Path) -> None:
    """The mean of the daily values is the recorded metric, and computing them from scores and labels gives the same days."""
    artifacts, metrics = artifacts_of(run), recorded_metrics(run)
    found = read_correlations(artifacts, None)
    assert isinstance(found, Correlations)
    assert not found.computed
    assert abs(np.nanmean(found.ic) - metrics["IC"]) < 1e-12
    assert abs(np.nanmean(found.rank_ic) - metrics["Rank IC"]) < 1e-12
    assert abs(np.nanmean(found.ic) / np.nanstd(found.ic, ddof=1) - metrics["ICIR"]) < 1e-9
    if artifacts.pred is None:
        return
    computed = read_correlations(replace(artifacts, ic=None), read_predictions(artifacts.pred))
    if artifacts.label is None:
        assert isinstance(computed, Absent)
        return
    assert isinstance(computed, Correlations)
    assert computed.computed
    assert np.array_equal(computed.days, found.days)
    np.testing.assert_allclose(computed.ic, found.ic, rtol=0, atol=1e-12)
    np.testing.assert_allclose(computed.rank_ic, found.rank_ic, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "run", [run for run in RUNS if artifacts_of(run).report_normal_1day], ids=lambda run: run.name[:12]
)
def test_returns_add_up_to_the_recorded_metrics(run: Path) -> None:
    """The last point of the cumulative excess return is the recorded annual figure, scaled; the drawdown is the recorded one."""
    metrics, found = recorded_metrics(run), read_returns(artifacts_of(run))
    assert isinstance(found, Returns)
    for name, daily in (("with_cost", found.with_cost), ("without_cost", found.without_cost)):
        yearly = metrics.get(f"1day.excess_return_{name}.annualized_return")
        if yearly is not None:
            assert abs(np.cumsum(daily)[-1] - yearly / DAYS_A_YEAR * len(daily)) < 1e-12
        drawdown = metrics.get(f"1day.excess_return_{name}.max_drawdown")
        if drawdown is not None:
            total = np.cumsum(daily)
            assert abs((total - np.maximum.accumulate(total)).min() - drawdown) < 1e-12
    assert "1day.excess_return_with_cost.annualized_return" in metrics


def test_demo_run_has_every_number() -> None:
    """The run that the documents build has all files of the pictures, and its table of results the drawdown."""
    artifacts, metrics = artifacts_of(DEMO), recorded_metrics(DEMO)
    assert None not in (artifacts.pred, artifacts.label, artifacts.ic, artifacts.ric, artifacts.report_normal_1day)
    assert {"IC", "Rank IC", "1day.excess_return_with_cost.max_drawdown"} <= set(metrics)


@pytest.mark.slow
def test_built_card_shows_the_run(tmp_path: Path, market: Path) -> None:
    """The bundle of the demo task carries all pictures of its own run, whose importance is LightGBM's own gain."""
    task = DATA / "factor_plain"
    request = BuildRequest(
        out=tmp_path / "bundle",
        task_directory=task,
        workspace_roots=[task / "workspaces"],
        provider=market,
        name="demo",
        sequence=1,
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOURCE_DATE_EPOCH", "1700000000")
        build(request)
        first = (tmp_path / "bundle/card.html").read_bytes()
        build(replace(request, out=tmp_path / "again"))
    assert (tmp_path / "again/card.html").read_bytes() == first
    card = first.decode()
    assert card.count('<svg class="chart"') == 7
    assert card.count("equals the recorded") == 4
    assert "no picture" not in card
    assert "2,369 rows: across the score that qlib recorded" in card
    assert "Largest difference 0 (bound: bit-identical)." in card
    assert len(first) < 200_000
    text, best_iteration = lightgbm_text(read_model((DEMO / "artifacts/params.pkl").read_bytes(), "params.pkl"))
    gains = split_gains(text, best_iteration)
    lightgbm = pytest.importorskip("lightgbm")
    expected = lightgbm.Booster(model_str=text).feature_importance("gain", iteration=best_iteration)
    assert gains is not None
    np.testing.assert_array_equal(gains, expected)
    most = manifest_features(tmp_path / "bundle")[int(np.argmax(expected))]
    share = re.search(
        r"<h4>Importance</h4>.*?<tbody>.*?<td[^>]*>([^<]+)</td>.*?<td class=\"number\">([\d.]+)%", card, re.DOTALL
    )
    assert share is not None
    assert share.group(1) == most
    assert abs(float(share.group(2)) - 100 * expected.max() / expected.sum()) < 0.051


def manifest_features(bundle: Path) -> list[str]:
    """Names of the model's features, in order."""
    return [feature.name for feature in alphaseal.open(bundle, trust=alphaseal.Trust.unsigned()).manifest.features]


def test_gains_that_are_not_stated_are_none() -> None:
    """A text without gains, or with infinite ones, still scores; it only says nothing of importance."""
    text, _ = lightgbm_text(read_model((DEMO / "artifacts/params.pkl").read_bytes(), "params.pkl"))
    header, mark, trees = text.partition("\nTree=0\n")
    blocks = (mark + trees).removeprefix("\n").split("\n\n\n")
    assert split_gains(text) is not None
    first = re.sub(r"split_gain=\S+", "split_gain=inf", blocks[0], count=1)
    assert split_gains(with_sizes(text, text.replace(blocks[0], first, 1))) is None
    without = re.sub(r"split_gain=[^\n]*\n", "", blocks[0], count=1)
    assert split_gains(with_sizes(text, text.replace(blocks[0], without, 1))) is None
    assert header.startswith("tree")


def with_sizes(before: str, after: str) -> str:
    """The changed text with the size of its first tree mended."""
    sizes = re.search(r"tree_sizes=(\d+)", after)
    assert sizes is not None
    return after.replace(sizes.group(), f"tree_sizes={int(sizes.group(1)) + len(after) - len(before)}", 1)


def test_importance_of_xgboost_counts_its_splits() -> None:
    """The importance of trees without stated gains is the library's own number of splits on each feature."""
    xgboost = pytest.importorskip("xgboost")
    rows = np.random.default_rng(3).normal(size=(400, 5))
    booster = xgboost.train(
        {"max_depth": 3, "nthread": 1}, xgboost.DMatrix(rows, rows[:, 1] + rows[:, 3] ** 2), num_boost_round=7
    )
    found = read_trained_model(pickle.dumps(booster), "params.pkl", FamilyContext()).importance
    counts = booster.get_score(importance_type="weight")
    assert found is not None
    assert found.values.tolist() == [counts.get(f"f{place}", 0.0) for place in range(5)]


def with_metrics(**values: float | None) -> str:
    """The card of the demo run's correlations and returns beside its metrics, some of them replaced."""
    artifacts, manifest = artifacts_of(DEMO), example_manifest()
    metrics = msgspec.structs.replace(manifest.metrics, values=recorded_metrics(DEMO) | values)
    measured = replace(
        NOTHING_MEASURED, correlations=read_correlations(artifacts, None), returns=read_returns(artifacts)
    )
    return render_card(msgspec.structs.replace(manifest, metrics=metrics), {}, None, measured)


def test_card_says_whether_a_picture_is_the_metric() -> None:
    """Equal numbers are said to be equal, and a metric of another run is said to differ."""
    card = with_metrics()
    assert card.count("equals the recorded") == 4
    assert "The mean equals the recorded IC." in card
    assert "which equals the recorded annualized return." in card
    assert "does not equal" not in card
    other = with_metrics(IC=0.09)
    assert "The mean does not equal the recorded IC of 0.09" in other
    assert other.count("equals the recorded") == 3
    assert "The mean equals the recorded IC" not in with_metrics(IC=None)


def test_every_picture_stands_in_the_card() -> None:
    """All pictures are there, each with title and description, and each polyline has a point for every day."""
    card = render_card(example_manifest(), example_sources(), None, example_performance())
    pictures = re.findall(r'<svg class="chart".*?</svg>', card, flags=re.DOTALL)
    titles = [match.group(1) for picture in pictures if (match := re.search(r"<title[^>]*>(.*?)</title>", picture))]
    assert titles == [
        "Cumulative excess return over the benchmark",
        "Drawdown of the excess return",
        "Daily IC",
        "Daily Rank IC",
        "Cumulative IC and rank IC",
        "Distribution of scores",
        "Scores of this bundle against recorded scores",
    ]
    for picture in pictures:
        first, second = re.findall(r'aria-labelledby="([^ "]+) ([^ "]+)"', picture)[0]
        assert f'<title id="{first}">' in picture
        assert f'<desc id="{second}">' in picture
        assert "NaN" not in picture
        assert "nan" not in picture
        assert "inf" not in picture
    lines = re.findall(r'<path d="([^"]+)" class="line', pictures[0])
    assert [line.count("L") + 1 for line in lines] == [40, 40]
    assert re.findall(r'<path d="([^"]+)" class="bars', pictures[2])[0].count("M") == 39
    assert "one day" in card
    assert 'class="bar"' in card
    assert "1,000 rows" in card
    assert "Largest difference 0 (bound: sums in tree order, in double)." in card


def test_absent_numbers_are_said() -> None:
    """A picture without numbers is replaced by the reason."""
    reason = "the run holds no portfolio_analysis/report_normal_1day.pkl"
    assert read_returns(Artifacts()) == Absent(reason)
    assert isinstance(read_correlations(Artifacts(), None), Absent)
    measured = replace(
        NOTHING_MEASURED,
        returns=Absent(reason),
        importance=Absent("a torch model states no importance of single features"),
    )
    card = render_card(example_manifest(), {}, None, measured)
    assert f"Excess return and drawdown: no picture, because {reason}." in card
    assert "Importance of features: no picture, because a torch model states no importance" in card
    assert '<svg class="chart"' not in card


@pytest.mark.parametrize(
    ("field", "data", "said"),
    [
        ("ic", b"\x80\x04.", "sig_analysis/ic.pkl and ric.pkl cannot be shown"),
        ("ric", b"", "sig_analysis/ic.pkl and ric.pkl cannot be shown"),
        ("report_normal_1day", b"cos\nsystem\n(S'true'\ntR.", "report_normal_1day.pkl cannot be shown"),
    ],
)
def test_unreadable_files_are_said_and_refuse_nothing(tmp_path: Path, field: str, data: bytes, said: str) -> None:
    """Broken or hostile files of the pictures run nothing and stop nothing: the card names them, without paths."""
    broken = tmp_path / "broken.pkl"
    broken.write_bytes(data)
    artifacts = replace(artifacts_of(DEMO), **{field: broken})
    found = [part for part in (read_correlations(artifacts, None), read_returns(artifacts)) if isinstance(part, Absent)]
    assert len(found) == 1
    assert said in found[0].why
    assert str(tmp_path) not in found[0].why


def test_wrong_artifacts_are_said() -> None:
    """A file of another form in the place of another is not drawn."""
    artifacts = artifacts_of(DEMO)
    swapped = replace(artifacts, ic=artifacts.pred, report_normal_1day=artifacts.label)
    assert isinstance(read_correlations(swapped, None), Absent)
    assert isinstance(read_returns(swapped), Absent)


def test_computed_correlations_follow_qlib() -> None:
    """Pairs without a label are left out, ties share a rank, rows are joined by key, and a constant day has no value."""
    days = np.array(["2024-01-02"] * 4 + ["2024-01-03"] * 3, dtype="datetime64[D]")
    names = np.array(["A", "B", "C", "D", "A", "B", "C"], dtype=object)
    scores = Predictions(days, names, np.array([1.0, 2.0, 2.0, 4.0, 5.0, 5.0, 5.0]))
    turned = slice(None, None, -1)
    labels = Predictions(
        days[turned],
        names[turned],
        np.array(
            [
                0.1,
                0.5,
                np.nan,
                2.0,
                3.0,
                1.0,
                1.0,
            ]
        )[turned],
    )
    found = correlations_of(scores, labels)
    assert found.days.tolist() == [np.datetime64("2024-01-02").item(), np.datetime64("2024-01-03").item()]
    # A, B, D of the first day: scores 1, 2, 4 against 0.1, 0.5, 2.0.
    assert abs(found.ic[0] - np.corrcoef([1, 2, 4], [0.1, 0.5, 2.0])[0, 1]) < 1e-15
    assert abs(found.rank_ic[0] - 1.0) < 1e-15
    assert np.isnan(found.ic[1])
    assert np.isnan(found.rank_ic[1])


def test_all_rows_are_in_a_picture() -> None:
    """Every score is counted in the distribution, and rows that differ are off the line of the scatter."""
    scores = np.linspace(-1.0, 1.0, 5001)
    days = np.repeat(np.datetime64("2024-01-02"), len(scores))
    spread = distribution(Predictions(days, np.array(["A"] * len(scores), dtype=object), scores))
    assert isinstance(spread, Distribution)
    assert spread.counts.sum() == len(scores)
    ours = scores.copy()
    ours[2500] = 0.5
    found = agreement(ours, scores)
    assert isinstance(found, Agreement)
    assert found.rows == len(scores)
    assert found.largest_difference == 0.5
    away = np.abs(found.ours - found.recorded) > 0.1
    assert away.sum() == 1
    assert len(found.ours) < 200
    same = agreement(np.full(3, 0.25), np.full(3, 0.25))
    assert isinstance(same, Agreement)
    assert same.largest_difference == 0.0
    assert len(same.ours) == 1
    assert isinstance(agreement(np.full(2, np.nan), np.zeros(2)), Absent)
    assert isinstance(distribution(Predictions(days[:1], np.array(["A"], dtype=object), np.array([np.nan]))), Absent)


def path_of(picture: Element, style: str) -> str:
    """The path of the part of a chart that has this style."""
    todo, found = [picture], []
    while todo:
        part = todo.pop()
        attributes = dict(part.attributes)
        if part.tag == "path" and attributes.get("class", "").startswith(style):
            found.append(attributes["d"])
        todo += [child for child in part.children if isinstance(child, Element)]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("count", [1, 2, 40, 5000])
def test_extremes_survive_in_bounded_space(count: int) -> None:
    """Any number of days gives a bounded path, in which the single highest day is still the highest point."""
    days = np.busday_offset(np.datetime64("2001-01-01"), np.arange(count), roll="forward")
    values = np.zeros(count)
    values[count // 2] = 1.0
    for picture, style in (
        (line_chart("a", "t", "d", days, [Series("s", values)], "percent"), "line"),
        (bar_chart("a", "t", "d", days, values), "bars"),
    ):
        path = path_of(picture, style)
        assert len(path) < 20_000
        heights = [float(number) for number in re.findall(r"[ V](-?[\d.]+)", path)]
        assert min(heights) < 50.0 or count == 1
        assert min(heights) >= 0.0
        assert max(heights) <= 220.0


@pytest.mark.parametrize("scale", [1e-25, 1e-10, 1.0, 1e12, 1e29])
def test_axes_hold_any_magnitude(scale: float) -> None:
    """Tiny and huge numbers keep finite coordinates inside the picture, and no label repeats."""
    days = np.busday_offset(np.datetime64("2024-01-01"), np.arange(3))
    picture = line_chart("a", "t", "d", days, [Series("s", np.array([-1.0, 0.3, 2.0]) * scale)], "number")
    heights = [float(number) for number in re.findall(r" (-?[\d.]+)", path_of(picture, "line"))]
    assert all(0 <= height <= 220 for height in heights)
    assert max(heights) - min(heights) > 100


@pytest.mark.slow
def test_size_is_bounded() -> None:
    """Code and descriptions of many megabytes give a card below its limit, which says what it leaves out."""
    manifest = example_manifest()
    factor = manifest.sota_factors[0]
    factors = [
        msgspec.structs.replace(factor, position=None, name=f"F{number}", description="<\u202e&" * 12_000)
        for number in range(60)
    ]
    manifest = msgspec.structs.replace(manifest, sota_factors=factors)
    sources = example_sources() | {"sources/model.py": "x = '<&>'\n" * 300_000, "sources/long.py": "y = 1\n" * 100_000}
    card = render_card(manifest, sources, None, example_performance())
    assert len(card.encode()) <= MAXIMUM_BYTES
    assert re.search(r"… \[[\d,]+ more characters are not shown here\]", card)
    assert "Ready" in card
    assert card.endswith("</html>\n")
    # Ordinary code is shown whole.
    whole = render_card(example_manifest(), example_sources(), None, example_performance())
    assert "not shown here" not in whole


@pytest.mark.slow
def test_many_features_are_bounded() -> None:
    """Ten thousand features, the most that a manifest may have, still give a card below its limit."""
    manifest = example_manifest()
    features = [msgspec.structs.replace(manifest.features[0], name=f"FEATURE_{number}") for number in range(10_000)]
    manifest = msgspec.structs.replace(manifest, features=features, sota_factors=[])
    card = render_card(manifest, {}, None, example_performance(features=10_000))
    assert len(card.encode()) <= MAXIMUM_BYTES
    assert "more are not shown here" in card
