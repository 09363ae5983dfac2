"""What the part `alphas` runs on: bars of 5000 stocks as a parquet file and as qlib's provider, and the graph of Alpha158.

``alpha_data.py CACHE`` makes what is missing and prints where it is.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "converter" / "src"), str(ROOT / "runtime" / "src")]

from alphaseal_converter.alphas import compile_alphas

STOCKS, DAYS, DAYS_PER_GROUP = 5000, 120, 20
SOME = 500
"""Stocks of the market `some`, for a quick look at qlib, which takes minutes for all."""
_FIELDS = ("open", "high", "low", "close", "vwap", "volume")
_MISSING = 0.005
_WINDOWS = (5, 10, 20, 30, 60)
_UP, _DOWN = "Greater({0}-Ref({0}, 1), 0)", "Greater(Ref({0}, 1)-{0}, 0)"
_MOVED = "(Sum(Abs({0}-Ref({0}, 1)), {1})+1e-12)"


def alpha158() -> dict[str, str]:
    """Expressions of qlib's Alpha158DL (0.9.7) by name, in its order."""
    spread = "($high-$low+1e-12)"
    upper, lower = "($high-Greater($open, $close))", "(Less($open, $close)-$low)"
    found = {"KMID": "($close-$open)/$open", "KLEN": "($high-$low)/$open", "KMID2": f"($close-$open)/{spread}"}
    found |= {"KUP": f"{upper}/$open", "KUP2": f"{upper}/{spread}", "KLOW": f"{lower}/$open"}
    found |= {"KLOW2": f"{lower}/{spread}", "KSFT": "(2*$close-$high-$low)/$open"}
    found |= {"KSFT2": f"(2*$close-$high-$low)/{spread}"}
    found |= {f"{name.upper()}0": f"${name}/$close" for name in ("open", "high", "low", "vwap")}
    for name, pattern in _rolling().items():
        found |= {f"{name}{days}": pattern.replace("@", str(days)) for days in _WINDOWS}
    return found


def _rolling() -> dict[str, str]:
    """The rolling ones, with @ for the number of days."""
    rising, falling = "Mean($close>Ref($close, 1), @)", "Mean($close<Ref($close, 1), @)"
    change = "Abs($close/Ref($close, 1)-1)*$volume"
    patterns = {
        "ROC": "Ref($close, @)/$close",
        "MA": "Mean($close, @)/$close",
        "STD": "Std($close, @)/$close",
        "BETA": "Slope($close, @)/$close",
        "RSQR": "Rsquare($close, @)",
        "RESI": "Resi($close, @)/$close",
        "MAX": "Max($high, @)/$close",
        "MIN": "Min($low, @)/$close",
        "QTLU": "Quantile($close, @, 0.8)/$close",
        "QTLD": "Quantile($close, @, 0.2)/$close",
        "RANK": "Rank($close, @)",
        "RSV": "($close-Min($low, @))/(Max($high, @)-Min($low, @)+1e-12)",
        "IMAX": "IdxMax($high, @)/@",
        "IMIN": "IdxMin($low, @)/@",
        "IMXD": "(IdxMax($high, @)-IdxMin($low, @))/@",
        "CORR": "Corr($close, Log($volume+1), @)",
        "CORD": "Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), @)",
        "CNTP": rising,
        "CNTN": falling,
        "CNTD": f"{rising}-{falling}",
        **_moves("SUM", "$close"),
        "VMA": "Mean($volume, @)/($volume+1e-12)",
        "VSTD": "Std($volume, @)/($volume+1e-12)",
        "WVMA": f"Std({change}, @)/(Mean({change}, @)+1e-12)",
    }
    return patterns | _moves("VSUM", "$volume")


def _moves(name: str, field: str) -> dict[str, str]:
    """Shares of rising and of falling in all moves of a field, and their difference."""
    up, down, all_moves = _UP.format(field), _DOWN.format(field), _MOVED.format(field, "@")
    return {
        f"{name}P": f"Sum({up}, @)/{all_moves}",
        f"{name}N": f"Sum({down}, @)/{all_moves}",
        f"{name}D": f"(Sum({up}, @)-Sum({down}, @))/{all_moves}",
    }


