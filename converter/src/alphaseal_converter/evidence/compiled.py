"""What of a bundle computes SOTA factors from bars: their code traced and compiled, proven by the run's factor table.

A factor is written as compiled only where its programs, computed by the runtime on the bars that RD-Agent made them of, give
every recorded value.  Nothing else vouches for it: the trace is the answer of a process in which code ran that nobody read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.arrow.columns import dates_array
from alphaseal.bars.adjustment import unit_of
from alphaseal.bars.calendar import Bars
from alphaseal.errors import PolicyError
from alphaseal.factors.daily import FactorColumns
from alphaseal.factors.selftest import golden_factors_schema
from alphaseal.format import factors as m
from alphaseal.format.manifest import RecordedUniverse, Scaling
from alphaseal.gate.model import check_factor_graph
from alphaseal.tables.features import FeatureBlock
from alphaseal_converter.emission.compile import Program, compile_factors
from alphaseal_converter.emission.describe import described
from alphaseal_converter.emission.factor import bound_of
from alphaseal_converter.emission.plan import USUAL, NotEmittedError, Reach
from alphaseal_converter.emission.tables import BARS, as_grids
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.alphas import chosen_stocks
from alphaseal_converter.evidence.factor_table import Comparison, FactorTable, Mask, Values
from alphaseal_converter.evidence.order import OrderedFeature
from alphaseal_converter.factors.changed import changed, compare
from alphaseal_converter.factors.expressions.document import Refused, Traced
from alphaseal_converter.factors.expressions.evaluate import evaluate
from alphaseal_converter.factors.expressions.properties import looks_beside_bars, properties
from alphaseal_converter.factors.expressions.words import readable
from alphaseal_converter.factors.process import Runner, Session
from alphaseal_converter.factors.search import EXPONENT
from alphaseal_converter.factors.table import column_names
from alphaseal_converter.factors.tracing import trace
from alphaseal_converter.factors.trial import scaling_of
from alphaseal_converter.market.bars import Market, Progress
from alphaseal_converter.plain import bounded_text, short_text

GOLDEN_FILE: Final = "golden_factors.parquet"
FOLDER: Final = "compiled"
JUDGE: Final = "the run's factor table"
_LAYOUTS: Final = (
    ("$open", "$close", "$high", "$low", "$volume", "$factor"),
    ("open", "high", "low", "close", "volume", "amount", "factor"),
)
"""Columns of daily_pv.h5: RD-Agent's own, and those of a fork that names them without a dollar sign."""
_FIELDS: Final = tuple(dict.fromkeys(name.removeprefix("$") for names in _LAYOUTS for name in names))
_PANDAS: Final = (2, 3)
"""Meanings to try: the run does not record which it had."""
_LONGER: Final = (1, 2, 4, 8)
"""Times the usual reach, until every recorded value is known."""
_ALIKE: Final = 2
"""Factors of one program have windows that differ by no more than this: the longest is computed for all of them."""

_CHANGED_DAYS: Final = 60
"""Of changed bars, beyond those of one window."""
_TRIED_DAYS: Final = 12
"""On which constants in the bars are tried."""

Compilation = m.CompiledFactor | m.NotCompiledFactor


@dataclass(frozen=True)
class TracedFactor:
    """What the code of a factor computes with each major version of pandas, or why it is not compiled."""

    source: bytes
    meanings: tuple[Traced, ...]
    refused: m.NotCompiledFactor | None

    @property
    def fields(self) -> set[str]:
        """Fields of the bars that it reads, without dollar sign."""
        read = [properties(one.value, one.rows)["inputs"].get(BARS, []) for one in self.meanings]
        return {name.removeprefix("$") for names in read for name in names}


