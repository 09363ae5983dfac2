"""The run's artefacts, typed: every real run against its truth, and odd ones refused."""

from __future__ import annotations

import datetime
import json
import pickle
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas
import pytest

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.artifacts import (
    DatasetState,
    read_dataset,
    read_model,
    read_predictions,
    read_task_configuration,
)
from alphaseal_converter.locate.configuration import expressions, parse_date, parse_task_configuration
from alphaseal_converter.models.lightgbm_text import lightgbm_text
from alphaseal_converter.pickles.records import Global, Record
from alphaseal_converter.processors.kinds import fitted_processors
from alphaseal_converter.processors.normalisation import RobustZScoreNorm
from alphaseal_converter.processors.processor import Processor
from alphaseal_converter.processors.selection import FilterCol
from locations import FIXTURES
from raising import refusal

CASES = sorted(FIXTURES.glob("*/truth/*/truth.json")) + sorted(FIXTURES.glob("direct/*/truth/truth.json"))
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the full set of leftovers is not here")


@pytest.fixture(params=CASES, ids=lambda path: "-".join(path.relative_to(FIXTURES).parts[:-1]))
def case(request: pytest.FixtureRequest) -> tuple[Path, Path, dict[str, Any]]:
    """Artifacts folder, truth folder and truth of one real run."""
    truth = json.loads(request.param.read_text(encoding="utf-8"))
    folder = request.param.parent
    return folder / truth["workspace"] / truth["artifacts"], folder, truth


def artifacts_of(name: str) -> Path:
    """The artifacts folder of a direct run."""
    return next((FIXTURES / "direct" / name / "mlruns").glob("*/*/artifacts"))


def processor(name: str, module: str = "qlib.data.dataset.processor", **attributes: Any) -> tuple[Processor, ...]:
    """One processor record through `fitted_processors`."""
    return fitted_processors([Record(Global(module, name), new=True, state=attributes)])


def state(*records: Record) -> DatasetState:
    """A dataset with these infer processors and nothing else."""
    return DatasetState("", None, records, None)


def refused(call: Any, *arguments: Any, **named: Any) -> str:
    """The code that a call is refused with."""
    return refusal(RefusalError, call, *arguments, **named).code


def test_predictions_are_qlibs_own(case: tuple[Path, Path, dict[str, Any]]) -> None:
    """Every recorded score, its date and its instrument equal the truth bit for bit, in the file's order."""
    artifacts, folder, _ = case
    predictions = read_predictions(artifacts / "pred.pkl")
    assert predictions.dates.dtype == np.dtype("datetime64[D]")
    assert predictions.scores.dtype == np.float64
    index = pandas.MultiIndex.from_arrays([pandas.DatetimeIndex(predictions.dates), predictions.instruments])
    truth = pandas.read_parquet(folder / "pred.parquet").set_index(["datetime", "instrument"])["score"]
    assert len(truth) == len(predictions.scores)
    assert np.array_equal(truth.reindex(index).to_numpy(dtype=np.float64), predictions.scores)


def test_configuration_says_what_the_truth_says(case: tuple[Path, Path, dict[str, Any]]) -> None:
    """Model class, window length and segments are those recorded from qlib."""
    artifacts, _, truth = case
    configuration = read_task_configuration(artifacts / "task")
    assert configuration.step_len == truth.get("step_len")
    assert (configuration.dataset.class_name == "TSDatasetH") == truth["windows"]
    assert {
        name: [bound.isoformat() if bound else None for bound in segment]
        for name, segment in configuration.segments.items()
    } == truth["segments"]
    assert [label.name for label in configuration.labels] == ["LABEL0"]
    assert configuration.strategy is not None
    assert configuration.strategy.class_name == "TopkDropoutStrategy"
    assert configuration.strategy.kwargs["topk"] in (30, 50)
    assert configuration.benchmark == "SH000905"
    assert configuration.costs["open_cost"] == 0.0005
    assert configuration.instruments == "demo62"
    assert configuration.start == datetime.date(2019, 1, 2)


