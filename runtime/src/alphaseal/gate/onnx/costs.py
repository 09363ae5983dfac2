"""What running a graph takes: steps for each node, and the bytes of all values that live at one time.

A step is what takes about a nanosecond on one core (measured for every operator with onnxruntime 1.31, in single and double
precision and in bad layouts): a multiplication of a product of matrices is one and reading an element of them four, an
element of most operators 16, one that is computed by a series or fetched from anywhere 64.  A node costs some steps though
it computes nothing.

Values live as onnxruntime keeps them when it runs the nodes in the order of the file (graph.py asks it to): from the node
that gives them to the last that reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from alphaseal.gate.onnx.parts import Node
from alphaseal.gate.onnx.shapes import Call, Size, Value, evaluate, product

NODE = 4096
"""Steps that any node takes."""
MATRIX = 512
"""Steps that any product of two matrices takes, and any image of a convolution."""
_READ, _ELEMENT = 4, 16
"""Steps to read an element of a product, and of an element of its result."""


class Cost(NamedTuple):
    """What a node takes beside `NODE`."""

    each: int = _ELEMENT
    """Steps of an element; of an element and a split for trees, each a place of its own in memory; of an element and a halving
    for TopK."""
    copies: int = 0
    """Times its results: by way of copies, or computed by several nodes that the file does not name."""
    parts: Callable[[Call, Value], tuple[Size, int]] | None = None
    """Of a product, whose multiplications are one step each: how many small products it is made of, and the steps of each."""
    held: Callable[[Call, int, Size | None, int], int] | None = None
    """Elements that it holds while it runs, of the call, those that it gives, its multiplications, and the rows of a call."""


SLOW, FREE = Cost(64), Cost(0)


def matrices(call: Call, result: Value) -> tuple[Size, int]:
    """Of a product of matrices."""
    return product(result.shape[:-2]), MATRIX


class Work:
    """The steps of the nodes so far: of a call of `rows` rows, whatever its rows, and for each of them."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.total = self.constant = 0

    @property
    def per_row(self) -> int:
        return -(-(self.total - self.constant) // self._rows)

    def run(self, cost: Cost, call: Call, values: Sequence[Value], work: Size | None) -> None:
        """The next node, which gives `values`; `work` counts its multiplications or what it reads, where that is more."""
        self.constant += NODE
        self.total += NODE
        given = [product(value.shape) for value in values]
        if cost.parts is None:
            # A reduction reads more than it gives, and takes as long as it reads.
            for count in given if work is None else (*given[:-1], _larger(given[-1], work)):
                self._add(count, cost.each)
            return
        for count in given:
            self._add(count, _ELEMENT)
        for read in filter(None, call.inputs):
            self._add(product(read.shape), _READ)
        if work is not None:
            self._add(work, 1)
        self._add(*cost.parts(call, values[0]))

    def _add(self, count: Size, each: int) -> None:
        # The part that any call pays; the rest is divided by the rows.
        self.constant += count[0] * each
        self.total += evaluate(count, self._rows) * each


def _larger(left: Size, right: Size) -> Size:
    """A size that is not below either, for any number of rows."""
    longest = max(len(left), len(right))
    pairs = ((side[power] if power < len(side) else 0 for side in (left, right)) for power in range(longest))
    return tuple(max(pair) for pair in pairs)


class Memory:
    """The bytes of the values that live, node by node; `most` is the most there ever were at one time."""

    def __init__(self, nodes: Sequence[Node], outputs: Iterable[str], constants: int) -> None:
        """`constants` are bytes that live all the time."""
        self._last: dict[str, int] = {}
        for place, node in enumerate(nodes):
            for name in node.inputs:
                self._last[name] = place
        for name in outputs:
            self._last[name] = len(nodes)
        self._live: dict[str, int] = {}
        self._now = self.most = constants
        self._place = 0

    def give(self, count: int) -> None:
        """A value of so many bytes that the caller gives, and keeps."""
        self._now += count
        self.most = max(self.most, self._now)

    def run(self, node: Node, results: Sequence[int], more: int) -> None:
        """The next node, with the bytes of what it gives, and those that it takes while it runs."""
        for name, count in zip(node.outputs, results, strict=False):
            if name:
                self._live[name] = count
                self._now += count
        # Results and scratch live together with all that is still to be read.
        self.most = max(self.most, self._now + more)
        for name in (*node.inputs, *node.outputs):
            # Nobody reads it later, or ever: freed when the node has run.
            if self._last.get(name, -1) <= self._place:
                self._now -= self._live.pop(name, 0)
        self._place += 1