@dataclass(frozen=True)
class CompiledPart:
    """The compiled factors of a bundle; `description` and `golden` are None where there are none."""

    description: m.CompiledFactors | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    golden: pa.Table | None = None
    compilations: Mapping[str, Compilation] = field(default_factory=dict)
    """Of every SOTA feature with code."""
    look_backs: Mapping[str, int] = field(default_factory=dict)
    """Trading days, where they are bounded."""
    invariance: Mapping[str, Mapping[str, Scaling]] = field(default_factory=dict)
    """What constants in the units that a compiled factor reads do to it."""

    @property
    def inputs(self) -> dict[str, list[str]]:
        """Columns that each compiled factor reads: of bars, and of the side table behind ``static:``."""
        return {
            name: [one.column if one.table == BARS else f"static:{one.column}" for one in found.inputs]
            for name, found in self.compilations.items()
            if isinstance(found, m.CompiledFactor)
        }

    @property
    def fields(self) -> list[str]:
        """Fields of the bars that programs read."""
        return [] if self.description is None else list(self.description.fields)

    def without_programs(self, why: str) -> CompiledPart:
        """The same where no factor can be compiled after all."""
        refused = {
            name: _refusal("not_proven", "the bars", 0, why) if isinstance(found, m.CompiledFactor) else found
            for name, found in self.compilations.items()
        }
        return CompiledPart(compilations=refused)

    @property
    def window(self) -> int:
        """Days of bars that a score looks at for them."""
        return max((program.window for program in self.description.programs), default=0) if self.description else 0


# ---- trace


def trace_factors(codes: Mapping[str, str], progress: Progress) -> dict[str, TracedFactor]:
    """Follow the code of each feature; where code cannot be closed off on this system, none is followed."""
    found: dict[str, TracedFactor] = {}
    for name, code in codes.items():
        progress(f"following the code of {name}")
        source = code.encode("utf-8", "backslashreplace")
        try:
            found[name] = _traced(source)
        except RefusalError as problem:
            code_of = problem.code.partition(".")[2]
            found[name] = TracedFactor(source, (), _refusal(code_of, "the code", 0, problem.message))
    return found


def _traced(source: bytes) -> TracedFactor:
    first: Refused | None = None
    meanings: tuple[Traced, ...] = ()
    for columns in _LAYOUTS:
        answers = [trace(source, {BARS: dict.fromkeys(columns, "float32")}, pandas) for pandas in _PANDAS]
        meanings = tuple(one for one in answers if isinstance(one, Traced))
        first = first or next((one for one in answers if isinstance(one, Refused)), None)
        # Only what fails may have looked for columns of another layout.
        if meanings or (first is not None and first.code != "fails"):
            break
    if not meanings:
        assert first is not None
        return TracedFactor(source, (), _refusal(first.code, first.construct, first.line, first.why))
    if any(looks_beside_bars(one.value, one.rows) for one in meanings):
        why = "windows, or statistics of a day, count rows of the side table that need not be rows of the bars"
        return TracedFactor(source, (), _refusal("other_input", "a side table", 0, why))
    return TracedFactor(source, meanings, None)


def _refusal(code: str, construct: str, line: int, why: str) -> m.NotCompiledFactor:
    return m.NotCompiledFactor(
        code=code,
        construct=str(short_text(construct or "the code")),
        line=line or None,
        why=str(bounded_text(why)),
    )


# ---- compile and prove