def test_fitted_processors_are_the_fitted_numbers(case: tuple[Path, Path, dict[str, Any]]) -> None:
    """Means, scales, their dtype, fill value and columns in model order equal what qlib had."""
    artifacts, _, truth = case
    found = {
        type(entry).__name__: entry for entry in fitted_processors(read_dataset(artifacts / "dataset").infer_processors)
    }
    assert list(found) == [entry["class"] for entry in truth["processors"]["infer"]]
    for known in truth["processors"]["infer"]:
        entry = found[known["class"]]
        if isinstance(entry, RobustZScoreNorm):
            assert list(entry.columns) == truth["model_features"]
            assert str(entry.dtype) == known["mean_train_dtype"]
            assert np.array_equal(entry.mean, np.array(known["mean_train"], dtype=entry.dtype))
            assert np.array_equal(entry.scale, np.array(known["std_train"], dtype=entry.dtype))
            assert entry.clip is known["clip_outlier"]
        elif isinstance(entry, FilterCol):
            assert set(truth["model_features"]) < set(entry.columns)


def test_dataset_and_configuration_agree(case: tuple[Path, Path, dict[str, Any]]) -> None:
    """The pickled dataset has the window and loader classes of the configuration."""
    artifacts, _, _ = case
    configuration, dataset = read_task_configuration(artifacts / "task"), read_dataset(artifacts / "dataset")
    assert dataset.step_len == configuration.step_len
    assert dataset.dataset_class.endswith(configuration.dataset.class_name)
    assert dataset.loader is not None
    if configuration.loader is not None:
        pairs = zip(dataset.loader.walk(), configuration.loader.walk(), strict=True)
        assert all((a.class_name, a.features, a.labels) == (b.class_name, b.features, b.labels) for a, b in pairs)


@needs_fixtures
def test_loaders_of_three_kinds() -> None:
    """Nested, custom and handler-built loaders give their columns in their own order, and the tables they join."""
    nested = read_task_configuration(artifacts_of("lgb_nested_loader") / "task").loader
    assert nested is not None
    assert [part.class_name for part in nested.walk()] == ["NestedDataLoader", "Alpha158DL", "StaticDataLoader"]
    assert [part.static_paths for part in nested.walk()] == [(), (), ("combined_factors_df.parquet",)]
    assert nested.children[0].module == "qlib.contrib.data.loader"
    ordered = read_task_configuration(artifacts_of("lgb_ordered_loader") / "task").loader
    assert ordered is not None
    assert (ordered.class_name, ordered.module) == ("OrderedFeatureLoader", "ordered_loader")
    assert [column.name for column in ordered.features][:3] == ["RESI5", "WVMA5", "RSQR5"]
    assert ordered.features[0].expression == "Resi($close, 5)/$close"
    assert ordered.static_paths == ("combined_factors_df.parquet",)
    own = read_task_configuration(artifacts_of("lgb_alpha158_filter") / "task")
    assert (own.loader, own.handler.class_name) == (None, "Alpha158")
    loader = read_dataset(artifacts_of("lgb_alpha158_filter") / "dataset").loader
    assert loader is not None
    assert len(loader.features) == 158


def test_the_forks_loader_is_understood() -> None:
    """Arguments of the user's combined loader: alpha expressions in a configuration of their own, and a table."""
    plain = {
        "model": {"class": "LGBModel", "module_path": "qlib.contrib.model.gbdt"},
        "dataset": {
            "class": "qlib.data.dataset.DatasetH",
            "kwargs": {
                "handler": {
                    "class": "DataHandlerLP",
                    "kwargs": {
                        "data_loader": {
                            "class": "CombinedLoader",
                            "module_path": "custom.loaders",
                            "kwargs": {
                                "alpha_config": {"feature": [["$close"], ["C"]], "label": [["Ref($close,-1)"], ["L"]]},
                                "dynamic_path": "combined_factors_df.parquet",
                            },
                        }
                    },
                }
            },
        },
    }
    configuration = parse_task_configuration(plain, "task")
    assert configuration.loader is not None
    assert [column.name for column in configuration.loader.features] == ["C"]
    assert [column.name for column in configuration.labels] == ["L"]
    assert configuration.loader.static_paths == ("combined_factors_df.parquet",)
    assert (configuration.dataset.module, configuration.dataset.class_name) == ("qlib.data.dataset", "DatasetH")
    assert (configuration.strategy, configuration.benchmark, configuration.step_len) == (None, None, None)


