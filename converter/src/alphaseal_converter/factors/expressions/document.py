"""The document of a traced factor: what the isolated tracer answers, and its strict reader.

JSON (UTF-8, no duplicate keys, NaN and infinities as texts "nan", "inf", "-inf")::

    {"form": "factor-expression 1", "pandas": 2, "name": "ma_bias_15", "nodes": [NODE, ...],
     "value": 12, "rows": 0, "findings": [{"code": ..., "construct": ..., "line": ..., "why": ...}]}
    NODE: [operator, [places of inputs, all before this one], {parameters}]

or a refusal::

    {"form": "factor-refusal 1", "code": "looks_ahead", "construct": "shift", "line": 7, "why": "..."}

A process in which code ran that nobody has read wrote it.  The reader makes nodes by `nodes.Nodes`, so an expression is well
formed or refused; whether it is *true* is said by nobody but the proof.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from alphaseal_converter.factors.expressions.nodes import (
    MOST_NODES,
    IllFormedError,
    Node,
    Nodes,
    Value,
    in_order,
)

FORM: Final = "factor-expression 1"
REFUSAL_FORM: Final = "factor-refusal 1"
MAXIMUM_BYTES: Final = 8 << 20
CODES: Final = (
    "looks_ahead",
    "rows_misplaced",
    "unknown_construct",
    "unbounded_history",
    "control_flow",
    "random",
    "other_input",
    "fails",
    "no_result",
)
"""Why a factor is not compiled: it uses later rows; its values land in other rows; pandas or numpy that is not followed; no
number of rows is enough; the code decides by values; chance; another file or library; it raises; it writes no result."""
_TEXTS: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class Refused:
    """Why the tracer gave up: `construct` in words of the program, its `line` (0: none)."""

    code: str
    construct: str
    line: int
    why: str


@dataclass(frozen=True)
class Traced:
    """An expression: `value` on `rows` (bool), as pandas of that major version has it."""

    pandas: int
    name: str
    value: Node
    rows: Node


def write(found: Traced | Refused) -> bytes:
    """The document."""
    if isinstance(found, Refused):
        told = {"form": REFUSAL_FORM, "code": found.code, "construct": found.construct[:200], "line": found.line}
        return json.dumps(told | {"why": found.why[:600]}).encode()
    order = in_order([found.value, found.rows])
    places = {node: place for place, node in enumerate(order)}
    nodes = [
        [node.operator, [places[i] for i in node.inputs], {k: _plain(v) for k, v in node.parameters.items()}]
        for node in order
    ]
    told = {"form": FORM, "pandas": found.pandas, "name": found.name, "nodes": nodes}
    return json.dumps(told | {"value": places[found.value], "rows": places[found.rows]}, allow_nan=False).encode()


def _plain(value: Value) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def read(data: bytes) -> Traced | Refused:
    """What the document says; IllFormedError where it is none."""
    if len(data) > MAXIMUM_BYTES:
        raise IllFormedError(f"a document of {len(data)} bytes")
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise IllFormedError("no JSON of the form") from None
    if not isinstance(found, dict):
        raise IllFormedError("no object")
    if found.get("form") == REFUSAL_FORM:
        return _refusal(found)
    return _traced(found)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _refusal(found: Mapping[str, Any]) -> Refused:
    kinds = {"form": str, "code": str, "construct": str, "line": int, "why": str}
    if set(found) != set(kinds) or any(type(found[name]) is not kind for name, kind in kinds.items()):
        raise IllFormedError("a refusal has form, code, construct, line and why")
    if found["code"] not in CODES or not 0 <= found["line"] <= 10_000_000:
        raise IllFormedError("a refusal of unknown code, or a line that cannot be")
    return Refused(found["code"], found["construct"][:200], found["line"], found["why"][:600])


def _traced(found: Mapping[str, Any]) -> Traced:
    if set(found) != {"form", "pandas", "name", "nodes", "value", "rows"} or found["form"] != FORM:
        raise IllFormedError("an expression has form, pandas, name, nodes, value and rows")
    if type(found["pandas"]) is not int or found["pandas"] not in (2, 3):
        raise IllFormedError("pandas is 2 or 3")
    if not isinstance(found["name"], str) or not 0 < len(found["name"]) <= 1000:
        raise IllFormedError("a name is a text")
    if not isinstance(found["nodes"], list) or not 0 < len(found["nodes"]) <= MOST_NODES:
        raise IllFormedError(f"nodes are a list of 1 to {MOST_NODES}")
    maker, nodes = Nodes(), list[Node]()
    for one in found["nodes"]:
        nodes.append(_node(maker, nodes, one))
    value, rows = (_place(found[name], nodes) for name in ("value", "rows"))
    if rows.dtype != "bool" or value.dtype == "text" or value.window is not None or rows.window is not None:
        raise IllFormedError("the value is a grid of numbers and its rows a mask")
    return Traced(found["pandas"], found["name"], value, rows)


def _node(maker: Nodes, nodes: list[Node], one: Any) -> Node:
    if not isinstance(one, list) or len(one) != 3 or not isinstance(one[0], str):
        raise IllFormedError("a node is [operator, inputs, parameters]")
    operator, inputs, parameters = one
    if not isinstance(inputs, list) or not isinstance(parameters, dict) or len(inputs) > 20:
        raise IllFormedError("a node is [operator, inputs, parameters]")
    given = {name: _value(operator, name, value) for name, value in parameters.items()}
    return maker.make(operator, *(_place(place, nodes) for place in inputs), **given)


def _place(place: Any, nodes: list[Node]) -> Node:
    if type(place) is not int or not 0 <= place < len(nodes):
        raise IllFormedError("an input is the place of a node before")
    return nodes[place]


def _value(operator: str, name: str, value: Any) -> Value:
    if isinstance(value, list):
        return tuple(_value(operator, "value", part) for part in value)  # type: ignore[misc]
    if operator in ("constant", "vector") and name in ("value", "values") and isinstance(value, str):
        if value not in _TEXTS:
            raise IllFormedError("a number that is none")
        return _TEXTS[value]
    if value is not None and type(value) not in (int, float, bool, str):
        raise IllFormedError(f"{operator}: {name} is no plain value")
    return value  # type: ignore[no-any-return]
