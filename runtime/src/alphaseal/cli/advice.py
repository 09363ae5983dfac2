"""Drift and picks for people and for ``--json``, and the file of holdings: what the command does with advice."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from alphaseal.advice.drift import _NOTHING, Drift
from alphaseal.advice.picks import _ACTIONS, _COLUMN, Picks
from alphaseal.disk.files import read_text
from alphaseal.errors import NotReadableError, UsageError
from alphaseal.plain_text import Printable, listed, printable

if TYPE_CHECKING:
    from pathlib import Path

    from alphaseal.format.manifest import DriftLimits
    from alphaseal.scoring.scores import Scores


_SHOWN = 20


class Guard:
    """Measures the drift of scores that pass through it; with `strict` it stops at the first that is beyond the limits."""

    def __init__(self, limits: DriftLimits, *, strict: bool) -> None:
        self._limits, self._strict = limits, strict
        self._tables = [_NOTHING]

    def watch(self, parts: Iterable[Scores]) -> Iterator[Scores]:
        """The same scores; InputError `drift.out_of_range` instead of the first that are refused."""
        for scores in parts:
            found = scores.drift()
            if self._strict:
                found.check()
            self._tables.append(found.table)
            yield scores

    def drift(self) -> Drift:
        """Of everything that has passed."""
        return Drift(pa.concat_tables(self._tables), self._limits)


def drift_text(drift: Drift) -> Printable:
    """For people: the features out of range of a date, or the dates of a range; "" where there is nothing to say."""
    rows, unknown = drift.out_of_range().to_pylist(), drift.not_known()
    if not rows and not unknown:
        return printable([])
    lines = [f"drift: {drift.summary()}"]
    if rows:
        lines.append(f"drift: allowed are {drift.allowed()}")
        found = _by_feature(rows) if drift.dates() == 1 else _by_date(rows)
        lines += found[: _SHOWN + 1]
        if len(found) > _SHOWN + 1:
            lines.append(f"and {len(found) - _SHOWN - 1} more (--json lists all)")
    return printable(lines)


def _by_feature(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = f"{'missing':>9}  {'infinite':>9}  {'outside':>9}  {'1..99 %':>9}  {'verdict':<16}  feature"
    columns = ("null_ratio", "infinite_ratio", "outside", "outside_inner")
    return [
        head,
        *(
            "  ".join([*(_percent(row[name]) for name in columns), f"{row['verdict']:<16}", row["feature"]])
            for row in rows
        ),
    ]


def _by_date(rows: Sequence[dict[str, Any]]) -> list[str]:
    features: dict[str, list[str]] = {}
    for row in rows:
        features.setdefault(row["datetime"].isoformat(), []).append(row["feature"])
    return [
        f"{'date':<10}  {'features out of range'}",
        *(f"{date}  {len(names)}: {listed(names)}" for date, names in features.items()),
    ]


def _percent(value: float | None) -> str:
    return f"{'not known' if value is None else format(value, '.1%'):>9}"


def drift_to_plain(drift: Drift) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "summary": drift.summary(),
        "out_of_range": [row | {"datetime": row["datetime"].isoformat()} for row in drift.out_of_range().to_pylist()],
        "not_known": drift.not_known(),
        "limits": {"null_ratio": drift.limits.null_ratio, "outside": drift.limits.outside},
    }


def read_holdings(path: Path) -> list[str]:
    """Instruments of a text file: one a line (its first word), or the column `instrument` of a CSV file with a header.

    Blank lines and lines that start with # do not count; a file without any says that nothing is held.
    Raises NotReadableError `holdings.not_readable`, UsageError `usage.holdings` for CSV without such a column.
    """
    text = read_text(path, NotReadableError("holdings.not_readable", "cannot read the holdings", where=str(path)))
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, strict=True)]
    except csv.Error:
        raise _not_holdings(path) from None
    if not rows or (len(rows[0]) == 1 and rows[0] != [_COLUMN]):
        return [line.split()[0] for line in lines]
    if rows[0].count(_COLUMN) != 1 or any(len(row) != len(rows[0]) for row in rows):
        raise _not_holdings(path)
    place = rows[0].index(_COLUMN)
    return [row[place] for row in rows[1:]]


def _not_holdings(path: Path) -> UsageError:
    return UsageError(
        "usage.holdings",
        "the file does not say which stocks are held",
        where=str(path),
        expected=f"one instrument a line, or CSV whose first line names a column {_COLUMN}, with as many cells in each line",
    )


def picks_text(picks: Picks) -> Printable:
    """For people."""
    lines = [f"{'action':<6}  {'rank':>5}  {'instrument':<12}  score"]
    lines += [
        f"{row['action']:<6}  {'-' if row['rank'] is None else row['rank']:>5}  {row['instrument']:<12}"
        f"  {'none' if row['score'] is None else repr(row['score'])}"
        for row in picks.table.to_pylist()
    ]
    counted = ", ".join(f"{action} {len(picks.instruments(action))}" for action in _ACTIONS)
    lines.append(counted)
    lines += [
        f"  held without a score: {row['instrument']}, {row['reason'].replace('_', ' ')}"
        for row in picks.unscored.to_pylist()
    ]
    return printable(lines)


def picks_to_plain(picks: Picks) -> dict[str, Any]:
    """For ``--json``."""
    return {"rows": picks.table.to_pylist(), "unscored": picks.unscored.to_pylist()}
