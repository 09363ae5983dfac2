"""CatBoost: qlib's CatBoostModel, and CatBoost, its regressor, ranker and (two classes) classifier on their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from alphaseal.manifest import Bound
from alphaseal_converter import decode
from alphaseal_converter.artifacts import ModelRecord
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import EXACT, TrainedModel
from alphaseal_converter.families.known_names import check_names
from alphaseal_converter.families.row_processors import apply_processors
from alphaseal_converter.graph.catboost import build_catboost_graph
from alphaseal_converter.models.catboost import CatboostModel, Link, parse_cbm
from alphaseal_converter.parity import Judge, Matrix, Vector
from alphaseal_converter.processors import RowProcessor
from alphaseal_converter.records import Record

_QLIB = "qlib.contrib.model.catboost_model.CatBoostModel"
_REGRESSOR = "catboost.core.CatBoostRegressor"
_CLASSIFIER = "catboost.core.CatBoostClassifier"
_CLASSES = frozenset(("catboost.core.CatBoost", _REGRESSOR, "catboost.core.CatBoostRanker", _CLASSIFIER))
# What ``CatBoostRegressor.predict`` turns into exp of the formula; the other classes never do.
_EXPONENT = ("Poisson", "Tweedie")
_PREDICTION = {Link.IDENTITY: "RawFormulaVal", Link.EXP: "Exponent", Link.SIGMOID: "Probability"}
_LINK_BOUND = Bound(ulp=None, relative=4e-15, absolute=None, text="exp of two mathematical libraries")


def read(record: ModelRecord, where: str) -> TrainedModel:
    """The trained model of a CatBoost record; RefusalError ``model.untrained``, and those of `parse_cbm`."""
    estimator = _estimator(record, where)
    document = decode.as_plain(estimator.get("__model"), where=where)
    if not isinstance(document, bytes | bytearray):
        raise RefusalError("model.untrained", f"the {record.class_name} holds no trained model", where=where)
    document = bytes(document)
    model = parse_cbm(document, where)
    link = _link(estimator, model, where)

    def bind(names: Sequence[str], dtypes: Sequence[str]) -> TrainedModel:
        check_names(model.feature_names, names, where)
        return replace(trained, bind=None)

    trained = TrainedModel(
        family="catboost",
        class_name=str(record),
        framework="catboost",
        road="alphaseal.catboost",
        feature_count=model.n_features,
        used=np.array([len(borders) > 0 for borders in model.splits]),
        thresholds=[_probe_values(borders) for borders in model.splits],
        bound=EXACT if link is Link.IDENTITY else _LINK_BOUND,
        facts=_facts(model, link),
        graph=lambda processors: build_catboost_graph(processors, model, link),
        judge=lambda processors: _judge(document, link, processors),
        bind=bind,
    )
    return trained


def _estimator(record: ModelRecord, where: str) -> Record:
    estimator: Any = record.record.get("model") if str(record) == _QLIB else record.record
    if not isinstance(estimator, Record) or str(estimator.factory) not in _CLASSES:
        raise RefusalError("model.untrained", f"the {record.class_name} holds no trained CatBoost", where=where)
    return estimator


def _link(estimator: Record, model: CatboostModel, where: str) -> Link:
    """What ``predict`` of the class applies to the formula; the score of a classifier is the probability of class 1."""
    # An objective overrules the loss function, as CatBoost's own _process_synonyms has it.
    loss = estimator.get("objective", estimator.get("loss_function"))
    kind = str(estimator.factory)
    if kind == _CLASSIFIER:
        if model.loss not in ("Logloss", "CrossEntropy"):
            raise RefusalError(
                "model.objective",
                "the score of a classifier is its probability, which is only known for two classes",
                where=where,
                expected="Logloss or CrossEntropy",
                found=model.loss or "no loss function",
            )
        return Link.SIGMOID
    if kind == _REGRESSOR and isinstance(loss, str) and loss.startswith(_EXPONENT):
        return Link.EXP
    return Link.IDENTITY


def _probe_values(borders: Vector) -> Vector:
    """Where a row changes its path: each border, the float32 above it, and the double that parts them."""
    with np.errstate(over="ignore"):
        above = np.nextafter(borders.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    above, finite = above[np.isfinite(above)], borders[np.isfinite(above)]
    return np.unique(np.concatenate([borders, above, (finite + above) / 2]))


def _facts(model: CatboostModel, link: Link) -> dict[str, Any]:
    leaves = [tree.leaf_value for tree in model.oblivious] + [tree.leaf_value for tree in model.trees]
    return {
        "trees": len(leaves),
        "leaves": sum(len(values) for values in leaves),
        "symmetric": not model.trees,
        "loss": model.loss,
        "output": link.value,
    }


def _judge(document: bytes, link: Link, processors: Sequence[RowProcessor]) -> Judge | None:
    """CatBoost itself.  Its parser is only handed bytes that ours has found to be a proper model."""
    try:
        import catboost
    except (ImportError, OSError):  # OSError: the package is there, its shared library does not load
        return None
    model = catboost.CatBoost()
    model.load_model(blob=document)

    def predict(values: Matrix) -> Vector:
        rows = apply_processors(values, processors)
        scores = np.asarray(model.predict(rows, prediction_type=_PREDICTION[link], thread_count=1), dtype=np.float64)
        return scores[:, 1] if link is Link.SIGMOID else scores

    return Judge(f"catboost {catboost.__version__}", predict)
