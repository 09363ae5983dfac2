"""Golden rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphaseal.errors import PolicyError
from alphaseal.scoring import golden
from fuzz_bundle import small_bundle
from small_models import FEATURES


def test_golden_rows_of_whole_days_are_there_once() -> None:
    """A day with a stock twice is no day."""
    table = pq.read_table(pa.BufferReader(small_bundle().goldens[0]))
    twice = pa.concat_tables([table, table.slice(3, 1)])
    with pytest.raises(PolicyError) as caught:
        golden.keyed_block(twice, np.zeros((len(twice), FEATURES)), "golden.parquet")
    assert (caught.value.code, caught.value.found) == ("golden.keys", "2021-12-24 SH600003")
