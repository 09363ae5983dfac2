"""V2 and the trust half of V4: envelopes, keys, thresholds, validities, the trust file itself."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from alphaseal.format import strict_json
from vector_cases.base import (
    AT,
    CREATED,
    PAYLOAD_TYPE,
    TRUSTED,
    UNSIGNED,
    Case,
    Edit,
    Plain,
    at,
    both,
    bundle,
    drop,
    envelope,
    key_id,
    known,
    private_key,
    public_bytes,
    put,
    replaced,
    signature,
    signed,
    text64,
    trust,
    with_trust,
)

_ENVELOPE = "bundle/manifest.dsse.json"
_ORDER_OF_ED25519 = 2**252 + 27742317777372353535851937790883648493
_NOT_READY = both(put("eligibility.ready", False), put("eligibility.reasons", [{"code": "found_by_scan", "text": "x"}]))
_TWO = {"ci": 1, "approver": 1}


def cases() -> Iterator[Case]:
    yield from _envelopes()
    yield from _signatures()
    yield from _keys()
    yield from _facts()
    yield from _trust_files()
    yield from _passing()


def _case(
    name: str, text: str, status: int, code: str, files: dict[str, bytes], arguments: list[str] | None = None
) -> Case:
    return Case(name, text, "verify", arguments or TRUSTED, status, code, files)


def _enveloped(edit: Edit | None = None, raw: Callable[[bytes], bytes] | None = None) -> dict[str, bytes]:
    """The small bundle, signed by ci, with its envelope edited."""
    files = with_trust(bundle())
    value = envelope(files["bundle/manifest.json"], "ci")
    if edit is not None:
        edit(value)
    data = strict_json.dumps(value)
    return files | {_ENVELOPE: data if raw is None else raw(data)}


# --- the envelope's form --------------------------------------------------------------------------------------------------


def _text(place: str, change: Callable[[str], str]) -> Edit:
    def edit(plain: Plain) -> None:
        holder = plain["signatures"][0] if place == "sig" else plain
        holder[place] = change(holder[place])

    return edit


def _spare_bits(text: str) -> str:
    """The last letter before the padding with bits that decode to nothing."""
    assert text.endswith("==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-3] + alphabet[alphabet.index(text[-3]) | 1] + "=="


def _url_safe(text: str) -> str:
    return base64.urlsafe_b64encode(b"\xfb" * 64).decode() if "-" not in text else text


ENVELOPES: dict[str, tuple[Edit | None, Callable[[bytes], bytes] | None, str, str]] = {
    "payload_type_other": (
        put("payloadType", "application/vnd.in-toto+json"),
        None,
        "envelope.payload_type",
        "of another kind of document",
    ),
    "payload_type_version": (
        put("payloadType", PAYLOAD_TYPE.replace("v1", "v2")),
        None,
        "envelope.payload_type",
        "of another version",
    ),
    "payload_type_case": (
        put("payloadType", PAYLOAD_TYPE.upper()),
        None,
        "envelope.payload_type",
        "with its kind in upper case",
    ),
    "payload_type_absent": (drop("payloadType"), None, "envelope.payload_type", "without a kind"),
    "array": (None, lambda data: b"[]\n", "envelope.payload_type", "that is an array"),
    "field_unknown": (put("comment", "x"), None, "envelope.schema", "with an unknown field"),
    "payload_absent": (drop("payload"), None, "envelope.schema", "without a payload"),
    "signatures_absent": (drop("signatures"), None, "envelope.schema", "without signatures"),
    "signatures_empty": (put("signatures", []), None, "envelope.schema", "with an empty list of signatures"),
    "signatures_65": (
        put("signatures", [{"keyid": f"{number:064x}", "sig": text64(bytes(64))} for number in range(65)]),
        None,
        "envelope.schema",
        "with 65 signatures",
    ),
    "signature_field_unknown": (
        put("signatures.0.cert", "x"),
        None,
        "envelope.schema",
        "with a certificate beside a signature",
    ),
    "keyid_upper_case": (
        put("signatures.0.keyid", key_id("ci").upper()),
        None,
        "envelope.schema",
        "with a key id in upper case",
    ),
    "keyid_empty": (put("signatures.0.keyid", ""), None, "envelope.schema", "with an empty key id"),
    "keyid_absent": (drop("signatures.0.keyid"), None, "envelope.schema", "without a key id"),
    "signature_short": (
        put("signatures.0.sig", text64(bytes(63))),
        None,
        "envelope.schema",
        "with a signature of 63 bytes",
    ),
    "signature_66": (
        put("signatures.0.sig", text64(bytes(66))),
        None,
        "envelope.schema",
        "with a signature of 66 bytes",
    ),
    "signature_empty": (put("signatures.0.sig", ""), None, "envelope.schema", "with an empty signature"),
    "signature_list": (put("signatures.0.sig", [1]), None, "envelope.schema", "with a list for a signature"),
    "base64_url_safe": (
        _text("sig", _url_safe),
        None,
        "envelope.base64",
        "with a signature in the alphabet of addresses",
    ),
    "base64_spare_bits": (_text("sig", _spare_bits), None, "envelope.base64", "with spare bits of a signature set"),
    "base64_inner_space": (
        _text("sig", lambda text: text[:40] + " " + text[41:]),
        None,
        "envelope.base64",
        "with a space inside a signature",
    ),
    "base64_no_padding": (
        _text("payload", lambda text: text[:-1]),
        None,
        "envelope.base64",
        "with a payload of a wrong length",
    ),
    "base64_line_end": (
        _text("payload", lambda text: text + "\n"),
        None,
        "envelope.base64",
        "with a line end behind its payload",
    ),
    "base64_lines": (
        _text("payload", lambda text: text[:76] + "\n" + text[76:]),
        None,
        "envelope.base64",
        "with a payload in lines, as MIME has it",
    ),
    "base64_not_ascii": (
        _text("payload", lambda text: text[:40] + "\uff21" + text[41:]),
        None,
        "envelope.base64",
        "with a full-width letter in its payload",
    ),
    "key_twice": (
        lambda plain: plain["signatures"].append(plain["signatures"][0]),
        None,
        "envelope.signatures_order",
        "with one key's signature twice",
    ),
    "json_duplicate_key": (
        None,
        replaced('"payloadType"', '"payload": "",\n  "payloadType"'),
        "json.duplicate_key",
        "with a key twice",
    ),
    "json_bom": (None, lambda data: b"\xef\xbb\xbf" + data, "json.bom", "that begins with a byte order mark"),
    "json_two_values": (None, lambda data: data + b"{}", "json.syntax", "with something behind it"),
    "json_empty": (None, lambda data: b"", "json.syntax", "that is empty"),
    "form_one_line": (
        None,
        lambda data: json.dumps(json.loads(data), sort_keys=True).encode() + b"\n",
        "envelope.byte_form",
        "in one line",
    ),
    "form_no_line_end": (None, lambda data: data[:-1], "envelope.byte_form", "without a line end"),
    "form_crlf": (
        None,
        lambda data: data.replace(b"\n", b"\r\n"),
        "envelope.byte_form",
        "with lines that end with CR LF",
    ),
    "form_escaped": (None, replaced('"payload"', '"\\u0070ayload"'), "envelope.byte_form", "with an escaped letter"),
}


def _envelopes() -> Iterator[Case]:
    for name, (edit, raw, code, text) in ENVELOPES.items():
        yield _case(f"envelope_{name}", f"V2: an envelope {text}.", 10, code, _enveloped(edit, raw))
    files = with_trust(signed(bundle(), "ci", "second"), trust(known("ci"), known("second")))
    value = json.loads(files[_ENVELOPE])
    value["signatures"].reverse()
    files[_ENVELOPE] = strict_json.dumps(value)
    yield _case(
        "envelope_signatures_not_sorted",
        "V2: signatures that are not sorted by key id.",
        10,
        "envelope.signatures_order",
        files,
    )


# --- signatures ---------------------------------------------------------------------------------------------------------


def _sign_with(seed: str, message: Callable[[bytes], bytes], keyid: str | None = None) -> dict[str, bytes]:
    """A signature over another message, under a key id."""
    files = with_trust(bundle())
    payload = files["bundle/manifest.json"]
    value = envelope(payload, "ci")
    value["signatures"] = [{"keyid": keyid or key_id(seed), "sig": text64(private_key(seed).sign(message(payload)))}]
    return files | {_ENVELOPE: strict_json.dumps(value)}


def _signature_of(change: Callable[[bytes], bytes]) -> dict[str, bytes]:
    return _enveloped(_text("sig", lambda text: text64(change(base64.b64decode(text)))))


def _plus_order(data: bytes) -> bytes:
    """The same signature with S + L, which older verifiers accept."""
    return data[:32] + (int.from_bytes(data[32:], "little") + _ORDER_OF_ED25519).to_bytes(32, "little")


def _pae(payload: bytes, kind: str = PAYLOAD_TYPE, head: bytes = b"DSSEv1") -> bytes:
    return b"%b %d %b %d %b" % (head, len(kind), kind.encode(), len(payload), payload)


def _signatures() -> Iterator[Case]:
    wrong: dict[str, tuple[dict[str, bytes], str]] = {
        "bit_of_r": (_signature_of(lambda data: bytes([data[0] ^ 1]) + data[1:]), "with one bit of R another"),
        "bit_of_s": (
            _signature_of(lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:]),
            "with one bit of S another",
        ),
        "zero": (_signature_of(lambda data: bytes(64)), "of zeros"),
        "s_plus_order": (_signature_of(_plus_order), "in its second form, S plus the group's order"),
        "raw_payload": (_sign_with("ci", lambda payload: payload), "over the payload without DSSE's encoding"),
        "other_type": (
            _sign_with("ci", lambda payload: _pae(payload, "application/json")),
            "over another kind of document",
        ),
        "other_protocol": (
            _sign_with("ci", lambda payload: _pae(payload, head=b"DSSEv2")),
            "over another version of DSSE",
        ),
        "base64_payload": (
            _sign_with("ci", lambda payload: _pae(base64.b64encode(payload))),
            "over the payload in base64",
        ),
        "other_key": (_sign_with("stranger", _pae, key_id("ci")), "of another key under a known key's id"),
        "other_payload": (_sign_with("ci", lambda payload: _pae(payload + b" ")), "over another payload"),
    }
    for name, (files, text) in wrong.items():
        yield _case(f"signature_{name}", f"V2: a known key's signature {text}.", 13, "signature.wrong", files)
    right_and_wrong = with_trust(signed(bundle(), "ci", "second"), trust(known("ci"), known("second")))
    value = json.loads(right_and_wrong[_ENVELOPE])
    for entry in value["signatures"]:
        entry["sig"] = text64(bytes(64)) if entry["keyid"] == key_id("second") else entry["sig"]
    right_and_wrong[_ENVELOPE] = strict_json.dumps(value)
    yield _case(
        "signature_one_right_one_wrong",
        "V2: one right and one wrong signature by known keys.",
        13,
        "signature.wrong",
        right_and_wrong,
    )
    revoked = {**right_and_wrong} | with_trust({}, trust(known("ci"), known("second"), revoked_keys=[key_id("second")]))
    yield _case(
        "signature_wrong_by_revoked_key",
        "V2: a wrong signature by a revoked key, beside a right one.",
        13,
        "signature.wrong",
        revoked,
    )
    expired = {**right_and_wrong} | with_trust({}, trust(known("ci"), known("second", not_after=CREATED)))
    yield _case(
        "signature_wrong_by_expired_key",
        "V2: a wrong signature by an expired key, beside a right one.",
        13,
        "signature.wrong",
        expired,
    )
    other = _enveloped(put("payload", text64(bundle(edit=put("sequence", 4))["bundle/manifest.json"])))
    yield _case("signature_payload_other", "V2: the envelope carries another manifest.", 13, "signature.payload", other)
    yield _case(
        "signature_payload_empty",
        "V2: the envelope carries nothing.",
        13,
        "signature.payload",
        _enveloped(put("payload", "")),
    )
    changed = with_trust(signed(bundle(), "ci"))
    changed["bundle/manifest.json"] = bundle(edit=put("sequence", 99))["bundle/manifest.json"]
    yield _case(
        "signature_manifest_changed",
        "V2: the manifest was changed after it was signed.",
        13,
        "signature.payload",
        changed,
    )
    malformed = with_trust(signed(bundle(), "ci"))
    malformed["bundle/manifest.json"] = b"{"
    text = "V2: the manifest was changed to something that is no JSON; signatures are looked at before it is parsed."
    yield _case("signature_before_parsing", text, 13, "signature.payload", malformed)
    both_wrong = with_trust(signed(bundle(raw=lambda data: data.rstrip(b"\n")), "ci"))
    yield _case(
        "signed_and_malformed",
        "V4: a manifest that was signed in another byte form.",
        10,
        "manifest.byte_form",
        both_wrong,
    )


# --- keys -----------------------------------------------------------------------------------------------------------------


def _keys() -> Iterator[Case]:
    unsigned = with_trust(bundle())
    by_ci = signed(bundle(), "ci")
    yield _case("unsigned", "V2: an unsigned bundle where signatures are asked for.", 14, "trust.unsigned", unsigned)
    yield _case(
        "no_trust_given",
        "V2: a signed bundle and nobody who says what is trusted.",
        14,
        "trust.unsigned",
        by_ci,
        ["bundle"],
    )
    yield _case(
        "unsigned_no_trust_given",
        "V2: an unsigned bundle and nobody who allows it.",
        14,
        "trust.unsigned",
        bundle(),
        ["bundle"],
    )
    stranger = with_trust(signed(bundle(), "stranger"))
    yield _case("unknown_key", "V2: signed by an unknown key only.", 14, "trust.unknown_key", stranger)
    no_keys = with_trust(by_ci, trust() | {"keys": []})
    yield _case("no_keys", "V2: a trust file without keys.", 14, "trust.unknown_key", no_keys)
    with_key = signed(bundle(), "stranger") | {"ci.pub": pem("ci")}
    yield _case(
        "other_key_given",
        "V2: signed by another key than --key names.",
        14,
        "trust.unknown_key",
        with_key,
        ["bundle", "--key", "ci.pub", "--at", AT],
    )
    few = {"too_few": (trust(known("ci"), known("approver", "approver"), thresholds=_TWO), "one role of two")}
    few["too_few_of_role"] = (
        trust(known("ci"), known("second"), thresholds={"ci": 2}),
        "one key where two of its role are asked for",
    )
    few["role_of_trust_file"] = (
        trust(known("ci", "approver"), known("second")),
        "a key of another role than the one asked for",
    )
    for name, (value, text) in few.items():
        yield _case(f"threshold_{name}", f"V2: signed by {text}.", 14, "trust.too_few", with_trust(by_ci, value))
    two_of_one = with_trust(
        signed(bundle(), "ci", "second"),
        trust(known("ci"), known("second"), known("approver", "approver"), thresholds=_TWO),
    )
    yield _case(
        "threshold_two_of_one_role",
        "V2: two keys of one role do not make an approval.",
        14,
        "trust.too_few",
        two_of_one,
    )
    unknown = with_trust(signed(bundle(), "ci", "stranger"), trust(known("ci"), known("second"), thresholds={"ci": 2}))
    yield _case(
        "threshold_with_unknown_key", "V2: an unknown key's signature does not count.", 14, "trust.too_few", unknown
    )
    revoked = with_trust(by_ci, trust(revoked_keys=[key_id("ci")]))
    yield _case("key_revoked", "V2: signed by a revoked key.", 14, "trust.key_revoked", revoked)
    forgotten = with_trust(by_ci, trust(known("second"), revoked_keys=[key_id("ci")]))
    yield _case(
        "key_revoked_and_removed",
        "V2: signed by a revoked key that is no longer listed.",
        14,
        "trust.key_revoked",
        forgotten,
    )
    one_revoked = trust(known("ci"), known("approver", "approver"), thresholds=_TWO, revoked_keys=[key_id("approver")])
    approved = signed(bundle(), "ci", "approver")
    yield _case(
        "approver_revoked", "V2: approved by a revoked key.", 14, "trust.key_revoked", with_trust(approved, one_revoked)
    )
    digest = _digest(bundle())
    gone = with_trust(by_ci, trust(revoked_digests=[digest]))
    yield _case("digest_revoked", "V2: this very bundle was revoked.", 14, "trust.digest_revoked", gone)
    validities: dict[str, tuple[Plain, str, str, str]] = {
        "expired": ({"not_after": "2026-01-15T00:00:00Z"}, AT, "trust.key_expired", "a key whose validity is over"),
        "expired_at_its_end": ({"not_after": AT}, AT, "trust.key_expired", "a key in the very second of its end"),
        "not_yet_valid": (
            {"not_before": "2026-02-01T00:00:00Z"},
            AT,
            "trust.key_not_yet_valid",
            "a key whose validity has not begun",
        ),
        "second_before": (
            {"not_before": AT},
            "2026-01-31T08:59:59Z",
            "trust.key_not_yet_valid",
            "a key one second before its validity",
        ),
    }
    for name, (bounds, instant, code, text) in validities.items():
        yield _case(
            f"key_{name}",
            f"V2: signed by {text}.",
            15,
            code,
            with_trust(by_ci, trust(known("ci", **bounds))),
            at(instant),
        )
    mixed = trust(known("ci"), known("approver", "approver", not_after=CREATED), thresholds=_TWO)
    yield _case(
        "approver_expired", "V2: approved by an expired key.", 15, "trust.key_expired", with_trust(approved, mixed)
    )


def _digest(files: dict[str, bytes]) -> str:
    import hashlib

    return hashlib.sha256(files["bundle/manifest.json"]).hexdigest()


def pem(seed: str) -> bytes:
    """A public test key as a file."""
    public = private_key(seed).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


# --- what the trust asks of the manifest ------------------------------------------------------------------------------------


def _facts() -> Iterator[Case]:
    expiring = bundle(edit=put("expires", AT))
    yield _case(
        "expired",
        "V4: a bundle in the very second of its expiry.",
        15,
        "trust.bundle_expired",
        with_trust(signed(expiring, "ci")),
    )
    arguments = [*UNSIGNED, "--at", AT]
    yield _case(
        "expired_unsigned", "V4: an unsigned bundle expires too.", 15, "trust.bundle_expired", expiring, arguments
    )
    before = bundle(edit=put("expires", "2025-01-01T00:00:00Z"))
    yield _case(
        "expired_before_created",
        "V4: a bundle that expired before it was created.",
        15,
        "trust.bundle_expired",
        with_trust(signed(before, "ci")),
    )
    by_ci = signed(bundle(), "ci")
    limited = with_trust(by_ci, trust(maximum_age_days=30))
    yield _case(
        "too_old",
        "V4: created 30 days and one second ago where 30 days are allowed.",
        15,
        "trust.too_old",
        limited,
        at("2026-01-31T00:00:01Z"),
    )
    yield _case(
        "created_in_future",
        "V4: created one second from now where age is limited.",
        15,
        "trust.created_in_future",
        limited,
        at("2025-12-31T23:59:59Z"),
    )
    for name, (bundles, code, text) in {
        "other_name": ({"other": {"lowest_sequence": 1}}, "trust.name", "another name than the trust file has"),
        "no_name": ({}, "trust.name", "a name where the trust file has none"),
        "longer_name": ({"vecto": {"lowest_sequence": 1}}, "trust.name", "a name that begins with an accepted one"),
        "sequence_too_low": ({"vector": {"lowest_sequence": 4}}, "trust.sequence", "a sequence below the lowest"),
    }.items():
        yield _case(f"trust_{name}", f"V4: a bundle of {text}.", 16, code, with_trust(by_ci, trust(bundles=bundles)))
    zero = with_trust(signed(bundle(edit=put("sequence", 0)), "ci"), trust(bundles={"vector": {"lowest_sequence": 1}}))
    yield _case("trust_sequence_zero", "V4: a signed bundle of sequence 0.", 16, "trust.sequence", zero)
    not_ready = with_trust(signed(bundle(edit=_NOT_READY), "ci"))
    yield _case(
        "not_ready", "V4: a bundle that is not ready where readiness is required.", 14, "trust.not_ready", not_ready
    )
    silent = trust()
    del silent["require_ready"]
    yield _case(
        "not_ready_by_default",
        "V4: readiness is required where the trust file does not speak of it.",
        14,
        "trust.not_ready",
        with_trust(not_ready, silent),
    )


# --- the trust file ---------------------------------------------------------------------------------------------------------

_LEGS = {"name": "legs", "role": "ci"}
TRUST_FILES: dict[str, tuple[Plain | Callable[[bytes], bytes], str, str]] = {
    "version_other": (trust(format="2.0"), "trust.version", "of another version"),
    "version_absent": (
        {key: value for key, value in trust().items() if key != "format"},
        "trust.version",
        "without a version",
    ),
    "array": (lambda data: b"[]\n", "trust.version", "that is an array"),
    "field_unknown": (trust(allow_unsigned=True), "trust.schema", "with an unknown field"),
    "field_missing": (
        {key: value for key, value in trust().items() if key != "thresholds"},
        "trust.schema",
        "without thresholds",
    ),
    "no_thresholds": (trust(thresholds={}), "trust.schema", "that asks for no signature"),
    "threshold_zero": (trust(thresholds={"ci": 0}), "trust.schema", "with a threshold of zero"),
    "threshold_true": (trust(thresholds={"ci": True}), "trust.schema", "with true for a threshold"),
    "threshold_negative": (trust(thresholds={"ci": -1}), "trust.schema", "with a negative threshold"),
    "ready_text": (trust(require_ready="no"), "trust.schema", "with a text for a truth value"),
    "ready_null": (trust(require_ready=None), "trust.schema", "with null for a truth value"),
    "age_zero": (trust(maximum_age_days=0), "trust.schema", "with an age of zero days"),
    "lowest_zero": (
        trust(bundles={"vector": {"lowest_sequence": 0}}),
        "trust.schema",
        "with a lowest sequence of zero",
    ),
    "name_rule": (
        trust(bundles={"Vector": {"lowest_sequence": 1}}),
        "trust.schema",
        "with a bundle name in upper case",
    ),
    "key_short": (trust(known("ci", public_key=text64(bytes(31)))), "trust.schema", "with a key of 31 bytes"),
    "key_spare_bits": (
        trust(known("ci", public_key=text64(public_bytes("ci"))[:-2] + "B=")),
        "trust.schema",
        "with spare bits of a key set",
    ),
    "key_url_safe": (
        trust(known("ci", public_key="-" * 43 + "=")),
        "trust.schema",
        "with a key in the alphabet of addresses",
    ),
    "key_no_day": (
        trust(known("ci", not_before="2026-02-30T00:00:00Z")),
        "trust.schema",
        "with a validity from February 30 on",
    ),
    "revoked_not_digest": (trust(revoked_keys=["ci"]), "trust.schema", "that revokes a key by its name"),
    "key_under_two_names": (
        trust(known("ci"), known("ci", name="again"), thresholds={"ci": 2}),
        "trust.key_twice",
        "with one key under two names",
    ),
    "key_in_two_roles": (
        trust(known("ci"), known("ci", "approver", name="again"), thresholds=_TWO),
        "trust.key_twice",
        "with one key in two roles",
    ),
    "two_keys_of_one_name": (
        trust(known("ci"), known("second", name="ci")),
        "trust.key_twice",
        "with two keys of one name",
    ),
    "validity_reversed": (
        trust(known("ci", not_before=AT, not_after=CREATED)),
        "trust.validity",
        "with a validity that ends before it begins",
    ),
    "validity_empty": (
        trust(known("ci", not_before=AT, not_after=AT)),
        "trust.validity",
        "with a validity of no second",
    ),
    "duplicate_key": (
        replaced('"require_ready"', '"require_ready": false,\n  "require_ready"'),
        "json.duplicate_key",
        "with a key twice",
    ),
    "bom": (lambda data: b"\xef\xbb\xbf" + data, "json.bom", "that begins with a byte order mark"),
    "comment": (lambda data: b"// ours\n" + data, "json.syntax", "with a comment"),
    "infinite_threshold": (replaced('"ci": 1', '"ci": Infinity'), "json.number", "with an infinite threshold"),
}


_FIELD = 2**255 - 19
_EIGHTH = 2707385501144840649318225287225658788936804267575313519463743609750303402022
WEAK_KEYS: dict[str, tuple[int, int, str]] = {
    "of_order_1": (1, 0, "the neutral point"),
    "of_order_2": (_FIELD - 1, 0, "the point of order 2"),
    "of_order_4": (0, 0, "a point of order 4"),
    "of_order_4_negative": (0, 1, "the other point of order 4"),
    "of_order_8": (_EIGHTH, 0, "a point of order 8"),
    "of_order_8_negative": (_EIGHTH, 1, "the negative of a point of order 8"),
    "of_order_8_second": (_FIELD - _EIGHTH, 0, "a second point of order 8"),
    "of_order_8_second_negative": (_FIELD - _EIGHTH, 1, "the negative of a second point of order 8"),
    "beyond_the_field": (_FIELD + 3, 0, "a number of the field's size plus 3"),
    "zero_beyond_the_field": (_FIELD, 0, "the point of order 4 with the field's size for 0"),
    "one_beyond_the_field": (_FIELD + 1, 1, "the neutral point with the field's size plus 1 for 1"),
    "with_the_sign_of_zero": (1, 1, "the neutral point with the sign of an odd x"),
    "that_is_no_point": (2, 0, "a number to which no point belongs"),
    "with_a_part_of_order_2": (0, 0, "the sum of a key and the point of order 2"),
}
"""y, the sign bit of x, and what it is: keys that anybody can sign for, or that libraries judge differently."""


def _weak_key(name: str) -> bytes:
    y, sign, _ = WEAK_KEYS[name]
    if name == "with_a_part_of_order_2":
        # The point of order 2 turns x and y of every other into their negatives.
        number = int.from_bytes(public_bytes("ci"), "little")
        y, odd = number & (2**255 - 1), number >> 255
        return ((_FIELD - y) | (1 - odd) << 255).to_bytes(32, "little")
    return (y | sign << 255).to_bytes(32, "little")


def _trust_files() -> Iterator[Case]:
    by_ci = signed(bundle(), "ci")
    for name, (change, code, text) in TRUST_FILES.items():
        files = with_trust(by_ci, change if isinstance(change, dict) else None)
        if not isinstance(change, dict):
            files["trust.json"] = change(files["trust.json"])
        yield _case(f"trust_file_{name}", f"Trust file: one {text}.", 10, code, files)
    for name, (_, _, text) in WEAK_KEYS.items():
        weak = trust(known("ci"), known("second", public_key=text64(_weak_key(name))))
        yield _case(
            f"trust_file_key_{name}", f"Trust file: one with {text} for a key.", 10, "key.weak", with_trust(by_ci, weak)
        )
    large = _case("trust_file_1_mib_and_1", "Trust file: one byte more than 1 MiB.", 10, "json.size", with_trust(by_ci))
    large.setup = [{"op": "extend", "path": "trust.json", "size": (1 << 20) + 1}]
    yield large
    secret = private_key("ci").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for name, (data, text) in {
        "private": (secret, "a private key"),
        "garbage": (b"not a key\n", "no key"),
        "raw": (public_bytes("ci"), "raw bytes"),
    }.items():
        yield _case(
            f"key_file_{name}",
            f"Key file: {text} where a public key is asked for.",
            10,
            "key.malformed",
            by_ci | {"ci.pub": data},
            ["bundle", "--key", "ci.pub", "--at", AT],
        )
    neutral = Ed25519PublicKey.from_public_bytes(_weak_key("of_order_1"))
    data = neutral.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    files = by_ci | {"ci.pub": data, _ENVELOPE: _signed_by_nobody(by_ci["bundle/manifest.json"])}
    text = "Key file: the neutral point, under which a signature that nobody made holds for every manifest."
    yield _case("key_file_of_order_1", text, 10, "key.weak", files, ["bundle", "--key", "ci.pub", "--at", AT])


def _signed_by_nobody(manifest: bytes) -> bytes:
    """An envelope with the signature of the neutral point: itself, and 0."""
    key = _weak_key("of_order_1")
    signature = {"keyid": hashlib.sha256(key).hexdigest(), "sig": text64(key + bytes(32))}
    return strict_json.dumps({"payload": text64(manifest), "payloadType": PAYLOAD_TYPE, "signatures": [signature]})


# --- what passes --------------------------------------------------------------------------------------------------------------


def _passing() -> Iterator[Case]:
    def passes(name: str, text: str, files: dict[str, bytes], arguments: list[str] | None = None) -> Case:
        return _case(name, text, 0, "ok", files, arguments)

    by_ci, approved = signed(bundle(), "ci"), signed(bundle(), "ci", "approver")
    two = trust(known("ci"), known("approver", "approver"), thresholds=_TWO)
    yield passes("unsigned_allowed", "V2: an unsigned bundle passes where the caller allows it.", bundle(), UNSIGNED)
    yield passes("signed", "V2: one signature by the one key.", with_trust(by_ci))
    yield passes("signed_and_approved", "V2: a signature of each role.", with_trust(approved, two))
    yield passes(
        "signed_key_given",
        "V2: signed by the key that --key names.",
        by_ci | {"ci.pub": pem("ci")},
        ["bundle", "--key", "ci.pub", "--at", AT],
    )
    yield passes(
        "signed_but_allowed_unsigned",
        "V2: nobody looks at an envelope where unsigned bundles are allowed.",
        bundle() | {_ENVELOPE: b"{}"},
        UNSIGNED,
    )
    yield passes(
        "signed_by_stranger_too",
        "V2: a signature by an unknown key is passed over.",
        with_trust(signed(bundle(), "ci", "stranger")),
    )
    files = with_trust(by_ci)
    value = json.loads(files[_ENVELOPE])
    value["signatures"] = sorted(
        [*value["signatures"], {**signature("stranger", b""), "sig": text64(bytes(64))}],
        key=lambda one: str(one["keyid"]),
    )
    yield passes(
        "wrong_signature_by_stranger",
        "V2: a signature by an unknown key is passed over, right or wrong.",
        files | {_ENVELOPE: strict_json.dumps(value)},
    )
    rotation = trust(known("ci", not_after="2026-02-01T00:00:00Z"), known("second", not_before="2026-01-15T00:00:00Z"))
    yield passes("rotation_old_key", "V2: in a rotation the old key still counts.", with_trust(by_ci, rotation))
    yield passes(
        "rotation_new_key",
        "V2: in a rotation the new key counts already.",
        with_trust(signed(bundle(), "second"), rotation),
    )
    over = at("2026-02-01T00:00:00Z")
    yield passes(
        "rotation_both_keys",
        "V2: after a rotation the new key's signature beside the old one's is enough.",
        with_trust(signed(bundle(), "ci", "second"), rotation),
        over,
    )
    bounded = trust(known("ci", not_before=AT, not_after="2026-01-31T09:00:02Z"))
    yield passes(
        "key_first_second", "V2: a key counts in the first second of its validity.", with_trust(by_ci, bounded)
    )
    yield passes(
        "key_last_second",
        "V2: a key counts in the last second before its end.",
        with_trust(by_ci, bounded),
        at("2026-01-31T09:00:01Z"),
    )
    yield passes(
        "second_key_revoked",
        "V2: a revoked key does no harm where others are enough.",
        with_trust(
            signed(bundle(), "ci", "second"), trust(known("ci"), known("second"), revoked_keys=[key_id("second")])
        ),
    )
    expiring = signed(bundle(edit=put("expires", "2026-01-31T09:00:01Z")), "ci")
    yield passes(
        "last_second_before_expiry", "V4: a bundle passes in the last second before its expiry.", with_trust(expiring)
    )
    yield passes(
        "oldest_allowed",
        "V4: created exactly 30 days ago where 30 days are allowed.",
        with_trust(by_ci, trust(maximum_age_days=30)),
        at("2026-01-31T00:00:00Z"),
    )
    yield passes(
        "created_now",
        "V4: created in this very second where age is limited.",
        with_trust(by_ci, trust(maximum_age_days=1)),
        at(CREATED),
    )
    yield passes(
        "lowest_sequence",
        "V4: exactly the lowest sequence.",
        with_trust(by_ci, trust(bundles={"vector": {"lowest_sequence": 3}})),
    )
    yield passes(
        "readiness_not_required",
        "V4: a bundle that is not ready where readiness is not required.",
        with_trust(signed(bundle(edit=_NOT_READY), "ci"), trust(require_ready=False)),
    )
    layout = json.dumps(trust()).replace(" ", "\r\n\t").encode()
    yield passes(
        "trust_file_in_any_layout",
        "Trust file: it is its owner's and may be laid out in any way.",
        by_ci | {"trust.json": layout},
    )
