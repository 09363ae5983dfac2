"""Alpha expressions to ONNX: the parser, what is refused, and the numbers against qlib's own.

The test with qlib needs ALPHASEAL_RESEARCH_PYTHON, the interpreter of a research environment.  tests/data/alphas holds what
qlib gave for some stocks and days, so that every machine compares.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest

from alpha_cases import KINDS, NOISE, OPERATORS
from alpha_comparison import LIMIT, column, compare, read_recorded
from alpha_market import ODD, Stock, add_odd_stocks, alpha_columns, read_stocks, session, windows_of
from alphaseal.gate.model import check_alphas
from alphaseal_converter.alphas import CompiledAlphas, compile_alphas
from alphaseal_converter.alphas.compile import MAXIMUM_LOOK_BACK, MAXIMUM_NUMBERS
from alphaseal_converter.alphas.nodes import GAP, NOT_COMPILED, TAIL
from alphaseal_converter.alphas.nodes import OPERATORS as COMPILED
from alphaseal_converter.alphas.syntax import MAXIMUM_DEPTH, MAXIMUM_LENGTH, MAXIMUM_NODES, parse
from alphaseal_converter.errors import RefusalError
from locations import DATA, REPOSITORY

RESEARCH = os.environ.get("ALPHASEAL_RESEARCH_PYTHON")
needs_qlib = pytest.mark.skipif(not RESEARCH, reason="ALPHASEAL_RESEARCH_PYTHON names no Python with qlib")
RECORDED = DATA / "alphas"
SOME_STOCKS = ("SH000905", "SH601008", "SH601050", "SH601085", "SH601183", "SZ002004", "SZ002025", *ODD)


def compiled(text: str) -> CompiledAlphas:
    """One expression, which must compile."""
    found = compile_alphas({"A": text})
    assert not found.not_compiled
    return found


def reason(text: str) -> str:
    """Why one expression is not compiled."""
    found = compile_alphas({"A": text})
    assert (found.graph, found.features) == (None, ())
    return found.not_compiled["A"]


def value(text: str, bars: dict[str, list[float]]) -> float:
    """The expression's value on the last of the given days of a stock's life."""
    found = compiled(text)
    assert found.graph is not None
    days = np.array([bars[field] for field in found.fields], np.float32).T
    windows, length = windows_of(days, found.window, [len(days) - 1])
    return float(session(found.graph).run(None, {"bars": windows, "length": length})[0][0, 0])


# --- the parser -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$a+2*3**2", 21.0),
        ("$a-2-1", 0.0),
        ("$a*-2", -6.0),
        ("$a*-2**2", -12.0),
        ("$a*2**-1", 1.5),
        ("$a*2**3**2", 1536.0),
        ("($a+1)*2", 8.0),
        ("$a/2*4", 6.0),
        ("Add ( $a , 1 )", 4.0),
        ("Add($a,1,)", 4.0),
        ("($a>2)&($a<4)|($a==0)", 1.0),
        ("If($a>=3,.5,1.)*1e1", 5.0),
        ("Abs(\n-1*$a\n)", 3.0),
        ("$a+1.5E-1-15e-2", 3.0),
        ("1-(+2)*$a", -5.0),
    ],
)
def test_precedence_is_pythons(text: str, result: float) -> None:
    """Signs, powers, products, sums, & and |, comparisons; numbers are computed as Python does."""
    assert value(text, {"a": [3.0]}) == pytest.approx(result, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "alphas.syntax"),
        ("$close+", "alphas.syntax"),
        ("($close", "alphas.syntax"),
        ("$close)", "alphas.syntax"),
        ("$close $open", "alphas.syntax"),
        ("$close if $open else $low", "alphas.syntax"),
        ("close", "alphas.syntax"),
        ("$close.real", "alphas.syntax"),
        ("$close[0]", "alphas.syntax"),
        ("'$close'", "alphas.syntax"),
        ("Mean($close, N=5)", "alphas.syntax"),
        ("__import__('os').system('true')", "alphas.syntax"),
        ("Mean($close;5)", "alphas.syntax"),
        ("$close<$open<$low", "alphas.syntax"),
        ("$close>1 & $open>2", "alphas.syntax"),
        ("1_000*$close", "alphas.syntax"),
        ("0x10*$close", "alphas.syntax"),
        ("1j*$close", "alphas.syntax"),
        ("05*$close", "alphas.syntax"),
        ("$close\n+1", "alphas.syntax"),
        ("Mean($close\uff0c5)", "alphas.syntax"),
        ("$close$open", "alphas.syntax"),
        ("(Mean)($close,5)", "alphas.syntax"),
        ("($close)(5)", "alphas.syntax"),
        ("Mean(*$close)", "alphas.syntax"),
        ("($close,)", "alphas.syntax"),
        ("$close and $open", "alphas.syntax"),
        ("$close # 1", "alphas.syntax"),
        ("$close\\\n+1", "alphas.syntax"),
        ("$close+\u0663", "alphas.syntax"),
        ("-$close", "alphas.operator"),
        ("~($close>1)", "alphas.operator"),
        ("$close//2", "alphas.operator"),
        ("$close%2", "alphas.operator"),
        ("$close@$open", "alphas.operator"),
        ("$close<<1", "alphas.operator"),
        ("$close^$open", "alphas.operator"),
        ("$$roewa_q", "alphas.operator"),
        ("P($close$$roewa_q)", "alphas.operator"),
        ("$close/(1/0)", "alphas.number"),
        ("$close*10**400", "alphas.number"),
        ("$close*9**9**9", "alphas.number"),
        ("$close*(-8)**0.5", "alphas.number"),
        ("$close*1e400", "alphas.number"),
        ("$close*(1==1)", "alphas.number"),
        ("(" * (MAXIMUM_DEPTH + 1) + "$close" + ")" * (MAXIMUM_DEPTH + 1), "alphas.too_long"),
        ("Abs(" * MAXIMUM_DEPTH + "$close" + ")" * MAXIMUM_DEPTH, "alphas.too_long"),
        ("2**" * 4000, "alphas.too_long"),
        ("2**" * 1000 + "2", "alphas.too_long"),
        ("-" * 4000 + "1", "alphas.too_long"),
        ("1" + "+1" * MAXIMUM_NODES, "alphas.too_long"),
        ("$a" + "+$a" * MAXIMUM_NODES, "alphas.too_long"),
        ("$a" * MAXIMUM_LENGTH, "alphas.too_long"),
    ],
)
def test_other_text_is_refused(text: str, code: str) -> None:
    """What is not of the grammar, or too long for it, is refused and never evaluated."""
    with pytest.raises(RefusalError) as caught:
        parse(text)
    assert caught.value.code == code


def test_errors_say_where() -> None:
    """The reason names the place in the text."""
    assert reason("Mean($close,5) + Men($open,5)") == "Men is no operator of qlib (character 18)"
    assert "character 7" in reason("$close ; $open") or "character 8" in reason("$close ; $open")


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ref($close,-1)", "later days"),
        ("Delta($close,-2)", "later days"),
        ("Ref($close,0)", "first day asked for"),
        ("Mean($close,0)", "window of 0"),
        ("EMA($close,0)", "window of 0"),
        ("Corr($close,$open,0)", "window of 0"),
        ("EMA($close,1)", "repeats values over gaps"),
        ("EMA($close,0.000001)", "too many days"),
        ("Mean($close,-5)", "negative"),
        ("Mean($close,5.0)", "whole number"),
        ("Mean($close,$open)", "takes a number"),
        ("Slope($close,0.5)", "whole number"),
        ("Mean(5,3)", "takes a series"),
        ("Corr($close,5,3)", "takes a series"),
        ("Abs(5)", "takes a series"),
        ("Add(1,2)", "of a number and a number"),
        ("5", "the expression is a number"),
        ("Skew($close,2)", "too short"),
        ("Kurt($close,3)", "too short"),
        ("Quantile($close,5,1.5)", "between 0 and 1"),
        ("Quantile($close,5)", "takes 3 arguments"),
        ("Mean($close)", "takes 2 arguments"),
        ("If(1,$close,$open)", "not a series"),
        ("$close&$open", "float32 and float32"),
        ("Or($close>1,1)", "bool and a number"),
        ("Not($close)", "Not of float32"),
        ("($close>1)-($open>1)", "Sub of bool"),
        ("($close>1)/($open>1)", "Div of bool"),
        ("Power($close>1,2)", "Power of int64"),
        ("Log($close>1)", "Log of bool"),
        ("Ref($close>1,1)+1", "object"),
        ("Abs(Ref($close>1,1))", "object"),
        ("Corr(Ref($close>1,1),$open,5)", "object"),
        ("If(Ref($close>1,1),1,2)", "not a series of numbers"),
        ("$close*1e39", "beyond float32"),
        (f"Mean($close,{MAXIMUM_LOOK_BACK + 1})", "days are needed"),
        ("Std(Mean($close,1000),1000)", "too large"),
        *((f"{name}($close,5)", text) for name, text in NOT_COMPILED.items()),
        ("Foo($close,5)", "no operator of qlib"),
    ],
)
def test_what_cannot_be_compiled_is_refused_by_name(text: str, words: str) -> None:
    """Look-ahead, unlimited windows, other instruments, dtypes that are none: left out, with the reason in words."""
    assert words in reason(text)


def test_reasons_are_short_and_long_sums_compile() -> None:
    """A reason fits the manifest whatever the expression is; five hundred terms are no problem."""
    assert len(reason("A" * 4000 + "($close)")) < 200
    assert value("+".join(["$a"] * 500), {"a": [2.0]}) == 1000.0


def test_refused_features_leave_the_others() -> None:
    """The rest is compiled, in the mapping's order."""
    found = compile_alphas({"B": "$close", "BAD": "Ref($close,-1)", "A": "$open/$close"})
    assert (found.features, list(found.not_compiled)) == (("B", "A"), ["BAD"])
    assert compile_alphas({}).graph is None


