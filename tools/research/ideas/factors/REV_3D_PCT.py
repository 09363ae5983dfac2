r"""The same three-day reversal in percent: a duplicate that RD-Agent's deduplication drops in its own loop.
100\cdot REV_{3}
"""

import pandas as pd


def calculate_REV_3D_PCT():
    close = pd.read_hdf("daily_pv.h5", key="data").sort_index()["$close"]
    out = 100.0 * (1.0 - close / close.groupby(level="instrument").shift(3))
    out.to_frame("REV_3D_PCT").to_hdf("result.h5", key="data")


if __name__ == "__main__":
    calculate_REV_3D_PCT()
