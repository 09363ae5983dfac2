"""How large every value of a graph becomes, known before anything is computed.

Every axis is a polynomial in the number of rows with coefficients that are not negative, so a size only grows with the
rows, and its value at the most rows of a call bounds them all.  A shape that cannot be known so is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from alphaseal.errors import PolicyError
from alphaseal.gate.onnx.parts import INT64, MAXIMUM_RANK, SMALL, Node

Size = tuple[int, ...]
"""Coefficients by power of the rows, without zeros at the end: (5,) is five, (0, 1) is one per row."""
ROWS: Size = (0, 1)
_MAXIMUM_POWER = 4
_MOST_ROWS = 1 << 13
END = 1 << 62
"""Exporters write the largest int64 for "to the end"."""


class Value(NamedTuple):
    """One value of the graph: its shape, and its elements where they are small integers that may say a shape.

    An element that does not depend on the rows may be negative; it is a `Size` of one coefficient then.
    """

    shape: tuple[Size, ...]
    elements: tuple[Size, ...] | None = None


class Unknown(Exception):
    """A shape that cannot be known, or does not fit; the text says why."""


@dataclass(frozen=True)
class Call:
    """A node with what goes in: None where an optional input is left out."""

    node: Node
    inputs: tuple[Value | None, ...]
    data: bytes = b""
    """The file, where numbers of attributes are."""

    def value(self, position: int) -> Value:
        found = self.inputs[position] if position < len(self.inputs) else None
        if found is None:
            raise Unknown(f"input {position} is left out")
        return found

    def shape(self, position: int = 0) -> tuple[Size, ...]:
        return self.value(position).shape

    def optional(self, position: int) -> Value | None:
        return self.inputs[position] if position < len(self.inputs) else None

    def fixed(self, position: int) -> list[int]:
        """Elements of an input that do not depend on the rows."""
        return [fixed_length(size) for size in self.sizes(position)]

    def single(self, position: int) -> Size:
        """The only element of an input."""
        sizes = self.sizes(position)
        if len(sizes) != 1:
            raise Unknown(f"input {position} is not one number")
        return sizes[0]

    def sizes(self, position: int) -> tuple[Size, ...]:
        elements = self.value(position).elements
        if elements is None:
            raise Unknown(f"input {position} says a shape and is not known")
        return elements

    def integer(self, name: str, default: int) -> int:
        found = self.node.attributes.get(name, default)
        assert isinstance(found, int)
        return found

    def integers(self, name: str) -> list[int] | None:
        found = self.node.attributes.get(name)
        assert found is None or isinstance(found, list)
        return found

    def axis(self, rank: int, default: int = 0) -> int:
        return axis_of(self.integer("axis", default), rank)


class Result(NamedTuple):
    """The values that come out, and the multiplications that a run takes (None: one per element)."""

    values: Sequence[Value]
    work: Size | None = None
    trees: tuple[int, int] = (0, 0)
    """How many there are, and the nodes of all."""


Rule = Callable[[Call], Result]


# --- polynomials ----------------------------------------------------------------------------------------------------


def size(number: int) -> Size:
    return (number,)


def evaluate(polynomial: Size, rows: int) -> int:
    if len(polynomial) == 1:
        return polynomial[0]
    return sum(coefficient * rows**power for power, coefficient in enumerate(polynomial))


def _trimmed(coefficients: Sequence[int]) -> Size:
    last = len(coefficients)
    while last > 1 and coefficients[last - 1] == 0:
        last -= 1
    return tuple(coefficients[:last])


def _growing(*sizes: Size) -> None:
    # A size could shrink as the rows grow, and the most rows of a call would bound nothing.
    if max(map(len, sizes)) > 1 and min(map(min, sizes)) < 0:
        raise Unknown("a size that depends on the rows meets a negative number")


def plus(left: Size, right: Size) -> Size:
    # Most sizes do not depend on the rows.
    if len(left) == len(right) == 1:
        return (left[0] + right[0],)
    _growing(left, right)
    longest = max(len(left), len(right))
    return _trimmed([sum(side[power] for side in (left, right) if power < len(side)) for power in range(longest)])


def times(left: Size, right: Size) -> Size:
    if len(left) == len(right) == 1:
        return (left[0] * right[0],)
    _growing(left, right)
    coefficients = [0] * (len(left) + len(right) - 1)
    for power, one in enumerate(left):
        for other_power, other in enumerate(right):
            coefficients[power + other_power] += one * other
    # Each power multiplies what a call of many rows takes, and nothing that we write needs more.
    if len(coefficients) > _MAXIMUM_POWER + 1:
        raise Unknown("a size grows with a high power of the rows")
    return _trimmed(coefficients)


def product(sizes: Sequence[Size]) -> Size:
    return _product(tuple(sizes))


@lru_cache(maxsize=4096)  # the nodes of a graph have few shapes
def _product(sizes: tuple[Size, ...]) -> Size:
    total = size(1)
    for factor in sizes:
        total = times(total, factor)
    return total


def divided(total: Size, part: Size) -> Size:
    """`total` / `part` where that is exact for every number of rows."""
    *zeros, coefficient = part
    # Exact for every number of rows, not only for the largest.
    if any(zeros) or coefficient == 0 or any(total[: len(zeros)]) or any(number % coefficient for number in total):
        raise Unknown("a length is not a whole part of the other axes")
    return _trimmed([number // coefficient for number in total[len(zeros) :]] or [0])


def remainder(left: Size, right: Size) -> Size:
    """Of lengths that do not depend on the rows."""
    # C++ and Python differ in the remainders of negative numbers.
    if fixed_length(right) <= 0 or fixed_length(left) < 0:
        raise Unknown("a remainder of other than positive lengths")
    return size(left[0] % right[0])


def fixed_length(polynomial: Size) -> int:
    """Of a length that does not depend on the rows."""
    # A kernel, a diagonal, a number of places: taken from the file, never from the data.
    if len(polynomial) != 1:
        raise Unknown("a length depends on the rows where it must not")
    return polynomial[0]


def axis_of(axis: int, rank: int) -> int:
    """The axis counted from the first one."""
    # 12.4: an axis is one of the value; kernels count from the end, and trust the rest.
    if not -rank <= axis < rank:
        raise Unknown(f"axis {axis} of a value of rank {rank}")
    return axis % rank


# --- rules ----------------------------------------------------------------------------------------------------------


def same(call: Call) -> Result:
    return Result([Value(call.shape())])


def keep(call: Call) -> Result:
    """Identity."""
    return Result([call.value(0)])


def cast(call: Call) -> Result:
    value = call.value(0)
    # Only int64 says a shape; a float may have rounded it.
    return Result([value if call.integer("to", 0) == INT64 else Value(value.shape)])


def broadcast_shapes(shapes: Sequence[tuple[Size, ...]]) -> tuple[Size, ...]:
    rank = max(map(len, shapes))
    result = [size(1)] * rank
    for shape in shapes:
        # From the last axis on; a length of one is repeated.
        for place, length in enumerate(shape, rank - len(shape)):
            if result[place] == size(1):
                result[place] = length
            elif length not in (size(1), result[place]):
                raise Unknown(f"lengths {text(result[place])} and {text(length)} do not go together")
    return tuple(result)


def broadcast(call: Call) -> Result:
    return Result([Value(broadcast_shapes([call.shape(position) for position in range(len(call.inputs))]))])


def arithmetic(operation: Callable[[Size, Size], Size]) -> Rule:
    """Add, Mul, Div and Mod, which also compute shapes."""

    def rule(call: Call) -> Result:
        (value,) = broadcast(call).values
        left, right = call.value(0).elements, call.value(1).elements
        # One number with each, or place by place; a column with a row would make more numbers than either has.
        together = call.shape(0) == call.shape(1) or 1 in (len(left or ()), len(right or ()))
        if not left or not right or not together:
            return Result([value])
        count = max(len(left), len(right))
        try:
            elements = [operation(left[place % len(left)], right[place % len(right)]) for place in range(count)]
        except Unknown:
            return Result([value])
        # Beyond 64 bits they would wrap round in the graph but not here.
        fits = all(evaluate(tuple(map(abs, element)), _MOST_ROWS) <= END for element in elements)
        return Result([Value(value.shape, tuple(elements) if fits else None)])

    return rule


def concat(call: Call) -> Result:
    shapes = [call.shape(position) for position in range(len(call.inputs))]
    axis = call.axis(len(shapes[0]))
    length = size(0)
    for shape in shapes:
        # Beside the axis that is joined all lengths are alike.
        if (
            shape[:axis] != shapes[0][:axis]
            or shape[axis + 1 :] != shapes[0][axis + 1 :]
            or len(shape) != len(shapes[0])
        ):
            raise Unknown("the joined values differ beside the axis")
        length = plus(length, shape[axis])
    parts = [call.value(position).elements for position in range(len(call.inputs))]
    known = [part for part in parts if part is not None]
    elements = (
        tuple(element for part in known for element in part)
        if len(known) == len(parts) and len(shapes[0]) == 1
        else None
    )
    return Result([small((*shapes[0][:axis], length, *shapes[0][axis + 1 :]), elements)])


def small(shape: tuple[Size, ...], elements: tuple[Size, ...] | None) -> Value:
    return Value(shape, elements if elements is not None and len(elements) <= SMALL else None)


def gather(call: Call) -> Result:
    shape, places = call.shape(0), call.shape(1)
    axis = call.axis(len(shape))
    value, chosen = call.value(0), call.value(1).elements
    elements = None
    # The length of one axis, taken from a shape.
    if value.elements is not None and chosen is not None and len(shape) == 1:
        elements = tuple(value.elements[axis_of(fixed_length(place), len(value.elements))] for place in chosen)
    return Result([small((*shape[:axis], *places, *shape[axis + 1 :]), elements)])


def pad(call: Call) -> Result:
    shape, pads = call.shape(0), call.fixed(1)
    # Negative pads cut, and a fourth input names axes: nobody here writes either.
    if len(pads) != 2 * len(shape) or min(pads, default=0) < 0 or call.optional(3) is not None:
        raise Unknown("pads must be two known lengths per axis")
    return Result(
        [Value(tuple(plus(length, size(pads[axis] + pads[axis + len(shape)])) for axis, length in enumerate(shape)))]
    )


def expand(call: Call) -> Result:
    return Result([Value(broadcast_shapes([call.shape(0), call.sizes(1)]))])


def transpose(call: Call) -> Result:
    shape = call.shape()
    order = call.integers("perm") or list(range(len(shape)))[::-1]
    # An axis named twice would leave another one out.
    if sorted(order) != list(range(len(shape))):
        raise Unknown("perm is not an order of the axes")
    return Result([Value(tuple(shape[axis] for axis in order))])


def unsqueeze(call: Call) -> Result:
    value, axes = call.value(0), call.fixed(1)
    rank = len(value.shape) + len(axes)
    places = {axis_of(axis, rank) for axis in axes}
    if len(places) != len(axes):
        raise Unknown("an axis is named twice")
    lengths = iter(value.shape)
    return Result([Value(tuple(size(1) if axis in places else next(lengths) for axis in range(rank)), value.elements)])


def squeeze(call: Call) -> Result:
    value = call.value(0)
    axes = [axis_of(axis, len(value.shape)) for axis in call.fixed(1)]
    # A longer axis has elements that would be lost.
    if any(value.shape[axis] != size(1) for axis in axes):
        raise Unknown("an axis that is squeezed is longer than one")
    return Result([Value(tuple(length for axis, length in enumerate(value.shape) if axis not in axes), value.elements)])


def slice_(call: Call) -> Result:
    value = call.value(0)
    starts, ends = call.fixed(1), call.fixed(2)
    axes = [axis_of(axis, len(value.shape)) for axis in call.fixed(3)] if call.optional(3) else list(range(len(starts)))
    steps = call.fixed(4) if call.optional(4) else [1] * len(starts)
    if (
        # Steps are 1: nobody here writes others, and a step of 0 has no result.
        not len(starts) == len(ends) == len(axes) == len(steps) == len(set(axes))
        or set(steps) - {1}
        or max(axes, default=0) >= len(value.shape)
    ):
        raise Unknown("a slice is one start, one end and step 1 per axis")
    shape, elements = list(value.shape), value.elements
    for axis, start, end in zip(axes, starts, ends, strict=True):
        # Ends beyond the axis are its end, as in Python.
        shape[axis] = _part(shape[axis], start, min(end, END))
        elements = elements[start:end] if elements is not None and len(value.shape) == 1 else None
    return Result([Value(tuple(shape), elements)])


def _part(length: Size, start: int, end: int) -> Size:
    """Of an axis from `start` to `end`, both as in Python."""
    if len(length) == 1:
        return size(len(range(length[0])[start:end]))
    # One of the first or last is as long for any number of rows.
    if (start, end) in ((-1, END), (0, 1)):
        return size(1)
    left_out = start + (0 if end == END else -end)
    if start < 0 or (end >= 0 and end != END) or left_out > length[0]:
        raise Unknown("a part of an axis that depends on the rows")
    return (length[0] - left_out, *length[1:])


def shape_of(call: Call) -> Result:
    shape = call.shape()
    part = shape[call.integer("start", 0) : call.integer("end", len(shape))]
    return Result([Value((size(len(part)),), tuple(part))])


def matmul(call: Call) -> Result:
    left, right = call.shape(0), call.shape(1)
    # A vector would lose an axis that rules of rows count on.
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2]:
        raise Unknown(f"matrices {text(*left)} and {text(*right)} do not go together")
    shape = (
        *(broadcast_shapes([left[:-2], right[:-2]]) if len(left) > 2 or len(right) > 2 else ()),
        left[-2],
        right[-1],
    )
    return Result([Value(shape)], times(product(shape), left[-1]))


def reduction(call: Call) -> Result:
    shape = call.shape()
    # noop_with_empty_axes is 0, so no axes are all.
    axes = (
        {axis_of(axis, len(shape)) for axis in call.fixed(1)}
        if call.optional(1) is not None
        else set(range(len(shape)))
    )
    kept = call.integer("keepdims", 1)
    lengths = [size(1) if axis in axes else length for axis, length in enumerate(shape) if kept or axis not in axes]
    return Result([Value(tuple(lengths))], product(shape))


def arg_reduction(call: Call) -> Result:
    shape = call.shape()
    axis = call.axis(len(shape))
    middle = (size(1),) if call.integer("keepdims", 1) else ()
    return Result([Value((*shape[:axis], *middle, *shape[axis + 1 :]))], product(shape))


def top(call: Call) -> Result:
    """TopK: values and places."""
    shape = call.shape()
    axis, count = call.axis(len(shape), -1), fixed_length(call.single(1))
    # 12.4: a constant, since the size of the result must be known, and no more than the axis has.
    if not 1 <= count <= evaluate(shape[axis], 1):
        raise Unknown(f"the first {count} of an axis of {text(shape[axis])}")
    found = Value((*shape[:axis], size(count), *shape[axis + 1 :]))
    return Result([found, found], times(product(shape), size(count.bit_length())))


def gather_elements(call: Call) -> Result:
    chosen(call)
    return Result([Value(call.shape(1))])


def chosen(call: Call) -> None:
    """Places along one axis, no longer than the data along any other."""
    shape, places = call.shape(0), call.shape(1)
    axis = call.axis(len(shape))
    # One place along the axis for each element that comes out.
    if len(shape) != len(places):
        raise Unknown("ranks differ")
    for other, (length, chosen) in enumerate(zip(shape, places, strict=True)):
        # Where one of them depends on the rows, onnxruntime compares them when it runs.
        if other != axis and len(length) == len(chosen) == 1 and chosen > length:
            raise Unknown("more places than the data have")


def cumulated(call: Call) -> Result:
    # The axis is a tensor, and kernels read its first number.
    if len(call.fixed(1)) != 1:
        raise Unknown("CumSum has one axis")
    axis_of(call.fixed(1)[0], len(call.shape()))
    return same(call)


# --- what comes out --------------------------------------------------------------------------------------------------


def check(call: Call, results: Sequence[Value], where: str, elements: int, rows: int) -> list[int]:
    """Refuse values that are too large, empty, or of too high a rank; their numbers of elements."""
    counts = []
    for value in results:
        # Only a part of a shape may be empty.
        least = 1 if value.elements is None else 0
        # Lengths only grow with the rows: not empty for one is not empty for more.
        if len(value.shape) > MAXIMUM_RANK or any(evaluate(length, 1) < least for length in value.shape):
            raise PolicyError(
                "model.shape",
                f"{call.node} gives an empty value or one of too many axes",
                where=where,
                found=text(*value.shape),
            )
        count = evaluate(product(value.shape), rows)
        counts.append(count)
        # 12.4: for the most rows of a call, which bounds every other call.
        if count > elements:
            raise PolicyError(
                "model.growth",
                f"{call.node} gives more numbers than is allowed",
                where=where,
                expected=f"at most {elements} for {rows} rows",
                found=f"{text(*value.shape)}: {count}",
            )
    return counts


def text(*sizes: Size) -> str:
    """[rows, 20] and the like."""
    return "[" + ", ".join(" + ".join(_term(c, p) for p, c in enumerate(s) if c) or "0" for s in sizes) + "]"


def _term(coefficient: int, power: int) -> str:
    rows = "" if power == 0 else "rows" if power == 1 else f"rows^{power}"
    return f"{coefficient} {rows}".strip() if coefficient != 1 or not rows else rows
