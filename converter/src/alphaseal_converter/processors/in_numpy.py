"""Fitted processors in numpy, as qlib 0.9.7 computes them: the side of the comparison that is not ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alphaseal_converter.comparison.parity import Matrix
from alphaseal_converter.processors.kinds import (
    Fillna,
    Normalisation,
    RobustZScoreNorm,
    RowProcessor,
    TanhProcess,
    offset_and_scale,
)

CLIP = 3.0


def apply_processors(values: Matrix, processors: Sequence[RowProcessor]) -> Matrix:
    """Model inputs float64 [rows, features] of raw values; arithmetic runs in each processor's dtype.

    Formulas: ``qlib.data.dataset.processor``, `__call__` of RobustZScoreNorm, ZScoreNorm, MinMaxNorm, Fillna and TanhProcess.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        for processor in processors:
            if isinstance(processor, Fillna):
                values = np.where(np.isnan(values), processor.value, values)
                continue
            if isinstance(processor, TanhProcess):
                values = _tanh(values, processor)
                continue
            offset, scale = offset_and_scale(processor)
            scaled = (values.astype(processor.dtype) - offset) / scale
            if isinstance(processor, RobustZScoreNorm) and processor.clip:
                scaled = np.clip(scaled, processor.dtype.type(-CLIP), processor.dtype.type(CLIP))
            values = scaled.astype(np.float64)
    return values


def _tanh(values: Matrix, processor: TanhProcess) -> Matrix:
    columns = list(values.T)
    for position, dtype in enumerate(processor.dtypes or ()):
        if dtype is not None:
            columns[position] = np.tanh(columns[position].astype(dtype) - np.dtype(dtype).type(1)).astype(np.float64)
    result: Matrix = np.array(columns).T
    return result


def raw_space(processors: Sequence[RowProcessor], feature_count: int) -> tuple[Matrix, Matrix]:
    """(shift, scale), float64 [features] each: ``raw = model_input * scale + shift`` undoes the normalisations (a tanh is left as it is)."""
    shift, scale = np.zeros(feature_count), np.ones(feature_count)
    for processor in processors:
        if isinstance(processor, Normalisation):
            offset, divisor = (part.astype(np.float64) for part in offset_and_scale(processor))
            shift, scale = shift + offset * scale, scale * divisor
    return shift, scale
