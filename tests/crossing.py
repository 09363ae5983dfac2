"""The runs of ``tests/data/crossing``: stages across stocks, on a market that moves and on everything the provider has."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pandas as pd

import alphaseal
from alphaseal_converter.build import build
from alphaseal_converter.locate.artifacts import read_predictions
from alphaseal_converter.market.provider import open_provider, read_bars
from alphaseal_converter.proof.request import BuildRequest
from locations import DATA, REPOSITORY

FOLDER = DATA / "crossing"
LAST = "2021-12-03"
"""The last day of the market data that the bundles are built from: the run's own days end before it."""
RECORDED, LIVE = "2021-11-24", "2021-12-20"
FIELDS = ("open", "high", "low", "close", "volume", "vwap")
INDEX = "SH000905"


@cache
def whole_provider() -> Path:
    """The simulated market with its market that moves, up to the end of 2021."""
    out = Path(mkdtemp(prefix="alphaseal-moving-"))
    program = REPOSITORY / "tools/research/simulate_market.py"
    subprocess.run([sys.executable, str(program), "--out", str(out), "--provider-only", "--moving"], check=True)
    return out / "qlib_bin"


@cache
def provider() -> Path:
    """The same as it was on `LAST`."""
    source, out = whole_provider(), Path(mkdtemp(prefix="alphaseal-cut-"))
    days = [day for day in (source / "calendars/day.txt").read_text().split() if day <= LAST]
    for path in sorted(source.rglob("*.*")):
        target = out / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".bin":
            values = np.fromfile(path, "<f4")
            values[: 1 + max(0, len(days) - int(values[0]))].tofile(target)
        elif path.parent.name == "instruments":
            lines = [line.split("\t") for line in path.read_text().splitlines()]
            kept = ["\t".join([code, first, min(last, LAST)]) for code, first, last in lines if first <= LAST]
            target.write_bytes("".join(f"{line}\n" for line in kept).encode())
    (out / "calendars/day.txt").write_bytes("".join(f"{day}\n" for day in days).encode())
    return out


@cache
def bundle(case: str, **changes: Any) -> alphaseal.Bundle:
    """The run's bundle, built from `provider`."""
    out = Path(mkdtemp(prefix="alphaseal-crossing-")) / "bundle"
    request = BuildRequest(out=out, weights="scan", workspace_roots=[FOLDER / case], provider=provider(), **changes)
    return alphaseal.open(build(request).path, trust=alphaseal.Trust.unsigned())


@cache
def bars() -> pd.DataFrame:
    """Every row of everything, the index too, of the last nine months."""
    source = open_provider(whole_provider())
    days = slice(int(np.searchsorted(source.calendar, np.datetime64("2021-04-01"))), len(source.calendar))
    found = read_bars(source, source.universe("all"), FIELDS, days, (None, None))
    stock, day = np.nonzero(found.present)
    table = {"datetime": found.dates[day], "instrument": np.array(found.instruments, object)[stock]}
    return pd.DataFrame({**table, **{name: found.values[stock, day, place] for place, name in enumerate(FIELDS)}})


def right(case: str, date: str) -> dict[str, float]:
    """What qlib itself predicted for a day, of the stocks that have a value on it."""
    recorded = read_predictions(next((FOLDER / case).glob("mlruns/*/*/artifacts/pred.pkl")))
    later = pd.read_parquet(FOLDER / case / "later_pred.parquet")
    days = np.concatenate([recorded.dates, later["datetime"].to_numpy().astype("datetime64[D]")])
    names = np.concatenate([recorded.instruments, later["instrument"].to_numpy(object)])
    scores = np.concatenate([recorded.scores, later["score"].to_numpy()])
    here = days == np.datetime64(date)
    return dict(zip(names[here].tolist(), scores[here].tolist(), strict=True))


def moving() -> dict[str, list[tuple[str, str]]]:
    """The market that moves, as its own file says it on the last day."""
    spans: dict[str, list[tuple[str, str]]] = {}
    for line in (whole_provider() / "instruments/moving.txt").read_text().splitlines():
        code, first, last = line.split("\t")
        spans.setdefault(code, []).append((first, last))
    return spans
