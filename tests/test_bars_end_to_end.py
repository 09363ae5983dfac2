"""Bars in, scores out: builds that are proven by the market data alone, and scores that are qlib's recorded ones."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal.cli import main as alphaseal_command
from alphaseal.format.factors import NotCompiledFactor
from alphaseal.format.manifest import AlphaGraph
from alphaseal_converter.build import build
from alphaseal_converter.cli import main as convert_command
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.market.provider import open_provider, read_bars
from bundles import DIRECT, FACTOR_PLAIN, direct_request, factor_plain_bundle, factor_plain_request, raw_values
from commands import answer_of
from locations import DATA, REPOSITORY

UNSIGNED = alphaseal.Trust.unsigned()
LIGHTGBM = FACTOR_PLAIN / "truth/hist2_factor"
NETWORK = DATA / "model_plain"
WORKSPACE = "46797bef467848ea9d5ef3d9b6c75561"
SOTA = FACTOR_PLAIN / "workspaces" / WORKSPACE / "combined_factors_df.parquet"


@cache
def bars_file() -> Path:
    """Bars of half a year before the test segment and of the segment, as a trading system has them."""
    out, program = Path(mkdtemp(prefix="alphaseal-bars-")), REPOSITORY / "tools/research/simulate_market.py"
    command = [sys.executable, str(program), "--out", str(out), "--provider-only", "--bars", "2021-05-01"]
    subprocess.run(command, check=True)
    return out / "bars.parquet"


@cache
def built_from_bars(market: Path) -> Path:
    """The demo's task, built and proven with the market data and without qlib; its factors are left as code."""
    out = Path(mkdtemp(prefix="alphaseal-test-")) / "bundle"
    return build(factor_plain_request(out, features=None, provider=market, compile_factors=False)).path


def check_without_suspended_rows(bundle: Path, features: Path | None) -> None:
    """Rows of suspended days left out change no score of the stocks that have one, and the others are named."""
    bars = pq.read_table(bars_file())
    traded = bars.filter(pc.invert(pc.is_nan(bars["close"])))
    opened, dates = alphaseal.open(bundle, trust=UNSIGNED), ("2021-11-01", "2021-12-24")
    full = opened.score(features, bars=bars, dates=dates).table
    short = opened.score(features, bars=traded, dates=dates)
    keys = set(zip(pc.cast(traded["datetime"], pa.date32()).to_pylist(), traded["instrument"].to_pylist(), strict=True))
    wanted, left_out = {}, set()
    for row in full.to_pylist():
        key = (row["datetime"], row["instrument"])
        if key in keys:
            wanted[key] = row["score"]
        else:
            left_out.add((*key, "no_bars"))
    assert {(row["datetime"], row["instrument"]): row["score"] for row in short.table.to_pylist()} == wanted
    assert len(wanted) == 2287
    assert left_out <= {tuple(row.values()) for row in short.excluded.to_pylist()}


def tops(table: pa.Table, score: str, count: int) -> dict[str, list[str]]:
    """The stocks with the highest scores of every day, in order; equal scores by name."""
    days: dict[str, list[tuple[float, str]]] = {}
    for row in table.to_pylist():
        days.setdefault(str(row["datetime"])[:10], []).append((-row[score], row["instrument"]))
    return {day: [name for _, name in sorted(rows)[:count]] for day, rows in days.items()}


@pytest.mark.slow
def test_build_from_the_market_data_is_ready(market: Path) -> None:
    """Order and scores are replayed from bars bit for bit, and every alpha feature is in the graph."""
    manifest = alphaseal.open(built_from_bars(market), trust=UNSIGNED).manifest
    replay = manifest.order.replay
    assert manifest.eligibility.ready
    assert replay is not None
    assert (replay.values, replay.rows, replay.recorded, replay.largest_ulp) == ("bars", 2369, 2369, 0)
    assert manifest.parity.days is not None
    assert manifest.parity.days.same_order == manifest.parity.days.days == 40
    assert isinstance(manifest.alphas, AlphaGraph)
    alphas = [feature for feature in manifest.features if feature.origin == "alpha"]
    assert sorted(manifest.alphas.features) == sorted(feature.name for feature in alphas)
    assert len(alphas) == 20
    assert all(feature.not_compiled is None and feature.look_back_from == "expression" for feature in alphas)
    assert {feature.name: feature.look_back for feature in alphas}["ROC60"] == 61 == manifest.alphas.window
    assert {feature.name: feature.inputs for feature in alphas}["CORR5"] == ["close", "volume"]
    assert all(f.look_back is None and f.inputs is None for f in manifest.features if f.origin != "alpha")


