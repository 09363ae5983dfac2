"""The road of skl2onnx, in double, for estimators that we do not build ourselves; our trees are its converters.

skl2onnx converts a live estimator, which is made again from inert records (see `sklearn_live`).  What it makes is
taken over node by node, known operators only; trees and LightGBM inside are marked by it and built by us.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import TrainedModel
from alphaseal_converter.families.linear import rounding_bound
from alphaseal_converter.families.live import given_table
from alphaseal_converter.families.sklearn_live import live_parts, make_judge
from alphaseal_converter.graph.sklearn_steps import add_chain, add_check
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.models.sklearn.estimators import inputs_of, known_names, parse_estimator, version_of
from alphaseal_converter.models.sklearn.steps import Check
from alphaseal_converter.nodes.builder import OPSETS, GraphBuilder
from alphaseal_converter.nodes.embed import Substitute, embed
from alphaseal_converter.pickles.records import Record
from alphaseal_converter.processors.processor import RowProcessor
from alphaseal_converter.processors.sequence import add_processors

_OWN_DOMAIN = "alphaseal"
_OWN_OPERATOR = "Estimator"
_ML_OPSET = 3
"""Of the graphs that skl2onnx writes; none of its nodes of that domain goes into ours."""


def read(record: ModelRecord, unknown: str, where: str) -> TrainedModel:
    """The trained model of an estimator that holds `unknown`, a class that our own road does not know.

    RefusalError ``model.skl2onnx_missing``, ``model.sklearn_version``, and ``model.unsupported`` where the conversion
    fails or gives something that a bundle does not carry.
    """
    live, parts = live_parts(record.record, where)
    count = inputs_of(record.record, where)
    ours = {id(made): part for part, made in parts if _is_ours(part)}
    content, converter, own = _convert(live, count, ours, unknown, where)
    missing = _takes_missing(live)
    built = {index: parse_estimator(ours[identity], where, given_frames=False).chain for identity, index in own.items()}

    def graph(processors: Sequence[RowProcessor]) -> bytes:
        builder = GraphBuilder()
        features = add_processors(builder, processors, "features")
        score = embed(builder, content, features, _substitutes(built))
        score = builder.add("Reshape", score, builder.constant([-1, 1]))
        # Rows that scikit-learn refuses get NaN.
        score = builder.add("Add", score, add_check(builder, Check(missing=missing), features, count))
        return builder.model(count, score)

    graph(())  # what cannot be carried over is refused before anything else is done
    known = known_names(record.record, where)
    given = given_table(known) or (lambda rows: rows)
    return TrainedModel(
        family="sklearn",
        class_name=str(record),
        framework="scikit-learn",
        framework_version=version_of(record.record),
        road=converter,
        feature_count=count,
        thresholds=[np.empty(0)] * count,
        bound=rounding_bound((), count, single=False),
        facts={"converter": converter, "estimator": unknown, "own_estimators": len(own)},
        graph=graph,
        judge=lambda processors: make_judge(live, version_of(record.record), processors, given, single=False),
        known_names=known,
    )


def _is_ours(part: Record) -> bool:
    name = part.class_name
    return name.endswith(("ForestRegressor", "TreesRegressor", "TreeRegressor", "BoostingRegressor", "LGBMRegressor"))


def _convert(
    live: Any, count: int, ours: Mapping[int, Record], unknown: str, where: str
) -> tuple[bytes, str, dict[int, int]]:
    """The serialised graph, the converter's name with version, and the numbers given to our own estimators by identity."""
    try:
        import skl2onnx
        from skl2onnx.common.data_types import DoubleTensorType
    except (ImportError, OSError):
        raise RefusalError(
            "model.skl2onnx_missing",
            f"{unknown} is converted by skl2onnx, which is not installed",
            where=where,
            expected="skl2onnx 1.20 or later",
            next_step="install alphaseal-converter[sklearn]",
        ) from None
    own: dict[int, int] = {}

    def shape(operator: Any) -> None:
        operator.outputs[0].type = DoubleTensorType([None, 1])

    def convert(scope: Any, operator: Any, container: Any) -> None:
        index = own.setdefault(id(operator.raw_operator), len(own))
        container.add_node(
            _OWN_OPERATOR,
            operator.inputs[0].full_name,
            operator.outputs[0].full_name,
            op_domain=_OWN_DOMAIN,
            op_version=1,
            name=scope.get_unique_operator_name(_OWN_OPERATOR),
            index=index,
        )

    kinds = _kinds_of(live, ours)
    _register(kinds, shape, convert)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = skl2onnx.convert_sklearn(
                live,
                initial_types=[("features", DoubleTensorType([None, count]))],
                target_opset={"": OPSETS[""], "ai.onnx.ml": _ML_OPSET},
                custom_conversion_functions=dict.fromkeys(kinds, convert),
                custom_shape_calculators=dict.fromkeys(kinds, shape),
            )
    except Exception as problem:  # noqa: BLE001 - converters raise whatever they stumble over
        raise RefusalError(
            "model.unsupported",
            f"skl2onnx cannot convert it in double ({type(problem).__name__}: {str(problem).splitlines()[0][:200] if str(problem) else ''})",
            where=where,
            found=unknown,
        ) from None
    content: bytes = _at_our_opset(model, unknown, where).SerializeToString()
    return content, f"skl2onnx {skl2onnx.__version__} (double)", own


