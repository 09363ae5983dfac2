"""How many days each node of a program must give, and where its stages across stocks cut it into graphs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from alphaseal_converter.factors.expressions.nodes import ACROSS, COUNTS_ROWS, ROWS_AWARE, Node, in_order
from alphaseal_converter.factors.expressions.properties import TAIL, rows_taken


class NotEmittedError(Exception):
    """An expression that no graph can hold; the text says why."""


@dataclass(frozen=True)
class Reach:
    """How far a program looks where no number of days is enough in every case."""

    gaps: int = 60
    """Days that a stock may be away between rows that are counted, beyond those that the expression needs without gaps; rows
    that lack a value between those of an exponential mean."""
    fill: int = 250
    """Days that a fill without a limit of its own looks back."""

    def times(self, factor: int) -> Reach:
        return Reach(self.gaps * factor, self.fill * factor)


USUAL: Final = Reach()


class RowKind(Enum):
    """What is known of a mask: all days of a stock's series, every day there is, or days with gaps."""

    SERIES = "series"
    EVERY_DAY = "every day"
    GAPS = "gaps"


@dataclass(frozen=True)
class Plan:
    """`days`: of each node how many of its last days its readers take; `window`: days of bars that a graph takes.

    `levels`: of each node how many stages across stocks, one after the other, it lies behind.
    """

    days: Mapping[Node, int]
    window: int
    levels: Mapping[Node, int]
    whole: frozenset[str]
    """Tables that have a row on every day of a stock's series."""
    numbers: frozenset[Node]
    """Nodes that are the same for all stocks and days."""
    reach: Reach

    def rows(self, mask: Node) -> RowKind:
        return rows_of(mask, self.whole)


def rows_of(mask: Node, whole: frozenset[str]) -> RowKind:
    """What is known of a mask when the tables `whole` have a row on every day of a stock's series."""
    if mask.operator == "rows" and mask["table"] in whole:
        return RowKind.SERIES
    return RowKind.EVERY_DAY if mask.operator == "constant" and mask["value"] else RowKind.GAPS


def span(node: Node, reach: Reach) -> int:
    """Rows before its own that an operator looks at, days of a period; a fill without limit as far as it is followed."""
    if node.operator == "shift":
        return int(node["periods"])
    if node.operator == "ffill":
        return reach.fill if node["limit"] is None else int(node["limit"])
    if node.operator == "ewm":
        return weighed(node) - 1 + reach.gaps
    if node.operator == "period":
        return rows_taken(node)
    return int(node["window"]) - 1 if node.operator in ROWS_AWARE else 0


def weighed(node: Node) -> int:
    """Values that an exponential mean takes; those before weigh less than `TAIL`."""
    rest = 1.0 - float(node["alpha"])
    return 1 if rest <= 0 else max(int(node["min_periods"]), math.ceil(math.log(TAIL) / math.log(rest)) + 1)


def plan(roots: Iterable[Node], whole: frozenset[str], reach: Reach = USUAL) -> Plan:
    """Days of every node behind the `roots`, of which the newest day is wanted."""
    roots = list(roots)
    ordered = in_order(roots)
    window = max(_days(roots, ordered, whole, reach, None).values())
    if any(_has_gaps(node, whole) for node in ordered):
        window += reach.gaps
    return Plan(_days(roots, ordered, whole, reach, window), window, _levels(ordered), whole, _numbers(ordered), reach)


def counts_every_day(roots: Iterable[Node]) -> bool:
    """Whether an operator counts days on which a stock has no row, as a table of days by stocks does."""
    masks = (mask_of(node) for node in in_order(roots) if node.operator in ROWS_AWARE | ACROSS)
    return any(rows_of(mask, frozenset()) is RowKind.EVERY_DAY for mask in masks)


def mask_of(node: Node) -> Node:
    """The rows that count, of an operator that looks at several."""
    return node.inputs[-1] if node.operator in ROWS_AWARE else node.inputs[2 if node.operator == "day_pair" else 1]


def _has_gaps(node: Node, whole: frozenset[str]) -> bool:
    return node.operator in COUNTS_ROWS and rows_of(node.inputs[-1], whole) is RowKind.GAPS


def _days(
    roots: list[Node], ordered: list[Node], whole: frozenset[str], reach: Reach, window: int | None
) -> dict[Node, int]:
    """With a `window`, what looks at rows with gaps takes all of its days."""
    days = dict.fromkeys(roots, 1)
    for node in reversed(ordered):
        own = days[node] + span(node, reach)
        if window is not None and (_has_gaps(node, whole) or is_endless(node)):
            own = window
        for inner in node.inputs:
            days[inner] = max(days.get(inner, 1), own if window is None else min(own, window))
    return days


def is_endless(node: Node) -> bool:
    """A fill that no number of rows ends: it takes all days there are."""
    return node.operator == "ffill" and node["limit"] is None


def _levels(ordered: list[Node]) -> dict[Node, int]:
    levels: dict[Node, int] = {}
    for node in ordered:
        deepest = max((levels[inner] for inner in node.inputs), default=0)
        levels[node] = deepest + (node.operator in ACROSS)
    return levels


def _numbers(ordered: list[Node]) -> frozenset[Node]:
    found: set[Node] = set()
    for node in ordered:
        if node.operator in ("constant", "vector") or (
            node.operator not in ROWS_AWARE | ACROSS and node.inputs and found.issuperset(node.inputs)
        ):
            found.add(node)
    return frozenset(found)
