"""What torch exports and skl2onnx writes beside what trees need: a row per operator, as in `operators`.

Loaded, with `layers`, for a graph that has such an operator, and not before.
"""

from __future__ import annotations

from alphaseal.gate.onnx import layers as layers
from alphaseal.gate.onnx import rows as rows
from alphaseal.gate.onnx import shapes as shapes
from alphaseal.gate.onnx.attributes import (
    AXIS,
    FLAG,
    LONGEST,
    MANY,
    REDUCE,
    TYPE,
    ZERO,
    Among,
    Attributes,
    Axis,
    Between,
    Constant,
    Number,
    Numbers,
    Text,
    Texts,
)
from alphaseal.gate.onnx.costs import FREE, SLOW, Cost, matrices
from alphaseal.gate.onnx.parts import FLOAT32, INFINITE, MAXIMUM_RANK
from alphaseal.gate.onnx.rules import BINARY, UNARY, Operator, Table, table
from alphaseal.gate.onnx.types import TRUTH, WHOLE, always, like, named

_PART = Number(0.0, 1.0)
_EPSILON: Attributes = {"epsilon": _PART}
_ALPHA, _BETA, _GAMMA = ({name: Number()} for name in ("alpha", "beta", "gamma"))
_BATCH: Attributes = {**_EPSILON, "momentum": _PART, "training_mode": ZERO}
_LAYER: Attributes = {**AXIS, **_EPSILON, "stash_type": Among(frozenset({1, 11}))}
_GROUPS: Attributes = {**_EPSILON, "num_groups": Between(1, LONGEST, required=True)}
_WINDOW: Attributes = {
    "pads": Numbers(0, LONGEST),
    "strides": Numbers(1, LONGEST),
    "dilations": Numbers(1, LONGEST),
    "auto_pad": Among(frozenset({"NOTSET"})),
}
_CONVOLUTION: Attributes = {**_WINDOW, "kernel_shape": Numbers(1, LONGEST), "group": Between(1, LONGEST)}
_POOL: Attributes = {**_WINDOW, "kernel_shape": Numbers(1, LONGEST, required=True), "ceil_mode": ZERO}
_RECURRENT: Attributes = {
    "hidden_size": Between(1, LONGEST, required=True),
    "direction": Among(frozenset({"forward", "reverse", "bidirectional"})),
    "layout": ZERO,
}
_ACTIVATIONS: Attributes = {"activations": Texts(frozenset({"Relu", "Sigmoid", "Tanh"}))}
_SCATTER: Attributes = {"reduction": Among(frozenset({"none", "add", "mul", "max", "min"}))}
_EYE: Attributes = {"dtype": Among(TYPE.values), "k": Between(-LONGEST, LONGEST)}
# The axis of Flatten may be that behind the last one.
_FLATTEN: Attributes = {"axis": Between(0, MAXIMUM_RANK)}
_AXES: Attributes = {"axes": Numbers(-MAXIMUM_RANK, MAXIMUM_RANK - 1)}
_GEMM: Attributes = {**_ALPHA, **_BETA, "transA": FLAG, "transB": FLAG}
_EQUATION: Attributes = {"equation": Text(required=True)}
_PAIRS = Cost(parts=layers.pairs, held=layers.pairs_held)
_SEQUENCE = Cost(parts=layers.steps_in_time, held=layers.gates_held)
_CHANNELS, _BEHIND_THE_FIRST = rows.along(lambda step, rank: [1]), rows.along(lambda step, rank: range(1, rank))
_FROM_AN_AXIS = rows.along(lambda step, rank: range(step.axis(rank, -1), rank))
_MATRICES = rows.along(lambda step, rank: [rank - 2, rank - 1])

