"""The golden rows of a bundle, scored on this machine and compared with what the original model gave."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import PolicyError, SelfTestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .bundle import Bundle
    from .manifest import Feature


@dataclass(frozen=True)
class SelfTestReport:
    """Result of a self-test that passed, with the versions it ran on."""

    rows: int
    largest_ulp: int
    bound_ulp: int
    bit_identical: int
    judge: str
    versions: dict[str, str]


def golden_schema(features: Sequence[Feature]) -> pa.Schema:
    """The exact schema of golden.parquet: case, keys (null for made-up rows), features in model order, score."""
    types = {"float32": pa.float32(), "float64": pa.float64()}
    columns = [pa.field(feature.name, types[feature.dtype]) for feature in features]
    keys = [pa.field("case", pa.string()), pa.field("datetime", pa.date32()), pa.field("instrument", pa.string())]
    return pa.schema([*keys, *columns, pa.field("score", pa.float64())])


def ulp_distance(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Units in the last place between doubles, elementwise; NaN and NaN are 0 apart, NaN and a number 2**63."""

    def ordered(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
        # Sign and magnitude to a line on which neighbours differ by one; -0.0 and 0.0 meet at zero.
        return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)

    a, b = ordered(left), ordered(right)
    # Subtract as unsigned: the distance of the largest doubles of both signs does not fit int64.
    distance = np.where(a >= b, a.view(np.uint64) - b.view(np.uint64), b.view(np.uint64) - a.view(np.uint64))
    missing = np.isnan(left), np.isnan(right)
    distance[missing[0] ^ missing[1]] = np.uint64(2**63)
    distance[missing[0] & missing[1]] = np.uint64(0)
    return distance


def run(bundle: Bundle) -> SelfTestReport:
    """Score the golden rows; SelfTestError (19) where a score is further from the judge's than the manifest allows."""
    import onnxruntime

    golden, bound = bundle.manifest.golden, bundle.manifest.parity.bound_ulp
    table = _read_golden(bundle)
    values = np.column_stack([table[feature.name].to_numpy().astype(np.float64) for feature in bundle.manifest.features])
    expected = table["score"].to_numpy()
    distance = ulp_distance(bundle.graph().run(values), expected)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "onnxruntime": onnxruntime.__version__, "pyarrow": pa.__version__}
    if (wrong := int((distance > bound).sum())) > 0:
        raise SelfTestError(
            "selftest.scores",
            f"{wrong} of {len(distance)} golden rows score differently on this machine",
            where=golden.file,
            expected=f"at most {bound} ulp from {golden.judge}",
            found=f"{int(distance.max())} ulp with " + ", ".join(f"{name} {version}" for name, version in versions.items()),
            next_step="do not trade on these scores; go back to the library versions of the last good self-test",
        )
    return SelfTestReport(len(distance), int(distance.max()), bound, int((distance == 0).sum()), golden.judge, versions)


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
