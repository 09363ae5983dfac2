"""Values from records: real tables give the recorded numbers, and every layout gives what was pickled."""

from __future__ import annotations

import base64
import datetime
import json
import pathlib
import pickle
import zlib
from collections import OrderedDict, defaultdict
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphaseal.errors import AlphasealError
from alphaseal_converter.decode import frames as decode
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.pickles._machine import interpret
from alphaseal_converter.pickles._state import PickleFault
from alphaseal_converter.pickles.records import Global, Record
from locations import FIXTURES

PROTOCOLS = range(6)


def graph(value: Any, protocol: int = 4) -> Any:
    """The inert graph of `value`, by Python's pickler and our reader."""
    return interpret(pickle.dumps(value, protocol=protocol))[0]


def read(path: pathlib.Path) -> Any:
    """The inert graph of a file."""
    return interpret(path.read_bytes())[0]


# ---- real files


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the full set is not here")
def test_recorded_predictions_are_the_true_ones() -> None:
    """Each run's pred.pkl decodes to exactly the scores, dates and stocks of the truth table."""
    cases = sorted(FIXTURES.glob("**/truth.json"))
    assert len(cases) >= 17
    for case in cases:
        truth = json.loads(case.read_text())
        frame = decode.as_frame(read(case.parent / truth["workspace"] / truth["artifacts"] / "pred.pkl"))
        table = pq.read_table(case.parent / "pred.parquet")
        assert frame.columns == ["score"]
        assert frame.index.names == ("datetime", "instrument")
        scores = table["score"].to_numpy()
        values = frame.data[0]
        assert isinstance(values, np.ndarray)
        assert values.dtype == scores.dtype
        assert values.tobytes() == scores.tobytes(), case
        days = frame.index.levels[0]
        assert isinstance(days, np.ndarray)
        assert np.array_equal(days, table["datetime"].to_numpy())
        assert frame.index.levels[1] == table["instrument"].to_pylist()


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the full set is not here")
def test_real_tasks_reports_and_series_are_decoded() -> None:
    """Tasks are plain data, reports are frames by day, and IC files are series."""
    for path in FIXTURES.glob("**/artifacts/task"):
        task = decode.as_plain(read(path))
        assert {"model", "dataset"} <= set(task), path
    for path in FIXTURES.glob("**/report_normal_1day.pkl"):
        report = decode.as_frame(read(path))
        assert "return" in report.columns
        assert "bench" in report.columns
    for path in FIXTURES.glob("**/ic.pkl"):
        series = decode.as_series(read(path))
        assert len(series.values) == len(series.index)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the full set is not here")
def test_fitted_scalers_are_decoded() -> None:
    """The columns, centres and widths of fitted processors in a dataset are an index and arrays of one length."""
    found = 0
    for path in FIXTURES.glob("**/artifacts/dataset"):
        for processor in read(path).get("handler").get("infer_processors"):
            if "mean_train" in processor.attributes:
                mean, columns = decode.as_array(processor.get("mean_train")), decode.as_index(processor.get("cols"))
                assert mean.shape == (len(columns),)
                assert np.isfinite(mean).all()
                assert columns.levels[0] == ["feature"] * len(columns)
                found += 1
    assert found


# ---- numpy

ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.arange(24, dtype="i2").reshape(2, 3, 4).transpose(1, 0, 2),
    np.array([1, -2, 3], dtype=">i4"),
    np.array([1.5, np.nan, np.inf], dtype=">f8"),
    np.array([True, False]),
    np.array(["a", "ähm"]),
    np.array([b"a", b"bc"]),
    np.array(["2024-01-02", "NaT"], dtype="M8[ns]"),
    np.array([1, 2], dtype="m8[D]"),
    np.array([1 + 2j]),
    np.array(7.0),
    np.empty((0, 3)),
    np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i4"), ("b", "f8")]),
    np.zeros(2, dtype=np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [4, 8], "itemsize": 24})),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}-{array.shape}")
