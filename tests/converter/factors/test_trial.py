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
from alphaseal.format import manifest as m
from alphaseal.format.parts import Dtype
from alphaseal_converter.build import build
from alphaseal_converter.cli import main as convert
from alphaseal_converter.factors import trial
from alphaseal_converter.factors.trial import Trial, TrialRequest, TriedFactor, try_factors
from alphaseal_converter.market.provider import open_provider
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
    request = TrialRequest(tmp_path / "bars.parquet", **({"python": Path(RESEARCH)} | changes))
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


# --- code that was written to pass ------------------------------------------------------------------------------------

LOOKUP = """
import numpy as np
table = {table!r}
value = pd.Series(
    [table.get((str(day)[:10], stock), np.nan) for day, stock in pv.index], index=pv.index, dtype="float64"
)
"""
"""A source that carries the recorded values, by day and stock, and never looks at a bar."""


def carried(values: np.ndarray, count: int = 15) -> dict[tuple[str, str], float]:
    """[days, stocks] of the last days, as a source would carry them."""
    days = range(len(DAYS) - count, len(DAYS))
    return {(str(DAYS[day]), stock): float(values[day, place]) for day in days for place, stock in enumerate(STOCKS)}


RANDOM = np.random.default_rng(9).normal(size=(len(DAYS), len(STOCKS)))


@needs_tables
@pytest.mark.attack("factors: forged trials")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        # Values that no code gives, carried along.
        (LOOKUP.format(table=carried(RANDOM)), "they do not come from them"),
        # The same, with a little of the bars that the tolerance hides.
        (
            LOOKUP.format(table=carried(RANDOM))
            + "value = value * (1 + 4e-7 * np.sin(pv['close'].astype('float64') * 1e3))",
            "they do not come from them",
        ),
        # The same on the recorded day alone, with something of the bars on all others.
        (
            LOOKUP.format(table={key: one for key, one in carried(RANDOM).items() if key[0] == str(LAST)})
            + "value = value.fillna(pv['close'].astype('float64'))",
            "not reproduced",
        ),
        # An answer in the old form, in the new one, and none.
        (
            "import json, os\njson.dump({'look_back': 1}, open('answer.json', 'w'))\nos._exit(0)",
            "did not write answer.bin",
        ),
        ("import os\nopen('answer.bin', 'wb').write(b'ASANSWER')\nos._exit(0)", "no answer that can be read"),
        ("import os\nos._exit(0)", "did not write answer.bin"),
    ],
)
def test_forged_trials_gain_nothing(tmp_path: Path, body: str, words: str) -> None:
    """Values that no code gives get no look-back and no columns, whatever is written where."""
    found = tried(tmp_path, body, RANDOM)
    assert (found.look_back, found.inputs) == (None, None)
    assert words in str(found.reason)


@needs_tables
@pytest.mark.attack("factors: forged trials")
def test_recorded_values_carried_for_known_bars_do_not_shorten_the_history(tmp_path: Path) -> None:
    """A source that knows the recorded bars and pretends one day of history there needs what bars that nobody knows need."""
    truth = close_of() - shifted(close_of(), 9)
    known = {float(np.float32(close_of()[day, 0])): str(DAYS[day]) for day in range(len(DAYS) - 15, len(DAYS))}
    body = (
        f"close = pv['close'].astype('float64')\nhonest = close - close.groupby(level='instrument').shift(9)\n"
        f"{LOOKUP.format(table=carried(truth))}\nknown = {known!r}\n"
        "last = close[close.index.get_level_values(0) == close.index.get_level_values(0).max()].iloc[0]\n"
        "value = value if float(last) in known and len(pv) < 60 else honest"
    )
    found = tried(tmp_path, body, truth)
    assert found.look_back in (10, None)


@needs_tables
@pytest.mark.attack("factors: forged trials")
@pytest.mark.parametrize(
    "condition",
    [
        # It looks ahead but on the days that are easy to guess: the recorded one and those near to the end.
        "~pv.index.get_level_values(0).isin(np.unique(pv.index.get_level_values(0))[[-1, -2, -6, -22]])",
        # It looks ahead where the bars go on after the recorded day, and not where they end with a day.
        "(np.unique(pv.index.get_level_values(0)).size > 40) & pv['close'].notna()",
    ],
)
def test_look_ahead_where_nobody_seems_to_look_is_found(tmp_path: Path, condition: str) -> None:
    """Days that are drawn, and later days with other bars, find what fixed days would not."""
    close = close_of()
    body = (
        "import numpy as np\nclose, days = pv['close'].astype('float64'), np.unique(pv.index.get_level_values(0))\n"
        "ahead = close.groupby(level='instrument').shift(-1)\n"
        f"value = close.where(~({condition}) | ahead.isna(), ahead)"
    )
    found = tried(tmp_path, body, close)
    assert found.look_ahead is True
    assert (found.look_back, found.inputs) == (None, None)


