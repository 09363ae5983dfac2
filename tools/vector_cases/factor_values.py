"""Compiled factors computed: golden factors, bars, side tables of callers, and values that are not known."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from vector_cases import bar_cases, graphs, tables
from vector_cases.bar_cases import DATE, FIELDS, bar_rows
from vector_cases.base import UNSIGNED, Case, Edit, Plain, put
from vector_cases.factor_programs import (
    FIRST,
    NAME,
    PLACE,
    REMEMBERED,
    SECOND,
    SIDED,
    STAGED,
    before_sectors,
    before_stages,
    behind_sectors,
    behind_stages,
    change,
    factor_bundle,
    program,
    remembering,
)

CHANGES = [0.25, math.inf, 1.5]
"""Of the close: 0.25 0.75 -1.5, then 0.5 infinity -0.0."""
OF_STAGES = [-1.0, 2.5, math.nan]
"""The open of the last day is 0.0 3.0 missing: mean 1.5, ranks 0.5 and 1."""
OF_SECTORS = [0.5, 5.5, math.nan]
"""The same less the mean of the sector, which is 1.5 for the first two, and 2 or 4 added."""
_PE = [1.0, 1.0, 1.0, 2.0, 4.0, math.nan]
_SECTORS = ["A", "B", "B", "A", "A", "B"]
_SIDE = {"static:": [1.0] * 6, "static:pe": _PE, "static:sector": [float(ord(name)) for name in _SECTORS]}
_KEYS = [("datetime", pa.date32()), ("instrument", pa.string())]
_STOCKS = len(tables.STOCKS)


# --- tables ---------------------------------------------------------------------------------------------------------


def _golden(field: str, values: Sequence[float], side: dict[str, list[float]] | None = None) -> pa.Table:
    """Bars of one field, what the `side` table has on each of their rows, and the factor of the last date's stocks."""
    place = 2 + FIELDS.index(field)
    found = [math.nan] * (len(tables.TABLE_ROWS) - len(values)) + list(values)
    more = {**(side or {}), f"factor:{NAME}": found}
    rows = [(*row[:2], row[place], *others) for row, *others in zip(bar_rows(), *more.values(), strict=True)]
    schema = pa.schema([*_KEYS, (field, pa.float32()), *((name, pa.float64()) for name in more)])
    return tables.of_rows(rows, schema)


def _golden_of_rows(*places: int) -> bytes:
    """Some rows of the right golden factors."""
    return tables.written(_golden("close", CHANGES).take(pa.array(places)))


def _static(*, days: int = 2, sector: list[Any] | None = _SECTORS, pe: list[Any] = _PE) -> bytes:
    """The side table of the first `days` days, or with other columns; None: without the column."""
    rows = len(tables.STOCKS) * days
    keys = [row[:2] for row in bar_rows()]
    keys += [(day + datetime.timedelta(days=1), stock) for day, stock in keys[-_STOCKS:]]
    columns = {"datetime": pa.array([day for day, _ in keys], pa.date32()), "instrument": [stock for _, stock in keys]}
    # On a third day everything is other than before.
    columns["pe"] = pa.array([*pe, 7.0, 8.0, 9.0], pa.float64())
    if sector is not None:
        columns["sector"] = [*sector, *(["C", "D", "E"] if isinstance(sector[0], str) else [3.0, 4.0, 5.0])]
    return tables.written(pa.table(columns).slice(0, rows))


TABLES: dict[str, Callable[[], bytes]] = {
    "golden_factors": lambda: tables.written(_golden("close", CHANGES)),
    "golden_factors_staged": lambda: tables.written(_golden("open", OF_STAGES)),
    "golden_factors_side": lambda: tables.written(_golden("open", OF_SECTORS, _SIDE)),
    "golden_factors_other_value": lambda: tables.written(_golden("close", [math.nextafter(0.25, 1), *CHANGES[1:]])),
    "golden_factors_missing_value": lambda: tables.written(_golden("close", [*CHANGES[:2], math.nan])),
    "golden_factors_row_twice": lambda: _golden_of_rows(*range(6), 0),
    "golden_factors_one_day": lambda: _golden_of_rows(0, 1, 2),
    "static": _static,
    "static_of_three_days": lambda: _static(days=3),
    "static_of_one_day": lambda: _static(days=1),
    "static_without_sector": lambda: _static(sector=None),
    "static_sector_of_numbers": lambda: _static(sector=[1.0, 2.0, 2.0, 1.0, 1.0, 2.0]),
    "static_emptied": lambda: _static(pe=[*_PE[:_STOCKS], *[None] * _STOCKS]),
}


def stored(name: str) -> bytes:
    """The bytes of one of the tables above."""
    return tables.stored(name, TABLES[name])


# --- bundles --------------------------------------------------------------------------------------------------------


def _simple(golden: str = "golden_factors", edit: Edit | None = None) -> dict[str, bytes]:
    return factor_bundle(stored(golden), program(), {FIRST: change()}, edit)


def _staged() -> dict[str, bytes]:
    files = {FIRST: before_stages(), SECOND: behind_stages()}
    return factor_bundle(stored("golden_factors_staged"), STAGED, files)


def _sided(golden: str = "golden_factors_side", edit: Edit | None = None) -> dict[str, bytes]:
    files = {FIRST: before_sectors(), SECOND: behind_sectors()}
    return factor_bundle(stored(golden), SIDED, files, edit)


def _remembering() -> dict[str, bytes]:
    return factor_bundle(stored("golden_factors"), REMEMBERED, {FIRST: remembering()})


# --- cases ----------------------------------------------------------------------------------------------------------


