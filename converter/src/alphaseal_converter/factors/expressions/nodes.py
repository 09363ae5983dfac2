"""The language of compiled factors: typed nodes, each a pure function of grids [days, stocks].

A factor is a pair of nodes: its *value* and its *rows*, the mask (bool) that says which pairs of day and stock it has.
Days ascend; a grid has all days and stocks of the bars.  **Outside of its rows a value means nothing**: a node that looks at
other rows takes the mask of the rows that count as an input of its own, and ``keep`` makes what lies outside missing.

Types are explicit.  A node has one `dtype` (float32, float64, int64, bool, or text) and a `window`: None for a grid, or the
number w of positions of a third axis, oldest first (the newest is the row itself).  Inputs of arithmetic have the same dtype:
whoever makes nodes writes the ``cast``.  Missing is NaN; int64, bool and text have no missing values outside of ``keep``'s rule.
A grid among windows is the same at each position.  IEEE arithmetic in the node's dtype, nothing is fused or widened.

=================  ==================================  ======================================================================
operator           inputs -> dtype                      meaning (parameters)
=================  ==================================  ======================================================================
constant           -> `dtype`                           `value` (number or bool) everywhere; NaN and infinities as texts
field              -> `dtype`                           column `column` of table `table`; NaN (0, False, no text) without row
rows               -> bool                              where table `table` has a row
calendar           -> int64                             `part` of the day: year month day weekday dayofyear quarter ordinal
vector             -> float64, window=len               `values` at the positions of a window
neg abs sign       n -> n                               n: any dtype but bool and text
square             n -> n                               x * x
sqrt log log1p     f -> f                               f: float32 or float64; also log2 log10 exp expm1 tanh arctan sin cos,
...                                                     floor ceil rint trunc (rint: half to even); computed in f
isnan isinf        f -> bool                            also isfinite
not                bool -> bool
add sub mul        n n -> n                             also maximum minimum (NaN if one is), fmax fmin (NaN if both are),
...                                                     mod floordiv (numpy's), pow
div                f f -> f
gt ge lt le eq ne  x x -> bool                          x: any dtype but text for the order; NaN compares as IEEE says
and or xor         bool bool -> bool
where              bool x x -> x                        the first x where true
cast               x -> `to`                            numpy's astype; float to int64 truncates; to bool: not zero (NaN true)
keep               x bool -> x                          x where the mask is, elsewhere NaN (0, False, no text)
shift              f mask -> f                          value `periods` >= 1 rows before, rows of the mask counted; NaN before
ffill              f mask -> f                          last value that is not NaN among the rows of the mask, at most `limit`
                                                        rows back (None: all of them: unbounded history)
roll               float64 mask -> float64              over the last `window` rows of the mask (fewer at the start), infinities
                                                        as NaN, NaN skipped; NaN where fewer than `min_periods` values are there.
                                                        `function`: sum mean var std (`ddof`) min max median skew kurt
                                                        quantile (`q`, `interpolation`) rank (`method`, `ascending`, `pct`);
                                                        `constant_windows`: "exact" (pandas 2) or "moments" (pandas 3)
roll2              float64 float64 mask -> float64      the same of pairs, `function`: corr cov (`ddof`); a pair counts where both are
row_count          mask -> int64                        rows of the mask in the last `window` rows (1..window)
window             float64 mask -> float64, window=w    the last `window` rows; infinities and places before the first row NaN
element            windows -> grid                      position `index` from the newest (0) on
reduce             windows -> grid                      `function`: sum mean min max std var prod median argmax argmin count any
                                                        all (`ddof`, `skip` missing), quantile (`q`); arg…: int64, first of equals
slice              windows -> window=count              `count` positions that end `last` before the newest
flip               windows -> same                      newest first
ewm                float64 mask -> float64              pandas' exponential mean, infinities as NaN: `alpha` `adjust` `ignore_na` `min_periods`,
                                                        `function`: mean.  Unbounded: its look-back has a tail weight
period             f mask -> f                          of the stock's rows in a calendar period of `rule` (W-MON … W-SUN, or M): the
                                                        period `back` before the last one that ended by the day; `function`: last
                                                        first min max mean, NaN skipped; NaN where it has none
day                x mask [key...] -> x or float64      one value per day over the stocks in the mask (NaN skipped), the same for
                                                        all stocks of the day and, with keys, of equal keys: `function`: mean sum
                                                        std var (`ddof`) median min max count quantile (`q`) skew any;
                                                        count: float64; any: bool; others keep f (float32 sums in float64, rounded)
day_rank           x mask [key...] -> float64           rank among the stocks of the day: `method` average min max dense first,
                                                        `ascending`, `pct`; NaN is not ranked
day_pair           f f mask -> f                        `function`: corr cov over the stocks of the day where both are there
=================  ==================================  ======================================================================

``day``, ``day_rank`` and ``day_pair`` look across stocks: a declared stage between graphs.  All others look at one stock only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

FLOATS: Final = ("float32", "float64")
NUMBERS: Final = (*FLOATS, "int64")
DTYPES: Final = (*NUMBERS, "bool", "text")
LONGEST_WINDOW: Final = 5000
MOST_NODES: Final = 20_000
ACROSS: Final = frozenset({"day", "day_rank", "day_pair"})
"""Operators that look at all stocks of a day."""
ROWS_AWARE: Final = frozenset({"period", "shift", "ffill", "roll", "roll2", "row_count", "window", "ewm"})
"""Operators that look at earlier rows of the stock; their mask is the last input."""
COUNTS_ROWS: Final = ROWS_AWARE - {"period"}
"""Those that count rows, however many days they lie back; the days of a calendar period are bounded."""

_SAME_NUMBER: Final = ("neg", "abs", "sign", "square")
_FLOAT_FUNCTIONS: Final = (
    *("sqrt", "log", "log1p", "log2", "log10", "exp", "expm1", "tanh", "arctan", "sin", "cos"),
    *("floor", "ceil", "rint", "trunc"),
)
_FLOAT_TESTS: Final = ("isnan", "isinf", "isfinite")
_ARITHMETIC: Final = ("add", "sub", "mul", "maximum", "minimum", "fmax", "fmin", "mod", "floordiv", "pow")
_ORDER: Final = ("gt", "ge", "lt", "le")
_LOGIC: Final = ("and", "or", "xor")
ROLL_FUNCTIONS: Final = (*("sum", "mean", "var", "std", "min", "max", "median", "skew", "kurt", "quantile", "rank"),)
PAIR_FUNCTIONS: Final = ("corr", "cov")
REDUCTIONS: Final = (
    *(
        "sum",
        "mean",
        "min",
        "max",
        "std",
        "var",
        "prod",
        "median",
        "argmax",
        "argmin",
        "count",
        "any",
        "all",
        "quantile",
    ),
)
DAY_FUNCTIONS: Final = ("mean", "sum", "std", "var", "median", "min", "max", "count", "quantile", "skew", "any")
RANK_METHODS: Final = ("average", "min", "max", "dense", "first")
INTERPOLATIONS: Final = ("linear", "lower", "higher", "nearest", "midpoint")
PERIOD_RULES: Final = (*(f"W-{day}" for day in ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")), "M")
PERIOD_FUNCTIONS: Final = ("last", "first", "min", "max", "mean")
CALENDAR_PARTS: Final = ("year", "month", "day", "weekday", "dayofyear", "quarter", "ordinal")

Value = int | float | bool | str | tuple[float, ...] | None


class IllFormedError(ValueError):
    """A node that the language does not have."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation; equal nodes of one `Nodes` are one object."""

    operator: str
    inputs: tuple[Node, ...]
    parameters: Mapping[str, Value]
    dtype: str
    window: int | None = None
    """Length of the third axis; None for a grid."""

    def __getitem__(self, name: str) -> Any:
        return self.parameters[name]


