"""Quantiles of a day as numpy computes them, which pandas asks: a + (b - a) f, and from f = ½ on b - (b - a) (1 - f)."""

from __future__ import annotations

from alphaseal_converter.factors.expressions.nodes import Node
from alphaseal_converter.factors.recording.recorder import make
from alphaseal_converter.factors.recording.values import binary, both, cast, either, missing, negated, where


def quantile_of_day(node: Node, rows: Node, keys: tuple[Node, ...], share: float) -> Node:
    """Float64 among the values of `rows` that are there; infinities beside the place mostly leave nothing."""
    share = share * 100 / 100  # numpy is asked for percent
    wide = cast(node, "float64")
    plain = make("day", wide, rows, *keys, function="quantile", q=share)

    def number(condition: Node) -> Node:
        return make("day", cast(condition, "float64"), rows, *keys, function="sum")

    if node.dtype not in ("float32", "float64"):
        return plain
    count = number(negated(missing(node)))
    down, last = number(binary("eq", wide, float("-inf"))), binary("sub", count, 1.0)
    up = binary("sub", count, number(binary("eq", wide, float("inf"))))
    place = binary("mul", last, share)
    below = make("floor", place)
    above, part = binary("fmin", binary("add", below, 1.0), last), binary("sub", place, below)
    low, high = binary("lt", below, down), binary("ge", above, up)
    # From a finite number up to an infinite one, and from an infinite one up to a finite one.
    rises = both(both(high, negated(low)), both(binary("lt", below, up), binary("gt", part, 0.0)))
    falls = both(both(low, negated(high)), binary("ge", above, down))
    far = binary("ge", part, 0.5)
    endless = where(both(rises, negated(far)), float("inf"), where(both(falls, far), float("-inf"), float("nan")))
    return where(either(low, high), endless, cast(plain, endless.dtype))


def rounded_where_lacking(found: Node, node: Node, rows: Node, keys: tuple[Node, ...]) -> Node:
    """pandas rounds a quantile of float32 to float32 where one of the values is missing, and leaves it in float64 else."""
    lacking = make("day", missing(node), rows, *keys, function="any")
    return where(lacking, cast(cast(found, "float32"), "float64"), found)
