"""Keys and signatures on the producer's side, through the commands."""

from __future__ import annotations

import io
import json
import shutil
import stat
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import alphaseal
from alphaseal import cli as runtime_cli
from alphaseal import store
from alphaseal.disk import tree
from alphaseal.errors import SignatureError
from alphaseal.format import manifest as m
from alphaseal.trust import envelope, keys
from alphaseal_converter import cli
from alphaseal_converter.build import build
from alphaseal_converter.bundle import signing
from bundles import factor_plain_request
from commands import run
from kills import killed, needs_fork
from signed import envelope_of, key, known, policy, signed_bundle, trust, write_trust


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a directory of its own, with the keys a and b in it."""
    monkeypatch.chdir(tmp_path)
    for seed in ("a", "b"):
        private = key(seed)._private
        Path(f"{seed}.key").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        Path(f"{seed}.pub").write_bytes(
            private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )


def test_keygen_writes_a_pair_that_signs_and_verifies() -> None:
    """PREFIX.key is for its owner alone, PREFIX.pub is PEM, and what one signs the other verifies."""
    status, shown = run(cli.main, "keygen", "--out", "pair")
    assert status == 0
    assert stat.S_IMODE(Path("pair.key").stat().st_mode) == 0o600
    public = keys.load_public_key(Path("pair.pub").read_bytes(), "pair.pub")
    assert shown["result"]["key_id"] == keys.key_id(public)
    private = signing.read_signing_key("pair.key", None)
    assert keys.verifies(public, private.sign(b"text"), b"text")
    assert run(cli.main, "keygen", "--out", "other")[1]["result"]["key_id"] != keys.key_id(public)


@pytest.mark.parametrize("there", ["pair.key", "pair.pub"])
def test_keygen_overwrites_nothing(there: str) -> None:
    """Where one of the two files is there, neither is written."""
    Path(there).write_text("precious")
    status, shown = run(cli.main, "keygen", "--out", "pair")
    assert (status, shown["code"]) == (2, "key.exists")
    assert Path(there).read_text() == "precious"
    assert len(list(Path.cwd().glob("pair*"))) == 1


def test_keygen_with_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked key signs with its passphrase alone; the passphrase comes from a variable that must be set."""
    assert run(cli.main, "keygen", "--out", "pair", "--passphrase-env", "UNSET_HERE")[1]["code"] == "usage.variable"
    monkeypatch.setenv("SECRET", "open sesame")
    assert run(cli.main, "keygen", "--out", "pair", "--passphrase-env", "SECRET")[1]["result"]["locked"] is True
    assert b"ENCRYPTED" in Path("pair.key").read_bytes()
    signed_bundle(Path("bundle"))
    assert run(cli.main, "sign", "bundle", "--key", "pair.key")[1]["code"] == "key.passphrase"
    assert not Path("bundle", tree.ENVELOPE_NAME).exists()
    assert run(cli.main, "sign", "bundle", "--key", "pair.key", "--passphrase-env", "SECRET")[0] == 0
    assert runtime_cli.main(["verify", "bundle", "--key", "pair.pub"]) == 0


