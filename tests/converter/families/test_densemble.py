"""qlib's DEnsembleModel and HFLGBModel, LightGBM's ranker: bit-identical to LightGBM put together as qlib does."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas
import pytest

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families import read_trained_model
from alphaseal_converter.families.base import TrainedModel
from estimators import largest_ulp, leftover, odd_rows, read_back, same_order_every_day, scores_of
from locations import FIXTURES
from stand_ins import stand_in

NAMES = ["C", "A", "D", "B", "E"]
WEIGHTS = [1, 0.5, 0.3, 0.7]
SUBSETS = [NAMES, ["B", "A"], ["E", "D", "C"], ["A", "E", "B", "C"]]


def training_rows(seed: int = 0) -> np.ndarray[Any, Any]:
    """Rows with missing values."""
    rows = np.random.default_rng(seed).normal(size=(800, len(NAMES)))
    rows[::7, 1] = np.nan
    return rows


def members() -> list[lightgbm.Booster]:
    """One booster per subset."""
    rows = training_rows()
    frame = pandas.DataFrame(rows, columns=NAMES)
    label = np.nan_to_num(rows).sum(axis=1)
    settings = {"objective": "mse", "verbose": -1, "num_threads": 1, "seed": 3}
    return [lightgbm.train(settings, lightgbm.Dataset(frame.loc[:, names], label), 20) for names in SUBSETS]


def ensemble(boosters: list[lightgbm.Booster], **changes: Any) -> TrainedModel:
    """A DEnsembleModel of them, as a weights file holds it."""
    state = {"ensemble": boosters, "sub_features": [pandas.Index(names) for names in SUBSETS], "sub_weights": WEIGHTS}
    model = stand_in("qlib.contrib.model.double_ensemble", "DEnsembleModel", state | changes)
    return read_trained_model(model, "weights")


def qlib_predict(boosters: list[lightgbm.Booster], frame: pandas.DataFrame) -> np.ndarray[Any, Any]:
    """``DEnsembleModel.predict`` of qlib 0.9.7, line by line."""
    prediction = pandas.Series(np.zeros(frame.shape[0]), index=frame.index)
    for number, booster in enumerate(boosters):
        part = booster.predict(frame.loc[:, SUBSETS[number]].values)
        prediction += pandas.Series(part, index=frame.index) * WEIGHTS[number]
    return (prediction / np.sum(WEIGHTS)).to_numpy()


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="needs the research leftovers")
def test_recorded_predictions() -> None:
    """qlib's own scores, bit for bit, whether positions come from the weights or from resolved names."""
    run = leftover(FIXTURES / "direct/densemble")
    model = read_trained_model(run.weights, "densemble")
    assert model.bind is not None
    for part in (model, model.bind(run.names, run.dtypes)):
        scores = scores_of(part, run.rows, run.processors)
        assert largest_ulp(scores, run.scores) == 0
        assert same_order_every_day(run.dates, scores, run.scores)


def test_bit_identical_to_qlib() -> None:
    """Thresholds, their neighbours, NaN and infinities included; the judge is the same."""
    boosters = members()
    model = ensemble(boosters)
    rows = odd_rows(model, training_rows(1))
    expected = qlib_predict(boosters, pandas.DataFrame(rows, columns=NAMES))
    assert largest_ulp(scores_of(model, rows), expected) == 0
    judge = model.judge(())
    assert judge is not None
    assert largest_ulp(judge.predict(rows), expected) == 0


def test_columns_are_taken_by_name() -> None:
    """Bound to names in another order, the graph takes the columns in that order."""
    boosters = members()
    model = ensemble(boosters)
    assert model.bind is not None
    order = sorted(NAMES)
    rows = training_rows(2)
    bound = model.bind(order, ["float64"] * 5)
    expected = qlib_predict(boosters, pandas.DataFrame(rows, columns=order))
    assert largest_ulp(scores_of(bound, rows), expected) == 0
    assert [len(values) for values in bound.thresholds] == [len(model.thresholds[NAMES.index(name)]) for name in order]


