"""Windows: the rows that qlib's TSDataSampler takes, recorded, from qlib itself where it is, and by a plain loop."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphaseal.errors import InputError, UsageError
from alphaseal.tables.windows import Windows, oldest_date, parse_calendar
from locations import DATA, REPOSITORY

RESEARCH = os.environ.get("ALPHASEAL_RESEARCH_PYTHON")


def calendar_of(count: int) -> np.ndarray:
    return np.datetime64("2024-01-01") + np.arange(count)


def check(recorded: dict[str, Any]) -> None:
    """Our windows are the recorded ones, for every row that has one."""
    dates = np.array([date for date, _ in recorded["rows"]], "datetime64[D]")
    names = sorted({code for _, code in recorded["rows"]})
    codes = np.array([names.index(code) for _, code in recorded["rows"]], np.int32)
    assert recorded["cases"]
    for case in recorded["cases"]:
        windows = Windows.of(dates, codes, np.unique(dates), case["length"])
        targets = np.flatnonzero(dates >= np.datetime64(case["first"]))
        assert [recorded["rows"][row] for row in targets] == case["targets"]
        np.testing.assert_array_equal(windows.rows(targets), case["windows"])


def test_rows_are_those_that_qlib_recorded() -> None:
    """Suspended, late, delisted and gappy stocks: the rows of TSDataSampler with ffill+bfill."""
    check(json.loads((DATA / "pipeline/windows.json").read_text(encoding="utf-8")))


@pytest.mark.skipif(not RESEARCH, reason="ALPHASEAL_RESEARCH_PYTHON names no Python with qlib")
@pytest.mark.parametrize("seed", [1, 2])
def test_rows_are_those_of_qlib_itself(tmp_path: Path, seed: int) -> None:
    """The same on other stocks, asked from qlib now."""
    out = tmp_path / "windows.json"
    program = REPOSITORY / "tools/research/record_windows.py"
    subprocess.run([str(RESEARCH), str(program), str(out), str(seed)], check=True, capture_output=True)
    check(json.loads(out.read_text(encoding="utf-8")))


def by_loop(there: np.ndarray, day: int, stock: int, length: int) -> list[tuple[int, int]]:
    """(day, stock) of the rows of one window: the definition, a date at a time."""
    days = range(day - length + 1, day + 1)
    present = [past for past in days if there[past, stock]]
    return [(max((past for past in present if past <= date), default=present[0]), stock) for date in days]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.floats(0.1, 1.0))
def test_rows_are_those_of_the_definition(seed: int, length: int, share: float) -> None:
    """Any pattern of absent rows gives the window that the definition gives, whatever number a stock has."""
    random = np.random.default_rng(seed)
    there = random.random((12, 5)) < share
    days, stocks = np.nonzero(there)
    codes = random.permutation(5).astype(np.int32)[stocks]
    calendar = calendar_of(12)
    windows = Windows.of(calendar[days], codes, calendar, length)
    targets = np.flatnonzero(days >= length - 1)
    expected = [by_loop(there, days[row], stocks[row], length) for row in targets]
    found = windows.rows(targets)
    assert [[(days[row], stocks[row]) for row in window] for window in found] == expected


def test_calendar_too_short_says_how_many_dates_there_are() -> None:
    """A window that the calendar cannot fill is an error with the number of dates, never a padded window."""
    with pytest.raises(InputError) as caught:
        oldest_date(calendar_of(9), np.datetime64("2024-01-06"), 7)
    assert (caught.value.code, caught.value.found) == ("window.too_short", "6 dates")
    assert oldest_date(calendar_of(9), np.datetime64("2024-01-07"), 7) == np.datetime64("2024-01-01")


def test_row_outside_the_calendar_is_refused() -> None:
    """A table with a date that the given calendar does not have contradicts it."""
    calendar = calendar_of(5)[[0, 1, 3, 4]]
    with pytest.raises(InputError) as caught:
        Windows.of(calendar_of(3), np.zeros(3, np.int32), calendar, 2)
    assert (caught.value.code, caught.value.found) == ("window.not_in_calendar", "2024-01-03")


@pytest.mark.parametrize(
    "text", ["", "2024-01-02\n2024-01-02\n", "2024-01-03\n2024-01-02\n", "20240102\n", "NaT-------\n", "2024-13-01"]
)
def test_calendar_file_of_another_form_is_refused(text: str) -> None:
    """A calendar is dates that ascend, one a line."""
    with pytest.raises(UsageError) as caught:
        parse_calendar(text, "days.txt")
    assert caught.value.code == "usage.calendar"


def test_calendar_file_is_read() -> None:
    """Blank lines and line ends of any system do not count."""
    calendar = parse_calendar("2024-01-02\r\n\r\n2024-01-05\r\n", "days.txt")
    assert calendar.tolist() == np.array(["2024-01-02", "2024-01-05"], "datetime64[D]").tolist()
