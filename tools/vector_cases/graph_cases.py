"""V7: the model gate.  Every file here has the size and digest that its manifest says: only the gate can refuse it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from vector_cases import tables
from vector_cases.bar_cases import bar_bundle
from vector_cases.base import UNSIGNED, Case, Edit, both, bundle, put
from vector_cases.graphs import (
    DOUBLE,
    EXTERNAL,
    FLOAT,
    IDENTITY,
    INPUT,
    INT64,
    OPSETS,
    OUTPUT,
    STRING,
    TREES,
    UINT8,
    Values,
    attribute,
    doubles,
    ensemble,
    file,
    graph,
    int64s,
    integer,
    model,
    node,
    number32,
    part,
    port,
    tensor,
    tree_values,
    varint,
    window_model,
    with_nodes,
)

_TREES = [ensemble(), IDENTITY]
_BODY = graph(_TREES)
_EXTERNAL_WEIGHTS = integer(1, 4) + integer(2, DOUBLE) + part(8, "w") + EXTERNAL
_INNER = part(1, node("Identity", ["w"], ["y"])) + part(2, "inner") + part(5, _EXTERNAL_WEIGHTS)


def _subgraph(name: str) -> bytes:
    return part(1, name) + part(6, _INNER) + integer(20, 5)


def _use(operator: str, *attributes: bytes, domain: str = "", outputs: tuple[str, ...] = ("k",)) -> bytes:
    """The trees beside a node that nobody needs."""
    return with_nodes(node(operator, ["features"], outputs, *attributes, domain=domain))


def _tree(**changes: Any) -> bytes:
    """The trees with attributes exchanged; a function is given the old value."""
    values: Values = tree_values()
    for name, change in changes.items():
        values[name] = change(values[name]) if callable(change) else change
    return model(values)


def _at(position: int, value: int) -> Any:
    return lambda old: [*old[:position], value, *old[position + 1 :]]


def _leaves(*values: float) -> bytes:
    return doubles("leaf_weights", values)


def _chain(depth: int) -> bytes:
    """One tree of `depth` splits on one path."""
    return model(
        {
            **tree_values([(0, 0.0, False, 1.0, 2.0)]),
            "nodes_featureids": [0] * depth,
            "nodes_missing_value_tracks_true": [0] * depth,
            "nodes_trueleafs": [1] * depth,
            "nodes_falseleafs": [0] * (depth - 1) + [1],
            "nodes_truenodeids": [*range(depth - 1), depth],
            "nodes_falsenodeids": [*range(1, depth), depth - 1],
            "nodes_modes": tensor("nodes_modes", UINT8, [depth], bytes(depth)),
            "nodes_splits": doubles("nodes_splits", [0.0] * depth),
            "leaf_targetids": [0] * (depth + 1),
            "leaf_weights": _leaves(*[1.0] * (depth + 1)),
        }
    )


def _divided(operator: str, *divisor: int) -> bytes:
    """The first two features as integers, divided by constants."""
    nodes = [
        node("Cast", ["features"], ["n"], attribute("to", INT64)),
        node(operator, ["n", "by"], ["k"]),
    ]
    return with_nodes(*nodes, tensors=[int64s("by", divisor)])


def _filled(count: int, nodes: int) -> bytes:
    """`nodes` constants of `count` numbers that the file does not hold, and their sum."""
    fills = [
        node("ConstantOfShape", ["shape"], [f"fill{place}"], attribute("value", doubles("v", [1.5])))
        for place in range(nodes)
    ]
    total = node("Sum", [f"fill{place}" for place in range(nodes)], ["k"])
    return with_nodes(*fills, total, tensors=[int64s("shape", [count])])


def _grown(*by: bytes, width: int = 8192) -> bytes:
    """Nodes behind `wide`, a feature as many times as `width`."""
    first = node("Gather", ["features", "zero"], ["one"], attribute("axis", 1))
    wide = node("Expand", ["one", "shape"], ["wide"])
    return with_nodes(first, wide, *by, tensors=[int64s("zero", [0]), int64s("shape", [1, width])])


def _in_turns() -> bytes:
    """Ten values of 128 MB, each read by the next only."""
    return _grown(*(node("Abs", [f"a{place}" if place else "wide"], [f"a{place + 1}"]) for place in range(10)))


def _groups(count: int) -> bytes:
    """GroupNormalization of two channels in so many groups."""
    nodes = [
        node("Unsqueeze", ["features", "last"], ["deep"]),
        node("GroupNormalization", ["deep", "s", "s"], ["k"], attribute("num_groups", count)),
    ]
    return with_nodes(*nodes, tensors=[int64s("last", [2]), doubles("s", [1.0, 1.0])])


_COUNT = len(tree_values()["nodes_featureids"])  # type: ignore[arg-type]
_NAN_LEAVES = [math.nan, 0.3, 0.125, 0.05, -0.2, 0.1, -0.7, 0.7]
_ADD = node("Add", ["features", "c"], ["k"])
_EXPAND = node("Expand", ["features", "shape"], ["k"])

FIELDS: dict[str, tuple[bytes, str]] = {
    "external_data": (with_nodes(tensors=[_EXTERNAL_WEIGHTS]), "a constant in another file"),
    "external_location_only": (
        with_nodes(tensors=[integer(1, 4) + integer(2, DOUBLE) + part(8, "w") + integer(14, 1)]),
        "a constant that says it lies elsewhere, without a place",
    ),
    "external_keys_only": (
        with_nodes(tensors=[doubles("w", [0.0], [1]) + part(13, part(1, "location") + part(2, "/etc/passwd"))]),
        "a constant with the place of a file beside its bytes",
    ),
    "external_in_tree": (
        _tree(leaf_weights=integer(1, 8) + integer(2, DOUBLE) + part(8, "leaf_weights") + EXTERNAL),
        "leaves in another file",
    ),
    "external_in_constant": (
        with_nodes(node("Constant", [], ["k"], attribute("value", _EXTERNAL_WEIGHTS))),
        "a Constant whose value lies in another file",
    ),
    "external_in_sparse": (with_nodes(more=part(15, part(1, _EXTERNAL_WEIGHTS))), "a sparse constant in another file"),
    "external_in_if": (
        _use("If", _subgraph("then_branch"), _subgraph("else_branch")),
        "a branch of an If with a constant in another file",
    ),
    "loop": (_use("Loop", _subgraph("body")), "a Loop with its body"),
    "scan": (_use("Scan", _subgraph("body"), attribute("num_scan_inputs", 1)), "a Scan with its body"),
    "list_of_subgraphs": (_use("If", part(1, "branches") + part(11, _INNER) + integer(20, 10)), "a list of subgraphs"),
    "function": (file(_BODY, more=part(25, part(1, "f") + part(10, "own"))), "a function of its own"),
    "training_info": (file(_BODY, more=part(20, b"")), "training information"),
    "metadata": (file(_BODY, more=part(14, part(1, "k") + part(2, "x" * 4000))), "metadata"),
    "metadata_of_graph": (file(graph(_TREES, more=part(16, part(1, "k")))), "metadata of the graph"),
    "metadata_of_node": (file(graph([ensemble(), IDENTITY + part(9, part(1, "k"))])), "metadata of a node"),
    "doc_string": (
        file(graph(_TREES, more=b""), more=b"").replace(part(2, "alphaseal vectors"), part(2, "v") + part(6, "text")),
        "a comment",
    ),
    "doc_string_of_node": (file(graph([ensemble(), IDENTITY + part(6, "text")])), "a comment of a node"),
    "value_info": (file(graph(_TREES, more=part(13, port("sum", [None, 1])))), "declared types of inner values"),
    "quantisation": (file(graph(_TREES, more=part(14, part(1, "sum")))), "notes on quantisation"),
    "overload": (file(graph([ensemble(), IDENTITY + part(8, "x")])), "an overload of an operator"),
    "reference_attribute": (
        _use("Cast", part(1, "to") + integer(20, 2) + part(21, "outer")),
        "an attribute that refers to a function's",
    ),
    "typed_data": (
        with_nodes(tensors=[integer(1, 1) + integer(2, FLOAT) + part(4, b"\0\0\0\0") + part(8, "w")]),
        "a constant in a typed field",
    ),
    "text_data": (
        with_nodes(tensors=[integer(1, 1) + integer(2, STRING) + part(6, "x") + part(8, "w")]),
        "a constant of texts",
    ),
    "unknown_field": (file(_BODY, more=part(99, "x")), "a field that ONNX does not have"),
}
OTHERS: dict[str, tuple[bytes, str, str]] = {
    # protobuf
    "text": (b"not a model\n", "model.field", "is a text"),
    "empty": (b"", "model.protobuf", "is empty"),
    "zeros": (bytes(64), "model.field", "is zeros"),
    "truncated": (model()[:-40], "model.protobuf", "ends in the middle"),
    "truncated_length": (
        integer(1, 10) + b"\x3a\xff\xff\xff\xff\x7f",
        "model.protobuf",
        "says a length beyond its end",
    ),
    "length_of_64_bits": (integer(1, 10) + b"\x3a" + varint(-1), "model.protobuf", "says a negative length"),
    "endless_varint": (b"\x08" + b"\xff" * 32, "model.protobuf", "holds an integer without an end"),
    "long_varint": (
        b"\x08\x8a\x00" + model()[2:],
        "model.protobuf",
        "holds an integer that is not in its shortest form",
    ),
    "version_twice": (integer(1, 9) + model(), "model.protobuf", "says its version twice"),
    "graph_twice": (
        model().replace(part(8, integer(2, 18)), part(7, _BODY) + part(8, integer(2, 18))),
        "model.protobuf",
        "holds two graphs",
    ),
    "fields_out_of_order": (
        part(8, integer(2, 18)) + part(7, _BODY) + integer(1, 10),
        "model.protobuf",
        "has its fields in another order",
    ),
    "no_graph": (integer(1, 10) + part(8, integer(2, 18)), "model.protobuf", "holds no graph"),
    "wire_type": (integer(1, 10) + integer(7, 1), "model.protobuf", "holds an integer for a graph"),
    "group": (b"\x0b\x0c" + model(), "model.protobuf", "holds a group of protobuf"),
    "name_not_utf8": (
        with_nodes(node("Identity", ["features"], ["k"]).replace(b"\x01k", b"\x01\xff")),
        "model.protobuf",
        "holds a name that is not UTF-8",
    ),
    "name_with_escape": (
        with_nodes(node("Identity", ["features"], ["\x1b[2J"])),
        "model.protobuf",
        "holds a name that clears a terminal",
    ),
    "opset_twice": (
        file(_BODY, opsets=[("", 18), ("", 18), ("ai.onnx.ml", 5)]),
        "model.protobuf",
        "imports a domain twice",
    ),
    # limits
    "name_of_257_bytes": (
        with_nodes(node("Identity", ["features"], ["k" * 257])),
        "model.limit",
        "holds a name of 257 bytes",
    ),
    "rank_of_9": (
        with_nodes(tensors=[tensor("w", DOUBLE, [1] * 9, bytes(8))]),
        "model.limit",
        "holds a constant of nine axes",
    ),
    "attributes_33": (
        with_nodes(node("Identity", ["features"], ["k"], *(attribute(f"a{number:02}", 1) for number in range(33)))),
        "model.attribute",
        "has a node of 33 attributes",
    ),
    # versions
    "ir_version": (file(_BODY, ir_version=11), "model.version", "is of another ir_version"),
    "ir_version_absent": (file(_BODY)[2:], "model.version", "has no ir_version"),
    "opset": (file(_BODY, opsets=[("", 21), ("ai.onnx.ml", 5)]), "model.version", "imports another opset"),
    "opset_absent": (file(_BODY, opsets=[]), "model.version", "imports no opset"),
    "opset_foreign": (
        file(_BODY, opsets=[("", 18), ("ai.onnx.ml", 5), ("com.microsoft", 1)]),
        "model.version",
        "imports a domain of others",
    ),
    # constants
    "dims_huge": (
        with_nodes(tensors=[tensor("w", DOUBLE, [1 << 60], b"")]),
        "model.tensor",
        "holds a constant of 2^60 numbers without bytes",
    ),
    "dims_overflow": (
        with_nodes(tensors=[tensor("w", DOUBLE, [1 << 32, 1 << 32], b"")]),
        "model.tensor",
        "holds a constant whose size overflows 64 bits to zero",
    ),
    "dims_negative": (
        with_nodes(tensors=[tensor("w", DOUBLE, [-1, -1], bytes(8))]),
        "model.tensor",
        "holds a constant of negative lengths",
    ),
    "dims_other_bytes": (
        with_nodes(tensors=[tensor("w", DOUBLE, [2], bytes(8))]),
        "model.tensor",
        "holds a constant of fewer bytes than it says",
    ),
    "type_text": (
        with_nodes(tensors=[tensor("w", STRING, [1], b"x")]),
        "model.tensor",
        "holds a constant of type text",
    ),
    "type_unknown": (
        with_nodes(tensors=[tensor("w", 99, [1], b"x")]),
        "model.tensor",
        "holds a constant of an unknown type",
    ),
    "type_float16": (
        with_nodes(tensors=[tensor("w", 10, [1], b"xx")]),
        "model.tensor",
        "holds a constant of half precision",
    ),
    "truth_value_of_2": (
        with_nodes(tensors=[tensor("w", 9, [1], b"\2")]),
        "model.tensor",
        "holds a truth value of two",
    ),
    # names
    "constant_twice": (
        with_nodes(tensors=[doubles("w", [1.0]), doubles("w", [2.0])]),
        "model.graph",
        "has two constants of one name",
    ),
    "constant_unnamed": (with_nodes(tensors=[doubles("", [1.0])]), "model.graph", "has a constant without a name"),
    "constant_is_input": (
        with_nodes(tensors=[doubles("features", [1.0])]),
        "model.graph",
        "has a constant of the input's name",
    ),
    "not_in_order": (file(graph([IDENTITY, ensemble()])), "model.graph", "has a node before what it reads"),
    "reads_nothing": (
        with_nodes(node("Neg", ["nowhere"], ["k"])),
        "model.graph",
        "has a node that reads what nothing gives",
    ),
    "given_twice": (with_nodes(node("Neg", ["features"], ["sum"])), "model.graph", "gives one value twice"),
    "gives_input": (with_nodes(node("Neg", ["features"], ["features"])), "model.graph", "gives its own input"),
    # operators
    "random": (_use("RandomNormalLike"), "model.operator", "draws random numbers"),
    "bernoulli": (_use("Bernoulli"), "model.operator", "draws random truth values"),
    "dropout": (_use("Dropout"), "model.operator", "drops values"),
    "non_zero": (_use("NonZero"), "model.operator", "has a result whose size depends on data"),
    "unique": (_use("Unique"), "model.operator", "asks for distinct values"),
    "optional": (_use("Optional"), "model.operator", "makes an optional value"),
    "sequence": (_use("SequenceConstruct"), "model.operator", "makes a sequence"),
    "text_operator": (_use("StringNormalizer"), "model.operator", "works on texts"),
    "older_trees": (
        _use("TreeEnsembleRegressor", domain="ai.onnx.ml"),
        "model.operator",
        "uses the older operator for trees",
    ),
    "custom_domain": (
        _use("Anything", domain="com.example"),
        "model.operator",
        "uses an operator of a domain of others",
    ),
    "microsoft_domain": (
        _use("Gelu", domain="com.microsoft"),
        "model.operator",
        "uses an operator of onnxruntime's own",
    ),
    "training_domain": (
        _use("Gradient", domain="ai.onnx.preview.training"),
        "model.operator",
        "uses an operator of training",
    ),
    "domain_spelled_out": (_use("Neg", domain="ai.onnx"), "model.operator", "spells the default domain out"),
    "operator_case": (_use("identity"), "model.operator", "has an operator's name in another case"),
    "operator_empty": (_use(""), "model.operator", "has a node without an operator"),
    "trees_in_default_domain": (_use("TreeEnsemble"), "model.operator", "has trees in the wrong domain"),
    "constant_node": (
        with_nodes(node("Constant", [], ["k"], attribute("value_float", 1.0))),
        "model.operator",
        "has a constant as a node",
    ),
    "two_outputs": (_use("Neg", outputs=("k", "l")), "model.operator", "has an operator with an output too many"),
    "no_inputs": (with_nodes(node("Neg", [], ["k"])), "model.operator", "has an operator without an input"),
    # attributes
    "cast_to_text": (_use("Cast", attribute("to", 8)), "model.attribute", "casts to text"),
    "cast_to_float16": (_use("Cast", attribute("to", 10)), "model.attribute", "casts to half precision"),
    "attribute_unknown": (
        _use("Neg", attribute("exec", "x")),
        "model.attribute",
        "has an attribute that its operator does not have",
    ),
    "attribute_type": (_use("Cast", attribute("to", "1")), "model.attribute", "has an attribute of another type"),
    "attribute_two_values": (
        _use("Cast", part(1, "to") + number32(2, 1.0) + integer(3, 1) + integer(20, 2)),
        "model.attribute",
        "has an attribute of two values",
    ),
    "attribute_other_type_said": (
        _use("Cast", part(1, "to") + integer(3, 1) + integer(20, 1)),
        "model.attribute",
        "has an attribute of another type than it says",
    ),
    "attribute_nan": (_use("Elu", attribute("alpha", math.nan)), "model.not_finite", "has an attribute that is NaN"),
    "pad_reflect": (
        with_nodes(
            node("Pad", ["features", "pads"], ["k"], attribute("mode", "reflect")),
            tensors=[int64s("pads", [0, 0, 0, 0])],
        ),
        "model.attribute",
        "pads in another way than the format allows",
    ),
    # finite numbers
    "constant_nan": (
        with_nodes(_ADD, tensors=[doubles("c", [math.nan] * 4)]),
        "model.not_finite",
        "adds a constant that is NaN",
    ),
    "constant_infinite": (
        with_nodes(node("Mul", ["features", "c"], ["k"]), tensors=[doubles("c", [math.inf] * 4)]),
        "model.not_finite",
        "multiplies by a constant that is infinite",
    ),
    "constant_float_nan": (
        with_nodes(node("Mul", ["features", "c"], ["k"]), tensors=[tensor("c", FLOAT, [1], b"\x01\x00\x80\x7f")]),
        "model.not_finite",
        "holds a signalling NaN",
    ),
    # sizes
    "expand_huge": (
        with_nodes(_EXPAND, tensors=[int64s("shape", [1 << 40, 1, 4])]),
        "model.growth",
        "expands its input to terabytes",
    ),
    "pad_huge": (
        with_nodes(node("Pad", ["features", "pads"], ["k"]), tensors=[int64s("pads", [0, 1 << 40, 0, 0])]),
        "model.growth",
        "pads its input to terabytes",
    ),
    "doubling": (
        with_nodes(
            *(
                node("Concat", [f"v{step}"] * 2 if step else ["features"] * 2, [f"v{step + 1}"], attribute("axis", 1))
                for step in range(40)
            )
        ),
        "model.growth",
        "doubles its width forty times",
    ),
    "outer_product": (
        with_nodes(
            node("Transpose", ["features"], ["t"], attribute("perm", [1, 0])),
            node("MatMul", ["features", "t"], ["s0"]),
            *(node("MatMul", [f"s{step}"] * 2, [f"s{step + 1}"]) for step in range(80)),
        ),
        "model.rows",
        "computes every row against every row eighty times",
    ),
    "shape_from_data": (
        with_nodes(
            node("Cast", ["features"], ["n"], attribute("to", INT64)), node("Reshape", ["features", "n"], ["k"])
        ),
        "model.shape",
        "takes a shape from the values of a row",
    ),
    "shapes_do_not_fit": (
        with_nodes(_ADD, tensors=[doubles("c", [1.0, 2.0, 3.0])]),
        "model.shape",
        "adds what does not fit",
    ),
    "axis_beyond": (_use("Concat", attribute("axis", 7)), "model.shape", "joins along an axis that there is not"),
    "column_with_a_row": (
        with_nodes(
            node("Add", ["column", "row"], ["sums"]),
            node("Reshape", ["sums", "flat"], ["four"]),
            node("Gather", ["four", "second"], ["length"]),
            node("ConstantOfShape", ["length"], ["k"]),
            tensors=[
                int64s("column", [1 << 40, 0], [2, 1]),
                int64s("row", [0, 1], [1, 2]),
                int64s("flat", [-1]),
                int64s("second", [1]),
            ],
        ),
        "model.shape",
        "takes a length from the sums of a column with a row",
    ),
    "empty_mean": (
        with_nodes(node("ReduceMean", ["none"], ["k"]), tensors=[int64s("none", [])]),
        "model.shape",
        "takes the mean of no integers",
    ),
    "squeeze_of_no_axes": (
        with_nodes(
            node("Squeeze", ["place", "axes"], ["scalar"]),
            node("Gather", ["features", "scalar"], ["k"], attribute("axis", 1)),
            tensors=[int64s("place", [0]), int64s("axes", [])],
        ),
        "model.shape",
        "takes away no axes, which is all of them",
    ),
    "split_of_others": (
        with_nodes(
            node("Split", ["features"], ["k", "l"], attribute("axis", 1), attribute("num_outputs", 1)),
        ),
        "model.shape",
        "is split in one part and gives two",
    ),
    # what the whole graph takes
    "memory_of_constants": (_filled(1 << 22, 40), "model.growth", "sums forty constants of 32 MB that all live"),
    "memory_of_rows": (
        _grown(
            *(node("Abs", ["wide"], [f"a{place}"]) for place in range(10)),
            node("Sum", [f"a{place}" for place in range(10)], ["k"]),
        ),
        "model.growth",
        "sums ten values of 128 MB that all live",
    ),
    "work_of_constants": (
        with_nodes(
            node("ConstantOfShape", ["shape"], ["p0"], attribute("value", doubles("v", [1.5]))),
            *(node("Pow", [f"p{place}", "e"], [f"p{place + 1}"]) for place in range(6)),
            tensors=[int64s("shape", [1 << 23]), doubles("e", [1.0001], [])],
        ),
        "model.growth",
        "raises eight million constants to a power six times",
    ),
    "work_of_products": (
        with_nodes(
            node("ConstantOfShape", ["shape"], ["p"], attribute("value", doubles("v", [1.5]))),
            node("MatMul", ["p", "p"], ["k"]),
            tensors=[int64s("shape", [2048, 2048])],
        ),
        "model.growth",
        "multiplies two constant matrices eight thousand million times",
    ),
    "work_of_rows": (
        _grown(
            node("Pow", ["wide", "wide"], ["p0"]),
            *(node("Pow", [f"p{place}", "wide"], [f"p{place + 1}"]) for place in range(600)),
        ),
        "model.growth",
        "computes five million powers for a row",
    ),
    # what would end the process
    "division_by_zero": (_divided("Div", 3, 0, 3, 3), "model.division", "divides integers by a constant with a zero"),
    "division_by_minus_one": (
        _divided("Div", -1),
        "model.division",
        "divides integers by -1, where the smallest has no result",
    ),
    "division_by_itself": (
        with_nodes(
            node("Cast", ["features"], ["n"], attribute("to", INT64)),
            node("Div", ["n", "n"], ["k"]),
        ),
        "model.division",
        "divides integers by values of the row",
    ),
    "remainder_of_zero": (_divided("Mod", 0), "model.division", "takes an integer's remainder of zero"),
    "remainder_of_minus_one": (_divided("Mod", -1), "model.division", "takes an integer's remainder of -1"),
    "groups_0": (_groups(0), "model.attribute", "normalises in no groups"),
    "groups_negative": (_groups(-1), "model.attribute", "normalises in -1 groups"),
    "diagonal_far_away": (
        _use("EyeLike", attribute("k", -(1 << 63))),
        "model.attribute",
        "writes on a diagonal that no matrix has",
    ),
    "window_without_step": (
        with_nodes(
            node("Unsqueeze", ["features", "last"], ["deep"]),
            node("MaxPool", ["deep"], ["k"], attribute("kernel_shape", [1]), attribute("strides", [0])),
            tensors=[int64s("last", [2])],
        ),
        "model.attribute",
        "moves a window by nothing",
    ),
    # inputs and outputs
    "input_float": (
        file(graph(_TREES, inputs=[port("features", [None, 4], FLOAT)])),
        "model.signature",
        "takes single precision",
    ),
    "input_second": (
        file(graph(_TREES, inputs=[INPUT, port("more", [None, 1])])),
        "model.signature",
        "takes a second input",
    ),
    "input_fixed_rows": (
        file(graph(_TREES, inputs=[port("features", [1, 4])])),
        "model.signature",
        "takes one row only",
    ),
    "input_any_width": (
        file(graph(_TREES, inputs=[port("features", [None, None])])),
        "model.signature",
        "takes any number of columns",
    ),
    "input_one_axis": (file(graph(_TREES, inputs=[port("features", [None])])), "model.signature", "takes a vector"),
    "output_float": (
        file(graph(_TREES, outputs=[port("score", [None, 1], FLOAT)])),
        "model.signature",
        "gives single precision",
    ),
    "output_absent": (file(graph(_TREES, outputs=[])), "model.signature", "gives nothing"),
    "output_second": (
        file(graph(_TREES, outputs=[OUTPUT, port("sum", [None, 1])])),
        "model.signature",
        "gives a second output",
    ),
    "output_of_nothing": (
        file(graph(_TREES, outputs=[port("nowhere", [None, 1])])),
        "model.signature",
        "gives a value that nothing computes",
    ),
    "output_other_shape": (
        file(graph(_TREES, outputs=[port("score", [None, 2])])),
        "model.signature",
        "says that it gives two columns and gives one",
    ),
    "input_as_output": (
        file(graph(_TREES, outputs=[port("features", [None, 4])])),
        "model.signature",
        "gives its input back",
    ),
    # trees
    "feature_beyond": (_tree(nodes_featureids=_at(0, 4)), "model.tree", "looks at a column that there is not"),
    "feature_negative": (_tree(nodes_featureids=_at(0, -1)), "model.tree", "looks at column -1"),
    "feature_64_bits": (_tree(nodes_featureids=_at(0, 1 << 62)), "model.tree", "looks at column 2^62"),
    "target_beyond": (_tree(leaf_targetids=_at(0, 1)), "model.tree", "adds a leaf to a target that there is not"),
    "target_negative": (_tree(leaf_targetids=_at(0, -1)), "model.tree", "adds a leaf to target -1"),
    "target_missing": (_tree(leaf_targetids=lambda old: old[:-1]), "model.tree", "has a leaf without a target"),
    "child_beyond": (_tree(nodes_truenodeids=_at(0, 99)), "model.tree", "has a child that there is not"),
    "child_negative": (_tree(nodes_truenodeids=_at(0, -1)), "model.tree", "has child -1"),
    "child_is_parent": (_tree(nodes_truenodeids=_at(0, 0)), "model.tree", "has a split that leads to itself"),
    "child_of_two": (_tree(nodes_truenodeids=_at(0, 3)), "model.tree", "has a node in two trees"),
    "leaf_of_two": (_tree(nodes_truenodeids=_at(1, 1)), "model.tree", "has a leaf at the end of two paths"),
    "root_beyond": (_tree(tree_roots=_at(0, 99)), "model.tree", "has a root that is no node"),
    "root_twice": (_tree(tree_roots=_at(1, 0)), "model.tree", "has one root twice"),
    "no_trees": (_tree(tree_roots=[]), "model.tree", "has no trees"),
    "flag_of_2": (_tree(nodes_trueleafs=_at(0, 2)), "model.tree", "has a flag of two"),
    "lists_differ": (_tree(nodes_featureids=lambda old: old[:-1]), "model.tree", "has lists of different lengths"),
    "mode_member": (
        _tree(nodes_modes=tensor("nodes_modes", UINT8, [_COUNT], b"\6" + bytes(_COUNT - 1))),
        "model.tree",
        "has a split over a set",
    ),
    "mode_type": (
        _tree(nodes_modes=tensor("nodes_modes", INT64, [_COUNT], bytes(8 * _COUNT))),
        "model.tree",
        "has modes of another type",
    ),
    "threshold_nan": (
        _tree(nodes_splits=doubles("nodes_splits", [math.nan] * _COUNT)),
        "model.tree",
        "has a threshold that is NaN",
    ),
    "leaf_nan": (_tree(leaf_weights=_leaves(*_NAN_LEAVES)), "model.tree", "has a leaf that is NaN"),
    "leaf_infinite": (
        _tree(leaf_weights=_leaves(math.inf, *_NAN_LEAVES[1:])),
        "model.tree",
        "has a leaf that is infinite",
    ),
    "leaf_minus_infinite": (
        _tree(leaf_weights=_leaves(-math.inf, *_NAN_LEAVES[1:])),
        "model.tree",
        "has a leaf that is minus infinity",
    ),
    "leaves_single": (
        _tree(leaf_weights=tensor("leaf_weights", FLOAT, [8], bytes(32))),
        "model.tree",
        "has leaves of another type than its thresholds",
    ),
    "targets_2": (_tree(n_targets=2), "model.signature", "has trees of two targets"),
    "depth_1001": (_chain(1001), "model.tree", "has a path of 1001 splits"),
    "average": (_tree(aggregate_function=0), "model.attribute", "averages its trees by itself"),
    "maximum": (_tree(aggregate_function=3), "model.attribute", "takes the maximum of its trees"),
    "softmax": (_tree(post_transform=1), "model.attribute", "transforms the sum by itself"),
    "members": (
        file(graph([ensemble(more=[attribute("membership_values", doubles("m", [1.0]))]), IDENTITY])),
        "model.attribute",
        "has sets of categories",
    ),
    "attribute_twice": (
        file(graph([ensemble(more=[attribute("n_targets", 1)]), IDENTITY])),
        "model.attribute",
        "has an attribute twice",
    ),
}
_SAID: dict[str, tuple[Edit, str]] = {
    "said_ir_version": (put("model.ir_version", 9), "another ir_version than the graph has"),
    "said_opset": (put("model.opsets", {"ai.onnx": 17, "ai.onnx.ml": 5}), "another opset than the graph has"),
    "said_domain": (put("model.opsets", {"ai.onnx": 18}), "fewer domains than the graph has"),
    "said_input_name": (put("model.inputs.0.name", "x"), "another input than the graph has"),
    "said_width": (put("model.inputs.0.shape", [None, 3]), "another width than the graph has"),
    "said_dtype": (put("model.inputs.0.dtype", "float32"), "another type of input than the graph has"),
    "said_outputs": (put("model.outputs", []), "no output"),
}
_STAGES: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "graph_not_last": (
        [{"stage": "graph", "file": "model.onnx", "processors": []}, {"stage": "drop_missing", "columns": None}],
        "stage.order",
        "after the last graph",
    ),
    "two_windows": (
        [
            *({"stage": "window", "length": 2, "fill": "ffill+bfill"} for _ in range(2)),
            {"stage": "graph", "file": "model.onnx", "processors": []},
        ],
        "stage.order",
        "of two windows",
    ),
    "unknown_processor": (
        [
            {"stage": "cross_section", "processor": {"class": "os.system"}, "universe": "all"},
            {"stage": "graph", "file": "model.onnx", "processors": []},
        ],
        "stage.unsupported",
        "of a processor that the reader does not know",
    ),
    "processor_field": (
        [
            {
                "stage": "cross_section",
                "processor": {"class": "CSRankNorm", "columns": None, "dtype": "float64", "exec": "x"},
                "universe": "all",
            },
            {"stage": "graph", "file": "model.onnx", "processors": []},
        ],
        "stage.malformed",
        "with a field too many",
    ),
    "unknown_column": (
        [{"stage": "drop_missing", "columns": ["NOWHERE"]}, {"stage": "graph", "file": "model.onnx", "processors": []}],
        "stage.malformed",
        "that names a column that there is not",
    ),
}
_TOO_LARGE: Edit = put("files.1.size", (2 << 30) + 1)


def cases() -> Iterator[Case]:
    for name, (data, text) in FIELDS.items():
        yield _gate(name, f"holds {text}", "model.field", bundle({"model.onnx": data}))
    for name, (data, code, text) in OTHERS.items():
        yield _gate(name, text, code, bundle({"model.onnx": data}))
    for name, (edit, text) in _SAID.items():
        yield Case(
            f"model_{name}",
            f"V7: the manifest says {text}.",
            "verify",
            UNSIGNED,
            17,
            "model.manifest",
            bundle(edit=edit),
        )
    yield _gate("too_large", "has more than 2 GiB, by its manifest", "model.size", bundle(edit=_TOO_LARGE))
    for name, (stages, code, text) in _STAGES.items():
        yield Case(
            f"stages_{name}", f"V7: a stage {text}.", "selftest", UNSIGNED, 17, code, bundle(edit=put("stages", stages))
        )
    window = [
        {"stage": "window", "length": 2, "fill": "ffill+bfill"},
        {"stage": "graph", "file": "model.onnx", "processors": []},
    ]
    shape = put("model.inputs.0.shape", [None, 2, 4])
    other = bundle({"model.onnx": window_model()}, both(put("stages", window), shape))
    yield Case(
        "stages_window_of_another_length",
        "V7: a window that is not of the model's step length.",
        "selftest",
        UNSIGNED,
        17,
        "stage.window",
        other,
    )
    mixed = with_nodes(_ADD, tensors=[tensor("c", FLOAT, [4], bytes(16))])
    yield Case(
        "model_types_do_not_fit",
        "V7: a graph that adds single to double precision; onnxruntime does not load it.",
        "selftest",
        UNSIGNED,
        17,
        "model.not_loadable",
        bundle({"model.onnx": mixed}),
    )
    three = model(tree_values([(0, 0.5, False, 1.0, 2.0)])).replace(
        part(11, INPUT), part(11, port("features", [None, 3]))
    )
    # Length prefixes stay right: both lengths take one byte.
    narrow = bundle({"model.onnx": three}, put("model.inputs.0.shape", [None, 3]))
    yield Case(
        "model_other_width_than_features",
        "V7: a graph of three columns for four features.",
        "selftest",
        UNSIGNED,
        17,
        "model.signature",
        narrow,
    )
    yield from _alphas()
    yield from _passing()


_BARS = port("bars", [None, 2, 3], FLOAT)
_LENGTH = port("length", [None], INT64)
_ALPHAS = port("alphas", [None, 3], FLOAT)
_LAST = int64s("last", [1], [])
_DAY = node("Gather", ["bars", "last"], ["alphas"], attribute("axis", 1))


def _of_bars(
    nodes: Sequence[bytes] = (_DAY,),
    tensors: Sequence[bytes] = (_LAST,),
    inputs: Sequence[bytes] = (_BARS, _LENGTH),
    output: bytes = _ALPHAS,
    opsets: Sequence[tuple[str, int]] = OPSETS[:1],
) -> bytes:
    """The last day's bars as features, or what the arguments say."""
    return file(graph(nodes, tensors, inputs, [output]), opsets=opsets)


