"""The command ``factor``: a source compiled, its values written, or refused by construct and line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphaseal_converter import cli
from factor_programs import INSTRUMENTS, grids
from locations import REPOSITORY

RESEARCH = os.environ.get("ALPHASEAL_RESEARCH_PYTHON", "")
PROGRAMS = 300
MOMENTUM = """
import pandas as pd

def calculate_momentum():
    df = pd.read_hdf("daily_pv.h5", key="data")
    close = df["$close"].groupby(level="instrument")
    df["momentum"] = close.shift(1) / close.shift(6) - 1
    ranked = df[["momentum"]].groupby(level="datetime").rank(pct=True)
    ranked.to_hdf("result.h5", key="data")

if __name__ == "__main__":
    calculate_momentum()
"""


WEEKLY = """
import pandas as pd

def weekly(series):
    close = series.droplevel("instrument")
    week = close.resample("W-FRI").last()
    return (week / week.shift(4) - 1).reindex(close.index, method="ffill")

def calculate_weekly():
    df = pd.read_hdf("daily_pv.h5", key="data").sort_index()
    parts = {}
    for instrument, series in df["$close"].groupby(level="instrument"):
        parts[instrument] = weekly(series)
    out = pd.concat(parts, names=["instrument", "datetime"]).swaplevel().sort_index()
    out.to_frame("weekly").to_hdf("result.h5", key="data")

