"""The exact graph against LightGBM itself: same leaf, same bits."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pandas
import pytest
from numpy.typing import NDArray

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.graph.assemble import build_scoring_graph
from alphaseal_converter.graph.trees.columns import MAXIMUM_CODE
from alphaseal_converter.models.lightgbm import ZERO_BOUND, parse_model_text
from alphaseal_converter.models.trees import (
    MAXIMUM_DEPTH,
    Decision,
    Tree,
    TreeEnsembleModel,
    thresholds_by_feature,
    used_features,
)
from alphaseal_converter.pickles import read_pickle
from graphs import fitted, from_json, row_processors, run_graph, ulps
from locations import DATA, FIXTURES
from raising import refusal

ROWS, FEATURES, CATEGORICAL = 1500, 6, 5
Rows = NDArray[np.float64]


def training_rows(seed: int = 0, rows: int = ROWS) -> Rows:
    """float64 columns: NaN, zeros, a big offset, a tiny scale, float32 values, integer codes."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, FEATURES))
    features[::5, 0] = np.nan
    features[::3, 1] = 0.0
    features[:, 2] = 1e9 + 50 * features[:, 2]
    features[:, 3] = np.float32(features[:, 3] * 1e-10)
    features[:, CATEGORICAL] = generator.integers(0, 90, rows)
    return features


def training_label(features: Rows) -> Rows:
    signal = np.nan_to_num(features[:, 0]) + features[:, 1] ** 2 + (features[:, 2] - 1e9) / 50
    return signal + features[:, CATEGORICAL] % 7 + features[:, 3] * 1e10 * features[:, 4]


def train(parameters: dict[str, Any], rounds: int = 60, **options: Any) -> lightgbm.Booster:
    """A booster of 31 leaves per tree on the rows above; `parameters` win."""
    features = options.pop("features", None)
    features = training_rows() if features is None else features
    label, group = training_label(features), None
    objective = parameters.get("objective", "regression")
    if objective in ("binary", "cross_entropy", "cross_entropy_lambda", "lambdarank", "rank_xendcg"):
        label = (label > np.median(label)).astype(np.float64)
        group = [50] * (len(label) // 50) if objective in ("lambdarank", "rank_xendcg") else None
    elif objective in ("poisson", "gamma", "tweedie", "mape") or "reg_sqrt" in parameters:
        label = np.abs(label) + 0.1
    settings = {"verbose": -1, "num_leaves": 31, "min_data_per_group": 5, "seed": 1, "num_threads": 1}
    settings |= {"objective": "regression"} | parameters
    categorical = options.pop("categorical", [CATEGORICAL])
    data = lightgbm.Dataset(features, label, group=group, categorical_feature=categorical)
    return lightgbm.train(settings, data, rounds, **options)


def loaded(text: str) -> lightgbm.Booster:
    """The booster that LightGBM makes of a model text."""
    return lightgbm.Booster(model_str=text)


def odd_rows(model: TreeEnsembleModel, features: Rows) -> Rows:
    """Rows that were trained on, others, and each threshold and code hit exactly and by one float on either side."""
    parts = [features[:300], training_rows(9, 300)[:, : features.shape[1]]]
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, ZERO_BOUND, -ZERO_BOUND, 1e-35, 5e-324, 1e300, -1e300, 1.7e308]
    codes = [0.5, -0.5, -1.0, 3.999, 7.0, 89.5, 90.0, 1e5, 2.0**31, 2.0**31 - 1, 2.0**32 + 7, 1e18, -1e18]
    for feature, thresholds in enumerate(thresholds_by_feature(model)):
        ends = np.concatenate([thresholds, special, codes if feature == CATEGORICAL else []])
        values = np.concatenate([ends, np.nextafter(ends, np.inf), np.nextafter(ends, -np.inf)])
        rows = np.resize(features, (len(values), features.shape[1]))
        rows[:, feature] = values
        parts.append(rows)
    parts.append(np.full((1, features.shape[1]), np.nan))
    return np.concatenate(parts)


