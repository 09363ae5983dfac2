"""The verbs ``alphaseal install``, ``current`` and ``rollback``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alphaseal import store
from alphaseal.cli.options import add_accepted_bundle, add_trust_options, read_trust, warn
from alphaseal.plain_text import printable
from alphaseal.terminal.console import Outcome, Parser
from alphaseal.trust.judgement import Trust


def add_install(parser: Parser) -> None:
    """The arguments of ``install``."""
    add_accepted_bundle(parser)
    parser.add_argument(
        "--store",
        type=Path,
        required=True,
        metavar="DIR",
        help="directory of installed bundles; made if it does not exist",
    )


def run_install(options: argparse.Namespace) -> Outcome:
    """Verify a bundle and put it in force."""
    trust = read_trust(options)
    warn(trust.warnings, options)
    installed = store.install(options.bundle, options.store, trust=trust)
    text = f"in force: {installed.name} {installed.sequence}, {installed.path}"
    return printable([text]), _plain(installed) | {"warnings": list(trust.warnings)}


def add_current(parser: Parser) -> None:
    """The arguments of ``current``."""
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="directory of installed bundles")
    parser.add_json()


def run_current(options: argparse.Namespace) -> Outcome:
    """The path alone for people, so that a script can use it."""
    current = store.current(options.store)
    return printable([str(current.path)]), _plain(current)


def add_rollback(parser: Parser) -> None:
    """The arguments of ``rollback``."""
    add_current(parser)
    add_trust_options(parser)
    parser.add_argument(
        "--to", type=int, required=True, metavar="SEQUENCE", help="sequence of a bundle that was in force before"
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; kept in the store's history")
    parser.epilog = "Without --trust or --key the command checks the files and the self-test, but not signatures and revocations: the bundle was trusted when it was installed."


def run_rollback(options: argparse.Namespace) -> Outcome:
    """Put an older bundle in force; without a trust option only its files and the self-test are checked again."""
    trust = read_trust(options)
    warnings = list(trust.warnings)
    if trust.policy is None:
        trust = Trust.unsigned(at=trust.at)
        if not options.allow_unsigned:
            warnings.append("no --trust or --key: files and self-test are checked, signatures and revocations are not")
    warn(warnings, options)
    current = store.rollback(options.store, to=options.to, reason=options.reason, trust=trust)
    text = f"in force: {current.name} {current.sequence}, {current.path}"
    return printable([text]), _plain(current) | {"warnings": warnings}


def _plain(current: store.Current) -> dict[str, Any]:
    return asdict(current) | {"path": str(current.path)}
