"""The verb ``alphaseal-convert validate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from alphaseal.terminal.console import Outcome, Parser
from alphaseal_converter.bundle.validate import validate


def add_validate(parser: Parser) -> None:
    """The arguments of ``validate``."""
    parser.add_json()
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="manifest.json, or a bundle directory; an envelope, a trust file, a store's current.json",
    )


def run_validate(options: argparse.Namespace) -> Outcome:
    """Everything that is wrong with the files."""
    return validate(options.files)
