"""Bars: a bundle with a graph that makes alpha features of them, its golden bars, and the bars that a caller brings."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa

from vector_cases import graphs, tables
from vector_cases.base import UNSIGNED, Case, Edit, both, bundle, put

DATE = "2024-01-03"
FIELDS = ("close", "volume", "open")
FEATURES = ("CLOSE5", "VOL10", "STD5")
WINDOW = 2
_PLACES = [[name for name, _ in tables.FEATURES].index(name) for name in FEATURES]
_BARS = pa.schema(
    [("datetime", pa.date32()), ("instrument", pa.string()), *((field, pa.float32()) for field in FIELDS)]
)
_SOTA = pa.schema([("datetime", pa.date32()), ("instrument", pa.string()), ("REV_3D", pa.float64())])
_BEFORE = datetime.date(2024, 1, 1)
_NEXT = datetime.date(2024, 1, 4)


def alpha_graph(window: int = WINDOW, fields: int = len(FIELDS)) -> bytes:
    """The last day's fields as features, times length / length, so that the length must be given."""
    nodes = [
        graphs.node("Gather", ["bars", "last"], ["day"], graphs.attribute("axis", 1)),
        graphs.node("Cast", ["length"], ["count"], graphs.attribute("to", graphs.FLOAT)),
        graphs.node("Div", ["count", "count"], ["one"]),
        graphs.node("Unsqueeze", ["one", "axis"], ["ones"]),
        graphs.node("Mul", ["day", "ones"], ["alphas"]),
    ]
    tensors = [graphs.int64s("last", [window - 1], []), graphs.int64s("axis", [1])]
    inputs = [
        graphs.port("bars", [None, window, fields], graphs.FLOAT),
        graphs.port("length", [None], graphs.INT64),
    ]
    outputs = [graphs.port("alphas", [None, fields], graphs.FLOAT)]
    return graphs.file(graphs.graph(nodes, tensors, inputs, outputs), opsets=graphs.OPSETS[:1])


def bar_rows() -> tables.Rows:
    """Bars that hold the alpha features of the small bundle's own table."""
    return [(day, stock, *(row[place] for place in _PLACES)) for day, stock, *row in tables.TABLE_ROWS]


def sota_rows() -> tables.Rows:
    """The feature that bars do not give."""
    return [(day, stock, row[2]) for day, stock, *row in tables.TABLE_ROWS]


def _bars(rows: tables.Rows, **options: Any) -> bytes:
    return tables.written(tables.of_rows(rows, _BARS), **options)


def _changed(place: int, column: int, value: float) -> bytes:
    rows = [list(row) for row in bar_rows()]
    rows[place][column] = value
    return _bars([tuple(row) for row in rows])


def _retyped(name: str, kind: pa.DataType) -> bytes:
    """The bars with one field of another type."""
    table = tables.of_rows(bar_rows(), _BARS)
    place = table.schema.get_field_index(name)
    column = table.column(name)
    # No decimal is infinite: the type alone is refused.
    decimals = pa.array([Decimal(1)] * len(table), kind) if pa.types.is_decimal(kind) else None
    return tables.written(table.set_column(place, name, column.cast(kind) if decimals is None else decimals))


def _three_days(*, middle: bool) -> bytes:
    """The two days and one more, or only the first and the last of them."""
    rows = bar_rows()
    newest = [(_NEXT, *row[1:]) for row in rows[3:]]
    return _bars([*rows[:3], *(rows[3:] if middle else []), *newest])


def _with_dollar() -> bytes:
    table = tables.of_rows(bar_rows(), _BARS)
    other = [0.0 if position == 3 else value for position, value in enumerate(table["close"].to_pylist())]
    return tables.written(table.append_column("$close", pa.array(other, pa.float32())))


def _renamed() -> bytes:
    names = ["datetime", "instrument", *(f"${field}" for field in FIELDS)]
    return tables.written(tables.of_rows(bar_rows(), _BARS).rename_columns(names))


