"""scikit-learn's estimators and pipelines: trained here, pickled, read inertly, compared with their own predict."""

from __future__ import annotations

import datetime
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal.scoring.numeric import outside
from alphaseal_converter.build import build
from alphaseal_converter.comparison.parity import unexplained
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families import read_trained_model, sklearn_live
from alphaseal_converter.pickles import read_pickle
from alphaseal_converter.proof.request import BuildRequest
from estimators import largest_relative, largest_ulp, leftover, odd_rows, read_back, same_order_every_day, scores_of
from locations import FIXTURES

pytest.importorskip("sklearn")
pytest.importorskip("lightgbm")

import lightgbm
import sklearn
import threadpoolctl
from sklearn import decomposition, ensemble, impute, linear_model, neural_network, pipeline, preprocessing, tree
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.svm import SVR, LinearSVR

pytestmark = pytest.mark.filterwarnings("ignore")

chain = pipeline.make_pipeline
Standard, Robust = preprocessing.StandardScaler, preprocessing.RobustScaler
GENERATOR = np.random.default_rng(0)
PLAIN = GENERATOR.normal(size=(500, 6)) * [1, 1, 1e-9, 1, 1, 1] + [0, 0, 0, 1e6, 0, 0]
LABEL = 2 * PLAIN[:, 0] + np.sin(3 * PLAIN[:, 1]) + 0.3 * GENERATOR.normal(size=500)
GAPS = np.where(GENERATOR.random(PLAIN.shape) < 0.1, np.nan, PLAIN)
OTHER = GENERATOR.normal(size=(300, 6)) * [1, 1, 1e-9, 1, 1, 1] + [0, 0, 0, 1e6, 0, 0]
ROWS = np.concatenate([PLAIN[:100], OTHER, np.where(GENERATOR.random(OTHER.shape) < 0.2, np.nan, OTHER)])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tables on a busy machine: threads would wait for each other longer than they compute."""
    with threadpoolctl.threadpool_limits(1):
        yield


def forest(**options: Any) -> Any:
    return ensemble.RandomForestRegressor(**{"n_estimators": 12, "random_state": 1} | options)


def network(*layers: int, **options: Any) -> Any:
    return neural_network.MLPRegressor(hidden_layer_sizes=layers, max_iter=30, random_state=1, **options)


def boosting(**options: Any) -> Any:
    return ensemble.GradientBoostingRegressor(**{"n_estimators": 30, "random_state": 1} | options)


def histogram(**options: Any) -> Any:
    return ensemble.HistGradientBoostingRegressor(**{"max_iter": 30, "random_state": 1} | options)


def quantiles(**options: Any) -> Any:
    return preprocessing.QuantileTransformer(n_quantiles=60, random_state=1, **options)


EXACT: dict[str, tuple[Any, Any]] = {
    "decision_tree": (tree.DecisionTreeRegressor(max_depth=8, random_state=1), GAPS),
    "extra_tree": (tree.ExtraTreeRegressor(max_depth=8, random_state=1), PLAIN),
    "stump": (tree.DecisionTreeRegressor(max_depth=1, random_state=1), PLAIN),
    "constant": (tree.DecisionTreeRegressor(min_samples_leaf=400, random_state=1), PLAIN),
    "forest": (forest(), PLAIN),
    "forest_with_gaps": (forest(), GAPS),
    "forest_absolute_error": (forest(n_estimators=3, criterion="absolute_error"), PLAIN),
    "extra_trees": (ensemble.ExtraTreesRegressor(10, random_state=1), PLAIN),
    "extra_trees_with_gaps": (ensemble.ExtraTreesRegressor(10, random_state=1), GAPS),
    "boosting": (boosting(), PLAIN),
    "boosting_huber_from_zero": (boosting(loss="huber", init="zero"), PLAIN),
    "boosting_quantile": (boosting(loss="quantile", alpha=0.3), PLAIN),
    "histogram": (histogram(), PLAIN),
    "histogram_with_gaps": (histogram(), GAPS),
    "histogram_quantile": (histogram(loss="quantile", quantile=0.3), GAPS),
    "imputer_with_indicator_forest": (chain(impute.SimpleImputer(add_indicator=True), forest()), GAPS),
    "standard_forest": (chain(Standard(), forest()), PLAIN),
    "min_max_clip_forest": (chain(preprocessing.MinMaxScaler(clip=True), forest()), PLAIN),
    "robust_boosting": (chain(Robust(), boosting()), PLAIN),
    "max_abs_histogram": (chain(preprocessing.MaxAbsScaler(), histogram()), GAPS),
    "quantile_forest": (chain(quantiles(), forest()), PLAIN),
    "normal_quantile_boosting": (chain(quantiles(output_distribution="normal"), boosting()), PLAIN),
    "whitened_forest": (chain(Standard(), decomposition.PCA(4, whiten=True), forest()), PLAIN),
    "polynomial_forest": (chain(Standard(), preprocessing.PolynomialFeatures((2, 3)), forest(n_estimators=4)), PLAIN),
    "variance_forest": (chain(VarianceThreshold(1e-12), forest()), PLAIN),
    "scaled_lightgbm": (chain(Standard(), lightgbm.LGBMRegressor(n_estimators=20, verbose=-1, n_jobs=1)), GAPS),
    "bagging": (ensemble.BaggingRegressor(tree.DecisionTreeRegressor(), 8, max_features=0.5, random_state=1), PLAIN),
}
LINK: dict[str, tuple[Any, Any]] = {
    "poisson_histogram": (histogram(loss="poisson"), GAPS),
    "gamma_histogram": (histogram(loss="gamma"), GAPS),
}
ROUNDED: dict[str, Any] = {
    **{name: chain(Standard(), getattr(linear_model, name)()) for name in ("LinearRegression", "Ridge", "RidgeCV")},
    **{name: chain(Standard(), getattr(linear_model, name)(alpha=0.01)) for name in ("Lasso", "ElasticNet")},
    **{name: chain(Standard(), getattr(linear_model, name)()) for name in ("HuberRegressor", "BayesianRidge")},
    "linear_svr": chain(Standard(), LinearSVR(random_state=1)),
    "relu": chain(Standard(), network(40, 20)),
    "tanh": chain(Standard(), network(16, activation="tanh")),
    "logistic": chain(Robust(), network(15, activation="logistic")),
    "identity": chain(Standard(), network(8, activation="identity")),
    "components": chain(Standard(), decomposition.PCA(4), linear_model.LinearRegression()),
    "singular_values": chain(Standard(), decomposition.TruncatedSVD(3, random_state=1), linear_model.Ridge()),
    "normal_quantiles": chain(quantiles(output_distribution="normal"), linear_model.Ridge()),
    "quantiles": chain(quantiles(), linear_model.Ridge()),
    "polynomial": chain(Standard(), preprocessing.PolynomialFeatures(2), linear_model.Ridge()),
    "interactions": chain(
        Standard(), preprocessing.PolynomialFeatures(3, include_bias=False, interaction_only=True), linear_model.Ridge()
    ),
    "columns": chain(
        ColumnTransformer([("a", Standard(), [0, 3]), ("b", Robust(), [2])], remainder="passthrough"),
        linear_model.Ridge(),
    ),
    "union": chain(
        Standard(), pipeline.FeatureUnion([("a", Robust()), ("b", decomposition.PCA(2))]), linear_model.Ridge()
    ),
    "voting": ensemble.VotingRegressor([("a", boosting()), ("b", chain(Standard(), network(8)))], weights=[2, 1]),
    "stacking": ensemble.StackingRegressor(
        [("a", forest(n_estimators=4)), ("b", chain(Standard(), linear_model.Ridge()))]
    ),
}


def judged(trained: Any, rows: Any) -> Any:
    judge = trained.judge(())
    assert judge is not None
    assert judge.name.startswith("scikit-learn ")
    return judge.predict(rows)


@pytest.mark.parametrize("name", EXACT)
def test_trees_reach_the_same_leaf(name: str) -> None:
    """Bit-identical for every row that scikit-learn scores, thresholds hit by every float; no score where it refuses."""
    estimator, rows = EXACT[name]
    estimator.fit(rows, LABEL)
    trained = read_back(estimator)
    assert trained.road == "alphaseal.sklearn"
    found = odd_rows(trained, ROWS)
    scores, expected = scores_of(trained, found), judged(trained, found)
    good = np.isfinite(expected)
    assert good.sum() > 300
    assert largest_ulp(scores, expected) == 0
    assert largest_ulp(scores[good], np.asarray(estimator.predict(found[good]), dtype=np.float64)) == 0
    assert not outside(trained.bound, scores, expected).any()


@pytest.mark.parametrize("name", LINK)
def test_logarithmic_links(name: str) -> None:
    """Poisson and gamma losses give exp of the sum, within 4 ulp."""
    estimator, rows = LINK[name]
    estimator.fit(rows, np.abs(LABEL) + 0.1)
    trained = read_back(estimator)
    found = odd_rows(trained, ROWS)
    assert largest_ulp(scores_of(trained, found), estimator.predict(found)) <= 4


@pytest.mark.parametrize("name", ROUNDED)
def test_sums_of_products(name: str) -> None:
    """Within 2e-15 of the scores' size (twice that for products of inputs), and within the stated bound; the same rows have no score."""
    estimator = ROUNDED[name].fit(PLAIN, LABEL)
    trained = read_back(estimator)
    scores, expected = scores_of(trained, ROWS), judged(trained, ROWS)
    assert np.isfinite(expected).sum() >= 400
    assert largest_relative(scores, expected) <= (4e-15 if name in ("polynomial", "interactions") else 2e-15)
    assert not outside(trained.bound, scores, expected).any()


