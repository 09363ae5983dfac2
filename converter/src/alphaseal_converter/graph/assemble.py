"""The graphs of a bundle: raw feature values in, one score per row out; or rows in, processed rows out."""

from __future__ import annotations

from collections.abc import Sequence

from alphaseal.errors import UsageError
from alphaseal_converter.graph.nodes.builder import GraphBuilder
from alphaseal_converter.graph.nodes.preprocess import add_processors
from alphaseal_converter.graph.trees.tree_ensemble import add_tree_ensemble
from alphaseal_converter.models.trees import TreeEnsembleModel
from alphaseal_converter.processors.kinds import Normalisation, RowProcessor


def build_scoring_graph(processors: Sequence[RowProcessor], model: TreeEnsembleModel, n_features: int) -> bytes:
    """A serialised ONNX model: `features` double [rows, n_features] to `score` double [rows, 1].

    `processors` are those that `check_processors` gave back: each normalisation covers the features in model order.
    Equal arguments give equal bytes.  Raises UsageError `graph.feature_count` where the counts differ.
    """
    counts = [len(processor.columns) for processor in processors if isinstance(processor, Normalisation)]
    if any(count != n_features for count in [model.n_features, *counts]):
        raise UsageError(
            "graph.feature_count",
            "model, processors and feature list differ in the number of features",
            expected=str(n_features),
            found=", ".join(str(count) for count in [model.n_features, *counts]),
        )
    builder = GraphBuilder()
    score = add_tree_ensemble(builder, model, add_processors(builder, processors, "features"))
    serialised: bytes = builder.model(n_features, score).SerializeToString(deterministic=True)
    return serialised


def build_row_graph(processors: Sequence[RowProcessor], n_features: int) -> bytes:
    """A serialised ONNX model of the processors alone: `features` double [rows, n_features] to `values`, the same shape.

    For stages that others follow.  Raises as `build_scoring_graph`.
    """
    counts = [len(processor.columns) for processor in processors if isinstance(processor, Normalisation)]
    if any(count != n_features for count in counts):
        raise UsageError(
            "graph.feature_count",
            "processors and feature list differ in the number of features",
            expected=str(n_features),
        )
    builder = GraphBuilder()
    values = add_processors(builder, processors, "features")
    serialised: bytes = builder.row_model(n_features, values).SerializeToString(deterministic=True)
    return serialised
