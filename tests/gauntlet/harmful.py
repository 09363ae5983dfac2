"""Ways in which a live table goes wrong: what vendors, programs and people do to bars and features.

A kind is of the *source* (every table that it ever gives is so, those of the golden days too), of the *table* of one day,
or of the *features*.  Each takes a frame and gives a changed one, or None where this market and day have nothing to change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from alphaseal.advice.fills import LEAST_ROWS
from alphaseal.tables.chance import most_by_chance
from gauntlet.worlds import KEYS, PRICES, Frame, Live, World, arrow, true_features

Random = np.random.Generator
SourceKind = Callable[[World, Frame, Random], Frame | None]
TableKind = Callable[[World, Live, Random], Live | None]


@dataclass(frozen=True)
class Kind:
    """One way to go wrong; `of` is "source", "table" or "features"."""

    name: str
    of: str
    make: Callable[..., Any]


def _prices(frame: Frame) -> list[str]:
    return [name for name in PRICES if name in frame.columns]


def _fields(frame: Frame) -> list[str]:
    return [name for name in frame.columns if name not in KEYS]


def _some(frame: Frame, random: Random, least: int = 1) -> list[str]:
    """Some stocks, not all."""
    names = sorted(frame["instrument"].unique())
    count = int(random.integers(least, max(least + 1, len(names) // 2 + 1)))
    return sorted(random.choice(names, min(count, len(names) - 1), replace=False).tolist())


def _scaled(frame: Frame, columns: list[str], factor: pd.Series | float) -> Frame:
    frame = frame.copy()
    for name in columns:
        frame[name] = (frame[name].astype(np.float64) * factor).astype(np.float32)
    return frame


def _constants(frame: Frame, random: Random, names: list[str] | None = None, width: float = 1.0) -> pd.Series:
    """A constant for each of `names` (all: None), 1 for the others, as a column of the frame's rows."""
    every = sorted(frame["instrument"].unique())
    factors = np.exp(random.normal(0.0, width, len(every)))
    chosen = set(every if names is None else names)
    table = {name: factor if name in chosen else 1.0 for name, factor in zip(every, factors, strict=True)}
    return frame["instrument"].map(table).astype(np.float64)


# --- of the source: units and scales ----------------------------------------------------------------------------------


def prices_per_stock(world: World, bars: Frame, random: Random) -> Frame | None:
    """Prices in yuan where the training had normalised ones: a constant for each stock."""
    return _scaled(bars, _prices(bars), _constants(bars, random))


def prices_common(world: World, bars: Frame, random: Random) -> Frame | None:
    """Prices in another unit: fen, a currency, a thousandth."""
    return _scaled(bars, _prices(bars), float(random.choice([100.0, 0.01, 0.001, 7.1, 1.1, 0.5])))


def prices_of_some(world: World, bars: Frame, random: Random) -> Frame | None:
    """Scales that are mixed between stocks: some are normalised, some are not."""
    names = _some(bars, random)
    if random.random() < 0.5:
        return _scaled(bars, _prices(bars), _constants(bars, random, names))
    factor = float(random.choice([100.0, 10.0, 0.1]))
    return _scaled(bars, _prices(bars), bars["instrument"].map(lambda name: factor if name in names else 1.0))


def one_price_scaled(world: World, bars: Frame, random: Random) -> Frame | None:
    """One price in another unit than the others."""
    used = [name for name in _prices(bars) if name in world.fields]
    return _scaled(bars, [str(random.choice(used))], float(random.choice([100.0, 0.01, 1.02]))) if used else None


def volume_in_lots(world: World, bars: Frame, random: Random) -> Frame | None:
    """Volume in lots of 100, in thousands, or in shares where the training had lots."""
    return _scaled(bars, ["volume"], float(random.choice([0.01, 0.001, 100.0, 1000.0, 0.0001])))


def volume_per_stock(world: World, bars: Frame, random: Random) -> Frame | None:
    """Volume times a constant for each stock: traded shares where the training had adjusted ones."""
    return _scaled(bars, ["volume"], _constants(bars, random))