@pytest.mark.parametrize("name", ROUNDED)
def test_every_row_is_within_the_rounding_of_its_own_sums(name: str) -> None:
    """With 0.0 where a column stands around a million, too: large terms cancel there, beyond the bound for usual rows."""
    trained = read_back(ROUNDED[name].fit(PLAIN, LABEL))
    assert trained.rounding is not None
    rows = np.concatenate([ROWS, np.where(GENERATOR.random(OTHER.shape) < 0.3, 0.0, OTHER)])
    scores, expected = scores_of(trained, rows), judged(trained, rows)
    scored = np.isfinite(expected)
    rounding = trained.rounding(())(rows)
    assert (np.abs(scores - expected)[scored] <= rounding[scored]).all()
    assert not unexplained(trained.bound, scores, expected, rounding).any()
    assert (rounding[~scored] == 0).all()


@pytest.mark.parametrize(("depth", "walked"), [(3, False), (4, True)])
def test_shallow_trees_are_not_walked_and_give_the_same_scores(depth: int, walked: bool) -> None:
    """Seven splits are a table; at every threshold and beside it, in float32, the leaf is scikit-learn's."""
    estimator = boosting(max_depth=depth).fit(PLAIN, LABEL)
    trained = read_back(estimator)
    operators = {node.op_type for node in onnx.load_from_string(trained.graph(())).graph.node}
    assert ("TreeEnsemble" in operators) == walked
    found = odd_rows(trained, ROWS)
    expected = judged(trained, found)
    for rows in (1, 2, len(found)):
        assert largest_ulp(scores_of(trained, found[:rows]), expected[:rows]) == 0


