"""Real pandas beside a factor's graphs, on bars that no research has seen.

The bars are those of some stocks with other prices, gaps, zeros and constant stretches, drawn from the digest of the code:
a source cannot be written for the bars that it will meet, and equal input meets equal bars.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from alphaseal.bars.adjustment import unit_of
from alphaseal.bars.calendar import Bars
from alphaseal_converter.factors.market import Market, seed_of
from alphaseal_converter.factors.process import Claim, Session
from alphaseal_converter.isolation.plain_table import Texts

_NOISE: Final = {"price": 0.02}
"""Deviation of the logarithm of what a cell is multiplied by; of other units than prices `_OTHER_NOISE`."""
_OTHER_NOISE: Final = 0.5
_GAPS, _ZEROS, _CONSTANTS = (1, 5), (1, 3), (3, 8)
"""Fewest and most days of a stretch."""
_STOCKS_WITH: Final = 0.5
"""Share of the stocks that have a stretch of a kind."""

Values = npt.NDArray[np.float64]
Compute = Callable[[Bars, int, npt.NDArray[np.int64]], tuple[Values, npt.NDArray[np.bool_]]]
"""(bars, day, stocks) -> a factor's values [stocks] of that day, and which of them are known."""


@dataclass(frozen=True)
class Compared:
    """How many cells were compared, and the first that differs in words (None: none does)."""

    cells: int
    differs: str | None


def changed(bars: Bars, fields: Sequence[str], code: bytes) -> Bars:
    """The bars with other values [stocks, days, fields]; rows stay rows, and what is missing stays so."""
    random = np.random.default_rng(seed_of(b"changed bars", code))
    values = bars.values.astype(np.float64)
    prices = [place for place, name in enumerate(fields) if unit_of(name) == "price"]
    traded = [place for place, name in enumerate(fields) if name in ("volume", "amount")]
    for place, name in enumerate(fields):
        # A factor of adjustment is no measurement: it stays.
        if name != "factor":
            values[:, :, place] *= np.exp(random.normal(0.0, _NOISE.get(unit_of(name), _OTHER_NOISE), values.shape[:2]))
    for stock in range(len(values)):
        for kind, (least, most) in enumerate((_CONSTANTS, _ZEROS, _GAPS)):
            start, length = int(random.integers(values.shape[1])), int(random.integers(least, most + 1))
            if random.random() >= _STOCKS_WITH:
                continue
            stretch = values[stock, start : start + length]
            if kind == 0:
                stretch[:, prices] = stretch[0, prices]
            elif kind == 1:
                stretch[:, traded] = 0.0
            else:
                stretch[:] = np.nan
    values[np.isnan(bars.values)] = np.nan
    return replace(bars, values=values.astype(np.float32))


def as_market(bars: Bars, fields: Sequence[str], static: bytes | None = None) -> Market:
    """The rows as daily_pv.h5 has them; `static` is a side table, parquet."""
    day, stock = np.nonzero(bars.present.T)
    columns = {f"${name}": bars.values[stock, day, place] for place, name in enumerate(fields)}
    return Market(bars.dates[day], Texts(list(bars.instruments), stock.astype(np.int32)), columns, static)


def compare(
    session: Session, source: bytes, name: str, market: Market, bars: Bars, compute: Compute, bound: float
) -> Compared:
    """What the code gives of `market` with the session's pandas beside what `compute` gives, on all rows of `bars`, which are
    those of the market.

    Values may differ by `bound` of the larger of value and median size; missing ones must be the same.  Raises RefusalError
    `factor.*` where the code does not end well, `isolation.*`.
    """
    claim = session.run(source, name, market)
    expected, outside = _grid(claim, bars)
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(np.median(finite)) if len(finite) else 0.0
    if outside is not None:
        return Compared(0, f"pandas gives a value of {outside}, which is no row of the bars")
    cells = 0
    for day in range(len(bars.dates)):
        stocks = np.flatnonzero(bars.present[:, day])
        values, known = compute(bars, day, stocks)
        wanted = expected[stocks, day]
        with np.errstate(invalid="ignore", divide="ignore"):
            near = np.abs(values - wanted) <= bound * np.maximum(np.abs(wanted), scale or 1.0)
        wrong = known & ~(near | (values == wanted) | (np.isnan(values) & np.isnan(wanted)))
        cells += int(known.sum())
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            where = f"{bars.dates[day]} {bars.instruments[stocks[row]]}"
            return Compared(cells, f"{float(values[row])!r} for pandas' {float(wanted[row])!r} on {where}")
    return Compared(cells, None)


def _grid(claim: Claim, bars: Bars) -> tuple[Values, str | None]:
    """([stocks, days] of what the code gave, a day and stock with a value that is no row of the bars)."""
    found = np.full(bars.present.shape, np.nan)
    place = {name: number for number, name in enumerate(bars.instruments)}
    stock = np.array([place.get(name, -1) for name in claim.stocks.names] or [-1], np.int64)[claim.stocks.places]
    day = np.minimum(np.searchsorted(bars.dates, claim.days), len(bars.dates) - 1)
    inside = (stock >= 0) & (bars.dates[day] == claim.days)
    inside[inside] = bars.present[stock[inside], day[inside]]
    found[stock[inside], day[inside]] = claim.values[inside]
    beside = np.flatnonzero(~inside & ~np.isnan(claim.values))
    if not len(beside):
        return found, None
    names = claim.stocks.take(beside[:1]).values().tolist()
    return found, f"{claim.days[beside[0]]} {names[0]}"
