"""Recorded predictions that differ because their inputs are rounding: noise of qlib's own windows is no wrong model.

Where raw values come from bars, an alpha feature may differ from qlib's in what `alphas.noise` states of this stock on
this day.  A recorded prediction that is not within the model's bound, but that the model gives for raw values within
that noise, is explained.  Anything else is not: another order of features, other weights or another expression differ
on most rows, and by more than any noise of an ordinary window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.format.manifest import Bound, NoiseExample, ReplayNoise
from alphaseal.scoring.numeric import allowed
from alphaseal.scoring.pipeline import Pipeline
from alphaseal.scoring.session import row_chunks
from alphaseal.tables.features import FeatureBlock
from alphaseal_converter.alphas.noise import Noise
from alphaseal_converter.comparison.parity import Matrix, Vector
from alphaseal_converter.comparison.reach import Reach, reach
from alphaseal_converter.evidence.order import OrderedFeature
from alphaseal_converter.evidence.values import Recorded, window_rows
from alphaseal_converter.market.bars import Market
from alphaseal_converter.market.provider import read_bars

LARGEST_SHARE = 0.01
"""Of the recorded predictions that noise of ill-conditioned windows may explain; beyond, model or expressions are others."""
ORDINARY_STEPS = 4
"""Of float32: what the sums of ordinary windows and a last rounding may differ by.  No other expression is so near."""
_TRIED = 16
_AT_ONCE = 256
_LISTED = 20
_NAMED = 3
_PART = 0.01
"""A feature is named where its own noise is at least this part of the largest."""
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Explained:
    """`rows` int64: places among the recorded predictions whose difference is noise, by `features`, most first.

    `allowed` float64 [recorded predictions]: how far noise lets these rows differ from the recorded score, 0 elsewhere.
    `rounding` of the rows need no more than the rounding of ordinary windows.
    """

    rows: Rows
    allowed: Vector
    features: Sequence[tuple[str, ...]]
    rounding: int = 0

    @classmethod
    def nothing(cls, count: int) -> Explained:
        """No row of so many."""
        return cls(np.zeros(0, np.int64), np.zeros(count), ())


@dataclass(frozen=True, eq=False)
class NoiseOfBars:
    """The noise of the raw values that a market's bars gave, carried through the model's stages.

    `borders` are raw values of each feature at which a score may jump, empty arrays where there is none.
    """

    market: Market
    features: Sequence[OrderedFeature]
    pipeline: Pipeline
    borders: Sequence[Vector]

    def explain(self, recorded: Recorded, scores: Vector, bound: Bound, rows: Rows) -> Explained:
        """Which of the recorded predictions `rows` (places) differ by noise alone.

        The rounding of ordinary windows may explain any number of rows, noise beyond it at most `most_rows`.
        """
        with np.errstate(invalid="ignore"):
            difference = np.nan_to_num(np.abs(scores - recorded.scores)[rows], nan=np.inf)
        rows = rows[np.argsort(-difference, kind="stable")]
        found = _Found(recorded, scores, allowed(bound, recorded.scores))
        most = most_rows(len(scores))
        # Of another model, the rows that differ most are not explained by any noise: no need to look at all the others.
        if len(rows) > most and not all(
            found.holds(*one) for one in self._reaches(recorded, rows[:_TRIED], self._noise)
        ):
            return found.explained(self)
        left: list[int] = []
        for row, near in self._reaches(recorded, rows, self._rounding):
            if found.holds(row, near):
                found.keep(row, near)
                continue
            left.append(row)
            if len(left) > most:
                return found.explained(self)
        found.rounding = len(found.kept)
        for row, near in self._reaches(recorded, np.array(left, np.int64), self._noise):
            if found.holds(row, near):
                found.keep(row, near)
        return found.explained(self)

    def verdict(self, recorded: Recorded, wrong: Rows, worst: int) -> str:
        """Why noise does not explain the rows `wrong`: in words, of the `worst` of them and of how many there are."""
        ((_, near),) = self._reaches(recorded, np.array([worst], np.int64), self._noise)
        names = ", ".join(self.named(near))
        if not names:
            return "its alpha features have no noise"
        if near.holds(recorded.scores[worst], 0.0):
            share = f"{len(wrong)} rows are more than {LARGEST_SHARE:.0%} of all"
            return f"the noise of its {names} could explain that, but {share}"
        return f"the noise of its {names} explains scores from {near.low:.6g} to {near.high:.6g} only"

    def named(self, near: Reach) -> tuple[str, ...]:
        """The features whose noise matters most."""
        alone = near.alone.reshape(-1, len(self.features)).max(axis=0)
        order = np.argsort(-alone, kind="stable")[:_NAMED]
        largest = alone[order[0]]
        chosen = [place for place in order.tolist() if alone[place] > 0 and not alone[place] < _PART * largest]
        return tuple(self.features[place].name for place in chosen)

    def _reaches(
        self, recorded: Recorded, rows: Rows, noise_of: Callable[[FeatureBlock, Rows], Matrix]
    ) -> Iterator[tuple[int, Reach]]:
        """Each of the recorded predictions `rows`, and what it can score within the noise of its raw values."""
        length, block = self.pipeline.step_length, recorded.block
        borders = list(self.borders) * length
        dtypes = [feature.dtype for feature in self.features] * length
        for part in row_chunks(len(rows), _AT_ONCE):
            inputs = window_rows(recorded, length, recorded.rows[rows[part]])
            for row, used, noise in zip(rows[part].tolist(), inputs, noise_of(block, inputs), strict=True):
                yield row, reach(self._score, block.values[used].ravel(), noise.ravel(), borders, dtypes)

    def _rounding(self, block: FeatureBlock, inputs: Rows) -> Matrix:
        """float64 [rows, days, features]: some float32 steps of each value that both sides do not compute alike."""
        inexact = np.array([feature.name in self._noise_of.inexact for feature in self.features])
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.spacing(np.abs(block.values[inputs]).astype(np.float32)).astype(np.float64)
        return np.where(inexact & np.isfinite(steps), ORDINARY_STEPS * steps, 0.0)

    def _noise(self, block: FeatureBlock, inputs: Rows) -> Matrix:
        """float64 [rows, days, features] of rows of a block; 0 for features that no expression gives."""
        places = np.array([n for n, feature in enumerate(self.features) if feature.name in self._noise_of.features])
        used, back = np.unique(inputs, return_inverse=True)
        stocks = np.array(block.instruments.take(pa.array(used)).to_pylist(), np.str_)
        days = np.searchsorted(self.market.provider.calendar, block.dates[used])
        found = np.zeros((len(used), len(self.features)))
        for stock in np.unique(stocks).tolist():
            here = np.flatnonzero(stocks == stock)
            here = here[np.argsort(days[here])]
            universe = {stock: self.market.universe[stock]}
            bars = read_bars(self.market.provider, universe, self._noise_of.fields, slice(None), self.market.rows)
            first = int(bars.first[0])
            found[np.ix_(here, places)] = self._noise_of.of(bars.values[0, first:], days[here] - first)
        return found[back].reshape(*inputs.shape, len(self.features))

    @cached_property
    def _noise_of(self) -> Noise:
        return Noise({f.name: f.expression for f in self.features if f.origin == "alpha" and f.expression is not None})

    def _score(self, values: Matrix) -> Vector:
        """float64 [rows] of raw rows, or of windows laid out flat; NaN where a stage drops the row."""
        length = self.pipeline.step_length
        if length > 1:
            return self.pipeline.score_inputs(values.reshape(len(values), length, -1))
        block = FeatureBlock(np.zeros(len(values), "datetime64[D]"), pa.nulls(len(values), pa.string()), values, ())
        rows, scored = self.pipeline.run(block)
        scores = np.full(len(values), np.nan)
        scores[rows] = scored
        return scores


@dataclass(eq=False)
class _Found:
    """The rows that are explained so far."""

    recorded: Recorded
    scores: Vector
    limits: Vector
    kept: dict[int, Reach] = field(default_factory=dict)
    rounding: int = 0

    def holds(self, row: int, near: Reach) -> bool:
        return near.holds(float(self.recorded.scores[row]), float(self.limits[row]))

    def keep(self, row: int, near: Reach) -> None:
        self.kept[row] = near

    def explained(self, noise: NoiseOfBars) -> Explained:
        """In the order of the recorded predictions."""
        rows = np.array(sorted(self.kept), np.int64)
        widest = np.zeros(len(self.scores))
        for row, near in self.kept.items():
            away = np.fmax(near.high - self.scores[row], self.scores[row] - near.low)
            # A score that is missing on one side is any distance away.
            known = np.isfinite(self.scores[row]) and np.isfinite(self.recorded.scores[row])
            widest[row] = self.limits[row] + away if known else np.inf
        return Explained(rows, widest, tuple(noise.named(self.kept[row]) for row in rows.tolist()), self.rounding)


def most_rows(compared: int) -> int:
    """How many recorded predictions noise beyond rounding may explain."""
    return max(1, int(LARGEST_SHARE * compared))


def can_be_carried(pipeline: Pipeline, steps: int) -> bool:
    """Whether a score depends on the row's own raw values alone; `steps` are the stages before the last graph."""
    return not pipeline.needs_whole_day and (pipeline.step_length == 1 or steps == 0)


