"""``qlib_pickle.py MODEL.txt OUT.pkl``: the model as qlib's recorder leaves it (needs qlib)."""

import pickle  # noqa: TID251  (what qlib does is what is measured)
import sys

import lightgbm
from qlib.contrib.model.gbdt import LGBModel

model = LGBModel()
model.model = lightgbm.Booster(model_file=sys.argv[1])
with open(sys.argv[2], "wb") as file:
    pickle.dump(model, file)
