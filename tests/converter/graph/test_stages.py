"""From qlib's processors to stages: what is read, where it is cut, and that the cut pipeline gives qlib's values."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from alphaseal.format.manifest import CrossSectionStage, DropMissingStage, GraphStage, WindowStage
from alphaseal.scoring.cross_section import CrossSection as RuntimeCrossSection
from alphaseal.scoring.numeric import ulp_distance
from alphaseal.scoring.pipeline import Pipeline
from alphaseal.tables.feature_files import read_parquet
from alphaseal.tables.features import FeatureBlock, FeatureColumn
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.graph.assemble import build_row_graph
from alphaseal_converter.graph.stages import CrossSectionStep, DropStep, RowStep, stages_of
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.pickles import read_pickle
from alphaseal_converter.pickles.records import Global, Record
from alphaseal_converter.processors.cross_section import CSRankNorm, CSZFillna, CSZScoreNorm, ProcessInf
from alphaseal_converter.processors.fillna import Fillna
from alphaseal_converter.processors.kinds import KINDS, fitted_processors
from alphaseal_converter.processors.normalisation import RobustZScoreNorm
from alphaseal_converter.processors.processor import Processor
from alphaseal_converter.processors.selection import DropCol, DropnaProcessor, FilterCol
from alphaseal_converter.processors.sequence import apply_processors
from alphaseal_converter.processors.tanh import TanhProcess
from locations import DATA, REPOSITORY

RESEARCH = os.environ.get("ALPHASEAL_RESEARCH_PYTHON")
RECORDED = json.loads((DATA / "pipeline/cross_sections.json").read_text(encoding="utf-8"))
NAMES = ("A", "B")
FILL = Fillna(0.0)
RANK, ZSCORE, MEAN = CSRankNorm(), CSZScoreNorm("zscore"), CSZFillna()
DROP = DropnaProcessor(features=True, label=False)


def robust(dtype: str = "float64") -> RobustZScoreNorm:
    return RobustZScoreNorm(NAMES, np.array([0.5, -1.0], dtype), np.array([2.0, 3.0], dtype))


def read(name: str, **attributes: Any) -> tuple[Processor, ...]:
    """One processor as it is pickled, read."""
    record = Record(Global("qlib.data.dataset.processor", name), new=True, state=attributes)
    return fitted_processors([record])


def numbers(columns: list[list[Any]]) -> np.ndarray:
    return np.ascontiguousarray(np.array([[float(value) for value in column] for column in columns]).T)


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("CSZScoreNorm", {"fields_group": ["feature"], "zscore_func": Global("qlib.utils.data", "zscore")}, (ZSCORE,)),
        (
            "CSZScoreNorm",
            {"fields_group": [None], "zscore_func": Global("qlib.utils.data", "robust_zscore")},
            (CSZScoreNorm("robust"),),
        ),
        ("CSZScoreNorm", {"fields_group": ["label"], "zscore_func": Global("qlib.utils.data", "zscore")}, ()),
        ("CSRankNorm", {"fields_group": "feature"}, (RANK,)),
        ("CSRankNorm", {"fields_group": "label"}, ()),
        ("CSZFillna", {"fields_group": None}, (MEAN,)),
        ("ProcessInf", {}, (ProcessInf(),)),
        ("TanhProcess", {}, (TanhProcess(),)),
        ("DropnaProcessor", {"fields_group": None}, (DropnaProcessor(features=True, label=True),)),
        ("DropnaProcessor", {"fields_group": "feature"}, (DROP,)),
        ("DropnaProcessor", {"fields_group": "label"}, (DropnaProcessor(features=False, label=True),)),
    ],
)
def test_processor_is_read_as_it_is_pickled(
    name: str, attributes: dict[str, Any], expected: tuple[Processor, ...]
) -> None:
    """Class, group of columns and method, in the forms that qlib leaves behind."""
    assert read(name, **attributes) == expected


@pytest.mark.parametrize("function", [None, "zscore", Global("os", "system"), Global("mine", "zscore")])
def test_zscore_of_another_make_is_refused(function: Any) -> None:
    """CSZScoreNorm with a function that is not one of qlib's two is not guessed at."""
    with pytest.raises(RefusalError) as caught:
        read("CSZScoreNorm", fields_group="feature", zscore_func=function)
    assert caught.value.code == "processor.unknown"


