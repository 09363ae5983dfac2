"""LightGBM: qlib's LGBModel and HFLGBModel, a bare Booster, the scikit-learn regressor and ranker."""

from __future__ import annotations

from typing import Any

from alphaseal.format.manifest import Bound
from alphaseal_converter.families.base import EXACT, Importance, TrainedModel
from alphaseal_converter.families.lightgbm_live import judge
from alphaseal_converter.graph.assemble import build_scoring_graph
from alphaseal_converter.models.lightgbm import split_gains
from alphaseal_converter.models.lightgbm_saved import SavedLightgbm, known_names, read_saved
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.models.trees import TransformKind, TreeEnsembleModel, thresholds_by_feature, used_features

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
    saved = read_saved(record, where)
    model = saved.model
    gains = split_gains(saved.text, saved.best_iteration)
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
        judge=lambda processors: judge(saved, processors),
        known_names=known_names(saved),
        importance=Importance(gains, "gain of the splits on it, summed over all trees") if gains is not None else None,
        notes=_notes(saved),
    )


def _notes(saved: SavedLightgbm) -> tuple[str, ...]:
    if not saved.unknown:
        return ()
    return (f"the wrapper has parameters that no LightGBM from 3.3 to 4.7 knows: {', '.join(saved.unknown)[:200]}",)


def _tree_facts(model: TreeEnsembleModel) -> dict[str, Any]:
    leaves = [tree.n_leaves for tree in model.trees]
    return {
        "trees": len(leaves),
        "leaves": sum(leaves),
        "averaged": model.average,
        "linear_leaves": any(tree.linear is not None for tree in model.trees),
        "output": model.transform.kind.value,
    }
