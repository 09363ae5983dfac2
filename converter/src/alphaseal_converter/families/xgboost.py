"""XGBoost: qlib's XGBModel, a bare Booster, the scikit-learn wrappers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alphaseal.format.manifest import Bound
from alphaseal_converter.comparison.known_names import KnownNames
from alphaseal_converter.comparison.parity import Judge, Matrix, Vector
from alphaseal_converter.decode import frames as decode
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import EXACT, Importance, TrainedModel
from alphaseal_converter.families.live import given_table, live_wrapper, plain_attributes
from alphaseal_converter.graph.trees.xgboost import build_xgboost_graph
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.models.trees import thresholds_by_feature, used_features
from alphaseal_converter.models.xgboost import Link, Rule, XgboostModel, parse_document
from alphaseal_converter.pickles.records import Record
from alphaseal_converter.processors.processor import RowProcessor
from alphaseal_converter.processors.sequence import apply_processors

_BOOSTER = "xgboost.core.Booster"
_QLIB = "qlib.contrib.model.xgboost.XGBModel"
_CLASSIFIERS = frozenset(("xgboost.sklearn.XGBClassifier", "xgboost.sklearn.XGBRFClassifier"))
_LINK_BOUND = Bound(
    ulp=None, relative=2.0**-22, absolute=None, text="2 ulp of float32: exp of two mathematical libraries"
)


def read(record: ModelRecord, where: str) -> TrainedModel:
    """The trained model of an XGBoost record; RefusalError ``model.untrained``, and those of `parse_document`."""
    name = str(record)
    saved = _saved(record, where)
    wrapper = saved.wrapper
    linear = wrapper is not None and wrapper.get("booster") == "gblinear"
    rule = Rule() if wrapper is None or linear else Rule(best_iteration_only=True, in_place=True)
    model = parse_document(saved.document, rule, where)
    _check_wrapper(saved, model, where)
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

    return TrainedModel(
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
        judge=lambda processors: _judge(saved, model, infinite_scored, processors),
        notes=() if infinite_scored else ("a row with an infinite value gets no score, as XGBoost refuses it",),
        known_names=known_names(model),
        importance=_importance(model),
    )


@dataclass(frozen=True, eq=False)
class _Saved:
    """The Booster's bytes, its object, and the scikit-learn wrapper around it, None where there is none."""

    document: bytes
    booster: Record
    wrapper: Record | None


def _saved(record: ModelRecord, where: str) -> _Saved:
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
    return _Saved(bytes(data), booster, wrapper)


def _check_wrapper(saved: _Saved, model: XgboostModel, where: str) -> None:
    """What the wrapper's predict reads beside the document: its way to predict, and before 2.0 the best round."""
    if saved.wrapper is None:
        return
    predictor = saved.wrapper.get("predictor")
    if predictor not in (None, "auto"):
        raise RefusalError(
            "model.predict_parameter",
            f"the {saved.wrapper.class_name} predicts with predictor={str(predictor)[:40]}, which XGBoost before 2.0 takes another way for",
            where=where,
            expected="no predictor, or auto",
            found=str(predictor)[:40],
            next_step="take it off and pickle again: model.set_params(predictor=None)",
        )
    attribute = saved.booster.get("best_iteration")
    if attribute is None and (model.version >= (2, 0, 0) or model.best_iteration is None):
        return
    if attribute != model.best_iteration:
        raise RefusalError(
            "model.malformed",
            "the Booster and its document name two best rounds, and which one counts depends on the version of XGBoost",
            where=where,
            expected=f"best_iteration {model.best_iteration}",
            found=str(attribute)[:40],
            next_step="set both: model.get_booster().best_iteration = n; model.get_booster().set_attr(best_iteration=str(n))",
        )


def known_names(model: XgboostModel) -> KnownNames | None:
    """The names that the document states."""
    return KnownNames(model.feature_names, "XGBoost's feature_names") if model.feature_names else None


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
    saved: _Saved, model: XgboostModel, infinite_scored: bool, processors: Sequence[RowProcessor]
) -> Judge | None:
    """``predict`` of XGBoost's own object.  Its parser is only handed bytes that ours has found to be a proper model."""
    try:
        import xgboost
    except (ImportError, OSError):  # OSError: the package is there, its shared library does not load
        return None
    booster = xgboost.Booster()
    booster.__setstate__(plain_attributes(saved.booster) | {"handle": bytearray(saved.document)})
    # What the model was trained on may not be here.
    booster.set_param({"device": "cpu", "nthread": 1})
    live = booster if saved.wrapper is None else live_wrapper(xgboost, saved.wrapper, booster)
    given = _as_given(xgboost, saved, model, booster)
    ask = live.predict_proba if hasattr(live, "predict_proba") else live.predict

    def predict(values: Matrix) -> Vector:
        rows = apply_processors(values, processors)
        with np.errstate(over="ignore"):
            scored = np.full(len(rows), infinite_scored) | ~np.isinf(rows.astype(np.float32)).any(axis=1)
        result = np.full(len(rows), np.nan)
        if scored.any():
            scores = np.asarray(ask(given(rows[scored])), dtype=np.float64)
            result[scored] = scores[:, 1] if scores.ndim == 2 else scores
        return result

    kind = "" if saved.wrapper is None else f", {type(live).__name__}.{ask.__name__}"
    return Judge(f"xgboost {xgboost.__version__}{kind}", predict)


def _as_given(xgboost: Any, saved: _Saved, model: XgboostModel, booster: Any) -> Callable[[Matrix], Any]:
    """A wrapper is handed a table, a Booster a DMatrix; with the names that the model knows, categories as codes."""
    coded = any(model.categorical)
    if saved.wrapper is None:
        names, types = booster.feature_names, booster.feature_types
        return lambda rows: xgboost.DMatrix(rows, feature_names=names, feature_types=types, enable_categorical=coded)
    return given_table(None if coded else known_names(model)) or (lambda rows: rows)
