"""qlib's DEnsembleModel: LightGBM members on subsets of the features, weighted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from alphaseal_converter.comparison.known_names import KnownNames
from alphaseal_converter.comparison.parity import Judge, Matrix, Vector
from alphaseal_converter.decode.frames import as_array, as_index
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import EXACT, TrainedModel
from alphaseal_converter.families.lightgbm_live import library, live_booster
from alphaseal_converter.graph.trees.tree_ensemble import add_tree_ensemble
from alphaseal_converter.models.lightgbm_saved import SavedLightgbm, known_names, read_saved
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.models.trees import (
    TransformKind,
    TreeEnsembleModel,
    malformed,
    thresholds_by_feature,
    used_features,
)
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.pickles.records import Record
from alphaseal_converter.processors.processor import RowProcessor
from alphaseal_converter.processors.sequence import add_processors, apply_processors


@dataclass(frozen=True, eq=False)
class Member:
    """One booster, the names of its inputs in order, and its weight."""

    saved: SavedLightgbm
    names: tuple[str, ...]
    weight: float

    @property
    def model(self) -> TreeEnsembleModel:
        """The booster's trees."""
        return self.saved.model


@dataclass(frozen=True, eq=False)
class Ensemble:
    """``(0 + s1 * w1 + s2 * w2 ...) / divisor``, with `columns` the positions of each member's inputs."""

    members: tuple[Member, ...]
    columns: tuple[npt.NDArray[np.int64], ...]
    divisor: float
    feature_count: int


def read(record: ModelRecord, where: str) -> TrainedModel:
    """The trained model of a DEnsembleModel record.

    qlib hands its first member all columns of the training frame, in their order, and takes columns by name when it
    predicts; until `bind` gives the resolved names, positions are those of the first member.
    """
    members = _members(record.record, where)
    weights = np.array([member.weight for member in members])
    # Whole weights are summed as integers and others as doubles in qlib; both are np.sum over the list.
    divisor = float(np.sum(weights))
    if divisor == 0:
        raise malformed("the weights of the members add up to zero", where)
    return _trained(str(record), members, members[0].names, divisor, where)


def _trained(
    class_name: str, members: tuple[Member, ...], names: Sequence[str], divisor: float, where: str
) -> TrainedModel:
    place = {name: position for position, name in enumerate(names)}
    columns = tuple(np.array([place[name] for name in member.names], dtype=np.int64) for member in members)
    ensemble = Ensemble(members, columns, divisor, len(names))
    used = np.zeros(len(names), dtype=np.bool_)
    thresholds: list[list[Vector]] = [[] for _ in names]
    for member, chosen in zip(members, columns, strict=True):
        used[chosen] |= used_features(member.model)
        for position, values in zip(chosen.tolist(), thresholds_by_feature(member.model), strict=True):
            thresholds[position].append(values)

    known = KnownNames(tuple(names), "the DEnsembleModel's sub_features", by_name=True)

    def bind(resolved: Sequence[str], dtypes: Sequence[str]) -> TrainedModel:
        known.check(resolved, where)
        return replace(_trained(class_name, members, tuple(resolved), divisor, where), bind=None)

    return TrainedModel(
        family="densemble",
        class_name=class_name,
        framework="lightgbm",
        road="alphaseal.tree_ensemble",
        feature_count=len(names),
        used=used,
        thresholds=[np.unique(np.concatenate(parts)) if parts else np.empty(0) for parts in thresholds],
        bound=EXACT,
        facts=_facts(members),
        graph=lambda processors: _graph(ensemble, processors),
        judge=lambda processors: _judge(ensemble, processors),
        known_names=known,
        bind=bind,
    )


def _facts(members: Sequence[Member]) -> dict[str, Any]:
    return {
        "members": len(members),
        "weights": [member.weight for member in members],
        "features_per_member": [len(member.names) for member in members],
        "trees": sum(len(member.model.trees) for member in members),
    }


def _members(record: Record, where: str) -> tuple[Member, ...]:
    boosters, features, weights = (record.get(name) for name in ("ensemble", "sub_features", "sub_weights"))
    if not isinstance(boosters, list) or not boosters or not isinstance(features, list):
        raise RefusalError("model.untrained", "the DEnsembleModel holds no trained member", where=where)
    numbers = weights if isinstance(weights, list | tuple) else as_array(weights, where=where).tolist()
    if not len(boosters) == len(features) == len(numbers):
        found = f"{len(boosters)}, {len(features)}, {len(numbers)}"
        raise malformed("members, feature lists and weights differ in number", where, found=found)
    members = []
    for number, (booster, index, weight) in enumerate(zip(boosters, features, numbers, strict=True)):
        place = f"{where}, member {number}"
        if not isinstance(booster, Record) or isinstance(weight, bool) or not isinstance(weight, int | float):
            raise malformed("a member is no LightGBM Booster with a weight", place)
        members.append(_member(booster, index, float(weight), place))
    known = set(members[0].names)
    if any(not known.issuperset(member.names) for member in members):
        raise malformed("a member uses features that the first one does not have", where)
    return tuple(members)


def _member(booster: Record, index: Any, weight: float, where: str) -> Member:
    saved = read_saved(booster, where, given_frames=False)
    model = saved.model
    # A frame with a column header of two levels gives tuples; qlib has taken the upper level off.
    names = tuple(str(name) for name in as_index(index, where=where).levels[-1])
    if len(names) != model.n_features or len(set(names)) != len(names):
        raise malformed(
            "a member's feature names do not fit its trees",
            where,
            f"{model.n_features} different names",
            str(len(names)),
        )
    known = known_names(saved)
    if known is not None:
        known.check(names, where)
    if model.transform.kind is not TransformKind.IDENTITY:
        raise RefusalError(
            "model.objective",
            "qlib's DEnsembleModel is defined for the loss mse alone",
            where=where,
            expected=TransformKind.IDENTITY.value,
            found=model.transform.kind.value,
        )
    if not np.isfinite(weight):
        raise malformed("the weight of a member is not finite", where)
    return Member(saved, names, weight)


def _graph(ensemble: Ensemble, processors: Sequence[RowProcessor]) -> bytes:
    builder = GraphBuilder()
    features = add_processors(builder, processors, "features")
    total = builder.scalar(0.0)
    for member, chosen in zip(ensemble.members, ensemble.columns, strict=True):
        inputs = builder.add("Gather", features, builder.constant(chosen), axis=1)
        score = add_tree_ensemble(builder, member.model, inputs)
        total = builder.add("Add", total, builder.add("Mul", score, builder.scalar(member.weight)))
    total = builder.add("Div", total, builder.scalar(ensemble.divisor))
    return builder.model(ensemble.feature_count, total)


def _judge(ensemble: Ensemble, processors: Sequence[RowProcessor]) -> Judge | None:
    """LightGBM's boosters, put together as ``DEnsembleModel.predict`` does: each is handed bare values."""
    lightgbm = library()
    if lightgbm is None:
        return None
    boosters = [live_booster(lightgbm, member.saved) for member in ensemble.members]

    def predict(values: Matrix) -> Vector:
        inputs, total = apply_processors(values, processors), np.zeros(len(values))
        for booster, member, chosen in zip(boosters, ensemble.members, ensemble.columns, strict=True):
            total = total + np.asarray(booster.predict(inputs[:, chosen]), dtype=np.float64) * member.weight
        return total / ensemble.divisor

    return Judge(f"lightgbm {lightgbm.__version__}, as DEnsembleModel.predict", predict)
