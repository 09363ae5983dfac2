"""The verb ``alphaseal-convert replay``."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from alphaseal.errors import UsageError
from alphaseal.plain_text import printable
from alphaseal.terminal.console import Outcome, Parser, Progress
from alphaseal_converter.cli.options import add_choice, add_places, add_values, request


def add_replay(parser: Parser) -> None:
    """The arguments of ``replay``."""
    parser.add_json()
    parser.add_argument("task", type=Path, nargs="?", metavar="TASK_DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="RAW.parquet", help="file to write")
    add_places(parser)
    add_choice(parser)
    add_values(parser)


def run_replay(options: argparse.Namespace) -> Outcome:
    """Compute the raw feature values of a run and write them."""
    from alphaseal_converter.build import write_raw_values

    if options.replay_with is None and importlib.util.find_spec("qlib") is not None:
        options.replay_with = Path(sys.executable)  # qlib's own numbers, where qlib is installed with us
    if options.features is not None:
        raise UsageError("usage.arguments", "replay computes the raw values; --features does not go with it")
    with Progress(enabled=not options.json) as progress:
        written = write_raw_values(request(options), progress)
    text = printable([f"written: {options.out} ({written} features)"])
    return text, {"out": str(options.out), "features": written}
