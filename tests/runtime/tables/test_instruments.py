"""Instrument notations and patterns."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphaseal.errors import InputError, MalformedError, UsageError
from alphaseal.tables.instruments import convert, normalise, rewriting
from alphaseal.tables.request import Notation

CODES = st.lists(
    st.tuples(st.sampled_from(["SH", "SZ", "BJ"]), st.integers(0, 999_999).map("{:06d}".format)),
    min_size=1,
    max_size=20,
)


def strings(*values: str) -> pa.Array:
    return pa.array(values, pa.string())


@given(CODES)
def test_notations_convert_both_ways(codes: list[tuple[str, str]]) -> None:
    """SH600000 becomes 600000.SH and back, for every exchange and number."""
    qlib = strings(*(exchange + number for exchange, number in codes))
    vendor = strings(*(f"{number}.{exchange}" for exchange, number in codes))
    assert convert(qlib, "qlib", "ts").equals(vendor)
    assert convert(vendor, "ts", "qlib").equals(qlib)
    assert convert(qlib, "qlib", "qlib").equals(qlib)


@pytest.mark.parametrize(
    "wrong", ["sh600000", "SH60000", "SH6000000", "600000.SH", "SH600000\n", "XX600000", "SH６00000", ""]
)
def test_a_value_of_another_form_is_an_error(wrong: str) -> None:
    """Nothing is converted by guess: the value that does not match is named."""
    with pytest.raises(InputError) as raised:
        convert(strings("SH600000", wrong), "qlib", "ts")
    assert raised.value.code == "instrument.pattern"
    assert repr(wrong) in str(raised.value.found)


def test_target_notation_comes_from_the_pattern() -> None:
    """Without a named format the bundle's notation is the one its pattern accepts."""
    result = normalise(strings("600000.SH"), Notation("ts", pattern=r"^(SH|SZ)\d{6}$"))
    assert result.to_pylist() == ["SH600000"]


def test_a_table_of_another_notation_than_the_named_one_is_refused() -> None:
    """Also where some or all of its codes are the bundle's already."""
    with pytest.raises(InputError):
        normalise(strings("SH600000", "SZ000001"), Notation("ts", "qlib"))
    with pytest.raises(InputError) as raised:
        normalise(strings("SH600000", "000001.SZ"), Notation("ts", "qlib"))
    assert raised.value.code == "instrument.pattern"


@given(CODES)
def test_rewriting_says_the_same_to_python(codes: list[tuple[str, str]]) -> None:
    """What another process converts by these patterns is what `convert` gives."""
    found = rewriting(Notation("ts", "qlib"))
    assert found is not None
    own, source, replacement = found
    vendor = [f"{number}.{exchange}" for exchange, number in codes]
    wanted = convert(strings(*vendor), "ts", "qlib").to_pylist()
    assert [re.sub(source, replacement, code) for code in vendor] == wanted
    assert all(re.fullmatch(own, code) for code in wanted)


def test_target_notation_comes_from_the_kind() -> None:
    """The kind of the manifest brings the target and its pattern."""
    assert normalise(strings("SZ000001"), Notation("qlib", "ts")).to_pylist() == ["000001.SZ"]


@pytest.mark.parametrize(("kind", "wrong"), [("qlib", "600000.SH"), ("ts", "SH600000"), ("other", "AB CD")])
def test_the_kind_checks_values_that_are_not_converted(kind: str, wrong: str) -> None:
    """A table in another notation than the bundle's is an error, not an empty join."""
    with pytest.raises(InputError) as raised:
        normalise(strings(wrong), Notation(None, kind))
    assert raised.value.code == "instrument.pattern"


def test_the_whole_value_must_match() -> None:
    """A pattern without anchors is still one of the whole value."""
    with pytest.raises(InputError):
        normalise(strings("xSH600000"), Notation(None, None, r"SH\d{6}"))


def test_only_the_first_misses_are_shown() -> None:
    """The message names three values and counts the rest."""
    with pytest.raises(InputError) as raised:
        normalise(strings(*"abcde"), Notation(None, "qlib"))
    assert raised.value.found == "'a', 'b', 'c' and 2 more"


@pytest.mark.parametrize(
    ("source", "kind", "pattern"),
    [("tushare", "qlib", None), ("qlib", "other", None), ("qlib", None, None), ("qlib", None, ".*"), (None, "x", None)],
)
def test_unknown_formats_are_the_callers_error(source: str | None, kind: str | None, pattern: str | None) -> None:
    """A conversion whose source or target is not known is refused."""
    with pytest.raises(UsageError) as raised:
        normalise(strings("SH600000"), Notation(source, kind, pattern))
    assert raised.value.code == "usage.instrument_format"


def test_a_broken_pattern_is_the_bundles_fault() -> None:
    """A pattern that is no regular expression is MalformedError, not a crash."""
    with pytest.raises(MalformedError) as raised:
        normalise(strings("a"), Notation(None, None, "("))
    assert raised.value.code == "instrument.bad_pattern"
