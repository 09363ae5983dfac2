"""Small graphs as our builders write them, and tools to change them: tests of the model gate start from these."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper

from alphaseal.errors import PolicyError
from alphaseal.gate.model import check_model
from alphaseal_converter.graph.assemble import build_scoring_graph
from alphaseal_converter.models.trees import OutputTransform, TransformKind, Tree, TreeEnsembleModel
from alphaseal_converter.nodes.builder import IR_VERSION, OPSETS, GraphBuilder
from alphaseal_converter.processors.fillna import Fillna
from alphaseal_converter.processors.normalisation import RobustZScoreNorm
from raising import refusal

FEATURES = 4


def tree(left: list[int], right: list[int], leaves: list[float], **changes: object) -> Tree:
    """A tree of our converter's own form; splits look at one feature after the other."""
    nodes = len(left)
    fields: dict[str, object] = {
        "split_feature": np.arange(nodes, dtype=np.int64) % FEATURES,
        "threshold": np.linspace(-1.0, 1.0, nodes),
        "decision": np.zeros(nodes, dtype=np.uint8),
        "missing_left": np.zeros(nodes, dtype=np.bool_),
        "zero_is_missing": np.zeros(nodes, dtype=np.bool_),
        "left": np.array(left, dtype=np.int64),
        "right": np.array(right, dtype=np.int64),
        "leaf_value": np.array(leaves),
    }
    return Tree(**(fields | changes))  # type: ignore[arg-type]


@cache
def trees_model() -> bytes:
    """Three trees (one of them a single leaf) behind a normalisation, with missing zeros, categories and a sigmoid."""
    first = tree([1, -1, -3], [2, -2, -4], [0.5, -0.25, 1.0, 2.0], zero_is_missing=np.array([True, False, False]))
    second = tree(
        [-1, -2], [1, -3], [1.0, 2.0, 3.0], decision=np.array([1, 0], dtype=np.uint8), categories=(np.array([1, 3]),)
    )
    model = TreeEnsembleModel(
        FEATURES,
        (first, second, tree([], [], [0.125])),
        zero_bound=1e-35,
        transform=OutputTransform(TransformKind.SIGMOID, 1.0),
    )
    norm = RobustZScoreNorm(("a", "b", "c", "d"), np.zeros(FEATURES), np.ones(FEATURES), True)
    return build_scoring_graph((norm, Fillna(0.0)), model, FEATURES)


@cache
def plain_trees() -> bytes:
    """Two trees and nothing else: one `TreeEnsemble` node and the `Identity` behind it."""
    model = TreeEnsembleModel(
        FEATURES, (tree([1, -1], [-2, -3], [1.0, 2.0, 3.0]), tree([-1, -2], [1, -3], [4.0, 5.0, 6.0]))
    )
    return build_scoring_graph((), model, FEATURES)


@cache
def network_model() -> bytes:
    """A small recurrent network over windows of five days, as an exporter's graph becomes one of ours."""
    builder, generator = GraphBuilder(), np.random.default_rng(3)

    def weights(*shape: int) -> str:
        return builder.constant(generator.normal(size=shape).astype(np.float32))

    steps = builder.add("Transpose", builder.cast("features", TensorProto.FLOAT), perm=[1, 0, 2])
    rows = builder.add("Gather", builder.add("Shape", steps), builder.constant([1]), axis=0)
    start = builder.add(
        "ConstantOfShape", builder.add("Concat", builder.constant([1]), rows, builder.constant([3]), axis=0)
    )
    hidden = builder.add(
        "GRU", steps, weights(1, 9, FEATURES), weights(1, 9, 3), weights(1, 18), "", start, hidden_size=3
    )
    last = builder.add("Gather", hidden, builder.constant(np.array(-1)), axis=0)
    flat = builder.add("Squeeze", last, builder.constant([0]))
    score = builder.add(
        "Gemm", builder.add("LayerNormalization", flat, weights(3), weights(3)), weights(1, 3), weights(1), transB=1
    )
    return builder.model(FEATURES, builder.cast(score, TensorProto.DOUBLE), 5)


def changed(data: bytes, change: Callable[[onnx.ModelProto], object]) -> bytes:
    """The model after `change`."""
    model = onnx.load_from_string(data)
    change(model)
    return bytes(model.SerializeToString(deterministic=True))


def ensemble(model: onnx.ModelProto) -> onnx.NodeProto:
    """The node of the trees."""
    return next(node for node in model.graph.node if node.op_type == "TreeEnsemble")


def attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    """One attribute of a node."""
    return next(entry for entry in node.attribute if entry.name == name)


def built(add: Callable[[GraphBuilder], str], row: tuple[int, ...] = (FEATURES,)) -> bytes:
    """A graph of our builder's form without a check by onnx."""
    builder = GraphBuilder()
    score = add(builder)
    inner = helper.make_graph(
        [*builder._nodes, helper.make_node("Identity", [score], ["score"])],
        "scoring",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", *row])],
        [helper.make_tensor_value_info("score", TensorProto.DOUBLE, ["rows", 1])],
        builder._initializers,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return bytes(
        helper.make_model(inner, ir_version=IR_VERSION, opset_imports=opsets).SerializeToString(deterministic=True)
    )


def refusal_of(data: bytes) -> PolicyError:
    """What the gate says of a model."""
    return refusal(PolicyError, check_model, data, "model.onnx")
