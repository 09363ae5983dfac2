"""Fitted processors: what they refuse, and their nodes against qlib's own output."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alphaseal.errors import AlphasealError, UsageError
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.graph.assemble import build_scoring_graph
from alphaseal_converter.models.trees import TreeEnsembleModel
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.processors.fillna import Fillna
from alphaseal_converter.processors.normalisation import MinMaxNorm, RobustZScoreNorm, ZScoreNorm
from alphaseal_converter.processors.processor import Processor, RowProcessor
from alphaseal_converter.processors.selection import DropCol, FilterCol
from alphaseal_converter.processors.sequence import add_processors
from graphs import from_json, row_processors, run_graph, ulps
from locations import DATA
from raising import refusal

QLIB = json.loads((DATA / "processors" / "qlib.json").read_text(encoding="utf-8"))
COLUMNS = tuple(QLIB["columns"])


def from_qlib(case: dict[str, Any]) -> Processor:
    """The typed processor with the numbers that qlib fitted."""
    if case["class"] == "Fillna":
        return Fillna(case["value"])
    numbers = {name: from_json(values).astype(case["dtype"]) for name, values in case["parameters"].items()}
    if case["class"] == "RobustZScoreNorm":
        return RobustZScoreNorm(COLUMNS, **numbers, clip=case["clip"])
    return ZScoreNorm(COLUMNS, **numbers) if case["class"] == "ZScoreNorm" else MinMaxNorm(COLUMNS, **numbers)


def processed(processors: tuple[RowProcessor, ...], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the graph makes of the rows: column by column, since a scoring graph has one output column."""
    columns = []
    for column in range(rows.shape[1]):
        builder = GraphBuilder()
        values = add_processors(builder, processors, "features")
        score = builder.add("Gather", values, builder.constant([column]), axis=1)
        columns.append(run_graph(builder.model(rows.shape[1], score), rows))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("name", QLIB["cases"])
def test_nodes_give_the_bits_of_qlib(name: str) -> None:
    """float32, float64 and mixed frames; NaN, infinity, outliers and constant columns included."""
    case = QLIB["cases"][name]
    checked = row_processors([from_qlib(case)], COLUMNS)
    found, expected = processed(checked, from_json(case["input"])), from_json(case["output"])
    assert ulps(found, expected).max() == 0
    assert np.isinf(from_json(case["input"])).any()
    assert np.isnan(expected).any() != (case["class"] == "Fillna")


def test_mixed_frames_were_computed_in_float64() -> None:
    """The dtype rule is qlib's: one float64 column makes all arithmetic float64."""
    dtypes = {name: case["dtype"] for name, case in QLIB["cases"].items() if case["dtype"]}
    assert {dtype for name, dtype in dtypes.items() if name.endswith("float32")} == {"float32"}
    assert {dtype for name, dtype in dtypes.items() if not name.endswith("float32")} == {"float64"}


def test_steps_run_in_their_order() -> None:
    """Normalise then fill differs from fill then normalise, and the graph keeps the difference."""
    rows = np.array([[np.nan, 1.0], [4.0, np.inf]])
    norm, fill = zscore(), Fillna(0.0)
    first = processed(row_processors([norm, fill], ("A", "B")), rows)
    second = processed(row_processors([fill, norm], ("A", "B")), rows)
    assert first[0].tolist() == [0.0, -0.25]
    assert second[0].tolist() == [-0.5, -0.25]
    assert first[1].tolist() == second[1].tolist() == [1.5, np.inf]


def zscore(columns: tuple[str, ...] = ("A", "B"), dtype: type[np.floating[Any]] = np.float64) -> ZScoreNorm:
    """Means 1, 2, 3, ... and scales 2, 4, 6, ..."""
    mean = np.arange(1, len(columns) + 1, dtype=dtype)
    return ZScoreNorm(columns, mean, 2 * mean)


def refused(processors: list[Processor], features: tuple[str, ...] = ("A", "B")) -> RefusalError:
    return refusal(RefusalError, row_processors, processors, features)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_unusable_scales_are_refused_by_column(bad: float) -> None:
    """A NaN, infinite, zero or negative scale names its columns, in every class."""
    mean, scale = np.array([1.0, 2.0]), np.array([1.0, bad])
    cases: list[Processor] = [
        RobustZScoreNorm(("A", "B"), mean, scale),
        ZScoreNorm(("A", "B"), mean, scale),
        MinMaxNorm(("A", "B"), mean, mean + scale),
    ]
    for processor in cases:
        error = refused([processor])
        assert error.code == "processor.bad_scale"
        assert error.found == "B"


