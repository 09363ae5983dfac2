"""The verb ``alphaseal anchor``."""

from __future__ import annotations

import argparse
from pathlib import Path

from alphaseal.cli.options import add_accepted_bundle, add_notation, add_source, keep_anchors, open_accepted
from alphaseal.plain_text import printable
from alphaseal.terminal.console import Outcome, Parser


def add_anchor(parser: Parser) -> None:
    """The arguments of ``anchor``."""
    add_accepted_bundle(parser)
    parser.add_argument(
        "--bars",
        type=Path,
        required=True,
        metavar="FILE.parquet",
        help="bars from the source for the stocks and days of the golden bars",
    )
    add_source(parser, required=True)
    add_notation(parser)


def run_anchor(options: argparse.Namespace) -> Outcome:
    """Show the units of a source, and keep in a store what shows them."""
    from alphaseal import sources

    sources.check_name(options.source)
    bundle = open_accepted(options)
    anchors = bundle.anchor(options.bars, instruments_from=options.instruments_from)
    keep_anchors(options, anchors)
    units = (bundle.manifest.alphas.units or {}) if bundle.manifest.alphas is not None else {}
    seen = [field for field, unit in units.items() if unit.seen_by]
    shown = ", ".join(f"{field} of {anchors.fields[field].stocks} stocks" for field in seen)
    text = (
        f"{options.source}: the units are those of the training: {shown}"
        if seen
        else (f"{options.source}: no feature sees the units of the bars")
    )
    return printable([text]), {
        "source": options.source,
        "bundle": bundle.digest,
        "units": seen,
        "warnings": list(bundle.warnings),
    }
