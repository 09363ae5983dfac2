"""The universe: a list of stocks, or stocks with the spans of dates in which they belong to it."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alphaseal
from alphaseal import cli
from alphaseal.errors import AlphasealError, InputError, NotReadableError, UsageError
from alphaseal.scoring.scores import rank_scores
from alphaseal.tables.features import FeatureBlock
from alphaseal.tables.members.universe import Universe, read
from alphaseal.tables.request import Notation
from bundles import FACTOR_PLAIN, factor_plain_bundle, raw_values

TRUTH = FACTOR_PLAIN / "truth/hist2_factor"
NOTATION = Notation(kind="qlib")


def day(text: str) -> np.datetime64:
    return np.datetime64(text, "D")


def read_text(tmp_path: Path, text: str, source: str | None = None) -> Universe:
    path = tmp_path / "universe.txt"
    path.write_bytes(text.encode())
    return read(path, Notation(source, "qlib"))


def error_of(tmp_path: Path, text: str) -> AlphasealError:
    with pytest.raises(AlphasealError) as error:
        read_text(tmp_path, text)
    return error.value


def test_spans_count_with_both_ends(tmp_path: Path) -> None:
    """A code of qlib's instrument file belongs to the universe on the dates of its spans, of which it may have several."""
    text = "SH600000\t2005-01-01\t2010-12-31\nSH600000\t2015-06-01\t2020-12-31\nSZ000001\t2010-12-31\t2099-12-31\n"
    universe = read_text(tmp_path, text)
    expected = {
        "2004-12-31": set(),
        "2005-01-01": {"SH600000"},
        "2010-12-31": {"SH600000", "SZ000001"},
        "2011-01-01": {"SZ000001"},
        "2015-06-01": {"SH600000", "SZ000001"},
        "2021-01-01": {"SZ000001"},
    }
    assert {date: universe.on(day(date)) for date in expected} == expected


def test_codes_alone_count_always(tmp_path: Path) -> None:
    """Comments, blank lines, a byte order mark and line ends of Windows do not count; spans and codes may be mixed."""
    universe = read_text(tmp_path, "\ufeff# mine\r\nSH600000\r\n\r\nSZ000001 2010-01-01 2010-01-02\r\n")
    assert universe.on(day("1990-01-01")) == {"SH600000"}
    assert universe.on(day("2010-01-02")) == {"SH600000", "SZ000001"}


def test_codes_are_converted_with_their_spans(tmp_path: Path) -> None:
    """`600000.SH` for a bundle that knows `SH600000`."""
    universe = read_text(tmp_path, "600000.SH\t2010-01-01\t2010-01-02\n000001.SZ\n", "ts")
    assert universe.on(day("2010-01-02")) == {"SH600000", "SZ000001"}
    assert universe.on(day("2010-01-03")) == {"SZ000001"}


@pytest.mark.parametrize(
    "line",
    [
        "SH600000\t2005-01-01",
        "SH600000\t2005-01-01\t2006-01-01\t1.0",
        "SH600000\t20050101\t20060101",
        "SH600000\t2005-02-30\t2006-01-01",
        "SH600000\t2006-01-01\t2005-01-01",
        "SH600000\tfrom\tto",
    ],
)
def test_other_lines_are_refused_by_their_number(tmp_path: Path, line: str) -> None:
    """Two or four columns, what are no dates, and a span that ends before it begins."""
    error = error_of(tmp_path, f"# comment\n\nSZ000001\n{line}\n")
    assert (type(error), error.code, error.exit) == (UsageError, "usage.universe", 2)
    assert error.where is not None
    assert error.where.endswith("universe.txt, line 4")


def test_files_that_are_no_universe(tmp_path: Path) -> None:
    """A file without stocks, with other codes, in another encoding (what to do is said), and one that is not there."""
    assert error_of(tmp_path, "# nothing\n").code == "usage.universe"
    assert isinstance(error_of(tmp_path, "600000.SH\n"), InputError)
    (tmp_path / "gbk.txt").write_bytes("# 沪深\nSH600000\n".encode("gbk"))
    with pytest.raises(NotReadableError) as error:
        read(tmp_path / "gbk.txt", NOTATION)
    assert error.value.code == "universe.not_readable"
    assert "UTF-8" in (error.value.next_step or "")
    with pytest.raises(NotReadableError):
        read(tmp_path / "absent.txt", NOTATION)


