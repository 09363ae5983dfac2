"""What running a graph takes, and what would end the process: refused from the bytes of the file, before anything runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import fuzz_graphs
from alphaseal.errors import PolicyError
from alphaseal.gate.model import ALPHAS, WHOLE_DAY, Limits, ModelSummary, check_model
from alphaseal.gate.onnx import operators as onnx_operators
from alphaseal.gate.onnx.attributes import Among, Axis, Between, Constant, Ids, Number, Numbers, Text, Texts, wrong
from alphaseal.gate.onnx.parts import read_model
from alphaseal.gate.onnx.types import Element
from alphaseal.gate.onnx.wire import Source
from alphaseal.scoring.session import calls_at_once, load_session
from alphaseal_converter.nodes.builder import IR_VERSION, OPSETS, GraphBuilder
from peak_memory import PEAK, needs_peak
from raising import refusal
from small_models import FEATURES

Add = Callable[[GraphBuilder], str]
BIG = 1 << 26


def built(add: Add) -> bytes:
    """A graph of our builder's form without a check by onnx, whose score is what `add` gives."""
    builder = GraphBuilder()
    score = add(builder)
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


def refused(add: Add, limits: Limits | None = None) -> PolicyError:
    """The error of the gate, which comes at once."""
    data = built(add)
    started = time.process_time()
    error = refusal(PolicyError, check_model, data, "model.onnx", limits=limits)
    assert time.process_time() - started < 2.0
    return error


def passes(add: Add, limits: Limits | None = None) -> ModelSummary:
    return check_model(built(add), "model.onnx", limits=limits)


def first(builder: GraphBuilder) -> str:
    """The first feature, [rows, 1]."""
    return builder.add("Gather", "features", builder.constant([0]), axis=1)


def filled(builder: GraphBuilder, *shape: int, value: float = 1.5) -> str:
    """A constant that the file does not hold."""
    return builder.add(
        "ConstantOfShape", builder.constant(list(shape)), value=numpy_helper.from_array(np.array([value]))
    )


def with_score(builder: GraphBuilder, value: str) -> str:
    """The first feature and the largest number of `value`."""
    return builder.add("Add", first(builder), builder.add("ReduceMax", value, keepdims=0))


# --- integer division ---------------------------------------------------------------------------------------------------


def divided(operator: str, by: np.ndarray, kind: int = TensorProto.INT64) -> Add:
    """The features as integers, divided by a constant of the file."""

    def add(builder: GraphBuilder) -> str:
        whole = builder.cast(first(builder), kind)
        return builder.cast(builder.add(operator, whole, builder.constant(by)), TensorProto.DOUBLE)

    return add


_INTEGERS = {TensorProto.INT64: np.int64, TensorProto.INT32: np.int32, TensorProto.UINT8: np.uint8}
_MANY = np.full(100, 7)


@pytest.mark.attack("graph: integer division that traps")
@pytest.mark.parametrize("operator", ["Div", "Mod"])
@pytest.mark.parametrize("kind", _INTEGERS, ids=["int64", "int32", "uint8"])
@pytest.mark.parametrize(
    "by",
    [0, [[3, 0]], np.where(np.arange(100) == 99, 0, _MANY), -1, [[-1, 5]], np.where(np.arange(100) == 50, -1, _MANY)],
    ids=["zero", "a_zero", "a_zero_of_many", "minus_one", "a_minus_one", "a_minus_one_of_many"],
)
def test_integers_are_not_divided_by_zero_or_minus_one(operator: str, kind: int, by: object) -> None:
    """A zero ends the process on some versions of onnxruntime, and the smallest integer by -1 on all."""
    numbers = np.array(by).astype(_INTEGERS[kind])
    if kind == TensorProto.UINT8 and 255 in numbers:
        passes(divided(operator, numbers[..., :1] if numbers.ndim else numbers, kind))
        return
    error = refused(divided(operator, numbers, kind))
    assert error.code == "model.division"
    assert "0 or -1" in error.message


def _divisor(make: Callable[[GraphBuilder, str], str]) -> Add:
    def add(builder: GraphBuilder) -> str:
        whole = builder.cast(first(builder), TensorProto.INT64)
        return builder.cast(builder.add("Div", whole, make(builder, whole)), TensorProto.DOUBLE)

    return add