def prove_factors(
    traced: Mapping[str, TracedFactor],
    features: Sequence[OrderedFeature],
    market: Market | None,
    no_market: str,
    parquet: Path | None,
    universe: RecordedUniverse | None,
    runner: Runner | None,
    progress: Progress,
) -> CompiledPart:
    """Programs of all factors that can be had, compared with the run's factor table `parquet`, and on changed bars with pandas
    itself where a `runner` has it; `universe` is whom the factors' code saw."""
    refused: dict[str, Compilation] = {name: one.refused for name, one in traced.items() if one.refused is not None}
    left = {name: one for name, one in traced.items() if one.refused is None}
    why = _cannot_be_proven(left, market, no_market, parquet)
    refused |= {name: _refusal("not_proven", "the factor table", 0, text) for name, text in why.items()}
    left = {name: one for name, one in left.items() if name not in why}
    if not left or market is None or parquet is None:
        return CompiledPart(compilations=refused)
    wanted = [feature for feature in features if feature.name in left]
    try:
        fields = sorted(set().union(*(one.fields for one in left.values())))
        proof = _Proof(FactorTable.read(market, universe, fields, parquet, wanted))
    except RefusalError as error:
        text = f"the market data do not prove it: {error.message} ({error.code})"
        return CompiledPart(compilations=refused | {name: _refusal("not_proven", "the bars", 0, text) for name in left})
    found = _all_proven(proof, left, progress)
    missed = {name: one for name, one in found.items() if isinstance(one, _Missed)}
    if missed and (day := proof.begun(missed)) is not None:
        proof = _Proof(proof.table.since(day))
        found = _all_proven(proof, left, progress)
    refused |= {name: one.refusal for name, one in found.items() if isinstance(one, _Missed)}
    proven = {name: one for name, one in found.items() if isinstance(one, _Proven)}
    table = proof.table
    if proven and table.complete and table.columns == proven.keys():
        why_not = table.unexplained([one.beside for one in proven.values()])
        if why_not is not None:
            refused |= {name: _refusal("differs", "the recorded rows", 0, why_not) for name in proven}
            proven = {}
    if proven and runner is not None:
        beside = _beside_pandas(proof, market, proven, runner, progress)
        refused |= {name: one for name, one in beside.items() if isinstance(one, m.NotCompiledFactor)}
        proven = {name: one for name, one in beside.items() if isinstance(one, _Proven)}
    if not proven:
        return CompiledPart(compilations=refused)
    progress("putting the factors together")
    return proof.part(proven, refused)


def _all_proven(proof: _Proof, left: Mapping[str, TracedFactor], progress: Progress) -> dict[str, _Proven | _Missed]:
    found = {}
    for number, (name, one) in enumerate(left.items(), 1):
        progress(f"proving {name} by its recorded values, {number} of {len(left)}")
        found[name] = proof.prove(name, one)
    return found


def _beside_pandas(
    proof: _Proof, market: Market, proven: Mapping[str, _Proven], runner: Runner, progress: Progress
) -> dict[str, _Proven | m.NotCompiledFactor]:
    """The proven factors beside pandas on changed bars: those that differ are none.

    What cannot be run proves nothing, neither for a factor nor against it: a system that closes nothing off, a Python without
    pandas or with one whose meaning is another, code that fails on such bars.
    """
    session = runner.session("a factor on changed bars")
    try:
        version = session.pandas()
    except RefusalError as problem:
        progress(f"factors are not run on changed bars: {problem.message}")
        return dict(proven)
    result: dict[str, _Proven | m.NotCompiledFactor] = {}
    for name, one in proven.items():
        progress(f"running {name} with pandas on changed bars")
        result[name] = one if one.traced.pandas != version else proof.beside_pandas(name, one, market, session)
    return result


def _cannot_be_proven(
    left: Mapping[str, TracedFactor],
    market: Market | None,
    no_market: str,
    parquet: Path | None,
) -> dict[str, str]:
    columns = set() if parquet is None else {name for name, _ in column_names(parquet)}
    why = {}
    for name, one in left.items():
        if market is None:
            why[name] = no_market
        elif name not in columns:
            why[name] = "it is no column of the run's factor table"
        elif lacking := [read for read in sorted(one.fields) if not market.has(read)]:
            why[name] = f"the market data lack a field that it reads: {', '.join(lacking)}"
    return why


@dataclass(frozen=True)
class _Proven:
    """A factor with the meaning and the reach that give its recorded column."""

    source: bytes
    traced: Traced
    reach: Reach
    window: int
    proof: m.FactorProof
    scale: float
    beside: Mask
    """See `Computed.beside`."""


