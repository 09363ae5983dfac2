"""The DSSE envelope: one byte form, Ed25519 as others understand it, nothing accepted that was changed."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphaseal.errors import AlphasealError, MalformedError, SignatureError, UsageError
from alphaseal.format import manifest as m
from alphaseal.trust import envelope, keys
from alphaseal.trust.judgement import Trust
from locations import SHARED
from manifests import example_manifest
from signed import edited, envelope_of, key, known, policy

MANIFEST = m.encode(example_manifest())
ENVELOPE = envelope_of(MANIFEST, "one", "two")
BOTH = Trust(policy=policy(known("one"), known("two", "approver"), thresholds={"ci": 1, "approver": 1}))
WYCHEPROOF = SHARED / "corpora" / "ed25519_test.json"


def test_encoding_is_the_one_of_the_dsse_specification() -> None:
    """The example of the DSSE protocol document gives its bytes, lengths counted in bytes of UTF-8."""
    encode = envelope.pre_authentication_encoding
    assert (
        encode("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert encode("ä", b"") == b"DSSEv1 2 \xc3\xa4 0 "


def test_envelope_reads_back() -> None:
    """Payload and signatures come back, signatures are sorted by key id, and the bytes are the same again."""
    parsed = envelope.parse(ENVELOPE)
    assert parsed.payload == MANIFEST
    assert list(parsed.signatures) == sorted([key("one").id, key("two").id])
    assert envelope.encode(parsed) == ENVELOPE


def test_another_library_verifies_our_envelope() -> None:
    """securesystemslib, the library behind TUF and in-toto, accepts our envelope and refuses a changed one."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib import dsse
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    public: list[Any] = [
        SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(key(seed).public_key), keyid=key(seed).id)
        for seed in ("one", "two")
    ]
    theirs = dsse.Envelope.from_dict(json.loads(ENVELOPE))
    assert set(theirs.verify(public, 2)) == {key("one").id, key("two").id}
    assert theirs.payload == MANIFEST
    theirs.payload += b" "
    with pytest.raises(VerificationError):
        theirs.verify(public, 2)


def test_we_verify_an_envelope_of_another_library() -> None:
    """A signature that securesystemslib makes over the same payload is the very signature that we make."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib import dsse
    from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

    private = key("one")._private
    public = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(key("one").public_key), keyid=key("one").id)
    theirs = dsse.Envelope(MANIFEST, envelope.PAYLOAD_TYPE, {})
    signature = theirs.sign(CryptoSigner(private, public))
    assert bytes.fromhex(signature.signature) == envelope.parse(ENVELOPE).signatures[key("one").id]


@pytest.mark.skipif(not WYCHEPROOF.exists(), reason="shared/corpora/ed25519_test.json is not here")
def test_wycheproof() -> None:
    """All 151 verdicts of Wycheproof's Ed25519 vectors are ours."""
    groups = json.loads(WYCHEPROOF.read_text())["testGroups"]
    verdicts = {
        case["tcId"]: (
            keys.verifies(
                bytes.fromhex(group["publicKey"]["pk"]), bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"])
            ),
            case["result"] == "valid",
        )
        for group in groups
        for case in group["tests"]
    }
    assert len(verdicts) == 151
    assert {number: found for number, found in verdicts.items() if found[0] != found[1]} == {}
    assert 0 < sum(ours for ours, _ in verdicts.values()) < 151


def test_every_flipped_bit_of_the_manifest_is_refused() -> None:
    """One bit of manifest.json changed, anywhere, and the signature does not cover it (before anything is parsed)."""
    parsed, known_keys = envelope.parse(ENVELOPE), {key("one").id: key("one").public_key}
    assert envelope.verify(parsed, MANIFEST, known_keys)
    codes = Counter(_refusal(partial(envelope.verify, parsed, changed, known_keys)) for changed in _flips(MANIFEST))
    assert codes == {("signature.payload", 13): 8 * len(MANIFEST)}


