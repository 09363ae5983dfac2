"""qlib's files of the market of `data/live_day`, and bundles of the runs on it as the converter builds them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from alphaseal_converter.build import build
from alphaseal_converter.proof.request import BuildRequest
from locations import DATA

LIVE_DAY = DATA / "live_day"
RUNS = ("run_factor", "run_raw", "run_macd", "run_cross", "run_rank")
INDEX = "SH000300"
RUN_ENDS = "2021-06-15"
"""The last day of every run's test segment: a producer who converts then has market data up to it."""


def market_table() -> pd.DataFrame:
    """Every row that qlib's files have, the index too: `datetime` (datetime64), `instrument`, and the fields as float32."""
    frame = pq.read_table(LIVE_DAY / "market.parquet").to_pandas()
    frame["datetime"] = pd.to_datetime(frame["datetime"])
    return frame


def write_provider(out: Path, until: str | None = None) -> Path:
    """qlib's data directory at `out` (which must not exist), of all days or up to `until`."""
    frame = market_table()
    days = np.sort(frame["datetime"].unique())
    if until is not None:
        frame, days = frame[frame["datetime"] <= until], days[days <= np.datetime64(until)]
    for part in ("calendars", "instruments"):
        (out / part).mkdir(parents=True)
    texts = [str(day)[:10] for day in days]
    (out / "calendars/day.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    lines = []
    for name, rows in frame.sort_values(["instrument", "datetime"]).groupby("instrument"):
        start = int(np.searchsorted(days, rows["datetime"].to_numpy()[0]))
        folder = out / "features" / str(name).lower()
        folder.mkdir(parents=True)
        for field in sorted(set(rows.columns) - {"datetime", "instrument"}):
            np.r_[np.float32(start), rows[field].to_numpy(np.float32)].astype("<f4").tofile(folder / f"{field}.day.bin")
        if name != INDEX:
            lines.append(f"{name}\t{texts[start]}\t{texts[start + len(rows) - 1]}")
    (out / "instruments/all.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out


def build_run(run: str, out: Path, provider: Path) -> Path:
    """The bundle of one of RUNS at `out`, proven with the market data of `provider`."""
    # A scan looks below its root: the run alone, without what was recorded for the tests.
    workspace = out.with_name(f"{out.name}.workspace")
    shutil.copytree(LIVE_DAY / run, workspace)
    return build(
        BuildRequest(
            out=out, workspace_roots=[workspace], weights="scan", provider=provider, name=run.replace("_", "-")
        )
    ).path


def later_scores(run: str) -> dict[pd.Timestamp, dict[str, float]]:
    """qlib's own scores of days that the run never saw, by date, then stock."""
    frame = pq.read_table(LIVE_DAY / run / "later_pred.parquet").to_pandas()
    frame["datetime"] = pd.to_datetime(frame["datetime"])
    return {
        day: dict(zip(rows["instrument"], rows["score"].astype(float), strict=True))
        for day, rows in frame.groupby("datetime")
    }
