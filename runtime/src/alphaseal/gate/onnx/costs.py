"""What running a graph takes: steps for each node, and the bytes of all values that live at one time.

A step is what takes about a nanosecond on one core (measured for every operator with onnxruntime 1.31, in single and double
precision and in bad layouts): a multiplication of a product of matrices is one and reading an element of them four, an
element of most operators 16, one that is computed by a series or fetched from anywhere 64.  A node costs some steps though
it computes nothing.

Values live as onnxruntime keeps them when it runs the nodes in the order of the file (graph.py asks it to): from the node
that gives them to the last that reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from alphaseal.gate.onnx.parts import Node
from alphaseal.gate.onnx.shapes import Call, Size, Value, evaluate, plus, product, size, times

NODE = 4096
"""Steps that any node takes."""
_MATRIX = 512
"""Steps that any product of two matrices takes, and any image of a convolution."""
_STEP_IN_TIME = 1024
"""Steps that a recurrence takes to go on."""
_READ, _ELEMENT, _SLOW, _FREE = 4, 16, 64, 0
_OF_ELEMENT: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("Identity", "Shape", "Size"), _FREE),
        **dict.fromkeys(("Celu", "Cosh", "Elu", "Mish", "Pow", "Selu", "Sinh", "Tan"), _SLOW),
        **dict.fromkeys(("Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Transpose"), _SLOW),
        **dict.fromkeys(("GroupNormalization", "InstanceNormalization", "LayerNormalization"), _SLOW),
        **dict.fromkeys(("LogSoftmax", "MeanVarianceNormalization", "Pad", "ReduceLogSumExp", "Softmax"), _SLOW),
        # Each split is a place of its own in memory.
        "TreeEnsemble": _ELEMENT,
    }
)
"""Steps of an element; of an element and a split for trees, of an element and a halving for TopK."""
_PRODUCTS = frozenset({"Conv", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"})
"""Their work is multiplications of one step each."""
_SEVERAL: Mapping[str, int] = MappingProxyType(
    # Computed by several nodes that the file does not name, or by way of copies.
    {
        "GroupNormalization": 6,
        "MeanVarianceNormalization": 6,
        "HardSwish": 4,
        "Mish": 4,
        "Softmax": 3,
        "LogSoftmax": 3,
        "TreeEnsemble": 2,
    }
)


class Work:
    """The steps of the nodes so far: of a call of `rows` rows, whatever its rows, and for each of them."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.total = self.constant = 0

    @property
    def per_row(self) -> int:
        return -(-(self.total - self.constant) // self._rows)

    def run(self, call: Call, values: Sequence[Value], work: Size | None) -> None:
        """The next node, which gives `values`; `work` counts its multiplications or what it reads, where that is more."""
        self.constant += NODE
        self.total += NODE
        operator = call.node.operator
        given = [product(value.shape) for value in values]
        if operator not in _PRODUCTS:
            each = _OF_ELEMENT.get(operator, _ELEMENT)
            for count in given if work is None else (*given[:-1], _larger(given[-1], work)):
                self._add(count, each)
            return
        for count in given:
            self._add(count, _ELEMENT)
        for read in filter(None, call.inputs):
            self._add(product(read.shape), _READ)
        if work is not None:
            self._add(work, 1)
        self._add(*_repeated(call, values[0]))

    def _add(self, count: Size, each: int) -> None:
        self.constant += count[0] * each
        self.total += evaluate(count, self._rows) * each


def _repeated(call: Call, result: Value) -> tuple[Size, int]:
    """How many small products a node is made of, and the steps that each takes beside its multiplications."""
    if call.node.operator in ("GRU", "LSTM", "RNN"):
        return product(result.shape[:2]), _STEP_IN_TIME
    if call.node.operator == "Conv":
        return times(result.shape[0], size(call.integer("group", 1))), _MATRIX
    # Einsum multiplies matrices over the letters that its operands have in common: at most as many as it gives numbers.
    return product(result.shape if call.node.operator == "Einsum" else result.shape[:-2]), _MATRIX


def _larger(left: Size, right: Size) -> Size:
    """A size that is not below either, for any number of rows."""
    longest = max(len(left), len(right))
    pairs = ((side[power] if power < len(side) else 0 for side in (left, right)) for power in range(longest))
    return tuple(max(pair) for pair in pairs)


def scratch(call: Call, given: int, work: Size | None, rows: int, element_bytes: int) -> int:
    """Bytes that a node takes while it runs, beside the `given` elements of its results and what it reads."""
    operator = call.node.operator
    if operator in ("GRU", "LSTM", "RNN"):
        steps, batch, inputs = call.shape()
        weights = product(call.shape(1)[:2])
        held = times(times(steps, batch), plus(weights, times(inputs, size(2))))
        return (evaluate(held, rows) + given) * element_bytes
    if operator == "Einsum":
        read = sum(evaluate(product(value.shape), rows) for value in call.inputs if value is not None)
        between = evaluate(work, rows) if work is not None and len(call.inputs) > 2 else given
        return (read + between) * element_bytes
    return given * element_bytes * _SEVERAL.get(operator, 0)


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
        self.most = max(self.most, self._now + more)
        for name in (*node.inputs, *node.outputs):
            if self._last.get(name, -1) <= self._place:
                self._now -= self._live.pop(name, 0)
        self._place += 1