@needs_tables
@pytest.mark.attack("factors: forged trials")
def test_a_column_that_is_used_where_it_is_there_counts_as_read(tmp_path: Path) -> None:
    """Code that does without a column where it is missing, and uses it where it is not, reads it."""
    body = "close = pv['close'].astype('float64')\nvalue = close * (pv['open'] / pv['close'] / 1.01).round(3) if 'open' in pv else close"
    found = tried(tmp_path, body, close_of())
    assert found.look_back == 1
    assert found.inputs == ("close", "open")


@needs_tables
@pytest.mark.parametrize(
    ("body", "of"),
    [
        # Few values, and ranks over the stocks of a day.
        ("value = np.sign(close - close.groupby(level='instrument').shift(3))", lambda c: np.sign(c - shifted(c, 3))),
        (
            "value = close.groupby(level='datetime').rank()",
            lambda c: 1.0 + (c[:, :, None] > c[:, None, :]).sum(axis=2).astype(float),
        ),
        ("value = (close > close.groupby(level='instrument').shift(1)).astype('float64')", None),
    ],
)
def test_honest_factors_of_few_values_follow_the_bars(tmp_path: Path, body: str, of: Any) -> None:
    """Signs, ranks and flags change with other bars, though not for every stock."""
    close = close_of()
    values = of(close) if of is not None else (close > shifted(close, 1)).astype(float)
    if of is not None:
        values[np.isnan(close)] = np.nan
    found = tried(tmp_path, f"import numpy as np\nclose = pv['close'].astype('float64')\n{body}", values)
    assert found.reason is None
    assert found.inputs == ("close",)


@needs_tables
def test_a_trial_repeats(tmp_path: Path) -> None:
    """Equal input, equal answer, and the same runs."""
    body = "value = pv['close'].astype('float64') - pv['open'].astype('float64').groupby(level='instrument').shift(2)"
    table = bars_table()["open"].to_numpy().reshape(len(DAYS), len(STOCKS)).astype(np.float64)
    values = close_of() - shifted(table, 2)
    one, other = (tried(tmp_path, body, values) for _ in range(2))
    assert one == other
    assert (one.look_back, one.inputs) == (3, ("close", "open"))


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


@pytest.mark.usefixtures("without_isolation")
def test_without_isolation_nothing_runs(tmp_path: Path) -> None:
    """Where code cannot be closed off none runs: all is null, the manifest says why, and the build goes on."""
    found = tried(tmp_path, "pass", close_of(), python=Path(sys.executable))
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
@pytest.mark.slow
def test_a_real_task_from_bars_to_scores(market: Path, tmp_path: Path) -> None:
    """A real run: its factors' histories are found, their sources run on bars give qlib's recorded scores of every date."""
    bars = market_bars(market, tmp_path / "bars.parquet")
    request = TrialRequest(bars, python=Path(RESEARCH))
    built = build(
        factor_plain_request(tmp_path / "bundle", features=None, provider=market, trial=request, compile_factors=False)
    )
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


@pytest.mark.usefixtures("without_isolation")
def test_a_build_goes_on_where_nothing_can_be_closed_off(tmp_path: Path) -> None:
    """The bundle is written without running anything: look-backs are null, the manifest and the report say why."""
    pq.write_table(bars_table(), tmp_path / "bars.parquet")
    request = TrialRequest(tmp_path / "bars.parquet")
    built = build(factor_plain_request(tmp_path / "bundle", trial=request, with_factors=False))
    factors = [one for one in built.manifest.features if one.origin == "sota"]
    assert {(one.look_back, one.look_ahead, one.not_compiled) for one in factors} == {(None, None, "no isolation")}
    assert built.manifest.eligibility.ready
    assert all("docs" not in str(one.reason) and one.not_run == "no isolation" for one in built.trials.values())
    assert alphaseal.open(built.path, trust=alphaseal.Trust.unsigned()).manifest == built.manifest


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
    for left in ("--no-compile-factors", "--format=1.0"):
        assert convert(["build", "task", "--out", str(tmp_path / "other"), "--static", "x", left, "--json"]) == 2
        assert "--static goes with --bars" in capsys.readouterr().out
