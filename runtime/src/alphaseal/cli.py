"""The command ``alphaseal``: verify, show, selftest, score; trust; install, current, rollback."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import bundle as bundle_module
from .console import Parser, Progress, run_command
from .errors import NotReadableError, UsageError
from .trust import Trust
from .version import __version__

if TYPE_CHECKING:
    from .bundle import Bundle
    from .store import Current


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the return value is the exit status of the table in spec/bundle-v1.md."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(_parser(given[0] if given else ""), given, {name: run for name, (_, _, run) in _VERBS.items()})


def _parser(verb: str) -> Parser:
    """The parser of the command; of its verbs only `verb` where there is one of that name (the others cost start-up)."""
    parser = Parser(prog="alphaseal", description="Verify a bundle, score stocks with it, take the best.")
    parser.add_argument("--version", action="version", version=f"alphaseal {__version__}, bundle format 1-draft")
    # Without `prog` argparse formats a usage message for it now, which loads shutil and its compression libraries.
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser, prog="alphaseal")
    for name, (text, add_arguments, _) in _VERBS.items():
        if name == verb or verb not in _VERBS:
            options = verbs.add_parser(name, help=text)
            add_arguments(options)
    return parser


def _add_bundle(parser: Parser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _add_trust(parser: Parser) -> None:
    _add_bundle(parser)
    _add_trust_options(parser)


def _add_trust_options(parser: Parser) -> None:
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument(
        "--trust", type=Path, metavar="FILE", help="accept what this trust file accepts (alphaseal trust)"
    )
    trust.add_argument(
        "--key", type=Path, metavar="PUB", help="accept any bundle that this public key signed, ready or not"
    )
    trust.add_argument("--allow-unsigned", action="store_true", help="accept a bundle that nobody signed")
    parser.add_argument(
        "--at", metavar="INSTANT", help="the instant that counts for expiry, 2026-01-31T09:00:00Z (default: now)"
    )


def _add_install(parser: Parser) -> None:
    _add_trust(parser)
    parser.add_argument(
        "--store", type=Path, required=True, metavar="DIR", help="where installed bundles live; made if it is not there"
    )


def _add_current(parser: Parser) -> None:
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="where installed bundles live")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _add_rollback(parser: Parser) -> None:
    _add_current(parser)
    _add_trust_options(parser)
    parser.add_argument(
        "--to", type=int, required=True, metavar="SEQUENCE", help="sequence of a bundle that was in force before"
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; kept in the store's history")


def _add_trust_actions(parser: Parser) -> None:
    from . import trust_commands

    trust_commands.add_arguments(parser)


def _add_selftest(parser: Parser) -> None:
    _add_trust(parser)
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.json",
        help="write the result with library versions, for the day after an upgrade",
    )


def _add_score(parser: Parser) -> None:
    _add_trust(parser)
    parser.add_argument(
        "--features",
        type=Path,
        required=True,
        metavar="FILE.parquet",
        help="datetime, instrument and one column per feature",
    )
    day = parser.add_mutually_exclusive_group(required=True)
    day.add_argument("--date", metavar="YYYY-MM-DD", help="score exactly this date")
    day.add_argument(
        "--dates", metavar="FROM:TO", help="score every date of the file in this range, both ends included"
    )
    parser.add_argument("--max-rows", type=int, metavar="N", help="refuse a file of which more rows would be read")
    parser.add_argument(
        "--max-bytes",
        type=int,
        metavar="N",
        help="refuse a file that becomes larger than this when it is read (default: 100 times its size)",
    )
    parser.add_argument(
        "--top",
        type=int,
        metavar="N",
        help="only the N best of every date (default: the bundle's top k, all with --out)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write scores to FILE.parquet or FILE.csv")
    parser.add_argument(
        "--universe",
        type=Path,
        metavar="FILE",
        help="only these stocks: one instrument a line (qlib's instrument files work)",
    )
    parser.add_argument(
        "--calendar",
        type=Path,
        metavar="FILE",
        help="trading dates, one a line, for models on windows (default: the dates of the features)",
    )
    parser.add_argument(
        "--instruments-from",
        choices=["qlib", "ts"],
        help="convert SH600000 (qlib) or 600000.SH (ts) to the bundle's form",
    )


def _open(options: argparse.Namespace) -> Bundle:
    """The bundle of the command line under the trust of the command line, with its warnings said."""
    bundle = bundle_module.open_bundle(options.bundle, trust=read_trust(options))
    _warn(bundle.warnings, options)
    return bundle


def _warn(warnings: Sequence[str], options: argparse.Namespace) -> None:
    """For people at once; with ``--json`` they are in the result."""
    for warning in warnings if not options.json else ():
        print(f"warning: {warning}", file=sys.stderr)


def read_trust(options: argparse.Namespace) -> Trust:
    """What the options accept; without any of them nothing is."""
    at = None
    if options.at is not None:
        from . import instants

        at = instants.read(options.at)
        if at is None:
            raise UsageError(
                "usage.at", "not an instant", where="--at", expected="YYYY-MM-DDThh:mm:ssZ", found=options.at
            )
    if options.trust is not None:
        return Trust.load(options.trust, at=at)
    if options.key is not None:
        return Trust.for_key(options.key, at=at)
    return Trust(allow_unsigned=options.allow_unsigned, at=at)


def _trust_file(options: argparse.Namespace) -> tuple[str, Any]:
    from . import trust_commands

    return trust_commands.run(options)


def _verify(options: argparse.Namespace) -> tuple[str, Any]:
    verified = _open(options).verify()
    verdict = "ready" if verified.ready else "not ready: " + ", ".join(verified.reasons)
    text = f"verified {verified.name} {verified.sequence}: {verified.files} files, {verified.bytes} bytes, sha256 {verified.digest}, {verdict}"
    if verified.signers:
        text += ", signed by " + " and ".join(f"{signer.name} ({signer.role})" for signer in verified.signers)
    elif verified.signed:
        text += ", signatures not checked"
    return text, asdict(verified)


def _show(options: argparse.Namespace) -> tuple[str, Any]:
    from . import manifest, tree
    from .show import describe

    data = (
        tree.read_bounded(options.bundle, manifest.FILE_NAME, manifest.MAXIMUM_BYTES)
        if options.bundle.is_dir()
        else None
    )
    if data is None:
        raise NotReadableError(
            "bundle.not_readable",
            "no bundle directory",
            where=str(options.bundle),
            expected="a directory with manifest.json",
        )
    parsed = manifest.parse(data)
    return describe(parsed, manifest.digest(data)), {
        "digest": manifest.digest(data),
        "manifest": manifest.to_plain(parsed),
    }


def _selftest(options: argparse.Namespace) -> tuple[str, Any]:
    from . import selftest, strict_json

    bundle = _open(options)
    bundle.check_factors()
    report = asdict(selftest.run(bundle)) | {"bundle": bundle.digest, "warnings": list(bundle.warnings)}
    if options.report is not None:
        _replace_file(options.report, strict_json.dumps(report))
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    text = f"self-test passed: {report['bit_identical']} of {report['rows']} golden rows bit-identical, largest difference {report['largest_ulp']} ulp, {versions}"
    return text, report


def _score(options: argparse.Namespace) -> tuple[str, Any]:
    from . import output

    if options.top is not None and options.top < 1:
        raise UsageError("usage.top", "the number of stocks must be at least 1", found=str(options.top))
    for name, limit in (("--max-rows", options.max_rows), ("--max-bytes", options.max_bytes)):
        if limit is not None and limit < 1:
            raise UsageError("usage.limit", f"{name} must be at least 1", found=str(limit))
    bundle = _open(options)
    universe = _universe(options, bundle) if options.universe is not None else None
    progress = Progress(enabled=not options.json)
    choices: dict[str, Any] = {
        "universe": universe,
        "instruments_from": options.instruments_from,
        "calendar": _calendar(options.calendar),
    }
    choices |= {"max_rows": options.max_rows, "max_bytes": options.max_bytes}
    if options.date is not None:
        parts = iter([bundle.score(options.features, date=options.date, **choices)])
    else:
        parts = bundle.score_stream(options.features, dates=_range(options.dates), **choices)
    if options.out is not None:
        result = output.write_scores(parts, options.out, options.top, progress)
    else:
        result = output.collect_scores(parts, options.top or bundle.manifest.selection.top_k, progress)
    progress.close()
    return output.as_text(result), result.to_plain() | {
        "bundle": bundle.digest,
        "ready": bundle.manifest.eligibility.ready,
        "warnings": list(bundle.warnings),
    }


def _range(text: str) -> tuple[str | None, str | None]:
    first, colon, last = text.partition(":")
    if not colon:
        raise UsageError(
            "usage.dates", "a range of dates has two ends", expected="FROM:TO, either may be empty", found=text
        )
    return first or None, last or None


def _universe(options: argparse.Namespace, bundle: Bundle) -> list[str]:
    """First column of a text file; blank lines and lines that start with # do not count."""
    try:
        lines = options.universe.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NotReadableError(
            "universe.not_readable", f"cannot read the universe: {error}", where=str(options.universe)
        ) from None
    names = [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not names:
        raise UsageError(
            "usage.universe",
            "the universe names no stock",
            where=str(options.universe),
            expected="one instrument a line",
        )
    from .instruments import normalise
    from .scores import text_array

    notation = bundle.manifest.data.instrument_format
    known: list[str] = normalise(
        text_array(names), source=options.instruments_from, bundle_format=notation.kind, pattern=notation.pattern
    ).to_pylist()
    return known


def _calendar(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotReadableError("calendar.not_readable", f"cannot read the calendar: {error}", where=str(path)) from None
    from .windows import parse_calendar

    return parse_calendar(text, str(path))


def _replace_file(path: Path, data: bytes) -> None:
    from .output import replacing

    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _install(options: argparse.Namespace) -> tuple[str, Any]:
    from . import store

    trust = read_trust(options)
    _warn(trust.warnings, options)
    installed = store.install(options.bundle, options.store, trust=trust)
    return f"in force: {installed.name} {installed.sequence}, {installed.path}", _plain(installed) | {
        "warnings": list(trust.warnings)
    }


def _current(options: argparse.Namespace) -> tuple[str, Any]:
    """The path alone for people, so that a script can use it."""
    from . import store

    current = store.current(options.store)
    return str(current.path), _plain(current)


def _rollback(options: argparse.Namespace) -> tuple[str, Any]:
    """Without a trust option the trust of the day it was installed counts: files and self-test are checked again."""
    from . import store

    trust = read_trust(options)
    if trust.policy is None:
        trust = Trust.unsigned(at=trust.at)
    current = store.rollback(options.store, to=options.to, reason=options.reason, trust=trust)
    return f"in force: {current.name} {current.sequence}, {current.path}", _plain(current)


def _plain(current: Current) -> dict[str, Any]:
    return asdict(current) | {"path": str(current.path)}


_Verb = tuple[str, Callable[[Parser], None], Callable[[argparse.Namespace], tuple[str, Any]]]
_VERBS: dict[str, _Verb] = {
    "verify": ("check every file of a bundle", _add_trust, _verify),
    "show": ("what a bundle says of itself; trusts nothing, checks the format only", _add_bundle, _show),
    "selftest": ("score the golden rows on this machine", _add_selftest, _selftest),
    "score": ("score a day or a range of days", _add_score, _score),
    "trust": ("make and change the file that says what is accepted here", _add_trust_actions, _trust_file),
    "install": ("verify a bundle and put it in force in a store", _add_install, _install),
    "current": ("path of the bundle that is in force in a store", _add_current, _current),
    "rollback": ("put an older bundle of a store in force again", _add_rollback, _rollback),
}
