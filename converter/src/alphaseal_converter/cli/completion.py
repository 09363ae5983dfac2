"""The verb ``alphaseal-convert completion``."""

from __future__ import annotations

import argparse
from pathlib import Path

from alphaseal.desk import completion
from alphaseal.terminal.console import Outcome, Parser

SCRIPTS = Path(__file__).with_name("completions")


def add_completion(parser: Parser) -> None:
    """The arguments of ``completion``."""
    completion.add_completion(parser)


def run_completion(options: argparse.Namespace) -> Outcome:
    """The script for ``alphaseal-convert``."""
    return completion.script(SCRIPTS / "alphaseal-convert", options.shell)
