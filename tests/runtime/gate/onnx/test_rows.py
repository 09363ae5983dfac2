"""Graphs that mix rows are refused where the manifest says that rows are scored alone; graphs that keep them apart are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from alphaseal.errors import PolicyError
from alphaseal.gate.model import WHOLE_DAY, check_model
from alphaseal.gate.onnx.operators import every_operator
from alphaseal.gate.onnx.parts import Node
from alphaseal.gate.onnx.rows import COUNT, FIXED, Mixed, Rows, State, Step, follow
from alphaseal.gate.onnx.shapes import Call, Size, Value
from alphaseal_converter.nodes.builder import GraphBuilder

WIDTH, STEPS = 4, 3
Build = Callable[[GraphBuilder], str]


def model(build: Build, steps: int | None = None) -> bytes:
    builder = GraphBuilder()
    return builder.model(WIDTH, build(builder), *([steps] if steps else []))


def scores(data: bytes, values: np.ndarray) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(data).run(None, {"features": values})[0])


def column(b: GraphBuilder, place: int = 0) -> str:
    return b.add("Gather", "features", b.constant([place]), axis=1)


def _outer(b: GraphBuilder) -> str:
    pairs = b.add("Sub", column(b), b.add("Transpose", column(b), perm=[1, 0]))
    return b.add("ReduceSum", pairs, b.constant([1]))


def _torn(b: GraphBuilder) -> str:
    """Items in another order than their rows: [rows, 4] read as [4, rows] and turned."""
    turned = b.add("Transpose", b.add("Reshape", "features", b.constant([WIDTH, -1])), perm=[1, 0])
    return b.add("ReduceMax", turned, b.constant([1]))


def _folded(b: GraphBuilder) -> str:
    """Rows and columns in one axis, which is then cut in another place."""
    flat = b.add("Reshape", b.add("Transpose", "features", perm=[1, 0]), b.constant([-1, WIDTH]))
    return b.add("ReduceSum", flat, b.constant([1]))


def _number_of_rows(b: GraphBuilder) -> str:
    count = b.cast(b.add("Gather", b.add("Shape", "features"), b.constant([0])), TensorProto.DOUBLE)
    return b.add("Div", column(b), count)


def _only_number_of_rows(b: GraphBuilder) -> str:
    shape = b.add("Concat", b.add("Gather", b.add("Shape", "features"), b.constant([0])), b.constant([1]), axis=0)
    count = b.cast(b.add("Gather", b.add("Shape", "features"), b.constant([0])), TensorProto.DOUBLE)
    return b.add("Expand", count, shape)


def _place_of_the_row(b: GraphBuilder) -> str:
    count = b.add("Squeeze", b.add("Gather", b.add("Shape", "features"), b.constant([0])), b.constant([0]))
    numbers = b.add("Range", b.constant(np.array(0)), count, b.constant(np.array(1)))
    return b.add("Add", column(b), b.add("Unsqueeze", b.cast(numbers, TensorProto.DOUBLE), b.constant([1])))


def _chooses_rows(b: GraphBuilder) -> str:
    places = b.cast(b.add("Clip", column(b), b.constant(np.array(0.0)), b.constant(np.array(0.0))), TensorProto.INT64)
    return b.add("GatherElements", column(b), places, axis=0)


def _position_in_a_table(b: GraphBuilder) -> str:
    """A table whose row of the same number is read: the score depends on where the row stands."""
    places = b.cast(b.add("Mul", column(b), b.constant(np.array(0.0))), TensorProto.INT64)
    return b.add("GatherElements", b.constant(np.arange(64.0).reshape(64, 1)), places, axis=1)


def _gram(b: GraphBuilder) -> str:
    gram = b.add("MatMul", b.add("Transpose", "features", perm=[1, 0]), "features")
    return b.add("MatMul", "features", b.add("Gather", gram, b.constant([0]), axis=1))


def _gemm(b: GraphBuilder) -> str:
    gram = b.add("Gemm", "features", "features", transA=1)
    return b.add("MatMul", "features", b.add("Gather", gram, b.constant([0]), axis=1))


def _einsum(b: GraphBuilder) -> str:
    return b.add("Unsqueeze", b.add("Einsum", "features", "features", equation="ij,kj->i"), b.constant([1]))


def _reversed_sum(b: GraphBuilder) -> str:
    return b.add("CumSum", column(b), b.constant(np.array(0)))


MIXING: dict[str, Build] = {
    "mean": lambda b: b.add("Sub", column(b), b.add("ReduceMean", column(b), b.constant([0]))),
    "sum of all": lambda b: b.add("Sub", column(b), b.add("ReduceSum", column(b), keepdims=0)),
    "softmax": lambda b: b.add("Softmax", column(b), axis=0),
    "cumulated": _reversed_sum,
    "first row": lambda b: b.add("Sub", column(b), b.add("Slice", column(b), *map(b.constant, ([0], [1], [0])))),
    "last row": lambda b: b.add("Sub", column(b), b.add("Gather", column(b), b.constant([-1]), axis=0)),
    "best row": lambda b: b.add("Sub", column(b), b.add_several("TopK", 2, column(b), b.constant([1]), axis=0)[0]),
    "place of the best": lambda b: b.add(
        "Add", column(b), b.cast(b.add("ArgMax", column(b), axis=0), TensorProto.DOUBLE)
    ),
    "all pairs": _outer,
    "torn": _torn,
    "folded": _folded,
    "number of rows": _number_of_rows,
    "only the number of rows": _only_number_of_rows,
    "place of the row": _place_of_the_row,
    "rows chosen by rows": _chooses_rows,
    "place in a table": _position_in_a_table,
    "Gram matrix": _gram,
    "Gram matrix by Gemm": _gemm,
    "Einsum over rows": _einsum,
    "normalised over all": lambda b: b.add("LayerNormalization", column(b), b.constant(np.ones((1,))), axis=0),
    "normalised over the batch": lambda b: b.cast(
        b.add("MeanVarianceNormalization", b.cast(column(b), TensorProto.FLOAT), axes=[0]), TensorProto.DOUBLE
    ),
}


@pytest.mark.parametrize("name", MIXING)
def test_mixing_graphs_are_refused(name: str) -> None:
    """Each is refused as such, and is a sound graph for a model that is scored by whole days."""
    data = model(MIXING[name])
    with pytest.raises(PolicyError) as error:
        check_model(data, "model.onnx")
    assert error.value.code == "model.rows"
    check_model(data, "model.onnx", limits=WHOLE_DAY)


def test_mixing_graphs_really_mix() -> None:
    """What is refused does depend on the other rows, where it can be run at all."""
    values = np.random.default_rng(1).standard_normal((12, WIDTH))
    other = values.copy()
    other[1:] = np.random.default_rng(2).standard_normal((11, WIDTH))
    same = []
    for name, build in MIXING.items():
        data = model(build)
        together, changed, alone = (scores(data, rows)[0] for rows in (values, other, values[:1]))
        second = scores(data, values[1:2])[0] == scores(data, values)[1]
        if np.array_equal(together, changed) and np.array_equal(together, alone) and bool(second.all()):
            same.append(name)
    assert same == []


def _per_step(b: GraphBuilder) -> str:
    """A matrix product per step, with rows and steps folded into one axis and unfolded again."""
    flat = b.add("Reshape", "features", b.constant([-1, WIDTH]))
    product = b.add("MatMul", flat, b.constant(np.arange(WIDTH * 2.0).reshape(WIDTH, 2)))
    unfolded = b.add("Reshape", product, b.constant([-1, STEPS, 2]))
    return b.add("ReduceMax", b.add("ReduceSum", unfolded, b.constant([1]), keepdims=0), b.constant([1]))


def _steps_first(b: GraphBuilder) -> str:
    """The same with the steps as the first axis, and the rows behind them."""
    turned = b.add("Transpose", "features", perm=[1, 0, 2])
    flat = b.add("Reshape", turned, b.constant([-1, WIDTH]))
    product = b.add("MatMul", flat, b.constant(np.ones((WIDTH, 1))))
    unfolded = b.add("Reshape", product, b.constant([STEPS, -1, 1]))
    return b.add("ReduceSum", unfolded, b.constant([0]), keepdims=0)


def _attention(b: GraphBuilder) -> str:
    """Steps of a row weigh each other."""
    weights = b.add("Softmax", b.add("MatMul", "features", b.add("Transpose", "features", perm=[0, 2, 1])), axis=2)
    mixed = b.add("MatMul", weights, "features")
    return b.add("ReduceMean", b.add("ReduceMean", mixed, b.constant([1]), keepdims=0), b.constant([1]))


def _recurrent(b: GraphBuilder) -> str:
    """A first state of zeros for every row, made of the number of rows."""
    single = b.cast("features", TensorProto.FLOAT)
    steps = b.add("Transpose", single, perm=[1, 0, 2])
    rows = b.add("Gather", b.add("Shape", "features"), b.constant([0]))
    zeros = b.add(
        "Expand",
        b.constant(np.zeros((1, 1, 2), np.float32)),
        b.add("Concat", b.constant([1]), rows, b.constant([2]), axis=0),
    )
    weights = [b.constant(np.full((1, 2, width), 0.5, np.float32)) for width in (WIDTH, 2)]
    bias = b.constant(np.zeros((1, 4), np.float32))
    out = b.add("RNN", steps, *weights, bias, "", zeros, hidden_size=2)
    last = b.add("Gather", b.add("Squeeze", out, b.constant([1])), b.constant(np.array(-1)), axis=0)
    return b.cast(b.add("ReduceSum", last, b.constant([1])), TensorProto.DOUBLE)


APART: dict[str, tuple[Build, int | None]] = {
    "folded by step": (_per_step, STEPS),
    "steps first": (_steps_first, STEPS),
    "attention over steps": (_attention, STEPS),
    "recurrent": (_recurrent, STEPS),
    "turned twice": (
        lambda b: b.add(
            "ReduceSum", b.add("Transpose", b.add("Transpose", "features", perm=[1, 0]), perm=[1, 0]), b.constant([1])
        ),
        None,
    ),
    "by rows": (lambda b: b.add("ReduceMax", b.add("Softmax", "features", axis=1), b.constant([1])), None),
    "a table": (
        lambda b: b.add(
            "Gather",
            b.constant(np.arange(5.0)),
            b.cast(b.add("Clip", column(b), b.constant(np.array(0.0)), b.constant(np.array(4.0))), TensorProto.INT64),
        ),
        None,
    ),
    "one score for all": (
        lambda b: b.add("Add", b.add("Mul", column(b), b.constant(np.array(0.0))), b.constant(np.array(3.0))),
        None,
    ),
    "columns chosen": (lambda b: b.add("Slice", "features", *map(b.constant, ([1], [2], [1]))), None),
}


@pytest.mark.parametrize("name", APART)
def test_graphs_that_keep_rows_apart_pass(name: str) -> None:
    """Usual ways of networks with windows pass, and a row has one score whatever stands beside it."""
    build, steps = APART[name]
    data = model(build, steps)
    check_model(data, "model.onnx")
    values = np.random.default_rng(3).standard_normal((6, *([steps] if steps else []), WIDTH))
    together = scores(data, values)
    alone = np.concatenate([scores(data, values[row : row + 1]) for row in range(6)])
    assert np.allclose(together, alone, rtol=1e-6, atol=1e-12)


# --- one operator at a time -------------------------------------------------------------------------------------------

ROWS = (0, 1)
FIRST, SECOND = Rows(0), Rows(1)
RULES = {name: row.rows for (_, name), row in every_operator().items()}


def shape(*lengths: int | Size) -> Value:
    """A value of such lengths; a `Size` depends on the rows."""
    return Value(tuple((length,) if isinstance(length, int) else length for length in lengths))


def numbers(*elements: int) -> Value:
    """Known integers."""
    return Value(((len(elements),),), tuple((element,) for element in elements))


def state_of(
    operator: str, inputs: list[tuple[Value | None, State | None]], result: Value, **attributes: object
) -> State | str:
    """The state of the result, or "mixed"."""
    names = tuple("abcdefgh"[: len(inputs)])
    node = Node(operator, "", "n", names, ("x",), dict(attributes), 0)  # type: ignore[arg-type]
    call = Call(node, tuple(value for value, _ in inputs))
    try:
        return follow(RULES[operator], Step(call, tuple(state for _, state in inputs), [result]))[0]
    except Mixed:
        return "mixed"


ALONE: list[tuple[str, list[tuple[Value | None, State | None]], Value, dict[str, object], State | str]] = [
    # values that are put together
    ("Add", [(shape(ROWS, 2), FIRST), (shape(2), FIXED)], shape(ROWS, 2), {}, FIRST),
    ("Add", [(shape(3, ROWS, 2), SECOND), (shape(ROWS, 2), FIRST)], shape(3, ROWS, 2), {}, SECOND),
    ("Add", [(shape((0, 2)), Rows(0, 1, 2)), (shape((0, 2)), Rows(0, 2, 1))], shape((0, 2)), {}, "mixed"),
    ("Add", [(shape(ROWS, 1), FIRST), (shape(), COUNT)], shape(ROWS, 1), {}, "mixed"),
    ("Add", [(shape(), COUNT), (shape(), FIXED)], shape(), {}, COUNT),
    ("Add", [(shape(), COUNT), (shape(), COUNT)], numbers(4), {}, FIXED),
    ("Add", [(shape(ROWS, 1), FIRST), (shape(1, ROWS), FIXED)], shape(ROWS, ROWS), {}, "mixed"),
    ("Expand", [(shape(ROWS, 1), FIRST), (shape(2), COUNT)], shape(ROWS, ROWS), {}, "mixed"),
    ("Expand", [(shape(ROWS, 1), FIRST), (shape(2), COUNT)], shape(ROWS, 5), {}, FIRST),
    ("CastLike", [(shape(ROWS), FIRST), (shape(), COUNT)], shape(ROWS), {}, FIRST),
    ("Clip", [(shape(ROWS), FIRST), (None, None), (shape(), FIXED)], shape(ROWS), {}, FIRST),
    ("Concat", [(shape(ROWS, 1), FIRST), (shape(ROWS, 2), FIXED)], shape(ROWS, 3), {"axis": 1}, FIRST),
    ("Concat", [(shape(ROWS), FIRST), (shape(ROWS), FIRST)], shape((0, 2)), {"axis": 0}, "mixed"),
    # along axes
    ("BatchNormalization", [(shape(ROWS, 3), FIRST), *[(shape(3), FIXED)] * 4], shape(ROWS, 3), {}, FIRST),
    ("BatchNormalization", [(shape(3, ROWS), SECOND), *[(shape(3), FIXED)] * 4], shape(3, ROWS), {}, "mixed"),
    ("LayerNormalization", [(shape(ROWS, 3), FIRST), (shape(ROWS, 3), FIRST)], shape(ROWS, 3), {"axis": -1}, "mixed"),
    ("InstanceNormalization", [(shape(2, ROWS, 3), SECOND), *[(shape(2), FIXED)] * 2], shape(2, ROWS, 3), {}, "mixed"),
    ("Trilu", [(shape(ROWS, 3), FIRST)], shape(ROWS, 3), {}, "mixed"),
    ("Trilu", [(shape(ROWS, 3, 3), FIRST)], shape(ROWS, 3, 3), {}, FIRST),
    ("MeanVarianceNormalization", [(shape(ROWS, 3), FIRST)], shape(ROWS, 3), {}, "mixed"),
    ("MeanVarianceNormalization", [(shape(ROWS, 3), FIRST)], shape(ROWS, 3), {"axes": [-1]}, FIRST),
    ("CumSum", [(shape(ROWS, 3), FIRST), (numbers(-1), FIXED)], shape(ROWS, 3), {}, FIRST),
    ("ReduceSum", [(shape(3, ROWS, 2), SECOND), (numbers(0, 2), FIXED)], shape(ROWS), {"keepdims": 0}, FIRST),
    ("ReduceSum", [(shape(3, ROWS), SECOND), (numbers(0), FIXED)], shape(1, ROWS), {}, SECOND),
    ("ReduceSum", [(shape(ROWS, 3), FIXED), (numbers(0), FIXED)], shape(1, 3), {}, "mixed"),
    ("ArgMax", [(shape(3, ROWS), SECOND)], shape(ROWS), {"axis": 0, "keepdims": 0}, FIRST),
    # other axes
    ("Reshape", [(shape(ROWS, 6), FIRST), (shape(2), FIXED)], shape((0, 3), 2), {}, Rows(0, 1, 3)),
    ("Reshape", [(shape((0, 3), 2), Rows(0, 1, 3)), (shape(3), FIXED)], shape(ROWS, 3, 2), {}, FIRST),
    ("Reshape", [(shape((0, 3), 2), Rows(0, 3, 1)), (shape(3), FIXED)], shape(ROWS, 3, 2), {}, "mixed"),
    ("Reshape", [(shape((0, 3), 2), Rows(0, 3, 1)), (shape(3), FIXED)], shape(3, ROWS, 2), {}, SECOND),
    ("Reshape", [(shape(3, ROWS, 4), FIXED), (shape(3), FIXED)], shape(2, (0, 2), 3), {}, "mixed"),
    ("Reshape", [(shape(ROWS, 4), FIXED), (shape(3), FIXED)], shape(ROWS, 2, 2), {}, FIXED),
    ("Reshape", [(shape(ROWS, 4), FIXED), (shape(1), FIXED)], shape((0, 4)), {}, Rows(0, 1, 4)),
    ("Reshape", [(shape(ROWS, ROWS), FIXED), (shape(1), FIXED)], shape((0, 0, 1)), {}, "mixed"),
    ("Reshape", [(shape((1, 1)), FIXED), (shape(1), FIXED)], shape((1, 1)), {}, "mixed"),
    ("Reshape", [(shape((0, 1, 1)), FIXED), (shape(2), FIXED)], shape((1, 1), ROWS), {}, "mixed"),
    ("Reshape", [(shape((0, 0, 1)), FIXED), (shape(2), FIXED)], shape(ROWS, ROWS), {}, "mixed"),
    ("Squeeze", [(shape(2), COUNT), (numbers(0), FIXED)], shape(), {}, COUNT),
    ("Transpose", [(shape(ROWS, 3, 2), FIRST)], shape(2, 3, ROWS), {}, Rows(2)),
    ("Slice", [(shape(ROWS, 3), FIRST), *[(numbers(1), FIXED)] * 3], shape(ROWS, 2), {}, FIRST),
    ("Slice", [(shape(ROWS), FIRST), *[(numbers(1), FIXED)] * 3], shape((-1, 1)), {}, "mixed"),
    ("Pad", [(shape(ROWS, 3), FIRST), (numbers(1, 0, 0, 0), FIXED)], shape((1, 1), 3), {}, "mixed"),
    ("Tile", [(shape(ROWS, 3), FIRST), (numbers(1, 2), FIXED)], shape(ROWS, 6), {}, FIRST),
    ("Tile", [(shape(ROWS, 3), FIRST), (numbers(2, 1), FIXED)], shape((0, 2), 3), {}, "mixed"),
    ("Tile", [(shape(1, 3), FIXED), (shape(2), COUNT)], shape(ROWS, 3), {}, FIXED),
    ("Tile", [(shape(2, 3), FIXED), (shape(2), COUNT)], shape((0, 2), 3), {}, Rows(0, 1, 2)),
    ("OneHot", [(shape(ROWS), FIRST), (numbers(3), FIXED), (shape(2), FIXED)], shape(ROWS, 3), {}, FIRST),
    ("OneHot", [(shape(ROWS), FIRST), (numbers(3), FIXED), (shape(2), FIXED)], shape(3, ROWS), {"axis": 0}, SECOND),
    # what is chosen
    ("Gather", [(shape(ROWS, 3), FIRST), (shape(ROWS), FIRST)], shape(ROWS, ROWS), {"axis": 1}, "mixed"),
    ("Gather", [(shape(ROWS, 3), FIXED), (shape(ROWS), FIRST)], shape(ROWS, ROWS), {"axis": 1}, "mixed"),
    ("Gather", [(shape(5, 3), FIXED), (shape(ROWS), FIRST)], shape(5, ROWS), {"axis": 1}, SECOND),
    ("Gather", [(shape(ROWS, 3), FIRST), (shape(), COUNT)], shape(ROWS), {"axis": 1}, "mixed"),
    ("Gather", [(shape(5), FIXED), (shape(), COUNT)], shape(), {"axis": 0}, "mixed"),
    ("Gather", [(shape(2), COUNT), (shape(ROWS), FIRST)], shape(ROWS), {"axis": 0}, "mixed"),
    ("GatherND", [(shape(2), COUNT), (shape(ROWS, 1), FIRST)], shape(ROWS), {}, "mixed"),
    ("Gather", [(shape(3, ROWS), SECOND), (shape(), FIXED)], shape(ROWS), {"axis": 0}, FIRST),
    ("Gather", [(shape(3, ROWS), SECOND), (shape(2, 2), FIXED)], shape(2, 2, ROWS), {"axis": 0}, Rows(2)),
    ("GatherElements", [(shape(ROWS, 3), FIRST), (shape(ROWS, 1), FIRST)], shape(ROWS, 1), {"axis": 1}, FIRST),
    ("GatherElements", [(shape(5, 1), FIXED), (shape(ROWS, 1), FIRST)], shape(ROWS, 1), {"axis": 0}, FIRST),
    ("GatherElements", [(shape(5, 3), FIXED), (shape(ROWS, 1), FIRST)], shape(ROWS, 1), {"axis": 1}, "mixed"),
    ("GatherElements", [(shape(ROWS, 3), FIRST), (shape(2, 1), FIXED)], shape(2, 1), {"axis": 1}, "mixed"),
    ("GatherND", [(shape(5, 2), FIXED), (shape(ROWS, 1), FIRST)], shape(ROWS, 2), {}, FIRST),
    ("GatherND", [(shape(5, ROWS), SECOND), (shape(ROWS, 1), FIRST)], shape(ROWS, ROWS), {}, "mixed"),
    ("GatherND", [(shape(5, ROWS), FIXED), (shape(ROWS, 1), FIRST)], shape(ROWS, ROWS), {}, "mixed"),
    ("GatherND", [(shape(5), FIXED), (shape(2, 1), COUNT)], shape(2), {}, "mixed"),
    ("GatherND", [(shape(5, ROWS), SECOND), (shape(2, 3, 1), FIXED)], shape(2, 3, ROWS), {}, Rows(2)),
    ("GatherND", [(shape(ROWS, 5), FIRST), (shape(2, 1), FIXED)], shape(2, 5), {}, "mixed"),
    ("ScatterElements", [(shape(ROWS, 3), FIXED), *[(shape(ROWS, 1), FIRST)] * 2], shape(ROWS, 3), {"axis": 1}, FIRST),
    ("ScatterElements", [(shape(ROWS, 3), FIRST), *[(shape(2, 1), FIXED)] * 2], shape(ROWS, 3), {"axis": 1}, "mixed"),
    (
        "ScatterElements",
        [(shape(ROWS, 3), FIRST), *[(shape(ROWS, 1), FIRST)] * 2],
        shape(ROWS, 3),
        {"axis": 0},
        "mixed",
    ),
    ("ScatterND", [(shape(5), FIXED), (shape(2, 1), FIXED), (shape(2), FIXED)], shape(5), {}, FIXED),
    ("ScatterND", [(shape(5), FIXED), (shape(ROWS, 1), FIRST), (shape(ROWS), FIRST)], shape(5), {}, "mixed"),
    ("ScatterND", [(shape(ROWS), FIXED), (shape(2, 1), FIXED), (shape(2), FIXED)], shape(ROWS), {}, "mixed"),
    # products
    ("MatMul", [(shape(ROWS, 3), FIRST), (shape(3, 2), FIXED)], shape(ROWS, 2), {}, FIRST),
    ("MatMul", [(shape(3, 2), FIXED), (shape(2, ROWS), SECOND)], shape(3, ROWS), {}, SECOND),
    ("MatMul", [(shape(ROWS, 2, 3), FIRST), (shape(ROWS, 3, 2), FIRST)], shape(ROWS, 2, 2), {}, FIRST),
    ("MatMul", [(shape(ROWS, 3), FIRST), (shape(3, ROWS), SECOND)], shape(ROWS, ROWS), {}, "mixed"),
    ("MatMul", [(shape(2, ROWS), SECOND), (shape(ROWS, 2), FIXED)], shape(2, 2), {}, "mixed"),
    ("Gemm", [(shape(3, ROWS), SECOND), (shape(3, 2), FIXED), (shape(2), FIXED)], shape(ROWS, 2), {"transA": 1}, FIRST),
    ("Gemm", [(shape(2, 3), FIXED), (shape(ROWS, 3), FIRST)], shape(2, ROWS), {"transB": 1}, SECOND),
    ("Gemm", [(shape(ROWS, 3), FIRST), (shape(3, 2), FIXED), (shape(), COUNT)], shape(ROWS, 2), {}, "mixed"),
    ("Einsum", [(shape(ROWS, 3), FIRST), (shape(3, 2), FIXED)], shape(2, ROWS), {"equation": "ij,jk->ki"}, SECOND),
    ("Einsum", [(shape(ROWS, 3), FIRST), (shape(ROWS, 3), FIRST)], shape(ROWS), {"equation": "ij,ij->i"}, FIRST),
    (
        "Einsum",
        [(shape(ROWS, 3), FIRST), (shape(ROWS, 3), FIRST)],
        shape(ROWS, ROWS),
        {"equation": "ij,kj->ik"},
        "mixed",
    ),
    ("Einsum", [(shape(ROWS, ROWS), FIRST)], shape(ROWS), {"equation": "ii->i"}, "mixed"),
    ("Conv", [(shape(ROWS, 3, 9), FIRST), (shape(2, 3, 3), FIXED)], shape(ROWS, 2, 7), {}, FIRST),
    ("Conv", [(shape(3, ROWS, 9), SECOND), (shape(2, ROWS, 3), FIXED)], shape(3, 2, 7), {}, "mixed"),
    ("Conv", [(shape(ROWS, 3, 9), FIRST), (shape(2, 3, 3), COUNT)], shape(ROWS, 2, 7), {}, "mixed"),
    ("Conv", [(shape(2, 3, 9), FIXED), (shape(ROWS, 3, 3), FIXED), (None, None)], shape(2, ROWS, 7), {}, "mixed"),
    ("GlobalAveragePool", [(shape(2, 3, ROWS), Rows(2))], shape(2, 3, 1), {}, "mixed"),
    ("RNN", [(shape(4, ROWS, 3), SECOND), *[(shape(1, 2, 3), FIXED)] * 2], shape(4, 1, ROWS, 2), {}, Rows(2)),
    ("RNN", [(shape(ROWS, 4, 3), FIRST), *[(shape(1, 2, 3), FIXED)] * 2], shape(ROWS, 1, 4, 2), {}, "mixed"),
    ("RNN", [(shape(ROWS, 4, 3), FIXED), *[(shape(1, 2, 3), FIXED)] * 2], shape(ROWS, 1, 4, 2), {}, "mixed"),
    # numbers of rows
    ("Shape", [(shape(ROWS, 3), FIRST)], shape(2), {}, COUNT),
    ("Shape", [(shape(ROWS, 3), FIRST)], numbers(3), {"start": 1}, FIXED),
    ("Size", [(shape(2, 3), FIXED)], shape(), {}, FIXED),
    ("ConstantOfShape", [(shape(2), COUNT)], shape(ROWS, 3), {}, FIXED),
    ("Range", [(shape(), FIXED), (shape(), COUNT), (shape(), FIXED)], shape(ROWS), {}, "mixed"),
    ("Range", [(shape(), FIXED)] * 3, shape(4), {}, FIXED),
    ("EyeLike", [(shape(ROWS, 3), FIXED)], shape(ROWS, 3), {}, "mixed"),
    ("TreeEnsemble", [(shape((0, 3), 4), Rows(0, 1, 3))], shape((0, 3), 1), {}, Rows(0, 1, 3)),
]


@pytest.mark.parametrize("operator", sorted({case[0] for case in ALONE}))
def test_one_operator(operator: str) -> None:
    """What is known of a result, from what is known of the inputs and from the shapes."""
    for name, inputs, result, attributes, expected in ALONE:
        if name == operator:
            assert state_of(name, inputs, result, **attributes) == expected, (name, inputs, result)


def test_ranks_that_do_not_fit_are_refused() -> None:
    """Found by the fuzzer: places of another rank than what is written to ended in an IndexError."""
    written: list[Any] = [(shape(ROWS, 2), FIRST), (shape(1), FIXED), (shape(1), FIXED)]
    assert state_of("ScatterElements", written, shape(ROWS, 2), axis=1) == "mixed"
    assert state_of("CumSum", [(shape(), FIXED), (numbers(0), FIXED)], shape(), axis=0) == "mixed"