calculate_weekly()
"""


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """A parquet file of the simulated bars."""
    table = grids(np.random.default_rng(7), whole=True).tables["bars"]
    day, stock = np.nonzero(table.rows)
    columns = {name: pa.array(values[day, stock]) for name, values in table.columns.items()}
    dates = pa.array((np.arange(len(table.rows)) + np.datetime64("2020-01-01"))[day].astype("datetime64[ns]"))
    names = pa.array(np.array(INSTRUMENTS, object)[stock], pa.string())
    pq.write_table(pa.table({"datetime": dates, "instrument": names, **columns}), tmp_path / "bars.parquet")
    return tmp_path / "bars.parquet"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit status and what the command says."""
    status = cli.main(["factor", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_values_and_graphs_are_written(bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it says it is, values that pandas would give, and the graphs."""
    source = tmp_path / "factor.py"
    source.write_text(MOMENTUM, encoding="utf-8")
    out, graphs = tmp_path / "values.parquet", tmp_path / "graphs"
    status, told = run(capsys, source, "--bars", bars, "--out", out, "--onnx", graphs)
    assert status == 0, told
    result = told["result"]
    assert (result["name"], result["lookback_rows"], result["across_stocks"]) == ("momentum", 7, 1)
    assert result["inputs"] == {"bars": ["$close"]}
    assert (result["graphs"], result["stages"], result["unknown"]) == (2, 1, 0)
    assert sorted(path.name for path in graphs.iterdir()) == ["graph_0.onnx", "graph_1.onnx"]
    found = pq.read_table(out).to_pandas().set_index(["datetime", "instrument"])["momentum"]
    close = pq.read_table(bars).to_pandas().set_index(["datetime", "instrument"])["$close"].sort_index()
    shifted = close.groupby(level="instrument")
    expected = (shifted.shift(1) / shifted.shift(6) - 1).groupby(level="datetime").rank(pct=True).dropna()
    assert len(found) == len(expected) == result["values"]
    np.testing.assert_array_equal(found.sort_index().to_numpy(), expected.sort_index().to_numpy())


def test_a_stock_whose_series_has_ended_has_no_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bars of whole series, one of which ends early: no row comes after its last."""
    days = np.arange(40)
    dates, names = np.datetime64("2020-01-01") + np.r_[days, days[:20]], ["SH600000"] * 40 + ["SH600001"] * 20
    columns = {"datetime": pa.array(dates.astype("datetime64[ns]")), "instrument": names}
    close = pa.array(np.r_[days + 1, 2 * days[:20] + 1].astype(np.float32))
    pq.write_table(pa.table({**columns, "$close": close}), tmp_path / "bars.parquet")
    source, out = tmp_path / "factor.py", tmp_path / "values.parquet"
    source.write_text(
        MOMENTUM.replace("close.shift(1) / close.shift(6) - 1", "close.shift(1)").replace(
            'df[["momentum"]].groupby(level="datetime").rank(pct=True)', "df[['momentum']]"
        ),
        encoding="utf-8",
    )
    status, told = run(capsys, source, "--bars", tmp_path / "bars.parquet", "--out", out)
    assert status == 0, told
    assert told["result"]["values"] == 39 + 19


def test_weeks_are_those_of_pandas(bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A change over four weeks that ended, on every day; a stock's first weeks have none."""
    source, out = tmp_path / "factor.py", tmp_path / "values.parquet"
    source.write_text(WEEKLY, encoding="utf-8")
    status, told = run(capsys, source, "--bars", bars, "--out", out)
    assert status == 0, told
    assert (told["result"]["graphs"], told["result"]["stages"], told["result"]["unknown"]) == (1, 0, 0)
    found = pq.read_table(out).to_pandas().set_index(["instrument", "datetime"])["weekly"].sort_index()
    close = pq.read_table(bars).to_pandas().set_index("datetime")
    parts = {}
    for instrument, series in close.groupby("instrument")["$close"]:
        week = series.resample("W-FRI").last()
        parts[instrument] = (week / week.shift(4) - 1).reindex(series.index, method="ffill").dropna()
    expected = {(name, day): value for name, part in parts.items() for day, value in part.items()}
    assert found.to_dict() == expected


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("close.shift(1)", "close.shift(-1)", "factor.looks_ahead", 7),
        ("close.shift(1)", "close.bfill()", "factor.looks_ahead", 7),
        ('df["$close"].groupby(level="instrument")', 'df["$close"]', "factor.rows_misplaced", 7),
        ("import pandas as pd", "import pandas as pd, requests", "factor.other_input", 2),
    ],
)
def test_refusals_name_construct_and_line(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, code: str, line: int
) -> None:
    """Exit status 20, nothing written."""
    source, out = tmp_path / "factor.py", tmp_path / "values.parquet"
    source.write_text(MOMENTUM.replace(old, new), encoding="utf-8")
    status, told = run(capsys, source, "--bars", bars, "--out", out)
    assert (status, told["code"]) == (20, code), told
    assert told["where"].endswith(f"line {line}")
    assert not out.exists()


def test_bars_without_keys_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A frame whose index was not written, and a file that is none."""
    source, wrong = tmp_path / "factor.py", tmp_path / "wrong.parquet"
    source.write_text(MOMENTUM, encoding="utf-8")
    pq.write_table(pa.table({"$close": [1.0]}), wrong)
    assert run(capsys, source, "--bars", wrong)[1]["code"] == "factor.bars"
    wrong.write_bytes(b"no parquet")
    assert run(capsys, source, "--bars", wrong)[1]["code"] == "factor.bars"
    assert run(capsys, source, "--bars", tmp_path / "gone.parquet")[1]["code"] == "bars.not_readable"


@pytest.mark.slow
@pytest.mark.skipif(not RESEARCH, reason="ALPHASEAL_RESEARCH_PYTHON names no Python with pandas")
def test_no_program_is_compiled_to_other_values() -> None:
    """Most compile, the others are refused in several ways; no cell that is said to be known is another than pandas'."""
    command = [sys.executable, str(REPOSITORY / "tools/fuzz_factors.py"), "--count", str(PROGRAMS), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    total = json.loads(done.stdout)
    assert total["findings"] == []
    assert done.returncode == 0
    outcomes = total["outcomes"]
    assert sum(outcomes.values()) == PROGRAMS
    assert outcomes["right"] > PROGRAMS / 2
    assert {"factor.looks_ahead", "factor.rows_misplaced", "factor.unknown_construct"} <= outcomes.keys()
    assert total["cells"]["compared"] > 100_000
