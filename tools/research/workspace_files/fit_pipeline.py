"""Fit a scikit-learn pipeline on a qlib dataset: model.pkl in the workspace, the usual artifacts in mlruns."""

import pickle
import sys
from pathlib import Path

import pandas as pd
import qlib
import yaml
from qlib.data.dataset.handler import DataHandlerLP
from qlib.utils import init_instance_by_config
from qlib.workflow import R
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer

with Path("conf.yaml").open(encoding="utf-8") as f:
    conf = yaml.safe_load(f)
qlib.init(**conf["qlib_init"])
dataset = init_instance_by_config(conf["task"]["dataset"])
train = dataset.prepare("train", col_set=["feature", "label"], data_key=DataHandlerLP.DK_L)
test = dataset.prepare("test", col_set="feature", data_key=DataHandlerLP.DK_I)
label = dataset.prepare("test", col_set="label", data_key=DataHandlerLP.DK_R)
steps = [
    ("quantile", QuantileTransformer(n_quantiles=50, output_distribution="normal", random_state=3)),
    ("pca", PCA(n_components=10, random_state=3)),
    ("trees", GradientBoostingRegressor(n_estimators=30, max_depth=3, subsample=0.5, random_state=3)),
]
pipeline = Pipeline(steps).fit(train["feature"].to_numpy(), train["label"].to_numpy().ravel())
pred = pd.Series(pipeline.predict(test.to_numpy()), index=test.index).to_frame("score")
with Path("model.pkl").open("wb") as f:
    pickle.dump(pipeline, f)
with R.start(experiment_name="workflow"):
    ic = pred["score"].groupby(level="datetime").corr(label.iloc[:, 0]).mean()
    R.log_metrics(IC=float(ic))
    dataset.config(dump_all=False, recursive=True)
    R.save_objects(
        **{"params.pkl": pipeline, "dataset": dataset, "task": conf["task"], "pred.pkl": pred, "label.pkl": label}
    )
print("IC", ic, file=sys.stderr)
