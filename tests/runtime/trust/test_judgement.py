"""What the trading side accepts: distinct keys by role, validity, revocation, succession, readiness; nothing by default."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import alphaseal
from alphaseal import cli
from alphaseal.disk import tree
from alphaseal.errors import (
    AlphasealError,
    ExpiredError,
    MalformedError,
    NotTrustedError,
    RollbackError,
    SelfTestError,
    SignatureError,
    UsageError,
)
from alphaseal.format import instants, strict_json
from alphaseal.format import manifest as m
from alphaseal.scoring import selftest
from alphaseal.trust import policy as trust_file
from alphaseal.trust.judgement import Trust
from bundles import FACTOR_PLAIN, factor_plain_bundle, raw_values
from commands import run
from manifests import example_manifest
from raising import code_of
from signed import envelope_of, key, known, policy, rule, signed_bundle, trust, write_trust

MANIFEST = example_manifest()
DATA = m.encode(MANIFEST)
DIGEST = m.digest(DATA)
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def public_file(folder: Path, seed: str) -> Path:
    """The public key of `key(seed)` as keygen writes it."""
    path = folder / f"{seed}.pub"
    path.write_bytes(key(seed)._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def test_nothing_is_accepted_without_trust() -> None:
    """A `Trust` that was told nothing refuses every bundle, signed or not."""
    for envelope in (None, envelope_of(DATA, "a")):
        assert (
            code_of(lambda envelope=envelope: Trust().check_signatures(DATA, envelope), NotTrustedError)
            == "trust.unsigned"
        )


def test_a_trust_file_refuses_unsigned_bundles() -> None:
    """An envelope that was taken away leaves nothing that could be accepted."""
    assert code_of(lambda: trust(known("a")).check_signatures(DATA, None), NotTrustedError) == "trust.unsigned"


def test_unsigned_trust_ignores_an_envelope_and_says_nobody_signed() -> None:
    """Without a look at signatures nobody is reported as signer, even where the envelope is nonsense."""
    assert Trust.unsigned().check_signatures(DATA, b"nonsense") == ()


def test_who_signed_is_reported_by_the_names_of_the_trust_file() -> None:
    """The signers that counted come back with name, role and key id."""
    (signer,) = trust(known("a")).check_signatures(DATA, envelope_of(DATA, "a", "stranger"))
    assert (signer.name, signer.role, signer.key) == ("a", "ci", key("a").id)


TWO_ROLES = {"thresholds": {"ci": 1, "approver": 1}}
TWO_CI = {"thresholds": {"ci": 2}}


@pytest.mark.parametrize(
    ("signers", "entries", "changes", "code"),
    [
        (["stranger"], [known("a")], {}, "trust.unknown_key"),
        (["a"], [known("a")], TWO_CI, "trust.too_few"),
        (["a", "stranger"], [known("a")], TWO_CI, "trust.too_few"),
        (["a"], [known("a"), known("b", "approver")], TWO_ROLES, "trust.too_few"),
        (["a", "c"], [known("a"), known("b", "approver"), known("c")], TWO_ROLES, "trust.too_few"),
        (["b"], [known("a"), known("b", "approver")], TWO_ROLES, "trust.too_few"),
        (["a"], [known("a")], {"revoked_keys": [key("a").id]}, "trust.key_revoked"),
        (["a"], [known("b")], {"revoked_keys": [key("a").id]}, "trust.key_revoked"),
        (["a", "b"], [known("a"), known("b")], TWO_CI | {"revoked_keys": [key("b").id]}, "trust.key_revoked"),
        (["a"], [known("a")], {"revoked_digests": [DIGEST]}, "trust.digest_revoked"),
    ],
)
def test_not_trusted(signers: list[str], entries: list[Any], changes: dict[str, Any], code: str) -> None:
    """Each way of not being signed enough is refused with 14 and its own code."""
    assert (
        code_of(lambda: trust(*entries, **changes).check_signatures(DATA, envelope_of(DATA, *signers)), NotTrustedError)
        == code
    )


@pytest.mark.parametrize(
    ("signers", "entries", "changes"),
    [
        (["a", "b"], [known("a"), known("b", "approver")], TWO_ROLES),
        (["a", "b", "stranger"], [known("a"), known("b")], TWO_CI),
        (["a", "b"], [known("a"), known("b")], {"revoked_keys": [key("b").id]}),
        (["a"], [known("a")], {"revoked_digests": ["0" * 64], "revoked_keys": [key("b").id]}),
    ],
)
def test_trusted(signers: list[str], entries: list[Any], changes: dict[str, Any]) -> None:
    """Enough distinct keys of every role are enough, whoever else signed."""
    assert trust(*entries, **changes).check_signatures(DATA, envelope_of(DATA, *signers))


def test_a_wrong_signature_of_a_revoked_or_expired_key_is_still_wrong() -> None:
    """A key does not become a stranger when it stops counting."""
    from alphaseal.trust import envelope

    spoiled = envelope.encode(
        envelope.Envelope(DATA, {**envelope.sign(DATA, [key("a")]).signatures, key("b").id: bytes(64)})
    )
    for changes, validity in (({"revoked_keys": [key("b").id]}, {}), ({}, {"not_after": "2000-01-01T00:00:00Z"})):
        judge = trust(known("a"), known("b", **validity), **changes)
        assert code_of(lambda judge=judge: judge.check_signatures(DATA, spoiled), SignatureError) == "signature.wrong"


def at(text: str, file: trust_file.TrustFile) -> Trust:
    """This trust file at this instant."""
    return Trust(policy=file, at=instants.read(text))


def test_validity_of_a_key_is_from_its_first_to_before_its_last_instant() -> None:
    """A key counts from not_before on and no longer at not_after; outside it is expired (15)."""
    file = policy(known("a", not_before="2026-01-01T00:00:00Z", not_after="2026-02-01T00:00:00Z"))
    signed = envelope_of(DATA, "a")
    for instant in ("2026-01-01T00:00:00Z", "2026-01-31T23:59:59Z"):
        assert at(instant, file).check_signatures(DATA, signed)
    assert (
        code_of(lambda: at("2025-12-31T23:59:59Z", file).check_signatures(DATA, signed), ExpiredError)
        == "trust.key_not_yet_valid"
    )
    assert (
        code_of(lambda: at("2026-02-01T00:00:00Z", file).check_signatures(DATA, signed), ExpiredError)
        == "trust.key_expired"
    )


def test_every_counted_key_is_looked_at_not_the_first_alone() -> None:
    """One expired key among two that are needed is enough to refuse."""
    file = policy(known("a"), known("b", not_after="2026-01-01T00:00:00Z"), **TWO_CI)
    assert (
        code_of(
            lambda: at("2026-06-01T00:00:00Z", file).check_signatures(DATA, envelope_of(DATA, "a", "b")), ExpiredError
        )
        == "trust.key_expired"
    )


def test_rotation_is_two_overlapping_validities() -> None:
    """Old key until March, new one from February on: each alone in its time, both in between, never a gap."""
    file = policy(known("old", not_after="2026-03-01T00:00:00Z"), known("new", not_before="2026-02-01T00:00:00Z"))
    accepted = {
        (month, signer)
        for month in ("2026-01-15T00:00:00Z", "2026-02-15T00:00:00Z", "2026-03-15T00:00:00Z")
        for signer in ("old", "new")
        if _accepts(at(month, file), signer)
    }
    assert accepted == {
        ("2026-01-15T00:00:00Z", "old"),
        ("2026-02-15T00:00:00Z", "old"),
        ("2026-02-15T00:00:00Z", "new"),
        ("2026-03-15T00:00:00Z", "new"),
    }
    # Signed by both during the overlap, a bundle stays acceptable through it and after it.
    for month in ("2026-01-15T00:00:00Z", "2026-02-15T00:00:00Z", "2026-03-15T00:00:00Z"):
        assert at(month, file).check_signatures(DATA, envelope_of(DATA, "old", "new"))


def _accepts(judge: Trust, signer: str) -> bool:
    try:
        return bool(judge.check_signatures(DATA, envelope_of(DATA, signer)))
    except ExpiredError:
        return False


def facts(**changes: Any) -> m.Manifest:
    """The example manifest with other facts."""
    return msgspec.structs.replace(MANIFEST, **changes)


NOT_READY = m.Eligibility(ready=False, reasons=[m.Reason(code="order_not_replayed", text="")])


@pytest.mark.parametrize(
    ("changes", "fields", "kind", "code"),
    [
        ({"bundles": {"other": rule(1)}}, {}, RollbackError, "trust.name"),
        ({"bundles": {}}, {}, RollbackError, "trust.name"),
        ({"bundles": {MANIFEST.name: rule(4)}}, {}, RollbackError, "trust.sequence"),
        ({"bundles": {MANIFEST.name: rule(1)}}, {"sequence": 0}, RollbackError, "trust.sequence"),
        ({}, {"eligibility": NOT_READY}, NotTrustedError, "trust.not_ready"),
        ({}, {"expires": instants.write(NOON)}, ExpiredError, "trust.bundle_expired"),
        ({"maximum_age_days": 30}, {"created": "2026-01-01T11:59:59Z"}, ExpiredError, "trust.too_old"),
        ({"maximum_age_days": 30}, {"created": "2026-01-31T12:00:01Z"}, ExpiredError, "trust.created_in_future"),
    ],
)
def test_facts_that_are_refused(
    changes: dict[str, Any], fields: dict[str, Any], kind: type[AlphasealError], code: str
) -> None:
    """Name, sequence, readiness, expiry and age: each refusal has its family and code."""
    judge = Trust(policy=policy(known("a"), **changes), at=NOON)
    assert code_of(lambda: judge.check_facts(facts(**fields)), kind) == code


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"bundles": {MANIFEST.name: rule(3), "other": rule(9)}}, {}),
        ({"bundles": None}, {"sequence": 0}),
        ({"require_ready": False}, {"eligibility": NOT_READY}),
        ({}, {"expires": instants.write(NOON + timedelta(seconds=1))}),
        ({"maximum_age_days": 30}, {"created": "2026-01-01T12:00:00Z"}),
        ({"maximum_age_days": 30}, {"created": "2026-01-31T12:00:00Z"}),
        ({}, {"created": "2036-01-31T12:00:00Z"}),
    ],
)
def test_facts_that_are_accepted(changes: dict[str, Any], fields: dict[str, Any]) -> None:
    """The last values that are still inside each bound."""
    Trust(policy=policy(known("a"), **changes), at=NOON).check_facts(facts(**fields))


def test_expiry_of_a_bundle_holds_without_signatures_too() -> None:
    """A bundle says itself until when it may be used; --allow-unsigned is about its origin."""
    expired = facts(expires="2020-01-01T00:00:00Z")
    assert code_of(lambda: Trust.unsigned().check_facts(expired), ExpiredError) == "trust.bundle_expired"
    Trust.unsigned(at=datetime(2019, 12, 31, tzinfo=timezone.utc)).check_facts(expired)


def test_the_clock_has_a_time_zone() -> None:
    """An instant without time zone, or before computers had clocks, is the caller's mistake."""
    for instant in (datetime(2026, 1, 1), datetime(1969, 12, 31, tzinfo=timezone.utc)):
        assert code_of(lambda instant=instant: Trust.unsigned(at=instant), UsageError) == "usage.at"


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31",
        "2026-02-30T00:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T00:00:00Z\n",
        "2026-01-31T00:00:00+00:00",
        "２026-01-31T00:00:00Z",
    ],
)
def test_other_spellings_of_an_instant_are_none(text: str) -> None:
    """There is one form of an instant, and it names a day of the calendar."""
    assert instants.read(text) is None


