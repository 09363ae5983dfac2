"""Skewness of daily returns over 60 valid days: long missing heads, rows dropped.
SKEW=skew(r_{t-59..t})
"""

import pandas as pd


def calculate_SKEW_60D():
    pv = pd.read_hdf("daily_pv.h5", key="data").sort_index()
    ret = pv["$close"].unstack("instrument").pct_change(fill_method=None)
    out = ret.rolling(60, min_periods=60).skew().stack(future_stack=True).dropna().to_frame("SKEW_60D")
    out.index.names = ["datetime", "instrument"]
    out.to_hdf("result.h5", key="data")


if __name__ == "__main__":
    calculate_SKEW_60D()
