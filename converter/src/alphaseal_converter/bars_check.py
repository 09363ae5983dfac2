"""What the verb ``features`` asks of its bars before any factor sees them: the same as the runtime asks of its own.

The bundle's golden bars are bars as the training saw them; other calendars, adjustments or gaps would give factors other
values, which would then be signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pyarrow as pa

from alphaseal import adjustment, instruments, units
from alphaseal.alpha_selftest import golden_bars
from alphaseal.bars_source import BarSource
from alphaseal.bundle import Bundle
from alphaseal.features import FeatureBlock
from alphaseal.history import Span
from alphaseal.manifest import Feature, FieldUnit
from alphaseal.units import Evidence

from .errors import RefusalError
from .factor_process import FactorBars, Needs
from .units import field_unit

COLUMNS = ("open", "close", "high", "low", "volume")
"""Of RD-Agent's daily_pv.h5, which every factor is written for."""
_NO_GOLDEN_BARS = (
    "the bars could not be compared with those of the training: the bundle has no golden bars "
    "(a build with --provider gives it some)"
)
_NO_COMMON_FIELD = "the bars could not be compared with those of the training: they have no field of the golden bars"


def needs_of(bundle: Bundle, wanted: Sequence[Feature], instruments_from: str | None) -> Needs:
    """Columns that the factors read (all of COLUMNS where that is not known of each), days of the model's window, and
    days and fields of the golden bars.

    PolicyError `data.*`, `golden.keys`; UsageError `usage.instrument_format`.
    """
    read = {name for feature in wanted for name in feature.inputs or () if not name.startswith("static:")}
    unknown = any(feature.inputs is None for feature in wanted)
    notation, alphas = bundle.manifest.data.instrument_format, bundle.manifest.alphas
    compared = None
    if alphas is not None:
        days = golden_bars(bundle, alphas).dates
        compared = (str(days[0]), str(days[-1]), tuple(alphas.fields))
    return Needs(
        columns=tuple(sorted(read | set(COLUMNS if unknown else ()))),
        before=bundle.manifest.model.step_length - 1,
        compared=compared,
        rewriting=None
        if instruments_from is None
        else instruments.rewriting(instruments_from, bundle_format=notation.kind, pattern=notation.pattern),
    )


def compare(bundle: Bundle, market: FactorBars, wanted: Sequence[Feature], evidence: Evidence) -> tuple[str, ...]:
    """Compare bars with the bundle's golden ones by the runtime's rules; warnings, InputError `bars.*`.

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
    notation = bundle.manifest.data.instrument_format
    source = BarSource.of(table, fields, instrument_format=notation.kind, instrument_pattern=notation.pattern)
    found = adjustment.compare(source, golden)
    _require_rows(golden, table)
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
