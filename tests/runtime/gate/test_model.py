"""The model gate: what our builders write passes, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from alphaseal.errors import PolicyError
from alphaseal.gate.model import Limits, check_model
from alphaseal.gate.onnx import operators as onnx_operators
from alphaseal.gate.onnx.wire import Source
from alphaseal_converter.nodes.builder import IR_VERSION, OPSETS, GraphBuilder
from alphaseal_converter.nodes.embed import OPERATORS as FOREIGN
from raising import refusal
from small_models import FEATURES, attribute, changed, ensemble, network_model, plain_trees, trees_model

Change = Callable[[onnx.ModelProto], object]


def refused(data: bytes, **limits: Any) -> PolicyError:
    """The error of the gate."""
    return refusal(PolicyError, check_model, data, "model.onnx", limits=Limits(**limits))


def code_after(change: Change, data: bytes | None = None) -> str:
    """The code that the plain trees are refused with after a change."""
    return refused(changed(plain_trees() if data is None else data, change)).code


def built(add: Callable[[GraphBuilder], str], n_features: int = FEATURES) -> bytes:
    """A graph of our builder's form without a check by onnx."""
    builder = GraphBuilder()
    score = add(builder)
    graph = helper.make_graph(
        [*builder._nodes, helper.make_node("Identity", [score], ["score"])],
        "scoring",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", n_features])],
        [helper.make_tensor_value_info("score", TensorProto.DOUBLE, ["rows", 1])],
        builder._initializers,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets)
    return bytes(model.SerializeToString(deterministic=True))


# --- what passes ------------------------------------------------------------------------------------------------------


def test_what_our_builders_write_passes() -> None:
    """Trees with everything around them, trees alone and a network; tests/graphs.py asks the same of every other graph."""
    summary = check_model(trees_model(), "model.onnx")
    assert (summary.trees, summary.tree_nodes, summary.ir_version, summary.opsets) == (3, 6, IR_VERSION, OPSETS)
    assert summary.inputs[0].shape == (None, FEATURES)
    assert check_model(plain_trees(), "model.onnx").operators == {"Identity": 1, "TreeEnsemble": 1}
    assert check_model(network_model(), "model.onnx").inputs[0].shape == (None, 5, FEATURES)


def test_versions_are_the_builders_own() -> None:
    """Gate and builder pin the same versions."""
    assert (onnx_operators.IR_VERSION, dict(onnx_operators.OPSETS)) == (IR_VERSION, OPSETS)


def test_operators_of_exporters_are_known() -> None:
    """What may be taken over from an exporter's graph is in the gate's list."""
    assert {("", name) for name in FOREIGN} <= set(onnx_operators.every_operator())


def test_large_model_is_checked_quickly() -> None:
    """500 trees of 200 leaves take a fraction of a second (0.1 s on an idle core)."""
    data = _forest(500, 200)
    started = time.process_time()
    assert check_model(data, "model.onnx").tree_nodes == 500 * 199
    assert time.process_time() - started < 1.0


