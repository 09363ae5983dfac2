"""qlib's own classes around each library, asked as qlib asks them: with a dataset that prepares a frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas
import qlib
import xgboost
from qlib.contrib.model.catboost_model import CatBoostModel
from qlib.contrib.model.double_ensemble import DEnsembleModel
from qlib.contrib.model.gbdt import LGBModel
from qlib.contrib.model.highfreq_gdbt_model import HFLGBModel
from qlib.contrib.model.linear import LinearModel
from qlib.contrib.model.pytorch_general_nn import GeneralPTNN
from qlib.contrib.model.xgboost import XGBModel

from ledger_probe.subject import Subject

PACKAGES = ("qlib",)
VERSION = qlib.__version__
_NAMES = ["mom", "rev", "vol"]


class _Dataset:
    """What predict asks of a dataset: the features of a segment, with a label where both are asked for."""

    def __init__(self, rows: np.ndarray) -> None:
        index = pandas.MultiIndex.from_arrays(
            [np.repeat(pandas.Timestamp("2024-01-02"), len(rows)), [f"S{number}" for number in range(len(rows))]],
            names=["datetime", "instrument"],
        )
        self._frame = pandas.DataFrame(rows, columns=_NAMES, index=index)

    def prepare(self, segments: Any, col_set: Any = None, data_key: Any = None) -> Any:
        """The frame, whatever the segment."""
        return self._frame.assign(label=0.0) if col_set == ["feature", "label"] else self._frame


def subjects() -> Iterator[Subject]:
    """Each class, trained here as qlib trains it: on bare values, but CatBoost on a named pool."""
    generator = np.random.default_rng(16)
    rows = generator.normal(size=(400, 3))
    label = rows[:, 0] * 2 - rows[:, 1]
    frame = pandas.DataFrame(rows, columns=_NAMES)
    quiet = {"verbose": -1, "num_threads": 1, "objective": "regression"}

    def ask(model: Any, values: np.ndarray) -> Any:
        return model.predict(_Dataset(values)).to_numpy()

    def holding(model: Any, /, **attributes: Any) -> Any:
        vars(model).update(attributes)
        return model

    def booster(columns: list[str]) -> Any:
        return lightgbm.train(quiet, lightgbm.Dataset(frame[columns].to_numpy(), label), 6)

    trained = xgboost.train({"nthread": 1, "max_depth": 3}, xgboost.DMatrix(rows, label), 6)
    boosted = catboost.CatBoost({"iterations": 6, "verbose": False, "allow_writing_files": False, "thread_count": 1})
    yield Subject("LGBModel", holding(LGBModel(), model=booster(_NAMES)), rows, ask)
    yield Subject("HFLGBModel", holding(HFLGBModel(), model=booster(_NAMES)), rows, ask)
    yield Subject("XGBModel", holding(XGBModel(), model=trained), rows, ask)
    yield Subject("CatBoostModel", holding(CatBoostModel(), model=boosted.fit(frame, label)), rows, ask)
    for estimator in ("ols", "ridge"):
        coefficients = {"coef_": np.array([2.0, -1.0, 0.1]), "intercept_": 0.25}
        yield Subject(f"LinearModel, {estimator}", holding(LinearModel(estimator), **coefficients), rows, ask)
    members = {
        "ensemble": [booster(_NAMES), booster(["vol", "mom"])],
        "sub_features": [pandas.Index(_NAMES), pandas.Index(["vol", "mom"])],
        "sub_weights": [1, 0.5],
    }
    yield Subject("DEnsembleModel", holding(DEnsembleModel(), **members), rows, ask)
    network = GeneralPTNN(
        pt_model_uri="torch.nn.Linear", pt_model_kwargs={"in_features": 3, "out_features": 1}, n_jobs=0, GPU=-1
    )
    network.fitted = True
    # Its code is not in the weights, so the converter is not asked; what predict reads is.
    yield Subject("GeneralPTNN", network, rows, ask, traced_only=True)


def listed_parameters() -> dict[str, list[str]]:
    """qlib hands no parameters on when it predicts."""
    return {}