COMPUTED: dict[str, Add] = {
    "by_itself": _divisor(lambda b, whole: whole),
    "by_a_cast": _divisor(lambda b, whole: b.cast(b.constant(np.array(2.0)), TensorProto.INT64)),
    "by_a_choice": _divisor(
        lambda b, whole: b.add("Where", b.add("Equal", whole, whole), b.constant(np.array(2)), b.constant(np.array(-1)))
    ),
    "by_the_rest": _divisor(lambda b, whole: b.add("Sub", b.constant(np.array(1)), b.constant(np.array(1)))),
    "by_a_sum": _divisor(lambda b, whole: b.add("Add", b.constant([1]), b.constant([-1]))),
    "by_a_product": _divisor(lambda b, whole: b.add("Mul", b.constant([1]), b.constant([-1]))),
    "by_a_cut": _divisor(lambda b, whole: b.add("Slice", b.constant([2, 0]), b.constant([1]), b.constant([2]))),
    "by_a_number_that_wraps": _divisor(
        lambda b, whole: b.add("Mul", b.constant([1 << 40]), b.add("Mul", b.constant([1 << 20]), b.constant([16])))
    ),
    "by_a_place": _divisor(lambda b, whole: b.add("ArgMax", "features", axis=1)),
}


@pytest.mark.attack("graph: integer division that traps")
@pytest.mark.parametrize("name", COMPUTED)
def test_integers_are_not_divided_by_what_is_computed(name: str) -> None:
    """Whatever the golden rows give, a later day may give another divisor."""
    assert refused(COMPUTED[name]).code == "model.division"


def test_integers_are_divided_by_what_is_known() -> None:
    """Constants, and lengths of axes, which the gate knows as well."""
    for by in (np.array(3), np.array([[-2]]), np.full(100, 5)):
        passes(divided("Div", by.reshape(by.shape or (1,))[:1]))
    passes(_divisor(lambda b, whole: b.add("Gather", b.add("Shape", "features"), b.constant([1]))))
    passes(divided("Div", np.array([0.0, -1.0])[:1], TensorProto.DOUBLE))


def test_types_are_those_of_onnxruntime() -> None:
    """What the gate takes for the type of every operator's result is what onnxruntime says, in hundreds of graphs."""
    names = {1: "float", 2: "uint8", 6: "int32", 7: "int64", 9: "bool", 11: "double"}
    compared: set[str] = set()
    for number in range(1200):
        data = fuzz_graphs.graph(5, number)
        model = onnx.load_from_string(data)
        types: dict[str, Element] = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        types["features"] = TensorProto.DOUBLE
        nodes = read_model(Source(data, "x")).nodes
        made_by = {name: node.operator for node in nodes for name in node.outputs}
        for node in nodes:
            operator = onnx_operators.operator_of(node.domain, node.operator)
            assert operator is not None
            found = operator.types(node, [types.get(name) for name in node.inputs])
            types.update(zip(node.outputs, found, strict=True))
        del model.graph.output[:]
        model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in made_by)
        try:
            session = load_session(model.SerializeToString(), "x")
        except PolicyError:
            continue
        for output in session.get_outputs():
            element = types[output.name]
            assert element is not None, made_by[output.name]
            assert output.type == f"tensor({names[element]})", made_by[output.name]
            compared.add(made_by[output.name])
    assert compared == {name for domain, name in onnx_operators.every_operator() if not domain}


# --- attributes -----------------------------------------------------------------------------------------------------------

RULES = [
    (operator, name, rule)
    for (_, operator), entry in onnx_operators.every_operator().items()
    for name, rule in entry.attributes.items()
]
_HUGE = (1 << 62, -(1 << 63), (1 << 63) - 1)


