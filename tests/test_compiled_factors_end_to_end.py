"""Bars in, and nothing else: factors by the bundle's graphs, scores that are qlib's recorded ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal.cli import main as alphaseal_command
from alphaseal.errors import AlphasealError
from alphaseal.format import manifest as m
from alphaseal.format.factors import CompiledFactor, NotCompiledFactor
from alphaseal_converter import build as build_module
from alphaseal_converter.build import build
from alphaseal_converter.cli import main as convert_command
from alphaseal_converter.evidence import golden as golden_module
from alphaseal_converter.factors.expressions.evaluate import evaluate
from alphaseal_converter.factors.expressions.words import readable
from alphaseal_converter.market.provider import open_provider, read_bars
from alphaseal_converter.proof.request import BuildRequest
from bundles import FACTOR_PLAIN, direct_request, factor_plain_request
from commands import answer_of
from locations import FIXTURES
from test_bars_end_to_end import LIGHTGBM, SOTA, bars_file, built_from_bars, tops

UNSIGNED = alphaseal.Trust.unsigned()
DATES = ("2021-11-01", "2021-12-24")
KEYS = [("datetime", "ascending"), ("instrument", "ascending")]

pytestmark = pytest.mark.slow


@cache
def compiled_from_bars(market: Path) -> Path:
    """The demo's task, built from the market data."""
    out = Path(mkdtemp(prefix="alphaseal-test-")) / "bundle"
    return build(factor_plain_request(out, features=None, provider=market)).path


def test_bars_alone_give_the_recorded_predictions(market: Path, tmp_path: Path) -> None:
    """LightGBM with four SOTA factors: on every test date qlib's scores bit for bit, from a file of bars by the command."""
    out = tmp_path / "scores.parquet"
    bundle = str(compiled_from_bars(market))
    assert answer_of(alphaseal_command, "selftest", bundle, "--allow-unsigned")["result"]["factors"]["features"] == 4
    scored = answer_of(
        alphaseal_command,
        *("score", bundle, "--allow-unsigned", "--bars", str(bars_file()), "--dates", ":".join(DATES)),
        *("--out", str(out)),
    )
    assert (scored["result"]["scored"], scored["result"]["dates"]) == (2369, 40)
    scores, recorded = pq.read_table(out).sort_by(KEYS), pq.read_table(LIGHTGBM / "pred.parquet").sort_by(KEYS)
    assert tops(scores, "score", 50) == tops(recorded, "score", 50)
    assert scores["score"].to_numpy().tobytes() == recorded["score"].to_numpy().astype(np.float64).tobytes()


def test_every_factor_of_the_task_is_compiled_and_proven(market: Path) -> None:
    """All recorded cells of each factor, equal within the bound, with nothing left out."""
    manifest = alphaseal.open(compiled_from_bars(market), trust=UNSIGNED).manifest
    factors = {feature.name: feature for feature in manifest.features if feature.origin == "sota"}
    assert sorted(factors) == ["GAP_OPEN_1D", "REV_3D", "TURNOVER_Z_40D", "VOLUME_JUMP_2D"]
    for feature in factors.values():
        assert isinstance(feature.compilation, CompiledFactor)
        proof = feature.compilation.proof
        assert (proof.cells, proof.unknown, proof.noise) == (2569, 0, 0)
        assert proof.largest <= proof.bound
        assert feature.look_back_from == "expression"
        assert feature.look_ahead is False
    assert {name: feature.look_back for name, feature in factors.items()} == {
        "GAP_OPEN_1D": 2,
        "REV_3D": 4,
        "TURNOVER_Z_40D": 40,
        "VOLUME_JUMP_2D": 3,
    }
    assert manifest.compiled is not None
    assert manifest.compiled.complete_rows


