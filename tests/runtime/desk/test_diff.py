"""What `alphaseal diff` says of two bundles, on real ones."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import msgspec
import numpy as np
import pytest

import alphaseal
from alphaseal.cli import main
from alphaseal.desk.diff import Difference, compare_features, difference
from alphaseal.desk.diff_report import as_markdown, as_text
from alphaseal.desk.diff_scores import rank_correlation
from alphaseal.errors import DigestError, TreeError
from alphaseal.format import manifest as m
from alphaseal_converter.build import build
from alphaseal_converter.proof.request import BuildRequest
from bundles import direct_request, factor_plain_bundle, factor_plain_request, raw_values
from locations import DATA, FIXTURES
from manifests import compiled_manifest

HOSTILE = "x` </code> | <img src=http://evil> @everyone [a](b)\u202e\x1b[31m\r\n```\n# heading"


@cache
def built(name: str) -> Path:
    """A bundle of the tests' own data, by name."""
    out = Path(mkdtemp(prefix="alphaseal-diff-")) / "bundle"
    if name == "anchor 0":
        return build(factor_plain_request(out, anchor="0", features=None)).path
    return build(direct_request(name, out)).path


@cache
def of_fixture(task: str, index: int, kind: str) -> Path:
    """A bundle of the full set of leftovers, which a clone does not have."""
    root = FIXTURES / task
    if not root.is_dir():
        pytest.skip("the full set of leftovers is not here")
    request = BuildRequest(
        out=Path(mkdtemp(prefix="alphaseal-diff-")) / "bundle",
        task_directory=root,
        workspace_roots=[root / "workspaces"],
        features=raw_values(root / f"truth/hist{index}_{kind}"),
        anchor=str(index),
        run_model_code=True,
    )
    return build(request).path


def altered(tmp_path: Path, change: Callable[[dict[str, Any]], object], **files: str) -> Path:
    """A copy of the demo's bundle with its manifest changed, and with other texts in the files of these titles."""
    out = tmp_path / f"altered{len(list(tmp_path.iterdir()))}"
    shutil.copytree(factor_plain_bundle(), out)
    plain = json.loads((out / m.FILE_NAME).read_bytes())
    for entry in plain["files"]:
        if entry["title"] in files:
            data = files[entry["title"]].encode()
            (out / entry["path"]).write_bytes(data)
            entry |= {"size": len(data), "sha256": m.digest(data)}
    change(plain)
    (out / m.FILE_NAME).write_bytes(m.encode(msgspec.convert(plain, m.Manifest)))
    return out


def facts(found: Difference, area: str) -> dict[str, tuple[Any, Any]]:
    """What changed in one area."""
    return {change.what: (change.old, change.new) for change in found.facts if change.area == area}


def nothing(plain: dict[str, Any]) -> None:
    """A manifest that stays as it is."""


