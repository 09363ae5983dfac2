"""qlib expressions to one graph, from a window of bars to the last day's values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from alphaseal.gate.model import ALPHAS
from alphaseal_converter.alphas import elementwise, rolling
from alphaseal_converter.alphas.emit import ELEMENT, Emitter, Rule
from alphaseal_converter.alphas.nodes import Dtype, Node, Nodes, in_order, tail
from alphaseal_converter.alphas.scaling import Scaling, derive
from alphaseal_converter.alphas.syntax import parse
from alphaseal_converter.errors import RefusalError

MAXIMUM_LOOK_BACK: Final = 4_096
MAXIMUM_NUMBERS: Final = ALPHAS.elements // ALPHAS.rows
"""The most numbers of a row that one value of the graph may hold: the runtime's gate lets no more through."""
_LONGEST_REASON: Final = 160
_RULES: Final[Mapping[str, Rule]] = elementwise.RULES | rolling.RULES


@dataclass(frozen=True)
class CompiledAlphas:
    """A graph (None where nothing could be compiled) and what is known of every expression.

    `window` is the days of bars that the graph takes, `fields` their columns, `features` the columns that come out;
    `truncated` says of features of unlimited look-back which weight the days before the window would have had,
    `look_backs` how many days, the day itself included, a value needs (None: unlimited), `inputs` which fields it
    reads; `scalings` what a constant that multiplies all fields of a unit does, by unit; `not_compiled` why there is no column.
    """

    graph: bytes | None
    window: int
    fields: tuple[str, ...]
    features: tuple[str, ...]
    truncated: Mapping[str, float]
    look_backs: Mapping[str, int | None]
    inputs: Mapping[str, tuple[str, ...]]
    scalings: Mapping[str, Mapping[str, Scaling]]
    not_compiled: Mapping[str, str]


def compile_alphas(expressions: Mapping[str, str], more_fields: Collection[str] = ()) -> CompiledAlphas:
    """Compile expressions, by feature name, into one graph; the features come out in the mapping's order.

    An expression that cannot be compiled is left out, with the reason.  The bars have `more_fields` beside those that are read.
    """
    nodes = Nodes()
    roots: dict[str, Node] = {}
    not_compiled: dict[str, str] = {}
    for name, text in expressions.items():
        try:
            root = nodes.lower(parse(text))
            _check_size(root)
            roots[name] = root
        except RefusalError as refusal:
            not_compiled[name] = _reason(refusal)
    look_backs = {name: _look_back(root) for name, root in roots.items()}
    inputs = {name: tuple(sorted(fields_of(root))) for name, root in roots.items()}
    while (numbers := _bars(look_backs, inputs, more_fields)) > MAXIMUM_NUMBERS:
        longest = max(roots, key=lambda name: look_backs[name])
        not_compiled[longest] = f"with it, a stock's bars are too many numbers: {numbers} of {MAXIMUM_NUMBERS}"
        del roots[longest], look_backs[longest], inputs[longest]
    truncated = {name: weight for name, root in roots.items() if (weight := _tail(root)) > 0}
    window = max(look_backs.values(), default=0)
    fields = tuple(sorted({*more_fields, *(field for read in inputs.values() for field in read)}))
    return CompiledAlphas(
        graph=_graph(list(roots.values()), fields, window) if roots else None,
        window=window,
        fields=fields,
        features=tuple(roots),
        truncated=truncated,
        look_backs={name: None if name in truncated else days for name, days in look_backs.items()},
        inputs=inputs,
        scalings={name: derive(root) for name, root in roots.items()},
        not_compiled=not_compiled,
    )


def _bars(look_backs: Mapping[str, int], inputs: Mapping[str, tuple[str, ...]], more: Collection[str]) -> int:
    """How many numbers a row of bars has that all features can be made of."""
    return max(look_backs.values(), default=0) * len({*more, *(field for read in inputs.values() for field in read)})


def _reason(refusal: RefusalError) -> str:
    """One line for people, short enough for a manifest."""
    words = refusal.message if refusal.found is None else f"{refusal.message}: {refusal.found}"
    where = "" if refusal.where is None else f" ({refusal.where})"
    return words[:_LONGEST_REASON] + where


