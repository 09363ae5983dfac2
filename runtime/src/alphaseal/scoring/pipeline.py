"""The stages of a manifest, in their order: from raw feature values to scores.

Graphs and cross-sections turn rows into rows; a window stands directly before the last graph, which gives the score.
Rows that a stage dropped are not there for the stages after it, and get no score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alphaseal.arrow.columns import indices_of, numbers_of
from alphaseal.errors import PolicyError
from alphaseal.format.manifest import CrossSectionStage, DropMissingStage, GraphStage, Stage, WindowStage
from alphaseal.scoring.session import ROWS_PER_CHUNK, Graph, row_chunks, spread
from alphaseal.tables.features import spans_of

if TYPE_CHECKING:
    from alphaseal.scoring.cross_section import CrossSection
    from alphaseal.tables.features import FeatureBlock
    from alphaseal.tables.windows import Calendar, Rows, Windows

Block = TypeVar("Block", bound="FeatureBlock")
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
        self.threads: int | None = None
        """The most calls at one time, where a caller names no number; None: as many as there are cores."""
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
        self,
        block: FeatureBlock,
        first: np.datetime64 | None = None,
        calendar: Calendar | None = None,
        *,
        threads: int | None = None,
    ) -> tuple[Rows, Vector]:
        """(rows int64, scores float64): positions in `block`, ascending, and what they score.

        Scored are the rows from the date `first` on, but those that a stage dropped; the rows before it are history.
        Without `first` all are, from the first date on that has a whole window behind it.  `calendar` (datetime64[D],
        ascending) is that of windows, by default the dates of the block; `threads` defaults to the cores there are.

        Raises InputError `window.too_short` and `window.not_in_calendar`.
        """
        if not len(block):
            return np.zeros(0, np.int64), np.zeros(0)
        return self.score(self.prepare(block, threads), first, calendar, threads=threads)

    def score_inputs(self, values: Matrix) -> Vector:
        """float64 scores [rows] of inputs of the last graph: float64 [rows, width], or [rows, step_length, width]."""
        return self._last.run(values)

    def stream(
        self, blocks: Iterable[Block], first: np.datetime64 | None = None, calendar: Calendar | None = None
    ) -> Iterator[tuple[Block, Rows, Vector]]:
        """(block, rows, scores) of blocks of whole dates in ascending order, as if they were one block: windows reach back.

        Blocks that end before `first` are history and not given back; without `first` every date is scored.
        """
        context: Prepared | None = None
        for block in blocks:
            if not len(block):
                # Nobody of its dates is a stock of the model.
                yield block, np.zeros(0, np.int64), np.zeros(0)
                continue
            prepared = self.prepare(block)
            reaching = prepared if context is None else context.followed_by(prepared)
            if first is None or block.dates[-1] >= first:
                newest = block.dates[0] if first is None else max(first, block.dates[0])
                yield block, *self.score(reaching, newest, calendar)
            if self.step_length > 1:
                context = self._context(reaching, calendar)

    def prepare(self, block: FeatureBlock, threads: int | None = None) -> Prepared:
        """The rows of a block after all stages but window and last graph; the days of the block must be whole."""
        prepared = Prepared(block.dates, block.instruments, block.values, np.arange(len(block)))
        for stage in self._stages:
            if isinstance(stage, _DropMissing):
                prepared = stage.apply(prepared)
            else:
                values = (
                    _rows_through(stage, prepared.values, threads or self.threads)
                    if isinstance(stage, Graph)
                    else stage.apply(prepared.values, spans_of(prepared.dates))
                )
                prepared = Prepared(prepared.dates, prepared.instruments, values, prepared.rows)
        return prepared

    def score(
        self,
        prepared: Prepared,
        first: np.datetime64 | None = None,
        calendar: Calendar | None = None,
        *,
        threads: int | None = None,
    ) -> tuple[Rows, Vector]:
        """As `run`, from what `prepare` gave."""
        if self.step_length == 1:
            start = 0 if first is None else int(np.searchsorted(prepared.dates, first))
            targets = np.arange(start, len(prepared.dates))
            scored, values = prepared, prepared.values[start:]
            call = lambda part: self._last.call(values[part])  # noqa: E731
        else:
            scored, targets, windows = self._windows(prepared, first, calendar)
            call = lambda part: self._last.call(scored.values[windows.rows(targets[part])])  # noqa: E731
        if self.batch_dependent:
            chunks = [slice(start, stop) for _, start, stop in spans_of(scored.dates[targets])]
        else:
            chunks = row_chunks(len(targets), ROWS_PER_CHUNK if self.step_length == 1 else self._window_rows)
        parts = spread(call, chunks, threads or self.threads)
        return scored.rows[targets], np.concatenate(parts)[:, 0] if parts else np.zeros(0)

    def _windows(
        self, prepared: Prepared, first: np.datetime64 | None, calendar: Calendar | None
    ) -> tuple[Prepared, Rows, Windows]:
        """The rows that windows are made of, which of them are scored, and the windows."""
        from alphaseal.tables.windows import Windows, oldest_date, too_short

        dates = np.unique(prepared.dates) if calendar is None else calendar
        if first is None:
            if len(dates) < self.step_length:
                raise too_short(self.step_length, len(dates), dates[-1] if len(dates) else np.datetime64("NaT", "D"))
            first = dates[self.step_length - 1]
        start = int(np.searchsorted(prepared.dates, first))
        if start < len(prepared.dates):
            oldest = oldest_date(dates, prepared.dates[start], self.step_length)
            if prepared.dates[0] > oldest:
                # A calendar of the caller's own: a table that begins later would repeat its first rows backwards.
                raise too_short(self.step_length, len(np.unique(prepared.dates[: start + 1])), prepared.dates[start])
            dropped = int(np.searchsorted(prepared.dates, oldest))
            prepared = Prepared(
                prepared.dates[dropped:],
                prepared.instruments.slice(dropped),
                prepared.values[dropped:],
                prepared.rows[dropped:],
            )
            start -= dropped
        encoded = prepared.instruments.dictionary_encode()
        codes = numbers_of(encoded.indices, np.dtype(np.int32))
        return (
            prepared,
            np.arange(start, len(prepared.dates)),
            Windows.of(prepared.dates, codes, dates, self.step_length),
        )

    def _context(self, prepared: Prepared, calendar: Calendar | None) -> Prepared:
        """The rows that a window of the next date can reach."""
        if not len(prepared.dates):
            return prepared
        dates = np.unique(prepared.dates) if calendar is None else calendar[calendar <= prepared.dates[-1]]
        return prepared.since(dates[-(self.step_length - 1) :][0])


@dataclass(frozen=True, eq=False)
class _DropMissing:
    """``DropnaProcessor``: only rows without a missing value in `columns` (None: all) go on."""

    columns: npt.NDArray[np.intp] | None

    @classmethod
    def parse(cls, stage: DropMissingStage, width: int, names: Sequence[str] | None) -> _DropMissing:
        if stage.columns is None:
            return cls(None)
        if names is None or len(names) != width or not set(stage.columns) <= set(names):
            raise PolicyError(
                "stage.malformed", "a stage names columns that are not there", found=", ".join(stage.columns)[:200]
            )
        return cls(np.array([names.index(name) for name in stage.columns], np.intp))

    def apply(self, prepared: Prepared) -> Prepared:
        looked_at = prepared.values if self.columns is None else prepared.values[:, self.columns]
        kept = np.flatnonzero(~np.isnan(looked_at).any(axis=1))
        if len(kept) == len(prepared.rows):
            return prepared
        instruments = prepared.instruments.take(indices_of(kept))
        return Prepared(prepared.dates[kept], instruments, prepared.values[kept], prepared.rows[kept])


def _split(stages: Sequence[Stage]) -> tuple[Sequence[Stage], WindowStage | None, GraphStage]:
    """(stages before the window, the window, the last graph)."""
    last = stages[-1] if stages else None
    window = stages[-2] if len(stages) > 1 else None
    before = stages[:-2] if isinstance(window, WindowStage) else stages[:-1]
    if not isinstance(last, GraphStage) or any(isinstance(stage, WindowStage) for stage in before):
        raise PolicyError(
            "stage.order",
            "the stages are not in an order that can be scored",
            expected="graphs, cross-sections and drops, then at most one window, then the graph that gives the score",
            found=", ".join(type(stage).__name__ for stage in stages),
        )
    return before, window if isinstance(window, WindowStage) else None, last


def _load(
    stage: Stage, load: Callable[[str], bytes], width: int, names: Sequence[str] | None
) -> Graph | CrossSection | _DropMissing:
    if isinstance(stage, GraphStage):
        return Graph(load(stage.file), width, stage.file, width=None)
    if isinstance(stage, CrossSectionStage):
        from alphaseal.scoring.cross_section import CrossSection

        return CrossSection.parse(stage.processor, width, names)
    if isinstance(stage, DropMissingStage):
        return _DropMissing.parse(stage, width, names)
    raise PolicyError(
        "stage.unsupported",
        "this runtime does not know the stage",
        found=type(stage).__name__,
        next_step="use a newer runtime",
    )


def _rows_through(graph: Graph, values: Matrix, threads: int | None) -> Matrix:
    parts = spread(lambda rows: graph.call(values[rows]), row_chunks(len(values)), threads)
    return np.concatenate(parts) if parts else np.zeros((0, graph.width))