def test_days_that_do_not_exist_are_malformed() -> None:
    """A manifest that was made on the 30th of February is refused."""
    for fields in ({"created": "2026-02-30T00:00:00Z"}, {"expires": "2026-13-01T00:00:00Z"}):
        assert code_of(lambda fields=fields: m.parse(m.encode(facts(**fields))), MalformedError) == "manifest.instant"


# --- the trust file


def test_trust_file_reads_back(tmp_path: Path) -> None:
    """What is written is what is read, sorted; a file edited by hand may have another layout."""
    file = policy(
        known("b"), known("a"), revoked_keys=["f" * 64, "0" * 64], maximum_age_days=30, bundles={"x": rule(2)}
    )
    path = write_trust(tmp_path / "trust.json", file)
    read = trust_file.load(path)
    assert [entry.name for entry in read.keys] == ["a", "b"]
    assert read.revoked_keys == ["0" * 64, "f" * 64]
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=7))
    assert trust_file.load(path) == read


def _set(**fields: Any) -> Any:
    return lambda value: value.update(fields)


def _key(**fields: Any) -> Any:
    return lambda value: value["keys"][0].update(fields)


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (_set(format="2"), "trust.version"),
        (lambda value: value.pop("format"), "trust.version"),
        (_set(surplus=1), "trust.schema"),
        (lambda value: value.pop("thresholds"), "trust.schema"),
        (lambda value: value.pop("bundles"), "trust.schema"),
        (_set(thresholds={}), "trust.schema"),
        (_set(thresholds={"ci": 0}), "trust.schema"),
        (_set(thresholds={"ci": True}), "trust.schema"),
        (_set(thresholds={"CI": 1}), "trust.schema"),
        (_set(require_ready="no"), "trust.schema"),
        (_set(require_ready=0), "trust.schema"),
        (_set(maximum_age_days=0), "trust.schema"),
        (_set(bundles={"x": {"lowest_sequence": 0}}), "trust.schema"),
        (_set(bundles={"X": {}}), "trust.schema"),
        (_set(revoked_keys=["00"]), "trust.schema"),
        (_key(surplus=1), "trust.schema"),
        (_key(public_key="A" * 44), "trust.schema"),
        (_key(public_key="*" * 44), "trust.schema"),
        (_key(not_before="2026-02-30T00:00:00Z"), "trust.schema"),
        (_key(not_before="2026-02-02T00:00:00Z", not_after="2026-02-02T00:00:00Z"), "trust.validity"),
        (_key(name="b"), "trust.key_twice"),
        (
            lambda value: value["keys"].append(value["keys"][0] | {"name": "again", "role": "approver"}),
            "trust.key_twice",
        ),
    ],
)
def test_malformed_trust_file(edit: Any, code: str) -> None:
    """Each rule of the trust file has its refusal; one key under two names or roles would count twice."""
    value = json.loads(trust_file.encode(policy(known("a"), known("b"))))
    edit(value)
    assert code_of(lambda: trust_file.parse(strict_json.dumps(value), "trust.json"), MalformedError) == code


