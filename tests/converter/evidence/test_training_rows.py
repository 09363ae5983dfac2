"""Training statistics are those of the rows that the model was trained on, as qlib itself counted them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import alphaseal
from live_market import LIVE_DAY, RUN_ENDS, RUNS, build_run, write_provider

LEVELS = {"min": 0.0, "0.01": 0.01, "0.05": 0.05, "0.25": 0.25, "0.5": 0.5} | {
    "0.75": 0.75,
    "0.95": 0.95,
    "0.99": 0.99,
    "max": 1.0,
}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The market's data as the producer has them."""
    return write_provider(tmp_path_factory.mktemp("market") / "provider", RUN_ENDS)


@pytest.mark.case("drift_of_a_factor_run")
@pytest.mark.parametrize("run", RUNS)
def test_statistics_are_those_of_qlibs_training_rows(run: str, provider: Path, tmp_path: Path) -> None:
    """Rows, missing values, infinite ones and quantiles of `dataset.prepare("train", data_key=DK_L)`, for each feature."""
    recorded = json.loads((LIVE_DAY / run / "training_rows.json").read_text(encoding="utf-8"))
    with alphaseal.open(build_run(run, tmp_path / "bundle", provider), trust=alphaseal.Trust.unsigned()) as bundle:
        features = {feature.name: feature.statistics for feature in bundle.manifest.features}
    assert features.keys() == recorded["features"].keys()
    for name, expected in recorded["features"].items():
        found = features[name]
        assert found is not None, name
        assert found.rows == recorded["rows"]
        assert round(found.null_ratio * found.rows) == expected["missing"], name
        assert round(found.infinite_ratio * found.rows) == expected["infinite"], name
        of_level = dict(zip(recorded["levels"], expected["quantiles"], strict=True))
        for key, level in LEVELS.items():
            # Alpha features are compiled: a rolling sum of qlib has its own last bits.
            assert found.quantiles[key] == pytest.approx(of_level[level], rel=2e-5, abs=1e-6), (name, key)
