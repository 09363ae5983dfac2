"""Which Arrow types are taken as the numbers of a feature: the table of spec/bundle-v1.md, section 10.5.

A feature has a training dtype.  What is wider is rounded to it once, as in training; what was rounded to fewer digits
before it came here is refused, since nothing brings them back; what is no number is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from alphaseal.errors import InputError

if TYPE_CHECKING:
    from alphaseal.format.manifest import Statistics


class NumberColumn(Protocol):
    """One input column of the model: its plain name and the dtype it was trained in ("float32" or "float64")."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...


LARGEST_EXACT = 2**53
"""Up to it every integer is a double."""

_REPEATED = 10
"""Rows of the training for each whole number between its ends, from which on these are taken to repeat."""

Reading = Literal["exact", "to_2_53", "cast", "missing", "precision", "not_numeric"]


class NumberType(NamedTuple):
    """A row of the table: how a column of the type is read for a feature of either training dtype.

    "exact": the same value; "to_2_53": the same value up to 2^53, beyond it refused; "cast": rounded once; "missing": no
    value at all; the others are the rules of the refusal.
    """

    name: str
    float32: Reading
    float64: Reading


_TYPES: dict[int, NumberType] = {
    pa.float64().id: NumberType("double", "cast", "exact"),
    pa.float32().id: NumberType("float", "exact", "precision"),
    pa.float16().id: NumberType("halffloat", "precision", "precision"),
    **{kind.id: NumberType(str(kind), "exact", "exact") for kind in (pa.int8(), pa.int16(), pa.uint8(), pa.uint16())},
    **{kind.id: NumberType(str(kind), "cast", "exact") for kind in (pa.int32(), pa.uint32())},
    **{kind.id: NumberType(str(kind), "cast", "to_2_53") for kind in (pa.int64(), pa.uint64())},
    pa.null().id: NumberType("null", "missing", "missing"),
}


def reading(kind: Any, dtype: str) -> Reading:
    """How a column of the Arrow type `kind` is read for a feature that was trained in `dtype`."""
    known = _TYPES.get((kind.value_type if pa.types.is_dictionary(kind) else kind).id)
    if known is None:
        return "not_numeric"
    return known.float32 if dtype == "float32" else known.float64


def require_number_type(kind: Any, feature: NumberColumn, name: str) -> None:
    """InputError `features.not_numeric` or `features.precision` unless a column of the type is taken for the feature.

    `name` is what the table calls the column.
    """
    dtype = feature.dtype
    found = reading(kind, dtype)
    if found == "not_numeric":
        raise InputError(
            "features.not_numeric",
            "a feature is not a number",
            where=f"column {name!r}",
            expected="integers or floats",
            found=str(kind),
        )
    if found == "precision":
        raise InputError(
            "features.precision",
            "a feature has fewer digits than the model was trained with",
            where=f"column {name!r}",
            expected=f"{'float32 or float64' if dtype == 'float32' else 'float64'}, or integers",
            found=str(kind),
            next_step=f"give the values as they were computed, in {dtype}; casting a narrow column to a wider one "
            "does not bring the digits back",
        )
    fraction = _fraction(feature)
    if fraction is not None and pa.types.is_integer(kind.value_type if pa.types.is_dictionary(kind) else kind):
        raise InputError(
            "features.precision",
            "a feature has whole numbers only, and fractions in training",
            where=f"column {name!r}",
            expected=f"{dtype}: training had values such as {fraction:.6g}",
            found=str(kind),
            next_step="give the values as they were computed, before they were rounded",
        )


def _fraction(feature: NumberColumn) -> float | None:
    """A training value that is no whole number, where the statistics show that there are such."""
    # Only features of a manifest know their training values.
    statistics: Statistics | None = getattr(feature, "statistics", None)
    if statistics is None:
        return None
    ends = [statistics.quantiles[level] for level in ("min", "max") if level in statistics.quantiles]
    inner = [value for level, value in statistics.quantiles.items() if level not in ("min", "max")]
    fractions = [value for value in inner if not value.is_integer()]
    # Whole numbers of so small a range repeat, so that few quantiles lie between two of them; a correlation ends at 1.
    if (
        len(ends) == 2
        and _REPEATED * (ends[1] - ends[0]) <= statistics.rows
        and len(fractions) > max(len(inner) / 2, 3)
    ):
        return fractions[0]
    return next((value for value in ends if not value.is_integer()), None)


def require_exact(column: Any, dtype: str, name: str) -> None:
    """InputError `features.precision` where an integer of a plain Arrow column is beyond what the dtype is to hold."""
    if reading(column.type, dtype) != "to_2_53":
        return
    ends = pc.min_max(column)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    if low is not None and (low < -LARGEST_EXACT or high > LARGEST_EXACT):
        raise InputError(
            "features.precision",
            "an integer is larger than a float64 holds exactly",
            where=f"column {name!r}",
            expected="integers from -2^53 to 2^53",
            found=str(high if high > LARGEST_EXACT else low),
            next_step="give the values as floats if they are numbers at all, and no identifiers",
        )
