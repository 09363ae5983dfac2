"""What of a bundle computes alpha features from bars: the graph, its proof on recorded days, and the golden bars.

The graph is written only where it is proven: bars of the run's market data, through the graph, give the alpha values of
the golden days.  Those are qlib's own where raw values came from qlib; where they came from the bars themselves, the
replayed predictions are their judge.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.arrow.columns import dates_array
from alphaseal.bars import conventions, jumps
from alphaseal.bars.calendar import AlphaColumns, Bars
from alphaseal.format.manifest import AlphaGraph, Moves, Scaling
from alphaseal.scoring.golden import bars_schema
from alphaseal.tables.features import FeatureBlock
from alphaseal_converter.alphas import CompiledAlphas, compile_alphas
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.golden import DAY_CASE, GoldenRows
from alphaseal_converter.evidence.order import OrderedFeature
from alphaseal_converter.evidence.values import Recorded
from alphaseal_converter.market.bars import Market, training_bars

GRAPH_FILE = "alphas.onnx"
BARS_FILE = "golden_bars.parquet"
TOLERANCE = 1e-5
"""Of the feature's scale: qlib stores float32, and sums over windows cancel."""
_LARGEST_SHARE = 0.01
"""Rows of the golden days on which a feature may be qlib's rounding noise; beyond that it is left out."""
GOLDEN_DAYS = 20
"""Of golden bars at least, however short the window: they show a caller's units, and a stock may be suspended for days."""
_STOCKS = 64
_LISTED = 20
_STOCKS_AT_ONCE = 256
_FLOAT32_STEPS = 4 * float(np.finfo(np.float32).eps)

Names = npt.NDArray[np.str_]
Matrix32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AlphaPart:
    """The alpha features of a bundle.

    `description`, `graph` and `bars` are None where nothing is written; `not_compiled` says of every alpha feature that
    the graph lacks why.  `look_backs` and `inputs` are what the expressions say, whether compiled or not.
    """

    description: AlphaGraph | None = None
    graph: bytes | None = None
    bars: pa.Table | None = None
    look_backs: Mapping[str, int | None] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    not_compiled: Mapping[str, str] = field(default_factory=dict)
    invariance: Mapping[str, Mapping[str, Scaling]] = field(default_factory=dict)
    note: str | None = None
    """Alpha values of the golden days that the graph does not give, if any."""


def compile_features(features: Sequence[OrderedFeature], fields: Collection[str] = ()) -> CompiledAlphas | None:
    """All alpha features of the model that have an expression; None where there are none.

    `fields` are taken in too, whether an expression reads them or not.
    """
    expressions = {
        feature.name: feature.expression
        for feature in features
        if feature.origin == "alpha" and feature.expression is not None
    }
    return compile_alphas(expressions, fields) if expressions else None


def describe_graph(compiled: CompiledAlphas) -> AlphaGraph:
    """The graph without its proof: no tolerances, no golden rows yet."""
    return AlphaGraph(
        file=GRAPH_FILE,
        window=compiled.window,
        fields=list(compiled.fields),
        features=list(compiled.features),
        tolerances=[0.0] * len(compiled.features),
        truncated=dict(compiled.truncated),
        golden=BARS_FILE,
        golden_rows=0,
        date="1970-01-01",
    )


def alpha_columns(compiled: CompiledAlphas) -> AlphaColumns | None:
    """The loaded graph; None where no expression could be compiled."""
    return AlphaColumns(compiled.graph, describe_graph(compiled)) if compiled.graph is not None else None