def test_bars_that_would_be_too_large_leave_the_longest_features_out() -> None:
    """Twenty fields of 4000 days are more than a row of bars may have: the longest expression goes, the others stay."""
    many = {f"F{place}": f"$f{place}" for place in range(20)}
    found = compile_alphas({"LONG": "Ref($close,4000)", **many, "SHORT": "Ref($close,1000)"})
    assert list(found.not_compiled) == ["LONG"]
    assert found.window * len(found.fields) <= MAXIMUM_NUMBERS
    assert found.window == 1001


# --- what is said of a graph --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "days", "fields"),
    [
        ("$close/$open", 1, ("close", "open")),
        ("Ref($close,60)/$close", 61, ("close",)),
        ("Mean($close,60)", 60, ("close",)),
        ("Corr($close/Ref($close,1),Log($volume/Ref($volume,1)+1),60)", 61, ("close", "volume")),
        ("Mean(Std($low,4),5)-Ref($high,3)", 8, ("high", "low")),
    ],
)
def test_look_back_and_inputs(text: str, days: int, fields: tuple[str, ...]) -> None:
    """Days, the day itself included, and fields in the order of the graph's input."""
    found = compiled(text)
    assert (found.look_backs["A"], found.window, found.inputs["A"], found.fields) == (days, days, fields, fields)
    assert not found.truncated


