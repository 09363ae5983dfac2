"""The verb ``features``: today's values of a bundle's SOTA factors, from the bundle's own verified sources.

Each source runs alone in an isolated child process (`isolation`, `programs.factor`), with the files that RD-Agent gives a
factor.  Nothing of the caller's HDF5 and nothing that a factor writes is opened here: plain numbers come back, and are
checked.  Where this system cannot close a process off, nothing runs (`RefusalError` ``isolation.unavailable``).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import alphaseal
from alphaseal.arrow.columns import FIRST_DAY
from alphaseal.bundle import Bundle
from alphaseal.disk.targets import replacing
from alphaseal.errors import AlphasealError, UsageError
from alphaseal.format import strict_json
from alphaseal.format.factors import CompiledFactor
from alphaseal.format.manifest import Feature
from alphaseal.plain_text import Printable, printable
from alphaseal.tables import instruments
from alphaseal.tables import origin as feature_origin
from alphaseal.tables.origin import FeatureOrigin
from alphaseal.tables.period import Period
from alphaseal.trust.judgement import Trust
from alphaseal.trust.keys import SigningKey
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.bars_check import compare, needs_of, outside
from alphaseal_converter.factors.market import Days, Part
from alphaseal_converter.factors.process import Claim, FactorBars, Keyed, Runner, Session, prepare, read_file
from alphaseal_converter.factors.table import is_complete
from alphaseal_converter.isolation.sandbox import IsolationLimits
from alphaseal_converter.version import __version__

ORIGINS: Final = ("sota", "base")
# Where the bars end with the date itself, look-ahead is looked for on a day that this many others follow.
PROBE_DAYS: Final = 20
Column = tuple[Feature, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class FeaturesRequest:
    """What ``alphaseal-convert features`` was asked for; the options are explained there."""

    bundle: Path
    trust: Trust
    bars: Path
    out: Path
    date: Any = None
    dates: tuple[Any, Any] | None = None
    static: Path | None = None
    instruments_from: str | None = None
    """Notation of the stocks ("qlib", "ts") of bars and static table, where it is not the bundle's."""
    python: Path | None = None
    signing_key: SigningKey | None = None
    jobs: int = 1
    allow_missing: bool = False
    limits: IsolationLimits = field(default_factory=IsolationLimits)
    opened: Bundle | None = None
    """The bundle, where the caller has opened it under `trust`."""
    anchors: Any = None
    """Bars of the golden stocks and days from the same source, or what `Bundle.anchor` made of them."""
    units_as_trained: bool = False


@dataclass(frozen=True)
class FeatureReport:
    """What became of one feature of the model."""

    name: str
    status: str
    """computed, or why not: failed, looks_ahead, no_values, no_source."""
    reason: str | None
    """For people; the factor's own last line where it failed."""
    code: str | None
    seconds: float | None
    rows: int | None
    """Rows that its code wrote, of all dates."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Stocks of the last date without a value, and why: suspended (no bars), no_row, no_value (its code gave NaN),
    incomplete (another factor has none, and the run removed such rows)."""
    probed: tuple[str, ...] = ()
    """Days on which bars cut there gave the same values."""

    @property
    def computed(self) -> bool:
        return self.status == "computed"


