"""The parquet files of the vectors.

Their bytes depend on the version of pyarrow, so each is written once and kept in tests/vectors/tables; a file that is
there is taken as it is.  To renew one, delete it and run tools/make_vectors.py.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vector_cases import graphs

STORED = Path(__file__).resolve().parents[2] / "tests/vectors/tables"
FEATURES = (("CLOSE5", "float32"), ("VOL10", "float32"), ("REV_3D", "float64"), ("STD5", "float32"))
DAYS = (datetime.date(2024, 1, 2), datetime.date(2024, 1, 3))
STOCKS = ("SH600000", "SH600001", "SZ000001")
# Numbers that float32 holds exactly, so that the trees can be evaluated by hand.
_VALUES = (
    (0.25, 1.0, -0.5, 0.125),
    (0.75, 2.0, 0.5, -0.125),
    (-1.5, math.nan, 0.0, 0.0),
    (0.5, 1.5, -0.25, 0.0),
    (math.inf, -math.inf, 1.0, 3.0),
    (-0.0, 1.75, -3.0, math.nan),
)
_PROBES = ((math.nan,) * 4, (math.inf,) * 4, (-math.inf,) * 4, (0.0,) * 4)
_KEYS = [(day, stock) for day in DAYS for stock in STOCKS]
GOLDEN_ROWS = [
    *(("day", day, stock, *row, graphs.score(row)) for (day, stock), row in zip(_KEYS, _VALUES, strict=True)),
    *(("probe", None, None, *row, graphs.score(row)) for row in _PROBES),
]
_TYPES = {"float32": pa.float32(), "float64": pa.float64()}
NUMBERS = [pa.field(name, _TYPES[dtype]) for name, dtype in FEATURES]
GOLDEN = pa.schema(
    [("case", pa.string()), ("datetime", pa.date32()), ("instrument", pa.string()), *NUMBERS, ("score", pa.float64())]
)
TABLE = pa.schema([("datetime", pa.date32()), ("instrument", pa.string()), *NUMBERS])
TABLE_ROWS = [(*key, *row) for key, row in zip(_KEYS, _VALUES, strict=True)]

Rows = list[tuple[Any, ...]]


def of_rows(rows: Rows, schema: pa.Schema) -> pa.Table:
    """A table of rows of plain values."""
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [[] for _ in schema]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def written(table: pa.Table, **options: Any) -> bytes:
    """The file of a table, as the converter writes golden rows unless `options` say otherwise."""
    sink = pa.BufferOutputStream()
    defaults = {"compression": "zstd", "write_statistics": False, "store_schema": False}
    pq.write_table(table, sink, **(defaults | options))
    return bytes(sink.getvalue())


def stored(name: str, make: Callable[[], bytes]) -> bytes:
    """The bytes of tests/vectors/tables/<name>.parquet; made where they are not there."""
    path = STORED / f"{name}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make())
    return path.read_bytes()


@cache
def golden(name: str = "golden") -> bytes:
    """Golden rows: the right ones, or a variant of GOLDEN_VARIANTS."""
    return stored(name, lambda: written(of_rows(GOLDEN_ROWS, GOLDEN)) if name == "golden" else GOLDEN_VARIANTS[name]())


@cache
def features(name: str = "features") -> bytes:
    """A feature table: the right one, or a variant of FEATURE_VARIANTS."""
    return stored(name, lambda: written(table()) if name == "features" else FEATURE_VARIANTS[name]())


@cache
def factors(name: str = "factors") -> bytes:
    """A factor table of one column, or a variant of FACTOR_VARIANTS."""
    return stored(name, FACTOR_VARIANTS[name])


def table() -> pa.Table:
    return of_rows(TABLE_ROWS, TABLE)


NUMBER_TYPES: dict[str, pa.DataType] = {
    "double": pa.float64(),
    "float": pa.float32(),
    "half": pa.float16(),
    **{str(kind): kind for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())},
    **{str(kind): kind for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())},
}
NUMBER_COLUMNS: dict[str, tuple[str, list[Any], pa.DataType]] = {
    # variant: feature (CLOSE5 is float32, REV_3D float64), values, type
    **{
        f"{kind}_for_{dtype}": (feature, [1, None, 0, 3, 2, 1], of)
        for kind, of in NUMBER_TYPES.items()
        for feature, dtype in (("CLOSE5", "float32"), ("REV_3D", "float64"))
    },
    "int64_to_2_53": ("REV_3D", [2**53, None, 0, -(2**53), 2, 1], pa.int64()),
    "int64_beyond_2_53": ("REV_3D", [1, None, 0, 3, 2**53 + 1, 1], pa.int64()),
    "uint64_beyond_2_53": ("REV_3D", [1, None, 0, 3, 2**63, 1], pa.uint64()),
    "int64_beyond_2_53_for_float32": ("CLOSE5", [1, None, 0, 3, 2**53 + 1, 1], pa.int64()),
    "bool_for_float64": ("REV_3D", [True, None, False, True, True, False], pa.bool_()),
    "decimal_for_float64": (
        "REV_3D",
        [Decimal(1), None, Decimal(0), Decimal(3), Decimal(2), Decimal(1)],
        pa.decimal128(5, 2),
    ),
}
"""Columns of numbers by type: the cells of the specification's table."""


