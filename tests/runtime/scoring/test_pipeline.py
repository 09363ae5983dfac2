"""The staged pipeline: order of stages, windows across blocks, whole days, dropped rows, and bundles that use them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto

import alphaseal
from alphaseal import cli
from alphaseal.errors import InputError, PolicyError, SelfTestError
from alphaseal.format import manifest as m
from alphaseal.scoring.pipeline import Pipeline
from alphaseal.tables.features import FeatureBlock
from alphaseal_converter.graph.assemble import build_row_graph, build_scoring_graph
from alphaseal_converter.models.lightgbm import parse_model_text
from alphaseal_converter.nodes.builder import GraphBuilder
from alphaseal_converter.processors.fillna import Fillna
from staged_bundles import (
    DATES,
    DROP,
    FILL,
    FINAL,
    LENGTH,
    RANK,
    WIDTH,
    WINDOW,
    block_of,
    newest_less_oldest,
    table_of,
    write_bundle,
)

lightgbm = pytest.importorskip("lightgbm")


def mean_of_batch() -> bytes:
    """A graph whose score depends on the rows beside it: the first feature less its mean over the batch."""
    builder = GraphBuilder()
    first = builder.add("Gather", "features", builder.constant([0]), axis=1)
    mean = builder.add("ReduceMean", first, builder.constant([0]), keepdims=1)
    return builder.model(WIDTH, builder.add("Sub", first, mean))


def tree_graph() -> bytes:
    """A LightGBM model on three features, by the converter's builder."""
    random = np.random.default_rng(8)
    values = random.standard_normal((800, WIDTH))
    data = lightgbm.Dataset(values, label=values[:, 0] * values[:, 1] + random.standard_normal(800) / 3)
    booster = lightgbm.train({"verbose": -1, "num_threads": 1, "num_leaves": 31}, data, num_boost_round=60)
    return build_scoring_graph((), parse_model_text(booster.model_to_string(), None), WIDTH)


def part(block: FeatureBlock, first: int, last: int) -> FeatureBlock:
    """The rows of the dates number `first` to `last` - 1."""
    start, stop = np.searchsorted(block.dates, np.datetime64("2024-01-01") + np.array([first, last]))
    return FeatureBlock(
        block.dates[start:stop], block.instruments.slice(start, stop - start), block.values[start:stop], ()
    )


def pipeline(*stages: m.Stage, final: bytes, **options: Any) -> Pipeline:
    files = {"model.onnx": final, "rows0.onnx": build_row_graph((Fillna(0.0),), WIDTH)}
    return Pipeline([*stages, FINAL], files.__getitem__, WIDTH, **options)


def windows_by_loop(block: FeatureBlock, values: np.ndarray, calendar: Sequence[Any]) -> dict[int, np.ndarray]:
    """Row of the block -> its window [LENGTH, features], from the definition."""
    names = block.instruments.to_pylist()
    row_of = {(day, name): row for row, (day, name) in enumerate(zip(block.dates.tolist(), names, strict=True))}
    result = {}
    for row, (day, name) in enumerate(zip(block.dates.tolist(), names, strict=True)):
        end = calendar.index(day) + 1
        if end < LENGTH:
            continue
        rows = [row_of.get((past, name)) for past in calendar[end - LENGTH : end]]
        known = [past for past in rows if past is not None]
        filled, newest = [], known[0]
        for past in rows:
            newest = newest if past is None else past
            filled.append(newest)
        result[row] = values[filled]
    return result


def test_window_is_made_after_the_stages_before_it() -> None:
    """Fill and rank first, then window: the order of TSDatasetH."""
    block = block_of()
    made = pipeline(FILL, RANK, WINDOW, final=newest_less_oldest())
    assert (made.step_length, made.needs_whole_day) == (LENGTH, True)
    ranked = pipeline(FILL, RANK, WINDOW, final=newest_less_oldest()).prepare(block).values
    assert np.nanmax(ranked) <= 3.46 / 2
    expected = windows_by_loop(block, ranked, sorted(set(block.dates.tolist())))
    rows, scores = made.run(block)
    assert rows.tolist() == sorted(expected)
    sums = np.array([expected[row].sum(axis=1) for row in rows.tolist()])
    np.testing.assert_allclose(scores, sums[:, -1] - sums[:, 0] + 0.01 * sums[:, 1], atol=1e-14)


