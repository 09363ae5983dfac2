"""From real leftovers of RD-Agent and qlib to scores, through the public commands and functions only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal.cli import main as alphaseal_command
from alphaseal_converter.build import build
from alphaseal_converter.cli import main as convert_command
from alphaseal_converter.errors import RefusalError
from bundles import (
    DIRECT,
    FACTOR_PLAIN,
    direct_request,
    factor_plain_bundle,
    factor_plain_request,
    raw_values,
    truth_of,
)
from locations import DATA, FIXTURES

UNSIGNED = alphaseal.Trust.unsigned()
TRUTH = FACTOR_PLAIN / "truth/hist2_factor"


def recorded_scores(folder: Path) -> pa.Table:
    """qlib's own predictions, by date and instrument."""
    table = pq.read_table(folder / "pred.parquet")
    return table.sort_by([("datetime", "ascending"), ("instrument", "ascending")])


def assert_equal_to_recorded(bundle: alphaseal.Bundle, folder: Path) -> None:
    """Every recorded prediction is reproduced bit for bit by the bundle's scores."""
    scores = bundle.score(raw_values(folder), dates=(None, None)).table
    scores = scores.sort_by([("datetime", "ascending"), ("instrument", "ascending")])
    expected = recorded_scores(folder)
    assert scores["instrument"].to_pylist() == expected["instrument"].to_pylist()
    assert scores["datetime"].cast(pa.date32()).to_pylist() == pc.cast(expected["datetime"], pa.date32()).to_pylist()
    ours, theirs = scores["score"].to_numpy(), expected["score"].to_numpy()
    assert np.array_equal(ours.view(np.int64), theirs.astype(np.float64).view(np.int64))


