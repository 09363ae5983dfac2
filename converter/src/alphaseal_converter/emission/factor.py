"""One factor's source: traced, compiled, and computed on every day of some bars by what computes it on the trading machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alphaseal.errors import PolicyError
from alphaseal.factors.daily import FactorColumns
from alphaseal.gate.model import check_factor_graph
from alphaseal_converter.emission import tables
from alphaseal_converter.emission.compile import Program, compile_factors
from alphaseal_converter.emission.describe import described
from alphaseal_converter.emission.plan import USUAL, NotEmittedError, Reach, counts_every_day, mask_of
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.expressions.document import Refused, Traced
from alphaseal_converter.factors.expressions.evaluate import Grids, Table, evaluate
from alphaseal_converter.factors.expressions.nodes import ACROSS, Node, Nodes, in_order
from alphaseal_converter.factors.expressions.properties import looks_beside_bars
from alphaseal_converter.factors.tracing import trace

SAME: Final = 1e-9
"""Largest difference between the graphs and the judge, of the larger of value and median size."""
SAME_OF_FLOAT32: Final = 1e-6
"""The same behind steps in float32."""
_LONGER: Final = (2, 4, 8)
"""Times the usual reach, where values are not known with it."""
_LISTED: Final = "listed"
"""A table of no columns: its rows are the days of each stock's series."""
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Factor:
    """A compiled factor: `values` and `known` [days, stocks] by the runtime's path; NaN where it has no row or no value.

    `asked` bool [days, stocks]: what the runtime can be asked for, days of the stock's series.  A table of days by stocks has
    rows on other days too, and it begins with the bars: what depends on that is not asked for.  `largest` is the difference from the judge, the expression in numpy, relative as in `SAME`.
    """

    traced: Traced
    program: Program
    files: dict[str, bytes]
    values: Values
    known: npt.NDArray[np.bool_]
    asked: npt.NDArray[np.bool_]
    largest: float


def compile_source(
    path: Path, source: bytes, grids: Grids, instruments: list[str], pandas: int, progress: Callable[[str], None]
) -> Factor:
    """Trace, compile and compute; RefusalError `factor.*` with construct and line where one of them cannot be."""
    progress("following the program")
    traced = trace(source, tables.dtypes_of(grids), pandas)
    if isinstance(traced, Refused):
        raise RefusalError(
            f"factor.{traced.code}",
            f"{traced.construct}: {traced.why}",
            where=f"{path}, line {traced.line}" if traced.line else str(path),
        )
    if looks_beside_bars(traced.value, traced.rows):
        raise RefusalError(
            "factor.other_input",
            "windows, or statistics of a day, count rows of the side table that need not be rows of the bars",
            where=str(path),
            next_step="join the side table to the bars first",
        )
    program = _compiled(traced, grids, USUAL, path)
    found = _computed(traced, program, grids, instruments, progress)
    for factor in _LONGER:
        # What the days of a window do not show, those of a longer one may; a stock may be away for years.
        if found.known[found.asked].all():
            break
        try:
            longer = _compiled(traced, grids, USUAL.times(factor), path)
            found, program = _computed(traced, longer, grids, instruments, progress), longer
        except (RefusalError, PolicyError):
            break
    largest = _judged(traced, grids, found, path)
    return Factor(traced, program, found.files, found.values, found.known, found.asked, largest)


@dataclass(frozen=True, eq=False)
class _Values:
    files: dict[str, bytes]
    values: Values
    known: npt.NDArray[np.bool_]
    asked: npt.NDArray[np.bool_]


def _whole(traced: Traced, grids: Grids) -> frozenset[str]:
    """Tables with a row on every day of each stock's series; a table of days by stocks goes on where a series has ended."""
    ended = not grids.tables[tables.BARS].rows[-1].all()
    return frozenset() if ended and counts_every_day([traced.value, traced.rows]) else tables.whole_tables(grids)


def _compiled(traced: Traced, grids: Grids, reach: Reach, path: Path) -> Program:
    try:
        return compile_factors({traced.name: traced}, _whole(traced, grids), reach)
    except NotEmittedError as problem:
        raise RefusalError("factor.not_emitted", f"no graph can hold the factor: {problem}", where=str(path)) from None


def _computed(
    traced: Traced, program: Program, grids: Grids, instruments: list[str], progress: Callable[[str], None]
) -> _Values:
    """All days by the runtime's path; PolicyError where the trading machine would refuse a graph."""
    progress(f"graphs over {program.window} days")
    part, files = described(program, "factors", bool(_whole(traced, grids)))
    for graph in part.graphs:
        check_factor_graph(files[graph.file], part, graph)
    columns = FactorColumns([part], files.__getitem__)
    bars, static = (
        tables.as_bars(grids, instruments, columns.fields),
        tables.as_side_table(grids.tables.get(tables.STATIC)),
    )
    values = np.full(grids.shape, np.nan)
    known = np.ones(grids.shape, np.bool_)
    listed = bars.listed()
    for day in range(len(grids.days)):
        progress(f"computing {grids.days[day]}")
        # Statistics of days before count stocks whose series has ended.
        stocks = np.flatnonzero(bars.first <= day)
        found = columns.compute(bars, columns.fields, day, stocks, static)
        there = listed[stocks, day]
        values[day, stocks[there]], known[day, stocks[there]] = found.values[there, 0], found.known[there, 0]
    return _Values(files, values, known, listed.T & _settled(traced, program, grids))