@dataclass(frozen=True)
class FeaturesResult:
    """What was written, and what became of each feature."""

    bundle: str
    first: str
    last: str
    dates: int
    stocks: int
    """Stocks of the last date."""
    suspended: tuple[str, ...]
    """Those of them whose bars are all missing."""
    features: tuple[FeatureReport, ...]
    out: str | None
    sha256: str | None
    signature: str | None
    warnings: tuple[str, ...] = ()
    """About the bars."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> Printable:
        """A line for every feature, then what was written."""
        lines = []
        for feature in self.features:
            if feature.computed:
                lines.append(
                    f"{feature.name}  {self.stocks - len(feature.missing)} of {self.stocks} stocks, {feature.seconds:.1f} s"
                )
            else:
                lines.append(f"{feature.name}  {feature.status}: {feature.reason}")
        days = self.last if self.dates == 1 else f"{self.first} to {self.last}"
        written = (
            f"written: {self.out} for {days}, bundle {self.bundle}" if self.out is not None else "nothing was written"
        )
        return printable([*(f"warning: {text}" for text in self.warnings), *lines, written])


class IncompleteError(RefusalError):
    """Some feature of the model could not be computed; `result` says which and why."""

    def __init__(self, result: FeaturesResult) -> None:
        failed = [feature for feature in result.features if not feature.computed]
        super().__init__(
            "features.incomplete",
            f"{len(failed)} of {len(result.features)} features could not be computed",
            found="; ".join(f"{feature.name}: {feature.reason}" for feature in failed)[:2000],
            next_step="mend what the reasons say, or pass --allow-missing to write the others",
        )
        self.result = result


def compute_features(request: FeaturesRequest, progress: Callable[[str], None] = lambda text: None) -> FeaturesResult:
    """Run the sources of a bundle on bars and write the features of the date, or of the dates.

    The file has `datetime`, `instrument` and the computed features in their training dtype, one row for every stock of
    the bars on the date; for a model on windows the days before, too, that its windows look at.  Errors of opening a
    bundle; InputError `bars.*` where the bars are others than those of the training (`bars_check`); RefusalError:
    `isolation.unavailable`, `factor.*` for bars that cannot be read, `features.date_absent`,
    `features.too_short`, `features.nothing` (no feature has a source), `IncompleteError`.
    """
    period = Period.of(request.date, request.dates)
    bundle = request.opened or alphaseal.open(request.bundle, trust=request.trust)
    sources = {
        feature.name: bundle.read(feature.source)
        for feature in bundle.manifest.features
        if feature.origin in ORIGINS and feature.source is not None
    }
    coded = [feature for feature in bundle.manifest.features if feature.origin in ORIGINS]
    wanted = [feature for feature in coded if not isinstance(feature.compilation, CompiledFactor)]
    if not wanted:
        raise RefusalError(
            "features.nothing",
            "no feature of this model needs a factor's code to run" + (": all factors are compiled" if coded else ""),
            where=str(request.bundle),
            next_step="score it from bars alone: alphaseal score --bars",
        )
    bars = read_file(request.bars)
    static = read_file(request.static) if request.static is not None else None
    runner = Runner(request.python, request.limits)
    whole = complete_rows_only(bundle)
    progress("preparing the bars")
    needs = needs_of(bundle, wanted, request.instruments_from, period)
    market = prepare(runner, bars, request.bars.suffix, static, period, needs=needs)
    if others := outside(bundle, market):
        market = prepare(runner, bars, request.bars.suffix, static, period, needs=replace(needs, without=others))
    days = _target_days(market, period, needs.before)
    rows = BarRows.of(market.keys, bundle)
    evidence = bundle.evidence(request.anchors, request.units_as_trained, request.instruments_from)
    warnings = compare(bundle, market, wanted, days, evidence)
    probes = probe_days(market.days, days)

    def one(feature: Feature) -> tuple[FeatureReport, npt.NDArray[np.float64] | None]:
        if feature.name not in sources:
            return FeatureReport(
                feature.name, "no_source", "the bundle does not hold its code", "no_source", None, None
            ), None
        progress(f"running {feature.name}")
        return run_feature(runner, feature, sources[feature.name], market, rows, days, probes)

    with ThreadPoolExecutor(request.jobs) as pool:
        outcomes = list(pool.map(one, wanted))
    suspended = rows.stocks[(rows.days == rows.days[-1]) & (rows.traded == 0)]
    result = FeaturesResult(
        bundle=bundle.digest,
        first=days[0],
        last=days[-1],
        dates=len(days),
        stocks=int((rows.days == rows.days[-1]).sum()),
        suspended=tuple(suspended.tolist()),
        features=tuple(report for report, _ in outcomes),
        out=None,
        sha256=None,
        signature=None,
        warnings=warnings,
    )
    columns = [(feature, values) for feature, (_, values) in zip(wanted, outcomes, strict=True) if values is not None]
    if whole and columns:
        columns = rows.complete(columns)
        result = replace(result, features=tuple(rows.with_incomplete(report, columns) for report in result.features))
    if len(columns) < len(wanted) and (not request.allow_missing or not columns):
        raise IncompleteError(result)
    origin = FeatureOrigin(
        version=1,
        bundle=bundle.digest,
        dates=list(days),
        sources={feature.name: hashlib.sha256(sources[feature.name]).hexdigest() for feature, _ in columns},
        bars=hashlib.sha256(bars).hexdigest(),
        static=hashlib.sha256(static).hexdigest() if static is not None else None,
        incomplete_rows="removed" if whole else "kept",
        converter=__version__,
    )
    progress("writing the features")
    written = _write(request.out, rows, columns, origin, request.signing_key)
    signature = str(feature_origin.sidecar_of(request.out)) if request.signing_key is not None else None
    return replace(result, out=str(request.out), sha256=written, signature=signature)


def complete_rows_only(bundle: Bundle) -> bool:
    """Whether the run removed rows of its factor table in which any factor is missing (`is_complete`); the model then saw such
    rows without any factor.

    The manifest says it, or the run's own table where the bundle has it; else the anchor's kind.
    """
    manifest = bundle.manifest
    if manifest.compiled is not None:
        return manifest.compiled.complete_rows
    if manifest.factors is not None:
        bundle.check_factors()
        return is_complete(bundle.factors())
    anchor = manifest.source.anchor
    earlier = [
        factor
        for factor in manifest.sota_factors
        if factor.status == "in_model" and factor.history_index != anchor.history_index
    ]
    return anchor.kind == "factor" and bool(earlier)


def _target_days(market: FactorBars, period: Period, before: int) -> list[str]:
    """The days of the bars in the period, and `before` days before them; of a range without a beginning those there are.

    RefusalError `features.date_absent` where the period has none, `features.too_short` where there are not so many before.
    """
    days = [day for day in market.days if period.first <= _number(day) <= period.last]
    if not days:
        raise RefusalError(
            "features.date_absent",
            "the bars have no rows for the date asked for",
            expected=str(period),
            found=f"bars from {market.days[0]} to {market.days[-1]}" if market.days else "no bars at all",
        )
    place = market.days.index(days[0])
    if place < before and period.first != FIRST_DAY:
        raise RefusalError(
            "features.too_short",
            f"the model looks at windows of {before + 1} days, and its features are needed on each of them",
            expected=f"{before} days of bars before {days[0]}",
            found=f"{place}",
            next_step="give bars that reach further back",
        )
    return [*market.days[max(0, place - before) : place], *days]


def _number(day: str) -> int:
    try:
        return int(np.datetime64(day, "D").astype(np.int64))
    except ValueError:
        raise RefusalError("factor.answer", "the reader of the bars gave no answer that can be read") from None


def probe_days(calendar: Sequence[str], days: Sequence[str]) -> list[str]:
    """Days at which the bars are cut to look for look-ahead: first and last of `days`, as far as other days follow.

    Where none does (the bars end with the date), a day that `PROBE_DAYS` others follow, or half of the bars.
    """
    followed = sorted({day for day in (days[0], days[-1]) if day < calendar[-1]})
    if followed or len(calendar) < 2:
        return followed
    return [calendar[max(len(calendar) - 1 - PROBE_DAYS, (len(calendar) - 1) // 2)]]


@dataclass(frozen=True)
class BarRows:
    """The rows of the output, sorted by date and stock."""

    days: Days
    stocks: npt.NDArray[np.object_]
    traded: npt.NDArray[np.float64]

    @classmethod
    def of(cls, keys: Keyed, bundle: Bundle) -> BarRows:
        """Rows of the bars; InputError where stocks are not written as the bundle writes them."""
        names = sorted(set(keys.stocks.tolist()))
        instruments.normalise(pa.array(names, pa.string()), bundle.notation())
        place = {name: number for number, name in enumerate(names)}
        codes = np.array([place[name] for name in keys.stocks.tolist()], np.int64)
        order = np.lexsort((codes, keys.days))
        return cls(keys.days[order], keys.stocks[order], keys.values[order])

    def spread(self, found: Keyed) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Values at these rows, NaN where there is none, and which rows were found; rows of others are left out."""
        known = dict(zip(zip(found.days.tolist(), found.stocks.tolist(), strict=True), found.values, strict=True))
        pairs = list(zip(self.days.tolist(), self.stocks.tolist(), strict=True))
        values = np.array([known.get(pair, np.nan) for pair in pairs], np.float64)
        return values, np.array([pair in known for pair in pairs], np.bool_)

    def complete(self, columns: Sequence[Column]) -> list[Column]:
        """The same without the values of rows in which any column has none."""
        broken = np.isnan(np.stack([values for _, values in columns])).any(axis=0)
        return [(feature, np.where(broken, np.nan, values)) for feature, values in columns]

    def with_incomplete(self, report: FeatureReport, columns: Sequence[Column]) -> FeatureReport:
        """The report of a feature after `complete`: more of its stocks have no value."""
        last = self.days == self.days[-1]
        gone = [self.stocks[last & np.isnan(values)] for feature, values in columns if feature.name == report.name]
        names = {str(name): "incomplete" for stocks in gone for name in stocks}
        return replace(report, missing=dict(sorted((names | dict(report.missing)).items())))

    def missing(self, values: npt.NDArray[np.float64], there: npt.NDArray[np.bool_]) -> dict[str, str]:
        """Stocks of the last date without a value -> why."""
        places = np.flatnonzero((self.days == self.days[-1]) & np.isnan(values))
        return {
            str(self.stocks[place]): "suspended"
            if self.traded[place] == 0
            else "no_value"
            if there[place]
            else "no_row"
            for place in places
        }


