"""XGBoost's models as graphs, against XGBoost itself: same leaf, same float32 sum, same bits."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families.base import EXACT
from alphaseal_converter.families.xgboost import read as read_record
from alphaseal_converter.models import ubjson
from alphaseal_converter.models.record import ModelRecord
from alphaseal_converter.models.xgboost import Rule, parse_document
from alphaseal_converter.pickles.records import Global, Record
from boosted import Rows, check_model, check_recorded, read, relevance, training_label, training_rows
from graphs import from_json, run_graph
from locations import DATA

xgboost = pytest.importorskip("xgboost", reason="xgboost is not installed")

ROUNDS = 40
EXACT_CASES: dict[str, dict[str, Any]] = {
    **{name: {"objective": f"reg:{name}"} for name in ("squarederror", "pseudohubererror", "absoluteerror")},
    "quantileerror": {"objective": "reg:quantileerror", "quantile_alpha": 0.3},
    "base_score": {"base_score": 5.0},
    "parallel_trees": {"num_parallel_tree": 4, "subsample": 0.5},
    "dart": {"booster": "dart", "rate_drop": 0.3},
    "pruned": {"tree_method": "exact", "gamma": 5.0},
    "approx": {"tree_method": "approx"},
    "lossguide": {"grow_policy": "lossguide", "max_leaves": 120, "max_depth": 0},
    "stumps": {"max_depth": 1},
    "no_split": {"gamma": 1e9},
}
LINKS: dict[str, dict[str, Any]] = {
    **{name: {"objective": f"count:{name}"} for name in ("poisson",)},
    **{name: {"objective": f"reg:{name}"} for name in ("gamma", "tweedie", "logistic")},
    "cox": {"objective": "survival:cox"},
    "binary_logistic": {"objective": "binary:logistic"},
    "binary_logistic_base": {"objective": "binary:logistic", "base_score": 0.2},
}


def target(parameters: dict[str, Any], rows: Rows) -> Rows:
    objective, label = parameters.get("objective", ""), training_label(rows)
    if "logi" in objective:
        return np.asarray((label > 0) * 1.0, np.float64)
    if objective.startswith("rank:"):
        return relevance(rows)
    return np.abs(label) + 0.1 if objective.startswith(("count", "survival")) or "log" in objective else label


def train(parameters: dict[str, Any], rows: Rows | None = None, **data: Any) -> Any:
    rows = training_rows() if rows is None else rows
    label = data.pop("label", None)
    if label is None:
        label = target(parameters, rows)
    if parameters.get("objective") in ("reg:gamma", "reg:tweedie"):
        label = np.abs(label) + 0.1
    matrix = xgboost.DMatrix(rows, label, nthread=1, **data)
    if parameters.get("objective", "").startswith("rank:"):
        matrix.set_group([50] * (len(rows) // 50))
    return xgboost.train({"nthread": 1, "seed": 1, **parameters}, matrix, ROUNDS)


@pytest.mark.parametrize("parameters", EXACT_CASES.values(), ids=EXACT_CASES)
def test_bits(parameters: dict[str, Any]) -> None:
    """A Booster's margin is bit-identical on splits, beside them, with NaN and with values of a big offset."""
    rows = training_rows()
    booster = train(parameters, rows)
    model = read(booster)
    assert model.bound == EXACT
    found, _ = check_model(model, rows)
    assert np.array_equal(found, booster.predict(xgboost.DMatrix(rows)).astype(np.float64))


@pytest.mark.parametrize(
    "objective", ["rank:ndcg", "rank:pairwise", "rank:map", "reg:squaredlogerror", "binary:logitraw"]
)
def test_bits_of_other_objectives(objective: str) -> None:
    """Rankers and raw margins are bit-identical: no link function is invented for them."""
    rows = training_rows()
    label = (training_label(rows) > 0) * 1.0 if objective != "rank:ndcg" else None
    check_model(read(train({"objective": objective}, rows, label=label)), rows)


@pytest.mark.parametrize("parameters", LINKS.values(), ids=LINKS)
def test_links(parameters: dict[str, Any]) -> None:
    """Objectives with a link give the library's transformed score to 2 ulp of float32, most rows to the bit."""
    rows = training_rows()
    model = read(train(parameters, rows))
    assert model.bound.relative == 2.0**-22
    found, expected = check_model(model, rows)
    assert (found == expected).mean() > 0.99


def test_large_sums() -> None:
    """A target far from zero leaves no room for another order of the float32 sum."""
    rows = training_rows()
    check_model(read(train({}, rows, label=training_label(rows) + 1e5)), rows)


