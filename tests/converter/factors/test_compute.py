"""Factor sources run alone, closed off, with RD-Agent's files; only numbers come back, and those are checked."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal.errors import InputError, NotReadableError
from alphaseal.format import manifest as m
from alphaseal.tables import origin as feature_origin
from alphaseal.tables.period import Period
from alphaseal_converter.cli import main as convert
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.compute import (
    BarRows,
    FeatureReport,
    FeaturesRequest,
    IncompleteError,
    complete_rows_only,
    compute_features,
    probe_days,
    run_feature,
)
from alphaseal_converter.factors.process import FactorBars, Runner, prepare
from alphaseal_converter.isolation.sandbox import IsolationLimits
from bundles import factor_plain_bundle
from factor_bars import DAY, DAYS, FACTOR, RESEARCH, STOCKS, bars_table, needs_tables

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation uses the Linux kernel's means")

LIMITS = IsolationLimits(seconds=100, cpu_seconds=60, file_bytes=4 << 20, directory_bytes=16 << 20, files=50)

MOMENTUM = "value = pv['$close'].groupby(level='instrument').pct_change(3, fill_method=None)"


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bars as a parquet file."""
    path = tmp_path_factory.mktemp("bars") / "bars.parquet"
    pq.write_table(bars_table(), path)
    return path


@pytest.fixture(scope="module")
def runner() -> Runner:
    return Runner(Path(RESEARCH), LIMITS)


@pytest.fixture(scope="module")
def market(runner: Runner, bars: Path) -> FactorBars:
    """The bars as factors read them."""
    return prepare(runner, bars.read_bytes(), ".parquet", None, Period.of(DAY, None))


def feature(dtype: str = "float64") -> m.Feature:
    """A feature of the name FACTOR."""
    given = m.parse((factor_plain_bundle() / m.FILE_NAME).read_bytes()).features[0]
    return msgspec.structs.replace(given, name="FACTOR", origin="sota", dtype=dtype)


def run(
    runner: Runner, market: FactorBars, source: str, dtype: str = "float64", day: str = DAY
) -> tuple[FeatureReport, np.ndarray | None]:
    """The report and the values of a source, whose stocks are those of DAY in order of name."""
    rows = BarRows.of(market.keys, alphaseal.open(factor_plain_bundle(), trust=alphaseal.Trust.unsigned()))
    return run_feature(runner, feature(dtype), source.encode(), market, rows, [day], probe_days(market.days, [day]))


def refusal(runner: Runner, market: FactorBars, source: str) -> FeatureReport:
    """The report of a source that gives no values."""
    report, values = run(runner, market, source)
    assert values is None
    assert not report.computed
    assert report.reason
    return report


def bundle_with(sources: dict[str, str], target: Path) -> Path:
    """The demo's bundle with other code for some of its factors."""
    shutil.copytree(factor_plain_bundle(), target)
    manifest = m.parse((target / m.FILE_NAME).read_bytes())
    files = {file.path: file for file in manifest.files}
    for one in manifest.features:
        if one.name in sources:
            assert one.source is not None
            data = sources[one.name].encode()
            (target / one.source).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            files[one.source] = msgspec.structs.replace(files[one.source], sha256=digest, size=len(data))
    changed = msgspec.structs.replace(manifest, files=list(files.values()))
    (target / m.FILE_NAME).write_bytes(m.encode(changed))
    return target


# --- values ---------------------------------------------------------------------------------------------------------


@needs_tables
def test_values_are_those_of_the_code(runner: Runner, market: FactorBars) -> None:
    """A momentum of three days on the day itself, NaN for the suspended stock, which the report names with its reason."""
    report, values = run(runner, market, FACTOR.format(body=MOMENTUM))
    close, day = (
        bars_table()["close"].to_numpy().reshape(len(DAYS), len(STOCKS)),
        DAYS.tolist().index(np.datetime64(DAY).item()),
    )
    wanted = close[day] / close[day - 3] - 1
    assert values is not None
    np.testing.assert_allclose(values, wanted, rtol=1e-5)
    assert report.status == "computed"
    assert report.missing == {"SZ000004": "suspended"}
    assert report.probed == (DAY,)
    assert report.rows == len(DAYS) * len(STOCKS)


