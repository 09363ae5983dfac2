"""Texts and how they are printed (section 12.5 of the specification), for commands in any language."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    "letters of any script": ("因子 ß é → 📈", "因子 ß é → 📈"),
    "a path of Windows": (r"C:\Users\x", r"C:\Users\x"),
    "an escape that was typed": (r"\x1b[31m", r"\x1b[31m"),
    "colours": ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    "the window's title": ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    "a control of eight bits": ("\x9b31m\x85", r"\x9b31m\x85"),
    "back to the line's start": ("bad\rgood", r"bad\x0dgood"),
    "a second line": ("one\ntwo", r"one\x0atwo"),
    "tab, backspace, NUL, DEL": ("\t\x08\x00\x7f", r"\x09\x08\x00\x7f"),
    "text turned around": ("\u202egpj.exe\u202c", r"\u202egpj.exe\u202c"),
    "isolates and marks of direction": ("\u2066a\u2069\u200e\u061c", r"\u2066a\u2069\u200e\u061c"),
    "no width": ("a\u200bb\u200cc\u200dd\u2060e\ufefff", r"a\u200bb\u200cc\u200dd\u2060e\ufefff"),
    "soft hyphen": ("a\xadb", r"a\xadb"),
    "line and paragraph separator": ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
    "fillers": ("\u115f\u1160\u3164\uffa0\u034f", r"\u115f\u1160\u3164\uffa0\u034f"),
    "variation selectors": ("\u2764\ufe0f\U000e0100", r"❤\ufe0f\U000e0100"),
    "tags": ("\U000e0041\U000e007f", r"\U000e0041\U000e007f"),
    "private characters": ("\ue000\U000f0000\U0010fffd", r"\ue000\U000f0000\U0010fffd"),
    "annotations and controls of music": ("\ufff9\U0001d173", r"\ufff9\U0001d173"),
    "spaces that are seen": ("a\xa0b\u3000c", "a\xa0b\u3000c"),
    "a command of GitHub": ("::error file=x::y", r"\x3a:error file=x::y"),
    "a command behind blanks": ("  ::set-output::y", r"  \x3a:set-output::y"),
    "a command behind a wide blank": ("\u3000::error::y", "\u3000\\x3a:error::y"),
    "colons in a line": ("a ::error::y", "a ::error::y"),
    "a command of GitHub's first form": ("a ##[add-mask]y", r"a \x23#[add-mask]y"),
    "a command of Azure": ("a ##vso[task.setvariable variable=x]y", r"a \x23#vso[task.setvariable variable=x]y"),
    "a command of TeamCity": ("##teamcity[message text='y']", r"\x23#teamcity[message text='y']"),
    "three signs": ("###[x]", r"#\x23#[x]"),
    "a heading": ("## Results [1]", "## Results [1]"),
    "a line end in a command's text": ("a%0Ab%0db%0D", r"a\x250Ab\x250db\x250D"),
    "percent": ("100% 0A", "100% 0A"),
    "all at once": ("\n::error::\x1b[31m##[x]\u202e%0A", r"\x0a::error::\x1b[31m\x23#[x]\u202e\x250A"),
}
"""What it is -> (a text, the one line that is printed of it)."""

JSON_TEXTS: dict[str, tuple[str, str]] = {
    "a control and a letter": ("\x1b é \U0001f4c8", r'"\u001b \u00e9 \ud83d\udcc8"'),
    "DEL": ("\x7f", r'"\u007f"'),
    "commands": ("::error::##[x]##vso[y]", r'"::error::#\u0023[x]#\u0023vso[y]"'),
}
"""What it is -> (a text, the string of ``--json`` that stands for it)."""
