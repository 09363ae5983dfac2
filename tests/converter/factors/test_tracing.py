"""Factors traced without pandas against real pandas running the same programs; refusals; traces that lie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from alphaseal_converter.emission.tables import read_tables
from alphaseal_converter.factors.expressions import document
from alphaseal_converter.factors.expressions.document import Refused, Traced
from alphaseal_converter.factors.expressions.evaluate import Grids, evaluate
from alphaseal_converter.factors.expressions.nodes import IllFormedError, Nodes
from alphaseal_converter.factors.expressions.properties import looks_beside_bars, properties
from alphaseal_converter.factors.expressions.words import readable
from alphaseal_converter.factors.process import Runner
from alphaseal_converter.factors.tracing import trace
from alphaseal_converter.isolation.sandbox import IsolationLimits
from factor_sources import CONSTRUCTS, HEAD, PROGRAMS, TAIL
from locations import REPOSITORY

RUNNER = Runner(None, IsolationLimits())

TABLES = {
    "bars": dict.fromkeys(["$open", "$close", "$high", "$low", "$volume"], "float32"),
    "static": {"pe": "float64", "mv": "float64", "sector": "text"},
}
BODIES = [body.strip() for body in CONSTRUCTS.split("\n---\n")]
SOURCES = {f"construct_{place}": HEAD + body + TAIL for place, body in enumerate(BODIES)} | PROGRAMS
PYTHONS = {3: sys.executable, 2: os.environ.get("ALPHASEAL_RESEARCH_PYTHON", "")}
NOISE = {"cov_var", "construct_66"}
"""Correlations of constant windows: pandas' running sums leave a number there where 0 / 0 is missing, in a cell or two."""


def run_by_pandas(folder: Path, python: str) -> None:
    """What each source gives, in the folder."""
    (folder / "sources.json").write_text(json.dumps(SOURCES))
    program = REPOSITORY / "tests/factor_pandas.py"
    subprocess.run([python, str(program), str(folder)], check=True, timeout=500)


@pytest.fixture(scope="module", params=[2, 3])
def judged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path, Grids, list[str]]:
    """Values that a major version of pandas gave, and the bars."""
    version: int = request.param
    if not PYTHONS[version]:
        pytest.skip("ALPHASEAL_RESEARCH_PYTHON names no Python with pandas 2")
    pytest.importorskip("pandas")
    folder = tmp_path_factory.mktemp(f"pandas{version}")
    run_by_pandas(folder, PYTHONS[version])
    grids, stocks = read_tables(folder / "bars.parquet", folder / "static.parquet", RUNNER)
    return version, folder, grids, stocks


@pytest.mark.parametrize("name", SOURCES)
def test_values_are_those_of_real_pandas(name: str, judged: tuple[int, Path, Grids, list[str]]) -> None:
    """Each construct, traced without pandas, gives the rows, the missing values and the numbers of real pandas."""
    version, folder, grids, stocks = judged
    found = trace(SOURCES[name].encode(), TABLES, version)
    if not (folder / f"{name}.parquet").exists():
        assert isinstance(found, Refused), "real pandas raises"
        return
    assert isinstance(found, Traced), found
    value, rows = evaluate([found.value, found.rows], grids)
    have = np.where(rows, value.astype(np.float64), np.nan)
    table = pq.read_table(folder / f"{name}.parquet")
    places = {stock: place for place, stock in enumerate(stocks)}
    day = np.searchsorted(grids.days, table["datetime"].to_numpy().astype("datetime64[D]"))
    stock = np.array([places[one] for one in table["instrument"].to_pylist()])
    want, written = np.full(grids.shape, np.nan), np.zeros(grids.shape, np.bool_)
    want[day, stock], written[day, stock] = table["value"].to_numpy(), True
    noise = 2 if name in NOISE else 0
    assert (written != rows).sum() <= noise
    missing = np.isnan(want) != np.isnan(have)
    known = np.isfinite(want) & np.isfinite(have)
    assert missing.sum() <= noise
    assert np.array_equal(np.isinf(want) & ~missing, np.isinf(have) & ~missing)
    scale = np.maximum(np.abs(want[known]), np.median(np.abs(want[known])))
    assert (np.abs(want[known] - have[known]) <= 2e-6 * scale + 1e-300).all()