def _forest(trees: int, leaves: int) -> bytes:
    nodes = leaves - 1
    first = np.arange(trees * nodes) - np.arange(trees * nodes) % nodes
    place = np.arange(trees * nodes) % nodes
    is_last = place == nodes - 1
    leaf = (first // nodes + 1) * leaves - 1 - place
    node = helper.make_node(
        "TreeEnsemble",
        ["features"],
        ["n0"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=1,
        tree_roots=(np.arange(trees) * nodes).tolist(),
        nodes_featureids=(place * 7 % 158).tolist(),
        nodes_missing_value_tracks_true=(place % 2).tolist(),
        nodes_trueleafs=np.where(is_last, 1, 0).tolist(),
        nodes_falseleafs=[1] * (trees * nodes),
        nodes_truenodeids=np.where(is_last, leaf - 1, first + place + 1).tolist(),
        nodes_falsenodeids=leaf.tolist(),
        leaf_targetids=[0] * (trees * leaves),
        nodes_modes=numpy_helper.from_array(np.zeros(trees * nodes, np.uint8)),
        nodes_splits=numpy_helper.from_array(np.zeros(trees * nodes)),
        leaf_weights=numpy_helper.from_array(np.ones(trees * leaves)),
    )

    def add(builder: GraphBuilder) -> str:
        builder._nodes.append(node)
        return "n0"

    return built(add, 158)


# --- trees ------------------------------------------------------------------------------------------------------------


def _ints(name: str, position: int, value: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        attribute(ensemble(model), name).ints[position] = value

    return change


def _tensor(name: str, values: object) -> Change:
    def change(model: onnx.ModelProto) -> None:
        entry = attribute(ensemble(model), name)
        entry.t.CopyFrom(numpy_helper.from_array(np.array(values), name))

    return change


def _more(name: str, value: object) -> Change:
    def change(model: onnx.ModelProto) -> None:
        ensemble(model).attribute.append(helper.make_attribute(name, value))

    return change


def _drop(name: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        ensemble(model).attribute.remove(attribute(ensemble(model), name))

    return change


def _both(*changes: Change) -> Change:
    def change(model: onnx.ModelProto) -> None:
        for one in changes:
            one(model)

    return change


# Nodes: 0 -> (1, leaf 1), 1 -> (leaf 0, leaf 2); 2 -> (leaf 3, 3), 3 -> (leaf 4, leaf 5); _leaf_places may swap leaves.
BAD_TREES: dict[str, tuple[Change, str]] = {
    "feature_minus_one": (_ints("nodes_featureids", 0, -1), "model.tree"),
    "feature_beyond_the_columns": (_ints("nodes_featureids", 0, FEATURES), "model.tree"),
    "feature_of_64_bits": (_ints("nodes_featureids", 0, 1 << 62), "model.tree"),
    "target_beyond": (_ints("leaf_targetids", 0, 1), "model.tree"),
    "target_minus_one": (_ints("leaf_targetids", 0, -1), "model.tree"),
    "target_names_no_leaf": (lambda model: attribute(ensemble(model), "leaf_targetids").ints.append(0), "model.tree"),
    "child_beyond": (_ints("nodes_truenodeids", 0, 99), "model.tree"),
    "child_minus_one": (_ints("nodes_truenodeids", 0, -1), "model.tree"),
    "child_is_root": (_ints("nodes_truenodeids", 0, 0), "model.tree"),
    "child_of_another_tree": (_ints("nodes_truenodeids", 0, 3), "model.tree"),
    "leaf_beyond": (_ints("nodes_falsenodeids", 1, 99), "model.tree"),
    "leaf_of_another_path": (_ints("nodes_falsenodeids", 1, 0), "model.tree"),
    "root_beyond": (_ints("tree_roots", 1, 99), "model.tree"),
    "root_twice": (_ints("tree_roots", 1, 0), "model.tree"),
    "root_inside_a_tree": (_ints("tree_roots", 1, 3), "model.tree"),
    "flag_of_two": (_ints("nodes_trueleafs", 0, 2), "model.tree"),
    "missing_flag_of_minus_one": (_ints("nodes_missing_value_tracks_true", 0, -1), "model.tree"),
    "shorter_ids": (lambda model: attribute(ensemble(model), "nodes_featureids").ints.pop(), "model.tree"),
    "shorter_thresholds": (_tensor("nodes_splits", [0.0, 0.0, 0.0]), "model.tree"),
    "shorter_modes": (_tensor("nodes_modes", np.zeros(3, np.uint8)), "model.tree"),
    "member_mode": (_tensor("nodes_modes", np.array([6, 0, 0, 0], np.uint8)), "model.tree"),
    "mode_of_another_type": (_tensor("nodes_modes", np.zeros(4, np.int64)), "model.tree"),
    "threshold_nan": (_tensor("nodes_splits", [np.nan, 0.0, 0.0, 0.0]), "model.tree"),
    "leaf_nan": (_tensor("leaf_weights", [np.nan, 0, 0, 0, 0, 0.0]), "model.tree"),
    "leaf_infinite": (_tensor("leaf_weights", [0, 0, 0, 0, 0, np.inf]), "model.tree"),
    "leaf_minus_infinite": (_tensor("leaf_weights", [0, -np.inf, 0, 0, 0, 0]), "model.tree"),
    "leaves_of_another_type": (_tensor("leaf_weights", np.zeros(6, np.float32)), "model.tree"),
    "no_roots": (_drop("tree_roots"), "model.tree"),
    "no_leaves": (_drop("leaf_weights"), "model.tree"),
    "average": (lambda model: setattr(attribute(ensemble(model), "aggregate_function"), "i", 0), "model.attribute"),
    "softmax": (_more("post_transform", 1), "model.attribute"),
    "memberships": (_more("membership_values", numpy_helper.from_array(np.array([1.0]), "m")), "model.attribute"),
    "hit_rates": (_more("nodes_hitrates", numpy_helper.from_array(np.ones(4), "h")), "model.attribute"),
    "attribute_twice": (_more("n_targets", 1), "model.attribute"),
    "targets_as_text": (_both(_drop("n_targets"), _more("n_targets", "1")), "model.attribute"),
}


@pytest.mark.parametrize("name", BAD_TREES)
def test_bad_trees_are_refused(name: str) -> None:
    """Ids out of range, cycles, shared nodes and leaves, other modes, numbers that are none."""
    change, code = BAD_TREES[name]
    assert code_after(change) == code


def _tree_model(
    true: list[int], false: list[int], true_leaf: list[int], false_leaf: list[int], leaves: int, roots: list[int]
) -> bytes:
    def change(model: onnx.ModelProto) -> None:
        node, count = ensemble(model), len(true)
        lists = {
            "nodes_truenodeids": true,
            "nodes_falsenodeids": false,
            "nodes_trueleafs": true_leaf,
            "nodes_falseleafs": false_leaf,
            "nodes_featureids": [0] * count,
            "nodes_missing_value_tracks_true": [0] * count,
            "leaf_targetids": [0] * leaves,
            "tree_roots": roots,
        }
        for name, values in lists.items():
            attribute(node, name).ints[:] = values
        _tensor("nodes_splits", np.zeros(count))(model)
        _tensor("nodes_modes", np.zeros(count, np.uint8))(model)
        _tensor("leaf_weights", np.ones(leaves))(model)

    return changed(plain_trees(), change)


def test_cycle_beside_the_tree_is_refused() -> None:
    """Nodes that lead to each other, each with one parent, are not reached from a root."""
    data = _tree_model([0, 2, 1], [1, 2, 3], [1, 0, 0], [1, 1, 1], 4, [0])
    assert "cycle" in refused(data).message


def test_root_whose_branches_have_one_id_is_refused() -> None:
    """onnxruntime before 1.24 takes it for a lone leaf (its issue 24679)."""
    data = _tree_model([1, 0], [1, 2], [1, 1], [0, 1], 3, [0])
    assert "one id" in refused(data).message


@pytest.mark.parametrize(("depth", "passes"), [(1000, True), (1001, False)])
def test_depth_of_trees_is_bounded(depth: int, passes: bool) -> None:
    """A chain of 1000 splits passes, one more does not: loaders recurse."""
    false = [*range(1, depth), depth]
    data = _tree_model([*range(depth)], false, [1] * depth, [0] * (depth - 1) + [1], depth + 1, [0])
    if passes:
        check_model(data, "model.onnx")
    else:
        assert "splits on a path" in refused(data).message


def test_infinite_thresholds_pass() -> None:
    """LightGBM writes them where a split parts missing values from all others."""
    check_model(changed(plain_trees(), _tensor("nodes_splits", [np.inf, 0.0, -np.inf, 0.0])), "model.onnx")


# --- what a file may hold ----------------------------------------------------------------------------------------------


def _external(tensor: TensorProto, location: str = "../secret.bin") -> TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def _weights(name: str = "w") -> TensorProto:
    return TensorProto(name=name, data_type=TensorProto.DOUBLE, dims=[FEATURES, 1])


def _sparse(external: bool) -> onnx.SparseTensorProto:
    values = _external(_weights()) if external else numpy_helper.from_array(np.ones(1), "w")
    return helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64), "w_indices"), [FEATURES])


def _append_node(*arguments: object, **attributes: object) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node.insert(0, helper.make_node(*arguments, **attributes))

    return change


def _subgraph() -> onnx.GraphProto:
    output = helper.make_tensor_value_info("y", TensorProto.DOUBLE, [1])
    return helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])], "inner", [], [output], [_external(_weights())]
    )