@pytest.mark.parametrize("cuts", [[1], [5], [2, 3, 4, 9], [13], list(range(1, DATES))])
@pytest.mark.parametrize("start", [LENGTH - 1, 8])
def test_blocks_of_any_length_give_the_bytes_of_one(cuts: list[int], start: int) -> None:
    """A stream of blocks scores as the whole table does, however many dates a block has."""
    block = block_of()
    made = pipeline(DROP, RANK, WINDOW, final=newest_less_oldest())
    first = np.datetime64("2024-01-01") + start
    rows, scores = made.run(block, first)
    blocks = [part(block, a, b) for a, b in zip([0, *cuts], [*cuts, DATES], strict=True)]
    streamed = list(made.stream(blocks, first))
    names = [(piece.dates[row], piece.instruments[int(row)].as_py()) for piece, found, _ in streamed for row in found]
    assert names == [(block.dates[row], block.instruments[int(row)].as_py()) for row in rows]
    assert np.concatenate([found for _, _, found in streamed]).tobytes() == scores.tobytes()


@pytest.mark.parametrize("threads", [1, 2])
def test_trees_give_the_same_bytes_in_any_batch(threads: int) -> None:
    """One row, some rows or all, on one thread or two: a row's score has the same bits."""
    block = block_of(1, dates=3, stocks=3000)
    made = pipeline(final=tree_graph())
    _, scores = made.run(block, threads=threads)
    _, once = made.run(block, threads=1)
    assert scores.tobytes() == once.tobytes()
    few = np.linspace(0, len(block) - 1, 23).astype(int)
    alone = [
        made.run(FeatureBlock(block.dates[[r]], block.instruments.slice(r, 1), block.values[[r]], ()))[1] for r in few
    ]
    assert np.concatenate(alone).tobytes() == scores[few].tobytes()


def test_rows_that_miss_a_value_are_dropped_where_the_stage_stands() -> None:
    """Dropped rows get no score, and the ranks of the others are taken without them."""
    block = block_of(2)
    made = pipeline(DROP, RANK, final=mean_of_batch())
    rows, scores = made.run(block)
    assert rows.tolist() == np.flatnonzero(~np.isnan(block.values).any(axis=1)).tolist()
    assert np.isfinite(scores).all()
    prepared = made.prepare(block)
    last = prepared.dates == prepared.dates[-1]
    assert prepared.values[last].max() == pytest.approx(3.46 / 2)


def test_model_that_depends_on_the_batch_gets_whole_days() -> None:
    """Such a model is called once a day with all rows of the day, also where a day is larger than a chunk."""
    block = block_of(3, dates=3, stocks=5000)
    made = pipeline(FILL, final=mean_of_batch(), batch_dependent=True)
    assert made.needs_whole_day
    _, scores = made.run(block)
    for day in np.unique(block.dates):
        rows = block.dates == day
        first = np.nan_to_num(block.values[rows, 0])
        np.testing.assert_allclose(scores[rows], first - first.mean(), atol=1e-13)


def test_calendar_of_the_caller_counts_dates_without_rows() -> None:
    """With a calendar, a date on which no stock has a row takes its place in the window."""
    block = block_of(4)
    made = pipeline(FILL, WINDOW, final=newest_less_oldest())
    calendar = np.unique(np.append(block.dates, np.datetime64("2024-01-01") + DATES))
    moved = block.dates.copy()
    moved[moved == np.datetime64("2024-01-01") + DATES - 1] += 1
    later = FeatureBlock(moved, block.instruments, block.values, ())
    first = moved[-1]
    rows, with_gap = made.run(later, first, calendar)
    assert not np.array_equal(with_gap, made.run(later, first)[1])
    filled = made.prepare(block).values
    expected = windows_by_loop(later, filled, calendar.tolist())
    sums = np.array([expected[row].sum(axis=1) for row in rows.tolist()])
    np.testing.assert_allclose(with_gap, sums[:, -1] - sums[:, 0] + 0.01 * sums[:, 1], atol=1e-14)


def test_too_little_history_is_an_error_and_not_a_guess() -> None:
    """Fewer dates than the window: no score, whether the table or the calendar is short."""
    block = part(block_of(), 0, LENGTH - 1)
    made = pipeline(WINDOW, final=newest_less_oldest())
    long_calendar = np.datetime64("2023-12-01") + np.arange(60)
    for first, calendar in ((None, None), (block.dates[-1], None), (block.dates[-1], long_calendar)):
        with pytest.raises(InputError) as caught:
            made.run(block, first, calendar)
        assert caught.value.code == "window.too_short"
        assert caught.value.found == f"{LENGTH - 1} dates"