def test_row_wise_processors_go_into_the_models_graph() -> None:
    """The usual pipeline has no stage beside the graph."""
    plan = stages_of((robust(), FILL), NAMES, ("float32", "float64"))
    assert plan.steps == ()
    assert [type(part) for part in plan.final] == [RobustZScoreNorm, Fillna]
    assert plan.graphs() == {}
    (stage,) = plan.stages("model.onnx", 1, None)
    assert isinstance(stage, GraphStage)
    assert [part["class"] for part in stage.processors] == ["RobustZScoreNorm", "Fillna"]


def test_pipeline_is_cut_where_the_day_is_needed() -> None:
    """Graph, drop, cross-sections, graph, cross-section, window, model: in the order of the processors."""
    plan = stages_of((robust("float32"), FILL, DROP, MEAN, RANK, FILL, ZSCORE), NAMES, ("float32",) * 2, 5)
    assert [type(step) for step in plan.steps] == [
        RowStep,
        DropStep,
        CrossSectionStep,
        CrossSectionStep,
        RowStep,
        CrossSectionStep,
    ]
    assert [step.dtypes[0] for step in plan.steps if isinstance(step, CrossSectionStep)] == [
        "float32",
        "float32",
        "float64",
    ]
    assert plan.final == ()
    stages = plan.stages("model.onnx", 5, "csi300")
    kinds = [
        GraphStage,
        DropMissingStage,
        CrossSectionStage,
        CrossSectionStage,
        GraphStage,
        CrossSectionStage,
        WindowStage,
        GraphStage,
    ]
    assert [type(stage) for stage in stages] == kinds
    assert list(plan.graphs()) == ["rows0.onnx", "rows1.onnx"]
    assert [stage.file for stage in stages if isinstance(stage, GraphStage)] == [
        "rows0.onnx",
        "rows1.onnx",
        "model.onnx",
    ]
    assert "csi300" in stages[2].universe  # type: ignore[union-attr]


def test_label_dependent_drop_is_refused_where_it_matters() -> None:
    """Rows dropped for their label change what is left of a day or a window; a day to come has no labels."""
    with_label = DropnaProcessor(features=True, label=True)
    for processors, length in (((with_label, RANK), 1), ((with_label,), 20), ((DropnaProcessor(False, True), MEAN), 1)):
        with pytest.raises(RefusalError) as caught:
            stages_of(processors, NAMES, ("float64",) * 2, length)
        assert caught.value.code == "processor.label_dependent"
    assert stages_of((RANK, with_label), NAMES, ("float64",) * 2).steps[1:] == (DropStep(),)


@pytest.mark.parametrize("selection", [FilterCol(NAMES), DropCol(("C",))])
def test_drop_before_a_selection_is_refused(selection: Processor) -> None:
    """Rows were dropped by columns that the model does not have."""
    with pytest.raises(RefusalError) as caught:
        stages_of((DROP, selection), NAMES, ("float64",) * 2)
    assert caught.value.code == "processor.columns"
    assert stages_of((RANK, selection, DROP), NAMES, ("float64",) * 2).steps[1] == DropStep()


def test_only_a_rank_widens_between_normalisations() -> None:
    """float64 numbers after float32 ones are possible after CSRankNorm only, and float32 ones never come back."""
    assert stages_of((robust("float32"), RANK, robust()), NAMES, ("float32",) * 2).final
    for processors in ((robust("float32"), robust()), (RANK, robust("float32"))):
        with pytest.raises(RefusalError) as caught:
            stages_of(processors, NAMES, ("float32",) * 2)
        assert caught.value.code == "processor.dtype"


@pytest.mark.parametrize("frame", ["float32", "float64", "mixed"])
def test_declared_stage_gives_what_qlib_gave(frame: str) -> None:
    """The stage that the converter declares for a frame's dtypes has qlib's bits in the runtime."""
    columns, recorded = RECORDED["columns"], RECORDED["frames"][frame]
    days = np.array(RECORDED["days"])
    starts = np.flatnonzero(np.r_[True, days[1:] != days[:-1]]).tolist()
    dtypes = ["float32" if name in recorded["single"] else "float64" for name in columns]
    for result in recorded["results"]:
        if result["class"] == "TanhProcess":
            continue
        method = {"method": result["method"]} if result["method"] else {}
        plan = stages_of((KINDS[result["class"]](**method),), columns, dtypes)  # type: ignore[arg-type]
        stage = plan.stages("model.onnx", 1, None)[0]
        assert isinstance(stage, CrossSectionStage)
        made = RuntimeCrossSection.parse(stage.processor, len(columns), columns)
        found = made.apply(
            numbers(recorded["values"]), zip(days[starts], starts, [*starts[1:], len(days)], strict=True)
        )
        assert not ulp_distance(found, numbers(result["values"])).any()


