"""The stages of a manifest, in their order: from raw feature values to scores.

Graphs and cross-sections turn rows into rows; a window stands directly before the last graph, which gives the score.
Rows that a stage dropped are not there for the stages after it, and get no score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .arrow_columns import numbers_of
from .cross_section import CrossSection
from .errors import InputError, PolicyError
from .graph import ROWS_PER_CHUNK, Graph, row_chunks, spread
from .manifest import CrossSectionStage, DropMissingStage, GraphStage, Stage, WindowStage
from .windows import Calendar, Rows, Windows, oldest_date, too_short

if TYPE_CHECKING:
    from .features import FeatureBlock

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
_WINDOW_BYTES = 16 << 20
"""Of the windows that a thread holds at once."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows after all stages but window and last graph, sorted by date, then instrument.

    `dates` datetime64[D], `instruments` (Arrow strings), `values` float64 [rows, width]; `rows` int64: positions in the
    block that they come from, -1 for rows of an earlier block.
    """

    dates: npt.NDArray[np.datetime64]
    instruments: Any
    values: Matrix
    rows: Rows

    def since(self, first: np.datetime64) -> Prepared:
        """The rows from `first` on, as rows of an earlier block."""
        start = int(np.searchsorted(self.dates, first))
        rows = np.full(len(self.dates) - start, -1, np.int64)
        return Prepared(self.dates[start:], self.instruments.slice(start), self.values[start:].copy(), rows)

    def followed_by(self, later: Prepared) -> Prepared:
        """These rows and `later` ones."""
        return Prepared(
            np.concatenate([self.dates, later.dates]),
            pa.concat_arrays([self.instruments, later.instruments]),
            np.concatenate([self.values, later.values]),
            np.concatenate([self.rows, later.rows]),
        )


class Pipeline:
    """The loaded stages.

    `step_length` is the number of dates that a score looks at (1: the row alone); `needs_whole_day` is true where a score
    depends on the other stocks of its day, so that all of them must be in the block.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        load: Callable[[str], bytes],
        feature_count: int,
        *,
        names: Sequence[str] | None = None,
        batch_dependent: bool = False,
    ) -> None:
        """`load` gives the bytes of a graph's file; `names` are the features', for stages that name some of them.

        Raises PolicyError: `stage.order`, `stage.unsupported`, `stage.malformed`, and what `Graph` raises.
        """
        before, window, last = _split(stages)
        self.step_length = 1 if window is None else window.length
        self.batch_dependent = batch_dependent
        self.needs_whole_day = batch_dependent or any(isinstance(stage, CrossSectionStage) for stage in before)
        self._stages: list[Graph | CrossSection | _DropMissing] = []
        width = feature_count
        for stage in before:
            loaded = _load(stage, load, width, names)
            width = loaded.width if isinstance(loaded, Graph) else width
            self._stages.append(loaded)
        self._last = Graph(load(last.file), width, last.file, step_length=self.step_length)
        self._window_rows = max(1, min(ROWS_PER_CHUNK, _WINDOW_BYTES // (8 * self.step_length * width)))

    def run(
        self, block: FeatureBlock, first: np.datetime64 | None = None, calendar: Calendar | None = None, *, threads: int | None = None
    ) -> tuple[Rows, Vector]:
        """(rows int64, scores float64): positions in `block`, ascending, and what they score.

        Scored are the rows from the date `first` on, but those that a stage dropped; the rows before it are history.
        Without `first` all are, from the first date on that has a whole window behind it.  `calendar` (datetime64[D],
        ascending) is that of windows, by default the dates of the block; `threads` defaults to the cores there are.

        Raises InputError `window.too_short` and `window.not_in_calendar`.
        """
        return self.score(self.prepare(block, threads), first, calendar, threads=threads)

    def stream(
        self, blocks: Iterable[FeatureBlock], first: np.datetime64 | None = None, calendar: Calendar | None = None
    ) -> Iterator[tuple[FeatureBlock, Rows, Vector]]:
        """`run` for blocks of whole dates in ascending order, as if they were one: windows reach into earlier blocks."""
        context: Prepared | None = None
        for block in blocks:
            prepared = self.prepare(block)
            if context is not None:
                prepared = context.followed_by(prepared)
            dates = np.unique(prepared.dates) if calendar is None else calendar
            short = self._first_with_window(dates) if first is None else None
            if len(prepared.dates) and (short is None or prepared.dates[-1] >= short):
                # With `first` given, a window that is too short is an error; without, such dates are passed over.
                start = short if first is None else first
                newest = prepared.dates[-1] if start is None else max(start, block.dates[0])
                if prepared.dates[-1] >= newest:
                    rows, scores = self.score(prepared, newest, calendar)
                    yield block, rows, scores
            if self.step_length > 1 and len(prepared.dates):
                held = dates[dates <= prepared.dates[-1]]
                context = prepared.since(held[-min(self.step_length - 1, len(held))])
