"""``make completions``: the scripts that ``alphaseal completion`` and ``alphaseal-convert completion`` print, from shtab.

With ``--check`` nothing is written: names the scripts that are not what the commands' parsers say now, and ends with 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import shtab

from alphaseal.cli.command import COMMAND as ALPHASEAL
from alphaseal.desk import completion
from alphaseal_converter.cli import completion as converter_completion
from alphaseal_converter.cli.command import COMMAND as CONVERT

COMMANDS = ((ALPHASEAL, completion.SCRIPTS), (CONVERT, converter_completion.SCRIPTS))


def _files(action: argparse.Action) -> object:
    """Where shtab asks an argument how it is completed: one that takes a path is completed with files."""
    if action.type is not Path:
        raise AttributeError("complete")
    return shtab.FILE


def scripts() -> dict[Path, str]:
    """Every script by its path."""
    setattr(argparse.Action, "complete", property(_files))  # noqa: B010 -- shtab's own name for it, unknown to argparse
    try:
        return {
            directory / f"{command.name}.{ending}": shtab.complete(command.parser(command.verbs), shell=shell).strip()
            + "\n"
            for command, directory in COMMANDS
            for shell, ending in completion.ENDINGS.items()
        }
    finally:
        delattr(argparse.Action, "complete")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, end with 1 where a script is out of date")
    options = parser.parse_args()
    stale = {path: text for path, text in scripts().items() if not path.is_file() or path.read_bytes() != text.encode()}
    for path, text in stale.items():
        print(f"{'out of date' if options.check else 'written'}: {path.name}")
        if not options.check:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode())
    return int(options.check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