def _numbers(name: str) -> bytes:
    feature, values, kind = NUMBER_COLUMNS[name]
    return _column(feature, pa.array(values, kind))


# --- golden rows ------------------------------------------------------------------------------------------------------


def _golden_table() -> pa.Table:
    return of_rows(GOLDEN_ROWS, GOLDEN)


def _with_score(position: int, value: float) -> bytes:
    rows = list(GOLDEN_ROWS)
    rows[position] = (*rows[position][:-1], value)
    return written(of_rows(rows, GOLDEN))


def _near_tie() -> bytes:
    """Two stocks of the last day whose judged scores are near each other, in the other order than the graph's."""
    rows = list(GOLDEN_ROWS)
    rows[3], rows[5] = (*rows[3][:-1], 0.8984375), (*rows[5][:-1], 0.90234375)
    return written(of_rows(rows, GOLDEN))


def _swapped() -> bytes:
    """Two rows with each other's features."""
    rows = list(GOLDEN_ROWS)
    rows[0], rows[1] = (*rows[0][:3], *rows[1][3:7], rows[0][7]), (*rows[1][:3], *rows[0][3:7], rows[1][7])
    return written(of_rows(rows, GOLDEN))


def _retyped(name: str, kind: pa.DataType) -> bytes:
    found = _golden_table()
    place = found.column_names.index(name)
    return written(found.set_column(place, pa.field(name, kind), found[name].cast(kind)))


def _not_nullable() -> bytes:
    schema = pa.schema([field.with_nullable(field.name != "score") for field in GOLDEN])
    return written(of_rows(GOLDEN_ROWS, schema))


def _list_column() -> bytes:
    found = _golden_table()
    cases = pa.array([[text] for text in found["case"].to_pylist()], pa.list_(pa.string()))
    return written(found.set_column(0, "case", cases))


def _with_metadata() -> bytes:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, GOLDEN, store_schema=False) as writer:
        writer.write_table(_golden_table())
        writer.add_key_value_metadata({"pandas": "{}"})
    return bytes(sink.getvalue())


def _long_text(length: int) -> bytes:
    rows = [("x" * length, *row[1:]) for row in GOLDEN_ROWS]
    return written(of_rows(rows, GOLDEN))


def _far_date() -> bytes:
    days = [None if row[1] is None else 2_932_897 for row in GOLDEN_ROWS]
    table = _golden_table()
    return written(table.set_column(1, "datetime", pa.array(days, pa.int32()).view(pa.date32())))


def _damaged_header(data: bytes) -> bytes:
    """The first page header says a kind of page that there is not."""
    assert data[4:5] == b"\x15"
    return data[:5] + b"\x7e" + data[6:]


def _windows() -> bytes:
    rows = [
        ("context" if day == DAYS[0] else "day", day, stock, *row, None if day == DAYS[0] else row[0])
        for (day, stock), row in zip(_KEYS, _VALUES, strict=True)
    ]
    return written(of_rows(rows, GOLDEN))