def _large() -> bytes:
    """Two copies, of 1025 and then of 64: more numbers than a row may have, in a small file."""
    copies = [
        node("Gather", ["bars", "many"], ["wide"], attribute("axis", 1)),
        node("Gather", ["wide", "some"], ["wider"], attribute("axis", 2)),
    ]
    return _of_bars([_DAY, *copies], [_LAST, int64s("many", [0] * 1025), int64s("some", [0] * 64)])


_OF_BARS: dict[str, tuple[str, str, bytes]] = {
    "matrices": (
        "model.operator",
        "multiplies matrices",
        _of_bars([_DAY, node("MatMul", ["alphas", "c"], ["k"])], [_LAST, tensor("c", FLOAT, [3, 1], bytes(12))]),
    ),
    "trees": (
        "model.operator",
        "asks trees",
        _of_bars([_DAY, node("TreeEnsemble", ["alphas"], ["k"], domain="ai.onnx.ml")], opsets=OPSETS),
    ),
    "loop": ("model.operator", "loops", _of_bars([_DAY, node("Loop", ["length", "", "bars"], ["k"])])),
    "too_large": ("model.growth", "gives more than 2^23 numbers for 256 rows", _large()),
    "without_length": ("model.signature", "takes no length", _of_bars(inputs=[_BARS])),
    "length_first": ("model.signature", "takes the length first", _of_bars(inputs=[_LENGTH, _BARS])),
    "double_bars": ("model.signature", "takes doubles", _of_bars(inputs=[port("bars", [None, 2, 3]), _LENGTH])),
    "other_window": (
        "model.signature",
        "takes three days where the manifest says two",
        _of_bars(inputs=[port("bars", [None, 3, 3], FLOAT), _LENGTH]),
    ),
    "other_fields": (
        "model.signature",
        "takes four fields where the manifest says three",
        _of_bars(inputs=[port("bars", [None, 2, 4], FLOAT), _LENGTH]),
    ),
    "one_row": ("model.signature", "takes one row", _of_bars(inputs=[port("bars", [1, 2, 3], FLOAT), _LENGTH])),
    "other_width": (
        "model.signature",
        "declares two features where the manifest says three",
        _of_bars(output=port("alphas", [None, 2], FLOAT)),
    ),
    "gives_another_width": (
        "model.signature",
        "gives another width than it declares",
        _of_bars([node("Gather", ["bars", "last"], ["alphas"], attribute("axis", 2))]),
    ),
    "constant_named_length": (
        "model.graph",
        "has a constant named as an input",
        _of_bars(tensors=[_LAST, int64s("length", [1])]),
    ),
    "other_opset": ("model.version", "is of another opset", _of_bars(opsets=[("", 17)])),
}


