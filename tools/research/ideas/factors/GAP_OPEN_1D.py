"""Opening gap against the previous close (float32).
GAP=\frac{O_t}{C_{t-1}}-1
"""

import pandas as pd


def calculate_GAP_OPEN_1D():
    pv = pd.read_hdf("daily_pv.h5", key="data").sort_index()
    previous = pv["$close"].groupby(level="instrument").shift(1)
    (pv["$open"] / previous - 1.0).to_frame("GAP_OPEN_1D").to_hdf("result.h5", key="data")


if __name__ == "__main__":
    calculate_GAP_OPEN_1D()
