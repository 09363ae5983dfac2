"""The golden rows and the golden bars of a bundle: their exact schemas, and reading them (V8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.arrow.columns import days_of, floats_of, indices_of, numbers_of, row_order, text_of
from alphaseal.errors import PolicyError
from alphaseal.gate.data import read_exact
from alphaseal.tables.features import FeatureBlock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alphaseal.arrow.number_types import NumberColumn
    from alphaseal.format.manifest import AlphaGraph
    from alphaseal.sealed import Sealed


CONTEXT = "context"
"""Case of the golden rows that are history of others."""


def golden_schema(features: Sequence[NumberColumn]) -> pa.Schema:
    """The exact schema of golden.parquet: case, keys (null for made-up rows), features in model order, score.

    Rows of the case `CONTEXT` are there for the windows of others and have no score.
    """
    types = {"float32": pa.float32(), "float64": pa.float64()}
    columns = [pa.field(feature.name, types[feature.dtype]) for feature in features]
    keys = [pa.field("case", pa.string()), pa.field("datetime", pa.date32()), pa.field("instrument", pa.string())]
    return pa.schema([*keys, *columns, pa.field("score", pa.float64())])


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


def read_golden(sealed: Sealed) -> pa.Table:
    """golden.parquet as the manifest says it is; PolicyError `data.*`."""
    # V8: exact schema and rows, in a budget
    golden = sealed.manifest.golden
    return read_exact(sealed.golden(), golden_schema(sealed.manifest.features), golden.rows, golden.file)


@dataclass(frozen=True)
class GoldenBarsReport:
    """Features of golden bars that are within their tolerances."""

    stocks: int
    features: int
    bit_identical: int
    """Of stocks × features values."""
    largest: float
    """Largest difference from the recorded value, in tolerances of its feature."""


def bars_schema(fields: Sequence[str]) -> pa.Schema:
    """The exact schema of golden_bars.parquet: keys, fields in the graph's order."""
    keys = [pa.field("datetime", pa.date32()), pa.field("instrument", pa.string())]
    return pa.schema([*keys, *(pa.field(field, pa.float32()) for field in fields)])


def golden_bars(sealed: Sealed, alphas: AlphaGraph) -> FeatureBlock:
    """The golden bars by date and instrument; PolicyError `data.*` and `golden.keys`."""
    # V8: exact schema and rows, in a budget
    table = read_exact(sealed.golden(alphas.golden), bars_schema(alphas.fields), alphas.golden_rows, alphas.golden)
    values = np.stack([floats_of(table[field].combine_chunks(), "float32") for field in alphas.fields], axis=1)
    return keyed_block(table, values, alphas.golden)[0]
