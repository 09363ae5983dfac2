"""When a bundle was made: never the clock's time, so that bytes repeat."""

from __future__ import annotations

import os
from datetime import datetime, timezone

from alphaseal.errors import UsageError
from alphaseal_converter.locate.parts import RunParts


def given_creation_time() -> datetime | None:
    """SOURCE_DATE_EPOCH as an instant, None where it is not set; UsageError where it is no time."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return None
    # Twelve digits reach the year 9999; more would make other libraries that read the variable fail on their own.
    if not (epoch.isascii() and epoch.isdigit()) or int(epoch[:20]) > 253_402_300_799:
        raise UsageError(
            "usage.source_date_epoch",
            "SOURCE_DATE_EPOCH is not a time",
            expected="seconds since 1970",
            found=repr(epoch[:40]),
            next_step="set it to whole seconds since 1970, or unset it",
        )
    return datetime.fromtimestamp(int(epoch), timezone.utc)


def creation_time(parts: RunParts) -> datetime:
    """SOURCE_DATE_EPOCH, else the run's end, else the last recorded prediction: never the clock, so bytes repeat."""
    given = given_creation_time()
    if given is not None:
        return given
    if parts.run is not None and parts.run.end_time is not None:
        return parts.run.end_time
    if parts.predictions is not None:
        last = parts.predictions.dates.max().astype(object)
        return datetime(last.year, last.month, last.day, tzinfo=timezone.utc)
    raise UsageError(
        "usage.created", "nothing says when the model was made", next_step="set SOURCE_DATE_EPOCH to seconds since 1970"
    )
