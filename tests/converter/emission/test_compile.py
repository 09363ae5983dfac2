"""Graphs and stages of compiled factors against the same expressions in numpy, on days of all kinds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from alphaseal.gate.model import check_factor_graph
from alphaseal_converter.emission.compile import compile_factors
from alphaseal_converter.emission.describe import described
from alphaseal_converter.emission.plan import NotEmittedError
from alphaseal_converter.factors.expressions.document import Traced
from alphaseal_converter.factors.expressions.evaluate import Grids, Table
from alphaseal_converter.factors.expressions.nodes import PERIOD_FUNCTIONS, PERIOD_RULES, Nodes
from alphaseal_converter.factors.expressions.periods import numbered
from factor_programs import DAYS, STOCKS, Expressions, computed, grids, loaded, meant

SEEN = (20, 120, 231, 300, DAYS - 1)


@pytest.mark.parametrize("whole", [True, False], ids=["whole series", "days without rows"])
@pytest.mark.parametrize("seed", range(30))
def test_drawn_expressions_are_what_they_mean(seed: int, whole: bool) -> None:
    """A value that is said to be known is that of the whole history; the gate lets every graph through."""
    random = np.random.default_rng([seed, whole])
    tables = grids(random, whole=whole)
    for _ in range(3):
        traced = Expressions(random).factor()
        columns, wanted = loaded(traced, tables), meant(traced, tables)
        finite = np.abs(wanted[np.isfinite(wanted)])
        scale = float(np.median(finite)) if len(finite) else 1.0
        for day in SEEN:
            values, known = computed(columns, tables, day)
            with np.errstate(invalid="ignore"):
                near = np.abs(values - wanted[day]) <= 1e-8 * np.maximum(np.abs(wanted[day]), scale)
            same = near | (values == wanted[day]) | (np.isnan(values) & np.isnan(wanted[day]))
            assert same[known].all()
        _gate(traced, whole)


def _gate(traced: Traced, whole: bool) -> None:
    program = compile_factors({"drawn": traced}, frozenset({"bars"}) if whole else frozenset())
    part, files = described(program, "factors", whole)
    for graph in part.graphs:
        check_factor_graph(files[graph.file], part, graph)


def test_a_stock_without_a_text_is_in_no_group() -> None:
    """A missing key is none, as in pandas: neither a group of its own nor one that others see."""
    tables = grids(np.random.default_rng(1), whole=True)
    names = np.full(tables.shape, 1, np.int32)
    names[:, ::3], names[:, 1] = 0, -1
    side = Table({"sector": names}, np.ones(tables.shape, np.bool_))
    tables = Grids(tables.days, {**tables.tables, "static": side})
    nodes = Nodes()
    close = nodes.make("cast", nodes.make("field", table="bars", column="$close", dtype="float32"), to="float64")
    rows = nodes.make("rows", table="bars")
    sector = nodes.make("field", table="static", column="sector", dtype="text")
    mean = nodes.make("day", close, rows, sector, function="mean")
    traced = Traced(2, "drawn", mean, rows)
    wanted = meant(traced, tables)
    values, known = computed(loaded(traced, tables), tables, DAYS - 1)
    assert np.isnan(wanted[-1, 1])
    assert known.all()
    assert (np.isnan(values) == np.isnan(wanted[-1])).all()
    assert np.nanmax(np.abs(values - wanted[-1])) < 1e-9


def test_a_row_that_depends_on_days_before_the_window_is_not_known() -> None:
    """A stock that was away longer than the window reaches: the value is computed, and said not to be known."""
    random = np.random.default_rng(0)
    tables = grids(random, whole=False)
    nodes = Nodes()
    close = nodes.make("cast", nodes.make("field", table="bars", column="$close", dtype="float32"), to="float64")
    rows = nodes.make("rows", table="bars")
    traced = Traced(2, "drawn", nodes.make("shift", close, rows, periods=10), rows)
    columns, wanted = loaded(traced, tables), meant(traced, tables)
    after = 231
    assert not tables.tables["bars"].rows[150:230, 5].any()
    values, known = computed(columns, tables, after)
    assert not known[5]
    assert known.sum() == STOCKS - 1
    np.testing.assert_array_equal(values[known], wanted[after][known])


@pytest.mark.parametrize("rule", PERIOD_RULES)
def test_values_of_calendar_periods(rule: str) -> None:
    """Weeks and months with holidays, some without any trading day, before and after 1970; infinities are values."""
    random = np.random.default_rng(PERIOD_RULES.index(rule))
    days = np.arange(1500) + np.datetime64("1968-07-01")
    traded = (np.is_busday(days) & (random.random(len(days)) > 0.1)) & ~((days > days[300]) & (days < days[345]))
    tables = dataclasses.replace(grids(random, whole=False), days=days[traded][:DAYS])
    tables.tables["bars"].columns["$close"][::37, 1] = np.inf
    for function, dtype in zip(PERIOD_FUNCTIONS, ("float32", "float64") * 3, strict=False):
        one = Expressions(random)
        value = one.nodes.make("cast", one.prices[0], to=dtype) if dtype == "float64" else one.prices[0]
        back = int(random.integers(0, 3))
        node = one.nodes.make("period", value, one.masks[0], rule=rule, function=function, back=back)
        # The value is taken on days before the newest too.
        shifted = one.nodes.make("shift", node, one.masks[1], periods=2)
        for traced in (Traced(2, "drawn", found, one.masks[0]) for found in (node, shifted)):
            columns, wanted = loaded(traced, tables), meant(traced, tables)
            # Weeks and months without a trading day have no value.
            assert np.isfinite(wanted[:, 0]).sum() > DAYS // 2
            for day in range(3, DAYS, 13):
                values, known = computed(columns, tables, day)
                assert known[0]
                near = 1e-6 if dtype == "float32" else 1e-12
                np.testing.assert_allclose(values[known], wanted[day][known], rtol=near)


@pytest.mark.parametrize("rule", ["W-FRI", "M"])
def test_a_period_is_known_once_all_its_days_are(rule: str) -> None:
    """Days of a period whose own values depend on days before the window make it unknown, and no other does."""
    tables = grids(np.random.default_rng(3), whole=False)
    one = Expressions(np.random.default_rng(3))
    rows = one.masks[0]
    shifted = one.nodes.make("shift", one.values[0], rows, periods=9)
    traced = Traced(2, "drawn", one.nodes.make("period", shifted, rows, rule=rule, function="last", back=0), rows)
    columns, wanted = loaded(traced, tables), meant(traced, tables)
    period, is_last = numbered(tables.days, rule)
    there = tables.tables["bars"].rows[:, 5]
    found = []
    for day in range(231, 360):
        first = day + 1 - columns.window
        # The last day that has fewer than 9 rows of the window before it.
        late = first + int((np.cumsum(there[first : day + 1]) < 10).sum()) - 1
        values, known = computed(columns, tables, day)
        assert known[5] == (period[day] - (not is_last[day]) > period[late])
        if known[5] and there[day]:
            np.testing.assert_array_equal(values[5], wanted[day, 5])
        found.append(known[5])
    assert len(set(found)) == 2


@pytest.mark.parametrize("whole", [True, False], ids=["whole series", "days without rows"])
@pytest.mark.parametrize("ignored", [True, False], ids=["missing ignored", "missing counted"])
@pytest.mark.parametrize("adjusted", [True, False], ids=["adjusted", "recursive"])
def test_rows_without_a_value_keep_the_weight_of_those_before(adjusted: bool, ignored: bool, whole: bool) -> None:
    """An exponential mean over rows that mostly lack a value depends on rows far back, and is said not to be known."""
    random = np.random.default_rng([adjusted, ignored, whole])
    tables = grids(random, whole=whole)
    close = tables.tables["bars"].columns["$close"]
    close[160:360, 1] = np.nan
    close[np.arange(DAYS) % 20 != 0, 2] = np.nan
    one = Expressions(random)
    for alpha, least in ((0.3, 1), (0.6, 3), (0.9, 0)):
        parameters = {"alpha": alpha, "adjust": adjusted, "ignore_na": ignored, "min_periods": least}
        mean = one.nodes.make("ewm", one.values[0], one.masks[0], function="mean", **parameters)
        traced = Traced(2, "drawn", mean, one.masks[0])
        columns, wanted = loaded(traced, tables), meant(traced, tables)
        seen = [computed(columns, tables, day) for day in range(5, DAYS, 11)]
        for (values, known), right in zip(seen, wanted[5::11], strict=True):
            np.testing.assert_allclose(values[known], right[known], rtol=1e-8)
        assert not seen[-1][1][2]
        assert all(known[0] for _, known in seen)
        assert len({known[1] for _, known in seen}) == 2


def test_an_endless_fill_is_known_once_a_value_is_there() -> None:
    """Without a limit a fill looks back as far as the program's window, and says where that was not enough."""
    tables = grids(np.random.default_rng(1), whole=True)
    nodes = Nodes()
    close = nodes.make("cast", nodes.make("field", table="bars", column="$close", dtype="float32"), to="float64")
    rows = nodes.make("rows", table="bars")
    traced = Traced(2, "drawn", nodes.make("ffill", close, rows, limit=None), rows)
    tables.tables["bars"].columns["$close"][5:, 2] = np.nan
    columns, wanted = loaded(traced, tables), meant(traced, tables)
    values, known = computed(columns, tables, DAYS - 1)
    assert not known[2]
    assert known.sum() == STOCKS - 1
    np.testing.assert_array_equal(values[known], wanted[-1][known])


