"""What the trading side accepts.  Trust is a required argument everywhere; it never comes from a bundle.

The judgement has two halves.  `Trust.check_signatures` works on raw bytes, before anything of the manifest is parsed:
signatures, keys, revocations, the number of signers.  `Trust.check_facts` needs the parsed manifest: expiry, name,
sequence, readiness.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from alphaseal.errors import AlphasealError, ExpiredError, NotTrustedError, RollbackError, UsageError
from alphaseal.format import instants
from alphaseal.format.manifest import FORMATS, digest

if TYPE_CHECKING:
    from alphaseal.format.manifest import Manifest
    from alphaseal.trust.policy import Key, TrustFile

_FIRST_YEAR = 1970
_ADD_KEY = "if you know these keys, add them: alphaseal trust add FILE --key PUB"
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
        from alphaseal.trust import envelope

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
        _check_thresholds(policy, signers, unknown, now := self.now())
        return tuple(Signer(key.name, key.role, key.id) for key in signers if _problem(policy, key, now) is None)

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
            _check_age(self.policy, manifest, self._clock())
            _check_succession(self.policy, manifest)
            _check_format(self.policy, manifest)
            _check_ready(self.policy, manifest)


def _check_thresholds(policy: TrustFile, signers: list[Key], unknown: set[str], now: str) -> None:
    """Distinct keys are counted (an envelope has one signature of each key, a key one role), never signatures."""
    for role, needed in sorted(policy.thresholds.items()):
        of_role = [key for key in signers if key.role == role]
        problems = [problem for key in of_role if (problem := _problem(policy, key, now)) is not None]
        if len(of_role) - len(problems) >= needed:
            continue
        if problems:
            # Without these the number might have been reached: they are what the owner must look at.
            raise problems[0]
        if revoked := sorted(unknown & set(policy.revoked_keys)):
            raise _revoked(revoked[0])
        expected = f"{needed} signature(s) of role {role!r}, by different keys"
        if not signers:
            found = ", ".join(sorted(unknown))[:200]
            raise NotTrustedError(
                "trust.unknown_key", "signed by unknown keys only", expected=expected, found=found, next_step=_ADD_KEY
            )
        raise NotTrustedError(
            "trust.too_few",
            "too few signatures",
            expected=expected,
            found=str(len(of_role)),
            next_step="have it approved",
        )


def _problem(policy: TrustFile, key: Key, now: str) -> AlphasealError | None:
    """What keeps a known key from counting at this instant."""
    if key.id in policy.revoked_keys:
        return _revoked(f"{key.name} ({key.id})")
    if key.not_after is not None and now >= key.not_after:
        return ExpiredError(
            "trust.key_expired",
            "the signing key is expired",
            where=key.name,
            expected=f"before {key.not_after}",
            found=now,
            next_step="have the bundle signed by a current key",
        )
    if key.not_before is not None and now < key.not_before:
        return ExpiredError(
            "trust.key_not_yet_valid",
            "the signing key is not valid yet",
            where=key.name,
            expected=f"from {key.not_before} on",
            found=now,
        )
    return None


def _revoked(found: str) -> NotTrustedError:
    return NotTrustedError(
        "trust.key_revoked", "signed by a revoked key", found=found, next_step="have the bundle signed by a trusted key"
    )


def _check_age(policy: TrustFile, manifest: Manifest, clock: datetime) -> None:
    """DSSE signs no date of its own: the age of a signature is that of the `created` that it covers."""
    if policy.maximum_age_days is None:
        return
    oldest, now = instants.write(clock - timedelta(days=policy.maximum_age_days)), instants.write(clock)
    if manifest.created < oldest:
        raise ExpiredError(
            "trust.too_old",
            "the bundle is older than the trust file allows",
            where=manifest.name,
            expected=f"created {oldest} or later ({policy.maximum_age_days} days)",
            found=manifest.created,
            next_step="use a newer bundle",
        )
    if manifest.created > now:
        # A date in the future would take longest to grow too old.
        raise ExpiredError(
            "trust.created_in_future",
            "the bundle was created later than now",
            where=manifest.name,
            expected=f"{now} or earlier",
            found=manifest.created,
            next_step="look at this machine's clock",
        )


def _check_succession(policy: TrustFile, manifest: Manifest) -> None:
    if policy.bundles is None:
        return
    rule = policy.bundles.get(manifest.name)
    if rule is None:
        raise RollbackError(
            "trust.name",
            "another bundle than asked for",
            where="name",
            expected=", ".join(sorted(policy.bundles))[:200] or "no name yet (alphaseal trust add FILE --bundle NAME)",
            found=manifest.name,
        )
    if manifest.sequence < rule.lowest_sequence:
        raise RollbackError(
            "trust.sequence",
            "the bundle is older than the trust file allows",
            where=manifest.name,
            expected=f"sequence {rule.lowest_sequence} or later",
            found=str(manifest.sequence),
            next_step="use a newer bundle",
        )


def _check_format(policy: TrustFile, manifest: Manifest) -> None:
    if FORMATS.index(manifest.format) < FORMATS.index(policy.lowest_format):
        raise NotTrustedError(
            "trust.format",
            "the bundle is of an older format, which lacks guards of the live day",
            where=manifest.name,
            expected=f"format {policy.lowest_format} or later, as the trust file asks",
            found=manifest.format,
            next_step="build the bundle again with the present alphaseal-convert, and sign it",
        )


def _check_ready(policy: TrustFile, manifest: Manifest) -> None:
    if policy.require_ready and not manifest.eligibility.ready:
        raise NotTrustedError(
            "trust.not_ready",
            "the bundle is not ready for trading",
            where=manifest.name,
            expected="a ready bundle, or require_ready false in the trust file",
            found=", ".join(reason.code for reason in manifest.eligibility.reasons),
        )
