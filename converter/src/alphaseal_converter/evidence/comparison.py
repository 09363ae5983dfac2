"""The proof of the order: the scores of the run's raw values against qlib's recorded predictions, row by row and day by day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alphaseal.format.manifest import Bound, Replay
from alphaseal.scoring.near_ties import OrderComparison, compare_order
from alphaseal.scoring.numeric import allowed, outside, ulp_distance
from alphaseal_converter.comparison.parity import TOP_COUNTS, Vector
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.noise import Explained, NoiseOfBars, describe
from alphaseal_converter.evidence.values import Origin, RawFile, Recorded

_NEXT: Mapping[Origin, str] = {
    "features_file": "check that the raw values are those of the run (same data, before any processor), "
    "or let qlib compute them with --replay-with; values from bars (alphaseal-convert replay --provider) are better made "
    "by the build itself, with --provider, which knows their noise",
    "qlib": "check that qlib's market data are those of the run",
    "bars": "let qlib compute the raw values with --replay-with, if the market data are still those of the run; else give "
    "its raw values with --features, or build --without-provider, which proves no order",
}


@dataclass(frozen=True)
class Replayed:
    """Recorded predictions that the graph's `scores` float64 [rows] reproduce, in their order, but for what is `explained`."""

    recorded: Recorded
    scores: Vector
    report: Replay
    order: OrderComparison
    explained: Explained


def compare_replay(
    recorded: Recorded, raw: RawFile, scores: Vector, bound: Bound, where: str, noise: NoiseOfBars | None
) -> Replayed:
    """Compare the scores of the raw values with the recorded predictions.

    `noise` is that of raw values from bars, None for qlib's own.  Raises RefusalError ``order.replay_differs`` where a
    row is outside `bound` and no noise explains it (of noise beyond rounding, of too many rows), and where stocks of a day stand in another order but for near ties: then the order of the features, the
    preprocessing, the weights or the values are not those of the run.
    """
    difference = _difference(scores, recorded.scores)
    wrong = np.flatnonzero(outside(bound, scores, recorded.scores))
    explained = Explained.nothing(len(scores))
    if noise is not None and len(wrong):
        explained = noise.explain(recorded, scores, bound, wrong)
    left = np.setdiff1d(wrong, explained.rows)
    limits = np.maximum(allowed(bound, recorded.scores), explained.allowed)
    order = compare_order(recorded.dates, recorded.instruments, scores, recorded.scores, limits, TOP_COUNTS)
    if len(left) or order.others:
        raise RefusalError(
            "order.replay_differs",
            _what_differs(recorded, scores, difference, left, order, noise),
            where=where,
            expected=f"qlib's own scores ({bound.text})",
            found=f"the raw values of {raw.where} give other scores",
            next_step=_NEXT[raw.origin],
        )
    report = Replay(
        values=raw.origin,
        values_sha256=raw.sha256,
        rows=len(scores),
        recorded=recorded.recorded,
        first=str(recorded.dates[0]),
        last=str(recorded.dates[-1]),
        largest_difference=float(np.nanmax(difference)) if np.isfinite(difference).any() else 0.0,
        largest_ulp=int(min(ulp_distance(scores, recorded.scores).max(), np.uint64(2**53))),
        noise=describe(explained, recorded, difference),
    )
    return Replayed(recorded, scores, report, order, explained)


def _difference(scores: Vector, expected: Vector) -> Vector:
    with np.errstate(invalid="ignore"):
        difference: Vector = np.abs(scores - expected)
    return difference


def _what_differs(
    recorded: Recorded,
    scores: Vector,
    difference: Vector,
    wrong: npt.NDArray[np.int64],
    order: OrderComparison,
    noise: NoiseOfBars | None,
) -> str:
    """How many rows, which one most and what noise says of it, and whether stocks stand in another order."""
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.corrcoef(scores, recorded.scores)[0, 1]
    words = [f"{len(wrong)} of {len(scores)} recorded predictions are not reproduced (correlation {correlation:.4f})"]
    if len(wrong):
        # A score that is missing on one side differs more than any number.
        worst = int(wrong[np.argmax(np.nan_to_num(difference[wrong], nan=np.inf))])
        stock = recorded.block.instruments[int(recorded.rows[worst])]
        words.append(
            f"most differs {stock} on {recorded.dates[worst]}: {scores[worst]:.6g} instead of {recorded.scores[worst]:.6g}"
        )
        if noise is not None:
            words.append(noise.verdict(recorded, wrong, worst))
    if order.example is not None:
        words.append(f"stocks stand in another order on {order.others} of {order.days} days ({order.example})")
    return "; ".join(words)
