"""CatBoost 1.1 to 1.2: the class without a task, regressor, ranker and classifier."""

from __future__ import annotations

from alphaseal_converter.ledger import WHOLE, Ledger, all_of, handled, neutral

_MADE = neutral("made when it is loaded, never saved")
_MODEL = {
    **WHOLE,
    "_init_params": handled(
        "objective and loss_function choose the link of a regressor, families/catboost.py; others are of training"
    ),
    "_object": handled("the model file: trees, borders, scale, bias, names, models/catboost.py"),
    "_canonized_params": _MADE,
    **all_of(neutral("says that it is fitted"), "_random_seed _tree_count"),
    "predict_proba": neutral("asked by the call, no attribute of a regressor"),
}
ATTRIBUTES: Ledger = {
    "catboost.core.CatBoost": _MODEL,
    "catboost.core.CatBoostRegressor": _MODEL,
    "catboost.core.CatBoostRanker": _MODEL,
    "catboost.core.CatBoostClassifier": _MODEL,
    "catboost.core._CustomLoggersStack": all_of(neutral("messages"), "_lock _stack _owning_thread_id"),
}

NATIVE = {
    "objective": handled("the link of a regressor; it overrules loss_function"),
    "loss_function": handled("the link of a regressor"),
    "scale_and_bias": handled("of the model file"),
}


def native_key(tried: str) -> str:
    """What NATIVE calls a parameter; those that the model file carries about its training are one."""
    return "params" if tried.startswith("params: ") else tried
