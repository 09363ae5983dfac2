"""Whether a graph keeps its rows apart: that a row's result depends on that row alone, and not on how many there are.

Every value is one of three: `FIXED` (the same for every row and every number of rows), `COUNT` (numbers that depend on how
many rows there are: only for shapes) or `Rows` (one axis runs over the rows, and what stands at a row was computed from
that row).  An operator that cannot be shown to keep this is refused; the rules follow the shapes of `onnx_shapes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, Union

from alphaseal.gate.onnx.shapes import Call, Size, Value, evaluate


class Rows(NamedTuple):
    """Axis `axis` has the length before * rows * after: item (i * rows + r) * after + j is computed from row r alone."""

    axis: int
    before: int = 1
    after: int = 1


FIXED: Literal["fixed"] = "fixed"
COUNT: Literal["count"] = "count"
State = Union[Rows, Literal["fixed", "count"]]
"""A value that is `FIXED` does not change along an axis whose length depends on the rows."""


class Mixed(Exception):
    """Rows are not kept apart; the text says how."""


class Step(NamedTuple):
    """A node, what is known of what goes into it (None: left out), and the shapes that come out."""

    call: Call
    states: Sequence[State | None]
    results: Sequence[Value]

    def state(self, position: int) -> State:
        found = self.states[position] if position < len(self.states) else None
        return FIXED if found is None else found

    def others_are_fixed(self, *followed: int) -> None:
        """What is not followed must be the same for all rows."""
        for position in range(len(self.states)):
            if position not in followed and self.state(position) != FIXED:
                raise Mixed(f"input {position} depends on the rows")

    def axis(self, rank: int, default: int) -> int:
        return self.call.axis(rank, default)


Rule = Callable[[Step], State]


def follow(step: Step) -> list[State]:
    """The states of a node's results; Mixed where they mix rows."""
    operator = step.call.node.operator
    if operator in _RECURRENT:
        states: list[State] = _recurrent(step)[: len(step.results)]
    else:
        try:
            states = [_RULES[operator](step)] * len(step.results)
        except (IndexError, ZeroDivisionError):
            # Inputs of ranks that do not go together: onnxruntime refuses them, and here nothing can be shown of them.
            raise Mixed("its inputs have ranks that do not fit each other") from None
    return [_settled(state, value) for state, value in zip(states, step.results, strict=True)]


def _settled(state: State, value: Value) -> State:
    if state == COUNT and value.elements is not None and all(len(element) == 1 for element in value.elements):
        return FIXED
    if isinstance(state, Rows) and (
        _grown(value.shape) != [state.axis] or value.shape[state.axis] != (0, state.before * state.after)
    ):
        raise Mixed("another axis than that of the rows depends on them")
    return state


def _grown(shape: Sequence[Size]) -> list[int]:
    """Axes whose length depends on the number of rows."""
    return [axis for axis, length in enumerate(shape) if len(length) > 1]


def _count(lengths: Iterable[Size]) -> int:
    """Product of lengths that do not depend on the rows."""
    return math.prod(evaluate(length, 1) for length in lengths)


def _same(states: Iterable[State]) -> State:
    """The one state that values have which are put together, `FIXED` ones apart."""
    found = {state for state in states if state != FIXED}
    if len(found) > 1:
        raise Mixed("values are put together whose rows do not stand in the same places, or with the number of rows")
    return found.pop() if found else FIXED


def _aligned(step: Step, positions: Iterable[int], rank: int) -> State:
    """As `_same`, of values that are aligned at their last axes."""
    states: list[State] = []
    for position in positions:
        state = step.state(position)
        if isinstance(state, Rows):
            state = state._replace(axis=state.axis + rank - len(step.call.shape(position)))
        states.append(state)
    return _same(states)


def _apart(shape: Sequence[Size], touched: Iterable[int]) -> None:
    """Refuse where an axis that is computed along depends on the rows."""
    if set(touched) & set(_grown(shape)):
        raise Mixed("it computes along the axis of the rows")


# --- rules --------------------------------------------------------------------------------------------------------------


