"""Traced factors to a program: graphs of bars, and stages across stocks between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from onnx import TensorProto, helper

from alphaseal_converter.emission import elementwise, periods, rows, windows
from alphaseal_converter.emission.emitter import NUMPY, Column, Emitter, Rule
from alphaseal_converter.emission.plan import USUAL, NotEmittedError, Plan, Reach, plan, span
from alphaseal_converter.factors.expressions.document import Traced
from alphaseal_converter.factors.expressions.evaluate import constant_value
from alphaseal_converter.factors.expressions.nodes import ACROSS, Node, in_order

BARS: Final = "bars"
"""The table of the bars; every other is a side table."""
LARGEST: Final = 1 << 15
"""Numbers of one stock that a value of a graph may have: the runtime's gate lets no more through."""
_RULES: Final[Mapping[str, Rule]] = {**elementwise.RULES, **rows.RULES, **periods.RULES, **windows.RULES}


@dataclass(frozen=True)
class Series:
    """Columns `first` to `first` + `days` of a tensor double [rows, columns]: a value on the last `days` days.

    `since`: the column that says from which day of the window on (0: the oldest) the value does not depend on days before
    the window; None: it never does.
    """

    first: int
    days: int
    dtype: str
    since: int | None = None


@dataclass(frozen=True)
class Graph:
    """`model`: `bars` float [rows, window, fields], `length` int64 [rows], `tables` double [rows, window, columns] and `stages`
    double [rows, `taken`] (each where it has columns) to `values` double [rows, `given`]."""

    model: bytes
    taken: int
    given: int


@dataclass(frozen=True)
class Stage:
    """One operation across stocks (`expressions.nodes`), of series that the graph before gives; `gives` is what it gives."""

    operator: str
    parameters: Mapping[str, Any]
    inputs: tuple[Series | float | bool, ...]
    """In the node's order: values, mask, keys; a number is the same for all stocks."""
    gives: Series
    dtype: str


@dataclass(frozen=True)
class Program:
    """Factors of one window: `graphs[0]`, the stages `stages[0]`, `graphs[1]`, …; `factors` are columns of the last graph."""

    window: int
    fields: tuple[str, ...]
    columns: tuple[Column, ...]
    graphs: tuple[Graph, ...]
    stages: tuple[tuple[Stage, ...], ...]
    factors: Mapping[str, Series]


def compile_factors(factors: Mapping[str, Traced], whole: frozenset[str], reach: Reach = USUAL) -> Program:
    """One program of all factors; `whole` are tables that have a row on every day of a stock's series.

    Raises NotEmittedError where a graph cannot hold them.
    """
    value = {name: traced.value for name, traced in factors.items()}
    there = {name: traced.rows for name, traced in factors.items()}
    roots = [*value.values(), *there.values()]
    planned = plan(roots, whole, reach)
    ordered = in_order(roots)
    _check_sizes(ordered, planned)
    sources = _Sources.of(ordered, whole)
    depth = max(planned.levels[root] for root in roots)
    graphs: list[Graph] = []
    stages: list[tuple[Stage, ...]] = []
    known: dict[Node, tuple[int, int]] = {}
    taken = 0
    for level in range(depth + 1):
        across = [node for node in ordered if node.operator in ACROSS and planned.levels[node] == level + 1]
        writer = _Writer(Emitter(planned, sources.fields, sources.columns, known), planned)
        if level < depth:
            wanted = [(node, planned.days[one]) for one in across for node in one.inputs]
            series = writer.give(wanted)
            found: list[Stage] = []
            after = taken
            for one in across:
                gives = Series(after, planned.days[one], one.dtype)
                after += gives.days
                found.append(Stage(one.operator, dict(one.parameters), _inputs(one, planned, series), gives, one.dtype))
            graphs.append(writer.graph(planned.window, sources, taken))
            stages.append(tuple(found))
            known = known | {
                one: (stage.gives.first, stage.gives.days) for one, stage in zip(across, found, strict=True)
            }
            taken = after
        else:
            results = {name: writer.result(value[name], there[name]) for name in factors}
            graphs.append(writer.graph(planned.window, sources, taken))
    return Program(planned.window, sources.fields, sources.columns, tuple(graphs), tuple(stages), results)


def _inputs(node: Node, planned: Plan, series: Mapping[tuple[Node, int], Series]) -> tuple[Series | float | bool, ...]:
    return tuple(
        constant_value(inner).item() if inner in planned.numbers else series[inner, planned.days[node]]
        for inner in node.inputs
    )


def _check_sizes(ordered: Iterable[Node], planned: Plan) -> None:
    for node in ordered:
        has_windows = "window" in node.parameters or node.operator == "period"
        size = node.window or (span(node, planned.reach) + 1 if has_windows else 1)
        numbers = planned.days[node] * size
        if max(numbers, planned.window) > LARGEST:
            raise NotEmittedError(f"{node.operator} over {size} rows on {planned.days[node]} days is too large a value")


@dataclass(frozen=True)
class _Sources:
    """Columns of the bars and of the other tables that expressions read."""

    fields: tuple[str, ...]
    columns: tuple[Column, ...]

    @classmethod
    def of(cls, ordered: Iterable[Node], whole: frozenset[str]) -> _Sources:
        fields: set[str] = set()
        columns: set[Column] = set()
        for node in ordered:
            column = _column(node, whole)
            if column is not None:
                columns.add(column)
            elif node.operator == "field":
                fields.add(field_of(node))
        # The bars are an input of every graph, and an input has a column.
        return cls(tuple(sorted(fields)), tuple(sorted(columns, key=lambda one: (one.table, one.column or ""))))


