"""From what the weights file holds to a model that can be built and judged: the table of families.

A new family is one module here and its line in the table; docs/families.md says how.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import FamilyContext, TrainedModel
from alphaseal_converter.locate.artifacts import read_model
from alphaseal_converter.models.record import ModelRecord

# Class that the weights file names -> module of this package whose `read(record, where)` gives a TrainedModel;
# a family that needs more than the weights file has `read_in_context(record, where, context)` instead.
FAMILIES: Mapping[str, str] = {
    "qlib.contrib.model.gbdt.LGBModel": "lightgbm",
    "lightgbm.basic.Booster": "lightgbm",
    "lightgbm.sklearn.LGBMRegressor": "lightgbm",
    "qlib.contrib.model.xgboost.XGBModel": "xgboost",
    "xgboost.core.Booster": "xgboost",
    "xgboost.sklearn.XGBRegressor": "xgboost",
    "xgboost.sklearn.XGBRanker": "xgboost",
    "xgboost.sklearn.XGBRFRegressor": "xgboost",
    "xgboost.sklearn.XGBClassifier": "xgboost",
    "xgboost.sklearn.XGBRFClassifier": "xgboost",
    "qlib.contrib.model.catboost_model.CatBoostModel": "catboost",
    "catboost.core.CatBoost": "catboost",
    "catboost.core.CatBoostRegressor": "catboost",
    "catboost.core.CatBoostRanker": "catboost",
    "catboost.core.CatBoostClassifier": "catboost",
    "lightgbm.sklearn.LGBMRanker": "lightgbm",
    "qlib.contrib.model.highfreq_gdbt_model.HFLGBModel": "lightgbm",
    "lightgbm.sklearn.LGBMClassifier": "sklearn_pipeline",
    "qlib.contrib.model.linear.LinearModel": "linear",
    "qlib.contrib.model.double_ensemble.DEnsembleModel": "densemble",
    "qlib.contrib.model.pytorch_general_nn.GeneralPTNN": "network",
}

# Top-level package of the class -> module, for packages of many estimators; the lines above come first.
PACKAGES: Mapping[str, str] = {"sklearn": "sklearn_pipeline"}

_LIBRARIES = ("LightGBM", "XGBoost", "CatBoost", "scikit-learn", "qlib (LinearModel, DEnsembleModel, GeneralPTNN)")

_ALONE = FamilyContext()


def read_trained_model(data: bytes, where: str, context: FamilyContext = _ALONE) -> TrainedModel:
    """The model in a weights file; RefusalError ``model.unsupported`` names a class that no family takes."""
    record = read_model(data, where)
    family = FAMILIES.get(str(record)) or PACKAGES.get(record.module.split(".")[0])
    if family is None:
        raise _unsupported(str(record), where)
    # The module's name is a constant of the table above, never text of the file.
    module = importlib.import_module(f".{family}", __package__)
    if hasattr(module, "read_in_context"):
        read_in_context: Callable[[ModelRecord, str, FamilyContext], TrainedModel] = module.read_in_context
        return read_in_context(record, where, context)
    read: Callable[[ModelRecord, str], TrainedModel] = module.read
    return read(record, where)


def _unsupported(name: str, where: str) -> RefusalError:
    """The classes of the same library where there are some; of something else, only what would be a model."""
    package = name.partition(".")[0]
    related = sorted(known for known in FAMILIES if known.partition(".")[0] == package)
    is_model = bool(related) and not name.startswith("qlib.data.")
    return RefusalError(
        "model.unsupported",
        f"models of class {name} cannot be converted" if is_model else f"the file holds no model that is known: {name}",
        where=where,
        expected=", ".join(related) if is_model else f"a model of {', '.join(_LIBRARIES)}",
        found=name,
        next_step="docs/families.md lists what can be converted"
        if is_model
        else "name the run's weights, artifacts/params.pkl",
    )


__all__ = ["FAMILIES", "FamilyContext", "TrainedModel", "read_trained_model"]
