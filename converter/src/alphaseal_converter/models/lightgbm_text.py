"""LightGBM's own model text out of whatever was saved around it."""

from __future__ import annotations

from typing import NamedTuple

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.pickles.records import Record


class LightgbmText(NamedTuple):
    """LightGBM's own model text; `best_iteration` is the number of trees it predicts with, None for all."""

    text: str
    best_iteration: int | None


def lightgbm_text(model: ModelRecord | Record, where: str = "model") -> LightgbmText:
    """The text of a qlib ``LGBModel``, a bare ``lightgbm.basic.Booster`` or a scikit-learn ``LGBMRegressor``.

    Any other class is `RefusalError` ``model.unsupported``; one without a trained Booster ``model.untrained``.
    """
    record = model.record if isinstance(model, ModelRecord) else model
    booster = _booster(record, where)
    # 4.x keeps the text under _handle, 3.x under handle.
    text = booster.get("_handle", booster.get("handle"))
    if not isinstance(text, str):
        raise RefusalError("model.untrained", "the Booster holds no model text", where=where, found=type(text).__name__)
    best = booster.get("best_iteration")
    # 0 and -1 mean that no round was chosen: LightGBM then predicts with all.
    chosen = best if isinstance(best, int) and not isinstance(best, bool) and best > 0 else None
    return LightgbmText(text, chosen)


_BOOSTER_ATTRIBUTE = {
    ("qlib.contrib.model.gbdt", "LGBModel"): "model",
    ("qlib.contrib.model.highfreq_gdbt_model", "HFLGBModel"): "model",
    ("lightgbm.sklearn", "LGBMRegressor"): "_Booster",
    ("lightgbm.sklearn", "LGBMRanker"): "_Booster",
}


def _booster(record: Record, where: str) -> Record:
    if isinstance(record.factory, Record):
        raise RefusalError("model.form", "the weights file holds no object", where=where)
    name = (record.factory.module, record.factory.name)
    if name == ("lightgbm.basic", "Booster"):
        return record
    if name not in _BOOSTER_ATTRIBUTE:
        raise RefusalError(
            "model.unsupported",
            f"models of class {record.factory} cannot be converted",
            where=where,
            expected="qlib's LGBModel or HFLGBModel, lightgbm's Booster, LGBMRegressor or LGBMRanker",
            found=str(record.factory),
        )
    booster = record.get(_BOOSTER_ATTRIBUTE[name])
    if not isinstance(booster, Record) or str(booster.factory) != "lightgbm.basic.Booster":
        raise RefusalError("model.untrained", f"the {name[1]} holds no trained Booster", where=where)
    return booster