def test_same_bundle_has_no_difference(capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle and its own copy differ in nothing, and ``--exit-code`` says so."""
    bundle = factor_plain_bundle()
    found = difference(bundle, bundle)
    assert found.same
    assert found.facts == found.code == found.numbers == ()
    assert main(["diff", str(bundle), str(bundle), "--exit-code"]) == 0
    assert "one bundle" in capsys.readouterr().out


def test_next_anchor_of_a_task_is_told_in_full() -> None:
    """From one accepted experiment to the next: features, code, metrics, model size, verdict and scores."""
    old, new = built("anchor 0"), factor_plain_bundle()
    found = difference(old, new)
    assert [feature.name for feature in found.features.added] == ["REV_3D", "TURNOVER_Z_40D"]
    assert found.features.removed == found.features.moved == ()
    assert found.features.common == 22
    added = {code.name: code for code in found.code if code.state == "added"}
    # The code of factors newer than the old anchor lies in the old bundle too, so it is no news.
    assert not set(added) & {"REV_3D", "TURNOVER_Z_40D"}
    assert (found.old.ready, found.new.ready) == (False, True)
    assert "newer_accepted" in dict(found.old.reasons)
    assert facts(found, "model")["trees"] == (23, 28)
    assert facts(found, "factors")["REV_3D"] == ("newer_than_anchor", "in_model")
    metric = next(metric for metric in found.metrics if metric.name == "IC")
    assert metric.old is not None
    assert metric.new is not None
    assert metric.difference == metric.new - metric.old
    assert facts(found, "label") == facts(found, "segments") == {}
    text = as_text(found)
    assert "The verdict changed: not ready before, ready now." in text
    assert "2 added, 0 removed, 0 moved" in text


def test_scores_are_those_of_both_bundles_and_the_top_is_counted() -> None:
    """Scores, ranks, rank correlation and common top are recomputed from what each bundle scores alone."""
    old, new = (
        alphaseal.open(path, trust=alphaseal.Trust.unsigned()) for path in (built("anchor 0"), factor_plain_bundle())
    )
    found = difference(old.directory, new.directory).scores
    assert found.reason is None
    truth = raw_values(DATA / "factor_plain/truth/hist2_factor")
    for day in found.days:
        ranked = [bundle.score(truth, date=day.date).table for bundle in (old, new)]
        ours, theirs = (dict(zip(t["instrument"].to_pylist(), t["score"].to_pylist(), strict=True)) for t in ranked)
        stocks = [stock for stock in found.stocks if stock.date == day.date]
        assert {s.instrument: s.old_score for s in stocks} == ours
        assert {s.instrument: s.new_score for s in stocks} == theirs
        for k, same in day.top.items():
            best = [set(table["instrument"].to_pylist()[:k]) for table in ranked]
            assert same == len(best[0] & best[1])
        expected = np.corrcoef([_ranks([scores[name] for name in sorted(ours)]) for scores in (ours, theirs)])[0, 1]
        assert day.rank_correlation == pytest.approx(expected, abs=1e-12)
    assert [day.date for day in found.days] == new.manifest.golden.days


def _ranks(values: list[float]) -> list[float]:
    """Mean ranks, by comparing every pair."""
    return [sum((b < a) + 0.5 * (a == b) for b in values) for a in values]


def test_rank_correlation_of_ties_and_constants() -> None:
    """Ties share their mean rank; where all of a side are equal there is no correlation."""
    assert rank_correlation(np.array([1.0, 2.0, 2.0, 4.0]), np.array([1.0, 2.0, 2.0, 4.0])) == pytest.approx(1.0)
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1.0)
    assert rank_correlation(np.array([1.0, 2.0]), np.array([5.0, 5.0])) is None
    assert rank_correlation(np.array([]), np.array([])) is None


def test_missing_feature_is_not_comparable_and_named() -> None:
    """The other way round the golden rows lack two features: no scores, and the reason names them."""
    found = difference(factor_plain_bundle(), built("lgb_alpha158_filter"))
    assert found.scores.days == found.scores.stocks == ()
    assert found.scores.reason is not None
    assert "the old model needs" in found.scores.reason
    assert "not comparable" in as_text(found)
    assert "not comparable" in as_markdown(found)


def test_other_order_is_the_fewest_moves_and_numbers_of_its_scaler() -> None:
    """Two loaders of the same columns: only what moved is listed, and both models score the same rows."""
    found = difference(built("lgb_nested_loader"), built("lgb_ordered_loader"))
    assert found.features.added == found.features.removed == ()
    assert 0 < len(found.features.moved) < found.features.common
    assert found.scores.reason is None
    assert set(found.scores.by_name) == {"GAP_OPEN_1D", "ILLIQ_10D", "REV_3D", "TURNOVER_Z_40D"}
    assert "names alone" in as_text(found)


def test_moves_are_as_few_as_possible() -> None:
    """Against brute force: the features that stay are a longest rising subsequence; their moves rebuild the order."""
    names = m.parse((factor_plain_bundle() / m.FILE_NAME).read_bytes()).features[:7]
    source = random.Random(7)
    for _ in range(60):
        new = source.sample(names, len(names))
        moved = compare_features(names, new).moved
        order = [names.index(feature) for feature in new]
        longest = max(
            len(chosen)
            for mask in range(1 << len(order))
            for chosen in [[n for bit, n in enumerate(order) if mask >> bit & 1]]
            if chosen == sorted(chosen)
        )
        assert len(moved) == len(order) - longest
        assert all(names[move.old].name == new[move.new].name == move.name for move in moved)


def test_changed_code_is_a_unified_diff_and_stops_the_comparison_of_scores(tmp_path: Path) -> None:
    """A factor whose code changed is shown line by line, and its values are not taken for the old ones."""
    old = factor_plain_bundle()
    manifest = m.parse((old / m.FILE_NAME).read_bytes())
    path = next(feature.source for feature in manifest.features if feature.name == "REV_3D")
    assert path is not None
    code = (old / path).read_text(encoding="utf-8")
    new = altered(tmp_path, nothing, REV_3D=code.replace("shift(3)", "shift(5)"))
    found = difference(old, new)
    (change,) = found.code
    assert (change.name, change.kind, change.state) == ("REV_3D", "factor", "changed")
    assert change.lines is not None
    assert any(line.startswith("-") and "shift(3)" in line for line in change.lines)
    assert any(line.startswith("+") and "shift(5)" in line for line in change.lines)
    assert found.scores.reason is not None
    assert "REV_3D is computed otherwise" in found.scores.reason
    assert "Factors whose code changed: 1 (`REV_3D`)" in as_markdown(found)
    assert "1 computed otherwise, 0 described otherwise" in as_text(found)


def test_code_of_a_factor_outside_the_model_is_no_change_of_a_feature(tmp_path: Path) -> None:
    """An accepted factor that gave no column may change its code: the model's inputs are the same, and so are the scores."""
    found = difference(factor_plain_bundle(), altered(tmp_path, nothing, UPLIMIT_TOUCH="pass\n"))
    (change,) = found.code
    assert (change.name, change.kind, change.state) == ("UPLIMIT_TOUCH", "idle factor", "changed")
    assert "0 computed otherwise, 0 described otherwise" in as_text(found)
    assert found.scores.reason is None
    assert {stock.old_score == stock.new_score for stock in found.scores.stocks} == {True}


def test_changed_processor_is_told_number_by_number(tmp_path: Path) -> None:
    """Fitted numbers that differ are listed by feature, the largest relative difference first."""
    scaler = {
        "class": "ZScoreNorm",
        "columns": ["KLEN", "KLOW"],
        "mean": [1.0, 2.0],
        "scale": [4.0, 5.0],
        "clip": False,
    }

    def put(**changes: Any) -> Callable[[dict[str, Any]], object]:
        return lambda plain: plain["stages"][0].update(processors=[scaler | changes])

    old, new = altered(tmp_path, put()), altered(tmp_path, put(mean=[1.0, 2.5], scale=[4.0, 5.05], clip=True))
    found = difference(old, new)
    numbers = [(n.feature, n.parameter, n.old, n.new) for n in found.numbers]
    assert numbers == [("KLOW", "mean", 2.0, 2.5), ("KLOW", "scale", 5.0, 5.05)]
    assert found.numbers[0].relative == pytest.approx(0.2)
    assert facts(found, "stages") == {"ZScoreNorm clip": (False, True)}
    assert "2 differ, the most by 20.00%" in as_text(found)
    gone = difference(old, factor_plain_bundle())
    assert {n.relative for n in gone.numbers} == {None}
    assert "one side only" in as_text(gone)


def test_every_other_fact_is_told(tmp_path: Path) -> None:
    """Label, segments, data, strategy, selection, dtype, origin, expression, parity, sizes and libraries."""

    def change(plain: dict[str, Any]) -> None:
        plain["label"]["expression"] = "Ref($close, -3)/Ref($close, -1) - 1"
        plain["data"]["segments"]["train"]["last"] = "2020-11-30"
        plain["data"]["benchmark"] = "SH000300"
        plain["strategy"]["arguments"]["topk"] = 30
        plain["selection"]["top_k"] = 30
        plain["features"][0] |= {"dtype": "float64", "expression": "$open", "origin": "base"}
        plain["parity"]["cases"][0]["bit_identical"] -= 1
        plain["producer"]["packages"]["lightgbm"] = "4.6.0"
        plain["missing"]["infinite"] = "clipped"

    found = difference(factor_plain_bundle(), altered(tmp_path, change))
    assert set(facts(found, "label")) == {"expression"}
    assert facts(found, "segments")["train"] == ("2019-01-02 to 2020-12-31", "2019-01-02 to 2020-11-30")
    assert facts(found, "data") == {"benchmark": ("SH000905", "SH000300")}
    assert facts(found, "strategy") == {"topk": (50, 30)}
    assert facts(found, "selection") == {"top_k": (50, 30)}
    assert {change.what for change in found.features.changed} == {"dtype", "expression", "origin"}
    assert facts(found, "parity") == {"rows not bit-identical": (0, 1)}
    assert facts(found, "libraries") == {"lightgbm": ("4.7.0", "4.6.0")}
    assert facts(found, "missing values") == {"infinite": ("native", "clipped")}
    markdown = as_markdown(found)
    assert "1 computed otherwise, 0 described otherwise" in markdown
    for area in ("What the model predicts (label)", "Periods of training and test", "Market data", "Choice of stocks"):
        assert f"Changed too: {area}." in markdown


def compiled(plain: dict[str, Any], **changes: Any) -> None:
    """The demo's factor REV_3D made of bars by graphs, and what of its compilation is other."""
    example = m.to_plain(compiled_manifest())
    alpha = next(feature["name"] for feature in plain["features"] if feature["origin"] == "alpha")
    feature = next(feature for feature in plain["features"] if feature["name"] == "REV_3D")
    feature["compilation"] = example["features"][1]["compilation"] | changes
    plain["alphas"] = example["alphas"] | {"features": [alpha], "tolerances": [0.0]}
    plain["compiled"] = example["compiled"]


def with_graphs(tmp_path: Path, change: Callable[[dict[str, Any]], object], note: bytes = b"") -> Path:
    """A copy of the demo's bundle that lists files where graphs and golden bars are named; `note` is in one of them."""
    paths = {
        "alphas.onnx": "alphas",
        "compiled/0/graph_0.onnx": "alphas",
        "compiled/0/graph_1.onnx": "alphas",
        "golden_bars.parquet": "golden_bars",
        "golden_factors.parquet": "golden_bars",
    }

    def listed(plain: dict[str, Any]) -> None:
        change(plain)
        for path, role in paths.items():
            data = path.encode() + (note if path.endswith("1.onnx") else b"")
            entry = {"path": path, "role": role, "size": len(data), "sha256": m.digest(data), "title": None}
            plain["files"].append(entry | {"media_type": "application/octet-stream"})
        plain["files"].sort(key=lambda entry: entry["path"])

    out = altered(tmp_path, listed)
    for path in paths:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(path.encode() + (note if path.endswith("1.onnx") else b""))
    return out


def test_a_factor_compiled_otherwise_is_told_in_words(tmp_path: Path) -> None:
    """Expression, version of pandas and bound of the proof, from where two long expressions part; graphs by their digests."""
    common = "mean of the last 20 rows of close / volume, less " * 5
    old = with_graphs(tmp_path, lambda plain: compiled(plain, expression=f"{common}its median by day"))
    proof = m.to_plain(compiled_manifest())["features"][1]["compilation"]["proof"] | {"bound": 1e-06}
    new = with_graphs(
        tmp_path,
        lambda plain: compiled(plain, expression=f"{common}its mean by day", pandas=3, proof=proof, across=False),
        note=b"another graph",
    )
    found = difference(old, new)
    changed = {change.what: (change.old, change.new) for change in found.features.changed}
    assert set(changed) == {"computes", "pandas", "across", "proof bound"}
    assert changed["computes"] == (f"{common}its median by day", f"{common}its mean by day")
    assert changed["pandas"] == (2, 3)
    assert changed["proof bound"] == (1e-09, 1e-06)
    assert set(facts(found, "compiled factors")) == {"digest of compiled/0/graph_1.onnx"}
    for report in (as_text(found), as_markdown(found)):
        assert "less its median by day" in report
        assert "less its mean by day" in report
        assert "1 computed otherwise" in report
        assert "no longer compiled" not in report


def test_a_factor_that_is_no_longer_compiled_is_told_with_its_reason(tmp_path: Path) -> None:
    """Code, line and construct; the summary says that a table must give it, and the other way round that bars do."""
    refused = {
        "code": "looks_ahead",
        "construct": "Series.shift",
        "line": 7,
        "outcome": "not_compiled",
        "why": "later rows",
    }

    def uncompiled(plain: dict[str, Any]) -> None:
        next(f for f in plain["features"] if f["name"] == "REV_3D")["compilation"] = refused

    old, new = with_graphs(tmp_path, compiled), altered(tmp_path, uncompiled)
    found = difference(old, new)
    changed = {change.what: (change.old, change.new) for change in found.features.changed}
    assert changed["compilation"] == ("compiled", "not compiled: looks_ahead, line 7, Series.shift: later rows")
    assert changed["computes"][1] is None
    assert facts(found, "compiled factors")["in the bundle"] == (True, False)
    assert "no longer compiled, so that a table must give them: 1 (REV_3D)" in as_text(found)
    assert "compiled now, and made of bars: 1 (REV_3D)" in as_text(difference(new, old))


def test_texts_of_others_stay_texts(tmp_path: Path) -> None:
    """Hostile names, descriptions and code are bounded, keep to their cell and their fence, and show no control character."""

    def change(plain: dict[str, Any]) -> None:
        plain["source"]["anchor"]["hypothesis"] = HOSTILE * 500
        plain["features"][0]["description"] = HOSTILE
        plain["metrics"]["values"][HOSTILE] = 1.0
        plain["strategy"]["arguments"][HOSTILE] = HOSTILE

    found = difference(factor_plain_bundle(), altered(tmp_path, change, REV_3D=f"````\n{HOSTILE}\n~~~~\n"))
    for report in (as_text(found), as_markdown(found)):
        assert not {"\x1b", "\u202e", "\r"} & set(report)
        assert len(report) < 20_000
    lines = as_markdown(found).split("\n")
    fence = next(line for line in lines if line.startswith("`````"))
    inside = lines[lines.index(fence) + 1 : lines.index(fence.removesuffix("diff"))]
    outside = [line for line in lines if line not in inside]
    assert any("# heading" in line for line in inside)
    assert not any(line.startswith("# heading") for line in outside)
    assert "<img" not in "\n".join(outside)
    # As many cells in every row of a table as in its heading: no text ended a cell.
    for place, line in enumerate(lines):
        if set(line) <= set("| -") and line.startswith("|"):
            after = [row for row in lines[place:] if row.startswith("|")]
            until = next((n for n, row in enumerate(lines[place:]) if not row.startswith("|")), len(after))
            assert {row.count("|") for row in lines[place - 1 : place + until]} == {line.count("|")}


def test_markdown_stays_below_the_limit_of_a_comment(tmp_path: Path) -> None:
    """However much changed, the comment is short enough to be posted, and says what it left out."""

    def change(plain: dict[str, Any]) -> None:
        long = "|`" * 400
        plain["strategy"]["arguments"] = {f"{long}{number}": long for number in range(300)}
        plain["metrics"]["values"] = {f"{long}{number}": 1.0 for number in range(300)}
        plain["label"]["processors"] = [{long: long}] * 20

    code = "\n".join(f"line {number} {'x' * 300}" for number in range(500))
    titles = dict.fromkeys(("REV_3D", "GAP_OPEN_1D", "VOLUME_JUMP_2D", "TURNOVER_Z_40D"), code)
    found = difference(factor_plain_bundle(), altered(tmp_path, change, **titles))
    markdown = as_markdown(found)
    assert len(markdown) < 65_536
    assert "Left out, because a comment has its limits: " in markdown
    assert "### What the model predicts (label)" in markdown
    assert "more lines" in as_text(found)


def test_only_verified_bytes_are_shown(tmp_path: Path) -> None:
    """A source that is not what its manifest says stops the comparison."""
    new = altered(tmp_path, nothing, REV_3D="pass\n")
    manifest = m.parse((new / m.FILE_NAME).read_bytes())
    path = next(feature.source for feature in manifest.features if feature.name == "REV_3D")
    assert path is not None
    (new / path).write_text("evil\n", encoding="utf-8")
    with pytest.raises(DigestError):
        difference(factor_plain_bundle(), new)


@pytest.mark.parametrize("changed", ["old", "new"])
def test_copy_with_another_model_is_no_copy(changed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Equal manifests are no proof of equal bundles: one changed byte of a file of either side is refused."""
    sides = {"old": factor_plain_bundle(), "new": factor_plain_bundle()}
    sides[changed] = altered(tmp_path, nothing)
    assert difference(sides["old"], sides["new"]).same
    graph = next(entry for entry in m.parse((sides[changed] / m.FILE_NAME).read_bytes()).files if entry.role == "model")
    data = bytearray((sides[changed] / graph.path).read_bytes())
    data[len(data) // 2] ^= 1
    (sides[changed] / graph.path).write_bytes(data)
    assert main(["diff", str(sides["old"]), str(sides["new"]), "--exit-code", "--json"]) == 11
    reply = json.loads(capsys.readouterr().out)
    assert (reply["ok"], reply["code"]) == (False, "file.digest")
    (sides[changed] / graph.path).unlink()
    with pytest.raises(TreeError):
        difference(sides["old"], sides["new"])


def test_expired_bundle_can_be_compared(tmp_path: Path) -> None:
    """The bundle of last year is still what this year's is compared with."""
    old = altered(tmp_path, lambda plain: plain.update(expires="2022-01-01T00:00:00Z"))
    assert facts(difference(old, factor_plain_bundle()), "bundle") == {"expires": ("2022-01-01T00:00:00Z", None)}


def test_command_prints_every_form_and_counts_by_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    """Text, Markdown and JSON; exit status 4 only where it was asked for."""
    old, new = str(built("anchor 0")), str(factor_plain_bundle())
    assert main(["diff", old, new]) == 0
    assert capsys.readouterr().out.startswith("WHAT CHANGED\n")
    assert main(["diff", old, new, "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("### What changed\n")
    assert main(["diff", old, new, "--json", "--exit-code"]) == 4
    reply = json.loads(capsys.readouterr().out)
    assert (reply["ok"], reply["code"], reply["exit"]) == (False, "diff.different", 4)
    assert [feature["name"] for feature in reply["result"]["features"]["added"]] == ["REV_3D", "TURNOVER_Z_40D"]
    assert main(["diff", old, "nowhere", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["code"] == "bundle.not_readable"


@pytest.mark.slow
def test_network_against_tree() -> None:
    """From a LightGBM model to a network: kind, steps and missing values are told, and each scores through its own steps."""
    pytest.importorskip("torch")
    old, new = of_fixture("quant_signed", 0, "factor"), of_fixture("quant_signed", 2, "factor")
    found = difference(old, new)
    assert facts(found, "model")["family"] == ("lightgbm", "network")
    assert facts(found, "missing values")["missing"] == ("native", "filled")
    assert {n.relative for n in found.numbers} == {None}
    assert found.scores.reason is None
    assert all(day.both > 50 and day.rank_correlation is not None for day in found.scores.days)
    assert "The model is of another kind: lightgbm before, network now." in as_text(found)


@pytest.mark.slow
def test_windows_are_scored_where_the_history_is_there() -> None:
    """A model of rows scores the golden rows of one on windows; the other way round the history is missing, and it says so."""
    pytest.importorskip("torch")
    rows, windows = of_fixture("model_plain", 0, "model"), of_fixture("model_plain", 1, "model")
    forwards, backwards = difference(rows, windows).scores, difference(windows, rows).scores
    assert forwards.reason is None
    assert [day.both for day in forwards.days] == [59, 59]
    assert backwards.reason is not None
    assert "the old bundle cannot score these rows" in backwards.reason