# ---- parameters


def _whole(least: int, most: int) -> Callable[[Value], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _one_of(*values: Value) -> Callable[[Value], bool]:
    return lambda value: any(type(value) is type(other) and value == other for other in values)


def _text(value: Value) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1000


def _number(value: Value) -> bool:
    return type(value) in (int, float, bool) and not (type(value) is int and abs(value) > 2**63 - 1)


def _share(value: Value) -> bool:
    return type(value) is float and 0.0 <= value <= 1.0


def _values(value: Value) -> bool:
    return isinstance(value, tuple) and 0 < len(value) <= LONGEST_WINDOW and all(type(x) is float for x in value)


_FLAG: Final = _one_of(True, False)
_WINDOW: Final = _whole(1, LONGEST_WINDOW)
_DDOF: Final = _whole(0, 100)

# ---- rules


@dataclass(frozen=True)
class _Rule:
    """`inputs`: a kind for each input ("f", "n", "x", "bool", "float64", "mask"); a last "key*" stands for any number of keys."""

    inputs: tuple[str, ...]
    result: str
    """Dtype of the result: one of them, "same" (as the first x, n or f), or "parameter"."""
    parameters: Mapping[str, Callable[[Value], bool]]
    windows: str = "elementwise"
    """How the third axis goes: elementwise, none (grids alone), made, given up, or kept."""


_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "f": FLOATS,
    "n": NUMBERS,
    "x": (*NUMBERS, "bool"),
    "any": DTYPES,
    "bool": ("bool",),
    "mask": ("bool",),
    "float64": ("float64",),
    "key": DTYPES,
}


