"""What the trading side accepts.  Trust is a required argument everywhere; it never comes from a bundle.

The judgement has two halves.  `Trust.check_signatures` works on raw bytes, before anything of the manifest is parsed:
signatures, keys, revocations, the number of signers.  `Trust.check_facts` needs the parsed manifest: expiry, name,
sequence, readiness.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from alphaseal.errors import ExpiredError, NotTrustedError, UsageError
from alphaseal.format import instants
from alphaseal.format.manifest import digest

if TYPE_CHECKING:
    from alphaseal.format.manifest import Manifest
    from alphaseal.trust.policy import TrustFile

_FIRST_YEAR = 1970
_SINGLE_KEY_WARNING = (
    "trusted by --key alone: any bundle of this key is accepted, whatever its name and sequence, ready or not"
)


@dataclass(frozen=True)
class Signer:
    """A key whose signature counted."""

    name: str
    role: str
    key: str


@dataclass(frozen=True)
class Trust:
    """Which bundles are accepted.

    `Trust.load` reads the owner's trust file; `Trust.for_key` trusts one key for everything; `Trust.unsigned` accepts a
    bundle without looking at signatures: whoever uses it has made sure of its origin in another way.  `at` is the instant
    that counts for every validity; None is the moment of each check.
    """

    allow_unsigned: bool = False
    policy: TrustFile | None = None
    at: datetime | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.at is not None and (self.at.tzinfo is None or self.at.year < _FIRST_YEAR):
            raise UsageError(
                "usage.at", "not an instant", expected=f"a time zone, and {_FIRST_YEAR} or later", found=str(self.at)
            )

    @classmethod
    def unsigned(cls, *, at: datetime | None = None) -> Trust:
        """Accept bundles that nobody signed (tests, a producer's own look at its output)."""
        return cls(allow_unsigned=True, at=at)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, at: datetime | None = None) -> Trust:
        """The trust file at `path`; NotReadableError 3, MalformedError 10."""
        from alphaseal.trust import policy as trust_file

        return cls(policy=trust_file.load(Path(path)), at=at)

    @classmethod
    def for_key(cls, path: str | os.PathLike[str], *, at: datetime | None = None) -> Trust:
        """Trust the public key in the PEM file `path` for any bundle, ready or not; `warnings` says so."""
        from alphaseal.trust import keys
        from alphaseal.trust import policy as trust_file

        return cls(
            policy=trust_file.single_key(keys.read_public_key(Path(path))), at=at, warnings=(_SINGLE_KEY_WARNING,)
        )

    def now(self) -> str:
        """The instant that counts, in its written form: such texts compare as the instants do."""
        return instants.write(self._clock())

    def _clock(self) -> datetime:
        return self.at if self.at is not None else datetime.now(timezone.utc)

    def check_signatures(self, manifest_bytes: bytes, envelope_bytes: bytes | None) -> tuple[Signer, ...]:
        """Who signed these bytes, as far as it counts; nobody where signatures are not asked for.

        MalformedError 10, SignatureError 13, NotTrustedError 14, ExpiredError 15 (a key outside its validity).
        """
        if self.allow_unsigned:
            return ()
        if self.policy is None:
            raise NotTrustedError(
                "trust.unsigned",
                "no trusted signature" if envelope_bytes is not None else "the bundle is not signed",
                next_step="pass --trust FILE or --key PUB, or --allow-unsigned if you know where the bundle comes from",
            )
        if envelope_bytes is None:
            raise NotTrustedError(
                "trust.unsigned", "the bundle is not signed", next_step="have it signed: alphaseal-convert sign"
            )
        from alphaseal.trust import conditions, envelope

        policy = self.policy
        signed = envelope.parse(envelope_bytes)
        # A revoked or expired key is still a known one: a wrong signature by it is no accident.
        known = {key.id: key for key in policy.keys}
        ids = envelope.verify(signed, manifest_bytes, {keyid: key.raw for keyid, key in known.items()})
        if (found := digest(manifest_bytes)) in policy.revoked_digests:
            raise NotTrustedError(
                "trust.digest_revoked",
                "this bundle was revoked",
                found=f"sha256 {found}",
                next_step="use another bundle",
            )
        signers = [known[keyid] for keyid in ids]
        unknown = signed.signatures.keys() - known.keys()
        conditions.check_thresholds(policy, signers, unknown, now := self.now())
        return tuple(
            Signer(key.name, key.role, key.id) for key in signers if conditions.problem_of(policy, key, now) is None
        )

    def check_facts(self, manifest: Manifest) -> None:
        """What the trust asks of the manifest itself: ExpiredError 15, RollbackError 16, NotTrustedError 14.

        A bundle's own expiry holds for unsigned ones too.
        """
        now = self.now()
        if manifest.expires is not None and now >= manifest.expires:
            raise ExpiredError(
                "trust.bundle_expired",
                "the bundle is expired",
                where=manifest.name,
                expected=f"before {manifest.expires}",
                found=now,
                next_step="use a newer bundle",
            )
        if self.policy is not None:
            from alphaseal.trust import conditions

            conditions.check_age(self.policy, manifest, self._clock())
            conditions.check_succession(self.policy, manifest)
            conditions.check_format(self.policy, manifest)
            conditions.check_ready(self.policy, manifest)
