"""A bundle, the market behind it, and a live table of it as it truly is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

import alphaseal
from alphaseal.bars.calendar import Bars
from alphaseal.bundle import Bundle
from alphaseal.scoring.numeric import outside
from alphaseal.tables.features import FeatureBlock
from live_market import INDEX, LIVE_DAY, RUN_ENDS, RUNS, build_run, later_scores, market_table, write_provider

Frame: TypeAlias = pd.DataFrame
Transform = Callable[[Frame], Frame]
Scores = dict[str, float]
KEYS = ["datetime", "instrument"]
PRICES = ("open", "high", "low", "close", "vwap")


@dataclass(frozen=True, eq=False)
class Live:
    """What a user hands over on a day: bars, features of the day, and bars of the golden days from the same source.

    Frames have `datetime` and `instrument` as columns.  `encode` makes an Arrow table of a frame; `golden` says whether
    the bars reach back over the golden days.
    """

    date: pd.Timestamp
    bars: Frame | None
    features: Frame | None
    anchors: Frame | None = None
    golden: bool = False
    encode: Callable[[Frame], Any] = field(default=lambda frame: arrow(frame))  # noqa: PLW0108 - it stands below
    options: Mapping[str, Any] = field(default_factory=dict)
    signed: Frame | None = None
    """The features that the producer signed, where the caller asks for the signature."""
    right: Frame | None = None
    """The bars as they ought to be, where they are others than the market's."""

    @property
    def form(self) -> str:
        """What shows the units: "golden" days in the table, "anchors", both, "bare", or a table of "features"."""
        if self.bars is None:
            return "features" if self.signed is None else "signed features"
        return "+".join(["golden"] * self.golden + ["anchors"] * (self.anchors is not None)) or "bare"