def test_linear_booster() -> None:
    """gblinear is added up feature by feature as the library does, missing values left out."""
    rows = training_rows()
    rows[:, 5] -= 1e9
    model = read(train({"booster": "gblinear"}, rows))
    assert model.bound == EXACT
    check_model(model, rows)


@pytest.mark.parametrize("one_hot", [1, 100])
def test_categories(one_hot: int) -> None:
    """Category sets and one-hot splits: codes, fractions, negative, unseen, huge and missing ones."""
    rows = training_rows()
    rows[:, 2] = np.random.default_rng(1).integers(0, 40, len(rows))
    types = ["q", "q", "c"] + ["q"] * 5
    label = training_label(rows) + rows[:, 2] % 7
    booster = train({"max_cat_to_onehot": one_hot}, rows, label=label, feature_types=types, enable_categorical=True)
    rows[:600, 2] = np.resize([-1, -0.5, 0.5, -0.0, 3.99, 39.5, 40, 1e6, 2e7, 1e30, np.nan], 600)
    check_model(read(booster), rows)


def test_categories_of_a_frame() -> None:
    """Categories of a data frame are refused by name, unless they are their own codes."""
    frame = pandas.DataFrame({"a": training_rows()[:, 0], "c": pandas.Categorical(np.arange(ROWS_OF_FRAME) % 5 * 10)})
    matrix = xgboost.DMatrix(frame, np.arange(ROWS_OF_FRAME) % 5, enable_categorical=True)
    with pytest.raises(RefusalError) as caught:
        read(xgboost.train({}, matrix, 3))
    assert caught.value.code == "model.categorical"
    frame["c"] = pandas.Categorical(np.arange(ROWS_OF_FRAME) % 5)
    matrix = xgboost.DMatrix(frame, np.arange(ROWS_OF_FRAME) % 5, enable_categorical=True)
    check_model(read(xgboost.train({}, matrix, 3)), frame.astype(np.float64).to_numpy())


ROWS_OF_FRAME = 1500


def test_early_stopping() -> None:
    """A Booster predicts with all rounds, as qlib does; a wrapper with the best ones."""
    rows = training_rows()
    label = training_label(rows)
    watch = (rows[::2], label[::2] + 5 * np.random.default_rng(2).normal(size=len(label[::2])))
    wrapper = xgboost.XGBRegressor(
        n_estimators=200, early_stopping_rounds=5, num_parallel_tree=2, subsample=0.7, n_jobs=1
    )
    wrapper.fit(rows, label, eval_set=[watch], verbose=False)
    booster = wrapper.get_booster()
    assert wrapper.best_iteration + 1 < booster.num_boosted_rounds()
    all_rounds, best = read(booster), read(wrapper)
    assert all_rounds.facts["trees"] == 2 * booster.num_boosted_rounds()
    assert best.facts["trees"] == 2 * (wrapper.best_iteration + 1)
    assert np.array_equal(check_model(all_rounds, rows)[0], booster.predict(xgboost.DMatrix(rows)))
    assert np.array_equal(check_model(best, rows)[0], wrapper.predict(rows))


WRAPPERS: dict[str, tuple[str, dict[str, Any]]] = {
    "regressor": ("XGBRegressor", {}),
    "missing_zero": ("XGBRegressor", {"missing": 0}),
    "missing_fraction": ("XGBRegressor", {"missing": 0.1}),
    "missing_infinite": ("XGBRegressor", {"missing": np.inf}),
    "logistic_regressor": ("XGBRegressor", {"objective": "binary:logistic"}),
    "dart": ("XGBRegressor", {"booster": "dart", "rate_drop": 0.3}),
    "random_forest": ("XGBRFRegressor", {}),
    "classifier": ("XGBClassifier", {}),
    "forest_classifier": ("XGBRFClassifier", {}),
}


@pytest.mark.parametrize("case", WRAPPERS)
def test_wrappers(case: str) -> None:
    """The scikit-learn wrappers: their own missing value, infinite values scored, a classifier's probability."""
    name, parameters = WRAPPERS[case]
    rows = training_rows()
    rows[::4, 4] = 0.1
    label: Any = training_label(rows)
    label = (label > 0) * 1.0 if "class" in case or "logistic" in case else label
    wrapper = getattr(xgboost, name)(n_estimators=ROUNDS, n_jobs=1, random_state=1, **parameters).fit(rows, label)
    model = read(wrapper)
    _, expected = check_model(model, rows)
    own = wrapper.predict_proba(rows)[:, 1] if "class" in case else wrapper.predict(rows)
    assert np.array_equal(expected, own.astype(np.float64))
    rows[:8, np.arange(8)] = np.inf
    assert np.isfinite(run_graph(model.graph(()), rows)).all()


