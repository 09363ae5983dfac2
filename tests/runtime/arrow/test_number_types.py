"""Every cell of the specification's table of number types, over parquet and in memory, for features and for bars."""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alpha_bundles import DAYS, FIELDS, WINDOW, frame
from alphaseal.arrow.number_types import reading
from alphaseal.bars.calendar import read_bars
from alphaseal.errors import InputError
from alphaseal.tables.feature_files import iter_parquet, read_parquet
from alphaseal.tables.features import FeatureBlock, FeatureColumn, read_table
from arrow_types import STRING_VIEWS, handed_over, numbers
from locations import REPOSITORY
from manifests import example_manifest

SPECIFICATION = (REPOSITORY / "spec/bundle-v1.md").read_text(encoding="utf-8")
DAY = datetime.date(2024, 1, 2)
NUMBERS = [3.0, None, 1.0, 2.0]
DTYPES = ("float32", "float64")
PRECISE = 0.1
"""No float holds it exactly: a narrower type gives another value."""

# Arrow types -> values; what stands for "any other" of the specification's table.
NAMED: dict[str, pa.DataType] = {
    "double": pa.float64(),
    "float": pa.float32(),
    "halffloat": pa.float16(),
    "null": pa.null(),
    **{str(kind): kind for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())},
    **{str(kind): kind for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())},
}
OTHERS: dict[str, Callable[[], pa.Array]] = {
    "bool": lambda: pa.array([True, None, False, True]),
    "decimal128": lambda: pa.array([3, None, 1, 2], pa.decimal128(5, 2)),
    "decimal256": lambda: pa.array([3, None, 1, 2], pa.decimal256(50, 2)),
    "string": lambda: pa.array(["3", None, "1", "2"]),
    "large_string": lambda: pa.array(["3", None, "1", "2"], pa.large_string()),
    "binary": lambda: pa.array([b"3", None, b"1", b"2"]),
    "fixed_binary": lambda: pa.array([b"33", None, b"11", b"22"], pa.binary(2)),
    "date32": lambda: pa.array([3, None, 1, 2], pa.int32()).cast(pa.date32()),
    "timestamp": lambda: pa.array([3, None, 1, 2], pa.timestamp("us")),
    "time64": lambda: pa.array([3, None, 1, 2], pa.time64("us")),
    "duration": lambda: pa.array([3, None, 1, 2], pa.duration("us")),
    "list": lambda: pa.array([[3.0], None, [1.0], [2.0]]),
    "struct": lambda: pa.array([{"a": 3.0}, None, {"a": 1.0}, {"a": 2.0}]),
    "run_end_encoded": lambda: pa.RunEndEncodedArray.from_arrays([2, 4], pa.array([3.0, 1.0])),
}
ONLY_IN_MEMORY = {"run_end_encoded"}


