"""``factors_ours.py FOLDER BARS.parquet DATE OUT.parquet``: compiled factors of a date, by the runtime."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.arrow.columns import doubles_array, text_array
from alphaseal.bars.calendar import read_bars
from alphaseal.factors.daily import FactorColumns
from alphaseal.format.factors import FactorProgram
from alphaseal.tables.request import Notation

folder, source, date, out = sys.argv[1:]
told = msgspec.convert(json.loads((Path(folder) / "programs.json").read_text(encoding="utf-8")), list[FactorProgram])
columns = FactorColumns(told, lambda path: (Path(folder) / path).read_bytes())
bars = read_bars(source, columns.fields, window=columns.window, date=date, notation=Notation(kind="qlib"))
rows = np.flatnonzero(bars.listed()[:, -1])
values = columns.compute(bars, columns.fields, len(bars.dates) - 1, rows).values
names = text_array([bars.instruments[row] for row in rows])
arrays = [doubles_array(np.ascontiguousarray(values[:, place])) for place in range(values.shape[1])]
pq.write_table(pa.Table.from_arrays([names, *arrays], ["instrument", *columns.names]), out)
