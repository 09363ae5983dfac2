"""HTML that is escaped by construction: elements hold plain text, and only `page` turns them into markup.

There is no way to put a ready-made piece of HTML into an element, and tags and attributes are closed lists: no script,
no event handler, no address outside the page.  What comes from a language model can therefore only ever be text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Union

from alphaseal import plain_text

Tag = Literal[
    "a", "article", "body", "caption", "code", "dd", "details", "div", "dl", "dt", "figure", "footer", "h1", "h2", "h3",
    "h4", "header", "li", "main", "nav", "ol", "p", "pre", "section", "span", "strong", "summary", "table", "tbody", "td",
    "th", "thead", "tr", "ul", "svg", "desc", "line", "path", "rect", "text", "title",
]  # fmt: skip
_Attribute = Literal[
    "class", "id", "href", "scope", "role", "aria-labelledby", "aria-hidden", "viewBox", "preserveAspectRatio",
    "text-anchor", "d", "x", "y", "x1", "y1", "x2", "y2", "width", "height",
]  # fmt: skip
_INLINE = frozenset({"a", "code", "span", "strong", "summary", "desc", "text", "title"})
_NOTES: Mapping[str, tuple[Tag, ...]] = {
    "tbody": ("tr", "td"),
    "tr": ("td",),
    "thead": ("tr", "th"),
    "ul": ("li",),
    "dl": ("dd",),
    "p": ("span",),
    "svg": ("desc",),
}
"""What says inside an element that some of its children are left out; a paragraph elsewhere."""

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_KEPT = "\n\t"
"""Unseen characters that a page shows as they are."""


@dataclass(frozen=True)
class Element:
    """One element; `children` are elements and plain text."""

    tag: Tag
    children: tuple[Child, ...] = ()
    attributes: tuple[tuple[_Attribute, str], ...] = ()


Child = Union[str, Element]


@dataclass(frozen=True)
class Limits:
    """What is shown of long things: characters of one text, and children of one element."""

    characters: int
    children: int


def element(
    tag: Tag, *children: Child, style: str = "", anchor: str = "", target: str = "", scope: str = ""
) -> Element:
    """An element of `children`; `style` is its class, `anchor` its id, `target` the anchor on this page it links to."""
    given = (("class", style), ("id", anchor), ("href", target and f"#{target}"), ("scope", scope))
    return Element(tag, children, tuple((name, value) for name, value in given if value))  # type: ignore[misc]


def drawn(tag: Tag, *children: Child, **attributes: str | float) -> Element:
    """An element of a drawing; numbers are coordinates, with one decimal.  Underscores are hyphens, ``style`` is the class."""
    named = (("class" if name == "style" else name.replace("_", "-"), value) for name, value in attributes.items())
    return Element(tag, children, tuple((name, _coordinate(value)) for name, value in named))  # type: ignore[misc]


def _coordinate(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def visible(text: str) -> str:
    """`text` with every unseen character written as an escape; ends of line become LF first."""
    return plain_text.visible(text.replace("\r\n", "\n"), but=_KEPT)


def page(title: str, style_sheet: str, *body: Element, limits: Limits | None = None) -> str:
    """A whole HTML document that loads nothing and runs nothing; lines end with LF.

    `style_sheet` is the program's own text and goes in as it is.  What is beyond `limits` is left out, and said so.
    """
    head = (
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{html.escape(visible(title))}</title>",
        f"<style>\n{style_sheet.strip()}\n</style>",
    )
    parts: list[str] = []
    for child in body:
        _write(child, parts, limits)
    return (
        "\n".join(
            (
                "<!doctype html>",
                '<html lang="en">',
                "<head>",
                *head,
                "</head>",
                "<body>",
                "".join(parts) + "</body>",
                "</html>",
            )
        )
        + "\n"
    )


def _write(child: Child, parts: list[str], limits: Limits | None, drawing: bool = False) -> None:
    if isinstance(child, str):
        text = child if limits is None else _cut(child, limits.characters)
        parts.append(html.escape(visible(text), quote=True) if drawing else _text(text))
        return
    drawing = drawing or child.tag == "svg"
    attributes = "".join(f' {name}="{html.escape(visible(value), quote=True)}"' for name, value in child.attributes)
    parts.append(f"<{child.tag}{attributes}>")
    for inner in child.children if limits is None else _shortened(child, limits.children):
        _write(inner, parts, limits, drawing)
    # A line break after each block keeps the file readable in a diff; it is never inside running text.
    parts.append(f"</{child.tag}>" if child.tag in _INLINE else f"</{child.tag}>\n")


def _cut(text: str, length: int) -> str:
    left = len(text) - length
    return text if left <= 0 else f"{text[:length]}\n… [{left:,} more characters are not shown here]"


def _shortened(parent: Element, length: int) -> tuple[Child, ...]:
    left = len(parent.children) - length
    if left <= 0:
        return parent.children
    note: Child = f"… {left:,} more are not shown here"
    for tag in reversed(_NOTES.get(parent.tag, ("p",))):
        note = Element(tag, (note,))
    return (*parent.children[:length], note)


def _text(text: str) -> str:
    """Escaped text; unseen characters stand out, so that they differ from the same escape typed by hand.

    In a drawing there is no place for an element around them: there they are plain escapes.
    """
    escaped = html.escape(text.replace("\r\n", "\n"), quote=True)
    return plain_text.UNSEEN.sub(_marked, escaped)


def _marked(match: re.Match[str]) -> str:
    character = match[0]
    return character if character in _KEPT else f'<mark class="unseen">{plain_text.escape(character)}</mark>'
