"""The data gate: parquet files of a bundle, and feature files of a caller, become as large as they may and no larger."""

from __future__ import annotations

import datetime
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphaseal.errors import AlphasealError, InputError, PolicyError
from alphaseal.format.manifest import FactorTable
from alphaseal.gate.data import check_factors, read_exact
from alphaseal.scoring.golden import golden_schema
from alphaseal.tables.feature_files import iter_parquet, read_parquet
from alphaseal.tables.features import FeatureColumn
from alphaseal.tables.request import Limits
from locations import REPOSITORY
from peak_memory import PEAK, needs_peak
from raising import refusal

FEATURES = [FeatureColumn("a", "float64"), FeatureColumn("b", "float32")]
SCHEMA = golden_schema(FEATURES)
DAY = datetime.date(2024, 9, 2)
PEAK_GROWTH = 200 << 20


def golden(rows: int = 4, **columns: Any) -> pa.Table:
    """Golden rows of the schema above."""
    values: dict[str, Any] = {
        "case": ["day"] * rows,
        "datetime": [DAY] * rows,
        "instrument": [f"SH{600000 + number}" for number in range(rows)],
        "a": np.arange(rows, dtype=np.float64),
        "b": np.arange(rows, dtype=np.float32),
        "score": np.zeros(rows),
    }
    fields = {field.name: field for field in SCHEMA}
    values |= columns
    return pa.table(
        {
            name: pa.array(column, None if isinstance(column, pa.Array) else fields[name].type)
            for name, column in values.items()
        }
    )


def written(table: pa.Table, **options: Any) -> bytes:
    """The bytes of a parquet file as the converter writes one."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **({"compression": "zstd", "store_schema": False} | options))
    return buffer.getvalue()


def code_of(data: bytes, rows: int = 4) -> str:
    """The code that the gate refuses the file with."""
    return refusal(PolicyError, read_exact, data, SCHEMA, rows, "golden.parquet").code


# --- files of a bundle --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "snappy"},
        {"compression": "none"},
        {"use_dictionary": False},
        {"row_group_size": 2},
        {"data_page_version": "2.0"},
    ],
)
def test_golden_rows_come_back_as_written(options: dict[str, Any]) -> None:
    """Whatever the allowed ways of writing, the values are the same."""
    table = golden()
    assert read_exact(written(table, **options), SCHEMA, 4, "golden.parquet").equals(table)


def test_missing_values_come_back_as_missing() -> None:
    """Null keys and NaN are data."""
    table = golden(instrument=[None] * 4, datetime=[None] * 4, a=[np.nan, np.inf, 0.0, -0.0])
    found = read_exact(written(table), SCHEMA, 4, "golden.parquet")
    assert found["instrument"].null_count == 4
    assert np.isnan(found["a"].to_numpy()[0])


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (golden(5), 4),
        (golden(3), 4),
        (golden().drop_columns(["b"]), 4),
        (golden().append_column("c", pa.array([1.0] * 4)), 4),
        (golden().rename_columns(["case", "datetime", "instrument", "b", "a", "score"]), 4),
        (golden(a=pa.array([1, 2, 3, 4])), 4),
        (golden(a=pa.array(np.zeros(4, np.float32))), 4),
        (golden(case=pa.array([[1.0]] * 4)), 4),
        (golden(instrument=pa.array([b"x"] * 4)), 4),
    ],
)
def test_other_schemas_and_counts_are_refused(table: pa.Table, rows: int) -> None:
    """Columns, their order and types, and the number of rows are those of the manifest."""
    assert code_of(written(table), rows) == "data.schema"


def test_chunks_in_another_order_than_the_schema_are_refused() -> None:
    """A footer whose schema is right and whose row group names two columns in each other's place: Arrow goes by place."""
    data = written(golden())
    first, second = (b"\x19\x18\x01" + name for name in (b"a", b"b"))
    assert data.count(first) == data.count(second) == 1
    swapped = bytearray(data)
    for here, other in ((first, second), (second, first)):
        place = data.index(here)
        swapped[place : place + 4] = other
    assert code_of(bytes(swapped)) == "data.parquet"
    with pytest.raises(PolicyError, match="not in the order of its schema"):
        read_exact(bytes(swapped), SCHEMA, 4, "golden.parquet")