def _at_our_opset(model: onnx.ModelProto, unknown: str, where: str) -> onnx.ModelProto:
    """skl2onnx names the lowest opset that its operators need; ours is the same where none of them changed since."""
    for entry in model.opset_import:
        if entry.domain != "":
            continue
        for kind in {node.op_type for node in model.graph.node if node.domain == ""}:
            versions = {onnx.defs.get_schema(kind, limit).since_version for limit in (entry.version, OPSETS[""])}
            if len(versions) > 1:
                raise RefusalError(
                    "model.unsupported",
                    f"skl2onnx uses {kind} of opset {entry.version}, which changed until opset {OPSETS['']}",
                    where=where,
                    found=unknown,
                )
        entry.version = OPSETS[""]
    return model


def _kinds_of(live: Any, ours: Mapping[int, Record]) -> set[type]:
    """The classes of all parts of `live` that we build."""
    found: set[type] = set()
    seen: set[int] = set()
    waiting = [live]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if id(part) in ours:
            found.add(type(part))
        elif isinstance(part, list | tuple) or (isinstance(part, np.ndarray) and part.dtype == object):
            waiting.extend(part)
        elif isinstance(part, dict):
            waiting.extend(part.values())
        elif hasattr(part, "get_params"):
            waiting.extend(vars(part).values())
    return found


def _register(kinds: set[type], shape: Callable[[Any], None], convert: Callable[[Any, Any, Any], None]) -> None:
    """LightGBM's class is not among those that skl2onnx knows by itself."""
    from skl2onnx import update_registered_converter

    for kind in kinds:
        if kind.__module__.startswith("lightgbm"):
            update_registered_converter(kind, f"Alphaseal{kind.__name__}", shape, convert, overwrite=True)


def _substitutes(built: Mapping[int, Any]) -> Mapping[tuple[str, str], Substitute]:
    def own(builder: GraphBuilder, node: onnx.NodeProto, inputs: list[str]) -> str:
        (index,) = (attribute.i for attribute in node.attribute if attribute.name == "index")
        (step,) = built[index]
        # The width is only needed where steps choose columns, which trees do not.
        return add_chain(builder, (step,), inputs[0], step.model.n_features)

    def columns(builder: GraphBuilder, node: onnx.NodeProto, inputs: list[str]) -> str:
        return builder.add("Gather", inputs[0], builder.add("Reshape", inputs[1], builder.constant([-1])), axis=1)

    return {(_OWN_DOMAIN, _OWN_OPERATOR): own, ("ai.onnx.ml", "ArrayFeatureExtractor"): columns}


def _takes_missing(live: Any) -> bool:
    """Whether every step takes NaN, or the first one fills it."""
    try:
        from sklearn.utils import get_tags
    except ImportError:  # scikit-learn before 1.6
        return False
    steps = [step for _, step in live.steps if step not in (None, "passthrough")] if hasattr(live, "steps") else [live]
    if type(steps[0]).__name__ == "SimpleImputer":
        return True
    return all(bool(get_tags(step).input_tags.allow_nan) for step in steps)
