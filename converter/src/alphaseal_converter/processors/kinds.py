"""Fitted qlib processors as typed values, and the check that a bundle may carry them.

Formulas and attribute meanings are those of qlib 0.9.7, ``qlib.data.dataset.processor``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alphaseal.plain_text import listed
from alphaseal_converter.errors import RefusalError

FloatingArray = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RobustZScoreNorm:
    """``(x - mean) / scale``, then clipped to -3..3 if `clip`; NaN stays NaN, infinity is clipped.

    `mean` is the fitted median (``mean_train``), `scale` the fitted ``std_train``, both [columns] of the dtype that
    qlib computes in: float32 where all columns are float32, else float64.
    """

    columns: tuple[str, ...]
    mean: FloatingArray
    scale: FloatingArray
    clip: bool = True

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.mean.dtype

    def describe(self) -> dict[str, Any]:
        return {**_describe(self, mean=self.mean, scale=self.scale), "clip": self.clip}


@dataclass(frozen=True, eq=False)
class ZScoreNorm:
    """``(x - mean) / scale``; constant columns were fitted as mean 0 and scale 1 by qlib and pass unchanged."""

    columns: tuple[str, ...]
    mean: FloatingArray
    scale: FloatingArray

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.mean.dtype

    def describe(self) -> dict[str, Any]:
        return _describe(self, mean=self.mean, scale=self.scale)


@dataclass(frozen=True, eq=False)
class MinMaxNorm:
    """``(x - minimum) / (maximum - minimum)``; constant columns were fitted as 0 and 1 by qlib and pass unchanged."""

    columns: tuple[str, ...]
    minimum: FloatingArray
    maximum: FloatingArray

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.minimum.dtype

    def describe(self) -> dict[str, Any]:
        return _describe(self, minimum=self.minimum, maximum=self.maximum)


@dataclass(frozen=True)
class Fillna:
    """NaN becomes `value`; infinity stays.  `columns` None means all features."""

    columns: tuple[str, ...] | None
    value: float

    def describe(self) -> dict[str, Any]:
        columns = None if self.columns is None else list(self.columns)
        return {"class": "Fillna", "columns": columns, "value": self.value}


@dataclass(frozen=True)
class FilterCol:
    """Only `columns` go on, in the order they had before."""

    columns: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        return {"class": "FilterCol", "columns": list(self.columns)}


@dataclass(frozen=True)
class DropCol:
    """All but `columns` go on."""

    columns: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        return {"class": "DropCol", "columns": list(self.columns)}


@dataclass(frozen=True)
class TanhProcess:
    """``tanh(x - 1)`` in the dtype of each column, for all columns but those whose name contains LABEL.

    `dtypes` is the dtype of each feature, None for one that stays as it is; it is known where the whole pipeline is
    (`stages_of`), so a processor as it is read has none.
    """

    dtypes: tuple[Literal["float32", "float64"] | None, ...] | None = None

    def describe(self) -> dict[str, Any]:
        return {"class": "TanhProcess", "dtypes": None if self.dtypes is None else list(self.dtypes)}


@dataclass(frozen=True)
class CrossSection:
    """A processor over all stocks of a day, on all features; `method` is that of CSZScoreNorm, else None."""

    name: Literal["CSZScoreNorm", "CSRankNorm", "CSZFillna", "ProcessInf"]
    method: Literal["zscore", "robust"] | None = None

    def describe(self) -> dict[str, Any]:
        return {"class": self.name, "method": self.method}


@dataclass(frozen=True)
class DropnaProcessor:
    """Rows that miss a value are gone: of the features where `features`, of the label where `label`."""

    features: bool
    label: bool

    def describe(self) -> dict[str, Any]:
        return {"class": "DropnaProcessor", "features": self.features, "label": self.label}


Normalisation = RobustZScoreNorm | ZScoreNorm | MinMaxNorm
RowProcessor = Normalisation | Fillna | TanhProcess
"""What becomes nodes of the graph."""
StageProcessor = CrossSection | DropnaProcessor
"""What becomes a stage of its own."""
Processor = RowProcessor | StageProcessor | FilterCol | DropCol


def check_processors(processors: Sequence[Processor], features: Sequence[str]) -> tuple[RowProcessor, ...]:
    """As `check_sequence`, for pipelines whose processors all go into the graph.

    Raises RefusalError as that does, and `processor.stage` for one that `stages_of` must have cut out before.
    """
    result = []
    for processor in check_sequence(processors, features):
        if isinstance(processor, StageProcessor | TanhProcess):
            found = str(processor.describe()["class"])
            raise RefusalError("processor.stage", "the processor cannot be part of a graph alone", found=found)
        result.append(processor)
    return tuple(result)


def check_sequence(
    processors: Sequence[Processor], features: Sequence[str]
) -> tuple[RowProcessor | StageProcessor, ...]:
    """The processors that change values or rows, in order, reduced to `features` in model order.

    Every normalisation covers all features in model order; it may have more columns only where a later FilterCol or
    DropCol removes them.  A Fillna that fills no feature (label only) is left out.

    Raises RefusalError: `processor.columns`, `processor.bad_scale`, `processor.dtype` (parameters of mixed or foreign
    dtype, or a float32 step after a float64 one), `processor.bad_fill`.
    """
    names = tuple(features)
    result: list[RowProcessor | StageProcessor] = []
    for position, processor in enumerate(processors):
        where = f"infer processor {position} ({type(processor).__name__})"
        selected_later = any(isinstance(later, FilterCol | DropCol) for later in processors[position:])
        if isinstance(processor, FilterCol | DropCol):
            _check_selection(processor, names, where)
        elif isinstance(processor, Fillna):
            fill = _check_fill(processor, names, where)
            result.extend([] if fill is None else [fill])
        elif isinstance(processor, DropnaProcessor):
            if processor.features and selected_later:
                raise _refuse_columns("rows are dropped by columns that a later selection takes away", where, names)
            result.append(processor)
        elif isinstance(processor, TanhProcess | CrossSection):
            # These treat every column alone, so columns that a later selection takes away do not matter.
            result.append(processor)
        else:
            result.append(_check_normalisation(processor, names, selected_later, where))
    _check_dtypes(result)
    return tuple(result)


def _check_selection(processor: FilterCol | DropCol, names: tuple[str, ...], where: str) -> None:
    listed = set(processor.columns)
    lost = [name for name in names if (name in listed) == isinstance(processor, DropCol)]
    if lost:
        raise _refuse_columns("the selection takes away features of the model", where, lost)


def _check_fill(processor: Fillna, names: tuple[str, ...], where: str) -> Fillna | None:
    # pandas rounds the value to the column's dtype; one that float32 holds exactly is the same for every dtype.
    with np.errstate(over="ignore"):
        rounded = float(np.float32(processor.value))
    if not np.isfinite(rounded) or rounded != processor.value:
        raise RefusalError(
            "processor.bad_fill",
            "the fill value is not finite or is rounded by float32 columns",
            where=where,
            expected="a finite value that float32 holds exactly",
            found=str(processor.value),
        )
    filled = names if processor.columns is None else [name for name in names if name in set(processor.columns)]
    if not filled:
        return None
    if len(filled) != len(names):
        left_out = [name for name in names if name not in set(filled)]
        raise _refuse_columns("missing values are filled in some features only", where, left_out)
    return Fillna(columns=None, value=processor.value)


def _check_normalisation(
    processor: Normalisation, names: tuple[str, ...], selected_later: bool, where: str
) -> Normalisation:
    parameters = _parameters(processor)
    for name, values in parameters.items():
        if values.dtype not in (np.float32, np.float64) or values.dtype != processor.dtype:
            raise RefusalError(
                "processor.dtype",
                f"the fitted {name} is of a dtype that qlib does not fit",
                where=where,
                expected="float32 or float64, the same for all",
                found=str(values.dtype),
            )
        if values.shape != (len(processor.columns),):
            expected = f"{len(processor.columns)} columns"
            raise RefusalError(
                "processor.columns",
                f"the fitted {name} and the columns differ in number",
                where=where,
                expected=expected,
                found=str(values.shape),
            )
    known = set(names)
    extra = [column for column in processor.columns if column not in known]
    if extra and not selected_later:
        raise _refuse_columns("the processor has columns that the model does not have", where, extra)
    if tuple(column for column in processor.columns if column in known) != names:
        wrong = [name for name in names if name not in processor.columns] or list(names)
        raise _refuse_columns("the processor's columns are not the model's features in their order", where, wrong)
    kept = np.array([column in known for column in processor.columns])
    changes: dict[str, Any] = {name: values[kept] for name, values in parameters.items()}
    reduced = replace(processor, columns=names, **changes)
    _check_scale(reduced, where)
    return reduced


def _check_scale(processor: Normalisation, where: str) -> None:
    offset, scale = offset_and_scale(processor)
    usable = np.isfinite(offset) & np.isfinite(scale) & (scale > 0)
    if not usable.all():
        bad = [name for name, good in zip(processor.columns, usable, strict=True) if not good]
        raise RefusalError(
            "processor.bad_scale",
            "fitted numbers are missing, infinite or zero: the model was trained on constant or empty inputs",
            where=where,
            expected="finite numbers and scales above zero",
            found=listed(bad, most=10),
            next_step="check fit_start_time and fit_end_time against the dates of the data, and train again",
        )


def _check_dtypes(processors: Sequence[RowProcessor | StageProcessor]) -> None:
    """qlib's frames widen from float32 to float64 and never back; between normalisations only CSRankNorm widens."""
    dtypes: list[np.dtype[Any]] = []
    for processor in processors:
        if isinstance(processor, CrossSection) and processor.name == "CSRankNorm":
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


def offset_and_scale(processor: Normalisation) -> tuple[FloatingArray, FloatingArray]:
    """What is subtracted and what is divided by, [columns] each, in the processor's dtype as qlib computes them."""
    if isinstance(processor, MinMaxNorm):
        with np.errstate(invalid="ignore", over="ignore"):
            return processor.minimum, np.subtract(processor.maximum, processor.minimum)
    return processor.mean, processor.scale


def _parameters(processor: Normalisation) -> dict[str, FloatingArray]:
    if isinstance(processor, MinMaxNorm):
        return {"minimum": processor.minimum, "maximum": processor.maximum}
    return {"mean": processor.mean, "scale": processor.scale}


def _describe(processor: Normalisation, **parameters: FloatingArray) -> dict[str, Any]:
    numbers: Mapping[str, list[float]] = {name: values.tolist() for name, values in parameters.items()}
    columns = list(processor.columns)
    return {"class": type(processor).__name__, "columns": columns, "dtype": str(processor.dtype), **numbers}


def _refuse_columns(message: str, where: str, columns: Sequence[str]) -> RefusalError:
    return RefusalError("processor.columns", message, where=where, found=listed(columns, most=10))
