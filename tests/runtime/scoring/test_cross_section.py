"""Cross-sections: the bits of qlib's processors, recorded, from qlib itself where it is, and by pandas."""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from alphaseal.errors import PolicyError
from alphaseal.scoring.cross_section import CrossSection
from alphaseal.scoring.numeric import ulp_distance
from locations import DATA, REPOSITORY

RESEARCH = os.environ.get("ALPHASEAL_RESEARCH_PYTHON")
OURS = [
    ("CSZScoreNorm", "zscore"),
    ("CSZScoreNorm", "robust"),
    ("CSRankNorm", None),
    ("CSZFillna", None),
    ("ProcessInf", None),
]


def numbers(columns: list[list[Any]]) -> np.ndarray:
    return np.ascontiguousarray(np.array([[float(value) for value in column] for column in columns]).T)


def processor(name: str, method: str | None, frame: str, single: list[str] | None) -> dict[str, Any]:
    """The stage's declaration for a frame of that kind."""
    dtype = "float32" if frame == "float32" and name != "CSRankNorm" else "float64"
    mixed = single if frame == "mixed" else None
    return {"class": name, "method": method, "columns": None, "dtype": dtype, "float32_columns": mixed}


def check(recorded: dict[str, Any]) -> None:
    """Our results have the recorded bits."""
    days = np.array(recorded["days"])
    starts = np.flatnonzero(np.r_[True, days[1:] != days[:-1]]).tolist()
    spans = list(zip(days[starts], starts, [*starts[1:], len(days)], strict=True))
    seen = set()
    for kind, frame in recorded["frames"].items():
        for result in frame["results"]:
            key = (result["class"], result["method"])
            if key not in OURS:
                continue
            seen.add((kind, *key))
            stage = CrossSection.parse(
                processor(*key, kind, frame["single"]), len(recorded["columns"]), recorded["columns"]
            )
            found = stage.apply(numbers(frame["values"]), spans)
            distance = ulp_distance(found, numbers(result["values"]))
            assert distance.max() == 0, (kind, key, dict(zip(recorded["columns"], distance.max(axis=0), strict=True)))
    assert len(seen) == 3 * len(OURS)


def test_results_are_those_that_qlib_recorded() -> None:
    """Ties, gaps, infinities, constants and huge values, in float32, float64 and mixed frames: the same bits."""
    check(json.loads((DATA / "pipeline/cross_sections.json").read_text(encoding="utf-8")))


@pytest.mark.skipif(not RESEARCH, reason="ALPHASEAL_RESEARCH_PYTHON names no Python with qlib")
@pytest.mark.parametrize(("seed", "size"), [(1, 150), (2, 1200)])
@pytest.mark.slow
def test_results_are_those_of_qlib_itself(tmp_path: Path, seed: int, size: int) -> None:
    """The same on larger days, asked from qlib now."""
    out = tmp_path / "cross_sections.json"
    program = REPOSITORY / "tools/research/record_cross_sections.py"
    subprocess.run([str(RESEARCH), str(program), str(out), str(seed), str(size)], check=True, capture_output=True)
    check(json.loads(out.read_text(encoding="utf-8")))


def pandas_result(name: str, method: str | None, day: pd.DataFrame) -> pd.DataFrame:
    """One day as qlib's processor treats it (its formulas, its pandas calls)."""
    if name == "CSRankNorm":
        return (day.rank(pct=True) - 0.5) * 3.46
    if name == "CSZFillna":
        return day.fillna(day.mean())
    if name == "ProcessInf":
        return day.apply(lambda column: column.replace([np.inf, -np.inf], column[~np.isinf(column)].mean()))
    if method == "zscore":
        return (day - day.mean()).div(day.std())
    centred = day - day.median()
    return (centred / centred.abs().median() / 1.4826).clip(-3, 3)


values_of_a_day = numpy_strategies.arrays(
    np.float64,
    st.tuples(st.integers(1, 30), st.integers(1, 3)),
    elements=st.one_of(
        st.floats(-1e6, 1e6, width=32), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1.0, 0.1])
    ),
)


@settings(deadline=None, max_examples=40)
@given(values_of_a_day, st.sampled_from(OURS), st.sampled_from(["float32", "float64"]))
def test_results_are_those_of_pandas(values: np.ndarray, which: tuple[str, str | None], dtype: str) -> None:
    """Any day gives the bits that the processor's pandas calls give."""
    values = values.astype(dtype)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        expected = pandas_result(*which, pd.DataFrame(values.copy()).copy())
    stage = CrossSection.parse(processor(*which, dtype, None), values.shape[1], None)
    found = stage.apply(values.astype(np.float64), [(None, 0, len(values))])
    distance = ulp_distance(found, expected.to_numpy(np.float64))
    if which == ("CSZScoreNorm", "robust"):
        # numpy's masked median, which pandas takes below 600 stocks, goes its own way among infinities.
        distance = distance[:, ~np.isinf(values).any(axis=0)]
    assert not distance.any()


def test_days_do_not_mix() -> None:
    """Each day is ranked alone, and columns that are not named stay as they are."""
    values = np.array([[1.0, 5.0], [2.0, 6.0], [9.0, 7.0], [8.0, 8.0]])
    declared = {"class": "CSRankNorm", "columns": ["A"], "dtype": "float64", "float32_columns": None, "method": None}
    found = CrossSection.parse(declared, 2, ["A", "B"]).apply(values, [(None, 0, 2), (None, 2, 4)])
    np.testing.assert_array_equal(found[:, 0], np.array([0.0, 0.5, 0.5, 0.0]) * 3.46)
    np.testing.assert_array_equal(found[:, 1], values[:, 1])


GOOD = {"class": "CSZFillna", "columns": None, "dtype": "float64", "float32_columns": None, "method": None}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"class": "CSMystery"}, "stage.unsupported"),
        ({"class": ["CSZFillna"]}, "stage.unsupported"),
        ({"class": "CSZScoreNorm", "method": None}, "stage.unsupported"),
        ({"method": "zscore"}, "stage.unsupported"),
        ({"method": 3}, "stage.unsupported"),
        ({"dtype": "float16"}, "stage.malformed"),
        ({"dtype": "float32", "float32_columns": ["A"]}, "stage.malformed"),
        ({"columns": ["C"]}, "stage.malformed"),
        ({"columns": "A"}, "stage.malformed"),
        ({"columns": [1]}, "stage.malformed"),
        ({"clip": True}, "stage.malformed"),
    ],
)
def test_declaration_that_is_not_understood_is_refused(change: dict[str, Any], code: str) -> None:
    """A stage that this runtime would have to guess at is not scored."""
    assert CrossSection.parse(GOOD, 2, ["A", "B"]).name == "CSZFillna"
    with pytest.raises(PolicyError) as caught:
        CrossSection.parse(GOOD | change, 2, ["A", "B"])
    assert caught.value.code == code
