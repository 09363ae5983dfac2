"""Opening gap smoothed over four days, proposed later under the name of the one-day gap. 平滑跳空。
GAP_{1}=\\frac{1}{4}\\sum_{i=0}^{3}\\left(\\frac{O_{t-i}}{C_{t-i-1}}-1\\right)
"""

import pandas as pd


def calculate_GAP_OPEN_1D():
    pv = pd.read_hdf("daily_pv.h5", key="data")
    opened, close = (pv[name].unstack("instrument") for name in ("$open", "$close"))
    gap = opened / close.shift(1) - 1
    table = gap.rolling(4, min_periods=1).mean()
    out = table.stack(future_stack=True).to_frame("GAP_OPEN_1D")
    out.index.names = ["datetime", "instrument"]
    out.reindex(pv.index).to_hdf("result.h5", key="data")


if __name__ == "__main__":
    calculate_GAP_OPEN_1D()
