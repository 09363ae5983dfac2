"""Rules between the fields of compiled factors, which a schema cannot say; loaded only for a bundle that has some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from alphaseal.format.factors import FactorSeries

if TYPE_CHECKING:
    from alphaseal.format.factors import CompiledFactors, FactorColumn, FactorProgram, FactorStage

PARTS_OF_A_DAY = ("year", "month", "day", "weekday", "dayofyear", "quarter", "ordinal")
FUNCTIONS: Mapping[str, tuple[str | None, ...]] = {
    "day": ("mean", "sum", "std", "var", "median", "min", "max", "count", "quantile", "skew", "any"),
    "day_rank": (None,),
    "day_pair": ("corr", "cov"),
}
"""Of the operators across stocks."""
Refuse = Callable[[str], None]


def check_programs(compiled: CompiledFactors, refuse: Refuse) -> None:
    """Hand to `refuse` what of the programs does not fit together, which a schema cannot say."""
    names = [name for program in compiled.programs for name in program.factors]
    files = [graph.file for program in compiled.programs for graph in program.graphs]
    side = {column.name: column.dtype for column in compiled.static}
    if len(set(names)) != len(names):
        refuse("a feature is computed twice")
    if set(names) != set(compiled.tolerances):
        refuse("tolerances are not those of the features that are computed")
    if len(set(files)) != len(files):
        refuse("a graph belongs to two programs")
    if len(set(compiled.fields)) != len(compiled.fields):
        refuse("a field is listed twice")
    if len(side) != len(compiled.static):
        refuse("a column of the side table is listed twice")
    for program in compiled.programs:
        if not set(program.fields) <= set(compiled.fields):
            refuse("a program reads a field that is not listed")
        if not all(_is_column(column, side) for column in program.columns):
            refuse("a program reads a column that no table has")
        _check_program(program, refuse)


def _is_column(column: FactorColumn, side: Mapping[str, str]) -> bool:
    """Whether there is such a column; `side` are those of the side table with their dtypes."""
    if column.table == "day":
        return column.column in PARTS_OF_A_DAY and column.dtype == "int64"
    if column.column is None:
        return column.dtype == "bool" and (column.table == "bars" or bool(side))
    return column.table == "static" and side.get(column.column) == column.dtype


def _check_program(program: FactorProgram, refuse: Refuse) -> None:
    """Graphs and stages follow from what is before them."""
    if len(program.stages) != len(program.graphs) - 1:
        refuse("stages are not between graphs")
    taken = 0
    for graph, stages in zip(program.graphs, [*program.stages, []], strict=True):
        if graph.taken != taken:
            refuse(f"{graph.file} takes {graph.taken} columns, the stages before give {taken}")
        for stage in stages:
            gives = stage.gives
            if gives.first != taken or gives.days > program.window or gives.since is not None:
                refuse("a stage does not give the columns after those before it")
            taken += gives.days
            _check_stage(stage, refuse)
            if any(_outside(one, graph.given, gives.days) for one in stage.inputs if isinstance(one, FactorSeries)):
                refuse(f"a stage reads columns that {graph.file} does not give")
    if not program.factors:
        refuse("a program makes no factor")
    last = program.graphs[-1]
    if any(_outside(one, last.given, 1) for one in program.factors.values()):
        refuse(f"a factor is no column of {last.file}")


def _check_stage(stage: FactorStage, refuse: Refuse) -> None:
    """It has what its operator needs, and nothing else."""
    if stage.function not in FUNCTIONS[stage.operator]:
        refuse(f"a stage {stage.operator} of the function {stage.function}")
    needed = {
        "ddof": stage.function in ("std", "var", "cov"),
        "q": stage.function == "quantile",
        **dict.fromkeys(("method", "ascending", "percent"), stage.operator == "day_rank"),
    }
    if wrong := [name for name, needs in needed.items() if needs != (getattr(stage, name) is not None)]:
        refuse(f"a stage {stage.operator} {'without' if needed[wrong[0]] else 'with'} {wrong[0]}")
    place = 1 + (stage.operator == "day_pair")
    mask = stage.inputs[place] if place < len(stage.inputs) else None
    if not (mask.dtype == "bool" if isinstance(mask, FactorSeries) else isinstance(mask, bool)):
        refuse(f"a stage {stage.operator} without a mask")


def _outside(series: FactorSeries, given: int, days: int) -> bool:
    return series.days != days or series.first + days > given or (series.since is not None and series.since >= given)
