"""Scoring with a bundle.

Before the first score come V8, the data gate, and V9, the golden self-test, of spec/bundle-v1.md; sealed.py has V1 to V7.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from alphaseal.errors import PolicyError, UsageError
from alphaseal.format.manifest import Manifest
from alphaseal.sealed import Sealed
from alphaseal.tables.request import Limits, Notation, Request
from alphaseal.trust.judgement import Trust

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from alphaseal.advice.drift import Drift
    from alphaseal.bars.selftest import LoadedAlphas
    from alphaseal.bars.units import Anchors, Evidence
    from alphaseal.factors.selftest import LoadedFactors
    from alphaseal.scoring.pipeline import Pipeline
    from alphaseal.scoring.scores import Scores
    from alphaseal.scoring.selftest import SelfTestReport
    from alphaseal.tables.features import FeatureBlock
    from alphaseal.tables.members.membership import Membership, RecordedSpans
    from alphaseal.tables.members.universe import Stocks, Universe
    from alphaseal.tables.period import DateRange
    from alphaseal.tables.windows import Calendar, Rows

# Enough to see another library or a broken one; `alphaseal selftest` scores all of them.
_FIRST_SCORE_ROWS = 256


class _Scored(NamedTuple):
    """What is scored: blocks of whole dates in ascending order, those before `first` as history."""

    blocks: Iterator[Any]
    first: np.datetime64 | None
    given: Sequence[int] | None = None
    """Places of the features that a table gave; None: all."""
    completed: Callable[[Scores, Any], Scores] = lambda scores, block: scores
    """The scores of a block with what is only known of bars."""


class Bundle(Sealed):
    """What verification believes, and the stages and alpha features that score with it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._pipeline: Pipeline | None = None
        self._alphas: LoadedAlphas | None = None
        self._factors: LoadedFactors | None = None
        self._spans: RecordedSpans | None = None

    def score(
        self,
        table: Any = None,
        *,
        bars: Any = None,
        static: Any = None,
        date: Any = None,
        dates: DateRange | None = None,
        universe: Stocks | Universe | None = None,
        instruments_from: str | None = None,
        calendar: Calendar | None = None,
        max_rows: int | None = None,
        max_bytes: int | None = None,
        anchors: Any = None,
        units_as_trained: bool = False,
    ) -> Scores:
        """Score one `date`, or every date of the range `dates` (first, last; None is open).

        `table` is a path of a parquet file, its bytes, or anything with the Arrow C stream interface: key columns
        `datetime` and `instrument`, and one column per feature of the manifest, in any order.  Values are cast to the
        feature's training dtype first.  InputError (18) where the table does not fit; the date is scored exactly or not
        at all.

        A model on windows needs the dates before too: those of `calendar` (datetime64[D], ascending), by default those of
        the table; a range that is open at its start begins where the first whole window ends.  A model with stages over
        all stocks of a day sees the universe that the manifest records; where that does not say which stocks a date has, they
        are those of `universe`, without which the date is refused.  Else `universe` limits the result and changes no score.
        It is codes as the bundle names them, or a mapping from code to the spans [(first, last), …] of dates in which it
        belongs to the universe.  `max_rows` and `max_bytes` bound what is decoded of a parquet file (default: 100 times its size).

        With `bars`, such a table of daily bars (`datetime`, `instrument` and the fields of the manifest's `alphas`), alpha
        features and compiled factors are computed from them, with the days before as far as the manifest's look-back says, and
        `table` holds the other features only (None where there are none).  Scored are the stocks with a row of bars on the
        date.  `static` is such a table too: the side table that compiled factors read (the manifest's `compiled.static`).
        Where a feature sees in which units the bars are (the manifest's `alphas.units`), these are shown by days of the
        golden bars in the table, or by `anchors`: bars of the golden stocks and days from the same source, or what
        `anchor` made of them.  `units_as_trained` goes without, and is recorded in the scores' `units` and `warnings`.
        """
        _check_dates(date, dates)
        request = Request(date, dates, calendar, self.notation(instruments_from), Limits(max_rows, max_bytes))
        (scores,) = self._parts(table, bars, static, request, universe, anchors, units_as_trained, stream=False)
        return scores

    def drift(
        self,
        table: Any,
        date: Any,
        *,
        universe: Stocks | Universe | None = None,
        instruments_from: str | None = None,
        max_rows: int | None = None,
        max_bytes: int | None = None,
    ) -> Drift:
        """How far the features of one date are from the training values, without scoring; arguments as in `score`."""
        from alphaseal.advice.drift import measure
        from alphaseal.tables.reading import read

        manifest, chosen = self.manifest, None if universe is None else self._universe(universe)
        request = Request(date, notation=self.notation(instruments_from), limits=Limits(max_rows, max_bytes))
        block = read(table, manifest.features, request)
        block = self._choice(chosen, crosses=False)(block)
        return measure(block, manifest.features, manifest.drift, chosen)

    def score_stream(
        self,
        path: str | os.PathLike[str] | bytes | None = None,
        *,
        bars: str | os.PathLike[str] | None = None,
        static: Any = None,
        dates: DateRange | None = None,
        universe: Stocks | Universe | None = None,
        instruments_from: str | None = None,
        calendar: Calendar | None = None,
        max_rows: int | None = None,
        max_bytes: int | None = None,
        anchors: Any = None,
        units_as_trained: bool = False,
    ) -> Iterator[Scores]:
        """Score years of history in constant memory: one `Scores` per group of whole dates, in order of date.

        The features' and the bars' parquet files, the side table, and the other arguments, are as in `score`.
        """
        request = Request(None, dates, calendar, self.notation(instruments_from), Limits(max_rows, max_bytes))
        return self._parts(path, bars, static, request, universe, anchors, units_as_trained, stream=True)

    def _parts(
        self,
        table: Any,
        bars: Any,
        static: Any,
        request: Request,
        universe: Stocks | Universe | None,
        anchors: Any,
        units_as_trained: bool,
        *,
        stream: bool,
    ) -> Iterator[Scores]:
        """The scores of `score` as the only part, or with `stream` in parts that bound the memory."""
        from alphaseal.tables.features import is_file

        chosen = None if universe is None else self._universe(universe)
        if is_file(table):
            from alphaseal.tables.origin import check

            check(table, self.digest, date=request.date, dates=request.dates)
        _check_anchors(bars, anchors, units_as_trained)
        if bars is None:
            if static is not None:
                raise UsageError("usage.static", "a side table goes with bars", expected="bars, or no side table")
            if table is None:
                expected = "a table of features, or bars, or both"
                raise UsageError("usage.features", "there is nothing to score", expected=expected)
            rows = self._rows_of_table(table, request, chosen, stream=stream)
        else:
            evidence = self.evidence(anchors, units_as_trained, request.notation.source)
            rows = self._rows_of_bars(bars, table, static, request, chosen, evidence, stream=stream)
        pipeline, first = self.pipeline(), rows.first
        blocks = map(self._fill_check(pipeline, rows.given), rows.blocks)
        scored = (
            pipeline.stream(blocks, first, request.calendar)
            if stream
            else ((block, *pipeline.run(block, first, request.calendar)) for block in blocks)
        )
        return (
            rows.completed(_ranked(self.manifest, first, chosen, *block.scored(found, scores)), block)
            for block, found, scores in scored
        )

    def _rows_of_table(self, table: Any, request: Request, universe: Universe | None, *, stream: bool) -> _Scored:
        from alphaseal.tables.features import is_file, table_of
        from alphaseal.tables.reading import read

        pipeline, first, features = self._proven_pipeline(), None, self.manifest.features
        choose = self._choice(universe, crosses=pipeline.needs_whole_day)
        if pipeline.step_length > 1:
            from alphaseal.tables.look_back import span_of

            table = table if is_file(table) else table_of(table)
            span = span_of(table, features, pipeline.step_length, request)
            request, first = replace(request, date=None, dates=span.read), span.first
        if stream:
            from alphaseal.tables.feature_files import iter_parquet

            blocks = iter_parquet(table, features, request.dates, notation=request.notation, limits=request.limits)
        else:
            blocks = iter([read(table, features, request)])
        return _Scored(map(choose, self._checked_days(blocks, request.calendar, pipeline)), first)

    def _checked_days(
        self, blocks: Iterator[FeatureBlock], calendar: Calendar | None, pipeline: Pipeline
    ) -> Iterator[FeatureBlock]:
        """Of a table of features, where windows count its days; a caller's own calendar says more than the training's."""
        if calendar is not None or pipeline.step_length == 1:
            return blocks
        import numpy as np

        from alphaseal.bars.trading_days import DayCheck

        days = DayCheck(self.manifest.data.calendar, "the features")

        def seen(block: FeatureBlock) -> FeatureBlock:
            days.see(np.unique(block.dates))
            return block

        return map(seen, blocks)

    def _fill_check(self, pipeline: Pipeline, given: Sequence[int] | None) -> Callable[[Any], Any]:
        """Of the features that a table gave, by their places; None: all."""
        features = self.manifest.features
        places = [
            place
            for place in (range(len(features)) if given is None else given)
            if (statistics := features[place].statistics) is not None and statistics.common_ratio is not None
        ]
        if not places:
            return _as_it_is
        from alphaseal.advice.fills import FillCheck

        return FillCheck(features, places, pipeline.step_length, pipeline.needs_whole_day).marked

    def _universe(self, stocks: Stocks | Universe) -> Universe:
        from alphaseal.tables.members.universe import Universe

        return stocks if isinstance(stocks, Universe) else Universe.of(stocks)

    def _choice(self, universe: Universe | None, *, crosses: bool) -> Callable[[FeatureBlock], FeatureBlock]:
        """`Membership.choose`; everybody is a stock of the model where the manifest records no universes."""
        return _as_it_is if self.manifest.data.universes is None else self.members(universe, crosses=crosses).choose

    def members(self, universe: Universe | None, *, crosses: bool) -> Membership:
        """Who is a stock of the model; `crosses`: a stage looks at all stocks of a day."""
        from alphaseal.tables.members.membership import Membership, RecordedSpans

        if self._spans is None:
            self._spans = RecordedSpans.of(self.manifest.data)
        return Membership.of(self.manifest.data, self._spans, crosses=crosses, given=universe)

    def notation(self, source: str | None = None) -> Notation:
        """How a table names its stocks (`source`: "qlib" or "ts" where it is not as the bundle does), and how the bundle does."""
        return Notation.of(self.manifest.data.instrument_format, source)

    def _rows_of_bars(
        self,
        bars: Any,
        table: Any,
        static: Any,
        request: Request,
        universe: Universe | None,
        evidence: Evidence,
        *,
        stream: bool,
    ) -> _Scored:
        from alphaseal.bars.join import BarInput, completed
        from alphaseal.factors.opening import joined_features, opened

        pipeline, alphas = self._proven_pipeline(), self._proven_alphas()
        factors = self.compiled_factors().proven(self)
        columns = opened(self.manifest, alphas.columns, factors, static, request, universe)
        given = BarInput.of(
            self.manifest.features,
            columns,
            bars,
            table,
            recorded=alphas.description.conventions,
            moves=alphas.description.moves,
            trading_days=self.manifest.data.calendar,
            members=self.members(universe, crosses=pipeline.needs_whole_day),
            step_length=pipeline.step_length,
            together=joined_features(self.manifest),
            request=request,
        )
        span = given.span()
        warnings, shown = alphas.compare(given.graph_bars, span, evidence)
        first = span.first if pipeline.step_length > 1 else None
        return _Scored(
            given.blocks(span, stream=stream),
            first,
            given.places_given(),
            lambda scores, block: completed(scores, block, first, universe, warnings, shown),
        )

    def compiled_factors(self) -> LoadedFactors:
        """The programs that make compiled factors of bars, loaded from verified bytes once; none where the manifest has none."""
        if self._factors is None:
            from alphaseal.factors.selftest import load

            # V7: the bytes that are then loaded
            self._factors = load(self)
        return self._factors

    def anchor(self, bars: Any, *, instruments_from: str | None = None) -> Anchors:
        """What bars of the golden stocks and days from a data source show of all its bars, for `score(anchors=…)`.

        `bars` as in `score`.  InputError `bars.units` where they have other units than the training's,
        `bars.units_unproven` where they are too few to show it, and `bars.*` as for any bars.
        """
        return self._proven_alphas().anchors(bars, self.golden_bars_digest(), self.notation(instruments_from))

    def seen(self, anchors: Anchors, bars: Any, date: Any, *, instruments_from: str | None = None) -> Anchors:
        """`anchors` with the prices that their source's `bars` have on `date`: a later table must have the same."""
        return self._proven_alphas().seen(anchors, bars, date, self.notation(instruments_from))

    def golden_bars_digest(self) -> str:
        """sha256 of the golden bars, which anchors are compared with; UsageError `usage.bars` where there are none."""
        return self.manifest.file(self.alphas().description.golden).sha256

    def evidence(self, anchors: Any, as_trained: bool, instruments_from: str | None) -> Evidence:
        """What shows the units of bars beside themselves: `anchors` and `units_as_trained` of `score`."""
        from alphaseal.bars.units import Anchors, Evidence

        if anchors is None or isinstance(anchors, Anchors):
            return Evidence(anchors, as_trained)
        return Evidence(self.anchor(anchors, instruments_from=instruments_from), as_trained)

    def pipeline(self) -> Pipeline:
        """The stages, loaded from verified bytes once."""
        if self._pipeline is None:
            from alphaseal.scoring.pipeline import Pipeline
            from alphaseal.scoring.session import calls_at_once

            # V7: what this runtime scores and what the format allows
            model = self.manifest.model
            names = [feature.name for feature in self.manifest.features]
            memory: list[int] = []

            def load(path: str) -> bytes:
                graph = self.read_graph(path)
                memory.append(graph.memory)
                return graph.data

            pipeline = Pipeline(
                self.manifest.stages, load, len(names), names=names, batch_dependent=model.batch_dependent
            )
            pipeline.threads = calls_at_once(max(memory))
            if pipeline.step_length != model.step_length:
                raise PolicyError(
                    "stage.window",
                    "the window is not of the model's step length",
                    expected=str(model.step_length),
                    found=str(pipeline.step_length),
                )
            self._pipeline = pipeline
        return self._pipeline

    def _proven_pipeline(self) -> Pipeline:
        """The stages, after the golden rows gave their scores here: once in a process for a bundle's digest."""
        from alphaseal.scoring import selftest

        # V8, V9: before the first score
        selftest.once(self.digest, "sample", lambda: self.selftest(_FIRST_SCORE_ROWS))
        return self.pipeline()

    def selftest(self, sample: int | None = None) -> SelfTestReport:
        """Score the golden rows, and compute the alpha features of the golden bars; see `alphaseal.scoring.selftest.run`.

        `sample` bounds the rows of a model that scores rows alone, and leaves out the bars.
        """
        from alphaseal.scoring import selftest

        with_bars = sample is None and self.manifest.alphas is not None
        return selftest.run(
            self,
            self.pipeline(),
            (lambda: self.alphas().selftest(self)) if with_bars else None,
            (lambda: self.compiled_factors().selftest(self)) if with_bars else None,
            sample,
        )

    def alphas(self) -> LoadedAlphas:
        """The graph that makes alpha features of bars, and its golden bars, loaded from verified bytes once."""
        if self._alphas is None:
            from alphaseal.bars.selftest import load

            if self.manifest.alphas is None:
                raise UsageError(
                    "usage.bars",
                    "the bundle has no graph that makes features of bars",
                    where=str(self.directory),
                    next_step="give all features with a table, or build the bundle where the run's market data are",
                )
            # V7: the bytes that are then loaded; V8: exact schema and rows
            self._alphas = load(self, self.manifest.alphas, self.read_graph(self.manifest.alphas.file).data)
        return self._alphas

    def _proven_alphas(self) -> LoadedAlphas:
        """The same, after the golden bars gave the recorded features here: once in a process for a bundle's digest."""
        from alphaseal.scoring import selftest

        alphas = self.alphas()
        # V9: before the first score from bars
        selftest.once(self.digest, "alphas", lambda: alphas.selftest(self))
        return alphas


