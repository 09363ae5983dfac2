"""The graphs of a bundle: raw feature values in, one score per row out; or rows in, processed rows out."""

from __future__ import annotations

from collections.abc import Sequence

from alphaseal_converter.graph.trees.tree_ensemble import add_tree_ensemble
from alphaseal_converter.models.trees import TreeEnsembleModel
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.processors.processor import RowProcessor
from alphaseal_converter.processors.sequence import add_processors, check_feature_count


def build_scoring_graph(processors: Sequence[RowProcessor], model: TreeEnsembleModel, n_features: int) -> bytes:
    """A serialised ONNX model: `features` double [rows, n_features] to `score` double [rows, 1].

    `processors` come from `stages_of`: each normalisation covers the features in model order.
    Equal arguments give equal bytes.  Raises UsageError `graph.feature_count` where the counts differ.
    """
    check_feature_count(processors, n_features, model.n_features)
    builder = GraphBuilder()
    score = add_tree_ensemble(builder, model, add_processors(builder, processors, "features"))
    return builder.model(n_features, score)


def build_row_graph(processors: Sequence[RowProcessor], n_features: int) -> bytes:
    """A serialised ONNX model of the processors alone: `features` double [rows, n_features] to `values`, the same shape.

    For stages that others follow.  Raises as `build_scoring_graph`.
    """
    check_feature_count(processors, n_features)
    builder = GraphBuilder()
    values = add_processors(builder, processors, "features")
    return builder.row_model(n_features, values)
