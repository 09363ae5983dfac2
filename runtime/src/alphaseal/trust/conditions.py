"""What a trust file asks: of the keys that signed, and of what the manifest says of itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from alphaseal.errors import AlphasealError, ExpiredError, NotTrustedError, RollbackError
from alphaseal.format import instants
from alphaseal.format.manifest import FORMATS

if TYPE_CHECKING:
    from alphaseal.format.manifest import Manifest
    from alphaseal.trust.policy import Key, TrustFile

_ADD_KEY = "if you know these keys, add them: alphaseal trust add FILE --key PUB"


def check_thresholds(policy: TrustFile, signers: list[Key], unknown: set[str], now: str) -> None:
    """Distinct keys are counted (an envelope has one signature of each key, a key one role), never signatures."""
    for role, needed in sorted(policy.thresholds.items()):
        of_role = [key for key in signers if key.role == role]
        problems = [problem for key in of_role if (problem := problem_of(policy, key, now)) is not None]
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


def problem_of(policy: TrustFile, key: Key, now: str) -> AlphasealError | None:
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


def check_age(policy: TrustFile, manifest: Manifest, clock: datetime) -> None:
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


def check_succession(policy: TrustFile, manifest: Manifest) -> None:
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


def check_format(policy: TrustFile, manifest: Manifest) -> None:
    if FORMATS.index(manifest.format) < FORMATS.index(policy.lowest_format):
        raise NotTrustedError(
            "trust.format",
            "the bundle is of an older format, which lacks guards of the live day",
            where=manifest.name,
            expected=f"format {policy.lowest_format} or later, as the trust file asks",
            found=manifest.format,
            next_step="build the bundle again with the present alphaseal-convert, and sign it",
        )


def check_ready(policy: TrustFile, manifest: Manifest) -> None:
    if policy.require_ready and not manifest.eligibility.ready:
        raise NotTrustedError(
            "trust.not_ready",
            "the bundle is not ready for trading",
            where=manifest.name,
            expected="a ready bundle, or require_ready false in the trust file",
            found=", ".join(reason.code for reason in manifest.eligibility.reasons),
        )
