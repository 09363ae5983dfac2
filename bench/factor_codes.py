"""Fifty factor programs as RD-Agent's language models write them: ten patterns, each with five windows."""

from __future__ import annotations

WINDOWS = (5, 10, 20, 30, 40)
_PROGRAM = """import numpy as np
import pandas as pd


def calculate_{name}():
    df = pd.read_hdf("daily_pv.h5", key="data").sort_index()
    close, volume = df["$close"], df["$volume"]
    by_stock = {{"level": "instrument"}}
{body}
    value.to_frame("{name}").to_hdf("result.h5", key="data")


if __name__ == "__main__":
    calculate_{name}()
"""
_PATTERNS = {
    "REVERSAL": "    value = 1 - close / close.groupby(**by_stock).shift({n})",
    "MOMENTUM": "    value = close.groupby(**by_stock).pct_change({n}, fill_method=None)",
    "BIAS": "    value = close / close.groupby(**by_stock).transform(lambda x: x.rolling({n}).mean()) - 1",
    "VOLATILITY": """    returns = close.groupby(**by_stock).pct_change(fill_method=None)
    value = returns.groupby(**by_stock).transform(lambda x: x.rolling({n}, min_periods=3).std())""",
    "TURNOVER_Z": """    mean = volume.groupby(**by_stock).transform(lambda x: x.rolling({n}, min_periods=3).mean())
    deviation = volume.groupby(**by_stock).transform(lambda x: x.rolling({n}, min_periods=3).std())
    value = (volume - mean) / deviation""",
    "RANGE": """    high = df["$high"].groupby(**by_stock).transform(lambda x: x.rolling({n}).max())
    low = df["$low"].groupby(**by_stock).transform(lambda x: x.rolling({n}).min())
    value = (close - low) / (high - low + 1e-12)""",
    "ILLIQUIDITY": """    returns = close.groupby(**by_stock).pct_change(fill_method=None).abs()
    value = (returns / (close * volume)).groupby(**by_stock).transform(lambda x: x.rolling({n}, min_periods=2).mean())""",
    "RANK_REVERSAL": """    moved = 1 - close / close.groupby(**by_stock).shift({n})
    value = moved.groupby(level="datetime").rank(pct=True)""",
    "Z_MOMENTUM": """    moved = close / close.groupby(**by_stock).shift({n}) - 1
    by_day = moved.groupby(level="datetime")
    value = (moved - by_day.transform("mean")) / by_day.transform("std")""",
    "DEMEANED_BIAS": """    bias = close / close.groupby(**by_stock).transform(lambda x: x.rolling({n}).mean()) - 1
    value = bias - bias.groupby(level="datetime").transform("median")""",
}


def sources() -> dict[str, str]:
    """Name -> source of each program."""
    return {
        f"{pattern}_{days}": _PROGRAM.format(name=f"{pattern}_{days}", body=body.format(n=days))
        for pattern, body in _PATTERNS.items()
        for days in WINDOWS
    }
