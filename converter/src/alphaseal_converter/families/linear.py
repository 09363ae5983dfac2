"""qlib's LinearModel (ols, ridge, lasso, nnls): ``x @ coef_ + intercept_``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from alphaseal.format.manifest import Bound
from alphaseal_converter.comparison.parity import Judge, Matrix, Vector
from alphaseal_converter.decode.frames import as_array, as_plain
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import Importance, TrainedModel
from alphaseal_converter.graph.sklearn_steps import build_chain_graph
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.models.sklearn.estimators import as_plain_array
from alphaseal_converter.models.sklearn.rounding import row_rounding
from alphaseal_converter.models.sklearn.steps import Chain, Linear, magnitude
from alphaseal_converter.models.trees import malformed
from alphaseal_converter.processors.processor import RowProcessor
from alphaseal_converter.processors.sequence import apply_processors

TYPICAL_INPUT = 8.0
"""Normalised inputs are of this size at most; rounding errors of a sum grow with its terms, not with the sum."""


def rounding_bound(chain: Chain, terms: int, single: bool) -> Bound:
    """2e-15 of the score, or the rounding of a sum of `terms` products: two libraries add in different orders."""
    unit, relative = (2.0**-24, 1e-6) if single else (2.0**-53, 2e-15)
    absolute = 2 * (terms + 4) * unit * magnitude(chain, TYPICAL_INPUT)
    kind = "float32" if single else "double"
    text = f"rounding of sums of {terms} products in {kind}; libraries add them in different orders"
    return Bound(ulp=None, relative=relative, absolute=max(absolute, 2.0**-1000), text=text)


def row_rounding_of(chain: Chain, single: bool) -> Callable[[Sequence[RowProcessor]], Callable[[Matrix], Vector]]:
    """`TrainedModel.rounding` of a chain."""

    def behind(processors: Sequence[RowProcessor]) -> Callable[[Matrix], Vector]:
        return lambda values: row_rounding(chain, apply_processors(values, processors), single)

    return behind


def read(record: ModelRecord, where: str) -> TrainedModel:
    """The trained model of a LinearModel record.

    Coefficients of float32 say that qlib's table was float32: then it multiplies and adds in float32, and so do we.
    """
    fitted = record.record.get("coef_")
    if fitted is None:
        raise RefusalError("model.untrained", "the LinearModel was never fitted", where=where)
    raw = as_array(fitted, where=where)
    if raw.ndim != 1 or not len(raw) or raw.dtype not in (np.float32, np.float64):
        raise malformed(
            "coef_ is no row of numbers", where, "[features], float32 or float64", f"{raw.shape}, {raw.dtype}"
        )
    intercept = as_plain_array(record.record.get("intercept_", 0.0), where)
    if not np.isfinite(raw).all() or intercept.size != 1 or not np.isfinite(intercept).all():
        raise malformed("coefficients or intercept are not one row of finite numbers", where)
    single = raw.dtype == np.float32
    step = Linear(None, raw.astype(np.float64), float(intercept.ravel()[0]))
    count = len(raw)
    return TrainedModel(
        family="linear",
        class_name=str(record),
        framework="qlib",
        road="alphaseal.linear",
        feature_count=count,
        used=None,
        thresholds=[np.empty(0)] * count,
        bound=rounding_bound((step,), count, single),
        facts={
            "estimator": str(as_plain(record.record.get("estimator"), where=where)),
            "coefficients": count,
            "dtype": str(raw.dtype),
        },
        graph=lambda processors: build_chain_graph(processors, (step,), count, single),
        judge=lambda processors: _judge(step, single, processors),
        rounding=row_rounding_of((step,), single),
        importance=Importance(np.abs(step.coefficients), "absolute coefficient of the scaled feature"),
    )


def _judge(step: Linear, single: bool, processors: Sequence[RowProcessor]) -> Judge:
    """The one line of ``LinearModel.predict`` in numpy, which is what qlib computes with."""
    dtype = np.float32 if single else np.float64
    coefficients, intercept = step.coefficients.astype(dtype), dtype(step.intercept)

    def predict(values: Matrix) -> Vector:
        with np.errstate(invalid="ignore", over="ignore"):
            inputs = apply_processors(values, processors).astype(dtype)
            return np.asarray(inputs @ coefficients + intercept, dtype=np.float64)

    return Judge(f"numpy {np.__version__}, as LinearModel.predict", predict)
