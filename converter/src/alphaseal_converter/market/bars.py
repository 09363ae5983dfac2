"""The market data behind one run: which stocks, which days, and the alpha columns of them by our own graph.

It stands for qlib's loader where that is only expressions, joined from the left by a factor table: then its rows are
those of the market's stocks, and its alpha columns are what the expressions make of the bars.  Anything that changes the
rows or the bars on the way (filters, other joins, other frequencies) is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.arrow.columns import dates_array
from alphaseal.bars.calendar import AlphaColumns, Bars
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.configuration import TaskConfiguration
from alphaseal_converter.market.provider import Provider, Universe, configured_provider, open_provider, read_bars

Progress = Callable[[str], None]

_EXPRESSION_LOADERS = ("QlibDataLoader", "Alpha158DL", "Alpha360DL")
_HANDLERS = {"Alpha158": "csi500", "Alpha158vwap": "csi500", "Alpha360": "csi500", "Alpha360vwap": "csi500"}
"""qlib's handlers with expressions of their own, and the market that they take by default."""
_DAYS_PER_GROUP = 20
_SAMPLED_ROWS = 40_000


@dataclass(frozen=True)
class Market:
    """qlib's data directory and what the run took of it: stocks with their spans, first and last date (None: all)."""

    provider: Provider
    universe: Universe
    rows: tuple[date | None, date | None]
    instruments: str | tuple[str, ...]
    """The market's name, or the codes that the run names."""

    def has(self, name: str) -> bool:
        """Whether a stock of the market has a file of the field."""
        return any((self.provider.root / self.provider.place(stock, name)).is_file() for stock in self.universe)

    def bars(self, fields: Sequence[str], window: int, first: np.datetime64, last: np.datetime64) -> Bars:
        """Bars of the days from `first` to `last`, with the `window` - 1 days before them as far as there are any.

        Raises RefusalError ``provider.day`` (a day is not in the calendar), and what `read_bars` raises.
        """
        calendar = self.provider.calendar
        low, high = np.searchsorted(calendar, [first, last]).tolist()
        if high >= len(calendar) or calendar[low] != first or calendar[high] != last:
            raise RefusalError(
                "provider.day",
                "the market data do not reach the days of the recorded predictions",
                where=str(self.provider.root / "calendars/day.txt"),
                expected=f"trading days from {first} to {last}",
                found=f"{len(calendar)} days from {calendar[0]} to {calendar[-1]}",
                next_step="name the data that the run was trained on with --provider",
            )
        return read_bars(self.provider, self.universe, fields, slice(max(0, low - window + 1), high + 1), self.rows)

    def days_before(self, day: np.datetime64, count: int) -> np.datetime64:
        """The trading day `count` days before `day`, or the first one that the run loaded; `day` where there is none."""
        calendar = self.provider.calendar
        loaded = calendar if self.rows[0] is None else calendar[calendar >= np.datetime64(self.rows[0], "D")]
        earlier = loaded[loaded < day][-count:] if count else loaded[:0]
        return earlier[0] if len(earlier) else day


def market_of(root: Path, configuration: TaskConfiguration) -> Market:
    """The data below `root` as the run's handler takes them.

    Raises RefusalError ``provider.*``: ``no_task``, ``handler``, ``loader``, ``filters``, ``join``, and
    those of `open_provider` and `Provider.universe`.
    """
    if not configuration.recorded:
        raise RefusalError(
            "provider.no_task",
            "the run's task configuration is gone, so nothing says which stocks and days it took",
            expected="artifacts/task in the run",
            next_step="pass --features with raw values of the run",
        )
    instruments = _check_handler(configuration)
    provider = open_provider(root)
    return Market(provider, provider.universe(instruments), (configuration.start, configuration.end), instruments)


def find_market(
    given: Path | None,
    workspace: Path | None,
    path_maps: Sequence[tuple[str, str]],
    configuration: TaskConfiguration,
) -> tuple[Market | None, str]:
    """The market data that were named, else those of the run's own configuration if they are still there and fit.

    Returns None and why in words where there are none; what was named and does not fit is a RefusalError.
    """
    if given is not None:
        return market_of(given, configuration), ""
    root = configured_provider(workspace, path_maps)
    if root is None:
        return None, "the run's market data are not at hand (pass --provider)"
    try:
        return market_of(root, configuration), ""
    except RefusalError as error:
        return None, f"the run's market data at hand cannot be used: {error.message} ({error.code})"


