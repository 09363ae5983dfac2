"""ONNX files as bytes, written field by field: no library version changes them, and every field can be wrong."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

DOUBLE, FLOAT, UINT8, STRING, INT64 = 11, 1, 2, 8, 7
WIDTH = 4

Split = tuple[int, float, bool, "Tree", "Tree"]
"""(feature, threshold, missing goes left, left, right)"""
Tree = float | Split
TREES: tuple[Split, ...] = (
    (0, 0.5, False, (2, -0.25, True, 0.125, -0.0625), 0.3),
    (1, 1.5, True, 0.1, (3, 0.0, False, -0.2, 0.05)),
    (2, 0.0, False, 0.7, -0.7),
)


def score(row: Sequence[float], trees: Sequence[Tree] = TREES) -> float:
    """What the trees say of a row: leaves added in tree order, in double."""
    total = 0.0
    for tree in trees:
        while isinstance(tree, tuple):
            feature, threshold, missing_left, left, right = tree
            value = row[feature]
            tree = left if (missing_left if math.isnan(value) else value <= threshold) else right
        total += tree
    return total


# --- protobuf -------------------------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def integer(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def part(field: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def number32(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def tensor(name: str, kind: int, dims: Sequence[int], raw: bytes, more: bytes = b"") -> bytes:
    return b"".join([*(integer(1, length) for length in dims), integer(2, kind), part(8, name), part(9, raw), more])


def doubles(name: str, values: Sequence[float], dims: Sequence[int] | None = None) -> bytes:
    return tensor(name, DOUBLE, [len(values)] if dims is None else dims, struct.pack(f"<{len(values)}d", *values))


def int64s(name: str, values: Sequence[int], dims: Sequence[int] | None = None) -> bytes:
    return tensor(name, INT64, [len(values)] if dims is None else dims, struct.pack(f"<{len(values)}q", *values))


EXTERNAL = part(13, part(1, "location") + part(2, "../secret.bin")) + integer(14, 1)


def attribute(name: str, value: int | float | str | list[int] | bytes) -> bytes:
    """Bytes are a tensor."""
    if isinstance(value, list):
        return part(1, name) + b"".join(integer(8, item) for item in value) + integer(20, 7)
    if isinstance(value, bytes):
        return part(1, name) + part(5, value) + integer(20, 4)
    if isinstance(value, str):
        return part(1, name) + part(4, value) + integer(20, 3)
    if isinstance(value, float):
        return part(1, name) + number32(2, value) + integer(20, 1)
    return part(1, name) + integer(3, value) + integer(20, 2)


def node(
    operator: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *attributes: bytes,
    domain: str = "",
    name: str = "",
    more: bytes = b"",
) -> bytes:
    texts = [part(3, name)] if name else []
    fields = [*(part(1, item) for item in inputs), *(part(2, item) for item in outputs), *texts, part(4, operator)]
    ends = [part(7, domain)] if domain else []
    return b"".join([*fields, *(part(5, item) for item in attributes), *ends, more])


def port(name: str, lengths: Sequence[int | None], kind: int = DOUBLE) -> bytes:
    dims = b"".join(part(1, part(2, "rows") if length is None else integer(1, length)) for length in lengths)
    return part(1, name) + part(2, part(1, integer(1, kind) + part(2, dims)))


INPUT = port("features", [None, WIDTH])
OUTPUT = port("score", [None, 1])


def graph(
    nodes: Sequence[bytes],
    tensors: Sequence[bytes] = (),
    inputs: Sequence[bytes] = (INPUT,),
    outputs: Sequence[bytes] = (OUTPUT,),
    more: bytes = b"",
) -> bytes:
    fields = [*(part(1, item) for item in nodes), part(2, "scoring"), *(part(5, item) for item in tensors)]
    return b"".join([*fields, *(part(11, item) for item in inputs), *(part(12, item) for item in outputs), more])


OPSETS = (("", 18), ("ai.onnx.ml", 5))


def opset(domain: str, version: int) -> bytes:
    return part(8, (part(1, domain) if domain else b"") + integer(2, version))


def file(body: bytes, ir_version: int = 10, opsets: Sequence[tuple[str, int]] = OPSETS, more: bytes = b"") -> bytes:
    """A model file around a graph."""
    imports = b"".join(opset(domain, version) for domain, version in opsets)
    return integer(1, ir_version) + part(2, "alphaseal vectors") + part(7, body) + imports + more


# --- trees ----------------------------------------------------------------------------------------------------------

Values = dict[str, list[int] | int | bytes]


def tree_values(trees: Sequence[Tree] = TREES) -> Values:
    """The attributes of a TreeEnsemble node by name."""
    lists: dict[str, list[int]] = {
        name: []
        for name in (
            "nodes_featureids",
            "nodes_missing_value_tracks_true",
            "nodes_trueleafs",
            "nodes_falseleafs",
            "nodes_truenodeids",
            "nodes_falsenodeids",
        )
    }
    splits: list[float] = []
    leaves: list[float] = []

    def add(tree: Tree) -> tuple[int, int]:
        """(is a leaf, its id)"""
        if not isinstance(tree, tuple):
            leaves.append(tree)
            return 1, len(leaves) - 1
        feature, threshold, missing_left, left, right = tree
        place = len(splits)
        splits.append(threshold)
        for values in lists.values():
            values.append(0)
        lists["nodes_featureids"][place] = feature
        lists["nodes_missing_value_tracks_true"][place] = int(missing_left)
        # Right first: then no root's branches have one id.
        for side, child in (("false", right), ("true", left)):
            is_leaf, number = add(child)
            lists[f"nodes_{side}leafs"][place] = is_leaf
            lists[f"nodes_{side}nodeids"][place] = number
        return 0, place

    roots = [add(tree)[1] for tree in trees]
    count = len(splits)
    return {
        **lists,
        "aggregate_function": 1,
        "leaf_targetids": [0] * len(leaves),
        "leaf_weights": doubles("leaf_weights", leaves),
        "n_targets": 1,
        "nodes_modes": tensor("nodes_modes", UINT8, [count], bytes(count)),
        "nodes_splits": doubles("nodes_splits", splits),
        "post_transform": 0,
        "tree_roots": roots,
    }


def ensemble(values: Values | None = None, more: Sequence[bytes] = (), output: str = "sum") -> bytes:
    """The node; `more` are further attributes."""
    attributes = [attribute(name, value) for name, value in sorted((values or tree_values()).items())]
    return node("TreeEnsemble", ["features"], [output], *attributes, *more, domain="ai.onnx.ml", name="trees")


IDENTITY = node("Identity", ["sum"], ["score"])


def model(values: Values | None = None) -> bytes:
    """The small bundle's graph, or one with other attributes of its trees."""
    return file(graph([ensemble(values), IDENTITY]))


def model_of(trees: Sequence[Tree]) -> bytes:
    return model(tree_values(trees))


def with_nodes(*nodes: bytes, tensors: Sequence[bytes] = (), more: bytes = b"") -> bytes:
    """The trees behind other nodes."""
    return file(graph([*nodes, ensemble(), IDENTITY], tensors, more=more))


def window_model(length: int = 2) -> bytes:
    """A graph on windows whose score is the first feature of the last row."""
    nodes = [
        node("Gather", ["features", "last"], ["row"], attribute("axis", 1)),
        node("Gather", ["row", "first"], ["score"], attribute("axis", 1)),
    ]
    tensors = [int64s("last", [length - 1], []), int64s("first", [0], [1])]
    return file(graph(nodes, tensors, inputs=[port("features", [None, length, WIDTH])]))