def test_ranker() -> None:
    """XGBRanker gives its margin."""
    rows = training_rows()
    ranker = xgboost.XGBRanker(n_estimators=ROUNDS, n_jobs=1).fit(rows, relevance(rows), group=[50] * (len(rows) // 50))
    assert np.array_equal(check_model(read(ranker), rows)[0], ranker.predict(rows))


def test_linear_wrapper_with_missing_zero() -> None:
    """A gblinear wrapper goes through a DMatrix, with its own missing value."""
    rows = training_rows()
    rows[:, 5] -= 1e9
    wrapper = xgboost.XGBRegressor(booster="gblinear", missing=0, n_estimators=20, n_jobs=1).fit(
        rows, training_label(rows)
    )
    assert np.array_equal(check_model(read(wrapper), rows)[0], wrapper.predict(rows))


def test_infinite_values() -> None:
    """Where XGBoost refuses a DMatrix for an infinite value, the row has no score and others keep theirs."""
    rows = training_rows()
    booster = train({}, rows)
    expected = booster.predict(xgboost.DMatrix(rows))
    rows[3, 1], rows[5, 1], rows[7, 1] = np.inf, -np.inf, 1e300
    with pytest.raises(xgboost.core.XGBoostError, match="inf"):
        booster.predict(xgboost.DMatrix(rows))
    model = read(booster)
    assert "no score" in model.notes[0]
    found = run_graph(model.graph(()), rows)
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 5, 7]
    kept = np.isfinite(found)
    assert np.array_equal(found[kept], expected[kept])


def test_several_outputs() -> None:
    """Multiclass and several targets are refused by name."""
    rows = training_rows()
    classes = xgboost.DMatrix(rows, relevance(rows))
    targets = xgboost.DMatrix(rows, np.column_stack([relevance(rows), training_label(rows)]))
    boosters = [
        xgboost.train({"objective": "multi:softprob", "num_class": 5}, classes, 3),
        xgboost.train({"multi_strategy": "multi_output_tree"}, targets, 3),
        xgboost.train({}, targets, 3),
        xgboost.XGBClassifier(n_estimators=2).fit(rows, relevance(rows)),
    ]
    for booster in boosters:
        with pytest.raises(RefusalError) as caught:
            read(booster)
        assert caught.value.code == "model.multi_output"


def test_hinge() -> None:
    """An objective that gives two values only is refused by name."""
    rows = training_rows()
    with pytest.raises(RefusalError) as caught:
        read(train({"objective": "binary:hinge"}, rows, label=(training_label(rows) > 0) * 1.0))
    assert caught.value.code == "model.objective"


def test_untrained() -> None:
    """A wrapper without a Booster is refused."""
    with pytest.raises(RefusalError) as caught:
        read(xgboost.XGBRegressor())
    assert caught.value.code == "model.untrained"


def test_names() -> None:
    """Names in the weights are held against the order of the run."""
    frame = pandas.DataFrame(training_rows(), columns=list("abcdefgh"))
    model = read(xgboost.train({}, xgboost.DMatrix(frame, training_label(training_rows())), 3))
    assert model.known_names is not None
    model.known_names.check(list("abcdefgh"), "weights")
    with pytest.raises(RefusalError) as caught:
        model.known_names.check(list("bacdefgh"), "weights")
    assert caught.value.code == "order.names_differ"


def test_recorded_run() -> None:
    """The model of a real qlib run gives its recorded scores bit for bit."""
    check_recorded("xgb", EXACT)


FILES = sorted((DATA / "xgboost").glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_models_of_other_versions(path: Path) -> None:
    """Boosters pickled and saved by XGBoost 1.7 to 3.2 give what the version that wrote them predicted."""
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = from_json(document["rows"])
    assert len(document["cases"]) == 11
    for name, case in document["cases"].items():
        data = base64.b64decode(case["snapshot"])
        record = Record(Global("xgboost.core", "Booster"), new=True, state={"handle": data})
        model = read_record(ModelRecord("xgboost.core", "Booster", record), "params.pkl")
        scores = run_graph(model.graph(()), rows)
        assert np.allclose(scores, case["scores"], rtol=model.bound.relative or 0, atol=0), name
        saved = parse_document(case["saved"].encode("utf-8"), Rule())
        snapshot = parse_document(data, Rule())
        assert [tree.leaf_value.tolist() for tree in saved.trees] == [
            tree.leaf_value.tolist() for tree in snapshot.trees
        ]
        assert saved.base == snapshot.base


def snapshot_of(booster: Any) -> bytes:
    return bytes(booster.__getstate__()["handle"])


def test_cut_off_anywhere() -> None:
    """Bytes cut off at any place are refused, never guessed at."""
    data = snapshot_of(train({"max_depth": 2}))
    for end in range(0, len(data) - 1, 499):
        with pytest.raises(RefusalError):
            parse_document(data[:end], Rule())


def test_changed_bytes() -> None:
    """A changed byte is either refused or another proper model: nothing but RefusalError leaves the reader."""
    data = snapshot_of(
        xgboost.train({"max_depth": 2}, xgboost.DMatrix(training_rows(), training_label(training_rows())), 2)
    )
    generator = np.random.default_rng(5)
    refused = 0
    for _ in range(300):
        broken = bytearray(data)
        broken[generator.integers(len(data))] = generator.integers(256)
        try:
            parse_document(bytes(broken), Rule())
        except RefusalError:
            refused += 1
    assert refused > 25


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"binf\0\0\0\0", "model.version"),
        (b"{", "model.malformed"),
        (b'{"version":[4,0,0],"learner":{}}', "model.version"),
        (b'{"version":[3,0,0],"version":[3,0,0]}', "model.malformed"),
        (b'{"version":[3,0,0],"learner":NaN}', "model.malformed"),
        (b"{" + b'"a":{' * 100_000, "model.malformed"),
        (b"{i\x01a" * 1000, "model.malformed"),
        (b"{L\x7f\xff\xff\xff\xff\xff\xff\xff", "model.malformed"),
        (b"{i\x01a[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff", "model.malformed"),
        (b"{i\x01a[$Z#l\x7f\xff\xff\xff", "model.malformed"),
    ],
)
def test_hostile_documents(data: bytes, code: str) -> None:
    """Impossible lengths, endless nesting, doubled keys and unknown versions are refused by name."""
    with pytest.raises(RefusalError) as caught:
        parse_document(data, Rule())
    assert caught.value.code == code


