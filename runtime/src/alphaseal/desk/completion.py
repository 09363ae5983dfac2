"""The verb ``completion`` of both commands: prints a script for tab completion.

The scripts are files; tools/completions.py writes them again when an option changes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from alphaseal.plain_text import printable
from alphaseal.terminal.console import Outcome, Parser

ENDINGS = {"bash": "bash", "zsh": "zsh", "fish": "fish", "powershell": "ps1"}
"""Shell -> ending of its script's name."""
SCRIPTS = Path(__file__).with_name("completions")


def add_completion(parser: Parser) -> None:
    """The arguments of ``completion``."""
    parser.add_argument("shell", choices=[*ENDINGS], help="the shell of the script")
    parser.add_json()


def run_completion(options: argparse.Namespace) -> Outcome:
    """The script for ``alphaseal``."""
    return script(SCRIPTS / "alphaseal", options.shell)


def script(path: Path, shell: str) -> Outcome:
    """The script at `path`, which lacks the ending of the shell."""
    text = path.with_suffix(f".{ENDINGS[shell]}").read_text(encoding="utf-8").removesuffix("\n")
    return printable(text.split("\n")), {"shell": shell, "script": text}
