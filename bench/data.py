"""What the measurements run on, made from fixed seeds into a cache directory: features, models, bundles, a long history.

``data.py CACHE DATES COLUMNS`` makes what is missing and prints where it is; DATES and COLUMNS are those of the history.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "converter" / "src"), str(ROOT / "runtime" / "src")]

from msgspec.structs import replace

from alphaseal.format import manifest as m
from alphaseal.scoring.golden import golden_schema
from alphaseal_converter.graph.assemble import build_scoring_graph
from alphaseal_converter.models.lightgbm import parse_model_text
from manifests import example_manifest, example_sources, manifest_of

STOCKS = 5000
_FEATURE_DATES = 60
_GOLDEN_ROWS = 1100
"""Two days of 300 stocks and 64 rows of eight probes."""
_DAYS_PER_GROUP = 20
_FIRST_DAY = np.datetime64("2019-01-01", "D")
_MISSING = 0.02


@dataclass(frozen=True)
class Case:
    """A model and the features it asks for; `parameters` are LightGBM's."""

    name: str
    features: int
    trees: int
    training_rows: int
    parameters: dict[str, float]


LARGE = Case("158x500", 158, 500, 40_000, {"learning_rate": 0.2, "max_depth": 8, "num_leaves": 210})
"""As many trees, and as deep, as qlib's Alpha158 benchmark asks for."""
SMALL = Case("20x100", 20, 100, 20_000, {"learning_rate": 0.1, "num_leaves": 31})


@dataclass(frozen=True)
class Scoring:
    """Paths of what one scoring case needs, and the date that is scored (the last one of the features)."""

    bundle: str
    model_text: str
    features: str
    pandas_features: str
    date: str


def names(count: int) -> list[str]:
    """Feature names, in model order."""
    return [f"F{index:03d}" for index in range(count)]


def trading_days(count: int) -> npt.NDArray[np.datetime64]:
    """`count` weekdays from the first day on."""
    return np.busday_offset(_FIRST_DAY, np.arange(count), roll="forward")


def instruments() -> list[str]:
    """qlib's names of the stocks, sorted."""
    return [f"SH{600_000 + index}" for index in range(STOCKS)]


def scoring(cache: Path, case: Case) -> Scoring:
    """The bundle, the model as LightGBM's text, and features of some dates in both layouts."""
    dates = _FEATURE_DATES
    directory = cache / case.name
    features = _once(directory / f"features_{dates}.parquet", lambda path: _write_features(path, case, dates))
    model_text = _once(directory / "model.txt", lambda path: _train(path, case))
    # Made anew every time: it is quick, and the project's own code makes it.
    bundle = directory / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    write_bundle(bundle, case, model_text.read_text(encoding="utf-8"))
    return Scoring(
        bundle=str(bundle),
        model_text=str(model_text),
        features=str(features),
        pandas_features=str(
            _once(directory / f"pandas_{dates}.parquet", lambda path: _as_pandas_writes(features, path))
        ),
        date=str(trading_days(dates)[-1]),
    )


def history(cache: Path, dates: int, columns: int) -> Path:
    """Factor values as RD-Agent leaves them: pandas' flattened names and index, snappy, row groups of a million rows."""
    name = f"history_{dates}x{columns}.parquet"
    return _once(cache / name, lambda path: _write_history(path, dates, columns))


