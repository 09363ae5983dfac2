"""The verb ``alphaseal score``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaseal.cli.options import (
    add_accepted_bundle,
    add_notation,
    add_unit_options,
    keep_anchors,
    open_accepted,
    read_anchors,
    read_range,
    warn,
)
from alphaseal.disk import targets
from alphaseal.errors import NotReadableError, UsageError
from alphaseal.plain_text import printable
from alphaseal.terminal.console import Outcome, Parser, Progress, complain

if TYPE_CHECKING:
    from alphaseal.bars.units import Anchors
    from alphaseal.bundle import Bundle
    from alphaseal.tables.members.universe import Universe


def add_score(parser: Parser) -> None:
    """The arguments of ``score``."""
    add_accepted_bundle(parser)
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
    add_notation(parser)


def run_score(options: argparse.Namespace) -> Outcome:
    """Score what was asked for, print or write it, and say what is unusual about it."""
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
    bundle = open_accepted(options)
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
    warn(result.warnings, options)
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
        keep_anchors(options, seen)


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