def volume_of_some(world: World, bars: Frame, random: Random) -> Frame | None:
    """Volume in lots for some stocks: one exchange in lots, the other in shares."""
    names = [name for name in bars["instrument"].unique() if name.startswith(str(random.choice(["SH", "SZ"])))]
    factor = float(random.choice([0.01, 100.0]))
    return _scaled(bars, ["volume"], bars["instrument"].map(lambda name: factor if name in names else 1.0))


# --- of the source: columns, dates, adjustment --------------------------------------------------------------------------


def columns_swapped(world: World, bars: Frame, random: Random) -> Frame | None:
    """Two columns under each other's name."""
    pairs = [("open", "close"), ("high", "low"), ("close", "vwap"), ("open", "low"), ("close", "volume")]
    used = [pair for pair in pairs if set(pair) <= set(bars.columns) and set(pair) & set(world.fields)]
    first, second = used[int(random.integers(len(used)))]
    return bars.rename(columns={first: second, second: first})[list(bars.columns)]


def dates_late(world: World, bars: Frame, random: Random) -> Frame | None:
    """Every bar under the date of the next trading day."""
    following = dict(zip(world.days[:-1], world.days[1:], strict=True))
    shifted = bars[bars["datetime"] != world.days[-1]].copy()
    shifted["datetime"] = shifted["datetime"].map(following)
    return shifted


def dates_a_calendar_day_off(world: World, bars: Frame, random: Random) -> Frame | None:
    """Midnight of the exchange in another zone, cut to a date: the day before (or after), weekends and all."""
    shifted = bars.copy()
    shifted["datetime"] = shifted["datetime"] + pd.Timedelta(days=int(random.choice([-1, 1])))
    return shifted


def unadjusted_split(world: World, bars: Frame, random: Random) -> Frame | None:
    """Splits, or the reverse of one, within the window that nobody adjusted: prices before differ by the ratio."""
    changed = bars
    for name in _some(bars, random):
        day = world.days[int(random.integers(len(world.days) - 60, len(world.days)))]
        ratio = float(random.choice([2.0, 1.5, 3.0, 10.0, 0.2, 0.5]))
        before = (bars["instrument"] == name) & (bars["datetime"] < day)
        changed = _scaled(changed, _prices(bars), np.where(before, ratio, 1.0))
        changed = _scaled(changed, ["volume"], np.where(before, 1.0 / ratio, 1.0))
    return changed


def restated(world: World, bars: Frame, random: Random) -> Frame | None:
    """Front adjustment where the training had another one: each stock's history restated from its newest day."""
    newest = bars["datetime"].map(dict.fromkeys(world.days, 1.0))
    factors = bars["instrument"].map({name: 1.0 / random.uniform(1.05, 3.0) for name in bars["instrument"].unique()})
    return _scaled(bars, _prices(bars), factors * newest)


def whole_numbers(world: World, bars: Frame, random: Random) -> Frame | None:
    """Prices without their decimals."""
    changed = bars.copy()
    for name in _prices(bars):
        changed[name] = np.round(changed[name] * 10.0)
    return changed


# --- of a table: fills -------------------------------------------------------------------------------------------------


def _holes(bars: Frame) -> pd.Series:
    return bars[_fields(bars)].isna().all(axis=1)


def _filled(live: Live, fill: Callable[[Frame], Frame], random: Random) -> Live | None:
    """Bars whose suspended days are filled, of all stocks, of some, or single days."""
    bars = live.bars
    assert bars is not None
    holes = _holes(bars)
    if not holes.any():
        return None
    changed = fill(bars.sort_values(["instrument", "datetime"])).sort_values(KEYS)
    chosen = holes.copy()
    draw = random.random()
    if draw < 0.3:
        names = random.choice(sorted(bars["instrument"][holes].unique()), 1)
        chosen &= bars["instrument"].isin(names)
    elif draw < 0.6:
        chosen &= random.random(len(bars)) < 0.5
    ordered = bars.sort_values(KEYS)
    kept = changed.where(chosen.loc[ordered.index], ordered, axis=0)
    kept[KEYS] = ordered[KEYS]
    return replace(live, bars=kept.reset_index(drop=True))


def filled_forward(world: World, live: Live, random: Random) -> Live | None:
    """Suspended days filled with the bar of the day before."""

    def fill(bars: Frame) -> Frame:
        bars[_fields(bars)] = bars.groupby("instrument")[_fields(bars)].ffill()
        return bars

    return _filled(live, fill, random)