@pytest.mark.parametrize("plain", [None, {}, {"dataset": {"kwargs": {}}}, {"dataset": {"class": "DatasetH"}}])
def test_a_configuration_without_its_blocks_is_refused(plain: Any) -> None:
    """A task that names no dataset, handler or model is not half understood."""
    assert refused(parse_task_configuration, plain, "task") == "task.form"


def test_both_forms_of_columns() -> None:
    """qlib takes [expressions, names], or expressions that name themselves."""
    assert [(e.name, e.expression) for e in expressions([["$a", "$b"], ["A", "B"]])] == [("A", "$a"), ("B", "$b")]
    assert [(e.name, e.expression) for e in expressions(["$a", "$b"])] == [("$a", "$a"), ("$b", "$b")]
    assert expressions([["$a"], ["A", "B"]]) == ()


def test_dates_in_all_forms() -> None:
    """Text, dates and times give the day; no date is None."""
    day = datetime.date(2021, 3, 4)
    assert [parse_date(v) for v in ("2021-03-04", "2021-03-04 15:00", day, datetime.datetime(2021, 3, 4, 9))] == [
        day
    ] * 4
    assert [parse_date(v) for v in (None, "null", 20210304)] == [None] * 3


@needs_fixtures
@pytest.mark.parametrize("name", ["lgb_nested_loader", "lgb_ordered_loader", "lgb_alpha158_filter"])
def test_the_model_text_is_lightgbms_own(name: str) -> None:
    """LightGBM loads the text and predicts what qlib recorded for raw rows."""
    model = read_model((artifacts_of(name) / "params.pkl").read_bytes(), "params.pkl")
    assert str(model) == "qlib.contrib.model.gbdt.LGBModel"
    text, best_iteration = lightgbm_text(model)
    booster = lightgbm.Booster(model_str=text)
    assert booster.num_trees() > 0
    assert best_iteration is not None
    assert best_iteration >= booster.num_trees()


@needs_fixtures
@pytest.mark.parametrize("name", ["xgb", "catboost", "linear_ols", "densemble", "sklearn_pipeline"])
def test_other_families_are_refused_by_name(name: str) -> None:
    """A model that this version cannot convert is named in the refusal."""
    model = read_model((artifacts_of(name) / "params.pkl").read_bytes(), "params.pkl")
    with pytest.raises(RefusalError, match=model.class_name) as caught:
        lightgbm_text(model)
    assert caught.value.code == "model.unsupported"


def test_bare_boosters_and_scikit_learns_are_read() -> None:
    """A pickled Booster, alone or inside scikit-learn's LGBMRegressor, gives the text that predicts as it does."""
    rows = np.random.default_rng(1).normal(size=(200, 3))
    data = lightgbm.Dataset(rows, rows[:, 0])
    booster = lightgbm.train({"verbose": -1, "num_threads": 1}, data, num_boost_round=5)
    bare = read_model(pickle.dumps(booster), "model.pkl")
    text, best_iteration = lightgbm_text(bare)
    assert np.array_equal(lightgbm.Booster(model_str=text).predict(rows), booster.predict(rows))
    assert best_iteration is None
    wrapper = Record(Global("lightgbm.sklearn", "LGBMRegressor"), new=True, state={"_Booster": bare.record})
    assert lightgbm_text(wrapper).text == text


def test_a_model_of_the_same_name_elsewhere_is_not_trusted() -> None:
    """The module counts as much as the class name."""
    record = Record(Global("evil", "LGBModel"), state={"model": None})
    assert refused(lightgbm_text, record) == "model.unsupported"


def test_parameters_that_are_no_data_are_left_out() -> None:
    """A function among the parameters does not stop the reading of the text."""
    own = {"objective": Global("mine", "objective"), "num_leaves": 31}
    booster = Record(Global("lightgbm.basic", "Booster"), new=True, state={"_handle": "tree\n", "params": own})
    assert lightgbm_text(booster).text == "tree\n"


def test_an_untrained_model_is_refused() -> None:
    """A model without a Booster, or a Booster without text, has nothing to convert."""
    model = Record(Global("qlib.contrib.model.gbdt", "LGBModel"), new=True, state={"model": None})
    assert refused(lightgbm_text, model) == "model.untrained"
    booster = Record(Global("lightgbm.basic", "Booster"), new=True, state={"_handle": None})
    assert refused(lightgbm_text, booster) == "model.untrained"


