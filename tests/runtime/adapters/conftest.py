"""What the tests of the adapters share: a bundle of trees and one that looks at windows and whole days, with tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal_converter.graph.assemble import build_row_graph
from alphaseal_converter.processors.fillna import Fillna
from bundles import FACTOR_PLAIN, factor_plain_bundle, raw_values
from staged_bundles import FILL, FINAL, RANK, WIDTH, WINDOW, block_of, newest_less_oldest, write_bundle
from staged_bundles import table_of as table_of_block


@dataclass(frozen=True)
class Case:
    """A bundle, and a feature table of which some dates are scored."""

    bundle: Path
    features: Path

    def expected(self) -> pa.Table:
        """What the runtime alone gives, by date and instrument."""
        bundle = alphaseal.open(self.bundle, trust=alphaseal.Trust.unsigned())
        return by_key(bundle.score(self.features, dates=(None, None)).table)


def by_key(table: pa.Table) -> pa.Table:
    """Rows in order of date and instrument."""
    return table.sort_by([("datetime", "ascending"), ("instrument", "ascending")])


def assert_same_scores(found: Path, case: Case) -> None:
    """Every row that the runtime scores has the same score, bit for bit, and no other row has one."""
    table = by_key(pq.read_table(found))
    assert table["excluded"].null_count == len(table)
    expected = case.expected()
    for name in ("datetime", "instrument"):
        assert table[name].to_pylist() == expected[name].to_pylist()
    assert table["score"].to_numpy().tobytes() == expected["score"].to_numpy().tobytes()


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The demo's LightGBM model, and the raw values of its run."""
    table = pq.read_table(raw_values(FACTOR_PLAIN / "truth/hist2_factor"))
    # Spark reads no timestamps of nanoseconds, which pandas writes.
    dates = table["datetime"].cast(pa.timestamp("us"))
    path = tmp_path_factory.mktemp("trees") / "features.parquet"
    pq.write_table(table.set_column(table.schema.get_field_index("datetime"), "datetime", dates), path)
    return Case(factor_plain_bundle(), path)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A model on windows of four days behind a rank over all stocks of a day, and forty days of eleven stocks."""
    return _staged(tmp_path_factory.mktemp("windows"), rank=True)


@pytest.fixture(scope="module")
def plain_windows(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The same without the rank."""
    return _staged(tmp_path_factory.mktemp("plain_windows"), rank=False)


def _staged(directory: Path, *, rank: bool) -> Case:
    graphs = {"model.onnx": newest_less_oldest(), "rows0.onnx": build_row_graph((Fillna(0.0),), WIDTH)}
    stages: list[Any] = [FILL, RANK, WINDOW, FINAL] if rank else [FILL, WINDOW, FINAL]
    bundle = write_bundle(directory / "bundle", stages, graphs, block_of(5, dates=8), 6)
    path = directory / "features.parquet"
    pq.write_table(table_of_block(block_of(9, dates=40)), path)
    return Case(bundle, path)
