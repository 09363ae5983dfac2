"""Values of calendar periods in numpy: the operator ``period``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from alphaseal_converter.factors.expressions.nodes import PERIOD_RULES, Node

Days = npt.NDArray[np.datetime64]


def numbered(days: Days, rule: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(the number of each day's period, whether the day is the last calendar day of it)."""
    whole = days.astype("datetime64[D]")
    if rule == "M":
        month = whole.astype("datetime64[M]")
        return month.astype(np.int64), whole == (month + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
    # The first day of the epoch was a Thursday.
    since = whole.astype(np.int64) + 2 - PERIOD_RULES.index(rule)
    return since // 7, since % 7 == 6


def by_period(values: npt.NDArray[Any], mask: npt.NDArray[np.bool_], days: Days, node: Node) -> npt.NDArray[Any]:
    """[days, stocks]: the statistic of the period that ended last by the day, or of one `back` before it."""
    period, is_last = numbered(days, node["rule"])
    wanted = period - np.where(is_last, 0, 1) - node["back"]
    found = np.full(mask.shape, np.nan, node.dtype)
    for stock in range(mask.shape[1]):
        known = mask[:, stock] & ~np.isnan(values[:, stock])
        numbers, starts = np.unique(period[known], return_index=True)
        parts = np.split(values[known, stock], starts[1:]) if len(numbers) else []
        told = np.array([_statistic(part, node["function"]) for part in parts], node.dtype)
        place = np.searchsorted(numbers, wanted)
        there = mask[:, stock] & (place < len(numbers))
        there[there] &= numbers[place[there]] == wanted[there]
        found[there, stock] = told[place[there]]
    return found


def _statistic(part: npt.NDArray[Any], function: str) -> Any:
    if function in ("last", "first"):
        return part[-1 if function == "last" else 0]
    return getattr(part.astype(np.float64), function)()
