"""The one rule for names and paths inside a bundle.

It holds for every operating system at once: no upper case (case-folding collisions), no name that Windows reserves, no
leading dot, no separator but ``/``.  Verified by pattern, never by asking the file system.
"""

from __future__ import annotations

import re

from alphaseal.errors import MalformedError

SEGMENT_PATTERN = r"[a-z0-9_][a-z0-9_-]*(\.[a-z0-9_-]+)*"
NAME_PATTERN = rf"^{SEGMENT_PATTERN}$(?!\n)"
PATH_PATTERN = rf"^{SEGMENT_PATTERN}(/{SEGMENT_PATTERN})*$(?!\n)"
MAXIMUM_SEGMENT = 64
MAXIMUM_PATH = 120

_NAME = re.compile(NAME_PATTERN)
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{device}{digit}" for device in ("com", "lpt") for digit in range(10)]
)


def is_name(text: str) -> bool:
    """True where `text` is one allowed path segment (also the rule for bundle names)."""
    # Windows reserves a device name with any extension: nul.txt is the device.
    return len(text) <= MAXIMUM_SEGMENT and _NAME.match(text) is not None and text.partition(".")[0] not in _RESERVED


def check_name(text: str, where: str) -> str:
    """Return `text`, or raise MalformedError ``name.rule``."""
    if not is_name(text):
        raise MalformedError(
            "name.rule",
            "name breaks the naming rule",
            where=where,
            expected=f"at most {MAXIMUM_SEGMENT} characters of a-z 0-9 _ - with inner dots, no name reserved by Windows",
            found=repr(text[:80]),
        )
    return text


def check_path(text: str, where: str) -> str:
    """Return `text`, or raise MalformedError ``path.rule``: a relative path of allowed segments joined by ``/``."""
    if len(text) > MAXIMUM_PATH or not all(is_name(segment) for segment in text.split("/")):
        raise MalformedError(
            "path.rule",
            "path breaks the naming rule",
            where=where,
            expected=f"segments of a-z 0-9 _ - with inner dots joined by '/', at most {MAXIMUM_PATH} characters",
            found=repr(text[:160]),
        )
    return text
