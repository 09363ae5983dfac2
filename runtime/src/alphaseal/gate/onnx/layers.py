"""The rules that networks alone need: layers, other shapes for the same elements, places written to or chosen by.

What belongs to a layer (weights, scales, states) has to have the shape that its kernel takes for granted: a library may look
again, or not.  Each operator's rule of shapes comes before its rule of rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from alphaseal.gate.onnx import rows as rows
from alphaseal.gate.onnx.costs import MATRIX
from alphaseal.gate.onnx.parts import SMALL, Tensor
from alphaseal.gate.onnx.rows import COUNT, FIXED, Mixed, Rows, State, Step
from alphaseal.gate.onnx.shapes import (
    END,
    Call,
    Result,
    Rule,
    Size,
    Unknown,
    Value,
    axis_of,
    broadcast_shapes,
    chosen,
    divided,
    evaluate,
    fixed_length,
    plus,
    product,
    same,
    size,
    small,
    text,
    times,
)

_FARTHEST = 1 << 24
"""Diagonals beyond this are none."""
_STEP_IN_TIME = 1024
"""Steps that a recurrence takes to go on."""


def along(call: Call) -> Result:
    """Softmax and LogSoftmax: along one axis."""
    call.axis(len(call.shape()), -1)
    return same(call)


def clipped(call: Call) -> Result:
    for position in (1, 2):
        # The kernel reads one number where the bound is.
        if call.optional(position) is not None and product(call.shape(position)) != size(1):
            raise Unknown("a bound is not one number")
    return same(call)


def slope(call: Call) -> Result:
    """PRelu: slopes that are not larger than the input."""
    # Larger slopes would make the result larger than its shape.
    if broadcast_shapes([call.shape(0), call.shape(1)]) != call.shape(0):
        raise Unknown("the slopes do not fit the input")
    return same(call)


def gemm(call: Call) -> Result:
    left, right = call.shape(0), call.shape(1)
    if len(left) != 2 or len(right) != 2:
        raise Unknown("Gemm takes matrices")
    left = left[::-1] if call.integer("transA", 0) else left
    right = right[::-1] if call.integer("transB", 0) else right
    # Turned first, for the attributes turn what goes in.
    if left[1] != right[0]:
        raise Unknown(f"matrices {text(*left)} and {text(*right)} do not go together")
    shape = (left[0], right[1])
    # It may be repeated, but not make the product larger.
    if call.optional(2) is not None and broadcast_shapes([shape, call.shape(2)]) != shape:
        raise Unknown("what is added is larger than the product")
    return Result([Value(shape)], times(product(shape), left[1]))


def gemm_rows(step: Step) -> State:
    states: list[State] = []
    for position, name, contracted in ((0, "transA", 1), (1, "transB", 0)):
        state, turned = step.state(position), bool(step.call.integer(name, 0))
        rows.apart(step.call.shape(position), [1 - contracted if turned else contracted])
        states.append(state._replace(axis=1 - state.axis) if turned and isinstance(state, Rows) else state)
    return rows.same([*states, rows.aligned(step, [2] if step.call.optional(2) is not None else [], 2)])


def einsum(call: Call) -> Result:
    """Letters are axes; without the dots that stand for many."""
    equation = call.node.attributes.get("equation")
    left, arrow, right = str(equation).replace(" ", "").partition("->")
    terms, lengths = left.split(","), dict[str, Size]()
    if (
        # Explicit axes, each once in the result: dots and diagonals of results have no writer here.
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
            # A length of one is not repeated, whatever a kernel would do.
            if lengths.setdefault(letter, length) != length:
                raise Unknown(f"axis {letter} has two lengths")
    if not set(right) <= set(lengths):
        raise Unknown("the equation names an axis that nothing has")
    # Operands are multiplied two by two at worst over all axes.
    return Result(
        [Value(tuple(lengths[letter] for letter in right))], times(product(list(lengths.values())), size(len(terms)))
    )


def einsum_rows(step: Step) -> State:
    left, _, right = str(step.call.node.attributes["equation"]).replace(" ", "").partition("->")
    states: list[State] = []
    for position, term in enumerate(left.split(",")):
        state = step.state(position)
        growing = {term[axis] for axis in rows.grown(step.call.shape(position))}
        # A letter that the result lacks is summed over.
        if growing - set(right):
            raise Mixed("it computes along the axis of the rows")
        if isinstance(state, Rows):
            # The letter of the rows twice in a term: an item of row i and row j would meet where i is j.
            if term.count(term[state.axis]) > 1:
                raise Mixed("rows meet each other")
            state = state._replace(axis=right.index(term[state.axis]))
        states.append(state)
    return rows.same(states)


def pairs(call: Call, result: Value) -> tuple[Size, int]:
    """Einsum multiplies matrices over the letters that its operands have in common: at most as many as it gives numbers."""
    return product(result.shape), MATRIX


def pairs_held(call: Call, given: int, work: Size | None, rows_of_call: int) -> int:
    """Copies of what Einsum reads, and what is between two products."""
    read = sum(evaluate(product(value.shape), rows_of_call) for value in call.inputs if value is not None)
    return read + (evaluate(work, rows_of_call) if work is not None and len(call.inputs) > 2 else given)


def convolution(call: Call) -> Result:
    """Conv: [batch, channels, lengths...] with filters [out, channels / group, kernel...] and a number for each of `out`."""
    shape, filters = call.shape(0), call.shape(1)
    rank, group = len(shape) - 2, size(call.integer("group", 1))
    # Each group multiplies its own channels, as many as a filter has.
    if rank < 1 or len(filters) != len(shape) or times(filters[1], group) != shape[1]:
        raise Unknown("filters do not fit the channels")
    # Each group has as many filters as another.
    divided(filters[0], group)
    kernel = [fixed_length(length) for length in filters[2:]]
    # The attribute and the filters say it both; they may not differ.
    if (call.integers("kernel_shape") or kernel) != kernel:
        raise Unknown("kernel_shape is not that of the filters")
    _require(call, 2, (filters[0],), "what is added has not one number per filter")
    shape = (shape[0], filters[0], *_windows(call, shape[2:], kernel))
    return Result([Value(shape)], times(product(shape), product(filters[1:])))


def images(call: Call, result: Value) -> tuple[Size, int]:
    """Conv makes a product for each image and group."""
    return times(result.shape[0], size(call.integer("group", 1))), MATRIX


def pooling(call: Call) -> Result:
    shape, kernel = call.shape(), call.integers("kernel_shape") or []
    if len(kernel) != len(shape) - 2 or not kernel:
        raise Unknown("kernel_shape does not fit")
    # 12.4: a window that lies in the padding has no element of which to take the mean or the largest.
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
        # Windows never slide over the rows.
        room = fixed_length(length) + pads[axis] + pads[axis + rank] - dilations[axis] * (kernel[axis] - 1) - 1
        result.append(size(room // strides[axis] + 1 if room >= 0 else 0))
    return result


def global_pooling(call: Call) -> Result:
    shape = call.shape()
    return Result([Value((*shape[:2], *[size(1)] * (len(shape) - 2)))], product(shape))


def convolution_rows(step: Step) -> State:
    """Conv, pooling: every item of the first axis alone."""
    step.others_are_fixed(0)
    rows.apart(step.call.shape(), range(1, len(step.call.shape())))
    for position in range(1, len(step.states)):
        if step.call.optional(position) is not None and rows.grown(step.call.shape(position)):
            raise Mixed("weights depend on the rows")
    return step.state(0)


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
        # 12.4: the kernel takes these shapes for granted.  Input 4 ends sequences by data, and has no writer.
        if weights != wanted or recurrence != (*wanted[:2], hidden) or call.optional(4) is not None:
            raise Unknown("weights do not fit the inputs")
        steps, batch, _ = shape
        state = (directions, batch, hidden)
        # What is added, the first states, and peepholes, for each direction.
        further = {
            3: (directions, times(size(2 * gates), hidden)),
            5: state,
            6: state,
            7: (directions, times(size(3), hidden)),
        }
        for position, expected in further.items():
            _require(call, position, expected, "numbers that are added or states do not fit the weights")
        activations = call.node.attributes.get("activations")
        # By default the kernel chooses them itself.
        if activations is not None and len(activations) != count:  # type: ignore[arg-type]
            raise Unknown("one activation per direction")
        work = times(times(product((steps, batch)), product(wanted[:2])), plus(shape[-1], hidden))
        return Result([Value((steps, directions, batch, hidden)), Value(state), Value(state)], work)

    return rule


def recurrent_rows(step: Step) -> list[State]:
    """[steps, batch, inputs] and first states [directions, batch, hidden]; what comes out has the batch at 2, 1 and 1."""
    step.others_are_fixed(0, 5, 6)
    states = [step.state(position) for position in (0, 5, 6)]
    # The axis of steps is computed along, that of the batch is not.
    if any(isinstance(state, Rows) and state.axis != 1 for state in states) or 0 in rows.grown(step.call.shape()):
        raise Mixed("rows follow each other as steps in time")
    state = rows.same(states)
    return [state._replace(axis=2) if isinstance(state, Rows) else state, state, state]


def steps_in_time(call: Call, result: Value) -> tuple[Size, int]:
    """A recurrence goes on by one step after the other, in each direction."""
    return product(result.shape[:2]), _STEP_IN_TIME


def gates_held(call: Call, given: int, work: Size | None, rows_of_call: int) -> int:
    """The gates of every step and item, and the input twice."""
    steps, batch, inputs = call.shape()
    held = times(times(steps, batch), plus(product(call.shape(1)[:2]), times(inputs, size(2))))
    return evaluate(held, rows_of_call) + given


def _require(call: Call, position: int, shape: Sequence[Size], otherwise: str) -> None:
    """The input at `position`, if there is one, has that shape."""
    if call.optional(position) is not None and call.shape(position) != tuple(shape):
        raise Unknown(otherwise)


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
    # The kernel divides the channels by the groups, and looks at no remainder.
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
    # By default the kernel expects four axes.
    if not places or len(set(places)) != len(places):
        raise Unknown("no axis, or one twice")
    return same(call)


def named_axes(step: Step, rank: int) -> Iterable[int]:
    axes = step.call.integers("axes")
    return [axis % max(1, rank) for axis in ([0, 2, 3] if axes is None else axes)]


# --- shapes and places -------------------------------------------------------------------------------------------------


def reshape(call: Call) -> Result:
    value, wanted = call.value(0), list(call.sizes(1))
    # 0 keeps the length of the same axis, unless it is to be 0.
    if call.integer("allowzero", 0) == 0:
        wanted = [
            value.shape[axis] if length == size(0) and axis < len(value.shape) else length
            for axis, length in enumerate(wanted)
        ]
    # What is left, exact for every number of rows.
    if wanted.count(size(-1)) == 1:
        axis = wanted.index(size(-1))
        wanted[axis] = divided(product(value.shape), product([*wanted[:axis], *wanted[axis + 1 :]]))
    # 12.4: the same elements, for every number of rows; a kernel would read behind them.
    if product(value.shape) != product(wanted):
        raise Unknown("the new shape has another number of elements")
    return Result([Value(tuple(wanted), value.elements)])


def flatten(call: Call) -> Result:
    shape = call.shape()
    axis = call.integer("axis", 1)
    if not 0 <= axis <= len(shape):
        raise Unknown(f"axis {axis} of a value of rank {len(shape)}")
    return Result([Value((product(shape[:axis]), product(shape[axis:])))])


def split(call: Call) -> Result:
    shape = call.shape()
    axis, outputs = call.axis(len(shape)), len(call.node.outputs)
    if call.integer("num_outputs", outputs) != outputs:
        # onnxruntime writes beyond a list here.
        raise Unknown("num_outputs is not the number of outputs")
    if call.optional(1) is not None:
        lengths = [size(length) for length in call.fixed(1)]
    else:
        lengths = [divided(shape[axis], size(outputs))] * outputs
    total = size(0)
    for length in lengths:
        total = plus(total, length)
    # A negative part, or parts beyond the axis, would be read from elsewhere.
    if len(lengths) != outputs or total != shape[axis] or min(map(min, lengths)) < 0:
        raise Unknown("the parts are not the whole")
    return Result([Value((*shape[:axis], length, *shape[axis + 1 :])) for length in lengths])


def tile(call: Call) -> Result:
    shape, repeats = call.shape(), call.sizes(1)
    # One for each axis; a product of lengths bounds what is repeated.
    if len(shape) != len(repeats):
        raise Unknown("one number of repeats per axis")
    return Result([Value(tuple(times(length, repeat) for length, repeat in zip(shape, repeats, strict=True)))])


def tile_rows(step: Step) -> State:
    state, old, new = step.state(0), step.call.shape(), step.results[0].shape
    repeated = [axis for axis, length in enumerate(new) if length != old[axis]]
    # A row that is repeated stands at places of others.
    if state != FIXED:
        rows.apart(old, repeated)
        return state
    # What had one item along an axis is the same everywhere along it; longer parts stand there once per row.
    longer = [
        axis for axis in repeated if axis in rows.grown(new) and axis not in rows.grown(old) and old[axis] != (1,)
    ]
    if not longer:
        return FIXED
    return Rows(longer[0], 1, new[longer[0]][1])


def gather_nd(call: Call) -> Result:
    places, depth = call.shape(1), _depth(call)
    return Result([Value((*places[:-1], *call.shape(0)[depth:]))])


def gather_nd_rows(step: Step) -> State:
    data, places = step.state(0), step.state(1)
    shape, chosen = step.call.shape(0), step.call.shape(1)
    depth = evaluate(chosen[-1], 1)
    rows.apart(shape, range(depth))
    if isinstance(places, Rows):
        if data != FIXED or rows.grown(shape):
            raise Mixed("a row chooses among rows")
        return places
    if places != FIXED:
        raise Mixed("the number of rows chooses")
    return data._replace(axis=data.axis - depth + len(chosen) - 1) if isinstance(data, Rows) else data


def scatter_elements(call: Call) -> Result:
    chosen(call)
    # What is written has the shape of the places.
    if call.shape(1) != call.shape(2):
        raise Unknown("not one new element per place")
    return same(call)


def scatter_elements_rows(step: Step) -> State:
    shapes = [step.call.shape(position) for position in range(3)]
    rows.apart(shapes[0], [step.axis(len(shapes[0]), 0)])
    if any(shape[axis] != shapes[0][axis] for shape in shapes for axis in rows.grown(shapes[0])):
        raise Mixed("some rows are written to")
    return rows.same(step.state(position) for position in range(3))


def scatter_nd(call: Call) -> Result:
    places, depth = call.shape(1), _depth(call)
    # What is written has the shape of the places that are written to.
    if call.shape(2) != (*places[:-1], *call.shape(0)[depth:]):
        raise Unknown("not one new part per place")
    return same(call)


def scatter_nd_rows(step: Step) -> State:
    # Which row is written to would be said by a place.
    step.others_are_fixed()
    rows.apart(step.call.shape(), range(len(step.call.shape())))
    return FIXED


def _depth(call: Call) -> int:
    """How many axes a place names."""
    shape, places = call.shape(0), call.shape(1)
    depth = fixed_length(places[-1]) if places else 0
    # A place names the first axes, so many as it has numbers.
    if not 0 < depth <= len(shape):
        raise Unknown("places do not fit the axes")
    return depth


def one_hot(call: Call) -> Result:
    shape, depth = call.shape(), size(fixed_length(call.single(1)))
    axis = call.axis(len(shape) + 1, -1)
    return Result([Value((*shape[:axis], depth, *shape[axis:]))])


def one_hot_rows(step: Step) -> State:
    step.others_are_fixed(0)
    state, axis = step.state(0), step.axis(len(step.call.shape()) + 1, -1)
    return state._replace(axis=state.axis + (axis <= state.axis)) if isinstance(state, Rows) else state


def element_count(call: Call) -> Result:
    return Result([Value((), (product(call.shape()),))])


def constant_of_shape(call: Call) -> Result:
    value = call.node.attributes.get("value")
    # The kernel fills with the first element.
    if isinstance(value, Tensor) and value.count != 1:
        raise Unknown("the value is not one element")
    return Result([Value(call.sizes(0))])


def from_shape(step: Step) -> State:
    return FIXED


def counted(call: Call) -> Result:
    """Range from 0 in steps of 1, or with fixed ends."""
    first, last, step = call.single(0), call.single(1), call.single(2)
    if (first, step) == (size(0), size(1)):
        return Result([Value((last,))])
    ends = [fixed_length(number) for number in (first, last, step)]
    # The length is a division by the step.
    if ends[2] == 0 or max(map(abs, ends)) > END:
        raise Unknown("a range without steps, or whose length 64 bits do not hold")
    numbers = range(*ends)
    count = max(0, -((numbers.start - numbers.stop) // numbers.step))  # len() is for counts of 63 bits
    return Result([small((size(count),), tuple(map(size, numbers)) if count <= SMALL else None)])


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


def positions(step: Step) -> State:
    """Range, EyeLike: numbers that differ from place to place."""
    # 12.4: the place of a row is not computed with.
    if any(state == COUNT for state in step.states) or rows.grown(step.results[0].shape):
        raise Mixed("rows get their own place as a number")
    return FIXED
