"""Every rule of shapes in the model gate refuses what does not fit it, and in its own words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from alphaseal.errors import PolicyError
from alphaseal.gate.model import check_model
from alphaseal_converter.nodes.builder import IR_VERSION, OPSETS, GraphBuilder
from small_models import FEATURES

Add = Callable[[GraphBuilder], object]


def built(add: Add) -> bytes:
    """A graph with the nodes of `add`, which need not lead to its output, without a check by onnx."""
    builder = GraphBuilder()
    add(builder)
    score = builder.add("Gather", "features", builder.constant([0]), axis=1)
    graph = helper.make_graph(
        [*builder._nodes, helper.make_node("Identity", [score], ["score"])],
        "scoring",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", FEATURES])],
        [helper.make_tensor_value_info("score", TensorProto.DOUBLE, ["rows", 1])],
        builder._initializers,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets)
    return bytes(model.SerializeToString(deterministic=True))


def node(operator: str, *inputs: object, **attributes: Any) -> Add:
    """One node: a list or array is a constant, a text the name of a value."""

    def add(builder: GraphBuilder) -> object:
        names = [entry if isinstance(entry, str) else builder.constant(np.array(entry)) for entry in inputs]
        return builder.add(operator, *names, **attributes)

    return add


def zeros(*shape: int) -> np.ndarray:
    """A constant of doubles."""
    return np.zeros(shape)


def after_rows(then: Callable[[GraphBuilder, str], object]) -> Add:
    """`then` gets the number of rows, as a value of one element."""

    def add(builder: GraphBuilder) -> object:
        return then(builder, builder.add("Gather", builder.add("Shape", "features"), builder.constant([0]), axis=0))

    return add


def outputs(operator: str, inputs: list[str], count: int, **attributes: object) -> Add:
    """A node with several outputs."""

    def add(builder: GraphBuilder) -> object:
        names = [f"several{place}" for place in range(count)]
        builder._nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    return add


def both(first: Add, second: Add) -> Add:
    """Nodes of both."""

    def add(builder: GraphBuilder) -> object:
        first(builder)
        return second(builder)

    return add


def _named(name: str, values: list[int]) -> TensorProto:
    return numpy_helper.from_array(np.array(values), name)


FITTING: dict[str, Add] = {
    "reshape": node("Reshape", "features", [0, 2, 2]),
    "reshape_by_the_rest": node("Reshape", "features", [-1, 2]),
    "unsqueeze": node("Unsqueeze", "features", [0, 3]),
    "squeeze": node("Squeeze", zeros(1, 3), [0]),
    "flatten": node("Flatten", "features", axis=1),
    "slice": node("Slice", "features", [0, 1], [1 << 62, 3], [0, 1]),
    "split": outputs("Split", ["features"], 2, axis=1, num_outputs=2),
    "matmul": node("MatMul", "features", zeros(FEATURES, 2)),
    "gemm": node("Gemm", "features", zeros(2, FEATURES), zeros(2), transB=1),
    "conv": node("Conv", zeros(1, 2, 5), zeros(3, 2, 2), kernel_shape=[2]),
    "pool": node("MaxPool", zeros(1, 2, 5), kernel_shape=[2]),
    "gru": node("GRU", zeros(5, 2, 4), zeros(1, 9, 4), zeros(1, 9, 3), hidden_size=3),
    "gather_nd": node("GatherND", zeros(2, 3), [[0, 1]]),
    "gather_elements": node("GatherElements", zeros(2, 3), [[0, 1]], axis=0),
    "einsum": node("Einsum", "features", zeros(FEATURES, 2), equation="ij,jk->ik"),
    "pad": node("Pad", "features", [0, 0, 0, 1]),
    "tile": node("Tile", "features", [1, 2]),
    "cumsum": node("CumSum", "features", [1]),
    "topk": both(
        lambda builder: builder._initializers.append(_named("two", [2])),
        outputs("TopK", ["features", "two"], 2, axis=1),
    ),
    "one_hot": node("OneHot", [0, 1], np.array(3), [0, 1]),
    "range": node("Range", np.array(0), np.array(5), np.array(1)),
    "concat": node("Concat", "features", "features", axis=1),
    "constant_of_shape": node("ConstantOfShape", [2, 3]),
}


@pytest.mark.parametrize("name", FITTING)
def test_what_fits_passes(name: str) -> None:
    """The rules are no wall: each operator passes with inputs that go together."""
    check_model(built(FITTING[name]), "model.onnx")


def _unknown_length(builder: GraphBuilder, rows: str) -> object:
    """A length that depends on the rows, where a fixed one belongs."""
    return outputs("TopK", ["features", rows], 2, axis=1)(builder)


def _first_of(count: int) -> Add:
    """TopK of so many along the features."""

    def add(builder: GraphBuilder) -> object:
        return outputs("TopK", ["features", builder.constant([count])], 2, axis=1)(builder)

    return add


def _pool_without_kernel(builder: GraphBuilder) -> object:
    entry = helper.make_node("MaxPool", [builder.constant(zeros(1, 2))], ["pool"], pads=[1])
    entry.attribute.append(helper.make_attribute("kernel_shape", [], attr_type=AttributeProto.INTS))
    builder._nodes.append(entry)
    return "pool"


def _rest(left: int, right: int) -> Add:
    """A remainder that the gate does not compute, as a shape."""
    return lambda builder: builder.add(
        "ConstantOfShape", builder.add("Mod", builder.constant([left]), builder.constant([right]))
    )


# name -> (nodes, what the refusal says)
WRONG: dict[str, tuple[Add, str]] = {
    "left_out": (node("Clip", ""), "input 0 is left out"),
    "not_known": (node("Reshape", "features", "features"), "says a shape and is not known"),
    "not_one_number": (node("OneHot", [0, 1], [1, 2], [0, 1]), "is not one number"),
    "negative_growth": (
        lambda b: b.add("Tile", b.add("Reshape", "features", b.constant([-1])), b.constant([-1])),
        "meets a negative number",
    ),
    "high_power": (
        after_rows(lambda b, rows: b.add("ConstantOfShape", b.add("Concat", rows, rows, rows, rows, rows, axis=0))),
        "high power of the rows",
    ),
    "no_whole_part": (node("Reshape", zeros(2, 3), [-1, 4]), "not a whole part"),
    "part_of_nothing": (node("Reshape", zeros(2, 3), [-1, 0], allowzero=1), "not a whole part"),
    "remainder_of_less": (_rest(-5, 3), "says a shape and is not known"),
    "remainder_by_less": (_rest(5, -3), "says a shape and is not known"),
    "depends_on_the_rows": (after_rows(_unknown_length), "depends on the rows where it must not"),
    "axis_beyond": (node("Concat", "features", "features", axis=2), "axis 2 of a value of rank 2"),
    "axis_before": (node("Concat", "features", "features", axis=-3), "axis -3 of a value of rank 2"),
    "broadcast": (node("Add", "features", zeros(1, 3)), "do not go together"),
    "concat_lengths": (node("Concat", zeros(2, 3), zeros(2, 4), axis=0), "differ beside the axis"),
    "concat_ranks": (node("Concat", zeros(2, 3), zeros(2), axis=0), "differ beside the axis"),
    "gather_elements": (node("GatherElements", zeros(2, 3), [0]), "ranks differ"),
    "pads_of_one_axis": (node("Pad", "features", [0, 1]), "two known lengths per axis"),
    "pads_that_cut": (node("Pad", "features", [0, -1, 0, 0]), "two known lengths per axis"),
    "reshape": (node("Reshape", "features", [3, 5]), "another number of elements"),
    "transpose": (node("Transpose", "features", perm=[0, 0]), "not an order of the axes"),
    "unsqueeze_twice": (node("Unsqueeze", "features", [0, 0]), "named twice"),
    "squeeze": (node("Squeeze", "features", [1]), "longer than one"),
    "flatten": (node("Flatten", "features", axis=3), "axis 3 of a value of rank 2"),
    "slice_lengths": (node("Slice", "features", [0], [1, 2], [0]), "one start, one end"),
    "slice_steps": (node("Slice", "features", [0], [2], [1], [2]), "one start, one end"),
    "slice_axis_twice": (node("Slice", "features", [0, 0], [2, 2], [1, 1]), "one start, one end"),
    "slice_of_rows": (node("Slice", "features", [0], [100], [0]), "a part of an axis that depends on the rows"),
    "slice_of_last_rows": (
        node("Slice", "features", [-5], [1 << 62], [0]),
        "a part of an axis that depends on the rows",
    ),
    "slice_of_later_rows": (
        node("Slice", "features", [3], [1 << 62], [0]),
        "a part of an axis that depends on the rows",
    ),
    "split_not_the_whole": (
        both(
            lambda b: b._initializers.append(_named("parts", [1, 2])),
            outputs("Split", ["features", "parts"], 2, axis=1),
        ),
        "the parts are not the whole",
    ),
    "split_negative": (
        both(
            lambda b: b._initializers.append(_named("parts", [-1, 5])),
            outputs("Split", ["features", "parts"], 2, axis=1),
        ),
        "the parts are not the whole",
    ),
    "split_of_others": (outputs("Split", ["features"], 2, axis=1, num_outputs=1), "not the number of outputs"),
    "split_no_whole_part": (outputs("Split", ["features"], 3, axis=1, num_outputs=3), "not a whole part"),
    "fill_of_two": (
        node(
            "ConstantOfShape",
            [2],
            value=helper.make_tensor("v", TensorProto.FLOAT, [2], np.zeros(2, np.float32).tobytes(), raw=True),
        ),
        "the value is not one element",
    ),
    "matmul": (node("MatMul", "features", zeros(3, 2)), "do not go together"),
    "matmul_of_vectors": (node("MatMul", "features", zeros(FEATURES)), "do not go together"),
    "gemm_ranks": (node("Gemm", zeros(1, 2, 2), zeros(2, 2)), "Gemm takes matrices"),
    "gemm_lengths": (node("Gemm", "features", zeros(3, 2)), "do not go together"),
    "gemm_sum": (node("Gemm", zeros(1, 4), zeros(4, 2), zeros(3, 2)), "larger than the product"),
    "conv_channels": (node("Conv", zeros(1, 2, 5), zeros(3, 3, 2)), "do not fit the channels"),
    "conv_group": (node("Conv", zeros(1, 2, 5), zeros(3, 2, 2), group=2), "do not fit the channels"),
    "conv_groups_of_filters": (node("Conv", zeros(1, 2, 5), zeros(3, 1, 2), group=2), "not a whole part"),
    "conv_sum": (node("Conv", zeros(1, 2, 5), zeros(3, 2, 2), zeros(2)), "not one number per filter"),
    "conv_rank": (node("Conv", zeros(1, 2), zeros(3, 2)), "do not fit the channels"),
    "conv_kernel": (node("Conv", zeros(1, 2, 5), zeros(3, 2, 2), kernel_shape=[3]), "not that of the filters"),
    "pool_kernel": (node("MaxPool", zeros(1, 2, 5), kernel_shape=[2, 2]), "kernel_shape does not fit"),
    "pool_no_kernel": (_pool_without_kernel, "kernel_shape does not fit"),
    "pool_strides": (node("MaxPool", zeros(1, 2, 5), kernel_shape=[2], strides=[1, 1]), "do not fit"),
    "pool_pads": (node("MaxPool", zeros(1, 2, 5), kernel_shape=[2], pads=[2, 0]), "lie in the padding"),
    "recurrent_axes": (node("GRU", zeros(5, 4), zeros(1, 9, 4), zeros(1, 9, 3), hidden_size=3), "not three axes"),
    "recurrent_weights": (
        node("GRU", zeros(5, 2, 4), zeros(1, 8, 4), zeros(1, 9, 3), hidden_size=3),
        "weights do not fit",
    ),
    "recurrent_lengths": (
        node(
            "GRU",
            zeros(5, 2, 4),
            zeros(1, 9, 4),
            zeros(1, 9, 3),
            zeros(1, 18),
            np.array([5, 5], np.int32),
            hidden_size=3,
        ),
        "weights do not fit",
    ),
    "tile": (node("Tile", "features", [1]), "one number of repeats per axis"),
    "gather_nd_depth": (node("GatherND", zeros(2), [[0, 0]]), "places do not fit"),
    "column_with_a_row": (
        lambda b: b.add(
            "ConstantOfShape",
            b.add(
                "Reshape",
                b.add("Add", b.constant(np.array([[1], [0]])), b.constant(np.array([[0, 1 << 40]]))),
                b.constant([-1]),
            ),
        ),
        "says a shape and is not known",
    ),
    "einsum_implicit": (node("Einsum", "features", equation="ij"), "explicit axes"),
    "einsum_dots": (node("Einsum", "features", equation="...j->..."), "explicit axes"),
    "einsum_terms": (node("Einsum", "features", equation="ij,jk->ik"), "explicit axes"),
    "einsum_ranks": (node("Einsum", "features", equation="ijk->i"), "ranks differ from the equation"),
    "einsum_lengths": (node("Einsum", zeros(2, 3), equation="ii->i"), "axis i has two lengths"),
    "einsum_unknown_axis": (node("Einsum", zeros(2, 3), equation="ij->k"), "names an axis that nothing has"),
    "softmax_axis": (node("Softmax", "features", axis=2), "axis 2 of a value of rank 2"),
    "clip_bounds": (node("Clip", "features", zeros(2)), "a bound is not one number"),
    "slopes": (node("PRelu", "features", zeros(2, 1, 4)), "the slopes do not fit"),
    "eye_of_a_vector": (node("EyeLike", zeros(3)), "a matrix is expected"),
    "triangle_of_a_vector": (node("Trilu", zeros(3)), "a matrix is expected"),
    "triangle_far_away": (node("Trilu", zeros(3, 3), np.array(-(1 << 63))), "a diagonal that no matrix has"),
    "range_without_steps": (node("Range", np.array(0), np.array(5), np.array(0)), "a range without steps"),
    "range_that_wraps": (
        node("Range", np.array(-(1 << 63)), np.array((1 << 63) - 1), np.array(1)),
        "whose length 64 bits do not hold",
    ),
    "channels_of_a_vector": (node("InstanceNormalization", zeros(3), zeros(1), zeros(1)), "no axis of channels"),
    "channels": (node("BatchNormalization", "features", *[zeros(3)] * 4), "not one number per channel"),
    "groups": (
        node("GroupNormalization", zeros(1, 4, 2), zeros(3), zeros(3), num_groups=3),
        "do not part the channels",
    ),
    "group_scales": (
        node("GroupNormalization", zeros(1, 4, 2), zeros(4), zeros(4), num_groups=2),
        "not one number per group",
    ),
    "layer_axis": (node("LayerNormalization", "features", zeros(4), axis=-3), "axis -3 of a value of rank 2"),
    "layer_scales": (node("LayerNormalization", "features", zeros(5)), "do not go together"),
    "layer_scales_larger": (node("LayerNormalization", zeros(1, 4), zeros(2, 4)), "more numbers than are normalised"),
    "mean_axes": (node("MeanVarianceNormalization", "features", axes=[0, 0]), "no axis, or one twice"),
    "mean_default_axes": (node("MeanVarianceNormalization", "features"), "axis 2 of a value of rank 2"),
    "first_of_none": (_first_of(0), "the first 0 of an axis of"),
    "first_of_fewer": (_first_of(5), "the first 5 of an axis of"),
    "scatter_ranks": (node("ScatterElements", zeros(2, 3), [0], [1.0]), "ranks differ"),
    "scatter_more": (node("ScatterElements", zeros(2, 3), [[0, 1, 2, 0]], zeros(1, 4)), "more places than the data"),
    "scatter_updates": (node("ScatterElements", zeros(2, 3), [[0, 1]], zeros(1, 1)), "one new element per place"),
    "scatter_nd": (node("ScatterND", zeros(2, 3), [[0]], zeros(1, 2)), "one new part per place"),
    "recurrent_sums": (
        node("GRU", zeros(5, 2, 4), zeros(1, 9, 4), zeros(1, 9, 3), zeros(1, 9), hidden_size=3),
        "do not fit the weights",
    ),
    "recurrent_state": (
        node("GRU", zeros(5, 2, 4), zeros(1, 9, 4), zeros(1, 9, 3), "", "", zeros(1, 1, 3), hidden_size=3),
        "do not fit the weights",
    ),
    "recurrent_activations": (
        node("RNN", zeros(5, 2, 4), zeros(1, 3, 4), zeros(1, 3, 3), hidden_size=3, activations=["Tanh", "Tanh"]),
        "one activation per direction",
    ),
    "squeeze_of_no_axes": (node("Squeeze", zeros(1, 1), np.zeros(0, np.int64)), "input 1 is empty"),
    "reduction_of_no_axes": (node("ReduceSum", "features", np.zeros(0, np.int64)), "input 1 is empty"),
    "slice_of_no_axes": (node("Slice", "features", *[np.zeros(0, np.int64)] * 2), "input 1 is empty"),
    "empty_constant": (node("ReduceMean", np.zeros(0, np.int64)), "input 0 is empty"),
    "empty_shape_reduced": (
        lambda b: b.add("ReduceMean", b.add("Shape", "features", start=1, end=1)),
        "input 0 is empty",
    ),
    "cumsum_axes": (node("CumSum", "features", [0, 1]), "CumSum has one axis"),
    "empty_value": (node("ConstantOfShape", [2, 0]), "gives an empty value"),
    "too_many_axes": (node("ConstantOfShape", [1] * 9), "one of too many axes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name: str) -> None:
    """Each rule has its own words, so that no other one stands in for it."""
    add, words = WRONG[name]
    with pytest.raises(PolicyError) as caught:
        check_model(built(add), "model.onnx")
    assert caught.value.code == "model.shape"
    assert words in str(caught.value)
