"""Features of a table that are not those of the training: filled, in another unit, in another column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from alphaseal.advice.fills import LEAST_ROWS, FillCheck
from alphaseal.errors import InputError
from alphaseal.format import manifest as m
from alphaseal.format.reasons import FEATURES_FILLED
from alphaseal.tables.features import FeatureBlock
from manifests import example_manifest

STOCKS = 40
QUANTILES = {"min": -3.0, "0.01": -2.0, "0.5": 0.1, "0.99": 2.0, "max": 3.0}


def feature(**statistics: Any) -> m.Feature:
    """A feature whose training had no zero and no number twice on a day, unless `statistics` say otherwise."""
    known: dict[str, Any] = {
        "first": "2019-01-02",
        "last": "2020-12-31",
        "source": "test",
        "rows": LEAST_ROWS,
        "null_ratio": 0.1,
    }
    known |= {"infinite_ratio": 0.0, "quantiles": QUANTILES, "zero_ratio": 0.0, "common_ratio": 0.0}
    said = m.Statistics(**(known | statistics))
    return msgspec.structs.replace(example_manifest().features[0], statistics=said, statistics_missing=None)


def block_of(*days: Sequence[float]) -> FeatureBlock:
    """One feature of the stocks SH600000 and on, a day after the other."""
    names = [f"SH{600000 + row}" for day in days for row in range(len(day))]
    dates = np.repeat(np.datetime64("2024-01-02") + np.arange(len(days)), [len(day) for day in days])
    return FeatureBlock(dates, pa.array(names), np.concatenate(days)[:, None], ())


def usual(seed: int = 1) -> list[float]:
    """A day's values, all different and none of them 0."""
    return np.random.default_rng(seed).uniform(0.5, 2.0, STOCKS).tolist()


def with_values(day: list[float], value: float, *rows: int) -> list[float]:
    """The day with another value of some stocks."""
    return [value if row in rows else known for row, known in enumerate(day)]


def left_out(check: FillCheck, block: FeatureBlock) -> list[tuple[str, str]]:
    """(date, instrument) of the rows that have the reason."""
    reasons = check.marked(block).reasons
    if reasons is None:
        return []
    assert set(reasons.tolist()) <= {"", FEATURES_FILLED}
    rows = np.flatnonzero(reasons != "").tolist()
    return [(str(block.dates[row]), block.instruments[row].as_py()) for row in rows]


def rows_alone(known: m.Feature, steps: int = 1) -> FillCheck:
    return FillCheck([known], [0], steps, crosses=False)


def test_a_table_as_in_training_is_taken() -> None:
    """Numbers that differ, and missing ones, leave nobody out."""
    assert left_out(rows_alone(feature()), block_of(with_values(usual(), np.nan, 1, 2, 3, 4, 5))) == []


def test_a_zero_where_the_training_had_none() -> None:
    """One is enough where the training is long; a training with zeros, or a short one, does not tell."""
    day = block_of(with_values(usual(), 0.0, 7))
    assert left_out(rows_alone(feature()), day) == [("2024-01-02", "SH600007")]
    assert left_out(rows_alone(feature(zero_ratio=0.001)), day) == []
    assert left_out(rows_alone(feature(rows=LEAST_ROWS - 1)), day) == []


def test_one_number_for_several_stocks() -> None:
    """A mean in the place of missing values; two stocks may be alike, and days of training with such repeats are respected."""
    filled = block_of(with_values(usual(), 1.25, 3, 4, 5, 6))
    assert [name for _, name in left_out(rows_alone(feature()), filled)] == [f"SH60000{row}" for row in (3, 4, 5, 6)]
    assert left_out(rows_alone(feature()), block_of(with_values(usual(), 1.25, 3, 4))) == []
    assert left_out(rows_alone(feature(common_ratio=0.1)), filled) == []


def test_a_window_that_has_a_filled_value() -> None:
    """The stock is left out as long as the window reaches back to it, in one block or in several."""
    days = [with_values(usual(1), 0.0, 7), usual(2), usual(3)]
    expected = [("2024-01-02", "SH600007"), ("2024-01-03", "SH600007")]
    assert left_out(rows_alone(feature(), steps=2), block_of(*days)) == expected
    check = rows_alone(feature(), steps=2)
    assert left_out(check, block_of(days[0])) == expected[:1]
    assert [name for _, name in left_out(check, block_of(days[1]))] == ["SH600007"]
    assert left_out(check, block_of(days[2])) == []


def test_a_stage_across_stocks_refuses_the_day() -> None:
    """No stock can be left out alone there: the error names a stock and the column."""
    check = FillCheck([feature()], [0], 1, crosses=True)
    with pytest.raises(InputError) as caught:
        check.marked(block_of(with_values(usual(), 0.0, 7)))
    assert caught.value.code == "features.filled"
    assert "SH600007" in str(caught.value)


@pytest.mark.parametrize("change", [lambda value: value * 100, lambda value: -value * 5, lambda value: value + 10])
def test_another_unit_or_column_is_refused(change: Any) -> None:
    """More than half of the values are none that any stock had on any day of the training."""
    with pytest.raises(InputError) as caught:
        rows_alone(feature()).marked(block_of([change(value) for value in usual()]))
    assert caught.value.code == "features.outside"
    assert caught.value.found is not None
    assert caught.value.found.endswith("% outside")


def test_new_heights_are_no_other_feature() -> None:
    """Half of the stocks beyond the ends, a number of the whole market, ends of few rows or unknown ones are taken."""
    half = block_of([value * (100 if row % 2 else 1) for row, value in enumerate(usual())])
    assert left_out(rows_alone(feature()), half) == []
    everyone = block_of([50.0] * STOCKS)
    assert left_out(rows_alone(feature(common_ratio=0.98)), everyone) == []
    assert left_out(rows_alone(feature(common_ratio=0.98)), block_of([*[50.0] * 25, *usual()[25:]])) == []
    far = block_of([value * 100 for value in usual()])
    assert left_out(rows_alone(feature(rows=LEAST_ROWS - 1)), far) == []
    assert left_out(rows_alone(feature(quantiles={"0.5": 0.1})), far) == []


def test_what_bars_give_is_not_looked_at() -> None:
    """Only the features that a table gave are; without statistics there is nothing to look at."""
    filled = block_of(with_values(usual(), 0.0, 7))
    assert FillCheck([feature()], [], 1, crosses=True).marked(filled) is filled
    unknown = msgspec.structs.replace(feature(), statistics=None, statistics_missing="not at hand")
    assert FillCheck([unknown], [0], 1, crosses=True).marked(filled) is filled
