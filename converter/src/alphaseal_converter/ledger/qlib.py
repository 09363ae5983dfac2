"""qlib 0.9.7: its own classes around the libraries; what they hold is in the libraries' ledgers."""

from __future__ import annotations

from alphaseal_converter.ledger import WHOLE, Ledger, all_of, handled, neutral

_INNER = {**WHOLE, "model": handled("read as what it is: a Booster, a CatBoost; qlib hands it bare values or a frame")}
ATTRIBUTES: Ledger = {
    "qlib.contrib.model.gbdt.LGBModel": _INNER,
    "qlib.contrib.model.highfreq_gdbt_model.HFLGBModel": _INNER,
    "qlib.contrib.model.xgboost.XGBModel": _INNER,
    "qlib.contrib.model.catboost_model.CatBoostModel": _INNER,
    "qlib.contrib.model.linear.LinearModel": {**WHOLE, **all_of(handled("families/linear.py"), "coef_ intercept_")},
    "qlib.contrib.model.double_ensemble.DEnsembleModel": {
        **WHOLE,
        **all_of(handled("families/densemble.py"), "ensemble sub_features sub_weights"),
    },
    "qlib.contrib.model.pytorch_general_nn.GeneralPTNN": {
        **WHOLE,
        "dnn_model": handled("the network's weights and statistics, families/network.py"),
        "fitted": neutral("predict refuses one that is not; its weights are there"),
        **all_of(
            neutral("how rows are grouped and loaded: a row's score depends on it alone, which is tested"),
            "batch_size n_jobs",
        ),
        **all_of(neutral("where it is computed, and messages"), "device GPU logger use_gpu"),
    },
    "qlib.log.QlibLogger": {
        **WHOLE,
        **all_of(
            neutral("a logger: messages"),
            "_QlibLogger__level _cache disabled filter handlers level manager module_name name parent propagate",
        ),
    },
}
NATIVE: dict[str, object] = {}
"""None: qlib hands nothing on."""


def native_key(tried: str) -> str:
    """As it is."""
    return tried
