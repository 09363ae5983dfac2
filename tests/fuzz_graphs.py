"""Graphs that hardly fit: nodes of every operator on values of every type and shape, with attributes and numbers at the
ends of what there is, and with damage.  Each is one byte string that depends on a seed and a number only.

What the gate lets pass of them is loaded and run by onnxruntime (`onnx_child`): that must go well or be refused in words.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from alphaseal.gate.onnx.attributes import Among, Attributes, Axis, Between, Constant, Ids, Number, Numbers, Text, Texts
from alphaseal.gate.onnx.operators import IR_VERSION, OPSETS, every_operator
from fuzz_mutations import INTEGERS

FEATURES = 4
ROWS = "rows"
Shape = tuple[Any, ...]
Array = NDArray[Any]
_FLOATS = ("float32", "float64")
_WHOLE = ("int32", "int64")
_NUMBERS = (*_FLOATS, *_WHOLE, "uint8")
_ALL = (*_NUMBERS, "bool")
_ELEMENTS = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9, "float64": 11}
_EQUATIONS = {
    1: ["ij->ji", "ij->i", "ij->", "ij->ij", "ijk->ik", "ii->i", "i->i"],
    2: ["ij,jk->ik", "ij,ij->i", "i,j->ij", "bij,bjk->bik", "ij,kj->ik", "ij,j->i", ",ij->ij", "ij,kl->ijkl"],
    3: ["ij,jk,kl->il", "i,j,k->ijk", "ij,jk,ik->i"],
}


class Maker:
    """One graph in the making: names of values with their types and shapes, nodes, constants."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.values: dict[str, tuple[str, Shape]] = {"features": ("float64", (ROWS, FEATURES))}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        self.values[name] = (str(array.dtype), array.shape)
        return name

    def numbers(self, kind: str, shape: Sequence[int]) -> Array:
        """Small numbers, and now and then one of the ends of the type."""
        chance, count = self.chance, int(np.prod(shape, dtype=np.int64))
        if kind in _FLOATS:
            some = [0.0, 1.0, -1.0, 0.5, 3.0, 1e-3, 1e30, -1e30, float(np.finfo(kind).max), float(np.finfo(kind).tiny)]
            return np.array([chance.choice(some) for _ in range(count)], kind).reshape(shape)
        if kind == "bool":
            return np.array([chance.random() < 0.5 for _ in range(count)], kind).reshape(shape)
        ends = np.iinfo(kind)
        some_integers = [0, 1, 2, 3, 4, 5, 7, 1, 2, 3, -1, -2, int(ends.min), int(ends.max), int(ends.min) + 1]
        chosen = [chance.choice(some_integers) for _ in range(count)]
        return np.array([min(max(number, int(ends.min)), int(ends.max)) for number in chosen], kind).reshape(shape)

    def shape(self, ranks: Sequence[int] = (0, 1, 2, 2, 3, 4)) -> tuple[int, ...]:
        lengths = [1, 1, 2, 3, 4, 4, 5] if self.chance.random() < 0.97 else [0, 1, 17]
        return tuple(self.chance.choice(lengths) for _ in range(self.chance.choice(ranks)))

    def any(self, kinds: Sequence[str] = _ALL, ranks: Sequence[int] = (0, 1, 2, 2, 3, 4)) -> str:
        """A value of one of these types and ranks: one that is there, or a new constant."""
        found = [name for name, (kind, shape) in self.values.items() if kind in kinds and len(shape) in ranks]
        if found and self.chance.random() < 0.7:
            return self.chance.choice(found)
        return self.constant(self.numbers(self.chance.choice(kinds), self.shape(ranks)))

    def like(self, name: str, shape: Sequence[int] | None = None) -> str:
        """A value of the type of another that goes together with it: itself, a constant, or one that is there."""
        kind, own = self.values[name]
        if shape is None:
            same = [other for other, (its, _) in self.values.items() if its == kind]
            if self.chance.random() < 0.4:
                return self.chance.choice(same)
            fixed = [1 if length == ROWS or self.chance.random() < 0.3 else length for length in own]
            shape = fixed[self.chance.randint(0, len(fixed)) :]
        return self.constant(self.numbers(kind, shape))

    def whole(self, *numbers: int, scalar: bool = False) -> str:
        """Integers as a constant, now and then other ones."""
        chosen = [self.chance.choice(INTEGERS) if self.chance.random() < 0.03 else number for number in numbers]
        array = np.array([min(max(number, -(1 << 63)), (1 << 63) - 1) for number in chosen], np.int64)
        return self.constant(array[0] if scalar else array)

    def cast(self, name: str, kind: str) -> str:
        return self.add("Cast", [name], [(kind, self.values[name][1])], to=_ELEMENTS[kind])

    def add(self, operator: str, inputs: Sequence[str], outputs: Sequence[tuple[str, Shape]], **attributes: Any) -> str:
        names = [f"v{len(self.nodes)}_{place}" for place in range(len(outputs))]
        domain = "ai.onnx.ml" if operator == "TreeEnsemble" else ""
        self.nodes.append(helper.make_node(operator, list(inputs), names, domain=domain, **attributes))
        self.values.update(zip(names, outputs, strict=True))
        return names[0]

    def axis(self, name: str, more: int = 0) -> int:
        rank = len(self.values[name][1]) + more
        return (
            self.chance.randrange(-rank, rank)
            if rank and self.chance.random() < 0.95
            else self.chance.choice([rank, -9])
        )

    def places(self, count: Sequence[int], length: Any) -> str:
        top = length if isinstance(length, int) and length else 2
        numbers = [self.chance.randrange(-top, top) for _ in range(int(np.prod(count, dtype=np.int64)))]
        kind = self.chance.choice(_WHOLE)
        if numbers and self.chance.random() < 0.1:
            numbers[0] = self.chance.choice([top, -top - 1, (1 << 31) - 1, -(1 << 31)])
        return self.constant(np.array(numbers, kind).reshape(count))

    def model(self) -> bytes:
        score = self.add("Gather", ["features", self.constant(np.array([0]))], [("float64", (ROWS, 1))], axis=1)
        self.nodes.append(helper.make_node("Identity", [score], ["score"]))
        graph = helper.make_graph(
            self.nodes,
            "scoring",
            [helper.make_tensor_value_info("features", TensorProto.DOUBLE, [ROWS, FEATURES])],
            [helper.make_tensor_value_info("score", TensorProto.DOUBLE, [ROWS, 1])],
            self.constants,
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets)
        return bytes(model.SerializeToString(deterministic=True))


