"""Operations across the stocks of a day against pandas, day by day and group by group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from alphaseal.factors import across
from alphaseal.format.factors import FactorSeries, FactorStage

SERIES = FactorSeries(first=0, days=3, dtype="float64", since=None)


def stage(operator: Any, **changes: Any) -> FactorStage:
    """A stage over three days."""
    usual: dict[str, Any] = dict.fromkeys(("function", "ddof", "q", "method", "ascending", "percent"))
    return FactorStage(operator=operator, inputs=[SERIES, SERIES], gives=SERIES, **(usual | changes))


@pytest.fixture
def values() -> Any:
    """[stocks, days] with ties and missing values; one day has a single value."""
    random = np.random.default_rng(3)
    found = random.integers(0, 12, (40, 3)) / 4.0
    found[random.random(found.shape) < 0.2] = np.nan
    found[1:, 2] = np.nan
    found[0, 2] = 1.5
    return found


@pytest.mark.parametrize("function", ["mean", "sum", "std", "var", "median", "min", "max", "count", "skew"])
def test_statistics_are_those_of_pandas(values: Any, function: str) -> None:
    """Everybody gets the value of the stocks in the mask."""
    mask = np.ones(values.shape)
    mask[::7] = 0
    options = {"ddof": 1} if function in {"std", "var"} else {}
    found = across.run(stage("day", function=function, **options), [values, mask])
    frame = pd.DataFrame(np.where(mask != 0, values, np.nan))
    expected = getattr(frame, function)(**options).to_numpy(np.float64)
    np.testing.assert_allclose(found, np.broadcast_to(expected, values.shape), rtol=1e-12)


@pytest.mark.parametrize("method", ["average", "min", "max", "dense", "first"])
@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("percent", [True, False])
def test_ranks_are_those_of_pandas(values: Any, method: str, ascending: bool, percent: bool) -> None:
    """Bit for bit, with ties and missing values."""
    found = across.run(
        stage("day_rank", method=method, ascending=ascending, percent=percent), [values, np.ones(values.shape)]
    )
    expected = pd.DataFrame(values).rank(method=method, ascending=ascending, pct=percent)
    np.testing.assert_array_equal(found, expected.to_numpy())


def test_groups_of_equal_keys(values: Any) -> None:
    """Each group has its own value; a stock whose key is missing has none."""
    keys = np.arange(len(values))[:, None] % 3 * np.ones(3)
    keys[5] = np.nan
    found = across.run(stage("day", function="mean"), [values, np.ones(values.shape), keys])
    for day in range(3):
        grouped = pd.Series(values[:, day]).groupby(keys[:, day]).transform("mean")
        np.testing.assert_allclose(found[:, day], grouped.to_numpy(), rtol=1e-12)


def test_pairs(values: Any) -> None:
    """Correlation and covariance of the stocks that have both values."""
    other = np.random.default_rng(4).normal(size=values.shape)
    three = [values, other, np.ones(values.shape)]
    found = across.run(stage("day_pair", function="corr"), three)
    covariance = across.run(stage("day_pair", function="cov", ddof=1), three)
    for day in range(2):
        left, right = pd.Series(values[:, day]), pd.Series(other[:, day])
        np.testing.assert_allclose(found[:, day], left.corr(right), rtol=1e-12)
        np.testing.assert_allclose(covariance[:, day], left.cov(right), rtol=1e-12)
    assert np.isnan(found[:, 2]).all()


def test_float32_is_rounded_once() -> None:
    """A mean of float32 values is computed in double, as pandas does it, and is a float32 again."""
    values = np.random.default_rng(5).normal(size=(40, 1)).astype(np.float32)
    series = FactorSeries(first=0, days=1, dtype="float32", since=None)
    declared = FactorStage(
        operator="day", function="mean", ddof=None, q=None, method=None, ascending=None, percent=None,
        inputs=[series, True], gives=series,
    )  # fmt: skip
    found = across.run(declared, [values.astype(np.float64), np.ones((40, 1))])
    assert found[0, 0] == np.float64(np.float32(values.astype(np.float64).mean()))
