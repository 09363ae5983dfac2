"""Writing a proven conversion: staged beside its place, re-opened by the runtime, renamed in one step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

import alphaseal
from alphaseal.disk.targets import replacing
from alphaseal.errors import AlphasealError
from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from alphaseal.scoring import golden
from alphaseal_converter.bundle.manifest import make_manifest
from alphaseal_converter.bundle.signing import sign_staged
from alphaseal_converter.bundle.sources import SourceTexts
from alphaseal_converter.card import render_card
from alphaseal_converter.card.performance import measure
from alphaseal_converter.errors import RefusalError
from alphaseal_converter.evidence.alphas import BARS_FILE, GRAPH_FILE
from alphaseal_converter.evidence.compiled import FOLDER, GOLDEN_FILE
from alphaseal_converter.evidence.golden import write_golden, write_table
from alphaseal_converter.evidence.training_statistics import feature_statistics
from alphaseal_converter.evidence.values import sha256_of
from alphaseal_converter.factors.table import rewrite_factors
from alphaseal_converter.factors.trial import Trial
from alphaseal_converter.proof.proven import Proven
from alphaseal_converter.proof.request import BuildRequest

_MEDIA_TYPES = {
    ".onnx": "application/vnd.onnx",
    ".parquet": "application/vnd.apache.parquet",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".py": "text/plain; charset=utf-8",
    ".yaml": "text/plain; charset=utf-8",
}
_ROLES = {
    GRAPH_FILE: "alphas",
    BARS_FILE: "golden_bars",
    GOLDEN_FILE: "golden_bars",
    "golden.parquet": "golden",
    "factors.parquet": "factors",
    "card.html": "card",
}


@dataclass(frozen=True)
class BuiltBundle:
    """A bundle that is in its place and was verified by the runtime."""

    path: Path
    digest: str
    manifest: m.Manifest
    trials: Mapping[str, Trial] = field(default_factory=dict)
    """Why what the trials of its factors did not find is null; by feature."""


def write_bundle(proven: Proven, request: BuildRequest, progress: Callable[[str], None]) -> BuiltBundle:
    """Write all files to a directory beside the bundle's place, verify them with the runtime, then rename it."""
    taken = RefusalError("output.exists", "the bundle's place was taken meanwhile", where=str(request.out))
    with replacing(request.out, taken=taken) as staging:
        staging.mkdir()
        manifest = _fill(staging, proven, request, progress)
        if request.require_ready and not manifest.eligibility.ready:
            raise _not_ready(manifest)
        progress("verifying the bundle")
        _verify(staging)
        if request.signing_key is not None:
            sign_staged(staging, manifest, request.signing_key)
    return BuiltBundle(request.out, m.digest(m.encode(manifest)), manifest, proven.trials)


def _not_ready(manifest: m.Manifest) -> RefusalError:
    reasons = manifest.eligibility.reasons
    return RefusalError(
        "build.not_ready",
        "the bundle would not be ready, and --require-ready was given",
        expected="no reason against it",
        found="; ".join(f"{reason.code} ({reason.text})" for reason in reasons),
        next_step="mend what the reasons name, or build without --require-ready to look at it",
    )


def _fill(staging: Path, proven: Proven, request: BuildRequest, progress: Callable[[str], None]) -> m.Manifest:
    """All files of the bundle, the manifest last."""
    for name, graph in proven.graphs.items():
        (staging / name).write_bytes(graph)
    schema = golden.golden_schema(proven.features.features)
    golden_rows = write_golden(staging / "golden.parquet", schema, proven.golden)
    alphas, parquet, table = proven.market.alphas, proven.located.parquet, None
    if alphas.graph is not None:
        (staging / GRAPH_FILE).write_bytes(alphas.graph)
        write_table(staging / BARS_FILE, alphas.bars)
    compiled = proven.market.factors
    for path, graph in compiled.files.items():
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        (staging / path).write_bytes(graph)
    if compiled.golden is not None:
        write_table(staging / GOLDEN_FILE, compiled.golden)
    if request.with_factors and parquet is not None:
        progress("rewriting the factor table")
        table = rewrite_factors(parquet, staging / "factors.parquet")
        parquet = staging / "factors.parquet"
    progress("statistics of the training values")
    statistics = feature_statistics(
        proven.market.training, proven.features.features, parquet, proven.located.columns, proven.raw
    )
    sources = SourceTexts.of(proven)
    for path, text in sources.texts.items():
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        (staging / path).write_bytes(text.encode("utf-8"))

    files = [_entry(staging, path, sources.titles) for path in staging.rglob("*") if path.is_file()]
    manifest = make_manifest(proven, request, files, sources, table, statistics, golden_rows)
    card = render_card(manifest, sources.texts, performance=measure(proven))
    (staging / "card.html").write_bytes(card.encode("utf-8"))
    files = [*manifest.files, _entry(staging, staging / "card.html", sources.titles)]
    manifest = msgspec.structs.replace(manifest, files=sorted(files, key=lambda file: file.path))
    (staging / m.FILE_NAME).write_bytes(m.encode(manifest))
    return manifest


def _entry(staging: Path, path: Path, titles: Mapping[str, str]) -> m.File:
    name = path.relative_to(staging).as_posix()
    return m.File(
        path=name,
        size=path.stat().st_size,
        sha256=sha256_of(path),
        media_type=_MEDIA_TYPES[path.suffix],
        role=_ROLES.get(name, _role(name)),  # type: ignore[arg-type]
        title=titles.get(name),
    )


def _role(name: str) -> str:
    if name.startswith(f"{FOLDER}/"):
        return "alphas"
    return "model" if name.endswith(".onnx") else "source"


def _verify(staging: Path) -> None:
    """What a reader will do: open, verify every file, score the golden rows."""
    try:
        # Closed before the bundle gets its place: Windows renames no directory whose files are open.
        with alphaseal.open(staging, trust=alphaseal.Trust.unsigned()) as bundle:
            bundle.verify()
            bundle.selftest()
    except AlphasealError as error:
        raise RefusalError(
            "output.not_verified",
            f"the finished bundle does not verify: {error}",
            next_step="report it: this must not happen",
        ) from error


def result_object(bundle: BuiltBundle) -> dict[str, object]:
    """What a pipeline needs to know of a finished build."""
    manifest = bundle.manifest
    plain = json.loads(strict_json.dumps(m.to_plain(manifest)))
    return {
        "bundle": str(bundle.path),
        "digest": bundle.digest,
        "name": manifest.name,
        "sequence": manifest.sequence,
        "ready": manifest.eligibility.ready,
        "reasons": [reason.code for reason in manifest.eligibility.reasons],
        "order": manifest.order.proof,
        "features": len(manifest.features),
        "parity": plain["parity"],
        "factors": {one["name"]: one["compilation"] for one in plain["features"] if one.get("compilation") is not None},
        "card": str(bundle.path / "card.html"),
        "trials": {name: trial.to_plain() for name, trial in bundle.trials.items()},
    }
