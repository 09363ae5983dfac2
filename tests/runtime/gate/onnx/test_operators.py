"""All that the gate knows of an operator is in its row of one table."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper

from alphaseal.errors import PolicyError
from alphaseal.gate.model import check_model
from alphaseal.gate.onnx import operators, rows, shapes
from alphaseal.gate.onnx.networks import NETWORKS
from alphaseal.gate.onnx.operators import EVERYDAY, every_operator
from alphaseal.gate.onnx.rules import UNARY, Operator, table
from locations import REPOSITORY
from small_models import network_model, trees_model

GATE = REPOSITORY / "runtime/src/alphaseal/gate"
NAMES = {name for _, name in every_operator()}


def test_every_operator_has_one_row() -> None:
    """No name stands in two rows, of one table or of both."""
    named = [name for row in {id(row): row for row in every_operator().values()}.values() for name in row.names.split()]
    assert sorted(named) == sorted(NAMES)
    assert not EVERYDAY.keys() & NETWORKS.keys()


def _strings(tree: ast.AST) -> list[str]:
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _rows(tree: ast.AST) -> list[ast.Call]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "Operator"]


@pytest.mark.parametrize("path", sorted(GATE.rglob("*.py")), ids=lambda path: path.relative_to(GATE).as_posix())
def test_no_other_place_names_operators(path: Path) -> None:
    """The gate has no second list, and decides nothing by an operator's name; activations of RNN are values of an attribute."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    in_rows = [str(row.args[0].value) for row in _rows(tree) if isinstance(row.args[0], ast.Constant)]
    assert len(in_rows) == len(_rows(tree))
    activations = ["Relu", "Sigmoid", "Tanh"] if path.name == "networks.py" else []
    named = [text for text in _strings(tree) if text not in in_rows and set(text.split()) & NAMES]
    assert sorted(set(named) & NAMES) == activations


def _with_node(operator: str) -> bytes:
    """Trees whose features go through one node of an operator first."""
    model = onnx.load_from_string(trees_model())
    for node in model.graph.node:
        node.input[:] = ["new" if name == "features" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node(operator, ["features"], ["new"]))
    return bytes(model.SerializeToString(deterministic=True))


def test_new_operator_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a row, and nothing else, a graph of an operator that nobody knows passes all rules of the gate."""
    data = _with_node("Swoosh")
    with pytest.raises(PolicyError) as error:
        check_model(data, "model.onnx")
    assert error.value.code == "model.operator"
    row = Operator("Swoosh", UNARY, shapes.same, rows.each)
    monkeypatch.setattr(operators, "EVERYDAY", {**EVERYDAY, **table(row)})
    assert check_model(data, "model.onnx").operators["Swoosh"] == 1


@pytest.mark.parametrize(("model", "loaded"), [(trees_model, False), (network_model, True)])
def test_rules_of_networks_are_loaded_when_one_is_met(model: object, loaded: bool, tmp_path: Path) -> None:
    """A process that checks trees knows nothing of layers."""
    assert callable(model)
    (tmp_path / "model.onnx").write_bytes(model())
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from alphaseal.gate.model import check_model\n"
        "check_model(open(sys.argv[2], 'rb').read(), 'model.onnx')\n"
        "print({'alphaseal.gate.onnx.networks', 'alphaseal.gate.onnx.layers'} <= set(sys.modules), 'numpy' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(REPOSITORY / "runtime/src"), str(tmp_path / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(loaded), "False"]