def test_key_from_file_variable_and_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The three sources give the same signature, byte for byte."""
    pem = Path("a.key").read_bytes()
    monkeypatch.setenv("CI_KEY", pem.decode())
    written: list[bytes] = []
    for source in ("a.key", "env:CI_KEY", "-"):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(pem)))
        bundle = signed_bundle(Path(f"bundle-{len(written)}"))
        assert run(cli.main, "sign", bundle, "--key", source)[0] == 0
        written.append((bundle / tree.ENVELOPE_NAME).read_bytes())
    manifest = (bundle / m.FILE_NAME).read_bytes()
    assert written == [envelope_of(manifest, "a")] * 3


def test_sign_then_approve() -> None:
    """CI signs, a reviewer approves, and a trust that asks for both roles accepts; the manifest is not touched."""
    bundle = signed_bundle(Path("bundle"))
    before = (bundle / m.FILE_NAME).read_bytes()
    assert run(cli.main, "approve", bundle, "--key", "b.key")[1]["code"] == "approve.not_signed"
    assert run(cli.main, "sign", bundle, "--key", "a.key")[1]["result"]["signatures"] == [key("a").id]
    both = trust(known("a"), known("b", "approver"), thresholds={"ci": 1, "approver": 1})
    with pytest.raises(alphaseal.AlphasealError):
        alphaseal.open(bundle, trust=both)
    assert run(cli.main, "approve", bundle, "--key", "a.key")[1]["code"] == "approve.not_signed"
    assert run(cli.main, "approve", bundle, "--key", "b.key", "--signed-by", "b.pub")[0] == 0
    status, shown = run(cli.main, "approve", bundle, "--key", "b.key", "--signed-by", "a.pub")
    assert (status, shown["result"]["signatures"]) == (0, sorted([key("a").id, key("b").id]))
    assert len(alphaseal.open(bundle, trust=both).signers) == 2
    assert (bundle / m.FILE_NAME).read_bytes() == before
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["a.key", "a.pub", "b.key", "b.pub", "bundle"]


def test_approve_looks_at_whom_it_was_told() -> None:
    """--signed-by a key that has not signed is 14, by one whose signature is wrong 13; nothing is written."""
    bundle = signed_bundle(Path("bundle"), "stranger")
    before = (bundle / tree.ENVELOPE_NAME).read_bytes()
    status, shown = run(cli.main, "approve", bundle, "--key", "b.key", "--signed-by", "a.pub")
    assert (status, shown["code"]) == (14, "approve.not_signed")
    assert (bundle / tree.ENVELOPE_NAME).read_bytes() == before
    manifest = (bundle / m.FILE_NAME).read_bytes()
    (bundle / tree.ENVELOPE_NAME).write_bytes(envelope.encode(envelope.Envelope(manifest, {key("a").id: bytes(64)})))
    status, shown = run(cli.main, "approve", bundle, "--key", "b.key", "--signed-by", "a.pub")
    assert (status, shown["code"]) == (13, "signature.wrong")


def test_signing_twice_changes_nothing() -> None:
    """The same key again: the same envelope, one signature."""
    bundle = signed_bundle(Path("bundle"), "a")
    before = (bundle / tree.ENVELOPE_NAME).read_bytes()
    assert run(cli.main, "sign", bundle, "--key", "a.key")[0] == 0
    assert (bundle / tree.ENVELOPE_NAME).read_bytes() == before


def _damage(bundle: Path) -> None:
    with (bundle / "card.html").open("ab") as file:
        file.write(b" ")


def _foreign_envelope(bundle: Path) -> None:
    (bundle / tree.ENVELOPE_NAME).write_bytes(envelope_of(b"{}\n", "stranger"))


@pytest.mark.parametrize(
    ("changes", "damage", "status", "code"),
    [
        ({"sequence": 0}, None, 20, "sign.sequence"),
        ({}, _damage, 11, "file.size"),
        ({}, _foreign_envelope, 13, "signature.payload"),
        ({"expires": "2020-01-01T00:00:00Z"}, None, 15, "trust.bundle_expired"),
    ],
)
def test_what_does_not_verify_is_not_signed(changes: dict[str, Any], damage: Any, status: int, code: str) -> None:
    """A damaged, foreign, expired or numberless bundle gets no signature, and stays as it was."""
    bundle = signed_bundle(Path("bundle"), **changes)
    if damage is not None:
        damage(bundle)
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    found, shown = run(cli.main, "sign", bundle, "--key", "a.key")
    assert (found, shown["code"]) == (status, code)
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("source", "code"),
    [("absent.key", "key.not_readable"), ("a.pub", "key.malformed"), ("env:UNSET_HERE", "usage.variable")],
)
def test_keys_that_cannot_be_used(source: str, code: str) -> None:
    """A key that is not there, or is the public half, is an error of our family."""
    signed_bundle(Path("bundle"))
    assert run(cli.main, "sign", "bundle", "--key", source)[1]["code"] == code


def test_a_bundle_that_changes_while_it_is_signed_is_not_left_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was verified is what is signed: another manifest put in its place meanwhile does not get the signature."""
    bundle = signed_bundle(Path("bundle"))
    other = signed_bundle(Path("other"), sequence=2)
    original = signing.verified_bundle

    def verified(path: Path) -> Any:
        opened = original(path)
        shutil.copy(other / m.FILE_NAME, bundle / m.FILE_NAME)
        return opened

    monkeypatch.setattr(signing, "verified_bundle", verified)
    with pytest.raises(SignatureError):
        signing.sign(bundle, key("a"))
    assert not (bundle / tree.ENVELOPE_NAME).exists()