@dataclass(frozen=True, eq=False)
class _Missed:
    """A factor that is not compiled; where its graphs gave other values: the graphs, and days of the rows that differ."""

    refusal: m.NotCompiledFactor
    columns: FactorColumns | None = None
    days: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    bound: float = 0.0


@dataclass(frozen=True)
class _Constant:
    """Fields at these places times two to the exponent; with `each` every second stock by the inverse."""

    places: Sequence[int]
    exponent: int
    each: bool


class _Proof:
    """The programs of factors, held to the run's factor table."""

    def __init__(self, table: FactorTable) -> None:
        self.table = table
        self.bars, self.fields, self.whole = table.bars, table.fields, table.whole

    def prove(self, name: str, factor: TracedFactor) -> _Proven | _Missed:
        """The meaning that gives the recorded column, or what came of the first one."""
        missed: _Missed | None = None
        for traced in factor.meanings:
            found = self._prove(name, factor.source, traced)
            if isinstance(found, _Proven):
                return found
            missed = missed or found
        assert missed is not None
        return missed

    def _prove(self, name: str, source: bytes, traced: Traced) -> _Proven | _Missed:
        best: _Proven | _Missed | None = None
        for times in _LONGER:
            reach = USUAL.times(times)
            try:
                program = compile_factors({name: traced}, self.whole, reach)
                columns = _loaded([program], self.whole)
            except (NotEmittedError, PolicyError) as problem:
                why = f"no graph can hold it: {problem}"
                return best or _Missed(_refusal("not_emitted", "the expression", 0, why))
            one = self.table.compare(name, bound_of(traced), self.table.compute(columns))
            if (why_not := self.table.differing(one)) is not None:
                refusal = _refusal("differs", "the recorded values", 0, why_not)
                return best or _Missed(refusal, columns, self.table.days[one.wrong], one.bound)
            unknown = int((~one.known).sum())
            if best is None or unknown < best.proof.unknown:  # type: ignore[union-attr]
                proof = self._told(one)
                best = _Proven(source, traced, reach, program.window, proof, one.scale, one.beside)
            if not unknown:
                break
        assert best is not None
        return best

    def _told(self, one: Comparison) -> m.FactorProof:
        begun = f", of bars from {self.bars.dates[0]} on" if self.table.late else ""
        recorded = self.table.recorded
        return m.FactorProof(
            judge=f"{JUDGE}{begun}",
            cells=int(one.known.sum()),
            dates=len(np.unique(recorded.dates)),
            instruments=len(recorded.instruments.unique()),
            same_bits=int(one.same[one.known].sum()),
            noise=0,
            unknown=int((~one.known).sum()),
            largest=float(one.distance.max(initial=0.0)),
            bound=one.bound,
            changed=None,
        )

    def beside_pandas(self, name: str, one: _Proven, market: Market, session: Session) -> _Proven | m.NotCompiledFactor:
        """The factor with the number of cells that pandas gave, too, of some stocks on the last days, changed."""
        columns = _loaded([compile_factors({name: one.traced}, self.whole, one.reach)], self.whole)
        fields = [field for field in _FIELDS if field in self.fields or market.has(field)]
        days = slice(max(0, len(self.bars.dates) - one.window - _CHANGED_DAYS), len(self.bars.dates))
        some = self.bars.between(days.start, days.stop)
        stocks = chosen_stocks(some, np.flatnonzero(some.present.any(axis=1)))
        bars = changed(self.table.with_fields(market, fields, days, stocks), fields, one.source)

        def compute(bars: Bars, day: int, rows: npt.NDArray[np.int64]) -> tuple[Values, Mask]:
            found = columns.compute(bars, fields, day, rows)
            return found.values[:, 0], found.known[:, 0]

        try:
            found = compare(session, one.source, name, bars, fields, compute, one.proof.bound)
        except RefusalError:
            return one
        if found.differs is not None:
            why = f"on changed bars the graphs give other values than pandas: {found.differs}"
            return _refusal("differs", "changed bars", 0, why)
        return replace(one, proof=msgspec.structs.replace(one.proof, changed=found.cells))

    def begun(self, missed: Mapping[str, _Missed]) -> np.datetime64 | None:
        """The day on which the bars of the research began, where that explains every factor that misses only on days whose
        windows reach before the table; None where no day does."""
        first = self.table.first
        early = {
            name: one
            for name, one in missed.items()
            if one.columns is not None
            and len(one.days)
            and first <= one.days.min()
            and one.days.max() < first + one.columns.window
        }
        if not early:
            return None
        window = max(one.columns.window for one in early.values() if one.columns is not None)
        return next((day for day in self.table.beginnings(window) if self._explains(day, early)), None)

    def _explains(self, day: np.datetime64, early: Mapping[str, _Missed]) -> bool:
        """Whether bars from that day on give what was recorded on the days that differ with earlier ones."""
        table = self.table.since(day)
        gone = self.table.first - table.first
        for name, one in early.items():
            assert one.columns is not None
            # The nearest to the table's beginning is the first to tell another day.
            for place in np.unique(one.days - gone).tolist():
                of_day = table.compare(name, one.bound, table.compute(one.columns, [place]))
                if (table.days[of_day.wrong] == place).any():
                    return False
        return True

    def part(self, proven: Mapping[str, _Proven], refused: Mapping[str, Compilation]) -> CompiledPart:
        """Programs of factors with like windows, and golden bars for all of them."""
        programs = [program for names in _groups(proven) for program in self._together(names, proven)]
        parts, files = _described(programs, self.whole)
        description = m.CompiledFactors(
            programs=parts,
            static=[],
            fields=sorted({name for part in parts for name in part.fields}) or list(self.fields),
            complete_rows=self.table.complete,
            golden=GOLDEN_FILE,
            golden_rows=0,
            date=str(self.bars.dates[self.table.last]),
            tolerances={},
        )
        golden, tolerances, wrong = self._golden(description, files, proven)
        if wrong:
            why = "on the golden bars the graphs do not give what the expression means"
            refused = {**refused, **{name: _refusal("differs", "the golden bars", 0, why) for name in wrong}}
            left = {name: one for name, one in proven.items() if name not in wrong}
            return self.part(left, refused) if left else CompiledPart(compilations=refused)
        description = msgspec.structs.replace(description, golden_rows=len(golden), tolerances=tolerances)
        backs = {name: _look_back(one) for name, one in proven.items()}
        compilations: dict[str, Compilation] = {**refused, **{name: _compiled(one) for name, one in proven.items()}}
        part = CompiledPart(
            description, files, golden, compilations, {name: back for name, back in backs.items() if back is not None}
        )
        return replace(part, invariance=self._invariance(part.inputs, FactorColumns(parts, files.__getitem__), proven))

    def _invariance(
        self, inputs: Mapping[str, Sequence[str]], columns: FactorColumns, proven: Mapping[str, _Proven]
    ) -> dict[str, dict[str, Scaling]]:
        """What constants do to each factor, by the unit that they multiply, on some of the recorded days."""
        places = np.unique(self.table.days[self.table.days >= 0])
        days = places[np.unique(np.linspace(0, len(places) - 1, _TRIED_DAYS).astype(int))].tolist()
        wanted = [self._on(columns, day, None) for day in days]
        same: dict[str, dict[str, list[bool]]] = {name: {} for name in columns.names}
        for unit in sorted({unit_of(name) for read in inputs.values() for name in read}):
            fields = [place for place, name in enumerate(self.fields) if unit_of(name) == unit]
            for each in (False, True):
                changed = np.zeros(len(columns.names), np.bool_)
                for exponent in (EXPONENT, -EXPONENT):
                    for day, values in zip(days, wanted, strict=True):
                        found = self._on(columns, day, _Constant(fields, exponent, each))
                        changed |= self._differ(columns.names, values, found, proven)
                for name, other in zip(columns.names, changed.tolist(), strict=True):
                    same[name].setdefault(unit, []).append(not other)
        units = {name: {unit_of(read) for read in inputs[name]} for name in columns.names}
        return {
            name: {unit: scaling_of(*told) for unit, told in sorted(found.items()) if unit in units[name]}
            for name, found in same.items()
        }

    def _on(self, columns: FactorColumns, day: int, constant: _Constant | None) -> Values:
        """[stocks, factors] on a day, of bars that a constant multiplies."""
        bars = self.bars.between(max(0, day + 1 - columns.window), day + 1)
        if constant is not None:
            values = bars.values.copy()
            exponents = np.full(len(values), constant.exponent)
            exponents[1::2] *= -1 if constant.each else 1
            values[:, :, constant.places] *= np.exp2(exponents).astype(np.float32)[:, None, None]
            bars = replace(bars, values=values)
        last = len(bars.dates) - 1
        return columns.compute(bars, self.fields, last, np.flatnonzero(bars.listed()[:, last])).values

    @staticmethod
    def _differ(names: Sequence[str], values: Values, found: Values, proven: Mapping[str, _Proven]) -> Mask:
        """Which factors a constant changes."""
        bounds = np.array([proven[name].proof.bound for name in names])
        scales = np.array([proven[name].scale or 1.0 for name in names])
        with np.errstate(invalid="ignore"):
            near = np.abs(values - found) <= bounds * np.maximum(np.abs(values), scales)
            near |= (values == found) | (np.isnan(values) & np.isnan(found))
        return np.asarray(~near.all(axis=0))

    def _together(self, names: Sequence[str], proven: Mapping[str, _Proven]) -> list[Program]:
        """One program of all these factors, or one for each where they are too large for one graph."""
        # By name, as a manifest has them.
        traced, reach = {name: proven[name].traced for name in sorted(names)}, proven[names[0]].reach
        try:
            program = compile_factors(traced, self.whole, reach)
            _loaded([program], self.whole)
        except (NotEmittedError, PolicyError):
            return [compile_factors({name: one}, self.whole, reach) for name, one in traced.items()]
        return [program]

    def _golden(
        self, description: m.CompiledFactors, files: Mapping[str, bytes], proven: Mapping[str, _Proven]
    ) -> tuple[pa.Table, dict[str, float], list[str]]:
        """(bars of some stocks up to the last recorded day, with what the factors are where these stocks are all there are; how
        near every machine must come; factors that are not what their expression in numpy says there)."""
        columns = FactorColumns(description.programs, files.__getitem__)
        day = self.table.last
        days = np.arange(max(0, day + 1 - columns.window), day + 1)
        traded = np.flatnonzero(self.bars.present[:, day])
        stocks = chosen_stocks(self.bars.between(int(days[0]), day + 1), traded)
        day_of, stock_of = np.nonzero(self.bars.present[np.ix_(stocks, days)].T)
        places = [self.fields.index(name) for name in description.fields]
        values = self.bars.values[stocks[stock_of], days[day_of]][:, places]
        names = [self.bars.instruments[stock] for stock in stocks[stock_of].tolist()]
        bars = Bars.of_rows(
            FeatureBlock(self.bars.dates[days[day_of]], pa.array(names, pa.string()), values.astype(np.float64), ())
        )
        newest = np.flatnonzero(bars.present[:, -1])
        computed = columns.compute(bars, description.fields, len(bars.dates) - 1, newest)
        found = computed.values
        grid = np.full((len(names), len(columns.names)), np.nan)
        last = np.flatnonzero(day_of == len(days) - 1)
        place = {bars.instruments[stock]: row for row, stock in enumerate(newest.tolist())}
        grid[last] = found[[place[names[row]] for row in last.tolist()]]
        arrays: list[Any] = [dates_array(self.bars.dates[days[day_of]]), pa.array(names, pa.string())]
        arrays += [pa.array(np.ascontiguousarray(values[:, number])) for number in range(values.shape[1])]
        arrays += [pa.array(grid[:, number], from_pandas=True) for number in range(grid.shape[1])]
        tolerances = {}
        for number, name in enumerate(columns.names):
            sizes = np.abs(found[:, number][np.isfinite(found[:, number])])
            tolerances[name] = proven[name].proof.bound * max(proven[name].scale, float(sizes.max(initial=0.0)))
        table = pa.Table.from_arrays(arrays, schema=golden_factors_schema(description))
        return (
            table,
            tolerances,
            _misjudged(columns.names, found, computed.known, bars, description.fields, newest, proven),
        )


