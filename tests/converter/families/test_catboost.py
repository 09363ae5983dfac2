"""CatBoost's models as graphs, against CatBoost itself: same leaf, same float64 sum, same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import EXACT
from alphaseal_converter.models.catboost import parse_cbm
from boosted import Rows, check_model, check_recorded, read, relevance, training_label, training_rows
from graphs import run_graph

catboost = pytest.importorskip("catboost", reason="catboost is not installed")

SETTINGS = {"iterations": 40, "verbose": 0, "thread_count": 1, "allow_writing_files": False, "random_seed": 1}
CASES: dict[str, dict[str, Any]] = {
    "rmse": {},
    "nan_max": {"nan_mode": "Max"},
    "depth_1": {"depth": 1},
    "depth_10": {"depth": 10, "iterations": 12},
    "many_trees": {"iterations": 600, "depth": 3},
    "ordered": {"boosting_type": "Ordered"},
    "shrink": {"model_shrink_rate": 0.1},
    "depthwise": {"grow_policy": "Depthwise"},
    "depthwise_max": {"grow_policy": "Depthwise", "nan_mode": "Max"},
    "lossguide": {"grow_policy": "Lossguide", "max_leaves": 20},
    "lossguide_max": {"grow_policy": "Lossguide", "nan_mode": "Max"},
    **{loss: {"loss_function": loss} for loss in ("MAE", "Quantile:alpha=0.3", "Huber:delta=1", "LogCosh", "MAPE")},
}


def fit(cls: str = "CatBoost", rows: Rows | None = None, label: Rows | None = None, **options: Any) -> Any:
    rows = training_rows() if rows is None else rows
    label = training_label(rows) if label is None else label
    fit_options = options.pop("fit", {})
    settings = {**SETTINGS, **options}
    estimator = catboost.CatBoost(settings) if cls == "CatBoost" else getattr(catboost, cls)(**settings)
    return estimator.fit(rows, label, **fit_options)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_bits(options: dict[str, Any]) -> None:
    """The formula's value is bit-identical on borders, beside them, with NaN, infinite and big values."""
    rows = training_rows()
    estimator = fit(**options)
    model = read(estimator)
    assert model.bound == EXACT
    found, _ = check_model(model, rows)
    assert np.array_equal(found, estimator.predict(rows))


def test_missing_values_that_training_never_saw() -> None:
    """NaN where training had none is below every border, as in the library."""
    estimator = fit(rows=np.nan_to_num(training_rows()), label=training_label(training_rows()))
    assert np.array_equal(check_model(read(estimator), training_rows())[0], estimator.predict(training_rows()))


