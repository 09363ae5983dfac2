"""Cutting a table for many processes: every date is scored once, with its whole history, or it is an error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pytest

import alphaseal
from alphaseal import Trust
from alphaseal.adapters.batches import FIRST_COLUMN, ROWS_COLUMN, Scorer, calendar_of, parts_of
from alphaseal.adapters.ray import _assign
from alphaseal.errors import InputError, RollbackError, UsageError
from alphaseal.format import manifest as m
from alphaseal_converter.graph.assemble import build_row_graph
from alphaseal_converter.processors.fillna import Fillna
from bundles import factor_plain_bundle
from locations import REPOSITORY
from manifests import recorded_universe
from staged_bundles import (
    FILL,
    FINAL,
    RANK,
    WIDTH,
    WINDOW,
    block_of,
    newest_less_oldest,
    table_of,
    write_bundle,
)

UNSIGNED = Trust.unsigned()


def days(count: int) -> np.ndarray:
    return np.datetime64("2024-01-01") + np.arange(count)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model on windows of four days behind a rank over all stocks of a day."""
    graphs = {"model.onnx": newest_less_oldest(), "rows0.onnx": build_row_graph((Fillna(0.0),), WIDTH)}
    folder = tmp_path_factory.mktemp("windows") / "bundle"
    return write_bundle(folder, [FILL, RANK, WINDOW, FINAL], graphs, block_of(5, dates=8), 6)


def cut(table: pa.Table, step_length: int, size: int) -> pa.Table:
    """The table's rows with the part that each belongs to, as the adapter of Ray makes them."""
    dates = table["datetime"].to_pylist()
    pairs = parts_of(calendar_of(sorted(set(dates))), step_length, size)
    counts = {day: dates.count(day) for day in set(dates)}
    rows: dict[object, int] = {}
    for day, first in pairs:
        rows[first] = rows.get(first, 0) + counts[day.astype(object)]
    assigned = [(int(day.astype(np.int64)), int(first.astype(np.int64)), rows[first]) for day, first in pairs]
    return _assign(table, np.array(assigned, np.int64))


@pytest.mark.parametrize(("length", "size"), [(1, 1), (1, 7), (4, 1), (4, 2), (4, 5), (4, 100), (10, 3)])
def test_every_date_with_a_whole_window_is_scored_in_one_part(length: int, size: int) -> None:
    """A part has its dates and the step length less one before them, and each date from the first whole window on is
    scored in exactly one part."""
    calendar = days(17)
    held: dict[np.datetime64, list[np.datetime64]] = {}
    for day, first in parts_of(calendar, length, size):
        held.setdefault(first, []).append(day)
    scored = [day for first, members in held.items() for day in members if day >= first]
    assert scored == list(calendar[length - 1 :])
    for first, members in held.items():
        assert sum(day < first for day in members) == length - 1
        assert 1 <= sum(day >= first for day in members) <= size


def test_calendar_that_is_too_short_is_refused() -> None:
    """Fewer dates than a window needs, a part without a day, a row without a date."""
    with pytest.raises(InputError) as caught:
        parts_of(days(3), 4, 5)
    assert caught.value.code == "window.too_short"
    with pytest.raises(UsageError):
        parts_of(days(3), 1, 0)
    with pytest.raises(InputError) as caught:
        calendar_of([np.datetime64("2024-01-02"), None])
    assert caught.value.code == "features.date_type"


@pytest.mark.parametrize("size", [1, 3, 50])
def test_parts_score_as_the_whole_table(windows: Path, size: int) -> None:
    """Windows and ranks over whole days: the bits of one call on the whole table, in whatever batches the rows come."""
    table = table_of(block_of(9, dates=30))
    scorer = Scorer.of(windows, UNSIGNED)
    assert not scorer.rows_alone
    parts = cut(table, scorer.step_length, size)
    shuffled = parts.take(pa.array(np.random.default_rng(3).permutation(len(parts))))
    found = pa.Table.from_batches(scorer.score_batches(shuffled.to_batches(max_chunksize=7)))
    key = [("datetime", "ascending"), ("instrument", "ascending")]
    whole = alphaseal.open(windows, trust=UNSIGNED).score(table, dates=(None, None))
    has_score = pa.compute.is_null(found["excluded"])
    scored, left_out = found.filter(has_score).sort_by(key), found.filter(pa.compute.invert(has_score)).sort_by(key)
    expected = whole.table.sort_by(key)
    for name in ("datetime", "instrument"):
        assert scored[name].to_pylist() == expected[name].to_pylist()
        assert left_out[name].to_pylist() == whole.excluded[name].to_pylist()
    assert scored["score"].to_numpy().tobytes() == expected["score"].to_numpy().tobytes()
    assert left_out["excluded"].to_pylist() == whole.excluded["reason"].to_pylist()


