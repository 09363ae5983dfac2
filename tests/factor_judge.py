"""Real pandas runs one program of a factor after the other: a program of its own, run with a Python that has pandas and tables.

Each line of the standard input is an order in JSON: `bars` (a parquet file), `source`, and `out`, where the frame goes that the
program wrote, as parquet with datetime, instrument and value; with `sums` they are done in that way of `pandas_sums`.  Each is answered by one line: `{}`, or `{"raises": …}`.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
import warnings
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pandas_sums import careful


def bars_of(folder: Path, name: str) -> Path:
    """The bars as RD-Agent's HDF5 file, made once."""
    path = folder / f"{Path(name).stem}.h5"
    if not path.exists():
        frame = pd.read_parquet(name).set_index(["datetime", "instrument"]).sort_index()
        frame.to_hdf(path, key="data")
    return path


def ran(source: str, bars: Path, out: str, sums: str | None) -> dict[str, Any]:
    """What one program gives in a fresh directory."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(bars, Path(folder, "daily_pv.h5"))
        os.chdir(folder)
        try:
            with redirect_stdout(io.StringIO()), nullcontext() if sums is None else careful(sums):
                exec(compile(source, "factor.py", "exec"), {"__name__": "__main__"})
            frame = pd.read_hdf("result.h5", key="data")
            levels = list(frame.index.names)
            days, stocks = (frame.index.get_level_values(levels.index(level)) for level in ("datetime", "instrument"))
            found = {"datetime": days, "instrument": np.array(stocks, object)}
            pd.DataFrame({**found, "value": frame.iloc[:, 0].to_numpy("float64")}).to_parquet(out)
        except Exception as problem:  # noqa: BLE001 - that it raises is the result
            return {"raises": f"{type(problem).__name__}: {problem}"[:300]}
        finally:
            os.chdir("/")
    return {}


def main() -> None:
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"pandas": pd.__version__}), file=answers, flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            answer = ran(order["source"], bars_of(Path(folder), order["bars"]), order["out"], order.get("sums"))
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
