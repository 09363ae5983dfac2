"""What a constant that multiplies the bars does to the value of an expression, derived from the expression.

Fields have units: all prices one together, every other field its own.  If the fields of one unit are multiplied by a
constant c > 0 (for all days of a stock), a series becomes, by its operators:

- `Factor(degree)`: c^degree times itself; degree 0 is unchanged;
- `Shift(amount)`: itself plus amount * log(c), which is what Log makes of a factor;
- `NONE`: unchanged and multiplied at once, because it is 0, infinite or missing;
- `Unknown(why)`: no rule says what.  What is not derived is not taken for unchanged.

It holds in real numbers: rounding, overflow and underflow are left out.  Some operators and the habits of those who write
expressions have absolute numbers, such as 1e-12 added to a denominator, or 1 to a volume whose logarithm is taken.  Where
one meets a series that is not unchanged, the derivation goes on as if it were 0 and names it, in `Scaling.guards` if it is
against division by 0, else in `Scaling.quantities`: it holds only where that is negligible, which data must show
(`alphaseal_converter.evidence.units`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from alphaseal.bars.adjustment import unit_of
from alphaseal_converter.alphas.nodes import Node, in_order

NEGLIGIBLE: Final = Fraction(1, 100_000)
"""A number up to this, beside a series with a unit, is taken for a guard against division by 0, not for a quantity."""


@dataclass(frozen=True)
class Factor:
    """c^degree times itself."""

    degree: Fraction


@dataclass(frozen=True)
class Shift:
    """Itself plus amount * log(c); the amount is not 0."""

    amount: Fraction


@dataclass(frozen=True)
class Anything:
    """0, infinite or missing: any factor is right."""


@dataclass(frozen=True)
class Unknown:
    """No rule says; why in words."""

    why: str


Change = Factor | Shift | Anything | Unknown
SAME: Final = Factor(Fraction(0))
NONE: Final = Anything()


@dataclass(frozen=True)
class Scaling:
    """How a feature changes with one unit, and the numbers (in words) that must be negligible for that to hold."""

    change: Change
    guards: frozenset[str] = frozenset()
    quantities: frozenset[str] = frozenset()

    @property
    def unchanged(self) -> bool:
        """A constant does not change the feature, if its guards and quantities are negligible."""
        return self.change == SAME or isinstance(self.change, Anything)

    @property
    def exact(self) -> bool:
        """Nothing was left out."""
        return not self.guards and not self.quantities

    def text(self) -> str:
        """What a constant does, for people."""
        match self.change:
            case Factor(degree) if degree != 0:
                return f"of degree {float(degree):g}: multiplied by c to the power of {float(degree):g}"
            case Shift(amount):
                return f"of a logarithm: {float(amount):g} times log(c) is added"
            case Unknown(why):
                return f"not derived: {why}"
        return "of degree 0: unchanged"


def derive(root: Node) -> dict[str, Scaling]:
    """The scaling of a series for every unit of a field that it reads, by unit."""
    order = in_order([root], numbers=True)
    units = sorted({unit_of(node.field) for node in order if node.operator == "field"})
    return {unit: _derived(order, unit) for unit in units}


def _derived(order: Sequence[Node], unit: str) -> Scaling:
    found: dict[Node, Scaling] = {}
    for node in order:
        inputs = [found[inner] for inner in node.inputs]
        left_out = _LeftOut(
            set().union(*(inner.guards for inner in inputs)), set().union(*(inner.quantities for inner in inputs))
        )
        change = _change(node, unit, [inner.change for inner in inputs], left_out)
        found[node] = Scaling(change, frozenset(left_out.guards), frozenset(left_out.quantities))
    return found[order[-1]]


@dataclass(frozen=True)
class _LeftOut:
    """What the derivation took for 0 on its way."""

    guards: set[str]
    quantities: set[str]


def _change(node: Node, unit: str, inputs: list[Change], left_out: _LeftOut) -> Change:
    if node.operator == "number":
        return NONE if node.parameters[0] == 0 else SAME
    if node.operator == "field":
        return Factor(Fraction(1)) if unit_of(node.field) == unit else SAME
    unknown = [part for part in inputs if isinstance(part, Unknown)]
    if unknown:
        return unknown[0]
    return _RULES[node.operator](node, inputs, left_out)


def _not_derived(node: Node, inputs: Sequence[Change]) -> Unknown:
    return Unknown(f"{node.operator} of {' and '.join(map(_words, inputs))}")


def _words(change: Change) -> str:
    match change:
        case Factor(degree):
            return f"degree {float(degree):g}" if degree else "what is unchanged"
        case Shift():
            return "a logarithm"
    return "0"


def _without_numbers(node: Node, inputs: list[Change], left_out: _LeftOut) -> list[Change]:
    """The inputs, where a number beside a series that is not unchanged counts as 0."""
    result = list(inputs)
    for place, inner in enumerate(node.inputs):
        if inner.operator == "number" and any(isinstance(other, Factor) and other != SAME for other in inputs):
            number = Fraction(inner.parameters[0])
            result[place] = NONE
            if number:
                kind = left_out.guards if abs(number) <= NEGLIGIBLE else left_out.quantities
                kind.add(f"{inner.parameters[0]:g} in {node.operator}")
    return result


# --- elementwise --------------------------------------------------------------------------------------------------------


def _sum(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    left, right = _without_numbers(node, inputs, left_out)
    if isinstance(right, Anything):
        return left
    if isinstance(left, Anything):
        return Shift(-right.amount) if isinstance(right, Shift) and node.operator == "Sub" else right
    shifts = [part for part in (left, right) if isinstance(part, Shift)]
    if not shifts:
        return left if left == right else _not_derived(node, inputs)
    amounts = [_amount(part) for part in (left, right)]
    if None in amounts:
        return _not_derived(node, inputs)
    first, second = (amount or Fraction(0) for amount in amounts)
    amount = first + second if node.operator == "Add" else first - second
    return Shift(amount) if amount else SAME


def _amount(change: Change) -> Fraction | None:
    """What is added per log(c); None where something is multiplied."""
    if isinstance(change, Shift):
        return change.amount
    return Fraction(0) if change == SAME else None


def _product(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    left, right = inputs
    if isinstance(left, Shift) or isinstance(right, Shift):
        return _shifted_product(node, left, right)
    if isinstance(left, Anything) or isinstance(right, Anything):
        return NONE
    assert isinstance(left, Factor)
    assert isinstance(right, Factor)
    return Factor(left.degree + right.degree if node.operator == "Mul" else left.degree - right.degree)


def _shifted_product(node: Node, left: Change, right: Change) -> Change:
    """A shifted series times a number, or by one that is not 0."""
    numbers = [inner.parameters[0] if inner.operator == "number" else None for inner in node.inputs]
    if isinstance(left, Shift) and numbers[1] is not None:
        number = Fraction(numbers[1])
        if node.operator == "Mul":
            return Shift(left.amount * number) if number else NONE
        if number:
            return Shift(left.amount / number)
    if isinstance(right, Shift) and numbers[0] is not None and node.operator == "Mul":
        number = Fraction(numbers[0])
        return Shift(right.amount * number) if number else NONE
    return _not_derived(node, (left, right))


def _power(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    base, _exponent = inputs
    number = node.inputs[1].parameters[0] if node.inputs[1].operator == "number" else None
    if number == 0:
        return SAME
    if number is not None and isinstance(base, Factor):
        return Factor(base.degree * Fraction(number))
    both = all(part == SAME or isinstance(part, Anything) for part in inputs)
    return SAME if both else _not_derived(node, inputs)


def _absolute(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    (inner,) = inputs
    return _not_derived(node, inputs) if isinstance(inner, Shift) else inner


def _sign(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    (inner,) = inputs
    return _not_derived(node, inputs) if isinstance(inner, Shift) else SAME


def _logarithm(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    (inner,) = inputs
    if isinstance(inner, Shift):
        return _not_derived(node, inputs)
    return Shift(inner.degree) if isinstance(inner, Factor) and inner.degree else SAME


def _alike(node: Node, inputs: Sequence[Change]) -> Change:
    """What values have in common of which one is chosen, or which are compared."""
    known = [part for part in inputs if not isinstance(part, Anything)]
    if not known:
        return NONE
    # 0 lies on the same side of what is multiplied, not of what is moved.
    if any(part != known[0] for part in known) or (isinstance(known[0], Shift) and len(known) < len(inputs)):
        return _not_derived(node, inputs)
    return known[0]


def _extreme(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    return _alike(node, _without_numbers(node, inputs, left_out))


def _comparison(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    found = _alike(node, _without_numbers(node, inputs, left_out))
    return found if isinstance(found, Unknown) else SAME


def _logical(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    """Truth values: none is multiplied or moved."""
    return SAME


def _choice(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    """A condition is true where it is not 0, which a factor leaves as it is."""
    if isinstance(inputs[0], Shift):
        return _not_derived(node, inputs)
    # A tiny number that is chosen is a value like any other.
    known = [part for part in inputs[1:] if not isinstance(part, Anything)]
    if any(part != known[0] for part in known) or (known and isinstance(known[0], Shift) and len(known) < 2):
        return _not_derived(node, inputs[1:])
    return known[0] if known else NONE


# --- windows ------------------------------------------------------------------------------------------------------------


def _kept(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    """A value of the window, or a mean whose weights are 1 in all."""
    return inputs[0]


def _total(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    """Sums, and means whose weights depend on how many days have values: what is moved is moved that often."""
    return _not_derived(node, inputs) if isinstance(inputs[0], Shift) else inputs[0]


def _spread(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    """Of deviations from the mean or a line: what is moved is unchanged."""
    return SAME if isinstance(inputs[0], Shift) else inputs[0]


def _variance(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    (inner,) = inputs
    return Factor(2 * inner.degree) if isinstance(inner, Factor) else SAME


def _place(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    """Of order and presence only."""
    return SAME


def _standardised(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    """By the windows' own deviations, unless these are below a threshold of qlib's or pandas'."""
    if any(isinstance(part, Factor) and part != SAME for part in inputs):
        left_out.guards.add(f"the smallest deviation of {node.operator}")
    return SAME


