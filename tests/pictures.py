"""Numbers for the pictures of a card, made up."""

from __future__ import annotations

import numpy as np

from alphaseal_converter.card.performance import Correlations, Performance, Returns, agreement, distribution
from alphaseal_converter.families.base import Importance
from alphaseal_converter.locate.artifacts import Predictions


def example_performance(days: int = 40, stocks: int = 25, features: int = 3) -> Performance:
    """Every picture has numbers: `days` weekdays from 2021-11-01, of which the fifth has no correlation."""
    calendar = np.busday_offset(np.datetime64("2021-11-01"), np.arange(days))
    wave = np.sin(np.arange(days) * 0.7)
    ic = 0.05 + 0.2 * wave
    ic[4] = np.nan
    gross = 0.001 + 0.01 * wave
    scores = np.sin(np.arange(days * stocks, dtype=np.float64))
    instruments = np.array([f"SH{600000 + number}" for number in range(stocks)] * days, dtype=object)
    return Performance(
        correlations=Correlations(calendar, ic, ic * 0.9, computed=False),
        returns=Returns(calendar, gross, gross - 0.0005),
        distribution=distribution(Predictions(np.repeat(calendar, stocks), instruments, scores)),
        agreement=agreement(scores, scores),
        importance=Importance(np.arange(features, 0.0, -1.0), "gain of the splits on it"),
        missing=np.linspace(0.0, 0.3, features),
    )