@pytest.mark.parametrize(
    "stocks",
    [
        "SH600000",
        b"SH600000",
        5,
        [1],
        [None],
        pa.array(["SH600000"]),
        {"SH600000": "2005-01-01"},
        {"SH600000": ("2005-01-01", "2006-01-01")},
        {"SH600000": None},
        {1: []},
    ],
)
def test_what_are_no_codes_is_refused(stocks: Any) -> None:
    """One text is not a universe of its letters; other things than texts, and spans that are no pairs, are refused."""
    with pytest.raises(UsageError) as error:
        Universe.of(stocks)
    assert error.value.code == "usage.universe"


def test_any_collection_and_kind_of_date_will_do() -> None:
    """Sets, generators and numpy's texts; dates as elsewhere, None for an open end."""
    for stocks in ({"A", "B"}, (name for name in "AB"), np.array(["A", "B"])):
        assert Universe.of(stocks).on(day("2020-01-01")) == {"A", "B"}
    spans = {"A": [(None, datetime.date(2020, 1, 1))], "B": [(day("2020-01-01"), None)], "C": []}
    universe = Universe.of(spans)
    assert [universe.on(day(f"2020-01-0{number}")) for number in (1, 2)] == [{"A", "B"}, {"B"}]


def test_reasons_are_those_of_the_date() -> None:
    """A stock outside its span is `not_in_universe` on that date only, and absent ones are missed only inside theirs."""
    names, days = ["A", "B"], [day("2020-01-01"), day("2020-01-02")]
    block = FeatureBlock(np.repeat(days, 2), pa.array(names * 2), np.zeros((4, 1)), ())
    universe = Universe.of({"A": [(None, "2020-01-01")], "B": [(None, None)], "C": [("2020-01-02", None)]})
    ranked = rank_scores(block, np.array([2.0, 1.0, 2.0, 1.0]), universe)
    scored = [(str(row["datetime"]), row["instrument"], row["rank"]) for row in ranked.table.to_pylist()]
    assert scored == [("2020-01-01", "A", 1), ("2020-01-01", "B", 2), ("2020-01-02", "B", 1)]
    left_out = [(str(row["datetime"]), row["instrument"], row["reason"]) for row in ranked.excluded.to_pylist()]
    assert left_out == [("2020-01-02", "A", "not_in_universe"), ("2020-01-02", "C", "no_row")]


def test_command_and_python_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`score --universe` with spans over a range of dates is `universe=` with the same mapping."""
    features = raw_values(TRUTH)
    names = sorted(set(pq.read_table(features, columns=["instrument"])["instrument"].to_pylist()))[:6]
    spans = {name: [("2021-12-01", f"2021-12-{20 + place}")] for place, name in enumerate(names)}
    path = tmp_path / "market.txt"
    path.write_text("".join(f"{name}\t{first}\t{last}\n" for name, [(first, last)] in spans.items()), encoding="utf-8")
    bundle = alphaseal.open(factor_plain_bundle(), trust=alphaseal.Trust.unsigned())
    expected = bundle.score(features, dates=("2021-12-20", "2021-12-24"), universe=spans)
    arguments = ["score", str(factor_plain_bundle()), "--allow-unsigned", "--features", str(features), "--json"]
    assert cli.main([*arguments, "--dates", "2021-12-20:2021-12-24", "--universe", str(path)]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert result["rows"] == [row | {"datetime": str(row["datetime"])} for row in expected.table.to_pylist()]
    last = {row["instrument"] for row in result["rows"] if row["datetime"] == "2021-12-24"}
    assert last <= set(names[4:])
    assert {row["instrument"] for row in result["rows"]} > last
    streamed = list(bundle.score_stream(features, dates=("2021-12-20", "2021-12-24"), universe=spans))
    assert pa.concat_tables([part.table for part in streamed]).equals(expected.table)
