"""The parts of an ONNX file that the format allows, as typed values; every other field is refused.

No external data, no functions, no training information, no sparse tensors, no subgraphs, no metadata: what our builders
never write has no place in these tables, so it cannot hide at any depth.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import compress, islice

from alphaseal.errors import PolicyError
from alphaseal.gate.onnx.wire import BYTES, FLOAT, INTEGER, Field, Found, Source

FLOAT32, UINT8, INT32, INT64, BOOL, FLOAT64 = 1, 2, 6, 7, 9, 11
BYTES_OF = {FLOAT32: 4, UINT8: 1, INT32: 4, INT64: 8, BOOL: 1, FLOAT64: 8}
"""The element types that a graph may hold, and the bytes of one element."""
MAXIMUM_RANK = 8
MAXIMUM_NODES = 100_000
MAXIMUM_TENSORS = 100_000
MAXIMUM_ENDS = 4_096
"""Inputs or outputs of a node."""
MAXIMUM_ATTRIBUTES = 32
FINITE, INFINITE, MISSING = range(3)
"""The worst of a constant's elements: all are finite, some are infinite, or some are NaN."""
SMALL = 64
"""Tensors of at most so many int64 elements may say a shape."""

# 12.4: `refused` fields are known and never allowed: other files, code, training, comments, types that nodes could contradict.
_MODEL = {
    1: Field("ir_version", INTEGER),
    2: Field("producer_name", BYTES),
    3: Field("producer_version", BYTES),
    6: Field("doc_string", BYTES, refused=True),
    7: Field("graph", BYTES),
    8: Field("opset_import", BYTES, repeated=True),
    14: Field("metadata_props", BYTES, refused=True),
    20: Field("training_info", BYTES, refused=True),
    25: Field("functions", BYTES, refused=True),
}
_OPSET = {1: Field("domain", BYTES), 2: Field("version", INTEGER)}
_GRAPH = {
    1: Field("node", BYTES, repeated=True),
    2: Field("name", BYTES),
    5: Field("initializer", BYTES, repeated=True),
    10: Field("doc_string", BYTES, refused=True),
    11: Field("input", BYTES, repeated=True),
    12: Field("output", BYTES, repeated=True),
    13: Field("value_info", BYTES, refused=True),
    14: Field("quantization_annotation", BYTES, refused=True),
    15: Field("sparse_initializer", BYTES, refused=True),
    16: Field("metadata_props", BYTES, refused=True),
}
_NODE = {
    1: Field("input", BYTES, repeated=True),
    2: Field("output", BYTES, repeated=True),
    3: Field("name", BYTES),
    4: Field("op_type", BYTES),
    5: Field("attribute", BYTES, repeated=True),
    6: Field("doc_string", BYTES, refused=True),
    7: Field("domain", BYTES),
    8: Field("overload", BYTES, refused=True),
    9: Field("metadata_props", BYTES, refused=True),
}
_ATTRIBUTE = {
    1: Field("name", BYTES),
    2: Field("f", FLOAT),
    3: Field("i", INTEGER),
    4: Field("s", BYTES),
    5: Field("t", BYTES),
    6: Field("g", BYTES, refused=True),
    9: Field("strings", BYTES, repeated=True),
    11: Field("graphs", BYTES, refused=True),
    13: Field("doc_string", BYTES, refused=True),
    20: Field("type", INTEGER),
    21: Field("ref_attr_name", BYTES, refused=True),
    22: Field("sparse_tensor", BYTES, refused=True),
    23: Field("sparse_tensors", BYTES, refused=True),
}
_TYPE_OF = {"f": 1, "i": 2, "s": 3, "t": 4, "ints": 7, "strings": 8}
"""AttributeProto.AttributeType of each field that may carry a value."""
_NUMBERS_END = b"\xa0\x01\x07"
"""``type: INTS``, the only field that follows the numbers of an attribute."""
_TENSOR = {
    1: Field("dims", INTEGER, repeated=True),
    2: Field("data_type", INTEGER),
    8: Field("name", BYTES),
    9: Field("raw_data", BYTES),
    12: Field("doc_string", BYTES, refused=True),
    13: Field("external_data", BYTES, refused=True),
    14: Field("data_location", INTEGER, refused=True),
}
# A whole tensor is looked at by two translations, since a loop in Python would take minutes for the largest.
_EXPONENT = {
    FLOAT64: (bytes(byte & 0x7F == 0x7F for byte in range(256)), bytes(byte >= 0xF0 for byte in range(256))),
    FLOAT32: (bytes(byte & 0x7F == 0x7F for byte in range(256)), bytes(byte >= 0x80 for byte in range(256))),
}
"""Of each byte whether it is the highest, or the second highest, of an exponent of ones."""
_VALUE = {1: Field("name", BYTES), 2: Field("type", BYTES), 3: Field("doc_string", BYTES, refused=True)}
_TYPE = {1: Field("tensor_type", BYTES), 8: Field("sparse_tensor_type", BYTES, refused=True)}
_TENSOR_TYPE = {1: Field("elem_type", INTEGER), 2: Field("shape", BYTES)}
_SHAPE = {1: Field("dim", BYTES, repeated=True)}
_DIMENSION = {1: Field("dim_value", INTEGER), 2: Field("dim_param", BYTES)}


