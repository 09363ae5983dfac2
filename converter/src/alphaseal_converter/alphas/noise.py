"""By how much qlib's own value of an expression may differ from the graph's: its rounding, propagated through the expression.

pandas and qlib compute windows by running sums: what one window leaves behind in the last bits is still there in the
next ones.  So a value depends, in its last bits, on the day on which the query began, and where little of the sums is
left (a correlation over two points, a window that hardly moves) these bits are all there is.  The graph computes each
window alone.  This is a running error analysis of one stock's series, with the stock's own numbers: every operator says
how far two computations of it may lie apart, given how far its inputs do.

Operators that both sides compute alike, to the last bit, have no noise: fields and arithmetic on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alphaseal.scoring.session import load_session, row_chunks, run_session
from alphaseal_converter.alphas import noise_rolling
from alphaseal_converter.alphas.compile import days_back, fields_of, series_graph
from alphaseal_converter.alphas.nodes import Dtype, Node, Nodes, in_order
from alphaseal_converter.alphas.noise_life import Days, Doubles, Life
from alphaseal_converter.alphas.syntax import parse

_ROWS: Final = 256
_UNITS: Final = {Dtype.FLOAT32: 2.0**-24, Dtype.FLOAT64: 2.0**-53}
_POWER_UNITS: Final = 4
"""Of numpy's and onnxruntime's powers together, in units of the rounding; logarithms of doubles likewise."""


_Rule = Callable[[Life, Node, Days], Doubles]


class Noise:
    """The noise of features by their expressions; the graphs are built once and serve every stock."""

    def __init__(self, expressions: Mapping[str, str]) -> None:
        """`expressions` compile (`compile_alphas`)."""
        nodes = Nodes()
        self.features = tuple(expressions)
        self._roots = [nodes.lower(parse(text)) for text in expressions.values()]
        self._ordered = in_order(self._roots)
        self.inexact = frozenset(name for name, root in zip(expressions, self._roots, strict=True) if _is_inexact(root))
        """Features that both sides do not compute alike to the last bit."""
        self.fields = tuple(sorted({name for root in self._roots for name in fields_of(root)}))
        # Running sums remember all days of what they read; of the other series only the days asked for are needed.
        read = {inner for node in self._ordered if node.operator in noise_rolling.RULES for inner in node.inputs}
        self._history = _Series([node for node in self._ordered if node in read], self.fields)
        self._others = _Series([node for node in self._ordered if node not in read], self.fields)

    def of(self, bars: NDArray[np.float32], days: Days) -> Doubles:
        """float64 [days, features]: by how much qlib's float32 value may differ from the graph's on some days.

        `bars` float32 [all days, fields] of one stock from its first day on, NaN where a value is missing; `days` are
        places in it, ascending.  0: the bits are the same.  Infinite: it may be anything, or missing.
        """
        needed = self._needed(days)
        everything = np.arange(len(bars))
        values = self._history.of(bars, everything)
        some = np.unique(np.concatenate([needed[node] for node in self._others.nodes])) if self._others.nodes else days
        values |= self._others.of(bars, some)
        life = Life(values)
        with np.errstate(all="ignore"):
            for node in self._ordered:
                apart = np.full(len(bars), np.nan)
                apart[needed[node]] = _RULES[node.operator](life, node, needed[node])
                # What is no number is unknown: an infinite distance less an infinite one, say.
                apart[needed[node]] = np.where(np.isnan(apart[needed[node]]), np.inf, apart[needed[node]])
                life.apart[node] = apart
            return np.column_stack([_as_float32(life, root, days) for root in self._roots])

    def _needed(self, days: Days) -> dict[Node, Days]:
        """The days of each series whose noise is needed, ascending."""
        needed: dict[Node, list[Days]] = {node: [] for node in self._ordered}
        for root in self._roots:
            needed[root].append(days)
        found: dict[Node, Days] = {}
        for node in reversed(self._ordered):
            found[node] = np.unique(np.concatenate(needed[node]))
            back = days_back(node)
            reach = np.array([back]) if node.operator == "Ref" else np.arange(back + 1)
            before = np.unique((found[node][:, None] - reach).ravel())
            for inner in node.inputs:
                if inner.dtype is not None:
                    needed[inner].append(before[before >= 0])
        return found


def _is_inexact(root: Node) -> bool:
    """Whether any operator rounds differently in two libraries."""
    return any(
        node.operator in noise_rolling.SUMS
        or node.operator == "Power"
        or (node.operator == "Log" and node.inputs[0].dtype is not Dtype.FLOAT32)
        for node in in_order([root])
    )


class _Series:
    """The graph of some series."""

    def __init__(self, nodes: list[Node], fields: tuple[str, ...]) -> None:
        self.nodes = nodes
        if nodes:
            graph, self._window = series_graph(nodes, fields)
            self._session = load_session(graph, "the graph of the series")

    def of(self, bars: NDArray[np.float32], days: Days) -> dict[Node, Doubles]:
        """float64 [all days] of each, NaN but on `days`."""
        values = {node: np.full(len(bars), np.nan) for node in self.nodes}
        if not self.nodes:
            return values
        padded = np.concatenate([np.full((self._window - 1, bars.shape[1]), np.nan, np.float32), bars])
        windows = np.lib.stride_tricks.sliding_window_view(padded, self._window, axis=0).transpose(0, 2, 1)
        for part in row_chunks(len(days), _ROWS):
            chosen = days[part]
            inputs = {
                "bars": np.ascontiguousarray(windows[chosen]),
                "length": np.minimum(chosen + 1, self._window),
            }
            found = run_session(self._session, inputs)
            for place, node in enumerate(self.nodes):
                values[node][chosen] = found[:, place]
        return values


def _as_float32(life: Life, root: Node, days: Days) -> Doubles:
    """qlib keeps float32: two doubles that are apart may go to two neighbours, however near they are."""
    apart, size = life.distance(root, days), np.abs(life.value(root, days))
    step = np.spacing((size + apart).astype(np.float32)).astype(np.float64)
    return np.where(apart > 0, apart + np.where(np.isnan(step), np.inf, step), 0.0)


# --- operators that compute each day alone ------------------------------------------------------------------------------


def _rounded(node: Node, value: Doubles, apart: Doubles) -> Doubles:
    """With the rounding of one operation on both sides; inputs that are alike give bits that are alike."""
    unit = _UNITS.get(node.series, 0.0)
    return np.where(apart > 0, apart + 2 * unit * (np.abs(np.nan_to_num(value, posinf=0.0, neginf=0.0)) + apart), 0.0)


def _field(life: Life, node: Node, days: Days) -> Doubles:
    return np.zeros(len(days))


def _strict(rule: _Rule) -> _Rule:
    """Of an operator that gives NaN where an input is NaN: on both sides, if it is missing on both."""

    def of(life: Life, node: Node, days: Days) -> Doubles:
        missing = np.zeros(len(days), np.bool_)
        for inner in node.inputs:
            missing |= np.isnan(life.value(inner, days)) & np.isfinite(life.distance(inner, days))
        return np.where(missing, 0.0, rule(life, node, days))

    return of


def _arithmetic(life: Life, node: Node, days: Days) -> Doubles:
    left, right = (life.value(inner, days) for inner in node.inputs)
    of_left, of_right = (life.distance(inner, days) for inner in node.inputs)
    value = life.value(node, days)
    if node.operator in ("Greater", "Less"):
        return np.maximum(of_left, of_right)
    if node.operator in ("Add", "Sub"):
        return _rounded(node, value, of_left + of_right)
    if node.operator == "Mul":
        apart = np.where(of_right > 0, np.abs(left) * of_right, 0.0) + np.where(
            of_left > 0, np.abs(right) * of_left, 0.0
        )
        return _rounded(node, value, apart + of_left * of_right)
    return _rounded(node, value, _quotient(left, right, of_left, of_right))


def _quotient(left: Doubles, right: Doubles, of_left: Doubles, of_right: Doubles) -> Doubles:
    """Nothing is known where the divisor may be zero on one side only, or zero divided by it."""
    alike = (of_left == 0) & (of_right == 0)
    apart = (np.abs(left) * of_right + np.abs(right) * of_left) / (np.abs(right) * (np.abs(right) - of_right))
    unknown = (np.abs(right) <= of_right) & ~((right == 0) & (of_right == 0) & (np.abs(left) > of_left))
    return np.where(alike, 0.0, np.where(unknown, np.inf, np.where(right == 0, 0.0, apart)))


def _comparison(life: Life, node: Node, days: Days) -> Doubles:
    """1 where the answer may be the other one; an unknown side makes it unknown."""
    left, right = (life.value(inner, days) for inner in node.inputs)
    apart = sum((life.distance(inner, days) for inner in node.inputs), np.zeros(len(days)))
    other = (apart > 0) & ~(np.abs(left - right) > apart)
    return np.where(np.isinf(apart), np.inf, np.where(other, 1.0, 0.0))


def _logical(life: Life, node: Node, days: Days) -> Doubles:
    left, *others = (life.distance(inner, days) for inner in node.inputs)
    return np.maximum(left, others[0]) if others else left


def _unary(life: Life, node: Node, days: Days) -> Doubles:
    (inner,) = node.inputs
    size, apart = np.abs(life.value(inner, days)), life.distance(inner, days)
    if node.operator == "Sign":
        return np.where(np.isinf(apart), np.inf, np.where((apart > 0) & (size <= apart), 2.0, 0.0))
    if node.operator != "Log":
        return apart
    # float32 logarithms are numpy's own, step by step; those of doubles are of two libraries.
    inexact = (apart > 0) | (inner.dtype is not Dtype.FLOAT32)
    own = _POWER_UNITS * _UNITS[node.series] * np.abs(np.nan_to_num(life.value(node, days), posinf=0.0, neginf=0.0))
    # It bends most at the lower end.
    moved = np.where(apart > 0, np.where(size > apart, -np.log1p(-apart / size), np.inf), 0.0)
    return np.where(inexact, moved + own, 0.0)


def _power(life: Life, node: Node, days: Days) -> Doubles:
    """Two libraries' powers, and the slopes in both arguments."""
    base, exponent = (life.value(inner, days) for inner in node.inputs)
    of_base, of_exponent = (life.distance(inner, days) for inner in node.inputs)
    result = life.value(node, days)
    value = np.abs(np.nan_to_num(result, posinf=0.0, neginf=0.0))
    own = _POWER_UNITS * _UNITS[node.series] * value
    share = of_base / np.abs(base)
    # ln of the ratio: (y + dy) ln(1 + dx / x) + dy ln x
    moved = (np.abs(exponent) + of_exponent) * np.where(of_base > 0, -np.log1p(-share), 0.0)
    moved = moved + np.where(of_exponent > 0, np.abs(np.log(np.abs(base))) * of_exponent, 0.0)
    unknown = ((of_base > 0) & ~(share < 1)) | ((of_exponent > 0) & ~(base > 0)) | (np.isinf(result) & (moved > 0))
    return np.where(unknown, np.inf, value * np.expm1(moved) + own * np.exp(moved))


