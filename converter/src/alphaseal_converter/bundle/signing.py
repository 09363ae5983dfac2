"""Keys and signatures on the producer's side: ``keygen``, ``sign``, ``approve``, ``build --sign``.

What is signed is the exact manifest of a bundle that has just been verified wholly; the signatures of others stay.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import alphaseal
from alphaseal.bundle import Bundle
from alphaseal.disk import files, tree
from alphaseal.errors import AlphasealError, NotReadableError, NotTrustedError, UsageError
from alphaseal.format import manifest as m
from alphaseal.trust import envelope, keys
from alphaseal.trust import policy as trust_file
from alphaseal.trust.keys import SigningKey
from alphaseal_converter.errors import RefusalError


@dataclass(frozen=True)
class Signed:
    """A bundle with its signatures."""

    path: Path
    digest: str
    manifest: m.Manifest
    key: str
    """Id of the key that signed now."""
    signatures: tuple[str, ...]
    """Ids of all keys that have signed."""


def generate_key(prefix: Path, secret: bytes | None) -> tuple[Path, Path, str]:
    """Write ``PREFIX.key`` (for its owner alone, locked by `secret` if there is one) and ``PREFIX.pub``; returns both paths and the key's id.

    UsageError ``key.exists`` where one of them is there: a key is never overwritten.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        KeySerializationEncryption,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    private_path, public_path = (prefix.with_name(f"{prefix.name}.{ending}") for ending in ("key", "pub"))
    private = Ed25519PrivateKey.generate()
    lock: KeySerializationEncryption = BestAvailableEncryption(secret) if secret is not None else NoEncryption()
    public_pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        files.write_new(public_path, public_pem)
        try:
            files.write_new(private_path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock), 0o600)
        except OSError:
            public_path.unlink()
            raise
    except FileExistsError as error:
        raise UsageError(
            "key.exists", "a key of that name is there", where=str(error.filename), next_step="choose another --out"
        ) from None
    except OSError as error:
        raise NotReadableError("output.not_writable", f"cannot write: {error.strerror}", where=str(prefix)) from None
    return private_path, public_path, keys.key_id(private.public_key().public_bytes_raw())


def read_signing_key(source: str, passphrase_variable: str | None) -> SigningKey:
    """The private key that `source` names: a file, ``env:NAME`` (the PEM itself) or ``-`` (standard input)."""
    if source == "-":
        data = sys.stdin.buffer.read(keys.MAXIMUM_KEY_FILE)
    elif source.startswith("env:"):
        data = _variable(source.removeprefix("env:")).encode("utf-8")
    else:
        data = keys.read_key_file(Path(source))
    return keys.load_private_key(data, passphrase(passphrase_variable), "standard input" if source == "-" else source)


def passphrase(variable: str | None) -> bytes | None:
    """The passphrase in an environment variable; None where no variable is named."""
    return _variable(variable).encode("utf-8") if variable is not None else None


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise UsageError("usage.variable", "the environment variable is not set", found=name)
    return value


def sign(path: Path, key: SigningKey) -> Signed:
    """Sign a bundle that verifies wholly; signing again with the same key changes nothing.

    Errors of opening and verifying; SignatureError where its envelope is over another manifest.
    """
    bundle = verified_bundle(path)
    return _add_signature(bundle, key, _existing(bundle))


def approve(path: Path, key: SigningKey, signed_by: Sequence[Path]) -> Signed:
    """A further signature, on a bundle that others have signed.

    NotTrustedError where nobody else has, or one of the public keys `signed_by` has not; SignatureError where a signature
    by one of these is wrong.
    """
    bundle = verified_bundle(path)
    existing = _existing(bundle)
    if existing is None or not existing.signatures.keys() - {key.id}:
        raise NotTrustedError(
            "approve.not_signed",
            "nobody else has signed this bundle",
            where=str(path),
            next_step="alphaseal-convert sign, with the key of the producer",
        )
    required = [keys.read_public_key(file) for file in signed_by]
    known = {keys.key_id(raw): raw for raw in [*required, key.public_key]}
    missing = known.keys() - {key.id} - set(envelope.verify(existing, m.encode(bundle.manifest), known))
    if missing:
        raise NotTrustedError(
            "approve.not_signed",
            "a key that should have signed has not",
            where=str(path),
            found=", ".join(sorted(missing)),
        )
    return _add_signature(bundle, key, existing)


def sign_staged(staging: Path, manifest: m.Manifest, key: SigningKey) -> None:
    """The first signature of a bundle that was just written and verified, before it gets its place."""
    _check_signable(manifest)
    signed = envelope.sign(m.encode(manifest), [key])
    data = envelope.encode(signed)
    _trust_in(key).check_signatures(m.encode(manifest), data)
    files.write_new(staging / tree.ENVELOPE_NAME, data)


def verified_bundle(path: Path) -> Bundle:
    """A bundle that verifies wholly, scores its golden rows here and may be signed; the errors of these steps."""
    bundle = alphaseal.open(path, trust=alphaseal.Trust.unsigned())
    bundle.verify()
    bundle.selftest()
    _check_signable(bundle.manifest)
    return bundle


def _check_signable(manifest: m.Manifest) -> None:
    if manifest.sequence < 1:
        raise RefusalError(
            "sign.sequence",
            "a bundle without a sequence number cannot be signed",
            where=manifest.name,
            expected="a sequence of at least 1",
            found=str(manifest.sequence),
            next_step="build it again with --sequence N, or without: the default is the end of the run",
        )


def _existing(bundle: Bundle) -> envelope.Envelope | None:
    return envelope.parse(bundle.envelope) if bundle.envelope is not None else None


def _add_signature(bundle: Bundle, key: SigningKey, existing: envelope.Envelope | None) -> Signed:
    # The bytes of the manifest are those that were verified: it has one byte form, and was compared with it.
    signed = envelope.sign(m.encode(bundle.manifest), [key], existing)
    data = envelope.encode(signed)
    _trust_in(key).check_signatures(m.encode(bundle.manifest), data)
    place = bundle.directory / tree.ENVELOPE_NAME
    before = bundle.envelope
    try:
        # The temporary file lies beside the bundle: left behind inside, it would be a file that no manifest lists.
        files.replace(place, data, beside=bundle.directory.absolute().parent)
        bundle.require_unchanged()
    except OSError as error:
        raise NotReadableError("output.not_writable", f"cannot write: {error.strerror}", where=str(place)) from None
    except AlphasealError:
        # Somebody changed the bundle meanwhile: our signature is not on what lies there now.
        with suppress(OSError):
            if before is None:
                place.unlink()
            else:
                files.replace(place, before, beside=bundle.directory.absolute().parent)
        raise
    return Signed(bundle.directory, bundle.digest, bundle.manifest, key.id, tuple(sorted(signed.signatures)))


def _trust_in(key: SigningKey) -> alphaseal.Trust:
    return alphaseal.Trust(policy=trust_file.single_key(key.public_key))