@dataclass(frozen=True)
class Tensor:
    """A constant: its elements are little-endian bytes of the file, from `start` to `end`."""

    name: str
    element: int
    shape: tuple[int, ...]
    start: int
    end: int
    tag: int
    worst: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


AttributeValue = int | float | str | list[int] | tuple[str, ...] | Tensor


@dataclass(frozen=True)
class Node:
    """One operator; `tag` is where its bytes begin."""

    operator: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, AttributeValue]
    tag: int

    def __str__(self) -> str:
        return f"node {self.name!r} ({self.domain + '.' if self.domain else ''}{self.operator})"


@dataclass(frozen=True)
class Port:
    """An input or output of the graph: a number is a fixed length, None an axis of any length."""

    name: str
    element: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Model:
    """What a file says, as far as the format allows it to say anything."""

    ir_version: int
    opsets: dict[str, int]
    nodes: tuple[Node, ...]
    tensors: dict[str, Tensor]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def read_model(source: Source) -> Model:
    """Parse a file.  PolicyError: `model.protobuf`, `model.field`, `model.limit`, `model.tensor`, `model.graph`, `model.attribute`."""
    found = source.fields(0, len(source.data), _MODEL, "the model")
    graph = next((field for field in found if field.name == "graph"), None)
    # protobuf may leave anything out.
    if graph is None:
        raise source.malformed("there is no graph", 0)
    for field in found:
        if field.name.startswith("producer"):
            source.text(field)
    opsets: dict[str, int] = {}
    for field in found:
        if field.name == "opset_import":
            domain, version = _opset(source, field)
            # Of two versions some readers take the first and others the last.
            if domain in opsets:
                raise source.malformed("a domain is imported twice", field.tag)
            opsets[domain] = version
    version = next((field.value for field in found if field.name == "ir_version"), 0)
    return _graph(source, graph, version, opsets)


def _opset(source: Source, entry: Found) -> tuple[str, int]:
    domain, version = "", 0
    for field in source.fields(entry.start, entry.end, _OPSET, "an opset"):
        if field.name == "domain":
            domain = source.text(field)
        else:
            version = field.value
    return domain, version


def _graph(source: Source, graph: Found, version: int, opsets: dict[str, int]) -> Model:
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    ports: dict[str, list[Port]] = {"input": [], "output": []}
    for field in source.fields(graph.start, graph.end, _GRAPH, "the graph", MAXIMUM_NODES + MAXIMUM_TENSORS):
        if field.name == "name":
            source.text(field)
        elif field.name == "node":
            nodes.append(_node(source, field))
        elif field.name == "initializer":
            tensor = _tensor(source, field)
            # 12.4: every value is made once; which of two constants counts is the reader's choice.
            if tensor.name in tensors or not tensor.name:
                raise PolicyError(
                    "model.graph",
                    "a constant without a name of its own",
                    where=source.place(field.tag),
                    found=repr(tensor.name),
                )
            tensors[tensor.name] = tensor
        else:
            ports[field.name].append(_port(source, field))
        # While they are read: a node is a few bytes of the file and hundreds in memory.
        if len(nodes) > MAXIMUM_NODES or len(tensors) > MAXIMUM_TENSORS:
            raise PolicyError(
                "model.limit",
                "too many nodes or constants",
                where=source.place(field.tag),
                expected=f"at most {MAXIMUM_NODES}",
            )
    return Model(version, opsets, tuple(nodes), tensors, tuple(ports["input"]), tuple(ports["output"]))