GOLDEN_VARIANTS: dict[str, Callable[[], bytes]] = {
    "golden_whole_days": lambda: written(of_rows([row for row in GOLDEN_ROWS if row[0] == "day"], GOLDEN)),
    "golden_wrong_score": lambda: _with_score(3, 0.5),
    "golden_last_bit": lambda: _with_score(3, math.nextafter(GOLDEN_ROWS[3][-1], 9)),
    "golden_score_missing": lambda: _with_score(3, math.nan),
    "golden_score_infinite": lambda: _with_score(3, math.inf),
    "golden_near_tie": _near_tie,
    "golden_swapped": _swapped,
    "golden_one_more": lambda: written(of_rows([*GOLDEN_ROWS, GOLDEN_ROWS[-1]], GOLDEN)),
    "golden_empty": lambda: written(of_rows([], GOLDEN)),
    "golden_column_missing": lambda: written(_golden_table().drop_columns(["STD5"])),
    "golden_column_more": lambda: written(
        _golden_table().append_column("more", pa.nulls(len(GOLDEN_ROWS), pa.float64()))
    ),
    "golden_column_order": lambda: written(_golden_table().select([0, 1, 2, 4, 3, 5, 6, 7])),
    "golden_other_dtype": lambda: _retyped("CLOSE5", pa.float64()),
    "golden_timestamps": lambda: _retyped("datetime", pa.timestamp("ms")),
    "golden_binary": lambda: _retyped("instrument", pa.binary()),
    "golden_not_nullable": _not_nullable,
    "golden_list": _list_column,
    "golden_gzip": lambda: written(_golden_table(), compression="gzip"),
    "golden_brotli": lambda: written(_golden_table(), compression="brotli"),
    "golden_snappy": lambda: written(_golden_table(), compression="snappy"),
    "golden_metadata": _with_metadata,
    "golden_arrow_schema": lambda: written(_golden_table(), store_schema=True),
    "golden_extension": lambda: written(_extension_of(_golden_table(), "score"), store_schema=True),
    "golden_delta_strings": lambda: written(
        _golden_table(), use_dictionary=False, column_encoding={"case": "DELTA_BYTE_ARRAY"}
    ),
    "golden_date_far": _far_date,
    "golden_text_65": lambda: _long_text(65),
    "golden_text_bomb": lambda: _long_text(40_000_000),
    "golden_truncated": lambda: golden()[:-100],
    "golden_encrypted_end": lambda: golden()[:-4] + b"PARE",
    "golden_other_start": lambda: b"XXXX" + golden()[4:],
    "golden_footer_length": lambda: golden()[:-8] + (1 << 31).to_bytes(4, "little") + b"PAR1",
    "golden_page_header": lambda: _damaged_header(golden()),
    "golden_text": lambda: b"case,datetime,instrument,score\n" * 10,
    "golden_windows": _windows,
}


# --- factor tables ----------------------------------------------------------------------------------------------------


def _factor_table() -> pa.Table:
    return table().select(["datetime", "instrument", "REV_3D"])


FACTOR_VARIANTS: dict[str, Callable[[], bytes]] = {
    "factors": lambda: written(_factor_table(), write_statistics=["datetime", "instrument"]),
    "factors_row_missing": lambda: written(_factor_table().slice(1)),
    "factors_other_column": lambda: written(_factor_table().rename_columns(["datetime", "instrument", "REV_5D"])),
    "factors_text": lambda: b"datetime,instrument,REV_3D\n",
}


# --- feature tables of the trading side -------------------------------------------------------------------------------


class _Money(pa.ExtensionType):  # type: ignore[misc]
    """An extension type of nobody's."""

    def __init__(self) -> None:
        super().__init__(pa.float64(), "alphaseal.vectors.money")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""


def _extension_of(found: pa.Table, name: str) -> pa.Table:
    values = pa.ExtensionArray.from_storage(_Money(), found[name].combine_chunks().cast(pa.float64()))
    return found.set_column(found.column_names.index(name), name, values)


