"""``alphas_ours.py GRAPH DESCRIPTION BARS.parquet DATE OUT.parquet``: alpha features of a date, by the runtime."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.arrow.columns import text_array
from alphaseal.bars.calendar import AlphaColumns, read_bars
from alphaseal.format.manifest import AlphaGraph
from alphaseal.tables.request import Notation

graph, description, source, date, out = sys.argv[1:]
said = json.loads(Path(description).read_text(encoding="utf-8"))
said |= {"tolerances": [0.0] * len(said["features"]), "truncated": {}, "golden": "", "golden_rows": 0, "date": date}
columns = AlphaColumns(Path(graph).read_bytes(), AlphaGraph(file=graph, **said))
bars = read_bars(source, columns.fields, window=columns.window, date=date, notation=Notation(kind="qlib"))
rows = np.flatnonzero(bars.present[:, -1])
values = np.asfortranarray(columns.compute(bars, len(bars.dates) - 1, rows))
names = text_array([bars.instruments[row] for row in rows])
arrays = [
    pa.Array.from_buffers(pa.float32(), len(rows), [None, pa.py_buffer(values[:, place])])
    for place in range(values.shape[1])
]
pq.write_table(pa.Table.from_arrays([names, *arrays], ["instrument", *columns.features]), out)
