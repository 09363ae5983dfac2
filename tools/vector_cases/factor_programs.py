"""Programs of compiled factors by hand: their graphs, what a manifest says of them, and a bundle with one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vector_cases import tables
from vector_cases.bar_cases import DATE, bar_bundle
from vector_cases.base import Edit, Plain, both, draft, put
from vector_cases.graphs import DOUBLE, FLOAT, INT64, OPSETS, attribute, file, graph, int64s, node, port

NAME = "REV_3D"
"""The factor that all of them make; bars give the other features of the small bundle."""
PLACE = [name for name, _ in tables.FEATURES].index(NAME)
GOLDEN = "golden_factors.parquet"
WINDOW = 2
FIRST, SECOND = "compiled/0/graph_0.onnx", "compiled/0/graph_1.onnx"
COMPILATION: Plain = {
    "outcome": "compiled",
    "source_sha256": "0" * 64,
    "pandas": 2,
    "expression": "by hand",
    "across": False,
    "inputs": [{"table": "bars", "column": "close", "dtype": "float32"}],
    "proof": {
        "judge": "by hand",
        "cells": 3,
        "dates": 1,
        "instruments": 3,
        "same_bits": 3,
        "noise": 0,
        "unknown": 0,
        "largest": 0.0,
        "bound": 0.0,
        "changed": None,
    },
}
SIDE: list[Plain] = [
    {"name": "pe", "dtype": "float64", "days": 1, "missing": 0.4},
    {"name": "sector", "dtype": "text", "days": 1, "missing": 0.0},
]

LENGTH = port("length", [None], INT64)
LAST, BEFORE = int64s("last", [WINDOW - 1], []), int64s("before", [WINDOW - 2], [])
AXIS = attribute("axis", 1)
TO_DOUBLE = attribute("to", DOUBLE)
DAY = node("Gather", ["bars", "last"], ["day"], AXIS)
OPEN = node("Cast", ["day"], ["open"], TO_DOUBLE)
COLUMNS = node("Gather", ["tables", "last"], ["columns"], AXIS)
CHANGE = (
    DAY,
    node("Gather", ["bars", "before"], ["earlier"], AXIS),
    node("Sub", ["day", "earlier"], ["change"]),
    node("Cast", ["change"], ["values"], TO_DOUBLE),
)


def bars_port(fields: int = 1, days: int = WINDOW) -> bytes:
    return port("bars", [None, days, fields], FLOAT)


def tables_port(columns: int) -> bytes:
    return port("tables", [None, WINDOW, columns])


def built(nodes: Sequence[bytes], tensors: Sequence[bytes], inputs: Sequence[bytes], output: bytes | int) -> bytes:
    """A graph of compiled factors; `output` is the number of its columns, or another port."""
    port_out = port("values", [None, output]) if isinstance(output, int) else output
    return file(graph(nodes, tensors, inputs, [port_out]), opsets=OPSETS[:1])


# --- what a manifest says -------------------------------------------------------------------------------------------


def series(first: int, days: int = 1, dtype: str = "float64", since: int | None = None) -> Plain:
    return {"first": first, "days": days, "dtype": dtype, "since": since}


def graph_said(path: str, taken: int, given: int) -> Plain:
    return {"file": path, "taken": taken, "given": given}


def stage(operator: str, inputs: list[Any], gives: Plain, **parameters: Any) -> Plain:
    nothing = dict.fromkeys(("function", "ddof", "q", "method", "ascending", "percent"))
    return {**nothing, **parameters, "operator": operator, "inputs": inputs, "gives": gives}


def program(**changes: Any) -> Plain:
    """One graph that makes the factor of the close."""
    said = {
        "window": WINDOW,
        "whole": True,
        "fields": ["close"],
        "columns": [],
        "graphs": [graph_said(FIRST, 0, 1)],
        "stages": [],
        "factors": {NAME: series(0)},
    }
    return said | changes


OPENED, ROW, SECTOR = series(0), series(1, dtype="bool"), series(2, dtype="text")
STAGED = program(
    whole=False,
    fields=["open"],
    columns=[{"table": "bars", "column": None, "dtype": "bool"}],
    graphs=[graph_said(FIRST, 0, 2), graph_said(SECOND, 2, 1)],
    stages=[
        [
            stage("day", [OPENED, ROW], series(0), function="mean"),
            stage("day_rank", [OPENED, ROW], series(1), method="average", ascending=True, percent=True),
        ]
    ],
)
"""The open less its mean over the day, and its rank added."""
SIDED = STAGED | {
    "columns": [
        {"table": "bars", "column": None, "dtype": "bool"},
        {"table": "static", "column": "pe", "dtype": "float64"},
        {"table": "static", "column": "sector", "dtype": "text"},
    ],
    "graphs": [graph_said(FIRST, 0, 3), graph_said(SECOND, 1, 1)],
    "stages": [[stage("day", [OPENED, ROW, SECTOR], series(0), function="mean")]],
}
"""The open less its mean over the day's stocks of the sector, and pe added."""
REMEMBERED = program(graphs=[graph_said(FIRST, 0, 2)], factors={NAME: series(0, since=1)})
"""The change of the close, known for stocks that begin within the window only."""

