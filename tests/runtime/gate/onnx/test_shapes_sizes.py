"""Sizes that a graph computes: wrapped, endless and several where one belongs."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from alphaseal.errors import PolicyError
from alphaseal.gate.model import Limits, check_model
from alphaseal_converter.nodes.builder import GraphBuilder
from raising import refusal
from small_models import built


def code_of(data: bytes, *, rows_alone: bool = True) -> str:
    """The code that the gate refuses a graph with, quickly."""
    started = time.process_time()
    error = refusal(PolicyError, check_model, data, "model.onnx", limits=Limits(rows_alone=rows_alone))
    assert time.process_time() - started < 1.0
    return error.code


def _filled(builder: GraphBuilder, count: str) -> str:
    """The first feature and a sum of `count` zeros."""
    first = builder.add("Gather", "features", builder.constant([0]), axis=1)
    zeros = builder.add("ConstantOfShape", count, value=numpy_helper.from_array(np.zeros(1)))
    return builder.add("Add", first, builder.add("ReduceSum", zeros))


def _wrapped(builder: GraphBuilder) -> str:
    """2**64 + 2**30 is 2**30 in the graph; the remainder is 0 for who computes without an end, and 2**30 there."""
    large = builder.add("Mul", builder.constant([1 << 40]), builder.constant([1 << 24]))
    large = builder.add("Add", large, builder.constant([1 << 30]))
    rest = builder.add("Mod", large, builder.constant([(1 << 34) + 1]))
    return _filled(builder, builder.add("Add", rest, builder.constant([1])))


def _wrapped_by_a_cast(builder: GraphBuilder) -> str:
    """The same by a cast to 32 bits."""
    large = builder.cast(builder.constant([(1 << 32) + (1 << 28)]), TensorProto.INT32)
    rest = builder.add("Mod", large, builder.constant(np.array([17 << 24], np.int32)))
    return _filled(builder, builder.add("Add", builder.cast(rest, TensorProto.INT64), builder.constant([1])))


def _squared(builder: GraphBuilder) -> str:
    """A number of 2**60 digits, for who writes it down."""
    number = builder.constant([3])
    for _ in range(60):
        number = builder.add("Mul", number, number)
    return _filled(builder, number)


def _endless_range(builder: GraphBuilder) -> str:
    """More numbers than a length can say."""
    ends = [builder.constant(np.array(number)) for number in (-(1 << 63), (1 << 63) - 1, 1)]
    return builder.add("ReduceSum", builder.add("Range", *ends))


def _two_counts(builder: GraphBuilder) -> str:
    """TopK with two numbers where one belongs."""
    builder._nodes.append(helper.make_node("TopK", ["features", builder.constant([1, 2])], ["best", "places"], axis=1))
    return "best"


def _two_depths(builder: GraphBuilder) -> str:
    return builder.add("OneHot", "features", builder.constant([1, 2]), builder.constant([0, 1]))


def _two_starts(builder: GraphBuilder) -> str:
    return builder.add("Range", builder.constant([0, 1]), builder.constant([4]), builder.constant([1]))


def _recurrent_scalar(builder: GraphBuilder) -> str:
    numbers = [builder.constant(np.array(3)) for _ in range(3)]
    return builder.add("GRU", *numbers, hidden_size=1)


@pytest.mark.parametrize(
    "add",
    [_wrapped, _wrapped_by_a_cast, _squared, _endless_range, _two_counts, _two_depths, _two_starts, _recurrent_scalar],
)
def test_sizes_that_do_not_fit_are_refused(add: Callable[[GraphBuilder], str]) -> None:
    """Numbers that wrap round in the graph, numbers without an end, and several where one belongs."""
    assert code_of(built(add)) in ("model.shape", "model.growth", "model.signature")


def test_high_powers_of_the_rows_are_refused_where_a_call_has_one_row() -> None:
    """With windows so large that a call has one row, any power of the rows is one."""

    def add(builder: GraphBuilder) -> str:
        column = builder.add(
            "Reshape", builder.add("ReduceSum", "features", builder.constant([1, 2])), builder.constant([-1, 1])
        )
        row = value = builder.add("Squeeze", column, builder.constant([1]))
        for _ in range(6):
            value = builder.add("Mul", builder.add("Unsqueeze", value, builder.constant([-1])), row)
        return value

    assert code_of(built(add, (4096, 1024)), rows_alone=False) == "model.shape"