def days_back(node: Node) -> int:
    """How many days before a value its inputs are read."""
    if node.operator == "Ref":
        return int(node.parameters[0])
    return int(node.parameters[0]) - 1 if node.operator in rolling.RULES else 0


def _needed(roots: Iterable[Node]) -> dict[Node, int]:
    """Of each series how many of its last positions are read."""
    roots = list(roots)
    needed = dict.fromkeys(roots, 1)
    for node in reversed(in_order(roots)):
        for inner in node.inputs:
            if inner.dtype is not None:
                needed[inner] = max(needed.get(inner, 1), needed[node] + days_back(node))
    return needed


def _look_back(root: Node) -> int:
    return max(_needed([root]).values())


def _check_size(root: Node) -> None:
    """Refuse what needs too many days, or too much memory for windows of windows."""
    if root.dtype is None:
        raise RefusalError("alphas.arguments", "the expression is a number")
    needed = _needed([root])
    if max(needed.values()) > MAXIMUM_LOOK_BACK:
        raise RefusalError(
            "alphas.too_long", f"more than {MAXIMUM_LOOK_BACK} days are needed", found=f"{max(needed.values())}"
        )
    numbers = max(_numbers(node, count) for node, count in needed.items())
    if numbers > MAXIMUM_NUMBERS:
        raise RefusalError(
            "alphas.too_long", "windows of windows are too large", expected=f"{MAXIMUM_NUMBERS}", found=f"{numbers}"
        )


def _numbers(node: Node, positions: int) -> int:
    """How many numbers of a row the largest value of a node has."""
    size = days_back(node) + 1
    if node.operator not in rolling.RULES or (node.operator == "EMA" and rolling.is_recursive(node, positions)):
        return positions + size - 1
    return positions * size


def _tail(root: Node) -> float:
    """The weight that is cut off exponential means, added over those that the value goes through."""
    tails: dict[Node, float] = {}
    for node in in_order([root]):
        own = tail(node) if node.operator == "EMA" else 0.0
        tails[node] = own + max((tails[inner] for inner in node.inputs if inner.dtype is not None), default=0.0)
    return tails[root]


def fields_of(root: Node) -> set[str]:
    return {node.field for node in in_order([root]) if node.operator == "field"}


def series_graph(nodes: Sequence[Node], fields: tuple[str, ...]) -> tuple[bytes, int]:
    """A graph of the values of series on the last day, double and not rounded, and the days of bars that it takes."""
    window = max(_needed(nodes).values())
    return _graph(list(nodes), fields, window, Dtype.FLOAT64), window


def _graph(roots: list[Node], fields: tuple[str, ...], window: int, kind: Dtype = Dtype.FLOAT32) -> bytes:
    needed = _needed(roots)
    emitter = Emitter(fields, window, needed)
    for node in in_order(roots):
        value, clean = _RULES[node.operator](emitter, node, needed[node])
        emitter.define(node, value, clean=clean)
    columns = _columns(emitter, roots, kind)
    model = emitter.builder.alpha_model(window, len(fields), columns, len(roots), ELEMENT[kind])
    return bytes(model.SerializeToString(deterministic=True))


def _columns(emitter: Emitter, roots: list[Node], to: Dtype) -> str:
    """[rows, features]: series of one dtype are put together, cast at once (qlib's `astype(np.float32)`), ordered."""
    groups: list[str] = []
    order: list[int] = []
    for kind in Dtype:
        places = [place for place, root in enumerate(roots) if root.dtype is kind]
        if places:
            joined = _joined(emitter, [emitter.series(roots[place], 1) for place in places])
            groups.append(emitter.cast(joined, kind, to))
            order.extend(places)
    columns = _joined(emitter, groups)
    if order != sorted(order):
        columns = emitter.add("Gather", columns, emitter.constant(np.argsort(np.array(order)).astype(np.int64)), axis=0)
    return emitter.add("Transpose", columns, perm=(1, 0))


def _joined(emitter: Emitter, values: list[str]) -> str:
    return values[0] if len(values) == 1 else emitter.add("Concat", *values, axis=0)
