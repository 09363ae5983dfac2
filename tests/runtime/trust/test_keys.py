"""Private keys."""

from __future__ import annotations

import pytest

from alphaseal.errors import AlphasealError
from alphaseal.trust import keys


def test_a_locked_key_asks_for_its_passphrase() -> None:
    """Without a passphrase the message is that there is none, not that it is wrong."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    with pytest.raises(AlphasealError) as caught:
        keys.load_private_key(pem, None, "test")
    assert caught.value.message == "the private key is locked"
