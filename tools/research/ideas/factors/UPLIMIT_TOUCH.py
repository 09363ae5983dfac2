r"""Touch of the upper price limit: fails, the data have no such column.
TOUCH=1[H_t\ge U_t]
"""

import pandas as pd


def calculate_UPLIMIT_TOUCH():
    pv = pd.read_hdf("daily_pv.h5", key="data")
    (pv["$high"] >= pv["$up_limit"]).astype(float).to_frame("UPLIMIT_TOUCH").to_hdf("result.h5", key="data")


if __name__ == "__main__":
    calculate_UPLIMIT_TOUCH()
