"""What a caller asks of a table beside its columns: which dates, by whose calendar, in which notation, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alphaseal.format.manifest import InstrumentFormat
    from alphaseal.tables.period import DateRange, Day
    from alphaseal.tables.windows import Calendar


@dataclass(frozen=True)
class Notation:
    """How a table names its stocks, and how the bundle does.

    `source` is the notation of the table ("qlib", "ts") where its codes are to be converted, None where they are the
    bundle's already.  `kind` is the bundle's (a kind of the manifest: "qlib", "ts", "other"), None to take it from
    `pattern`: the regular expression (RE2) that every code must match as a whole in the end, None for that of `kind`, or
    for no check where that is None too.
    """

    source: str | None = None
    kind: str | None = None
    pattern: str | None = None

    @classmethod
    def of(cls, bundle: InstrumentFormat, source: str | None = None) -> Notation:
        """That of a bundle's manifest, for a table in the notation `source`."""
        return cls(source, bundle.kind, bundle.pattern)


AS_WRITTEN = Notation()


@dataclass(frozen=True)
class Limits:
    """The most that is decoded of a parquet file; without `bytes` 100 times its size."""

    rows: int | None = None
    bytes: int | None = None


UNLIMITED = Limits()


@dataclass(frozen=True)
class Request:
    """One `date`, or the range `dates` (both ends included, None is open); of neither is all of the table.

    `calendar` (datetime64[D], ascending) is that of windows, None for the dates of the table.
    """

    date: Day | None = None
    dates: DateRange | None = None
    calendar: Calendar | None = None
    notation: Notation = AS_WRITTEN
    limits: Limits = UNLIMITED


EVERYTHING = Request()