@pytest.mark.attack("graph: attributes without a bound", attempts=len(RULES))
@pytest.mark.parametrize("text", sorted({f"{operator}.{name}" for operator, name, _ in RULES}))
def test_every_attribute_has_a_bound(text: str) -> None:
    """No attribute of any operator takes any integer or text; an axis is compared with the value that has it."""
    (rule,) = [rule for operator, name, rule in RULES if f"{operator}.{name}" == text]
    match rule:
        case Among() | Between():
            assert not any(rule.fits(number) for number in _HUGE)
            assert not rule.fits("any")
            assert not rule.fits(1.5)
            assert not rule.fits([1])
        case Number():
            assert not rule.fits(float("inf"))
            assert not rule.fits(float("nan"))
            assert not rule.fits(1)
        case Numbers():
            assert not any(rule.fits([number]) for number in _HUGE)
            assert not rule.fits([rule.least - 1])
            assert not rule.fits([1] * 17)
            assert rule.fits([rule.least])
        case Texts():
            assert not rule.fits(("Affine",))
            assert rule.fits(("Tanh",))
        case Axis():
            assert rule.fits(1)
            assert not rule.fits(1.0)
            if "axis" in text:
                operator = text.split(".", maxsplit=1)[0]
                assert operator in {*AXES, "Flatten"}, "an axis that no test puts beyond the value"
        case Ids() | Text() | Constant():
            assert text.startswith("TreeEnsemble.") or text in ("Einsum.equation", "ConstantOfShape.value")


def _node(operator: str, *inputs: object, count: int = 1, **attributes: object) -> Add:
    def add(builder: GraphBuilder) -> str:
        names = [entry if isinstance(entry, str) else builder.constant(np.array(entry)) for entry in inputs]
        outputs = [f"several{place}" for place in range(count)]
        builder._nodes.append(helper.make_node(operator, names, outputs, **attributes))
        return first(builder)

    return add


_MATRIX = np.zeros((2, 3))
AXES: dict[str, Add] = {
    "ArgMax": _node("ArgMax", "features", axis=2),
    "ArgMin": _node("ArgMin", "features", axis=-3),
    "Concat": _node("Concat", "features", axis=2),
    "Gather": _node("Gather", "features", [0], axis=2),
    "GatherElements": _node("GatherElements", _MATRIX, [[0]], axis=2),
    "LayerNormalization": _node("LayerNormalization", "features", [1.0], axis=2),
    "LogSoftmax": _node("LogSoftmax", "features", axis=2),
    "OneHot": _node("OneHot", [1], 2, [0, 1], axis=2),
    "ScatterElements": _node("ScatterElements", _MATRIX, [[0]], [[1.0]], axis=2),
    "Softmax": _node("Softmax", "features", axis=(1 << 63) - 1),
    "Split": _node("Split", "features", count=2, axis=2, num_outputs=2),
    "TopK": _node("TopK", "features", [1], count=2, axis=2),
}


@pytest.mark.attack("graph: attributes without a bound")
@pytest.mark.parametrize("operator", AXES)
def test_axes_are_those_of_the_value(operator: str) -> None:
    """An axis beyond the value is refused where it stands."""
    error = refused(AXES[operator])
    assert (error.code, "of a value of rank" in error.message) == ("model.shape", True)