def test_a_booster_of_lightgbm_3_is_read() -> None:
    """3.x keeps the text under another name; no chosen round means all trees."""
    booster = Record(Global("lightgbm.basic", "Booster"), new=True, state={"handle": "tree\n", "best_iteration": -1})
    assert lightgbm_text(booster) == ("tree\n", None)


def test_weights_that_are_no_object_are_refused() -> None:
    """A plain value in a weights file is no model."""
    assert refused(read_model, pickle.dumps([1, 2]), "model.pkl") == "model.form"


@pytest.mark.parametrize("name", ["HashStockFormat", "Mine"])
def test_unknown_processors_are_refused_by_name(name: str) -> None:
    """A processor that the bundle cannot express is named; one that is merely called like qlib's is not qlib's."""
    assert refused(processor, name, fields_group="feature") == "processor.unknown"
    assert refused(processor, "Fillna", module="my.processors") == "processor.unknown"


def test_processors_of_the_label_are_left_out() -> None:
    """What touches the label only, or never runs for inference, changes no input of the model."""
    assert processor("CSRankNorm", fields_group="label") == ()
    assert processor("Fillna", fields_group=["label"], fill_value=0) == ()
    assert processor("DropnaLabel", fields_group="label") == ()


def test_fills_and_selections() -> None:
    """Fillna for all columns or features, DropCol and FilterCol with their lists."""
    (fill,) = processor("Fillna", fields_group=None, fill_value=2)
    assert fill.describe() == {"class": "Fillna", "columns": None, "value": 2.0}
    (selection,) = processor("DropCol", col_list=["A", "B"])
    assert selection.describe() == {"class": "DropCol", "columns": ["A", "B"]}
    assert refused(processor, "Fillna", fields_group="extra") == "processor.fields_group"
    assert refused(processor, "Fillna", fields_group=[["feature"]]) == "processor.columns"
    assert refused(processor, "Fillna", fill_value="0") == "processor.bad_fill"


def test_an_unfitted_processor_is_refused() -> None:
    """A normalisation without fitted numbers cannot be carried."""
    assert refused(processor, "ZScoreNorm", fields_group="feature") == "processor.not_fitted"


def test_a_loader_within_itself_ends(tmp_path: Path) -> None:
    """A hostile dataset whose loader contains itself is read to its end."""
    # Its handler has a loader of loaders, the only one of which is itself.
    hostile = (
        b"\x80\x02c__m\nDatasetH\n)\x81}X\x07\x00\x00\x00handlerc__m\nHandler\n)\x81}X\x0b\x00\x00\x00data_loader"
        b"c__m\nNestedDataLoader\n)\x81q\x01}X\r\x00\x00\x00data_loader_l]h\x01asbsbsb."
    )
    path = tmp_path / "dataset"
    path.write_bytes(hostile)
    loader = read_dataset(path).loader
    assert loader is not None
    assert [part.class_name for part in loader.walk()] == ["NestedDataLoader"]


def pickled(path: Path, value: Any) -> Path:
    """`value` as a pickle file."""
    path.write_bytes(pickle.dumps(value))
    return path


def test_predictions_of_another_form_are_refused(tmp_path: Path) -> None:
    """Two columns, a plain index or a plain value are not qlib's predictions; a series of scores is."""
    days = pandas.to_datetime(["2021-01-04", "2021-01-05"])
    index = pandas.MultiIndex.from_arrays([["A", "B"], days], names=["instrument", "datetime"])
    scores = pandas.Series([0.5, np.nan], index=index, name="score")
    found = read_predictions(pickled(tmp_path / "series", scores))
    assert found.dates.astype(str).tolist() == ["2021-01-04", "2021-01-05"]
    assert found.instruments.tolist() == ["A", "B"]
    assert np.array_equal(found.scores, [0.5, np.nan], equal_nan=True)
    for value in (pandas.DataFrame({"a": scores, "b": scores}), pandas.Series([1.0]), 3):
        assert refused(read_predictions, pickled(tmp_path / "odd", value)) == "artifact.form"
