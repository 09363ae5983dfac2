"""What both commands share: running a verb, one JSON object or one line of error, progress on a terminal only.

Nothing else prints, and nothing is printed but `Printable`: text in which no file's content can act on who reads it.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TextIO, Union

from alphaseal.errors import AlphasealError, NotReadableError, UsageError
from alphaseal.plain_text import Printable, printable, printable_json

INTERNAL_EXIT = 1


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are UsageErrors, so that they too obey ``--json``."""

    def error(self, message: str) -> NoReturn:
        raise UsageError("usage.arguments", message, next_step=f"{self.prog} --help")

    def add_json(self) -> None:
        """The option ``--json``, which every verb has."""
        self.add_argument("--json", action="store_true", help="one JSON object on standard output")


def checked(fits: Callable[[str], object], expected: str) -> Callable[[str], str]:
    """The type of an argument that is a text for which `fits` holds; anything else is told with what is expected."""

    def read(text: str) -> str:
        if not fits(text):
            raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
        return text

    return read


class Version(argparse.Action):
    """``--version``: the command, the format and the libraries, which are looked up only when they are asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(
            option_strings, argparse.SUPPRESS, nargs=0, help="versions of the command, format and libraries"
        )
        self._text: Callable[[], Printable] = options["text"]

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        _print(self._text())
        parser.exit()


@dataclass(frozen=True)
class Findings:
    """What a verb has to say, and the errors that it found: each gets a line, the first one is the command's."""

    text: Printable
    result: Any
    errors: Sequence[AlphasealError]


Outcome = Union[tuple[Printable, Any], Findings]


@dataclass(frozen=True)
class Command:
    """A command: its table of verbs is ``verb: (module, what the verb does)``.

    The module of a verb is loaded when the verb is called.  It has two functions: ``add_VERB(parser)`` adds the arguments;
    ``run_VERB(options)`` returns (text for people, result for programs), or these with findings, or raises an AlphasealError.
    """

    name: str
    description: str
    version: Callable[[], Printable]
    verbs: Mapping[str, tuple[str, str]]

    def parser(self, called: Collection[str]) -> Parser:
        """The parser, with the arguments of those verbs only that are called."""
        parser = Parser(prog=self.name, description=self.description)
        parser.add_argument("--version", action=Version, text=self.version)
        # Without `prog` argparse formats a usage message for it now, which loads shutil and its compression libraries.
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser, prog=self.name)
        for verb, (_, text) in self.verbs.items():
            options = verbs.add_parser(verb, help=text)
            if verb in called:
                self._function("add", verb)(options)
        return parser

    def run(self, options: argparse.Namespace) -> Outcome:
        """Run the verb of the command line."""
        outcome: Outcome = self._function("run", options.verb)(options)
        return outcome

    def _function(self, what: str, verb: str) -> Callable[[Any], Any]:
        function: Callable[[Any], Any] = getattr(importlib.import_module(self.verbs[verb][0]), f"{what}_{verb}")
        return function


def run_command(command: Command, arguments: Sequence[str] | None) -> int:
    """Run one verb and report; the return value is the exit status of the table in spec/bundle-v1.md.

    Without `arguments` it takes the arguments of the process.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    for stream in (sys.stdout, sys.stderr):
        # A terminal or a pipe of another encoding (Windows, LC_ALL=C) shows an escape instead of stopping the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        called = [word for word in arguments if not word.startswith("-")][:1]
        outcome = command.run(command.parser(called).parse_args(arguments))
    except AlphasealError as error:
        return _report(error.exit, error.code, str(error), error, as_json)
    except KeyboardInterrupt:
        return _report(130, "interrupted", "interrupted", None, as_json)
    except Exception as error:
        message = f"a fault of ours: {type(error).__name__}: {error}; next: report it with the command that you ran"
        return _report(INTERNAL_EXIT, "internal", " ".join(message.split()), None, as_json)
    if isinstance(outcome, Findings) and outcome.errors:
        return _report_findings(outcome, as_json)
    text, result = (outcome.text, outcome.result) if isinstance(outcome, Findings) else outcome
    if as_json:
        return _say(_json(_object(True, "ok", 0, "done", None, result)), 0)
    return _say(text, 0) if text else 0


def _report_findings(findings: Findings, as_json: bool) -> int:
    """The text and a line for every error, or one object with the first error and the whole result."""
    first = findings.errors[0]
    if as_json:
        plain = _object(False, first.code, first.exit, first.message, first, findings.result)
        return _say(_json(plain), first.exit)
    status = _say(findings.text, first.exit) if findings.text else first.exit
    complain(printable(f"error [{error.code}]: {error}" for error in findings.errors))
    return status


def complain(text: Printable) -> None:
    """Print on standard error, where there is something to say."""
    if text:
        _print(text, sys.stderr)


def _print(text: Printable, stream: TextIO | None = None) -> None:
    print(text, file=stream, flush=True)


def _json(plain: dict[str, Any]) -> Printable:
    return printable_json(json.dumps(plain, default=str))


def _say(text: Printable, exit_status: int) -> int:
    """Print on standard output; the exit status is the given one, or 3 where the text could not be written.

    A reader that ends early (head, less) is not an error.
    """
    try:
        _print(text)
    except OSError as error:
        # Python flushes standard output once more at its end and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            complain(printable([f"error [targets.not_writable]: cannot write to standard output: {error.strerror}"]))
            return NotReadableError.exit
    return exit_status


def _report(exit_status: int, code: str, line: str, error: AlphasealError | None, as_json: bool) -> int:
    if as_json:
        message = error.message if error is not None else line
        return _say(_json(_object(False, code, exit_status, message, error, None)), exit_status)
    complain(printable([f"error [{code}]: {line}"]))
    return exit_status


def _object(
    ok: bool, code: str, exit_status: int, message: str, error: AlphasealError | None, result: Any
) -> dict[str, Any]:
    fields: dict[str, str | None] = {"where": None, "expected": None, "found": None, "next": None}
    if error is not None:
        fields = {"where": error.where, "expected": error.expected, "found": error.found, "next": error.next_step}
    return {"ok": ok, "code": code, "exit": exit_status, "message": message, **fields, "result": result}


class Progress:
    """A line that tells where a long command is: on a terminal only, silent in a pipe and with ``--json``."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled and sys.stderr.isatty()
        self._last = 0.0

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if self._enabled and now - self._last > 0.1:
            self._last = now
            print(f"\r\x1b[K{printable([text])[:100]}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        """Clear the line."""
        if self._enabled:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
