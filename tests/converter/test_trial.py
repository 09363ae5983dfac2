"""Look-back, columns and look-ahead of a factor are what its code really needs; what cannot be found has a reason."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal import manifest as m
from alphaseal.manifest import Dtype
from alphaseal_converter import isolation, trial
from alphaseal_converter.build import build
from alphaseal_converter.cli import main as convert
from alphaseal_converter.provider import open_provider
from alphaseal_converter.trial import Trial, TrialRequest, TriedFactor, try_factors
from bundles import FACTOR_PLAIN, factor_plain_bundle, factor_plain_request
from factor_bars import DAYS, FACTOR, RESEARCH, STOCKS, bars_table, needs_tables
from manifests import example_manifest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation uses the Linux kernel's means")

LAST = DAYS[-1]


def close_of() -> np.ndarray:
    """[days, stocks] closing prices of `bars_table`."""
    return bars_table()["close"].to_numpy().reshape(len(DAYS), len(STOCKS)).astype(np.float64)


def write_recorded(path: Path, **columns: np.ndarray) -> Path:
    """A run's parquet with the last two days; a column holds [days, stocks] of all days."""
    keys = {"datetime": np.repeat(DAYS[-2:], len(STOCKS)), "instrument": list(STOCKS) * 2}
    table = pa.table({**keys, **{f"('feature', '{name}')": values[-2:].ravel() for name, values in columns.items()}})
    pq.write_table(table, path)
    return path


def tried(tmp_path: Path, body: str, recorded: np.ndarray, dtype: Dtype = "float64", **changes: Any) -> Trial:
    """The trial of a factor whose recorded values are [days, stocks]."""
    pq.write_table(bars_table(), tmp_path / "bars.parquet")
    parquet = write_recorded(tmp_path / "combined.parquet", FACTOR=recorded)
    request = TrialRequest(tmp_path / "bars.parquet", python=Path(RESEARCH), **changes)
    factor = TriedFactor("FACTOR", dtype, FACTOR.format(body=body))
    return try_factors(request, [factor], parquet, lambda text: None)["FACTOR"]


def shifted(values: np.ndarray, days: int) -> np.ndarray:
    """Values of some days before, NaN where there is none."""
    return np.vstack([np.full((days, values.shape[1]), np.nan), values[: len(values) - days]])


@needs_tables
@pytest.mark.parametrize(("days", "length"), [(0, 1), (1, 2), (4, 5), (7, 8), (26, 27)])
def test_history_is_the_least_that_is_needed(tmp_path: Path, days: int, length: int) -> None:
    """Between the rungs of the ladder, too; one column is read."""
    body = f"value = pv['$close'].astype('float64') - pv['$close'].astype('float64').groupby(level='instrument').shift({days})"
    found = tried(tmp_path, body, close_of() - shifted(close_of(), days))
    assert (found.look_back, found.look_ahead, found.inputs, found.reason) == (length, False, ("close",), None)


@needs_tables
@pytest.mark.parametrize(
    ("body", "recorded", "unchanged"),
    [
        ("value = close / close.groupby(level='instrument').shift(3)", lambda c: c / shifted(c, 3), (True, True)),
        ("value = close - close.groupby(level='instrument').shift(3)", lambda c: c - shifted(c, 3), (False, False)),
        ("value = close.groupby(level='datetime').rank()", lambda c: c.argsort(1).argsort(1) + 1.0, (True, False)),
    ],
)
def test_constants_that_change_nothing_are_found(
    tmp_path: Path, body: str, recorded: Callable[[np.ndarray], np.ndarray], unchanged: tuple[bool, bool]
) -> None:
    """A ratio sees no constant, a rank of the day sees that of a single stock, a difference sees any; others are not read."""
    body = f"close = pv['$close'].astype('float64')\n{body}"
    with np.errstate(invalid="ignore"):
        found = tried(tmp_path, body, recorded(close_of()))
    assert (found.reason, found.inputs, found.unchanged) == (None, ("close",), {"price": unchanged})
    feature = trial.describe(example_manifest().features[0], found)
    assert feature.invariance is not None
    scaling = feature.invariance["price"]
    assert ((scaling.common, scaling.per_stock), scaling.largest) == (unchanged, 16.0 if unchanged[0] else None)


