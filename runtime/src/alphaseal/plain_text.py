"""Texts of others in what we print: bounded, on one line, and without a meaning for the terminal, for a log or for Markdown.

Any text may come from a file, so every text is taken for one: what is printed has the type `Printable`, which `printable`
alone makes, line by line, and the console prints nothing else.  The rule is section 12.5 of the specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NewType

Printable = NewType("Printable", str)
"""Lines of which none can act on a terminal, or be taken for a command by what reads the log of a CI system."""

MAXIMUM = 160
_QUIET = re.compile(r"[^`|\\\n]+")

# What a reader cannot see, or what changes the order of what he sees: controls, format characters (soft hyphen, direction
# marks and overrides, zero-width characters, annotations, tags), separators of lines and paragraphs, fillers, variation
# selectors, lone surrogates, private characters.
_UNSEEN_RANGES = (
    (0x00, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x34F, 0x34F), (0x600, 0x605), (0x61C, 0x61C), (0x6DD, 0x6DD), (0x70F, 0x70F),
    (0x890, 0x891), (0x8E2, 0x8E2), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F), (0x2028, 0x202E),
    (0x2060, 0x206F), (0x3164, 0x3164), (0xD800, 0xF8FF), (0xFDD0, 0xFDEF), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB), (0xFFFE, 0xFFFF), (0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF), (0xF0000, 0x10FFFF),
)  # fmt: skip
UNSEEN = re.compile("[" + "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in _UNSEEN_RANGES) + "]")
_COLONS = re.compile(r"^(\s*):(?=:)")
"""GitHub takes a line for a command that begins with ``::``, blanks before it or not."""
_BRACKETS = re.compile(r"#(#[\w.-]*\[)")
"""``##[`` and ``##vso[`` and their like are commands of GitHub, Azure and TeamCity anywhere in a line."""
_LINE_END = re.compile(r"%(?=0[aAdD])")
"""A line end in the text of such a command."""


def visible(text: str, but: str = "") -> str:
    """`text` with every unseen character, but those of `but`, as an escape: none moves the cursor, hides or turns text around."""
    if text.isascii() and text.isprintable():
        return text
    return UNSEEN.sub(lambda match: match[0] if match[0] in but else escape(match[0]), text)


def escape(character: str) -> str:
    """One character as the escape that Python would read."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable(lines: Iterable[str]) -> Printable:
    """Lines for a terminal or a log.  Each text is one line: a line end inside is an escape like all that is unseen."""
    return Printable("\n".join(_line(text) for text in lines))


def _line(text: str) -> str:
    shown = visible(text)
    if ":" in shown:
        shown = _COLONS.sub(r"\1\\x3a", shown)
    if "##" in shown:
        shown = _BRACKETS.sub(r"\\x23\1", shown)
    return _LINE_END.sub(r"\\x25", shown) if "%" in shown else shown


def printable_json(text: str) -> Printable:
    """One JSON value that ``json.dumps`` wrote in ASCII: the escapes are JSON's own, so that the value stays the same."""
    assert text.isascii()
    return Printable(text.replace("\x7f", "\\u007f").replace("##", "#\\u0023"))


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