def test_every_flipped_bit_of_the_envelope_is_refused() -> None:
    """One bit of manifest.dsse.json changed, anywhere, and a trust that needs both signatures refuses it."""
    small = m.encode(example_manifest())[:700]  # nothing is parsed in this step, so any bytes will do
    data = envelope_of(small, "one", "two")
    assert len(BOTH.check_signatures(small, data)) == 2
    found = Counter(_refusal(partial(BOTH.check_signatures, small, changed)) for changed in _flips(data))
    assert found.total() == 8 * len(data)
    refused = {one for one in found if one is not None}
    assert refused == found.keys()
    assert {status for _, status in refused} == {10, 13, 14}
    codes = {code for code, _ in refused}
    assert {"signature.payload", "signature.wrong", "envelope.schema", "trust.too_few", "json.syntax"} <= codes


def _refusal(call: Callable[[], object]) -> tuple[str, int] | None:
    """Code and exit status of the error of our family; None where there is none.  (`pytest.raises` is slow in a long loop.)"""
    try:
        call()
    except AlphasealError as error:
        return error.code, error.exit
    return None


def _flips(data: bytes) -> Any:
    changed = bytearray(data)
    for position in range(len(data)):
        for bit in range(8):
            changed[position] ^= 1 << bit
            yield bytes(changed)
            changed[position] ^= 1 << bit


@given(st.binary(max_size=300))
def test_foreign_bytes_are_malformed(data: bytes) -> None:
    """Bytes that are no envelope give an error of our family."""
    with pytest.raises(MalformedError):
        envelope.parse(data)


def _rename(value: dict[str, Any]) -> None:
    value["payloadtype"] = value.pop("payloadType")


def _twice(value: dict[str, Any]) -> None:
    value["signatures"] = [value["signatures"][0]] * 2


def _unsorted(value: dict[str, Any]) -> None:
    value["signatures"].reverse()


def _spare_bits(value: dict[str, Any]) -> None:
    assert value["signatures"][0]["sig"].endswith("==")
    sig = value["signatures"][0]["sig"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    value["signatures"][0]["sig"] = sig[:-3] + alphabet[alphabet.index(sig[-3]) | 1] + "=="


def _short_signature(value: dict[str, Any]) -> None:
    value["signatures"][0]["sig"] = base64.b64encode(b"x" * 65).decode()


def _put(*path: Any, value: Any) -> Any:
    def edit(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (_rename, "envelope.payload_type"),
        (_put("payloadType", value="application/vnd.in-toto+json"), "envelope.payload_type"),
        (_put("payloadType", value=None), "envelope.payload_type"),
        (_put("extra", value=1), "envelope.schema"),
        (_put("signatures", value=[]), "envelope.schema"),
        (_put("signatures", value={}), "envelope.schema"),
        (_put("signatures", 0, "extra", value=""), "envelope.schema"),
        (_put("signatures", 0, "keyid", value="A" * 64), "envelope.schema"),
        (_put("signatures", 0, "sig", value=""), "envelope.schema"),
        (_put("signatures", 0, "sig", value="*" * 88), "envelope.base64"),
        (_put("payload", value=1), "envelope.schema"),
        (_put("payload", value="YQ"), "envelope.base64"),
        (_put("payload", value="YQ==\n"), "envelope.base64"),
        (_put("payload", value="Y Q=="), "envelope.base64"),
        (_put("payload", value="YR=="), "envelope.base64"),
        (_put("payload", value="-_8="), "envelope.base64"),
        (_put("payload", value="é==="), "envelope.base64"),
        (_twice, "envelope.signatures_order"),
        (_unsorted, "envelope.signatures_order"),
        (_spare_bits, "envelope.base64"),
        (_short_signature, "envelope.schema"),
    ],
)
def test_malformed_envelope(edit: Any, code: str) -> None:
    """Each rule of the envelope's form has its own refusal."""
    with pytest.raises(MalformedError) as caught:
        envelope.parse(edited(ENVELOPE, edit))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "spelling",
    [
        ENVELOPE[:-1],
        ENVELOPE + b"\n",
        b" " + ENVELOPE,
        ENVELOPE.replace(b"  ", b"\t"),
        json.dumps(json.loads(ENVELOPE)).encode(),
    ],
)
def test_another_spelling_of_the_same_envelope_is_refused(spelling: bytes) -> None:
    """There is one byte form; the same content in another is refused, though every parser reads the same in it."""
    assert json.loads(spelling) == json.loads(ENVELOPE)
    with pytest.raises(MalformedError) as caught:
        envelope.parse(spelling)
    assert caught.value.code == "envelope.byte_form"