_IMAGE = np.zeros((1, 4, 5), np.float32)
_FILTERS = np.zeros((2, 4, 2), np.float32)
ATTRIBUTES: dict[str, Add] = {
    "no_groups": _node("GroupNormalization", _IMAGE, [1.0, 1.0], [0.0, 0.0], num_groups=0),
    "negative_groups": _node("GroupNormalization", _IMAGE, [1.0, 1.0], [0.0, 0.0], num_groups=-2),
    "groups_not_said": _node("GroupNormalization", _IMAGE, [1.0, 1.0], [0.0, 0.0]),
    "cast_to_what": _node("Cast", "features"),
    "diagonal": _node("EyeLike", _MATRIX, k=-(1 << 63)),
    "group_of_filters": _node("Conv", _IMAGE, _FILTERS, group=0),
    "stride": _node("MaxPool", _IMAGE, kernel_shape=[2], strides=[0]),
    "dilation": _node("Conv", _IMAGE, _FILTERS, dilations=[0]),
    "pad": _node("AveragePool", _IMAGE, kernel_shape=[2], pads=[-1, 0]),
    "kernel": _node("AveragePool", _IMAGE, kernel_shape=[0]),
    "kernel_not_said": _node("MaxPool", _IMAGE),
    "endless_kernel": _node("MaxPool", _IMAGE, kernel_shape=[1 << 40]),
    "auto_pad": _node("MaxPool", _IMAGE, kernel_shape=[2], auto_pad="SAME_UPPER"),
    "hidden": _node("GRU", _IMAGE, _IMAGE, _IMAGE, hidden_size=0),
    "hidden_not_said": _node("GRU", _IMAGE, _IMAGE, _IMAGE),
    "activation": _node("RNN", _IMAGE, _IMAGE, _IMAGE, hidden_size=1, activations=["Affine"]),
    "direction": _node("GRU", _IMAGE, _IMAGE, _IMAGE, hidden_size=1, direction="sideways"),
    "reduction": _node("ScatterElements", _MATRIX, [[0]], [[1.0]], reduction="divide"),
    "flag": _node("ReduceSum", "features", keepdims=2),
    "flag_of_trees": _node("TopK", "features", [1], count=2, largest=-1),
    "epsilon": _node("LayerNormalization", "features", [1.0], epsilon=-1.0),
    "stash_type": _node("LayerNormalization", "features", [1.0], stash_type=7),
    "parts": _node("Split", "features", axis=1, num_outputs=0),
    "start_of_shape": _node("Shape", "features", start=-(1 << 63)),
    "batch": _node("GatherND", np.zeros((2, 2)), [[0], [0]], batch_dims=1),
    "order": _node("Transpose", "features", perm=[0, 8]),
    "flatten": _node("Flatten", "features", axis=-1),
    "equation_not_said": _node("Einsum", "features"),
}


@pytest.mark.attack("graph: attributes without a bound")
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_within_their_bounds(name: str) -> None:
    """What a kernel divides by, negates or takes for a size is refused by name before any library sees it."""
    assert refused(ATTRIBUTES[name]).code == "model.attribute"


def test_attributes_that_are_required_are_there() -> None:
    """The first that is wrong is named; one that may be left out may."""
    known: dict[str, Any] = {"a": Between(1, 2, required=True), "b": Among(frozenset({0}))}
    assert wrong({"a": 1}, known) is None
    assert wrong({"a": 1, "b": 0}, known) is None
    assert wrong({"b": 0}, known) == "a"
    assert wrong({"a": 3}, known) == "a"
    assert wrong({"a": 1, "c": 0}, known) == "c"
    assert wrong({"a": True}, known) is None  # a truth value is an integer to protobuf, which has no other


# --- memory -------------------------------------------------------------------------------------------------------------


def _all_at_once(builder: GraphBuilder) -> str:
    return with_score(builder, builder.add("Sum", *[filled(builder, 1 << 22) for _ in range(32)]))


def _one_after_the_other(builder: GraphBuilder) -> str:
    value = filled(builder, 1 << 22)
    for _ in range(10):
        value = builder.add("Abs", value)
    return with_score(builder, value)


def _kept_to_the_end(builder: GraphBuilder) -> str:
    value = filled(builder, 1 << 22)
    names = [value]
    for _ in range(31):
        names.append(builder.add("Abs", names[-1]))
    for name in reversed(names[:-1]):
        value = builder.add("Min", names[-1], name)
        names[-1] = value
    return with_score(builder, value)


def _of_the_rows(builder: GraphBuilder) -> str:
    wide = builder.add("Expand", first(builder), builder.constant([1, 8192]))
    names = [builder.add("Abs", wide) for _ in range(10)]
    return builder.add("ReduceMax", builder.add("Sum", *names), builder.constant([1]))


@pytest.mark.attack("graph: memory beyond any bound")
@pytest.mark.parametrize("add", [_all_at_once, _kept_to_the_end, _of_the_rows])
def test_memory_is_that_of_all_values_that_live(add: Add) -> None:
    """Each value is far below its own bound; together they are not."""
    limits = Limits(constant_work=1 << 40, rows_alone=False)
    error = refused(add, limits)
    assert error.code == "model.growth"
    assert "live at one time" in error.message
    assert "at most 1073741824 bytes" in str(error)


def test_memory_is_given_back_after_the_last_reader() -> None:
    """Ten values one after the other live two at a time; the file counts too."""
    summary = passes(_one_after_the_other, Limits(constant_work=1 << 40))
    value = 8 << 22
    assert 2 * value <= summary.memory < 2 * value + (1 << 20)
    data = built(first)
    assert check_model(data, "x").memory == len(data) + 2048 * 8 * (FEATURES + 2)


