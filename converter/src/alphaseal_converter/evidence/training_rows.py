"""The rows that the model was trained on: for the statistics of its features, which a live day is compared with.

qlib's handler loads every day of every stock of the market, joins the factor table from the left, and lets the learn
processors take rows away, such as those without a label.  The factor table itself has other rows: RD-Agent removes from
it those that miss a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alphaseal.arrow.columns import numbers_of
from alphaseal.arrow.number_types import NumberColumn
from alphaseal.plain_text import listed
from alphaseal.tables.feature_files import read_parquet
from alphaseal.tables.features import FeatureBlock
from alphaseal_converter.alphas import compile_alphas
from alphaseal_converter.alphas.ahead import known_later
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.alphas import alpha_columns
from alphaseal_converter.locate.configuration import Component, TaskConfiguration
from alphaseal_converter.market.bars import Market
from alphaseal_converter.processors.kinds import KINDS
from alphaseal_converter.processors.processor import Filling, Processor
from alphaseal_converter.processors.selection import DropnaProcessor

Days = npt.NDArray[np.datetime64]
Mask = npt.NDArray[np.bool_]
Segment = tuple[date, date]

_HANDLERS_WITH_DEFAULTS = ("Alpha158", "Alpha158vwap", "Alpha360", "Alpha360vwap")
"""Theirs are DropnaLabel and CSZScoreNorm of the label, and the label of two days (qlib/contrib/data/handler.py)."""
_DEFAULT_LEARN = (Component("DropnaLabel", None, {}),)
_DEFAULT_LABEL = "Ref($close, -2)/Ref($close, -1) - 1"
_DROPPING_MODELS = frozenset(("LinearModel", "GRU"))
"""Classes of qlib whose `fit` drops rows that still miss a value."""
_FAR = np.timedelta64(31, "D")
"""A file of raw values that begins or ends further from the segment's ends does not hold it."""


@dataclass(frozen=True)
class RowDrops:
    """What takes rows away in training: a missing label, a missing value of `features`; `unknown` classes may too."""

    label: bool = False
    features: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()


def row_drops(
    configuration: TaskConfiguration, fitted: Sequence[Processor], names: Sequence[str], model_class: str
) -> RowDrops:
    """From the processors before the model (as they were fitted), the learn processors and the model's own habit."""
    every = frozenset(names)
    filled: frozenset[str] = frozenset()
    drops = RowDrops()
    for processor in fitted:
        if isinstance(processor, Filling):
            filled = every
        elif isinstance(processor, DropnaProcessor):
            drops = replace(drops, label=drops.label or processor.label)
            if processor.features:
                drops = replace(drops, features=drops.features | (every - filled))
    if configuration.handler.kwargs.get("process_type", "append") != "append":
        # Learn processors see the raw values then, and nothing of what the others took away.
        filled, drops = frozenset(), RowDrops()
    label_filled = False
    for part in _learn_processors(configuration):
        groups = _groups(part)
        kind = KINDS.get(part.class_name)
        if kind is None:
            drops = replace(drops, unknown=(*drops.unknown, part.class_name))
        elif issubclass(kind, DropnaProcessor):
            drops = replace(drops, label=drops.label or ("label" in groups and not label_filled))
            if "feature" in groups:
                drops = replace(drops, features=drops.features | (every - filled))
        elif issubclass(kind, Filling):
            filled = every if "feature" in groups else filled
            label_filled = label_filled or "label" in groups
    if model_class.rpartition(".")[2] in _DROPPING_MODELS:
        drops = replace(drops, label=True, features=drops.features | (every - filled))
    return drops


def _learn_processors(configuration: TaskConfiguration) -> tuple[Component, ...]:
    given = configuration.handler.kwargs.get("learn_processors")
    defaults = given is None and configuration.handler.class_name in _HANDLERS_WITH_DEFAULTS
    return _DEFAULT_LEARN if defaults else configuration.learn_processors


def _groups(part: Component) -> frozenset[str]:
    """The groups of columns that a processor looks at; None is all of them."""
    group = part.kwargs.get("fields_group", "label" if part.class_name == "DropnaLabel" else None)
    if group is None:
        return frozenset(("feature", "label"))
    return frozenset(group) if isinstance(group, list | tuple) else frozenset((str(group),))


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """`chosen` bool [stocks, days]: the rows of `instruments` on `dates` (datetime64[D], ascending); `words` say which."""

    dates: Days
    instruments: tuple[str, ...]
    chosen: Mask
    words: str

    def of(self, instruments: Sequence[str], dates: Days) -> Mask:
        """bool [stocks, days] of other stocks and days, those that are not here False."""
        place = {name: number for number, name in enumerate(self.instruments)}
        found: Mask = np.zeros((len(instruments), len(dates)), np.bool_)
        stocks = np.array([number for number, name in enumerate(instruments) if name in place], np.int64)
        days = np.flatnonzero(np.isin(dates, self.dates))
        there = self.chosen[[place[instruments[number]] for number in stocks]]
        found[np.ix_(stocks, days)] = there[:, np.searchsorted(self.dates, dates[days])]
        return found

    def days(self) -> npt.NDArray[np.int64]:
        """The place in `dates` of each row, in the order of `joined`."""
        places: npt.NDArray[np.int64] = np.nonzero(self.chosen)[1]
        return places

    def joined(self, path: Path, feature: NumberColumn) -> npt.NDArray[np.float64]:
        """Values [rows] of a column of a table, NaN where it lacks the row, as after a join from the left.

        Raises InputError `features.date_absent` where the table has no row of the days, and what `read_parquet` raises.
        """
        block = read_parquet(path, [feature], dates=(self.dates[0], self.dates[-1]))
        grid = np.full(self.chosen.shape, np.nan)
        stock, day = _places(block, self.instruments, self.dates)
        here = (stock >= 0) & (day >= 0)
        grid[stock[here], day[here]] = block.values[here, 0]
        values: npt.NDArray[np.float64] = grid[self.chosen]
        return values


