"""Features that a bundle's graphs make of bars: alpha features of each stock alone, and compiled factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from alphaseal.bars.join import Computed
from alphaseal.factors.daily import FactorColumns, SideTable

if TYPE_CHECKING:
    from alphaseal.bars.calendar import AlphaColumns, Bars
    from alphaseal.factors.side_table import SideSource
    from alphaseal.tables.members.membership import Membership


@dataclass(frozen=True, eq=False)
class BarFeatures:
    """The loaded graphs, and what else the factors of a call need.

    `members` are the stocks that code of factors saw.  `static` is the caller's side table, None where no factor reads
    one.  `used` are the factors that the model asks for.
    """

    alphas: AlphaColumns
    factors: FactorColumns
    members: Membership
    static: SideSource | None
    used: frozenset[str]

    @property
    def window(self) -> int:
        """Days of bars, the day itself included."""
        return max(self.alphas.window, self.factors.window)

    @property
    def fields(self) -> Sequence[str]:
        """Fields of the bars; those of the factors are among those of the alphas."""
        return self.alphas.fields

    @property
    def features(self) -> Sequence[str]:
        """Names in the order of the computed columns."""
        return (*self.alphas.features, *self.factors.names)

    @property
    def watched(self) -> Membership | None:
        """The stocks that must be there, where a factor looks across stocks."""
        return self.members if self.factors.crosses else None

    def side_table(self, bars: Bars, days: range) -> SideTable | None:
        """The caller's side table on the days and stocks of `bars`; InputError `static.*` where it cannot be scored."""
        return None if self.static is None else self.static.on(bars, days)

    def compute(self, bars: Bars, day: int, rows: npt.NDArray[np.int64], static: SideTable | None) -> Computed:
        """Of the stocks `rows` (positions in `bars.instruments`) on the day of that position.

        A factor that looks across stocks sees those that its code would have seen, on earlier days of its window also stocks
        whose series has ended since.
        """
        stocks = self._seen(bars, day, rows)
        found = self.factors.compute(bars, self.fields, day, stocks, static)
        place = np.minimum(np.searchsorted(stocks, rows), max(0, len(stocks) - 1))
        seen = np.flatnonzero(stocks[place] == rows) if len(stocks) else np.zeros(0, np.int64)
        place = place[seen]
        values = np.full((len(rows), len(self.features)), np.nan)
        values[:, : len(self.alphas.features)] = self.alphas.compute(bars, day, rows)
        values[seen, len(self.alphas.features) :] = found.values[place]
        asked = [name in self.used for name in self.factors.names]
        unknown = np.zeros(len(rows), np.bool_)
        unknown[seen] = ~found.known[place][:, asked].all(axis=1)
        return Computed(values, unknown)

    def _seen(self, bars: Bars, day: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Positions in `bars.instruments`, ascending."""
        if not self.factors.crosses:
            return rows
        days = slice(max(0, day + 1 - self.factors.window), day + 1)
        stocks = np.flatnonzero(bars.listed()[:, days].any(axis=1))
        names = [bars.instruments[stock] for stock in stocks.tolist()]
        return stocks[self.members.belongs(names, bars.dates[days]).any(axis=1)]