def prove_alphas(
    compiled: CompiledAlphas | None,
    features: Sequence[OrderedFeature],
    market: Market | None,
    no_market: str,
    recorded: Recorded | None,
    golden: Sequence[GoldenRows],
    least_days: int = GOLDEN_DAYS,
    fields: Collection[str] = (),
) -> AlphaPart:
    """Compare the graph with the alpha values of the golden days, and choose golden bars of `least_days` days or more.

    The graph's bars have `fields`, whether an alpha feature reads them or not.

    `no_market` says why there are no market data.  A feature whose values differ on more than a hundredth of the golden
    rows is compiled out and says so; where nothing is left, or nothing can be proven, there is no graph.
    """
    if compiled is None:
        return AlphaPart()
    facts = AlphaPart(look_backs=compiled.look_backs, inputs=compiled.inputs, not_compiled=compiled.not_compiled)
    days = [part.keys for part in golden if part.case == DAY_CASE and part.keys is not None]
    graph = compiled.graph
    if graph is None:
        return facts
    if market is None or recorded is None or not days:
        why = no_market if market is None else "no recorded day with raw values proves it (pass --features)"
        return replace(facts, not_compiled={**facts.not_compiled, **dict.fromkeys(compiled.features, why)})
    try:
        names = [feature.name for feature in features]
        proof = _Proof(compiled, graph, names, market, recorded, days[-1], max(compiled.window, least_days))
    except RefusalError as error:
        why = f"the market data do not prove it: {error.message} ({error.code})"
        return replace(facts, not_compiled={**facts.not_compiled, **dict.fromkeys(compiled.features, why)})
    if wrong := proof.wrong():
        left = {name for name in compiled.features if name not in wrong}
        rest = compile_features([feature for feature in features if feature.name in left], fields)
        part = prove_alphas(rest, features, market, no_market, recorded, golden, least_days, fields)
        merged = {**compiled.not_compiled, **wrong, **part.not_compiled}
        return replace(part, look_backs=compiled.look_backs, inputs=compiled.inputs, not_compiled=merged)
    return proof.part(facts)


def with_conventions(
    part: AlphaPart,
    market: Market | None,
    segment: tuple[date, date] | None,
    days: int,
    context: Sequence[str],
) -> AlphaPart:
    """The part with what the bars of the training look like on days without trade; a score looks at `days` of them, and
    `context` are no stocks."""
    if part.description is None or market is None or segment is None:
        return part
    fields = part.description.fields
    more = [name for name in conventions.FIELDS if name not in fields]
    try:
        found = training_bars(market, fields, more, segment, context)
    except RefusalError:
        found = None
    if found is None:
        return part
    bars, since = found
    columns = [*fields, *more][: bars.values.shape[2]]
    sets = [columns, fields] if len(columns) > len(fields) else [fields]
    recorded = [conventions.record(bars, columns, names, days, since) for names in sets if set(names) - {"factor"}]
    said = {"conventions": recorded or None, "moves": _moves(bars, columns, since)}
    return replace(part, description=msgspec.structs.replace(part.description, **said))


def _moves(bars: Bars, columns: Sequence[str], since: int) -> Moves | None:
    """How far the closes of the training moved; None where it has too few."""
    if jumps.FIELD not in columns:
        return None
    extremes, place = jumps.Extremes(), columns.index(jumps.FIELD)
    # A series that begins with the training's first day goes back further.
    begun = bars.first <= since
    for start in range(0, len(bars.instruments), _STOCKS_AT_ONCE):
        part = slice(start, start + _STOCKS_AT_ONCE)
        extremes.add(bars.values[part, :, place], begun[part], since)
    return extremes.moves()


