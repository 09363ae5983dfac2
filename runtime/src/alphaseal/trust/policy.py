"""The trust file: which keys, in which roles, how many, for which bundles.  It belongs to the trading side alone.

It is written in one byte form and read in any: it is its owner's, who may edit it by hand.  `schemas/trust.schema.json`
is generated from these classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from alphaseal.disk import files
from alphaseal.errors import MalformedError, NotReadableError
from alphaseal.format import instants, names, strict_json
from alphaseal.format.documents import Kind, Rule
from alphaseal.format.manifest import FIRST_FORMAT, Format
from alphaseal.format.parts import Instant, Name, Part, Sha256
from alphaseal.trust.keys import PUBLIC_KEY_LENGTH, decode_base64, encode_base64, key_id, sound

FORMATS = ("1.0", "1.1-draft")
"""Versions of trust files; the later one has `lowest_format`."""
MAXIMUM_BYTES = 1 << 20
SINGLE_ROLE = "signer"

Role = Annotated[str, Meta(pattern=names.NAME_PATTERN, max_length=names.MAXIMUM_SEGMENT)]
Validity = Annotated[Instant | None, Meta(description="null: no bound")]


class Key(Part, frozen=True, kw_only=True):
    """A known key.  It has one role: nobody signs and approves with the same key."""

    name: Name
    role: Role
    public_key: Annotated[
        str, Meta(min_length=44, max_length=44, description="32 raw bytes of Ed25519, standard base64")
    ]
    not_before: Annotated[Validity, Meta(description="its signatures count from then on")] = None
    not_after: Annotated[Validity, Meta(description="its signatures do not count from then on")] = None

    @property
    def raw(self) -> bytes:
        """The 32 bytes of the key; MalformedError where they are not, or are no key that can be trusted."""
        data = decode_base64(self.public_key)
        if data is None or len(data) != PUBLIC_KEY_LENGTH:
            raise MalformedError(
                "trust.schema",
                "not a public key",
                where=self.name,
                expected="32 bytes in standard base64",
                found=self.public_key,
            )
        return sound(data, self.name)

    @property
    def id(self) -> str:
        """The key id that envelopes name."""
        return key_id(self.raw)


class BundleRule(Part, frozen=True, kw_only=True):
    """What is asked of the bundles of one name."""

    lowest_sequence: Annotated[int, Meta(ge=1, le=2**53, description="older ones are refused")] = 1


class TrustFile(Part, frozen=True, kw_only=True):
    """Everything that the owner of the trading side decides."""

    format: Literal["1.0", "1.1-draft"]
    keys: Annotated[list[Key], Meta(max_length=1_000)]
    thresholds: Annotated[
        dict[Role, Annotated[int, Meta(ge=1, le=64)]],
        Meta(min_length=1, max_length=64, description="role -> how many different keys must have signed"),
    ]
    bundles: Annotated[
        dict[Name, BundleRule] | None, Meta(description="the names that are accepted; null: any name and sequence")
    ]
    revoked_keys: Annotated[list[Sha256], Meta(description="key ids; a key stays in `keys` when it is revoked")] = []
    revoked_digests: Annotated[list[Sha256], Meta(description="digests of bundles")] = []
    maximum_age_days: Annotated[
        Annotated[int, Meta(ge=1, le=36_500)] | None, Meta(description="of the manifest's `created`")
    ] = None
    require_ready: bool = True
    lowest_format: Annotated[
        Format,
        Meta(description="bundles of older formats, which lack guards, are refused; only in a file of 1.1-draft"),
    ] = FIRST_FORMAT


_DOCUMENT = Kind(
    "trust.schema",
    TrustFile,
    MAXIMUM_BYTES,
    version=Rule("trust.version", "unknown version of a trust file", expected=" or ".join(map(repr, FORMATS))),
    known=FORMATS,
)


def single_key(public_key: bytes) -> TrustFile:
    """Trust in one key for every bundle, ready or not."""
    key = Key(name="key", role=SINGLE_ROLE, public_key=encode_base64(public_key))
    return TrustFile(format="1.0", keys=[key], thresholds={SINGLE_ROLE: 1}, bundles=None, require_ready=False)


def load(path: Path) -> TrustFile:
    """Read a trust file; NotReadableError ``trust.not_readable``, MalformedError."""
    problem = NotReadableError("trust.not_readable", "trust file cannot be read", where=str(path))
    return parse(files.read_bounded(path, MAXIMUM_BYTES, problem), str(path))


def parse(data: bytes, where: str) -> TrustFile:
    """Read a trust file's bytes strictly, version first; MalformedError (``json.*``, ``trust.*``)."""
    value = _DOCUMENT.value(data, where)
    trust = _DOCUMENT.typed(value, where)
    if trust.format == FIRST_FORMAT and "lowest_format" in value:
        raise MalformedError(
            "trust.schema",
            "a trust file of format '1.0' has no lowest_format",
            where=where,
            next_step=f'write "format": "{FORMATS[-1]}", which needs a runtime that reads it',
        )
    _check_meaning(trust, where)
    return trust


