"""Columns of alpha graphs beside qlib's own values: how many cells, how far, and which of them are rounding noise."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from numpy.lib.stride_tricks import sliding_window_view

from alpha_cases import NOISE, Kind, Noise
from alpha_market import ODD, Stock, alpha_columns, read_stocks
from alphaseal_converter.alphas import CompiledAlphas, compile_alphas

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
LIMIT = 1e-5
"""Of a feature's own scale: the median size of its values, or the value's own size where that is larger."""
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Recorded:
    """What qlib gave: the table of record_alphas.py, its rows one life after the other."""

    expressions: dict[str, str]
    refused: dict[str, str]
    stocks: tuple[str, ...]
    names: npt.NDArray[np.str_]
    values: dict[str, npt.NDArray[np.float32]]


def read_recorded(path: Path) -> Recorded:
    table = pq.read_table(path)
    names = table["instrument"].to_numpy(zero_copy_only=False).astype(str)
    values = {name: table[name].to_numpy() for name in table.column_names if name not in ("instrument", "datetime")}
    expressions, refused = (json.loads(table.schema.metadata[key]) for key in (b"expressions", b"refused"))
    return Recorded(expressions, refused, tuple(dict.fromkeys(names.tolist())), names, values)


@dataclass
class Column:
    """One feature against qlib; `listed` says of each kind of noise how many cells it touches and how many differ by it.

    `cells`, `identical`, `largest` and `wrong_nan` are of the other cells; `largest` is in units of the scale.
    """

    cells: int = 0
    identical: int = 0
    largest: float = 0.0
    wrong_nan: int = 0
    listed: dict[Kind, tuple[int, int]] = field(default_factory=dict)

    def add(self, other: Column) -> None:
        """Take the numbers of another feature in."""
        self.cells += other.cells
        self.identical += other.identical
        self.largest = max(self.largest, other.largest)
        self.wrong_nan += other.wrong_nan
        for kind, (touched, differing) in other.listed.items():
            before = self.listed.get(kind, (0, 0))
            self.listed[kind] = (before[0] + touched, before[1] + differing)

    @property
    def good(self) -> bool:
        return self.wrong_nan == 0 and self.largest <= LIMIT


@dataclass(frozen=True)
class Comparison:
    """A compiled set of expressions, and what was found of each."""

    compiled: CompiledAlphas
    columns: dict[str, Column]


def compare(recorded: Recorded, provider: Path) -> Comparison:
    """Every expression that both compute, on every day of every recorded life."""
    compiled = compile_alphas(recorded.expressions)
    assert compiled.graph is not None
    stocks = _chosen(provider, compiled.fields, recorded.stocks)
    found = alpha_columns(compiled.graph, stocks, compiled.window)
    noise = _NoiseFinder(provider, recorded.stocks)
    columns = {}
    for place, name in enumerate(compiled.features):
        if name in recorded.values:
            masks = {entry.kind: np.zeros(len(found), np.bool_) for entry in NOISE.get(name, [])}
            for entry in NOISE.get(name, []):
                masks[entry.kind] |= noise.find(entry)
            columns[name] = column(found[:, place], recorded.values[name], recorded.names, masks)
    return Comparison(compiled, columns)


def column(
    found: npt.NDArray[np.float32],
    wanted: npt.NDArray[np.float32],
    names: npt.NDArray[np.str_],
    masks: Mapping[Kind, Mask],
) -> Column:
    """Both columns in the same order of rows; the scale is that of ordinary stocks."""
    left, right = found.astype(np.float64), wanted.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    sizes = np.abs(right[np.isfinite(right) & (right != 0) & ~np.isin(names, ODD)])
    scale = float(np.median(sizes)) if len(sizes) else 1.0
    with np.errstate(invalid="ignore"):
        far = np.abs(left - right) / np.maximum(scale, np.abs(right))
    far[same] = 0.0
    wrong_nan = np.isnan(left) != np.isnan(right)
    # One infinite, or both of other signs.
    far[np.isnan(far) & ~wrong_nan | np.isinf(far)] = np.inf
    noisy = np.zeros(len(left), np.bool_)
    for mask in masks.values():
        noisy |= mask
    return Column(
        cells=int((~noisy).sum()),
        identical=int((same & ~noisy).sum()),
        largest=float(np.nan_to_num(far[~noisy & ~wrong_nan], nan=0.0, posinf=np.inf).max(initial=0.0)),
        wrong_nan=int((wrong_nan & ~noisy).sum()),
        listed={
            kind: (int(mask.sum()), int((mask & (wrong_nan | (far > LIMIT))).sum()))
            for kind, mask in masks.items()
            if mask.any()
        },
    )


def _chosen(provider: Path, fields: Sequence[str], names: Sequence[str]) -> list[Stock]:
    stocks = read_stocks(provider, fields)
    return [stocks[name] for name in names]


class _NoiseFinder:
    """Where an operator's inner series is such that qlib's value over it is noise; series are computed once."""

    def __init__(self, provider: Path, names: Sequence[str]) -> None:
        self._provider, self._names = provider, names
        self._series: dict[str, list[Doubles]] = {}

    def find(self, noise: Noise) -> Mask:
        """Of every day of every life, one after the other."""
        masks = []
        for values in self._inner(noise.inner):
            mask = _RULES[noise.kind](values, noise.window)
            spread = mask.copy()
            for days in range(1, noise.after):
                spread[days:] |= mask[:-days]
            masks.append(spread)
        return np.concatenate(masks)

    def _inner(self, expression: str) -> list[Doubles]:
        if expression not in self._series:
            compiled = compile_alphas({"inner": expression})
            assert compiled.graph is not None, compiled.not_compiled
            stocks = _chosen(self._provider, compiled.fields, self._names)
            values = alpha_columns(compiled.graph, stocks, compiled.window)[:, 0].astype(np.float64)
            self._series[expression] = np.split(values, np.cumsum([len(stock.values) for stock in stocks])[:-1])
        return self._series[expression]


def _windows(values: Doubles, window: int) -> Doubles:
    """[days, window], NaN before the first day."""
    return sliding_window_view(np.concatenate([np.full(window - 1, np.nan), values]), window)


def _variance(values: Doubles, window: int) -> Doubles:
    windows = _windows(np.where(np.isinf(values), np.nan, values), window)
    count = (~np.isnan(windows)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(windows, axis=1) / count
        variance: Doubles = np.nansum((windows - mean[:, None]) ** 2, axis=1) / count
    return variance


def _largest(values: Doubles) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0))


def _moments(values: Doubles, window: int) -> Mask:
    """The sum of the largest fourth powers in double against the square of the window's variance."""
    finite = values[np.isfinite(values)]
    shift = round(float(finite.mean())) if len(finite) and finite.min() - finite.mean() > -1e4 else 0
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = 16 * _EPSILON * _largest(values - shift) ** 4 / _variance(values, window) ** 2
    return np.nan_to_num(noise, nan=0.0) > LIMIT


def _sums(values: Doubles, window: int) -> Mask:
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = 16 * _EPSILON * _largest(values) ** 2 / _variance(values, window)
    return np.nan_to_num(noise, nan=0.0) > LIMIT


def _after_infinity(values: Doubles, window: int) -> Mask:
    return np.maximum.accumulate(np.isinf(values))


def _one_value(values: Doubles, window: int) -> Mask:
    return np.asarray((~np.isnan(_windows(values, window))).sum(axis=1) == 1)


def _ties(values: Doubles, window: int) -> Mask:
    windows = _windows(values, window)
    near = np.abs(windows[:, :-1] - windows[:, -1:]) <= 1e-6 * np.abs(windows[:, -1:])
    return np.asarray(near.any(axis=1))


def _gaps(values: Doubles, window: int) -> Mask:
    """More than 60 days of a whole window are missing."""
    missing = np.isnan(_windows(values, window)).sum(axis=1) > 60
    return np.asarray(missing & (np.arange(len(values)) >= window))


_RULES = {
    "moments": _moments,
    "sums": _sums,
    "infinity": _after_infinity,
    "one value": _one_value,
    "tie": _ties,
    "gap": _gaps,
}
