"""What a run left of itself: each artefact read once, and nothing known of one that is gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.parts import RunParts
from alphaseal_converter.locate.runs import Artifacts, Run, read_runs
from locations import DATA


def run_of(case: str) -> Run:
    """The one run of a workspace below tests/data/direct."""
    (run,) = read_runs(DATA / "direct" / case)
    return run


def without(run: Run, *names: str) -> RunParts:
    """The run's parts, as if these artefacts were gone."""
    return RunParts(replace(run, artifacts=replace(run.artifacts, **dict.fromkeys(names))))


def test_each_artefact_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often configuration, dataset and predictions are asked for, each file is opened once."""
    parts = RunParts(run_of("lgb_alpha158_filter"))
    opened: list[str] = []
    read = Path.read_bytes

    def counted(path: Path) -> bytes:
        opened.append(path.name)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    for _ in range(2):
        assert parts.processors
        assert parts.predictions is not None
        assert parts.to_replay() is parts.predictions
        assert not parts.predictions.constant
        assert (parts.dataset_class, parts.step_length) == ("DatasetH", None)
    assert sorted(opened) == ["dataset", "pred.pkl", "task"]


def test_what_the_handler_builds_itself_is_in_the_dataset() -> None:
    """The configuration of an Alpha158 names no loader; the dataset kept it, with the columns that it computed."""
    parts = RunParts(run_of("lgb_alpha158_filter"))
    assert parts.configuration.loader is None
    assert parts.loader is not None
    assert parts.loader.computed == parts.computed
    assert len(parts.computed) == 158


def test_of_artefacts_that_are_gone_nothing_is_known() -> None:
    """Without a task nothing is configured, without a dataset nothing is fitted, and without a run there is neither."""
    run = run_of("lgb_alpha158_filter")
    assert without(run, "task").dataset_class == "DatasetH"
    assert not without(run, "task").configuration.recorded
    assert without(run, "dataset").processors == ()
    assert without(run, "dataset").computed == ()
    nothing = RunParts(None)
    assert nothing.artifacts == Artifacts()
    assert (nothing.loader, nothing.predictions, nothing.dataset_class, nothing.step_length) == (None,) * 4
    with pytest.raises(RefusalError) as caught:
        nothing.to_replay()
    assert caught.value.code == "replay.no_predictions"


def test_processors_are_known_by_the_dataset_or_where_none_are_configured() -> None:
    """A run that normalised and lost its dataset is not known; one that was configured without processors is."""
    scaled, raw = run_of("lgb_alpha158_filter"), run_of("lgb_nested_loader")
    assert RunParts(scaled).processors_known
    assert not without(scaled, "dataset").processors_known
    assert without(raw, "dataset").processors_known
    assert not without(raw, "dataset", "task").processors_known