def _ranked(
    manifest: Manifest,
    first: np.datetime64 | None,
    universe: Universe | None,
    block: FeatureBlock,
    rows: Rows,
    scores: npt.NDArray[np.float64],
) -> Scores:
    """The scored rows of a block and those left out, without the history before `first`, and the drift of their values."""
    import numpy as np

    from alphaseal.advice.drift import measure
    from alphaseal.scoring.scores import rank_scores

    start = 0 if first is None else int(np.searchsorted(block.dates, first))
    target = block.taken(np.arange(start, len(block))) if start else block
    if first is not None:
        target = replace(target, left_out=tuple(row for row in target.left_out if row[0] >= first))
    dropped = None
    if len(rows) != len(target):
        placed, dropped = np.full(len(target), np.nan), np.ones(len(target), np.bool_)
        placed[rows - start], dropped[rows - start] = scores, False
        scores = placed
    measured = measure(target, manifest.features, manifest.drift, universe)
    found = rank_scores(target, scores, universe, dropped)
    return replace(
        found, manifest=manifest, measured=measured, warnings=(*found.warnings, *measured.warnings(manifest.features))
    )


def _as_it_is(block: Any) -> Any:
    return block


def _check_anchors(bars: Any, anchors: Any, as_trained: bool) -> None:
    if bars is None and (anchors is not None or as_trained):
        raise UsageError(
            "usage.anchors", "anchors and units are those of bars", expected="bars, or neither of these two"
        )


def _check_dates(date: Any, dates: DateRange | None) -> None:
    if (date is None) == (dates is None):
        raise UsageError(
            "usage.date", "name the date to score, or a range of dates", expected="exactly one of date and dates"
        )


def open_bundle(path: str | os.PathLike[str], *, trust: Trust) -> Bundle:
    """Open a bundle directory; see `Sealed.open`."""
    return Bundle.open(path, trust=trust)