@pytest.mark.slow
def test_the_parts_of_the_graph_are_the_same_whoever_gave_the_raw_values(market: Path, tmp_path: Path) -> None:
    """With qlib's raw values and the market beside them: the same graphs and golden bars, another replay."""
    built = build(factor_plain_request(tmp_path / "bundle", provider=market, compile_factors=False))
    assert built.manifest.order.replay is not None
    assert built.manifest.order.replay.values == "features_file"
    for name in ("alphas.onnx", "golden_bars.parquet", "model.onnx"):
        assert (built.path / name).read_bytes() == (built_from_bars(market) / name).read_bytes(), name


@pytest.mark.slow
def test_same_market_gives_the_same_bytes(market: Path, tmp_path: Path) -> None:
    """Two builds from bars are equal file by file, wherever the market data lie."""
    shutil.copytree(market, tmp_path / "elsewhere")
    request = factor_plain_request(
        tmp_path / "bundle", features=None, provider=tmp_path / "elsewhere", compile_factors=False
    )
    again, first = build(request).path, built_from_bars(market)
    names = sorted(path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again).as_posix() for path in again.rglob("*") if path.is_file())
    assert [name for name in names if (first / name).read_bytes() != (again / name).read_bytes()] == []


@pytest.mark.slow
def test_bars_and_sota_factors_give_the_recorded_top_50(
    market: Path,
    tmp_path: Path,
) -> None:
    """LightGBM: on every test date the command gives qlib's scores bit for bit, from bars and the SOTA factors alone."""
    out = tmp_path / "scores.parquet"
    place = ("--workspace-root", str(FACTOR_PLAIN / "workspaces"))
    bundle = str(tmp_path / "bundle")
    made = answer_of(
        convert_command,
        *("build", str(FACTOR_PLAIN), *place, "--provider", str(market), "--no-compile-factors", "--out", bundle),
    )
    assert made["result"]["ready"] is True
    tested = answer_of(alphaseal_command, "selftest", bundle, "--allow-unsigned")
    assert tested["ok"]
    scored = answer_of(
        alphaseal_command,
        *("score", bundle, "--allow-unsigned", "--bars", str(bars_file()), "--features", str(SOTA)),
        *("--dates", "2021-11-01:2021-12-24", "--out", str(out)),
    )
    assert (scored["result"]["scored"], scored["result"]["dates"]) == (2369, 40)
    scores, recorded = pq.read_table(out), pq.read_table(LIGHTGBM / "pred.parquet")
    assert tops(scores, "score", 50) == tops(recorded, "score", 50)
    keys = [("datetime", "ascending"), ("instrument", "ascending")]
    ours, theirs = scores.sort_by(keys)["score"].to_numpy(), recorded.sort_by(keys)["score"].to_numpy()
    assert ours.tobytes() == theirs.astype(np.float64).tobytes()


def test_suspended_days_need_no_rows(market: Path) -> None:
    """The demo's task scores every stock that trades as it does from qlib's own table, which has rows without values."""
    check_without_suspended_rows(built_from_bars(market), SOTA)


@pytest.mark.slow
def test_bars_alone_give_the_recorded_top_50_of_a_network(
    market: Path,
    tmp_path: Path,
) -> None:
    """A recurrent network on windows of 20 days: proven from bars, and qlib's top 50 on every test date from bars alone."""
    pytest.importorskip("torch")
    bundle, out = str(tmp_path / "bundle"), tmp_path / "scores.parquet"
    made = answer_of(
        convert_command,
        *("build", "--weights", "scan", "--workspace-root", str(NETWORK / "workspaces"), "--run-model-code"),
        *("--provider", str(market), "--out", bundle),
    )
    assert made["ok"], made
    assert made["result"]["order"] == "replayed"
    scored = answer_of(
        alphaseal_command,
        *("score", bundle, "--allow-unsigned", "--bars", str(bars_file())),
        *("--dates", "2021-11-01:2021-12-24", "--out", str(out)),
    )
    assert (scored["result"]["scored"], scored["result"]["dates"]) == (2369, 40)
    recorded = pq.read_table(NETWORK / "truth/hist1_model/pred.parquet")
    for count in (5, 10, 50):
        assert tops(pq.read_table(out), "score", count) == tops(recorded, "score", count)
    check_without_suspended_rows(Path(bundle), None)


