"""card.html: what a bundle is, for the person who decides about it; one file that loads nothing and runs nothing.

The card is a file of the bundle, so it is rendered before the manifest is complete: it lists every file but itself and
cannot name the bundle's digest.  Each section is a function from `Card` to elements; `SECTIONS` is their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from alphaseal.manifest import Manifest

from . import features, sections, verdict
from .markup import Element, element, page
from .pieces import Card
from .style import STYLE_SHEET

__all__ = ["SECTIONS", "render_card"]

SECTIONS: tuple[tuple[str, str, Callable[[Card], list[Element]]], ...] = (
    ("proof", "Proof", sections.proof),
    ("model", "Model", sections.model),
    ("origin", "Where it came from", sections.origin),
    ("metrics", "Metrics", sections.metrics),
    ("factors", "SOTA factors", features.sota_factors),
    ("features", "Features", features.features),
    ("preprocessing", "Preprocessing", features.preprocessing),
    ("label", "Label", features.label),
    ("data", "Data", sections.data),
    ("sources", "Other sources", sections.other_sources),
    ("files", "Files", sections.files),
)
"""Anchor, title and function of each section, in order of appearance; one that returns nothing is left out."""


def render_card(manifest: Manifest, sources: Mapping[str, str], digest_note: str | None = None) -> str:
    """The card as a self-contained HTML document; the same input gives the same text, with LF line ends.

    `manifest` is the manifest as far as it is known (no entry for the card itself), `sources` maps bundle paths
    (``sources/...``) to their text, which is shown and never interpreted.  `digest_note` is a sentence about where the
    bundle's digest can be found, shown beside the files.  The text always has a UTF-8 form.
    """
    card = Card(manifest, sources, digest_note)
    shown = [(anchor, title, section(card)) for anchor, title, section in SECTIONS]
    present = [(anchor, title, body) for anchor, title, body in shown if body]
    navigation = element(
        "nav", element("ul", *(element("li", element("a", title, target=anchor)) for anchor, title, _ in present))
    )
    main = [element("section", element("h2", title), *body, anchor=anchor) for anchor, title, body in present]
    title = f"{manifest.name} {manifest.sequence}"
    return page(
        f"{title} · alphaseal model card",
        STYLE_SHEET,
        verdict.header(card, navigation),
        element("main", *main),
        _footer(card),
    )


def _footer(card: Card) -> Element:
    text = (
        f"Bundle format {card.manifest.format}, written by alphaseal-converter {card.manifest.producer.converter}. "
        "This page describes and proves nothing by itself: `alphaseal verify` checks the files and signatures, `alphaseal selftest` the scores."
    )
    return element("footer", element("p", text))
