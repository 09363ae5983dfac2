"""Row-wise processors as ONNX nodes, with the operations, their order and the dtype of qlib."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from alphaseal.errors import UsageError
from alphaseal_converter.graph.nodes.builder import GraphBuilder
from alphaseal_converter.processors.kinds import (
    Fillna,
    Normalisation,
    RobustZScoreNorm,
    RowProcessor,
    TanhProcess,
    offset_and_scale,
)

_CLIP = 3.0
"""Of RobustZScoreNorm."""


def add_processors(builder: GraphBuilder, processors: Sequence[RowProcessor], features: str) -> str:
    """Adds nodes from `features` (double [rows, features] or [rows, days, features]) to the processed ones (same shape).

    Between processors the values are double: every float32 is one, so going back and forth changes nothing.
    """
    for processor in processors:
        if isinstance(processor, Fillna):
            value = builder.scalar(processor.value)
            features = builder.add("Where", builder.add("IsNaN", features), value, features)
        elif isinstance(processor, TanhProcess):
            features = _add_tanh(builder, processor, features)
        else:
            features = _add_normalisation(builder, processor, features)
    return features


def _add_normalisation(builder: GraphBuilder, processor: Normalisation, features: str) -> str:
    offset, scale = offset_and_scale(processor)
    single = processor.dtype == np.float32
    values = builder.cast(features, TensorProto.FLOAT) if single else features
    values = builder.add("Sub", values, builder.constant(offset))
    values = builder.add("Div", values, builder.constant(scale))
    if isinstance(processor, RobustZScoreNorm) and processor.clip:
        # Comparisons with NaN are false, so NaN passes; what Clip does with NaN the standard leaves open.
        high = builder.constant(np.array(_CLIP, dtype=processor.dtype))
        low = builder.constant(np.array(-_CLIP, dtype=processor.dtype))
        values = builder.add("Where", builder.add("Greater", values, high), high, values)
        values = builder.add("Where", builder.add("Less", values, low), low, values)
    return builder.cast(values, TensorProto.DOUBLE) if single else values


def _add_tanh(builder: GraphBuilder, processor: TanhProcess, features: str) -> str:
    """``tanh(x - 1)`` per column in its dtype; of float32 columns the difference is rounded, and then the double tanh.

    numpy's own float32 tanh is up to two units in the last place away from that.
    """
    dtypes = processor.dtypes
    if dtypes is None:
        raise UsageError(
            "graph.tanh", "the columns' dtypes are not known", next_step="take the processor from stages_of"
        )
    one = np.array(1.0)
    result = features
    if "float64" in dtypes:
        double = builder.add("Tanh", builder.add("Sub", features, builder.constant(one)))
        result = _choose(builder, dtypes, "float64", double, result)
    if "float32" in dtypes:
        less = builder.add("Sub", builder.cast(features, TensorProto.FLOAT), builder.constant(one.astype(np.float32)))
        single = builder.cast(builder.add("Tanh", builder.cast(less, TensorProto.DOUBLE)), TensorProto.FLOAT)
        result = _choose(builder, dtypes, "float32", builder.cast(single, TensorProto.DOUBLE), result)
    return result


def _choose(builder: GraphBuilder, dtypes: Sequence[str | None], kind: str, chosen: str, other: str) -> str:
    """`chosen` in the columns of one dtype, `other` elsewhere."""
    mask = np.array([dtype == kind for dtype in dtypes])
    return chosen if mask.all() else builder.add("Where", builder.constant(mask), chosen, other)
