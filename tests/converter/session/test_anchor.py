"""From history to anchor and SOTA factors: real tasks, and small histories with one thing changed."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from alphaseal.errors import UsageError
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.session.anchor import (
    choose_anchor,
    names_given_twice,
    newer_accepted,
    sota_factors,
)
from alphaseal_converter.session.task import Task, read_task
from converter.sessions import factor_experiment, feedback, make, real_task, write_snapshot
from locations import FIXTURES

needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the full set of leftovers is not here")


def task_of(tmp_path: Path, *history: tuple[Any, Any]) -> Task:
    """A task with this history."""
    write_snapshot(tmp_path, 0, "4_record", list(history))
    return read_task(tmp_path)


def model_experiment() -> Any:
    """A model experiment with a result."""
    return factor_experiment("Net", kind="ModelExperiment")


def columns(workspace: Path) -> list[str]:
    """Plain names of a real factor table."""
    names = pyarrow.parquet.read_schema(workspace / "combined_factors_df.parquet").names
    return [ast.literal_eval(name)[1] for name in names if name.startswith("(")]


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "anchor", "index"),
    [
        ("quant_signed", "auto", 4),
        ("quant_signed", "model", 4),
        ("quant_signed", "factor", 2),
        ("quant_signed", "1", 1),
        ("factor_plain", "auto", 2),
        ("model_plain", "auto", 1),
    ],
)
def test_the_anchor_of_real_tasks(name: str, anchor: str, index: int) -> None:
    """auto is the newest accepted of either kind, model and factor the newest of theirs, a number is itself."""
    chosen = choose_anchor(real_task(name), anchor)
    assert chosen.item.index == index
    assert chosen.kind == chosen.item.kind
    assert f"--anchor {anchor}" in chosen.why


def test_auto_takes_a_newer_factor_experiment(tmp_path: Path) -> None:
    """A factor experiment after the model retrained it; the seed's rule is --anchor model."""
    task = task_of(tmp_path, (model_experiment(), feedback()), (factor_experiment("A"), feedback()))
    assert choose_anchor(task, "auto").item.index == 1
    assert choose_anchor(task, "model").item.index == 0


def test_a_rejected_newest_experiment_is_passed_over(tmp_path: Path) -> None:
    """auto means the newest accepted one, not the newest one."""
    task = task_of(tmp_path, (factor_experiment("A"), feedback()), (factor_experiment("B"), feedback(False)))
    assert choose_anchor(task).item.index == 0


def test_nothing_accepted_is_refused_with_what_is_there(tmp_path: Path) -> None:
    """The refusal shows the history; a kind without acceptance names what else is accepted."""
    task = task_of(tmp_path / "a", (factor_experiment("A"), feedback(False)))
    with pytest.raises(RefusalError) as caught:
        choose_anchor(task)
    assert caught.value.code == "anchor.none_accepted"
    assert caught.value.found == "1 entries (0 factor-)"
    task = task_of(tmp_path / "b", (factor_experiment("A"), feedback()))
    with pytest.raises(RefusalError) as caught:
        choose_anchor(task, "model")
    assert caught.value.next_step == "accepted are: --anchor 0 (factor)"


def test_a_rejected_index_and_one_out_of_range_are_refused(tmp_path: Path) -> None:
    """An index is taken literally and must name an accepted experiment."""
    task = task_of(tmp_path, (factor_experiment("A"), feedback()), (factor_experiment("B"), feedback("True")))
    for anchor, code in (("1", "anchor.not_accepted"), ("2", "anchor.index"), ("-1", "anchor.index")):
        with pytest.raises(RefusalError) as caught:
            choose_anchor(task, anchor)
        assert caught.value.code == code


@pytest.mark.parametrize("anchor", ["last", "", "1.0", "１", "--1"])
def test_other_words_are_misuse(tmp_path: Path, anchor: str) -> None:
    """A word that means nothing is exit 2, not a default."""
    task = task_of(tmp_path, (factor_experiment("A"), feedback()))
    with pytest.raises(UsageError):
        choose_anchor(task, anchor)


def test_newer_accepted_experiments_are_listed(tmp_path: Path) -> None:
    """Only accepted ones after the anchor count."""
    accepted, rejected = (factor_experiment("A"), feedback()), (factor_experiment("B"), feedback(False))
    task = task_of(tmp_path, accepted, rejected, accepted)
    assert [item.index for item in newer_accepted(task, choose_anchor(task, "0"))] == [2]
    assert newer_accepted(task, choose_anchor(task)) == ()


@needs_fixtures
@pytest.mark.parametrize("name", ["quant_signed", "factor_plain"])
def test_statuses_of_real_factors(name: str) -> None:
    """in_model is exactly what the run's table holds, of all that were accepted."""
    expected = json.loads((FIXTURES / name / "expected.json").read_text(encoding="utf-8"))
    task = real_task(name)
    anchor = choose_anchor(task)
    table = columns(FIXTURES / name / "workspaces" / expected["convert"]["workspace"])
    factors = sota_factors(task, anchor, table, expected["convert"]["model_features"])
    assert [factor.name for factor in factors] == expected["factor_names_listed"]
    assert [factor.name for factor in factors if factor.status == "in_model"] == expected["factor_names_in_model"]
    assert names_given_twice(task, anchor) == ()
    assert all(factor.code and factor.metrics["IC"] is not None for factor in factors)