def _column(name: str, values: Any) -> bytes:
    """The table with one column exchanged."""
    found = table()
    return written(found.set_column(found.column_names.index(name), name, values))


def _midnights(unit: str = "ns", zone: str | None = None) -> Any:
    return table()["datetime"].cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone))


def _instruments(*texts: str | None) -> bytes:
    return _column("instrument", pa.array([*texts, *STOCKS, *STOCKS][: len(TABLE_ROWS)], pa.string()))


def _first(name: str, value: Any) -> bytes:
    found = table()
    values = [value, *found[name].to_pylist()[1:]]
    return _column(name, pa.array(values, found.schema.field(name).type))


def _many_rows() -> bytes:
    count = 3_000_000
    one = [(*_KEYS[-1], *_VALUES[0])]
    arrays = [pa.repeat(of_rows(one, TABLE)[name][0], count) for name in TABLE.names]
    return written(pa.Table.from_arrays(arrays, schema=TABLE))


def _flattened() -> pa.Table:
    return table().rename_columns(["datetime", "instrument", *(str(("feature", name)) for name, _ in FEATURES)])


def _in_other_places() -> bytes:
    found = table().append_column("note", pa.array(["x"] * len(TABLE_ROWS)))
    return written(found.select([6, 5, 1, 4, 3, 2, 0]).take(pa.array([5, 3, 1, 0, 2, 4])))


def _in_groups(said: Sequence[datetime.date], held: Sequence[datetime.date], stocks: Sequence[str]) -> bytes:
    """A file of one row in each group, whose footer says one day of it and whose pages hold another."""

    def of_days(days: Sequence[datetime.date]) -> tuple[bytes, Any]:
        rows = [(day, stock, *_VALUES[0]) for day, stock in zip(days, stocks, strict=True)]
        options = {"compression": "none", "use_dictionary": False, "write_statistics": ["datetime"]}
        data = written(of_rows(rows, TABLE), row_group_size=1, **options)
        return data, pq.read_metadata(pa.BufferReader(data))

    (lie, metadata), (truth, _) = of_days(said), of_days(held)
    mixed = bytearray(lie)
    for group in range(metadata.num_row_groups):
        column = metadata.row_group(group).column(0)
        place, end = column.data_page_offset, column.data_page_offset + column.total_compressed_size
        mixed[place:end] = truth[place:end]
    return bytes(mixed)


def _replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    """The one place of `old` exchanged."""
    assert data.count(old) == 1
    return data.replace(old, new)


def _unpacked() -> bytes:
    return written(table(), compression="none", use_dictionary=False)


_NO_DAY = datetime.date(2024, 5, 2)
_FOOTER_OF_CLOSE5 = b"\x19\x18\x06CLOSE5"
"""The path of the column in its chunk; its codec follows, and before it is its type."""

