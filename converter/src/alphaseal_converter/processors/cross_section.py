"""CSZScoreNorm, CSRankNorm, CSZFillna and ProcessInf: over all stocks of a day, computed by ``alphaseal.scoring.cross_section``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles.records import Global, Record
from alphaseal_converter.processors.processor import WIDE, Columns, Filling, Processor

Method = Literal["zscore", "robust"]
_METHODS: Mapping[str, Method] = {"qlib.utils.data.zscore": "zscore", "qlib.utils.data.robust_zscore": "robust"}


class CrossSection(Processor):
    """A processor over all stocks of a day, on all features."""

    ranks: ClassVar[bool] = False
    """Whether ranks come out: float64, the same numbers whatever the type of what is ranked."""

    def describe(self) -> dict[str, Any]:
        return {"method": None, **super().describe()}

    def stage(self, names: Sequence[str], columns: Columns) -> dict[str, Any]:
        """The manifest's `processor`, as the runtime reads it, for features of these names and dtypes."""
        single = [name for name, dtype in zip(names, columns, strict=True) if dtype == "float32" and not self.ranks]
        result = "float32" if "float64" not in self.after(columns) else "float64"
        return {
            **self.describe(),
            "columns": None,
            "dtype": result,
            "float32_columns": single if single and result == "float64" else None,
        }


@dataclass(frozen=True)
class CSZScoreNorm(CrossSection):
    """The z-score of the day, by mean and deviation or (`robust`) by medians; float32 only where all columns are."""

    method: Method
    words = "over all stocks of the day: subtract the mean, divide by the deviation"
    centres = True

    @classmethod
    def read(cls, record: Record, where: str) -> CSZScoreNorm:
        """qlib keeps the method as a function."""
        function = record.get("zscore_func")
        method = _METHODS.get(str(function)) if isinstance(function, Global) else None
        if method is None:
            raise RefusalError(
                "processor.unknown",
                "the z-score of the processor is not one of qlib's own",
                where=where,
                expected=" or ".join(_METHODS),
                found=str(function)[:200],
            )
        return cls(method)

    def after(self, columns: Columns) -> Columns:
        return (WIDE,) * len(columns) if "float64" in columns else columns


@dataclass(frozen=True)
class CSRankNorm(CrossSection):
    """The rank in the day, scaled."""

    words = "over all stocks of the day: replace values by their scaled ranks"
    centres = True
    ranks = True

    def after(self, columns: Columns) -> Columns:
        return (WIDE,) * len(columns)


@dataclass(frozen=True)
class CSZFillna(Filling, CrossSection):
    """The mean of the day where a value is missing."""

    becomes = "the mean of its day"


@dataclass(frozen=True)
class ProcessInf(CrossSection):
    """The mean of the day's other values where a value is infinite."""

    infinite = "becomes the mean of its day"