def _choice(life: Life, node: Node, days: Days) -> Doubles:
    condition, left, right = node.inputs
    chosen, of_condition = life.value(condition, days), life.distance(condition, days)
    first, second = life.value(left, days), life.value(right, days)
    of_first, of_second = life.distance(left, days), life.distance(right, days)
    unsure = (of_condition > 0) & ~(np.abs(chosen) > of_condition)
    if condition.dtype is Dtype.BOOL:
        unsure = of_condition > 0
    both = np.abs(first - second) + np.maximum(of_first, of_second)
    known = np.where(np.isnan(chosen) | (chosen != 0), of_first, of_second)
    return np.where(unsure, np.where(np.isnan(first) & np.isnan(second), 0.0, both), known)


def _reference(life: Life, node: Node, days: Days) -> Doubles:
    (inner,) = node.inputs
    before = days - int(node.parameters[0])
    return np.where(before >= 0, life.distance(inner, np.maximum(before, 0)), 0.0)


_RULES: Final[Mapping[str, _Rule]] = {
    "field": _field,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Greater", "Less"), _strict(_arithmetic)),
    **dict.fromkeys(("Gt", "Ge", "Lt", "Le", "Eq", "Ne"), _strict(_comparison)),
    **dict.fromkeys(("And", "Or", "Not"), _logical),
    **dict.fromkeys(("Abs", "Sign", "Log"), _strict(_unary)),
    "Power": _power,
    "If": _choice,
    "Ref": _reference,
    **noise_rolling.RULES,
}
