"""What the value of an attribute may be: each rule bounds one kind, and none lets any number through.

The kernels trust what they are given: one divides by `num_groups`, another negates `k`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

from alphaseal.gate.onnx.parts import BYTES_OF, FINITE, MAXIMUM_RANK, Tensor

_FLOAT32_MAXIMUM = 3.5e38
"""Above every finite float; `parts` refuses those that are not finite."""


@dataclass(frozen=True)
class Among:
    """One of these integers, or one of these texts."""

    values: frozenset[int] | frozenset[str]
    required: bool = False

    def fits(self, value: object) -> bool:
        # The type counts: 1.0 is in a set that holds 1, and kernels read another field.
        return isinstance(value, (int, str)) and value in self.values


@dataclass(frozen=True)
class Between:
    """An integer from `least` to `most`."""

    least: int
    most: int
    required: bool = False

    def fits(self, value: object) -> bool:
        # Kernels negate it, divide by it or make room for it, and look at nothing.
        return isinstance(value, int) and self.least <= value <= self.most


@dataclass(frozen=True)
class Axis:
    """An axis of the first input, or of a value with `more` axes; the shape rule of the operator looks whether it has it."""

    more: int = 0
    required: bool = False

    def fits(self, value: object) -> bool:
        # Its bound is the rank, which only the shape rule knows.
        return isinstance(value, int)


@dataclass(frozen=True)
class Number:
    """A finite number from `least` to `most`."""

    least: float = -_FLOAT32_MAXIMUM
    most: float = _FLOAT32_MAXIMUM
    required: bool = False

    def fits(self, value: object) -> bool:
        # `parts` has refused what is not finite.
        return isinstance(value, float) and self.least <= value <= self.most


@dataclass(frozen=True)
class Numbers:
    """At most two integers from `least` to `most` per axis."""

    least: int
    most: int
    required: bool = False

    def fits(self, value: object) -> bool:
        return (
            # Two for each axis are the pads at its both ends.
            isinstance(value, list)
            and len(value) <= 2 * MAXIMUM_RANK
            and all(self.least <= number <= self.most for number in value)
        )


@dataclass(frozen=True)
class Ids:
    """The numbers of trees, any number of them; `trees` looks at each, and whether they are there."""

    required: bool = False

    def fits(self, value: object) -> bool:
        return isinstance(value, list)


@dataclass(frozen=True)
class Texts:
    """Texts that are among these."""

    values: frozenset[str]
    required: bool = False

    def fits(self, value: object) -> bool:
        # Other activations take parameters that nothing here bounds.
        return isinstance(value, tuple) and set(value) <= self.values


@dataclass(frozen=True)
class Text:
    """A text that the operator's shape rule takes apart."""

    required: bool = False

    def fits(self, value: object) -> bool:
        return isinstance(value, str)


@dataclass(frozen=True)
class Constant:
    """A tensor, at which the operator's shape rule looks; the worst of its numbers are as `reads` says."""

    reads: int = field(default=FINITE, repr=False)
    required: bool = False

    def fits(self, value: object) -> bool:
        return isinstance(value, Tensor)


Rule = Union[Among, Between, Axis, Number, Numbers, Ids, Texts, Text, Constant]
Attributes = Mapping[str, Rule]
"""Name to what it may be; an attribute that is not named may not be there."""

MANY = 4096
LONGEST = 1 << 24
"""Of an axis, a kernel, a state: more than any value that the gate lets through has."""
ZERO = Among(frozenset({0}))
FLAG = Among(frozenset({0, 1}))
TYPE = Among(frozenset(BYTES_OF), required=True)
AXIS: Attributes = {"axis": Axis()}
REDUCE: Attributes = {"keepdims": FLAG, "noop_with_empty_axes": ZERO}


def wrong(found: Mapping[str, object], known: Attributes) -> str | None:
    """The name of an attribute that may not be as it is, or is missing; None where all are right."""
    for name, value in found.items():
        # 12.4: what is not named may not be there, whatever kernels know of it.
        if name not in known or not known[name].fits(value):
            return name
    return next((name for name, rule in known.items() if rule.required and name not in found), None)
