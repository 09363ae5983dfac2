"""What is said of a program of compiled factors: which columns it reads, its graphs, and the stages across stocks between them."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from msgspec import Meta

from alphaseal.format.manifest import Count, Part, Path, Ratio, Short


class FactorSeries(Part, frozen=True, kw_only=True):
    """Columns of a tensor double [rows, columns] between graphs and stages: a value on the newest `days` days."""

    first: Annotated[Count, Meta(description="the column of the oldest of these days")]
    days: Annotated[int, Meta(ge=1, le=10_000)]
    dtype: Annotated[Literal["float32", "float64", "int64", "bool", "text"], Meta(description="what the doubles hold")]
    since: Annotated[
        Count | None,
        Meta(
            description="column with the day of the window (0: the oldest) from which on no earlier day counts; null: always"
        ),
    ]


class FactorGraph(Part, frozen=True, kw_only=True):
    """Bars in, and what the stages before gave; values out: double [rows, given].

    Inputs, each where it has columns: `bars` float32 [rows, window, fields], `length` int64 [rows] as for alphas.onnx,
    `tables` double [rows, window, columns], `stages` double [rows, taken].
    """

    file: Path
    taken: Count
    given: Annotated[int, Meta(ge=1, le=1_000_000)]


class FactorStage(Part, frozen=True, kw_only=True):
    """An operation across the stocks of each day, computed by the runtime; missing values are skipped."""

    operator: Literal["day", "day_rank", "day_pair"]
    function: (
        Literal["mean", "sum", "std", "var", "median", "min", "max", "count", "quantile", "skew", "any", "corr", "cov"]
        | None
    )
    ddof: Annotated[int, Meta(ge=0, le=100)] | None
    q: Ratio | None
    method: Literal["average", "min", "max", "dense", "first"] | None
    ascending: bool | None
    percent: bool | None
    inputs: Annotated[
        list[Union[FactorSeries, float, bool]],
        Meta(min_length=2, max_length=8, description="values (two of a pair), mask, keys; a number is everybody's"),
    ]
    gives: Annotated[FactorSeries, Meta(description="columns of `stages`")]


class FactorColumn(Part, frozen=True, kw_only=True):
    """A column of the input `tables`."""

    table: Annotated[Literal["bars", "static", "day"], Meta(description="day: parts of the date")]
    column: Annotated[Short | None, Meta(description="null: 1 where the table has a row, else 0")]
    dtype: Literal["float32", "float64", "int64", "bool", "text"]


class FactorProgram(Part, frozen=True, kw_only=True):
    """Compiled factors: graph, stages, graph, …; the last graph gives the factors, NaN where a factor has no row."""

    window: Annotated[int, Meta(ge=1, le=10_000, description="trading days of bars, the day itself included")]
    whole: Annotated[bool, Meta(description="true: a day without a row within a stock's series counts as a row")]
    fields: Annotated[list[Short], Meta(max_length=64, description="bar columns in the graphs' order, no dollar sign")]
    columns: Annotated[list[FactorColumn], Meta(max_length=256)]
    graphs: Annotated[list[FactorGraph], Meta(min_length=1, max_length=8)]
    stages: Annotated[list[list[FactorStage]], Meta(max_length=7, description="those between graph n and n + 1")]
    factors: Annotated[dict[Short, FactorSeries], Meta(description="feature -> its column of the last graph")]