def said() -> dict[str, dict[str, str]]:
    """The table of the specification: Arrow type -> training dtype -> what it says."""
    section = SPECIFICATION.split("<!-- number types: begin -->")[1].split("<!-- number types: end -->")[0]
    found: dict[str, dict[str, str]] = {}
    for line in section.strip().splitlines()[2:]:
        kinds, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`([^`]+)`", kinds) or ["any other"]
        for name in names:
            found[name] = dict(zip(DTYPES, cells, strict=True))
    return found


SAID = said()
CELLS = [(name, dtype) for name in (*NAMED, *OTHERS) for dtype in DTYPES]


def column(name: str, plain: bool = False) -> pa.Array:
    """A column of four values, the second missing."""
    return OTHERS[name]() if name in OTHERS else numbers([None] * 4 if name == "null" else NUMBERS, NAMED[name])


def table(values: Any, name: str = "A") -> pa.Table:
    return pa.table({"datetime": [DAY] * len(values), "instrument": list("abcd")[: len(values)], name: values})


def stored(values: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(values, buffer)
    return buffer.getvalue()


def ways(values: pa.Table, feature: FeatureColumn) -> list[Callable[[], FeatureBlock]]:
    """Every way in which a table comes in."""
    return [
        lambda: read_table(values, [feature]),
        lambda: read_table(values.to_reader(max_chunksize=2), [feature]),
        lambda: read_parquet(stored(values), [feature]),
        lambda: next(iter_parquet(stored(values), [feature])),
    ]


def outcome(call: Callable[[], FeatureBlock]) -> Any:
    try:
        return call().values.ravel().tolist()
    except InputError as error:
        return error.code


def expected(name: str, dtype: str) -> Any:
    """What the specification's cell comes to for the four values."""
    cell = SAID[name if name in NAMED else "any other"][dtype]
    refusal = re.fullmatch(r"refused: `([a-z_.]+)`", cell)
    if refusal is not None:
        return refusal[1]
    assert re.fullmatch(r"exact|cast|missing|exact to 2\^53, beyond refused: `features\.precision`", cell), cell
    return [3.0, None, 1.0, 2.0] if cell != "missing" else [None] * 4


def without_nan(values: Any) -> Any:
    return values if isinstance(values, str) else [None if np.isnan(value) else value for value in values]


def test_table_names_every_type() -> None:
    """The specification's table has a row for each type that is read, one for all others, and no more."""
    assert set(SAID) == {*NAMED, "any other"}


@pytest.mark.parametrize(("name", "dtype"), CELLS, ids="-".join)
def test_cells(name: str, dtype: str) -> None:
    """What the table says of a type is what becomes of it, from parquet, from memory, in chunks and in a slice."""
    feature, values = FeatureColumn("A", dtype), column(name)
    calls = ways(table(values), feature)
    if name in ONLY_IN_MEMORY:
        calls = calls[:1]
    assert [without_nan(outcome(call)) for call in calls] == [expected(name, dtype)] * len(calls)
    if name not in OTHERS and expected(name, dtype) != "features.precision":
        sliced = without_nan(outcome(lambda: read_table(table(values).slice(1), [feature])))
        assert sliced == expected(name, dtype)[1:]


@pytest.mark.parametrize(("name", "dtype"), [cell for cell in CELLS if cell[0] not in ("null", *OTHERS)], ids="-".join)
def test_cells_of_dictionaries(name: str, dtype: str) -> None:
    """A dictionary is of the type of its values."""
    values = pa.DictionaryArray.from_arrays(pa.array([0, None, 1, 2]), numbers([3.0, 1.0, 2.0], NAMED[name]))
    found = [without_nan(outcome(call)) for call in ways(table(values), FeatureColumn("A", dtype))]
    assert found == [expected(name, dtype)] * 4


@pytest.mark.parametrize("name", [*NAMED, *OTHERS])
def test_cells_of_bars(name: str) -> None:
    """The fields of bars are float32 features: the same cells, under the same codes, and the error says it is the bars."""
    rows = frame(DAYS[:WINDOW])
    bars = pa.Table.from_pandas(rows, preserve_index=False)
    values = column(name)
    wide = pa.concat_arrays([values] * 3).slice(0, len(rows)) if name not in ONLY_IN_MEMORY else None
    if wide is None:
        return
    bars = bars.set_column(bars.schema.get_field_index("close"), "close", wide)
    wanted = expected(name, "float32")
    for given in (bars, stored(bars)):
        if not isinstance(wanted, str):
            read_bars(given, FIELDS, window=WINDOW, date=DAYS[WINDOW - 1])
            continue
        with pytest.raises(InputError) as caught:
            read_bars(given, FIELDS, window=WINDOW, date=DAYS[WINDOW - 1])
        assert (caught.value.code, caught.value.where) == (wanted, "the bars, column 'close'")


def test_cast_rounds_once_and_exact_keeps_every_bit() -> None:
    """A double for a float32 feature is rounded to float32; a double for a float64 feature is what it is."""
    values = pa.array([PRECISE, 1e39, 1.0 + 2.0**-24])
    assert [outcome(call) for call in ways(table(values), FeatureColumn("A", "float64"))] == [values.to_pylist()] * 4
    single = [float(np.float32(PRECISE)), float("inf"), 1.0]
    assert [outcome(call) for call in ways(table(values), FeatureColumn("A", "float32"))] == [single] * 4


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()], ids=str)
@pytest.mark.parametrize(
    "wrap", [lambda values: values, lambda values: values.dictionary_encode()], ids=["plain", "dictionary"]
)
def test_integers_beyond_a_double(kind: pa.DataType, wrap: Callable[[pa.Array], pa.Array]) -> None:
    """2^53 is exact in float64, the next integer is refused; a float32 feature takes it rounded once."""
    double, single = FeatureColumn("A", "float64"), FeatureColumn("A", "float32")
    exact, beyond = wrap(pa.array([2**53, None, 1], kind)), wrap(pa.array([2**53 + 1, None, 1], kind))
    assert [without_nan(outcome(call)) for call in ways(table(exact), double)] == [[2.0**53, None, 1.0]] * 4
    assert {outcome(call) for call in ways(table(beyond), double)} == {"features.precision"}
    assert [without_nan(outcome(call)) for call in ways(table(beyond), single)] == [[2.0**53, None, 1.0]] * 4


def test_the_smallest_integer_is_refused_too() -> None:
    """-2^53 - 1 has no double either."""
    values = pa.array([-(2**53) - 1], pa.int64())
    assert {outcome(call) for call in ways(table(values), FeatureColumn("A", "float64"))} == {"features.precision"}


NARROW: dict[str, Callable[[], Any]] = {
    "pandas float16": lambda: pd.DataFrame({"A": np.array([1.0, 2.0], np.float16)}),
    "pandas float32": lambda: pd.DataFrame({"A": np.array([1.0, 2.0], np.float32)}),
    "pandas Float32": lambda: pd.DataFrame({"A": pd.array([1.0, None], "Float32")}),
    "polars Float32": lambda: pl.DataFrame({"A": [1.0, 2.0]}, {"A": pl.Float32}),
}
NO_NUMBERS: dict[str, Callable[[], Any]] = {
    "pandas bool": lambda: pd.DataFrame({"A": [True, False]}),
    "pandas boolean": lambda: pd.DataFrame({"A": pd.array([True, None], "boolean")}),
    "polars Boolean": lambda: pl.DataFrame({"A": [True, False]}),
    "polars Decimal": lambda: pl.DataFrame({"A": ["1.5", "2.5"]}).with_columns(pl.col("A").cast(pl.Decimal(10, 2))),
    "polars String": lambda: pl.DataFrame({"A": ["1", "2"]}),
}
WELL: dict[str, Callable[[], Any]] = {
    "pandas Int64": lambda: pd.DataFrame({"A": pd.array([1, None], "Int64")}),
    "pandas Float64": lambda: pd.DataFrame({"A": pd.array([1.0, None], "Float64")}),
    "pandas float64": lambda: pd.DataFrame({"A": [1.0, np.nan]}),
    "polars Int32": lambda: pl.DataFrame({"A": [1, None]}, {"A": pl.Int32}),
}


def keyed(data: Any) -> Any:
    """The frame with keys, in its own library."""
    if isinstance(data, pd.DataFrame):
        return data.assign(datetime=DAY, instrument=["a", "b"])
    return handed_over(data.with_columns(pl.lit(DAY).alias("datetime"), pl.Series("instrument", ["a", "b"])))


@pytest.mark.parametrize("name", [*NARROW, *NO_NUMBERS, *WELL])
def test_columns_of_pandas_and_polars(name: str) -> None:
    """The libraries' own types, nullable ones too, are those of the table."""
    found = outcome(lambda: read_table(keyed((NARROW | NO_NUMBERS | WELL)[name]()), [FeatureColumn("A", "float64")]))
    if name in WELL:
        assert without_nan(found) == [1.0, None]
    else:
        assert found == ("features.precision" if name in NARROW else "features.not_numeric")


@pytest.mark.case("float16_features")
def test_half_precision_in_a_parquet_file_says_what_to_do() -> None:
    """The refusal names column, type and what to give instead, and that a cast does not mend it."""
    with pytest.raises(InputError) as caught:
        read_parquet(stored(table(numbers([1.0, 2.0], pa.float16()))), [FeatureColumn("A", "float32")])
    assert (caught.value.code, caught.value.where, caught.value.found) == (
        "features.precision",
        "column 'A'",
        "halffloat",
    )
    assert "as they were computed" in str(caught.value)


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.int64(), pa.dictionary(pa.int8(), pa.int64())], ids=str)
def test_whole_numbers_where_training_had_fractions(kind: pa.DataType) -> None:
    """An integer column for a feature whose smallest or largest training value is a fraction was rounded: refused."""
    feature = next(f for f in example_manifest().features if f.statistics is not None)
    statistics = feature.statistics
    assert statistics is not None
    whole = pa.array([1, 2], kind.value_type if pa.types.is_dictionary(kind) else kind)
    values = table(whole.dictionary_encode() if pa.types.is_dictionary(kind) else whole, feature.name)

    def trained(low: float, high: float) -> Any:
        known = msgspec.structs.replace(statistics, quantiles={"min": low, "0.5": 0.5, "max": high})
        return msgspec.structs.replace(feature, statistics=known)

    assert [outcome(call) for call in ways(values, trained(0.0, 7.0))] == [[1.0, 2.0]] * 4
    for ends in ((-0.5, 7.0), (0.0, 7.5)):
        assert {outcome(call) for call in ways(values, trained(*ends))} == {"features.precision"}
    inner = dict(
        zip(
            ("0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99"),
            (-0.9, -0.7, 0.1, 0.5, 0.75, 0.8, 0.99),
            strict=True,
        )
    )
    levels = {"min": -1.0, **inner, "max": 1.0}
    for quantiles, rows, refused in ((levels, 5000, True), (levels, 19, False), (levels | {"max": 1e6}, 5000, False)):
        said = msgspec.structs.replace(statistics, quantiles=quantiles, rows=rows)
        column = [msgspec.structs.replace(feature, statistics=said)]
        found = outcome(lambda column=column: read_table(values, column))  # type: ignore[misc]
        assert found == ("features.precision" if refused else [1.0, 2.0])
    known = msgspec.structs.replace(feature, statistics=None)
    assert outcome(lambda: read_table(values, [known])) == [1.0, 2.0]


def test_readings_are_a_total_function() -> None:
    """Every Arrow type has a reading for both dtypes, and an unknown one is no number."""
    for kind in (
        pa.float64(),
        *STRING_VIEWS,
        pa.map_(pa.string(), pa.int8()),
        pa.dictionary(pa.int8(), pa.string()),
    ):
        assert {reading(kind, dtype) for dtype in DTYPES} <= {"cast", "exact", "not_numeric"}
