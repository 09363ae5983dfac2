"""Prices that move from one day to the next as none of the training did: splits that nobody adjusted, rows of other stocks.

The manifest records how far the close moved in the training (`alphas.moves`).  A stock that moves further within the days
that a score looks at has no right features (spec/bundle-v1.md, section 10.7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from alphaseal.bars.conventions import newest_before, values_on
from alphaseal.errors import InputError
from alphaseal.format.manifest import Moves
from alphaseal.plain_text import listed

if TYPE_CHECKING:
    from alphaseal.bars.calendar import Bars

FIELD = "close"
Mask = npt.NDArray[np.bool_]
Found = Mapping[str, np.datetime64]
"""Stock -> the first day on which it jumps."""
FIRST_ROWS = 20
"""A stock that was just listed moves without a limit."""
_ODD_ROWS, _ODD_SHARE = 3, 1e-6
"""So many rows at either end of the training, and this share of all, may be such jumps themselves."""
_TIMES = 1.5
"""So many times as far as in the training, in logarithms: a calm training is followed by wilder days."""
_LIMIT = 1.28
"""No day within a price limit of 20 % is a jump, whatever the training had: exchanges have widened theirs."""
MENDS = (
    "give bars adjusted as those of the training (the manifest's data.price_adjustment), each row under its own stock"
)


def ratios(closes: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """(float64 [stocks, days]: the close over the last one before, NaN where there is none; int64: which day that is)."""
    before = newest_before(closes > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = closes.astype(np.float64) / values_on(closes[:, :, None], before)[:, :, 0]
    return np.where(closes > 0, ratio, np.nan), before


class Extremes:
    """The moves of a training, gathered in parts of its stocks."""

    def __init__(self) -> None:
        self._ends = np.zeros(0)
        self._count = 0

    def add(self, closes: npt.NDArray[np.float32], begun: Mask, since: int) -> None:
        """Some stocks on all days; those of the training are from position `since` on, `begun` bool [stocks]: the series
        goes back to before the first day."""
        found, _ = ratios(closes)
        rows: npt.NDArray[np.int64] = np.cumsum(closes > 0, axis=1) - (closes > 0)
        known = np.isfinite(found) & (begun[:, None] | (rows >= FIRST_ROWS))
        known[:, :since] = False
        values = np.sort(np.concatenate([self._ends, found[known]]))
        self._count += int(known.sum())
        # Never more than this is left out, so that the middle is not needed.
        most = 2 * (_ODD_ROWS + int(_ODD_SHARE * self._count) + 1)
        self._ends = values if len(values) <= 2 * most else np.concatenate([values[:most], values[-most:]])

    def moves(self) -> Moves | None:
        """None where the training has too few of them."""
        odd = _ODD_ROWS + int(_ODD_SHARE * self._count)
        if self._count <= 2 * odd:
            return None
        return Moves(lowest=float(self._ends[odd]), highest=float(self._ends[-1 - odd]))


@dataclass(frozen=True)
class JumpCheck:
    """Looks at a caller's bars: a close outside of `low` to `high` times the one before it is a jump.

    `column` is the close among those of the bars, `days` are those that a score looks at.
    """

    moves: Moves
    column: int
    days: int

    @classmethod
    def of(cls, moves: Moves | None, columns: Sequence[str], days: int) -> JumpCheck | None:
        """None where nothing is recorded, or the bars have no close."""
        return None if moves is None or FIELD not in columns else cls(moves, list(columns).index(FIELD), days)

    @property
    def low(self) -> float:
        """The least ratio that is none."""
        return min(float(self.moves.lowest**_TIMES), 1 / _LIMIT)

    @property
    def high(self) -> float:
        """The largest."""
        return max(float(self.moves.highest**_TIMES), _LIMIT)

    def look(self, bars: Bars, scope: Mask, settled: Mask, dates: range) -> tuple[Mask, list[Found]]:
        """(bool [stocks, days]: the stock's bars up to the day cannot be taken; who jumps when, of each of `dates`).

        `dates` are positions in the days of the bars; `scope` bool [stocks]: who counts; `settled` bool [stocks, days]: the
        stock was listed long before.  Of others the first FIRST_ROWS rows of a stretch are not looked at.
        """
        closes = bars.values[:, :, self.column]
        refused = np.zeros(closes.shape, np.bool_)
        found, before = ratios(closes)
        beyond = ((found < self.low) | (found > self.high)) & scope[:, None]
        if not beyond.any():
            return refused, [{} for _ in dates]
        rows = np.pad(np.cumsum(closes > 0, axis=1), ((0, 0), (1, 0)))
        said: list[Found] = []
        for day in dates:
            first = max(0, day - self.days + 1)
            stretch = slice(first, day + 1)
            earlier: npt.NDArray[np.int64] = rows[:, stretch] - rows[:, first : first + 1]
            here = beyond[:, stretch] & (before[:, stretch] >= first)
            here &= settled[:, stretch] | (earlier >= FIRST_ROWS)
            refused[:, day] = here.any(axis=1)
            stocks = np.flatnonzero(refused[:, day])
            said.append({bars.instruments[stock]: bars.dates[first + int(here[stock].argmax())] for stock in stocks})
        return refused, said

    def refusal(
        self, found: Found, date: np.datetime64, why: str = "a stage of the model looks at all stocks"
    ) -> InputError:
        """The error of a day that is computed of all stocks."""
        return InputError(
            "bars.jump",
            f"a price moves from one day to the next as none of the training did, and {why}",
            where=f"the bars up to {date}",
            expected=self._expected(),
            found=_in_words(found),
            next_step=MENDS,
        )

    def warning(self, found: Sequence[tuple[np.datetime64, Found]]) -> str:
        """Said of (date, who jumps) where the stocks are left out of the scores."""
        more = f" and on {len(found) - 1} more dates" if len(found) > 1 else ""
        every = {stock: day for _, stocks in reversed(found) for stock, day in stocks.items()}
        return (
            f"bars up to {found[0][0]}{more}: prices move from one day to the next as none of the training did, the stocks get "
            f"no score (bars.jump): {_in_words(every)}; expected {self._expected()}; {MENDS}"
        )

    def _expected(self) -> str:
        return (
            f"a close between {self.low:.4g} and {self.high:.4g} times the one before "
            f"(training: {self.moves.lowest:.4g} to {self.moves.highest:.4g})"
        )


def _in_words(found: Found) -> str:
    return listed([f"{stock} on {day}" for stock, day in sorted(found.items())])
