"""combined_factors_df.parquet, rewritten as a stream."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alphaseal.errors import NotReadableError
from alphaseal.tables.feature_files import read_parquet
from alphaseal.tables.features import FeatureColumn
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.table import column_names, column_statistics, rewrite_factors
from locations import FIXTURES
from peak_memory import PEAK, needs_peak

SMALL_MEMORY = 1 << 17
"""So little that unsorted files of more than 1600 rows go through spill files."""


def factors(days: int = 45, instruments: int = 7, seed: int = 1) -> pd.DataFrame:
    """As RD-Agent leaves them: index of date and instrument, columns ('feature', NAME), mixed dtypes, holes."""
    generator = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product(
        [pd.bdate_range("2023-01-02", periods=days), [f"SH{600000 + number}" for number in range(instruments)]],
        names=["datetime", "instrument"],
    )
    data = pd.DataFrame(
        {
            "Z_LAST": generator.standard_normal(len(index)),
            "it's": generator.standard_normal(len(index)).astype(np.float32),
            "A_FIRST": np.where(generator.random(len(index)) < 0.1, np.nan, np.inf),
        },
        index=index,
    )
    return data.set_axis(pd.MultiIndex.from_product([["feature"], data.columns]), axis=1)


def written(path: Path, data: pd.DataFrame | pa.Table, **options: Any) -> Path:
    if isinstance(data, pd.DataFrame):
        data.to_parquet(path, engine="pyarrow", **options)
    else:
        pq.write_table(data, path, **options)
    return path


def plain_table(**columns: Any) -> pa.Table:
    day = datetime.date(2024, 1, 2)
    return pa.table({"('feature', 'A')": [1.0, 2.0], "datetime": [day, day], "instrument": ["a", "b"]} | columns)


def test_layout_of_the_output(tmp_path: Path) -> None:
    """Keys first, plain names in the input's order and dtype, row groups of whole days, statistics of keys, no pandas."""
    data = factors()
    out = tmp_path / "factors.parquet"
    table = rewrite_factors(written(tmp_path / "in.parquet", data), out)
    assert table.columns == (("Z_LAST", "float64"), ("it's", "float32"), ("A_FIRST", "float64"))
    assert (table.rows, table.dates, table.instruments, table.row_groups) == (45 * 7, 45, 7, 3)
    assert (table.first, table.last) == (datetime.date(2023, 1, 2), datetime.date(2023, 3, 3))
    file = pq.ParquetFile(out)
    assert file.schema_arrow.names == ["datetime", "instrument", "Z_LAST", "it's", "A_FIRST"]
    assert file.schema_arrow.types == [pa.date32(), pa.string(), pa.float64(), pa.float32(), pa.float64()]
    assert file.schema_arrow.metadata is None
    assert file.metadata.metadata is None
    assert [file.metadata.row_group(group).num_rows for group in range(3)] == [140, 140, 35]
    group = file.metadata.row_group(1)
    assert [group.column(index).is_stats_set for index in range(5)] == [True, True, False, False, False]
    assert {group.column(index).compression for index in range(5)} == {"ZSTD"}
    assert not any("DICTIONARY" in encoding for index in (2, 3, 4) for encoding in group.column(index).encodings)
    read = pd.read_parquet(out).set_index(["datetime", "instrument"])
    np.testing.assert_array_equal(read.to_numpy(), data.to_numpy())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["factors.parquet", "in.parquet"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    order=st.sampled_from(["shuffled", "instrument", "backwards", "nearly"]),
    group=st.sampled_from([50, 1000, 5000]),
    days=st.sampled_from([1, 7, 20]),
)
def test_order_of_the_input_does_not_matter(tmp_path: Path, seed: int, order: str, group: int, days: int) -> None:
    """Any order of rows and size of row groups gives, byte for byte, what the sorted file gives."""
    data = factors(days=300, instruments=6, seed=seed)
    rows = {
        "shuffled": np.random.default_rng(seed).permutation(len(data)),
        "instrument": np.arange(len(data)).reshape(-1, 6).T.ravel(),
        "backwards": np.arange(len(data))[::-1],
        "nearly": np.argsort(np.arange(len(data)) + np.random.default_rng(seed).integers(0, 20, len(data))),
    }[order]
    wanted, got = tmp_path / "wanted.parquet", tmp_path / "got.parquet"
    sorted_table = rewrite_factors(written(tmp_path / "sorted.parquet", data), wanted, target_row_group_days=days)
    source = written(tmp_path / "other.parquet", data.iloc[rows], row_group_size=group)
    assert rewrite_factors(source, got, target_row_group_days=days, memory_bytes=SMALL_MEMORY) == sorted_table
    assert got.read_bytes() == wanted.read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".factors-")]


