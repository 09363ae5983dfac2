"""Look-back, columns and look-ahead of the SOTA factors, found by running them while a bundle is built.

Each factor's source runs isolated, in a fresh process for each part of the bars that ``build --bars`` names, and what it is
found to be follows from comparing these runs (`factor_search`).  What cannot be found stays null in the manifest, with a
reason for the report.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from alphaseal.arrow.columns import date_text
from alphaseal.errors import AlphasealError
from alphaseal.format.manifest import Feature, Scaling
from alphaseal.format.parts import Dtype
from alphaseal.tables.feature_files import read_parquet
from alphaseal.tables.features import FeatureBlock, TableColumns
from alphaseal.tables.parquet import Layout, open_parquet
from alphaseal.tables.period import Period
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors.process import FactorBars, Runner, prepare, read_file
from alphaseal_converter.factors.search import EXPONENT, Search
from alphaseal_converter.factors.table import column_names
from alphaseal_converter.isolation.sandbox import IsolationLimits

HISTORY_DAYS = 1000
"""Trading days before the recorded one that a trial looks at; a factor that needs more keeps null."""
LATER_DAYS = 60
SECONDS = 120
LARGEST_CONSTANT = 2.0**EXPONENT
"""What columns are multiplied by."""
NO_ISOLATION = "no isolation"
"""Why a factor was not run, in the manifest's words."""
_RECORDED_DAYS = 60
"""Calendar days of the parquet's end among which a recorded value is looked for."""


@dataclass(frozen=True)
class TrialRequest:
    """Bars and static table for the trials, and the Python with pandas and tables that runs them."""

    bars: Path
    static: Path | None = None
    python: Path | None = None
    seconds: int = SECONDS
    """For each factor; the search stops there."""


@dataclass(frozen=True)
class TriedFactor:
    """A factor of the model, by the name of its feature, with its code."""

    name: str
    dtype: Dtype
    code: str