def _misjudged(
    names: Sequence[str],
    found: Values,
    known: Mask,
    bars: Bars,
    fields: Sequence[str],
    stocks: npt.NDArray[np.int64],
    proven: Mapping[str, _Proven],
) -> list[str]:
    """Factors of which a known value of the newest day, `found` and `known` [stocks, factors], is not that of the expression,
    in numpy, on the same bars."""
    grids = as_grids(bars, fields)
    wrong = []
    for number, name in enumerate(names):
        one = proven[name]
        value, rows = (grid[-1, stocks] for grid in evaluate([one.traced.value, one.traced.rows], grids))
        wanted, given = np.where(rows, value.astype(np.float64), np.nan), found[:, number]
        with np.errstate(invalid="ignore"):
            near = np.abs(given - wanted) <= one.proof.bound * np.maximum(np.abs(wanted), one.scale or 1.0)
        same = near | (given == wanted) | (np.isnan(given) & np.isnan(wanted))
        if (known[:, number] & ~same).any():
            wrong.append(name)
    return wrong


def _groups(proven: Mapping[str, _Proven]) -> list[list[str]]:
    """Names of factors that share a program: those of one reach, with like windows."""
    reaches = sorted({one.reach.gaps: one.reach for one in proven.values()}.items())
    return [
        names
        for _, reach in reaches
        for names in like_windows({name: one.window for name, one in proven.items() if one.reach == reach})
    ]