def test_trust_file_is_strict_json() -> None:
    """A key that is there twice is refused: the owner's eye and the parser could see different ones."""
    data = trust_file.encode(policy(known("a"))).replace(
        b'"require_ready": true', b'"require_ready": true, "require_ready": false'
    )
    assert code_of(lambda: trust_file.parse(data, "trust.json"), MalformedError) == "json.duplicate_key"


def test_commands_make_a_trust_file(tmp_path: Path) -> None:
    """init, add, revoke and show do what they say, and nothing is overwritten by init."""
    file = tmp_path / "trust.json"
    assert (
        run(cli.main, "trust", "init", file, "--threshold", "ci=1", "--threshold", "approver=1", "--maximum-age", 90)[0]
        == 0
    )
    assert run(cli.main, "trust", "init", file)[1]["code"] == "trust.exists"
    assert (
        run(
            cli.main,
            "trust",
            "add",
            file,
            "--key",
            public_file(tmp_path, "a"),
            "--name",
            "build-server",
            "--role",
            "ci",
        )[0]
        == 0
    )
    assert (
        run(
            cli.main,
            "trust",
            "add",
            file,
            "--key",
            public_file(tmp_path, "b"),
            "--name",
            "anna",
            "--role",
            "approver",
            "--not-after",
            "2030-01-01T00:00:00Z",
        )[0]
        == 0
    )
    assert run(cli.main, "trust", "add", file, "--bundle", "demo", "--lowest-sequence", 7)[0] == 0
    assert run(cli.main, "trust", "revoke", file, "--digest", "0" * 64)[0] == 0
    status, shown = run(cli.main, "trust", "show", file)
    result = shown["result"]
    assert status == 0
    assert result["key_ids"] == {"build-server": key("a").id, "anna": key("b").id}
    assert (result["thresholds"], result["bundles"]) == ({"ci": 1, "approver": 1}, {"demo": {"lowest_sequence": 7}})
    assert (result["maximum_age_days"], result["require_ready"], result["revoked_digests"]) == (90, True, ["0" * 64])
    # The same key again changes its validity, for a rotation.
    assert (
        run(
            cli.main,
            "trust",
            "add",
            file,
            "--key",
            tmp_path / "a.pub",
            "--name",
            "build-server",
            "--role",
            "ci",
            "--not-after",
            "2027-01-01T00:00:00Z",
        )[0]
        == 0
    )
    assert {entry.name: entry.not_after for entry in trust_file.load(file).keys} == {
        "build-server": "2027-01-01T00:00:00Z",
        "anna": "2030-01-01T00:00:00Z",
    }
    assert run(cli.main, "trust", "revoke", file, "--key", "build-server")[1]["result"]["revoked_keys"] == [key("a").id]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["add", "FILE", "--key", "A.pub"], "usage.arguments"),
        (["add", "FILE", "--key", "A.pub", "--name", "a", "--role", "nobody"], "usage.role"),
        (["add", "FILE", "--key", "A.pub", "--name", "b"], "trust.key_twice"),
        (["add", "FILE", "--key", "B.pub", "--name", "a"], "trust.key_twice"),
        (["add", "FILE", "--key", "R.pub", "--name", "r"], "usage.revoked"),
        (["add", "FILE", "--key", "FILE", "--name", "a"], "key.malformed"),
        (["add", "FILE", "--key", "absent", "--name", "a"], "key.not_readable"),
        (["add", "FILE", "--bundle", "x", "--name", "a"], "usage.arguments"),
        (["add", "FILE", "--bundle", "x", "--lowest-sequence", "0"], "trust.schema"),
        (["add", "FILE", "--key", "B.pub", "--name", "x", "--not-after", "soon"], "usage.arguments"),
        (["add", "absent", "--bundle", "x"], "trust.not_readable"),
        (["revoke", "FILE", "--key", "nobody"], "usage.key"),
        (["revoke", "FILE", "--digest", "short"], "usage.arguments"),
        (["init", "new.json", "--threshold", "ci"], "usage.arguments"),
        (["init", "new.json", "--threshold", "ci=0"], "usage.arguments"),
        (["init", "new.json", "--bundle", "x", "--any-bundle"], "usage.arguments"),
        (["init", "new.json", "--maximum-age", "0"], "trust.schema"),
        (["init", "absent/new.json"], "output.not_writable"),
    ],
)
def test_commands_refuse_and_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: str
) -> None:
    """A command that ends with an error leaves the trust file as it was, byte for byte, and makes no new one."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "r"):
        public_file(tmp_path, name).rename(f"{name.upper()}.pub")
    file = policy(known("a", "signer"), known("b", "signer"), thresholds={"signer": 1}, revoked_keys=[key("r").id])
    before = write_trust(tmp_path / "FILE", file).read_bytes()
    status, shown = run(cli.main, "trust", *arguments)
    assert (shown["ok"], shown["code"]) == (False, code)
    assert status in (2, 3, 10)
    assert (tmp_path / "FILE").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.pub", "B.pub", "FILE", "R.pub"]


# --- the order of the steps, and the whole verifier


def test_verify_by_trust_file_by_key_and_unsigned(tmp_path: Path) -> None:
    """The three ways of trust on the command line: each says whose signatures counted; --key warns."""
    bundle = signed_bundle(tmp_path / "bundle", "a")
    file = write_trust(tmp_path / "trust.json", policy(known("a"), bundles={"demo": rule(1)}))
    status, by_file = run(cli.main, "verify", bundle, "--trust", file)
    assert (status, by_file["result"]["signers"][0]["name"], by_file["result"]["warnings"]) == (0, "a", [])
    status, by_key = run(cli.main, "verify", bundle, "--key", public_file(tmp_path, "a"))
    assert (status, by_key["result"]["signers"][0]["key"], len(by_key["result"]["warnings"])) == (0, key("a").id, 1)
    status, unsigned = run(cli.main, "verify", bundle, "--allow-unsigned")
    assert (status, unsigned["result"]["signed"], unsigned["result"]["signers"]) == (0, True, [])


def test_key_trusts_any_bundle_of_that_key_alone(tmp_path: Path) -> None:
    """--key accepts a bundle that is not ready and of any name; another key's bundle is refused."""
    bundle = signed_bundle(tmp_path / "bundle", "a", eligibility=NOT_READY, name="whatever")
    assert run(cli.main, "verify", bundle, "--key", public_file(tmp_path, "a"))[0] == 0
    assert run(cli.main, "verify", bundle, "--key", public_file(tmp_path, "b"))[1]["code"] == "trust.unknown_key"


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ([], 14, "trust.unsigned"),
        (["--trust", "trust.json", "--allow-unsigned"], 2, "usage.arguments"),
        (["--trust", "trust.json", "--key", "a.pub"], 2, "usage.arguments"),
        (["--trust", "absent.json"], 3, "trust.not_readable"),
        (["--key", "absent.pub"], 3, "key.not_readable"),
        (["--key", "trust.json"], 10, "key.malformed"),
        (["--trust", "a.pub"], 10, "json.syntax"),
        (["--trust", "trust.json", "--at", "yesterday"], 2, "usage.at"),
        (["--trust", "trust.json", "--at", "2029-12-31T23:59:59Z"], 0, "ok"),
        (["--trust", "trust.json", "--at", "2030-01-01T00:00:00Z"], 15, "trust.key_expired"),
    ],
)
def test_trust_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, code: str
) -> None:
    """Exactly one kind of trust, readable; --at is the clock that counts."""
    monkeypatch.chdir(tmp_path)
    signed_bundle(tmp_path / "bundle", "a")
    public_file(tmp_path, "a")
    write_trust(tmp_path / "trust.json", policy(known("a", not_after="2030-01-01T00:00:00Z")))
    found, shown = run(cli.main, "verify", "bundle", *arguments)
    assert (found, shown["code"]) == (status, code)


