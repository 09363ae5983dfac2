"""Instants of manifests and trust files: UTC, whole seconds, one written form, whose texts compare as the instants do."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def read(text: str) -> datetime | None:
    """The instant that ``YYYY-MM-DDThh:mm:ssZ`` names; None where `text` is of another form or no day of the calendar."""
    if _FORM.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(f"{text[:-1]}+00:00")
    except ValueError:
        return None


def write(instant: datetime) -> str:
    """The written form of an instant with a time zone; parts of a second are left out."""
    return f"{instant.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