class _Proof:
    """One graph against the values of the golden days."""

    def __init__(
        self,
        compiled: CompiledAlphas,
        graph: bytes,
        names: Sequence[str],
        market: Market,
        recorded: Recorded,
        keys: FeatureBlock,
        golden_days: int,
    ) -> None:
        self.compiled, self.graph, self.golden_days = compiled, graph, golden_days
        self.columns = AlphaColumns(graph, describe_graph(compiled))
        places = [names.index(name) for name in compiled.features]
        self.dates = keys.dates
        self.instruments: Names = np.array(keys.instruments.to_pylist(), np.str_)
        self.expected = keys.values[:, places].astype(np.float32)
        self.bars = market.bars(self.columns.fields, golden_days, self.dates.min(), self.dates.max())
        self.found = self._compute()
        self.tolerances = self._tolerances(recorded.values[:, places])

    def wrong(self) -> dict[str, str]:
        """Features that are not qlib's on too many rows, with what was seen."""
        outside = self._outside()
        counts = outside.sum(axis=0)
        return {
            name: f"bars give another value than the recorded one on {counts[n]} of {len(outside)} rows of the golden days"
            for n, name in enumerate(self.compiled.features)
            if counts[n] > _LARGEST_SHARE * len(outside)
        }

    def part(self, facts: AlphaPart) -> AlphaPart:
        """The finished part: golden bars of stocks on the last day, of which every feature is as recorded."""
        last = self.dates.max()
        good = (self.dates == last) & ~self._outside().any(axis=1)
        day = int(np.searchsorted(self.bars.dates, last))
        position = {name: row for row, name in enumerate(self.bars.instruments)}
        rows = np.array(sorted(position[name] for name in self.instruments[good].tolist()), np.int64)
        table = _golden_bars(self.bars, chosen_stocks(self.bars, rows), day, self.columns.fields, self.golden_days)
        proven = {"tolerances": self.tolerances.tolist(), "golden_rows": len(table), "date": str(last)}
        description = msgspec.structs.replace(describe_graph(self.compiled), **proven)
        return replace(facts, description=description, graph=self.graph, bars=table, note=self._note())

    def _note(self) -> str | None:
        """The values that are not as recorded, by name: where a window is nearly constant, qlib's is rounding noise."""
        rows, places = np.nonzero(self._outside())
        if not len(rows):
            return None
        listed = [
            f"{self.compiled.features[place]} of {self.instruments[row]} on {self.dates[row]}"
            for row, place in zip(rows[:_LISTED].tolist(), places[:_LISTED].tolist(), strict=True)
        ]
        more = f" and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
        return (
            f"{len(rows)} of {self.expected.size} alpha values of the golden days are not what bars give: "
            + ", ".join(listed)
            + more
        )

    def _compute(self) -> Matrix32:
        """float32 [golden rows, features] from the bars; NaN where the market has no row."""
        position = {name: row for row, name in enumerate(self.bars.instruments)}
        found = np.full(self.expected.shape, np.nan, np.float32)
        for golden_day in np.unique(self.dates):
            here = np.flatnonzero(self.dates == golden_day)
            stocks = np.array([position.get(name, -1) for name in self.instruments[here].tolist()], np.int64)
            day = int(np.searchsorted(self.bars.dates, golden_day))
            known = stocks >= 0
            found[here[known]] = self.columns.compute(self.bars, day, stocks[known])
        return found

    def _tolerances(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """1e-5 of each feature's scale, the third quartile of its recorded magnitudes, and never less than what a value
        of the golden days can lose by its own rounding to float32."""
        tolerances = np.zeros(values.shape[1])
        for place in range(values.shape[1]):
            magnitudes = np.abs(values[:, place][np.isfinite(values[:, place])])
            golden = np.abs(self.expected[:, place][np.isfinite(self.expected[:, place])]).astype(np.float64)
            scale = float(np.quantile(magnitudes, 0.75)) if len(magnitudes) else 0.0
            tolerances[place] = max(TOLERANCE * scale, _FLOAT32_STEPS * float(golden.max(initial=0.0)))
        return tolerances

    def _outside(self) -> npt.NDArray[np.bool_]:
        """[golden rows, features]: not within the tolerance, or missing on one side only; infinities must be equal."""
        found, expected = self.found.astype(np.float64), self.expected.astype(np.float64)
        with np.errstate(invalid="ignore"):
            near = (np.abs(found - expected) <= self.tolerances) | (found == expected)
        outside: npt.NDArray[np.bool_] = ~(near | (np.isnan(found) & np.isnan(expected)))
        return outside


def chosen_stocks(bars: Bars, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """At most 64 stocks: a quarter of those with the most missing values in their windows, the others evenly spread."""
    if len(rows) <= _STOCKS:
        return rows
    missing = np.isnan(bars.values[rows]).sum(axis=(1, 2))
    holes = rows[np.argsort(-missing, kind="stable")[: _STOCKS // 4]]
    others = np.setdiff1d(rows, holes)
    spread = others[np.linspace(0, len(others) - 1, _STOCKS - len(holes)).astype(int)]
    return np.union1d(holes, spread)


def _golden_bars(bars: Bars, rows: npt.NDArray[np.int64], day: int, names: Sequence[str], count: int) -> pa.Table:
    """Their bars of `count` days up to the day: one row per day of a stock's series, sorted by date and instrument."""
    days = np.arange(max(0, day + 1 - count), day + 1)
    there = days[:, None] >= bars.first[rows][None, :]
    day_of, stock_of = np.nonzero(there)
    values = bars.values[rows[stock_of], days[day_of]]
    keys = [
        dates_array(bars.dates[days[day_of]]),
        pa.array([bars.instruments[row] for row in rows[stock_of]], pa.string()),
    ]
    fields = [pa.array(np.ascontiguousarray(values[:, place])) for place in range(values.shape[1])]
    return pa.Table.from_arrays([*keys, *fields], schema=bars_schema(names))