def _column(node: Node, whole: frozenset[str]) -> Column | None:
    """The column of `tables` that a node reads; None: it reads the bars, or nothing."""
    if node.operator == "period":
        return periods.DAY_NUMBER
    if node.operator == "calendar":
        return Column("", str(node["part"]), "int64")
    if node.operator == "rows":
        return None if node["table"] in whole else Column(str(node["table"]), None, "bool")
    if node.operator == "field" and node["table"] == BARS:
        if node.dtype != "float32":
            raise NotEmittedError(f"the column {node['column']!r} of the bars is {node.dtype}, float32 is expected")
        return None
    if node.operator == "field":
        return Column(str(node["table"]), str(node["column"]), node.dtype)
    return None


def field_of(node: Node) -> str:
    """The name that a column of the bars has in a bundle."""
    return str(node["column"]).removeprefix("$")


class _Writer:
    """One graph: the nodes that its results need, in order."""

    def __init__(self, emitter: Emitter, planned: Plan) -> None:
        self.emitter, self.plan = emitter, planned
        self._done: set[Node] = set()
        self._parts: list[str] = []
        self._width = 0

    def give(self, wanted: Iterable[tuple[Node, int]]) -> dict[tuple[Node, int], Series]:
        """Columns for the last days of nodes; those that are numbers are left out."""
        found: dict[tuple[Node, int], Series] = {}
        for node, days in wanted:
            if (node, days) in found or node in self.plan.numbers:
                continue
            self._emit(node)
            found[node, days] = self._add(self.emitter.last(node, days), days, node.dtype, [node])
        return found

    def result(self, value: Node, there: Node) -> Series:
        """A factor on the newest day: its value where it has a row, NaN elsewhere."""
        emitter = self.emitter
        for node in (value, there):
            self._emit(node)
        wide = emitter.to(emitter.last(value, 1), value.dtype, "float64")
        mask = emitter.mask(there, 1)
        if mask is None:
            mask = emitter.add("Or", emitter.exists(1), emitter.add("Not", emitter.exists(1)))
        kept = emitter.add("Where", mask, wide, emitter.nan)
        return self._add(kept, 1, "float64", [value, there])

    def _add(self, value: str, days: int, dtype: str, nodes: Sequence[Node]) -> Series:
        emitter = self.emitter
        first = self._width
        wide = emitter.to(value, dtype, "float64")
        if dtype == "text":
            # A text is a key of a stage, and a stock without one is in no group.
            wide = emitter.add("Where", emitter.add("Less", wide, emitter.double(0.0)), emitter.nan, wide)
        self._parts.append(wide)
        self._width += days
        since = emitter.since(nodes)
        place = None
        if since is not None:
            place = self._width
            self._parts.append(emitter.to(since, "int64", "float64"))
            self._width += 1
        return Series(first, days, dtype, place)

    def _emit(self, root: Node) -> None:
        waiting = [(root, False)]
        while waiting:
            node, ready = waiting.pop()
            if node in self._done:
                continue
            if not ready and not self._is_source(node):
                waiting.append((node, True))
                waiting.extend((inner, False) for inner in node.inputs)
                continue
            self._done.add(node)
            self.emitter.define(node, *self._value(node))

    def _is_source(self, node: Node) -> bool:
        return node in self.plan.numbers or node.operator in ("field", "rows", "calendar") or node.operator in ACROSS

    def _value(self, node: Node) -> tuple[str, str | None]:
        emitter, days = self.emitter, self.plan.days[node]
        if node in self.plan.numbers:
            value = constant_value(node).astype(NUMPY[node.dtype])
            return emitter.constant(value.reshape(-1, 1, 1) if node.window else value.reshape(())), None
        if node.operator in ACROSS:
            wide = emitter.stage(node, days)
            if node.dtype == "bool":
                return emitter.add("Greater", wide, emitter.double(0.5)), None
            return emitter.to(wide, "float64", node.dtype), None
        if not self._is_source(node):
            rule = _RULES.get(node.operator)
            if rule is None:
                raise NotEmittedError(f"no graph computes {node.operator}")
            return rule(emitter, node, days)
        column = _column(node, self.plan.whole)
        if column is None:
            if node.operator == "rows":
                return emitter.exists(days), None
            return emitter.field(field_of(node), days), None
        wide = emitter.column(column, days)
        if node.dtype == "bool":
            return emitter.add("Greater", wide, emitter.double(0.5)), None
        return emitter.to(wide, "float64", node.dtype), None

    def graph(self, window: int, sources: _Sources, taken: int) -> Graph:
        emitter = self.emitter
        joined = self._parts[0] if len(self._parts) == 1 else emitter.add("Concat", *self._parts, axis=0)
        values = emitter.add("Transpose", joined, perm=(1, 0))
        shapes: list[tuple[str, Any, list[str | int]]] = [
            ("bars", TensorProto.FLOAT, ["rows", window, len(sources.fields)]),
            ("length", TensorProto.INT64, ["rows"]),
            ("tables", TensorProto.DOUBLE, ["rows", window, len(sources.columns)]),
            ("stages", TensorProto.DOUBLE, ["rows", taken]),
        ]
        inputs = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in shapes if shape[-1] != 0]
        output = helper.make_tensor_value_info("values", TensorProto.DOUBLE, ["rows", self._width])
        model = emitter.builder.assembled("factors", inputs, output, values, [""])
        return Graph(bytes(model.SerializeToString(deterministic=True)), taken, self._width)
