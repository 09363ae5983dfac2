"""XGBoost 1.7 to 3.2: its Booster and its scikit-learn wrappers."""

from __future__ import annotations

from alphaseal_converter.ledger import WHOLE, Ledger, all_of, handled, neutral, refused

_MADE = neutral("made by predict from the rows, never saved")
_BOOSTER = {
    "handle": handled("the document: trees, link, base score, names, types, attributes, models/xgboost.py"),
    "best_iteration": handled(
        "before 2.0 a wrapper's rounds; refused where the document says otherwise, families/xgboost.py"
    ),
    "best_ntree_limit": neutral("before 2.0 kept beside best_iteration for an argument of predict that is not given"),
}
_NOT_READ = neutral("training: predict hands it to nothing")
_WRAPPER = {
    **WHOLE,
    "_Booster": handled("read as a Booster"),
    "booster": handled("gblinear is predicted through a DMatrix, families/xgboost.py"),
    "missing": handled("the value that counts as missing, families/xgboost.py"),
    "best_iteration": handled("that of the Booster"),
    "predictor": refused("model.predict_parameter"),
    "kwargs": neutral("parameters of training; those of predict are attributes of their own"),
    **all_of(neutral("of a matrix without names; the document's own types count"), "feature_types enable_categorical"),
    **all_of(neutral("threads and messages"), "n_jobs verbosity"),
    "predict_proba": neutral("asked by the call, no attribute of a regressor"),
    **all_of(_NOT_READ, "base_score callbacks colsample_bylevel colsample_bynode colsample_bytree device"),
    **all_of(_NOT_READ, "early_stopping_rounds eval_metric gamma gpu_id grow_policy importance_type"),
    **all_of(_NOT_READ, "interaction_constraints learning_rate max_bin max_cat_threshold max_cat_to_onehot"),
    **all_of(_NOT_READ, "max_delta_step max_depth max_leaves min_child_weight monotone_constraints multi_strategy"),
    **all_of(_NOT_READ, "n_estimators num_parallel_tree random_state reg_alpha reg_lambda sampling_method"),
    **all_of(_NOT_READ, "scale_pos_weight subsample tree_method validate_parameters use_label_encoder objective"),
}
_CLASSIFIER = {
    **_WRAPPER,
    "objective": neutral("of several classes alone, which the document shows and which are refused"),
    "n_classes_": neutral("two: the document has one output, or it is refused"),
}
ATTRIBUTES: Ledger = {
    "xgboost.core.Booster": _BOOSTER,
    "xgboost.core.DMatrix": all_of(_MADE, "missing nthread handle feature_names feature_types"),
    "xgboost.data.PandasTransformed": all_of(_MADE, "columns ref_categories aitfs"),
    "xgboost.sklearn.XGBRegressor": _WRAPPER,
    "xgboost.sklearn.XGBRFRegressor": _WRAPPER,
    "xgboost.sklearn.XGBRanker": _WRAPPER,
    "xgboost.sklearn.XGBClassifier": _CLASSIFIER,
    "xgboost.sklearn.XGBRFClassifier": _CLASSIFIER,
}

# Entries of the saved configuration that change what a Booster predicts; all others are of training.
NATIVE = {
    "booster": handled("the document's own gradient_booster"),
    "objective": handled("the link that the document names"),
    "name": handled("of the objective: the link that the document names; of the booster: its kind"),
    "base_score": handled("the document's own"),
    "num_target": refused("model.multi_output"),
    "num_feature": handled("the document's own; must fit the trees or weights"),
    "feature_types": handled("which features are codes of categories"),
    "attribute best_iteration": handled("a wrapper's rounds, with the Booster's own attribute before 2.0"),
    "scale_pos_weight": neutral("weights of training"),
}


def native_key(tried: str) -> str:
    """What NATIVE calls a parameter or an entry of the configuration: its own name without the way to it."""
    return tried.rpartition("/")[2]