REFUSALS = {
    'out=df.groupby(level=1)["$close"].shift(-1)': ("looks_ahead", "shift(-1)"),
    'out=df["$close"].groupby(level=1).transform(lambda x: x.bfill())': ("looks_ahead", "bfill"),
    'out=df["$close"].groupby(level=1).transform(lambda x: x.rolling(5, center=True).mean())': (
        "looks_ahead",
        "rolling(center=True)",
    ),
    'out=df["$close"].groupby(level=1).transform(lambda x: x / x.mean())': ("looks_ahead", "mean of a whole history"),
    'out=(df["$close"]-df["$close"].mean())': ("looks_ahead", "mean of all rows"),
    'out=df.sort_index(ascending=False).groupby(level=1)["$close"].shift(1)': (
        "looks_ahead",
        "shift of rows sorted by falling dates",
    ),
    'out=df["$close"].shift(1)': ("rows_misplaced", "shift of ungrouped rows"),
    'df["x"]=df.sort_index(level=1)["$close"].values; out=df["x"]': ("rows_misplaced", "positional operand"),
    'out=df.groupby(level=1)["$close"].rolling(5).corr(df["$volume"])': (
        "rows_misplaced",
        "groupby.rolling.corr with an ungrouped series",
    ),
    'out=df["$close"]*np.random.rand()': ("random", "numpy.random.rand"),
    'out=df["$close"].groupby(level=1).cumsum()': ("unbounded_history", "cumsum"),
    'out=df["$close"] if df["$close"].iloc[-1] > 0 else df["$open"]': ("looks_ahead", "iloc of the last rows"),
    'out=df["$close"] if len(df) > 100 else df["$open"]': ("control_flow", "number of rows"),
    'out=df["$close"].groupby(level=1).transform(lambda x: x.resample("W").last())': ("unknown_construct", "resample"),
    "import sklearn": ("other_input", "import sklearn"),
    'open("other.csv")': ("other_input", "open 'other.csv'"),
    'out=df["$close"].frobnicate()': ("unknown_construct", "Series.frobnicate"),
    'out=df["absent"]': ("fails", "KeyError"),
    "out=1/0": ("fails", "ZeroDivisionError"),
}


@pytest.mark.parametrize("body", REFUSALS)
def test_refusals_name_construct_and_line(body: str) -> None:
    """What is not followed is refused by its reason, its construct and the line where it stands."""
    found = trace((HEAD + "\n" + body + TAIL).encode(), TABLES, 2)
    assert isinstance(found, Refused)
    assert (found.code, found.construct, found.line) == (*REFUSALS[body], 5)
    assert found.why


def test_what_follows_from_an_expression() -> None:
    """Look-back, inputs, stages across stocks and words of an expression."""
    body = 'r=df.groupby(level=1)["$close"].pct_change(3,fill_method=None); out=r.groupby(level=0).rank(pct=True)'
    found = trace((HEAD + body + TAIL).encode(), TABLES, 2)
    assert isinstance(found, Traced)
    known = properties(found.value, found.rows)
    assert (known["lookback_rows"], known["across_stocks"], known["unbounded"]) == (4, 1, [])
    assert known["inputs"] == {"bars": ["$close"]}
    words = readable(found.value)
    assert words.startswith("day_rank((($close / shift($close, periods=3)) - 1)")


@pytest.mark.parametrize(
    ("body", "beside"),
    [
        ('out=st["pe"].groupby(level=0).rank()', True),
        ('out=st["pe"].groupby(level=1).shift(1)', True),
        ('out=df.join(st)["pe"].groupby(level=0).rank()', False),
        ('out=st["pe"].reindex(df.index).groupby(level=1).ffill(limit=3)', False),
        ('d=df.join(st, how="inner"); out=d["pe"].groupby(level=1).shift(1)', False),
    ],
)
def test_windows_over_rows_of_a_side_table_are_known(body: str, beside: bool) -> None:
    """Rows of a side table may lie beyond the bars: what counts them is told apart."""
    found = trace((HEAD + 'st=pd.read_parquet("static_factors.parquet")\n' + body + TAIL).encode(), TABLES, 2)
    assert isinstance(found, Traced)
    assert looks_beside_bars(found.value, found.rows) is beside