def _many_nodes(model: onnx.ModelProto) -> None:
    model.graph.node.extend(helper.make_node("Neg", ["features"], [f"x{number}"]) for number in range(100_001))


def _set(path: str, value: object) -> Change:
    def change(model: onnx.ModelProto) -> None:
        *parents, last = path.split(".")
        target: object = model
        for name in parents:
            target = target[int(name)] if name.isdigit() else getattr(target, name)  # type: ignore[index]
        setattr(target, last, value)

    return change


FORBIDDEN: dict[str, tuple[Change, str]] = {
    "external_parent_directory": (lambda m: m.graph.initializer.append(_external(_weights())), "model.field"),
    "external_absolute": (lambda m: m.graph.initializer.append(_external(_weights(), "/etc/passwd")), "model.field"),
    "external_beside": (lambda m: m.graph.initializer.append(_external(_weights(), "secret.bin")), "model.field"),
    "external_without_location": (
        lambda m: m.graph.initializer.append(TensorProto(name="w", data_type=11, dims=[0], data_location=1)),
        "model.field",
    ),
    "external_keys_without_flag": (
        lambda m: m.graph.initializer.add(name="w", data_type=11).external_data.add(key="location"),
        "model.field",
    ),
    "sparse_initializer": (lambda m: m.graph.sparse_initializer.append(_sparse(False)), "model.field"),
    "external_in_sparse_initializer": (lambda m: m.graph.sparse_initializer.append(_sparse(True)), "model.field"),
    "external_in_constant": (_append_node("Constant", [], ["k"], value=_external(_weights())), "model.field"),
    "external_in_sparse_constant": (_append_node("Constant", [], ["k"], sparse_value=_sparse(True)), "model.field"),
    "external_in_tree": (lambda m: _external(attribute(ensemble(m), "leaf_weights").t), "model.field"),
    "external_in_subgraph": (
        _append_node("If", ["c"], ["k"], then_branch=_subgraph(), else_branch=_subgraph()),
        "model.field",
    ),
    "list_of_subgraphs": (_append_node("If", ["c"], ["k"], branches=[_subgraph()]), "model.field"),
    "function": (lambda m: m.functions.append(helper.make_function("own", "f", [], [], [], [])), "model.field"),
    "training_info": (lambda m: m.training_info.add(), "model.field"),
    "metadata_of_5_megabytes": (lambda m: m.metadata_props.add(key="k", value="x" * 5_000_000), "model.field"),
    "metadata_of_a_node": (lambda m: m.graph.node[0].metadata_props.add(key="k", value="x"), "model.field"),
    "doc_string": (_set("doc_string", "text"), "model.field"),
    "doc_string_of_the_graph": (_set("graph.doc_string", "text"), "model.field"),
    "value_info": (
        lambda m: m.graph.value_info.append(helper.make_tensor_value_info("n0", 11, [1 << 40])),
        "model.field",
    ),
    "quantization": (lambda m: m.graph.quantization_annotation.add(tensor_name="n0"), "model.field"),
    "typed_data": (
        lambda m: m.graph.initializer.append(helper.make_tensor("w", TensorProto.DOUBLE, [1], [1.0])),
        "model.field",
    ),
    "text_tensor": (lambda m: m.graph.initializer.append(TensorProto(name="w", data_type=8, dims=[0])), "model.tensor"),
    "float16_tensor": (
        lambda m: m.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float16), "w")),
        "model.tensor",
    ),
    "too_little_data": (
        lambda m: m.graph.initializer.append(TensorProto(name="w", data_type=11, dims=[2], raw_data=b"12345678")),
        "model.tensor",
    ),
    "dimensions_of_minus_one": (
        lambda m: m.graph.initializer.append(TensorProto(name="w", data_type=11, dims=[-1, -1], raw_data=b"12345678")),
        "model.tensor",
    ),
    "dimensions_that_overflow": (
        lambda m: m.graph.initializer.append(
            TensorProto(name="w", data_type=11, dims=[1 << 32, 1 << 32], raw_data=b"")
        ),
        "model.tensor",
    ),
    "truth_value_of_two": (
        lambda m: m.graph.initializer.append(TensorProto(name="w", data_type=9, dims=[1], raw_data=b"\2")),
        "model.tensor",
    ),
    "loop": (_append_node("Loop", ["trips", "", "features"], ["k"]), "model.operator"),
    "scan": (_append_node("Scan", ["features"], ["k"]), "model.operator"),
    "if": (_append_node("If", ["features"], ["k"]), "model.operator"),
    "random_normal": (_append_node("RandomNormal", [], ["k"], shape=[1]), "model.operator"),
    "random_uniform_like": (_append_node("RandomUniformLike", ["features"], ["k"]), "model.operator"),
    "bernoulli": (_append_node("Bernoulli", ["features"], ["k"]), "model.operator"),
    "multinomial": (_append_node("Multinomial", ["features"], ["k"]), "model.operator"),
    "dropout": (_append_node("Dropout", ["features"], ["k"]), "model.operator"),
    "text": (_append_node("StringNormalizer", ["features"], ["k"]), "model.operator"),
    "own_domain": (_append_node("Gemm", ["features"], ["k"], domain="own"), "model.operator"),
    "microsoft_domain": (
        _append_node("FusedMatMul", ["features", "features"], ["k"], domain="com.microsoft"),
        "model.operator",
    ),
    "trees_of_ml_3": (
        _append_node("TreeEnsembleRegressor", ["features"], ["k"], domain="ai.onnx.ml"),
        "model.operator",
    ),
    "classifier_of_ml_3": (
        _append_node("TreeEnsembleClassifier", ["features"], ["k"], domain="ai.onnx.ml"),
        "model.operator",
    ),
    "unknown_operator": (_append_node("Frobnicate", ["features"], ["k"]), "model.operator"),
    "trees_of_the_default_domain": (lambda m: setattr(ensemble(m), "domain", ""), "model.operator"),
    "too_many_inputs": (_append_node("Neg", ["features", "features"], ["k"]), "model.operator"),
    "unknown_attribute": (_append_node("Neg", ["features"], ["k"], axis=1), "model.attribute"),
    "cast_to_text": (_append_node("Cast", ["features"], ["k"], to=TensorProto.STRING), "model.attribute"),
    "training_mode": (_append_node("BatchNormalization", ["features"] * 5, ["k"], training_mode=1), "model.attribute"),
    "attribute_nan": (_append_node("Elu", ["features"], ["k"], alpha=float("nan")), "model.not_finite"),
    "undefined_value": (_append_node("Neg", ["nobody"], ["k"]), "model.graph"),
    "value_twice": (_append_node("Neg", ["features"], ["score"]), "model.graph"),
    "value_named_as_the_input": (_append_node("Neg", ["features"], ["features"]), "model.graph"),
    "constant_named_as_the_input": (
        lambda m: m.graph.initializer.append(numpy_helper.from_array(np.ones(1), "features")),
        "model.graph",
    ),
    "constant_twice": (
        lambda m: m.graph.initializer.extend([numpy_helper.from_array(np.ones(1), "w")] * 2),
        "model.graph",
    ),
    "long_name": (_set("graph.node.0.name", "x" * 257), "model.limit"),
    "name_with_line_break": (_set("graph.node.0.name", "a\nb"), "model.protobuf"),
    "too_many_nodes": (_many_nodes, "model.limit"),
    "ir_version_9": (_set("ir_version", 9), "model.version"),
    "opset_21": (_set("opset_import.0.version", 21), "model.version"),
    "opset_of_another_domain": (lambda m: m.opset_import.add(domain="own", version=1), "model.version"),
    "no_opset": (lambda m: m.ClearField("opset_import"), "model.version"),
    "opset_twice": (lambda m: m.opset_import.add(domain="", version=18), "model.protobuf"),
    "no_graph": (lambda m: m.ClearField("graph"), "model.protobuf"),
    "second_input": (
        lambda m: m.graph.input.append(helper.make_tensor_value_info("b", 11, ["rows", 1])),
        "model.signature",
    ),
    "second_output": (
        lambda m: m.graph.output.append(helper.make_tensor_value_info("n0", 11, ["rows", 1])),
        "model.signature",
    ),
    "float_input": (_set("graph.input.0.type.tensor_type.elem_type", 1), "model.signature"),
    "float_output": (_set("graph.output.0.type.tensor_type.elem_type", 1), "model.signature"),
    "fixed_rows": (_set("graph.input.0.type.tensor_type.shape.dim.0.dim_value", 64), "model.signature"),
    "any_number_of_features": (_set("graph.input.0.type.tensor_type.shape.dim.1.dim_param", "n"), "model.signature"),
    "more_outputs_than_declared": (_set("graph.output.0.type.tensor_type.shape.dim.1.dim_value", 2), "model.signature"),
    "sequence_input": (
        lambda m: m.graph.input[0].type.CopyFrom(
            helper.make_sequence_type_proto(helper.make_tensor_type_proto(11, []))
        ),
        "model.field",
    ),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_no_builder_writes_is_refused(name: str) -> None:
    """External data at any depth, graphs in graphs, functions, chance, other domains, metadata, other types and names."""
    change, code = FORBIDDEN[name]
    assert code_after(change) == code