def like_windows(windows: Mapping[str, int]) -> list[list[str]]:
    """Names by their windows, the shortest first, in groups whose longest is at most `_ALIKE` times the shortest."""
    groups: list[list[str]] = []
    for name in sorted(windows, key=lambda name: (windows[name], name)):
        if groups and windows[name] <= _ALIKE * windows[groups[-1][0]]:
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def _described(programs: Sequence[Program], whole: frozenset[str]) -> tuple[list[m.FactorProgram], dict[str, bytes]]:
    parts, files = [], {}
    for number, program in enumerate(programs):
        part, graphs = described(program, f"{FOLDER}/{number}", BARS in whole)
        parts.append(part)
        files.update(graphs)
    return parts, files


def _loaded(programs: Sequence[Program], whole: frozenset[str]) -> FactorColumns:
    """The programs as the runtime loads them; PolicyError where its gate refuses a graph."""
    parts, files = _described(programs, whole)
    for part in parts:
        for graph in part.graphs:
            check_factor_graph(files[graph.file], part, graph)
    return FactorColumns(parts, files.__getitem__)


def _compiled(one: _Proven) -> m.CompiledFactor:
    told = properties(one.traced.value, one.traced.rows)
    inputs = [
        m.FactorInput(table=table, column=column.removeprefix("$"), dtype="float32")
        for table, columns in told["inputs"].items()
        for column in columns
    ]
    return m.CompiledFactor(
        source_sha256=hashlib.sha256(one.source).hexdigest(),
        pandas=one.traced.pandas,  # type: ignore[arg-type]
        expression=str(bounded_text(readable(one.traced.value))),
        across=told["across_stocks"] > 0,
        inputs=inputs,
        proof=one.proof,
    )


def _look_back(one: _Proven) -> int | None:
    told = properties(one.traced.value, one.traced.rows)
    return None if told["unbounded"] else int(told["lookback_rows"])