@needs_tables
def test_rounding_of_sums_does_not_lengthen_the_history(tmp_path: Path) -> None:
    """A rolling mean whose sum began elsewhere differs in its last bits and needs its window only."""
    body = "value = pv['close'].astype('float64').groupby(level='instrument').transform(lambda v: v.rolling(9).mean())"
    windows = np.lib.stride_tricks.sliding_window_view(close_of(), 9, axis=0).mean(axis=-1)
    found = tried(tmp_path, body, np.vstack([np.full((8, len(STOCKS)), np.nan), windows]))
    assert (found.look_back, found.inputs) == (9, ("close",))


@needs_tables
def test_a_factor_that_needs_all_there_is_keeps_null(tmp_path: Path) -> None:
    """An expanding mean has no history of its own; the reason says so."""
    body = "value = pv['close'].astype('float64').groupby(level='instrument').transform(lambda v: v.expanding().mean())"
    found = tried(tmp_path, body, np.array([close_of()[: n + 1].mean(axis=0) for n in range(len(DAYS))]))
    assert (found.look_back, found.inputs, found.look_ahead) == (None, None, False)
    assert "all bars that are there" in str(found.reason)


@needs_tables
def test_look_ahead_is_told(tmp_path: Path) -> None:
    """Scaling by the whole sample is found; nothing else is said then."""
    body = "value = pv['close'].astype('float64') / pv['close'].astype('float64').groupby(level='instrument').transform('mean')"
    found = tried(tmp_path, body, close_of() / close_of().mean(axis=0))
    assert (found.look_ahead, found.look_back, found.inputs) == (True, None, None)
    assert "data after the date" in str(found.reason)


@needs_tables
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("value = pv['close'] * 2", "are not reproduced"),
        ("raise ValueError('no')", "line 4: ValueError: no"),
        ("import numpy as np\nvalue = pv['close'] + np.random.rand(len(pv))", "differ from run to run"),
        ("import time\ntime.sleep(3)\nvalue = pv['close']", "longer than it may"),
    ],
)
def test_what_cannot_be_found_has_a_reason(tmp_path: Path, body: str, words: str) -> None:
    """Other values than recorded, failing code, chance, and no time left: null, with the reason."""
    found = tried(tmp_path, body, close_of(), seconds=2 if "sleep" in body else 100)
    assert (found.look_back, found.look_ahead, found.inputs) == (None, None, None)
    assert words in str(found.reason)


@needs_tables
def test_columns_of_the_static_table_are_named(tmp_path: Path) -> None:
    """Behind their prefix, and those alone that change a value."""
    table = bars_table().rename_columns(["datetime", "instrument", "db_pe", "db_pb", "mf_net", "bb_up", "cp_x"])
    pq.write_table(table, tmp_path / "static.parquet")
    body = (
        "static = pd.read_parquet('static_factors.parquet').set_index(['datetime', 'instrument'])\n"
        "value = static['db_pb'].astype('float64') + pv['open'] * 0 + static['db_pb'] * 0"
    )
    recorded = close_of() + 0 * close_of()
    found = tried(tmp_path, body, recorded, static=tmp_path / "static.parquet")
    assert found.look_back == 1
    assert found.inputs == ("open", "static:db_pb")


@needs_tables
def test_recorded_values_of_another_period_and_no_table(tmp_path: Path) -> None:
    """Without a common day, without the column, or without a table of recorded values nothing is tried."""
    pq.write_table(bars_table(DAYS[:20]), tmp_path / "bars.parquet")
    parquet = write_recorded(tmp_path / "combined.parquet", FACTOR=close_of())
    request = TrialRequest(tmp_path / "bars.parquet", python=Path(RESEARCH))
    factor, other = TriedFactor("FACTOR", "float64", "pass"), TriedFactor("OTHER", "float64", "pass")
    found = try_factors(request, [factor, other], parquet, lambda text: None)
    assert found["FACTOR"].reason == "no day with recorded values is among the bars"
    assert found["OTHER"].reason == "it is no column of the run's factor table"
    assert "is not there" in str(try_factors(request, [factor], None, lambda text: None)["FACTOR"].reason)
    assert try_factors(request, [], parquet, lambda text: None) == {}


