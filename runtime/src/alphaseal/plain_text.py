"""Texts of others in what we print: bounded, on one line, and without a meaning for the terminal or for Markdown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MAXIMUM = 160
_QUIET = re.compile(r"[^`|\\\n]+")


def visible(text: str) -> str:
    """Control, format and private characters as escapes: none moves the cursor, hides or turns the text around."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if _acts(c) else c for c in text)


def _acts(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")


def one_line(text: str, maximum: int = MAXIMUM) -> str:
    """A text of others on one line of at most `maximum` characters."""
    # Cut first: a text may have megabytes.
    line = visible(" ".join(text[: 4 * maximum].split()))
    cut = len(text) > 4 * maximum or len(line) > maximum
    return line[: maximum - 1] + "…" if cut else line


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def inline_code(text: str, maximum: int = MAXIMUM) -> str:
    """A text of others inside Markdown, table cells included: code, in which nothing is a link, a mention or HTML."""
    line = one_line(text, maximum)
    if not line:
        return "–"
    if _QUIET.fullmatch(line):
        return f"`{line}`"
    # Backticks end code, and a bar ends a cell: as numbered characters in HTML's own code they do neither.
    return f"<code>{''.join(c if c.isalnum() or c == ' ' else f'&#{ord(c)};' for c in line)}</code>"


def fenced(lines: list[str], language: str) -> str:
    """A block of code that its content cannot end."""
    runs = [len(run) for line in lines for run in re.findall("`+", line)]
    fence = "`" * max(3, 1 + max(runs, default=0))
    return "\n".join([fence + language, *lines, fence])
