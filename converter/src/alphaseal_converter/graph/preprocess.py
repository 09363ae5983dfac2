"""Row-wise processors as ONNX nodes, with the operations, their order and the dtype of qlib."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from alphaseal_converter.graph.builder import GraphBuilder
from alphaseal_converter.processors import Fillna, Normalisation, RobustZScoreNorm, RowProcessor, offset_and_scale

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
