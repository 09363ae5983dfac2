"""From what the weights file holds to a model that can be built and judged: the table of families.

A new family is a module below `models`, one function here and one line in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .artifacts import ModelRecord, lightgbm_text, read_model
from .errors import RefusalError
from .graph.assemble import build_scoring_graph
from .judge import apply_processors
from .models.lightgbm import parse_model_text
from .models.trees import TransformKind, TreeEnsembleModel, thresholds_by_feature, used_features
from .parity import Judge, Matrix, Vector
from .processors import RowProcessor

_TRANSFORM_BOUND_ULP = {TransformKind.IDENTITY: 0, TransformKind.SIGNED_SQUARE: 0, TransformKind.LOG1P_EXP: 14}
_OTHER_BOUND_ULP = 4


@dataclass(frozen=True)
class TrainedModel:
    """A model of any family, read inertly.

    `graph` serialises ONNX for fitted processors, `judge` is the original library after the same processors or None
    where it is not installed, `thresholds` the split values per feature in the space the model sees, `bound_ulp` the
    largest difference from the judge that the arithmetic of the family allows.
    """

    family: str
    class_name: str
    framework: str
    road: str
    feature_count: int
    used: npt.NDArray[np.bool_]
    thresholds: Sequence[Vector]
    bound_ulp: int
    facts: Mapping[str, Any]
    graph: Callable[[Sequence[RowProcessor]], bytes]
    judge: Callable[[Sequence[RowProcessor]], Judge | None]


def read_trained_model(data: bytes, where: str) -> TrainedModel:
    """The model in a weights file; RefusalError ``model.unsupported`` names a class that no family takes."""
    record = read_model(data, where)
    family = _FAMILIES.get(str(record))
    if family is None:
        raise RefusalError(
            "model.unsupported",
            f"models of class {record} cannot be converted",
            where=where,
            expected=", ".join(sorted(_FAMILIES)),
            found=str(record),
        )
    return family(record, where)


def _lightgbm(record: ModelRecord, where: str) -> TrainedModel:
    text, best_iteration, _ = lightgbm_text(record, where)
    model = parse_model_text(text, best_iteration)
    return TrainedModel(
        family="lightgbm",
        class_name=str(record),
        framework="lightgbm",
        road="alphaseal.tree_ensemble",
        feature_count=model.n_features,
        used=used_features(model),
        thresholds=thresholds_by_feature(model),
        bound_ulp=_TRANSFORM_BOUND_ULP.get(model.transform.kind, _OTHER_BOUND_ULP),
        facts=_tree_facts(model),
        graph=lambda processors: build_scoring_graph(processors, model, model.n_features),
        judge=lambda processors: _lightgbm_judge(text, best_iteration, processors),
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


def _lightgbm_judge(text: str, best_iteration: int | None, processors: Sequence[RowProcessor]) -> Judge | None:
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


_FAMILIES: Mapping[str, Callable[[ModelRecord, str], TrainedModel]] = {
    "qlib.contrib.model.gbdt.LGBModel": _lightgbm,
    "lightgbm.basic.Booster": _lightgbm,
    "lightgbm.sklearn.LGBMRegressor": _lightgbm,
}
