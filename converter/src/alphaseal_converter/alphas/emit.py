"""Series of all rows as tensors [n, rows], their last n days, and the windows of rolling operators over them.

Days come first: a sum over a window then adds whole vectors of rows, one day after the other, and a row's bits do not
depend on where in the batch it stands (onnxruntime sums along the last axis in an order that depends on addresses).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from alphaseal_converter.alphas.nodes import Dtype, Node
from alphaseal_converter.nodes.builder import GraphBuilder

Array = NDArray[Any]
ELEMENT: Final = {
    Dtype.FLOAT32: TensorProto.FLOAT,
    Dtype.FLOAT64: TensorProto.DOUBLE,
    Dtype.INT64: TensorProto.INT64,
    Dtype.BOOL: TensorProto.BOOL,
    Dtype.GAPS: TensorProto.DOUBLE,
}
_NUMPY: Final = {Dtype.FLOAT32: np.float32, Dtype.FLOAT64: np.float64, Dtype.INT64: np.int64}
_FLOATS: Final = (Dtype.FLOAT32, Dtype.FLOAT64, Dtype.GAPS)


class Tensors:
    """A graph builder that adds nothing twice; days are the first axis of what it cuts."""

    def __init__(self) -> None:
        self.builder = GraphBuilder()
        self._added: dict[object, str] = {}
        self._constants: dict[object, str] = {}

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        key = (operator, inputs, tuple(sorted(attributes.items())))
        if key not in self._added:
            self._added[key] = self.builder.add(operator, *inputs, **attributes)
        return self._added[key]

    def ordered(self, windows: str, size: int) -> str:
        """The values of each window, smallest first."""
        key = ("ordered", windows)
        if key not in self._added:
            self._added[key] = self.builder.add_several(
                "TopK", 2, windows, self.constant([size]), axis=0, largest=0, sorted=1
            )[0]
        return self._added[key]

    def constant(self, values: Array | Sequence[int]) -> str:
        array = values if isinstance(values, np.ndarray) else np.array(values, dtype=np.int64)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.builder.constant(array)
        return self._constants[key]

    def double(self, value: float) -> str:
        return self.constant(np.array(value, dtype=np.float64))

    def cast(self, value: str, kind: Dtype, to: Dtype) -> str:
        return value if ELEMENT[kind] == ELEMENT[to] else self.add("Cast", value, to=ELEMENT[to])

    def end(self, value: str, length: int, last: int) -> str:
        """The last `last` positions of [length, rows]."""
        return value if last == length else self.cut(value, length - last, length)

    def cut(self, value: str, start: int, end: int) -> str:
        """Positions `start` to `end` of the first axis."""
        return self.add("Slice", value, self.constant([start]), self.constant([end]), self.constant([0]))


class Emitter(Tensors):
    """A builder that knows how many positions every series needs.

    `needed` says of each node how many of its last positions its readers take; a series is made with exactly so many.
    """

    def __init__(self, fields: Sequence[str], window: int, needed: Mapping[Node, int]) -> None:
        super().__init__()
        self._fields = {field: position for position, field in enumerate(fields)}
        self._window = window
        self._needed = needed
        self._series: dict[Node, str] = {}
        self._clean: dict[Node, bool] = {}

    # --- series -------------------------------------------------------------------------------------------------------

    def length(self, node: Node) -> int:
        """How many positions the tensor of a series has."""
        return self._needed[node]

    def series(self, node: Node, last: int) -> str:
        """The last positions of a series, [last, rows], in its own dtype."""
        return self.end(self._series[node], self.length(node), last)

    def define(self, node: Node, value: str, *, clean: bool) -> None:
        """`clean`: the value is NaN at every position before the stock was there."""
        self._series[node] = value
        self._clean[node] = clean

    def is_clean(self, node: Node) -> bool:
        return self._clean[node]

    def field(self, name: str, last: int) -> str:
        """float [last, rows] of a column of the bars."""
        by_field = self.add("Transpose", "bars", perm=(2, 1, 0))
        column = self.add("Gather", by_field, self.constant(np.array(self._fields[name], dtype=np.int64)), axis=0)
        return self.end(column, self._window, last)

    def lengths(self, last: int) -> str:
        """int64 [last, rows]: how many days the stock has been there at each of the last positions; not positive before."""
        ages = np.arange(last, dtype=np.int64)[::-1, None]
        return self.add("Sub", "length", self.constant(ages))

    def exists(self, last: int) -> str:
        """bool [last, rows]: the stock was there."""
        return self.add("Greater", self.lengths(last), self.constant(np.array(0, dtype=np.int64)))

    def masked(self, node: Node, kind: Dtype) -> str:
        """The whole tensor of a series as `kind`, NaN where the stock was not there yet."""
        value = self.cast(self._series[node], node.series, kind)
        if self._clean[node]:
            return value
        return self.add("Where", self.exists(self.length(node)), value, self.missing(kind))

    def missing(self, kind: Dtype) -> str:
        return self.constant(np.array(np.nan, dtype=_NUMPY.get(kind, np.float64)))

    # --- numbers and promotion ----------------------------------------------------------------------------------------

    def operand(self, node: Node, last: int, kind: Dtype) -> str:
        """A series or a number as `kind`."""
        if node.dtype is None:
            return self.constant(np.array(node.parameters[0], dtype=_NUMPY[kind]))
        return self.cast(self.series(node, last), node.dtype, kind)

    def windows(self, node: Node, positions: int, size: int) -> Windows:
        """The windows of `size` days that end at the last `positions` of a series."""
        return Windows(self, node, positions, size)


@dataclass(frozen=True)
class Windows:
    """[size, rows] for the last position alone, [size, positions, rows] for more; what is reduced is [positions, rows]."""

    emitter: Emitter
    node: Node
    positions: int
    size: int

    # --- what is shared by all windows of a series: whole tensors [length, rows] ----------------------------------------

    def raw(self) -> str:
        """double: the series as it is, infinities too, NaN where the stock was not there."""
        return self.emitter.masked(self.node, Dtype.FLOAT64)

    def prepared(self) -> str:
        """double: as pandas prepares it, infinities are NaN (`BaseWindow._prep_values`)."""
        raw = self.raw()
        if self.node.dtype not in (Dtype.FLOAT32, Dtype.FLOAT64):
            return raw
        return self.emitter.add("Where", self.emitter.add("IsInf", raw), self.emitter.missing(Dtype.FLOAT64), raw)

    def valid(self, whole: str) -> str:
        """double: 1 where there is a value, 0 elsewhere."""
        there = self.emitter.add("Not", self.emitter.add("IsNaN", whole))
        return self.emitter.cast(there, Dtype.BOOL, Dtype.FLOAT64)

    def filled(self, whole: str, value: float = 0.0) -> str:
        return self.emitter.add("Where", self.emitter.add("IsNaN", whole), self.emitter.double(value), whole)

    # --- windows of a whole tensor --------------------------------------------------------------------------------------

    def of(self, whole: str, length: int | None = None) -> str:
        """The windows of a tensor [length, rows]; without `length` it is as long as the series."""
        emitter = self.emitter
        length = length or emitter.length(self.node)
        if self.positions == 1:
            return emitter.end(whole, length, self.size)
        first = length - self.positions - self.size + 1
        places = first + np.arange(self.size)[:, None] + np.arange(self.positions)[None, :]
        return emitter.add("Gather", whole, emitter.constant(places.astype(np.int64)), axis=0)

    def by_day(self, numbers: Array) -> str:
        """A constant with one number for each day of a window, the last is the newest."""
        axes = (1,) * (1 if self.positions == 1 else 2)
        return self.emitter.constant(numbers.astype(np.float64).reshape(-1, *axes))

    def reduce(self, operator: str, windows: str) -> str:
        """One number per window, [positions, rows]."""
        return self.emitter.add(operator, windows, self.emitter.constant([0]), keepdims=int(self.positions == 1))

    def place(self, operator: str, windows: str) -> str:
        """ArgMax and ArgMin: the place of the first extreme value, int64 [positions, rows]."""
        return self.emitter.add(operator, windows, axis=0, keepdims=int(self.positions == 1))

    def at(self, windows: str, places: str) -> str:
        """The element of each window at an int64 place, [positions, rows]."""
        emitter, first = self.emitter, self.emitter.constant([0])
        if self.positions == 1:
            return emitter.add("GatherElements", windows, places, axis=0)
        found = emitter.add("GatherElements", windows, emitter.add("Unsqueeze", places, first), axis=0)
        return emitter.add("Squeeze", found, first)

    def ages(self) -> Array:
        """Days before the end of the window, [size], the last is 0."""
        return np.arange(self.size - 1, -1, -1, dtype=np.float64)


Rule = Callable[[Emitter, Node, int], tuple[str, bool]]
"""A node's tensor of the last positions, and whether it is NaN where the stock was not there."""
