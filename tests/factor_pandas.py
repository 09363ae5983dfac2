"""Real pandas runs programs of factors: a program of its own, run with a Python that has pandas.

``factor_pandas.py FOLDER`` makes ``bars.parquet`` and ``static.parquet`` where there are none, runs the sources of
``sources.json`` (name -> source) and writes ``<name>.parquet`` with datetime, instrument and value for each that ends well.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd


def bars_and_side_table(days: int = 90, stocks: int = 11) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bars with suspensions, gaps, zeros, constant prices, late listings, stocks that end, equal prices; a side table."""
    chance = np.random.default_rng(3)
    calendar = pd.bdate_range("2020-01-01", periods=days)
    parts = []
    for place in range(stocks):
        close = np.exp(np.cumsum(chance.normal(0, 0.03, days))) * (10 + place)
        close = np.where(chance.random(days) < 0.2, close.round(0), close)
        if place == 2:
            close[30:60] = close[30]
        spread = chance.normal(0, 0.01, days) * (place != 2)
        columns = {"$open": close * np.exp(spread), "$close": close, "$high": close * 1.01, "$low": close * 0.98}
        columns["$volume"] = np.exp(chance.normal(10, 1, days)).round(0) * ~((place == 3) & (np.arange(days) % 30 > 22))
        name = f"SH60{place:04d}"
        part = pd.DataFrame(
            columns, index=pd.MultiIndex.from_product([calendar, [name]], names=["datetime", "instrument"])
        )
        part = part.astype("float32")
        part.loc[chance.random(days) < 0.04] = np.nan
        row = np.arange(days)
        there = {4: row >= 50, 5: row < 60, 6: (row < 20) | (row >= 40), 7: row >= days - 4}.get(place, row >= 0)
        parts.append(part[there & (chance.random(days) > 0.03)])
    bars = pd.concat(parts).sort_index()
    count = len(bars)
    side = pd.DataFrame(
        {"pe": chance.normal(20, 10, count).round(1), "mv": np.exp(chance.normal(3, 1, count))}, bars.index
    )
    side["sector"] = chance.choice(["bank", "tech", "food"], count)
    side.loc[chance.random(count) < 0.1, "pe"] = np.nan
    return bars, side[chance.random(count) > 0.15]


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    read = pd.read_parquet
    if not (folder / "bars.parquet").exists():
        bars, side = bars_and_side_table()
        bars.to_parquet(folder / "bars.parquet")
        side.to_parquet(folder / "static.parquet")
    bars, side = read(folder / "bars.parquet"), read(folder / "static.parquet")
    pd.read_hdf = lambda *arguments, **named: bars.copy()
    pd.read_parquet = lambda path, *arguments, columns=None, **named: side[columns] if columns else side.copy()
    written: list[pd.DataFrame] = []
    pd.DataFrame.to_hdf = lambda self, *arguments, **named: written.append(self)
    for name, source in json.loads((folder / "sources.json").read_text()).items():
        written.clear()
        try:
            exec(source, {"__name__": "__main__"})
        except Exception:  # noqa: BLE001 - that it raises is the result
            continue
        frame = written[-1]
        levels = list(frame.index.names)
        days, stocks = (frame.index.get_level_values(levels.index(level)) for level in ("datetime", "instrument"))
        values = frame.iloc[:, 0].to_numpy("float64")
        found = pd.DataFrame({"datetime": days, "instrument": np.array(stocks, object), "value": values})
        found.to_parquet(folder / f"{name}.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