def _elementwise(step: Step) -> State:
    present = [place for place, value in enumerate(step.call.inputs) if value is not None]
    return _aligned(step, present, len(step.results[0].shape))


def _first(step: Step) -> State:
    """CastLike: only the type of the second value counts; Expand: only its numbers, which the shapes have."""
    return _aligned(step, [0], len(step.results[0].shape))


def _along(axes: Callable[[Step, int], Iterable[int]]) -> Rule:
    """What computes along some axes, and leaves the shape; all but the first input belong to the operator."""

    def rule(step: Step) -> State:
        shape = step.call.shape()
        step.others_are_fixed(0)
        _apart(shape, axes(step, len(shape)))
        return step.state(0)

    return rule


def _one_axis(default: int) -> Callable[[Step, int], Iterable[int]]:
    return lambda step, rank: [step.axis(rank, default)]


def _named_axes(step: Step, rank: int) -> Iterable[int]:
    axes = step.call.integers("axes")
    return [axis % max(1, rank) for axis in ([0, 2, 3] if axes is None else axes)]


def _cumulated_axis(step: Step, rank: int) -> Iterable[int]:
    return [axis % rank for axis in step.call.fixed(1)]


def _removed(step: Step, axes: Sequence[int], *, kept: bool) -> State:
    """The state without the axes that were computed along."""
    state, shape = step.state(0), step.call.shape()
    step.others_are_fixed(0)
    _apart(shape, axes)
    if not isinstance(state, Rows) or kept:
        return state
    return state._replace(axis=state.axis - len([axis for axis in axes if axis < state.axis]))


def _reduction(step: Step) -> State:
    rank = len(step.call.shape())
    named = step.call.optional(1) is not None
    axes = {axis % rank for axis in step.call.fixed(1)} if named else set(range(rank))
    return _removed(step, sorted(axes), kept=bool(step.call.integer("keepdims", 1)))


def _arg_reduction(step: Step) -> State:
    axis = step.axis(len(step.call.shape()), 0)
    return _removed(step, [axis], kept=bool(step.call.integer("keepdims", 1)))