def _places(
    block: FeatureBlock, instruments: Sequence[str], dates: Days
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(stock, day) of each row, -1 where there is none."""
    place = {name: number for number, name in enumerate(instruments)}
    encoded = block.instruments.dictionary_encode()
    codes = numbers_of(encoded.indices, np.dtype(np.int32))
    stocks = np.array([place.get(name, -1) for name in encoded.dictionary.to_pylist()], np.int64)
    day = np.searchsorted(dates, block.dates)
    day[day == len(dates)] = 0
    return stocks[codes], np.where(dates[day] == block.dates, day, -1)


def rows_of_market(
    market: Market, fields: Sequence[str], configuration: TaskConfiguration, segment: Segment, drops: RowDrops
) -> TrainingRows:
    """The market's rows of the training segment without those that miss a label, as far as labels can be computed.

    Raises RefusalError ``provider.*``; `fields` are columns of bars that the run reads.
    """
    calendar = market.provider.calendar
    first, last = (np.datetime64(end, "D") for end in segment)
    inside = calendar[(calendar >= first) & (calendar <= last)]
    if not len(inside):
        raise RefusalError("provider.day", "the market data have no day of the training segment")
    bars = market.bars(fields, 1, inside[0], inside[-1])
    chosen, words = bars.present, "the rows of the run's market"
    if drops.label:
        try:
            chosen = chosen & _labelled(market, _labels(configuration), inside).of(bars.instruments, bars.dates)
            words += " that have a label"
        except RefusalError as refusal:
            words += f", also those without a label, which cannot be told ({refusal.message})"
    return TrainingRows(bars.dates, bars.instruments, chosen, words + _maybe(drops))


def rows_of_file(
    path: Path, feature: NumberColumn, configuration: TaskConfiguration, segment: Segment, drops: RowDrops
) -> TrainingRows:
    """The rows of the training segment in a file of the run's raw values, of which `feature` is a column.

    Raises InputError `features.date_absent` where it has none, RefusalError ``statistics.days`` where it does not hold
    the segment, and what `read_parquet` raises.
    """
    first, last = (np.datetime64(end, "D") for end in segment)
    if configuration.start is not None:
        first = max(first, np.datetime64(configuration.start, "D"))
    words = "all rows of the training segment" + (", also those without a label" if drops.label else "")
    rows = rows_of_block(read_parquet(path, [feature], dates=(first, last)), words + _maybe(drops))
    dates = rows.dates
    if dates[0] - first > _FAR or last - dates[-1] > _FAR or 2 * len(dates) < np.busday_count(first, last):
        raise RefusalError(
            "statistics.days",
            f"it holds {len(dates)} days of the training segment, from {dates[0]} to {dates[-1]}",
            expected=f"the days from {first} to {last}",
        )
    return rows


def rows_of_block(block: FeatureBlock, words: str) -> TrainingRows:
    """The rows of a block, and nothing else."""
    dates, names = np.unique(block.dates), tuple(sorted(set(block.instruments.to_pylist())))
    chosen = np.zeros((len(names), len(dates)), np.bool_)
    chosen[_places(block, names, dates)] = True
    return TrainingRows(dates, names, chosen, words)


def _maybe(drops: RowDrops) -> str:
    return f" ({listed(drops.unknown)} may have left some out)" if drops.unknown else ""


def _labels(configuration: TaskConfiguration) -> list[str]:
    given = [label.expression for label in configuration.labels]
    if not given and configuration.handler.class_name in _HANDLERS_WITH_DEFAULTS:
        given = [_DEFAULT_LABEL]
    if not given:
        raise RefusalError("statistics.label", "the run does not record its label")
    return given


def _labelled(market: Market, labels: Sequence[str], days: Days) -> TrainingRows:
    """The rows on which no label is missing; RefusalError where an expression cannot be computed."""
    parts = [_with_value(market, text, days) for text in labels]
    first = parts[0]
    chosen = np.logical_and.reduce([part.of(first.instruments, days) for part in parts])
    return replace(first, chosen=chosen)


def _with_value(market: Market, label: str, days: Days) -> TrainingRows:
    """The rows on which a label has a value: computed from the bars of the days that it looks ahead to."""
    text, ahead = known_later(label)
    compiled = compile_alphas({"label": text})
    columns = alpha_columns(compiled)
    if columns is None:
        raise RefusalError("statistics.label", compiled.not_compiled["label"])
    calendar = market.provider.calendar
    end = min(int(np.searchsorted(calendar, days[-1])) + ahead, len(calendar) - 1)
    bars = market.bars(columns.fields, columns.window, days[0], calendar[end])
    everyone = np.arange(len(bars.instruments))
    chosen = np.zeros((len(everyone), len(days)), np.bool_)
    for place, day in enumerate(np.searchsorted(bars.dates, days) + ahead):
        if day < len(bars.dates):
            chosen[:, place] = ~np.isnan(columns.compute(bars, int(day), everyone)[:, 0])
    return TrainingRows(days, bars.instruments, chosen, "")
