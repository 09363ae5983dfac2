"""Comparing scores: distance in units of the last place, and the bound that a manifest declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from alphaseal.format.manifest import Bound

Scores = npt.NDArray[np.float64]
_LARGEST = int(np.array(np.finfo(np.float64).max).view(np.int64))
"""Place of the largest double on the line of `_on_a_line`."""


def ulp_distance(left: Scores, right: Scores) -> npt.NDArray[np.uint64]:
    """Units in the last place between doubles, elementwise; NaN and NaN are 0 apart, NaN and a number 2**63."""
    a, b = _on_a_line(left), _on_a_line(right)
    # Subtract as unsigned: the distance of the largest doubles of both signs does not fit int64.
    distance = np.where(a >= b, a.view(np.uint64) - b.view(np.uint64), b.view(np.uint64) - a.view(np.uint64))
    missing = np.isnan(left), np.isnan(right)
    distance[missing[0] ^ missing[1]] = np.uint64(2**63)
    distance[missing[0] & missing[1]] = np.uint64(0)
    return distance


def _on_a_line(values: Scores) -> npt.NDArray[np.int64]:
    """Sign and magnitude to a line on which neighbours differ by one; -0.0 and 0.0 meet at zero."""
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)


def outside(bound: Bound, scores: Scores, expected: Scores) -> npt.NDArray[np.bool_]:
    """Rows whose score is not within `bound` of the expected one; a missing score is only near a missing one."""
    distance = ulp_distance(scores, expected)
    near: npt.NDArray[np.bool_] = distance <= np.uint64(bound.ulp or 0)
    with np.errstate(invalid="ignore"):  # an infinite score is near only by its ulp distance of 0
        difference = np.abs(scores - expected)
        if bound.relative is not None:
            near |= difference <= bound.relative * np.abs(expected)
        if bound.absolute is not None:
            near |= difference <= bound.absolute
    # relative * infinity would let anything pass
    near &= np.isfinite(expected) | (distance == 0)
    return np.logical_not(near)


def allowed(bound: Bound, expected: Scores) -> Scores:
    """The largest difference from each of the `expected` scores that is within `bound`, float64 [rows].

    0 where the expected score is not finite.
    """
    finite = np.where(np.isfinite(expected), expected, 0.0)
    widest = np.zeros(len(finite))
    if bound.ulp:
        line = _on_a_line(finite)
        for end in (line + bound.ulp, line - bound.ulp):
            widest = np.maximum(widest, np.abs(_from_a_line(np.clip(end, -_LARGEST, _LARGEST)) - finite))
    if bound.relative is not None:
        widest = np.maximum(widest, bound.relative * np.abs(finite))
    if bound.absolute is not None:
        widest = np.maximum(widest, bound.absolute)
    return np.where(np.isfinite(expected), widest, 0.0)


def _from_a_line(places: npt.NDArray[np.int64]) -> Scores:
    bits = np.where(places < 0, np.int64(-(2**63)) - places, places)
    return bits.view(np.float64)
