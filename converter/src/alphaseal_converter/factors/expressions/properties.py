"""What follows from an expression: its look-back, the columns it reads, its stages across stocks."""

from __future__ import annotations

import math
from typing import Any, Final

from alphaseal_converter.factors.expressions.nodes import ACROSS, COUNTS_ROWS, ROWS_AWARE, Node, in_order

TAIL: Final = 1e-12
"""An exponential mean counts as known, and is cut, where rows before would weigh less than this: differences of such means are a
thousandth of them, and are still compared to 1e-9."""


def properties(value: Node, rows: Node) -> dict[str, Any]:
    """`lookback_rows` (rows of a stock, the row itself among them), `unbounded` (why no number of them is enough in every
    case), `tail_weight` (of the rows before, where one is cut), `inputs` (table -> columns), `across_stocks` (depth)."""
    ordered = in_order([value, rows])
    back = _rows_back(ordered)
    tails = [(1.0 - node["alpha"]) ** _tail_rows(node) for node in ordered if node.operator == "ewm"]
    inputs: dict[str, list[str]] = {}
    for node in ordered:
        if node.operator == "rows":
            inputs.setdefault(node["table"], [])
        if node.operator == "field":
            inputs.setdefault(node["table"], []).append(node["column"])
    return {
        "lookback_rows": max((back[node] for node in ordered if node.operator in ("field", "rows")), default=0) + 1,
        "unbounded": sorted({_without_end(node) for node in ordered} - {""}),
        "tail_weight": max(tails, default=0.0),
        "inputs": {table: sorted(columns) for table, columns in sorted(inputs.items())},
        "across_stocks": depth(value, rows),
    }


def _tail_rows(node: Node) -> int:
    return math.ceil(math.log(TAIL) / math.log1p(-node["alpha"])) if node["alpha"] < 1 else 1


def rows_taken(node: Node) -> int:
    """How many rows before the row itself a node takes of its inputs, rows of its mask counted."""
    if node.operator in ("roll", "roll2", "window", "row_count"):
        return int(node["window"]) - 1
    if node.operator == "period":
        # Calendar days, of which no more are trading days: its end may lie a period before, its start another.
        return (7 if node["rule"] != "M" else 31) * (int(node["back"]) + 2) - 2
    if node.operator == "shift":
        return int(node["periods"])
    if node.operator == "ffill":
        return int(node["limit"] or 0)
    return _tail_rows(node) if node.operator == "ewm" else 0


def _rows_back(ordered: list[Node]) -> dict[Node, int]:
    back = dict.fromkeys(ordered, 0)
    for node in reversed(ordered):
        for inner in node.inputs:
            back[inner] = max(back[inner], back[node] + rows_taken(node))
    return back


def _without_end(node: Node) -> str:
    """Why the days that a node needs have no bound; rows that a mask leaves out are counted in rows."""
    if node.operator == "ffill" and node["limit"] is None:
        return "a fill without limit"
    if node.operator == "ewm":
        return "an exponential mean"
    if node.operator in COUNTS_ROWS and not _plain_rows(node.inputs[-1]):
        return "windows over chosen rows"
    return ""


def _plain_rows(mask: Node) -> bool:
    return mask.operator in ("rows", "constant")


def depth(*roots: Node) -> int:
    """How many stages across stocks stand above each other."""
    found: dict[Node, int] = {}
    for node in in_order(roots):
        found[node] = max((found[inner] for inner in node.inputs), default=0) + (node.operator in ACROSS)
    return max(found[root] for root in roots)


def looks_beside_bars(*roots: Node) -> bool:
    """Whether a window or a statistic of a day counts rows of a side table that need not be rows of the bars: days before the
    first bar, stocks without bars."""
    for node in in_order(roots):
        place = {"day": 1, "day_rank": 1, "day_pair": 2}.get(node.operator, -1)
        if node.operator in ROWS_AWARE | ACROSS and not _within_bars(node.inputs[place]):
            return True
    return False


def _within_bars(mask: Node) -> bool:
    if mask.operator == "rows":
        return bool(mask["table"] == "bars")
    if mask.operator == "and":
        return any(map(_within_bars, mask.inputs))
    if mask.operator == "or":
        return all(map(_within_bars, mask.inputs))
    if mask.operator == "day":
        return _within_bars(mask.inputs[0]) or _within_bars(mask.inputs[1])
    return mask.operator == "constant"