def test_an_instrument_major_file_is_spilled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of unsorted input go through spill files, and the sorted one does not."""
    from alphaseal_converter.factors import table as module

    spills: list[str] = []
    real = module._spill
    monkeypatch.setattr(module, "_spill", lambda *arguments: (spills.append("spill"), real(*arguments)))
    data = factors(days=300)
    rewrite_factors(written(tmp_path / "a.parquet", data), tmp_path / "x", memory_bytes=SMALL_MEMORY)
    assert spills == []
    rows = np.arange(len(data)).reshape(-1, 7).T.ravel()
    rewrite_factors(written(tmp_path / "b.parquet", data.iloc[rows]), tmp_path / "y", memory_bytes=SMALL_MEMORY)
    assert spills == ["spill"]


def test_many_rows_a_day_make_smaller_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row group keeps below its size in whole days; a single day is never cut."""
    monkeypatch.setattr("alphaseal_converter.factors.table._MAXIMUM_ROW_GROUP_BYTES", 40 * 15)
    out = tmp_path / "out.parquet"
    rewrite_factors(written(tmp_path / "in.parquet", factors(days=5)), out)
    metadata = pq.read_metadata(out)
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [14, 14, 7]


def duplicated(data: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([data, data.iloc[[3]]])


def cyclic(data: pd.DataFrame) -> pd.DataFrame:
    """Twice the same rows, far apart."""
    return pd.concat([data, data])


REFUSED: dict[str, tuple[str, Callable[[], pd.DataFrame | pa.Table]]] = {
    "same row": ("factors.duplicate_row", lambda: duplicated(factors())),
    "same rows far apart": ("factors.duplicate_row", lambda: cyclic(factors(days=300))),
    "same column": ("factors.duplicate_column", lambda: plain_table(A=[1.0, 2.0])),
    "label": ("factors.column_group", lambda: plain_table(**{"('label', 'LABEL0')": [1.0, 2.0]})),
    "bool": ("factors.not_numeric", lambda: plain_table(B=[True, False])),
    "text": ("factors.not_numeric", lambda: plain_table(B=["x", "y"])),
    "big integer": ("factors.not_numeric", lambda: plain_table(B=[2**53 + 1, 0])),
    "half": ("factors.precision", lambda: plain_table(B=pa.array([0.5, None], pa.float16()))),
    "extension": (
        "factors.column_type",
        lambda: plain_table().append_column(
            pa.field("B", pa.float64(), metadata={"ARROW:extension:name": "x"}), pa.array([1.0, 2.0])
        ),
    ),
    "no keys": ("factors.no_key_columns", lambda: plain_table().drop_columns("datetime")),
    "no factors": ("factors.no_columns", lambda: plain_table().select(["datetime", "instrument"])),
    "no rows": ("factors.empty", lambda: factors().iloc[:0]),
    "null key": ("factors.null_key", lambda: plain_table(instrument=["a", None])),
    "time of day": ("factors.time_of_day", lambda: plain_table(datetime=[datetime.datetime(2024, 1, 2, 9)] * 2)),
    "time zone": (
        "factors.time_zone",
        lambda: plain_table(datetime=pa.array([0, 0], pa.timestamp("us", "Asia/Shanghai"))),
    ),
    "text dates": ("factors.date_type", lambda: plain_table(datetime=["2024-01-02"] * 2)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_leave_nothing_behind(tmp_path: Path, case: str) -> None:
    """Each broken input is a refusal with the code of its rule and the file's name, and neither output nor spill stays."""
    code, make = REFUSED[case]
    source = written(tmp_path / "in.parquet", make())
    with pytest.raises(RefusalError) as raised:
        rewrite_factors(source, tmp_path / "out.parquet", memory_bytes=SMALL_MEMORY)
    assert raised.value.code == code
    assert raised.value.exit == 20
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_damaged_and_absent_files(tmp_path: Path) -> None:
    """Pages that do not decode are a refusal after which nothing stays; a file that is not there cannot be read."""
    source = written(tmp_path / "in.parquet", factors(days=200), compression="zstd", row_group_size=100)
    data = bytearray(source.read_bytes())
    middle = pq.read_metadata(source).row_group(9).column(0).dictionary_page_offset
    data[middle : middle + 400] = bytes(400)
    source.write_bytes(data)
    with pytest.raises(RefusalError) as raised:
        rewrite_factors(source, tmp_path / "out.parquet")
    assert raised.value.code == "factors.not_parquet"
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]
    with pytest.raises(NotReadableError):
        rewrite_factors(tmp_path / "absent.parquet", tmp_path / "out.parquet")


def test_integers_become_floats(tmp_path: Path) -> None:
    """Integers are widened exactly; nulls stay null, NaN stays NaN."""
    table = plain_table(I=pa.array([3, None], pa.int32()), N=[float("nan"), 1.0])
    out = tmp_path / "out.parquet"
    rewrite_factors(written(tmp_path / "in.parquet", table), out)
    read = pq.read_table(out)
    assert read["I"].type == pa.float64()
    assert read["I"].to_pylist() == [3.0, None]
    assert read["N"].null_count == 0


def test_column_names_come_from_the_schema(tmp_path: Path) -> None:
    """Names are plain and in the file's order, with their dtype; another group is refused."""
    source = written(tmp_path / "in.parquet", factors())
    assert column_names(source) == [("Z_LAST", "float64"), ("it's", "float32"), ("A_FIRST", "float64")]
    with pytest.raises(RefusalError) as raised:
        column_names(written(tmp_path / "label.parquet", plain_table(**{"('label', 'X')": [1.0, 2.0]})))
    assert raised.value.code == "factors.column_group"


def test_statistics_are_those_of_numpy() -> None:
    """Ratios count rows, quantiles are numpy's of the finite values; zeros, and repeats within a day, have their shares."""
    values = np.array([0.0, 1.5, np.nan, 1.5, np.inf, 1.5, -2.0, 0.0, 3.0, 4.0])
    days = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    found = column_statistics(values, days)
    finite = values[np.isfinite(values)]
    assert (found.rows, found.null_ratio, found.infinite_ratio) == (10, 0.1, 0.1)
    assert found.quantiles["0.25"] == np.quantile(finite, 0.25)
    assert (found.quantiles["min"], found.quantiles["max"]) == (-2.0, 4.0)
    assert list(found.quantiles) == ["min", "0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99", "max"]
    assert found.zero_ratio == 2 / 8
    # On the first day one of three values repeats another; that 1.5 comes again on the second day says nothing.
    assert found.common_ratio == 1 / 3


def test_statistics_of_no_numbers() -> None:
    """A column without a finite value has no quantiles."""
    found = column_statistics(np.array([np.nan, np.inf, np.nan, np.nan]), np.zeros(4, np.int64))
    assert (found.rows, found.null_ratio, found.infinite_ratio) == (4, 0.75, 0.25)
    assert (found.quantiles, found.zero_ratio, found.common_ratio) == ({}, 0.0, 0.0)


REWRITE = f"""{PEAK}
import sys
from pathlib import Path
from alphaseal_converter.factors.table import rewrite_factors
rewrite_factors(Path(sys.argv[1]), Path(sys.argv[2]), memory_bytes=32 << 20)
print(peak())
"""


@needs_peak
@pytest.mark.parametrize("order", ["date", "instrument"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, order: str) -> None:
    """A file four times as long, sorted or not, takes about the same memory."""
    peaks = []
    for days in (250, 1000):
        rows = days * 1000
        dates = np.arange(days).astype("datetime64[D]")
        codes = np.array([f"SH{600000 + number}" for number in range(1000)])
        columns = {
            "datetime": np.repeat(dates, 1000) if order == "date" else np.tile(dates, 1000),
            "instrument": np.tile(codes, days) if order == "date" else np.repeat(codes, days),
        }
        generator = np.random.default_rng(0)
        columns |= {f"F{number}": generator.standard_normal(rows) for number in range(16)}
        source = written(tmp_path / f"{days}.parquet", pa.table(columns), row_group_size=1 << 20)
        command = [sys.executable, "-c", REWRITE, str(source), str(tmp_path / "out.parquet")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] < peaks[0] * 1.3


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the full set of fixtures is not here")
def test_real_files_keep_every_value(tmp_path: Path) -> None:
    """Each real combined_factors_df.parquet reads the same after the rewriting as before, bit for bit."""
    files = sorted(FIXTURES.glob("**/combined_factors_df.parquet"))
    assert len(files) > 10
    for path in files:
        out = tmp_path / "out.parquet"
        table = rewrite_factors(path, out)
        features = [FeatureColumn(name, dtype) for name, dtype in table.columns]
        assert list(table.columns) == column_names(path)
        before, after = read_parquet(path, features), read_parquet(out, features)
        np.testing.assert_array_equal(before.values, after.values)
        assert before.instruments.equals(after.instruments)
