"""The DSSE envelope of a manifest: its one byte form, signing, and the verdict on its signatures.

DSSE v1 (github.com/secure-systems-lab/dsse): what is signed is ``PAE(payloadType, payload)``, so that a signature of one
kind of document cannot pass for one of another kind.  The payload is carried whole, for standard tools; in
manifest.dsse.json it must be the bytes of manifest.json, and those are what is verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from alphaseal.disk.tree import ENVELOPE_NAME, MAXIMUM_ENVELOPE
from alphaseal.errors import MalformedError, SignatureError
from alphaseal.format import manifest as manifest_format
from alphaseal.format import strict_json
from alphaseal.format.documents import Kind, Rule
from alphaseal.format.parts import Part, Sha256
from alphaseal.trust.keys import SIGNATURE_LENGTH, SigningKey, decode_base64, encode_base64, verifies

PAYLOAD_TYPE = "application/vnd.alphaseal.manifest.v1+json"
_BYTE_FORM = Rule("envelope.byte_form", "envelope is not in its one byte form", expected="sorted keys, two spaces, LF")


class SignatureEntry(Part, frozen=True, kw_only=True):
    """One signature as it is written."""

    keyid: Annotated[Sha256, Meta(description="sha256 of the 32 raw bytes of the public key")]
    sig: Annotated[str, Meta(min_length=88, max_length=88, description="64 bytes of Ed25519, standard base64")]


class AnyEnvelopeDocument(Part, frozen=True, kw_only=True):
    """An envelope of any kind of document as it is written."""

    payload: Annotated[str, Meta(description="standard base64")]
    payload_type: str = msgspec.field(name="payloadType")
    signatures: Annotated[
        list[SignatureEntry], Meta(min_length=1, max_length=64, description="sorted by keyid, no key twice")
    ]


class EnvelopeDocument(AnyEnvelopeDocument, frozen=True, kw_only=True):
    """manifest.dsse.json as it is written."""

    payload: Annotated[str, Meta(description="the bytes of manifest.json, standard base64")]
    payload_type: Literal["application/vnd.alphaseal.manifest.v1+json"] = msgspec.field(name="payloadType")


@dataclass(frozen=True)
class Envelope:
    """A payload, who signed it (key id -> signature, at least one), and what kind of document it is."""

    payload: bytes
    signatures: Mapping[str, bytes]
    payload_type: str = PAYLOAD_TYPE


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """``DSSEv1 SP LEN(type) SP type SP LEN(body) SP body``: the bytes that are signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse(data: bytes, where: str = ENVELOPE_NAME, payload_type: str = PAYLOAD_TYPE) -> Envelope:
    """Read an envelope strictly; MalformedError (``json.*``, ``envelope.*``).  No signature has been looked at then."""
    # What kind of document is signed comes before everything that is said in it.
    document = Kind(
        "envelope.schema",
        AnyEnvelopeDocument,
        MAXIMUM_ENVELOPE,
        version=Rule("envelope.payload_type", "envelope of another kind", expected=payload_type),
        known=(payload_type,),
        field="payloadType",
        form=_BYTE_FORM,
    ).read(data, where)
    ids = [entry.keyid for entry in document.signatures]
    if ids != sorted(set(ids)):
        raise MalformedError(
            "envelope.signatures_order",
            "signatures must be sorted by key id, one of each key",
            where=where,
            found=", ".join(ids)[:200],
        )
    payload = _decode(document.payload, where, "payload")
    signatures = {
        entry.keyid: _decode(entry.sig, where, f"the signature of {entry.keyid}") for entry in document.signatures
    }
    if wrong := next((keyid for keyid, signature in signatures.items() if len(signature) != SIGNATURE_LENGTH), None):
        raise MalformedError(
            "envelope.schema",
            "a signature has the wrong length",
            where=where,
            expected=f"{SIGNATURE_LENGTH} bytes",
            found=wrong,
        )
    return Envelope(payload, signatures, payload_type)


def _decode(text: str, where: str, what: str) -> bytes:
    data = decode_base64(text)
    if data is None:
        raise MalformedError(
            "envelope.base64",
            f"{what} is not canonical base64",
            where=where,
            expected="standard alphabet, padding, nothing else",
        )
    return data


def encode(envelope: Envelope) -> bytes:
    """The one byte form of an envelope."""
    return strict_json.dumps(
        {
            "payload": encode_base64(envelope.payload),
            "payloadType": envelope.payload_type,
            "signatures": [
                {"keyid": keyid, "sig": encode_base64(signature)}
                for keyid, signature in sorted(envelope.signatures.items())
            ],
        }
    )


def sign(
    payload: bytes, keys: Iterable[SigningKey], existing: Envelope | None = None, payload_type: str = PAYLOAD_TYPE
) -> Envelope:
    """`payload` (the bytes of a manifest, or of what `payload_type` names) signed by `keys`, next to the signatures of `existing`.

    SignatureError ``signature.payload`` where `existing` is over other bytes.
    """
    signatures = dict(existing.signatures) if existing is not None else {}
    if existing is not None:
        _check_payload(existing, payload)
    message = pre_authentication_encoding(payload_type, payload)
    signatures.update({key.id: key.sign(message) for key in keys})
    return Envelope(payload, signatures, payload_type)


def verify(envelope: Envelope, payload: bytes, keys: Mapping[str, bytes]) -> tuple[str, ...]:
    """Ids of those of `keys` (key id -> raw public key) that signed `payload`, sorted; they differ from each other.

    SignatureError where the envelope is over other bytes, or a signature by one of `keys` is wrong, however many others
    are right.  Signatures by other keys are passed over: nothing can be said of them.
    """
    _check_payload(envelope, payload)
    message = pre_authentication_encoding(envelope.payload_type, payload)
    signed = tuple(sorted(envelope.signatures.keys() & keys.keys()))
    for keyid in signed:
        if not verifies(keys[keyid], envelope.signatures[keyid], message):
            raise SignatureError(
                "signature.wrong",
                "a signature by a known key is wrong",
                where=ENVELOPE_NAME,
                found=f"key {keyid}",
                next_step="do not use this bundle; copy it again from its producer",
            )
    return signed


def _check_payload(envelope: Envelope, payload: bytes) -> None:
    if envelope.payload != payload:
        raise SignatureError(
            "signature.payload",
            "what was signed is not the manifest that is here",
            where=manifest_format.FILE_NAME,
            expected=f"sha256 {manifest_format.digest(envelope.payload)}",
            found=f"sha256 {manifest_format.digest(payload)}",
            next_step="do not use this bundle; copy it again from its producer",
        )