def distance(booster: lightgbm.Booster, **predict: Any) -> int:
    """Largest distance in ulp between graph and booster over `odd_rows`."""
    model = parse_model_text(booster.model_to_string())
    rows = odd_rows(model, training_rows())
    expected = booster.predict(rows, **predict)
    # In pieces of uneven size, so that no promise holds for one batch size alone.
    graph = build_scoring_graph((), model, model.n_features)
    found = np.concatenate([run_graph(graph, piece) for piece in np.array_split(rows, 7)])
    return int(ulps(found, expected).max())


REAL = [
    "direct/lgb_nested_loader/truth", "direct/lgb_ordered_loader/truth", "direct/lgb_alpha158_filter/truth",
    "factor_plain/truth/hist0_factor", "factor_plain/truth/hist2_factor", "quant_signed/truth/hist0_factor",
]  # fmt: skip
IDENTITY: dict[str, dict[str, Any]] = {
    **{name: {"objective": name} for name in ("regression", "mse", "l1", "huber", "fair", "quantile", "mape")},
    "lambdarank": {"objective": "lambdarank"},
    "rank_xendcg": {"objective": "rank_xendcg"},
    "zero_as_missing": {"zero_as_missing": True},
    "no_missing": {"use_missing": False},
    "no_missing_zero": {"use_missing": False, "zero_as_missing": True},
    "dart": {"boosting": "dart"},
    "goss": {"data_sample_strategy": "goss"},
    "random_forest": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    "one_hot_categories": {"max_cat_to_onehot": 100},
    "extra_trees": {"extra_trees": True},
    "monotone": {"monotone_constraints": [0, 0, 1, -1, 0, 0]},
    "deep": {"num_leaves": 300, "min_data_in_leaf": 1},
    "linear_tree": {"linear_tree": True},
    "linear_tree_no_missing": {"linear_tree": True, "use_missing": False},
    "linear_forest": {"linear_tree": True, "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    "reg_sqrt": {"reg_sqrt": True},
    "l1_sqrt": {"objective": "l1", "reg_sqrt": True},
}
TRANSFORMED: dict[str, tuple[dict[str, Any], int]] = {
    "poisson": ({"objective": "poisson"}, 4),
    "gamma": ({"objective": "gamma"}, 4),
    "tweedie": ({"objective": "tweedie"}, 4),
    "binary": ({"objective": "binary"}, 4),
    "binary_sigmoid": ({"objective": "binary", "sigmoid": 2.3, "is_unbalance": True}, 4),
    "binary_forest": ({"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, 4),
    "cross_entropy": ({"objective": "cross_entropy"}, 4),
    "cross_entropy_lambda": ({"objective": "cross_entropy_lambda"}, 14),
}


@pytest.mark.parametrize("name", IDENTITY)
def test_identity_objectives_are_bit_identical(name: str) -> None:
    """Every row, odd ones included, has the bits of Booster.predict."""
    assert distance(train(IDENTITY[name])) == 0


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformed_objectives_stay_within_their_bound(name: str) -> None:
    """The link functions are within 4 ulp, log1p(exp(x)) within 14."""
    parameters, bound = TRANSFORMED[name]
    assert distance(train(parameters)) <= bound


def test_nested_category_splits_load_at_once() -> None:
    """Deep trees of categorical splits alone, with sets of many and of large codes."""
    generator = np.random.default_rng(5)
    codes = generator.integers(0, 300, (3000, 3)).astype(np.float64)
    codes[:, 2] = codes[:, 2] * 977 + 11
    label = np.sin(codes[:, 0] * 7) + np.cos(codes[:, 1] * 3) + codes[:, 2] % 5
    data = lightgbm.Dataset(codes, label, categorical_feature=[0, 1, 2])
    settings = {
        "num_threads": 1,
        "verbose": -1,
        "num_leaves": 63,
        "min_data_per_group": 1,
        "min_data_in_leaf": 5,
        "cat_smooth": 0,
    }
    booster = lightgbm.train({**settings, "max_cat_threshold": 200}, data, 30)
    model = parse_model_text(booster.model_to_string())
    rows = np.concatenate([codes, codes + 0.5, -codes, codes + 300, np.full((1, 3), np.nan)])
    started = time.process_time()
    found = run_graph(build_scoring_graph((), model, 3), rows)
    assert time.process_time() - started < 5
    assert ulps(found, booster.predict(rows)).max() == 0


def test_category_codes_are_bounded() -> None:
    """The graph's tables grow with the largest code, so there is a largest one."""
    nothing = np.zeros(1, dtype=np.int64)
    for code, allowed in ((MAXIMUM_CODE, True), (MAXIMUM_CODE + 1, False)):
        member = np.array([Decision.MEMBER], dtype=np.uint8)
        none, children = np.zeros(1, dtype=np.bool_), (np.array([-1]), np.array([-2]))
        codes = (np.array([code]),)
        tree = Tree(nothing, np.zeros(1), member, none, none, *children, np.array([1.0, 2.0]), codes)
        model = TreeEnsembleModel(1, (tree,))
        if allowed:
            rows = np.array([[code], [code + 1.0], [0.0], [code + 0.9]])
            assert run_graph(build_scoring_graph((), model, 1), rows).tolist() == [1.0, 2.0, 2.0, 1.0]
        else:
            with pytest.raises(RefusalError) as caught:
                build_scoring_graph((), model, 1)
            assert caught.value.code == "model.category_code"


@pytest.mark.parametrize(
    ("left", "right"), [("1 -1", "-2 -3"), ("-2 -1", "1 -3"), ("1 -3", "-1 -2"), ("-3 -2", "1 -1")]
)
def test_roots_whose_children_have_one_id(left: str, right: str) -> None:
    """A root with leaf 1 and node 1 below it is no lone leaf, whatever onnxruntime thinks (its issue 24679)."""
    text = train({"num_leaves": 3}, 2, categorical=[]).model_to_string()
    trees = [replaced(replaced(tree, "left_child", left), "right_child", right) for tree in tree_blocks(text)]
    assert distance(loaded(with_trees(text, trees))) == 0
    graph = onnx.load_from_string(build_scoring_graph((), parse_model_text(with_trees(text, trees)), FEATURES))
    (node,) = [node for node in graph.graph.node if node.op_type == "TreeEnsemble"]
    fields = {attribute.name: list(attribute.ints) for attribute in node.attribute}
    for root in fields["tree_roots"]:
        assert fields["nodes_truenodeids"][root] != fields["nodes_falsenodeids"][root]


def test_custom_objective() -> None:
    """A text without an objective is a raw sum."""
    booster = train({"objective": lambda scores, data: (scores - data.get_label(), np.ones(len(scores)))})
    assert "\nobjective=" not in booster.model_to_string()
    assert distance(booster) == 0


@pytest.mark.parametrize("keep", [True, False])
def test_early_stopping_keeps_the_best_iteration(keep: bool) -> None:
    """The text has the trees of the best iteration, which is what predict() uses."""
    features = training_rows(5)
    noise = np.random.default_rng(2).normal(size=len(features)) * 30
    valid = lightgbm.Dataset(features, training_label(features) + noise, free_raw_data=False)
    booster = train(
        {"learning_rate": 0.5},
        300,
        valid_sets=[valid],
        callbacks=[lightgbm.early_stopping(5, verbose=False)],
        keep_training_booster=keep,
        categorical=[],
    )
    model = parse_model_text(booster.model_to_string())
    assert 0 < len(model.trees) == booster.best_iteration < 300
    assert distance(booster) == 0


@pytest.mark.parametrize("parameters", [{}, IDENTITY["random_forest"], {"linear_tree": True}])
@pytest.mark.parametrize("iterations", [1, 7, 999])
def test_number_of_iterations(parameters: dict[str, Any], iterations: int) -> None:
    """`num_iteration` means what it means for Booster.predict, for averages too."""
    booster, rows = train(parameters, 20), training_rows(4)
    model = parse_model_text(booster.model_to_string(), iterations)
    found = run_graph(build_scoring_graph((), model, FEATURES), rows)
    assert ulps(found, booster.predict(rows, num_iteration=iterations)).max() == 0


def test_stumps_and_constant_models() -> None:
    """Trees of two leaves, and models that are one constant."""
    assert distance(train({"num_leaves": 2})) == 0
    constant = train({"min_data_in_leaf": 100_000})
    assert "num_leaves=1\n" in constant.model_to_string()
    assert distance(constant) == 0
    rows = np.ones((50, 2))
    linear = lightgbm.train(
        {"linear_tree": True, "verbose": -1, "num_threads": 1}, lightgbm.Dataset(rows, np.arange(50.0)), 3
    )
    graph = build_scoring_graph((), parse_model_text(linear.model_to_string()), 2)
    assert ulps(run_graph(graph, rows), linear.predict(rows)).max() == 0


def test_stump_between_larger_trees() -> None:
    """A tree of one leaf in the middle of an ensemble adds its constant."""
    large, small = train({}, 2).model_to_string(), train({"min_data_in_leaf": 100_000}, 1).model_to_string()
    booster = loaded(joined(joined(large, small), large))
    assert booster.num_trees() == 5
    assert distance(booster) == 0


def joined(first: str, second: str) -> str:
    """One model text with the trees of both."""
    trees = [block for text in (first, second) for block in tree_blocks(text)]
    trees = [f"Tree={i}\n" + tree.partition("\n")[2] for i, tree in enumerate(trees)]
    return with_trees(first, trees)


def tree_blocks(text: str) -> list[str]:
    section = text[text.index("Tree=0\n") : text.index("end of trees")]
    return ["Tree=" + part for part in section.split("Tree=")[1:]]


def with_trees(text: str, trees: list[str]) -> str:
    """`text` with other trees, and sizes that fit them."""
    head, tail = text[: text.index("tree_sizes=")], text[text.index("end of trees") :]
    return f"{head}tree_sizes={' '.join(str(len(tree)) for tree in trees)}\n\n{''.join(trees)}{tail}"


def test_infinite_and_near_zero_thresholds() -> None:
    """Splits that only part NaN from numbers, or zero from the next negative value, as LightGBM writes them."""
    features = np.random.default_rng(1).normal(size=(600, 2))
    features[::3, 0] = np.nan
    features[:, 1] = np.where(features[:, 1] > 0, 0.0, features[:, 1])
    label = np.isnan(features[:, 0]) * 5.0 + (features[:, 1] == 0) * 2.0
    booster = lightgbm.train({"num_threads": 1, "verbose": -1, "num_leaves": 4}, lightgbm.Dataset(features, label), 5)
    text = booster.model_to_string()
    assert "inf" in text
    assert "-1.0000000180025095e-35" in text
    model = parse_model_text(text)
    rows = odd_rows(model, np.nan_to_num(features))
    assert ulps(run_graph(build_scoring_graph((), model, 2), rows), booster.predict(rows)).max() == 0


def test_thresholds_inside_the_zero_band() -> None:
    """LightGBM flushes |x| <= 1e-35f to zero before it compares, whatever the threshold is."""
    text = train({"num_leaves": 4}, 3, categorical=[]).model_to_string()
    for value in ("0", "1e-36", "-1e-36", "5e-324", repr(ZERO_BOUND), repr(-ZERO_BOUND)):
        trees = [replaced(tree, "threshold", " ".join([value] * 3)) for tree in tree_blocks(text)]
        for decision in (0, 2, 4, 6, 8, 10):
            changed = [replaced(tree, "decision_type", " ".join([str(decision)] * 3)) for tree in trees]
            assert distance(loaded(with_trees(text, changed))) == 0


def replaced(tree: str, key: str, value: str) -> str:
    lines = [f"{key}={value}" if line.startswith(f"{key}=") else line for line in tree.split("\n")]
    return "\n".join(lines)


def test_linear_leaves_take_tiny_values_as_zero() -> None:
    """A coefficient that would make |x| <= 1e-35f visible multiplies 0.0, as in LightGBM."""
    text = train({"num_leaves": 3, "linear_tree": True}, 2, categorical=[]).model_to_string()
    fields = {
        "leaf_const": "0 0 0",
        "num_features": "2 1 1",
        "leaf_features": "1 4 1 0",
        "leaf_coeff": "1e40 3 -1e40 7",
    }
    trees = tree_blocks(text)
    for key, value in fields.items():
        trees[1] = replaced(trees[1], key, value)
    assert distance(loaded(with_trees(text, trees))) == 0


def test_one_feature_with_all_missing_types() -> None:
    """Splits with different missing types may share a feature: each sees its own view of the column."""
    text = train({"num_leaves": 7}, 4, categorical=[]).model_to_string()
    types = [" ".join(str((2 * node + turn) % 6 * 2) for node in range(6)) for turn in range(4)]
    trees = [replaced(tree, "decision_type", mix) for tree, mix in zip(tree_blocks(text), types, strict=True)]
    trees = [replaced(tree, "split_feature", "0 1 1 0 1 0") for tree in trees]
    booster = loaded(with_trees(text, trees))
    assert distance(booster) == 0


@pytest.mark.parametrize("parameters", [{}, {"linear_tree": True}, {"objective": "poisson"}, {"objective": "binary"}])
def test_bits_do_not_depend_on_the_batch(parameters: dict[str, Any]) -> None:
    """A row has the same bits alone, in chunks of any size, and among a thousand."""
    model = parse_model_text(train(parameters).model_to_string())
    graph, rows = build_scoring_graph((), model, FEATURES), training_rows(3, 1000)
    whole = run_graph(graph, rows)
    for size in (1, 2, 3, 7, 50, 51, 999):
        pieces = [run_graph(graph, rows[start : start + size]) for start in range(0, min(60 * size, 1000), size)]
        assert ulps(np.concatenate(pieces), whole[: sum(len(piece) for piece in pieces)]).max() == 0


def test_many_trees_of_qlibs_size() -> None:
    """Two hundred trees with qlib's parameters add up in LightGBM's order."""
    parameters = {"num_leaves": 210, "max_depth": 8, "learning_rate": 0.2, "lambda_l1": 20, "lambda_l2": 60}
    assert distance(train({"objective": "mse", "colsample_bytree": 0.9, **parameters}, 200)) == 0


def test_extreme_link_values() -> None:
    """The link functions saturate as LightGBM's do: no NaN, no lost small values."""
    text = train({"min_data_in_leaf": 100_000}, 1).model_to_string()
    names = ("binary sigmoid:1", "poisson", "cross_entropy", "cross_entropy_lambda", "regression sqrt")
    for objective in names:
        changed = text.replace("objective=regression\n", f"objective={objective}\n")
        for value in ("-800", "-745.2", "-40", "-30.5", "-1e-3", "0", "1e-9", "1", "36.8", "700", "709.9", "800"):
            tree = replaced(tree_blocks(changed)[0], "leaf_value", value)
            booster = loaded(with_trees(changed, [tree]))
            bound = 0 if "sqrt" in objective else 4
            assert distance(booster) <= bound, (objective, value)


@pytest.mark.parametrize("name", REAL)
def test_real_models_score_as_qlib_recorded(name: str) -> None:
    """Models that qlib trained give the recorded predictions of every stock and day, bit for bit."""
    base = DATA if (DATA / name).is_dir() else FIXTURES
    if not (base / name).is_dir():
        pytest.skip("the full set of research leftovers is not here")
    truth = json.loads((base / name / "truth.json").read_text(encoding="utf-8"))
    artifacts = base / name / truth["workspace"] / truth["artifacts"]
    record = read_pickle((artifacts / "params.pkl").read_bytes(), where="params.pkl").root
    model = parse_model_text(record.get("model").get("_handle"))
    features = truth["model_features"]
    checked = row_processors([fitted(step) for step in truth["processors"]["infer"]], features)
    keys = ["datetime", "instrument"]
    table = pandas.read_parquet(base / name / truth["features_file"])
    recorded = pandas.read_parquet(base / name / "pred.parquet").merge(table, on=keys, validate="1:1")
    found = run_graph(build_scoring_graph(checked, model, len(features)), recorded[features].to_numpy(np.float64))
    assert len(found) == 2369
    assert ulps(found, recorded["score"].to_numpy(np.float64)).max() == 0


VERSIONS = sorted((DATA / "lightgbm").glob("*.json"))


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_models_of_other_versions(path: Path) -> None:
    """Texts written by LightGBM 3.3.5 to 4.7 score as the version that wrote them did."""
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = from_json(document["rows"])
    for name, case in document["cases"].items():
        model = parse_model_text(case["text"])
        found = run_graph(build_scoring_graph((), model, rows.shape[1]), rows)
        bound = {"poisson": 4, "binary": 4, "cross_entropy": 4, "cross_entropy_lambda": 14}.get(name, 0)
        assert ulps(found, from_json(case["expected"])).max() <= bound, name


def test_versions_present() -> None:
    """Both text formats are covered: v3 of LightGBM 3.3.5 and v4."""
    assert [path.stem for path in VERSIONS] == ["3.3.5", "4.5.0", "4.6.0", "4.7.0"]
    assert "version=v3\n" in json.loads(VERSIONS[0].read_text(encoding="utf-8"))["cases"]["regression"]["text"]


@pytest.mark.parametrize("version", ["3.3.5", "4.7.0"])
def test_pickled_booster_holds_the_text(version: str) -> None:
    """The inert reader finds the model text in a pickled Booster."""
    path = DATA / "lightgbm" / f"{version}.pkl"
    booster = read_pickle(path.read_bytes(), where=path.name).root
    text = booster.get("handle") or booster.get("_handle")
    case = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["cases"]["regression"]
    assert tree_blocks(text) == tree_blocks(case["text"])


def test_same_model_same_bytes() -> None:
    """The graph's bytes depend on the model alone."""
    text = train({"linear_tree": True}, 5).model_to_string()
    first = build_scoring_graph((), parse_model_text(text), FEATURES)
    assert first == build_scoring_graph((), parse_model_text(text), FEATURES)


def test_used_features_and_thresholds() -> None:
    """Both agree with what LightGBM's own dump says."""
    booster = train({"num_leaves": 5}, 3)
    model = parse_model_text(booster.model_to_string())
    assert used_features(model).tolist() == (booster.feature_importance("split") > 0).tolist()
    frame = booster.trees_to_dataframe()
    numeric = frame[(frame.decision_type == "<=") & (frame.split_feature == "Column_2")]
    assert thresholds_by_feature(model)[2].tolist() == sorted(set(numeric.threshold.astype(float)))


def test_linear_leaves_count_as_used() -> None:
    """A feature that only a linear leaf multiplies is used."""
    booster = train({"linear_tree": True}, 3, categorical=[])
    text = booster.model_to_string()
    used, keys = used_features(parse_model_text(text)), ("leaf_features=", "split_feature=")
    assert used.tolist() == [
        any(str(i) in line.split("=")[1].split() for line in text.split("\n") if line.startswith(keys))
        for i in range(FEATURES)
    ]


@pytest.mark.parametrize("objective", ["multiclass", "multiclassova"])
def test_several_outputs_are_refused(objective: str) -> None:
    """A ranking needs one score."""
    features = training_rows()
    data = lightgbm.Dataset(features, features[:, CATEGORICAL] % 3)
    booster = lightgbm.train({"objective": objective, "num_class": 3, "verbose": -1, "num_threads": 1}, data, 2)
    assert refused(booster.model_to_string()).code == "model.multi_output"


def refused(text: str) -> RefusalError:
    return refusal(RefusalError, parse_model_text, text)


TEXT = train({"num_leaves": 4}, 2).model_to_string()


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("tree\n", "forest\n", "model.malformed"),
        ("version=v4", "version=v2", "model.version"),
        ("version=v4", "version=v5", "model.version"),
        ("version=v4\n", "", "model.version"),
        ("objective=regression\n", "objective=median\n", "model.objective"),
        ("objective=regression\n", "objective=huber sqrt\n", "model.objective"),
        ("objective=regression\n", "objective=binary sigmoid:0\n", "model.objective"),
        ("objective=regression\n", "objective=binary sigmoid:nan\n", "model.objective"),
        ("max_feature_idx=5", "max_feature_idx=4", "model.malformed"),
        ("max_feature_idx=5", "max_feature_idx=500000", "model.too_large"),
        ("max_feature_idx=5", "max_feature_idx=five", "model.malformed"),
        ("num_class=1", "num_class=3", "model.multi_output"),
        ("label_index=0", "label_index=0\nmystery=1", "model.malformed"),
        ("label_index=0", "label_index=0\nlabel_index=0", "model.malformed"),
        ("end of trees", "end of tre", "model.malformed"),
        ("tree_sizes=", "tree_sizes=1 ", "model.malformed"),
    ],
)
def test_contradictory_texts_are_refused(old: str, new: str, code: str) -> None:
    """A header that is unknown or contradicts itself gives one coded refusal."""
    assert old in TEXT
    assert refused(TEXT.replace(old, new, 1)).code == code


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("left_child", "0 2 -1"),
        ("left_child", "1 -1 -1"),
        ("left_child", "9 -9 -1"),
        ("left_child", "99999999999999999999 1 2"),
        ("right_child", ""),
        ("split_feature", "0 1 6"),
        ("split_feature", "0 1 -1"),
        ("threshold", "nan nan nan"),
        ("threshold", "0 1"),
        ("threshold", "1_0 1 2"),
        ("leaf_value", "1 2 3 inf"),
        ("leaf_value", "1 2 3"),
        ("decision_type", "12 2 2"),
        ("decision_type", "-1 2 2"),
        ("num_leaves", "200000"),
        ("num_leaves", "0"),
        ("num_leaves", ""),
        ("num_cat", "-1"),
        ("is_linear", "2"),
        ("is_linear", "1"),
    ],
)
def test_broken_trees_are_refused_with_their_number(key: str, value: str) -> None:
    """What is not one proper tree is refused, and the refusal names the tree."""
    first, second = tree_blocks(TEXT)
    error = refused(with_trees(TEXT, [first, replaced(second, key, value)]))
    assert error.code == "model.malformed"
    assert "tree 1" in str(error.where)