def _judged(traced: Traced, grids: Grids, found: _Values, path: Path) -> float:
    wanted, most = _evaluated(traced, grids), bound_of(traced)
    compared = found.known & found.asked
    largest = _difference(found.values, wanted, compared)
    if largest <= most:
        return largest
    if _difference(_evaluated(*_of_listed(traced, grids)), wanted, compared) > most:
        raise RefusalError(
            "factor.counts_unlisted",
            "statistics of a day count stocks before their first row, or after their last",
            where=str(path),
            next_step="stack the table of days by stocks, join it to the bars, and group by datetime",
        )
    raise RefusalError(
        "factor.differs",
        "the graphs do not give what the expression means",
        where=str(path),
        expected=f"within {most:g} of the larger of value and median size",
        found=f"{largest:.2g}",
    )


def _evaluated(traced: Traced, grids: Grids) -> Values:
    """The expression in numpy; NaN where it has no row."""
    value, rows = evaluate([traced.value, traced.rows], grids)
    return np.where(rows, value.astype(np.float64), np.nan)


def _difference(values: Values, wanted: Values, compared: npt.NDArray[np.bool_]) -> float:
    """The largest, relative as in `SAME`."""
    scale = size_of(wanted)
    with np.errstate(all="ignore"):
        equal = (wanted == values) | (np.isnan(wanted) & np.isnan(values))
        difference = np.where(equal, 0.0, np.abs(wanted - values) / np.maximum(np.abs(wanted), scale))
    difference = np.where(np.isnan(difference), np.inf, difference)[compared]
    return float(difference.max()) if difference.size else 0.0


def size_of(values: Values) -> float:
    """The median size of finite values; of those that are not 0 where most are, and 1 where all are."""
    sizes = np.abs(values[np.isfinite(values)])
    if not sizes.any():
        return 1.0
    return float(np.median(sizes)) or float(np.median(sizes[sizes > 0]))


def _of_listed(traced: Traced, grids: Grids) -> tuple[Traced, Grids]:
    """The same with statistics of a day over stocks on the days of their series only, which are rows of one more table."""
    nodes, made = Nodes(), dict[Node, Node]()
    for node in in_order([traced.value, traced.rows]):
        inputs = [made[one] for one in node.inputs]
        if node.operator in ACROSS:
            place = node.inputs.index(mask_of(node))
            inputs[place] = nodes.make("and", inputs[place], nodes.make("rows", table=_LISTED))
        made[node] = nodes.make(node.operator, *inputs, **node.parameters)
    listed = Table({}, tables.listed(grids.tables[tables.BARS].rows))
    changed = Traced(traced.pandas, traced.name, made[traced.value], made[traced.rows])
    return changed, Grids(grids.days, {**grids.tables, _LISTED: listed})


def _settled(traced: Traced, program: Program, grids: Grids) -> npt.NDArray[np.bool_]:
    """[days, stocks]: what days without rows before the first of the bars do not change."""
    roots = [traced.value, traced.rows]
    if not counts_every_day(roots):
        return np.ones(grids.shape, np.bool_)
    before = program.window
    days = np.concatenate([grids.days[0] - np.arange(before, 0, -1), grids.days])
    found = {name: _later(table, before) for name, table in grids.tables.items()}
    same = np.ones(grids.shape, np.bool_)
    for one, other in zip(evaluate(roots, grids), evaluate(roots, Grids(days, found)), strict=True):
        same &= (one == other[before:]) | ((one != one) & (other[before:] != other[before:]))
    return same


def _later(table: Table, before: int) -> Table:
    """The table after days without rows."""

    def later(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        empty: Any = np.nan if values.dtype.kind == "f" else -1 if values.dtype == np.int32 else 0
        return np.concatenate([np.full((before, values.shape[1]), empty, values.dtype), values])

    return Table({name: later(values) for name, values in table.columns.items()}, later(table.rows))


def bound_of(traced: Traced) -> float:
    """The largest difference that is none, of the larger of value and median size: float32 steps are rounded where they are."""
    sources = {"field", "constant", "keep", "where", "shift", "ffill", "cast"}
    steps = any(node.dtype == "float32" and node.operator not in sources for node in in_order([traced.value]))
    return SAME_OF_FLOAT32 if steps else SAME


def as_table(factor: Factor, grids: Grids, instruments: list[str]) -> Any:
    """Columns datetime, instrument and the factor's name: the values that are there, by day and stock."""
    import pyarrow as pa

    day, stock = np.nonzero(~np.isnan(factor.values) & factor.known)
    return pa.table(
        {
            "datetime": pa.array(grids.days[day].astype("datetime64[ns]")),
            "instrument": pa.array(np.array(instruments, object)[stock], pa.string()),
            factor.traced.name: pa.array(factor.values[day, stock]),
        }
    )