@pytest.mark.parametrize(
    "scaler",
    [Standard(), preprocessing.MinMaxScaler(clip=True), preprocessing.MaxAbsScaler(), Standard(with_std=False)],
)
@pytest.mark.parametrize("model", [linear_model.Ridge(), network(4), forest(n_estimators=3), boosting(n_estimators=3)])
def test_rows_that_are_refused_get_no_score_behind_any_scaler(scaler: Any, model: Any) -> None:
    """Missing, infinite and too large values, looked at once or twice, are refused where scikit-learn refuses them."""
    trained = read_back(chain(scaler, model).fit(PLAIN, LABEL))
    rows = np.repeat(PLAIN[:1], 30, axis=0)
    for column in range(6):
        rows[5 * column : 5 * column + 5, column] = [np.nan, np.inf, -np.inf, 1e300, 0.0]
    assert np.array_equal(np.isnan(scores_of(trained, rows)), np.isnan(judged(trained, rows)))


def test_exponential_link_of_linear_models() -> None:
    """PoissonRegressor and GammaRegressor."""
    for kind in (linear_model.PoissonRegressor, linear_model.GammaRegressor):
        estimator = chain(Standard(), kind()).fit(PLAIN, np.abs(LABEL) + 0.1)
        trained = read_back(estimator)
        assert largest_relative(scores_of(trained, ROWS), judged(trained, ROWS)) <= 2e-15