def arrow(frame: Frame) -> pa.Table:
    """An Arrow table of a frame whose dates are dates."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    place = table.schema.get_field_index("datetime")
    if (
        place >= 0
        and pa.types.is_timestamp(table.schema.field(place).type)
        and table.schema.field(place).type.tz is None
    ):
        table = table.set_column(place, "datetime", table.column(place).cast(pa.timestamp("ns")))
    return table


@dataclass(frozen=True, eq=False)
class World:
    """`bars`: every row of the market's stocks, `index`: rows of the benchmark, `features`: what bars do not give.

    `recorded`: qlib's own scores, by date.  `dates`: days that can be asked for.  `ratios`: all features of bars are free
    of units.  `crossing`: a stage looks across stocks.
    """

    name: str
    bundle: Bundle
    bars: Frame
    index: Frame
    features: Frame | None
    recorded: Mapping[pd.Timestamp, Scores]
    ratios: bool
    crossing: bool

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields that the graph reads."""
        return self.bundle.alphas().columns.fields

    @cached_property
    def need(self) -> int:
        """Days of bars that a score needs."""
        return self.bundle.alphas().columns.window + self.bundle.pipeline().step_length - 1

    @cached_property
    def days(self) -> pd.DatetimeIndex:
        """The market's trading days."""
        return pd.DatetimeIndex(sorted(self.bars["datetime"].unique()))

    @cached_property
    def dates(self) -> list[pd.Timestamp]:
        """Days with recorded scores and enough history."""
        return [date for date in sorted(self.recorded) if self.days.get_loc(date) + 1 >= self.need]

    @cached_property
    def golden(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        """First and last day of the golden bars."""
        dates = self.bundle.alphas().golden.dates
        return pd.Timestamp(dates[0]), pd.Timestamp(dates[-1])

    @cached_property
    def golden_stocks(self) -> list[str]:
        """Stocks of the golden bars."""
        return sorted(set(self.bundle.alphas().golden.instruments.to_pylist()))

    def right(self, live: Live) -> Scores:
        """The right scores of the day of a live table."""
        if live.right is None:
            return self.true(live.date)
        scores = plain_scores(self, replace(live, bars=live.right))
        assert scores is not None
        return scores

    def true(self, date: pd.Timestamp) -> Scores:
        """The right scores of a day: of the bars as they are."""
        if date not in self._true:
            scores = plain_scores(self, self.live(date, self.bars, self.need))
            assert scores is not None
            self._true[date] = scores
        return self._true[date]

    @cached_property
    def _true(self) -> dict[pd.Timestamp, Scores]:
        return {}

    def live(self, date: pd.Timestamp, source: Frame, history: int, features: Frame | None = None) -> Live:
        """`history` days of a source of bars up to the date, its bars of the golden days, and the day's features."""
        place = self.days.get_loc(date)
        start = self.days[max(0, place + 1 - history)]
        bars = source[(source["datetime"] >= start) & (source["datetime"] <= date)]
        first, last = self.golden
        anchors = source[source["datetime"].between(first, last) & source["instrument"].isin(self.golden_stocks)]
        given = self.features if features is None else features
        if given is not None:
            steps = self.bundle.pipeline().step_length
            since = self.days[place + 1 - steps]
            given = given[(given["datetime"] >= since) & (given["datetime"] <= date)].reset_index(drop=True)
        return Live(
            date,
            bars.reset_index(drop=True),
            given,
            anchors.reset_index(drop=True),
            golden=bool(start <= first <= date),
        )

    def check(self) -> int:
        """The right scores are qlib's own on every day; how many were compared.

        qlib also scores stocks without a single value on the day; a bundle leaves them out.
        """
        count = 0
        for date in self.dates:
            true, recorded = self.true(date), self.recorded[date]
            day = self.bars[self.bars["datetime"] == date].set_index("instrument").drop(columns="datetime")
            empty = set(day.index[day.isna().all(axis=1)])
            assert set(true) <= set(recorded), (self.name, date)
            assert set(recorded) - set(true) <= empty, (self.name, date)
            names = sorted(true)
            both = [np.array([scores[name] for name in names]) for scores in (true, recorded)]
            assert not outside(self.bundle.manifest.parity.bound, *both).any(), (self.name, date)
            count += len(names)
        return count


def plain_scores(world: World, live: Live) -> Scores | None:
    """What the graphs make of a table without any guard; None where the table has no reading at all.

    This is the reference of the gauntlet, so it reads the frame by itself and only computes with the runtime's graphs.
    """
    bundle, date = world.bundle, live.date
    bars = _matrix(live.bars, world.fields) if live.bars is not None else None
    if live.bars is not None and bars is None:
        return None
    names = [feature.name for feature in bundle.manifest.features]
    alphas = bundle.alphas().columns
    steps = bundle.pipeline().step_length
    if bars is None:
        return _from_features(world, live, names)
    dates, stocks, values, present = bars
    if np.datetime64(date, "D") not in dates:
        return None
    day = int(np.searchsorted(dates, np.datetime64(date, "D")))
    if day + 1 < alphas.window + steps - 1:
        return None
    rows = Bars(dates, tuple(stocks), values, present.argmax(axis=1), present)
    listed = rows.listed()
    blocks = []
    for step in range(day + 1 - steps, day + 1):
        here = np.flatnonzero(listed[:, step])
        matrix = np.full((len(here), len(names)), np.nan)
        matrix[:, [names.index(name) for name in alphas.features]] = alphas.compute(rows, step, here)
        blocks.append((dates[step], [stocks[place] for place in here], matrix, present[here, step]))
    rest = [name for name in names if name not in alphas.features]
    if rest:
        if live.features is None or not set(rest) <= set(live.features.columns):
            return None
        given = live.features
        if given.duplicated(KEYS).any():
            return None
        try:
            table = given.set_index(KEYS)[rest].astype(np.float64)
        except (TypeError, ValueError):
            return None
        for when, held, matrix, _ in blocks:
            index = pd.MultiIndex.from_product([[pd.Timestamp(when)], held])
            matrix[:, [names.index(name) for name in rest]] = _cast(bundle, rest, table.reindex(index).to_numpy())
    return _scored(world, blocks)


def _cast(bundle: Bundle, names: Sequence[str], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    dtypes = {feature.name: feature.dtype for feature in bundle.manifest.features}
    values = values.copy()
    for place, name in enumerate(names):
        if dtypes[name] == "float32":
            values[:, place] = values[:, place].astype(np.float32)
    return values


def _from_features(world: World, live: Live, names: list[str]) -> Scores | None:
    given = live.features
    if given is None or not set(names) <= set(given.columns) or given.duplicated(KEYS).any():
        return None
    try:
        values = given[names].astype(np.float64).to_numpy()
    except (TypeError, ValueError):
        return None
    values = _cast(world.bundle, names, values)
    blocks = []
    for when, rows in given.reset_index(drop=True).groupby("datetime"):
        held = rows["instrument"].astype(str).tolist()
        order = np.argsort(held)
        blocks.append(
            (np.datetime64(when, "D"), [held[n] for n in order], values[rows.index][order], np.ones(len(held), bool))
        )
    blocks = [block for block in blocks if block[0] <= np.datetime64(live.date, "D")]
    steps = world.bundle.pipeline().step_length
    if len(blocks) < steps or blocks[-1][0] != np.datetime64(live.date, "D"):
        return None
    return _scored(world, blocks[-steps:])


def _scored(
    world: World, blocks: list[tuple[Any, list[str], npt.NDArray[np.float64], npt.NDArray[np.bool_]]]
) -> Scores:
    dates = np.concatenate([np.full(len(held), when, "datetime64[D]") for when, held, _, _ in blocks])
    instruments = [name for _, held, _, _ in blocks for name in held]
    values = np.concatenate([matrix for _, _, matrix, _ in blocks])
    block = FeatureBlock(dates, pa.array(instruments, pa.string()), values, ())
    calendar = np.array([when for when, _, _, _ in blocks])
    rows, scores = world.bundle.pipeline().run(block, calendar[-1], calendar)
    given = np.concatenate([there for _, _, _, there in blocks])
    empty = np.isnan(values).all(axis=1)
    return {
        instruments[row]: float(score)
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
        if given[row] and not empty[row] and np.isfinite(score)
    }


def _matrix(
    frame: Frame, fields: Sequence[str]
) -> tuple[npt.NDArray[np.datetime64], list[str], npt.NDArray[np.float32], npt.NDArray[np.bool_]] | None:
    """(dates, stocks, float32 [stocks, days, fields], bool [stocks, days]) of a frame of bars; None where it has none."""
    try:
        columns = [frame[name if name in frame.columns else f"${name}"] for name in fields]
        values = np.stack([np.asarray(column.astype(np.float64)) for column in columns], axis=1).astype(np.float32)
        when = pd.DatetimeIndex(frame["datetime"]).tz_localize(None).to_numpy().astype("datetime64[D]")
        names = frame["instrument"].astype(str).to_numpy()
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    dates, day = np.unique(when, return_inverse=True)
    stocks, stock = np.unique(names, return_inverse=True)
    keys = stock * len(dates) + day
    if len(np.unique(keys)) < len(keys) or values.ndim != 2:
        return None
    matrix = np.full((len(stocks), len(dates), len(fields)), np.nan, np.float32)
    matrix[stock, day] = values
    present = np.zeros(matrix.shape[:2], bool)
    present[stock, day] = True
    return dates, stocks.tolist(), matrix, present


def true_features(world: World, date: pd.Timestamp, days: int = 1) -> Frame:
    """All features of the model on `days` days up to a date, as the training would have had them."""
    parts = []
    names = [feature.name for feature in world.bundle.manifest.features]
    alphas = world.bundle.alphas().columns
    place = world.days.get_loc(date)
    matrix = _matrix(world.bars[world.bars["datetime"] <= date], world.fields)
    assert matrix is not None
    dates, stocks, values, present = matrix
    rows = Bars(dates, tuple(stocks), values, present.argmax(axis=1), present)
    for day in range(place + 1 - days, place + 1):
        here = np.flatnonzero(present[:, day])
        frame = pd.DataFrame({"datetime": world.days[day], "instrument": [stocks[n] for n in here]})
        computed = alphas.compute(rows, day, here)
        for number, name in enumerate(alphas.features):
            frame[name] = computed[:, number]
        parts.append(frame)
    result = pd.concat(parts, ignore_index=True)
    rest = [name for name in names if name not in alphas.features]
    if rest:
        assert world.features is not None
        result = result.merge(world.features[[*KEYS, *rest]], on=KEYS, how="left")
    return result[[*KEYS, *names]]


def live_worlds(directory: Path, runs: Sequence[str] = RUNS) -> list[World]:
    """The runs of `data/live_day` as worlds: bundles below `directory`, built when the market's days went up to RUN_ENDS."""
    provider = write_provider(directory / "provider", RUN_ENDS)
    market = market_table().sort_values(KEYS, ignore_index=True)
    index = market["instrument"] == INDEX
    return [
        _world(run, opened(build_run(run, directory / run, provider)), market[~index], market[index]) for run in runs
    ]


def _world(run: str, bundle: Bundle, bars: Frame, index: Frame) -> World:
    table, features = LIVE_DAY / run / "combined_factors_df.parquet", None
    if table.is_file():
        features = pd.read_parquet(table)
        features = features.set_axis([name[-1] for name in features.columns], axis=1).reset_index()
    return World(
        name=run,
        bundle=bundle,
        bars=bars.reset_index(drop=True),
        index=index.reset_index(drop=True),
        features=features,
        recorded=later_scores(run),
        ratios=all(not unit.seen_by for unit in (bundle.alphas().description.units or {}).values()),
        crossing=bundle.pipeline().needs_whole_day,
    )


def opened(bundle: Path) -> Bundle:
    """A bundle without signatures."""
    return alphaseal.open(bundle, trust=alphaseal.Trust.unsigned())
