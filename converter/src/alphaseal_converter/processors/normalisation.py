"""RobustZScoreNorm, ZScoreNorm and MinMaxNorm: features less a fitted number, divided by another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from alphaseal.plain_text import listed
from alphaseal_converter.comparison.parity import Matrix
from alphaseal_converter.decode import frames as decode
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.pickles.records import Record
from alphaseal_converter.processors.processor import WIDE, Columns, RowProcessor, refuse_columns

FloatingArray = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Normalisation(RowProcessor):
    """``(x - offset) / divisor``; NaN stays NaN.

    Fitted numbers are [columns] each, of the one dtype that qlib computes in: float32 where all columns are float32,
    else float64.
    """

    columns: tuple[str, ...]
    fitted: ClassVar[Mapping[str, str]] = {"mean": "mean_train", "scale": "std_train"}
    """The fitted numbers: name here -> in qlib's object."""

    @classmethod
    def read(cls, record: Record, where: str) -> Normalisation:
        """Feature columns in fitted order, and the fitted arrays cut to them (label columns are left out)."""
        wanted = ("cols", *cls.fitted.values())
        missing = [name for name in wanted if record.get(name) is None]
        if missing:
            raise RefusalError(
                "processor.not_fitted",
                "the processor was never fitted",
                where=where,
                expected=", ".join(wanted),
                found=f"no {', '.join(missing)}",
            )
        index = decode.as_index(record.get("cols"), where=where)
        # The group of a one-level header counts as feature.
        groups = index.levels[0] if len(index.levels) > 1 else ["feature"] * len(index)
        arrays = {name: decode.as_array(record.get(stored), where=where) for name, stored in cls.fitted.items()}
        wrong = [cls.fitted[name] for name, array in arrays.items() if array.shape != (len(index),)]
        if wrong:
            raise RefusalError(
                "processor.columns",
                f"{', '.join(wrong)} and the columns differ in number",
                where=where,
                expected=str(len(index)),
            )
        kept = np.array([number for number, group in enumerate(groups) if str(group) != "label"], dtype=np.intp)
        columns = tuple(str(index.levels[-1][number]) for number in kept)
        return cls(columns, **{name: array[kept] for name, array in arrays.items()}, **cls.options(record))

    @classmethod
    def options(cls, record: Record) -> dict[str, Any]:
        """What else there is to know of qlib's object."""
        return {}

    @property
    def numbers(self) -> dict[str, FloatingArray]:
        return {name: getattr(self, name) for name in self.fitted}

    @property
    def dtype(self) -> np.dtype[Any]:
        return next(iter(self.numbers.values())).dtype

    def offset_and_scale(self) -> tuple[FloatingArray, FloatingArray]:
        """What is subtracted and what is divided by, [columns] each, in the processor's dtype as qlib computes them."""
        offset, scale = self.numbers.values()
        return offset, scale

    @property
    def limit(self) -> float | None:
        """The largest size of a result, which larger ones and infinite ones are set to."""
        return None

    @property
    def infinite(self) -> str | None:
        return None if self.limit is None else "is clipped like any other"

    def describe(self) -> dict[str, Any]:
        numbers = {name: values.tolist() for name, values in self.numbers.items()}
        return {**super().describe(), "dtype": str(self.dtype), **numbers}

    def in_numpy(self, values: Matrix) -> Matrix:
        offset, scale = self.offset_and_scale()
        scaled: Matrix = (values.astype(self.dtype) - offset) / scale
        if self.limit is not None:
            scaled = np.clip(scaled, self.dtype.type(-self.limit), self.dtype.type(self.limit))
        return scaled.astype(np.float64)

    def in_onnx(self, builder: GraphBuilder, features: str) -> str:
        offset, scale = self.offset_and_scale()
        single = self.dtype == np.float32
        values = builder.cast(features, TensorProto.FLOAT) if single else features
        values = builder.add("Sub", values, builder.constant(offset))
        values = builder.add("Div", values, builder.constant(scale))
        if self.limit is not None:
            # Comparisons with NaN are false, so NaN passes; what Clip does with NaN the standard leaves open.
            high = builder.constant(np.array(self.limit, dtype=self.dtype))
            low = builder.constant(np.array(-self.limit, dtype=self.dtype))
            values = builder.add("Where", builder.add("Greater", values, high), high, values)
            values = builder.add("Where", builder.add("Less", values, low), low, values)
        return builder.cast(values, TensorProto.DOUBLE) if single else values

    def after(self, columns: Columns) -> Columns:
        return (WIDE,) * len(columns) if self.dtype == np.float64 else columns

    def reduced(self, names: tuple[str, ...], selected_later: bool, where: str) -> Normalisation:
        for name, values in self.numbers.items():
            if values.dtype not in (np.float32, np.float64) or values.dtype != self.dtype:
                raise RefusalError(
                    "processor.dtype",
                    f"the fitted {name} is of a dtype that qlib does not fit",
                    where=where,
                    expected="float32 or float64, the same for all",
                    found=str(values.dtype),
                )
            if values.shape != (len(self.columns),):
                raise RefusalError(
                    "processor.columns",
                    f"the fitted {name} and the columns differ in number",
                    where=where,
                    expected=f"{len(self.columns)} columns",
                    found=str(values.shape),
                )
        known = set(names)
        extra = [column for column in self.columns if column not in known]
        if extra and not selected_later:
            raise refuse_columns("the processor has columns that the model does not have", where, extra)
        if tuple(column for column in self.columns if column in known) != names:
            wrong = [name for name in names if name not in self.columns] or list(names)
            raise refuse_columns("the processor's columns are not the model's features in their order", where, wrong)
        kept = np.array([column in known for column in self.columns])
        changes: dict[str, Any] = {name: values[kept] for name, values in self.numbers.items()}
        result = replace(self, columns=names, **changes)
        offset, scale = result.offset_and_scale()
        usable = np.isfinite(offset) & np.isfinite(scale) & (scale > 0)
        if not usable.all():
            raise RefusalError(
                "processor.bad_scale",
                "fitted numbers are missing, infinite or zero: the model was trained on constant or empty inputs",
                where=where,
                expected="finite numbers and scales above zero",
                found=listed([name for name, good in zip(names, usable, strict=True) if not good], most=10),
                next_step="check fit_start_time and fit_end_time against the dates of the data, and train again",
            )
        return result