def describe(explained: Explained, recorded: Recorded, difference: Vector) -> ReplayNoise | None:
    """What the manifest says of the rows; None where there are none."""
    rows = explained.rows
    if not len(rows):
        return None
    counts = Counter(name for names in explained.features for name in names)
    instruments, dates = recorded.block.instruments, recorded.dates
    examples = [
        NoiseExample(
            date=str(dates[row]),
            instrument=str(instruments[int(recorded.rows[row])]),
            difference=float(difference[row]) if np.isfinite(difference[row]) else None,
            features=list(names),
        )
        for row, names in zip(rows[:_LISTED].tolist(), explained.features[:_LISTED], strict=True)
    ]
    finite = difference[rows][np.isfinite(difference[rows])]
    return ReplayNoise(
        rows=len(rows),
        rounding=explained.rounding,
        largest_difference=float(finite.max(initial=0.0)),
        features=dict(sorted(counts.items())),
        examples=examples,
    )


def in_words(noise: ReplayNoise, compared: int) -> str:
    """One sentence for people."""
    shown = [f"{', '.join(one.features)} of {one.instrument} on {one.date}" for one in noise.examples[:_NAMED]]
    more = f" and {noise.rows - len(shown)} more" if noise.rows > len(shown) else ""
    return (
        f"{noise.rows} of {compared} recorded predictions differ by up to {noise.largest_difference:.3g}, which is the "
        f"noise of qlib's own windows in their features: {'; '.join(shown)}{more}"
    )
