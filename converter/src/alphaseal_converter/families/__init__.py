"""From what the weights file holds to a model that can be built and judged: the table of families.

A new family is one module here and its line in the table; docs/families.md says how.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from ..artifacts import ModelRecord, read_model
from ..errors import RefusalError
from .base import TrainedModel

# Class that the weights file names -> module of this package whose `read(record, where)` gives a TrainedModel.
FAMILIES: Mapping[str, str] = {
    "qlib.contrib.model.gbdt.LGBModel": "lightgbm",
    "lightgbm.basic.Booster": "lightgbm",
    "lightgbm.sklearn.LGBMRegressor": "lightgbm",
}


def read_trained_model(data: bytes, where: str) -> TrainedModel:
    """The model in a weights file; RefusalError ``model.unsupported`` names a class that no family takes."""
    record = read_model(data, where)
    family = FAMILIES.get(str(record))
    if family is None:
        raise RefusalError(
            "model.unsupported",
            f"models of class {record} cannot be converted",
            where=where,
            expected=", ".join(sorted(FAMILIES)),
            found=str(record),
        )
    # The module's name is a constant of the table above, never text of the file.
    read: Callable[[ModelRecord, str], TrainedModel] = importlib.import_module(f".{family}", __package__).read
    return read(record, where)


__all__ = ["FAMILIES", "TrainedModel", "read_trained_model"]
