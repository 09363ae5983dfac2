"""The command ``alphaseal``: verify, show, diff, export, selftest, score; trust; the store; doctor, completion."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaseal.cli.options import (
    _add_source,
    _keep,
    add_trust_options,
    add_unit_options,
    read_anchors,
    read_range,
    read_trust,
)
from alphaseal.disk import targets
from alphaseal.errors import DifferentError, NotReadableError, UsageError
from alphaseal.plain_text import Printable, printable
from alphaseal.terminal.console import SHELLS, Findings, Outcome, Parser, Progress, Version, complain, run_command
from alphaseal.version import __version__

if TYPE_CHECKING:
    from alphaseal.bars.units import Anchors
    from alphaseal.bundle import Bundle
    from alphaseal.store import Current
    from alphaseal.tables.members.universe import Universe


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the return value is the exit status of the table in spec/bundle-v1.md."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(_parser(given[0] if given else ""), given, {name: run for name, (_, _, run) in _VERBS.items()})


def _parser(verb: str) -> Parser:
    """The parser of the command; of its verbs only `verb` where there is one of that name (the others cost start-up)."""
    parser = Parser(prog="alphaseal", description="Verify a bundle, score stocks with it, take the best.")
    parser.add_argument("--version", action=Version, text=_version)
    # Without `prog` argparse formats a usage message for it now, which loads shutil and its compression libraries.
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser, prog="alphaseal")
    for name, (text, add_arguments, _) in _VERBS.items():
        if name == verb or verb not in _VERBS:
            options = verbs.add_parser(name, help=text)
            add_arguments(options)
    return parser


def _version() -> Printable:
    from alphaseal.desk import doctor
    from alphaseal.format import manifest

    return printable([f"alphaseal {__version__}, bundle format {manifest.FORMAT}", doctor.versions()])


def _add_bundle(parser: Parser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _add_diff(parser: Parser) -> None:
    parser.add_argument("old", type=Path, metavar="OLD", help="bundle directory before")
    parser.add_argument("new", type=Path, metavar="NEW", help="bundle directory now")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="for a comment on a pull request")
    form.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--exit-code", action="store_true", help="exit status 4 where the bundles differ")


def _add_doctor(parser: Parser) -> None:
    from alphaseal.desk import doctor

    doctor.add_arguments(parser)


def _add_completion(parser: Parser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to complete")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _add_trust(parser: Parser) -> None:
    _add_bundle(parser)
    add_trust_options(parser)


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
    add_trust_options(parser)
    parser.add_argument(
        "--to", type=int, required=True, metavar="SEQUENCE", help="sequence of a bundle that was in force before"
    )
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; kept in the store's history")
    parser.epilog = "Without --trust or --key the files and the self-test are checked, and neither signatures nor revocations: the bundle was trusted when it was installed."


def _add_trust_actions(parser: Parser) -> None:
    from alphaseal.desk import trust_commands

    trust_commands.add_arguments(parser)


def _add_export(parser: Parser) -> None:
    _add_trust(parser)
    parser.add_argument(
        "--layout",
        required=True,
        metavar="seed|aistock|strategy-package",
        help="whose file names: the first hand-over document's, AIstock's task folder, or a StrategyPackage",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory to make; must not exist")


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
        metavar="FILE.parquet",
        help="datetime, instrument and one column per feature, with --bars those features that bars do not give",
    )
    parser.add_argument(
        "--bars",
        type=Path,
        metavar="FILE.parquet",
        help="daily bars (datetime, instrument, open, high and so on) that the alpha features are computed from",
    )
    add_unit_options(parser)
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
        "--features-key",
        type=Path,
        metavar="PUB",
        help="demand that this public key signed the file of features (alphaseal-convert features --sign)",
    )
    parser.add_argument(
        "--holdings",
        type=Path,
        metavar="FILE",
        help="say what to hold, sell and buy as the run's strategy would: stocks that are held, one a line, or a CSV file with a column instrument",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse a date whose features are further from the training values than the bundle allows",
    )
    parser.add_argument(
        "--universe",
        type=Path,
        metavar="FILE",
        help="only these stocks: one instrument a line, or as in qlib's instrument files with its first and last date",
    )
    parser.add_argument(
        "--calendar",
        type=Path,
        metavar="FILE",
        help="trading dates, one a line, for bars and for models on windows (default: the dates of the table)",
    )
    parser.add_argument(
        "--instruments-from",
        choices=["qlib", "ts"],
        help="convert SH600000 (qlib) or 600000.SH (ts) to the bundle's form",
    )


def _add_anchor(parser: Parser) -> None:
    _add_trust(parser)
    parser.add_argument(
        "--bars",
        type=Path,
        required=True,
        metavar="FILE.parquet",
        help="bars of the golden bars' stocks and days from the source",
    )
    _add_source(parser, required=True)
    parser.add_argument(
        "--instruments-from",
        choices=["qlib", "ts"],
        help="convert SH600000 (qlib) or 600000.SH (ts) to the bundle's form",
    )


def _open(options: argparse.Namespace) -> Bundle:
    """The bundle of the command line under the trust of the command line, with its warnings said."""
    from alphaseal.bundle import open_bundle

    bundle = open_bundle(options.bundle, trust=read_trust(options))
    _warn(bundle.warnings, options)
    return bundle


def _warn(warnings: Sequence[str], options: argparse.Namespace) -> None:
    """For people at once; with ``--json`` they are in the result."""
    if not options.json:
        complain(printable(f"warning: {warning}" for warning in warnings))


def _trust_file(options: argparse.Namespace) -> tuple[Printable, Any]:
    from alphaseal.desk import trust_commands

    return trust_commands.run(options)


def _verify(options: argparse.Namespace) -> tuple[Printable, Any]:
    verified = _open(options).verify()
    verdict = "ready" if verified.ready else "not ready: " + ", ".join(verified.reasons)
    text = f"verified {verified.name} {verified.sequence}: {verified.files} files, {verified.bytes} bytes, sha256 {verified.digest}, {verdict}"
    if verified.signers:
        text += ", signed by " + " and ".join(f"{signer.name} ({signer.role})" for signer in verified.signers)
    elif verified.signed:
        text += ", signatures not checked"
    return printable([text]), asdict(verified)


def _show(options: argparse.Namespace) -> tuple[Printable, Any]:
    from alphaseal.desk.show import describe
    from alphaseal.disk import tree
    from alphaseal.format import manifest

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


def _diff(options: argparse.Namespace) -> Outcome:
    from alphaseal.desk import diff, diff_report

    found = diff.difference(options.old, options.new)
    report = diff_report.as_markdown if options.markdown else diff_report.as_text
    text = printable([]) if options.json else report(found)
    errors = [] if found.same or not options.exit_code else [_different(found.old.digest, found.new.digest)]
    return Findings(text, found.to_plain(), errors)


def _different(old: str, new: str) -> DifferentError:
    return DifferentError(
        "diff.different", "the bundles differ", expected=f"sha256 {old}", found=f"sha256 {new}", next_step="review them"
    )


def _export(options: argparse.Namespace) -> tuple[Printable, Any]:
    from alphaseal.desk import export

    bundle = _open(options)
    written = export.export(bundle, options.layout, options.out)
    ready = bundle.manifest.eligibility.ready
    verdict = "" if ready else "; the bundle is not ready"
    text = f"{written.layout}: {len(written.files)} files, {written.out}{verdict}"
    return printable([text]), asdict(written) | {
        "out": str(written.out),
        "ready": ready,
        "warnings": list(bundle.warnings),
    }


def _doctor(options: argparse.Namespace) -> Outcome:
    from alphaseal.desk import doctor

    return doctor.run(options)


def _completion(options: argparse.Namespace) -> tuple[Printable, Any]:
    from alphaseal.desk import completion

    text = completion.script(options.shell, _parser(""))
    return printable(text.split("\n")), {"shell": options.shell, "script": text}


def _selftest(options: argparse.Namespace) -> tuple[Printable, Any]:
    from alphaseal.format import strict_json

    if options.report is not None:
        from alphaseal.disk.targets import check_target

        check_target(options.report, inputs=(options.trust, options.key), bundle=options.bundle)
    bundle = _open(options)
    bundle.check_factors()
    report = asdict(bundle.selftest()) | {"bundle": bundle.digest, "warnings": list(bundle.warnings)}
    if options.report is not None:
        _replace_file(options.report, strict_json.dumps(report))
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    text = f"self-test passed: {report['bit_identical']} of {report['rows']} golden rows bit-identical, largest difference {report['largest_ulp']} ulp, {versions}"
    if report["swaps"]:
        text += f"; {report['swaps']} pairs of stocks changed places within near ties, {report['largest_gap']:.2g} apart at most"
    if (alphas := report["alphas"]) is not None:
        text += f"; {alphas['features']} alpha features of {alphas['stocks']} stocks from bars within {alphas['largest']:.2g} of their tolerances"
    return printable([text]), report


def _score(options: argparse.Namespace) -> tuple[Printable, Any]:
    from alphaseal.cli import advice as advice_text
    from alphaseal.cli import output

    if options.top is not None and options.top < 1:
        raise UsageError("usage.top", "the number of stocks must be at least 1", found=str(options.top))
    for name, limit in (("--max-rows", options.max_rows), ("--max-bytes", options.max_bytes)):
        if limit is not None and limit < 1:
            raise UsageError("usage.limit", f"{name} must be at least 1", found=str(limit))
    if options.holdings is not None and options.date is None:
        raise UsageError("usage.holdings", "holdings are those of one day", expected="--date with --holdings")
    if options.features is None and options.bars is None:
        raise UsageError("usage.features", "there is nothing to score", expected="--features or --bars, or both")
    if options.out is not None:
        output.check_suffix(options.out)
        names = ("features", "bars", "anchors", "universe", "calendar", "holdings", "features_key", "trust", "key")
        targets.check_target(options.out, inputs=[getattr(options, name) for name in names], bundle=options.bundle)
    bundle = _open(options)
    progress = Progress(enabled=not options.json)
    choices: dict[str, Any] = {
        "universe": _universe(options, bundle),
        "instruments_from": options.instruments_from,
        "calendar": _calendar(options.calendar),
    }
    choices |= {"max_rows": options.max_rows, "max_bytes": options.max_bytes, "bars": options.bars}
    choices |= {"anchors": read_anchors(options, bundle), "units_as_trained": options.units_as_trained}
    guard, picked = advice_text.Guard(bundle.manifest.drift, strict=options.strict), None
    if options.date is not None:
        scores = bundle.score(_features(options, bundle), date=options.date, **choices)
        _remember(options, bundle, choices["anchors"])
        if options.holdings is not None:
            holdings = advice_text.read_holdings(options.holdings)
            picked = scores.picks(holdings, instruments_from=options.instruments_from)
        parts = guard.watch(iter([scores]))
    else:
        parts = guard.watch(bundle.score_stream(_features(options, bundle), dates=read_range(options.dates), **choices))
    if options.out is not None:
        result = output.write_scores(parts, options.out, options.top, progress)
    else:
        result = output.collect_scores(parts, options.top or bundle.manifest.selection.top_k, progress)
    progress.close()
    _warn(result.warnings, options)
    if not options.json:
        complain(printable([f"note: {note}" for note in result.notes]))
    found = guard.drift()
    if not options.json:
        complain(advice_text.drift_text(found))
    text = output.as_text(result) if picked is None else advice_text.picks_text(picked)
    return text, result.to_plain() | {
        "bundle": bundle.digest,
        "ready": bundle.manifest.eligibility.ready,
        "warnings": [*bundle.warnings, *result.warnings],
        "notes": result.notes,
        "units": dict(result.units),
        "drift": advice_text.drift_to_plain(found),
        "picks": None if picked is None else advice_text.picks_to_plain(picked),
    }


def _remember(options: argparse.Namespace, bundle: Bundle, anchors: Anchors | None) -> None:
    """Keep what the source of a scored day gave, so that the next day sees whether it restated its history."""
    if anchors is None or options.source is None:
        return
    seen = bundle.seen(anchors, options.bars, options.date, instruments_from=options.instruments_from)
    if seen != anchors:
        _keep(options, seen)


def _anchor(options: argparse.Namespace) -> tuple[Printable, Any]:
    from alphaseal import sources

    sources.check_name(options.source)
    bundle = _open(options)
    anchors = bundle.anchor(options.bars, instruments_from=options.instruments_from)
    _keep(options, anchors)
    units = (bundle.manifest.alphas.units or {}) if bundle.manifest.alphas is not None else {}
    seen = [field for field, unit in units.items() if unit.seen_by]
    shown = ", ".join(f"{field} of {anchors.fields[field].stocks} stocks" for field in seen)
    text = (
        f"{options.source}: the units are those of the training: {shown}"
        if seen
        else (f"{options.source}: no feature sees the units of the bars")
    )
    return printable([text]), {
        "source": options.source,
        "bundle": bundle.digest,
        "units": seen,
        "warnings": list(bundle.warnings),
    }


def _features(options: argparse.Namespace, bundle: Bundle) -> Path | bytes | None:
    """The file of features; with --features-key the very bytes that the key signed for this bundle and these dates."""
    features: Path | None = options.features
    if options.features_key is None:
        return features
    if features is None:
        raise UsageError("usage.features", "there is no file of features to be signed", expected="--features FILE")
    from alphaseal.tables.origin import read_signed

    dates = read_range(options.dates) if options.dates is not None else None
    return read_signed(features, options.features_key, bundle.digest, date=options.date, dates=dates)


def _universe(options: argparse.Namespace, bundle: Bundle) -> Universe | None:
    if options.universe is None:
        return None
    from alphaseal.tables.members import universe

    notation = bundle.manifest.data.instrument_format
    return universe.read(
        options.universe,
        instruments_from=options.instruments_from,
        instrument_format=notation.kind,
        instrument_pattern=notation.pattern,
    )


def _calendar(path: Path | None) -> Any:
    if path is None:
        return None
    from alphaseal.disk.files import read_text
    from alphaseal.tables.windows import parse_calendar

    problem = NotReadableError("calendar.not_readable", "cannot read the calendar", where=str(path))
    return parse_calendar(read_text(path, problem), str(path))


def _replace_file(path: Path, data: bytes) -> None:
    from alphaseal.disk.targets import replacing

    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _install(options: argparse.Namespace) -> tuple[Printable, Any]:
    from alphaseal import store

    trust = read_trust(options)
    _warn(trust.warnings, options)
    installed = store.install(options.bundle, options.store, trust=trust)
    text = f"in force: {installed.name} {installed.sequence}, {installed.path}"
    return printable([text]), _plain(installed) | {"warnings": list(trust.warnings)}


def _current(options: argparse.Namespace) -> tuple[Printable, Any]:
    """The path alone for people, so that a script can use it."""
    from alphaseal import store

    current = store.current(options.store)
    return printable([str(current.path)]), _plain(current)


def _rollback(options: argparse.Namespace) -> tuple[Printable, Any]:
    """Without a trust option the trust of the day it was installed counts: files and self-test are checked again."""
    from alphaseal import store
    from alphaseal.trust.judgement import Trust

    trust = read_trust(options)
    warnings = list(trust.warnings)
    if trust.policy is None:
        trust = Trust.unsigned(at=trust.at)
        if not options.allow_unsigned:
            warnings.append("no --trust or --key: files and self-test are checked, signatures and revocations are not")
    _warn(warnings, options)
    current = store.rollback(options.store, to=options.to, reason=options.reason, trust=trust)
    text = f"in force: {current.name} {current.sequence}, {current.path}"
    return printable([text]), _plain(current) | {"warnings": warnings}


def _plain(current: Current) -> dict[str, Any]:
    return asdict(current) | {"path": str(current.path)}


_Verb = tuple[str, Callable[[Parser], None], Callable[[argparse.Namespace], Outcome]]
_VERBS: dict[str, _Verb] = {
    "verify": ("check every file of a bundle", _add_trust, _verify),
    "show": ("what a bundle says of itself; trusts nothing, checks the format only", _add_bundle, _show),
    "diff": ("what changed from one bundle to the next, in words", _add_diff, _diff),
    "export": ("write a bundle in the file layout of an older hand-over, without a pickle", _add_export, _export),
    "selftest": ("score the golden rows on this machine", _add_selftest, _selftest),
    "score": ("score a day or a range of days", _add_score, _score),
    "anchor": ("show once which units a source of bars has, and keep it in a store", _add_anchor, _anchor),
    "trust": ("make and change the file that says what is accepted here", _add_trust_actions, _trust_file),
    "install": ("verify a bundle and put it in force in a store", _add_install, _install),
    "current": ("path of the bundle that is in force in a store", _add_current, _current),
    "rollback": ("put an older bundle of a store in force again", _add_rollback, _rollback),
    "doctor": ("what of this machine, of trust and store and of a bundle would stop the work", _add_doctor, _doctor),
    "completion": ("print a script for tab completion", _add_completion, _completion),
}