def _rules() -> dict[str, _Rule]:
    rules = {
        "constant": _Rule((), "parameter", {"value": _number, "dtype": _one_of(*NUMBERS, "bool")}),
        "field": _Rule((), "parameter", {"table": _text, "column": _text, "dtype": _one_of(*DTYPES)}),
        "rows": _Rule((), "bool", {"table": _text}),
        "calendar": _Rule((), "int64", {"part": _one_of(*CALENDAR_PARTS)}),
        "vector": _Rule((), "float64", {"values": _values}, "made"),
        "not": _Rule(("bool",), "bool", {}),
        "div": _Rule(("f", "f"), "same", {}),
        "where": _Rule(("bool", "x", "x"), "same", {}),
        "cast": _Rule(("x",), "parameter", {"to": _one_of(*NUMBERS, "bool")}),
        "keep": _Rule(("any", "mask"), "same", {}, "none"),
        "shift": _Rule(("f", "mask"), "same", {"periods": _whole(1, LONGEST_WINDOW)}, "none"),
        "ffill": _Rule(("f", "mask"), "same", {"limit": lambda v: v is None or _whole(1, LONGEST_WINDOW)(v)}, "none"),
        "roll": _Rule(("float64", "mask"), "float64", {"function": _one_of(*ROLL_FUNCTIONS)}, "none"),
        "roll2": _Rule(
            ("float64", "float64", "mask"),
            "float64",
            {
                "function": _one_of(*PAIR_FUNCTIONS),
                "window": _WINDOW,
                "min_periods": _whole(0, LONGEST_WINDOW),
                "ddof": _DDOF,
            },
            "none",
        ),
        "row_count": _Rule(("mask",), "int64", {"window": _WINDOW}, "none"),
        "window": _Rule(("float64", "mask"), "float64", {"window": _WINDOW}, "made"),
        "element": _Rule(("x",), "same", {"index": _whole(0, LONGEST_WINDOW - 1)}, "given up"),
        "reduce": _Rule(("x",), "same", {"function": _one_of(*REDUCTIONS)}, "given up"),
        "slice": _Rule(("x",), "same", {"count": _WINDOW, "last": _whole(0, LONGEST_WINDOW - 1)}, "made"),
        "flip": _Rule(("x",), "same", {}, "kept"),
        "ewm": _Rule(
            ("float64", "mask"),
            "float64",
            {
                "function": _one_of("mean"),
                "alpha": lambda v: type(v) is float and 0.0 < v <= 1.0,
                "adjust": _FLAG,
                "ignore_na": _FLAG,
                "min_periods": _whole(0, LONGEST_WINDOW),
            },
            "none",
        ),
        "period": _Rule(
            ("f", "mask"),
            "same",
            {
                "rule": _one_of(*PERIOD_RULES),
                "function": _one_of(*PERIOD_FUNCTIONS),
                "back": _whole(0, LONGEST_WINDOW // 7),
            },
            "none",
        ),
        "day": _Rule(("x", "mask", "key*"), "same", {"function": _one_of(*DAY_FUNCTIONS)}, "none"),
        "day_rank": _Rule(
            ("x", "mask", "key*"),
            "float64",
            {"method": _one_of(*RANK_METHODS), "ascending": _FLAG, "pct": _FLAG},
            "none",
        ),
        "day_pair": _Rule(("f", "f", "mask"), "same", {"function": _one_of(*PAIR_FUNCTIONS)}, "none"),
    }
    rules |= {name: _Rule(("n",), "same", {}) for name in _SAME_NUMBER}
    rules |= {name: _Rule(("f",), "same", {}) for name in _FLOAT_FUNCTIONS}
    rules |= {name: _Rule(("f",), "bool", {}) for name in _FLOAT_TESTS}
    rules |= {name: _Rule(("n", "n"), "same", {}) for name in _ARITHMETIC}
    rules |= {name: _Rule(("x", "x"), "bool", {}) for name in _ORDER}
    rules |= {name: _Rule(("any", "any"), "bool", {}) for name in ("eq", "ne")}
    rules |= {name: _Rule(("bool", "bool"), "bool", {}) for name in _LOGIC}
    return rules


RULES: Final = _rules()
ELEMENTWISE: Final = frozenset(name for name, rule in RULES.items() if rule.inputs and rule.windows == "elementwise")
_MOMENTS: Final = {"ddof": _DDOF}
_OF_FUNCTION: Final[Mapping[tuple[str, str], Mapping[str, Callable[[Value], bool]]]] = {
    **{("roll", name): _MOMENTS for name in ("var", "std")},
    ("roll", "quantile"): {"q": _share, "interpolation": _one_of(*INTERPOLATIONS)},
    ("roll", "rank"): {"method": _one_of("average", "min", "max"), "ascending": _FLAG, "pct": _FLAG},
    **{("reduce", name): _MOMENTS for name in ("var", "std")},
    ("reduce", "quantile"): {"q": _share},
    **{("day", name): _MOMENTS for name in ("var", "std")},
    ("day", "quantile"): {"q": _share},
    ("day_pair", "cov"): _MOMENTS,
}
"""Parameters besides, for one function of an operator."""
_OF_OPERATOR: Final[Mapping[str, Mapping[str, Callable[[Value], bool]]]] = {
    "roll": {
        "window": _WINDOW,
        "min_periods": _whole(0, LONGEST_WINDOW),
        "constant_windows": _one_of("exact", "moments"),
    },
    "reduce": {"skip": _FLAG},
}


def parameters_of(operator: str, function: object) -> Mapping[str, Callable[[Value], bool]]:
    """Name and check of each parameter that a node has, of the operator and of its `function`."""
    wanted = dict(RULES[operator].parameters) | dict(_OF_OPERATOR.get(operator, {}))
    return wanted | dict(_OF_FUNCTION.get((operator, str(function)), {}))


class Nodes:
    """Makes nodes by the rules; the same call gives the same object."""

    def __init__(self) -> None:
        self._made: dict[object, Node] = {}

    def __len__(self) -> int:
        return len(self._made)

    def make(self, operator: str, *inputs: Node, **parameters: Value) -> Node:
        """The node; IllFormedError where the language has no such node."""
        rule = RULES.get(operator)
        if rule is None:
            raise IllFormedError(f"no operator {operator!r}")
        wanted = parameters_of(operator, parameters.get("function"))
        if set(parameters) != set(wanted):
            raise IllFormedError(f"{operator} has the parameters {sorted(wanted)}, found {sorted(parameters)}")
        for name, allowed in wanted.items():
            if not allowed(parameters[name]):
                raise IllFormedError(f"{operator}: {name} cannot be {parameters[name]!r}"[:300])
        key = (operator, tuple(map(id, inputs)), tuple((n, type(v), repr(v)) for n, v in sorted(parameters.items())))
        if key not in self._made:
            if len(self._made) >= MOST_NODES:
                raise IllFormedError(f"more than {MOST_NODES} operations")
            dtype = _dtype(operator, rule, inputs, parameters)
            self._made[key] = Node(operator, inputs, parameters, dtype, _window(operator, rule, inputs, parameters))
        return self._made[key]


def _dtype(operator: str, rule: _Rule, inputs: tuple[Node, ...], parameters: Mapping[str, Value]) -> str:
    kinds = list(rule.inputs)
    if kinds and kinds[-1] == "key*":
        kinds[-1:] = ["key"] * (len(inputs) - len(kinds) + 1)
    if len(kinds) != len(inputs):
        raise IllFormedError(f"{operator} has {len(kinds)} inputs, found {len(inputs)}")
    common = None
    for kind, node in zip(kinds, inputs, strict=True):
        if node.dtype not in _KINDS[kind]:
            raise IllFormedError(f"{operator} takes no {node.dtype} there")
        if kind in ("f", "n", "x", "any"):
            if common is not None and node.dtype != common:
                raise IllFormedError(f"{operator} of {common} and {node.dtype}: a cast is missing")
            common = node.dtype
    if rule.result == "parameter":
        return str(parameters.get("to", parameters.get("dtype")))
    if rule.result != "same":
        return rule.result
    assert common is not None
    return _reduced(operator, str(parameters.get("function")), common)


def _reduced(operator: str, function: str, dtype: str) -> str:
    """What a statistic makes of its input's dtype."""
    if operator == "reduce":
        if function in ("argmax", "argmin", "count"):
            return "int64"
        if function in ("any", "all"):
            return "bool"
        if dtype == "bool" and function in ("sum", "prod"):
            return "int64"
        return "float64" if dtype in ("bool", "int64") and function not in ("sum", "prod", "min", "max") else dtype
    if operator == "day":
        if function == "any":
            return "bool"
        if function == "count":
            return "float64"
        return dtype if dtype in FLOATS else "float64"
    return dtype


def _window(operator: str, rule: _Rule, inputs: tuple[Node, ...], parameters: Mapping[str, Value]) -> int | None:
    lengths = {node.window for node in inputs} - {None}
    if operator == "vector":
        values = parameters["values"]
        assert isinstance(values, tuple)
        return len(values)
    if len(lengths) > 1:
        raise IllFormedError(f"{operator} of windows of {sorted(map(str, lengths))} positions")
    length = lengths.pop() if lengths else None
    if rule.windows == "elementwise":
        return length
    if rule.windows == "none" or operator == "window":
        if length is not None:
            raise IllFormedError(f"{operator} takes grids, not windows")
        found = parameters.get("window")
        return int(found) if operator == "window" and isinstance(found, int) else None
    if length is None:
        raise IllFormedError(f"{operator} takes windows, not grids")
    if operator == "element" and int(str(parameters["index"])) >= length:
        raise IllFormedError("element before the first position")
    if operator == "slice":
        count, last = int(str(parameters["count"])), int(str(parameters["last"]))
        if count + last > length:
            raise IllFormedError("slice before the first position")
        return count
    return None if rule.windows == "given up" else length


def in_order(roots: Iterable[Node]) -> list[Node]:
    """Every node that the roots need, each once, its inputs before it."""
    ordered: dict[Node, None] = {}
    waiting = [(root, False) for root in roots]
    while waiting:
        node, inputs_are_there = waiting.pop()
        if node in ordered:
            continue
        if inputs_are_there:
            ordered[node] = None
        else:
            waiting.append((node, True))
            waiting.extend((inner, False) for inner in node.inputs)
    return list(ordered)


def is_missing(value: object) -> bool:
    """A number that is NaN."""
    return isinstance(value, float) and math.isnan(value)
