"""Whether a graph keeps its rows apart: that a row's result depends on that row alone, and not on how many there are.

Every value is one of three: `FIXED` (the same for every row and every number of rows), `COUNT` (numbers that depend on how
many rows there are: only for shapes) or `Rows` (one axis runs over the rows, and what stands at a row was computed from
that row).  An operator that cannot be shown to keep this is refused; the rules follow `shapes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
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


Rule = Callable[[Step], Union[State, list[State]]]
"""The state of all results, or of each."""


def follow(rule: Rule, step: Step) -> list[State]:
    """The states of a node's results; Mixed where they mix rows."""
    try:
        found = rule(step)
    except (IndexError, ZeroDivisionError):
        # Inputs of ranks that do not go together: onnxruntime refuses them, and here nothing can be shown of them.
        raise Mixed("its inputs have ranks that do not fit each other") from None
    states = found if isinstance(found, list) else [found] * len(step.results)
    return [_settled(state, value) for state, value in zip(states, step.results, strict=False)]


def _settled(state: State, value: Value) -> State:
    # A number that is the same for any number of rows: the length of another axis.
    if state == COUNT and value.elements is not None and all(len(element) == 1 for element in value.elements):
        return FIXED
    # Exactly one axis runs over the rows, and is as long as their items: else the rule above erred.
    if isinstance(state, Rows) and (
        grown(value.shape) != [state.axis] or value.shape[state.axis] != (0, state.before * state.after)
    ):
        raise Mixed("another axis than that of the rows depends on them")
    return state


def grown(shape: Sequence[Size]) -> list[int]:
    """Axes whose length depends on the number of rows."""
    return [axis for axis, length in enumerate(shape) if len(length) > 1]


def _count(lengths: Iterable[Size]) -> int:
    """Product of lengths that do not depend on the rows."""
    return math.prod(evaluate(length, 1) for length in lengths)


def same(states: Iterable[State]) -> State:
    """The one state that values have which are put together, `FIXED` ones apart."""
    found = {state for state in states if state != FIXED}
    # Put together, an item meets that of its own row only where both run along one axis in one order.
    if len(found) > 1:
        raise Mixed("values are put together whose rows do not stand in the same places, or with the number of rows")
    return found.pop() if found else FIXED


def aligned(step: Step, positions: Iterable[int], rank: int) -> State:
    """As `same`, of values that are aligned at their last axes."""
    states: list[State] = []
    for position in positions:
        state = step.state(position)
        # Values of lower rank get axes in front.
        if isinstance(state, Rows):
            state = state._replace(axis=state.axis + rank - len(step.call.shape(position)))
        states.append(state)
    return same(states)


def apart(shape: Sequence[Size], touched: Iterable[int]) -> None:
    """Refuse where an axis that is computed along depends on the rows."""
    # 12.4: along the rows nothing is reduced, normalised, sorted, cut, chosen or joined.
    if set(touched) & set(grown(shape)):
        raise Mixed("it computes along the axis of the rows")


# --- rules --------------------------------------------------------------------------------------------------------------


def each(step: Step) -> State:
    # A bound of Clip may be left out, and the next be there.
    present = [place for place, value in enumerate(step.call.inputs) if value is not None]
    return aligned(step, present, len(step.results[0].shape))


def first(step: Step) -> State:
    """CastLike: only the type of the second value counts; Expand: only its numbers, which the shapes have."""
    return aligned(step, [0], len(step.results[0].shape))


def along(axes: Callable[[Step, int], Iterable[int]]) -> Rule:
    """What computes along some axes, and leaves the shape; all but the first input belong to the operator."""

    def rule(step: Step) -> State:
        shape = step.call.shape()
        # Scales and diagonals belong to the model, not to a row.
        step.others_are_fixed(0)
        apart(shape, axes(step, len(shape)))
        return step.state(0)

    return rule


def one_axis(default: int) -> Callable[[Step, int], Iterable[int]]:
    return lambda step, rank: [step.axis(rank, default)]


def cumulated_axis(step: Step, rank: int) -> Iterable[int]:
    return [axis % rank for axis in step.call.fixed(1)]


def _removed(step: Step, axes: Sequence[int], *, kept: bool) -> State:
    """The state without the axes that were computed along."""
    state, shape = step.state(0), step.call.shape()
    step.others_are_fixed(0)
    apart(shape, axes)
    # Kept axes are of length one, and the others stay where they are.
    if not isinstance(state, Rows) or kept:
        return state
    return state._replace(axis=state.axis - len([axis for axis in axes if axis < state.axis]))


