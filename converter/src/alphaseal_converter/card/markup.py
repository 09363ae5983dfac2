"""HTML that is escaped by construction: elements hold plain text, and only `page` turns them into markup.

There is no way to put a ready-made piece of HTML into an element, and tags and attributes are closed lists: no script,
no event handler, no address outside the page.  What comes from a language model can therefore only ever be text.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Literal, Union

Tag = Literal[
    "a", "article", "body", "caption", "code", "dd", "details", "div", "dl", "dt", "footer", "h1", "h2", "h3", "h4", "header",
    "li", "main", "nav", "ol", "p", "pre", "section", "span", "strong", "summary", "table", "tbody", "td", "th",
    "thead", "tr", "ul",
]  # fmt: skip
_INLINE = frozenset({"a", "code", "span", "strong", "summary"})

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)

# What a reader cannot see, or what changes the order of what he sees: controls, soft hyphen, direction marks and overrides,
# zero-width characters, line separators, fillers, lone surrogates, annotation and tag characters.  Line feed and tab stay.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True)
class Element:
    """One element; `children` are elements and plain text."""

    tag: Tag
    children: tuple[Child, ...] = ()
    attributes: tuple[tuple[Literal["class", "id", "href", "scope"], str], ...] = ()


Child = Union[str, Element]


def element(
    tag: Tag, *children: Child, style: str = "", anchor: str = "", target: str = "", scope: str = ""
) -> Element:
    """An element of `children`; `style` is its class, `anchor` its id, `target` the anchor on this page it links to."""
    given = (("class", style), ("id", anchor), ("href", target and f"#{target}"), ("scope", scope))
    return Element(tag, children, tuple((name, value) for name, value in given if value))  # type: ignore[misc]


def visible(text: str) -> str:
    """`text` with every unseen character written as an escape; ends of line become LF first."""
    return _UNSEEN.sub(_escape_of, text.replace("\r\n", "\n"))


def page(title: str, style_sheet: str, *body: Element) -> str:
    """A whole HTML document that loads nothing and runs nothing; lines end with LF.

    `style_sheet` is the program's own text and goes in as it is.
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
        _write(child, parts)
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


def _write(child: Child, parts: list[str]) -> None:
    if isinstance(child, str):
        parts.append(_text(child))
        return
    attributes = "".join(f' {name}="{html.escape(visible(value), quote=True)}"' for name, value in child.attributes)
    parts.append(f"<{child.tag}{attributes}>")
    for inner in child.children:
        _write(inner, parts)
    # A line break after each block keeps the file readable in a diff; it is never inside running text.
    parts.append(f"</{child.tag}>" if child.tag in _INLINE else f"</{child.tag}>\n")


def _text(text: str) -> str:
    """Escaped text; unseen characters stand out, so that they differ from the same escape typed by hand."""
    escaped = html.escape(text.replace("\r\n", "\n"), quote=True)
    return _UNSEEN.sub(lambda match: f'<mark class="unseen">{_escape_of(match)}</mark>', escaped)


def _escape_of(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