@dataclass(frozen=True, eq=False)
class ZScoreNorm(Normalisation):
    """``(x - mean) / scale``; constant columns were fitted as mean 0 and scale 1 by qlib and pass unchanged."""

    mean: FloatingArray
    scale: FloatingArray
    words = "subtract the fitted mean, divide by the fitted deviation"


@dataclass(frozen=True, eq=False)
class RobustZScoreNorm(Normalisation):
    """``(x - mean) / scale``, then clipped to -3..3 if `clip`; infinity is clipped.

    `mean` is the fitted median (``mean_train``), `scale` the fitted ``std_train``.
    """

    mean: FloatingArray
    scale: FloatingArray
    clip: bool = True
    words = "subtract the fitted median, divide by the fitted scale; where clipping is on, limit to -3..3"

    @classmethod
    def options(cls, record: Record) -> dict[str, Any]:
        return {"clip": bool(record.get("clip_outlier", True))}

    @property
    def limit(self) -> float | None:
        return 3.0 if self.clip else None


@dataclass(frozen=True, eq=False)
class MinMaxNorm(Normalisation):
    """``(x - minimum) / (maximum - minimum)``; constant columns were fitted as 0 and 1 by qlib and pass unchanged."""

    minimum: FloatingArray
    maximum: FloatingArray
    fitted = {"minimum": "min_val", "maximum": "max_val"}
    words = "subtract the fitted minimum, divide by the fitted range"

    def offset_and_scale(self) -> tuple[FloatingArray, FloatingArray]:
        with np.errstate(invalid="ignore", over="ignore"):
            return self.minimum, np.subtract(self.maximum, self.minimum)