def test_refusal_names_node_and_place() -> None:
    """The error says which node, and at which byte it begins."""
    data = changed(plain_trees(), _ints("nodes_featureids", 0, -1))
    error = refused(data)
    assert "'n0' (ai.onnx.ml.TreeEnsemble)" in error.message
    offset = int((error.where or "").rpartition(" ")[2])
    assert data[offset] == 0x0A
    assert b"features" in data[offset : offset + 16]


# --- numbers that are none ----------------------------------------------------------------------------------------------


def _with_constant(values: object, operator: str) -> bytes:
    def add(builder: GraphBuilder) -> str:
        first = builder.add("Gather", "features", builder.constant([0]), axis=1)
        constant = builder.constant(np.array(values))
        if operator == "Where":
            return builder.add("Where", builder.add("IsNaN", first), constant, first)
        return builder.add(operator, first, constant)

    return built(add)


@pytest.mark.parametrize(
    ("values", "operator", "passes"),
    [
        (np.nan, "Where", True),
        (np.array(np.nan, np.float64), "Mul", False),
        ([[np.nan]], "Where", False),
        ([[np.nan]], "MatMul", False),
        (np.inf, "Where", True),
        (-np.inf, "Add", True),
        ([[np.inf]], "MatMul", False),
        (np.inf, "Mul", False),
        (np.finfo(np.float64).max, "Mul", True),
        (-np.finfo(np.float64).max, "Mul", True),
    ],
)
def test_constants_are_finite(values: object, operator: str, passes: bool) -> None:
    """NaN is only ever put in another value's place, infinity is a mask or a limit; the largest numbers are numbers."""
    data = _with_constant(values, operator)
    if passes:
        check_model(data, "model.onnx")
    else:
        assert refused(data).code == "model.not_finite"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_form_of_nan_and_infinity_is_seen(dtype: type) -> None:
    """Quiet, signalling and negative NaN, both infinities; numbers next to them are not mistaken for one."""
    width, top = (np.uint32, 0x7F800000) if dtype is np.float32 else (np.uint64, 0x7FF0000000000000)
    sign = 0x80000000 if dtype is np.float32 else 1 << 63
    for bits in (top, top | sign, top + 1, top | 1 << 20, (top + 1) | sign):
        number: Any = np.array([[bits]], width).view(dtype)
        assert refused(_with_constant(number, "MatMul")).code == "model.not_finite"
    for bits in (top - 1, (top - 1) | sign, 0, sign):
        check_model(_with_constant(np.array([[bits]], width).view(dtype), "MatMul"), "model.onnx")