def test_a_signature_of_another_kind_of_document_does_not_pass() -> None:
    """What a key signed bare, or as another payload type, is no signature of a manifest."""
    for message in (MANIFEST, envelope.pre_authentication_encoding("application/vnd.in-toto+json", MANIFEST)):
        foreign = envelope.Envelope(MANIFEST, {key("one").id: key("one").sign(message)})
        with pytest.raises(SignatureError) as caught:
            envelope.verify(foreign, MANIFEST, {key("one").id: key("one").public_key})
        assert caught.value.code == "signature.wrong"


def test_one_wrong_signature_of_a_known_key_spoils_the_right_ones() -> None:
    """Every signature by a known key must verify, whatever the order of the keys."""
    right = envelope.parse(ENVELOPE).signatures
    for wrong in right:
        spoiled = envelope.Envelope(MANIFEST, {**right, wrong: bytes(64)})
        with pytest.raises(SignatureError):
            envelope.verify(spoiled, MANIFEST, {key(seed).id: key(seed).public_key for seed in ("one", "two")})


def test_signing_again_adds_and_never_doubles() -> None:
    """A further signature keeps the earlier ones; the same key again gives the same bytes."""
    first = envelope.sign(MANIFEST, [key("one")])
    assert envelope.encode(envelope.sign(MANIFEST, [key("two")], first)) == ENVELOPE
    assert envelope.sign(MANIFEST, [key("one")], first) == first
    with pytest.raises(SignatureError):
        envelope.sign(MANIFEST + b" ", [key("two")], first)


def test_a_key_id_cannot_be_claimed() -> None:
    """A key's id is the sha256 of its raw bytes: a signature under another key's id is that other key's, and wrong."""
    foreign = envelope.Envelope(
        MANIFEST, {key("one").id: envelope.sign(MANIFEST, [key("two")]).signatures[key("two").id]}
    )
    with pytest.raises(SignatureError):
        envelope.verify(foreign, MANIFEST, {key("one").id: key("one").public_key})


@pytest.mark.parametrize("data", [b"", b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", b"\xff" * 100])
def test_what_is_no_key_is_malformed(data: bytes) -> None:
    """Bytes that hold no Ed25519 key give an error of our family, whichever half was asked for."""
    for load in (lambda: keys.load_public_key(data, "test"), lambda: keys.load_private_key(data, None, "test")):
        with pytest.raises(MalformedError) as caught:
            load()
        assert caught.value.code == "key.malformed"


def test_keys_of_other_kinds_are_refused() -> None:
    """An elliptic-curve key of another kind is no Ed25519 key, in either half."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    other = generate_private_key(SECP256R1())
    with pytest.raises(MalformedError):
        keys.load_public_key(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "test")
    with pytest.raises(MalformedError):
        keys.load_private_key(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), None, "test")


def test_locked_keys_need_their_passphrase() -> None:
    """Without the passphrase, or with a wrong one, the error says so; with it the key is the same."""
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    pem = key("one")._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open"))
    for passphrase in (None, b"wrong"):
        with pytest.raises(UsageError) as caught:
            keys.load_private_key(pem, passphrase, "test")
        assert caught.value.code == "key.passphrase"
    assert keys.load_private_key(pem, b"open", "test").id == key("one").id
    assert "one" not in repr(keys.load_private_key(pem, b"open", "test"))
