"""Small daily bars, and the source of a factor on them, for tests of the factor runner and its trials.

Code of factors needs a Python with pandas and tables: ALPHASEAL_RESEARCH_PYTHON, or the running one.
"""

from __future__ import annotations

import importlib.util
import os
import sys

import numpy as np
import pyarrow as pa
import pytest

RESEARCH = os.environ.get("ALPHASEAL_RESEARCH_PYTHON") or (
    sys.executable if all(map(importlib.util.find_spec, ("pandas", "tables"))) else ""
)
needs_tables = pytest.mark.skipif(not RESEARCH, reason="no Python with pandas and tables")
STOCKS = ("SH600000", "SH600007", "SZ000001", "SZ000004", "SZ300001")
DAYS = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]")
DAYS = DAYS[np.is_busday(DAYS)]
DAY = "2024-02-15"
FACTOR = """
import pandas as pd
pv = pd.read_hdf("daily_pv.h5", key="data")
{body}
value.to_frame("FACTOR").to_hdf("result.h5", key="data")
"""


def bars_table(days: np.ndarray = DAYS, stocks: tuple[str, ...] = STOCKS) -> pa.Table:
    """Daily bars in float32 under plain names, sorted by day and stock; SZ000004 is suspended on DAY."""
    random = np.random.default_rng(5)
    count = len(days) * len(stocks)
    close = 10 + random.normal(size=count).cumsum() * 0.01
    dates, names = np.repeat(days, len(stocks)), list(stocks) * len(days)
    suspended = (dates == np.datetime64(DAY)) & (np.array(names) == "SZ000004")
    columns = {"open": close * 1.01, "close": close, "high": close * 1.02, "low": close * 0.98, "volume": close * 1e6}
    values = {name: np.where(suspended, np.nan, value).astype(np.float32) for name, value in columns.items()}
    return pa.table({"datetime": dates, "instrument": names, **values})
