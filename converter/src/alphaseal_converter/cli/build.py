"""The verb ``alphaseal-convert build``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alphaseal.desk.compilation import outcome, proven
from alphaseal.errors import UsageError
from alphaseal.format import instants
from alphaseal.format.factors import CompiledFactor
from alphaseal.format.manifest import FIRST_FORMAT, FORMAT, FORMATS
from alphaseal.plain_text import printable
from alphaseal.terminal.console import Outcome, Parser, Progress, checked
from alphaseal_converter.cli import signing
from alphaseal_converter.cli.options import add_choice, add_places, add_values, request

if TYPE_CHECKING:
    from alphaseal.format.manifest import Manifest
    from alphaseal_converter.factors.trial import TrialRequest
    from alphaseal_converter.proof.request import BuildRequest


_instant = checked(instants.read, "YYYY-MM-DDThh:mm:ssZ")


def add_build(parser: Parser) -> None:
    """The arguments of ``build``."""
    parser.add_json()
    parser.add_argument(
        "task",
        type=Path,
        nargs="?",
        metavar="TASK_DIR",
        help="log/<timestamp> of an RD-Agent task; leave it out with --weights scan",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="directory to make; must not exist")
    add_places(parser)
    add_choice(parser)
    add_values(parser)
    parser.add_argument(
        "--feature-order",
        type=Path,
        metavar="FILE",
        help="feature names in model order, for a run that does not record it",
    )
    parser.add_argument("--name", help="bundle name (default: from the task)")
    parser.add_argument(
        "--sequence",
        type=_sequence,
        metavar="N",
        help="sequence number (default: the run's end, in seconds since 1970)",
    )
    parser.add_argument(
        "--expires",
        type=_instant,
        metavar="INSTANT",
        help="the bundle is refused from this instant on, 2027-01-31T00:00:00Z (default: never)",
    )
    parser.add_argument("--require-ready", action="store_true", help="refuse (20) where the bundle would not be ready")
    parser.add_argument(
        "--bars",
        type=Path,
        metavar="FILE",
        help="RD-Agent's daily_pv.h5, or parquet: run the factors' code on it, isolated, to find look-back and look-ahead",
    )
    parser.add_argument(
        "--static", type=Path, metavar="FILE", help="the run's static_factors.parquet, for factors that read it"
    )
    parser.add_argument(
        "--python",
        type=Path,
        metavar="PYTHON",
        help="Python with pandas and tables that runs the factors' code: on --bars, and on changed bars beside compiled factors",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMAT,
        help="version of the bundle format; an older one is for older runtimes and lacks the newer guards "
        "(default: %(default)s)",
    )
    parser.add_argument("--without-factors", action="store_true", help="leave the factor table out of the bundle")
    parser.add_argument(
        "--no-compile-factors",
        action="store_true",
        help="leave the SOTA factors as code, which a producer must run every day",
    )
    signing.add_build_key(parser)


def _sequence(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 2**53:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 2**53, found {text!r}")
    return int(text)


def run_build(options: argparse.Namespace) -> Outcome:
    """Read a run, prove it and write its bundle."""
    from alphaseal_converter.build import build
    from alphaseal_converter.bundle.write import result_object

    with Progress(enabled=not options.json) as progress:
        bundle = build(_request(options), progress)
    manifest = bundle.manifest
    parity = manifest.parity
    verdict = (
        "ready"
        if manifest.eligibility.ready
        else "not ready: " + "; ".join(f"{reason.code} ({reason.text})" for reason in manifest.eligibility.reasons)
    )
    rows, same = sum(case.rows for case in parity.cases), sum(case.bit_identical for case in parity.cases)
    lines = [
        f"{verdict}",
        f"parity  {same} of {rows} rows bit-identical to {' and '.join(parity.judges)}; order {manifest.order.proof}"
        + (
            f"; {parity.days.same_order} of {parity.days.days} days in the same order"
            if parity.days is not None
            else ""
        ),
        *_differences(manifest),
        *_factors(manifest),
        *(trial.line(name) for name, trial in bundle.trials.items()),
        f"bundle  {bundle.path}  sha256 {bundle.digest}",
        f"card    {bundle.path / 'card.html'}",
    ]
    return printable(lines), result_object(bundle)


def _differences(manifest: Manifest) -> list[str]:
    """Lines about near ties and noise: the bundle is as good with them, and its owner should know."""
    days, replay, lines = manifest.parity.days, manifest.order.replay, []
    if days is not None and days.swaps:
        lines.append(
            f"ties    {days.swaps} pairs of stocks changed places within near ties, at most {days.largest_gap:.3g} apart"
        )
    if replay is not None and replay.noise is not None:
        from alphaseal_converter.evidence.noise import in_words

        lines.append(f"noise   {in_words(replay.noise, replay.rows)}")
    return lines


def _factors(manifest: Manifest) -> list[str]:
    """A line for each factor whose code was looked at: compiled and how that was proven, or why not."""
    return [
        f"factor  {feature.name}: {outcome(feature.compilation)}"
        + (f"; {proven(feature.compilation.proof)}" if isinstance(feature.compilation, CompiledFactor) else "")
        for feature in manifest.features
        if feature.compilation is not None
    ]


def _request(options: argparse.Namespace) -> BuildRequest:
    return replace(
        request(options),
        feature_order=options.feature_order,
        name=options.name,
        sequence=options.sequence,
        with_factors=not options.without_factors,
        compile_factors=not options.no_compile_factors,
        static=options.static,
        python=options.python,
        expires=options.expires,
        require_ready=options.require_ready,
        trial=_trial(options),
        signing_key=signing.build_key(options),
        format=options.format,
    )


def _trial(options: argparse.Namespace) -> TrialRequest | None:
    """The bars on which the factors' code is tried; None without them."""
    from alphaseal_converter.factors.trial import TrialRequest

    if options.bars is not None:
        return TrialRequest(options.bars, options.static, options.python)
    if options.static is not None and (options.no_compile_factors or options.format == FIRST_FORMAT):
        raise UsageError(
            "usage.arguments",
            "where no factor is compiled, --static goes with --bars",
            next_step="add --bars FILE, or let the factors be compiled",
        )
    return None