def test_an_array_comes_back(array: np.ndarray[Any, Any], protocol: int) -> None:
    """Shape, values and kind survive every protocol; the byte order is this machine's."""
    result = decode.as_array(graph(array, protocol))
    assert result.shape == array.shape
    assert result.dtype == array.dtype.newbyteorder("=")
    expected = array if array.dtype.isnative else array.astype(result.dtype)
    assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_array_of_objects_holds_plain_values(protocol: int) -> None:
    """Objects come back in their places, as plain values."""
    array = np.array([["a", None], [1, datetime.date(2024, 1, 2)]], dtype=object)
    result = decode.as_array(graph(np.asfortranarray(array), protocol))
    assert result.dtype == object
    assert result.tolist() == array.tolist()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_numpy_scalar_is_a_number(protocol: int) -> None:
    """numpy's numbers, flags and texts are Python's as plain values, and arrays of shape () as arrays."""
    for value, plain in ((np.float32(1.5), 1.5), (np.int64(7), 7), (np.bool_(True), True), (np.str_("x"), "x")):
        result = decode.as_plain(graph(value, protocol))
        assert result == plain
        assert type(result) is type(plain)
    assert decode.as_array(graph(np.float64(2.5), protocol)).shape == ()
    assert decode.as_text(graph(np.str_("x"), protocol)) == "x"


