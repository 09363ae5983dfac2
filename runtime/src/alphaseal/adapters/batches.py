"""What the adapters for MLflow, Spark and Ray have in common: a bundle that many processes score parts of a table with.

A model that scores each row by itself takes any rows together.  A model on windows, or with stages over all stocks of a
day, needs whole days and those before them: its table is cut into parts of whole days, each with its own history, and a
part carries what it takes to notice that it is not whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import alphaseal
from alphaseal import Bundle, Trust
from alphaseal.arrow.columns import days_of
from alphaseal.errors import InputError, RollbackError, UsageError
from alphaseal.format.manifest import CrossSectionStage
from alphaseal.format.reasons import NO_ROW
from alphaseal.tables.members.universe import Stocks, Universe, universe_of
from alphaseal.tables.windows import too_short

DATE, INSTRUMENT = "datetime", "instrument"
FIRST_COLUMN = "alphaseal_first"
"""date32: the first date that is scored of the part that a row belongs to; rows before it are history."""
ROWS_COLUMN = "alphaseal_rows"
"""int64: how many rows the part has."""
HISTORY = "history"
"""Reason of a row that is there for the windows of others."""

SCORED_SCHEMA = pa.schema(
    [("datetime", pa.date32()), ("instrument", pa.string()), ("score", pa.float64()), ("excluded", pa.string())]
)
"""One row per stock and date: its score, or null and the reason why it has none."""

TrustLike = Trust | str | os.PathLike[str]
_OPENED: dict[tuple[str, str], tuple[Trust, Bundle]] = {}


def as_trust(trust: TrustLike) -> Trust:
    """A trust as it is, or the trust file of that name."""
    return trust if isinstance(trust, Trust) else Trust.load(trust)


@dataclass(frozen=True)
class Scorer:
    """A verified bundle by place and digest.  It travels to other processes, which open the bundle there once each.

    What lies in that place must be what was opened first: another digest is RollbackError ``adapter.other_bundle``.
    """

    path: str
    digest: str
    trust: Trust
    rows_alone: bool
    """True where a score depends on nothing but its row."""
    step_length: int
    instruments_from: str | None = None
    universe: Universe | None = None
    """The stocks of the market, where a stage looks at all of them and the bundle does not know them by itself."""

    @classmethod
    def of(
        cls,
        bundle_path: str | os.PathLike[str],
        trust: TrustLike,
        *,
        instruments_from: str | None = None,
        universe: Stocks | None = None,
    ) -> Scorer:
        """Verify the whole bundle here; any error of `alphaseal.open` and `Bundle.verify`."""
        path, trust = os.path.abspath(bundle_path), as_trust(trust)
        bundle = alphaseal.open(path, trust=trust)
        bundle.verify()
        model = bundle.manifest.model
        of_days = model.batch_dependent or any(isinstance(part, CrossSectionStage) for part in bundle.manifest.stages)
        _OPENED[path, bundle.digest] = (trust, bundle)
        alone = model.step_length == 1 and not of_days
        return cls(path, bundle.digest, trust, alone, model.step_length, instruments_from, universe_of(universe))

    def bundle(self) -> Bundle:
        """The bundle, opened once in a process for one trust."""
        trust, bundle = _OPENED.get((self.path, self.digest), (None, None))
        if bundle is None or trust != self.trust:
            bundle = alphaseal.open(self.path, trust=self.trust)
            if bundle.digest != self.digest:
                raise RollbackError(
                    "adapter.other_bundle",
                    "another bundle lies here than where the work began",
                    where=self.path,
                    expected=f"sha256 {self.digest}",
                    found=f"sha256 {bundle.digest}",
                    next_step="put the same bundle on every machine, or keep it on a shared disk",
                )
            _OPENED[self.path, self.digest] = (self.trust, bundle)
        return bundle

    def score(self, table: pa.Table, first: np.datetime64 | None = None) -> pa.Table:
        """`SCORED_SCHEMA`, by date and instrument: the rows of `table` from the date `first` on, which must be whole days.

        InputError as `Bundle.score` raises it.
        """
        if not len(table):
            return SCORED_SCHEMA.empty_table()
        options: dict[str, Any] = {"instruments_from": self.instruments_from, "universe": self.universe}
        scores = self.bundle().score(table, dates=(first, None), **options)
        # A row of the result belongs to one of the table, and a part of a table has few of a market's stocks.
        absent = pc.equal(scores.excluded["reason"], NO_ROW)
        scored, excluded = scores.table, scores.excluded.filter(pc.invert(absent))
        together = pa.concat_tables(
            [
                scored.select([DATE, INSTRUMENT, "score"]).append_column(
                    "excluded", pa.nulls(len(scored), pa.string())
                ),
                excluded.select([DATE, INSTRUMENT])
                .append_column("score", pa.nulls(len(excluded), pa.float64()))
                .append_column("excluded", excluded["reason"]),
            ]
        ).cast(SCORED_SCHEMA)
        return together.sort_by([(DATE, "ascending"), (INSTRUMENT, "ascending")]).combine_chunks()

    def score_batches(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """`SCORED_SCHEMA`, from the batches of one partition: batch by batch where rows are scored alone, else by part."""
        if self.rows_alone:
            for batch in batches:
                yield from self.score(pa.Table.from_batches([batch])).to_batches()
            return
        held = [batch for batch in batches if batch.num_rows]
        for part in split(pa.Table.from_batches(held)) if held else []:
            yield from self.score_part(part).to_batches()

    def score_part(self, part: pa.Table) -> pa.Table:
        """The scores of one part of `cut`; InputError ``adapter.part`` where it is none, or rows of it are elsewhere."""
        if FIRST_COLUMN not in part.column_names or ROWS_COLUMN not in part.column_names:
            raise not_cut()
        said = part[ROWS_COLUMN].combine_chunks()
        if said.null_count or set(said.unique().to_pylist()) != {len(part)}:
            raise InputError(
                "adapter.part",
                "a part of the table is not whole",
                where=f"column {ROWS_COLUMN!r}",
                expected=f"all rows of a part in one partition, as said: {said[0].as_py()}",
                found=f"{len(part)} rows",
                next_step="score the table that cut gave as it is: no filter, no repartition, no rows added",
            )
        first = np.datetime64(int(days_of(part[FIRST_COLUMN].combine_chunks())[0]), "D")
        return self.score(part.drop_columns([FIRST_COLUMN, ROWS_COLUMN]), first)


def not_cut() -> InputError:
    return InputError(
        "adapter.part",
        "this model looks at other rows too, and the table is not cut into parts of whole days",
        where=f"column {FIRST_COLUMN!r}",
        next_step="use the module's score, or its cut and then the function",
    )


def split(table: pa.Table) -> Iterator[pa.Table]:
    """The parts that are together in one partition, oldest first; InputError ``adapter.part`` without their column."""
    if FIRST_COLUMN not in table.column_names:
        raise not_cut()
    first = days_of(table[FIRST_COLUMN].combine_chunks())
    for day in np.unique(first):
        yield table.filter(pa.array(first == day))


def parts_of(
    calendar: npt.NDArray[np.datetime64], step_length: int, days: int
) -> list[tuple[np.datetime64, np.datetime64]]:
    """(date of a row, first date of a part that it belongs to), for each date of `calendar` (datetime64[D], ascending).

    A part scores `days` dates, the last one fewer, and holds the `step_length` - 1 dates before them as history.  The
    first score is that of the first date with a whole window.  InputError ``window.too_short`` where there is none.
    """
    if days < 1:
        raise UsageError("usage.limit", "a part has at least one day", found=str(days))
    if len(calendar) < step_length:
        raise too_short(step_length, len(calendar), calendar[-1] if len(calendar) else np.datetime64("NaT", "D"))
    history = step_length - 1
    pairs = []
    for start in range(history, len(calendar), days):
        pairs += [(date, calendar[start]) for date in calendar[start - history : start + days]]
    return pairs


def calendar_of(dates: Sequence[object]) -> npt.NDArray[np.datetime64]:
    """Distinct dates of a whole table, ascending; InputError ``features.date_type`` where one is missing."""
    if any(date is None for date in dates):
        raise InputError("features.date_type", "a row has no date", where=f"column {DATE!r}", expected="a date per row")
    return np.unique(np.array(dates, dtype="datetime64[D]"))