class _Tagged(pa.ExtensionType):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(pa.float64(), "test.tagged")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> _Tagged:
        raise AssertionError("an extension type was made from what a file says")


def test_extension_types_are_never_made() -> None:
    """Arrow makes a registered type that a file's Arrow schema names, switched off or not: such a file is not opened."""
    column = pa.ExtensionArray.from_storage(_Tagged(), pa.array(np.zeros(4)))
    data = written(golden(a=column), store_schema=True)
    pa.register_extension_type(_Tagged())
    try:
        assert code_of(data) == "data.metadata"
    finally:
        pa.unregister_extension_type("test.tagged")


@pytest.mark.parametrize("codec", ["gzip", "brotli", "lz4"])
def test_other_codecs_are_refused(codec: str) -> None:
    """Ours are zstd, snappy and none."""
    assert code_of(written(golden(), compression=codec)) == "data.parquet"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR1",
        b"PAR1" + b"\0" * 8 + b"PARE",
        b"PAR1" + b"\0" * 4 + b"\xff\xff\xff\x7fPAR1",
        b"PAR1" + b"\xff" * 40 + b"\x28\0\0\0PAR1",
        b"ARROW1" + b"\0" * 40,
        written(golden())[:-1],
        written(golden()).replace(b"PAR1", b"PARX"),
    ],
)
def test_what_is_no_parquet_file_is_refused(data: bytes) -> None:
    """Truncated, encrypted, with a footer that lies, or something else."""
    assert code_of(data) == "data.parquet"


def test_large_footers_are_refused_unread() -> None:
    """The length of the footer is looked at before the footer."""
    data = b"PAR1" + b"\0" * (17 << 20) + (17 << 20).to_bytes(4, "little") + b"PAR1"
    assert code_of(data) == "data.growth"


def test_metadata_is_refused() -> None:
    """Key-value metadata has no place in a bundle's files: writers with `store_schema=False` leave none."""
    assert code_of(written(golden().replace_schema_metadata({"k": "v"}), store_schema=True)) == "data.metadata"


def test_long_texts_are_refused() -> None:
    """Names of cases and instruments are short."""
    assert code_of(written(golden(instrument=["x" * 65] * 4))) == "data.growth"


@pytest.mark.parametrize("use_dictionary", [True, False])
def test_texts_that_swell_are_refused(use_dictionary: bool) -> None:
    """Megabytes of one letter, packed to nothing, repeated for every row."""
    table = golden(instrument=["x" * 2_000_000] * 4)
    assert code_of(written(table, use_dictionary=use_dictionary)) == "data.growth"


def test_encodings_that_copy_are_refused() -> None:
    """Texts that borrow from the text before them have no bound in the page."""
    data = written(golden(), use_dictionary=False, column_encoding={"instrument": "DELTA_BYTE_ARRAY"})
    assert code_of(data) == "data.parquet"


def test_damaged_pages_are_refused() -> None:
    """Any changed byte is refused or changes a value: nothing else leaves the gate."""
    data = written(golden())
    codes = {
        _code_or_none(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]) for place in range(4, len(data))
    }
    assert codes <= {None, "data.parquet", "data.metadata", "data.schema", "data.growth", "data.date_range"}


def _code_or_none(data: bytes) -> str | None:
    try:
        read_exact(data, SCHEMA, 4, "golden.parquet")
    except PolicyError as error:
        return error.code
    return None


