"""Memory does not grow with the length of history."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alphaseal
from bundles import factor_plain_bundle

STOCKS, DAYS_PER_GROUP = 1500, 10
PROGRAM = """
import sys
import alphaseal
bundle = alphaseal.open(sys.argv[1], trust=alphaseal.Trust.unsigned())
rows = sum(len(scores) for scores in bundle.score_stream(sys.argv[2], dates=(None, None)))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(rows, peak.split()[1])
"""


def write_history(path: Path, days: int) -> None:
    """Random features of the demo's model for `days` days, sorted by date, in row groups of some days."""
    features = alphaseal.open(factor_plain_bundle(), trust=alphaseal.Trust.unsigned()).manifest.features
    generator = np.random.default_rng(7)
    instruments = pa.array([f"SH{600000 + number}" for number in range(STOCKS)])
    keys = [pa.field("datetime", pa.timestamp("ns")), pa.field("instrument", pa.string())]
    schema = pa.schema([*keys, *(pa.field(feature.name, pa.float64()) for feature in features)])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, days, DAYS_PER_GROUP):
            dates = np.repeat(
                np.datetime64("2015-01-01", "ns") + np.arange(first, first + DAYS_PER_GROUP) * np.timedelta64(1, "D"),
                STOCKS,
            )
            names = pa.concat_arrays([instruments] * DAYS_PER_GROUP)
            columns = [pa.array(generator.standard_normal(len(dates))) for _ in features]
            writer.write_table(pa.Table.from_arrays([pa.array(dates), names, *columns], schema=schema))


def peak_kilobytes(path: Path) -> tuple[int, int]:
    """Rows scored and peak resident memory of a process that scores the whole file."""
    command = [sys.executable, "-c", PROGRAM, str(factor_plain_bundle()), str(path)]
    rows, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(rows), int(peak)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the peak memory that Linux tells")
@pytest.mark.slow
def test_scores_stream_in_constant_memory(tmp_path: Path) -> None:
    """Six times the history takes the same memory: within a quarter, where the values alone are five times as much more."""
    write_history(tmp_path / "short.parquet", 150)
    write_history(tmp_path / "long.parquet", 900)
    short_rows, short = peak_kilobytes(tmp_path / "short.parquet")
    long_rows, long = peak_kilobytes(tmp_path / "long.parquet")
    assert (short_rows, long_rows) == (150 * STOCKS, 900 * STOCKS)
    assert long < 1.25 * short
