"""The verb ``alphaseal show``: a manifest in words."""

from __future__ import annotations

import argparse
from pathlib import Path

from alphaseal.advice.strategy import describe_selection
from alphaseal.desk.compilation import outcome, proven
from alphaseal.disk import tree
from alphaseal.errors import NotReadableError
from alphaseal.format import manifest as manifests
from alphaseal.format.factors import CompiledFactor
from alphaseal.format.manifest import Manifest
from alphaseal.plain_text import Printable, listed, one_line, printable
from alphaseal.terminal.console import Outcome, Parser


def add_show(parser: Parser) -> None:
    """The arguments of ``show``."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_json()


def run_show(options: argparse.Namespace) -> Outcome:
    """The manifest of a bundle, whose form is checked and nothing else."""
    data = None
    if options.bundle.is_dir():
        data = tree.read_bounded(options.bundle, manifests.FILE_NAME, manifests.MAXIMUM_BYTES)
    if data is None:
        raise NotReadableError(
            "bundle.not_readable",
            "no bundle directory",
            where=str(options.bundle),
            expected="a directory with manifest.json",
        )
    manifest, digest = manifests.parse(data), manifests.digest(data)
    return describe(manifest, digest), {"digest": digest, "manifest": manifests.to_plain(manifest)}


def describe(manifest: Manifest, digest: str) -> Printable:
    """What a person wants to know first, in a screen."""
    source, parity = manifest.source, manifest.parity
    used = sum(feature.used is not False for feature in manifest.features)
    origins = ", ".join(
        f"{sum(f.origin == o for f in manifest.features)} {o}"
        for o in ("alpha", "sota", "base", "unknown")
        if any(f.origin == o for f in manifest.features)
    )
    lines = [
        f"{manifest.name} {manifest.sequence}  (format {manifest.format}, created {manifest.created})",
        f"sha256     {digest}",
        f"ready      {'yes' if manifest.eligibility.ready else 'no'}",
        *(f"           - {reason.code}: {reason.text}" for reason in manifest.eligibility.reasons),
        f"task       {source.task_id or 'unknown'}; anchor {source.anchor.rule}: {source.anchor.why}",
        f"weights    {source.weights.origin}: {source.weights.path} (sha256 {source.weights.sha256[:16]}…)",
        f"model      {manifest.model.class_name} via {manifest.model.road}",
        f"features   {len(manifest.features)} ({origins}), {used} asked for by the model; order {manifest.order.proof}",
        *_alphas(manifest),
        *_compiled(manifest),
        *(
            f"parity     {case.case}: {case.bit_identical} of {case.rows} rows bit-identical to {case.judge}, largest {case.largest_ulp} ulp"
            for case in parity.cases
        ),
        *_order(manifest),
        "metrics    "
        + ", ".join(
            f"{name} {value:.4g}"
            for name, value in manifest.metrics.values.items()
            if value is not None and name in ("IC", "ICIR", "Rank IC", "Rank ICIR")
        ),
        f"selection  of the backtest metrics: {describe_selection(manifest)}",
        f"factors    {sum(f.status == 'in_model' for f in manifest.sota_factors)} of {len(manifest.sota_factors)} accepted SOTA factors are in the model",
        *_factors(manifest),
        *(
            f"{i + 1:>9}  {feature.name}  {feature.dtype}  {feature.origin}"
            for i, feature in enumerate(manifest.features)
        ),
    ]
    return printable(lines)


def _order(manifest: Manifest) -> list[str]:
    """The order of the stocks of each day, and recorded predictions whose difference is noise."""
    days, replay = manifest.parity.days, manifest.order.replay
    lines = []
    if days is not None:
        line = f"order      of all stocks the same on {days.same_order} of {days.days} days"
        if days.swaps:
            line += f"; {days.swaps} pairs changed places within near ties, at most {days.largest_gap or 0.0:.2g} apart"
        lines.append(line)
    if replay is not None and replay.noise is not None:
        noise = replay.noise
        named = ", ".join(f"{name} {rows}" for name, rows in noise.features.items())
        lines.append(
            f"noise      {noise.rows} of {replay.rows} recorded predictions differ by up to "
            f"{noise.largest_difference:.2g} for the noise of qlib's windows: {named}"
        )
    return lines


def _alphas(manifest: Manifest) -> list[str]:
    """Which features come from bars, and what the bars must have."""
    alphas = manifest.alphas
    lacking = [feature for feature in manifest.features if feature.not_compiled is not None]
    lines = []
    if alphas is not None:
        fields = ", ".join(alphas.fields)
        lines.append(f"bars       {len(alphas.features)} features from {fields} of {alphas.window} days")
        lines += [
            f"           - the unit of {field} must be shown: seen by {listed(unit.seen_by)}"
            for field, unit in (alphas.units or {}).items()
            if unit.seen_by
        ]
    return lines + [f"           - not from bars: {feature.name}: {feature.not_compiled}" for feature in lacking]


def _compiled(manifest: Manifest) -> list[str]:
    """What compiled factors read."""
    compiled = manifest.compiled
    if compiled is None:
        return []
    days = max(program.window for program in compiled.programs)
    side = ", ".join(column.name for column in compiled.static)
    return [
        f"compiled   {len(compiled.tolerances)} SOTA features from {', '.join(compiled.fields)} of {days} days"
        + (f", and from the side table: {side}" if side else "")
    ]


def _factors(manifest: Manifest) -> list[str]:
    """What became of each accepted factor, and whether graphs compute it."""
    lines = []
    for factor in manifest.sota_factors:
        known = factor.position is not None and factor.position < len(manifest.features)
        compilation = manifest.features[factor.position or 0].compilation if known else None
        said = "" if compilation is None else f", {outcome(compilation)}"
        lines.append(f"           - {factor.name}: {factor.status.replace('_', ' ')}{said}")
        if isinstance(compilation, CompiledFactor):
            lines += [
                f"             computes {one_line(compilation.expression)} (pandas {compilation.pandas})",
                f"             proven: {proven(compilation.proof)}",
            ]
    return lines
