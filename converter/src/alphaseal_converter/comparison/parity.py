"""The proof that the graph gives the numbers of the original: rows that would show a difference, and the comparison.

The judge is the original library on the same raw values, and qlib's recorded predictions; never another ONNX run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from alphaseal.errors import AlphasealError
from alphaseal.format.manifest import Bound, DayOrder, ParityCase
from alphaseal.scoring.near_ties import OrderComparison
from alphaseal.scoring.numeric import outside, ulp_distance
from alphaseal_converter.errors import RefusalError

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Windows = npt.NDArray[np.float64]
_Answer = TypeVar("_Answer")

TOP_COUNTS = (5, 10, 50)
"""For people: on how many days the best stocks are the same ones in the same order."""
_SEED = 20260122
_REAL_ROWS = 256
_DRAWN_ROWS = 512
_THRESHOLD_ROWS = 6000


@dataclass(frozen=True)
class Judge:
    """An original library: its name with version, and its scores float64 [rows] of raw values float64 [rows, features]."""

    name: str
    predict: Callable[[Matrix], Vector]


def answer(ask: Callable[[], _Answer]) -> _Answer:
    """What `ask` gets from an original library; RefusalError ``parity.judge_failed`` where the library itself fails.

    A model that was saved by another version of the library, or changed by hand, may make it fail.
    """
    try:
        return ask()
    except AlphasealError:
        raise
    except Exception as problem:  # noqa: BLE001 - libraries raise whatever their version likes
        said = str(problem).splitlines()[0][:200] if str(problem) else ""
        raise RefusalError(
            "parity.judge_failed",
            "the original library cannot predict with this model, so there is nothing to compare with",
            found=f"{type(problem).__name__}: {said}",
            next_step="install the version of the library that trained it, and see that its own predict works",
        ) from None


@dataclass(frozen=True)
class Probe:
    """Raw values float64 [rows, features] or [windows, days, features], each representable in its training dtype."""

    case: str
    values: Matrix


def make_probes(
    thresholds: Sequence[Vector],
    dtypes: Sequence[str],
    shift: Vector,
    scale: Vector,
    real: Matrix | None,
) -> tuple[Probe, ...]:
    """Rows that would show a wrong leaf, a wrong missing rule or a wrong clip.

    `thresholds` holds the model's own split values per feature, in the space that the model sees; ``raw = t * scale +
    shift`` brings them to raw values (1 and 0 where nothing is normalised).  `real` are raw rows of the run, or None.
    Deterministic.
    """
    generator = np.random.default_rng(_SEED)
    raw = [_cast(np.sort(np.unique(t)) * scale[i] + shift[i], dtypes[i]) for i, t in enumerate(thresholds)]
    drawn = _drawn(raw, dtypes, shift, scale, generator)
    base = (
        drawn
        if real is None or not len(real)
        else real[np.linspace(0, len(real) - 1, min(_REAL_ROWS, len(real))).astype(int)]
    )
    groups = [
        ("rows drawn around the model's thresholds", drawn),
        ("one value at a threshold or one float beside it", _at_thresholds(raw, dtypes, base)),
        ("missing values", _missing(base, generator)),
        ("infinite, zero and tiny values", _special(base, dtypes)),
    ]
    if np.any(scale != 1) or np.any(shift != 0):
        groups.append(("values at the clip limits and beyond", _clipped(base, dtypes, shift, scale)))
    return tuple(Probe(case, values) for case, values in groups if len(values))


def make_window_probes(real: Windows, dtypes: Sequence[str], shift: Vector, scale: Vector) -> tuple[Probe, ...]:
    """Windows that would show a baked-in branch, a wrong axis or a wrong clip: `real` float64 [windows, days, features].

    Real ones as they are, with days in reverse, with values missing (single ones, whole days, all), at and beyond the
    clip limits, and all zero.  Deterministic.
    """
    generator = np.random.default_rng(_SEED)
    holes = real.copy()
    holes[generator.random(holes.shape) < 0.2] = np.nan
    days = real.copy()
    days[generator.random(days.shape[:2]) < 0.3] = np.nan
    limits = np.stack([_cast_columns(shift + factor * scale, dtypes) for factor in (-100.0, -3.0, 0.0, 3.0, 100.0)])
    clipped = real.copy()
    hit = generator.random(clipped.shape) < 0.1
    chosen = limits[generator.integers(0, len(limits), clipped.shape), np.arange(clipped.shape[2])]
    clipped[hit] = chosen[hit]
    ends = np.stack([np.full(real.shape[1:], np.nan), np.zeros(real.shape[1:])])
    return (
        Probe("real windows", real),
        Probe("windows in reverse", np.ascontiguousarray(real[:, ::-1])),
        Probe("missing values", np.concatenate([holes, days])),
        Probe("values at the clip limits and beyond", clipped),
        Probe("windows without a value, windows of zeros", ends),
    )


def _cast_columns(values: Vector, dtypes: Sequence[str]) -> Vector:
    return np.array([_cast(values[place : place + 1], dtype)[0] for place, dtype in enumerate(dtypes)])


def _cast(values: Vector, dtype: str) -> Vector:
    """Round to the training dtype, as every live value is."""
    with np.errstate(over="ignore"):
        return values.astype(dtype).astype(np.float64)


def neighbours(value: Vector, dtype: str) -> Matrix:
    """[n, 3]: one float below, the value, one float above, in the training dtype."""
    exact = value.astype(dtype)
    low, high = np.nextafter(exact, np.array(-np.inf, dtype)), np.nextafter(exact, np.array(np.inf, dtype))
    return np.column_stack([low, exact, high]).astype(np.float64)


def _drawn(
    raw: Sequence[Vector], dtypes: Sequence[str], shift: Vector, scale: Vector, generator: np.random.Generator
) -> Matrix:
    columns = []
    for i, values in enumerate(raw):
        if len(values):
            picked = neighbours(generator.choice(values, _DRAWN_ROWS), dtypes[i])
            columns.append(picked[np.arange(_DRAWN_ROWS), generator.integers(0, 3, _DRAWN_ROWS)])
        else:
            columns.append(_cast(generator.standard_normal(_DRAWN_ROWS) * scale[i] + shift[i], dtypes[i]))
    return np.column_stack(columns)


def _at_thresholds(raw: Sequence[Vector], dtypes: Sequence[str], base: Matrix) -> Matrix:
    asked = [i for i, values in enumerate(raw) if len(values)]
    if not asked:
        return base[:0]
    each = max(1, _THRESHOLD_ROWS // (3 * len(asked)))
    rows, next_base = [], 0
    for i in asked:
        chosen = raw[i][np.unique(np.linspace(0, len(raw[i]) - 1, each).astype(int))]
        beside = neighbours(chosen, dtypes[i]).ravel()
        block = base[(next_base + np.arange(len(beside))) % len(base)].copy()
        block[:, i] = beside
        next_base += len(beside)
        rows.append(block)
    return np.concatenate(rows)


def _missing(base: Matrix, generator: np.random.Generator) -> Matrix:
    count = base.shape[1]
    single = base[np.arange(count) % len(base)].copy()
    single[np.arange(count), np.arange(count)] = np.nan
    scattered = base[np.arange(128) % len(base)].copy()
    scattered[generator.random(scattered.shape) < 0.3] = np.nan
    return np.concatenate([single, scattered, np.full((1, count), np.nan)])


def _special(base: Matrix, dtypes: Sequence[str]) -> Matrix:
    """Values where comparison rules differ between libraries: infinities, both zeros, LightGBM's zero threshold."""
    count = base.shape[1]
    rows = []
    for value in (np.inf, -np.inf, 0.0, -0.0, 1e-35, -1e-35, 1.1e-35, 1e-40):
        block = base[np.arange(count) % len(base)].copy()
        for i in range(count):
            block[i, i] = _cast(np.array([value]), dtypes[i])[0]
        rows.append(block)
    return np.concatenate(rows)


