"""LightGBM: qlib's LGBModel, a bare Booster, the scikit-learn regressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alphaseal.manifest import Bound
from alphaseal_converter.artifacts import ModelRecord, lightgbm_text
from alphaseal_converter.graph.assemble import build_scoring_graph
from alphaseal_converter.models.lightgbm import parse_model_text, split_gains
from alphaseal_converter.models.trees import TransformKind, TreeEnsembleModel, thresholds_by_feature, used_features
from alphaseal_converter.parity import Judge, Matrix, Vector
from alphaseal_converter.processors import RowProcessor

from .base import EXACT, Importance, TrainedModel
from .row_processors import apply_processors

_IDENTITY = (TransformKind.IDENTITY, TransformKind.SIGNED_SQUARE)
_TRANSFORM_ULP = {TransformKind.LOG1P_EXP: 14}
_OTHER_TRANSFORM_ULP = 4


def _bound(model: TreeEnsembleModel) -> Bound:
    kind = model.transform.kind
    if kind in _IDENTITY:
        return EXACT
    ulp = _TRANSFORM_ULP.get(kind, _OTHER_TRANSFORM_ULP)
    return Bound(ulp=ulp, relative=None, absolute=None, text=f"{ulp} ulp: exp and log of two mathematical libraries")


def read(record: ModelRecord, where: str) -> TrainedModel:
    """The trained model of a LightGBM record."""
    text, best_iteration, _ = lightgbm_text(record, where)
    model = parse_model_text(text, best_iteration)
    gains = split_gains(text, best_iteration)
    return TrainedModel(
        family="lightgbm",
        class_name=str(record),
        framework="lightgbm",
        road="alphaseal.tree_ensemble",
        feature_count=model.n_features,
        used=used_features(model),
        thresholds=thresholds_by_feature(model),
        bound=_bound(model),
        facts=_tree_facts(model),
        graph=lambda processors: build_scoring_graph(processors, model, model.n_features),
        judge=lambda processors: _judge(text, best_iteration, processors),
        importance=Importance(gains, "gain of the splits on it, summed over all trees") if gains is not None else None,
    )


def _tree_facts(model: TreeEnsembleModel) -> dict[str, Any]:
    leaves = [tree.n_leaves for tree in model.trees]
    return {
        "trees": len(leaves),
        "leaves": sum(leaves),
        "averaged": model.average,
        "linear_leaves": any(tree.linear is not None for tree in model.trees),
        "output": model.transform.kind.value,
    }


def _judge(text: str, best_iteration: int | None, processors: Sequence[RowProcessor]) -> Judge | None:
    """LightGBM itself.  Its parser is only handed a text that ours has found to be a proper model."""
    try:
        import lightgbm
    except (ImportError, OSError):  # OSError: the package is there, its shared library does not load
        return None
    booster = lightgbm.Booster(model_str=text)

    def predict(values: Matrix) -> Vector:
        scores = booster.predict(apply_processors(values, processors), num_iteration=best_iteration)
        return np.asarray(scores, dtype=np.float64)

    return Judge(f"lightgbm {lightgbm.__version__}", predict)
