"""V4 and V7 of compiled factors: programs that do not fit together, and graphs that are not what is said of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from vector_cases.bar_cases import bar_bundle
from vector_cases.base import UNSIGNED, Case, Edit, both, draft, put
from vector_cases.factor_programs import (
    AXIS,
    CHANGE,
    COMPILATION,
    FIRST,
    LENGTH,
    NAME,
    PLACE,
    SECOND,
    STAGED,
    TO_DOUBLE,
    WINDOW,
    bars_port,
    before_stages,
    behind_stages,
    change,
    factor_bundle,
    graph_said,
    program,
    series,
    stage,
    tables_port,
)
from vector_cases.factor_values import stored
from vector_cases.graphs import FLOAT, attribute, doubles, int64s, node, port


def simple_bundle(graph: bytes | None = None, edit: Edit | None = None, **more: bytes) -> dict[str, bytes]:
    """The factor made by one graph; `more` are further graphs by number."""
    files = {FIRST: change() if graph is None else graph}
    files |= {f"compiled/{number[1:]}/graph_0.onnx": data for number, data in more.items()}
    return factor_bundle(stored("golden_factors"), program(), files, edit)


def staged_bundle(behind: bytes | None = None, edit: Edit | None = None) -> dict[str, bytes]:
    """The factor made by two graphs, and stages between them."""
    files = {FIRST: before_stages(), SECOND: behind_stages() if behind is None else behind}
    return factor_bundle(stored("golden_factors_staged"), STAGED, files, edit)


def cases() -> Iterator[Case]:
    """All of this module."""
    yield from _passing()
    for name, (code, text, data) in _GRAPHS.items():
        text = f"V7: a graph of compiled factors that {text}."
        yield Case(f"compiled_{name}", text, "verify", UNSIGNED, 17, code, simple_bundle(data))
    for name, (text, data) in _BEHIND.items():
        text = f"V7: a graph behind stages that {text}."
        yield Case(f"compiled_{name}", text, "verify", UNSIGNED, 17, "model.signature", staged_bundle(data))
    for name, (text, files) in _manifests().items():
        yield Case(f"compiled_{name}", f"V4: {text}.", "verify", UNSIGNED, 10, "manifest.compiled", files)
    for name, place in (("graph", "programs.0.graphs.0.file"), ("golden", "golden")):
        text = f"V4: {name} of compiled factors in a file that is not listed."
        files = simple_bundle(edit=put(f"compiled.{place}", "compiled/other"))
        yield Case(f"compiled_{name}_not_listed", text, "verify", UNSIGNED, 10, "manifest.reference", files)


def _passing() -> Iterator[Case]:
    power = [*CHANGE[:3], node("Exp", ["change"], ["power"]), node("Cast", ["power"], ["values"], TO_DOUBLE)]
    refused = {"outcome": "not_compiled", "code": "looks_ahead", "construct": "shift", "line": 1, "why": "later rows"}
    without = bar_bundle(edit=both(draft, put(f"features.{PLACE}.compilation", refused)))
    other = simple_bundle(change(nodes=power))
    for name, text, files in (
        ("compiled", "V7: a graph that makes a SOTA feature of bars.", simple_bundle()),
        ("compiled_other_operators", "V7: such a graph with an operator that alphas.onnx may not have.", other),
        ("compiled_stages", "V7: two such graphs with stages across stocks between them.", staged_bundle()),
        ("compiled_not", "V4: a factor that was not compiled, with the reason.", without),
    ):
        yield Case(name, text, "verify", UNSIGNED, 0, "ok", files)


_WIDE = [
    node("Gather", ["bars", "many"], ["wide"], AXIS),
    node("Gather", ["wide", "some"], ["wider"], attribute("axis", 2)),
]
_MEAN = node("ReduceMean", ["bars", "rows"], ["mean"], attribute("keepdims", 1))
_GRAPHS: dict[str, tuple[str, str, bytes]] = {
    "other_window": (
        "model.signature",
        "takes three days where the manifest says two",
        change(inputs=[bars_port(days=3), LENGTH]),
    ),
    "other_fields": (
        "model.signature",
        "takes two fields where the manifest says one",
        change(inputs=[bars_port(fields=2), LENGTH]),
    ),
    "without_length": ("model.signature", "takes no length", change(inputs=[bars_port()])),
    "tables_not_said": (
        "model.signature",
        "takes tables of which the manifest says nothing",
        change(inputs=[bars_port(), LENGTH, tables_port(1)]),
    ),
    "one_row": (
        "model.signature",
        "takes one row",
        change(inputs=[port("bars", [1, WINDOW, 1], FLOAT), LENGTH]),
    ),
    "other_width": ("model.signature", "declares two columns where the manifest says one", change(output=2)),
    "float_values": (
        "model.signature",
        "gives floats",
        change(
            nodes=[*CHANGE[:2], node("Sub", ["day", "earlier"], ["values"])], output=port("values", [None, 1], FLOAT)
        ),
    ),
    "other_output": (
        "model.signature",
        "gives alphas",
        change(node("Identity", ["values"], ["alphas"]), output=port("alphas", [None, 1])),
    ),
    "loop": ("model.operator", "loops", change(node("Loop", ["length", "", "bars"], ["k"]))),
    "random": ("model.operator", "draws random numbers", change(node("RandomNormalLike", ["values"], ["k"]))),
    "mixes_rows": (
        "model.rows",
        "takes the mean of all rows, which is a stage",
        change(_MEAN, tensors=[int64s("rows", [0])]),
    ),
    "too_large": (
        "model.growth",
        "gives more than 2^23 numbers for 256 rows",
        change(*_WIDE, tensors=[int64s("many", [0] * 1025), int64s("some", [0] * 64)]),
    ),
    "not_finite": (
        "model.not_finite",
        "adds NaN",
        change(node("Add", ["values", "c"], ["k"]), tensors=[doubles("c", [math.nan])]),
    ),
}
_BEHIND: dict[str, tuple[str, bytes]] = {
    "stages_not_taken": ("takes nothing of what the stages give", before_stages()),
    "stages_other_width": ("takes three columns where the stages give two", behind_stages(taken=3)),
}


def _one(place: str, value: Any) -> dict[str, bytes]:
    return simple_bundle(edit=put(place, value))


def _two(place: str, value: Any) -> dict[str, bytes]:
    return staged_bundle(edit=put(f"compiled.programs.0.stages.0.{place}", value))


def _manifests() -> dict[str, tuple[str, dict[str, bytes]]]:
    """Manifests whose programs do not fit together, or do not fit the rest."""
    return {**_of_features(), **_of_columns(), **_of_stages()}


def _of_features() -> dict[str, tuple[str, dict[str, bytes]]]:
    second = graph_said("compiled/1/graph_0.onnx", 0, 1)
    again = [program(), program(graphs=[second])]
    shared = [program(), program(factors={"STD5": series(0)})]
    idle = [program(), program(graphs=[second], factors={})]
    other = both(
        put("compiled.programs.0.factors", {"CLOSE5": series(0)}),
        put("compiled.tolerances", {"CLOSE5": 0.0}),
        put(f"features.{PLACE}.compilation", None),
        put("features.0.compilation", COMPILATION),
    )
    tolerances = put("compiled.tolerances", {NAME: 0.0, "STD5": 0.0})
    alone = bar_bundle(edit=both(draft, put(f"features.{PLACE}.compilation", COMPILATION)))
    return {
        "feature_twice": (
            "a feature that two programs compute",
            simple_bundle(edit=put("compiled.programs", again), _1=change()),
        ),
        "graph_of_two_programs": (
            "a graph of two programs",
            simple_bundle(edit=both(put("compiled.programs", shared), tolerances)),
        ),
        "no_factor": (
            "a program that makes no factor",
            simple_bundle(edit=put("compiled.programs", idle), _1=change()),
        ),
        "without_program": ("a feature that says that it is compiled, and no program that makes it", alone),
        "without_saying_so": (
            "a program of a feature that does not say that it is compiled",
            _one(f"features.{PLACE}.compilation", None),
        ),
        "feature_of_alphas": ("a program of a feature that alphas.onnx gives too", simple_bundle(edit=other)),
        "without_tolerance": ("a compiled factor without a tolerance", _one("compiled.tolerances", {})),
        "factor_of_two_days": (
            "a factor of two days",
            _one(f"compiled.programs.0.factors.{NAME}.days", 2),
        ),
        "factor_beyond_graph": (
            "a factor in a column that the graph does not give",
            _one(f"compiled.programs.0.factors.{NAME}.first", 1),
        ),
    }


def _of_columns() -> dict[str, tuple[str, dict[str, bytes]]]:
    high = both(put("compiled.fields", ["high"]), put("compiled.programs.0.fields", ["high"]))
    columns = "compiled.programs.0.columns"
    return {
        "field_not_of_alphas": ("a field of compiled factors that is none of alphas", simple_bundle(edit=high)),
        "field_not_said": (
            "a program that reads a field that is not listed",
            _one("compiled.programs.0.fields", ["open"]),
        ),
        "field_twice": ("a field of compiled factors twice", _one("compiled.fields", ["close", "close"])),
        "column_not_said": (
            "a program that reads a column of the side table that is not listed",
            _one(columns, [{"table": "static", "column": "sector", "dtype": "text"}]),
        ),
        "no_part_of_day": (
            "a program that reads the hour of a date",
            _one(columns, [{"table": "day", "column": "hour", "dtype": "int64"}]),
        ),
    }


def _of_stages() -> dict[str, tuple[str, dict[str, bytes]]]:
    days = [[stage("day", [series(0, 2), True], series(0, 2), function="mean")]]
    longer = both(put("compiled.programs.0.stages", days), put("compiled.programs.0.window", 1))
    return {
        "stages_after_the_last": (
            "stages behind the last graph",
            _one("compiled.programs.0.stages", STAGED["stages"]),
        ),
        "graph_takes_fewer": (
            "a graph that takes fewer columns than the stages give",
            staged_bundle(edit=put("compiled.programs.0.graphs.1.taken", 1)),
        ),
        "stage_beyond_graph": ("a stage that reads a column that its graph does not give", _two("0.inputs.0.first", 2)),
        "stage_of_other_days": ("a stage that reads another number of days", _two("0.inputs.0.days", 2)),
        "stage_over_another": ("a stage that gives the column of the one before", _two("1.gives.first", 0)),
        "stage_longer_than_window": ("a stage of more days than the window", staged_bundle(edit=longer)),
        "stage_since": ("a stage that says since when what it gives is known", _two("0.gives.since", 0)),
        "stage_of_no_function": ("a statistic of one column that is of pairs", _two("0.function", "corr")),
        "stage_without_ddof": ("a deviation that does not say its divisor", _two("0.function", "std")),
        "stage_with_q": ("a mean with the share of a quantile", _two("0.q", 0.5)),
        "stage_without_method": ("a rank that does not say what equal values get", _two("1.method", None)),
        "stage_without_mask": ("a stage whose mask is a number", _two("0.inputs.1", 1.0)),
    }
