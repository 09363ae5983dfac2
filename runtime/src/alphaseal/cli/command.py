"""The command ``alphaseal``: the table of its verbs."""

from __future__ import annotations

from collections.abc import Sequence

from alphaseal.plain_text import Printable, printable
from alphaseal.terminal.console import Command, run_command
from alphaseal.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(COMMAND, arguments)


def _version() -> Printable:
    from alphaseal.desk import doctor
    from alphaseal.format import manifest

    return printable([f"alphaseal {__version__}, bundle format {manifest.FORMAT}", doctor.versions()])


COMMAND = Command(
    name="alphaseal",
    description="Verify a bundle, score stocks with it, take the best.",
    version=_version,
    verbs={
        "verify": ("alphaseal.cli.verify", "check every file of a bundle"),
        "show": ("alphaseal.desk.show", "print what a bundle says of itself; checks its format only"),
        "diff": ("alphaseal.desk.diff_report", "say in words what changed from one bundle to the next"),
        "export": ("alphaseal.cli.export", "write a bundle in the file layout of an older hand-over, without a pickle"),
        "selftest": ("alphaseal.cli.verify", "score the golden rows on this machine"),
        "score": ("alphaseal.cli.score", "score a day or a range of days"),
        "anchor": ("alphaseal.cli.anchor", "check the units of a source of bars once, and keep the result in a store"),
        "trust": ("alphaseal.desk.trust_commands", "make and change a trust file, which says what is accepted"),
        "install": ("alphaseal.cli.store", "verify a bundle and put it in force in a store"),
        "current": ("alphaseal.cli.store", "print the path of the bundle that is in force in a store"),
        "rollback": ("alphaseal.cli.store", "put an older bundle of a store in force again"),
        "doctor": (
            "alphaseal.desk.doctor",
            "find what would stop the work on this machine, in a trust file, a store or a bundle",
        ),
        "completion": ("alphaseal.desk.completion", "print a script for tab completion"),
    },
)