@needs_tables
@pytest.mark.parametrize(
    "body",
    [
        "value = pv['close'] * 2",
        "value = (pv['$close'] * 2).swaplevel()",
        "value = pv.reset_index().set_index(['instrument', 'datetime'])['close'] * 2",
        "value = pv['close'].sample(frac=1.0, random_state=1) * 2",
        "value = (pv['close'] * 2).astype('float64')",
    ],
)
def test_index_in_any_order_and_both_names_of_columns(runner: Runner, market: FactorBars, body: str) -> None:
    """Levels may be in either order, rows in any; columns have names with and without a dollar sign."""
    _, values = run(runner, market, FACTOR.format(body=body), "float32")
    close = bars_table().filter(pa.array(bars_table()["datetime"].to_numpy() == np.datetime64(DAY)))["close"]
    assert values is not None
    assert values.astype(np.float32).tobytes() == (close.to_numpy() * np.float32(2)).tobytes()


@needs_tables
def test_a_series_and_whole_numbers(runner: Runner, market: FactorBars) -> None:
    """A Series of integers is a result, too."""
    body = "pv['close'].fillna(0).gt(9).astype('int64').rename('FACTOR').to_hdf('result.h5', key='data')"
    report, values = run(runner, market, f"import pandas as pd\npv = pd.read_hdf('daily_pv.h5')\n{body}\n")
    assert report.computed
    assert values is not None
    assert values.tolist() == [1.0, 1.0, 1.0, 0.0, 1.0]


@needs_tables
def test_static_factors_are_cut_like_the_bars(runner: Runner, bars: Path, tmp_path: Path) -> None:
    """A factor of static_factors.parquet gets its values, and its look-ahead is found."""
    table = bars_table().select(["datetime", "instrument", "close"]).rename_columns(["datetime", "instrument", "db_pe"])
    pq.write_table(table, tmp_path / "static.parquet")
    static = (tmp_path / "static.parquet").read_bytes()
    market = prepare(runner, bars.read_bytes(), ".parquet", static, Period.of(DAY, None))
    read = "value = pd.read_parquet('static_factors.parquet').set_index(['datetime', 'instrument'])['db_pe']"
    assert run(runner, market, FACTOR.format(body=read))[0].computed
    ahead = f"{read}.groupby(level='instrument').shift(-1)"
    assert run(runner, market, FACTOR.format(body=ahead))[0].status == "looks_ahead"


@needs_tables
def test_rows_and_values_that_are_not_there_have_their_reasons(runner: Runner, market: FactorBars) -> None:
    """A stock without a row and one with NaN are told apart."""
    body = "value = pv['close'].drop('SH600007', level='instrument')\nvalue[value.index.get_level_values(1) == 'SZ000001'] = float('nan')"
    report, _ = run(runner, market, FACTOR.format(body=body))
    assert report.missing == {"SH600007": "no_row", "SZ000001": "no_value", "SZ000004": "suspended"}


# --- look-ahead -----------------------------------------------------------------------------------------------------


@needs_tables
@pytest.mark.parametrize(
    "body",
    [
        "value = pv['close'].groupby(level='instrument').shift(-1)",
        "value = pv['close'].groupby(level='instrument').transform(lambda v: (v - v.mean()) / v.std())",
        "value = pv['close'].groupby(level='instrument').bfill()",
    ],
)
def test_look_ahead_is_found(runner: Runner, market: FactorBars, body: str) -> None:
    """Shifts from the future, whole-sample scaling and back-filling are found."""
    report, values = run(runner, market, FACTOR.format(body=body))
    assert (values, report.code) == (None, "factor.looks_ahead")
    assert "change its values of that day" in str(report.reason)