def _factors(tmp_path: Path, **options: Any) -> tuple[Path, FactorTable]:
    table = pa.table(
        {
            "datetime": pa.array([DAY] * 3),
            "instrument": ["A", "B", "C"],
            "f": pa.array(np.zeros(3, np.float32)),
            "g": np.zeros(3),
        }
    )
    path = tmp_path / "factors.parquet"
    path.write_bytes(written(table, **options))
    return path, FactorTable(
        file="factors.parquet",
        columns=["f", "g"],
        rows=3,
        dates=1,
        instruments=3,
        first="2024-09-02",
        last="2024-09-02",
    )


def test_factor_tables_are_checked_without_decoding(tmp_path: Path) -> None:
    """Columns and rows are the manifest's; numbers are float32 or float64, as the run had them."""
    path, said = _factors(tmp_path)
    with path.open("rb") as file:
        check_factors(file, said)
    for changed in ({"rows": 4}, {"columns": ["g", "f"]}, {"columns": ["f"]}, {"columns": ["f", "g", "h"]}):
        fields = {name: getattr(said, name) for name in said.__struct_fields__} | changed
        with pytest.raises(PolicyError) as caught, path.open("rb") as file:
            check_factors(file, FactorTable(**fields))
        assert caught.value.code == "data.schema"


# --- bombs ----------------------------------------------------------------------------------------------------------------


def _constant_rows(count: int) -> pa.Table:
    """Rows of one date, one stock and one value, the whole of it a dictionary and a run of indices."""
    zeros = pa.array(np.zeros(count, np.int8))

    def repeated(value: Any, kind: pa.DataType) -> pa.Array:
        return pa.DictionaryArray.from_arrays(zeros, pa.array([value], kind))

    return pa.table(
        {
            "datetime": repeated(DAY, pa.date32()),
            "instrument": repeated("SH600000", pa.string()),
            "a": repeated(1.5, pa.float64()),
            "b": repeated(0.5, pa.float64()),
        }
    )


def _many_rows(path: Path) -> None:
    """A kilobyte or so that becomes more than a gigabyte of Arrow data: 463 bytes and 1.0 GB where it was found."""
    count = 40_000_000
    pq.write_table(
        _constant_rows(count),
        path,
        compression="zstd",
        row_group_size=count,
        store_schema=False,
        write_statistics=False,
        data_page_size=1 << 30,
    )


def _many_row_groups(path: Path) -> None:
    """The same in row groups of a million rows, as a writer without malice makes them."""
    pq.write_table(_constant_rows(40_000_000), path, compression="zstd", store_schema=False)


def _large_page(path: Path) -> None:
    """One page of zeros that unpacks to 400 MB at once."""
    rows = 50_000_000
    table = pa.table(
        {
            "datetime": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([DAY], pa.date32())),
            "a": np.zeros(rows),
        }
    )
    table = table.append_column(
        "instrument", pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["SH600000"]))
    ).append_column("b", table["a"])
    pq.write_table(
        table,
        path,
        compression="zstd",
        use_dictionary=["datetime", "instrument"],
        row_group_size=rows,
        data_page_size=1 << 30,
        store_schema=False,
        write_batch_size=rows,
    )


def _long_instrument(path: Path) -> None:
    """An instrument code of 600 MB that is one zstd run."""
    table = pa.table(
        {
            "datetime": pa.array([DAY] * 2),
            "instrument": pa.array(["x" * 600_000_000] * 2, pa.string()),
            "a": [0.0] * 2,
            "b": [0.0] * 2,
        }
    )
    pq.write_table(table, path, compression="zstd", store_schema=False, write_statistics=False)


# Reads the file in each way and prints how the peak of the process grew, in bytes, with the code of the refusal.
_READER = f"""{PEAK}
import sys
sys.path[:0] = sys.argv[2:]
import alphaseal.bundle, pyarrow.parquet
from alphaseal.errors import AlphasealError
from alphaseal.tables.feature_files import iter_parquet, read_parquet
from alphaseal.tables.features import FeatureColumn
features = [FeatureColumn("a", "float64"), FeatureColumn("b", "float32")]
before = peak()
for read in (lambda: read_parquet(sys.argv[1], features, date="2024-09-02"), lambda: list(iter_parquet(sys.argv[1], features))):
    try:
        read()
        print("accepted")
    except AlphasealError as error:
        print(error.code)
print(peak() - before)
"""