def test_exponential_means_say_what_they_cut_off() -> None:
    """Their look-back is unlimited; the window keeps all but a hundred-millionth, gaps of sixty days included."""
    found = compile_alphas({"E": "EMA($close,12)", "W": "Mean($close,0.2)", "M": "Mean($close,5)"})
    assert found.look_backs == {"E": None, "W": None, "M": 5}
    assert set(found.truncated) == {"E", "W"}
    assert all(0 < weight < TAIL for weight in found.truncated.values())
    assert (11 / 13) ** (found.window - GAP) < TAIL


def test_equal_subexpressions_are_computed_once() -> None:
    """A feature that is another one's part adds almost nothing to the graph."""
    one = compiled("Std($close/Ref($close,1),20)")
    two = compile_alphas({"A": "Std($close/Ref($close,1),20)", "B": "Std($close/Ref($close,1),20)/$close"})
    assert one.graph is not None
    assert two.graph is not None
    count = [len(onnx.load_from_string(graph).graph.node) for graph in (one.graph, two.graph)]
    assert count[1] - count[0] <= 6


def test_the_same_expressions_give_the_same_bytes() -> None:
    """And nothing in a graph is there for nothing."""
    first, second = compile_alphas(OPERATORS), compile_alphas(dict(OPERATORS))
    assert first == second
    assert first.graph is not None
    graph = onnx.load_from_string(first.graph).graph
    read = {name for node in graph.node for name in node.input} | {"alphas"}
    assert all(read.intersection(node.output) for node in graph.node)
    assert all(tensor.name in read for tensor in graph.initializer)


