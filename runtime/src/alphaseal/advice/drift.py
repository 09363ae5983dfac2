"""The day's features against the values that the model was trained on.

Per date and feature: how many values are missing or infinite, and how many of the finite ones lie outside the training
values.  `Feature.statistics` of the manifest says what training had, `drift` how far a day may be from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from alphaseal.arrow.columns import dates_array, doubles_array, floats_of, indices_of, text_array
from alphaseal.errors import InputError
from alphaseal.plain_text import listed

if TYPE_CHECKING:
    from alphaseal.format.manifest import DriftLimits, Feature
    from alphaseal.tables.features import FeatureBlock
    from alphaseal.tables.members.universe import Universe

WITHIN = "within"
NOT_KNOWN = "not_known"
MISSING = "missing"
INFINITE = "infinite"
OUTSIDE = "outside"

DRIFT_SCHEMA = pa.schema(
    [
        ("datetime", pa.date32()),
        ("feature", pa.string()),
        ("null_ratio", pa.float64()),
        ("infinite_ratio", pa.float64()),
        ("outside", pa.float64()),
        ("outside_inner", pa.float64()),
        ("verdict", pa.string()),
    ]
)
# `Schema.empty_table` imports pandas.
_NOTHING = pa.Table.from_batches([], schema=DRIFT_SCHEMA)
STRANGE = 0.5
"""Share of a date's finite values outside of the training's that is told, or refused, without being asked."""
_INNER = ("0.01", "0.99")
_ROWS = 255
"""At once: the truth values stay in the processor's cache, and a byte counts them."""
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """`table`: a row per date and feature, by date, then in model order.

    `null_ratio` and `infinite_ratio` are shares of the date's rows; `outside` and `outside_inner` shares of the finite
    values beyond the outermost training quantiles ("min" and "max"), and beyond "0.01" and "0.99" (about 0.02 in
    training); null where no value is finite or training does not tell.  `verdict` is one of this module's constants:
    `MISSING`, `INFINITE` and `OUTSIDE` (several are joined by "+") are out of range, `NOT_KNOWN` has no statistics.
    """

    table: pa.Table
    limits: DriftLimits

    def out_of_range(self) -> pa.Table:
        """The rows of the table that are beyond the manifest's limits."""
        return self.table.filter(pc.invert(pc.is_in(self.table["verdict"], value_set=text_array([WITHIN, NOT_KNOWN]))))

    def not_known(self) -> list[str]:
        """Features that cannot be judged, in model order."""
        chosen = self.table.filter(pc.is_in(self.table["verdict"], value_set=text_array([NOT_KNOWN])))
        names: list[str] = chosen["feature"].unique().to_pylist()
        return names

    def dates(self) -> int:
        """How many dates were measured."""
        return len(self.table["datetime"].unique())

    def summary(self) -> str:
        """One line."""
        features = len(self.table["feature"].unique())
        dates = self.table["datetime"].unique().to_pylist()
        beyond = self.out_of_range()["feature"].unique().to_pylist()
        period = "no date" if not dates else str(dates[0]) if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        parts = [f"{len(beyond)} of {features} features out of range on {period}"]
        if beyond:
            parts[0] += f" ({listed(beyond)})"
        if unknown := self.not_known():
            parts.append(f"{len(unknown)} not known (no training statistics)")
        return ", ".join(parts)

    def warnings(self, features: Iterable[Feature]) -> tuple[str, ...]:
        """One, where the training never had most values of a date; of those of the `features` whose ends are known."""
        known = [(feature.name, feature.statistics) for feature in features]
        ends = {name for name, said in known if said is not None and {"min", "max"} <= set(said.quantiles)}
        strange = floats_of(self.table["outside"].combine_chunks(), "float64") > STRANGE
        rows = self.table.take(indices_of(np.flatnonzero(strange))).to_pylist()
        rows = [row for row in rows if row["feature"] in ends]
        if not rows:
            return ()
        names = list(dict.fromkeys(row["feature"] for row in rows))
        dates = sorted({row["datetime"] for row in rows})
        more = f" and on {len(dates) - 1} more dates" if len(dates) > 1 else ""
        return (
            f"features of {dates[0]}{more}: most values of {listed(names)} lie outside of all that the training had; look at "
            "the source, the unit and the column of these features",
        )

    def check(self) -> None:
        """InputError `drift.out_of_range` that lists the features beyond the limits, if there are any."""
        rows = self.out_of_range().to_pylist()
        if rows:
            raise InputError(
                "drift.out_of_range",
                f"features are not what the model was trained on: {self.summary()}",
                where=f"features of {rows[0]['datetime']}",
                expected=self.allowed(),
                found=", ".join(f"{row['feature']} {row['verdict']}" for row in rows),
                next_step="look at the source of these features; without --strict the day is scored all the same",
            )

    def allowed(self) -> str:
        """The limits in words."""
        return (
            f"at most {self.limits.null_ratio:.0%} more missing or infinite values than in training, "
            f"and {self.limits.outside:.0%} of the finite ones outside the training values"
        )


