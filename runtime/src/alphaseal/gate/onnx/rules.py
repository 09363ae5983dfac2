"""A row of the operators' table: everything that the gate knows of an operator."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from alphaseal.gate.onnx import rows as rows
from alphaseal.gate.onnx import shapes as shapes
from alphaseal.gate.onnx.attributes import Attributes
from alphaseal.gate.onnx.costs import Cost
from alphaseal.gate.onnx.parts import FINITE
from alphaseal.gate.onnx.types import TypeRule, like

UNARY, BINARY = (1, 1), (2, 2)


@dataclass(frozen=True)
class Operator:
    """Operators that have all rules in common; what a row does not say is what most operators do."""

    names: str
    inputs: tuple[int, int]
    """The least and the most there may be, as of `outputs`."""
    shape: shapes.Rule
    rows: rows.Rule
    attributes: Attributes = field(default_factory=dict)
    outputs: tuple[int, int] = (1, 1)
    types: TypeRule = like(0)
    cost: Cost = Cost()
    reads: int = FINITE
    """The worst number that a constant which goes in may hold: `FINITE`, `INFINITE` or `MISSING`."""
    empty: Container[int] = ()
    """Inputs that may be empty where they are shapes, or parts of one.  No axes would be all axes to some operators."""
    divides: bool = False
    """Integers are divided by the second input, which ends the process where it is 0 or -1."""
    domain: str = ""
    alphas: bool = False
    """Allowed in graphs from bars to alpha features: no weights, nothing that could make a value of unknown content."""


Table = Mapping[tuple[str, str], Operator]


def table(*operators: Operator) -> Table:
    """The rows by domain and name."""
    # Nobody adds an operator while a program runs.
    return MappingProxyType({(row.domain, name): row for row in operators for name in row.names.split()})
