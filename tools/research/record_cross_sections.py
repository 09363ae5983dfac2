"""Record what qlib's own cross-sectional processors make of a small table.

    python record_cross_sections.py OUT.json [SEED [SIZE]]

Columns: plain, with ties and both zeros, with missing and infinite values, constant, huge, almost all missing; the days
have 1, 2, 9 and SIZE stocks (20; numpy takes medians another way from 600 on).  Frames: all float32, all float64, mixed.
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from qlib.data.dataset import processor

warnings.simplefilter("ignore")
SIZES = {"2024-01-02": 1, "2024-01-03": 2, "2024-01-31": 9}
COLUMNS = ["CONST", "GAPS", "HUGE", "INFS", "PLAIN", "RARE", "TIES"]
SINGLE = {"float32": COLUMNS, "float64": [], "mixed": ["GAPS", "INFS", "PLAIN"]}
PROCESSORS = [
    ("CSZScoreNorm", "zscore", processor.CSZScoreNorm("feature")),
    ("CSZScoreNorm", "robust", processor.CSZScoreNorm("feature", method="robust")),
    ("CSRankNorm", None, processor.CSRankNorm("feature")),
    ("CSZFillna", None, processor.CSZFillna("feature")),
    ("ProcessInf", None, processor.ProcessInf()),
    ("TanhProcess", None, processor.TanhProcess()),
]


def table(seed: int, size: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    index = pd.MultiIndex.from_tuples(
        [
            (pd.Timestamp(date), f"SH{600000 + code}")
            for date, size in (SIZES | {"2024-02-01": size}).items()
            for code in range(size)
        ],
        names=["datetime", "instrument"],
    )
    count = len(index)
    plain = random.standard_normal((count, len(COLUMNS)))
    frame = pd.DataFrame(plain, index=index, columns=COLUMNS)
    frame["CONST"] = 0.1
    frame["HUGE"] = plain[:, 2] * 1e30
    frame["TIES"] = np.round(plain[:, 6])
    frame["GAPS"] = frame["GAPS"].mask(random.random(count) < 0.3)
    frame["INFS"] = frame["INFS"].mask(random.random(count) < 0.1).where(random.random(count) > 0.1, np.inf)
    frame["INFS"] = frame["INFS"].where(random.random(count) > 0.1, -np.inf)
    frame["RARE"] = frame["RARE"].where(random.random(count) < 0.02)
    return frame


def plain_numbers(values: np.ndarray) -> list[list[float | str]]:
    """Columns of numbers; JSON has no others, so NaN and infinity are texts."""
    return [[float(v) if np.isfinite(v) else str(float(v)) for v in column] for column in values.T]


def main() -> None:
    out, seed = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    raw = table(seed, int(sys.argv[3]) if len(sys.argv) > 3 else 20)
    frames = {}
    for name, single in SINGLE.items():
        frame = raw.astype({column: np.float32 if column in single else np.float64 for column in COLUMNS})
        frame.columns = pd.MultiIndex.from_product([["feature"], COLUMNS])
        results = []
        for kind, method, made in PROCESSORS:
            done = copy.deepcopy(made)(frame.copy()).sort_index()
            dtypes = [str(dtype) for dtype in done.dtypes]
            results.append(
                {"class": kind, "method": method, "dtypes": dtypes, "values": plain_numbers(done.to_numpy(np.float64))}
            )
        frames[name] = {"single": single, "values": plain_numbers(frame.to_numpy(np.float64)), "results": results}
    days = [str(date.date()) for date in raw.index.get_level_values(0)]
    out.write_text(
        json.dumps({"columns": COLUMNS, "days": days, "frames": frames}, separators=(",", ":")) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