# --- graphs ---------------------------------------------------------------------------------------------------------


def change(
    *more: bytes,
    nodes: Sequence[bytes] = CHANGE,
    tensors: Sequence[bytes] = (),
    inputs: Sequence[bytes] = (bars_port(), LENGTH),
    output: bytes | int = 1,
) -> bytes:
    """The last day's close less the one before, or what the arguments say."""
    return built([*nodes, *more], [LAST, BEFORE, *tensors], inputs, output)


def before_stages() -> bytes:
    """Open of the day, and where the bars have a row."""
    nodes = [DAY, OPEN, COLUMNS, node("Concat", ["open", "columns"], ["values"], AXIS)]
    return built(nodes, [LAST], [bars_port(), LENGTH, tables_port(1)], 2)


def behind_stages(taken: int = 2) -> bytes:
    nodes = [
        *(DAY, OPEN),
        node("Gather", ["stages", "first"], ["mean"], AXIS),
        node("Gather", ["stages", "second"], ["rank"], AXIS),
        node("Sub", ["open", "mean"], ["less"]),
        node("Add", ["less", "rank"], ["values"]),
    ]
    tensors = [LAST, int64s("first", [0]), int64s("second", [1])]
    return built(nodes, tensors, [bars_port(), LENGTH, tables_port(1), port("stages", [None, taken])], 1)


def before_sectors() -> bytes:
    """Open, rows and sectors of the day."""
    nodes = [
        *(DAY, OPEN, COLUMNS),
        node("Gather", ["columns", "places"], ["kept"], AXIS),
        node("Concat", ["open", "kept"], ["values"], AXIS),
    ]
    return built(nodes, [LAST, int64s("places", [0, 2])], [bars_port(), LENGTH, tables_port(3)], 3)


def behind_sectors() -> bytes:
    nodes = [
        *(DAY, OPEN, COLUMNS),
        node("Gather", ["columns", "second"], ["pe"], AXIS),
        node("Sub", ["open", "stages"], ["less"]),
        node("Add", ["less", "pe"], ["values"]),
    ]
    inputs = [bars_port(), LENGTH, tables_port(3), port("stages", [None, 1])]
    return built(nodes, [LAST, int64s("second", [1])], inputs, 1)


def remembering() -> bytes:
    """The change of the close; its since is the length of the series, which is the window but for stocks that begin later."""
    nodes = [
        *CHANGE[:3],
        node("Cast", ["change"], ["wide"], TO_DOUBLE),
        node("Cast", ["length"], ["count"], TO_DOUBLE),
        node("Unsqueeze", ["count", "axis"], ["since"]),
        node("Concat", ["wide", "since"], ["values"], AXIS),
    ]
    return change(nodes=nodes, tensors=[int64s("axis", [1])], output=2)


# --- bundles --------------------------------------------------------------------------------------------------------


def says(said: Plain, edit: Edit | None) -> Edit:
    """A manifest of the present draft with one program, changed."""
    compiled = {
        "programs": [said],
        "static": SIDE if any(column["table"] == "static" for column in said["columns"]) else [],
        "fields": said["fields"],
        "complete_rows": False,
        "golden": GOLDEN,
        "golden_rows": len(tables.TABLE_ROWS),
        "date": DATE,
        "tolerances": {NAME: 0.0},
    }
    told = both(draft, put("compiled", compiled), put(f"features.{PLACE}.compilation", COMPILATION))
    return told if edit is None else both(told, edit)


def factor_bundle(golden: bytes, said: Plain, files: dict[str, bytes], edit: Edit | None = None) -> dict[str, bytes]:
    """The bundle for bars with a program, its graphs, and golden factors."""
    return bar_bundle(edit=says(said, edit), changed={**files, GOLDEN: golden})
