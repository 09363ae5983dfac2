"""docs/families.md: its table is what the code converts, its example is a family that works."""

from __future__ import annotations

import re
import sys
import types
from typing import Any

import numpy as np
import pytest

from alphaseal.gate.model import check_model
from alphaseal.scoring.session import Graph
from alphaseal_converter import families
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families import FAMILIES, PACKAGES, TrainedModel, read_trained_model
from alphaseal_converter.processors.fillna import Fillna
from alphaseal_converter.processors.normalisation import RobustZScoreNorm
from family_cases import LIBRARIES, cases, missing_library
from graphs import run_graph
from locations import REPOSITORY
from stand_ins import stand_in

TEXT = (REPOSITORY / "docs/families.md").read_text(encoding="utf-8")
TABLE = re.findall(r"^\| (?:any class of )?`([\w.]+)` \| `(\w+)` \| (.*?) \| (.*?) \|$", TEXT, re.MULTILINE)
MODULE, LINE = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
RULE = "house.rules.FeatureRule"


def roads() -> dict[str, tuple[str, str]]:
    """Class, or package, -> road and bound as the document has them."""
    found: dict[str, tuple[str, str]] = {}
    above = ""
    for name, _, road, bound in TABLE:
        above = bound if not bound.startswith("as above") else above
        found[name] = (road, above)
    return found


def test_the_table_is_what_the_code_converts() -> None:
    """Every class of the code with its module, and no other."""
    assert {name: module for name, module, _, _ in TABLE} == {**FAMILIES, **PACKAGES}
    assert len(TABLE) == len(FAMILIES) + len(PACKAGES)


@pytest.mark.parametrize("family", [family for family in LIBRARIES if family != "Network"])
def test_roads_and_bounds_are_those_of_real_models(family: str) -> None:
    """What the library trains goes the road of its line, and is bit-identical where the document says so."""
    missing = missing_library(family)
    if missing is not None:
        pytest.skip(f"{missing} is not installed")
    listed = roads()
    chosen = [case for number, case in enumerate(cases(family).values()) if number % 5 == 0]
    assert chosen
    for case in chosen:
        model = case.train().read()
        road, bound = listed.get(model.class_name) or listed[model.class_name.split(".")[0]]
        assert model.road.split()[0] in road
        if bound == "bit-identical":
            assert model.bound.ulp == 0
        if model.bound.relative == 2e-15:
            assert "2e-15" in bound


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the document in its place, and its line in the table."""
    name = f"{families.__name__}.feature_rule"
    module = types.ModuleType(name)
    exec(compile(MODULE, "docs/families.md", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, name, module)
    line: dict[str, Any] = {}
    exec(compile(LINE, "docs/families.md", "exec"), line)
    assert set(line["FAMILIES"]) == {RULE}
    monkeypatch.setattr(families, "FAMILIES", {**FAMILIES, **line["FAMILIES"]})


def rule(**changes: Any) -> TrainedModel:
    """A rule as its pickle gives it to the converter."""
    state = {"feature_count": 3, "position": 1, "factor": -0.3} | changes
    return read_trained_model(stand_in("house.rules", "FeatureRule", state), "params.pkl")


@pytest.mark.usefixtures("registered")
def test_the_example_is_a_family() -> None:
    """One module and one line: the graph passes the gate and has the judge's bits, with processors and without."""
    model = rule()
    rows = np.random.default_rng(1).normal(size=(200, 3)) * 5
    rows[::7, 1], rows[3, 1] = np.nan, np.inf
    scaler = RobustZScoreNorm(("a", "b", "c"), np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0]))
    for processors in ((), (scaler, Fillna(0.0))):
        graph = model.graph(processors)
        check_model(graph, "model.onnx")
        judge = model.judge(processors)
        assert judge is not None
        scores = Graph(graph, model.feature_count, "model.onnx").run(rows)
        np.testing.assert_array_equal(scores, judge.predict(rows))
    assert run_graph(model.graph(()), rows[1:2]).tolist() == [rows[1, 1] * -0.3]
    assert (model.class_name, model.road) == (RULE, "alphaseal.feature_rule")
    assert model.used is not None
    assert model.used.tolist() == [False, True, False]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("changes", [{"position": 3}, {"position": -1}, {"factor": "2"}, {"feature_count": None}])
def test_the_example_refuses_by_name(changes: dict[str, Any]) -> None:
    """A rule that names no feature is refused, as the document asks."""
    with pytest.raises(RefusalError) as caught:
        rule(**changes)
    assert caught.value.code == "model.malformed"


def test_without_its_line_the_class_is_refused() -> None:
    """A class that no family takes is named in the refusal."""
    with pytest.raises(RefusalError) as caught:
        rule()
    assert (caught.value.code, caught.value.found) == ("model.unsupported", RULE)


def test_every_field_of_the_contract_is_explained() -> None:
    """Each field of TrainedModel has its line in the document."""
    contract = TEXT.split("| field of `TrainedModel` |")[1].split("###")[0]
    named = set(re.findall(r"`(\w+)(?:\([\w, ]*\))?`", contract))
    assert set(TrainedModel.__dataclass_fields__) <= named