def run_feature(
    runner: Runner,
    feature: Feature,
    source: bytes,
    market: FactorBars,
    rows: BarRows,
    days: Sequence[str],
    probes: Sequence[str],
) -> tuple[FeatureReport, npt.NDArray[np.float64] | None]:
    """One factor in its own process: its report, and its values at `rows` where all is well."""
    try:
        session = runner.session(f"the code of {feature.name}")
        started = time.monotonic()
        claim = session.run(source, feature.name, market.market)
        seconds, written = round(time.monotonic() - started, 3), claim.written
        ahead = look_ahead(session, source, feature.name, market, claim, probes)
    except AlphasealError as problem:
        if problem.code == "isolation.unavailable":
            raise
        return FeatureReport(feature.name, "failed", problem.message, problem.code, None, None), None
    chosen = (claim.days >= np.datetime64(days[0])) & (claim.days <= np.datetime64(days[-1]))
    values, there = rows.spread(Keyed(claim.days[chosen], claim.stocks.take(chosen).values(), claim.values[chosen]))
    if ahead is not None:
        return FeatureReport(feature.name, "looks_ahead", ahead, "factor.looks_ahead", seconds, written), None
    with np.errstate(over="ignore"):
        values = values.astype(feature.dtype).astype(np.float64)
    missing = rows.missing(values, there)
    if np.isnan(values).all():
        text = f"it gives no value for any stock on {days[0] if len(days) == 1 else f'{days[0]} to {days[-1]}'}"
        return FeatureReport(feature.name, "no_values", text, "factor.no_values", seconds, written, missing), None
    return FeatureReport(feature.name, "computed", None, None, seconds, written, missing, tuple(probes)), values


