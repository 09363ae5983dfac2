"""What chance alone brings about."""

from __future__ import annotations

import math

_SLACK = math.log(1e6)


def most_by_chance(expected: float) -> int:
    """What a count of independent events exceeds with a chance below one in a million, where `expected` is their mean.

    Chernoff: the least whole a >= expected with a ln(a / expected) - a + expected >= ln 10^6, less one; 0 for a mean of 0.
    """
    if expected <= 0:
        return 0
    # Bernstein's bound is above it, and one step less is not far away.
    most = math.ceil(expected + _SLACK / 3 + math.sqrt((_SLACK / 3) ** 2 + 2 * expected * _SLACK))
    while most - 1 >= expected and (most - 1) * math.log((most - 1) / expected) - (most - 1) + expected >= _SLACK:
        most -= 1
    return most - 1
