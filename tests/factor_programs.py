"""Bars with gaps, constants and late listings, expressions drawn at random, and what a loaded program gives for a day."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from alphaseal.factors.daily import FactorColumns
from alphaseal_converter.emission.compile import compile_factors
from alphaseal_converter.emission.describe import described
from alphaseal_converter.emission.tables import as_bars, as_side_table, whole_tables
from alphaseal_converter.factors.expressions.document import Traced
from alphaseal_converter.factors.expressions.evaluate import Grids, Table, evaluate
from alphaseal_converter.factors.expressions.nodes import (
    PERIOD_FUNCTIONS,
    PERIOD_RULES,
    IllFormedError,
    Node,
    Nodes,
)

DAYS, STOCKS = 420, 12
INSTRUMENTS = [f"SH{600000 + number}" for number in range(STOCKS)]
LISTED = np.array([0] * 8 + [50, 300, 380, 410])
Random = np.random.Generator


def grids(random: Random, *, whole: bool) -> Grids:
    """Close and volume of 12 stocks: missing values, a constant price, zero volumes; without `whole` days without rows too."""
    day = np.arange(DAYS)[:, None]
    close = (10 * np.exp(np.cumsum(random.normal(0, 0.02, (DAYS, STOCKS)), 0))).astype(np.float32)
    volume = random.lognormal(10, 1, (DAYS, STOCKS)).astype(np.float32)
    close[100:120, 3] = close[100, 3]
    volume[random.random((DAYS, STOCKS)) < 0.03] = 0
    rows = day >= LISTED
    if not whole:
        rows &= random.random((DAYS, STOCKS)) >= 0.05
        rows[150:230, 5] = False
        rows[231, 5], rows[-1], rows[LISTED, np.arange(STOCKS)] = True, True, True
    absent = (random.random((DAYS, STOCKS)) < 0.06) | ~rows
    columns = {"$close": np.where(absent, np.nan, close), "$volume": np.where(absent, np.nan, volume)}
    dates = np.arange(DAYS) + np.datetime64("2020-01-01")
    return Grids(dates, {"bars": Table({name: v.astype(np.float32) for name, v in columns.items()}, rows)})


class Expressions:
    """Draws operations over what it has drawn before."""

    def __init__(self, random: Random) -> None:
        self.random, self.nodes = random, Nodes()
        make = self.nodes.make
        self.prices = [make("field", table="bars", column=name, dtype="float32") for name in ("$close", "$volume")]
        self.values = [make("cast", node, to="float64") for node in self.prices]
        rows = make("rows", table="bars")
        self.masks = [rows, make("and", rows, make("not", make("isnan", self.prices[0])))]

    def pick(self, choices: Any) -> Any:
        """One of them."""
        return choices[self.random.integers(len(choices))]

    def factor(self) -> Traced:
        """Two to eight operations above each other."""
        for _ in range(self.random.integers(2, 9)):
            try:
                self.values.append(self.pick(OPERATIONS)(self))
            except IllFormedError:
                continue
        return Traced(2, "drawn", self.values[-1], self.pick(self.masks))

    def size(self) -> int:
        """Rows of a window."""
        return int(self.random.integers(2, 25))

    def flag(self) -> bool:
        """One or the other."""
        return bool(self.random.integers(2))


def _binary(one: Expressions) -> Node:
    operator = one.pick(("add", "sub", "mul", "div", "maximum", "minimum", "fmax", "fmin"))
    return one.nodes.make(operator, one.pick(one.values), one.pick(one.values))


def _unary(one: Expressions) -> Node:
    functions = (
        "neg",
        "abs",
        "sign",
        "square",
        "sqrt",
        "log",
        "log1p",
        "expm1",
        "tanh",
        "floor",
        "ceil",
        "rint",
        "trunc",
    )
    return one.nodes.make(one.pick(functions), one.pick(one.values))


def _logarithm(one: Expressions) -> Node:
    return one.nodes.make("cast", one.nodes.make("log", one.pick(one.prices)), to="float64")


def _shift(one: Expressions) -> Node:
    return one.nodes.make("shift", one.pick(one.values), one.pick(one.masks), periods=one.size())


def _fill(one: Expressions) -> Node:
    return one.nodes.make("ffill", one.pick(one.values), one.pick(one.masks), limit=one.pick([None, 1, 3, 10]))


def _roll(one: Expressions) -> Node:
    function = one.pick(("sum", "mean", "var", "std", "sem", "min", "max", "median", "skew", "quantile"))
    size = one.size()
    more: dict[str, Any] = {"ddof": int(one.random.integers(0, 2))} if function in {"var", "std", "sem"} else {}
    if function == "quantile":
        kinds = ("linear", "lower", "higher", "nearest", "midpoint")
        more = {"q": float(one.random.random()), "interpolation": one.pick(kinds)}
    return one.nodes.make(
        "roll",
        one.pick(one.values),
        one.pick(one.masks),
        function=function,
        window=size,
        min_periods=int(one.random.integers(0, size + 1)),
        constant_windows=one.pick(("exact", "moments")),
        **more,
    )


def _pair(one: Expressions) -> Node:
    size = one.size()
    return one.nodes.make(
        "roll2",
        one.pick(one.values),
        one.pick(one.values),
        one.pick(one.masks),
        function=one.pick(("corr", "cov")),
        window=size,
        min_periods=int(one.random.integers(0, size + 1)),
        ddof=1,
    )


def _count(one: Expressions) -> Node:
    return one.nodes.make("cast", one.nodes.make("row_count", one.pick(one.masks), window=one.size()), to="float64")


def _window(one: Expressions) -> Node:
    size = one.size()
    window = one.nodes.make("window", one.pick(one.values), one.pick(one.masks), window=size)
    if one.flag():
        window = one.nodes.make("flip", window)
    if one.flag():
        window = one.nodes.make("mul", window, one.nodes.make("vector", values=tuple(map(float, range(1, size + 1)))))
    function = one.pick(
        ("sum", "mean", "min", "max", "std", "prod", "median", "argmax", "argmin", "count", "any", "all")
    )
    more = {"ddof": 1} if function == "std" else {}
    found = one.nodes.make("reduce", window, function=function, skip=one.flag(), **more)
    return found if found.dtype == "float64" else one.nodes.make("cast", found, to="float64")


def _element(one: Expressions) -> Node:
    size = one.size()
    window = one.nodes.make("window", one.pick(one.values), one.pick(one.masks), window=size)
    return one.nodes.make("element", window, index=int(one.random.integers(size)))


def _exponential(one: Expressions) -> Node:
    return one.nodes.make(
        "ewm",
        one.pick(one.values),
        one.pick(one.masks),
        function="mean",
        alpha=float(one.random.uniform(0.3, 0.9)),
        adjust=one.flag(),
        ignore_na=one.flag(),
        min_periods=int(one.random.integers(0, 4)),
    )


def _period(one: Expressions) -> Node:
    return one.nodes.make(
        "period",
        one.pick(one.values),
        one.pick(one.masks),
        rule=one.pick(PERIOD_RULES),
        function=one.pick(PERIOD_FUNCTIONS),
        back=int(one.random.integers(0, 4)),
    )


def _day(one: Expressions) -> Node:
    function = one.pick(("mean", "sum", "std", "var", "median", "min", "max", "count", "skew"))
    more = {"ddof": 1} if function in {"std", "var"} else {}
    return one.nodes.make("day", one.pick(one.values), one.pick(one.masks), function=function, **more)


def _rank(one: Expressions) -> Node:
    method = one.pick(("average", "min", "max", "dense"))
    return one.nodes.make(
        "day_rank", one.pick(one.values), one.pick(one.masks), method=method, ascending=one.flag(), pct=one.flag()
    )


def _choice(one: Expressions) -> Node:
    left, right = one.pick(one.values), one.pick(one.values)
    return one.nodes.make(
        "where", one.nodes.make(one.pick(("gt", "ge", "lt", "le", "eq", "ne")), left, right), left, right
    )


def _drop(one: Expressions) -> Node:
    value = one.pick(one.values)
    one.masks.append(one.nodes.make("and", one.pick(one.masks), one.nodes.make("not", one.nodes.make("isnan", value))))
    return one.nodes.make("keep", value, one.masks[-1])


OPERATIONS = (
    _binary, _unary, _logarithm, _shift, _fill, _roll, _roll, _pair, _count, _window, _element, _exponential, _period,
    _day, _rank, _choice, _drop,
)  # fmt: skip


def loaded(traced: Traced, tables: Grids) -> FactorColumns:
    """The factor as the trading machine has it: described, its graphs read back."""
    whole = whole_tables(tables)
    part, files = described(compile_factors({"drawn": traced}, whole), "factors", whole=bool(whole))
    return FactorColumns([part], files.__getitem__)


def computed(columns: FactorColumns, tables: Grids, day: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Values and whether they are known, [stocks]; NaN for stocks that are not listed yet."""
    bars = as_bars(tables, INSTRUMENTS, columns.fields)
    stocks = np.flatnonzero(bars.first <= day)
    found = columns.compute(bars, columns.fields, day, stocks, as_side_table(tables.tables.get("static")))
    values, known = np.full(STOCKS, np.nan), np.ones(STOCKS, np.bool_)
    values[stocks], known[stocks] = found.values[:, 0], found.known[:, 0]
    return values, known


def meant(traced: Traced, tables: Grids) -> npt.NDArray[np.float64]:
    """The expression in numpy, [days, stocks]."""
    value, rows = evaluate([traced.value, traced.rows], tables)
    return np.where(rows, value.astype(np.float64), np.nan)
