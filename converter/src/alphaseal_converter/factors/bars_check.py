"""What the verb ``features`` asks of its bars before any factor sees them: the same as the runtime asks of its own.

The bundle's golden bars are bars as the training saw them; other calendars, adjustments or gaps would give factors other
values, which would then be signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa

from alphaseal.arrow.columns import FIRST_DAY, LAST_DAY
from alphaseal.bars import adjustment, conventions, units
from alphaseal.bars.calendar import Bars
from alphaseal.bars.jumps import JumpCheck
from alphaseal.bars.source import BarSource
from alphaseal.bars.units import Evidence
from alphaseal.bundle import Bundle
from alphaseal.errors import InputError
from alphaseal.format.manifest import AlphaGraph, Feature, FieldUnit
from alphaseal.scoring.golden import golden_bars
from alphaseal.tables import instruments
from alphaseal.tables.features import FeatureBlock
from alphaseal.tables.look_back import Span
from alphaseal.tables.members.membership import FactorUniverse
from alphaseal.tables.period import Period
from alphaseal.tables.request import Request
from alphaseal_converter.comparison.field_units import field_unit
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.process import FactorBars, Needs

COLUMNS = ("open", "close", "high", "low", "volume")
"""Of RD-Agent's daily_pv.h5, which every factor is written for."""
_NO_GOLDEN_BARS = (
    "the bars could not be compared with those of the training: the bundle has no golden bars "
    "(a build with --provider gives it some)"
)
_HOLIDAYS = 30
_WHY = "factors may look at all stocks"
"""Days without trade, beside weekends, that any stretch of days may have."""
_NO_COMMON_FIELD = "the bars could not be compared with those of the training: they have no field of the golden bars"


def needs_of(bundle: Bundle, wanted: Sequence[Feature], instruments_from: str | None, period: Period) -> Needs:
    """Columns that the factors read (all of COLUMNS where that is not known of each), days of the model's window, and
    days and fields that are compared with the golden bars and the conventions of the training.

    PolicyError `data.*`, `golden.keys`; UsageError `usage.instrument_format`.
    """
    read = {name for feature in wanted for name in feature.inputs or () if not name.startswith("static:")}
    unknown = any(feature.inputs is None for feature in wanted)
    alphas = bundle.manifest.alphas
    compared = None
    if alphas is not None:
        days = golden_bars(bundle, alphas).dates
        more = [name for found in alphas.conventions or () for name in found.fields]
        first = min(days[0], _oldest(wanted, bundle, period))
        last = max(days[-1], np.datetime64(period.last, "D"))
        compared = (str(first), str(last), tuple(dict.fromkeys([*alphas.fields, *more])))
    return Needs(
        columns=tuple(sorted(read | set(COLUMNS if unknown else ()))),
        before=bundle.manifest.model.step_length - 1,
        compared=compared,
        rewriting=instruments.rewriting(bundle.notation(instruments_from)),
    )


def _reach(wanted: Sequence[Feature], bundle: Bundle) -> int:
    """Days that the factors of a date look at, with those that the model's windows do; at least those of the alphas."""
    alphas = bundle.manifest.alphas
    known = [feature.look_back for feature in wanted if feature.look_back is not None]
    return max([*known, 1 if alphas is None else alphas.window]) + bundle.manifest.model.step_length - 1


def _oldest(wanted: Sequence[Feature], bundle: Bundle, period: Period) -> np.datetime64:
    """A day that is at least so many trading days before the period."""
    days = max(period.first - 2 * _reach(wanted, bundle) - _HOLIDAYS, FIRST_DAY)
    return np.datetime64(days, "D")


def outside(bundle: Bundle, market: FactorBars) -> tuple[str, ...]:
    """The codes of the bars that the factors of the training did not see: other kinds of things, and context.

    InputError `universe.incomplete` where the bars lack an index that the factors were computed with.
    """
    universe = FactorUniverse.of(bundle.manifest.data)
    missing = universe.lacking(market.stocks)
    if missing:
        raise InputError(
            "universe.incomplete",
            "the factors of the training were computed with an index among the stocks, and the bars lack it",
            where="the bars",
            expected=", ".join(missing),
            found="no row of it",
            next_step="give its bars too: a factor across stocks has other values without it",
        )
    return tuple(universe.outside(market.stocks))


