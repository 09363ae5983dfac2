"""V7: what an ONNX file may be, checked on its bytes before onnxruntime sees them.

The file is read as protobuf with our own reader (`onnx.wire`, `onnx.parts`).  Every operator has a row in a table
(`onnx.operators`) with bounds of its attributes, and the rules from which the size of every value is known before anything
runs, what the graph takes of time and memory (`onnx.costs`), and that no row depends on another (`onnx.rows`).  Only the
standard library is used: `alphaseal verify` runs this gate and loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from alphaseal.errors import PolicyError
from alphaseal.gate.onnx import shapes as shapes
from alphaseal.gate.onnx.attributes import Constant, wrong
from alphaseal.gate.onnx.costs import Memory, Work
from alphaseal.gate.onnx.operators import IR_VERSION, OPSETS, operator_of
from alphaseal.gate.onnx.parts import (
    FINITE,
    FLOAT32,
    FLOAT64,
    INT64,
    MISSING,
    UINT8,
    Model,
    Node,
    Port,
    Tensor,
    holds_byte,
    integers,
    read_model,
)
from alphaseal.gate.onnx.rows import COUNT, FIXED, Mixed, Rows, State, Step, follow
from alphaseal.gate.onnx.rules import Operator
from alphaseal.gate.onnx.shapes import Call, Unknown, Value
from alphaseal.gate.onnx.trees import NoTree
from alphaseal.gate.onnx.types import Element, bytes_of, is_real
from alphaseal.gate.onnx.wire import Source

if TYPE_CHECKING:
    from alphaseal.format.factors import FactorGraph, FactorProgram

MAXIMUM_MODEL = 2 << 30
_ROWS_OF_A_CALL = 2048
_ROWS_OF_A_DAY = 8192
_WINDOW_NUMBERS = 2 << 20
"""The runtime puts at most so many numbers of windows into one call."""


@dataclass(frozen=True)
class Limits:
    """What one call of a graph may take.

    `rows` is the most rows that a call gets, `elements` how many numbers one value may hold then, `memory` the bytes of the
    file and of all values that live at one time.  `work` bounds the steps (`onnx.costs`) per row, `constant_work` those that
    a call takes whatever its rows.  With `rows_alone` no result may depend on another row of the call, with `alphas` only operators
    for alpha features may be there.
    """

    rows: int = _ROWS_OF_A_CALL
    elements: int = 1 << 26
    memory: int = 1 << 30
    work: int = 1 << 28
    constant_work: int = 1 << 30
    file_bytes: int = MAXIMUM_MODEL
    rows_alone: bool = True
    alphas: bool = False


WHOLE_DAY = Limits(rows=_ROWS_OF_A_DAY, rows_alone=False)
"""For models whose scores depend on the other rows: they get a day at once."""
ALPHAS = Limits(
    rows=256, elements=1 << 23, memory=1 << 28, work=1 << 26, constant_work=1 << 28, file_bytes=64 << 20, alphas=True
)
"""For graphs from bars to alpha features; a call gets so many rows (`bars.ROWS_PER_CALL`)."""
FACTORS = replace(ALPHAS, alphas=False)
"""For graphs of compiled factors, which have functions that qlib's expressions do not have."""
_NOTHING = shapes.size(0)


