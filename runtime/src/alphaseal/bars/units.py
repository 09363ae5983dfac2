"""Whether a caller's bars have the units of the training: yuan or another base of adjustment, shares or lots.

A constant that multiplies a field changes no ratio, but it changes every other feature, for each stock otherwise, and
nothing in the bars of one day tells.  So where a used feature sees the constant of a field (`AlphaGraph.units`), the field
must be shown to be the training's: by days of the golden bars in the table itself, or by anchors, which are bars of the
golden stocks and days from the same source.  What is shown of these stocks is taken to hold for all of the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from alphaseal.bars.adjustment import NOT_COMPARED, PRICE, PRICES, unit_of
from alphaseal.errors import InputError
from alphaseal.format.manifest import AlphaGraph, FieldUnit
from alphaseal.format.parts import Count, Date, Part, Positive, Sha256, Short
from alphaseal.plain_text import listed

if TYPE_CHECKING:
    from alphaseal.bars.adjustment import Comparison
    from alphaseal.bars.source import BarSource
    from alphaseal.tables.features import FeatureBlock
    from alphaseal.tables.look_back import Span

TOLERANCE = 1e-5
"""Of the ratio to the training's values, the median over a stock's days: float32 twice, with room."""
LEAST_STOCKS = 5
"""So many golden stocks show a field, or all of them where they are fewer: one alone may be like the training by chance."""
LEAST_DAYS = 2
"""On so many days each: a price of one day may have any base of adjustment."""
CLEARLY = 5.0
"""Times the outermost sizes of the training's stocks: markets grow and shrink by less, lots and shares differ by more."""
ROUNDED = 1e-4
"""Of a price: adjusted prices are rounded on their own."""
SELDOM, OFTEN = 0.01, 0.05
"""Shares of rows whose prices are not in order: at most so many of the golden bars, more of a day of a table with columns mixed
up."""
_LOTS = (100.0, 1000.0, 10_000.0)
BY_DAYS = "golden days"
BY_ANCHORS = "anchors"
AS_TRAINED = "as trained, not shown"


class FieldRatios(Part, frozen=True, kw_only=True):
    """What a table says of one field: its ratio to the golden bars, the median over the days of each stock."""

    stocks: Annotated[Count, Meta(description="with a positive value on both sides on enough days")]
    smallest: Annotated[Positive | None, Meta(description="ratio of any stock; null: no stock has one")]
    smallest_of: Short | None
    largest: Positive | None
    largest_of: Short | None


Known = Mapping[str, FieldRatios]


class LastSeen(Part, frozen=True, kw_only=True):
    """Prices that a source gave for the golden stocks on the last date that was scored with its anchors."""

    date: Date
    fields: list[Short]
    values: Annotated[dict[Short, list[float | None]], Meta(description="by stock, in the order of the fields")]


class Anchors(Part, frozen=True, kw_only=True):
    """What bars of the golden stocks and days from one source say of all bars of that source."""

    golden: Annotated[Sha256, Meta(description="of the golden bars that they were compared with")]
    fields: dict[Short, FieldRatios]
    last_seen: Annotated[LastSeen | None, Meta(description="null: nothing was scored with them since")]


@dataclass(frozen=True)
class Evidence:
    """What a caller brings beside the table: anchors of the same source, and whether to go without proof."""

    anchors: Anchors | None = None
    as_trained: bool = False


@dataclass(frozen=True)
class Shown:
    """How each field that must be shown was shown: BY_DAYS, BY_ANCHORS or AS_TRAINED; and sizes that speak against it."""

    fields: Mapping[str, str]
    strange: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said where the caller's word was taken."""
        taken = [field for field, how in self.fields.items() if how == AS_TRAINED]
        if not taken and not self.strange:
            return ()
        said = f"nothing shows that {', '.join(taken)} have the units of the training; the caller says so"
        return (*((said,) if taken else ()), *self.strange)


def told(warnings: tuple[str, ...], evidence: Evidence) -> tuple[str, ...]:
    """The warnings of a comparison, without the one that anchors of the same source answer."""
    return () if evidence.anchors is not None and warnings == (NOT_COMPARED,) else warnings


def known_of(comparison: Comparison) -> dict[str, FieldRatios]:
    """The ratios of a table's fields, by field."""
    return {
        field: _ratios_of(comparison.instruments, comparison.ratios[:, :, place])
        for place, field in enumerate(comparison.fields)
    }


