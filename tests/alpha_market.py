"""Bars of qlib's provider files, stocks that are odd on purpose, and the columns of an alpha graph for every day of a life."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

Floats = npt.NDArray[np.float32]
_ROWS = 512


@dataclass(frozen=True)
class Stock:
    """`values` float32 [days, fields] of a life that begins at the calendar's day `first`."""

    first: int
    values: Floats


def read_stocks(provider: Path, fields: Sequence[str]) -> dict[str, Stock]:
    """Every instrument of a provider by its name in capitals, in code point order."""
    found: dict[str, Stock] = {}
    for folder in sorted((provider / "features").iterdir()):
        columns = [np.frombuffer((folder / f"{field}.day.bin").read_bytes(), "<f4") for field in fields]
        found[folder.name.upper()] = Stock(int(columns[0][0]), np.stack([column[1:] for column in columns], axis=1))
    return found


def add_odd_stocks(provider: Path, out: Path) -> Path:
    """A copy of a provider with stocks whose windows are constant, nearly so, empty, tiny, huge, or end in a gap."""
    shutil.copytree(provider, out)
    model = "sh601001"
    for name, change in CHANGES.items():
        shutil.copytree(out / "features" / model, out / "features" / name)
        for field in ("open", "high", "low", "close", "vwap", "volume"):
            path = out / "features" / name / f"{field}.day.bin"
            data = np.fromfile(path, "<f4")
            data[1:] = change(data[1:].copy(), field)
            data.tofile(path)
    for path in (out / "instruments").glob("*.txt"):
        lines = path.read_text(encoding="utf-8")
        spans = {line.split("\t")[0]: line.split("\t")[1:] for line in lines.splitlines()}
        span = spans[model.upper()]
        path.write_bytes((lines + "".join("\t".join([name.upper(), *span]) + "\n" for name in CHANGES)).encode())
    return out


def _constant(values: Floats, field: str) -> Floats:
    """Nothing ever changes."""
    values[:] = 1234500.0 if field == "volume" else 10.1
    return values


def _frozen(values: Floats, field: str) -> Floats:
    """Price, volume, or both stand still for a while."""
    start, end = {"volume": (250, 340)}.get(field, (100, 190))
    values[start:end] = values[start]
    values[500:580] = values[500]
    return values


def _steps(values: Floats, field: str) -> Floats:
    """Constant but for one step in a hundred days."""
    values[:] = (np.arange(len(values)) // 100 + 1) * (100.0 if field == "volume" else 7.3)
    return values


def _gaps(values: Floats, field: str) -> Floats:
    """Suspended most of the time: windows with one value, or none."""
    day = np.arange(len(values))
    values[(day % 23 > 2) & (day > 150)] = np.nan
    values[300:420] = np.nan
    return values


def _still(values: Floats, field: str) -> Floats:
    """A price that moves in its last bits only; a volume of zeros with a few trades."""
    day = np.arange(len(values))
    if field == "volume":
        return np.asarray(np.where(day % 37 == 5, np.float32(300), np.float32(0)))
    return np.asarray(np.float32(50) + (day % 3).astype(np.float32) * np.float32(3.8e-6))


def _huge(values: Floats, field: str) -> Floats:
    """Prices and volumes near the ends of float32."""
    return np.asarray(values * np.float32(1e25 if field == "volume" else 1e-30))


CHANGES: dict[str, Callable[[Floats, str], Floats]] = {
    "sz900001": _constant,
    "sz900002": _frozen,
    "sz900003": _steps,
    "sz900004": _gaps,
    "sz900005": _still,
    "sz900006": _huge,
}
ODD = tuple(name.upper() for name in CHANGES)


def session(graph: bytes) -> onnxruntime.InferenceSession:
    """One thread, nothing rewritten: as the runtime loads graphs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def windows_of(values: Floats, window: int, days: Sequence[int] | None = None) -> tuple[Floats, npt.NDArray[np.int64]]:
    """`bars` [rows, window, fields] and `length` [rows] of days of one life, counted from its first; default all."""
    padded = np.concatenate([np.full((window - 1, values.shape[1]), np.nan, np.float32), values])
    ends = np.arange(len(values)) if days is None else np.asarray(days)
    bars = np.stack([padded[end : end + window] for end in ends])
    return bars, np.minimum(ends + 1, window).astype(np.int64)


def alpha_columns(graph: bytes, stocks: Sequence[Stock], window: int) -> Floats:
    """float32 [rows, features] of every day of every life, one stock after the other."""
    loaded, parts = session(graph), []
    for stock in stocks:
        for start in range(0, len(stock.values), _ROWS):
            days = range(start, min(start + _ROWS, len(stock.values)))
            bars, length = windows_of(stock.values, window, days)
            parts.append(loaded.run(None, {"bars": bars, "length": length})[0])
    return np.concatenate(parts)
