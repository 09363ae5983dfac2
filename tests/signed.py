"""Signed bundles, keys and trust files for tests."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from alphaseal.disk import tree
from alphaseal.format import manifest as m
from alphaseal.format import strict_json
from alphaseal.trust import envelope, keys
from alphaseal.trust import policy as trust_file
from alphaseal.trust.judgement import Trust
from alphaseal.trust.keys import SigningKey
from alphaseal.trust.policy import BundleRule, Key, TrustFile
from bundles import factor_plain_bundle


@cache
def key(seed: str) -> SigningKey:
    """The same key for the same seed, in every run."""
    private = Ed25519PrivateKey.from_private_bytes(seed.encode().ljust(32, b"."))
    return SigningKey(private.public_key().public_bytes_raw(), private)


def known(seed: str, role: str = "ci", **changes: Any) -> Key:
    """A trust file's entry for `key(seed)`."""
    return Key(name=seed, role=role, public_key=keys.encode_base64(key(seed).public_key), **changes)


def policy(*entries: Key, **changes: Any) -> TrustFile:
    """A trust file of these keys that asks for one signature of role ``ci`` and accepts every name."""
    fields: dict[str, Any] = {"thresholds": {"ci": 1}, "bundles": None}
    return TrustFile(format="1.0", keys=list(entries), **(fields | changes))


def rule(lowest_sequence: int) -> BundleRule:
    """What a trust file asks of one name."""
    return BundleRule(lowest_sequence=lowest_sequence)


def envelope_of(manifest: bytes, *seeds: str) -> bytes:
    """An envelope by these keys."""
    return envelope.encode(envelope.sign(manifest, [key(seed) for seed in seeds]))


def signed_bundle(out: Path, *seeds: str, **changes: Any) -> Path:
    """A copy of the demo's bundle with fields of its manifest changed, signed by these keys (by none: unsigned)."""
    shutil.copytree(factor_plain_bundle(), out)
    manifest = msgspec.structs.replace(
        m.parse((out / m.FILE_NAME).read_bytes()), **({"name": "demo", "sequence": 1} | changes)
    )
    data = m.encode(manifest)
    (out / m.FILE_NAME).write_bytes(data)
    if seeds:
        (out / tree.ENVELOPE_NAME).write_bytes(envelope_of(data, *seeds))
    return out


def write_trust(path: Path, trust: TrustFile) -> Path:
    """A trust file on disk."""
    path.write_bytes(trust_file.encode(trust))
    return path


def trust(*entries: Key, **changes: Any) -> Trust:
    """A `Trust` of these keys."""
    return Trust(policy=policy(*entries, **changes))


def edited(data: bytes, edit: Any) -> bytes:
    """JSON `data` with `edit` done to it, in the one byte form."""
    value = strict_json.loads(data, where="test", maximum_bytes=1 << 24)
    edit(value)
    return strict_json.dumps(value)