@dataclass(frozen=True)
class ModelSummary:
    """What a graph is, for the comparison with the manifest and for people."""

    ir_version: int
    opsets: dict[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: int
    tensors: int
    operators: dict[str, int]
    trees: int
    tree_nodes: int
    largest_value: int
    """Elements of the largest value, for the most rows of a call."""
    work_per_row: int
    """Steps (`onnx.costs`) per row, for the most rows of a call."""
    constant_work: int
    """Steps of a call that do not depend on its rows."""
    memory: int
    """Bytes of the file and of all values that live at one time, for the most rows of a call."""


def check_model(data: bytes, where: str, *, limits: Limits | None = None) -> ModelSummary:
    """Check the bytes of one ONNX file; return what it is.

    Raises PolicyError (17): `model.size`, `model.protobuf`, `model.field`, `model.limit`, `model.tensor`, `model.graph`,
    `model.attribute`, `model.version`, `model.operator`, `model.signature`, `model.shape`, `model.growth`,
    `model.division`, `model.tree`, `model.not_finite`, `model.rows`.
    """
    limits = limits or Limits()
    source, model = _read(data, where, limits)
    feature_row = _check_signature(model, where)
    inputs = {model.inputs[0].name: (FLOAT64, Value((shapes.ROWS, *map(shapes.size, feature_row))))}
    numbers = 1
    for length in feature_row:
        numbers *= length
    # Windows make a call of fewer rows; sizes are judged for as many as the runtime gives.
    rows = max(1, min(limits.rows, _WINDOW_NUMBERS // numbers)) if len(feature_row) == 2 else limits.rows
    return _Walk(source, model, limits, inputs, rows).run()


def check_alphas(data: bytes, where: str, *, window: int, fields: int, features: int) -> ModelSummary:
    """Check the bytes of a graph that makes `features` columns of bars of `window` days and `fields` columns.

    Fewer operators than for scoring, and smaller values.  Raises what `check_model` does.
    """
    source, model = _read(data, where, ALPHAS)
    wanted = (
        Port("bars", FLOAT32, (None, window, fields)),
        Port("length", INT64, (None,)),
        Port("alphas", FLOAT32, (None, features)),
    )
    # 12.4: names, types and order are exactly these; the manifest says the numbers.
    if (*model.inputs, *model.outputs) != wanted:
        raise _other_signature(
            model,
            where,
            f"float bars [rows, {window}, {fields}] and int64 length in, float alphas [rows, {features}] out",
        )
    inputs = {
        "bars": (FLOAT32, Value((shapes.ROWS, shapes.size(window), shapes.size(fields)))),
        "length": (INT64, Value((shapes.ROWS,))),
    }
    return _Walk(source, model, ALPHAS, inputs, ALPHAS.rows).run()


def check_factor_graph(data: bytes, program: FactorProgram, graph: FactorGraph) -> ModelSummary:
    """Check the bytes of a graph of compiled factors: bars, columns of tables and of stages in, values out.

    Raises what `check_model` does.
    """
    where = graph.file
    source, model = _read(data, where, FACTORS)
    ports = (
        Port("bars", FLOAT32, (None, program.window, len(program.fields))),
        Port("length", INT64, (None,)),
        Port("tables", FLOAT64, (None, program.window, len(program.columns))),
        Port("stages", FLOAT64, (None, graph.taken)),
    )
    # An input without a column is none.
    wanted = tuple(port for port in ports if port.shape[-1] != 0)
    if (*model.inputs, *model.outputs) != (*wanted, Port("values", FLOAT64, (None, graph.given))):
        raise _other_signature(
            model, where, f"{', '.join(port.name for port in wanted)} in, double values [rows, {graph.given}] out"
        )
    inputs = {
        port.name: (port.element, Value((shapes.ROWS, *(shapes.size(length or 0) for length in port.shape[1:]))))
        for port in wanted
    }
    return _Walk(source, model, FACTORS, inputs, FACTORS.rows).run()


def _read(data: bytes, where: str, limits: Limits) -> tuple[Source, Model]:
    # Before anything is parsed: a file of any size could follow.
    if len(data) > limits.file_bytes:
        raise PolicyError(
            "model.size",
            "model file is too large",
            where=where,
            expected=f"at most {limits.file_bytes} bytes",
            found=f"{len(data)} bytes",
        )
    source = Source(data, where)
    model = read_model(source)
    _check_versions(model, where)
    return source, model


def _check_versions(model: Model, where: str) -> None:
    others = {domain: version for domain, version in model.opsets.items() if OPSETS.get(domain) != version}
    # 12.4: one version of each domain, since operators mean something else from one to the next.
    if model.ir_version != IR_VERSION or others or "" not in model.opsets:
        raise PolicyError(
            "model.version",
            "the graph is not of the versions that the format pins",
            where=where,
            expected=f"ir_version {IR_VERSION}, opsets {dict(OPSETS)}",
            found=f"ir_version {model.ir_version}, opsets {model.opsets}",
        )


def _check_signature(model: Model, where: str) -> tuple[int, ...]:
    """Double [rows, features] or [rows, steps, features] in, double [rows, columns] out; the lengths of a row that goes in."""
    # Section 5: a row or a window goes in, a number per row and column comes out.
    if len(model.inputs) == len(model.outputs) == 1 and all(
        _is_rows(port) for port in (model.inputs[0], model.outputs[0])
    ):
        row = tuple(length for length in model.inputs[0].shape if length is not None)
        if len(row) in (1, 2) and len(model.outputs[0].shape) == 2 and model.inputs[0].name != model.outputs[0].name:
            return row
    raise _other_signature(
        model, where, "double [rows, features] or [rows, steps, features] in, double [rows, columns] out"
    )


def _other_signature(model: Model, where: str, expected: str) -> PolicyError:
    found = [(port.name, port.element, port.shape) for port in (*model.inputs, *model.outputs)]
    return PolicyError(
        "model.signature",
        "the graph's inputs and outputs are not those of the format",
        where=where,
        expected=expected,
        found=str(found)[:200],
    )


def _is_rows(port: Port) -> bool:
    """Double, the first axis of any length, every other of a fixed one."""
    # A length of 0 would make every value empty, one beyond any row is a mistake.
    fixed = [length for length in port.shape[1:] if length is not None and 0 < length <= 1 << 24]
    return (
        port.element == FLOAT64 and len(port.shape) > 1 and port.shape[0] is None and len(fixed) == len(port.shape) - 1
    )


class _Walk:
    """The nodes in order: operator, attributes, names, shapes, types, what they take."""

    def __init__(
        self,
        source: Source,
        model: Model,
        limits: Limits,
        inputs: Mapping[str, tuple[int, Value]],
        rows: int,
    ) -> None:
        self._source = source
        self._model = model
        self._limits = limits
        self._rows = rows
        self._values: dict[str, Value] = {name: self._value_of(tensor) for name, tensor in model.tensors.items()}
        self._odd = {name: tensor for name, tensor in model.tensors.items() if tensor.worst != FINITE}
        self._types: dict[str, Element] = {name: tensor.element for name, tensor in model.tensors.items()}
        self._states: dict[str, State] = dict.fromkeys(self._values, FIXED)
        # A constant is bytes of the file, and so are the numbers of trees.
        self._memory = Memory(model.nodes, [port.name for port in model.outputs], len(source.data))
        for name, (element, value) in inputs.items():
            # 12.4: every value is made once.
            if name in self._values:
                raise PolicyError("model.graph", "an input is also a constant", where=source.where, found=name)
            self._values[name], self._states[name], self._types[name] = value, Rows(0), element
            # The caller keeps its input as long as the call lasts.
            self._memory.give(shapes.evaluate(shapes.product(value.shape), rows) * bytes_of(element))
        self._work = Work(rows)
        self._empty = {name for name, value in self._values.items() if _NOTHING in value.shape}
        self._largest = self._trees = self._tree_nodes = 0
        self._operators: dict[str, int] = {}

    def run(self) -> ModelSummary:
        for node in self._model.nodes:
            self._node(node)
        self._check_output()
        model = self._model
        return ModelSummary(
            model.ir_version,
            model.opsets,
            model.inputs,
            model.outputs,
            len(model.nodes),
            len(model.tensors),
            dict(sorted(self._operators.items())),
            self._trees,
            self._tree_nodes,
            self._largest,
            self._work.per_row,
            self._work.constant,
            self._memory.most,
        )

    def _place(self, node: Node) -> str:
        return self._source.place(node.tag)

    def _node(self, node: Node) -> None:
        operator = operator_of(node.domain, node.operator)
        # 12.4: no operator beyond the table, or of a domain that the file does not name; alphas.onnx may have fewer.
        if operator is None or node.domain not in self._model.opsets or (self._limits.alphas and not operator.alphas):
            raise PolicyError(
                "model.operator",
                f"{node} is not among the operators that the format allows",
                where=self._place(node),
                next_step="build the bundle with this version's converter, which writes no other",
            )
        self._operators[node.operator] = self._operators.get(node.operator, 0) + 1
        self._check_attributes(node, operator)
        (least, most), (fewest, highest) = operator.inputs, operator.outputs
        # 12.4: as many inputs as it takes; what a kernel does with more is its own affair.
        if not least <= len(node.inputs) <= most or not fewest <= len(node.outputs) <= highest:
            raise PolicyError(
                "model.operator", f"{node} has a wrong number of inputs or outputs", where=self._place(node)
            )
        call = self._call(node)
        self._check_finite(node, operator)
        types_in = [self._types[name] if name else None for name in node.inputs]
        types = operator.types(node, types_in)
        values = self._computed(operator, call, types)
        # A float divided by 0 is infinite and harms nobody.  A type that is not known counts as an integer.
        if operator.divides and not is_real(types_in):
            self._check_division(node, call)
        self._define(node, values, types, self._followed(operator, call, values))

    def _check_attributes(self, node: Node, operator: Operator) -> None:
        name = wrong(node.attributes, operator.attributes)
        # 12.4: attributes of the operator's own, within their bounds, and those that it cannot do without.
        if name is not None:
            raise PolicyError(
                "model.attribute",
                f"{node} has an attribute that the format does not allow, or lacks it",
                where=self._place(node),
                found=f"{name} {node.attributes.get(name, 'is missing')!s:.100}",
                expected=str(operator.attributes.get(name, "none of that name")),
            )

    def _call(self, node: Node) -> Call:
        for name in node.inputs:
            # 12.4: made before it is used, so the order of the file is an order in which it can run.
            if name and name not in self._values:
                raise PolicyError(
                    "model.graph",
                    f"{node} reads a value that nothing before it gives",
                    where=self._place(node),
                    found=name,
                )
        values = tuple(self._values[name] if name else None for name in node.inputs)
        return Call(node, values, self._source.data)

    def _check_finite(self, node: Node, operator: Operator) -> None:
        """NaN and infinity in constants only where our builders put them."""
        for tensor in filter(None, map(self._odd.get, node.inputs)):
            # 12.4: a NaN stands alone, without axes, for `Where` to put in; among other numbers it could hide.
            if tensor.worst > operator.reads or (tensor.worst == MISSING and tensor.shape != ()):
                raise PolicyError(
                    "model.not_finite",
                    f"{node} computes with a constant that is {'NaN' if tensor.worst == MISSING else 'infinite'}",
                    where=self._place(node),
                    found=tensor.name,
                )
        for name, value in node.attributes.items():
            rule = operator.attributes[name]
            # A threshold of a tree may be infinite, and so may the mask that a shape is filled with.
            if isinstance(value, Tensor) and isinstance(rule, Constant) and value.worst > rule.reads:
                raise PolicyError(
                    "model.not_finite", f"{node} has an attribute that is NaN or infinite", where=self._place(node)
                )

    def _check_division(self, node: Node, call: Call) -> None:
        """An integer is divided by numbers that are known and are neither 0 nor -1: processors trap at both.

        At -1 only the smallest integer does, which no rule here can exclude.
        """
        tensor, sizes = self._model.tensors.get(node.inputs[1]), call.value(1).elements
        if tensor is not None:
            source, signed = self._source, tensor.element != UINT8
            safe = not holds_byte(source, tensor, b"\x00") and not (signed and holds_byte(source, tensor, b"\xff"))
        else:
            # A length that depends on the rows is positive: there is a row at least.
            safe = sizes is not None and all(len(number) > 1 or number[0] not in (0, -1) for number in sizes)
        # 12.4: division by zero, and the smallest integer by -1, end the process on many processors.
        if not safe:
            raise PolicyError(
                "model.division",
                f"{node} divides integers by what may be 0 or -1",
                where=self._place(node),
                expected="a constant divisor without 0 and -1",
                found=node.inputs[1],
            )

    def _computed(self, operator: Operator, call: Call, types: list[Element]) -> list[Value]:
        node = call.node
        try:
            # 12.4: nothing is computed of an empty value but shapes.
            if self._empty:
                self._check_empty(operator, call)
            result = operator.shape(call)
            # What a node leaves out of its outputs is not made.
            values = list(result.values)[: max(1, len(node.outputs))]
            counts = shapes.check(call, values, self._place(node), self._limits.elements, self._rows)
            self._work.run(operator.cost, call, values, result.work)
            given, cost = sum(counts), operator.cost
            more = cost.held(call, given, result.work, self._rows) if cost.held else given * cost.copies
        except NoTree as reason:
            raise PolicyError("model.tree", f"{node}: {reason}", where=self._place(node)) from None
        except Unknown as reason:
            raise PolicyError(
                "model.shape",
                f"the result of {node} has no shape that can be known before it runs: {reason}",
                where=self._place(node),
            ) from None
        results = [count * bytes_of(element) for count, element in zip(counts, types, strict=True)]
        self._memory.run(node, results, more * bytes_of(types[0]))
        self._check_totals(node)
        self._largest = max(self._largest, *counts)
        self._trees, self._tree_nodes = self._trees + result.trees[0], self._tree_nodes + result.trees[1]
        return values

    def _check_empty(self, operator: Operator, call: Call) -> None:
        """Only a part of a shape may be empty, and only where shapes are put together."""
        for position, name in enumerate(call.node.inputs):
            if name in self._empty and (position not in operator.empty or call.value(position).elements is None):
                raise Unknown(f"input {position} is empty")

    def _check_totals(self, node: Node) -> None:
        """What the nodes up to this one take."""
        # 12.4.1: two sums, since a call of one row pays the constant part whole.
        if self._work.constant > self._limits.constant_work or self._work.per_row > self._limits.work:
            raise PolicyError(
                "model.growth",
                f"up to {node} the graph computes more than is allowed",
                where=self._place(node),
                expected=f"at most {self._limits.work} steps a row, and {self._limits.constant_work} for all rows",
                found=f"{self._work.per_row} and {self._work.constant}",
            )
        # 12.4.1: what lives at one time, not all that was ever made.
        if self._memory.most > self._limits.memory:
            raise PolicyError(
                "model.growth",
                f"at {node} the values that live at one time take more memory than is allowed",
                where=self._place(node),
                expected=f"at most {self._limits.memory} bytes for {self._rows} rows, with the file",
                found=f"{self._memory.most} bytes",
            )

    def _value_of(self, tensor: Tensor) -> Value:
        elements = integers(self._source, tensor)
        return Value(
            tuple(map(shapes.size, tensor.shape)), None if elements is None else tuple(map(shapes.size, elements))
        )

    def _followed(self, operator: Operator, call: Call, values: list[Value]) -> list[State]:
        """How the results depend on the rows; for graphs that may mix them nobody asks."""
        # `model.batch_dependent`: the model gets whole days, and its rows may meet.
        if not self._limits.rows_alone:
            return [FIXED] * len(values)
        node, states = call.node, tuple(self._states[name] if name else None for name in call.node.inputs)
        try:
            return follow(operator.rows, Step(call, states, values))
        except (Mixed, Unknown) as reason:
            raise self._mixed(f"{node} may let a row depend on others: {reason}", self._place(node)) from None

    def _mixed(self, text: str, where: str) -> PolicyError:
        return PolicyError(
            "model.rows",
            text,
            where=where,
            expected="every row scored alone, as the manifest says",
            next_step="the bundle's producer must say that the model is batch_dependent",
        )

    def _define(self, node: Node, values: list[Value], types: list[Element], states: list[State]) -> None:
        for position, name in enumerate(node.outputs):
            # An optional output that is left out; the first never is.
            if not name and position > 0:
                continue
            # 12.4: every value is made once, under a name of its own.
            if not name or name in self._values:
                raise PolicyError(
                    "model.graph",
                    f"{node} gives a value without a name of its own",
                    where=self._place(node),
                    found=repr(name),
                )
            self._values[name], self._types[name] = values[position], types[position]
            self._states[name] = states[position]
            if _NOTHING in values[position].shape:
                self._empty.add(name)

    def _check_output(self) -> None:
        port = self._model.outputs[0]
        value = self._values.get(port.name)
        wanted = (shapes.ROWS, *(shapes.size(length) for length in port.shape[1:] if length is not None))
        # What the file declares is what its nodes give: the manifest is compared with the declaration.
        if value is None or value.shape != wanted:
            raise PolicyError(
                "model.signature",
                "the graph does not give what it declares",
                where=self._source.where,
                expected=shapes.text(*wanted),
                found="nothing" if value is None else shapes.text(*value.shape),
            )
        # A score that is made of the number of rows alone mixes them too.
        if self._states[port.name] == COUNT:
            raise self._mixed("the result depends on the number of rows", self._source.where)
