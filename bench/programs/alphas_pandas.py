"""``alphas_pandas.py BARS.parquet DATE OUT.parquet``: the features of Alpha158 of a date with pandas.

Wide frames (dates x stocks), and pandas' own rolling windows over the last 61 days only: what somebody would write who
knows pandas well and wants qlib's numbers.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

WINDOWS = (5, 10, 20, 30, 60)
TINY = 1e-12
source, date, out = sys.argv[1:]
table = pd.read_parquet(source, filters=[("datetime", "<=", pd.Timestamp(date))])
table = table[table["datetime"].isin(np.sort(table["datetime"].unique())[-61:])]
wide = {name: table.pivot(index="datetime", columns="instrument", values=name) for name in table.columns[2:]}
opened, high, low, close, vwap, volume = (
    wide[name].astype("float64") for name in ("open", "high", "low", "close", "vwap", "volume")
)
found: dict[str, pd.Series] = {}


def keep(name: str, frame: pd.DataFrame) -> None:
    """The last day of a frame."""
    found[name] = frame.iloc[-1]


def line(days: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Slope, r squared and last residual of the least squares line through the days that have a close."""
    there = close.notna().astype("float64").where(close.notna())
    day = there.mul(np.arange(len(close), dtype="float64"), axis=0)
    rolled = {
        name: frame.rolling(days, min_periods=1).sum()
        for name, frame in {
            "n": there,
            "x": day,
            "y": close - close.mean(),
            "xx": day * day,
            "xy": day * (close - close.mean()),
            "yy": (close - close.mean()) ** 2,
        }.items()
    }
    n = rolled["n"]
    sxx, sxy = rolled["xx"] - rolled["x"] ** 2 / n, rolled["xy"] - rolled["x"] * rolled["y"] / n
    syy = rolled["yy"] - rolled["y"] ** 2 / n
    slope = sxy / sxx
    middle = slope * (day - rolled["x"] / n) + rolled["y"] / n
    return slope, sxy**2 / (sxx * syy), close - close.mean() - middle


def moves(name: str, frame: pd.DataFrame, days: int) -> None:
    change = frame.diff()
    up = change.clip(lower=0).rolling(days, min_periods=1).sum()
    down = (-change).clip(lower=0).rolling(days, min_periods=1).sum()
    both = change.abs().rolling(days, min_periods=1).sum() + TINY
    keep(f"{name}P{days}", up / both)
    keep(f"{name}N{days}", down / both)
    keep(f"{name}D{days}", (up - down) / both)


body, spread = np.maximum(opened, close), high - low + TINY
keep("KMID", (close - opened) / opened)
keep("KLEN", (high - low) / opened)
keep("KMID2", (close - opened) / spread)
keep("KUP", (high - body) / opened)
keep("KUP2", (high - body) / spread)
keep("KLOW", (np.minimum(opened, close) - low) / opened)
keep("KLOW2", (np.minimum(opened, close) - low) / spread)
keep("KSFT", (2 * close - high - low) / opened)
keep("KSFT2", (2 * close - high - low) / spread)
for name, frame in (("OPEN0", opened), ("HIGH0", high), ("LOW0", low), ("VWAP0", vwap)):
    keep(name, frame / close)

before = close.shift(1)
gained, logarithm = close / before, np.log(volume / volume.shift(1) + 1)
weighted, logged = (gained - 1).abs() * volume, np.log(volume + 1)
# As in qlib, a day without a close has not risen and not fallen: comparisons with NaN are false.
rising, falling = (close > before).astype("float64"), (close < before).astype("float64")
for days in WINDOWS:
    closes, volumes = close.rolling(days, min_periods=1), volume.rolling(days, min_periods=1)
    highs, lows = high.rolling(days, min_periods=1), low.rolling(days, min_periods=1)
    slope, squared, residual = line(days)
    keep(f"ROC{days}", close.shift(days) / close)
    keep(f"MA{days}", closes.mean() / close)
    keep(f"STD{days}", closes.std() / close)
    keep(f"BETA{days}", slope / close)
    keep(f"RSQR{days}", squared)
    keep(f"RESI{days}", residual / close)
    keep(f"MAX{days}", highs.max() / close)
    keep(f"MIN{days}", lows.min() / close)
    keep(f"QTLU{days}", closes.quantile(0.8) / close)
    keep(f"QTLD{days}", closes.quantile(0.2) / close)
    keep(f"RANK{days}", closes.rank(pct=True))
    keep(f"RSV{days}", (close - lows.min()) / (highs.max() - lows.min() + TINY))
    # rolling().apply would call Python for every stock and day; the last day alone is enough.  As in qlib, a missing
    # value counts as the highest and the lowest.
    highest = pd.Series(high.tail(days).to_numpy().argmax(axis=0) + 1.0, close.columns)
    lowest = pd.Series(low.tail(days).to_numpy().argmin(axis=0) + 1.0, close.columns)
    found[f"IMAX{days}"], found[f"IMIN{days}"] = highest / days, lowest / days
    found[f"IMXD{days}"] = (highest - lowest) / days
    keep(f"CORR{days}", closes.corr(logged))
    keep(f"CORD{days}", gained.rolling(days, min_periods=1).corr(logarithm))
    rose, fell = rising.rolling(days, min_periods=1).mean(), falling.rolling(days, min_periods=1).mean()
    keep(f"CNTP{days}", rose)
    keep(f"CNTN{days}", fell)
    keep(f"CNTD{days}", rose - fell)
    moves("SUM", close, days)
    keep(f"VMA{days}", volumes.mean() / (volume + TINY))
    keep(f"VSTD{days}", volumes.std() / (volume + TINY))
    keep(
        f"WVMA{days}",
        weighted.rolling(days, min_periods=1).std() / (weighted.rolling(days, min_periods=1).mean() + TINY),
    )
    moves("VSUM", volume, days)

pd.DataFrame(found).astype("float32").reset_index().to_parquet(out)