def _ratios_of(instruments: Sequence[str], ratios: npt.NDArray[np.float64]) -> FieldRatios:
    known = ~np.isnan(ratios)
    days = known.sum(axis=1)
    rows = np.flatnonzero(days)
    if not len(rows):
        return FieldRatios(stocks=0, smallest=None, smallest_of=None, largest=None, largest_of=None)
    medians = np.nanmedian(ratios[rows], axis=1)
    low, high = int(medians.argmin()), int(medians.argmax())
    return FieldRatios(
        stocks=int((days >= LEAST_DAYS).sum()),
        smallest=float(medians[low]),
        smallest_of=instruments[rows[low]],
        largest=float(medians[high]),
        largest_of=instruments[rows[high]],
    )


def check(
    alphas: AlphaGraph, golden: FeatureBlock, source: BarSource, span: Span, table: Known, evidence: Evidence
) -> Shown:
    """Whether the bars have the units that the used features see; `table` is what the caller's own table says.

    InputError `bars.units` where a ratio is another than the used features allow, in the table or in the anchors, where the
    size of the values is, or where prices are not in order; `bars.units_unproven` where nothing shows a field.  A caller
    who says that the units are the training's need not show them, and sizes are only told; the rest is refused all the same.
    """
    units: Mapping[str, FieldUnit] = alphas.units or {}
    shown: dict[str, str] = {}
    anchors: Known = {} if evidence.anchors is None else evidence.anchors.fields
    for field, unit in units.items():
        enough = _enough(golden, alphas.fields.index(field))
        for known, how, where in ((table, BY_DAYS, "the bars"), (anchors, BY_ANCHORS, "the anchors")):
            if field in known:
                _require_right(field, unit, known[field], where)
                if _shows(known[field], enough):
                    shown.setdefault(field, how)
    if evidence.anchors is not None and evidence.anchors.last_seen is not None:
        _require_unchanged(evidence.anchors.last_seen, source)
    strange: list[InputError] = []
    if alphas.units is not None:
        # What was shown of other days, or of other bars of the source, may have changed since.
        days = [rows for day in sorted({span.first, span.read[1]}) if (rows := source.read_range(day, day)) is not None]
        for rows in days:
            _require_order(source.fields, golden, rows)
            _require_fractions(source.fields, golden, rows)
        strange = _strange_sizes(units, source.fields, days, (table, anchors))
    if strange and not evidence.as_trained:
        raise strange[0]
    asked = [field for field, unit in units.items() if unit.seen_by]
    unproven = [field for field in asked if field not in shown]
    if unproven and not evidence.as_trained:
        raise _unproven(alphas, golden, unproven, (table, anchors))
    return Shown({field: shown.get(field, AS_TRAINED) for field in asked}, tuple(map(str, strange)))


def last_seen(alphas: AlphaGraph, golden: FeatureBlock, source: BarSource, date: np.datetime64) -> LastSeen | None:
    """What `_require_unchanged` compares with later: prices of the golden stocks on a date, of which a feature sees the unit."""
    asked = [name for name, unit in (alphas.units or {}).items() if unit.exact or unit.alike]
    fields = [name for name in asked if unit_of(name) in (PRICE, "factor")]
    rows = source.read_range(date, date) if fields else None
    if rows is None:
        return None
    places = [source.fields.index(name) for name in fields]
    known = set(golden.instruments.to_pylist())
    found = zip(rows.instruments.to_pylist(), rows.values[:, places].astype(np.float64), strict=True)
    values = {name: [_plain(value) for value in row] for name, row in found if name in known}
    return LastSeen(date=str(date), fields=fields, values=values)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) and value > 0 else None


def _require_unchanged(seen: LastSeen, source: BarSource) -> None:
    """InputError `bars.units` where the source gives other prices for that date now: it restated its history since."""
    day = np.datetime64(seen.date, "D")
    rows = source.read_range(day, day)
    if rows is None:
        return
    place = {name: number for number, name in enumerate(source.fields)}
    for name, row in zip(rows.instruments.to_pylist(), rows.values.astype(np.float64), strict=True):
        for field, before in zip(seen.fields, seen.values.get(name, []), strict=False):
            now = row[place[field]] if field in place else np.nan
            if before is not None and now > 0 and abs(now / before - 1) > TOLERANCE:
                raise InputError(
                    "bars.units",
                    "the source restated its history since its anchors showed its units",
                    where=f"the bars, {field} of {name} on {seen.date}",
                    expected=f"{before:.7g}, as the source gave when that day was scored",
                    found=f"{now:.7g}, {now / before:.6g} times that",
                    next_step="show the units again: alphaseal anchor; a source with front adjustment cannot be anchored",
                )