@pytest.mark.parametrize(
    "stages", [[], [WINDOW], [WINDOW, RANK, FINAL], [WINDOW, WINDOW, FINAL], [FINAL, RANK], [WINDOW, FINAL, FINAL]]
)
def test_stages_in_another_order_are_refused(stages: list[m.Stage]) -> None:
    """A manifest whose stages cannot be scored is refused when it is loaded."""
    with pytest.raises(PolicyError) as caught:
        Pipeline(stages, {"model.onnx": mean_of_batch()}.__getitem__, WIDTH)
    assert caught.value.code == "stage.order"


def test_graph_that_does_not_fit_its_place_is_refused() -> None:
    """Windows need a graph over windows, rows one over rows, and a stage between gives numbers, not one of fixed rows."""
    for stages, final in (([WINDOW], mean_of_batch()), ([], newest_less_oldest()), ([], build_row_graph((), WIDTH))):
        with pytest.raises(PolicyError) as caught:
            pipeline(*stages, final=final)
        assert caught.value.code == "model.signature"


def test_windows_of_a_full_market_are_quick() -> None:
    """5000 stocks, 20 days, 158 features: a day's windows in well under a second (goal 0.3 s)."""
    builder = GraphBuilder()
    total = builder.add("ReduceSum", builder.cast("features", TensorProto.FLOAT), builder.constant([1, 2]), keepdims=0)
    score = builder.cast(builder.add("Unsqueeze", total, builder.constant([1])), TensorProto.DOUBLE)
    graph = builder.model(158, score, 20)
    made = Pipeline([m.WindowStage(length=20, fill="ffill+bfill"), FINAL], {"model.onnx": graph}.__getitem__, 158)
    names = pa.array([f"SH{600000 + code}" for code in range(5000)] * 20)
    values = np.random.default_rng(0).standard_normal((100_000, 158))
    block = FeatureBlock(np.repeat(np.datetime64("2024-01-01") + np.arange(20), 5000), names, values, ())
    started = time.perf_counter()
    rows, _ = made.run(block, block.dates[-1])
    elapsed = time.perf_counter() - started
    assert len(rows) == 5000
    assert elapsed < 1.5, f"{elapsed:.2f} s"


# --- bundles ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def windows_bundle(tmp_path: Path) -> Path:
    graphs = {"model.onnx": newest_less_oldest(), "rows0.onnx": build_row_graph((Fillna(0.0),), WIDTH)}
    return write_bundle(tmp_path / "bundle", [DROP, FILL, RANK, WINDOW, FINAL], graphs, block_of(5, dates=8), 6)


def opened(path: Path) -> alphaseal.Bundle:
    return alphaseal.open(path, trust=alphaseal.Trust.unsigned())


def test_self_test_scores_the_days_and_not_their_context(windows_bundle: Path) -> None:
    """Golden days are scored with their history, in whatever order the rows stand in the file."""
    report = opened(windows_bundle).selftest()
    assert report.largest_ulp == 0
    assert 0 < report.rows < pq.read_metadata(windows_bundle / "golden.parquet").num_rows


