"""Whether a run is one of daily bars: nothing else is carried by a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from alphaseal_converter.errors import RefusalError

DAY = frozenset(("day", "1day", "1d", "d"))
"""qlib's words for it (``qlib.utils.time.Freq``), in lower case."""


def require_days(dataset: Mapping[str, Any], where: str) -> None:
    """RefusalError ``run.frequency`` where the configuration of a dataset names another frequency, in whatever block."""
    for path, given in _frequencies(dataset, "dataset"):
        if given.lower() not in DAY:
            raise not_of_days(f"{where}, {path}", given)


def not_of_days(where: str, found: str) -> RefusalError:
    """The refusal of what is not of days."""
    return RefusalError(
        "run.frequency",
        "the run is not of daily bars, and a bundle carries models of days only",
        where=where,
        expected="freq: day",
        found=found,
        next_step="train on daily bars (freq: day); what was trained on minutes has no bundle",
    )


def _frequencies(block: Any, path: str) -> Iterator[tuple[str, str]]:
    """(where it stands, the frequency) of every ``freq`` in the blocks below; one for each group of columns, too."""
    if isinstance(block, Mapping):
        for name, value in block.items():
            inside = f"{path}.{name}"
            if name == "freq":
                groups = value.values() if isinstance(value, Mapping) else [value]
                yield from ((inside, text) for text in groups if isinstance(text, str))
            else:
                yield from _frequencies(value, inside)
    elif isinstance(block, list | tuple):
        for number, value in enumerate(block):
            yield from _frequencies(value, f"{path}[{number}]")
