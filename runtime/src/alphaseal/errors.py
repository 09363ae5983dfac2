"""Every error that leaves alphaseal: one family, one line for people, fields for programs.

The classes say who must act; `exit` is the status that the commands end with (the table is in spec/bundle-v1.md);
`code` is the stable name of the single rule that was broken, such as ``features.missing_column``.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

from alphaseal.plain_text import printable

E = TypeVar("E", bound="AlphasealError")


class AlphasealError(Exception):
    """Base of all errors of the runtime and the converter.

    `message` says what was wrong, `where` the file, JSON path or column, `expected` and `found` the two sides of the
    comparison that failed, `next_step` what the reader can do about it.  ``str(error)`` is one line with all of them.
    """

    exit: ClassVar[int] = 1

    def __init__(
        self,
        code: str,
        message: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = None if where is None else _shortened(where)
        self.expected = expected
        self.found = found
        self.next_step = next_step

    def saying(
        self: E,
        *,
        message: str | None = None,
        where: str | None = None,
        found: str | None = None,
        next_step: str | None = None,
    ) -> E:
        """A new error of the same rule that says this instead, for whoever knows more of the place than its finder."""
        return type(self)(
            self.code,
            self.message if message is None else message,
            where=self.where if where is None else where,
            expected=self.expected,
            found=self.found if found is None else found,
            next_step=self.next_step if next_step is None else next_step,
        )

    def __str__(self) -> str:
        parts = [self.message]
        if self.where is not None:
            parts.append(f"in {self.where}")
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.next_step is not None:
            parts.append(f"next: {self.next_step}")
        # LLM texts and file names end up in messages: none must forge a second line, or act on who reads it.
        return printable(["; ".join(parts)])


MAXIMUM_WHERE = 400
"""Letters of a place in a message: a path may have thousands."""


def _shortened(where: str) -> str:
    """Beginning and end of a long place: the end names the file."""
    if len(where) <= MAXIMUM_WHERE:
        return where
    half = (MAXIMUM_WHERE - 1) // 2
    return f"{where[:half]}…{where[-half:]}"


class UsageError(AlphasealError):
    """The caller asked for something that does not exist or does not go together."""

    exit = 2


class NotReadableError(AlphasealError):
    """A file or directory that was named cannot be read."""

    exit = 3


class DifferentError(AlphasealError):
    """Two bundles differ, and the caller asked to be told by the exit status."""

    exit = 4


class MalformedError(AlphasealError):
    """Manifest, envelope or trust file break the format, or are of an unknown version."""

    exit = 10


class DigestError(AlphasealError):
    """Size or digest of a file differs from the manifest."""

    exit = 11


class TreeError(AlphasealError):
    """Files are missing, extra, or not plain files."""

    exit = 12


class SignatureError(AlphasealError):
    """A signature by a known key does not verify."""

    exit = 13


class NotTrustedError(AlphasealError):
    """Unknown or revoked key or digest, too few signatures, unsigned, or not ready where readiness is required."""

    exit = 14


class ExpiredError(AlphasealError):
    """The bundle or a key of its chain is expired."""

    exit = 15


class RollbackError(AlphasealError):
    """The sequence number is too low, or it is another bundle than the one asked for."""

    exit = 16


class PolicyError(AlphasealError):
    """A model or data file of the bundle breaks the policy of the format."""

    exit = 17


class InputError(AlphasealError):
    """The caller's input data do not fit the bundle's contract."""

    exit = 18


class SelfTestError(AlphasealError):
    """The golden rows do not give the recorded scores on this machine."""

    exit = 19
