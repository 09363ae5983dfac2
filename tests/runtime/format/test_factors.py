"""Rules between what a manifest says of compiled factors: each is broken once, in a manifest that obeys all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from alphaseal.errors import MalformedError
from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from manifests import compiled_manifest

Edit = Callable[[dict[str, Any]], object]


def _program(plain: dict[str, Any]) -> dict[str, Any]:
    program: dict[str, Any] = plain["compiled"]["programs"][0]
    return program


def _put(place: str, value: Any) -> Edit:
    """Set the value at a dotted place below the program; numbers are positions in arrays."""

    def edit(plain: dict[str, Any]) -> None:
        part: Any = _program(plain)
        *parents, last = place.split(".")
        for name in parents:
            part = part[int(name)] if isinstance(part, list) else part[name]
        part[int(last) if isinstance(part, list) else last] = value

    return edit


def _of(**changes: Any) -> Edit:
    """Other members of `compiled`."""
    return lambda plain: plain["compiled"].update(changes)


def _more_files(*paths: str) -> Edit:
    """Graphs that are listed."""

    def edit(plain: dict[str, Any]) -> None:
        first = next(entry for entry in plain["files"] if entry["role"] == "alphas")
        plain["files"] = sorted(
            [*plain["files"], *(first | {"path": path} for path in paths)], key=lambda entry: entry["path"]
        )

    return edit


def _second_program(**changes: Any) -> Edit:
    """The program again, with other graphs."""

    def edit(plain: dict[str, Any]) -> None:
        again = strict_json.loads(strict_json.dumps(_program(plain)), where="again", maximum_bytes=1 << 20)
        for number, graph in enumerate(again["graphs"]):
            graph["file"] = f"compiled/1/graph_{number}.onnx"
        plain["compiled"]["programs"].append(again | changes)
        _more_files("compiled/1/graph_0.onnx", "compiled/1/graph_1.onnx")(plain)

    return edit


def _same_graphs(plain: dict[str, Any]) -> None:
    """A program of its own factor whose graphs are those of the other."""
    other = plain["features"][2]
    other |= {"compilation": plain["features"][1]["compilation"]}
    plain["alphas"] |= {"features": ["CORR5"], "tolerances": [1e-5]}
    program = _program(plain)
    plain["compiled"]["programs"].append(program | {"factors": {other["name"]: program["factors"]["REV_3D"]}})
    plain["compiled"]["tolerances"][other["name"]] = 0.0


def _also_alpha(plain: dict[str, Any]) -> None:
    plain["alphas"]["features"][0] = "REV_3D"


def _without_alphas(plain: dict[str, Any]) -> None:
    plain["alphas"] = None
    plain["files"] = [entry for entry in plain["files"] if entry["path"] not in ("alphas.onnx", "golden_bars.parquet")]


def _says_compiled(plain: dict[str, Any]) -> None:
    plain["features"][0]["compilation"] = plain["features"][1]["compilation"]


def _says_nothing(plain: dict[str, Any]) -> None:
    plain["features"][1]["compilation"] = None


def _column(**changes: Any) -> Edit:
    """Another column in the place of the side table's."""
    return lambda plain: _program(plain)["columns"][2].update(changes)


