"""Ways in which right live tables differ: other forms, more rows, other bases.  None may be refused or warned of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gauntlet.harmful import _constants, _holes, _prices, _scaled, _together
from gauntlet.worlds import KEYS, Frame, Live, Scores, World, arrow, true_features

Random = np.random.Generator


@dataclass(frozen=True)
class Variant:
    """A right table; `expected` scores (None: another base rounds otherwise, it must only score without a word)."""

    live: Live
    expected: Scores | None


Maker = Callable[[World, Random], "Variant | None"]


def _live(world: World, random: Random, source: Frame | None = None) -> Live:
    """The right table of a random day: over the golden days, or with anchors."""
    date = world.dates[int(random.integers(len(world.dates)))]
    place = world.days.get_loc(date)
    history = world.need + int(random.integers(4))
    if random.random() < 0.5:
        history = max(history, place + 1 - world.days.get_loc(world.golden[0]) + int(random.integers(6)))
    return world.live(date, world.bars if source is None else source, history)


def _right(world: World, live: Live) -> Variant:
    return Variant(live, world.true(live.date))


def as_it_is(world: World, random: Random) -> Variant | None:
    """The table itself."""
    return _right(world, _live(world, random))


def another_base(world: World, random: Random) -> Variant | None:
    """Another base of adjustment, where all features are ratios: a constant for each stock."""
    if not world.ratios:
        return None
    if random.random() < 0.5:
        every = sorted(world.bars["instrument"].unique())
        table = {name: 2.0 ** int(random.integers(-4, 8)) for name in every}
        source = _scaled(world.bars, _prices(world.bars), world.bars["instrument"].map(table))
        source = _scaled(source, ["volume"], 1.0 / source["instrument"].map(table))
        return _right(world, _live(world, random, source))
    source = _scaled(world.bars, _prices(world.bars), _constants(world.bars, random))
    return Variant(_live(world, random, source), None)


def _begins_empty(world: World, live: Live, rows: Frame) -> bool:
    """Whether a stock has no value where the days of the score begin: if the training did not know it, such rows may be from
    before its listing, and it is left out."""
    first = world.days[world.days.get_loc(live.date) + 1 - world.need]
    return bool(rows.loc[rows["datetime"] == first, "close"].isna().any())


def more_stocks(world: World, random: Random) -> Variant | None:
    """Stocks beyond those of the training, where no stage looks across them."""
    if world.crossing:
        return None
    live = _live(world, random)
    assert live.bars is not None
    name = str(random.choice(sorted(live.bars["instrument"].unique())))
    rows = live.bars[live.bars["instrument"] == name].assign(instrument=f"SZ300{int(random.integers(1000)):03d}")
    if _begins_empty(world, live, rows):
        return None
    rows = _scaled(rows, _prices(rows), float(random.uniform(0.99, 1.01)))
    return _right(world, replace(live, bars=_together(live.bars, rows)))


def more_history(world: World, random: Random) -> Variant | None:
    """All the history there is."""
    date = world.dates[int(random.integers(len(world.dates)))]
    return _right(world, world.live(date, world.bars, len(world.days)))


def later_days(world: World, random: Random) -> Variant | None:
    """A table that goes on after the date."""
    live = _live(world, random)
    start = live.bars["datetime"].min()  # type: ignore[index]
    return _right(world, replace(live, bars=world.bars[world.bars["datetime"] >= start].reset_index(drop=True)))


def other_row_order(world: World, random: Random) -> Variant | None:
    """Rows in any order."""
    live = _live(world, random)
    assert live.bars is not None
    return _right(world, replace(live, bars=live.bars.sample(frac=1.0, random_state=int(random.integers(2**31)))))


def late_listing(world: World, random: Random) -> Variant | None:
    """A stock whose series begins within the table."""
    if world.crossing:
        return None
    live = _live(world, random)
    assert live.bars is not None
    days = sorted(live.bars["datetime"].unique())
    name = str(random.choice(sorted(live.bars["instrument"].unique())))
    begin = days[-int(random.integers(1, len(days)))]
    rows = live.bars[(live.bars["instrument"] == name) & (live.bars["datetime"] >= begin)]
    if not len(rows) or np.isnan(rows["close"].iloc[0]) or _begins_empty(world, live, rows):
        return None
    return _right(world, replace(live, bars=_together(live.bars, rows.assign(instrument="SH605123"))))


def suspended_without_rows(world: World, random: Random) -> Variant | None:
    """Suspended days have no row, as most vendors give them; one on the first day says that the stock was there before."""
    live = _live(world, random)
    assert live.bars is not None
    bars = live.bars
    holes = _holes(bars) & (bars["datetime"] > bars["datetime"].min())
    if not holes.any():
        return None
    expected = world.true(live.date)
    gone = set(bars["instrument"][holes & (bars["datetime"] == live.date)])
    # Trees score a stock without a value of bars too where it has other features; without a row it is none.
    expected = {name: score for name, score in expected.items() if name not in gone}
    return Variant(replace(live, bars=bars[~holes].reset_index(drop=True)), expected)


def only_anchors(world: World, random: Random) -> Variant | None:
    """As little history as the model needs, without golden days, once the source has its anchors."""
    dates = [date for date in world.dates if world.days[world.days.get_loc(date) + 1 - world.need] > world.golden[1]]
    if not dates:
        return None
    date = dates[int(random.integers(len(dates)))]
    return _right(world, world.live(date, world.bars, world.need))


def double_bars(world: World, random: Random) -> Variant | None:
    """Bars in double, of equal value."""
    live = _live(world, random)
    assert live.bars is not None
    columns = [name for name in live.bars.columns if name not in KEYS]
    return _right(world, replace(live, bars=live.bars.astype(dict.fromkeys(columns, np.float64))))


def other_columns(world: World, random: Random) -> Variant | None:
    """Columns in another order, more of them, with dollar signs."""
    live = _live(world, random)
    assert live.bars is not None
    bars = live.bars.assign(name="somebody", turnover=1.0, paused=False)
    if random.random() < 0.5:
        bars = bars.rename(columns={name: f"${name}" for name in world.fields})
    order = random.permutation(np.array(bars.columns)).tolist()
    return _right(world, replace(live, bars=bars[order]))


def other_encoding(world: World, random: Random) -> Variant | None:
    """The same values in other Arrow layouts: dictionaries, large and view strings, chunks, slices, other dates."""
    live = _live(world, random)
    choice = int(random.integers(9))

    def encode(frame: Frame) -> Any:
        table = arrow(frame)
        names = table.column("instrument")
        dates = table.column("datetime")
        if choice == 0:
            return table.set_column(table.schema.get_field_index("instrument"), "instrument", names.dictionary_encode())
        if choice == 1:
            return table.set_column(
                table.schema.get_field_index("instrument"), "instrument", names.cast(pa.large_string())
            )
        if choice == 2:
            return table.set_column(
                table.schema.get_field_index("instrument"), "instrument", names.cast(pa.string_view())
            )
        if choice == 3:
            return pa.Table.from_batches(table.to_batches(max_chunksize=97))
        if choice == 4:
            head = table.slice(0, min(3, len(table)))
            return pa.concat_tables([head, table]).slice(len(head))
        if choice == 5:
            return frame
        if choice == 6:
            return frame.set_index(KEYS)
        kind = (pa.date32(), pa.timestamp("s"), pa.timestamp("us"), pa.date64())[len(table) % 4]
        if choice == 7:
            return table.set_column(table.schema.get_field_index("datetime"), "datetime", dates.cast(kind))
        encoded = table
        for name in frame.columns:
            if name not in KEYS and pa.types.is_floating(table.schema.field(name).type):
                place = encoded.schema.get_field_index(name)
                encoded = encoded.set_column(place, name, encoded.column(name).dictionary_encode())
        return encoded

    return _right(world, replace(live, encode=encode))


def other_notation(world: World, random: Random) -> Variant | None:
    """Codes in the vendor's notation, which is named."""
    live = _live(world, random)
    assert live.bars is not None

    def form(frame: Frame | None) -> Frame | None:
        if frame is None:
            return None
        return frame.assign(instrument=frame["instrument"].map(lambda name: f"{name[2:]}.{name[:2]}"))

    features = form(live.features) if random.random() < 0.5 else live.features
    changed = replace(
        live, bars=form(live.bars), features=features, anchors=form(live.anchors), options={"instruments_from": "ts"}
    )
    return _right(world, changed)