def test_memory_counts_bytes_not_numbers() -> None:
    """A truth value is one byte, and a value without a reader is gone at once."""

    def add(builder: GraphBuilder) -> str:
        for _ in range(5):
            builder.add("Equal", filled(builder, 1 << 20), builder.constant(np.array(1.5)))
        return first(builder)

    memory = passes(add).memory
    assert 9 << 20 <= memory < 10 << 20


_MEASURE = f"""{PEAK}
import sys
import numpy as np
sys.path.insert(0, sys.argv[2])
from alphaseal.scoring.session import load_session, run_session
session = load_session(open(sys.argv[1], "rb").read(), "x")
rows = np.zeros((int(sys.argv[3]), 4))
before = peak()
run_session(session, {{"features": rows}})
print(peak() - before)
"""


def _backwards(builder: GraphBuilder) -> str:
    """Small in the order of the file; who begins at the result and goes deep first keeps every large value."""
    last = builder.constant(np.array(1.0))
    for _ in range(12):
        last = builder.add(
            "ReduceMax", builder.add("Add", filled(builder, 1 << 23), last), builder.constant([0]), keepdims=0
        )
    return builder.add("Add", first(builder), last)


def _attention(builder: GraphBuilder) -> str:
    """Softmax over an axis that is not the last, of products of rows."""
    single = builder.cast("features", TensorProto.FLOAT)
    deep = builder.add(
        "Mul",
        builder.add("Unsqueeze", single, builder.constant([2])),
        builder.constant(np.ones((1, 1, 512), np.float32)),
    )
    soft = builder.add("Softmax", builder.add("MatMul", builder.add("Transpose", deep, perm=[0, 2, 1]), deep), axis=1)
    one = builder.add("ReduceMax", soft, builder.constant([1, 2]), keepdims=0)
    return builder.cast(builder.add("Unsqueeze", one, builder.constant([1])), TensorProto.DOUBLE)


@pytest.mark.attack("graph: memory beyond any bound")
@needs_peak
@pytest.mark.parametrize(("add", "rows"), [(_backwards, 1), (_one_after_the_other, 1), (_attention, 64)])
def test_onnxruntime_takes_no_more_than_the_gate_counts(tmp_path: Path, add: Add, rows: int) -> None:
    """The peak of a run in a process of its own is below what the gate counts, and what the allocator rounds up."""
    limits = Limits(constant_work=1 << 40, rows=rows)
    file = tmp_path / "model.onnx"
    file.write_bytes(built(add))
    counted = check_model(file.read_bytes(), "x", limits=limits).memory
    runtime = str(Path(calls_at_once.__code__.co_filename).parents[1])
    command = [sys.executable, "-c", _MEASURE, str(file), runtime, str(rows)]
    measured = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 10 << 20 < measured < 2 * counted + (16 << 20)


def test_nodes_run_in_the_order_of_the_file(tmp_path: Path) -> None:
    """The gate counts memory for that order; onnxruntime's own would begin at the result."""
    names: list[str] = []

    def add(builder: GraphBuilder) -> str:
        value = _backwards(builder)
        for place, node in enumerate(builder._nodes):
            node.name = f"n{place}"
            names.append(node.name)
        return value

    data = built(add)
    options: list[onnxruntime.SessionOptions] = []
    original = onnxruntime.SessionOptions

    class Profiled(original):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.enable_profiling = True
            self.profile_file_prefix = str(tmp_path / "profile")
            options.append(self)

    onnxruntime.SessionOptions = Profiled
    try:
        session = load_session(data, "x")
    finally:
        onnxruntime.SessionOptions = original
    session.run(None, {"features": np.zeros((1, FEATURES))})
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = [event["name"].removesuffix("_kernel_time") for event in events if event.get("cat") == "Node"]
    assert options
    assert [name for name in ran if name in names] == names


def test_calls_at_one_time_share_the_memory() -> None:
    """Small graphs run on every core, but at most eight, one that takes a gigabyte on two."""
    every = calls_at_once(0)
    assert 1 <= every <= 8
    assert calls_at_once(10 << 20) == every
    assert calls_at_once(1 << 30) == min(2, every)
    assert calls_at_once(3 << 30) == 1


