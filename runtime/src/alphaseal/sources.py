"""The units of each source of bars, kept in the store of a trading side as `sources.json`.

Anchors are bars of a source for the stocks and days of a bundle's golden bars; they show the units of that source.  They hold
for every bundle with the same golden bars; a bundle with other golden bars needs new anchors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from alphaseal import store
from alphaseal.bars.units import Anchors
from alphaseal.errors import UsageError
from alphaseal.format.names import is_name
from alphaseal.format.parts import Instant, Name, Part

FILE_NAME = "sources.json"


class Entry(Part, frozen=True, kw_only=True):
    """What one file of anchors showed."""

    at: Annotated[Instant, Meta(description="by the clock that counted then")]
    anchors: Anchors


class Sources(Part, frozen=True, kw_only=True):
    """sources.json: the anchors of each source, one for each table of golden bars."""

    format: Literal["1.0"]
    sources: dict[Name, list[Entry]]


def keep(directory: str | os.PathLike[str], name: str, anchors: Anchors, *, at: str) -> None:
    """Keep what anchors showed of the source `name`, in the place of older ones for the same golden bars.

    `at` is an instant.  UsageError `usage.source` for an invalid name; NotReadableError `store.*`.
    """
    root = Path(directory)
    check_name(name)
    store.make(root)
    with store.locked(root):
        known = _read(root)
        others = [entry for entry in known.sources.get(name, []) if entry.anchors.golden != anchors.golden]
        entries = known.sources | {name: [*others, Entry(at=at, anchors=anchors)]}
        store.replace_file(root, FILE_NAME, msgspec.structs.replace(known, sources=entries))


def kept(directory: str | os.PathLike[str], name: str, golden: str) -> Anchors | None:
    """The anchors of the source `name` for golden bars of this digest; None where it has none.

    UsageError `usage.source`; NotReadableError and MalformedError `store.*` where the file cannot be read.
    """
    check_name(name)
    found = [entry.anchors for entry in _read(Path(directory)).sources.get(name, []) if entry.anchors.golden == golden]
    return found[-1] if found else None


def parse(data: bytes, where: str) -> Sources:
    """Read sources.json strictly, version first; MalformedError (``json.*``, ``store.*``)."""
    return store.document(Sources).read(data, where)


def check_name(name: str) -> None:
    """UsageError `usage.source` where `name` is not a valid name of a source."""
    if not is_name(name):
        raise UsageError(
            "usage.source",
            "not a name for a source of bars",
            where="--source",
            expected="a-z 0-9 _ - with inner dots, such as aistock",
            found=repr(name[:80]),
        )


def _read(root: Path) -> Sources:
    data = store.read_file(root / FILE_NAME)
    return Sources(format="1.0", sources={}) if data is None else parse(data, str(root / FILE_NAME))
