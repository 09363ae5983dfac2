"""Record what qlib itself gives for alpha expressions.

    python record_alphas.py --provider QLIB_BIN --expressions FILE.json --out FILE.parquet [--instruments A,B,C] [--sample DIRECTORY]

FILE.json maps names to expressions; `@Alpha158` and `@Alpha360` in their place stand for all of those.  Written:
`instrument`, `datetime`, and one float32 column per name, of every day of every instrument's life, in this order.  An
expression that qlib does not compute has no column; the reason is in the metadata, `refused`.  The expressions are in
`expressions`.  The query starts with the calendar, so every series is whole and unlimited look-backs are too.

With --sample a few days of every instrument are written as well, small enough for a repository: `values.parquet` with a
row for each expression (`name`, `expression`) and a column for each day (instrument and place of the day in the
instrument's life, "SH600000 17"), and `bars.parquet` with the lives.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import qlib
from qlib.contrib.data.loader import Alpha158DL, Alpha360DL
from qlib.data import D
from qlib.data.cache import H

BATCH = 40
LOADERS = {"@Alpha158": Alpha158DL, "@Alpha360": Alpha360DL}


def expand(given: dict[str, str]) -> dict[str, str]:
    """The expressions, those of qlib's loaders by their own names."""
    found: dict[str, str] = {}
    for name, text in given.items():
        if text in LOADERS:
            fields, names = LOADERS[text].get_feature_config()
            found.update(zip(names, fields, strict=True))
        else:
            found[name] = text
    return found


def record(
    expressions: dict[str, str], instruments: list[str], index: pd.MultiIndex
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The columns of the expressions that qlib computes, and its words about the others.

    Many are asked for at once, which is several times faster; where that fails, each of them alone.
    """
    names = list(expressions)
    columns: dict[str, np.ndarray] = {}
    refused: dict[str, str] = {}
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        try:
            found = ask([expressions[name] for name in batch], instruments, index)
            columns.update(zip(batch, found, strict=True))
        except Exception:
            for name in batch:
                try:
                    (columns[name],) = ask([expressions[name]], instruments, index)
                except Exception as error:
                    refused[name] = f"{type(error).__name__}: {error}"[:200]
    return columns, refused


def ask(fields: list[str], instruments: list[str], index: pd.MultiIndex) -> list[np.ndarray]:
    """float32 values of expressions, in the order of the index."""
    H["f"].clear()
    frame = D.features(instruments, fields, freq="day")
    if not frame.index.equals(index):
        raise ValueError("other rows than those of $close")
    return [frame.iloc[:, place].to_numpy(dtype=np.float32) for place in range(len(fields))]


def write_sample(
    directory: Path, expressions: dict[str, str], columns: dict[str, np.ndarray], index: pd.MultiIndex
) -> None:
    """Days at the start of a life, around its suspensions, and evenly over the rest."""
    directory.mkdir(parents=True, exist_ok=True)
    fields = sorted({field for text in expressions.values() for field in re.findall(r"\$(\w+)", text)})
    instruments = index.get_level_values("instrument")
    bars = dict(
        zip(fields, ask([f"${field}" for field in fields], list(dict.fromkeys(instruments)), index), strict=True)
    )
    values: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(instruments):
        rows = np.flatnonzero(instruments == name)
        for day in sample_days(np.isnan(bars["close"][rows])):
            values[f"{name} {day}"] = np.array([columns[key][rows[day]] for key in columns], np.float32)
    texts = {"name": list(columns), "expression": [expressions[key] for key in columns]}
    pq.write_table(pa.table(texts | values), directory / "values.parquet", compression="zstd")
    pq.write_table(
        pa.table({"instrument": pa.array(instruments), **bars}), directory / "bars.parquet", compression="zstd"
    )


def sample_days(suspended: np.ndarray) -> list[int]:
    """Places in one life."""
    days = {0, 1, 4, 30, *np.linspace(60, len(suspended) - 1, 5).astype(int).tolist()}
    borders = np.flatnonzero(np.diff(suspended.astype(int)))
    days.update(place + step for place in borders[:2].tolist() for step in (1, 2))
    return sorted(day for day in days if 0 <= day < len(suspended))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", type=Path, required=True)
    parser.add_argument("--expressions", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--instruments", default="", help="default: all")
    parser.add_argument("--sample", type=Path)
    options = parser.parse_args()
    qlib.init(provider_uri=str(options.provider), region="cn", kernels=1, joblib_backend="sequential")
    named = options.instruments.split(",") if options.instruments else None
    instruments = sorted(named or D.list_instruments(D.instruments("all"), as_list=True))
    index = D.features(instruments, ["$close"], freq="day").index
    expressions = expand(json.loads(options.expressions.read_text(encoding="utf-8")))
    columns, refused = record(expressions, instruments, index)
    table = pa.table(
        {
            "instrument": pa.array(index.get_level_values("instrument")),
            "datetime": pa.array(index.get_level_values("datetime").to_numpy().astype("datetime64[D]")),
            **columns,
        }
    )
    metadata = {"expressions": json.dumps(expressions), "refused": json.dumps(refused)}
    pq.write_table(table.replace_schema_metadata(metadata), options.out, compression="zstd")
    if options.sample is not None:
        write_sample(options.sample, expressions, columns, index)


if __name__ == "__main__":
    main()
