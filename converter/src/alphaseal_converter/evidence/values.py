"""Raw feature values of the run's recorded predictions: where they are, and the replay that proves the feature order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.arrow.columns import numbers_of
from alphaseal.errors import InputError, NotReadableError
from alphaseal.scoring.pipeline import Pipeline
from alphaseal.tables.feature_files import read_parquet
from alphaseal.tables.features import FeatureBlock
from alphaseal.tables.windows import Windows
from alphaseal_converter.comparison.parity import Matrix, Vector
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.order import OrderedFeature
from alphaseal_converter.factors.table import column_names
from alphaseal_converter.locate.artifacts import Predictions

MINIMUM_DAYS = 2
Origin = Literal["features_file", "qlib", "bars"]


@dataclass(frozen=True)
class RawFile:
    """A parquet file of raw values (before any processor) and its origin; `where` is what errors say of it.

    `sha256` is the digest of the file, or of the market data that it was computed from (`Provider.digest`).
    """

    path: Path
    origin: Origin
    sha256: str
    dtypes: Mapping[str, str]
    where: str


@dataclass(frozen=True)
class Recorded:
    """Recorded predictions with the raw values behind them.

    `block` holds all rows of the period in the order of (date, instrument), for windows with the days before it;
    `rows` int64 are those of the recorded predictions, `scores` float64 [rows] as qlib recorded them; `recorded` counts
    all recorded predictions, those on days that the raw values do not cover too.
    """

    block: FeatureBlock
    rows: npt.NDArray[np.int64]
    scores: Vector
    recorded: int

    @property
    def dates(self) -> npt.NDArray[np.datetime64]:
        """datetime64[D] of each recorded prediction."""
        return self.block.dates[self.rows]

    @property
    def instruments(self) -> list[str]:
        """Instrument of each recorded prediction."""
        names: list[str] = self.block.instruments.take(pa.array(self.rows)).to_pylist()
        return names

    @property
    def values(self) -> Matrix:
        """Raw values float64 [rows, features] of each recorded prediction, without the days before."""
        return self.block.values[self.rows]


def open_raw_file(path: Path, origin: Origin) -> RawFile:
    """Look at the schema and the digest of a file of raw values; NotReadableError or RefusalError where it is none."""
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise NotReadableError(
            "features.not_readable", f"cannot read the raw values: {error.strerror}", where=str(path)
        ) from None
    return RawFile(path, origin, sha256, dict(column_names(path)), str(path))


def sha256_of(path: Path) -> str:
    """The digest of a file of any size, in hexadecimal digits."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
    return sha256.hexdigest()


def join_values(
    raw: RawFile,
    table: Path | None,
    features: Sequence[OrderedFeature],
    predictions: Predictions,
    step_length: int,
    where: str,
) -> Recorded:
    """Raw values of every recorded prediction on the dates that the file covers.

    Features that the file lacks are taken from the run's factor table, by key, as the run's loader joined it (left: a
    key that is not there is missing).  Models on windows keep the days before; a recorded date with fewer than
    `step_length` days up to it is not covered.  Raises RefusalError ``replay.no_common_day``, ``replay.rows_missing``.
    """
    first, last = predictions.dates.min(), predictions.dates.max()
    span = (first if step_length == 1 else None, last)
    in_file = [feature for feature in features if feature.name in raw.dtypes]
    block = _read(raw.path, in_file, span)
    if len(in_file) < len(features):
        block = _with_table(block, in_file, table, features, span, raw)
    calendar = np.unique(block.dates)
    covered_dates = calendar[step_length - 1 :]
    covered = np.isin(predictions.dates, covered_dates)
    if len(np.unique(predictions.dates[covered])) < MINIMUM_DAYS:
        raise RefusalError(
            "replay.no_common_day",
            f"the raw values cover fewer than {MINIMUM_DAYS} days of the recorded predictions",
            where=raw.where,
            expected=f"days from {first} to {last}" + (f" and {step_length - 1} before" if step_length > 1 else ""),
        )
    index = {key: row for row, key in enumerate(_keys(block.dates, block.instruments.to_pylist()))}
    wanted = list(_keys(predictions.dates[covered], predictions.instruments[covered].tolist()))
    rows = np.fromiter((index.get(key, -1) for key in wanted), dtype=np.int64, count=len(wanted))
    if (rows < 0).any():
        day, instrument = wanted[int(np.argmax(rows < 0))]
        raise RefusalError(
            "replay.rows_missing",
            f"{int((rows < 0).sum())} recorded predictions have no row of raw values on a day that the file covers",
            where=raw.where,
            found=f"for example {np.datetime64(day, 'D')} {instrument}",
            expected=f"a row for every prediction of {where}",
        )
    order = np.argsort(rows, kind="stable")
    return Recorded(block, rows[order], predictions.scores[covered][order], len(predictions.scores))