# --- growth -------------------------------------------------------------------------------------------------------------


def _first(builder: GraphBuilder) -> str:
    return builder.add("Gather", "features", builder.constant([0]), axis=1)


def _expand(builder: GraphBuilder) -> str:
    return builder.add(
        "Gather", builder.add("Expand", _first(builder), builder.constant([1, 1 << 40])), builder.constant([0]), axis=1
    )


def _fill(builder: GraphBuilder) -> str:
    return builder.add(
        "Add",
        _first(builder),
        builder.add("ReduceSum", builder.add("ConstantOfShape", builder.constant([1 << 20, 1 << 20]))),
    )


def _pad(builder: GraphBuilder) -> str:
    return builder.add(
        "Gather",
        builder.add("Pad", _first(builder), builder.constant([0, 0, 0, 1 << 40])),
        builder.constant([0]),
        axis=1,
    )


def _tile(builder: GraphBuilder) -> str:
    return builder.add(
        "Gather", builder.add("Tile", _first(builder), builder.constant([1, 1 << 40])), builder.constant([0]), axis=1
    )


def _range(builder: GraphBuilder) -> str:
    ends = [builder.constant(np.array(number)) for number in (0, 1 << 40, 1)]
    return builder.add("Add", _first(builder), builder.add("ReduceSum", builder.add("Range", *ends)))


