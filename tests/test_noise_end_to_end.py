"""Noise of qlib's own windows is no wrong model: runs of qlib on a market whose correlations are often rounding."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import alphaseal
from alphaseal.cli import main as alphaseal_command
from alphaseal_converter.build import BuiltBundle, build
from alphaseal_converter.decode.frames import as_array
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence import noise as replay_noise
from alphaseal_converter.locate.artifacts import read_model, read_predictions
from alphaseal_converter.proof.request import BuildRequest
from locations import DATA
from raising import refusal

NOISE = DATA / "noise"
FLIPPED = ("2020-12-25", "SZ300128")
"""A day on which CORD10 has two points: the trees that qlib recorded reach other leaves there."""
CORD10 = b"Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), 10)"
CORD20 = CORD10.replace(b"10)", b"20)")


def request(workspace: Path, out: Path, **changes: Any) -> BuildRequest:
    options: dict[str, Any] = {"weights": "scan", "workspace_roots": [workspace], "provider": NOISE / "market"}
    return BuildRequest(out=out, **(options | changes))


def copied(tmp_path: Path, model: str) -> Path:
    """A copy of a run that a test may change."""
    shutil.copytree(NOISE / model, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A copy of the linear run."""
    return copied(tmp_path, "linear")


def artifact(workspace: Path, name: str) -> Path:
    (path,) = workspace.glob(f"mlruns/*/*/artifacts/{name}")
    return path


def exchange(workspace: Path, *pairs: tuple[bytes, bytes]) -> None:
    """Other bytes of the same length in the run's expressions."""
    for name in ("task", "dataset"):
        path = artifact(workspace, name)
        content = path.read_bytes()
        for old, new in pairs:
            assert content.count(old) == 1
            assert len(old) == len(new)
            content = content.replace(old, new)
        path.write_bytes(content)


def change_predictions(workspace: Path, change: Any) -> None:
    """Write pred.pkl anew after `change` of a frame indexed by (datetime, instrument), or the frame it gives back."""
    path = artifact(workspace, "pred.pkl")
    found = read_predictions(path)
    index = pd.MultiIndex.from_arrays(
        [pd.to_datetime(found.dates), found.instruments], names=["datetime", "instrument"]
    )
    frame = pd.DataFrame({"score": found.scores}, index=index)
    changed = change(frame)
    (frame if changed is None else changed).to_pickle(path)


def refused(workspace: Path, tmp_path: Path) -> str:
    """The message of ``order.replay_differs``; nothing is left behind."""
    error = refusal(RefusalError, build, request(workspace, tmp_path / "bundle"))
    assert (error.code, error.exit) == ("order.replay_differs", 20)
    assert not (tmp_path / "bundle").exists()
    return str(error)


def explained(built: BuiltBundle, rows: int) -> None:
    """The rows are counted, named and written in words; the golden days are others, and prove themselves."""
    manifest = built.manifest
    replay = manifest.order.replay
    assert replay is not None
    assert replay.noise is not None
    noise = replay.noise
    assert (noise.rows, len(noise.examples), noise.features["CORD10"]) == (rows, rows, rows)
    assert set(noise.features) <= {"CORD10", "CORD20"}
    assert noise.rounding == 0
    assert any((one.date, one.instrument) == FLIPPED and one.features == ["CORD10"] for one in noise.examples)
    assert manifest.parity.note is not None
    assert f"{rows} of 1180 recorded predictions differ by up to" in manifest.parity.note
    assert manifest.parity.cases[0].outside == 0
    assert not {one.date for one in noise.examples} & set(manifest.golden.days)
    report = alphaseal.open(built.path, trust=alphaseal.Trust.unsigned()).selftest()
    assert report.alphas is not None


