"""Values and texts of others as a manifest carries them: plain, bounded, valid UTF-8."""

from __future__ import annotations

import math
from datetime import date, datetime, timezone
from typing import Any

_TEXT_LIMIT = 100_000


def json_value(value: Any) -> Any:
    """A plain value as JSON carries it: dates as ISO text, tuples as lists, what JSON cannot say as text."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int) and abs(value) <= 2**53:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return str(value)


def instant_text(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def bounded_text(value: str | None) -> str | None:
    """LLM text, cut to the format's limit; a lone surrogate has no UTF-8 form and becomes its escape."""
    if value is None:
        return None
    return value[:_TEXT_LIMIT].encode("utf-8", "backslashreplace").decode("utf-8")


def short_text(value: str | None) -> str | None:
    text = bounded_text(value)
    return None if text is None else text[:1000]