def _covariance(node: Node, inputs: list[Change], left_out: _LeftOut) -> Change:
    return Factor(sum((part.degree for part in inputs if isinstance(part, Factor)), Fraction(0)))


_Rule = Callable[[Node, list[Change], _LeftOut], Change]
_RULES: Final[Mapping[str, _Rule]] = {
    **dict.fromkeys(("Add", "Sub"), _sum),
    **dict.fromkeys(("Mul", "Div"), _product),
    "Power": _power,
    "Abs": _absolute,
    "Sign": _sign,
    "Log": _logarithm,
    **dict.fromkeys(("Greater", "Less"), _extreme),
    **dict.fromkeys(("Gt", "Ge", "Lt", "Le", "Eq", "Ne"), _comparison),
    **dict.fromkeys(("And", "Or", "Not"), _logical),
    "If": _choice,
    **dict.fromkeys(("Ref", "Mean", "EMA", "Max", "Min", "Med", "Quantile"), _kept),
    **dict.fromkeys(("Sum", "WMA"), _total),
    **dict.fromkeys(("Std", "Mad", "Slope", "Resi"), _spread),
    "Var": _variance,
    **dict.fromkeys(("IdxMax", "IdxMin", "Rank", "Count"), _place),
    **dict.fromkeys(("Skew", "Kurt", "Rsquare", "Corr"), _standardised),
    "Cov": _covariance,
}
