"""Opening, verifying and scoring a bundle.

The steps are those of spec/bundle-v1.md: V1 bounded read, V2 signatures, V3 strict JSON and version, V4 schema and meaning,
V5 tree, V6 sizes and digests, V7 model gate, V8 data gate, V9 golden self-test.  Opening does V1 to V5; `verify` adds V6
for every file and V7; scoring adds V6 and V7 for the files that it uses, from the very bytes that it then loads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import manifest as manifest_format
from . import tree
from .errors import NotReadableError, PolicyError, TreeError, UsageError
from .manifest import GraphStage, Manifest, Tensor
from .model_gate import MAXIMUM_MODEL, WHOLE_DAY, ModelSummary, check_model
from .trust import Signer, Trust

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .features import FeatureBlock
    from .pipeline import Pipeline
    from .scores import Scores
    from .windows import Calendar, Rows

DateRange = tuple[Any, Any]
MAXIMUM_GOLDEN = 128 << 20
# Digests whose golden rows scored as recorded in this process: the digest commits to graph, rows and scores.
_PROVEN_HERE: set[str] = set()
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
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        self.digest = digest
        self.envelope = envelope
        self.signers = signers
        self.warnings = warnings
        self._pipeline: Pipeline | None = None

    def verify(self) -> Verified:
        """Check size and digest of every file in constant memory, and put the graphs through the model gate."""
        for entry in self.manifest.files:
            if entry.role in ("model", "alphas"):
                self._read_graph(entry.path)
            else:
                # V6: size, then digest
                tree.hash_file(self.directory, entry)
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

    def read(self, path: str) -> bytes:
        """Verified bytes of one file of the bundle."""
        # V6: size, then digest, of the buffer that is handed out
        return tree.read_file(self.directory, self.manifest.file(path))

    def score(
        self,
        table: Any,
        *,
        date: Any = None,
        dates: DateRange | None = None,
        universe: Sequence[str] | None = None,
        instruments_from: str | None = None,
        calendar: Calendar | None = None,
        max_rows: int | None = None,
        max_bytes: int | None = None,
    ) -> Scores:
        """Score one `date`, or every date of the range `dates` (first, last; None is open).

        `table` is a path of a parquet file, or anything with the Arrow C stream interface: key columns `datetime` and
        `instrument`, and one column per feature of the manifest, in any order.  Values are cast to the feature's
        training dtype first.  InputError (18) where the table does not fit; the date is scored exactly or not at all.

        A model on windows needs the dates before too: those of `calendar` (datetime64[D], ascending), by default those of
        the table; a range that is open at its start begins where the first whole window ends.  A model with stages over
        all stocks of a day takes the stocks of the table as that day's.  `universe` never changes a score.
        `max_rows` and `max_bytes` bound what is decoded of a parquet file (default: 100 times its size).
        """
        from .features import read_parquet, read_table, table_of
        from .history import span_of

        _check_dates(date, dates)
        is_file = isinstance(table, (str, os.PathLike))
        read: Any = partial(read_parquet, max_rows=max_rows, max_bytes=max_bytes) if is_file else read_table
        pipeline, first = self._proven_pipeline(), None
        if pipeline.step_length > 1:
            table = table if is_file else table_of(table)
            span = span_of(table, self.manifest.features, pipeline.step_length, calendar, date=date, dates=dates)
            date, dates, first = None, span.read, span.first
        block = read(
            table,
            self.manifest.features,
            date=date,
            dates=dates,
            instruments_from=instruments_from,
            instrument_format=self.manifest.data.instrument_format.kind,
            instrument_pattern=self.manifest.data.instrument_format.pattern,
        )
        return _ranked(block, *pipeline.run(block, first, calendar), first, universe)

    def score_stream(
        self,
        path: str | os.PathLike[str],
        *,
        dates: DateRange | None = None,
        universe: Sequence[str] | None = None,
        instruments_from: str | None = None,
        calendar: Calendar | None = None,
        max_rows: int | None = None,
        max_bytes: int | None = None,
    ) -> Iterator[Scores]:
        """Score years of history in constant memory: one `Scores` per group of whole dates, in order of date."""
        from .features import iter_parquet
        from .history import span_of

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
            instruments_from=instruments_from,
            instrument_format=self.manifest.data.instrument_format.kind,
            instrument_pattern=self.manifest.data.instrument_format.pattern,
        )
        return (
            _ranked(block, rows, scores, first, universe)
            for block, rows, scores in pipeline.stream(blocks, first, calendar)
        )

    def pipeline(self) -> Pipeline:
        """The stages, loaded from verified bytes once."""
        if self._pipeline is None:
            from .pipeline import Pipeline

            # V7: what this runtime scores and what the format allows
            model = self.manifest.model
            names = [feature.name for feature in self.manifest.features]
            pipeline = Pipeline(
                self.manifest.stages, self._read_graph, len(names), names=names, batch_dependent=model.batch_dependent
            )
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

    def _read_graph(self, path: str) -> bytes:
        """Verified bytes of a graph that may be loaded; PolicyError `model.*` for any other."""
        if self.manifest.file(path).size > MAXIMUM_MODEL:
            raise PolicyError(
                "model.size", "model file is too large", where=path, expected=f"at most {MAXIMUM_MODEL} bytes"
            )
        data = self.read(path)
        # V7: the bytes that are then loaded
        summary = check_model(data, path, limits=WHOLE_DAY if self.manifest.model.batch_dependent else None)
        if path == self._scoring_graph():
            self._compare(summary, path)
        return data

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

    def golden(self) -> bytes:
        """Verified bytes of the golden rows; `selftest` puts them through V8 and V9."""
        golden = self.manifest.golden
        if self.manifest.file(golden.file).size > MAXIMUM_GOLDEN:
            raise PolicyError(
                "data.growth",
                "the golden rows are too large to be read",
                where=golden.file,
                expected=f"at most {MAXIMUM_GOLDEN} bytes",
            )
        return self.read(golden.file)

    def check_factors(self) -> None:
        """Put factors.parquet, if there is one, through V6 and V8; it is for research and no score comes from it."""
        table = self.manifest.factors
        if table is not None:
            from .data_gate import check_factors

            tree.hash_file(self.directory, self.manifest.file(table.file))
            # V8: from footer and page headers; a large table is not decoded
            check_factors(self.directory / table.file, table)


def _said(tensor: Tensor) -> tuple[str, list[int | None] | None]:
    """Name and shape; no shape where the numbers are not double, which no graph of the format has."""
    return tensor.name, list(tensor.shape) if tensor.dtype == "float64" else None


def _ranked(
    block: FeatureBlock, rows: Rows, scores: npt.NDArray[np.float64], first: Any, universe: Sequence[str] | None
) -> Scores:
    """The scored rows of a block and those left out, without the history before `first`."""
    import numpy as np

    from .features import FeatureBlock
    from .scores import rank_scores

    start = 0 if first is None else int(np.searchsorted(block.dates, first))
    target = (
        FeatureBlock(block.dates[start:], block.instruments.slice(start), block.values[start:], block.extra)
        if start
        else block
    )
    if len(rows) == len(target):
        return rank_scores(target, scores, universe)
    placed, dropped = np.full(len(target), np.nan), np.ones(len(target), np.bool_)
    placed[rows - start], dropped[rows - start] = scores, False
    return rank_scores(target, placed, universe, dropped)


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
        data = tree.read_bounded(directory, manifest_format.FILE_NAME, manifest_format.MAXIMUM_BYTES)
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
    return Bundle(directory, manifest, manifest_format.digest(data), envelope, signers, trust.warnings)