# --- work -----------------------------------------------------------------------------------------------------------------


def _powers(builder: GraphBuilder) -> str:
    value = filled(builder, 1 << 23)
    for _ in range(6):
        value = builder.add("Pow", value, builder.constant(np.array(1.0001)))
    return with_score(builder, value)


def _products(builder: GraphBuilder) -> str:
    left = filled(builder, 2048, 2048)
    return with_score(builder, builder.add("MatMul", left, left))


def _recurrence(builder: GraphBuilder) -> str:
    zeros = [filled(builder, *shape) for shape in ((1 << 21, 1, 1), (1, 3, 1), (1, 3, 1))]
    single = [builder.cast(zero, TensorProto.FLOAT) for zero in zeros]
    return with_score(builder, builder.cast(builder.add("GRU", *single, hidden_size=1), TensorProto.DOUBLE))


def _sorting(builder: GraphBuilder) -> str:
    values = filled(builder, 1 << 22)
    names = ["best", "places"]
    builder._nodes.append(helper.make_node("TopK", [values, builder.constant([1 << 22])], names))
    return with_score(builder, "best")


def _small_products(builder: GraphBuilder) -> str:
    left = filled(builder, 1 << 22, 1, 1)
    return with_score(builder, builder.add("MatMul", left, left))


def _eight_thousand_nodes(builder: GraphBuilder) -> str:
    """Two gigabytes of numbers eight thousand times: three hours of one core for a single row."""
    value = filled(builder, 1 << 24)
    for _ in range(8006):
        value = builder.add("Tanh", value)
    return with_score(builder, value)


def _many_small_nodes(builder: GraphBuilder) -> str:
    value = first(builder)
    for _ in range(70_000):
        value = builder.add("Neg", value)
    return value


def _slow_for_each_row(builder: GraphBuilder) -> str:
    wide = builder.add("Expand", first(builder), builder.constant([1, 4096]))
    for _ in range(2000):
        wide = builder.add("Pow", wide, builder.constant(np.array(1.0001)))
    return builder.add("ReduceMax", wide, builder.constant([1]))


@pytest.mark.attack("graph: work beyond any bound")
@pytest.mark.parametrize(
    "add",
    [_powers, _products, _recurrence, _sorting, _small_products, _eight_thousand_nodes, _slow_for_each_row],
)
def test_work_is_bounded_whatever_it_depends_on(add: Add) -> None:
    """Nodes of constants count as much as those of rows, each by what its kernel takes at worst."""
    error = refused(add)
    assert error.code == "model.growth"
    assert "computes more than is allowed" in error.message


def test_work_is_told_apart_by_what_it_depends_on() -> None:
    """Steps per row, and steps of a call without any row."""
    summary = passes(builder_of_both)
    assert summary.constant_work >= 16 * 1000
    assert 16 * 100 <= summary.work_per_row < 16 * 400


def builder_of_both(builder: GraphBuilder) -> str:
    """1000 elements of constants, and some of each row."""
    constant = builder.add("ReduceMax", builder.add("Abs", builder.constant(np.ones(1000))), keepdims=0)
    wide = builder.add("Expand", first(builder), builder.constant([1, 100]))
    return builder.add("Add", builder.add("ReduceMax", wide, builder.constant([1])), constant)


@pytest.mark.slow
def test_many_small_nodes_count_and_run() -> None:
    """A node that computes nothing costs its call; a chain of seventy thousand is loaded and run without harm."""
    data = built(_many_small_nodes)
    assert check_model(data, "x").constant_work > 70_000 * 4000
    session = load_session(data, "x")
    session.run(None, {"features": np.zeros((1, FEATURES))})


def test_limits_of_the_kinds_of_graphs() -> None:
    """Graphs of bars have less of everything; a day at once has no more than a call of rows."""
    assert (ALPHAS.memory, ALPHAS.work, ALPHAS.constant_work) == (1 << 28, 1 << 26, 1 << 28)
    assert (WHOLE_DAY.memory, WHOLE_DAY.work) == (Limits().memory, Limits().work) == (1 << 30, 1 << 28)
