"""Running a graph."""

from __future__ import annotations

import numpy as np
import pytest

from alphaseal.errors import PolicyError
from alphaseal.gate.model import check_model
from alphaseal.scoring.session import Graph
from alphaseal_converter.nodes.builder import GraphBuilder
from small_models import FEATURES, built


def test_what_a_kernel_says_is_a_refusal() -> None:
    """A graph that loads and does not run (Trilu with a matrix for a number) is refused in our words."""

    def add(builder: GraphBuilder) -> str:
        column = builder.add("Gather", "features", builder.constant(np.array([[0]])), axis=1)
        return builder.add(
            "Squeeze", builder.add("Trilu", column, builder.constant(np.array([[0]]))), builder.constant([2])
        )

    data = built(add)
    check_model(data, "model.onnx")
    with pytest.raises(PolicyError) as caught:
        Graph(data, FEATURES, "model.onnx").run(np.zeros((3, FEATURES)))
    assert caught.value.code == "model.not_loadable"