def _doubling(builder: GraphBuilder) -> str:
    value = _first(builder)
    for _ in range(40):
        value = builder.add("Concat", value, value, axis=1)
    return builder.add("Gather", value, builder.constant([0]), axis=1)


def _powers_of_the_rows(builder: GraphBuilder) -> str:
    value = _first(builder)
    for _ in range(3):
        value = builder.add(
            "Mul",
            builder.add("Unsqueeze", value, builder.constant([0])),
            builder.add("Unsqueeze", value, builder.constant([1])),
        )
        value = builder.add("Reshape", value, builder.constant([-1, 1]))
    return value


def _gather(builder: GraphBuilder) -> str:
    value = _first(builder)
    for _ in range(4):
        value = builder.add("Gather", value, builder.constant(np.zeros((30, 30), np.int64)), axis=1)
    return value


@pytest.mark.parametrize("bomb", [_expand, _fill, _pad, _tile, _range, _doubling, _powers_of_the_rows, _gather])
def test_graphs_that_swell_are_refused(bomb: Callable[[GraphBuilder], str]) -> None:
    """Sizes are known before anything runs, and no value may hold more than so many numbers."""
    assert refused(built(bomb), rows_alone=False).code in ("model.growth", "model.shape")


def test_graphs_that_take_too_long_are_refused() -> None:
    """Many products of large matrices stay below every size and are too much work."""

    def add(builder: GraphBuilder) -> str:
        matrix = builder.constant(np.zeros((1000, 1000)))
        for _ in range(2000):
            matrix = builder.add("MatMul", matrix, matrix)
        return builder.add(
            "Gather",
            builder.add("MatMul", builder.add("Expand", _first(builder), builder.constant([1, 1000])), matrix),
            builder.constant([0]),
            axis=1,
        )

    assert refused(built(add)).code == "model.growth"