NETWORKS: Table = table(
    Operator("Acos Asin Atan Cos Erf Reciprocal Round Sin Softplus Softsign", UNARY, shapes.same, rows.each),
    Operator("Cosh Sinh Tan", UNARY, shapes.same, rows.each, cost=SLOW),
    Operator("HardSwish", UNARY, shapes.same, rows.each, cost=Cost(copies=4)),
    Operator("Mish", UNARY, shapes.same, rows.each, cost=Cost(64, copies=4)),
    Operator("Celu Elu", UNARY, shapes.same, rows.each, _ALPHA, cost=SLOW),
    Operator("LeakyRelu ThresholdedRelu", UNARY, shapes.same, rows.each, _ALPHA),
    Operator("HardSigmoid", UNARY, shapes.same, rows.each, {**_ALPHA, **_BETA}),
    Operator("Selu", UNARY, shapes.same, rows.each, {**_ALPHA, **_GAMMA}, cost=SLOW),
    Operator("Clip", (1, 3), layers.clipped, rows.each, reads=INFINITE),
    Operator("CastLike", BINARY, shapes.same, rows.first, types=like(1)),
    Operator("Xor", BINARY, shapes.broadcast, rows.each, types=TRUTH),
    Operator("Mod", BINARY, shapes.arithmetic(shapes.remainder), rows.each, {"fmod": ZERO}, divides=True),
    Operator("PRelu", BINARY, layers.slope, rows.each),
    Operator("Max Min", (1, 64), shapes.broadcast, rows.each, reads=INFINITE),
    Operator("Mean Sum", (1, 64), shapes.broadcast, rows.each),
    Operator("LogSoftmax Softmax", UNARY, layers.along, rows.along(rows.one_axis(-1)), AXIS, cost=Cost(64, copies=3)),
    Operator(
        "ReduceL1 ReduceL2 ReduceLogSum ReduceProd ReduceSumSquare", (1, 2), shapes.reduction, rows.reduction, REDUCE
    ),
    Operator("ReduceLogSumExp", (1, 2), shapes.reduction, rows.reduction, REDUCE, cost=SLOW),
    Operator("BatchNormalization", (5, 5), layers.by_channel, _CHANNELS, _BATCH),
    Operator("InstanceNormalization", (3, 3), layers.by_channel, _BEHIND_THE_FIRST, _EPSILON, cost=SLOW),
    Operator(
        "GroupNormalization", (3, 3), layers.group_normalisation, _BEHIND_THE_FIRST, _GROUPS, cost=Cost(64, copies=6)
    ),
    Operator("LayerNormalization", (2, 3), layers.layer_normalisation, _FROM_AN_AXIS, _LAYER, cost=SLOW),
    Operator(
        "MeanVarianceNormalization",
        UNARY,
        layers.mean_variance,
        rows.along(layers.named_axes),
        _AXES,
        cost=Cost(64, copies=6),
    ),
    Operator("Gemm", (2, 3), layers.gemm, layers.gemm_rows, _GEMM, cost=Cost(parts=matrices)),
    Operator("Einsum", (1, 3), layers.einsum, layers.einsum_rows, _EQUATION, cost=_PAIRS),
    Operator("Conv", (2, 3), layers.convolution, layers.convolution_rows, _CONVOLUTION, cost=Cost(parts=layers.images)),
    Operator("AveragePool", UNARY, layers.pooling, layers.convolution_rows, {**_POOL, "count_include_pad": FLAG}),
    Operator("MaxPool", UNARY, layers.pooling, layers.convolution_rows, {**_POOL, "storage_order": ZERO}),
    Operator("GlobalAveragePool GlobalMaxPool", UNARY, layers.global_pooling, layers.convolution_rows),
    Operator(
        "GRU",
        (3, 6),
        layers.recurrent(3),
        layers.recurrent_rows,
        {**_RECURRENT, "linear_before_reset": FLAG},
        (1, 2),
        cost=_SEQUENCE,
    ),
    Operator(
        "LSTM",
        (3, 7),
        layers.recurrent(4),
        layers.recurrent_rows,
        {**_RECURRENT, "input_forget": FLAG},
        (1, 3),
        cost=_SEQUENCE,
    ),
    Operator(
        "RNN",
        (3, 6),
        layers.recurrent(1),
        layers.recurrent_rows,
        {**_RECURRENT, **_ACTIVATIONS},
        (1, 2),
        cost=_SEQUENCE,
    ),
    Operator("Flatten", UNARY, layers.flatten, rows.reshape, _FLATTEN),
    Operator("Reshape", BINARY, layers.reshape, rows.reshape, {"allowzero": FLAG}, reads=INFINITE, empty=(1,)),
    Operator("Split", (1, 2), layers.split, rows.cut, {**AXIS, "num_outputs": Between(1, MANY)}, (1, 64)),
    Operator("Tile", BINARY, layers.tile, layers.tile_rows, reads=INFINITE),
    Operator("GatherND", BINARY, layers.gather_nd, layers.gather_nd_rows, {"batch_dims": ZERO}, cost=SLOW),
    Operator(
        "ScatterElements",
        (3, 3),
        layers.scatter_elements,
        layers.scatter_elements_rows,
        {**AXIS, **_SCATTER},
        cost=SLOW,
    ),
    Operator("ScatterND", (3, 3), layers.scatter_nd, layers.scatter_nd_rows, _SCATTER, cost=SLOW),
    Operator("OneHot", (3, 3), layers.one_hot, layers.one_hot_rows, {"axis": Axis(more=1)}, types=like(2)),
    Operator("Size", UNARY, layers.element_count, rows.number_of_rows, types=WHOLE, cost=FREE),
    Operator(
        "ConstantOfShape",
        UNARY,
        layers.constant_of_shape,
        layers.from_shape,
        {"value": Constant(INFINITE)},
        types=named("value", always(FLOAT32)),
        empty=(0,),
    ),
    Operator("Range", (3, 3), layers.counted, layers.positions),
    Operator("EyeLike", UNARY, layers.square, layers.positions, _EYE, types=named("dtype", like(0))),
    Operator("Trilu", (1, 2), layers.triangle, _MATRICES, {"upper": FLAG}, reads=INFINITE),
)
