"""Columns of Arrow tables as numpy arrays: dates, instruments, numbers, and the order of rows.

Where pandas is installed, `Array.to_numpy`, `pa.array` and `pa.scalar` import it (0.3 to 0.6 s): buffers are read instead.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from alphaseal.arrow.number_types import require_exact
from alphaseal.arrow.versions import is_string_view
from alphaseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

Days = npt.NDArray[np.int64]
"""Days since 1970-01-01."""

DATE_COLUMN = "datetime"
INSTRUMENT_COLUMN = "instrument"
FIRST_DAY = int(np.datetime64("0001-01-01", "D").astype(np.int64))
LAST_DAY = int(np.datetime64("9999-12-31", "D").astype(np.int64))
MAXIMUM_INSTRUMENT_LENGTH = 64
UNITS_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_NAME_LIMIT = 1024


def plain_name(name: str, group: str = "feature") -> str | None:
    """`NAME` for ``NAME`` and for pandas' flattened ``('feature', 'NAME')``; None for a tuple of another kind."""
    if not name.startswith("('") and not name.startswith('("'):
        return name
    parts = _flattened(name)
    if parts is None:
        return name
    return parts[1] if parts[0] == group else None


def _flattened(name: str) -> tuple[str, str] | None:
    """The two strings of pandas' flattened column name; None where `name` is not the repr of such a tuple."""
    if len(name) > _NAME_LIMIT:
        return None
    try:
        parts = ast.literal_eval(name)
    except (ValueError, SyntaxError):
        return None
    if isinstance(parts, tuple) and len(parts) == 2 and all(isinstance(part, str) for part in parts):
        return parts
    return None


def days_of(column: Any) -> Days:
    """The dates of an Arrow column as days since 1970-01-01.

    Takes date32, date64 and timestamps of any unit without time zone, plain or dictionary-encoded.  Raises InputError
    `features.date_type`, `features.time_zone`, `features.time_of_day`, `features.null_key`, `features.date_range`.
    """
    numbers, per_day = _date_numbers(column)
    if per_day == 1:
        days = numbers.astype(np.int64)
    else:
        days, rest = np.divmod(numbers, per_day)
        if rest.any():
            row = int(np.argmax(rest != 0))
            raise InputError(
                "features.time_of_day",
                "a date has a time of day",
                where=f"column '{DATE_COLUMN}'",
                expected="midnight of the trading date, or a date type",
                found=_instant_text(int(numbers[row]), per_day),
                next_step="normalise the column to dates",
            )
    if len(days):
        _require_years(int(days.min()), int(days.max()))
    return days


def day_span(column: Any) -> tuple[int, int]:
    """The first and the last of the days of an Arrow column that has some; errors as of `days_of`, but for times of day."""
    numbers, per_day = _date_numbers(column)
    first, last = int(numbers.min()) // per_day, int(numbers.max()) // per_day
    _require_years(first, last)
    return first, last


def _date_numbers(column: Any) -> tuple[npt.NDArray[Any], int]:
    """(the numbers of a column of dates, how many of them are a day)."""
    column = _decoded(column)
    _refuse_null_keys(column, DATE_COLUMN)
    kind = column.type
    if pa.types.is_date32(kind):
        return numbers_of(column, np.dtype(np.int32)), 1
    require_date_type(kind)
    return numbers_of(column, np.dtype(np.int64)), UNITS_PER_DAY["ms" if pa.types.is_date64(kind) else kind.unit]


def _require_years(first: int, last: int) -> None:
    if first < FIRST_DAY or last > LAST_DAY:
        raise InputError(
            "features.date_range", "a date is outside the years 1 to 9999", where=f"column '{DATE_COLUMN}'"
        )


def _instant_text(number: int, per_day: int) -> str:
    """Date and time of a number of units, of which `per_day` are a day."""
    day, rest = divmod(number, per_day)
    if not FIRST_DAY <= day <= LAST_DAY:
        return f"{number / per_day:g} days from 1970-01-01"
    seconds = rest * 86_400 / per_day
    return f"{date_text(day)} {int(seconds) // 3600:02}:{int(seconds) // 60 % 60:02}:{seconds % 60:09.6f}"


def require_date_type(kind: Any) -> None:
    """InputError `features.time_zone` or `features.date_type` unless the Arrow type holds dates of the exchange."""
    if pa.types.is_date32(kind) or pa.types.is_date64(kind) or (pa.types.is_timestamp(kind) and kind.tz is None):
        return
    if pa.types.is_timestamp(kind):
        raise InputError(
            "features.time_zone",
            "the dates carry a time zone, so the trading date is ambiguous",
            where=f"column '{DATE_COLUMN}'",
            expected="a date type, or timestamps without time zone",
            found=str(kind),
            next_step="convert the column to the exchange's local date first",
        )
    raise InputError(
        "features.date_type",
        "the date column does not hold dates",
        where=f"column '{DATE_COLUMN}'",
        expected="date32, date64, or timestamps without time zone",
        found=str(kind),
        next_step="convert the column to dates (strings and numbers are not guessed at)",
    )


def text_of(column: Any) -> Any:
    """The instruments of an Arrow column as a plain string array: strings of any layout, or a dictionary of them.

    Raises InputError `features.instrument_type`, `features.null_key` and `instrument.length`.
    """
    # A dictionary of one long text expands to gigabytes: its entries are looked at before it is decoded.
    _refuse_long_texts(column.dictionary if pa.types.is_dictionary(column.type) else column)
    column = _decoded(column)
    _refuse_null_keys(column, INSTRUMENT_COLUMN)
    return column.cast(pa.string())


