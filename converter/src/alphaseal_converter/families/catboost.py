"""CatBoost: qlib's CatBoostModel, and CatBoost, its regressor, ranker and (two classes) classifier on their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alphaseal.format.manifest import Bound
from alphaseal_converter.comparison.known_names import KnownNames
from alphaseal_converter.comparison.parity import Judge, Matrix, Vector
from alphaseal_converter.decode import frames as decode
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import EXACT, TrainedModel
from alphaseal_converter.families.live import given_table, plain_attributes
from alphaseal_converter.graph.trees.catboost import build_catboost_graph
from alphaseal_converter.models.catboost import CatboostModel, Link, parse_cbm
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.pickles.records import Record
from alphaseal_converter.processors.processor import RowProcessor
from alphaseal_converter.processors.sequence import apply_processors

_QLIB = "qlib.contrib.model.catboost_model.CatBoostModel"
_REGRESSOR = "catboost.core.CatBoostRegressor"
_CLASSIFIER = "catboost.core.CatBoostClassifier"
_CLASSES = frozenset(("catboost.core.CatBoost", _REGRESSOR, "catboost.core.CatBoostRanker", _CLASSIFIER))
# What ``CatBoostRegressor.predict`` turns into exp of the formula; the other classes never do.
_EXPONENT = ("Poisson", "Tweedie")
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
    known = KnownNames(model.feature_names, "CatBoost's feature names") if model.feature_names else None
    return TrainedModel(
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
        judge=lambda processors: _judge(str(record), estimator, document, known, processors),
        known_names=known,
    )


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


def _judge(
    class_name: str,
    estimator: Record,
    document: bytes,
    known: KnownNames | None,
    processors: Sequence[RowProcessor],
) -> Judge | None:
    """``predict`` of CatBoost's own object.  Its parser is only handed bytes that ours has found to be a proper model."""
    try:
        import catboost
    except (ImportError, OSError):  # OSError: the package is there, its shared library does not load
        return None
    kind = getattr(catboost, estimator.class_name)
    model = kind.__new__(kind)
    model.__setstate__(plain_attributes(estimator) | {"__model": document})
    # qlib hands over bare values, whose names CatBoost does not ask for.
    given = given_table(known if class_name != _QLIB else None) or (lambda rows: rows)
    ask = model.predict_proba if hasattr(model, "predict_proba") else model.predict

    def predict(values: Matrix) -> Vector:
        rows = apply_processors(values, processors)
        scores = np.asarray(ask(given(rows), thread_count=1), dtype=np.float64)
        return scores[:, 1] if scores.ndim == 2 else scores

    named = "" if estimator.class_name == "CatBoost" else f", {estimator.class_name}.{ask.__name__}"
    return Judge(f"catboost {catboost.__version__}{named}", predict)
