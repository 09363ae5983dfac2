"""What the sections of the card are made of: facts, tables, texts by others, numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from alphaseal.format.manifest import Manifest, Segment
from alphaseal_converter.card.markup import Child, Element, element
from alphaseal_converter.card.performance import Performance

Fact = tuple[str, Union[Child, None]]
"""Name and value; None is not recorded."""


@dataclass(frozen=True)
class Card:
    """What the sections may show: the manifest without the card's own entry, the texts of the sources by bundle path,
    and the numbers behind the pictures.
    """

    manifest: Manifest
    sources: Mapping[str, str]
    digest_note: str | None
    performance: Performance


def fact_list(*facts: Fact) -> Element:
    """Names and values; what is None is shown as not recorded."""
    return element(
        "dl",
        *(part for name, value in facts for part in (element("dt", name), element("dd", or_absent(value)))),
        style="facts",
    )


def or_absent(value: Child | None) -> Child:
    return element("span", "not recorded", style="none") if value is None or value == "" else value


def absent(text: str) -> Element:
    return element("p", text, style="none")


def data_table(heads: Sequence[str], rows: Sequence[Sequence[Child]]) -> Element:
    """A table in a box that scrolls by itself; a head that starts with ``#`` is of numbers, with ``~`` of long
    text, with ``=`` of bars.
    """
    styles = [{"#": "number", "~": "wide", "=": "bars"}.get(head[:1], "short") for head in heads]
    titles = [head if style == "short" else head[1:] for head, style in zip(heads, styles, strict=True)]
    head_row = element(
        "tr", *(element("th", title, style=style, scope="col") for title, style in zip(titles, styles, strict=True))
    )
    body = (
        element("tr", *(element("td", value, style=style) for value, style in zip(row, styles, strict=True)))
        for row in rows
    )
    return element("div", element("table", element("thead", head_row), element("tbody", *body)), style="scroll")


def prose(text: str | None) -> Element | None:
    """Text by others, with its own line breaks."""
    return element("div", text, style="text") if text else None


def code_text(text: str | None) -> Element | None:
    return element("code", text, style="text") if text else None


def variable_list(variables: Mapping[str, str] | None) -> Element | None:
    return fact_list(*((name, prose(text)) for name, text in sorted(variables.items()))) if variables else None


def optional_number(number: int | None) -> str | None:
    return None if number is None else str(number)


def badge(text: str, mood: str) -> Element:
    return element("span", text, style=f"badge {mood}")


def source_text(card: Card, path: str) -> Element:
    text = card.sources.get(path)
    if text is None:
        return absent(f"The text of {path} is not shown here.")
    lines = len(text.splitlines())
    return element(
        "details", element("summary", f"{path} ({counted(lines, 'line')})"), element("pre", element("code", text))
    )


def plain_value(value: Any, depth: int = 0) -> Child:
    """A JSON value: objects as facts, down to a depth where only their JSON text is readable."""
    if isinstance(value, Mapping) and value and depth < 3:
        return fact_list(*((str(key), plain_value(item, depth + 1)) for key, item in sorted(value.items())))
    if isinstance(value, list) and value and not any(isinstance(item, list | Mapping) for item in value):
        return ", ".join(scalar(item) for item in value)
    return scalar(value)


def scalar(value: Any) -> str:
    """A single value with all its digits."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def short_number(value: float | None) -> str:
    """Five significant digits; a dash where nothing is recorded."""
    return "–" if value is None else f"{value:.5g}"


def part_of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def byte_size(size: int) -> str:
    return f"{size:,} bytes"


def segment_period(segment: Segment | None) -> str:
    return "not recorded" if segment is None else f"{segment.first} to {segment.last or 'open'}"


def as_words(identifier: str) -> str:
    return identifier.replace("_", " ")


def by_number(key: str) -> tuple[float, str]:
    """Sorts keys such as ``"5"``, ``"10"`` or ``"0.05"`` as numbers, others behind them by text."""
    try:
        number = float(key)
    except ValueError:
        number = math.inf
    return (number if math.isfinite(number) else math.inf), key


ORIGINS = {"alpha": "alpha", "sota": "SOTA", "base": "base", "unknown": "of unknown origin"}
