"""What the library's own ``predict`` reads from a saved LightGBM object beside the trees: the score is that of the object."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from alphaseal.scoring.session import Graph
from alphaseal_converter.cli import main
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.families import FamilyContext, TrainedModel, read_trained_model

lightgbm = pytest.importorskip("lightgbm")
INDUSTRIES = (110, 210, 220, 270, 330)
SMALL: dict[str, Any] = {"n_estimators": 12, "num_leaves": 7, "min_child_samples": 5, "verbosity": -1, "seed": 1}


def frame(rows: int = 600) -> pd.DataFrame:
    """Three numbers and a column of industry codes; the target depends on all of them."""
    random = np.random.default_rng(7)
    table = pd.DataFrame(random.standard_normal((rows, 3)), columns=["mom", "rev", "vol"])
    return table.assign(industry=random.choice(INDUSTRIES, rows))


def target(table: pd.DataFrame) -> pd.Series:
    """Industries do not count in the order of their codes."""
    shift = table["industry"].map({110: 3.0, 210: -2.0, 220: 5.0, 270: -4.0, 330: 0.5}) if "industry" in table else 0.0
    return table["mom"] - 0.5 * table["rev"] ** 2 + shift


def read(model: Any) -> TrainedModel:
    """The model as the converter reads its pickle."""
    return read_trained_model(pickle.dumps(model), "params.pkl", FamilyContext())


def scores(model: Any, table: pd.DataFrame) -> np.ndarray:
    """The graph's scores of the frame's bare values."""
    read_model = read(model)
    if read_model.bind is not None:
        read_model = read_model.bind(list(table.columns), ["float64"] * table.shape[1])
    return Graph(read_model.graph(()), table.shape[1], "model.onnx").run(table.to_numpy(np.float64))


def categorical(table: pd.DataFrame) -> pd.DataFrame:
    """As it was fitted: pandas knows the industry as a category."""
    return table.assign(industry=pd.Categorical(table["industry"], categories=list(INDUSTRIES)))


@pytest.mark.case("lightgbm_pandas_categories", "lightgbm_pandas_categories_in_pipeline")
@pytest.mark.parametrize("kind", ["regressor", "booster", "pipeline"])
def test_categories_of_a_frame_are_raw_values(kind: str) -> None:
    """Industry codes, unseen ones and missing ones score as the object's own predict scores the frame, bit for bit."""
    table = categorical(frame())
    if kind == "booster":
        data = lightgbm.Dataset(table, target(frame()))
        model = lightgbm.train(
            {"num_leaves": 7, "verbosity": -1, "min_data_in_leaf": 5, "min_data_per_group": 5}, data, 12
        )
    else:
        model = lightgbm.LGBMRegressor(**SMALL, min_data_per_group=5)
        if kind == "pipeline":
            model = pytest.importorskip("sklearn.pipeline").make_pipeline("passthrough", model)
        model.fit(table, target(frame()))
    raw = frame(300)
    raw.loc[:9, "industry"] = 999
    raw["industry"] = raw["industry"].astype(float)
    raw.loc[10:19, "industry"] = np.nan
    asked = raw.assign(industry=pd.Categorical(raw["industry"], categories=[float(code) for code in INDUSTRIES]))
    asked["industry"] = asked["industry"].cat.rename_categories(list(INDUSTRIES))
    np.testing.assert_array_equal(scores(model, raw), model.predict(asked))


def test_categories_that_are_no_numbers_are_refused_by_name() -> None:
    """A table of numbers cannot hold them."""
    table = frame().assign(industry=pd.Categorical(frame()["industry"].astype(str)))
    model = lightgbm.LGBMRegressor(**SMALL, min_data_per_group=5).fit(table, target(frame()))
    with pytest.raises(RefusalError) as refused:
        scores(model, frame())
    assert refused.value.code == "model.categorical"


@pytest.mark.parametrize(
    "parameters",
    [
        {"pred_early_stop": True, "pred_early_stop_freq": 2, "pred_early_stop_margin": 0.01},
        {"num_iteration_predict": 3},
        {"start_iteration_predict": 2},
        {"predict_raw_score": True},
        {"is_predict_leaf_index": True},
    ],
    ids=lambda parameters: next(iter(parameters)),
)
def test_parameters_of_the_wrapper_never_give_other_scores(parameters: dict[str, Any]) -> None:
    """The wrapper hands its own parameters to predict: one that is not neutral is refused by name, or changes nothing."""
    table = frame()[["mom", "rev", "vol"]]
    model = lightgbm.LGBMRegressor(**SMALL, **parameters).fit(table, target(table))
    try:
        found = scores(model, table)
    except RefusalError as refused:
        assert refused.code == "model.predict_parameter"  # noqa: PT017 - both outcomes are right, and each is looked at
        assert any(name in str(refused) for name in parameters)  # noqa: PT017
    else:
        np.testing.assert_array_equal(found, model.predict(table))


@pytest.mark.case("lightgbm_pred_early_stop")
def test_early_stop_of_a_ranker_is_refused() -> None:
    """The user's scores come from fewer trees than the Booster has."""
    table = frame()[["mom", "rev", "vol"]]
    parameters = {"pred_early_stop": True, "pred_early_stop_freq": 5, "pred_early_stop_margin": 0.2}
    model = lightgbm.LGBMRanker(**SMALL, **parameters)
    model.fit(table, (target(table) > 0).astype(int), group=[60] * 10)
    with pytest.raises(RefusalError) as refused:
        read(model)
    assert refused.value.code == "model.predict_parameter"


@pytest.mark.case("lightgbm_names_swapped")
@pytest.mark.parametrize("order", [("mom", "rev", "vol"), ("rev", "mom", "vol")], ids=["right", "swapped"])
def test_a_given_order_must_agree_with_the_names_of_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...]
) -> None:
    """A feature order with two names swapped is refused; the right one is taken."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    table = frame()[["mom", "rev", "vol"]]
    workspace = tmp_path / "ws"
    workspace.mkdir()
    model = lightgbm.LGBMRegressor(**SMALL).fit(table, target(table))
    (workspace / "params.pkl").write_bytes(pickle.dumps(model))
    (tmp_path / "order.txt").write_text("\n".join(order), encoding="utf-8")
    keys = {"datetime": pd.Timestamp("2024-01-02"), "instrument": [f"SH{600000 + row}" for row in range(len(table))]}
    table.assign(**keys).to_parquet(tmp_path / "features.parquet", index=False)
    arguments = ["build", "--weights", "scan", "--workspace-root", str(workspace), "--out", str(tmp_path / "bundle")]
    arguments += ["--feature-order", str(tmp_path / "order.txt"), "--features", str(tmp_path / "features.parquet")]
    status = main(arguments)
    said = capsys.readouterr().err
    assert (status, (tmp_path / "bundle").exists()) == ((0, True) if order[0] == "mom" else (20, False)), said
    assert ("order.names_differ" in said) == (order[0] != "mom")