def test_unusable_means_are_refused() -> None:
    """An empty fit window leaves NaN in the means: qlib says nothing, we do."""
    norm = RobustZScoreNorm(("A", "B"), np.array([np.nan, np.nan]), np.array([np.nan, np.nan]))
    assert refused([norm]).found == "A, B"
    assert refused([replace(norm, mean=np.array([np.inf, 0.0]), scale=np.ones(2))]).found == "A"


@pytest.mark.parametrize("columns", [("B", "A"), ("A",), ("A", "B", "C"), ("A", "C")])
def test_other_columns_than_the_features_are_refused(columns: tuple[str, ...]) -> None:
    """Order, missing and extra columns: the fitted processor is evidence that the order is wrong."""
    assert refused([zscore(columns)]).code == "processor.columns"


def test_columns_that_a_later_selection_removes_are_dropped() -> None:
    """Numbers of removed columns go; those that stay keep theirs."""
    for selection in (FilterCol(("B", "A", "LABEL0")), DropCol(("C",))):
        (norm,) = row_processors([zscore(("A", "C", "B")), selection], ("A", "B"))
        assert isinstance(norm, ZScoreNorm)
        assert norm.columns == ("A", "B")
        assert norm.mean.tolist() == [1.0, 3.0]
        assert norm.scale.tolist() == [2.0, 6.0]
    assert refused([DropCol(("C",)), zscore(("A", "C", "B"))]).code == "processor.columns"


def test_constant_columns_that_go_do_not_count() -> None:
    """A bad scale of a column that the model never sees is no reason to refuse."""
    norm = ZScoreNorm(("A", "C"), np.zeros(2), np.array([1.0, 0.0]))
    assert row_processors([norm, DropCol(("C",))], ("A",))


@pytest.mark.parametrize("selection", [FilterCol(("A",)), DropCol(("B", "X"))])
def test_selections_that_lose_a_feature_are_refused(selection: FilterCol | DropCol) -> None:
    """A model cannot have a feature that the run filtered out."""
    error = refused([selection])
    assert error.code == "processor.columns"
    assert error.found == "B"


def test_dtypes() -> None:
    """Parameters share one floating dtype, and steps do too."""
    mixed = ZScoreNorm(("A", "B"), np.zeros(2, dtype=np.float32), np.ones(2))
    half = ZScoreNorm(("A", "B"), np.zeros(2, dtype=np.float16), np.ones(2, dtype=np.float16))  # type: ignore[arg-type]
    assert refused([mixed]).code == "processor.dtype"
    assert refused([half]).code == "processor.dtype"
    assert refused([zscore(), zscore(dtype=np.float32)]).code == "processor.dtype"
    assert refused([ZScoreNorm(("A", "B"), np.zeros(3), np.ones(3))]).code == "processor.columns"


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.1, 1e300])
def test_fill_values_must_fit_every_dtype(value: float) -> None:
    """pandas rounds the fill value to the column's dtype: 0.1 would be two numbers."""
    assert refused([Fillna(value)]).code == "processor.bad_fill"


def test_descriptions_are_plain_json() -> None:
    """What goes into the manifest survives JSON without loss."""
    mean = np.array([0.1, 2], dtype=np.float32)
    steps: list[Processor] = [
        RobustZScoreNorm(("A", "B"), mean, mean),
        ZScoreNorm(("A", "B"), mean, mean),
        MinMaxNorm(("A", "B"), mean, mean + 1),
        Fillna(0.0),
        FilterCol(("A", "B")),
        DropCol(("C",)),
    ]
    described = [json.loads(json.dumps(step.describe(), allow_nan=False)) for step in steps]
    assert [entry["class"] for entry in described] == [type(step).__name__ for step in steps]
    assert described[0] == {
        "class": "RobustZScoreNorm",
        "columns": ["A", "B"],
        "dtype": "float32",
        "mean": [float(np.float32(0.1)), 2.0],
        "scale": [float(np.float32(0.1)), 2.0],
        "clip": True,
    }
    assert described[3] == {"class": "Fillna", "columns": None, "value": 0.0}


def test_feature_counts_must_agree() -> None:
    """A caller's mistake is a usage error, not a wrong graph."""
    with pytest.raises(UsageError) as caught:
        build_scoring_graph([zscore()], TreeEnsembleModel(3, ()), 3)
    error: AlphasealError = caught.value
    assert error.code == "graph.feature_count"
