"""Three-day reversal of the adjusted close. 三日反转。
REV_{3}=1-\frac{C_t}{C_{t-3}}
"""

import pandas as pd


def calculate_REV_3D():
    pv = pd.read_hdf("daily_pv.h5", key="data")
    close = pv["$close"].unstack("instrument")
    table = 1.0 - close / close.shift(3)
    out = table.stack(future_stack=True).to_frame("REV_3D")
    out.index.names = ["datetime", "instrument"]
    out.reindex(pv.index).to_hdf("result.h5", key="data")


if __name__ == "__main__":
    calculate_REV_3D()