@needs_fixtures
def test_statuses_at_an_earlier_anchor() -> None:
    """At history 2 the duplicate has no column, the reviews rejected two; at history 0 later ones are newer."""
    task = real_task("quant_signed")
    table = columns(FIXTURES / "quant_signed" / "workspaces" / "72aada730a524e29bf9f5929f428098d")
    status = {factor.name: factor.status for factor in sota_factors(task, choose_anchor(task, "2"), table, None)}
    assert status == {
        "REV_3D": "in_model",
        "TURNOVER_Z_40D": "in_model",
        "SKEW_60D": "in_model",
        "ILLIQ_10D": "in_model",
        "REV_3D_PCT": "no_column",
        "PEAK_DIST_30D": "review_rejected",
        "UPLIMIT_TOUCH": "review_rejected",
    }
    first = sota_factors(task, choose_anchor(task, "0"), ["REV_3D", "TURNOVER_Z_40D"], None)
    assert [factor.status for factor in first] == ["in_model"] * 2 + ["newer_than_anchor"] * 5


@needs_fixtures
def test_a_model_trained_without_the_factors_has_none() -> None:
    """History 1 was trained on the base features only: no accepted factor is in the model."""
    task = real_task("quant_signed")
    factors = sota_factors(task, choose_anchor(task, "1"), None, ["KLEN", "RESI5"])
    assert {factor.status for factor in factors if factor.history_index == 0} == {"no_column"}


def test_of_two_factors_of_one_name_the_last_owns_the_column(tmp_path: Path) -> None:
    """The earlier one is deduplicated with the owner's index in its reason, and the name is reported."""
    task = task_of(tmp_path, (factor_experiment("A", "B"), feedback()), (factor_experiment("A"), feedback()))
    anchor = choose_anchor(task)
    first, other, last = sota_factors(task, anchor, ["B", "A"], ["B", "A"])
    assert (first.status, other.status, last.status) == ("deduplicated", "in_model", "in_model")
    assert "history 1" in first.reason
    assert names_given_twice(task, anchor) == ("A",)


def test_a_newer_factor_of_the_same_name_does_not_take_the_column(tmp_path: Path) -> None:
    """What was accepted after the anchor cannot own a column of the anchor's model."""
    task = task_of(tmp_path, (factor_experiment("A"), feedback()), (factor_experiment("A"), feedback()))
    anchor = choose_anchor(task, "0")
    first, last = sota_factors(task, anchor, ["A"], ["A"])
    assert (first.status, last.status) == ("in_model", "newer_than_anchor")
    assert names_given_twice(task, anchor) == ()


def test_a_rejected_factor_of_the_same_name_does_not_take_the_column(tmp_path: Path) -> None:
    """A later factor that the review turned down was never joined, so the earlier one keeps its column."""
    task = task_of(
        tmp_path,
        (factor_experiment("A"), feedback()),
        (factor_experiment("A", "B", approved=[False, True]), feedback()),
    )
    anchor = choose_anchor(task)
    assert [factor.status for factor in sota_factors(task, anchor, ["A", "B"], None)] == [
        "in_model",
        "review_rejected",
        "in_model",
    ]
    assert names_given_twice(task, anchor) == ()


def test_factors_of_rejected_experiments_are_no_sota_factors(tmp_path: Path) -> None:
    """Neither rejected factor experiments nor the tasks of model experiments are listed."""
    task = task_of(
        tmp_path,
        (factor_experiment("A"), feedback(False)),
        (model_experiment(), feedback()),
        (factor_experiment("B"), feedback()),
    )
    assert [factor.name for factor in sota_factors(task, choose_anchor(task), ["B"], ["B"])] == ["B"]


def test_a_column_that_is_no_feature_is_not_in_the_model(tmp_path: Path) -> None:
    """The table alone does not make a factor part of the model."""
    task = task_of(tmp_path, (factor_experiment("A"), feedback()))
    (factor,) = sota_factors(task, choose_anchor(task), ["A"], ["KLEN"])
    assert (factor.status, factor.reason) == ("no_column", "not a feature of the model")


def test_experiments_of_another_kind_are_no_anchor(tmp_path: Path) -> None:
    """An accepted experiment whose class names neither factor nor model is never chosen."""
    other = make("Running", running_info=make("Running", result={"IC": 1.0}))
    task = task_of(tmp_path, (factor_experiment("A"), feedback()), (other, feedback()))
    assert task.history[1].accepted
    assert choose_anchor(task).item.index == 0
    with pytest.raises(RefusalError) as caught:
        choose_anchor(task, "1")
    assert caught.value.code == "anchor.not_accepted"


@needs_fixtures
def test_a_duplicate_is_told_from_code_without_values() -> None:
    """A factor that its own loop left out, but that a later experiment's table has, was dropped as a duplicate."""
    task = real_task("quant_signed")
    anchor = choose_anchor(task, "2")
    columns = ["REV_3D", "TURNOVER_Z_40D", "SKEW_60D", "ILLIQ_10D"]
    statuses = {f.name: f.status for f in sota_factors(task, anchor, columns, None, {"REV_3D_PCT", "REV_3D"})}
    assert statuses["REV_3D_PCT"] == "deduplicated"
    assert {f.name: f.status for f in sota_factors(task, anchor, columns, None)}["REV_3D_PCT"] == "no_column"
