"""Which stocks may be chosen on a date: a list of codes, or codes with the spans of dates that they belong to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from alphaseal.disk.files import read_text
from alphaseal.errors import NotReadableError, UsageError
from alphaseal.tables.period import Day, Period

if TYPE_CHECKING:
    from pathlib import Path

    from alphaseal.tables.features import FeatureBlock
    from alphaseal.tables.request import Notation

Spans = Iterable[tuple[Day | None, Day | None]]
"""First and last date, both included; None is open."""
Stocks = Iterable[str] | Mapping[str, Spans]
"""Codes as the bundle names them, for every date, or each with its spans."""


@dataclass(frozen=True)
class Universe:
    """One item per span: the code, and its first and last day since 1970-01-01, both included."""

    codes: npt.NDArray[np.object_]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]

    @classmethod
    def of(cls, stocks: Stocks) -> Universe:
        """UsageError `usage.universe` for what is neither codes nor a mapping, `usage.date(s)` for a bad span."""
        if isinstance(stocks, str | bytes) or not isinstance(stocks, Iterable):
            raise _not_codes(stocks)
        spans = stocks.items() if isinstance(stocks, Mapping) else ((code, [(None, None)]) for code in stocks)
        items = [(code, period) for code, given in spans for period in _periods(code, given)]
        codes = np.empty(len(items), np.object_)
        codes[:] = [code for code, _ in items]
        return cls(
            codes,
            np.array([period.first for _, period in items], np.int64),
            np.array([period.last for _, period in items], np.int64),
        )

    def on(self, date: np.datetime64) -> set[str]:
        """The codes of a date."""
        day = int(date.astype("datetime64[D]").astype(np.int64))
        return set(self.codes[(self.first <= day) & (day <= self.last)].tolist())

    def rows(self, block: FeatureBlock) -> npt.NDArray[np.bool_]:
        """Which rows of a block belong to it on their date."""
        names: list[str] = block.instruments.to_pylist()
        chosen = np.zeros(len(names), np.bool_)
        for date, first, last in block.spans():
            wanted = self.on(date)
            chosen[first:last] = [name in wanted for name in names[first:last]]
        return chosen


def universe_of(stocks: Stocks | Universe | None) -> Universe | None:
    """As a caller gave it; None for no limit."""
    return stocks if stocks is None or isinstance(stocks, Universe) else Universe.of(stocks)


def canonical(universe: Universe, first: np.datetime64, last: np.datetime64) -> list[str]:
    """The one form of a universe on the days from `first` to `last`: lines ``CODE FIRST LAST``, by code, then date.

    Spans are cut to these days; those that overlap, or where one begins on the day after another, are one.
    """
    low, high = (int(day.astype("datetime64[D]").astype(np.int64)) for day in (first, last))
    lines: list[tuple[str, int, int]] = []
    spans = zip(universe.codes.tolist(), universe.first.tolist(), universe.last.tolist(), strict=True)
    for code, start, stop in sorted((code, max(low, start), min(high, stop)) for code, start, stop in spans):
        if start > stop:
            continue
        if lines and lines[-1][0] == code and start <= lines[-1][2] + 1:
            lines[-1] = (code, lines[-1][1], max(stop, lines[-1][2]))
        else:
            lines.append((code, start, stop))
    return [f"{code} {np.datetime64(start, 'D')} {np.datetime64(stop, 'D')}" for code, start, stop in lines]


def _periods(code: Any, spans: Any) -> list[Period]:
    if not isinstance(code, str):
        raise _not_codes(code)
    if isinstance(spans, str | bytes) or not isinstance(spans, Iterable):
        raise _not_spans(code, spans)
    given = list(spans)
    for span in given:
        if not isinstance(span, tuple | list) or len(span) != 2:
            raise _not_spans(code, span)
    return [Period.of(None, (first, last)) for first, last in given]


def _not_codes(found: object) -> UsageError:
    return UsageError(
        "usage.universe",
        "a universe is a sequence of codes, or a mapping from code to spans of dates",
        where="universe",
        expected='["SH600000", …] or {"SH600000": [("2005-01-01", "2020-12-31")], …}',
        found=repr(found)[:80],
    )


def _not_spans(code: str, found: object) -> UsageError:
    return UsageError(
        "usage.universe",
        "the spans of a code are pairs of dates",
        where=f"universe, {code!r}",
        expected="[(first, last), …]",
        found=repr(found)[:80],
    )


def read(path: Path, notation: Notation) -> Universe:
    """A text file: a code a line, or as in qlib's instrument files a code, its first and its last date.

    Blank lines and lines that start with # do not count; a code may have several lines.  Raises NotReadableError `universe.not_readable`, UsageError `usage.universe` (with the
    line where it breaks the form), InputError `instrument.pattern`.
    """
    from alphaseal.arrow.columns import text_array
    from alphaseal.tables.instruments import normalise

    text = read_text(path, NotReadableError("universe.not_readable", "cannot read the universe", where=str(path)))
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if _counts(line)]
    if not lines:
        raise UsageError(
            "usage.universe", "the universe names no stock", where=str(path), expected="one instrument a line"
        )
    rows = [_row(line, f"{path}, line {number}") for number, line in lines]
    codes: list[str] = normalise(text_array([code for code, _ in rows]), notation).to_pylist()
    spans: dict[str, list[tuple[str | None, str | None]]] = {}
    for code, (_, span) in zip(codes, rows, strict=True):
        spans.setdefault(code, []).append(span)
    return Universe.of(spans)


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _row(line: str, where: str) -> tuple[str, tuple[str | None, str | None]]:
    """Code and span of a line; UsageError where it has neither one nor three columns, or what are no dates."""
    cells = line.split()
    if len(cells) == 1:
        return cells[0], (None, None)
    try:
        if len(cells) == 3:
            Period.of(None, (cells[1], cells[2]))
            return cells[0], (cells[1], cells[2])
    except UsageError:
        pass
    raise UsageError(
        "usage.universe",
        "not a line of a universe",
        where=where,
        expected="an instrument, or an instrument, its first and its last date (YYYY-MM-DD)",
        found=repr(line.strip())[:80],
    )