TABLES: dict[str, Callable[[], bytes]] = {
    "bars": lambda: _bars(bar_rows()),
    "bars_adjusted": lambda: _bars([(*row[:2], *(2 * value for value in row[2:])) for row in bar_rows()]),
    "bars_contradiction": _with_dollar,
    "bars_dollar": _renamed,
    "bars_other_adjustment": lambda: _changed(3, 2, 1.0),
    "bars_other_stocks": lambda: _bars([row for row in bar_rows() if row[1] != "SZ000001"]),
    "bars_three_days": lambda: _three_days(middle=True),
    "bars_two_of_three_days": lambda: _three_days(middle=False),
    "bars_without_golden_day": lambda: _bars([*((_BEFORE, *row[1:]) for row in bar_rows()[:3]), *bar_rows()[3:]]),
    "bars_without_open": lambda: tables.written(tables.of_rows(bar_rows(), _BARS).drop_columns(["open"])),
    "bars_without_first_stock": lambda: _bars([row for row in bar_rows() if row[1] != "SH600000"]),
    "bars_listed_later": lambda: _bars(bar_rows()[1:]),
    "bars_row_twice": lambda: _bars([*bar_rows(), bar_rows()[0]]),
    "bars_half": lambda: _retyped("close", pa.float16()),
    "bars_double": lambda: _retyped("close", pa.float64()),
    "bars_decimal": lambda: _retyped("close", pa.decimal128(10, 4)),
    "golden_bars_other_value": lambda: _changed(3, 2, 0.5000001),
    "golden_bars_missing_value": lambda: _changed(3, 2, math.nan),
    "golden_bars_one_day": lambda: _bars(bar_rows()[:3]),
    "golden_bars_other_stock": lambda: _bars(
        [(day, stock.replace("SZ", "BJ"), *row) for day, stock, *row in bar_rows()]
    ),
    "golden_bars_double": lambda: tables.written(
        tables.of_rows(
            bar_rows(), pa.schema([field if field.name != "open" else ("open", pa.float64()) for field in _BARS])
        )
    ),
    "sota": lambda: tables.written(tables.of_rows(sota_rows(), _SOTA)),
}


def stored(name: str) -> bytes:
    """The bytes of one of the tables above."""
    return tables.stored(name, TABLES[name])


def bar_bundle(
    golden: str = "bars",
    edit: Edit | None = None,
    graph: bytes | None = None,
    changed: dict[str, bytes] | None = None,
) -> dict[str, bytes]:
    """The small bundle with a graph for bars and golden bars, and other contents that are `changed`."""
    said = {
        "file": "alphas.onnx",
        "window": WINDOW,
        "fields": list(FIELDS),
        "features": list(FEATURES),
        "tolerances": [0.0, 0.0, 0.0],
        "truncated": {},
        "golden": "golden_bars.parquet",
        "golden_rows": len(tables.TABLE_ROWS),
        "date": DATE,
    }
    change = put("alphas", said)
    files: dict[str, bytes | None] = {
        "alphas.onnx": alpha_graph() if graph is None else graph,
        "golden_bars.parquet": stored(golden),
        **(changed or {}),
    }
    return bundle(files, change if edit is None else both(change, edit))


def cases() -> Iterator[Case]:
    yield from _passing()
    yield from _golden()
    yield from _inputs()


def _selftest(name: str, text: str, status: int, code: str, files: dict[str, bytes]) -> Case:
    return Case(name, f"{text}.", "selftest", UNSIGNED, status, code, files)


def _score(
    name: str,
    text: str,
    code: str,
    bars: str = "bars",
    *more: str,
    features: bytes | None = None,
    files: dict[str, bytes] | None = None,
) -> Case:
    """Scored with the feature that bars do not give, on one date unless the arguments say others."""
    day = [] if {"--dates", "--date"} & set(more) else ["--date", DATE]
    given = stored("sota") if features is None else features
    arguments = [*UNSIGNED, "--bars", "bars.parquet", "--features", "features.parquet", *day, *more]
    tree = (files or bar_bundle()) | {"bars.parquet": stored(bars), "features.parquet": given}
    return Case(name, f"Input: {text}.", "score", arguments, 0 if code == "ok" else 18, code, tree)


def _passing() -> Iterator[Case]:
    verified = Case("alphas", "V7: a graph that makes features of bars.", "verify", UNSIGNED, 0, "ok", bar_bundle())
    yield verified
    yield _selftest("golden_bars", "V9: golden bars give their alpha features", 0, "ok", bar_bundle())
    yield _score("bars", "bars for the alpha features, a table for the other", "ok")
    yield _score("bars_dollar", "bars with dollar signs", "ok", "bars_dollar")
    yield _score("bars_double", "bars with a field in double precision, which is cast first", "ok", "bars_double")
    yield _score("bars_adjusted", "bars that are adjusted by one factor for all days", "ok", "bars_adjusted")
    yield _score("bars_range", "all dates of bars that reach back far enough", "ok", "bars", "--dates", ":")
    yield _score("bars_other_stocks", "bars that lack a stock of the features", "ok", "bars_other_stocks")
    loose = put("alphas.tolerances.0", 1e-6)
    yield _selftest(
        "golden_bars_within_tolerance",
        "V9: an alpha feature that differs in its last bit, where that is allowed",
        0,
        "ok",
        bar_bundle("golden_bars_other_value", loose),
    )