def require_shown(alphas: AlphaGraph, golden: FeatureBlock, anchors: Known) -> None:
    """Anchors alone show all fields that must be shown; InputError as `check`."""
    unproven = []
    for field, unit in (alphas.units or {}).items():
        if field in anchors:
            _require_right(field, unit, anchors[field], "the anchors")
        enough = _enough(golden, alphas.fields.index(field))
        if unit.seen_by and not (field in anchors and _shows(anchors[field], enough)):
            unproven.append(field)
    if unproven:
        raise _unproven(alphas, golden, unproven, (anchors,))


def _enough(golden: FeatureBlock, place: int) -> int:
    """How many stocks show a field; 0 where the golden bars themselves hold too little to show it."""
    stocks = golden.instruments.dictionary_encode()
    codes = np.asarray(stocks.indices.to_numpy(zero_copy_only=False))
    values = golden.values[:, place]
    days = np.bincount(codes[(values > 0) & np.isfinite(values)], minlength=len(stocks.dictionary))
    return min(LEAST_STOCKS, int((days >= LEAST_DAYS).sum()))


def _shows(known: FieldRatios, enough: int) -> bool:
    return 0 < enough <= known.stocks


def _require_right(field: str, unit: FieldUnit, known: FieldRatios, where: str) -> None:
    """InputError `bars.units` where a stock's ratio is another than the used features allow."""
    low, high = known.smallest, known.largest
    if low is None or high is None:
        return
    one = high / low - 1 <= TOLERANCE
    if unit.exact and max(abs(low - 1), abs(high - 1)) > TOLERANCE:
        expected, seen_by = "the values of the training", unit.exact
    elif unit.alike and not one:
        expected, seen_by = "one multiple of the training's for all stocks", unit.alike
    elif low < (unit.smallest or 0.0) or high > (unit.largest or np.inf):
        expected = f"from {unit.smallest or 0:g} to {unit.largest or np.inf:g} times the values of the training"
        seen_by = unit.seen_by
    else:
        return
    raise InputError(
        "bars.units",
        f"{field} has other units than in the training" + (f", seen by {listed(seen_by)}" if seen_by else ""),
        where=f"{where}, {field}",
        expected=expected,
        found=f"{low:.6g} times for all stocks{_guess(field, low)}"
        if one
        else f"{low:.6g} times for {known.smallest_of}, {high:.6g} times for {known.largest_of}",
        next_step=f"multiply {field} by {1 / low:.6g}"
        if one
        else "give bars with the units and the base of adjustment of the training's data",
    )


def _guess(field: str, ratio: float) -> str:
    """What the ratio looks like, for people."""
    for lot in _LOTS:
        if abs(ratio * lot - 1) < TOLERANCE and field == "volume":
            return f": lots of {lot:g}?"
    return ""


def _require_order(fields: Sequence[str], golden: FeatureBlock, rows: FeatureBlock) -> None:
    """InputError `bars.units` where a price is below the low or above the high as it never is in the golden bars.

    Then one price has another unit than the others, or two columns have each other's name.
    """
    pairs = [("low", name) for name in PRICES if name != "low"] + [(name, "high") for name in PRICES if name != "high"]
    for lower, upper in pairs:
        if lower not in fields or upper not in fields:
            continue
        places = [fields.index(lower), fields.index(upper)]
        usual, found = (_disordered(block.values[:, places]) for block in (golden, rows))
        if len(usual) and usual.mean() <= SELDOM and found.sum() >= 2 and found.mean() > OFTEN:
            raise InputError(
                "bars.units",
                f"{lower} is above {upper}, as it is not in the training: one of them has another unit, or another name",
                where=f"the bars on {rows.dates[0]}",
                expected=f"{lower} at most {upper}",
                found=f"{int(found.sum())} of {len(found)} stocks where it is not",
                next_step=f"look at the columns {lower} and {upper}: all prices of a stock are of one day, unit and adjustment",
            )