@needs_tables
def test_look_ahead_is_found_where_the_bars_end_with_the_date(runner: Runner, bars: Path) -> None:
    """On an earlier day: scaling by the whole sample gives that day other values."""
    last = str(DAYS[-1])
    market = prepare(runner, bars.read_bytes(), ".parquet", None, Period.of(last, None))
    body = "value = pv['close'].groupby(level='instrument').transform(lambda v: (v - v.mean()) / v.std())"
    report, _ = run(runner, market, FACTOR.format(body=body), day=last)
    assert report.code == "factor.looks_ahead"
    report, _ = run(runner, market, FACTOR.format(body=MOMENTUM), day=last)
    assert (report.computed, report.probed) == (True, (str(DAYS[-21]),))


@needs_tables
def test_chance_is_not_taken_for_look_ahead(runner: Runner, market: FactorBars) -> None:
    """A factor that gives other values in every run is refused by that name."""
    report = refusal(
        runner, market, FACTOR.format(body="import numpy as np\nvalue = pv['close'] + np.random.rand(len(pv))")
    )
    assert "differ from run to run" in str(report.reason)


@needs_tables
def test_what_a_run_leaves_behind_is_gone_in_the_next(runner: Runner, market: FactorBars) -> None:
    """A factor that keeps its values of all bars in a file does not hide look-ahead."""
    body = (
        "import os\nif os.path.exists('kept.pkl'):\n    value = pd.read_pickle('kept.pkl')\n"
        "else:\n    value = pv['close'].groupby(level='instrument').shift(-1)\n    value.to_pickle('kept.pkl')"
    )
    assert refusal(runner, market, FACTOR.format(body=body)).code == "factor.looks_ahead"


def test_days_that_are_probed() -> None:
    """The date itself where days follow it; else a day with days behind it, and none where there is one day."""
    calendar = [str(day) for day in DAYS]
    assert probe_days(calendar, [calendar[3]]) == [calendar[3]]
    assert probe_days(calendar, [calendar[3], calendar[5]]) == [calendar[3], calendar[5]]
    assert probe_days(calendar, [calendar[-1]]) == [calendar[-21]]
    assert probe_days(calendar[:4], [calendar[3]]) == [calendar[1]]
    assert probe_days(calendar[:1], [calendar[0]]) == []


# --- what a factor may write ----------------------------------------------------------------------------------------


@needs_tables
@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("import pandas as pd\nraise ValueError('no such thing')", "factor.failed"),
        ("raise SystemExit(3)", "factor.failed"),
        ("def broken(:", "factor.failed"),
        ("pass", "factor.no_result"),
        ("open('result.h5', 'w').write('text')", "factor.result"),
        (FACTOR.format(body="value = pv['$limit_up']"), "factor.failed"),
        (FACTOR.format(body="value = pv['close'].rename('x')").replace('"FACTOR"', '"OTHER"'), "factor.column"),
        (FACTOR.format(body="value = pv['close'] > 0"), "factor.dtype"),
        (FACTOR.format(body="value = pd.concat([pv['close'], pv['close']])"), "factor.index"),
        (FACTOR.format(body="value = pv['close'].reset_index(drop=True)"), "factor.index"),
        (FACTOR.format(body="value = pv['close'].loc[:'2024-02-14']"), "factor.no_values"),
        (FACTOR.format(body="value = pv['close'] * float('nan')"), "factor.no_values"),
        (FACTOR.format(body="value = pv['close'].astype(object).where(pv['close'] < 0, 'text')"), "factor.pickle"),
        (
            FACTOR.format(body="value = pv[['open', 'close']]").replace('.to_frame("FACTOR")', ""),
            "factor.column",
        ),
    ],
)
def test_results_that_are_none_are_named(runner: Runner, market: FactorBars, source: str, code: str) -> None:
    """Code that fails, and results of another form than the contract's, give a report with the code of the rule."""
    assert refusal(runner, market, source).code == code


@needs_tables
def test_the_last_line_of_a_failure_is_told(runner: Runner, market: FactorBars) -> None:
    """Line and exception of factor.py are in the report."""
    report = refusal(runner, market, FACTOR.format(body="value = pv['$limit_up']"))
    assert report.reason == "line 4: KeyError: '$limit_up'"


