"""Simulate A-share-like daily bars: a qlib bin provider plus the daily_pv.h5 files that RD-Agent factor code reads.

    python simulate_market.py --out MARKET_DIR [--provider-only] [--bars FROM]

Written: qlib_bin/, src_full/daily_pv.h5, src_debug/daily_pv.h5 (a small cut for the coder) and market.json (names, segments).
On purpose the data hold suspensions (rows exist, all values NaN), late listings, delistings, NaN volumes and zero volumes.
With --provider-only nothing but qlib_bin/ is written, which needs numpy and pandas alone; without options these are the
bytes of the market that all recorded runs of the tests were made on.  --bars also writes bars.parquet, the days from a
date on as a trading system has them, --moving the market "moving".
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

FIELDS = ["open", "high", "low", "close", "volume", "factor", "vwap"]


def trading_days(start: str, end: str) -> pd.DatetimeIndex:
    """Business days without the first week of February, May and October (roughly the Chinese holidays)."""
    days = pd.bdate_range(start, end)
    return days[~(days.month.isin([2, 5, 10]) & (days.day <= 6)) & ~((days.month == 1) & (days.day == 1))]


def simulate(days: pd.DatetimeIndex, codes: list[str], rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Bars with a weak predictable part: short reversal, slow momentum, and a penalty on abnormal turnover."""
    n_days, n = len(days), len(codes)
    market = rng.normal(0.0003, 0.009, n_days)
    sector = rng.integers(0, 5, n)
    sector_return = rng.normal(0, 0.005, (n_days, 5))
    beta, noise = rng.normal(1.0, 0.2, n), rng.uniform(0.009, 0.022, n)
    base_turnover, state = np.log(rng.uniform(0.003, 0.02, n)), np.zeros(n)
    ret, turnover = np.zeros((n_days, n)), np.full((n_days, n), 0.008)
    for t in range(1, n_days):
        state = 0.85 * state + rng.normal(0, 0.3, n)
        turnover[t] = np.exp(base_turnover + state + 8 * np.abs(ret[t - 1]))
        surprise = np.log(turnover[t - 1]) - base_turnover
        drift = -0.09 * ret[max(0, t - 3) : t].sum(0) + 0.02 * ret[max(0, t - 30) : t].sum(0) - 0.0022 * surprise
        shock = rng.standard_t(6, n) * noise / np.sqrt(1.5)
        ret[t] = np.clip(beta * market[t] + sector_return[t, sector] + drift + shock, -0.1, 0.1)
    close = rng.uniform(4, 60, n) * np.exp(np.cumsum(np.log1p(ret), axis=0))
    previous = np.vstack([close[:1], close[:-1]])
    open_ = previous * (1 + rng.normal(0, 0.004, (n_days, n)))
    high = np.maximum(open_, close) * (1 + 0.3 * noise * np.abs(rng.normal(size=(n_days, n))))
    low = np.minimum(open_, close) * (1 - 0.3 * noise * np.abs(rng.normal(size=(n_days, n))))
    adjust = np.repeat(rng.uniform(0.5, 2.0, (1, n)), n_days, axis=0)
    for j in range(n):
        adjust[rng.integers(n_days) :, j] *= rng.uniform(1.01, 1.08)
    shares = np.exp(rng.normal(18.5, 0.7, n))
    bars = {
        "open": open_,
        "high": high,
        "low": low,
        "close": close,
        "volume": np.round(turnover * shares / 100) * 100 / adjust,
        "factor": adjust,
        "vwap": (high + low + close) / 3,
    }
    return {k: pd.DataFrame(v, index=days, columns=codes) for k, v in bars.items()} | {
        "market": pd.DataFrame({"r": market}, index=days)
    }


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; without options the market of all recorded runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stocks", type=int, default=62)
    parser.add_argument("--start", default="2019-01-02")
    parser.add_argument("--end", default="2021-12-31")
    parser.add_argument("--train", default="2019-01-02:2020-12-31")
    parser.add_argument("--valid", default="2021-01-04:2021-10-15")
    parser.add_argument("--test", default="2021-11-01:2021-12-24")
    parser.add_argument("--seed", type=int, default=4711)
    parser.add_argument("--market", default="demo62")
    parser.add_argument("--benchmark", default="SH000905")
    parser.add_argument("--moving", action="store_true", help="write a market whose stocks come and go, moving.txt")
    parser.add_argument("--provider-only", action="store_true", help="write qlib_bin/ alone; needs no qlib")
    parser.add_argument("--bars", metavar="FROM", help="write bars.parquet too, from this date on; needs pyarrow")
    return parser.parse_args(arguments)


