"""Session files of RD-Agent: signed (rdagent 1.0.0) or plain.

A signed file is the magic line, 32 bytes of HMAC-SHA256 over the payload, and the payload (format and key rules:
``rdagent/core/serialization.py`` of rdagent 1.0.0).  The code proves where a payload comes from; it makes no pickle
harmless, so the payload goes through `read_pickle` either way.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path

from alphaseal.errors import NotReadableError
from alphaseal_converter.errors import RefusalError

MAGIC = b"RDAGENT_SIGNED_PICKLE_V1\n"
_CODE_BYTES = hashlib.sha256().digest_size
_KEY_BYTES = 32
_KEY_VARIABLE = "ARTIFACT_SIGNING_KEY"
_KEY_FILE = Path(".rdagent") / "artifact_signing.key"


@dataclass(frozen=True)
class SessionBytes:
    """A session file as read once: `payload` is the pickle, `sha256` the digest (hex) of the whole file."""

    payload: bytes
    sha256: str
    signed: bool
    authenticated: bool
    """The file is signed and its code was made with the key at hand."""


@dataclass(frozen=True)
class SessionKey:
    """A key for signed sessions.

    `named` keys were given for this session (``--session-key``, the environment variable): only what they signed exists,
    so a file with another signature or with none is a refusal.  rdagent's own key file of this machine is only found: a session of another machine is not its business,
    so one that does not fit proves nothing, and the session is read as not authenticated.
    """

    value: bytes
    source: str
    named: bool


def find_session_key(file: Path | None) -> SessionKey | None:
    """The key for signed sessions, or None where there is none.

    `file` (its raw bytes, from ``--session-key``) comes first, then the SHA-256 of the environment variable
    ``ARTIFACT_SIGNING_KEY``, then rdagent's own key file in the home directory.  Raises `NotReadableError` for a
    file that cannot be read and `RefusalError` for one that is shorter than rdagent's keys.
    """
    if file is not None:
        return SessionKey(_read_key(file), f"the key of --session-key {file}", named=True)
    if text := os.environ.get(_KEY_VARIABLE):
        value = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        return SessionKey(value, f"the key in the environment variable {_KEY_VARIABLE}", named=True)
    try:
        home = Path.home() / _KEY_FILE
    except RuntimeError:  # a user without a home directory has no key file there
        return None
    return SessionKey(_read_key(home), f"the key in {home}", named=False) if home.is_file() else None


def _read_key(path: Path) -> bytes:
    key = _read(path)
    if len(key) < _KEY_BYTES:
        raise RefusalError(
            "session.short_key",
            "the file is no key of rdagent",
            where=str(path),
            expected=f"at least {_KEY_BYTES} bytes",
            found=f"{len(key)} bytes",
        )
    return key


def open_session_file(path: Path, key: SessionKey | None) -> SessionBytes:
    """Read `path` once; check its code where it is signed and a `key` (from `find_session_key`) is given.

    Raises `RefusalError` ``session.wrong_key`` if a key that was named and the code do not belong together,
    ``session.not_signed`` if a key was named and there is no code, ``session.truncated`` if the signed header is cut off,
    `NotReadableError` if the file cannot be read.
    """
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if not content.startswith(MAGIC):
        if content and MAGIC.startswith(content[: len(MAGIC)]):
            raise _truncated(path)
        if key is not None and key.named:
            raise _not_signed(path, key)
        return SessionBytes(content, digest, signed=False, authenticated=False)
    start = len(MAGIC) + _CODE_BYTES
    if len(content) <= start:
        raise _truncated(path)
    payload = content[start:]
    if key is None:
        return SessionBytes(payload, digest, signed=True, authenticated=False)
    authenticated = hmac.compare_digest(hmac.digest(key.value, payload, "sha256"), content[len(MAGIC) : start])
    if not authenticated and key.named:
        raise RefusalError(
            "session.wrong_key",
            "the session was not signed with this key, or it was changed since",
            where=str(path),
            found=key.source,
            next_step="pass the key file of the machine that wrote the session with --session-key FILE",
        )
    return SessionBytes(payload, digest, signed=True, authenticated=authenticated)


def _not_signed(path: Path, key: SessionKey) -> RefusalError:
    without = f"unset {_KEY_VARIABLE}" if _KEY_VARIABLE in key.source else "leave --session-key away"
    return RefusalError(
        "session.not_signed",
        "a key was named, and this snapshot is not signed",
        where=str(path),
        expected=f"a snapshot that was signed with {key.source}",
        found="no signature",
        next_step=f"move the file away if it is not RD-Agent's own; {without} only if you vouch for the session yourself",
    )


def _truncated(path: Path) -> RefusalError:
    return RefusalError("session.truncated", "the signed session ends inside its header", where=str(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise NotReadableError("file.not_readable", f"{problem.strerror or problem}", where=str(path)) from None
