"""What constants in the bars do to the features of a bundle, and what a reader must therefore be shown of its bars.

`alphas.scaling` derives from each expression what a constant per stock does.  Here its two judges are: thresholds that
the derivation left out must be negligible in bars of the training, which says for which constants; and what is derived
as unchanged must be unchanged in numbers.  Constants are powers of two: they change no bit but the exponent, so that
what differs is no rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date
from itertools import takewhile

import msgspec
import numpy as np
import numpy.typing as npt

from alphaseal.bars.adjustment import unit_of
from alphaseal.bars.calendar import AlphaColumns, Bars
from alphaseal.format.manifest import CrossSectionStage, DropMissingStage, FieldUnit, Scaling, Sizes, Stage
from alphaseal_converter.alphas import CompiledAlphas
from alphaseal_converter.alphas.scaling import Change, Factor, Shift
from alphaseal_converter.alphas.scaling import Scaling as Derived
from alphaseal_converter.comparison.field_units import field_unit
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.alphas import TOLERANCE, AlphaPart
from alphaseal_converter.market.bars import Market, Progress, training_days
from alphaseal_converter.processors.kinds import KINDS

LARGEST_EXPONENT = 10
"""Constants from 2^-10 to 2^10 are tried: other bases of adjustment are further apart by far less than a thousand."""
LEAST_EXPONENT = 2
"""A threshold that is only negligible between a quarter and four times the training's values is none."""
MOST_CHANGED = 1e-4
"""Share of the rows tried that may change where a threshold was left out: one odd row must not decide."""
MOST_CONTRADICTED = 0.01
"""Where nothing was left out, and more than this share changes, the derivation is wrong."""
CONTRADICTION = 1e-2
"""Of the feature's scale: logarithms of other numbers are rounded otherwise, and windows that cancel show it."""
_ROWS = 12_000

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Range:
    """The constants for which a feature is unchanged, as exponents of two."""

    low: int
    high: int

    @property
    def wide(self) -> bool:
        return self.low <= -LEAST_EXPONENT and self.high >= LEAST_EXPONENT


def with_units(
    part: AlphaPart,
    compiled: CompiledAlphas | None,
    stages: Sequence[Stage],
    unused: AbstractSet[str],
    market: Market | None,
    segment: tuple[date, date] | None,
    factors: Mapping[str, Mapping[str, Scaling]],
    progress: Progress,
) -> AlphaPart:
    """The part with the scaling of each feature and what of each field must be shown.

    `unused` are features that the model never asks for, `factors` what constants do to each compiled factor, by the
    units that it reads.  RefusalError ``alphas.scaling`` where the numbers contradict
    what was derived, which is a fault of ours.
    """
    if compiled is None:
        return part
    sample = None
    if part.description is not None and part.graph is not None and market is not None:
        progress("trying what constants in the bars do to the alpha features")
        sample = _Sample.of(AlphaColumns(part.graph, part.description), market, segment)
    found = {
        name: {unit: _judged(name, unit, derived, stages, sample) for unit, derived in scalings.items()}
        for name, scalings in compiled.scalings.items()
    }
    part = replace(part, invariance=found)
    if part.description is None:
        return part
    drops = any(isinstance(stage, DropMissingStage) for stage in stages)
    # Where rows that miss a value are dropped, a feature that no tree asks for decides too.
    wanted = [name for name in part.description.features if drops or name not in unused]
    asked = {name: read for name, read in factors.items() if drops or name not in unused}
    units = {
        field: unit
        for field in part.description.fields
        if (unit := _field_unit(field, wanted, asked, compiled, found, sample)) is not None
    }
    return replace(part, description=msgspec.structs.replace(part.description, units=units))


def _field_unit(
    field: str,
    wanted: Sequence[str],
    factors: Mapping[str, Mapping[str, Scaling]],
    compiled: CompiledAlphas,
    found: Mapping[str, Mapping[str, Scaling]],
    sample: _Sample | None,
) -> FieldUnit | None:
    """What must be shown of a field; None where no used feature sees its constant."""
    scalings = {name: found[name][unit_of(field)] for name in wanted if field in compiled.inputs[name]}
    scalings |= {name: units[unit_of(field)] for name, units in factors.items() if unit_of(field) in units}
    unit = field_unit(scalings, None if sample is None else sample.sizes(field))
    return unit if unit.seen_by or unit.smallest is not None else None


def _judged(name: str, unit: str, derived: Derived, stages: Sequence[Stage], sample: _Sample | None) -> Scaling:
    """The manifest's words on one feature and unit."""
    text = derived.text()
    if not derived.unchanged:
        absorbed = derived.exact and _absorbed(derived.change, name, stages)
        return Scaling(per_stock=False, common=absorbed, smallest=None, largest=None, text=text[:1000])
    if derived.exact:
        if sample is not None and name in sample.features:
            _check_derivation(name, unit, sample)
        return Scaling(per_stock=True, common=True, smallest=None, largest=None, text=text)
    left_out = ", ".join(sorted(derived.guards | derived.quantities))
    if sample is None or name not in sample.features:
        return _not_unchanged(f"{text} only where this is negligible, which no bars showed: {left_out}")
    tried = sample.unchanged_for(name, unit)
    if not tried.wide:
        return _not_unchanged(f"{text} only where this is negligible, and in the training's bars it is not: {left_out}")
    low, high = 2.0**tried.low, 2.0**tried.high
    # A guard is there for values that hardly occur; a quantity is always seen, and bars must show that it is small.
    alone = not derived.quantities
    text = f"{text} for constants from {low:g} to {high:g}, where this is negligible in the training's bars: {left_out}"
    return Scaling(per_stock=alone, common=alone, smallest=low, largest=high, text=text[:1000])