def measure(
    block: FeatureBlock, features: Sequence[Feature], limits: DriftLimits, universe: Universe | None = None
) -> Drift:
    """Drift of every date of a block whose columns are those of `features`; of the stocks of `universe` where there is one.

    A date without a stock of the universe has no rows in the result.
    """
    training = _Training(features)
    chosen = None if universe is None else universe.rows(block)
    parts = []
    for date, first, last in block.spans():
        values = block.values[first:last] if chosen is None else block.values[first:last][chosen[first:last]]
        if len(values):
            parts.append(training.rows(date, values, limits))
    return Drift(pa.concat_tables([_NOTHING, *parts]), limits)


class _Training:
    """What training had, as arrays [features]; NaN where it is not known."""

    def __init__(self, features: Sequence[Feature]) -> None:
        statistics = [feature.statistics for feature in features]
        quantiles = [{} if known is None else known.quantiles for known in statistics]
        ends = [_ends(known) for known in quantiles]
        self._names = text_array([feature.name for feature in features])
        self._known = np.array([known is not None for known in statistics])
        self._null = np.array([math.nan if known is None else known.null_ratio for known in statistics])
        self._infinite = np.array([math.nan if known is None else known.infinite_ratio for known in statistics])
        self._outer = np.array(ends, np.float64).T
        self._inner = np.array([[known.get(level, math.nan) for level in _INNER] for known in quantiles]).T

    def rows(self, date: np.datetime64, values: Doubles, limits: DriftLimits) -> pa.Table:
        """The table's rows of one date; `values` float64 [rows, features], at least one row."""
        absent, counts, beyond_outer, beyond_inner = self._counts(values)
        rows = len(values)
        null, infinite = absent / rows, (rows - absent - counts) / rows
        outside, inner = (
            np.where((counts > 0) & ~np.isnan(ends).any(axis=0), beyond / np.maximum(counts, 1), np.nan)
            for beyond, ends in ((beyond_outer, self._outer), (beyond_inner, self._inner))
        )
        # Comparisons with NaN are false: what is not known is not out of range.
        found = {
            MISSING: null - self._null > limits.null_ratio,
            INFINITE: infinite - self._infinite > limits.null_ratio,
            OUTSIDE: outside > limits.outside,
        }
        verdicts = [
            "+".join(name for name, beyond in found.items() if beyond[place])
            or (WITHIN if self._known[place] else NOT_KNOWN)
            for place in range(len(null))
        ]
        dates = dates_array(np.full(len(null), date))
        columns = [doubles_array(column) for column in (null, infinite, outside, inner)]
        return pa.Table.from_arrays([dates, self._names, *columns, text_array(verdicts)], schema=DRIFT_SCHEMA)

    def _counts(self, values: Doubles) -> npt.NDArray[np.int64]:
        """int64 [4, features]: values that are missing, are finite, are finite and outside the outer, the inner ends."""
        total = np.zeros((4, values.shape[1]), np.int64)
        for first in range(0, len(values), _ROWS):
            part = values[first : first + _ROWS]
            finite = np.isfinite(part)
            for place, found in enumerate(
                (np.isnan(part), finite, *(_beyond(part, *ends) & finite for ends in (self._outer, self._inner)))
            ):
                total[place] += np.add.reduce(found.view(np.uint8), axis=0, dtype=np.uint8)
        return total


def _ends(quantiles: dict[str, float]) -> tuple[float, float]:
    """Values of the lowest and the highest level; NaN where there is none."""
    levels = {_level(name): value for name, value in quantiles.items()}
    levels.pop(None, None)
    known = sorted((level, value) for level, value in levels.items() if level is not None)
    return (known[0][1], known[-1][1]) if known else (math.nan, math.nan)


def _level(name: str) -> float | None:
    """The level of a quantile by its key: "min" is 0, "max" is 1; None for what is no level."""
    try:
        level = {"min": 0.0, "max": 1.0}[name] if name in ("min", "max") else float(name)
    except ValueError:
        return None
    return level if 0.0 <= level <= 1.0 else None


def _beyond(values: Doubles, low: Doubles, high: Doubles) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = values < low
    found |= values > high
    return found
