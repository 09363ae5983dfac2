"""The operators that a graph may use, each with all its rules, and the versions that they are of.

The list is what our builders write and nothing else, all of them without effects, without randomness and without graphs
of their own.  A new operator is one line here, or in the table of networks: an operator whose result cannot be bounded
before it runs (NonZero, Unique, Loop) has no place, and a size that is computed from data is refused where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from alphaseal.gate.onnx import rows as rows
from alphaseal.gate.onnx import shapes as shapes
from alphaseal.gate.onnx import trees as trees
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
    Ids,
    Numbers,
)
from alphaseal.gate.onnx.costs import FREE, SLOW, Cost, matrices
from alphaseal.gate.onnx.parts import INFINITE, MAXIMUM_RANK, MISSING
from alphaseal.gate.onnx.rules import BINARY, UNARY, Operator, Table, table
from alphaseal.gate.onnx.types import TRUTH, WHOLE, like, named, with_places

IR_VERSION = 10
OPSETS: Mapping[str, int] = MappingProxyType({"": 18, "ai.onnx.ml": 5})
"""Versions that the specification pins."""
_BOUNDS: Attributes = dict.fromkeys(("start", "end"), Between(-MAXIMUM_RANK, MAXIMUM_RANK))
_JOINED: Attributes = {"axis": Axis(required=True)}
_PERMUTATION: Attributes = {"perm": Numbers(0, MAXIMUM_RANK - 1)}
_PLACE: Attributes = {**AXIS, "keepdims": FLAG, "select_last_index": FLAG}
_INFINITIES: Attributes = {"detect_negative": FLAG, "detect_positive": FLAG}
_CUMULATED: Attributes = {"exclusive": FLAG, "reverse": FLAG}
_TOP: Attributes = {**AXIS, "largest": FLAG, "sorted": FLAG}
_TREES: Attributes = {
    **dict.fromkeys(["nodes_featureids", "nodes_missing_value_tracks_true", "tree_roots", "leaf_targetids"], Ids()),
    **dict.fromkeys(["nodes_truenodeids", "nodes_trueleafs", "nodes_falsenodeids", "nodes_falseleafs"], Ids()),
    **dict.fromkeys(("nodes_modes", "nodes_splits", "leaf_weights"), Constant(MISSING)),
    "aggregate_function": Among(frozenset({1})),
    "n_targets": Between(1, LONGEST),
    "post_transform": ZERO,
}

# What the converter's graph/ writes for trees, processors and scikit-learn, and alphas/ for qlib's expressions.  Constants
# that go in are infinite where masks and limits are put together or compared; a NaN is only put in another value's place.
EVERYDAY: Table = table(
    Operator("Abs Floor Log Sign Sqrt", UNARY, shapes.same, rows.each, alphas=True),
    Operator("Ceil Exp Neg Relu Sigmoid Tanh", UNARY, shapes.same, rows.each),
    Operator("IsNaN Not", UNARY, shapes.same, rows.each, types=TRUTH, alphas=True),
    Operator("IsInf", UNARY, shapes.same, rows.each, _INFINITIES, types=TRUTH, alphas=True),
    Operator("Identity", UNARY, shapes.keep, rows.each, cost=FREE, empty=(0,), alphas=True),
    Operator(
        "Cast",
        UNARY,
        shapes.cast,
        rows.each,
        {"to": TYPE},
        types=named("to", like(0)),
        reads=INFINITE,
        empty=(0,),
        alphas=True,
    ),
    Operator("Add", BINARY, shapes.arithmetic(shapes.plus), rows.each, reads=INFINITE, alphas=True),
    Operator("Sub", BINARY, shapes.broadcast, rows.each, alphas=True),
    Operator("Mul", BINARY, shapes.arithmetic(shapes.times), rows.each, alphas=True),
    Operator("Div", BINARY, shapes.arithmetic(shapes.divided), rows.each, divides=True, alphas=True),
    Operator("Pow", BINARY, shapes.broadcast, rows.each, cost=SLOW, alphas=True),
    Operator("And Or", BINARY, shapes.broadcast, rows.each, types=TRUTH, alphas=True),
    Operator(
        "Equal Greater GreaterOrEqual Less LessOrEqual",
        BINARY,
        shapes.broadcast,
        rows.each,
        types=TRUTH,
        reads=INFINITE,
        alphas=True,
    ),
    Operator("Where", (3, 3), shapes.broadcast, rows.each, types=like(1), reads=MISSING, alphas=True),
    Operator("ReduceMax ReduceMin ReduceSum", (1, 2), shapes.reduction, rows.reduction, REDUCE, alphas=True),
    Operator("ReduceMean", (1, 2), shapes.reduction, rows.reduction, REDUCE),
    Operator("ArgMax ArgMin", UNARY, shapes.arg_reduction, rows.arg_reduction, _PLACE, types=WHOLE, alphas=True),
    Operator("CumSum", BINARY, shapes.cumulated, rows.along(rows.cumulated_axis), _CUMULATED, alphas=True),
    Operator("TopK", BINARY, shapes.top, rows.along(rows.one_axis(-1)), _TOP, (2, 2), types=with_places, alphas=True),
    Operator("MatMul", BINARY, shapes.matmul, rows.matmul, cost=Cost(parts=matrices)),
    Operator("Gather", BINARY, shapes.gather, rows.gather, AXIS, cost=SLOW, reads=INFINITE, alphas=True),
    Operator("GatherElements", BINARY, shapes.gather_elements, rows.gather_elements, AXIS, cost=SLOW, alphas=True),
    Operator("Concat", (1, MANY), shapes.concat, rows.concat, _JOINED, reads=INFINITE, empty=range(MANY), alphas=True),
    Operator("Slice", (3, 5), shapes.slice_, rows.cut, reads=INFINITE, empty=(0,), alphas=True),
    Operator("Pad", (2, 3), shapes.pad, rows.cut, {"mode": Among(frozenset({"constant"}))}, cost=SLOW, reads=INFINITE),
    Operator("Expand", BINARY, shapes.expand, rows.first, reads=INFINITE, empty=(1,)),
    Operator("Squeeze", BINARY, shapes.squeeze, rows.reshape, reads=INFINITE, empty=(0,), alphas=True),
    Operator("Unsqueeze", BINARY, shapes.unsqueeze, rows.reshape, reads=INFINITE, empty=(0,), alphas=True),
    Operator(
        "Transpose", UNARY, shapes.transpose, rows.transpose, _PERMUTATION, cost=SLOW, reads=INFINITE, alphas=True
    ),
    Operator("Shape", UNARY, shapes.shape_of, rows.number_of_rows, _BOUNDS, types=WHOLE, cost=FREE),
    Operator("TreeEnsemble", UNARY, trees.shape, rows.trees, _TREES, cost=Cost(copies=2), domain="ai.onnx.ml"),
)


def operator_of(domain: str, name: str) -> Operator | None:
    """The row of an operator.  The table of networks is loaded for a graph that needs it, and not before."""
    return EVERYDAY.get((domain, name)) or every_operator().get((domain, name))


@lru_cache
def every_operator() -> Table:
    """Both tables."""
    from alphaseal.gate.onnx.networks import NETWORKS

    return MappingProxyType({**EVERYDAY, **NETWORKS})
