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
        help="datetime, instrument and one column per feature; with --bars only the features that bars do not give",
    )
    parser.add_argument(
        "--bars",
        type=Path,
        metavar="FILE.parquet",
        help="daily bars (datetime, instrument, open, high and so on) that alpha features and compiled factors are computed from",
    )
    parser.add_argument(
        "--static",
        type=Path,
        metavar="STATIC.parquet",
        help="side table that compiled factors read (datetime, instrument and its columns, as static_factors.parquet)",
    )
    add_unit_options(parser)
    day = parser.add_mutually_exclusive_group(required=True)
    day.add_argument("--date", metavar="YYYY-MM-DD", help="score exactly this date")
    day.add_argument(
        "--dates", metavar="FROM:TO", help="score every date of the file in this range, both ends included"
    )
    parser.add_argument(
        "--max-rows", type=int, metavar="N", help="refuse a file if more than N rows of it would be read"
    )
    parser.add_argument(
        "--max-bytes",
        type=int,
        metavar="N",
        help="refuse a file whose values take more than N bytes (default: 100 times the size of the file)",
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
        help="say what to hold, sell and buy by the run's strategy; FILE lists the stocks held now, one a line, or is CSV with a column instrument",
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
        help="score only these stocks; FILE has one instrument a line, or also its first and last date, as qlib's instrument files have",
    )
    parser.add_argument(
        "--calendar",
        type=Path,
        metavar="FILE",
        help="trading dates, one a line, for bars and for models on windows (default: the dates of the table)",
    )
    add_notation(parser)


def run_score(options: argparse.Namespace) -> Outcome:
    """Score the dates, print or write the scores, and say what is unusual."""
    from alphaseal.cli import advice as advice_text
    from alphaseal.cli import output

    if options.top is not None and options.top < 1:
        raise UsageError("usage.top", "the number of stocks must be at least 1", found=str(options.top))
    for name, limit in (("--max-rows", options.max_rows), ("--max-bytes", options.max_bytes)):
        if limit is not None and limit < 1:
            raise UsageError("usage.limit", f"{name} must be at least 1", found=str(limit))
    if options.holdings is not None and options.date is None:
        raise UsageError("usage.holdings", "holdings belong to one day", expected="--date with --holdings")
    if options.features is None and options.bars is None:
        raise UsageError("usage.features", "there is nothing to score", expected="--features or --bars, or both")
    if options.out is not None:
        output.check_suffix(options.out)
        names = (
            "features",
            "bars",
            "static",
            "anchors",
            "universe",
            "calendar",
            "holdings",
            "features_key",
            "trust",
            "key",
        )
        targets.check_target(options.out, inputs=[getattr(options, name) for name in names], bundle=options.bundle)
    bundle = open_accepted(options)
    choices: dict[str, Any] = {
        "universe": _universe(options, bundle),
        "instruments_from": options.instruments_from,
        "calendar": _calendar(options.calendar),
    }
    choices |= {
        "max_rows": options.max_rows,
        "max_bytes": options.max_bytes,
        "bars": options.bars,
        "static": options.static,
    }
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
    with Progress(enabled=not options.json) as progress:
        if options.out is not None:
            result = output.write_scores(parts, options.out, options.top, progress)
        else:
            result = output.collect_scores(parts, options.top or bundle.manifest.selection.top_k, progress)
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
    """Keep what a source gave for the scored day; the next day compares, and sees a history that was restated."""
    if anchors is None or options.source is None:
        return
    seen = bundle.seen(anchors, options.bars, options.date, instruments_from=options.instruments_from)
    if seen != anchors:
        keep_anchors(options, seen)


def _features(options: argparse.Namespace, bundle: Bundle) -> Path | bytes | None:
    """The file of features; with --features-key its bytes, which the key must have signed for this bundle and these dates."""
    features: Path | None = options.features
    if options.features_key is None:
        return features
    if features is None:
        raise UsageError("usage.features", "--features-key needs a file of features", expected="--features FILE")
    from alphaseal.tables.origin import read_signed

    dates = read_range(options.dates) if options.dates is not None else None
    return read_signed(features, options.features_key, bundle.digest, date=options.date, dates=dates)


def _universe(options: argparse.Namespace, bundle: Bundle) -> Universe | None:
    if options.universe is None:
        return None
    from alphaseal.tables.members import universe

    return universe.read(options.universe, bundle.notation(options.instruments_from))


def _calendar(path: Path | None) -> Any:
    if path is None:
        return None
    from alphaseal.disk.files import read_text
    from alphaseal.tables.windows import parse_calendar

    problem = NotReadableError("calendar.not_readable", "cannot read the calendar", where=str(path))
    return parse_calendar(read_text(path, problem), str(path))
