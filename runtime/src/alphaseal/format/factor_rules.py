"""Rules between the fields of compiled factors, which a schema cannot say; loaded only for a bundle that has some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alphaseal.format.factors import FactorSeries

if TYPE_CHECKING:
    from collections.abc import Collection

    from alphaseal.format.factors import CompiledFactors, FactorProgram


def misfit(
    compiled: CompiledFactors | None, said: set[str], fields: Collection[str], features: Collection[str]
) -> str | None:
    """What does not fit, None where all does; `said` are the features of which the manifest says that they are compiled, `fields` and
    `features` those of its alphas."""
    names = [] if compiled is None else [name for program in compiled.programs for name in program.factors]
    if set(names) != said:
        return f"programs and features name different factors: {', '.join(sorted(set(names) ^ said))}"
    if compiled is None:
        return None
    if not set(compiled.fields) <= set(fields):
        return "a field of compiled factors is none of alphas, whose golden bars show its unit"
    files = [graph.file for program in compiled.programs for graph in program.graphs]
    side = {column.name: column.dtype for column in compiled.static}
    if len(set(names)) != len(names) or said != set(compiled.tolerances) or said & set(features):
        return "a factor is computed twice, or has no tolerance of its own"
    if len(set(files)) != len(files):
        return "a graph belongs to two programs"
    if len(set(compiled.fields)) != len(compiled.fields) or len(side) != len(compiled.static):
        return "a field or a column of the side table is listed twice"
    for program in compiled.programs:
        read = {column.column: column.dtype for column in program.columns if column.table == "static" and column.column}
        if not set(program.fields) <= set(compiled.fields) or not read.items() <= side.items():
            return "a program reads a field or a column that is not listed"
        if fault := _misfit(program):
            return fault
    return None


def _misfit(program: FactorProgram) -> str | None:
    """What of graphs and stages does not follow from what is before it."""
    if len(program.stages) != len(program.graphs) - 1:
        return "stages are not between graphs"
    taken = 0
    for graph, stages in zip(program.graphs, [*program.stages, []], strict=True):
        if graph.taken != taken:
            return f"{graph.file} takes {graph.taken} columns, the stages before give {taken}"
        for stage in stages:
            if stage.gives.first != taken or stage.gives.days > program.window:
                return "a stage does not give the columns after those before it"
            taken += stage.gives.days
            values = 1 + (stage.operator == "day_pair")
            if len(stage.inputs) < values + 1 or (stage.operator == "day_rank") != (stage.method is not None):
                return f"a stage {stage.operator} without what it needs"
            if (stage.operator != "day_rank") != (stage.function is not None):
                return f"a stage {stage.operator} without its function"
            days = stage.gives.days
            if any(_outside(one, graph.given, days) for one in stage.inputs if isinstance(one, FactorSeries)):
                return f"a stage reads columns that {graph.file} does not give"
    last = program.graphs[-1].given
    if not program.factors or any(_outside(one, last, 1) for one in program.factors.values()):
        return "a factor is no column of the last graph"
    return None


def _outside(series: FactorSeries, given: int, days: int) -> bool:
    return series.days != days or series.first + days > given or (series.since is not None and series.since >= given)