@pytest.mark.parametrize("frame", ["float32", "float64", "mixed"])
def test_tanh_is_computed_in_each_columns_dtype(frame: str) -> None:
    """The graph and the numpy side give qlib's tanh within 2 units of the column's dtype; labels by name stay."""
    columns, recorded = [*RECORDED["columns"][:-1], "MY_LABEL"], RECORDED["frames"][frame]
    dtypes = ["float32" if name in recorded["single"] else "float64" for name in RECORDED["columns"]]
    (processor,) = stages_of((TanhProcess(),), columns, dtypes).final  # type: ignore[arg-type]
    values = numbers(recorded["values"])
    expected = numbers(next(part["values"] for part in recorded["results"] if part["class"] == "TanhProcess"))
    expected[:, -1] = values[:, -1]
    graph = Pipeline(
        [GraphStage(file="rows", processors=[]), GraphStage(file="sum", processors=[])],
        {"rows": build_row_graph((processor,), len(columns)), "sum": _first_column(len(columns))}.__getitem__,
        len(columns),
    )
    block = FeatureBlock(np.zeros(len(values), "datetime64[D]"), None, values, ())
    for found in (graph.prepare(block).values, apply_processors(values, (processor,))):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        for position, dtype in enumerate(dtypes):
            spacing = np.spacing(np.abs(expected[:, position]).astype(dtype)).astype(np.float64)
            known = ~np.isnan(expected[:, position])
            assert (np.abs(found[:, position] - expected[:, position])[known] <= 2 * spacing[known]).all()


def _first_column(width: int) -> bytes:
    builder = GraphBuilder()
    return builder.model(width, builder.add("Gather", "features", builder.constant([0]), axis=1))


def _feature_columns(path: Path) -> list[FeatureColumn]:
    """The columns of a file beside its keys, each of the type that it has there."""
    fields = [field for field in pq.read_schema(path) if field.name not in ("datetime", "instrument")]
    return [FeatureColumn(field.name, "float32" if field.type == "float" else "float64") for field in fields]


@pytest.mark.skipif(not RESEARCH, reason="ALPHASEAL_RESEARCH_PYTHON names no Python with qlib")
@pytest.mark.parametrize("raw", ["raw_6df8e4e5.parquet", "raw_de25918f.parquet"], ids=["mixed", "float32"])
@pytest.mark.slow
def test_pipeline_gives_what_qlibs_handler_gives(tmp_path: Path, raw: str) -> None:
    """Real features through DataHandlerLP and, with its pickled processors, through our stages: the same bits."""
    source = DATA / "direct/features" / raw
    program = REPOSITORY / "tools/research/record_handler.py"
    subprocess.run([str(RESEARCH), str(program), str(source), str(tmp_path)], check=True, capture_output=True)
    columns = _feature_columns(source)
    names, dtypes = [column.name for column in columns], [column.dtype for column in columns]
    block = read_parquet(source, columns)
    recorded = sorted(tmp_path.glob("*.parquet"))
    assert len(recorded) == 5
    for expected in recorded:
        root = read_pickle(expected.with_suffix(".pkl").read_bytes(), where=expected.stem).root
        plan = stages_of(fitted_processors(root), names, dtypes)  # type: ignore[arg-type]
        # The final row-wise processors are followed by nothing here, so they are made a graph of their own.
        graphs = {
            **plan.graphs(),
            "last.onnx": build_row_graph(plan.final, len(names)),
            "model.onnx": _first_column(len(names)),
        }
        stages = [*plan.stages("last.onnx", 1, None), GraphStage(file="model.onnx", processors=[])]
        prepared = Pipeline(stages, graphs.__getitem__, len(names), names=names).prepare(block)
        seen = read_parquet(expected, _feature_columns(expected))
        assert prepared.dates.tolist() == seen.dates.tolist()
        assert prepared.instruments.to_pylist() == seen.instruments.to_pylist()
        distance = ulp_distance(prepared.values, seen.values)
        assert not distance.any(), (expected.stem, int(distance.max()), int((distance > 0).sum()))
