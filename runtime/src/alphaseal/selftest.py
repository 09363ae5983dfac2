"""The golden rows of a bundle, scored on this machine and compared with what the original model gave."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .arrow_columns import days_of, floats_of, indices_of, numbers_of, row_order, text_of
from .data_gate import read_exact
from .errors import InputError, PolicyError, SelfTestError
from .features import FeatureBlock
from .near_ties import compare_order
from .numeric import allowed, outside, ulp_distance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .alpha_selftest import AlphaReport
    from .bundle import Bundle
    from .features import Feature

CONTEXT = "context"
"""Case of the golden rows that are history of others."""


@dataclass(frozen=True)
class SelfTestReport:
    """Result of a self-test that passed, with the versions it ran on."""

    rows: int
    largest_ulp: int
    bit_identical: int
    judge: str
    versions: dict[str, str]
    swaps: int
    """Pairs of stocks of a golden day that changed places within near ties."""
    largest_gap: float
    """Largest difference of the judge's scores of such a pair."""
    alphas: AlphaReport | None
    """Of the golden bars; null where the bundle has none, or where a sample of the rows was asked for."""


def golden_schema(features: Sequence[Feature]) -> pa.Schema:
    """The exact schema of golden.parquet: case, keys (null for made-up rows), features in model order, score.

    Rows of the case `CONTEXT` are there for the windows of others and have no score.
    """
    types = {"float32": pa.float32(), "float64": pa.float64()}
    columns = [pa.field(feature.name, types[feature.dtype]) for feature in features]
    keys = [pa.field("case", pa.string()), pa.field("datetime", pa.date32()), pa.field("instrument", pa.string())]
    return pa.schema([*keys, *columns, pa.field("score", pa.float64())])


def run(bundle: Bundle, sample: int | None = None) -> SelfTestReport:
    """Score the golden rows.

    SelfTestError (19) where a score is further from the judge's than the manifest allows, or stocks of a golden day
    change places that are no near tie.
    Without `sample` the alpha features of the golden bars are computed too, where there are some.
    `sample` bounds the rows of a model that scores rows alone, evenly spread over all cases; others score whole days.
    """
    import onnxruntime

    golden, bound = bundle.manifest.golden, bundle.manifest.parity.bound
    scores, expected, keyed = _score(bundle, read_golden(bundle), sample)
    distance = ulp_distance(scores, expected)
    rows = keyed.rows
    limits = allowed(bound, expected[rows])
    order = compare_order(keyed.dates, keyed.instruments, scores[rows], expected[rows], limits)
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "pyarrow": pa.__version__,
    }
    # V9: the bound, row by row, and the order of each golden day but for near ties
    if (wrong := int(outside(bound, scores, expected).sum())) > 0 or order.others:
        raise SelfTestError(
            "selftest.scores",
            f"{wrong} of {len(distance)} golden rows score differently on this machine",
            where=golden.file,
            expected=f"the scores of {golden.judge} within the bound of the manifest ({bound.text})",
            found=f"{int(distance.max())} ulp with "
            + ", ".join(f"{name} {version}" for name, version in versions.items())
            + (f"; another order of stocks ({order.example})" if order.example is not None else ""),
            next_step="do not trade on these scores; go back to the library versions of the last good self-test",
        )
    bit_identical = int((distance == 0).sum())
    alphas = bundle.alphas().selftest(bundle) if sample is None and bundle.manifest.alphas is not None else None
    return SelfTestReport(
        rows=len(distance),
        largest_ulp=int(distance.max()),
        bit_identical=bit_identical,
        judge=golden.judge,
        versions=versions,
        swaps=order.swaps,
        largest_gap=order.largest_gap,
        alphas=alphas,
    )


