"""Tables of a caller for mutations: files of features and of bars as programs write them, and tables in memory that lie."""

from __future__ import annotations

import datetime
import io
import random
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.tables.features import FeatureColumn
from fuzz_mutations import INTEGERS

FEATURES = [FeatureColumn("a", "float64"), FeatureColumn("b", "float32"), FeatureColumn("c", "float64")]
FIELDS = ("close", "volume")
FIRST_DAY = 19_000
DAYS, STOCKS = 6, 8
ROWS = DAYS * STOCKS
DAY = np.datetime64(FIRST_DAY + 4, "D")
_TIMES = [pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")]
_TEXTS = [pa.string(), pa.large_string()]


def columns(seed: int = 3) -> dict[str, Any]:
    """Plain columns of six days of eight stocks, by day."""
    numbers = np.random.default_rng(seed).normal(size=(ROWS, 5))
    days = np.repeat(np.arange(FIRST_DAY, FIRST_DAY + DAYS, dtype=np.int32), STOCKS)
    return {
        "datetime": pa.array(days, pa.int32()).cast(pa.date32()),
        "instrument": pa.array([f"SH6{stock:05d}" for stock in range(STOCKS)] * DAYS),
        "a": pa.array(
            [None if row % 7 == 0 else float(value) for row, value in enumerate(numbers[:, 0])], pa.float64()
        ),
        "b": pa.array(numbers[:, 1].astype(np.float32)),
        "c": pa.array((numbers[:, 2] * 100).astype(np.int64)),
        "close": pa.array(np.abs(numbers[:, 3]) + 1),
        "volume": pa.array(np.round(np.abs(numbers[:, 4]) * 1e6)),
        "more": pa.array([[1, 2], None, []] * (ROWS // 3)),
    }


def _as(table: dict[str, Any], dates: Any, texts: Any) -> Any:
    return pa.table({**table, "datetime": table["datetime"].cast(dates), "instrument": table["instrument"].cast(texts)})


@cache
def files() -> tuple[bytes, ...]:
    """One table as pandas, polars, Spark and this project write it: types, codecs, encodings, pages, groups of rows."""
    plain = columns()
    frame = _as(plain, pa.timestamp("ns"), pa.string()).to_pandas().set_index(["datetime", "instrument"])
    options: list[tuple[Any, dict[str, Any]]] = [
        (_as(plain, pa.date32(), pa.string()), {"compression": "zstd", "store_schema": False}),
        (_as(plain, pa.date32(), pa.string()), {"compression": "none", "row_group_size": STOCKS}),
        (_as(plain, pa.date32(), pa.string()), {"compression": "none", "use_dictionary": False, "row_group_size": 20}),
        (_as(plain, pa.timestamp("ns"), pa.large_string()), {"compression": "snappy", "data_page_version": "2.0"}),
        (_as(plain, pa.timestamp("ms"), pa.string()), {"compression": "lz4", "row_group_size": 3 * STOCKS}),
        (_as(plain, pa.timestamp("us"), pa.string()), {"compression": "gzip", "use_dictionary": ["instrument"]}),
        (
            _as(plain, pa.date64(), pa.dictionary(pa.int32(), pa.string())),
            {"compression": "brotli", "row_group_size": 24},
        ),
        (
            _as(plain, pa.date32(), pa.string()),
            {
                "compression": "none",
                "use_dictionary": ["instrument"],
                "column_encoding": {
                    "a": "BYTE_STREAM_SPLIT",
                    "c": "DELTA_BINARY_PACKED",
                    "datetime": "DELTA_BINARY_PACKED",
                },
                "data_page_size": 64,
                "write_batch_size": 8,
            },
        ),
    ]
    found = [_written(table, **option) for table, option in options]
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return (*found, sink.getvalue())


def _written(table: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def _loose(array: Any, memory: list[Any]) -> Any:
    """The same array over memory that can be written to, which is added to `memory`."""
    if pa.types.is_dictionary(array.type):
        indices, values = _loose(array.indices, memory), _loose(array.dictionary, memory)
        return pa.DictionaryArray.from_arrays(indices, values, safe=False)
    buffers: list[Any] = []
    for buffer in array.buffers():
        if buffer is None:
            buffers.append(None)
            continue
        room = np.frombuffer(buffer, np.uint8).copy()
        memory.append(room)
        buffers.append(pa.py_buffer(room))
    return pa.Array.from_buffers(array.type, len(array), buffers, array.null_count)


def _keys(chance: random.Random) -> dict[str, Any]:
    plain = columns()
    dates = chance.choice([pa.date32(), pa.date64(), *_TIMES])
    date = plain["datetime"].cast(dates)
    instrument = plain["instrument"].cast(chance.choice(_TEXTS))
    if hasattr(pa, "string_view") and chance.random() < 0.2:
        instrument = plain["instrument"].cast(pa.string_view())
    elif chance.random() < 0.5:
        instrument = instrument.dictionary_encode()
    return {"datetime": date.dictionary_encode() if chance.random() < 0.3 else date, "instrument": instrument}


def table(chance: random.Random) -> Any:
    """A table in memory of types by chance, of which some bytes are others than they were when it was made."""
    plain = columns()
    memory: list[Any] = []
    values = {name: plain[name] for name in ("a", "b", "c", *FIELDS)}
    if chance.random() < 0.3:
        values["a"] = values["a"].dictionary_encode()
    if chance.random() < 0.1:
        values["b"] = pa.nulls(ROWS)
    arrays = {name: _loose(array, memory) for name, array in {**_keys(chance), **values}.items()}
    start = chance.choice([0, 0, 3])
    made = pa.table({name: array.slice(start) for name, array in arrays.items()})
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        room = chance.choice([room for room in memory if len(room)])
        if chance.random() < 0.5:
            room[chance.randrange(len(room))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        else:
            width = chance.choice([4, 8])
            place = chance.randrange(0, max(1, len(room) - width + 1), width if len(room) >= width else 1)
            number = chance.choice([*INTEGERS, chance.randrange(1000)]) % (1 << 8 * width)
            data = np.frombuffer(number.to_bytes(width, "little"), np.uint8)[: len(room) - place]
            room[place : place + len(data)] = data
    kind = chance.randrange(4)
    if kind == 0:
        return made.combine_chunks().to_batches()[0]
    if kind == 1:
        return _Stream(made)
    return made.to_reader() if kind == 2 else made


class _Stream:
    """A table as any other library would hand it over."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__()


def day(chance: random.Random) -> Any:
    """A date to ask for: mostly one that is there."""
    return chance.choice([DAY, DAY, DAY, np.datetime64(FIRST_DAY, "D"), datetime.date(2024, 1, 2)])
