"""card.html: what a bundle is, for the person who decides about it; one file that loads nothing and runs nothing.

The card is a file of the bundle, so it is rendered before the manifest is complete: it lists every file but itself and
cannot name the bundle's digest.  Each section is a function from `Card` to elements; `SECTIONS` is their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from alphaseal.format.manifest import Manifest
from alphaseal_converter.card import features, sections, verdict
from alphaseal_converter.card.markup import Element, Limits, element, page
from alphaseal_converter.card.performance import NOTHING_MEASURED, Performance
from alphaseal_converter.card.pieces import Card
from alphaseal_converter.card.style import STYLE_SHEET

__all__ = ["SECTIONS", "render_card"]

SECTIONS: tuple[tuple[str, str, Callable[[Card], list[Element]]], ...] = (
    ("metrics", "Performance", sections.metrics),
    ("proof", "Proof", sections.proof),
    ("model", "Model", sections.model),
    ("origin", "Where it came from", sections.origin),
    ("factors", "SOTA factors", features.sota_factors),
    ("features", "Features", features.features),
    ("preprocessing", "Preprocessing", features.preprocessing),
    ("label", "Label", features.label),
    ("data", "Data", sections.data),
    ("sources", "Other sources", sections.other_sources),
    ("files", "Files", sections.files),
)
"""Anchor, title and function of each section, in order of appearance; one that returns nothing is left out."""


MAXIMUM_BYTES = 2_000_000
_LIMITS = (
    Limits(300_000, 12_000),
    Limits(60_000, 3_000),
    Limits(12_000, 1_000),
    Limits(3_000, 300),
    Limits(600, 60),
    Limits(100, 20),
)
"""How much of long things is shown, tried in this order until the card is small enough."""


def render_card(
    manifest: Manifest,
    sources: Mapping[str, str],
    digest_note: str | None = None,
    performance: Performance = NOTHING_MEASURED,
) -> str:
    """The card as a self-contained HTML document; the same input gives the same text, with LF line ends.

    `manifest` is the manifest as far as it is known (no entry for the card itself), `sources` maps bundle paths
    (``sources/...``) to their text, which is shown and never interpreted.  `digest_note` is a sentence about where the
    bundle's digest can be found, shown beside the files.  `performance` are the numbers behind the pictures.

    The text always has a UTF-8 form, of at most `MAXIMUM_BYTES`: long texts and tables are cut where it takes that, and
    say how much of them is left out.
    """
    card = Card(manifest, sources, digest_note, performance)
    shown = [(anchor, title, section(card)) for anchor, title, section in SECTIONS]
    present = [(anchor, title, body) for anchor, title, body in shown if body]
    navigation = element(
        "nav", element("ul", *(element("li", element("a", title, target=anchor)) for anchor, title, _ in present))
    )
    main = [element("section", element("h2", title), *body, anchor=anchor) for anchor, title, body in present]
    title = f"{manifest.name} {manifest.sequence}"
    body = (verdict.header(card, navigation), element("main", *main), _footer(card))
    text = ""
    for limits in _LIMITS:
        text = page(f"{title} · alphaseal model card", STYLE_SHEET, *body, limits=limits)
        if len(text.encode("utf-8")) <= MAXIMUM_BYTES:
            break
    return text


def _footer(card: Card) -> Element:
    text = (
        f"Bundle format {card.manifest.format}, written by alphaseal-converter {card.manifest.producer.converter}. "
        "This page describes and proves nothing by itself: `alphaseal verify` checks the files and signatures, `alphaseal selftest` the scores."
    )
    return element("footer", element("p", text))