def _node(source: Source, entry: Found) -> Node:
    texts = {"name": "", "op_type": "", "domain": ""}
    ends: dict[str, list[str]] = {"input": [], "output": []}
    attributes: dict[str, AttributeValue] = {}
    fields = source.fields(entry.start, entry.end, _NODE, "a node", 2 * MAXIMUM_ENDS)
    for field in fields:
        if field.name in texts:
            texts[field.name] = source.text(field)
        elif field.name in ends:
            ends[field.name].append(source.text(field))
    # One more than allowed, to see that there are more.
    for field in islice((field for field in fields if field.name == "attribute"), MAXIMUM_ATTRIBUTES + 1):
        name, value = _attribute(source, field, f"node {texts['name']!r} ({texts['op_type']})")
        # Of two attributes of one name some readers take the first and others the last.
        if name in attributes or len(attributes) == MAXIMUM_ATTRIBUTES:
            raise PolicyError(
                "model.attribute",
                "an attribute is there twice, or too many are",
                where=source.place(field.tag),
                found=name,
            )
        attributes[name] = value
    # Above they are bounded together, here each.
    if max(map(len, ends.values())) > MAXIMUM_ENDS:
        raise PolicyError(
            "model.limit",
            "a node has too many inputs or outputs",
            where=source.place(entry.tag),
            expected=f"at most {MAXIMUM_ENDS}",
        )
    return Node(
        texts["op_type"],
        texts["domain"],
        texts["name"],
        tuple(ends["input"]),
        tuple(ends["output"]),
        attributes,
        entry.tag,
    )


def _attribute(source: Source, entry: Found, owner: str) -> tuple[str, AttributeValue]:
    """Name and value; exactly one value, of the declared type."""
    behind_name = _behind_name(source, entry)
    if behind_name > entry.start and source.data[behind_name : min(behind_name + 1, entry.end)] == b"\x40":
        # Field 8, hundreds of thousands of numbers in a tree: read by a quicker way than the other fields.
        if source.data[entry.end - 3 : entry.end] != _NUMBERS_END or behind_name > entry.end - 3:
            raise source.malformed("integers of an attribute do not end with its type", behind_name)
        (name,) = source.fields(entry.start, behind_name, _ATTRIBUTE, "an attribute")
        return source.text(name), source.numbers(behind_name, entry.end - 3)
    name_text, kind, values = "", 0, dict[str, list[AttributeValue]]()
    for field in source.fields(entry.start, entry.end, _ATTRIBUTE, f"an attribute of {owner}", SMALL):
        if field.name == "name":
            name_text = source.text(field)
        elif field.name == "type":
            kind = field.value
        else:
            values.setdefault(field.name, []).append(_value(source, field))
    # An empty list leaves no field behind, only its type.
    if not values and kind == _TYPE_OF["ints"]:
        return name_text, []
    # 12.4: one value, of the type that is said; of two the reader would choose.
    if len(values) != 1 or _TYPE_OF[next(iter(values))] != kind:
        raise PolicyError(
            "model.attribute",
            f"attribute {name_text!r} of {owner} has not one value of its type",
            where=source.place(entry.tag),
        )
    field_name, found = next(iter(values.items()))
    return name_text, tuple(map(str, found)) if field_name == "strings" else found[0]


def _behind_name(source: Source, entry: Found) -> int:
    if entry.end - entry.start < 2 or source.data[entry.start] != 0x0A:
        return entry.start
    size, start = source.integer(entry.start + 1, entry.end)
    return min(start + max(size, 0), entry.end)


def _value(source: Source, field: Found) -> AttributeValue:
    if field.name == "i":
        return field.value
    if field.name == "f":
        (number,) = struct.unpack_from("<f", source.data, field.start)
        # 12.4: a number is finite; it is multiplied or compared with, and no builder of ours means infinity.
        if not math.isfinite(number):
            raise PolicyError("model.not_finite", "an attribute is NaN or infinite", where=source.place(field.tag))
        return float(number)
    return _tensor(source, field) if field.name == "t" else source.text(field)