def test_signatures_are_judged_before_the_manifest_is_parsed(tmp_path: Path) -> None:
    """Bytes that would break the parser never reach it: the signature does not cover them."""
    bundle = signed_bundle(tmp_path / "bundle", "a")
    (bundle / m.FILE_NAME).write_bytes(b'{"format": "9", "format": NaN')
    assert code_of(lambda: alphaseal.open(bundle, trust=trust(known("a"))), SignatureError) == "signature.payload"


def test_facts_are_judged_before_the_tree(tmp_path: Path) -> None:
    """An old bundle is refused as old, whatever lies beside its manifest."""
    bundle = signed_bundle(tmp_path / "bundle", "a")
    (bundle / "extra").write_bytes(b"")
    judge = trust(known("a"), bundles={"demo": rule(2)})
    assert code_of(lambda: alphaseal.open(bundle, trust=judge), RollbackError) == "trust.sequence"


def test_the_envelope_is_a_plain_bounded_file(tmp_path: Path) -> None:
    """A link in place of the envelope, or one that is too large, is refused before it is parsed."""
    bundle = signed_bundle(tmp_path / "bundle", "a")
    envelope = bundle / tree.ENVELOPE_NAME
    moved = envelope.rename(tmp_path / "elsewhere.json")
    envelope.symlink_to(moved)
    assert (
        code_of(lambda: alphaseal.open(bundle, trust=trust(known("a"))), alphaseal.errors.TreeError) == "tree.not_plain"
    )
    envelope.unlink()
    envelope.write_bytes(b" " * (tree.MAXIMUM_ENVELOPE + 1))
    assert code_of(lambda: alphaseal.open(bundle, trust=trust(known("a"))), alphaseal.errors.DigestError) == "file.size"


