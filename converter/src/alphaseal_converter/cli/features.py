"""The verb ``alphaseal-convert features``."""

from __future__ import annotations

import argparse
from pathlib import Path

from alphaseal.bundle import open_bundle
from alphaseal.cli.options import add_trust_options, add_unit_options, read_anchors, read_range, read_trust
from alphaseal.disk.targets import check_target
from alphaseal.format.notations import FORMS
from alphaseal.tables.origin import sidecar_of
from alphaseal.terminal.console import Findings, Outcome, Parser, Progress
from alphaseal_converter.cli import signing


def add_features(parser: Parser) -> None:
    """The arguments of ``features``."""
    parser.add_json()
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument(
        "--bars", type=Path, required=True, metavar="FILE", help="RD-Agent's daily_pv.h5 (key data), or a parquet file"
    )
    parser.add_argument("--static", type=Path, metavar="FILE", help="static_factors.parquet, for factors that read it")
    day = parser.add_mutually_exclusive_group(required=True)
    day.add_argument("--date", metavar="YYYY-MM-DD", help="compute exactly this date")
    day.add_argument("--dates", metavar="FROM:TO", help="every date of the bars in this range, both ends included")
    parser.add_argument(
        "--instruments-from",
        choices=list(FORMS),
        help="notation of the stocks in the bars and the static table, if it is not the bundle's",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.parquet", help="file to write")
    add_unit_options(parser)
    add_trust_options(parser)
    parser.add_argument(
        "--python", type=Path, metavar="PYTHON", help="Python with pandas and tables that runs the factors' code"
    )
    parser.add_argument("--jobs", type=_positive, default=1, metavar="N", help="factors that run at once (default: 1)")
    parser.add_argument(
        "--seconds", type=_positive, default=300, metavar="N", help="the longest that a factor may run (default: 300)"
    )
    parser.add_argument(
        "--memory", type=_positive, default=8, metavar="GIB", help="the most that a factor may use (default: 8)"
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="write the features that can be computed, even if some cannot"
    )
    signing.add_build_key(parser)


def run_features(options: argparse.Namespace) -> Outcome:
    """Compute the features and report on each, including features that could not be computed."""
    from alphaseal_converter.factors.compute import FeaturesRequest, IncompleteError, check_output, compute_features
    from alphaseal_converter.isolation.sandbox import IsolationLimits

    check_output(options.out)
    inputs = (options.bars, options.static, options.anchors, options.trust, options.key)
    for path in (options.out, sidecar_of(options.out)):
        check_target(path, inputs=inputs, bundle=options.bundle)
    trust = read_trust(options)
    bundle = open_bundle(options.bundle, trust=trust)
    request = FeaturesRequest(
        bundle=options.bundle,
        opened=bundle,
        trust=trust,
        bars=options.bars,
        out=options.out,
        date=options.date,
        dates=read_range(options.dates) if options.dates is not None else None,
        static=options.static,
        instruments_from=options.instruments_from,
        python=options.python,
        signing_key=signing.build_key(options),
        jobs=options.jobs,
        anchors=read_anchors(options, bundle),
        units_as_trained=options.units_as_trained,
        allow_missing=options.allow_missing,
        limits=IsolationLimits(
            seconds=options.seconds, cpu_seconds=2 * options.seconds, memory_bytes=options.memory << 30
        ),
    )
    try:
        with Progress(enabled=not options.json) as progress:
            result = compute_features(request, progress)
    except IncompleteError as error:
        return Findings(error.result.text(), error.result.to_plain(), [error])
    return result.text(), result.to_plain()


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}")
    return int(text)
