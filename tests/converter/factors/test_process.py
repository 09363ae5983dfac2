"""What the reader of the bars and a run of a factor may answer: data of processes that nobody trusts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alphaseal.tables.period import Period
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.factors import process
from alphaseal_converter.isolation.plain_table import Column, Texts, encode_answer
from alphaseal_converter.isolation.sandbox import IsolationLimits

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
        process.market_of(SESSION, BROKEN[name])
    assert caught.value.code == "factor.answer"
    assert len(process.market_of(SESSION, answer()).days) == 3


CLAIM: dict[str, Any] = {
    "datetime": DAYS[:2],
    "instrument": Texts(STOCKS.names, np.array([0, 1], np.int32)),
    "value": np.array([1.0, 2.0]),
    "written": np.array([2, 2], np.int64),
}
FORGED: dict[str, dict[str, Any]] = {
    "other_names": {
        "datetime": CLAIM["datetime"],
        "instrument": CLAIM["instrument"],
        "values": CLAIM["value"],
        "written": CLAIM["written"],
    },
    "names_in_another_order": {name: CLAIM[name] for name in ("instrument", "datetime", "value", "written")},
    "days_as_text": CLAIM | {"datetime": CLAIM["instrument"]},
    "values_in_single": CLAIM | {"value": CLAIM["value"].astype(np.float32)},
    "a_count_in_double": CLAIM | {"written": np.array([2.0, 2.0])},
    "no_stock": CLAIM | {"instrument": Texts(STOCKS.names, np.array([0, -1], np.int32))},
    "a_row_twice": CLAIM | {"instrument": Texts(STOCKS.names, np.array([0, 0], np.int32))},
    "a_day_before": CLAIM | {"datetime": DAYS[:2] - 1},
    "a_day_after": CLAIM | {"datetime": DAYS[:2] + 1},
}


@pytest.mark.parametrize("name", FORGED)
def test_claims_that_are_none_are_no_answer(name: str) -> None:
    """What a run of code says is values of days that were asked for, one for a day and a stock."""
    period = ("2024-01-02", "2024-01-02")
    with pytest.raises(RefusalError) as caught:
        process.Session._claim(SESSION, FORGED[name], period)
    assert caught.value.code == "factor.answer"
    assert process.Session._claim(SESSION, CLAIM, period).written == 2


class Answering:
    """A closed-off system whose programs answer by what they are asked."""

    def __init__(self, **answers: dict[str, bytes]) -> None:
        self.answers = answers

    def run(self, arguments: list[str], **_: Any) -> dict[str, bytes]:
        return self.answers[arguments[0]]


def session_with(monkeypatch: pytest.MonkeyPatch, **answers: dict[str, bytes]) -> process.Session:
    monkeypatch.setattr(process, "shared_sandbox", lambda *_: Answering(**answers))
    runner: Any = SimpleNamespace(limits=IsolationLimits(), python=None)
    return process.Session(runner, "the static table")


def test_an_answer_without_its_files_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program said that it wrote a table, and there is none."""
    session = session_with(monkeypatch, static={process.ANSWER: encode_answer({})})
    with pytest.raises(RefusalError) as caught:
        session.call("static", {}, {}, ["static.parquet"])
    assert caught.value.code == "factor.answer"
    assert session.call("static", {}, {})[0] == {}


def test_a_static_table_names_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of the bars tells the columns of the static table as texts, or it is no reader."""
    bars = encode_answer({"datetime": DAYS, "instrument": STOCKS, "$close": np.ones(3)})
    static = {process.ANSWER: encode_answer({"columns": np.ones(1)}), "static.parquet": b"PAR1"}
    session = session_with(monkeypatch, bars={process.ANSWER: bars}, static=static)
    runner: Any = SimpleNamespace(session=lambda what: session)
    with pytest.raises(RefusalError) as caught:
        process.prepare(runner, b"PAR1", ".parquet", b"PAR1", Period.of("2024-01-03", None))
    assert caught.value.code == "factor.answer"