def run_json(command: Any, *arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Run a command in this process and return its one JSON object; its exit field is its exit status."""
    capsys.readouterr()
    status = command([*arguments, "--json"])
    out, err = capsys.readouterr()
    reply: dict[str, Any] = json.loads(out)
    assert reply["exit"] == status
    assert err == ""
    assert set(reply) == {"ok", "code", "exit", "message", "where", "expected", "found", "next", "result"}
    return reply


def test_task_becomes_a_ready_bundle_with_the_right_features_and_scores() -> None:
    """The demo's task gives qlib's features in qlib's order, qlib's scores bit for bit, and is ready to trade."""
    bundle = alphaseal.open(factor_plain_bundle(), trust=UNSIGNED)
    manifest = bundle.manifest
    expected = json.loads((FACTOR_PLAIN / "expected.json").read_text(encoding="utf-8"))["convert"]
    assert [feature.name for feature in manifest.features] == expected["model_features"]
    assert {f.name: f.dtype for f in manifest.features} == truth_of(TRUTH)["feature_dtypes"]
    assert manifest.source.anchor.history_index == expected["index"]
    assert manifest.source.workspace == expected["workspace"]
    assert manifest.order.proof == "replayed"
    assert manifest.order.replay is not None
    assert manifest.order.replay.rows == manifest.order.replay.recorded == truth_of(TRUTH)["rows"]
    assert manifest.eligibility.ready
    assert manifest.parity.days is not None
    assert manifest.parity.days.same_order == manifest.parity.days.days == 40
    assert {case.judge for case in manifest.parity.cases} == {"qlib's recorded predictions", "lightgbm 4.7.0"}
    assert all(case.bit_identical == case.rows > 0 for case in manifest.parity.cases)
    assert_equal_to_recorded(bundle, TRUTH)


def test_sota_factors_say_what_became_of_them() -> None:
    """The factor whose code gave no values is listed as such; the others are at their place in the model."""
    manifest = alphaseal.open(factor_plain_bundle(), trust=UNSIGNED).manifest
    statuses = {factor.name: factor.status for factor in manifest.sota_factors}
    assert statuses.pop("UPLIMIT_TOUCH") == "no_column"
    assert set(statuses.values()) == {"in_model"}
    for factor in manifest.sota_factors:
        if factor.position is not None:
            feature = manifest.features[factor.position]
            assert (feature.name, feature.source) == (factor.name, factor.source)


@pytest.mark.parametrize("case", DIRECT)
def test_three_feature_orders_are_found_and_proven(case: str, tmp_path: Path) -> None:
    """Nested, custom and Alpha158 loaders give three orders; each is found and reproduces qlib's scores bit for bit."""
    folder = DATA / "direct" / case / "truth"
    built = build(direct_request(case, tmp_path / "bundle"))
    assert [feature.name for feature in built.manifest.features] == truth_of(folder)["model_features"]
    assert built.manifest.order.proof == "replayed"
    assert "found_by_scan" in [reason.code for reason in built.manifest.eligibility.reasons]
    assert_equal_to_recorded(alphaseal.open(built.path, trust=UNSIGNED), folder)


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two builds of one task are equal file by file."""
    again = build(factor_plain_request(tmp_path / "again")).path
    first = factor_plain_bundle()
    names = sorted(path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again).as_posix() for path in again.rglob("*") if path.is_file())
    assert [name for name in names if (first / name).read_bytes() != (again / name).read_bytes()] == []


def test_wrong_order_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    """An order that disagrees with the run's own is refused before anything is written."""
    names = list(truth_of(TRUTH)["model_features"])
    names[0], names[1] = names[1], names[0]
    (tmp_path / "order.txt").write_text("\n".join(names), encoding="utf-8")
    with pytest.raises(RefusalError) as caught:
        build(factor_plain_request(tmp_path / "bundle", feature_order=tmp_path / "order.txt"))
    assert caught.value.code == "order.disagree"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["order.txt"]


def test_values_of_another_run_are_refused(tmp_path: Path) -> None:
    """Raw values with two columns exchanged do not reproduce the recorded predictions, and there is no bundle."""
    table = pq.read_table(raw_values(TRUTH))
    names = table.column_names
    first, second = names.index("KLEN"), names.index("STD5")
    names[first], names[second] = names[second], names[first]
    pq.write_table(table.rename_columns(names), tmp_path / "swapped.parquet")
    with pytest.raises(RefusalError) as caught:
        build(factor_plain_request(tmp_path / "bundle", features=tmp_path / "swapped.parquet"))
    assert caught.value.code == "order.replay_differs"
    assert not (tmp_path / "bundle").exists()


def test_alpha_values_alone_are_completed_from_the_factor_table(tmp_path: Path) -> None:
    """A file with the alpha columns only is joined with the run's own factor table, as its loader did."""
    table = pq.read_table(raw_values(TRUTH))
    sota = ["GAP_OPEN_1D", "REV_3D", "TURNOVER_Z_40D", "VOLUME_JUMP_2D"]
    pq.write_table(table.drop_columns(sota), tmp_path / "alphas.parquet")
    built = build(factor_plain_request(tmp_path / "bundle", features=tmp_path / "alphas.parquet"))
    assert built.manifest.eligibility.ready


def test_without_raw_values_the_order_is_evidence_and_not_ready(tmp_path: Path) -> None:
    """No replay, no readiness; the reason says what to do."""
    built = build(factor_plain_request(tmp_path / "bundle", features=None))
    assert built.manifest.order.proof == "evidence"
    assert [reason.code for reason in built.manifest.eligibility.reasons] == ["order_not_replayed"]


def test_older_anchor_is_not_ready(tmp_path: Path) -> None:
    """An anchor that a newer accepted experiment has overtaken is built when asked for, and marked."""
    built = build(factor_plain_request(tmp_path / "bundle", anchor="0", features=None))
    assert "newer_accepted" in [reason.code for reason in built.manifest.eligibility.reasons]
    assert built.manifest.source.anchor.rule == "index"
    late = {factor.name: factor.status for factor in built.manifest.sota_factors}
    assert late["TURNOVER_Z_40D"] == "newer_than_anchor"


def test_plans_of_the_seed_agree(tmp_path: Path) -> None:
    """Weights from the session and from the workspace are the same bytes and give the same model."""
    digests = set()
    for weights in ("session", "workspace"):
        built = build(factor_plain_request(tmp_path / weights, weights=weights))
        assert built.manifest.source.weights.origin == weights
        digests.add(next(entry.sha256 for entry in built.manifest.files if entry.path == "model.onnx"))
    assert len(digests) == 1


def test_existing_place_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle never overwrites anything."""
    (tmp_path / "bundle").mkdir()
    reply = run_json(convert_command, "build", str(FACTOR_PLAIN), "--out", str(tmp_path / "bundle"), capsys=capsys)
    assert (reply["ok"], reply["code"], reply["exit"]) == (False, "output.exists", 2)


def test_commands_from_build_to_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """build, verify, selftest, show, score, validate and inspect work together and report in JSON."""
    bundle, features = str(tmp_path / "bundle"), str(raw_values(TRUTH))
    place = ("--workspace-root", str(FACTOR_PLAIN / "workspaces"))
    built = run_json(
        convert_command, "build", str(FACTOR_PLAIN), *place, "--features", features, "--out", bundle, capsys=capsys
    )
    assert built["result"]["ready"] is True
    verified = run_json(alphaseal_command, "verify", bundle, "--allow-unsigned", capsys=capsys)
    assert verified["result"]["digest"] == built["result"]["digest"]
    report = tmp_path / "selftest.json"
    tested = run_json(alphaseal_command, "selftest", bundle, "--allow-unsigned", "--report", str(report), capsys=capsys)
    assert tested["result"]["largest_ulp"] == 0
    assert json.loads(report.read_bytes())["versions"]["onnxruntime"]
    shown = run_json(alphaseal_command, "show", bundle, capsys=capsys)
    assert len(shown["result"]["manifest"]["features"]) == 24
    assert run_json(convert_command, "validate", bundle, capsys=capsys)["ok"]
    inspected = run_json(convert_command, "inspect", str(FACTOR_PLAIN), *place, capsys=capsys)
    assert len(inspected["result"]["alpha_factors"]) == 20
    assert inspected["result"]["anchor"]["history_index"] == 2
    scored = run_json(
        alphaseal_command,
        "score",
        bundle,
        "--allow-unsigned",
        "--features",
        features,
        "--date",
        "2021-12-24",
        "--top",
        "5",
        capsys=capsys,
    )
    rows = scored["result"]["rows"]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    recorded = recorded_scores(TRUTH).to_pylist()
    day = {row["instrument"]: row["score"] for row in recorded if str(row["datetime"])[:10] == "2021-12-24"}
    assert [row["instrument"] for row in rows] == sorted(day, key=lambda name: (-day[name], name))[:5]
    assert [row["score"] for row in rows] == [day[row["instrument"]] for row in rows]


def test_scores_in_files_keep_every_digit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parquet and CSV outputs of a range of dates hold the same numbers, bit for bit, and appear whole."""
    bundle, features = str(factor_plain_bundle()), str(raw_values(TRUTH))
    for name in ("scores.parquet", "scores.csv"):
        reply = run_json(
            alphaseal_command,
            *("score", bundle, "--allow-unsigned", "--features", features, "--dates", "2021-11-01:2021-12-24"),
            *("--out", str(tmp_path / name)),
            capsys=capsys,
        )
        assert reply["result"]["scored"] == 2369
        assert reply["result"]["dates"] == 40
    parquet, text = pq.read_table(tmp_path / "scores.parquet"), pyarrow.csv.read_csv(tmp_path / "scores.csv")
    assert parquet.schema.names == ["datetime", "instrument", "score", "rank"]
    assert [str(kind) for kind in parquet.schema.types] == ["date32[day]", "string", "double", "int32"]
    assert parquet["score"].to_pylist() == text["score"].to_pylist()
    assert parquet["instrument"].to_pylist() == text["instrument"].to_pylist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "scores.parquet"]