@pytest.mark.parametrize("case", DIRECT)
@pytest.mark.slow
def test_three_loaders_are_replayed_from_bars(case: str, market: Path, tmp_path: Path) -> None:
    """Nested, custom and Alpha158 loaders: qlib's scores bit for bit from bars, all 158 expressions among them."""
    manifest = build(direct_request(case, tmp_path / "bundle", features=None, provider=market)).manifest
    assert manifest.order.replay is not None
    assert (manifest.order.replay.values, manifest.order.replay.largest_ulp) == ("bars", 0)
    assert manifest.alphas is not None
    assert all(feature.not_compiled is None for feature in manifest.features)


def test_the_configured_market_is_used_without_being_asked(market: Path, tmp_path: Path) -> None:
    """Where the run's own path is there (through --map) the replay happens by itself, unless it is not to."""
    maps = [("/data/rdagent/market/qlib_bin", str(market))]
    asked = {"features": None, "path_maps": maps}
    assert build(factor_plain_request(tmp_path / "a", **asked)).manifest.order.proof == "replayed"
    manifest = build(factor_plain_request(tmp_path / "b", **asked, without_provider=True)).manifest
    assert manifest.order.proof == "evidence"
    assert manifest.alphas is None
    reasons = {feature.not_compiled for feature in manifest.features if feature.origin == "alpha"}
    assert reasons == {"the market data were not to be used (--without-provider)"}


def test_without_market_data_there_is_no_graph_and_every_feature_says_why() -> None:
    """Raw values alone prove the model, not the bars; look-back and inputs are facts of the expression all the same."""
    manifest = alphaseal.open(factor_plain_bundle(), trust=UNSIGNED).manifest
    assert manifest.alphas is None
    for feature in manifest.features:
        alpha = feature.origin == "alpha"
        assert (feature.not_compiled is not None) == alpha
        assert (feature.look_back is not None) == alpha
    assert not (factor_plain_bundle() / "alphas.onnx").exists()


@pytest.fixture
def own_market(market: Path, tmp_path: Path) -> Path:
    """A copy of the market that a test may change."""
    shutil.copytree(market, tmp_path / "market")
    return tmp_path / "market"


def change(place: Path, factor: float, since: int = 0) -> None:
    """Multiply the values of a file of bars."""
    content = np.fromfile(place, "<f4")
    content[1 + since :] *= np.float32(factor)
    content.tofile(place)


def test_other_market_data_are_refused(own_market: Path, tmp_path: Path) -> None:
    """Bars that are not those of the run do not reproduce its predictions: no bundle, and what to do."""
    for place in own_market.glob("features/*/close.day.bin"):
        change(place, 1.5, since=700)
    with pytest.raises(RefusalError) as caught:
        build(factor_plain_request(tmp_path / "bundle", features=None, provider=own_market))
    assert caught.value.code == "order.replay_differs"
    assert "--without-provider" in str(caught.value)
    assert not (tmp_path / "bundle").exists()


def test_market_data_beside_raw_values_must_give_the_same_alphas(own_market: Path, tmp_path: Path) -> None:
    """Raw values prove the model; a field of the market that is another leaves the features that read it out."""
    for place in own_market.glob("features/*/open.day.bin"):
        change(place, 1.01)
    manifest = build(factor_plain_request(tmp_path / "bundle", provider=own_market)).manifest
    assert manifest.eligibility.ready
    assert manifest.alphas is not None
    left_out = {feature.name for feature in manifest.features if feature.not_compiled is not None}
    assert left_out == {f.name for f in manifest.features if f.inputs is not None and "open" in f.inputs} != set()
    gap = next(feature for feature in manifest.features if feature.name == "GAP_OPEN_1D").compilation
    assert isinstance(gap, NotCompiledFactor)
    assert gap.code == "differs"
    assert left_out.isdisjoint(manifest.alphas.features)
    assert "open" not in manifest.alphas.fields