def _require_fractions(fields: Sequence[str], golden: FeatureBlock, rows: FeatureBlock) -> None:
    """InputError `features.precision` where all values of a price are whole numbers, and those of the golden bars are not."""
    for place, name in enumerate(fields):
        usual, found = (block.values[:, place][np.isfinite(block.values[:, place])] for block in (golden, rows))
        if name not in PRICES or not len(usual) or len(found) < 2:
            continue
        if (usual == np.rint(usual)).mean() <= SELDOM and (found == np.rint(found)).all():
            raise InputError(
                "features.precision",
                f"{name} has whole numbers only, and fractions in training",
                where=f"the bars, {name} on {rows.dates[0]}",
                expected=f"values with their decimals, such as {usual[0]:.6g} in the golden bars",
                found=f"{found[0]:.6g}",
                next_step="give prices as they are, before they were rounded or cast to integers",
            )


def _disordered(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
    """bool of the rows that have both values: the first is above the second by more than its rounding."""
    both = values[np.isfinite(values).all(axis=1)].astype(np.float64)
    disordered: npt.NDArray[np.bool_] = both[:, 0] > both[:, 1] * (1 + ROUNDED)
    return disordered


def _strange_sizes(
    units: Mapping[str, FieldUnit], fields: Sequence[str], days: Sequence[FeatureBlock], given: Sequence[Known]
) -> list[InputError]:
    """`bars.units` for each field whose values of the first or last day to score are far from the training's."""
    strange: dict[str, InputError] = {}
    for rows in days:
        for field, unit in units.items():
            values = rows.values[:, fields.index(field)].astype(np.float64)
            ratios = _possible_ratios(unit, [known[field] for known in given if field in known])
            day = str(rows.dates[0])
            error = _strange_size(field, unit, values[np.isfinite(values) & (values > 0)], ratios, day)
            if error is not None:
                strange.setdefault(field, error)
    return list(strange.values())


def _possible_ratios(unit: FieldUnit, known: Sequence[FieldRatios]) -> tuple[float, float]:
    """Smallest and largest ratio that the values of a right table may have to those of the training."""
    shown = [ratio for ratios in known for ratio in (ratios.smallest, ratios.largest) if ratio is not None]
    if shown:
        return min(shown), max(shown)
    if not unit.seen_by:
        return unit.smallest or 0.0, unit.largest or np.inf
    return (0.0, np.inf) if unit.alike and not unit.exact else (1.0, 1.0)


def _strange_size(
    field: str, unit: FieldUnit, values: npt.NDArray[np.float64], ratios: tuple[float, float], day: str
) -> InputError | None:
    sizes = unit.sizes
    if sizes is None or len(values) < LEAST_STOCKS:
        return None
    low, high, found = sizes.low / CLEARLY * ratios[0], sizes.high * CLEARLY * ratios[1], float(np.median(values))
    if low <= found <= high:
        return None
    return InputError(
        "bars.units",
        f"{field} has another size than in the training",
        where=f"the bars, {field} on {day}",
        expected=f"a median between {low:.4g} and {high:.4g}: stocks of the training have {sizes.median:.4g}",
        found=f"{found:.4g}, about {found / sizes.median:.2g} times that",
        next_step=f"give {field} in the units of the training, or pass --units-as-trained if it has them",
    )


def _unproven(alphas: AlphaGraph, golden: FeatureBlock, fields: Sequence[str], given: Sequence[Known]) -> InputError:
    features = sorted({name for field in fields for name in (alphas.units or {})[field].seen_by})
    stocks = sorted(set(golden.instruments.to_pylist()))
    first, last = golden.dates[0], golden.dates[-1]
    enough = max(_enough(golden, alphas.fields.index(field)) for field in fields)
    counts = [known[field].stocks for known in given for field in fields if field in known]
    if enough:
        step = (
            f"once for this source of bars: --anchors FILE, its bars of {listed(stocks)} from {first} to {last} "
            "(alphaseal anchor keeps what they show); or --units-as-trained if you know"
        )
    else:
        step = "--units-as-trained, if you know that they have: the golden bars of the bundle are too few to show it"
    return InputError(
        "bars.units_unproven",
        f"nothing shows that {', '.join(fields)} have the units of the training, which {listed(features)} would see",
        where="the bars",
        expected=f"days from {first} to {last} of at least {enough} of the golden bars' stocks, {LEAST_DAYS} or more each",
        found=f"{max(counts, default=0)} such stocks",
        next_step=step,
    )
