"""A verified bundle in the file layouts that came before it: names that older programs look for, and no pickle among them.

- ``seed``: the files of the first hand-over document, with model.onnx in the place of the weights;
- ``aistock``: what AIstock's task path reads: manifest.json of schema version 3, factor_order.json, factor code;
- ``strategy-package``: a StrategyPackage manifest 1.0 over files named by their digest.

Factor code stays inert text.  None of these holds what the bundle proves: to score, open the bundle itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alphaseal.bundle import Bundle
from alphaseal.disk.files import require_free
from alphaseal.disk.targets import replacing
from alphaseal.errors import UsageError
from alphaseal.format import names, strict_json
from alphaseal.format.manifest import File, GraphStage, Manifest, SotaFactor

ASSET_SCHEME = "aistock-package-asset://blobs/"


@dataclass(frozen=True)
class Exported:
    """What was written: paths relative to `out`, sorted."""

    out: Path
    layout: str
    digest: str
    files: tuple[str, ...]


def export(bundle: Bundle, layout: str, out: str | os.PathLike[str]) -> Exported:
    """Verify the whole bundle and write the layout to the new directory `out`, which appears complete or not at all.

    UsageError ``usage.layout`` for an unknown layout, ``usage.exists`` where the place is taken; NotReadableError
    ``output.not_writable``; what `Bundle.verify` raises.
    """
    place = Path(out)
    if layout not in LAYOUTS:
        raise UsageError("usage.layout", "no such layout", expected=", ".join(LAYOUTS), found=layout)
    taken = UsageError("usage.exists", "the place is taken", where=str(place), next_step="choose a new directory")
    require_free(place, taken)
    with replacing(place, taken=taken) as staging:
        staging.mkdir()
        target = _Target(bundle, staging)
        LAYOUTS[layout](bundle, target)
        bundle.verify(target.copied)
        files = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
    return Exported(place, layout, bundle.digest, tuple(files))


@dataclass(frozen=True)
class _Target:
    """Where files go, and the bundle that they come from."""

    source: Bundle
    root: Path
    copied: dict[str, Path] = field(default_factory=dict)
    """Where each file of the bundle is that was copied; its bytes were verified then."""

    def json(self, path: str, value: Any) -> None:
        self.write(path, strict_json.dumps(value))

    def write(self, path: str, data: bytes) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def copy(self, entry: File, path: str) -> None:
        """The bytes of a file of the bundle, verified while they are copied."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry.path in self.copied:
            shutil.copyfile(self.copied[entry.path], place)
            return
        with open(place, "wb") as file:
            self.source.files.check(entry.path, file.write)
        self.copied[entry.path] = place


def _seed(bundle: Bundle, target: _Target) -> None:
    """``sota_factors.json``, ``factor_columns.json``, ``model_metrics.json``, the graphs, ``model.py``, ``factor_*.py`` and
    ``combined_factors_df.parquet``, as far as the bundle has them."""
    manifest = bundle.manifest
    files = _code_names(manifest.sota_factors)
    for source, stem in files.items():
        target.copy(manifest.file(source), f"factor_{stem}.py")
    target.json("sota_factors.json", [_seed_factor(factor, files) for factor in manifest.sota_factors])
    # The document hands these to the model as its columns, so it is the model's order and not the parquet's.
    target.json("factor_columns.json", [feature.name for feature in manifest.features])
    target.json("model_metrics.json", manifest.metrics.values)
    for entry in manifest.files:
        if entry.role == "model":
            target.copy(entry, entry.path)
        elif entry.path == "sources/model.py":
            target.copy(entry, "model.py")
        elif entry.role == "factors":
            target.copy(entry, "combined_factors_df.parquet")


def _seed_factor(factor: SotaFactor, files: dict[str, str]) -> dict[str, Any]:
    """The document's keys, of which `code` names a file in the same directory, and the status, which prevents a wrong use."""
    return {
        "name": factor.name,
        "formulation": factor.formulation,
        "code": None if factor.source is None else f"factor_{files[factor.source]}.py",
        "metrics": factor.metrics,
        "reason": factor.accepted_because,
        "description": factor.description,
        "variables": factor.variables,
        "status": factor.status,
        "status_reason": factor.reason,
    }


