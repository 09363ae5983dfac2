"""What a node of trees takes."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from small_models import changed, ensemble, plain_trees, refusal_of


def test_trees_on_windows_are_refused() -> None:
    """Trees take a matrix."""

    def change(model: ModelProto) -> None:
        trees = ensemble(model)
        model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
        model.graph.node.insert(0, helper.make_node("Unsqueeze", [trees.input[0], "first"], ["cube"]))
        trees.input[0] = "cube"

    assert "trees take a matrix" in str(refusal_of(changed(plain_trees(), change)))