def _document() -> dict[str, Any]:
    nodes = [["field", [], {"table": "bars", "column": "$close", "dtype": "float32"}], ["rows", [], {"table": "bars"}]]
    shift: list[Any] = ["shift", [0, 1], {"periods": 1}]
    return {"form": document.FORM, "pandas": 2, "name": "f", "nodes": [*nodes, shift], "value": 2, "rows": 1}


LIES: Mapping[str, Any] = {
    "operator": lambda told: told["nodes"][2].__setitem__(0, "exec"),
    "later input": lambda told: told["nodes"][2].__setitem__(1, [2, 1]),
    "true as place": lambda told: told["nodes"][2].__setitem__(1, [0, True]),
    "negative place": lambda told: told["nodes"][2].__setitem__(1, [0, -2]),
    "negative shift": lambda told: told["nodes"][2].__setitem__(2, {"periods": -1}),
    "extra parameter": lambda told: told["nodes"][2].__setitem__(2, {"periods": 1, "code": "x"}),
    "huge window": lambda told: told["nodes"][2].__setitem__(2, {"periods": 10**9}),
    "dtype": lambda told: told["nodes"][0][2].__setitem__("dtype", "object"),
    "rows of numbers": lambda told: told.__setitem__("rows", 0),
    "no such value": lambda told: told.__setitem__("value", 3),
    "pandas": lambda told: told.__setitem__("pandas", 1),
    "extra field": lambda told: told.__setitem__("more", 1),
    "no nodes": lambda told: told.__setitem__("nodes", []),
}


@pytest.mark.parametrize("lie", LIES)
def test_documents_that_are_none_are_refused(lie: str) -> None:
    """The reader takes well-formed expressions only."""
    told = _document()
    assert isinstance(document.read(json.dumps(told).encode()), Traced)
    LIES[lie](told)
    with pytest.raises(IllFormedError):
        document.read(json.dumps(told).encode())


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"form": 1}', b'{"a": 1, "a": 2}', b"\xff", b"NaN", b"[" * 100_000]
)
def test_bytes_that_are_no_document_are_refused(data: bytes) -> None:
    """Whatever a process writes, the reader says no in one way."""
    with pytest.raises(IllFormedError):
        document.read(data)


def test_documents_are_read_as_they_were_written() -> None:
    """Infinities, missing values and windows survive the document."""
    nodes = Nodes()
    rows = nodes.make("rows", table="bars")
    field = nodes.make("field", table="bars", column="$close", dtype="float64")
    window = nodes.make("window", field, rows, window=3)
    weights = nodes.make("vector", values=(1.0, float("inf"), float("-inf")))
    value = nodes.make("reduce", nodes.make("mul", window, weights), function="sum", skip=False)
    data = document.write(Traced(3, "f", value, rows))
    again = document.read(data)
    assert isinstance(again, Traced)
    assert document.write(again) == data


@pytest.mark.attack("code in a factor")
def test_a_program_that_takes_over_the_tracer_gains_nothing() -> None:
    """It writes any answer that it likes and ends the process: the answer is data, and no expression is none."""
    source = b"import os\nopen_ = os.open\nf = open_('answer.json', os.O_WRONLY | os.O_CREAT)\nos.write(f, b'{}')\nos._exit(0)\n"
    with pytest.raises(Exception, match="no answer that can be read") as caught:
        trace(source, TABLES, 2)
    assert getattr(caught.value, "code", "") == "factor.answer"


def test_a_program_that_behaves_differently_under_the_stand_in_is_seen_by_its_values(tmp_path: Path) -> None:
    """The trace is of another program than the one that real pandas runs: the values differ."""
    pytest.importorskip("pandas")
    source = (
        HEAD
        + 'out = df["$close"] if "FakeFrame" in str(type(df)) or "alphaseal" in str(type(df)) else df["$open"]'
        + TAIL
    )
    found = trace(source.encode(), TABLES, 3)
    assert isinstance(found, Traced)
    assert readable(found.value) == "$close"
    (tmp_path / "sources.json").write_text(json.dumps({"liar": source}))
    program = REPOSITORY / "tests/factor_pandas.py"
    subprocess.run([sys.executable, str(program), str(tmp_path)], check=True, timeout=300)
    grids, _ = read_tables(tmp_path / "bars.parquet", None, RUNNER)
    value = evaluate([found.value], grids)[0]
    real = pq.read_table(tmp_path / "liar.parquet")["value"].to_numpy()
    assert not np.array_equal(value[grids.tables["bars"].rows], real, equal_nan=True)
