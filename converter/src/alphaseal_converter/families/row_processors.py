"""Fitted processors in numpy, as qlib 0.9.7 computes them: the side of the comparison that is not ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..parity import Matrix
from ..processors import Fillna, RobustZScoreNorm, RowProcessor, offset_and_scale

CLIP = 3.0


def apply_processors(values: Matrix, processors: Sequence[RowProcessor]) -> Matrix:
    """Model inputs float64 [rows, features] of raw values; arithmetic runs in each processor's dtype.

    Formulas: ``qlib.data.dataset.processor``, `__call__` of RobustZScoreNorm, ZScoreNorm, MinMaxNorm and Fillna.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        for processor in processors:
            if isinstance(processor, Fillna):
                values = np.where(np.isnan(values), processor.value, values)
                continue
            offset, scale = offset_and_scale(processor)
            scaled = (values.astype(processor.dtype) - offset) / scale
            if isinstance(processor, RobustZScoreNorm) and processor.clip:
                scaled = np.clip(scaled, processor.dtype.type(-CLIP), processor.dtype.type(CLIP))
            values = scaled.astype(np.float64)
    return values


def raw_space(processors: Sequence[RowProcessor], feature_count: int) -> tuple[Matrix, Matrix]:
    """(shift, scale), float64 [features] each: ``raw = model_input * scale + shift`` undoes the normalisations."""
    shift, scale = np.zeros(feature_count), np.ones(feature_count)
    for processor in processors:
        if not isinstance(processor, Fillna):
            offset, divisor = (part.astype(np.float64) for part in offset_and_scale(processor))
            shift, scale = shift + offset * scale, scale * divisor
    return shift, scale
