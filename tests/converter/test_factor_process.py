"""What the reader of the bars and a run of a factor may answer: data of processes that nobody trusts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors import process as factor_process
from alphaseal_converter.isolation.plain_table import Column, Texts

SESSION: Any = SimpleNamespace(no_answer=lambda: RefusalError("factor.answer", "no answer that can be read"))
DAYS = np.array(["2024-01-02", "2024-01-02", "2024-01-03"], "datetime64[D]")
STOCKS = Texts(["SH600000", "SH600001"], np.array([0, 1, 0], np.int32))


def answer(**changes: Any) -> dict[str, Column]:
    """Bars of two days, with columns of other content; None: without it."""
    columns: dict[str, Any] = {"datetime": DAYS, "instrument": STOCKS, "$close": np.ones(3)} | changes
    return {name: column for name, column in columns.items() if column is not None}


BROKEN: dict[str, dict[str, Column]] = {
    "no_days": answer(datetime=None),
    "days_in_nanoseconds": answer(datetime=DAYS.astype("datetime64[ns]")),
    "days_as_text": answer(datetime=STOCKS),
    "stocks_as_numbers": answer(instrument=np.arange(3)),
    "a_stock_that_is_missing": answer(instrument=Texts(STOCKS.names, np.array([0, -1, 0], np.int32))),
    "days_that_go_back": answer(datetime=DAYS[::-1]),
    "a_row_twice": answer(instrument=Texts(STOCKS.names, np.array([0, 0, 0], np.int32))),
    "no_columns": answer(**{"$close": None}),
    "one_column_under_both_names": answer(close=np.ones(3)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_bars_that_are_none_are_no_answer(name: str) -> None:
    """The child has read them, and may have been told what to answer by the file."""
    with pytest.raises(RefusalError) as caught:
        factor_process._market(SESSION, BROKEN[name])
    assert caught.value.code == "factor.answer"
    assert len(factor_process._market(SESSION, answer()).days) == 3