def test_ubjson_values() -> None:
    """Every marker that XGBoost writes is read as the format says."""
    data = b"{i\x01ai\xffU\x01bL\0\0\0\0\0\0\0\x07U\x01cd\x3f\xc0\0\0U\x01d[$l#U\x02\0\0\0\x01\xff\xff\xff\xffU\x01e[TFZ]U\x01fSU\x02hi}"
    value = ubjson.loads(data, "test")
    assert value.pop("d").tolist() == [1, -1]
    assert value == {"a": -1, "b": 7, "c": 1.5, "e": [True, False, None], "f": "hi"}


def tampered(change: Any) -> bytes:
    booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(training_rows(), training_label(training_rows())), 2)
    document = json.loads(booster.save_raw("json"))
    change(document["learner"], document["learner"]["gradient_booster"]["model"]["trees"][0])
    return json.dumps(document).encode("utf-8")


TAMPERED = {
    "child_is_root": lambda learner, tree: tree["left_children"].__setitem__(1, 0),
    "two_parents": lambda learner, tree: tree["left_children"].__setitem__(0, tree["right_children"][0]),
    "child_outside": lambda learner, tree: tree["right_children"].__setitem__(0, 999),
    "feature_outside": lambda learner, tree: tree["split_indices"].__setitem__(0, 8),
    "short_column": lambda learner, tree: tree["default_left"].pop(),
    "huge_leaf": lambda learner, tree: tree["split_conditions"].__setitem__(-1, 1e300),
    "text_in_numbers": lambda learner, tree: tree["split_conditions"].__setitem__(0, "1"),
    "no_features": lambda learner, tree: learner["learner_model_param"].update(num_feature="0"),
    "base_score": lambda learner, tree: learner["learner_model_param"].update(base_score="[1E0,2E0]"),
    "one_child": lambda learner, tree: tree["left_children"].__setitem__(0, -1),
    "unknown_booster": lambda learner, tree: learner["gradient_booster"].update(name="other"),
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_contradictions(change: Any) -> None:
    """A document that contradicts itself is refused."""
    with pytest.raises(RefusalError) as caught:
        parse_document(tampered(change), Rule())
    assert caught.value.code in ("model.malformed", "model.booster")


def test_the_pickle_is_never_loaded() -> None:
    """A pickle that would call something is read as records and refused."""
    with pytest.raises(RefusalError):
        read(_Calls())


class _Calls:
    def __reduce__(self) -> Any:
        return pickle.loads, (b"",)