def cases() -> Iterator[Case]:
    """All of this module."""
    yield from _selftests()
    yield from _scores()
    yield from _side_tables()
    yield from _histories()


def _selftests() -> Iterator[Case]:
    fewer = put("compiled.golden_rows", _STOCKS)
    more = put("compiled.golden_rows", len(tables.TABLE_ROWS) + 1)
    loose = put(f"compiled.tolerances.{NAME}", 1e-9)
    for name, status, code, text, files in (
        ("golden", 0, "ok", "V9: golden factors that the graph gives", _simple()),
        ("golden_staged", 0, "ok", "V9: golden factors that graphs and stages give", _staged()),
        ("golden_side", 0, "ok", "V9: golden factors of bars and a side table", _sided()),
        (
            "golden_within_tolerance",
            0,
            "ok",
            "V9: a golden factor that differs in its last bit, where that is allowed",
            _simple("golden_factors_other_value", loose),
        ),
        (
            "golden_other_value",
            19,
            "selftest.factors",
            "V9: a golden factor that differs in its last bit",
            _simple("golden_factors_other_value"),
        ),
        (
            "golden_missing_value",
            19,
            "selftest.factors",
            "V9: a golden factor that is missing, and is given",
            _simple("golden_factors_missing_value"),
        ),
        (
            "golden_one_day",
            17,
            "golden.bars",
            "V9: golden factors that end on another date",
            _simple("golden_factors_one_day", fewer),
        ),
        (
            "golden_rows_said_fewer",
            17,
            "data.schema",
            "V8: golden factors of which the manifest says fewer",
            _simple(edit=fewer),
        ),
        (
            "golden_row_twice",
            17,
            "golden.keys",
            "V8: golden factors with a row twice",
            _simple("golden_factors_row_twice", more),
        ),
        (
            "golden_without_side_table",
            17,
            "data.schema",
            "V8: golden factors without the columns of the side table",
            _sided("golden_factors_staged"),
        ),
        (
            "golden_other_field",
            17,
            "data.schema",
            "V8: golden factors with another field than the manifest says",
            _simple("golden_factors_staged"),
        ),
    ):
        yield Case(f"compiled_{name}", f"{text}.", "selftest", UNSIGNED, status, code, files)


def _score(
    name: str,
    text: str,
    code: str,
    files: dict[str, bytes],
    *more: str,
    values: Sequence[float] | None = None,
    given: dict[str, bytes] | None = None,
    bars: str = "bars",
) -> Case:
    """Scored on the last date from bars; `values` are the factor's, for the scores that come of it."""
    arguments = [*UNSIGNED, "--bars", "bars.parquet", "--date", DATE, *more]
    tree = files | {"bars.parquet": bar_cases.stored(bars), **(given or {})}
    case = Case(f"compiled_{name}", f"Input: {text}.", "score", arguments, 0 if code == "ok" else 18, code, tree)
    case.result = None if values is None else {"rows": _ranked(values)}
    return case


def _ranked(values: Sequence[float]) -> list[Plain]:
    """The best two stocks of the last date, with the factor's values."""
    rows: list[list[Any]] = [list(row) for row in tables.TABLE_ROWS[-_STOCKS:]]
    for row, value in zip(rows, values, strict=True):
        row[2 + PLACE] = value
    scored = sorted((-graphs.score(row[2:]), row[1]) for row in rows)
    return [
        {"datetime": DATE, "instrument": stock, "score": -negative, "rank": rank}
        for rank, (negative, stock) in enumerate(scored[:2], 1)
    ]


def _scores() -> Iterator[Case]:
    yield _score("bars", "bars alone, of which graphs make all features", "ok", _simple(), values=CHANGES)
    yield _score("bars_staged", "the same with stages across the stocks", "ok", _staged(), values=OF_STAGES)
    given = {"features.parquet": bar_cases.stored("sota")}
    yield _score(
        "bars_and_features",
        "a table with the feature that graphs make of bars",
        "bars.features_twice",
        _simple(),
        "--features",
        "features.parquet",
        given=given,
    )
    wrong = _score("score_after_other_golden_value", "", "ok", _simple("golden_factors_other_value"))
    wrong.text = "V9: a golden factor that differs, seen before the first score."
    wrong.exit, wrong.code = 19, "selftest.factors"
    yield wrong


def _side_tables() -> Iterator[Case]:
    for name, table, code, text in (
        ("", "static", "ok", "bars and the side table that factors read"),
        ("_later", "static_of_three_days", "ok", "a side table with rows of a later date, which do not count"),
        ("_date", "static_of_one_day", "static.date_absent", "a side table without a row of the date"),
        ("_column", "static_without_sector", "static.missing_column", "a side table without a column that is read"),
        ("_type", "static_sector_of_numbers", "static.column_type", "a side table with numbers for texts"),
        ("_emptied", "static_emptied", "static.values_missing", "a side table of which a column is empty on the date"),
    ):
        given = {"static.parquet": stored(table)}
        values = OF_SECTORS if code == "ok" else None
        yield _score(f"side{name}", text, code, _sided(), "--static", "static.parquet", values=values, given=given)
    without = _score("side_not_named", "bars without the side table that factors read", "usage.static", _sided())
    without.exit = 2
    yield without


def _histories() -> Iterator[Case]:
    text = "bars of stocks whose factor depends on days before the window"
    yield _score("history", text, "factors.history", _remembering())
    # One stock begins on the last day: nothing lies before it.
    known = _score(
        "history_of_stocks", f"{text}, and of one whose does not", "ok", _remembering(), bars="bars_listed_later"
    )
    known.result = {"scored": 1, "excluded": {"factors.history": 2}}
    yield known
