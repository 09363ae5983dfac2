"""Look-back, columns and look-ahead of the SOTA factors, found by running them while a bundle is built.

Each factor's source runs isolated (`factor_program.py trial`) on the bars that ``build --bars`` names.  First it must
give the values that the run's parquet recorded on its last date; then the shortest history, and the columns without
which the values are others, are searched.  What cannot be found stays null in the manifest, with a reason for the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from alphaseal.adjustment import unit_of
from alphaseal.arrow_columns import date_text
from alphaseal.errors import AlphasealError
from alphaseal.features import FeatureBlock, Plan, read_parquet
from alphaseal.manifest import Dtype, Feature, Scaling
from alphaseal.parquet_source import Layout, open_parquet
from alphaseal.period import Period

from .errors import RefusalError
from .factor_process import FactorBars, Runner, factor_inputs, prepare, read_file
from .factors_table import column_names
from .isolation import IsolationLimits

HISTORY_DAYS = 1000
"""Trading days before the recorded one that a trial looks at; a factor that needs more keeps null."""
LATER_DAYS = 60
SECONDS = 120
LARGEST_CONSTANT = 16.0
"""What `factor_program` multiplies columns by."""
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

    RefusalError ``isolation.unavailable``, and `factor.*` for bars that cannot be read; anything wrong with a factor is
    its trial's reason.
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
    market = prepare(runner, bars, request.bars.suffix, static, Period.of(last, None), history)
    for number, factor in enumerate(factors):
        progress(f"trial of {factor.name}, {number + 1} of {len(factors)}")
        trials[factor.name] = _try(runner, request, factor, market, recorded, number)
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
        else {unit: _scaling(*same) for unit, same in trial.unchanged.items()},
    )


def _scaling(common: bool, per_stock: bool) -> Scaling:
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


def _recorded(parquet: Path, factors: Sequence[TriedFactor]) -> FeatureBlock:
    """The last rows of the run's parquet, sorted by date."""
    with open_parquet(parquet) as file:
        plan = Plan.of(file.schema_arrow, factors)
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
    market: FactorBars,
    recorded: FeatureBlock,
    column: int,
) -> Trial:
    """One factor; its day is the last one with a recorded value that the bars have, too."""
    values = recorded.values[:, column]
    known = np.isin(recorded.dates, np.array(market.days, "datetime64[D]")) & ~np.isnan(values)
    if not known.any():
        return _nothing("no day with recorded values is among the bars")
    day = recorded.dates[known].max()
    rows = np.flatnonzero((recorded.dates == day) & ~np.isnan(values))
    order = {
        "feature": factor.name,
        "dtype": factor.dtype,
        "day": str(day),
        "seconds": request.seconds,
        "static": market.static is not None,
        "instruments": [recorded.instruments[int(row)].as_py() for row in rows],
        "units": _units(market.columns),
    }
    data = b"".join(
        part.tobytes()
        for part in (
            recorded.dates[rows].astype("datetime64[D]").astype("<i4"),
            np.arange(len(rows), dtype="<i4"),
            values[rows].astype("<f8"),
        )
    )
    inputs = factor_inputs(market, factor.code.encode("utf-8", "backslashreplace")) | {"recorded.bin": data}
    try:
        answer, _ = runner.call("trial", order, inputs, [], f"the code of {factor.name}")
    except AlphasealError as problem:
        if problem.code == "isolation.unavailable":
            raise
        return _nothing(problem.message)
    return _read(answer)


def _units(columns: Sequence[str]) -> dict[str, list[str]]:
    """The columns of the bars by their units."""
    units: dict[str, list[str]] = {}
    for column in columns:
        units.setdefault(unit_of(column), []).append(column)
    return units


def _read(answer: Mapping[str, Any]) -> Trial:
    """The child's answer, as far as it is one."""
    back, ahead, inputs, runs = (answer.get(key) for key in ("look_back", "look_ahead", "inputs", "runs"))
    same: Any = answer.get("unchanged")
    good = (
        (back is None or (type(back) is int and 1 <= back <= HISTORY_DAYS))
        and isinstance(ahead, bool)
        and (
            inputs is None or (isinstance(inputs, list) and all(isinstance(i, str) and len(i) <= 1000 for i in inputs))
        )
        and type(runs) is int
        and isinstance(same, dict)
        and all(len(unit) <= 1000 and _truths(pair) for unit, pair in same.items())
    )
    if not good:
        return _nothing("its process gave no answer that can be read")
    reason = None
    if ahead:
        reason = "data after the date change its value"
    elif back is None:
        reason = "all bars that are there are needed to give its value, or more"
    columns = None if inputs is None else tuple(inputs)
    unchanged = None if inputs is None else {unit: (common, each) for unit, (common, each) in same.items()}
    return Trial(back, ahead, columns, reason, runs, unchanged)


def _truths(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(truth, bool) for truth in pair)
