"""Writing and printing scores: a file appears whole or not at all, and years of scores do not fill the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from alphaseal.bars.units import AS_TRAINED
from alphaseal.disk.targets import replacing
from alphaseal.errors import UsageError
from alphaseal.format import strict_json
from alphaseal.plain_text import Printable, printable
from alphaseal.scoring.scores import SCORE_SCHEMA, Scores

UNITS_KEY = "alphaseal.units"
"""Metadata of a parquet file of scores: fields of bars that were taken as trained on the caller's word, in JSON."""
_EXCLUDED_SHOWN = 10


@dataclass
class ScoreSummary:
    """What a run of the command gave: counts always, the rows themselves unless they went to a file."""

    dates: int = 0
    scored: int = 0
    excluded: dict[str, int] = field(default_factory=dict)
    excluded_rows: list[dict[str, Any]] = field(default_factory=list)
    rows: pa.Table | None = None
    out: str | None = None
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)
    """Fields of bars whose units a feature sees, and how they were shown."""

    def add(self, scores: Scores) -> None:
        """Count one part."""
        self.dates += scores.dates()
        self.scored += len(scores)
        self.units |= scores.units
        self.warnings += [warning for warning in scores.warnings if warning not in self.warnings]
        self.notes += [note for note in scores.notes if note not in self.notes]
        for row in scores.excluded.to_pylist():
            self.excluded[row["reason"]] = self.excluded.get(row["reason"], 0) + 1
            if self.out is None:
                self.excluded_rows.append(row)

    def to_plain(self) -> dict[str, Any]:
        """For ``--json``."""
        rows = (
            None
            if self.rows is None
            else [row | {"datetime": row["datetime"].isoformat()} for row in self.rows.to_pylist()]
        )
        left_out = [row | {"datetime": row["datetime"].isoformat()} for row in self.excluded_rows]
        return {
            "dates": self.dates,
            "scored": self.scored,
            "excluded": self.excluded,
            "excluded_rows": left_out,
            "rows": rows,
            "out": self.out,
        }


def collect_scores(parts: Iterator[Scores], top: int, progress: Callable[[str], None]) -> ScoreSummary:
    """The `top` best of every date, in memory."""
    summary, tables = ScoreSummary(), []
    for scores in parts:
        summary.add(scores)
        tables.append(scores.top(top))
        progress(f"scored {summary.scored} rows of {summary.dates} dates")
    summary.rows = pa.concat_tables(tables) if tables else SCORE_SCHEMA.empty_table()
    return summary


def write_scores(parts: Iterator[Scores], path: Path, top: int | None, progress: Callable[[str], None]) -> ScoreSummary:
    """Stream scores (the `top` best of every date, or all) to a parquet or CSV file that appears when it is complete."""
    check_suffix(path)
    summary = ScoreSummary(out=str(path))
    first = next(parts, None)
    everything = iter(()) if first is None else chain([first], parts)
    with replacing(path) as temporary, _writer(temporary, path.suffix, _schema(first)) as write:
        for scores in everything:
            summary.add(scores)
            write(scores.table if top is None else scores.top(top))
            progress(f"scored {summary.scored} rows of {summary.dates} dates")
    return summary


def _schema(first: Scores | None) -> pa.Schema:
    """The file names the units that were taken on the caller's word, for its later readers."""
    taken = [] if first is None else [field for field, how in first.units.items() if how == AS_TRAINED]
    if not taken:
        return SCORE_SCHEMA
    return SCORE_SCHEMA.with_metadata({UNITS_KEY: strict_json.dumps(dict.fromkeys(taken, AS_TRAINED))})


@contextmanager
def _writer(path: Path, suffix: str, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    if suffix == ".parquet":
        writer = pq.ParquetWriter(path, schema, compression="zstd")
    else:
        import pyarrow.csv

        writer = pyarrow.csv.CSVWriter(path, schema)
    with writer:
        yield writer.write_table


def check_suffix(path: Path) -> None:
    """UsageError `usage.out` for a file that is neither parquet nor CSV by its name."""
    if path.suffix not in (".parquet", ".csv"):
        raise UsageError(
            "usage.out",
            "scores are written as parquet or CSV",
            where=str(path),
            expected="a name that ends in .parquet or .csv",
        )


def as_text(summary: ScoreSummary) -> Printable:
    """For people: a ranked table, or where the file went, and who was left out."""
    lines = []
    if summary.rows is not None:
        lines.append(f"{'date':<10}  {'rank':>5}  {'instrument':<12}  score")
        lines += [
            f"{row['datetime']}  {row['rank']:>5}  {row['instrument']:<12}  {row['score']!r}"
            for row in summary.rows.to_pylist()
        ]
    counted = (
        ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(summary.excluded.items())) or "none"
    )
    lines.append(f"{summary.scored} stocks scored on {summary.dates} date(s); excluded: {counted}")
    lines += [
        f"  excluded {row['datetime']} {row['instrument']}: {row['reason'].replace('_', ' ')}"
        for row in summary.excluded_rows[:_EXCLUDED_SHOWN]
    ]
    if len(summary.excluded_rows) > _EXCLUDED_SHOWN:
        lines.append(f"  and {len(summary.excluded_rows) - _EXCLUDED_SHOWN} more (--json lists all)")
    if summary.out is not None:
        lines.append(f"written: {summary.out}")
    return printable(lines)