# --- hostile code ---------------------------------------------------------------------------------------------------

FORGED = """
import os
import numpy as np
from alphaseal_converter.isolation.plain_table import Texts, Told, encode_answer
days, stocks = np.array(["2024-02-14"], "datetime64[D]"), Texts(["SH600000"], np.array([0], np.int32))
value, written = np.array([1.0]), np.array([1])
{body}
open("answer.bin", "wb").write(data)
os._exit(0)
"""
"""Writes the answer itself and ends."""
CLOSED = "no network, no other process and no file outside"


@needs_tables
@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("import socket\nsocket.create_connection(('127.0.0.1', 9))", "factor.failed", CLOSED),
        ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/')", "factor.failed", "not permitted"),
        ("open('/etc/passwd').read()", "factor.failed", CLOSED),
        ("open('/etc/cron.d/mine', 'w')", "factor.failed", CLOSED),
        ("import os\nwhile True: os.fork()", "factor.failed", CLOSED),
        ("import subprocess\nsubprocess.run(['id'])", "factor.failed", "PermissionError"),
        ("x = bytearray(1 << 45)", "factor.memory", "memory"),
        ("open('big', 'wb').write(bytes(64 << 20))", "factor.failed", "File too large"),
        ("import os\nos.symlink('/etc/passwd', 'result.h5')", "factor.failed", CLOSED),
        ("import os\nos.link('daily_pv.h5', 'result.h5')", "factor.failed", CLOSED),
        ("import os\nos._exit(0)", "isolation.no_output", "answer.bin"),
        ("import os\nos.abort()", "isolation.died", ""),
        (FORGED.format(body="data = b'ASANSWER' + bytes([1])"), "factor.answer", ""),
        (FORGED.format(body="data = b'{}'"), "factor.answer", ""),
        (FORGED.format(body="data = encode_answer(Told('../x', 'text'))"), "factor.answer", ""),
        (FORGED.format(body="data = encode_answer(Told('failed', 'its own words'))"), "factor.failed", "its own words"),
        (
            "import os, threading\ndef late():\n    while True: open('answer.bin', 'w').write('late')\n"
            "threading.Thread(target=late, daemon=True).start()\nraise ValueError('end')",
            None,
            "",
        ),
    ],
)
def test_hostile_code_is_stopped_and_named(
    runner: Runner, market: FactorBars, source: str, code: str | None, words: str
) -> None:
    """Whatever it reaches for is out of reach; the report says what it was."""
    report = refusal(runner, market, source)
    assert code is None or report.code == code
    assert words in str(report.reason)


@needs_tables
@pytest.mark.parametrize("source", ["while True: pass", "while True: print('x' * 1000)"])
def test_endless_code_is_stopped(runner: Runner, market: FactorBars, source: str) -> None:
    """A loop without end, silent or loud, ends with its share of the processor."""
    short = replace(runner, limits=replace(LIMITS, cpu_seconds=5))
    assert refusal(short, market, source).code == "isolation.time"


@needs_tables
def test_many_files_are_stopped(runner: Runner, market: FactorBars) -> None:
    """The directory is bounded as a whole."""
    source = "import time\nfor n in range(100): open(f'f{n}', 'wb').write(bytes(1000))\ntime.sleep(30)"
    assert refusal(runner, market, source).code == "isolation.disk"