SECTOR = {"days": 1, "dtype": "text", "missing": 0.0, "name": "sector"}
PROGRAMS: dict[str, tuple[Edit, str]] = {
    "factor computed twice": (_second_program(), "a feature is computed twice"),
    "factor without tolerance": (_of(tolerances={}), "tolerances are not those of the features that are computed"),
    "tolerance of no factor": (_of(tolerances={"REV_3D": 0.0, "STD5": 0.0}), "tolerances are not those"),
    "graph of two programs": (_same_graphs, "a graph belongs to two programs"),
    "field twice": (_of(fields=["close", "close"]), "a field is listed twice"),
    "side column twice": (_of(static=[SECTOR, SECTOR]), "a column of the side table is listed twice"),
    "field not listed": (_put("fields", ["open"]), "a program reads a field that is not listed"),
    "side column not listed": (_of(static=[SECTOR | {"name": "other"}]), "a program reads a column that no table has"),
    "side column of another dtype": (_column(dtype="int64"), "a program reads a column that no table has"),
    "rows of a side table that nothing is read of": (
        lambda plain: (_of(static=[])(plain), _column(column=None, dtype="bool")(plain)),
        "a program reads a column that no table has",
    ),
    "rows that are no truth value": (_column(column=None), "a program reads a column that no table has"),
    "column of bars by name": (_column(table="bars", column="close", dtype="float32"), "a column that no table has"),
    "no part of the day": (_column(table="day", column="hour", dtype="int64"), "a column that no table has"),
    "part of the day without a name": (_column(table="day", column=None, dtype="int64"), "a column that no table has"),
    "part of the day as text": (_column(table="day", column="month"), "a column that no table has"),
    "no stages": (_put("stages", []), "stages are not between graphs"),
    "stages after the last graph": (
        lambda plain: _program(plain)["stages"].append([]),
        "stages are not between graphs",
    ),
    "first graph takes columns": (_put("graphs.0.taken", 1), "graph_0.onnx takes 1 columns, the stages before give 0"),
    "graph takes fewer": (_put("graphs.1.taken", 3), "graph_1.onnx takes 3 columns, the stages before give 4"),
    "stage gives another's column": (_put("stages.0.1.gives.first", 1), "the columns after those before it"),
    "stage gives longer than the window": (_put("stages.0.1.gives.days", 5), "the columns after those before it"),
    "stage gives a since": (_put("stages.0.1.gives.since", 0), "the columns after those before it"),
    "stage beyond the graph": (_put("stages.0.0.inputs.2.first", 6), "a stage reads columns that"),
    "stage of other days": (_put("stages.0.0.inputs.2.days", 1), "a stage reads columns that"),
    "since beyond the graph": (_put("stages.0.0.inputs.0.since", 7), "a stage reads columns that"),
    "no factor": (
        _second_program(factors={}),
        "a program makes no factor",
    ),
    "factor beyond the graph": (_put("factors.REV_3D.first", 2), "a factor is no column of compiled/0/graph_1.onnx"),
    "factor of two days": (_put("factors.REV_3D.days", 2), "a factor is no column of compiled/0/graph_1.onnx"),
    "since of a factor beyond": (_put("factors.REV_3D.since", 2), "a factor is no column of compiled/0/graph_1.onnx"),
    "function of pairs": (_put("stages.0.0.function", "corr"), "a stage day of the function corr"),
    "no function": (_put("stages.0.0.function", None), "a stage day of the function None"),
    "rank of a function": (_put("stages.0.1.function", "mean"), "a stage day_rank of the function mean"),
    "pair of a function": (_put("stages.0.0.operator", "day_pair"), "a stage day_pair of the function mean"),
    "deviation without ddof": (_put("stages.0.0.function", "std"), "a stage day without ddof"),
    "mean with ddof": (_put("stages.0.0.ddof", 1), "a stage day with ddof"),
    "quantile without q": (_put("stages.0.0.function", "quantile"), "a stage day without q"),
    "mean with q": (_put("stages.0.0.q", 0.5), "a stage day with q"),
    "rank without method": (_put("stages.0.1.method", None), "a stage day_rank without method"),
    "rank without direction": (_put("stages.0.1.ascending", None), "a stage day_rank without ascending"),
    "rank without percent": (_put("stages.0.1.percent", None), "a stage day_rank without percent"),
    "mean with a direction": (_put("stages.0.0.ascending", True), "a stage day with ascending"),
    "mask of numbers": (_put("stages.0.0.inputs.1.dtype", "float64"), "a stage day without a mask"),
    "mask that is a number": (_put("stages.0.1.inputs.1", 1.0), "a stage day_rank without a mask"),
    "pair without a mask": (
        lambda plain: _program(plain)["stages"][0][1].update(
            operator="day_pair", function="corr", method=None, ascending=None, percent=None
        ),
        "a stage day_pair without a mask",
    ),
}
OTHERS: dict[str, tuple[Edit, str, str]] = {
    "feature that no program makes": (_says_compiled, "manifest.compiled", "CORR5"),
    "factor that does not say so": (_says_nothing, "manifest.compiled", "REV_3D"),
    "feature of alphas.onnx too": (_also_alpha, "manifest.compiled", "REV_3D"),
    "no alphas": (_without_alphas, "manifest.compiled", "close"),
    "field that alphas lack": (
        lambda plain: plain["alphas"].update(fields=["open", "volume"]),
        "manifest.compiled",
        "close",
    ),
    "alphas give no feature": (
        lambda plain: plain["alphas"].update(features=["CORR5", "OTHER"]),
        "manifest.alphas",
        "OTHER",
    ),
    "graph that is not listed": (
        _put("graphs.0.file", "compiled/0/other.onnx"),
        "manifest.reference",
        "compiled/0/graph_0.onnx",
    ),
    "golden factors that are not listed": (_of(golden="other.parquet"), "manifest.reference", "golden_factors.parquet"),
}