@pytest.mark.slow
def test_a_single_value_that_is_another_is_named(own_market: Path, tmp_path: Path) -> None:
    """One stock's last day beside raw values: the note names it, and its bars are no golden ones."""
    change(own_market / "features/sh601008/open.day.bin", 1.01, since=738)
    manifest = build(factor_plain_request(tmp_path / "bundle", provider=own_market)).manifest
    assert manifest.alphas is not None
    assert len(manifest.alphas.features) == 20
    assert manifest.parity.note is not None
    assert manifest.parity.note.startswith("2 of 2360 alpha values of the golden days are not what bars give: KL")
    assert "of SH601008 on 2021-12-24" in manifest.parity.note
    golden = set(pq.read_table(tmp_path / "bundle/golden_bars.parquet")["instrument"].to_pylist())
    assert len(golden) == 58
    assert "SH601008" not in golden


def test_statistics_of_alpha_features_come_from_training_days(market: Path, tmp_path: Path) -> None:
    """Quantiles of the rows of the training segment that have a label; the source says so, and how many days were looked at."""
    manifest = alphaseal.open(built_from_bars(market), trust=UNSIGNED).manifest
    statistics = {feature.name: feature.statistics for feature in manifest.features if feature.origin == "alpha"}
    source = "alphas.onnx on 497 of 497 days of the run's market data, evenly spread: the rows of the run's market that have a label"
    assert {(s.source, s.rows) for s in statistics.values() if s is not None} == {(source, 28273)}
    found = statistics["KLEN"]
    assert found is not None
    provider = open_provider(market)
    fields = ("close", "high", "low", "open")
    bars = read_bars(provider, provider.universe("demo62"), fields, slice(0, 499), (None, None))
    close, high, low, opened = np.moveaxis(bars.values, -1, 0)
    # The label is the return from tomorrow's close to that of the day after: DropnaLabel keeps the rows that have one.
    labelled = np.isfinite(close[:, 2:] / close[:, 1:-1]) & bars.present[:, :-2]
    whole = ((high - low) / opened)[:, :-2][labelled]
    assert len(whole) == found.rows
    assert found.null_ratio == np.isnan(whole).mean()
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert found.quantiles[str(level)] == pytest.approx(np.nanquantile(whole, level), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("calendars/day.txt", None, "provider.not_found"),
        ("calendars/day.txt", b"2019-01-02\n2019-01-03\n", "provider.day"),
        ("instruments/demo62.txt", None, "provider.market"),
        ("instruments/demo62.txt", b"SH601001 2019-01-02\n", "provider.instruments"),
        ("features/sh601001/close.day.bin", b"\x00" * 7, "provider.damaged"),
    ],
)
def test_damaged_market_data_are_refused_by_name(
    name: str, content: bytes | None, code: str, own_market: Path, tmp_path: Path
) -> None:
    """Named with --provider and the only source of raw values: a refusal, and nothing is written."""
    if content is None:
        (own_market / name).unlink()
    else:
        (own_market / name).write_bytes(content)
        if name.startswith("calendars"):
            shutil.rmtree(own_market / "features")
            (own_market / "features").mkdir()
    with pytest.raises(RefusalError) as caught:
        build(factor_plain_request(tmp_path / "bundle", features=None, provider=own_market))
    assert caught.value.code == code
    assert not (tmp_path / "bundle").exists()


@pytest.mark.skipif(importlib.util.find_spec("qlib") is not None, reason="qlib is installed here, and is asked")
def test_replay_writes_the_alpha_values_without_qlib(
    market: Path,
    tmp_path: Path,
) -> None:
    """The verb gives the bits that qlib gave, on the days of the recorded predictions."""
    raw = tmp_path / "raw.parquet"
    place = ("--workspace-root", str(FACTOR_PLAIN / "workspaces"), "--provider", str(market))
    reply = answer_of(convert_command, "replay", str(FACTOR_PLAIN), *place, "--out", str(raw))
    assert reply["result"]["features"] == 20
    keys = [("datetime", "ascending"), ("instrument", "ascending")]
    table, truth = pq.read_table(raw), pq.read_table(raw_values(LIGHTGBM)).sort_by(keys)
    truth = truth.filter(pa.array(truth["datetime"].to_numpy() >= np.datetime64("2021-11-01")))
    assert table["instrument"].to_pylist() == truth["instrument"].to_pylist()
    for name in table.column_names[2:]:
        ours, theirs = table[name].to_numpy(), truth[name].to_numpy()
        assert np.allclose(ours, theirs, rtol=0, atol=1e-12, equal_nan=True), name
    built = build(factor_plain_request(tmp_path / "bundle", features=raw))
    assert built.manifest.eligibility.ready