def write_provider(options: argparse.Namespace) -> tuple[Path, pd.DatetimeIndex, list[str]]:
    """Write ``qlib_bin`` below `options.out`; gives its place, the trading days and the stocks.  numpy and pandas only."""
    rng = np.random.default_rng(options.seed)
    days = trading_days(options.start, options.end)
    half = options.stocks // 2
    codes = sorted(
        [f"SZ{2001 + 3 * i:06d}" for i in range(half)]
        + [f"SH{601001 + 7 * i:06d}" for i in range(options.stocks - half)]
    )
    bars = simulate(days, codes, rng)
    market = bars.pop("market")["r"]
    first, last = make_holes(bars, days, codes, options.test, rng)
    index = 5000 * np.exp(np.cumsum(market))
    bench = {
        "open": index,
        "high": index * 1.003,
        "low": index * 0.997,
        "close": index,
        "volume": index * 0 + 1e8,
        "factor": index * 0 + 1,
        "vwap": index,
    }
    provider = options.out / "qlib_bin"
    shutil.rmtree(provider, ignore_errors=True)
    for sub in ("calendars", "instruments", "features"):
        (provider / sub).mkdir(parents=True)
    write_lines(provider / "calendars/day.txt", (f"{d:%Y-%m-%d}\n" for d in days))
    rows = {}
    for c in [*codes, options.benchmark]:
        folder = provider / "features" / c.lower()
        folder.mkdir()
        i0, i1 = first.get(c, 0), last.get(c, len(days) - 1)
        for k in FIELDS:
            values = (bench[k] if c == options.benchmark else bars[k][c]).to_numpy()[i0 : i1 + 1]
            np.hstack([[i0], values]).astype("<f4").tofile(folder / f"{k}.day.bin")
        rows[c] = f"{c}\t{days[i0]:%Y-%m-%d}\t{days[i1]:%Y-%m-%d}\n"
    write_lines(provider / "instruments/all.txt", rows.values())
    write_lines(provider / f"instruments/{options.market}.txt", (rows[c] for c in codes))
    if options.moving:
        lives = {c: (first[c], last[c]) for c in codes}
        write_lines(provider / "instruments/moving.txt", moving(codes, days, lives))
    if options.bars is not None:
        lives = {c: (max(first[c], int(days.searchsorted(pd.Timestamp(options.bars)))), last[c] + 1) for c in codes}
        parts = [
            pd.DataFrame(
                {"datetime": days[i0:i1], "instrument": c} | {k: bars[k][c].to_numpy("f4")[i0:i1] for k in FIELDS}
            )
            for c, (i0, i1) in lives.items()
        ]
        table = pd.concat(parts).sort_values(["datetime", "instrument"])
        table.to_parquet(options.out / "bars.parquet", engine="pyarrow", index=False)
    return provider, days, codes


def moving(codes: Sequence[str], days: pd.DatetimeIndex, lives: dict[str, tuple[int, int]]) -> Iterable[str]:
    """An index of two thirds of the stocks, of which each quarter of a year a few go and others come, the last in December."""
    for start in range(0, len(days), 61):
        stop = min(start + 60, len(days) - 1)
        for place, code in enumerate(codes):
            begin, end = max(start, lives[code][0]), min(stop, lives[code][1])
            if (place + 5 * (start // 61)) % 3 and begin <= end:
                yield f"{code}\t{days[begin]:%Y-%m-%d}\t{days[end]:%Y-%m-%d}\n"


def make_holes(
    bars: dict[str, pd.DataFrame], days: pd.DatetimeIndex, codes: list[str], test: str, rng: np.random.Generator
) -> tuple[dict[str, int], dict[str, int]]:
    """Put suspensions, missing and zero volumes into `bars`; gives the first and last day of each stock's life."""
    first, last = dict.fromkeys(codes, 0), dict.fromkeys(codes, len(days) - 1)
    test0, test1 = (int(days.searchsorted(pd.Timestamp(x))) for x in test.split(":"))
    picked = list(rng.permutation(codes))
    for k, c in enumerate(picked[:6]):  # listings spread over the years, the last two around the test segment
        first[c] = [90, 180, 300, 420, test0 - 9, test0 + 12][k]
    for k, c in enumerate(picked[6:9]):  # delistings, the last one inside the test segment
        last[c] = [350, 520, test0 + 20][k]
    holes = [
        (c, int(rng.integers(10, len(days) - 5)), int(rng.choice([1, 2, 4, 8, 20])))
        for c in codes
        for _ in range(rng.poisson(1.2))
    ]
    holes += [(picked[10], test0 + 5, 14), (picked[11], test0 - 6, 8), (picked[12], test1 - 3, 10)]
    for c, i, length in holes:
        for field in FIELDS:
            bars[field].iloc[i : i + length, codes.index(c)] = np.nan
    volume = bars["volume"].mask(rng.random(bars["volume"].shape) < 0.0015)
    zero = (rng.random(volume.shape) < 0.0012) & (np.arange(len(days)) > 300)[:, None]  # none in the debug cut below
    zero[test0 + 8, codes.index(picked[13])] = zero[test0 + 25, codes.index(picked[14])] = True
    bars["volume"] = volume.where(~zero | volume.isna(), 0.0)
    return first, last


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Text with line feeds on every system."""
    path.write_bytes("".join(lines).encode("ascii"))


def main() -> None:
    """Write the provider, and unless told otherwise what RD-Agent reads of it."""
    options = parse_options()
    provider, days, codes = write_provider(options)
    if options.provider_only:
        return

    import qlib  # from here on as RD-Agent's own factor_data_template/generate.py does it
    from qlib.data import D

    qlib.init(provider_uri=str(provider), region="cn", kernels=1)
    fields = ["$open", "$close", "$high", "$low", "$volume", "$factor"]
    data = D.features(D.instruments(options.market), fields, freq="day").swaplevel().sort_index()
    debug = data[data.index.get_level_values("instrument").isin(codes[:40])].loc[: days[280]]
    import rdagent

    readme = Path(next(iter(rdagent.__path__))) / "scenarios/qlib/experiment/factor_data_template/README.md"
    for name, frame in (("src_full", data), ("src_debug", debug)):
        (options.out / name).mkdir(exist_ok=True)
        frame.to_hdf(options.out / name / "daily_pv.h5", key="data", mode="w")
        shutil.copy(readme, options.out / name)
    seg = {k: getattr(options, k).split(":") for k in ("train", "valid", "test")}
    info = {
        "market": options.market,
        "benchmark": options.benchmark,
        "seed": options.seed,
        "segments": seg,
        "days": len(days),
        "rows": len(data),
        "nan_rows": int(data["$close"].isna().sum()),
    }
    (options.out / "market.json").write_text(json.dumps(info, indent=1))
    print(info)


if __name__ == "__main__":
    main()
