"""What the trading side accepts.  Trust is a required argument everywhere; it never comes from a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import NotTrustedError

if TYPE_CHECKING:
    from .manifest import Manifest


@dataclass(frozen=True)
class Trust:
    """Which bundles are accepted.

    `Trust.unsigned()` accepts a bundle without looking at signatures; whoever uses it has made sure of its origin in
    another way.
    """

    allow_unsigned: bool = False

    @classmethod
    def unsigned(cls) -> Trust:
        """Accept bundles that nobody signed (tests, a producer's own look at its output)."""
        return cls(allow_unsigned=True)

    def check(self, manifest: Manifest, manifest_bytes: bytes, envelope: bytes | None) -> None:
        """Return if the bundle is accepted; NotTrustedError otherwise."""
        if not self.allow_unsigned:
            raise NotTrustedError(
                "trust.unsigned",
                "no trusted signature" if envelope is not None else "the bundle is not signed",
                where=manifest.name,
                next_step="pass --allow-unsigned if you know where the bundle comes from",
            )