def reduction(step: Step) -> State:
    rank = len(step.call.shape())
    # Without axes all are computed along, that of the rows among them.
    named = step.call.optional(1) is not None
    axes = {axis % rank for axis in step.call.fixed(1)} if named else set(range(rank))
    return _removed(step, sorted(axes), kept=bool(step.call.integer("keepdims", 1)))


def arg_reduction(step: Step) -> State:
    axis = step.axis(len(step.call.shape()), 0)
    return _removed(step, [axis], kept=bool(step.call.integer("keepdims", 1)))


def reshape(step: Step) -> State:
    """Reshape, Flatten, Squeeze, Unsqueeze: the same items in the same order under other axes."""
    state, old, new = step.state(0), step.call.shape(), step.results[0].shape
    growing = grown(old)
    # What says a shape, and what no row has a part in, may take any shape.
    if state == COUNT or not growing:
        return state
    if not isinstance(state, Rows):
        # Two axes of rows in one new axis: items of all pairs, in an order of their own.
        if len(growing) > 1 or old[growing[0]] != (0, old[growing[0]][1]):
            raise Mixed("more than one axis depends on the rows")
        state = Rows(growing[0], 1, old[growing[0]][1])
    before = _count(old[: state.axis]) * state.before
    after = _count(old[state.axis + 1 :]) * state.after
    # As many items as before, which is a number per row: exactly one axis depends on the rows.
    (place,) = grown(new)
    outer, inner = _count(new[:place]), _count(new[place + 1 :])
    # New axes may cut between the items of rows, never through them.
    if before % outer or after % inner:
        raise Mixed("rows are torn apart")
    found = Rows(place, before // outer, after // inner)
    return FIXED if step.state(0) == FIXED and found.before * found.after == 1 else found


def transpose(step: Step) -> State:
    state, rank = step.state(0), len(step.call.shape())
    order = step.call.integers("perm") or list(range(rank))[::-1]
    return state._replace(axis=order.index(state.axis)) if isinstance(state, Rows) else state


def cut(step: Step) -> State:
    """Slice, Split, Pad: an axis that depends on the rows must stay whole."""
    step.others_are_fixed(0)
    shape = step.call.shape()
    # A part of the rows would be chosen by where they stand.
    apart(shape, [axis for value in step.results for axis, length in enumerate(value.shape) if length != shape[axis]])
    return step.state(0)


def concat(step: Step) -> State:
    shape = step.results[0].shape
    # Joined along the rows the second part is behind the first, at places of its own.
    apart(shape, [step.axis(len(shape), 0)])
    return same(step.state(position) for position in range(len(step.states)))


def gather(step: Step) -> State:
    data, places = step.state(0), step.state(1)
    shape, chosen = step.call.shape(0), step.call.shape(1)
    axis = step.axis(len(shape), 0)
    apart(shape, [axis])
    if isinstance(places, Rows):
        # A row may look up a table of the model, but not another row.
        if data != FIXED or grown(shape):
            raise Mixed("a row chooses among rows")
        return places._replace(axis=axis + places.axis)
    # What is chosen would depend on how many rows there are.
    if places != FIXED:
        raise Mixed("the number of rows chooses")
    if isinstance(data, Rows) and data.axis > axis:
        return data._replace(axis=data.axis + len(chosen) - 1)
    return data


def gather_elements(step: Step) -> State:
    data, places = step.state(0), step.state(1)
    shape = step.call.shape(0)
    axis = step.axis(len(shape), 0)
    apart(shape, [axis])
    # Row i would read the table's part i: its place decides.
    if isinstance(places, Rows) and places.axis != axis and places.axis not in grown(shape):
        raise Mixed("the place of a row chooses")
    return same([data, places])


def matmul(step: Step) -> State:
    # The product sums over the last axis of the left, and the last but one of the right.
    apart(step.call.shape(0), [len(step.call.shape(0)) - 1])
    apart(step.call.shape(1), [len(step.call.shape(1)) - 2])
    return aligned(step, [0, 1], len(step.results[0].shape))


def number_of_rows(step: Step) -> State:
    return COUNT if grown(step.call.shape()) else FIXED


def trees(step: Step) -> State:
    # A tree looks at the columns of one row.
    apart(step.call.shape(), [1])
    return step.state(0)