def write_alpha_values(
    market: Market, columns: AlphaColumns, span: tuple[np.datetime64, np.datetime64], out: Path, progress: Progress
) -> None:
    """Write the alpha columns of all rows from `span`'s first to its last day to a parquet file of raw values.

    Columns `datetime` (date32), `instrument`, then the features as float32; rows by date and instrument.
    """
    bars = market.bars(columns.fields, columns.window, *span)
    _write_days(bars, columns, range(int(np.searchsorted(bars.dates, span[0])), len(bars.dates)), out, progress)


def training_bars(
    market: Market, fields: Sequence[str], more: Sequence[str], segment: tuple[date, date], without: Sequence[str]
) -> tuple[Bars, int] | None:
    """(bars of the training segment and of the day before it, position of its first day); None without such days.

    `more` are fields that come after `fields`, unless the market data lack them; `without` are codes that are left out.
    """
    calendar = market.provider.calendar
    inside = calendar[(calendar >= np.datetime64(segment[0], "D")) & (calendar <= np.datetime64(segment[1], "D"))]
    # A day outside of the market is no suspension: of every stock all days count.
    stocks: Universe = {code: None for code in market.universe if code not in without}
    if not len(inside) or not stocks:
        return None
    stocks_only = replace(market, universe=stocks, rows=(None, None))
    try:
        bars = stocks_only.bars([*fields, *more], 2, inside[0], inside[-1])
    except RefusalError:
        bars = stocks_only.bars(fields, 2, inside[0], inside[-1])
    return bars, int(np.searchsorted(bars.dates, inside[0]))


