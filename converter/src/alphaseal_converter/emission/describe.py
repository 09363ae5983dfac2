"""A program as the manifest describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alphaseal.format import factors as m
from alphaseal_converter.emission.compile import BARS, Program, Series, Stage


def described(program: Program, folder: str, whole: bool) -> tuple[m.FactorProgram, dict[str, bytes]]:
    """The manifest's part and the files of its graphs, by path."""
    files = {f"{folder}/graph_{number}.onnx": graph.model for number, graph in enumerate(program.graphs)}
    part = m.FactorProgram(
        window=program.window,
        whole=whole,
        fields=list(program.fields),
        columns=[
            m.FactorColumn(table=_table(column.table), column=column.column, dtype=column.dtype)  # type: ignore[arg-type]
            for column in program.columns
        ],
        graphs=[
            m.FactorGraph(file=path, taken=graph.taken, given=graph.given)
            for path, graph in zip(files, program.graphs, strict=True)
        ],
        stages=[[_stage(stage) for stage in stages] for stages in program.stages],
        factors={name: _series(series) for name, series in program.factors.items()},
    )
    return part, files


def _table(name: str) -> str:
    return name if name == BARS else name or "day"


def _series(series: Series) -> m.FactorSeries:
    return m.FactorSeries(first=series.first, days=series.days, dtype=series.dtype, since=series.since)  # type: ignore[arg-type]


def _input(one: Series | float | bool) -> m.FactorSeries | float | bool:
    """A whole number too is written as a double."""
    if isinstance(one, Series):
        return _series(one)
    return one if isinstance(one, bool) else float(one)


def _stage(stage: Stage) -> m.FactorStage:
    told: Mapping[str, Any] = stage.parameters
    return m.FactorStage(
        operator=stage.operator,  # type: ignore[arg-type]
        function=told.get("function"),
        ddof=told.get("ddof"),
        q=told.get("q"),
        method=told.get("method"),
        ascending=told.get("ascending"),
        percent=told.get("pct"),
        inputs=[_input(one) for one in stage.inputs],
        gives=_series(stage.gives),
    )
