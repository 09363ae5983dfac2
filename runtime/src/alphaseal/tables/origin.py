"""Where a file of computed features comes from: the metadata that ``alphaseal-convert features`` writes, and its signature.

A parquet file with the metadata `alphaseal.features` says for which bundle and for which dates it was computed; it is
used for no other.  Beside it may lie ``NAME.dsse.json``, a DSSE envelope whose payload names the digest of the file's
bytes; who asks for that signature reads the file once and scores those very bytes.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from alphaseal.disk import files
from alphaseal.errors import InputError, MalformedError, NotReadableError, SignatureError
from alphaseal.format import strict_json
from alphaseal.format.documents import Kind, Rule
from alphaseal.format.parts import Count, Date, Part, Sha256, Short
from alphaseal.trust import envelope, keys
from alphaseal.trust.keys import SigningKey

METADATA_KEY = b"alphaseal.features"
PAYLOAD_TYPE = "application/vnd.alphaseal.features.v1+json"
SIDECAR_ENDING = ".dsse.json"
MAXIMUM_METADATA = 4 << 20
MAXIMUM_SIGNED_FILE = 2 << 30
MAXIMUM_SIDECAR = 1 << 20
_SHOWN = 3
_BYTE_FORM = Rule(
    "envelope.byte_form",
    "the document is not in its one byte form",
    expected="sorted keys, two spaces, LF; dates ascending, none twice",
)

_Dates = Annotated[list[Date], Meta(min_length=1, max_length=50_000, description="ascending, none twice")]
_Document = TypeVar("_Document", "FeatureOrigin", "SignedFeatures")


class FeatureOrigin(Part, frozen=True, kw_only=True):
    """The metadata `alphaseal.features` of a parquet file."""

    version: Literal[1]
    bundle: Annotated[Sha256, Meta(description="digest of the bundle whose sources were run")]
    dates: _Dates
    sources: Annotated[dict[str, Sha256], Meta(description="feature -> sha256 of the source that was run")]
    bars: Annotated[Sha256, Meta(description="of the file of bars")]
    static: Annotated[Sha256 | None, Meta(description="of the static table; null: none was given")]
    incomplete_rows: Annotated[
        Literal["kept", "removed"],
        Meta(description="removed: where one feature is missing all are, as in the table of the run"),
    ]
    converter: Annotated[Short, Meta(description="version of alphaseal-converter")]


class SignedFeatures(Part, frozen=True, kw_only=True):
    """What is signed: these bytes, for this bundle and these dates."""

    version: Literal[1]
    bundle: Sha256
    dates: _Dates
    size: Count
    sha256: Sha256


def sidecar_of(path: Path) -> Path:
    """The place of the signature of a file of features."""
    return path.with_name(path.name + SIDECAR_ENDING)


def sign(data: bytes, origin: FeatureOrigin, key: SigningKey) -> bytes:
    """The sidecar of the file with the content `data`."""
    payload = SignedFeatures(
        version=1,
        bundle=origin.bundle,
        dates=origin.dates,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    plain = strict_json.dumps(msgspec.to_builtins(payload))
    return envelope.encode(envelope.sign(plain, [key], payload_type=PAYLOAD_TYPE))


def read_origin(source: str | os.PathLike[str] | bytes) -> FeatureOrigin | None:
    """The origin that a parquet file (path or bytes) states; None for a file without the metadata.

    InputError ``features.origin`` where the metadata are not in their one form, and what opening a parquet file raises.
    """
    from alphaseal.tables.parquet import open_parquet

    with open_parquet(source) as file:
        metadata: dict[bytes, bytes] = file.metadata.metadata or {}
        data = metadata.get(METADATA_KEY)
    if data is None:
        return None
    try:
        return _parse(bytes(data), FeatureOrigin, MAXIMUM_METADATA, "features metadata")
    except MalformedError as error:
        raise InputError(
            "features.origin",
            f"the metadata of the feature file are damaged: {error.message}",
            where=f"metadata {METADATA_KEY.decode()}",
            next_step="compute the features again with alphaseal-convert features",
        ) from error


def check(
    source: Any, digest: str, *, date: Any = None, dates: tuple[Any, Any] | None = None, required: bool = False
) -> None:
    """InputError ``features.other_bundle`` or ``features.other_date`` where a file's origin is not what is scored.

    `digest` is that of the bundle, `date` or `dates` (ends included, None is open) what is to be scored.  A file without
    the metadata passes unless `required` (``features.origin``); tables in memory carry none.
    """
    if not isinstance(source, (str, os.PathLike, bytes)):
        return
    origin = read_origin(source)
    if origin is not None:
        _check_same(origin, digest, date, dates)
    elif required:
        raise InputError(
            "features.origin",
            "the feature file does not say what it was computed for",
            where=f"metadata {METADATA_KEY.decode()}",
            expected="a file that alphaseal-convert features wrote",
        )


def read_signed(
    path: Path, public_key: Path, digest: str, *, date: Any = None, dates: tuple[Any, Any] | None = None
) -> bytes:
    """The bytes of a file of features that `public_key` signed for this bundle and date: score these, not the file again.

    SignatureError ``features.not_signed``, ``features.signature_key``, ``features.signature_wrong``,
    ``features.signature_payload``; MalformedError for a sidecar that is none; InputError as `check`.
    """
    key = keys.read_public_key(public_key)
    sidecar = sidecar_of(path)
    data = _read(path, MAXIMUM_SIGNED_FILE, "the features file")
    if not sidecar.exists():
        raise SignatureError(
            "features.not_signed",
            "the feature file has no signature",
            where=str(sidecar),
            next_step="compute the features with --sign, and copy both files",
        )
    found = envelope.parse(_read(sidecar, MAXIMUM_SIDECAR, "the signature"), str(sidecar), PAYLOAD_TYPE)
    _check_signature(found, key, sidecar)
    payload = _parse(found.payload, SignedFeatures, MAXIMUM_SIDECAR, str(sidecar))
    if (payload.size, payload.sha256) != (len(data), hashlib.sha256(data).hexdigest()):
        raise SignatureError(
            "features.signature_payload",
            "what was signed is not the feature file that is here",
            where=str(path),
            expected=f"{payload.size} bytes, sha256 {payload.sha256}",
            found=f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}",
            next_step="copy the file and its signature again from the producer",
        )
    _check_same(payload, digest, date, dates)
    check(data, digest, date=date, dates=dates, required=True)
    return data


def _check_signature(found: envelope.Envelope, key: bytes, where: Path) -> None:
    """The key that is asked for has signed this envelope."""
    signature = found.signatures.get(keys.key_id(key))
    if signature is None:
        raise SignatureError(
            "features.signature_key",
            "the feature file is signed by another key",
            where=str(where),
            expected=f"key {keys.key_id(key)}",
            found=", ".join(sorted(found.signatures)[:_SHOWN]),
        )
    if not keys.verifies(key, signature, envelope.pre_authentication_encoding(PAYLOAD_TYPE, found.payload)):
        raise SignatureError(
            "features.signature_wrong",
            "the signature of the feature file is wrong",
            where=str(where),
            next_step="copy the file and its signature again from the producer",
        )


def _check_same(origin: FeatureOrigin | SignedFeatures, digest: str, date: Any, dates: tuple[Any, Any] | None) -> None:
    import numpy as np

    from alphaseal.tables.period import Period

    if origin.bundle != digest:
        raise InputError(
            "features.other_bundle",
            "the features were computed for another bundle",
            expected=f"bundle {digest}",
            found=f"bundle {origin.bundle}",
            next_step="compute them with the sources of this bundle: alphaseal-convert features",
        )
    asked = Period.of(date, dates)
    if not asked.mask(np.array(origin.dates, "datetime64[D]").astype(np.int64)).any():
        raise InputError(
            "features.other_date",
            "the features were computed for other dates",
            expected=str(asked),
            found=f"{origin.dates[0]} to {origin.dates[-1]}" if len(origin.dates) > 1 else origin.dates[0],
            next_step="compute them for this date: alphaseal-convert features --date",
        )


def _parse(data: bytes, kind: type[_Document], maximum: int, where: str) -> _Document:
    """A document of one byte form; MalformedError ``json.*`` or ``envelope.schema``."""
    document = Kind("envelope.schema", kind, maximum, form=_BYTE_FORM).read(data, where)
    if not _is_calendar(document.dates):
        raise _BYTE_FORM.broken(where)
    return document


def _is_calendar(dates: Sequence[str]) -> bool:
    """Days that there are, ascending, none twice."""
    try:
        days = [datetime.date.fromisoformat(day) for day in dates]
    except ValueError:
        return False
    return days == sorted(set(days))


def _read(path: Path, maximum: int, what: str) -> bytes:
    """Content of a file, bounded; opened once."""
    problem = NotReadableError("features.not_readable", f"{what} cannot be read", where=str(path))
    data = files.read_bounded(path, maximum, problem)
    if len(data) > maximum:
        raise InputError(
            "features.too_large", f"{what} is too large", where=str(path), expected=f"at most {maximum} bytes"
        )
    return data