def test_every_operator_of_qlib_has_a_case() -> None:
    """Each compiled operator occurs in the expressions that are compared with qlib; the noise is of known kinds."""
    text = " ".join(OPERATORS.values())
    signs = {"Sub": "-", "Mul": "*", "Gt": ">", "Le": "<=", "Eq": "==", "And": "&"}
    assert all(f"{name}(" in text or signs.get(name, "(?)") in text for name in COMPILED)
    assert NOISE.keys() <= OPERATORS.keys()
    assert {entry.kind for entries in NOISE.values() for entry in entries} == KINDS.keys()


def test_the_document_has_every_operator_and_every_group() -> None:
    """docs/alphas.md was made with these operators, kinds of noise and features, and has no NaN out of place."""
    text = (REPOSITORY / "docs/alphas.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (\*{0,2}\w+\*{0,2}) \| (\d+) \| [\d ]+ \| (?:all|[\d.]+ %) \| (\S+) \| (\d+) \|$", text, re.MULTILINE
    )
    assert set(COMPILED) <= {name for name, *_ in rows}
    assert [int(count) for name, count, *_ in rows if name == "**all**"] == [158, 360, len(OPERATORS)]
    assert all(float(largest) <= LIMIT and wrong == "0" for _, _, largest, wrong in rows)
    assert all(f"- **{kind}**: {meaning}." in text for kind, meaning in KINDS.items())
    assert all(f"| `{OPERATORS[name]}` | {entry.kind} |" in text for name, found in NOISE.items() for entry in found)


# --- numbers ------------------------------------------------------------------------------------------------------------


def test_windows_begin_with_the_stocks_life() -> None:
    """Days before the listing do not count; suspended days inside the life do, as days without a value."""
    nan = float("nan")
    close = {"close": [nan, 3.0, 2.0]}
    assert value("Count($close>0,5)", close) == 3.0
    assert value("Count($close,5)", close) == 2.0
    assert value("Mean($close>2.5,5)", close) == pytest.approx(1 / 3)
    assert value("IdxMin($close,5)", close) == 1.0
    assert value("IdxMax($close,2)", close) == 1.0
    assert np.isnan(value("Ref($close>0,3)", close))
    assert value("Ref($close>0,2)", close) == 0.0


@pytest.mark.parametrize("operator", ["Std", "Var", "Slope", "Mad", "Skew", "Cov"])
def test_constant_windows_give_exactly_zero(operator: str) -> None:
    """Equal values have no deviation, however they are represented; rolling results too."""
    closes = {"close": [0.1] * 40}
    other = "Mean($close,7)," if operator == "Cov" else ""
    for inner in ("$close", "Mean($close,7)", "$close*3.3"):
        assert value(f"{operator}({inner},{other}20)", closes) == 0.0
    assert value("Kurt(Mean($close,7),20)", closes) == -3.0
    assert np.isnan(value("Rsquare($close,20)", closes))
    assert np.isnan(value("Corr($close,Log($close),20)", closes))


def test_a_rows_bits_do_not_depend_on_the_other_rows() -> None:
    """Alone, in other company, in another place: the same bits, for every operator."""
    found = compile_alphas(OPERATORS)
    assert found.graph is not None
    random = np.random.default_rng(5)
    bars = np.exp(0.1 * random.standard_normal((40, found.window, len(found.fields)))).astype(np.float32)
    bars[random.random(bars.shape) < 0.02] = np.nan
    length = random.integers(1, found.window + 1, 40)
    for row, days in enumerate(length):
        bars[row, : found.window - days] = np.nan
    loaded = session(found.graph)
    (whole,) = loaded.run(None, {"bars": bars, "length": length})
    backwards = loaded.run(None, {"bars": bars[::-1].copy(), "length": length[::-1].copy()})[0][::-1]
    alone = np.concatenate(
        [loaded.run(None, {"bars": bars[row : row + 1], "length": length[row : row + 1]})[0] for row in range(40)]
    )
    # The sign of a NaN is nobody's.
    assert np.array_equal(whole, backwards, equal_nan=True)
    assert np.array_equal(whole, alone, equal_nan=True)