def sampled_days(
    days: npt.NDArray[np.datetime64], stocks: int, rows: int = _SAMPLED_ROWS, most: int | None = None
) -> npt.NDArray[np.datetime64]:
    """Some of `days`, evenly spread: as many as have `rows` rows of so many stocks, at least 8, `most` at most."""
    count = min(max(rows // max(1, stocks), 8), len(days), len(days) if most is None else most)
    chosen: npt.NDArray[np.datetime64] = days[np.linspace(0, len(days) - 1, count).round().astype(int)]
    return chosen


def write_alpha_days(
    market: Market,
    columns: AlphaColumns,
    days: npt.NDArray[np.datetime64],
    rows: Callable[[Sequence[str], npt.NDArray[np.datetime64]], npt.NDArray[np.bool_]],
    out: Path,
    progress: Progress,
) -> None:
    """Write the alpha columns of some days, as `write_alpha_values`; `rows` says of stocks and days which are written.

    Raises RefusalError ``provider.day`` where a day is not in the market data.
    """
    bars = market.bars(columns.fields, columns.window, days[0], days[-1])
    bars = replace(bars, present=bars.present & rows(bars.instruments, bars.dates))
    _write_days(bars, columns, np.searchsorted(bars.dates, days).tolist(), out, progress)


def training_days(
    market: Market, columns: AlphaColumns, segment: tuple[date, date] | None, rows: int
) -> tuple[Bars, list[int]]:
    """The bars of the training segment (None: of all days) with the days that its windows need, and some of its days.

    As many days, evenly spread, as have `rows` rows, at least 8, at most 64, by their place in the bars.  Raises
    RefusalError ``provider.day`` where the market data have no day of the segment, and what `Market.bars` raises.
    """
    calendar = market.provider.calendar
    first, last = (np.datetime64(day, "D") for day in segment) if segment is not None else (calendar[0], calendar[-1])
    inside = calendar[(calendar >= first) & (calendar <= last)]
    if not len(inside):
        raise RefusalError("provider.day", "the market data have no day of the training segment")
    bars = market.bars(columns.fields, columns.window, inside[0], inside[-1])
    chosen: list[int] = np.searchsorted(bars.dates, sampled_days(inside, len(bars.instruments), rows, 64)).tolist()
    return bars, chosen


def _write_days(bars: Bars, columns: AlphaColumns, days: Sequence[int], out: Path, progress: Progress) -> None:
    schema = pa.schema(
        [("datetime", pa.date32()), ("instrument", pa.string()), *((name, pa.float32()) for name in columns.features)]
    )
    with pq.ParquetWriter(out, schema, compression="zstd", use_dictionary=["datetime", "instrument"]) as writer:
        for start in range(0, len(days), _DAYS_PER_GROUP):
            group = days[start : start + _DAYS_PER_GROUP]
            progress(f"computing the alpha features from bars, {bars.dates[group[-1]]}")
            writer.write_table(pa.concat_tables([_day_table(bars, columns, day, schema) for day in group]))


def _day_table(bars: Bars, columns: AlphaColumns, day: int, schema: pa.Schema) -> pa.Table:
    """The alpha columns of all stocks that have a row on one day."""
    rows = np.flatnonzero(bars.present[:, day])
    values = columns.compute(bars, day, rows)
    keys = [
        dates_array(np.full(len(rows), bars.dates[day])),
        pa.array([bars.instruments[row] for row in rows], pa.string()),
    ]
    return pa.Table.from_arrays([*keys, *(pa.array(values[:, n]) for n in range(values.shape[1]))], schema=schema)


# --- what the run's handler does with the bars ----------------------------------------------------------------------


def _check_handler(configuration: TaskConfiguration) -> str | tuple[str, ...]:
    """The run's instruments, where its rows are those of the market and its columns those of expressions."""
    handler = configuration.handler
    known = handler.class_name in _HANDLERS
    if not known and handler.class_name not in ("DataHandlerLP", "DataHandler"):
        raise _refused("handler", "the run's data handler is none of qlib's own", handler.class_name)
    _check_arguments(handler.kwargs, handler.class_name)
    if not known:
        _check_loader(handler.kwargs.get("data_loader"))
    given = handler.kwargs.get("instruments")
    if isinstance(given, dict) and not given.get("filter_pipe"):
        given = given.get("market")
    if given is None:
        return _HANDLERS.get(handler.class_name, "all")
    if isinstance(given, str):
        return given
    if isinstance(given, list | tuple) and all(isinstance(name, str) for name in given):
        return tuple(given)
    raise _refused("filters", "the run's stocks were chosen by a filter, which is not re-made", str(given))


def _check_arguments(arguments: Mapping[str, Any], where: str) -> None:
    for key in ("filter_pipe", "inst_processors"):
        if arguments.get(key):
            raise _refused("filters", f"{where} uses {key}, which is not re-made", str(arguments[key]))


def _check_loader(block: Any) -> None:
    """Expressions, or expressions that a factor table is joined to from the left."""
    name = str(block.get("class")) if isinstance(block, dict) else type(block).__name__
    arguments = block.get("kwargs") or {} if isinstance(block, dict) else {}
    _check_arguments(arguments, name)
    last = name.rpartition(".")[2]
    if last == "NestedDataLoader":
        parts = arguments.get("dataloader_l") or ()
        names = [str(part.get("class")).rpartition(".")[2] for part in parts if isinstance(part, dict)]
        if not names or names[0] not in _EXPRESSION_LOADERS or len(names) != len(parts):
            raise _refused("loader", "the run's rows are not those of expressions on the market", ", ".join(names))
        for part in parts:
            if str(part.get("class")).rpartition(".")[2] != "StaticDataLoader":
                _check_loader(part)
    elif last not in _EXPRESSION_LOADERS and not (arguments.get("feature") or arguments.get("alpha158_config")):
        raise _refused("loader", "the run's loader is none that joins expressions with a factor table", name)
    if arguments.get("join", "left") != "left":
        raise _refused("join", f"{name} does not join from the left", str(arguments["join"]))


def _refused(rule: str, message: str, found: str) -> RefusalError:
    return RefusalError(
        f"provider.{rule}",
        message,
        found=found[:200],
        next_step="let qlib compute the raw values with --replay-with, or pass --features",
    )