def test_shapes_from_data_are_refused() -> None:
    """A length that is computed from feature values is not known before the graph runs."""

    def add(builder: GraphBuilder) -> str:
        length = builder.cast(builder.add("ReduceMax", "features", keepdims=0), TensorProto.INT64)
        shape = builder.add("Reshape", length, builder.constant([1]))
        return builder.add("Add", _first(builder), builder.add("ReduceSum", builder.add("ConstantOfShape", shape)))

    assert refused(built(add), rows_alone=False).code == "model.shape"


def test_lengths_cannot_shrink_with_the_rows() -> None:
    """A size that is small for the most rows and large for a few is refused: what is checked must bound all calls."""

    def add(builder: GraphBuilder) -> str:
        rows = builder.add("Gather", builder.add("Shape", "features"), builder.constant([0]), axis=0)
        fewer = builder.add("Mul", rows, builder.constant([-1_000_000]))
        length = builder.add("Add", fewer, builder.constant([2048 * 1_000_000 + 1]))
        return builder.add("Add", _first(builder), builder.add("ReduceSum", builder.add("ConstantOfShape", length)))

    assert refused(built(add)).code == "model.shape"


def test_large_files_are_refused_before_they_are_read() -> None:
    """The limit of bytes comes first."""
    assert refused(b"\xff" * 1001, file_bytes=1000).code == "model.size"