FEATURE_VARIANTS: dict[str, Callable[[], bytes]] = {
    # Statistics that lie: the day's second row is hidden, and repeats the first; or the day is nowhere.
    "features_statistics_hide_a_row": lambda: _in_groups(
        [DAYS[1], _NO_DAY], [DAYS[1], DAYS[1]], [STOCKS[0], STOCKS[0]]
    ),
    "features_statistics_promise_a_day": lambda: _in_groups([DAYS[1]] * 2, [_NO_DAY] * 2, STOCKS[:2]),
    "features_codec_unknown": lambda: _replaced(
        _unpacked(), _FOOTER_OF_CLOSE5 + b"\x15\x00", _FOOTER_OF_CLOSE5 + b"\x15\x48"
    ),
    "features_type_of_a_chunk": lambda: _replaced(
        _unpacked(), b"\x15\x08\x19\x25\x06\x00" + _FOOTER_OF_CLOSE5, b"\x15\x0a\x19\x25\x06\x00" + _FOOTER_OF_CLOSE5
    ),
    "features_chunk_of_another": lambda: _replaced(_unpacked(), _FOOTER_OF_CLOSE5, b"\x19\x18\x06REV_3D"),
    "features_name_not_utf8": lambda: written(table().append_column("note", pa.array(["x"] * len(TABLE_ROWS)))).replace(
        b"note", b"no\xffe"
    ),
    "features_instrument_not_utf8": lambda: _replaced(
        written(table().slice(3), compression="none", use_dictionary=False), b"SH600001", b"SH\xff00001"
    ),
    "features_reordered": _in_other_places,
    "features_flattened": lambda: written(_flattened(), store_schema=True),
    "features_nanoseconds": lambda: _column("datetime", _midnights()),
    "features_dictionary": lambda: written(
        table().set_column(1, "instrument", table()["instrument"].dictionary_encode()), store_schema=True
    ),
    "features_double": lambda: _column("CLOSE5", table()["CLOSE5"].cast(pa.float64())),
    "features_ts": lambda: _instruments(*[f"{stock[2:]}.{stock[:2]}" for _ in DAYS for stock in STOCKS]),
    "features_no_datetime": lambda: written(table().drop_columns(["datetime"])),
    "features_no_instrument": lambda: written(table().drop_columns(["instrument"])),
    "features_column_missing": lambda: written(table().drop_columns(["STD5"])),
    "features_column_lower_case": lambda: written(table().rename_columns([*TABLE.names[:-1], "std5"])),
    "features_column_twice": lambda: written(table().append_column("STD5", table()["STD5"])),
    "features_column_both_forms": lambda: written(table().append_column("('feature', 'STD5')", table()["STD5"])),
    "features_row_twice": lambda: written(of_rows([*TABLE_ROWS, TABLE_ROWS[-1]], TABLE)),
    "features_time_of_day": lambda: _column(
        "datetime", pa.array([datetime.datetime(2024, 1, 3, 9, 30)] * len(TABLE_ROWS), pa.timestamp("ms"))
    ),
    "features_time_zone": lambda: _column("datetime", _midnights("ms", "Asia/Shanghai")),
    "features_date_text": lambda: _column("datetime", pa.array([str(day) for day, _ in _KEYS])),
    "features_date_number": lambda: _column("datetime", pa.array([20240103] * len(TABLE_ROWS), pa.int64())),
    "features_date_far": lambda: _column(
        "datetime", pa.array([3_000_000] * len(TABLE_ROWS), pa.int32()).cast(pa.date32())
    ),
    "features_null_date": lambda: _first("datetime", None),
    "features_null_instrument": lambda: _instruments(*STOCKS, None),
    "features_instrument_number": lambda: _column("instrument", pa.array(range(len(TABLE_ROWS)), pa.int64())),
    "features_instrument_binary": lambda: _column("instrument", table()["instrument"].cast(pa.binary())),
    "features_instrument_lower_case": lambda: _instruments("sh600000", *STOCKS[1:], "sh600000"),
    "features_instrument_space": lambda: _instruments("SH600000 ", *STOCKS[1:], "SH600000 "),
    "features_instrument_line_end": lambda: _instruments("SH600000\n", *STOCKS[1:], "SH600000\n"),
    "features_instrument_long": lambda: _instruments("S" * 65),
    "features_instrument_bomb": lambda: _instruments("S" * 40_000_000),
    **{f"features_{name}": partial(_numbers, name) for name in NUMBER_COLUMNS},
    "features_not_numeric_text": lambda: _column("CLOSE5", table()["CLOSE5"].cast(pa.string())),
    "features_not_numeric_bool": lambda: _column("CLOSE5", pa.array([True] * len(TABLE_ROWS))),
    "features_not_numeric_decimal": lambda: _column("CLOSE5", pa.array([Decimal("1.5")] * len(TABLE_ROWS))),
    "features_not_numeric_list": lambda: _column("CLOSE5", pa.array([[1.5]] * len(TABLE_ROWS))),
    "features_extension": lambda: written(_extension_of(table(), "REV_3D"), store_schema=True),
    "features_text": lambda: b"datetime,instrument\n2024-01-03,SH600000\n",
    "features_truncated": lambda: features()[:-100],
    "features_page_header": lambda: _damaged_header(features()),
    "features_many_rows": _many_rows,
}