def _clipped(base: Matrix, dtypes: Sequence[str], shift: Vector, scale: Vector) -> Matrix:
    count = base.shape[1]
    rows = []
    for factor in (-100.0, -3.0, 3.0, 100.0):
        for side in range(3):
            block = base[np.arange(count) % len(base)].copy()
            for i in range(count):
                block[i, i] = neighbours(np.array([factor * scale[i] + shift[i]]), dtypes[i])[0, side]
            rows.append(block)
    return np.concatenate(rows)


def widened(bound: Bound, rounding: Vector) -> Bound:
    """The bound, its absolute part at least the largest `rounding` (float64 [rows]) of the rows that it is to hold for."""
    largest = float(rounding.max(initial=0.0))
    return bound if largest <= (bound.absolute or 0.0) else msgspec.structs.replace(bound, absolute=largest)


def unexplained(
    bound: Bound, scores: Vector, expected: Vector, rounding: Vector | None = None
) -> npt.NDArray[np.bool_]:
    """Rows outside of the bound, but for those that are within the `rounding` of their own sums (float64 [rows]).

    Infinite: anything is, a missing score too.
    """
    wrong = outside(bound, scores, expected)
    if rounding is not None:
        with np.errstate(invalid="ignore"):
            wrong &= ~((np.abs(scores - expected) <= rounding) | np.isinf(rounding))
    return wrong


def compare(
    case: str, judge: str, scores: Vector, expected: Vector, bound: Bound, rounding: Vector | None = None
) -> ParityCase:
    """How far the graph's scores are from the judge's; `rounding` as for `unexplained`."""
    distance = ulp_distance(scores, expected)
    both = np.isfinite(scores) & np.isfinite(expected)
    difference = np.abs(scores[both] - expected[both])
    return ParityCase(
        case=case,
        judge=judge,
        rows=len(scores),
        largest_difference=float(difference.max()) if len(difference) else 0.0,
        # A double counts integers up to 2**53 exactly; a distance above that only says: nowhere near.
        largest_ulp=int(min(distance.max(), np.uint64(2**53))) if len(distance) else 0,
        bit_identical=int((distance == 0).sum()),
        outside=int(unexplained(bound, scores, expected, rounding).sum()),
    )


def day_order(found: OrderComparison) -> DayOrder:
    """What the manifest says of the days; `found` has the tops `TOP_COUNTS`."""
    return DayOrder(
        days=found.days,
        same_order=found.same,
        same_top={str(count): days for count, days in found.same_top.items()},
        swaps=found.swaps,
        largest_gap=found.largest_gap,
    )
