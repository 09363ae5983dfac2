"""Operators that look at earlier rows of a stock.

Where a mask has gaps, the rows that count are moved together behind those that do not (`Compact`): the k-th row before is
then the k-th place before.  What was computed there goes back to the days of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from alphaseal_converter.emission.emitter import Emitter, Rule
from alphaseal_converter.emission.plan import RowKind, is_endless, span, weighed
from alphaseal_converter.factors.expressions.nodes import Node


class Line:
    """The rows of one mask, for an operator whose result has `days` days and that looks `back` rows before each.

    `length`: days of the tensors that it reads.  `places`: rows of what `values` gives, days or rows moved together; those
    that lie before the window are missing, and `since` says from which day on none of them counts.
    """

    def __init__(self, emitter: Emitter, mask: Node, days: int, back: int, *, endless: bool = False) -> None:
        self.emitter, self.mask, self.days = emitter, mask, days
        self.gaps = emitter.plan.rows(mask) is RowKind.GAPS
        whole = emitter.plan.window
        self.length = whole if self.gaps or endless else min(days + back, whole)
        self.places = max(self.length, days + back)
        self._order: tuple[str, str] | None = None

    def values(self, node: Node) -> str:
        """[places, rows], float: one after the other, NaN where there is no row."""
        emitter = self.emitter
        value = emitter.masked(node, self.mask, self.length)
        if self.gaps:
            value = emitter.add("GatherElements", value, self._moved()[0], axis=0)
        return behind_missing(emitter, value, self.length, self.places, node.dtype)

    def back(self, found: str, dtype: str = "float64") -> str:
        """[days, rows], float: what was computed for the last `days` places, on the days of their rows; NaN on others."""
        if self.gaps and self.days > 1:
            found = self.emitter.add("GatherElements", found, self._places(), axis=0)
        return self._on_rows(found, dtype)

    def windows_back(self, found: str, size: int) -> str:
        """The same of windows [size, days, rows]."""
        emitter = self.emitter
        if self.gaps and self.days > 1:
            places = emitter.add("Unsqueeze", self._places(), emitter.constant([0]))
            places = emitter.add("Add", places, emitter.constant(np.zeros((size, 1, 1), np.int64)))
            found = emitter.add("GatherElements", found, places, axis=1)
        return self._on_rows(found, "float64")

    def _on_rows(self, found: str, dtype: str) -> str:
        mask = self.emitter.mask(self.mask, self.days)
        return found if mask is None else self.emitter.add("Where", mask, found, self.emitter.missing(dtype))

    def _places(self) -> str:
        """int64 [days, rows]: the place of each of the last days among the last `days` places.

        A day without a row has the place of none of them; what stands there means nothing.
        """
        emitter = self.emitter
        found = emitter.end(self._moved()[1], self.length, self.days)
        places = emitter.add("Sub", found, emitter.whole(self.length - self.days))
        return emitter.larger(places, emitter.whole(0))

    def _moved(self) -> tuple[str, str]:
        """Which day each place has, and which place each day: rows of the mask last, each part in its order."""
        if self._order is None:
            emitter, length = self.emitter, self.length
            mask = emitter.mask(self.mask, length)
            assert mask is not None
            day = np.arange(length, dtype=np.int64)[:, None]
            key = emitter.add("Where", mask, emitter.constant(day), emitter.constant(day - length))
            order = emitter.sorted_places(key, length)
            self._order = order, emitter.sorted_places(order, length)
        return self._order

    def since(self, inputs: tuple[Node, ...], rows: int, ended_by: str | None = None) -> str | None:
        """From which day on `rows` rows of the mask lie within the window, behind what the inputs need.

        `ended_by` bool [length, rows], by day: such a row ends the search at once.
        """
        emitter = self.emitter
        behind = emitter.since(inputs)
        if not self.gaps and ended_by is None:
            # All days that are looked at are there, but for the first of a whole window; what the inputs need may lie later.
            if behind is None and self.places == self.length:
                return None
            first = emitter.add(
                "Add",
                emitter.constant(np.zeros((1, 1), np.int64)) if behind is None else behind,
                emitter.whole(rows - 1),
            )
            return emitter.add("Where", emitter.begins_later(), emitter.whole(0), first)
        mask = emitter.mask(self.mask, self.length)
        if mask is None:
            mask = emitter.add("Or", emitter.exists(self.length), emitter.add("Not", emitter.exists(self.length)))
        first = self._until(mask, behind, rows)
        if ended_by is not None:
            found = self._until(ended_by, behind, 1)
            first = found if rows == 0 else emitter.add("Where", emitter.add("Less", found, first), found, first)
        return emitter.add("Where", emitter.begins_later(), emitter.whole(0), first)

    def since_values(self, value: Node, count: int) -> str:
        """From which day on so many finite values lie within the days that are read, behind what the inputs need."""
        emitter = self.emitter
        masked = emitter.to(emitter.masked(value, self.mask, self.length), value.dtype, "float64")
        lacking = emitter.add("Or", emitter.add("IsNaN", masked), emitter.add("IsInf", masked))
        found = self._until(emitter.add("Not", lacking), emitter.since((value, self.mask)), count)
        return emitter.add("Where", emitter.begins_within(self.length), emitter.whole(0), found)

    def _until(self, counted: str, behind: str | None, rows: int) -> str:
        """int64 [1, rows]: days before the one at which `rows` of `counted` have been seen, those from `behind` on."""
        emitter = self.emitter
        earlier = emitter.plan.window - self.length
        if behind is not None:
            day = emitter.constant(np.arange(self.length, dtype=np.int64)[:, None] + earlier)
            counted = emitter.add("And", counted, emitter.add("GreaterOrEqual", day, behind))
        axis = emitter.constant(np.array(0, dtype=np.int64))
        seen = emitter.add("CumSum", emitter.to(counted, "bool", "float64"), axis)
        fewer = emitter.add("Less", seen, emitter.double(float(rows)))
        days = emitter.add("ReduceSum", emitter.to(fewer, "bool", "float64"), emitter.constant([0]), keepdims=1)
        return emitter.add("Add", emitter.to(days, "float64", "int64"), emitter.whole(earlier))


def behind_missing(emitter: Emitter, value: str, length: int, places: int, dtype: str = "float64") -> str:
    """[places, rows] of [length, rows], float: the same last places, NaN before."""
    if places == length:
        return value
    place = np.arange(places, dtype=np.int64) - (places - length)
    found = emitter.add("Gather", value, emitter.constant(np.maximum(place, 0)), axis=0)
    return emitter.add("Where", emitter.constant(place[:, None] >= 0), found, emitter.missing(dtype))


def _shift(emitter: Emitter, node: Node, days: int) -> tuple[str, str | None]:
    value, mask = node.inputs
    periods = span(node, emitter.plan.reach)
    line = Line(emitter, mask, days, periods)
    moved = line.values(value)
    found = emitter.cut(moved, line.places - days - periods, line.places - periods)
    return line.back(found, node.dtype), line.since(node.inputs, periods + 1)


def _fill(emitter: Emitter, node: Node, days: int) -> tuple[str, str | None]:
    value, mask = node.inputs
    line = Line(emitter, mask, days, span(node, emitter.plan.reach), endless=is_endless(node))
    add, length = emitter.add, line.places
    moved = line.values(value)
    place = emitter.constant(np.arange(length, dtype=np.int64)[:, None])
    there = add("Not", add("IsNaN", moved))
    latest = add("Where", there, place, emitter.whole(-1))
    step = 1
    while step < length:  # the largest so far, by doubling
        earlier = np.arange(length, dtype=np.int64) - step
        shifted = add("Gather", latest, emitter.constant(np.maximum(earlier, 0)), axis=0)
        latest = emitter.larger(latest, shifted)
        step *= 2
    known = add("GreaterOrEqual", latest, emitter.whole(0))
    if node["limit"] is not None:
        near = add("LessOrEqual", add("Sub", place, latest), emitter.whole(int(node["limit"])))
        known = add("And", known, near)
    taken = add("GatherElements", moved, emitter.larger(latest, emitter.whole(0)), axis=0)
    found = emitter.end(add("Where", known, taken, emitter.missing(node.dtype)), length, days)
    if not is_endless(node) and not line.gaps:
        return line.back(found, node.dtype), line.since(node.inputs, span(node, emitter.plan.reach) + 1)
    by_day = add("Not", add("IsNaN", emitter.masked(value, mask, line.length)))
    rows = 0 if node["limit"] is None else int(node["limit"]) + 1
    return line.back(found, node.dtype), line.since(node.inputs, rows, ended_by=by_day)


def _row_count(emitter: Emitter, node: Node, days: int) -> tuple[str, str | None]:
    (mask,) = node.inputs
    line = Line(emitter, mask, days, span(node, emitter.plan.reach))
    counted = emitter.mask(mask, line.length)
    most = emitter.whole(int(node["window"]))
    if counted is None:
        return emitter.add("Where", emitter.exists(days), most, most), None
    axis = emitter.constant(np.array(0, dtype=np.int64))
    seen = emitter.add("CumSum", emitter.to(counted, "bool", "int64"), axis)
    found = emitter.end(seen, line.length, days)
    found = emitter.add("Where", emitter.add("Less", found, most), found, most)
    return emitter.add("Where", emitter.end(counted, line.length, days), found, emitter.whole(0)), line.since(
        node.inputs, int(node["window"])
    )


def _exponential(emitter: Emitter, node: Node, days: int) -> tuple[str, str | None]:
    """pandas' recurrence, row by row over the last rows.

    What lies before them is known to weigh less than `properties.TAIL` where enough of them have values: a value makes it lighter, a
    row without does not.
    """
    value, mask = node.inputs
    line = Line(emitter, mask, days, span(node, emitter.plan.reach))
    add, moved = emitter.add, line.values(value)
    moved = add("Where", add("IsInf", moved), emitter.nan, moved)
    rest, one = emitter.double(1.0 - float(node["alpha"])), emitter.double(1.0)
    new = one if node["adjust"] else emitter.double(float(node["alpha"]))
    average = emitter.cut(moved, 0, 1)
    old, count = one, emitter.to(add("Not", add("IsNaN", average)), "bool", "float64")
    least = emitter.double(float(max(int(node["min_periods"]), 1)))
    found = [add("Where", add("Less", count, least), emitter.nan, average)]
    for place in range(1, line.places):
        current = emitter.cut(moved, place, place + 1)
        known = add("Not", add("IsNaN", current))
        begun = add("Not", add("IsNaN", average))
        decays = begun if not node["ignore_na"] else add("And", begun, known)
        old = add("Where", decays, add("Mul", old, rest), old)
        mixed = add("Div", add("Add", add("Mul", old, average), add("Mul", new, current)), add("Add", old, new))
        mixed = add("Where", add("Equal", average, current), average, mixed)
        both = add("And", begun, known)
        average = add("Where", both, mixed, add("Where", begun, average, current))
        old = add("Where", both, add("Add", old, new) if node["adjust"] else one, old)
        count = add("Add", count, emitter.to(known, "bool", "float64"))
        found.append(add("Where", add("Less", count, least), emitter.nan, average))
    found = found[-days:]
    joined = found[0] if len(found) == 1 else add("Concat", *found, axis=0)
    return line.back(joined), line.since_values(value, weighed(node))


RULES: Final[Mapping[str, Rule]] = {
    "shift": _shift,
    "ffill": _fill,
    "row_count": _row_count,
    "ewm": _exponential,
}