@pytest.mark.skipif(not FIXTURES.exists(), reason="the full set of leftovers is not here")
@pytest.mark.parametrize(
    ("anchor", "truth", "least"), [("auto", "hist4_model", 5e-7), ("factor", "hist2_factor", 5e-7)]
)
def test_networks_on_factors_score_from_bars_alone(
    anchor: str, truth: str, least: float, market: Path, tmp_path: Path
) -> None:
    """A task of factors and models: five factors compiled, and a network's recorded scores from bars as near as float32 is."""
    pytest.importorskip("torch")
    task = FIXTURES / "quant_signed"
    request = BuildRequest(
        out=tmp_path / "bundle",
        task_directory=task,
        workspace_roots=[task / "workspaces"],
        provider=market,
        anchor=anchor,
        run_model_code=True,
        session_key=task / "artifact_signing.key",
    )
    bundle = alphaseal.open(build(request).path, trust=UNSIGNED)
    sota = [feature for feature in bundle.manifest.features if feature.origin == "sota"]
    assert len(sota) in (4, 5)
    assert all(isinstance(feature.compilation, CompiledFactor) for feature in sota)
    scores = bundle.score(bars=bars_file(), dates=DATES).table.sort_by(KEYS)
    recorded = pq.read_table(task / "truth" / truth / "pred.parquet").sort_by(KEYS)
    assert scores["instrument"].to_pylist() == recorded["instrument"].to_pylist()
    assert np.abs(scores["score"].to_numpy() - recorded["score"].to_numpy()).max() < least
    assert tops(scores, "score", 5) == tops(recorded, "score", 5)


def test_a_stream_of_years_is_the_days_one_by_one(market: Path) -> None:
    """Factors of parts of a file are those of the whole."""
    bundle = alphaseal.open(compiled_from_bars(market), trust=UNSIGNED)
    parts = [part.table for part in bundle.score_stream(bars=bars_file(), dates=DATES)]
    whole = bundle.score(bars=bars_file(), dates=DATES).table
    assert pa.concat_tables(parts).sort_by(KEYS).equals(whole.sort_by(KEYS))
    day = bundle.score(bars=bars_file(), date=DATES[1]).table
    wanted = whole.filter(pc.equal(pc.cast(whole["datetime"], pa.date32()), pc.cast(pa.scalar(DATES[1]), pa.date32())))
    assert day.sort_by(KEYS)["score"].equals(wanted.sort_by(KEYS)["score"])


def test_a_factor_has_one_source(market: Path) -> None:
    """A table that brings a compiled factor too is refused, and so is a side table that nobody reads."""
    bundle = alphaseal.open(compiled_from_bars(market), trust=UNSIGNED)
    with pytest.raises(AlphasealError) as caught:
        bundle.score(SOTA, bars=bars_file(), date=DATES[0])
    assert caught.value.code == "bars.features_twice"
    with pytest.raises(AlphasealError) as caught:
        bundle.score(bars=bars_file(), static=SOTA, date=DATES[0])
    assert caught.value.code == "usage.static"
    with pytest.raises(AlphasealError) as caught:
        bundle.score(SOTA, static=SOTA, date=DATES[0])
    assert caught.value.code == "usage.static"


def test_left_as_code_they_are_scored_from_a_table_as_before(market: Path) -> None:
    """`--no-compile-factors`, and the older format, have no programs; a table of the factors gives the same scores."""
    bundle = alphaseal.open(built_from_bars(market), trust=UNSIGNED)
    assert bundle.manifest.compiled is None
    assert all(feature.compilation is None for feature in bundle.manifest.features)
    scores = bundle.score(SOTA, bars=bars_file(), dates=DATES).table
    compiled = alphaseal.open(compiled_from_bars(market), trust=UNSIGNED).score(bars=bars_file(), dates=DATES).table
    assert scores.sort_by(KEYS).equals(compiled.sort_by(KEYS))


def test_nothing_is_left_for_the_verb_features(market: Path, tmp_path: Path) -> None:
    """Where all factors are compiled there is no code to run, and the refusal says what to do instead."""
    answer = answer_of(
        convert_command,
        *("features", str(compiled_from_bars(market)), "--allow-unsigned", "--bars", str(bars_file())),
        *("--date", DATES[0], "--out", str(tmp_path / "features.parquet")),
    )
    assert answer["exit"] == 20
    assert answer["code"] == "features.nothing"
    assert "alphaseal score --bars" in answer["next"]