def _bars() -> tuple[npt.NDArray[np.datetime64], list[str], dict[str, npt.NDArray[np.float32]]]:
    """Days, stocks, and float32 [days, stocks] of each field; suspended days are missing in all fields."""
    random = np.random.default_rng(158)
    days = np.arange("2024-01-01", "2025-01-01", dtype="datetime64[D]")
    days = days[np.is_busday(days)][:DAYS]
    codes = [f"SH{600000 + stock}" for stock in range(STOCKS)]
    shape = (DAYS, STOCKS)
    close = random.uniform(4, 60, STOCKS) * np.exp(np.cumsum(random.normal(0, 0.02, shape), axis=0))
    opened = close * np.exp(random.normal(0, 0.01, shape))
    high = np.maximum(opened, close) * (1 + np.abs(random.normal(0, 0.005, shape)))
    low = np.minimum(opened, close) * (1 - np.abs(random.normal(0, 0.005, shape)))
    values = {"open": opened, "high": high, "low": low, "close": close, "vwap": (high + low + close) / 3}
    values["volume"] = np.round(np.exp(random.normal(13, 1, shape)))
    suspended = random.random(shape) < _MISSING
    suspended[0] = False
    return days, codes, {name: np.where(suspended, np.nan, field).astype(np.float32) for name, field in values.items()}


def _write(folder: Path) -> None:
    days, codes, fields = _bars()
    columns = {
        "datetime": pa.array(np.repeat(days, STOCKS)),
        "instrument": pa.array(np.tile(np.array(codes), DAYS)),
        **{name: pa.array(values.ravel()) for name, values in fields.items()},
    }
    table = pa.table(columns)
    few = table.filter(pa.array(np.tile(np.arange(STOCKS) < SOME, DAYS)))
    pq.write_table(table, folder / "all.parquet", row_group_size=DAYS_PER_GROUP * STOCKS)
    pq.write_table(few, folder / "some.parquet", row_group_size=DAYS_PER_GROUP * SOME)
    provider = folder / "provider"
    (provider / "calendars").mkdir(parents=True)
    (provider / "instruments").mkdir()
    (provider / "calendars/day.txt").write_text("".join(f"{day}\n" for day in days))
    for market, members in (("all", codes), ("some", codes[:SOME])):
        spans = "".join(f"{code}\t{days[0]}\t{days[-1]}\n" for code in members)
        (provider / f"instruments/{market}.txt").write_text(spans)
    for place, code in enumerate(codes):
        stock = provider / "features" / code.lower()
        stock.mkdir(parents=True)
        for name, values in fields.items():
            np.concatenate([[0.0], values[:, place]]).astype("<f4").tofile(stock / f"{name}.day.bin")
    (folder / "date.txt").write_text(str(days[-1]))


def main() -> None:
    """Make what is missing; the graph is compiled anew, for it is what is measured."""
    cache = Path(sys.argv[1])
    folder = cache / f"alphas-{STOCKS}x{DAYS}"
    if not folder.is_dir():
        unfinished = cache / f"alphas.{os.getpid()}.part"
        unfinished.mkdir(parents=True)
        _write(unfinished)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    compiled = compile_alphas(alpha158())
    if compiled.graph is None or compiled.not_compiled:
        raise SystemExit(f"bench: not compiled: {dict(compiled.not_compiled)}")
    (folder / "alphas.onnx").write_bytes(compiled.graph)
    description = {"window": compiled.window, "fields": compiled.fields, "features": compiled.features}
    (folder / "alphas.json").write_text(json.dumps(description))
    places = {
        name: str(folder / name) for name in ("alphas.onnx", "alphas.json", "all.parquet", "some.parquet", "provider")
    }
    print(json.dumps(places | {"date": (folder / "date.txt").read_text()}))


if __name__ == "__main__":
    main()