def with_calendar(world: World, random: Random) -> Variant | None:
    """The exchange's calendar beside the table."""
    live = _live(world, random)
    assert live.bars is not None
    start = live.bars["datetime"].min()
    calendar = world.days[world.days >= start].to_numpy().astype("datetime64[D]")
    return _right(world, replace(live, options={"calendar": calendar}))


def features_alone(world: World, random: Random) -> Variant | None:
    """All features in one table, in any order, with more columns, in double where the training had float32."""
    date = world.dates[int(random.integers(len(world.dates)))]
    steps = world.bundle.pipeline().step_length
    table = true_features(world, date, steps)
    if random.random() < 0.5:
        table = table.sample(frac=1.0, random_state=int(random.integers(2**31)))
    if random.random() < 0.5:
        columns = [name for name in table.columns if name not in KEYS]
        table = table.astype(dict.fromkeys(columns, np.float64))
    return Variant(Live(date, None, table.assign(more=1)), world.true(date))


def features_signed(world: World, random: Random) -> Variant | None:
    """The producer's file of features as it was signed."""
    date = world.dates[int(random.integers(len(world.dates)))]
    table = true_features(world, date, world.bundle.pipeline().step_length)
    return Variant(Live(date, None, table, signed=table), world.true(date))


MAKERS: tuple[Maker, ...] = (
    as_it_is,
    another_base,
    more_stocks,
    more_history,
    later_days,
    other_row_order,
    late_listing,
    suspended_without_rows,
    only_anchors,
    double_bars,
    other_columns,
    other_encoding,
    other_notation,
    with_calendar,
    features_alone,
    features_signed,
)


__all__ = ["MAKERS", "Variant", "pd"]
