"""Options that several verbs share, and what they mean; the other command uses some of them too."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alphaseal.errors import UsageError
from alphaseal.format.notations import FORMS
from alphaseal.plain_text import printable
from alphaseal.terminal.console import Parser, complain

if TYPE_CHECKING:
    from alphaseal.bars.units import Anchors
    from alphaseal.bundle import Bundle
    from alphaseal.trust.judgement import Trust


def add_accepted_bundle(parser: Parser) -> None:
    """A bundle, and whose bundles are accepted; `open_accepted` opens it."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    parser.add_json()
    add_trust_options(parser)


def add_trust_options(parser: argparse.ArgumentParser) -> None:
    """Whose bundles are accepted; `read_trust` reads them."""
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


def add_unit_options(parser: argparse.ArgumentParser) -> None:
    """Options that show the units of bars; `read_anchors` reads them."""
    parser.add_argument(
        "--anchors",
        type=Path,
        metavar="FILE.parquet",
        help="bars from the same source for the stocks and days of the golden bars; they show the units of --bars, and --store with --source keeps the result",
    )
    add_source(parser, required=False)
    parser.add_argument(
        "--units-as-trained",
        action="store_true",
        help="assume that the bars have the units of the training where nothing shows it; the result records this",
    )


def add_notation(parser: argparse.ArgumentParser) -> None:
    """The notation of the instruments of a source."""
    parser.add_argument(
        "--instruments-from",
        choices=list(FORMS),
        help=f"convert {' or '.join(f'{form.example} ({name})' for name, form in FORMS.items())} to the bundle's form",
    )


def add_source(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--store", type=Path, required=required, metavar="DIR", help="store that keeps the anchors of each source"
    )
    parser.add_argument(
        "--source", required=required, metavar="NAME", help="name of the source of the bars in the store"
    )


def read_trust(options: argparse.Namespace) -> Trust:
    """The trust that the options give; without an option nothing is accepted."""
    from alphaseal.trust.judgement import Trust

    at = None
    if options.at is not None:
        from alphaseal.format import instants

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


def open_accepted(options: argparse.Namespace) -> Bundle:
    """The bundle of the command line under the trust of the command line; prints its warnings."""
    from alphaseal.bundle import open_bundle

    bundle = open_bundle(options.bundle, trust=read_trust(options))
    warn(bundle.warnings, options)
    return bundle


def warn(warnings: Sequence[str], options: argparse.Namespace) -> None:
    """For people at once; with ``--json`` they are in the result."""
    if not options.json:
        complain(printable(f"warning: {warning}" for warning in warnings))


def read_anchors(options: argparse.Namespace, bundle: Bundle) -> Anchors | None:
    """Anchors, which show the units of the bars: from the file, which a named store then keeps, or else from the store."""
    if (options.store is None) != (options.source is None):
        raise UsageError("usage.source", "--store and --source go together", expected="--store with --source")
    if options.anchors is not None:
        if options.bars is None:
            raise UsageError("usage.anchors", "anchors need bars", expected="--bars with --anchors")
        anchors = bundle.anchor(options.anchors, instruments_from=options.instruments_from)
        if options.store is not None:
            keep_anchors(options, anchors)
        return anchors
    if options.store is None or bundle.manifest.alphas is None:
        return None
    from alphaseal import sources

    return sources.kept(options.store, options.source, bundle.golden_bars_digest())


def keep_anchors(options: argparse.Namespace, anchors: Anchors) -> None:
    """Keep in the store what shows the units of a source."""
    from alphaseal import sources

    sources.keep(options.store, options.source, anchors, at=read_trust(options).now())


def read_range(text: str) -> tuple[str | None, str | None]:
    """First and last date of ``FROM:TO``, None for an end that is open; UsageError ``usage.dates``."""
    first, colon, last = text.partition(":")
    if not colon:
        raise UsageError(
            "usage.dates", "a range of dates has two ends", expected="FROM:TO, either may be empty", found=text
        )
    return first or None, last or None