def test_files_exchanged_after_verification_are_not_used(tmp_path: Path) -> None:
    """A file is verified from the buffer that is used: exchanged after `verify`, it is refused at its use."""
    bundle = alphaseal.open(signed_bundle(tmp_path / "bundle", "a"), trust=trust(known("a")))
    bundle.verify()
    graph = tmp_path / "bundle" / "model.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(bytes(data))
    assert code_of(bundle.selftest, alphaseal.errors.DigestError) == "file.digest"
    # And the manifest that was verified is the one that counts, whatever is there now.
    (tmp_path / "bundle" / m.FILE_NAME).write_bytes(b"{}")
    assert bundle.manifest.name == "demo"


def test_first_score_runs_the_golden_self_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first score of a process the golden rows are scored, once for a digest; a difference is 19 and no score."""
    monkeypatch.setattr(selftest, "_PASSED", set())
    features = raw_values(FACTOR_PLAIN / "truth/hist2_factor")
    calls: list[str] = []
    original = selftest.run
    monkeypatch.setattr(
        selftest, "run", lambda sealed, *rest: (calls.append(sealed.digest), original(sealed, *rest))[1]
    )
    path = factor_plain_bundle()
    days = alphaseal.open(path, trust=Trust.unsigned()).manifest.golden.days
    for _ in range(2):
        alphaseal.open(path, trust=Trust.unsigned()).score(features, date=days[0])
    assert len(calls) == 1

    def fail(*_: Any) -> None:
        raise SelfTestError("selftest.scores", "differs")

    monkeypatch.setattr(selftest, "run", fail)
    other = alphaseal.open(signed_bundle(tmp_path / "other"), trust=Trust.unsigned())
    for _ in range(2):
        assert code_of(lambda: other.score(features, date=days[0]), SelfTestError) == "selftest.scores"
        assert code_of(lambda: other.score_stream(features), SelfTestError) == "selftest.scores"


def test_verify_imports_no_numeric_library(tmp_path: Path) -> None:
    """A signed bundle is verified by trust file without numpy, onnxruntime or pyarrow, and with the network cut."""
    bundle = signed_bundle(tmp_path / "bundle", "a")
    file = write_trust(tmp_path / "trust.json", policy(known("a")))
    program = (
        "import sys, socket\n"
        "for name in ('numpy', 'onnxruntime', 'pyarrow'): sys.modules[name] = None\n"
        "def cut(*arguments, **keywords): raise OSError('cut')\n"
        "socket.socket = socket.create_connection = socket.getaddrinfo = cut\n"
        "from alphaseal.cli import main\n"
        f"sys.exit(main(['verify', {str(bundle)!r}, '--trust', {str(file)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "signed by a (ci)" in done.stdout
