"""Raw feature values of the run's recorded predictions: where they are, and the replay that proves the feature order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from alphaseal.errors import InputError, NotReadableError
from alphaseal.features import read_parquet
from alphaseal.manifest import Replay
from alphaseal.selftest import ulp_distance

from .artifacts import Predictions
from .errors import RefusalError
from .factors_table import column_names
from .parity import Matrix, Vector
from .resolve import OrderedFeature

MINIMUM_DAYS = 2


@dataclass(frozen=True)
class RawFile:
    """A parquet file of raw values (before any processor), its origin and its sha256."""

    path: Path
    origin: Literal["features_file", "qlib"]
    sha256: str
    dtypes: Mapping[str, str]


@dataclass(frozen=True)
class Recorded:
    """Recorded predictions with the raw values behind them, sorted by date, then instrument.

    `dates` datetime64[D] [rows], `instruments` str [rows], `values` float64 [rows, features] in model order, each value
    of its training dtype, `scores` float64 [rows] as qlib recorded them; `recorded` counts all recorded predictions.
    """

    dates: npt.NDArray[np.datetime64]
    instruments: npt.NDArray[np.object_]
    values: Matrix
    scores: Vector
    recorded: int


def open_raw_file(path: Path, origin: Literal["features_file", "qlib"]) -> RawFile:
    """Look at the schema and the digest of a file of raw values; NotReadableError or RefusalError where it is none."""
    try:
        with path.open("rb") as file:
            sha256 = hashlib.sha256()
            while chunk := file.read(1 << 20):
                sha256.update(chunk)
    except OSError as error:
        raise NotReadableError("features.not_readable", f"cannot read the raw values: {error.strerror}", where=str(path)) from None
    return RawFile(path, origin, sha256.hexdigest(), dict(column_names(path)))


def join_values(
    raw: RawFile, table: Path | None, features: Sequence[OrderedFeature], predictions: Predictions, where: str
) -> Recorded:
    """Raw values of every recorded prediction on the dates that the file covers.

    Features that the file lacks are taken from the run's factor table, by key, as the run's loader joined it (left: a
    key that is not there is missing).  Raises RefusalError ``replay.no_common_day``, ``replay.rows_missing``.
    """
    order = np.lexsort((predictions.instruments.astype(str), predictions.dates))
    dates, instruments, scores = (part[order] for part in (predictions.dates, predictions.instruments, predictions.scores))
    span = (dates[0], dates[-1])
    in_file = [feature for feature in features if feature.name in raw.dtypes]
    from_table = [feature for feature in features if feature.name not in raw.dtypes]
    found_dates, positions, matrix = _keyed(raw.path, in_file, span, dates, instruments)
    covered = np.isin(dates, found_dates)
    if len(np.unique(dates[covered])) < MINIMUM_DAYS:
        raise RefusalError(
            "replay.no_common_day",
            f"the raw values cover fewer than {MINIMUM_DAYS} days of the recorded predictions",
            where=str(raw.path),
            expected=f"days from {span[0]} to {span[1]}",
        )
    absent = np.flatnonzero(covered & (positions < 0))
    if len(absent):
        raise RefusalError(
            "replay.rows_missing",
            f"{len(absent)} recorded predictions have no row of raw values on a day that the file covers",
            where=str(raw.path),
            found=f"for example {dates[absent[0]]} {instruments[absent[0]]}",
            expected=f"a row for every prediction of {where}",
        )
    values = np.full((len(dates), len(features)), np.nan)
    index_of = {feature.name: position for position, feature in enumerate(features)}
    values[:, [index_of[feature.name] for feature in in_file]] = matrix[positions]
    if from_table:
        if table is None:
            names = ", ".join(feature.name for feature in from_table)
            raise RefusalError("features.missing_column", "features are neither in the file nor in a factor table", where=str(raw.path), found=names)
        _, positions, matrix = _keyed(table, from_table, span, dates, instruments)
        there = positions >= 0
        columns = [index_of[feature.name] for feature in from_table]
        values[np.ix_(there, columns)] = matrix[positions[there]]
    return Recorded(dates[covered], instruments[covered], values[covered], scores[covered], len(dates))


def _keyed(
    path: Path,
    features: Sequence[OrderedFeature],
    span: tuple[np.datetime64, np.datetime64],
    dates: npt.NDArray[np.datetime64],
    instruments: npt.NDArray[np.object_],
) -> tuple[npt.NDArray[np.datetime64], npt.NDArray[np.int64], Matrix]:
    """The file's dates, the row of each (date, instrument) or -1, and its values [rows + 1, features] (the last is NaN)."""
    try:
        block = read_parquet(path, features, dates=span)
    except InputError as error:
        raise RefusalError(error.code, error.message, where=str(path), expected=error.expected, found=error.found, next_step=error.next_step) from None
    rows = {key: row for row, key in enumerate(zip(block.dates.astype(np.int64).tolist(), block.instruments.to_pylist(), strict=True))}
    wanted = zip(dates.astype(np.int64).tolist(), instruments.tolist(), strict=True)
    positions = np.fromiter((rows.get(key, -1) for key in wanted), dtype=np.int64, count=len(dates))
    return np.unique(block.dates), positions, np.vstack([block.values, np.full((1, len(features)), np.nan)])


