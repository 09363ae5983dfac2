"""Volume against two days ago: +inf after a zero-volume day.
JUMP=\frac{V_t}{V_{t-2}}-1
"""

import pandas as pd


def calculate_VOLUME_JUMP_2D():
    volume = pd.read_hdf("daily_pv.h5", key="data").sort_index()["$volume"].astype("float64")
    before = volume.groupby(level="instrument").shift(2)
    (volume / before - 1.0).to_frame("VOLUME_JUMP_2D").to_hdf("result.h5", key="data")


if __name__ == "__main__":
    calculate_VOLUME_JUMP_2D()