def test_build_signs() -> None:
    """`build --sign` gives a bundle that verifies with the key, the same bytes every time; a wrong key stops it at once."""
    first = build(factor_plain_request(Path("first"), signing_key=key("a"))).path
    assert alphaseal.open(first, trust=trust(known("a"), require_ready=False)).verify().signed
    second = build(factor_plain_request(Path("second"), signing_key=key("a"))).path
    assert (first / tree.ENVELOPE_NAME).read_bytes() == (second / tree.ENVELOPE_NAME).read_bytes()
    status, shown = run(cli.main, "build", "nowhere", "--out", "third", "--sign", "absent.key")
    assert (status, shown["code"]) == (3, "key.not_readable")
    with pytest.raises(alphaseal.errors.UsageError) as caught:
        build(factor_plain_request(Path("third"), signing_key=key("a"), sequence=0))
    assert caught.value.code == "usage.sequence"
    assert not Path("third").exists()


def test_build_with_expiry() -> None:
    """`--expires` reaches the manifest, and the bundle is refused from that instant on; nonsense is a usage error."""
    bundle = build(factor_plain_request(Path("bundle"), expires="2090-01-01T00:00:00Z")).path
    assert m.parse((bundle / m.FILE_NAME).read_bytes()).expires == "2090-01-01T00:00:00Z"
    for instant, status in (("2089-12-31T23:59:59Z", 0), ("2090-01-01T00:00:00Z", 15)):
        assert runtime_cli.main(["verify", str(bundle), "--allow-unsigned", "--at", instant]) == status
    assert run(cli.main, "build", "nowhere", "--out", "other", "--expires", "tomorrow")[1]["code"] == "usage.arguments"


def test_documents_are_valid_by_their_schemas() -> None:
    """`validate` knows manifests, envelopes, trust files and a store's state, each by its own schema."""
    bundle = signed_bundle(Path("bundle"), "a")
    write_trust(Path("trust.json"), policy(known("a")))
    store.install(bundle, "store", trust=alphaseal.Trust.load("trust.json"))
    files = [bundle / m.FILE_NAME, bundle / tree.ENVELOPE_NAME, Path("trust.json"), Path("store/current.json")]
    assert run(cli.main, "validate", *files)[0] == 0
    for file in files[1:]:
        value = json.loads(file.read_bytes()) | {"surplus": 1}
        Path("wrong.json").write_text(json.dumps(value))
        status, shown = run(cli.main, "validate", "wrong.json")
        assert (status, "surplus" in shown["message"]) == (10, True)


@needs_fork
def test_sign_killed_at_every_write_flush_and_rename(tmp_path: Path) -> None:
    """Stopped anywhere, the bundle is unsigned or signed, and verifies either way; signing again succeeds."""
    file = write_trust(tmp_path / "trust.json", policy(known("a")))
    seen = killed("sign", signed_bundle(tmp_path / "bundle"), tmp_path / "a.key", tmp_path, file)
    found = [entry["found"] for entry in seen]
    moment = found.index(True)
    assert found == [False] * moment + [True] * (len(found) - moment)
    assert 2 < moment < len(found) - 1
    assert {(entry["again"], entry["after"]) for entry in seen if "again" in entry} == {(0, True)}
