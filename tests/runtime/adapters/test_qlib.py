"""A bundle as a model of qlib: the predictions that qlib recorded, from the dataset that the run was trained with."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from alphaseal_converter.build import build
from alphaseal_converter.decode.frames import as_plain
from alphaseal_converter.pickles import read_pickle
from alphaseal_converter.proof.request import BuildRequest
from bundles import direct_request, factor_plain_bundle, truth_of
from locations import DATA, FIXTURES
from runtime.adapters.conftest import Case
from runtime.adapters.environment import needs_adapters, run_program

pytestmark = needs_adapters

NESTED, SCALED = DATA / "factor_plain/truth/hist2_factor", DATA / "direct/lgb_alpha158_filter/truth"
NETWORK = FIXTURES / "quant_signed/truth/hist4_model"


def qlib_case(name: str, folder: Path, bundle: Path, out: Path) -> dict[str, Any]:
    """The dataset of a run's own configuration, its workspace beside it, and the bundle."""
    truth = truth_of(folder)
    workspace = out / f"workspace-{name}"
    shutil.copytree((folder / truth["workspace"]).resolve(), workspace)
    task = workspace / truth["artifacts"] / "task"
    dataset = copy.deepcopy(as_plain(read_pickle(task.read_bytes(), where="task").root)["dataset"])
    return {"bundle": bundle, "dataset": dataset, "workspace": workspace, "out": out / f"{name}.parquet"}


def network_bundle(out: Path) -> Path:
    """The windows network of the full fixtures."""
    task = FIXTURES / "quant_signed"
    return build(
        BuildRequest(
            out=out,
            task_directory=task,
            workspace_roots=[task / "workspaces"],
            features=(NETWORK / truth_of(NETWORK)["features_file"]).resolve(),
            run_model_code=True,
            session_key=task / "artifact_signing.key",
        )
    ).path


@pytest.fixture(scope="module")
def has_network() -> bool:
    """Whether a network can be built here."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return NETWORK.exists()


@pytest.fixture(scope="module")
def answer(
    tmp_path_factory: pytest.TempPathFactory, market: Path, plain_windows: Case, has_network: bool
) -> dict[str, Any]:
    """What one qlib made of the bundles, on the simulated market."""
    out = tmp_path_factory.mktemp("qlib")
    scaled = build(direct_request("lgb_alpha158_filter", out / "scaled")).path
    cases = {
        "nested": qlib_case("nested", NESTED, factor_plain_bundle(), out),
        "scaled": qlib_case("scaled", SCALED, scaled, out),
    }
    if has_network:
        cases["network"] = qlib_case("network", NETWORK, network_bundle(out / "network"), out)
    request = {
        "bundle": plain_windows.bundle,
        "features": plain_windows.features,
        "segment": ["2024-01-15", "2024-02-05"],
        "length": 4,
    }
    told = run_program("with_qlib", out, provider=market, cases=cases, windows=request, saved=out / "saved_model")
    return told | {"files": {name: case["out"] for name, case in cases.items()}}


@pytest.mark.parametrize(("name", "folder"), [("nested", NESTED), ("scaled", SCALED)])
@pytest.mark.slow
def test_predictions_are_the_recorded_ones_bit_for_bit(answer: dict[str, Any], name: str, folder: Path) -> None:
    """LightGBM on raw values, and behind a fitted scaler: every row of pred.pkl, the same bits, the same order."""
    found, recorded = pq.read_table(answer["files"][name]), pq.read_table(folder / "pred.parquet")
    for key in ("datetime", "instrument"):
        assert found[key].to_pylist() == recorded[key].to_pylist()
    assert found["score"].to_numpy().tobytes() == recorded["score"].to_numpy().tobytes()
    assert answer[name]["names"] == ["datetime", "instrument"]


def test_processors_of_the_dataset_are_not_applied_twice(answer: dict[str, Any]) -> None:
    """The scaled run's dataset has its processors, and the bundle has them too: the scores above are right all the same."""
    assert answer["scaled"]["processors"] > 0


def test_network_predictions_are_the_recorded_ones(answer: dict[str, Any], has_network: bool) -> None:
    """A network on windows of TSDatasetH: every row of pred.pkl within 1e-6 of the largest score, the same order."""
    if not has_network:
        pytest.skip("the full set of fixtures or torch is not here")
    found, recorded = pq.read_table(answer["files"]["network"]), pq.read_table(NETWORK / "pred.parquet")
    for key in ("datetime", "instrument"):
        assert found[key].to_pylist() == recorded[key].to_pylist()
    scores, expected = found["score"].to_numpy(), recorded["score"].to_numpy()
    assert np.abs(scores - expected).max() <= 1e-6 * np.abs(expected).max()


def test_windows_are_those_of_qlibs_sampler(answer: dict[str, Any]) -> None:
    """The same formula on the windows of TSDatasetH: same rows in the same order, same scores but for the sum's rounding."""
    windows = answer["windows"]
    assert windows["same_index"]
    assert windows["rows"] > 100
    assert windows["largest_difference"] < 1e-6


def test_a_saved_model_and_other_datasets_give_the_same(answer: dict[str, Any]) -> None:
    """Through qlib's recorder, with DatasetH on the same handler, and by a slice of dates."""
    windows = answer["windows"]
    assert windows["saved_is_the_same"]
    assert windows["tabular_is_the_same"]
    assert windows["slice_is_the_same"]


def test_what_would_be_wrong_is_refused(answer: dict[str, Any]) -> None:
    """No raw data, too few days, an unknown segment, fitting: a code each; fitting can be allowed for qrun."""
    assert answer["windows"]["refusals"] == {
        "dropped": "adapter.dataset",
        "early": "window.too_short",
        "segment": "usage.segment",
        "fit": "usage.fit",
        "fit_allowed": "",
    }
