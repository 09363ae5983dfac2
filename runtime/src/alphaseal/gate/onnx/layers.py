"""The shape rules of layers: products, convolutions, pools, recurrences, normalisations, sorting and scattering.

As in `onnx_shapes`.  What belongs to a layer (weights, scales, states) has to have the shape that its kernel takes for
granted: a library may look again, or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from alphaseal.gate.onnx.shapes import (
    Call,
    Result,
    Rule,
    Size,
    Unknown,
    Value,
    axis_of,
    broadcast_shapes,
    divided,
    evaluate,
    fixed_length,
    plus,
    product,
    same,
    size,
    text,
    times,
)

_FARTHEST = 1 << 24
"""Diagonals beyond this are none."""


def along(call: Call) -> Result:
    """Softmax and LogSoftmax: along one axis."""
    call.axis(len(call.shape()), -1)
    return same(call)


def clipped(call: Call) -> Result:
    for position in (1, 2):
        if call.optional(position) is not None and product(call.shape(position)) != size(1):
            raise Unknown("a bound is not one number")
    return same(call)


def slope(call: Call) -> Result:
    """PRelu: slopes that are not larger than the input."""
    if broadcast_shapes([call.shape(0), call.shape(1)]) != call.shape(0):
        raise Unknown("the slopes do not fit the input")
    return same(call)


def square(call: Call) -> Result:
    """EyeLike."""
    if len(call.shape()) != 2:
        raise Unknown("a matrix is expected")
    return same(call)


def triangle(call: Call) -> Result:
    """Trilu: matrices, from a diagonal that is known."""
    if len(call.shape()) < 2:
        raise Unknown("a matrix is expected")
    if call.optional(1) is not None and abs(fixed_length(call.single(1))) > _FARTHEST:
        raise Unknown("a diagonal that no matrix has")
    return same(call)


def matmul(call: Call) -> Result:
    left, right = call.shape(0), call.shape(1)
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2]:
        raise Unknown(f"matrices {text(*left)} and {text(*right)} do not go together")
    shape = (
        *(broadcast_shapes([left[:-2], right[:-2]]) if len(left) > 2 or len(right) > 2 else ()),
        left[-2],
        right[-1],
    )
    return Result([Value(shape)], times(product(shape), left[-1]))


def gemm(call: Call) -> Result:
    left, right = call.shape(0), call.shape(1)
    if len(left) != 2 or len(right) != 2:
        raise Unknown("Gemm takes matrices")
    left = left[::-1] if call.integer("transA", 0) else left
    right = right[::-1] if call.integer("transB", 0) else right
    if left[1] != right[0]:
        raise Unknown(f"matrices {text(*left)} and {text(*right)} do not go together")
    shape = (left[0], right[1])
    if call.optional(2) is not None and broadcast_shapes([shape, call.shape(2)]) != shape:
        raise Unknown("what is added is larger than the product")
    return Result([Value(shape)], times(product(shape), left[1]))


def convolution(call: Call) -> Result:
    """Conv: [batch, channels, lengths...] with filters [out, channels / group, kernel...] and a number for each of `out`."""
    shape, filters = call.shape(0), call.shape(1)
    rank, group = len(shape) - 2, size(call.integer("group", 1))
    if rank < 1 or len(filters) != len(shape) or times(filters[1], group) != shape[1]:
        raise Unknown("filters do not fit the channels")
    divided(filters[0], group)
    kernel = [fixed_length(length) for length in filters[2:]]
    if (call.integers("kernel_shape") or kernel) != kernel:
        raise Unknown("kernel_shape is not that of the filters")
    _require(call, 2, (filters[0],), "what is added has not one number per filter")
    shape = (shape[0], filters[0], *_windows(call, shape[2:], kernel))
    return Result([Value(shape)], times(product(shape), product(filters[1:])))


def pooling(call: Call) -> Result:
    shape, kernel = call.shape(), call.integers("kernel_shape") or []
    if len(kernel) != len(shape) - 2 or not kernel:
        raise Unknown("kernel_shape does not fit")
    if any(pad >= kernel[axis % len(kernel)] for axis, pad in enumerate(call.integers("pads") or [])):
        raise Unknown("a window would lie in the padding")
    shape = (*shape[:2], *_windows(call, shape[2:], kernel))
    return Result([Value(shape)], times(product(shape), size(math.prod(kernel))))


def _windows(call: Call, lengths: Sequence[Size], kernel: list[int]) -> list[Size]:
    rank = len(lengths)
    strides, dilations = (call.integers(name) or [1] * rank for name in ("strides", "dilations"))
    pads = call.integers("pads") or [0] * (2 * rank)
    if (len(strides), len(dilations), len(pads)) != (rank, rank, 2 * rank):
        raise Unknown("strides, dilations and pads do not fit")
    result = []
    for axis, length in enumerate(lengths):
        room = fixed_length(length) + pads[axis] + pads[axis + rank] - dilations[axis] * (kernel[axis] - 1) - 1
        result.append(size(room // strides[axis] + 1 if room >= 0 else 0))
    return result


def global_pooling(call: Call) -> Result:
    shape = call.shape()
    return Result([Value((*shape[:2], *[size(1)] * (len(shape) - 2)))], product(shape))


def recurrent(gates: int) -> Rule:
    """GRU, LSTM, RNN: [steps, batch, inputs] with weights [directions, gates * hidden, inputs]."""

    def rule(call: Call) -> Result:
        shape, weights, recurrence = call.shape(0), call.shape(1), call.shape(2)
        if len(shape) != 3:
            raise Unknown("the input has not three axes")
        hidden = size(call.integer("hidden_size", 0))
        count = 2 if call.node.attributes.get("direction") == "bidirectional" else 1
        directions = size(count)
        wanted = (directions, times(size(gates), hidden), shape[-1])
        if weights != wanted or recurrence != (*wanted[:2], hidden) or call.optional(4) is not None:
            raise Unknown("weights do not fit the inputs")
        steps, batch, _ = shape
        state = (directions, batch, hidden)
        further = {
            3: (directions, times(size(2 * gates), hidden)),
            5: state,
            6: state,
            7: (directions, times(size(3), hidden)),
        }
        for position, expected in further.items():
            _require(call, position, expected, "numbers that are added or states do not fit the weights")
        activations = call.node.attributes.get("activations")
        if activations is not None and len(activations) != count:  # type: ignore[arg-type]
            raise Unknown("one activation per direction")
        work = times(times(product((steps, batch)), product(wanted[:2])), plus(shape[-1], hidden))
        return Result([Value((steps, directions, batch, hidden)), Value(state), Value(state)], work)

    return rule


def _require(call: Call, position: int, shape: Sequence[Size], otherwise: str) -> None:
    """The input at `position`, if there is one, has that shape."""
    if call.optional(position) is not None and call.shape(position) != tuple(shape):
        raise Unknown(otherwise)


def reduction(call: Call) -> Result:
    shape = call.shape()
    axes = (
        {axis_of(axis, len(shape)) for axis in call.fixed(1)}
        if call.optional(1) is not None
        else set(range(len(shape)))
    )
    kept = call.integer("keepdims", 1)
    lengths = [size(1) if axis in axes else length for axis, length in enumerate(shape) if kept or axis not in axes]
    return Result([Value(tuple(lengths))], product(shape))


def by_channel(call: Call) -> Result:
    """BatchNormalization, InstanceNormalization: numbers for each of the channels, which are the second axis."""
    shape = call.shape()
    if len(shape) < 2:
        raise Unknown("there is no axis of channels")
    for position in range(1, len(call.inputs)):
        _require(call, position, shape[1:2], "not one number per channel")
    return same(call)


def group_normalisation(call: Call) -> Result:
    """GroupNormalization: a number for each of the groups, into which the channels are cut."""
    shape, groups = call.shape(), call.integer("num_groups", 0)
    if len(shape) < 3 or fixed_length(shape[1]) % groups:
        raise Unknown("the groups do not part the channels")
    for position in (1, 2):
        _require(call, position, [size(groups)], "not one number per group")
    return same(call)


def layer_normalisation(call: Call) -> Result:
    """LayerNormalization: scales and what is added are not larger than the input."""
    shape = call.shape()
    call.axis(len(shape), -1)
    for position in (1, 2):
        if call.optional(position) is not None and broadcast_shapes([shape, call.shape(position)]) != shape:
            raise Unknown("more numbers than are normalised")
    return same(call)


def mean_variance(call: Call) -> Result:
    """MeanVarianceNormalization: along distinct axes, by default the first and the last two of four."""
    rank, axes = len(call.shape()), call.integers("axes")
    places = [axis_of(axis, rank) for axis in ([0, 2, 3] if axes is None else axes)]
    if not places or len(set(places)) != len(places):
        raise Unknown("no axis, or one twice")
    return same(call)


def arg_reduction(call: Call) -> Result:
    shape = call.shape()
    axis = call.axis(len(shape))
    middle = (size(1),) if call.integer("keepdims", 1) else ()
    return Result([Value((*shape[:axis], *middle, *shape[axis + 1 :]))], product(shape))


def top(call: Call) -> Result:
    """TopK: values and places."""
    shape = call.shape()
    axis, count = call.axis(len(shape), -1), fixed_length(call.single(1))
    if not 1 <= count <= evaluate(shape[axis], 1):
        raise Unknown(f"the first {count} of an axis of {text(shape[axis])}")
    found = Value((*shape[:axis], size(count), *shape[axis + 1 :]))
    return Result([found, found], times(product(shape), size(count.bit_length())))


def one_hot(call: Call) -> Result:
    shape, depth = call.shape(), size(fixed_length(call.single(1)))
    axis = call.axis(len(shape) + 1, -1)
    return Result([Value((*shape[:axis], depth, *shape[axis:]))])


def gather_elements(call: Call) -> Result:
    _chosen(call)
    return Result([Value(call.shape(1))])


def scatter_elements(call: Call) -> Result:
    _chosen(call)
    if call.shape(1) != call.shape(2):
        raise Unknown("not one new element per place")
    return same(call)


def _chosen(call: Call) -> None:
    """Places along one axis, no longer than the data along any other."""
    shape, places = call.shape(0), call.shape(1)
    axis = call.axis(len(shape))
    if len(shape) != len(places):
        raise Unknown("ranks differ")
    for other, (length, chosen) in enumerate(zip(shape, places, strict=True)):
        # Where one of them depends on the rows, onnxruntime compares them when it runs.
        if other != axis and len(length) == len(chosen) == 1 and chosen > length:
            raise Unknown("more places than the data have")


def gather_nd(call: Call) -> Result:
    places, depth = call.shape(1), _depth(call)
    return Result([Value((*places[:-1], *call.shape(0)[depth:]))])


def scatter_nd(call: Call) -> Result:
    places, depth = call.shape(1), _depth(call)
    if call.shape(2) != (*places[:-1], *call.shape(0)[depth:]):
        raise Unknown("not one new part per place")
    return same(call)


def _depth(call: Call) -> int:
    """How many axes a place names."""
    shape, places = call.shape(0), call.shape(1)
    depth = fixed_length(places[-1]) if places else 0
    if not 0 < depth <= len(shape):
        raise Unknown("places do not fit the axes")
    return depth


def einsum(call: Call) -> Result:
    """Letters are axes; without the dots that stand for many."""
    equation = call.node.attributes.get("equation")
    left, arrow, right = str(equation).replace(" ", "").partition("->")
    terms, lengths = left.split(","), dict[str, Size]()
    if (
        not arrow
        or len(terms) != len(call.inputs)
        or not ((letters := left.replace(",", "") + right).isascii() and letters.isalpha())
        or len(set(right)) != len(right)
    ):
        raise Unknown("an equation with explicit axes is expected")
    for position, term in enumerate(terms):
        if len(term) != len(call.shape(position)):
            raise Unknown("ranks differ from the equation")
        for letter, length in zip(term, call.shape(position), strict=True):
            if lengths.setdefault(letter, length) != length:
                raise Unknown(f"axis {letter} has two lengths")
    if not set(right) <= set(lengths):
        raise Unknown("the equation names an axis that nothing has")
    # Operands are multiplied two by two at worst over all axes.
    return Result(
        [Value(tuple(lengths[letter] for letter in right))], times(product(list(lengths.values())), size(len(terms)))
    )


def cumulated(call: Call) -> Result:
    if len(call.fixed(1)) != 1:
        raise Unknown("CumSum has one axis")
    axis_of(call.fixed(1)[0], len(call.shape()))
    return same(call)
