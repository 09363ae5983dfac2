"""The command ``alphaseal-convert``: the table of its verbs."""

from __future__ import annotations

from collections.abc import Sequence

from alphaseal.plain_text import Printable, printable
from alphaseal.terminal.console import Command, run_command
from alphaseal_converter.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(COMMAND, arguments)


def _version() -> Printable:
    from alphaseal.desk import doctor as runtime
    from alphaseal.format.manifest import FORMAT
    from alphaseal_converter.cli import doctor

    return printable(
        [f"alphaseal-convert {__version__}, bundle format {FORMAT}", runtime.versions(), doctor.versions()]
    )


COMMAND = Command(
    name="alphaseal-convert",
    description="Turn an RD-Agent task into a bundle that needs no pickle.",
    version=_version,
    verbs={
        "inspect": (
            "alphaseal_converter.cli.story",
            "tell the story of a task: experiments, decisions, weights, the anchor",
        ),
        "build": ("alphaseal_converter.cli.build", "read, prove, write a bundle"),
        "replay": (
            "alphaseal_converter.cli.replay",
            "write the raw feature values of a run, from qlib or from bars, for use on another machine",
        ),
        "validate": (
            "alphaseal_converter.cli.validate",
            "check manifests, envelopes and trust files against the published schemas",
        ),
        "doctor": (
            "alphaseal_converter.cli.doctor",
            "find what would stop the work on this machine, or in a weights file or task",
        ),
        "completion": ("alphaseal_converter.cli.completion", "print a script for tab completion"),
        "features": (
            "alphaseal_converter.cli.features",
            "run a bundle's SOTA factors on bars, isolated, and write a day's features",
        ),
        "factor": (
            "alphaseal_converter.cli.factor",
            "compile one factor's source to graphs, say what it is, and compute its values with them",
        ),
        "keygen": (
            "alphaseal_converter.cli.signing",
            "make a pair of keys: PREFIX.key (keep it secret) and PREFIX.pub",
        ),
        "sign": ("alphaseal_converter.cli.signing", "verify a bundle wholly and sign it"),
        "approve": ("alphaseal_converter.cli.signing", "verify a bundle that is already signed, and add a signature"),
        "attest": (
            "alphaseal_converter.cli.signing",
            "verify a bundle wholly and write its signed provenance (in-toto, SLSA)",
        ),
        "provenance": ("alphaseal_converter.cli.signing", "check the provenance of a bundle and show it"),
    },
)