def filled_without_volume(world: World, live: Live, random: Random) -> Live | None:
    """Suspended days with the prices of the day before and a volume of 0."""

    def fill(bars: Frame) -> Frame:
        hole = _holes(bars)
        bars[_fields(bars)] = bars.groupby("instrument")[_fields(bars)].ffill()
        bars.loc[hole, "volume"] = np.float32(0)
        return bars

    return _filled(live, fill, random)


def filled_with_close(world: World, live: Live, random: Random) -> Live | None:
    """Suspended days with the last close as every price and a volume of 0, as some terminals draw them."""

    def fill(bars: Frame) -> Frame:
        hole = _holes(bars)
        bars[_fields(bars)] = bars.groupby("instrument")[_fields(bars)].ffill()
        for name in _prices(bars):
            bars.loc[hole, name] = bars.loc[hole, "close"]
        bars.loc[hole, "volume"] = np.float32(0)
        return bars

    return _filled(live, fill, random)


def filled_with_zero(world: World, live: Live, random: Random) -> Live | None:
    """Missing values as 0: all fields, or the volume alone."""

    def fill(bars: Frame) -> Frame:
        columns = _fields(bars) if random.random() < 0.6 else ["volume"]
        bars[columns] = bars[columns].fillna(np.float32(0))
        return bars

    return _filled(live, fill, random)


def filled_between(world: World, live: Live, random: Random) -> Live | None:
    """Missing values interpolated."""

    def fill(bars: Frame) -> Frame:
        bars[_fields(bars)] = bars.groupby("instrument")[_fields(bars)].transform(
            lambda column: column.interpolate(limit_direction="both")
        )
        return bars

    return _filled(live, fill, random)


def filled_before_listing(world: World, live: Live, random: Random) -> Live | None:
    """A stock that was listed late has rows before its first day: its first bar again, or zeros."""
    bars = live.bars
    assert bars is not None
    days = sorted(bars["datetime"].unique())
    name = str(random.choice(sorted(bars["instrument"].unique())))
    rows = bars[bars["instrument"] == name]
    begin = int(random.integers(2, max(3, min(30, len(days) - 1))))
    late = rows[rows["datetime"] >= days[-begin]]
    if not len(late):
        return None
    code = "SH605" + f"{int(random.integers(1000)):03d}"
    late = late.assign(instrument=code)
    first = late.iloc[[0]]
    before = pd.concat([first.assign(datetime=day) for day in days[:-begin]])
    if random.random() < 0.4:
        before[_fields(before)] = np.float32(0)
    elif random.random() < 0.3:
        before["volume"] = np.float32(0)
    return replace(live, bars=_together(bars, before, late), right=_together(bars, late))


def stale_last_bar(world: World, live: Live, random: Random) -> Live | None:
    """The day's bars are those of the day before, of all stocks or of some."""
    bars = live.bars
    assert bars is not None
    days = sorted(bars["datetime"].unique())
    before = bars[bars["datetime"] == days[-2]]
    names = sorted(before["instrument"]) if random.random() < 0.4 else _some(before, random)
    stale = before[before["instrument"].isin(names)].assign(datetime=days[-1])
    rest = bars[~((bars["datetime"] == days[-1]) & bars["instrument"].isin(names))]
    return replace(live, bars=_together(rest, stale))


