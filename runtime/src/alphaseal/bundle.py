"""Opening, verifying and scoring a bundle.

The steps are those of spec/bundle-v1.md: V1 bounded read, V2 signatures, V3 strict JSON and version, V4 schema and meaning,
V5 tree, V6 sizes and digests, V7 model gate, V8 data gate, V9 golden self-test.  Opening does V1 to V5; `verify` adds V6
for every file and V7; scoring adds V6 and V7 for the files that it uses, from the very bytes that it then loads.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import guards, tree
from . import manifest as manifest_format
from .bundle_files import BundleFiles, VerifiedFile
from .errors import NotReadableError, PolicyError, SignatureError, TreeError, UsageError
from .manifest import GraphStage, Manifest, Tensor
from .model_gate import MAXIMUM_MODEL, WHOLE_DAY, ModelSummary, check_alphas, check_model
from .trust import Signer, Trust

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .alpha_selftest import LoadedAlphas
    from .drift import Drift
    from .feature_fills import FillCheck
    from .features import FeatureBlock
    from .membership import Membership, RecordedSpans
    from .pipeline import Pipeline
    from .scores import Scores
    from .trading_days import DayCheck
    from .units import Anchors, Evidence
    from .universe import Stocks, Universe
    from .windows import Calendar, Rows

DateRange = tuple[Any, Any]
MAXIMUM_GOLDEN = 128 << 20
# Digests whose golden rows scored as recorded in this process: the digest commits to graph, rows and scores.
_PROVEN_HERE: set[str] = set()
_PROVEN_ALPHAS: set[str] = set()
# Enough to see another library or a broken one; `alphaseal selftest` scores all of them.
_FIRST_SCORE_ROWS = 256


@dataclass(frozen=True)
class Verified:
    """What `verify` found to be true of a bundle."""

    digest: str
    name: str
    sequence: int
    files: int
    bytes: int
    ready: bool
    reasons: tuple[str, ...]
    signed: bool
    signers: tuple[Signer, ...]
    """Keys whose signatures counted; nobody where signatures were not asked for, even if there are some."""
    warnings: tuple[str, ...]


class Bundle:
    """An opened bundle: its manifest is trusted, its tree is exact; files are verified when they are used."""

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        digest: str,
        envelope: bytes | None,
        signers: tuple[Signer, ...] = (),
        warnings: tuple[str, ...] = (),
        stamp: tree.Stamp | None = None,
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        self.digest = digest
        self.envelope = envelope
        self.signers = signers
        self.warnings = warnings
        self._stamp = stamp
        self.files = BundleFiles(directory, manifest)
        self._pipeline: Pipeline | None = None
        self._alphas: LoadedAlphas | None = None
        self._spans: RecordedSpans | None = None

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files that are open; on Windows nobody can move them before.  Nothing can be read any more."""
        self.files.close()

    def verify(self, copied: Collection[str] = ()) -> Verified:
        """Check size and digest of every file in constant memory, and put the graphs through the model gate.

        `copied` are paths of files whose bytes were verified while they were copied a moment ago.
        """
        for entry in self.manifest.files:
            if entry.role in ("model", "alphas"):
                self.check_graph(entry.path)
            elif entry.path not in copied:
                # V6: size, then digest
                self.files.check(entry.path)
        eligibility = self.manifest.eligibility
        return Verified(
            digest=self.digest,
            name=self.manifest.name,
            sequence=self.manifest.sequence,
            files=len(self.manifest.files),
            bytes=sum(entry.size for entry in self.manifest.files),
            ready=eligibility.ready,
            reasons=tuple(reason.code for reason in eligibility.reasons),
            signed=self.envelope is not None,
            signers=self.signers,
            warnings=self.warnings,
        )

    def require_unchanged(self) -> None:
        """SignatureError `signature.payload` where the manifest on disk is not the file that was opened, as it was."""
        try:
            found = tree.Stamp.of(os.stat(self.directory / manifest_format.FILE_NAME, follow_symlinks=False))
        except OSError:
            found = None
        if found != self._stamp:
            raise SignatureError(
                "signature.payload",
                "the manifest was changed while the bundle was in use",
                where=str(self.directory / manifest_format.FILE_NAME),
                next_step="verify the bundle and do it again",
            )

    def read(self, path: str) -> bytes:
        """Verified bytes of one file of the bundle."""
        # V6: size, then digest, of the buffer that is handed out
        return self.files.read(path)

    def score(
        self,
        table: Any = None,
        *,
        bars: Any = None,
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

        With `bars`, such a table of daily bars (`datetime`, `instrument` and the fields of the manifest's `alphas`), the
        alpha features are computed from them, with the days before as far as the manifest's look-back says, and `table`
        holds the other features only (None where there are none).  Scored are the stocks with a row of bars on the date.
        Where a feature sees in which units the bars are (the manifest's `alphas.units`), these are shown by days of the
        golden bars in the table, or by `anchors`: bars of the golden stocks and days from the same source, or what
        `anchor` made of them.  `units_as_trained` goes without, and is recorded in the scores' `units` and `warnings`.
        """
        import numpy as np

        from .features import is_file, reader_of, table_of
        from .history import span_of
        from .universe import universe_of

        _check_dates(date, dates)
        chosen = universe_of(universe)
        self._check_origin(table, date, dates)
        _check_anchors(bars, anchors, units_as_trained)
        if bars is not None:
            limits = {"max_rows": max_rows, "max_bytes": max_bytes}
            options: dict[str, Any] = {"universe": chosen, "calendar": calendar, "limits": limits}
            options["evidence"] = self.evidence(anchors, units_as_trained, instruments_from)
            (scores,) = self._score_bars(bars, table, date, dates, instruments_from, stream=False, **options)
            return scores
        _check_table(table)
        pipeline, first = self._proven_pipeline(), None
        members = self.members(chosen, crosses=pipeline.needs_whole_day)
        if pipeline.step_length > 1:
            table = table if is_file(table) else table_of(table)
            span = span_of(table, self.manifest.features, pipeline.step_length, calendar, date=date, dates=dates)
            date, dates, first = None, span.read, span.first
        read = reader_of(table, max_rows=max_rows, max_bytes=max_bytes)
        block = read(table, self.manifest.features, date=date, dates=dates, **self._notation(instruments_from))
        days = self._day_check(calendar, pipeline)
        days.see(np.unique(block.dates))
        block = self._fill_check(pipeline).marked(members.choose(block))
        return _ranked(self.manifest, block, *pipeline.run(block, first, calendar), first, chosen)

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
        from .drift import measure
        from .features import reader_of
        from .universe import universe_of

        manifest, chosen = self.manifest, universe_of(universe)
        read = reader_of(table, max_rows=max_rows, max_bytes=max_bytes)
        block = read(table, manifest.features, date=date, **self._notation(instruments_from))
        block = self.members(chosen, crosses=False).choose(block)
        return measure(block, manifest.features, manifest.drift, chosen)

    def score_stream(
        self,
        path: str | os.PathLike[str] | bytes | None = None,
        *,
        bars: str | os.PathLike[str] | None = None,
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

        The features' and the bars' parquet files, and the other arguments, are as in `score`.
        """
        import numpy as np

        from .features import iter_parquet
        from .history import span_of
        from .universe import universe_of

        chosen = universe_of(universe)
        self._check_origin(path, None, dates)
        _check_anchors(bars, anchors, units_as_trained)
        if bars is not None:
            limits = {"max_rows": max_rows, "max_bytes": max_bytes}
            options: dict[str, Any] = {"universe": chosen, "calendar": calendar, "limits": limits}
            options["evidence"] = self.evidence(anchors, units_as_trained, instruments_from)
            return self._score_bars(bars, path, None, dates or (None, None), instruments_from, stream=True, **options)
        path = _check_table(path)
        pipeline, first = self._proven_pipeline(), None
        if pipeline.step_length > 1:
            span = span_of(path, self.manifest.features, pipeline.step_length, calendar, dates=dates)
            dates, first = span.read, span.first
        blocks = iter_parquet(
            path,
            self.manifest.features,
            dates=dates,
            max_rows=max_rows,
            max_bytes=max_bytes,
            **self._notation(instruments_from),
        )
        members = self.members(chosen, crosses=pipeline.needs_whole_day)
        days, fills = self._day_check(calendar, pipeline), self._fill_check(pipeline)

        def stocks(block: FeatureBlock) -> FeatureBlock:
            days.see(np.unique(block.dates))
            return fills.marked(members.choose(block))

        return (
            _ranked(self.manifest, block, rows, scores, first, chosen)
            for block, rows, scores in pipeline.stream(map(stocks, blocks), first, calendar)
        )

    def _day_check(self, calendar: Calendar | None, pipeline: Pipeline) -> DayCheck:
        """Of a table of features, where windows count its days; a caller's own calendar says more than the training's."""
        from .trading_days import DayCheck

        counted = calendar is None and pipeline.step_length > 1
        return DayCheck(self.manifest.data.calendar if counted else None, "the features")

    def _fill_check(self, pipeline: Pipeline, given: Sequence[int] | None = None) -> FillCheck:
        """Of the features that a table gave, by their places; None: all."""
        from .feature_fills import FillCheck

        features = self.manifest.features
        places = range(len(features)) if given is None else given
        return FillCheck(features, places, pipeline.step_length, pipeline.needs_whole_day)

    def members(self, universe: Universe | None, *, crosses: bool) -> Membership:
        """Who is a stock of the model; `crosses`: a stage looks at all stocks of a day."""
        from .membership import Membership, RecordedSpans

        if self._spans is None:
            self._spans = RecordedSpans.of(self.manifest.data)
        return Membership.of(self.manifest.data, self._spans, crosses=crosses, given=universe)

    def _notation(self, instruments_from: str | None) -> dict[str, Any]:
        """How a table names its stocks and how the bundle does: arguments of every reader."""
        known = self.manifest.data.instrument_format
        return {
            "instruments_from": instruments_from,
            "instrument_format": known.kind,
            "instrument_pattern": known.pattern,
        }

    def _check_origin(self, table: Any, date: Any, dates: DateRange | None) -> None:
        """InputError where a file says that its features were computed for another bundle, or for other dates."""
        from .feature_origin import check

        check(table, self.digest, date=date, dates=dates)

    def _score_bars(
        self,
        bars: Any,
        table: Any,
        date: Any,
        dates: DateRange | None,
        instruments_from: str | None,
        *,
        stream: bool,
        universe: Universe | None,
        calendar: Calendar | None,
        limits: dict[str, int | None],
        evidence: Evidence,
    ) -> Iterator[Scores]:
        """As `score` with bars; all dates at once, or with `stream` in parts that bound the memory."""
        from .alpha_blocks import AlphaInput, completed

        pipeline, alphas = self._proven_pipeline(), self._proven_alphas()
        given = AlphaInput.of(
            self.manifest.features,
            alphas.columns,
            bars,
            table,
            recorded=alphas.description.conventions,
            moves=alphas.description.moves,
            trading_days=self.manifest.data.calendar,
            members=self.members(universe, crosses=pipeline.needs_whole_day),
            step_length=pipeline.step_length,
            calendar=calendar,
            notation=self._notation(instruments_from),
            limits=limits,
        )
        span = given.span(pipeline.step_length, date=date, dates=dates)
        warnings, shown = alphas.compare(given.graph_bars, span, evidence)
        first = span.first if pipeline.step_length > 1 else None
        fills = self._fill_check(pipeline, given.places_given())
        stages = pipeline.stream(map(fills.marked, given.blocks(span, stream=stream)), first, calendar)
        parts = (block.scored(rows, scores) for block, rows, scores in stages)
        return (
            completed(
                _ranked(self.manifest, block, rows, scores, first, universe), block, first, universe, warnings, shown
            )
            for block, rows, scores in parts
        )

    def anchor(self, bars: Any, *, instruments_from: str | None = None) -> Anchors:
        """What bars of the golden stocks and days from a data source show of all its bars, for `score(anchors=…)`.

        `bars` as in `score`.  InputError `bars.units` where they have other units than the training's,
        `bars.units_unproven` where they are too few to show it, and `bars.*` as for any bars.
        """
        return self._proven_alphas().anchors(bars, self.golden_bars_digest(), self._notation(instruments_from))

    def seen(self, anchors: Anchors, bars: Any, date: Any, *, instruments_from: str | None = None) -> Anchors:
        """`anchors` with the prices that their source's `bars` have on `date`: a later table must have the same."""
        return self._proven_alphas().seen(anchors, bars, date, self._notation(instruments_from))

    def golden_bars_digest(self) -> str:
        """sha256 of the golden bars, which anchors are compared with; UsageError `usage.bars` where there are none."""
        return self.manifest.file(self.alphas().description.golden).sha256

    def evidence(self, anchors: Any, as_trained: bool, instruments_from: str | None) -> Evidence:
        """What shows the units of bars beside themselves: `anchors` and `units_as_trained` of `score`."""
        from .units import Anchors, Evidence

        if anchors is None or isinstance(anchors, Anchors):
            return Evidence(anchors, as_trained)
        return Evidence(self.anchor(anchors, instruments_from=instruments_from), as_trained)

    def pipeline(self) -> Pipeline:
        """The stages, loaded from verified bytes once."""
        if self._pipeline is None:
            from .graph import calls_at_once
            from .pipeline import Pipeline

            # V7: what this runtime scores and what the format allows
            model = self.manifest.model
            names = [feature.name for feature in self.manifest.features]
            memory: list[int] = []

            def load(path: str) -> bytes:
                graph = self._read_graph(path)
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
        if self.digest not in _PROVEN_HERE:
            from . import selftest

            # V8, V9: before the first score
            selftest.run(self, sample=_FIRST_SCORE_ROWS)
            _PROVEN_HERE.add(self.digest)
        return self.pipeline()

    def alphas(self) -> LoadedAlphas:
        """The graph that makes alpha features of bars, and its golden bars, loaded from verified bytes once."""
        if self._alphas is None:
            from .alpha_selftest import load

            if self.manifest.alphas is None:
                raise UsageError(
                    "usage.bars",
                    "the bundle has no graph that makes features of bars",
                    where=str(self.directory),
                    next_step="give all features with a table, or build the bundle where the run's market data are",
                )
            # V7: the bytes that are then loaded; V8: exact schema and rows
            self._alphas = load(self, self.manifest.alphas, self._read_graph(self.manifest.alphas.file).data)
        return self._alphas

    def _proven_alphas(self) -> LoadedAlphas:
        """The same, after the golden bars gave the recorded features here: once in a process for a bundle's digest."""
        alphas = self.alphas()
        if self.digest not in _PROVEN_ALPHAS:
            # V9: before the first score from bars
            alphas.selftest(self)
            _PROVEN_ALPHAS.add(self.digest)
        return alphas

    def check_graph(self, path: str) -> None:
        """Steps V6 and V7 of a graph; PolicyError `model.*`, DigestError."""
        self._read_graph(path)

    def _read_graph(self, path: str) -> GraphBytes:
        """Verified bytes of a graph that may be loaded; PolicyError `model.*` for any other."""
        if self.manifest.file(path).size > MAXIMUM_MODEL:
            raise PolicyError(
                "model.size", "model file is too large", where=path, expected=f"at most {MAXIMUM_MODEL} bytes"
            )
        data = self.read(path)
        # V7: the bytes that are then loaded
        alphas = self.manifest.alphas
        if alphas is not None and path == alphas.file:
            window, fields, features = alphas.window, len(alphas.fields), len(alphas.features)
            return GraphBytes(data, check_alphas(data, path, window=window, fields=fields, features=features).memory)
        summary = check_model(data, path, limits=WHOLE_DAY if self.manifest.model.batch_dependent else None)
        if path == self._scoring_graph():
            self._compare(summary, path)
        return GraphBytes(data, summary.memory)

    def _scoring_graph(self) -> str | None:
        """The graph that gives the score, which the manifest's `model` describes."""
        last = self.manifest.stages[-1]
        return last.file if isinstance(last, GraphStage) else None

    def _compare(self, summary: ModelSummary, path: str) -> None:
        model = self.manifest.model
        said = (model.ir_version, model.opsets, [_said(tensor) for tensor in (*model.inputs, *model.outputs)])
        opsets = {domain or "ai.onnx": version for domain, version in summary.opsets.items()}
        found = (
            summary.ir_version,
            opsets,
            [(port.name, list(port.shape)) for port in (*summary.inputs, *summary.outputs)],
        )
        if said != found:
            raise PolicyError(
                "model.manifest",
                "the graph is not what the manifest says of it",
                where=path,
                expected=str(said)[:300],
                found=str(found)[:300],
            )

    def golden(self, path: str | None = None) -> bytes:
        """Verified bytes of the golden rows, or of the golden bars; the self-test puts them through V8 and V9."""
        path = self.manifest.golden.file if path is None else path
        if self.manifest.file(path).size > MAXIMUM_GOLDEN:
            raise PolicyError(
                "data.growth",
                "the golden rows are too large to be read",
                where=path,
                expected=f"at most {MAXIMUM_GOLDEN} bytes",
            )
        return self.read(path)

    def check_factors(self) -> None:
        """Put factors.parquet, if there is one, through V6 and V8; it is for research and no score comes from it."""
        table = self.manifest.factors
        if table is not None:
            from .data_gate import check_factors

            # V8: from footer and page headers; a large table is not decoded
            check_factors(self.factors(), table)

    def factors(self) -> VerifiedFile:
        """factors.parquet, whose every byte is verified when it is read; only for a manifest that names one."""
        assert self.manifest.factors is not None
        # V6: size, then digest, and then block by block what is used
        return self.files.verified(self.manifest.factors.file)


class GraphBytes(NamedTuple):
    """A graph that may be loaded, and the bytes that a call of it takes."""

    data: bytes
    memory: int


def _said(tensor: Tensor) -> tuple[str, list[int | None] | None]:
    """Name and shape; no shape where the numbers are not double, which no graph of the format has."""
    return tensor.name, list(tensor.shape) if tensor.dtype == "float64" else None


def _ranked(
    manifest: Manifest,
    block: FeatureBlock,
    rows: Rows,
    scores: npt.NDArray[np.float64],
    first: Any,
    universe: Universe | None,
) -> Scores:
    """The scored rows of a block and those left out, without the history before `first`, and the drift of their values."""
    import numpy as np

    from .drift import measure
    from .scores import rank_scores

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


def _check_table(table: Any) -> Any:
    if table is None:
        raise UsageError(
            "usage.features", "there is nothing to score", expected="a table of features, or bars, or both"
        )
    return table


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
    """Open a bundle directory, or raise the error of the first step that fails.

    NotReadableError 3, MalformedError 10, DigestError 11, TreeError 12, SignatureError 13, NotTrustedError 14,
    ExpiredError 15, RollbackError 16.
    """
    directory = Path(path)
    if not os.path.isdir(directory):  # Path.is_dir raises for names that are too long
        raise NotReadableError(
            "bundle.not_readable",
            "no bundle directory",
            where=str(directory),
            expected="a directory with manifest.json",
        )
    # V1: bounded read of the manifest, and of the envelope where there is one
    try:
        data, stamp = tree.read_stamped(directory, manifest_format.FILE_NAME, manifest_format.MAXIMUM_BYTES)
    except TreeError as error:
        if error.code == "tree.missing":
            error.next_step = "name the directory that holds manifest.json"
        raise
    envelope = (
        tree.read_bounded(directory, tree.ENVELOPE_NAME, tree.MAXIMUM_ENVELOPE)
        if os.path.lexists(directory / tree.ENVELOPE_NAME)
        else None
    )
    # V2: signatures and keys, over the raw bytes: nothing of the manifest has been parsed
    signers = trust.check_signatures(data, envelope)
    # V3: strict JSON and the version; V4: schema, byte form and meaning
    manifest = manifest_format.parse(data)
    # V4: then what the trust asks of them: expiry, name, sequence, readiness
    trust.check_facts(manifest)
    # V5: the tree is exact
    tree.check_tree(directory, manifest)
    warnings = (*trust.warnings, *guards.warning(manifest))
    return Bundle(directory, manifest, manifest_format.digest(data), envelope, signers, warnings, stamp)
