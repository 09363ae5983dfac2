"""The golden rows of a bundle, scored on this machine and compared with what the original model gave."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import PolicyError, SelfTestError
from .numeric import outside, ulp_distance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .bundle import Bundle
    from .features import Feature


@dataclass(frozen=True)
class SelfTestReport:
    """Result of a self-test that passed, with the versions it ran on."""

    rows: int
    largest_ulp: int
    bit_identical: int
    judge: str
    versions: dict[str, str]


def golden_schema(features: Sequence[Feature]) -> pa.Schema:
    """The exact schema of golden.parquet: case, keys (null for made-up rows), features in model order, score."""
    types = {"float32": pa.float32(), "float64": pa.float64()}
    columns = [pa.field(feature.name, types[feature.dtype]) for feature in features]
    keys = [pa.field("case", pa.string()), pa.field("datetime", pa.date32()), pa.field("instrument", pa.string())]
    return pa.schema([*keys, *columns, pa.field("score", pa.float64())])


def run(bundle: Bundle) -> SelfTestReport:
    """Score the golden rows; SelfTestError (19) where a score is further from the judge's than the manifest allows."""
    import onnxruntime

    golden, bound = bundle.manifest.golden, bundle.manifest.parity.bound
    table = _read_golden(bundle)
    values = np.column_stack([table[feature.name].to_numpy().astype(np.float64) for feature in bundle.manifest.features])
    expected = table["score"].to_numpy()
    scores = bundle.graph().run(values)
    distance = ulp_distance(scores, expected)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "onnxruntime": onnxruntime.__version__, "pyarrow": pa.__version__}
    if (wrong := int(outside(bound, scores, expected).sum())) > 0:
        raise SelfTestError(
            "selftest.scores",
            f"{wrong} of {len(distance)} golden rows score differently on this machine",
            where=golden.file,
            expected=f"the scores of {golden.judge} within the bound of the manifest ({bound.text})",
            found=f"{int(distance.max())} ulp with " + ", ".join(f"{name} {version}" for name, version in versions.items()),
            next_step="do not trade on these scores; go back to the library versions of the last good self-test",
        )
    return SelfTestReport(len(distance), int(distance.max()), int((distance == 0).sum()), golden.judge, versions)


def _read_golden(bundle: Bundle) -> pa.Table:
    golden = bundle.manifest.golden
    try:
        file = pq.ParquetFile(bundle.golden(), arrow_extensions_enabled=False)
        schema, rows = file.schema_arrow.remove_metadata(), file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise PolicyError("golden.parquet", f"not a parquet file: {str(error).splitlines()[0][:200]}", where=golden.file) from None
    wanted = golden_schema(bundle.manifest.features)
    if not schema.equals(wanted) or rows != golden.rows:
        raise PolicyError("golden.schema", "golden rows do not have the schema or the count of the manifest", where=golden.file)
    return file.read()