def repeated_block(world: World, live: Live, random: Random) -> Live | None:
    """Some days of some stocks are the days before them once more, as after a cache that was read twice."""
    bars = live.bars
    assert bars is not None
    days = sorted(bars["datetime"].unique())
    if len(days) < 5:
        return None
    length = int(random.integers(1, min(4, len(days) // 2)))
    start = int(random.integers(length, len(days) - length + 1))
    names = _some(bars, random)
    moved = dict(zip(days[start - length : start], days[start : start + length], strict=True))
    copy = bars[bars["datetime"].isin(list(moved)) & bars["instrument"].isin(names)].copy()
    copy["datetime"] = copy["datetime"].map(moved)
    rest = bars[~(bars["datetime"].isin(list(moved.values())) & bars["instrument"].isin(names))]
    return replace(live, bars=_together(rest, copy))


# --- of a table: rows and days ----------------------------------------------------------------------------------------------


def _together(*frames: Frame) -> Frame:
    return pd.concat(frames, ignore_index=True).sort_values(KEYS, ignore_index=True, kind="stable")


def rows_lost(world: World, live: Live, random: Random) -> Live | None:
    """Rows of single stocks and days before the last are not there, though the table writes suspensions as rows."""
    bars = live.bars
    assert bars is not None
    days = sorted(bars["datetime"].unique())[-world.need :]
    stretch, holes = bars["datetime"].isin(days), _holes(bars)
    traded = np.flatnonzero(stretch & (bars["datetime"] > days[0]) & (bars["datetime"] < live.date) & ~holes)
    most = min(int((holes & stretch).sum()) // 4, len(traded))
    if not most:
        return None
    chosen = random.choice(traded, int(random.integers(1, most + 1)), replace=False)
    return replace(live, bars=bars.drop(index=bars.index[chosen]).reset_index(drop=True))


def values_lost(world: World, live: Live, random: Random) -> Live | None:
    """Values of a field are missing though the stock traded."""
    bars = live.bars
    assert bars is not None
    bars = bars.copy()
    traded = np.flatnonzero(~_holes(bars).to_numpy())
    chosen = random.choice(traded, int(random.integers(1, max(2, len(traded) // 20))), replace=False)
    column = str(random.choice(list(world.fields)))
    bars.loc[bars.index[chosen], column] = np.float32(np.nan)
    return replace(live, bars=bars)


def stocks_lost(world: World, live: Live, random: Random) -> Live | None:
    """Stocks of the market are not in the table at all."""
    bars = live.bars
    assert bars is not None
    return replace(live, bars=bars[~bars["instrument"].isin(_some(bars, random))].reset_index(drop=True))


def stocks_lost_on_the_day(world: World, live: Live, random: Random) -> Live | None:
    """Stocks that traded have no row on the day alone, as when a download stopped."""
    bars = live.bars
    assert bars is not None
    if world.crossing:
        return None
    names = _some(bars, random)
    return replace(
        live, bars=bars[~(bars["instrument"].isin(names) & (bars["datetime"] == live.date))].reset_index(drop=True)
    )


def day_lost(world: World, live: Live, random: Random) -> Live | None:
    """One trading day is not there at all, and the exchange's calendar has it."""
    bars = live.bars
    assert bars is not None
    days = sorted(bars["datetime"].unique())
    day = days[int(random.integers(1, len(days) - 1))] if len(days) > 2 else days[0]
    calendar = world.days.to_numpy().astype("datetime64[D]")
    return replace(live, bars=bars[bars["datetime"] != day].reset_index(drop=True), options={"calendar": calendar})


def history_cut(world: World, live: Live, random: Random) -> Live | None:
    """The table begins too late, for all stocks or for some."""
    bars = live.bars
    assert bars is not None
    days = sorted(bars["datetime"].unique())
    if len(days) < 3:
        return None
    begin = days[int(random.integers(1, len(days) - 1))]
    names = sorted(bars["instrument"].unique()) if random.random() < 0.3 else _some(bars, random)
    return replace(
        live, bars=bars[~(bars["instrument"].isin(names) & (bars["datetime"] < begin))].reset_index(drop=True)
    )


def index_rows(world: World, live: Live, random: Random) -> Live | None:
    """The benchmark among the stocks, under its own code or another one."""
    bars = live.bars
    assert bars is not None
    days = set(bars["datetime"])
    rows = world.index[world.index["datetime"].isin(days)]
    if not len(rows):
        return None
    code = str(rows["instrument"].iloc[0]) if random.random() < 0.6 else str(random.choice(["SH000001", "SZ399001"]))
    return replace(live, bars=_together(bars, rows.assign(instrument=code)[list(bars.columns)]))


def funds(world: World, live: Live, random: Random) -> Live | None:
    """Funds, bonds and other boards among the stocks."""
    bars = live.bars
    assert bars is not None
    name = str(random.choice(sorted(bars["instrument"].unique())))
    rows = bars[bars["instrument"] == name]
    code = str(random.choice(["SH510300", "SZ159915", "SH113050", "SH900901", "SZ200002", "SH511880"]))
    return replace(live, bars=_together(bars, rows.assign(instrument=code)))


def rows_twice(world: World, live: Live, random: Random) -> Live | None:
    """Rows that are there twice, equal or contradicting."""
    bars = live.bars
    assert bars is not None
    chosen = bars.sample(int(random.integers(1, 5)), random_state=int(random.integers(2**31)))
    if random.random() < 0.5:
        chosen = _scaled(chosen, ["close"], 1.01)
    return replace(live, bars=_together(bars, chosen))


def keys_misplaced(world: World, live: Live, random: Random) -> Live | None:
    """Values beside other keys than their own: a sort of the keys alone, or a column put beside unsorted rows."""
    bars = live.bars
    assert bars is not None
    shuffled = bars.sort_values(["instrument", "datetime"], ignore_index=True)
    changed = bars.copy()
    if random.random() < 0.5:
        changed[_fields(bars)] = shuffled[_fields(bars)].to_numpy()
    else:
        column = str(random.choice(world.fields))
        changed[column] = shuffled[column].to_numpy()
    return replace(live, bars=changed)


def stocks_exchanged(world: World, live: Live, random: Random) -> Live | None:
    """Two stocks under each other's code, in a table that reaches over the golden days."""
    bars = live.bars
    assert bars is not None
    if not live.golden:
        return None
    first, second = random.choice(sorted(bars["instrument"].unique()), 2, replace=False).tolist()
    names = bars["instrument"].map(lambda name: {first: second, second: first}.get(name, name))
    return replace(live, bars=_together(bars.assign(instrument=names)))


def notation(world: World, live: Live, random: Random) -> Live | None:
    """Codes in another notation, and nobody says so."""
    bars = live.bars
    assert bars is not None
    forms: list[Callable[[str], str]] = [
        lambda name: f"{name[2:]}.{name[:2]}",
        lambda name: name.lower(),
        lambda name: name[2:],
        lambda name: f"{name[2:]}.{'XSHG' if name.startswith('SH') else 'XSHE'}",
        lambda name: ("SZ" if name.startswith("SH") else "SH") + name[2:],
    ]
    form = forms[int(random.integers(len(forms)))]
    return replace(live, bars=bars.assign(instrument=bars["instrument"].map(form)))


def time_zone(world: World, live: Live, random: Random) -> Live | None:
    """Dates as instants: with a zone, or in another one."""
    bars = live.bars
    assert bars is not None
    local = bars["datetime"].dt.tz_localize("Asia/Shanghai")
    column = local if random.random() < 0.4 else local.dt.tz_convert("UTC")
    if random.random() < 0.4:
        column = column.dt.tz_localize(None)
    return replace(live, bars=bars.assign(datetime=column))


def text_numbers(world: World, live: Live, random: Random) -> Live | None:
    """Numbers as text."""
    bars = live.bars
    assert bars is not None
    column = str(random.choice(world.fields))
    return replace(live, bars=bars.assign(**{column: bars[column].map(lambda value: f"{value:.6g}")}))


def narrow_bars(world: World, live: Live, random: Random) -> Live | None:
    """Bars in half precision, or prices as whole numbers."""
    bars = live.bars
    assert bars is not None
    column = str(random.choice([name for name in world.fields if name in PRICES]))
    values = bars[column]
    if random.random() < 0.6:
        with np.errstate(over="ignore"):
            return replace(live, bars=bars.assign(**{column: values.astype(np.float16)}))
    return replace(live, bars=bars.assign(**{column: np.round(values * 10).astype("Int64")}))


def column_lost(world: World, live: Live, random: Random) -> Live | None:
    """A column is not there."""
    assert live.bars is not None
    return replace(live, bars=live.bars.drop(columns=str(random.choice(world.fields))))


def column_twice(world: World, live: Live, random: Random) -> Live | None:
    """A field under both forms of its name, with different values."""
    assert live.bars is not None
    column = str(random.choice(world.fields))
    return replace(live, bars=live.bars.assign(**{f"${column}": live.bars[column] * np.float32(1.01)}))


# --- of the features -------------------------------------------------------------------------------------------------------


def _given(world: World, live: Live) -> list[str]:
    """Columns of the live table of features."""
    assert live.features is not None
    return [name for name in live.features.columns if name not in KEYS]


def features_zero(world: World, live: Live, random: Random) -> Live | None:
    """Missing features as 0 where the training had none, or those of several stocks as one number."""
    if live.features is None:
        return None
    table, known = (
        live.features.copy(),
        {feature.name: feature.statistics for feature in world.bundle.manifest.features},
    )
    for name in _given(world, live):
        missing, said = table[name].isna(), known[name]
        if said is None or said.common_ratio is None:
            continue
        share = max(said.common_ratio, 1 / len(table))
        if said.zero_ratio == 0 and said.rows >= LEAST_ROWS:
            table.loc[missing, name] = 0.0
        elif missing.sum() > 3 + 2 * most_by_chance(share * len(table)):
            table.loc[missing, name] = table[name].mean()
    return None if table.equals(live.features) else replace(live, features=table)


def features_narrow(world: World, live: Live, random: Random) -> Live | None:
    """A feature in half precision, in whole numbers, as a decimal, or a float64 one in float32."""
    if live.features is None:
        return None
    table, name = live.features.copy(), str(random.choice(_given(world, live)))
    double = next(f.dtype for f in world.bundle.manifest.features if f.name == name) == "float64"
    choice = random.random()
    if choice < 0.4:
        with np.errstate(over="ignore"):
            table[name] = table[name].astype(np.float16)
    elif choice < 0.6:
        table[name] = np.round(table[name]).astype("Int64")
    elif choice < 0.8 and double:
        table[name] = table[name].astype(np.float32)
    else:
        table[name] = (table[name] > 0).astype(bool)
    return replace(live, features=table)


def features_scaled(world: World, live: Live, random: Random) -> Live | None:
    """A feature in another unit, in percent or basis points, so that most values are none that the training had."""
    if live.features is None:
        return None
    name = str(random.choice(_given(world, live)))
    changed = live.features.assign(**{name: live.features[name] * float(random.choice([100.0, 10_000.0]))})
    return _if_strange(world, replace(live, features=changed))


def features_swapped(world: World, live: Live, random: Random) -> Live | None:
    """Two features under each other's name, of such sizes that most values are none that the training had."""
    if live.features is None or len(_given(world, live)) < 2:
        return None
    first, second = random.choice(_given(world, live), 2, replace=False).tolist()
    return _if_strange(world, replace(live, features=live.features.rename(columns={first: second, second: first})))


def _if_strange(world: World, live: Live) -> Live | None:
    """The table, where most values of some feature lie outside of the training's."""
    assert live.features is not None
    for feature in world.bundle.manifest.features:
        said = feature.statistics
        if feature.name in live.features.columns and said is not None:
            values = live.features[feature.name].dropna()
            if not values.between(said.quantiles["min"], said.quantiles["max"]).mean() >= 0.5:
                return live
    return None


def features_under_a_signature(world: World, live: Live, random: Random) -> Live | None:
    """Any of that which no table shows, under a signature that is asked for: stale, misplaced, swapped, scaled, cut."""
    true = live.features
    if true is None:
        return None
    names, column = _given(world, live), str(random.choice(_given(world, live)))
    choice = int(random.integers(5))
    if choice == 0:
        source = world.features if live.bars is not None else None
        day = world.days[world.days.get_loc(live.date) - 1]
        before = true_features(world, day) if source is None else source[source["datetime"] == day]
        if random.random() < 0.5:
            # The file of the day before as it was signed then.
            return replace(live, features=before.reset_index(drop=True), signed=before)
        changed = before.assign(datetime=live.date).reset_index(drop=True)
    elif choice == 1:
        changed = true.assign(instrument=random.permutation(true["instrument"].to_numpy()))
    elif choice == 2 and len(names) > 1:
        first, second = random.choice(names, 2, replace=False).tolist()
        changed = true.rename(columns={first: second, second: first})
    elif choice == 3:
        changed = true[~true["instrument"].isin(_some(true, random))].reset_index(drop=True)
    else:
        changed = true.assign(**{column: true[column] * float(random.choice([100.0, 0.01, -1.0]))})
    return replace(live, features=changed, signed=true)


def features_lost(world: World, live: Live, random: Random) -> Live | None:
    """A column of the features is not there, or rows are there twice."""
    if live.features is None:
        return None
    if random.random() < 0.5:
        return replace(live, features=live.features.drop(columns=str(random.choice(_given(world, live)))))
    return replace(live, features=pd.concat([live.features, live.features.head(2)], ignore_index=True))


def features_rows_lost(world: World, live: Live, random: Random) -> Live | None:
    """Stocks of the universe have no row in a table of all features."""
    if live.features is None or live.bars is not None:
        return None
    names = _some(live.features, random)
    return replace(live, features=live.features[~live.features["instrument"].isin(names)].reset_index(drop=True))


def _kinds(of: str, *functions: Callable[..., Frame | Live | None]) -> list[Kind]:
    return [Kind(function.__name__, of, function) for function in functions]


KINDS: tuple[Kind, ...] = (
    *_kinds(
        "source",
        prices_per_stock,
        prices_common,
        prices_of_some,
        one_price_scaled,
        volume_in_lots,
        volume_per_stock,
        volume_of_some,
        columns_swapped,
        dates_late,
        dates_a_calendar_day_off,
        unadjusted_split,
        restated,
        whole_numbers,
    ),
    *_kinds(
        "table",
        filled_forward,
        filled_without_volume,
        filled_with_close,
        filled_with_zero,
        filled_between,
        filled_before_listing,
        stale_last_bar,
        repeated_block,
        rows_lost,
        values_lost,
        stocks_lost,
        stocks_lost_on_the_day,
        day_lost,
        history_cut,
        index_rows,
        funds,
        rows_twice,
        keys_misplaced,
        stocks_exchanged,
        notation,
        time_zone,
        text_numbers,
        narrow_bars,
        column_lost,
        column_twice,
    ),
    *_kinds(
        "features",
        features_zero,
        features_narrow,
        features_scaled,
        features_swapped,
        features_under_a_signature,
        features_lost,
        features_rows_lost,
    ),
)


UNDECIDABLE: dict[str, str] = {
    "splits within a day's price limit": "a close that moves by less than any day of the training might; adjusted bars, and "
    "golden days or new anchors in the table after each corporate action",
    "a trading day that is lost as a whole": "after the recorded calendar nobody knows the days to come; --calendar FILE",
    "rows that are lost like suspensions": "a day without a row is a suspended one, where the table does not write those as "
    "rows of missing values; write them so, and the lost rows are odd ones; more than the training's suspensions explain are "
    "refused whatever the form",
    "all values of a row that are missing": "that is how a suspended day looks; a second source",
    "stocks exchanged for all days": "two stocks under each other's code look like two stocks; golden days in the table show "
    "it for theirs",
    "features of another day or of another stock": "numbers of the right size; the signed features file (--features-key)",
    "features swapped or scaled within the training's range": "numbers of the right size; the signed features file",
    "features that a table beside bars lacks": "as in training, what a stock lacks is missing; the signed features file",
    "features filled with a number that the training often has": "one stock, or two, with a plausible number; the signed "
    "features file",
}
"""What no table can show -> why, and what guards against it."""


def draw(world: World, kind: Kind, random: Random) -> Live | None:
    """A live table that went wrong in this way, on a random day; None where this one cannot go wrong so.

    Tables reach back over the golden days, or do not and come with bars of them from the same source, or with nothing.
    """
    date = world.dates[int(random.integers(len(world.dates)))]
    place = world.days.get_loc(date)
    golden = random.random() < 0.4
    first = world.days.get_loc(world.golden[0])
    history = max(world.need, place + 1 - first) + int(random.integers(6)) if golden else world.need
    # A model that sees units is refused without anything that shows them, whatever else is wrong.
    with_anchors = random.random() < 0.6 or not (world.ratios or golden)
    if kind.of == "features" and (world.features is None or random.random() < 0.5):
        live = Live(date, None, true_features(world, date), None, golden=False)
        return kind.make(world, live, random)
    source = world.bars
    if kind.of == "source":
        source = kind.make(world, world.bars, random)
        if source is None:
            return None
        if date not in set(source["datetime"]):
            return None
    live = world.live(date, source, history)
    if not with_anchors:
        live = replace(live, anchors=None)
    if kind.of == "source":
        return live
    return kind.make(world, live, random)


__all__ = ["KINDS", "Kind", "arrow", "draw"]