def _alphas() -> Iterator[Case]:
    """Graphs from bars to alpha features: operators of their own, and exactly the ports that the manifest says."""
    for name, (code, text, data) in _OF_BARS.items():
        text = f"V7: a graph from bars to alpha features that {text}."
        yield Case(f"alphas_{name}", text, "verify", UNSIGNED, 17, code, bar_bundle(graph=data))


def _gate(name: str, text: str, code: str, files: dict[str, bytes]) -> Case:
    return Case(f"model_{name}", f"V7: a graph that {text}.", "verify", UNSIGNED, 17, code, files)


def _passing() -> Iterator[Case]:
    infinite = [*TREES, (0, math.inf, True, 1.0, 2.0)]
    for name, text, data in (
        ("infinite_threshold", "an infinite threshold, as LightGBM has it", model(tree_values(infinite))),
        ("depth_1000", "a path of exactly 1000 splits", _chain(1000)),
        ("divided_integers", "integers divided by constants that are neither 0 nor -1", _divided("Div", 3, -2, 7, 1)),
        ("values_one_after_the_other", "values that are large, and of which two live at one time", _in_turns()),
        ("nan_put_in_place", "NaN where it is put in the place of another value", _with_where()),
    ):
        yield Case(f"model_{name}", f"V7: {text} passes.", "verify", UNSIGNED, 0, "ok", bundle({"model.onnx": data}))
    windows = window_bundle()
    yield Case("model_on_windows", "V7: a graph on windows passes.", "verify", UNSIGNED, 0, "ok", windows)


def _with_where() -> bytes:
    nodes = [node("IsInf", ["features"], ["odd"]), node("Where", ["odd", "c", "features"], ["k"])]
    return with_nodes(*nodes, tensors=[doubles("c", [math.nan], [])])


def window_bundle(length: int = 2) -> dict[str, bytes]:
    """A bundle on windows, whose score is the first feature; its golden rows have two dates."""
    data = tables.golden("golden_windows")
    window = [
        {"stage": "window", "length": length, "fill": "ffill+bfill"},
        {"stage": "graph", "file": "model.onnx", "processors": []},
    ]
    edit = both(
        put("stages", window),
        put("model.inputs.0.shape", [None, length, 4]),
        put("model.opsets", {"ai.onnx": 18, "ai.onnx.ml": 5}),
        put("model.step_length", length),
        put("golden.rows", len(tables.TABLE_ROWS)),
        put("golden.days", ["2024-01-03"]),
    )
    return bundle({"model.onnx": window_model(length), "golden.parquet": data}, edit)