def attributes_of(known: Attributes, chance: random.Random, axis: Callable[[int], int]) -> dict[str, Any]:
    """Some attributes of a table, most within their rule and some at its ends or beyond."""
    found = {name: _value(rule, chance, axis) for name, rule in known.items() if rule.required or chance.random() < 0.4}
    return {name: value for name, value in found.items() if value is not None}


def _value(rule: Any, chance: random.Random, axis: Callable[[int], int]) -> Any:
    odd = chance.random() < 0.04
    match rule:
        case Among(values):
            return (
                chance.choice(INTEGERS)
                if odd and isinstance(next(iter(values)), int)
                else chance.choice(sorted(values))
            )
        case Between(least, most):
            near = [least, least + 1, least + 2, 0, 1, 2, most]
            return _clipped(chance.choice(INTEGERS) if odd else chance.choice(near))
        case Axis(more):
            return axis(more)
        case Number(least, most):
            return chance.choice(
                [0.0, 1.0, 0.5, 1e-5, max(least, -1.0), min(most, 1e30), *([-0.5, 2.0] if odd else [])]
            )
        case Numbers(least, most):
            near = [least, least + 1, 1, 2, min(most, 3)]
            count = chance.choice([1, 2, 2, 4])
            return [_clipped(chance.choice(INTEGERS) if odd else chance.choice(near)) for _ in range(count)]
        case Texts(values):
            return [chance.choice(sorted(values)) for _ in range(chance.choice([1, 1, 2]))]
        case Text() | Constant() | Ids():
            return None
    raise AssertionError(rule)


def _clipped(number: int) -> int:
    return min(max(number, -(1 << 63)), (1 << 63) - 1)


# --- recipes: inputs that nearly fit, and what comes out --------------------------------------------------------------

Recipe = Callable[[Maker, str, dict[str, Any]], None]


