"""``qlib_score.py MODEL.pkl FEATURES.parquet DATE OUT.parquet``: the top 50 of a date as it is done without a bundle.

Unpickles what qlib_pickle.py wrote a moment before (needs qlib).
"""

import pickle  # noqa: TID251  (what qlib does is what is measured)
import sys

import pandas as pd

model, features, date, out = sys.argv[1:]
with open(model, "rb") as file:
    booster = pickle.load(file).model  # noqa: S301  (made by this benchmark itself)
frame = pd.read_parquet(features, filters=[("datetime", "==", pd.Timestamp(date))])
scores = pd.Series(booster.predict(frame.to_numpy()), index=frame.index, name="score")
scores.sort_values(ascending=False).head(50).to_frame().to_parquet(out)
