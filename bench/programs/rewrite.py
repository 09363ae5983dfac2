"""``rewrite.py HISTORY OUT``: the bundle's factors.parquet out of a long history; its peak memory is what is measured."""

import sys
from pathlib import Path

from alphaseal_converter.factors.table import rewrite_factors

rewrite_factors(Path(sys.argv[1]), Path(sys.argv[2]))
