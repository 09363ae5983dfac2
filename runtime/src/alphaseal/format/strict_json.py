"""JSON as this format reads and writes it: one byte form out, no second meaning in.

The writer sorts keys, indents by two spaces, ends lines with LF and the text with one LF.  The reader refuses what
parsers disagree about: duplicate keys, NaN and infinities, integers beyond 2**53, a byte order mark, invalid UTF-8,
lone surrogates, deep nesting, trailing bytes.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import msgspec

from alphaseal.errors import MalformedError

MAXIMUM_DEPTH = 32
MAXIMUM_INTEGER = 2**53
MAXIMUM_NUMBER_LENGTH = 64
MAXIMUM_BRACKETS = 1 << 18
MAXIMUM_COMMAS = 1 << 19
"""Bounds of what a text becomes in memory: an array of a few bytes takes a hundred."""

_STRING = re.compile(r'"[^"]*"?')
_NOT_BRACKETS = re.compile(r"[^\[\]{}]+")


def dumps(value: Any) -> bytes:
    """The one byte form of a JSON value; ValueError where it holds NaN or an infinity."""
    # With an indent json writes in Python, ten times slower: it writes in one line, and msgspec breaks the lines.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return msgspec.json.format(text.encode("utf-8"), indent=2) + b"\n"


def loads(data: bytes, *, where: str, maximum_bytes: int) -> Any:
    """Parse strictly; MalformedError (codes ``json.*``) says which rule was broken and where."""
    if len(data) > maximum_bytes:
        raise MalformedError(
            "json.size",
            "JSON is too large",
            where=where,
            expected=f"at most {maximum_bytes} bytes",
            found=f"{len(data)} bytes",
        )
    if data.startswith(b"\xef\xbb\xbf"):
        raise MalformedError("json.bom", "JSON starts with a byte order mark", where=where, expected="plain UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(
            "json.encoding", "JSON is not UTF-8", where=where, found=f"invalid byte at {error.start}"
        ) from None
    _check_depth(text, where)
    reader = _Reader(where)
    try:
        value = json.loads(
            text,
            object_pairs_hook=reader.pairs,
            parse_constant=reader.constant,
            parse_int=reader.integer,
            parse_float=reader.number,
        )
    except json.JSONDecodeError as error:
        raise MalformedError(
            "json.syntax", f"not JSON: {error.msg}", where=f"{where}, line {error.lineno} column {error.colno}"
        ) from None
    if "\\u" in text:
        reader.check_strings(value)
    return value


def _check_depth(text: str, where: str) -> None:
    """Before parsing: json's own reader is recursive.  A string that never ends reaches to the end of the text."""
    # Without escapes (a backslash pair first, so that its second half escapes nothing) a string ends at the next quote.
    plain = _STRING.sub("", text.replace("\\\\", "").replace('\\"', ""))
    if plain.count("[") + plain.count("{") > MAXIMUM_BRACKETS or plain.count(",") > MAXIMUM_COMMAS:
        raise MalformedError(
            "json.size",
            "JSON has too many parts",
            where=where,
            expected=f"at most {MAXIMUM_BRACKETS} arrays and objects, and {MAXIMUM_COMMAS} commas",
        )
    depth = deepest = 0
    for bracket in _NOT_BRACKETS.sub("", plain):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    if deepest > MAXIMUM_DEPTH:
        raise MalformedError(
            "json.depth",
            "JSON is nested too deeply",
            where=where,
            expected=f"at most {MAXIMUM_DEPTH} levels",
            found=str(deepest),
        )


class _Reader:
    """The hooks of one parse; they know where they are reading for their messages."""

    def __init__(self, where: str) -> None:
        self.where = where

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise MalformedError(
                "json.duplicate_key", "JSON object has a key twice", where=self.where, found=repr(repeated[:80])
            )
        return result

    def constant(self, text: str) -> NoReturn:
        raise MalformedError("json.number", "JSON holds a number that JSON does not have", where=self.where, found=text)

    def integer(self, text: str) -> int:
        if len(text) > MAXIMUM_NUMBER_LENGTH or abs(int(text)) > MAXIMUM_INTEGER:
            raise MalformedError(
                "json.number",
                "integer is too large",
                where=self.where,
                expected="at most 2**53 in magnitude",
                found=text[:40],
            )
        return int(text)

    def number(self, text: str) -> float:
        value = float(text) if len(text) <= MAXIMUM_NUMBER_LENGTH else math.inf
        if not math.isfinite(value):
            raise MalformedError(
                "json.number", "number is outside the range of a double", where=self.where, found=text[:40]
            )
        return value

    def check_strings(self, value: Any) -> None:
        """Lone surrogates pass json's reader, through escapes only; they have no UTF-8 form."""
        if isinstance(value, str):
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise MalformedError("json.surrogate", "JSON string holds a lone surrogate", where=self.where) from None
        elif isinstance(value, list):
            for item in value:
                self.check_strings(item)
        elif isinstance(value, dict):
            for key, item in value.items():
                self.check_strings(key)
                self.check_strings(item)
