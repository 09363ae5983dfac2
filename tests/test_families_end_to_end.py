"""Every run of the full set of research leftovers, from its files to the scores of an opened bundle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal.scoring.near_ties import compare_order
from alphaseal.scoring.numeric import allowed, outside
from alphaseal_converter.build import build
from alphaseal_converter.cli import main as convert_command
from alphaseal_converter.comparison.parity import TOP_COUNTS, day_order
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.proof.request import BuildRequest
from locations import FIXTURES

pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the full set of research leftovers is not here")
ROWS, DAYS = 2369, 40
EXACT = "exact"
"""Bit for bit what qlib recorded."""
NEAR = "near"
"""Within the bound of the family, every stock of every day in the same order."""
NETWORK = "network"
"""Within the bound, the same order but for near ties."""
RUNS = {
    "factor_plain/truth/hist0_factor": ("lightgbm", EXACT),
    "factor_plain/truth/hist2_factor": ("lightgbm", EXACT),
    "quant_signed/truth/hist0_factor": ("lightgbm", EXACT),
    "direct/lgb_nested_loader/truth": ("lightgbm", EXACT),
    "direct/lgb_ordered_loader/truth": ("lightgbm", EXACT),
    "direct/lgb_alpha158_filter/truth": ("lightgbm", EXACT),
    "direct/densemble/truth": ("lightgbm", EXACT),
    "direct/xgb/truth": ("xgboost", EXACT),
    "direct/catboost/truth": ("catboost", EXACT),
    "direct/sklearn_pipeline/truth": ("sklearn", EXACT),
    "direct/linear_ols/truth": ("numpy", NEAR),
    "direct/linear_ridge/truth": ("numpy", NEAR),
    "model_plain/truth/hist0_model": ("torch", NETWORK),
    "model_plain/truth/hist1_model": ("torch", NETWORK),
    "quant_signed/truth/hist1_model": ("torch", NETWORK),
    "quant_signed/truth/hist2_factor": ("torch", NETWORK),
    "quant_signed/truth/hist4_model": ("torch", NETWORK),
}
NETWORK_OF_ROWS = "model_plain/truth/hist0_model"
NETWORKS = [name for name, (_, kind) in RUNS.items() if kind == NETWORK]


@dataclass(frozen=True)
class Run:
    """A run's truth folder and what qlib said there."""

    truth: Path
    told: dict[str, Any]

    @property
    def features(self) -> Path:
        return (self.truth / str(self.told["features_file"])).resolve()

    def request(self, out: Path, **changes: Any) -> BuildRequest:
        """The build that a user would ask for."""
        if self.truth.name == "truth":
            options: dict[str, Any] = {"weights": "scan", "workspace_roots": [self.truth.parent]}
        else:
            task = self.truth.parents[1]
            key = task / "artifact_signing.key"
            options = {
                "task_directory": task,
                "workspace_roots": [task / "workspaces"],
                "anchor": self.truth.name.removeprefix("hist").split("_")[0],
                "session_key": key if key.exists() else None,
                "run_model_code": True,
            }
        return BuildRequest(out=out, **({"features": self.features} | options | changes))


def load(name: str) -> Run:
    truth = FIXTURES / name
    return Run(truth, json.loads((truth / "truth.json").read_text(encoding="utf-8")))


