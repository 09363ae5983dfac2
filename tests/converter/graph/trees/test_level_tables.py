"""Trees answered by level reach the leaf that a walk reaches, and add to the same bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from alphaseal.gate.model import check_model
from alphaseal.scoring.session import Graph
from alphaseal_converter.graph.assemble import build_scoring_graph
from alphaseal_converter.graph.trees import level_tables
from alphaseal_converter.graph.trees.tree_ensemble import add_single_tree_ensemble
from alphaseal_converter.models.trees import Decision, Tree, TreeEnsembleModel
from alphaseal_converter.nodes.builder import GraphBuilder

FEATURES = 5
POINTS = np.array([-np.inf, -1.5, -0.0, 0.0, 1e-36, 0.1, 2.0, 3e38, 1e300, np.inf, np.nan])


def tree(generator: np.random.Generator, depth: int, fullness: float) -> Tree:
    """A random tree with every kind of split: usual ones, at infinity, both ways for NaN, zero as missing, categories."""
    columns: dict[str, list[float]] = {name: [] for name in ("feature", "threshold", "decision", "nan", "zero")}
    children: dict[int, tuple[int, int]] = {}
    categories, leaves = [], 0

    def grow(level: int) -> int:
        nonlocal leaves
        if level == depth or (level and generator.random() > fullness):
            leaves += 1
            return ~(leaves - 1)
        node = len(columns["feature"])
        member, infinite = generator.random() < 0.1, generator.random() < 0.1
        split = np.inf if infinite else generator.choice(np.append(POINTS[1:-2], generator.normal(size=9)))
        if member:
            categories.append(np.sort(generator.choice(4, 2, replace=False)))
        columns["feature"].append(int(generator.integers(FEATURES)))
        columns["threshold"].append(0.0 if member else split)
        columns["decision"].append(Decision.MEMBER if member else Decision.LESS_OR_EQUAL)
        columns["nan"].append(not member and generator.random() < 0.5)
        columns["zero"].append(not member and generator.random() < 0.1)
        left = grow(level + 1)
        children[node] = (left, grow(level + 1))
        return node

    grow(0)
    pairs = np.array([children[node] for node in range(len(children))], dtype=np.int64).reshape(-1, 2)
    return Tree(
        np.array(columns["feature"], dtype=np.int64),
        np.array(columns["threshold"], dtype=np.float64),
        np.array(columns["decision"], dtype=np.uint8),
        np.array(columns["nan"], dtype=np.bool_),
        np.array(columns["zero"], dtype=np.bool_),
        pairs[:, 0],
        pairs[:, 1],
        generator.normal(size=leaves),
        tuple(categories),
    )


def lone(value: float) -> Tree:
    """A tree of one leaf."""
    none, no = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
    return Tree(none, np.zeros(0), none.astype(np.uint8), no, no, none, none, np.array([value]))


def rows() -> NDArray[np.float64]:
    """Every special value in every column."""
    generator = np.random.default_rng(3)
    found = np.where(generator.random((3000, FEATURES)) < 0.5, generator.choice(POINTS, (3000, FEATURES)), 0.0)
    return np.where(found == 0, generator.normal(size=found.shape) * 2, found)


def scores(graph: bytes, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bits of the scores, of a graph that the gate takes."""
    check_model(graph, "model.onnx")
    return Graph(graph, FEATURES, "model.onnx").run(values, threads=1).view(np.int64)


def operators(graph: bytes) -> set[str]:
    """The operators of a graph."""
    return {node.op_type for node in onnx.load_from_string(graph).graph.node}


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7])
def test_levels_give_the_bits_of_a_walk(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more trees than a group holds, lone leaves among them, whatever the rows hold and however many they are."""
    generator = np.random.default_rng(depth)
    trees = (lone(-0.0), *(tree(generator, depth, 0.9) for _ in range(149)), lone(0.25))
    model = TreeEnsembleModel(FEATURES, trees, zero_bound=1e-35)
    monkeypatch.setattr(level_tables, "_FEWEST_LEAVES", 10**9)
    walked = build_scoring_graph((), model, FEATURES)
    monkeypatch.setattr(level_tables, "_FEWEST_LEAVES", 0)
    by_level = build_scoring_graph((), model, FEATURES)
    assert "TreeEnsemble" in operators(walked)
    assert "TreeEnsemble" not in operators(by_level)
    values = rows()
    expected = scores(walked, values)
    assert (scores(by_level, values) == expected).all()
    assert (scores(by_level, values[7:8]) == expected[7:8]).all()
    assert (scores(by_level, values[::-1]) == expected[::-1]).all()


def test_rows_of_float32_are_compared_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds that no float32 equals part the same rows as in double."""
    generator = np.random.default_rng(8)
    trees = tuple(tree(generator, 5, 0.9) for _ in range(100))
    usual = tuple(
        Tree(
            one.split_feature,
            one.threshold,
            np.zeros_like(one.decision),
            one.missing_left,
            np.zeros_like(one.zero_is_missing),
            one.left,
            one.right,
            one.leaf_value,
        )
        for one in trees
    )
    model = TreeEnsembleModel(FEATURES, usual, average=True)

    def graph() -> bytes:
        builder = GraphBuilder()
        total = add_single_tree_ensemble(builder, model, builder.cast("features", TensorProto.FLOAT))
        content: bytes = builder.model(FEATURES, total)
        return content

    monkeypatch.setattr(level_tables, "_FEWEST_LEAVES", 10**9)
    walked = graph()
    monkeypatch.setattr(level_tables, "_FEWEST_LEAVES", 0)
    by_level = graph()
    assert "TreeEnsemble" in operators(walked)
    assert "TreeEnsemble" not in operators(by_level)
    with np.errstate(over="ignore"):
        splits = np.unique(np.concatenate([one.threshold for one in usual])).astype(np.float32)
    beside = np.concatenate(
        [splits, np.nextafter(splits, np.float32(np.inf)), np.nextafter(splits, np.float32(-np.inf))]
    )
    values = np.concatenate([rows(), generator.choice(beside, (3000, FEATURES)).astype(np.float64)])
    assert (scores(by_level, values) == scores(walked, values)).all()


def test_what_does_not_pay_is_walked() -> None:
    """Few leaves, a long path, sparse trees, and a split below every float32."""
    generator = np.random.default_rng(9)
    full = [tree(generator, 6, 1.0) for _ in range(40)]
    assert level_tables.fits_levels(full)
    assert not level_tables.fits_levels([])
    assert not level_tables.fits_levels(full[:10])
    assert not level_tables.fits_levels([*full, tree(generator, 11, 1.0)])
    assert not level_tables.fits_levels([*full, *(tree(generator, 1, 1.0) for _ in range(2000))])
    full[0].threshold[0] = -1e300
    assert not level_tables.fits_levels(full)