def _reshape(step: Step) -> State:
    """Reshape, Flatten, Squeeze, Unsqueeze: the same items in the same order under other axes."""
    state, old, new = step.state(0), step.call.shape(), step.results[0].shape
    grown = _grown(old)
    if state == COUNT or not grown:
        return state
    if not isinstance(state, Rows):
        if len(grown) > 1 or old[grown[0]] != (0, old[grown[0]][1]):
            raise Mixed("more than one axis depends on the rows")
        state = Rows(grown[0], 1, old[grown[0]][1])
    before = _count(old[: state.axis]) * state.before
    after = _count(old[state.axis + 1 :]) * state.after
    # As many items as before, which is a number per row: exactly one axis depends on the rows.
    (place,) = _grown(new)
    outer, inner = _count(new[:place]), _count(new[place + 1 :])
    if before % outer or after % inner:
        raise Mixed("rows are torn apart")
    found = Rows(place, before // outer, after // inner)
    return FIXED if step.state(0) == FIXED and found.before * found.after == 1 else found


def _transpose(step: Step) -> State:
    state, rank = step.state(0), len(step.call.shape())
    order = step.call.integers("perm") or list(range(rank))[::-1]
    return state._replace(axis=order.index(state.axis)) if isinstance(state, Rows) else state


def _cut(step: Step) -> State:
    """Slice, Split, Pad: an axis that depends on the rows must stay whole."""
    step.others_are_fixed(0)
    shape = step.call.shape()
    _apart(shape, [axis for value in step.results for axis, length in enumerate(value.shape) if length != shape[axis]])
    return step.state(0)


def _concat(step: Step) -> State:
    shape = step.results[0].shape
    _apart(shape, [step.axis(len(shape), 0)])
    return _same(step.state(position) for position in range(len(step.states)))


def _gather(step: Step) -> State:
    data, places = step.state(0), step.state(1)
    shape, chosen = step.call.shape(0), step.call.shape(1)
    axis = step.axis(len(shape), 0)
    _apart(shape, [axis])
    if isinstance(places, Rows):
        if data != FIXED or _grown(shape):
            raise Mixed("a row chooses among rows")
        return places._replace(axis=axis + places.axis)
    if places != FIXED:
        raise Mixed("the number of rows chooses")
    if isinstance(data, Rows) and data.axis > axis:
        return data._replace(axis=data.axis + len(chosen) - 1)
    return data


def _gather_elements(step: Step) -> State:
    data, places = step.state(0), step.state(1)
    shape = step.call.shape(0)
    axis = step.axis(len(shape), 0)
    _apart(shape, [axis])
    if isinstance(places, Rows) and places.axis != axis and places.axis not in _grown(shape):
        raise Mixed("the place of a row chooses")
    return _same([data, places])


def _gather_nd(step: Step) -> State:
    data, places = step.state(0), step.state(1)
    shape, chosen = step.call.shape(0), step.call.shape(1)
    depth = evaluate(chosen[-1], 1)
    _apart(shape, range(depth))
    if isinstance(places, Rows):
        if data != FIXED or _grown(shape):
            raise Mixed("a row chooses among rows")
        return places
    if places != FIXED:
        raise Mixed("the number of rows chooses")
    return data._replace(axis=data.axis - depth + len(chosen) - 1) if isinstance(data, Rows) else data


def _scatter_elements(step: Step) -> State:
    shapes = [step.call.shape(position) for position in range(3)]
    _apart(shapes[0], [step.axis(len(shapes[0]), 0)])
    if any(shape[axis] != shapes[0][axis] for shape in shapes for axis in _grown(shapes[0])):
        raise Mixed("some rows are written to")
    return _same(step.state(position) for position in range(3))


def _scatter_nd(step: Step) -> State:
    step.others_are_fixed()
    _apart(step.call.shape(), range(len(step.call.shape())))
    return FIXED


def _tile(step: Step) -> State:
    state, old, new = step.state(0), step.call.shape(), step.results[0].shape
    repeated = [axis for axis, length in enumerate(new) if length != old[axis]]
    if state != FIXED:
        _apart(old, repeated)
        return state
    # What had one item along an axis is the same everywhere along it; longer parts stand there once per row.
    longer = [axis for axis in repeated if axis in _grown(new) and axis not in _grown(old) and old[axis] != (1,)]
    if not longer:
        return FIXED
    return Rows(longer[0], 1, new[longer[0]][1])


def _matmul(step: Step) -> State:
    _apart(step.call.shape(0), [len(step.call.shape(0)) - 1])
    _apart(step.call.shape(1), [len(step.call.shape(1)) - 2])
    return _aligned(step, [0, 1], len(step.results[0].shape))


def _gemm(step: Step) -> State:
    states: list[State] = []
    for position, name, contracted in ((0, "transA", 1), (1, "transB", 0)):
        state, turned = step.state(position), bool(step.call.integer(name, 0))
        _apart(step.call.shape(position), [1 - contracted if turned else contracted])
        states.append(state._replace(axis=1 - state.axis) if turned and isinstance(state, Rows) else state)
    return _same([*states, _aligned(step, [2] if step.call.optional(2) is not None else [], 2)])


def _einsum(step: Step) -> State:
    left, _, right = str(step.call.node.attributes["equation"]).replace(" ", "").partition("->")
    states: list[State] = []
    for position, term in enumerate(left.split(",")):
        state = step.state(position)
        grown = {term[axis] for axis in _grown(step.call.shape(position))}
        if grown - set(right):
            raise Mixed("it computes along the axis of the rows")
        if isinstance(state, Rows):
            if term.count(term[state.axis]) > 1:
                raise Mixed("rows meet each other")
            state = state._replace(axis=right.index(term[state.axis]))
        states.append(state)
    return _same(states)


def _convolution(step: Step) -> State:
    """Conv, pooling: every item of the first axis alone."""
    step.others_are_fixed(0)
    _apart(step.call.shape(), range(1, len(step.call.shape())))
    for position in range(1, len(step.states)):
        if step.call.optional(position) is not None and _grown(step.call.shape(position)):
            raise Mixed("weights depend on the rows")
    return step.state(0)


def _recurrent(step: Step) -> list[State]:
    """[steps, batch, inputs] and first states [directions, batch, hidden]; what comes out has the batch at 2, 1 and 1."""
    step.others_are_fixed(0, 5, 6)
    states = [step.state(position) for position in (0, 5, 6)]
    if any(isinstance(state, Rows) and state.axis != 1 for state in states) or 0 in _grown(step.call.shape()):
        raise Mixed("rows follow each other as steps in time")
    state = _same(states)
    return [state._replace(axis=2) if isinstance(state, Rows) else state, state, state]


def _one_hot(step: Step) -> State:
    step.others_are_fixed(0)
    state, axis = step.state(0), step.axis(len(step.call.shape()) + 1, -1)
    return state._replace(axis=state.axis + (axis <= state.axis)) if isinstance(state, Rows) else state


def _shape(step: Step) -> State:
    return COUNT if _grown(step.call.shape()) else FIXED


def _from_shape(step: Step) -> State:
    return FIXED


def _positions(step: Step) -> State:
    """Range, EyeLike: numbers that differ from place to place."""
    if any(state == COUNT for state in step.states) or _grown(step.results[0].shape):
        raise Mixed("rows get their own place as a number")
    return FIXED


def _trees(step: Step) -> State:
    _apart(step.call.shape(), [1])
    return step.state(0)


_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *("Abs", "Acos", "Add", "And", "Asin", "Atan", "Cast", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div"),
                *("Elu", "Equal", "Erf", "Exp", "Floor", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish"),
                *(
                    "Identity",
                    "IsInf",
                    "IsNaN",
                    "LeakyRelu",
                    "Less",
                    "LessOrEqual",
                    "Log",
                    "Max",
                    "Mean",
                    "Min",
                    "Mish",
                ),
                *("Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid"),
                *("Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tan", "Tanh"),
                *("ThresholdedRelu", "Where", "Xor"),
            ),
            _elementwise,
        ),
        **dict.fromkeys(("CastLike", "Expand"), _first),
        **dict.fromkeys(("Softmax", "LogSoftmax", "TopK"), _along(_one_axis(-1))),
        "CumSum": _along(_cumulated_axis),
        "LayerNormalization": _along(lambda step, rank: range(step.axis(rank, -1), rank)),
        "BatchNormalization": _along(lambda step, rank: [1]),
        **dict.fromkeys(("InstanceNormalization", "GroupNormalization"), _along(lambda step, rank: range(1, rank))),
        "MeanVarianceNormalization": _along(_named_axes),
        "Trilu": _along(lambda step, rank: [rank - 2, rank - 1]),
        **dict.fromkeys(
            (
                *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
                *("ReduceProd", "ReduceSum", "ReduceSumSquare"),
            ),
            _reduction,
        ),
        **dict.fromkeys(("ArgMax", "ArgMin"), _arg_reduction),
        **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
        "Transpose": _transpose,
        **dict.fromkeys(("Slice", "Split", "Pad"), _cut),
        "Concat": _concat,
        "Gather": _gather,
        "GatherElements": _gather_elements,
        "GatherND": _gather_nd,
        "ScatterElements": _scatter_elements,
        "ScatterND": _scatter_nd,
        "Tile": _tile,
        "MatMul": _matmul,
        "Gemm": _gemm,
        "Einsum": _einsum,
        **dict.fromkeys(("Conv", "AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool"), _convolution),
        "OneHot": _one_hot,
        **dict.fromkeys(("Shape", "Size"), _shape),
        "ConstantOfShape": _from_shape,
        **dict.fromkeys(("Range", "EyeLike"), _positions),
        "TreeEnsemble": _trees,
    }
)
OPERATORS_WITH_RULES = frozenset(_RULES) | _RECURRENT