def test_other_names_are_refused() -> None:
    """Weights of another run name other features."""
    model = ensemble(members())
    assert model.bind is not None
    with pytest.raises(RefusalError) as caught:
        model.bind([*NAMES[:4], "F"], ["float64"] * 5)
    assert caught.value.code == "order.names_differ"
    assert "F" in str(caught.value.found)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ensemble": []}, "model.untrained"),
        ({"sub_weights": [1, 2]}, "model.malformed"),
        ({"sub_weights": [1, -1, 1, -1]}, "model.malformed"),
        ({"sub_features": [pandas.Index(names) for names in [NAMES, ["B"], *SUBSETS[2:]]]}, "model.malformed"),
        # The members were trained on frames, and know their columns themselves.
        ({"sub_features": [pandas.Index(names) for names in [NAMES, ["B", "Z"], *SUBSETS[2:]]]}, "order.names_differ"),
        ({"sub_features": [pandas.Index(names) for names in [NAMES, ["A", "B"], *SUBSETS[2:]]]}, "order.names_differ"),
    ],
)
def test_refusals(changes: dict[str, Any], code: str) -> None:
    """Members, names and weights must fit together."""
    with pytest.raises(RefusalError) as caught:
        ensemble(members(), **changes)
    assert caught.value.code == code


def test_a_feature_that_the_first_member_does_not_have() -> None:
    """Positions are those of the first member, which has all columns; members of bare values know no names to compare."""
    rows = training_rows()
    settings = {"verbose": -1, "num_threads": 1}
    boosters = [lightgbm.train(settings, lightgbm.Dataset(rows[:, :n], rows[:, 0]), 2) for n in (5, 2)]
    names = [pandas.Index(NAMES), pandas.Index(["B", "Z"])]
    with pytest.raises(RefusalError) as caught:
        ensemble(boosters, sub_features=names, sub_weights=[1, 1])
    assert caught.value.code == "model.malformed"


def test_categories_of_a_member_are_refused() -> None:
    """qlib hands each member bare values, so categories of a frame would be taken for codes."""
    frame = pandas.DataFrame(training_rows(), columns=NAMES)
    frame["E"] = pandas.Categorical(np.resize([110, 210, 330], len(frame)))
    data = lightgbm.Dataset(frame, np.arange(len(frame)) % 3)
    booster = lightgbm.train({"verbose": -1, "min_data_per_group": 5, "num_threads": 1}, data, 3)
    with pytest.raises(RefusalError) as caught:
        ensemble([booster], sub_features=[pandas.Index(NAMES)], sub_weights=[1])
    assert caught.value.code == "model.categorical"


def test_high_frequency_model() -> None:
    """HFLGBModel hides a Booster, binary with early stopping."""
    rows = training_rows()
    label = (np.nan_to_num(rows).sum(axis=1) > 0).astype(float)
    data = lightgbm.Dataset(rows, label)
    valid = lightgbm.Dataset(training_rows(5), label)
    stop = lightgbm.early_stopping(3, verbose=False)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, data, 60, valid_sets=[valid], callbacks=[stop])
    made = stand_in("qlib.contrib.model.highfreq_gdbt_model", "HFLGBModel", {"model": booster, "params": settings})
    model = read_trained_model(made, "weights")
    found = odd_rows(model, rows)
    assert largest_ulp(scores_of(model, found), booster.predict(found)) <= 4


def test_ranker_is_exact_and_classifier_is_refused() -> None:
    """A ranker's prediction is its raw sum; a classifier predicts classes."""
    pytest.importorskip("sklearn")
    rows = training_rows()
    label = np.clip(np.nan_to_num(rows).sum(axis=1).astype(int), 0, 4)
    ranker = lightgbm.LGBMRanker(n_estimators=20, verbose=-1, n_jobs=1).fit(rows, label, group=[40] * 20)
    model = read_back(ranker)
    found = odd_rows(model, rows)
    assert largest_ulp(scores_of(model, found), np.asarray(ranker.predict(found))) == 0
    classifier = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(rows, label > 0)
    with pytest.raises(RefusalError) as caught:
        read_back(classifier)
    assert caught.value.code == "model.unsupported"
    assert "classifier" in str(caught.value)