@pytest.mark.parametrize(
    ("key", "value"),
    [("cat_boundaries", "0 1"), ("cat_boundaries", "1 2 3"), ("cat_threshold", "-1"), ("cat_threshold", "4294967296")],
)
def test_broken_category_sets_are_refused(key: str, value: str) -> None:
    """The bit sets of categorical splits are as strict."""
    codes = training_rows()[:, [CATEGORICAL]]
    data = lightgbm.Dataset(codes, codes[:, 0] % 7, categorical_feature=[0])
    text = lightgbm.train(
        {"num_threads": 1, "verbose": -1, "num_leaves": 2, "min_data_per_group": 5}, data, 1
    ).model_to_string()
    tree = tree_blocks(text)[0]
    assert "num_cat=1\n" in tree
    assert refused(with_trees(text, [replaced(tree, key, value)])).code == "model.malformed"


def test_a_cycle_beside_the_tree_is_refused() -> None:
    """Every node has one parent, and yet the root does not reach them all."""
    first, second = tree_blocks(TEXT)
    cycle = replaced(replaced(second, "left_child", "-1 2 1"), "right_child", "-2 -3 -4")
    assert "cycle" in str(refused(with_trees(TEXT, [first, cycle])))


def chain(depth: int) -> str:
    """A model of one tree in which every split has one leaf and the next split."""
    left = " ".join([*(str(i + 1) for i in range(depth - 1)), str(~depth)])
    fields = {
        "num_leaves": str(depth + 1),
        "num_cat": "0",
        "split_feature": " ".join(["0"] * depth),
        "threshold": " ".join(str(-i) for i in range(depth)),
        "decision_type": " ".join(["2"] * depth),
        "left_child": left,
        "right_child": " ".join(str(~i) for i in range(depth)),
        "leaf_value": " ".join(str(i) for i in range(depth + 1)),
        "is_linear": "0",
        "shrinkage": "1",
    }
    return with_trees(TEXT, ["Tree=0\n" + "".join(f"{key}={value}\n" for key, value in fields.items()) + "\n\n"])


def test_depth_is_bounded() -> None:
    """The deepest tree that is accepted runs in onnxruntime; one level more is refused by name."""
    graph = build_scoring_graph((), parse_model_text(chain(MAXIMUM_DEPTH)), FEATURES)
    rows = np.zeros((2, FEATURES))
    rows[:, 0] = [-1e9, -10.5]
    assert run_graph(graph, rows).tolist() == [MAXIMUM_DEPTH, 11.0]
    assert refused(chain(MAXIMUM_DEPTH + 1)).code == "model.too_deep"