def test_part_that_lost_or_gained_rows_is_refused(windows: Path) -> None:
    """A row less, a row of a part elsewhere, no columns of a part: never a score."""
    scorer = Scorer.of(windows, UNSIGNED)
    table = table_of(block_of(9, dates=12))
    parts = cut(table, scorer.step_length, 4)
    for wrong in (parts.slice(1), parts.drop_columns([ROWS_COLUMN]), parts.drop_columns([FIRST_COLUMN]), table):
        with pytest.raises(InputError) as caught:
            list(scorer.score_batches(wrong.to_batches()))
        assert caught.value.code == "adapter.part"


def test_reasons_stand_beside_the_scores() -> None:
    """A suspended stock has no score, and its reason; rows that are scored alone need no parts."""
    scorer = Scorer.of(factor_plain_bundle(), UNSIGNED)
    assert scorer.rows_alone
    features = scorer.bundle().manifest.features
    columns = {feature.name: pa.array([0.5, None], pa.float64()) for feature in features}
    table = pa.table({"datetime": pa.array(days(1).repeat(2)), "instrument": ["SH600000", "SH600001"], **columns})
    (batch,) = scorer.score_batches(table.to_batches())
    assert batch["excluded"].to_pylist() == [None, "all_values_missing"]
    assert batch["score"].null_count == 1
    assert list(scorer.score_batches([])) == []
    assert list(scorer.score_batches([batch.slice(0, 0)])) == []


def test_another_bundle_in_the_place_is_refused(windows: Path, tmp_path: Path) -> None:
    """What was verified first is what is opened later, in another process too."""
    place = tmp_path / "bundle"
    shutil.copytree(factor_plain_bundle(), place)
    digest = Scorer.of(place, UNSIGNED).digest
    shutil.rmtree(place)
    shutil.copytree(windows, place)
    elsewhere = Scorer(str(place), "0" * 64, UNSIGNED, rows_alone=True, step_length=1)
    with pytest.raises(RollbackError) as caught:
        elsewhere.bundle()
    assert caught.value.code == "adapter.other_bundle"
    assert digest != Scorer.of(place, UNSIGNED).digest


def test_an_opened_bundle_is_not_lent_to_another_trust(windows: Path) -> None:
    """A worker that opened a bundle under a lax trust opens it again under a strict one, which refuses it."""
    scorer = Scorer.of(windows, UNSIGNED)
    strict = Scorer(scorer.path, scorer.digest, Trust(), rows_alone=False, step_length=4)
    with pytest.raises(alphaseal.AlphasealError) as caught:
        strict.bundle()
    assert caught.value.exit == 14


def test_a_market_is_named_for_every_part(tmp_path: Path, windows: Path) -> None:
    """Where a stage needs the caller's universe the scorer takes it along, and each of its stocks must have its rows."""
    place = tmp_path / "bundle"
    shutil.copytree(windows, place)
    manifest = m.parse((place / m.FILE_NAME).read_bytes())
    table = table_of(block_of(5, dates=8))
    frame = table.to_pandas().set_index(["datetime", "instrument"])
    # A stock that is suspended has a row of missing values.
    every = pd.MultiIndex.from_product(frame.index.levels)
    table = pa.Table.from_pandas(frame.reindex(every).reset_index(), schema=table.schema)
    codes = sorted(set(table["instrument"].to_pylist()))
    members = [f"{code} 2020-01-01 2020-01-31" for code in codes]
    record = recorded_universe("market", members, "2020-01-01", "2020-01-31")
    known = m.Universes(
        factor=None, factor_missing="none", model=record, model_missing=None, boards={}, context=[], until="2020-01-31"
    )
    data = msgspec.structs.replace(manifest.data, universes=known)
    changed = msgspec.structs.replace(manifest, format=m.FORMAT, data=data)
    (place / m.FILE_NAME).write_bytes(m.encode(changed))
    with pytest.raises(InputError) as caught:
        Scorer.of(place, UNSIGNED).score(table)
    assert caught.value.code == "universe.needed"
    whole = Scorer.of(windows, UNSIGNED).score(table)
    assert Scorer.of(place, UNSIGNED, universe=codes).score(table).equals(whole)
    with pytest.raises(InputError) as caught:
        Scorer.of(place, UNSIGNED, universe=[*codes, "SH600999"]).score(table)
    assert (caught.value.code, caught.value.found) == ("universe.incomplete", "none of SH600999")


@pytest.mark.parametrize("name", ["batches", "mlflow", "qlib", "ray", "spark"])
def test_old_places_hand_on_to_the_adapters(name: str) -> None:
    """Saved models and configurations name them: whoever imports the old place has the very module."""
    program = (
        "import importlib, sys, types\n"
        f"new = sys.modules['alphaseal.adapters.{name}'] = types.ModuleType('adapter')\n"
        "import alphaseal.adapters\n"
        f"alphaseal.adapters.{name} = new\n"
        f"import alphaseal_converter.{name} as old\n"
        f"assert old is new is importlib.import_module('alphaseal_converter.{name}')\n"
    )
    paths = [str(REPOSITORY / "runtime/src"), str(REPOSITORY / "converter/src")]
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)})