def _unary(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    logical = operator == "Not"
    kinds = ("bool",) if logical else _FLOATS if maker.chance.random() < 0.75 else _ALL
    name = maker.any(kinds)
    kind, shape = maker.values[name]
    if operator in ("IsNaN", "IsInf"):
        kind = "bool"
    maker.add(operator, [name], [(kind, shape)], **given)


def _binary(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    logical = operator in ("And", "Or", "Xor")
    name = maker.any(("bool",) if logical else _WHOLE if operator == "Mod" else _NUMBERS)
    other = maker.like(name)
    if operator == "Pow" and maker.chance.random() < 0.5:
        other = maker.any(_NUMBERS, (0, 1))
    kind, shape = maker.values[name]
    if logical or operator in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
        kind = "bool"
    maker.add(operator, [name, other], [(kind, _broadcast(shape, maker.values[other][1]))], **given)


def _broadcast(left: Shape, right: Shape) -> Shape:
    rank = max(len(left), len(right))
    pairs = zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right, strict=True)
    return tuple(other if length == 1 else length for length, other in pairs)


def _several(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_NUMBERS if operator in ("Max", "Min") else _FLOATS)
    others = [maker.like(name) for _ in range(maker.chance.randrange(3))]
    shape = maker.values[name][1]
    for other in others:
        shape = _broadcast(shape, maker.values[other][1])
    maker.add(operator, [name, *others], [(maker.values[name][0], shape)], **given)


def _where(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any()
    kind, shape = maker.values[name]
    condition = maker.any(("bool",)) if maker.chance.random() < 0.6 else maker.cast(name, "bool")
    other = maker.like(name)
    maker.add(operator, [condition, name, other], [(kind, _broadcast(shape, maker.values[other][1]))], **given)


def _cast(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any()
    kind = maker.chance.choice(_ALL)
    if operator == "CastLike":
        maker.add(operator, [name, maker.any((kind,))], [(kind, maker.values[name][1])])
    else:
        maker.cast(name, kind)


def _reduction(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_FLOATS if maker.chance.random() < 0.7 else _NUMBERS, (1, 2, 3, 4))
    kind, shape = maker.values[name]
    axes = sorted({maker.axis(name) for _ in range(maker.chance.randint(0, len(shape)))})
    kept = given.get("keepdims", 1)
    gone = {axis % len(shape) for axis in axes if -len(shape) <= axis < len(shape)} or set(range(len(shape)))
    left = tuple(1 if axis in gone else length for axis, length in enumerate(shape) if kept or axis not in gone)
    maker.add(operator, [name, *([maker.whole(*axes)] if axes else [])], [(kind, left)], **given)


def _best(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_NUMBERS, (1, 2, 3))
    shape, axis = list(maker.values[name][1]), given.get("axis", 0)
    if -len(shape) <= axis < len(shape):
        shape[axis % len(shape)] = 1
    maker.add(operator, [name], [("int64", tuple(shape))], **given)


def _top(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_NUMBERS, (1, 2, 3))
    kind, shape = maker.values[name]
    axis = given.setdefault("axis", len(shape) - 1)
    length = shape[axis % len(shape)]
    count = maker.chance.randint(1, length) if isinstance(length, int) and length else 1
    shape = tuple(count if place == axis % len(shape) else one for place, one in enumerate(shape))
    maker.add(operator, [name, maker.whole(count)], [(kind, shape), ("int64", shape)], **given)


def _concat(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_ALL, (1, 2, 3))
    kind, shape = maker.values[name]
    axis = given.setdefault("axis", len(shape) - 1)
    longer = tuple(
        2 * length if place == axis % len(shape) and isinstance(length, int) else length
        for place, length in enumerate(shape)
    )
    maker.add(operator, [name, name], [(kind, longer)], **given)


def _gather(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_ALL, (1, 2, 3))
    kind, shape = maker.values[name]
    axis = given.get("axis", 0)
    place = axis % len(shape)
    if operator == "Gather":
        chosen = maker.shape((0, 1, 2))
        result: Shape = (*shape[:place], *chosen, *shape[place + 1 :])
    elif operator == "GatherND":
        depth = maker.chance.randint(1, len(shape))
        chosen = (*maker.shape((0, 1)), depth)
        result = (*chosen[:-1], *shape[depth:])
    else:
        chosen = tuple(2 if one == place else 1 if length == ROWS else length for one, length in enumerate(shape))
        result = chosen
    places = maker.places(chosen, 2 if operator == "GatherND" else shape[place])
    maker.add(operator, [name, places], [(kind, result)], **given)


def _scatter(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.constant(maker.numbers(maker.chance.choice(_NUMBERS), maker.shape((1, 2, 3))))
    kind, shape = maker.values[name]
    place = given.get("axis", 0) % len(shape)
    if operator == "ScatterND":
        depth = maker.chance.randint(1, len(shape))
        chosen: Shape = (*maker.shape((0, 1)), depth)
        new: Shape = (*chosen[:-1], *shape[depth:])
        places = maker.constant(np.asarray(maker.numbers("int64", chosen)).clip(-2, 1))
    else:
        chosen = new = tuple(2 if one == place else length for one, length in enumerate(shape))
        places = maker.places(chosen, shape[place])
    maker.add(operator, [name, places, maker.constant(maker.numbers(kind, new))], [(kind, shape)], **given)


def _reshape(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_ALL, (1, 2, 3, 4))
    kind, shape = maker.values[name]
    wanted = maker.chance.choice(
        [[-1], [0, -1], [-1, 1], [1, -1], [2, -1], [0, 2, 2], [-1, 2], list(maker.shape((1, 2)))]
    )
    fixed = tuple(ROWS if ROWS in shape and number == -1 else max(number, 1) for number in wanted)
    maker.add(operator, [name, maker.whole(*wanted)], [(kind, fixed)], **given)


def _axes(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_ALL, (1, 2, 3))
    kind, shape = maker.values[name]
    if operator == "Unsqueeze":
        axis = maker.axis(name, 1)
        place = axis % (len(shape) + 1)
        maker.add(operator, [name, maker.whole(axis)], [(kind, (*shape[:place], 1, *shape[place:]))])
        return
    ones = [axis for axis, length in enumerate(shape) if length == 1] or [0]
    axis = maker.chance.choice(ones)
    maker.add(operator, [name, maker.whole(axis)], [(kind, (*shape[:axis], *shape[axis + 1 :]))])


def _flatten(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_ALL, (1, 2, 3))
    maker.add(operator, [name], [(maker.values[name][0], (ROWS, FEATURES))], **given)


def _transpose(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_ALL, (1, 2, 3, 4))
    kind, shape = maker.values[name]
    order = maker.chance.sample(range(len(shape)), len(shape))
    given = {"perm": order} if maker.chance.random() < 0.9 else given
    maker.add(operator, [name], [(kind, tuple(shape[axis] for axis in order))], **given)


def _slice(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_ALL, (1, 2, 3))
    kind, shape = maker.values[name]
    axis = maker.chance.randrange(len(shape))
    start, end = maker.chance.choice([(0, 1), (-1, 1 << 62), (0, 2), (1, (1 << 63) - 1), (0, -1), (-(1 << 63), 1)])
    inputs = [name, maker.whole(start), maker.whole(end), maker.whole(axis)]
    steps = [maker.whole(1)] if maker.chance.random() < 0.4 else []
    cut = tuple(1 if place == axis else length for place, length in enumerate(shape))
    maker.add(operator, [*inputs, *steps], [(kind, cut)])


def _split(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_ALL, (1, 2, 3))
    kind, shape = maker.values[name]
    axis = given.setdefault("axis", len(shape) - 1) % len(shape)
    parts = maker.chance.choice([1, 2, 2, 4])
    given = {"axis": axis, **({"num_outputs": parts} if maker.chance.random() < 0.9 else given)}
    part = tuple(
        max(1, length // parts) if place == axis and isinstance(length, int) else length
        for place, length in enumerate(shape)
    )
    maker.add(operator, [name], [(kind, part)] * parts, **given)


def _expand(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_ALL, (0, 1, 2, 3))
    kind, shape = maker.values[name]
    if operator == "Tile":
        repeats = [maker.chance.choice([1, 1, 2, 3]) for _ in shape]
        longer = tuple(
            length * count if isinstance(length, int) else length for length, count in zip(shape, repeats, strict=True)
        )
        maker.add(operator, [name, maker.whole(*repeats)], [(kind, longer)])
        return
    wanted = [maker.chance.choice([1, 3]) if length in (1, ROWS) else length for length in (1, *shape)]
    wanted = [1 if length == ROWS else number for number, length in zip(wanted, (1, *shape), strict=True)]
    maker.add(operator, [name, maker.whole(*wanted)], [(kind, _broadcast((1, *shape), tuple(wanted)))])


def _pad(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_NUMBERS, (1, 2, 3))
    kind, shape = maker.values[name]
    pads = [0 if length == ROWS else maker.chance.choice([0, 0, 1, 2]) for length in (*shape, *shape)]
    value = [maker.constant(maker.numbers(kind, ()))] if maker.chance.random() < 0.6 else []
    rank = len(shape)
    longer = tuple(
        length + pads[axis] + pads[axis + rank] if isinstance(length, int) else length
        for axis, length in enumerate(shape)
    )
    maker.add(operator, [name, maker.whole(*pads), *value], [(kind, longer)], **given)


def _cumulate(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_NUMBERS, (1, 2, 3))
    maker.add(operator, [name, maker.whole(maker.axis(name), scalar=True)], [maker.values[name]], **given)


def _shape_of(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any()
    rank = len(maker.values[name][1])
    maker.add(operator, [name], [("int64", () if operator == "Size" else (rank,))], **given)


def _fill(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    wanted = maker.shape((0, 1, 2, 3))
    kind = maker.chance.choice(_ALL)
    if maker.chance.random() < 0.8:
        given["value"] = numpy_helper.from_array(maker.numbers(kind, (1,)), "v")
    else:
        kind = "float32"
    maker.add(operator, [maker.whole(*wanted)], [(kind, wanted)], **given)


def _range(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    numbers = [
        maker.whole(maker.chance.choice([0, 0, 1, -2]), scalar=True),
        maker.whole(maker.chance.choice([3, 5]), scalar=True),
    ]
    numbers.append(maker.whole(maker.chance.choice([1, 1, 2]), scalar=True))
    maker.add(operator, numbers, [("int64", (3,))])


def _eye(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_NUMBERS, (2,))
    kind = {number: text for text, number in _ELEMENTS.items()}.get(given.get("dtype", 0), maker.values[name][0])
    maker.add(operator, [name], [(kind, maker.values[name][1])], **given)


def _triangle(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(_NUMBERS, (2, 3))
    diagonal = (
        [maker.whole(maker.chance.choice([0, 1, -1, 5, -(1 << 24)]), scalar=True)]
        if maker.chance.random() < 0.7
        else []
    )
    maker.add(operator, [name, *diagonal], [maker.values[name]], **given)


def _one_hot(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.any(("int64",) if maker.chance.random() < 0.7 else _NUMBERS, (1, 2))
    kind = maker.chance.choice(("float32", "int64") if maker.chance.random() < 0.7 else _NUMBERS)
    depth = maker.whole(maker.chance.choice([1, 3, 5]), scalar=maker.chance.random() < 0.5)
    values = maker.constant(maker.numbers(kind, (2,)))
    maker.add(operator, [name, depth, values], [(kind, (*maker.values[name][1], 3))], **given)


def _matrices(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    kinds = _FLOATS if maker.chance.random() < 0.8 else (*_FLOATS, *_WHOLE)
    name = maker.any(kinds, (2,) if operator == "Gemm" else (2, 2, 3, 4))
    kind, shape = maker.values[name]
    inner = shape[-2] if operator == "Gemm" and given.get("transA") else shape[-1]
    if not isinstance(inner, int):
        given.pop("transA", None)
        inner = shape[-1] if isinstance(shape[-1], int) else 1
    width = maker.chance.choice([1, 1, 2, 5])
    other = (width, inner) if given.get("transB") else (inner, width)
    if operator == "MatMul" and len(shape) > 2 and isinstance(shape[0], int) and maker.chance.random() < 0.5:
        other = (*shape[:-2], *other)
    inputs = [name, maker.constant(maker.numbers(kind, other))]
    if operator == "Gemm" and maker.chance.random() < 0.6:
        inputs.append(maker.constant(maker.numbers(kind, maker.chance.choice([(), (width,), (1, width), (1, 1)]))))
    maker.add(operator, inputs, [(kind, (*shape[:-1], width))], **given)


def _einsum(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    count = maker.chance.choice([1, 2, 2, 3])
    equation = maker.chance.choice(_EQUATIONS[count])
    lengths = {letter: maker.chance.choice([1, 2, 3]) for letter in "bijkl"}
    kind = maker.chance.choice(_FLOATS)
    left, _, right = equation.partition("->")
    shapes = [tuple(lengths[letter] for letter in term) for term in left.split(",")]
    inputs = [maker.constant(maker.numbers(kind, shape)) for shape in shapes]
    if shapes[0] == (FEATURES,) or (equation.startswith("ij") and maker.chance.random() < 0.4):
        lengths["j"] = FEATURES
        inputs = [
            "features"
            if place == 0
            else maker.constant(maker.numbers("float64", tuple(lengths[letter] for letter in term)))
            for place, term in enumerate(left.split(","))
        ]
        kind = "float64"
    maker.add(operator, inputs, [(kind, tuple(lengths[letter] for letter in right))], equation=equation)


def _images(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    axes, kind = maker.chance.choice([1, 1, 2, 3]), "float32" if maker.chance.random() < 0.9 else "float64"
    channels, lengths = maker.chance.choice([1, 2, 4]), [maker.chance.choice([1, 3, 5, 8]) for _ in range(axes)]
    name = maker.constant(maker.numbers(kind, (maker.chance.choice([1, 2]), channels, *lengths)))
    if maker.chance.random() < 0.4:
        # The features as images of one channel.
        name = maker.add("Unsqueeze", [maker.cast("features", kind), maker.whole(1)], [(kind, (ROWS, 1, FEATURES))])
        channels, axes, lengths = 1, 1, [FEATURES]
    kernel = [maker.chance.choice([1, 2, 3]) for _ in range(axes)]
    for key, numbers in (("strides", [1, 2]), ("dilations", [1, 2])):
        if key in given and maker.chance.random() < 0.9:
            given[key] = [maker.chance.choice(numbers) for _ in range(axes)]
    if "pads" in given and maker.chance.random() < 0.9:
        given["pads"] = [maker.chance.choice([0, 0, 1]) for _ in range(2 * axes)]
    if maker.chance.random() < 0.95:
        given["kernel_shape"] = kernel
    shape: Shape = (1, channels, *lengths)
    if operator != "Conv":
        maker.add(operator, [name], [(kind, shape)], **given)
        return
    group = maker.chance.choice([1, 1, channels])
    given["group"] = group if maker.chance.random() < 0.95 else given.get("group", 1)
    filters = group * maker.chance.choice([1, 2])
    inputs = [name, maker.constant(maker.numbers(kind, (filters, max(1, channels // group), *kernel)))]
    if maker.chance.random() < 0.5:
        inputs.append(maker.constant(maker.numbers(kind, (filters,))))
    maker.add(operator, inputs, [(kind, shape)], **given)


def _pool_all(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    name = maker.constant(maker.numbers("float32", (1, *maker.shape((2, 3)))))
    maker.add(operator, [name], [("float32", maker.values[name][1])])


def _normalisation(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    kind = maker.chance.choice(_FLOATS)
    if operator == "MeanVarianceNormalization":
        name = maker.constant(maker.numbers("float32", maker.shape((4,))))
        if maker.chance.random() < 0.6:
            given["axes"] = maker.chance.choice([[0, 2, 3], [0, 1, 2, 3], [2, 3], [1]])
        maker.add(operator, [name], [maker.values[name]], **given)
        return
    name = maker.any((kind,), (2, 3, 4))
    shape = maker.values[name][1]
    count: Sequence[int] = (shape[1],) if isinstance(shape[1], int) else (1,)
    if operator == "GroupNormalization":
        groups = maker.chance.choice([1, 2, count[0]])
        given["num_groups"] = groups if maker.chance.random() < 0.9 else given["num_groups"]
        count = (groups,)
    elif operator == "LayerNormalization":
        axis = given.get("axis", -1)
        count = [length if isinstance(length, int) else 1 for length in shape[axis % len(shape) :]]
    weights = {"BatchNormalization": 4, "LayerNormalization": maker.chance.choice([1, 2])}.get(operator, 2)
    maker.add(
        operator,
        [name, *[maker.constant(maker.numbers(kind, count)) for _ in range(weights)]],
        [(kind, shape)],
        **given,
    )


def _recurrent(maker: Maker, operator: str, given: dict[str, Any]) -> None:
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[operator]
    hidden, inputs = maker.chance.choice([1, 2, 3]), FEATURES
    directions = 2 if given.get("direction") == "bidirectional" else 1
    given["hidden_size"] = hidden if maker.chance.random() < 0.95 else given["hidden_size"]
    steps = maker.chance.choice([1, 3])
    batch: Any = 2
    if maker.chance.random() < 0.5:
        name = maker.add(
            "Unsqueeze", [maker.cast("features", "float32"), maker.whole(0)], [("float32", (1, ROWS, FEATURES))]
        )
        steps, batch = 1, ROWS
    else:
        name = maker.constant(maker.numbers("float32", (steps, 2, inputs)))

    def weights(*shape: int) -> str:
        return maker.constant(maker.numbers("float32", (directions, *shape)))

    given_inputs = [name, weights(gates * hidden, inputs), weights(gates * hidden, hidden)]
    if maker.chance.random() < 0.6:
        given_inputs.append(weights(2 * gates * hidden))
        if maker.chance.random() < 0.5 and batch == 2:
            given_inputs += ["", weights(2, hidden)]
            if operator == "LSTM" and maker.chance.random() < 0.6:
                given_inputs += [weights(2, hidden), *([weights(3 * hidden)] if maker.chance.random() < 0.5 else [])]
    if "activations" in given and maker.chance.random() < 0.8:
        given["activations"] = given["activations"][:1] * directions
    results = [("float32", (steps, directions, batch, hidden)), ("float32", (directions, batch, hidden))]
    maker.add(operator, given_inputs, results[: maker.chance.choice([1, 2])], **given)


_RECIPES: dict[str, Recipe] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Pow", "PRelu", "And", "Or", "Xor"), _binary),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), _binary),
    **dict.fromkeys(("Max", "Min", "Mean", "Sum", "Clip"), _several),
    **dict.fromkeys(("Cast", "CastLike"), _cast),
    **dict.fromkeys(("ArgMax", "ArgMin"), _best),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND"), _gather),
    **dict.fromkeys(("ScatterElements", "ScatterND"), _scatter),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _axes),
    **dict.fromkeys(("Expand", "Tile"), _expand),
    **dict.fromkeys(("Shape", "Size"), _shape_of),
    **dict.fromkeys(("MatMul", "Gemm"), _matrices),
    **dict.fromkeys(("Conv", "AveragePool", "MaxPool"), _images),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _pool_all),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization", "GroupNormalization"), _normalisation),
    **dict.fromkeys(("LayerNormalization", "MeanVarianceNormalization"), _normalisation),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    "Where": _where,
    "TopK": _top,
    "Concat": _concat,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Pad": _pad,
    "CumSum": _cumulate,
    "ConstantOfShape": _fill,
    "Range": _range,
    "EyeLike": _eye,
    "Trilu": _triangle,
    "OneHot": _one_hot,
    "Einsum": _einsum,
}
_BY_OPERATOR = sorted(name for domain, name in every_operator() if domain == "")


def recipe_of(operator: str) -> Recipe:
    """How a node of the operator is made; what has no recipe of its own computes each element alone or reduces."""
    return _RECIPES.get(operator, _reduction if operator.startswith("Reduce") else _unary)


def graph(seed: int, number: int) -> bytes:
    """Graph `number`: one to six nodes of operators by chance, the operator of its number among them."""
    chance = random.Random(f"{seed}:{number}")
    maker = Maker(chance)
    operators = [_BY_OPERATOR[number % len(_BY_OPERATOR)]]
    operators += [chance.choice(_BY_OPERATOR) for _ in range(chance.choice([0, 0, 1, 2, 5]))]
    for operator in chance.sample(operators, len(operators)):
        entry = every_operator()["", operator]
        rank = 2

        def axis(more: int, rank: int = rank) -> int:
            return chance.choice([0, 1, -1, *([rank + more, -9, (1 << 63) - 1] if chance.random() < 0.05 else [])])

        given = attributes_of(entry.attributes, chance, axis)
        try:
            recipe_of(operator)(maker, operator, given)
        except (IndexError, ZeroDivisionError, ValueError, KeyError):
            continue  # an axis that its own value does not have
    return maker.model()
