"""Amihud illiquidity over ten days: tiny scale (about 1e-10), missing rows are dropped.
ILLIQ=\frac{1}{10}\\sum\frac{|r_t|}{C_t V_t}
"""

import numpy as np
import pandas as pd


def calculate_ILLIQ_10D():
    pv = pd.read_hdf("daily_pv.h5", key="data").sort_index().astype("float64")
    ret = pv["$close"].groupby(level="instrument").pct_change(fill_method=None).abs()
    value = (pv["$close"] * pv["$volume"]).replace(0.0, np.nan)
    raw = (ret / value).groupby(level="instrument").transform(lambda v: v.rolling(10, min_periods=10).mean())
    raw.dropna().to_frame("ILLIQ_10D").to_hdf("result.h5", key="data")


if __name__ == "__main__":
    calculate_ILLIQ_10D()