@pytest.mark.case("linear_model_with_market_data")
def test_a_linear_model_is_built_and_its_noise_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four of 1180 recorded predictions come from correlations over two or three points: counted and named, on the screen too."""
    built = build(request(NOISE / "linear", tmp_path / "bundle"))
    explained(built, 4)
    capsys.readouterr()
    assert alphaseal_command(["show", str(built.path)]) == 0
    assert "4 of 1180 recorded predictions" in " ".join(capsys.readouterr().out.split())


def test_trees_that_reach_other_leaves_are_built(tmp_path: Path) -> None:
    """A threshold lies within the noise of one value: the recorded score is that of the leaves on its other side."""
    built = build(request(NOISE / "lightgbm", tmp_path / "bundle"))
    explained(built, 1)
    assert built.manifest.parity.bound.ulp == 0


@pytest.mark.slow
def test_a_network_is_built_and_its_noise_is_counted(tmp_path: Path) -> None:
    """The same for a network, whose scores are measured with each feature moved by its noise."""
    pytest.importorskip("torch")
    explained(build(request(NOISE / "network", tmp_path / "bundle", run_model_code=True)), 5)


def test_an_older_manifest_says_it_in_words(tmp_path: Path) -> None:
    """Format 1.0 has no field for it: the note names the rows."""
    built = build(request(NOISE / "linear", tmp_path / "bundle", format="1.0"))
    manifest = alphaseal.open(built.path, trust=alphaseal.Trust.unsigned()).manifest
    assert manifest.order.replay is not None
    assert manifest.order.replay.noise is None
    assert manifest.parity.note is not None
    assert f"CORD10 of {FLIPPED[1]} on {FLIPPED[0]}" in manifest.parity.note


# --- what is no noise -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["linear", "lightgbm"])
def test_another_window_is_refused(model: str, tmp_path: Path) -> None:
    """A correlation over 11 days in the place of 10: most rows differ, and the one that differs most is named."""
    own = copied(tmp_path, model)
    exchange(own, (CORD10, CORD10.replace(b"10)", b"11)")))
    message = refused(own, tmp_path)
    assert "of 1180 recorded predictions are not reproduced" in message
    assert "most differs SZ3" in message


@pytest.mark.parametrize("model", ["linear", "lightgbm"])
def test_swapped_columns_are_refused(model: str, tmp_path: Path) -> None:
    """The expressions of two noisy features change places."""
    own = copied(tmp_path, model)
    exchange(own, (CORD10, b"#" * len(CORD10)), (CORD20, CORD10), (b"#" * len(CORD10), CORD20))
    assert "stocks stand in another order on" in refused(own, tmp_path)


def test_another_expression_is_refused(own: Path, tmp_path: Path) -> None:
    """A small change of an expression, of one day in twenty."""
    exchange(own, (b"Slope($close,20)/$close", b"Slope($close,19)/$close"))
    refused(own, tmp_path)


@pytest.mark.parametrize("feature", range(8))
def test_other_weights_are_refused(feature: int, own: Path, tmp_path: Path) -> None:
    """One coefficient is another by a thousandth, whichever it is."""
    path = artifact(own, "params.pkl")
    content = path.read_bytes()
    coefficients = as_array(read_model(content, "params.pkl").record.get("coef_"), where="params.pkl")
    changed = coefficients.copy()
    changed[feature] *= np.float32(1.001)
    assert content.count(coefficients.tobytes()) == 1
    path.write_bytes(content.replace(coefficients.tobytes(), changed.tobytes()))
    assert "are not reproduced" in refused(own, tmp_path)


def test_a_prediction_without_noise_must_be_reproduced(own: Path, tmp_path: Path) -> None:
    """One recorded score of an ordinary row is another by a thousandth: refused, with stock, day and what noise explains."""

    def change(frame: pd.DataFrame) -> None:
        frame.loc[(pd.Timestamp("2021-03-01"), "SZ300100"), "score"] += 1e-3

    change_predictions(own, change)
    message = refused(own, tmp_path)
    assert "1 of 1180 recorded predictions are not reproduced" in message
    assert "most differs SZ300100 on 2021-03-01" in message
    assert "explains scores from" in message


def test_noise_does_not_explain_everything(own: Path, tmp_path: Path) -> None:
    """A row whose correlation can be anything: scaled values end at the clip limits, and so do the scores that it explains."""

    def change(frame: pd.DataFrame) -> None:
        frame.loc[(pd.Timestamp(FLIPPED[0]), FLIPPED[1]), "score"] += 10

    change_predictions(own, change)
    assert f"most differs {FLIPPED[1]} on {FLIPPED[0]}" in refused(own, tmp_path)


def test_noise_on_too_many_rows_is_another_model(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than a hundredth of all (here a thousandth) are not explained, whatever noise they have."""
    monkeypatch.setattr(replay_noise, "LARGEST_SHARE", 0.001)
    message = refused(own, tmp_path)
    assert "4 of 1180 recorded predictions are not reproduced" in message
    assert "CORD10" in message


def test_where_every_day_has_noise_the_library_itself_judges_the_golden_rows(own: Path, tmp_path: Path) -> None:
    """Two recorded days, one with noise: the golden row of the noisy stock has the library's score of our own raw values."""
    days = pd.to_datetime(["2020-12-23", "2020-12-24"])
    change_predictions(own, lambda frame: frame[frame.index.get_level_values("datetime").isin(days)])
    built = build(request(own, tmp_path / "bundle"))
    assert built.manifest.golden.days == ["2020-12-23", "2020-12-24"]
    assert built.manifest.order.replay is not None
    assert built.manifest.order.replay.noise is not None
    assert built.manifest.order.replay.noise.rows == 1
    alphaseal.open(built.path, trust=alphaseal.Trust.unsigned()).selftest()