@dataclass(frozen=True)
class _Keyed:
    """The compared rows that belong to a stock and a day: their places, datetime64[D] and instruments."""

    rows: npt.NDArray[np.int64]
    dates: npt.NDArray[np.datetime64]
    instruments: list[str]

    @classmethod
    def of(cls, table: pa.Table) -> _Keyed:
        """Made-up rows of golden.parquet have no keys."""
        names = table["instrument"].to_pylist()
        dates = table["datetime"].to_pylist()
        rows = [row for row, key in enumerate(zip(dates, names, strict=True)) if None not in key]
        return cls(
            np.array(rows, np.int64),
            np.array([dates[row] for row in rows], "datetime64[D]"),
            [names[row] for row in rows],
        )


def _score(
    bundle: Bundle, table: pa.Table, sample: int | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], _Keyed]:
    """(scores, the judge's scores) of all rows but context, NaN where a row has none; and which of them have keys."""
    pipeline = bundle.pipeline()
    features = bundle.manifest.features
    values = np.empty((len(table), len(features)), np.float64)
    for position, feature in enumerate(features):
        values[:, position] = floats_of(table[feature.name].combine_chunks(), feature.dtype)
    expected = floats_of(table["score"].combine_chunks(), "float64")
    if pipeline.step_length == 1 and not pipeline.needs_whole_day:
        chosen = np.unique(np.linspace(0, len(values) - 1, min(sample or len(values), len(values))).astype(np.intp))
        values, expected, table = values[chosen], expected[chosen], table.take(indices_of(chosen))
        # Rows alone: made-up ones have no keys, and need none.
        block, first = (
            FeatureBlock(np.zeros(len(values), "datetime64[D]"), pa.nulls(len(values), pa.string()), values, ()),
            None,
        )
        compared = np.ones(len(values), np.bool_)
    else:
        block, order = keyed_block(table, values, bundle.manifest.golden.file)
        expected, table = expected[order], table.take(indices_of(order))
        compared = np.array([case != CONTEXT for case in table["case"].to_pylist()])
        first = block.dates[np.argmax(compared)]
    try:
        rows, found = pipeline.run(block, first)
    except InputError as error:
        # Windows that reach back further than the golden rows: their producer left days out.
        raise PolicyError(
            "golden.window",
            f"the golden rows cannot be scored: {error.message}",
            where=bundle.manifest.golden.file,
            expected=error.expected,
            found=error.found,
            next_step="ask the bundle's producer: a bundle that cannot test itself is not scored",
        ) from None
    scores = np.full(len(values), np.nan)
    scores[rows] = found
    return scores[compared], expected[compared], _Keyed.of(table.take(indices_of(np.flatnonzero(compared))))


def keyed_block(
    table: pa.Table, values: npt.NDArray[np.float64], where: str
) -> tuple[FeatureBlock, npt.NDArray[np.int64]]:
    """The rows by date and instrument, and where they stood; PolicyError `golden.keys` unless every row has keys of its own."""
    dates, instruments = (table[name].combine_chunks() for name in ("datetime", "instrument"))
    if not len(table) or dates.null_count or instruments.null_count:
        raise PolicyError(
            "golden.keys",
            "golden rows without date or instrument belong to no stock and no day",
            where=where,
        )
    encoded = text_of(instruments).dictionary_encode()
    days = days_of(dates)
    order, repeated = row_order(days, numbers_of(encoded.indices, np.dtype(np.int32)), encoded.dictionary)
    if repeated is not None:
        raise PolicyError("golden.keys", "a golden row is there twice", where=where, found=repeated)
    order = np.arange(len(days)) if order is None else order
    return FeatureBlock(
        days[order].astype("datetime64[D]"), instruments.take(indices_of(order)), values[order], ()
    ), order


def read_golden(bundle: Bundle) -> pa.Table:
    """golden.parquet as the manifest says it is; PolicyError `data.*`."""
    # V8: exact schema and rows, in a budget
    golden = bundle.manifest.golden
    return read_exact(bundle.golden(), golden_schema(bundle.manifest.features), golden.rows, golden.file)
