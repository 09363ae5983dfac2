"""The golden rows of a bundle, scored on this machine and compared with what the original model gave."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.arrow.columns import floats_of, indices_of
from alphaseal.errors import InputError, PolicyError, SelfTestError
from alphaseal.scoring.golden import CONTEXT, GoldenBarsReport, keyed_block, read_golden
from alphaseal.scoring.numeric import allowed, outside, ulp_distance
from alphaseal.tables.features import FeatureBlock

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from alphaseal.scoring.pipeline import Pipeline
    from alphaseal.sealed import Sealed


_PASSED: set[tuple[str, str]] = set()
"""Digests and parts of the self-test: a digest commits to graph, rows and scores."""


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
    alphas: GoldenBarsReport | None
    """Of the golden bars; null where the bundle has none, or where a sample of the rows was asked for."""
    factors: GoldenBarsReport | None = None
    """The same of compiled factors."""


def once(digest: str, part: Literal["sample", "whole", "alphas", "factors"], test: Callable[[], object]) -> None:
    """Run a self-test of the bundle with this digest unless the same part passed before in this process."""
    if (digest, part) not in _PASSED:
        test()
        _PASSED.add((digest, part))


def run(
    sealed: Sealed,
    pipeline: Pipeline,
    alphas: Callable[[], GoldenBarsReport] | None = None,
    factors: Callable[[], GoldenBarsReport | None] | None = None,
    sample: int | None = None,
) -> SelfTestReport:
    """Score the golden rows by `pipeline`, and compute the features of golden bars where `alphas` and `factors` do that.

    SelfTestError (19) where a score is further from the judge's than the manifest allows, or stocks of a golden day
    change places that are no near tie.
    `sample` bounds the rows of a model that scores rows alone, evenly spread over all cases; others score whole days.
    """
    import onnxruntime

    golden, bound = sealed.manifest.golden, sealed.manifest.parity.bound
    scores, expected, keyed = _score(sealed, pipeline, read_golden(sealed), sample)
    distance = ulp_distance(scores, expected)
    rows = keyed.rows
    order = None
    if distance.any():  # else the order is the judge's too
        from alphaseal.scoring.near_ties import compare_order

        limits = allowed(bound, expected[rows])
        order = compare_order(keyed.dates, keyed.instruments, scores[rows], expected[rows], limits)
    example = None if order is None else order.example
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "pyarrow": pa.__version__,
    }
    # V9: the bound, row by row, and the order of each golden day but for near ties
    if (wrong := int(outside(bound, scores, expected).sum())) > 0 or example is not None:
        raise SelfTestError(
            "selftest.scores",
            f"{wrong} of {len(distance)} golden rows score differently on this machine",
            where=golden.file,
            expected=f"the scores of {golden.judge} within the bound of the manifest ({bound.text})",
            found=f"{int(distance.max())} ulp with "
            + ", ".join(f"{name} {version}" for name, version in versions.items())
            + (f"; another order of stocks ({example})" if example is not None else ""),
            next_step="do not trade on these scores; go back to the library versions of the last good self-test",
        )
    bit_identical = int((distance == 0).sum())
    return SelfTestReport(
        rows=len(distance),
        largest_ulp=int(distance.max()),
        bit_identical=bit_identical,
        judge=golden.judge,
        versions=versions,
        swaps=0 if order is None else order.swaps,
        largest_gap=0.0 if order is None else order.largest_gap,
        alphas=None if alphas is None else alphas(),
        factors=None if factors is None else factors(),
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
    sealed: Sealed, pipeline: Pipeline, table: pa.Table, sample: int | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], _Keyed]:
    """(scores, the judge's scores) of all rows but context, NaN where a row has none; and which of them have keys."""
    features = sealed.manifest.features
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
        block, order = keyed_block(table, values, sealed.manifest.golden.file)
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
            where=sealed.manifest.golden.file,
            expected=error.expected,
            found=error.found,
            next_step="ask the bundle's producer: a bundle that cannot test itself is not scored",
        ) from None
    scores = np.full(len(values), np.nan)
    scores[rows] = found
    return scores[compared], expected[compared], _Keyed.of(table.take(indices_of(np.flatnonzero(compared))))