def _tensor(source: Source, entry: Found) -> Tensor:
    shape: list[int] = []
    element, name, start, end = 0, "", entry.end, entry.end
    for field in source.fields(entry.start, entry.end, _TENSOR, "a constant", MAXIMUM_RANK + 3):
        if field.name == "dims":
            shape.append(field.value)
        elif field.name == "data_type":
            element = field.value
        elif field.name == "name":
            name = source.text(field)
        else:
            start, end = field.start, field.end
    bytes_each = BYTES_OF.get(element)
    # 12.4: raw bytes for exactly the elements of the shape, so that no kernel reads behind them.
    if (
        bytes_each is None
        or len(shape) > MAXIMUM_RANK
        or min(shape, default=0) < 0
        or math.prod(shape) * bytes_each != end - start
    ):
        raise PolicyError(
            "model.tensor",
            f"constant {name!r} is of a type or size that the format does not allow",
            where=source.place(entry.tag),
            expected=f"element types {sorted(BYTES_OF)} and raw bytes for all elements",
            found=f"type {element}, shape {shape[:MAXIMUM_RANK]}, {end - start} bytes",
        )
    # In C++ a truth value of another byte than 0 or 1 is undefined.
    if element == BOOL and source.data[start:end].translate(None, b"\0\1"):
        raise PolicyError(
            "model.tensor", f"constant {name!r} holds truth values that are none", where=source.place(entry.tag)
        )
    return Tensor(name, element, tuple(shape), start, end, entry.tag, _worst(source.data, element, start, end))


def _worst(data: bytes, element: int, start: int, end: int) -> int:
    """NaN and infinity have an exponent of ones: the two highest bytes tell, for all elements at once."""
    if element not in _EXPONENT:
        return FINITE
    size, (highest, second) = BYTES_OF[element], _EXPONENT[element]
    ones = data[start + size - 1 : end : size].translate(highest)
    more = data[start + size - 2 : end : size].translate(second)
    both = int.from_bytes(ones, "little") & int.from_bytes(more, "little")
    # Finite throughout, as nearly all are: no element was made a number.
    if not both:
        return FINITE
    numbers = struct.unpack(f"<{len(ones)}{'d' if element == FLOAT64 else 'f'}", data[start:end])
    return MISSING if any(map(math.isnan, compress(numbers, both.to_bytes(len(ones), "little")))) else INFINITE


def integers(source: Source, tensor: Tensor) -> tuple[int, ...] | None:
    """The elements of a small int64 constant; None for any other."""
    # Only these say shapes; others are data, which no size may come from.
    if tensor.element != INT64 or tensor.count > SMALL:
        return None
    return tuple(number for (number,) in struct.iter_unpack("<q", source.data[tensor.start : tensor.end]))


def holds_byte(source: Source, tensor: Tensor, byte: bytes) -> bool:
    """Whether some element of an integer constant is that byte throughout: 0 or -1, in whatever order its bytes are."""
    size, data = BYTES_OF[tensor.element], memoryview(source.data)[tensor.start : tensor.end]
    number = int.from_bytes(byte * size, "little")
    return number in (data.cast("Q") if size == 8 else data.cast("I") if size == 4 else data)


def _port(source: Source, entry: Found) -> Port:
    name, type_field = "", None
    for field in source.fields(entry.start, entry.end, _VALUE, "an input or output"):
        if field.name == "name":
            name = source.text(field)
        else:
            type_field = field
    tensor = None if type_field is None else _only(source, type_field, _TYPE)
    element, shape = 0, None
    for field in source.fields(tensor.start, tensor.end, _TENSOR_TYPE, "a type") if tensor is not None else ():
        if field.name == "elem_type":
            element = field.value
        else:
            shape = field
    # Without a shape not even the rank of what follows would be known.
    if not name or shape is None:
        raise source.malformed("an input or output without name or shape", entry.tag)
    dimensions = source.fields(shape.start, shape.end, _SHAPE, "a shape", MAXIMUM_RANK)
    return Port(name, element, tuple(_dimension(source, field) for field in dimensions))


def _only(source: Source, entry: Found, known: dict[int, Field]) -> Found | None:
    return next(iter(source.fields(entry.start, entry.end, known, "a type")), None)


def _dimension(source: Source, entry: Found) -> int | None:
    field = _only(source, entry, _DIMENSION)
    # A name of a length, or nothing: as many as there are rows.
    if field is None or field.name == "dim_param":
        if field is not None:
            source.text(field)
        return None
    return field.value
