"""Values of an expression on all days, and what is known of the sums that rolling operators keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphaseal_converter.alphas.nodes import Node

Doubles = NDArray[np.float64]
Days = NDArray[np.int64]


@dataclass(eq=False)
class Memory:
    """What is computed once per stock: it is of all days, whatever days are asked for."""

    _known: dict[Any, Any] = field(default_factory=dict)

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


@dataclass(eq=False)
class Life:
    """All series of one stock over its days, from the first of its files on.

    `values` are float64 [days] of each series, NaN on days that nobody needs; `apart` say how far qlib's may be from
    them, infinite where nothing is known of qlib's value, not even whether there is one.
    """

    values: dict[Node, Doubles]
    apart: dict[Node, Doubles] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)

    def value(self, node: Node, days: Days) -> Doubles:
        """Of a series, or of a number."""
        if node.dtype is None:
            return np.full(len(days), float(node.parameters[0]))
        return self.values[node][days]

    def distance(self, node: Node, days: Days) -> Doubles:
        return np.zeros(len(days)) if node.dtype is None else self.apart[node][days]
