"""The operators that a graph may use, which attributes they may have, and how large their results are.

The list is what our builders write and nothing else, all of them without effects, without randomness and without graphs
of their own.  A new operator is one line here, with its shape rule: an operator whose result cannot be bounded before it
runs (NonZero, Unique, Loop) has no place, and a size that is computed from data is refused where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from . import onnx_shapes as shapes
from .onnx_parts import BYTES_OF
from .onnx_shapes import Rule

IR_VERSION = 10
OPSETS: Mapping[str, int] = MappingProxyType({"": 18, "ai.onnx.ml": 5})
"""Versions that the specification pins."""
ALLOWED_CASTS = frozenset(BYTES_OF)
_KINDS: Mapping[str, type] = MappingProxyType({"i": int, "f": float, "s": str, "I": list, "S": tuple, "t": object})


Attributes = Mapping[str, str | frozenset[int] | frozenset[str]]
"""Name to kind ("i" integer, "f" number, "s" text, "I" integers, "S" texts, "t" tensor), or to the only values that there may be."""


@dataclass(frozen=True)
class Operator:
    """`inputs` and `outputs` are the least and the most there may be."""

    rule: Rule
    inputs: tuple[int, int]
    attributes: Attributes = field(default_factory=dict)
    outputs: tuple[int, int] = (1, 1)


_MANY = 4096
_ZERO = frozenset({0})
_UNARY = Operator(shapes.same, (1, 1))
_BINARY = Operator(shapes.broadcast, (2, 2))
_AXIS: Attributes = {"axis": "i"}
_REDUCE: Operator = Operator(shapes.reduction, (1, 2), {"keepdims": "i", "noop_with_empty_axes": _ZERO})
_WINDOW: Attributes = {
    "kernel_shape": "I",
    "pads": "I",
    "strides": "I",
    "dilations": "I",
    "auto_pad": frozenset({"NOTSET"}),
}
_DIRECTIONS = frozenset({"forward", "reverse", "bidirectional"})
_RECURRENT: Attributes = {"hidden_size": "i", "direction": _DIRECTIONS, "layout": _ZERO}

# Who writes them: graph/preprocess.py, columns.py, tree_ensemble.py (trees and fitted processors)
_TREES_AND_PROCESSORS = {
    **dict.fromkeys(("Abs", "Exp", "IsNaN", "Log"), _UNARY),
    **dict.fromkeys(("And", "Equal", "Greater", "Less", "LessOrEqual", "Or", "Sub"), _BINARY),
    "Add": Operator(shapes.arithmetic(shapes.plus), (2, 2)),
    "Mul": Operator(shapes.arithmetic(shapes.times), (2, 2)),
    "Div": Operator(shapes.arithmetic(shapes.divided), (2, 2)),
    "Cast": Operator(shapes.cast, (1, 1), {"to": ALLOWED_CASTS}),
    "Concat": Operator(shapes.concat, (1, _MANY), _AXIS),
    "CumSum": Operator(shapes.cumulated, (2, 2), {"exclusive": "i", "reverse": "i"}),
    "Expand": Operator(shapes.expand, (2, 2)),
    "Gather": Operator(shapes.gather, (2, 2), _AXIS),
    "GatherElements": Operator(shapes.gather_elements, (2, 2), _AXIS),
    "Identity": Operator(shapes.keep, (1, 1)),
    "IsInf": Operator(shapes.same, (1, 1), {"detect_negative": "i", "detect_positive": "i"}),
    "Pad": Operator(shapes.pad, (2, 3), {"mode": frozenset({"constant"})}),
    "Where": Operator(shapes.broadcast, (3, 3)),
}
# graph/sklearn_steps.py, normal_quantile.py (scikit-learn: scalers, imputers, linear models, perceptrons)
_SCIKIT_LEARN = {
    **dict.fromkeys(("Ceil", "Floor", "Neg", "Not", "Sqrt", "Tanh", "Sigmoid", "Relu"), _UNARY),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"), _REDUCE),
    "GreaterOrEqual": _BINARY,
    "MatMul": Operator(shapes.matmul, (2, 2)),
    "Shape": Operator(shapes.shape_of, (1, 1), {"start": "i", "end": "i"}),
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
    **dict.fromkeys(("PRelu", "Pow", "Xor"), _BINARY),
    **dict.fromkeys(("Max", "Mean", "Min", "Sum"), Operator(shapes.broadcast, (1, 64))),
    **dict.fromkeys(("Celu", "Elu", "LeakyRelu", "ThresholdedRelu"), Operator(shapes.same, (1, 1), {"alpha": "f"})),
    **dict.fromkeys(("HardSigmoid",), Operator(shapes.same, (1, 1), {"alpha": "f", "beta": "f"})),
    **dict.fromkeys(("LogSoftmax", "Softmax"), Operator(shapes.same, (1, 1), _AXIS)),
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare"), _REDUCE
    ),
    "Selu": Operator(shapes.same, (1, 1), {"alpha": "f", "gamma": "f"}),
    "Clip": Operator(shapes.same, (1, 3)),
    "Mod": Operator(shapes.arithmetic(shapes.remainder), (2, 2), {"fmod": _ZERO}),
    "BatchNormalization": Operator(
        shapes.normalisation, (5, 5), {"epsilon": "f", "momentum": "f", "training_mode": _ZERO}
    ),
    "InstanceNormalization": Operator(shapes.normalisation, (3, 3), {"epsilon": "f"}),
    "LayerNormalization": Operator(shapes.normalisation, (2, 3), {"axis": "i", "epsilon": "f", "stash_type": "i"}),
    **dict.fromkeys(
        ("ArgMax", "ArgMin"),
        Operator(shapes.arg_reduction, (1, 1), {**_AXIS, "keepdims": "i", "select_last_index": "i"}),
    ),
    "CastLike": Operator(shapes.same, (2, 2)),
    "Einsum": Operator(shapes.einsum, (1, 3), {"equation": "s"}),
    "EyeLike": Operator(shapes.same, (1, 1), {"dtype": ALLOWED_CASTS, "k": "i"}),
    "GatherND": Operator(shapes.gather_nd, (2, 2), {"batch_dims": "i"}),
    "GroupNormalization": Operator(shapes.normalisation, (3, 3), {"epsilon": "f", "num_groups": "i"}),
    "MeanVarianceNormalization": Operator(shapes.same, (1, 1), {"axes": "I"}),
    "OneHot": Operator(shapes.one_hot, (3, 3), _AXIS),
    "Range": Operator(shapes.counted, (3, 3)),
    "ScatterElements": Operator(shapes.same, (3, 3), {**_AXIS, "reduction": "s"}),
    "ScatterND": Operator(shapes.same, (3, 3), {"reduction": "s"}),
    "Size": Operator(shapes.element_count, (1, 1)),
    "Tile": Operator(shapes.tile, (2, 2)),
    "TopK": Operator(shapes.top, (2, 2), {**_AXIS, "largest": "i", "sorted": "i"}, (2, 2)),
    "Trilu": Operator(shapes.same, (1, 2), {"upper": "i"}),
    "ConstantOfShape": Operator(shapes.constant_of_shape, (1, 1), {"value": "t"}),
    "Conv": Operator(shapes.convolution, (2, 3), {**_WINDOW, "group": "i"}),
    "AveragePool": Operator(shapes.pooling, (1, 1), {**_WINDOW, "ceil_mode": _ZERO, "count_include_pad": "i"}),
    "MaxPool": Operator(shapes.pooling, (1, 1), {**_WINDOW, "ceil_mode": _ZERO, "storage_order": _ZERO}),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), Operator(shapes.global_pooling, (1, 1))),
    "Flatten": Operator(shapes.flatten, (1, 1), _AXIS),
    "Gemm": Operator(shapes.gemm, (2, 3), {"alpha": "f", "beta": "f", "transA": "i", "transB": "i"}),
    "GRU": Operator(shapes.recurrent(3), (3, 6), {**_RECURRENT, "linear_before_reset": "i"}, (1, 2)),
    "LSTM": Operator(shapes.recurrent(4), (3, 7), {**_RECURRENT, "input_forget": "i"}, (1, 3)),
    "RNN": Operator(shapes.recurrent(1), (3, 6), {**_RECURRENT, "activations": "S"}, (1, 2)),
    "Reshape": Operator(shapes.reshape, (2, 2), {"allowzero": "i"}),
    "Slice": Operator(shapes.slice_, (3, 5)),
    "Split": Operator(shapes.split, (1, 2), {"axis": "i", "num_outputs": "i"}, (1, 64)),
    "Transpose": Operator(shapes.transpose, (1, 1), {"perm": "I"}),
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
        "aggregate_function": frozenset({1}),
        "leaf_targetids": "I",
        "leaf_weights": "t",
        "n_targets": "i",
        "nodes_falseleafs": "I",
        "nodes_falsenodeids": "I",
        "nodes_featureids": "I",
        "nodes_missing_value_tracks_true": "I",
        "nodes_modes": "t",
        "nodes_splits": "t",
        "nodes_trueleafs": "I",
        "nodes_truenodeids": "I",
        "post_transform": _ZERO,
        "tree_roots": "I",
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


def fits(value: object, kind: str | frozenset[int] | frozenset[str]) -> bool:
    """Whether an attribute's value is of the kind, or one of the values, that the table names."""
    if isinstance(kind, frozenset):
        return isinstance(value, (int, str)) and value in kind
    if kind == "t":
        return hasattr(value, "element")
    return isinstance(value, _KINDS[kind])