@needs_tables
def test_the_environment_is_empty(runner: Runner, market: FactorBars, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of ours do not reach the code."""
    monkeypatch.setenv("BROKER_PASSWORD", "hidden")
    reason = refusal(runner, market, "import os\nraise ValueError(dict(os.environ))").reason
    assert "HOME" in str(reason)
    assert "BROKER" not in str(reason)


@needs_tables
def test_a_pickle_in_the_result_is_not_read(runner: Runner, market: FactorBars) -> None:
    """A column of objects is refused before anything of it is built."""
    source = (
        "import pandas as pd\n"
        "class Evil:\n    def __reduce__(self):\n        return print, ('owned',)\n"
        "frame = pd.read_hdf('daily_pv.h5')[['close']].rename(columns={'close': 'FACTOR'}).astype(object)\n"
        "frame.iloc[0, 0] = Evil()\nframe.to_hdf('result.h5', key='data')\n"
    )
    report = refusal(runner, market, source)
    assert (report.code, "pickled objects" in str(report.reason)) == ("factor.pickle", True)


TABLE = "encode_answer({'datetime': days, 'instrument': stocks, 'value': value, 'written': written})"


@needs_tables
@pytest.mark.attack("factors: forged answers")
@pytest.mark.parametrize(
    "body",
    [
        "pass",
        "days = days.astype('datetime64[ns]')",
        "days = days + np.timedelta64(1, 'D')",
        "days = days - np.timedelta64(1, 'D')",
        "value = value.astype('f4')",
        "value = Texts(['1.0'], np.array([0], np.int32))",
        "stocks = Texts(['SH600000'], np.array([-1], np.int32))",
        "stocks = np.array([1.0])",
        "written = written * 1.0",
        "days, value, written = (np.repeat(one, 2) for one in (days, value, written)); stocks = stocks.take([0, 0])",
    ],
)
def test_a_claim_is_checked(runner: Runner, market: FactorBars, body: str) -> None:
    """Values for the days asked for, each once, in their own form; anything else is no answer."""
    source = FORGED.format(body=f"{body}\ndata = {TABLE}").encode()
    session = runner.session("the code")
    if body == "pass":
        claim = session.run(source, "FACTOR", market.market, period=("2024-02-14", "2024-02-14"))
        assert claim.on("2024-02-14") == {"SH600000": 1.0}
        return
    with pytest.raises(RefusalError) as caught:
        session.run(source, "FACTOR", market.market, period=("2024-02-14", "2024-02-14"))
    assert caught.value.code == "factor.answer"


@needs_tables
@pytest.mark.attack("factors: seeing more than the part")
@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("__import__('builtins').kept = pv", "hasattr(__import__('builtins'), 'kept')"),
        ("os.environ['KEPT'] = '1'", "'KEPT' in os.environ"),
        ("sys.modules['kept'] = os", "'kept' in sys.modules"),
        ("pd.DataFrame.kept = 1", "hasattr(pd.DataFrame, 'kept')"),
        ("open('/sandbox/kept', 'w')", "os.path.exists('/sandbox/kept')"),
        ("open('kept.h5', 'w')", "os.path.exists('kept.h5')"),
        ("threading.current_thread().kept = 1", "hasattr(threading.current_thread(), 'kept')"),
        ("os.chdir('/')", "os.getcwd() == '/'"),
        ("os.dup2(1, 77)", "'77' in os.listdir('/proc/self/fd')"),
        ("sys.setrecursionlimit(777)", "sys.getrecursionlimit() == 777"),
        ("os.umask(0o077)", "os.umask(0o077) == 0o077"),
        ("resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))", "resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 99"),
        # What is there although it is not the part's.
        ("pass", "any(len(one) > len(pv) for one in gc.get_objects() if isinstance(one, pd.DataFrame))"),
        ("pass", "set(os.listdir('.')) - {'daily_pv.h5', 'factor.py'}"),
        ("pass", "any(n.endswith(('.h5', '.bin', '.parquet')) for d in ('/program', '/') for n in looked_at(d))"),
    ],
)
def test_a_run_sees_its_part_only(runner: Runner, market: FactorBars, keep: str, kept: str) -> None:
    """What the run on all bars keeps is not there in the run on cut ones, nor anything else that would tell of later days:
    with it both would give the same, and the look-ahead would not be seen."""
    body = (
        "import gc, os, resource, sys, threading\n"
        "def looked_at(directory):\n    try:\n        return os.listdir(directory)\n    except OSError:\n        return []\n"
        f"whole = len(pv) > 200\nif whole:\n    {keep}\n"
        f"value = pv['close'] * (2 if whole or ({kept}) else 1)\n"
        "os.chdir('/sandbox')\n"
    )
    assert refusal(runner, market, FACTOR.format(body=body)).code == "factor.looks_ahead"


# --- bars -----------------------------------------------------------------------------------------------------------


@needs_tables
def test_hdf5_is_read_as_parquet_is(runner: Runner, bars: Path, tmp_path: Path) -> None:
    """RD-Agent's own form gives the same bars and the same days as the table with columns."""
    program = (
        "import pandas as pd, sys\nframe = pd.read_parquet(sys.argv[1]).set_index(['datetime', 'instrument'])\n"
        "frame.add_prefix('$').to_hdf(sys.argv[2], key='data')\n"
    )
    path = tmp_path / "daily_pv.h5"
    subprocess.run([RESEARCH, "-c", program, str(bars), str(path)], check=True, capture_output=True)
    period = Period.of(DAY, None)
    one = prepare(runner, bars.read_bytes(), ".parquet", None, period)
    other = prepare(runner, path.read_bytes(), ".h5", None, period)
    assert (one.days, one.market.names()) == (other.days, other.market.names())
    assert one.market.names() == ["close", "high", "low", "open", "volume"]
    assert sorted(one.keys.stocks.tolist()) == sorted(other.keys.stocks.tolist()) == list(STOCKS)
    body = "value = pv['$close'] - pv['close'] + pv['volume']"
    left, right = (run(runner, market, FACTOR.format(body=body))[1] for market in (one, other))
    assert left is not None
    assert right is not None
    assert left.tobytes() == right.tobytes()


@needs_tables
@pytest.mark.parametrize("change", ["text", "no_keys", "twice", "time", "number"])
def test_bars_of_another_form_are_refused(runner: Runner, tmp_path: Path, change: str) -> None:
    """What is no table of daily bars is refused before any factor runs."""
    table = bars_table()
    if change == "no_keys":
        table = table.drop_columns(["instrument"])
    if change == "twice":
        table = pa.concat_tables([table, table.slice(0, 1)])
    if change == "time":
        table = table.set_column(0, "datetime", pa.array(table["datetime"].to_numpy().astype("datetime64[ns]") + 1))
    if change == "number":
        table = table.set_column(1, "instrument", pa.array(range(len(table))))
    path = tmp_path / "bars.parquet"
    pq.write_table(table, path)
    data = b"text" if change == "text" else path.read_bytes()
    with pytest.raises(RefusalError) as caught:
        prepare(runner, data, ".parquet", None, Period.of(DAY, None))
    assert caught.value.code in ("factor.bars", "factor.index")


# --- the whole verb -------------------------------------------------------------------------------------------------


def request(bars: Path, out: Path, **changes: Any) -> FeaturesRequest:
    fields: dict[str, Any] = {
        "bundle": factor_plain_bundle(),
        "date": DAY,
        "python": Path(RESEARCH),
        "limits": LIMITS,
    } | changes
    return FeaturesRequest(trust=alphaseal.Trust.unsigned(), bars=bars, out=out, **fields)


@needs_tables
def test_the_file_says_what_it_is(bars: Path, tmp_path: Path) -> None:
    """All features in training dtype, sorted, with an origin that names bundle, date, sources and bars; bytes repeat."""
    out = tmp_path / "features.parquet"
    result = compute_features(request(bars, out, jobs=2))
    table = pq.read_table(out)
    manifest = m.parse((factor_plain_bundle() / m.FILE_NAME).read_bytes())
    dtypes = {one.name: one.dtype for one in manifest.features if one.origin == "sota"}
    assert table.column_names == ["datetime", "instrument", *dtypes]
    for name, dtype in dtypes.items():
        assert table.schema.field(name).type == (pa.float32() if dtype == "float32" else pa.float64())
    assert table["instrument"].to_pylist() == list(STOCKS)
    assert {str(day) for day in table["datetime"].to_pylist()} == {DAY}
    origin = feature_origin.read_origin(out)
    assert origin is not None
    assert origin.bundle == result.bundle == m.digest((factor_plain_bundle() / m.FILE_NAME).read_bytes())
    assert origin.dates == [DAY]
    assert origin.bars == hashlib.sha256(bars.read_bytes()).hexdigest()
    files = {file.path: file.sha256 for file in manifest.files}
    assert origin.sources == {one.name: files[str(one.source)] for one in manifest.features if one.origin == "sota"}
    assert result.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    before = out.read_bytes()
    compute_features(request(bars, out))
    assert out.read_bytes() == before


@needs_tables
def test_one_failure_leaves_the_others(bars: Path, tmp_path: Path) -> None:
    """Exit 20 and nothing written where a feature is missing; with --allow-missing the others, and a report of all."""
    bundle = bundle_with(
        {"REV_3D": "raise ValueError('broken')", "GAP_OPEN_1D": "x = bytearray(1 << 45)"}, tmp_path / "bundle"
    )
    out = tmp_path / "features.parquet"
    wanted = request(bars, out, bundle=bundle, jobs=2)
    with pytest.raises(IncompleteError) as caught:
        compute_features(wanted)
    assert not out.exists()
    assert (caught.value.exit, caught.value.code) == (20, "features.incomplete")
    report = {one.name: one for one in caught.value.result.features}
    assert report["REV_3D"].reason == "line 1: ValueError: broken"
    assert report["GAP_OPEN_1D"].code == "factor.memory"
    result = compute_features(replace(wanted, allow_missing=True))
    assert pq.read_schema(out).names == ["datetime", "instrument", "TURNOVER_Z_40D", "VOLUME_JUMP_2D"]
    assert [one.computed for one in result.features] == [False, False, True, True]


@needs_tables
def test_an_incomplete_row_has_no_factor_at_all(bars: Path, tmp_path: Path) -> None:
    """The run removed such rows before it trained: where one factor is missing the others are left out, too."""
    hole = FACTOR.format(body="value = pv['close'].drop('SH600007', level='instrument')").replace("FACTOR", "REV_3D")
    bundle = bundle_with({"REV_3D": hole}, tmp_path / "bundle")
    out = tmp_path / "features.parquet"
    result = compute_features(request(bars, out, bundle=bundle, jobs=2))
    rows = {row["instrument"]: row for row in pq.read_table(out).to_pylist()}
    values = [value for name, value in rows["SH600007"].items() if name not in ("datetime", "instrument")]
    assert len(values) == 4
    assert all(value != value for value in values)
    assert all(value == value for value in rows["SH600000"].values())
    reports = {one.name: one.missing for one in result.features}
    assert reports["REV_3D"] == {"SH600007": "no_row", "SZ000004": "suspended"}
    assert reports["GAP_OPEN_1D"] == {"SH600007": "incomplete", "SZ000004": "suspended"}
    origin = feature_origin.read_origin(out)
    assert origin is not None
    assert origin.incomplete_rows == "removed"


def test_whether_incomplete_rows_were_removed_is_what_the_run_shows(tmp_path: Path) -> None:
    """The run's own table tells; without it, a factor experiment on top of accepted factors has removed them."""
    bundle = alphaseal.open(factor_plain_bundle(), trust=alphaseal.Trust.unsigned())
    assert complete_rows_only(bundle)
    manifest = msgspec.structs.replace(bundle.manifest, factors=None)
    bundle.manifest = manifest
    assert complete_rows_only(bundle)
    anchor = msgspec.structs.replace(manifest.source.anchor, kind="model")
    bundle.manifest = msgspec.structs.replace(manifest, source=msgspec.structs.replace(manifest.source, anchor=anchor))
    assert not complete_rows_only(bundle)
    alone = [factor for factor in manifest.sota_factors if factor.history_index == manifest.source.anchor.history_index]
    bundle.manifest = msgspec.structs.replace(manifest, sota_factors=alone)
    assert not complete_rows_only(bundle)


@needs_tables
def test_the_command_reports_and_signs(bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Range of dates, signature beside the file, one JSON object; a stale signature goes with the file it belonged to."""
    assert convert(["keygen", "--out", str(tmp_path / "producer")]) == 0
    out = tmp_path / "features.parquet"
    common = ["features", str(factor_plain_bundle()), "--bars", str(bars), "--out", str(out), "--allow-unsigned"]
    common += ["--python", RESEARCH, "--json"]
    capsys.readouterr()
    key = ["--sign", str(tmp_path / "producer.key")]
    assert convert([*common, "--dates", "2024-02-14:2024-02-16", *key]) == 0
    answer = json.loads(capsys.readouterr().out)["result"]
    assert (answer["dates"], answer["signature"]) == (3, str(out) + ".dsse.json")
    assert {one["status"] for one in answer["features"]} == {"computed"}
    digest = answer["bundle"]
    public = tmp_path / "producer.pub"
    data = feature_origin.read_signed(out, public, digest, date="2024-02-15")
    assert data == out.read_bytes()
    with pytest.raises(InputError) as caught:
        feature_origin.read_signed(out, public, digest, date="2024-02-19")
    assert caught.value.code == "features.other_date"
    assert convert([*common, "--date", DAY]) == 0
    assert not feature_origin.sidecar_of(out).exists()
    capsys.readouterr()
    broken = bundle_with({"REV_3D": "pass"}, tmp_path / "bundle")
    assert convert(["features", str(broken), *common[2:], "--date", DAY]) == 20
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["code"]) == (False, "features.incomplete")
    assert [one["status"] for one in answer["result"]["features"]].count("failed") == 1


@needs_tables
def test_a_changed_source_is_not_run(bars: Path, tmp_path: Path) -> None:
    """The bundle is verified first: code that is not the manifest's does not start."""
    bundle = tmp_path / "bundle"
    shutil.copytree(factor_plain_bundle(), bundle)
    path = next((bundle / "sources/factors").iterdir())
    path.write_bytes(path.read_bytes().replace(b"import", b"omport"))
    with pytest.raises(alphaseal.AlphasealError) as caught:
        compute_features(request(bars, tmp_path / "features.parquet", bundle=bundle))
    assert caught.value.code == "file.digest"


@needs_tables
def test_stocks_in_another_notation_are_refused(tmp_path: Path) -> None:
    """Bars whose stocks are not written as the bundle writes them would match nothing."""
    path = tmp_path / "bars.parquet"
    pq.write_table(bars_table(stocks=("600000.SH", "000001.SZ")), path)
    with pytest.raises(InputError) as caught:
        compute_features(request(path, tmp_path / "features.parquet"))
    assert caught.value.code == "instrument.pattern"


@needs_tables
def test_a_date_that_the_bars_do_not_have(bars: Path, tmp_path: Path) -> None:
    """The nearest date is never taken."""
    with pytest.raises(RefusalError) as caught:
        compute_features(request(bars, tmp_path / "features.parquet", date="2024-02-17"))
    assert caught.value.code == "features.date_absent"


def test_without_bars_nothing_starts(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(NotReadableError):
        compute_features(request(tmp_path / "none.h5", tmp_path / "features.parquet"))


def test_a_python_without_tables_is_named(bars: Path, tmp_path: Path) -> None:
    """The refusal says which package is missing where, and how to name another Python."""
    empty = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(empty)], check=True)
    with pytest.raises(RefusalError) as caught:
        compute_features(request(bars, tmp_path / "features.parquet", python=empty / "bin/python"))
    assert caught.value.code == "factor.python"
    assert "--python" in str(caught.value.next_step)


@pytest.mark.usefixtures("without_isolation")
def test_without_isolation_nothing_runs(bars: Path, tmp_path: Path) -> None:
    """Where the system cannot close a process off, the whole verb refuses, also with --allow-missing."""
    with pytest.raises(RefusalError) as caught:
        compute_features(request(bars, tmp_path / "features.parquet", python=Path(sys.executable), allow_missing=True))
    assert caught.value.code == "isolation.unavailable"
    assert list(tmp_path.iterdir()) == []