@pytest.mark.parametrize("link", ["auto", "identity", "log"])
@pytest.mark.parametrize("power", [0, 0.0, 1, 1.5, 2, 3])
def test_tweedie_at_every_power_and_link(power: float, link: str) -> None:
    """The logarithm is the link of powers above zero unless another is named."""
    estimator = chain(Standard(), linear_model.TweedieRegressor(power=power, link=link)).fit(PLAIN, np.abs(LABEL) + 0.1)
    trained = read_back(estimator)
    assert trained.road == "alphaseal.sklearn"
    assert largest_relative(scores_of(trained, ROWS), judged(trained, ROWS)) <= 2e-15


def test_powers_are_refused_by_their_method() -> None:
    """Yeo-Johnson, the default, is named, and no error of another library."""
    estimator = chain(preprocessing.PowerTransformer(), linear_model.Ridge()).fit(PLAIN, LABEL)
    with pytest.raises(RefusalError, match="method yeo-johnson") as caught:
        read_back(estimator)
    assert "QuantileTransformer" in str(caught.value.next_step)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="needs the research leftovers")
def test_recorded_predictions() -> None:
    """The leftover pipeline (normal quantiles, PCA, boosting): qlib's scores bit for bit, from either file."""
    path = FIXTURES / "direct/sklearn_pipeline"
    run = leftover(path)
    for weights in (run.weights, (path / "model.pkl").read_bytes()):
        model = read_trained_model(weights, "sklearn_pipeline")
        assert model.bind is not None
        scores = scores_of(model.bind(run.names, run.dtypes), run.rows, run.processors)
        assert largest_ulp(scores, run.scores) == 0
        assert same_order_every_day(run.dates, scores, run.scores)


def test_a_forest_of_several_jobs_states_its_bound() -> None:
    """The order of its additions is not fixed, so the bound is that of any order."""
    estimator = forest(n_estimators=40, n_jobs=2).fit(PLAIN, LABEL)
    trained = read_back(estimator)
    assert "another order" in trained.bound.text
    rows = PLAIN[:200]
    assert not outside(trained.bound, scores_of(trained, rows), estimator.predict(rows)).any()


@pytest.mark.parametrize("estimator", [chain(Standard(), forest()), chain(Robust(), boosting()), forest()])
def test_tables_of_float32(estimator: Any) -> None:
    """Bound to float32 features, scalers round as numpy does, and trees reach the same leaf."""
    small = PLAIN.astype(np.float32)
    estimator.fit(small, LABEL)
    trained = read_back(estimator)
    assert trained.bind is not None
    bound = trained.bind([f"f{i}" for i in range(6)], ["float32"] * 6)
    rows = OTHER.astype(np.float32)
    scores = scores_of(bound, rows.astype(np.float64))
    assert largest_ulp(scores, np.asarray(estimator.predict(rows), dtype=np.float64)) == 0
    assert largest_ulp(scores, judged(bound, rows.astype(np.float64))) == 0


def test_names_of_a_frame_are_the_order() -> None:
    """An estimator that was fitted on a frame knows its features; another order is refused."""
    pandas = pytest.importorskip("pandas")
    names = ["b", "a", "d", "c", "f", "e"]
    trained = read_back(chain(Standard(), linear_model.Ridge()).fit(pandas.DataFrame(PLAIN, columns=names), LABEL))
    assert trained.known_names is not None
    trained.known_names.check(names, "weights")
    with pytest.raises(RefusalError) as caught:
        trained.known_names.check(sorted(names), "weights")
    assert caught.value.code == "order.names_differ"
    assert np.isfinite(judged(trained, PLAIN)).all()


