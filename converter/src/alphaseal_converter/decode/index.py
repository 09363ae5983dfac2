"""Indexes of pandas, and the column arrays of its own that stand around numpy's, from inert records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from alphaseal_converter.decode.arrays import (
    FROM_BUFFER,
    RECONSTRUCT,
    Array,
    Values,
    arrow_texts,
    as_array,
    as_objects,
    take,
)
from alphaseal_converter.decode.scalars import as_dtype, as_plain, bad_value, constructor, guarded, unknown, whole
from alphaseal_converter.pickles.records import Global, Record

_LONGEST_RANGE: Final = 20_000_000


@dataclass(frozen=True, eq=False)
class IndexData:
    """An index, one entry of `levels` per level, each with one value per row; dates are ``datetime64``."""

    names: tuple[str | None, ...]
    levels: tuple[Values, ...]

    def __len__(self) -> int:
        return len(self.levels[0])


# ---- column arrays

_BACKED: Final = ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked")
_TIMES: Final = {
    Global(module, name)
    for module, name in (
        ("pandas.core.arrays.datetimes", "DatetimeArray"),
        ("pandas.core.arrays.timedeltas", "TimedeltaArray"),
        ("pandas.arrays", "DatetimeArray"),
        ("pandas.arrays", "TimedeltaArray"),
    )
}
_CATEGORICAL: Final = {Global("pandas.core.arrays.categorical", "Categorical"), Global("pandas", "Categorical")}
_WRAPPED: Final = {
    Global(module, name)
    for module, name in (
        ("pandas.core.arrays.numpy_", "PandasArray"),
        ("pandas.core.arrays.numpy_", "NumpyExtensionArray"),
        ("pandas.arrays", "NumpyExtensionArray"),
        ("pandas.core.arrays.string_", "StringArray"),
        ("pandas.core.arrays.string_", "StringArrayNumpySemantics"),
        ("pandas.arrays", "StringArray"),
    )
}
_ARROW_STRINGS: Final = {
    ("pandas.core.arrays.string_arrow", "ArrowStringArray"),
    ("pandas.core.arrays.string_arrow", "ArrowStringArrayNumpySemantics"),
    ("pandas.arrays", "ArrowStringArray"),
}


def column_values(value: Any) -> Array:
    """The values of a column or an index: a numpy array, or one of pandas' own around it."""
    name = constructor(value)
    if name == _BACKED:
        return _backed(value)
    if name in _ARROW_STRINGS:
        return as_objects(arrow_texts(value.get("_pa_array", value.get("_data"))))
    return as_array(value)


def _backed(value: Record) -> Array:
    """Time, category and wrapper arrays keep (dtype, ndarray, attributes); old ones call with it, new ones BUILD it."""
    kind, state = value.args[0], value.args[2] if value.state is None else value.state
    if len(state) == 1:
        (state,) = state
    first, second, *_ = state
    dtype, content = (second, first) if constructor(first) in RECONSTRUCT | FROM_BUFFER else (first, second)
    if type(kind) is not Global:  # anything else may take for ever to hash
        raise unknown(kind, "a column array of pandas")
    if kind in _CATEGORICAL:
        return _categorical(dtype, as_array(content))
    array = as_array(content)
    if kind in _TIMES:
        # A dtype with a time zone is a record of pandas, which as_dtype refuses by name.
        if array.dtype != as_dtype(dtype).newbyteorder("=") or array.dtype.kind not in "Mm":
            raise bad_value(f"a time array of pandas holds {array.dtype}")
        return array
    if kind in _WRAPPED:
        return array
    raise unknown(kind, "a column array of pandas")


def _categorical(dtype: Record, codes: Array) -> Array:
    index = as_index(dtype.get("categories"))
    if len(index.levels) != 1 or codes.ndim != 1:
        raise bad_value("the categories of a column are not one list")
    return take(index.levels[0], codes)


# ---- index

_BASE: Final = ("pandas.core.indexes.base", "_new_Index")
_DATETIME: Final = ("pandas.core.indexes.datetimes", "_new_DatetimeIndex")
_MODULES: Final = {
    "Index": "pandas.core.indexes.base",
    "RangeIndex": "pandas.core.indexes.range",
    "MultiIndex": "pandas.core.indexes.multi",
    "DatetimeIndex": "pandas.core.indexes.datetimes",
    "TimedeltaIndex": "pandas.core.indexes.timedeltas",
    "CategoricalIndex": "pandas.core.indexes.category",
    "Int64Index": "pandas.core.indexes.numeric",
    "UInt64Index": "pandas.core.indexes.numeric",
    "Float64Index": "pandas.core.indexes.numeric",
}


@guarded
def as_index(value: Any, *, where: str | None = None) -> IndexData:
    """A pandas Index of any kind; a MultiIndex is written out, so that each level has one value per row."""
    name, contents = _index_parts(value)
    if name == "MultiIndex":
        return _multi_index(contents)
    if name == "RangeIndex":
        start, stop, step = (whole(contents[part], -(1 << 62)) for part in ("start", "stop", "step"))
        if len(range(start, stop, step)) > _LONGEST_RANGE:
            raise bad_value(f"a RangeIndex has more than {_LONGEST_RANGE} rows")
        return _single(contents, np.arange(start, stop, step, dtype=np.int64))
    data = contents["data"]
    # pandas nests: an index may be made from another one, such as the DatetimeIndex of a DatetimeIndex.
    if constructor(data) in (_BASE, _DATETIME):
        inner_name, contents_of_data = _index_parts(data)
        if inner_name in ("MultiIndex", "RangeIndex"):
            raise bad_value(f"a {name} is made from a {inner_name}")
        data = contents_of_data["data"]
    return _single(contents, column_values(data))


def _index_parts(value: Any) -> tuple[str, dict[str, Any]]:
    """The class name of an index and the keyword arguments of its constructor."""
    if constructor(value) not in (_BASE, _DATETIME):
        raise unknown(value, "an index of pandas")
    kind, contents = value.args
    name = kind.name if type(kind) is Global else ""
    # Up to pandas 2 the classes name the module that defines them, pandas 3 the public one.
    if name not in _MODULES or kind.module not in ("pandas", _MODULES[name]):
        raise unknown(kind, "an index of pandas")
    return name, contents


def _single(contents: dict[str, Any], values: Array) -> IndexData:
    if values.ndim != 1:
        raise bad_value(f"an index has values of shape {values.shape}")
    return IndexData((_name(contents.get("name")),), (rows_of(values),))


def _multi_index(contents: dict[str, Any]) -> IndexData:
    levels = [as_index(level) for level in contents["levels"] if _index_parts(level)[0] != "MultiIndex"]
    codes = [as_array(code) for code in contents["codes"]]
    names = [_name(name) for name in contents.get("names") or [None] * len(levels)]
    if not levels or not len(levels) == len(codes) == len(names) or len({len(code) for code in codes}) != 1:
        raise bad_value("levels, codes and names of a MultiIndex do not fit together")
    rows = tuple(rows_of(take(level.levels[0], code)) for level, code in zip(levels, codes, strict=True))
    return IndexData(tuple(names), rows)


def _name(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    plain = as_plain(value)
    return plain if plain is None else str(plain)


def rows_of(values: Array) -> Values:
    """One value per row: objects as a list, all else as the array."""
    return values.tolist() if values.dtype.kind == "O" else values