@pytest.mark.parametrize(
    ("options", "code", "status"),
    [
        (["--date", "2021-12-25"], "features.date_absent", 18),
        (["--date", "yesterday"], "usage.date", 2),
        (["--dates", "2021-12-24"], "usage.dates", 2),
        (["--date", "2021-12-24", "--instruments-from", "ts"], "instrument.pattern", 18),
        (["--date", "2021-12-24", "--top", "0"], "usage.top", 2),
    ],
)
def test_wrong_questions_get_a_clear_answer(
    options: list[str], code: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A date that is not there, or a notation that does not match, is an error with its code; never the nearest."""
    arguments = ("score", str(factor_plain_bundle()), "--allow-unsigned", "--features", str(raw_values(TRUTH)))
    reply = run_json(alphaseal_command, *arguments, *options, capsys=capsys)
    assert (reply["code"], reply["exit"]) == (code, status)


def test_unsigned_bundle_needs_the_word(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody scores with an unsigned bundle by accident."""
    reply = run_json(alphaseal_command, "verify", str(factor_plain_bundle()), capsys=capsys)
    assert (reply["code"], reply["exit"]) == ("trust.unsigned", 14)


@pytest.mark.parametrize(
    ("change", "code", "status"),
    [
        (
            lambda root: (root / "model.onnx").write_bytes(b"\0" * (root / "model.onnx").stat().st_size),
            "file.digest",
            11,
        ),
        (lambda root: (root / "card.html").unlink(), "tree.missing", 12),
        (lambda root: (root / "extra.txt").write_text("x"), "tree.extra", 12),
        (lambda root: (root / "empty").mkdir(), "tree.empty_directory", 12),
        (
            lambda root: (root / "manifest.json").write_bytes((root / "manifest.json").read_bytes() + b" "),
            "manifest.byte_form",
            10,
        ),
        (lambda root: (root / "manifest.json").write_bytes(b"{}"), "manifest.version", 10),
    ],
    ids=["content", "missing", "extra", "empty_directory", "byte_form", "version"],
)
def test_changed_bundle_is_refused(
    change: Any, code: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any change of the tree or of a file is found, in both directions."""
    shutil.copytree(factor_plain_bundle(), tmp_path / "bundle")
    change(tmp_path / "bundle")
    reply = run_json(alphaseal_command, "verify", str(tmp_path / "bundle"), "--allow-unsigned", capsys=capsys)
    assert (reply["code"], reply["exit"]) == (code, status)


def test_scoring_verifies_what_it_uses_when_it_uses_it(tmp_path: Path) -> None:
    """A changed factor table does not stop the day's scores; a changed model does."""
    shutil.copytree(factor_plain_bundle(), tmp_path / "bundle")
    factors = tmp_path / "bundle/factors.parquet"
    factors.write_bytes(factors.read_bytes()[::-1])
    bundle = alphaseal.open(tmp_path / "bundle", trust=UNSIGNED)
    assert len(bundle.score(raw_values(TRUTH), date="2021-12-24")) == 59
    model = tmp_path / "bundle/model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    with pytest.raises(alphaseal.AlphasealError) as caught:
        alphaseal.open(tmp_path / "bundle", trust=UNSIGNED).score(raw_values(TRUTH), date="2021-12-24")
    assert caught.value.code == "file.digest"


def test_rows_in_any_order_and_number_give_the_same_bits() -> None:
    """Scores do not depend on the order of rows, on the number of threads or on the other rows."""
    bundle = alphaseal.open(factor_plain_bundle(), trust=UNSIGNED)
    table = pq.read_table(raw_values(TRUTH))
    shuffled = table.take(np.random.default_rng(3).permutation(len(table)))
    whole = bundle.score(table, dates=(None, None)).table
    assert bundle.score(shuffled, dates=(None, None)).table.equals(whole)
    day = pc.equal(pc.cast(table["datetime"], pa.date32()), pa.scalar("2021-12-24").cast(pa.date32()))
    single = bundle.score(table.filter(day), date="2021-12-24").table
    assert single.equals(whole.filter(pc.equal(whole["datetime"], single["datetime"][0])))


def test_universe_and_missing_rows_are_reported(tmp_path: Path) -> None:
    """Stocks out of the universe, without a row, or without a single value come back with their reason."""
    bundle = alphaseal.open(factor_plain_bundle(), trust=UNSIGNED)
    table = pq.read_table(raw_values(TRUTH))
    table = table.filter(pc.equal(pc.cast(table["datetime"], pa.date32()), pa.scalar("2021-12-24").cast(pa.date32())))
    empty = table["instrument"][0].as_py()
    columns = [
        pa.chunked_array(
            [
                [
                    None if name == empty else value
                    for name, value in zip(table["instrument"].to_pylist(), column.to_pylist(), strict=True)
                ]
            ],
            column.type,
        )
        if name_of not in ("datetime", "instrument")
        else column
        for name_of, column in zip(table.column_names, table.columns, strict=True)
    ]
    table = pa.Table.from_arrays(columns, schema=table.schema)
    names = table["instrument"].to_pylist()
    scores = bundle.score(table, date="2021-12-24", universe=[*names[:10], "SH999999"])
    reasons = {row["instrument"]: row["reason"] for row in scores.excluded.to_pylist()}
    assert reasons[empty] == "all_values_missing"
    assert reasons["SH999999"] == "no_row"
    assert reasons[names[20]] == "not_in_universe"
    assert sorted(scores.table["instrument"].to_pylist()) == sorted(names[1:10])


def test_a_process_without_research_packages_scores(tmp_path: Path) -> None:
    """The runtime scores where pandas, lightgbm, qlib, rdagent and the converter cannot be imported, and unpickles nothing."""
    program = f"""
import sys
blocked = ("pandas", "lightgbm", "qlib", "rdagent", "alphaseal_converter", "onnx", "sklearn", "torch")
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
events = []
sys.addaudithook(lambda event, arguments: events.append(event) if event == "pickle.find_class" else None)
from alphaseal.cli.command import main
status = main(["score", {str(factor_plain_bundle())!r}, "--allow-unsigned", "--features", {str(raw_values(TRUTH))!r}, "--date", "2021-12-24"])
assert not events, events
sys.exit(status)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "59 stocks scored" in done.stdout


def test_errors_are_one_line_without_a_traceback(tmp_path: Path) -> None:
    """On a terminal an error is one line on standard error, with its code and the next step."""
    done = subprocess.run(
        [sys.executable, "-m", "alphaseal_converter", "build", str(tmp_path), "--out", str(tmp_path / "bundle")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error [task.no_session]: ")
    assert "next: " in done.stderr


@pytest.mark.skipif(not FIXTURES.exists(), reason="the full set of leftovers is not here")
def test_lightgbm_of_a_signed_task(tmp_path: Path) -> None:
    """The signed task's first factor experiment gives qlib's scores bit for bit, authenticated with its key."""
    root = FIXTURES / "quant_signed"
    folder = root / "truth/hist0_factor"
    request = factor_plain_request(
        tmp_path / "bundle",
        task_directory=root,
        workspace_roots=[root / "workspaces"],
        features=raw_values(folder),
        anchor="0",
        session_key=root / "artifact_signing.key",
    )
    built = build(request)
    assert built.manifest.source.snapshot is not None
    assert built.manifest.source.snapshot.authenticated
    assert_equal_to_recorded(alphaseal.open(built.path, trust=UNSIGNED), folder)


@pytest.mark.parametrize("case", sorted(path.name for path in (DATA / "tasks").iterdir() if path.is_dir()))
def test_tasks_that_go_wrong_as_real_ones_do(case: str, tmp_path: Path) -> None:
    """Each variant is refused by its code, or its anchor is the one that its expected.json names; never an older model."""
    folder = DATA / "tasks" / case
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    roots = [(folder / expected["workspace_root"]).resolve()] if expected.get("workspace_root") else []
    request = factor_plain_request(tmp_path / "bundle", task_directory=folder, workspace_roots=roots, features=None)
    if "refused" in expected:
        with pytest.raises(RefusalError):
            build(request)
        assert list(tmp_path.iterdir()) == []
        return
    manifest = build(request).manifest
    assert manifest.source.anchor.history_index == expected["anchor"]
    assert manifest.source.snapshot is not None
    assert expected["use_snapshot"].endswith(manifest.source.snapshot.path)
    if case == "same_name_twice":
        assert "factor_name_twice" in [reason.code for reason in manifest.eligibility.reasons]
    if case == "weights_differ":
        assert "weights_differ" in [reason.code for reason in manifest.eligibility.reasons]


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`alphaseal show … | head -1` ends without a complaint."""
    command = f"{sys.executable} -m alphaseal show {factor_plain_bundle()} | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("rdagent-")


def test_output_that_cannot_be_written_is_an_error_without_a_traceback() -> None:
    """A full device is exit 3; an encoding without the text's characters shows escapes."""
    command = f"{sys.executable} -m alphaseal show {factor_plain_bundle()}"
    full = subprocess.run(["bash", "-c", f"{command} > /dev/full"], capture_output=True, text=True, check=False)
    assert full.returncode == 3
    assert full.stderr.startswith("error [targets.not_writable]: ")
    assert "Traceback" not in full.stderr
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    shown = subprocess.run(command.split(), capture_output=True, text=True, check=False, env=ascii_only)
    assert (shown.returncode, shown.stderr) == (0, "")


def test_session_weights_without_their_workspace_are_refused_by_its_name(tmp_path: Path) -> None:
    """Weights alone do not say order and preprocessing: the refusal says what was searched and what to name."""
    with pytest.raises(RefusalError) as caught:
        build(factor_plain_request(tmp_path / "bundle", workspace_roots=[tmp_path]))
    assert caught.value.code == "workspace.not_found"
    assert "46797bef467848ea9d5ef3d9b6c75561" in str(caught.value)


@pytest.mark.parametrize(("lost", "proof"), [("pred.pkl", "evidence"), ("params.pkl", "replayed")])
def test_session_weights_with_a_run_that_lost_files(lost: str, proof: str, tmp_path: Path) -> None:
    """The run still says order and preprocessing: without predictions the bundle is not ready, without weights it is."""
    shutil.copytree(FACTOR_PLAIN / "workspaces", tmp_path / "workspaces")
    for path in (tmp_path / "workspaces").glob(f"*/mlruns/*/*/artifacts/{lost}"):
        path.unlink()
    manifest = build(factor_plain_request(tmp_path / "bundle", workspace_roots=[tmp_path / "workspaces"])).manifest
    assert manifest.order.proof == proof
    assert manifest.eligibility.ready == (proof == "replayed")


@pytest.mark.parametrize("epoch", ["abc", "", "1e9", "-5", "99999999999999999"])
def test_a_wrong_creation_time_is_refused_first(epoch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SOURCE_DATE_EPOCH that is no time is the caller's mistake, whatever else there is to say."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(alphaseal.AlphasealError) as caught:
        build(factor_plain_request(tmp_path / "bundle", task_directory=tmp_path / "none"))
    assert (caught.value.code, caught.value.exit) == ("usage.source_date_epoch", 2)
