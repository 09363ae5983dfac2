"""The parts of a graph: inputs and attributes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from alphaseal_converter.nodes.builder import GraphBuilder
from small_models import built, changed, plain_trees, refusal_of


def test_values_of_attributes_are_finite() -> None:
    """A tensor that fills others is no way to bring NaN in."""

    def add(builder: GraphBuilder) -> str:
        return builder.add("ConstantOfShape", builder.constant([2]), value=numpy_helper.from_array(np.array([np.nan])))

    assert "an attribute that is NaN" in str(refusal_of(built(add)))


def test_inputs_of_a_node_are_counted() -> None:
    """One more than there may be; the list of operators allows so many for Concat."""
    data = built(lambda builder: builder.add("Concat", *["features"] * 4097, axis=1))
    assert (refusal_of(data).code, "too many inputs" in refusal_of(data).message) == ("model.limit", True)


@pytest.mark.parametrize("field", ["name", "type"])
def test_inputs_have_a_name_and_a_shape(field: str) -> None:
    """An input that does not say what it is."""
    data = changed(plain_trees(), lambda model: model.graph.input[0].ClearField(field))
    assert "without name or shape" in str(refusal_of(data))