@dataclass(frozen=True)
class Trial:
    """What the trial of one factor found; None where it found nothing, and then `reason` says why."""

    look_back: int | None
    """Trading days, the day itself included."""
    look_ahead: bool | None
    inputs: tuple[str, ...] | None
    """Columns of the bars by plain name; those of the static table behind ``static:``."""
    reason: str | None
    runs: int | None = None
    """How often the code was run."""
    unchanged: Mapping[str, tuple[bool, bool]] | None = None
    """By unit of the bars that it reads: one constant for all stocks changes nothing, and one of each does not."""
    not_run: str | None = None
    """`NO_ISOLATION` where the code could not be run at all."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    def line(self, name: str) -> str:
        """One line for people."""
        back = f"{self.look_back} days of history" if self.look_back is not None else "look-back not known"
        inputs = f", reads {' '.join(self.inputs)}" if self.inputs is not None else ""
        return f"factor  {name}: {back}{inputs}" + (f"; {self.reason}" if self.reason is not None else "")


def try_factors(
    request: TrialRequest, factors: Sequence[TriedFactor], parquet: Path | None, progress: Callable[[str], None]
) -> dict[str, Trial]:
    """A trial of each factor; `parquet` is the run's table of recorded values.

    RefusalError `factor.*` for bars that cannot be read; anything wrong with a factor is its trial's reason, and so is a
    system on which code cannot be closed off: then none runs, and `Trial.not_run` says so.
    """
    if not factors:
        return {}
    if parquet is None:
        return {factor.name: _nothing("the run's factor table is not there to compare with") for factor in factors}
    columns = {name for name, _ in column_names(parquet)}
    trials = {factor.name: _nothing("it is no column of the run's factor table") for factor in factors}
    factors = [factor for factor in factors if factor.name in columns]
    if not factors:
        return trials
    recorded = _recorded(parquet, factors)
    last = date_text(int(recorded.dates[-1].astype(np.int64)))
    limits = IsolationLimits(seconds=2 * request.seconds + 60, cpu_seconds=4 * request.seconds + 60)
    runner = Runner(request.python, limits)
    progress("preparing the bars for the trial of the factors")
    static = read_file(request.static) if request.static is not None else None
    bars, history = read_file(request.bars), (last, HISTORY_DAYS, LATER_DAYS)
    try:
        market = prepare(runner, bars, request.bars.suffix, static, Period.of(last, None), history)
    except RefusalError as problem:
        if problem.code != "isolation.unavailable":
            raise
        return trials | {factor.name: _not_run(problem) for factor in factors}
    digest = hashlib.sha256(bars).digest() + hashlib.sha256(static or b"").digest()
    for number, factor in enumerate(factors):
        progress(f"trial of {factor.name}, {number + 1} of {len(factors)}")
        trials[factor.name] = _try(runner, request, factor, market, digest, recorded, number)
    return trials


def describe(feature: Feature, trial: Trial | None) -> Feature:
    """`feature` with what its trial found."""
    if trial is None:
        return feature
    return msgspec.structs.replace(
        feature,
        look_back=trial.look_back,
        look_back_from=None if trial.look_back is None else "trial",
        look_ahead=trial.look_ahead,
        inputs=None if trial.inputs is None else list(trial.inputs),
        invariance=None
        if trial.unchanged is None
        else {unit: scaling_of(*same) for unit, same in trial.unchanged.items()},
        not_compiled=trial.not_run,
    )


def scaling_of(common: bool, per_stock: bool) -> Scaling:
    """What a trial with constants says."""
    tried = f"tried with {1 / LARGEST_CONSTANT:g} and {LARGEST_CONSTANT:g}"
    same = (
        f"{tried}: unchanged by a constant of each stock" if per_stock else f"{tried}: changed by a constant of a stock"
    )
    return Scaling(
        per_stock=per_stock,
        common=common,
        smallest=1 / LARGEST_CONSTANT if common else None,
        largest=LARGEST_CONSTANT if common else None,
        text=same if per_stock or not common else f"{same}, unchanged by one for all",
    )


def _nothing(reason: str) -> Trial:
    return Trial(None, None, None, reason)


def _not_run(problem: AlphasealError) -> Trial:
    return replace(_nothing(f"{NO_ISOLATION}: {problem.message}"), not_run=NO_ISOLATION)


def _recorded(parquet: Path, factors: Sequence[TriedFactor]) -> FeatureBlock:
    """The last rows of the run's parquet, sorted by date."""
    with open_parquet(parquet) as file:
        plan = TableColumns.of(file.schema_arrow, factors)
        days = Layout.of(
            file, range(file.num_row_groups), plan.date, plan.batch_rows, Period.of(None, None)
        ).rows_per_day
    if not days:
        raise RefusalError("factors.empty", "the run's factor table has no rows", where=str(parquet))
    first = np.datetime64(max(days) - _RECORDED_DAYS, "D")
    return read_parquet(parquet, factors, dates=(first, None))


def _try(
    runner: Runner,
    request: TrialRequest,
    factor: TriedFactor,
    bars: FactorBars,
    bars_digest: bytes,
    recorded: FeatureBlock,
    column: int,
) -> Trial:
    """One factor; its day is the last one with a recorded value that the bars have, too."""
    values = recorded.values[:, column]
    known = np.isin(recorded.dates, np.array(bars.days, "datetime64[D]")) & ~np.isnan(values)
    if not known.any():
        return _nothing("no day with recorded values is among the bars")
    day = recorded.dates[known].max().astype("datetime64[D]")
    search = Search(
        session=runner.session(f"the code of {factor.name}"),
        source=factor.code.encode("utf-8", "backslashreplace"),
        feature=factor.name,
        dtype=factor.dtype,
        market=bars.market,
        recorded=_days(recorded, column, known),
        seconds=request.seconds,
        digest=bars_digest,
    )
    try:
        found = search.find(str(day))
    except AlphasealError as problem:
        if problem.code == "isolation.unavailable":
            return _not_run(problem)
        return replace(_nothing(problem.message), runs=search.runs)
    return Trial(found.look_back, found.look_ahead, found.inputs, found.reason, search.runs, found.unchanged)


def _days(recorded: FeatureBlock, column: int, rows: npt.NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    """Day -> stock -> the recorded value, of these rows."""
    days: dict[str, dict[str, float]] = {}
    for row in np.flatnonzero(rows):
        stock, value = recorded.instruments[int(row)].as_py(), float(recorded.values[row, column])
        days.setdefault(str(recorded.dates[row].astype("datetime64[D]")), {})[stock] = value
    return days
