"""What verification believes of a bundle: steps V1 to V7 of spec/bundle-v1.md, and what V8 and V9 take up.

V1 bounded read, V2 signatures, V3 strict JSON and version, V4 schema and meaning, V5 tree, V6 sizes and digests, V7 model
gate.  Opening does V1 to V5; `verify` adds V6 for every file and V7; whoever uses a file gets bytes that went through V6
and V7, the very ones.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from alphaseal.disk import tree
from alphaseal.disk.verified import BundleFiles, VerifiedFile
from alphaseal.errors import NotReadableError, PolicyError, SignatureError, TreeError
from alphaseal.format import guards
from alphaseal.format import manifest as manifest_format
from alphaseal.format.factors import FactorGraph, FactorProgram
from alphaseal.format.manifest import GraphStage, Manifest, Tensor
from alphaseal.gate.model import (
    MAXIMUM_MODEL,
    WHOLE_DAY,
    ModelSummary,
    check_alphas,
    check_factor_graph,
    check_model,
)
from alphaseal.trust.judgement import Signer, Trust

MAXIMUM_GOLDEN = 128 << 20
Opened = TypeVar("Opened", bound="Sealed")


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


class Sealed:
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

    @classmethod
    def open(cls: type[Opened], path: str | os.PathLike[str], *, trust: Trust) -> Opened:
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
                raise error.saying(next_step="name the directory that holds manifest.json") from None
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
        return cls(directory, manifest, manifest_format.digest(data), envelope, signers, warnings, stamp)

    def __enter__(self: Opened) -> Opened:
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

    def check_graph(self, path: str) -> None:
        """Steps V6 and V7 of a graph; PolicyError `model.*`, DigestError."""
        self.read_graph(path)

    def read_graph(self, path: str) -> GraphBytes:
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
        if (told := self._factor_graph(path)) is not None:
            return GraphBytes(data, check_factor_graph(data, *told).memory)
        summary = check_model(data, path, limits=WHOLE_DAY if self.manifest.model.batch_dependent else None)
        if path == self._scoring_graph():
            self._compare(summary, path)
        return GraphBytes(data, summary.memory)

    def _factor_graph(self, path: str) -> tuple[FactorProgram, FactorGraph] | None:
        """What the manifest says of a graph of compiled factors."""
        programs = () if self.manifest.compiled is None else self.manifest.compiled.programs
        found = [(program, graph) for program in programs for graph in program.graphs if graph.file == path]
        return found[0] if found else None

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
            from alphaseal.gate.data import check_factors

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