def compare(
    bundle: Bundle, market: FactorBars, wanted: Sequence[Feature], days: Sequence[str], evidence: Evidence
) -> tuple[str, ...]:
    """Compare bars with the bundle's golden ones by the runtime's rules, and the days that the factors of the dates `days`
    look at with the training's conventions; warnings, InputError `bars.*`.

    The units are those that the code of the `wanted` factors sees: of every column that it reads, unless a trial showed
    that a constant changes nothing.  RefusalError `bars.rows_missing`: code of factors counts rows, where the runtime
    counts days.
    """
    alphas, table = bundle.manifest.alphas, market.compared
    if alphas is None or table is None:
        return (_NO_GOLDEN_BARS,)
    fields = [field for field in alphas.fields if field in table.column_names]
    if not fields:
        return (_NO_COMMON_FIELD,)
    golden = golden_bars(bundle, alphas)
    golden = replace(golden, values=golden.values[:, [alphas.fields.index(field) for field in fields]])
    source = BarSource.of(table, fields, Request(notation=bundle.notation()))
    found = adjustment.compare(source, golden)
    _require_rows(golden, table)
    _require_as_trained(bundle, alphas, table, _reach(wanted, bundle), days)
    if alphas.units is None:
        return found.warnings
    seen = msgspec.structs.replace(alphas, fields=fields, units=_units_of(wanted, fields))
    last = golden.dates[-1]
    shown = units.check(seen, golden, source, Span((last, last), last), units.known_of(found), evidence)
    return (*units.told(found.warnings, evidence), *shown.warnings)


def _units_of(wanted: Sequence[Feature], fields: Sequence[str]) -> dict[str, FieldUnit]:
    """What must be shown of the fields that the code of factors reads."""
    read = {feature.name: set(COLUMNS if feature.inputs is None else feature.inputs) for feature in wanted}
    asked: dict[str, FieldUnit] = {}
    for field in fields:
        unit = adjustment.unit_of(field)
        scalings = {
            feature.name: (feature.invariance or {}).get(unit) for feature in wanted if field in read[feature.name]
        }
        if scalings:
            asked[field] = field_unit(scalings, None)
    return asked


def _require_as_trained(bundle: Bundle, alphas: AlphaGraph, table: pa.Table, reach: int, days: Sequence[str]) -> None:
    """Factors may look at all stocks: one whose days of suspension are filled, or whose price jumps, is enough."""
    fields = [name for name in table.column_names if name not in ("datetime", "instrument")]
    watch, check = conventions.Watch.of(alphas.conventions, fields, reach), JumpCheck.of(alphas.moves, fields, reach)
    if watch is None and check is None:
        return
    source = BarSource.of(table, fields, Request(notation=bundle.notation()))
    rows = source.read_range(np.datetime64(FIRST_DAY, "D"), np.datetime64(LAST_DAY, "D"))
    if rows is None:
        return
    bars, context = Bars.of_rows(rows), FactorUniverse.of(bundle.manifest.data).context
    scope = np.array([name not in context for name in bars.instruments])
    places = np.flatnonzero(np.isin(bars.dates, np.array(days, "datetime64[D]")))
    if not len(places):
        return
    dates = range(int(places[0]), int(places[-1]) + 1)
    _, found = ((), [[] for _ in dates]) if watch is None else watch.look(bars, fields, scope, {}, dates)
    unsettled = np.zeros(bars.present.shape, np.bool_)
    _, jumping = ((), [{} for _ in dates]) if check is None else check.look(bars, scope, unsettled, dates)
    for day, odd, stocks in zip(dates, found, jumping, strict=True):
        if str(bars.dates[day]) not in days:
            continue
        if odd:
            raise conventions.refusal(odd, bars.dates[day], _WHY)
        if check is not None and stocks:
            raise check.refusal(stocks, bars.dates[day], _WHY)


def _require_rows(golden: FeatureBlock, table: pa.Table) -> None:
    """Each row of the golden bars is there, as far as the table has their stock and their day."""
    days = table["datetime"].to_numpy().astype("datetime64[D]")
    stocks = table["instrument"].to_pylist()
    rows = set(zip(days.tolist(), stocks, strict=True))
    known = zip(golden.dates.tolist(), golden.instruments.to_pylist(), strict=True)
    there, named = set(days.tolist()), set(stocks)
    missing = [(day, stock) for day, stock in known if day in there and stock in named and (day, stock) not in rows]
    if missing:
        day, stock = missing[0]
        raise RefusalError(
            "bars.rows_missing",
            "the bars lack rows that the bars of the training had: a factor that counts rows counts other days",
            where="the bars",
            expected=f"a row of {stock} on {day}, as in the golden bars",
            found=f"none, and {len(missing) - 1} more such" if len(missing) > 1 else "none",
            next_step="give a row of missing values for each day on which a stock was suspended, as qlib does",
        )
