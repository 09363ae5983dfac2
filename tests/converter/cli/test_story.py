"""The story of a task, and the messages of the converter that lead to the next step."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from alphaseal.errors import NotReadableError
from alphaseal.format.factors import NotCompiledFactor
from alphaseal.format.manifest import Evidence
from alphaseal_converter.cli import main
from alphaseal_converter.cli import story as story_module
from alphaseal_converter.cli.story import inspect_task
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.order import _disagreement
from alphaseal_converter.families import read_trained_model
from alphaseal_converter.session.task import find_task_directory
from bundles import FACTOR_PLAIN
from locations import DATA, FIXTURES

TASK = next((FACTOR_PLAIN / "log").iterdir())


def story(task: Path, *roots: Path) -> str:
    """What a person reads."""
    return inspect_task(task, roots, [], None, lambda text: None).text()


def test_every_experiment_is_told_with_idea_verdict_metrics_and_weights() -> None:
    """Loops, hypotheses, decisions, metrics, which weights exist where, the anchor with its reason, and the next step."""
    text = story(FACTOR_PLAIN, FACTOR_PLAIN / "workspaces")
    lines = text.splitlines()
    place = next(place for place, line in enumerate(lines) if line.startswith("  2  factor accepted"))
    told = [line.strip().split(" ")[0] for line in lines[place + 1 : place + 5]]
    assert told == ["idea", "verdict", "metrics", "weights"]
    assert "verdict  accepted in loop 2: scripted verdict 2" in text
    assert "session: sub_workspace_list[0].file_dict['model.pkl'] (38418 bytes)" in text
    assert "anchor  history 2 (factor): the newest accepted" in text
    assert "factor  UPLIMIT_TOUCH: no column" in text
    assert lines[-1].startswith("next    alphaseal-convert build ")


def test_of_each_factor_in_the_model_it_is_told_whether_its_code_can_be_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The code is followed, isolated; where it cannot be, code and line are told, in words and in the JSON."""
    look_ahead = NotCompiledFactor(code="looks_ahead", construct="shift", line=7, why="it takes later rows")

    def traced(codes: dict[str, str], progress: object) -> dict[str, SimpleNamespace]:
        return {name: SimpleNamespace(refused=look_ahead if name == "REV_3D" else None) for name in codes}

    assert story(FACTOR_PLAIN, FACTOR_PLAIN / "workspaces").count("; its code can be compiled, a build proves it") == 4
    monkeypatch.setattr(story_module, "trace_factors", traced)
    found = inspect_task(FACTOR_PLAIN, [FACTOR_PLAIN / "workspaces"], [], None, lambda text: None)
    assert "REV_3D: in model (its column is a feature of the model); not compiled: looks_ahead, line 7, shift: it" in (
        found.text()
    )
    told = {factor["name"]: factor["compilation"] for factor in found.to_plain()["sota_factors"]}
    assert told["GAP_OPEN_1D"] == {"followed": True}
    assert (told["REV_3D"]["followed"], told["REV_3D"]["code"], told["REV_3D"]["line"]) == (False, "looks_ahead", 7)
    assert told["UPLIMIT_TOUCH"] is None


def test_without_the_workspace_no_factor_is_said_to_be_out() -> None:
    """What the factor table would say is not guessed: the factors are listed as open."""
    text = story(FACTOR_PLAIN)
    assert "no column" not in text
    assert "factor  VOLUME_JUMP_2D, GAP_OPEN_1D, TURNOVER_Z_40D, REV_3D, UPLIMIT_TOUCH: in the model or not" in text


def test_lost_workspace_leads_to_the_option() -> None:
    """Where nothing of the anchor's weights is at hand, the next step is the option that names the place."""
    text = story(DATA / "tasks/deleted_workspace")
    assert "weights  none: the workspace of history 2 (factor) was not found" in text
    assert text.splitlines()[-1].startswith("next    name the folder of the workspaces with --workspace-root")


def test_other_anchors_are_named() -> None:
    """Which experiment another word for --anchor would take stands below the anchor, and in the JSON."""
    if not FIXTURES.is_dir():
        pytest.skip("the full set of leftovers is not here")
    task = inspect_task(FIXTURES / "quant_signed", [], [], None, lambda text: None)
    assert "        --anchor factor takes history 2" in task.text().splitlines()
    assert task.to_plain()["anchor_choices"] == {"auto": 4, "model": 4, "factor": 2}


def test_texts_of_the_language_model_stay_on_their_line() -> None:
    """A hypothesis with line ends and escape sequences cannot forge a line of the story."""
    told = inspect_task(FACTOR_PLAIN, [], [], None, lambda text: None)
    hostile = dataclasses.replace(told.task.history[0], hypothesis="x\nanchor  none\x1b[2J\u202e" + "y" * 5000)
    task = dataclasses.replace(told.task, history=(hostile, *told.task.history[1:]))
    text = dataclasses.replace(told, task=task).text()
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not any(line.startswith("anchor  none") for line in text.splitlines())
    assert max(map(len, text.splitlines())) < 400


def test_session_folder_stands_for_its_task(capsys: pytest.CaptureFixture[str]) -> None:
    """``__session__`` is taken for the task that it belongs to."""
    assert find_task_directory(TASK / "__session__") == TASK.resolve()
    assert main(["inspect", str(TASK / "__session__"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["task_id"] == TASK.name


@pytest.mark.parametrize("place", ["__session__/0", "__session__/0/1_coding"])
def test_snapshot_is_not_taken_for_a_task(place: str) -> None:
    """Whoever names one snapshot is told that the newest one counts, and which folder to name."""
    with pytest.raises(NotReadableError) as caught:
        find_task_directory(TASK / place)
    assert caught.value.code == "task.snapshot"
    assert str(TASK.resolve()) in str(caught.value)


def test_orders_that_disagree_name_the_first_position() -> None:
    """Of two long lists the message shows the place at which they part."""
    names = [f"F{number}" for number in range(150)]
    other = [*names[:97], names[98], names[97], *names[99:]]
    sources = Evidence(code="loader_class", text="the loader"), Evidence(code="given", text="--feature-order")
    error = _disagreement(names, sources[0], other, sources[1])
    assert error.code == "order.disagree"
    assert "the same names in another order" in error.message
    assert error.where == "position 97, the first that differs (counted from 0)"
    assert (error.expected, error.found) == ("F97 (the loader)", "F98 (--feature-order)")
    assert len(str(error)) < 500
    shorter = _disagreement(names, sources[0], names[:-1], sources[1])
    assert shorter.where is not None
    assert shorter.where.startswith("position 149,")
    assert shorter.found == "the end of the list (--feature-order)"
    assert "not the same names" in shorter.message


def test_what_is_no_model_is_not_answered_with_a_list_of_classes() -> None:
    """Recorded predictions given as weights: the message says what they are, and where weights lie."""
    predictions = next((DATA / "direct/lgb_nested_loader").rglob("pred.pkl"))
    with pytest.raises(RefusalError) as caught:
        read_trained_model(predictions.read_bytes(), "pred.pkl")
    assert caught.value.code == "model.unsupported"
    assert "no model that is known: pandas.core.frame.DataFrame" in caught.value.message
    assert "LGBModel" not in str(caught.value)
    assert "params.pkl" in str(caught.value.next_step)