def test_numpy_1_names_are_known() -> None:
    """The module names of numpy 1 mean the same as those of numpy 2."""
    data = pickle.dumps(np.arange(3.0), protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert decode.as_array(interpret(data)[0]).tolist() == [0, 1, 2]


def array_record(shape: Any, code: str, content: Any, fortran: Any = False) -> Record:
    """A hand-made ndarray record."""
    dtype = Record(Global("numpy", "dtype"), (code, False, True), state=(3, "<", None, None, None, -1, -1, 0))
    arguments = (Global("numpy", "ndarray"), (0,), b"b")
    return Record(Global("numpy.core.multiarray", "_reconstruct"), arguments, state=(1, shape, dtype, fortran, content))


BAD_ARRAYS = {
    "too few bytes": array_record((2,), "f8", b"12345678"),
    "too many bytes": array_record((0,), "f8", b"12345678"),
    "huge": array_record((2**40,), "f8", b"12345678"),
    "overflow": array_record((2**62, 4), "f8", b""),
    "negative": array_record((-1,), "f8", b"12345678"),
    "flag as length": array_record((True,), "f8", b"12345678"),
    "shape no tuple": array_record([1], "f8", b"12345678"),
    "many dimensions": array_record((1,) * 40, "f8", b"12345678"),
    "unknown code": array_record((1,), "float64", b"12345678"),
    "long double": array_record((1,), "f16", b"1" * 16),
    "empty items": array_record((5,), "S0", b""),
    "objects from bytes": array_record((1,), "O8", b"12345678"),
    "objects missing": array_record((2,), "O8", ["a"]),
    "code no text": array_record((1,), "O8", ["a"], fortran=None) and Record(Global("numpy", "dtype"), (5,)),
    "no state": Record(Global("numpy.core.multiarray", "_reconstruct"), (Global("numpy", "ndarray"), (0,), b"b")),
    "other class": Record(Global("numpy.core.multiarray", "_reconstruct"), (Global("numpy", "matrix"), (0,), b"b")),
    "text": "array",
    "none": None,
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_an_array_that_does_not_fit_is_refused(name: str) -> None:
    """Sizes, kinds and classes that do not fit are refused before numpy sees them."""
    with pytest.raises(RefusalError) as caught:
        decode.as_array(BAD_ARRAYS[name], where="the scaler")
    assert caught.value.code in ("pickle.bad_value", "pickle.unknown_constructor")
    assert caught.value.where == "the scaler"


def test_a_nested_structured_dtype_is_refused() -> None:
    """A dtype of dtypes, which could double at each level, is refused."""
    with pytest.raises(RefusalError):
        decode.as_array(graph(np.zeros(2, dtype=[("a", [("b", "i4")])])))
    with pytest.raises(RefusalError):
        decode.as_array(graph(np.zeros(2, dtype=[("a", "i4", (2,))])))


# ---- pandas

DAYS = pd.to_datetime(["2024-01-02", "2024-01-02", "2024-01-03"])
PAIRS = pd.MultiIndex.from_arrays([DAYS, ["SH600000", "SZ000001", "SH600000"]], names=["datetime", "instrument"])


def plain_rows(values: Any) -> list[Any]:
    """Values of a level or a column as a list, dates as text."""
    array = np.asarray(values)
    return array.astype("M8[s]").astype(str).tolist() if array.dtype.kind == "M" else list(values)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_frame_of_this_pandas_comes_back(protocol: int) -> None:
    """Columns of several kinds, in their order, with a two-level index (pandas 3: Arrow text)."""
    frame = pd.DataFrame(
        {"score": [1.0, np.nan, 3.0], "n": [1, 2, 3], "text": ["a", None, "c"], "second": [4.0, 5.0, 6.0], "day": DAYS},
        index=PAIRS,
    )
    result = decode.as_frame(graph(frame, protocol))
    assert result.columns == ["score", "n", "text", "second", "day"]
    assert result.index.names == ("datetime", "instrument")
    assert plain_rows(result.index.levels[0]) == plain_rows(DAYS.to_numpy())
    assert list(result.index.levels[1]) == ["SH600000", "SZ000001", "SH600000"]
    assert np.array_equal(result.data[0], [1.0, np.nan, 3.0], equal_nan=True)
    assert list(result.data[1]) == [1, 2, 3]
    assert result.data[2] == ["a", None, "c"]
    assert list(result.data[3]) == [4.0, 5.0, 6.0]
    assert plain_rows(result.data[4]) == plain_rows(DAYS.to_numpy())


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_series_of_this_pandas_comes_back(protocol: int) -> None:
    """Values, name and index of a Series, with text, number, range and date labels."""
    for index in (pd.Index(["a", "b", "c"], name="key"), pd.Index([5, 7, 9]), pd.RangeIndex(3), DAYS, PAIRS):
        result = decode.as_series(graph(pd.Series([1.0, 2.0, 3.0], index=index, name="x"), protocol))
        assert list(result.values) == [1.0, 2.0, 3.0]
        assert result.name == "x"
        assert len(result.index) == 3
        if index is not PAIRS:
            assert plain_rows(result.index.levels[0]) == plain_rows(index.to_numpy())


def test_other_columns_of_pandas_come_back() -> None:
    """Categories, text kept by Python, and missing codes of a MultiIndex."""
    for values in (pd.Categorical(["b", "a", None]), pd.array(["b", "a", None], dtype="string[python]")):
        assert decode.as_series(graph(pd.Series(values))).values == ["b", "a", None]
    gaps = pd.MultiIndex.from_arrays([[1.0, np.nan], ["x", None], [pd.NaT, pd.Timestamp("2024-01-02")], [1, 2]])
    numbers, texts, days, counts = decode.as_index(graph(gaps)).levels
    assert np.array_equal(numbers, [1.0, np.nan], equal_nan=True)
    assert list(texts) == ["x", None]
    assert plain_rows(days) == ["NaT", "2024-01-02T00:00:00"]
    assert list(counts) == [1, 2]


def test_a_header_of_two_levels_gives_tuples() -> None:
    """The columns of a frame with a two-level header are tuples."""
    header = pd.MultiIndex.from_tuples([("feature", "A"), ("label", "L")])
    result = decode.as_frame(graph(pd.DataFrame([[1.0, 2.0]], columns=header)))
    assert result.columns == [("feature", "A"), ("label", "L")]


# Made with pandas 1.5.3 and numpy 1.26.4, which do not install beside today's: a frame with a two-level index, a Series
# over dates, and one over numbers; base64 of the zlib form of pickle protocol 4.
PANDAS_1 = (
    "eNrVVb1PFEEU3/vkNBIQP9CINlqgIRdIjFoYUSAqXlgTiI0RN7N7c8zK7t65sytgJNEChGQqGQ0xxsRCLIydhf4HlvZGoxbaGe200vdm97g7PERL"
    "53I7s7PvvXnv93vvzc303VJOU2NcdoutFeIVCc9bZZ/mSz5xqRSbhkhATqv1kjx4S86CXNpwJ3wp9tWL215AfY84PO8Sj0xQn0uxZcApW5Mj0Tuo"
    "i52xhuHYJq+pSNFmhF7FtiYdapiog8I7vNCtzETW3dAJbOL7ZAasGj61yh4P/NAKUDCjBKVoAdtKZEkWtDk5mDDlbTkquwuJQrKQmpesXWSKwUwF"
    "IxHJ0jG5uBB9T4nEcanr+rmfMNSjoAXSXBzsjbD53h/N6ZPRvCWev8b71fG1X4KayJmhDe56EFeGO7ZFlUPgQwKPKyTxOScR8F2NCBbpNOV5k3DA"
    "fbPh0SljGPdAnR0SmepaMVAEViRrYx0YKdu+Gie87BbJ8w2x3VgTWz/GhsdnOB4MXjrEpI6k6HzaQ6r1cB60WY/Y3cxDxQa4OIJzvVtZh16jwCca"
    "39tME9ymge1SgKZDBTgUb6wGeka0rt0Dy6xXbGvIHUU0WOkyjMrMdC179KFT+GWAWJO0iDx31bsRadV7sXrYqThzzr24dKFVR+wQyJEakGm2d02K"
    "gF+DSWAZcIdfIOeR/XU5+XdTi4Ptmvb8ztPLK52aljpw8tlKJ27PAmFGyadXpc5vw4EnRK4akIxpY3mFWXNfjiruc2Nnj/TikLC8qFZ9KgPA3mZb"
    "VZdLvSCySEXGKhepIvZ3o6koQLuvlnTsWLNySmlaojlGaGIOBRIaClCxiZf9oOwXoW/oUODEjQ/32HUauYQP6ERQz9CksByqDctwaUBUfYwDUiQI"
    "oBUBZlmj5JAJtewkjlOe4kYxrEB5AnaGKgAuF3hoio76jOHUtzFPsmPRotoDWZa1iI4x25tw6JouBwLd45INs0JEwnk2+j8kFXPidIpqn4yv0166"
    "lAUcr+P29161PbJ+zM+aW3r5174gfb35vsP5vqj7Eeglkj0RWXVZYGao7nONOCF+eCVycEEZ8A1e9tdab0hCjmjeE9mYV7YMXp8g7D6c+QD+Dxc4"
    "5H/StmRoskerVD+OOe0Re5p1Nbh/wJwFHXHYC44cbuhb61Jn1/Xo36iLiMrE90pLPKtU2IifqLwTRAq4/2hMTA/79gdvfmx0FiDzBvXfsi/snQKb"
    "fbiSTGga+9gUX/aJLbPPjajqoUnzvwCfKz4a"
)


def test_tables_of_pandas_1_are_read() -> None:
    """pandas 1.5 and numpy 1 name other classes and other layouts; the values are the same."""
    tables = decode_list(zlib.decompress(base64.b64decode("".join(PANDAS_1))))
    frame = decode.as_frame(tables[0])
    assert frame.columns == ["score", "label"]
    assert frame.index.names == ("datetime", "instrument")
    assert plain_rows(frame.index.levels[0]) == ["2024-01-02T00:00:00", "2024-01-02T00:00:00", "2024-01-03T00:00:00"]
    assert frame.index.levels[1] == ["SH600000", "SZ000001", "SH600000"]
    assert [list(column) for column in frame.data] == [[1.5, 2.5, 3.5], [1.0, 0.0, 1.0]]
    by_day, by_number = decode.as_series(tables[1]), decode.as_series(tables[2])
    assert plain_rows(by_day.index.levels[0]) == ["2024-01-02T00:00:00", "2024-01-03T00:00:00"]
    assert (by_day.name, list(by_day.values)) == ("ic", [0.25, 0.5])
    assert (list(by_number.index.levels[0]), list(by_number.values)) == ([5, 7], ["a", "b"])


def decode_list(data: bytes) -> list[Any]:
    """The members of a pickled list, as records."""
    members = interpret(data)[0]
    assert isinstance(members, list)
    return members


def test_tables_that_do_not_fit_are_refused() -> None:
    """Codes outside of their level, rows that are missing and time zones are refused."""
    index = graph(PAIRS)
    index.args[1]["codes"][0].state = (1, (3,), *index.args[1]["codes"][0].state[2:4], b"\x00\x07\x00")
    with pytest.raises(RefusalError, match="code points outside"):
        decode.as_index(index)
    series = graph(pd.Series([1.0, 2.0]))
    series.get("_mgr").state[0][0].args[1]["stop"] = 3
    series.get("_mgr").state[3]["0.14.1"]["axes"][0].args[1]["stop"] = 3
    with pytest.raises(RefusalError, match="3 rows"):
        decode.as_series(series)
    with pytest.raises(RefusalError):
        decode.as_index(graph(DAYS.tz_localize("Asia/Shanghai")))
    with pytest.raises(RefusalError, match="more than"):
        decode.as_index(graph(pd.RangeIndex(10**12)))
    with pytest.raises(RefusalError):
        decode.as_frame(graph(pd.Series([1.0])))
    with pytest.raises(RefusalError):
        decode.as_series(graph(pd.DataFrame({"a": [1.0]})))


# ---- plain values


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_come_back(protocol: int) -> None:
    """Dates, times, complex numbers, byte arrays, and mappings of every kind, as plain Python."""
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901, fold=1 if protocol > 3 else 0)
    zone = datetime.timezone(datetime.timedelta(hours=8))
    value = {
        "date": datetime.date(2024, 1, 2),
        "moment": moment,
        "aware": moment.replace(tzinfo=zone),
        "span": datetime.timedelta(-1, 2, 3),
        "zone": zone,
        "complex": 1 + 2j,
        "bytes": b"\x00\xff",
        "empty": b"",
        "set": {1, 2},
        "dates": {datetime.date(2024, 1, 2): 1},
    }
    assert decode.as_plain(graph(value, protocol)) == value
    assert decode.as_plain(graph(bytearray(b"ab\xff"), protocol)) == b"ab\xff"
    assert decode.as_plain(graph(OrderedDict(a=1, b=2), protocol)) == {"a": 1, "b": 2}
    assert decode.as_plain(graph(defaultdict(list, a=[1]), protocol)) == {"a": [1]}
    assert decode.as_plain(graph(pathlib.PurePosixPath("/a/b"), protocol)) == "/a/b"
    assert decode.as_plain(graph([pd.NaT, pd.NA], protocol)) == [None, None]
    assert decode.as_plain(graph(pd.Timestamp("2024-01-02 03:04"), protocol)) == datetime.datetime(2024, 1, 2, 3, 4)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_paths_of_both_systems_come_back(protocol: int) -> None:
    """A path keeps its system and its parts, whichever Python wrote it; nothing else is a path."""
    assert decode.as_path(graph(PurePosixPath("/data/rd agent"), protocol)) == PurePosixPath("/data/rd agent")
    assert decode.as_path(graph(PureWindowsPath("C:\\data\\x"), protocol)) == PureWindowsPath("C:\\data\\x")
    for module in ("pathlib", "pathlib._local"):
        assert decode.as_path(Record(Global(module, "PosixPath"), ("/a", "b"))) == PurePosixPath("/a/b")
        assert decode.as_path(Record(Global(module, "WindowsPath"), ("C:\\a",))) == PureWindowsPath("C:\\a")
    for other in ("text", Record(Global("pathlib", "PosixPath"), (5,)), Record(Global("os", "PathLike"), ("a",))):
        with pytest.raises(RefusalError):
            decode.as_path(other)


def test_an_unknown_constructor_is_named() -> None:
    """The refusal says which constructor it was and where."""
    with pytest.raises(RefusalError, match=r"os\.system.*task") as caught:
        decode.as_plain({"a": [Record(Global("os", "system"), ("true",))]}, where="task")
    assert caught.value.code == "pickle.unknown_constructor"
    for value in (Global("os", "system"), Record(Record(Global("a", "b")), ())):
        with pytest.raises(RefusalError):
            decode.as_plain(value)
    with pytest.raises(RefusalError):
        decode.as_text(b"bytes")


def test_the_same_names_with_wrong_arguments_are_refused() -> None:
    """A known constructor with arguments that do not fit is refused, whatever they are."""
    names = (
        ("datetime", "date"),
        ("datetime", "datetime"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("builtins", "complex"),
        ("builtins", "set"),
        ("builtins", "bytearray"),
        ("_codecs", "encode"),
        ("collections", "OrderedDict"),
        ("numpy.core.multiarray", "scalar"),
        ("pandas._libs.tslibs.timestamps", "_unpickle_timestamp"),
    )
    unfit: tuple[tuple[Any, ...], ...] = (
        (5,),
        ("x",),
        (b"x", b"y"),
        (10**30, None, None),
        (10**30, 1, 1),
        (2024.0, 99, 99),
        ([[]],),
        (None,) * 9,
    )
    for name in names:
        for arguments in unfit:
            with pytest.raises(RefusalError):
                decode.as_plain(Record(Global(*name), arguments))


def test_bombs_of_plain_values_are_refused() -> None:
    """Shared values that would be billions written out, deep values, and deep keys made by a call are refused quickly."""
    wide: list[Any] = []
    for _ in range(40):
        wide = [wide] * 10
    with pytest.raises(RefusalError) as caught:
        decode.as_plain(wide)
    assert caught.value.code == "pickle.limit"
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RefusalError) as caught:
        decode.as_plain(deep)
    assert caught.value.code == "pickle.nesting"
    key: tuple[Any, ...] = ()
    for _ in range(60):
        key = (key, key)
    for record in (
        Record(Global("builtins", "set"), ([key],)),
        Record(Global("builtins", "dict"), entries=[(key, 1)]),
    ):
        with pytest.raises(RefusalError) as caught:
            decode.as_plain(record)
        assert caught.value.code in ("pickle.key", "pickle.limit")


def test_a_shared_value_stays_shared() -> None:
    """What was one object in the pickle is one object in the result."""
    shared = [1]
    result = decode.as_plain(graph({"a": shared, "b": shared}))
    assert result["a"] is result["b"]


TABLES = [
    pickle.dumps(value, protocol=protocol)
    for value in (
        pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}, index=PAIRS[:2]),
        pd.Series([1, 2], index=DAYS[:2]),
        ARRAYS[13],
    )
    for protocol in (2, 5)
]


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(TABLES), st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=3)), min_size=1, max_size=4)
)
def test_damaged_tables_give_only_our_errors(seed: bytes, edits: list[tuple[int, bytes]]) -> None:
    """Whatever the bytes, decoding gives values or a refusal."""
    data = bytearray(seed)
    for place, patch in edits:
        data[place % len(data) : place % len(data) + 1] = patch
    try:
        root, _ = interpret(bytes(data))
    except PickleFault:
        return
    for function in (decode.as_frame, decode.as_series, decode.as_index, decode.as_array, decode.as_plain):
        try:
            function(root)
        except AlphasealError:
            continue
