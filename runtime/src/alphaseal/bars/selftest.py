"""The golden bars of a bundle, put through its alphas.onnx on this machine and compared with qlib's own values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from alphaseal.arrow.columns import floats_of, plain_name
from alphaseal.bars import units
from alphaseal.bars.adjustment import compare
from alphaseal.bars.calendar import AlphaColumns, Bars
from alphaseal.bars.source import BarSource, names_of
from alphaseal.errors import PolicyError, SelfTestError
from alphaseal.scoring.golden import GoldenBarsReport, golden_bars, read_golden
from alphaseal.tables.features import FeatureBlock, is_file, table_of
from alphaseal.tables.period import Day, Period
from alphaseal.tables.request import Notation, Request

if TYPE_CHECKING:
    from alphaseal.bars.units import Anchors, Evidence
    from alphaseal.format.manifest import AlphaGraph
    from alphaseal.sealed import Sealed
    from alphaseal.tables.look_back import Span

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LoadedAlphas:
    """alphas.onnx, and the golden bars: bars of a few stocks as the training saw them."""

    description: AlphaGraph
    columns: AlphaColumns
    golden: FeatureBlock

    def selftest(self, sealed: Sealed) -> GoldenBarsReport:
        """V9 of the alpha features; raises as `run`."""
        return run(sealed, self.description, self.columns, self.golden)

    def compare(self, source: BarSource, span: Span, evidence: Evidence) -> tuple[tuple[str, ...], dict[str, str]]:
        """Warnings about a table of bars, and how its units were shown (`units.check`); InputError `bars.*`."""
        found = compare(source, self.golden)
        shown = units.check(self.description, self.golden, source, span, units.known_of(found), evidence)
        return (*units.told(found.warnings, evidence), *shown.warnings), dict(shown.fields)

    def anchors(self, table: Any, golden: str, notation: Notation) -> Anchors:
        """What bars of the golden stocks and days say of their source; `golden` is the digest of the golden bars.

        InputError `bars.*` where they are other bars than those of the training, or too few to show what must be shown.
        """
        names = {plain_name(name) for name in names_of(table if is_file(table) else table_of(table))}
        fields = [field for field in self.description.fields if {field, f"${field}"} & names]
        places = [self.description.fields.index(field) for field in fields]
        there = replace(self.golden, values=self.golden.values[:, places])
        known = (
            units.known_of(compare(BarSource.of(table, fields, Request(notation=notation)), there)) if fields else {}
        )
        units.require_shown(self.description, self.golden, known)
        return units.Anchors(golden=golden, fields=known, last_seen=None)

    def seen(self, anchors: Anchors, table: Any, date: Day, notation: Notation) -> Anchors:
        """`anchors` with the prices of the golden stocks in a table of their source on a date."""
        day = np.datetime64(Period.of(date, None).first, "D")
        source = BarSource.of(table, self.columns.fields, Request(notation=notation))
        return msgspec.structs.replace(anchors, last_seen=units.last_seen(self.description, self.golden, source, day))


def load(sealed: Sealed, alphas: AlphaGraph, graph: bytes) -> LoadedAlphas:
    """`graph` is verified; PolicyError `model.*`, `data.*` and `golden.keys`."""
    return LoadedAlphas(alphas, AlphaColumns(graph, alphas), golden_bars(sealed, alphas))


def run(sealed: Sealed, alphas: AlphaGraph, columns: AlphaColumns, golden: FeatureBlock) -> GoldenBarsReport:
    """Compute the alpha features of the golden bars on `alphas.date`.

    Raises SelfTestError `selftest.alphas` where one is further from the recorded value than its tolerance, or missing on
    one side only; PolicyError `golden.bars` where there is nothing to compare with.
    """
    bars = Bars.of_rows(golden)
    day = len(bars.dates) - 1
    stocks = np.flatnonzero(bars.present[:, day])
    if str(bars.dates[day]) != alphas.date:
        raise _other_bars(alphas, f"bars up to {alphas.date}", f"up to {bars.dates[day]}")
    names = [bars.instruments[stock] for stock in stocks]
    found = columns.compute(bars, day, stocks).astype(np.float64)
    expected = _recorded(sealed, alphas, names)
    both = np.isnan(found) & np.isnan(expected)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        difference = np.where((found == expected) | both, 0.0, np.abs(found - expected))
    tolerances = np.array(alphas.tolerances)
    wrong = np.argwhere(~(difference <= tolerances))
    if len(wrong):
        row, column = map(int, wrong[0])
        raise SelfTestError(
            "selftest.alphas",
            f"{len(wrong)} alpha features of the golden bars are others on this machine",
            where=alphas.golden,
            expected=f"{alphas.features[column]} of {names[row]} within {tolerances[column]!r} of {expected[row, column]!r}",
            found=repr(float(found[row, column])),
            next_step="do not trade on these scores; go back to the library versions of the last good self-test",
        )
    units = difference / np.where(tolerances > 0, tolerances, 1.0)
    return GoldenBarsReport(len(names), len(alphas.features), int((difference == 0).sum()), float(units.max()))


def _recorded(sealed: Sealed, alphas: AlphaGraph, names: list[str]) -> Matrix:
    """float64 [stocks, features]: the values of golden.parquet."""
    table = read_golden(sealed)
    keys = zip(table["datetime"].to_pylist(), table["instrument"].to_pylist(), strict=True)
    places = {name: place for place, (date, name) in enumerate(keys) if str(date) == alphas.date}
    lacking = [name for name in names if name not in places]
    if lacking or not names:
        found = "without " + ", ".join(lacking)[:200] if lacking else "no stock with a row of bars"
        raise _other_bars(alphas, f"golden rows of the stocks of the golden bars on {alphas.date}", found)
    dtypes = {feature.name: feature.dtype for feature in sealed.manifest.features}
    rows = [places[name] for name in names]
    values = [floats_of(table[name].combine_chunks(), dtypes[name])[rows] for name in alphas.features]
    return np.stack(values, axis=1).astype(np.float64)


def _other_bars(alphas: AlphaGraph, expected: str, found: str) -> PolicyError:
    return PolicyError(
        "golden.bars",
        "golden bars and golden rows do not belong together",
        where=alphas.golden,
        expected=expected,
        found=found,
    )
