"""Everything that a library's own ``predict`` reads from a saved object, and what becomes of it here.

One module per library, data only: for each class the Python attributes that ``predict`` reads, and for each native
parameter whether it reaches a score.  A verdict is one of three:

- *handled*: the converter reads it, or the graph could not come out right without it;
- *refused*: where it is not at its neutral value, the converter refuses with the code that is named;
- *neutral*: no value of it changes a score.

``tools/ledger.py`` records with the real libraries what is read and what changes a score, and fails when a name is not
here or a verdict does not hold.  These modules need nothing but Python 3.8, because old libraries do.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple  # noqa: UP035 - this text runs on Python 3.8

HANDLED, REFUSED, NEUTRAL = "handled", "refused", "neutral"


class Entry(NamedTuple):
    """A verdict, and how it is handled, with which code refused, or why it is neutral."""

    verdict: str
    how: str


Attributes = Mapping[str, Entry]
Ledger = Mapping[str, Attributes]
"""Class as a pickle names it -> its attributes."""


def handled(how: str) -> Entry:
    """The converter makes the same of it as the library."""
    return Entry(HANDLED, how)


def refused(code: str) -> Entry:
    """A value that is not neutral is refused with `code`."""
    return Entry(REFUSED, code)


def neutral(why: str) -> Entry:
    """No value changes a score."""
    return Entry(NEUTRAL, why)


def all_of(entry: Entry, *names: str) -> dict[str, Entry]:
    """The same entry for several names, each of which may hold several, parted by spaces."""
    return {name: entry for group in names for name in group.split()}


WHOLE = all_of(neutral("looked through for names: whether the object is fitted, which parameters it has"), "__dict__")
"""``vars(object)``, which libraries use to list names; what they then read is recorded by name."""
