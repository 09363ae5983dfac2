"""``factors_isolated.py FOLDER BARS.parquet DATE OUT.parquet PYTHON``: the same programs as the daily run of code does, each in
its own closed-off process of that Python, with the bars up to the date."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from alphaseal.tables.period import Period
from alphaseal_converter.factors.process import Runner, prepare
from alphaseal_converter.isolation.sandbox import IsolationLimits

folder, source, date, out, python = sys.argv[1:]
runner = Runner(Path(python), IsolationLimits())
bars = prepare(runner, Path(source).read_bytes(), ".parquet", None, Period.of(date, None))
found = {}
for name, code in json.loads((Path(folder) / "sources.json").read_text(encoding="utf-8")).items():
    claim = runner.session(name).run(code.encode(), name, bars.market, period=(date, date))
    here = claim.days == np.datetime64(date)
    found[name] = pd.Series(claim.values[here], claim.stocks.take(here).values())
pd.DataFrame(found).rename_axis("instrument").reset_index().to_parquet(out)
