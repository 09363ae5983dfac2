"""The operators that a graph may use, which attributes they may have, and how large their results are.

The list is what our builders write and nothing else, all of them without effects, without randomness and without graphs
of their own.  A new operator is one line here, with its shape rule: an operator whose result cannot be bounded before it
runs (NonZero, Unique, Loop) has no place, and a size that is computed from data is refused where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from alphaseal.gate.onnx import layers as layers
from alphaseal.gate.onnx import shapes as shapes
from alphaseal.gate.onnx.attributes import Among, Attributes, Axis, Between, Constant, Ids, Number, Numbers, Text, Texts
from alphaseal.gate.onnx.parts import BYTES_OF, MAXIMUM_RANK
from alphaseal.gate.onnx.shapes import Rule

IR_VERSION = 10
OPSETS: Mapping[str, int] = MappingProxyType({"": 18, "ai.onnx.ml": 5})
"""Versions that the specification pins."""
ALLOWED_CASTS = frozenset(BYTES_OF)


@dataclass(frozen=True)
class Operator:
    """`inputs` and `outputs` are the least and the most there may be."""

    rule: Rule
    inputs: tuple[int, int]
    attributes: Attributes = field(default_factory=dict)
    outputs: tuple[int, int] = (1, 1)


_MANY = 4096
_LONGEST = 1 << 24
"""Of an axis, a kernel, a state: more than any value that the gate lets through has."""
_ZERO = Among(frozenset({0}))
_FLAG = Among(frozenset({0, 1}))
_TYPE = Among(ALLOWED_CASTS)
_NUMBER = Number()
_PART = Number(0.0, 1.0)
_EPSILON: Attributes = {"epsilon": _PART}
_UNARY = Operator(shapes.same, (1, 1))
_BINARY = Operator(shapes.broadcast, (2, 2))
_AXIS: Attributes = {"axis": Axis()}
_NEW_AXIS: Attributes = {"axis": Axis(more=1)}
_REDUCE: Operator = Operator(layers.reduction, (1, 2), {"keepdims": _FLAG, "noop_with_empty_axes": _ZERO})
_WINDOW: Attributes = {
    "pads": Numbers(0, _LONGEST),
    "strides": Numbers(1, _LONGEST),
    "dilations": Numbers(1, _LONGEST),
    "auto_pad": Among(frozenset({"NOTSET"})),
}
_CONVOLUTION: Attributes = {**_WINDOW, "kernel_shape": Numbers(1, _LONGEST), "group": Between(1, _LONGEST)}
_POOL: Attributes = {**_WINDOW, "kernel_shape": Numbers(1, _LONGEST, required=True), "ceil_mode": _ZERO}
_RECURRENT: Attributes = {
    "hidden_size": Between(1, _LONGEST, required=True),
    "direction": Among(frozenset({"forward", "reverse", "bidirectional"})),
    "layout": _ZERO,
}
_SCATTER: Attributes = {"reduction": Among(frozenset({"none", "add", "mul", "max", "min"}))}

# Who writes them: graph/preprocess.py, columns.py, tree_ensemble.py (trees and fitted processors)
_TREES_AND_PROCESSORS = {
    **dict.fromkeys(("Abs", "Exp", "IsNaN", "Log"), _UNARY),
    **dict.fromkeys(("And", "Equal", "Greater", "Less", "LessOrEqual", "Or", "Sub"), _BINARY),
    "Add": Operator(shapes.arithmetic(shapes.plus), (2, 2)),
    "Mul": Operator(shapes.arithmetic(shapes.times), (2, 2)),
    "Div": Operator(shapes.arithmetic(shapes.divided), (2, 2)),
    "Cast": Operator(shapes.cast, (1, 1), {"to": Among(ALLOWED_CASTS, required=True)}),
    "Concat": Operator(shapes.concat, (1, _MANY), {"axis": Axis(required=True)}),
    "CumSum": Operator(layers.cumulated, (2, 2), {"exclusive": _FLAG, "reverse": _FLAG}),
    "Expand": Operator(shapes.expand, (2, 2)),
    "Gather": Operator(shapes.gather, (2, 2), _AXIS),
    "GatherElements": Operator(layers.gather_elements, (2, 2), _AXIS),
    "Identity": Operator(shapes.keep, (1, 1)),
    "IsInf": Operator(shapes.same, (1, 1), {"detect_negative": _FLAG, "detect_positive": _FLAG}),
    "Pad": Operator(shapes.pad, (2, 3), {"mode": Among(frozenset({"constant"}))}),
    "Where": Operator(shapes.broadcast, (3, 3)),
}
# graph/sklearn_steps.py, normal_quantile.py (scikit-learn: scalers, imputers, linear models, perceptrons)
_SCIKIT_LEARN = {
    **dict.fromkeys(("Ceil", "Floor", "Neg", "Not", "Sqrt", "Tanh", "Sigmoid", "Relu"), _UNARY),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"), _REDUCE),
    "GreaterOrEqual": _BINARY,
    "MatMul": Operator(layers.matmul, (2, 2)),
    "Shape": Operator(shapes.shape_of, (1, 1), dict.fromkeys(("start", "end"), Between(-MAXIMUM_RANK, MAXIMUM_RANK))),
    "Squeeze": Operator(shapes.squeeze, (2, 2)),
    "Unsqueeze": Operator(shapes.unsqueeze, (2, 2)),
}
# graph/xgboost.py and catboost.py use the operators above, and Neg, ReduceSum, ReduceMax, Squeeze, Slice, Transpose.
# graph/embed.py: networks as torch exports them, and what skl2onnx writes
_NETWORKS = {
    **dict.fromkeys(("Acos", "Asin", "Atan", "Cosh", "Sinh", "Tan"), _UNARY),
    **dict.fromkeys(
        ("Cos", "Erf", "HardSwish", "Mish", "Reciprocal", "Round", "Sign", "Sin", "Softplus", "Softsign"), _UNARY
    ),
    **dict.fromkeys(("Pow", "Xor"), _BINARY),
    "PRelu": Operator(layers.slope, (2, 2)),
    **dict.fromkeys(("Max", "Mean", "Min", "Sum"), Operator(shapes.broadcast, (1, 64))),
    **dict.fromkeys(("Celu", "Elu", "LeakyRelu", "ThresholdedRelu"), Operator(shapes.same, (1, 1), {"alpha": _NUMBER})),
    **dict.fromkeys(("HardSigmoid",), Operator(shapes.same, (1, 1), {"alpha": _NUMBER, "beta": _NUMBER})),
    **dict.fromkeys(("LogSoftmax", "Softmax"), Operator(layers.along, (1, 1), _AXIS)),
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare"), _REDUCE
    ),
    "Selu": Operator(shapes.same, (1, 1), {"alpha": _NUMBER, "gamma": _NUMBER}),
    "Clip": Operator(layers.clipped, (1, 3)),
    "Mod": Operator(shapes.arithmetic(shapes.remainder), (2, 2), {"fmod": _ZERO}),
    "BatchNormalization": Operator(layers.by_channel, (5, 5), {**_EPSILON, "momentum": _PART, "training_mode": _ZERO}),
    "InstanceNormalization": Operator(layers.by_channel, (3, 3), _EPSILON),
    "LayerNormalization": Operator(
        layers.layer_normalisation, (2, 3), {**_AXIS, **_EPSILON, "stash_type": Among(frozenset({1, 11}))}
    ),
    **dict.fromkeys(
        ("ArgMax", "ArgMin"),
        Operator(layers.arg_reduction, (1, 1), {**_AXIS, "keepdims": _FLAG, "select_last_index": _FLAG}),
    ),
    "CastLike": Operator(shapes.same, (2, 2)),
    "Einsum": Operator(layers.einsum, (1, 3), {"equation": Text(required=True)}),
    "EyeLike": Operator(layers.square, (1, 1), {"dtype": _TYPE, "k": Between(-_LONGEST, _LONGEST)}),
    "GatherND": Operator(layers.gather_nd, (2, 2), {"batch_dims": _ZERO}),
    "GroupNormalization": Operator(
        layers.group_normalisation, (3, 3), {**_EPSILON, "num_groups": Between(1, _LONGEST, required=True)}
    ),
    "MeanVarianceNormalization": Operator(
        layers.mean_variance, (1, 1), {"axes": Numbers(-MAXIMUM_RANK, MAXIMUM_RANK - 1)}
    ),
    "OneHot": Operator(layers.one_hot, (3, 3), _NEW_AXIS),
    "Range": Operator(shapes.counted, (3, 3)),
    "ScatterElements": Operator(layers.scatter_elements, (3, 3), {**_AXIS, **_SCATTER}),
    "ScatterND": Operator(layers.scatter_nd, (3, 3), _SCATTER),
    "Size": Operator(shapes.element_count, (1, 1)),
    "Tile": Operator(shapes.tile, (2, 2)),
    "TopK": Operator(layers.top, (2, 2), {**_AXIS, "largest": _FLAG, "sorted": _FLAG}, (2, 2)),
    "Trilu": Operator(layers.triangle, (1, 2), {"upper": _FLAG}),
    "ConstantOfShape": Operator(shapes.constant_of_shape, (1, 1), {"value": Constant()}),
    "Conv": Operator(layers.convolution, (2, 3), _CONVOLUTION),
    "AveragePool": Operator(layers.pooling, (1, 1), {**_POOL, "count_include_pad": _FLAG}),
    "MaxPool": Operator(layers.pooling, (1, 1), {**_POOL, "storage_order": _ZERO}),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), Operator(layers.global_pooling, (1, 1))),
    # Its axis may be that behind the last one.
    "Flatten": Operator(shapes.flatten, (1, 1), {"axis": Between(0, MAXIMUM_RANK)}),
    "Gemm": Operator(layers.gemm, (2, 3), {"alpha": _NUMBER, "beta": _NUMBER, "transA": _FLAG, "transB": _FLAG}),
    "GRU": Operator(layers.recurrent(3), (3, 6), {**_RECURRENT, "linear_before_reset": _FLAG}, (1, 2)),
    "LSTM": Operator(layers.recurrent(4), (3, 7), {**_RECURRENT, "input_forget": _FLAG}, (1, 3)),
    "RNN": Operator(
        layers.recurrent(1),
        (3, 6),
        {**_RECURRENT, "activations": Texts(frozenset({"Relu", "Sigmoid", "Tanh"}))},
        (1, 2),
    ),
    "Reshape": Operator(shapes.reshape, (2, 2), {"allowzero": _FLAG}),
    "Slice": Operator(shapes.slice_, (3, 5)),
    "Split": Operator(shapes.split, (1, 2), {**_AXIS, "num_outputs": Between(1, _MANY)}, (1, 64)),
    "Transpose": Operator(shapes.transpose, (1, 1), {"perm": Numbers(0, MAXIMUM_RANK - 1)}),
}
OPERATORS: Mapping[tuple[str, str], Operator | None] = MappingProxyType(
    {("", name): operator for name, operator in (_TREES_AND_PROCESSORS | _SCIKIT_LEARN | _NETWORKS).items()}
    # Trees are checked by onnx_trees.py, attribute by attribute.
    | {("ai.onnx.ml", "TreeEnsemble"): None}
)
# alphas/ (qlib's expressions over bars): no weights, no matrices, nothing that could make a value of unknown content.
ALPHA_OPERATORS: Mapping[tuple[str, str], Operator | None] = MappingProxyType(
    {
        ("", name): OPERATORS["", name]
        for name in (
            *("Abs", "Add", "And", "ArgMax", "ArgMin", "Cast", "Concat", "CumSum", "Div", "Equal", "Floor", "Gather"),
            *(
                "GatherElements",
                "Greater",
                "GreaterOrEqual",
                "Identity",
                "IsInf",
                "IsNaN",
                "Less",
                "LessOrEqual",
                "Log",
            ),
            *(
                "Mul",
                "Not",
                "Or",
                "Pow",
                "ReduceMax",
                "ReduceMin",
                "ReduceSum",
                "Sign",
                "Slice",
                "Sqrt",
                "Squeeze",
                "Sub",
            ),
            *("TopK", "Transpose", "Unsqueeze", "Where"),
        )
    }
)
"""The operators that a graph from bars to alpha features may use."""
TREE_ATTRIBUTES: Attributes = MappingProxyType(
    {
        "aggregate_function": Among(frozenset({1})),
        "leaf_targetids": Ids(),
        "leaf_weights": Constant(),
        "n_targets": Between(1, _LONGEST),
        "nodes_falseleafs": Ids(),
        "nodes_falsenodeids": Ids(),
        "nodes_featureids": Ids(),
        "nodes_missing_value_tracks_true": Ids(),
        "nodes_modes": Constant(),
        "nodes_splits": Constant(),
        "nodes_trueleafs": Ids(),
        "nodes_truenodeids": Ids(),
        "post_transform": _ZERO,
        "tree_roots": Ids(),
    }
)
NON_FINITE_READERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        # A missing value is put in the place of another one; nothing computes with it.
        "NaN": frozenset({"Where"}),
        # Masks of attention are put together and add minus infinity; limits compare with it.  No weight is infinite.
        "infinite": frozenset(
            {"Add", "Clip", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Where"}
            | {
                "Cast",
                "Concat",
                "Expand",
                "Gather",
                "Pad",
                "Reshape",
                "Slice",
                "Squeeze",
                "Tile",
                "Transpose",
                "Trilu",
                "Unsqueeze",
            }
        ),
    }
)
