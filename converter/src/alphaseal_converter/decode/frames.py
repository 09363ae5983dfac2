"""Values from inert records: numpy arrays, pandas tables, dates, paths, plain data.

Each constructor is known by its exact (module, name) and is re-made here from its arguments; nothing is imported by a
name that a file gave.  The layouts are those of numpy 1 and 2 and of pandas 1.5, 2 and 3, which move their classes
between modules.  Sizes are compared with the bytes that are there before numpy sees them.

Every public function raises `RefusalError`: ``pickle.unknown_constructor`` where the graph holds something else than
the function knows, ``pickle.bad_value`` where arguments do not fit together.  Its `where` names the place in the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from alphaseal_converter.decode.arrays import Values, as_array
from alphaseal_converter.decode.index import IndexData, as_index, column_values, rows_of
from alphaseal_converter.decode.scalars import (
    as_bytes,
    as_dtype,
    as_path,
    as_plain,
    as_text,
    bad_value,
    constructor,
    describe,
    guarded,
    shown,
    unknown,
    whole,
)
from alphaseal_converter.pickles.records import Record

__all__ = [
    "FrameData",
    "IndexData",
    "SeriesData",
    "as_array",
    "as_bytes",
    "as_dtype",
    "as_frame",
    "as_index",
    "as_path",
    "as_plain",
    "as_series",
    "as_text",
    "describe",
    "shown",
]


@dataclass(frozen=True, eq=False)
class SeriesData:
    """A pandas Series: one value per row of `index`."""

    index: IndexData
    values: Values
    name: Any


@dataclass(frozen=True, eq=False)
class FrameData:
    """A pandas DataFrame: `data` holds one column per entry of `columns` (text, or a tuple of a two-level header)."""

    index: IndexData
    columns: list[Any]
    data: list[Values]


# ---- series and frame

_SERIES: Final = {("pandas.core.series", "Series"), ("pandas", "Series")}
_FRAME: Final = {("pandas.core.frame", "DataFrame"), ("pandas", "DataFrame")}
_MANAGERS: Final = {
    ("pandas.core.internals.managers", "BlockManager"),
    ("pandas.core.internals.managers", "SingleBlockManager"),
}
_BLOCK: Final = {
    ("pandas._libs.internals", "_unpickle_block"),
    ("pandas.core.internals.blocks", "new_block"),
}
_STATE_VERSION: Final = "0.14.1"
"""pandas' name for the layout of a manager's state, unchanged since then."""


@guarded
def as_series(value: Any, *, where: str | None = None) -> SeriesData:
    """A pandas Series."""
    axes, blocks = _manager(value, _SERIES, "a pandas Series")
    if len(axes) != 1 or len(blocks) != 1:
        raise bad_value("a Series has not one axis and one block")
    index = as_index(axes[0])
    values = column_values(blocks[0][0])
    if values.shape != (len(index),):
        raise bad_value(f"a Series of {len(index)} rows has values of shape {values.shape}")
    name = value.get("_name", value.get("name"))
    return SeriesData(index, rows_of(values), as_plain(name))


@guarded
def as_frame(value: Any, *, where: str | None = None) -> FrameData:
    """A pandas DataFrame, its columns in their order."""
    axes, blocks = _manager(value, _FRAME, "a pandas DataFrame")
    if len(axes) != 2:
        raise bad_value("a DataFrame has not two axes")
    header, index = as_index(axes[0]), as_index(axes[1])
    data: list[Values | None] = [None] * len(header)
    for content, placement in blocks:
        values = column_values(content)
        table = values if values.ndim == 2 else values.reshape(1, -1)
        places = _places(placement, len(header))
        if table.shape != (len(places), len(index)):
            raise bad_value(f"a block of {len(places)} columns and {len(index)} rows has the shape {values.shape}")
        for place, row in zip(places, table, strict=True):
            if data[place] is not None:
                raise bad_value(f"column {place} of a DataFrame is given twice")
            data[place] = rows_of(row)
    columns = [column for column in data if column is not None]
    if len(columns) != len(header):
        raise bad_value("columns of a DataFrame have no values")
    return FrameData(index, _header(header), columns)


def _header(index: IndexData) -> list[Any]:
    levels = [level if isinstance(level, list) else level.tolist() for level in index.levels]
    return levels[0] if len(levels) == 1 else list(zip(*levels, strict=True))


def _manager(value: Any, classes: set[tuple[str, str]], wanted: str) -> tuple[list[Any], list[tuple[Any, Any]]]:
    """The axes of a table and its blocks as (values, placement)."""
    if constructor(value) not in classes:
        raise unknown(value, wanted)
    manager = value.get("_mgr", value.get("_data"))
    if constructor(manager) not in _MANAGERS:
        raise unknown(manager, "a block manager of pandas")
    if manager.args:
        blocks, axes = manager.args
        return list(axes), [_block(block) for block in blocks]
    contents = manager.state[3][_STATE_VERSION]
    return list(contents["axes"]), [(block["values"], block["mgr_locs"]) for block in contents["blocks"]]


def _block(value: Any) -> tuple[Any, Any]:
    if constructor(value) not in _BLOCK:
        raise unknown(value, "a block of pandas")
    values, placement, *_ = value.args
    return values, placement


def _places(placement: Any, width: int) -> list[int]:
    """Column numbers of a block: a slice, or an array of numbers."""
    if constructor(placement) == ("builtins", "slice"):
        bounds = [None if part is None else whole(part, -width) for part in placement.args]
        return list(range(width))[slice(*bounds)]
    if not isinstance(placement, Record):
        raise bad_value(f"the place of a block is {describe(placement)}")
    numbers = as_array(placement)
    if (
        numbers.ndim != 1
        or numbers.dtype.kind not in "iu"
        or (numbers.size and not 0 <= numbers.min() <= numbers.max() < width)
    ):
        raise bad_value("the place of a block is outside of its table")
    return [int(number) for number in numbers]
