"""``alphas_qlib.py PROVIDER MARKET DATE OUT.parquet``: the features of a date by qlib's own Alpha158 handler (needs qlib)."""

from __future__ import annotations

import os
import sys

import qlib
from qlib.contrib.data.handler import Alpha158

if __name__ == "__main__":
    provider, market, date, out = sys.argv[1:]
    # By itself qlib leaves two cores unused.
    qlib.init(provider_uri=provider, region="cn", kernels=os.cpu_count())
    handler = Alpha158(
        market, date, date, fit_start_time=date, fit_end_time=date, infer_processors=[], learn_processors=[]
    )
    frame = handler.fetch(col_set="feature", data_key="raw")
    frame.droplevel("datetime").astype("float32").reset_index().to_parquet(out)