# --- protobuf -----------------------------------------------------------------------------------------------------------


def test_every_truncation_is_refused() -> None:
    """A file that ends early is no model, wherever it ends."""
    data = plain_trees()
    for end in range(len(data)):
        with pytest.raises(PolicyError):
            check_model(data[:end], "model.onnx")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        b"\x08\x8a\x00",  # ir_version 10 in two bytes
        b"\x08" + b"\xff" * 10 + b"\x01",  # eleven bytes
        b"\x08" + b"\xff" * 9 + b"\x02",  # 65 bits
        b"\x08\x0a\x08\x0a",  # twice
        b"\x12\x00\x08\x0a",  # out of order
        b"\x0b\x0c",  # a group
        b"\x09" + b"\0" * 8,  # 64 bits where an integer belongs
        b"\x00\x00",  # field 0
        b"\x3a\x7f",  # longer than the file
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length of minus one
    ],
)
def test_malformed_protobuf_is_refused(data: bytes) -> None:
    """One message has one byte form."""
    assert refused(data).code in ("model.protobuf", "model.field")


def test_unknown_fields_are_refused() -> None:
    """A field that this version does not know might mean something to another reader."""
    assert refused(plain_trees() + b"\xf8\x7f\x01").code == "model.field"


def test_packed_integers_are_refused() -> None:
    """protobuf readers take two forms of a list; builders write one."""
    name = b"\x0a\x01a"
    packed = name + b"\x42\x02\x01\x02" + b"\xa0\x01\x07"
    node = b"\x12\x01b" + b"\x22\x03Neg" + b"\x2a" + bytes([len(packed)]) + packed
    graph = b"\x0a" + bytes([len(node)]) + node
    assert refused(b"\x08\x0a\x3a" + bytes([len(graph)]) + graph).code == "model.field"


def test_attributes_have_one_value_of_their_type() -> None:
    """An attribute with the value of one type and the name of another is refused, and so is one with two values."""

    def wrong_type(model: onnx.ModelProto) -> None:
        attribute(ensemble(model), "n_targets").type = AttributeProto.FLOAT

    def two_values(model: onnx.ModelProto) -> None:
        attribute(ensemble(model), "n_targets").s = b"x"

    def reference(model: onnx.ModelProto) -> None:
        attribute(ensemble(model), "n_targets").ref_attr_name = "x"

    assert code_after(wrong_type) == "model.attribute"
    assert code_after(two_values) == "model.attribute"
    assert code_after(reference) == "model.field"


@pytest.mark.parametrize(
    "numbers",
    [
        [0],
        [127, 128, 16383, 16384, 2097151, 2097152, 1 << 28, 1 << 35, -1, (1 << 63) - 1, -(1 << 63)],
        [*range(20_000)],
        [5, 300] * 9_000,
        [1] * 70_000 + [1 << 40],
    ],
)
def test_long_lists_are_read_as_protobuf_reads_them(numbers: list[int]) -> None:
    """The quick ways of reading integers give what protobuf wrote."""
    data = AttributeProto(ints=numbers).SerializeToString()
    assert Source(data, "x").numbers(0, len(data)) == numbers
