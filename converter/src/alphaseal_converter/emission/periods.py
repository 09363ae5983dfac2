"""Values of calendar periods: what `expressions.periods` says, from the day numbers of the window.

A period is found by its days, not by counting rows: rows that a mask leaves out move nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from alphaseal_converter.emission.emitter import Column, Emitter, Rule
from alphaseal_converter.emission.plan import span
from alphaseal_converter.emission.rows import behind_missing
from alphaseal_converter.emission.windows import Window, cut, is_exact, missing_where
from alphaseal_converter.factors.expressions.nodes import PERIOD_RULES, Node

DAY_NUMBER: Final = Column("", "ordinal", "int64")
"""Days since 1970-01-01, a Thursday."""
_TO_MARCH: Final = 719468
"""Days from 0000-03-01 to 1970-01-01."""


def _period(emitter: Emitter, rule: str, day: str) -> str:
    """The number of each day's period, of day numbers; all are whole numbers in double."""
    if rule == "M":
        return _month(emitter, day)
    ended = emitter.add("Add", day, emitter.double(float(2 - PERIOD_RULES.index(rule))))
    return _quotient(emitter, ended, 7)


def _month(emitter: Emitter, day: str) -> str:
    """Months since March of year 0, in the Gregorian calendar: with years from March on a leap day is a year's last."""
    add, double = emitter.add, emitter.double

    def less(value: str, days: str, each: int) -> str:
        return add("Sub", value, add("Mul", days, double(float(each))))

    since = add("Add", day, double(float(_TO_MARCH)))
    era = _quotient(emitter, since, 146097)  # of 400 years
    within = less(since, era, 146097)
    # Leap days go: one each 4 years, none each 100, one at the end of the era.
    leap = add("Sub", _quotient(emitter, within, 1460), _quotient(emitter, within, 36524))
    leap = add("Add", leap, _quotient(emitter, within, 146096))
    year = _quotient(emitter, add("Sub", within, leap), 365)
    before = add("Sub", _quotient(emitter, year, 4), _quotient(emitter, year, 100))
    of_year = add("Sub", less(within, year, 365), before)
    # From March on, 153 days in each five months.
    month = _quotient(emitter, add("Add", add("Mul", of_year, double(5.0)), double(2.0)), 153)
    years = add("Add", add("Mul", era, double(400.0)), year)
    return add("Add", add("Mul", years, double(12.0)), month)


def _quotient(emitter: Emitter, value: str, divisor: int) -> str:
    return emitter.add("Floor", emitter.add("Div", value, emitter.double(float(divisor))))


def _wanted(emitter: Emitter, node: Node, day: str) -> str:
    """The number of the period that each day takes: before that of the next day, for the day itself may end one."""
    following = _period(emitter, node["rule"], emitter.add("Add", day, emitter.double(1.0)))
    return emitter.add("Sub", following, emitter.double(float(1 + int(node["back"]))))


def _at(window: Window, key: str) -> str:
    """[1, days, rows]: the value where `key` is largest; where no value is, every one is missing."""
    emitter = window.emitter
    place = emitter.add("ArgMax", key, axis=0, keepdims=1)
    return emitter.add("GatherElements", window.values, place, axis=0)


def _last(window: Window) -> str:
    place = np.arange(1, window.size + 1, dtype=np.float64)[:, None, None]
    return _at(window, window.emitter.add("Mul", window.there, window.emitter.constant(place)))


def _some(window: Window, found: str) -> str:
    none = window.emitter.add("Equal", window.count(), window.emitter.double(0.0))
    return missing_where(window.emitter, none, found)


_STATISTICS: Final[Mapping[str, Callable[[Window], str]]] = {
    "last": _last,
    "first": lambda window: _at(window, window.there),
    "max": lambda window: _some(window, window.high()),
    "min": lambda window: _some(window, window.low()),
    "mean": lambda window: window.mean(),
}
"""Infinities are values."""


def _by_period(emitter: Emitter, node: Node, days: int) -> tuple[str, str | None]:
    value, mask = node.inputs
    add, back = emitter.add, span(node, emitter.plan.reach)
    size, places = back + 1, days + back
    length = min(places, emitter.plan.window)
    day = emitter.column(DAY_NUMBER, length)
    wide = emitter.to(emitter.masked(value, mask, length), node.dtype, "float64")
    values, period = (
        cut(emitter, behind_missing(emitter, one, length, places), places, days, size)
        for one in (wide, _period(emitter, node["rule"], day))
    )
    within = add("Equal", period, _wanted(emitter, node, emitter.end(day, length, days)))
    window = Window(emitter, add("Where", within, values, emitter.nan), size, exact=is_exact(value))
    found = add("Squeeze", _STATISTICS[node["function"]](window), emitter.constant([0]))
    there = emitter.mask(mask, days)
    found = found if there is None else add("Where", there, found, emitter.nan)
    return emitter.to(found, "float64", node.dtype), _since(emitter, node, is_cut=length < places)


def _since(emitter: Emitter, node: Node, *, is_cut: bool) -> str | None:
    """From which day on the wanted period lies behind the last day whose inputs depend on days before the window.

    With `is_cut` a period may begin before the window.
    """
    behind = emitter.since(node.inputs)
    if behind is None and not is_cut:
        return None
    add, length = emitter.add, emitter.plan.window
    behind = emitter.constant(np.zeros((1, 1), np.int64)) if behind is None else behind
    # Other operators may say a day behind the window's last.
    behind = add("Where", add("Less", behind, emitter.whole(length)), behind, emitter.whole(length))
    behind = add("Where", emitter.begins_later(), emitter.whole(0), behind)
    day = emitter.column(DAY_NUMBER, length)
    before = add("Sub", emitter.cut(day, 0, 1), emitter.double(1.0))
    periods = _period(emitter, node["rule"], add("Concat", before, day, axis=0))
    last = add("GatherElements", periods, behind, axis=0)
    early = add("LessOrEqual", _wanted(emitter, node, day), last)
    found = add("ReduceSum", emitter.to(early, "bool", "float64"), emitter.constant([0]), keepdims=1)
    return add("Where", emitter.begins_later(), emitter.whole(0), emitter.to(found, "float64", "int64"))


RULES: Final[Mapping[str, Rule]] = {"period": _by_period}
