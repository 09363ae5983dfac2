"""XGBoost: qlib's XGBModel, a bare Booster, the scikit-learn wrappers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from alphaseal.manifest import Bound
from alphaseal_converter import decode
from alphaseal_converter.artifacts import ModelRecord
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import EXACT, Importance, TrainedModel
from alphaseal_converter.families.known_names import check_names
from alphaseal_converter.families.row_processors import apply_processors
from alphaseal_converter.graph.xgboost import build_xgboost_graph
from alphaseal_converter.models.trees import thresholds_by_feature, used_features
from alphaseal_converter.models.xgboost import Link, Rule, XgboostModel, parse_document
from alphaseal_converter.parity import Judge, Matrix, Vector
from alphaseal_converter.processors import RowProcessor
from alphaseal_converter.records import Record

_BOOSTER = "xgboost.core.Booster"
_QLIB = "qlib.contrib.model.xgboost.XGBModel"
_CLASSIFIERS = frozenset(("xgboost.sklearn.XGBClassifier", "xgboost.sklearn.XGBRFClassifier"))
_LINK_BOUND = Bound(
    ulp=None, relative=2.0**-22, absolute=None, text="2 ulp of float32: exp of two mathematical libraries"
)


def read(record: ModelRecord, where: str) -> TrainedModel:
    """The trained model of an XGBoost record; RefusalError ``model.untrained``, and those of `parse_document`."""
    name = str(record)
    document, wrapper = _document(record, where)
    linear = wrapper is not None and wrapper.get("booster") == "gblinear"
    rule = Rule() if wrapper is None or linear else Rule(best_iteration_only=True, in_place=True)
    model = parse_document(document, rule, where)
    if name in _CLASSIFIERS and model.objective != "binary:logistic":
        raise RefusalError(
            "model.objective",
            "the score of a classifier is its probability, which this objective does not give",
            where=where,
            expected="binary:logistic",
            found=model.objective,
        )
    missing = _missing(wrapper, where)
    # A DMatrix is refused by XGBoost when it holds an infinite value; prediction in place takes it as it is.
    infinite_scored = rule.in_place or bool(np.isinf(np.float32(missing)))

    def bind(names: Sequence[str], dtypes: Sequence[str]) -> TrainedModel:
        check_names(model.feature_names, names, where)
        return replace(trained, bind=None)

    trained = TrainedModel(
        family="xgboost",
        class_name=name,
        framework="xgboost",
        road="alphaseal.xgboost",
        feature_count=model.n_features,
        used=_used(model),
        thresholds=_probe_values(model),
        bound=EXACT if model.link is Link.IDENTITY else _LINK_BOUND,
        facts=_facts(model),
        graph=lambda processors: build_xgboost_graph(
            processors, model, missing=missing, infinite_scored=infinite_scored
        ),
        judge=lambda processors: _judge(document, model, rule, missing, infinite_scored, processors),
        notes=() if infinite_scored else ("a row with an infinite value gets no score, as XGBoost refuses it",),
        bind=bind,
        importance=_importance(model),
    )
    return trained


def _document(record: ModelRecord, where: str) -> tuple[bytes, Record | None]:
    """The Booster's bytes, and the scikit-learn wrapper around it."""
    name, wrapper = str(record), None
    booster: Any = record.record
    if name == _QLIB:
        booster = record.record.get("model")
    elif name != _BOOSTER:
        wrapper = record.record
        booster = wrapper.get("_Booster")
    if not isinstance(booster, Record) or str(booster.factory) != _BOOSTER:
        raise RefusalError("model.untrained", f"the {record.class_name} holds no trained Booster", where=where)
    data = decode.as_plain(booster.get("handle"), where=where)
    if not isinstance(data, bytes | bytearray) or not data:
        raise RefusalError("model.untrained", "the Booster holds no model", where=where, found=type(data).__name__)
    return bytes(data), wrapper


def _missing(wrapper: Record | None, where: str) -> float:
    value = np.nan if wrapper is None else decode.as_plain(wrapper.get("missing", np.nan), where=where)
    if value is None:
        return np.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusalError("model.missing", "the missing value is not a number", where=where, found=decode.shown(value))
    return float(value)


def _used(model: XgboostModel) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return used_features(model.ensemble) if model.linear is None else model.linear.weight != 0


def _importance(model: XgboostModel) -> Importance:
    if model.linear is not None:
        return Importance(np.abs(model.linear.weight.astype(np.float64)), "absolute coefficient of the scaled feature")
    splits = np.zeros(model.n_features)
    for tree in model.trees:
        np.add.at(splits, tree.split_feature, 1.0)
    return Importance(splits, "number of splits on it, over all trees")


def _probe_values(model: XgboostModel) -> list[Vector]:
    """Where a row changes its path: the largest float32 that goes left, the split, and the double that parts them."""
    found = []
    for below in thresholds_by_feature(model.ensemble):
        split = np.nextafter(below.astype(np.float32), np.float32(np.inf)).astype(np.float64)
        split = split[np.isfinite(split)]
        found.append(np.unique(np.concatenate([below, split, (below[: len(split)] + split) / 2])))
    return found


def _facts(model: XgboostModel) -> dict[str, Any]:
    facts: dict[str, Any] = {"booster": model.booster, "objective": model.objective, "output": model.link.value}
    if model.linear is None:
        facts |= {"trees": len(model.trees), "leaves": sum(tree.n_leaves for tree in model.trees)}
    return facts


def _judge(
    document: bytes,
    model: XgboostModel,
    rule: Rule,
    missing: float,
    infinite_scored: bool,
    processors: Sequence[RowProcessor],
) -> Judge | None:
    """XGBoost itself.  Its parser is only handed bytes that ours has found to be a proper model."""
    try:
        import xgboost
    except (ImportError, OSError):  # OSError: the package is there, its shared library does not load
        return None
    booster = xgboost.Booster()
    booster.__setstate__({"handle": bytearray(document)})
    # What the model was trained on may not be here; and categories are given as codes.
    booster.set_param({"device": "cpu", "nthread": 1})
    names, types = booster.feature_names, booster.feature_types

    def predict(values: Matrix) -> Vector:
        rows = apply_processors(values, processors)
        if rule.in_place:
            best = model.best_iteration
            rounds = (0, 0 if best is None else best + 1)
            scores = booster.inplace_predict(rows, iteration_range=rounds, missing=missing, validate_features=False)
            return np.asarray(scores, dtype=np.float64)
        with np.errstate(over="ignore"):
            scored = np.full(len(rows), infinite_scored) | ~np.isinf(rows.astype(np.float32)).any(axis=1)
        result = np.full(len(rows), np.nan)
        if scored.any():
            matrix = xgboost.DMatrix(
                rows[scored], missing=missing, feature_names=names, feature_types=types, enable_categorical=True
            )
            result[scored] = booster.predict(matrix)
        return result

    return Judge(f"xgboost {xgboost.__version__}", predict)