def _golden() -> Iterator[Case]:
    for name, text in (
        ("golden_bars_other_value", "that give another value in its last bit"),
        ("golden_bars_missing_value", "that give a missing value"),
    ):
        yield _selftest(name, f"V9: golden bars {text}", 19, "selftest.alphas", bar_bundle(name))
    wrong = _score("score_after_wrong_golden_bars", "", "ok", files=bar_bundle("golden_bars_other_value"))
    wrong.text = "V9: golden bars that give another value, seen before the first score."
    wrong.exit, wrong.code = 19, "selftest.alphas"
    yield wrong
    fewer = put("alphas.golden_rows", len(tables.TABLE_ROWS) - 3)
    for name, edit, text in (
        ("golden_bars_one_day", fewer, "that end on another date"),
        ("golden_bars_other_stock", None, "of a stock that the golden rows lack"),
    ):
        yield _selftest(name, f"V9: golden bars {text}", 17, "golden.bars", bar_bundle(name, edit))
    yield _selftest(
        "golden_bars_double",
        "V8: golden bars with a field in double precision",
        17,
        "data.schema",
        bar_bundle("golden_bars_double"),
    )
    yield _selftest(
        "golden_bars_rows_said_fewer",
        "V8: golden bars of which the manifest says fewer",
        17,
        "data.schema",
        bar_bundle(edit=fewer),
    )
    repeated = put("alphas.golden_rows", len(tables.TABLE_ROWS) + 1)
    yield _selftest(
        "golden_bars_row_twice",
        "V8: golden bars with a row twice",
        17,
        "golden.keys",
        bar_bundle("bars_row_twice", repeated),
    )


def _inputs() -> Iterator[Case]:
    yield _score(
        "bars_too_short", "bars that do not reach back far enough", "bars.too_short", "bars", "--date", "2024-01-02"
    )
    yield _score("bars_half", "bars with a field in half precision", "features.precision", "bars_half")
    yield _score("bars_decimal", "bars with a field of decimals", "features.not_numeric", "bars_decimal")
    yield _score("bars_without_open", "bars that lack a field", "bars.missing_column", "bars_without_open")
    yield _score(
        "bars_contradiction", "bars with a field in two forms that differ", "bars.contradiction", "bars_contradiction"
    )
    yield _score(
        "bars_row_twice",
        "bars with a row twice, in a range of dates",
        "features.duplicate_row",
        "bars_row_twice",
        "--dates",
        ":",
    )
    yield _score(
        "bars_other_adjustment",
        "bars with a price that is adjusted on one day only",
        "bars.adjustment",
        "bars_other_adjustment",
    )
    yield _score(
        "bars_suspended",
        "bars without a value that the golden bars have",
        "bars.suspended",
        "golden_bars_missing_value",
    )
    yield _score(
        "bars_calendar",
        "bars without a row on a day of the golden bars, between days that have one",
        "bars.calendar",
        "bars_without_golden_day",
    )
    calendar = bar_bundle() | {"calendar.txt": b"2024-01-02\n2024-01-03\n2024-01-04\n"}
    asked = ("--date", "2024-01-04", "--calendar", "calendar.txt")
    yield _score(
        "bars_day_missing",
        "bars without a row on a day of the calendar",
        "bars.day_missing",
        "bars_two_of_three_days",
        *asked,
        files=calendar,
    )
    yield _score(
        "bars_features_twice", "features that the bars give too", "bars.features_twice", features=tables.features()
    )
    yield _score(
        "bars_features_absent",
        "a range of dates on one of which there are bars and no features",
        "bars.features_absent",
        "bars_three_days",
        "--dates",
        "2024-01-03:",
    )
    missing = _score("bars_features_missing", "bars alone, for a model that asks for more", "bars.features_missing")
    missing.arguments = [*UNSIGNED, "--bars", "bars.parquet", "--date", DATE]
    yield missing
    without = _score("bars_without_graph", "bars for a bundle without a graph for them", "usage.bars", files=bundle())
    without.exit = 2
    yield without