def replay(recorded: Recorded, raw: RawFile, score: Callable[[Matrix], Vector], bound_ulp: int, where: str) -> Replay:
    """Score the raw values and compare with the recorded predictions.

    Raises RefusalError ``order.replay_differs`` above `bound_ulp`: the order, the preprocessing, the weights or the
    values are not those of the run.
    """
    scores = score(recorded.values)
    distance = ulp_distance(scores, recorded.scores)
    difference = np.abs(scores - recorded.scores)
    worst = float(np.nanmax(difference)) if np.isfinite(difference).any() else 0.0
    wrong = int((distance > bound_ulp).sum())
    if wrong:
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = np.corrcoef(scores, recorded.scores)[0, 1]
        raise RefusalError(
            "order.replay_differs",
            f"{wrong} of {len(distance)} recorded predictions are not reproduced (largest difference {worst:.3g}, correlation {correlation:.4f})",
            where=where,
            expected=f"qlib's own scores within {bound_ulp} ulp",
            found=f"raw values from {raw.path.name} give other scores",
            next_step="check that the raw values are those of the run (same data, before any processor), or let qlib compute them with --replay-with",
        )
    return Replay(
        values=raw.origin,
        values_sha256=raw.sha256,
        rows=len(distance),
        recorded=recorded.recorded,
        first=str(recorded.dates[0]),
        last=str(recorded.dates[-1]),
        largest_difference=worst,
        largest_ulp=int(distance.max()),
    )


def write_golden(
    path: Path, schema: pa.Schema, cases: Sequence[tuple[str, Recorded | None, Matrix, Vector]]
) -> int:
    """Write golden rows and return their count: (case, keys or None for made-up rows, raw values, judge's scores) each."""
    tables = []
    for case, keys, values, scores in cases:
        rows = len(values)
        dates = pa.array(keys.dates.astype(np.int64).astype(np.int32)).view(pa.date32()) if keys is not None else pa.nulls(rows, pa.date32())
        names = pa.array(keys.instruments.tolist(), pa.string()) if keys is not None else pa.nulls(rows, pa.string())
        features = [pa.array(values[:, i].astype(schema.field(i + 3).type.to_pandas_dtype())) for i in range(values.shape[1])]
        tables.append(pa.Table.from_arrays([pa.array([case] * rows, pa.string()), dates, names, *features, pa.array(scores)], schema=schema))
    table = pa.concat_tables(tables)
    pq.write_table(table, path, compression="zstd", row_group_size=len(table) or 1, write_statistics=False, store_schema=False)
    return int(len(table))
