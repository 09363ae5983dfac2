"""Volume z-score against its own 40-day history (float64).
Z=\frac{V_t-\bar V_{40}}{s_{40}}
"""

import pandas as pd


def calculate_TURNOVER_Z_40D():
    volume = pd.read_hdf("daily_pv.h5", key="data").sort_index()["$volume"].astype("float64")
    by_code = volume.groupby(level="instrument")
    mean = by_code.transform(lambda v: v.rolling(40, min_periods=15).mean())
    spread = by_code.transform(lambda v: v.rolling(40, min_periods=15).std())
    ((volume - mean) / spread).to_frame("TURNOVER_Z_40D").to_hdf("result.h5", key="data")


if __name__ == "__main__":
    calculate_TURNOVER_Z_40D()
