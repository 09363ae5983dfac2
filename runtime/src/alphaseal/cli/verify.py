"""The verbs ``alphaseal verify`` and ``selftest``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from alphaseal.cli.options import add_accepted_bundle, open_accepted
from alphaseal.disk import targets
from alphaseal.format import strict_json
from alphaseal.plain_text import printable
from alphaseal.terminal.console import Outcome, Parser


def add_verify(parser: Parser) -> None:
    """The arguments of ``verify``."""
    add_accepted_bundle(parser)


def run_verify(options: argparse.Namespace) -> Outcome:
    """Verify a bundle wholly."""
    verified = open_accepted(options).verify()
    verdict = "ready" if verified.ready else "not ready: " + ", ".join(verified.reasons)
    text = f"verified {verified.name} {verified.sequence}: {verified.files} files, {verified.bytes} bytes, sha256 {verified.digest}, {verdict}"
    if verified.signers:
        text += ", signed by " + " and ".join(f"{signer.name} ({signer.role})" for signer in verified.signers)
    elif verified.signed:
        text += ", signatures not checked"
    return printable([text]), asdict(verified)


def add_selftest(parser: Parser) -> None:
    """The arguments of ``selftest``."""
    add_accepted_bundle(parser)
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.json",
        help="write the result with library versions, for the day after an upgrade",
    )


def run_selftest(options: argparse.Namespace) -> Outcome:
    """Score the golden rows, after the factor table was checked."""
    if options.report is not None:
        targets.check_target(options.report, inputs=(options.trust, options.key), bundle=options.bundle)
    bundle = open_accepted(options)
    bundle.check_factors()
    report = asdict(bundle.selftest()) | {"bundle": bundle.digest, "warnings": list(bundle.warnings)}
    if options.report is not None:
        with targets.replacing(options.report) as temporary:
            temporary.write_bytes(strict_json.dumps(report))
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    text = f"self-test passed: {report['bit_identical']} of {report['rows']} golden rows bit-identical, largest difference {report['largest_ulp']} ulp, {versions}"
    if report["swaps"]:
        text += f"; {report['swaps']} pairs of stocks changed places within near ties, {report['largest_gap']:.2g} apart at most"
    for part, words in (("alphas", "alpha features"), ("factors", "compiled factors")):
        if (found := report[part]) is not None:
            text += f"; {found['features']} {words} of {found['stocks']} stocks from bars within {found['largest']:.2g} of their tolerances"
    return printable([text]), report