def test_a_stage_that_saw_an_unknown_value_spoils_the_day() -> None:
    """One stock's rank depends on all: where one of them is not known, none is."""
    tables = grids(np.random.default_rng(2), whole=False)
    nodes = Nodes()
    close = nodes.make("cast", nodes.make("field", table="bars", column="$close", dtype="float32"), to="float64")
    rows = nodes.make("rows", table="bars")
    shifted = nodes.make("shift", close, rows, periods=10)
    rank = nodes.make("day_rank", shifted, rows, method="average", ascending=True, pct=True)
    columns = loaded(Traced(2, "drawn", rank, rows), tables)
    assert not computed(columns, tables, 231)[1][:9].any()
    assert computed(columns, tables, DAYS - 1)[1].all()


def test_what_no_graph_can_hold_is_refused() -> None:
    """A window over a window over years is more than a row may hold."""
    nodes = Nodes()
    close = nodes.make("cast", nodes.make("field", table="bars", column="$close", dtype="float32"), to="float64")
    rows = nodes.make("rows", table="bars")
    value = close
    for _ in range(2):
        value = nodes.make("roll", value, rows, function="mean", window=500, min_periods=1, constant_windows="exact")
    with pytest.raises(NotEmittedError):
        compile_factors({"drawn": Traced(2, "drawn", value, rows)}, frozenset({"bars"}))