def _changed(bundle: Path, tmp_path: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> Path:
    """The bundle with another file, listed with its new digest."""
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    table = change(pq.read_table(copy / name))
    pq.write_table(table, copy / name, store_schema=False, write_statistics=False)
    data = (copy / name).read_bytes()
    manifest = m.parse((copy / m.FILE_NAME).read_bytes())
    files = [
        msgspec.structs.replace(entry, size=len(data), sha256=m.digest(data)) if entry.path == name else entry
        for entry in manifest.files
    ]
    (copy / m.FILE_NAME).write_bytes(m.encode(msgspec.structs.replace(manifest, files=files)))
    return copy


def _moved(table: pa.Table) -> pa.Table:
    name = "factor:REV_3D"
    values = pc.multiply(table[name], 1.0001)
    return table.set_column(table.column_names.index(name), name, values)


def test_other_numbers_on_this_machine_stop_the_first_score(market: Path, tmp_path: Path) -> None:
    """Golden factors that the programs do not give: neither a self-test nor a score goes through."""
    changed = _changed(compiled_from_bars(market), tmp_path, "golden_factors.parquet", _moved)
    bundle = alphaseal.open(changed, trust=UNSIGNED)
    for work in (bundle.selftest, lambda: bundle.score(bars=bars_file(), date=DATES[0])):
        with pytest.raises(AlphasealError) as caught:
            work()
        assert caught.value.code == "selftest.factors"
        assert "REV_3D" in str(caught.value)


def test_a_field_of_a_factor_alone_has_its_unit_shown(market: Path) -> None:
    """Volumes in hundreds move a factor as they move no alpha feature: such bars are refused."""
    bundle = alphaseal.open(compiled_from_bars(market), trust=UNSIGNED)
    assert bundle.manifest.alphas is not None
    units: dict[str, Any] = bundle.manifest.alphas.units or {}
    factors = {feature.name: feature for feature in bundle.manifest.features if feature.origin == "sota"}
    ratio = (factors["REV_3D"].invariance or {})["price"]
    assert ratio.per_stock
    assert ratio.common
    # Of volumes a z-score and a ratio are left as they are, whatever a stock's unit is.
    assert "TURNOVER_Z_40D" not in units["volume"].seen_by
    assert all(name not in units["close"].seen_by for name in factors) if "close" in units else True
    bars = pq.read_table(bars_file())
    place = bars.column_names.index("volume")
    hundreds = bars.set_column(place, "volume", pc.cast(pc.divide(bars["volume"], 100), pa.float32()))
    with pytest.raises(AlphasealError) as caught:
        bundle.score(bars=hundreds, date=DATES[0])
    assert caught.value.code == "bars.units"


def test_the_build_says_what_became_of_each_factor(
    market: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each, for people."""
    place = ("--workspace-root", str(FACTOR_PLAIN / "workspaces"), "--provider", str(market))
    assert convert_command(["build", str(FACTOR_PLAIN), *place, "--out", str(tmp_path / "bundle")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("factor  ")]
    assert len(lines) == 4
    assert all(": compiled; 2,569 of 2,569 cells" in line for line in lines)


def test_the_json_of_a_build_says_the_same_and_a_second_build_has_the_same_bytes(market: Path, tmp_path: Path) -> None:
    """Per factor what the manifest says of it; nothing in a bundle depends on when or where it was built."""
    place = ("--workspace-root", str(FACTOR_PLAIN / "workspaces"), "--provider", str(market))
    answer = answer_of(convert_command, "build", str(FACTOR_PLAIN), *place, "--out", str(tmp_path / "bundle"))
    factors = answer["result"]["factors"]
    assert sorted(factors) == ["GAP_OPEN_1D", "REV_3D", "TURNOVER_Z_40D", "VOLUME_JUMP_2D"]
    assert all(one["outcome"] == "compiled" and one["proof"]["cells"] == 2569 for one in factors.values())
    first = compiled_from_bars(market)
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names == sorted(
        path.relative_to(tmp_path / "bundle") for path in (tmp_path / "bundle").rglob("*") if path.is_file()
    )
    assert [name for name in names if (first / name).read_bytes() != (tmp_path / "bundle" / name).read_bytes()] == []


def test_a_bundle_without_factors_has_no_trace_of_them(market: Path, tmp_path: Path) -> None:
    """The same files and bytes with and without the option, and in format 1.0 no field of it."""
    built = [
        build(direct_request("lgb_nested_loader", tmp_path / name, compile_factors=compiled)).path
        for name, compiled in (("with", True), ("without", False))
    ]
    contents = [
        {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in built
    ]
    assert contents[0] == contents[1]
    old = build(factor_plain_request(tmp_path / "old", features=None, provider=market, format="1.0")).path
    assert b"compil" not in (old / m.FILE_NAME).read_bytes().replace(b"not_compiled", b"")
    assert not (old / "compiled").exists()


def test_golden_values_are_held_to_the_expression_in_numpy(
    market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the graphs of one factor give on the golden bars must be what its expression means there; the others stay."""

    def moved(roots: Any, grids: Any) -> list[Any]:
        value, rows = evaluate(roots, grids)
        return [value * 1.001 if str(readable(roots[0])).startswith("(($volume - mean") else value, rows]

    monkeypatch.setattr(golden_module, "evaluate", moved)
    manifest = build(factor_plain_request(tmp_path / "bundle", features=None, provider=market)).manifest
    outcomes = {one.name: one.compilation for one in manifest.features if one.compilation is not None}
    refused = outcomes.pop("TURNOVER_Z_40D")
    assert isinstance(refused, NotCompiledFactor)
    assert (refused.code, refused.construct) == ("differs", "the golden bars")
    assert all(isinstance(one, CompiledFactor) for one in outcomes.values())
    assert len(outcomes) == 3


BESIDE = """
import pandas as pd

df = pd.read_hdf("daily_pv.h5", key="data")
side = pd.read_parquet("static_factors.parquet")
df = df.join(side[["close_3"]], how="left")
(1 - df["$close"] / df["close_3"]).to_frame("REV_3D").to_hdf("result.h5", key="data")
"""


def test_a_factor_that_reads_a_side_table_is_scored_with_one(
    market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same column, its code another: the bundle says which column it needs, and gives qlib's scores from bars and table."""
    provider = open_provider(market)
    bars = read_bars(provider, provider.universe("all"), ("close",), slice(0, None), (None, None))
    stock, day = np.nonzero(bars.present)
    before = np.full(bars.present.shape, np.nan, np.float32)
    before[:, 3:] = bars.values[:, :-3, 0]
    names = np.array(bars.instruments, object)[stock].tolist()
    columns = {"close_3": before[stock, day], "datetime": bars.dates[day].astype("datetime64[ns]"), "instrument": names}
    side = tmp_path / "static_factors.parquet"
    pq.write_table(pa.table(columns), side)
    own = build_module._sota_factors

    def beside(located: Any, features: Any) -> tuple[Any, ...]:
        return tuple(replace(one, code=BESIDE) if one.name == "REV_3D" else one for one in own(located, features))

    monkeypatch.setattr(build_module, "_sota_factors", beside)
    place = ("--workspace-root", str(FACTOR_PLAIN / "workspaces"), "--provider", str(market), "--static", str(side))
    bundle = str(tmp_path / "bundle")
    factor = answer_of(convert_command, "build", str(FACTOR_PLAIN), *place, "--out", bundle)["result"]["factors"][
        "REV_3D"
    ]
    assert [(one["table"], one["column"]) for one in factor["inputs"]] == [("bars", "close"), ("static", "close_3")]
    manifest = m.parse((tmp_path / "bundle" / m.FILE_NAME).read_bytes())
    assert manifest.compiled is not None
    assert [(one.name, one.dtype, one.days) for one in manifest.compiled.static] == [("close_3", "float32", 1)]
    asked = ("score", bundle, "--allow-unsigned", "--bars", str(bars_file()), "--dates", ":".join(DATES))
    assert answer_of(alphaseal_command, *asked, "--out", str(tmp_path / "none.parquet"))["code"] == "usage.static"
    out = tmp_path / "scores.parquet"
    assert answer_of(alphaseal_command, *asked, "--static", str(side), "--out", str(out))["ok"]
    scores, recorded = pq.read_table(out).sort_by(KEYS), pq.read_table(LIGHTGBM / "pred.parquet").sort_by(KEYS)
    assert scores["score"].to_numpy().tobytes() == recorded["score"].to_numpy().astype(np.float64).tobytes()