def _check_meaning(trust: TrustFile, where: str) -> None:
    """Rules between fields: a key occurs once, under one name and in one role, and instants are days of the calendar."""
    ids = []
    for key in trust.keys:
        try:
            ids.append(key.id)
        except MalformedError as error:
            raise error.saying(where=f"{where} keys {key.name}") from None
    if len(set(ids)) != len(ids):
        raise MalformedError(
            "trust.key_twice", "a key is there twice", where=where, found=next(i for i in ids if ids.count(i) > 1)
        )
    key_names = [key.name for key in trust.keys]
    if len(set(key_names)) != len(key_names):
        raise MalformedError(
            "trust.key_twice",
            "two keys have one name",
            where=where,
            found=next(n for n in key_names if key_names.count(n) > 1),
        )
    for key in trust.keys:
        bounds = [key.not_before, key.not_after]
        if any(bound is not None and instants.read(bound) is None for bound in bounds):
            raise MalformedError(
                "trust.schema",
                "no day of the calendar",
                where=f"{where} keys {key.name}",
                found=f"{key.not_before} to {key.not_after}",
            )
        # Instants of one form compare as their text does.
        if key.not_before is not None and key.not_after is not None and key.not_before >= key.not_after:
            raise MalformedError(
                "trust.validity",
                "the validity of a key ends before it begins",
                where=f"{where} keys {key.name}",
                found=f"{key.not_before} to {key.not_after}",
            )


def encode(trust: TrustFile) -> bytes:
    """The one byte form in which this library writes a trust file."""
    ordered = msgspec.structs.replace(
        trust,
        keys=sorted(trust.keys, key=lambda key: (key.role, key.name)),
        revoked_keys=sorted(set(trust.revoked_keys)),
        revoked_digests=sorted(set(trust.revoked_digests)),
    )
    return strict_json.dumps(to_plain(ordered))


def to_plain(trust: TrustFile) -> dict[str, Any]:
    """The trust file as plain JSON values, with the fields of its own version."""
    plain: dict[str, Any] = msgspec.to_builtins(trust)
    if trust.format == FIRST_FORMAT:
        del plain["lowest_format"]
    return plain


def save(path: Path, trust: TrustFile, *, new: bool) -> None:
    """Write a trust file whole: at a place that is free if `new`, in the place of the old one otherwise.

    What is written has been read back by the strict reader before.
    """
    data = encode(trust)
    parse(data, str(path))
    try:
        if new:
            files.write_new(path, data)
        else:
            files.replace(path, data)
    except FileExistsError:
        raise NotReadableError(
            "trust.exists", "the place of the trust file is taken", where=str(path), next_step="choose another place"
        ) from None
    except OSError as error:
        raise NotReadableError("output.not_writable", f"cannot write: {error.strerror}", where=str(path)) from None
