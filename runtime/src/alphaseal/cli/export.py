"""The verb ``alphaseal export``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from alphaseal.cli.options import add_accepted_bundle, open_accepted
from alphaseal.desk import export
from alphaseal.plain_text import printable
from alphaseal.terminal.console import Outcome, Parser


def add_export(parser: Parser) -> None:
    """The arguments of ``export``."""
    add_accepted_bundle(parser)
    parser.add_argument(
        "--layout",
        required=True,
        metavar="seed|aistock|strategy-package",
        help="file names to use: of the first hand-over document, of AIstock's task folder, or of a StrategyPackage",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory to make; must not exist")


def run_export(options: argparse.Namespace) -> Outcome:
    """Verify a bundle and write it in another layout."""
    bundle = open_accepted(options)
    written = export.export(bundle, options.layout, options.out)
    ready = bundle.manifest.eligibility.ready
    verdict = "" if ready else "; the bundle is not ready"
    text = f"{written.layout}: {len(written.files)} files, {written.out}{verdict}"
    return printable([text]), asdict(written) | {
        "out": str(written.out),
        "ready": ready,
        "warnings": list(bundle.warnings),
    }
