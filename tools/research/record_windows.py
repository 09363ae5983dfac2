"""Record which rows qlib's own TSDataSampler puts into its windows.

    python record_windows.py OUT.json [SEED]

The feature of a row is its number, so a window's values are the rows it is made of.  The stocks: one always there, one
suspended, one listed late, one delisted, one seen once, and others with random gaps; one date is missing for all of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from qlib.data.dataset import TSDataSampler

DATES = 16


def main() -> None:
    out, seed = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    random = np.random.default_rng(seed)
    dates = [str(date.date()) for date in pd.bdate_range("2024-01-01", periods=DATES)]
    there = {
        "SH600000": range(DATES),
        "SH600001": [*range(6), *range(10, DATES)],
        "SZ000002": range(9, DATES),
        "SZ000003": range(7),
        "BJ430004": [11],
        **{f"SZ30000{number}": np.flatnonzero(random.random(DATES) < 0.5).tolist() for number in range(5)},
    }
    rows = sorted((dates[day], code) for code, days in there.items() for day in days if day != 5)
    cases = []
    for length, first in ((2, 3), (4, 3), (7, 6), (12, 11), (15, 14)):
        index = pd.MultiIndex.from_tuples([(pd.Timestamp(d), c) for d, c in rows], names=["datetime", "instrument"])
        frame = pd.DataFrame({"row": np.arange(len(rows), dtype=np.float64)}, index=index)
        calendar = sorted({d for d, _ in rows})
        sampler = TSDataSampler(data=frame, start=calendar[first], end=dates[-1], step_len=length)
        sampler.config(fillna_type="ffill+bfill")
        windows = sampler[list(range(len(sampler)))][..., 0].astype(int)
        targets = [[str(d.date()), c] for d, c in sampler.get_index()]
        found = sorted(zip(targets, windows.tolist(), strict=True))
        cases.append(
            {
                "length": length,
                "first": calendar[first],
                "targets": [t for t, _ in found],
                "windows": [w for _, w in found],
            }
        )
    out.write_text(json.dumps({"rows": rows, "cases": cases}, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
