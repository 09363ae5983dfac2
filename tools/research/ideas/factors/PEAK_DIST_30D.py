"""Distance of the close from its 30-day high.
PEAK=\frac{C_t}{\\max H_{30}}-1
"""

import pandas as pd


def calculate_PEAK_DIST_30D():
    pv = pd.read_hdf("daily_pv.h5", key="data").sort_index()
    peak = pv["$high"].groupby(level="instrument").transform(lambda v: v.rolling(30, min_periods=10).max())
    (pv["$close"] / peak - 1.0).to_frame("PEAK_DIST_30D").to_hdf("result.h5", key="data")


if __name__ == "__main__":
    calculate_PEAK_DIST_30D()
