"""Ed25519 keys: their files, their ids, and the verdict on one signature.

A key's id is the sha256 of its 32 raw bytes, in lower-case hexadecimal: nobody can give a key another key's id.
Files are PEM: SubjectPublicKeyInfo for public keys, PKCS 8 for private ones.  This is the one module that loads the
cryptography library, and it does so when a key is used.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alphaseal.disk import files
from alphaseal.errors import MalformedError, NotReadableError, UsageError
from alphaseal.trust import curve

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PUBLIC_KEY_LENGTH = 32
SIGNATURE_LENGTH = 64
MAXIMUM_KEY_FILE = 1 << 16


def key_id(public_key: bytes) -> str:
    """The id of a raw public key."""
    return hashlib.sha256(public_key).hexdigest()


def verifies(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """True where `signature` (64 bytes) over `message` is one by the raw `public_key` (32 bytes), after RFC 8032."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        # ValueError: bytes that are no key.  Nothing is signed by them.
        return False
    return True


def decode_base64(text: str) -> bytes | None:
    """Bytes of standard base64 with padding; None for any other spelling, such as spaces or spare bits that are set."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if encode_base64(data) == text else None


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding, in one line."""
    return base64.b64encode(data).decode("ascii")


def read_key_file(path: Path) -> bytes:
    """Content of a key file, bounded; NotReadableError ``key.not_readable``."""
    problem = NotReadableError("key.not_readable", "key cannot be read", where=str(path))
    return files.read_bounded(path, MAXIMUM_KEY_FILE - 1, problem)


def load_public_key(data: bytes, where: str) -> bytes:
    """The raw bytes of a public key in PEM; MalformedError ``key.malformed``, ``key.weak``."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise MalformedError(
            "key.malformed",
            "not a public key",
            where=where,
            expected="an Ed25519 public key in PEM, as keygen writes it (.pub)",
        )
    return sound(key.public_bytes_raw(), where)


def sound(public_key: bytes, where: str) -> bytes:
    """The raw public key, if nobody but its owner can sign for it; MalformedError ``key.weak``."""
    problem = curve.weakness(public_key)
    if problem is not None:
        raise MalformedError(
            "key.weak",
            f"the public key {problem}",
            where=where,
            expected="a key as keygen makes it",
            found=public_key.hex(),
            next_step="do not use it, and ask whoever gave it to you for a new one",
        )
    return public_key


def read_public_key(path: Path) -> bytes:
    """The raw bytes of the public key in a PEM file; errors of `read_key_file` and `load_public_key`."""
    return load_public_key(read_key_file(path), str(path))


@dataclass(frozen=True)
class SigningKey:
    """A private key in use.  It is never written out again, and its representation shows the public part only."""

    public_key: bytes
    _private: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"SigningKey({self.id})"

    @property
    def id(self) -> str:
        """The id of the public key."""
        return key_id(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature; the same message always gives the same bytes."""
        return self._private.sign(message)


def load_private_key(data: bytes, passphrase: bytes | None, where: str) -> SigningKey:
    """A private key from PEM; MalformedError ``key.malformed``, UsageError ``key.passphrase``."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    locked = b"BEGIN ENCRYPTED PRIVATE KEY" in data
    if locked and passphrase is None:
        raise UsageError(
            "key.passphrase",
            "the private key is locked",
            where=where,
            next_step="pass its passphrase: --passphrase-env VARIABLE",
        )
    try:
        key = load_pem_private_key(data, passphrase if locked else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if key is None and locked:
        raise UsageError("key.passphrase", "the passphrase does not open the private key", where=where)
    if not isinstance(key, Ed25519PrivateKey):
        raise MalformedError(
            "key.malformed",
            "not a private key",
            where=where,
            expected="an Ed25519 private key in PEM (PKCS 8), as keygen writes it (.key)",
        )
    return SigningKey(key.public_key().public_bytes_raw(), key)