def _aistock(bundle: Bundle, target: _Target) -> None:
    """``manifest.json`` (schema version 3), ``factor_order.json``, the graph, ``factor.py`` and ``factors/<name>.py``."""
    manifest = bundle.manifest
    model = _scoring_file(manifest)
    files = _code_names(_in_model(manifest))
    target.copy(model, "model.onnx")
    target.json("factor_order.json", _factor_order(manifest))
    merged = []
    for source, stem in files.items():
        target.copy(manifest.file(source), f"factors/{stem}.py")
        code = (target.root / f"factors/{stem}.py").read_bytes().rstrip(b"\n")
        merged.append(f"# --- {stem} ---\n".encode() + code + b"\n")
    entry = "factor.py" if merged else None
    if merged:
        target.write("factor.py", b"\n\n".join(merged))
    order = "factor_order.json"
    target.json(
        "manifest.json",
        {
            "schema_version": 3,
            "task_id": manifest.source.task_id or manifest.name,
            "generated_at_utc": manifest.created,
            "primary_assets": {
                "model_weight_relpath": "model.onnx",
                "factor_entry_relpath": entry,
                "factor_order_relpath": order,
            },
            "assets": {
                "model_weight": "model.onnx",
                "factor_entry": entry,
                "factor_order": order,
                "factors_count": len(files),
            },
            "selection_eligibility": _eligibility(manifest),
            "diagnostics": {
                "bundle": {"name": manifest.name, "sequence": manifest.sequence, "sha256": bundle.digest},
                "model_weight_sha256": model.sha256,
                "step_length": manifest.model.step_length,
                "features": len(manifest.features),
                "stages_outside_the_graph": len(manifest.stages) - 1,
            },
        },
    )


def _strategy_package(bundle: Bundle, target: _Target) -> None:
    """``manifest.json`` (manifest version 1.0) and ``blobs/<sha256>``."""
    manifest = bundle.manifest

    def blob(entry: File) -> dict[str, Any]:
        target.copy(entry, f"blobs/{entry.sha256}")
        return {
            "asset": ASSET_SCHEME + entry.sha256,
            "sha256": entry.sha256,
            "size": entry.size,
            "media_type": entry.media_type,
        }

    factors = [
        {"name": factor.name} | blob(manifest.file(factor.source))
        for factor in _in_model(manifest)
        if factor.source is not None
    ]
    metrics = manifest.metrics
    package = {
        "manifest_version": "1.0",
        "package_id": f"{manifest.name}-{manifest.sequence}",
        "factor_set": _factor_order(manifest) | {"factors": factors},
        "model_asset": blob(_scoring_file(manifest)) | {"bundle_sha256": bundle.digest},
        "portfolio_policy": {"topk": manifest.selection.top_k, "n_drop": manifest.selection.n_drop},
        "backtest_summary": {
            "metrics": metrics.values,
            "first": None if metrics.segment is None else metrics.segment.first,
            "last": None if metrics.segment is None else metrics.segment.last,
            "costs": metrics.costs,
            "benchmark": manifest.data.benchmark,
        },
    }
    target.json("manifest.json", package | {"manifest_sha256": canonical_sha256(package)})


def canonical_sha256(value: dict[str, Any]) -> str:
    """sha256 of canonical JSON: keys sorted, no white space, UTF-8; of a package, without its ``manifest_sha256``."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _factor_order(manifest: Manifest) -> dict[str, list[str]]:
    """Feature names in model order: all of them, those of expressions, and the others."""
    alphas = [feature.name for feature in manifest.features if feature.origin == "alpha"]
    return {
        "factor_order": [feature.name for feature in manifest.features],
        "alpha158_factors": alphas,
        "dynamic_factors": [feature.name for feature in manifest.features if feature.origin != "alpha"],
    }


def _eligibility(manifest: Manifest) -> dict[str, Any]:
    return {
        "is_ready": manifest.eligibility.ready,
        "reasons": [reason.code for reason in manifest.eligibility.reasons],
    }


def _scoring_file(manifest: Manifest) -> File:
    """The graph that gives the score; the only file of the bundle that older programs call a model."""
    last = manifest.stages[-1]
    if not isinstance(last, GraphStage):
        raise UsageError("usage.layout", "the bundle has no graph that gives a score", where=manifest.name)
    return manifest.file(last.file)


def _in_model(manifest: Manifest) -> list[SotaFactor]:
    return [factor for factor in manifest.sota_factors if factor.status == "in_model"]


def _code_names(factors: list[SotaFactor]) -> dict[str, str]:
    """Source of the bundle -> stem of a file name: the factor's name where every system takes it, else with its number.

    Names come from a language model: a path, a reserved name or one that differs in case alone gets ``<number>``.
    """
    found: dict[str, str] = {}
    for factor in factors:
        if factor.source is None or factor.source in found:
            continue
        safe = factor.name.isascii() and names.is_name(factor.name.lower())
        taken = {stem.lower() for stem in found.values()}
        stem = factor.name if safe and factor.name.lower() not in taken else Path(factor.source).stem
        while stem.lower() in taken:
            stem += "_"
        found[factor.source] = stem
    return found


LAYOUTS: dict[str, Callable[[Bundle, _Target], None]] = {
    "seed": _seed,
    "aistock": _aistock,
    "strategy-package": _strategy_package,
}
