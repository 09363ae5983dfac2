"""Noise of raw values carried through stages: which recorded predictions it explains, of rows and of windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from alphaseal.bars.calendar import Bars
from alphaseal.format.manifest import Bound, GraphStage, Stage, WindowStage
from alphaseal.scoring.pipeline import Pipeline
from alphaseal.tables.features import FeatureBlock
from alphaseal_converter.evidence.alphas import alpha_columns, compile_features
from alphaseal_converter.evidence.noise import NoiseOfBars, most_rows
from alphaseal_converter.evidence.order import OrderedFeature
from alphaseal_converter.evidence.values import Recorded, window_rows
from alphaseal_converter.market.bars import Market
from alphaseal_converter.market.provider import open_provider
from alphaseal_converter.nodes.builder import GraphBuilder
from locations import DATA

Vector = NDArray[np.float64]
EXPRESSIONS = {
    "ROC1": "Ref($close,1)/$close",
    "STD5": "Std($close,5)/$close",
    "CORD10": "Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), 10)",
}
FEATURES = [OrderedFeature(name, "float32", "alpha", text) for name, text in EXPRESSIONS.items()]
WEIGHTS = np.array([0.7, 20.0, -0.4])
EXACT = Bound(ulp=None, relative=2e-15, absolute=1e-14, text="double")


def pipeline(length: int = 1, *, fill: bool = True) -> Pipeline:
    """A sum of products over the last `length` days, in double; missing values count as 0 where `fill`."""
    builder = GraphBuilder()
    values = "features"
    if fill:
        values = builder.add("Where", builder.add("IsNaN", values), builder.scalar(0.0), values)
    products = builder.add("Mul", values, builder.constant(WEIGHTS))
    axes = builder.constant([1] if length == 1 else [1, 2])
    score = builder.add("ReduceSum", products, axes, keepdims=0)
    score = builder.add("Unsqueeze", score, builder.constant([1]))
    graph = builder.model(3, score, length)
    stages: list[Stage] = [GraphStage(file="model.onnx", processors=[])]
    if length > 1:
        stages.insert(0, WindowStage(length=length, fill="ffill+bfill"))
    return Pipeline(stages, {"model.onnx": graph}.__getitem__, 3)


def noise_of(stages: Pipeline) -> NoiseOfBars:
    provider = open_provider(DATA / "noise/market")
    market = Market(provider, provider.universe("growth"), (None, None), "growth")
    return NoiseOfBars(market, FEATURES, stages, [np.zeros(0)] * 3)


@pytest.fixture(scope="module")
def block() -> FeatureBlock:
    """The alpha values of the market on its last 120 days."""
    compiled = compile_features(FEATURES)
    assert compiled is not None
    columns = alpha_columns(compiled)
    assert columns is not None
    provider = open_provider(DATA / "noise/market")
    market = Market(provider, provider.universe("growth"), (None, None), "growth")
    days = provider.calendar[-120:]
    bars: Bars = market.bars(columns.fields, columns.window, days[0], days[-1])
    values = [
        columns.compute(bars, day, np.arange(len(bars.instruments)))
        for day in range(len(bars.dates) - len(days), len(bars.dates))
    ]
    names = pa.array(list(bars.instruments) * len(days), pa.string())
    dates = np.repeat(days, len(bars.instruments))
    return FeatureBlock(dates, names, np.concatenate(values).astype(np.float64), ())


def recorded(block: FeatureBlock, scores: Vector, rows: Sequence[int] | None = None) -> Recorded:
    chosen = np.arange(len(block)) if rows is None else np.array(rows)
    return Recorded(block, chosen, scores, len(scores))


def scored(block: FeatureBlock, stages: Pipeline, values: Vector | None = None) -> Vector:
    """Scores of all rows, NaN where a row has none."""
    changed = block if values is None else FeatureBlock(block.dates, block.instruments, values, ())
    rows, found = stages.run(changed)
    scores = np.full(len(block), np.nan)
    scores[rows] = found
    return scores


def outside(scores: Vector, expected: Vector) -> NDArray[np.int64]:
    return np.flatnonzero(~(np.abs(scores - expected) <= 1e-14) & ~(np.isnan(scores) & np.isnan(expected)))


def test_rounding_of_ordinary_windows_explains_any_number_of_rows(block: FeatureBlock) -> None:
    """A deviation that is one float32 step further in a third of all rows, as another library's: explained, and counted apart."""
    stages = pipeline()
    values = block.values.copy()
    values[::3, 1] = np.nextafter(values[::3, 1].astype(np.float32), np.float32(9)).astype(np.float64)
    ours, theirs = scored(block, stages), scored(block, stages, values)
    wrong = outside(ours, theirs)
    assert len(wrong) > 10 * most_rows(len(ours))
    found = noise_of(stages).explain(recorded(block, theirs), ours, EXACT, wrong)
    assert found.rows.tolist() == wrong.tolist()
    assert found.rounding == len(wrong)
    assert {name for names in found.features for name in names} == {"STD5", "CORD10"}


