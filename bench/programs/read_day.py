"""``read_day.py HOW FILE DATE``: one date of a long history; prints the seconds it took after the imports.

HOW is `alphaseal`, `pandas` (the whole file, then the date) or `pandas-filters`.
"""

from __future__ import annotations

import sys
import time

how, path, date = sys.argv[1:]
if how == "alphaseal":
    import pyarrow.parquet as pq

    from alphaseal.arrow.columns import plain_name
    from alphaseal.tables.feature_files import read_parquet
    from alphaseal.tables.features import FeatureColumn

    started = time.perf_counter()
    names = [plain_name(name) for name in pq.read_schema(path).names]
    columns = [FeatureColumn(name, "float64") for name in names if name and name not in ("datetime", "instrument")]
    rows = len(read_parquet(path, columns, date=date))
else:
    import pandas as pd
    import pyarrow.parquet  # noqa: F401  (pandas would load it within the time)

    started = time.perf_counter()
    day = pd.Timestamp(date)
    frame = pd.read_parquet(path, filters=[("datetime", "==", day)] if how == "pandas-filters" else None)
    rows = len(frame.loc[frame.index.get_level_values("datetime") == day].to_numpy())
print(time.perf_counter() - started)
assert rows == 5000, rows