@pytest.mark.parametrize("loss", ["YetiRank", "PairLogit", "QueryRMSE"])
def test_rankers(loss: str) -> None:
    """Ranking losses give the formula's value."""
    rows = training_rows()
    groups = np.repeat(np.arange(len(rows) // 50), 50)
    for cls in ("CatBoost", "CatBoostRanker"):
        estimator = fit(cls, label=relevance(rows), loss_function=loss, fit={"group_id": groups})
        assert np.array_equal(check_model(read(estimator), rows)[0], estimator.predict(rows))


@pytest.mark.parametrize("key", ["loss_function", "objective"])
@pytest.mark.parametrize("loss", ["Poisson", "Tweedie:variance_power=1.5"])
def test_exponents(loss: str, key: str) -> None:
    """predict of the regressor gives exp for Poisson and Tweedie, that of CatBoost (which qlib calls) does not."""
    rows = training_rows()
    label = np.abs(training_label(rows)) + 0.1
    options: dict[str, Any] = {key: loss}
    regressor, base = fit("CatBoostRegressor", label=label, **options), fit(label=label, **options)
    _, expected = check_model(read(regressor), rows)
    assert np.array_equal(expected, regressor.predict(rows))
    assert read(regressor).facts["output"] == "exp"
    assert np.array_equal(check_model(read(base), rows)[0], base.predict(rows))
    assert read(base).bound == EXACT


def test_two_classes() -> None:
    """A classifier's score is the probability of class 1; CatBoost with Logloss, as qlib has it, gives the formula."""
    rows = training_rows()
    label: Any = (training_label(rows) > 0) * 1.0
    classifier, base = fit("CatBoostClassifier", label=label), fit(label=label, loss_function="Logloss")
    _, expected = check_model(read(classifier), rows)
    assert np.array_equal(expected, classifier.predict_proba(rows)[:, 1])
    assert np.array_equal(check_model(read(base), rows)[0], base.predict(rows))


def test_scale_bias_and_cut() -> None:
    """Scale and bias are applied after the sum; a model that was cut or summed up is as the library has it."""
    rows = training_rows()
    scaled, cut = fit(), fit()
    scaled.set_scale_and_bias(2.5, 0.3)
    cut.shrink(5)
    summed = catboost.sum_models([fit(iterations=10), fit(iterations=20, depth=9)])
    high = fit(label=training_label(rows) + 1e6)
    for estimator in (scaled, cut, summed, high):
        assert np.array_equal(check_model(read(estimator), rows)[0], estimator.predict(rows))


def test_early_stopping() -> None:
    """The pickle holds the best rounds only, and so does the graph."""
    rows = training_rows()
    watch = (rows[::2], training_label(rows)[::2] + 5 * np.random.default_rng(2).normal(size=len(rows[::2])))
    options = {"eval_set": watch, "use_best_model": True, "early_stopping_rounds": 5}
    estimator = fit(iterations=400, fit=options)
    model = read(estimator)
    assert model.facts["trees"] == estimator.tree_count_ < 400
    assert np.array_equal(check_model(model, rows)[0], estimator.predict(rows))


@pytest.mark.parametrize("options", [{"iterations": 300}, {"grow_policy": "Lossguide"}], ids=["symmetric", "lossguide"])
def test_any_batch_size(options: dict[str, Any]) -> None:
    """The bits of a row do not depend on how many others are beside it."""
    estimator = fit(**options)
    graph, expected = read(estimator).graph(()), estimator.predict(training_rows())
    assert run_graph(graph, training_rows()[:0]).shape == (0,)
    for rows in (1, 2, 3, 4, 7, 8, 9, 16, 17, 31, 63, 64, 65, 127, 128, 129, 1025):
        assert np.array_equal(run_graph(graph, training_rows()[:rows]), expected[:rows])


def test_features_that_are_not_numbers() -> None:
    """Categorical features are refused by name, one-hot ones too."""
    frame = pandas.DataFrame({"a": training_rows()[:, 0], "c": np.arange(1500) % 9})
    choices: tuple[dict[str, Any], ...] = ({}, {"one_hot_max_size": 20})
    for options in choices:
        with pytest.raises(RefusalError) as caught:
            read(fit(rows=frame, label=training_rows()[:, 1], fit={"cat_features": ["c"]}, **options))
        assert caught.value.code == "model.categorical"


def test_several_outputs() -> None:
    """Several classes, several targets and a mean with its variance are refused by name."""
    rows = training_rows()
    label = training_label(rows)
    estimators = [
        fit("CatBoostClassifier", label=relevance(rows)),
        fit(label=np.column_stack([label, label]), loss_function="MultiRMSE"),
        fit("CatBoostRegressor", loss_function="RMSEWithUncertainty"),
    ]
    for estimator in estimators:
        with pytest.raises(RefusalError) as caught:
            read(estimator)
        assert caught.value.code == "model.multi_output"


def test_untrained() -> None:
    """An estimator that was never fitted is refused."""
    with pytest.raises(RefusalError) as caught:
        read(catboost.CatBoost(SETTINGS))
    assert caught.value.code == "model.untrained"


def test_names() -> None:
    """Names in the weights are held against the order of the run."""
    model = read(
        fit(rows=pandas.DataFrame(training_rows(), columns=list("abcdefgh")), label=training_label(training_rows()))
    )
    assert model.known_names is not None
    model.known_names.check(list("abcdefgh"), "weights")
    with pytest.raises(RefusalError) as caught:
        model.known_names.check(list("bacdefgh"), "weights")
    assert caught.value.code == "order.names_differ"


def test_recorded_run() -> None:
    """The model of a real qlib run gives its recorded scores bit for bit."""
    check_recorded("catboost", EXACT)


def test_the_librarys_own_export(tmp_path: Path) -> None:
    """Our reader finds in a cbm what the library writes as JSON: splits, borders and leaves of every tree."""
    estimator = fit(nan_mode="Max")
    estimator.save_model(str(tmp_path / "model.cbm"))
    estimator.save_model(str(tmp_path / "model.json"), format="json")
    model = parse_cbm((tmp_path / "model.cbm").read_bytes())
    exported = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert len(model.oblivious) == len(exported["oblivious_trees"]) == 40
    for tree, other in zip(model.oblivious, exported["oblivious_trees"], strict=True):
        assert tree.feature.tolist() == [split["float_feature_index"] for split in other["splits"]]
        assert tree.border.astype(np.float64).tolist() == [split["border"] for split in other["splits"]]
        assert tree.leaf_value.tolist() == other["leaf_values"]


def cbm(estimator: Any) -> bytes:
    return bytes(estimator._serialize_model())


def test_cut_off_anywhere() -> None:
    """Bytes cut off at any place are refused, never guessed at."""
    data = cbm(fit(iterations=3))
    for end in range(0, len(data) - 1, 101):
        with pytest.raises(RefusalError):
            parse_cbm(data[:end])


@pytest.mark.parametrize("policy", ["SymmetricTree", "Lossguide"])
def test_changed_bytes(policy: str) -> None:
    """A changed byte is either refused or another proper model: nothing but RefusalError leaves the reader."""
    data = cbm(fit(iterations=3, grow_policy=policy, depth=3))
    generator = np.random.default_rng(5)
    refused = 0
    for _ in range(700):
        broken = bytearray(data)
        broken[generator.integers(len(data))] = generator.integers(256)
        try:
            parse_cbm(bytes(broken))
        except RefusalError:
            refused += 1
    assert refused > 7


@pytest.mark.parametrize("data", [b"", b"CBM2\0\0\0\0", b"CBM1\xff\xff\xff\xff", b"CBM1\x08\0\0\0" + b"\xff" * 8])
def test_hostile_files(data: bytes) -> None:
    """What is no cbm, or says that it is longer than it is, is refused."""
    with pytest.raises(RefusalError):
        parse_cbm(data)