def _not_unchanged(text: str) -> Scaling:
    return Scaling(per_stock=False, common=False, smallest=None, largest=None, text=text[:1000])


def _check_derivation(name: str, unit: str, sample: _Sample) -> None:
    ends = (-LARGEST_EXPONENT, LARGEST_EXPONENT)
    share = max(sample.changed(name, unit, exponent, CONTRADICTION) for exponent in ends)
    if share > MOST_CONTRADICTED:
        raise RefusalError(
            "alphas.scaling",
            "a feature that no constant should change is changed by one",
            where=name,
            expected=f"the same values with {unit} times {2.0 ** ends[0]:g} and {2.0 ** ends[1]:g}",
            found=f"{share:.1%} of {len(sample)} rows differ",
            next_step="report it with the expression: this must not happen",
        )


def _absorbed(change: Change, name: str, stages: Sequence[Stage]) -> bool:
    """Whether a stage over all stocks of the day takes one constant of all of them out, before anything else sees it."""
    if not isinstance(change, Factor | Shift):
        return False
    for stage in stages:
        if isinstance(stage, DropMissingStage):
            continue
        if not isinstance(stage, CrossSectionStage):
            return False
        columns = stage.processor.get("columns")
        if KINDS[stage.processor["class"]].centres and (columns is None or name in columns):
            return True
    return False


class _Sample:
    """Rows of the training's bars, and what the graph makes of them with constants."""

    def __init__(self, columns: AlphaColumns, bars: Bars, days: Sequence[int]) -> None:
        self.features = columns.features
        self._columns, self._bars, self._days = columns, bars, days
        self._plain = self._values(bars)
        sizes = [np.abs(column[np.isfinite(column)]) for column in self._plain.T]
        self._scale = np.array([float(np.quantile(found, 0.75)) if len(found) else 0.0 for found in sizes])
        self._tried: dict[tuple[str, int], Matrix] = {}

    def __len__(self) -> int:
        return len(self._plain)

    @classmethod
    def of(cls, columns: AlphaColumns, market: Market, segment: tuple[date, date] | None) -> _Sample | None:
        """None where the market has no bars of the training."""
        try:
            bars, days = training_days(market, columns, segment, _ROWS)
        except RefusalError:
            return None
        return cls(columns, bars, days)

    def sizes(self, field: str) -> Sizes | None:
        """Of the medians of a field's positive values, one for each stock."""
        place = self._columns.fields.index(field)
        values = np.where(self._bars.present, self._bars.values[:, :, place], np.nan).astype(np.float64)
        values[~(values > 0)] = np.nan
        there = ~np.isnan(values).all(axis=1)
        if not there.any():
            return None
        found = np.nanmedian(values[there], axis=1)
        low, median, high = np.quantile(found, [0.01, 0.5, 0.99]).tolist()
        return Sizes(low=low, median=median, high=high)

    def unchanged_for(self, name: str, unit: str) -> _Range:
        """The powers of two around 1 for which hardly a row of the feature changes."""

        def reach(sign: int) -> int:
            exponents: Iterable[int] = range(1, LARGEST_EXPONENT + 1)
            good = takewhile(lambda exponent: self.changed(name, unit, sign * exponent) <= MOST_CHANGED, exponents)
            return sign * sum(1 for _ in good)

        return _Range(reach(-1), reach(1))

    def changed(self, name: str, unit: str, exponent: int, tolerance: float = TOLERANCE) -> float:
        """Share of the rows whose value is another one, by more than `tolerance` of it or of the feature's scale, with the
        fields of `unit` times 2^`exponent`."""
        key = unit, exponent
        if key not in self._tried:
            values = self._bars.values.copy()
            of_unit = [place for place, field in enumerate(self._columns.fields) if unit_of(field) == unit]
            values[:, :, of_unit] *= np.float32(2.0**exponent)
            self._tried[key] = self._values(replace(self._bars, values=values))
        place = self.features.index(name)
        plain, found = self._plain[:, place], self._tried[key][:, place]
        with np.errstate(invalid="ignore"):
            near = np.abs(found - plain) <= tolerance * np.maximum(self._scale[place], np.abs(plain))
        same = near | (found == plain) | (np.isnan(found) & np.isnan(plain))
        return float(1.0 - same.mean()) if len(same) else 0.0

    def _values(self, bars: Bars) -> Matrix:
        """float64 [rows, features]."""
        parts = [self._columns.compute(bars, day, np.flatnonzero(bars.present[:, day])) for day in self._days]
        return np.concatenate(parts).astype(np.float64)