def test_a_value_that_both_sides_compute_alike_has_no_rounding(block: FeatureBlock) -> None:
    """A ratio of prices that is some float32 steps further is no rounding of anybody's."""
    stages = pipeline()
    values = block.values.copy()
    values[40, 0] += 1e-5
    ours, theirs = scored(block, stages), scored(block, stages, values)
    found = noise_of(stages).explain(recorded(block, theirs), ours, EXACT, outside(ours, theirs))
    assert found.rows.tolist() == []


def noisy_row(block: FeatureBlock) -> int:
    """A row whose correlation has two points and is noise."""
    day = np.datetime64("2020-12-25")
    names = block.instruments.to_pylist()
    return next(row for row in range(len(block)) if block.dates[row] == day and names[row] == "SZ300128")


@pytest.mark.parametrize("length", [1, 4])
def test_noise_of_any_day_of_a_window_explains_the_score(block: FeatureBlock, length: int) -> None:
    """A correlation over two points that is another by a tenth: its own row, and the windows that it is in, are explained."""
    stages = pipeline(length)
    row = noisy_row(block)
    values = block.values.copy()
    values[row, 2] -= 0.1
    ours, theirs = scored(block, stages), scored(block, stages, values)
    wrong = outside(ours, theirs)
    assert row in wrong
    assert len(wrong) == length
    found = noise_of(stages).explain(recorded(block, theirs), ours, EXACT, wrong)
    assert found.rows.tolist() == wrong.tolist()
    assert (found.rounding, set(found.features)) == (0, {("CORD10",)})
    assert (found.allowed[wrong] >= 0.04 - 1e-9).all()
    assert not found.allowed[np.setdiff1d(np.arange(len(ours)), wrong)].any()
    # The same difference in a row of an ordinary correlation is none.
    values = block.values.copy()
    values[row + 205, 2] -= 0.1
    theirs = scored(block, stages, values)
    found = noise_of(stages).explain(recorded(block, theirs), ours, EXACT, outside(ours, theirs))
    assert found.rows.tolist() == []


def test_a_missing_value_of_qlib_is_explained_where_nothing_is_known(block: FeatureBlock) -> None:
    """Without a fill the recorded score is missing: so may the correlation be, and the row is any distance away."""
    stages = pipeline(fill=False)
    ours = scored(block, stages)
    row = noisy_row(block)
    theirs = ours.copy()
    theirs[row] = np.nan
    found = noise_of(stages).explain(recorded(block, theirs), ours, EXACT, np.array([row]))
    assert found.rows.tolist() == [row]
    assert np.isinf(found.allowed[row])
    theirs[row + 205] = np.nan
    assert noise_of(stages).explain(recorded(block, theirs), ours, EXACT, np.array([row + 205])).rows.tolist() == []


def test_another_model_is_seen_without_looking_at_all_rows(
    block: FeatureBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row differs: the worst ones settle it, and the market's files are read for no other stock."""
    stages = pipeline()
    ours = scored(block, stages)
    noise = noise_of(stages)
    looked_at: list[int] = []
    original = NoiseOfBars._noise

    def counted(self: NoiseOfBars, rows: FeatureBlock, inputs: NDArray[np.int64]) -> Any:
        looked_at.append(len(inputs))
        return original(self, rows, inputs)

    monkeypatch.setattr(NoiseOfBars, "_noise", counted)
    found = noise.explain(recorded(block, ours + 0.3), ours, EXACT, np.arange(len(ours)))
    assert found.rows.tolist() == []
    assert sum(looked_at) < 20


def test_windows_of_rows_are_the_pipelines_own(block: FeatureBlock) -> None:
    """The rows whose noise is looked at are those that the window is made of, the scored one last."""
    rows = window_rows(recorded(block, np.zeros(len(block))), 4, np.array([500, 777]))
    names, dates = block.instruments.to_pylist(), block.dates
    assert rows[:, -1].tolist() == [500, 777]
    for window in rows:
        assert len({names[row] for row in window}) == 1
        assert (np.diff(dates[window]) > np.timedelta64(0, "D")).all()
