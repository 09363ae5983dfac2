"""What of a bundle computes SOTA factors from bars: their code traced and compiled, proven by the run's factor table.

A factor is written as compiled only where its programs, computed by the runtime on the bars that RD-Agent made them of, give
every recorded value.  Nothing else vouches for it: the trace is the answer of a process in which code ran that nobody read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.bars.adjustment import unit_of
from alphaseal.bars.calendar import Bars
from alphaseal.errors import PolicyError
from alphaseal.factors.daily import FactorColumns
from alphaseal.format import factors as m
from alphaseal.format.manifest import Scaling
from alphaseal.gate.model import check_factor_graph
from alphaseal_converter.emission.compile import Program, compile_factors
from alphaseal_converter.emission.describe import described
from alphaseal_converter.emission.factor import bound_of
from alphaseal_converter.emission.plan import USUAL, NotEmittedError, Reach
from alphaseal_converter.emission.tables import BARS, STATIC, SideFile, as_side_table
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.alphas import chosen_stocks
from alphaseal_converter.evidence.factor_table import Comparison, FactorTable, Mask, Research, Values
from alphaseal_converter.evidence.golden import Meaning, golden_factors
from alphaseal_converter.evidence.order import OrderedFeature
from alphaseal_converter.factors.changed import as_market, changed, compare
from alphaseal_converter.factors.expressions.document import Refused, Traced
from alphaseal_converter.factors.expressions.nodes import in_order
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
_SIDE_FILE: Final = "static_factors.parquet"
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
        return {name.removeprefix("$") for name in self._inputs(BARS)}

    @property
    def side(self) -> set[str]:
        """Columns of the side table that it reads."""
        return self._inputs(STATIC)

    @property
    def reads_side(self) -> bool:
        """Whether it reads the side table at all, be it only which rows are there."""
        return any(STATIC in properties(one.value, one.rows)["inputs"] for one in self.meanings)

    def _inputs(self, table: str) -> set[str]:
        return {name for one in self.meanings for name in properties(one.value, one.rows)["inputs"].get(table, [])}


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


def trace_factors(
    codes: Mapping[str, str], progress: Progress, side: SideFile | None = None
) -> dict[str, TracedFactor]:
    """Follow the code of each feature, with the run's side table where it is at hand; where code cannot be closed off on this
    system, none is followed."""
    found: dict[str, TracedFactor] = {}
    for name, code in codes.items():
        progress(f"following the code of {name}")
        source = code.encode("utf-8", "backslashreplace")
        try:
            found[name] = _traced(source, side)
        except RefusalError as problem:
            code_of = problem.code.partition(".")[2]
            found[name] = TracedFactor(source, (), _refusal(code_of, "the code", 0, problem.message))
    return found


def _traced(source: bytes, side: SideFile | None) -> TracedFactor:
    more = {} if side is None else {STATIC: side.dtypes}
    first: Refused | None = None
    meanings: tuple[Traced, ...] = ()
    for columns in _LAYOUTS:
        tables = {BARS: dict.fromkeys(columns, "float32"), **more}
        answers = [trace(source, tables, pandas) for pandas in _PANDAS]
        meanings = tuple(one for one in answers if isinstance(one, Traced))
        first = first or next((one for one in answers if isinstance(one, Refused)), None)
        # Only what fails may have looked for columns of another layout.
        if meanings or (first is not None and first.code != "fails"):
            break
    if not meanings:
        assert first is not None
        if side is None and first.construct == "FileNotFoundError" and _SIDE_FILE in first.why:
            why = f"it reads {_SIDE_FILE}: name the run's own with --static"
            return TracedFactor(source, (), _refusal("other_input", "a side table", first.line, why))
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
    research: Research,
    progress: Progress,
) -> CompiledPart:
    """Programs of all factors that can be had, compared with the run's factor table, and on changed bars with pandas itself where
    it can be asked."""
    refused: dict[str, Compilation] = {name: one.refused for name, one in traced.items() if one.refused is not None}
    left = {name: one for name, one in traced.items() if one.refused is None}
    why = _cannot_be_proven(left, research)
    refused |= {name: _refusal("not_proven", "the factor table", 0, text) for name, text in why.items()}
    left = {name: one for name, one in left.items() if name not in why}
    market, parquet = research.market, research.recorded
    if not left or market is None or parquet is None:
        return CompiledPart(compilations=refused)
    wanted = [feature for feature in features if feature.name in left]
    reads = [
        sorted(set().union(*names)) for names in zip(*((one.fields, one.side) for one in left.values()), strict=True)
    ]
    try:
        proof = _Proof(FactorTable.read(market, parquet, research, (reads[0], reads[1]), wanted))
    except RefusalError as error:
        if error.code == "factor.static":
            raise
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
    if proven and research.runner is not None:
        beside = _beside_pandas(proof, market, proven, research, research.runner, progress)
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
    proof: _Proof,
    market: Market,
    proven: Mapping[str, _Proven],
    research: Research,
    runner: Runner,
    progress: Progress,
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
        result[name] = one
        if one.traced.pandas != version:
            progress(
                f"{name} is not run on changed bars: it has the meaning of pandas {one.traced.pandas}, not {version}"
            )
            continue
        try:
            result[name] = proof.beside_pandas(name, one, market, research.side, session)
        except RefusalError as problem:
            progress(f"{name} cannot be run on changed bars: {problem.message}")
    return result


def _cannot_be_proven(left: Mapping[str, TracedFactor], research: Research) -> dict[str, str]:
    market, parquet = research.market, research.recorded
    columns = set() if parquet is None else {name for name, _ in column_names(parquet)}
    why = {}
    for name, one in left.items():
        if market is None:
            why[name] = research.absent
        elif one.reads_side and not one.side:
            why[name] = "of the side table it reads only which rows are there, and a bundle names columns"
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

    def beside_pandas(
        self, name: str, one: _Proven, market: Market, side: SideFile | None, session: Session
    ) -> _Proven | m.NotCompiledFactor:
        """The factor with the number of cells that pandas gave, too, of some stocks on the last days, changed.

        Raises RefusalError where its code does not end well there.
        """
        columns = _loaded([compile_factors({name: one.traced}, self.whole, one.reach)], self.whole)
        fields = [field for field in _FIELDS if field in self.fields or market.has(field)]
        days = slice(max(0, len(self.bars.dates) - one.window - _CHANGED_DAYS), len(self.bars.dates))
        some = self.bars.between(days.start, days.stop)
        stocks = chosen_stocks(some, np.flatnonzero(some.present.any(axis=1)))
        bars = changed(self.table.with_fields(market, fields, days, stocks), fields, one.source)
        table = as_side_table(self.table.side_on(days, stocks))
        static = None if side is None else side.part(bars.instruments, bars.dates)

        def compute(bars: Bars, day: int, rows: npt.NDArray[np.int64]) -> tuple[Values, Mask]:
            found = columns.compute(bars, fields, day, rows, table)
            return found.values[:, 0], found.known[:, 0]

        given = as_market(bars, fields, static)
        found = compare(session, one.source, name, given, bars, compute, one.proof.bound)
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
            static=self._side_columns(proven),
            fields=sorted({name for part in parts for name in part.fields}) or list(self.fields),
            complete_rows=self.table.complete,
            golden=GOLDEN_FILE,
            golden_rows=0,
            date=str(self.bars.dates[self.table.last]),
            tolerances={},
        )
        columns = FactorColumns(parts, files.__getitem__)
        meanings = {name: Meaning(one.traced, one.proof.bound, one.scale) for name, one in proven.items()}
        golden = golden_factors(self.table, description, columns, self._golden_stocks(columns.window), meanings)
        if golden.wrong:
            why = "on the golden bars the graphs do not give what the expression means"
            refused = {**refused, **{name: _refusal("differs", "the golden bars", 0, why) for name in golden.wrong}}
            left = {name: one for name, one in proven.items() if name not in golden.wrong}
            return self.part(left, refused) if left else CompiledPart(compilations=refused)
        said = {"golden_rows": len(golden.table), "tolerances": golden.tolerances}
        description = msgspec.structs.replace(description, **said)
        backs = {name: _look_back(one) for name, one in proven.items()}
        compilations: dict[str, Compilation] = {
            **refused,
            **{name: _compiled(one, self._side_dtype) for name, one in proven.items()},
        }
        part = CompiledPart(
            description,
            files,
            golden.table,
            compilations,
            {name: back for name, back in backs.items() if back is not None},
        )
        reads = {name: [one for one in read if not one.startswith(f"{STATIC}:")] for name, read in part.inputs.items()}
        return replace(part, invariance=self._invariance(reads, columns, proven))

    def _golden_stocks(self, window: int) -> npt.NDArray[np.int64]:
        """Some that have a row on the last recorded day."""
        day = self.table.last
        recent = self.bars.between(max(0, day + 1 - window), day + 1)
        return chosen_stocks(recent, np.flatnonzero(self.bars.present[:, day]))

    def _side_columns(self, proven: Mapping[str, _Proven]) -> list[m.SideColumn]:
        days: dict[str, int] = {}
        for one in proven.values():
            back = _look_back(one) or one.window
            for node in in_order([one.traced.value, one.traced.rows]):
                if node.operator == "field" and node["table"] == STATIC:
                    days[str(node["column"])] = max(days.get(str(node["column"]), 1), back)
        return [
            m.SideColumn(name=name, dtype=self._side_dtype(name), days=days[name], missing=self.table.missing(name))  # type: ignore[arg-type]
            for name in sorted(days)
        ]

    def _side_dtype(self, name: str) -> str:
        assert self.table.side is not None
        dtype = self.table.side.columns[name].dtype
        return "text" if dtype == np.int32 else str(dtype)

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
        days = slice(max(0, day + 1 - columns.window), day + 1)
        bars, side = self.bars.between(days.start, days.stop), as_side_table(self.table.side_on(days))
        if constant is not None:
            values = bars.values.copy()
            exponents = np.full(len(values), constant.exponent)
            exponents[1::2] *= -1 if constant.each else 1
            values[:, :, constant.places] *= np.exp2(exponents).astype(np.float32)[:, None, None]
            bars = replace(bars, values=values)
        last = len(bars.dates) - 1
        return columns.compute(bars, self.fields, last, np.flatnonzero(bars.listed()[:, last]), side).values

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


def _compiled(one: _Proven, side_dtype: Callable[[str], str]) -> m.CompiledFactor:
    told = properties(one.traced.value, one.traced.rows)
    inputs = [
        m.FactorInput(table=BARS, column=column.removeprefix("$"), dtype="float32")
        if table == BARS
        else m.FactorInput(table=STATIC, column=column, dtype=side_dtype(column))  # type: ignore[arg-type]
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