def _once(path: Path, make: Callable[[Path], None]) -> Path:
    """`path`, made beside its place first, so that an interrupted run leaves no half of it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        if part.is_dir():
            shutil.rmtree(part)
        print(f"making {path.name} …", file=sys.stderr, flush=True)
        make(part)
        os.replace(part, path)
    return path


# --- models and bundles ---------------------------------------------------------------------------------------------


def _train(path: Path, case: Case) -> None:
    import lightgbm

    random = np.random.default_rng(1)
    values = _values(random, case.training_rows, case.features, np.float32).astype(np.float64)
    known = np.nan_to_num(values)
    label = known[:, 0] * known[:, 1] + np.sin(known[:, 2]) + random.standard_normal(len(values))
    parameters = {"objective": "mse", "verbosity": -1, "seed": 1, "deterministic": True, "force_row_wise": True}
    # One thread: on a busy machine the others are waited for at every level of every tree.
    parameters["num_threads"] = 1
    data = lightgbm.Dataset(values, label, feature_name=names(case.features))
    lightgbm.train(parameters | case.parameters, data, case.trees).save_model(path)


def write_bundle(directory: Path, case: Case, model_text: str) -> None:
    """A bundle as the converter writes it, of a model without a task: real graph, golden rows, full-sized manifest."""
    import lightgbm

    sources = example_sources()
    rows = _values(np.random.default_rng(2), _GOLDEN_ROWS, case.features, np.float32)
    scores = lightgbm.Booster(model_str=model_text).predict(rows.astype(np.float64))
    features = _manifest_features(case.features)
    files = {"model.onnx": build_scoring_graph([], parse_model_text(model_text), case.features)}
    files["golden.parquet"] = _golden(features, rows, scores)
    files |= {path: text.encode() for path, text in sources.items()}
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    manifest = _manifest(case, features, files)
    (directory / m.FILE_NAME).write_bytes(m.encode(manifest))
    m.parse(m.encode(manifest))


def _golden(features: list[m.Feature], rows: npt.NDArray[np.float32], scores: npt.NDArray[np.float64]) -> bytes:
    keys = [["bench"] * len(rows), [None] * len(rows), [None] * len(rows)]
    columns = [*keys, *rows.T, scores]
    schema = golden_schema(features)
    arrays = [pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), sink, store_schema=False)
    return bytes(sink.getvalue())


def _manifest_features(count: int) -> list[m.Feature]:
    model = example_manifest().features[0]
    return [replace(model, name=name, source=None) for name in names(count)]


def _manifest(case: Case, features: list[m.Feature], files: dict[str, bytes]) -> m.Manifest:
    golden = m.GoldenTable(file="golden.parquet", rows=_GOLDEN_ROWS, judge="lightgbm", days=[])
    return manifest_of(files, features, name=f"bench-{case.name}", golden=golden)


# --- tables ---------------------------------------------------------------------------------------------------------


def _values(random: np.random.Generator, rows: int, columns: int, dtype: type[np.floating]) -> npt.NDArray[np.floating]:
    """Normal values, a fiftieth of them missing."""
    values = random.standard_normal((rows, columns), dtype=np.float32).astype(dtype)
    values[random.random((rows, columns), dtype=np.float32) < _MISSING] = np.nan
    return values


def _blocks(dates: int, columns: int, schema: pa.Schema, dtype: type[np.floating]) -> Iterator[pa.Table]:
    """The table in blocks of `_DAYS_PER_GROUP` days, sorted by date and instrument; keys first or last, as in `schema`."""
    days = trading_days(dates)
    random = np.random.default_rng(3)
    stocks = np.array(instruments())
    for start in range(0, dates, _DAYS_PER_GROUP):
        block = days[start : start + _DAYS_PER_GROUP]
        values = _values(random, len(block) * STOCKS, columns, dtype)
        keys = {"datetime": np.repeat(block, STOCKS), "instrument": np.tile(stocks, len(block))}
        numbers = iter(range(columns))
        arrays = [
            pa.array(keys[field.name] if field.name in keys else values[:, next(numbers)]).cast(field.type)
            for field in schema
        ]
        yield pa.Table.from_arrays(arrays, schema=schema)


def _write_features(path: Path, case: Case, dates: int) -> None:
    """As the converter writes factors: plain names, no dictionary for numbers, zstd, row groups of 20 days."""
    fields = [
        ("datetime", pa.date32()),
        ("instrument", pa.string()),
        *((n, pa.float32()) for n in names(case.features)),
    ]
    keys = ["datetime", "instrument"]
    with pq.ParquetWriter(
        path, schema := pa.schema(fields), compression="zstd", use_dictionary=keys, write_statistics=keys
    ) as writer:
        for block in _blocks(dates, case.features, schema, np.float32):
            writer.write_table(block, row_group_size=len(block))


def _as_pandas_writes(source: Path, path: Path) -> None:
    """The same values from ``frame.to_parquet`` of a frame with qlib's index and columns of two levels."""
    import pandas as pd

    frame = pd.read_parquet(source)
    frame["datetime"] = pd.to_datetime(frame["datetime"])
    frame = frame.set_index(["datetime", "instrument"])
    frame.columns = pd.MultiIndex.from_product([["feature"], frame.columns])
    frame.to_parquet(path)


def _write_history(path: Path, dates: int, columns: int) -> None:
    """Row by row what ``combined_factors_df.to_parquet`` gives, written in a stream: the whole frame would fill the memory."""
    flat = [str(("feature", name)) for name in names(columns)]
    schema = pa.schema(
        [*((name, pa.float64()) for name in flat), ("datetime", pa.timestamp("ns")), ("instrument", pa.string())],
        metadata={"pandas": json.dumps(_pandas_metadata(flat))},
    )
    waiting: list[pa.Table] = []
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for block in _blocks(dates, columns, schema, np.float64):
            waiting.append(block)
            if sum(map(len, waiting)) >= 1_000_000:
                writer.write_table(pa.concat_tables(waiting), row_group_size=1 << 20)
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting), row_group_size=1 << 20)


def _pandas_metadata(columns: list[str]) -> dict[str, object]:
    """What makes pandas restore the index."""
    keys = [("datetime", "datetime", "datetime64[ns]"), ("instrument", "unicode", "object")]
    described = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": dtype, "metadata": None}
        for name, kind, dtype in [*((name, "float64", "float64") for name in columns), *keys]
    ]
    return {"index_columns": ["datetime", "instrument"], "column_indexes": [], "columns": described}


def main() -> None:
    """Make what is missing; print one JSON object."""
    cache, dates, columns = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    cases = {case.name: asdict(scoring(cache, case)) for case in (LARGE, SMALL)}
    long = history(cache, dates, columns)
    print(json.dumps({"scoring": cases, "history": str(long), "history_date": str(trading_days(dates)[-1])}))


if __name__ == "__main__":
    main()