@needs_peak
@pytest.mark.parametrize("bomb", [_many_rows, _many_row_groups, _large_page, _long_instrument])
@pytest.mark.slow
def test_feature_files_that_swell_are_refused(bomb: Callable[[Path], None], tmp_path: Path) -> None:
    """Without any option, within 200 MB beyond what the libraries themselves take, and quickly."""
    path = tmp_path / "features.parquet"
    bomb(path)
    sources = [str(REPOSITORY / "runtime" / "src")]
    done = subprocess.run(
        [sys.executable, "-c", _READER, str(path), *sources], capture_output=True, text=True, timeout=60, check=True
    )
    *codes, growth = done.stdout.split()
    assert codes == ["features.too_large"] * 2
    assert int(growth) < PEAK_GROWTH
    assert os.path.getsize(path) < 1 << 20


def _honest(path: Path, rows: int = 5000) -> None:
    generator = np.random.default_rng(0)
    names = [f"SH{600000 + number}" for number in range(rows)]
    pq.write_table(
        pa.table(
            {
                "datetime": [DAY] * rows,
                "instrument": names,
                "a": generator.normal(size=rows),
                "b": generator.normal(size=rows),
            }
        ),
        path,
    )


def test_options_bound_what_is_read(tmp_path: Path) -> None:
    """Limits of rows and bytes refuse more than they say, and nothing else."""
    path = tmp_path / "features.parquet"
    _honest(path)
    reads: list[Callable[..., Any]] = [
        lambda limits: read_parquet(path, FEATURES, limits=limits),
        lambda limits: list(iter_parquet(path, FEATURES, limits=limits)),
    ]
    for read in reads:
        read(Limits(5000, 1 << 20))
        for limits in (Limits(rows=4999), Limits(bytes=100_000)):
            with pytest.raises(InputError) as caught:
                read(limits)
            assert caught.value.code == "features.too_large"


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "brotli", "lz4", "zstd"])
def test_feature_files_of_any_usual_codec_are_read(codec: str, tmp_path: Path) -> None:
    """A caller's file is written by whatever program he has."""
    path = tmp_path / "features.parquet"
    _honest(path)
    pq.write_table(pq.read_table(path), path, compression=codec)
    assert len(read_parquet(path, FEATURES)) == 5000


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("encoding", ["DELTA_BINARY_PACKED", "PLAIN", "RLE_DICTIONARY", "BYTE_STREAM_SPLIT"])
def test_feature_files_of_usual_encodings_are_read(version: str, encoding: str, tmp_path: Path) -> None:
    """Numbers in every encoding whose size is in the page; many pages per column."""
    path = tmp_path / "features.parquet"
    _honest(path)
    table = pq.read_table(path)
    if encoding == "DELTA_BINARY_PACKED":
        table = table.set_column(2, "a", pa.array(np.arange(5000)))
    options: dict[str, Any] = (
        {"use_dictionary": True}
        if encoding == "RLE_DICTIONARY"
        else {"use_dictionary": False, "column_encoding": {"a": encoding}}
    )
    pq.write_table(table, path, data_page_version=version, data_page_size=4096, **options)
    assert len(read_parquet(path, FEATURES)) == 5000


def test_encrypted_feature_files_are_refused(tmp_path: Path) -> None:
    """A file with an encrypted footer says so."""
    path = tmp_path / "features.parquet"
    _honest(path)
    path.write_bytes(path.read_bytes()[:-4] + b"PARE")
    with pytest.raises(AlphasealError) as caught:
        read_parquet(path, FEATURES)
    assert caught.value.code == "features.not_parquet"
    assert "encrypted" in str(caught.value)