def _keys(dates: npt.NDArray[np.datetime64], instruments: Sequence[str]) -> Any:
    return zip(dates.astype("datetime64[D]").astype(np.int64).tolist(), instruments, strict=True)


def _read(path: Path, features: Sequence[OrderedFeature], span: tuple[Any, Any]) -> FeatureBlock:
    try:
        return read_parquet(path, features, dates=span)
    except InputError as error:
        raise RefusalError(
            error.code,
            error.message,
            where=str(path),
            expected=error.expected,
            found=error.found,
            next_step=error.next_step,
        ) from None


def _with_table(
    block: FeatureBlock,
    in_file: Sequence[OrderedFeature],
    table: Path | None,
    features: Sequence[OrderedFeature],
    span: tuple[Any, Any],
    raw: RawFile,
) -> FeatureBlock:
    """The block with all features: those that the file lacks left-joined from the factor table."""
    from_table = [feature for feature in features if feature.name not in raw.dtypes]
    if table is None:
        names = ", ".join(feature.name for feature in from_table)
        raise RefusalError(
            "features.missing_column",
            "features are neither in the file nor in a factor table",
            where=raw.where,
            found=names,
        )
    other = _read(table, from_table, span)
    index = {key: row for row, key in enumerate(_keys(other.dates, other.instruments.to_pylist()))}
    keys = _keys(block.dates, block.instruments.to_pylist())
    rows = np.fromiter((index.get(key, -1) for key in keys), dtype=np.int64, count=len(block))
    position = {feature.name: place for place, feature in enumerate(features)}
    values = np.full((len(block), len(features)), np.nan)
    values[:, [position[feature.name] for feature in in_file]] = block.values
    joined = np.where((rows >= 0)[:, None], other.values[rows], np.nan)
    values[:, [position[feature.name] for feature in from_table]] = joined
    return FeatureBlock(block.dates, block.instruments, values, block.extra)


def after_stages(recorded: Recorded, pipeline: Pipeline) -> Recorded:
    """The recorded predictions with what the stages before the last graph make of their raw values."""
    prepared = pipeline.prepare(recorded.block)
    kept = np.isin(recorded.rows, prepared.rows)
    rows = np.searchsorted(prepared.rows, recorded.rows[kept]).astype(np.int64)
    block = FeatureBlock(prepared.dates, prepared.instruments, prepared.values, ())
    return Recorded(block, rows, recorded.scores[kept], recorded.recorded)


def window_rows(recorded: Recorded, length: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64 [rows, length]: for some rows of the block those of their windows of `length` days, the row itself last."""
    if length == 1:
        return rows[:, None]
    block = recorded.block
    codes = numbers_of(block.instruments.dictionary_encode().indices, np.dtype(np.int32))
    return Windows.of(block.dates, codes, np.unique(block.dates), length).rows(rows)


def sample_windows(recorded: Recorded, length: int, count: int) -> Matrix:
    """Raw windows float64 [windows, length, features] of at most `count` recorded predictions, evenly spread."""
    chosen = recorded.rows[np.linspace(0, len(recorded.rows) - 1, min(count, len(recorded.rows))).astype(int)]
    sampled: Matrix = recorded.block.values[window_rows(recorded, length, chosen)]
    return sampled