def test_the_float32_logarithm_is_numpys() -> None:
    """Where numpy has the instructions for its own logarithm: every bit of it, for floats of all sizes."""
    if not {"AVX2", "AVX512F", "X86_V3", "X86_V4"} & _instructions():
        pytest.skip("numpy takes the C library's logarithm on this processor")
    bits = np.random.default_rng(7).integers(0, 1 << 31, 300_000, dtype=np.int64).astype(np.uint32)
    edges = np.array([0.0, 1.0, 2.0, 0.5, np.inf, -1.0, np.nan, np.sqrt(0.5), np.sqrt(2.0)], np.float32)
    values = np.concatenate([bits.view(np.float32), edges, np.nextafter(edges, np.float32(9))]).astype(np.float32)
    found = compiled("Log($a)")
    assert found.graph is not None
    with np.errstate(all="ignore"):
        wanted = np.log(values)
    got = session(found.graph).run(None, {"bars": values[:, None, None], "length": np.ones(len(values), np.int64)})[0]
    assert np.array_equal(got[:, 0], wanted, equal_nan=True)


def _instructions() -> set[str]:
    config = np.show_config(mode="dicts")
    found = config["SIMD Extensions"]
    return {*found.get("baseline", []), *found.get("found", [])}


@pytest.mark.parametrize(("operator", "power"), [("Skew", 3), ("Kurt", 4)])
def test_where_qlib_has_noise_the_graph_has_the_moments(
    operator: str, power: int, market: Path, tmp_path: Path
) -> None:
    """Skew and Kurt of every window, the constant and nearly constant among them, are those of extended precision."""
    provider = add_odd_stocks(market, tmp_path / "odd")
    stocks = read_stocks(provider, ["volume"])
    chosen = {name: stocks[name] for name in SOME_STOCKS}
    found = compiled(f"{operator}($volume,9)")
    assert found.graph is not None
    got = alpha_columns(found.graph, list(chosen.values()), found.window)[:, 0]
    wanted = np.concatenate([_moments(stock, 9, power) for stock in chosen.values()])
    result = column(
        got, wanted.astype(np.float32), np.repeat(list(chosen), [len(s.values) for s in chosen.values()]), {}
    )
    assert result.good
    assert result.largest < 1e-6


def _moments(stock: Stock, window: int, power: int) -> np.ndarray:
    """pandas' formulas in long double with the mean taken off."""
    values = np.concatenate([np.full(window - 1, np.nan), stock.values[:, 0]]).astype(np.longdouble)
    windows = np.lib.stride_tricks.sliding_window_view(values, window)
    n = (~np.isnan(windows)).sum(axis=1).astype(np.longdouble)
    with np.errstate(all="ignore"):
        deviations = windows - (np.nansum(windows, axis=1) / n)[:, None]
        second, high = (np.nansum(deviations**order, axis=1) / n for order in (2, power))
        if power == 3:
            result = np.sqrt(n * (n - 1)) / (n - 2) * high / second**1.5
        else:
            result = ((n * n - 1) * high / second**2 - 3 * (n - 1) ** 2) / ((n - 2) * (n - 3))
    result[second <= 1e-14] = np.nan
    constant = np.nanmax(np.nan_to_num(windows, nan=-np.inf), axis=1) == np.nanmin(
        np.nan_to_num(windows, nan=np.inf), axis=1
    )
    result[constant] = 0.0 if power == 3 else -3.0
    result[n < power] = np.nan
    return np.asarray(result)


# --- against qlib --------------------------------------------------------------------------------------------------------


