"""Grids of all rows as tensors [days, rows], windows as [size, days, rows]; days come first, see `alphas.emit`.

Besides its values a node may have a *since*: int64 [1, rows], the day of the window (0: the oldest) from which on its values
do not depend on days before the window.  Without one they never do.  Once that is so it stays so, for every later day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from alphaseal_converter.alphas.emit import Tensors
from alphaseal_converter.alphas.nodes import Dtype
from alphaseal_converter.emission.plan import NotEmittedError, Plan, RowKind
from alphaseal_converter.factors.expressions.nodes import Node

KIND: Final[Mapping[str, Dtype]] = {
    "float32": Dtype.FLOAT32,
    "float64": Dtype.FLOAT64,
    "int64": Dtype.INT64,
    "text": Dtype.INT64,
    "bool": Dtype.BOOL,
}
"""Texts are places in a list."""
NUMPY: Final[Mapping[str, Any]] = {
    "float32": np.float32,
    "float64": np.float64,
    "int64": np.int64,
    "text": np.int64,
    "bool": np.bool_,
}


@dataclass(frozen=True)
class Column:
    """A column of the input `tables`: of a table, where it has rows (`column` is None), or a part of the day (`table` "")."""

    table: str
    column: str | None
    dtype: str


class Emitter(Tensors):
    """`fields` are columns of the input `bars`, `columns` those of `tables`; `stages` the first column and the days that a
    stage across stocks has in the input `stages`."""

    def __init__(
        self, plan: Plan, fields: Sequence[str], columns: Sequence[Column], stages: Mapping[Node, tuple[int, int]]
    ) -> None:
        super().__init__()
        self.plan = plan
        self._fields = {field: place for place, field in enumerate(fields)}
        self._columns = {column: place for place, column in enumerate(columns)}
        self._stages = stages
        self._values: dict[Node, str] = {}
        self._since: dict[Node, str | None] = {}

    # --- nodes ----------------------------------------------------------------------------------------------------------

    def define(self, node: Node, value: str, since: str | None) -> None:
        self._values[node] = value
        self._since[node] = since

    def is_number(self, node: Node) -> bool:
        """The same for all rows and days: it has no axis of either."""
        return node in self.plan.numbers

    def last(self, node: Node, days: int) -> str:
        """The last days of a node in its own dtype, [days, rows] or [size, days, rows]; a number has no such axes."""
        value, length = self._values[node], self.plan.days[node]
        if self.is_number(node) or length == days:
            return value
        return self.cut(value, length - days, length) if node.window is None else self.cut_windows(value, length, days)

    def cut_windows(self, value: str, length: int, days: int) -> str:
        return self.add("Slice", value, self.constant([length - days]), self.constant([length]), self.constant([1]))

    def since(self, nodes: Sequence[Node]) -> str | None:
        """The latest of some nodes' days."""
        return self.latest([self._since[node] for node in nodes])

    def latest(self, days: Sequence[str | None]) -> str | None:
        found = None
        for day in dict.fromkeys(day for day in days if day is not None):
            found = day if found is None else self.larger(found, day)
        return found

    def larger(self, left: str, right: str) -> str:
        return self.add("Where", self.add("Greater", left, right), left, right)

    def sorted_places(self, keys: str, length: int) -> str:
        """int64: where along the first axis the smallest, the next, … of int64 keys stand."""
        key = ("places", keys)
        if key not in self._added:
            self._added[key] = self.builder.add_several(
                "TopK", 2, keys, self.constant([length]), axis=0, largest=0, sorted=1
            )[1]
        return self._added[key]

    # --- numbers --------------------------------------------------------------------------------------------------------

    def number(self, value: float | bool | int, dtype: str) -> str:
        return self.constant(np.array(value, NUMPY[dtype]))

    def whole(self, value: int) -> str:
        return self.constant(np.array(value, np.int64))

    @property
    def nan(self) -> str:
        return self.double(np.nan)

    def missing(self, dtype: str) -> str:
        """What stands where there is no value."""
        return self.number(np.nan if dtype.startswith("float") else -1 if dtype == "text" else 0, dtype)

    def to(self, value: str, dtype: str, wanted: str) -> str:
        return self.cast(value, KIND[dtype], KIND[wanted])

    def choose(self, condition: str, yes: str, no: str, dtype: str) -> str:
        """onnxruntime chooses between all kinds of numbers, but not between truth values."""
        if dtype != "bool":
            return self.add("Where", condition, yes, no)
        return self.add("Or", self.add("And", condition, yes), self.add("And", self.add("Not", condition), no))

    # --- inputs ---------------------------------------------------------------------------------------------------------

    def field(self, name: str, days: int) -> str:
        """float [days, rows]: a column of the bars."""
        return self._input("bars", self._fields[name], days)

    def column(self, column: Column, days: int) -> str:
        """double [days, rows]"""
        return self._input("tables", self._columns[column], days)

    def _input(self, name: str, place: int, days: int) -> str:
        by_column = self.add("Transpose", name, perm=(2, 1, 0))
        return self.end(self.add("Gather", by_column, self.whole(place), axis=0), self.plan.window, days)

    def stage(self, node: Node, days: int) -> str:
        """double [days, rows]: the last days of what a stage gave."""
        first, length = self._stages[node]
        by_day = self.add("Transpose", "stages", perm=(1, 0))
        return self.cut(by_day, first + length - days, first + length)

    def lengths(self, days: int) -> str:
        """int64 [days, rows]: days of the stock's series up to each of the last days; not positive before its first."""
        return self.add("Sub", "length", self.constant(np.arange(days, dtype=np.int64)[::-1, None]))

    def exists(self, days: int) -> str:
        return self.add("Greater", self.lengths(days), self.whole(0))

    def begins_later(self) -> str:
        """bool [rows]: the stock's series begins within the window, so nothing lies before it."""
        return self.begins_within(self.plan.window)

    def begins_within(self, days: int) -> str:
        """bool [rows]: the stock's series begins within the last days, behind the first of them."""
        return self.add("Less", "length", self.whole(days))

    # --- masks ----------------------------------------------------------------------------------------------------------

    def mask(self, node: Node, days: int) -> str | None:
        """bool [days, rows]; None: every day."""
        if self.plan.rows(node) is RowKind.EVERY_DAY:
            return None
        if self.is_number(node):
            raise NotEmittedError("rows that are nowhere")
        return self.last(node, days)

    def masked(self, node: Node, mask: Node, days: int) -> str:
        """[days, rows], float: the value where the mask is, NaN elsewhere."""
        value, there = self.last(node, days), self.mask(mask, days)
        if there is None:
            if not self.is_number(node):
                return value
            there = self.add("Or", self.exists(days), self.add("Not", self.exists(days)))
        return self.add("Where", there, value, self.missing(node.dtype))


Rule = Callable[[Emitter, Node, int], tuple[str, "str | None"]]
"""A node's tensor of its last days, and its since."""
ELEMENT: Final = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
Array = NDArray[Any]