def check(name: str, out: Path) -> alphaseal.Bundle:
    """Build, open, score all recorded dates, compare with the recorded predictions."""
    library, kind = RUNS[name]
    pytest.importorskip(library)
    run = load(name)
    bundle = alphaseal.open(build(run.request(out)).path, trust=alphaseal.Trust.unsigned())
    manifest = bundle.manifest
    assert [feature.name for feature in manifest.features] == run.told["model_features"]
    assert {feature.name: feature.dtype for feature in manifest.features} == run.told["feature_dtypes"]
    assert manifest.order.proof == "replayed"
    assert manifest.model.step_length == (run.told["step_len"] or 1)
    assert any("recorded" not in case.judge for case in manifest.parity.cases)
    keys = [("datetime", "ascending"), ("instrument", "ascending")]
    recorded = pq.read_table(run.truth / "pred.parquet").sort_by(keys)
    dates = recorded["datetime"].to_numpy().astype("datetime64[D]")
    scores = bundle.score(run.features, dates=(str(dates[0]), str(dates[-1]))).table.sort_by(keys)
    names = recorded["instrument"].to_pylist()
    assert len(scores) == ROWS
    assert scores["instrument"].to_pylist() == names
    assert np.array_equal(scores["datetime"].to_numpy().astype("datetime64[D]"), dates)
    found, expected = (table["score"].to_numpy().astype(np.float64) for table in (scores, recorded))
    if kind == EXACT:
        assert found.tobytes() == expected.tobytes()
    assert not outside(manifest.parity.bound, found, expected).any()
    order = compare_order(dates, names, found, expected, allowed(manifest.parity.bound, expected), TOP_COUNTS)
    assert manifest.parity.days == day_order(order)
    assert order.others == 0
    assert kind == NETWORK or order.same == DAYS
    return bundle


def test_no_run_is_forgotten() -> None:
    """Every folder of truth in the set is a line of the table above."""
    assert {path.parent.relative_to(FIXTURES).as_posix() for path in FIXTURES.rglob("truth.json")} == set(RUNS)


@pytest.mark.parametrize("name", [name for name in RUNS if name not in NETWORKS])
def test_scores_are_those_that_qlib_recorded(name: str, tmp_path: Path) -> None:
    """Trees, DEnsemble and pipelines bit for bit, linear models within their bound; features, dtypes and order of stocks."""
    check(name, tmp_path / "bundle")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_score_as_recorded(name: str, tmp_path: Path) -> None:
    """Networks of rows and of windows, within 1e-6, with the same order but for near ties on every date."""
    bundle = check(name, tmp_path / "bundle")
    assert bundle.manifest.parity.bound.relative == 1e-6
    assert bundle.manifest.model.road.startswith("torch.onnx.export")


@pytest.mark.attack("networks: judging themselves")
def test_a_network_that_only_its_own_code_judges_is_not_ready(tmp_path: Path) -> None:
    """Without qlib's recorded predictions beside it, what model.py's process says of its scores makes nothing ready."""
    pytest.importorskip("torch")
    built = build(load(NETWORK_OF_ROWS).request(tmp_path / "bundle", features=None))
    codes = [reason.code for reason in built.manifest.eligibility.reasons]
    assert {"order_not_replayed", "scores_not_recorded"} <= set(codes)
    assert not built.manifest.eligibility.ready


@pytest.mark.usefixtures("without_isolation")
def test_a_network_that_cannot_be_closed_off_is_refused(tmp_path: Path) -> None:
    """Where a protection is missing the build ends with 20 and how to allow it, and nothing is written."""
    with pytest.raises(RefusalError) as caught:
        build(load(NETWORK_OF_ROWS).request(tmp_path / "bundle"))
    assert (caught.value.code, caught.value.exit) == ("isolation.unavailable", 20)
    assert "docs/ci.md" in str(caught.value.next_step)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NETWORKS[:1] + NETWORKS[-1:])
def test_networks_are_refused_without_the_flag(name: str, tmp_path: Path) -> None:
    """Without --run-model-code nothing of model.py runs, nothing is written, and the refusal names the flag."""
    run = load(name)
    with pytest.raises(RefusalError) as caught:
        build(run.request(tmp_path / "bundle", run_model_code=False))
    assert (caught.value.code, caught.value.exit) == ("model.code_not_allowed", 20)
    assert "--run-model-code" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_command_refuses_without_the_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with 20 and one object that says why and what to do."""
    run, task = load("model_plain/truth/hist1_model"), FIXTURES / "model_plain"
    arguments = ["build", str(task), "--workspace-root", str(task / "workspaces"), "--features", str(run.features)]
    assert convert_command([*arguments, "--out", str(tmp_path / "bundle"), "--json"]) == 20
    reply = json.loads(capsys.readouterr().out)
    assert (reply["ok"], reply["code"], reply["exit"]) == (False, "model.code_not_allowed", 20)
    assert "--run-model-code" in reply["expected"]
    assert list(tmp_path.iterdir()) == []