def _refuse_long_texts(values: Any) -> None:
    kind = values.type
    if is_string_view(kind):
        values = values.cast(pa.large_string())
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise _not_text(kind)
    longest = pc.max(pc.binary_length(values)).as_py()
    if longest is not None and longest > MAXIMUM_INSTRUMENT_LENGTH:
        raise InputError(
            "instrument.length",
            "an instrument code is too long",
            where=f"column '{INSTRUMENT_COLUMN}'",
            expected=f"at most {MAXIMUM_INSTRUMENT_LENGTH} bytes",
            found=f"{longest} bytes",
        )


def _not_text(kind: Any) -> InputError:
    return InputError(
        "features.instrument_type",
        "the instrument column does not hold text",
        where=f"column '{INSTRUMENT_COLUMN}'",
        expected="strings",
        found=str(kind),
    )


def _decoded(column: Any) -> Any:
    if not pa.types.is_dictionary(column.type):
        return column
    values = column.dictionary
    # Arrow has no kernel that takes from a view array.
    if is_string_view(values.type):
        values = values.cast(pa.string())
    return values.take(column.indices)


def _refuse_null_keys(column: Any, name: str) -> None:
    if column.null_count:
        raise InputError(
            "features.null_key", f"{column.null_count} rows have no {name}", where=f"column '{name}'", found="null"
        )


def numbers_of(column: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The values of a primitive Arrow array as a view on its buffer; what stands at nulls is undefined."""
    if len(column) == 0:
        return np.empty(0, dtype)
    values: npt.NDArray[Any] = np.frombuffer(column.buffers()[1], dtype, count=column.offset + len(column))
    return values[column.offset :]


def floats_of(column: Any, dtype: str, name: str = "") -> npt.NDArray[Any]:
    """A numeric Arrow array as floats of the training dtype, NaN for null.

    Raises InputError `features.precision` where an integer is beyond 2^53 and the dtype float64; `name` is what the error calls the column.
    """
    column = _decoded(column)
    require_exact(column, dtype, name)
    target, wide = (pa.float32(), np.dtype(np.float32)) if dtype == "float32" else (pa.float64(), np.dtype(np.float64))
    if column.type != target:
        # One rounding from the source type; beyond the range of float32 lies infinity, as with numpy's astype.
        column = column.cast(target, safe=False)
    values = numbers_of(column, wide)
    if not column.null_count:
        return values
    bits = np.frombuffer(column.buffers()[0], np.uint8)
    valid = np.unpackbits(bits, count=column.offset + len(column), bitorder="little")[column.offset :]
    return np.where(valid.view(np.bool_), values, wide.type(np.nan))


def indices_of(order: npt.NDArray[np.int64]) -> Any:
    """`order` as an Arrow array, without `pa.array` (which imports pandas)."""
    order = np.ascontiguousarray(order, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(order), [None, pa.py_buffer(order)])


def row_order(days: Days, codes: npt.NDArray[np.int32], names: Any) -> tuple[npt.NDArray[np.int64] | None, str | None]:
    """(row indices by date, then by instrument; None where the rows are in that order), (a repeated row; None).

    `codes` are positions in the Arrow string array `names` of distinct instruments.  Only `names` is compared as text
    (UTF-8 bytes, which is code point order); the rows are ordered by integers.
    """
    if len(days) == 0:
        return None, None
    by_name = numbers_of(pc.array_sort_indices(names), np.dtype(np.uint64)).astype(np.int64)
    rank = np.empty(len(by_name), np.int64)
    rank[by_name] = np.arange(len(by_name))
    # Days span less than 2^23 and distinct codes less than 2^31: no overflow.
    keys = (days - days.min()) * len(rank) + rank[codes]
    steps = np.diff(keys)
    order = None
    if (steps <= 0).any():
        order = np.argsort(keys, kind="stable")
        steps = np.diff(keys[order])
    repeats = np.flatnonzero(steps == 0)
    if not len(repeats):
        return order, None
    row = int(repeats[0]) if order is None else int(order[repeats[0]])
    return order, f"{date_text(int(days[row]))} {names[int(codes[row])].as_py()}"


def date_text(day: int) -> str:
    """YYYY-MM-DD of a day since 1970-01-01."""
    return str(np.datetime64(day, "D"))


def dates_array(dates: npt.NDArray[np.datetime64]) -> pa.Array:
    """An Arrow date32 array."""
    return numbers_array(dates.astype("datetime64[D]").astype(np.int32), pa.date32())


def numbers_array(values: npt.NDArray[Any], kind: Any) -> pa.Array:
    """An Arrow array of fixed width on the memory of `values`, whose items are as wide as those of `kind`."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def text_array(texts: Sequence[str]) -> pa.Array:
    """An Arrow string array."""
    encoded = [text.encode("utf-8") for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def doubles_array(values: npt.NDArray[np.float64]) -> pa.Array:
    """An Arrow array of doubles, null for NaN; `pa.array` would import pandas."""
    valid = pa.py_buffer(np.packbits(~np.isnan(values), bitorder="little"))
    return pa.Array.from_buffers(pa.float64(), len(values), [valid, pa.py_buffer(np.ascontiguousarray(values))])
