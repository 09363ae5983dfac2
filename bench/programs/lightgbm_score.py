"""``lightgbm_score.py MODEL.txt FEATURES.parquet DATE OUT.parquet``: the top 50 of a date with lightgbm and pandas."""

import sys

import lightgbm
import pandas as pd

model, features, date, out = sys.argv[1:]
frame = pd.read_parquet(features, filters=[("datetime", "==", pd.Timestamp(date))])
scores = pd.Series(lightgbm.Booster(model_file=model).predict(frame.to_numpy()), index=frame.index, name="score")
scores.sort_values(ascending=False).head(50).to_frame().to_parquet(out)
