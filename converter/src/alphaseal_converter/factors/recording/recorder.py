"""The one trace of this process: its nodes, its tables, its result; refusals; branches that are followed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from alphaseal_converter.factors.expressions.nodes import IllFormedError, Node, Nodes, Value

SOURCE: Final = "factor.py"
MOST_PATHS: Final = 64


class Refusal(BaseException):
    """No `Exception`: code that catches exceptions shall not go on after it."""

    def __init__(self, code: str, construct: str, why: str) -> None:
        super().__init__(why)
        self.code, self.construct, self.why, self.line = code, construct, why, line()


def line() -> int:
    """Where the program stands: the innermost line of its source."""
    frame: Any = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_filename.endswith(SOURCE):
            return int(frame.f_lineno)
        frame = frame.f_back
    return 0


def unknown(construct: str, why: str = "it is not followed") -> NoReturn:
    """Refuse what pandas or numpy would do and nobody here knows."""
    raise Refusal("unknown_construct", construct, why)


def looks_ahead(construct: str, why: str) -> NoReturn:
    """Refuse what takes values of later rows."""
    raise Refusal("looks_ahead", construct, why)


def misplaced(construct: str, why: str) -> NoReturn:
    """Refuse what puts values into rows of other stocks or days."""
    raise Refusal("rows_misplaced", construct, why)


def unbounded(construct: str) -> NoReturn:
    """Refuse what depends on all rows before."""
    raise Refusal("unbounded_history", construct, "its value depends on all rows before, no number of them is enough")


def by_value(what: str) -> NoReturn:
    """Refuse a decision of the program that depends on the data."""
    raise Refusal("control_flow", what, "the program decides, counts or loops by values of the data")


@dataclass
class Record:
    """What is recorded."""

    pandas: int = 2
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Table -> column -> dtype."""
    nodes: Nodes = field(default_factory=Nodes)
    result: Any = None
    decisions: list[bool] | None = None
    conditions: list[Node] = field(default_factory=list)


RECORD: Final = Record()


def make(operator: str, *inputs: Node, **parameters: Value) -> Node:
    """A node; what the language does not have is refused."""
    try:
        return RECORD.nodes.make(operator, *inputs, **parameters)
    except IllFormedError as problem:
        unknown(operator, str(problem))


def every_row() -> Node:
    """The mask of all days and stocks."""
    return make("constant", value=True, dtype="bool")


def decide(condition: Node) -> bool:
    """The way that the present path takes where the program asks for the truth of a value."""
    if RECORD.decisions is None:
        by_value("truth of values")
    taken = len(RECORD.conditions)
    RECORD.conditions.append(condition)
    if taken == len(RECORD.decisions):
        RECORD.decisions.append(True)
    return RECORD.decisions[taken]


def along_paths(body: Callable[[], Any], join: Callable[[Node, Any, Any], Any]) -> Any:
    """What `body` gives, along all ways through its conditions; `join` (condition, where true, where false) two of them."""
    outer = RECORD.decisions, RECORD.conditions
    found: list[tuple[list[bool], list[Node], Any]] = []
    decisions: list[bool] | None = []
    try:
        while decisions is not None:
            RECORD.decisions, RECORD.conditions = list(decisions), []
            given = body()
            found.append((RECORD.decisions, RECORD.conditions, given))
            if len(found) > MOST_PATHS:
                by_value("more branches than are followed")
            decisions = list(RECORD.decisions)
            while decisions and not decisions[-1]:
                decisions.pop()
            decisions = [*decisions[:-1], False] if decisions else None
    finally:
        RECORD.decisions, RECORD.conditions = outer
    return _joined(found, 0, join)


def _joined(found: list[tuple[list[bool], list[Node], Any]], depth: int, join: Callable[[Node, Any, Any], Any]) -> Any:
    if len(found) == 1:
        return found[0][2]
    condition = found[0][1][depth]
    sides = [[path for path in found if path[0][depth] is side] for side in (True, False)]
    return join(condition, *(_joined(side, depth + 1, join) for side in sides))
