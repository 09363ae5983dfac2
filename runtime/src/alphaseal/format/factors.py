"""What a manifest says of compiled factors: columns they read, graphs, stages across stocks between them, and the proof."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from msgspec import Meta

from alphaseal.format.parts import Count, Date, Part, Path, Positive, Ratio, Sha256, Short, Text


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


class FactorInput(Part, frozen=True, kw_only=True):
    """A column that a factor reads; of a date it is the row of that date, and none of a later one counts."""

    table: Literal["bars", "static"]
    column: Annotated[Short, Meta(description="of bars without the dollar sign")]
    dtype: Literal["float32", "float64", "int64", "bool", "text"]


class FactorProof(Part, frozen=True, kw_only=True):
    """The factor's recorded column, computed again by the runtime from the bars that it was made of."""

    judge: Annotated[Short, Meta(description="what the values were compared with")]
    cells: Annotated[Count, Meta(description="values and missing values that were compared")]
    dates: Count
    instruments: Count
    same_bits: Annotated[Count, Meta(description="cells with the same bits, or missing on both sides")]
    noise: Annotated[
        Count, Meta(description="cells further away, which are rounding noise of pandas' own running sums")
    ]
    unknown: Annotated[Count, Meta(description="further cells, which depend on days before the window: none is given")]
    largest: Annotated[Positive, Meta(description="largest difference, of the larger of value and median size")]
    bound: Annotated[Positive, Meta(description="the same, allowed")]
    changed: Annotated[
        Count | None,
        Meta(description="cells compared with pandas itself on changed bars: gaps, zeros, constants; null: not run"),
    ]


class CompiledFactor(Part, frozen=True, kw_only=True, tag="compiled", tag_field="outcome"):
    """A SOTA feature that graphs make of bars."""

    source_sha256: Sha256
    pandas: Annotated[Literal[2, 3], Meta(description="major version whose meaning the code has")]
    expression: Annotated[Text, Meta(description="what the code computes, for people")]
    across: Annotated[bool, Meta(description="true: the value of a stock depends on other stocks of the day")]
    inputs: list[FactorInput]
    proof: FactorProof


class NotCompiledFactor(Part, frozen=True, kw_only=True, tag="not_compiled", tag_field="outcome"):
    """A SOTA feature whose code must run to have its values."""

    code: Annotated[Short, Meta(description="looks_ahead, rows_misplaced, unknown_construct, …: see docs/factors.md")]
    construct: Short
    line: Annotated[Count | None, Meta(description="of the source, from 1; null: not of one line")]
    why: Text


class SideColumn(Part, frozen=True, kw_only=True):
    """A column of the side table that compiled factors read."""

    name: Short
    dtype: Literal["float32", "float64", "int64", "bool", "text"]
    days: Annotated[int, Meta(ge=1, le=10_000, description="trading days of it that are read, the day itself included")]
    missing: Annotated[
        Ratio, Meta(description="largest share of stocks with bars that had no value on a day of the recorded table")
    ]


class CompiledFactors(Part, frozen=True, kw_only=True):
    """Bars, and a side table, in; SOTA features out.

    `golden`: bars of some stocks up to `date`, what the side table had there, and on `date` the factors' values of just these
    stocks: columns `datetime`, `instrument`, the fields, `static:` (1 where the side table has the row) and `static:NAME`
    double, `factor:NAME` double.
    """

    programs: Annotated[list[FactorProgram], Meta(min_length=1, max_length=64)]
    static: Annotated[
        list[SideColumn], Meta(max_length=256, description="columns of the side table; empty: none is read")
    ]
    fields: Annotated[list[Short], Meta(min_length=1, max_length=64, description="of the golden bars, in order")]
    complete_rows: Annotated[
        bool,
        Meta(
            description="true: a stock that lacks one of the features of origin sota or base on a day has none of them, as the "
            "research removed such rows"
        ),
    ]
    golden: Path
    golden_rows: Count
    date: Date
    tolerances: Annotated[
        dict[Short, Positive], Meta(description="feature -> largest difference from the golden value")
    ]
