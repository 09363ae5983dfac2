"""Several processors after one another: the check that a bundle may carry them, what they do to rows, and its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alphaseal.errors import UsageError
from alphaseal_converter.comparison.parity import Matrix
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.processors.cross_section import CrossSection
from alphaseal_converter.processors.normalisation import Normalisation
from alphaseal_converter.processors.processor import Processor, RowProcessor
from alphaseal_converter.processors.selection import Selection


def check_sequence(processors: Sequence[Processor], features: Sequence[str]) -> tuple[Processor, ...]:
    """The processors that change values or rows, in order, reduced to `features` in model order.

    Every normalisation covers all features in model order; it may have more columns only where a later FilterCol or
    DropCol removes them.

    Raises RefusalError: `processor.columns`, `processor.bad_scale`, `processor.dtype` (parameters of mixed or foreign
    dtype, or a float32 step after a float64 one), `processor.bad_fill`.
    """
    names = tuple(features)
    reduced = (
        processor.reduced(
            names,
            any(isinstance(later, Selection) for later in processors[position:]),
            f"infer processor {position} ({type(processor).__name__})",
        )
        for position, processor in enumerate(processors)
    )
    result = tuple(processor for processor in reduced if processor is not None)
    _check_dtypes(result)
    return result


def _check_dtypes(processors: Sequence[Processor]) -> None:
    """qlib's frames widen from float32 to float64 and never back; between normalisations only CSRankNorm widens."""
    dtypes: list[np.dtype[Any]] = []
    for processor in processors:
        if isinstance(processor, CrossSection) and processor.ranks:
            dtypes = [np.dtype(np.float64)]
        elif isinstance(processor, Normalisation):
            dtypes.append(processor.dtype)
        if np.dtype(np.float64) in dtypes and np.dtype(np.float32) in dtypes:
            raise RefusalError(
                "processor.dtype",
                "normalisations of one model were fitted in different dtypes",
                where="infer processors",
                found=", ".join(str(dtype) for dtype in dtypes),
            )


def check_feature_count(processors: Sequence[RowProcessor], n_features: int, *others: int) -> None:
    """UsageError `graph.feature_count` unless each normalisation covers the model's features, and `others` are as many."""
    fitted = (len(processor.columns) for processor in processors if isinstance(processor, Normalisation))
    counts = [*others, *fitted]
    if any(count != n_features for count in counts):
        raise UsageError(
            "graph.feature_count",
            "model and processors differ in the number of features",
            expected=str(n_features),
            found=", ".join(str(count) for count in counts),
        )


def apply_processors(values: Matrix, processors: Sequence[RowProcessor]) -> Matrix:
    """Model inputs float64 [rows, features] of raw values; arithmetic runs in each processor's dtype."""
    with np.errstate(over="ignore", invalid="ignore"):
        for processor in processors:
            values = processor.in_numpy(values)
    return values


def add_processors(builder: GraphBuilder, processors: Sequence[RowProcessor], features: str) -> str:
    """Adds nodes from `features` (double [rows, features] or [rows, days, features]) to the processed ones (same shape).

    Between processors the values are double: every float32 is one, so going back and forth changes nothing.
    """
    for processor in processors:
        features = processor.in_onnx(builder, features)
    return features


def raw_space(processors: Sequence[RowProcessor], feature_count: int) -> tuple[Matrix, Matrix]:
    """(shift, scale), float64 [features] each: ``raw = model_input * scale + shift`` undoes the normalisations (a tanh is left as it is)."""
    shift, scale = np.zeros(feature_count), np.ones(feature_count)
    for processor in processors:
        if isinstance(processor, Normalisation):
            offset, divisor = (part.astype(np.float64) for part in processor.offset_and_scale())
            shift, scale = shift + offset * scale, scale * divisor
    return shift, scale