def record(provider: Path, expressions: dict[str, str], out: Path, stocks: tuple[str, ...] = ()) -> None:
    """Ask qlib, in the research environment's own Python."""
    listed = out.with_suffix(".json")
    listed.write_text(json.dumps(expressions), encoding="utf-8")
    program = REPOSITORY / "tools/research/record_alphas.py"
    command = [
        str(RESEARCH),
        str(program),
        "--provider",
        str(provider),
        "--expressions",
        str(listed),
        "--out",
        str(out),
    ]
    done = subprocess.run([*command, "--instruments", ",".join(stocks)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@needs_qlib
@pytest.mark.slow
@pytest.mark.parametrize("name", ["@Alpha158", "@Alpha360"])
def test_alpha158_and_alpha360_are_qlibs(name: str, market: Path, tmp_path: Path) -> None:
    """Every expression, stock and day, suspensions, listings and constant windows among them: 1e-5, and NaN where qlib has it."""
    provider = add_odd_stocks(market, tmp_path / "odd")
    record(provider, {"all": name}, tmp_path / "qlib.parquet")
    found = compare(read_recorded(tmp_path / "qlib.parquet"), provider)
    assert len(found.columns) == int(name[-3:])
    bad = {feature: result for feature, result in found.columns.items() if not result.good or result.listed}
    assert not bad


@needs_qlib
@pytest.mark.slow
def test_every_other_operator_is_qlibs(market: Path, tmp_path: Path) -> None:
    """All operators over prices, volumes, truth values, whole numbers, infinities, rolling results and windows of windows."""
    provider = add_odd_stocks(market, tmp_path / "odd")
    record(provider, OPERATORS, tmp_path / "qlib.parquet", SOME_STOCKS)
    recorded = read_recorded(tmp_path / "qlib.parquet")
    found = compare(recorded, provider)
    assert (recorded.refused, dict(found.compiled.not_compiled)) == ({}, {})
    assert {name: result for name, result in found.columns.items() if not result.good} == {}


@needs_qlib
@pytest.mark.slow
def test_what_qlib_cannot_compute_is_not_compiled(market: Path, tmp_path: Path) -> None:
    """Nothing gets a column that qlib itself refuses."""
    refused = {
        "signed": "-$close",
        "floats": "$close&$open",
        "truth": "($close>1)-($open>1)",
        "window": "Mean($close,5.0)",
        "short": "Kurt($close,3)",
        "number": "Add(1,2)",
        "constant": "Corr($close,5,3)",
        "name": "Foo($close,5)",
    }
    record(market, refused, tmp_path / "qlib.parquet", ("SH601001",))
    assert read_recorded(tmp_path / "qlib.parquet").refused.keys() == refused.keys()
    assert compile_alphas(refused).not_compiled.keys() == refused.keys()


def test_recorded_values_of_qlib() -> None:
    """Some days of some stocks of all expressions, as qlib gave them; without qlib, on every machine."""
    table, lives = pq.read_table(RECORDED / "values.parquet"), pq.read_table(RECORDED / "bars.parquet")
    names = table["name"].to_pylist()
    found = compile_alphas(dict(zip(names, table["expression"].to_pylist(), strict=True)))
    assert found.graph is not None
    assert list(found.features) == names
    check_alphas(
        found.graph, "alphas.onnx", window=found.window, fields=len(found.fields), features=len(found.features)
    )
    places = [place.split() for place in table.column_names[2:]]
    instruments = lives["instrument"].to_numpy(zero_copy_only=False)
    columns = np.stack([lives[field].to_numpy() for field in found.fields], axis=1)
    given = [windows_of(columns[instruments == stock], found.window, [int(day)]) for stock, day in places]
    inputs = {
        "bars": np.concatenate([bars for bars, _ in given]),
        "length": np.concatenate([length for _, length in given]),
    }
    (got,) = session(found.graph).run(None, inputs)
    wanted = np.stack([table[place].to_numpy() for place in table.column_names[2:]])
    stocks = np.array([stock for stock, _ in places])
    results = {name: column(got[:, place], wanted[:, place], stocks, {}) for place, name in enumerate(names)}
    assert len(results) > 800
    assert {name: result for name, result in results.items() if not result.good} == {}