def test_a_bundle_of_terms_that_cancel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bound holds for its golden rows, though its columns stand where the usual bound does not reach."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    workspace, names = tmp_path / "workspace", list("abcdef")
    workspace.mkdir()
    (workspace / "model.pkl").write_bytes(pickle.dumps(ROUNDED["voting"].fit(PLAIN, LABEL)))
    (tmp_path / "order.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    days = np.repeat(np.arange("2021-01-04", "2021-01-09", dtype="datetime64[D]"), 60)
    keys = {"datetime": pa.array(days), "instrument": [f"SH{600_000 + row % 60}" for row in range(len(days))]}
    columns = {name: OTHER[:, position] for position, name in enumerate(names)}
    pq.write_table(pa.table(keys | columns), tmp_path / "raw.parquet")
    request = BuildRequest(
        out=tmp_path / "bundle",
        weights="scan",
        workspace_roots=[workspace],
        feature_order=tmp_path / "order.txt",
        features=tmp_path / "raw.parquet",
    )
    bundle = alphaseal.open(build(request).path, trust=alphaseal.Trust.unsigned())
    usual = read_back(ROUNDED["voting"]).bound.absolute
    assert usual is not None
    assert (bundle.manifest.parity.bound.absolute or 0) > usual
    assert pq.read_metadata(tmp_path / "bundle" / "golden.parquet").num_rows > 100
    assert not any(case.outside for case in bundle.manifest.parity.cases)


SKL2ONNX: dict[str, Any] = {
    "normalizer": lambda: chain(preprocessing.Normalizer(), linear_model.Ridge()),
    "selected_forest": lambda: chain(SelectKBest(f_regression, k=3), forest()),
    "selected_histogram": lambda: chain(SelectKBest(f_regression, k=3), histogram()),
    "selected_lightgbm": lambda: chain(
        SelectKBest(f_regression, k=3), lightgbm.LGBMRegressor(n_estimators=9, verbose=-1)
    ),
}


@pytest.mark.parametrize("name", SKL2ONNX)
def test_the_road_of_skl2onnx(name: str) -> None:
    """What we do not build goes through skl2onnx in double, trees inside it through our own builder."""
    pytest.importorskip("skl2onnx")
    estimator = SKL2ONNX[name]().fit(PLAIN, LABEL)
    trained = read_back(estimator)
    assert trained.road.startswith("skl2onnx ")
    assert trained.road.endswith(" (double)")
    rows = ROWS[:400]
    scores, expected = scores_of(trained, rows), estimator.predict(rows)
    assert largest_relative(scores, np.asarray(expected)) <= 2e-15
    if "selected" in name:
        assert largest_ulp(scores, np.asarray(expected)) == 0
    assert not outside(trained.bound, scores, judged(trained, rows)).any()


REFUSED: dict[str, Any] = {
    "classifier": ensemble.RandomForestClassifier(3),
    "svr": SVR(),
    "ada_boost": ensemble.AdaBoostRegressor(n_estimators=3),
    "transformed_label": TransformedTargetRegressor(linear_model.Ridge()),
    "function": chain(preprocessing.FunctionTransformer(np.abs), linear_model.Ridge()),
    "boosting_on_a_model": boosting(init=linear_model.Ridge()),
    "categories": histogram(categorical_features=[0]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_is_refused_by_name(name: str) -> None:
    """The refusal says which estimator and why."""
    estimator = REFUSED[name]
    rows = np.round(np.abs(PLAIN[:, :3]) * 3) if name == "categories" else PLAIN
    estimator.fit(rows, (LABEL > 0).astype(int) if name == "classifier" else LABEL)
    with pytest.raises(RefusalError) as caught:
        read_back(estimator)
    assert caught.value.code in ("model.unsupported", "model.categorical")
    assert caught.value.found or caught.value.next_step


def test_several_outputs_are_refused() -> None:
    """Two labels give two scores."""
    labels = np.column_stack([LABEL, LABEL])
    for estimator in (forest(), linear_model.Ridge(), network(4)):
        with pytest.raises(RefusalError) as caught:
            read_back(estimator.fit(PLAIN, labels))
        assert caught.value.code == "model.multi_output"


def test_an_unfitted_estimator_is_refused() -> None:
    """Pickled before fit."""
    for estimator in (forest(), chain(Standard(), linear_model.Ridge()), boosting(), histogram(), network(3)):
        with pytest.raises(RefusalError) as caught:
            read_back(estimator)
        assert caught.value.code in ("model.untrained", "pickle.unknown_constructor")


@pytest.mark.parametrize("child", [-7, 0, 10_000])
def test_a_tree_that_points_elsewhere_never_reaches_compiled_code(child: int) -> None:
    """Child ids are checked before scikit-learn would follow them."""
    estimator = tree.DecisionTreeRegressor(max_depth=3, random_state=1).fit(PLAIN, LABEL)
    state = estimator.tree_.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"]["left_child"][1] = child
    estimator.tree_.__setstate__(state)
    with pytest.raises(RefusalError) as caught:
        read_back(estimator)
    assert caught.value.code == "model.malformed"


def test_a_build_names_both_versions(tmp_path: Path) -> None:
    """Without recorded predictions only the version that fitted the model could judge; the command installs it."""
    own = sklearn.__version__.encode()
    data = pickle.dumps(chain(Standard(), linear_model.Ridge()).fit(PLAIN, LABEL))
    other = own[:-1] + (b"0" if own[-1:] != b"0" else b"9")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "params.pkl").write_bytes(data.replace(own, other))
    order = [f"F{number}" for number in range(PLAIN.shape[1])]
    (tmp_path / "order.txt").write_text("\n".join(order) + "\n")
    days = pa.array([datetime.date(2024, 9, 2)] * len(PLAIN))
    keys = {"datetime": days, "instrument": pa.array([f"SH{600000 + row}" for row in range(len(PLAIN))])}
    pq.write_table(pa.table(keys | dict(zip(order, PLAIN.T, strict=True))), tmp_path / "raw.parquet")
    request = BuildRequest(
        out=tmp_path / "bundle",
        weights="scan",
        workspace_roots=[workspace],
        feature_order=tmp_path / "order.txt",
        features=tmp_path / "raw.parquet",
    )
    with pytest.raises(RefusalError) as caught:
        build(request)
    assert caught.value.code == "parity.no_judge"
    assert own.decode() in str(caught.value)
    assert f"pip install scikit-learn=={other.decode()}" in str(caught.value.next_step)


def test_another_version_has_no_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own road needs no scikit-learn; the judge must be the version that fitted; skl2onnx's road is refused."""
    estimator = chain(Standard(), forest()).fit(PLAIN, LABEL)
    trained = read_back(estimator)
    selected = chain(SelectKBest(f_regression, k=3), linear_model.Ridge()).fit(PLAIN, LABEL)
    for version, code in (("1.1.0", "model.sklearn_version"), (None, "model.sklearn_missing")):
        monkeypatch.setattr(sklearn_live, "installed_version", lambda version=version: version)
        assert trained.judge(()) is None
        assert largest_ulp(scores_of(trained, OTHER), estimator.predict(OTHER)) == 0
        with pytest.raises(RefusalError) as caught:
            read_back(selected)
        assert caught.value.code == code


def test_only_listed_classes_are_made_again() -> None:
    """A class that is not listed is refused by name, whatever its module."""
    record: Any = read_pickle(pickle.dumps(chain(Standard(), forest()).fit(PLAIN, LABEL)), where="weights").root
    odd: Any = read_pickle(pickle.dumps(warnings.catch_warnings), where="weights").root
    record.state["memory"] = odd
    with pytest.raises(RefusalError) as caught:
        sklearn_live.live_estimator(record, "weights")
    assert caught.value.code == "model.unsupported"
    assert "catch_warnings" in str(caught.value)


def test_equal_weights_give_equal_bytes() -> None:
    """The graph is the same, byte for byte, each time it is built."""
    estimator = chain(quantiles(output_distribution="normal"), decomposition.PCA(3), boosting()).fit(PLAIN, LABEL)
    assert read_back(estimator).graph(()) == read_back(estimator).graph(())