def look_ahead(
    session: Session, source: bytes, name: str, bars: FactorBars, whole: Claim, probes: Sequence[str]
) -> str | None:
    """Whether bars that end with a day of `probes` give other values of that day than all bars do, in words."""
    for day in probes:
        cut = _cut_at(session, source, name, bars, day)
        differing = whole.differing(cut, day, day)
        if not differing:
            continue
        stocks = ", ".join(stock for _, stock in differing[:3])
        if cut.differing(_cut_at(session, source, name, bars, day), day, day):
            return f"its values of {day} differ from run to run ({stocks})"
        return f"days after {day} change its values of that day, for {len(differing)} stocks ({stocks})"
    return None


def _cut_at(session: Session, source: bytes, name: str, bars: FactorBars, day: str) -> Claim:
    """Values of `day` on bars that end with it."""
    try:
        return session.run(source, name, bars.market, Part(last=day), (day, day))
    except RefusalError as problem:
        raise problem.saying(message=f"with the bars up to {day} only: {problem.message}") from None


def _write(
    out: Path,
    rows: BarRows,
    columns: Sequence[Column],
    origin: FeatureOrigin,
    key: SigningKey | None,
) -> str:
    """The file, and its signature where there is a key; the digest of its bytes.  Equal values give equal bytes."""
    types = {"float32": pa.float32(), "float64": pa.float64()}
    table = pa.table(
        {
            "datetime": pa.array(rows.days, pa.date32()),
            "instrument": pa.array(rows.stocks.tolist(), pa.string()),
            **{
                feature.name: pa.array(values.astype(feature.dtype), types[feature.dtype])
                for feature, values in columns
            },
        }
    )
    metadata = strict_json.dumps(msgspec.to_builtins(origin))
    sidecar = feature_origin.sidecar_of(out)
    with replacing(out) as temporary:
        keys = ["datetime", "instrument"]
        with pq.ParquetWriter(
            temporary, table.schema, compression="zstd", use_dictionary=keys, store_schema=False
        ) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({feature_origin.METADATA_KEY: metadata})
        data = temporary.read_bytes()
        # A signature of other bytes must not lie beside the new file, not even for a moment.
        with suppress(FileNotFoundError):
            os.unlink(sidecar)
        if key is not None:
            with replacing(sidecar) as signature:
                signature.write_bytes(feature_origin.sign(data, origin, key))
    return hashlib.sha256(data).hexdigest()


def check_output(out: Path) -> None:
    """UsageError before the long work where the file cannot be written."""
    if out.suffix != ".parquet":
        raise UsageError(
            "usage.out", "features are written as parquet", where=str(out), expected="a name that ends in .parquet"
        )
    if not out.parent.is_dir():
        raise UsageError("output.no_parent", "the directory for the file does not exist", where=str(out.parent))