def test_self_test_finds_a_wrong_window_score(windows_bundle: Path) -> None:
    """A golden score that this machine does not reproduce is exit 19."""
    path = windows_bundle / "golden.parquet"
    table = pq.read_table(path)
    wrong = pa.array([None if score is None else score + 0.5 for score in table["score"].to_pylist()], pa.float64())
    pq.write_table(table.set_column(table.num_columns - 1, "score", wrong), path, store_schema=False)
    manifest = m.parse((windows_bundle / "manifest.json").read_bytes())
    files = [
        msgspec.structs.replace(f, size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        if f.role == "golden"
        else f
        for f in manifest.files
    ]
    (windows_bundle / "manifest.json").write_bytes(m.encode(msgspec.structs.replace(manifest, files=files)))
    with pytest.raises(SelfTestError):
        opened(windows_bundle).selftest()


def test_date_range_and_stream_agree(windows_bundle: Path, tmp_path: Path) -> None:
    """A date, a range in memory and years from a file give the same scores; the file may be in any order."""
    bundle, table = opened(windows_bundle), table_of(block_of(6, dates=30, stocks=40))
    shuffled = table.take(np.random.default_rng(1).permutation(len(table)))
    path = tmp_path / "features.parquet"
    pq.write_table(shuffled, path, row_group_size=97)
    one_by_one = [bundle.score(table, date=date(2024, 1, day)) for day in range(10, 31)]
    together = pa.concat_tables([scores.table for scores in one_by_one])
    assert bundle.score(path, date="2024-01-20").table.equals(one_by_one[10].table)
    assert bundle.score(shuffled, dates=("2024-01-10", None)).table.equals(together)
    assert bundle.score(shuffled.to_reader(max_chunksize=50), date="2024-01-20").table.equals(one_by_one[10].table)
    assert bundle.score(shuffled.to_pandas(), date="2024-01-20").table.equals(one_by_one[10].table)
    by_date = tmp_path / "by_date.parquet"
    pq.write_table(table, by_date, row_group_size=17)
    assert bundle.score(by_date, date="2024-01-20").table.equals(one_by_one[10].table)
    streamed = list(bundle.score_stream(path, dates=("2024-01-10", "2024-01-30")))
    assert pa.concat_tables([scores.table for scores in streamed]).equals(together)
    assert {row["reason"] for row in one_by_one[0].excluded.to_pylist()} == {"dropped_missing"}


def test_open_range_begins_with_the_first_whole_window(windows_bundle: Path) -> None:
    """Without a first date the dates before the first whole window are history; a date among them is an error."""
    bundle, table = opened(windows_bundle), table_of(block_of(6))
    first = bundle.score(table, dates=(None, None)).table["datetime"][0].as_py()
    assert first == date(2024, 1, LENGTH)
    with pytest.raises(InputError) as caught:
        bundle.score(table, date=date(2024, 1, LENGTH - 1))
    assert caught.value.code == "window.too_short"


def test_date_without_rows_is_an_error_with_its_neighbours(windows_bundle: Path, tmp_path: Path) -> None:
    """The date asked for is scored or refused, from memory and from a file; history is never scored instead."""
    bundle = opened(windows_bundle)
    block = block_of(6)
    kept = block.dates != np.datetime64("2024-01-09")
    table = table_of(FeatureBlock(block.dates[kept], block.instruments.filter(pa.array(kept)), block.values[kept], ()))
    path = tmp_path / "features.parquet"
    pq.write_table(table, path, row_group_size=20)
    for source in (table, path):
        with pytest.raises(InputError) as caught:
            bundle.score(source, date="2024-01-09")
        assert caught.value.code == "features.date_absent"
        assert "2024-01-08 before" in (caught.value.found or "")


def test_rows_after_the_date_do_not_change_it(windows_bundle: Path, tmp_path: Path) -> None:
    """A score looks at the past only: the table cut at the date gives the same."""
    bundle, block = opened(windows_bundle), block_of(6)
    cut = tmp_path / "cut.parquet"
    pq.write_table(table_of(part(block, 0, 10)), cut)
    whole = bundle.score(table_of(block), date="2024-01-10")
    assert bundle.score(cut, date="2024-01-10").table.equals(whole.table)


def test_command_takes_a_calendar(windows_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``score --calendar``: its dates are those of the windows, and a table that contradicts it is exit 18."""
    block = block_of(6)
    features, calendar = tmp_path / "features.parquet", tmp_path / "days.txt"
    pq.write_table(table_of(block), features)
    days = [str(day) for day in np.unique(block.dates)]
    command = [
        "score",
        str(windows_bundle),
        "--allow-unsigned",
        "--features",
        str(features),
        "--date",
        "2024-01-12",
        "--json",
    ]
    plain = (cli.main(command), json.loads(capsys.readouterr().out))
    calendar.write_text("\n".join(["2023-12-29", *days]), encoding="utf-8")
    assert (cli.main([*command, "--calendar", str(calendar)]), json.loads(capsys.readouterr().out)) == plain
    assert plain[0] == 0
    calendar.write_text("\n".join([*days[:10], *days[11:]]), encoding="utf-8")
    assert cli.main([*command, "--calendar", str(calendar)]) == 18
    assert json.loads(capsys.readouterr().out)["code"] == "window.not_in_calendar"