def _refused(edit: Edit) -> MalformedError:
    plain = m.to_plain(compiled_manifest())
    edit(plain)
    with pytest.raises(MalformedError) as caught:
        m.parse(strict_json.dumps(plain))
    return caught.value


def test_a_manifest_with_compiled_factors_is_read() -> None:
    """All rules are obeyed: what was written is what was read."""
    data = m.encode(compiled_manifest())
    assert m.encode(m.parse(data)) == data


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_do_not_fit_together_are_refused(name: str) -> None:
    """One code, and a text that says which rule is broken."""
    edit, found = PROGRAMS[name]
    error = _refused(edit)
    assert error.code == "manifest.compiled"
    assert found in str(error.found)


@pytest.mark.parametrize("name", OTHERS)
def test_programs_fit_the_rest_of_the_manifest(name: str) -> None:
    """Features, alphas and files are those that the programs need."""
    edit, code, found = OTHERS[name]
    error = _refused(edit)
    assert error.code == code
    assert found in str(error.found)


def test_units_may_be_seen_by_compiled_factors() -> None:
    """A field's units are seen by features that graphs make of bars, compiled factors among them."""
    plain = m.to_plain(compiled_manifest())
    unit = {"seen_by": ["REV_3D"], "exact": [], "alike": [], "smallest": None, "largest": None, "sizes": None}
    plain["alphas"]["units"] = {"close": unit}
    m.parse(strict_json.dumps(plain))
    plain["compiled"] = None
    plain["features"][1]["compilation"] = None
    plain["files"] = [entry for entry in plain["files"] if not entry["path"].startswith(("compiled", "golden_fac"))]
    with pytest.raises(MalformedError) as caught:
        m.parse(strict_json.dumps(plain))
    assert caught.value.code == "manifest.alphas"


def test_a_compilation_is_told_apart_by_its_outcome() -> None:
    """What was not compiled has code, construct and reason; of an outcome that nobody knows nothing is read."""
    plain = m.to_plain(compiled_manifest())
    refused = {"code": "looks_ahead", "construct": "shift", "line": 4, "outcome": "not_compiled", "why": "a later row"}
    plain["features"][0]["compilation"] = refused
    assert m.to_plain(m.parse(strict_json.dumps(plain)))["features"][0]["compilation"] == refused
    plain["features"][0]["compilation"] = refused | {"outcome": "perhaps"}
    with pytest.raises(MalformedError) as caught:
        m.parse(strict_json.dumps(plain))
    assert caught.value.code == "manifest.schema"
