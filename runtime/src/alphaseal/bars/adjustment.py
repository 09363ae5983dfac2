"""Price adjustment, as far as data can show it.

Adjusted prices are the traded ones times a factor of the stock.  Another provider, or another day, may choose another
factor for all days: front adjustment restates the whole history at each split.  Features that are ratios do not see it,
others do; which are which is in the manifest, and `alphaseal.bars.units` asks for what the others need.  A factor that differs
from day to day is another adjustment than the model was trained on, whatever its features are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from alphaseal.arrow.columns import FIRST_DAY, LAST_DAY
from alphaseal.bars.calendar import Bars
from alphaseal.bars.source import day_missing
from alphaseal.errors import InputError
from alphaseal.plain_text import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alphaseal.bars.source import BarSource
    from alphaseal.tables.features import FeatureBlock

PRICES = ("open", "high", "low", "close", "vwap")
PRICE = "price"
"""The unit of all of them together; every other field is its own."""
TOLERANCE = 1e-4
"""Of the ratio to the bars of the training: float32 twice, with room; a split changes it by a thousand times that."""
MENDS = 'give missing values, or no row, for suspended days: fill nothing (AIstock: nan_policy="none", docs/aistock.md)'
_FALL = 0.45
"""More than any exchange lets a price fall in a day."""
_RISE = 1.5
NOT_COMPARED = (
    "the price adjustment of the bars could not be compared with that of the training: "
    "the table has none of the golden bars' stocks on their days"
)


def unit_of(field: str) -> str:
    """The unit that a field of the bars has: fields of one unit are multiplied by one constant."""
    if field in PRICES:
        return PRICE
    return f"${field}" if field == PRICE else field


@dataclass(frozen=True, eq=False)
class Comparison:
    """A caller's table beside the golden bars.

    `instruments` and `fields` are those of `ratios`, float64 [stocks, days, fields]: the table's value over the golden
    one, a positive number, NaN where one of them is missing or both are zero.
    """

    warnings: tuple[str, ...]
    instruments: tuple[str, ...]
    fields: tuple[str, ...]
    ratios: npt.NDArray[np.float64]


def compare(source: BarSource, golden: FeatureBlock) -> Comparison:
    """Compare a caller's table with the golden bars, where it has the same stocks and dates.

    Raises InputError `bars.calendar` where the table has other days between those of the golden bars that it covers
    (`bars.day_missing` where it lacks one of the caller's calendar); `bars.suspended` where a value is missing on one
    side only; `bars.adjustment` where the ratio of a stock's prices to the golden ones is not a positive number, changes
    from one day to another by more than TOLERANCE, or prices differ among themselves in it, or that of another field does.
    """
    rows = source.read_range(golden.dates[0], golden.dates[-1])
    _check_days(source, rows, np.unique(golden.dates))
    if rows is None:
        return Comparison((NOT_COMPARED,), (), source.fields, np.zeros((0, 0, len(source.fields))))
    ours, theirs = _aligned(Bars.of_rows(golden), Bars.of_rows(rows))
    both = ours.listed() & theirs.listed()
    _require_same_missing(ours, theirs, both, source.fields)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(both[:, :, None], theirs.values.astype(np.float64) / ours.values, np.nan)
    for fields in _groups(source.fields):
        _require_constant(ratio[:, :, fields], ours, [source.fields[field] for field in fields])
    few = (np.isfinite(ratio).any(axis=2).sum(axis=1) < 2).all()
    return Comparison((NOT_COMPARED,) if few else (), ours.instruments, source.fields, ratio)


def _check_days(source: BarSource, rows: FeatureBlock | None, wanted: npt.NDArray[np.datetime64]) -> None:
    """Between the first and the last of the golden dates that the table covers it has these dates and no other."""
    found = wanted[:0] if rows is None else np.unique(rows.dates)
    days = wanted.astype(np.int64)
    first, last = (found[0], found[-1]) if len(found) else (None, None)
    # Rows further out say that the table goes over the golden days at an end that it lacks.
    if first != wanted[0] and source.reaches(FIRST_DAY, int(days[0]) - 1):
        first = wanted[0]
    if last != wanted[-1] and source.reaches(int(days[-1]) + 1, LAST_DAY):
        last = wanted[-1]
    if first is None or last is None:
        return
    other = np.setxor1d(found, wanted[(wanted >= first) & (wanted <= last)])
    if len(other):
        missing = other[0] in wanted
        if missing and (calendar := source.request.calendar) is not None and other[0] in calendar:
            raise day_missing(other[:1])
        raise InputError(
            "bars.calendar",
            "the bars lack a day that the training had" if missing else "the bars have a day that the training had not",
            where="the bars",
            expected=f"rows on {other[0]}, as in the golden bars" if missing else f"no rows on {other[0]}",
            found="none" if missing else "rows",
            next_step="load the missing day" if missing else "leave out days that are no trading days",
        )


def _require_same_missing(ours: Bars, theirs: Bars, both: npt.NDArray[np.bool_], fields: Sequence[str]) -> None:
    """Where both have the day of a stock, a value is missing in both or in none."""
    lacking = np.isnan(theirs.values)
    different = np.argwhere((lacking != np.isnan(ours.values)) & both[:, :, None])
    if not len(different):
        return
    stock, day, field = map(int, different[0])
    value = (ours if lacking[stock, day, field] else theirs).values[stock, day, field]
    filled = not lacking[stock, day, field]
    raise InputError(
        "bars.suspended",
        "the bars have a value where the training had none, as on a suspended day that was filled"
        if filled
        else "the bars lack a value that the training had",
        where=f"the bars, {fields[field]} of {ours.instruments[stock]} on {ours.dates[day]}",
        expected="a missing value, as in the golden bars" if filled else f"a value: the golden bars have {value:.6g}",
        found=f"{value:.6g}" if filled else "a missing value",
        next_step=MENDS if filled else "load the missing values; only days on which the stock was suspended have none",
    )


def _groups(fields: Sequence[str]) -> list[list[int]]:
    """Prices have one ratio together, every other field its own."""
    prices = [place for place, name in enumerate(fields) if name in PRICES]
    others = [[place] for place, name in enumerate(fields) if name not in PRICES]
    return [prices, *others] if prices else others


def _aligned(ours: Bars, theirs: Bars) -> tuple[Bars, Bars]:
    """Both on the stocks and dates that both have."""
    names = sorted(set(ours.instruments) & set(theirs.instruments))
    dates = np.intersect1d(ours.dates, theirs.dates)
    return _part(ours, names, dates), _part(theirs, names, dates)


def _part(bars: Bars, names: list[str], dates: npt.NDArray[np.datetime64]) -> Bars:
    """`dates` are consecutive days of the bars."""
    place = {name: number for number, name in enumerate(bars.instruments)}
    stocks = np.array([place[name] for name in names], np.int64)
    start = int(np.searchsorted(bars.dates, dates[0])) if len(dates) else 0
    both = stocks, slice(start, start + len(dates))
    return Bars(dates, tuple(names), bars.values[both], bars.first[stocks] - start, bars.present[both])


def _require_constant(ratio: npt.NDArray[np.float64], bars: Bars, fields: list[str]) -> None:
    """`ratio` [stocks, days, fields] is one number per stock, where it is known."""
    if not len(ratio):
        return  # no stock of the golden bars is in the table
    flat = ratio.reshape(len(ratio), -1)
    known = ~np.isnan(flat)
    first = np.take_along_axis(flat, known.argmax(axis=1)[:, None], axis=1)
    with np.errstate(invalid="ignore"):
        breaks = known & ~((np.abs(flat / first - 1.0) <= TOLERANCE) & (flat > 0) & np.isfinite(flat))
    if not breaks.any():
        return
    stock = int(breaks.any(axis=1).argmax())
    day, field = divmod(int(breaks[stock].argmax()), len(fields))
    raise InputError(
        "bars.adjustment",
        "the bars are adjusted otherwise than those that the model was trained on",
        where=f"the bars, {fields[field]} of {bars.instruments[stock]} on {bars.dates[day]}",
        expected=f"{first[stock, 0]:.6g} times the golden bars' value, as on the days before"
        if np.isfinite(first[stock, 0]) and first[stock, 0] > 0
        else "a positive multiple of the golden bars' value",
        found=f"{ratio[stock, day, field]:.6g} times",
        next_step="give bars with the adjustment of the training data (the manifest's data.price_adjustment)",
    )


def splits(bars: Bars, fields: Sequence[str], since: int = 1) -> tuple[str, ...]:
    """Warnings of days from `since` on whose close fell further than any exchange allows, while volume or factor rose."""
    if "close" not in fields:
        return ()
    close = bars.values[:, :, list(fields).index("close")]
    signs = [bars.values[:, :, list(fields).index(name)] for name in ("volume", "factor") if name in fields]
    with np.errstate(divide="ignore", invalid="ignore"):
        fell = close[:, 1:] / close[:, :-1] < 1.0 - _FALL
        rose = [values[:, 1:] / values[:, :-1] > _RISE for values in signs]
    if rose:
        fell &= np.any(rose, axis=0)
    found = [(int(stock), int(day) + 1) for stock, day in np.argwhere(fell) if day + 1 >= since]
    if not found:
        return ()
    where = listed([f"{bars.instruments[stock]} on {bars.dates[day]}" for stock, day in found])
    return (f"the close fell by more than {_FALL:.0%} in a day, as unadjusted splits do: {where}",)
