"""What a constant does to an expression: the derivation, and numbers as its judge."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpha_cases import OPERATORS as EXPRESSIONS
from alpha_market import Stock, alpha_columns
from alphaseal.bars.adjustment import PRICES, unit_of
from alphaseal_converter.alphas import CompiledAlphas, compile_alphas
from alphaseal_converter.alphas.nodes import OPERATORS, Nodes
from alphaseal_converter.alphas.scaling import NONE, SAME, Change, Factor, Scaling, Shift, Unknown, derive
from alphaseal_converter.alphas.syntax import parse
from locations import DATA, REPOSITORY

FIELDS = ("open", "high", "low", "close", "vwap", "volume", "factor")


def derived(text: str) -> dict[str, Scaling]:
    """What is derived of an expression, by unit."""
    return derive(Nodes().lower(parse(text)))


def recorded() -> dict[str, str]:
    """All expressions of Alpha158 and Alpha360 and of tests/alpha_cases.py, by name."""
    table = pq.read_table(DATA / "alphas/values.parquet", columns=["name", "expression"]).to_pydict()
    return dict(zip(table["name"], table["expression"], strict=True))


def market(stocks: int = 12, days: int = 160) -> list[Stock]:
    """Bars of stocks whose prices and volumes move, with gaps; all FIELDS, in their order."""
    random, lives = np.random.default_rng(11), []
    for place in range(stocks):
        close = 10.0 * (1 + place) * np.exp(np.cumsum(random.normal(0, 0.02, days)))
        opened = close * np.exp(random.normal(0, 0.01, days))
        high, low = (np.maximum, np.minimum)[0](opened, close), np.minimum(opened, close)
        high, low = (
            high * np.exp(np.abs(random.normal(0, 0.01, days))),
            low / np.exp(np.abs(random.normal(0, 0.01, days))),
        )
        volume = np.round(np.exp(random.normal(13, 0.5, days)))
        factor = np.where(np.arange(days) < 80, 0.8, 1.1)
        values = np.stack([opened, high, low, close, (high + low + close) / 3, volume, factor], axis=1)
        values[random.random(days) < 0.02] = np.nan
        lives.append(Stock(0, values.astype(np.float32)))
    return lives


MARKET = market()


def values_of(compiled: CompiledAlphas, constants: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """float64 [days of stocks, features] of the market with the fields of units times constants."""
    assert compiled.graph is not None
    places = [FIELDS.index(field) for field in compiled.fields]
    factors = np.array([constants.get(unit_of(field), 1.0) for field in compiled.fields], np.float32)
    stocks = [Stock(0, np.ascontiguousarray(stock.values[:, places] * factors)) for stock in MARKET]
    return alpha_columns(compiled.graph, stocks, compiled.window).astype(np.float64)


def wrong_cells(
    plain: npt.NDArray[np.float64], found: npt.NDArray[np.float64], scaling: Scaling, constant: float
) -> npt.NDArray[np.bool_]:
    """Cells at which the values with a constant are not what was derived, rounding apart."""
    change = scaling.change
    if isinstance(change, Factor):
        expected = plain * constant ** float(change.degree)
    elif isinstance(change, Shift):
        expected = plain + float(change.amount) * np.log(constant)
    else:
        expected = plain
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(np.quantile(finite, 0.75)) if len(finite) else 0.0
    with np.errstate(invalid="ignore"):
        near = np.abs(found - expected) <= 1e-3 * np.maximum(scale, np.abs(expected))
    return ~(near | (found == expected) | (np.isnan(found) & np.isnan(expected)))


# --- rules --------------------------------------------------------------------------------------------------------------

RATIO: dict[str, str] = {
    "Alpha158 without thresholds": "($high-$low)/$open",
    "line": "Resi($close, 5)/$close",
    "truth": "Mean($close>Ref($close, 1), 5)-Mean($close<Ref($close, 1), 5)",
    "one of prices": "(Less($open, $close)-$low)/$open",
    "places": "(IdxMax($high, 20)-IdxMin($low, 20))/20",
    "rank": "Rank($close, 10)",
    "logarithms": "Log($close)-Log(Ref($close, 5))",
    "deviation of a logarithm": "Std(Log($close), 10)",
    "line of a logarithm": "Slope(Log($close), 10)",
    "correlation of a logarithm": "Corr(Log($close), $open/$close, 10)",
    "fractions": "Power($close, 0.5)/Power($open*$close, 0.25)",
    "condition": "If($close>$open, $high, $low)/$close",
    "zero": "Greater($close-$open, 0)/$close",
    "nothing": "0*$close",
}
SEEN: dict[str, tuple[str, object]] = {
    "price": ("$close", Factor(Fraction(1))),
    "mean": ("Mean($close, 3)", Factor(Fraction(1))),
    "difference": ("$high-$low", Factor(Fraction(1))),
    "variance": ("Var($close, 5)", Factor(Fraction(2))),
    "inverse": ("1/$close", Factor(Fraction(-1))),
    "root": ("$close**0.5", Factor(Fraction(1, 2))),
    "covariance": ("Cov($close, $open, 5)", Factor(Fraction(2))),
    "logarithm": ("Log($close)", Shift(Fraction(1))),
    "logarithm of a square": ("2*Log($close*$open)-Log($high)", Shift(Fraction(3))),
    "mean of a logarithm": ("EMA(Log($close), 5)", Shift(Fraction(1))),
    "negative logarithm": ("0-Log($close)", Shift(Fraction(-1))),
}


@pytest.mark.parametrize("text", RATIO.values(), ids=RATIO.keys())
def test_what_is_a_ratio_is_unchanged(text: str) -> None:
    """Degree 0 in every unit that it reads, without a threshold that would have to be negligible."""
    for scaling in derived(text).values():
        assert scaling.unchanged, text
        assert not scaling.guards


@pytest.mark.parametrize(("text", "change"), SEEN.values(), ids=SEEN.keys())
def test_degrees_and_shifts(text: str, change: object) -> None:
    """What is multiplied is multiplied by a power of the constant, what is moved by its logarithm."""
    assert derived(text) == {"price": Scaling(change)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "(EMA($close, 12) - EMA($close, 26))/$close - EMA((EMA($close, 12) - EMA($close, 26))/$close, 9)/$close",
        "If($close>$open, $close, 1)",
        "Log(Log($close))",
        "Sum(Log($close), 5)",
        "WMA(Log($close), 5)",
        "Log($close)*($close/$open)",
        "Log($close)/Log($open)",
        "Abs(Log($close))",
        "Sign(Log($close))",
        "Greater(Log($close), 0)",
        "Log($close)>0",
        "If(Log($close), 1, 2)",
        "Power($close, $close/$open)",
        "Power(2, $close)",
        "Power(Log($close), 2)",
        "$close+$close*$open",
    ],
)
def test_what_no_rule_covers_is_not_known(text: str) -> None:
    """Sums of different degrees, choices between them, functions of logarithms: unknown, with the operators named."""
    change = derived(text)["price"].change
    assert isinstance(change, Unknown)
    assert " of " in change.why


@pytest.mark.parametrize(
    ("text", "guard"),
    [
        ("($close-$open)/($high-$low+1e-12)", "1e-12 in Add"),
        ("$close/Greater($open, 1e-8)", "1e-08 in Greater"),
        ("If($high-$low>1e-9, 1, 0)", "1e-09 in Gt"),
        ("Rsquare($close, 5)", "the smallest deviation of Rsquare"),
        ("Corr($close, $volume, 5)", "the smallest deviation of Corr"),
        ("Skew($close, 5)", "the smallest deviation of Skew"),
        ("Mean(Kurt($close, 5), 3)", "the smallest deviation of Kurt"),
    ],
)
def test_thresholds_are_named(text: str, guard: str) -> None:
    """Unchanged only where an absolute threshold is negligible, and which one."""
    assert derived(text)["price"] == Scaling(SAME, frozenset({guard}))


def test_thresholds_beside_ratios_are_quantities() -> None:
    """A tiny number beside what has no unit is a number like any other; a larger one is never a threshold."""
    assert derived("Corr($close/Ref($close,1), $open/$close, 5)+1e-12") == {"price": Scaling(SAME)}
    assert derived("$close/($open+0.001)")["price"].guards == frozenset()
    assert derived("Rsquare(Log($close), 5)") == {"price": Scaling(SAME)}


@pytest.mark.parametrize(
    ("text", "change", "quantity"),
    [
        ("Corr($close/$open, Log($volume+1), 5)", SAME, "1 in Add"),
        ("$close/($open+0.001)", SAME, "0.001 in Add"),
        ("Mean($close>10, 5)", SAME, "10 in Gt"),
        ("If($close-10, 1, 2)", SAME, "10 in Sub"),
        ("$close+1", Factor(Fraction(1)), "1 in Add"),
        ("Greater($close, 20)", Factor(Fraction(1)), "20 in Greater"),
        ("Log($close+1)", Shift(Fraction(1)), "1 in Add"),
    ],
)
def test_quantities_are_named(text: str, change: Change, quantity: str) -> None:
    """A number that is no guard counts as 0 too, but is told apart: data must show that it is small, and bars what they are."""
    unit = "volume" if "volume" in text else "price"
    assert derived(text)[unit] == Scaling(change, quantities=frozenset({quantity}))


def test_units() -> None:
    """Prices are one unit, every other field its own: the factor of adjustment, amounts, a field of the name `price`."""
    assert {unit_of(field) for field in PRICES} == {"price"}
    assert [unit_of(field) for field in ("volume", "factor", "price")] == ["volume", "factor", "$price"]
    found = derived("$vwap*$volume/$amount")
    assert {unit: scaling.change for unit, scaling in found.items()} == {
        "amount": Factor(Fraction(-1)),
        "price": Factor(Fraction(1)),
        "volume": Factor(Fraction(1)),
    }
    assert {unit: scaling.unchanged for unit, scaling in derived("$close/$factor").items()} == {
        "price": False,
        "factor": False,
    }
    assert derived("$close-$close")["price"].change == Factor(Fraction(1))
    assert derived("0*$close")["price"].change == NONE


def test_every_operator_has_a_rule() -> None:
    """Nothing that compiles ends in an error here."""
    from alphaseal_converter.alphas import scaling

    lowered = {"Delta"}  # a difference to Ref
    assert set(OPERATORS) - lowered <= scaling._RULES.keys()


# --- numbers ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_expressions_do_in_numbers_what_was_derived() -> None:
    """Alpha158, Alpha360 and every operator over prices, volumes, truth values and windows of windows, times 8 and 1/8."""
    compiled = compile_alphas(recorded())
    assert not compiled.not_compiled
    plain = values_of(compiled, {})
    judged = 0
    for unit in ("price", "volume"):
        for constant in (0.125, 8.0):
            found = values_of(compiled, {unit: constant})
            for place, name in enumerate(compiled.features):
                scaling = compiled.scalings[name].get(unit, Scaling(SAME))
                if isinstance(scaling.change, Unknown) or scaling.quantities:
                    continue
                judged += 1
                wrong = wrong_cells(plain[:, place], found[:, place], scaling, constant)
                assert wrong.mean() <= 0.001, (name, recorded()[name], unit, constant, wrong.mean())
    assert judged > 3000


def test_random_constants_of_each_stock_leave_alpha158_and_alpha360() -> None:
    """What is derived as unchanged is unchanged within rounding by any constant of each stock, of prices and of volumes."""
    names = [name for name in recorded() if name not in EXPRESSIONS]
    compiled = compile_alphas({name: recorded()[name] for name in names})
    assert compiled.graph is not None
    random = np.random.default_rng(5)
    plain = values_of(compiled, {})
    for unit in ("price", "volume"):
        places = [FIELDS.index(field) for field in compiled.fields]
        of_unit = np.array([unit_of(field) == unit for field in compiled.fields])
        stocks = [
            Stock(
                0,
                np.where(
                    of_unit, stock.values[:, places] * np.float32(np.exp(random.normal())), stock.values[:, places]
                ),
            )
            for stock in MARKET
        ]
        found = alpha_columns(compiled.graph, stocks, compiled.window).astype(np.float64)
        seen = [
            name
            for name in names
            if (scaling := compiled.scalings[name].get(unit)) and (scaling.quantities or not scaling.unchanged)
        ]
        assert seen == ([] if unit == "price" else [f"CORR{days}" for days in (5, 10, 20, 30, 60)])
        for place, name in enumerate(compiled.features):
            wrong = wrong_cells(plain[:, place], found[:, place], Scaling(SAME), 1.0)
            assert name in seen or wrong.mean() <= 0.001, name


def test_correlations_with_the_logarithm_of_volume_see_lots() -> None:
    """CORR of Alpha158 adds 1 to the volume: where volumes are small the unit is seen, so it is not invariant."""
    compiled = compile_alphas({"CORR5": "Corr($close, Log($volume+1), 5)"})
    plain, lots = values_of(compiled, {}), values_of(compiled, {"volume": 1e-5})
    assert wrong_cells(plain[:, 0], lots[:, 0], Scaling(SAME), 1.0).mean() > 0.5


def test_the_document_says_what_is_derived() -> None:
    """docs/alphas.md, Units: every feature of Alpha158 and Alpha360 stands in the line of what is derived of it."""
    text = (REPOSITORY / "docs/alphas.md").read_text(encoding="utf-8").split("## Units")[1].split("## Unlimited")[0]
    expressions, lines = recorded(), re.findall(r"^\| ([\w, ]+) \| (\d+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert sum(int(count) for _, count, *_ in lines) == 158 + 360
    for groups, _, *words in lines:
        for name in groups.split(", "):
            found = derived(expressions.get(name, expressions.get(f"{name}5", "")))
            for unit, said in zip(("price", "volume"), words, strict=True):
                scaling = found.get(unit)
                wanted = "–" if scaling is None else "must" if scaling.quantities else "free"
                assert said.startswith(wanted), (name, unit, said)
                assert scaling is None or (said == "free") == scaling.exact


_FIELD = st.sampled_from([f"${field}" for field in FIELDS])
_NUMBER = st.sampled_from(["0", "1", "2", "0.5", "-1", "1e-12", "10"])
_DAYS = st.sampled_from(["3", "5", "8"])
_ROLLING = ("Mean", "Sum", "Std", "Var", "Max", "Min", "Med", "Mad", "Rank", "Count", "IdxMax", "IdxMin", "EMA")
_LINES = ("Slope", "Rsquare", "Resi", "WMA")


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    side = st.one_of(inner, inner, _NUMBER)
    return st.one_of(
        st.builds("({}{}{})".format, inner, st.sampled_from("+-*/"), side),
        st.builds("({}{}{})".format, side, st.sampled_from("+-*/"), inner),
        st.builds("{}({},{})".format, st.sampled_from((*_ROLLING, *_LINES)), inner, _DAYS),
        st.builds("{}({},{},{})".format, st.sampled_from(("Corr", "Cov")), inner, inner, _DAYS),
        st.builds("{}({},{})".format, st.sampled_from(("Greater", "Less")), inner, side),
        st.builds("If({}{}{},{},{})".format, inner, st.sampled_from(("<", ">=")), side, inner, side),
        st.builds("{}({},{})".format, st.sampled_from(("Ref", "Delta")), inner, st.sampled_from("12")),
        st.builds("{}({})".format, st.sampled_from(("Log", "Abs", "Sign")), inner),
        st.builds("Quantile({},{},0.3)".format, inner, _DAYS),
        st.builds("Power({},{})".format, inner, st.sampled_from(("2", "0.5", "-1", "0"))),
    )


@settings(max_examples=150, deadline=None)
@given(st.recursive(_FIELD, _grown, max_leaves=6))
def test_random_expressions_do_in_numbers_what_was_derived(text: str) -> None:
    """Whatever compiles: hardly a row is another one than the derivation says, for every unit that it reads."""
    compiled = compile_alphas({"A": text})
    if compiled.graph is None:
        return
    plain = values_of(compiled, {})
    for unit, scaling in compiled.scalings["A"].items():
        if not isinstance(scaling.change, Unknown) and scaling.exact:
            found = values_of(compiled, {unit: 4.0})
            wrong = wrong_cells(plain[:, 0], found[:, 0], scaling, 4.0)
            assert wrong.mean() <= 0.02, (text, unit, scaling, wrong.mean())