def test_without_isolation_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where code cannot be closed off none runs: all is null, the manifest says why, and the build goes on."""
    crippled = tmp_path / "launcher.py"
    source = isolation._LAUNCHER.read_text(encoding="utf-8")
    crippled.write_text(source.replace("= 444, 445, 446", "= 99444, 99445, 99446"), encoding="utf-8")
    monkeypatch.setattr(isolation, "_LAUNCHER", crippled)
    found = tried(tmp_path, "pass", close_of())
    assert (found.look_back, found.look_ahead, found.inputs, found.runs) == (None, None, None, None)
    assert found.not_run == "no isolation"
    assert "Landlock" in str(found.reason)
    feature = m.parse((factor_plain_bundle() / m.FILE_NAME).read_bytes()).features[0]
    assert trial.describe(feature, found).not_compiled == "no isolation"


# --- in a build -----------------------------------------------------------------------------------------------------


def market_bars(market: Path, path: Path) -> Path:
    """The bars of the simulated market as RD-Agent exports them, as a parquet file."""
    provider = open_provider(market)
    fields = ("open", "close", "high", "low", "volume", "factor")
    columns: dict[str, list[Any]] = {name: [] for name in ("datetime", "instrument", *fields)}
    for stock in sorted(provider.universe("demo62")):
        first, _ = provider.values(stock, "close") or (0, None)
        values = [(provider.values(stock, name) or (0, np.empty(0)))[1] for name in fields]
        columns["datetime"].append(provider.calendar[first : first + len(values[0])])
        columns["instrument"].append(np.full(len(values[0]), stock))
        for name, one in zip(fields, values, strict=True):
            columns[name].append(one)
    pq.write_table(pa.table({name: np.concatenate(parts) for name, parts in columns.items()}), path)
    return path


@needs_tables
def test_a_real_task_from_bars_to_scores(market: Path, tmp_path: Path) -> None:
    """A real run: its factors' histories are found, their sources run on bars give qlib's recorded scores of every date."""
    bars = market_bars(market, tmp_path / "bars.parquet")
    request = TrialRequest(bars, python=Path(RESEARCH))
    built = build(factor_plain_request(tmp_path / "bundle", features=None, provider=market, trial=request))
    found = {
        one.name: (one.look_back, one.look_back_from, one.look_ahead, one.inputs)
        for one in built.manifest.features
        if one.origin == "sota"
    }
    assert found == {
        "GAP_OPEN_1D": (2, "trial", False, ["close", "open"]),
        "REV_3D": (4, "trial", False, ["close"]),
        "TURNOVER_Z_40D": (40, "trial", False, ["volume"]),
        "VOLUME_JUMP_2D": (3, "trial", False, ["volume"]),
    }
    assert built.manifest.eligibility.ready
    assert {name: one.reason for name, one in built.trials.items()} == dict.fromkeys(found)
    features = tmp_path / "features.parquet"
    arguments = [
        "features",
        str(built.path),
        "--bars",
        str(bars),
        "--dates",
        "2021-11-01:2021-12-24",
        "--out",
        str(features),
    ]
    assert convert([*arguments, "--allow-unsigned", "--python", RESEARCH, "--jobs", "2"]) == 0
    bundle = alphaseal.open(built.path, trust=alphaseal.Trust.unsigned())
    parts = bundle.score_stream(features, bars=bars, dates=("2021-11-01", "2021-12-24"))
    scores = {(row["datetime"], row["instrument"]): row["score"] for part in parts for row in part.table.to_pylist()}
    recorded = pq.read_table(FACTOR_PLAIN / "truth/hist2_factor/pred.parquet").to_pylist()
    assert {(row["datetime"].date(), row["instrument"]): row["score"] for row in recorded} == scores


def test_look_ahead_makes_the_bundle_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason names the factor; the report says why the rest is null."""
    ahead = Trial(None, True, None, "data after the date change its value")
    monkeypatch.setattr("alphaseal_converter.build.try_factors", lambda *_: {"REV_3D": ahead})
    pq.write_table(bars_table(), tmp_path / "bars.parquet")
    request = TrialRequest(tmp_path / "bars.parquet")
    built = build(factor_plain_request(tmp_path / "bundle", trial=request, with_factors=False))
    assert [reason.code for reason in built.manifest.eligibility.reasons] == ["looks_ahead"]
    assert "REV_3D" in built.manifest.eligibility.reasons[0].text
    assert ahead.line("REV_3D") == "factor  REV_3D: look-back not known; data after the date change its value"
    assert convert(["build", "task", "--out", str(tmp_path / "other"), "--static", "x", "--json"]) == 2
    assert "--static goes with --bars" in capsys.readouterr().out
